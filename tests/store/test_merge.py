"""The merge of segments: any overlap, any chunk, both ways, against a plain sort."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from store import merge
from store.catalogue import Segment
from store.segments import Files

INSTANTS = st.sampled_from([-(1 << 63), -5, 0, 1, 2, 3, 4, 1_000, (1 << 63) - 1])
ROWS = st.lists(st.tuples(INSTANTS, st.integers(0, 99)), min_size=1, max_size=40)


def table(rows: list[tuple[int, int]], number: int) -> pl.DataFrame:
    frame = pl.DataFrame(
        {
            "@timestamp": pl.Series([r[0] for r in rows], dtype=pl.Int64).cast(pl.Datetime("ns", "UTC")),
            "event.id": [f"{r[1]:02d}-{number}-{i}" for i, r in enumerate(rows)],
            "event.dataset": ["modbus"] * len(rows),
            "event.kind": ["event"] * len(rows),
            "event.count": pl.Series([r[1] for r in rows], dtype=pl.Int64),
        }
    )
    if number % 2:
        frame = frame.with_columns(pl.lit(number, dtype=pl.Int64).alias("modbus.unit_id"))
    return frame.sort("@timestamp", "event.id")


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lists=st.lists(ROWS, min_size=1, max_size=6),
    chunk=st.integers(1, 12),
    batch=st.integers(1, 30),
    descending=st.booleans(),
    least=st.none() | st.integers(0, 99),
)
def test_any_segments_merge_as_if_sorted_together(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    lists: list[list[tuple[int, int]]],
    chunk: int,
    batch: int,
    descending: bool,
    least: int | None,
) -> None:
    files = Files(tmp_path)
    tables = [table(rows, number) for number, rows in enumerate(lists)]
    written: list[Segment] = [files.write("modbus", "2026-03-01", frame) for frame in tables]
    where = None if least is None else (pl.col("event.count") >= least) & pl.col("dnp3.iin").is_null()
    with monkeypatch.context() as patch:
        patch.setattr(merge, "_LEAST_CHUNK", chunk)
        patch.setattr(merge, "ROW_GROUP", chunk)
        patch.setattr(merge, "_LARGEST_CHUNK", 4 * chunk)
        got = list(merge.merged(files, written, merge.Query(where=where), batch_rows=batch, descending=descending))
    expected = pl.concat(tables, how="diagonal").sort("@timestamp", "event.id", descending=descending)
    if least is not None:
        expected = expected.filter(pl.col("event.count") >= least)
    assert [t.height for t in got[:-1]] == [batch] * (len(got) - 1)
    assert [i for t in got for i in t["event.id"].to_list()] == expected["event.id"].to_list()
    if got:
        merged = pl.concat(got, how="diagonal")
        assert merged.select(sorted(merged.columns)).equals(expected.select(sorted(merged.columns)))
