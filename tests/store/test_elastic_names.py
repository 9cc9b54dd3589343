"""Names behind open prefixes: they survive the way into documents and back, though no index knows them."""

from __future__ import annotations

from datetime import UTC, datetime

import orjson
import polars as pl

from event.table import conform
from store.elastic.documents import Decoder, bodies

ROW = {
    "@timestamp": datetime(2026, 3, 1, tzinfo=UTC),
    "event.id": "a",
    "event.dataset": "windows.sysmon",
    "event.kind": "event",
    "event.code": "1",
    "winlog.channel": "x",
    "winlog.event_data.Image": "C:\\a.exe",
    "winlog.event_data.Threat_Name": 'q"}',
}
OTHER = {**ROW, "event.id": "b", "event.dataset": "app.aws.cloudtrail", "app.data.userIdentity.arn": "arn"}


def answer(*rows: dict[str, object]) -> bytes:
    """What a cluster would say: the documents as they were written."""
    sources = []
    for row in rows:
        lines = bodies(conform(pl.DataFrame([row])))
        sources.append({"_source": orjson.loads(lines[0].split("\n")[1]), "sort": [1, "a"]})
    return orjson.dumps({"pit_id": "p", "hits": {"hits": sources}})


def test_every_open_name_comes_back_where_all_is_asked_for() -> None:
    decoder = Decoder(["event.code"], open_names=True)
    assert {"winlog.event_data.*", "app.data.*"} <= set(decoder.sources())
    table, hits, pit = decoder.table(answer(ROW, {**OTHER, "winlog.event_data.Image": None}))
    assert (hits, pit) == (2, "p")
    assert table["winlog.event_data.Image"].to_list() == ["C:\\a.exe", None]
    assert table["winlog.event_data.Threat_Name"].to_list() == ['q"}', 'q"}']
    assert table["app.data.userIdentity.arn"].to_list() == [None, "arn"]


def test_some_open_names_come_back_where_they_are_asked_for() -> None:
    decoder = Decoder(["winlog.event_data.Image"])
    assert "winlog.event_data.*" not in decoder.sources()
    table, _, _ = decoder.table(answer(ROW))
    assert table.columns.count("winlog.event_data.Image") == 1
    assert "winlog.event_data.Threat_Name" not in table.columns


def test_documents_without_open_names_cost_nothing_more() -> None:
    table, hits, _ = Decoder(["event.code"], open_names=True).table(
        answer({k: v for k, v in ROW.items() if "data" not in k or k == "event.dataset"})
    )
    assert hits == 1
    assert not any(name.startswith("winlog.event_data.") for name in table.columns)
