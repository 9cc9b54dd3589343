"""Clocks in messages, brought from the recorder's time to that of the story.

A story is recorded at some hour and dated from ``plant.START`` on. A master that sets a clock to the time of day says
the recorder's hour; in the file that would be a clock set wrongly by weeks. One that is set wrongly on purpose stays.
"""

from __future__ import annotations

import struct
from datetime import UTC, datetime, timedelta

_NEAR = timedelta(minutes=1)
_S7_SET_CLOCK = (b"\x00\x01\x12\x04\x11\x47\x02", b"\x00\x01\x12\x04\x11\x47\x04")


def moved(frame: bytes, wall: datetime, story: datetime) -> bytes:
    """An Ethernet frame whose IEC 104 or S7 clock command tells the story's time.

    Args:
        frame: Without VLAN tags.
        wall: When it was recorded, UTC.
        story: What the file says of that, UTC.

    Returns:
        The frame as it was if it sets no clock, or one that is more than a minute from ``wall``.
    """
    if len(frame) < 54 or frame[12:14] != b"\x08\x00" or frame[23] != 6:
        return frame
    begin = 14 + (frame[14] & 15) * 4
    data = begin + (frame[begin + 12] >> 4) * 4
    end = 14 + struct.unpack(">H", frame[16:18])[0]
    old = frame
    for at in _iec104(frame, data, end):
        seen = _cp56(frame[at : at + 7])
        if seen is not None and abs(seen - wall) < _NEAR:
            frame = frame[:at] + _as_cp56(story + (seen - wall), frame[at : at + 7]) + frame[at + 7 :]
    for at in _s7(frame, data, end):
        said = _bcd(frame[at : at + 8])
        if said is not None and abs(said - wall) < _NEAR:
            frame = frame[:at] + _as_bcd(story + (said - wall)) + frame[at + 8 :]
    return frame if frame == old else _summed(frame, begin, end)


def _iec104(frame: bytes, at: int, end: int) -> list[int]:
    """Places of CP56Time2a in clock commands (type 103)."""
    found = []
    while at + 22 <= end and frame[at] == 0x68:
        if not frame[at + 2] & 1 and frame[at + 6] == 103:
            found.append(at + 15)
        at += 2 + frame[at + 1]
    return found


def _s7(frame: bytes, at: int, end: int) -> list[int]:
    """Places of DATE_AND_TIME in user data 7/2 and 7/4."""
    hits = (frame.find(one, at, end) for one in _S7_SET_CLOCK)
    return [hit + 8 + 4 + 2 for hit in hits if hit >= 0 and hit + 22 <= end]


def _cp56(data: bytes) -> datetime | None:
    millis, minute, hour, day, month, year = struct.unpack("<HBBBBB", data)
    try:
        base = datetime(2000 + (year & 127), month & 15, day & 31, hour & 31, minute & 63, tzinfo=UTC)
    except ValueError:
        return None
    return base + timedelta(milliseconds=millis)


def _as_cp56(time: datetime, old: bytes) -> bytes:
    weekday = time.isoweekday() << 5 if old[4] >> 5 else 0
    millis = time.second * 1000 + time.microsecond // 1000
    return struct.pack("<HBBBBB", millis, time.minute, time.hour, weekday | time.day, time.month, time.year - 2000)


def _bcd(data: bytes) -> datetime | None:
    digits = data.hex()
    try:
        return datetime.strptime(f"20{digits[:15]}000", "%Y%m%d%H%M%S%f").replace(tzinfo=UTC)
    except ValueError:
        return None


def _as_bcd(time: datetime) -> bytes:
    day = time.isoweekday() % 7 + 1
    return bytes.fromhex(f"{time:%y%m%d%H%M%S}{time.microsecond // 1000:03d}{day}")


def _summed(frame: bytes, begin: int, end: int) -> bytes:
    """With the TCP checksum of what it is now."""
    segment = frame[begin : begin + 16] + b"\x00\x00" + frame[begin + 18 : end]
    pseudo = frame[26:34] + struct.pack(">HH", 6, len(segment))
    words = pseudo + segment + b"\x00" * (len(segment) % 2)
    total = sum(struct.unpack(f">{len(words) // 2}H", words))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return frame[: begin + 16] + struct.pack(">H", ~total & 0xFFFF) + frame[begin + 18 :]
