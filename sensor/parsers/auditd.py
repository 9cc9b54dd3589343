r"""The Linux audit log as auditd writes it (``/var/log/audit/audit.log``, format RAW or ENRICHED).

One event of the kernel is several records with one serial number: ``SYSCALL`` says who and what, ``EXECVE`` the
arguments, ``PATH`` the files. Each record is a row of dataset ``auditd``, for a rule asks for a record by its type;
what its event's ``SYSCALL`` and ``CWD`` records say is added where the record does not say it itself (``exe``,
``comm``, ``auid``, ``key``, ``cwd`` ...), and so rows hold what rules combine.

Fields keep their names behind ``auditd.data.``. Values in hexadecimal of fields that a user controls are decoded
(``a0``.. of EXECVE, ``name``, ``proctitle``, ``cwd`` ...), as ``ausearch -i`` does; fields that ENRICHED adds have the
upper-case names that it gives (``SYSCALL``, ``AUID``). A system call's name is filled in for x86-64 and aarch64 where
the log is RAW. ``saddr`` is taken apart to an address and a port.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import polars as pl

from event.fields import FIELDS
from sensor.audit_words import ARCHITECTURES, CREDENTIALS, SYSCALLS
from sensor.lines import BLANK, INSTANT, ROW, errors, finish, long

DATASET = "auditd"
ANOMALIES = {
    "not_auditd": "The line has no type= and msg=audit(time:serial): before its fields",
    "bad_time": "The stamp is no instant",
}
"""Code to what was violated."""

DATA = "auditd.data."
MOST_FIELDS = 512
"""Fields of one record that become columns; the rest stays in the line."""
MOST_NAMES = 2_048
"""Different fields of one input that become columns."""
MOST_EVENTS = 256
"""Events whose SYSCALL record is remembered for the records that follow."""
_MOST_SECONDS = 9_223_372_035

_HEAD = re.compile(
    r"^(?:node=(\S{1,255}) )?type=([A-Z0-9_\[\]]{1,64}) msg=audit\((\d{1,12})\.(\d{1,9}):(\d{1,20})\):\s?"
)
_FIELD = re.compile(r"""([A-Za-z0-9_][A-Za-z0-9_.:\[\]-]*)=("(?:[^"]*)"|'(?:[^']*)'|\S*)""")
_HEX = re.compile(r"(?:[0-9A-F]{2})+")
_UNTRUSTED = frozenset(
    {
        "name",
        "comm",
        "exe",
        "cwd",
        "proctitle",
        "cmd",
        "key",
        "acct",
        "data",
        "path",
        "dir",
        "file",
        "vm",
        "watch",
    }
)
_ARGUMENT = re.compile(r"a\d{1,4}(?:\[\d{1,4}\])?")
_SHARED = (
    "arch",
    "syscall",
    "SYSCALL",
    "success",
    "exit",
    "exe",
    "comm",
    "key",
    "tty",
    "pid",
    "ppid",
    "ses",
    "cwd",
    *CREDENTIALS,
)
"""Fields of SYSCALL and CWD records that the other records of their event get."""
_TYPES = {
    "EXECVE": "process",
    "SYSCALL": "process",
    "PROCTITLE": "process",
    "PATH": "file",
    "CWD": "file",
    "SOCKADDR": "network",
}
_NEVER = "4294967295"


@dataclass(slots=True)
class AuditdParser:
    """Remembers the last SYSCALL records, for their event may go on in the next block; offset 0 begins a new input."""

    name: str = "auditd"
    events: dict[tuple[str, str], dict[str, str]] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)

    def parse(self, lines: pl.Series, offsets: pl.Series, *, reference: datetime | None) -> list[pl.DataFrame]:
        """Turn lines into tables; see ``sensor.base.LineParser``."""
        if lines.is_empty():
            return []
        if offsets[0] == 0:
            self.events.clear()
            self.names.clear()
        bad: list[int] = []
        rows: list[int] = []
        records: list[dict[str, Any]] = []
        for row, text in enumerate(lines.to_list()):
            text = (text or "").strip(BLANK)
            if not text or text == "----":  # ausearch writes that between events
                continue
            record = self._record(text)
            if record is None:
                bad.append(row)
            else:
                rows.append(row)
                records.append(record)
        parts = [_table(rows[begin:end], records[begin:end]) for begin, end in _spans(records)]
        if bad:
            parts.append(errors(pl.Series(ROW, bad, dtype=pl.Int64), DATASET, "not_auditd", ANOMALIES["not_auditd"]))
        return finish(parts, lines.fill_null(""), offsets, module="auditd", reference=reference)

    def _record(self, text: str) -> dict[str, Any] | None:
        head = _HEAD.match(text)
        if head is None:
            return None
        node, kind, seconds, fraction, serial = head.groups()
        said = _fields(text[head.end() :], kind)
        if kind == "SYSCALL" and "SYSCALL" not in said:
            name = SYSCALLS.get(ARCHITECTURES.get(said.get("arch", ""), ""), {}).get(said.get("syscall", ""))
            if name is not None:
                said["SYSCALL"] = name
        key = (node or "", serial)
        if kind in ("SYSCALL", "CWD"):
            kept = self.events.setdefault(key, {})
            kept.update((name, said[name]) for name in _SHARED if name in said)
            if len(self.events) > MOST_EVENTS:
                del self.events[next(iter(self.events))]
        if kind != "SYSCALL":
            for name, value in self.events.get(key, {}).items():
                said.setdefault(name, value)
        record: dict[str, Any] = {
            "auditd.type": kind,
            "auditd.sequence": serial,
            "auditd.node": node,
            "host.name": node,
            "_seconds": int(seconds),
            "_nanos": int(fraction.ljust(9, "0")),
        }
        for name, value in said.items():
            column = DATA + name.replace("[", "_").replace("]", "").replace(".", "_")
            if column in self.names or (len(self.names) < MOST_NAMES and column in FIELDS):
                self.names.add(column)
                record[column] = value
        _derive(record, kind, said)
        return record


def _spans(records: list[dict[str, Any]]) -> list[tuple[int, int]]:
    """Cut so that no table has too many cells: a thousand records where they are wide."""
    widest = max((len(record) for record in records), default=1)
    size = max(1_024, 2_000_000 // max(1, widest))
    return [(begin, min(begin + size, len(records))) for begin in range(0, len(records), size)]


def _fields(text: str, kind: str) -> dict[str, str]:
    """``name=value`` pairs; those within ``msg='...'`` and behind the mark of ENRICHED too."""
    found: dict[str, str] = {}
    for part in text.split("\x1d"):
        for name, value in _FIELD.findall(part):
            if len(found) >= MOST_FIELDS:
                return found
            if name == "msg" and value.startswith("'"):
                for inner, one in _FIELD.findall(value.strip("'")):
                    found.setdefault(inner, _value(inner, one, kind))
            else:
                found.setdefault(name, _value(name, value, kind))
    return found


def _value(name: str, value: str, kind: str) -> str:
    if value.startswith('"'):
        return value.strip('"')
    if value.startswith("'"):
        return value.strip("'")
    free = name in _UNTRUSTED or (kind == "EXECVE" and _ARGUMENT.fullmatch(name) is not None)
    if free and _HEX.fullmatch(value):
        separator = " " if name == "proctitle" else "\0"
        return bytes.fromhex(value).decode("utf-8", "replace").replace("\0", separator).rstrip("\0")
    return value


def _derive(record: dict[str, Any], kind: str, said: Mapping[str, str]) -> None:
    """What ECS calls it."""
    record["process.executable"] = said.get("exe")
    record["process.name"] = said.get("comm")
    record["process.pid"] = said.get("pid")
    record["process.parent.pid"] = said.get("ppid")
    record["process.working_directory"] = said.get("cwd")
    record["process.title"] = said.get("proctitle")
    login = said.get("auid")
    record["user.id"] = said.get("uid") if login in (None, _NEVER) else login
    record["user.effective.id"] = said.get("euid")
    record["user.name"] = (
        said.get("acct") or said.get("AUID") or said.get("UID") or ("root" if said.get("uid") == "0" else None)
    )
    if kind == "EXECVE":
        words = [said[name] for name in (f"a{number}" for number in range(MOST_FIELDS)) if name in said]
        record["process.command_line"] = " ".join(words) or None
    elif kind == "PATH":
        record["file.path"] = _joined(said.get("cwd"), said.get("name"))
    elif kind == "SOCKADDR":
        _address(record, said.get("saddr", ""))
    outcome = said.get("success") or said.get("res")
    record["event.outcome"] = {
        "yes": "success",
        "success": "success",
        "1": "success",
        "no": "failure",
        "failed": "failure",
    }.get(outcome or "")
    address = said.get("addr")
    if address and address != "?" and "source.ip" not in record:
        record["source.ip"] = _ip(address)


def _joined(folder: str | None, name: str | None) -> str | None:
    if name is None or name.startswith("/") or not folder or name == "(null)":
        return name
    return f"{folder.rstrip('/')}/{name.removeprefix('./')}"


def _ip(text: str) -> str | None:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return None


def _address(record: dict[str, Any], saddr: str) -> None:
    """``struct sockaddr`` in hexadecimal: family (host order), port, address."""
    try:
        raw = bytes.fromhex(saddr)
    except ValueError:
        return
    family = int.from_bytes(raw[:2], "little")
    if family == 2 and len(raw) >= 8:
        record["destination.port"] = str(int.from_bytes(raw[2:4], "big"))
        record["destination.ip"] = str(ipaddress.IPv4Address(raw[4:8]))
    elif family == 10 and len(raw) >= 24:
        record["destination.port"] = str(int.from_bytes(raw[2:4], "big"))
        record["destination.ip"] = str(ipaddress.IPv6Address(raw[8:24]))


def _table(rows: list[int], records: list[dict[str, Any]]) -> pl.DataFrame:
    names = dict.fromkeys(name for record in records for name in record)
    columns = []
    for name in names:
        if name in ("_seconds", "_nanos"):
            continue
        series = pl.Series(name, [record.get(name) for record in records], dtype=pl.String)
        columns.append(long(series).alias(name) if FIELDS[name].kind == "long" else series)
    known = [record["_seconds"] <= _MOST_SECONDS for record in records]
    times = [
        record["_seconds"] * 1_000_000_000 + record["_nanos"] if fits else None
        for record, fits in zip(records, known, strict=True)
    ]
    frame = pl.DataFrame(columns).with_columns(
        pl.Series(ROW, rows, dtype=pl.Int64),
        pl.Series("@timestamp", times, dtype=pl.Int64).cast(INSTANT),
        pl.lit(DATASET).alias("event.dataset"),
        pl.col("auditd.type").str.to_lowercase().alias("event.action"),
        pl.concat_list(pl.col("auditd.type").replace_strict(_TYPES, default="host", return_dtype=pl.String)).alias(
            "event.category"
        ),
    )
    if all(known):
        return frame
    wrong = pl.Series([not one for one in known])
    return frame.with_columns(
        pl.when(wrong).then(pl.lit("pipeline_error")).otherwise(pl.lit("event")).alias("event.kind"),
        pl.when(wrong).then(pl.lit("bad_time")).alias("error.code"),
        pl.when(wrong).then(pl.lit(ANOMALIES["bad_time"])).alias("error.message"),
    )


PARSER = AuditdParser()
"""For one input at a time; ``AuditdParser()`` makes another."""
