"""What becomes of a condition on events that lack some fields: can it still hold, and might it hold too often?

A condition is plain data, see ``correlate.ir``. An absent field has no value: ``null`` holds, nothing else does.
"""

from __future__ import annotations

from typing import Any


def misled(node: list[Any], positive: bool = True) -> frozenset[str]:
    """Fields whose absence can make a condition hold: those below a ``not``, and those that are asked to be null.

    Args:
        node: The condition.
        positive: Whether an even number of ``not`` stands above it.
    """
    kind = node[0]
    if kind == "not":
        return misled(node[1], not positive)
    if kind != "atom":
        return frozenset().union(*(misled(one, positive) for one in node[1]))
    return frozenset(_names(node)) if (node[2] == "null") is positive else frozenset()


def possible(node: list[Any], missing: frozenset[str]) -> bool:
    """Whether a condition can hold where these fields are absent."""
    return _outcomes(node, missing)[0]


def _outcomes(node: list[Any], missing: frozenset[str]) -> tuple[bool, bool]:
    """Whether a condition can hold, and whether it can fail."""
    kind = node[0]
    if kind == "not":
        holds, fails = _outcomes(node[1], missing)
        return fails, holds
    if kind == "atom":
        if missing.isdisjoint(_names(node)):
            return True, True
        return (True, False) if node[2] == "null" else (False, True)
    parts = [_outcomes(one, missing) for one in node[1]]
    if kind == "and":
        return all(holds for holds, _ in parts), any(fails for _, fails in parts)
    return any(holds for holds, _ in parts), all(fails for _, fails in parts)


def _names(node: list[Any]) -> list[str]:
    """Fields of an atom; a keyword has none."""
    _, name, op, payload = node
    return [one for one in (name, payload[0] if op == "fieldref" else None) if one is not None]
