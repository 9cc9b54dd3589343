"""SigmaHQ's own positive tests: every public rule matches the events that were recorded for it, as often as they say.

The events go the whole way: the Windows event log file (or the same events as JSON) through the sensor's parser, the
log-source routing and all public rules at once.
"""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import polars as pl
import pytest
import yaml

from correlate.detect import Detector
from correlate.ir import Rule, RuleSet
from correlate.logsources import gate
from correlate.mapping import mapping_of
from correlate.rules import load_rules
from sensor.reader import open_input


def beside(name: str) -> ModuleType:
    """A module of this folder."""
    spec = spec_from_file_location(f"correlate_tests_{name}", Path(__file__).parent / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


naive = beside("naive")

SIGMA = Path(__file__).parents[2].parent / "shared" / "sigma"
DATA = SIGMA / "regression_data"

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="the public rules and their samples are not here")

EXPECTED_OTHERWISE: dict[str, tuple[int, str]] = {
    "8fbf3271-1ef6-4e94-8210-03c2317947f6": (3, "three files of the six events have names that the rule lists"),
}
"""Rule id to (matches, why it is not what info.yml says)."""


OURS = {"event.id", "event.dataset", "event.kind", "event.module", "log.file.path", "observer.name", "flow.id"}
"""Columns that keywords do not look into: they are ours, not the event's content."""


@dataclass(frozen=True)
class Sample:
    """One line of an info.yml."""

    rule: str
    title: str
    path: Path
    count: int | None


def samples() -> Iterator[Sample]:
    for info in sorted(DATA.rglob("info.yml")):
        data = yaml.safe_load(info.read_text("utf-8"))
        for test in data.get("regression_tests_info") or ():
            for rule in data["rule_metadata"]:
                yield Sample(rule["id"], rule["title"], SIGMA / test["path"], test.get("match_count"))


@lru_cache(1)
def public_rules() -> RuleSet:
    return load_rules([SIGMA / "sigmahq-rules"], keep_going=True)


def tables(sources: dict[str, Any]) -> Iterator[tuple[str, pl.DataFrame]]:
    for name, source in sources.items():
        for table in open_input(source, name=name).tables():
            yield name, table


def matches(sources: dict[str, Any]) -> Counter[tuple[str, str]]:
    """(rule, name of the source) of every alert of all public rules over all sources."""
    detector = Detector(public_rules())
    owner: dict[str, str] = {}
    found: Counter[tuple[str, str]] = Counter()
    for name, table in tables(sources):
        owner |= dict.fromkeys(table["event.id"].to_list(), name)
        for rule, one in alerted(detector, table):
            found[rule, owner[one]] += 1
    return found


def alerted(detector: Detector, table: pl.DataFrame) -> Iterator[tuple[str, str]]:
    """Rule and event of each alert."""
    alerts = detector.feed(table)
    if not alerts.is_empty():
        yield from zip(alerts["rule.id"].to_list(), (one[0] for one in alerts["alert.event_ids"]), strict=True)


def as_lines(path: Path) -> io.BytesIO:
    """The events of a JSON sample, one a line."""
    text = path.read_text("utf-8-sig")
    records: list[Any] = []
    decoder = json.JSONDecoder()
    place = 0
    while text[place:].strip():
        place += len(text[place:]) - len(text[place:].lstrip())
        record, place = decoder.raw_decode(text, place)
        records += record if isinstance(record, list) else [record]
    return io.BytesIO("".join(json.dumps(one) + "\n" for one in records).encode())


def compare(kind: str, found: Counter[tuple[str, str]], some: list[tuple[Sample, str]]) -> list[str]:
    """Print a line for each sample; return what is not as it should be."""
    here = {rule.id for rule in public_rules().rules if rule.error is None}
    wrong: list[str] = []
    print(f"\n{kind}: {'rule':<66} stated found")
    for sample, name in some:
        if sample.rule not in here:
            print(f"  {sample.title[:70]:<70} {sample.count or '-':>6}     -  (not among the rules that are here)")
            continue
        count = found[sample.rule, name]
        wanted, why = EXPECTED_OTHERWISE.get(sample.rule, (sample.count, ""))
        print(f"  {sample.title[:70]:<70} {sample.count or '-':>6} {count:>5}  {why}")
        if count != wanted if wanted is not None else count < 1:
            wrong.append(f"{sample.title} ({name}): {count} instead of {wanted or 'some'}")
    return wrong


def test_every_public_rule_loads_and_those_without_events_are_named():
    rules, problems = public_rules().rules, public_rules().problems
    without = Counter(" ".join(part or "-" for part in rule.logsource) for rule in rules if not rule.route)
    print(f"\n{len(rules)} rules, {len(rules) - without.total()} with events; without:")
    for logsource, count in without.most_common():
        print(f"  {count:>4} {logsource} (product, category, service)")
    assert len(rules) == sum(1 for _ in (SIGMA / "sigmahq-rules").rglob("*.yml"))
    assert [str(one) for one in problems if one.severity == "error"] == []
    assert [rule.meta.path for rule in rules if rule.condition is None] == []
    assert {one.partition(" ")[0] for one in without} <= {
        *("macos", "cisco", "fortigate", "huawei", "juniper", "jvm", "spring", "django", "nodejs", "python"),
        *("ruby_on_rails", "sql", "velocity", "-"),
    }


def test_every_public_rule_matches_its_event_log_as_often_as_stated():
    pytest.importorskip("evtx")
    some = [(one, str(one.path.relative_to(DATA))) for one in samples() if one.path.suffix == ".evtx"]
    assert len(some) > 90
    found = matches({name: one.path for one, name in some})
    assert compare("EVTX", found, some) == []


def test_every_public_rule_matches_the_same_events_as_json():
    some = [
        (one, str(one.path.with_suffix(".json").relative_to(DATA)))
        for one in samples()
        if one.path.with_suffix(".json").is_file()
    ]
    assert len(some) > 90
    found = matches({name: as_lines(DATA / name) for _, name in some})
    assert compare("JSON", found, some) == []


def looks_at(rule: Rule, event: dict[str, Any]) -> bool:
    """Whether the event is of the rule's log source; the naive evaluator knows nothing of log sources."""
    if not rule.route.takes(event["event.dataset"]):
        return False
    within = gate(rule.logsource, rule.fields, rule.condition)[1]
    return within is None or holds(within, event)


def holds(node: list[Any], event: dict[str, Any]) -> bool:
    if node[0] == "atom":
        _, field, op, wanted = node
        assert op == "eq"
        value = event.get(field)
        return any(str(one).lower() == wanted for one in (value if isinstance(value, list) else [value]))
    return (all if node[0] == "and" else any)(holds(one, event) for one in node[1])


def both(step: int) -> tuple[set[tuple[str, str]], set[tuple[str, str]], int]:
    """Hits of the engine and of the naive evaluator; of the rules that hit nothing, every step-th one."""
    pytest.importorskip("evtx")
    sources = {str(path.relative_to(DATA)): path for path in sorted(DATA.rglob("*.evtx"))}
    detector = Detector(public_rules())
    engine: set[tuple[str, str]] = set()
    events: list[dict[str, Any]] = []
    for _, table in tables(sources):
        engine.update(alerted(detector, table))
        events += table.to_dicts()
    hit = {rule for rule, _ in engine}
    usable = [rule for rule in public_rules().rules if rule.error is None and rule.route]
    reference: set[tuple[str, str]] = set()
    asked = 0
    for number, rule in enumerate(usable):
        if number % step and rule.id not in hit:
            continue
        document = yaml.load(Path(rule.meta.path).read_text("utf-8"), Loader=yaml.CSafeLoader)
        names = mapping_of(rule.logsource)
        for event in events:
            if looks_at(rule, event):
                asked += 1
                content = {name: value for name, value in event.items() if name not in OURS}
                if naive.rule_matches(document, content, names=names):
                    reference.add((rule.id, event["event.id"]))
    print(f"{len(events)} events, {asked} pairs of rule and event asked, {len(engine)} hits")
    return engine, reference, asked


def test_the_engine_finds_in_the_event_logs_what_the_naive_evaluator_finds():
    engine, reference, asked = both(100)
    assert asked > 2000
    assert engine == reference


@pytest.mark.slow
def test_every_public_rule_agrees_with_the_naive_evaluator_on_every_event():
    engine, reference, asked = both(1)
    assert asked > 80_000
    assert engine == reference
