"""What a rule can be rejected for."""

from __future__ import annotations


class CompileError(Exception):
    """A part of a rule that cannot be evaluated; the message says which and why. Stays in this room."""
