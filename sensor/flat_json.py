"""JSON lines, many at a time: where the members of flat objects are, and which of their values are the same.

A line that is one object of texts, numbers, ``true``, ``false``, ``null`` and lists of those is *flat*: it is checked
as strictly as orjson checks it, and only where its members stand is noted. Everything else (deeper objects, a name
twice, broken text, surrogates, names with escapes) is *odd*: somebody else has to read it.

Whether bytes beyond ASCII are UTF-8 is for the caller to know.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sensor._flat_json_kernels import (
    ABSENT,
    DONE,
    FIRST_KIND,
    FULL_LINES,
    FULL_MEMBERS,
    I16,
    I32,
    I64,
    KEEP,
    MOST_NAMES,
    ODD,
    PLAIN,
    SECOND_KIND,
    U8,
    U64,
    Num,
    collect,
    enter,
    scan,
)

MOST_LETTERS = 1 << 18
"""Bytes of the names that are remembered."""

_SLOTS = 4 * MOST_NAMES
_PAD = 24


class Names:
    """The names of members seen so far, by number.

    Attributes:
        texts: The names.
        full: There is no place for more.
    """

    def __init__(self) -> None:
        """None are known."""
        self.texts: list[str] = []
        self.full = False
        self.letters = np.zeros(MOST_LETTERS // 8, np.uint64)
        self.sizes = np.zeros(MOST_NAMES, np.int64)
        self.starts = np.zeros(MOST_NAMES + 1, np.int64)
        self.kinds = np.zeros(MOST_NAMES, np.uint8)
        self.slots = np.full(_SLOTS, -1, np.int32)
        self.stamps = np.full(MOST_NAMES, -1, np.int64)
        self.seed = np.uint64(int.from_bytes(np.random.default_rng().bytes(8), "little") | 1)

    def add(self, name: bytes, kind: int) -> None:
        """Take a new name in."""
        number = len(self.texts)
        words = np.frombuffer(name + bytes(-len(name) % 8), np.uint64)
        start = int(self.starts[number])
        if number >= MOST_NAMES or start + len(words) > len(self.letters):
            self.full = True
            return
        self.letters[start : start + len(words)] = words
        self.sizes[number] = len(name)
        self.starts[number + 1] = start + len(words)
        self.kinds[number] = kind
        enter(self.letters, start, len(name), self.slots, number, self.seed)
        self.texts.append(name.decode())


@dataclass(slots=True)
class Lines:
    r"""Lines of a block, and the members of those that are flat.

    Attributes:
        text: The block, and room behind it.
        words: The same, eight bytes each.
        begins: Where each line begins, ``int64[n]``.
        ends: Where it ends, its end mark not counted.
        odd: It is not flat, and has no members here.
        escaped: It spells letters as ``\u....`` or a slash as ``\/``.
        first: Number of its first member, ``int64[n + 1]``.
        first_kind: Number of the member that is ``FIRST_KIND``, ABSENT without.
        second_kind: Likewise.
        names: Number of the name of each member, ``int32[m]``.
        value_begins: Where its value begins.
        value_ends: Where it ends.
    """

    text: U8
    words: U64
    begins: I64
    ends: I64
    odd: npt.NDArray[np.bool_]
    escaped: npt.NDArray[np.bool_]
    first: I64
    first_kind: I64
    second_kind: I64
    names: I32
    value_begins: I64
    value_ends: I64


class LineReader:
    """Finds lines and members in blocks, and learns names as they come."""

    def __init__(self, kind_of: dict[str, int], odd_names: frozenset[str]) -> None:
        """Say which names are not plain.

        Args:
            kind_of: Names that are FIRST_KIND or SECOND_KIND.
            odd_names: Names that make a line odd.
        """
        self._kind_of = kind_of
        self._odd = odd_names
        self.names = Names()
        self._lines = _tables(1 << 12)
        self._members = np.empty(1 << 16, np.int32), np.empty((2, 1 << 16), np.int64)
        self._words = np.zeros(1 << 17, np.uint64)
        self._serial = 0

    def read(self, data: bytes) -> Lines:
        """Look through a block of whole lines, the last of which may lack its end; good until the next one is read."""
        text = self._padded(data)
        known = self.names
        at: Num = 0
        line: Num = 0
        while True:
            first, lines, flags = self._lines
            names, values = self._members
            self._serial += len(first)  # a line that is begun again must not meet its own stamps
            state, at, line, one, two = scan(
                text, self._words, len(data), at, line, first, lines, flags, names, values,
                known.letters, known.starts, known.sizes, known.kinds, known.slots, known.stamps, known.seed,
                known.full, self._serial,
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
                name = data[one:two]
                text_of = name.decode()
                known.add(name, ODD if text_of in self._odd else self._kind_of.get(text_of, PLAIN))
        used = int(first[line])
        return Lines(
            text, self._words, lines[0, :line], lines[1, :line], flags[0, :line] == 1, flags[1, :line] == 1,
            first[: line + 1], lines[2, :line], lines[3, :line], names[:used], values[0, :used], values[1, :used],
        )  # fmt: skip

    def _padded(self, data: bytes) -> U8:
        """The block with an end of line and room behind it, so that eight bytes can be read wherever one can."""
        size = (len(data) + _PAD) // 8
        if size > len(self._words):
            self._words = np.zeros(size, np.uint64)
        text = self._words.view(np.uint8)
        text[: len(data)] = np.frombuffer(data, np.uint8)
        text[len(data) : len(data) + _PAD - 7] = 0
        text[len(data)] = 10
        return text


def _tables(count: int) -> tuple[I64, I64, U8]:
    return np.zeros(count + 1, np.int64), np.empty((4, count + 1), np.int64), np.empty((2, count + 1), np.uint8)


@dataclass(slots=True)
class Values:
    """Values of some columns over some lines; the same text of the same member is one value.

    Attributes:
        numbers: Value of each line and column, ``int32[n, columns]``; ABSENT where there is none, or ``null``.
        keep: Lines with a member whose column is KEEP.
        columns: Column of each value.
        members: The member at which it was met first.
    """

    numbers: I32
    keep: npt.NDArray[np.bool_]
    columns: I64
    members: I64


def values_of(data: bytes, lines: Lines, rows: I64, places: I16, ranks: I16, width: int, seed: np.uint64) -> Values:
    """Number the values of columns.

    Args:
        data: The block.
        lines: Its lines.
        rows: Which of them, none odd.
        places: Columns of each name, ABSENT or KEEP, ``int16[layers, MOST_NAMES]``: a member may fill several.
        ranks: Likewise; where several members may fill a column, that of the lowest rank does which is not ``null``.
        width: How many columns there are.
        seed: For hashes.
    """
    text, words = lines.text, lines.words
    size = 1 << max(10, int(len(rows) * width // 4).bit_length())
    keep = np.zeros(len(rows), np.uint8)
    numbers = np.empty((len(rows), width), np.int32)
    best = np.empty((2, width), np.int64)
    while True:
        found = np.empty((2, size // 2), np.int64)
        count = collect(
            text, words, rows, lines.first, lines.names, lines.value_begins, lines.value_ends, places, ranks, best,
            numbers, keep, np.full(size, -1, np.int32), np.empty(size // 2, np.uint64), found, seed,
        )  # fmt: skip
        if count >= 0:
            return Values(numbers, keep == 1, found[0, :count], found[1, :count])
        size *= 8


__all__ = [
    "ABSENT",
    "FIRST_KIND",
    "KEEP",
    "MOST_NAMES",
    "ODD",
    "PLAIN",
    "SECOND_KIND",
    "LineReader",
    "Lines",
    "Names",
    "Values",
    "values_of",
]
