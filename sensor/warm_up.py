"""A small capture that makes every packet kernel run once, in both formats: what is read to compile them.

One conversation for each protocol that is decoded: requests and answers, the same again (so that repeats are found
and collapsed), a message in two parts where the protocol has such, a write, a refusal. Addresses are those of
documentation (RFC 5737).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable

_CLIENT, _SERVER = bytes([192, 0, 2, 1]), bytes([192, 0, 2, 2])
_POLLS = 8
_START = 1_788_228_000  # 2026-09-01, any time will do
_TCP, _UDP = 6, 17

Talk = Iterable[tuple[bool, bytes]]
"""Payloads in order; True where the server speaks."""


def capture(kind: str = "pcap") -> bytes:
    """The capture, as ``pcap`` or ``pcapng``."""
    frames: list[bytes] = []
    for number, (port, talk) in enumerate(_TALKS.items()):
        frames += _conversation(_UDP if port == 53 else _TCP, 40_000 + number, port, talk())
    if kind == "pcap":
        head = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)
        return head + b"".join(
            struct.pack("<IIII", _START + i, 0, len(frame), len(frame)) + frame for i, frame in enumerate(frames)
        )
    blocks = [_block(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1)), _block(1, struct.pack("<HHI", 1, 0, 0))]
    for i, frame in enumerate(frames):
        ticks = (_START + i) * 10**6
        head = struct.pack("<IIIII", 0, ticks >> 32, ticks & 0xFFFFFFFF, len(frame), len(frame))
        blocks.append(_block(6, head + frame))
    return b"".join(blocks)


def _block(kind: int, body: bytes) -> bytes:
    body += bytes(-len(body) % 4)
    size = struct.pack("<I", len(body) + 12)
    return struct.pack("<I", kind) + size + body + size


def _conversation(protocol: int, client_port: int, server_port: int, talk: Talk) -> list[bytes]:
    frames = []
    sent = [100, 500]
    if protocol == _TCP:
        frames += [
            _frame(_TCP, client_port, server_port, b"", back=False, sequence=99, flags=0x02),
            _frame(_TCP, client_port, server_port, b"", back=True, sequence=499, flags=0x12),
        ]
    for back, payload in talk:
        frames.append(_frame(protocol, client_port, server_port, payload, back=back, sequence=sent[back]))
        sent[back] += len(payload)
    return frames


def _frame(
    protocol: int,
    client_port: int,
    server_port: int,
    payload: bytes,
    *,
    back: bool,
    sequence: int = 0,
    flags: int = 0x18,
) -> bytes:
    ports = (server_port, client_port) if back else (client_port, server_port)
    ends = _SERVER + _CLIENT if back else _CLIENT + _SERVER
    if protocol == _TCP:
        segment = struct.pack(">HHIIBBHHH", *ports, sequence, 1, 0x50, flags, 8192, 0, 0) + payload
    else:
        segment = struct.pack(">HHHH", *ports, 8 + len(payload), 0) + payload
    packet = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(segment), 1, 0, 64, protocol, 0) + ends + segment
    return bytes(12) + b"\x08\x00" + packet


def _modbus() -> Talk:
    def message(number: int, pdu: bytes) -> bytes:
        return struct.pack(">HHHB", number, 0, len(pdu) + 1, 1) + pdu

    for number in range(_POLLS):
        yield False, message(number, b"\x03\0\0\0\2")
        yield True, message(number, b"\x03\4\0\1\0\2")
    yield False, message(90, b"\x06\0\1\0\7")
    yield True, message(90, b"\x06\0\1\0\7")
    yield False, message(91, b"\x10\0\1\0\1\2\0\7")
    yield True, message(91, b"\x90\2")
    yield False, message(92, b"\x2b\x0e\1\0")


def _iec104() -> Talk:
    sent = [0, 0]

    def asdu(back: bool, body: bytes) -> tuple[bool, bytes]:
        head = struct.pack("<BBHH", 0x68, 4 + len(body), sent[back] << 1, sent[not back] << 1)
        sent[back] += 1
        return back, head + body

    yield False, b"\x68\x04\x07\0\0\0"
    yield True, b"\x68\x04\x0b\0\0\0"
    yield asdu(False, struct.pack("<BBHH", 100, 1, 6, 1) + b"\0\0\0\x14")
    yield asdu(True, struct.pack("<BBHH", 100, 1, 7, 1) + b"\0\0\0\x14")
    for _ in range(_POLLS):
        yield asdu(True, struct.pack("<BBHH", 13, 1, 3, 1) + b"\1\0\0" + struct.pack("<fB", 1.5, 0))
    yield asdu(False, struct.pack("<BBHH", 45, 1, 6, 1) + b"\2\0\0\x81")
    yield asdu(True, struct.pack("<BBHH", 45, 1, 7, 1) + b"\2\0\0\x81")
    yield False, b"\x68\x04\x01\0" + struct.pack("<H", sent[1] << 1)


def _crc_dnp(data: bytes) -> bytes:
    value = 0
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0xA6BC if value & 1 else 0)
    return struct.pack("<H", value ^ 0xFFFF)


def _dnp3() -> Talk:
    def frame(back: bool, user: bytes) -> tuple[bool, bytes]:
        ends = (1, 10) if back else (10, 1)
        head = struct.pack("<BBBBHH", 5, 0x64, 5 + len(user), 0x44 if back else 0xC4, *ends)
        blocks = (user[at : at + 16] for at in range(0, len(user), 16))
        return back, head + _crc_dnp(head) + b"".join(block + _crc_dnp(block) for block in blocks)

    for number in range(_POLLS):
        yield frame(False, bytes([0xC0, 0xC0 | number, 1]) + b"\x3c\1\6\x3c\2\6")
        yield frame(True, bytes([0xC0, 0xC0 | number, 129, 0, 0]) + b"\x1e\2\0\0\1\1\5\0\1\6\0")
    control = b"\x0c\1\x28\1\0\1\0\3\1\x64\0\0\0\x64\0\0\0\0"
    yield frame(False, bytes([0xC0, 0xC9, 3]) + control)
    yield frame(True, bytes([0xC0, 0xC9, 129, 0, 0]) + control)
    yield frame(True, bytes([0x40, 0xCA, 129, 0, 0]) + b"\x1e\2\0\0\3\1\5\0\1\6\0")  # first of two parts
    yield frame(True, bytes([0x81]) + b"\1\7\0\1\x08\0")


def _s7comm() -> Talk:
    def packet(data: bytes, last: int = 0x80) -> bytes:
        return struct.pack(">BBH", 3, 0, 7 + len(data)) + bytes([2, 0xF0, last]) + data

    def message(kind: int, number: int, parameter: bytes, data: bytes = b"") -> bytes:
        error = b"\0\0" if kind == 3 else b""
        return struct.pack(">BBHHHH", 0x32, kind, 0, number, len(parameter), len(data)) + error + parameter + data

    item = b"\x12\x0a\x10\2\0\2\0\1\x84\0\0\0"
    yield False, bytes.fromhex("0300001611e00000000100c1020100c2020102c0010a")
    yield True, bytes.fromhex("0300001611d00001000100c0010ac1020100c2020102")
    yield False, packet(message(1, 1, bytes.fromhex("f0000001000101e0")))
    yield True, packet(message(3, 1, bytes.fromhex("f0000001000100f0")))
    for number in range(2, 2 + _POLLS):
        yield False, packet(message(1, number, b"\4\1" + item))
        yield True, packet(message(3, number, b"\4\1", b"\xff\4\0\x10\0\7"))
    yield False, packet(message(1, 90, b"\5\1" + item, b"\0\4\0\x10\0\7"))
    yield True, packet(message(3, 90, b"\5\1", b"\xff"))
    whole = message(7, 91, b"\0\1\x12\4\x11\x44\1\0", b"\xff\x09\0\4\0\x11\0\0")
    yield False, packet(whole[:10], 0) + packet(whole[10:])  # one message in two packets


def _dns() -> Talk:
    name = b"\7example\3com\0"
    for number in range(_POLLS):
        yield False, struct.pack(">HHHHHH", number, 0x0100, 1, 0, 0, 0) + name + b"\0\1\0\1"
        answer = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\xc0\0\2\3"
        yield True, struct.pack(">HHHHHH", number, 0x8180, 1, 1, 0, 0) + name + b"\0\1\0\1" + answer


_TALKS: dict[int, Callable[[], Talk]] = {502: _modbus, 2404: _iec104, 20000: _dnp3, 102: _s7comm, 53: _dns}
"""Port of the server to what is said there."""
