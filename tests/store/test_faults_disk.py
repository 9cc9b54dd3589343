"""Disks that are full: what was taken is waiting, shipped or counted as dropped, and alerts are there."""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from event.errors import StoreError
from event.table import conform
from store.diode import Exporter, Importer
from store.embedded import EmbeddedStore
from store.forward import Forwarder, StoreDelivery
from store.signing import Key
from store.spool import Spool, table_of

T0 = datetime(2026, 3, 1, tzinfo=UTC)
SHARED = Key("hmac-sha256", "shared", b"k" * 32)


def events(numbers: range, dataset: str = "modbus") -> pl.DataFrame:
    rows = list(numbers)
    return conform(
        pl.DataFrame(
            {
                "@timestamp": pl.Series([T0 + timedelta(seconds=n) for n in rows], dtype=pl.Datetime("ns", "UTC")),
                "event.id": [f"aaaa-{n:06d}-{dataset}" for n in rows],
                "event.dataset": [dataset] * len(rows),
                "event.kind": ["event"] * len(rows),
                "event.original": [os.urandom(64).hex() for _ in rows],
            }
        )
    )


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of one megabyte."""
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m,mode=0700", "tmpfs", place], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"no small disk can be mounted here: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def fill_up(place: Path) -> Path:
    """Somebody else takes what is left."""
    junk = place / "junk"
    with junk.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4_096))
        except OSError:
            pass
    return junk


def ids(spool: Spool) -> list[str]:
    found: list[str] = []
    for segment in spool.waiting():
        with spool.holding(segment) as body:
            assert body is not None
            found += table_of(body)["event.id"].to_list()
    return found


def test_a_disk_smaller_than_the_limit_drops_raw_counts_it_and_keeps_alerts(disk: Path, tmp_path: Path) -> None:
    spool = Spool(disk / "spool", limit_bytes=1 << 30)
    alerts = [spool.append(events(range(n * 10, n * 10 + 10), "jianmen.alert")) for n in range(5)]
    taken = sum(alerts)
    for n in range(40):
        taken += spool.append(events(range(n * 500, n * 500 + 500)))
        spool.flush()
    status = spool.status()
    assert status.dropped.events > 0
    assert set(status.dropped.datasets) == {"modbus"}
    assert status.events + status.dropped.events == taken == 20_050
    assert status.datasets["jianmen.alert"].events == 50
    waiting = ids(spool)
    assert len(waiting) == len(set(waiting)) == status.events
    shipped = Forwarder(spool, StoreDelivery(lambda: EmbeddedStore(tmp_path / "store"))).once()
    assert shipped.new_events == status.events
    assert spool.status().segments == 0


def test_alerts_wait_in_memory_while_the_disk_is_full_of_what_is_not_ours(disk: Path) -> None:
    spool = Spool(disk / "spool")
    spool.append(events(range(10), "jianmen.alert"))
    spool.flush()
    junk = fill_up(disk)
    spool.append(events(range(10, 500), "jianmen.alert"))
    with pytest.raises(StoreError, match="no room for alerts"):
        spool.flush()
    assert spool.status().events == 10
    assert not list((disk / "spool").rglob("*.part"))
    junk.unlink()
    spool.flush()
    assert ids(spool) == [f"aaaa-{n:06d}-jianmen.alert" for n in range(500)]
    assert spool.status().dropped.events == 0


def test_a_forwarder_empties_a_spool_on_a_full_disk(disk: Path, tmp_path: Path) -> None:
    spool = Spool(disk / "spool")
    for n in range(4):
        spool.append(events(range(n * 100, n * 100 + 100)))
        spool.flush()
    junk = fill_up(disk)
    shipped = Forwarder(spool, StoreDelivery(lambda: EmbeddedStore(tmp_path / "store"))).once()
    assert (shipped.events, shipped.new_events, spool.status().segments) == (400, 400, 0)
    junk.unlink()
    spool.append(events(range(400, 500)))
    spool.flush()
    assert [s.number for s in spool.waiting()] == [5]


def test_an_embedded_store_on_a_full_disk_leaves_everything_in_the_spool(disk: Path, tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    for n in range(4):
        spool.append(events(range(n * 2_000, n * 2_000 + 2_000)))
        spool.flush()
    EmbeddedStore(disk / "store").close()
    junk = fill_up(disk)
    way = StoreDelivery(lambda: EmbeddedStore(disk / "store"))
    with pytest.raises(StoreError):
        Forwarder(spool, way).once()
    assert spool.status().events == 8_000
    junk.unlink()
    with EmbeddedStore(tmp_path / "roomy") as roomy:
        assert Forwarder(spool, StoreDelivery(lambda: roomy)).once().new_events == 8_000


def test_an_export_to_a_full_disk_goes_on_without_a_gap(disk: Path, tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    for n in range(40):
        spool.append(events(range(n * 1_000, n * 1_000 + 1_000)))
        spool.flush()
    far = tmp_path / "far"
    far.mkdir()
    arrived = rounds = 0
    with EmbeddedStore(tmp_path / "store") as store:
        while spool.waiting():
            rounds += 1
            try:
                Forwarder(spool, Exporter(disk / "out", SHARED)).once()
            except StoreError as error:
                assert "No space left" in str(error)
            for path in sorted((disk / "out").glob("*.jms")):  # the diode takes away what is whole
                (far / path.name).write_bytes(path.read_bytes())
                path.unlink()
            done = Importer(far, store, [SHARED], remove=True).once()
            assert done.refused == {}
            arrived += done.new_events
        assert rounds > 1, "the disk was never full"
        assert arrived == 40_000 == sum(table.height for table in store.scan(columns=[]))
        assert [stream.missing for stream in done.streams.values()] == [0]


def test_a_file_size_limit_is_an_error_and_costs_nothing(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    spool.append(events(range(10)))
    spool.flush()
    spool.append(events(range(10, 2_000)))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8_192, before[1]))
    try:
        with pytest.raises(StoreError, match="File too large"):
            spool.flush()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert spool.status().events == 10, "nothing was dropped for a file that could not have been written anyway"
    spool.flush()
    assert ids(spool) == [f"aaaa-{n:06d}-modbus" for n in range(2_000)]
