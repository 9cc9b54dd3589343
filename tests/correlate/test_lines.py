"""Windows events in JSON lines: the same alerts whether every line is read or only those the sieve lets through."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import starmap
from pathlib import Path
from typing import Any
from unittest.mock import Mock, patch

import polars as pl
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from correlate import blocks
from correlate.blocks import BlockSieve
from correlate.detect import Detector
from correlate.ir import RuleSet
from correlate.lines import Sieve, SievedLines
from correlate.parse import parse_documents
from event.table import conform
from sensor.base import ROOM_BEHIND
from sensor.line_tables import lines_of
from sensor.parsers.windows import WindowsParser

SYSMON = "Microsoft-Windows-Sysmon/Operational"
TEXTS = [
    "C:\\Windows\\cmd.exe",
    "cmd /c whoami",
    "-enc",
    "\u212aELVIN",
    "a/b",
    'say "x"',
    "",
    "1",
    "\x02",
    "ſekurlsa",
    "中",
    "S-1-16-12288",
    "%%14593",
    "true",
]
FIELDS = [
    "Image",
    "CommandLine",
    "ParentImage",
    "TargetFilename",
    "Hashes",
    "User",
    "Data",
    "Signed",
    "IntegrityLevel",
    "Initiated",
    "Opcode",
    "TwoWords",
    "Two_Words",
]
OTHERS = [
    "Message",
    "Level",
    "param1",
    "Two Words",
    "NewProcessName",
    "Application",
    "SubjectUserName",
    "SubjectDomainName",
    "MandatoryLabel",
    "Direction",
    "OpcodeValue",
    "EventId",
    "tags",
]


def compiled(detections: list[tuple[dict[str, Any], dict[str, Any]]]) -> RuleSet:
    texts = []
    for number, (logsource, detection) in enumerate(detections):
        rule = {
            "title": f"rule {number}",
            "id": f"00000000-0000-4000-8000-{number:012d}",
            "logsource": {"product": "windows", **logsource},
            "detection": detection,
            "level": "low",
        }
        texts.append(yaml.safe_dump(rule, allow_unicode=True).encode())
    return parse_documents([Path(f"{one}.yml") for one in range(len(texts))], texts, {})


def as_read(blocks: list[tuple[bytes, int]]) -> Iterator[tuple[memoryview, int]]:
    """Blocks in one buffer, each in the place of the one before."""
    buffer = bytearray(max((len(data) for data, _ in blocks), default=0) + ROOM_BEHIND)
    for data, offset in blocks:
        buffer[: len(data)] = data
        yield memoryview(buffer)[: len(data)], offset
    buffer[:] = b'"' * len(buffer)


EVERY_LINE, BY_LINE, BY_BLOCK = None, 1 << 30, 0
"""How much is sifted line by line; None: nothing is sifted."""


def alerts(
    ruleset: RuleSet, lines: list[str], *, sieve: int | None, one_pass: bool = True, cut: int = 7
) -> set[tuple[str, str]]:
    """Rule and place of the event of each alert; blocks have ``cut`` lines."""
    engine = Detector(ruleset, lateness=None, one_pass=one_pass)
    blocks = []
    offset = 0
    for begin in range(0, len(lines), cut):
        end = begin + cut
        last = "" if end >= len(lines) and lines[-1] else "\n"
        blocks.append((("\n".join(lines[begin:end]) + last).encode(), offset))
        offset += len(blocks[-1][0])
    sieved = SievedLines(engine.plan_of, patience=sieve or 0)
    parser = WindowsParser()
    found: set[tuple[str, str]] = set()
    read = 0
    for some, offsets in starmap(lines_of, blocks) if sieve is None else sieved(as_read(blocks)):
        read += len(some)
        for table in parser.parse(some, offsets, reference=datetime(2026, 12, 1, tzinfo=UTC)):
            with_ids = conform(table.with_columns(pl.col("log.offset").cast(pl.String).alias("event.id")))
            made = engine.feed(with_ids)
            if made.height:
                found.update(
                    zip(made["rule.id"].to_list(), made["alert.event_ids"].list.first().to_list(), strict=True)
                )
    assert read + sum(sieved.sieve.passed_over.values()) == len(lines)
    return found


def event_line(code: object = 1, channel: object = SYSMON, **members: object) -> str:
    return json.dumps({"EventID": code, "Channel": channel, "@timestamp": "2026-03-01T10:00:00Z", **members})


patterns = st.sampled_from(
    [
        "whoami",
        "cmd",
        ".exe",
        "-enc",
        "kelvin",
        "\\windows\\",
        'say "x"',
        "1",
        "a/b",
        "*.exe",
        "c?d",
        "sekurlsa",
        "中",
        "\x02",
        "High",
        "true",
    ]
)
values = st.one_of(
    st.sampled_from(TEXTS),
    st.integers(-2, 5),
    st.booleans(),
    st.none(),
    st.lists(st.sampled_from(TEXTS), max_size=2),
    st.just({"nested": "whoami"}),
)
modifiers = st.sampled_from(["", "|contains", "|startswith", "|endswith", "|cased", "|contains|all"])
items = st.dictionaries(st.tuples(st.sampled_from(FIELDS), modifiers).map("".join), patterns, min_size=1, max_size=2)
selections = st.one_of(items, st.lists(patterns, min_size=1, max_size=2), st.just({"CommandLine": None}))
details = st.builds(
    lambda one, two, condition: {"one": one, "two": two, "condition": condition},
    selections,
    selections,
    st.sampled_from(["one", "one and two", "one and not two", "not one", "1 of them"]),
)
logsources = st.sampled_from(
    [
        {},
        {"category": "process_creation"},
        {"category": "file_event"},
        {"service": "security"},
        {"service": "application"},
        {"category": "network_connection"},
    ]
)
events = st.builds(
    lambda code, channel, members, ascii_only: json.dumps(
        {"EventID": code, "Channel": channel, "@timestamp": "2026-03-01T10:00:00Z", **members}, ensure_ascii=ascii_only
    ),
    st.sampled_from([1, "1", 11, 4688, "5156", 412, None, True, 1.0]),
    st.sampled_from([SYSMON, "Security", "Application", "Unheard/Of", None, 7]),
    st.dictionaries(st.sampled_from([*FIELDS, *OTHERS]), values, max_size=5),
    st.booleans(),
)


def beat(code: object, channel: object, members: dict[str, object], shape: int, *, ascii_only: bool) -> str:
    """A line of Winlogbeat: of version 6, of later ones, or with dotted names."""
    message, data = members.pop("Message", None), members
    record: dict[str, object]
    if shape == 0:
        record = {"event_id": code, "log_name": channel, "event_data": data, "host": {"name": "HMI1"}}
    elif shape == 1:
        record = {"event": {"code": code}, "winlog": {"event_id": code, "channel": channel, "user_data": data}}
    elif shape == 2:
        record = {"winlog.channel": channel, "winlog": {"event_data": data}, "event.code": code}
    else:
        record = {"log_name": channel, "event_id": code, "user_data": {"User": "cmd"}, "event_data": data}
    return json.dumps({"@timestamp": "2026-03-01T10:00:00Z", **record, "message": message}, ensure_ascii=ascii_only)


beats = st.builds(
    lambda code, channel, members, shape, ascii_only: beat(code, channel, members, shape, ascii_only=ascii_only),
    st.sampled_from([1, "1", 11, 4688, "5156", 412, None]),
    st.sampled_from([SYSMON, "Security", "Application", None]),
    st.dictionaries(st.sampled_from([*FIELDS, *OTHERS, "a.b", "xml_name"]), values, max_size=5),
    st.integers(0, 3),
    st.booleans(),
)
odd = st.sampled_from(
    [
        "",
        "  ",
        "{",
        "[]",
        "3",
        '{"a": 1}',
        '{"EventID":1,"EventID":11,"Image":"cmd.exe"}',
        '{"EventID":1,}',
        '{"EventID":1,"Channel":"Microsoft-Windows-Sysmon/Operational","Image":1e999}',
        '{"EventID":1,"Channel":"Microsoft-Windows-Sysmon/Operational","Image":-12.5e-3}',
        '{"Event": {"System": {"EventID": 1}, "EventData": {"Image": "cmd"}}}',
    ]
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.tuples(logsources, details), min_size=1, max_size=6),
    st.lists(st.one_of(events, events, beats, odd), min_size=1, max_size=20),
    st.booleans(),
)
def test_the_sieve_changes_no_alert(rules: Any, lines: list[str], one_pass: bool) -> None:
    ruleset = compiled(rules)
    expected = alerts(ruleset, lines, sieve=EVERY_LINE)
    assert alerts(ruleset, lines, sieve=BY_LINE, one_pass=one_pass) == expected
    assert alerts(ruleset, lines, sieve=BY_BLOCK, one_pass=one_pass) == expected
    with patch.object(blocks, "_ROOM", 1):  # values are forgotten before each block
        assert alerts(ruleset, lines, sieve=BY_BLOCK, one_pass=one_pass, cut=3) == expected


MADE = ["User", "Data", "TargetObject", "EventType", "Image"]
PARTS = [
    "SubjectUserName",
    "SubjectDomainName",
    "ObjectName",
    "ObjectValueName",
    "param1",
    "param2",
    "param10",
    "param 1",
    "Message",
    *MADE,
]
pieces = ["PLANT", "cmd", "\\registry\\machine\\cmd", "", "whoami", "PLANT\\cmd", "cmd\nPLANT", "SetValue", "HKLM\\cmd"]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    rules=st.lists(
        st.tuples(
            st.sampled_from([{"service": "security"}, {"service": "application"}, {}]),
            st.builds(
                lambda field, modifier, piece, negated: {
                    "one": {field + modifier: piece},
                    "two": {"EventID": [4688, 4657, 412]},
                    "condition": "two and not one" if negated else "two and one",
                },
                st.sampled_from(MADE),
                st.sampled_from(["", "|contains", "|endswith"]),
                st.sampled_from([*pieces, "m\\cmd", "T\nc", "d\nP"]).filter(bool),
                st.booleans(),
            ),
        ),
        min_size=1,
        max_size=3,
    ),
    records=st.lists(
        st.tuples(
            st.sampled_from([4688, 4657, 412]),
            st.sampled_from(["Security", "Application"]),
            st.dictionaries(st.sampled_from(PARTS), st.sampled_from([*pieces, None, 7]), max_size=6),
            st.integers(-3, 3),
        ),
        min_size=1,
        max_size=12,
    ),
)
def test_what_is_made_of_several_members_changes_no_alert(rules: Any, records: list[Any]) -> None:
    lines = [
        event_line(code, channel, **members)
        if shape < 0
        else beat(code, channel, dict(members), shape, ascii_only=True)
        for code, channel, members, shape in records
    ]
    ruleset = compiled(rules)
    assert alerts(ruleset, lines, sieve=BY_BLOCK) == alerts(ruleset, lines, sieve=EVERY_LINE)


def test_accounts_and_numbered_members_are_not_read_in_full() -> None:
    account = {"two": {"User": "PLANT\\\\eve"}, "condition": "two"}
    data = {"two": {"EventID": 800, "Data|contains": "one\ntwo"}, "condition": "two"}
    ruleset = compiled([({"service": "security"}, account), ({"service": "powershell-classic"}, data)])
    lines = [event_line(4688, "Security", SubjectDomainName="PLANT", SubjectUserName=name) for name in ("adam", "eve")]
    lines += [event_line(800, "Windows PowerShell", param2="two", param1=text) for text in ("three", "one")]
    sieve = BlockSieve(Detector(ruleset, lateness=None).plan_of)
    kept, _, _ = sieve.sift_block("\n".join(lines).encode())
    assert kept.tolist() == [1, 3]


@pytest.mark.parametrize("one_pass", [True, False])
def test_most_lines_are_passed_over(one_pass: bool) -> None:
    rules = [({"category": "process_creation"}, {"one": {"CommandLine|contains": "whoami"}, "condition": "one"})] * 20
    ruleset = compiled([(logsource, {**detection}) for logsource, detection in rules])
    lines = [event_line(CommandLine=f"notepad {number}") for number in range(50)]
    lines[13] = event_line(CommandLine="cmd /c WhoAmI")
    engine = Detector(ruleset, one_pass=one_pass)
    sieve = Sieve(engine.plan_of)
    assert sieve.sift([line.encode() for line in lines]) == [13]
    assert sieve.passed_over == {"windows.sysmon": 49}


def test_escapes_do_not_hide_keywords() -> None:
    ruleset = compiled([({}, {"words": ["mimikatz"], "condition": "words"})])
    hidden = event_line(CommandLine="x").replace('"x"', '"\\u006dimikatz"')
    folder = event_line(CommandLine="C:\\users\\x")
    engine = Detector(ruleset)
    slash = event_line(CommandLine="x/y").replace("/y", "\\/y")
    assert Sieve(engine.plan_of).sift([hidden.encode(), folder.encode()]) == [0]
    assert BlockSieve(engine.plan_of).sift_block("\n".join([slash, hidden, folder]).encode())[0].tolist() == [1]
    for sieve in (BY_LINE, BY_BLOCK):
        assert alerts(ruleset, [hidden, folder], sieve=sieve) == {("00000000-0000-4000-8000-000000000000", "0")}


@pytest.mark.parametrize("kind", [Sieve, BlockSieve])
def test_forgets_when_a_plan_does(kind: type[Sieve]) -> None:
    """Signatures of before mean nothing after: the sieve must not go on with them."""
    rules = [
        ({"category": "process_creation"}, {"one": {"CommandLine|contains": f"bad{n}"}, "condition": "one"})
        for n in range(30)
    ]
    engine = Detector(compiled(rules), memory=5_000)
    sieve = kind(engine.plan_of)
    for batch in range(6):
        lines = [event_line(CommandLine=f"run {batch} {number}").encode() for number in range(50)]
        lines[batch] = event_line(CommandLine=f"bad{batch}x").encode()
        nested = b'{"Event": {"System": {"EventID": 1}}}'
        if isinstance(sieve, BlockSieve):
            assert sieve.sift_block(b"\n".join([*lines, nested]))[0].tolist() == [batch, len(lines)]
        else:
            assert sieve.sift([*lines, nested]) == [batch, len(lines)]
    plan = engine.plan_of("windows.sysmon")
    assert plan is not None and plan.resets > 2


@pytest.mark.parametrize(("again", "forgot"), [(True, 2), (False, 5)])
def test_values_that_come_again_and_again_are_remembered_longer(again: bool, forgot: int) -> None:
    rules = [({"category": "process_creation"}, {"one": {"CommandLine|contains": "whoami"}, "condition": "one"})] * 20
    sieve = BlockSieve(Detector(compiled(rules)).plan_of)
    forget = Mock(wraps=sieve._tables.forget_values)
    with patch.object(sieve, "_room", 1500), patch.object(sieve._tables, "forget_values", forget):
        for block in range(6):
            lines = [event_line(CommandLine=f"run {0 if again else block} {number:40}") for number in range(40)]
            lines[7] = event_line(CommandLine=f"whoami {block}")
            kept, _, _ = sieve.sift_block("\n".join(lines).encode())
            assert kept.tolist() == [7]
    assert forget.call_count == forgot
    assert sieve.passed_over == {"windows.sysmon": 6 * 39}


def test_keywords_of_some_datasets_are_not_those_of_others() -> None:
    of_security = ({"service": "security"}, {"words": ["mimikatz"], "condition": "words"})
    of_all = ({}, {"words": ["sekurlsa"], "condition": "words"})
    with_number = ({"service": "application"}, {"words": [4711], "condition": "words"})
    sieve = BlockSieve(Detector(compiled([of_security, of_all, with_number])).plan_of)
    lines = [
        event_line(channel=channel, Text=text)
        for channel in ("Security", SYSMON, "Application")
        for text in ("mimikatz", "SEKURLSA", "x", 4711)
    ]
    for some in (lines, [*lines, *[event_line(channel="Unheard/Of", Text="y" * 9) for _ in range(60)]]):
        assert sieve.sift_block("\n".join(some).encode())[0].tolist() == [0, 1, 5, 9, 11]


def test_records_of_winlogbeat_are_passed_over_too() -> None:
    rules = [({"category": "process_creation"}, {"one": {"CommandLine|contains": "whoami"}, "condition": "one"})] * 20
    engine = Detector(compiled(rules))
    sieve = BlockSieve(engine.plan_of)
    lines = [
        beat(code, SYSMON, {"CommandLine": text}, shape, ascii_only=True)
        for shape in range(4)
        for code in (1, 11)
        for text in ("notepad", "cmd /c WhoAmI")
    ]
    assert sieve.sift_block("\n".join(lines).encode())[0].tolist() == [1, 5, 9, 13]
    assert sieve.passed_over == {"windows.sysmon": 12}


@pytest.mark.parametrize(("parent", "kept"), [("C:\\a.exe", [0, 1]), ("c:\\A.EXE", [0, 1]), ("C:\\b.exe", [])])
def test_what_depends_on_two_fields_is_read_if_they_compare_so(parent: str, kept: list[int]) -> None:
    detection = {"one": {"Image|fieldref": "ParentImage", "CommandLine|contains": "whoami"}, "condition": "one"}
    engine = Detector(compiled([({"category": "process_creation"}, detection)] * 20))
    lines = [event_line(Image="C:\\a.exe", ParentImage=parent, CommandLine=text) for text in ("whoami", "WHOAMI", "x")]
    assert BlockSieve(engine.plan_of).sift_block("\n".join(lines).encode())[0].tolist() == kept


def test_broken_utf8_is_read_whatever_it_is_in() -> None:
    rules = [({"category": "process_creation"}, {"one": {"Image|contains": "x"}, "condition": "one"})] * 20
    engine = Detector(compiled(rules))
    line = event_line(Image="QQ").encode()
    broken = [line.replace(b"QQ", b"\xff"), line.replace(b"Image", b"\xc3"), line, line.replace(b"QQ", "中".encode())]
    assert BlockSieve(engine.plan_of).sift_block(b"\n".join(broken))[0].tolist() == [0, 1]
