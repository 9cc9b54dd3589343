r"""Windows events: JSON lines as Winlogbeat, NXLog and dumps of EVTX files have them.

EVTX files themselves are read by ``sensor/evtx.py``, which hands its records to the same functions.

Dataset ``windows.<channel>`` (``event.channels``). Members of System get fields of their own, every member of EventData
or UserData becomes the column ``winlog.event_data.<name>``, text as it came: numbers and booleans in their JSON
spelling, several values of one member on lines of their own. What ECS has a field for is filled too, so that a host's
events and the network's are found by one search.

Shapes that are taken:

* nested, as ``evtx_dump`` prints it: ``{"Event": {"System": {..}, "EventData": {..}}}``, also without ``Event``;
* Winlogbeat, nested or with dotted keys: ``{"winlog": {"channel": .., "event_data": {..}}, ..}``;
* flat, as NXLog and the Mordor data sets have it: ``{"EventID": 1, "Channel": .., "Image": ..}``.

Events of the Security log that say what Sysmon says (4688, 4657, 5156) get the names that Sysmon uses beside their
own. Records of the same keys are handled together, so that a table has one column operation for thousands of events.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
import polars as pl

from event.channels import LINUX_SYSMON, OTHER, SECURITY, SYSMON, dataset_of
from event.fields import FIELDS
from event.table import concat
from sensor.lines import BLANK, INSTANT, ROW, errors, finish, instants, ip, long, seconds_to_ns

ANOMALIES = {
    "invalid_json": "The line is not one JSON object",
    "not_a_windows_event": "The object has neither an event code nor a channel where Windows events have it",
    "bad_time": "The record's time is no instant (years 1678 to 2261)",
    "bad_record": "The EVTX record or chunk is damaged",
}
"""Code to what was violated."""

DATA = "winlog.event_data."
MOST_MEMBERS = 512
"""Members of one record that become columns; the others go to ``winlog.rest``."""
MOST_NAMES = 4_096
"""Different members of one input that become columns; new names beyond go to ``winlog.rest``."""
MOST_CELLS = 4_000_000
"""Columns times rows of a table: hostile names must not cost a column of a large table each."""
MOST_SHAPES = 2_048
"""Different lists of keys within a block; records beyond are read by themselves and share ``winlog.rest``."""
_DEPTH = 8

_EVTX = {
    "EventID": "event.code",
    "Channel": "winlog.channel",
    "Provider.Name": "winlog.provider_name",
    "Computer": "host.name",
    "EventRecordID": "winlog.record_id",
    "Version": "winlog.version",
    "Level": "winlog.level",
    "Task": "winlog.task",
    "Opcode": "winlog.opcode",
    "Keywords": "winlog.keywords",
    "Execution.ProcessID": "winlog.process.pid",
    "Execution.ThreadID": "winlog.process.thread.id",
    "Security.UserID": "winlog.user.identifier",
    "TimeCreated.SystemTime": "_time1",
}
_BEAT = {
    "winlog.event_id": "event.code",
    "event.code": "event.code",
    "event_id": "event.code",
    "winlog.channel": "winlog.channel",
    "log_name": "winlog.channel",
    "winlog.provider_name": "winlog.provider_name",
    "source_name": "winlog.provider_name",
    "winlog.computer_name": "host.name",
    "computer_name": "host.name",
    "host.name": "host.name",
    "winlog.record_id": "winlog.record_id",
    "record_number": "winlog.record_id",
    "winlog.version": "winlog.version",
    "version": "winlog.version",
    "log.level": "winlog.level",
    "level": "winlog.level",
    "winlog.level": "winlog.level",
    "winlog.task": "winlog.task",
    "task": "winlog.task",
    "winlog.opcode": "winlog.opcode",
    "opcode": "winlog.opcode",
    "winlog.keywords": "winlog.keywords",
    "keywords": "winlog.keywords",
    "winlog.process.pid": "winlog.process.pid",
    "winlog.process.thread.id": "winlog.process.thread.id",
    "winlog.user.identifier": "winlog.user.identifier",
    "user.identifier": "winlog.user.identifier",
    "message": "message",
    "@timestamp": "_time2",
    "event.created": "_created",
}
_FLAT = {
    "EventID": "event.code",
    "EventId": "event.code",
    "Channel": "winlog.channel",
    "LogName": "winlog.channel",
    "Provider_Name": "winlog.provider_name",
    "ProviderName": "winlog.provider_name",
    "SourceName": "winlog.provider_name",
    "Computer": "host.name",
    "Hostname": "host.name",
    "ComputerName": "host.name",
    "EventRecordID": "winlog.record_id",
    "RecordNumber": "winlog.record_id",
    "RecordId": "winlog.record_id",
    "Version": "winlog.version",
    "Level": "winlog.level",
    "Severity": "winlog.level",
    "Task": "winlog.task",
    "Opcode": "winlog.opcode",
    "OpcodeValue": "winlog.opcode",
    "Keywords": "winlog.keywords",
    "ProcessID": "winlog.process.pid",
    "ExecutionProcessID": "winlog.process.pid",
    "ThreadID": "winlog.process.thread.id",
    "ExecutionThreadID": "winlog.process.thread.id",
    "UserID": "winlog.user.identifier",
    "Message": "message",
    "SystemTime": "_time1",
    "TimeCreated": "_time1",
    "@timestamp": "_time2",
    "EventTime": "_time3",
    "EventReceivedTime": "_created",
}
_DROPPED = frozenset(
    {"@version", "tags", "port", "host", "type", "SourceModuleName", "SourceModuleType", "SeverityValue"}
)
"""What collectors add beside the event; the line keeps it."""
_LEVELS = {
    "critical": 1,
    "error": 2,
    "warning": 3,
    "information": 4,
    "info": 4,
    "informational": 4,
    "verbose": 5,
    "debug": 5,
    "1": 1,
    "2": 2,
    "3": 3,
    "4": 4,
    "5": 5,
}
_LEVEL_WORDS = {1: "critical", 2: "error", 3: "warning", 4: "information", 5: "verbose"}
_CATEGORY = {
    **dict.fromkeys(("1", "5", "8", "10", "25"), "process"),
    **dict.fromkeys(("2", "11", "15", "23", "26", "27", "28", "29"), "file"),
    **dict.fromkeys(("3", "22"), "network"),
    **dict.fromkeys(("12", "13", "14"), "registry"),
    **dict.fromkeys(("6", "7"), "driver"),
}
_NUMBERS = ("winlog.version", "winlog.process.pid", "winlog.process.thread.id")
_TIMES = ("_time1", "_time2", "_time3")

Pairs = tuple[tuple[str, ...], Sequence[Any]]
"""Targets (a field, or ``DATA`` and a member, or what is told apart later), and their values."""


class NotWindows(ValueError):
    """The object is no Windows event."""


@dataclass(slots=True)
class WindowsParser:
    """Remembers which members have become columns, to bound them; offset 0 begins a new input."""

    name: str = "windows"
    names: set[str] = field(default_factory=set)

    def parse(self, lines: pl.Series, offsets: pl.Series, *, reference_year: int | None) -> list[pl.DataFrame]:
        """Turn lines into tables; see ``sensor.base.LineParser``."""
        if lines.is_empty():
            return []
        if offsets[0] == 0:
            self.names.clear()
        bad: dict[str, list[int]] = {}
        parts = tables(_documents(lines, bad), self.names, bad)
        for code, rows in bad.items():
            parts.append(errors(pl.Series(ROW, rows, dtype=pl.Int64), OTHER, code, ANOMALIES[code]))
        return finish_each(parts, lines.fill_null(""), offsets, reference_year)


def _documents(lines: pl.Series, bad: dict[str, list[int]]) -> Iterator[tuple[int, Any]]:
    """Objects one by one: none lives longer than it takes to take its values."""
    for row, text in enumerate(lines.to_list()):
        text = (text or "").strip(BLANK)
        if text:
            try:
                document = orjson.loads(text)
            except orjson.JSONDecodeError:
                bad.setdefault("invalid_json", []).append(row)
                continue
            yield row, document


def finish_each(
    parts: Sequence[pl.DataFrame], lines: pl.Series, offsets: pl.Series, reference_year: int | None
) -> list[pl.DataFrame]:
    """``sensor.lines.finish``, keeping apart what is apart because it is wide."""
    whole: dict[str, list[pl.DataFrame]] = {}
    for part in parts:
        whole.setdefault(str(part["event.dataset"][0]), []).append(part)
    made: list[pl.DataFrame] = []
    for some in whole.values():
        for group in _within(some):
            made += finish(group, lines, offsets, module="windows", reference_year=reference_year)
    return made


def _within(parts: Sequence[pl.DataFrame]) -> Iterable[list[pl.DataFrame]]:
    """Cut a list of tables where columns times rows would pass the bound."""
    group: list[pl.DataFrame] = []
    columns: set[str] = set()
    rows = 0
    for part in parts:
        wider, longer = columns.union(part.columns), rows + part.height
        if group and len(wider) * longer > MOST_CELLS:
            yield group
            group, wider, longer = [], set(part.columns), part.height
        group.append(part)
        columns, rows = wider, longer
    if group:
        yield group


def tables(documents: Iterable[tuple[int, Any]], names: set[str], bad: dict[str, list[int]]) -> list[pl.DataFrame]:
    """Make tables of documents, one or more a dataset.

    Args:
        documents: Row number and object.
        names: Members of this input that are columns; grows up to ``MOST_NAMES``.
        bad: Rows of objects that are no Windows event are added here, by anomaly code.

    Returns:
        Tables with ``_row``, ``event.dataset``, ``@timestamp`` (null where it is not known) and fields.
    """
    shapes: dict[tuple[str, tuple[str, ...]], tuple[list[int], list[Sequence[Any]]]] = {}
    for row, document in documents:
        try:
            targets, values = pairs_of(document)
        except NotWindows:
            bad.setdefault("not_a_windows_event", []).append(row)
            continue
        channel = values[targets.index("winlog.channel")] if "winlog.channel" in targets else None
        dataset = dataset_of(channel if isinstance(channel, str) else None)
        shape = shapes.get((dataset, targets))
        if shape is None:
            if len(shapes) >= MOST_SHAPES:
                targets, values = _as_rest(targets, values)
            shape = shapes.setdefault((dataset, targets), ([], []))
        shape[0].append(row)
        shape[1].append(values)
    raw: dict[str, list[pl.DataFrame]] = {}
    for (dataset, targets), (rows, records) in shapes.items():
        raw.setdefault(dataset, []).append(_shape_table(targets, rows, records, names))
    return [
        _derived(_system(concat(group), dataset), dataset) for dataset, some in raw.items() for group in _within(some)
    ]


def _as_rest(targets: tuple[str, ...], values: Sequence[Any]) -> Pairs:
    """All members of EventData in one JSON object: for a record whose shape is one too many."""
    data = {
        name.removeprefix(DATA): value for name, value in zip(targets, values, strict=True) if name.startswith(DATA)
    }
    kept = [(name, value) for name, value in zip(targets, values, strict=True) if not name.startswith(DATA)]
    return (*(name for name, _ in kept), "winlog.rest"), [*(value for _, value in kept), data]


# From an object to targets and values.


def pairs_of(document: Any) -> Pairs:
    """Targets and values of one record.

    Raises:
        NotWindows: It is none.
    """
    if not isinstance(document, dict):
        raise NotWindows
    known = _FLAT_SHAPES.get(tuple(document))
    if known is not None:
        return _flat(document, known)
    event = document.get("Event")
    if isinstance(event, dict) and isinstance(event.get("System"), dict):
        return _evtx(event)
    if isinstance(document.get("System"), dict):
        return _evtx(document)
    if "winlog" in document or "winlog.channel" in document or "event_data" in document or "log_name" in document:
        return _beat(document)
    if "EventID" in document or "EventId" in document:
        keys = tuple(document)
        known = _flat_shape(keys)
        if len(keys) <= MOST_MEMBERS:
            if len(_FLAT_SHAPES) >= MOST_SHAPES:
                _FLAT_SHAPES.clear()
            _FLAT_SHAPES[keys] = known
        return _flat(document, known)
    raise NotWindows


def _evtx(event: Mapping[str, Any]) -> Pairs:
    targets: list[str] = []
    values: list[Any] = []
    for key, value in event["System"].items():
        if isinstance(value, dict):
            inner = value.get("#attributes", value)
            text = value.get("#text", value.get("Value"))
            if key in _EVTX and text is not None:
                targets.append(_EVTX[key])
                values.append(text)
                continue
            for name, one in inner.items() if isinstance(inner, dict) else ():
                target = _EVTX.get(f"{key}.{name}")
                if target is not None:
                    targets.append(target)
                    values.append(one)
        elif key in _EVTX:
            targets.append(_EVTX[key])
            values.append(value)
        elif key == "TimeCreated":
            targets.append("_time1")
            values.append(value)
    seen = set(targets)
    for part in ("EventData", "UserData"):
        data = event.get(part)
        if isinstance(data, dict):
            _members(data, targets, values, seen, 1)
        elif data is not None and not isinstance(data, list):
            targets.append(DATA + "Data")
            values.append(data)
    return tuple(targets), values


def _members(data: Mapping[str, Any], targets: list[str], values: list[Any], seen: set[str], depth: int) -> None:
    """Members of EventData or UserData; wrappers fall away, a leaf's own name stays."""
    for key, value in data.items():
        if key == "#attributes":
            continue
        if isinstance(value, dict):
            if "#text" in value:
                value = value["#text"]
            elif depth < _DEPTH:
                _members(value, targets, values, seen, depth + 1)
                continue
        name = DATA + ("Data" if key == "#text" else key)
        if name in seen:
            name = f"{name}_{len(targets)}"
        seen.add(name)
        targets.append(name)
        values.append(value)


def _beat(document: Mapping[str, Any]) -> Pairs:
    found: dict[str, Any] = {}
    data: dict[str, Any] = {}

    def walk(level: Mapping[str, Any], prefix: str, depth: int) -> None:
        for key, value in level.items():
            path = prefix + key
            if path in ("winlog.event_data", "winlog.user_data", "event_data", "user_data") and isinstance(value, dict):
                data.update((name, one) for name, one in value.items() if name != "xml_name")
            elif path.startswith(("winlog.event_data.", "winlog.user_data.")):
                data.setdefault(path.split(".", 2)[2], value)
            elif isinstance(value, dict) and depth < _DEPTH:
                walk(value, path + ".", depth + 1)
            else:
                target = _BEAT.get(path)
                if target is not None and value is not None:
                    found.setdefault(target, value)

    walk(document, "", 1)
    if "event.code" not in found and "winlog.channel" not in found:
        raise NotWindows
    targets, values = list(found), list(found.values())
    _members(data, targets, values, set(targets), 1)
    return tuple(targets), values


_Getter = Callable[[Sequence[Any]], Sequence[Any]]
_Shape = tuple[tuple[str, ...], _Getter | None]
_FLAT_SHAPES: dict[tuple[str, ...], _Shape] = {}
"""Keys of a flat record to its targets and what picks their values: thousands of records share their keys."""


def _flat(document: Mapping[str, Any], known: _Shape) -> Pairs:
    targets, pick = known
    values: Sequence[Any] = tuple(document.values())
    if pick is not None:
        values = pick(values)
    if dict not in map(type, values):
        return targets, values
    flat: list[str] = []
    leaves: list[Any] = []
    seen: set[str] = set()
    for target, value in zip(targets, values, strict=True):
        if isinstance(value, dict):
            _members(value, flat, leaves, seen, 2)
        elif target not in seen:
            seen.add(target)
            flat.append(target)
            leaves.append(value)
    return tuple(flat), leaves


def _flat_shape(keys: Sequence[str]) -> _Shape:
    found: dict[str, int] = {}
    for place, key in enumerate(keys):
        target = _FLAT.get(key)
        if target is None and key not in _DROPPED:
            target = DATA + key
        if target is not None:
            found.setdefault(target, place)
    places = list(found.values())
    if len(places) == len(keys):
        return tuple(found), None
    return tuple(found), lambda values: [values[place] for place in places]


# From records of one shape to a table.


def _shape_table(
    targets: tuple[str, ...], rows: Sequence[int], records: Sequence[Sequence[Any]], names: set[str]
) -> pl.DataFrame:
    columns: dict[str, pl.Series] = {ROW: pl.Series(ROW, rows, dtype=pl.Int64)}
    rest: list[tuple[str | None, Sequence[Any]]] = []
    members = 0
    for target, values in zip(targets, zip(*records, strict=True), strict=True):
        if target.startswith(DATA):
            plain, target = target.removeprefix(DATA), _name(target)
            fits = members < MOST_MEMBERS and target in FIELDS and target not in columns
            if fits and target not in names:
                fits = len(names) < MOST_NAMES
                if fits:
                    names.add(target)
            if not fits:
                rest.append((plain, values))
                continue
            members += 1
            columns[target] = texts(target, values)
            if " " in target:
                columns[target.replace(" ", "")] = columns[target].alias(target.replace(" ", ""))
                columns[target.replace(" ", "_")] = columns.pop(target).alias(target.replace(" ", "_"))
        elif target == "winlog.rest":
            rest.append((None, values))
        elif target not in columns:
            columns[target] = texts(target, values)
    if rest:
        columns["winlog.rest"] = _rest(rest, len(rows))
    return pl.DataFrame(list(columns.values()))


def _name(target: str) -> str:
    """A member's name without what names must not hold: dots would make parents of it."""
    plain = target[len(DATA) :]
    return DATA + plain.replace(".", "_") if "." in plain else target


def _rest(parts: Sequence[tuple[str | None, Sequence[Any]]], height: int) -> pl.Series:
    made: list[str | None] = []
    for row in range(height):
        one: dict[str, Any] = {}
        for name, values in parts:
            value = values[row]
            if name is not None:
                one[name] = value
            elif isinstance(value, dict):
                one.update(value)
        made.append(orjson.dumps(one, option=orjson.OPT_NON_STR_KEYS).decode() if one else None)
    return pl.Series("winlog.rest", made, dtype=pl.String)


_PLAIN = frozenset({str, type(None)})
_WHOLE = frozenset({int, type(None)})


def texts(name: str, values: Sequence[Any]) -> pl.Series:
    """A column of text: text stays, other values in their JSON spelling, several values one a line."""
    kinds = frozenset(map(type, values))
    if kinds <= _PLAIN:
        return pl.Series(name, values, dtype=pl.String)
    if kinds <= _WHOLE:
        try:
            return pl.Series(name, values, dtype=pl.Int64).cast(pl.String)
        except OverflowError:
            pass
    return pl.Series(name, [_text(value) for value in values], dtype=pl.String)


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, list) and all(not isinstance(one, list | dict) for one in value):
        return "\n".join(text for text in map(_text, value) if text is not None)
    try:
        return orjson.dumps(value).decode()
    except (TypeError, ValueError):
        return None  # too deep or too large to be written; the line itself is kept


def _system(frame: pl.DataFrame, dataset: str) -> pl.DataFrame:
    """Members of System to the types of their fields, the time, and the dataset."""
    made = [long(frame[name]).alias(name) for name in _NUMBERS if name in frame.columns]
    if "winlog.level" in frame.columns:
        made.append(
            frame["winlog.level"].str.to_lowercase().replace_strict(_LEVELS, default=None, return_dtype=pl.Int64)
        )
        made.append(made[-1].replace_strict(_LEVEL_WORDS, default=None, return_dtype=pl.String).alias("log.level"))
    when = pl.Series("@timestamp", [None] * frame.height, dtype=INSTANT)
    for name in (*_TIMES, DATA + "UtcTime"):
        if name in frame.columns and when.null_count():
            when = pl.select(pl.coalesce(when, _instant(frame[name]))).to_series().alias("@timestamp")
    made.append(when)
    if "_created" in frame.columns:
        made.append(_instant(frame["_created"]).alias("event.created"))
    bad = when.is_null()
    if bad.any():
        made.append(pl.Series("event.kind", ["pipeline_error" if one else "event" for one in bad], dtype=pl.String))
        made.append(pl.Series("error.code", ["bad_time" if one else None for one in bad], dtype=pl.String))
        made.append(
            pl.Series("error.message", [ANOMALIES["bad_time"] if one else None for one in bad], dtype=pl.String)
        )
    made.append(pl.Series("event.dataset", [dataset], dtype=pl.String).new_from_index(0, frame.height))
    return frame.with_columns(made).drop("_created", *_TIMES, strict=False)


def _instant(text: pl.Series) -> pl.Series:
    """RFC 3339, or seconds since 1970 as Velociraptor writes them."""
    found = instants(text)
    if found.null_count() > text.null_count():
        seconds = seconds_to_ns(text).cast(INSTANT)
        found = pl.select(pl.coalesce(found, seconds)).to_series()
    return found


# What ECS calls it.

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


def _derived(frame: pl.DataFrame, dataset: str) -> pl.DataFrame:
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
    users = [_account(_data(name)) for name in ("User", "SubjectUserName", "TargetUserName") if DATA + name in have]
    if users:
        made.append(frame.select(_FIRST(users).alias("user.name")).to_series())
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


_INTEGRITY = {
    "S-1-16-0": "Untrusted",
    "S-1-16-4096": "Low",
    "S-1-16-8192": "Medium",
    "S-1-16-8448": "Medium Plus",
    "S-1-16-12288": "High",
    "S-1-16-16384": "System",
}
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
        label = _data("MandatoryLabel").replace_strict(_INTEGRITY, default=None, return_dtype=pl.String)
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
        way = _data("Direction").replace_strict(
            {"%%14593": "true", "%%14592": "false"}, default=None, return_dtype=pl.String
        )
        add("5156", "Initiated", way)
    return frame.with_columns(
        _FIRST([*([_data(name)] if DATA + name in have else []), *options]).alias(DATA + name)
        for name, options in wanted.items()
    )


PARSER = WindowsParser()
"""For one input at a time; ``WindowsParser()`` makes another."""
