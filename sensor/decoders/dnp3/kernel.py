"""Bytes to columns: link frames, then application fragments.

Both kernels call nothing but what is in this file (numba's cache does not see edits elsewhere; the layout tables
come in as arguments).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from sensor.base import I64, U8
from sensor.jit_kernel import entry, inner

F64 = npt.NDArray[np.float64]
F32 = npt.NDArray[np.float32]

MAX_POINTS = 256  # listed a message; all are checked
MAX_HEADERS = 64  # listed a message; all are checked
_READ, _WRITE = 1, 2
_FREEZE_AT_TIME, _FREEZE_AT_TIME_NR = 11, 12

# Rows of the link table.
(L_ERROR, L_CONTROL, L_DESTINATION, L_SOURCE, L_START, L_LENGTH, L_BAD_CRC) = range(7)
LINK_ROWS = 7

# Rows of the application table.
(
    A_ERROR,
    A_CONTROL,
    A_FUNCTION,
    A_IIN,
    A_OBJECTS,
    A_LOW,
    A_HIGH,
    A_TIME,
    A_HEADERS,
    A_POINTS,
    A_CONTROLS,
    A_DEEP,
    A_ERROR_AT,
) = range(13)
APP_ROWS = 13

(
    OK,
    E_SHORT,
    E_START,
    E_LENGTH,
    E_CUT,
    E_TRAILING,
    E_HEADER_CRC,
    E_DATA_CRC,
    E_LINK_FUNCTION,
    E_LINK_DATA,
    E_NO_TRANSPORT,
    E_APP_SHORT,
    E_FUNCTION,
    E_OBJECT_HEADER,
    E_QUALIFIER,
    E_RANGE,
    E_UNKNOWN_OBJECT,
    E_OBJECT_SHORT,
    E_INCOMPLETE,
    E_ORPHAN,
    E_SEQUENCE,
    E_TOO_LONG,
    E_EVICTED,
) = range(23)


def _crc_table() -> npt.NDArray[np.int64]:
    table = np.zeros(256, np.int64)
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = (value >> 1) ^ 0xA6BC if value & 1 else value >> 1  # x16+x13+x12+x11+x10+x8+x6+x5+x2+1, mirrored
        table[byte] = value
    return table


CRC_TABLE = _crc_table()


@inner
def crc_is_good(data: U8, start: Any, length: Any, table: I64) -> bool:
    """Whether the two octets after ``length`` octets are their CRC-16/DNP (9.2.4.3)."""
    value = np.int64(0)
    for at in range(start, start + length):
        value = (value >> 8) ^ table[(value ^ np.int64(data[at])) & 255]
    value = value ^ 0xFFFF
    return bool(np.int64(data[start + length]) == (value & 255) and np.int64(data[start + length + 1]) == (value >> 8))


@entry
def link_frames(data: U8, offset: I64, length: I64, table: I64, user: U8, out: I64) -> None:
    """Check link frames and strip their CRCs (9.2.4).

    Args:
        data: All bytes.
        offset: Start of each frame.
        length: Octets of each frame that are there.
        table: ``CRC_TABLE``.
        user: Takes the user data of all frames; as long as ``data`` is enough.
        out: ``LINK_ROWS`` by frames.
    """
    used = np.int64(0)
    for i in range(len(offset)):
        start = offset[i]
        have = length[i]
        out[L_START, i] = used
        out[L_LENGTH, i] = 0
        out[L_CONTROL, i] = -1
        out[L_BAD_CRC, i] = 0
        out[L_ERROR, i] = OK
        if have < 10:
            out[L_ERROR, i] = E_SHORT
            continue
        if data[start] != 0x05 or data[start + 1] != 0x64:
            out[L_ERROR, i] = E_START
            continue
        says = np.int64(data[start + 2])
        control = np.int64(data[start + 3])
        out[L_CONTROL, i] = control
        out[L_DESTINATION, i] = np.int64(data[start + 4]) | (np.int64(data[start + 5]) << 8)
        out[L_SOURCE, i] = np.int64(data[start + 6]) | (np.int64(data[start + 7]) << 8)
        error = np.int64(OK)
        if not crc_is_good(data, start, 8, table):
            error = np.int64(E_HEADER_CRC)
            out[L_BAD_CRC, i] += 1
        if says < 5:
            out[L_ERROR, i] = E_LENGTH
            continue
        left = says - 5
        pos = start + 10
        end = start + have
        while left > 0:
            chunk: Any = min(left, 16)
            if pos + chunk + 2 > end:
                if error == OK:
                    error = np.int64(E_CUT)
                chunk = min(chunk, max(end - pos, 0))
                for k in range(chunk):
                    user[used + k] = data[pos + k]
                used += chunk
                pos = end
                break
            if not crc_is_good(data, pos, chunk, table):
                out[L_BAD_CRC, i] += 1
                if error == OK:
                    error = np.int64(E_DATA_CRC)
            for k in range(chunk):
                user[used + k] = data[pos + k]
            used += chunk
            pos += chunk + 2
            left -= chunk
        out[L_LENGTH, i] = used - out[L_START, i]
        code = control & 15
        if error == OK:
            if pos < end:
                error = np.int64(E_TRAILING)
            elif control & 0x40:
                if code == 3 or code == 4:
                    if out[L_LENGTH, i] == 0:
                        error = np.int64(E_NO_TRANSPORT)
                elif code > 2 and code != 9:
                    error = np.int64(E_LINK_FUNCTION)
                elif out[L_LENGTH, i] > 0:
                    error = np.int64(E_LINK_DATA)
            elif code > 1 and code != 11 and code != 14 and code != 15:
                error = np.int64(E_LINK_FUNCTION)
            elif out[L_LENGTH, i] > 0:
                error = np.int64(E_LINK_DATA)
        out[L_ERROR, i] = error


@inner
def _unsigned(data: U8, at: Any, octets: Any) -> Any:
    value = np.int64(0)
    for k in range(octets):
        value |= np.int64(data[at + k]) << (8 * k)
    return value


@inner
def _signed(data: U8, at: Any, octets: Any) -> Any:
    value = _unsigned(data, at, octets)
    if value >= np.int64(1) << (8 * octets - 1):
        value -= np.int64(1) << (8 * octets)
    return value


@inner
def _float(data: U8, at: Any, octets: Any, scratch: U8, narrow: F32, wide: F64) -> float:
    for k in range(octets):
        scratch[k] = data[at + k]
    if octets == 4:
        return float(narrow[0])
    return float(wide[0])


@entry
def fragments(
    data: U8,
    start: I64,
    length: I64,
    first: int,
    layout: I64,
    size: I64,
    quality: I64,
    scratch: U8,
    out: I64,
    ranges: F64,
    headers: I64,
    index: I64,
    value: F64,
    flags: I64,
    control: I64,
    used: I64,
) -> int:
    """Decode application fragments (4.2, 11, annex A).

    Args:
        data: Bytes of all fragments.
        start: Where each begins.
        length: Octets of each.
        first: First fragment to decode in this call.
        layout: Layout by object.
        size: Octets by object.
        quality: Kind of flags by group.
        scratch: Eight octets.
        out: ``APP_ROWS`` by fragments; ``A_HEADERS``, ``A_POINTS``, ``A_CONTROLS`` are counts of what was listed.
        ranges: Two rows by fragments: smallest and largest value.
        headers: Takes ``group * 256 + variation`` of the object headers.
        index: Takes indexes of points, -1 where a point has none.
        value: Takes values of points, NaN where a point has none.
        flags: Takes ``kind * 256 + flags`` of points, -1 where a point has none.
        control: Five rows: code, count, on time, off time, status; -1 for none.
        used: Entries of ``headers``, ``index`` and ``control`` that are filled; kept up to date.

    Returns:
        Fragments decoded so far; fewer than there are if the lists have no room for another one.
    """
    narrow = scratch[:4].view(np.float32)
    wide = scratch.view(np.float64)
    for i in range(first, len(start)):
        if (
            len(headers) - used[0] < MAX_HEADERS
            or len(index) - used[1] < MAX_POINTS
            or control.shape[1] - used[2] < MAX_POINTS
        ):
            return i
        pos = start[i]
        end = pos + length[i]
        h0, p0, c0 = used[0], used[1], used[2]
        h, p, c = h0, p0, c0
        out[A_ERROR, i] = OK
        out[A_IIN, i] = -1
        out[A_OBJECTS, i] = -1
        out[A_LOW, i] = -1
        out[A_HIGH, i] = -1
        out[A_TIME, i] = -1
        out[A_DEEP, i] = 0
        out[A_CONTROL, i] = -1
        out[A_FUNCTION, i] = -1
        out[A_ERROR_AT, i] = 0
        low = np.inf
        high = -np.inf
        error = np.int64(OK)
        function = np.int64(-1)
        if length[i] < 2:
            error = np.int64(E_APP_SHORT)
            if length[i] == 1:
                out[A_CONTROL, i] = np.int64(data[pos])
            pos = end
        else:
            out[A_CONTROL, i] = np.int64(data[pos])
            function = np.int64(data[pos + 1])
            out[A_FUNCTION, i] = function
            pos += 2
            if function == 129 or function == 130 or function == 131:
                if end - pos < 2:
                    error = np.int64(E_APP_SHORT)
                    pos = end
                else:
                    out[A_IIN, i] = (np.int64(data[pos]) << 8) | np.int64(data[pos + 1])
                    pos += 2
            elif function > 33:
                error = np.int64(E_FUNCTION)
                pos = end
        response = function >= 129
        while pos < end:
            if end - pos < 3:
                error = np.int64(E_OBJECT_HEADER)
                break
            group = np.int64(data[pos])
            gv = group * 256 + np.int64(data[pos + 1])
            qualifier = np.int64(data[pos + 2])
            if h - h0 < MAX_HEADERS:
                headers[h] = gv
                h += 1
            if out[A_DEEP, i] == 0 and (group == 70 or group == 120 or (group == 0 and response)):
                out[A_DEEP, i] = pos - start[i]  # at least 2
            prefix = (qualifier >> 4) & 7
            code = qualifier & 15
            if qualifier & 0x80 or prefix == 7 or code == 10 or code > 11:
                error = np.int64(E_QUALIFIER)
                break
            pos += 3
            base = np.int64(-1)
            count = np.int64(0)
            if code < 6:
                octets = np.int64(1) << (code % 3)
                if end - pos < 2 * octets:
                    error = np.int64(E_OBJECT_HEADER)
                    break
                base = _unsigned(data, pos, octets)
                stop = _unsigned(data, pos + octets, octets)
                pos += 2 * octets
                if stop < base:
                    error = np.int64(E_RANGE)
                    break
                count = stop - base + 1
                if out[A_LOW, i] < 0 or base < out[A_LOW, i]:
                    out[A_LOW, i] = base
                if stop > out[A_HIGH, i]:
                    out[A_HIGH, i] = stop
            elif code > 6:
                octets = np.int64(1) if code == 11 else np.int64(1) << (code - 7)
                if end - pos < octets:
                    error = np.int64(E_OBJECT_HEADER)
                    break
                count = _unsigned(data, pos, octets)
                pos += octets
            if code != 6:
                out[A_OBJECTS, i] = max(out[A_OBJECTS, i], np.int64(0)) + count
            kind = layout[gv]
            carries = (
                response
                or (function >= _WRITE and function < 7)
                or function >= 25
                or ((function in (_FREEZE_AT_TIME, _FREEZE_AT_TIME_NR)) and group == 50)
            )
            if prefix >= 4:
                octets = np.int64(1) << (prefix - 4)
                for _ in range(count):
                    if end - pos < octets:
                        error = np.int64(E_OBJECT_SHORT)
                        break
                    body = _unsigned(data, pos, octets)
                    pos += octets
                    if end - pos < body:
                        error = np.int64(E_OBJECT_SHORT)
                        pos = end
                        break
                    pos += body
                if error != OK:
                    break
                continue
            octets = np.int64(0) if prefix == 0 else np.int64(1) << (prefix - 1)
            if not carries or code == 6 or kind == 43:  # K_EMPTY
                if octets:  # indexes alone: read this and that point
                    for _ in range(count):
                        if end - pos < octets:
                            error = np.int64(E_OBJECT_SHORT)
                            break
                        point = _unsigned(data, pos, octets)
                        pos += octets
                        if out[A_LOW, i] < 0 or point < out[A_LOW, i]:
                            out[A_LOW, i] = point
                        if point > out[A_HIGH, i]:
                            out[A_HIGH, i] = point
                        if p - p0 < MAX_POINTS:
                            index[p] = point
                            value[p] = np.nan
                            flags[p] = -1
                            p += 1
                    if error != OK:
                        break
                continue
            if kind < 0 or kind == 44:  # K_SIZED without a size
                error = np.int64(E_UNKNOWN_OBJECT)
                break
            if (kind == 1 or kind == 2) and octets == 0:
                bits = kind
                total = (count * bits + 7) >> 3
                there = min(count, ((end - pos) * 8) // bits)
                for k in range(min(there, MAX_POINTS - (p - p0))):
                    bit = k * bits
                    state = (np.int64(data[pos + (bit >> 3)]) >> (bit & 7)) & (3 if bits == 2 else 1)
                    index[p] = base + k if base >= 0 else -1
                    value[p] = float(state)
                    flags[p] = -1
                    low = min(low, float(state))
                    high = max(high, float(state))
                    p += 1
                if total > end - pos:
                    error = np.int64(E_OBJECT_SHORT)
                    break
                pos += total
                continue
            step = size[gv]
            if kind == 1 or kind == 2:
                step = np.int64(1)  # a prefixed bit has an octet of its own
            for k in range(count):
                if end - pos < octets:
                    error = np.int64(E_OBJECT_SHORT)
                    break
                point = base + k if base >= 0 else np.int64(-1)
                if octets:
                    point = _unsigned(data, pos, octets)
                    pos += octets
                    if out[A_LOW, i] < 0 or point < out[A_LOW, i]:
                        out[A_LOW, i] = point
                    if point > out[A_HIGH, i]:
                        out[A_HIGH, i] = point
                if kind == 42:  # K_ATTRIBUTE
                    if end - pos < 2:
                        error = np.int64(E_OBJECT_SHORT)
                        break
                    step = np.int64(2) + np.int64(data[pos + 1])
                if end - pos < step:
                    error = np.int64(E_OBJECT_SHORT)
                    break
                at = pos
                pos += step
                if kind == 0 or kind == 42:
                    continue
                if kind == 30:
                    if out[A_TIME, i] < 0:
                        out[A_TIME, i] = _unsigned(data, at, 6)
                    continue
                number = np.nan
                mark = np.int64(-1)
                status = np.int64(-1)
                if kind == 3:
                    mark = np.int64(data[at])
                    number = float(mark >> 7)
                elif kind == 4:
                    mark = np.int64(data[at])
                    number = float(mark >> 6)
                elif kind == 1 or kind == 2:
                    number = float(np.int64(data[at]) & (3 if kind == 2 else 1))
                elif kind == 5:
                    mark = np.int64(data[at])
                    number = float(_signed(data, at + 1, 4))
                elif kind == 6:
                    mark = np.int64(data[at])
                    number = float(_signed(data, at + 1, 2))
                elif kind == 7:
                    number = float(_signed(data, at, 4))
                elif kind == 8:
                    number = float(_signed(data, at, 2))
                elif kind == 9:
                    mark = np.int64(data[at])
                    number = float(_unsigned(data, at + 1, 4))
                elif kind == 10:
                    mark = np.int64(data[at])
                    number = float(_unsigned(data, at + 1, 2))
                elif kind == 11:
                    number = float(_unsigned(data, at, 4))
                elif kind == 12:
                    number = float(_unsigned(data, at, 2))
                elif kind == 13:
                    mark = np.int64(data[at])
                    number = _float(data, at + 1, 4, scratch, narrow, wide)
                elif kind == 14:
                    mark = np.int64(data[at])
                    number = _float(data, at + 1, 8, scratch, narrow, wide)
                elif kind == 15:
                    number = _float(data, at, 4, scratch, narrow, wide)
                elif kind == 20:
                    status = np.int64(data[at + 10]) & 127
                elif kind == 21:
                    number = float(_signed(data, at, 4))
                    status = np.int64(data[at + 4]) & 127
                elif kind == 22:
                    number = float(_signed(data, at, 2))
                    status = np.int64(data[at + 2]) & 127
                elif kind == 23:
                    number = _float(data, at, 4, scratch, narrow, wide)
                    status = np.int64(data[at + 4]) & 127
                elif kind == 24:
                    number = _float(data, at, 8, scratch, narrow, wide)
                    status = np.int64(data[at + 8]) & 127
                elif kind == 31:
                    number = 1000.0 * float(_unsigned(data, at, 2))
                elif kind == 32:
                    number = float(_unsigned(data, at, 2))
                elif kind == 33:
                    number = float(np.int64(data[at]) >> 7)
                    status = np.int64(data[at]) & 127
                elif kind == 34:
                    number = float(_signed(data, at + 1, 4))
                    status = np.int64(data[at]) & 127
                elif kind == 35:
                    number = float(_signed(data, at + 1, 2))
                    status = np.int64(data[at]) & 127
                elif kind == 36:
                    number = _float(data, at + 1, 4, scratch, narrow, wide)
                    status = np.int64(data[at]) & 127
                elif kind == 37:
                    number = _float(data, at + 1, 8, scratch, narrow, wide)
                    status = np.int64(data[at]) & 127
                elif kind == 41:
                    number = float(np.int64(data[at]))
                if number == number:
                    low = min(low, number)
                    high = max(high, number)
                if status >= 0 and c - c0 < MAX_POINTS:
                    control[0, c] = np.int64(data[at]) if kind == 20 else -1
                    control[1, c] = np.int64(data[at + 1]) if kind == 20 else -1
                    control[2, c] = _unsigned(data, at + 2, 4) if kind == 20 else -1
                    control[3, c] = _unsigned(data, at + 6, 4) if kind == 20 else -1
                    control[4, c] = status if response else -1
                    c += 1
                if p - p0 < MAX_POINTS:
                    index[p] = point
                    value[p] = number
                    flags[p] = quality[group] * 256 + mark if mark >= 0 else -1
                    p += 1
            if error != OK:
                break
        if error != OK:
            out[A_ERROR_AT, i] = pos - start[i]
        out[A_ERROR, i] = error
        ranges[0, i] = low
        ranges[1, i] = high
        out[A_HEADERS, i] = h - h0
        out[A_POINTS, i] = p - p0
        out[A_CONTROLS, i] = c - c0
        used[0], used[1], used[2] = h, p, c
    return len(start)
