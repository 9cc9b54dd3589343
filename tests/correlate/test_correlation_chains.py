"""Chains of correlations, from event tables through the detector, against pySigma's SQLite backend."""

from __future__ import annotations

import itertools
import json
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sigma.backends.sqlite import sqliteBackend
from sigma.collection import SigmaCollection

from correlate.detect import Detector
from correlate.parse import parse_documents
from event.table import conform
from tests.correlate.test_correlation_differential import edges

BEGIN = datetime(2026, 3, 1, 8, tzinfo=UTC)
Event = tuple[int, int, str, str]
"""Second, rule, source, destination."""


def plain(number: int) -> dict[str, Any]:
    return {
        "title": f"rule {number}",
        "name": "abc"[number],
        "id": f"00000000-0000-4000-8000-00000000000{number}",
        "logsource": {"product": "ics", "service": "modbus"},
        "detection": {"sel": {"modbus.function_code": number}, "condition": "sel"},
    }


def above(name: str, kind: str, rules: list[str], group: list[str], span: str, condition: Any = None) -> dict[str, Any]:
    body = {"type": kind, "rules": rules, "group-by": group, "timespan": span}
    if condition is not None:
        body["condition"] = condition
    number = {"low": 7, "middle": 8, "top": 9}[name]
    return {
        "title": name,
        "name": name,
        "id": f"00000000-0000-4000-8000-0000000000{number}0",
        "correlation": body,
    }


PAIR, SOURCE = ["source.ip", "destination.ip"], ["source.ip"]
MANY = above("low", "event_count", ["a"], SOURCE, "10s", {"gte": 3})
SOME = above("low", "event_count", ["a"], PAIR, "6s", {"gte": 2})
CHAINS = {
    "many, then one": [MANY, above("top", "temporal_ordered", ["low", "b"], SOURCE, "5s")],
    "many and one": [MANY, above("top", "temporal", ["low", "b"], SOURCE, "8s")],
    "few times many": [MANY, above("top", "event_count", ["low"], SOURCE, "20s", {"eq": 2})],
    "many times": [MANY, above("top", "event_count", ["low", "b"], SOURCE, "9s", {"gte": 3})],
    "targets": [SOME, above("top", "value_count", ["low"], SOURCE, "15s", {"gte": 2, "field": "destination.ip"})],
    "three floors": [
        SOME,
        above("middle", "temporal", ["low", "b"], PAIR, "7s"),
        above("top", "event_count", ["middle"], SOURCE, "12s", {"gte": 2}),
    ],
}


def asked(parts: list[dict[str, Any]], events: list[Event], group: list[str]) -> set[tuple[int, Any]]:
    """(second, group) of every window in which SQLite finds the last correlation true."""
    (query,) = sqliteBackend().convert(SigmaCollection.from_dicts(parts))[-1:]
    with closing(sqlite3.connect(":memory:")) as base:
        base.execute(
            "CREATE TABLE logs (timestamp TEXT, `modbus.function_code` INT, `source.ip` TEXT, `destination.ip` TEXT)"
        )
        for second, rule, source, target in events:
            time = (BEGIN + timedelta(seconds=second)).isoformat(timespec="milliseconds")
            base.execute("INSERT INTO logs VALUES (?, ?, ?, ?)", (time[:23], rule, source, target))
        rows = base.execute(query).fetchall()
    return {(round(row[2] - BEGIN.timestamp()), tuple(json.loads(row[1])[name] for name in group)) for row in rows}


def tables(events: list[Event]) -> pl.DataFrame:
    return conform(
        pl.DataFrame(
            {
                "@timestamp": [BEGIN + timedelta(seconds=second) for second, *_ in events],
                "event.id": [f"e{second:03}" for second, *_ in events],
                "event.dataset": "modbus",
                "event.kind": "event",
                "modbus.function_code": [rule for _, rule, *_ in events],
                "source.ip": [source for *_, source, _ in events],
                "destination.ip": [target for *_, target in events],
            }
        )
    )


@st.composite
def streams(draw: st.DrawFn) -> list[Event]:
    return [
        (
            second,
            draw(st.sampled_from([0, 0, 0, 1])),
            f"10.0.0.{draw(st.integers(1, 2))}",
            f"10.0.1.{draw(st.integers(1, 2))}",
        )
        for second in sorted(draw(st.lists(st.integers(0, 60), min_size=1, max_size=30, unique=True)))
    ]


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(sorted(CHAINS)), streams(), st.lists(st.integers(1, 29), max_size=3), st.booleans())
def test_chains_alert_as_sqlite_sees_them(which, events, cuts, restart):
    parts = [plain(0), plain(1), *CHAINS[which]]
    top = parts[-1]["correlation"]
    group = top["group-by"]
    ruleset = parse_documents([Path("c.yml")], [yaml.safe_dump_all(parts).encode()], {})
    assert [str(one) for one in ruleset.problems if one.severity == "error"] == []

    true = asked(parts, events, group)
    when: dict[Any, list[int]] = {}
    below = parts[-2]["correlation"]["group-by"]
    for second, of in asked(parts[:-1], events, below):
        when.setdefault(of[: len(group)], []).append(second)
    for second, rule, source, target in events:
        if rule == 1 and "b" in top["rules"]:
            when.setdefault((source, target)[: len(group)], []).append(second)

    detector = Detector(ruleset, lateness=timedelta(0))
    found = []
    borders = sorted({0, *cuts, len(events)})
    for low, high in itertools.pairwise(borders):
        found.append(detector.feed(tables(events[low:high])) if events[low:high] else None)
        if restart:
            detector = Detector(ruleset, state=detector.state(), lateness=timedelta(0))
    found.append(detector.finish())
    alerts = [row for part in found if part is not None for row in part.to_dicts() if row["rule.name"] == "top"]
    ours = sorted(
        (
            round((row["@timestamp"] - BEGIN).total_seconds()),
            tuple(one.partition("=")[2] for one in row["alert.group"]),
        )
        for row in alerts
    )
    assert ours == edges(true, {of: sorted(set(times)) for of, times in when.items()}, int(top["timespan"][:-1]))


@pytest.mark.parametrize("generate", [False, True])
def test_what_is_muted_for_people_still_feeds(generate):
    # Guessing goes on for a minute, with one alert; the login that follows it after that is found all the same.
    events = [(second, 0, "10.0.0.1", "10.0.1.1") for second in range(60)] + [(62, 1, "10.0.0.1", "10.0.1.1")]
    low = above("low", "event_count", ["a"], SOURCE, "1h", {"gte": 10})
    top = above("top", "temporal_ordered", ["low", "b"], SOURCE, "5s")
    top["correlation"]["generate"] = generate
    text = yaml.safe_dump_all([plain(0), plain(1), low, top]).encode()
    detector = Detector(parse_documents([Path("c.yml")], [text], {}))
    detector.feed(tables(events))
    names = detector.finish()["rule.name"].to_list()
    assert names == (["low", "top"] if generate else ["top"])
    assert {one.title: one.matches for one in detector.status() if one.correlation} == {"low": 1, "top": 1}
