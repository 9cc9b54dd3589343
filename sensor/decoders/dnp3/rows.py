"""From the kernels' tables to event columns."""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt
import polars as pl

from sensor.base import I64, U8
from sensor.columns import pick, some_rows
from sensor.decoders.dnp3 import kernel as k
from sensor.decoders.dnp3 import names
from sensor.decoders.dnp3.deep import DEEP_FIELDS, deep
from sensor.decoders.dnp3.objects import LAYOUT, QUALITY, SIZE
from sensor.lists import lists

Bool = npt.NDArray[np.bool_]

ANOMALIES = {
    "link_short": "The frame is shorter than a link header with its CRC (IEEE 1815-2012, 9.2.4.1)",
    "link_start": "The frame does not begin with 0x05 0x64 (9.2.4.1.1)",
    "link_length": "LENGTH is below 5 (9.2.4.1.2)",
    "link_cut": "The frame ends before LENGTH says (9.2.4.1.2)",
    "link_trailing": "The frame goes on after LENGTH says (9.2.4.1.2)",
    "crc_header": "The CRC of the link header is wrong (9.2.4.3)",
    "crc_data": "The CRC of a data block is wrong (9.2.4.3)",
    "link_function": "The link function code is not assigned (9.2.4.1.3)",
    "link_unexpected_data": "A link function that carries no user data carries some (9.2.4.1.3)",
    "transport_missing": "A frame of user data has no transport octet (8.2.1)",
    "app_short": "The fragment is shorter than its application header (4.2.2)",
    "function_reserved": "The application function code is not assigned (4.2.2.5)",
    "object_header": "An object header is cut off (4.2.2.7)",
    "qualifier": "A qualifier octet is reserved (4.2.2.7.3)",
    "range_order": "A range stops before it starts (4.2.2.7.3)",
    "object_unknown": "Objects of this group and variation have no known size, the rest was not read (annex A)",
    "object_short": "The fragment ends before the objects its headers announce (4.2.2.7)",
    "transport_incomplete": "A new fragment began before the last segment of the one before (8.2.1)",
    "transport_orphan": "A segment without FIR came where none was open (8.2.1)",
    "transport_sequence": "A segment is missing (8.2.1)",
    "transport_too_long": "A fragment is longer than 65,536 octets; the size is the device's choice (4.2.2.1)",
    "transport_evicted": "An unfinished fragment was given up because too many were open",
}
"""In the order of the kernel's ``E_*`` numbers."""


def _table(values: dict[int, str], size: int, other: str = "reserved_{}") -> pl.Series:
    """Names by number; the entry after the last is null."""
    return pl.Series([*(values.get(i, other.format(i)) for i in range(size)), None], dtype=pl.String)


_ERROR = pl.Series([None, *ANOMALIES, None], dtype=pl.String)
_TYPE = pl.Series(["request", "response", "unsolicited", "link", None], dtype=pl.String)
_OUTCOME = pl.Series(["success", "failure", None], dtype=pl.String)
_FUNCTION = _table({code: name for code, (name, _) in names.FUNCTIONS.items()}, 256)
_ACCESS = _table({code: access for code, (_, access) in names.FUNCTIONS.items()}, 256, "other")
_LINK = pl.concat([_table(names.LINK_SECONDARY, 16)[:16], _table(names.LINK_PRIMARY, 16)])
_STATUS = _table(names.CONTROL_STATUS, 128)
_CONTROL = pl.Series([*(names.control_code(code) for code in range(256)), None], dtype=pl.String)
_FLAGS = pl.Series(
    [*(names.flag_names(kind, flags) for kind in range(len(names.FLAGS)) for flags in range(256)), None],
    dtype=pl.String,
)
_REQUEST, _RESPONSE, _UNSOLICITED, _LINK_ONLY = range(4)


@cache
def _objects() -> pl.Series:
    return pl.Series([f"{gv >> 8}.{gv & 255}" for gv in range(1 << 16)], dtype=pl.String)


def _known(values: I64) -> pl.Series:
    """Numbers; -1 is null."""
    series = pl.Series(values)
    return series.set(series < 0, None) if (values < 0).any() else series


def _truth(values: Bool, where: Bool) -> pl.Series:
    """Booleans; null outside ``where``."""
    series = pl.Series(values)
    return series if where.all() else series.set(pl.Series(~where), None)


def rows(link: I64, pdu: I64, start: I64, length: I64, error: I64, data: U8) -> pl.DataFrame:
    """Make one event row for each entry of ``pdu``.

    Args:
        link: The link kernel's table, one column a frame.
        pdu: Frame that completed the row's message.
        start: Where its application fragment begins in ``data``; -1 for none.
        length: Octets of the fragment; -1 for none.
        error: ``E_*`` of link or transport.
        data: Bytes of all fragments.
    """
    has = np.flatnonzero(start >= 0)
    app, ranges, flat = _decode(data, start[has], length[has])
    height = len(pdu)
    which = np.full(height, -1, np.int64)
    which[has] = np.arange(len(has))

    def of(row: int) -> I64:
        spread = np.full(height, -1, np.int64)
        spread[has] = app[row]
        return spread

    octet = link[k.L_CONTROL][pdu]
    framed = octet >= 0
    master_sends = (octet & 0x80) != 0
    source, destination = link[k.L_SOURCE][pdu], link[k.L_DESTINATION][pdu]
    function, header, iin = of(k.A_FUNCTION), of(k.A_CONTROL), of(k.A_IIN)
    reserved = function > 33
    reserved &= (function < 129) | (function > 131)
    kind = np.full(height, _LINK_ONLY, np.int64)
    kind[function >= 0] = _REQUEST
    kind[(function == 129) | (function == 131) | (reserved & ~master_sends)] = _RESPONSE
    kind[function == 130] = _UNSOLICITED

    in_fragment = of(k.A_ERROR)
    error = np.where((error == k.OK) & (in_fragment > 0), in_fragment, error)
    outcome = np.where((kind == _RESPONSE) & (iin >= 0), 0, -1)
    refused = np.zeros(len(has), bool)
    refused[np.repeat(np.arange(len(has)), app[k.A_CONTROLS])[flat.control[4] > 0]] = True
    outcome[has[refused]] = 1
    outcome[(iin >= 0) & ((iin & names.IIN_FAILURE) != 0)] = 1
    outcome[(kind != _RESPONSE)] = -1

    function_name = pick(_FUNCTION, function)
    link_name = pick(_LINK, np.where(framed, (octet & 15) + np.where(octet & 0x40, 16, 0), -1))
    access = np.where(kind == _LINK_ONLY, 0, function)  # 0 is "other"
    request = np.where(kind == _REQUEST, function, -1)
    low, high = np.full(height, np.inf), np.full(height, -np.inf)
    low[has], high[has] = ranges[0], ranges[1]
    crc = link[k.L_BAD_CRC][pdu]
    applied = header >= 0
    error_at = of(k.A_ERROR_AT)
    frame = pl.DataFrame(
        {
            "_pdu": pdu,
            "event.action": function_name.zip_with(function_name.is_not_null(), link_name),
            "event.outcome": pick(_OUTCOME, outcome),
            "error.code": pick(_ERROR, error),
            "error.message": _message(error, np.where(error == in_fragment, error_at, -1)),
            "dnp3.message_type": pick(_TYPE, kind),
            "dnp3.link_source": _known(np.where(framed, source, -1)),
            "dnp3.link_destination": _known(np.where(framed, destination, -1)),
            "dnp3.link_function": link_name,
            "dnp3.link_function_code": _known(np.where(framed, octet & 15, -1)),
            "dnp3.link_dir": _truth(master_sends, framed),
            "dnp3.link_prm": _truth((octet & 0x40) != 0, framed),
            "dnp3.broadcast": _truth(destination >= 0xFFFD, framed),
            "dnp3.master": _known(np.where(framed, np.where(master_sends, source, destination), -1)),
            "dnp3.outstation": _known(np.where(framed, np.where(master_sends, destination, source), -1)),
            "dnp3.sequence": _known(np.where(applied, header & 15, -1)),
            "dnp3.fir": _truth((header & 0x80) != 0, applied),
            "dnp3.fin": _truth((header & 0x40) != 0, applied),
            "dnp3.confirm": _truth((header & 0x20) != 0, applied),
            "dnp3.function_code": _known(function),
            "dnp3.function": function_name,
            "dnp3.request_function": pick(_FUNCTION, request),
            "dnp3.access": pick(_ACCESS, access),
            "dnp3.iin": _known(iin),
            "dnp3.iin_flags": _iin_lists(iin),
            "dnp3.object_count": _known(of(k.A_OBJECTS)),
            "dnp3.range_low": _known(of(k.A_LOW)),
            "dnp3.range_high": _known(of(k.A_HIGH)),
            "dnp3.value_min": pl.Series(np.where(np.isinf(low) & (low > high), np.nan, low), nan_to_null=True),
            "dnp3.value_max": pl.Series(np.where(np.isinf(high) & (low > high), np.nan, high), nan_to_null=True),
            "dnp3.time": _times(of(k.A_TIME)),
            "dnp3.crc_errors": _known(np.where(crc > 0, crc, -1)),
        }
    )
    frame = frame.with_columns(
        *lists(pl.DataFrame({"dnp3.objects": pick(_objects(), flat.headers)}), app[k.A_HEADERS], which).get_columns(),
        *_points(flat, app, which),
    )
    return _time_access(_with_deep(frame, has, start, length, app[k.A_DEEP], data))


class _Flat:
    """Lists of all fragments, one after the other."""

    def __init__(self, headers: int, points: int, controls: int) -> None:
        self.headers = np.empty(headers, np.int64)
        self.index = np.empty(points, np.int64)
        self.value = np.empty(points, np.float64)
        self.flags = np.empty(points, np.int64)
        self.control = np.empty((5, controls), np.int64)

    def room(self, used: I64) -> _Flat:
        """A copy of what is used, with twice the room."""
        more = _Flat(*(2 * int(n) + 2 * k.MAX_POINTS for n in used))
        h, p, c = (int(n) for n in used)
        more.headers[:h] = self.headers[:h]
        more.index[:p], more.value[:p], more.flags[:p] = self.index[:p], self.value[:p], self.flags[:p]
        more.control[:, :c] = self.control[:, :c]
        return more

    def cut(self, used: I64) -> _Flat:
        """What is used, without the rest."""
        h, p, c = (int(n) for n in used)
        self.headers, self.control = self.headers[:h], self.control[:, :c]
        self.index, self.value, self.flags = self.index[:p], self.value[:p], self.flags[:p]
        return self


def _decode(data: U8, start: I64, length: I64) -> tuple[I64, npt.NDArray[np.float64], _Flat]:
    n = len(start)
    app = np.zeros((k.APP_ROWS, n), np.int64)
    ranges = np.empty((2, n))
    # A point takes an octet at least, unless it is a bit: memory that is not touched costs nothing.
    octets = int(length.sum())
    flat = _Flat(2 * n + k.MAX_HEADERS, octets + k.MAX_POINTS, octets // 11 + k.MAX_POINTS)
    used = np.zeros(3, np.int64)
    scratch = np.zeros(8, np.uint8)
    at = 0
    while True:
        at = k.fragments(
            data, start, length, at, LAYOUT, SIZE, QUALITY, scratch, app, ranges,
            flat.headers, flat.index, flat.value, flat.flags, flat.control, used,
        )  # fmt: skip
        if at == n:
            return app, ranges, flat.cut(used)
        flat = flat.room(used)


def _points(flat: _Flat, app: I64, which: I64) -> list[pl.Series]:
    points = lists(
        pl.DataFrame(
            {
                "dnp3.index": _known(flat.index),
                "dnp3.value": pl.Series(flat.value, nan_to_null=True),
                "dnp3.quality": pick(_FLAGS, flat.flags),
            }
        ),
        app[k.A_POINTS],
        which,
    )
    code, count, on, off, status = flat.control
    controls = lists(
        pl.DataFrame(
            {
                "dnp3.control_code": pick(_CONTROL, code),
                "dnp3.control_count": _known(count),
                "dnp3.control_on_time": _known(on),
                "dnp3.control_off_time": _known(off),
                "dnp3.control_status": pick(_STATUS, status),
            }
        ),
        app[k.A_CONTROLS],
        which,
    )
    return [*points.get_columns(), *controls.get_columns()]


def _iin_lists(iin: I64) -> pl.Series:
    distinct, at = np.unique(iin, return_inverse=True)
    texts = [names.iin_names(int(value)) if value > 0 else None for value in distinct]
    return pick(pl.Series(texts, dtype=pl.List(pl.String)), at)


def _times(milliseconds: I64) -> pl.Series:
    # 48 bits reach the year 10889; nanoseconds in 64 bits end in 2262.
    good = (milliseconds >= 0) & (milliseconds < (1 << 63) // 1_000_000)
    return (
        pl.Series(np.where(good, milliseconds * 1_000_000, 0))
        .set(pl.Series(~good), None)
        .cast(pl.Datetime("ns", "UTC"))
    )


def _message(error: I64, at: I64) -> pl.Series:
    texts = pl.Series([None] * len(error), dtype=pl.String)
    wrong = np.flatnonzero(error)
    if not len(wrong):
        return texts
    sentences = list(ANOMALIES.values())
    lines = [
        sentences[code - 1] + (f"; octet {place} of the fragment" if place > 0 else "")
        for code, place in zip(error[wrong].tolist(), at[wrong].tolist(), strict=True)
    ]
    return texts.scatter(wrong, pl.Series(lines, dtype=pl.String))


def _with_deep(frame: pl.DataFrame, has: I64, start: I64, length: I64, where: I64, data: U8) -> pl.DataFrame:
    """Files and device attributes, one fragment at a time: they are rare."""
    found = [
        (int(has[i]), deep(data[start[has[i]] : start[has[i]] + length[has[i]]].tobytes(), int(where[i])))
        for i in np.flatnonzero(where).tolist()
    ]
    columns = []
    for name, dtype in DEEP_FIELDS.items():
        some = [(row, one[name]) for row, one in found if name in one]
        places = np.array([row for row, _ in some], np.int64)
        columns.append(some_rows(frame.height, places, [value for _, value in some], dtype).alias(name))
    return frame.with_columns(columns)


def _time_access(frame: pl.DataFrame) -> pl.DataFrame:
    """A write of group 50 sets the clock."""
    sets = (pl.col("dnp3.function_code") == 2) & pl.col("dnp3.time").is_not_null()
    return frame.with_columns(pl.when(sets).then(pl.lit("time")).otherwise("dnp3.access").alias("dnp3.access"))
