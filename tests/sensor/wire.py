"""Two network namespaces with a veth pair between them, and frames of captures sent through it."""

import ctypes
import os
import shutil
import socket
import struct
import subprocess
import threading
from pathlib import Path

import pytest

_CLONE_NEWNET = 0x40000000


def impossible() -> str | None:
    """Why no namespaces can be made here; None if they can."""
    if os.geteuid() != 0:
        return "not root: no network namespaces"
    if shutil.which("ip") is None:
        return "no ip command (package iproute2)"
    return None


def need_wire() -> None:
    """Skip with the reason where no namespaces can be made; where CI is set that is a failure."""
    reason = impossible()
    if reason is not None:
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)


def ip(*args: object) -> None:
    subprocess.run(["ip", *map(str, args)], check=True, capture_output=True)


class Wire:
    """``near`` is where frames are sent, ``far`` where they are captured; interfaces ``wtx`` and ``wrx``."""

    def __init__(self) -> None:
        self.near, self.far = f"jmn{os.getpid()}", f"jmf{os.getpid()}"
        for name in (self.near, self.far):
            ip("netns", "add", name)
            # nothing but what the test sends: no neighbour discovery
            in_namespace(name, lambda: Path("/proc/sys/net/ipv6/conf/default/disable_ipv6").write_text("1"))
        ip("-n", self.near, "link", "add", "wtx", "type", "veth", "peer", "name", "wrx", "netns", self.far)
        ip("-n", self.near, "link", "set", "wtx", "up", "mtu", 9000)
        ip("-n", self.far, "link", "set", "wrx", "up", "mtu", 9000)
        ip("-n", self.near, "link", "set", "lo", "up")

    def send(self, frames: list[bytes]) -> None:
        def run() -> None:
            with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as out:
                out.bind(("wtx", 0))
                for frame in frames:
                    out.send(frame)

        in_namespace(self.near, run)

    def close(self) -> None:
        for name in (self.near, self.far):
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


def in_namespace(name, job):
    """Run ``job`` in a thread that has entered a namespace; its result."""
    out = []

    def run() -> None:
        handle = os.open(f"/run/netns/{name}", os.O_RDONLY)
        try:
            if ctypes.CDLL(None, use_errno=True).setns(handle, _CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")
            out.append((job(), None))
        except BaseException as error:  # noqa: BLE001 - raised below, in the thread that asked
            out.append((None, error))
        finally:
            os.close(handle)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    value, error = out[0]
    if error is not None:
        raise error
    return value


def frames_of(path: Path) -> list[bytes]:
    """Frames of a little-endian pcap file."""
    data = path.read_bytes()
    assert data[:4] in (b"\xd4\xc3\xb2\xa1", b"\x4d\x3c\xb2\xa1")
    out, at = [], 24
    while at < len(data):
        (size,) = struct.unpack_from("<I", data, at + 8)
        out.append(data[at + 16 : at + 16 + size])
        at += 16 + size
    return out


def as_pcap(frames: list[bytes]) -> bytes:
    """A capture in which all frames came at the same moment, as they do when they are sent at top speed."""
    head = struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 65535, 1)
    return head + b"".join(struct.pack("<IIII", 1_788_228_000, i, len(f), len(f)) + f for i, f in enumerate(frames))
