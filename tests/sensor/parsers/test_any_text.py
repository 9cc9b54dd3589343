"""What every log parser owes to any line: one row, kept, with an identity that fits the catalogue."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from event.registry import load
from event.table import conform, event_ids
from sensor import PARSERS
from sensor.base import LineParser
from sensor.parsers import zeek

HEADER = [
    "#separator \\x09",
    "#path\tconn",
    "#fields\tts\tuid\tid.orig_p\torig_bytes\ttags",
    "#types\ttime\tstring\tport\tcount\tset[string]",
]


def parse(parser: LineParser, lines: list[str], year: int | None = 2026, start: int = 0) -> list[pl.DataFrame]:
    """The parser's tables as a store would get them."""
    sizes = [len(line.encode()) + 1 for line in lines]
    offsets = pl.Series([start + sum(sizes[:i]) for i in range(len(lines))], dtype=pl.Int64)
    tables = parser.parse(
        pl.Series(lines, dtype=pl.String),
        offsets,
        reference=None if year is None else datetime(year, 12, 30, tzinfo=UTC),
    )
    out = []
    for table in tables:
        dataset = str(table["event.dataset"][0])
        ids = event_ids(
            "0" * 16,
            table["log.offset"],
            table["@timestamp"].cast(pl.Datetime("ns", "UTC")),
            dataset,
            pl.zeros(table.height, pl.Int64, eager=True),
        )
        out.append(conform(table.with_columns(ids)))
    return out


def rows_expected(name: str, lines: list[str]) -> list[int]:
    """Numbers of the lines that owe a row: all but empty ones and Zeek's headers."""
    blank = " \t\r\ufeff" if name != "syslog" else " \t\r\n\0\ufeff"
    found = []
    for number, line in enumerate(lines):
        text = line.strip(blank)
        if (
            text
            and not (name in ("zeek", "web") and text.startswith("#"))
            and not (name == "auditd" and text == "----")
        ):
            found.append(number)
    return found


def check(name: str, lines: list[str]) -> None:
    parser = load("parsers", name, PARSERS)
    tables = parse(parser, lines)
    offsets = [0]
    for line in lines:
        offsets.append(offsets[-1] + len(line.encode()) + 1)
    got = sorted(offset for table in tables for offset in table["log.offset"].to_list())
    assert got == [offsets[number] for number in rows_expected(name, lines)]
    by_offset = dict(zip(offsets, lines, strict=False))
    for table in tables:
        assert table["log.offset"].is_sorted()
        assert table["event.dataset"].n_unique() == 1
        for row in table.iter_rows(named=True):
            assert row["event.original"] == by_offset[row["log.offset"]]
            assert (row["event.kind"] == "pipeline_error") == (row.get("error.code") is not None)
            for field in ("zeek.fields", "suricata.fields", "log.syslog.structured_data_json"):
                if row.get(field) is not None:
                    assert isinstance(json.loads(row[field]), dict)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
_KEYS = st.sampled_from(
    [
        "ts",
        "_path",
        "uid",
        "id.orig_h",
        "id.orig_p",
        "conn_state",
        "timestamp",
        "event_type",
        "src_ip",
        "dest_port",
        "alert",
        "flow",
        "dns",
        "http",
        "proto",
        "vlan",
        "duration",
        "answers",
        "TTLs",
        "func",
        "fc_request",
        "note",
        "EventID",
        "Channel",
        "EventTime",
        "@timestamp",
        "winlog",
        "event_data",
        "Image",
        "NewProcessName",
        "a.b",
        "a b",
        "eventSource",
        "eventName",
        "awsRegion",
        "eventTime",
    ]
)
_VALUES = _JSON | st.sampled_from(
    [
        1700000000.5,
        "1700000000.123456",
        "2026-03-01T10:00:00.1+0800",
        "10.0.0.1",
        "fe80::1",
        "alert",
        "conn",
        "dns",
        {"signature_id": 5, "severity": 1},
        {"type": "answer", "grouped": {"A": ["1.2.3.4"]}},
        "modbus",
        "READ_COILS",
        "Security",
        4688,
        {"channel": "Security", "event_id": "1", "event_data": {"Image": "x", "param1": [1, "y"], "a": {"#text": "z"}}},
        {"#text": ["a", None]},
    ]
)
_OBJECT = st.dictionaries(_KEYS, _VALUES, max_size=6).map(json.dumps)
_EVTX = st.builds(
    lambda system, data: json.dumps({"Event": {"System": system, "EventData": data}}),
    st.dictionaries(st.sampled_from(["EventID", "Channel", "TimeCreated", "Execution", "Level"]), _VALUES, max_size=5),
    st.dictionaries(_KEYS | st.text(max_size=6), _VALUES, max_size=6) | _JSON,
)
_AUDIT = st.builds(
    "type={} msg=audit({}): {}".format,
    st.sampled_from(["SYSCALL", "EXECVE", "PATH", "CWD", "SOCKADDR", "PROCTITLE", "x"]),
    st.sampled_from(["1364481363.243:7", "999999999999.1:7", "1364481363.1:99999999999999999999", "1:2"]),
    st.lists(
        st.sampled_from(
            [
                'exe="/bin/x"',
                "a0=2F62",
                "a1=C3",
                "saddr=0200",
                "saddr=zz",
                "msg='op=x addr=1.2.3.4",
                "pid=x",
                "syscall=59",
            ]
        ),
        max_size=5,
    ).map(" ".join),
)
_WEB = st.builds(
    '{} - {} [{}] "{}" {} {}'.format,
    st.sampled_from(["10.0.0.1", "::1", "h", "v:1 10.0.0.1"]),
    st.sampled_from(
        ["-", "a b", '"'],
    ),
    st.sampled_from(["10/Oct/2000:13:55:36 -0700", "99/Oct/2000:13:55:36 -0700", "x"]),
    st.sampled_from(["GET /a?b HTTP/1.1", "\\x16", "", "GET", 'a\\"b']),
    st.sampled_from(["200", "-", "x"]),
    st.sampled_from(["1", "-", '1 "r" "a"', "99999999999999999999"]),
)
_W3C = st.sampled_from(
    ["#Fields: date time c-ip cs-uri-stem", "#Fields:", "2026-01-02 03:04:05 ::1 /x", "x 99:00:00 y -", "#x", "a b"]
)
_TSV = st.lists(
    st.sampled_from(["1700000000.5", "-", "(empty)", "Cabc", "502", "x,y", "\\x41\\xff", "99999999999999999999", "é"]),
    min_size=3,
    max_size=7,
).map("\t".join)
_HEADERS = st.sampled_from(
    [*HEADER, "#fields\tts\tts\tx", "#types\tstring", "#path\t../x", "#separator ,", "#fields", "#close"]
)
_SYSLOG = st.builds(
    "{}{} {}{}".format,
    st.sampled_from(["<34>", "<0>", "<192>", "<1>1 ", "12 <5>1 ", "", "<x>"]),
    st.sampled_from(
        [
            "Oct 11 22:14:15",
            "Feb 30 00:00:00",
            "Feb 29 00:00:00",
            "Jan  1 99:00:00",
            "-",
            "2026-03-01T10:00:00Z",
            "9999-01-01T00:00:00Z",
        ]
    ),
    st.sampled_from(["host app[1]: ", "h a p m ", "h a p m - ", 'h a p m [x y="z\\"]"][q] ', "- - - - ", ""]),
    st.text(max_size=10),
)
_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n"), max_size=40)
LINES = st.lists(_OBJECT | _EVTX | _AUDIT | _WEB | _W3C | _TEXT | _TSV | _HEADERS | _SYSLOG, max_size=12)


@pytest.mark.parametrize("name", sorted(PARSERS))
@settings(max_examples=60, deadline=None)
@given(lines=LINES)
def test_every_line_gives_one_row_that_fits(name: str, lines: list[str]) -> None:
    check(name, lines)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(PARSERS))
@settings(max_examples=3_000, deadline=None)
@given(lines=LINES)
def test_every_line_gives_one_row_that_fits_at_length(name: str, lines: list[str]) -> None:
    check(name, lines)


@pytest.mark.parametrize("name", sorted(PARSERS))
@pytest.mark.parametrize(
    "line",
    [
        "\x00",
        "a\x00b",
        "\ufffd\ufffd",
        "x" * 1_000_000,
        '{"event_type":"alert","a":"' + "x" * 1_000_000 + '"}',
        '{"a":' * 1_000 + "1" + "}" * 1_000,
        '{"a":' * 100_000,
        "[" * 100_000,
        '{"ts":1,"a":' + "[1," * 500 + "1" + "]" * 500 + "}",
        "{" + ",".join(f'"k{i}":{i}' for i in range(5_000)) + "}",
        '{"a":"\\ud800"}',
        '{"a":1}{"a":2}',
        '{"a":1e999}',
        '{"ts":1e300,"timestamp":1e300}',
        "<34>1 " + "9" * 100_000,
        "#fields\t" + "\t".join(f"f{i}" for i in range(10_000)),
        "<34>Oct 11 22:14:15 " + "[" * 10_000,
        '<34>1 - - - - - [a b="' + "\\" * 10_001,
    ],
    ids=range(18),
)
def test_hostile_lines_survive_among_good_ones(name: str, line: str) -> None:
    good = {
        "zeek": '{"_path":"conn","ts":1700000000.5,"conn_state":"SF"}',
        "suricata": '{"event_type":"flow","timestamp":"2026-03-01T10:00:00.000001Z"}',
        "syslog": "<34>Oct 11 22:14:15 host su: hello",
        "windows": '{"EventID":1,"Channel":"Security","@timestamp":"2026-03-01T10:00:00Z","Image":"x"}',
        "auditd": 'type=EXECVE msg=audit(1364481363.243:24287): argc=1 a0="x"',
        "web": '10.0.0.1 - - [10/Oct/2000:13:55:36 +0800] "GET / HTTP/1.0" 200 23',
        "app": '{"eventSource":"iam.amazonaws.com","eventName":"x","awsRegion":"y","eventTime":"2026-03-01T10:00:00Z"}',
    }[name]
    check(name, [good, line, good])


def test_a_wide_header_does_not_cost_memory_for_every_short_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zeek, "MOST_CELLS", 1_000)
    lines = ["#path\tx", "#fields\tts\t" + "\t".join(f"f{i}" for i in range(99))]
    lines += ["5.0\t" + "\t".join("x" * 99), "short"] * 50
    check("zeek", lines)


@pytest.mark.parametrize("name", sorted(PARSERS))
def test_no_lines_give_no_tables(name: str) -> None:
    assert parse(load("parsers", name, PARSERS), []) == []
    assert parse(load("parsers", name, PARSERS), ["", " "]) == []
