"""Documents say what their rows say and no more, whichever way they are written."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import Any

import orjson
import polars as pl
import pytest

from event.fields import FIELDS
from event.table import conform
from store.elastic.documents import bodies

ROWS = 3_000
LACKING = (
    "event.outcome",
    "source.ip",
    "source.port",
    "modbus.values",
    "modbus.value_min",
    "flow.tcp_flags.client",
    "flow.tcp_flags.server",
)


def table(kinds: int) -> pl.DataFrame:
    """Rows that lack members in so many ways, in no order."""
    chance = random.Random(kinds)
    ways = [{name for bit, name in enumerate(LACKING) if way >> bit & 1} for way in range(kinds)]
    rows: list[dict[str, Any]] = []
    for number in range(ROWS):
        row: dict[str, Any] = {
            "@timestamp": datetime(2026, 3, 1, tzinfo=UTC),
            "event.id": f"origin-{number:06d}",
            "event.dataset": "modbus",
            "event.kind": "event",
            "event.outcome": 'null,"a":null',
            "source.ip": "10.0.0.1",
            "source.port": number,
            "modbus.values": [number, 7],
            "modbus.value_min": number,
            "flow.tcp_flags.client": 2,
            "flow.tcp_flags.server": 18,
        }
        row |= dict.fromkeys(ways[number] if number < kinds else chance.choice(ways))
        rows.append(row)
    chance.shuffle(rows)
    schema = {name: FIELDS[name].dtype for name in rows[0]}
    return conform(pl.DataFrame(rows, schema=schema))


def flat(level: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in level.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return found


@pytest.mark.parametrize("kinds", [1, 2, 6, 7, 128])
def test_rows_that_lack_different_members(kinds: int) -> None:
    rows = table(kinds)
    assert rows.select(pl.struct(pl.col(LACKING).is_null())).to_series().n_unique() == kinds
    for line, row in zip(bodies(rows), rows.iter_rows(named=True), strict=True):
        action, document = (orjson.loads(part) for part in line.split("\n"))
        assert action == {"create": {"_id": row["event.id"]}}
        told = flat(document)
        assert told.pop("@timestamp") == "2026-03-01T00:00:00.000000000Z"
        assert told.pop("jianmen.time") == 1_772_323_200_000_000_000
        assert told == {name: row[name] for name in row if name != "@timestamp" and row[name] is not None}
