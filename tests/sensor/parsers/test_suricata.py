"""Suricata EVE; the sample in tests/data/suricata is our own."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from event.table import conform
from sensor.parsers.suricata import PARSER

DATA = Path(__file__).parents[2] / "data" / "suricata" / "eve.json"


def rows(lines: list[str]) -> list[dict[str, Any]]:
    """All rows in order of their lines, without nulls."""
    tables = PARSER.parse(
        pl.Series(lines, dtype=pl.String), pl.Series(range(len(lines)), dtype=pl.Int64), reference=None
    )
    found = [
        {name: value for name, value in row.items() if value is not None}
        for table in tables
        for row in conform(table.with_columns(pl.lit("x").alias("event.id"))).iter_rows(named=True)
    ]
    return sorted(found, key=lambda row: row["log.offset"])


@pytest.fixture(scope="module")
def sample() -> list[dict[str, Any]]:
    return rows(DATA.read_text().splitlines())


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            0,
            {
                "event.dataset": "suricata.alert",
                "event.kind": "alert",
                "@timestamp": datetime(2026, 3, 1, 8, 0, 0, 123, tzinfo=UTC),
                "rule.name": 'SURICATA Modbus invalid "unit"',
                "rule.id": "2250009",
                "suricata.signature_id": 2250009,
                "suricata.gid": 1,
                "suricata.action": "blocked",
                "event.severity": 75,
                "suricata.flow_id": "1234567890123456",
                "source.ip": "10.20.1.66",
                "destination.port": 502,
                "network.transport": "tcp",
                "network.protocol": "modbus",
                "network.vlan.id": "10",
                "network.inner.vlan.id": "20",
            },
        ),
        (
            1,
            {
                "source.packets": 6,
                "destination.bytes": 400,
                "network.bytes": 900,
                "event.duration": 1_000_000_000,
                "event.reason": "timeout",
                "client.ip": "10.20.1.66",
                "suricata.app_proto": "failed",
                "network.protocol": None,
                "event.type": ["connection"],
            },
        ),
        (
            2,
            {
                "dns.type": "answer",
                "dns.id": "4711",
                "dns.question.name": "pump.example.cn",
                "dns.question.type": "A",
                "dns.response_code": "NOERROR",
                "dns.resolved_ip": ["203.0.113.7"],
                "dns.header_flags": ["RD", "RA"],
                "network.transport": "udp",
            },
        ),
        (3, {"url.domain": "hmi.example.cn", "url.path": "/login", "http.response.status_code": 401}),
        (
            4,
            {
                "tls.client.server_name": "vpn.example.cn",
                "tls.version": "TLS 1.2",
                "tls.server.issuer": "CN=Example CA",
            },
        ),
        (
            5,
            {"file.name": "/update.exe", "file.size": 4096, "url.domain": "hmi.example.cn", "event.category": ["file"]},
        ),
        (6, {"modbus.function_code": 6, "modbus.unit_id": 1, "modbus.transaction_id": 7, "modbus.address": 100}),
        (
            7,
            {
                "dnp3.function_code": 13,
                "dnp3.link_source": 1,
                "dnp3.link_destination": 10,
                "dnp3.message_type": "request",
            },
        ),
        (8, {"event.code": "stream.pkt_invalid_timestamp", "event.dataset": "suricata.anomaly"}),
        (9, {"event.kind": "metric", "event.dataset": "suricata.stats"}),
        (10, {"event.kind": "pipeline_error", "error.code": "bad_time", "event.dataset": "suricata.flow"}),
        (11, {"event.kind": "pipeline_error", "error.code": "invalid_json", "event.original": '{"timestamp":'}),
    ],
)
def test_a_line_becomes_fields(sample: list[dict[str, Any]], line: int, expected: dict[str, Any]) -> None:
    assert {name: sample[line].get(name) for name in expected} == expected


def test_what_has_no_field_is_kept_with_dotted_names(sample: list[dict[str, Any]]) -> None:
    assert json.loads(sample[0]["suricata.fields"]) == {
        "in_iface": "tap0",
        "vlan": [10, 20],
        "alert.rev": 3,
        "alert.severity": 1,
        "alert.metadata.tag": ["ics"],
        "flow.pkts_toserver": 4,
        "flow.pkts_toclient": 3,
        "flow.bytes_toserver": 290,
        "flow.bytes_toclient": 210,
        "flow.start": "2026-03-01T16:00:00.000123+0800",
    }
    answers = json.loads(sample[2]["suricata.fields"])["dns.answers"]
    assert answers == [{"rrname": "Pump.Example.CN", "rrtype": "A", "ttl": 60, "rdata": "203.0.113.7"}]


def test_every_member_of_every_line_is_somewhere(sample: list[dict[str, Any]]) -> None:
    """A leaf of the document is in the rest, or its value is in a field."""
    for line, row in zip(DATA.read_text().splitlines()[:10], sample, strict=False):
        rest = json.loads(row.get("suricata.fields", "{}"))
        values = {json.dumps(v, default=str) for v in row.values()} | {str(v) for v in row.values()}
        for name, value in leaves(json.loads(line)):
            if name in ("timestamp", "proto", "flow.start", "flow.end", "dns.aa", "dns.tc"):
                continue
            assert name in rest or str(value) in values or json.dumps(value) in values, (name, row)


def leaves(document: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in document.items():
        found += leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else [(prefix + key, value)]
    return found


def test_types_that_disagree_between_lines_do_not_lose_a_line() -> None:
    head = '{"event_type":"x","timestamp":"2026-03-01T00:00:00Z",'
    lines = [
        head + body + "}"
        for body in ('"a":{}', '"a":3', '"a":true', '"a":[1,{"b":2}]', '"a":"s"', '"a":99999999999999999999')
    ]
    kept = [json.loads(row.get("suricata.fields", "{}")).get("a") for row in rows(lines)]
    assert [row["event.kind"] for row in rows(lines)] == ["event"] * 6
    assert kept[3] == [1, {"b": 2}]
    assert (str(kept[1]), str(kept[2]).lower(), kept[4]) == ("3", "true", "s")
    assert float(str(kept[5])) == 1e20


def test_one_bad_line_does_not_spoil_its_block() -> None:
    good = DATA.read_text().splitlines()[0]
    found = rows([good, '{"event_type":"alert"', good])
    assert [row["event.kind"] for row in found] == ["alert", "pipeline_error", "alert"]
    assert found[0]["suricata.fields"] == found[2]["suricata.fields"]


def test_a_type_from_the_wire_is_a_plain_word_or_unknown() -> None:
    lines = [
        json.dumps({"event_type": kind, "timestamp": "2026-03-01T00:00:00Z"})
        for kind in ("../x", "a b", 7, None, "DNS")
    ]
    assert [row["event.dataset"] for row in rows(lines)] == ["suricata.unknown"] * 4 + ["suricata.dns"]
