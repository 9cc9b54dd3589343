"""From the arrays a kernel filled to Polars columns, without a Python object a row."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

from sensor.base import I64, U8

I32 = npt.NDArray[np.int32]


def writable(data: U8) -> U8:
    """The bytes as a type of array that kernels are compiled for: numba takes a read-only one for another type."""
    return data if data.flags.writeable else data.copy()


def lists(flat: pl.Series, start: I64, count: I64 | I32) -> pl.Series:
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
        pl.when(pl.col("end") >= pl.col("start")).then(pl.int_ranges("start", "end", dtype=pl.UInt32)).alias("list")
    ).to_series()
    # The evaluation sees the elements of all rows as one column, so this is a single gather.
    gather = pl.element().map_batches(flat.__getitem__, return_dtype=flat.dtype, is_elementwise=True)
    return places.list.eval(gather)


def places(index: npt.NDArray[np.signedinteger]) -> pl.Series:
    """An index for ``Series[...]``; a negative number gives null.

    ``Series[...]`` with a column of ``UInt32`` goes straight to Polars' kernel; ``Series.gather`` builds a query first,
    which took ten times as long for some thousand rows.
    """
    lacks = index < 0
    series = pl.Series(index.astype(np.uint32))
    return series.set(pl.Series(lacks), None) if lacks.any() else series


def pick(series: pl.Series, index: npt.NDArray[np.signedinteger]) -> pl.Series:
    """The entries that ``index`` names, null where it is negative."""
    return series[places(index)]


def word_table(words: Iterable[str | None]) -> pl.Series:
    """A table for ``look_up``: its last entry, null, is for every index that it lacks."""
    return pl.Series([*words, None], dtype=pl.String)


def look_up(table: pl.Series, index: I64 | I32) -> pl.Series:
    """Put the entries of a ``word_table`` where ``index`` names them; an index outside the table gives null."""
    return pick(table, np.where(index >= len(table) - 1, -1, index))


def some_rows(count: int, rows: I64, values: Iterable[object], dtype: pl.DataType) -> pl.Series:
    """A column of ``count`` rows that is null but in ``rows``."""
    if not len(rows):
        return nulls(count, dtype)
    made = pl.Series([*values, None], dtype=dtype)
    index = np.full(count, len(rows), np.uint32)
    index[rows] = np.arange(len(rows))
    return made[pl.Series(index)]


def nulls(count: int, dtype: pl.DataType) -> pl.Series:
    """A column of ``count`` rows without a value."""
    return pl.Series([None], dtype=dtype).new_from_index(0, count)


def numbers(names: Sequence[str], rows: I32) -> pl.DataFrame:
    """Columns out of the rows of a kernel's matrix; its mark for "not there", a negative number, becomes null.

    Args:
        names: Names of the columns.
        rows: ``int32[m, n]``, the first rows of which are the columns.
    """
    return pl.DataFrame([_known(name, row.astype(np.int64), row) for name, row in zip(names, rows, strict=False)])


def flags(names: Sequence[str], rows: I32) -> list[pl.Series]:
    """Boolean columns out of rows of 1, 0 and -1, which becomes null; one that is null throughout is left out."""
    return [_known(name, row == 1, row) for name, row in zip(names, rows, strict=False) if row.max(initial=-1) >= 0]


def _known(name: str, values: npt.NDArray[np.generic], row: I32) -> pl.Series:
    """``values`` as a column, null where ``row`` is negative."""
    series = pl.Series(name, values)
    lacks = row < 0
    return series.set(pl.Series(lacks), None) if lacks.any() else series


def messages(count: int, rows: I64, say: Callable[[int], str]) -> pl.Series:
    """``error.message`` for the few rows that have one."""
    return some_rows(count, rows, (say(int(row)) for row in rows), pl.String())
