"""The forwarder: in order, nothing lost, nothing twice."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from event.errors import StoreError
from event.table import conform
from store import forward
from store.embedded import EmbeddedStore
from store.forward import Forwarder, Parcel, StoreDelivery
from store.spool import Spool

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


def filled(path: Path, segments: int = 6, rows: int = 10) -> Spool:
    spool = Spool(path)
    for n in range(segments):
        spool.append(events(range(n * rows, n * rows + rows), ("modbus", "dnp3")[n % 2]))
        spool.flush()
    return spool


def stored(path: Path) -> list[str]:
    with EmbeddedStore(path, create=False) as store:
        return [i for table in store.search() for i in table["event.id"].to_list()]


def into(path: Path) -> StoreDelivery:
    return StoreDelivery(lambda: EmbeddedStore(path))


class Recorder:
    """Wraps a real delivery: writes down the order, and can die after the acknowledgement."""

    def __init__(self, inner: StoreDelivery, *, dies_at: int | None = None) -> None:
        self.inner, self.dies_at = inner, dies_at
        self.most = inner.most
        self.numbers: list[int] = []

    def deliver(self, parcels: Sequence[Parcel]) -> forward.Delivered:
        new = self.inner.deliver(parcels)
        self.numbers += [p.segment.number for p in parcels]
        if self.dies_at is not None and len(self.numbers) >= self.dies_at:
            raise KeyboardInterrupt
        return new

    def idle(self) -> None:
        self.inner.idle()

    def close(self) -> None:
        self.inner.close()


def test_segments_arrive_in_order_and_are_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forward, "BATCH_SEGMENTS", 4)
    spool = filled(tmp_path / "s")
    way = Recorder(into(tmp_path / "store"))
    done = Forwarder(spool, way).once()
    assert way.numbers == [1, 2, 3, 4, 5, 6]
    assert (done.segments, done.events, done.new_events, done.parked) == (6, 60, 60, 0)
    assert len(stored(tmp_path / "store")) == 60
    status = spool.status()
    assert (status.segments, status.events, status.age_seconds) == (0, 0, 0)
    assert (status.forward["number"], status.forward["events"], status.forward["error"]) == (6, 60, None)
    assert status.forward["newest_event"].startswith("2026-03-01T00:00:59")


def test_the_lag_is_in_time_of_events(tmp_path: Path) -> None:
    spool = filled(tmp_path / "s", segments=2)
    assert spool.status().lag_seconds is None
    Forwarder(spool, into(tmp_path / "store")).once()
    assert spool.status().lag_seconds == 0
    spool.append(events(range(1_000, 1_020)))
    spool.flush()
    status = spool.status()
    assert (status.lag_seconds, status.newest_event) == (1_000, "2026-03-01T00:16:59.000000000+00:00")
    spool.waiting()[-1].path.write_bytes(b"damaged")
    assert spool.status().lag_seconds is None


@pytest.mark.parametrize(("bound", "value", "sizes"), [("BATCH_BYTES", 1, [1] * 6), ("BATCH_ROWS", 25, [2, 2, 2])])
def test_a_batch_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bound: str, value: int, sizes: list[int]
) -> None:
    monkeypatch.setattr(forward, bound, value)
    spool = filled(tmp_path / "s")
    seen: list[int] = []

    class Counting(Recorder):
        def deliver(self, parcels: Sequence[Parcel]) -> forward.Delivered:
            seen.append(len(parcels))
            return super().deliver(parcels)

    assert Forwarder(spool, Counting(into(tmp_path / "store"))).once().segments == 6
    assert seen == sizes
    assert len(stored(tmp_path / "store")) == 60


def test_once_leaves_what_comes_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forward, "BATCH_SEGMENTS", 1)
    spool = filled(tmp_path / "s", segments=2)

    class Busy(Recorder):
        def deliver(self, parcels: Sequence[Parcel]) -> forward.Delivered:
            spool.append(events(range(900, 910)))
            spool.flush()
            return super().deliver(parcels)

    assert Forwarder(spool, Busy(into(tmp_path / "store"))).once().segments == 2
    assert len(spool.waiting()) == 2


def test_a_store_that_cannot_be_reached_loses_nothing(tmp_path: Path) -> None:
    spool = filled(tmp_path / "s")
    blocked = tmp_path / "store"
    blocked.write_text("a file where the store should be")
    told: list[str] = []
    with pytest.raises(StoreError):
        Forwarder(spool, into(blocked), tell=told.append).once()
    assert len(told) == 1
    status = spool.status()
    assert status.events == 60
    assert status.forward["error"]
    assert status.forward["failing_since"]
    blocked.unlink()
    assert Forwarder(spool, into(blocked)).once().new_events == 60
    assert spool.status().forward["error"] is None
    assert spool.status().forward["failing_since"] is None


def test_what_was_acknowledged_but_not_deleted_is_a_no_op_the_next_time(tmp_path: Path) -> None:
    spool = filled(tmp_path / "s")
    with pytest.raises(KeyboardInterrupt):
        Forwarder(spool, Recorder(into(tmp_path / "store"), dies_at=1)).once()
    assert len(spool.waiting()) == 6
    done = Forwarder(spool, into(tmp_path / "store")).once()
    assert (done.events, done.new_events) == (60, 0)
    assert len(stored(tmp_path / "store")) == 60


def test_a_damaged_segment_is_parked_and_the_others_arrive(tmp_path: Path) -> None:
    spool = filled(tmp_path / "s")
    third = spool.waiting()[2]
    whole = third.path.read_bytes()
    third.path.write_bytes(whole[: len(whole) // 2])
    told: list[str] = []
    done = Forwarder(spool, into(tmp_path / "store"), tell=told.append).once()
    assert (done.segments, done.parked) == (5, 1)
    assert len(told) == 1
    assert "segment 3 is parked" in told[0]
    status = spool.status()
    assert list(status.parked) == [third.path.name]
    assert status.parked[third.path.name]
    assert status.segments == 0
    (tmp_path / "s" / "parked" / third.path.name).write_bytes(whole)  # restored from a backup
    assert spool.unpark() == 1
    assert Forwarder(spool, into(tmp_path / "store")).once().new_events == 10
    assert spool.status().parked == {}
    assert len(stored(tmp_path / "store")) == 60


def test_a_segment_of_a_newer_sensor_is_parked(tmp_path: Path) -> None:
    spool = filled(tmp_path / "s", segments=1)
    path = spool.waiting()[0].path
    pl.read_parquet(path).with_columns(pl.lit(1).alias("future.field")).write_parquet(path)
    done = Forwarder(spool, into(tmp_path / "store")).once()
    assert (done.segments, done.parked) == (0, 1)
    assert "future.field" in next(iter(spool.status().parked.values()))


def test_only_one_forwarder_is_at_work(tmp_path: Path) -> None:
    spool = filled(tmp_path / "s")

    class Nested(Recorder):
        def deliver(self, parcels: Sequence[Parcel]) -> forward.Delivered:
            with pytest.raises(StoreError, match="another forwarder"):
                Forwarder(Spool(tmp_path / "s"), into(tmp_path / "store")).once()
            return super().deliver(parcels)

    assert Forwarder(spool, Nested(into(tmp_path / "store"))).once().segments == 6


def test_following_ships_what_comes_through_failures_and_stops_when_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forward, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(forward, "LOOK_EVERY", 0.01)
    spool = filled(tmp_path / "s")
    blocked = tmp_path / "store"
    blocked.write_text("a file where the store should be")
    stop, failed, over = threading.Event(), threading.Event(), threading.Event()

    def tell(trouble: str) -> None:
        (failed if trouble else over).set()

    follower = Forwarder(spool, into(blocked), tell=tell, stop=stop)
    thread = threading.Thread(target=follower.follow)
    thread.start()
    try:
        assert failed.wait(60)
        with Spool(tmp_path / "s") as writer:
            writer.append(events(range(100, 130)))
        blocked.unlink()
        assert over.wait(60)
        with Spool(tmp_path / "s") as writer:
            writer.append(events(range(200, 230)))
        while spool.waiting() and thread.is_alive():
            threading.Event().wait(0.01)
    finally:
        stop.set()
        thread.join(60)
    assert not thread.is_alive()
    assert (follower.shipped.events, follower.shipped.new_events) == (120, 120)
    assert follower.shipped.failures >= 1
    assert len(stored(blocked)) == 120


def test_a_full_spool_that_is_emptied_meanwhile_counts_exactly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dropping and shipping race for the same segments: each is shipped or counted as dropped, never both."""
    monkeypatch.setattr(forward, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(forward, "LOOK_EVERY", 0.001)
    monkeypatch.setattr(forward, "BATCH_SEGMENTS", 3)
    stop = threading.Event()
    follower = Forwarder(Spool(tmp_path / "s"), into(tmp_path / "store"), stop=stop)
    thread = threading.Thread(target=follower.follow)
    taken = 0
    try:
        with Spool(tmp_path / "s", limit_bytes=16_000) as writer:
            for n in range(150):
                if n == 20:  # something was dropped by now
                    thread.start()
                table = events(range(n * 10, n * 10 + 10), ("modbus", "dnp3", "jianmen.alert")[n % 7 // 3])
                while True:
                    try:
                        writer.append(table)
                        writer.flush()
                        break
                    except StoreError:  # full of alerts: they wait for the forwarder
                        threading.Event().wait(0.01)
                        table = table.clear()
                taken += 10
    finally:
        stop.set()
        thread.join(60)
    status = writer.status()
    there = stored(tmp_path / "store")
    waiting = [i for s in writer.waiting() for i in pl.read_parquet(s.path, columns=["event.id"])["event.id"].to_list()]
    assert len(there) == len(set(there)) == follower.shipped.new_events
    assert len(there) + len(waiting) + status.dropped.events == taken
    assert not set(there) & set(waiting)
    assert "jianmen.alert" not in status.dropped.datasets
    assert status.dropped.events > 0
    assert follower.shipped.events > 0


def run(*args: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(CHILD), *map(str, args)], capture_output=True, text=True, check=False, timeout=120
    )


def kill_a_forwarder(tmp_path: Path, seeds: range) -> None:
    """Kill it again and again on one spool and store until it gets through; count at every step."""
    filled(tmp_path / "measure", segments=8).close()
    lines = int(run("ship", tmp_path / "measure", tmp_path / "measure-store", 0).stderr)
    chance = random.Random(seeds.start)
    spool = filled(tmp_path / "s", segments=8)
    everything = {f"aaaa-{n:06d}-{('modbus', 'dnp3')[n // 10 % 2]}" for n in range(80)}
    killed = 0
    for _ in seeds:
        done = run("ship", tmp_path / "s", tmp_path / "store", chance.randrange(1, lines))
        killed += done.returncode == -signal.SIGKILL
        waiting = [
            i for s in spool.waiting() for i in pl.read_parquet(s.path, columns=["event.id"])["event.id"].to_list()
        ]
        there = stored(tmp_path / "store") if (tmp_path / "store" / "catalogue.sqlite").exists() else []
        assert len(there) == len(set(there)), "nothing twice"
        assert set(there) | set(waiting) == everything, "nothing lost"
        if not spool.waiting():
            spool = filled(tmp_path / "s", segments=8)  # the same events again: a second delivery must be a no-op
    assert killed
    Forwarder(spool, into(tmp_path / "store")).once()
    assert sorted(stored(tmp_path / "store")) == sorted(everything)


def test_a_killed_forwarder_loses_nothing_and_stores_nothing_twice(tmp_path: Path) -> None:
    kill_a_forwarder(tmp_path, range(6))


@pytest.mark.slow
def test_a_forwarder_killed_at_fifty_points_loses_nothing_and_stores_nothing_twice(tmp_path: Path) -> None:
    kill_a_forwarder(tmp_path, range(100, 150))
