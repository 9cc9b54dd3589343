"""Which lines of Windows events in JSON need to be read at all: those that a rule may match.

To make event tables out of a line costs many times what it takes to see that no rule matches it. The sieve looks at
parsed lines with the plan's own signatures and cases, and lets through every line that a rule matches, and every one
that it cannot judge exactly: unusual shapes, rules that ask for fields which the parser derives, texts a keyword may be
in. What it lets through is read and evaluated as ever, so that alerts are the same with and without it.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import polars as pl

from correlate.columns import Codes
from correlate.match import Kind, Plan
from event.channels import SECURITY, dataset_of
from event.fields import FIELDS
from sensor.base import Account
from sensor.kernel_cache import prepare
from sensor.parsers.windows import texts
from sensor.windows_records import DATA, NotWindows, flat_target, pairs_of

if TYPE_CHECKING:
    from correlate.blocks import BlockSieve

PlanOf = Callable[[str], Plan | None]
"""Dataset to its plan; None if no rule looks at it."""

PATIENCE = 32 << 20
"""Bytes that are looked at line by line before kernels are loaded: they take half a second, a few to be compiled."""
_HELD = 32768  # lines that wait for others to be read with
_HELD_BYTES = 32 << 20
_HELD_SECONDS = 2.0, 10.0  # the first ones, and later ones
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
DEEP_NAMES = frozenset({"winlog", "winlog.channel", "event_data", "log_name"})
"""Keys of records of Winlogbeat."""
OTHERWISE = frozenset({"Event", "System"}) | DEEP_NAMES
"""Keys of records that are not flat."""
REWRITTEN = frozenset({"4688", "4657", "5156"})
"""Events of the Security log to which the parser adds members."""
UNNAMED = frozenset({"windows.application", "windows.powershell_classic", "windows.msexchange_management"})
"""Datasets in which the parser may find ``Data`` elsewhere."""
_WORDS = "critical error warning information verbose process file network registry driver host event pipeline_error"
"""Texts that the parser adds to events of its own accord."""
PLAIN = frozenset({str, int, type(None)})


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
    """Lines with the same keys: field to key; fields that several keys could fill."""

    keys: dict[str, str]
    several: frozenset[str]
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
        self.bound()
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
            if group is None or kinds[0] not in PLAIN or kinds[1] not in PLAIN:
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

    def bound(self) -> bool:
        """Forget shapes when they are many, or when a plan has emptied its tables: whether that was so."""
        for memory in {id(plan.memory): plan.memory for plan, _, _ in self._plans.values()}.values():
            memory.bound()  # any of the plans that share it may forget
        stale = any(plan.resets != resets for plan, resets, _ in self._plans.values())
        if stale or len(self._shapes) > _SHAPES:
            self._plans.clear()
            self._shapes.clear()
            self._waiting.clear()
            return True
        return False

    def _shape(self, event: Any, keys: tuple[str, ...]) -> _Shape | None:
        found: _Shape | None = None
        if isinstance(event, dict) and OTHERWISE.isdisjoint(keys):
            try:
                targets, origins = pairs_of({key: key for key in keys})
            except NotWindows:
                targets, origins = (), ()
            odd = any(
                " " in target or "." in target.removeprefix(DATA) for target in targets if target.startswith(DATA)
            )
            count = Counter(flat_target(key)[0] for key in keys)
            several = frozenset(target for target in targets if count[target] > 1)
            if targets and not odd and several.isdisjoint(("event.code", "winlog.channel")):
                found = _Shape(dict(zip(targets, origins, strict=True)), several)
        self._shapes[keys] = found
        return found

    def plan(self, dataset: str) -> tuple[Plan, bool] | None:
        """The rules of a dataset, and whether keywords can be told from the line; None if there are none."""
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
        if type(code) not in PLAIN or type(channel) not in PLAIN:
            return None
        dataset = dataset_of(channel if isinstance(channel, str) else None)
        planned = self.plan(dataset)
        if planned is None:
            group = _Group(dataset, asked=False)
        else:
            plan, exact = planned
            group = _Group(dataset, asked=True)
            values = {"event.code": code, "winlog.channel": channel}
            if exact:
                kind = kind_of(plan, values)
                asked = dict.fromkeys([*kind.fields, *compared(kind)])
                rewritten = dataset == SECURITY and str(code) in REWRITTEN
                if judged(dataset, kind) and not rewritten and shape.several.isdisjoint(asked):
                    group.waiting = self._waiting.setdefault(id(kind), _Waiting(plan, kind))
                    group.keys = tuple(shape.keys.get(name) for name in asked)
        if len(shape.groups) < _SHAPES:
            shape.groups[code, channel] = group
        return group

    def _matched(self, waiting: _Waiting) -> Iterable[int]:
        """Rows that a rule matches or that cannot be judged."""
        plan, kind, rows = waiting.plan, waiting.kind, waiting.rows
        keep: set[int] = set()
        codes: dict[str, Codes] = {}
        values_of: dict[str, Sequence[Any]] = {}
        both = compared(kind)
        asked = dict.fromkeys([*kind.fields, *both])
        for name, column in zip(asked, zip(*waiting.values, strict=True), strict=True):
            values: Sequence[Any] = column
            if not PLAIN.issuperset(map(type, column)):
                values = texts(name, column).to_list()
            if name == DATA + "Data" and plan.constants.get("event.dataset") in UNNAMED:
                keep.update(compress(rows, [value is None for value in values]))
            if name in both:
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


class SievedLines:
    """Cuts an input down to the lines that have to be read, see ``sensor.reader.Cut``.

    What is let through is held back until it is worth a table: to make one takes as long for ten lines as for a
    thousand.
    """

    def __init__(self, plan_of: PlanOf, *, kernels_in: Path | None = None, patience: int = PATIENCE) -> None:
        """Take the plans whose tables are shared.

        Args:
            plan_of: Dataset to its plan.
            kernels_in: Where compiled kernels are kept, see ``sensor.kernel_cache.prepare``.
            patience: Bytes of an input that are looked at line by line before kernels are loaded for the rest.
        """
        self.sieve = Sieve(plan_of)
        self._block_sieve: BlockSieve | None = None
        self._plan_of = plan_of
        self._kernels_in = kernels_in
        self._patience = patience
        self._held: list[bytes] = []
        self._offsets: list[int] = []

    def __call__(self, blocks: Iterable[tuple[bytes | memoryview, int]]) -> Iterator[tuple[pl.Series, pl.Series]]:
        """Yield lines to read, and where they stand."""
        size = 0
        since = time.monotonic()
        most, later = _HELD_SECONDS
        for data, offset in blocks:
            for begin, end in self._sifted(data):
                self._held.append(bytes(data[begin:end]))
                self._offsets.append(offset + begin)
                size += end - begin
                if len(self._held) >= _HELD or size >= _HELD_BYTES:
                    yield from self._let_go()
                    size, since, most = 0, time.monotonic(), later
            if time.monotonic() - since > most:
                yield from self._let_go()
                size, since, most = 0, time.monotonic(), later
        yield from self._let_go()

    def _sifted(self, data: bytes | memoryview) -> list[tuple[int, int]]:
        """Where the lines to read begin and end."""
        if self._patience > 0 and len(data) <= self._patience:
            self._patience -= len(data)
            lines = bytes(data).split(b"\n")
            if not lines[-1]:
                lines.pop()
            ends = np.cumsum(np.fromiter(map(len, lines), np.int64, len(lines)) + 1) - 1
            return [(int(ends[row]) - len(lines[row]), int(ends[row])) for row in self.sieve.sift(lines)]
        kept, begins, stops = self._blocks().sift_block(data)
        return list(zip(begins[kept].tolist(), stops[kept].tolist(), strict=True))

    def _blocks(self) -> BlockSieve:
        if self._block_sieve is None:
            self._patience = 0
            prepare(self._kernels_in)
            from correlate.blocks import BlockSieve  # loads numba

            passed_over = self.sieve.passed_over
            self.sieve = self._block_sieve = BlockSieve(self._plan_of)
            self.sieve.passed_over = passed_over
        return self._block_sieve

    def _let_go(self) -> Iterator[tuple[pl.Series, pl.Series]]:
        if self._held:
            lines = [line.decode("utf-8", "replace").removesuffix("\r") for line in self._held]
            yield pl.Series(lines, dtype=pl.String), pl.Series(self._offsets, dtype=pl.Int64)
            self._held, self._offsets = [], []

    def settle(self, account: Account) -> None:
        """Add the events that were passed over to the account of the input."""
        passed = sum(self.sieve.passed_over.values())
        account.total += passed
        account.decoded += passed
        for dataset, count in self.sieve.passed_over.items():
            account.events[dataset] = account.events.get(dataset, 0) + count


def kind_of(plan: Plan, values: Mapping[str, Any]) -> Kind:
    """The kind of events that have these values in some fields."""
    told = [
        int(plan.columns[name].encode_values([values[name]])[0]) if name in values else None for name in plan.telling
    ]
    return plan.kind(tuple(told))


def judged(dataset: str, kind: Kind) -> bool:
    """Whether the fields that the rules of a kind ask about are members of its events, and not all events match."""
    if dataset == "windows.windefend" or kind.certain:
        return False
    return all(
        name in _AS_TEXT or (name.startswith(DATA) and name in FIELDS) for name in (*kind.fields, *compared(kind))
    )


def compared(kind: Kind) -> list[str]:
    """Fields that are compared with one another."""
    return list(dict.fromkeys(name for _, one, other, _ in kind.references for name in (one, other)))


__all__ = [
    "DEEP_NAMES",
    "OTHERWISE",
    "PATIENCE",
    "PLAIN",
    "REWRITTEN",
    "UNNAMED",
    "PlanOf",
    "Sieve",
    "SievedLines",
    "compared",
    "judged",
    "kind_of",
]
