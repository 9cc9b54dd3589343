r"""One-way export and import: signed, numbered segments through a data diode, without a back channel.

One file a segment, ``<stream>-<number>.jms``::

    jianmen-segment 1\n
    {"stream": .., "number": .., "previous": .., "digest": .., "bytes": .., "events": .., ...}\n
    <signature of both lines, hex>\n
    <the segment as the spool has it: Parquet>

A stream is one sender with one key. ``previous`` is the hash of the three lines of the number before, so that the
numbers are a chain: who holds an old copy of a sender cannot continue it unseen. Nothing of the payload is parsed
before signature, length and digest are right. The receiver keeps in a checkpoint of its store what has arrived, which
numbers are missing, and what the hash of a missing one must be; a file that comes late fills its gap.
"""

from __future__ import annotations

import fcntl
import json
import os
import random
import secrets
import stat
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from event.errors import ConfigError, StoreError
from store.base import Store
from store.files import load_json, save, write_file
from store.forward import FIRST_PAUSE, LONGEST_PAUSE, Delivered, Parcel
from store.segments import failures, fsync_folder
from store.signing import Key
from store.spool import table_of, to_parquet

MAGIC = b"jianmen-segment 1\n"
SUFFIX = ".jms"
FIRST = "0" * 64
"""``previous`` of number 1."""
MOST_HEADER = 8_192
"""Bytes of the three lines at most."""
MOST_BYTES = 512 << 20
"""Bytes of a segment that is taken in."""
MOST_GAPS = 1_000
"""Ranges of missing numbers that are remembered of a stream; beyond, the oldest count as given up."""
MOST_STREAMS = 4_096
RECENT = 64
"""Latest numbers whose hash is remembered, to tell a repeated file from another one with its number."""
BATCH_BYTES = 64 << 20
"""Bytes of segments between two flushes of the receiving store."""
CHECKPOINT = "one-way"
"""Names the streams that a store knows; each has a checkpoint of its own behind a slash."""
STATE = ".export.json"
HEARTBEAT = 300.0
"""Seconds of silence after which a sender says that it has nothing to say: without it the loss of the last segments
could not be told from silence."""


class Header(BaseModel):
    """What is signed of a segment."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    stream: str = Field(pattern=r"^[0-9a-f]{16}$")
    number: int = Field(ge=1, lt=1 << 53)
    previous: str = Field(pattern=r"^[0-9a-f]{64}$")
    key: str = Field(pattern=r"^[0-9a-f]{16}$")
    scheme: str
    dataset: str
    """Empty for a heartbeat, which has no payload."""
    events: int = Field(ge=0)
    bytes: int = Field(ge=0)
    digest: str = Field(pattern=r"^[0-9a-f]{64}$")
    written: str


class Exporter:
    """Writes a stream into a folder. A ``store.forward.Delivery``; one at a time is at work on a folder.

    Attributes:
        stream: Its id.
        number: The last number written.
        count: Segments written by this object, heartbeats too.
        events: Events in them.
    """

    def __init__(self, folder: Path, key: Key, *, heartbeat: float = HEARTBEAT) -> None:
        """Open an export folder, finishing what an exporter that died had begun.

        Raises:
            StoreError: The folder cannot be used, or another exporter is at work on it.
            ConfigError: The key cannot sign.
        """
        key.sign(b"")
        self.most = 1
        self.folder = folder
        self.key = key
        self.count = 0
        self.events = 0
        self._heartbeat = heartbeat
        self._last = time.monotonic()
        with failures(folder):
            folder.mkdir(mode=0o750, parents=True, exist_ok=True)
            self._handle = os.open(folder / ".lock", os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(self._handle)
                raise StoreError("another export is at work on this folder", where=str(folder)) from None
            try:
                self._recover()
            except BaseException:
                os.close(self._handle)
                raise

    def _recover(self) -> None:
        state = load_json(self.folder / STATE)
        if state.get("key") != self.key.id:  # a stream has one key: a new key begins a new stream
            state = {"stream": secrets.token_hex(8), "key": self.key.id, "number": 0, "hash": FIRST}
        self.stream = str(state["stream"])
        self.number = int(state["number"])
        self._hash = str(state["hash"])
        for part in self.folder.glob(".*.part"):
            if part.name == f".{self._name(self.number)}.part":
                part.rename(self.folder / self._name(self.number))  # whole: the state was written after it
            else:
                part.unlink(missing_ok=True)
        fsync_folder(self.folder)

    def _name(self, number: int) -> str:
        return f"{self.stream}-{number:012d}{SUFFIX}"

    def deliver(self, parcels: Sequence[Parcel]) -> Delivered:
        """Write the segments of a spool, as they are; all durable when it returns."""
        for parcel in parcels:
            self.put(str(parcel.table["event.dataset"][0]), parcel.table.height, parcel.body)
        return Delivered(sum(parcel.table.height for parcel in parcels))

    def idle(self) -> None:
        """Say so after a while in which nothing came."""
        if time.monotonic() - self._last >= self._heartbeat:
            self.beat()

    def beat(self) -> Header:
        """Write a segment without payload: everything up to here was sent, and the sender lives."""
        return self.put("", 0, b"")

    def put(self, dataset: str, events: int, body: bytes) -> Header:
        """Write one segment.

        Raises:
            StoreError: It cannot be written; the next attempt has the same number.
        """
        header = Header(
            stream=self.stream,
            number=self.number + 1,
            previous=self._hash,
            key=self.key.id,
            scheme=self.key.scheme,
            dataset=dataset,
            events=events,
            bytes=len(body),
            digest=self.key.digest(body),
            written=datetime.now(UTC).isoformat(),
        )
        signed = MAGIC + header.model_dump_json().encode() + b"\n"
        lines = signed + self.key.sign(signed).encode() + b"\n"
        name = self._name(header.number)
        part = self.folder / f".{name}.part"
        with failures(self.folder):
            try:
                write_file(part, lines + body, 0o640)  # the group of the folder is the one that carries it over
                fsync_folder(self.folder)
                own = self.key.digest(lines)
                # The number is spent before the file can be seen: whoever takes files away never sees it used twice.
                state = {"stream": self.stream, "key": self.key.id, "number": header.number, "hash": own}
                save(self.folder / STATE, state)
            except BaseException:
                with suppress(OSError):
                    if load_json(self.folder / STATE).get("number") != header.number:
                        part.unlink(missing_ok=True)
                raise
            self.number, self._hash = header.number, own
            part.rename(self.folder / name)
            fsync_folder(self.folder)
        self._last = time.monotonic()
        self.count += 1
        self.events += events
        return header

    def close(self) -> None:
        """Release the folder. A second call does nothing."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1


def export_tables(tables: Iterable[pl.DataFrame], exporter: Exporter) -> int:
    """Write tables, each of one dataset, into a stream; how many events."""
    count = 0
    for table in tables:
        if table.height:
            exporter.put(str(table["event.dataset"][0]), table.height, to_parquet(table))
            count += table.height
    return count


@dataclass(slots=True)
class Gap:
    """Missing numbers, both ends inclusive.

    Attributes:
        first: First one.
        last: Last one.
        before: Hash of the segment before ``first``.
        after: What the hash of ``last`` must be.
    """

    first: int
    last: int
    before: str
    after: str

    def __str__(self) -> str:
        return str(self.first) if self.first == self.last else f"{self.first}-{self.last}"


@dataclass(slots=True)
class Stream:
    """What has arrived of a stream.

    Attributes:
        key: Id of its key.
        last: Highest number that arrived.
        hash: Its hash.
        written: When it was written, by the sender's clock.
        arrived: When it was taken in, by ours.
        segments: Segments that arrived, heartbeats too.
        events: Events in them.
        gaps: Missing numbers, ascending.
        given_up: Missing numbers that are no longer remembered one by one.
        recent: Hashes of the latest numbers.
    """

    key: str
    last: int = 0
    hash: str = FIRST
    written: str = ""
    arrived: str = ""
    segments: int = 0
    events: int = 0
    gaps: list[Gap] = field(default_factory=list)
    given_up: int = 0
    recent: dict[int, str] = field(default_factory=dict)

    @property
    def missing(self) -> int:
        """How many numbers are missing."""
        return self.given_up + sum(gap.last - gap.first + 1 for gap in self.gaps)

    def knows(self, number: int) -> bool:
        """Whether this number has arrived (or was given up)."""
        return number <= self.last and not any(gap.first <= number <= gap.last for gap in self.gaps)

    def fits(self, header: Header, own: str) -> str | None:
        """Why a new segment does not fit the chain, if so."""
        if header.number == self.last + 1:
            return None if header.previous == self.hash else "it does not continue the chain of what arrived before it"
        for gap in self.gaps:
            if gap.first <= header.number <= gap.last:
                if header.number == gap.first and header.previous != gap.before:
                    return "it does not continue the chain of what arrived before it"
                if header.number == gap.last and own != gap.after:
                    return "what arrived after it continues another segment with this number"
        return None

    def take(self, header: Header, own: str) -> None:
        """Enter a segment that fits."""
        if header.number > self.last:
            if header.number > self.last + 1:
                self.gaps.append(Gap(self.last + 1, header.number - 1, self.hash, header.previous))
            self.last, self.hash, self.written = header.number, own, header.written
        else:
            gap = next(gap for gap in self.gaps if gap.first <= header.number <= gap.last)
            at = self.gaps.index(gap)
            parts = [
                Gap(gap.first, header.number - 1, gap.before, header.previous),
                Gap(header.number + 1, gap.last, own, gap.after),
            ]
            self.gaps[at : at + 1] = [part for part in parts if part.first <= part.last]
        while len(self.gaps) > MOST_GAPS:
            old = self.gaps.pop(0)
            self.given_up += old.last - old.first + 1
        self.segments += 1
        self.events += header.events
        self.arrived = datetime.now(UTC).isoformat()
        self.recent[header.number] = own
        while len(self.recent) > RECENT:
            del self.recent[min(self.recent)]


@dataclass(slots=True)
class Imported:
    """What one import did.

    Attributes:
        segments: Segments taken in, heartbeats too.
        events: Events in them.
        new_events: Events that the store did not have.
        repeated: Files that had been taken in before.
        refused: File name to the reason.
        streams: All streams that the store knows, after the import.
    """

    segments: int = 0
    events: int = 0
    new_events: int = 0
    repeated: int = 0
    refused: dict[str, str] = field(default_factory=dict)
    streams: dict[str, Stream] = field(default_factory=dict)


class Importer:
    """Takes files out of a folder into a store. It may be repeated at will."""

    def __init__(self, folder: Path, store: Store, keys: Sequence[Key], *, remove: bool = False) -> None:
        """Make an importer.

        Args:
            folder: Where the diode puts the files.
            store: Where the events go; it also keeps what has arrived.
            keys: Keys that are trusted.
            remove: Delete files that were taken in, once that is durable.

        Raises:
            ConfigError: There is no folder, or no key.
        """
        if not keys:
            raise ConfigError("an import needs a key to check with", hint="--key FILE, made by jianmen store key")
        if not folder.is_dir():
            raise ConfigError("no such folder", where=str(folder))
        self.folder, self.store, self.remove = folder, store, remove
        self._keys = {key.id: key for key in keys}
        self._done: list[Path] = []
        self._repeated: list[Path] = []
        self._changed: set[str] = set()
        self._named: list[str] = []
        self._settled: dict[str, tuple[int, int] | None] = {}
        """Files that this object has taken in: they need not be read again as long as they stay the same."""

    def once(self) -> Imported:
        """Take in what lies there, in order of stream and number.

        Raises:
            StoreError: The store did not take it; the next import begins where this one stopped being durable.
        """
        self._done, self._repeated = [], []
        result = Imported(streams=streams(self.store))
        self._changed.clear()
        self._named = sorted(result.streams)
        heads: list[tuple[Header, str, Path, int]] = []
        with failures(self.folder):
            names = sorted(path for path in self.folder.iterdir() if path.name.endswith(SUFFIX) and path.name[0] != ".")
        marks = {path.name: _mark(path) for path in names}
        for path in names:
            if path.name in self._settled and self._settled[path.name] == marks[path.name]:
                result.repeated += 1
                self._repeated.append(path)
                continue
            try:
                header, own, start = self._head(path)
            except _Refused as reason:
                result.refused[path.name] = str(reason)
            else:
                heads.append((header, own, path, start))
        size = 0
        for header, own, path, start in sorted(heads, key=lambda head: (head[0].stream, head[0].number, head[2].name)):
            try:
                body = self._admit(result, header, own, path, start)
            except _Refused as reason:
                result.refused[path.name] = str(reason)
                continue
            if body is None:
                result.repeated += 1
                self._repeated.append(path)
                continue
            size += len(body)
            if size >= BATCH_BYTES:
                self._keep(result)
                size = 0
        self._keep(result)
        self._settled = {path.name: marks[path.name] for path in [*self._done, *self._repeated]}
        if self.remove:
            with failures(self.folder):
                for path in [*self._done, *self._repeated]:
                    path.unlink(missing_ok=True)
        return result

    def follow(
        self,
        stop: threading.Event,
        tell: Callable[[Imported], None],
        *,
        trouble: Callable[[str], None] = lambda text: None,
        every: float = 2.0,
    ) -> None:
        """Take in what comes, and through failures of the store, until stopped.

        Args:
            stop: It ends soon after this is set.
            tell: Called after each round in which something came or was refused that was not refused before.
            trouble: Called with each new failure of the store, with an empty text when it is over.
            every: Seconds between rounds.
        """
        refused: dict[str, str] = {}
        failing = ""
        pause = FIRST_PAUSE
        while not stop.is_set():
            try:
                result = self.once()
            except StoreError as error:
                if str(error) != failing:
                    failing = str(error)
                    trouble(failing)
                stop.wait(pause * random.uniform(0.5, 1.0))  # noqa: S311
                pause = min(2 * pause, LONGEST_PAUSE)
                continue
            if failing:
                failing = ""
                trouble("")
            pause = FIRST_PAUSE
            if result.segments or any(refused.get(name) != reason for name, reason in result.refused.items()):
                tell(result)
            refused = result.refused
            stop.wait(every)

    def _admit(self, result: Imported, header: Header, own: str, path: Path, start: int) -> bytes | None:
        """Take one segment in; None if it is there already."""
        stream = result.streams.get(header.stream)
        if stream is None:
            if len(result.streams) >= MOST_STREAMS:
                raise _Refused(f"the store knows {MOST_STREAMS} streams already")
            stream = Stream(key=header.key)
        if stream.key != header.key:
            raise _Refused(f"stream {header.stream} belongs to key {stream.key}, this is signed by {header.key}")
        if stream.knows(header.number):
            if stream.recent.get(header.number, own) != own:
                raise _Refused(f"another segment with number {header.number} has arrived before it")
            return None
        wrong = stream.fits(header, own)
        if wrong is not None:
            raise _Refused(f"number {header.number}: {wrong}")
        body = _payload(path, start, header)
        if self._keys[header.key].digest(body) != header.digest:
            raise _Refused(f"number {header.number}: the content is not what was signed")
        if body:
            try:
                table = table_of(body)
            except (StoreError, ValueError) as error:
                raise _Refused(f"number {header.number}: {str(error).splitlines()[0]}") from error
            result.new_events += self.store.append(table)
        stream.take(header, own)
        result.streams[header.stream] = stream
        self._changed.add(header.stream)
        result.segments += 1
        result.events += header.events
        self._done.append(path)
        return body

    def _head(self, path: Path) -> tuple[Header, str, int]:
        """Read and check the three lines; the header, their hash, and where the payload begins."""
        with _regular(path) as file:
            lines = file.read(MOST_HEADER).split(b"\n", 3)
        if lines[0] + b"\n" != MAGIC:
            raise _Refused("not a segment of this program, or cut off within its first line")
        if len(lines) < 4:
            raise _Refused("cut off within its header")
        signed = MAGIC + lines[1] + b"\n"
        try:
            header = Header.model_validate_json(lines[1])
        except ValidationError as error:
            raise _Refused(f"the header is wrong: {error.errors()[0]['msg']}") from None
        key = self._keys.get(header.key)
        if key is None:
            raise _Refused(f"number {header.number}: key {header.key} is not trusted here")
        if key.scheme != header.scheme or not key.verifies(signed, lines[2].decode("ascii", "replace")):
            raise _Refused(f"number {header.number}: the signature is wrong")
        start = len(signed) + len(lines[2]) + 1
        return header, key.digest(signed, lines[2], b"\n"), start

    def _keep(self, result: Imported) -> None:
        if not self._changed:
            return
        self.store.flush()
        for name in sorted(self._changed):
            self.store.put_checkpoint(f"{CHECKPOINT}/{name}", _pack(result.streams[name]))
        names = sorted(result.streams)
        if names != sorted(self._named):
            self.store.put_checkpoint(CHECKPOINT, json.dumps({"format": 1, "streams": names}).encode())
            self._named = names
        self._changed.clear()


class _Refused(Exception):
    """Why a file is not taken in."""


@contextmanager
def _regular(path: Path) -> Iterator[Any]:
    """Open a regular file; whatever else a folder may hold is refused without being touched."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise _Refused(f"cannot be read: {error.strerror}") from error
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise _Refused("not a regular file")
    with os.fdopen(handle, "rb") as file:
        try:
            yield file
        except OSError as error:
            raise _Refused(f"cannot be read: {error.strerror}") from error


def _mark(path: Path) -> tuple[int, int] | None:
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


def _payload(path: Path, start: int, header: Header) -> bytes:
    if header.bytes > MOST_BYTES:
        raise _Refused(f"number {header.number}: {header.bytes} bytes are more than {MOST_BYTES}")
    with _regular(path) as file:
        size = os.fstat(file.fileno()).st_size - start
        if size != header.bytes:
            what = "cut off" if size < header.bytes else "too long"
            raise _Refused(f"number {header.number}: {what}: {size} of {header.bytes} bytes")
        file.seek(start)
        body: bytes = file.read(header.bytes)
    return body


def streams(store: Store) -> dict[str, Stream]:
    """What a store knows of one-way streams."""
    kept = store.checkpoint(CHECKPOINT)
    found: dict[str, Stream] = {}
    for name in json.loads(kept)["streams"] if kept else []:
        one = store.checkpoint(f"{CHECKPOINT}/{name}")
        if one is not None:
            values = json.loads(one)
            values["gaps"] = [Gap(*gap) for gap in values["gaps"]]
            values["recent"] = {int(number): own for number, own in values["recent"].items()}
            found[name] = Stream(**values)
    return found


def _pack(stream: Stream) -> bytes:
    values = asdict(stream)
    values["gaps"] = [[gap.first, gap.last, gap.before, gap.after] for gap in stream.gaps]
    return json.dumps(values).encode()
