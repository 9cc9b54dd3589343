"""The embedded store's catalogue: SQLite in WAL mode.

A segment exists when its row is here, and from no earlier moment. ``synchronous=FULL`` makes a commit durable
before it is acknowledged. Instants are integers of nanoseconds since the epoch, UTC.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

from event.errors import StoreError
from store import migrate

NAME = "catalogue.sqlite"
BUSY_SECONDS = 60.0
"""How long a writer waits for another one's transaction."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_COLUMNS = "id, dataset, folder, path, min_time, max_time, min_id, max_id, rows, bytes, columns"
_MOST_VARIABLES = 500
_MIN = -(1 << 63)
_MAX = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class Segment:
    """One immutable Parquet file of one dataset, its rows ordered by time and id.

    Attributes:
        number: Row id in the catalogue; grows with every segment ever made. 0 before it is there.
        dataset: ``event.dataset`` of all rows.
        folder: UTC date of the rows, or ``various``.
        path: Relative to the store.
        min_time: Earliest ``@timestamp``, ns.
        max_time: Latest ``@timestamp``, ns, inclusive.
        min_id: Smallest ``event.id``.
        max_id: Largest ``event.id``.
        rows: Events.
        bytes: File size.
        columns: Columns of the file.
        ranges: Smallest and largest ``event.id`` of each input in it, told by what stands before the first ``-``;
            inputs that are neighbours share a range if there are very many. Empty on segments read from the catalogue.
    """

    number: int
    dataset: str
    folder: str
    path: str
    min_time: int
    max_time: int
    min_id: str
    max_id: str
    rows: int
    bytes: int
    columns: tuple[str, ...]
    ranges: tuple[tuple[str, str], ...] = ()


def to_ns(instant: datetime) -> int:
    """Nanoseconds since the epoch of an aware datetime."""
    if instant.tzinfo is None:
        raise StoreError(
            f"{instant.isoformat()} has no time zone", hint="give instants with an offset, such as 2026-01-01T00:00:00Z"
        )
    span = instant - _EPOCH
    return ((span.days * 86_400 + span.seconds) * 1_000_000 + span.microseconds) * 1_000


def from_ns(nanoseconds: int) -> datetime:
    """An aware datetime, UTC; nanoseconds below a microsecond are cut off."""
    return _EPOCH + timedelta(microseconds=nanoseconds // 1_000)


def clamp_ns(instant: datetime) -> int:
    """``to_ns`` held inside what a 64-bit integer holds (years 1677 to 2262)."""
    return min(max(to_ns(instant), _MIN), _MAX)


class Catalogue:
    """One connection to the catalogue, usable from several threads, one statement at a time."""

    def __init__(self, store: Path, *, create: bool) -> None:
        """Open the catalogue of a store, made if ``create``, brought to the present schema if it may be written.

        Raises:
            StoreError: There is none, it cannot be opened, or it is newer than this program.
        """
        self.path = store / NAME
        self.read_only = False
        self._lock = threading.RLock()
        with self.errors():
            if create and not self.path.exists():
                # Made by hand so that it is never readable by others; SQLite gives -wal and -shm the same mode.
                os.close(os.open(self.path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
            self._connection = self._connect(create=create)

    def _connect(self, *, create: bool) -> sqlite3.Connection:
        uri = f"file:{quote(str(self.path.absolute()))}"
        writable = os.access(self.path, os.W_OK) and os.access(self.path.parent, os.W_OK)
        if not writable:
            self.read_only = True
            wal = self.path.with_name(NAME + "-wal")
            # Without the right to make -shm, SQLite reads a WAL database only if it may assume that nobody writes.
            mode = "mode=ro" if wal.exists() and wal.stat().st_size else "immutable=1"
            connection = self._open(f"{uri}?{mode}")
            migrate.check(connection, str(self.path))
            return connection
        connection = self._open(f"{uri}?mode=rw")
        found = migrate.schema_version(connection)
        if found > migrate.SCHEMA or (found == 0 and not create):
            try:
                migrate.check(connection, str(self.path))
            finally:
                connection.close()
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        migrate.migrate(connection, str(self.path))
        return connection

    def _open(self, uri: str) -> sqlite3.Connection:
        return sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Turn what SQLite and the system raise into ``StoreError``."""
        try:
            yield
        except sqlite3.Error as error:
            raise StoreError(
                f"the catalogue cannot be used: {error}", where=str(self.path), hint=_hint(str(error))
            ) from error
        except OSError as error:
            raise StoreError(
                f"the store cannot be used: {error.strerror or error}", where=str(self.path), hint=_hint(str(error))
            ) from error

    def check_writable(self) -> None:
        """Refuse to write where nothing can be written.

        Raises:
            StoreError: The store was opened for reading only.
        """
        if self.read_only:
            raise StoreError(
                "the store is read-only for this user",
                where=str(self.path),
                hint="check owner and mode of the store's folder, or name another with --store",
            )

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection for one query."""
        with self._lock, self.errors():
            yield self._connection

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A write transaction: durable when the block has been left without an exception."""
        with self._lock, self.errors():
            self.check_writable()
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def close(self) -> None:
        """Release the connection."""
        with self._lock, self.errors():
            self._connection.close()

    def segments(
        self,
        datasets: Sequence[str] | None = None,
        *,
        since: int | None = None,
        until: int | None = None,
        first_id: str | None = None,
        last_id: str | None = None,
        after: int = 0,
        folder: str | None = None,
    ) -> list[Segment]:
        """Segments that may hold what is asked for, by time of their first row.

        Args:
            datasets: Which; all if None.
            since: Inclusive, ns.
            until: Exclusive, ns.
            first_id: Smallest ``event.id`` of interest, inclusive.
            last_id: Largest ``event.id`` of interest, inclusive.
            after: Only segments with a larger number.
            folder: Only this date.
        """
        terms = ["id > ?"]
        values: list[object] = [after]
        if datasets is not None:
            if not datasets:
                return []
            if len(datasets) <= _MOST_VARIABLES:  # more than these are sorted out below
                terms.append(f"dataset IN ({', '.join('?' * len(datasets))})")
                values.extend(datasets)
        for term, value in (
            ("max_time >= ?", since),
            ("min_time < ?", until),
            ("folder = ?", folder),
        ):
            if value is not None:
                terms.append(term)
                values.append(value)
        if first_id is not None and last_id is not None:
            same = "" if datasets is None or len(datasets) != 1 else "dataset = ? AND "
            terms.append(f"id IN (SELECT segment FROM ranges WHERE {same}max_id >= ? AND min_id <= ?)")  # noqa: S608
            values += [*(datasets or ())[:1], first_id, last_id] if same else [first_id, last_id]
        query = f"SELECT {_COLUMNS} FROM segments WHERE {' AND '.join(terms)} ORDER BY min_time, id"  # noqa: S608
        with self.reading() as connection:
            rows = connection.execute(query, values).fetchall()
        wanted = None if datasets is None else frozenset(datasets)
        found = (Segment(*(*row[:-1], tuple(json.loads(row[-1])))) for row in rows)
        return [segment for segment in found if wanted is None or segment.dataset in wanted]

    def last_number(self) -> int:
        """Number of the newest segment; 0 if there was none yet."""
        with self.reading() as connection:
            row = connection.execute("SELECT max(id) FROM segments").fetchone()
        return int(row[0] or 0)

    def replace(self, new: Sequence[Segment], old: Sequence[Segment] = ()) -> None:
        """Make ``new`` visible and ``old`` invisible in one step; the files of ``old`` become tombstones."""
        with self.writing() as connection:
            for segment in old:
                row = connection.execute("DELETE FROM segments WHERE path = ? RETURNING id", (segment.path,)).fetchone()
                if row is None:
                    raise StoreError(f"segment {segment.path} vanished from the catalogue", where=str(self.path))
                connection.execute("DELETE FROM ranges WHERE segment = ?", row)
            connection.executemany("INSERT OR IGNORE INTO tombstones VALUES (?)", [(s.path,) for s in old])
            for s in new:
                number = connection.execute(
                    "INSERT INTO segments"
                    " (dataset, folder, path, min_time, max_time, min_id, max_id, rows, bytes, columns)"
                    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (
                        s.dataset,
                        s.folder,
                        s.path,
                        s.min_time,
                        s.max_time,
                        s.min_id,
                        s.max_id,
                        s.rows,
                        s.bytes,
                        json.dumps(s.columns),
                    ),
                ).lastrowid
                connection.executemany(
                    "INSERT INTO ranges VALUES (?, ?, ?, ?)",
                    [(number, s.dataset, low, high) for low, high in s.ranges or ((s.min_id, s.max_id),)],
                )

    def paths(self, prefix: str) -> set[str]:
        """Paths below ``prefix`` that are in use or wait for removal."""
        with self.reading() as connection:
            rows = connection.execute(
                "SELECT path FROM segments WHERE substr(path, 1, ?1) = ?2"
                " UNION ALL SELECT path FROM tombstones WHERE substr(path, 1, ?1) = ?2",
                (len(prefix), prefix),
            ).fetchall()
        return {row[0] for row in rows}

    def tombstones(self) -> list[str]:
        """Paths of files that no new reader will open."""
        with self.reading() as connection:
            return [row[0] for row in connection.execute("SELECT path FROM tombstones").fetchall()]

    def buried(self, paths: Sequence[str]) -> None:
        """Forget tombstones whose files are gone."""
        with self.writing() as connection:
            connection.executemany("DELETE FROM tombstones WHERE path = ?", [(path,) for path in paths])

    def crowded(self, dataset: str, *, below: int, count: int) -> list[str]:
        """Folders of a dataset with ``count`` or more segments of fewer than ``below`` rows."""
        with self.reading() as connection:
            rows = connection.execute(
                "SELECT folder FROM segments WHERE dataset = ? AND rows < ? GROUP BY folder HAVING count(*) >= ?",
                (dataset, below, count),
            ).fetchall()
        return [row[0] for row in rows]


def _hint(text: str) -> str:
    """What to do now, by what the system said."""
    lower = text.lower()
    if "full" in lower or "no space" in lower:
        return "free space on that file system; what was acknowledged is safe, the rest can be appended again"
    if "readonly" in lower or "read-only" in lower or "permission" in lower or "unable to open" in lower:
        return "check owner and mode of the store's folder, or name another with --store"
    if "locked" in lower or "busy" in lower:
        return "another process holds the store for very long; try again when it is done"
    if "malformed" in lower or "not a database" in lower or "corrupt" in lower:
        return "restore the catalogue from a backup; the segments beside it are untouched"
    return "jianmen doctor shows whether the store's folder can be read and written"
