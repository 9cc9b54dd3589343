"""Which lines of Windows events in JSON need to be read at all: those that a rule may match.

To make event tables out of a line costs many times what it takes to see that no rule matches it. The sieve looks at
parsed lines with the plan's own signatures and cases, and lets through every line that a rule matches, and every one
that it cannot judge exactly: unusual shapes, rules that ask for fields which the parser derives, texts a keyword may be
in. What it lets through is read and evaluated as ever, so that alerts are the same with and without it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import compress
from typing import Any

import numpy as np
import orjson
import polars as pl

from correlate.columns import Codes
from correlate.match import Kind, Plan
from event.channels import SECURITY, dataset_of
from event.fields import FIELDS
from sensor.base import Account
from sensor.parsers.windows import WindowsParser, texts
from sensor.windows_records import DATA, NotWindows, pairs_of

PlanOf = Callable[[str], Plan | None]
"""Dataset to its plan; None if no rule looks at it."""

_SHAPES = 4096  # lists of keys that are remembered
_AS_TEXT = frozenset(
    {
        "event.code",
        "winlog.channel",
        "winlog.provider_name",
        "host.name",
        "message",
        "winlog.record_id",
        "winlog.task",
        "winlog.opcode",
        "winlog.keywords",
    }
)
"""Fields beside the members of EventData that the parser takes over as they are."""
_OTHERWISE = frozenset({"Event", "System", "winlog", "winlog.channel", "event_data", "log_name"})
"""Keys of records that are not flat."""
_REWRITTEN = frozenset({"4688", "4657", "5156"})
"""Events of the Security log to which the parser adds members."""
_UNNAMED = frozenset({"windows.application", "windows.powershell_classic", "windows.msexchange_management"})
"""Datasets in which the parser may find ``Data`` elsewhere."""
_WORDS = "critical error warning information verbose process file network registry driver host event pipeline_error"
"""Texts that the parser adds to events of its own accord."""
_PLAIN = frozenset({str, int, type(None)})


@dataclass(slots=True)
class _Waiting:
    """Lines of one kind, of one batch."""

    plan: Plan
    kind: Kind
    rows: list[int] = field(default_factory=list)
    values: list[tuple[Any, ...]] = field(default_factory=list)


@dataclass(slots=True)
class _Group:
    """Lines of one shape, code and channel.

    Attributes:
        dataset: Where they belong.
        waiting: None if every one is let through, or if no rule looks at them (``asked`` tells).
        keys: Their keys for the kind's fields.
    """

    dataset: str
    asked: bool
    waiting: _Waiting | None = None
    keys: tuple[str | None, ...] = ()


@dataclass(slots=True)
class _Shape:
    """Lines with the same keys: field to key."""

    keys: dict[str, str]
    groups: dict[tuple[Any, Any], _Group] = field(default_factory=dict)


class Sieve:
    """Tells which lines need to be read.

    Attributes:
        passed_over: Events that no rule matches, by dataset.
    """

    def __init__(self, plan_of: PlanOf) -> None:
        """Take the plans whose tables are shared."""
        self._plan_of = plan_of
        self._plans: dict[str, tuple[Plan, int, bool]] = {}
        self._shapes: dict[tuple[str, ...], _Shape | None] = {}
        self._waiting: dict[int, _Waiting] = {}
        self.passed_over: Counter[str] = Counter()

    def sift(self, lines: Sequence[bytes]) -> list[int]:
        """Numbers of the lines to read, rising; all others hold an event that no rule matches.

        Args:
            lines: One object each; blank ones and what is no object are let through.
        """
        self._bound()
        keep: set[int] = set()
        datasets: dict[str, list[int]] = {}
        loads, shapes = orjson.loads, self._shapes
        for row, line in enumerate(lines):
            try:
                event = loads(line)
                keys = tuple(event)
                shape = shapes[keys]
            except KeyError:
                shape = self._shape(event, keys)
            except (ValueError, TypeError):
                keep.add(row)
                continue
            if shape is None or dict in map(type, event.values()):
                keep.add(row)
                continue
            code, channel = event.get(shape.keys.get("event.code")), event.get(shape.keys.get("winlog.channel"))
            group: _Group | None
            try:
                group = shape.groups[code, channel]
            except (KeyError, TypeError):
                group = self._group(shape, code, channel)
            kinds = type(code), type(channel)
            if group is None or kinds[0] not in _PLAIN or kinds[1] not in _PLAIN:
                keep.add(row)
                continue
            if group.waiting is not None:
                group.waiting.rows.append(row)
                group.waiting.values.append(tuple(map(event.get, group.keys)))
            elif group.asked:
                keep.add(row)
                continue
            datasets.setdefault(group.dataset, []).append(row)
        for waiting in self._waiting.values():
            if waiting.rows:
                keep.update(self._matched(waiting))
                waiting.rows, waiting.values = [], []
        for dataset, rows in datasets.items():
            keep.update(self._suspects(dataset, lines, rows))
            self.passed_over[dataset] += len(rows) - sum(map(keep.__contains__, rows))
        return sorted(keep)

    def _bound(self) -> None:
        """Forget shapes when they are many, or when a plan has emptied its tables."""
        for plan, _, _ in self._plans.values():
            plan.bound()  # any of those that share their memory may forget
        stale = any(plan.resets != resets for plan, resets, _ in self._plans.values())
        if stale or len(self._shapes) > _SHAPES:
            self._plans.clear()
            self._shapes.clear()
            self._waiting.clear()

    def _shape(self, event: Any, keys: tuple[str, ...]) -> _Shape | None:
        found: _Shape | None = None
        if isinstance(event, dict) and _OTHERWISE.isdisjoint(keys):
            try:
                targets, origins = pairs_of({key: key for key in keys})
            except NotWindows:
                targets, origins = (), ()
            odd = any(
                " " in target or "." in target.removeprefix(DATA) for target in targets if target.startswith(DATA)
            )
            if targets and not odd:
                found = _Shape(dict(zip(targets, origins, strict=True)))
        self._shapes[keys] = found
        return found

    def _plan(self, dataset: str) -> tuple[Plan, bool] | None:
        known = self._plans.get(dataset)
        if known is None:
            plan = self._plan_of(dataset)
            if plan is None:
                return None
            exact = plan.keywords is None or not plan.keywords.may_hold(_WORDS)
            known = self._plans[dataset] = plan, plan.resets, exact
        return known[0], known[2]

    def _group(self, shape: _Shape, code: Any, channel: Any) -> _Group | None:
        """What becomes of such lines; None if they cannot be judged."""
        if type(code) not in _PLAIN or type(channel) not in _PLAIN:
            return None
        dataset = dataset_of(channel if isinstance(channel, str) else None)
        planned = self._plan(dataset)
        if planned is None:
            group = _Group(dataset, asked=False)
        else:
            plan, exact = planned
            group = _Group(dataset, asked=True)
            values = {"event.code": code, "winlog.channel": channel}
            if exact and all(name in values for name in plan.telling):
                told = tuple(int(plan.columns[name].encode_values([values[name]])[0]) for name in plan.telling)
                kind = plan.kind(told)
                if self._judged(dataset, str(code), kind):
                    group.waiting = self._waiting.setdefault(id(kind), _Waiting(plan, kind))
                    asked = dict.fromkeys([*kind.fields, *_compared(kind)])
                    group.keys = tuple(shape.keys.get(name) for name in asked)
        if len(shape.groups) < _SHAPES:
            shape.groups[code, channel] = group
        return group

    @staticmethod
    def _judged(dataset: str, code: str, kind: Kind) -> bool:
        """Whether the fields that the rules of a kind ask about are there as they came."""
        if dataset == "windows.windefend" or (dataset == SECURITY and code in _REWRITTEN) or kind.certain:
            return False
        return all(
            name in _AS_TEXT or (name.startswith(DATA) and name in FIELDS) for name in (*kind.fields, *_compared(kind))
        )

    def _matched(self, waiting: _Waiting) -> Iterable[int]:
        """Rows that a rule matches or that cannot be judged."""
        plan, kind, rows = waiting.plan, waiting.kind, waiting.rows
        keep: set[int] = set()
        codes: dict[str, Codes] = {}
        values_of: dict[str, Sequence[Any]] = {}
        compared = _compared(kind)
        asked = dict.fromkeys([*kind.fields, *compared])
        for name, column in zip(asked, zip(*waiting.values, strict=True), strict=True):
            values: Sequence[Any] = column
            if not _PLAIN.issuperset(map(type, column)):
                values = texts(name, column).to_list()
            if name == DATA + "Data" and plan.constants.get("event.dataset") in _UNNAMED:
                keep.update(compress(rows, [value is None for value in values]))
            if name in compared:
                values_of[name] = values
            if name in kind.fields:
                codes[name] = plan.columns[name].encode_values(values)
        places = np.array(rows, np.int64)
        for found in plan.match_kind(kind, len(rows), codes, values_of, None).values():
            keep.update(places[found].tolist())
        return keep

    def _suspects(self, dataset: str, lines: Sequence[bytes], rows: Sequence[int]) -> Iterable[int]:
        """Rows of texts that a keyword may be in."""
        planned = self._plans.get(dataset)
        words = None if planned is None else planned[0].keywords
        if words is None:
            return ()
        some = [lines[row] for row in rows]
        ends = np.cumsum(np.fromiter(map(len, some), np.int64, len(some)) + 1)
        return [rows[place] for place in words.suspects(b"\n".join(some), ends).tolist()]


@dataclass(slots=True)
class SievingParser:
    """A parser of Windows events that reads only the lines which a rule may match; see ``sensor.base.LineParser``."""

    sieve: Sieve
    name: str = "windows"
    blank: int = 0
    """Lines without content."""
    _parser: WindowsParser = field(default_factory=WindowsParser)

    def parse(self, lines: pl.Series, offsets: pl.Series, *, reference: datetime | None) -> list[pl.DataFrame]:
        """Turn those lines into tables."""
        raw = [line.encode() for line in lines.fill_null("").to_list()]
        keep = self.sieve.sift(raw)
        self.blank += sum(not raw[row].strip() for row in keep)
        return self._parser.parse(lines.gather(keep), offsets.gather(keep), reference=reference)

    def settle(self, account: Account) -> None:
        """Add the events that were passed over to the account of the input."""
        passed = sum(self.sieve.passed_over.values())
        account.total += passed
        account.decoded += passed
        account.notes.pop("header_and_empty_lines", None)
        if self.blank:
            account.notes["header_and_empty_lines"] = self.blank
        for dataset, count in self.sieve.passed_over.items():
            account.events[dataset] = account.events.get(dataset, 0) + count


def _compared(kind: Kind) -> list[str]:
    """Fields that are compared with one another."""
    return list(dict.fromkeys(name for _, one, other, _ in kind.references for name in (one, other)))


__all__ = ["PlanOf", "Sieve", "SievingParser"]
