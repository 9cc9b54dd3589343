"""Bounds of correlation conditions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from operator import eq, ge, gt, le, lt, ne

COMPARE = {"gt": gt, "gte": ge, "lt": lt, "lte": le, "eq": eq, "neq": ne}
"""Operators of the specification, and pySigma's neq."""


_MIRRORED = {"gt": lt, "gte": le, "lt": gt, "lte": ge, "eq": eq, "neq": ne}
"""The same with the bound first."""


def holds(bounds: Iterable[tuple[str, float]], number: float) -> bool:
    """Whether a number is within all bounds."""
    return all(COMPARE[op](number, bound) for op, bound in bounds)


def within(bounds: Sequence[tuple[str, float]]) -> Callable[[float], bool]:
    """``holds`` for fixed bounds, ready to be asked often."""
    if len(bounds) == 1:
        op, bound = bounds[0]
        return partial(_MIRRORED[op], bound)  # all in C
    return lambda number: holds(bounds, number)


def least(bounds: Iterable[tuple[str, float]]) -> float | None:
    """What no number below can hold; None if small ones may."""
    return max((bound for op, bound in bounds if op in ("gt", "gte", "eq")), default=None)
