"""Hits per second of every type of correlation, beside a bare loop and beside windows that are counted anew.

usage: run.py [--hits N] [--groups N] [--rate HITS_PER_SECOND] [--rounds N] [--detector]

Made-up hits in order of time, evenly over the groups, in batches of 65,536 as a store gives them; windows of five
minutes. ``bare`` is the shortest loop that keeps such windows (a deque of times a group): no values, no evidence, no
state to save; it says what this processor and interpreter can do at all. ``anew`` counts distinct values over the
whole window at each hit, as engines do that keep no counts; it is run on a part of the hits, for it is slow.

CPU seconds of this process (user and system), medians of several rounds in turn. ``--detector`` adds the way from
event tables through the detector.
"""

from __future__ import annotations

import argparse
import gc
import random
import statistics
import sys
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import polars as pl  # noqa: E402

from correlate.absence import state_of  # noqa: E402
from correlate.detect import Detector  # noqa: E402
from correlate.hits import Hit  # noqa: E402
from correlate.ir import Correlation, Meta  # noqa: E402
from correlate.parse import parse_documents  # noqa: E402
from event.table import conform  # noqa: E402

MINUTE = 60 * 10**9
BATCH = 65_536
ANEW = 50_000  # hits that the slow way is run on

Raw = tuple[int, int, str, int]


def hits_of(count: int, groups: int, rate: int) -> list[Raw]:
    """(time, role, group, value) in order of time."""
    chance = random.Random(7)
    names = [f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}" for n in range(groups)]
    step = 2 * 10**9 // rate
    now, made = 0, []
    for _ in range(count):
        now += chance.randrange(step)
        made.append((now, chance.randrange(3), names[chance.randrange(groups)], chance.randrange(500)))
    return made


def correlation(kind: str, rules: int, bounds: tuple[tuple[str, float], ...], percentile: float | None) -> Correlation:
    """A correlation over windows of five minutes."""
    meta = Meta(id=kind, title=kind, name=None, level="high", path="", line=1)
    fields = ("modbus.address",) if kind.startswith("value_") else ()
    return Correlation(
        meta, kind, tuple("abc"[:rules]), ("source.ip",), {}, 5 * MINUTE, bounds, None, fields, percentile
    )


def kinds(mean: float) -> list[Correlation]:
    """One of each type, with bounds that some groups reach; ``mean`` hits are in a window."""
    many = round(mean * 1.5)
    return [
        correlation("event_count", 1, (("gte", many),), None),
        correlation("value_count", 1, (("gte", many),), None),
        correlation("temporal", 3, (("gte", 3),), None),
        correlation("temporal_ordered", 3, (("gte", 3),), None),
        correlation("temporal_ordered", 3, (("gte", 2),), None),
        correlation("value_sum", 1, (("gte", 250 * many),), None),
        correlation("value_avg", 1, (("gte", 320),), None),
        correlation("value_median", 1, (("gte", 350),), None),
        correlation("value_percentile", 1, (("gte", 498),), 95),
        correlation("absence", 2, (), None),
    ]


def streaming(one: Correlation, raw: list[Raw]) -> tuple[float, int]:
    """CPU seconds of our state over the hits, and alarms."""
    roles = len(one.rules)
    answers = one.type == "absence"  # one hit in fifty, so that some waits are in vain
    hits = [
        Hit(
            at,
            int(value % 50 == 0) if answers else role % roles,
            (f"e{n}",),
            1,
            1,
            (group,),
            (value,),
            group,
            "10.0.0.1",
            "modbus",
            None,
        )
        for n, (at, role, group, value) in enumerate(raw)
    ]
    window = state_of(one)
    gc.collect()
    alarms, started = 0, time.process_time()
    for begin in range(0, len(hits), BATCH):
        batch = hits[begin : begin + BATCH]
        window.push("", batch)
        alarms += len(window.advance(batch[-1].time - 1))
    alarms += len(window.advance(None))
    return time.process_time() - started, alarms


def bare(many: int, raw: list[Raw]) -> tuple[float, int]:
    """The shortest loop for event_count."""
    windows: dict[str, deque[int]] = {}
    gc.collect()
    found, started = 0, time.process_time()
    for at, _, group, _ in raw:
        inside = windows.get(group)
        if inside is None:
            inside = windows[group] = deque()
        inside.append(at)
        since = at - 5 * MINUTE
        while inside[0] < since:
            inside.popleft()
        found += len(inside) >= many
    return time.process_time() - started, found


def anew(many: int, raw: list[Raw]) -> tuple[float, int]:
    """Distinct values counted over the whole window at each hit."""
    windows: dict[str, deque[tuple[int, int]]] = {}
    found, started = 0, time.process_time()
    for at, _, group, value in raw:
        inside = windows.setdefault(group, deque())
        inside.append((at, value))
        since = at - 5 * MINUTE
        while inside[0][0] < since:
            inside.popleft()
        found += len({one for _, one in inside}) >= many
    return time.process_time() - started, found


RULES = """
title: Write
id: 33333333-0000-4000-8000-000000000001
name: write
logsource: {product: ics, service: modbus}
detection: {sel: {modbus.access: write}, condition: sel}
---
title: Many values
id: 33333333-0000-4000-8000-000000000002
correlation:
  type: value_count
  rules: [write]
  group-by: [source.ip]
  timespan: 5m
  condition: {gte: MANY, field: modbus.address}
"""


def detector(many: int, raw: list[Raw]) -> tuple[float, int]:
    """From event tables through the rule and its correlation."""
    ruleset = parse_documents([Path("bench.yml")], [RULES.replace("MANY", str(many)).encode()], {})
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    table = conform(
        pl.DataFrame(
            {
                "@timestamp": pl.Series([at for at, *_ in raw]).cast(pl.Duration("ns")) + begin,
                "event.id": [f"e{n:09}" for n in range(len(raw))],
                "source.ip": [group for _, _, group, _ in raw],
                "destination.ip": "10.0.0.1",
                "modbus.address": [value for *_, value in raw],
                "modbus.access": "write",
                "event.dataset": "modbus",
                "event.kind": "event",
            }
        )
    )
    engine = Detector(ruleset, lateness=timedelta(0))
    gc.collect()
    alarms, started = 0, time.process_time()
    for part in table.iter_slices(BATCH):
        alarms += engine.feed(part).height
    alarms += engine.finish().height
    return time.process_time() - started, alarms


def main() -> None:
    """Run everything in turn, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hits", type=int, default=1_000_000)
    parser.add_argument("--groups", type=int, default=10_000)
    parser.add_argument("--rate", type=int, default=1_000, help="hits a second of event time, over all groups")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--detector", action="store_true")
    given = parser.parse_args()
    raw = hits_of(given.hits, given.groups, given.rate)
    mean = 300 * given.rate / given.groups
    many = round(mean * 1.5)
    runs: dict[str, tuple[int, Callable[[], tuple[float, int]]]] = {
        "bare: event_count": (len(raw), lambda: bare(many, raw)),
        "anew: value_count": (min(ANEW, len(raw)), lambda: anew(many, raw[:ANEW])),
    }
    for one in kinds(mean):
        some = (
            f" (any {round(one.conditions[0][1])} of {len(one.rules)})" if one.conditions[:1] == (("gte", 2),) else ""
        )
        runs[one.type + some] = (len(raw), lambda one=one: streaming(one, raw))  # type: ignore[misc]
    if given.detector:
        runs["tables to alerts: value_count"] = (len(raw), lambda: detector(many, raw))
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    found: dict[str, int] = {}
    for _ in range(given.rounds):
        for name, (_, run) in runs.items():
            spent, found[name] = run()
            seconds[name].append(spent)
    print(
        f"{given.hits:,} hits, {given.groups:,} groups, {mean:.0f} hits in a window of a group, CPU seconds, median of {given.rounds}"
    )
    print(f"{'':34}{'CPU s':>8}{'k hits/s':>10}{'alarms':>10}")
    for name, (count, _) in runs.items():
        middle = statistics.median(seconds[name])
        print(f"{name:34}{middle:8.2f}{count / middle / 1000:10,.0f}{found[name]:10,}")


if __name__ == "__main__":
    main()
