"""Rows out of lines, as the reader would make them."""

from __future__ import annotations

from typing import Any

import polars as pl

from event.table import conform
from sensor.base import LineParser


def rows_of(parser: LineParser, *lines: str, offset: int = 0) -> list[dict[str, Any]]:
    """All rows in order of their lines, without nulls; line ``n`` has offset ``offset + n``."""
    tables = parser.parse(
        pl.Series(lines, dtype=pl.String),
        pl.Series(range(offset, offset + len(lines)), dtype=pl.Int64),
        reference=None,
    )
    found = [
        {name: value for name, value in row.items() if value is not None}
        for table in tables
        for row in conform(table.with_columns(pl.lit("x").alias("event.id"))).iter_rows(named=True)
    ]
    return sorted(found, key=lambda row: row["log.offset"])


def has(row: dict[str, Any], expected: dict[str, Any]) -> None:
    """The row has these values."""
    assert {name: row.get(name) for name in expected} == expected
