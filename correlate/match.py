"""All rules of a dataset over a whole batch of events.

1. A field or two tell kinds of events apart (``event.code``): for each kind, those conditions are settled once, and few
   rules and columns remain (``_Kind``).
2. Each column that they ask about becomes one integer a row: the set of atoms that hold (``correlate.signatures``).
3. Rows whose integers are all the same are one case. Each case is decided once and remembered.
4. For a new case, the atoms that hold lead to the rules that could match (every rule names atoms of which one must
   hold, its *witnesses*); those rules are evaluated by set membership.
5. Keywords are looked for in one pass over all texts of the events whose rules have any (``correlate.keywords``).

Everything that is remembered is bounded; when a bound is reached the tables are emptied and ``resets`` counts it.
Why it is done so: ADR 0006.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import polars as pl

from correlate import cache
from correlate.atoms import Matcher
from correlate.cases import Rows, cases, groups
from correlate.columns import NOTHING, Codes, NumberedTexts
from correlate.ir import Node
from correlate.keywords import NOT_SEARCHED, Keywords
from correlate.memory import ENTRY, Memory, Remembers
from correlate.references import plain_values, refers
from correlate.signatures import Signatures
from correlate.trees import Shape, Tree, index, leaves, shape, simplify

_LEARN_AT = (32, 256, 2048, 16384)  # new cases after which witnesses are chosen anew by how often atoms held
_TELLING = 16  # rules that must ask for values of a field before it tells kinds of events apart
_MANY_PIECES = 400  # atoms that are looked for in passes, from which compiling them takes a noticeable time
_PIECES = frozenset({"contains", "startswith", "endswith", "glob", "re"})
_LAYOUT = "\0layout"  # no field is called so
MEMORY = 512 << 20
"""Bytes that plans remember together where nobody says otherwise."""
_NO_CODES = np.zeros(0, np.bool_)
_NO_SETS = [frozenset[int]()] * (NOTHING + 1)
_PRIOR = {"null": 1000.0, "part": 50.0, "cmp": 20.0, "bool": 20.0}


@dataclass(frozen=True, slots=True)
class Numbered:
    """Conditions with numbered atoms, plain data that JSON can hold.

    Attributes:
        atoms: (field, operator, payload) by number.
        trees: A tree for each rule (``correlate.trees``).
    """

    atoms: Sequence[tuple[str | None, str, Any]]
    trees: Sequence[Shape]


def number(conditions: Sequence[Node], constants: Mapping[str, str] | None = None) -> Numbered:
    """Number the atoms of conditions; the same atom has the same number everywhere.

    Args:
        conditions: One for each rule.
        constants: Fields that have the same value in all events, and that value: what is asked of them is settled.
    """
    numbers: dict[tuple[str | None, str, str], int | bool] = {}
    atoms: list[tuple[str | None, str, Any]] = []

    def one(field: str | None, op: str, payload: Any) -> int | bool:
        key = (field, op, repr(payload))
        found = numbers.get(key)
        if found is None:
            if constants and field is not None and field in constants and op != "fieldref":
                found = bool(Matcher([(0, op, payload)], one_pass=False).holds(constants[field]))
            else:
                found = len(atoms)
                atoms.append((field, op, payload))
            numbers[key] = found
        return found

    return Numbered(atoms, [simplify(shape(condition, one), {}) for condition in conditions])


class Kind:
    """Events that agree on the fields which tell kinds apart: what is left of the rules for them.

    Attributes:
        certain: Rules that match every event of the kind.
        fields: Columns that the other rules ask about.
        references: Atoms that compare two columns: (atom, field, other field, mode).
        keywords: Some rule has keywords.
        cases: Signatures of the columns, as bytes, to the rules that match.
    """

    def __init__(self, numbered: Numbered, candidates: Sequence[int], known: Mapping[int, bool]) -> None:
        """Settle what is known."""
        self.certain: list[int] = []
        self.trees: list[tuple[int, Tree]] = []
        asked: dict[int, None] = {}
        for rule in candidates:
            left = simplify(numbered.trees[rule], known)
            if left is True:
                self.certain.append(rule)
            elif left is not False:
                self.trees.append((rule, Tree(left)))
                asked.update(dict.fromkeys(leaves(left)))
        atoms = [(atom, *numbered.atoms[atom]) for atom in asked]
        self._by_rule = dict(self.trees)
        self.fields = list(dict.fromkeys(field for _, field, op, _ in atoms if field is not None and op != "fieldref"))
        self.references = [
            (atom, field, payload[0], payload[1]) for atom, field, op, payload in atoms if op == "fieldref" and field
        ]
        self.keywords = any(field is None for _, field, _, _ in atoms)
        self._prior = {atom: _PRIOR.get(op, 1.0) for atom, _, op, _ in atoms}
        self._seen: Counter[int] = Counter()
        self._new_cases = 0
        self.cases: dict[bytes, tuple[int, ...]] = {}
        self._choose_witnesses()

    def _choose_witnesses(self) -> None:
        prices = dict(self._prior)
        for atom, seen in self._seen.items():
            if atom in prices:
                prices[atom] += 100.0 * seen
        self._by_witness, self._always = index(self.trees, prices.__getitem__)
        self._tells: dict[int, npt.NDArray[np.bool_]] = {}

    def undecided(
        self, vectors: npt.NDArray[np.int32], sets: Sequence[Sequence[frozenset[int]]]
    ) -> npt.NDArray[np.bool_]:
        """Which of some cases ``decide`` has to look at: in the others no witness of any rule holds.

        Args:
            vectors: As for ``Plan.decided``.
            sets: Of each of the ``fields`` and of keywords, signature to the atoms that hold.
        """
        if self._always:
            return np.ones(len(vectors), np.bool_)
        found = np.zeros(len(vectors), np.bool_)
        for place, of_field in enumerate(sets):
            tells = self._tells.get(place, _NO_CODES)
            if len(tells) < len(of_field):
                more = [not self._by_witness.keys().isdisjoint(holds) for holds in of_field[len(tells) :]]
                tells = self._tells[place] = np.concatenate([tells, np.array(more, np.bool_)])
            found |= tells[vectors[:, place]]
        for place, (atom, *_) in enumerate(self.references, len(sets)):
            if atom in self._by_witness:
                found |= vectors[:, place] > NOTHING
        return found

    def decide(self, true: set[int], seconds: list[float]) -> tuple[int, ...]:
        """Rules that match where exactly these atoms hold; adds up the time of each."""
        if self._new_cases < _LEARN_AT[-1]:
            self._seen.update(true)
            self._new_cases += 1
            if self._new_cases in _LEARN_AT:
                self._choose_witnesses()
        candidates = set(self._always)
        for atom in true & self._by_witness.keys():
            candidates.update(self._by_witness[atom])
        found: list[int] = []
        before = perf_counter()
        for rule in sorted(candidates):
            if self._by_rule[rule].holds(true):
                found.append(rule)
            now = perf_counter()
            seconds[rule] += now - before
            before = now
        return tuple(found)


@dataclass(frozen=True, slots=True)
class _Layout:
    """What is worked out from the conditions alone.

    Attributes:
        telling: Up to two fields that tell kinds apart: those of which most rules ask for a few values outright.
        by_telling: Atom of those fields to the rules that need it, or another of theirs.
        untold: Rules that need none.
    """

    numbered: Numbered
    telling: tuple[str, ...]
    by_telling: Mapping[int, Sequence[int]]
    untold: Sequence[int]

    def dump(self) -> bytes:
        """As JSON, which ``_layout`` reads."""
        one = self.numbered
        return orjson.dumps([one.atoms, one.trees, self.telling, list(self.by_telling.items()), self.untold])


def _layout(kept: Mapping[str, bytes] | None) -> _Layout | None:
    if not kept or _LAYOUT not in kept:
        return None
    atoms, trees, telling, by_telling, untold = orjson.loads(kept[_LAYOUT])
    return _Layout(Numbered(atoms, trees), tuple(telling), dict(by_telling), untold)


def _laid_out(numbered: Numbered) -> _Layout:
    count: Counter[str] = Counter()
    for tree in numbered.trees:
        count.update({field for part in _parts(tree) if (field := _asked(numbered, part)) is not None})
    half = max(_TELLING, len(numbered.trees) // 4)
    telling = tuple(field for field, rules in count.most_common(2) if rules >= half)
    if not telling:
        return _Layout(numbered, (), {}, list(range(len(numbered.trees))))

    def cost(atom: int) -> float | None:
        field, op, _ = numbered.atoms[atom]
        return 1.0 if field in telling and op not in ("null", "fieldref") else None

    trees = [(rule, Tree(tree)) for rule, tree in enumerate(numbered.trees) if not isinstance(tree, bool)]
    by_telling, always = index(trees, cost)
    certain = [rule for rule, tree in enumerate(numbered.trees) if tree is True]
    return _Layout(numbered, telling, by_telling, [*always, *certain])


def _parts(tree: Shape) -> Sequence[Shape]:
    return tree[1] if isinstance(tree, list) and tree[0] == "and" else [tree]


def _asked(numbered: Numbered, part: Shape) -> str | None:
    """The field, if the part of a condition is that it has one of some values."""
    some = part[1] if isinstance(part, list) and part[0] == "or" else [part]
    fields = set()
    for one in some:
        if not isinstance(one, int) or isinstance(one, bool) or numbered.atoms[one][1] not in ("eq", "num"):
            return None
        fields.add(numbered.atoms[one][0])
    return fields.pop() if len(fields) == 1 else None


class _Columns(dict[str, Signatures]):
    """Field to its signatures, which are made when they are first asked for."""

    def __init__(
        self, atoms: Mapping[str, Sequence[tuple[int, str, Any]]], blobs: Mapping[str, bytes], one_pass: bool
    ) -> None:
        super().__init__()
        self.atoms = atoms
        self._blobs = blobs
        self._one_pass = one_pass

    def __missing__(self, field: str) -> Signatures:
        made = Signatures(self.atoms[field], one_pass=self._one_pass, kept=self._blobs.get(field, b""))
        self[field] = made
        return made


class Plan:
    """The rules of one dataset, ready.

    Attributes:
        constants: Fields that have the same value in all events, and that value.
        columns: The fields that rules ask about.
        telling: Those of them that tell kinds of events apart.
        seconds: Time spent on each rule alone.
        shared_seconds: Time spent on columns and cases, for all rules together.
        resets: How often the tables were emptied because they were full.
    """

    def __init__(
        self,
        conditions: Sequence[Node],
        *,
        constants: Mapping[str, str] | None = None,
        memory: Memory | None = None,
        one_pass: bool = True,
        kept_in: Path | None = None,
    ) -> None:
        """Prepare conditions.

        Args:
            conditions: One for each rule, see ``correlate.ir``.
            constants: Fields that have the same value in all events, and that value.
            memory: The bound of what is remembered, which other plans may share; None: ``MEMORY``, alone.
            one_pass: Use Hyperscan where it is installed.
            kept_in: Folder that keeps compiled passes (``correlate.cache``); None keeps none.
        """
        self._memory = memory or Memory(MEMORY)
        self._memory.share(self)
        self.constants = dict(constants or {})
        with cache.uncollected():
            key = cache.passes_key(orjson.dumps([conditions, self.constants])) if one_pass and kept_in else None
            kept = cache.read_passes(kept_in, key) if key is not None and kept_in else None
            self._layout = _layout(kept) or _laid_out(number(conditions, constants))
        self._numbered = self._layout.numbered
        by_field: dict[str | None, list[tuple[int, str, Any]]] = {}
        for atom, (field, op, payload) in enumerate(self._numbered.atoms):
            if op != "fieldref":
                by_field.setdefault(field, []).append((atom, op, payload))
        words = by_field.pop(None, [])
        blobs = kept or {}
        in_columns = self.constants.get("event.dataset", "").startswith("windows.")
        self.keywords = (
            Keywords(words, in_columns=in_columns, one_pass=one_pass, kept=blobs.get("", b"")) if words else None
        )
        self.columns = _Columns({str(field): of for field, of in by_field.items()}, blobs, one_pass)
        self.telling = self._layout.telling
        self._telling_atoms = [
            atom
            for atom, (field, op, _) in enumerate(self._numbered.atoms)
            if field in self.telling and op != "fieldref"
        ]
        if key is not None and kept_in is not None and kept is None and self._is_large():
            cache.write_passes(kept_in, key, self.dump())
        self._kinds: dict[tuple[int | None, ...], Kind] = {}
        self._kept = 0
        self.seconds = [0.0] * len(self._numbered.trees)
        self.shared_seconds = 0.0
        self.resets = 0

    @property
    def fields(self) -> frozenset[str]:
        """Fields that the rules ask about."""
        named = [
            name for field, op, payload in self._numbered.atoms if op == "fieldref" for name in (field, payload[0])
        ]
        return frozenset(self.columns.atoms).union(name for name in named if name is not None)

    def _is_large(self) -> bool:
        """Whether compiling takes a noticeable time."""
        return sum(op in _PIECES for _, op, _ in self._numbered.atoms) >= _MANY_PIECES

    def dump(self) -> dict[str, bytes]:
        """The layout and the compiled passes by field."""
        dumped = {field: self.columns[field].dump() for field in self.columns.atoms}
        if self.keywords is not None:
            dumped[""] = self.keywords.dump()
        dumped[_LAYOUT] = self._layout.dump()
        return {field: blob for field, blob in dumped.items() if blob is not None}

    def kind(self, told: tuple[int | None, ...]) -> Kind:
        """What is left of the rules for events with these signatures of the telling fields; None: it is not told."""
        found = self._kinds.get(told)
        if found is None:
            holds: set[int] = set()
            for field, code in zip(self.telling, told, strict=True):
                if code is not None:
                    holds |= self.columns[field].sets[code]
            candidates = set(self._layout.untold)
            for atom in holds:
                candidates.update(self._layout.by_telling.get(atom, ()))
            known = {atom: atom in holds for atom in self._telling_atoms}
            if None in told:
                candidates = set(range(len(self._numbered.trees)))
                open_fields = {field for field, code in zip(self.telling, told, strict=True) if code is None}
                known = {atom: so for atom, so in known.items() if self._numbered.atoms[atom][0] not in open_fields}
            with cache.uncollected():
                found = self._kinds[told] = Kind(self._numbered, sorted(candidates), known)
            self._kept += ENTRY * (1 + len(found.certain) + len(found.trees))
        return found

    @property
    def remembered(self) -> int:
        """Bytes of what is remembered (``correlate.memory``)."""
        words = self.keywords.remembered if self.keywords is not None else 0
        return self._kept + words + sum(column.remembered for column in self.columns.values())

    @property
    def memory(self) -> Memory:
        """The bound of what is remembered."""
        return self._memory

    def bound(self) -> None:
        """Empty tables if they are full, here or in plans that share the memory; call between batches."""
        self._memory.bound()

    def share(self, part: Remembers) -> None:
        """Let something else count with what plans remember together."""
        self._memory.share(part)

    def forget(self) -> None:
        """Empty the tables; signatures and kinds given before mean nothing after."""
        self.resets += 1
        self._kept = 0
        self._kinds.clear()
        for column in self.columns.values():
            column.reset()
        if self.keywords is not None:
            self.keywords.reset()

    def match(self, events: pl.DataFrame) -> dict[int, Rows]:
        """Find the rows that each rule matches.

        Args:
            events: A table of one dataset.

        Returns:
            Number of the rule to its rows, rising; rules that match nothing are absent.
        """
        try:
            return self._match(events)
        except BaseException:
            self.forget()  # texts may have numbers by now, and no signatures yet: nothing would ever hold for them
            raise

    def _match(self, events: pl.DataFrame) -> dict[int, Rows]:
        height = events.height
        if not height or not self._numbered.trees:
            return {}
        started = perf_counter()
        before = sum(self.seconds)
        self.bound()
        have = frozenset(events.columns)
        told = [self.columns[field].encode(events[field]) for field in self.telling if field in have]
        places = [place for place, field in enumerate(self.telling) if field in have]
        kinds: list[tuple[Kind, Rows | None]] = []
        for first, rows in groups(told, height):
            key = [0] * len(self.telling)
            for place, codes in zip(places, told, strict=True):
                key[place] = int(codes[first])
            kinds.append((self.kind(tuple(key)), rows))
        asked: dict[str, list[Rows | None]] = {}
        for kind, rows in kinds:
            for field in kind.fields:
                if field in have:
                    asked.setdefault(field, []).append(rows)
        schema = events.schema
        of_text = [
            field for field in asked if schema[field] == pl.String and self.columns[field].come_again(events[field])
        ]
        numbers = events.select(self.columns[field].numbering(field) for field in of_text)
        numbered = {field: self.columns[field].numbered(events[field], numbers[field]) for field in of_text}
        words = self._words(events, kinds, numbered)
        codes_of = {
            field: self.columns[field].encode_numbered(numbered[field])
            if field in numbered
            else _encode(self.columns[field], events[field], parts, height)
            for field, parts in asked.items()
        }
        found: dict[int, list[Rows]] = {}
        for kind, rows in kinds:
            taken = [
                codes_of[field] if rows is None else codes_of[field][rows] for field in kind.fields if field in have
            ]
            names = [field for field in kind.fields if field in have]
            texts: dict[str, Any] = {}
            for _, field, other, _ in kind.references:
                for name in (field, other):
                    if name in have and name not in texts:
                        series = events[name] if rows is None else events[name].gather(rows)
                        texts[name] = plain_values(series)
            count = height if rows is None else len(rows)
            here = words if words is None or rows is None else words[rows]
            for rule, local in self.match_kind(kind, count, dict(zip(names, taken, strict=True)), texts, here).items():
                found.setdefault(rule, []).append(local if rows is None else rows[local])
        result = {
            rule: parts[0] if len(parts) == 1 else np.sort(np.concatenate(parts)) for rule, parts in found.items()
        }
        self.shared_seconds += perf_counter() - started - (sum(self.seconds) - before)
        return result

    def match_kind(
        self,
        kind: Kind,
        count: int,
        codes_of: Mapping[str, Codes],
        values_of: Mapping[str, Sequence[Any]],
        words: Codes | None,
    ) -> dict[int, Rows]:
        """Find the rows that each rule matches among events of one kind.

        Args:
            kind: Of all the events.
            count: How many they are.
            codes_of: Signatures of the kind's ``fields``; a field that is not there is absent in every event.
            values_of: Values of the fields that the kind's ``references`` name, likewise.
            words: Signatures of keywords, if the kind has any.

        Returns:
            Number of the rule to its rows, rising.
        """
        result: dict[int, Rows] = {}
        if kind.certain:
            every = np.arange(count)
            result.update(dict.fromkeys(kind.certain, every))
        if not kind.trees or not count:
            return result
        here = [(self.columns[field], codes_of[field]) for field in kind.fields if field in codes_of]
        columns = [codes for _, codes in here]
        compared = [refers(values_of, field, other, mode, count) for _, field, other, mode in kind.references]
        if kind.keywords and words is not None:
            columns.append(words)
        first, inverse = cases([*columns, *compared], count)
        # Which columns there are is part of the case: an absent one counts as a column of absences.
        vectors = np.zeros((len(first), len(kind.fields) + 1 + len(compared)), np.int32)
        at = {field: place for place, field in enumerate(kind.fields)}
        for field in kind.fields:
            if field in codes_of:
                vectors[:, at[field]] = codes_of[field][first]
        if kind.keywords and words is not None:
            vectors[:, len(kind.fields)] = words[first]
        for place, codes in enumerate(compared):
            vectors[:, len(kind.fields) + 1 + place] = codes[first]
        hits: dict[int, list[int]] = {}
        for case, rules in enumerate(self.decided(kind, vectors)):
            for rule in rules:
                hits.setdefault(rule, []).append(case)
        if hits:
            order = np.argsort(inverse, kind="stable")
            edges = np.searchsorted(inverse[order], np.arange(len(first) + 1))
            for rule, some in hits.items():
                result[rule] = np.sort(np.concatenate([order[edges[case] : edges[case + 1]] for case in some]))
        return result

    def decided(self, kind: Kind, vectors: npt.NDArray[np.int32]) -> list[tuple[int, ...]]:
        """The rules that match in each of some cases.

        Args:
            kind: Of all of them.
            vectors: Signatures of the kind's ``fields`` and of keywords (0: none), and for each of its ``references``
                2 if it holds, else 1: ``int32[n, fields + 1 + references]``.
        """
        raw = vectors.tobytes()
        width = vectors.shape[1] * vectors.itemsize
        known = kind.cases
        found: list[tuple[int, ...]] = [()] * len(vectors)
        words = _NO_SETS if self.keywords is None else self.keywords.sets
        sets = [*(self.columns[field].sets for field in kind.fields), words]
        for case in np.flatnonzero(kind.undecided(vectors, sets)).tolist():
            key = raw[case * width : (case + 1) * width]
            rules = known.get(key)
            if rules is None:
                rules = known[key] = kind.decide(self._true(kind, vectors[case].tolist()), self.seconds)
                self._kept += ENTRY + len(key) + 8 * len(rules)
            found[case] = rules
        return found

    def _true(self, kind: Kind, vector: Sequence[int]) -> set[int]:
        """Atoms that hold in a case."""
        true: set[int] = set()
        for field, code in zip(kind.fields, vector, strict=False):
            true |= self.columns[field].sets[code]
        if self.keywords is not None and vector[len(kind.fields)] > NOTHING:
            true |= self.keywords.sets[vector[len(kind.fields)]]
        for (atom, *_), code in zip(kind.references, vector[len(kind.fields) + 1 :], strict=True):
            if code > NOTHING:
                true.add(atom)
        return true

    def _words(
        self, events: pl.DataFrame, kinds: Sequence[tuple[Kind, Rows | None]], numbered: Mapping[str, NumberedTexts]
    ) -> Codes | None:
        """Signatures of keywords, at least for the rows of those kinds that have any."""
        parts = [rows for kind, rows in kinds if kind.keywords]
        if self.keywords is None or not parts:
            return None
        if any(rows is None for rows in parts) or sum(map(_length, parts)) * 2 > events.height:
            return self.keywords.encode(events, numbered)
        rows = np.sort(np.concatenate([one for one in parts if one is not None]))
        codes = np.full(events.height, NOTHING, np.int64)
        codes[rows] = self.keywords.encode(events[rows])
        return codes


def _length(rows: Rows | None) -> int:
    return 0 if rows is None else len(rows)


def _encode(column: Signatures, series: pl.Series, parts: Sequence[Rows | None], height: int) -> Codes:
    """Signatures of a column, at least of these rows."""
    encode = column.encode_texts if series.dtype == pl.String else column.encode
    if any(rows is None for rows in parts) or sum(len(rows) for rows in parts if rows is not None) * 2 > height:
        return encode(series)
    codes = np.zeros(height, np.int64)
    rows = np.concatenate([one for one in parts if one is not None])
    codes[rows] = encode(series.gather(rows))
    return codes


__all__ = ["MEMORY", "NOT_SEARCHED", "Kind", "Numbered", "Plan", "cases", "groups", "number"]
