"""Samples of rules: events that a rule must match and events that it must not.

The format is described in ``tests/rules/README.md``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from correlate.detect import Detector
from correlate.ir import Correlation, Rule, RuleSet
from event import yaml_text
from event.errors import RuleError
from event.fields import FIELDS
from event.table import conform

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
"""Time of ``t: 0``."""

_RANGE = 1e9  # seconds that ``t`` may lie off


@dataclass(frozen=True, slots=True)
class SampleResult:
    """What became of one case of a sample file.

    Attributes:
        path: The sample file.
        rule_id: Id of the rule that the file names; empty if it names none.
        case: Name of the case; empty if the file as a whole is wrong.
        expected: Whether the rule has to match.
        matched: Whether it did.
        error: What is wrong with the case or the file.
    """

    path: str
    rule_id: str
    case: str
    expected: bool
    matched: bool = False
    error: str | None = None

    @property
    def passed(self) -> bool:
        """The rule did what the case says."""
        return self.error is None and self.matched == self.expected

    def __str__(self) -> str:
        said = self.error or ("matched" if self.matched else "did not match")
        wanted = "match" if self.expected else "no match"
        return f"{self.path}: {self.case or 'file'}: {said}, expected {wanted}"


def run_samples(ruleset: RuleSet, folder: Path) -> list[SampleResult]:
    """Run every sample file (``*.yml``) below a folder.

    Args:
        ruleset: The rules that samples name.
        folder: Where samples lie, or one sample file.

    Returns:
        One result for each case, and one with ``error`` for each file that cannot be used.

    Raises:
        RuleError: The folder does not exist.
    """
    if not folder.exists():
        raise RuleError("no such folder of samples", where=str(folder))
    files = [folder] if folder.is_file() else sorted(folder.rglob("*.yml"))
    return [result for path in files for result in _run_file(ruleset, path)]


def _run_file(ruleset: RuleSet, path: Path) -> list[SampleResult]:
    try:
        data = yaml_text.load(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        return [SampleResult(str(path), "", "", True, error=f"cannot be read: {str(error).splitlines()[0]}")]
    if not isinstance(data, dict) or not isinstance(data.get("rule"), str):
        return [SampleResult(str(path), "", "", True, error="a sample file is a mapping with rule, match and no_match")]
    rule_id = data["rule"]
    unknown = sorted(set(data) - {"rule", "match", "no_match"})
    if unknown:
        known = "rule, match, no_match"
        return [SampleResult(str(path), rule_id, "", True, error=f"unknown key {unknown[0]!r}; known: {known}")]
    target = ruleset.find(rule_id)
    if target is None:
        return [SampleResult(str(path), rule_id, "", True, error=f"there is no rule {rule_id}")]
    small = closure(ruleset, target)
    results: list[SampleResult] = []
    for key, expected in (("match", True), ("no_match", False)):
        cases = data.get(key) or []
        if not isinstance(cases, list):
            results.append(SampleResult(str(path), rule_id, "", expected, error=f"{key!r} is a list of cases"))
            continue
        results += [_run_case(small, target, str(path), case, expected=expected) for case in cases]
    return results


def closure(ruleset: RuleSet, target: Rule | Correlation) -> RuleSet:
    """The rule and all that feed it, as a rule set of its own."""
    wanted = {target.id}
    for correlation in reversed(ruleset.correlations):  # those that feed come before those that are fed
        if correlation.id in wanted:
            wanted.update(correlation.rules)
    return RuleSet(
        rules=tuple(rule for rule in ruleset.rules if rule.id in wanted),
        correlations=tuple(one for one in ruleset.correlations if one.id in wanted),
    )


def _run_case(ruleset: RuleSet, target: Rule | Correlation, path: str, case: Any, *, expected: bool) -> SampleResult:
    name = str(case.get("name", "")) if isinstance(case, dict) else ""
    result = SampleResult(path, target.id, name, expected)
    if not isinstance(case, dict) or not name or set(case) != {"name", "events"}:
        return replace(result, error="a case has a name and events, and nothing else")
    if not isinstance(case["events"], list) or not case["events"]:
        return replace(result, error="'events' is a list of at least one event")
    try:
        tables = tables_of(case["events"], default_dataset(ruleset, target))
    except (ValueError, TypeError, pl.exceptions.PolarsError) as error:
        return replace(result, error=str(error).splitlines()[0])
    detector = Detector(ruleset)
    for table in tables:
        detector.feed(table)
    detector.finish()
    status = next(one for one in detector.status() if one.id == target.id)
    if status.error is not None:
        return replace(result, error=f"the rule cannot be evaluated: {status.error}")
    return replace(result, matched=status.matches > 0)


def default_dataset(ruleset: RuleSet, target: Rule | Correlation) -> str | None:
    """Dataset of an event that names none: the first of the rule, or of the first rule that feeds it."""
    if isinstance(target, Rule):
        return target.route.first()
    return next((rule.route.first() for rule in ruleset.rules if rule.route.first()), None)


def tables_of(events: Sequence[Any], dataset: str | None) -> list[pl.DataFrame]:
    """Event tables out of flat mappings, one for each dataset.

    Args:
        events: Field name to value; ``t`` is the time in seconds after ``BEGIN`` (as before it if absent).
        dataset: ``event.dataset`` where an event names none.

    Raises:
        ValueError: A field is not in the catalogue, or a value is not of the field's type.
    """
    rows: dict[str, list[dict[str, Any]]] = {}
    offset = 0.0
    for number, event in enumerate(events):
        if not isinstance(event, dict):
            raise ValueError(f"event {number + 1} is not a mapping of fields to values")
        row = dict(event)
        offset = row.pop("t", offset)
        if isinstance(offset, bool) or not isinstance(offset, (int, float)) or not abs(offset) <= _RANGE:
            raise ValueError(f"event {number + 1}: 't' is a number of seconds")
        unknown = [name for name in row if name not in FIELDS]
        if unknown:
            raise ValueError(f"event {number + 1}: field {unknown[0]!r} is not in the catalogue")
        name = row.setdefault("event.dataset", dataset)
        if name is None:
            raise ValueError(f"event {number + 1}: needs 'event.dataset', for the rule's logsource has none of ours")
        row.setdefault("event.id", f"sample-{number:06d}")
        row.setdefault("event.kind", "event")
        row.setdefault("@timestamp", BEGIN + timedelta(seconds=offset))
        rows.setdefault(name, []).append(row)
    return [conform(_table(group)) for group in rows.values()]


def _table(rows: Sequence[dict[str, Any]]) -> pl.DataFrame:
    names = list(dict.fromkeys(name for row in rows for name in row))
    return pl.DataFrame([_series(name, [row.get(name) for row in rows]) for name in names])


def _series(name: str, values: Sequence[Any]) -> pl.Series:
    field = FIELDS[name]
    made: list[Any] = []
    for value in values:
        if field.many and value is not None and not isinstance(value, list):
            raise ValueError(f"{name} is a list, {value!r} is none")
        if field.many and value is not None:
            made.append([_value(name, one) for one in value])
        else:
            made.append(_value(name, value))
    return pl.Series(name, made, field.dtype)


_TYPES: dict[str, tuple[type, ...]] = {
    "keyword": (str,),
    "ip": (str,),
    "text": (str,),
    "long": (int,),
    "double": (int, float),
    "boolean": (bool,),
    "date": (datetime,),
}


def _value(name: str, value: Any) -> Any:
    kind = FIELDS[name].kind
    if kind == "date" and isinstance(value, str):
        value = datetime.fromisoformat(value)
    if kind == "date" and isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day, tzinfo=UTC)
    if kind == "date" and isinstance(value, datetime) and value.tzinfo is None:
        value = value.replace(tzinfo=UTC)
    if value is not None and (not isinstance(value, _TYPES[kind]) or (isinstance(value, bool) and kind != "boolean")):
        raise ValueError(f"{name} is of type {kind}, {value!r} is not")
    return float(value) if isinstance(value, int) and kind == "double" else value
