"""The walk that finds messages which say what an earlier one said; kept apart so that only captures load numba."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sensor.base import I64, U8
from sensor.jit_kernel import alike, copied, entry, hashed, inner

I32 = npt.NDArray[np.int32]
U64 = npt.NDArray[np.uint64]
Num = int | np.int64

NEITHER, REQUEST, RESPONSE = 0, 1, 2
M_ROLE, M_KEY, M_PLAIN, M_SIZE, M_VALUES, M_BODY, M_COUNT = 0, 1, 2, 3, 4, 5, 6
SKIM_ROWS = 7
NO_VALUES, BITS, WORDS = 0, 1, 2  # M_VALUES: bits from the lowest of each byte up, 16 bits with the high byte first

# What a message stands for: how many (0: another one counts it), when, and the values of those it is not the first of.
F_COUNT, F_EARLIEST, F_LATEST, F_LOW, F_HIGH = 0, 1, 2, 3, 4
FACT_ROWS = 5
NO_LOW, NO_HIGH = 1 << 62, -(1 << 62)  # no values
_NOBODY, _CARRIED = -1, -2

# A flow and key, its newest message and its newest request: together, for they are looked up together.
T_FLOW, T_KEY, T_LAST, T_NEWEST = 0, 1, 2, 3
SLOT_COLUMNS = 4
# Place of a message's flow and key, the messages of the same before and after it, the request of a response if it is
# the message before it, and the message that stands for its group.
L_PLACE, L_BEFORE, L_AFTER, L_ASKED, L_LEAD = 0, 1, 2, 3, 4
LINK_COLUMNS = 5


@inner
def _range(data: U8, at: Num, count: Num, kind: Num) -> tuple[Num, Num]:
    """Smallest and largest of ``count`` values."""
    low = np.int64(NO_LOW)
    high = np.int64(NO_HIGH)
    if kind == WORDS:
        for i in range(count):
            value = (np.int64(data[at + 2 * i]) << 8) | np.int64(data[at + 2 * i + 1])
            low = min(low, value)
            high = max(high, value)
        return low, high
    for i in range(0, count, 8):
        mask = 255 if count - i >= 8 else (1 << (count - i)) - 1
        byte = np.int64(data[at + (i >> 3)]) & mask
        low = min(low, np.int64(1 if byte == mask else 0))
        high = max(high, np.int64(1 if byte != 0 else 0))
    return low, high


@inner
def _hash(data: U8, start: Num, size: Num, low: int, high: int, seed: np.uint64) -> np.uint64:
    """Hash of the first ``size`` bytes of a message without its bytes ``low`` to ``high - 1``."""
    value = hashed(data, start, min(np.int64(low), size), seed ^ np.uint64(size))
    return hashed(data, start + high, size - high, value) if size > high else value


@inner
def _same(data: U8, one: Num, other: Num, size: Num, low: int, high: int) -> bool:
    """Whether the first ``size`` bytes of two messages are the same but for bytes ``low`` to ``high - 1``."""
    if size > high and not alike(data, one + high, other + high, size - high):
        return False
    return alike(data, one, other, min(np.int64(low), size))


@inner
def _same_request(data: U8, offset: I64, length: I64, links: I32, one: Num, other: Num, low: int, high: int) -> bool:
    if links[one, L_LEAD] >= 0 and links[one, L_LEAD] == links[other, L_LEAD]:
        return True
    return length[one] == length[other] and _same(data, offset[one], offset[other], length[one], low, high)


@inner
def _slot(size: int, one: np.uint64, two: np.uint64) -> Num:
    mixed = (one ^ (two * np.uint64(0x9E3779B97F4A7C15))) * np.uint64(0xFF51AFD7ED558CCD)
    return np.int64((mixed ^ (mixed >> np.uint64(32))) & np.uint64(size - 1))


@inner
def _place(slots: I64, flow: Num, key: Num) -> Num:
    """Where a flow and key are in the table, or belong."""
    at = _slot(len(slots), np.uint64(flow), np.uint64(key))
    while slots[at, T_FLOW] >= 0 and (slots[at, T_FLOW] != flow or slots[at, T_KEY] != key):
        at = (at + 1) & (len(slots) - 1)
    return at


@entry
def pack(data: U8, offset: I64, length: I64, out: U8) -> None:
    """Copy messages one behind the other into ``out``, which is as long as they are together."""
    to = 0
    for i in range(len(offset)):
        copied(data, offset[i], length[i], out, to)
        to += length[i]


@entry
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
    content: U64,
    slots: I64,
    first: I32,
    links: I32,
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
        skim: ``int64[SKIM_ROWS, n]``, see ``sensor.base.Repeat``.
        left: Per flow 1 where every message is decoded, ``int64[flows]``.
        carried_flow: Flows of requests that wait since earlier batches.
        carried_key: Their keys.
        low: First byte that is left out when messages are compared.
        high: First byte that counts again.
        span: Length of the stretches of time within which messages are joined, ns.
        seed: Of the hashes.
        content: Room for a hash of each message, ``uint64[n]``.
        slots: Table of flows and keys, filled with -1, ``int64[size, SLOT_COLUMNS]``; ``size`` a power of two, twice
            the messages and carried requests at least.
        first: Table of the messages that stand for a group, filled with -1, ``int32[size]``.
        links: What a message has to do with others, filled with -1, ``int32[n, LINK_COLUMNS]``.
        keep: Filled in: 1 for messages to decode, ``int64[n]``.
        facts: Filled in: how many messages each stands for (0: another one counts it), earliest and latest time of
            them, smallest and largest value of the others among them, ``int64[FACT_ROWS, n]``.
    """
    n = len(offset)
    role = skim[M_ROLE]
    key = skim[M_KEY]
    size = len(first)
    for c in range(len(carried_flow)):
        at = _place(slots, carried_flow[c], carried_key[c])
        slots[at, T_FLOW] = carried_flow[c]
        slots[at, T_KEY] = carried_key[c]
        slots[at, T_LAST] = _CARRIED
    for i in range(n):
        facts[F_COUNT, i] = 1
        facts[F_EARLIEST, i] = time[i]
        facts[F_LATEST, i] = time[i]
        facts[F_LOW, i] = NO_LOW
        facts[F_HIGH, i] = NO_HIGH
        keep[i] = 1
        if left[flow[i]] != 0:
            continue
        before = np.int64(_NOBODY)
        if role[i] != NEITHER:
            at = _place(slots, flow[i], key[i])
            slots[at, T_FLOW] = flow[i]
            slots[at, T_KEY] = key[i]
            before = slots[at, T_LAST]
            slots[at, T_LAST] = i
            links[i, L_PLACE] = at
            links[i, L_BEFORE] = before
            if role[i] == REQUEST:
                slots[at, T_NEWEST] = i
            if before >= 0:
                links[before, L_AFTER] = i
        if skim[M_PLAIN, i] == 0 or before == _CARRIED:
            continue
        request = np.int64(-1)
        if role[i] == RESPONSE:
            request = before
            if request < 0 or role[request] != REQUEST or skim[M_PLAIN, request] == 0:
                continue
            if skim[M_SIZE, request] != skim[M_SIZE, i]:
                continue
            links[i, L_ASKED] = request
        kind = skim[M_VALUES, i]
        body = length[i] if kind == NO_VALUES else skim[M_BODY, i]  # values may differ: their range is told
        content[i] = _hash(data, offset[i], body, low, high, seed ^ np.uint64(length[i]))
        mixed = content[i]
        if request >= 0:
            mixed ^= content[request] * np.uint64(0xC2B2AE3D27D4EB4F)
        stretch = time[i] // span
        at = _slot(size, mixed, np.uint64(flow[i] * 2 + direction[i]) ^ (np.uint64(stretch) << np.uint64(20)))
        while True:
            other = np.int64(first[at])
            if other < 0:
                first[at] = i
                links[i, L_LEAD] = i
                break
            if (
                content[other] == content[i]
                and flow[other] == flow[i]
                and direction[other] == direction[i]
                and time[other] // span == stretch
                and (links[other, L_ASKED] >= 0) == (request >= 0)
                and length[other] == length[i]
                and skim[M_VALUES, other] == kind
                and skim[M_BODY, other] == skim[M_BODY, i]
                and _same(data, offset[other], offset[i], body, low, high)
                and (
                    request < 0 or _same_request(data, offset, length, links, links[other, L_ASKED], request, low, high)
                )
            ):
                keep[i] = 0
                links[i, L_LEAD] = other
                facts[F_COUNT, other] += facts[F_COUNT, i]
                facts[F_COUNT, i] = 0
                facts[F_EARLIEST, other] = min(facts[F_EARLIEST, other], time[i])
                facts[F_LATEST, other] = max(facts[F_LATEST, other], time[i])
                if kind != NO_VALUES and not alike(data, offset[other] + body, offset[i] + body, length[i] - body):
                    least, most = _range(data, offset[i] + body, skim[M_COUNT, request], kind)
                    facts[F_LOW, other] = min(facts[F_LOW, other], least)
                    facts[F_HIGH, other] = max(facts[F_HIGH, other], most)
                break
            at = (at + 1) & (size - 1)
    # What is decoded has to meet the same partner as it would among all, and to leave the same requests open: the
    # messages of a response's key back to its request, the first answer of a request, and instead of a request that
    # a later one took the number of, the last of them.
    for i in range(n):
        if keep[i] == 0 or links[i, L_PLACE] < 0:
            continue
        after = np.int64(links[i, L_AFTER])
        if role[i] == REQUEST:
            if after >= 0 and role[after] == REQUEST:
                keep[slots[links[i, L_PLACE], T_NEWEST]] = 1
        elif facts[F_COUNT, i] != 0:
            back = np.int64(links[i, L_BEFORE])
            while back >= 0:
                keep[back] = 1
                if role[back] == REQUEST:
                    break
                back = np.int64(links[back, L_BEFORE])
    for i in range(n):
        if links[i, L_PLACE] >= 0 and role[i] == REQUEST:
            after = np.int64(links[i, L_AFTER])
            if after == _NOBODY:
                keep[i] = 1
            elif keep[i] != 0 and role[after] == RESPONSE:
                keep[after] = 1
