"""Bounds of correlation conditions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from operator import eq, ge, gt, le, lt, ne

COMPARE = {"gt": gt, "gte": ge, "lt": lt, "lte": le, "eq": eq, "neq": ne}
"""Operators of the specification, and pySigma's neq."""


def holds(bounds: Iterable[tuple[str, float]], number: float) -> bool:
    """Whether a number is within all bounds."""
    return all(COMPARE[op](number, bound) for op, bound in bounds)


def within(bounds: Sequence[tuple[str, float]]) -> Callable[[float], bool]:
    """``holds`` for fixed bounds, ready to be asked often."""
    if len(bounds) == 1:
        op, bound = bounds[0]
        compare = COMPARE[op]
        return lambda number: compare(number, bound)
    return lambda number: holds(bounds, number)
