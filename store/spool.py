"""The spool: a sensor's own disk, written first, emptied by the forwarder.

::

    <spool>/spool.json                      version, limit
    <spool>/sequence                        the last number given out
    <spool>/segments/<n / 1000>/<number>-<class>-<dataset>-<events>.parquet
    <spool>/parked/                         segments that cannot be delivered, each with its reason beside it
    <spool>/dropped.json                    what had to be dropped at the limit, by dataset
    <spool>/forward.json                    what the forwarder did last (``store.forward``)
    <spool>/lock, <spool>/forwarder         lock files

A segment is one Parquet file of one dataset. It is written beside its name, fsynced, renamed, and its folder fsynced:
a name under ``segments`` is a whole segment, whatever happened to the machine. The number alone says the order;
no decision rests on a clock, so a clock that jumps changes neither order nor what is kept.

At the limit the oldest raw segments go first, then what the sensor says about itself; alerts are never dropped. What
is dropped is counted before it goes. A segment that the forwarder has in hand (``flock`` shared) is not dropped.
"""

from __future__ import annotations

import errno
import fcntl
import io
import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import unquote

import polars as pl

from event.errors import StoreError
from event.table import concat, conform
from store.files import entries, grab, load_json, read_all, save, write_file
from store.segments import ROW_GROUP, failures, folder_name, fsync_folder, make_folder
from store.spool_status import Dropped, Lost, SpoolStatus, lag, newest_event

FORMAT = 1
"""Version of the spool's layout that this program reads and writes."""
DEFAULT_LIMIT = 10 << 30
"""Bytes of waiting segments unless the owner says otherwise."""
LOW_WATER = 0.95
"""Part of the limit that is left when room is made, so that not every write has to make room again."""
GATHER_ROWS = 100_000
"""Rows of a dataset gathered in memory before a segment is written without ``flush``."""
GATHER_BYTES = 32 << 20
"""Memory of all gathered rows together; beyond it everything is written."""
MOST_FRAMES = 64
"""Tables of a dataset that are gathered before they become one."""
A_FOLDER = 1_000
"""Numbers a folder."""

ALERTS, HEALTH, RAW = "a", "h", "r"
"""Classes of segments, most precious first. RAW goes first at the limit, ALERTS never."""
_CLASS_OF = {"jianmen.alert": ALERTS, "sensor": HEALTH, "jianmen.input": HEALTH}
_NAME = re.compile(r"(\d{12,18})-([ahr])-(.+)-(\d{1,12})\.parquet")
_SEGMENTS, _PARKED = "segments", "parked"
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})
_MOST_HANDLES = 256
_LOOK_AT = 16
"""Latest segments that are opened for the time of their newest event."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A segment that waits for the forwarder.

    Attributes:
        number: Its place in the order, from 1.
        kind: ``ALERTS``, ``HEALTH`` or ``RAW``.
        dataset: As its file name has it; the table inside decides.
        events: Rows.
        bytes: File size.
        written: When its file was written, by the clock of that moment.
        path: Where it lies.
    """

    number: int
    kind: str
    dataset: str
    events: int
    bytes: int
    written: datetime
    path: Path


def class_of(dataset: str) -> str:
    """How precious a dataset is at the limit."""
    return _CLASS_OF.get(dataset, RAW)


class Spool:
    """Segments on disk, in order, bounded. Safe for several threads and processes."""

    def __init__(
        self,
        path: Path,
        *,
        create: bool = True,
        limit_bytes: int | None = None,
        warn: Callable[[str, int, int], None] = lambda dataset, events, size: None,
    ) -> None:
        """Open a spool.

        Args:
            path: Its folder.
            create: Make it (mode 0700) if it is not there.
            limit_bytes: Bytes of waiting segments at most; kept for later openings. ``DEFAULT_LIMIT`` in a new spool.
            warn: Called with dataset, events and bytes for every segment that is dropped at the limit.

        Raises:
            StoreError: It is not there and may not be made, cannot be read, or is of a newer version.
        """
        self.path = Path(path)
        self._warn = warn
        self._gathered: dict[str, list[pl.DataFrame]] = {}
        self._rows: dict[str, int] = {}
        self._bytes = 0
        self._tally: int | None = None
        self._last = 0
        self._lock = threading.RLock()
        self._closed = False
        if limit_bytes is not None and limit_bytes < 1:
            raise StoreError("the limit of a spool is one byte at least", where=str(self.path))
        known = self.path / "spool.json"
        if not known.is_file():
            if not create:
                raise StoreError(
                    "no spool there", where=str(self.path), hint="jianmen ingest CAPTURE --spool DIR makes one"
                )
            with failures(self.path):
                self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
                for name in (_SEGMENTS, _PARKED):
                    make_folder(self.path / name, self.path)
        with failures(known), self._exclusive():
            settings = load_json(known)
            if settings.get("format", FORMAT) > FORMAT:
                raise StoreError(
                    f"the spool has format {settings['format']}, this program knows {FORMAT} at most",
                    where=str(self.path),
                    hint="install the version of jianmen that wrote it, or a later one",
                )
            self.limit_bytes = limit_bytes or int(settings.get("limit_bytes", DEFAULT_LIMIT))
            wanted = {"format": FORMAT, "limit_bytes": self.limit_bytes}
            if settings != wanted and os.access(self.path, os.W_OK):
                save(known, wanted)

    # Writing.

    def append(self, events: pl.DataFrame) -> int:
        """Take a table of one dataset; durable after ``flush``.

        Returns:
            Rows taken.

        Raises:
            StoreError: A segment could not be written; what was gathered stays so, ``flush`` may be tried again, and
                no more is taken until it succeeds.
            ValueError: The table breaks the field catalogue (a bug of its maker).
        """
        if events.is_empty():
            return 0
        with self._lock:
            self._check_open()
            if self._bytes > GATHER_BYTES:  # an earlier write failed
                self._write(sorted(self._gathered))
            frame = conform(events)
            dataset = str(frame["event.dataset"][0])
            held = self._gathered.setdefault(dataset, [])
            if len(held) >= MOST_FRAMES:
                held[:] = [concat(held)]
            held.append(frame)
            self._rows[dataset] = self._rows.get(dataset, 0) + frame.height
            self._bytes += int(frame.estimated_size())
            if self._rows[dataset] >= GATHER_ROWS:
                self._write([dataset])
            elif self._bytes > GATHER_BYTES:
                self._write(sorted(self._gathered))
            return frame.height

    def flush(self) -> None:
        """Make everything that was appended durable; the forwarder sees it from now on."""
        with self._lock:
            self._check_open()
            self._write(sorted(self._gathered))

    def _write(self, datasets: list[str]) -> None:
        for dataset in sorted(datasets, key=lambda name: (class_of(name), name)):  # alerts first
            frame = concat(self._gathered[dataset])
            self.put(dataset, frame.height, to_parquet(frame))
            del self._gathered[dataset], self._rows[dataset]
            self._bytes = sum(int(f.estimated_size()) for held in self._gathered.values() for f in held)

    def put(self, dataset: str, events: int, body: bytes) -> int | None:
        """Write one segment that is serialised already.

        Returns:
            Its number, or None if it was dropped (and counted) for lack of room.

        Raises:
            StoreError: It cannot be written and may not be dropped.
        """
        kind = class_of(dataset)
        with failures(self.path), self._exclusive():
            if self._tally is None or self._read_sequence() != self._last:
                self._recover()
            room = self._make_room(len(body))
            while room:
                try:
                    return self._store(kind, dataset, events, body)
                except OSError as error:
                    # The limit may be more than the disk has: the same order of dropping applies.
                    if error.errno not in _NO_ROOM:
                        raise
                    if not self._drop(len(body)):
                        break
            if kind == ALERTS:
                raise StoreError(
                    "no room for alerts in the spool, and alerts are never dropped",
                    where=str(self.path),
                    hint="free space, raise the spool's limit, or start jianmen store forward",
                )
            self._count([(dataset, events, len(body))])
            return None

    def _store(self, kind: str, dataset: str, events: int, body: bytes) -> int:
        number = self._last + 1
        folder = self.path / _SEGMENTS / f"{number // A_FOLDER:09d}"
        final = folder / f"{number:012d}-{kind}-{folder_name(dataset)}-{events}.parquet"
        beside = folder / f".{number:012d}.part"
        try:
            make_folder(folder, self.path)
            write_file(beside, body)
            self._write_sequence(number)
            beside.rename(final)
        except BaseException:
            with suppress(OSError):
                beside.unlink(missing_ok=True)
            raise
        self._last = number
        self._tally = (self._tally or 0) + len(body)
        fsync_folder(folder)
        return number

    def _make_room(self, size: int) -> bool:
        """Drop until ``size`` more bytes fit; whether they do."""
        if (self._tally or 0) + size <= self.limit_bytes:
            return True
        self._tally = sum(segment.bytes for segment in self.waiting())  # the forwarder may have been at work
        if self._tally + size <= self.limit_bytes:
            return True
        left = self._tally + size - int(self.limit_bytes * LOW_WATER)
        while size <= self.limit_bytes and left > 0 and (freed := self._drop(left)):
            left -= freed
        return self._tally + size <= self.limit_bytes

    def _drop(self, size: int) -> int:
        """Drop at least ``size`` bytes, oldest raw segments first; what was freed."""
        freed = 0
        held: list[int] = []
        chosen: list[Waiting] = []
        try:
            for segment in sorted(self.waiting(), key=lambda s: (s.kind != RAW, s.number)):
                if freed >= size or segment.kind == ALERTS:
                    continue
                handle = grab(segment.path, exclusive=True)
                if handle is None:
                    continue  # the forwarder has it in hand
                held.append(handle)
                chosen.append(segment)
                freed += segment.bytes
                if len(chosen) >= _MOST_HANDLES:  # the caller comes again
                    break
            if chosen:
                try:
                    self._count([(s.dataset, s.events, s.bytes) for s in chosen], [s.number for s in chosen])
                    for segment in chosen:
                        segment.path.unlink(missing_ok=True)
                except OSError as error:
                    if error.errno not in _NO_ROOM:
                        raise
                    # Not even the count fits on the disk: make room for it. A crash here leaves a gap in the numbers.
                    for segment in chosen:
                        segment.path.unlink(missing_ok=True)
                    self._count([(s.dataset, s.events, s.bytes) for s in chosen])
                self._tally = (self._tally or 0) - freed
        finally:
            for handle in held:
                os.close(handle)
        return freed

    def _count(self, lost: list[tuple[str, int, int]], going: list[int] | None = None) -> None:
        dropped = self._dropped()
        for dataset, events, size in lost:
            dropped.add(dataset, events, size)
        dropped.going = going or []
        save(
            self.path / "dropped.json",
            {
                "format": FORMAT,
                "first": dropped.first,
                "last": dropped.last,
                "going": dropped.going,
                "datasets": {
                    name: {"events": one.events, "bytes": one.bytes, "segments": one.segments}
                    for name, one in sorted(dropped.datasets.items())
                },
            },
        )
        for dataset, events, size in lost:
            self._warn(dataset, events, size)

    def _dropped(self) -> Dropped:
        known = load_json(self.path / "dropped.json")
        return Dropped(
            datasets={name: Lost(**one) for name, one in known.get("datasets", {}).items()},
            first=known.get("first"),
            last=known.get("last"),
            going=list(known.get("going", [])),
        )

    def _recover(self) -> None:
        """Find the last number and the size; finish what a writer that died had begun. The lock is held."""
        for part in (self.path / _SEGMENTS).glob("*/.*.part"):
            part.unlink(missing_ok=True)
        going = set(self._dropped().going)
        waiting = []
        for segment in self.waiting():
            if segment.number in going:  # counted as dropped already
                segment.path.unlink(missing_ok=True)
            else:
                waiting.append(segment)
        self._tally = sum(segment.bytes for segment in waiting)
        numbers = [self._read_sequence(), *(s.number for s in waiting), *going]
        numbers.append(int(load_json(self.path / "forward.json").get("number", 0)))
        self._last = max(numbers)
        self._write_sequence(self._last)

    def _read_sequence(self) -> int:
        try:
            return int((self.path / "sequence").read_bytes()[:18])
        except (FileNotFoundError, ValueError):
            return 0

    def _write_sequence(self, number: int) -> None:
        """In place and within one sector, so that it also succeeds on a full disk."""
        handle = os.open(self.path / "sequence", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.pwrite(handle, f"{number:018d}".encode(), 0)
        finally:
            os.close(handle)

    # Reading and removing.

    def waiting(self, most: int | None = None) -> list[Waiting]:
        """Segments that wait, in order; the first ``most`` of them, if that is given."""
        found: list[Waiting] = []
        with failures(self.path):
            for folder in entries(self.path / _SEGMENTS):
                for entry in entries(Path(folder.path)) if folder.is_dir() else []:
                    if most is not None and len(found) >= most:
                        break
                    match = _NAME.fullmatch(entry.name)
                    if match is None:
                        continue
                    try:
                        stat = entry.stat(follow_symlinks=False)
                    except FileNotFoundError:
                        continue  # gone meanwhile
                    found.append(
                        Waiting(
                            number=int(match[1]),
                            kind=match[2],
                            dataset=unquote(match[3]),
                            events=int(match[4]),
                            bytes=stat.st_size,
                            written=datetime.fromtimestamp(stat.st_mtime, UTC),
                            path=Path(entry.path),
                        )
                    )
        return sorted(found, key=lambda segment: segment.number)

    def last_number(self) -> int:
        """The last number that was given out; 0 if none was yet."""
        with failures(self.path):
            return self._read_sequence()

    @contextmanager
    def holding(self, segment: Waiting) -> Iterator[bytes | None]:
        """A segment's bytes, kept from being dropped meanwhile; None if it is gone."""
        with failures(segment.path):
            handle = grab(segment.path, exclusive=False)
        if handle is None:
            yield None
            return
        try:
            with failures(segment.path):
                body = read_all(handle)
            yield body
        finally:
            os.close(handle)

    def remove(self, segments: list[Waiting]) -> None:
        """Delete segments that were delivered."""
        with failures(self.path), self._exclusive():
            for segment in segments:
                segment.path.unlink(missing_ok=True)
            for folder in {segment.path.parent for segment in segments}:
                if folder.name != f"{self._read_sequence() // A_FOLDER:09d}":
                    with suppress(OSError):
                        folder.rmdir()

    def park(self, segment: Waiting, reason: str) -> None:
        """Put a segment that cannot be delivered aside, with the reason; it does not hold up the others."""
        with failures(self.path), self._exclusive():
            save(self.path / _PARKED / f"{segment.path.name}.reason", {"reason": reason[:2_000]})
            with suppress(FileNotFoundError):
                segment.path.rename(self.path / _PARKED / segment.path.name)
            fsync_folder(self.path / _PARKED)

    def unpark(self) -> int:
        """Let parked segments wait again, at their old places; how many."""
        count = 0
        with failures(self.path), self._exclusive():
            for parked in sorted((self.path / _PARKED).glob("*.parquet")):
                match = _NAME.fullmatch(parked.name)
                if match is None:
                    continue
                folder = self.path / _SEGMENTS / f"{int(match[1]) // A_FOLDER:09d}"
                make_folder(folder, self.path)
                parked.rename(folder / parked.name)
                parked.with_name(parked.name + ".reason").unlink(missing_ok=True)
                fsync_folder(folder)
                count += 1
            self._tally = None
        return count

    def status(self, now: datetime | None = None) -> SpoolStatus:
        """What is held now, what was dropped and what the forwarder did last."""
        now = now or datetime.now(UTC)
        waiting = self.waiting()
        datasets: dict[str, Lost] = {}
        for segment in waiting:
            one = datasets.setdefault(segment.dataset, Lost())
            one.events += segment.events
            one.bytes += segment.bytes
            one.segments += 1
        with failures(self.path):
            parked = {
                path.name: str(load_json(path.with_name(path.name + ".reason")).get("reason", ""))
                for path in sorted((self.path / _PARKED).glob("*.parquet"))
            }
            dropped = self._dropped()
            forward = load_json(self.path / "forward.json")
        newest = newest_event(segment.path for segment in waiting[-_LOOK_AT:])
        return SpoolStatus(
            path=self.path,
            limit_bytes=self.limit_bytes,
            bytes=sum(segment.bytes for segment in waiting),
            segments=len(waiting),
            events=sum(segment.events for segment in waiting),
            datasets=dict(sorted(datasets.items())),
            first=waiting[0].number if waiting else None,
            last=waiting[-1].number if waiting else None,
            age_seconds=max([0.0, *((now - segment.written).total_seconds() for segment in waiting)]),
            newest_event=newest,
            lag_seconds=lag(newest, forward.get("newest_event"), bool(waiting)),
            parked=parked,
            dropped=dropped,
            forward=forward,
        )

    # Life.

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        """Alone among all processes, for the moment of a change."""
        path = self.path / "lock"
        if not os.access(self.path, os.W_OK):  # a copy for reading: nobody changes it through us
            yield
            return
        handle = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def _check_open(self) -> None:
        if self._closed:
            raise StoreError("the spool is closed", where=str(self.path))

    def close(self) -> None:
        """Flush and release. A second call does nothing."""
        with self._lock:
            if not self._closed:
                self.flush()
                self._closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def table_of(body: bytes) -> pl.DataFrame:
    """The table of a segment.

    Raises:
        StoreError: The bytes are no Parquet file, or damaged.
        ValueError: The table breaks the field catalogue: another version of this program wrote it.
    """
    with failures(Path("segment")):
        frame = pl.read_parquet(io.BytesIO(body))
    return conform(frame)


def to_parquet(frame: pl.DataFrame) -> bytes:
    """A table as the bytes of a segment."""
    out = io.BytesIO()
    frame.write_parquet(out, compression="zstd", compression_level=1, statistics=True, row_group_size=ROW_GROUP)
    return out.getvalue()
