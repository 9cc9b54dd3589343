"""Packets from an interface through a ring that the Linux kernel and this process share (TPACKET_V3).

The kernel fills blocks of many frames and hands over whole blocks; nothing is copied and no system call is made a
frame. Layouts: ``linux/if_packet.h`` and Documentation/networking/packet_mmap.rst. Needs CAP_NET_RAW.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import select
import socket
import struct
import sys
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import numpy as np

from event.errors import InputError
from sensor.base import U8

BLOCK = 1 << 20  # bytes: a whole frame of the largest size that is believed, with its header
BLOCKS = 64  # 64 MiB: half a second at 1 M packets of 128 bytes a second
RETIRE_MS = 100  # a block that is not full is handed over after this time

_SOL_PACKET = 263
_ADD_MEMBERSHIP, _RX_RING, _STATISTICS, _VERSION, _IGNORE_OUTGOING = 1, 5, 6, 10, 23
_ATTACH_FILTER = 26
_TPACKET_V3 = 2
_PROMISCUOUS = 1
_ETH_P_ALL = 3
_SIOCGIFFLAGS, _SIOCGIFMTU, _SIOCGIFHWADDR = 0x8913, 0x8921, 0x8927
_IFF_UP = 1
_FRAME = 2048  # only a unit of the request: blocks hold frames of any size
_STATUS, _FRAMES, _FIRST = 2, 3, 4  # words of a block's head
_USER = 1  # bit of the status word: the block is ours

ETHERNET, RAW_IP = 1, 101  # link types as pcap numbers them
_LINKS = {1: ETHERNET, 772: ETHERNET, 65534: RAW_IP}
"""Hardware type (``linux/if_arp.h``) to link type: Ethernet, loopback, tunnels without a link layer."""

_PERMISSION = (
    "the unit jianmen-live.service brings AmbientCapabilities=CAP_NET_RAW; or run as root;\n"
    "or give this interpreter the right: setcap cap_net_raw=ep $(readlink -f {python})"
)


@dataclass(frozen=True, slots=True)
class Interface:
    """A network interface of this host.

    Attributes:
        name: As the kernel calls it.
        link: Link type as pcap numbers it; None if we cannot read it.
        hardware: The kernel's hardware type.
        up: It is administratively up and has a carrier, or says nothing of one.
        mac: Hardware address.
        mtu: Bytes.
        problem: Why it cannot be captured now; None if it can.
    """

    name: str
    link: int | None
    hardware: int
    up: bool
    mac: str
    mtu: int
    problem: str | None


def interfaces() -> list[Interface]:
    """All interfaces of this network namespace, by name."""
    allowed = may_capture()
    found = []
    for name in sorted(name for _, name in socket.if_nameindex()):
        try:
            address = _asked(name, _SIOCGIFHWADDR)
            hardware = int(struct.unpack_from("H", address, 16)[0])
            up = bool(struct.unpack_from("H", _asked(name, _SIOCGIFFLAGS), 16)[0] & _IFF_UP)
            mtu = int(struct.unpack_from("i", _asked(name, _SIOCGIFMTU), 16)[0])
        except OSError:
            continue  # gone meanwhile
        link = _LINKS.get(hardware)
        problem = None
        if link is None:
            problem = f"link layer {hardware} is not read"
        elif not up:
            problem = "down"
        elif not allowed:
            problem = "no permission (CAP_NET_RAW)"
        mac = address[18:24].hex(":") if hardware == 1 else ""
        found.append(Interface(name, link, hardware, up, mac, mtu, problem))
    return found


def permission_hint() -> str:
    """What to do where ``may_capture`` says no."""
    return _PERMISSION.format(python=sys.executable)


def may_capture() -> bool:
    """Whether this process may open a packet socket."""
    try:
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0).close()
    except OSError:
        return False
    return True


@dataclass(slots=True)
class Counted:
    """What the kernel counted since the ring was opened.

    Attributes:
        packets: Frames that came, dropped ones too.
        drops: Frames for which the ring had no room.
        freezes: Times the ring was full.
    """

    packets: int = 0
    drops: int = 0
    freezes: int = 0


def _asked(interface: str, question: int) -> bytes:
    """One ``ifreq`` of an interface; /sys would show those of another namespace."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        return fcntl.ioctl(any_socket, question, struct.pack("16s24x", os.fsencode(interface)))


class Ring:
    """An open ring on one interface. Not for several threads."""

    def __init__(
        self, interface: str, *, promiscuous: bool = True, blocks: int = BLOCKS, block_bytes: int = BLOCK
    ) -> None:
        """Open it; frames are captured from now on.

        Args:
            interface: Its name.
            promiscuous: Also frames that are not for this host: what a tap or mirror port gives.
            blocks: Blocks of the ring.
            block_bytes: Bytes of each, a multiple of the page size.

        Raises:
            InputError: There is no such interface, it may not be captured, or its link layer cannot be read.
        """
        self.name = interface
        self.counted = Counted()
        self._blocks = blocks
        self._block = block_bytes
        self._at = 0
        self._map: mmap.mmap | None = None
        try:
            index = socket.if_nametoindex(interface)
            hardware = int(struct.unpack_from("H", _asked(interface, _SIOCGIFHWADDR), 16)[0])
        except OSError:
            known = ", ".join(name for _, name in socket.if_nameindex())
            raise InputError(
                "no such interface", where=interface, hint=f"known: {known}; see jianmen sensor list"
            ) from None
        link = _LINKS.get(hardware)
        if link is None:
            raise InputError(
                f"cannot be captured: link layer {hardware} is not read",
                where=interface,
                hint="expected Ethernet, loopback or a tunnel of plain IP; see jianmen sensor list",
            )
        self.link = link
        try:
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        except PermissionError:
            raise InputError(
                "cannot be captured: no permission (CAP_NET_RAW)",
                where=interface,
                hint=permission_hint(),
            ) from None
        except OSError as error:
            raise InputError(f"cannot be captured: {error.strerror or error}", where=interface) from None
        try:
            self._open(index, promiscuous, loopback=hardware == 772)
        except OSError as error:
            self.close()
            hint = "the ring wants locked memory: lower sensor.ring_mb" if error.errno == errno.ENOMEM else None
            raise InputError(f"cannot be captured: {error.strerror or error}", where=interface, hint=hint) from None

    def _open(self, index: int, promiscuous: bool, *, loopback: bool) -> None:
        sock = self._socket
        sock.setsockopt(_SOL_PACKET, _VERSION, _TPACKET_V3)
        size = self._block * self._blocks
        request = struct.pack("7I", self._block, self._blocks, _FRAME, size // _FRAME, RETIRE_MS, 0, 0)
        sock.setsockopt(_SOL_PACKET, _RX_RING, request)
        if loopback:  # every frame is seen going out and coming in
            sock.setsockopt(_SOL_PACKET, _IGNORE_OUTGOING, 1)
        if promiscuous:
            sock.setsockopt(_SOL_PACKET, _ADD_MEMBERSHIP, struct.pack("iHH8s", index, _PROMISCUOUS, 0, b""))
        self._map = mmap.mmap(sock.fileno(), size, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        self.bytes: U8 = np.frombuffer(self._map, np.uint8)
        self._words = self.bytes.view(np.uint32).reshape(self._blocks, -1)
        sock.bind((self.name, _ETH_P_ALL))
        self._poll = select.poll()
        self._poll.register(sock.fileno(), select.POLLIN | select.POLLERR)

    def take(self, timeout_ms: int) -> tuple[U8, int, int] | None:
        """The next block: its bytes, number of frames, offset of the first; ``release`` it soon. None: nothing came.

        Raises:
            InputError: The interface went down or away.
        """
        words = self._words[self._at]
        if not int(words[_STATUS]) & _USER:
            for _, what in self._poll.poll(timeout_ms):
                if what & select.POLLERR:
                    problem = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                    if problem:
                        raise InputError(os.strerror(problem), where=self.name)
            if not int(words[_STATUS]) & _USER:
                return None
        start = self._at * self._block
        return self.bytes[start : start + self._block], int(words[_FRAMES]), int(words[_FIRST])

    def release(self) -> None:
        """Give the block that ``take`` gave back to the kernel."""
        self._words[self._at, _STATUS] = 0
        self._at = (self._at + 1) % self._blocks

    def count(self) -> Counted:
        """Read the kernel's counters; what is new since the last call, and ``counted`` goes up by it."""
        raw = self._socket.getsockopt(_SOL_PACKET, _STATISTICS, 12)
        new = Counted(*struct.unpack("3I", raw))  # the kernel starts at 0 again
        self.counted.packets += new.packets
        self.counted.drops += new.drops
        self.counted.freezes += new.freezes
        return new

    def stop(self) -> None:
        """Let no more frames in; what is in the ring can still be taken, for the last block comes within RETIRE_MS."""
        nothing = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))  # BPF: return 0, take no byte
        program = struct.pack("HP", 1, ctypes.addressof(nothing))
        self._socket.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, program)

    def close(self) -> None:
        """Close the socket; the ring goes when nobody looks at its bytes any more."""
        self._socket.close()
        self._map = None
        self.bytes = np.empty(0, np.uint8)
        self._words = np.empty((1, 8), np.uint32)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
