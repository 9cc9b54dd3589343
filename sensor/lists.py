"""List columns of messages that not every row has."""

from __future__ import annotations

import numpy as np
import polars as pl

from sensor import columns
from sensor.base import I64


def lists(flat: pl.DataFrame, counts: I64, rows: I64 | None = None) -> pl.DataFrame:
    """Cut flat columns into lists.

    Args:
        flat: Values of all lists, one list after the other.
        counts: Length of each list, ``int64[n]``; their sum is the height of ``flat``.
        rows: Which list goes to which row, ``int64[m]``, -1 for none; None is one list a row, in order.

    Returns:
        ``m`` rows with a list column for each column of ``flat``; a list without values is null.
    """
    filled = np.flatnonzero(counts)
    place = np.full(len(counts) + 1, -1, np.int64)  # the last for rows of -1
    place[filled] = np.arange(len(filled))
    known = [name for name in flat.columns if flat[name].null_count() < len(flat)]
    number = pl.Series("_list", np.repeat(np.arange(len(filled), dtype=np.uint32), counts[filled])).set_sorted()
    groups = flat.with_columns(number).group_by("_list", maintain_order=True).agg(*known)
    starts = np.cumsum(counts[filled]) - counts[filled]
    made: dict[str, pl.Series] = {}
    for name in flat.columns:
        column = flat[name]
        if name not in known:
            made[name] = columns.nulls(len(counts if rows is None else rows), pl.List(column.dtype))
            continue
        where = place
        if column.has_nulls():
            where = place.copy()
            where[filled[~np.logical_or.reduceat(column.is_not_null().to_numpy(), starts)]] = -1
        made[name] = columns.pick(groups[name], where[:-1] if rows is None else where[rows])
    return pl.DataFrame(made)
