"""Windows events as JSON lines, in each shape that collectors give them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest

from event.channels import CHANNELS, dataset_of
from event.fields import is_dataset
from sensor.parsers.windows import MOST_MEMBERS, WindowsParser
from tests.sensor.parsers.rows import has, rows_of

WHEN = datetime(2026, 3, 1, 10, 0, 0, 123456, tzinfo=UTC)
SYSMON = "Microsoft-Windows-Sysmon/Operational"
MEMBERS: dict[str, Any] = {
    "Image": "C:\\Windows\\cmd.exe",
    "CommandLine": "cmd /c x",
    "ParentImage": "C:\\p.exe",
    "User": "PLANT\\op",
    "ProcessId": 77,
    "Hashes": "SHA1=A,MD5=79FD212D1A00DAF7AE1168729CA1813A",
}


def evtx(code: Any = 1, channel: str = SYSMON, data: Any = None, **system: Any) -> dict[str, Any]:
    head = {
        "Provider": {"#attributes": {"Name": "Microsoft-Windows-Sysmon"}},
        "EventID": code,
        "Level": 4,
        "TimeCreated": {"#attributes": {"SystemTime": "2026-03-01T10:00:00.123456Z"}},
        "EventRecordID": 5,
        "Execution": {"#attributes": {"ProcessID": 3544, "ThreadID": 1}},
        "Channel": channel,
        "Computer": "hmi-1",
        **system,
    }
    return {"Event": {"System": head, "EventData": MEMBERS if data is None else data}}


BEAT = {
    "@timestamp": "2026-03-01T10:00:00.123456Z",
    "winlog": {
        "channel": SYSMON,
        "event_id": "1",
        "provider_name": "Microsoft-Windows-Sysmon",
        "computer_name": "hmi-1",
        "record_id": 5,
        "process": {"pid": 3544, "thread": {"id": 1}},
        "event_data": {**MEMBERS, "ProcessId": "77"},
    },
    "log": {"level": "information"},
    "agent": {"name": "x"},
}
DOTTED = {
    "@timestamp": "2026-03-01T10:00:00.123456Z",
    "winlog.channel": SYSMON,
    "event.code": "1",
    "winlog.provider_name": "Microsoft-Windows-Sysmon",
    "winlog.computer_name": "hmi-1",
    "winlog.record_id": "5",
    "winlog.process.pid": 3544,
    "log.level": "information",
    **{f"winlog.event_data.{name}": value for name, value in MEMBERS.items()},
}
NXLOG = {
    "EventID": 1,
    "Channel": SYSMON,
    "SourceName": "Microsoft-Windows-Sysmon",
    "Hostname": "hmi-1",
    "RecordNumber": 5,
    "ProcessID": 3544,
    "Severity": "INFO",
    "EventTime": "2026-03-01 18:00:00",
    "@timestamp": "2026-03-01T10:00:00.123456Z",
    "@version": "1",
    "tags": ["mordor"],
    **MEMBERS,
}


@pytest.mark.parametrize("document", [evtx(), evtx()["Event"], BEAT, DOTTED, NXLOG], ids=range(5))
def test_every_shape_gives_the_same_event(document: dict[str, Any]) -> None:
    [row] = rows_of(WindowsParser(), json.dumps(document))
    has(
        row,
        {
            "event.dataset": "windows.sysmon",
            "event.kind": "event",
            "event.code": "1",
            "event.category": ["process"],
            "@timestamp": WHEN,
            "winlog.channel": SYSMON,
            "winlog.provider_name": "Microsoft-Windows-Sysmon",
            "winlog.record_id": "5",
            "winlog.level": 4,
            "winlog.process.pid": 3544,
            "log.level": "information",
            "host.name": "hmi-1",
            "winlog.event_data.Image": "C:\\Windows\\cmd.exe",
            "winlog.event_data.ProcessId": "77",
            "process.executable": "C:\\Windows\\cmd.exe",
            "process.command_line": "cmd /c x",
            "process.parent.executable": "C:\\p.exe",
            "process.pid": 77,
            "user.name": "op",
            "file.hash.md5": "79fd212d1a00daf7ae1168729ca1813a",
        },
    )
    assert not any("tags" in name or "version" in name for name in row)


def test_process_creation_of_the_security_log_has_the_names_of_sysmon() -> None:
    data = {
        "NewProcessName": "C:\\a.exe",
        "ParentProcessName": "C:\\b.exe",
        "SubjectDomainName": "PLANT",
        "SubjectUserName": "op",
        "SubjectLogonId": "0x3e7",
        "MandatoryLabel": "S-1-16-12288",
    }
    made, other = rows_of(
        WindowsParser(), json.dumps(evtx(4688, "Security", data)), json.dumps(evtx(4689, "Security", data))
    )
    has(
        made,
        {
            "event.dataset": "windows.security",
            "winlog.event_data.Image": "C:\\a.exe",
            "winlog.event_data.ParentImage": "C:\\b.exe",
            "winlog.event_data.User": "PLANT\\op",
            "winlog.event_data.LogonId": "0x3e7",
            "winlog.event_data.IntegrityLevel": "High",
            "user.name": "op",
        },
    )
    assert "winlog.event_data.Image" not in other


def test_registry_and_connections_of_the_security_log_have_the_names_of_sysmon() -> None:
    registry = {
        "ObjectName": "\\REGISTRY\\MACHINE\\SOFTWARE\\X",
        "ObjectValueName": "Run",
        "NewValue": "evil",
        "ProcessName": "C:\\r.exe",
    }
    connection = {
        "Application": "\\device\\harddiskvolume2\\x.exe",
        "Direction": "%%14593",
        "SourceAddress": "10.1.1.1",
        "SourcePort": "50000",
        "DestAddress": "::ffff:10.1.1.2",
        "DestPort": "445",
    }
    one, two = rows_of(
        WindowsParser(), json.dumps(evtx(4657, "Security", registry)), json.dumps(evtx(5156, "Security", connection))
    )
    has(one, {"winlog.event_data.TargetObject": "HKLM\\SOFTWARE\\X\\Run", "winlog.event_data.Details": "evil"})
    has(one, {"registry.path": "HKLM\\SOFTWARE\\X\\Run", "winlog.event_data.Image": "C:\\r.exe"})
    has(two, {"winlog.event_data.Initiated": "true", "winlog.event_data.DestinationPort": "445"})
    has(two, {"source.ip": "10.1.1.1", "destination.ip": "10.1.1.2", "destination.port": 445})


def test_values_are_text_and_several_stand_on_lines_of_their_own() -> None:
    data = {
        "Data": {"#text": ["Available", "None", "HostName=ConsoleHost"]},
        "Signed": True,
        "n": 5,
        "f": 1.5,
        "x": None,
    }
    [row] = rows_of(WindowsParser(), json.dumps(evtx(400, "Windows PowerShell", data)))
    has(
        row,
        {
            "event.dataset": "windows.powershell_classic",
            "winlog.event_data.Data": "Available\nNone\nHostName=ConsoleHost",
            "winlog.event_data.Signed": "true",
            "winlog.event_data.n": "5",
            "winlog.event_data.f": "1.5",
        },
    )
    assert "winlog.event_data.x" not in row


def test_members_without_a_name_are_data_whoever_exported_them() -> None:
    beat = {
        "@timestamp": "2026-03-01T10:00:00Z",
        "winlog": {
            "channel": "Application",
            "event_id": 1,
            "event_data": {"param1": "a", "param2": "b", "param10": "c"},
        },
    }
    [row] = rows_of(WindowsParser(), json.dumps(beat))
    has(row, {"winlog.event_data.Data": "a\nb\nc", "winlog.event_data.param2": "b"})


def test_names_with_spaces_have_both_spellings_that_rules_use() -> None:
    channel = "Microsoft-Windows-Windows Defender/Operational"
    [row] = rows_of(WindowsParser(), json.dumps(evtx(1116, channel, {"Threat Name": "T", "Path": "file:_C:\\m.exe"})))
    has(row, {"winlog.event_data.ThreatName": "T", "winlog.event_data.Threat_Name": "T"})
    has(row, {"winlog.event_data.Signature": "T", "winlog.event_data.Filename": "C:\\m.exe"})


def test_user_data_loses_its_wrappers() -> None:
    document = evtx(5857, "Microsoft-Windows-WMI-Activity/Operational")
    del document["Event"]["EventData"]
    document["Event"]["UserData"] = {"Operation_Start": {"#attributes": {"xmlns": "u"}, "ProviderPath": "%x%\\y.dll"}}
    [row] = rows_of(WindowsParser(), json.dumps(document))
    has(row, {"event.dataset": "windows.wmi", "winlog.event_data.ProviderPath": "%x%\\y.dll"})


def test_what_is_wrong_is_said() -> None:
    rows = rows_of(WindowsParser(), '{"a":', '{"a": 1}', "[]", json.dumps({"EventID": 1, "Channel": "Security"}))
    assert [row["error.code"] for row in rows] == [
        "invalid_json",
        "not_a_windows_event",
        "not_a_windows_event",
        "bad_time",
    ]
    assert rows[3]["event.dataset"] == "windows.security"


def test_hostile_names_do_not_make_columns_without_end() -> None:
    members = {f"m{number}": "x" for number in range(MOST_MEMBERS + 50)} | {"../../e": "y", "": "z", "a.b": "w"}
    parser = WindowsParser()
    [row] = rows_of(
        parser, json.dumps({"EventID": 1, "Channel": "x/y", "@timestamp": "2026-03-01T10:00:00Z", **members})
    )
    columns = [name for name in row if name.startswith("winlog.event_data.")]
    assert len(columns) <= MOST_MEMBERS
    assert row["event.dataset"] == "windows.other"
    rest = json.loads(row["winlog.rest"])
    assert rest["../../e"] == "y"
    assert len(columns) + len(rest) == len(members)
    parser.names = {f"winlog.event_data.k{number}" for number in range(4_096)}
    [row] = rows_of(parser, json.dumps({"EventID": 1, "Channel": "x", "SystemTime": 1e9, "new": 1, "k5": 2}), offset=9)
    has(row, {"winlog.rest": '{"new":1}', "winlog.event_data.k5": "2"})


def test_every_channel_has_a_dataset_that_may_be_stored() -> None:
    assert all(is_dataset(name) for name in CHANNELS)
    assert dataset_of("security") == "windows.security"
    assert dataset_of("../../x") == dataset_of(None) == "windows.other"


def test_records_with_the_same_members_share_a_table_in_whatever_order_they_come() -> None:
    record = {"EventID": 1, "Channel": SYSMON, "EventTime": "2026-03-01 10:00:00", "Opcode": "Info", "OpcodeValue": 0}
    other = dict(reversed({**record, "Opcode": None}.items()))
    lines = pl.Series([json.dumps(record), json.dumps(other)])
    (table,) = WindowsParser().parse(lines, pl.Series([0, 200]), reference=WHEN)
    assert table["winlog.opcode"].to_list() == ["Info", "0"]
