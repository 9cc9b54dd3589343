"""IEC 60870-5-104 frames to numbers: one pass for frame and ASDU heads, one for the information objects.

IEC 60870-5-104:2006 chapter 5 (APCI), IEC 60870-5-101:2003 chapter 7 (ASDUs, information elements). A column entry
that is -1 means "not there"; in the floating columns it is a NaN, in the time columns the smallest integer. No
read happens that was not compared with the frame's end before, and neither length nor object count is believed.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sensor.base import I64, U8
from sensor.jit_kernel import entry, helper, inlined

I32 = npt.NDArray[np.int32]
I16 = npt.NDArray[np.int16]
F64 = npt.NDArray[np.float64]
Num = int | np.int64  # numba widens both to int64

NO_TIME: int = -(1 << 63)

# Rows of the output matrix. The first ones are event fields in this order, see ``iec104._NUMBERS``.
SEND, RECV, TYPE, COUNT, CAUSE, ORIGIN, COMMON, FIRST, QUALIFIER, FILE, SECTION = range(11)
# Truth values: 0, 1, or -1 for not there; see ``iec104._FLAGS``.
SEQUENCE, NEGATIVE, TEST, BROADCAST, BADTIME, SELECT = range(11, 17)
APCI, UFUNC, ERR, WANT, GOT, START, OBJECTS = range(17, 24)
COLUMNS = 24

I_FRAME, S_FRAME, U_FRAME = 0, 1, 2

# Indices into iec104.ANOMALIES, in its order.
(
    E_TRUNCATED,
    E_START,
    E_LENGTH,
    E_TRAILING,
    E_APCI,
    E_SHORT,
    E_TYPE,
    E_NO_OBJECTS,
    E_COUNT,
    E_PROFILE,
    E_CAUSE,
    E_SINGLE,
    E_BITS,
    E_STATE,
    E_VALUE,
    E_TIME,
) = range(16)

# Layouts of information elements.
SIQ, DIQ, VTI, BSI, NVA, SVA, FLT, BCR, SEP, SPE, OCI, SCD, BARE = range(1, 14)
SCO, DCO, RCO, SET_NVA, SET_SVA, SET_FLT, SET_BSI = range(14, 21)
QUALIFY, NOTHING, CLOCK, TEST16, PAR_NVA, PAR_SVA, PAR_FLT, FILES = range(21, 29)

CP24, CP56 = 1, 2

LAYOUT = np.zeros(256, np.int64)
SIZE = np.full(256, -1, np.int64)
TIME = np.zeros(256, np.int64)
for _layout, _size, _types in (
    # 7.2.6: element, its bytes without the time, and the types without time, with CP24Time2a and with CP56Time2a
    (SIQ, 1, (1, 2, 30)),
    (DIQ, 1, (3, 4, 31)),
    (VTI, 2, (5, 6, 32)),
    (BSI, 5, (7, 8, 33)),
    (NVA, 3, (9, 10, 34)),
    (SVA, 3, (11, 12, 35)),
    (FLT, 5, (13, 14, 36)),
    (BCR, 5, (15, 16, 37)),
    (SEP, 3, (0, 17, 38)),
    (SPE, 4, (0, 18, 39)),
    (OCI, 4, (0, 19, 40)),
    (SCD, 5, (20, 0, 0)),
    (BARE, 2, (21, 0, 0)),
    (SCO, 1, (45, 0, 58)),
    (DCO, 1, (46, 0, 59)),
    (RCO, 1, (47, 0, 60)),
    (SET_NVA, 3, (48, 0, 61)),
    (SET_SVA, 3, (49, 0, 62)),
    (SET_FLT, 5, (50, 0, 63)),
    (SET_BSI, 4, (51, 0, 64)),
    (QUALIFY, 1, (70, 0, 0)),
    (QUALIFY, 1, (100, 0, 0)),
    (QUALIFY, 1, (101, 0, 0)),
    (NOTHING, 0, (102, 0, 0)),
    (CLOCK, 0, (0, 0, 103)),
    (TEST16, 2, (104, 0, 107)),
    (QUALIFY, 1, (105, 0, 0)),
    (TEST16, 2, (106, 0, 0)),
    (PAR_NVA, 3, (110, 0, 0)),
    (PAR_SVA, 3, (111, 0, 0)),
    (PAR_FLT, 5, (112, 0, 0)),
    (QUALIFY, 1, (113, 0, 0)),
    (FILES, 6, (120, 0, 0)),
    (FILES, 7, (121, 0, 0)),
    (FILES, 4, (122, 0, 0)),
    (FILES, 5, (123, 0, 0)),
    (FILES, 4, (124, 0, 0)),
    (FILES, 4, (125, 0, 0)),
    (FILES, 6, (0, 0, 126)),
    (FILES, 9, (0, 0, 127)),
):
    for _time, _extra in ((0, 0), (CP24, 3), (CP56, 7)):
        if _types[_time]:
            LAYOUT[_types[_time]] = _layout
            SIZE[_types[_time]] = _size + _extra
            TIME[_types[_time]] = _time

POWER = np.array([2.0 ** (max(exponent, 1) - 150) for exponent in range(256)])
DAYS = np.array([0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334, 365], np.int64)


@inlined
def _u16(data: U8, at: Num) -> Num:
    return np.int64(data[at]) | (np.int64(data[at + 1]) << 8)


@inlined
def _i16(data: U8, at: Num) -> Num:
    value = _u16(data, at)
    return value - 65536 if value >= 32768 else value


@inlined
def _u24(data: U8, at: Num) -> Num:
    return _u16(data, at) | (np.int64(data[at + 2]) << 16)


@inlined
def _u32(data: U8, at: Num) -> Num:
    return _u24(data, at) | (np.int64(data[at + 3]) << 24)


@helper("float64(uint8[::1], int64)")
def _float(data: U8, at: Num) -> float:
    """IEEE 754 single (R32.23); neither infinities nor NaNs are values."""
    bits = _u32(data, at)
    exponent = (bits >> 23) & 0xFF
    mantissa = bits & 0x7FFFFF
    if exponent == 255:
        return float(np.nan)
    if exponent > 0:
        mantissa |= 0x800000
    value: float = float(mantissa) * POWER[exponent]
    return -value if bits >> 31 else value


@helper("void(int32[:, ::1], int64, int64, int64, int64)")
def _blame(out: I32, row: Num, code: Num, want: Num, got: Num) -> None:
    """Note an anomaly; the first one of a frame stays."""
    if out[ERR, row] < 0:
        out[ERR, row] = code
        out[WANT, row] = want
        out[GOT, row] = got


@helper("int64(uint8[::1], int64)")
def _cp56(data: U8, at: Num) -> Num:
    """CP56Time2a (7.2.6.18) as nanoseconds since the epoch, read as UTC; ``NO_TIME`` if there is no such time.

    Years 70 to 99 are of the last century, as IEC 60870-5-4 leaves it to the two digits.
    """
    millis = _u16(data, at)
    minute = np.int64(data[at + 2]) & 0x3F
    hour = np.int64(data[at + 3]) & 0x1F
    day = np.int64(data[at + 4]) & 0x1F
    month = np.int64(data[at + 5]) & 0x0F
    year = np.int64(data[at + 6]) & 0x7F
    if millis > 59999 or minute > 59 or hour > 23 or day < 1 or month < 1 or month > 12 or year > 99:
        return NO_TIME
    year += 1900 if year >= 70 else 2000
    leap = 1 if year % 4 == 0 else 0  # 1970 to 2069 holds 2000, a leap year, and no other century
    length = DAYS[month] - DAYS[month - 1] + (leap if month == 2 else 0)
    if day > length:
        return NO_TIME
    days: Num = (year - 1970) * 365 + (year - 1969) // 4 + DAYS[month - 1] + (leap if month > 2 else 0) + day - 1
    time: Num = ((days * 24 + hour) * 60 + minute) * 60_000_000_000 + millis * 1_000_000
    return time


@helper("int64(uint8[::1], int64, int64)")
def _cp24(data: U8, at: Num, now: Num) -> Num:
    """CP24Time2a (7.2.6.19), minute and millisecond, in the hour that brings it nearest to ``now``."""
    millis = _u16(data, at)
    minute = np.int64(data[at + 2]) & 0x3F
    if millis > 59999 or minute > 59:
        return NO_TIME
    hour = 3_600_000_000_000
    time = now - now % hour + minute * 60_000_000_000 + millis * 1_000_000
    if time - now > hour // 2:
        time -= hour
    elif now - time > hour // 2:
        time += hour
    return time


@helper("int64(int64, int64, int64, int64)")
def _body(kind: Num, sequence: Num, count: Num, ioa: Num) -> Num:
    """Bytes of ``count`` objects of a type."""
    if sequence:
        ioa += count * SIZE[kind]
        return ioa
    body: Num = count * (ioa + SIZE[kind])
    return body


@helper("int64(int64, int64, int64, int64)")
def _foreign(kind: Num, sequence: Num, count: Num, have: Num) -> Num:
    """Find sizes with a cause of one byte, as IEC 60870-5-101 has them, with which ``have`` bytes add up.

    Returns:
        Bytes of cause, common address and object address as three decimal digits; -1 if none fits.
    """
    for common in range(1, 3):
        for ioa in range(1, 4):
            if 3 + common + _body(kind, sequence, count, ioa) == have:
                return 100 + common * 10 + ioa
    return -1


@helper("int64(uint8[::1], int64)")
def _hunt(data: U8, have: Num) -> Num:
    """Find a whole frame behind bytes that are none, -1 if there is none: receivers that resynchronise see it."""
    for at in range(1, have - 5):
        if data[at] == 0x68 and 4 <= data[at + 1] <= 253 and at + 2 + np.int64(data[at + 1]) <= have:
            return at
    return -1


@helper("void(uint8[::1], int32[:, ::1], int64, int64)")
def _asdu(data: U8, out: I32, row: Num, have: Num) -> None:
    """Head of an ASDU at byte 6 of a frame of ``have`` bytes, and where its objects are."""
    if have >= 7:
        out[TYPE, row] = np.int64(data[6])
    if have >= 8:
        out[COUNT, row] = np.int64(data[7]) & 0x7F
        out[SEQUENCE, row] = np.int64(data[7]) >> 7
    if have >= 9:
        cause = np.int64(data[8])
        out[CAUSE, row] = cause & 0x3F
        out[NEGATIVE, row] = (cause >> 6) & 1
        out[TEST, row] = cause >> 7
    if have < 12:
        _blame(out, row, E_SHORT, 12, have)
        return
    kind = np.int64(data[6])
    count = np.int64(data[7]) & 0x7F
    sequence = np.int64(data[7]) >> 7
    size = SIZE[kind]
    body = have - 12
    if out[ERR, row] < 0 and size >= 0 and kind != 125 and count > 0 and body != _body(kind, sequence, count, 3):
        sizes = _foreign(kind, sequence, count, have - 6)
        if sizes > 0:
            _blame(out, row, E_PROFILE, 223, sizes)
            return
    out[ORIGIN, row] = np.int64(data[9])
    common = _u16(data, 10)
    out[COMMON, row] = common
    out[BROADCAST, row] = 1 if common == 65535 else -1
    if body >= 3:
        out[FIRST, row] = _u24(data, 12)
    cause = np.int64(data[8]) & 0x3F
    if cause == 0 or 17 <= cause <= 19 or cause in (42, 43):
        _blame(out, row, E_CAUSE, 0, cause)
    if size < 0:
        _blame(out, row, E_TYPE, 0, kind)
        out[OBJECTS, row] = 1 if body >= 3 else 0
        out[START, row] = 12
        return
    if count == 0:
        _blame(out, row, E_NO_OBJECTS, 1, 0)
        return
    if kind >= 45 and kind != 70 and kind != 126 and (count != 1 or sequence):
        _blame(out, row, E_SINGLE, 1, count)
    if kind == 125:
        if body < 7 or body != 7 + np.int64(data[18]):
            _blame(out, row, E_COUNT, 7 + np.int64(data[18]) if body >= 7 else 7, body)
        whole = 1 if body >= 7 else 0
    else:
        want = _body(kind, sequence, count, 3)
        if body != want:
            _blame(out, row, E_COUNT, want, body)
        if body < 3:
            whole = 0
        elif sequence:
            whole = (body - 3) // size if size > 0 else 1
        else:
            whole = body // (3 + size)
    out[START, row] = 12
    out[OBJECTS, row] = whole if whole < count else count


@entry
def frames(data: U8, offset: I64, length: I64, out: I32) -> Num:
    """Decode APCI and ASDU heads.

    Args:
        data: Bytes of all frames.
        offset: Start of each frame in ``data``, ``int64[n]``.
        length: Bytes there are of each frame, ``int64[n]``.
        out: ``int32[COLUMNS, n]``, filled with -1 before.

    Returns:
        Number of information objects that ``objects`` will write.
    """
    total: Num = 0
    for row in range(len(offset)):
        at = offset[row]
        have = length[row]
        if at < 0 or have < 0 or at + have > len(data):
            at = have = 0
        # Below, places count from the frame's start: bounds are its own, and they fit into 32 bits.
        frame = data[at : at + have]
        skipped: Num = 0
        if have >= 1 and frame[0] != 0x68:
            _blame(out, row, E_START, 0x68, np.int64(frame[0]))
            skipped = _hunt(frame, have)
            if skipped < 0:
                continue
            have -= skipped
            frame = frame[skipped:]
        announced = np.int64(frame[1]) if have >= 2 else -1
        if announced >= 0 and (announced < 4 or announced > 253):
            _blame(out, row, E_LENGTH, 253 if announced > 253 else 4, announced)
        if have < 6 or announced + 2 > have:
            _blame(out, row, E_TRUNCATED, announced + 2 if announced >= 4 else 6, have)
            if have < 6:
                continue
        elif announced >= 4 and announced + 2 < have:
            _blame(out, row, E_TRAILING, announced + 2, have)
            have = announced + 2
        first = np.int64(frame[2])
        second = np.int64(frame[3])
        third = np.int64(frame[4])
        fourth = np.int64(frame[5])
        if first & 1 == 0:
            out[APCI, row] = I_FRAME
            out[SEND, row] = (first >> 1) | (second << 7)
            out[RECV, row] = (third >> 1) | (fourth << 7)
            if third & 1:
                _blame(out, row, E_APCI, 0, third)
            _asdu(frame, out, row, have)
            if out[START, row] >= 0:
                out[START, row] += skipped
        elif first & 3 == 1:
            out[APCI, row] = S_FRAME
            out[RECV, row] = (third >> 1) | (fourth << 7)
            if first != 1 or second or third & 1:
                _blame(out, row, E_APCI, 1, first)
            elif have > 6:
                _blame(out, row, E_TRAILING, 6, have)
        else:
            out[APCI, row] = U_FRAME
            for bit in range(6):
                if first == 3 | (4 << bit):
                    out[UFUNC, row] = bit
            if out[UFUNC, row] < 0 or second or third or fourth:
                _blame(out, row, E_APCI, 3, first)
            elif have > 6:
                _blame(out, row, E_TRAILING, 6, have)
        if out[OBJECTS, row] > 0:
            total += out[OBJECTS, row]
    return total


@inlined
def _quality(data: U8, out: I32, row: Num, at: Num, to: Num, quality: I16, reserved: Num) -> None:
    """QDS (7.2.6.3): OV, three reserved bits, BL, SB, NT, IV; as the upper half of SIQ, DIQ, QDP too."""
    bits = np.int64(data[at])
    if bits & reserved:
        _blame(out, row, E_BITS, 0, bits)
    quality[to] = bits & (0xF1 if reserved == 0x0E else 0xF0)


@inlined
def _command(data: U8, out: I32, row: Num, at: Num, mask: Num) -> Num:
    """SCO, DCO, RCO (7.2.6.15 to 17): state, QU in bits 2 to 6, S/E in bit 7."""
    bits = np.int64(data[at])
    out[SELECT, row] = bits >> 7
    out[QUALIFIER, row] = (bits >> 2) & 0x1F
    state = bits & mask
    if mask == 1:
        if bits & 2:
            _blame(out, row, E_BITS, 0, bits)
    elif state == 0 or state == 3:
        _blame(out, row, E_STATE, 1, state)
    return state


@inlined
def _element(
    data: U8, out: I32, row: Num, layout: Num, at: Num, to: Num, value: F64, quality: I16, summary: F64
) -> None:
    """Value, quality and command bits of one information element (7.2.6)."""
    if layout == SIQ:
        value[to] = np.int64(data[at]) & 1
        _quality(data, out, row, at, to, quality, 0x0E)
        quality[to] &= 0xF0
    elif layout == DIQ:
        value[to] = np.int64(data[at]) & 3
        _quality(data, out, row, at, to, quality, 0x0C)
    elif layout == VTI:
        step = np.int64(data[at]) & 0x7F
        value[to] = step - 128 if step >= 64 else step
        _quality(data, out, row, at + 1, to, quality, 0x0E)
    elif layout == BSI:
        value[to] = _u32(data, at)
        _quality(data, out, row, at + 4, to, quality, 0x0E)
    elif layout == NVA:
        value[to] = _i16(data, at) / 32768
        _quality(data, out, row, at + 2, to, quality, 0x0E)
    elif layout == SVA:
        value[to] = _i16(data, at)
        _quality(data, out, row, at + 2, to, quality, 0x0E)
    elif layout == FLT:
        value[to] = _float(data, at)
        _quality(data, out, row, at + 4, to, quality, 0x0E)
    elif layout == BCR:
        # 7.2.6.9: counter, then sequence number, CY carry, CA adjusted, IV; their bits here: 4, 8, 128.
        counter = _u32(data, at)
        value[to] = counter - (1 << 32) if counter >= 1 << 31 else counter
        bits = np.int64(data[at + 4])
        quality[to] = ((bits >> 5) & 1) * 4 | ((bits >> 6) & 1) * 8 | bits & 0x80
    elif layout == SEP:
        # 7.2.6.10: event state, a reserved bit, EI elapsed time invalid (2 here), BL, SB, NT, IV.
        bits = np.int64(data[at])
        value[to] = bits & 3
        quality[to] = (bits >> 3 & 1) * 2 | bits & 0xF0
    elif layout in (SPE, OCI):
        value[to] = np.int64(data[at])
        bits = np.int64(data[at + 1])
        quality[to] = (bits >> 3 & 1) * 2 | bits & 0xF0
    elif layout == SCD:
        value[to] = _u16(data, at)
        _quality(data, out, row, at + 4, to, quality, 0x0E)
    elif layout == BARE:
        value[to] = _i16(data, at) / 32768
    elif layout == SCO:
        value[to] = _command(data, out, row, at, 1)
    elif layout in (DCO, RCO):
        value[to] = _command(data, out, row, at, 3)
    elif layout in (SET_NVA, SET_SVA):
        value[to] = _i16(data, at) / 32768 if layout == SET_NVA else _i16(data, at)
        out[QUALIFIER, row] = np.int64(data[at + 2]) & 0x7F
        out[SELECT, row] = np.int64(data[at + 2]) >> 7
    elif layout == SET_FLT:
        value[to] = _float(data, at)
        out[QUALIFIER, row] = np.int64(data[at + 4]) & 0x7F
        out[SELECT, row] = np.int64(data[at + 4]) >> 7
    elif layout == SET_BSI:
        value[to] = _u32(data, at)
    elif layout == QUALIFY:
        out[QUALIFIER, row] = np.int64(data[at])
    elif layout == TEST16:
        value[to] = _u16(data, at)
    elif layout in (PAR_NVA, PAR_SVA):
        value[to] = _i16(data, at) / 32768 if layout == PAR_NVA else _i16(data, at)
        out[QUALIFIER, row] = np.int64(data[at + 2])
    elif layout == PAR_FLT:
        value[to] = _float(data, at)
        out[QUALIFIER, row] = np.int64(data[at + 4])
    if layout in (FLT, SET_FLT, PAR_FLT) and np.isnan(value[to]):
        _blame(out, row, E_VALUE, 0, 0)
    if (SCO <= layout <= SET_BSI or PAR_NVA <= layout <= PAR_FLT) and np.isnan(summary[0, row]):
        summary[0, row] = value[to]


@helper("void(uint8[::1], int32[:, ::1], int64, int64, int64)")
def _file(data: U8, out: I32, row: Num, kind: Num, at: Num) -> None:
    """Name of file and of section, and the qualifier, of types 120 to 127 (7.3.6)."""
    if out[FILE, row] >= 0:
        return
    out[FILE, row] = _u16(data, at)
    if 121 <= kind <= 125:
        out[SECTION, row] = np.int64(data[at + 2])
    if kind == 120 or kind == 126:
        out[QUALIFIER, row] = np.int64(data[at + 5])
    elif kind == 121:
        out[QUALIFIER, row] = np.int64(data[at + 6])
    elif 122 <= kind <= 124:
        out[QUALIFIER, row] = np.int64(data[at + 3])


@inlined
def _tag(data: U8, out: I32, row: Num, kind: Num, end: Num, to: Num, now: Num, time: I64, clock: I64) -> None:
    """The time tag that ends at ``end``."""
    if TIME[kind] == CP56:
        stamp = _cp56(data, end - 7)
        invalid = np.int64(data[end - 5]) >> 7
    else:
        stamp = _cp24(data, end - 3, now)
        invalid = np.int64(data[end - 1]) >> 7
    if invalid:
        out[BADTIME, row] = 1
    elif stamp == NO_TIME:
        _blame(out, row, E_TIME, 0, 0)
    if kind == 103:
        clock[row] = stamp
    else:
        time[to] = stamp


@entry
def objects(
    data: U8,
    offset: I64,
    now: I64,
    out: I32,
    first: I64,
    ioa: I32,
    value: F64,
    quality: I16,
    time: I64,
    summary: F64,
    clock: I64,
) -> None:
    """Decode the information objects.

    Args:
        data: Bytes of all frames.
        offset: Start of each frame, ``int64[n]``.
        now: Time of each frame, for times that lack a date, ``int64[n]``.
        out: As ``frames`` left it.
        first: Filled with the place of each frame's first object in the flat arrays, ``int64[n]``.
        ioa: Filled with object addresses, ``int32[total]``.
        value: Filled with values, ``float64[total]``.
        quality: Filled with quality bits, see ``iec104._QUALITY``, ``int16[total]``; -1 without.
        time: Filled with time tags, ``int64[total]``.
        summary: Filled with set-point, smallest and largest value of each frame, ``float64[3, n]``.
        clock: Filled with the time a clock command sets, ``int64[n]``.
    """
    to = 0
    for row in range(len(offset)):
        first[row] = to
        clock[row] = NO_TIME
        summary[0, row] = np.nan
        summary[1, row] = np.nan
        summary[2, row] = np.nan
        count = out[OBJECTS, row]
        if count <= 0:
            continue
        kind = np.int64(out[TYPE, row])
        layout = LAYOUT[kind]
        size = SIZE[kind]
        at = offset[row] + out[START, row]
        address: Num = 0
        low = np.inf
        high = -np.inf
        for index in range(count):
            if index == 0 or out[SEQUENCE, row] == 0:
                address = _u24(data, at)
                at += 3
            else:
                address += 1
            ioa[to] = address
            value[to] = np.nan
            quality[to] = -1
            time[to] = NO_TIME
            if size >= 0:
                _element(data, out, row, layout, at, to, value, quality, summary)
                if layout == FILES:
                    _file(data, out, row, kind, at)
                if TIME[kind]:
                    _tag(data, out, row, kind, at + size, to, now[row], time, clock)
                if not np.isnan(value[to]):
                    low = value[to] if value[to] < low else low
                    high = value[to] if value[to] > high else high
                at += size
            to += 1
        if low <= high:
            summary[1, row] = low
            summary[2, row] = high
