"""The walk that finds messages which say what an earlier one said; kept apart so that only captures load numba."""

from __future__ import annotations

import numba as nb
import numpy as np
import numpy.typing as npt

from sensor.base import I64, U8

U64 = npt.NDArray[np.uint64]
Num = int | np.int64

NEITHER, REQUEST, RESPONSE = 0, 1, 2
M_ROLE, M_KEY, M_PLAIN, M_SIZE = 0, 1, 2, 3
SKIM_ROWS = 4
_NOBODY, _CARRIED = -1, -2


@nb.njit(nogil=True, cache=True, boundscheck=True)
def _hashes(data: U8, offset: I64, length: I64, plain: I64, low: int, high: int, seed: np.uint64, out: U64) -> None:
    """Hash every plain message without its bytes ``low`` to ``high - 1``."""
    prime = np.uint64(0x100000001B3)
    for i in range(len(offset)):
        if plain[i] == 0:
            continue
        at = offset[i]
        value = seed ^ np.uint64(length[i])
        for place in range(length[i]):
            if place < low or place >= high:
                value = (value ^ np.uint64(data[at + place])) * prime
        out[i] = value ^ (value >> np.uint64(29))


@nb.njit(nogil=True, cache=True, boundscheck=True)
def _same(data: U8, offset: I64, length: I64, one: Num, other: Num, low: int, high: int) -> bool:
    if length[one] != length[other]:
        return False
    a = offset[one]
    b = offset[other]
    for place in range(length[one]):
        if (place < low or place >= high) and data[a + place] != data[b + place]:
            return False
    return True


@nb.njit(nogil=True, cache=True, boundscheck=True)
def _slot(size: int, one: np.uint64, two: np.uint64) -> Num:
    mixed = (one ^ (two * np.uint64(0x9E3779B97F4A7C15))) * np.uint64(0xFF51AFD7ED558CCD)
    return np.int64((mixed ^ (mixed >> np.uint64(32))) & np.uint64(size - 1))


@nb.njit(nogil=True, cache=True, boundscheck=True)
def pack(data: U8, offset: I64, length: I64, out: U8) -> None:
    """Copy messages one behind the other into ``out``, which is as long as they are together."""
    to = 0
    for i in range(len(offset)):
        out[to : to + length[i]] = data[offset[i] : offset[i] + length[i]]
        to += length[i]


@nb.njit(nogil=True, cache=True, boundscheck=True)
def find(
    data: U8,
    offset: I64,
    length: I64,
    flow: I64,
    direction: I64,
    time: I64,
    skim: I64,
    left: I64,
    carried_flow: I64,
    carried_key: I64,
    low: int,
    high: int,
    span: int,
    seed: np.uint64,
    keep: I64,
    facts: I64,
) -> None:
    """Choose which messages have to be decoded so that decoding, pairing and collapsing them tells all.

    Args:
        data: Bytes of all messages.
        offset: Start of each, ``int64[n]``.
        length: Bytes of each, ``int64[n]``.
        flow: Flow of each, from 0 up, ``int64[n]``.
        direction: 0 or 1.
        time: Nanoseconds.
        skim: ``int64[SKIM_ROWS, n]``: role, key within the flow, whether it is plain, size to compare.
        left: Per flow 1 where every message is decoded, ``int64[flows]``.
        carried_flow: Flows of requests that wait since earlier batches.
        carried_key: Their keys.
        low: First byte that is left out when messages are compared.
        high: First byte that counts again.
        span: Length of the stretches of time within which messages are joined, ns.
        seed: Of the hashes.
        keep: Filled in: 1 for messages to decode, ``int64[n]``.
        facts: Filled in: how many messages each stands for (0: another one counts it), earliest and latest time of
            them, ``int64[3, n]``.
    """
    n = len(offset)
    role = skim[M_ROLE]
    key = skim[M_KEY]
    content = np.zeros(n, np.uint64)
    _hashes(data, offset, length, skim[M_PLAIN], low, high, seed, content)
    size = 16
    while size < 2 * (n + len(carried_flow)):
        size *= 2
    last = np.full(size, _NOBODY, np.int32)  # newest message of a flow and key
    last_flow = np.full(size, -1, np.int32)
    last_key = np.zeros(size, np.int64)
    for c in range(len(carried_flow)):
        at = _slot(size, np.uint64(carried_flow[c]), np.uint64(carried_key[c]))
        while last_flow[at] >= 0 and (last_flow[at] != carried_flow[c] or last_key[at] != carried_key[c]):
            at = (at + 1) & (size - 1)
        last_flow[at] = carried_flow[c]
        last_key[at] = carried_key[c]
        last[at] = _CARRIED
    newest = np.full(size, _NOBODY, np.int32)  # newest request of a flow and key
    place = np.full(n, -1, np.int32)
    before = np.full(n, _NOBODY, np.int32)  # the message of the same key before
    after = np.full(n, _NOBODY, np.int32)
    asked = np.full(n, _NOBODY, np.int32)  # the request of a response, if it is the message before it
    first = np.full(size, -1, np.int32)  # the message that stands for a group
    for i in range(n):
        facts[0, i] = 1
        facts[1, i] = time[i]
        facts[2, i] = time[i]
        keep[i] = 1
        if left[flow[i]] != 0:
            continue
        if role[i] != NEITHER:
            at = _slot(size, np.uint64(flow[i]), np.uint64(key[i]))
            while last_flow[at] >= 0 and (last_flow[at] != flow[i] or last_key[at] != key[i]):
                at = (at + 1) & (size - 1)
            last_flow[at] = flow[i]
            last_key[at] = key[i]
            before[i] = last[at]
            last[at] = i
            place[i] = at
            if role[i] == REQUEST:
                newest[at] = i
            if before[i] >= 0:
                after[before[i]] = i
        if skim[M_PLAIN, i] == 0 or before[i] == _CARRIED:
            continue
        request = np.int64(-1)
        mixed = content[i]
        if role[i] == RESPONSE:
            request = np.int64(before[i])
            if request < 0 or role[request] != REQUEST or skim[M_PLAIN, request] == 0:
                continue
            if skim[M_SIZE, request] != skim[M_SIZE, i]:
                continue
            asked[i] = request
            mixed ^= content[request] * np.uint64(0xC2B2AE3D27D4EB4F)
        stretch = time[i] // span
        at = _slot(size, mixed, np.uint64(flow[i] * 2 + direction[i]) ^ (np.uint64(stretch) << np.uint64(20)))
        while True:
            other = np.int64(first[at])
            if other < 0:
                first[at] = i
                break
            if (
                content[other] == content[i]
                and flow[other] == flow[i]
                and direction[other] == direction[i]
                and time[other] // span == stretch
                and (asked[other] >= 0) == (request >= 0)
                and _same(data, offset, length, other, i, low, high)
                and (request < 0 or _same(data, offset, length, np.int64(asked[other]), request, low, high))
            ):
                keep[i] = 0
                facts[0, other] += facts[0, i]
                facts[0, i] = 0
                facts[1, other] = min(facts[1, other], time[i])
                facts[2, other] = max(facts[2, other], time[i])
                break
            at = (at + 1) & (size - 1)
    # What is decoded has to meet the same partner as it would among all, and to leave the same requests open: the
    # messages of a response's key back to its request, the first answer of a request, and instead of a request that
    # a later one took the number of, the last of them.
    for i in range(n):
        if keep[i] == 0 or place[i] < 0:
            continue
        if role[i] == REQUEST:
            if after[i] >= 0 and role[after[i]] == REQUEST:
                keep[newest[place[i]]] = 1
        elif facts[0, i] != 0:
            back = np.int64(before[i])
            while back >= 0:
                keep[back] = 1
                if role[back] == REQUEST:
                    break
                back = np.int64(before[back])
    for i in range(n):
        if place[i] >= 0 and role[i] == REQUEST:
            if after[i] == _NOBODY:
                keep[i] = 1
            elif keep[i] != 0 and role[after[i]] == RESPONSE:
                keep[after[i]] = 1
