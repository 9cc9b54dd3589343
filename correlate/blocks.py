"""The sieve of ``correlate.lines`` over whole blocks: lines are never made into objects.

Kernels find the members of lines, look the values of those members that rules ask about up among the values of before,
and the codes of these among the cases of before (``sensor.flat_json``). Only a value that is new is read, and only a
case that is new is decided. What the kernels call odd goes through the sieve line by line.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise, product
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from correlate.keywords import Keywords
from correlate.lines import DEEP_NAMES, OTHERWISE, PLAIN, REWRITTEN, UNNAMED, PlanOf, Sieve, compared, judged, kind_of
from correlate.match import Kind, Plan
from correlate.words import Words
from event.channels import SECURITY, dataset_of
from sensor.flat_json import (
    ABSENT,
    ALONE,
    DEEP,
    DEEP_FIRST,
    DEEP_SECOND,
    DEPENDS,
    FLAT_FIRST,
    FLAT_SECOND,
    GROUP,
    KEEP,
    MADE,
    NEW,
    ODD,
    PASS,
    READ,
    SOLE,
    Asked,
    LineReader,
    Lines,
    Name,
    Spelled,
    Tables,
)
from sensor.parsers.windows import text_of
from sensor.windows_names import DIRECTIONS, INTEGRITY, takes_part, together
from sensor.windows_records import DATA, MOST_MEMBERS, beat_paths, beat_target, flat_target

I64 = npt.NDArray[np.int64]
I32 = npt.NDArray[np.int32]
Rewrite = Callable[[str], str | None]
_Target = tuple[int, str | None, int | None, Rewrite | None]

_TOGETHER = 1 << 20  # bytes of new values that are looked at at once
_FIRST_WHAT = 2
_ROOM = 32 << 20  # bytes of values that are remembered at first: about what a processor's cache holds
_MET_AGAIN = 0.5  # of the values that are forgotten had been forgotten before: then more are worth to be remembered
_MOST_GROUPS = 1 << 14  # after which all is forgotten: somebody makes them up
_MOST_REFERENCES = 3  # fields compared with others, of one kind of events
_MESSAGE = "Message"
_LAST = 30_000  # rank of what fills a column only if nothing else does
_BESIDE: Mapping[str, Mapping[str, tuple[str, Rewrite | None]]] = {
    "4688": {
        "NewProcessName": ("Image", None),
        "ParentProcessName": ("ParentImage", None),
        "SubjectLogonId": ("LogonId", None),
        "MandatoryLabel": ("IntegrityLevel", INTEGRITY.get),
    },
    "4657": {"NewValue": ("Details", None), "ProcessName": ("Image", None)},
    "5156": {
        "Application": ("Image", None),
        "SourceAddress": ("SourceIp", None),
        "DestAddress": ("DestinationIp", None),
        "DestPort": ("DestinationPort", None),
        "Direction": ("Initiated", DIRECTIONS.get),
    },
}
"""Code of the Security log to members that stand for others, as ``sensor.windows_names`` has them."""
_OUT_OF_SEVERAL = -2  # rank of what fills a column together with others
_PARTS: Mapping[str, Mapping[str, Sequence[str]]] = {
    "4688": {"User": ("SubjectDomainName", "SubjectUserName")},
    "4657": {
        "User": ("SubjectDomainName", "SubjectUserName"),
        "TargetObject": ("ObjectName", "ObjectValueName"),
        "EventType": ("EventID", "EventId"),
    },
}
"""Likewise, members that are put together out of others: at least one of these is in every such record."""


def _names() -> dict[tuple[str, ...], Name]:
    """What is to be said of names: those of the members that tell kinds of events apart, and of the odd ones."""
    kinds: dict[tuple[str, ...], int] = {}
    for path in beat_paths("event.code"):
        kinds[path] = DEEP_FIRST
    for path in beat_paths("winlog.channel"):
        kinds[path] = DEEP_SECOND
    ranks: dict[tuple[str, ...], int] = {}
    for name in ("EventID", "EventId", "Channel", "LogName"):
        target, ranks[name,] = flat_target(name)
        kinds[name,] = FLAT_FIRST if target == "event.code" else FLAT_SECOND
    for name in DEEP_NAMES:
        kinds[name,] = kinds.get((name,), 0) | DEEP
    for name in OTHERWISE - DEEP_NAMES:
        kinds[name,] = ODD
    return {path: Name(kind, ranks.get(path, 0)) for path, kind in kinds.items()}


@dataclass(frozen=True, slots=True)
class _What:
    """What values are: those of a column of a plan, spelled otherwise first or not."""

    plan: Plan
    column: str
    rewrite: Rewrite | None


@dataclass(slots=True)
class _Questions:
    """What the rules ask of lines of one kind.

    Attributes:
        code: Of the Security log, if members stand for others in its lines.
        deep: Their members are named as Winlogbeat names them.
        asked: In the tables.
        made: Fields that may be made of several members.
    """

    plan: Plan
    kind: Kind
    dataset: str
    code: str
    deep: bool
    asked: Asked
    made: Sequence[str]


@dataclass(frozen=True, slots=True)
class _Group:
    """Lines of one code and channel: ``state`` as ``Tables`` has it; ``keywords``: rules look for some."""

    dataset: str
    state: int
    keywords: bool = False


_ALONE = _Group("", ALONE)


@dataclass(slots=True)
class _Fillings:
    """What fills a field, by the name of the member; ``known`` names were asked about."""

    by_name: dict[int, list[tuple[int, int, Rewrite | None]]] = field(default_factory=dict)
    known: int = 0


class BlockSieve(Sieve):
    """Tells which lines of a block need to be read."""

    def __init__(self, plan_of: PlanOf) -> None:
        """Take the plans whose tables are shared."""
        super().__init__(plan_of)
        self._reader = LineReader(_names())
        self._tables = Tables(self._reader.names.seed)
        self._sharing: set[int] = set()
        self._known_targets: dict[tuple[bool, bool, str, int], Sequence[_Target]] = {}
        self._forget()

    def _forget(self) -> None:
        self._tables.clear()
        self._words: Words | None = None
        self._keywords: list[Keywords] = []
        self._places: dict[str, int] = {}
        self._groups: dict[int, _Group] = {}
        self._questions: dict[tuple[int, str, bool], _Questions] = {}
        self._by_number: list[_Questions] = []
        self._whats: list[_What] = []
        self._what_numbers: dict[tuple[int, str, Rewrite | None], int] = {}
        self._fillings: dict[tuple[int, str], _Fillings] = {}
        self._parts_of: dict[int, tuple[int, dict[int, list[str]]]] = {}
        self._seen_values = self._seen_cases = 0
        self._room = _ROOM

    @property
    def remembered(self) -> int:
        """Bytes, see ``correlate.memory``."""
        return self._tables.remembered

    def forget(self) -> None:
        """Empty the tables, see ``correlate.memory``."""
        self._forget()

    def bound(self) -> bool:
        """See ``Sieve.bound``; what is known of lines goes with the plans."""
        forgot = super().bound()
        if forgot or len(self._groups) > _MOST_GROUPS:
            self._forget()
        return forgot

    def plan(self, dataset: str) -> tuple[Plan, bool] | None:
        """See ``Sieve.plan``; what is remembered here counts with what plans remember."""
        planned = super().plan(dataset)
        if planned is not None and not self._sharing:
            self._sharing.add(id(planned[0]))
            planned[0].share(self)
        return planned

    def sift_block(self, data: bytes | memoryview) -> tuple[I64, I64, I64]:
        """Lines of a block to read, rising, and where every line begins and ends.

        Args:
            data: Whole lines; the last may lack its end. See ``LineReader.read``.
        """
        self.bound()
        if self._tables.size_of_values > self._room:
            self._forget_values()
        lines = self._reader.read(data)
        alone = lines.flag(0) | (np.diff(lines.first) > MOST_MEMBERS)
        self._check_utf8(data, lines, alone)
        groups, outcomes = np.full(len(alone), ABSENT, np.int32), np.full(len(alone), ALONE, np.int32)
        self._judge(lines, np.flatnonzero(~alone), groups, outcomes)
        keep = outcomes == READ
        alone = outcomes == ALONE
        self._search(data, lines, groups, keep)
        counts = np.bincount(groups[~(keep | alone)], minlength=1) if len(groups) else np.zeros(1, np.int64)
        for number in np.flatnonzero(counts).tolist():
            self.passed_over[self._groups[number].dataset] += int(counts[number])
        odd = np.flatnonzero(alone)
        if len(odd):
            begins, ends = lines.begins[odd].tolist(), lines.ends[odd].tolist()
            some = [bytes(data[begin:end]) for begin, end in zip(begins, ends, strict=True)]
            keep[odd[self.sift(some)]] = True
        return np.flatnonzero(keep), lines.begins, lines.ends

    def _forget_values(self) -> None:
        if self._tables.forget_values() > _MET_AGAIN:
            self._room *= 2
        self._groups.clear()
        self._seen_values = 0

    def _check_utf8(self, data: bytes | memoryview, lines: Lines, alone: npt.NDArray[np.bool_]) -> None:
        """Leave lines that are no UTF-8 alone."""
        rows = np.flatnonzero(lines.flag(3) & ~alone)
        begins, ends = lines.begins[rows].tolist(), lines.ends[rows].tolist()
        pieces = [bytes(data[begin:end]) for begin, end in zip(begins, ends, strict=True)]
        if not _is_utf8(b"\n".join(pieces)):
            alone[rows[[not _is_utf8(piece) for piece in pieces]]] = True

    def _judge(self, lines: Lines, rows: I64, groups: I32, outcomes: I32) -> None:
        """Work out what becomes of lines; new groups, values and cases are looked at on the way."""
        tables = self._tables
        while len(rows):
            for asked in tables.names(len(self._reader.names.paths)):
                self._learn(self._by_number[asked.number])
            tables.judge(lines, rows, groups, outcomes)
            self._look_at_values()
            tables.settle(outcomes)
            self._look_at_cases()
            some = outcomes[rows]
            met = rows[some >= 0]
            cases = some[some >= 0]
            outcomes[met] = tables.cases.states[cases]
            depends = outcomes[met] == DEPENDS
            if depends.any():
                self._compare(lines, met[depends], cases[depends], outcomes)
            rows = rows[some == NEW]

    def _compare(self, lines: Lines, rows: I64, cases: I32, outcomes: I32) -> None:
        """Decide lines of cases that depend on how fields compare."""
        asked = self._tables.cases.whats[cases]
        for number in np.unique(asked).tolist():
            questions = self._by_number[number]
            kind, plan = questions.kind, questions.plan
            here = np.flatnonzero(asked == number)
            some = rows[here]
            outcomes[some] = PASS
            texts = self._texts(lines, questions, some, compared(kind))
            vectors = self._tables.vectors(cases[here].astype(np.int64), questions.asked.width)
            codes = _by_field(kind, vectors)
            made = np.flatnonzero(vectors[:, -1])
            if len(made):
                members = [self._members(lines, questions, row) for row in some[made].tolist()]
                for name in questions.made:
                    values = [together(questions.dataset, questions.code, name, one or {}) for one in members]
                    codes[name][made] = plan.columns[name].encode_values(values)
                outcomes[some[made[[one is None for one in members]]]] = READ
            for matched in plan.match_kind(kind, len(here), codes, texts, None).values():
                outcomes[some[matched]] = READ

    def _members(self, lines: Lines, questions: _Questions, row: int) -> dict[str, str | None] | None:
        """The members of a line that are put together, by target; None if two have the same."""
        found: dict[str, str | None] = {}
        first, last = lines.first[row : row + 2].tolist()
        parts = self._parts(questions)
        for member, name in enumerate(lines.names[first:last].tolist(), first):
            for target in parts.get(name, ()):
                if target in found:
                    return None
                value = lines.text[lines.values[0, member] : lines.values[1, member]].tobytes()
                found[target] = text_of(orjson.loads(value))
        return found

    def _parts(self, questions: _Questions) -> Mapping[int, Sequence[str]]:
        """Names of the members that are put together, to their targets."""
        known, parts = self._parts_of.get(questions.asked.number, (0, {}))
        paths = self._reader.names.paths
        if known < len(paths):
            for name in range(known, len(paths)):
                targets = [
                    target
                    for layer, target, rank, _ in self._targets(questions, name)
                    if not layer and target is not None and rank is not None
                ]
                parts[name] = [one for one in targets if one in questions.made or takes_part(one)]
            self._parts_of[questions.asked.number] = len(paths), parts
        return parts

    def _texts(
        self, lines: Lines, questions: _Questions, rows: I64, fields: Sequence[str]
    ) -> dict[str, list[str | None]]:
        """The texts of fields of lines, chosen as ``judge`` chooses them."""
        filled = [(self._filled(questions, field), list[str | None]()) for field in fields]
        data, begins, ends = lines.text, lines.values[0], lines.values[1]
        if filled:
            edges = zip(lines.first[rows].tolist(), lines.first[rows + 1].tolist(), strict=True)
            for first, last in edges:
                names = lines.names[first:last].tolist()
                for by_name, texts in filled:
                    best: tuple[int, int, str] | None = None
                    for member in [place for place, name in enumerate(names, first) if name in by_name]:
                        for layer, rank, rewrite in by_name[names[member - first]]:
                            if best is None or (layer, rank) < best[:2]:
                                text = text_of(orjson.loads(data[begins[member] : ends[member]].tobytes()))
                                text = rewrite(text) if text is not None and rewrite is not None else text
                                best = best if text is None else (layer, rank, text)
                    texts.append(None if best is None else best[2])
        return dict(zip(fields, (texts for _, texts in filled), strict=True))

    def _filled(self, questions: _Questions, field: str) -> Mapping[int, Sequence[tuple[int, int, Rewrite | None]]]:
        """Names of the members that fill a field, to layers, ranks and rewritings."""
        key = questions.asked.number, field
        found = self._fillings.setdefault(key, _Fillings())
        for name in range(found.known, len(self._reader.names.paths)):
            fills = [
                (layer, rank, rewrite)
                for layer, target, rank, rewrite in self._targets(questions, name)
                if target == field and rank is not None
            ]
            if fills:
                found.by_name[name] = fills
        found.known = len(self._reader.names.paths)
        return found.by_name

    def _look_at_values(self) -> None:
        """Find the codes of new values."""
        tables = self._tables
        first, self._seen_values = self._seen_values, tables.value_count
        whats = tables.values.whats[first : self._seen_values]
        order = np.argsort(whats, kind="stable")
        order = order[np.searchsorted(whats[order], _FIRST_WHAT) :]
        if not len(order):
            return
        numbers, whats = first + order, whats[order]
        spelled = tables.spelled(numbers)
        edges = np.flatnonzero(np.diff(whats, prepend=-1, append=-1)).tolist()
        for begin, end in pairwise(edges):
            what = self._whats[int(whats[begin]) - _FIRST_WHAT]
            here = numbers[begin:end]
            tables.values.states[here] = self._codes_of(what, here, spelled.part(begin, end))

    def _codes_of(self, what: _What, numbers: I64, spelled: Spelled) -> I64:
        """Codes of new values of one kind; most are never made into objects."""
        if what.rewrite is not None:
            return np.array(_codes(what, self._tables.texts(numbers)), np.int64)
        column = what.plan.columns[what.column]
        codes = np.empty(len(numbers), np.int64)
        edges = [0, len(numbers)]
        if len(spelled.plain) > _TOGETHER:
            edges = np.flatnonzero(np.diff(spelled.ends // _TOGETHER, prepend=-1, append=-1)).tolist()
        for begin, end in pairwise(edges):
            some = spelled.part(begin, end)
            codes[begin:end] = column.signatures_framed(some.plain.data, some.folded.data, some.ends, kernels=True)
        if spelled.odd.any():
            codes[spelled.odd] = _codes(what, self._tables.texts(numbers[spelled.odd]))
        return codes

    def _look_at_cases(self) -> None:
        """Decide new cases, and say what is asked of new groups."""
        tables = self._tables
        first, count = self._seen_cases, tables.case_count
        asked = tables.cases.whats[first:count]
        for number in np.unique(asked).tolist():
            cases = first + np.flatnonzero(asked == number)
            if number == GROUP:
                for case, (code, channel, deep) in zip(cases.tolist(), tables.vectors(cases, 3).tolist(), strict=True):
                    group = self._groups[case] = self._group_of(self._value(code), self._value(channel), bool(deep))
                    tables.cases.states[case] = group.state
            else:
                questions = self._by_number[number]
                tables.cases.states[cases] = _states(questions, tables.vectors(cases, questions.asked.width))
        self._seen_cases = count

    def _value(self, number: int) -> Any:
        return None if number < 0 else orjson.loads(self._tables.texts([number])[0])

    def _group_of(self, code: Any, channel: Any, deep: bool) -> _Group:
        if type(code) not in PLAIN or type(channel) not in PLAIN:
            return _ALONE
        dataset = dataset_of(channel if isinstance(channel, str) else None)
        planned = self.plan(dataset)
        if planned is None:
            return _Group(dataset, PASS)
        plan, exact = planned
        values = {"event.code": code, "winlog.channel": channel}
        if not exact:
            return _Group(dataset, READ)
        kind = kind_of(plan, values)
        if not judged(dataset, kind) or not _are_apart(kind):
            return _Group(dataset, READ)
        if not kind.trees:
            return _Group(dataset, PASS)
        rewritten = str(code) if dataset == SECURITY and str(code) in REWRITTEN else ""
        found = self._questions.get((id(kind), rewritten, deep))
        if found is None:
            layers = 1 + (bool(rewritten) or dataset in UNNAMED)
            asked = self._tables.ask(len(kind.fields), layers=layers)
            parts = [DATA + name for name in _PARTS.get(rewritten, ())] + [DATA + "Data"] * (dataset in UNNAMED)
            made = [name for name in parts if name in kind.fields and name not in compared(kind)]
            found = _Questions(plan, kind, dataset, rewritten, deep, asked, made)
            self._questions[id(kind), rewritten, deep] = found
            self._by_number.append(found)
        return _Group(dataset, found.asked.number, kind.keywords)

    def _learn(self, questions: _Questions) -> None:
        """Find the columns of further names."""
        at = {name: column for column, name in enumerate(questions.kind.fields)}
        asked, paths = questions.asked, self._reader.names.paths
        for number in range(asked.known, len(paths)):
            for layer, target, rank, rewrite in self._targets(questions, number):
                if target == DATA:
                    if any(name.startswith(DATA) for name in at):
                        self._tables.fill(asked, layer, number, KEEP)
                elif target in questions.made and rank == _OUT_OF_SEVERAL:
                    self._tables.fill(asked, layer, number, MADE)
                elif rank is None or rank == _OUT_OF_SEVERAL:
                    if target in at:
                        self._tables.fill(asked, layer, number, KEEP)
                elif target in at:
                    what = self._what(questions.plan, target, rewrite)
                    self._tables.fill(asked, layer, number, at[target], rank=rank, what=what)
        asked.known = len(paths)

    def _targets(self, questions: _Questions, name: int) -> Sequence[_Target]:
        """What a member fills, see ``_targets_of``: worked out once for all kinds of lines that name it alike."""
        key = questions.deep, questions.dataset in UNNAMED, questions.code, name
        found = self._known_targets.get(key)
        if found is None:
            found = self._known_targets[key] = _targets_of(*key[:3], self._reader.names.paths[name])
        return found

    def _what(self, plan: Plan, column: str, rewrite: Rewrite | None) -> int:
        key = id(plan), column, rewrite
        number = self._what_numbers.get(key)
        if number is None:
            number = self._what_numbers[key] = len(self._whats) + _FIRST_WHAT
            self._whats.append(_What(plan, column, rewrite))
        return number

    def _search(self, data: bytes | memoryview, lines: Lines, groups: I32, keep: npt.NDArray[np.bool_]) -> None:
        """Keep the lines that keywords can be in."""
        of_groups = np.full(max(self._groups, default=0) + 2, -1, np.int64)  # the last is for ABSENT
        for number, group in self._groups.items():
            if group.keywords:
                of_groups[number] = self._place_of(group.dataset)
        places = of_groups[groups]
        if (places >= 0).any():
            if self._words is None:
                self._words = Words(self._keywords)
            keep[self._words.suspects(data, lines, places)] = True

    def _place_of(self, dataset: str) -> int:
        """Whose keywords those of a dataset are, -1 if it has none."""
        place = self._places.get(dataset)
        if place is None:
            planned = self.plan(dataset)
            words = None if planned is None else planned[0].keywords
            place = -1 if words is None else len(self._keywords)
            if words is not None:
                self._keywords.append(words)
                self._words = None
            self._places[dataset] = place
        return place


def _targets_of(deep: bool, unnamed: bool, code: str, path: tuple[str, ...]) -> Sequence[_Target]:
    """Layer, target, rank and rewriting of what a member fills; rank None: what is in the target is not told here.

    Args:
        deep: Members are named as Winlogbeat names them.
        unnamed: Their dataset is one of ``UNNAMED``.
        code: See ``_Questions``.
        path: Of the member.
    """
    if deep:
        target = beat_target(path)
        rank = SOLE if target is not None and target.startswith(DATA) else 0
        name = {"event.code": "EventID", "message": _MESSAGE}.get(target or "", (target or "").removeprefix(DATA))
    elif len(path) > 1:
        return ()
    else:
        name = path[0]
        target, rank = flat_target(name)
    found: list[_Target] = [(0, target, rank, None)]
    if target is not None and target.startswith(DATA) and (" " in name or "." in name):
        others = {name.replace(" ", ""), name.replace(" ", "_"), name.replace(".", "_")} - {name}
        found += [(0, DATA + other, None, None) for other in others]
    beside = _BESIDE.get(code, {}).get(name)
    if beside is not None:
        found.append((1, DATA + beside[0], _LAST, beside[1]))
    for made, parts in _PARTS.get(code, {}).items():
        if name in parts:
            found.append((1, DATA + made, _OUT_OF_SEVERAL, None))
    if unnamed:
        if name == _MESSAGE:
            found.append((1, DATA + "Data", _LAST, None))
        elif name.startswith("param"):
            odd = " " in name or "." in name
            found.append((1, DATA + "Data", None if odd else _OUT_OF_SEVERAL, None))
    return found


def _codes(what: _What, spelled: Sequence[memoryview]) -> list[int]:
    """Codes of values as lines spell them."""
    loaded = orjson.loads(b"[" + b",".join(spelled) + b"]")
    texts = [one if type(one) is str else text_of(one) for one in loaded]
    if what.rewrite is not None:
        texts = [None if one is None else what.rewrite(one) for one in texts]
    known = [one for one in texts if one is not None]
    codes = what.plan.columns[what.column].signatures_of(known)
    if len(known) == len(texts):
        return codes
    found = iter(codes)
    return [0 if one is None else next(found) for one in texts]


def _are_apart(kind: Kind) -> bool:
    """Whether each field that is compared with another one is compared with that one only, so that each may hold."""
    return len(kind.references) <= _MOST_REFERENCES and len(compared(kind)) == 2 * len(kind.references)


def _states(questions: _Questions, vectors: I32) -> npt.NDArray[np.int64]:
    """States of cases: READ if a rule matches, DEPENDS if one may, as fields compare."""
    kind = questions.kind
    width = len(kind.fields)
    states = np.full(len(vectors), PASS)
    whole = np.zeros((len(vectors), width + 1 + len(kind.references)), np.int32)  # keywords are searched apart
    whole[:, :width] = vectors[:, :width]
    for holds in product((1, 2), repeat=len(kind.references)):
        whole[:, width + 1 :] = holds
        matched = [bool(rules) for rules in questions.plan.decided(kind, whole)]
        states[matched] = DEPENDS if kind.references else READ
    states[vectors[:, width] > 0] = DEPENDS
    return states


def _by_field(kind: Kind, vectors: I32) -> dict[str, I64]:
    return {name: vectors[:, column].astype(np.int64) for column, name in enumerate(kind.fields)}


def _is_utf8(data: bytes) -> bool:
    if data.isascii():
        return True
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


__all__ = ["BlockSieve"]
