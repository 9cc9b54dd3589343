"""From the arrays a kernel filled to Polars columns, without a Python object a row."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import polars as pl

from sensor.base import I64


def lists(flat: pl.Series, start: I64, count: I64) -> pl.Series:
    """Cut one long column into lists.

    Args:
        flat: Elements of all lists.
        start: First element of each list in ``flat``, ``int64[n]``.
        count: Elements of each list, ``int64[n]``; below 0 the row is null.

    Returns:
        List column of ``n`` rows with the dtype of ``flat`` inside.
    """
    bounds = pl.DataFrame({"start": start, "end": start + count})
    places = bounds.select(
        pl.when(pl.col("end") >= pl.col("start")).then(pl.int_ranges("start", "end")).alias("list")
    ).to_series()
    # The evaluation sees the elements of all rows as one column, so this is a single gather.
    gather = pl.element().map_batches(flat.gather, return_dtype=flat.dtype, is_elementwise=True)
    return places.list.eval(gather)


def words(table: Sequence[str | None], index: I64) -> pl.Series:
    """Look every index up in a small table; an index outside the table gives null."""
    return spread(pl.Series(table, dtype=pl.String), index)


def spread(few: pl.Series, index: I64) -> pl.Series:
    """Put the values of a short column where ``index`` names them; an index outside of it gives null."""
    outside = (index < 0) | (index >= len(few))
    longer = few.extend_constant(None, 1)
    return longer.gather(np.where(outside, len(few), index))


def some_rows(count: int, rows: I64, values: Iterable[object], dtype: pl.DataType) -> pl.Series:
    """A column of ``count`` rows that is null but in ``rows``."""
    index = np.full(count, -1, np.int64)
    index[rows] = np.arange(len(rows))
    return spread(pl.Series(list(values), dtype=dtype), index)


def not_negative(names: Iterable[str]) -> list[pl.Expr]:
    """Expressions that make the kernels' mark for "not there", a negative number, null."""
    return [pl.when(pl.col(name) >= 0).then(pl.col(name)).alias(name) for name in names]


def messages(count: int, rows: I64, say: Callable[[int], str]) -> pl.Series:
    """``error.message`` for the few rows that have one."""
    return some_rows(count, rows, (say(int(row)) for row in rows), pl.String())
