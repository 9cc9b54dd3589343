"""Upkeep of a cluster: what an operator sees, and what retention leaves."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import nodes
import polars as pl
import pytest

from event.incident import Incident, TimelineEntry
from event.table import conform
from store.elastic import ElasticStore
from store.elastic.health import health

pytestmark = pytest.mark.elastic

T0 = datetime(2026, 3, 1, tzinfo=UTC)


def events(hours: range, dataset: str = "modbus") -> pl.DataFrame:
    rows = list(hours)
    return conform(
        pl.DataFrame(
            {
                "@timestamp": pl.Series([T0 + timedelta(hours=n) for n in rows], dtype=pl.Datetime("ns", "UTC")),
                "event.id": [f"aaaa-{n:06d}-{dataset}" for n in rows],
                "event.dataset": [dataset] * len(rows),
                "event.kind": ["event"] * len(rows),
            }
        )
    )


@pytest.fixture
def store(elastic_8: nodes.Cluster) -> Iterator[ElasticStore]:
    with ElasticStore(elastic_8.url, prefix=f"k{secrets.token_hex(6)}") as opened:
        yield opened


def indices(cluster: nodes.Cluster, store: ElasticStore) -> list[str]:
    _, found = cluster.request("GET", f"/_resolve/index/{store.names.events}")
    return sorted(one["name"].rpartition("-")[2] for one in found["indices"])  # type: ignore[index]


def ids(store: ElasticStore) -> list[str]:
    return [i for table in store.search() for i in table["event.id"].to_list()]


def test_past_days_go_with_their_index_and_evidence_stays(elastic_8: nodes.Cluster, store: ElasticStore) -> None:
    store.append(events(range(5 * 24)))
    entry = TimelineEntry(time=T0, certainty="confirmed", text="x", text_zh="x", evidence=("aaaa-000030-modbus",))
    store.put_incident(
        Incident.model_validate(
            {
                "id": "INC-20260301-aaaaaa",
                "version": 1,
                "title_zh": "x",
                "title_en": "x",
                "first_seen": T0,
                "last_seen": T0,
                "discovered": T0,
                "level": "high",
                "timeline": (entry,),
            }
        )
    )
    now = T0 + timedelta(days=10, hours=84)  # the cutoff lies at noon of the fourth day
    would = store.retain({"*": 10}, now, apply=False)
    assert would == {"modbus": 83}
    assert len(indices(elastic_8, store)) == 5
    assert store.retain({"*": 10}, now, apply=True) == would
    assert indices(elastic_8, store) == ["2026.03.02", "2026.03.04", "2026.03.05"]
    assert ids(store) == ["aaaa-000030-modbus", *(f"aaaa-{n:06d}-modbus" for n in range(84, 120))]
    assert store.append(events(range(100, 130))) == 10
    assert store.append(events(range(4))) == 4, "a day that went can come back"


def test_health_of_a_cluster(elastic_8: nodes.Cluster, store: ElasticStore) -> None:
    empty = health(store.client, store.names, seconds=0)
    assert (empty.indices, empty.bytes, empty.rate) == (0, 0, 0)

    def meanwhile(_: float) -> None:
        store.append(events(range(48)))
        store.flush()

    seen = health(store.client, store.names, sleep=meanwhile)
    assert seen.color in ("green", "yellow")
    assert seen.nodes == 1
    assert seen.rate > 0
    quiet = health(store.client, store.names, sleep=lambda _: None)
    assert (quiet.indices, quiet.rate) == (2, 0)
    assert quiet.bytes > 0
