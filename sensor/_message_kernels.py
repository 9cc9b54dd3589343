"""Sorts the messages of a flush by application; kept apart so that only captures load numba."""

from __future__ import annotations

import numpy as np

from sensor.base import I64
from sensor.jit_kernel import entry
from sensor.kernels_layout import Records

COLUMNS = ("offset", "length", "flow", "direction", "timestamp", "frame", "flags", "expected", "local", "late")
"""Members of ``PDU`` in the order of the rows of ``columns_of``."""


@entry
def columns_of(rows: Records, app: int, out: I64) -> None:
    """Copy the members of the messages of one application, each once through the memory of all.

    Args:
        rows: Messages, dtype ``PDU``.
        app: Number of the application.
        out: Filled in: ``int64[len(COLUMNS), m]``, ``m`` messages of it.
    """
    to = 0
    for i in range(len(rows)):
        row = rows[i]
        if np.int64(row["app"]) != app:
            continue
        out[0, to] = row["offset"]
        out[1, to] = row["length"]
        out[2, to] = row["flow"]
        out[3, to] = row["direction"]
        out[4, to] = row["timestamp"]
        out[5, to] = row["frame"]
        out[6, to] = row["flags"]
        out[7, to] = row["expected"]
        out[8, to] = row["local"]
        out[9, to] = row["late"]
        to += 1
