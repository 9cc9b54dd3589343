"""Correlations as their definition reads: every window is looked at as a whole, in exact arithmetic.

Quadratic and slow on purpose. It shares nothing with ``correlate.window``, ``correlate.tallies`` and
``correlate.absence`` but the shape of a hit and of a compiled correlation.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from correlate.hits import Hit
from correlate.ir import Correlation

OPERATORS = {
    "gt": lambda a, b: a > b,
    "gte": lambda a, b: a >= b,
    "lt": lambda a, b: a < b,
    "lte": lambda a, b: a <= b,
    "eq": lambda a, b: a == b,
    "neq": lambda a, b: a != b,
}


def inside(bounds: Sequence[tuple[str, float]], value: Any) -> bool:
    """Whether a value keeps all bounds."""
    return all(OPERATORS[op](value, Fraction(bound)) for op, bound in bounds)


def longest_chain(hits: Sequence[Hit], rules: int) -> int:
    """How many rules were hit in their order, some left out: every subset of the rules is tried."""
    for size in range(rules, 0, -1):
        for roles in itertools.combinations(range(rules), size):
            wanted = 0
            for one in hits:
                wanted += wanted < size and one.role == roles[wanted]
            if wanted == size:
                return size
    return 0


def boolean(node: list[Any], roles: set[int]) -> bool:
    """An extended condition over the rules that were hit."""
    kind, rest = node
    if kind == "rule":
        return rest in roles
    if kind == "not":
        return not boolean(rest, roles)
    values = [boolean(child, roles) for child in rest]
    return all(values) if kind == "and" else any(values)


def elements(value: Any) -> list[Any]:
    """A list's elements, or the value alone, without nulls."""
    return [one for one in (value if isinstance(value, tuple) else (value,)) if one is not None]


def measured(one: Correlation, hits: Sequence[Hit]) -> Fraction | int | None:
    """The number that the condition compares; None if there is none."""
    if one.type == "event_count":
        return sum(hit.weight for hit in hits)
    if one.type == "temporal":
        return len({hit.role for hit in hits})
    if one.type == "temporal_ordered":
        return longest_chain(hits, len(one.rules))
    if one.type == "value_count":
        if len(one.value_fields) > 1:
            return len({hit.values for hit in hits if None not in hit.values})
        return len({value for hit in hits for value in elements(hit.values[0])})
    spread = sorted(Fraction(v) for hit in hits for v in elements(hit.values[0]) for _ in range(hit.weight))
    if not spread:
        return None
    if one.type == "value_sum":
        return sum(spread)
    if one.type == "value_avg":
        return sum(spread) / len(spread)
    percent = Fraction(50) if one.type == "value_median" else Fraction(one.percentile or 0)
    place = percent * (len(spread) - 1) / 100
    low, high = spread[math.floor(place)], spread[math.ceil(place)]
    return low + (high - low) * (place - math.floor(place))


def holds(one: Correlation, hits: Sequence[Hit]) -> bool:
    """Whether the condition holds for the hits of a window."""
    if one.extended is not None:
        return boolean(one.extended, {hit.role for hit in hits})
    value = measured(one, hits)
    return value is not None and inside(one.conditions, value)


def in_order(hits: Sequence[Hit]) -> list[Hit]:
    """Hits by time, those of one time by the place of their rule."""
    return sorted(hits, key=lambda hit: (hit.time, hit.role, hit.ids))


def alerts(one: Correlation, hits: Sequence[Hit], newest: int | None = None) -> list[tuple[int, Any]]:
    """(time, group) of every alert.

    Args:
        newest: Where time has got to at the end, for absence: the last hit if None.
    """
    found: list[tuple[int, Any]] = []
    for group in {hit.group for hit in hits if None not in hit.group}:
        own = in_order([hit for hit in hits if hit.group == group])
        steps = waits(one, own, newest) if one.type == "absence" else windows(one, own)
        before, alerted = False, 0
        for time, true in steps:
            if true and (not before or time - alerted > one.timespan_ns):
                found.append((time, group))
                alerted = time
            before = true
    return sorted(found, key=repr)


def windows(one: Correlation, own: Sequence[Hit]) -> list[tuple[int, bool]]:
    """Time of each hit, and whether the condition holds for the window that ends with it."""
    span = one.timespan_ns
    return [
        (last.time, holds(one, [hit for hit in own[: place + 1] if last.time - span <= hit.time]))
        for place, last in enumerate(own)
    ]


def waits(one: Correlation, own: Sequence[Hit], newest: int | None) -> list[tuple[int, bool]]:
    """End of each wait that is over, and whether it was in vain."""
    span = one.timespan_ns
    last = own[-1].time if newest is None else newest
    again = len(one.rules) == 1
    steps = []
    for place, first in enumerate(own):
        if first.role or first.time + span >= last:
            continue
        others = own[place + 1 :] if again else [hit for hit in own if hit.role]
        steps.append((first.time + span, not any(first.time <= hit.time <= first.time + span for hit in others)))
    return steps
