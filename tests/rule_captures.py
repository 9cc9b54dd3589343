"""All rules over all captures: a table of rule x capture, and precision and recall where the truth is known.

Run ``python tests/rule_captures.py [--level low] [--only WORD] [--json]``. It reads every capture of
``../shared/captures`` (not part of this project) and of ``pcaps/``, runs the shipped rules over each by itself, and
prints each pair of a capture and a rule that alerted in it, with the number of alerts and whether the pair is right.

What is right is written in ``tests/data/rule_captures.yml``: for a capture, the rules that must alert, those that may
(what they say is there, though the label does not ask for it), those that are wrong for a known reason, and why. A
capture without a label is taken as one with nothing in it: an alert there of the level asked for is wrong until
somebody looked at it and wrote a label. A pair is
counted once, however many alerts it has. The classes of alerts are explained in ``docs/rule-captures.md``.

These labels were written by people who had seen the alerts. Beside them stands the outcome by labels that were not:
``tests/independent_labels.py`` makes them out of what other programs wrote about the captures.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import yaml

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared" / "captures"
LABELS = ROOT / "tests/data/rule_captures.yml"
LEVELS = ("informational", "low", "medium", "high", "critical")


@dataclass
class Label:
    """What is known of some captures."""

    captures: str
    why: str
    must: list[str] = field(default_factory=list)
    may: list[str] = field(default_factory=list)
    explained: list[str] = field(default_factory=list)

    def fits(self, name: str) -> bool:
        """Whether ``name`` (its path below the folder of captures) is one of them."""
        return fnmatch.fnmatch(name, self.captures)


@dataclass
class Outcome:
    """One capture: alerts by rule (file name without its end) and what the label says."""

    name: str
    alerts: dict[str, int]
    levels: dict[str, str]
    must: frozenset[str]
    may: frozenset[str]
    explained: frozenset[str]
    error: str | None

    def loud(self, level: str) -> list[str]:
        """Rules that alerted at ``level`` or above."""
        least = LEVELS.index(level)
        return [rule for rule in self.alerts if LEVELS.index(self.levels[rule]) >= least]

    def verdict(self, rule: str) -> str:
        """``right``; ``explained``: wrong, and why is known; or ``WRONG``."""
        if rule in self.must | self.may:
            return "right"
        return "explained" if rule in self.explained else "WRONG"


def labels() -> list[Label]:
    """The labels, in order."""
    return [Label(**one) for one in yaml.safe_load(LABELS.read_text("utf-8"))["labels"]]


def captures() -> Iterator[tuple[str, Path]]:
    """Name and file of every capture."""
    from sensor.capture import capture_kind

    for base in (SHARED, ROOT / "pcaps"):
        for path in sorted(base.rglob("*")):
            if path.is_file() and "expected" not in path.parts:
                with path.open("rb") as file:
                    if capture_kind(file.read(12)) is None:
                        continue
                inside = path.relative_to(base)
                # in the shared ones, a capture lies in a folder that has its name
                yield (inside.parent if base == SHARED else Path("pcaps") / inside).as_posix(), path


def alerts_of(path: Path, ruleset: Any) -> tuple[dict[str, int], dict[str, str], str | None]:
    """Alerts by rule, the level of each rule, and what ended the input."""
    from correlate.detect import Detector
    from event.errors import InputError
    from sensor.reader import open_input

    stems = {rule.id: Path(rule.meta.path).stem for rule in ruleset.all()}
    detector = Detector(ruleset)
    found: list[pl.DataFrame] = []
    ended = None
    try:
        found.extend(detector.feed(table) for table in open_input(path).tables())
    except InputError as problem:
        ended = str(problem)
    found.append(detector.finish())
    counts: Counter[str] = Counter()
    levels: dict[str, str] = {}
    for table in found:
        if table.is_empty():
            continue
        for identity, level, number in table.group_by("rule.id", "rule.level").len().iter_rows():
            counts[stems[identity]] += number
            levels[stems[identity]] = level
    return dict(counts), levels, ended


def run(only: str = "") -> Iterator[Outcome]:
    """Every capture whose name holds ``only``."""
    from correlate.rules import load_rules

    ruleset = load_rules()
    known = labels()
    for name, path in captures():
        if only not in name:
            continue
        fitting = [label for label in known if label.fits(name)]
        alerts, levels, error = alerts_of(path, ruleset)
        must = frozenset(rule for label in fitting for rule in label.must)
        may = frozenset(rule for label in fitting for rule in label.may)
        explained = frozenset(rule for label in fitting for rule in label.explained)
        yield Outcome(name, alerts, levels, must, may, explained, error)


def score(outcomes: list[Outcome], level: str) -> dict[str, int | float]:
    """Pairs of capture and rule: right, wrong, missed; precision and recall."""
    right = explained = wrong = missed = found = quiet = 0
    for one in outcomes:
        loud = one.loud(level)
        right += sum(one.verdict(rule) == "right" for rule in loud)
        explained += sum(one.verdict(rule) == "explained" for rule in loud)
        wrong += sum(one.verdict(rule) == "WRONG" for rule in loud)
        found += sum(rule in one.alerts for rule in one.must)
        missed += sum(rule not in one.alerts for rule in one.must)
        quiet += not loud
    return {
        "captures": len(outcomes),
        "captures_without_alert": quiet,
        "alerting_pairs": right + explained + wrong,
        "right": right,
        "explained": explained,
        "wrong": wrong,
        "expected_pairs": found + missed,
        "found": found,
        "missed": missed,
        "precision": round(right / (right + explained + wrong), 4) if right + explained + wrong else 1.0,
        "recall": round(found / (found + missed), 4) if found + missed else 1.0,
    }


def compare(
    outcomes: list[Outcome], verdicts: Mapping[str, Mapping[str, bool]]
) -> tuple[dict[str, int | float], list[str]]:
    """Alerts of every level against independent labels: the figures, and each pair that differs."""
    both = extra = lacking = neither = captures = 0
    differing: list[str] = []
    for one in outcomes:
        if one.name not in verdicts:
            continue
        captures += 1
        for rule, deserved in sorted(verdicts[one.name].items()):
            alerted = rule in one.alerts
            both += deserved and alerted
            neither += not deserved and not alerted
            extra += alerted and not deserved
            lacking += deserved and not alerted
            if alerted != deserved:
                differing.append(f"{one.name}: {rule} {'alerted, not labelled' if alerted else 'labelled, no alert'}")
    figures: dict[str, int | float] = {
        "captures": captures,
        "rules": len({rule for rules in verdicts.values() for rule in rules}),
        "pairs": both + extra + lacking + neither,
        "labelled_and_alerted": both,
        "alerted_only": extra,
        "labelled_only": lacking,
        "precision": round(both / (both + extra), 4) if both + extra else 1.0,
        "recall": round(both / (both + lacking), 4) if both + lacking else 1.0,
    }
    return figures, differing


def main() -> int:
    """Print the table and the figures; 1 if a pair is wrong or an expected one is missing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--level", choices=LEVELS, default="low", help="least level that is shown and judged")
    parser.add_argument("--only", default="", help="captures whose name holds this")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    outcomes = list(run(args.only))
    figures = score(outcomes, args.level)
    from tests.independent_labels import independent

    beside, differing = compare(outcomes, independent(SHARED))
    if args.json:
        table = [
            {
                "capture": one.name,
                "alerts": one.alerts,
                "wrong": [rule for rule in one.loud(args.level) if one.verdict(rule) == "WRONG"],
                "missed": sorted(one.must - one.alerts.keys()),
                "error": one.error,
            }
            for one in outcomes
        ]
        print(
            json.dumps(
                {"score": figures, "independent": beside, "differing": differing, "captures": table},
                ensure_ascii=False,
                indent=1,
            )
        )
    else:
        for one in outcomes:
            rows = [
                (rule, one.levels[rule], one.alerts[rule], one.verdict(rule)) for rule in sorted(one.loud(args.level))
            ]
            rows += [(rule, "", 0, "MISSED") for rule in sorted(one.must - one.alerts.keys())]
            if rows:
                print(one.name)
                for rule, level, number, verdict in rows:
                    print(f"    {rule:42} {level:9} {number:5}  {verdict}")
        print()
        for name, value in figures.items():
            print(f"{name:24} {value:>8}")
        print("\nby labels out of other programs' tables")
        for name, value in beside.items():
            print(f"{name:24} {value:>8}")
        for pair in differing:
            print(f"    {pair}")
    return int(bool(figures["wrong"] or figures["missed"]))


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    sys.exit(main())
