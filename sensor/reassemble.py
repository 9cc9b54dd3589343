"""Messages that span several frames: what is unfinished between batches, bounded.

Used by decoders whose protocol cuts its own messages: the transport function of DNP3 (IEEE 1815-2012, clause 8) and
DT TPDUs without end-of-TSDU mark (RFC 905, 13.7). Nothing that was begun disappears: a message that cannot be
completed any more comes back as ``Broken``, and what is still open at the end of an input is ``pending``.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from sensor.base import I64, U8

Reason = Literal["incomplete", "orphan", "sequence", "too_long", "evicted"]


@dataclass(frozen=True, slots=True)
class Broken:
    """A message that will never be whole.

    Attributes:
        reason: ``incomplete``: a new one began before its last part; ``orphan``: a later part without a first;
            ``sequence``: a part is missing; ``too_long``: above the bound; ``evicted``: given up for room.
        data: Its bytes so far.
    """

    reason: Reason
    data: bytes


@dataclass(frozen=True, slots=True)
class Joined:
    """Messages put together by ``Reassembler.join``.

    Attributes:
        part: Part that ended each, ``int64[m]``.
        start: Where each begins in ``octets``.
        length: Its bytes.
        octets: Bytes of all.
        left: Parts that were not touched, ``bool[n]``.
    """

    part: I64
    start: I64
    length: I64
    octets: U8
    left: npt.NDArray[np.bool_]


@dataclass(slots=True)
class _Open:
    data: bytearray
    sequence: int | None
    last_part: int


@dataclass(slots=True)
class Reassembler:
    """Unfinished messages by key.

    Attributes:
        entries: Messages that may be open at once; the oldest is given up beyond it.
        message_bytes: Longest message.
        total_bytes: All open messages together.
        modulus: Sequence numbers count up to ``modulus - 1``.
        counters: How often each ``Reason`` occurred, and ``duplicate`` parts that were ignored.
    """

    entries: int = 4096
    message_bytes: int = 1 << 16
    total_bytes: int = 8 << 20
    modulus: int = 64
    counters: dict[str, int] = field(default_factory=dict)
    _open: dict[Hashable, _Open] = field(default_factory=dict)
    _held: int = 0

    @property
    def pending(self) -> int:
        """Messages that are open now."""
        return len(self._open)

    def keys(self) -> list[Hashable]:
        """Keys of the messages that are open now, oldest first."""
        return list(self._open)

    def notes(self, prefix: str) -> dict[str, int]:
        """Counters by name for an account, such as ``dnp3_segments_orphan``; ``..._open`` is what is open now."""
        counted = {f"{prefix}_{name}": count for name, count in sorted(self.counters.items())}
        return {**counted, **({f"{prefix}_open": self.pending} if self.pending else {})}

    def __contains__(self, key: Hashable) -> bool:
        return key in self._open

    def add(
        self, key: Hashable, data: bytes, *, first: bool, last: bool, sequence: int | None = None
    ) -> tuple[bytes | None, list[Broken]]:
        """Take in one part.

        Args:
            key: Flow, direction and whatever else tells messages apart.
            data: Bytes of the part.
            first: It begins a message.
            last: It ends one.
            sequence: Its number, or None where parts are not numbered.

        Returns:
            The whole message if this part completed one, and the messages that broke by it.
        """
        broken: list[Broken] = []
        state = self._open.get(key)
        if first:
            if state is not None:
                broken.append(self._give_up(key, "incomplete"))
            if last:
                return data, broken
            if len(data) > self.message_bytes:
                broken.append(self._count(Broken("too_long", data)))
                return None, broken
            self._open[key] = _Open(bytearray(data), sequence, len(data))
            self._held += len(data)
            self._make_room(key, broken)
            return None, broken
        if state is None:
            broken.append(self._count(Broken("orphan", data)))
            return None, broken
        if sequence is not None and state.sequence is not None and sequence != (state.sequence + 1) % self.modulus:
            if sequence == state.sequence and state.data[len(state.data) - state.last_part :] == data:
                self.counters["duplicate"] = self.counters.get("duplicate", 0) + 1
                return None, broken
            broken.append(self._give_up(key, "sequence"))
            return None, broken
        if len(state.data) + len(data) > self.message_bytes:
            broken.append(self._give_up(key, "too_long"))
            return None, broken
        state.data += data
        state.sequence, state.last_part = sequence, len(data)
        self._held += len(data)
        if last:
            del self._open[key]
            self._held -= len(state.data)
            return bytes(state.data), broken
        self._make_room(key, broken)
        return None, broken

    def join(
        self,
        names: Sequence[Hashable],
        key: I64,
        data: U8,
        first: I64,
        last: I64,
        sequence: I64,
        start: I64,
        length: I64,
    ) -> Joined:
        """Join, all at once, the parts of keys that have nothing but whole messages in these parts.

        The parts behind the last end of a message do not count, for they are of one that goes on later. Where only the
        part before can tell whether a part begins a message, those up to the first end do not count either: they may
        be of one that began earlier. What comes out is what ``add`` would give, part by part, if it gets the parts
        that are left; it needs no room for what is open in between.

        Args:
            names: Distinct keys.
            key: Which of them each part has, ``int64[n]``.
            data: Bytes of all parts.
            first: 1 where a part begins a message, 0 where it goes on, -1 where only the part before can tell.
            last: 1 where a part ends a message.
            sequence: Number of the part, -1 where parts are not numbered.
            start: Where each part begins in ``data``.
            length: Bytes of each part.

        Returns:
            The messages, and which parts are left for ``add``.
        """
        from sensor._reassemble_kernels import join

        odd = np.fromiter((name in self._open for name in names), np.int64, len(names))
        place = np.arange(len(key))
        ends = np.flatnonzero(last)
        final = np.full(len(names), -1, np.int64)
        final[key[ends]] = ends  # of several the last one stays
        inner = place <= final[key]
        if not (first >= 0).any():  # whatever was open ends with the first end
            begin = np.full(len(names), len(key), np.int64)
            begin[key[ends[::-1]]] = ends[::-1] + 1
            inner &= (odd[key] == 0) | (place >= begin[key])
            odd[:] = 0
        rows = np.flatnonzero(inner)
        made = np.empty((3, len(rows)), np.int64)
        octets = np.empty(int(length[rows].sum()), np.uint8)
        count = join(
            data, key[rows], first[rows], last[rows], sequence[rows], start[rows], length[rows],
            self.modulus, self.message_bytes, odd, np.empty((2, len(odd)), np.int64), made, octets,
        )  # fmt: skip
        return Joined(rows[made[0, :count]], made[1, :count], made[2, :count], octets, (~inner) | (odd[key] != 0))

    def drop(self, key: Hashable) -> list[Broken]:
        """Give up what is open under ``key``."""
        return [self._give_up(key, "incomplete")] if key in self._open else []

    def _make_room(self, key: Hashable, broken: list[Broken]) -> None:
        while len(self._open) > 1 and (len(self._open) > self.entries or self._held > self.total_bytes):
            oldest = next(one for one in self._open if one != key)
            broken.append(self._give_up(oldest, "evicted"))

    def _give_up(self, key: Hashable, reason: Reason) -> Broken:
        state = self._open.pop(key)
        self._held -= len(state.data)
        return self._count(Broken(reason, bytes(state.data)))

    def _count(self, broken: Broken) -> Broken:
        self.counters[broken.reason] = self.counters.get(broken.reason, 0) + 1
        return broken
