"""Rows of many sorted segments in one order, with bounded memory (a k-way merge on chunks of rows).

Every open segment holds one chunk. The smallest last key of the chunks whose segments go on is the bound up to which
rows can be given out: all that is not read yet lies behind it. A segment is opened only when the merge has come to
the instant of its first row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from event.errors import StoreError
from event.fields import FIELDS
from event.table import concat
from store.catalogue import Segment
from store.segments import ROW_GROUP, Files

ALWAYS = ("@timestamp", "event.id", "event.dataset")
"""Columns that every answer has."""

_INSTANT = pl.Datetime("ns", "UTC")
_LEAST_CHUNK = 2_048
_GROWTH = 4
_LARGEST_CHUNK = 32 * ROW_GROUP
_BUDGET_BATCHES = 4


@dataclass(frozen=True, slots=True)
class Query:
    """What is wanted of each segment.

    Attributes:
        since: First instant, inclusive, ns.
        until: Last instant, exclusive, ns.
        where: Predicate over catalogue columns; a missing column is null.
        columns: Columns wanted beside ``ALWAYS``; all if None.
    """

    since: int | None = None
    until: int | None = None
    where: pl.Expr | None = None
    columns: frozenset[str] | None = None

    def roots(self) -> list[str]:
        """Columns that the predicate reads.

        Raises:
            StoreError: One is not in the field catalogue.
        """
        names = [] if self.where is None else sorted(set(self.where.meta.root_names()))
        unknown = [name for name in names if name not in FIELDS]
        if unknown:
            raise StoreError(
                f"no such field: {', '.join(unknown)}", hint="jianmen events fields lists the names that exist"
            )
        return names

    def apply(self, segment: Segment, table: pl.LazyFrame) -> pl.LazyFrame:
        """Filter and project a lazy table of ``segment``."""
        if self.since is not None and segment.min_time < self.since:
            table = table.filter(pl.col("@timestamp") >= pl.lit(self.since, dtype=_INSTANT))
        if self.until is not None and segment.max_time >= self.until:
            table = table.filter(pl.col("@timestamp") < pl.lit(self.until, dtype=_INSTANT))
        present = set(segment.columns)
        if self.where is not None:
            absent = [name for name in self.roots() if name not in present]
            table = table.with_columns(pl.lit(None, dtype=FIELDS[name].dtype).alias(name) for name in absent)
            table = table.filter(self.where)
        if self.columns is None:
            return table.select(segment.columns)
        return table.select(name for name in segment.columns if name in self.columns or name in ALWAYS)


class _Cursor:
    """Where the merge stands in one segment. Instants of a descending merge are negated: keys always rise."""

    def __init__(self, files: Files, segment: Segment, query: Query, *, descending: bool) -> None:
        self.segment = segment
        self._files = files
        self._query = query
        self._descending = descending
        self._read = 0
        self._growth = 1
        self._held = pl.DataFrame()
        self._times = np.empty(0, np.int64)
        self._ids = pl.Series(dtype=pl.String)
        self._at = 0

    @property
    def ended(self) -> bool:
        """Nothing is left to be read from the file (rows may still be held)."""
        return self._read >= self.segment.rows

    @property
    def empty(self) -> bool:
        """No row is held."""
        return self._at >= len(self._times)

    def fill(self, chunk: int) -> None:
        """Read until a row is held or the segment ends."""
        while self.empty and not self.ended:
            rows = min(chunk * self._growth, _LARGEST_CHUNK, self.segment.rows - self._read)
            start = self.segment.rows - self._read - rows if self._descending else self._read
            table = self._files.scan(self.segment)
            if rows < self.segment.rows:
                table = table.slice(start, rows)
            frame = self._files.read(self.segment, self._query.apply(self.segment, table))
            self._read += rows
            if frame.height * _GROWTH < rows:
                self._growth *= _GROWTH  # few rows pass the predicate: look at more of them at once
            self._held = frame.reverse() if self._descending else frame
            times = self._held["@timestamp"].dt.epoch("ns").to_numpy()
            self._times = ~times if self._descending else times  # ~x = -x - 1 reverses the order, without overflow
            self._ids = self._held["event.id"]
            self._at = 0

    def first(self) -> int:
        """Instant of the first row held."""
        return int(self._times[self._at])

    def last(self) -> tuple[int, str]:
        """Key of the last row held: instant and id."""
        return int(self._times[-1]), str(self._ids[-1])

    def take(self, bound: tuple[int, str | None] | None) -> pl.DataFrame | None:
        """Hand out the rows up to the bound, inclusive; all if there is none.

        Args:
            bound: Instant and id; without an id, only rows before the instant.
        """
        end = len(self._times)
        if bound is not None:
            instant, event_id = bound
            end = int(np.searchsorted(self._times, instant, "left"))
            if event_id is not None:
                same = int(np.searchsorted(self._times, instant, "right")) - end
                ids = self._ids.slice(end, same)
                end += int((ids >= event_id if self._descending else ids <= event_id).sum()) if same else 0
        start, self._at = self._at, max(end, self._at)
        return self._held.slice(start, end - start) if end > start else None


def merged(
    files: Files, segments: Sequence[Segment], query: Query, *, batch_rows: int, descending: bool = False
) -> Iterator[pl.DataFrame]:
    """Yield rows of all segments ordered by ``@timestamp`` and ``event.id``.

    Args:
        files: Where the segments are.
        segments: Which; each sorted ascending inside.
        query: What is wanted of them.
        batch_rows: Rows of a table at most; a table has fewer only at the end.
        descending: Newest first.

    Raises:
        StoreError: A segment cannot be read, or the predicate names an unknown field.
    """
    query.roots()
    pieces: list[pl.DataFrame] = []
    held = 0
    for piece in _pieces(files, segments, query, batch_rows=batch_rows, descending=descending):
        pieces.append(piece)
        held += piece.height
        if held >= batch_rows:
            table = concat(pieces)
            full = held - held % batch_rows
            for start in range(0, full, batch_rows):
                yield table.slice(start, batch_rows)
            pieces = [table.slice(full)] if full < held else []
            held -= full
    if held:
        yield concat(pieces)


def _pieces(
    files: Files, segments: Sequence[Segment], query: Query, *, batch_rows: int, descending: bool
) -> Iterator[pl.DataFrame]:
    """The merge itself: ordered pieces of any size."""

    def edge(segment: Segment) -> int:
        """Instant of the segment's first row to come."""
        return ~segment.max_time if descending else segment.min_time

    waiting = sorted(segments, key=edge, reverse=True)  # the next one to come stands at the end
    active: list[_Cursor] = []
    while waiting or active:
        if waiting and (not active or edge(waiting[-1]) <= min(cursor.first() for cursor in active)):
            cursor = _Cursor(files, waiting.pop(), query, descending=descending)
            cursor.fill(_chunk(len(active) + 1, batch_rows))
            if not cursor.empty:
                active.append(cursor)
            continue
        bound = _bound([cursor.last() for cursor in active if not cursor.ended], descending=descending)
        if waiting and (bound is None or edge(waiting[-1]) <= bound[0]):
            bound = (edge(waiting[-1]), None)  # rows of that very instant wait for the segment
        parts = [part for part in (cursor.take(bound) for cursor in active) if part is not None]
        if len(parts) == 1:
            yield parts[0]
        elif parts:
            yield ordered(concat(parts), descending=descending)
        for cursor in active:
            cursor.fill(_chunk(len(active), batch_rows))
        active = [cursor for cursor in active if not cursor.empty]


def ordered(frame: pl.DataFrame, *, descending: bool = False) -> pl.DataFrame:
    """Rows by ``@timestamp`` and ``event.id``; ids are compared only if two rows have one instant."""
    times = frame["@timestamp"].dt.epoch("ns")
    if not descending and bool((times.slice(1) > times.head(-1)).all()):
        return frame
    order = times.arg_sort(descending=descending)
    instants = times.gather(order)
    equal = instants.slice(1).eq_missing(instants.head(-1))
    if equal.any():
        no = pl.Series([False])
        tied = pl.concat([no, equal]) | pl.concat([equal, no])
        few = order.filter(tied)
        keys = pl.DataFrame({"at": times.gather(few), "id": frame["event.id"].gather(few)})
        order = order.scatter(
            tied.arg_true(), few.gather(keys.select(pl.arg_sort_by("at", "id", descending=descending)).to_series())
        )
    return frame[order]


def _bound(keys: Sequence[tuple[int, str]], *, descending: bool) -> tuple[int, str | None] | None:
    """The key that comes first; ids of one instant fall in a descending merge."""
    if not keys:
        return None
    instant = min(key[0] for key in keys)
    ids = [key[1] for key in keys if key[0] == instant]
    return instant, max(ids) if descending else min(ids)


def _chunk(active: int, batch_rows: int) -> int:
    """Rows that each of ``active`` segments may hold, so that all together stay bounded."""
    return max(_LEAST_CHUNK, min(ROW_GROUP, _BUDGET_BATCHES * max(batch_rows, _LEAST_CHUNK) // active))
