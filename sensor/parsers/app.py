"""JSON lines of applications and clouds: audit records of AWS, Azure, Kubernetes, Okta, GitHub and others.

Dataset ``app.<product>.<service>``, the words of the Sigma taxonomy, told by the members of the record
(``sensor.log_kinds.APPLICATIONS``). Members keep their names behind ``app.data.``, nested ones joined by dots; lists of
plain values have their values on lines of their own, lists of objects give each member's values so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson
import polars as pl

from event.fields import FIELDS
from sensor.lines import BLANK, INSTANT, ROW, errors, finish, instants, ip, seconds_to_ns
from sensor.log_kinds import application

ANOMALIES = {
    "invalid_json": "The line is not one JSON object",
    "unknown_record": "The object is the record of no application that is known",
    "bad_time": "The record has no time where records of its kind have it, or it is no instant",
}
"""Code to what was violated."""

DATA = "app.data."
UNKNOWN = "app.unknown"
MOST_MEMBERS = 512
"""Members of one record that become columns; the line keeps the rest."""
MOST_NAMES = 4_096
"""Different members of one input that become columns."""
MOST_CELLS = 4_000_000
_DEPTH = 12

_TIMES = (
    "eventTime",
    "requestReceivedTimestamp",
    "published",
    "@timestamp",
    "time",
    "timestamp",
    "TimeGenerated",
    "CreationTime",
    "created_at",
    "utc_time",
    "activityDateTime",
    "createdDateTime",
)
_ECS = (
    (
        "source.ip",
        ("sourceIPAddress", "client.ipAddress", "callerIpAddress", "ClientIP", "actor_ip", "src_host"),
    ),
    (
        "user.name",
        ("userIdentity.userName", "actor.alternateId", "user.username", "UserId", "actor"),
    ),
    ("user_agent.original", ("userAgent", "client.userAgent.rawUserAgent")),
    ("event.action", ("eventName", "eventType", "verb", "operationName", "Operation", "action")),
)


@dataclass(slots=True)
class AppParser:
    """Remembers which members have become columns, to bound them; offset 0 begins a new input."""

    name: str = "app"
    names: set[str] = field(default_factory=set)
    parents: set[str] = field(default_factory=set)

    def parse(self, lines: pl.Series, offsets: pl.Series, *, reference: datetime | None) -> list[pl.DataFrame]:
        """Turn lines into tables; see ``sensor.base.LineParser``."""
        if lines.is_empty():
            return []
        if offsets[0] == 0:
            self.names.clear()
            self.parents.clear()
        bad: dict[str, list[int]] = {}
        found: dict[str, tuple[list[int], list[dict[str, str | None]]]] = {}
        for row, text in enumerate(lines.to_list()):
            text = (text or "").strip(BLANK)
            if not text:
                continue
            try:
                document = orjson.loads(text)
            except orjson.JSONDecodeError:
                document = None
            if not isinstance(document, dict):
                bad.setdefault("invalid_json", []).append(row)
                continue
            product = application(text.encode("utf-8", "replace"))
            if product is None:
                bad.setdefault("unknown_record", []).append(row)
                continue
            flat: dict[str, list[Any]] = {}
            _flatten(document, "", 1, flat)
            rows, records = found.setdefault(f"app.{product[0]}.{product[1]}", ([], []))
            rows.append(row)
            records.append(self._columns(flat))
        made: list[pl.DataFrame] = []
        text_of_lines = lines.fill_null("")
        for dataset, (rows, records) in found.items():
            widest = max(1, len({name for record in records for name in record}))
            size = max(1, MOST_CELLS // widest)
            for begin in range(0, len(rows), size):
                table = _table(dataset, rows[begin : begin + size], records[begin : begin + size])
                made += finish([table], text_of_lines, offsets, module="app", reference=reference)
        parts = [
            errors(pl.Series(ROW, rows, dtype=pl.Int64), UNKNOWN, code, ANOMALIES[code]) for code, rows in bad.items()
        ]
        return made + finish(parts, text_of_lines, offsets, module="app", reference=reference)

    def _columns(self, flat: Mapping[str, list[Any]]) -> dict[str, str | None]:
        record: dict[str, str | None] = {}
        for name, values in flat.items():
            if len(record) >= MOST_MEMBERS:
                break
            column = DATA + name
            if column not in self.names:
                if len(self.names) >= MOST_NAMES or column not in FIELDS or not self._fits(column):
                    continue
                self.names.add(column)
            texts = [text for text in map(_text, values) if text is not None]
            record[column] = "\n".join(texts) if texts else None
        return record

    def _fits(self, column: str) -> bool:
        """A name that is a value in one record and a parent in another can be only one of them: the first it was."""
        parts = column.split(".")
        above = {".".join(parts[:end]) for end in range(3, len(parts))}
        if column in self.parents or above & self.names:
            return False
        self.parents |= above
        return True


def _flatten(value: Any, name: str, depth: int, into: dict[str, list[Any]]) -> None:
    """Leaves by dotted name."""
    if isinstance(value, dict) and depth < _DEPTH:
        for key, one in value.items():
            if len(into) > 4 * MOST_MEMBERS:
                return
            _flatten(one, f"{name}.{key}" if name else str(key), depth + 1, into)
    elif isinstance(value, list) and depth < _DEPTH:
        for one in value[:MOST_MEMBERS]:
            _flatten(one, name, depth + 1, into)
    elif value is not None:
        into.setdefault(name, []).append(value)


def _text(value: Any) -> str | None:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    try:
        return orjson.dumps(value).decode()
    except (TypeError, ValueError):
        return None


def _table(dataset: str, rows: list[int], records: list[dict[str, str | None]]) -> pl.DataFrame:
    names = dict.fromkeys(name for record in records for name in record)
    frame = pl.DataFrame(
        [pl.Series(ROW, rows, dtype=pl.Int64)]
        + [pl.Series(name, [record.get(name) for record in records], dtype=pl.String) for name in names]
    )
    when = pl.Series("@timestamp", [None] * frame.height, dtype=INSTANT)
    for name in _TIMES:
        if DATA + name in names and when.null_count():
            text = frame[DATA + name]
            when = pl.select(pl.coalesce(when, instants(text), _epoch(text))).to_series().alias("@timestamp")
    made: list[pl.Series] = [when, pl.Series("event.dataset", [dataset] * frame.height)]
    _, product, service = dataset.split(".", 2)
    made.append(pl.Series("app.product", [product] * frame.height))
    made.append(pl.Series("app.service", [service] * frame.height))
    for target, sources in _ECS:
        have = [frame[DATA + name] for name in sources if DATA + name in names]
        if have:
            value = pl.select(pl.coalesce(have)).to_series()
            made.append((ip(value) if target == "source.ip" else value).alias(target))
    wrong = when.is_null()
    if wrong.any():
        made.append(pl.Series("event.kind", ["pipeline_error" if one else "event" for one in wrong]))
        made.append(pl.Series("error.code", ["bad_time" if one else None for one in wrong], dtype=pl.String))
        made.append(
            pl.Series("error.message", [ANOMALIES["bad_time"] if one else None for one in wrong], dtype=pl.String)
        )
    return frame.with_columns(made)


def _epoch(text: pl.Series) -> pl.Series:
    """Seconds or milliseconds since 1970."""
    milli = text.str.contains(r"^\d{13}$")
    cut = pl.concat_str(text.str.head(10), pl.lit("."), text.str.tail(3))
    seconds = pl.select(pl.when(milli).then(cut).otherwise(text)).to_series()
    return seconds_to_ns(seconds).cast(INSTANT)


PARSER = AppParser()
"""For one input at a time; ``AppParser()`` makes another."""
