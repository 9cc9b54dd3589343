"""Capture files: opened, decompressed, read in blocks with ``readinto``, walked by the kernels.

No mmap: a file that is truncated under a mapping kills the process, and a mapping cannot read a pipe or a
compressed file. Formats: pcap (draft-ietf-opsawg-pcap) in both byte orders, micro- and nanoseconds, and with the
longer record header of magic ``0xa1b2cd34``; pcapng (draft-ietf-opsawg-pcapng) with any number of sections and
interfaces. Both plain, in gzip (RFC 1952) or in zstd (RFC 8878).
"""

from __future__ import annotations

import mmap
import os
import struct
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

import numpy as np

from event.errors import InputError
from sensor import kernels_layout as k
from sensor.base import SensorLimits

BLOCK = 4 << 20  # bytes read at once: 256 KiB to 4 MiB were equally fast
_RAW = 1 << 18  # bytes of compressed input at once

_PCAP = {  # magic as it stands in the file: (big-endian, nanoseconds, record header)
    b"\xd4\xc3\xb2\xa1": (0, 0, 16),
    b"\xa1\xb2\xc3\xd4": (1, 0, 16),
    b"\x4d\x3c\xb2\xa1": (0, 1, 16),
    b"\xa1\xb2\x3c\x4d": (1, 1, 16),
    b"\x34\xcd\xb2\xa1": (0, 0, 24),
    b"\xa1\xb2\xcd\x34": (1, 0, 24),
}
_PCAPNG = b"\x0a\x0d\x0d\x0a"


def capture_kind(head: bytes) -> str | None:
    """``pcap``, ``pcapng``, or None if ``head`` (12 bytes at least) starts neither."""
    if head[:4] in _PCAP:
        return "pcap"
    if head[:4] == _PCAPNG and head[8:12] in (b"\x1a\x2b\x3c\x4d", b"\x4d\x3c\x2b\x1a"):
        return "pcapng"
    return None


class ByteSource:
    """Decompressed bytes of a file or stream, block by block.

    Attributes:
        compression: ``gzip``, ``zstd`` or None.
        raw_bytes: Bytes read from the file so far, as they lie there.
        problem: What was wrong with the compression, once the end came too early.
    """

    def __init__(self, raw: BinaryIO, *, close: bool = False) -> None:
        self._raw = raw
        self._close = close
        self.raw_bytes = 0
        self.problem: str | None = None
        self._peeked = b""
        self._pending = b""
        while len(self._pending) < 4:
            more = raw.read(_RAW)
            if not more:
                break
            self._pending += more
        self.raw_bytes = len(self._pending)
        self.compression: str | None = None
        self._readinto: Callable[[memoryview], int] = self._plain
        if self._pending[:2] == b"\x1f\x8b":
            self.compression = "gzip"
            self._inflate = zlib.decompressobj(wbits=31)
            self._readinto = self._gzip
        elif self._pending[:4] == b"\x28\xb5\x2f\xfd":
            import zstandard

            self.compression = "zstd"
            self._zstd_error = zstandard.ZstdError
            self._zstd = zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(
                cast("IO[bytes]", _Feed(self)), read_across_frames=True
            )
            self._readinto = self._zstandard

    def readinto(self, view: memoryview) -> int:
        """Fill the front of ``view``; 0 at the end (or where the compressed data is damaged: see ``problem``)."""
        if self._peeked:
            out, self._peeked = self._peeked[: len(view)], self._peeked[len(view) :]
            view[: len(out)] = out
            return len(out)
        return self._readinto(view)

    def peek(self, size: int) -> bytes:
        """First bytes, at most ``size``, without taking them; fewer only at the end of the input."""
        if len(self._peeked) < size:
            buffer = memoryview(bytearray(size))
            have = len(self._peeked)
            buffer[:have] = self._peeked
            while have < size:
                count = self._readinto(buffer[have:])
                if count == 0:
                    break
                have += count
            self._peeked = bytes(buffer[:have])
        return self._peeked[:size]

    def close(self) -> None:
        """Close the file, if it was opened here."""
        if self._close:
            self._raw.close()

    def take(self, size: int) -> bytes:
        """At most ``size`` bytes as they lie in the file; none at the end."""
        if self._pending:
            out, self._pending = self._pending[:size], self._pending[size:]
            return out
        out = self._raw.read(size) or b""
        self.raw_bytes += len(out)
        return out

    def _plain(self, view: memoryview) -> int:
        if self._pending:
            out = self.take(len(view))
            view[: len(out)] = out
            return len(out)
        readinto = getattr(self._raw, "readinto", None)
        if readinto is None:
            out = self._raw.read(len(view)) or b""
            view[: len(out)] = out
            count = len(out)
        else:
            count = int(readinto(view) or 0)
        self.raw_bytes += count
        return count

    def _gzip(self, view: memoryview) -> int:
        inflate = self._inflate
        while True:
            if inflate.eof:
                rest = inflate.unused_data.lstrip(b"\0") or self.take(_RAW).lstrip(b"\0")
                if not rest:
                    return 0
                if rest[:1] != b"\x1f":
                    self.problem = "bytes that are no gzip member after the last one"
                    return 0
                self._inflate = inflate = zlib.decompressobj(wbits=31)
                data = rest
            else:
                data = inflate.unconsumed_tail or self.take(_RAW)
                if not data:
                    self.problem = "the gzip stream ends early"
                    return 0
            try:
                out = inflate.decompress(data, len(view))
            except zlib.error as error:
                self.problem = f"damaged gzip stream: {error}"
                return 0
            if out:
                view[: len(out)] = out
                return len(out)

    def _zstandard(self, view: memoryview) -> int:
        try:
            return int(self._zstd.readinto(view))
        except self._zstd_error as error:
            self.problem = f"damaged zstd stream: {error}"
            return 0


class _Feed:
    """The file as zstandard wants it."""

    def __init__(self, source: ByteSource) -> None:
        self._source = source

    def read(self, size: int) -> bytes:
        return self._source.take(size)


def new_state(limits: SensorLimits, apps: int = 0b111110) -> k.State:
    """Fresh state for one input. Nothing is touched before it is used, so a small capture needs little memory.

    Args:
        limits: Bounds.
        apps: Bit set of applications (``1 << A_*``) that have a decoder.
    """
    flows, streams, fragments = max(16, limits.flows), max(16, limits.streams), max(16, limits.fragments)
    carry = max(512, limits.carry_bytes)
    for what, wanted, most in (
        ("flows", flows, k.MOST_FLOWS),
        ("streams", streams, k.MOST_STREAMS),
        ("fragments", fragments, k.MOST_FRAGMENTS),
        ("carry_bytes", carry, k.MOST_CARRY),
        ("max_frame", limits.max_frame, k.MOST_FRAME),
    ):
        if wanted > most:
            raise ValueError(f"limit {what}: expected at most {most}, found {wanted}")
    pages = mmap.mmap(-1, k.STATE.itemsize, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    pages.madvise(mmap.MADV_NOHUGEPAGE)  # of most tables only the front is used
    record = np.frombuffer(pages, k.STATE)[0]
    c = record["c"]
    for place in (k.C_FREE_FLOW, k.C_FREE_STREAM, k.C_FREE_CARRY, k.C_SWEEP_AT):
        c[place] = -1
    seed = np.frombuffer(os.urandom(12), np.uint32).astype(np.int64) & 0x7FFFFFFF
    c[k.C_K1] = int(seed[0]) % ((1 << 31) - 3) + 1
    c[k.C_K2] = int(seed[1]) % ((1 << 31) - 3) + 1
    c[k.C_SEED] = int(seed[2]) % ((1 << 31) - 3)
    c[k.C_MAX_FRAME] = limits.max_frame
    c[k.C_IDLE] = limits.idle_timeout_ns
    c[k.C_ACTIVE] = limits.active_timeout_ns
    c[k.C_CARRY] = carry
    c[k.C_PDU_FLUSH] = k.PDU_FLUSH
    c[k.C_DATA_FLUSH] = k.DATA_FLUSH
    c[k.C_ROW_FLUSH] = k.ROW_FLUSH
    c[k.C_WANT] = apps
    c[k.C_EPOCH] = 1
    c[k.C_FLOWS] = flows
    c[k.C_SLOTS] = 1 << (2 * flows - 1).bit_length()
    c[k.C_STREAMS] = streams
    c[k.C_CARRIES] = min(max(64, streams // 4), k.MOST_CARRIES)
    c[k.C_FRAGS] = fragments
    record["carry_next"][:] = -1
    return k.State(record, pages, **{name: record[name] for name in k.State._fields[2:]})


def give_back(state: k.State) -> None:
    """Give back the memory of datagrams that are not under reassembly any more.

    Every entry has room for the longest datagram; without this each that was ever used by a long one stays resident,
    64 MiB in all.
    """
    idle = np.concatenate([[0], (state.frags["used"] == 0).astype(np.int8), [0]])
    edges = np.flatnonzero(np.diff(idle))
    for start, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        state.pages.madvise(mmap.MADV_DONTNEED, start * k.DATAGRAM, (end - start) * k.DATAGRAM)


def compile_kernels(kind: str) -> None:
    """Compile, or load from the cache, what reads captures of a kind, by walking one without a frame."""
    from sensor import kernels

    state = new_state(SensorLimits(flows=16, streams=16, fragments=16))
    state.c[k.C_RECORD] = 16
    block = np.zeros(64, np.uint8)
    walk: Any = kernels.walk_pcap if kind == "pcap" else kernels.walk_pcapng
    walk(state.record, block, 0, 0)
    kernels.drain(state.record)


class Walk(ABC):
    """Frames on their way through the kernels, wherever they come from: ``CaptureWalk`` or a live interface.

    Attributes:
        state: What the kernels leave behind: the reader takes rows out whenever ``steps`` yields.
        kind: Kind of input for its account.
        head: Bytes that identify the input, for ``event.table.origin_of``.
        error: Set when the input turned out to be damaged; raised by the reader once all is out.
        notes: Counters of what happened outside of the kernels.
    """

    kind: str
    head: bytes

    def __init__(self, name: str, limits: SensorLimits, apps: int) -> None:
        self.name = name
        self.state = new_state(limits, apps)
        self.error: InputError | None = None
        self.notes: dict[str, int] = {}
        self._start = 0
        self._end = 0

    @property
    @abstractmethod
    def bytes_read(self) -> int:
        """Bytes taken from the input so far."""

    @abstractmethod
    def steps(self) -> Iterator[None]:
        """Walk the input; yields whenever rows have to be taken out of ``state``, and once at the end."""

    @abstractmethod
    def close(self) -> None:
        """Release the input."""

    def said(self) -> list[tuple[str, str, int]]:
        """What the input itself noticed since the last call: ``error.code``, ``error.message``, how many."""
        return []

    def take_error(self) -> InputError:
        """The damage, given away: a raised error holds its frames, and they would hold it and all state here."""
        error, self.error = self.error, None
        return error or InputError("not damaged", where=self.name)

    def reset(self) -> None:
        """Forget the rows that were taken out."""
        c = self.state.c
        for place in (k.C_PDUS, k.C_DATA, k.C_ENDS, k.C_LOCALS, k.C_ARPS, k.C_SIGNS):
            c[place] = 0
        c[k.C_EPOCH] += 1
        give_back(self.state)

    def drained(self) -> Iterator[None]:
        """Close all flows at the end of the input; yields as ``steps`` does, at least once."""
        from sensor import kernels

        # A datagram that is late is only met when another looks for room nearby, which the secret hash decides: what is
        # left is counted here, so that the same input gives the same count.
        self.state.c[k.C_FRAGS_STALE] += np.count_nonzero(self.state.frags["used"])
        self.state.frags["used"] = 0
        while True:
            try:
                status = int(kernels.drain(self.state.record))
            except IndexError:
                self._skip_flow()
                continue
            yield
            self.reset()
            if status == k.S_DONE:
                return

    def _skip_frame(self) -> None:
        """After an IndexError: leave one frame out and count it. It is a bug of a kernel, never silent."""
        c = self.state.c
        if int(c[k.C_NEXT]) > int(c[k.C_POS]):
            c[k.C_FAILED] += 1
            self.state.notes[k.R_KERNEL] += 1
            self._start = int(c[k.C_NEXT])
        else:
            self._start = int(c[k.C_POS])
            self._skip_flow()

    def _skip_flow(self) -> None:
        c = self.state.c
        if int(c[k.C_SWEEP_AT]) < 0:
            raise AssertionError("a kernel failed outside of a frame and a sweep")
        c[k.C_SWEEP_AT] += 1
        self.state.notes[k.R_KERNEL] += 1
        c[k.C_LATE] = 0


class CaptureWalk(Walk):
    """One capture, ``pcap`` or ``pcapng``, on its way through the kernels; see ``Walk``."""

    def __init__(self, source: ByteSource, name: str, limits: SensorLimits, apps: int) -> None:
        super().__init__(name, limits, apps)
        self.source = source
        self._buffer = np.empty(max(BLOCK, 2 * limits.max_frame + (1 << 18)), np.uint8)
        self._view = memoryview(cast("Any", self._buffer))
        self._base = 0  # offset in the decompressed file of the buffer's first byte
        self._eof = False
        while self._end < (1 << 20) and self._fill():
            pass
        self.head = bytes(self._view[: min(self._end, 1 << 20)])
        kind = capture_kind(self.head)
        if kind is None:
            raise InputError("not a capture: no pcap or pcapng magic number", where=f"{name}, byte 0")
        self.kind = kind
        self._interfaces = 0
        if kind == "pcap":
            self._pcap_header()
        else:
            self.state.c[k.C_IFACES] = 0

    def close(self) -> None:
        """Close the file."""
        self.source.close()

    def _fill(self) -> int:
        """Read more behind what is there; 0 at the end of the input."""
        if self._eof:
            return 0
        try:
            count = self.source.readinto(self._view[self._end :])
        except OSError as error:
            self.source.problem = f"cannot be read: {error.strerror or error}"
            count = 0
        if count == 0:
            self._eof = True
        self._end += count
        return count

    def _pcap_header(self) -> None:
        big, nano, record = _PCAP[self.head[:4]]
        if self._end < 24:
            raise InputError(
                f"pcap header cut short: expected 24 bytes, found {self._end}", where=f"{self.name}, byte 0"
            )
        c = self.state.c
        c[k.C_SWAP] = big
        c[k.C_NANO] = nano
        c[k.C_RECORD] = record
        # the upper bits say how long the frame check sequence is
        c[k.C_LINK] = struct.unpack_from(">I" if big else "<I", self.head, 20)[0] & 0xFFFF
        self._start = 24

    @property
    def bytes_read(self) -> int:
        """Bytes of the file read so far, as they lie there."""
        return self.source.raw_bytes

    def steps(self) -> Iterator[None]:
        """Walk the file; yields whenever rows have to be taken out of ``state``, and once at the end."""
        from sensor import kernels

        walk: Any = kernels.walk_pcap if self.kind == "pcap" else kernels.walk_pcapng
        state = self.state
        c = state.c
        while True:
            try:
                status = int(walk(state.record, self._buffer, self._start, self._end))
            except IndexError:
                self._skip_frame()
                continue
            self._start = int(c[k.C_POS])
            if status == k.S_FLUSH:
                yield
                self.reset()
                continue
            if status == k.S_BLOCK:
                problem = self._block()
                if problem is None:
                    continue
                if problem:
                    self._damage(problem)
                    break
            elif status == k.S_SKIP:
                if not self._pass_over(int(c[k.C_SKIP])):
                    self._damage(f"expected a block of {int(c[k.C_SKIP])} bytes, the file ends inside it")
                    break
                continue
            elif status == k.S_DAMAGED:
                self._damage(self._damage_text())
                break
            if not self._more():
                if self.source.problem is not None:
                    self._damage(self.source.problem)
                elif self._start < self._end:
                    unit = "record" if self.kind == "pcap" else "block"
                    left = self._end - self._start
                    self._damage(f"truncated: expected a whole {unit}, the file ends {left} bytes into it")
                break
        yield from self.drained()

    def _more(self) -> bool:
        """Move what is left to the front and read on; False if nothing came."""
        left = self._end - self._start
        if self._start:
            self._buffer[:left] = self._buffer[self._start : self._end]  # overlapping copies are handled by numpy
            self._base += self._start
            self._start = 0
            self._end = left
            self.state.c[k.C_NEXT] = 0
        return self._end < len(self._buffer) and self._fill() > 0

    def _pass_over(self, size: int) -> bool:
        """Leave out ``size`` bytes; False if the input ends before."""
        while size > self._end - self._start:
            size -= self._end - self._start
            self._base += self._end
            self._start = self._end = 0
            self.state.c[k.C_NEXT] = 0
            if self._fill() == 0:
                return False
        self._start += size
        return True

    def _damage(self, what: str) -> None:
        self.error = InputError(what, where=f"{self.name}, byte {self._base + self._start}")

    def _damage_text(self) -> str:
        value = int(self.state.c[k.C_DAMAGE_VALUE])
        damage = int(self.state.c[k.C_DAMAGE])
        if damage == k.D_FRAME_LENGTH:
            top = int(self.state.c[k.C_MAX_FRAME])
            return f"record claims a frame of {value} bytes, expected at most {top}"
        if damage == k.D_BLOCK_LENGTH:
            return f"block claims {value} bytes, expected a multiple of 4, at least 12, that a frame can need"
        return f"expected the block length {value} again at the block's end"

    def _block(self) -> str | None:
        """Read a section or interface block at ``_start``.

        Returns:
            None if it was read, "" if it is not whole yet, else what is wrong.
        """
        c = self.state.c
        have = self._end - self._start
        view = self._view[self._start : self._end]
        if have < 12:
            return ""
        section = bytes(view[:4]) == _PCAPNG
        if section:
            order = bytes(view[8:12])
            if order not in (b"\x1a\x2b\x3c\x4d", b"\x4d\x3c\x2b\x1a"):
                return "expected the byte-order magic 1a2b3c4d in a section header"
            big = order == b"\x1a\x2b\x3c\x4d"
        else:
            big = bool(c[k.C_SWAP])
        end = ">" if big else "<"
        (total,) = struct.unpack_from(end + "I", view, 4)
        least = 28 if section else 20
        if total < least or total % 4 or total > 1 << 20:
            return f"block claims {total} bytes, expected a multiple of 4 from {least} to {1 << 20}"
        if have < total:
            return ""
        if struct.unpack_from(end + "I", view, total - 4)[0] != total:
            return f"expected the block length {total} again at the block's end"
        if section:
            c[k.C_SWAP] = int(big)
            c[k.C_IFACES] = 0
        else:
            self._interface(bytes(view[8 : total - 4]), end)
        self._start += total
        return None

    def _interface(self, body: bytes, end: str) -> None:
        c = self.state.c
        row = int(c[k.C_IFACES])
        number = self._interfaces
        self._interfaces += 1
        if row >= k.MOST_INTERFACES:
            self.notes["interfaces_beyond_limit"] = self.notes.get("interfaces_beyond_limit", 0) + 1
            return
        link, _, snap = struct.unpack_from(end + "HHI", body, 0)
        resolution, offset = 6, 0
        at = 8
        while at + 4 <= len(body):
            code, size = struct.unpack_from(end + "HH", body, at)
            value = body[at + 4 : at + 4 + size]
            if code == 0 or len(value) < size:
                break
            if code == 9 and size == 1:
                resolution = value[0]
            elif code == 14 and size == 8:
                (offset,) = struct.unpack(end + "q", value)
            at += 4 + (size + 3) // 4 * 4
        if resolution & 0x80:
            mode, unit = 2, min(resolution & 0x7F, 62)
        elif resolution <= 9:
            mode, unit = 0, 10**resolution
        else:
            mode, unit = 1, 10 ** min(resolution, 18)
        limit = 1 << 40  # seconds; keeps the sum within int64, the kernel clamps the time itself
        offset = max(-limit, min(limit, offset))
        self.state.ifaces[row] = (link, snap, mode, unit, offset, number)
        c[k.C_IFACES] = row + 1


def open_bytes(path: Path | BinaryIO, name: str) -> ByteSource:
    """Open a file or take a stream.

    Raises:
        InputError: It does not exist, is a folder, or may not be read.
    """
    if not isinstance(path, Path):
        return ByteSource(path)
    try:
        return ByteSource(path.open("rb", buffering=0), close=True)
    except IsADirectoryError:
        raise InputError("a folder, expected a file", where=name) from None
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", where=name) from None
