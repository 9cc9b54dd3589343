"""Files (group 70), authentication (group 120) and device attributes (group 0) of IEEE 1815-2012, one by one."""

from __future__ import annotations

import struct

import polars as pl

from sensor.decoders.dnp3.names import AUTH_ERRORS, FILE_MODE, FILE_STATUS
from sensor.decoders.dnp3.objects import ATTRIBUTES, SIZE

DEEP_FIELDS: dict[str, pl.DataType] = {
    "dnp3.file_name": pl.String(),
    "dnp3.file_mode": pl.String(),
    "dnp3.file_size": pl.Int64(),
    "dnp3.file_status": pl.String(),
    "dnp3.file_user": pl.String(),
    "dnp3.device_attributes": pl.List(pl.String),
    "dnp3.auth_user": pl.Int64(),
    "dnp3.auth_error": pl.String(),
}
_MAX_ATTRIBUTES = 64
_MAX_TEXT = 512


def _text(data: bytes) -> str:
    return data[:_MAX_TEXT].decode("utf-8", "backslashreplace")


def _u(data: bytes) -> int:
    return int.from_bytes(data, "little")


def _status(code: int) -> str:
    return FILE_STATUS.get(code, f"reserved_{code}")


def _file(variation: int, body: bytes) -> dict[str, object]:
    """One object of group 70."""
    if variation == 2 and len(body) >= 12:  # offset and size of user name and password, key; the password is not kept
        at, size = struct.unpack_from("<HH", body)
        return {"dnp3.file_user": _text(body[at : at + size])}
    if variation == 3 and len(body) >= 26:
        at, size = struct.unpack_from("<HH", body)
        mode = _u(body[20:22])
        found: dict[str, object] = {
            "dnp3.file_name": _text(body[at : at + size]),
            "dnp3.file_mode": FILE_MODE.get(mode, f"reserved_{mode}"),
        }
        if _u(body[16:20]) not in (0, 0xFFFFFFFF):
            found["dnp3.file_size"] = _u(body[16:20])
        return found
    if variation == 4 and len(body) >= 13:
        found = {"dnp3.file_status": _status(body[12])}
        if body[12] == 0 and _u(body[4:8]) != 0xFFFFFFFF:
            found["dnp3.file_size"] = _u(body[4:8])
        return found
    if variation == 6 and len(body) >= 9:
        return {"dnp3.file_status": _status(body[8])}
    if variation == 7 and len(body) >= 20:
        at, size = struct.unpack_from("<HH", body)
        return {"dnp3.file_name": _text(body[at : at + size]), "dnp3.file_size": _u(body[6:10])}
    if variation == 8:
        return {"dnp3.file_name": _text(body)}
    return {}


# Where the user number lies in objects of group 120 (A.45).
_USER_AT = {1: 4, 2: 4, 3: 4, 4: 0, 5: 4, 6: 4, 7: 4}


def _authentication(variation: int, body: bytes) -> dict[str, object]:
    """One object of group 120: user and, of an error, its code."""
    found: dict[str, object] = {}
    at = _USER_AT.get(variation)
    if at is not None and len(body) >= at + 2:
        found["dnp3.auth_user"] = _u(body[at : at + 2])
    if variation == 7 and len(body) >= 9:
        found["dnp3.auth_error"] = AUTH_ERRORS.get(body[8], f"reserved_{body[8]}")
    return found


def _attribute(variation: int, kind: int, value: bytes) -> str:
    """One object of group 0 as ``vendor_name=...``."""
    name = ATTRIBUTES.get(variation, f"attribute_{variation}")
    if kind == 1:
        return f"{name}={_text(value)}"
    if kind == 2 and len(value) in (1, 2, 4):
        return f"{name}={_u(value)}"
    if kind == 3 and len(value) in (1, 2, 4):
        return f"{name}={int.from_bytes(value, 'little', signed=True)}"
    if kind == 4 and len(value) in (4, 8):
        return f"{name}={struct.unpack('<f' if len(value) == 4 else '<d', value)[0]:g}"
    return f"{name}={value[:64].hex()}"


def deep(body: bytes, at: int) -> dict[str, object]:
    """Read the objects from the first header of group 70, 120 or 0 on.

    Args:
        body: Octets of the fragment, as far as they are there.
        at: Where that object header begins; what lies between headers of other groups ends the reading.

    Returns:
        Of ``DEEP_FIELDS`` those that were found; the first file counts.
    """
    found: dict[str, object] = {}
    attributes: list[str] = []
    while at + 3 <= len(body):
        group, variation, qualifier = body[at], body[at + 1], body[at + 2]
        at += 3
        prefix, code = qualifier >> 4 & 7, qualifier & 15
        width = {7: 1, 8: 2, 9: 4, 11: 1}.get(code, 1 << code % 3 if code < 6 else 0)
        spans = 2 if code < 6 else 1 if width else 0
        if at + spans * width > len(body) or group not in (0, 70, 120):
            break
        first = _u(body[at : at + width])
        count = _u(body[at + width : at + 2 * width]) - first + 1 if code < 6 else first
        at += spans * width
        if group == 70 and prefix < 4:
            break
        octets = 1 << (prefix - 4 if prefix >= 4 else prefix - 1) if prefix else 0
        for _ in range(count):
            if at + octets > len(body):
                return _done(found, attributes)
            size = _u(body[at : at + octets])
            at += octets
            if group == 120 and prefix < 4:
                size = int(SIZE[group * 256 + variation])
            if group in (70, 120):
                if group == 120 and not size:
                    return _done(found, attributes)
                read = _file if group == 70 else _authentication
                for name, value in read(variation, body[at : at + size]).items():
                    found.setdefault(name, value)
                at += size
                continue
            if at + 2 > len(body) or not variation:
                return _done(found, attributes)
            kind, size = body[at], body[at + 1]
            if len(attributes) < _MAX_ATTRIBUTES:
                attributes.append(_attribute(variation, kind, body[at + 2 : at + 2 + size]))
            at += 2 + size
    return _done(found, attributes)


def _done(found: dict[str, object], attributes: list[str]) -> dict[str, object]:
    if attributes:
        found["dnp3.device_attributes"] = attributes
    return found
