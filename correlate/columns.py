"""The distinct values of a column, and a number for each row.

Values between which it makes no difference may share a number: of numbers, those in the same interval between the
numbers that rules name.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from correlate.atoms import Matcher

Codes = npt.NDArray[np.int64]

ABSENT = 0
"""Signature of a row without a value."""
NOTHING = 1
"""Signature of a value for which no atom holds."""

NO_TEXT = 0
"""Number of a row without a text."""

_INT64 = (-(2**63), 2**63 - 1)
_PART_RANGE = {"minute": 60, "hour": 24, "day": 32, "week": 54, "month": 13, "year": 1}  # year comes first, unbounded


def elements(series: pl.Series) -> tuple[pl.Series, npt.NDArray[np.int64]]:
    """Elements of a list column that are not null, and the row of each (rising)."""
    lengths = series.list.len().fill_null(0).to_numpy().astype(np.int64)
    full = lengths > 0
    flat = series.filter(pl.Series(full)).explode()
    rows = np.repeat(np.flatnonzero(full), lengths[full])
    there = flat.is_not_null()
    return flat.filter(there), rows[there.to_numpy()]


@dataclass(frozen=True, slots=True)
class NumberedTexts:
    """Texts of a column and their numbers, the same across batches.

    Attributes:
        series: The column.
        numbers: ``uint32[n]``; ``NO_TEXT`` where there is none.
        known: How many numbers there were before.
        new_numbers: The others.
        new: The text of each.
    """

    series: pl.Series
    numbers: npt.NDArray[np.uint32]
    known: int
    new_numbers: npt.NDArray[np.uint32]
    new: pl.Series


def firsts(numbers: npt.NDArray[np.uint32], marked: npt.NDArray[np.bool_]) -> Codes:
    """Row of the first of each number among the marked rows."""
    rows = np.flatnonzero(marked)
    return rows[np.unique(numbers[rows], return_index=True)[1]]


def distinct(series: pl.Series, matcher: Matcher | None = None) -> tuple[Codes, list[Any]]:
    """Number the values of a column.

    Args:
        series: A column that is no list.
        matcher: If given, values between which it makes no difference may share a number.

    Returns:
        A number for each row, -1 where there is no value, and a value for each number; times as text.
    """
    n = len(series)
    dtype = series.dtype
    if dtype == pl.Null or series.null_count() == n:
        return np.full(n, -1, np.int64), []
    if dtype == pl.Boolean:
        codes = series.cast(pl.Int64).fill_null(-1).to_numpy().astype(np.int64)
        return codes, [False, True]
    if dtype == pl.String:
        return _compact(series, series.cast(pl.Categorical).to_physical().cast(pl.Int64))
    if isinstance(dtype, pl.Datetime):
        return _distinct_times(series, matcher)
    if dtype.is_integer() or dtype.is_float():
        return _distinct_numbers(series, matcher)
    return distinct(series.cast(pl.String))


def _compact(series: pl.Series, raw: pl.Series) -> tuple[Codes, list[Any]]:
    """Numbers without holes, and the value of the first row of each."""
    n = len(series)
    codes = raw.fill_null(-1).to_numpy().astype(np.int64)
    top = int(codes.max()) + 1
    if top > 4 * n + 4096:
        _, codes = np.unique(codes, return_inverse=True)
        codes = codes.astype(np.int64) - int(raw.null_count() > 0)
        top = int(codes.max()) + 1
    first = np.full(top + 1, -1, np.int64)
    first[codes[::-1]] = np.arange(n - 1, -1, -1)
    used = np.flatnonzero(first[:top] >= 0)
    dense = np.full(top + 1, -1, np.int64)
    dense[used] = np.arange(len(used))
    return dense[codes], series.gather(first[used]).to_list()


def _distinct_times(series: pl.Series, matcher: Matcher | None) -> tuple[Codes, list[Any]]:
    utc = series.dt.convert_time_zone("UTC") if series.dtype.time_zone else series.dt.replace_time_zone("UTC")  # type: ignore[attr-defined]
    text = utc.dt.strftime("%Y-%m-%dT%H:%M:%S%.9fZ")
    if matcher is None or matcher.needs_text:
        return distinct(text)
    raw = utc.dt.year().cast(pl.Int64)
    for part in dict.fromkeys(matcher.parts):
        if part != "year":
            raw = raw * _PART_RANGE[part] + getattr(utc.dt, part)().cast(pl.Int64)
    codes, times = distinct(raw)
    if not times:
        return codes, []
    first = np.full(len(times) + 1, -1, np.int64)
    first[codes[::-1]] = np.arange(len(codes) - 1, -1, -1)
    return codes, text.gather(first[:-1]).to_list()


def _distinct_numbers(series: pl.Series, matcher: Matcher | None) -> tuple[Codes, list[Any]]:
    if matcher is None or matcher.needs_text:
        values, codes = np.unique(series.drop_nulls().to_numpy(), return_inverse=True)
        found: list[Any] = values.tolist()
        result = np.full(len(series), -1, np.int64)
        result[series.is_not_null().to_numpy()] = codes
        return result, found
    whole = series.dtype.is_integer()
    if whole:
        # Between floor(t) and the next integer no whole number lies: t may be cut down to it.
        cuts = {number if isinstance(number, int) else math.floor(number) for number in matcher.numbers}
        borders = np.array(sorted(cut for cut in cuts if _INT64[0] <= cut <= _INT64[1]), np.int64)
        numbers = series.fill_null(0).cast(pl.Int64).to_numpy()
    else:
        borders = np.array(sorted({float(number) for number in matcher.numbers}), np.float64)
        numbers = series.fill_null(0).cast(pl.Float64).to_numpy()
    place = np.searchsorted(borders, numbers, side="left").astype(np.int64)
    codes = 2 * place
    inside = place < len(borders)
    codes[inside] += borders[place[inside]] == numbers[inside]
    if not whole:
        codes[np.isnan(numbers)] = 2 * len(borders) + 1
    codes[series.is_null().to_numpy()] = -1
    raw = pl.Series(codes)
    return _compact(series, raw.set(raw < 0, None))
