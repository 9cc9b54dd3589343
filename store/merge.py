"""Rows of many sorted segments in one order, with bounded memory (a k-way merge on chunks of rows).

Every open segment holds one chunk. The smallest last key of the chunks whose segments go on is the bound up to which
rows can be given out: all that is not read yet lies behind it. A segment is opened only when the merge has come to
the instant of its first row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

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
_LAST_ID = "\U0010ffff"
"""Sorts behind every id."""


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
    """Where the merge stands in one segment."""

    def __init__(self, files: Files, segment: Segment, query: Query, *, descending: bool) -> None:
        self.segment = segment
        self.buffer: pl.DataFrame | None = None
        self._files = files
        self._query = query
        self._descending = descending
        self._read = 0
        self._growth = 1

    @property
    def ended(self) -> bool:
        """Nothing is left to be read from the file (the chunk may still hold rows)."""
        return self._read >= self.segment.rows

    def fill(self, chunk: int) -> None:
        """Read until the chunk has a row or the segment ends."""
        while (self.buffer is None or self.buffer.is_empty()) and not self.ended:
            rows = min(chunk * self._growth, _LARGEST_CHUNK, self.segment.rows - self._read)
            start = self.segment.rows - self._read - rows if self._descending else self._read
            table = self._files.scan(self.segment)
            if rows < self.segment.rows:
                table = table.slice(start, rows)
            frame = self._files.read(self.segment, self._query.apply(self.segment, table))
            self._read += rows
            if frame.height * _GROWTH < rows:
                self._growth *= _GROWTH  # few rows pass the predicate: look at more of them at once
            self.buffer = frame.reverse() if self._descending else frame
        if self.buffer is not None and self.buffer.is_empty():
            self.buffer = None

    def key(self, row: int) -> tuple[int, str]:
        """Key of a row held: instant in ns and id."""
        assert self.buffer is not None
        return int(self.buffer["@timestamp"].dt.epoch("ns")[row]), str(self.buffer["event.id"][row])

    def take(self, bound: tuple[int, str] | None) -> pl.DataFrame | None:
        """Hand out the rows up to the bound, inclusive; all if there is none."""
        held = self.buffer
        if held is None:
            return None
        if bound is None:
            self.buffer = None
            return held
        instant = pl.lit(bound[0], dtype=_INSTANT)
        time, event_id = pl.col("@timestamp"), pl.col("event.id")
        if self._descending:
            inside = (time > instant) | ((time == instant) & (event_id >= bound[1]))
        else:
            inside = (time < instant) | ((time == instant) & (event_id <= bound[1]))
        count = int(held.select(inside.sum()).item())
        self.buffer = held.slice(count) if count < held.height else None
        return held.head(count) if count else None


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
        return segment.max_time if descending else segment.min_time

    least, beyond = (max, _LAST_ID) if descending else (min, "")
    waiting = sorted(segments, key=edge, reverse=not descending)  # the next one to come stands at the end
    active: list[_Cursor] = []
    while waiting or active:
        first = least(cursor.key(0)[0] for cursor in active) if active else None
        if waiting and (first is None or least(edge(waiting[-1]), first) == edge(waiting[-1])):
            cursor = _Cursor(files, waiting.pop(), query, descending=descending)
            cursor.fill(_chunk(len(active) + 1, batch_rows))
            if cursor.buffer is not None:
                active.append(cursor)
            continue
        bounds = [cursor.key(-1) for cursor in active if not cursor.ended]
        if waiting:
            bounds.append((edge(waiting[-1]), beyond))  # rows at that very instant wait for the segment
        bound = least(bounds) if bounds else None
        parts = [part for part in (cursor.take(bound) for cursor in active) if part is not None]
        if len(parts) == 1:
            yield parts[0]
        elif parts:
            yield concat(parts).sort("@timestamp", "event.id", descending=descending)
        for cursor in active:
            cursor.fill(_chunk(len(active), batch_rows))
        active = [cursor for cursor in active if cursor.buffer is not None]


def _chunk(active: int, batch_rows: int) -> int:
    """Rows that each of ``active`` segments may hold, so that all together stay bounded."""
    return max(_LEAST_CHUNK, min(ROW_GROUP, _BUDGET_BATCHES * max(batch_rows, _LEAST_CHUNK) // active))
