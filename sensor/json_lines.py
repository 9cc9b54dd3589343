"""JSON lines to flat columns, a block at a time.

Polars reads a block of like lines far faster than Python reads them one by one, but it takes the types from a sample,
and one bad line spoils the block. So: the sample first; if the block does not fit it (an error, or fewer keys than the
text has), a few thousand lines at a time with types from all of them; if that fails too, one line at a time. What
comes out says the same each time.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson
import polars as pl

SAMPLE_LINES = 1_000
"""Lines from which types are taken first."""
SLICE_LINES = 4_096
"""Lines that are read with types from all of them: what one bad line can spoil."""
MOST_COLUMNS = 1_024
"""Flat columns of a block at most; beyond them lines are read one at a time."""
MOST_CELLS = 8_000_000
"""Columns times lines of a block at most: hostile keys must not cost a column of a large block each."""
MOST_BRACKETS = 96
"""A line with more of ``{`` and ``[`` is read by itself: Polars recurses, and deep nesting ends the process."""
MOST_DEPTH = 32
"""Objects deeper than this stay JSON text."""


@dataclass(frozen=True, slots=True)
class FlatBlock:
    """Objects as flat columns.

    Attributes:
        rows: Which lines of the block these are.
        columns: One row an object; nested names joined by dots. Lists are lists; where the values of a column have
            nothing in common, it is binary and holds JSON.
    """

    rows: pl.Series
    columns: pl.DataFrame


def read(lines: pl.Series, rows: pl.Series) -> tuple[list[FlatBlock], list[int]]:
    """Read lines that are alike.

    Args:
        lines: Text, one JSON object each.
        rows: Their numbers.

    Returns:
        Blocks whose rows together are all readable lines, and the numbers of those that are no JSON object.
    """
    if lines.is_empty():
        return [], []
    brackets = lines.str.count_matches("{", literal=True) + lines.str.count_matches("[", literal=True)
    deep = (brackets > MOST_BRACKETS) | lines.str.contains("\n", literal=True)
    if deep.any():
        blocks, bad = _one_by_one(lines.filter(deep), rows.filter(deep))
        more, worse = read(lines.filter(~deep), rows.filter(~deep))
        return blocks + more, bad + worse
    table = _table_of(lines, SAMPLE_LINES) if len(lines) > SAMPLE_LINES else None
    if table is not None:
        return [FlatBlock(rows, table)], []
    found: list[FlatBlock] = []
    wrong: list[int] = []
    for start in range(0, len(lines), SLICE_LINES):
        blocks, bad = _slice(lines.slice(start, SLICE_LINES), rows.slice(start, SLICE_LINES))
        found += blocks
        wrong += bad
    return found, wrong


def _slice(lines: pl.Series, rows: pl.Series) -> tuple[list[FlatBlock], list[int]]:
    table = _table_of(lines, None)
    if table is not None:
        return [FlatBlock(rows, table)], []
    good = pl.Series([_is_object(text) for text in lines.to_list()], dtype=pl.Boolean)
    bad = rows.filter(~good).to_list()
    kept, numbers = lines.filter(good), rows.filter(good)
    table = _table_of(kept, None) if bad and len(kept) else None
    if table is not None:
        return [FlatBlock(numbers, table)], bad
    blocks, worse = _one_by_one(kept, numbers)
    return blocks, bad + worse


def _is_object(text: str) -> bool:
    try:
        return isinstance(orjson.loads(text), dict)
    except orjson.JSONDecodeError:
        return False


def _table_of(lines: pl.Series, sample: int | None) -> pl.DataFrame | None:
    """Read with types from the first ``sample`` lines, or from all; None if the lines do not fit them."""
    body = "\n".join(lines.to_list()).encode()
    try:
        schema = _schema(body, sample)
        width = sum(_leaf_count(dtype) for dtype in schema.values())
        if width > MOST_COLUMNS or width * len(lines) > MOST_CELLS:
            return None
        table = pl.read_ndjson(io.BytesIO(body), schema=schema)
        if table.height != len(lines):
            return None  # a blank line, or one that holds several values
        keys = int(lines.str.count_matches('":', literal=True).sum() or 0)
        if sample is not None and _keys_read(table) != keys and _schema(body, None) != schema:
            return None  # a key that the sample does not have; if it has all, there are nulls or texts like keys
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
        return None
    return _flatten(table)


def _schema(body: bytes, sample: int | None) -> pl.Schema:
    return pl.scan_ndjson(io.BytesIO(body), infer_schema_length=sample).collect_schema()


def _leaf_count(dtype: object) -> int:
    if isinstance(dtype, pl.Struct):
        return sum(_leaf_count(field.dtype) for field in dtype.fields)
    if isinstance(dtype, pl.List):
        return _leaf_count(dtype.inner)
    return 1


def _keys_read(table: pl.DataFrame) -> int:
    return sum(series.len() - series.null_count() + _inner_keys(series) for series in table.iter_columns())


def _inner_keys(series: pl.Series) -> int:
    if isinstance(series.dtype, pl.Struct):
        return _keys_read(series.drop_nulls().struct.unnest()) if series.dtype.fields else 0
    if isinstance(series.dtype, pl.List):
        return _inner_keys(series.explode(empty_as_null=True).drop_nulls())
    return 0


def _flatten(table: pl.DataFrame) -> pl.DataFrame:
    """Unnest structs; of two columns that get one name, the first stays."""
    columns: dict[str, pl.Series] = {}
    for name, series in _leaves("", table):
        columns.setdefault(name, series.alias(name))
    return pl.DataFrame(list(columns.values())) if columns else pl.DataFrame(height=table.height)


def _leaves(prefix: str, table: pl.DataFrame) -> Iterator[tuple[str, pl.Series]]:
    for series in table.iter_columns():
        name = prefix + series.name
        dtype = series.dtype
        if isinstance(dtype, pl.Struct):
            if dtype.fields:
                yield from _leaves(name + ".", series.struct.unnest())
        elif dtype == pl.Null:
            continue
        else:
            yield name, series


# One line at a time.


def _one_by_one(lines: pl.Series, rows: pl.Series) -> tuple[list[FlatBlock], list[int]]:
    bad: list[int] = []
    found: list[dict[str, Any]] = []
    numbers: list[int] = []
    blocks: list[FlatBlock] = []
    names: set[str] = set()

    def finish() -> None:
        if numbers:
            blocks.append(FlatBlock(pl.Series(rows.name, numbers, dtype=rows.dtype), _table(found)))

    for text, number in zip(lines.to_list(), rows.to_list(), strict=True):
        try:
            document = orjson.loads(text)
        except orjson.JSONDecodeError:
            document = None
        if not isinstance(document, dict):
            bad.append(number)
            continue
        flat: dict[str, Any] = {}
        _flat(document, "", 1, flat)
        width = len(names | flat.keys())
        if names and (width > MOST_COLUMNS or width * (len(found) + 1) > MOST_CELLS):
            finish()
            found, numbers, names = [], [], set()
        names |= flat.keys()
        found.append(flat)
        numbers.append(number)
    finish()
    return blocks, bad


def _flat(document: dict[str, Any], prefix: str, depth: int, into: dict[str, Any]) -> None:
    for key, value in document.items():
        name = prefix + key
        if isinstance(value, dict) and depth < MOST_DEPTH and len(into) < MOST_COLUMNS - 1:
            _flat(value, name + ".", depth + 1, into)
        elif value is not None and name not in into:
            if len(into) >= MOST_COLUMNS - 1:
                break  # the line itself is kept in event.original
            into[name] = value


def _table(found: list[dict[str, Any]]) -> pl.DataFrame:
    names = dict.fromkeys(name for flat in found for name in flat)
    columns = [_series(name, [flat.get(name) for flat in found]) for name in names]
    return pl.DataFrame(columns) if columns else pl.DataFrame(height=len(found))


def _series(name: str, values: list[Any]) -> pl.Series:
    kinds = {type(value) for value in values if value is not None}
    if kinds == {bool}:
        return pl.Series(name, values, dtype=pl.Boolean)
    if kinds == {int} and all(value is None or -(1 << 63) <= value < 1 << 63 for value in values):
        return pl.Series(name, values, dtype=pl.Int64)
    if kinds and kinds <= {int, float}:
        return pl.Series(name, [None if v is None else float(v) for v in values], dtype=pl.Float64)
    if kinds == {list} and all(isinstance(x, str) for v in values if v is not None for x in v):
        return pl.Series(name, values, dtype=pl.List(pl.String))
    if kinds <= {str, int, float, bool}:
        texts = [v if v is None or isinstance(v, str) else orjson.dumps(v).decode() for v in values]
        return pl.Series(name, texts, dtype=pl.String)
    return pl.Series(name, [None if v is None else _dumped(v) for v in values], dtype=pl.Binary)


def _dumped(value: Any) -> bytes | None:
    try:
        return orjson.dumps(value)
    except (TypeError, orjson.JSONEncodeError, RecursionError):
        return None  # too deep to be written; the line itself is kept in event.original
