"""The kernel of ``sensor.pieces``: many pieces of text looked for in many texts.

A piece is told by a few of its bytes, its *head*: where these stand, and only there, the piece is compared. A bit for
each hash says whether it is that of a head at all.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sensor.base import I64, U8
from sensor.jit_kernel import Num, entry, inner, ranged

U64 = npt.NDArray[np.uint64]
I32 = npt.NDArray[np.int32]

HEAD, SHORT_HEAD = 4, 2
"""Bytes of a head, and of that of a piece which has fewer."""
PRIME = 0x9E3779B1
_PRIME = np.uint64(PRIME)
_LOW = np.uint64(0xFFFFFFFF)
_SHORT = np.uint64(0xFFFF)
_SIX, _ONE = np.uint64(6), np.uint64(1)
_BITS = np.uint64(63)


@inner
def _hash(head: np.uint64, shift: np.uint64) -> np.uint64:
    return ((head * _PRIME) & _LOW) >> shift


@ranged
def _head(text: U8, at: np.uint64) -> np.uint64:
    """Four bytes, the first lowest; one load once it is compiled. The caller sees to it that they are there."""
    value = np.uint64(text[at])
    for k in range(1, HEAD):
        value |= np.uint64(text[at + np.uint64(k)]) << np.uint64(8 * k)
    return value


@ranged
def _candidate(text: U8, at: Num, wide: U64, narrow: U64, shift: np.uint64, short: bool) -> Num:
    """The next place at which a head may stand; the last three bytes always are such.

    Raises:
        IndexError: The place is before the array, or there is not a bit for each hash.
    """
    bits = np.int64(1) << np.int64(np.uint64(32) - shift)
    if at < 0 or 64 * len(wide) < bits or 64 * len(narrow) < bits:
        raise IndexError("bytes or bits outside of an array")
    place = np.uint64(at)
    end = np.uint64(max(at, len(text) - HEAD + 1))
    if short:
        while place < end:
            head = _head(text, place)
            long_hash = _hash(head, shift)
            short_hash = _hash(head & _SHORT, shift)
            found = wide[long_hash >> _SIX] >> (long_hash & _BITS)
            found |= narrow[short_hash >> _SIX] >> (short_hash & _BITS)
            if found & _ONE:
                return np.int64(place)
            place += _ONE
    else:
        while place < end:
            long_hash = _hash(_head(text, place), shift)
            if (wide[long_hash >> _SIX] >> (long_hash & _BITS)) & _ONE:
                return np.int64(place)
            place += _ONE
    return np.int64(place)


@ranged
def _stands(text: U8, at: Num, letters: U8, begin: Num, end: Num) -> bool:
    """Whether a piece stands here.

    Raises:
        IndexError: The piece does not lie within its array.
    """
    if begin < 0 or end > len(letters):
        raise IndexError("bytes outside of an array")
    if at < 0 or at + end - begin > len(text):
        return False
    there = np.uint64(at)
    for place in range(np.uint64(begin), np.uint64(end)):
        if text[there] != letters[place]:
            return False
        there += _ONE
    return True


@entry
def look(
    text: U8,
    ends: I64,
    place: Num,
    letters: U8,
    starts: I64,
    first: I32,
    heads: I64,
    before: I64,
    numbers: I64,
    wide: U64,
    narrow: U64,
    shift: np.uint64,
    short: bool,
    stamps: I64,
    serial: Num,
    places: I64,
    found: I64,
) -> tuple[Num, Num]:
    """Find pieces in texts, those of one text behind those of the text before, each piece once.

    Args:
        text: The texts.
        ends: Where each ends.
        place: The first one to look through.
        letters: The pieces, one behind the other.
        starts: Where each begins, and the end of the last.
        first: By the highest bits of a hash, the first of the pieces whose head has it, ``int32[2, n + 1]``: those with
            long heads, those with short ones.
        heads: Of the pieces in the order of ``first``.
        before: Likewise, bytes of the piece before its head.
        numbers: Likewise, the number of the piece.
        wide: A bit for each hash of a long head.
        narrow: The same for short ones.
        shift: What a product has to be shifted by to be a hash.
        short: There are short heads.
        stamps: By piece, the text in which it was found last; ``serial`` and its place.
        serial: No stamp is as high.
        places: Out: the text.
        found: Out: the piece.

    Returns:
        The first text that there is no room left for, and how many finds there are in those before.
    """
    at: Num = np.int64(0) if place == 0 else ends[place - 1]
    count: Num = 0
    done: Num = 0
    size = len(text)
    bucket_shift = np.uint64(0)
    while (np.uint64(1) << (np.uint64(32) - shift - bucket_shift)) > np.uint64(first.shape[1] - 1):
        bucket_shift += _ONE
    while True:
        at = _candidate(text, at, wide, narrow, shift, short)
        if at >= size:
            return len(ends), count
        if ends[place] <= at:
            done = count
            while ends[place] <= at:
                place += 1
        if at + HEAD <= size:
            head = _head(text, np.uint64(at))
        else:
            head = np.uint64(0)
            for k in range(size - at):
                head |= np.uint64(text[at + k]) << np.uint64(8 * k)
        for kind in range(2):
            if kind:
                if not short:
                    break
                head &= _SHORT
            bucket = np.int64(_hash(head, shift) >> bucket_shift)
            for k in range(first[kind, bucket], first[kind, bucket + 1]):
                if heads[k] == np.int64(head):
                    number = numbers[k]
                    if stamps[number] != serial + place and _stands(
                        text, at - before[k], letters, starts[number], starts[number + 1]
                    ):
                        if count >= len(found):
                            return place, done
                        stamps[number] = serial + place
                        places[count] = place
                        found[count] = number
                        count += 1
        at += 1
