"""The detector: alerts, their identity, correlations over tables, state, status."""

from __future__ import annotations

import textwrap
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from correlate.alerts import CUT, LISTED
from correlate.detect import Detector
from correlate.ir import RuleSet
from correlate.parse import parse_documents
from event.table import conform

BEGIN = datetime(2026, 3, 1, 8, tzinfo=UTC)

WRITE = """
title: Modbus write
id: 22222222-0000-4000-8000-000000000001
name: write
level: high
status: stable
description: A coil or register is written.
author: One, Two
license: Apache-2.0
references: [https://modbus.org/]
falsepositives: [Operators]
tags: [attack.t0855, attack.impair-process-control]
logsource: {product: ics, service: modbus}
detection:
  sel: {modbus.access: write}
  condition: sel
"""

STOP = """
title: S7 stop
id: 22222222-0000-4000-8000-000000000002
name: stop
level: critical
logsource: {product: ics, service: s7comm}
detection:
  sel: {s7comm.function: plc_stop}
  condition: sel
"""

MANY = """
title: Many writes
id: 22222222-0000-4000-8000-000000000003
name: many
level: high
correlation:
  type: event_count
  rules: [write]
  group-by: [source.ip]
  timespan: 1m
  condition: {gte: 10}
"""

STORY = """
title: Writes, then a stop
id: 22222222-0000-4000-8000-000000000004
level: critical
correlation:
  type: temporal_ordered
  rules: [write, stop]
  group-by: [who]
  aliases:
    who:
      write: source.ip
      stop: client.ip
  timespan: 5m
"""


def rules(*texts: str) -> RuleSet:
    ruleset = parse_documents([Path("rules.yml")], ["\n---\n".join(map(textwrap.dedent, texts)).encode()], {})
    assert [str(problem) for problem in ruleset.problems] == []
    return ruleset


def table(dataset: str, rows: list[dict[str, Any]], prefix: str = "e") -> pl.DataFrame:
    return conform(
        pl.DataFrame(
            [
                {
                    "event.id": f"{prefix}{number:05d}",
                    "event.dataset": dataset,
                    "event.kind": "event",
                    **{name: value for name, value in row.items() if name != "t"},
                    "@timestamp": BEGIN + timedelta(seconds=row.get("t", number)),
                }
                for number, row in enumerate(rows)
            ],
            infer_schema_length=None,
        )
    )


def writes(count: int, **fields: Any) -> pl.DataFrame:
    base = {"modbus.access": "write", "source.ip": "10.0.0.1", "destination.ip": "10.0.0.9", **fields}
    return table("modbus", [dict(base) for _ in range(count)])


def test_a_plain_rule_gives_one_alert_for_each_event_with_all_that_the_rule_says():
    events = table(
        "modbus",
        [
            {
                "modbus.access": "write",
                "source.ip": "10.0.0.1",
                "destination.ip": "10.0.0.9",
                "network.protocol": "modbus",
                "event.count": 7,
            },
            {"modbus.access": "read", "source.ip": "10.0.0.1"},
        ],
    )
    (alert,) = Detector(rules(WRITE)).feed(events).to_dicts()
    identity = alert.pop("event.id")
    assert identity.startswith("alert-")
    assert alert == {
        "@timestamp": BEGIN,
        "event.dataset": "jianmen.alert",
        "event.kind": "alert",
        "event.module": "correlate",
        "event.severity": 75,
        "source.ip": "10.0.0.1",
        "destination.ip": "10.0.0.9",
        "network.protocol": "modbus",
        "rule.id": "22222222-0000-4000-8000-000000000001",
        "rule.name": "Modbus write",
        "rule.description": "A coil or register is written.",
        "rule.author": ["One", "Two"],
        "rule.license": "Apache-2.0",
        "rule.reference": ["https://modbus.org/"],
        "rule.level": "high",
        "threat.technique.id": ["T0855"],
        "threat.tactic.name": ["impair-process-control"],
        "alert.event_ids": ["e00000"],
        "alert.event_dataset": ["modbus"],
        "alert.event_count": 7,
        "alert.fields": ["modbus.access=write"],
        "alert.false_positives": ["Operators"],
    }


def test_detecting_twice_gives_the_same_alerts():
    first = Detector(rules(WRITE, MANY)).feed(writes(30))
    again = Detector(rules(WRITE, MANY))
    assert again.feed(writes(30)).equals(first)
    one, two = Detector(rules(WRITE, MANY)), Detector(rules(WRITE, MANY))
    one.feed(writes(30))
    two.feed(writes(30))
    assert one.finish().equals(two.finish())
    other = RuleSet(rules=rules(STOP).rules)
    assert Detector(other).feed(writes(3)).is_empty()


def test_a_shown_value_is_cut_and_a_list_is_joined():
    rule = WRITE.replace(
        "sel: {modbus.access: write}", "sel: {message|contains: x, modbus.values: 1, iec104.clock|year: 2026}"
    )
    events = table("modbus", [{"message": "x" * 5000, "modbus.values": [1, 2, None], "iec104.clock": BEGIN}])
    (alert,) = Detector(rules(rule)).feed(events).to_dicts()
    shown = dict(one.split("=", 1) for one in alert["alert.fields"])
    assert shown["message"] == "x" * CUT
    assert shown["modbus.values"] == "1, 2"
    assert shown["iec104.clock"].startswith("2026-03-01")


def test_an_empty_table_and_a_dataset_without_rules_give_no_alerts():
    detector = Detector(rules(WRITE))
    assert detector.feed(table("dns", [{}])).is_empty()
    assert detector.feed(writes(1).clear()).is_empty()
    assert detector.finish().columns == ["@timestamp", "event.id", "event.dataset", "event.kind"]


def test_rules_that_only_feed_a_correlation_do_not_alert():
    detector = Detector(rules(WRITE, MANY))
    assert detector.feed(writes(20)).is_empty()
    (alert,) = detector.finish().to_dicts()
    assert alert["rule.name"] == "Many writes"
    assert alert["rule.correlation_type"] == "event_count"
    assert alert["@timestamp"] == BEGIN + timedelta(seconds=9)
    assert (alert["event.start"], alert["event.end"]) == (BEGIN, BEGIN + timedelta(seconds=9))
    assert alert["alert.event_ids"] == [f"e{number:05d}" for number in range(10)]
    assert alert["alert.group"] == ["source.ip=10.0.0.1"]
    assert (alert["source.ip"], alert["alert.destination_ips"]) == ("10.0.0.1", ["10.0.0.9"])


def test_collapsed_events_count_in_full():
    detector = Detector(rules(WRITE, MANY))
    detector.feed(writes(1, **{"event.count": 12}))
    (alert,) = detector.finish().to_dicts()
    assert alert["alert.event_count"] == 12
    assert alert["alert.event_ids"] == ["e00000"]


def test_an_alert_lists_no_more_ids_than_it_may():
    detector = Detector(rules(WRITE, MANY.replace("gte: 10", "gte: 500").replace("1m", "1h")))
    detector.feed(writes(600))
    (alert,) = detector.finish().to_dicts()
    assert len(alert["alert.event_ids"]) == LISTED
    assert alert["alert.event_ids"][-1] == "e00499"
    assert alert["alert.event_count"] == 500


def test_a_story_over_two_datasets_is_told_in_order_of_time_whichever_table_comes_first():
    write = table("modbus", [{"t": 10, "modbus.access": "write", "source.ip": "10.0.0.1"}], "w")
    stop = table("s7comm", [{"t": 20, "s7comm.function": "plc_stop", "client.ip": "10.0.0.1"}], "s")
    for order in ([write, stop], [stop, write]):
        detector = Detector(rules(WRITE, STOP, STORY))
        for one in order:
            assert detector.feed(one).is_empty()
        (alert,) = detector.finish().to_dicts()
        assert alert["alert.event_ids"] == ["w00000", "s00000"]
        assert alert["alert.event_dataset"] == ["modbus", "s7comm"]
        assert alert["alert.group"] == ["who=10.0.0.1"]


def test_hits_are_let_through_once_the_newest_event_is_far_enough_ahead():
    detector = Detector(rules(WRITE, MANY), lateness=timedelta(seconds=30))
    assert detector.feed(writes(10)).is_empty()
    assert detector.feed(table("dns", [{"t": 100}])).height == 1


def test_a_correlation_may_feed_another():
    more = """
        title: Sprayed over many stations
        id: 22222222-0000-4000-8000-000000000005
        level: critical
        correlation:
          type: value_count
          rules: [many]
          timespan: 10m
          condition: {gte: 3, field: source.ip}
        """
    detector = Detector(rules(WRITE, MANY, more))
    rows = [
        {"t": station * 60 + n, "modbus.access": "write", "source.ip": f"10.0.0.{station}"}
        for station in range(4)
        for n in range(10)
    ]
    detector.feed(table("modbus", rows))
    (alert,) = detector.finish().to_dicts()
    assert alert["rule.name"] == "Sprayed over many stations"
    assert alert["@timestamp"] == BEGIN + timedelta(seconds=129)
    assert alert["alert.event_count"] == 30
    assert alert["alert.source_ips"] == ["10.0.0.0", "10.0.0.1", "10.0.0.2"]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 39), max_size=4, unique=True).map(sorted), st.booleans())
def test_batch_borders_and_restarts_change_nothing(cuts, restart):
    ruleset = rules(WRITE, STOP, MANY, STORY)
    rows = [
        {"t": n * 7 % 40 * 5, "modbus.access": ["write", "read"][n % 3 == 0], "source.ip": f"10.0.0.{n % 2}"}
        for n in range(40)
    ]
    whole = table("modbus", rows)
    once = Detector(ruleset)
    expected = pl.concat([once.feed(whole), once.finish()], how="diagonal")
    detector = Detector(ruleset)
    parts = []
    for low, high in zip([0, *cuts], [*cuts, 40], strict=True):
        parts.append(detector.feed(whole[low:high]))
        if restart:
            detector = Detector(ruleset, state=detector.state())
    parts.append(detector.finish())
    found = pl.concat(parts, how="diagonal")
    assert sorted(found["event.id"]) == sorted(expected["event.id"])
    assert [one.matches for one in detector.status()] == [one.matches for one in once.status()]


@pytest.mark.parametrize("state", [b"", b"{}", b"[]", b'{"version": 0}', b"\x80\x04N."])
def test_a_state_that_is_none_is_refused(state):
    with pytest.raises(ValueError, match="not the state"):
        Detector(rules(WRITE), state=state)


def test_the_status_of_every_rule_is_known():
    nowhere = STOP.replace("product: ics, service: s7comm", "product: macos").replace("0002", "0007", 1)
    ruleset = rules(
        WRITE, STOP, nowhere.replace("s7comm.function", "CommandLine").replace("name: stop", "name: x"), STORY
    )
    broken = parse_documents(
        [Path("b.yml")], [WRITE.replace("modbus.access: write", r"message|re: '(?=x)'").encode()], {}
    )
    detector = Detector(ruleset)
    detector.feed(writes(3))
    write, stop, windows, story = detector.status()
    assert (write.state, write.events, write.matches) == ("ok", 3, 3)
    assert write.seconds > 0
    assert (stop.state, stop.events, stop.datasets) == ("waiting", 0, ("s7comm",))
    assert (windows.state, windows.datasets, windows.unknown_fields) == ("no dataset", (), ("CommandLine",))
    assert (story.state, story.datasets, story.datasets_seen) == ("ok", ("modbus", "s7comm"), ("modbus",))
    (status,) = Detector(broken).status()
    assert (status.state, status.errors) == ("error", 1)
    assert "linear time" in (status.error or "")


def test_a_correlation_over_a_rule_that_cannot_be_evaluated_says_so():
    broken = WRITE.replace("modbus.access: write", r"message|re: '(?=x)'")
    ruleset = parse_documents([Path("b.yml")], [f"{broken}\n---\n{MANY}".encode()], {})
    write, many = Detector(ruleset).status()
    assert write.state == many.state == "error"


def test_bounds_that_were_reached_are_counted():
    detector = Detector(rules(WRITE, MANY), lateness=timedelta(seconds=0))
    detector.feed(writes(10))
    late = table("modbus", [{"t": -5, "modbus.access": "write", "source.ip": "10.0.0.1"}], "late")
    detector.feed(late)
    assert detector.counters()["late_hits"] == 1
    assert [status.bounds for status in detector.status()] == [{}, {"late_hits": 1}]


def test_events_in_no_order_wait_for_the_end_where_that_is_asked_for():
    early = table("modbus", [{"t": 0, "modbus.access": "write", "source.ip": "10.0.0.1"}], "w")
    stop = table("s7comm", [{"t": 100, "s7comm.function": "plc_stop", "client.ip": "10.0.0.1"}], "s")
    much_later = table("modbus", [{"t": 90_000, "modbus.access": "write", "source.ip": "10.0.0.1"}], "x")
    patient = Detector(rules(WRITE, STOP, STORY), lateness=None)
    for one in (early, much_later, stop):
        assert patient.feed(one).is_empty()
    assert patient.finish()["alert.event_ids"].to_list() == [["w00000", "s00000"]]


def test_who_knows_the_order_has_the_alert_at_once():
    detector = Detector(rules(WRITE, STOP, STORY), lateness=None)
    detector.feed(table("s7comm", [{"t": 50, "s7comm.function": "plc_stop", "client.ip": "10.0.0.1"}], "s"))
    detector.feed(table("modbus", [{"t": 0, "modbus.access": "write", "source.ip": "10.0.0.1"}], "w"))
    assert detector.advance(BEGIN + timedelta(seconds=50)).is_empty()  # more of this very second may come
    assert detector.advance(BEGIN + timedelta(seconds=51)).height == 1
    assert detector.counters()["tables_emptied"] == sum(detector.counters().values()) == 0
    assert detector.finish().is_empty()


ANSWER = """
title: Answer
id: 22222222-0000-4000-8000-000000000008
name: answer
logsource: {product: ics, service: modbus}
detection:
  sel: {modbus.message_type: response}
  condition: sel
"""

UNANSWERED = """
title: Write without an answer
id: 22222222-0000-4000-8000-000000000009
level: medium
correlation:
  type: absence
  rules: [write, answer]
  group-by: [who]
  aliases:
    who:
      write: source.ip
      answer: destination.ip
  timespan: 5s
"""


@pytest.mark.parametrize("restart", [False, True])
def test_what_does_not_follow_alerts_once_whatever_the_cuts(restart):
    rows = [
        {"t": t, "modbus.access": "write", "source.ip": "10.0.0.1", "destination.ip": "10.0.0.9"} for t in (0, 10, 20)
    ]
    answers = [{"t": 11, "modbus.message_type": "response", "source.ip": "10.0.0.9", "destination.ip": "10.0.0.1"}]
    later = [{"t": 40, "modbus.access": "read"}]
    ruleset = rules(WRITE, ANSWER, UNANSWERED)
    detector = Detector(ruleset, lateness=timedelta(seconds=1))
    found = []
    for part in (rows[:1], rows[1:2], answers, rows[2:], later):
        found.append(detector.feed(table("modbus", part, f"{part[0]['t']}-")))
        if restart:
            detector = Detector(ruleset, state=detector.state(), lateness=timedelta(seconds=1))
    found.append(detector.finish())
    alerts = [row for part in found for row in part.to_dicts()]
    assert [(row["@timestamp"] - BEGIN).total_seconds() for row in alerts] == [5, 25]
    assert [row["alert.event_ids"] for row in alerts] == [["0-00000"], ["20-00000"]]
    first = alerts[0]
    assert (first["rule.correlation_type"], first["alert.group"]) == ("absence", ["who=10.0.0.1"])
    assert (first["event.start"], first["event.end"]) == (BEGIN, BEGIN + timedelta(seconds=5))
    assert (first["source.ip"], first["destination.ip"], first["rule.level"]) == ("10.0.0.1", "10.0.0.9", "medium")


def test_groups_and_distinct_values_differ_by_more_than_case():
    users = MANY.replace("source.ip", "user.name").replace("gte: 10", "gte: 3")
    detector = Detector(rules(WRITE, users))
    detector.feed(table("modbus", [{"modbus.access": "write", "user.name": name} for name in ("Eve", "EVE", "eve")]))
    assert detector.finish()["alert.group"].to_list() == [["user.name=eve"]]


def test_fields_that_no_event_had_are_named_until_one_has_them():
    detector = Detector(rules(WRITE))
    detector.feed(table("modbus", [{"t": 0, "modbus.unit_id": 1}]))
    assert detector.status()[0].unseen_fields == ("modbus.access",)
    again = Detector(rules(WRITE), state=detector.state())
    assert again.status()[0].unseen_fields == ("modbus.access",)
    again.feed(table("modbus", [{"t": 1, "modbus.access": "write"}]))
    assert again.status()[0].unseen_fields == ()
    detector.passed("modbus", 5, 0)  # of events that were not fed nobody knows
    assert detector.status()[0].unseen_fields == ()
