"""The embedded store: immutable Parquet segments and a SQLite catalogue in one folder.

::

    <store>/catalogue.sqlite           what counts: segments, checkpoints, incidents
    <store>/events/<dataset>/<date>/   segments, sorted by @timestamp and event.id
    <store>/locks/                     one lock file a dataset, and one for readers

Several processes may write and many may read at once. Writers of one dataset take turns for the moment in which
they look for repeated rows, write a segment and enter it; a row is therefore stored once even if two processes append
it at the same time. ``kill -9`` at any point loses nothing that was flushed and shows nothing by half: a file
without a row in the catalogue does not count and is removed by a later writer.
"""

from __future__ import annotations

import os
import threading
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

import polars as pl

from event.errors import StoreError
from event.incident import Incident
from event.table import concat, conform, empty
from store import incidents
from store.base import DatasetStatus
from store.catalogue import NAME, Catalogue, Segment, clamp_ns, from_ns
from store.merge import Query, merged, ordered
from store.segments import EVENTS, LOCKS, Files, by_folder, failures, id_ranges, make_folder

GATHER_ROWS = 200_000
"""Rows of a dataset that are gathered in memory before a segment is written."""
GATHER_BYTES = 64 << 20
"""Memory of all gathered rows together; beyond it the largest dataset is written."""
MOST_FRAMES = 64
"""Tables that are gathered before they become one: each is looked at when the next comes."""
SEGMENT_ROWS = 500_000
"""Rows of a segment at most; compaction stops there too."""
SMALL_SEGMENT = 50_000
"""Segments with fewer rows are compacted."""
CROWD = 64
"""Small segments of one dataset and date at which a writer compacts them by itself."""


@dataclass(slots=True)
class _Gathered:
    """Rows of one dataset that wait for their segment; all are new as far as segment ``checked`` goes."""

    frames: list[pl.DataFrame] = field(default_factory=list)
    ranges: list[tuple[tuple[str, str], ...]] = field(default_factory=list)
    """Id ranges of each frame."""
    rows: int = 0
    bytes: int = 0
    checked: int = 0
    """Newest segment that all of the rows were compared with."""


class EmbeddedStore:
    """A ``store.base.Store`` in a folder. Safe for several threads and processes."""

    def __init__(self, path: Path, *, create: bool = True) -> None:
        """Open a store.

        Args:
            path: Its folder.
            create: Make it (mode 0700) if it is not there.

        Raises:
            StoreError: It is not there and may not be made, is not a store, cannot be read, or is of a newer schema.
        """
        self.path = Path(path)
        if not create and not (self.path / NAME).is_file():
            raise StoreError(
                "no store there", where=str(self.path), hint="name the store's folder with --store, or ingest an input"
            )
        self._files = Files(self.path)
        with failures(self.path):
            if not (self.path / NAME).is_file():
                self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
                for name in (EVENTS, LOCKS):
                    make_folder(self.path / name, self.path)
        if os.access(self.path / LOCKS, os.W_OK):
            with self._files.lock("catalogue"):  # two processes may make or migrate the same store
                self._catalogue = Catalogue(self.path, create=create)
        else:
            self._catalogue = Catalogue(self.path, create=False)
        self._gathered: dict[str, _Gathered] = {}
        self._lock = threading.RLock()
        self._swept = False
        self._closed = False

    # Writing.

    def append(self, events: pl.DataFrame) -> int:
        """Store a table of one dataset; see ``store.base.Store.append``.

        Small tables are gathered up to ``GATHER_ROWS`` rows of a dataset or ``GATHER_BYTES`` of all.

        Raises:
            StoreError: The rows cannot be compared or written. What was gathered stays so and ``flush`` may be tried
                again; until it succeeds no more is taken than may be gathered.
            ValueError: The table breaks the field catalogue (a bug of its maker).
        """
        if events.is_empty():
            return 0
        with self._lock:
            self._check_open(writing=True)
            self._relieve()  # where an earlier write failed, nothing more is taken until it succeeds
            frame = conform(events)
            dataset = str(frame["event.dataset"][0])
            held = self._gathered.get(dataset)
            if held is None:
                held = _Gathered(checked=self._catalogue.last_number())
            frame = _distinct(frame)
            first, last = _id_range(frame)
            for known, ranges in zip(held.frames, held.ranges, strict=True):
                if frame.height and any(low <= last and high >= first for low, high in ranges):
                    frame = frame.join(known.select("event.id"), on="event.id", how="anti", maintain_order="left")
            if frame.height:
                frame = self._unseen(frame, dataset)
            if frame.is_empty():
                return 0
            if len(held.frames) >= MOST_FRAMES:
                held.frames = [concat(held.frames)]
                held.ranges = [id_ranges(held.frames[0]["event.id"])]
            held.frames.append(frame)
            held.ranges.append(id_ranges(frame["event.id"]))
            held.rows += frame.height
            held.bytes += int(frame.estimated_size())
            self._gathered[dataset] = held
            self._relieve()
            return frame.height

    def _relieve(self) -> None:
        """Write what is more than may be gathered."""
        full = [dataset for dataset, held in self._gathered.items() if held.rows >= GATHER_ROWS]
        if not full and sum(held.bytes for held in self._gathered.values()) > GATHER_BYTES:
            full = [max(self._gathered, key=lambda name: self._gathered[name].bytes)]
        if full:
            self._write(full)

    def flush(self) -> None:
        """Write everything gathered; durable and visible to all when it returns."""
        with self._lock:
            self._check_open()
            if self._gathered:
                self._write(sorted(self._gathered))

    def _write(self, datasets: Sequence[str]) -> None:
        """Write what is gathered of some datasets as segments, and make them visible in one step."""
        with self._files.dataset_locks(datasets):
            written: list[Segment] = []
            try:
                for dataset in datasets:
                    held = self._gathered[dataset]
                    frame = ordered(concat(held.frames))
                    held.frames, held.ranges = [frame], [id_ranges(frame["event.id"])]  # not twice in memory
                    frame = self._unseen(frame, dataset, after=held.checked)
                    if frame.is_empty():
                        continue
                    for folder, part in by_folder(frame):
                        for start in range(0, part.height, SEGMENT_ROWS):
                            piece = part.slice(start, SEGMENT_ROWS)
                            # One by one: what was written is discarded if the next one fails.
                            written.append(self._files.write(dataset, folder, piece))
                if written:
                    self._catalogue.replace(written)
            except BaseException:
                self._files.discard(written)
                raise
            for dataset in datasets:
                del self._gathered[dataset]
            for dataset in datasets:
                for folder in self._catalogue.crowded(dataset, below=SMALL_SEGMENT, count=CROWD):
                    self._compact_folder(dataset, folder)
        if not self._swept:
            self._swept = True
            self._files.sweep(self._catalogue)
        self._files.bury(self._catalogue)

    def _unseen(self, frame: pl.DataFrame, dataset: str, *, after: int = 0) -> pl.DataFrame:
        """Leave out rows that a segment with a number above ``after`` has."""
        first, last = _id_range(frame)
        if not self._catalogue.segments([dataset], first_id=first, last_id=last, after=after):
            return frame  # a fresh input overlaps nothing: its ids begin with an origin of their own
        with self._files.lock("readers", shared=True):
            # Read again: a segment may have been compacted away since, and nothing is unlinked from here on.
            candidates = self._catalogue.segments([dataset], first_id=first, last_id=last, after=after)
            for segment in candidates:
                low, high = max(first, segment.min_id), min(last, segment.max_id)
                ids = self._files.read(
                    segment,
                    self._files.scan(segment)
                    .select("event.id")
                    .filter(pl.col("event.id").is_between(pl.lit(low), pl.lit(high))),
                )
                if ids.height:
                    frame = frame.join(ids, on="event.id", how="anti", maintain_order="left")
                    if frame.is_empty():
                        break
        return frame

    # Reading.

    def datasets(self) -> list[str]:
        """Datasets that hold events, sorted."""
        return [status.dataset for status in self.status()]

    def scan(
        self,
        datasets: Sequence[str] | None = None,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        where: pl.Expr | None = None,
        columns: Sequence[str] | None = None,
        batch_rows: int = 65_536,
    ) -> Iterator[pl.DataFrame]:
        """Yield tables of one dataset each; see ``store.base.Store.scan``. Datasets come in order of name."""
        query = _query(since, until, where, columns)
        self.flush()
        with self._files.lock("readers", shared=True):
            segments = self._catalogue.segments(datasets, since=query.since, until=query.until)
            for dataset in sorted({s.dataset for s in segments}):
                own = [s for s in segments if s.dataset == dataset]
                yield from merged(self._files, own, query, batch_rows=max(1, batch_rows))

    def search(
        self,
        datasets: Sequence[str] | None = None,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        where: pl.Expr | None = None,
        columns: Sequence[str] | None = None,
        limit: int | None = None,
        newest_first: bool = False,
    ) -> Iterator[pl.DataFrame]:
        """Yield rows of all datasets in order of time and id; see ``store.base.Store.search``.

        A table may hold rows of several datasets; it has the columns of all of them.
        """
        query = _query(since, until, where, columns)
        self.flush()
        left = limit
        if left is not None and left <= 0:
            return
        batch = 65_536 if left is None else min(65_536, left)
        with self._files.lock("readers", shared=True):
            segments = self._catalogue.segments(datasets, since=query.since, until=query.until)
            for table in merged(self._files, segments, query, batch_rows=batch, descending=newest_first):
                if left is None:
                    yield table
                    continue
                yield table.head(left)
                left -= table.height
                if left <= 0:
                    return

    def get(self, event_ids: Sequence[str]) -> pl.DataFrame:
        """Events by id, those that exist, ordered by time."""
        wanted = sorted(set(event_ids))
        if not wanted:
            return empty()
        self.flush()
        found: list[pl.DataFrame] = []
        with self._files.lock("readers", shared=True):
            for segment in self._catalogue.segments(first_id=wanted[0], last_id=wanted[-1]):
                ids = wanted[bisect_left(wanted, segment.min_id) : bisect_right(wanted, segment.max_id)]
                if not ids:
                    continue
                chosen = pl.col("event.id").is_in(ids) & pl.col("event.id").is_between(pl.lit(ids[0]), pl.lit(ids[-1]))
                frame = self._files.read(segment, self._files.scan(segment).filter(chosen))
                if frame.height:
                    found.append(frame)
        return concat(found).sort("@timestamp", "event.id")

    def status(self) -> list[DatasetStatus]:
        """What is held, by dataset."""
        self.flush()
        with self._catalogue.reading() as connection:
            rows = connection.execute(
                "SELECT dataset, sum(rows), sum(bytes), count(*), min(min_time), max(max_time)"
                " FROM segments GROUP BY dataset ORDER BY dataset"
            ).fetchall()
        return [
            DatasetStatus(dataset, int(n), int(size), int(count), from_ns(oldest), from_ns(newest))
            for dataset, n, size, count, oldest, newest in rows
        ]

    # Housekeeping.

    def retain(self, days: dict[str, int], now: datetime, *, apply: bool) -> dict[str, int]:
        """Delete old events; see ``store.base.Store.retain``.

        Kept whatever their age: the alerts and events that an incident which is neither closed nor merged names in
        its alerts or its timeline, and the events that those alerts name.
        """
        self.flush()
        if apply:
            self._check_open(writing=True)
        deleted: dict[str, int] = {}
        protected = sorted(self._protected())
        for dataset in self.datasets():
            limit = days.get(dataset, days.get("*"))
            if limit is None:
                continue
            cutoff = clamp_ns(now - timedelta(days=limit)) if limit < _FOREVER_DAYS else None
            if cutoff is None:
                continue
            if apply:
                with self._files.dataset_locks([dataset]):
                    count = self._retain(dataset, cutoff, protected, apply=True)
            else:
                with self._files.lock("readers", shared=True):
                    count = self._retain(dataset, cutoff, protected, apply=False)
            if count:
                deleted[dataset] = count
        if apply:
            self._files.bury(self._catalogue)
        return deleted

    def _retain(self, dataset: str, cutoff: int, protected: list[str], *, apply: bool) -> int:
        count = 0
        instant = pl.lit(cutoff, dtype=pl.Datetime("ns", "UTC"))
        for segment in self._catalogue.segments([dataset], until=cutoff):
            ids = protected[bisect_left(protected, segment.min_id) : bisect_right(protected, segment.max_id)]
            if segment.max_time < cutoff and not ids:
                count += segment.rows
                if apply:
                    self._catalogue.replace([], [segment])
                continue
            keep = (pl.col("@timestamp") >= instant) | pl.col("event.id").is_in(ids)
            if not apply:
                kept = self._files.read(segment, self._files.scan(segment).filter(keep).select(pl.len()))
                count += segment.rows - int(kept.item())
                continue
            frame = self._files.read(segment, self._files.scan(segment).filter(keep))
            if frame.height == segment.rows:
                continue
            count += segment.rows - frame.height
            new = [self._files.write(dataset, segment.folder, frame)] if frame.height else []
            self._swap(new, [segment])
        return count

    def _protected(self) -> set[str]:
        """Ids of events and alerts that open incidents rest on."""
        ids: set[str] = set()
        for incident in self.incidents():
            if incident.status in ("closed", "merged"):
                continue
            ids.update(alert.id for alert in incident.alerts)
            ids.update(event_id for entry in incident.timeline for event_id in entry.evidence)
        alerts = self.get(sorted(ids))
        if "alert.event_ids" in alerts.columns:
            ids.update(alerts["alert.event_ids"].explode(empty_as_null=True).drop_nulls().to_list())
        return ids

    def compact(self) -> int:
        """Put small segments of one dataset and date together.

        Readers under way keep what they have begun to read: replaced files are unlinked when no reader is left.

        Returns:
            Segments that were replaced.
        """
        self._check_open(writing=True)
        self.flush()
        replaced = 0
        for dataset in self.datasets():
            with self._files.dataset_locks([dataset]):
                for folder in self._catalogue.crowded(dataset, below=SMALL_SEGMENT, count=2):
                    replaced += self._compact_folder(dataset, folder)
        self._files.sweep(self._catalogue)
        self._files.bury(self._catalogue)
        return replaced

    def _compact_folder(self, dataset: str, folder: str) -> int:
        """Compact one date; the caller holds the dataset's lock."""
        small = [s for s in self._catalogue.segments([dataset], folder=folder) if s.rows < SMALL_SEGMENT]
        replaced = 0
        while len(small) > 1:
            group = [small.pop(0)]
            rows = group[0].rows
            while small and rows + small[0].rows <= SEGMENT_ROWS:
                rows += small[0].rows
                group.append(small.pop(0))
            if len(group) < 2:
                continue
            frame = concat([self._files.read(s, self._files.scan(s)) for s in group])
            self._swap([self._files.write(dataset, folder, ordered(frame))], group)
            replaced += len(group)
        return replaced

    def _swap(self, new: list[Segment], old: list[Segment]) -> None:
        try:
            self._catalogue.replace(new, old)
        except BaseException:
            self._files.discard(new)
            raise

    # Checkpoints and incidents.

    def checkpoint(self, name: str) -> bytes | None:
        """The value last put under ``name``."""
        with self._catalogue.reading() as connection:
            row = connection.execute("SELECT value FROM checkpoints WHERE name = ?", (name,)).fetchone()
        return None if row is None else bytes(row[0])

    def put_checkpoint(self, name: str, value: bytes) -> None:
        """Keep ``value`` under ``name``, durably, at once."""
        with self._catalogue.writing() as connection:
            connection.execute("INSERT OR REPLACE INTO checkpoints VALUES (?, ?)", (name, bytes(value)))

    def put_incident(self, incident: Incident) -> None:
        """Store a version of an incident; see ``store.base.Store.put_incident``."""
        incidents.put(self._catalogue, incident)

    def incident(self, incident_id: str, version: int | None = None) -> Incident | None:
        """An incident by id or unique prefix, the latest or the given version.

        Raises:
            StoreError: Several incidents begin so.
        """
        return incidents.get(self._catalogue, incident_id, version)

    def incidents(self) -> list[Incident]:
        """The latest version of every incident, newest ``last_seen`` first."""
        return incidents.latest(self._catalogue)

    # Life.

    def _check_open(self, *, writing: bool = False) -> None:
        if self._closed:
            raise StoreError("the store is closed", where=str(self.path))
        if writing:
            self._catalogue.check_writable()

    def close(self) -> None:
        """Flush and release. A second call does nothing."""
        with self._lock:
            if self._closed:
                return
            with closing(self._catalogue):
                try:
                    self.flush()
                finally:
                    self._closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


_FOREVER_DAYS = 100_000
"""Retention beyond this is no limit; arithmetic on dates would leave the calendar."""


def _query(
    since: datetime | None, until: datetime | None, where: pl.Expr | None, columns: Sequence[str] | None
) -> Query:
    return Query(
        since=None if since is None else clamp_ns(since),
        until=None if until is None else clamp_ns(until),
        where=where,
        columns=None if columns is None else frozenset(columns),
    )


def _id_range(frame: pl.DataFrame) -> tuple[str, str]:
    ids = frame["event.id"]
    return str(ids.min()), str(ids.max())


def _distinct(frame: pl.DataFrame) -> pl.DataFrame:
    """Leave out rows that repeat an ``event.id`` of the same table; the first one stays."""
    ids = frame["event.id"]
    if bool((ids.slice(1) > ids.slice(0, len(ids) - 1)).all()):
        return frame  # ids of one origin rise with the place: the usual case costs one comparison a row
    return frame.unique("event.id", keep="first", maintain_order=True) if ids.n_unique() < len(ids) else frame
