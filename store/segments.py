"""Segment files: their names, how they are written durably, read, locked and cleaned up.

A segment is written beside its final name, fsynced, renamed, and its folder fsynced; only then does the catalogue
get its row. Everything here happens under the lock of its dataset (``locks/<dataset>``, ``flock``), so a file
without a row is an orphan of a writer that died. Readers hold ``locks/readers`` shared; files that were replaced
are unlinked only while nobody does. The kernel drops both kinds of lock with the process.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import polars as pl

from event.errors import StoreError
from event.fields import FIELDS
from store.catalogue import Catalogue, Segment, _hint

EVENTS = "events"
LOCKS = "locks"
ROW_GROUP = 32_768
"""Rows of a Parquet row group: the least that a reader has to decode."""
MOST_FOLDERS = 32
"""Segments that one write of a dataset makes at most: hostile time stamps must not cost a file each."""
MOST_RANGES = 64
"""Ranges of ids that the catalogue keeps of a segment."""
VARIOUS = "various"
"""Folder of rows whose dates were too many."""

_PLAIN = re.compile(r"[^A-Za-z0-9._-]")


def folder_name(dataset: str) -> str:
    """A file name for a dataset; anything unusual is percent-encoded, long names end in a hash."""
    name = _PLAIN.sub(lambda m: "".join(f"%{b:02x}" for b in m[0].encode("utf-8", "surrogatepass")), dataset)
    if len(name) > 120:
        name = f"{name[:100]}-{hashlib.blake2b(dataset.encode(), digest_size=8).hexdigest()}"
    return name


@contextmanager
def failures(where: Path) -> Iterator[None]:
    """Turn what Polars and the system raise about a segment into ``StoreError``."""
    try:
        yield
    except OSError as error:
        raise StoreError(f"{error.strerror or error}", where=str(where), hint=_hint(str(error))) from error
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        text = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        hint = _hint(text)
        if "doctor" in hint:
            hint = "the file is damaged: restore it from a backup, or move the store away and ingest the inputs again"
        raise StoreError(f"segment cannot be read or written: {text}", where=str(where), hint=hint) from error


def fsync_folder(path: Path) -> None:
    """Make renames inside a folder durable."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_folder(path: Path, root: Path) -> None:
    """Make a folder below ``root`` with mode 0700 and make it durable; parents too."""
    if path.is_dir():
        return
    if path != root:
        make_folder(path.parent, root)
    with suppress(FileExistsError):
        path.mkdir(mode=0o700)
    fsync_folder(path.parent)


class Files:
    """The files of one embedded store."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, segment: Segment) -> Path:
        """Where a segment lies."""
        return self.root / segment.path

    @contextmanager
    def lock(self, name: str, *, shared: bool = False, wait: bool = True) -> Iterator[bool]:
        """Hold a lock file; yields whether it was got (always, if ``wait``)."""
        path = self.root / LOCKS / name
        with failures(path):
            if shared and not path.exists() and not os.access(path.parent, os.W_OK):
                handle = -1  # a read-only copy that nobody has ever read: nobody removes files from it either
            else:
                flags = os.O_RDONLY | os.O_CLOEXEC
                if os.access(path.parent, os.W_OK):
                    flags |= os.O_CREAT
                handle = os.open(path, flags, 0o600)
        try:
            got = True
            if handle >= 0:
                mode = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
                try:
                    fcntl.flock(handle, mode if wait else mode | fcntl.LOCK_NB)
                except BlockingIOError:
                    got = False
            yield got
        finally:
            if handle >= 0:
                os.close(handle)

    @contextmanager
    def dataset_locks(self, datasets: Sequence[str]) -> Iterator[None]:
        """Hold the write locks of several datasets, taken in one order so that writers never wait in a ring."""
        with ExitStack() as stack:
            for name in sorted({folder_name(dataset) for dataset in datasets}):
                stack.enter_context(self.lock(f"dataset-{name}"))
            yield

    def write(self, dataset: str, folder: str, frame: pl.DataFrame) -> Segment:
        """Write one segment durably, without making it visible.

        Args:
            dataset: Its dataset.
            folder: ``YYYY-MM-DD`` or ``various``.
            frame: Conformed rows ordered by ``@timestamp`` and ``event.id``; at least one.

        Raises:
            StoreError: The disk is full, the folder cannot be written, ...; nothing is left behind.
        """
        place = self.root / EVENTS / folder_name(dataset) / folder
        name = f"{secrets.token_hex(12)}.parquet"
        beside = place / f".{name}.part"
        final = place / name
        with failures(final):
            make_folder(place, self.root)
            try:
                os.close(os.open(beside, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
                frame.write_parquet(
                    beside, compression="zstd", compression_level=1, statistics=True, row_group_size=ROW_GROUP
                )
                handle = os.open(beside, os.O_RDONLY | os.O_CLOEXEC)
                try:
                    os.fsync(handle)
                    size = os.fstat(handle).st_size
                finally:
                    os.close(handle)
                beside.rename(final)
                fsync_folder(place)
            except BaseException:
                with suppress(OSError):
                    beside.unlink(missing_ok=True)
                    final.unlink(missing_ok=True)
                raise
        times = frame["@timestamp"].dt.epoch("ns")
        ids = frame["event.id"]
        return Segment(
            number=0,
            dataset=dataset,
            folder=folder,
            path=str(final.relative_to(self.root)),
            min_time=int(times[0]),
            max_time=int(times[-1]),
            min_id=str(ids.min()),
            max_id=str(ids.max()),
            rows=frame.height,
            bytes=size,
            columns=tuple(frame.columns),
            ranges=id_ranges(ids),
        )

    def discard(self, segments: Sequence[Segment]) -> None:
        """Remove files that never became visible."""
        for segment in segments:
            with suppress(OSError):
                self.path(segment).unlink(missing_ok=True)

    def scan(self, segment: Segment) -> pl.LazyFrame:
        """A lazy table over a segment's file, dtypes as the catalogue of fields has them today."""
        return pl.scan_parquet(self.path(segment), glob=False)

    def read(self, segment: Segment, query: pl.LazyFrame) -> pl.DataFrame:
        """Collect a query over one segment.

        Raises:
            StoreError: The file is missing, unreadable or damaged.
        """
        path = self.path(segment)
        with failures(path):
            frame = query.collect()
        casts = [
            pl.col(name).cast(FIELDS[name].dtype)
            for name, dtype in frame.schema.items()
            if name in FIELDS and FIELDS[name].dtype != dtype
        ]
        return frame.with_columns(casts) if casts else frame

    def sweep(self, catalogue: Catalogue, *, skip: frozenset[str] = frozenset()) -> int:
        """Remove orphans of writers that died; datasets that somebody writes now are left for the next time.

        Args:
            catalogue: What counts.
            skip: Folder names of datasets whose lock the caller holds.

        Returns:
            Files removed.
        """
        base = self.root / EVENTS
        removed = 0
        with failures(base):
            folders = sorted(p for p in base.iterdir() if p.is_dir()) if base.is_dir() else []
            for folder in folders:
                if folder.name in skip:
                    continue
                with self.lock(f"dataset-{folder.name}", wait=False) as got:
                    if got:
                        removed += self._sweep_one(folder, catalogue)
        return removed

    def _sweep_one(self, folder: Path, catalogue: Catalogue) -> int:
        known = catalogue.paths(f"{EVENTS}/{folder.name}/")
        orphans = [p for p in folder.glob("*/*") if str(p.relative_to(self.root)) not in known]
        for orphan in orphans:
            orphan.unlink(missing_ok=True)
        return len(orphans)

    def bury(self, catalogue: Catalogue) -> int:
        """Unlink files that were replaced, if no reader is under way; else leave them for the next time."""
        paths = catalogue.tombstones()
        if not paths:
            return 0
        with self.lock("readers", wait=False) as got, failures(self.root):
            if not got:
                return 0
            for path in paths:
                (self.root / path).unlink(missing_ok=True)
        catalogue.buried(paths)
        return len(paths)


def id_ranges(ids: pl.Series) -> tuple[tuple[str, str], ...]:
    """Smallest and largest id of each input (told by what stands before the first ``-``), at most ``MOST_RANGES``.

    Args:
        ids: ``event.id``, at least one.
    """
    low, high = str(ids.min()), str(ids.max())
    if low.partition("-")[0] == high.partition("-")[0]:
        return ((low, high),)  # what lies between two ids of one input is of that input too
    prefix = ids.str.extract(r"^([^-]*)", 1)
    table = pl.DataFrame({"p": prefix, "i": ids}).group_by("p").agg(low=pl.col("i").min(), high=pl.col("i").max())
    lows, highs = table["low"].sort().to_list(), table["high"].sort().to_list()
    step = -(-len(lows) // MOST_RANGES)
    return tuple((lows[n], highs[min(n + step, len(highs)) - 1]) for n in range(0, len(lows), step))


def by_folder(frame: pl.DataFrame) -> list[tuple[str, pl.DataFrame]]:
    """Split a table by UTC date of ``@timestamp``; dates beyond the ``MOST_FOLDERS - 1`` fullest go together."""
    first, last = frame["@timestamp"].dt.date().min(), frame["@timestamp"].dt.date().max()
    if first == last:
        return [(_date_name(first), frame)]
    dates = frame.select(pl.col("@timestamp").dt.date().alias("date"))["date"]
    counts = dates.value_counts(sort=True).sort(["count", "date"], descending=[True, False])["date"]
    if len(counts) <= MOST_FOLDERS:
        chosen, rest = counts.to_list(), False
    else:
        chosen, rest = counts.head(MOST_FOLDERS - 1).to_list(), True
    parts = [(_date_name(date), frame.filter(dates == date)) for date in sorted(chosen)]
    if rest:
        parts.append((VARIOUS, frame.filter(~dates.is_in(chosen))))
    return parts


def _date_name(date: object) -> str:
    return str(date)
