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
    ends = np.cumsum(counts)
    starts = ends - counts
    if rows is not None:
        none = rows < 0
        starts, counts = (
            np.zeros((2, len(rows)), np.int64) if not len(starts) else (starts[rows], np.where(none, 0, counts[rows]))
        )
    made: dict[str, pl.Series] = {}
    for name in flat.columns:
        column = flat[name]
        lacking = column.null_count()
        if lacking == len(column):
            made[name] = pl.Series([None], dtype=pl.List(column.dtype)).new_from_index(0, len(counts))
            continue
        empty = counts == 0
        if lacking:
            known = np.concatenate([[0], np.cumsum(column.is_not_null().to_numpy())])
            empty = known[starts + counts] == known[starts]
        made[name] = columns.lists(column, starts, np.where(empty, -1, counts))
    return pl.DataFrame(made)
