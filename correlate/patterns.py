r"""Texts of Sigma rules: wildcards, escapes, placeholders, dashes, encodings.

A pattern is a list of parts: a text, 0 for ``*``, 1 for ``?``, a list of one text for one of its characters (the dashes
of ``windash``), or a ``Hole`` where values of a placeholder come.

Escapes, by the specification: ``\*``, ``\?`` and ``\\`` are the character itself, a backslash before anything else is
itself; where placeholders are read, ``\%`` is a per cent sign.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from correlate.errors import CompileError

Values = Mapping[str, Sequence[str]]
"""Placeholder name to its values."""

Part = Any
"""See the module."""

DASHES = "-/\N{EN DASH}\N{EM DASH}\N{HORIZONTAL BAR}"
"""What ``windash`` takes for one another."""

MAX_VARIANTS = 10_000
"""Texts that placeholders and encodings may make of one value."""

_SPELLED_OUT = 125  # dashes of a value are spelled out up to so many texts, for texts are found faster than patterns
_DASH = re.compile(rf"\B[{re.escape(DASHES)}]\b")
_HOLE = re.compile(r"%([^%*?\\]+)%")
_RAW_HOLE = re.compile(r"(?<!\\)%([^%*?\\]+)%")


@dataclass(frozen=True, slots=True)
class Hole:
    """Where the values of a placeholder come."""

    name: str


def read_pattern(text: str, *, holes: bool = False) -> list[Part]:
    r"""The parts of a text as a rule writes it.

    Args:
        text: The text.
        holes: Read ``%name%`` as a placeholder and ``\%`` as a per cent sign.
    """
    special = "*?\\%" if holes else "*?\\"
    parts: list[Part] = []
    plain: list[str] = []
    place = 0
    while place < len(text):
        char = text[place]
        hole = _HOLE.match(text, place) if holes and char == "%" else None
        if char == "\\" and text[place + 1 : place + 2] in special and place + 1 < len(text):
            plain.append(text[place + 1])
            place += 2
            continue
        if hole is None and char not in "*?":
            plain.append(char)
            place += 1
            continue
        if plain:
            parts.append("".join(plain))
            plain.clear()
        parts.append(Hole(hole[1]) if hole is not None else int(char == "?"))
        place = hole.end() if hole is not None else place + 1
    if plain:
        parts.append("".join(plain))
    return parts


def tidy(parts: Iterable[Part]) -> list[Part]:
    """The same pattern with texts joined and no star behind a star."""
    merged: list[Part] = []
    for part in parts:
        if isinstance(part, str) and merged and isinstance(merged[-1], str):
            merged[-1] += part
        elif part != "" and not (part == 0 and merged and merged[-1] == 0):
            merged.append(part)
    return merged


def fill(parts: Sequence[Part], values: Values) -> list[list[Part]]:
    """A pattern for each combination of values of its placeholders; values may have wildcards.

    Raises:
        CompileError: A placeholder has no values, or there are too many combinations.
    """
    options: list[list[list[Part]]] = []
    for part in parts:
        if isinstance(part, Hole):
            options.append([read_pattern(str(value)) for value in _values(part.name, values)])
        else:
            options.append([[part]])
    return _combined(options, "placeholders")


def _values(name: str, values: Values) -> Sequence[str]:
    found = values.get(name)
    if not found:
        raise CompileError(f"placeholder %{name}% has no values", f"%{name}%", known=tuple(sorted(values)))
    return found


def _combined(options: Sequence[Sequence[list[Part]]], what: str) -> list[list[Part]]:
    count = 1
    for option in options:
        count *= len(option)
        if count > MAX_VARIANTS:
            raise CompileError(f"{what} multiply to more than {MAX_VARIANTS} values")
    variants: list[list[Part]] = [[]]
    for option in options:
        variants = [[*variant, *more] for variant in variants for more in option]
    return [tidy(variant) for variant in variants]


def fill_regex(pattern: str, values: Values) -> list[str]:
    """A regular expression for each combination of values of its placeholders.

    A value is a text with wildcards here as everywhere: it is put in as what matches that text.

    Raises:
        CompileError: A placeholder has no values, or there are too many combinations.
    """
    pieces = _RAW_HOLE.split(pattern)  # text, name, text, name, ..., text
    options: list[list[list[Part]]] = []
    for place, piece in enumerate(pieces):
        if place % 2:
            options.append([[as_regex(read_pattern(str(value)))] for value in _values(piece, values)])
        else:
            options.append([[piece]])
    return ["".join(variant) for variant in _combined(options, "placeholders")]


def as_regex(parts: Iterable[Part]) -> str:
    """The regular expression of what a pattern stands for."""
    pieces = []
    for part in parts:
        if isinstance(part, list):
            pieces.append(f"[{re.escape(part[0])}]")
        else:
            pieces.append(re.escape(part) if isinstance(part, str) else ("(?s:.)" if part else "(?s:.*)"))
    return f"(?:{''.join(pieces)})"


def any_dash(parts: Sequence[Part]) -> list[list[Part]]:
    r"""What ``windash`` makes of a pattern.

    Every dash or slash that begins a word (no word character before it, one behind it: ``-f`` but not ``a-f``) may be
    any of ``DASHES``. Few variants are spelled out, many are one pattern.
    """
    options: list[list[list[Part]]] = []
    count = 1
    for part in parts:
        if not isinstance(part, str):
            options.append([[part]])
            continue
        place = 0
        for found in _DASH.finditer(part):
            options += [[[part[place : found.start()]]], [[dash] for dash in DASHES]]
            count *= len(DASHES)
            place = found.end()
        options.append([[part[place:]]])
    if count <= _SPELLED_OUT:
        return _combined(options, "dashes")
    return [tidy(part for option in options for part in ([[DASHES]] if len(option) > 1 else option[0]))]


def plain(parts: Sequence[Part], what: str) -> str:
    """The text of a pattern that is nothing but text.

    Raises:
        CompileError: It has wildcards or placeholders; the message says that ``what`` needs plain text.
    """
    for part in parts:
        if isinstance(part, Hole):
            raise CompileError(f"{what} comes before 'expand': %{part.name}% would not be filled in", f"%{part.name}%")
        if isinstance(part, list):
            raise CompileError(f"{what} after 'windash' would make more than {_SPELLED_OUT} texts")
        if not isinstance(part, str):
            raise CompileError(f"{what} needs a text without wildcards")
    return "".join(parts)


def base64_offsets(data: bytes) -> list[str]:
    """What is the same in Base64 of any bytes that hold ``data``, for each of the three places it may stand at.

    A character of Base64 is six bits; those count that lie within the bits of ``data`` wholly.
    """
    found: list[str] = []
    for lead in range(3):
        encoded = base64.b64encode(bytes(lead) + data + bytes(2)).decode("ascii")
        first = -(-8 * lead // 6)
        last = 8 * (lead + len(data)) // 6
        found.append(encoded[first:last])
    return found


__all__ = [
    "DASHES",
    "MAX_VARIANTS",
    "Hole",
    "Part",
    "Values",
    "any_dash",
    "as_regex",
    "base64_offsets",
    "fill",
    "fill_regex",
    "plain",
    "read_pattern",
    "tidy",
]
