"""What plans remember between batches, in bytes, and its bound.

Bytes are reckoned, not measured: texts count in full, an entry of a table with about what CPython and Polars take
for it.
"""

from __future__ import annotations

from typing import Protocol

TEXT = 96
"""Bytes of a remembered text beside its own: view, hash table and number."""
ENTRY = 200
"""Bytes of a Python object and its place in a dictionary."""


class Remembers(Protocol):
    """Something that remembers, and can forget."""

    @property
    def remembered(self) -> int:
        """Bytes."""

    def forget(self) -> None:
        """Start anew."""


class Memory:
    """A bound on what several plans remember together.

    Attributes:
        limit: Bytes.
    """

    def __init__(self, limit: int) -> None:
        """Nothing is remembered yet."""
        self.limit = limit
        self._parts: list[Remembers] = []

    def share(self, part: Remembers) -> None:
        """Let one more take part."""
        self._parts.append(part)

    def bound(self) -> None:
        """Let the largest forget, until all are within the limit; call between batches only."""
        held = [part.remembered for part in self._parts]
        while held and sum(held) > self.limit:
            largest = max(range(len(held)), key=held.__getitem__)
            if not held[largest]:
                return
            self._parts[largest].forget()
            held[largest] = 0


__all__ = ["ENTRY", "TEXT", "Memory", "Remembers"]
