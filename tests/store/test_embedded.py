"""What only the embedded store owes: durability, several processes, files, and errors that say what now."""

from __future__ import annotations

import contextlib
import os
import random
import resource
import sqlite3
import stat
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest

from event.errors import StoreError
from event.table import conform
from store import embedded, migrate, segments
from store.embedded import EmbeddedStore

WRITER = Path(__file__).with_name("writer.py")
T0 = datetime(2026, 3, 1, tzinfo=UTC)
ROWS = 120
"""Events of each of three datasets that a writer has; a run of it is some 30,000 lines in store/."""


def events(
    numbers: list[int] | range, dataset: str = "modbus", origin: str = "aaaa", step: float = 1.0
) -> pl.DataFrame:
    rows = list(numbers)
    return conform(
        pl.DataFrame(
            {
                "@timestamp": pl.Series(
                    [T0 + timedelta(seconds=n * step) for n in rows], dtype=pl.Datetime("ns", "UTC")
                ),
                "event.id": [f"{origin}-{n:06d}-{dataset}" for n in rows],
                "event.dataset": [dataset] * len(rows),
                "event.kind": ["event"] * len(rows),
                "event.count": rows,
            }
        )
    )


def ids(store: EmbeddedStore) -> list[str]:
    return [event_id for table in store.scan() for event_id in table["event.id"].to_list()]


def parquets(path: Path) -> list[Path]:
    return sorted(p for p in (path / "events").rglob("*") if p.is_file())


# Crashes.


def writer(path: Path, seed: int, lines: int = 0, rows: int = ROWS) -> subprocess.Popen[bytes]:
    command = [sys.executable, str(WRITER), str(path), str(seed), "3", str(rows), str(lines)]
    environment = {**os.environ, "POLARS_MAX_THREADS": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)


def survive(path: Path, rounds: int, seed: int) -> None:
    """Kill a writer again and again; nothing acknowledged is lost, nothing is there twice; then let it finish."""
    chance = random.Random(seed)
    kills = 0
    safe: set[str] = set()
    for number in range(rounds):
        by_line = number % 3 != 2
        process = writer(path, seed + number, lines=chance.randrange(1, 25_000) if by_line else 0)
        if not by_line:
            time.sleep(chance.uniform(0.5, 1.5))
            process.kill()
        out, err = process.communicate(timeout=120)
        assert process.returncode in (0, -9), err.decode()
        kills += process.returncode == -9
        told = out.decode().split("\n")
        safe.update(line for line in told[:-1] if line != "done")
        with EmbeddedStore(path) as store:
            found = ids(store)
            assert len(found) == len(set(found))
            assert safe <= set(found)
    assert kills >= rounds // 2
    out, err = writer(path, seed).communicate(timeout=120)
    assert out.endswith(b"done\n"), err.decode()
    expected = sorted(f"{'ab'[n % 2]}{d}-{n:06d}" for d in range(3) for n in range(ROWS))
    with EmbeddedStore(path) as store:
        assert sorted(ids(store)) == expected
        store.compact()
        assert sorted(ids(store)) == expected
        with store._catalogue.reading() as connection:
            known = {row[0] for row in connection.execute("SELECT path FROM segments")}
    assert {str(p.relative_to(path)) for p in parquets(path)} == known


def test_a_writer_killed_at_any_point_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    survive(tmp_path / "s", 10, 1)


@pytest.mark.slow
def test_a_writer_killed_fifty_times_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    survive(tmp_path / "s", 50, 1000)


def test_a_crash_between_rename_and_catalogue_is_harmless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "s"
    with EmbeddedStore(path) as store:
        store.append(events(range(5)))
    kept = parquets(path)
    orphan = kept[0].with_name("0123456789abcdef01234567.parquet")
    half = kept[0].with_name(".fedcba987654321001234567.parquet.part")
    orphan.write_bytes(kept[0].read_bytes())
    half.write_bytes(b"PAR1")
    with EmbeddedStore(path) as store:
        assert len(ids(store)) == 5
        store.append(events(range(5, 8)))
        store.flush()
        assert not orphan.exists()
        assert not half.exists()
        assert len(ids(store)) == 8


def test_files_of_a_dataset_that_somebody_writes_are_not_orphans(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with EmbeddedStore(path) as store:
        store.append(events(range(5)))
        store.flush()
        (first,) = parquets(path)
        under_way = first.with_name("0123456789abcdef01234567.parquet")
        under_way.write_bytes(b"PAR1")
        with EmbeddedStore(path) as other, store._files.dataset_locks(["modbus"]):
            other.append(events(range(5), dataset="dnp3"))
            other.flush()
            assert under_way.exists()


def test_writers_at_the_same_time_store_each_event_once(tmp_path: Path) -> None:
    running = [writer(tmp_path / "s", seed) for seed in (1, 2, 3)]
    for process in running:
        out, err = process.communicate(timeout=120)
        assert out.endswith(b"done\n"), err.decode()
    with EmbeddedStore(tmp_path / "s") as store:
        assert sorted(ids(store)) == sorted(f"{'ab'[n % 2]}{d}-{n:06d}" for d in range(3) for n in range(ROWS))


# Files.


def test_nobody_else_may_read_the_store(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with EmbeddedStore(path) as store:
        store.append(events(range(5)))
        store.flush()
        store.put_checkpoint("x", b"y")
        for item in [path, *path.rglob("*")]:
            mode = stat.S_IMODE(item.stat().st_mode)
            assert mode == (0o700 if item.is_dir() else 0o600), item


def test_segments_lie_by_dataset_and_utc_date(tmp_path: Path) -> None:
    with EmbeddedStore(tmp_path / "s") as store:
        store.append(events(range(3), step=86_400))
        store.append(events([0], dataset="zeek.conn"))
        store.flush()
        names = [str(p.parent.relative_to(tmp_path / "s" / "events")) for p in parquets(tmp_path / "s")]
    assert names == ["modbus/2026-03-01", "modbus/2026-03-02", "modbus/2026-03-03", "zeek.conn/2026-03-01"]


def test_many_dates_do_not_cost_a_file_each(tmp_path: Path) -> None:
    with EmbeddedStore(tmp_path / "s") as store:
        store.append(events(range(500), step=86_400))
        assert len(ids(store)) == 500
        assert len(parquets(tmp_path / "s")) == segments.MOST_FOLDERS
        (status,) = store.status()
        assert status.segments == segments.MOST_FOLDERS


def test_many_rows_are_written_without_a_flush(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "GATHER_ROWS", 50)
    with EmbeddedStore(tmp_path / "s") as store, EmbeddedStore(tmp_path / "s") as reader:
        store.append(events(range(30)))
        assert ids(reader) == []
        store.append(events(range(30, 60)))
        assert len(ids(reader)) == 60


def test_much_memory_is_written_without_a_flush(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "GATHER_BYTES", 1_000)
    with EmbeddedStore(tmp_path / "s") as store, EmbeddedStore(tmp_path / "s") as reader:
        store.append(events(range(100)))
        assert len(ids(reader)) == 100


def test_large_tables_become_several_segments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "SEGMENT_ROWS", 40)
    with EmbeddedStore(tmp_path / "s") as store:
        store.append(events(list(reversed(range(100)))))
        assert [s.segments for s in store.status()] == [3]
        assert ids(store) == events(range(100))["event.id"].to_list()


def test_compaction_puts_small_segments_together(tmp_path: Path) -> None:
    with EmbeddedStore(tmp_path / "s") as store:
        for number in range(10):
            store.append(events(range(number, 50, 10)))
            store.flush()
        store.append(events([0], step=0, dataset="dnp3"))
        before = ids(store)
        assert store.compact() == 10
        assert ids(store) == before
        assert [s.segments for s in store.status()] == [1, 1]
        assert len(parquets(tmp_path / "s")) == 2
        assert store.compact() == 0


def test_a_crowd_of_small_segments_is_compacted_by_its_writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "CROWD", 4)
    with EmbeddedStore(tmp_path / "s") as store:
        for number in range(10):
            store.append(events([number]))
            store.flush()
        assert len(parquets(tmp_path / "s")) < 4
        assert len(ids(store)) == 10


@pytest.mark.parametrize("change", ["compact", "retain"])
def test_a_reader_under_way_keeps_what_it_began_to_read(tmp_path: Path, change: str) -> None:
    with EmbeddedStore(tmp_path / "s") as store, EmbeddedStore(tmp_path / "s") as other:
        for number in range(5):
            store.append(events(range(number * 10, number * 10 + 10)))
            store.flush()
        reader = other.scan(batch_rows=10)
        found = next(reader)["event.id"].to_list()
        if change == "compact":
            store.compact()
        else:
            store.retain({"*": 1}, T0 + timedelta(days=2), apply=True)
        for table in reader:
            found += table["event.id"].to_list()
        assert found == events(range(50))["event.id"].to_list()
        del reader
        store.compact()
        store.append(events([99]))
        store.flush()
        assert len(parquets(tmp_path / "s")) == sum(s.segments for s in store.status())


def test_a_search_with_a_limit_does_not_read_what_it_does_not_need(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    real = segments.Files.read

    def counted(self: segments.Files, segment: segments.Segment, query: pl.LazyFrame) -> pl.DataFrame:
        read.append(segment.path)
        return real(self, segment, query)

    with EmbeddedStore(tmp_path / "s") as store:
        for day in range(10):
            store.append(events(range(day * 86_400, day * 86_400 + 5)))
            store.flush()
        monkeypatch.setattr(segments.Files, "read", counted)
        (table,) = store.search(limit=3, newest_first=True)
        assert table.height == 3
        assert len(read) == 1
        read.clear()
        store.append(events(range(5), origin="fresh"))
        assert read == []  # ids of a fresh input overlap nothing
        since = T0 + timedelta(days=4)
        assert sum(t.height for t in store.scan(since=since, until=since + timedelta(days=1))) == 5
        assert len(read) == 1


# What can go wrong.


def test_a_fresh_input_overlaps_no_segment_of_several_inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with EmbeddedStore(tmp_path / "s") as store:
        for origin in ("1111", "9999", "5555"):
            store.append(events(range(5), origin=origin))
        store.flush()
        assert [s.segments for s in store.status()] == [1]
        with monkeypatch.context() as patch:
            patch.setattr(segments.Files, "read", lambda *_: pytest.fail("a segment was read"))
            assert store.append(events(range(5), origin="3333")) == 5
        assert store.append(events(range(8), origin="5555")) == 3


def test_ranges_of_ids_cover_all_ids_and_are_bounded() -> None:
    ids_ = pl.Series([f"{n:04x}-{k:03d}" for n in range(1_000) for k in (7, 3)] + ["no dash", "-", ""])
    ranges = segments.id_ranges(ids_)
    assert len(ranges) <= segments.MOST_RANGES
    assert all(any(low <= i <= high for low, high in ranges) for i in ids_.to_list())
    assert all(a[1] < b[0] for a, b in pairwise(ranges))


def test_a_store_of_the_first_schema_is_brought_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with EmbeddedStore(tmp_path / "s") as store:
        store.append(events(range(5)))
    connection = sqlite3.connect(tmp_path / "s" / "catalogue.sqlite")
    connection.executescript(
        "DROP TABLE ranges; PRAGMA user_version = 1;"
        "CREATE INDEX segments_event_id ON segments (dataset, max_id, min_id);"
    )
    connection.close()
    with monkeypatch.context() as patch:
        patch.setattr(os, "access", lambda path, mode: mode != os.W_OK and Path(path).exists())
        with pytest.raises(StoreError, match="schema 1"):
            EmbeddedStore(tmp_path / "s", create=False)
    with EmbeddedStore(tmp_path / "s", create=False) as store:
        assert store.append(events(range(7))) == 2
        assert len(ids(store)) == 7


def test_a_store_that_is_not_there_is_not_made_unasked(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no store there") as caught:
        EmbeddedStore(tmp_path / "s", create=False)
    assert caught.value.exit_code == 5
    assert not (tmp_path / "s").exists()


def test_a_file_in_place_of_the_store_is_named(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("x")
    with pytest.raises(StoreError) as caught:
        EmbeddedStore(tmp_path / "s")
    assert str(tmp_path / "s") in str(caught.value)


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    EmbeddedStore(tmp_path / "s").close()
    with sqlite3.connect(tmp_path / "s" / "catalogue.sqlite") as connection:
        connection.execute(f"PRAGMA user_version = {migrate.SCHEMA + 1}")
    connection.close()
    for create in (True, False):
        with pytest.raises(StoreError, match="schema") as caught:
            EmbeddedStore(tmp_path / "s", create=create)
        assert "version" in (caught.value.hint or "")


def test_a_catalogue_that_is_none_is_named(tmp_path: Path) -> None:
    EmbeddedStore(tmp_path / "s").close()
    (tmp_path / "s" / "catalogue.sqlite").write_bytes(b"nonsense " * 1000)
    with pytest.raises(StoreError, match="catalogue") as caught:
        EmbeddedStore(tmp_path / "s")
    assert "backup" in (caught.value.hint or "")


@pytest.mark.parametrize("damage", ["cut", "noise", "gone", "empty", "middle"])
def test_a_damaged_segment_is_named(tmp_path: Path, damage: str) -> None:
    with EmbeddedStore(tmp_path / "s") as store:
        store.append(events(range(5000)))
        store.flush()
        (segment,) = parquets(tmp_path / "s")
        body = segment.read_bytes()
        if damage == "gone":
            segment.unlink()
        elif damage == "middle":
            segment.write_bytes(body[:50] + b"\xff" * (len(body) // 2) + body[50 + len(body) // 2 :])
        else:
            segment.write_bytes({"cut": body[: len(body) // 2], "noise": os.urandom(500), "empty": b""}[damage])
        with pytest.raises(StoreError) as caught:
            ids(store)
        assert segment.name in str(caught.value)
        assert caught.value.hint
        assert store.status()[0].events == 5000


def test_a_full_disk_is_said_and_nothing_is_lost_when_there_is_room_again(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with EmbeddedStore(tmp_path / "s") as store:
        store.append(events(range(10)))
        store.flush()
        store.append(events(range(10, 20_000)))
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
            with pytest.raises(StoreError) as caught:
                store.flush()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert caught.value.where
        assert len(parquets(tmp_path / "s")) == 1
        store.flush()
        assert len(ids(store)) == 20_000


def test_a_full_disk_does_not_fill_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "GATHER_ROWS", 50)
    with EmbeddedStore(tmp_path / "s") as store:
        with monkeypatch.context() as patch:

            def full(*_: object) -> None:
                raise StoreError("no space left on device")

            patch.setattr(segments.Files, "write", full)
            for start in range(0, 500, 30):
                with contextlib.suppress(StoreError):
                    store.append(events(range(start, start + 30)))
            assert store._gathered["modbus"].rows == 60
            with pytest.raises(StoreError, match="no space"):
                store.flush()
        store.flush()
        assert len(ids(store)) == 60


def test_a_read_only_store_can_be_read_and_says_why_it_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with EmbeddedStore(tmp_path / "s") as store:
        store.append(events(range(5)))
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK and real(path, mode))
    with EmbeddedStore(tmp_path / "s") as store:
        assert len(ids(store)) == 5
        for write in (
            lambda: store.append(events([9])),
            lambda: store.put_checkpoint("x", b""),
            lambda: store.compact(),
            lambda: store.retain({"*": 1}, T0 + timedelta(days=400), apply=True),
        ):
            with pytest.raises(StoreError, match="read-only"):
                write()


def test_a_closed_store_says_so(tmp_path: Path) -> None:
    store = EmbeddedStore(tmp_path / "s")
    store.close()
    store.close()
    for call in (lambda: store.append(events([1])), store.flush, lambda: list(store.scan()), store.datasets):
        with pytest.raises(StoreError, match="closed"):
            call()


def test_a_store_works_under_a_path_with_pattern_characters(tmp_path: Path) -> None:
    with EmbeddedStore(tmp_path / "a[1]*?%20#b") as store:
        store.append(events(range(5)))
        assert len(ids(store)) == 5
    with EmbeddedStore(tmp_path / "a[1]*?%20#b", create=False) as store:
        assert len(ids(store)) == 5


def test_threads_share_a_store(tmp_path: Path) -> None:
    with EmbeddedStore(tmp_path / "s") as store:

        def work(seed: int) -> int:
            chance = random.Random(seed)
            new = 0
            for _ in range(20):
                start = chance.randrange(200)
                new += store.append(events(range(start, start + 20)))
                if chance.random() < 0.3:
                    seen = ids(store)
                    assert seen == sorted(set(seen))
            return new

        with ThreadPoolExecutor(4) as pool:
            new = sum(pool.map(work, range(4)))
        found = ids(store)
        assert len(found) == len(set(found)) == new
