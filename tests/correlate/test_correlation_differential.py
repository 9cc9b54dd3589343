"""Streaming correlations against a reference that looks at every window as a whole, and against pySigma's SQLite.

What the two oracles and we read differently is listed in ``docs/correlation.md``.
"""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sigma.backends.sqlite import sqliteBackend
from sigma.collection import SigmaCollection

from correlate.absence import Absence, state_of
from correlate.hits import Alarm, Hit, WindowLimits
from correlate.ir import Correlation
from correlate.window import Queue
from tests.correlate.correlation_makers import SECOND, correlation, documents, hit
from tests.correlate.reference_window import alerts, in_order

FIELD = "modbus.address"
KINDS = [
    correlation("event_count", condition={"gte": 3}),
    correlation("event_count", 2, condition={"gt": 2, "lte": 5}),
    correlation("event_count", condition={"gte": 2, "neq": 4}),
    correlation("event_count", condition={"eq": 2}),
    correlation("event_count", condition={"neq": 2}),
    correlation("event_count", condition={"lt": 3}),
    correlation("value_count", condition={"gte": 3, "field": FIELD}),
    correlation("value_count", 2, condition={"gt": 1, "lt": 4, "field": FIELD}),
    correlation("temporal", 3),
    correlation("temporal", 3, condition={"gte": 2}),
    correlation("temporal", 3, condition={"gt": 1, "lte": 2}),
    correlation("temporal", 3, condition="a and b and not c"),
    correlation("temporal", 3, condition="a and (b or not c)"),
    correlation("temporal", 3, condition="not (a and b) or c"),
    correlation("temporal_ordered", 2),
    correlation("temporal_ordered", 3),
    correlation("temporal_ordered", 3, condition="a and b and c"),
    correlation("temporal_ordered", 3, condition={"gte": 2}),
    correlation("temporal_ordered", 4, condition={"gt": 2}),
    correlation("value_sum", condition={"gt": 9, "field": FIELD}),
    correlation("value_sum", condition={"gt": 2.5, "lte": 9.5, "field": FIELD}),
    correlation("value_avg", condition={"gte": 2.5, "field": FIELD}),
    correlation("value_median", condition={"gte": 2.5, "field": FIELD}),
    correlation("value_percentile", condition={"gte": 4, "field": FIELD, "percentile": 80}),
    correlation("value_percentile", condition={"lt": 2, "field": FIELD, "percentile": 0}),
    correlation("absence", 2),
    correlation("absence", 3),
    correlation("absence", 1),
]


@st.composite
def streams(draw: st.DrawFn) -> list[Hit]:
    """Hits in bursts whose distance is about the window's length, so that its edges are met to the nanosecond."""
    hits = []
    for number in range(draw(st.integers(1, 30))):
        time = draw(st.sampled_from([0, 5, 10, 20, 21, 30, 40])) + draw(st.sampled_from([0, 0, 0.5, 1, 1e-9]))
        value = st.one_of(st.none(), st.integers(0, 5), st.sampled_from([0.5, 2.5, 0.1, -3]))
        hits.append(
            hit(
                time,
                role=draw(st.integers(0, 3)),
                group=draw(st.sampled_from(["g", "h", None])),
                value=draw(st.one_of(value, st.lists(value, max_size=3))) or None,
                weight=draw(st.sampled_from([1, 1, 1, 2])),
                name=f"e{number}",
            )
        )
    return hits


def fitted(one: Correlation, hits: list[Hit]) -> list[Hit]:
    """Hits whose roles the correlation has."""
    return [h._replace(role=h.role % len(one.rules)) for h in hits]


def restarted(window: Queue) -> Queue:
    """What goes on where ``window`` stopped, through JSON."""
    again = state_of(window.correlation, window.limits)
    again.restore(json.loads(json.dumps(window.state())))
    return again


def told(alarms: list[Alarm]) -> list[tuple[int, Any]]:
    """Time and group, as the reference gives them."""
    return sorted(((one.time, one.group) for one in alarms), key=repr)


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(KINDS), streams(), st.lists(st.integers(1, 50), max_size=5), st.lists(st.booleans(), min_size=6))
def test_streams_cut_anywhere_and_restarted_anywhere_give_the_alerts_of_the_reference(one, hits, cuts, restarts):
    hits = fitted(one, hits)
    window = state_of(one)
    alarms: list[Alarm] = []
    # Each batch holds a slice of time; within it hits come in any order, as tables of several datasets do.
    borders = sorted(cut * SECOND for cut in cuts)
    for number, (low, high) in enumerate(zip([-1, *borders], [*borders, 10**12], strict=True)):
        window.push("", [h for h in hits if low < h.time <= high])
        alarms += window.advance(high)
        if restarts[number]:
            window = restarted(window)
    assert [a.time for a in alarms] == sorted(a.time for a in alarms)
    assert told(alarms) == alerts(one, hits, 10**12)
    assert window.counters["late_hits"] == 0
    assert window.taken == len(hits)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(KINDS), streams(), st.integers(1, 12), st.data())
def test_hits_that_come_late_within_lateness_change_nothing(one, hits, lateness, data):
    """Each hit is delayed by up to ``lateness``; the watermark stays that far behind."""
    hits = fitted(one, hits)
    arrivals = sorted(
        ((h.time + round(data.draw(st.floats(0, lateness)) * SECOND), h) for h in in_order(hits)), key=lambda p: p[0]
    )
    window = state_of(one)
    alarms: list[Alarm] = []
    newest = 0
    for _, h in arrivals:
        window.push("", [h])
        newest = max(newest, h.time)
        alarms += window.advance(newest - lateness * SECOND - 1)
        if data.draw(st.integers(0, 9)) == 0:
            window = restarted(window)
    alarms += window.advance(10**12)
    assert told(alarms) == alerts(one, hits, 10**12)
    assert window.counters["late_hits"] == window.counters["too_late_hits"] == 0


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(KINDS), streams(), st.lists(st.integers(0, 45), min_size=40, max_size=40), st.booleans())
def test_hits_in_no_order_at_all_are_each_taken_or_counted(one, hits, watermarks, restart):
    """Beyond lateness there is no promise of equal alerts; none is made up, and no hit is lost from the account."""
    hits = fitted(one, hits)
    window = state_of(one)
    alarms: list[Alarm] = []
    for h, mark in zip(hits, watermarks, strict=False):
        window.push("", [h])
        alarms += window.advance(mark * SECOND)
        if restart:
            window = restarted(window)
    alarms += window.advance(None)
    assert window.taken == len(hits)
    seen = {(h.time, h.group) for h in hits}
    assert all((a.time - (one.timespan_ns if one.type == "absence" else 0), a.group) in seen for a in alarms)
    assert window.counters["too_late_hits"] <= window.counters["late_hits"] + window.counters["hits_taken_early"]
    again = restarted(window)
    assert again.state() == window.state()


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(streams(), st.integers(1, 3), st.integers(1, 2))
def test_full_groups_of_an_absence_lose_no_alert_in_order_of_time(hits, most, rules):
    one = correlation("absence", rules)
    hits = [h for h in fitted(one, hits) if h.group[0] is not None]
    window = Absence(one, WindowLimits(group_hits=most))
    window.push("", hits)
    alarms = window.advance(10**12)
    assert told(alarms) == alerts(one, hits, 10**12)


# --- a second opinion: pySigma's SQLite backend --------------------------------------------------------------------

SECOND_OPINION = [
    ("event_count", 1, {"gte": 3}),
    ("event_count", 2, {"gt": 3}),
    ("event_count", 1, {"eq": 2}),
    ("event_count", 1, {"lt": 3}),
    ("value_count", 1, {"gte": 3, "field": "value"}),
    ("temporal", 2, None),
    ("temporal", 3, {"gte": 2}),
    ("temporal", 3, "a and (b or c)"),
    ("temporal_ordered", 2, None),
    ("temporal_ordered", 3, None),
    ("temporal_ordered", 3, {"gte": 2}),
    ("value_sum", 1, {"gt": 9, "field": "value"}),
    ("value_avg", 1, {"gte": 3, "field": "value"}),
    ("value_median", 1, {"gte": 3, "field": "value"}),
    ("value_percentile", 1, {"gte": 4, "field": "value", "percentile": 80}),
]


def windows_of_sqlite(parts: list[dict[str, Any]], hits: list[Hit], group: list[str]) -> set[tuple[int, Any]]:
    """(end, group) of every window for which SQLite finds the condition true."""
    (query,) = sqliteBackend().convert(SigmaCollection.from_dicts(parts))
    with closing(sqlite3.connect(":memory:")) as base:
        base.execute("CREATE TABLE logs (timestamp TEXT, role INT, grp TEXT, other TEXT, value)")
        for one in hits:
            time = datetime.fromtimestamp(one.time / SECOND, UTC).isoformat(timespec="milliseconds")
            row = (time[:23], one.role, *one.group, *one.group, *one.values)
            base.execute("INSERT INTO logs VALUES (?, ?, ?, ?, ?)", row)
        rows = base.execute(query).fetchall()
    return {(round(row[2]) * SECOND, tuple(json.loads(row[1])[name] for name in group)) for row in rows}


def edges(true: set[tuple[int, Any]], asked: dict[Any, list[int]], span: int) -> list[tuple[int, Any]]:
    """When we alert, given the times at which the condition holds among those at which it is asked."""
    expected = []
    for group, times in asked.items():
        before, alerted = False, 0
        for time in sorted(times):
            now = (time, group) in true
            if now and (not before or time - alerted > span):
                expected.append((time, group))
                alerted = time
            before = now
    return sorted(expected)


def asked_at(hits: list[Hit]) -> dict[Any, list[int]]:
    """Times of the hits of each group."""
    asked: dict[Any, list[int]] = {}
    for one in hits:
        if None not in one.group:
            asked.setdefault(one.group, []).append(one.time)
    return asked


@st.composite
def seconds(draw: st.DrawFn, rules: int) -> list[Hit]:
    """Hits at whole and distinct seconds: SQLite's clock has milliseconds, and order within one time is ours."""
    return [
        hit(
            1_000_000 + time,
            role=draw(st.integers(0, rules - 1)),
            group=draw(st.sampled_from(["g", "h", None])),
            value=draw(st.one_of(st.none(), st.integers(0, 5))),
        )
        for time in draw(st.lists(st.integers(0, 60), min_size=1, max_size=30, unique=True))
    ]


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(SECOND_OPINION), st.data())
def test_sqlite_sees_the_same_windows(what, data):
    kind, rules, condition = what
    parts = documents(kind, rules, **{"group-by": ["grp"]}, **({"condition": condition} if condition else {}))
    parts = [*parts[:rules], parts[-1]]
    hits = data.draw(seconds(rules))
    true = windows_of_sqlite(parts, hits, ["grp"])
    one = correlation(kind, rules, **{"group-by": ["grp"]}, **({"condition": condition} if condition else {}))
    window = state_of(one)
    window.push("", hits)
    assert sorted(told(window.advance(None))) == edges(true, asked_at(hits), 10 * SECOND)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_sqlite_finds_the_same_absences_with_an_extended_condition(data):
    """``a and not b`` is, to that backend, what we call absence: a window that begins with a and is over."""
    parts = documents("temporal", 2, condition="a and not b", **{"group-by": ["grp"]})
    hits = data.draw(seconds(2))
    end = 1_000_000 + data.draw(st.integers(0, 80))
    beyond = hit(end, role=3, group="z")  # sets the horizon, matches nothing
    true = windows_of_sqlite([*parts[:2], parts[-1]], [*hits, beyond], ["grp"])
    one = correlation("absence", 2, **{"group-by": ["grp"]})
    span, newest = one.timespan_ns, max(h.time for h in [*hits, beyond])
    window = state_of(one)
    window.push("", hits)
    # That backend decides windows that end with the very newest event, we wait for a later one.
    alarms = window.advance(None, newest + 1)
    asked = {
        group: sorted(h.time + span for h in hits if h.group == group and h.role == 0 and h.time + span <= newest)
        for group in asked_at(hits)
    }
    assert sorted(told(alarms)) == edges(true, asked, span)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_sqlite_sees_the_same_windows_through_aliases(data):
    aliases = {"who": {"a": "grp", "b": "other"}}
    parts = documents("temporal", 2, aliases=aliases, **{"group-by": ["who"]})
    hits = data.draw(seconds(2))
    true = windows_of_sqlite([*parts[:2], parts[-1]], hits, ["who"])
    one = correlation("temporal", 2, aliases=aliases, **{"group-by": ["who"]})
    assert [one.field_of("who", rule) for rule in one.rules] == ["grp", "other"]
    window = state_of(one)
    window.push("", hits)
    assert sorted(told(window.advance(None))) == edges(true, asked_at(hits), 10 * SECOND)


@pytest.mark.parametrize(
    ("condition", "ours", "theirs"),
    [
        # We look back from each hit, as engines on streams do; the backend looks forward from each positive hit and
        # waits for the end of the window. Who means the latter writes type absence.
        ("a and not b", [1_000_000], [1_000_010]),
    ],
)
def test_where_not_is_read_otherwise(condition, ours, theirs):
    parts = documents("temporal", 2, condition=condition, **{"group-by": ["grp"]})
    hits = [hit(1_000_000), hit(1_000_030, role=1)]
    true = windows_of_sqlite([*parts[:2], parts[-1]], hits, ["grp"])
    assert sorted(time // SECOND for time, _ in true) == theirs
    window = state_of(correlation("temporal", 2, condition=condition))
    window.push("", hits)
    assert [alarm.time // SECOND for alarm in window.advance(None)] == ours
