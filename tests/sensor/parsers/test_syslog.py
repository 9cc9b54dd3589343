"""Syslog; the sample in tests/data/syslog is our own."""

from __future__ import annotations

import json
import os
import threading
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from event.table import conform
from sensor.base import LineParser
from sensor.parsers.syslog import PARSER, SyslogParser
from sensor.reader import open_input

DATA = Path(__file__).parents[2] / "data" / "syslog" / "mixed.log"


def rows(lines: list[str], year: int | None = 2026) -> list[dict[str, Any]]:
    """All rows in order of their lines, without nulls, of a log last written at the end of a year."""
    return rows_of_blocks([lines], None if year is None else datetime(year, 12, 30, tzinfo=UTC))


def rows_of_blocks(
    blocks: list[list[str]], written: datetime | None, parser: LineParser = PARSER
) -> list[dict[str, Any]]:
    """The same where the lines come in several blocks."""
    tables, place = [], 0
    for lines in blocks:
        offsets = pl.Series(range(place, place + len(lines)), dtype=pl.Int64)
        tables += parser.parse(pl.Series(lines, dtype=pl.String), offsets, reference=written)
        place += len(lines)
    found = [
        {name: value for name, value in row.items() if value is not None}
        for table in tables
        for row in conform(table.with_columns(pl.lit("x").alias("event.id"))).iter_rows(named=True)
    ]
    return sorted(found, key=lambda row: row["log.offset"])


def times(lines: list[str], year: int | None = 2026) -> list[datetime]:
    return [row["@timestamp"] for row in rows(lines, year)]


@pytest.fixture(scope="module")
def sample() -> list[dict[str, Any]]:
    return rows(DATA.read_text().splitlines())


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            0,
            {
                "@timestamp": datetime(2025, 12, 31, 23, 59, 58, tzinfo=UTC),
                "log.syslog.priority": 34,
                "log.syslog.facility.code": 4,
                "log.syslog.severity.code": 2,
                "log.level": "critical",
                "log.syslog.hostname": "gw-1",
                "host.name": "gw-1",
                "log.syslog.appname": "su",
                "log.syslog.procid": None,
                "message": "'su root' failed for operator on /dev/pts/8",
            },
        ),
        (
            1,
            {
                "@timestamp": datetime(2026, 1, 1, 0, 0, 2, tzinfo=UTC),
                "log.syslog.procid": "4211",
                "process.pid": 4211,
                "process.name": "sshd",
                "message": "Accepted publickey for operator from 10.20.1.66 port 40300 ssh2",
            },
        ),
        (
            2,
            {
                "@timestamp": datetime(2026, 1, 1, 0, 0, 3, 3000, tzinfo=UTC),
                "log.syslog.hostname": "fw.example.cn",
                "log.syslog.appname": "app",
                "log.syslog.procid": "77",
                "log.syslog.msgid": "ID47",
                "message": "规则命中",
            },
        ),
        (
            3,
            {
                "event.kind": "event",
                "log.syslog.priority": 14,
                "message": None,
                "host.name": None,
                "tags": ["time_assumed"],
            },
        ),
        (
            4,
            {
                "@timestamp": datetime(2026, 3, 1, 18, 46, 11, 123_000, tzinfo=UTC),
                "log.syslog.priority": 189,
                "log.syslog.appname": "%SYS-5-CONFIG_I",
                "message": "Configured from console",
            },
        ),
        (
            5,
            {
                "@timestamp": datetime(2026, 3, 1, 2, 0, 0, 123_456, tzinfo=UTC),
                "log.syslog.priority": None,
                "host.name": "hmi",
                "log.syslog.appname": "kernel",
                "message": "link up",
            },
        ),
        (6, {"event.kind": "event", "message": "a bare message", "host.name": None, "tags": ["time_assumed"]}),
        (7, {"event.kind": "pipeline_error", "error.code": "bad_priority", "log.syslog.priority": None}),
        (8, {"event.kind": "pipeline_error", "error.code": "bad_time", "message": "no such day"}),
        (9, {"event.kind": "pipeline_error", "error.code": "not_syslog", "event.original": "this is no syslog line"}),
        (10, {"event.kind": "pipeline_error", "error.code": "bad_structured_data", "message": '[open note="x'}),
    ],
)
def test_a_line_becomes_fields(sample: list[dict[str, Any]], line: int, expected: dict[str, Any]) -> None:
    assert {name: sample[line].get(name) for name in expected} == expected


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("-", None),
        ("[a]", {"a": {}}),
        ('[a b="c"]', {"a": {"b": "c"}}),
        ('[a b="c" d=""]', {"a": {"b": "c", "d": ""}}),
        ('[a b="c"][d e="f"]', {"a": {"b": "c"}, "d": {"e": "f"}}),
        (r'[a b="\"\\\]\n"]', {"a": {"b": '"\\]\\n'}}),
        ('[a b="x=y z=1, [q"]', {"a": {"b": "x=y z=1, [q"}}),
        ('[a b="c] d"]', {"a": {"b": "c] d"}}),
        ('[a b="1" b="2" b="3"]', {"a": {"b": ["1", "2", "3"]}}),
        ('[a@1,2 b="\t"]', {"a@1,2": {"b": "\t"}}),
        ('[a b="结果"]', {"a": {"b": "结果"}}),
    ],
)
def test_structured_data_become_json(data: str, expected: dict[str, Any] | None) -> None:
    (row,) = rows([f"<165>1 2026-01-01T00:00:05Z h a p m {data} the message"])
    found = row.get("log.syslog.structured_data_json")
    assert (None if found is None else json.loads(found)) == expected
    assert (row["message"], row["event.kind"]) == ("the message", "event")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("<13>Oct 11 22:14:15 host message without a tag", {"host.name": "host", "message": "message without a tag"}),
        ("<13>Oct 11 22:14:15 host app: m: n", {"log.syslog.appname": "app", "message": "m: n"}),
        ("<13>Oct 11 22:14:15 10.0.0.1 app[x-1]: m", {"host.name": "10.0.0.1", "log.syslog.procid": "x-1"}),
        ("<13>Oct 11 22:14:15 fe80::1 app:", {"host.name": "fe80::1", "log.syslog.appname": "app", "message": ""}),
        ("<13>Oct 11 22:14:15 app[1]: no host", {"host.name": None, "log.syslog.appname": "app", "message": "no host"}),
        ("<13>Oct 11 22:14:15", {"message": ""}),
        ("<13>app: no stamp", {"log.syslog.appname": "app", "message": "no stamp"}),
        ("<13>Oct  1 2024 22:14:15 host app: m", {"@timestamp": datetime(2024, 10, 1, 22, 14, 15, tzinfo=UTC)}),
        ("<13>Oct  1 22:14:15 2024 host app: m", {"@timestamp": datetime(2024, 10, 1, 22, 14, 15, tzinfo=UTC)}),
        ("Oct  1 22:14:15.5 host app: m", {"@timestamp": datetime(2026, 10, 1, 22, 14, 15, 500_000, tzinfo=UTC)}),
        ("<13>1 apple a day", {"message": "1 apple a day"}),
        ("<0>1 - h - - - -", {"log.syslog.priority": 0, "log.level": "emergency", "host.name": "h"}),
        ("<191>1 2026-01-01T00:00:00Z h a p m", {"log.syslog.priority": 191, "log.syslog.msgid": "m"}),
    ],
)
def test_missing_parts_are_absent(line: str, expected: dict[str, Any]) -> None:
    (row,) = rows([line])
    assert {name: row.get(name) for name in expected} == expected
    assert row["event.kind"] == "event"


def test_the_year_turns_between_december_and_january() -> None:
    lines = ["Nov 30 00:00:00 h a: m", "Dec 31 23:59:59 h a: m", "Jan  1 00:00:00 h a: m", "Feb  1 00:00:00 h a: m"]
    assert [t.year for t in times(lines)] == [2025, 2025, 2026, 2026]


def test_a_straggler_of_december_belongs_to_the_old_year() -> None:
    lines = ["Dec 31 23:59:57 h a: m", "Jan  1 00:00:00 h a: m", "Dec 31 23:59:59 h a: m", "Jan  1 00:00:01 h a: m"]
    assert [t.year for t in times(lines)] == [2025, 2026, 2025, 2026]


def test_small_disorder_does_not_turn_the_year() -> None:
    lines = ["Jun  1 00:00:05 h a: m", "Jun  1 00:00:01 h a: m", "May 31 23:00:00 h a: m", "Jun  2 00:00:00 h a: m"]
    assert {t.year for t in times(lines)} == {2026}


def test_two_turns_go_two_years_back() -> None:
    lines = ["Nov  1 00:00:00 h a: m", "Feb  1 00:00:00 h a: m", "Nov  1 00:00:00 h a: m", "Feb  1 00:00:00 h a: m"]
    assert [t.year for t in times(lines)] == [2024, 2025, 2025, 2026]


OVER_NEW_YEAR = {
    "one turn": (
        ["Nov 30 00:00:00", "Dec 31 23:59:59", "Jan  1 00:00:00", "Feb  1 00:00:00"],
        datetime(2026, 2, 1, 0, 0, 5, tzinfo=UTC),
        [2025, 2025, 2026, 2026],
    ),
    "written before it turned": (
        ["Feb  1 00:00:00", "Nov 30 00:00:00", "Dec 31 23:59:59"],
        datetime(2025, 12, 31, 23, 59, 59, tzinfo=UTC),
        [2025, 2025, 2025],
    ),
    "copied in January": (
        ["Nov 30 00:00:00", "Dec 30 23:59:59"],
        datetime(2026, 1, 14, 8, tzinfo=UTC),
        [2025, 2025],
    ),
    "local time, hours ahead of UTC": (
        ["Dec 31 23:59:59", "Jan  1 07:00:00"],
        datetime(2025, 12, 31, 23, 0, tzinfo=UTC),
        [2025, 2026],
    ),
    "stragglers": (
        ["Dec 31 23:59:57", "Jan  1 00:00:00", "Dec 31 23:59:58", "Jan  1 00:00:01", "Dec 31 23:59:59"],
        datetime(2026, 1, 1, 0, 0, 2, tzinfo=UTC),
        [2025, 2026, 2025, 2026, 2025],
    ),
    "several years": (
        ["Nov  1 00:00:00", "Feb  1 00:00:00", "Aug  1 00:00:00", "Nov  1 00:00:00", "Feb  1 00:00:00"],
        datetime(2026, 2, 1, 0, 0, 5, tzinfo=UTC),
        [2024, 2025, 2025, 2025, 2026],
    ),
}
"""Stamps in order of arrival, when the log was last written, and the years they are of."""


@pytest.mark.parametrize("case", OVER_NEW_YEAR)
def test_borders_of_blocks_change_no_year(case: str) -> None:
    stamps, written, years = OVER_NEW_YEAR[case]
    lines = [f"<13>{stamp} h a: m" for stamp in stamps]
    cuts: list[tuple[int, ...]] = [(), *((i,) for i in range(1, len(lines))), tuple(range(1, len(lines)))]
    for cut in cuts:
        borders = [0, *cut, len(lines)]
        blocks = [lines[begin:end] for begin, end in pairwise(borders)]
        surveyed = PARSER.survey((pl.Series(block, dtype=pl.String) for block in blocks), written)
        assert [row["@timestamp"].year for row in rows_of_blocks(blocks, written, surveyed)] == years, cut


def test_a_stream_that_runs_on_over_new_year_gets_the_next_year() -> None:
    lines = ["Dec 31 23:59:58 h a: m", "Dec 31 23:59:59 h a: m", "Jan  1 00:00:00 h a: m", "Jan  2 00:00:00 h a: m"]
    opened = datetime(2025, 12, 31, 23, 59, 58, tzinfo=UTC)
    for cut in range(1, len(lines)):
        found = rows_of_blocks([lines[:cut], lines[cut:]], opened)
        assert [row["@timestamp"].year for row in found] == [2025, 2025, 2026, 2026], cut


def test_a_new_input_begins_at_its_own_year() -> None:
    parser = SyslogParser()
    written = datetime(2026, 2, 1, tzinfo=UTC)
    for _ in range(2):
        found = rows_of_blocks([["Dec 31 23:59:59 h a: m"], ["Jan  1 00:00:00 h a: m"]], written, parser)
        assert [row["@timestamp"].year for row in found] == [2025, 2026]


def test_years_come_from_the_last_write_of_a_file_of_several_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sensor.reader._LOG_BLOCK", 64)
    months = ["Nov", "Dec", "Jan", "May", "Oct", "Dec", "Jan", "Feb"]
    path = tmp_path / "messages"
    path.write_text("".join(f"{month} 10 00:00:00 h a: {n}\n" * 9 for n, month in enumerate(months)))
    os.utime(path, (datetime(2026, 3, 1, tzinfo=UTC).timestamp(),) * 2)
    tables = list(open_input(path).tables())
    assert len(tables) > len(months)
    years = [when.year for table in tables for when in table["@timestamp"].to_list()]
    assert years == [year for year in (2024, 2024, 2025, 2025, 2025, 2025, 2026, 2026) for _ in range(9)]


def test_a_named_pipe_is_read_once(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_text, args=("Dec 31 23:59:59 h a: m\nJan  1 00:00:00 h a: m\n",))
    writer.start()
    opened = open_input(path, reference=datetime(2026, 1, 2, tzinfo=UTC))
    found = [when.year for table in opened.tables() for when in table["@timestamp"].to_list()]
    writer.join()
    assert found == [2025, 2026]


def test_without_a_reference_the_year_is_that_of_stamps_that_have_one() -> None:
    lines = ["Mar  1 00:00:00 h a: m", "<13>1 2024-03-02T00:00:00Z h a p m -"]
    assert [t.year for t in times(lines, None)] == [2024, 2024]
    assert [t.year for t in times(lines[:1], None)] == [1970]


def test_29_february_exists_in_leap_years_only() -> None:
    assert times(["Feb 29 12:00:00 h a: m"], 2024) == [datetime(2024, 2, 29, 12, tzinfo=UTC)]
    (row,) = rows(["Feb 29 12:00:00 h a: m"], 2026)
    assert row["error.code"] == "bad_time"


def test_a_line_without_a_time_gets_that_of_the_line_before() -> None:
    lines = ["<13>first", "<13>Oct 11 22:14:15 h a: m", "<13>last"]
    when = datetime(2026, 10, 11, 22, 14, 15, tzinfo=UTC)
    assert times(lines) == [when, when, when]
    assert times(["<13>alone"], 2026) == [datetime(2026, 1, 1, tzinfo=UTC)]
    for cut in range(2, len(lines)):  # a line before all stamps can only be told the time within its own block
        blocks = [lines[:cut], lines[cut:]]
        found = rows_of_blocks(blocks, datetime(2026, 12, 30, tzinfo=UTC))
        assert [row["@timestamp"] for row in found] == [when, when, when]
