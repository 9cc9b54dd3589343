"""The walk that finds the request of each response; kept apart so that only reading captures loads numba."""

from __future__ import annotations

from sensor.base import I64
from sensor.jit_kernel import entry

NEITHER, REQUEST, RESPONSE = 0, 1, 2


@entry
def meet(key: I64, role: I64, once: bool, newest: I64, match: I64, waits: I64) -> None:
    """Give every response the latest request of its key that came before it.

    Args:
        key: Hash of flow and key columns of each row, ``int64[n]``.
        role: ``NEITHER``, ``REQUEST`` or ``RESPONSE``, ``int64[n]``.
        once: A request is answered by one response only.
        newest: Table of the newest request of a key, filled with -1; a power of two long, twice the rows at least.
        match: Filled in: row of the request, -1 without one, ``int64[n]``.
        waits: Filled in: 1 for requests that may still be answered after the last row, ``int64[n]``.
    """
    mask = len(newest) - 1
    for row in range(len(key)):
        match[row] = -1
        waits[row] = 0
        if role[row] == NEITHER:
            continue
        slot = (key[row] ^ (key[row] >> 29)) & mask
        while newest[slot] >= 0 and key[newest[slot]] != key[row]:  # ends: at most half of the slots are taken
            slot = (slot + 1) & mask
        request = newest[slot]
        if role[row] == REQUEST:
            if request >= 0:
                waits[request] = 0
            newest[slot] = row
            waits[row] = 1
        elif request >= 0 and waits[request] == 1:
            match[row] = request
            if once:
                waits[request] = 0
