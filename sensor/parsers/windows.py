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

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson
import polars as pl

from event.channels import OTHER, dataset_of
from event.fields import FIELDS
from event.table import concat
from sensor.lines import BLANK, INSTANT, ROW, errors, finish, instants, long, seconds_to_ns
from sensor.windows_names import derived
from sensor.windows_records import DATA, MOST_MEMBERS, MOST_SHAPES, TIMES, NotWindows, Pairs, pairs_of

ANOMALIES = {
    "invalid_json": "The line is not one JSON object",
    "not_a_windows_event": "The object has neither an event code nor a channel where Windows events have it",
    "bad_time": "The record's time is no instant (years 1678 to 2261)",
    "bad_record": "The EVTX record or chunk is damaged",
}
"""Code to what was violated."""

MOST_NAMES = 4_096
"""Different members of one input that become columns; new names beyond go to ``winlog.rest``."""
MOST_CELLS = 4_000_000
"""Columns times rows of a table: hostile names must not cost a column of a large table each."""

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
_NUMBERS = ("winlog.version", "winlog.process.pid", "winlog.process.thread.id")


@dataclass(slots=True)
class WindowsParser:
    """Remembers which members have become columns, to bound them; offset 0 begins a new input."""

    name: str = "windows"
    names: set[str] = field(default_factory=set)

    def parse(self, lines: pl.Series, offsets: pl.Series, *, reference: datetime | None) -> list[pl.DataFrame]:
        """Turn lines into tables; see ``sensor.base.LineParser``."""
        if lines.is_empty():
            return []
        if offsets[0] == 0:
            self.names.clear()
        bad: dict[str, list[int]] = {}
        parts = tables(_documents(lines, bad), self.names, bad)
        for code, rows in bad.items():
            parts.append(errors(pl.Series(ROW, rows, dtype=pl.Int64), OTHER, code, ANOMALIES[code]))
        return finish_each(parts, lines.fill_null(""), offsets, reference)


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
    parts: Sequence[pl.DataFrame], lines: pl.Series, offsets: pl.Series, reference: datetime | None
) -> list[pl.DataFrame]:
    """``sensor.lines.finish``, keeping apart what is apart because it is wide."""
    whole: dict[str, list[pl.DataFrame]] = {}
    for part in parts:
        whole.setdefault(str(part["event.dataset"][0]), []).append(part)
    made: list[pl.DataFrame] = []
    for some in whole.values():
        for group in _within(some):
            made += finish(group, lines, offsets, module="windows", reference=reference)
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
        derived(_system(concat(group), dataset), dataset) for dataset, some in raw.items() for group in _within(some)
    ]


def _as_rest(targets: tuple[str, ...], values: Sequence[Any]) -> Pairs:
    """All members of EventData in one JSON object: for a record whose shape is one too many."""
    data = {
        name.removeprefix(DATA): value for name, value in zip(targets, values, strict=True) if name.startswith(DATA)
    }
    kept = [(name, value) for name, value in zip(targets, values, strict=True) if not name.startswith(DATA)]
    return (*(name for name, _ in kept), "winlog.rest"), [*(value for _, value in kept), data]


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
    return pl.Series(name, [text_of(value) for value in values], dtype=pl.String)


def text_of(value: Any) -> str | None:
    """A value as text, see ``texts``."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, list) and all(not isinstance(one, list | dict) for one in value):
        return "\n".join(text for text in map(text_of, value) if text is not None)
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
    for name in (*TIMES, DATA + "UtcTime"):
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
    return frame.with_columns(made).drop("_created", *TIMES, strict=False)


def _instant(text: pl.Series) -> pl.Series:
    """RFC 3339, or seconds since 1970 as Velociraptor writes them."""
    found = instants(text)
    if found.null_count() > text.null_count():
        seconds = seconds_to_ns(text).cast(INSTANT)
        found = pl.select(pl.coalesce(found, seconds)).to_series()
    return found


PARSER = WindowsParser()
"""For one input at a time; ``WindowsParser()`` makes another."""
