"""List columns out of flat arrays, without a Python object a value."""

from __future__ import annotations

import numpy as np
import polars as pl

from sensor.base import I64


def lists(flat: pl.DataFrame, counts: I64, rows: I64 | None = None) -> pl.DataFrame:
    """Cut flat columns into lists.

    Args:
        flat: Values of all lists, one after the other.
        counts: Length of each list, ``int64[n]``; their sum is the height of ``flat``.
        rows: Which list goes to which row, ``int64[m]``, -1 for none; None is one list a row, in order.

    Returns:
        ``m`` rows with a list column for each column of ``flat``; a list without values is null.
    """
    n = len(counts)
    owner = np.repeat(np.arange(n, dtype=np.int64), counts)
    filled = np.flatnonzero(counts)
    grouped = (
        flat.with_columns(pl.Series("_owner", owner))
        .with_columns(pl.col("_owner").set_sorted())
        .group_by("_owner", maintain_order=True)
        .agg(
            pl.when(pl.col(name).is_not_null().any()).then(pl.col(name).implode())
            if flat[name].null_count()
            else pl.col(name)
            for name in flat.columns
        )
        .drop("_owner")
    )
    place = np.full(n + 1, len(filled), np.int64)
    place[filled] = np.arange(len(filled))
    nothing = pl.DataFrame({name: pl.Series([None], dtype=dtype) for name, dtype in grouped.schema.items()})
    at = place[:n] if rows is None else place[np.where(rows < 0, n, rows)]
    return pl.concat([grouped, nothing])[at]
