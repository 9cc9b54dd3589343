"""Indices of an older template: brought to the present one without losing, doubling or hiding an event."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import nodes
import polars as pl
import pytest

from event.incident import Incident
from event.table import conform
from store.elastic import ElasticStore, templates, upgrade

pytestmark = pytest.mark.elastic

T0 = datetime(2026, 3, 1, 23, 50, tzinfo=UTC)


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
                "source.ip": [f"10.0.{n // 250}.{n % 250}" for n in rows],
                "event.original": [f"number {n}" for n in rows],
            }
        )
    )


Change = Callable[[dict[str, Any]], None]


def without_addresses(properties: dict[str, Any]) -> None:
    del properties["source"]["properties"]["ip"]


def with_addresses_as_words(properties: dict[str, Any]) -> None:
    properties["source"]["properties"]["ip"] = {"type": "keyword"}


@pytest.fixture(params=["elastic_8", "elastic_9"])
def elastic(request: pytest.FixtureRequest) -> nodes.Cluster:
    """A node of each version."""
    cluster: nodes.Cluster = request.getfixturevalue(request.param)
    return cluster


@pytest.fixture
def prefix() -> str:
    return f"u{secrets.token_hex(6)}"


@pytest.fixture
def older(elastic: nodes.Cluster, prefix: str) -> Callable[[Change], None]:
    """Fills a store as a program with another catalogue would have: two datasets, two days."""

    def fill(change: Change) -> None:
        real = templates.properties

        def changed(*, wildcard: bool) -> dict[str, Any]:
            found = real(wildcard=wildcard)
            change(found)
            return found

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(templates, "properties", changed)
            with ElasticStore(elastic.url, prefix=prefix) as store:
                store.append(events(range(1_200)))
                store.append(events(range(30), "dnp3"))

    return fill


@pytest.fixture
def store(elastic: nodes.Cluster, prefix: str, older: Any) -> Iterator[Callable[[], ElasticStore]]:
    opened: list[ElasticStore] = []

    def open_it() -> ElasticStore:
        opened.append(ElasticStore(elastic.url, prefix=prefix))
        return opened[-1]

    yield open_it
    for one in opened:
        one.close()


def held(store: ElasticStore) -> pl.DataFrame:
    return pl.concat(list(store.search()), how="diagonal")


def by_address(cluster: nodes.Cluster, prefix: str, address: str = "10.0.2.7") -> int:
    """What the cluster itself finds; our own reading would decide without it."""
    cluster.request("POST", f"/{prefix}*/_refresh")
    _, found = cluster.request("POST", f"/{prefix}-events-*/_count", {"query": {"term": {"source.ip": address}}})
    return int(found["count"])  # type: ignore[index]


def test_a_new_field_is_indexed_in_old_documents_too(
    elastic: nodes.Cluster, prefix: str, older: Callable[[Change], None], store: Callable[[], ElasticStore]
) -> None:
    older(without_addresses)
    assert by_address(elastic, prefix) == 0
    opened = store()
    before = held(opened)
    old = upgrade.outdated(opened.client, opened.names)
    assert len(old) == 3
    told: list[str] = []
    done = upgrade.upgrade(opened.client, opened.names, progress=lambda index, _: told.append(index))
    assert [(one.index, one.rewritten) for one in done] == [(index, False) for index in old]
    assert sum(one.documents for one in done) == before.height == 1_230
    assert sorted(set(told)) == old
    assert by_address(elastic, prefix) == 1
    assert held(opened).equals(before)
    assert upgrade.outdated(opened.client, opened.names) == []
    assert upgrade.upgrade(opened.client, opened.names) == []
    assert opened.append(events(range(1_210))) == 10, "what is sent again meets itself"


def test_a_field_of_another_type_takes_a_copy(
    elastic: nodes.Cluster, prefix: str, older: Callable[[Change], None], store: Callable[[], ElasticStore]
) -> None:
    older(with_addresses_as_words)
    assert by_address(elastic, prefix, "10.0.2.0/24") == 0
    opened = store()
    before = held(opened)
    done = upgrade.upgrade(opened.client, opened.names)
    assert [one.rewritten for one in done] == [True] * 3
    assert by_address(elastic, prefix, "10.0.2.0/24") == 250
    assert held(opened).equals(before)
    assert upgrade.outdated(opened.client, opened.names) == []
    assert opened.append(events(range(1_210))) == 10
    opened.flush()
    _, left = elastic.request("GET", f"/{prefix}-moving-*/_mapping")
    assert left == {}


@pytest.mark.parametrize("change", [without_addresses, with_addresses_as_words])
def test_an_upgrade_killed_anywhere_is_completed_by_the_next(
    elastic: nodes.Cluster,
    prefix: str,
    older: Callable[[Change], None],
    store: Callable[[], ElasticStore],
    change: Change,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    older(change)
    opened = store()
    before = held(opened)
    monkeypatch.setattr(upgrade, "PAGE", 500)
    real = type(opened.client).ask
    stopped = 0
    for last in range(3, 400, 4):
        left = last

        def dying(self: Any, *args: Any, **more: Any) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                raise KeyboardInterrupt
            return real(self, *args, **more)

        with monkeypatch.context() as patch:
            patch.setattr(type(opened.client), "ask", dying)
            try:
                upgrade.upgrade(opened.client, opened.names)
            except KeyboardInterrupt:
                stopped += 1
            else:
                break
    else:
        pytest.fail("it never came to an end")
    assert stopped > 3
    assert upgrade.outdated(opened.client, opened.names) == []
    assert held(opened).equals(before)
    assert by_address(elastic, prefix) == 1
    assert opened.append(events(range(1_210))) == 10


def test_what_somebody_writes_meanwhile_stays(
    elastic: nodes.Cluster, prefix: str, older: Callable[[Change], None], store: Callable[[], ElasticStore]
) -> None:
    older(without_addresses)
    opened, other = store(), store()
    more = events(range(1_200, 1_300))

    def meanwhile(index: str, _: int) -> None:
        other.append(more)
        other.flush()

    upgrade.upgrade(opened.client, opened.names, progress=meanwhile)
    assert held(opened).height == 1_330
    assert by_address(elastic, prefix, "10.0.5.0") == 1


def test_incidents_and_checkpoints_come_along(
    elastic: nodes.Cluster, prefix: str, store: Callable[[], ElasticStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    incident = Incident.model_validate(
        {
            "id": "INC-20260301-aaaaaa",
            "version": 1,
            "title_zh": "x",
            "title_en": "x",
            "first_seen": T0,
            "last_seen": T0,
            "discovered": T0,
            "level": "high",
        }
    )
    real = templates.templates

    def older(*args: Any, **more: Any) -> dict[str, dict[str, Any]]:
        found = real(*args, **more)
        for name, one in found.items():
            if not name.endswith("-events"):
                one["template"]["mappings"]["_meta"]["digest"] = one["_meta"]["digest"] = "older"
        return found

    with monkeypatch.context() as patch:
        patch.setattr(templates, "templates", older)
        with store() as first:
            first.put_incident(incident)
            first.put_incident(incident.model_copy(update={"version": 2}))
            first.put_checkpoint("inputs", b"[1]")
    opened = store()
    done = upgrade.upgrade(opened.client, opened.names)
    assert sorted(one.index.removeprefix(prefix) for one in done) == ["-incident-versions", "-incidents", "-state"]
    assert [opened.incident(incident.id, version).version for version in (1, 2)] == [1, 2]  # type: ignore[union-attr]
    opened.put_incident(incident.model_copy(update={"version": 3}))
    assert opened.checkpoint("inputs") == b"[1]"
    assert upgrade.outdated(opened.client, opened.names) == []
