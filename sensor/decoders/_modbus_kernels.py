"""Modbus messages to numbers: one pass for everything of fixed place, one for the values.

MODBUS Application Protocol Specification V1.1b3, chapter 6 (one subsection a function); MBAP header of MODBUS
Messaging on TCP/IP V1.0b, 3.1.3. A column entry that is -1 means "not there". No read happens that was not
compared with the message's end before, and no length field is believed beyond it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sensor.base import I64, U8
from sensor.jit_kernel import entry, helper

I32 = npt.NDArray[np.int32]
U16 = npt.NDArray[np.uint16]
Num = int | np.int64  # numba widens both to int64

# Rows of the output matrix. The first ones are event fields in this order, see ``modbus._NUMBERS``.
TID, UNIT, FC, EXC, ADDR, QTY, WADDR, WQTY, ANDM, ORM = 0, 1, 2, 3, 4, 5, 6, 7, 8, 9
SUB, MEI, IDCODE, XSTATUS, EVENTS, MESSAGES, UMAS, VALUE, VMIN, VMAX = 10, 11, 12, 13, 14, 15, 16, 17, 18, 19
ERR, WANT, GOT, VSTART, VCOUNT, VKIND, DETAIL, DSTART, DLEN, OUTCOME, BROADCAST = range(20, 31)
COLUMNS = 31

# Kinds of values.
BITS, REGISTERS, COIL = 1, 2, 3

# What is left for the few rows that need a text.
HEX, OBJECTS, FILE_READ, FILE_WRITE, FILE_DATA, SERVER_ID = 1, 2, 3, 4, 5, 6

FAILURE, SUCCESS, UNKNOWN = 0, 1, 2

# Indices into modbus.ANOMALIES, in its order.
(
    E_TRUNCATED,
    E_PROTOCOL,
    E_LENGTH,
    E_TRAILING,
    E_FUNCTION_ZERO,
    E_RESERVED,
    E_EXCEPTION_REQUEST,
    E_EXCEPTION_CODE,
    E_SHORT,
    E_LONG,
    E_BYTE_COUNT,
    E_QUANTITY,
    E_RANGE,
    E_VALUE,
    E_SUB_FUNCTION,
    E_FILE,
    E_MEI,
    E_OBJECTS,
) = range(18)


@helper("int64(uint8[::1], int64)")
def _u16(data: U8, at: Num) -> Num:
    return (np.int64(data[at]) << 8) | np.int64(data[at + 1])


@helper("void(int32[:, ::1], int64, int64, int64, int64)")
def _blame(out: I32, row: Num, code: Num, want: Num, got: Num) -> None:
    """Note an anomaly; the first one of a message stays."""
    if out[ERR, row] < 0:
        out[ERR, row] = code
        out[WANT, row] = want
        out[GOT, row] = got


@helper("void(int32[:, ::1], int64, int64, int64, int64)")
def _values(out: I32, row: Num, kind: Num, start: Num, count: Num) -> None:
    out[VKIND, row] = kind
    out[VSTART, row] = start
    out[VCOUNT, row] = count


@helper("void(int32[:, ::1], int64, int64, int64, int64)")
def _detail(out: I32, row: Num, kind: Num, start: Num, length: Num) -> None:
    if length > 0:
        out[DETAIL, row] = kind
        out[DSTART, row] = start
        out[DLEN, row] = length


@helper("void(int32[:, ::1], int64, int64, int64, int64)")
def _quantity(out: I32, row: Num, address: Num, quantity: Num, most: Num) -> None:
    """Check a quantity against the function's limit and the address space of 65,536."""
    if quantity < 1 or quantity > most:
        _blame(out, row, E_QUANTITY, most, quantity)
    elif address + quantity > 65536:
        _blame(out, row, E_RANGE, 65536, address + quantity)


@helper("void(int32[:, ::1], int64, int64, int64)")
def _exact(out: I32, row: Num, want: Num, have: Num) -> None:
    """The body of a function of fixed size has to be that size."""
    if have < want:
        _blame(out, row, E_SHORT, want, have)
    elif have > want:
        _blame(out, row, E_LONG, want, have)


@helper("int64(uint8[::1], int32[:, ::1], int64, int64, int64)")
def _counted(data: U8, out: I32, row: Num, at: Num, have: Num) -> Num:
    """Check a byte count at ``at`` against the ``have`` bytes behind it.

    Returns:
        Bytes that may be read behind it.
    """
    count = np.int64(data[at])
    if count != have:
        _blame(out, row, E_BYTE_COUNT, count, have)
    return count if count < have else have


@helper("void(uint8[::1], int32[:, ::1], int64, int64, int64, int64)")
def _address_quantity(data: U8, out: I32, row: Num, at: Num, have: Num, most: Num) -> None:
    if have >= 2:
        out[ADDR, row] = _u16(data, at)
    if have >= 4:
        out[QTY, row] = _u16(data, at + 2)
        _quantity(out, row, out[ADDR, row], out[QTY, row], most)


@helper("void(uint8[::1], int32[:, ::1], int64, int64, int64, int64)")
def _single(data: U8, out: I32, row: Num, fc: Num, at: Num, have: Num) -> None:
    """Functions 5 and 6, request and response alike (6.5, 6.6)."""
    if have >= 2:
        out[ADDR, row] = _u16(data, at)
        out[QTY, row] = 1
    if have >= 4:
        value = _u16(data, at + 2)
        if fc == 5:
            if value != 0 and value != 0xFF00:
                _blame(out, row, E_VALUE, 0xFF00, value)
            _values(out, row, COIL, at + 2, 1)
        else:
            _values(out, row, REGISTERS, at + 2, 1)
    _exact(out, row, 4, have)


@helper("void(uint8[::1], int32[:, ::1], int64, int64, int64)")
def _mask(data: U8, out: I32, row: Num, at: Num, have: Num) -> None:
    """Function 22, request and response alike (6.16)."""
    if have >= 2:
        out[ADDR, row] = _u16(data, at)
        out[QTY, row] = 1
    if have >= 4:
        out[ANDM, row] = _u16(data, at + 2)
    if have >= 6:
        out[ORM, row] = _u16(data, at + 4)
    _exact(out, row, 6, have)


@helper("void(uint8[::1], int32[:, ::1], int64, int64, int64)")
def _diagnostics(data: U8, out: I32, row: Num, at: Num, have: Num) -> None:
    """Function 8, request and response alike (6.8); sub-function 0 echoes any number of words."""
    if have < 2:
        _blame(out, row, E_SHORT, 4, have)
        return
    sub = _u16(data, at)
    out[SUB, row] = sub
    if sub == 19 or sub > 20 or 5 <= sub <= 9:
        _blame(out, row, E_SUB_FUNCTION, 20, sub)
    if have < 4:
        _blame(out, row, E_SHORT, 4, have)
    elif sub != 0 and have > 4:
        _blame(out, row, E_LONG, 4, have)
    elif (have - 2) % 2:
        _blame(out, row, E_LONG, have - 1, have)
    if have >= 4:
        _values(out, row, REGISTERS, at + 2, (have - 2) // 2)


@helper("void(uint8[::1], int32[:, ::1], int64, boolean, int64, int64)")
def _check_records(data: U8, out: I32, row: Num, writes: bool, at: Num, room: Num) -> None:
    """Sub-requests of functions 20 and 21: reference type 6, and the lengths fill the body (6.14, 6.15)."""
    end = at + room
    if room < 7:
        _blame(out, row, E_FILE, 7, room)
        return
    while at < end:
        if end - at < 7:
            _blame(out, row, E_FILE, 7, end - at)
            return
        if data[at] != 6:
            _blame(out, row, E_FILE, 6, np.int64(data[at]))
            return
        size: Num = 7
        if writes:
            size += 2 * _u16(data, at + 5)
        if end - at < size:
            _blame(out, row, E_FILE, size, end - at)
            return
        at += size


@helper("void(uint8[::1], int32[:, ::1], int64, int64, int64)")
def _check_data(data: U8, out: I32, row: Num, at: Num, room: Num) -> None:
    """Sub-responses of function 20: length, reference type 6, data (6.14)."""
    end = at + room
    while at < end:
        size = 1 + np.int64(data[at])
        if size < 2 or end - at < size:
            _blame(out, row, E_FILE, size, end - at)
            return
        if data[at + 1] != 6:
            _blame(out, row, E_FILE, 6, np.int64(data[at + 1]))
            return
        at += size


@helper("void(uint8[::1], int32[:, ::1], int64, int64, int64, int64)")
def _check_objects(data: U8, out: I32, row: Num, at: Num, room: Num, count: Num) -> None:
    """Objects of a device identification: id, length, value, ``count`` times (6.21)."""
    end = at + room
    seen = 0
    while seen < count:
        if end - at < 2 or end - at - 2 < np.int64(data[at + 1]):
            _blame(out, row, E_OBJECTS, count, seen)
            return
        at += 2 + np.int64(data[at + 1])
        seen += 1
    if at < end:
        _blame(out, row, E_LONG, at - (end - room), room)


@helper("void(uint8[::1], int32[:, ::1], int64, int64, int64, int64)")
def _request(data: U8, out: I32, row: Num, fc: Num, at: Num, have: Num) -> None:
    if fc == 1 or fc == 2:
        _address_quantity(data, out, row, at, have, 2000)
        _exact(out, row, 4, have)
    elif fc == 3 or fc == 4:
        _address_quantity(data, out, row, at, have, 125)
        _exact(out, row, 4, have)
    elif fc == 5 or fc == 6:
        _single(data, out, row, fc, at, have)
    elif fc == 7 or fc == 11 or fc == 12 or fc == 17:
        _exact(out, row, 0, have)
    elif fc == 8:
        _diagnostics(data, out, row, at, have)
    elif fc == 15 or fc == 16:
        _address_quantity(data, out, row, at, have, 1968 if fc == 15 else 123)
        if have < 5:
            _blame(out, row, E_SHORT, 5, have)
            return
        room = _counted(data, out, row, at + 4, have - 5)
        quantity = out[QTY, row]
        want = (quantity + 7) // 8 if fc == 15 else 2 * quantity
        if np.int64(data[at + 4]) != want:
            _blame(out, row, E_BYTE_COUNT, want, np.int64(data[at + 4]))
        if fc == 15:
            _values(out, row, BITS, at + 5, min(quantity, 8 * room))
        else:
            _values(out, row, REGISTERS, at + 5, min(quantity, room // 2))
    elif fc == 20 or fc == 21:
        if have < 1:
            _blame(out, row, E_SHORT, 1, have)
            return
        room = _counted(data, out, row, at, have - 1)
        _detail(out, row, FILE_READ if fc == 20 else FILE_WRITE, at + 1, room)
        _check_records(data, out, row, fc == 21, at + 1, room)
    elif fc == 22:
        _mask(data, out, row, at, have)
    elif fc == 23:
        _address_quantity(data, out, row, at, have, 125)
        if have >= 6:
            out[WADDR, row] = _u16(data, at + 4)
        if have >= 8:
            out[WQTY, row] = _u16(data, at + 6)
            _quantity(out, row, out[WADDR, row], out[WQTY, row], 121)
        if have < 9:
            _blame(out, row, E_SHORT, 9, have)
            return
        room = _counted(data, out, row, at + 8, have - 9)
        if np.int64(data[at + 8]) != 2 * out[WQTY, row]:
            _blame(out, row, E_BYTE_COUNT, 2 * out[WQTY, row], np.int64(data[at + 8]))
        _values(out, row, REGISTERS, at + 9, min(out[WQTY, row], room // 2))
    elif fc == 24:
        if have >= 2:
            out[ADDR, row] = _u16(data, at)
        _exact(out, row, 2, have)
    elif fc == 43:
        if have < 1:
            _blame(out, row, E_SHORT, 1, have)
            return
        out[MEI, row] = np.int64(data[at])
        if data[at] == 14:
            if have >= 2:
                out[IDCODE, row] = np.int64(data[at + 1])
                if data[at + 1] < 1 or data[at + 1] > 4:
                    _blame(out, row, E_MEI, 4, np.int64(data[at + 1]))
            _exact(out, row, 3, have)
            _detail(out, row, HEX, at + 2, have - 2)
        else:
            if data[at] != 13:
                _blame(out, row, E_MEI, 14, np.int64(data[at]))
            _detail(out, row, HEX, at + 1, have - 1)
    elif fc == 90:
        if have >= 2:
            out[UMAS, row] = np.int64(data[at + 1])
            _detail(out, row, HEX, at + 2, have - 2)
        else:
            _blame(out, row, E_SHORT, 2, have)
    else:
        _detail(out, row, HEX, at, have)


@helper("void(uint8[::1], int32[:, ::1], int64, int64, int64, int64)")
def _response(data: U8, out: I32, row: Num, fc: Num, at: Num, have: Num) -> None:
    if fc == 1 or fc == 2 or fc == 3 or fc == 4 or fc == 23 or fc == 20 or fc == 21 or fc == 12 or fc == 17:
        if have < 1:
            _blame(out, row, E_SHORT, 1, have)
            return
        room = _counted(data, out, row, at, have - 1)
        if fc == 1 or fc == 2:
            if room < 1:
                _blame(out, row, E_BYTE_COUNT, 1, room)
            _values(out, row, BITS, at + 1, 8 * room)
        elif fc == 3 or fc == 4 or fc == 23:
            if room < 2 or room % 2:
                _blame(out, row, E_BYTE_COUNT, room + 1 if room % 2 else 2, room)
            _values(out, row, REGISTERS, at + 1, room // 2)
        elif fc == 20:
            _detail(out, row, FILE_DATA, at + 1, room)
            _check_data(data, out, row, at + 1, room)
        elif fc == 21:
            _detail(out, row, FILE_WRITE, at + 1, room)
            _check_records(data, out, row, True, at + 1, room)
        elif fc == 12:
            if room < 6:
                _blame(out, row, E_SHORT, 6, room)
            if room >= 4:
                out[EVENTS, row] = _u16(data, at + 3)
            if room >= 6:
                out[MESSAGES, row] = _u16(data, at + 5)
                _detail(out, row, HEX, at + 7, room - 6)
        else:
            _detail(out, row, SERVER_ID, at + 1, room)
    elif fc == 5 or fc == 6:
        _single(data, out, row, fc, at, have)
    elif fc == 7:
        if have >= 1:
            out[XSTATUS, row] = np.int64(data[at])
        _exact(out, row, 1, have)
    elif fc == 8:
        _diagnostics(data, out, row, at, have)
    elif fc == 11:
        if have >= 4:
            out[EVENTS, row] = _u16(data, at + 2)
        _exact(out, row, 4, have)
    elif fc == 15 or fc == 16:
        _address_quantity(data, out, row, at, have, 1968 if fc == 15 else 123)
        _exact(out, row, 4, have)
    elif fc == 22:
        _mask(data, out, row, at, have)
    elif fc == 24:
        if have < 4:
            _blame(out, row, E_SHORT, 4, have)
            return
        count = _u16(data, at)
        fifo = _u16(data, at + 2)
        if count != have - 2:
            _blame(out, row, E_BYTE_COUNT, count, have - 2)
        elif fifo > 31:
            _blame(out, row, E_QUANTITY, 31, fifo)
        elif count != 2 + 2 * fifo:
            _blame(out, row, E_BYTE_COUNT, 2 + 2 * fifo, count)
        out[QTY, row] = fifo
        _values(out, row, REGISTERS, at + 4, min(fifo, (have - 4) // 2))
    elif fc == 43:
        if have < 1:
            _blame(out, row, E_SHORT, 1, have)
            return
        out[MEI, row] = np.int64(data[at])
        if data[at] == 14:
            if have >= 2:
                out[IDCODE, row] = np.int64(data[at + 1])
            if have < 6:
                _blame(out, row, E_SHORT, 6, have)
                return
            _detail(out, row, OBJECTS, at + 5, have - 5)
            _check_objects(data, out, row, at + 6, have - 6, np.int64(data[at + 5]))
        else:
            if data[at] != 13:
                _blame(out, row, E_MEI, 14, np.int64(data[at]))
            _detail(out, row, HEX, at + 1, have - 1)
    elif fc == 90:
        if have < 2:
            _blame(out, row, E_SHORT, 2, have)
            return
        # 0xFE answers well and 0xFD badly; which function it answers stands in the request only.
        if data[at + 1] == 0xFD:
            out[OUTCOME, row] = FAILURE
        elif data[at + 1] != 0xFE:
            out[UMAS, row] = np.int64(data[at + 1])
            out[OUTCOME, row] = UNKNOWN
        _detail(out, row, HEX, at + 2, have - 2)
    else:
        _detail(out, row, HEX, at, have)


@entry
def headers(data: U8, offset: I64, length: I64, direction: I64, out: I32) -> Num:
    """Decode everything that has a fixed place.

    Args:
        data: Bytes of all messages.
        offset: Start of each message, ``int64[n]``.
        length: Bytes there are of each message, ``int64[n]``.
        direction: 0 request, 1 response, ``int64[n]``.
        out: ``int32[COLUMNS, n]``, filled with -1 before.

    Returns:
        Number of values that ``values`` will write.
    """
    total: Num = 0
    for row in range(len(offset)):
        at = offset[row]
        have = length[row]
        if at < 0 or have < 0 or at + have > len(data):
            at = have = 0
        # Below, places count from the message's start: bounds are its own, and they fit into 32 bits.
        message = data[at : at + have]
        if have >= 2:
            out[TID, row] = _u16(message, 0)
        protocol = _u16(message, 2) if have >= 4 else 0
        announced = _u16(message, 4) if have >= 6 else -1
        if protocol != 0:
            _blame(out, row, E_PROTOCOL, 0, protocol)
            if announced + 6 != have or have < 8:
                continue  # nothing of this is Modbus: whatever stands where the function would be says nothing
        if have >= 7:
            out[UNIT, row] = np.int64(message[6])
        if announced >= 0 and (announced < 2 or announced > 254):
            _blame(out, row, E_LENGTH, 254 if announced > 254 else 2, announced)
        if have < 8 or announced + 6 > have:
            _blame(out, row, E_TRUNCATED, max(8, announced + 6), have)
            if have < 8:
                continue
        elif announced >= 2 and announced + 6 < have:
            _blame(out, row, E_TRAILING, announced + 6, have)
            have = announced + 6
        code = np.int64(message[7])
        fc = code & 0x7F
        out[FC, row] = fc
        if fc == 0:
            _blame(out, row, E_FUNCTION_ZERO, 1, code)
        elif fc in (9, 10, 13, 14, 41, 42, 91, 125, 126, 127):
            _blame(out, row, E_RESERVED, 1, fc)
        body = 8
        have -= 8
        if code >= 128:
            if direction[row] == 0:
                _blame(out, row, E_EXCEPTION_REQUEST, fc, code)
            else:
                out[OUTCOME, row] = FAILURE
            if have >= 1:
                exception = np.int64(message[body])
                out[EXC, row] = exception
                if exception == 0 or exception == 9 or exception > 11:
                    _blame(out, row, E_EXCEPTION_CODE, 11, exception)
                elif exception == 5 and direction[row] != 0:
                    out[OUTCOME, row] = UNKNOWN
            _exact(out, row, 1, have)
        elif direction[row] == 0:
            _request(message, out, row, fc, body, have)
            if out[UNIT, row] == 0 and (fc == 5 or fc == 6 or fc == 15 or fc == 16 or fc == 22 or fc == 23):
                out[BROADCAST, row] = 1
        else:
            out[OUTCOME, row] = SUCCESS
            _response(message, out, row, fc, body, have)
        if out[VCOUNT, row] > 0:
            total += out[VCOUNT, row]
    return total


@entry
def values(data: U8, offset: I64, out: I32, flat: U16, first: I64) -> None:
    """Copy the values out and find the only, smallest and largest one of each message.

    Args:
        data: Bytes of all messages.
        offset: Start of each message, ``int64[n]``.
        out: As ``headers`` left it.
        flat: Filled with the values of all messages, ``uint16[total]``.
        first: Filled with the place of each message's first value in ``flat``, ``int64[n]``.
    """
    to = 0
    for row in range(len(first)):
        first[row] = to
        count = out[VCOUNT, row]
        if count <= 0:
            continue
        at = offset[row] + out[VSTART, row]
        kind = out[VKIND, row]
        low: Num = 65535
        high: Num = 0
        for index in range(count):
            if kind == BITS:
                value: Num = (np.int64(data[at + (index >> 3)]) >> (index & 7)) & 1
            else:
                value = _u16(data, at + 2 * index)
                if kind == COIL and value == 0xFF00:
                    value = np.int64(1)
            flat[to] = value
            to += 1
            low = value if value < low else low
            high = value if value > high else high
        out[VMIN, row] = low
        out[VMAX, row] = high
        if count == 1:
            out[VALUE, row] = low


@entry
def skim(data: U8, offset: I64, length: I64, direction: I64, flow: I64, out: I64, left: I64) -> None:
    """See ``sensor.base.Repeat.skim``: reads (functions 1 to 4) of the right size are plain."""
    for i in range(len(offset)):
        at = offset[i]
        have = length[i]
        if have < 8 or _u16(data, at + 2) != 0 or _u16(data, at + 4) + 6 != have or have < 8 or have > 260:
            left[flow[i]] = 1
            continue
        code = np.int64(data[at + 7])
        out[0, i] = 1 if direction[i] == 0 else 2
        out[1, i] = (_u16(data, at) << 16) | (np.int64(data[at + 6]) << 8) | (code & 0x7F)
        if code < 1 or code > 4:
            continue
        if direction[i] == 0:
            if have != 12:
                continue
            quantity = _u16(data, at + 10)
            if quantity < 1 or quantity > (2000 if code < 3 else 125) or _u16(data, at + 8) + quantity > 65536:
                continue
            out[3, i] = (quantity + 7) // 8 if code < 3 else 2 * quantity
            out[6, i] = quantity
        else:
            if have < 10 or np.int64(data[at + 8]) != have - 9:
                continue
            if code > 2 and (have - 9) % 2 != 0:
                continue
            out[3, i] = have - 9
            out[4, i] = 1 if code < 3 else 2
            out[5, i] = 9
        out[2, i] = 1
