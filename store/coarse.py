"""Coarse conditions (``event.coarse``) as predicates of Polars and as queries of Elasticsearch."""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import IPv4Network, ip_address, ip_network
from typing import Any

import polars as pl

from event.coarse import (
    EVERYTHING,
    NOTHING,
    All,
    Coarse,
    Exists,
    Inside,
    Like,
    Not,
    OneOf,
    Piece,
    Some,
    Within,
    forms_of,
    simple,
)
from event.fields import FIELDS

Query = dict[str, Any]

# Polars.


def to_polars(condition: Coarse) -> pl.Expr:
    """The predicate, never null; its columns must be there or come as nulls (as a store's ``where``)."""
    if isinstance(condition, All):
        return pl.all_horizontal([to_polars(part) for part in condition.parts]) if condition.parts else pl.lit(True)
    if isinstance(condition, Some):
        return pl.any_horizontal([to_polars(part) for part in condition.parts]) if condition.parts else pl.lit(False)
    if isinstance(condition, Not):
        return ~to_polars(condition.part)
    field = FIELDS[condition.field]
    column = pl.col(field.name)
    if isinstance(condition, Exists):
        if not field.many:
            return column.is_not_null()
        return (column.list.drop_nulls().list.len() > 0).fill_null(value=False)
    if not field.many:
        return _asked(condition, column, field.dtype).fill_null(value=False)
    inner = FIELDS[condition.field].dtype.inner  # type: ignore[attr-defined]
    return column.list.eval(_asked(condition, pl.element(), inner)).list.any().fill_null(value=False)


def _asked(condition: Coarse, value: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """A question about one value; null where the value is."""
    if isinstance(condition, OneOf):
        return value.is_in(pl.Series(list(condition.values), dtype=dtype).implode())
    if isinstance(condition, Within):
        low = pl.lit(value=True) if condition.low is None else value >= condition.low
        high = pl.lit(value=True) if condition.high is None else value <= condition.high
        return value.is_not_null() & low & high
    if isinstance(condition, Like):
        if not simple(condition.pieces):
            return value.is_not_null()
        return value.str.contains(r"(?s)\A" + "".join(map(_polars_piece, condition.pieces)) + r"\z")
    if isinstance(condition, Inside):
        network = ip_network(condition.network)

        def inside(series: pl.Series) -> pl.Series:
            kept = [one for one in series.unique().to_list() if one is not None and _is_inside(one, network)]
            return series.is_in(pl.Series(kept, dtype=pl.String).implode())

        return value.map_batches(inside, return_dtype=pl.Boolean, is_elementwise=True)
    raise TypeError(f"not a question about a value: {condition!r}")


def _is_inside(text: str, network: Any) -> bool:
    try:
        return ip_address(text) in network
    except ValueError:
        return False


_RUST_RESERVED = r"\.+*?()|[]{}^$#&-~"


def _polars_piece(piece: Piece) -> str:
    if isinstance(piece, int):
        return "." if piece else ".*"
    return "".join(_class(char, _RUST_RESERVED) for char in piece)


def _class(char: str, reserved: str) -> str:
    """All forms of a character, as both dialects of regular expressions write it."""
    forms = forms_of(char)
    if len(forms) == 1:
        return "\\" + char if char in reserved else char
    return "[" + forms + "]"  # letters only


# Elasticsearch.

_RESERVED = r'.?+*|{}[]()"\#@&<>~^$-/'
_PATTERN_LENGTH = 300
"""Characters of a regular expression: short enough for automata that Elasticsearch makes of it without complaint."""


def to_query(condition: Coarse, mapped: Mapping[str, tuple[str, str]]) -> Query:
    """The query that every document which fits the condition fits.

    Documents of which Elasticsearch could not index a value (``_ignored``) always fit.

    Args:
        condition: What is asked.
        mapped: Field to its path and type in the index. A field that is not there can only be asked about widely.
    """
    if condition in (EVERYTHING, NOTHING):
        return _NONE if condition == NOTHING else _ALL
    translated = _query(condition, mapped)
    return translated if translated == _ALL else _some([translated, {"exists": {"field": "_ignored"}}])


_ALL: Query = {"match_all": {}}
_NONE: Query = {"match_none": {}}


def _some(queries: list[Query]) -> Query:
    if _ALL in queries:
        return _ALL
    kept = [one for one in queries if one != _NONE]
    if not kept:
        return _NONE
    return kept[0] if len(kept) == 1 else {"bool": {"should": kept, "minimum_should_match": 1}}


def _every(queries: list[Query]) -> Query:
    if _NONE in queries:
        return _NONE
    kept = [one for one in queries if one != _ALL]
    if not kept:
        return _ALL
    return kept[0] if len(kept) == 1 else {"bool": {"filter": kept}}


def _query(condition: Coarse, mapped: Mapping[str, tuple[str, str]]) -> Query:
    if isinstance(condition, All):
        return _every([_query(part, mapped) for part in condition.parts])
    if isinstance(condition, Some):
        patterns: dict[str, list[Like]] = {}
        queries: list[Query] = []
        for part in condition.parts:
            if isinstance(part, Like):
                patterns.setdefault(part.field, []).append(part)
            else:
                queries.append(_query(part, mapped))
        for field, several in patterns.items():
            queries.extend(_likes(field, several, mapped))
        return _some(queries)
    if isinstance(condition, Not):
        part = condition.part
        asked = mapped.get(part.field) if isinstance(part, (Exists, OneOf, Within)) else None
        if asked is None or asked[1] not in _EXACT[type(part)]:
            return _ALL
        return {"bool": {"must_not": [_query(part, mapped)]}}
    if isinstance(condition, Like):
        return _some(_likes(condition.field, [condition], mapped))
    asked = mapped.get(condition.field)
    if asked is None:
        return _ALL
    path, kind = asked
    if isinstance(condition, OneOf) and kind in (*_NUMBERS, "boolean", *_STRINGS, "flattened"):
        values = list(condition.values)
        if kind == "double" and 0 in values:  # two terms to Elasticsearch, one number to us
            values += [-0.0, 0.0]
        return {"terms": {path: values}}
    if isinstance(condition, OneOf) and kind == "ip":
        return _some([_addresses(path, (str(value),)) for value in condition.values])
    if isinstance(condition, Within) and kind in _NUMBERS:
        bounds = {name: value for name, value in (("gte", condition.low), ("lte", condition.high)) if value is not None}
        return {"range": {path: bounds}} if bounds else {"exists": {"field": path}}
    if isinstance(condition, Inside) and kind == "ip":
        return {"term": {path: condition.network}}
    return {"exists": {"field": path}} if kind in _TOLD_APART else _ALL


_NUMBERS = ("long", "double")
_STRINGS = ("keyword", "wildcard")
_TOLD_APART = frozenset({"long", *_STRINGS, "boolean", "ip", "date_nanos", "date", "flattened"})
"""Types of which ``exists`` finds every value; not that of a text without a word, and of what is no number."""
_EXACT: dict[type, frozenset[str]] = {
    Exists: _TOLD_APART,
    OneOf: frozenset({*_NUMBERS, "boolean"}),
    Within: frozenset(_NUMBERS),
}


def _likes(field: str, several: list[Like], mapped: Mapping[str, tuple[str, str]]) -> list[Query]:
    """Patterns of one field, of which one must fit."""
    asked = mapped.get(field)
    if asked is None or asked[1] not in _TOLD_APART:
        return [_ALL]
    path, kind = asked
    there: Query = {"exists": {"field": path}}
    if kind == "ip":
        return [_addresses(path, one.pieces) for one in several]
    queries: list[Query] = []
    terms: list[str] = []
    patterns: list[str] = []
    for one in several:
        pieces = one.pieces
        if len(pieces) == 1 and isinstance(pieces[0], str) and not any(len(forms_of(char)) > 1 for char in pieces[0]):
            terms.append(pieces[0])
            continue
        if 0 in pieces:  # a character behind a star doubles the automaton; a star is wider
            pieces = tuple(0 if piece == 1 else piece for piece in pieces)
        pattern = "".join(map(_lucene_piece, pieces))
        if kind not in _STRINGS or not simple(pieces) or len(pattern) > _PATTERN_LENGTH or set(pieces) <= {0}:
            return [there]
        patterns.append(pattern)
    if terms:
        queries.append({"terms": {path: terms}})
    while patterns:
        joined = patterns.pop()
        while patterns and len(joined) + 1 + len(patterns[-1]) <= _PATTERN_LENGTH:
            joined = f"{joined}|{patterns.pop()}"
        queries.append({"regexp": {path: {"value": joined, "flags": "NONE"}}})
    return queries


def _lucene_piece(piece: Piece) -> str:
    if isinstance(piece, int):
        return "." if piece else ".*"
    return "".join(_class(char, _RESERVED) for char in piece)


def _addresses(path: str, pieces: tuple[Piece, ...]) -> Query:
    """Patterns on addresses: one address, or the octets before a star; else whatever is there.

    What is no address is not in such an index (``_ignored``).
    """
    first = pieces[0]
    there: Query = {"exists": {"field": path}}
    if not isinstance(first, str):
        return there
    try:
        if len(pieces) == 1:
            return {"term": {path: str(ip_address(first))}}
        octets = first.split(".")[:-1]
        if (
            pieces[1:] != (0,)
            or not 1 <= len(octets) <= 3
            or not all(re.fullmatch("[0-9]{1,3}", one) for one in octets)
        ):
            return there
        return {"term": {path: str(IPv4Network((".".join(octets + ["0"] * (4 - len(octets))), 8 * len(octets))))}}
    except ValueError:
        return _NONE if len(pieces) == 1 else there
