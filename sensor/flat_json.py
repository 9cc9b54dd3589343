"""JSON lines, many at a time: where the members of objects are, and what became of lines like these before.

A line that is one object of texts, numbers, ``true``, ``false``, ``null`` and lists of those is *flat*; one that has
objects in objects is *deep*, if it has a member that says it may be. Lines are checked as strictly as orjson checks
them, and only where their members stand is noted. Everything else (objects deeper still, a name twice, broken text,
surrogates, names with escapes) is *odd*: somebody else has to read it.

Whether bytes beyond ASCII are UTF-8 is for the caller to see to; ``strange`` tells where.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from sensor._flat_json_kernels import (
    ABSENT,
    DEEP,
    DEEP_FIRST,
    DEEP_SECOND,
    DEEPEST,
    DONE,
    FLAT_FIRST,
    FLAT_SECOND,
    FULL_LINES,
    FULL_MEMBERS,
    I32,
    I64,
    MOST_NAMES,
    ODD,
    ROOT,
    U8,
    U64,
    Num,
    enter,
    mark,
    scan,
)
from sensor._flat_json_tables_kernels import (
    ALL_DONE,
    ALONE,
    CASES,
    DEPENDS,
    FORGOTTEN,
    FULL_VALUES,
    GROUP,
    HASH,
    KEEP,
    LETTERS,
    MADE,
    NEW,
    PASS,
    READ,
    SIZE,
    SOLE,
    START,
    STATE,
    VALUES,
    W_VALUES,
    WAITING,
    WHAT,
    enter_again,
    judge,
    settle,
    spell_out,
)
from sensor.base import ROOM_BEHIND

MOST_LETTERS = 1 << 18
"""Bytes of the names that are remembered."""

_SLOTS = 4 * MOST_NAMES


@dataclass(frozen=True, slots=True)
class Name:
    """What is said of a name: bits of what it is, and its rank among those that may be the same member."""

    kind: int = 0
    rank: int = 0


class Names:
    """The names of members seen so far, by number.

    Attributes:
        paths: The names of the objects that a member is in, and its own.
        full: There is no place for more.
    """

    def __init__(self) -> None:
        """None are known."""
        self.paths: list[tuple[str, ...]] = []
        self.full = False
        self.letters = np.zeros(MOST_LETTERS // 8, np.uint64)
        self.heads = np.zeros((MOST_NAMES, 8), np.uint64)
        self.heads[:, 0] = 1  # of names without a head: nothing under a mask of zeros is 1
        self.sizes = np.zeros(MOST_NAMES, np.int64)
        self.parents = np.full(MOST_NAMES, ROOT - 1, np.int64)
        self.starts = np.zeros(MOST_NAMES + 1, np.int64)
        self.kinds = np.zeros(MOST_NAMES, np.uint8)
        self.ranks = np.zeros(MOST_NAMES, np.int16)
        self.follows = np.zeros(MOST_NAMES + 1, np.int32)
        self.slots = np.full(_SLOTS, -1, np.int32)
        self.stamps = np.full(MOST_NAMES, -1, np.int64)
        self.seed = np.uint64(int.from_bytes(np.random.default_rng().bytes(8), "little") | 1)

    def path(self, name: bytes, parent: int) -> tuple[str, ...]:
        """The path of a member; bytes that are no UTF-8 make its line strange."""
        return (*(self.paths[parent] if parent != ROOT else ()), name.decode("utf-8", "replace"))

    def add(self, name: bytes, parent: int, what: Name) -> None:
        """Take a new name in."""
        number = len(self.paths)
        words = np.frombuffer(name + bytes(-len(name) % 8), np.uint64)
        start = int(self.starts[number])
        if number >= MOST_NAMES or start + len(words) > len(self.letters):
            self.full = True
            return
        self.letters[start : start + len(words)] = words
        head = name + b'":'
        if len(head) <= 32:
            mask = b"\xff" * len(head)
            self.heads[number] = np.frombuffer(head.ljust(32, b"\0") + mask.ljust(32, b"\0"), np.uint64)
        self.sizes[number] = len(name)
        self.parents[number] = parent
        self.starts[number + 1] = start + len(words)
        self.kinds[number] = what.kind
        self.ranks[number] = what.rank
        enter(self.letters, start, len(name), self.slots, number, parent, self.seed)
        self.paths.append(self.path(name, parent))


@dataclass(slots=True)
class Lines:
    r"""Lines of a block, and the members of those that are not odd.

    Attributes:
        text: The block, and room behind it.
        places: Where each line begins and ends, its end mark not counted, and the numbers of the two members that tell
            kinds of lines apart, ABSENT without or ``null``: ``int64[4, n]``.
        flags: Whether it is odd (and has no members here), spells letters as ``\u....`` or a slash as ``\/``, is
            deep, has bytes beyond ASCII, and holds a letter beyond it that folds into it: ``uint8[5, n]``.
        first: Number of its first member, ``int64[n + 1]``.
        names: Number of the name of each member, ``int32[m]``.
        values: Where its value begins and ends, ``int64[2, m]``.
    """

    text: U8
    places: I64
    flags: U8
    first: I64
    names: I32
    values: I64

    @property
    def begins(self) -> I64:
        """Where each line begins."""
        begins: I64 = self.places[0]
        return begins

    @property
    def ends(self) -> I64:
        """Where it ends."""
        ends: I64 = self.places[1]
        return ends

    def flag(self, number: int) -> npt.NDArray[np.bool_]:
        """One of ``flags``."""
        flags: npt.NDArray[np.bool_] = self.flags[number].view(np.bool_)
        return flags


class LineReader:
    """Finds lines and members in blocks, and learns names as they come."""

    def __init__(self, names: Mapping[tuple[str, ...], Name]) -> None:
        """Say of which paths something is to be said."""
        self._said = names
        self.names = Names()
        self._lines = _tables(1 << 12)
        self._members = np.empty(1 << 16, np.int32), np.empty((2, 1 << 16), np.int64)
        self._copy = np.zeros(0, np.uint8)
        self._marks = np.zeros((2, 0), np.uint64)
        self._stack = np.zeros(DEEPEST + 1, np.int64)
        self._serial = 0

    def read(self, data: bytes | memoryview) -> Lines:
        """Look through a block of whole lines, the last of which may lack its end.

        Args:
            data: If it is the front of a buffer that goes on for ``ROOM_BEHIND`` bytes, it is looked through where it
                lies.

        Returns:
            What is good until the next block is read, and as long as ``data`` does not change.
        """
        text = self._padded(data)
        known = self.names
        quotes, strange = self._marks
        mark(text, len(data), quotes, strange)
        at: Num = 0
        line: Num = 0
        while True:
            first, lines, flags = self._lines
            names, values = self._members
            self._serial += len(first)  # a line that is begun again must not meet its own stamps
            state, at, line, one, two, parent = scan(
                text, quotes, strange, len(data), at, line, first, lines, flags, names, values, known.heads,
                known.letters, known.starts, known.sizes, known.parents, known.kinds, known.ranks, known.follows,
                known.slots, known.stamps, self._stack, known.seed, known.full, self._serial,
            )  # fmt: skip
            if state == DONE:
                break
            if state == FULL_LINES:
                self._lines = _tables(2 * len(first))
                self._lines[0][: len(first)] = first
                self._lines[1][:, : len(first)] = lines
                self._lines[2][:, : len(first)] = flags
            elif state == FULL_MEMBERS:
                size = len(names)
                self._members = np.empty(2 * size, np.int32), np.empty((2, 2 * size), np.int64)
                self._members[0][:size], self._members[1][:, :size] = names, values
            else:
                name = bytes(data[one:two])
                known.add(name, int(parent), self._said.get(known.path(name, int(parent)), Name()))
        used = int(first[line])
        return Lines(text, lines[:, :line], flags[:, :line], first[: line + 1], names[:used], values[:, :used])

    def _padded(self, data: bytes | memoryview) -> U8:
        """The block with an end of line and room behind it, so that whole words can be read wherever a byte can."""
        size = len(data) + ROOM_BEHIND
        if size // 64 + 2 > self._marks.shape[1]:
            self._marks = np.zeros((2, size // 64 + 2), np.uint64)
        if isinstance(data, memoryview) and isinstance(data.obj, bytearray) and len(data) and data[-1] == 10:
            # What stands behind an end of line is read, but nothing comes of it.
            whole: U8 = np.frombuffer(data.obj, np.uint8)
            if len(whole) >= size and whole.ctypes.data == np.frombuffer(data, np.uint8).ctypes.data:
                return whole
        if size > len(self._copy):
            self._copy = np.zeros(size, np.uint8)
        text = self._copy
        text[: len(data)] = np.frombuffer(data, np.uint8)
        text[len(data) : size] = 0
        text[len(data)] = 10
        return text


def _tables(count: int) -> tuple[I64, I64, U8]:
    return np.zeros(count + 1, np.int64), np.empty((4, count + 1), np.int64), np.empty((5, count + 1), np.uint8)


_LETTERS = 1 << 26  # half a gibibyte of addresses: memory is taken page by page, and growing would copy all of it
_Array = TypeVar("_Array", U64, I32)


def _longer(array: _Array) -> _Array:
    """Twice as long; the new half holds anything, and costs nothing before it is written to."""
    made: _Array = np.empty(2 * len(array), array.dtype)
    made[: len(array)] = array
    return made


class _Table:
    """What was met, by number; there is room for half as many as there are slots."""

    def __init__(self, bits: int) -> None:
        self.slots = np.full(1 << bits, -1, np.int32)
        self.entries = np.zeros((1 << (bits - 1), STATE + 1), np.int64)

    def grow(self, used: int) -> None:
        """Make room for twice as many."""
        self.slots = np.full(2 * len(self.slots), -1, np.int32)
        self.entries = np.concatenate([self.entries, np.zeros_like(self.entries)])
        enter_again(self.slots, self.entries, used)

    @property
    def states(self) -> I64:
        """By number: codes of values, states of cases."""
        states: I64 = self.entries[:, STATE]
        return states

    @property
    def whats(self) -> I64:
        """By number: what values are, what is asked of cases (GROUP: for their group)."""
        whats: I64 = self.entries[:, WHAT]
        return whats

    @property
    def size(self) -> int:
        """Bytes of one entry."""
        return 2 * self.slots.itemsize + self.entries.itemsize * (STATE + 1)


@dataclass(slots=True)
class Asked:
    """What is asked of the lines of some groups.

    Attributes:
        number: Its own.
        width: Columns, and one that is 1 for lines with a member that is ``MADE``.
        layers: Layers of places in use, at most two.
        known: Names whose places are known.
    """

    number: int
    width: int
    layers: int
    known: int = 0


@dataclass(frozen=True, slots=True)
class Spelled:
    """Texts in ASCII without quotes and escapes, STX before and ETX behind each.

    Attributes:
        plain: As they are.
        folded: With small letters.
        ends: Where each ends in both, behind its ETX, ``int64[n]``.
        odd: Which of them are not told here, and empty: no texts, or with other letters than those of ASCII or some by
            their numbers, ``bool[n]``.
    """

    plain: U8
    folded: U8
    ends: I64
    odd: npt.NDArray[np.bool_]

    def part(self, begin: int, end: int) -> Spelled:
        """Some of the texts."""
        first = int(self.ends[begin - 1]) if begin else 0
        last = int(self.ends[end - 1]) if end else 0
        return Spelled(
            self.plain[first:last], self.folded[first:last], self.ends[begin:end] - first, self.odd[begin:end]
        )


class Tables:
    """What became of lines like these before: groups of lines, codes of values, and the states of cases.

    A line's *group* is told by two of its members. What is asked of a group is a list of columns, each filled by some
    member; the same value of the same kind always has the same *code*. Lines that have the same codes in all columns
    are one *case*. Kernels look all three up; what they do not find they enter, for the caller to decide.

    Attributes:
        values: Where their texts begin and how long they are says ``letters``; their states are codes.
        cases: Where their codes begin says ``codes``. The state of a group is the number of what is asked, or like that
            of a case PASS, READ, ALONE or (of a case) DEPENDS.
        used: How many values, letters (eight bytes each), cases and codes there are, and numbers of lines that wait.
    """

    def __init__(self, seed: np.uint64) -> None:
        """Nothing was met."""
        self._seed = seed
        self.clear()

    def clear(self) -> None:
        """Forget all."""
        self.values = _Table(13)
        self.cases = _Table(12)
        self.letters = np.empty(_LETTERS, np.uint64)
        self.codes = np.empty(1 << 14, np.int32)
        self.used = np.zeros(5, np.int64)
        self._waiting = np.zeros(0, np.int32)
        self._forgotten = np.zeros(0, np.int64)
        self._asked: list[Asked] = []
        self._recent = np.full((17, 16), ABSENT, np.int64)
        self._widths = np.zeros(16, np.int64)
        self._layers = np.zeros(16, np.int64)
        self._places = np.full((16, 2, 512), ABSENT, np.int16)
        self._ranks = np.zeros((16, 2, 512), np.int16)
        self._whats = np.zeros((16, 2, 512), np.int32)

    @property
    def value_count(self) -> int:
        """Values met."""
        return int(self.used[VALUES])

    @property
    def case_count(self) -> int:
        """Cases met, groups included."""
        return int(self.used[CASES])

    @property
    def remembered(self) -> int:
        """Bytes in use."""
        values, letters, cases, codes, _ = self.used.tolist()
        names = self._places.shape[2]
        asked = len(self._asked) * 2 * names * 8
        return int(
            values * self.values.size
            + 8 * (letters + len(self._forgotten))
            + cases * self.cases.size
            + 4 * codes
            + asked
        )

    @property
    def size_of_values(self) -> int:
        """Bytes of the values met."""
        return int(8 * self.used[LETTERS])

    def forget_values(self) -> float:
        """Forget values and groups, but neither what is asked nor other cases.

        To remember more than a processor's cache holds costs more than to look at a value again.

        Returns:
            How much of what is forgotten had been met before values were forgotten the last time, 0 to 1.
        """
        count = self.value_count
        hashes = np.sort(self.values.entries[:count, HASH])
        again = float(np.isin(hashes, self._forgotten, assume_unique=True).mean()) if count else 0.0
        self._forgotten = hashes
        self.values.slots.fill(-1)
        self.used[VALUES] = self.used[LETTERS] = 0
        self._recent.fill(ABSENT)
        whats = self.cases.whats[: self.case_count]
        whats[whats == GROUP] = FORGOTTEN  # groups are told by the numbers of values
        return again

    def ask(self, width: int, *, layers: int) -> Asked:
        """Ask for so many columns; no member fills any yet."""
        width += 1
        number = len(self._asked)
        if number >= len(self._widths):
            self._widths = np.concatenate([self._widths, np.zeros_like(self._widths)])
            self._layers = np.concatenate([self._layers, np.zeros_like(self._layers)])
            self._places = np.concatenate([self._places, np.full_like(self._places, ABSENT)])
            self._ranks = np.concatenate([self._ranks, np.zeros_like(self._ranks)])
            self._whats = np.concatenate([self._whats, np.zeros_like(self._whats)])
        made = Asked(number, width, layers)
        if number + 1 >= len(self._recent) or width > self._recent.shape[1]:
            self._recent = np.full((len(self._widths) + 1, max(width, self._recent.shape[1])), ABSENT, np.int64)
        self._asked.append(made)
        self._widths[number], self._layers[number] = width, layers
        return made

    def fill(self, asked: Asked, layer: int, name: int, column: int, *, rank: int = 0, what: int = 0) -> None:
        """Say that a member fills a column, see ``judge``."""
        self._places[asked.number, layer, name] = column
        self._ranks[asked.number, layer, name] = rank
        self._whats[asked.number, layer, name] = what

    def names(self, count: int) -> Iterable[Asked]:
        """Make room for so many names; gives what is asked where not all of them are known."""
        size = self._places.shape[2]
        while count > size:
            self._places = np.concatenate([self._places, np.full_like(self._places, ABSENT)], axis=2)
            self._ranks = np.concatenate([self._ranks, np.zeros_like(self._ranks)], axis=2)
            self._whats = np.concatenate([self._whats, np.zeros_like(self._whats)], axis=2)
            size *= 2
        return [one for one in self._asked if one.known < count]

    @property
    def _width(self) -> int:
        return max([3, *(one.width for one in self._asked)])

    def judge(self, lines: Lines, rows: I64, groups: I32, outcomes: I32) -> None:
        """Look lines up, see the kernel; those with new values wait for ``settle``."""
        best, vector = np.zeros((3, self._width), np.int64), np.zeros(self._width, np.int32)
        room = len(rows) * (self._width + W_VALUES)
        if room > len(self._waiting):
            self._waiting = np.empty(room, np.int32)
        self.used[WAITING] = 0
        at: Num = 0
        while True:
            values, cases = self.values, self.cases
            state, at = judge(
                lines.text, rows, at, lines.first, lines.places, lines.flags, lines.names, lines.values,
                self._widths, self._layers, self._places, self._ranks, self._whats, values.slots, values.entries,
                self.letters, cases.slots, cases.entries, self.codes, self._waiting, self.used, self._recent, best,
                vector, groups, outcomes, self._seed,
            )  # fmt: skip
            if state == ALL_DONE:
                return
            if state != FULL_VALUES:
                self._make_room_for_cases()
            elif 2 * int(self.used[VALUES]) + 2 > len(values.slots):
                values.grow(int(self.used[VALUES]))
            else:
                self.letters = _longer(self.letters)

    def settle(self, outcomes: I32) -> None:
        """Look up the cases of the lines that wait, once all values have codes, see the kernel."""
        vector = np.zeros(self._width, np.int32)
        at: Num = 0
        while True:
            cases = self.cases
            state, at = settle(
                self._waiting, at, self._widths, self.values.entries, cases.slots, cases.entries, self.codes,
                self.used, vector, outcomes, self._seed,
            )  # fmt: skip
            if state == ALL_DONE:
                return
            self._make_room_for_cases()

    def _make_room_for_cases(self) -> None:
        if 2 * int(self.used[CASES]) + 2 > len(self.cases.slots):
            self.cases.grow(int(self.used[CASES]))
        else:
            self.codes = _longer(self.codes)

    def texts(self, numbers: Sequence[int] | I64) -> list[memoryview]:
        """The texts of values, as they stand in the lines; good until more are met."""
        letters = self.letters.view(np.uint8).data
        spots = self.values.entries[numbers][:, [START, SIZE]]
        begins = 8 * spots[:, 0]
        return [letters[begin:end] for begin, end in zip(begins.tolist(), (begins + spots[:, 1]).tolist(), strict=True)]

    def sizes(self, numbers: I64) -> I64:
        """Bytes of values as they stand in the lines."""
        sizes: I64 = self.values.entries[numbers, SIZE]
        return sizes

    def spelled(self, numbers: I64) -> Spelled:
        """The texts of values."""
        sizes = self.sizes(numbers)
        room = int(sizes.sum()) + len(sizes)  # what is no text may have one byte, and is framed by two
        plain, folded = np.empty(room, np.uint8), np.empty(room, np.uint8)
        ends, odd = np.empty(len(sizes), np.int64), np.empty(len(sizes), np.bool_)
        begins = 8 * self.values.entries[numbers, START]
        size = spell_out(self.letters.view(np.uint8), begins, sizes, plain, folded, ends, odd)
        return Spelled(plain[:size], folded[:size], ends, odd)

    def vectors(self, cases: I64, width: int) -> I32:
        """The codes of cases of the same width, ``int32[n, width]``."""
        codes: I32 = self.codes[self.cases.entries[cases, START][:, None] + np.arange(width)]
        return codes


__all__ = [
    "ABSENT",
    "ALONE",
    "DEEP",
    "DEEP_FIRST",
    "DEEP_SECOND",
    "DEPENDS",
    "FLAT_FIRST",
    "FLAT_SECOND",
    "GROUP",
    "KEEP",
    "MADE",
    "NEW",
    "ODD",
    "PASS",
    "READ",
    "SOLE",
    "Asked",
    "LineReader",
    "Lines",
    "Name",
    "Names",
    "Spelled",
    "Tables",
]
