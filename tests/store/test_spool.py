"""The spool: whole segments in order, bounded, and an exact count of what had to go."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from event.errors import StoreError
from event.table import conform
from store import spool as module
from store.spool import Spool, table_of

CHILD = Path(__file__).with_name("spooler.py")
T0 = datetime(2026, 3, 1, tzinfo=UTC)


def events(numbers: range, dataset: str = "modbus") -> pl.DataFrame:
    rows = list(numbers)
    return conform(
        pl.DataFrame(
            {
                "@timestamp": pl.Series([T0 + timedelta(seconds=n) for n in rows], dtype=pl.Datetime("ns", "UTC")),
                "event.id": [f"aaaa-{n:06d}-{dataset}" for n in rows],
                "event.dataset": [dataset] * len(rows),
                "event.kind": ["event"] * len(rows),
                "event.count": rows,
            }
        )
    )


def read(spool: Spool) -> list[str]:
    """Ids of all waiting events, in the spool's order."""
    found: list[str] = []
    for segment in spool.waiting():
        with spool.holding(segment) as body:
            assert body is not None
            table = table_of(body)
            assert table.height == segment.events
            found += table["event.id"].to_list()
    return found


def segment_bytes(tmp_path: Path, dataset: str = "modbus", rows: int = 100) -> int:
    with Spool(tmp_path / "measure") as spool:
        spool.append(events(range(rows), dataset))
        spool.flush()
        return spool.waiting()[-1].bytes


def test_what_was_flushed_waits_in_order_and_comes_back_as_it_was(tmp_path: Path) -> None:
    table = events(range(5)).with_columns(
        pl.Series("tags", [["a"], [], None, ["b", "c"], ["结果"]], dtype=pl.List(pl.String)),
        pl.Series("event.original", ["a\x00b", "", "x", "\u202e", None]),
    )
    with Spool(tmp_path / "s") as spool:
        assert spool.append(table) == 5
        assert spool.waiting() == []
        spool.flush()
        spool.append(events(range(5, 8)))
        spool.flush()
        first, second = spool.waiting()
        assert (first.number, first.dataset, first.events, second.number) == (1, "modbus", 5, 2)
        with spool.holding(first) as body:
            assert table_of(body or b"").equals(table)
        assert read(spool) == events(range(8))["event.id"].to_list()


def test_numbers_go_on_after_everything_was_shipped_and_the_spool_was_opened_again(tmp_path: Path) -> None:
    with Spool(tmp_path / "s") as spool:
        spool.append(events(range(5)))
        spool.flush()
        spool.remove(spool.waiting())
    with Spool(tmp_path / "s") as spool:
        spool.append(events(range(5)))
        spool.flush()
        assert [s.number for s in spool.waiting()] == [2]


def test_close_writes_what_was_gathered(tmp_path: Path) -> None:
    with Spool(tmp_path / "s") as spool:
        spool.append(events(range(5)))
    assert read(Spool(tmp_path / "s")) == events(range(5))["event.id"].to_list()


def test_memory_is_bounded_without_a_flush(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GATHER_ROWS", 50)
    spool = Spool(tmp_path / "s")
    for start in range(0, 120, 10):
        spool.append(events(range(start, start + 10)))
    assert [s.events for s in spool.waiting()] == [50, 50]


def test_a_table_that_breaks_the_catalogue_is_refused(tmp_path: Path) -> None:
    with Spool(tmp_path / "s") as spool, pytest.raises(ValueError, match="not in the catalogue"):
        spool.append(events(range(1)).with_columns(pl.lit(1).alias("no.such.field")))


def test_at_the_limit_the_oldest_raw_goes_and_alerts_stay(tmp_path: Path) -> None:
    size = segment_bytes(tmp_path)
    told: list[tuple[str, int]] = []
    spool = Spool(tmp_path / "s", limit_bytes=size * 5, warn=lambda dataset, count, _: told.append((dataset, count)))
    for number, dataset in enumerate(["jianmen.alert", *["modbus"] * 10, "sensor", "jianmen.alert"]):
        spool.append(events(range(number * 100, number * 100 + 100), dataset))
        spool.flush()
    kept = spool.waiting()
    assert [s.dataset for s in kept].count("jianmen.alert") == 2
    assert "sensor" in {s.dataset for s in kept}
    raw = [s.number for s in kept if s.dataset == "modbus"]
    assert raw == list(range(12 - len(raw), 12)), "the newest raw segments are the ones that stay"
    status = spool.status()
    assert status.bytes <= status.limit_bytes
    assert status.events + status.dropped.events == 1_300
    assert set(status.dropped.datasets) == {"modbus"}
    assert sum(count for _, count in told) == status.dropped.events == status.dropped.datasets["modbus"].events


def test_what_the_sensor_says_of_itself_goes_after_raw(tmp_path: Path) -> None:
    limit = segment_bytes(tmp_path, "jianmen.alert") * 3
    spool = Spool(tmp_path / "s", limit_bytes=limit)
    for number, dataset in enumerate(["sensor", "modbus", "jianmen.alert", "jianmen.alert"]):
        spool.append(events(range(number * 100, number * 100 + 100), dataset))
        spool.flush()
    assert "modbus" in spool.status().dropped.datasets
    while "sensor" not in spool.status().dropped.datasets:
        number += 1
        spool.append(events(range(number * 100, number * 100 + 100), "jianmen.alert"))
        spool.flush()
    assert {s.dataset for s in spool.waiting()} == {"jianmen.alert"}


def test_a_spool_full_of_alerts_refuses_more_and_keeps_what_it_could_not_write(tmp_path: Path) -> None:
    limit = segment_bytes(tmp_path, "jianmen.alert") * 5 // 2
    spool = Spool(tmp_path / "s", limit_bytes=limit)
    for start in (0, 100):
        spool.append(events(range(start, start + 100), "jianmen.alert"))
        spool.flush()
    spool.append(events(range(200, 300), "jianmen.alert"))
    with pytest.raises(StoreError, match="no room for alerts"):
        spool.flush()
    assert spool.status().dropped.events == 0
    spool.remove(spool.waiting()[:1])
    spool.flush()
    assert read(spool) == events(range(100, 300), "jianmen.alert")["event.id"].to_list()


def test_raw_that_finds_only_alerts_is_counted(tmp_path: Path) -> None:
    limit = segment_bytes(tmp_path, "jianmen.alert") * 5 // 2
    spool = Spool(tmp_path / "s", limit_bytes=limit)
    for start in (0, 100):
        spool.append(events(range(start, start + 100), "jianmen.alert"))
        spool.flush()
    spool.append(events(range(100)))
    spool.flush()
    status = spool.status()
    assert status.events == 200
    assert status.dropped.datasets["modbus"].events == 100


def test_a_segment_in_the_forwarders_hand_is_not_dropped(tmp_path: Path) -> None:
    size = segment_bytes(tmp_path)
    spool = Spool(tmp_path / "s", limit_bytes=size * 7 // 2)
    for start in range(0, 300, 100):
        spool.append(events(range(start, start + 100)))
        spool.flush()
    first = spool.waiting()[0]
    with spool.holding(first) as body:
        assert body is not None
        for start in range(300, 900, 100):
            spool.append(events(range(start, start + 100)))
            spool.flush()
        assert first.path.exists()
    assert spool.status().events + spool.status().dropped.events == 900
    with spool.holding(first) as body:
        assert body is not None
    first.path.unlink()
    with spool.holding(first) as body:
        assert body is None


def test_a_crash_between_count_and_removal_counts_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size = segment_bytes(tmp_path)
    path = tmp_path / "s"
    spool = Spool(path, limit_bytes=size * 5 // 2)
    for start in (0, 100):
        spool.append(events(range(start, start + 100)))
        spool.flush()
    spool.append(events(range(200, 300)))
    real = Path.unlink

    def dies(self: Path, missing_ok: bool = False) -> None:
        if self.suffix == ".parquet":
            raise KeyboardInterrupt
        real(self, missing_ok=missing_ok)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", dies)
        with pytest.raises(KeyboardInterrupt):
            spool.flush()
    assert len(Spool(path).waiting()) == 2, "counted, not yet removed"
    again = Spool(path)
    again.append(events(range(200, 300)))
    again.flush()
    status = again.status()
    assert status.events + status.dropped.events == 300
    assert [s.number for s in again.waiting()][-1] == 3


@settings(max_examples=25)
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["modbus", "dnp3", "sensor", "jianmen.alert"]), st.integers(1, 40), st.booleans()),
        max_size=25,
    ),
    limit=st.integers(4_000, 40_000),
    taken=st.integers(0, 3),
)
def test_every_event_is_waiting_shipped_dropped_or_refused(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int, bool]], limit: int, taken: int
) -> None:
    path = tmp_path_factory.mktemp("spool")
    spool = Spool(path / "s", limit_bytes=limit)
    given_in = shipped = number = 0
    refused = False
    for dataset, count, ship in steps:
        given_in += spool.append(events(range(number, number + count), dataset))
        number += count
        try:
            spool.flush()
        except StoreError:
            refused = True
            break
        if ship:
            gone = spool.waiting()[:taken]
            spool.remove(gone)
            shipped += sum(s.events for s in gone)
        waiting = spool.waiting()
        assert [s.number for s in waiting] == sorted({s.number for s in waiting})
        status = spool.status()
        assert status.bytes <= limit
        assert status.events + status.dropped.events + shipped == given_in
    if refused:
        assert all(s.kind == module.ALERTS for s in spool.waiting())
    assert "jianmen.alert" not in spool.status().dropped.datasets


def test_order_and_age_survive_a_clock_that_jumps(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s")
    for start in (0, 10, 20):
        spool.append(events(range(start, start + 10)))
        spool.flush()
    now = datetime.now(UTC)
    # Written at noon by a clock a day ahead, which was then set back: the later segments carry earlier times.
    for segment, offset in zip(spool.waiting(), (86_400, -7_200, -3_600), strict=True):
        stamp = (now + timedelta(seconds=offset)).timestamp()
        os.utime(segment.path, (stamp, stamp))
    assert read(spool) == events(range(30))["event.id"].to_list()
    assert spool.status(now).age_seconds == pytest.approx(7_200, abs=1)
    assert spool.status(now - timedelta(days=400)).age_seconds == 0
    spool.append(events(range(30, 40)))
    spool.flush()
    assert [s.number for s in spool.waiting()] == [1, 2, 3, 4]


def test_the_limit_is_remembered_and_can_be_changed(tmp_path: Path) -> None:
    assert Spool(tmp_path / "s", limit_bytes=5_000).limit_bytes == 5_000
    assert Spool(tmp_path / "s").limit_bytes == 5_000
    assert Spool(tmp_path / "s", limit_bytes=9_000).limit_bytes == 9_000
    assert Spool(tmp_path / "s", create=False).status().limit_bytes == 9_000


def test_a_spool_that_is_not_there_and_one_that_is_too_new(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no spool there"):
        Spool(tmp_path / "s", create=False)
    Spool(tmp_path / "s")
    (tmp_path / "s" / "spool.json").write_text('{"format": 2}')
    with pytest.raises(StoreError, match="has format 2"):
        Spool(tmp_path / "s")


def test_files_are_for_their_owner_alone(tmp_path: Path) -> None:
    with Spool(tmp_path / "s") as spool:
        spool.append(events(range(3)))
    modes = {path.stat().st_mode & 0o077 for path in [tmp_path / "s", *(tmp_path / "s").rglob("*")]}
    assert modes == {0}


def test_folders_come_and_go_with_their_segments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "A_FOLDER", 4)
    spool = Spool(tmp_path / "s")
    for n in range(10):
        spool.append(events(range(n, n + 1)))
        spool.flush()
    assert len(list((tmp_path / "s" / "segments").iterdir())) == 3
    assert [s.number for s in spool.waiting()] == list(range(1, 11))
    spool.remove(spool.waiting())
    assert len(list((tmp_path / "s" / "segments").iterdir())) == 1


def test_several_writers_share_the_numbers(tmp_path: Path) -> None:
    def fill(writer: int) -> None:
        with Spool(tmp_path / "s") as spool:
            for n in range(20):
                spool.append(events(range(writer * 1000 + n, writer * 1000 + n + 1)))
                spool.flush()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(fill, range(4)))
    spool = Spool(tmp_path / "s")
    assert [s.number for s in spool.waiting()] == list(range(1, 81))
    assert len(set(read(spool))) == 80


def run(*args: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(CHILD), *map(str, args)], capture_output=True, text=True, check=False, timeout=120
    )


def kill_a_writer(tmp_path: Path, seeds: range) -> None:
    lines = int(run("write", tmp_path / "whole", 1, 0).stderr)
    chance = random.Random(seeds.start)
    for seed in seeds:
        path = tmp_path / f"spool-{seed}"
        done = run("write", path, 1, chance.randrange(1, lines))
        assert done.returncode == -signal.SIGKILL, done.stderr
        safe = done.stdout.split()
        if not (path / "spool.json").exists():
            assert safe == []
            continue
        spool = Spool(path)
        kept = read(spool)
        assert set(safe) <= set(kept), "acknowledged events are there"
        assert len(kept) == len(set(kept)), "none twice"
        numbers = [s.number for s in spool.waiting()]
        spool.append(events(range(3)))
        spool.flush()
        assert spool.waiting()[-1].number > max(numbers, default=0)
        assert not list(path.rglob("*.part"))


def test_a_killed_writer_leaves_whole_segments(tmp_path: Path) -> None:
    kill_a_writer(tmp_path, range(4))


@pytest.mark.slow
def test_a_writer_killed_at_fifty_points_leaves_whole_segments(tmp_path: Path) -> None:
    kill_a_writer(tmp_path, range(100, 150))
