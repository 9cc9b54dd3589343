"""Many pieces of text, looked for in many short texts at once.

Where Hyperscan (``correlate.scan``) calls Python for each find, the kernel here writes them to arrays, each piece once
a text: a third of the time where texts hold many. Through long texts that hold few Hyperscan is faster.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from sensor._piece_kernels import HEAD, PRIME, SHORT_HEAD, look
from sensor.base import FREQUENT_LETTERS, I64, U8

_FREQUENT = FREQUENT_LETTERS.encode()
_BITS = 10, 16  # of a hash, at least and at most
_BUCKET_BITS = 12  # at most
_RARE = np.full(256, len(_FREQUENT), np.int64)
_RARE[list(_FREQUENT)] = np.arange(len(_FREQUENT))
_ROOM = 1 << 12  # finds at once, or as many as a text can have


class Pieces:
    """A set of pieces, ready to be looked for."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        """Prepare.

        Args:
            pieces: Two bytes at least each.

        Raises:
            ValueError: One is shorter.
        """
        sizes = np.fromiter(map(len, pieces), np.int64, len(pieces))
        if sizes.min(initial=SHORT_HEAD) < SHORT_HEAD:
            raise ValueError(f"a piece of less than {SHORT_HEAD} bytes")
        self._letters: U8 = np.frombuffer(b"".join([*pieces, bytes(HEAD)]), np.uint8)
        self._starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])
        bits = min(max(len(pieces).bit_length() + 5, _BITS[0]), _BITS[1])
        self._shift = 32 - bits
        bucket_bits = min(bits, _BUCKET_BITS)
        long = sizes >= HEAD
        self._short = not long.all()
        kinds = []
        filled = 0
        self._first = np.zeros((2, (1 << bucket_bits) + 1), np.int32)
        bit_sets = []
        for kind, (numbers, size) in enumerate(((np.flatnonzero(long), HEAD), (np.flatnonzero(~long), SHORT_HEAD))):
            heads, before = self._heads(numbers, sizes[numbers], size)
            hashes = self._hashed(heads)
            order = np.argsort(hashes, kind="stable")
            kinds.append((heads[order], before[order], numbers[order]))
            buckets = hashes[order] >> (bits - bucket_bits)
            self._first[kind] = filled + np.searchsorted(buckets, np.arange((1 << bucket_bits) + 1))
            filled += len(numbers)
            there = np.zeros(1 << bits, np.bool_)
            there[hashes] = True
            bit_sets.append(np.packbits(there, bitorder="little").view(np.uint64))
        self._heads_of, self._before, self._numbers = (np.concatenate(parts) for parts in zip(*kinds, strict=True))
        self._wide, self._narrow = bit_sets
        self._stamps = np.full(len(pieces), -1, np.int64)
        self._serial = 0
        self._finds = np.empty((2, max(_ROOM, len(pieces))), np.int64)

    def _hashed(self, heads: I64) -> I64:
        hashes: I64 = ((heads * PRIME) & 0xFFFFFFFF) >> self._shift
        return hashes

    def _heads(self, numbers: I64, sizes: I64, size: int) -> tuple[I64, I64]:
        """Heads of some pieces, and how many bytes stand before each: bytes that few others have, and rare ones."""
        if not len(numbers):
            return sizes, sizes
        choices = sizes - size + 1
        edges = np.cumsum(choices)
        begins = edges - choices
        of = np.repeat(np.arange(len(numbers)), choices)
        before = np.arange(edges[-1]) - begins[of]
        places = self._starts[numbers][of] + before
        letters = self._letters[places[:, None] + np.arange(size)].astype(np.int64)
        heads = (letters << (8 * np.arange(size))).sum(axis=1)
        hashes = self._hashed(heads)
        others = np.bincount(hashes)[hashes]
        price = others * (len(_FREQUENT) * HEAD + 1) - _RARE[letters].sum(axis=1)
        price = (price - price.min()) * (int(sizes.max()) + 1) + before
        best = np.minimum.reduceat(price, begins) % (int(sizes.max()) + 1)
        return heads[begins + best], best

    def find(self, text: U8, ends: I64) -> tuple[I64, I64]:
        """Look through texts.

        Args:
            text: The texts, those of one behind those of the other. A piece that reaches over the end of a text counts
                as found in one of the two: separate texts by what is in no piece.
            ends: Where each ends, rising.

        Returns:
            Text and piece of each find, ordered by text, without doubles.
        """
        if not len(ends) or not len(self._stamps):
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        parts: list[npt.NDArray[np.int64]] = []
        place: int | np.int64 = 0
        while True:
            place, count = look(
                text, ends, place, self._letters, self._starts, self._first, self._heads_of, self._before,
                self._numbers, self._wide, self._narrow, np.uint64(self._shift), self._short, self._stamps,
                self._serial, self._finds[0], self._finds[1],
            )  # fmt: skip
            self._serial += len(ends)
            parts.append(self._finds[:, :count].copy())
            if place == len(ends):
                break
        places, found = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)
        return places, found


__all__ = ["Pieces"]
