"""Coarse conditions on events: what a store may leave out before an engine decides.

A coarse condition holds for every event that matters, and for some that do not. Whoever answers one may make any part
*wider* (let more through), never narrower; what cannot be said is ``EVERYTHING``. So an index without the means for
a question, or with another idea of letters and case, still gives a right answer in the end: the engine looks at all
that came through.

``Not`` is the one place where wider inside would be narrower outside: it holds parts that a store can answer exactly,
and a store that cannot takes the whole ``Not`` for ``EVERYTHING``.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

Piece = str | int
"""Part of a pattern: text, 0 for any number of characters, 1 for one character."""


@dataclass(frozen=True, slots=True)
class All:
    """Every part holds; without parts: everything."""

    parts: tuple[Coarse, ...]


@dataclass(frozen=True, slots=True)
class Some:
    """At least one part holds; without parts: nothing."""

    parts: tuple[Coarse, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The part does not hold; only around what has an exact answer (numbers, booleans, whether there is a value)."""

    part: Coarse


@dataclass(frozen=True, slots=True)
class Exists:
    """The field has a value."""

    field: str


@dataclass(frozen=True, slots=True)
class OneOf:
    """A value of the field is one of these, exactly: texts, whole numbers, doubles or booleans, as the field has."""

    field: str
    values: tuple[str | int | float | bool, ...]


@dataclass(frozen=True, slots=True)
class Within:
    """A number of the field lies between two, both included; None is no bound."""

    field: str
    low: int | float | None
    high: int | float | None


@dataclass(frozen=True, slots=True)
class Like:
    """The whole text of a value fits a pattern, whatever its case.

    Case is taken widely: ``k`` stands for the Kelvin sign too, whichever folding the engine uses.
    """

    field: str
    pieces: tuple[Piece, ...]


@dataclass(frozen=True, slots=True)
class Inside:
    """A value of the field is an address in the network."""

    field: str
    network: str


Coarse = All | Some | Not | Exists | OneOf | Within | Like | Inside

EVERYTHING = All(())
NOTHING = Some(())


def all_of(parts: Iterable[Coarse]) -> Coarse:
    """All parts, simplified."""
    flat: dict[Coarse, None] = {}
    for part in parts:
        if isinstance(part, All):
            flat.update(dict.fromkeys(part.parts))
        else:
            flat[part] = None
    if NOTHING in flat:
        return NOTHING
    return next(iter(flat)) if len(flat) == 1 else All(tuple(flat))


def any_of(parts: Iterable[Coarse]) -> Coarse:
    """At least one part, simplified; values that one field may have become one question."""
    flat: dict[Coarse, None] = {}
    values: dict[str, dict[str | int | float | bool, None]] = {}
    for part in parts:
        for one in part.parts if isinstance(part, Some) else (part,):
            if isinstance(one, OneOf):
                values.setdefault(one.field, {}).update(dict.fromkeys(one.values))
            else:
                flat[one] = None
    if EVERYTHING in flat:
        return EVERYTHING
    there = {one.field for one in flat if isinstance(one, Exists)}  # a field that exists needs no closer question
    kept = [one for one in flat if not (isinstance(one, (Like, Within, Inside)) and one.field in there)]
    merged = [OneOf(field, tuple(of)) for field, of in values.items() if field not in there]
    joined = (*merged, *kept)
    return joined[0] if len(joined) == 1 else Some(joined)


def leaves(condition: Coarse) -> int:
    """How many questions a condition asks; each value and each pattern is one."""
    if isinstance(condition, (All, Some)):
        return sum(leaves(part) for part in condition.parts)
    if isinstance(condition, Not):
        return leaves(condition.part)
    return len(condition.values) if isinstance(condition, OneOf) else 1


def fields_of(condition: Coarse) -> set[str]:
    """Fields that a condition asks about."""
    if isinstance(condition, (All, Some)):
        return set().union(*(fields_of(part) for part in condition.parts))
    return fields_of(condition.part) if isinstance(condition, Not) else {condition.field}


@lru_cache(1)
def _alike() -> dict[str, str]:
    """Every character that is another one's capital, small or folded form, to all of its forms."""
    groups: dict[str, set[str]] = {}
    for code in range(0x1E944 + 0x40):  # behind Adlam no letter has case
        if 0xD800 <= code < 0xE000:
            continue
        char = chr(code)
        forms = {one for one in (char.lower(), char.upper(), char.casefold()) if len(one) == 1} | {char}
        if len(forms) > 1:
            whole = set().union(forms, *(groups.get(one, ()) for one in forms))
            for one in whole:
                groups[one] = whole
    return {char: "".join(sorted(group)) for char, group in groups.items()}


def forms_of(char: str) -> str:
    """All characters that some folding of case takes for the same; the character alone if it has no case."""
    if char.isascii() and not char.isalpha():
        return char
    found = _alike().get(char, char)
    return found + "İ" if char in "iI" else found  # its small form is an i and a dot above


def simple(pieces: tuple[Piece, ...]) -> bool:
    """Whether ``forms_of`` says all there is to say of the case of a pattern.

    It does not where one character's small form is two (İ: an i and a combining dot).
    """
    return not any(unicodedata.combining(char) for piece in pieces if isinstance(piece, str) for char in piece)


__all__ = [
    "EVERYTHING",
    "NOTHING",
    "All",
    "Coarse",
    "Exists",
    "Inside",
    "Like",
    "Not",
    "OneOf",
    "Piece",
    "Some",
    "Within",
    "all_of",
    "any_of",
    "fields_of",
    "forms_of",
    "leaves",
    "simple",
]
