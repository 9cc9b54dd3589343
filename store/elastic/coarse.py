"""Predicates to queries that may find too much and never too little.

``coarse`` narrows at the cluster; the predicate itself decides on what comes back. A query is exact here only where
Elasticsearch and our engine agree to the letter, so each question has two translations: one that finds at least what
fits and one that finds at most that. A negation turns the one into the other.

What the index does not hold (keywords beyond ``ecs.IGNORE_ABOVE``, text that is no address in an ``ip`` field, years
that ``date_nanos`` lacks) is told by ``_ignored``, and the wide translation asks for that too.
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Any

import polars as pl

from event.fields import FIELDS, Field
from store.elastic.templates import ODD, TIME
from store.where import And, Node, Not, Or, Test, tree_of

Query = dict[str, Any]

EVERYTHING: Query = {"match_all": {}}
NOTHING: Query = {"match_none": {}}
MOST_DEPTH = 20
"""Elasticsearch takes 30 levels."""
MOST_TERMS = 10_000
MOST_PATTERN = 200
"""Characters of a prefix, a wildcard pattern or a bound of a range; a longer one may be too complex for the cluster."""
_EXACT_FLOAT = 1 << 53
_LONG = (-(1 << 63), (1 << 63) - 1)


def coarse(where: pl.Expr | Node | None) -> Query:
    """The query for a predicate: all that fits it, and perhaps more.

    Args:
        where: A tree of ``store.where.syntax``, or an expression; of expressions, those that ``store.where.parse``
            or ``to_polars`` made are understood, and any other narrows nothing.
    """
    if where is None:
        return EVERYTHING
    node = tree_of(where) if isinstance(where, pl.Expr) else where
    return EVERYTHING if node is None else wide(node)


def wide(node: Node, depth: int = 0) -> Query:
    """What finds at least all that fits."""
    if depth > MOST_DEPTH:
        return EVERYTHING
    match node:
        case And():
            return every([wide(part, depth + 1) for part in node.parts])
        case Or():
            return some([wide(part, depth + 1) for part in node.parts])
        case Not():
            return opposite(narrow(node.part, depth + 1))
        case Test():
            return _wide(node)


def narrow(node: Node, depth: int = 0) -> Query:
    """What finds nothing that does not fit."""
    if depth > MOST_DEPTH:
        return NOTHING
    match node:
        case And():
            return every([narrow(part, depth + 1) for part in node.parts])
        case Or():
            return some([narrow(part, depth + 1) for part in node.parts])
        case Not():
            return opposite(wide(node.part, depth + 1))
        case Test():
            return _narrow(node)


def every(parts: list[Query]) -> Query:
    """All of some queries."""
    if NOTHING in parts:
        return NOTHING
    left = [part for part in parts if part != EVERYTHING]
    if not left:
        return EVERYTHING
    return left[0] if len(left) == 1 else {"bool": {"filter": left}}


def some(parts: list[Query]) -> Query:
    """Any of some queries."""
    if EVERYTHING in parts:
        return EVERYTHING
    left = [part for part in parts if part != NOTHING]
    if not left:
        return NOTHING
    return left[0] if len(left) == 1 else {"bool": {"should": left, "minimum_should_match": 1}}


def opposite(query: Query) -> Query:
    """All that a query does not find."""
    if query == EVERYTHING:
        return NOTHING
    return EVERYTHING if query == NOTHING else {"bool": {"must_not": [query]}}


def or_ignored(field: str, query: Query) -> Query:
    """A query, and the documents whose value of the field is not in the index."""
    return some([query, {"term": {"_ignored": field}}])


def _is_kept_only(name: str) -> bool:
    """Whether a field is in the document and not in the index: the line as it came, and names behind open prefixes."""
    return name == "event.original" or FIELDS.is_open(name)


def _wide(test: Test) -> Query:
    name = test.field.name
    if _is_kept_only(name):
        return EVERYTHING
    if name == "@timestamp":
        return _time(test)
    query = _wide_indexed(test)
    if test.field.kind == "double":
        return some([query, {"term": {ODD: True}}])
    if test.field.kind in ("long", "boolean", "text"):
        return query
    return or_ignored(name, query)


def _wide_indexed(test: Test) -> Query:
    """At least all documents with the value in the index."""
    exact = _exact(test)
    if exact is not None:
        return exact
    name, kind = test.field.name, test.field.kind
    there: Query = {"exists": {"field": name}}
    if kind == "ip" and test.operator in ("==", "in"):
        known = [value for value in test.values if _is_address(str(value))]
        return {"terms": {name: known}} if known else NOTHING
    if kind == "ip" and test.operator == "cidr":
        return {"terms": {name: list(test.values)}}
    if kind == "text" or (test.field.many and test.operator == "exists"):
        return EVERYTHING  # a list of nothing but nulls has a length, and no value
    return there


def _narrow(test: Test) -> Query:
    name = test.field.name
    if _is_kept_only(name):
        return NOTHING
    if name == "@timestamp":
        return _time(test)
    if test.operator == "exists" and test.field.kind in ("keyword", "ip", "long", "double", "boolean", "date"):
        return {"exists": {"field": name}}
    exact = _exact(test)
    return NOTHING if exact is None else exact


def _time(test: Test) -> Query:
    """``@timestamp`` is there in every document, to the nanosecond."""
    compared = {"<": "lt", "<=": "lte", ">": "gt", ">=": "gte"}
    if test.operator in compared:
        return {"range": {TIME: {compared[test.operator]: test.values[0]}}}
    if test.operator in ("==", "in"):
        return {"terms": {TIME: list(test.values)}}
    if test.operator == "!=":
        return opposite({"term": {TIME: test.values[0]}})
    return EVERYTHING


def _exact(test: Test) -> Query | None:
    """A query that finds the same among values that are in the index; None if there is none."""
    field = test.field
    if field.kind == "keyword":
        return _exact_keyword(field, test)
    if field.kind in ("long", "double"):
        return _exact_number(field, test)
    if field.kind == "boolean" and test.operator in ("==", "in"):
        return {"terms": {field.name: list(test.values)}}
    if field.kind == "date" and test.operator in ("<", "<=", ">", ">=", "==", "in"):
        return None  # nanoseconds as a number are milliseconds to Elasticsearch
    return None


def _exact_keyword(field: Field, test: Test) -> Query | None:
    name = field.name
    value = test.values[0] if test.values else ""
    match test.operator:
        case "==" | "in":
            return {"terms": {name: list(test.values[:MOST_TERMS])}} if len(test.values) <= MOST_TERMS else None
        case "startswith" | "endswith" | "contains" | "<" | "<=" | ">" | ">=" if len(str(value)) > MOST_PATTERN:
            return None
        case "startswith" if value:
            return {"prefix": {name: {"value": value}}}
        case "endswith" if value:
            return {"wildcard": {name: {"value": "*" + escaped(str(value))}}}
        case "contains" if value:
            return {"wildcard": {name: {"value": f"*{escaped(str(value))}*"}}}
        case "<" | "<=" | ">" | ">=":
            word = {"<": "lt", "<=": "lte", ">": "gt", ">=": "gte"}[test.operator]
            return {"range": {name: {word: value}}}
        case _:
            return None


def _exact_number(field: Field, test: Test) -> Query | None:
    """Whole numbers in fields of whole numbers; anything else only while doubles hold it exactly."""
    name = field.name
    if not all(_agreed(field, value) for value in test.values):
        return None
    values: list[Any] = list(test.values)
    # To Elasticsearch -0.0 lies below 0.0, to us they are one number.
    zero = field.kind == "double" and 0 in values
    if test.operator in ("==", "in"):
        return {"terms": {name: [*values, -0.0, 0.0] if zero else values}}
    compared = {"<": "lt", "<=": "lte", ">": "gt", ">=": "gte"}
    if test.operator in compared:
        bound = (-0.0 if test.operator in ("<", ">=") else 0.0) if zero else values[0]
        return {"range": {name: {compared[test.operator]: bound}}}
    return None


def _agreed(field: Field, value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    if field.kind == "long":
        return isinstance(value, int) and _LONG[0] <= value <= _LONG[1]
    return abs(value) < _EXACT_FLOAT


def escaped(text: str) -> str:
    """Text as a part of a wildcard pattern that means itself."""
    return re.sub(r"([\\*?])", r"\\\1", text)


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return "%" not in text


def exists(name: str) -> Query:
    """Documents that have a value of a field, or may have one."""
    field = FIELDS[name]
    return EVERYTHING if field.kind == "text" or _is_kept_only(name) else or_ignored(name, {"exists": {"field": name}})
