"""Sets of atoms and a small integer for each: what signatures stand for."""

from __future__ import annotations

from sys import getsizeof

from correlate.columns import NOTHING
from correlate.memory import ENTRY


class Interned:
    """Sets of atoms by number.

    Attributes:
        sets: Signature to the atoms that hold.
        remembered: Bytes of all that is remembered (``correlate.memory``), to which others may add.
    """

    sets: list[frozenset[int]]
    remembered: int

    def start(self, absent: frozenset[int] = frozenset()) -> None:
        """Forget all; signatures given before mean nothing after.

        Args:
            absent: Atoms that hold where there is no value.
        """
        self.sets = [absent, frozenset()]
        self._ids: dict[frozenset[int], int] = {frozenset(): NOTHING}
        self.remembered = 0

    def intern(self, holds: frozenset[int]) -> int:
        """The number of a set of atoms."""
        found = self._ids.get(holds)
        if found is None:
            found = self._ids[holds] = len(self.sets)
            self.sets.append(holds)
            self.remembered += ENTRY + getsizeof(holds)
        return found


__all__ = ["Interned"]
