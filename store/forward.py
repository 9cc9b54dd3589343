"""The forwarder: ships a spool's segments in order, and deletes each one after its delivery was acknowledged.

Killed at any point nothing is lost, for a segment is deleted after the acknowledgement; nothing is there twice, for
``event.id`` makes a repeated delivery a no-op. A segment that cannot be read is parked with its reason and does not
hold up the others; a store that cannot be reached is tried again for ever, with growing pauses.
"""

from __future__ import annotations

import fcntl
import os
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

import polars as pl

from event.errors import StoreError
from store.base import Store
from store.files import save
from store.segments import failures
from store.spool import FORMAT, Spool, Waiting, table_of

BATCH_SEGMENTS = 64
"""Segments of one delivery at most; each costs a file handle while it is under way."""
BATCH_BYTES = 32 << 20
"""Bytes of segments of one delivery, unless a single one has more."""
BATCH_ROWS = 50_000
"""Events of one delivery, unless a single segment has more: as tables they take many times their bytes."""
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 60.0
"""Seconds between attempts when the store cannot be reached: doubled each time, up to this."""
LOOK_EVERY = 1.0
"""Seconds between looks into an empty spool."""


@dataclass(frozen=True, slots=True)
class Parcel:
    """One segment on its way."""

    segment: Waiting
    body: bytes
    table: pl.DataFrame


@dataclass(frozen=True, slots=True)
class Delivered:
    """What became of a delivery.

    Attributes:
        new: Events that were not there before.
        rejected: Events that the destination will never take for what they say, and that it has put away with the
            reason.
    """

    new: int
    rejected: int = 0


class Delivery(Protocol):
    """Where segments go. Raises ``StoreError`` if any of them did not arrive for good.

    Attributes:
        most: Segments of one delivery. After a failure all of them are delivered again, so where each is durable by
            itself it should be 1.
    """

    most: int

    def deliver(self, parcels: Sequence[Parcel]) -> Delivered:
        """Deliver in order; durable when it returns."""
        ...

    def idle(self) -> None:
        """Called now and then while nothing waits."""
        ...

    def close(self) -> None:
        """Release what is open."""
        ...


@dataclass(slots=True)
class Shipped:
    """What a forwarder did."""

    segments: int = 0
    events: int = 0
    new_events: int = 0
    bytes: int = 0
    parked: int = 0
    """Segments that could not be read."""
    rejected: int = 0
    """Events that the store refused and put away."""
    failures: int = 0


class StoreDelivery:
    """Delivers into a store. It is opened when needed and after every failure anew."""

    def __init__(self, open_store: Callable[[], Store]) -> None:
        self.most = BATCH_SEGMENTS
        self._open = open_store
        self._store: Store | None = None

    def deliver(self, parcels: Sequence[Parcel]) -> Delivered:
        """Append the tables in order, then flush."""
        try:
            if self._store is None:
                self._store = self._open()
            before = _rejected(self._store)
            new = sum(self._store.append(parcel.table) for parcel in parcels)
            self._store.flush()
        except StoreError:
            self._abandon()
            raise
        rejected = _rejected(self._store) - before
        return Delivered(new - min(new, rejected), rejected)

    def idle(self) -> None:
        """A store need not be told."""

    def _abandon(self) -> None:
        """Let go of a store that failed: what it has not acknowledged is in the spool."""
        store, self._store = self._store, None
        abandon = getattr(store, "abandon", None)
        with suppress(StoreError):
            if abandon is not None:
                abandon()
            elif store is not None:
                store.close()

    def close(self) -> None:
        """Close the store. Everything was flushed, or failed and was let go of."""
        store, self._store = self._store, None
        if store is not None:
            with suppress(StoreError):
                store.close()


def _rejected(store: Store) -> int:
    """How many events a store has refused and put away since it was opened; most never do."""
    counters = getattr(store, "counters", None)
    return 0 if counters is None else int(counters().get("rejected", 0))


class Forwarder:
    """Empties one spool. Only one is at work on a spool at a time."""

    def __init__(
        self,
        spool: Spool,
        delivery: Delivery,
        *,
        tell: Callable[[str], None] = lambda trouble: None,
        stop: threading.Event | None = None,
    ) -> None:
        """Make a forwarder.

        Args:
            spool: What to empty.
            delivery: Where to.
            tell: Called with each new trouble, once until it changes; with an empty text when it is over.
            stop: ``follow`` ends soon after it is set.
        """
        self.spool = spool
        self.shipped = Shipped()
        self._delivery = delivery
        self._tell = tell
        self._stop = stop or threading.Event()
        self._trouble = ""
        self._state: dict[str, Any] = {}

    def once(self) -> Shipped:
        """Ship what waits now.

        Raises:
            StoreError: The store did not take it; what was not acknowledged still waits.
        """
        with self._alone():
            try:
                last = self.spool.last_number()
                while self._ship(last):
                    if self._stop.is_set():
                        break
            except StoreError as error:
                self._failed(error)
                raise
            finally:
                self._delivery.close()
        return self.shipped

    def follow(self) -> Shipped:
        """Ship what waits and what comes, until stopped. Failures are told, kept in the state and tried again."""
        pause = FIRST_PAUSE
        with self._alone():
            try:
                while not self._stop.is_set():
                    try:
                        busy = self._ship(None)
                        if not busy:
                            self._delivery.idle()
                    except StoreError as error:
                        self._failed(error)
                        # Many sensors must not come back in step when a cluster does.
                        self._stop.wait(pause * random.uniform(0.5, 1.0))  # noqa: S311
                        pause = min(pause * 2, LONGEST_PAUSE)
                        continue
                    pause = FIRST_PAUSE
                    if not busy:
                        self._stop.wait(LOOK_EVERY)
            finally:
                self._delivery.close()
        return self.shipped

    def _ship(self, last: int | None) -> bool:
        """Ship one batch; whether there was one."""
        most = max(1, min(BATCH_SEGMENTS, self._delivery.most))
        waiting = [s for s in self.spool.waiting(most) if last is None or s.number <= last]
        if not waiting:
            return False
        parcels: list[Parcel] = []
        size = rows = 0
        with ExitStack() as stack:
            for segment in waiting[:most]:
                if parcels and (size + segment.bytes > BATCH_BYTES or rows + segment.events > BATCH_ROWS):
                    break
                body = stack.enter_context(self.spool.holding(segment))
                if body is None:
                    continue  # dropped at the limit, and counted there
                try:
                    parcels.append(Parcel(segment, body, table_of(body)))
                except (StoreError, ValueError) as error:
                    self.spool.park(segment, str(error))
                    self.shipped.parked += 1
                    self._tell(f"segment {segment.number} is parked: {str(error).splitlines()[0]}")
                    continue
                size += segment.bytes
                rows += segment.events
            if parcels:
                delivered = self._delivery.deliver(parcels)
                self.spool.remove([parcel.segment for parcel in parcels])
                self._arrived(parcels, delivered)
        return True

    def _arrived(self, parcels: Sequence[Parcel], delivered: Delivered) -> None:
        events = sum(parcel.table.height for parcel in parcels)
        self.shipped.segments += len(parcels)
        self.shipped.events += events
        self.shipped.new_events += delivered.new
        self.shipped.rejected += delivered.rejected
        self.shipped.bytes += sum(parcel.segment.bytes for parcel in parcels)
        state = self._state
        newest = max(str(parcel.table["@timestamp"].dt.to_string("iso:strict").max()) for parcel in parcels)
        state.update(
            number=max(parcel.segment.number for parcel in parcels),
            segments=int(state.get("segments", 0)) + len(parcels),
            events=int(state.get("events", 0)) + events,
            rejected=int(state.get("rejected", 0)) + delivered.rejected,
            last=datetime.now(UTC).isoformat(),
            newest_event=max(newest, str(state.get("newest_event") or "")),
            error=None,
            failing_since=None,
        )
        self._keep()
        if self._trouble:
            self._say("")
        if delivered.rejected:
            self._tell(f"{delivered.rejected} events are refused for what they say and put away with the reason")

    def _failed(self, error: StoreError) -> None:
        self.shipped.failures += 1
        self._state["error"] = str(error)
        self._state["failing_since"] = self._state.get("failing_since") or datetime.now(UTC).isoformat()
        self._keep()
        self._say(str(error))

    def _say(self, trouble: str) -> None:
        if trouble != self._trouble:
            self._trouble = trouble
            self._tell(trouble)

    def _keep(self) -> None:
        """The state is for people; a full disk must not keep the forwarder from making room on it."""
        with suppress(OSError):
            save(self.spool.path / "forward.json", {"format": FORMAT, **self._state})

    @contextmanager
    def _alone(self) -> Iterator[None]:
        path = self.spool.path / "forwarder"
        with failures(path):
            handle = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise StoreError(
                    "another forwarder is at work on this spool", where=str(self.spool.path), hint="stop it, or let it"
                ) from None
            self._state = self.spool.status().forward
            yield
        finally:
            os.close(handle)
