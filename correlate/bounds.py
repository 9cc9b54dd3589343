"""Bounds of correlation conditions."""

from __future__ import annotations

from collections.abc import Iterable
from operator import eq, ge, gt, le, lt, ne

COMPARE = {"gt": gt, "gte": ge, "lt": lt, "lte": le, "eq": eq, "neq": ne}
"""Operators of the specification, and pySigma's neq."""


def holds(bounds: Iterable[tuple[str, float]], number: float) -> bool:
    """Whether a number is within all bounds."""
    return all(COMPARE[op](number, bound) for op, bound in bounds)
