"""Blocks of log lines to event tables, with ids and an account: shared by files, followed files and sockets."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import numpy as np
import polars as pl

from event.table import conform, event_ids
from sensor.base import Account, LineParser


def line_tables(
    parser: LineParser,
    lines: pl.Series,
    offsets: pl.Series,
    account: Account,
    *,
    origin: str,
    name: str,
    reference: datetime | None,
) -> Iterator[pl.DataFrame]:
    """Parse a block of lines.

    Args:
        parser: Of this input alone: it may remember a header.
        lines: Text without line ends.
        offsets: Where each stands in its input, ``log.offset``; no two are the same.
        account: Goes up by the lines once all tables were taken.
        origin: Identity of the input, for ``event.id``.
        name: ``log.file.path``.
        reference: See ``sensor.base.LineParser``.
    """
    rows = failed = 0
    for table in parser.parse(lines, offsets, reference=reference):
        if table.is_empty():
            continue
        rows += table.height
        failed += int((table["event.kind"] == "pipeline_error").sum())
        zero = pl.Series(np.zeros(table.height, np.int64))
        ids = event_ids(origin, table["log.offset"], table["@timestamp"], str(table["event.dataset"][0]), zero)
        yield conform(table.with_columns(ids.alias("event.id"), pl.lit(name).alias("log.file.path")))
    account.total += rows
    account.failed += failed
    account.decoded += rows - failed
    if len(lines) > rows:
        account.notes["header_and_empty_lines"] = account.notes.get("header_and_empty_lines", 0) + len(lines) - rows


def lines_of(data: bytes | memoryview, offset: int) -> tuple[pl.Series, pl.Series]:
    """Lines of a block without their ends, and the offset of each; bytes that are no UTF-8 are replaced.

    Args:
        data: Whole lines; the last may lack its end.
        offset: Where the block starts in its input.
    """
    ends = np.flatnonzero(np.frombuffer(data, np.uint8) == 10)
    starts = np.concatenate([[0], ends + 1])
    lines = pl.Series([str(data, "utf-8", "replace")], dtype=pl.String).str.split("\n").explode()
    if len(ends) and ends[-1] == len(data) - 1:
        lines = lines.head(len(lines) - 1)
        starts = starts[:-1]
    return lines.str.strip_suffix("\r"), pl.Series(starts.astype(np.int64) + offset)
