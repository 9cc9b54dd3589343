"""Zeek logs; the samples in tests/data/zeek are our own."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from event.table import conform
from sensor.parsers.zeek import ZeekParser

DATA = Path(__file__).parents[2] / "data" / "zeek"
SHARED = Path(__file__).parents[4] / "shared" / "captures"


def rows(lines: list[str], parser: ZeekParser | None = None, start: int = 0) -> list[dict[str, Any]]:
    """All rows in order of their lines, without nulls."""
    offsets = pl.Series(range(start, start + len(lines)), dtype=pl.Int64)
    tables = (parser or ZeekParser()).parse(pl.Series(lines, dtype=pl.String), offsets, reference=None)
    found = [
        {name: value for name, value in row.items() if value is not None}
        for table in tables
        for row in conform(table.with_columns(pl.lit("x").alias("event.id"))).iter_rows(named=True)
    ]
    return sorted(found, key=lambda row: row["log.offset"])


def sample(name: str) -> list[dict[str, Any]]:
    return rows((DATA / name).read_text().splitlines())


def subset(row: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: row.get(name) for name in names}


def test_a_connection_has_its_ends_its_counters_and_its_rest() -> None:
    first = sample("conn.log")[0]
    assert first["@timestamp"] == datetime(2026, 3, 1, 8, 0, 0, 1, tzinfo=UTC)
    assert first["event.dataset"] == "zeek.conn"
    assert first["event.end"] == datetime(2026, 3, 1, 8, 0, 12, 500001, tzinfo=UTC)
    expected = {
        "zeek.uid": "CpumpA1",
        "source.ip": "10.20.1.5",
        "source.port": 49152,
        "destination.ip": "10.20.1.20",
        "destination.port": 502,
        "client.ip": "10.20.1.5",
        "server.port": 502,
        "network.transport": "tcp",
        "network.protocol": "modbus",
        "zeek.service": "modbus",
        "event.duration": 12_500_000_000,
        "source.bytes": 1120,
        "destination.bytes": 1020,
        "network.bytes": 2140,
        "network.packets": 42,
        "flow.payload_bytes.client": 240,
        "flow.payload_bytes.server": 220,
        "flow.state": "closed",
        "zeek.conn_state": "SF",
        "zeek.history": "ShADadFf",
        "flow.missed_bytes": 0,
    }
    assert subset(first, *expected) == expected
    assert json.loads(first["zeek.fields"]) == {"local_orig": True, "tunnel_parents": []}
    assert first["event.original"].startswith("1772352000.000001\tCpumpA1")


def test_absent_values_are_absent() -> None:
    scan = sample("conn.log")[1]
    assert not {"event.duration", "flow.payload_bytes.client", "zeek.service", "network.protocol"} & scan.keys()
    assert scan["destination.bytes"] == 0
    assert scan["flow.state"] == "syn_only"


def test_sets_and_several_services_are_read() -> None:
    _, _, multicast, odd = sample("conn.log")
    assert json.loads(multicast["zeek.fields"])["tunnel_parents"] == ["Ctun1", "Ctun2"]
    assert multicast["source.ip"] == "fe80::1"
    assert "flow.state" not in multicast
    assert odd["zeek.service"] == "dnp3_tcp,ssl"
    assert "network.protocol" not in odd
    assert odd["flow.missed_bytes"] == 7


def test_the_sender_of_a_modbus_response_is_the_server() -> None:
    request, response = sample("modbus.log")[:2]
    assert (request["source.ip"], request["modbus.message_type"]) == ("10.20.1.5", "request")
    assert (response["source.ip"], response["source.port"]) == ("10.20.1.20", 502)
    assert (response["destination.ip"], response["client.ip"], response["server.port"]) == (
        "10.20.1.5",
        "10.20.1.5",
        502,
    )


def test_modbus_words_become_ours_and_what_is_unknown_stays() -> None:
    *_, write, refused, odd = sample("modbus.log")
    assert subset(write, "modbus.function_code", "modbus.function", "modbus.transaction_id", "modbus.unit_id") == {
        "modbus.function_code": 5,
        "modbus.function": "write_single_coil",
        "modbus.transaction_id": 8,
        "modbus.unit_id": 1,
    }
    assert subset(refused, "modbus.function_code", "modbus.exception_code", "modbus.exception") == {
        "modbus.function_code": 5,
        "modbus.exception_code": 2,
        "modbus.exception": "illegal_data_address",
    }
    assert "modbus.function_code" not in odd
    assert json.loads(odd["zeek.fields"])["func"] == "unknown-99"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            0,
            {
                "event.dataset": "zeek.dns",
                "dns.id": "4711",
                "dns.type": "answer",
                "dns.question.name": "pump.example.cn",
                "dns.question.name_original": "Pump.Example.CN",
                "dns.question.class": "IN",
                "dns.response_code": "NOERROR",
                "dns.header_flags": ["RD", "RA"],
                "dns.resolved_ip": ["203.0.113.7", "2001:db8::7"],
                "dns.answers_ttl": [60, 60, 30],
                "event.duration": 12_500_000,
            },
        ),
        (
            1,
            {
                "http.request.method": "GET",
                "url.domain": "hmi.example.cn",
                "url.original": "/login?user=admin",
                "url.path": "/login",
                "http.response.status_code": 401,
                "user.name": "admin",
                "user_agent.original": "curl/8.0",
                "event.category": ["web"],
            },
        ),
        (2, {"tls.version": "TLSv12", "tls.established": True, "tls.client.server_name": "vpn.example.cn"}),
        (3, {"file.name": "update.exe", "file.size": 4096, "event.duration": 500_000_000, "event.category": ["file"]}),
        (
            4,
            {
                "event.kind": "alert",
                "rule.name": "Scan::Port_Scan",
                "source.ip": "10.20.1.66",
                "destination.ip": "10.20.1.20",
                "destination.port": 502,
                "observer.name": "sensor-1",
            },
        ),
        (5, {"event.code": "bad_TCP_checksum", "event.reason": "x"}),
        (
            6,
            {
                "dnp3.function": "cold_restart",
                "dnp3.function_code": 13,
                "dnp3.message_type": "request",
                "dnp3.iin": 4096,
            },
        ),
        (7, {"dnp3.function": "unsolicited_response", "dnp3.message_type": "unsolicited"}),
        (
            8,
            {
                "@timestamp": datetime(2026, 3, 1, 8, 0, 17, 500_000, tzinfo=UTC),
                "event.outcome": "failure",
                "network.direction": "inbound",
                "network.protocol": "ssh",
            },
        ),
        (9, {"user.name": "administrator", "event.reason": "encrypted"}),
        (10, {"event.dataset": "zeek.opcua_binary", "zeek.path": "opcua_binary", "destination.port": 4840}),
        (11, {"event.dataset": "zeek.conn", "flow.state": "refused", "zeek.path": "conn"}),
        (12, {"event.dataset": "zeek.unknown", "event.kind": "pipeline_error", "error.code": "invalid_json"}),
    ],
)
def test_a_json_line_becomes_fields(line: int, expected: dict[str, Any]) -> None:
    row = sample("mixed.json")[line]
    assert subset(row, *expected) == expected


def test_json_and_text_of_one_line_say_the_same() -> None:
    text = sample("conn.log")[0]
    names = ["ts", "uid", "id.orig_h", "id.orig_p", "id.resp_h", "id.resp_p", "proto", "service", "duration"]
    names += ["orig_bytes", "resp_bytes", "conn_state", "local_orig", "missed_bytes", "history", "orig_pkts"]
    names += ["orig_ip_bytes", "resp_pkts", "resp_ip_bytes", "tunnel_parents"]
    values = [1772352000.000001, "CpumpA1", "10.20.1.5", 49152, "10.20.1.20", 502, "tcp", "modbus", 12.5, 240, 220]
    values += ["SF", True, 0, "ShADadFf", 22, 1120, 20, 1020, []]
    (json_row,) = rows([json.dumps({"_path": "conn", **dict(zip(names, values, strict=True))})])
    for row in (text, json_row):
        del row["event.original"], row["log.offset"]
    assert json_row == text


def test_several_headers_in_one_stream_each_hold_for_what_follows() -> None:
    lines = (DATA / "conn.log").read_text().splitlines() + (DATA / "modbus.log").read_text().splitlines()
    found = rows(lines)
    assert [row["event.dataset"] for row in found] == ["zeek.conn"] * 4 + ["zeek.modbus"] * 5


def test_more_headers_than_are_held_are_named() -> None:
    lines = [line for n in range(300) for line in ("#path\tx", f"#fields\tts\tf{n}", "5.0\t1")]
    codes = [row.get("error.code") for row in rows(lines)]
    assert codes[0] is None
    assert codes[-1] == "too_many_headers"
    assert len(codes) == 300


def test_a_header_holds_over_blocks_and_a_new_input_begins_without_one() -> None:
    parser = ZeekParser()
    lines = (DATA / "conn.log").read_text().splitlines()
    assert len(rows(lines[:9], parser)) == 1
    assert [r["event.kind"] for r in rows(lines[9:12], parser, start=9)] == ["event"] * 3
    (orphan,) = rows(lines[9:10], parser)
    assert orphan["error.code"] == "no_header"


def test_escapes_and_the_marks_of_the_header_are_resolved() -> None:
    lines = ["#separator \\x7c", "#set_separator|;", "#empty_field|EMPTY", "#unset_field|?", "#path|http"]
    lines += ["#fields|ts|host|uri|method|tags|n", "#types|time|string|string|string|vector[string]|count"]
    lines += ["1.5|a\\x09b\\xe7\\xbb\\x93|\\\\x41|EMPTY|x\\x3b;y|?", "2.5|?|(empty)|-|EMPTY|5"]
    one, two = rows(lines)
    assert subset(one, "url.domain", "url.original", "http.request.method") == {
        "url.domain": "a\tb结",
        "url.original": "\\x41",
        "http.request.method": "",
    }
    assert json.loads(one["zeek.fields"]) == {"tags": ["x;", "y"]}
    assert subset(two, "url.domain", "url.original", "http.request.method") == {
        "url.domain": None,
        "url.original": "(empty)",
        "http.request.method": "-",
    }
    assert json.loads(two["zeek.fields"]) == {"tags": [], "n": 5}


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("1.5\tC1", "wrong_column_count"),
        ("1.5\tC1\t2\t3", "wrong_column_count"),
        ("-\tC1\t5", "bad_time"),
        ("x\tC1\t5", "bad_time"),
    ],
)
def test_a_line_that_does_not_fit_is_kept_as_an_error(line: str, code: str) -> None:
    good, bad = rows(["#path\tconn", "#fields\tts\tuid\tid.orig_p", "#types\ttime\tstring\tport", "9.5\tC0\t1", line])
    assert (bad["event.kind"], bad["error.code"], bad["event.original"]) == ("pipeline_error", code, line)
    assert bad["@timestamp"] == good["@timestamp"]
    assert bad["tags"] == ["time_assumed"]


def test_a_value_that_does_not_fit_its_field_goes_to_the_rest() -> None:
    (row,) = rows(['{"_path":"conn","ts":1,"id.orig_p":"many","id.orig_h":"no address","orig_pkts":1.5}'])
    assert not {"source.port", "source.ip", "source.packets"} & row.keys()
    assert json.loads(row["zeek.fields"]) == {"id.orig_p": "many", "id.orig_h": "no address", "orig_pkts": 1.5}


def test_a_key_that_only_a_late_line_has_is_not_lost() -> None:
    lines = ['{"_path":"x","ts":1,"a":{"b":1}}'] * 1_500 + ['{"_path":"x","ts":2,"a":{"c":[{"d":1}]},"z":"late"}']
    assert json.loads(rows(lines)[-1]["zeek.fields"]) == {"a.c": [{"d": 1}], "z": "late"}


def test_a_path_from_the_wire_is_a_plain_word_or_unknown() -> None:
    lines = [json.dumps({"_path": path, "ts": 1}) for path in ("../../etc", "A B", "x" * 100, "", "Conn")]
    assert [row["event.dataset"] for row in rows(lines)] == ["zeek.unknown"] * 4 + ["zeek.conn"]


def test_time_stamps_beyond_what_nanoseconds_hold_are_bad() -> None:
    lines = ["#path\tx", "#fields\tts", "#types\ttime", "9223372036.0", "99999999999", "-1.5", "1.123456789123"]
    codes = [row.get("error.code") for row in rows(lines)]
    assert codes == ["bad_time", "bad_time", None, None]


def test_our_words_are_those_of_the_decoders() -> None:
    from sensor import zeek_words

    modbus = pytest.importorskip("sensor.decoders.modbus")
    for name, word in zeek_words.MODBUS_FUNCTIONS.items():
        assert modbus.FUNCTIONS[zeek_words.MODBUS_CODES[name]] == word
    for name, word in zeek_words.MODBUS_EXCEPTIONS.items():
        assert modbus.EXCEPTIONS[zeek_words.MODBUS_EXCEPTION_CODES[name]] == word
    names = pytest.importorskip("sensor.decoders.dnp3.names")
    for name, word in zeek_words.DNP3_FUNCTIONS.items():
        assert names.FUNCTIONS[zeek_words.DNP3_CODES[name]][0] == word


@pytest.mark.skipif(not SHARED.is_dir(), reason="no shared captures beside the repository")
def test_logs_of_zeeks_own_tests_are_read_line_by_line() -> None:
    logs = [path for path in sorted(SHARED.glob("**/*.log")) if b"#fields" in path.read_bytes()[:4096]]
    assert logs
    for path in logs:
        # Their times are masked; a number in their place makes them whole.
        lines = re.sub(r"\d*X{10}\.X{6}", "1700000000.000001", path.read_text(errors="replace")).split("\n")
        found = rows(lines)
        assert len(found) == sum(bool(line.strip()) and not line.startswith("#") for line in lines), path
        assert {row["event.kind"] for row in found} <= {"event", "alert"}, path
