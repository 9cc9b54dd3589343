"""An interface on its way through the kernels: a ring's blocks become records, and records go where a file's go."""

from __future__ import annotations

import io
import os
import socket
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any

import numpy as np
import polars as pl

from event.errors import InputError
from sensor import kernels_layout as k
from sensor.base import Account, SensorLimits
from sensor.capture import Walk
from sensor.live.beat import Beat, Health
from sensor.live.ring import BLOCK, BLOCKS, ETHERNET, RETIRE_MS, Ring
from sensor.reader import CaptureInput, capture_input, open_input
from sensor.warm_up import capture as small_capture

KIND = "interface"
SWEEP_NS = 10**10
"""How often flows are looked through for silent ones: kernels do so by the number of frames, which suits files."""
_WAIT_MS = 100
_AGAIN_S = 1.0
_LATE_NS = 10**9
"""What is still on its way in the ring when the clock is read: a flow is silent only if that is over, too."""


class LiveWalk(Walk):
    """The frames of one interface; see ``sensor.capture.Walk``."""

    def __init__(
        self,
        interface: str,
        limits: SensorLimits,
        apps: int,
        *,
        promiscuous: bool = True,
        blocks: int = BLOCKS,
        started: datetime | None = None,
    ) -> None:
        """Make the kernels ready, then open the interface: while they are compiled the ring would overflow.

        Raises:
            InputError: See ``Ring``.
        """
        started = started or datetime.now(UTC)
        super().__init__(f"{interface}@{started:%Y-%m-%dT%H:%M:%SZ}", limits, apps)
        self.kind = KIND
        self.interface = interface
        self.head = f"{socket.gethostname()} {interface} {time.time_ns()} ".encode() + os.urandom(8)
        self.health = Health()
        self.beat = Beat()
        self._promiscuous = promiscuous
        self._ring_blocks = blocks
        self._said: list[tuple[str, str, int]] = []
        self._bytes = 0
        self._buffer = np.zeros(BLOCK, np.uint8)
        c = self.state.c
        c[k.C_NANO] = 1
        c[k.C_RECORD] = 16
        get_ready()
        self._ring: Ring | None = self._opened()

    def _opened(self) -> Ring:
        ring = Ring(self.interface, promiscuous=self._promiscuous, blocks=self._ring_blocks)
        self.state.c[k.C_LINK] = ring.link
        return ring

    @property
    def bytes_read(self) -> int:
        """Bytes of frames and their records."""
        return self._bytes

    def said(self) -> list[tuple[str, str, int]]:
        """Drops, freezes and interruptions since the last call."""
        out, self._said = self._said, []
        return out

    def close(self) -> None:
        """Close the socket."""
        if self._ring is not None:
            self._ring.close()
            self._ring = None

    def steps(self) -> Iterator[None]:
        """Walk blocks as they come; yields at every beat and whenever rows have to be taken out."""
        seen = self.beat.number
        swept = time.time_ns()
        ending: float | None = None
        while True:
            taken = self._take()
            if taken is not None:
                yield from self._walk(taken)
            now = time.time_ns()
            if now - swept >= SWEEP_NS or now < swept:
                swept = now
                yield from self._sweep(now - _LATE_NS)
            if self.beat.stop.is_set():
                if ending is None:
                    if self._ring is not None:
                        self._ring.stop()
                    ending = time.monotonic() + 3 * RETIRE_MS / 1000
                elif taken is None and time.monotonic() > ending:
                    break
            elif seen != self.beat.number:
                seen = self.beat.number
                self._count()
                yield
                self.reset()
        self._count()
        yield from self.drained()

    def _take(self) -> int | None:
        """Copy the next block into the buffer; its bytes there. None: nothing came for a while."""
        ring = self._ring
        if ring is None:
            if not self.beat.stop.wait(_AGAIN_S):
                try:
                    self._ring = self._opened()
                except InputError as error:
                    self.health.trouble = error.what
                else:
                    self.health.trouble = None
                    self._said.append(("capture_resumed", f"{self.interface} is captured again", 1))
            return None
        try:
            taken = ring.take(_WAIT_MS)
        except InputError as error:
            self._count()
            self.health.trouble = error.what
            self._said.append(("capture_interrupted", f"{self.interface} cannot be captured: {error.what}", 1))
            self.close()
            return None
        if taken is None:
            return None
        from sensor.live.repack import repack

        block, frames, first = taken
        filled, done = repack(block, frames, first, ring.link == ETHERNET, self._buffer)
        ring.release()
        if done < frames:  # never seen; the kernel's own count and ours would differ in silence otherwise
            self._said.append(("ring_damaged", "a block of the ring holds fewer frames than it says", frames - done))
        self._bytes += filled
        return int(filled)

    def _walk(self, filled: int) -> Iterator[None]:
        from sensor import kernels

        walk: Any = kernels.walk_pcap
        self._start, self._end = 0, filled
        self.state.c[k.C_NEXT] = 0
        while True:
            try:
                status = int(walk(self.state.record, self._buffer, self._start, self._end))
            except IndexError:
                self._skip_frame()
                continue
            self._start = int(self.state.c[k.C_POS])
            if status != k.S_FLUSH:
                return
            yield
            self.reset()

    def _sweep(self, now: int) -> Iterator[None]:
        """Close flows that are silent by the clock on the wall: no later frame may ever say that time went on."""
        c = self.state.c
        if int(c[k.C_SWEEP_AT]) < 0:
            c[k.C_SWEEP_TIME] = max(now, int(c[k.C_TIME]))
            c[k.C_SWEEP_FRAME] = c[k.C_FRAME]
            c[k.C_SWEEP_AT] = 0
            yield from self._walk(0)

    def _count(self) -> None:
        """Make what the kernel dropped events of the sensor."""
        if self._ring is None:
            return
        new = self._ring.count()
        self.health.drops += new.drops
        self.health.freezes += new.freezes
        if new.drops:
            self._said.append(("capture_drops", "frames that the kernel dropped, for the ring was full", new.drops))
        for name, value in (("kernel_drops", self.health.drops), ("ring_freezes", self.health.freezes)):
            if value:
                self.notes[name] = value


class LiveCapture:
    """An interface as a live input; see ``sensor.live.beat.LiveInput``."""

    def __init__(
        self,
        interface: str,
        *,
        collapse: bool = True,
        limits: SensorLimits = SensorLimits(),  # noqa: B008 - frozen
        decoders: Sequence[str] | None = None,
        promiscuous: bool = True,
        blocks: int = BLOCKS,
    ) -> None:
        """Open it; frames wait in the ring from now on.

        Raises:
            InputError: See ``Ring``.
        """
        self._walks: list[LiveWalk] = []

        def walk(apps: int) -> Walk:
            self._walks.append(LiveWalk(interface, limits, apps, promiscuous=promiscuous, blocks=blocks))
            return self._walks[0]

        self._input: CaptureInput = capture_input(walk, collapse, limits, decoders)
        self.name = self._walks[0].name

    @property
    def account(self) -> Account:
        """What became of every frame that the ring gave; those that it had no room for are in ``notes``."""
        return self._input.account

    @property
    def health(self) -> Health:
        """Drops, freezes, and whether the interface is there."""
        return self._walks[0].health

    def tables(self, beat: Beat) -> Iterator[pl.DataFrame]:
        """Yield event tables until stopped."""
        self._walks[0].beat = beat
        return self._input.tables()

    def position(self) -> None:
        """Frames cannot be read again."""

    def close(self) -> None:
        """Close the socket."""
        self._walks[0].close()


@cache
def get_ready() -> None:
    """Compile the kernels that captures need or load them from the cache, and run each; once a process."""
    from sensor.kernel_cache import prepare

    prepare()
    from sensor.live.repack import repack

    for _ in open_input(io.BytesIO(small_capture()), name="warm-up").tables():
        pass
    repack(np.zeros(64, np.uint8), 0, 48, True, np.zeros(64, np.uint8))
