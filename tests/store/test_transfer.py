"""Copying a store: everything arrives once, and an interruption costs little."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from event.errors import StoreError
from event.incident import Incident
from event.table import conform
from store import transfer
from store.embedded import EmbeddedStore

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


def incident(version: int = 1, title: str = "x", name: str = "INC-1") -> Incident:
    return Incident.model_validate(
        {
            "id": name,
            "version": version,
            "title_zh": title,
            "title_en": title,
            "first_seen": T0,
            "last_seen": T0,
            "discovered": T0,
            "level": "high",
        }
    )


def held(store: EmbeddedStore) -> list[str]:
    return [i for table in store.search() for i in table["event.id"].to_list()]


@pytest.fixture
def source(tmp_path: Path) -> EmbeddedStore:
    store = EmbeddedStore(tmp_path / "source")
    store.append(events(range(300)))
    store.append(events(range(100), "dnp3"))
    store.put_incident(incident())
    store.put_incident(incident(2, "y"))
    store.put_checkpoint("inputs", b"[1]")
    store.flush()
    return store


def test_everything_is_copied_once(source: EmbeddedStore, tmp_path: Path) -> None:
    with EmbeddedStore(tmp_path / "target") as target:
        target.append(events(range(50)))
        done = transfer.copy(source, target, name="source", checkpoints=("inputs", "none"))
        assert (done.events, done.new_events) == ({"dnp3": 100, "modbus": 300}, {"dnp3": 100, "modbus": 250})
        assert (done.incidents, done.resumed) == (2, [])
        assert held(target) == held(source)
        assert target.incident("INC-1", 1) == source.incident("INC-1", 1)
        assert target.incident("INC-1") == source.incident("INC-1")
        assert target.checkpoint("inputs") == b"[1]"
        source.append(events(range(300, 310)))
        source.put_incident(incident(3, "z"))
        again = transfer.copy(source, target, name="source", checkpoints=("inputs",))
        assert (sum(again.new_events.values()), again.incidents) == (10, 1)


def test_an_interrupted_copy_goes_on_where_it_was(
    source: EmbeddedStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "MARK_ROWS", 1)
    real = EmbeddedStore.scan

    def small(self: EmbeddedStore, *args: object, **more: object) -> object:
        return real(self, *args, **{**more, "batch_rows": 20})  # type: ignore[arg-type]

    monkeypatch.setattr(EmbeddedStore, "scan", small)

    def interrupt(dataset: str, count: int) -> None:
        if dataset == "modbus" and count >= 200:
            raise KeyboardInterrupt

    with EmbeddedStore(tmp_path / "target") as target:
        with pytest.raises(KeyboardInterrupt):
            transfer.copy(source, target, name="source", progress=interrupt)
        done = transfer.copy(source, target, name="source")
        assert done.resumed == ["dnp3", "modbus"]
        assert "dnp3" not in done.events
        assert 100 <= done.events["modbus"] < 200
        assert held(target) == held(source)
        assert sum(transfer.copy(source, target, name="source").new_events.values()) == 0


def test_what_came_after_the_interruption_is_not_forgotten(source: EmbeddedStore, tmp_path: Path) -> None:
    def interrupt(dataset: str, count: int) -> None:
        if dataset == "modbus":
            raise KeyboardInterrupt

    with EmbeddedStore(tmp_path / "target") as target:
        with pytest.raises(KeyboardInterrupt):
            transfer.copy(source, target, name="source", progress=interrupt)
        source.append(events(range(100, 110), "dnp3"))
        transfer.copy(source, target, name="source")
        assert held(target) == held(source)


def test_another_history_is_not_overwritten(source: EmbeddedStore, tmp_path: Path) -> None:
    with EmbeddedStore(tmp_path / "target") as target:
        target.put_incident(incident(title="somebody else's"))
        with pytest.raises(StoreError, match="another history"):
            transfer.copy(source, target, name="source")
        assert target.incident("INC-1") == incident(title="somebody else's")
