"""Bytes to columns: TPKT and COTP headers, then S7comm messages. All kernels are in this file (numba's cache)."""

from __future__ import annotations

from typing import Any

import numpy as np

from sensor.base import I64, U8
from sensor.jit_kernel import entry, inner

MAX_ITEMS = 64  # listed a message; all are checked

(T_ERROR, T_TYPE, T_LAST, T_START, T_LENGTH) = range(5)
COTP_ROWS = 5

(
    S_ERROR,
    S_PROTOCOL,
    S_ROSCTR,
    S_REFERENCE,
    S_FUNCTION,
    S_PARAMETER,
    S_PARAMETER_LENGTH,
    S_DATA,
    S_DATA_LENGTH,
    S_ERROR_WORD,
    S_ITEMS,
    S_ITEMS_LISTED,
    S_DATA_LISTED,
    S_TYPE,
    S_GROUP,
    S_SUB,
    S_METHOD,
    S_VALUE,
    S_FAILED,
    S_VERSION,
    S_OPCODE,
    S_PLUS,
    S_BAD,
) = range(23)
S7_ROWS = 23

# Rows of the item list.
(I_AREA, I_DB, I_ADDRESS, I_TRANSPORT, I_COUNT, I_START, I_LENGTH) = range(7)
ITEM_ROWS = 7
# Rows of the data list.
(D_CODE, D_START, D_LENGTH) = range(3)
DATA_ROWS = 3

(
    OK,
    E_SHORT,
    E_VERSION,
    E_LENGTH,
    E_CUT,
    E_TRAILING,
    E_COTP,
    E_COTP_TYPE,
    E_HEADER,
    E_ROSCTR,
    E_LENGTHS,
    E_PARAMETER,
    E_ITEM,
    E_DATA,
    E_USERDATA,
    E_PLUS,
    E_INCOMPLETE,
    E_TOO_LONG,
    E_EVICTED,
) = range(19)

P_EMPTY, P_S7, P_PLUS, P_SESSION, P_OTHER = 0, 1, 2, 3, 4


@entry
def packets(data: U8, offset: I64, length: I64, out: I64) -> None:
    """Read TPKT (RFC 1006, 6) and the fixed part of COTP (RFC 905, 13).

    Args:
        data: All bytes.
        offset: Start of each packet.
        length: Octets of each that are there.
        out: ``COTP_ROWS`` by packets.
    """
    for i in range(len(offset)):
        start = offset[i]
        have = length[i]
        out[T_ERROR, i] = OK
        out[T_TYPE, i] = -1
        out[T_LAST, i] = 1
        out[T_START, i] = start
        out[T_LENGTH, i] = 0
        if have < 6:
            out[T_ERROR, i] = E_SHORT
            continue
        if data[start] != 3:
            out[T_ERROR, i] = E_VERSION
            continue
        says = (np.int64(data[start + 2]) << 8) | np.int64(data[start + 3])
        if says < 7:
            out[T_ERROR, i] = E_LENGTH
            continue
        if have < says:
            out[T_ERROR, i] = E_CUT
        elif have > says:
            out[T_ERROR, i] = E_TRAILING
            have = says
        indicator = np.int64(data[start + 4])
        body = np.int64(5) + indicator
        kind = np.int64(data[start + 5]) & 0xF0
        out[T_TYPE, i] = kind
        if indicator < 2 or body > have:
            if out[T_ERROR, i] == OK:
                out[T_ERROR, i] = E_COTP
            continue
        out[T_START, i] = start + body
        out[T_LENGTH, i] = have - body
        if kind == 0xF0 or kind == 0x10:
            mark = np.int64(data[start + 6]) if indicator < 4 else np.int64(data[start + 8])
            out[T_LAST, i] = mark >> 7
        elif (
            kind != 0xE0
            and kind != 0xD0
            and kind != 0x80
            and kind != 0xC0
            and kind != 0x70
            and kind != 0x60
            and kind != 0x50
            and kind != 0x40
            and kind != 0x20
        ) and out[T_ERROR, i] == OK:
            out[T_ERROR, i] = E_COTP_TYPE


@inner
def _big(data: U8, at: Any, octets: Any) -> Any:
    value = np.int64(0)
    for k in range(octets):
        value = (value << 8) | np.int64(data[at + k])
    return value


@inner
def _plus(data: U8, pos: Any, size: Any, i: Any, out: I64) -> None:
    if size < 4:
        out[S_ERROR, i] = E_PLUS
        return
    version = np.int64(data[pos + 1])
    out[S_VERSION, i] = version
    says = _big(data, pos + 2, 2)
    at = pos + 4
    end = min(pos + size, at + says)
    if says == 0 or version >= 0xFE:
        return  # keep-alive and system events have no opcode
    if version == 3 and end - at > 33 and data[at] == 32:
        at += 33  # the digest goes first since version 3
    if at >= end:
        out[S_ERROR, i] = E_PLUS
        return
    opcode = np.int64(data[at])
    out[S_OPCODE, i] = opcode
    if (opcode == 0x31 or opcode == 0x32) and end - at >= 5:
        out[S_PLUS, i] = _big(data, at + 3, 2)


@entry
def messages(data: U8, start: I64, length: I64, first: int, out: I64, items: I64, values: I64, used: I64) -> int:
    """Decode S7comm messages.

    Args:
        data: Bytes of all messages.
        start: Where each begins.
        length: Octets of each.
        first: First message to decode in this call.
        out: ``S7_ROWS`` by messages.
        items: ``ITEM_ROWS`` by room: items addressed, ``I_AREA`` -1 where the item is not of syntax S7ANY.
        values: ``DATA_ROWS`` by room: data items.
        used: Entries of ``items`` and ``values`` that are filled; kept up to date.

    Returns:
        Messages decoded so far; fewer than there are if the lists have no room for another one.
    """
    for i in range(first, len(start)):
        if items.shape[1] - used[0] < MAX_ITEMS or values.shape[1] - used[1] < MAX_ITEMS:
            return i
        for row in range(S7_ROWS):
            out[row, i] = -1
        out[S_ERROR, i] = OK
        out[S_ITEMS_LISTED, i] = 0
        out[S_DATA_LISTED, i] = 0
        out[S_FAILED, i] = 0
        pos = start[i]
        size = length[i]
        if size <= 0:
            out[S_PROTOCOL, i] = P_EMPTY
            continue
        lead = np.int64(data[pos])
        if lead == 0x72:
            out[S_PROTOCOL, i] = P_PLUS
            _plus(data, pos, size, i, out)
            continue
        if lead != 0x32:
            # Session SPDUs of MMS: give tokens, finish, disconnect, accept, connect, abort (X.225, 8.3)
            session = lead == 1 or lead == 9 or lead == 10 or lead == 12 or lead == 13 or lead == 14 or lead == 25
            out[S_PROTOCOL, i] = P_SESSION if session else P_OTHER
            continue
        out[S_PROTOCOL, i] = P_S7
        if size < 10:
            out[S_ERROR, i] = E_HEADER
            continue
        rosctr = np.int64(data[pos + 1])
        out[S_ROSCTR, i] = rosctr
        out[S_REFERENCE, i] = _big(data, pos + 4, 2)
        parameter_length = _big(data, pos + 6, 2)
        data_length = _big(data, pos + 8, 2)
        head = np.int64(10)
        if rosctr == 2 or rosctr == 3:
            head = np.int64(12)
            if size < 12:
                out[S_ERROR, i] = E_HEADER
                continue
            out[S_ERROR_WORD, i] = _big(data, pos + 10, 2)
            out[S_FAILED, i] = 1 if out[S_ERROR_WORD, i] != 0 else 0
        elif rosctr != 1 and rosctr != 7:
            out[S_ERROR, i] = E_ROSCTR
            continue
        at = pos + head
        end = pos + size
        if head + parameter_length + data_length != size:
            out[S_ERROR, i] = E_LENGTHS
        parameter_end = min(at + parameter_length, end)
        data_end = min(parameter_end + data_length, end)
        out[S_PARAMETER, i] = at
        out[S_PARAMETER_LENGTH, i] = parameter_end - at
        out[S_DATA, i] = parameter_end
        out[S_DATA_LENGTH, i] = data_end - parameter_end
        if parameter_end == at:
            if out[S_ERROR, i] == OK and rosctr != 2 and rosctr != 3:
                out[S_ERROR, i] = E_PARAMETER
            continue
        if rosctr == 7:
            if parameter_end - at >= 8 and data[at] == 1:
                # Mode transition of the CPU: 01 00 10 10, then the new mode in one of four octets, the rest zero.
                out[S_TYPE, i] = 0
                out[S_GROUP, i] = 0
                mode = np.int64(0)
                for k in range(4, 8):
                    mode |= np.int64(data[at + k])
                out[S_SUB, i] = mode
                continue
            if parameter_end - at < 8 or data[at + 1] != 1 or data[at + 2] != 0x12:
                if out[S_ERROR, i] == OK:
                    out[S_ERROR, i] = E_USERDATA
                continue
            out[S_METHOD, i] = np.int64(data[at + 4])
            out[S_TYPE, i] = np.int64(data[at + 5]) >> 4
            out[S_GROUP, i] = np.int64(data[at + 5]) & 15
            out[S_SUB, i] = np.int64(data[at + 6])
            if parameter_end - at >= 12:
                out[S_ERROR_WORD, i] = _big(data, at + 10, 2)
                out[S_FAILED, i] = 1 if out[S_ERROR_WORD, i] != 0 else 0
            continue
        function = np.int64(data[at])
        out[S_FUNCTION, i] = function
        if function != 4 and function != 5:
            continue
        if parameter_end - at < 2:
            if out[S_ERROR, i] == OK:
                out[S_ERROR, i] = E_PARAMETER
            continue
        count = np.int64(data[at + 1])
        out[S_ITEMS, i] = count
        error = np.int64(OK)
        n = used[0]
        v = used[1]
        if rosctr == 1:
            p = at + 2
            for _ in range(count):
                if parameter_end - p < 3:
                    error = np.int64(E_ITEM)
                    break
                item_length = np.int64(data[p + 1])
                if parameter_end - p - 2 < item_length:
                    error = np.int64(E_ITEM)
                    break
                if n - used[0] < MAX_ITEMS:
                    items[I_START, n] = p
                    items[I_LENGTH, n] = 2 + item_length
                    if data[p] == 0x12 and data[p + 2] == 0x10 and item_length == 10:
                        items[I_TRANSPORT, n] = np.int64(data[p + 3])
                        items[I_COUNT, n] = _big(data, p + 4, 2)
                        items[I_DB, n] = _big(data, p + 6, 2)
                        items[I_AREA, n] = np.int64(data[p + 8])
                        items[I_ADDRESS, n] = _big(data, p + 9, 3)
                    else:
                        items[I_TRANSPORT, n] = -1
                        items[I_COUNT, n] = -1
                        items[I_DB, n] = -1
                        items[I_AREA, n] = -1
                        items[I_ADDRESS, n] = -1
                    n += 1
                p += 2 + item_length
                if item_length & 1 and p < parameter_end and data[p] == 0:
                    p += 1  # items begin at even places
        if (rosctr == 1 and function == 5) or (rosctr == 3 and function == 4):
            d = parameter_end
            for k in range(count):
                if rosctr == 3 and out[S_ERROR_WORD, i] != 0 and d == data_end:
                    break
                if data_end - d < 4:
                    if rosctr == 3 and data_end - d >= 1 and data[d] != 255:
                        # some controllers answer a bad item with its code alone
                        if v - used[1] < MAX_ITEMS:
                            values[D_CODE, v] = np.int64(data[d])
                            values[D_START, v] = d
                            values[D_LENGTH, v] = 0
                            v += 1
                        if out[S_BAD, i] < 0:
                            out[S_BAD, i] = np.int64(data[d])
                        out[S_FAILED, i] = 1
                        d += 1
                        continue
                    if error == OK:
                        error = np.int64(E_DATA)
                    break
                code = np.int64(data[d])
                kind = np.int64(data[d + 1])
                octets = _big(data, d + 2, 2)
                if kind == 3 or kind == 4 or kind == 5:
                    octets = (octets + 7) >> 3  # these count bits
                if rosctr == 3 and code != 255:
                    out[S_FAILED, i] = 1
                    if out[S_BAD, i] < 0:
                        out[S_BAD, i] = code
                    if kind == 0:
                        octets = np.int64(0)
                d += 4
                if data_end - d < octets:
                    if error == OK:
                        error = np.int64(E_DATA)
                    octets = data_end - d
                if v - used[1] < MAX_ITEMS:
                    values[D_CODE, v] = code if rosctr == 3 else -1
                    values[D_START, v] = d
                    values[D_LENGTH, v] = octets
                    v += 1
                if count == 1 and octets > 0 and octets <= 4:
                    out[S_VALUE, i] = _big(data, d, octets)
                d += octets
                if octets & 1 and k + 1 < count and d < data_end:
                    d += 1
        elif rosctr == 3:
            for k in range(min(count, data_end - parameter_end)):
                code = np.int64(data[parameter_end + k])
                if code != 255:
                    out[S_FAILED, i] = 1
                    if out[S_BAD, i] < 0:
                        out[S_BAD, i] = code
                if v - used[1] < MAX_ITEMS:
                    values[D_CODE, v] = code
                    values[D_START, v] = parameter_end
                    values[D_LENGTH, v] = 0
                    v += 1
            if count > data_end - parameter_end and out[S_ERROR_WORD, i] == 0:
                error = np.int64(E_DATA)
        if out[S_ERROR, i] == OK:
            out[S_ERROR, i] = error
        out[S_ITEMS_LISTED, i] = n - used[0]
        out[S_DATA_LISTED, i] = v - used[1]
        used[0] = n
        used[1] = v
    return len(start)


@entry
def skim(data: U8, offset: I64, length: I64, direction: I64, flow: I64, out: I64, left: I64) -> None:
    """See ``sensor.base.Repeat.skim``: reads that succeed are plain, each whole in one COTP packet."""
    for i in range(len(offset)):
        start = offset[i]
        have = length[i]
        if have < 7 or data[start] != 3 or _big(data, start + 2, 2) != have:
            left[flow[i]] = 1
            continue
        kind = np.int64(data[start + 5]) & 0xF0
        if kind != 0xF0:
            if kind == 0x10:
                left[flow[i]] = 1
            continue  # opens or closes a connection; carries no S7comm
        if data[start + 4] != 2 or data[start + 6] < 128:
            left[flow[i]] = 1  # a fragment, or a header that is unusual
            continue
        pos = start + 7
        size = have - 7
        if size == 0 or data[pos] != 0x32:
            continue
        if size < 10:
            left[flow[i]] = 1
            continue
        rosctr = np.int64(data[pos + 1])
        parameter_length = _big(data, pos + 6, 2)
        data_length = _big(data, pos + 8, 2)
        head = np.int64(12 if rosctr == 2 or rosctr == 3 else 10)
        if (
            rosctr != 1 and rosctr != 2 and rosctr != 3 and rosctr != 7
        ) or head + parameter_length + data_length != size:
            left[flow[i]] = 1
            continue
        at = pos + head
        end = at + parameter_length
        if rosctr == 7:
            if parameter_length < 8 or data[at + 1] != 1 or data[at + 2] != 0x12:
                left[flow[i]] = 1
                continue
            group = np.int64(data[at + 5]) >> 4
            out[0, i] = 1 if group == 4 or group == 7 else (2 if group == 8 or group == 11 else 0)
        else:
            out[0, i] = 1 if rosctr == 1 else 2
        out[1, i] = _big(data, pos + 4, 2)
        if (rosctr != 1 and rosctr != 3) or parameter_length < 2 or data[at] != 4:
            continue
        count = np.int64(data[at + 1])
        whole = True
        if count == 0:
            continue
        if rosctr == 1:
            p = at + 2
            for _ in range(count):
                if end - p < 3 or end - p - 2 < np.int64(data[p + 1]):
                    whole = False
                    break
                item_length = np.int64(data[p + 1])
                p += 2 + item_length
                if item_length & 1 and p < end and data[p] == 0:
                    p += 1
        else:
            if _big(data, pos + 10, 2) != 0:
                continue
            d = end
            data_end = end + data_length
            for n in range(count):
                if not whole or data_end - d < 4 or data[d] != 255:
                    whole = False
                    break
                kind = np.int64(data[d + 1])
                octets = _big(data, d + 2, 2)
                if kind == 3 or kind == 4 or kind == 5:
                    octets = (octets + 7) >> 3
                d += 4
                if data_end - d < octets:
                    whole = False
                    break
                d += octets
                if octets & 1 and n + 1 < count and d < data_end:
                    d += 1
        if whole:
            out[2, i] = 1
