"""Rows that agree in several columns of numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from correlate.columns import Codes

Rows = npt.NDArray[np.int64]
"""Numbers of rows."""


def groups(columns: Sequence[Codes], height: int) -> list[tuple[int, Rows | None]]:
    """First row and all rows of each distinct combination; None for all there are."""
    first, inverse = cases(columns, height)
    if len(first) == 1:
        return [(int(first[0]), None)]
    order = np.argsort(inverse, kind="stable")
    edges = np.searchsorted(inverse[order], np.arange(len(first) + 1)).tolist()
    return [(int(first[one]), order[edges[one] : edges[one + 1]]) for one in range(len(first))]


def cases(columns: Sequence[Codes], height: int) -> tuple[Rows, Rows]:
    """First row of each distinct combination, and the combination of each row."""
    joined: Codes | None = None
    size = 1
    for raw in columns:
        low, high = int(raw.min()), int(raw.max())
        if low == high:
            continue
        width = high - low + 1
        if joined is None:
            joined, size = raw - low, width
            continue
        if size * width >= 2**62:
            _, joined = np.unique(joined, return_inverse=True)
            size = int(joined.max()) + 1
        joined = joined * width + (raw - low)
        size *= width
    if joined is None:
        return np.zeros(1, np.int64), np.zeros(height, np.int64)
    if size <= 4 * height + 4096:
        first = np.full(size, -1, np.int64)
        first[joined[::-1]] = np.arange(height - 1, -1, -1)
        used = np.flatnonzero(first >= 0)
        dense = np.empty(size, np.int64)
        dense[used] = np.arange(len(used))
        return first[used], dense[joined]
    _, at, inverse = np.unique(joined, return_index=True, return_inverse=True)
    return at.astype(np.int64), inverse.astype(np.int64)


__all__ = ["Rows", "cases", "groups"]
