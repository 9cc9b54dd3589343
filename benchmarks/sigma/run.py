"""Public Sigma rules over Windows events: from JSON lines and from tables, processor seconds, hit sets compared first.

Rules: a checkout of SigmaHQ's repository ``sigma``. Events: the host logs of OTRF's ``Security-Datasets``, unpacked into
one file with one JSON object a line (flat, as NXLog writes them). Neither is ours to ship.

    POLARS_MAX_THREADS=1 .venv/bin/python benchmarks/sigma/run.py --rules sigma --events mordor.jsonl --limit 200000

``--unique`` puts a number into every text but those that name the kind of event and its time, so that nothing that is
remembered of a value helps. ``--without Message``
leaves that member of every event out: the text that a collector renders says again what the other members say, and is
a third of these lines.

Each contender is a process of its own, in turn with rsigma, for machines are not equally fast all the time. A first
round of all is not counted: it compiles kernels and plans, and the memory of a virtual machine that nobody has touched
yet costs its first user many times what it costs later ones. Seconds are
those of the whole process, reading and the loading of rules (from the cache) included; tables lie in memory before
their clock starts.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from itertools import starmap
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

import orjson
import others
import peer
import polars as pl

from cli.process import settle
from correlate.detect import Detector
from correlate.ir import RuleSet
from correlate.lines import SievedLines
from correlate.rules import load_rules
from event.table import concat, conform
from sensor import reader
from sensor.capture import open_bytes
from sensor.line_tables import lines_of
from sensor.parsers.windows import WindowsParser

Hits = set[tuple[str, str]]
Block = tuple[memoryview, int]
_BLOCK = 8 << 20
_SHOWN = 12
_KEPT = frozenset({"EventID", "event_id", "Channel", "channel", "log_name", "@timestamp", "EventTime"})


def prepared(path: Path, limit: int, into: Path, *, unique: bool, without: Sequence[str] = ()) -> int:
    """Write the lines to run over to a file; how many there are.

    Args:
        path: One JSON object a line.
        limit: So many lines at most.
        into: To write.
        unique: Put the number of the line into every text.
        without: Members to leave out of each object.
    """
    count = 0
    with path.open("rb") as file, into.open("wb") as out:
        for number, line in enumerate(file):
            if number == limit:
                break
            if unique or without:
                event = orjson.loads(line)
                for name in without:
                    event.pop(name, None)
                if unique:
                    event = _numbered(event, number)
                line = orjson.dumps(event) + b"\n"
            out.write(line)
            count += 1
    return count


def _numbered(event: dict[str, Any], number: int) -> dict[str, Any]:
    """The event with a number in every text but those that say what kind of event it is, and when."""
    return {
        key: _numbered(value, number)
        if isinstance(value, dict)
        else f"{value[:6]}{number:x}{value[6:]}"
        if isinstance(value, str) and key not in _KEPT
        else value
        for key, value in event.items()
    }


def blocks(path: Path) -> Iterator[Block]:
    """Blocks of lines and where they stand, as ``sensor.reader`` cuts them."""
    with path.open("rb") as file:
        yield from reader._blocks(open_bytes(file, path.name), {}, _BLOCK)


def tables(some: Iterable[tuple[pl.Series, pl.Series]]) -> Iterator[pl.DataFrame]:
    """Event tables; the place of the line is the event's id."""
    parser = WindowsParser()
    for lines, offsets in some:
        for table in parser.parse(lines, offsets, reference=None):
            yield conform(table.with_columns(pl.col("log.offset").cast(pl.String).alias("event.id")))


def gathered(some: Iterable[pl.DataFrame], rows: int) -> Iterator[pl.DataFrame]:
    """Tables of a dataset together, up to so many rows or a block more: as a store hands them out."""
    held: dict[str, list[pl.DataFrame]] = {}
    for table in some:
        parts = held.setdefault(str(table["event.dataset"][0]), [])
        parts.append(table)
        if sum(one.height for one in parts) >= rows:
            yield conform(concat(parts)).rechunk()
            parts.clear()
    for parts in held.values():
        if parts:
            yield conform(concat(parts)).rechunk()


def hits_of(alerts: pl.DataFrame) -> Hits:
    """Rule and event."""
    if alerts.is_empty():
        return set()
    return set(zip(alerts["rule.id"].to_list(), alerts["alert.event_ids"].list.first().to_list(), strict=True))


def from_lines(ruleset: RuleSet, some: Iterable[Block]) -> Hits:
    """Read, evaluate, make alerts."""
    engine = Detector(ruleset)
    found: Hits = set()
    for table in tables(SievedLines(engine.plan_of, patience=0)(some)):
        found |= hits_of(engine.feed(table))
    return found


def from_tables(ruleset: RuleSet, made: Iterable[pl.DataFrame]) -> Hits:
    """Evaluate, make alerts."""
    engine = Detector(ruleset)
    found: Hits = set()
    for table in made:
        found |= hits_of(engine.feed(table))
    return found


def rules_in(folder: Path, cache: Path) -> RuleSet:
    """The rules for Windows."""
    folders = [one for one in sorted(folder.glob("rules*")) if one.is_dir()]
    ruleset = load_rules(folders, keep_going=True, cache_dir=cache)
    windows = tuple(one for one in ruleset.rules if one.logsource[0] == "windows" and one.condition is not None)
    return replace(ruleset, rules=windows, correlations=())


def evaluated(folder: Path, cache: Path, events: Path) -> tuple[Hits, float]:
    """Hits and seconds of this process; ``events`` is a file of lines or a folder of tables."""
    if events.is_file():
        return from_lines(rules_in(folder, cache), blocks(events)), time.process_time()
    with ExitStack() as files:
        made = [pl.read_ipc(files.enter_context(one.open("rb"))).rechunk() for one in sorted(events.iterdir())]
    started = time.process_time()
    return from_tables(rules_in(folder, cache), made), time.process_time() - started


def ready(folder: Path, cache: Path) -> tuple[int, float, float]:
    """How many rules there are, and seconds until they are loaded, and from then on until the largest plan is ready."""
    started = time.process_time()
    ruleset = rules_in(folder, cache)
    loaded = time.process_time()
    plan = Detector(ruleset).plan_of("windows.sysmon")
    if plan is None:
        raise SystemExit(f"{folder} holds no rule that looks at Sysmon")
    for field in plan.columns.atoms:
        plan.columns[field].prepare()
    return len(ruleset.rules), loaded - started, time.process_time() - loaded


_Result = TypeVar("_Result")


def apart(work: Callable[..., _Result], *of: Path) -> _Result:
    """Do it in a new process."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=settle) as pool:
        return pool.submit(work, *of).result()


def beside(
    name: str, theirs: Hits, spent: float, ruleset: RuleSet, ours: Hits, count: int, middles: dict[str, float]
) -> None:
    """Say in which hits a peer differs, by rule, and only then how long it took."""
    print(
        f"{name}, hits: {len(ours & theirs):,} common, {len(theirs - ours):,} only there, {len(ours - theirs):,} only ours"
    )
    titles = {one.id: (one.meta.title, one.logsource) for one in ruleset.rules}
    for where, some in (("only there", theirs - ours), ("only ours", ours - theirs)):
        for rule, times in Counter(rule for rule, _ in some).most_common(_SHOWN):
            print(f"  {where}: {times:,} of {' '.join(map(str, titles.get(rule, (rule,))))}")
    print(f"{name}: {spent:.2f} s, {count / spent:,.0f} events/s")
    for what, middle in middles.items():
        print(f"{what}: {spent / middle:.1f} times as fast as {name}")


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rules", type=Path, required=True)
    parser.add_argument("--events", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=1_000_000)
    parser.add_argument("--rows", type=int, default=65_536, help="of a table, as the embedded store hands them out")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--unique", action="store_true")
    parser.add_argument("--without", action="append", default=[], metavar="FIELD", help="of each event; repeatable")
    parser.add_argument("--rsigma", type=Path, metavar="PROGRAM", help="to run beside (see peer.py)")
    for name, words in others.NEEDS.items():
        parser.add_argument(f"--{name}", type=Path, nargs=2, metavar=words, help="to run beside (see others.py)")
    wanted = parser.parse_args()
    settle()
    with tempfile.TemporaryDirectory() as name:
        kept = Path(name)
        events, made = kept / "events.jsonl", kept / "tables"
        for state, times in (("compiled", 1), ("from the cache", 5)):
            each = [apart(ready, wanted.rules, kept) for _ in range(times)]
            loading, planning = (statistics.median(one[place] for one in each) for place in (1, 2))
            print(f"{each[0][0]} rules {state}: {loading:.2f} s, the plan of windows.sysmon {planning:.2f} s more")
        count = prepared(wanted.events, wanted.limit, events, unique=wanted.unique, without=wanted.without)
        made.mkdir()
        for place, table in enumerate(gathered(tables(starmap(lines_of, blocks(events))), wanted.rows)):
            table.write_ipc(made / f"{place:06}")
        contenders = {"JSON lines to alerts": events, "tables to alerts": made}
        ruleset = rules_in(wanted.rules, kept)
        rival = None if wanted.rsigma is None else peer.Rsigma(wanted.rsigma, ruleset, kept / "rsigma")
        told, helped = kept / "told.jsonl", kept / "helped.jsonl"
        if rival is not None:
            peer.told(blocks(events), told)
            peer.told(blocks(events), helped, helped=True)
        seconds: dict[str, list[float]] = {}
        hits: dict[str, Hits] = {}
        for number in range(wanted.rounds + 1):
            for name, path in contenders.items():
                hits[name], took = apart(evaluated, wanted.rules, kept, path)
                seconds.setdefault(name, []).append(took)
            if rival is not None:
                seconds.setdefault("rsigma", []).append(rival.seconds(told))
            if not number:
                seconds.clear()
        first, *again = hits.values()
        if any(one != first for one in again):
            raise SystemExit(f"different hits: {[len(one) for one in hits.values()]}")
        print(f"{count:,} events, {len(first):,} hits, the same every way; processor seconds")
        middles = {name: statistics.median(values) for name, values in seconds.items()}
        for name in contenders:
            values = seconds[name]
            several = ", ".join(f"{one:.2f}" for one in values)
            print(f"{name}: {middles[name]:.2f} s ({several}), {count / middles[name]:,.0f} events/s")
        ours = {name: middles[name] for name in contenders}
        if rival is not None:
            beside("rsigma", rival.hits(helped), middles["rsigma"], ruleset, first, count, ours)
        for name, run in others.RUNS.items():
            if (given := getattr(wanted, name)) is not None:
                other = run(given[0], given[1], ruleset, blocks(events))
                beside(name, other.hits, other.seconds, ruleset, first, count, ours)
        absent = [name for name in ("rsigma", *others.NEEDS) if getattr(wanted, name) is None]
        print(f"not given, so left out: {', '.join(absent) or 'none'}")


if __name__ == "__main__":
    main()
