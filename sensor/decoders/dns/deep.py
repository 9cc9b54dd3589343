"""Data of rare record types as text, one record at a time."""

from __future__ import annotations

import ipaddress

from sensor.decoders.dns.names import SVC_KEYS

_MAX_TEXT = 1024
_CUT = 256  # octets of data shown in hex


def _escape(data: bytes, *, quoted: bool) -> str:
    special = '"\\' if quoted else ".\\"
    return "".join(
        ("\\" if chr(c) in special else "") + chr(c) if 33 <= c <= 126 or (c == 32 and quoted) else f"\\{c:03d}"
        for c in data[:_MAX_TEXT]
    )


def _strings(data: bytes, count: int) -> tuple[list[str], int] | None:
    """``count`` character strings from the front (RFC 1035, 3.3), and where they end."""
    at = 0
    found: list[str] = []
    for _ in range(count):
        if at >= len(data) or at + 1 + data[at] > len(data):
            return None
        found.append('"' + _escape(data[at + 1 : at + 1 + data[at]], quoted=True) + '"')
        at += 1 + data[at]
    return found, at


def _plain_name(data: bytes) -> tuple[str, int] | None:
    """A name without compression from the front, and where it ends."""
    labels: list[str] = []
    at = 0
    while at < len(data) and at < 256:
        size = data[at]
        if size == 0:
            return ".".join(labels) or ".", at + 1
        if size >= 64 or at + 1 + size > len(data):
            return None
        labels.append(_escape(data[at + 1 : at + 1 + size], quoted=False))
        at += 1 + size
    return None


def _parameter(key: int, value: bytes) -> str | None:
    """One SvcParam (RFC 9460, 7); None if its length is wrong."""
    name = SVC_KEYS.get(key, f"key{key}")
    if key == 1:
        names: list[str] = []
        at = 0
        while at < len(value):
            if not value[at] or at + 1 + value[at] > len(value):
                return None
            names.append(_escape(value[at + 1 : at + 1 + value[at]], quoted=True))
            at += 1 + value[at]
        return f"{name}={','.join(names)}"
    if key == 2:
        return None if value else name
    if key == 3:
        return f"{name}={int.from_bytes(value, 'big')}" if len(value) == 2 else None
    if key in (4, 6):
        size = 4 if key == 4 else 16
        if not value or len(value) % size:
            return None
        parts = [value[at : at + size] for at in range(0, len(value), size)]
        return f"{name}={','.join(str(ipaddress.ip_address(part)) for part in parts)}"
    if key == 0:
        if not value or len(value) % 2:
            return None
        keys = [int.from_bytes(value[at : at + 2], "big") for at in range(0, len(value), 2)]
        return f"{name}={','.join(SVC_KEYS.get(one, f'key{one}') for one in keys)}"
    return f"{name}={value[:_CUT].hex()}"


def _service(data: bytes) -> str | None:
    """SVCB and HTTPS (RFC 9460, 2.2)."""
    if len(data) < 3:
        return None
    target = _plain_name(data[2:])
    if target is None:
        return None
    parts = [str(int.from_bytes(data[:2], "big")), target[0]]
    at = 2 + target[1]
    before = -1
    while at < len(data):
        if at + 4 > len(data):
            return None
        key, size = int.from_bytes(data[at : at + 2], "big"), int.from_bytes(data[at + 2 : at + 4], "big")
        at += 4
        if key <= before or at + size > len(data):  # keys must rise
            return None
        text = _parameter(key, data[at : at + size])
        if text is None:
            return None
        parts.append(text)
        before = key
        at += size
    return " ".join(parts)


def rare(kind: int, data: bytes) -> str | None:
    """Data of one record as text.

    Args:
        kind: Type of the record.
        data: Its data, complete.

    Returns:
        Presentation form for HINFO, NAPTR, CAA, SVCB and HTTPS, hex for all others; None if it is malformed.
    """
    if kind == 13:
        found = _strings(data, 2)
        return " ".join(found[0]) if found and found[1] == len(data) else None
    if kind == 35:
        if len(data) < 5:
            return None
        found = _strings(data[4:], 3)
        name = _plain_name(data[4 + found[1] :]) if found else None
        if found is None or name is None or 4 + found[1] + name[1] != len(data):
            return None
        order, preference = int.from_bytes(data[:2], "big"), int.from_bytes(data[2:4], "big")
        return f"{order} {preference} {' '.join(found[0])} {name[0]}"
    if kind == 257:
        if len(data) < 3 or not data[1] or 2 + data[1] > len(data):
            return None
        tag, value = data[2 : 2 + data[1]], data[2 + data[1] :]
        return f'{data[0]} {_escape(tag, quoted=False)} "{_escape(value, quoted=True)}"'
    if kind in (64, 65):
        return _service(data)
    return data[:_CUT].hex()
