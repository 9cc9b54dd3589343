"""Syslog from the network: datagrams (RFC 5426), streams (RFC 6587, both framings), streams under TLS (RFC 5425).

What a message says of its sender is a claim; the address it came from is ``log.source.address``. Messages are gathered
and parsed as blocks; a message that is too long is cut and counted, never dropped.
"""

from __future__ import annotations

import contextlib
import copy
import os
import re
import selectors
import socket
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl

from event import registry
from event.errors import ConfigError, InputError
from event.table import conform
from sensor import PARSERS
from sensor.base import Account, LineParser
from sensor.line_tables import line_tables
from sensor.live.beat import Beat, Health

MOST_MESSAGE = 1 << 18
"""Bytes of a message; what is beyond is cut off."""
MOST_CONNECTIONS = 1_000
IDLE_S = 3_600.0
"""A connection that says nothing for so long is closed: its peer is gone."""
_MANY = 16_384  # messages that are not left to wait for the next beat
_MUCH = 8 << 20  # bytes, likewise
_WAIT_S = 0.1
_RECEIVE = 1 << 18
_BUFFER = 8 << 20  # of the kernel, for bursts of datagrams
_COUNT = re.compile(rb"([1-9]\d{0,8}) ")

Transport = Literal["udp", "tcp", "tls"]


@dataclass(frozen=True, slots=True)
class Tls:
    """Who a TLS listener is.

    Attributes:
        certificate: Its chain, PEM.
        key: Its private key, PEM.
        clients: Authorities of clients; with them, clients without a certificate are refused.
    """

    certificate: Path
    key: Path
    clients: Path | None = None


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen."""

    transport: Transport
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.transport}:{host}:{self.port}"


def address_of(text: str) -> Address:
    """Read ``udp:0.0.0.0:514``, ``tcp:[::]:601``, ``tls:10.0.0.1:6514``.

    Raises:
        ConfigError: It is none.
    """
    match = re.fullmatch(r"(udp|tcp|tls):(?:\[([0-9A-Fa-f:.%\w]+)\]|([^\[\]:]+)):(\d{1,5})", text.strip())
    if match is None or not 0 <= int(match[4]) <= 65_535:
        raise ConfigError(
            f"not an address to listen at: {text!r}",
            where="--syslog",
            hint="udp, tcp or tls, host and port, such as udp:0.0.0.0:514, tcp:[::]:601 or tls:10.0.0.1:6514",
        )
    transport: Transport = "udp" if match[1] == "udp" else "tcp" if match[1] == "tcp" else "tls"
    return Address(transport, match[2] or match[3], int(match[4]))


class Framing:
    """Cuts a byte stream into messages: octets counted or ended by LF, as its first message begins (RFC 6587)."""

    def __init__(self) -> None:
        self.cut = 0
        self.broken = False
        self._counted: bool | None = None
        self._rest = b""
        self._skip = 0

    def feed(self, data: bytes) -> list[bytes]:
        """The messages that are whole now."""
        if self._skip:
            passed = min(self._skip, len(data))
            self._skip -= passed
            data = data[passed:]
        data = self._rest + data
        self._rest = b""
        if not data:
            return []
        if self._counted is None:
            head = data[:11]
            if head[:1].isdigit() and b" " not in head and len(head) < 11:
                self._rest = data  # a count or a text: not to be told yet
                return []
            match = _COUNT.match(data)
            if match is not None and len(data) == match.end():
                self._rest = data
                return []
            self._counted = match is not None and data[match.end() : match.end() + 1] == b"<"
        return self._by_count(data) if self._counted else self._by_end(data)

    def _by_end(self, data: bytes) -> list[bytes]:
        pieces = data.split(b"\n")
        rest = pieces.pop()
        out = []
        for piece in pieces:
            if len(piece) > MOST_MESSAGE:
                self.cut += 1
            out.append(piece[:MOST_MESSAGE])
        while len(rest) > MOST_MESSAGE:  # nobody knows where it ends: what follows is a message of its own
            self.cut += 1
            out.append(rest[:MOST_MESSAGE])
            rest = rest[MOST_MESSAGE:]
        self._rest = rest
        return out

    def _by_count(self, data: bytes) -> list[bytes]:
        out = []
        at = 0
        while at < len(data):
            match = _COUNT.match(data, at)
            if match is None:
                if len(data) - at < 10 and data[at:].isdigit():
                    break
                self.broken = True  # nobody knows where the next message starts
                out.append(data[at : at + MOST_MESSAGE])
                return out
            size = int(match[1])
            start = match.end()
            have = len(data) - start
            if have < min(size, MOST_MESSAGE):
                break
            out.append(data[start : start + min(size, MOST_MESSAGE)])
            if size > MOST_MESSAGE:
                self.cut += 1
                self._skip = max(0, size - have)
            at = start + min(size, have)
        self._rest = data[at:]
        return out

    def end(self) -> list[bytes]:
        """What is left when the stream ends."""
        rest, self._rest = self._rest, b""
        if not rest:
            return []
        if self._counted:
            self.cut += 1
            match = _COUNT.match(rest)
            return [rest[match.end() :] if match else rest]
        return [rest]


@dataclass(slots=True)
class _Connection:
    socket: socket.socket
    peer: str
    framing: Framing = field(default_factory=Framing)
    heard: float = field(default_factory=time.monotonic)


class SyslogListener:
    """A syslog socket as a live input; see ``sensor.live.beat.LiveInput``."""

    def __init__(self, address: Address, *, tls: Tls | None = None) -> None:
        """Open it; messages wait in the kernel from now on.

        Raises:
            ConfigError: A TLS listener without a certificate, or one that cannot be read.
            InputError: The address cannot be used.
        """
        self.address = address
        self._context = _context(address, tls) if address.transport == "tls" else None
        self._socket = _bound(address)
        self.port = int(self._socket.getsockname()[1])
        self.name = f"syslog:{Address(address.transport, address.host, self.port)}"
        self.account = Account(self.name, "syslog")
        self.health = Health()
        self._origin = os.urandom(8).hex()
        self._parser: LineParser = copy.deepcopy(registry.load("parsers", "syslog", PARSERS))
        self._messages: list[bytes] = []
        self._peers: list[str] = []
        self._gathered = 0
        self._offset = 0
        self._connections: dict[int, _Connection] = {}
        self._drops_file: Path | None = None
        if address.transport == "udp":
            self._drops_file = Path("/proc/thread-self/net") / (
                "udp6" if self._socket.family == socket.AF_INET6 else "udp"
            )

    # What all transports share.

    def tables(self, beat: Beat) -> Iterator[pl.DataFrame]:
        """Yield event tables until stopped; what has arrived by then is still read."""
        started = time.monotonic()
        try:
            for due in self._received(beat):
                if due or len(self._messages) >= _MANY or self._gathered >= _MUCH:
                    yield from self._handed_over()
                self.account.seconds = time.monotonic() - started
            yield from self._handed_over()
        finally:
            self.close()

    def _received(self, beat: Beat) -> Iterator[bool]:
        """Receive for a while, then say whether a beat is due; over and over until stopped."""
        return self._datagrams(beat) if self.address.transport == "udp" else self._streams(beat)

    def _take(self, message: bytes, peer: str) -> None:
        self.account.bytes += len(message)
        message = message.rstrip(b"\r\n\0")
        if message:
            self._messages.append(message)
            self._peers.append(peer)
            self._gathered += len(message)
        else:
            self._note("empty_messages")

    def _note(self, name: str, count: int = 1) -> None:
        self.account.notes[name] = self.account.notes.get(name, 0) + count

    def _handed_over(self) -> Iterator[pl.DataFrame]:
        if not self._messages:
            return
        messages, self._messages = self._messages, []
        peers = pl.Series(self._peers, dtype=pl.String)
        self._peers = []
        self._gathered = 0
        sizes = np.fromiter((len(m) for m in messages), np.int64, len(messages))
        ends = np.cumsum(sizes) + self._offset
        starts = ends - sizes
        self._offset = int(ends[-1])
        lines = pl.Series([m.decode("utf-8", "replace") for m in messages], dtype=pl.String)
        for table in line_tables(
            self._parser,
            lines,
            pl.Series(starts),
            self.account,
            origin=self._origin,
            name=self.name,
            reference=datetime.now(UTC),
        ):
            rows = np.searchsorted(starts, table["log.offset"].to_numpy())
            yield conform(table.with_columns(peers.gather(pl.Series(rows)).alias("log.source.address")))

    def position(self) -> None:
        """What was received cannot be read again."""

    def close(self) -> None:
        """Close all sockets."""
        for connection in self._connections.values():
            connection.socket.close()
        self._connections.clear()
        self._socket.close()

    # Datagrams.

    def _datagrams(self, beat: Beat) -> Iterator[bool]:
        seen = beat.number
        sock = self._socket
        with selectors.DefaultSelector() as selector:
            selector.register(sock, selectors.EVENT_READ)
            while True:
                stopping = beat.stop.is_set()
                if not stopping:
                    selector.select(_WAIT_S)
                before = len(self._messages)
                with contextlib.suppress(BlockingIOError):
                    for _ in range(_MANY):
                        message, peer = sock.recvfrom(65_535)
                        self._take(message, _plain(peer[0]))
                due = seen != beat.number
                seen = beat.number
                if due or stopping:
                    self._count_drops()
                if stopping and len(self._messages) == before:
                    return
                yield due

    def _count_drops(self) -> None:
        """What the kernel had no room for, as it counts itself (the last column of /proc/net/udp)."""
        if self._drops_file is None:
            return
        inode = str(os.fstat(self._socket.fileno()).st_ino)
        try:
            rows = self._drops_file.read_text().splitlines()[1:]
        except OSError:
            return
        for row in rows:
            words = row.split()
            if len(words) > 12 and words[9] == inode:
                self.health.drops = int(words[12])
                if self.health.drops:
                    self.account.notes["kernel_drops"] = self.health.drops

    # Streams.

    def _streams(self, beat: Beat) -> Iterator[bool]:
        seen = beat.number
        with selectors.DefaultSelector() as selector:
            selector.register(self._socket, selectors.EVENT_READ)
            while True:
                stopping = beat.stop.is_set()
                ready = selector.select(0 if stopping else _WAIT_S)
                for key, _ in ready:
                    if key.fileobj is self._socket:
                        self._accept(selector)
                    else:
                        self._read(selector, self._connections[key.fd])
                due = seen != beat.number
                seen = beat.number
                if due:
                    self._close_silent(selector)
                if stopping and not ready:
                    break
                yield due
            for connection in list(self._connections.values()):
                self._end(selector, connection)

    def _accept(self, selector: selectors.BaseSelector) -> None:
        try:
            connected, peer = self._socket.accept()
        except OSError:  # gone before it was taken, or no descriptors left
            self._note("connections_failed")
            return
        if len(self._connections) >= MOST_CONNECTIONS:
            connected.close()
            self._note("connections_refused")
            return
        connected.setblocking(False)
        if self._context is not None:
            connected = self._context.wrap_socket(connected, server_side=True, do_handshake_on_connect=False)
        connection = _Connection(connected, _plain(peer[0]))
        self._connections[connected.fileno()] = connection
        self._note("connections")
        selector.register(connected, selectors.EVENT_READ)

    def _read(self, selector: selectors.BaseSelector, connection: _Connection) -> None:
        """Take what has come; not for ever, so that the others have their turn."""
        for _ in range(8):
            try:
                data = connection.socket.recv(_RECEIVE)
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return
            except OSError as error:  # TLS errors are such, too
                self._note("tls_failed" if isinstance(error, ssl.SSLError) else "connections_failed")
                data = b""
            if not data:
                self._end(selector, connection)
                return
            connection.heard = time.monotonic()
            for message in connection.framing.feed(data):
                self._take(message, connection.peer)
            if connection.framing.broken:
                self._note("framing_lost")
                self._end(selector, connection)
                return

    def _end(self, selector: selectors.BaseSelector, connection: _Connection) -> None:
        for message in connection.framing.end():
            self._take(message, connection.peer)
        if connection.framing.cut:
            self._note("messages_cut", connection.framing.cut)
        del self._connections[connection.socket.fileno()]
        selector.unregister(connection.socket)
        connection.socket.close()

    def _close_silent(self, selector: selectors.BaseSelector) -> None:
        now = time.monotonic()
        for connection in list(self._connections.values()):
            if now - connection.heard > IDLE_S:
                self._note("connections_silent")
                self._end(selector, connection)


def _plain(host: str) -> str:
    """An address without the disguise of IPv4 in IPv6."""
    return host.removeprefix("::ffff:")


def _context(address: Address, tls: Tls | None) -> ssl.SSLContext:
    if tls is None:
        raise ConfigError(
            "a TLS listener needs a certificate and its key",
            where=str(address),
            hint="--tls-certificate FILE --tls-key FILE, or tls_certificate and tls_key in [sensor] of jianmen.toml",
        )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(tls.certificate, tls.key)
        if tls.clients is not None:
            context.load_verify_locations(tls.clients)
            context.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"cannot use the certificate: {error}", where=str(tls.certificate)) from None
    return context


def _bound(address: Address) -> socket.socket:
    datagram = address.transport == "udp"
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(
            address.host,
            address.port,
            type=socket.SOCK_DGRAM if datagram else socket.SOCK_STREAM,
            flags=socket.AI_PASSIVE,
        )[0]
    except OSError as error:
        raise InputError(f"cannot listen: {error.strerror or error}", where=str(address)) from None
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setblocking(False)
        if datagram:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        else:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(place)
        if not datagram:
            sock.listen(128)
    except OSError as error:
        sock.close()
        hint = None
        if isinstance(error, PermissionError):
            hint = (
                "ports below 1024 need CAP_NET_BIND_SERVICE: take a higher one, such as 5514, or the unit's capability"
            )
        raise InputError(f"cannot listen: {error.strerror or error}", where=str(address), hint=hint) from None
    return sock
