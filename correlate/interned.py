"""Sets of atoms and a small integer for each: what signatures stand for."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from sys import getsizeof

import numpy as np

from correlate.columns import NOTHING, Codes
from correlate.memory import ENTRY

_FEW = 48  # texts up to which a loop is faster than numpy
_NONE = np.zeros(0, np.int64)


class Held:
    """Atoms that hold, by the place of the value.

    Attributes:
        parts: Places and atoms, ``int64[n]`` each; the same pair may come again.
    """

    __slots__ = ("_atoms", "_places", "parts")

    def __init__(self) -> None:
        self.parts: list[tuple[Codes, Codes]] = []
        self._places: list[int] = []
        self._atoms: list[int] = []

    def add(self, place: int, atoms: Iterable[int]) -> None:
        """Atoms of one value."""
        for atom in atoms:
            self._places.append(place)
            self._atoms.append(atom)

    def pairs(self, width: int) -> tuple[Codes, Codes]:
        """Places, rising, and atoms below ``width``, rising within a place; no pair twice."""
        parts = self.parts
        if self._places:
            parts = [*parts, (np.array(self._places, np.int64), np.array(self._atoms, np.int64))]
        pairs = once(np.concatenate([_NONE, *(places * width + atoms for places, atoms in parts if len(places))]))
        places = pairs // width
        return places, pairs - places * width


class Interned:
    """Sets of atoms by number.

    Attributes:
        sets: Signature to the atoms that hold.
        remembered: Bytes of all that is remembered (``correlate.memory``), to which others may add.
    """

    sets: list[frozenset[int]]
    remembered: int

    def start(
        self, absent: frozenset[int] = frozenset(), present: frozenset[int] = frozenset(), width: int = 1
    ) -> None:
        """Forget all; signatures given before mean nothing after.

        Args:
            absent: Atoms that hold where there is no value.
            present: Atoms that hold for every value.
            width: Number of the highest atom, and one.
        """
        self.sets = [absent, frozenset()]
        self._ids: dict[frozenset[int], int] = {frozenset(): NOTHING}
        self._by_bytes: dict[bytes, int] = {}
        self._present = present
        self._width = width
        self._weights = _weights(width.bit_length())
        self.remembered = 0

    def intern(self, holds: frozenset[int]) -> int:
        """The number of a set of atoms."""
        found = self._ids.get(holds)
        if found is None:
            found = self._ids[holds] = len(self.sets)
            self.sets.append(holds)
            self.remembered += ENTRY + getsizeof(holds)
        return found

    def intern_each(self, count: int, held: Held) -> Codes:
        """The number of each value's set of atoms, ``int64[count]``."""
        result = np.full(count, self.intern(self._present), np.int64)
        places, atoms = held.pairs(self._width)
        if not len(places):
            return result
        starts = np.flatnonzero(_begins(places))
        edges = np.append(starts, len(places))
        alike = self._alike(atoms, edges) if len(starts) > _FEW else None
        some = zip(starts.tolist(), edges[1:].tolist(), strict=True)
        if alike is not None:
            some = zip(edges[alike[0]].tolist(), edges[alike[0] + 1].tolist(), strict=True)
        codes = np.array([self._of_bytes(atoms[begin:end]) for begin, end in some], np.int64)
        result[places[starts]] = codes if alike is None else codes[alike[1]]
        return result

    def _of_bytes(self, atoms: Codes) -> int:
        """The number of a list of rising atoms."""
        key = atoms.tobytes()
        code = self._by_bytes.get(key)
        if code is None:
            code = self._by_bytes[key] = self.intern(self._present.union(atoms.tolist()))
            self.remembered += ENTRY + len(key)
        return code

    def _alike(self, atoms: Codes, edges: Codes) -> tuple[Codes, Codes] | None:
        """Which of some lists of atoms, one behind the other, are the first of their like, and which each is like.

        None if sums of random weights do not tell them apart, which is as good as never.
        """
        sums = np.add.reduceat(self._weights[atoms], edges[:-1])
        _, first, which = np.unique(sums, return_index=True, return_inverse=True)
        sizes = edges[1:] - edges[:-1]
        if (sizes != sizes[first][which]).any():
            return None
        model = np.arange(len(atoms)) + np.repeat(edges[:-1][first][which] - edges[:-1], sizes)
        return (first, which) if (atoms == atoms[model]).all() else None


@lru_cache
def _weights(bits: int) -> Codes:
    """Random numbers for so many atoms, the same for all who ask: a plan has hundreds of columns."""
    return np.random.default_rng().integers(1 << 63, size=1 << bits)


def once(numbers: Codes) -> Codes:
    """The distinct ones, rising; for few numbers, and for such as rise already, faster than numpy's own."""
    numbers.sort()
    return numbers[_begins(numbers)]


def _begins(numbers: Codes) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Which of rising numbers are not the same as the one before."""
    begins = np.ones(len(numbers), np.bool_)
    np.not_equal(numbers[1:], numbers[:-1], out=begins[1:])
    return begins


__all__ = ["Held", "Interned", "once"]
