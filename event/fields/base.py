"""What a field is: name, dtype, unit, meaning, source."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import polars as pl

Kind = Literal["keyword", "ip", "text", "long", "double", "boolean", "date"]

_DTYPES: dict[str, pl.DataType] = {
    "keyword": pl.String(),
    "ip": pl.String(),
    "text": pl.String(),
    "long": pl.Int64(),
    "double": pl.Float64(),
    "boolean": pl.Boolean(),
    "date": pl.Datetime("ns", "UTC"),
}


@dataclass(frozen=True, slots=True)
class Field:
    """One column of the event tables.

    Attributes:
        name: Flat dotted name, the ECS one where ECS has it.
        kind: Type of one value; ``ip`` and ``text`` are strings here and types of their own in Elasticsearch.
        meaning: One sentence.
        unit: Unit of the value, if it has one.
        many: The column is a list.
        source: ``ecs`` or ``jianmen``.
    """

    name: str
    kind: Kind
    meaning: str
    unit: str | None = None
    many: bool = False
    source: Literal["ecs", "jianmen"] = "jianmen"

    @property
    def dtype(self) -> pl.DataType:
        """The Polars dtype of the column."""
        one = _DTYPES[self.kind]
        return pl.List(one) if self.many else one


OPEN_NAME = re.compile(r"[A-Za-z0-9_@$#:+][A-Za-z0-9_@$#:+ -]*(?:\.[A-Za-z0-9_@$#:+ -]+)*", re.ASCII)
"""What may stand behind an open prefix: names of the source, no empty part, nothing that a path or a terminal minds."""
OPEN_LENGTH = 128
"""Characters that such a name has at most."""


class Catalogue(dict[str, Field]):
    """Fields by name, and the fields that begin with an open prefix.

    A source such as the Windows event log has thousands of fields, named by each program that writes to it. They are
    columns too, ``<prefix><name of the source>``, text. Iterating gives the declared fields alone; asking for a name
    (``in``, ``[]``, ``get``) knows both.
    """

    def __init__(self, fields: Iterable[Field], prefixes: Mapping[str, str]) -> None:
        """Declare fields, and prefixes with what stands behind them."""
        super().__init__((field.name, field) for field in fields)
        self.prefixes = dict(prefixes)
        self._open = tuple(self.prefixes)

    def is_open(self, name: object) -> bool:
        """Whether the name is not declared and stands behind an open prefix."""
        if not isinstance(name, str) or not name.startswith(self._open) or dict.__contains__(self, name):
            return False
        prefix = next(one for one in self._open if name.startswith(one))
        rest = name[len(prefix) :]
        return len(rest) <= OPEN_LENGTH and OPEN_NAME.fullmatch(rest) is not None

    def __contains__(self, name: object) -> bool:
        return dict.__contains__(self, name) or self.is_open(name)

    def __missing__(self, name: str) -> Field:
        if not self.is_open(name):
            raise KeyError(name)
        prefix = next(one for one in self._open if name.startswith(one))
        return Field(name, "keyword", self.prefixes[prefix])

    def get(self, name: str, default: Any = None) -> Any:
        """The field, or ``default``."""
        try:
            return self[name]
        except KeyError:
            return default


def ecs(name: str, kind: Kind, meaning: str, unit: str | None = None, *, many: bool = False) -> Field:
    """Declare a field as the Elastic Common Schema (9.x) defines it."""
    return Field(name, kind, meaning, unit, many, "ecs")


def own(name: str, kind: Kind, meaning: str, unit: str | None = None, *, many: bool = False) -> Field:
    """Declare a field that ECS lacks."""
    return Field(name, kind, meaning, unit, many, "jianmen")
