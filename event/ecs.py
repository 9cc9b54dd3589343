"""Flat rows and nested documents, both ways.

Inside, names are flat and dotted; ECS wants nested objects at an API's door.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from event.fields import Field


def nest(row: Mapping[str, Any]) -> dict[str, Any]:
    """Turn one flat row into a nested document; nulls are left out.

    Raises:
        ValueError: One name is both a value and a parent (``a`` and ``a.b``).
    """
    document: dict[str, Any] = {}
    for name, value in row.items():
        if value is None:
            continue
        *parents, last = name.split(".")
        level = document
        for parent in parents:
            level = level.setdefault(parent, {})
            if not isinstance(level, dict):
                raise ValueError(f"{name}: {parent} is a value and a parent")
        if isinstance(level.get(last), dict):
            raise ValueError(f"{name} is a value and a parent")
        level[last] = value
    return document


def flatten(document: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Turn a nested document into one flat row; lists stay as they are, empty objects vanish."""
    row: dict[str, Any] = {}
    for key, value in document.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            row.update(flatten(value, name + "."))
        else:
            row[name] = value
    return row


IGNORE_ABOVE = 8_191
"""Characters of a keyword that is indexed: Lucene takes terms of 32,766 bytes, a character has four at most. A longer
value stays in the document, and its field is named in ``_ignored``, which every query asks as well."""

WILDCARDS = frozenset({"process.command_line", "url.original", "url.path", "user_agent.original", "process.executable"})
"""Fields that are asked with a leading wildcard more often than not, as ECS has them."""


def mapping(fields: Iterable[Field], *, wildcard: bool) -> dict[str, Any]:
    """Elasticsearch's ``properties`` for fields of the catalogue.

    Args:
        fields: Which.
        wildcard: The cluster has the ``wildcard`` type (the default distribution has).
    """
    types: dict[str, dict[str, Any]] = {
        "keyword": {"type": "keyword", "ignore_above": IGNORE_ABOVE},
        "ip": {"type": "ip", "ignore_malformed": True},
        "text": {"type": "text", "norms": False},
        "long": {"type": "long"},
        "double": {"type": "double"},
        "boolean": {"type": "boolean"},
        "date": {"type": "date_nanos", "ignore_malformed": True},  # it holds the years 1970 to 2262
    }
    properties: dict[str, Any] = {}
    for field in fields:
        one = types[field.kind]
        if wildcard and field.name in WILDCARDS:
            one = {"type": "wildcard", "ignore_above": IGNORE_ABOVE}
        if field.name == "event.original":  # kept, not searched, as ECS says
            one = {"type": "keyword", "index": False, "doc_values": False}
        *parents, last = field.name.split(".")
        level = properties
        for parent in parents:
            level = level.setdefault(parent, {"properties": {}})["properties"]
        level[last] = one
    return properties
