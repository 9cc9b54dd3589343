"""Flat rows and nested documents, both ways.

Inside, names are flat and dotted; ECS wants nested objects at an API's door.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


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
