"""What a rule can be rejected for."""

from __future__ import annotations


class CompileError(Exception):
    """A part of a rule that cannot be evaluated; the message says which and why. Stays in this room.

    Attributes:
        places: Texts by which the line is found that the message is about, the surest first.
        known: Values that would be allowed.
    """

    def __init__(self, message: str, *places: str, known: tuple[str, ...] = ()) -> None:
        """Name what is wrong."""
        super().__init__(message)
        self.places = places
        self.known = known
