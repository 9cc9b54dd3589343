"""Rare parts of S7comm, one message at a time: connection set-up, blocks, PI services, user data."""

from __future__ import annotations

import struct
from datetime import UTC, datetime
from functools import lru_cache

import polars as pl

from sensor.decoders.s7comm import names

COTP_FIELDS: dict[str, pl.DataType] = {
    "cotp.source_tsap": pl.String(),
    "cotp.destination_tsap": pl.String(),
    "cotp.rack": pl.Int64(),
    "cotp.slot": pl.Int64(),
    "cotp.reason": pl.Int64(),
}
DEEP_FIELDS: dict[str, pl.DataType] = {
    "s7comm.pdu_length": pl.Int64(),
    "s7comm.szl_id": pl.Int64(),
    "s7comm.szl_index": pl.Int64(),
    "s7comm.block_type": pl.String(),
    "s7comm.block_number": pl.Int64(),
    "s7comm.filesystem": pl.String(),
    "s7comm.file_name": pl.String(),
    "s7comm.pi_service": pl.String(),
    "s7comm.pi_argument": pl.String(),
    "s7comm.cpu_state": pl.String(),
    "s7comm.module": pl.String(),
    "s7comm.identity": pl.List(pl.String),
    "s7comm.clock": pl.Datetime("ns", "UTC"),
    "s7comm.access": pl.String(),
    "s7comm.values": pl.List(pl.String),
    "s7comm.items": pl.List(pl.String),
}
"""What ``job`` and ``userdata`` may give; the last three take the place of what the kernel knows."""

_MAX_TEXT = 128
_MAX_ELEMENTS = 32
_CUT = 32  # octets of data shown

Found = dict[str, object]


def _text(data: bytes) -> str:
    """Printable ASCII as it is, all else escaped; without the padding at the end."""
    return data[:_MAX_TEXT].rstrip(b"\x00 ").decode("ascii", "backslashreplace")


def _plain(data: bytes) -> str:
    return "".join(chr(c) if 32 <= c < 127 else f"\\x{c:02x}" for c in data[:_MAX_TEXT])


def connection(packet: bytes) -> Found:
    """Read the variable part of CR, CC, DR and ER (RFC 905, 13.3 to 13.5).

    Args:
        packet: TPKT packet, as far as it is there.
    """
    found: Found = {}
    end = min(len(packet), 5 + packet[4]) if len(packet) > 5 else 0
    kind = packet[5] & 0xF0 if end else 0
    at = 11
    if kind == 0x70:
        at = 9
        if end > 8:
            found["cotp.reason"] = packet[8]
    if kind == 0x80 and end > 10:
        found["cotp.reason"] = packet[10]
    while at + 2 <= end:
        code, size = packet[at], packet[at + 1]
        value = packet[at + 2 : min(at + 2 + size, end)]
        at += 2 + size
        if code == 0xC1 and value:
            found["cotp.source_tsap"] = value[:_CUT].hex()
        elif code == 0xC2 and value:
            found["cotp.destination_tsap"] = value[:_CUT].hex()
            if len(value) == 2 and value[0] in (1, 2, 3):  # programmer, panel, other: then rack and slot
                found["cotp.rack"], found["cotp.slot"] = value[1] >> 5, value[1] & 31
    return found


def _block(name: bytes) -> Found:
    """Name of a block, ``_0A00001P`` or ``0A00001P``: type, number, file system."""
    found: Found = {"s7comm.file_name": _plain(name)}
    body = name[1:] if len(name) == 9 else name
    if len(body) == 8 and body[2:7].isdigit():
        kind = body[:2].decode("ascii", "replace")
        found["s7comm.block_type"] = names.BLOCKS.get(kind, body[:2].hex())
        found["s7comm.block_number"] = int(body[2:7])
        found["s7comm.filesystem"] = _plain(body[7:8])
    return found


def job(parameter: bytes, is_request: bool) -> Found:
    """Read the parameters of set-up, up- and download, PI service and stop.

    Args:
        parameter: Function code and all that follows, as far as it is there.
        is_request: A job, not its acknowledgement.
    """
    function = parameter[0]
    if function == 0xF0 and len(parameter) >= 8:
        return {"s7comm.pdu_length": int.from_bytes(parameter[6:8], "big")}
    if not is_request:
        return {}
    if function in (0x1A, 0x1B, 0x1C, 0x1D) and len(parameter) > 9:
        return _block(parameter[9 : 9 + parameter[8]])
    if function == 0x29 and len(parameter) > 7:
        return {"s7comm.pi_service": _plain(parameter[7 : 7 + parameter[6]])}
    if function == 0x28 and len(parameter) > 10:
        size = int.from_bytes(parameter[8:10], "big")
        argument, rest = parameter[10 : 10 + size], parameter[10 + size :]
        found: Found = {}
        if argument:
            found["s7comm.pi_argument"] = _plain(argument)
        if rest:
            service = _plain(rest[1 : 1 + rest[0]])
            found["s7comm.pi_service"] = service
            if service in names.PI_PROGRAM:
                found["s7comm.access"] = "program"
            if service in ("_INSE", "_DELE") and len(argument) >= 10:  # count, zero, then names of eight octets
                found.update(_block(argument[2:10]))
        return found
    return {}


def _clock(data: bytes) -> datetime | None:
    """DATE_AND_TIME: BCD from the year on, 1990 to 2089; milliseconds in three digits, then the weekday."""
    digits = data[:8].hex()
    if len(digits) != 16 or not digits[:15].isdigit():
        return None
    year = int(digits[:2])
    try:
        return datetime(
            year + (1900 if year >= 90 else 2000),
            int(digits[2:4]),
            int(digits[4:6]),
            int(digits[6:8]),
            int(digits[8:10]),
            int(digits[10:12]),
            int(digits[12:15]) * 1000,
            UTC,
        )
    except ValueError:
        return None


@lru_cache(maxsize=1024)
def known_userdata(group: int, sub: int, data: bytes, is_request: bool) -> Found:
    """``userdata`` for short data, remembered: polls ask and answer the same over and over. Not to be changed."""
    return userdata(group, sub, data, is_request)


def _szl(data: bytes, is_request: bool) -> Found:
    """Read a system state list: what was asked for, and of the answer the state and the identity."""
    if len(data) < 4:
        return {}
    number, index = int.from_bytes(data[:2], "big"), int.from_bytes(data[2:4], "big")
    found: Found = {"s7comm.szl_id": number, "s7comm.szl_index": index}
    if is_request or len(data) < 8:
        return found
    size, count = int.from_bytes(data[4:6], "big"), int.from_bytes(data[6:8], "big")
    if size == 0:
        return found
    elements = [data[8 + n * size : 8 + (n + 1) * size] for n in range(min(count, _MAX_ELEMENTS))]
    kind = number & 0xFF
    identity: list[str] = []
    for element in elements:
        if kind == 0x24 and len(element) >= 4:
            found["s7comm.cpu_state"] = names.STATES.get(element[3] & 15, "unknown")
        elif kind == 0x11 and len(element) >= 28:
            which = int.from_bytes(element[:2], "big")
            order = _text(element[2:22])
            label = names.VERSIONS.get(which, f"index_{which}")
            version = "V" + ".".join(str(part) for part in element[25:28]) if element[24:25] == b"V" else ""
            identity.append(f"{label}={' '.join(part for part in (order, version) if part)}")
            if which in (1, 6) and order:
                found.setdefault("s7comm.module", order)
        elif kind == 0x1C and len(element) > 2:
            which = int.from_bytes(element[:2], "big") & 0xFF
            value = _text(element[2:34])
            if value and which != 10:
                identity.append(f"{names.IDENTITY.get(which, f'index_{which}')}={value}")
            if which in (2, 7) and value:
                found.setdefault("s7comm.module", value)
    if identity:
        found["s7comm.identity"] = identity
    return found


def _cyclic_items(body: bytes) -> Found:
    """Items that are to be sent again and again: count, time base, interval, then items as in a read."""
    items: list[str] = []
    at = 4
    while at + 12 <= len(body) and len(items) < _MAX_ELEMENTS:
        size = body[at + 1]
        if body[at] != 0x12:
            break
        item = body[at : at + 2 + size]
        if size == 10 and item[2] == 0x10:
            count, db, area = struct.unpack_from(">HHB", item, 4)
            items.append(item_name(item[3], count, db, area, int.from_bytes(item[9:12], "big")))
        else:
            items.append("0x" + item[:_CUT].hex())
        at += 2 + size
    return {"s7comm.items": items} if items else {}


def item_name(transport: int, count: int, db: int, area: int, address: int) -> str:
    """Name an item as in a read: ``DB2.DBX4.0 BYTE 8``, ``M10.0 BIT 1``, ``T5 TIMER 1``."""
    short = names.AREAS[area][1] if area in names.AREAS else f"0x{area:02x}"
    if area in (0x84, 0x85):
        place = f"{short}{db}.DBX{address >> 3}.{address & 7}"
    else:
        place = f"{short}{address}" if area in names.NUMBERED else f"{short}{address >> 3}.{address & 7}"
    return f"{place} {names.TRANSPORT.get(transport, f'0x{transport:02x}')} {count}"


def userdata(group: int, sub: int, data: bytes, is_request: bool) -> Found:
    """Read what follows the parameters of a user-data message.

    Args:
        group: Function group.
        sub: Sub-function.
        data: Return code, transport size, length and the data, as far as they are there.
        is_request: Asked, not answered.
    """
    if group == 0:
        state = names.TRANSITIONS.get(sub)
        return {"s7comm.cpu_state": state} if state else {}
    body = data[4 : 4 + int.from_bytes(data[2:4], "big")]
    if not body:
        return {}
    if group == 4 and sub == 1:
        return _szl(body, is_request)
    if group == 7 and len(body) >= 10:
        clock = _clock(body[2:10])
        return {"s7comm.clock": clock} if clock else {}
    if group == 2 and sub in (1, 5) and is_request:
        return _cyclic_items(body)
    if group == 3 and is_request and len(body) >= 2:
        kind = names.BLOCKS.get(body[:2].decode("ascii", "replace"), body[:2].hex())
        found: Found = {"s7comm.block_type": kind}
        if sub == 3 and len(body) >= 8 and body[2:7].isdigit():
            found["s7comm.block_number"] = int(body[2:7])
            found["s7comm.filesystem"] = _plain(body[7:8])
        return found
    if group == 1 and is_request and names.SUB_FUNCTIONS[1].get(sub, ("", ""))[1] in ("write", "control"):
        return {"s7comm.values": [body[:_CUT].hex()]}
    return {}
