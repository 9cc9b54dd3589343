"""The sieve of ``correlate.lines`` over whole blocks: flat lines are never made into objects.

Kernels find the members of lines and number the values of those members that rules ask about (``sensor.flat_json``);
each distinct value of a block is then read once. What the kernels call odd goes through the sieve line by line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from correlate.columns import Codes
from correlate.keywords import Keywords
from correlate.lines import OTHERWISE, PLAIN, REWRITTEN, UNNAMED, PlanOf, Sieve, compared, judged
from correlate.match import Kind, Plan
from event.channels import SECURITY, dataset_of
from sensor.flat_json import ABSENT, FIRST_KIND, KEEP, MOST_NAMES, SECOND_KIND, LineReader, Lines, Values, values_of
from sensor.parsers.windows import text_of
from sensor.windows_names import DIRECTIONS, INTEGRITY
from sensor.windows_records import DATA, MOST_MEMBERS, flat_target

I64 = npt.NDArray[np.int64]
Rewrite = Callable[[str], str | None]

_LAYERS = 2
_SOME = 0.4  # of a block from which all of it is searched rather than lines copied out of it
_KINDS = {"EventID": FIRST_KIND, "EventId": FIRST_KIND, "Channel": SECOND_KIND, "LogName": SECOND_KIND}
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
_MADE: Mapping[str, Mapping[str, str]] = {
    "4688": {"SubjectUserName": "User"},
    "4657": {"SubjectUserName": "User", "ObjectName": "TargetObject", "EventID": "EventType", "EventId": "EventType"},
}
"""Likewise, members out of which others are put together: nothing is said of such lines here."""


@dataclass(slots=True)
class _Asked:
    """Lines of one kind, and what its rules ask about.

    Attributes:
        names: Fields, by column.
        places: Columns of each name of a member, see ``values_of``.
        ranks: Likewise.
        rewrites: (column, name of a member) to what becomes of the text.
        known: How many names of members these cover.
    """

    plan: Plan
    kind: Kind
    dataset: str
    code: str
    names: tuple[str, ...]
    places: npt.NDArray[np.int16] = field(default_factory=lambda: np.full((_LAYERS, MOST_NAMES), ABSENT, np.int16))
    ranks: npt.NDArray[np.int16] = field(default_factory=lambda: np.zeros((_LAYERS, MOST_NAMES), np.int16))
    rewrites: dict[tuple[int, int], Rewrite] = field(default_factory=dict)
    known: int = 0

    def learn(self, names: Sequence[str]) -> None:
        """Find the columns of further names."""
        at = {name: column for column, name in enumerate(self.names)}
        for number in range(self.known, len(names)):
            name = names[number]
            target, rank = flat_target(name)
            if target in at:
                self.places[0, number], self.ranks[0, number] = at[target], rank
            beside = _BESIDE.get(self.code, {}).get(name) if self.dataset == SECURITY else None
            if beside is not None and DATA + beside[0] in at:
                column = at[DATA + beside[0]]
                self.places[1, number], self.ranks[1, number] = column, _LAST
                if beside[1] is not None:
                    self.rewrites[column, number] = beside[1]
            made = _MADE.get(self.code, {}).get(name) if self.dataset == SECURITY else None
            if made is not None and DATA + made in at:
                self.places[1, number] = KEEP
            if self.dataset in UNNAMED and DATA + "Data" in at:
                if name == _MESSAGE:
                    self.places[1, number], self.ranks[1, number] = at[DATA + "Data"], _LAST
                elif name.startswith("param"):
                    self.places[1, number] = KEEP
        self.known = len(names)


@dataclass(frozen=True, slots=True)
class _Group:
    """Lines of one code and channel: ``asked`` is None if no rule can match them; ``read`` if all must be read."""

    dataset: str
    asked: _Asked | None = None
    read: bool = False


class BlockSieve(Sieve):
    """Tells which lines of a block need to be read."""

    def __init__(self, plan_of: PlanOf) -> None:
        """Take the plans whose tables are shared."""
        super().__init__(plan_of)
        self._reader = LineReader(_KINDS, OTHERWISE)
        self._groups: dict[tuple[type, Any, Any], _Group | None] = {}
        self._asked: dict[tuple[int, str], _Asked] = {}
        self._words: dict[str, Words | None] = {}
        self._telling_places: _Asked | None = None

    def sift_block(self, data: bytes) -> tuple[I64, I64, I64]:
        """Lines of a block to read, rising, and where every line begins and ends.

        Args:
            data: Whole lines; the last may lack its end.
        """
        self.bound()
        lines = self._reader.read(data)
        flat = ~lines.odd & (lines.first_kind >= 0) & (np.diff(lines.first) <= MOST_MEMBERS)
        if not _is_utf8(data):
            flat[:] = False
        keep = np.zeros(len(flat), bool)
        rows = np.flatnonzero(flat)
        if len(rows):
            self._sift_flat(data, lines, rows, flat, keep)
        odd = np.flatnonzero(~flat)
        if len(odd):
            begins, ends = lines.begins[odd].tolist(), lines.ends[odd].tolist()
            some = [data[begin:end] for begin, end in zip(begins, ends, strict=True)]
            keep[odd[self.sift(some)]] = True
        return np.flatnonzero(keep), lines.begins, lines.ends

    def bound(self) -> bool:
        """See ``Sieve.bound``; what is known of kinds goes with the plans."""
        forgot = super().bound()
        if forgot:
            self._groups.clear()
            self._asked.clear()
            self._words.clear()
        return forgot

    def _sift_flat(
        self, data: bytes, lines: Lines, rows: I64, flat: npt.NDArray[np.bool_], keep: npt.NDArray[np.bool_]
    ) -> None:
        """Set ``keep`` for flat lines, and take from ``flat`` those that have to go line by line."""
        parts: dict[int, tuple[_Asked, list[I64]]] = {}
        members: dict[str, list[I64]] = {}
        for group, here in self._grouped(data, lines, rows):
            if group is None:
                flat[here] = False
                continue
            members.setdefault(group.dataset, []).append(here)
            if group.read:
                keep[here] = True
            elif group.asked is not None:
                parts.setdefault(id(group.asked), (group.asked, []))[1].append(here)
        for asked, some in parts.values():
            here = np.sort(np.concatenate(some))
            keep[self._matched_in(data, lines, asked, here)] = True
        for dataset, some in members.items():
            here = np.sort(np.concatenate(some))
            words = self._words_of(dataset)
            if words is not None:
                keep[words.suspects(data, lines, here)] = True
            self.passed_over[dataset] += int(len(here) - keep[here].sum())

    def _grouped(self, data: bytes, lines: Lines, rows: I64) -> Iterable[tuple[_Group | None, I64]]:
        """Lines of each code and channel."""
        if self._telling_places is None or self._telling_places.known < len(self._reader.names.texts):
            self._learn_telling()
        telling = self._telling_places
        assert telling is not None
        found = values_of(data, lines, rows, telling.places, telling.ranks, 2, self._reader.names.seed)
        values = [*_loaded(data, lines, found.members), None]  # ABSENT is the last
        pairs = (found.numbers[:, 0].astype(np.int64) + 1) * len(values) + found.numbers[:, 1] + 1
        order = np.argsort(pairs, kind="stable")
        pairs = pairs[order]
        edges = np.flatnonzero(np.diff(pairs, prepend=-1))
        for begin, end in zip(edges.tolist(), [*edges[1:].tolist(), len(pairs)], strict=True):
            one, two = divmod(int(pairs[begin]), len(values))
            yield self._group_of(values[one - 1], values[two - 1]), rows[order[begin:end]]

    def _learn_telling(self) -> None:
        telling = _Asked.__new__(_Asked)
        telling.places = np.full((1, MOST_NAMES), ABSENT, np.int16)
        telling.ranks = np.zeros((1, MOST_NAMES), np.int16)
        names = self._reader.names.texts
        for number, name in enumerate(names):
            if name in _KINDS:
                telling.places[0, number] = int(_KINDS[name] == SECOND_KIND)
        telling.known = len(names)
        self._telling_places = telling

    def _group_of(self, code: Any, channel: Any) -> _Group | None:
        if type(code) not in PLAIN or type(channel) not in PLAIN:
            return None
        key = type(code), code, channel
        if key not in self._groups:
            if len(self._groups) > MOST_NAMES:
                self._groups.clear()
            self._groups[key] = self._new_group(code, channel)
        return self._groups[key]

    def _new_group(self, code: Any, channel: Any) -> _Group:
        dataset = dataset_of(channel if isinstance(channel, str) else None)
        planned = self.plan(dataset)
        if planned is None:
            return _Group(dataset)
        plan, exact = planned
        values = {"event.code": code, "winlog.channel": channel}
        if not exact or any(name not in values for name in plan.telling):
            return _Group(dataset, read=True)
        told = tuple(int(plan.columns[name].encode_values([values[name]])[0]) for name in plan.telling)
        kind = plan.kind(told)
        if not judged(dataset, kind):
            return _Group(dataset, read=True)
        if not kind.trees:
            return _Group(dataset)
        rewritten = str(code) if dataset == SECURITY and str(code) in REWRITTEN else ""
        asked = self._asked.get((id(kind), rewritten))
        if asked is None:
            names = tuple(dict.fromkeys([*kind.fields, *compared(kind)]))
            asked = self._asked[id(kind), rewritten] = _Asked(plan, kind, dataset, rewritten, names)
        return _Group(dataset, asked)

    def _matched_in(self, data: bytes, lines: Lines, asked: _Asked, rows: I64) -> I64:
        """Lines of one kind that a rule matches or that cannot be judged."""
        names = self._reader.names
        if asked.known < len(names.texts):
            asked.learn(names.texts)
        plan, kind = asked.plan, asked.kind
        codes: dict[str, Codes] = {}
        texts: dict[str, Sequence[Any]] = {}
        keep = np.zeros(len(rows), bool)
        if asked.names:
            found = values_of(data, lines, rows, asked.places, asked.ranks, len(asked.names), names.seed)
            keep |= found.keep
            both = compared(kind)
            for column, name in enumerate(asked.names):
                numbers = found.numbers[:, column]
                here = np.flatnonzero(found.columns == column)
                values = self._values(data, lines, asked, column, found, here)
                if name in kind.fields:
                    table = np.zeros(len(found.columns) + 1, np.int64)
                    table[here] = plan.columns[name].encode_values(values)
                    codes[name] = table[numbers]
                if name in both:
                    by_number = dict(zip(here.tolist(), values, strict=True))
                    texts[name] = list(map(by_number.get, numbers.tolist()))
        for matched in plan.match_kind(kind, len(rows), codes, texts, None).values():
            keep[matched] = True
        return rows[keep]

    def _values(
        self, data: bytes, lines: Lines, asked: _Asked, column: int, found: Values, here: I64
    ) -> list[str | None]:
        """Texts of the values of a column."""
        members = found.members[here]
        values = [value if type(value) is str else text_of(value) for value in _loaded(data, lines, members)]
        if asked.rewrites:
            for place, name in enumerate(lines.names[members].tolist()):
                rewrite, text = asked.rewrites.get((column, name)), values[place]
                if rewrite is not None and text is not None:
                    values[place] = rewrite(text)
        return values

    def _words_of(self, dataset: str) -> Words | None:
        if dataset not in self._words:
            planned = self.plan(dataset)
            words = None if planned is None else planned[0].keywords
            self._words[dataset] = None if words is None else Words(words)
        return self._words[dataset]


class Words:
    """Tells in which lines of a block a keyword can be; compare ``Keywords.suspects``."""

    def __init__(self, keywords: Keywords) -> None:
        """Prepare one pass over the keywords of a dataset."""
        self._keywords = keywords

    def suspects(self, data: bytes, lines: Lines, rows: I64) -> I64:
        """Those of some lines that a keyword can be in."""
        begins, ends = lines.begins[rows], lines.ends[rows]
        size = int((ends - begins).sum())
        if size >= _SOME * len(data):
            found = self._keywords.suspects(data, lines.ends + 1, lines.escaped)
            return np.intersect1d(found, rows, assume_unique=True)
        pieces = [data[begin:end] for begin, end in zip(begins.tolist(), ends.tolist(), strict=True)]
        found = self._keywords.suspects(b"\n".join(pieces), np.cumsum(ends - begins + 1), lines.escaped[rows])
        return rows[found]


def _loaded(data: bytes, lines: Lines, members: I64) -> list[Any]:
    """Values of members."""
    begins, ends = lines.value_begins[members].tolist(), lines.value_ends[members].tolist()
    loaded: list[Any] = orjson.loads(
        b"[" + b",".join([data[begin:end] for begin, end in zip(begins, ends, strict=True)]) + b"]"
    )
    return loaded


def _is_utf8(data: bytes) -> bool:
    if data.isascii():
        return True
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


__all__ = ["BlockSieve"]
