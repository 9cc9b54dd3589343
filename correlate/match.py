"""All rules of a dataset over a whole batch of events.

1. Each column that rules ask about becomes one integer a row: the set of atoms that hold (``correlate.columns``).
2. Rows whose integers are all the same are one case. Each case is decided once and remembered.
3. For a new case, the atoms that hold lead to the rules that could match (every rule names atoms of which one must
   hold, its *witnesses*); those rules are evaluated by set membership.

Everything that is remembered is bounded; when a bound is reached the tables are emptied and ``resets`` counts it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from correlate.atoms import Matcher, text_of
from correlate.columns import ABSENT, NOTHING, Codes, Column, distinct, elements
from correlate.fold import fold
from correlate.ir import Node, atoms_of

NOT_SEARCHED = frozenset(
    {"event.id", "event.dataset", "event.kind", "event.module", "log.file.path", "observer.name", "flow.id"}
)
"""Columns that keywords do not look into: they are ours, not the event's content."""

_LEARN_AT = (256, 4096, 65536)  # new cases after which witnesses are chosen anew by how often atoms held


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of what is remembered between batches."""

    values: int = 2_000_000
    """Distinct values and signatures, over all columns of one dataset."""
    cases: int = 500_000
    """Decided cases of one dataset."""


class _Tree:
    """One condition over numbers of atoms."""

    __slots__ = ("children", "kind", "leaves")

    def __init__(self, kind: str, leaves: frozenset[int], children: tuple[_Tree, ...]) -> None:
        self.kind = kind
        self.leaves = leaves
        self.children = children

    def holds(self, true: set[int]) -> bool:
        if self.kind == "or":
            return not self.leaves.isdisjoint(true) or any(child.holds(true) for child in self.children)
        if self.kind == "and":
            return self.leaves <= true and all(child.holds(true) for child in self.children)
        return not self.children[0].holds(true)

    def witnesses(self, cost: Callable[[int], float]) -> frozenset[int] | None:
        """Atoms of which at least one holds whenever the tree does, cheaply chosen; None if there are none."""
        if self.kind == "not":
            return None
        below = [child.witnesses(cost) for child in self.children]
        if self.kind == "or":
            known = [one for one in below if one is not None]
            return self.leaves.union(*known) if len(known) == len(below) else None
        options = [one for one in below if one is not None] + [frozenset({leaf}) for leaf in self.leaves]
        return min(options, key=lambda one: sum(map(cost, one)), default=None)


class Plan:
    """The rules of one dataset, ready.

    Attributes:
        seconds: Time spent on each rule alone.
        shared_seconds: Time spent on columns and cases, for all rules together.
        resets: How often the tables were emptied because they were full.
    """

    def __init__(self, conditions: Sequence[Node], *, limits: Limits | None = None, one_pass: bool = True) -> None:
        """Prepare conditions.

        Args:
            conditions: One for each rule, see ``correlate.ir``.
            limits: Bounds of what is remembered.
            one_pass: Use Hyperscan where it is installed.
        """
        self._limits = limits or Limits()
        self._numbers: dict[tuple[str | None, str, str], int] = {}
        atoms: list[tuple[str | None, str, Any]] = []
        for condition in conditions:
            for field, op, payload in atoms_of(condition):
                key = (field, op, repr(payload))
                if key not in self._numbers:
                    self._numbers[key] = len(atoms)
                    atoms.append((field, op, payload))
        self._trees = [self._tree(condition) for condition in conditions]
        by_field: dict[str | None, list[tuple[int, str, Any]]] = {}
        self._references: list[tuple[int, str, str, str]] = []
        for number, (field, op, payload) in enumerate(atoms):
            if op == "fieldref" and field is not None:
                self._references.append((number, field, payload[0], payload[1]))
            else:
                by_field.setdefault(field, []).append((number, op, payload))
        keywords = by_field.pop(None, [])
        self._columns = {str(field): Column(Matcher(of, one_pass=one_pass)) for field, of in by_field.items()}
        self._keywords: tuple[Column, Column] | None = None
        if keywords:
            texts = [one for one in keywords if one[1] != "num"]
            numeric = [one for one in keywords if one[1] == "num"]
            self._keywords = (Column(Matcher(texts, one_pass=one_pass)), Column(Matcher(numeric)))
        self._always: list[int] = []
        self._by_witness: dict[int, list[int]] = {}
        self._seen: Counter[int] = Counter()
        self._new_cases = 0
        self._choose_witnesses()
        self._cases: dict[bytes, tuple[int, ...]] = {}
        self.seconds = [0.0] * len(conditions)
        self.shared_seconds = 0.0
        self.resets = 0

    @property
    def fields(self) -> frozenset[str]:
        """Fields that the rules ask about."""
        named = {name for _, field, other, _ in self._references for name in (field, other)}
        return frozenset(self._columns) | named

    def _tree(self, node: Node) -> _Tree:
        if node[0] == "atom":
            return _Tree("and", frozenset({self._numbers[node[1], node[2], repr(node[3])]}), ())
        if node[0] == "not":
            return _Tree("not", frozenset(), (self._tree(node[1]),))
        below = [self._tree(child) for child in node[1]]
        single = [one for one in below if one.kind == "and" and len(one.leaves) == 1 and not one.children]
        leaves = frozenset(leaf for one in single for leaf in one.leaves)
        return _Tree(node[0], leaves, tuple(one for one in below if one not in single))

    def _choose_witnesses(self) -> None:
        costs = {"null": 1000.0, "part": 50.0, "cmp": 20.0, "bool": 20.0}
        prior = [costs.get(op, 1.0) for _, op, _ in self._numbers]
        seen = self._seen
        self._always, self._by_witness = [], {}
        for rule, tree in enumerate(self._trees):
            witnesses = tree.witnesses(lambda atom: prior[atom] + 100.0 * seen[atom])
            if witnesses is None:
                self._always.append(rule)
            else:
                for atom in witnesses:
                    self._by_witness.setdefault(atom, []).append(rule)

    def match(self, events: pl.DataFrame) -> dict[int, npt.NDArray[np.int64]]:
        """Find the rows that each rule matches.

        Args:
            events: A table of one dataset.

        Returns:
            Number of the rule to its rows, rising; rules that match nothing are absent.
        """
        started = perf_counter()
        own = 0.0
        self._bound()
        height = events.height
        if not height or not self._trees:
            return {}
        fixed, loose = self._encode(events)
        first, inverse = _cases([*fixed, *loose], height)
        vectors = np.zeros((len(first), len(fixed)), np.int32)
        for place, codes in enumerate(fixed):
            vectors[:, place] = codes[first]
        spare = np.stack([codes[first] for codes in loose], axis=1) if loose else np.zeros((len(first), 0), np.int64)
        spare[spare == NOTHING] = ABSENT
        told: list[bool] = np.asarray(spare.any(axis=1)).tolist()
        hits: dict[int, list[int]] = {}
        for case in range(len(first)):
            words = np.unique(spare[case]).tobytes() if told[case] else b""
            key = vectors[case].tobytes() + words
            rules = self._cases.get(key)
            if rules is None:
                before = perf_counter()
                rules = self._cases[key] = self._decide(vectors[case].tolist(), words)
                own += perf_counter() - before
            for rule in rules:
                hits.setdefault(rule, []).append(case)
        result: dict[int, npt.NDArray[np.int64]] = {}
        if hits:
            order = np.argsort(inverse, kind="stable")
            edges = np.searchsorted(inverse[order], np.arange(len(first) + 1))
            for rule, cases in hits.items():
                result[rule] = np.sort(np.concatenate([order[edges[case] : edges[case + 1]] for case in cases]))
        self.shared_seconds += perf_counter() - started - own
        return result

    def _bound(self) -> None:
        columns = [*self._columns.values(), *(self._keywords or ())]
        if sum(column.size for column in columns) > self._limits.values or len(self._cases) > self._limits.cases:
            self.resets += 1
            self._cases.clear()
            for column in columns:
                column.reset()

    def _encode(self, events: pl.DataFrame) -> tuple[list[Codes], list[Codes]]:
        """Signatures of columns and references in fixed order; then of each column that keywords look into."""
        none = np.zeros(events.height, np.int64)
        fixed = [
            column.encode(events[field]) if field in events.columns else none for field, column in self._columns.items()
        ]
        fixed += [_refers(events, field, other, mode) for _, field, other, mode in self._references]
        loose: list[Codes] = []
        if self._keywords is not None:
            texts, numbers = self._keywords
            for name in events.columns:
                if name in NOT_SEARCHED:
                    continue
                dtype = events.schema[name]
                inner = dtype.inner if isinstance(dtype, pl.List) else dtype
                if inner == pl.String:
                    codes = texts.encode(events[name])
                elif inner.is_numeric():
                    # Below zero, so that they are told from signatures of texts.
                    codes = numbers.encode(events[name])
                    codes = np.where(codes > NOTHING, -codes, codes)
                else:
                    continue
                if ((codes > NOTHING) | (codes < 0)).any():
                    loose.append(codes)
        return fixed, loose

    def _decide(self, vector: Sequence[int], words: bytes) -> tuple[int, ...]:
        """Rules that match a case."""
        true: set[int] = set()
        for column, code in zip(self._columns.values(), vector, strict=False):
            true |= column.signatures[code]
        for (number, _, _, _), code in zip(self._references, vector[len(self._columns) :], strict=True):
            if code > NOTHING:
                true.add(number)
        if self._keywords is not None:
            for code in np.frombuffer(words, np.int64).tolist():
                true |= self._keywords[0].signatures[code] if code > 0 else self._keywords[1].signatures[-code]
        self._seen.update(true)
        self._new_cases += 1
        if self._new_cases in _LEARN_AT:
            self._choose_witnesses()
        candidates = set(self._always)
        for atom in true:
            candidates.update(self._by_witness.get(atom, ()))
        found: list[int] = []
        for rule in sorted(candidates):
            before = perf_counter()
            if self._trees[rule].holds(true):
                found.append(rule)
            self.seconds[rule] += perf_counter() - before
        return tuple(found)


def _cases(columns: Sequence[Codes], height: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """First row of each distinct combination, and the combination of each row."""
    joined: Codes | None = None
    size = 1
    for raw in columns:
        low, high = int(raw.min()), int(raw.max())
        if low == high:
            continue
        width = high - low + 1
        if joined is None:
            joined, size = raw - low, width
            continue
        if size * width >= 2**62:
            _, joined = np.unique(joined, return_inverse=True)
            size = int(joined.max()) + 1
        joined = joined * width + (raw - low)
        size *= width
    if joined is None:
        return np.zeros(1, np.int64), np.zeros(height, np.int64)
    if size <= 4 * height + 4096:
        first = np.full(size, -1, np.int64)
        first[joined[::-1]] = np.arange(height - 1, -1, -1)
        used = np.flatnonzero(first >= 0)
        dense = np.empty(size, np.int64)
        dense[used] = np.arange(len(used))
        return first[used], dense[joined]
    _, index, inverse = np.unique(joined, return_index=True, return_inverse=True)
    return index.astype(np.int64), inverse.astype(np.int64)


_MODES: Mapping[str, Callable[[str, str], bool]] = {
    "eq": lambda one, other: one == other,
    "startswith": lambda one, other: one.startswith(other),
    "endswith": lambda one, other: one.endswith(other),
    "contains": lambda one, other: other in one,
}


def _refers(events: pl.DataFrame, field: str, other: str, mode: str) -> Codes:
    """2 where the text of one field compares so with that of another, else 1; no case."""
    result = np.full(events.height, NOTHING, np.int64)
    if field not in events.columns or other not in events.columns:
        return result
    compare = _MODES[mode]
    one, two = events[field], events[other]
    if isinstance(one.dtype, pl.List) or isinstance(two.dtype, pl.List):
        for row, (left, right) in enumerate(zip(_lists(one), _lists(two), strict=True)):
            if any(compare(a, b) for a in left for b in right):
                result[row] = 2
        return result
    left_codes, left_values = distinct(one)
    right_codes, right_values = distinct(two)
    lefts = [fold(text_of(value)) for value in left_values]
    rights = [fold(text_of(value)) for value in right_values]
    there = (left_codes >= 0) & (right_codes >= 0)
    pairs, inverse = np.unique(left_codes[there] * max(1, len(rights)) + right_codes[there], return_inverse=True)
    answers = [2 if compare(lefts[pair // len(rights)], rights[pair % len(rights)]) else 1 for pair in pairs.tolist()]
    result[there] = np.array(answers, np.int64)[inverse] if len(pairs) else NOTHING
    return result


def _lists(series: pl.Series) -> list[list[str]]:
    """Lower-cased texts of each row's values."""
    result: list[list[str]] = [[] for _ in range(len(series))]
    if isinstance(series.dtype, pl.List):
        inner, rows = elements(series)
    else:
        inner, rows = series, np.arange(len(series))
    codes, values = distinct(inner)
    texts = [fold(text_of(value)) for value in values]
    for row, code in zip(rows.tolist(), codes.tolist(), strict=True):
        if code >= 0:
            result[row].append(texts[code])
    return result


__all__ = ["ABSENT", "NOT_SEARCHED", "Limits", "Plan"]
