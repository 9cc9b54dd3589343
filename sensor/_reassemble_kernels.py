"""Joins the parts of messages that lie whole in one batch; kept apart so that only captures load numba."""

from __future__ import annotations

from sensor.base import I64, U8
from sensor.jit_kernel import copied, entry


@entry
def join(
    data: U8, key: I64, first: I64, last: I64, sequence: I64, start: I64, length: I64, modulus: int, limit: int,
    odd: I64, work: I64, made: I64, out: U8,
) -> int:  # fmt: skip
    """Join the parts of every key that has nothing but whole messages.

    Args:
        data: Bytes of all parts.
        key: What a part belongs to, from 0 up, ``int64[n]``.
        first: 1 where a part begins a message, 0 where it goes on, -1 where only the part before can tell.
        last: 1 where a part ends a message.
        sequence: Number of the part, -1 where parts are not numbered.
        start: Where the part begins in ``data``.
        length: Bytes of the part.
        modulus: Of the numbers.
        limit: Bytes a message may have.
        odd: Per key 1 where the parts are not joined here; keys with an open message have it before the call.
        work: Room for two numbers per key, ``int64[2, keys]``.
        made: Filled in: part that ended the message, its place in ``out`` and its bytes, ``int64[3, n]``.
        out: Filled with the messages; as long as all parts together.

    Returns:
        Number of messages.
    """
    keys = len(odd)
    size = work[0]  # bytes so far of the open message; -1 where none is open
    number = work[1]
    for k in range(keys):
        size[k] = -1
    for i in range(len(key)):
        k = key[i]
        if odd[k] != 0:
            continue
        if size[k] < 0:
            if first[i] == 0:
                odd[k] = 1
                continue
            size[k] = 0
        elif first[i] == 1 or (sequence[i] >= 0 and sequence[i] != (number[k] + 1) % modulus):
            odd[k] = 1
            continue
        size[k] += length[i]
        number[k] = sequence[i]
        if size[k] > limit:
            odd[k] = 1
        elif last[i] != 0:
            size[k] = -1
    for k in range(keys):
        if size[k] >= 0:
            odd[k] = 1
    # Parts of different keys lie mixed: the messages' places first, then their bytes.
    total = work[0]
    place = work[1]
    for k in range(keys):
        total[k] = 0
        place[k] = 0
    count = 0
    to = 0
    for i in range(len(key)):
        k = key[i]
        if odd[k] != 0:
            continue
        total[k] += length[i]
        if last[i] != 0:
            made[0, count] = i
            made[1, count] = to
            made[2, count] = total[k]
            to += total[k]
            total[k] = 0
            count += 1
    at = count
    for i in range(len(key) - 1, -1, -1):  # backwards: a part that ends a message says where its bytes end
        k = key[i]
        if odd[k] != 0:
            continue
        if last[i] != 0:
            at -= 1
            place[k] = made[1, at] + made[2, at]
        place[k] -= length[i]
        copied(data, start[i], length[i], out, place[k])
    return count
