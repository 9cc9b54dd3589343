"""A small plant out of network namespaces, and a recorder on its mirror port.

Every host of a story is a namespace of its own with an address and a MAC; all hang on one bridge that forgets
addresses at once and so floods, as a hub does: the tap sees every frame exactly once. Needs root and iproute2.

Time runs ``STRETCH`` times faster while recording than the file says: stories are written in story seconds,
``pause`` sleeps a tenth of it, and the recorder stretches the time stamps again from ``START`` on. So a minute of
recording is ten minutes of plant, and an answer after half a millisecond becomes one after five, as of a real PLC.
"""

from __future__ import annotations

import ctypes
import fcntl
import multiprocessing as mp
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Any

from clocks import moved

STRETCH = 10
"""Story seconds in a second of recording."""

START = 1_788_228_000  # 2026-09-01T02:00:00Z, ten in the morning in Beijing

_LIBC = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWNET = 0x40000000
_FORK = mp.get_context("fork")


def pause(story_seconds: float) -> None:
    """Let ``story_seconds`` of the story pass."""
    time.sleep(story_seconds / STRETCH)


def _ip(*args: str) -> None:
    subprocess.run(["ip", *args], check=True)


def _enter(namespace: str) -> None:
    with Path("/run/netns", namespace).open("rb") as handle:
        if _LIBC.setns(handle.fileno(), _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"setns {namespace}")


def _child(namespace: str, quiet: bool, run: Callable[..., None], args: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _enter(namespace)
    if quiet:  # protocol stacks write of their own accord
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
    run(*args)


def _no_offload(interface: str) -> None:
    """Let the kernel fill in checksums and cut segments itself, so that the tap sees what a wire would carry."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for command in (0x17, 0x1F, 0x24, 0x2C):  # ETHTOOL_STXCSUM, _STSO, _SGSO, _SGRO
            value = ctypes.create_string_buffer(struct.pack("II", command, 0))
            request = struct.pack("16sP", interface.encode(), ctypes.addressof(value))
            try:
                fcntl.ioctl(sock, 0x8946, request)  # SIOCETHTOOL
            except OSError:  # a feature that this kernel does not have is off
                continue


def _quieten(interface: str) -> None:
    for name in ("all", "default"):
        Path("/proc/sys/net/ipv6/conf", name, "disable_ipv6").write_text("1")
    _no_offload(interface)


def _record(path: str, stop: Any, ready: Any) -> None:
    """Write what comes in at ``eth0`` to ``path`` (pcap, microseconds), stretched."""
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 24)
    sock.setsockopt(socket.SOL_SOCKET, 35, 1)  # SO_TIMESTAMPNS
    sock.bind(("eth0", 0))
    index = socket.if_nametoindex("eth0")
    sock.setsockopt(263, 1, struct.pack("iHH8s", index, 1, 0, b""))  # PACKET_MR_PROMISC
    sock.settimeout(0.2)
    first = 0
    ready.set()
    with Path(path).open("wb") as out:
        out.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
        while not stop.is_set():
            try:
                frame, ancillary, _, address = sock.recvmsg(65535, 64)
            except TimeoutError:
                continue
            if address[2] == 4:  # PACKET_OUTGOING
                continue
            seconds, nanos = struct.unpack("qq", ancillary[0][2][:16])
            now = seconds * 10**9 + nanos
            first = first or now
            micros = (now - first) * STRETCH // 1000
            out.write(struct.pack("<IIII", START + micros // 10**6, micros % 10**6, len(frame), len(frame)))
            wall, story = (
                datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=n)
                for n in (now // 1000, START * 10**6 + micros)
            )
            out.write(moved(frame, wall, story))


@dataclass(frozen=True)
class Host:
    """A machine of the story."""

    name: str
    ip: str
    mac: str
    namespace: str
    port: str = ""
    """Its port on the bridge."""


@dataclass
class Plant:
    """The bridge, its hosts, and what runs on them. Use ``with plant(...)``."""

    hosts: dict[str, Host] = field(default_factory=dict)
    prefix: str = field(default_factory=lambda: f"jm{os.getpid()}")
    running: list[ForkProcess] = field(default_factory=list)
    namespaces: list[str] = field(default_factory=list)

    def _namespace(self, name: str) -> str:
        full = f"{self.prefix}{name}"
        _ip("netns", "add", full)
        self.namespaces.append(full)
        return full

    def build(self) -> None:
        """Lay the bridge and the tap."""
        switch = self._namespace("switch")
        options = ("ageing_time", "0", "mcast_snooping", "0", "stp_state", "0")
        self._in(switch, _quieten, "lo")
        _ip("-n", switch, "link", "add", "br0", "type", "bridge", *options)
        _ip("-n", switch, "link", "set", "br0", "up")
        self._wire(self._namespace("tap"), "02:20:00:00:00:fe")

    def _wire(self, namespace: str, mac: str, interface: str = "eth0") -> str:
        switch = f"{self.prefix}switch"
        port = f"p{len(self.namespaces)}"
        self._in(namespace, _quieten, "lo")
        _ip("link", "add", port, "netns", switch, "type", "veth", "peer", "name", interface, "netns", namespace)
        _ip("-n", namespace, "link", "set", interface, "address", mac)
        self._in(namespace, _quieten, interface)
        self._in(switch, _quieten, port)
        _ip("-n", namespace, "link", "set", interface, "up")
        _ip("-n", namespace, "link", "set", "lo", "up")
        _ip("-n", switch, "link", "set", port, "master", "br0", "up")
        return port

    def host(self, name: str, ip: str, *, gateway: str | None = None) -> Host:
        """Put a machine on the bridge; its MAC is made of its address."""
        mac = "02:20:" + ":".join(f"{int(part):02x}" for part in ip.split("."))
        namespace = self._namespace(name)
        port = self._wire(namespace, mac)
        _ip("-n", namespace, "addr", "add", f"{ip}/24", "dev", "eth0")
        if gateway:
            _ip("-n", namespace, "route", "add", "default", "via", gateway)
        made = self.hosts[name] = Host(name, ip, mac, namespace, port)
        return made

    def router(self, name: str, inside: str, outside: str, remote: str, remote_ip: str) -> Host:
        """A router between the bridge (``inside``) and one far host, whose own wire the tap does not see."""
        router = self.host(name, inside)
        far = self._namespace(remote)
        pair = ("type", "veth", "peer", "name", "eth0", "netns", far)
        _ip("link", "add", "eth1", "netns", router.namespace, *pair)
        self._in(far, _quieten, "eth0")
        self._in(router.namespace, _quieten, "eth1")
        for where, interface, address in ((router.namespace, "eth1", outside), (far, "eth0", remote_ip)):
            _ip("-n", where, "addr", "add", f"{address}/24", "dev", interface)
            _ip("-n", where, "link", "set", interface, "up")
        _ip("-n", far, "route", "add", "default", "via", outside)
        self._in(router.namespace, _forward)
        self.hosts[remote] = Host(remote, remote_ip, "", far)
        return router

    def cable(self, host: str, *, plugged: bool) -> None:
        """Pull a host's cable out of the bridge, or put it in again."""
        _ip("-n", f"{self.prefix}switch", "link", "set", self.hosts[host].port, "up" if plugged else "down")

    def _in(self, namespace: str, run: Callable[..., None], *args: Any) -> None:
        process = _FORK.Process(target=_child, args=(namespace, False, run, args))
        process.start()
        process.join()
        if process.exitcode:
            raise RuntimeError(f"{run.__name__} failed in {namespace}")

    def start(self, host: str, run: Callable[..., None], *args: Any) -> ForkProcess:
        """Run ``run`` on a host until the story ends."""
        quiet = "JIANMEN_PLANT_LOUD" not in os.environ
        process = _FORK.Process(target=_child, args=(self.hosts[host].namespace, quiet, run, args))
        process.start()
        self.running.append(process)
        return process

    def do(self, host: str, run: Callable[..., None], *args: Any) -> None:
        """Run ``run`` on a host and wait for its end."""
        process = self.start(host, run, *args)
        process.join()
        if process.exitcode:
            raise RuntimeError(f"{run.__name__} failed on {host}: exit {process.exitcode}")

    def close(self) -> None:
        """End what runs and take the namespaces down."""
        for process in self.running:
            if process.is_alive():
                process.kill()
            process.join()
        for namespace in self.namespaces:
            subprocess.run(["ip", "netns", "del", namespace], check=False)


def _forward() -> None:
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    Path("/proc/sys/net/ipv4/conf/all/send_redirects").write_text("0")


@contextmanager
def plant(out: str | os.PathLike[str]) -> Any:
    """Build a plant, record it to ``out``, take it down."""
    made = Plant()
    stop, ready = _FORK.Event(), _FORK.Event()
    tape: ForkProcess | None = None
    try:
        made.build()
        tape = _FORK.Process(target=_child, args=(f"{made.prefix}tap", False, _record, (str(out), stop, ready)))
        tape.start()
        ready.wait(10)
        yield made
        time.sleep(0.3)
    finally:
        made.running.reverse()  # clients go before the servers they talk to
        stop.set()
        if tape is not None:
            tape.join()
        made.close()


def main(story: Callable[[str], None]) -> None:
    """Entry point of a generator: ``python <name>.pcap.py OUT``."""
    if len(sys.argv) != 2:
        raise SystemExit(f"usage: {sys.argv[0]} OUT.pcap")
    story(sys.argv[1])
