"""What ECS and Sysmon call what Windows events say: further columns beside the members' own."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import polars as pl

from event.channels import LINUX_SYSMON, SECURITY, SYSMON
from sensor.lines import ip, long
from sensor.windows_records import DATA

_CATEGORY = {
    **dict.fromkeys(("1", "5", "8", "10", "25"), "process"),
    **dict.fromkeys(("2", "11", "15", "23", "26", "27", "28", "29"), "file"),
    **dict.fromkeys(("3", "22"), "network"),
    **dict.fromkeys(("12", "13", "14"), "registry"),
    **dict.fromkeys(("6", "7"), "driver"),
}

_FIRST = pl.coalesce


def _data(name: str) -> pl.Expr:
    return pl.col(DATA + name)


def _account(column: pl.Expr) -> pl.Expr:
    """The user's name without the domain before it."""
    return column.str.extract(r"([^\\]+)$", 1)


def _address(series: pl.Series) -> pl.Series:
    return ip(series.str.strip_prefix("::ffff:"))


_ECS: tuple[tuple[str, tuple[str, ...], Callable[[pl.Series], pl.Series] | None], ...] = (
    ("process.executable", ("Image", "SourceImage", "NewProcessName", "ProcessName", "Application"), None),
    ("process.command_line", ("CommandLine",), None),
    ("process.working_directory", ("CurrentDirectory",), None),
    ("process.parent.executable", ("ParentImage", "ParentProcessName"), None),
    ("process.parent.command_line", ("ParentCommandLine",), None),
    ("source.ip", ("SourceIp", "IpAddress", "SourceAddress", "ClientAddress"), _address),
    ("source.port", ("SourcePort", "IpPort"), long),
    ("destination.ip", ("DestinationIp", "DestAddress", "DestinationAddress"), _address),
    ("destination.port", ("DestinationPort", "DestPort"), long),
    ("destination.domain", ("DestinationHostname",), None),
    ("network.initiated", ("Initiated",), None),
    ("file.path", ("TargetFilename",), None),
    ("registry.path", ("TargetObject",), None),
    ("registry.data.strings", ("Details",), None),
    ("dns.question.name", ("QueryName",), lambda series: series.str.to_lowercase()),
)


_USERS = (("User", ""), ("SubjectUserName", "SubjectDomainName"), ("TargetUserName", "TargetDomainName"))
"""Members that name an account, and its domain where it does not stand before the name; the best first."""


def _user(have: set[str]) -> list[pl.Expr]:
    """``user.name`` and ``user.domain`` of the first account that a record names."""
    name = domain = pl.lit(None, pl.String)
    for member, realm in reversed(_USERS):
        if DATA + member in have:
            own = _account(_data(member))
            beside = _data(realm) if DATA + realm in have else _data(member).str.extract(r"^([^\\]+)\\", 1)
            domain = pl.when(own.is_not_null()).then(beside).otherwise(domain)
            name = pl.coalesce(own, name)
    return [name.alias("user.name"), domain.alias("user.domain")]


def derived(frame: pl.DataFrame, dataset: str) -> pl.DataFrame:
    """Names that Sysmon uses beside those of the Security log and of Defender, and the fields of ECS."""
    have = set(frame.columns)
    if dataset == SECURITY:
        frame = _audit(frame, have)
    elif dataset == "windows.windefend":
        frame = _beside(frame, {"Signature": ("ThreatName", r"^(.*)$"), "Filename": ("Path", r"^(?:\w+:_)?(.*)$")})
    elif dataset in ("windows.application", "windows.powershell_classic", "windows.msexchange_management"):
        frame = _unnamed(frame, have)
    have = set(frame.columns)
    made: list[pl.Series] = []
    for target, names, convert in _ECS:
        value: pl.Series | None = None
        for name in names:
            if DATA + name in have:
                one = frame[DATA + name]
                one = convert(one) if convert is not None else one
                value = one if value is None else pl.select(pl.coalesce(value, one)).to_series()
        if value is not None:
            made.append(value.alias(target))
    if any(DATA + name in have for name, _ in _USERS):
        made += frame.select(_user(have)).get_columns()
    if dataset in (SYSMON, LINUX_SYSMON):
        if DATA + "ProcessId" in have:
            made.append(long(frame[DATA + "ProcessId"]).alias("process.pid"))
        if DATA + "ParentProcessId" in have:
            made.append(long(frame[DATA + "ParentProcessId"]).alias("process.parent.pid"))
        if DATA + "Protocol" in have:
            made.append(frame[DATA + "Protocol"].str.to_lowercase().alias("network.transport"))
        if DATA + "Hashes" in have:
            for kind, size in (("sha256", 64), ("md5", 32)):
                found = frame[DATA + "Hashes"].str.extract(rf"(?i)\b{kind}=([0-9A-F]{{{size}}})", 1)
                made.append(found.str.to_lowercase().alias(f"file.hash.{kind}"))
        if "event.code" in have:
            word = pl.col("event.code").replace_strict(_CATEGORY, default="host", return_dtype=pl.String)
            made.append(frame.select(pl.concat_list(word).alias("event.category")).to_series())
    return frame.with_columns(made)


def _beside(frame: pl.DataFrame, names: Mapping[str, tuple[str, str]]) -> pl.DataFrame:
    """A second name for a member, where the record does not have it itself."""
    made = [
        _data(old).str.extract(pattern, 1).alias(DATA + new)
        for new, (old, pattern) in names.items()
        if DATA + old in frame.columns and DATA + new not in frame.columns
    ]
    return frame.with_columns(made)


def _unnamed(frame: pl.DataFrame, have: set[str]) -> pl.DataFrame:
    """Winlogbeat numbers what has no name (``param1``); rules ask for ``Data``. Failing both, the message has it."""
    numbered = sorted((name for name in have if name.startswith(DATA + "param")), key=lambda name: (len(name), name))
    options = [_data("Data")] if DATA + "Data" in have else []
    if numbered:
        text = pl.concat_str([pl.col(name) for name in numbered], separator="\n", ignore_nulls=True)
        options.append(pl.when(text != "").then(text))
    if "message" in have:
        options.append(pl.col("message"))
    return frame.with_columns(_FIRST(options).alias(DATA + "Data")) if options else frame


_TAKEN = frozenset(DATA + name for name in ("SubjectDomainName", "SubjectUserName", "ObjectName", "ObjectValueName"))


def takes_part(target: str) -> bool:
    """Whether ``together`` looks at a member of this target, beside the fields themselves."""
    return target in _TAKEN or target == "message" or target.startswith(DATA + "param")


def together(dataset: str, code: str, field: str, members: Mapping[str, str | None]) -> str | None:
    """What ``derived`` makes of several members of one record, in fields whose own member comes first.

    Args:
        dataset: Of the record.
        code: Its event code.
        field: One of those that ``_unnamed`` and ``_audit`` put together.
        members: Target to text.
    """
    own = members.get(field)
    if own is not None:
        return own
    if dataset != SECURITY:
        names = sorted(
            (name for name in members if name.startswith(DATA + "param")), key=lambda name: (len(name), name)
        )
        return "\n".join(text for name in names if (text := members[name]) is not None) or members.get("message")
    if field == DATA + "EventType":
        return "SetValue" if code == "4657" else None
    if field == DATA + "User":
        pieces = [members.get(DATA + "SubjectDomainName"), members.get(DATA + "SubjectUserName")]
    else:
        path = members.get(DATA + "ObjectName")
        for pattern, short in _HIVES:
            path = path if path is None else re.sub(pattern, re.escape(short), path, count=1)
        pieces = [path, members.get(DATA + "ObjectValueName")]
    return None if None in pieces else "\\".join(map(str, pieces))


INTEGRITY = {
    "S-1-16-0": "Untrusted",
    "S-1-16-4096": "Low",
    "S-1-16-8192": "Medium",
    "S-1-16-8448": "Medium Plus",
    "S-1-16-12288": "High",
    "S-1-16-16384": "System",
}
"""Mandatory label to the level of integrity, in the word of Sysmon."""
DIRECTIONS = {"%%14593": "true", "%%14592": "false"}
"""Direction of a connection to whether this host began it."""
_HIVES = (
    (r"(?i)^\\REGISTRY\\MACHINE\\", "HKLM\\"),
    (r"(?i)^\\REGISTRY\\USER\\", "HKU\\"),
)


def _audit(frame: pl.DataFrame, have: set[str]) -> pl.DataFrame:
    """Events 4688, 4657 and 5156 in the words of Sysmon."""
    if "event.code" not in have:
        return frame
    wanted: dict[str, list[pl.Expr]] = {}

    def add(code: str, name: str, value: pl.Expr, *needs: str) -> None:
        if all(DATA + one in have for one in needs):
            wanted.setdefault(name, []).append(pl.when(pl.col("event.code") == code).then(value))

    add("4688", "Image", _data("NewProcessName"), "NewProcessName")
    add("4688", "ParentImage", _data("ParentProcessName"), "ParentProcessName")
    add("4688", "LogonId", _data("SubjectLogonId"), "SubjectLogonId")
    if DATA + "MandatoryLabel" in have:
        label = _data("MandatoryLabel").replace_strict(INTEGRITY, default=None, return_dtype=pl.String)
        add("4688", "IntegrityLevel", label)
    account = pl.concat_str(_data("SubjectDomainName"), pl.lit("\\"), _data("SubjectUserName"))
    for code in ("4688", "4657"):
        add(code, "User", account, "SubjectDomainName", "SubjectUserName")
    if DATA + "ObjectName" in have and DATA + "ObjectValueName" in have:
        path = _data("ObjectName")
        for pattern, short in _HIVES:
            path = path.str.replace(pattern, short)
        add("4657", "TargetObject", pl.concat_str(path, pl.lit("\\"), _data("ObjectValueName")))
    add("4657", "Details", _data("NewValue"), "NewValue")
    add("4657", "Image", _data("ProcessName"), "ProcessName")
    add("4657", "EventType", pl.lit("SetValue"))
    add("5156", "Image", _data("Application"), "Application")
    add("5156", "SourceIp", _data("SourceAddress"), "SourceAddress")
    add("5156", "DestinationIp", _data("DestAddress"), "DestAddress")
    add("5156", "DestinationPort", _data("DestPort"), "DestPort")
    if DATA + "Direction" in have:
        way = _data("Direction").replace_strict(DIRECTIONS, default=None, return_dtype=pl.String)
        add("5156", "Initiated", way)
    return frame.with_columns(
        _FIRST([*([_data(name)] if DATA + name in have else []), *options]).alias(DATA + name)
        for name, options in wanted.items()
    )
