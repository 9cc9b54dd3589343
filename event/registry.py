"""Plug-in look-up: a plain table of names, then entry points of other distributions."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from event.errors import ConfigError


def load(kind: str, name: str, table: Mapping[str, str]) -> Any:
    """Return the object that ``table`` or an installed entry point names.

    Args:
        kind: Entry-point group suffix and plural noun, such as ``"decoders"``.
        name: What the user typed.
        table: In-tree plug-ins, name to ``"module:attribute"``; they win over entry points.

    Raises:
        ConfigError: ``name`` is neither in ``table`` nor installed.
    """
    value = table.get(name)
    if value is None:
        outside = {e.name: e.value for e in entry_points(group=f"jianmen.{kind}")}
        if name not in outside:
            known = ", ".join(sorted({*table, *outside}))
            raise ConfigError(f"unknown {kind.removesuffix('s')} {name!r}", hint=f"known: {known}")
        value = outside[name]
    module, _, attribute = value.partition(":")
    return getattr(import_module(module), attribute)
