"""Sends events by ``_bulk``: several connections, bounded in memory, each item's fate looked at.

``create`` with ``_id = event.id`` makes a repetition harmless (409: it is there already), so anything that may not have
arrived is sent again. 429 and 5xx are tried again after a pause that grows and is drawn by lot; a document that the
cluster refuses for what it says is parked with the reason. What could not be sent within ``patience`` stays here
and the next ``flush`` tries it again.
"""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import orjson
import polars as pl

from event.errors import StoreError
from event.table import concat
from store.elastic.client import NDJSON, Client, Unreachable, part
from store.elastic.documents import bodies, joined
from store.elastic.rejected import Rejected

CHUNK_ROWS = 5_000
"""Documents of a request."""
CHUNK_BYTES = 16 << 20
"""Bytes of a request; more are halved. Elasticsearch refuses 100 MB."""
GATHER_ROWS = 50_000
"""Rows that wait for their request, of all indices together."""
MOST_FRAMES = 64
"""Tables of an index that wait before they become one: each is looked at when the next comes."""
FIRST_PAUSE = 0.2
LONGEST_PAUSE = 20.0
WAIT_SECONDS = 60.0
"""How long the cluster may wait for a shard that is not there, before it says so; at most half of a request's time."""
COPIES_SECONDS = 10.0
"""How long the first documents of a new index wait for all of its copies."""
_FILTER = "errors,items.*.status,items.*.error.type,items.*.error.reason,items.*.error.caused_by.reason"
_ALL_WELL = b'{"errors":false,'
_AGAIN = frozenset({408, 429, 500, 502, 503, 504})


@dataclass(slots=True)
class Chunk:
    """Rows of one index on their way."""

    index: str
    frame: pl.DataFrame


@dataclass(slots=True)
class Counters:
    """What became of documents since the store was opened."""

    created: int = 0
    duplicates: int = 0
    retried: int = 0
    rejected: int = 0
    requests: int = 0
    bytes: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, **more: int) -> None:
        """Count, from any thread."""
        with self._lock:
            for name, value in more.items():
                setattr(self, name, getattr(self, name) + value)

    def as_dict(self) -> dict[str, int]:
        """The figures by name."""
        return {
            name: getattr(self, name) for name in ("created", "duplicates", "retried", "rejected", "requests", "bytes")
        }


class Bulk:
    """Gathers rows by index and sends them. ``add`` waits when too much is under way."""

    def __init__(
        self,
        client: Client,
        rejected: Rejected,
        *,
        connections: int,
        patience: float,
        rows: int = CHUNK_ROWS,
        sleep: Callable[[float], object] | None = None,
    ) -> None:
        self.counters = Counters()
        self._client = client
        self._rejected = rejected
        self._patience = patience
        self._rows = rows
        self._stop = threading.Event()
        self._sleep = sleep or self._stop.wait
        self._waiting: dict[str, list[pl.DataFrame]] = {}
        self._held = 0
        self._sent: dict[Future[None], Chunk] = {}
        self._failed: deque[Chunk] = deque()
        self._room = threading.BoundedSemaphore(2 * connections)
        self._pool = ThreadPoolExecutor(connections, thread_name_prefix="bulk")
        self._luck = random.Random()  # noqa: S311 - pauses, not secrets
        self.touched: set[str] = set()
        """Indices written since the last refresh."""
        self.new: set[str] = set()
        """Indices that these documents may be the first of: a replica is not there at once, and were its node to die
        before, the index would have no copy left. So the first request waits for all copies, if not for ever."""

    # From the thread that appends.

    def add(self, index: str, frame: pl.DataFrame) -> None:
        """Take rows of one index.

        Raises:
            StoreError: Rows sent earlier could not be delivered; nothing of this table was taken.
        """
        self._look()
        frames = self._waiting.setdefault(index, [])
        if len(frames) >= MOST_FRAMES:
            frames[:] = [concat(frames)]
        frames.append(frame)
        self._held += frame.height
        if sum(part.height for part in self._waiting[index]) >= self._rows:
            self._send(index)
        while self._held > GATHER_ROWS:
            self._send(max(self._waiting, key=lambda name: sum(part.height for part in self._waiting[name])))

    def flush(self) -> None:
        """Send everything and wait until it is acknowledged.

        Raises:
            StoreError: Some could not be delivered; they stay and are tried again by the next call.
        """
        failed, self._failed = self._failed, deque()
        for chunk in failed:
            self._submit(chunk)
        for index in list(self._waiting):
            self._send(index)
        trouble: BaseException | None = None
        for future in list(self._sent):
            error = self._collect(future)
            trouble = trouble or error
        if trouble is not None:
            raise trouble

    def refresh(self, indices: set[str]) -> None:
        """Make what was written visible to all readers."""
        names = sorted(indices)
        for start in range(0, len(names), 50):
            group = ",".join(part(name) for name in names[start : start + 50])
            # An account that may only create is not allowed to: then the refresh interval does it.
            self._client.ask("POST", f"/{group}/_refresh", params={"ignore_unavailable": "true"}, good=(403,))

    def unsettled(self, index: str) -> list[pl.DataFrame]:
        """Rows of an index that are not acknowledged yet."""
        found = list(self._waiting.get(index, ()))
        found += [chunk.frame for chunk in self._sent.values() if chunk.index == index]
        return found + [chunk.frame for chunk in self._failed if chunk.index == index]

    def settle(self, *, wait: bool = False) -> None:
        """Forget what was acknowledged.

        Raises:
            StoreError: Something was not.
        """
        self._look(wait=wait)

    def close(self) -> None:
        """End the threads; nothing more is sent."""
        self._stop.set()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _send(self, index: str) -> None:
        frames = self._waiting.pop(index)
        frame = concat(frames)
        self._held -= frame.height
        for start in range(0, frame.height, self._rows):
            self._submit(Chunk(index, frame.slice(start, self._rows)))

    def _submit(self, chunk: Chunk) -> None:
        self.touched.add(chunk.index)
        self._room.acquire()
        self._sent[self._pool.submit(self._work, chunk)] = chunk

    def _look(self, *, wait: bool = False) -> None:
        """Settle what is done; try once more what failed before.

        Raises:
            StoreError: It failed again, or something new did.
        """
        if self._failed:
            self.flush()
        trouble: BaseException | None = None
        for future in list(self._sent):
            if wait or future.done():
                error = self._collect(future)
                trouble = trouble or error
        if trouble is not None:
            raise trouble

    def _collect(self, future: Future[None]) -> BaseException | None:
        """Settle one request; what did not arrive stays."""
        error = future.exception()
        chunk = self._sent.pop(future)
        if error is not None:
            # What did arrive of it is known to the cluster by id; all of it may be sent again.
            self._failed.append(chunk)
        return error

    # On the threads of the pool.

    def _work(self, chunk: Chunk) -> None:
        try:
            self._deliver(chunk.index, chunk.frame)
        finally:
            self._room.release()

    def _deliver(self, index: str, frame: pl.DataFrame, *, rest: bool = True, since: float | None = None) -> None:
        """Send rows until each is created, there already, or parked."""
        started = time.monotonic() if since is None else since
        pause = FIRST_PAUSE
        lines = bodies(frame, rest=rest)
        body = joined(lines)
        while True:
            if len(body) > CHUNK_BYTES and frame.height > 1:
                half = frame.height // 2
                for piece in (frame.head(half), frame.slice(half)):
                    self._deliver(index, piece, rest=rest, since=started)
                return
            again = self._once(index, frame, body, rest=rest, started=started)
            if again is None:
                return
            positions, trouble = again
            # Full jitter: many forwarders that failed together do not come back together.
            wait = self._luck.uniform(pause / 4, pause)
            if self._stop.is_set() or time.monotonic() + wait - started > self._patience:
                raise trouble
            self._sleep(wait)
            pause = min(2 * pause, LONGEST_PAUSE)
            self.counters.add(retried=len(positions))
            if len(positions) < frame.height:
                frame, lines = frame[positions], lines.gather(positions)
                body = joined(lines)

    def _once(
        self, index: str, frame: pl.DataFrame, body: bytes, *, rest: bool, started: float
    ) -> tuple[list[int], StoreError] | None:
        """One request.

        Returns:
            Positions that want another try, and why; None if all are settled.
        """
        everything = list(range(frame.height))
        params = {"filter_path": _FILTER}
        seconds = min(WAIT_SECONDS, self._client.seconds / 2)
        new = index in self.new
        if new:
            params["wait_for_active_shards"] = "all"
            seconds = min(seconds, COPIES_SECONDS)
        params["timeout"] = f"{seconds * 1000:.0f}ms"
        try:
            answer = self._client.ask(
                "POST", f"/{part(index)}/_bulk", body, params=params, kind=NDJSON, good=(400, 413)
            )
        except Unreachable as error:
            return everything, error
        if new:
            self.new.discard(index)
        self.counters.add(requests=1, bytes=len(body))
        if answer.status in (400, 413):
            if frame.height == 1:
                self._park(index, frame, [answer.reason()], rest=rest, started=started)
                return None
            half = frame.height // 2
            for piece in (frame.head(half), frame.slice(half)):
                self._deliver(index, piece, rest=rest, since=started)
            return None
        if answer.body.startswith(_ALL_WELL):  # an answer of so many items is not read for nothing
            self.counters.add(created=frame.height)
            return None
        said = answer.json() or {}
        if not said.get("errors"):
            self.counters.add(created=frame.height)
            return None
        return self._sort_out(index, frame, said.get("items") or [], rest=rest, started=started)

    def _sort_out(
        self, index: str, frame: pl.DataFrame, items: list[dict[str, Any]], *, rest: bool, started: float
    ) -> tuple[list[int], StoreError] | None:
        """Settle each item of an answer with errors."""
        if len(items) != frame.height:
            raise StoreError(f"the cluster answered for {len(items)} of {frame.height} documents")
        again: list[int] = []
        bad: list[int] = []
        reasons: list[str] = []
        created = duplicates = 0
        trouble = ""
        for position, item in enumerate(items):
            result = item["create"]
            status = int(result["status"])
            if status < 300:
                created += 1
            elif status == 409:
                duplicates += 1
            elif status in _AGAIN or status == 404:
                again.append(position)
                trouble = _why(result)
            elif status in (401, 403):
                raise StoreError(
                    f"the cluster refuses to write: {_why(result)}",
                    where=index,
                    hint="the account lacks a privilege, or the index is blocked; deploy/ has the roles",
                )
            elif _is_full(result):
                raise StoreError(
                    f"the cluster cannot take another index: {_why(result)}",
                    where=index,
                    hint="add nodes, raise cluster.max_shards_per_node, or shorten the retention",
                )
            else:
                bad.append(position)
                reasons.append(_why(result))
        self.counters.add(created=created, duplicates=duplicates)
        if bad:
            self._park(index, frame[bad], reasons, rest=rest, started=started)
        return (
            (again, Unreachable(f"the cluster does not take it now: {trouble}", where=self._client.where))
            if again
            else None
        )

    def _park(self, index: str, frame: pl.DataFrame, reasons: list[str], *, rest: bool, started: float) -> None:
        """Put away what the cluster refuses, after a try without the part that it may refuse for its form."""
        if rest and any(name in frame.columns for name in ("zeek.fields", "suricata.fields")):
            self._deliver(index, frame, rest=False, since=started)
            return
        self._rejected.park(frame, reasons)
        self.counters.add(rejected=frame.height)


def _why(result: dict[str, Any]) -> str:
    error = result.get("error") or {}
    cause = (error.get("caused_by") or {}).get("reason")
    text = f"{error.get('type')}: {error.get('reason')}" + (f" ({cause})" if cause else "")
    return text[:1_000]


def _is_full(result: dict[str, Any]) -> bool:
    """The cluster has as many shards as it may have: no fault of the document's."""
    error = result.get("error") or {}
    return error.get("type") == "validation_exception" and "shards" in orjson.dumps(error).decode()
