"""Streaming correlations against a quadratic reference that looks at every window as a whole."""

from __future__ import annotations

import json
import math
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sigma.backends.sqlite import sqliteBackend
from sigma.collection import SigmaCollection

from correlate.ir import Correlation
from correlate.parse import parse_documents
from correlate.window import Alarm, Hit, Window, WindowLimits, frozen

SECOND = 1_000_000_000
IDS = [
    "00000000-0000-4000-8000-00000000000a",
    "00000000-0000-4000-8000-00000000000b",
    "00000000-0000-4000-8000-00000000000c",
]


def correlation(kind: str, rules: int = 1, **body: Any) -> Correlation:
    """A correlation of the first rules a, b, c, through YAML as from a file."""
    plain = [
        {
            "title": name,
            "name": name,
            "id": IDS[number],
            "logsource": {"product": "ics"},
            "detection": {"sel": {"message": name}, "condition": "sel"},
        }
        for number, name in enumerate("abc")
    ]
    own = {
        "title": "correlation",
        "id": "00000000-0000-4000-8000-0000000000ff",
        "correlation": {
            "type": kind,
            "rules": list("abc")[:rules],
            "group-by": ["source.ip"],
            "timespan": "10s",
            **body,
        },
    }
    ruleset = parse_documents([Path("c.yml")], [yaml.safe_dump_all([*plain, own]).encode()], {})
    errors = [str(problem) for problem in ruleset.problems if problem.severity == "error"]
    assert errors == []
    return ruleset.correlations[0]


def hit(seconds: float, *, role: int = 0, group: Any = "g", value: Any = None, weight: int = 1, name: str = "") -> Hit:
    time = round(seconds * SECOND)
    ids = (name or f"{time}-{role}-{value}",)
    return Hit(time, role, ids, weight, weight, (group,), (frozen(value),), "s", "d", "modbus", None)


def run(one: Correlation, hits: list[Hit], **limits: int) -> list[Alarm]:
    window = Window(one, WindowLimits(**limits))
    window.push("", hits)
    return window.advance(None)


# --- the reference -------------------------------------------------------------------------------------------------


def chain(hits: list[Hit], roles: int) -> bool:
    """Whether hits of role 0, 1, 2, ... follow each other (hits are in order)."""
    wanted = 0
    for one in hits:
        wanted += one.role == wanted
    return wanted >= roles


def number(one: Correlation, hits: list[Hit]) -> Fraction | int | None:
    """What the condition compares, by the definition of the type."""
    values = [(Fraction(h.values[0]), h.weight) for h in hits if h.values[0] is not None]
    spread = sorted(value for value, weight in values for _ in range(weight))
    if one.type == "event_count":
        return sum(h.weight for h in hits)
    if one.type == "value_count":
        return len({h.values[0] for h in hits if h.values[0] is not None})
    if one.type == "temporal":
        return len({h.role for h in hits})
    if not spread:
        return None
    if one.type == "value_sum":
        return sum(spread)
    if one.type == "value_avg":
        return sum(spread) / len(spread)
    if one.type == "value_median":
        half = len(spread) // 2
        return spread[half] if len(spread) % 2 else (spread[half - 1] + spread[half]) / 2
    place = Fraction(one.percentile) * (len(spread) - 1) / 100
    low, high = spread[math.floor(place)], spread[math.ceil(place)]
    return low + (high - low) * (place - math.floor(place))


def quadratic(one: Correlation, hits: list[Hit]) -> list[tuple[int, Any]]:
    """(time, group) of every alert."""
    ask = {
        "gt": lambda a, b: a > b,
        "gte": lambda a, b: a >= b,
        "lt": lambda a, b: a < b,
        "lte": lambda a, b: a <= b,
        "eq": lambda a, b: a == b,
        "neq": lambda a, b: a != b,
    }
    found = []
    hits = sorted(hits, key=lambda h: (h.time, h.role, h.ids))
    for group in {h.group for h in hits if h.group != (None,)}:
        own = [h for h in hits if h.group == group]
        before, alerted = False, None
        for place, last in enumerate(own):
            inside = [h for h in own[: place + 1] if h.time >= last.time - one.timespan_ns]
            if one.type == "temporal_ordered":
                true = chain(inside, len(one.rules))
            else:
                value = number(one, inside)
                true = value is not None and all(ask[op](value, bound) for op, bound in one.conditions)
            if true and (not before or last.time - alerted > one.timespan_ns):
                found.append((last.time, group))
                alerted = last.time
            before = true
    return sorted(found, key=repr)


KINDS = [
    correlation("event_count", condition={"gte": 3}),
    correlation("event_count", condition={"gt": 2, "lte": 5}),
    correlation("event_count", condition={"eq": 2}),
    correlation("event_count", condition={"neq": 2}),
    correlation("event_count", condition={"lt": 3}),
    correlation("value_count", condition={"gte": 3, "field": "modbus.address"}),
    correlation("temporal", 3),
    correlation("temporal", 3, condition={"gte": 2}),
    correlation("temporal_ordered", 2),
    correlation("temporal_ordered", 3),
    correlation("value_sum", condition={"gt": 9, "field": "modbus.address"}),
    correlation("value_avg", condition={"gte": 2.5, "field": "modbus.address"}),
    correlation("value_median", condition={"gte": 2.5, "field": "modbus.address"}),
    correlation("value_percentile", condition={"gte": 4, "field": "modbus.address", "percentile": 80}),
]


@st.composite
def streams(draw: st.DrawFn) -> list[Hit]:
    """Hits in bursts whose distance is about the window's length, so that its edges are met."""
    hits = []
    for number_of_hit in range(draw(st.integers(1, 40))):
        time = draw(st.sampled_from([0, 5, 10, 20, 21, 30, 40])) + draw(st.sampled_from([0, 0, 0.5, 1, 1e-9]))
        hits.append(
            hit(
                time,
                role=draw(st.integers(0, 2)),
                group=draw(st.sampled_from(["g", "h", None])),
                value=draw(st.one_of(st.none(), st.integers(0, 5), st.sampled_from([0.5, 2.5]))),
                weight=draw(st.sampled_from([1, 1, 1, 2])),
                name=f"e{number_of_hit}",
            )
        )
    return hits


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(KINDS), streams(), st.lists(st.integers(1, 50), max_size=4), st.booleans())
def test_streams_cut_anywhere_give_the_alerts_of_the_quadratic_reference(one, hits, cuts, restart):
    hits = [h._replace(role=h.role % len(one.rules)) for h in hits]
    window = Window(one)
    alarms: list[Alarm] = []
    # Each batch holds a slice of time; within it hits come in any order, as tables of several datasets do.
    borders = sorted(cut * SECOND for cut in cuts)
    for low, high in zip([-1, *borders], [*borders, 10**12], strict=True):
        window.push("", [h for h in hits if low < h.time <= high])
        alarms += window.advance(high)
        if restart:
            state = json.loads(json.dumps(window.state()))
            window = Window(one)
            window.restore(state)
    assert sorted(((a.time, a.group) for a in alarms), key=repr) == quadratic(one, hits)
    assert window.counters["late_hits"] == 0
    assert window.taken == len(hits)


# --- a second opinion: pySigma's SQLite backend --------------------------------------------------------------------

SECOND_OPINION = [
    ("event_count", 1, {"gte": 3}),
    ("event_count", 2, {"gt": 3}),
    ("event_count", 1, {"eq": 2}),
    ("event_count", 1, {"lt": 3}),
    ("value_count", 1, {"gte": 3, "field": "value"}),
    ("temporal", 2, None),
    ("temporal", 3, {"gte": 2}),
    ("temporal_ordered", 2, None),
    ("temporal_ordered", 3, None),
    ("value_sum", 1, {"gt": 9, "field": "value"}),
    ("value_avg", 1, {"gte": 3, "field": "value"}),
    ("value_median", 1, {"gte": 3, "field": "value"}),
    ("value_percentile", 1, {"gte": 4, "field": "value", "percentile": 80}),
]


def documents(kind: str, rules: int, condition: Any) -> list[dict[str, Any]]:
    plain = [
        {
            "title": name,
            "id": IDS[number],
            "name": name,
            "logsource": {"product": "ics"},
            "detection": {"sel": {"role": number}, "condition": "sel"},
        }
        for number, name in enumerate("abc"[:rules])
    ]
    body = {"type": kind, "rules": list("abc")[:rules], "group-by": ["grp"], "timespan": "10s"}
    own = {"title": "c", "id": "00000000-0000-4000-8000-0000000000ff", "correlation": body}
    if condition:
        body["condition"] = condition
    return [*plain, own]


def windows_of_sqlite(parts: list[dict[str, Any]], hits: list[Hit]) -> set[tuple[int, Any]]:
    """(time, group) of every hit at which the condition holds, asked of SQLite."""
    (query,) = sqliteBackend().convert(SigmaCollection.from_dicts(parts))
    with closing(sqlite3.connect(":memory:")) as base:
        base.execute("CREATE TABLE logs (timestamp TEXT, role INT, grp TEXT, value)")
        for one in hits:
            time = datetime.fromtimestamp(one.time / SECOND, UTC).isoformat(timespec="milliseconds")
            base.execute("INSERT INTO logs VALUES (?, ?, ?, ?)", (time[:23], one.role, *one.group, *one.values))
        rows = base.execute(query).fetchall()
    return {(round(row[2]) * SECOND, (json.loads(row[1])["grp"],)) for row in rows}


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(SECOND_OPINION), st.lists(st.integers(0, 60), min_size=1, max_size=30, unique=True), st.data())
def test_pysigmas_sqlite_backend_sees_the_same_windows(what, times, data):
    kind, rules, condition = what
    parts = documents(kind, rules, condition)
    hits = [
        hit(
            1_000_000 + time,
            role=data.draw(st.integers(0, rules - 1)),
            group=data.draw(st.sampled_from(["g", "h", None])),
            value=data.draw(st.one_of(st.none(), st.integers(0, 5))),
        )
        for time in times
    ]
    true = windows_of_sqlite(parts, hits)
    expected = []
    for group in [("g",), ("h",)]:
        before, alerted = False, 0
        for time in sorted(one.time for one in hits if one.group == group):
            now = (time, group) in true
            if now and (not before or time - alerted > 10 * SECOND):
                expected.append((time, group))
                alerted = time
            before = now
    ruleset = parse_documents([Path("c.yml")], [yaml.safe_dump_all(parts).encode()], {})
    (one,) = ruleset.correlations
    assert sorted((alarm.time, alarm.group) for alarm in run(one, hits)) == sorted(expected)


def test_an_alarm_says_what_was_in_its_window():
    one = correlation("event_count", condition={"gte": 3})
    (alarm,) = run(one, [hit(0, name="old"), hit(11, name="x"), hit(12, name="y"), hit(13, name="z", weight=4)])
    assert alarm.event_ids == ("x", "y", "z")
    assert (alarm.start, alarm.time, alarm.count) == (11 * SECOND, 13 * SECOND, 6)
    assert (alarm.sources, alarm.destinations, alarm.datasets) == (("s",), ("d",), ("modbus",))


def test_a_long_burst_alerts_once_a_timespan():
    one = correlation("event_count", condition={"gte": 5})
    alarms = run(one, [hit(t / 10, name=f"{t}") for t in range(400)])
    assert [a.time / SECOND for a in alarms] == [0.4, 10.5, 20.6, 30.7]


def test_an_ordered_chain_alarm_names_the_events_since_its_start():
    one = correlation("temporal_ordered", 2)
    (alarm,) = run(one, [hit(0, role=1, name="b0"), hit(1, name="a1"), hit(2, name="a2"), hit(3, role=1, name="b3")])
    assert alarm.event_ids == ("a2", "b3")
    assert run(one, [hit(0, role=1), hit(1)]) == []
    assert run(one, [hit(0), hit(10.5, role=1)]) == []


def test_an_extended_condition_takes_and_or_and_not():
    one = correlation("temporal", 3, condition="a and b and not c")
    assert len(run(one, [hit(0), hit(1, role=1)])) == 1
    assert run(one, [hit(0, role=2), hit(1), hit(2, role=1)]) == []
    assert len(run(one, [hit(0, role=2), hit(8), hit(11, role=1)])) == 1  # c has left the window


def test_several_value_fields_count_distinct_combinations():
    one = correlation("value_count", condition={"gte": 3, "field": ["modbus.address", "modbus.unit_id"]})
    base = hit(0)
    pairs = [(1, 1), (1, 2), (1, 2), (None, 7), (2, 1)]
    hits = [base._replace(time=n * SECOND, ids=(str(n),), values=pair) for n, pair in enumerate(pairs)]
    (alarm,) = run(one, hits)
    assert alarm.time == 4 * SECOND


def test_hits_without_a_group_are_in_none_and_counted():
    window = Window(correlation("event_count", condition={"gte": 2}))
    window.push("", [hit(0, group=None), hit(1, group=None)])
    assert window.advance(None) == []
    assert window.counters == {"hits_without_group": 2}


def test_each_element_of_a_list_is_a_value():
    one = correlation("value_count", condition={"gte": 3, "field": "modbus.values"})
    assert len(run(one, [hit(0, value=[1, 2]), hit(1, value=[2, None, 3])])) == 1
    assert run(one, [hit(0, value=[1, 2]), hit(1, value=[2, 1])]) == []


def test_a_late_hit_is_put_at_its_place_and_counted():
    one = correlation("temporal_ordered", 2)
    window = Window(one)
    window.push("", [hit(5, role=1, name="b")])
    assert window.advance(8 * SECOND) == []
    window.push("", [hit(4, name="a")])
    (alarm,) = window.advance(9 * SECOND)
    assert alarm.event_ids == ("a", "b")
    assert window.counters == {"late_hits": 1}
    window.push("", [hit(30, name="new")])
    window.advance(30 * SECOND)
    window.push("", [hit(7, name="far too late")])
    assert window.advance(31 * SECOND) == []
    assert window.counters == {"late_hits": 2, "too_late_hits": 1}


def test_hits_wait_until_their_turn_has_come():
    one = correlation("temporal_ordered", 2)
    window = Window(one)
    window.push("", [hit(6, role=1, name="b")])
    assert window.advance(3 * SECOND) == []
    window.push("", [hit(5, name="a")])
    assert [a.event_ids for a in window.advance(7 * SECOND)] == [("a", "b")]
    assert window.counters == {}


def test_every_bound_holds_and_is_counted():
    one = correlation("event_count", condition={"gte": 1000})
    window = Window(one, WindowLimits(pending=10, groups=5, group_hits=3, hits=8))
    for n in range(200):
        window.push("", [hit(n / 100, group=f"g{n % 7}", name=f"{n}")])
        window.advance(0 if n < 100 else n * SECOND // 100)
        state = window.state()
        held = [len(hits) for _, _, _, hits in state["groups"]]
        assert len(state["pending"]) <= 10
        assert len(held) <= 5
        assert sum(held) <= 8
        assert all(count <= 3 for count in held)
    assert window.counters["hits_taken_early"] > 0
    assert window.counters["groups_evicted"] > 0
    alone = Window(one, WindowLimits(group_hits=3))
    alone.push("", [hit(n / 100, name=f"{n}") for n in range(10)])
    alone.advance(None)
    assert alone.counters["group_hits_evicted"] == 7


def test_groups_whose_window_is_over_are_forgotten():
    one = correlation("event_count", condition={"gte": 2})
    window = Window(one)
    window.push("", [hit(n / 10, group=n, name=f"{n}") for n in range(1000)])
    window.advance(100 * SECOND)
    assert len(window.state()["groups"]) <= 101
    assert "groups_evicted" not in window.counters


def test_a_state_of_another_condition_is_ignored():
    old = Window(correlation("event_count", condition={"gte": 3}))
    old.push("", [hit(0), hit(1)])
    old.advance(None)
    new = Window(correlation("event_count", condition={"gte": 4}))
    new.restore(old.state())
    assert new.state()["groups"] == []


@pytest.mark.parametrize("size", [20_000])
def test_value_counts_of_a_full_window_stay_cheap(size):
    # Counting the window anew at every hit would be 2e8 steps here.
    one = correlation("value_count", condition={"gte": size + 1, "field": "modbus.address"}, timespan="1d")
    assert run(one, [hit(n / 100, value=n, name=str(n)) for n in range(size)], group_hits=size) == []
