"""Faults between a spool and real nodes, events counted before and after: nothing is lost, nothing is there twice."""

from __future__ import annotations

import os
import random
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import nodes
import polars as pl
import proxy
import pytest

from event.table import conform
from store import forward
from store.elastic import ElasticStore, bulk
from store.forward import Forwarder, StoreDelivery
from store.spool import Spool, table_of

pytestmark = pytest.mark.elastic

CHILD = Path(__file__).with_name("spooler.py")
T0 = datetime(2026, 3, 1, tzinfo=UTC)
PATIENCE = 300.0
"""Seconds after which a test gives up hope. No test measures time: a healthy run needs a small part of it."""


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forward, "FIRST_PAUSE", 0.1)
    monkeypatch.setattr(forward, "LONGEST_PAUSE", 1.0)
    monkeypatch.setattr(forward, "LOOK_EVERY", 0.05)
    monkeypatch.setattr(forward, "BATCH_SEGMENTS", 4)
    monkeypatch.setattr(bulk, "FIRST_PAUSE", 0.02)
    monkeypatch.setattr(bulk, "LONGEST_PAUSE", 0.5)


@pytest.fixture(scope="module")
def mortal() -> Iterator[nodes.Cluster]:
    """A node that tests kill and start again."""
    try:
        cluster = nodes.start("8.19.8")
    except nodes.Missing as reason:
        if os.environ.get("CI"):
            pytest.fail(f"CI runs these tests: {reason}", pytrace=False)
        pytest.skip(str(reason))
    with cluster:
        yield cluster


@pytest.fixture(params=["elastic_8", "elastic_9"])
def elastic(request: pytest.FixtureRequest) -> nodes.Cluster:
    """A node of each version."""
    cluster: nodes.Cluster = request.getfixturevalue(request.param)
    return cluster


@pytest.fixture
def prefix() -> str:
    """Indices of this test's own, on a node that others use too."""
    return f"t{secrets.token_hex(6)}"


def events(numbers: range, dataset: str = "modbus", step: float = 1.0) -> pl.DataFrame:
    rows = list(numbers)
    return conform(
        pl.DataFrame(
            {
                "@timestamp": pl.Series(
                    [T0 + timedelta(seconds=n * step) for n in rows], dtype=pl.Datetime("ns", "UTC")
                ),
                "event.id": [f"aaaa-{n:06d}-{dataset}" for n in rows],
                "event.dataset": [dataset] * len(rows),
                "event.kind": ["event"] * len(rows),
                "event.count": rows,
                "source.ip": [f"10.20.{n // 250 % 250}.{n % 250}" for n in rows],
                "event.original": [f"a line of some length that says {n}" for n in rows],
            }
        )
    )


def fill(spool: Spool, segments: int = 20, rows: int = 500, start: int = 0) -> set[str]:
    """Write segments; the ids in them."""
    ids: set[str] = set()
    for n in range(start, start + segments):
        table = events(range(n * rows, n * rows + rows), ("modbus", "dnp3")[n % 2])
        spool.append(table)
        spool.flush()
        ids.update(table["event.id"].to_list())
    return ids


def held(cluster: nodes.Cluster, prefix: str, node: int = 0) -> Counter[str]:
    """What a node has, read without any code of ours: how often each event id occurs."""
    status, answer = cluster.request("POST", f"/{prefix}*/_refresh", node=node)
    assert status == 200, answer
    found: Counter[str] = Counter()
    after: list[Any] | None = None
    while True:
        body: dict[str, Any] = {
            "size": 5_000,
            "query": {"exists": {"field": "event.dataset"}},
            "sort": [{"event.id": "asc"}, {"_index": "asc"}],
            "_source": False,
            "docvalue_fields": ["event.id"],
        }
        if after:
            body["search_after"] = after
        status, page = cluster.request("POST", f"/{prefix}*/_search", body, node=node)
        assert status == 200, page
        hits = page["hits"]["hits"]  # type: ignore[index]
        if not hits:
            return found
        found.update(hit["fields"]["event.id"][0] for hit in hits)
        after = hits[-1]["sort"]


def once_each(ids: set[str]) -> Counter[str]:
    return Counter(dict.fromkeys(ids, 1))


class Following:
    """A forwarder at work in a thread."""

    def __init__(self, spool: Spool, open_store: Callable[[], ElasticStore]) -> None:
        self.stop = threading.Event()
        self.told: list[str] = []
        self.failed = threading.Event()
        self.forwarder = Forwarder(spool, StoreDelivery(open_store), tell=self._tell, stop=self.stop)
        self.error: BaseException | None = None
        self._spool = spool
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.forwarder.follow()
        except BaseException as error:  # noqa: BLE001 - shown by the test
            self.error = error

    def _tell(self, trouble: str) -> None:
        self.told.append(trouble)
        if trouble:
            self.failed.set()

    def until(self, done: Callable[[], bool]) -> None:
        ends = time.monotonic() + PATIENCE
        while not done():
            assert self.error is None, self.error
            assert self._thread.is_alive()
            assert time.monotonic() < ends, (self.told, self._spool.status())
            time.sleep(0.05)

    def until_empty(self) -> None:
        self.until(lambda: not self._spool.waiting(1))

    def end(self) -> None:
        self.stop.set()
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()


@contextmanager
def following(spool: Spool, open_store: Callable[[], ElasticStore]) -> Iterator[Following]:
    one = Following(spool, open_store)
    try:
        yield one
    finally:
        one.end()


def test_a_node_killed_in_a_bulk(mortal: nodes.Cluster, tmp_path: Path, prefix: str) -> None:
    cluster = mortal
    spool = Spool(tmp_path / "spool")
    ids = fill(spool, 24)
    with proxy.Wire(cluster.url) as wire:
        wire.at = (300_000, cluster.kill)  # in the body of a bulk, some segments after the first
        with following(spool, lambda: ElasticStore(wire.url, prefix=prefix, patience=5, seconds=10)) as forwarder:
            forwarder.until(forwarder.failed.is_set)
            assert 0 < spool.status().events <= len(ids)
            ids |= fill(spool, 4, start=24)  # the sensor goes on meanwhile
            cluster.restart()
            forwarder.until_empty()
    assert held(cluster, prefix) == once_each(ids)
    assert forwarder.forwarder.shipped.events == len(ids)


def test_one_of_three_nodes_killed(start_nodes: Callable[..., nodes.Cluster], tmp_path: Path, prefix: str) -> None:
    """Its only copy of an index would be gone with it: what is acknowledged has its replica, the first event too."""
    cluster = start_nodes("8.19.8", nodes=3)
    spool = Spool(tmp_path / "spool")
    ids = fill(spool, 2)
    with proxy.Wire(cluster.urls[1]) as wire:
        urls = [cluster.urls[0], wire.url, cluster.urls[2]]
        with following(spool, lambda: ElasticStore(urls, prefix=prefix, patience=30, seconds=30)) as forwarder:
            forwarder.until_empty()
            _, health = cluster.request("GET", f"/_cluster/health/{prefix}-events-*")
            assert isinstance(health, dict)
            assert (health["status"], health["active_shards"]) == ("green", 4), "two indices, two copies"
            wire.at = (wire.passed + 100_000, lambda: cluster.kill(1))
            ids |= fill(spool, 24, start=2)
            forwarder.until_empty()
        assert wire.at is None, "the node was killed"
    assert held(cluster, prefix) == once_each(ids)


def test_one_of_two_addresses_never_answers(elastic: nodes.Cluster, tmp_path: Path, prefix: str) -> None:
    """A node that hangs accepts connections still: what it is asked has to be asked of the other one."""
    spool = Spool(tmp_path / "spool")
    ids = fill(spool, 8)
    with proxy.Wire(elastic.url) as wire:
        wire.deaf = True
        urls = [wire.url, elastic.url]
        with following(spool, lambda: ElasticStore(urls, prefix=prefix, patience=2, seconds=2)) as forwarder:
            forwarder.until_empty()
        assert wire.connections, "the deaf one was asked"
    assert held(elastic, prefix) == once_each(ids)


def all_down(cluster: nodes.Cluster, count: int, tmp_path: Path, prefix: str, seconds: float) -> None:
    spool = Spool(tmp_path / "spool")
    ids = fill(spool, 8)
    with following(spool, lambda: ElasticStore(cluster.urls, prefix=prefix, patience=5, seconds=10)) as forwarder:
        forwarder.until_empty()
        for number in range(count):
            cluster.kill(number)
        ids |= fill(spool, 8, start=8)
        forwarder.until(forwarder.failed.is_set)
        back = time.monotonic() + seconds
        more = 16
        while time.monotonic() < back:
            ids |= fill(spool, 1, start=more)
            more += 1
            time.sleep(seconds / 40)
        waiting = spool.status()
        assert waiting.forward["failing_since"]
        assert waiting.age_seconds > 0
        assert waiting.events == len(ids) - 4_000
        launched = [threading.Thread(target=cluster.restart, args=(number,)) for number in range(count)]
        for thread in launched:
            thread.start()
        for thread in launched:
            thread.join()
        forwarder.until_empty()
    assert held(cluster, prefix) == once_each(ids)


def test_the_only_node_down_for_ten_seconds(mortal: nodes.Cluster, tmp_path: Path, prefix: str) -> None:
    all_down(mortal, 1, tmp_path, prefix, 10)


@pytest.mark.slow
def test_all_of_three_nodes_down_for_two_minutes(
    start_nodes: Callable[..., nodes.Cluster], tmp_path: Path, prefix: str
) -> None:
    all_down(start_nodes("8.19.8", nodes=3), 3, tmp_path, prefix, 120)


def test_a_node_that_hangs(mortal: nodes.Cluster, tmp_path: Path, prefix: str) -> None:
    """Its connections stay open and nothing answers: only a time limit of our own ends the wait."""
    cluster = mortal
    spool = Spool(tmp_path / "spool")
    ids = fill(spool, 8)
    with following(spool, lambda: ElasticStore(cluster.url, prefix=prefix, patience=2, seconds=2)) as forwarder:
        forwarder.until_empty()
        cluster.pause()
        ids |= fill(spool, 8, start=8)
        forwarder.until(forwarder.failed.is_set)
        cluster.resume()
        forwarder.until_empty()
    assert held(cluster, prefix) == once_each(ids)


def test_a_slow_wire(elastic_8: nodes.Cluster, tmp_path: Path, prefix: str) -> None:
    spool = Spool(tmp_path / "spool")
    ids = fill(spool, 4, rows=200)
    with proxy.Wire(elastic_8.url) as wire:
        wire.pause = 0.002
        with following(spool, lambda: ElasticStore(wire.url, prefix=prefix, patience=30, seconds=30)) as forwarder:
            forwarder.until_empty()
    assert held(elastic_8, prefix) == once_each(ids)


@pytest.mark.parametrize("fault", ["hole_after", "cut_after"])
def test_half_open_and_broken_connections(elastic: nodes.Cluster, tmp_path: Path, prefix: str, fault: str) -> None:
    spool = Spool(tmp_path / "spool")
    ids = fill(spool, 16)
    with proxy.Wire(elastic.url) as wire:
        with following(spool, lambda: ElasticStore(wire.url, prefix=prefix, patience=2, seconds=2)) as forwarder:
            forwarder.until(lambda: spool.status().forward.get("events", 0) > 0)
            for _ in range(3):
                before = wire.faults
                setattr(wire, fault, 30_000)
                ids |= fill(spool, 4, start=len(ids) // 500)
                forwarder.until(lambda: wire.faults > before)  # noqa: B023
            forwarder.until_empty()
        assert wire.faults == 3
    assert held(elastic, prefix) == once_each(ids)


def test_a_storm_of_429(elastic: nodes.Cluster, tmp_path: Path, prefix: str) -> None:
    spool = Spool(tmp_path / "spool")
    ids = fill(spool, 12)
    with proxy.Front(elastic.url) as front:
        front.busy_requests, front.busy_items = 0.4, 0.3
        with following(spool, lambda: ElasticStore(front.url, prefix=prefix, patience=30, seconds=30)) as forwarder:
            forwarder.until_empty()
        assert front.refused_requests > 0
        assert front.refused_items > 0
    assert held(elastic, prefix) == once_each(ids)


def test_a_node_that_is_too_busy_for_everything_and_recovers(
    elastic_8: nodes.Cluster, tmp_path: Path, prefix: str
) -> None:
    spool = Spool(tmp_path / "spool")
    ids = fill(spool, 4)
    with proxy.Front(elastic_8.url) as front:
        front.busy_requests = 1.0
        with following(spool, lambda: ElasticStore(front.url, prefix=prefix, patience=2, seconds=5)) as forwarder:
            forwarder.until(lambda: front.refused_requests > 2)
            assert spool.status().events == len(ids)
            front.busy_requests = 0.0
            forwarder.until_empty()
    assert held(elastic_8, prefix) == once_each(ids)


def test_a_mapping_conflict_parks_one_document_and_lets_the_rest_in(
    elastic: nodes.Cluster, tmp_path: Path, prefix: str
) -> None:
    """Somebody made the index by hand, with a number where the catalogue has text."""
    ElasticStore(elastic.url, prefix=prefix).close()  # has our template made: all other fields are as they should be
    number = {"properties": {"event": {"properties": {"original": {"type": "integer"}}}}}
    status, answer = elastic.request("PUT", f"/{prefix}-events-modbus-2026.03.01", {"mappings": number})
    assert status == 200, answer
    spool = Spool(tmp_path / "spool")
    table = events(range(300)).with_columns(
        pl.when(pl.col("event.count") == 77).then(pl.lit("not a number")).alias("event.original")
    )
    spool.append(table)
    spool.flush()
    ids = set(table["event.id"].to_list())
    letters = tmp_path / "rejected"
    told: list[str] = []
    way = StoreDelivery(lambda: ElasticStore(elastic.url, prefix=prefix, rejected=letters))
    done = Forwarder(spool, way, tell=told.append).once()
    assert (done.events, done.new_events, done.rejected) == (300, 299, 1)
    assert "1 events are refused" in told[0]
    assert spool.status().forward["rejected"] == 1
    assert spool.waiting() == []
    parked = pl.concat([pl.read_parquet(path) for path in letters.glob("*.parquet")], how="diagonal")
    there = held(elastic, prefix)
    assert there + Counter(parked["event.id"].to_list()) == once_each(ids)
    assert parked.filter(pl.col("event.original") == "not a number")["event.id"].to_list() == ["aaaa-000077-modbus"]
    assert parked["reason"].str.contains("event.original").all()
    assert sum(there.values()) == 299


def test_events_of_all_times_after_clocks_jumped(elastic: nodes.Cluster, tmp_path: Path, prefix: str) -> None:
    """The sensor's clock went back a year and on by ten: the events have their times, the spool its order."""
    spool = Spool(tmp_path / "spool")
    order: list[str] = []
    for number, offset in enumerate((0, -365 * 86_400, 3_650 * 86_400, -1)):
        table = events(range(number * 100, number * 100 + 100))
        table = table.with_columns(pl.col("@timestamp") + pl.duration(seconds=offset))
        spool.append(table)
        spool.flush()
        segment = spool.waiting()[-1]
        stamp = (datetime.now(UTC) + timedelta(seconds=offset)).timestamp()
        os.utime(segment.path, (stamp, stamp))
        order += table["event.id"].to_list()
    seen: list[str] = []

    class Recorder(StoreDelivery):
        def deliver(self, parcels: Sequence[forward.Parcel]) -> forward.Delivered:
            for parcel in parcels:
                seen.extend(parcel.table["event.id"].to_list())
            return super().deliver(parcels)

    done = Forwarder(spool, Recorder(lambda: ElasticStore(elastic.url, prefix=prefix))).once()
    assert (done.new_events, seen) == (400, order)
    assert held(elastic, prefix) == once_each(set(order))


def run(*args: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(CHILD), *map(str, args)], capture_output=True, text=True, check=False, timeout=PATIENCE
    )


def kill_a_forwarder(cluster: nodes.Cluster, tmp_path: Path, prefix: str, seeds: range) -> None:
    """Kill it again and again on one spool until it gets through; count at every step."""
    measure = Spool(tmp_path / "measure")
    fill(measure, 8, rows=100)
    target = f"{cluster.url}/{prefix}"
    began = time.monotonic()
    lines = int(run("ship", tmp_path / "measure", f"{cluster.url}/m{prefix}", 0).stderr)
    whole = time.monotonic() - began
    chance = random.Random(seeds.start)
    spool = Spool(tmp_path / "spool")
    everything = fill(spool, 8, rows=100)
    killed = 0
    for seed in seeds:
        if seed % 2:  # at a line of ours
            code = run("ship", tmp_path / "spool", target, chance.randrange(1, lines)).returncode
        else:  # at any moment, such as with a bulk request under way
            with subprocess.Popen([sys.executable, str(CHILD), "ship", tmp_path / "spool", target, "0"]) as child:
                time.sleep(chance.uniform(0.3, 1.0) * whole)
                child.kill()
            code = child.returncode
        killed += code == -signal.SIGKILL
        assert code in (0, -signal.SIGKILL)
        waiting: set[str] = set()
        for segment in spool.waiting():
            with spool.holding(segment) as body:
                waiting.update(table_of(body or b"")["event.id"].to_list())
        there = held(cluster, prefix)
        assert set(there.values()) <= {1}, "nothing twice"
        assert set(there) | waiting == everything, "nothing lost"
        if not spool.waiting():
            fill(spool, 8, rows=100)  # the same events again: a second delivery must be a no-op
    assert killed
    Forwarder(spool, StoreDelivery(lambda: ElasticStore(cluster.url, prefix=prefix))).once()
    assert held(cluster, prefix) == once_each(everything)


def test_a_killed_forwarder(elastic_8: nodes.Cluster, tmp_path: Path, prefix: str) -> None:
    kill_a_forwarder(elastic_8, tmp_path, prefix, range(6))


@pytest.mark.slow
def test_a_forwarder_killed_at_fifty_points(elastic_8: nodes.Cluster, tmp_path: Path, prefix: str) -> None:
    kill_a_forwarder(elastic_8, tmp_path, prefix, range(100, 150))
