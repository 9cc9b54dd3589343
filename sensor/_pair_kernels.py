"""The walk that finds the request of each response; kept apart so that only reading captures loads numba."""

from __future__ import annotations

import numba as nb
import numpy as np

from sensor.base import I64

NEITHER, REQUEST, RESPONSE = 0, 1, 2


@nb.njit(nogil=True, cache=True, boundscheck=True)
def meet(key: I64, role: I64, once: bool, match: I64, waits: I64) -> None:
    """Give every response the latest request of its key that came before it.

    Args:
        key: Hash of flow and key columns of each row, ``int64[n]``.
        role: ``NEITHER``, ``REQUEST`` or ``RESPONSE``, ``int64[n]``.
        once: A request is answered by one response only.
        match: Filled in: row of the request, -1 without one, ``int64[n]``.
        waits: Filled in: 1 for requests that may still be answered after the last row, ``int64[n]``.
    """
    n = len(key)
    size = 16
    while size < 2 * n:
        size *= 2
    mask = size - 1
    head = np.full(size, -1, np.int64)  # row of the newest request of a key; the row stays when it was answered
    open_ = np.zeros(size, np.int64)
    for row in range(n):
        match[row] = -1
        waits[row] = 0
        if role[row] == NEITHER:
            continue
        slot = (key[row] ^ (key[row] >> 29)) & mask
        while head[slot] >= 0 and key[head[slot]] != key[row]:  # ends: at most half of the slots are taken
            slot = (slot + 1) & mask
        if role[row] == REQUEST:
            if head[slot] >= 0:
                waits[head[slot]] = 0
            head[slot] = row
            open_[slot] = 1
            waits[row] = 1
        elif head[slot] >= 0 and open_[slot] == 1:
            match[row] = head[slot]
            if once:
                open_[slot] = 0
                waits[head[slot]] = 0
