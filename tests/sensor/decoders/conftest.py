"""A small capture reader that owes nothing to the sensor's own: records to transport payloads in order of arrival."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

CAPTURES = Path(__file__).resolve().parents[4] / "shared" / "captures"


@dataclass(frozen=True)
class Segment:
    frame: int
    source: tuple[str, int]
    destination: tuple[str, int]
    tcp: bool
    sequence: int
    payload: bytes


def _records(raw: bytes) -> Iterator[tuple[int, bytes]]:
    """Link type and octets of every record of a pcap or pcapng file."""
    if raw[:4] == b"\x0a\x0d\x0d\x0a":
        order, links, at = "<", [], 0
        while at + 12 <= len(raw):
            kind = struct.unpack_from("<I", raw, at)[0]
            if kind == 0x0A0D0D0A:
                order = "<" if raw[at + 8 : at + 12] == b"\x4d\x3c\x2b\x1a" else ">"
                links = []
            kind, size = struct.unpack_from(order + "II", raw, at)
            if kind == 1:
                links.append(struct.unpack_from(order + "H", raw, at + 8)[0])
            elif kind == 6:
                interface, _, _, have = struct.unpack_from(order + "IIII", raw, at + 8)
                yield links[interface], raw[at + 28 : at + 28 + have]
            at += size
        return
    order = "<" if raw[:4] in (b"\xd4\xc3\xb2\xa1", b"\x4d\x3c\xb2\xa1") else ">"
    link = struct.unpack_from(order + "I", raw, 20)[0]
    at = 24
    while at + 16 <= len(raw):
        have = struct.unpack_from(order + "I", raw, at + 8)[0]
        yield link, raw[at + 16 : at + 16 + have]
        at += 16 + have


def _segment(frame: int, link: int, octets: bytes) -> Segment | None:
    at = {0: 4, 1: 14, 12: 0, 101: 0, 113: 16, 228: 0, 276: 20}.get(link)
    if at is None:
        return None
    while link == 1 and octets[at - 2 : at] in (b"\x81\x00", b"\x88\xa8"):
        at += 4
    packet = octets[at:]
    if len(packet) < 20:
        return None
    if packet[0] >> 4 == 4:
        head, protocol = (packet[0] & 15) * 4, packet[9]
        source, destination = (".".join(map(str, packet[n : n + 4])) for n in (12, 16))
        body = packet[head : struct.unpack_from(">H", packet, 2)[0] or None]
    elif packet[0] >> 4 == 6 and len(packet) >= 40:
        protocol, source, destination = packet[6], packet[8:24].hex(), packet[24:40].hex()
        body = packet[40 : 40 + struct.unpack_from(">H", packet, 4)[0]]
    else:
        return None
    if protocol not in (6, 17) or len(body) < (20 if protocol == 6 else 8):
        return None
    ports = struct.unpack_from(">HH", body)
    sequence = struct.unpack_from(">I", body, 4)[0] if protocol == 6 else 0
    payload = body[(body[12] >> 4) * 4 :] if protocol == 6 else body[8:]
    return Segment(frame, (source, ports[0]), (destination, ports[1]), protocol == 6, sequence, payload)


class Capture:
    """Transport payloads of one file."""

    def __init__(self, path: Path) -> None:
        self.segments = [
            segment
            for frame, (link, octets) in enumerate(_records(path.read_bytes()), 1)
            if (segment := _segment(frame, link, octets)) and segment.payload
        ]

    def messages(self, port: int, cut: object) -> tuple[list[bytes], list[int], list[int]]:
        """Messages to and from a port, their direction and flow.

        Retransmissions are left out by their sequence number; there is no reordering.

        Args:
            port: The server's.
            cut: Called with the octets of a direction so far, gives the length of the next message, 0 for more
                octets wanted, -1 for octets that begin no message.
        """
        found: tuple[list[bytes], list[int], list[int]] = ([], [], [])
        ahead: dict[object, int] = {}
        held: dict[object, bytes] = {}
        flows: dict[object, int] = {}
        for one in self.segments:
            if port not in (one.source[1], one.destination[1]):
                continue
            key = (one.source, one.destination)
            if one.tcp:
                if key in ahead and (one.sequence - ahead[key]) % 2**32 > 2**31:
                    continue
                ahead[key] = (one.sequence + len(one.payload)) % 2**32
            octets = (held.pop(key, b"") if one.tcp else b"") + one.payload
            while octets:
                size = cut(octets)  # type: ignore[operator]
                if size <= 0:
                    break
                found[0].append(octets[:size])
                found[1].append(0 if one.destination[1] == port else 1)
                found[2].append(flows.setdefault(frozenset(key), len(flows)))
                octets = octets[size:]
            if octets and one.tcp and cut(octets) == 0:  # type: ignore[operator]
                held[key] = octets
        return found


@pytest.fixture(scope="session")
def captures() -> Path:
    """Folder of the captures that others published."""
    if not CAPTURES.is_dir():
        pytest.skip("no captures beside the repository")
    return CAPTURES


@pytest.fixture(scope="session")
def read_capture() -> type[Capture]:
    return Capture
