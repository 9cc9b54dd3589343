"""Messages to columns, names and common data to text (RFC 1035, 4). All kernels are in this file (numba's cache)."""

from __future__ import annotations

from typing import Any

import numpy as np

from sensor.base import I64, U8
from sensor.jit_kernel import entry, inner

MAX_ANSWERS = 64  # listed a message; all are checked
MAX_JUMPS = 32  # compression pointers followed in one name; real names need one or two
_MAX_NAME = 1020  # octets of text: 255, each escaped as \DDD
_MAX_TEXT = 1024  # octets of text shown of one TXT record
ROOM = 1100 + MAX_ANSWERS * 2200
"""Octets of text that one message may need."""

(
    N_ERROR,
    N_ID,
    N_FLAGS,
    N_QUESTIONS,
    N_ANSWERS,
    N_AUTHORITY,
    N_ADDITIONAL,
    N_NAME,
    N_NAME_LENGTH,
    N_TYPE,
    N_CLASS,
    N_LISTED,
    N_ADDRESSES,
    N_EXTENDED,
    N_ERROR_AT,
) = range(15)
MESSAGE_ROWS = 15

(R_TYPE, R_TTL, R_TEXT, R_TEXT_LENGTH, R_START, R_LENGTH, R_MESSAGE) = range(7)
RECORD_ROWS = 7

(
    OK,
    E_SHORT,
    E_NAME_CUT,
    E_POINTER,
    E_CHAIN,
    E_LABEL,
    E_NAME_LONG,
    E_QUESTION,
    E_RECORD,
    E_DATA,
    E_TRAILING,
) = range(11)


@inner
def _u16(data: U8, at: Any) -> Any:
    return (np.int64(data[at]) << 8) | np.int64(data[at + 1])


@inner
def _u32(data: U8, at: Any) -> Any:
    return (_u16(data, at) << 16) | _u16(data, at + 2)


@inner
def _number(text: U8, at: Any, value: Any) -> Any:
    """Write a number in decimal; returns where it ends."""
    digits = np.int64(1)
    left = value
    while left >= 10:
        left //= 10
        digits += 1
    end = at + digits
    left = value
    for k in range(digits):
        text[end - 1 - k] = 48 + left % 10
        left //= 10
    return end


@inner
def _escaped(text: U8, at: Any, c: Any, quoted: Any) -> Any:
    """Write an octet as zone files do (RFC 1035, 5.1); returns where it ends."""
    if c < 33 or c > 126:
        if c == 32 and quoted:
            text[at] = 32
            return at + 1
        text[at] = 92
        text[at + 1] = 48 + c // 100
        text[at + 2] = 48 + c // 10 % 10
        text[at + 3] = 48 + c % 10
        return at + 4
    if c == 92 or (c == 46 and not quoted) or (c == 34 and quoted):
        text[at] = 92
        at += 1
    text[at] = c
    return at + 1


@inner
def _name(data: U8, start: Any, end: Any, pos: Any, text: U8, at: Any, state: I64) -> Any:
    """Write a name as text (4.1.4).

    A pointer must go backwards from where its own part of the name began, so a loop is impossible.

    Args:
        data: All bytes.
        start: Where the message begins.
        end: Where it ends.
        pos: Where the name begins.
        text: Takes the name.
        at: Where to write.
        state: Takes where the name ends in the message, and an error.

    Returns:
        Where the text ends.
    """
    state[0] = end
    state[1] = OK
    begin = at
    part = pos
    octets = np.int64(1)
    jumps = np.int64(0)
    while True:
        if pos >= end:
            state[1] = E_NAME_CUT
            return at
        size = np.int64(data[pos])
        if size == 0:
            if jumps == 0:
                state[0] = pos + 1
            if at == begin:
                text[at] = 46
                return at + 1
            return at
        if size >= 192:
            if pos + 2 > end:
                state[1] = E_NAME_CUT
                return at
            target = start + (_u16(data, pos) & 0x3FFF)
            if jumps == 0:
                state[0] = pos + 2
            if target >= part:
                state[1] = E_POINTER
                return at
            jumps += 1
            if jumps > MAX_JUMPS:
                state[1] = E_CHAIN
                return at
            pos = target
            part = target
            continue
        if size >= 64:
            state[1] = E_LABEL
            return at
        octets += 1 + size
        if octets > 255:
            state[1] = E_NAME_LONG
            return at
        if pos + 1 + size > end:
            state[1] = E_NAME_CUT
            return at
        if at != begin:
            text[at] = 46
            at += 1
        for k in range(size):
            at = _escaped(text, at, np.int64(data[pos + 1 + k]), False)
        pos += 1 + size


@inner
def _skip(data: U8, start: Any, end: Any, pos: Any) -> Any:
    """Where a name ends in the message; -1 if it does not, -2 for a reserved label, -3 for a pointer ahead."""
    begin = pos
    while pos < end:
        size = np.int64(data[pos])
        if size == 0:
            return pos + 1
        if size >= 192:
            if pos + 2 > end:
                return np.int64(-1)
            return pos + 2 if start + (_u16(data, pos) & 0x3FFF) < begin else np.int64(-3)
        if size >= 64:
            return np.int64(-2)
        pos += 1 + size
    return np.int64(-1)


@inner
def _ipv4(data: U8, pos: Any, text: U8, at: Any) -> Any:
    for k in range(4):
        if k:
            text[at] = 46
            at += 1
        at = _number(text, at, np.int64(data[pos + k]))
    return at


@inner
def _hex_digit(value: Any) -> Any:
    return 48 + value if value < 10 else 87 + value


@inner
def _ipv6(data: U8, pos: Any, text: U8, at: Any) -> Any:
    """Write an address in its canonical form (RFC 5952, 4)."""
    mapped = data[pos + 10] == 255 and data[pos + 11] == 255
    for k in range(10):
        if data[pos + k] != 0:
            mapped = False
    if mapped:
        for c in (58, 58, 102, 102, 102, 102, 58):
            text[at] = c
            at += 1
        return _ipv4(data, pos + 12, text, at)
    best = np.int64(-1)
    longest = np.int64(1)
    run = np.int64(0)
    for k in range(8):
        if _u16(data, pos + 2 * k) == 0:
            run += 1
            if run > longest:
                longest = run
                best = np.int64(k) - run + 1
        else:
            run = np.int64(0)
    group_at: Any = 0
    while group_at < 8:
        if group_at == best:
            text[at] = 58
            text[at + 1] = 58
            at += 2
            group_at += longest
            continue
        if group_at > 0 and (best < 0 or group_at != best + longest):
            text[at] = 58
            at += 1
        group = _u16(data, pos + 2 * group_at)
        shown = False
        for nibble in range(4):
            value = (group >> (12 - 4 * nibble)) & 15
            if value or shown or nibble == 3:
                text[at] = _hex_digit(value)
                at += 1
                shown = True
        group_at += 1
    return at


@inner
def _data(data: U8, start: Any, end: Any, kind: Any, pos: Any, size: Any, text: U8, at: Any, state: I64) -> Any:
    """Write the data of a record; -1 for a type that is written elsewhere. ``state[1]`` takes an error."""
    state[1] = OK
    stop = pos + size
    if size == 0:
        return at
    if kind == 1:
        if size != 4:
            state[1] = E_DATA
            return at
        return _ipv4(data, pos, text, at)
    if kind == 28:
        if size != 16:
            state[1] = E_DATA
            return at
        return _ipv6(data, pos, text, at)
    if kind == 2 or kind == 5 or kind == 12 or kind == 39:
        at = _name(data, start, end, pos, text, at, state)
        if state[1] == OK and state[0] != stop:
            state[1] = E_DATA
        return at
    if kind == 15:
        if size < 3:
            state[1] = E_DATA
            return at
        at = _number(text, at, _u16(data, pos))
        text[at] = 32
        at = _name(data, start, end, pos + 2, text, at + 1, state)
        if state[1] == OK and state[0] != stop:
            state[1] = E_DATA
        return at
    if kind == 33:
        if size < 7:
            state[1] = E_DATA
            return at
        for k in range(3):
            at = _number(text, at, _u16(data, pos + 2 * k))
            text[at] = 32
            at += 1
        at = _name(data, start, end, pos + 6, text, at, state)
        if state[1] == OK and state[0] != stop:
            state[1] = E_DATA
        return at
    if kind == 6:
        at = _name(data, start, end, pos, text, at, state)
        if state[1] != OK:
            return at
        text[at] = 32
        at = _name(data, start, end, state[0], text, at + 1, state)
        if state[1] != OK:
            return at
        if state[0] + 20 != stop:
            state[1] = E_DATA
            return at
        for k in range(5):
            text[at] = 32
            at = _number(text, at + 1, _u32(data, state[0] + 4 * k))
        return at
    if kind == 16 or kind == 99:
        begin = at
        while pos < stop:
            piece = np.int64(data[pos])
            pos += 1
            if pos + piece > stop:
                state[1] = E_DATA
                return at
            if at - begin < _MAX_TEXT:
                if at > begin:
                    text[at] = 32
                    at += 1
                text[at] = 34
                at += 1
                for k in range(piece):
                    if at - begin >= _MAX_TEXT:
                        break
                    at = _escaped(text, at, np.int64(data[pos + k]), True)
                text[at] = 34
                at += 1
            pos += piece
        return at
    return np.int64(-1)


@entry
def messages(
    data: U8, offset: I64, length: I64, first: int, out: I64, records: I64, text: U8, used: I64, state: I64
) -> int:
    """Decode messages.

    Args:
        data: All bytes.
        offset: Start of each message.
        length: Octets of each.
        first: First message to decode in this call.
        out: ``MESSAGE_ROWS`` by messages.
        records: ``RECORD_ROWS`` by room: answers; ``R_TEXT_LENGTH`` -1 where the text is to be made elsewhere.
        text: Takes names and data as ASCII.
        used: Entries of ``records`` and octets of ``text`` that are filled; kept up to date.
        state: Room for two numbers.

    Returns:
        Messages decoded so far; fewer than there are if there is no room for another one.
    """
    for i in range(first, len(offset)):
        if records.shape[1] - used[0] < MAX_ANSWERS or len(text) - used[1] < ROOM:
            return i
        start = offset[i]
        end = start + length[i]
        for row in range(MESSAGE_ROWS):
            out[row, i] = -1
        out[N_ERROR, i] = OK
        out[N_LISTED, i] = 0
        out[N_ADDRESSES, i] = 0
        out[N_ERROR_AT, i] = 0
        if length[i] < 12:
            out[N_ERROR, i] = E_SHORT
            if length[i] >= 4:
                out[N_ID, i] = _u16(data, start)
                out[N_FLAGS, i] = _u16(data, start + 2)
            continue
        out[N_ID, i] = _u16(data, start)
        out[N_FLAGS, i] = _u16(data, start + 2)
        for k in range(4):
            out[N_QUESTIONS + k, i] = _u16(data, start + 4 + 2 * k)
        pos = start + 12
        at = used[1]
        n = used[0]
        error = np.int64(OK)
        for k in range(out[N_QUESTIONS, i]):
            if k == 0:
                after = _name(data, start, end, pos, text, at, state)
                error = state[1]
                if error == OK:
                    out[N_NAME, i] = at
                    out[N_NAME_LENGTH, i] = after - at
                    at = after
                    pos = state[0]
            else:
                following = _skip(data, start, end, pos)
                if following == -1:
                    error = np.int64(E_QUESTION)
                elif following < 0:
                    error = np.int64(E_LABEL) if following == -2 else np.int64(E_POINTER)
                else:
                    pos = following
            if error == OK and end - pos < 4:
                error = np.int64(E_QUESTION)
            if error != OK:
                break
            if k == 0:
                out[N_TYPE, i] = _u16(data, pos)
                out[N_CLASS, i] = _u16(data, pos + 2)
            pos += 4
        answers = out[N_ANSWERS, i]
        total = answers + out[N_AUTHORITY, i] + out[N_ADDITIONAL, i]
        if error == OK:
            for k in range(total):
                following = _skip(data, start, end, pos)
                if following == -1:
                    error = np.int64(E_RECORD)
                    break
                if following < 0:
                    error = np.int64(E_LABEL) if following == -2 else np.int64(E_POINTER)
                    break
                if end - following < 10:
                    error = np.int64(E_RECORD)
                    break
                pos = following
                kind = _u16(data, pos)
                ttl = _u32(data, pos + 4)
                size = _u16(data, pos + 8)
                pos += 10
                if end - pos < size:
                    error = np.int64(E_RECORD)
                    break
                if kind == 41 and k >= answers:
                    out[N_EXTENDED, i] = ttl
                if k < answers and n - used[0] < MAX_ANSWERS:
                    after = _data(data, start, end, kind, pos, size, text, at, state)
                    if state[1] != OK:
                        if error == OK:
                            error = np.int64(E_DATA)
                            out[N_ERROR_AT, i] = pos - start
                        after = np.int64(-1)
                    records[R_TYPE, n] = kind
                    records[R_TTL, n] = ttl
                    records[R_TEXT, n] = at
                    records[R_TEXT_LENGTH, n] = after - at if after >= 0 else -1
                    records[R_START, n] = pos
                    records[R_LENGTH, n] = size
                    records[R_MESSAGE, n] = i
                    if after >= 0:
                        if (kind == 1 or kind == 28) and size:
                            out[N_ADDRESSES, i] += 1
                        at = after
                    n += 1
                pos += size
        if error == OK and pos < end:
            error = np.int64(E_TRAILING)
        if error != OK and out[N_ERROR_AT, i] == 0:
            out[N_ERROR_AT, i] = pos - start
        out[N_ERROR, i] = error
        out[N_LISTED, i] = n - used[0]
        used[0] = n
        used[1] = at
    return len(offset)
