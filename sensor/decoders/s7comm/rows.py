"""From the kernels' tables to event columns."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import polars as pl

from sensor.base import I64, U8, PduBatch
from sensor.columns import nulls, pick, places
from sensor.decoders.s7comm import kernel as k
from sensor.decoders.s7comm import names
from sensor.decoders.s7comm.deep import COTP_FIELDS, DEEP_FIELDS, Found, connection, job, known_userdata, userdata
from sensor.lists import lists

Bool = npt.NDArray[np.bool_]

ANOMALIES = {
    "tpkt_short": "The packet is shorter than its headers (RFC 1006, 6)",
    "tpkt_version": "The TPKT version is not 3 (RFC 1006, 6)",
    "tpkt_length": "The TPKT length is below 7 (RFC 1006, 6)",
    "tpkt_cut": "The packet ends before its TPKT length says (RFC 1006, 6)",
    "tpkt_trailing": "The packet goes on after its TPKT length says (RFC 1006, 6)",
    "cotp_length": "The COTP length indicator does not fit the packet (RFC 905, 13.2.1)",
    "cotp_type": "The TPDU code is not assigned (RFC 905, 13.1)",
    "s7_short": "The message is shorter than the S7comm header",
    "s7_rosctr": "ROSCTR is none of 1, 2, 3 and 7",
    "s7_lengths": "Header, parameter and data length do not add up to the message",
    "s7_parameter": "The parameters are missing or cut off",
    "s7_item": "An item of a read or write is cut off",
    "s7_data": "The data end before the items they belong to",
    "s7_userdata": "The user-data parameter head is not 00 01 12",
    "plus_short": "The S7comm-plus message is shorter than its header",
    "cotp_incomplete": "The next message began before the fragment marked as the last (RFC 905, 13.7)",
    "cotp_too_long": "Fragments add up to more than 65,536 octets",
    "cotp_evicted": "An unfinished message was given up because too many were open",
}
"""In the order of the kernel's ``E_*`` numbers."""

PROTOCOLS = ["empty", "s7comm", "s7comm_plus", "iso_session", "other", None]
_CUT = 32  # octets of a value shown
_REMEMBERED = 512  # octets of user data that are worth remembering


def _table(values: Mapping[int, str], size: int = 256, other: str | None = "0x{:02x}") -> pl.Series:
    """Names by number; the entry after the last is null."""
    found = [values.get(i) or (other.format(i) if other else None) for i in range(size)]
    return pl.Series([*found, None], dtype=pl.String)


_ERROR = pl.Series([None, *ANOMALIES, None], dtype=pl.String)
_SENTENCES = pl.Series([None, *ANOMALIES.values()], dtype=pl.String)
_COTP = _table(names.COTP)
_ROSCTR = _table(names.ROSCTR)
_TYPE = pl.Series(["request", "response", "push", None], dtype=pl.String)
_OUTCOME = pl.Series(["success", "failure", None], dtype=pl.String)
_PROTOCOL = pl.Series(PROTOCOLS, dtype=pl.String)
_GROUP = _table(names.GROUPS, 16, "group_{}")
_AREA = _table({code: name for code, (name, _) in names.AREAS.items()})
_AREA_SHORT = _table({code: short for code, (_, short) in names.AREAS.items()})
_TRANSPORT = _table(names.TRANSPORT)
_OPCODE = _table(names.PLUS_OPCODES)
_NUMBERED = np.isin(np.arange(257), names.NUMBERED)

# One table of functions: jobs first, then group * 256 + sub of user data, then S7comm-plus by number, then null.
_USERDATA, _PLUS = 256, 256 + 16 * 256


def _functions() -> tuple[pl.Series, pl.Series, pl.Series]:
    function = [names.FUNCTIONS.get(i, (f"0x{i:02x}", "other")) for i in range(256)]
    sub: list[str | None] = [None] * 256
    for group in range(16):
        known = names.SUB_FUNCTIONS.get(group, {})
        prefix = names.GROUPS.get(group, f"group_{group}")
        for code in range(256):
            name, access = known.get(code, (f"0x{code:02x}", names.GROUP_ACCESS.get(group, "other")))
            sub.append(name)
            function.append((f"{prefix}_{name}", access))
    function += list(names.PLUS_FUNCTIONS.values())
    sub += [None] * (len(names.PLUS_FUNCTIONS) + 1)
    return (
        pl.Series([*(name for name, _ in function), None], dtype=pl.String),
        pl.Series([*(access for _, access in function), None], dtype=pl.String),
        pl.Series(sub, dtype=pl.String),
    )


_FUNCTION, _ACCESS, _SUB = _functions()
_PLUS_AT = np.full(1 << 16, -1, np.int64)
_PLUS_AT[list(names.PLUS_FUNCTIONS)] = np.arange(_PLUS, _PLUS + len(names.PLUS_FUNCTIONS))


def _known(values: I64) -> pl.Series:
    """Numbers; -1 is null."""
    series = pl.Series(values)
    return series.set(series < 0, None) if (values < 0).any() else series


def rows(pdus: PduBatch, cotp: I64, pdu: I64, start: I64, length: I64, error: I64, data: U8) -> pl.DataFrame:
    """Make one event row for each entry of ``pdu``.

    Args:
        pdus: The packets.
        cotp: The COTP kernel's table, one column a packet.
        pdu: Packet that completed the row's message.
        start: Where its message begins in ``data``; -1 for none.
        length: Octets of the message; -1 for none.
        error: ``E_*`` of TPKT or COTP.
        data: Bytes of all messages.
    """
    has = np.flatnonzero(start >= 0)
    s7, items, values = _decode(data, start[has], length[has])
    height = len(pdu)
    which = np.full(height, -1, np.int64)
    which[has] = np.arange(len(has))

    def of(row: int) -> I64:
        spread = np.full(height, -1, np.int64)
        spread[has] = s7[row]
        return spread

    rosctr, function, group, sub, kind = (
        of(k.S_ROSCTR),
        of(k.S_FUNCTION),
        of(k.S_GROUP),
        of(k.S_SUB),
        of(k.S_TYPE),
    )
    inner = of(k.S_ERROR)
    error = np.where((error == k.OK) & (inner > 0), inner, error)
    message_type = np.full(height, -1, np.int64)
    message_type[rosctr == 1] = 0
    message_type[(rosctr == 2) | (rosctr == 3)] = 1
    userdata_type = np.where((kind & 3) == 0, kind >> 2, np.where((kind & 3) == 3, kind >> 2, -1))
    message_type[kind >= 0] = np.array([2, 0, 1, -1, -1])[userdata_type[kind >= 0]]
    opcode, plus = of(k.S_OPCODE), of(k.S_PLUS)
    at = np.where(function >= 0, function, -1)
    at = np.where(group >= 0, _USERDATA + 256 * group + sub, at)
    at = np.where(plus >= 0, _PLUS_AT[plus], at)
    word, bad = of(k.S_ERROR_WORD), of(k.S_BAD)
    answered = (message_type == 1) & (word >= 0)
    outcome = np.where(answered, (of(k.S_FAILED) > 0).astype(np.int64), -1)
    value = of(k.S_VALUE)
    value[error != k.OK] = -1
    function_name, cotp_name = pick(_FUNCTION, at), pick(_COTP, cotp[k.T_TYPE][pdu])
    session = opcode >= 0
    action = function_name.zip_with(function_name.is_not_null(), pl.Series(cotp_name))
    columns: dict[str, pl.Series | I64] = {
        "_pdu": pdu,
        "event.action": action,
        "event.outcome": pick(_OUTCOME, outcome),
        "error.code": pick(_ERROR, error),
        "error.message": _messages(error),
        "cotp.pdu_type": cotp_name,
        "cotp.protocol": pick(_PROTOCOL, of(k.S_PROTOCOL)),
        "s7comm.rosctr": pick(_ROSCTR, rosctr),
        "s7comm.message_type": pick(_TYPE, message_type),
        "s7comm.pdu_reference": _known(of(k.S_REFERENCE)),
        "s7comm.function_code": _known(function),
        "s7comm.function": function_name.set(pl.Series(at >= _PLUS), None),
        "s7comm.access": pick(_ACCESS, at),
        "s7comm.group_code": _known(group),
        "s7comm.group": pick(_GROUP, group),
        "s7comm.sub_function_code": _known(sub),
        "s7comm.sub_function": pick(_SUB, np.where(group >= 0, at, -1)),
        "s7comm.error_class": _known(np.where(word >= 0, word >> 8, -1)),
        "s7comm.error_code": _known(np.where(word >= 0, word & 255, -1)),
        "s7comm.error": _error_names(np.where(word > 0, word, np.where(bad >= 0, -2 - bad, -1))),
        "s7comm.item_count": _known(of(k.S_ITEMS)),
        "s7comm.value": _known(value),
        "s7comm.value_min": _known(value),
        "s7comm.value_max": _known(value),
        "s7comm_plus.version": _known(of(k.S_VERSION)),
        "s7comm_plus.opcode": pick(_OPCODE, np.where(session, opcode, -1)),
        "s7comm_plus.function_code": _known(plus),
        "s7comm_plus.function": _plus_names(plus, function_name),
    }
    frame = pl.DataFrame(columns)
    frame = frame.with_columns(*_items(items, s7, which, data), *_values(values, s7, which, data))
    return _with_deep(frame, pdus, cotp, pdu, has, s7, data)


def _decode(data: U8, start: I64, length: I64) -> tuple[I64, I64, I64]:
    n = len(start)
    s7 = np.empty((k.S7_ROWS, n), np.int64)
    items = np.empty((k.ITEM_ROWS, n + k.MAX_ITEMS), np.int64)
    values = np.empty((k.DATA_ROWS, n + k.MAX_ITEMS), np.int64)
    used = np.zeros(2, np.int64)
    at = 0
    while True:
        at = k.messages(data, start, length, at, s7, items, values, used)
        if at == n:
            return s7, items[:, : used[0]], values[:, : used[1]]
        items, values = (
            np.concatenate([table, np.empty((len(table), table.shape[1] + k.MAX_ITEMS), np.int64)], axis=1)
            for table in (items, values)
        )


def _items(items: I64, s7: I64, which: I64, data: U8) -> list[pl.Series]:
    """Items addressed, and what they are called: ``DB2.DBX4.0 BYTE 8``, ``M10.0 BIT 1``, ``T5 TIMER 1``."""
    area, db, address = items[k.I_AREA], items[k.I_DB], items[k.I_ADDRESS]
    known = area >= 0
    numbered = _NUMBERED[area]
    in_db = (area == 0x84) | (area == 0x85)
    text = pl.DataFrame(
        {
            "short": pick(_AREA_SHORT, area),
            "db": db,
            "byte": address >> 3,
            "bit": address & 7,
            "number": address,
            "transport": pick(_TRANSPORT, items[k.I_TRANSPORT]),
            "count": items[k.I_COUNT],
            "numbered": numbered,
            "in_db": in_db,
        }
    ).select(
        pl.when("in_db")
        .then(pl.format("{}{}.DBX{}.{} {} {}", "short", "db", "byte", "bit", "transport", "count"))
        .when("numbered")
        .then(pl.format("{}{} {} {}", "short", "number", "transport", "count"))
        .otherwise(pl.format("{}{}.{} {} {}", "short", "byte", "bit", "transport", "count"))
    )
    names_of = text.to_series()
    odd = np.flatnonzero(~known)
    if len(odd):
        hexes = [
            "0x" + data[at : at + min(size, _CUT)].tobytes().hex()
            for at, size in items[k.I_START : k.I_LENGTH + 1, odd].T.tolist()
        ]
        names_of = names_of.scatter(odd, pl.Series(hexes, dtype=pl.String))
    flat = pl.DataFrame(
        {
            "s7comm.items": names_of,
            "s7comm.area": pick(_AREA, area),
            "s7comm.db_number": _known(np.where(known, np.where(in_db, db, 0), -1)),
            "s7comm.address": _known(np.where(known, address, -1)),
        }
    )
    return lists(flat, s7[k.S_ITEMS_LISTED], which).get_columns()


def _values(values: I64, s7: I64, which: I64, data: U8) -> list[pl.Series]:
    """Return codes, and data in hex."""
    text = data.tobytes().hex() if values.shape[1] else ""
    begin = values[k.D_START] * 2
    end = begin + np.minimum(values[k.D_LENGTH], _CUT) * 2
    hexes = [text[a:b] for a, b in zip(begin.tolist(), end.tolist(), strict=True)]
    flat = pl.DataFrame(
        {
            "s7comm.return_codes": _known(values[k.D_CODE]),
            "s7comm.values": pl.Series(hexes, dtype=pl.String).replace("", None),
        }
    )
    return lists(flat, s7[k.S_DATA_LISTED], which).get_columns()


def _messages(error: I64) -> pl.Series:
    return pick(_SENTENCES, error)


def _error_names(error: I64) -> pl.Series:
    """Names of error words, of return codes as ``-2 - code``, and -1 for none."""

    def name(value: int) -> str | None:
        if value > 0:
            return names.error_name(value)
        code = -2 - value
        return None if value >= -1 else names.RETURN_CODES.get(code, f"return_code_0x{code:02x}")

    distinct, at = np.unique(error, return_inverse=True)
    return pick(pl.Series([name(int(value)) for value in distinct], dtype=pl.String), at)


def _plus_names(plus: I64, named: pl.Series) -> pl.Series:
    if not (plus >= 0).any():
        return pl.Series([None] * len(plus), dtype=pl.String)
    numbers = pl.Series(plus)
    return pl.select(pl.when(numbers >= 0).then(pl.coalesce(named, pl.format("0x{}", pl.lit(_hex4(plus)))))).to_series()


def _hex4(numbers: I64) -> pl.Series:
    distinct, at = np.unique(numbers, return_inverse=True)
    return pick(pl.Series([f"{int(v) & 0xFFFF:04x}" for v in distinct], dtype=pl.String), at)


def _with_deep(frame: pl.DataFrame, pdus: PduBatch, cotp: I64, pdu: I64, has: I64, s7: I64, data: U8) -> pl.DataFrame:
    """Fill in what is read one message at a time."""
    kind = cotp[k.T_TYPE][pdu]
    opening = np.flatnonzero(np.isin(kind, (0xE0, 0xD0, 0x80, 0x70))).tolist()
    frame = _fill(frame, opening, [connection(pdus.payload(int(pdu[i]))) for i in opening], COTP_FIELDS)

    function, group, sub = s7[k.S_FUNCTION], s7[k.S_GROUP], s7[k.S_SUB]
    told = np.flatnonzero((function >= 0x1A) | ((group == 4) & (sub == 1)) | np.isin(group, (0, 1, 2, 3, 7)))
    if not len(told):
        return _fill(frame, [], [], DEEP_FIELDS)
    octets = data.tobytes()
    is_job = function >= 0
    at = np.where(is_job, s7[k.S_PARAMETER], s7[k.S_DATA])
    size = np.where(is_job, s7[k.S_PARAMETER_LENGTH], s7[k.S_DATA_LENGTH])
    asks = np.where(is_job, s7[k.S_ROSCTR] == 1, np.isin(s7[k.S_TYPE], (4, 7)))
    rows: list[int] = []
    found: list[Found] = []
    for row, code, of_group, of_sub, begin, count, is_request in zip(
        has[told].tolist(), *(column[told].tolist() for column in (function, group, sub, at, size, asks)), strict=True
    ):
        body = octets[begin : begin + count]
        if code >= 0:
            one = job(body, is_request)
        else:
            read = known_userdata if count <= _REMEMBERED else userdata
            one = read(of_group, of_sub, body, is_request)
        if one:
            rows.append(row)
            found.append(one)
    return _fill(frame, rows, found, DEEP_FIELDS)


def _fill(frame: pl.DataFrame, rows: list[int], found: list[Found], fields: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """Put what was found in some rows into columns; one that is there keeps its value in the other rows."""
    numbers: dict[int, int] = {}  # what is remembered is one object for many rows
    number = [numbers.setdefault(id(one), len(numbers)) for one in found]
    distinct = {id(one): one for one in found}.values()
    index = np.full(frame.height, -1, np.int64)
    index[rows] = number
    place = places(index)
    named = {name for one in distinct for name in one}
    filled = []
    for name, dtype in fields.items():
        there = name in frame.columns
        if name in named:
            new = pl.Series(name, [one.get(name) for one in distinct], dtype=dtype)[place]
            filled.append(new.zip_with(new.is_not_null(), frame[name]) if there else new)
        elif not there:
            filled.append(nulls(frame.height, dtype).alias(name))
    return frame.with_columns(filled)
