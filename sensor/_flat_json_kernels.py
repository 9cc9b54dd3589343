"""The kernels of ``sensor.flat_json``: where the members of JSON lines are.

The cache folder's name carries a hash of this file and of ``_flat_json_tables_kernels``, which uses what is here:
numba would not notice an edit (``sensor.kernel_cache``).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sensor._vector_kernels import control_or_beyond, equal, lowest
from sensor.jit_kernel import entry, inner, loaded, same_words

U8 = npt.NDArray[np.uint8]
U64 = npt.NDArray[np.uint64]
I16 = npt.NDArray[np.int16]
I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
Num = int | np.int64

MOST_NAMES = 4096
"""Names of members that are remembered; lines with others beyond are odd."""
DEEPEST = 4
"""Objects in one another beyond which a line is odd."""
ROOT = -1
"""The parent of names in the outermost object."""
ODD, FLAT_FIRST, FLAT_SECOND, DEEP_FIRST, DEEP_SECOND, DEEP = 1, 2, 4, 8, 16, 32
"""Bits of what a name is: one that makes a line odd; a member that tells kinds of lines apart, the first or the second
of two, in flat lines or in deep ones; one that makes a line deep. Without any it is one among many."""
ABSENT = -1
"""A line lacks the member."""

DONE, UNKNOWN, FULL_LINES, FULL_MEMBERS = 0, 1, 2, 3
_QUOTE, _BACKSLASH = 0x22, 0x5C
_BAD = -1
_MOST_DIGITS, _MOST_POWER_DIGITS = 200, 2  # of a number that is a double for sure: less than 10 to the 300

_PRIME = np.uint64(0x9E3779B97F4A7C15)
_SHIFT = np.uint64(29)
_ONES = np.uint64(0x0101010101010101)
_HIGHS = np.uint64(0x8080808080808080)
_QUOTES = np.uint64(0x2222222222222222)
_BACKSLASHES = np.uint64(0x5C5C5C5C5C5C5C5C)
_SPACES = np.uint64(0x2020202020202020)
_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)
_ODDS = np.uint64(0xAAAAAAAAAAAAAAAA)
_SIMPLE = np.zeros(256, np.bool_)
"""Letters that may stand behind a backslash and need no second look."""
_SIMPLE[[ord(_letter) for _letter in '"\\bfnrt']] = True


@inner
def mixed(value: np.uint64, word: np.uint64) -> np.uint64:
    value = (value ^ word) * _PRIME
    return value ^ (value >> _SHIFT)


@inner
def part(text: U8, at: Num, end: Num) -> np.uint64:
    """Up to eight bytes of those before ``end``, zeros behind them."""
    word = loaded(text, at)
    left = end - at
    if left < 8:
        word &= (np.uint64(1) << np.uint64(8 * left)) - np.uint64(1)
    return word


@inner
def hashed(text: U8, begin: Num, end: Num, seed: np.uint64) -> np.uint64:
    value = mixed(seed, np.uint64(end - begin))
    for at in range(begin, end - 7, 8):
        value = mixed(value, loaded(text, at))
    if (end - begin) & 7:
        value = mixed(value, part(text, begin + ((end - begin) & ~7), end))
    return value


@inner
def _seeded(seed: np.uint64, parent: Num) -> np.uint64:
    return seed ^ (np.uint64(parent + 1) * _PRIME)


@entry
def enter(letters: U64, start: Num, size: Num, slots: I32, number: int, parent: Num, seed: np.uint64) -> None:
    """Put a name into the table."""
    value = mixed(_seeded(seed, parent), np.uint64(size))
    for at in range((size + 7) >> 3):
        value = mixed(value, letters[start + at])
    slot = np.int64(value & np.uint64(len(slots) - 1))
    while slots[slot] >= 0:
        slot = (slot + 1) & (len(slots) - 1)
    slots[slot] = number


@inner
def _look_up(
    text: U8,
    begin: Num,
    end: Num,
    parent: Num,
    letters: U64,
    starts: I64,
    sizes: I64,
    parents: I64,
    slots: I32,
    seed: np.uint64,
) -> Num:
    """Number of a name, -1 if it is new."""
    slot = np.int64(hashed(text, begin, end, _seeded(seed, parent)) & np.uint64(len(slots) - 1))
    while slots[slot] >= 0:
        number = np.int64(slots[slot])
        if (
            sizes[number] == end - begin
            and parents[number] == parent
            and same_words(text, begin, end, letters, starts[number])
        ):
            return number
        slot = (slot + 1) & (len(slots) - 1)
    return np.int64(-1)


@inner
def _headed(text: U8, at: Num, heads: U64, name: Num) -> bool:
    """Whether a name that is not long, its quote and a colon stand here."""
    wrong = (loaded(text, at) & heads[name, 4]) ^ heads[name, 0]
    wrong |= (loaded(text, at + 8) & heads[name, 5]) ^ heads[name, 1]
    wrong |= (loaded(text, at + 16) & heads[name, 6]) ^ heads[name, 2]
    wrong |= (loaded(text, at + 24) & heads[name, 7]) ^ heads[name, 3]
    return bool(wrong == np.uint64(0))


@inner
def _hex(letter: Num) -> bool | np.bool_:
    return 48 <= letter <= 57 or 65 <= letter <= 70 or 97 <= letter <= 102


@inner
def _has(word: np.uint64, eight: np.uint64) -> np.uint64:
    """The high bit of the lowest byte that is in both, perhaps of higher ones too; 0 if there is none."""
    word = word ^ eight
    return (word - _ONES) & ~word & _HIGHS


@inner
def _plain_end(text: U8, at: Num) -> Num:
    """Where the next quote, backslash or control character is."""
    while True:
        word = loaded(text, at)
        found = _has(word, _QUOTES) | _has(word, _BACKSLASHES) | ((word - _SPACES) & ~word & _HIGHS)
        if found:
            # All bits below the lowest: as many bytes are full of them as stand before the one that was found.
            below = (found & (~found + np.uint64(1))) - np.uint64(1)
            return at + np.int64(((below & _ONES) * _ONES) >> np.uint64(56)) - 1
        at += 8


@inner
def backslash(text: U8, at: Num, end: Num) -> Num:
    """Where the next backslash is, ``end`` if there is none before."""
    while at < end:
        found = _has(loaded(text, at), _BACKSLASHES)
        if found:
            return min(at + (lowest(found) >> 3), end)
        at += 8
    return end


@inner
def _string(text: U8, at: Num) -> tuple[Num, Num]:
    """End of a text whose content begins here (behind its quote), -1 if it is bad; 1 if it has escapes to look at."""
    escaped = 0
    while True:
        letter = text[at]
        if letter != _BACKSLASH:
            at = _plain_end(text, at)
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


@inner
def _text(text: U8, quotes: U64, strange: U64, at: Num) -> tuple[Num, Num]:
    """As ``_string``, by marks."""
    block = at >> 6
    mask = _ALL << np.uint64(at & 63)
    quote = quotes[block] & mask
    other = strange[block] & mask
    while not quote:
        if other:
            return _string(text, at)
        block += 1
        quote = quotes[block]
        other = strange[block]
    quote &= ~quote + np.uint64(1)
    if other & (quote - np.uint64(1)):
        return _string(text, at)
    return (block << 6) + lowest(quote) + 1, np.int64(0)


@inner
def _line_end(text: U8, strange: U64, at: Num) -> Num:
    """Where the line ends that goes on here."""
    block = at >> 6
    marks = strange[block] & (_ALL << np.uint64(at & 63))
    while True:
        while marks:
            mark = marks & (~marks + np.uint64(1))
            at = (block << 6) + lowest(mark)
            if text[at] == 10:
                return at
            marks ^= mark
        block += 1
        marks = strange[block]


@inner
def _strange(text: U8, strange: U64, at: Num, end: Num) -> tuple[bool | np.bool_, bool | np.bool_]:
    """Whether a line holds bytes beyond ASCII, and whether one of the two letters beyond that fold into it."""
    beyond = False
    block = at >> 6
    marks = strange[block] & (_ALL << np.uint64(at & 63))
    while block << 6 < end:
        while marks:
            bit = marks & (~marks + np.uint64(1))
            marks ^= bit
            at = (block << 6) + lowest(bit)
            if at >= end:
                break
            if text[at] > 127:
                beyond = True
                if text[at] == 0xC5 and text[at + 1] == 0xBF:  # a long s
                    return True, True
                if text[at] == 0xE2 and text[at + 1] == 0x84 and text[at + 2] == 0xAA:  # a Kelvin sign
                    return True, True
        block += 1
        marks = strange[block]
    return beyond, False


@inner
def _digits(text: U8, at: Num) -> Num:
    while 48 <= text[at] <= 57:
        at += 1
    return at


@inner
def _number(text: U8, at: Num) -> Num:
    """End of a number, -1 if it is bad or could be too large."""
    if text[at] == 45:
        at += 1
    end = _digits(text, at)
    if end == at or (text[at] == 48 and end > at + 1) or end - at > _MOST_DIGITS:
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
        if end == at or end - at > _MOST_POWER_DIGITS:
            return np.int64(_BAD)
        at = end
    return at


@inner
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


@inner
def _blank(text: U8, at: Num) -> Num:
    while text[at] <= 32 and text[at] in (32, 9, 13):
        at += 1
    return at


@inner
def _scalar(text: U8, quotes: U64, strange: U64, at: Num) -> tuple[Num, Num]:
    """End of a text, number or word, -1 if it is bad; 1 if it has escapes to look at."""
    letter = text[at]
    if letter == _QUOTE:
        return _text(text, quotes, strange, at + 1)
    if letter == 45 or 48 <= letter <= 57:
        return _number(text, at), np.int64(0)
    return _word(text, at), np.int64(0)


@inner
def _value(text: U8, quotes: U64, strange: U64, at: Num) -> tuple[Num, Num]:
    """End of a value, -1 if it is bad or deep; 1 if it has escapes to look at."""
    if text[at] != 91:
        return _scalar(text, quotes, strange, at)
    at = _blank(text, at + 1)
    escaped: Num = 0
    if text[at] == 93:
        return at + 1, escaped
    while True:
        at, more = _scalar(text, quotes, strange, at)
        escaped |= more
        if at < 0:
            return np.int64(_BAD), escaped
        at = _blank(text, at)
        if text[at] == 93:
            return at + 1, escaped
        if text[at] != 44:
            return np.int64(_BAD), escaped
        at = _blank(text, at + 1)


@entry
def mark(text: U8, total: Num, quotes: U64, strange: U64) -> None:
    r"""Mark letters, a bit each, the lowest first.

    Args:
        text: The block, and zeros behind it up to a multiple of 64.
        total: Bytes of the block.
        quotes: Out: quotes that no backslash stands before.
        strange: Out: bytes below a space or beyond ASCII; what a backslash stands before, if it is ``u``, a slash or
            nothing that JSON knows.
    """
    if ((total >> 6) + 1) << 6 > len(text):
        raise IndexError("bytes outside of an array")
    carry = np.uint64(0)
    for block in range((total >> 6) + 1):
        quote = equal(text, block << 6, _QUOTE)
        back = equal(text, block << 6, _BACKSLASH)
        other = control_or_beyond(text, block << 6)
        if back | carry:
            # Which letters are escaped, as simdjson finds them: runs of backslashes, subtracted from the odd bits.
            begins = back & ~carry
            after = ((begins << np.uint64(1)) | _ODDS) - begins
            ends = after ^ _ODDS
            escaped = ends ^ (back | carry)
            carry = (ends & back) >> np.uint64(63)
            quote &= ~escaped
            while escaped:
                bit = escaped & (~escaped + np.uint64(1))
                if not _SIMPLE[text[(block << 6) + lowest(bit)]]:
                    other |= bit
                escaped ^= bit
        quotes[block] = quote
        strange[block] = other
    quotes[(total >> 6) + 1] = 0
    strange[(total >> 6) + 1] = _ALL


@entry
def scan(
    text: U8,
    quotes: U64,
    strange: U64,
    total: Num,
    at: Num,
    line: Num,
    first: I64,
    lines: I64,
    flags: U8,
    names: I32,
    values: I64,
    heads: U64,
    letters: U64,
    starts: I64,
    sizes: I64,
    parents: I64,
    kinds: U8,
    ranks: I16,
    follows: I32,
    slots: I32,
    stamps: I64,
    stack: I64,
    seed: np.uint64,
    full: bool,
    serial: Num,
) -> tuple[Num, Num, Num, Num, Num, Num]:
    """Find lines and members from here on.

    Returns:
        What ended it, where and at which line to go on, where an unknown name begins and ends, and its parent.
    """
    room = len(names)
    while at < total:
        begin = at
        if line + 1 >= len(first):
            return FULL_LINES, begin, line, 0, 0, 0
        count = first[line]
        escaped: Num = 0
        good = False
        kind = np.uint8(0)
        depth = 0
        deepest = 0
        flat_first = flat_second = deep_first = deep_second = np.int64(ABSENT)
        before: Num = np.int64(ROOT)
        parent: Num = np.int64(ROOT)
        at = _blank(text, at)
        if text[at] == 123:
            at = _blank(text, at + 1)
            while text[at] == _QUOTE:
                start = at + 1
                name: Num = np.int64(follows[before + 1])  # mostly the one that came after this one before
                if parents[name] == parent and _headed(text, start, heads, name):
                    at = start + np.int64(sizes[name]) + 2
                else:
                    at = _plain_end(text, start)
                    if text[at] != _QUOTE:
                        break
                    name = _look_up(text, start, at, parent, letters, starts, sizes, parents, slots, seed)
                    if name < 0:
                        if full:
                            break
                        return UNKNOWN, begin, line, start, at, parent
                    follows[before + 1] = name
                    at = _blank(text, at + 1)
                    if text[at] != 58:
                        break
                    at += 1
                if kinds[name] & ODD or stamps[name] == serial + line:
                    break
                stamps[name] = serial + line
                before = name
                start = _blank(text, at)
                kind |= kinds[name]
                if text[start] == 123:
                    depth += 1
                    if depth >= DEEPEST:
                        break
                    deepest = max(deepest, depth)
                    stack[depth] = parent
                    parent = name
                    at = _blank(text, start + 1)
                    if text[at] != 125:
                        continue
                else:
                    end, more = _value(text, quotes, strange, start)
                    if end < 0:
                        break
                    escaped |= more
                    if count >= room:
                        return FULL_MEMBERS, begin, line, 0, 0, 0
                    names[count] = name
                    values[0, count] = start
                    values[1, count] = end
                    if kinds[name] and text[start] != 110:  # not null
                        if kinds[name] & FLAT_FIRST and (
                            flat_first < 0 or ranks[name] < ranks[np.int64(names[flat_first])]
                        ):
                            flat_first = count
                        if kinds[name] & FLAT_SECOND and (
                            flat_second < 0 or ranks[name] < ranks[np.int64(names[flat_second])]
                        ):
                            flat_second = count
                        if kinds[name] & DEEP_FIRST and deep_first < 0:
                            deep_first = count
                        if kinds[name] & DEEP_SECOND and deep_second < 0:
                            deep_second = count
                    count += 1
                    at = _blank(text, end)
                while text[at] == 125 and depth > 0:
                    parent = stack[depth]
                    depth -= 1
                    at = _blank(text, at + 1)
                if text[at] == 44:
                    at = _blank(text, at + 1)
                    if text[at] != _QUOTE:
                        break
                    continue
                if text[at] == 125:
                    at = _blank(text, at + 1)
                    good = text[at] == 10
                break
        at = _line_end(text, strange, at)
        deep = kind & DEEP != 0
        if deepest and not deep:
            good = False
        lines[0, line] = begin
        lines[1, line] = at
        flags[1, line] = escaped
        flags[0, line] = not good
        flags[2, line] = deep
        flags[3, line] = 0
        flags[4, line] = 0
        if good:
            lines[2, line] = deep_first if deep else flat_first
            lines[3, line] = deep_second if deep else flat_second
            flags[3, line], flags[4, line] = _strange(text, strange, begin, at)
        else:
            flags[1, line] = 1
            lines[2, line] = ABSENT
            lines[3, line] = ABSENT
            count = first[line]
        line += 1
        first[line] = count
        at += 1
    return DONE, at, line, 0, 0, 0
