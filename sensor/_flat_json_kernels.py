"""The kernels of ``sensor.flat_json``: where the members of flat JSON lines are, and the numbers of their values.

All of them are in this one file and import no other, since numba notices no edit elsewhere (``sensor.kernel_cache``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from numba import njit

U8 = npt.NDArray[np.uint8]
U64 = npt.NDArray[np.uint64]
I16 = npt.NDArray[np.int16]
I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
Num = int | np.int64

MOST_NAMES = 4096
"""Names of members that are remembered; lines with others beyond are odd."""
PLAIN, ODD, FIRST_KIND, SECOND_KIND = 0, 1, 2, 3
"""What a name is: one among many, one that makes a line odd, one of the two members that tell kinds of lines apart."""
ABSENT = -1
"""A line lacks the member."""
KEEP = -2
"""A column that cannot be worked out where the member is."""

DONE, UNKNOWN, FULL_LINES, FULL_MEMBERS = 0, 1, 2, 3
_QUOTE, _BACKSLASH = 0x22, 0x5C
_BAD = -1

_PRIME = np.uint64(0x9E3779B97F4A7C15)
_SHIFT = np.uint64(29)
_ONES = np.uint64(0x0101010101010101)
_HIGHS = np.uint64(0x8080808080808080)
_QUOTES = np.uint64(0x2222222222222222)
_BACKSLASHES = np.uint64(0x5C5C5C5C5C5C5C5C)
_SPACES = np.uint64(0x2020202020202020)
# None of these allocates, so none needs numba's reference counts; only three are called from Python.
_njit: Any = njit
_F = TypeVar("_F", bound=Callable[..., Any])


def _inner(function: _F) -> _F:
    compiled: _F = _njit(nogil=True, boundscheck=True, no_cpython_wrapper=True, no_cfunc_wrapper=True, _nrt=False)(
        function
    )
    return compiled


def _entry(function: _F) -> _F:
    compiled: _F = _njit(nogil=True, cache=True, boundscheck=True, _nrt=False)(function)
    return compiled


@_inner
def _mixed(value: np.uint64, word: np.uint64) -> np.uint64:
    value = (value ^ word) * _PRIME
    return value ^ (value >> _SHIFT)


@_inner
def _load(words: U64, at: Num) -> np.uint64:
    """Eight bytes from anywhere, the first lowest."""
    shift = np.uint64((at & 7) * 8)
    if shift:
        return np.uint64((words[at >> 3] >> shift) | (words[(at >> 3) + 1] << (np.uint64(64) - shift)))
    return np.uint64(words[at >> 3])


@_inner
def _part(words: U64, at: Num, end: Num) -> np.uint64:
    """Up to eight bytes of those before ``end``, zeros behind them."""
    word = _load(words, at)
    left = end - at
    if left < 8:
        word &= (np.uint64(1) << np.uint64(8 * left)) - np.uint64(1)
    return word


@_inner
def _hash(words: U64, begin: Num, end: Num, seed: np.uint64) -> np.uint64:
    value = _mixed(seed, np.uint64(end - begin))
    for at in range(begin, end, 8):
        value = _mixed(value, _part(words, at, end))
    return value


@_entry
def enter(letters: U64, start: Num, size: Num, slots: I32, number: int, seed: np.uint64) -> None:
    """Put a name into the table."""
    value = _mixed(seed, np.uint64(size))
    for at in range((size + 7) >> 3):
        value = _mixed(value, letters[start + at])
    slot = np.int64(value & np.uint64(len(slots) - 1))
    while slots[slot] >= 0:
        slot = (slot + 1) & (len(slots) - 1)
    slots[slot] = number


@_inner
def _look_up(
    words: U64, begin: Num, end: Num, letters: U64, starts: I64, sizes: I64, slots: I32, seed: np.uint64
) -> Num:
    """Number of a name, -1 if it is new."""
    slot = np.int64(_hash(words, begin, end, seed) & np.uint64(len(slots) - 1))
    while slots[slot] >= 0:
        number = np.int64(slots[slot])
        if sizes[number] == end - begin:
            same = True
            start = starts[number]
            for at in range(begin, end, 8):
                if letters[start] != _part(words, at, end):
                    same = False
                    break
                start += 1
            if same:
                return number
        slot = (slot + 1) & (len(slots) - 1)
    return np.int64(-1)


@_inner
def _hex(letter: Num) -> bool | np.bool_:
    return 48 <= letter <= 57 or 65 <= letter <= 70 or 97 <= letter <= 102


@_inner
def _has(word: np.uint64, eight: np.uint64) -> np.uint64:
    """The high bit of the lowest byte that is in both, perhaps of higher ones too; 0 if there is none."""
    word = word ^ eight
    return (word - _ONES) & ~word & _HIGHS


@_inner
def _plain_end(words: U64, at: Num) -> Num:
    """Where the next quote, backslash or control character is."""
    while True:
        word = _load(words, at)
        found = _has(word, _QUOTES) | _has(word, _BACKSLASHES) | ((word - _SPACES) & ~word & _HIGHS)
        if found:
            # All bits below the lowest: as many bytes are full of them as stand before the one that was found.
            below = (found & (~found + np.uint64(1))) - np.uint64(1)
            return at + np.int64(((below & _ONES) * _ONES) >> np.uint64(56)) - 1
        at += 8


@_inner
def _string(text: U8, words: U64, at: Num) -> tuple[Num, Num]:
    """End of a text whose content begins here (behind its quote), -1 if it is bad; 1 if it has escapes to look at."""
    escaped = 0
    while True:
        letter = text[at]
        if letter != _BACKSLASH:
            at = _plain_end(words, at)
            letter = text[at]
        if letter == _QUOTE:
            return at + 1, escaped
        if letter < 32:
            return np.int64(_BAD), escaped
        letter = text[at + 1]
        if letter == 117:  # u
            for place in range(at + 2, at + 6):
                if not _hex(text[place]):
                    return np.int64(_BAD), escaped
            if (text[at + 2] == 68 or text[at + 2] == 100) and text[at + 3] >= 56:  # a surrogate: D8 to DF
                return np.int64(_BAD), escaped
            escaped = 1
            at += 6
        elif letter == 47:  # a slash
            escaped = 1
            at += 2
        elif (
            letter in (_BACKSLASH, _QUOTE) or letter in (98, 102) or letter in (110, 114, 116)  # n, r, t
        ):
            at += 2
        else:
            return np.int64(_BAD), escaped


@_inner
def _digits(text: U8, at: Num) -> Num:
    while 48 <= text[at] <= 57:
        at += 1
    return at


@_inner
def _number(text: U8, at: Num) -> Num:
    """End of a number, -1 if it is bad."""
    if text[at] == 45:
        at += 1
    end = _digits(text, at)
    if end == at or (text[at] == 48 and end > at + 1):
        return np.int64(_BAD)
    at = end
    if text[at] == 46:
        end = _digits(text, at + 1)
        if end == at + 1:
            return np.int64(_BAD)
        at = end
    if text[at] == 101 or text[at] == 69:
        at += 1
        if text[at] == 43 or text[at] == 45:
            at += 1
        end = _digits(text, at)
        if end == at:
            return np.int64(_BAD)
        at = end
    return at


@_inner
def _word(text: U8, at: Num) -> Num:
    """End of ``true``, ``false`` or ``null``, -1 if it is none."""
    one, two, three, four = text[at], text[at + 1], text[at + 2], text[at + 3]
    if one == 116 and two == 114 and three == 117 and four == 101:
        return at + 4
    if one == 110 and two == 117 and three == 108 and four == 108:
        return at + 4
    if one == 102 and two == 97 and three == 108 and four == 115 and text[at + 4] == 101:
        return at + 5
    return np.int64(_BAD)


@_inner
def _blank(text: U8, at: Num) -> Num:
    while text[at] == 32 or text[at] == 9 or text[at] == 13:
        at += 1
    return at


@_inner
def _scalar(text: U8, words: U64, at: Num) -> tuple[Num, Num]:
    """End of a text, number or word, -1 if it is bad; 1 if it has escapes to look at."""
    letter = text[at]
    if letter == _QUOTE:
        return _string(text, words, at + 1)
    if letter == 45 or 48 <= letter <= 57:
        return _number(text, at), 0
    return _word(text, at), 0


@_inner
def _value(text: U8, words: U64, at: Num) -> tuple[Num, Num]:
    """End of a value, -1 if it is bad or deep; 1 if it has escapes to look at."""
    if text[at] != 91:
        return _scalar(text, words, at)
    at = _blank(text, at + 1)
    escaped: Num = 0
    if text[at] == 93:
        return at + 1, escaped
    while True:
        at, more = _scalar(text, words, at)
        escaped |= more
        if at < 0:
            return np.int64(_BAD), escaped
        at = _blank(text, at)
        if text[at] == 93:
            return at + 1, escaped
        if text[at] != 44:
            return np.int64(_BAD), escaped
        at = _blank(text, at + 1)


@_entry
def scan(
    text: U8,
    words: U64,
    total: Num,
    at: Num,
    line: Num,
    first: I64,
    lines: I64,
    flags: U8,
    names: I32,
    values: I64,
    letters: U64,
    starts: I64,
    sizes: I64,
    kinds: U8,
    slots: I32,
    stamps: I64,
    seed: np.uint64,
    full: bool,
    serial: Num,
) -> tuple[Num, Num, Num, Num, Num]:
    """Find lines and members from here on.

    Returns:
        What ended it, where and at which line to go on, and where an unknown name begins and ends.
    """
    room = len(names)
    while at < total:
        begin = at
        if line + 1 >= len(first):
            return FULL_LINES, begin, line, 0, 0
        count = first[line]
        escaped: Num = 0
        good = False
        one = np.int64(ABSENT)
        two = np.int64(ABSENT)
        at = _blank(text, at)
        if text[at] == 123:
            at = _blank(text, at + 1)
            while text[at] == _QUOTE:
                start = at + 1
                at = _plain_end(words, start)
                if text[at] != _QUOTE:
                    break
                name = _look_up(words, start, at, letters, starts, sizes, slots, seed)
                if name < 0:
                    if full:
                        break
                    return UNKNOWN, begin, line, start, at
                if kinds[name] == ODD or stamps[name] == serial + line:
                    break
                stamps[name] = serial + line
                at = _blank(text, at + 1)
                if text[at] != 58:
                    break
                start = _blank(text, at + 1)
                end, more = _value(text, words, start)
                if end < 0:
                    break
                escaped |= more
                if count >= room:
                    return FULL_MEMBERS, begin, line, 0, 0
                names[count] = name
                values[0, count] = start
                values[1, count] = end
                if kinds[name] == FIRST_KIND:
                    if one >= 0:
                        break
                    one = count
                elif kinds[name] == SECOND_KIND:
                    if two >= 0:
                        break
                    two = count
                count += 1
                at = _blank(text, end)
                if text[at] == 44:
                    at = _blank(text, at + 1)
                    if text[at] != _QUOTE:
                        break
                    continue
                if text[at] == 125:
                    at = _blank(text, at + 1)
                    good = text[at] == 10
                break
        while text[at] != 10:
            at += 1
        lines[0, line] = begin
        lines[1, line] = at
        flags[1, line] = escaped
        flags[0, line] = not good
        if good:
            lines[2, line] = one
            lines[3, line] = two
        else:
            flags[1, line] = 1
            lines[2, line] = ABSENT
            lines[3, line] = ABSENT
            count = first[line]
        line += 1
        first[line] = count
        at += 1
    return DONE, at, line, 0, 0


@_entry
def collect(
    text: U8,
    words: U64,
    rows: I64,
    first: I64,
    names: I32,
    begins: I64,
    ends: I64,
    places: I16,
    ranks: I16,
    best: I64,
    numbers: I32,
    keep: U8,
    table: I32,
    hashes: U64,
    found: I64,
    seed: np.uint64,
) -> Num:
    """Number values; how many there are, or -1 if the tables are too small."""
    count = 0
    mask = np.uint64(len(table) - 1)
    width = best.shape[1]
    for row in range(len(rows)):
        best[:, :] = ABSENT
        for member in range(first[rows[row]], first[rows[row] + 1]):
            name = names[member]
            for layer in range(len(places)):
                place = places[layer, name]
                if place == KEEP:
                    keep[row] = 1
                if place < 0 or text[begins[member]] == 110:  # null
                    continue
                if best[0, place] < 0 or ranks[layer, name] < best[1, place]:
                    best[0, place] = member
                    best[1, place] = ranks[layer, name]
        for place in range(width):
            member = best[0, place]
            if member < 0:
                numbers[row, place] = ABSENT
                continue
            begin = begins[member]
            end = ends[member]
            value = _hash(words, begin, end, seed ^ np.uint64(names[member]))
            slot = np.int64(value & mask)
            number = table[slot]
            while number >= 0:
                if hashes[number] == value and found[0, number] == place:
                    other = found[1, number]
                    if names[other] == names[member] and ends[other] - begins[other] == end - begin:
                        same = True
                        start = begins[other]
                        for step in range(0, end - begin, 8):
                            if _part(words, start + step, start + end - begin) != _part(words, begin + step, end):
                                same = False
                                break
                        if same:
                            break
                slot = (slot + 1) & (len(table) - 1)
                number = table[slot]
            if number < 0:
                if count >= len(hashes):
                    return np.int64(-1)
                number = count
                table[slot] = count
                hashes[count] = value
                found[0, count] = place
                found[1, count] = member
                count += 1
            numbers[row, place] = number
    return np.int64(count)
