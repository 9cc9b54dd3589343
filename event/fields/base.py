"""What a field is: name, dtype, unit, meaning, source."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

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


def ecs(name: str, kind: Kind, meaning: str, unit: str | None = None, *, many: bool = False) -> Field:
    """Declare a field as the Elastic Common Schema (9.x) defines it."""
    return Field(name, kind, meaning, unit, many, "ecs")


def own(name: str, kind: Kind, meaning: str, unit: str | None = None, *, many: bool = False) -> Field:
    """Declare a field that ECS lacks."""
    return Field(name, kind, meaning, unit, many, "jianmen")
