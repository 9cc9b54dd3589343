"""From rules to coarse conditions: what a store may leave out of a read over history.

Every event for which a rule's condition can hold fits the rule's coarse condition (``event.coarse``); the engine
decides on what comes back. Per operator of ``correlate.ir``:

| atom | becomes |
|---|---|
| eq, startswith, endswith, contains, glob (with or without case) | a pattern without case |
| re | the field has a value |
| num, cmp, bool | on numbers and booleans the same question, on texts the text of the number or that there is a value |
| cidr | the network, on addresses; else that there is a value |
| null | there is no value |
| part, fieldref | the fields have values |
| a derived field (``correlate.derive``) | what an event must have to get it, if the caller says so; else everything |
| a keyword | everything |

``not`` goes down to the atoms; a negated atom is kept where stores answer exactly (numbers, booleans, null), and is
everything else.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from ipaddress import IPv6Network, ip_network
from typing import Any

from correlate.atoms import text_of
from correlate.ir import Node
from event.coarse import (
    EVERYTHING,
    NOTHING,
    Coarse,
    Exists,
    Inside,
    Like,
    Not,
    OneOf,
    Piece,
    Within,
    all_of,
    any_of,
    leaves,
)
from event.fields import FIELDS
from event.fields.derived import NAMES as DERIVED

MAX_LEAVES = 1_000
"""Questions of one dataset beyond which everything is read: an index would be busier with them than with reading."""

_OPERATORS = frozenset(
    {"null", "num", "bool", "cmp", "part", "cidr", "re", "glob", "globc", "eq", "eqc"}
    | {side + case for side in ("contains", "startswith", "endswith") for case in ("", "c")}
)
"""Those that are understood here; all but ``null`` need a value."""
_INT64 = (-(2**63), 2**63 - 1)
_EXACT = 2**53  # whole numbers up to here are doubles
_CANONICAL = re.compile(r"0|-?[1-9][0-9]{0,17}", re.ASCII)
_MAPPED = ip_network("::ffff:0:0/96")

Needs = Mapping[str, Coarse]
"""For fields that are derived, what holds of every event that gets them."""
_UNKNOWN: Needs = dict.fromkeys(DERIVED, EVERYTHING)


def coarse(node: Node, needs: Needs = _UNKNOWN) -> Coarse:
    """The coarse condition of a rule's condition."""
    return _node(node, needs, negated=False)


def bounded(condition: Coarse) -> Coarse:
    """The condition, or everything if it asks too much."""
    return condition if leaves(condition) <= MAX_LEAVES else EVERYTHING


def _node(node: Node, needs: Needs, *, negated: bool) -> Coarse:
    kind = node[0]
    if kind == "not":
        return _node(node[1], needs, negated=not negated)
    if kind == "atom":
        return _negated(*node[1:]) if negated else _atom(needs, *node[1:])
    join = all_of if (kind == "and") != negated else any_of
    return join([_node(child, needs, negated=negated) for child in node[1]])


def _atom(needs: Needs, field: str | None, op: str, payload: Any) -> Coarse:
    if field is None:
        return EVERYTHING
    if op == "fieldref":
        return all_of([_there(field, needs), _there(payload[0], needs)])
    if field in DERIVED:
        return EVERYTHING if op == "null" else _there(field, needs)
    if op not in _OPERATORS:
        return EVERYTHING
    known = FIELDS.get(field)
    if known is None:  # null in every event
        return EVERYTHING if op == "null" else NOTHING
    if op == "null":
        return Not(Exists(field))
    exact = _exact(field, op, payload)
    if exact is not None:
        return exact
    if known.kind in ("keyword", "text", "ip"):
        if op == "cidr":
            return _network(field, payload) if known.kind == "ip" else Exists(field)
        pieces = _pieces(op, payload)
        if pieces is not None:
            return Like(field, pieces)
    return Exists(field)


def _negated(field: str | None, op: str, payload: Any) -> Coarse:
    """What is left when the atom does not hold."""
    known = None if field is None else FIELDS.get(field)
    if op not in _OPERATORS or field in DERIVED:
        return EVERYTHING
    if field is None or known is None:
        return NOTHING if field is not None and op == "null" else EVERYTHING
    if op == "null":
        return Exists(field)
    exact = _exact(field, op, payload)
    return EVERYTHING if exact in (None, NOTHING) else Not(exact)


def _there(field: str, needs: Needs) -> Coarse:
    if field in DERIVED:
        return any_of([needs.get(field, EVERYTHING), Exists(field)])  # one that is stored stays
    return Exists(field) if field in FIELDS else NOTHING


def _exact(field: str, op: str, payload: Any) -> Coarse | None:
    """Numbers and booleans on numbers and booleans; None for what is no such question."""
    kind = FIELDS[field].kind
    if kind == "boolean":
        if op == "bool":
            return OneOf(field, (bool(payload),))
        return None
    if kind == "long":
        if op == "num":
            whole = _whole(payload)
            return NOTHING if whole is None else OneOf(field, (whole,))
        if op in ("eq", "eqc"):
            return OneOf(field, (int(payload),)) if _CANONICAL.fullmatch(payload) else NOTHING
        return _compared(field, *payload) if op == "cmp" else None
    if kind == "double" and op == "num" and abs(payload) <= _EXACT:
        return OneOf(field, (float(payload),))
    return None


def _whole(number: int | float) -> int | None:
    """The 64-bit whole number that is equal, if there is one."""
    if isinstance(number, float) and not number.is_integer():
        return None
    whole = int(number)
    return whole if _INT64[0] <= whole <= _INT64[1] else None


def _compared(field: str, op: str, number: int | float) -> Coarse:
    """A comparison over whole numbers."""
    low, high = _INT64
    if op in ("gt", "gte"):
        low = math.floor(number) + 1 if op == "gt" else math.ceil(number)
    else:
        high = math.ceil(number) - 1 if op == "lt" else math.floor(number)
    if low > high or low > _INT64[1] or high < _INT64[0]:
        return NOTHING
    return Within(field, low if low > _INT64[0] else None, high if high < _INT64[1] else None)


def _pieces(op: str, payload: Any) -> tuple[Piece, ...] | None:
    """The pattern that a question about text is; None if it is none."""
    if op == "num":
        return (text_of(payload),)
    if op == "bool":
        return ("true" if payload else "false",)
    if op in ("glob", "globc"):
        return tuple(payload)
    shapes: dict[str, tuple[tuple[Piece, ...], tuple[Piece, ...]]] = {
        "eq": ((), ()),
        "startswith": ((), (0,)),
        "endswith": ((0,), ()),
        "contains": ((0,), (0,)),
    }
    shape = shapes.get(op.removesuffix("c") if op != "eqc" else "eq")
    if shape is None:
        return None
    return (*shape[0], payload, *shape[1]) if payload else ((0,) if shape != ((), ()) else ("",))


def _network(field: str, text: str) -> Coarse:
    network = ip_network(text)
    # An index may take ::ffff:a.b.c.d for a.b.c.d, which is narrower where such a network is asked for.
    if isinstance(network, IPv6Network) and network.overlaps(_MAPPED):
        return Exists(field)
    return Inside(field, str(network))
