"""Alerts of what matched: one for each event and rule, or one for each alarm of a correlation.

Alerts of a batch are made by columns, those of all its rules at once: the events are gathered once, and what an alert
says of its rule is gathered out of a table with one row a rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from itertools import chain
from typing import Any

import numpy as np
import polars as pl

from correlate.cases import Rows
from correlate.hits import Alarm
from correlate.ir import SEVERITY, Correlation, Meta, Rule
from event.table import schema_of

LISTED = 100
"""Most event ids that an alert lists."""
CUT = 200
"""Characters of a value that ``alert.fields`` shows."""

_COPIED = (
    "source.ip",
    "destination.ip",
    "source.port",
    "destination.port",
    "network.protocol",
    "event.action",
    "host.name",
    "user.name",
    "user.domain",
    "process.executable",
    "event.start",
    "event.end",
)
_MANY = 256  # hits of a rule in a batch from which its alerts are made apart, so that only fields it shows are spelled


class AlertMaker:
    """Makes alerts of plain rules; remembers what they say of each rule."""

    def __init__(self) -> None:
        """No rule has alerted yet."""
        self._places: dict[str, int] = {}
        self._rules = pl.DataFrame(schema=_RULE_SCHEMA)

    def alerts(self, events: pl.DataFrame, found: Sequence[tuple[Rule, Rows]]) -> list[pl.DataFrame]:
        """One alert for each event that a rule matched.

        Args:
            events: A table of one dataset.
            found: Rules and their rows in it.

        Returns:
            Tables of alerts, not conformed.
        """
        few = [one for one in found if len(one[1]) < _MANY]
        parts = [few] if few else []
        parts += [[one] for one in found if len(one[1]) >= _MANY]
        return [self._made(events, part) for part in parts]

    def _made(self, events: pl.DataFrame, found: Sequence[tuple[Rule, Rows]]) -> pl.DataFrame:
        have = frozenset(events.columns)
        copied = [name for name in _COPIED if name in have]
        shown = [[name for name in rule.fields if name in have] for rule, _ in found]
        needed = dict.fromkeys(["@timestamp", "event.id", "event.dataset", *copied, *chain.from_iterable(shown)])
        counted = ["event.count"] if "event.count" in have else []
        counts = [len(rows) for _, rows in found]
        hit = events.select(list(dict.fromkeys([*needed, *counted])))[np.concatenate([rows for _, rows in found])]
        rules = np.repeat(self._places_of([rule for rule, _ in found]), counts)
        names = chain.from_iterable([rule.id] * count for (rule, _), count in zip(found, counts, strict=True))
        ids = list(map(alert_id, names, hit["event.id"].to_list()))
        made = hit.select(
            pl.col("@timestamp"),
            pl.Series("event.id", ids, pl.String),
            *copied,
            *self._rules[rules],
            pl.concat_list("event.id").alias("alert.event_ids"),
            pl.concat_list("event.dataset").alias("alert.event_dataset"),
            event_counts(hit).alias("alert.event_count"),
        )
        fields = _fields(hit, shown, counts)
        return made if fields is None else made.with_columns(fields)

    def _places_of(self, rules: Sequence[Rule]) -> Rows:
        """Rows of ``_rules``."""
        new = {rule.id: rule.meta for rule in rules if rule.id not in self._places}
        if new:
            self._places.update(zip(new, range(len(self._places), len(self._places) + len(new)), strict=True))
            self._rules.vstack(pl.DataFrame(list(map(_constant, new.values())), schema=_RULE_SCHEMA), in_place=True)
        return np.array([self._places[rule.id] for rule in rules], np.int64)


def _fields(hit: pl.DataFrame, shown: Sequence[Sequence[str]], counts: Sequence[int]) -> pl.Series | None:
    """``name=value`` of what each alert shows; None if none shows anything.

    Args:
        hit: The events, one row an alert.
        shown: Fields that alerts of each rule show.
        counts: Alerts of each rule, which lie one rule behind the other.
    """
    names = list(dict.fromkeys(chain.from_iterable(shown)))
    if not names:
        return None
    texts = hit.select(_text(hit, name) for name in names)
    begin = {name: place * hit.height for place, name in enumerate(names)}
    places: list[Rows] = []
    alerts: list[Rows] = []
    first = 0
    for some, count in zip(shown, counts, strict=True):
        if some:
            rows = np.arange(first, first + count)
            places.append((rows[:, None] + np.array([begin[name] for name in some])).ravel())
            alerts.append(np.repeat(rows, len(some)))
        first += count
    ends = pl.concat([column.rename("text") for column in texts]).gather(np.concatenate(places))
    lists = (
        pl.DataFrame({"alert": np.concatenate(alerts), "text": ends})
        .group_by("alert", maintain_order=True)
        .agg(pl.col("text").drop_nulls())
    )
    every = pl.DataFrame({"alert": np.arange(hit.height)})
    return every.join(lists, on="alert", how="left", maintain_order="left")["text"].alias("alert.fields")


def _text(events: pl.DataFrame, name: str) -> pl.Expr:
    """``name=value`` of each row, null where there is no value."""
    dtype = events.schema[name]
    column = pl.col(name)
    if isinstance(dtype, pl.List):
        inner = pl.element()
        one = inner.dt.to_string("iso") if isinstance(dtype.inner, pl.Datetime) else inner.cast(pl.String)
        text = column.list.head(CUT).list.eval(one.drop_nulls()).list.join(", ")
        text = pl.when(text != "").then(text)
    elif isinstance(dtype, pl.Datetime):
        text = column.dt.to_string("iso")
    else:
        text = column.cast(pl.String)
    return pl.concat_str(pl.lit(f"{name}="), text.str.slice(0, CUT)).alias(name)


def event_counts(events: pl.DataFrame) -> pl.Expr:
    """How many messages each event stands for; a count that makes no sense is one."""
    if "event.count" not in events.columns:
        return pl.lit(1, pl.Int64)
    return pl.when(pl.col("event.count") >= 1).then(pl.col("event.count")).otherwise(1).cast(pl.Int64)


def alert_id(rule_id: str, *parts: str) -> str:
    """Computed identity of an alert: the same events give the same alert again."""
    digest = blake2b(digest_size=12)
    for part in (rule_id, *parts):
        raw = part.encode()
        digest.update(len(raw).to_bytes(4, "big") + raw)
    return f"alert-{digest.hexdigest()}"


def correlation_alerts(alarms: Sequence[tuple[Correlation, Alarm]]) -> pl.DataFrame:
    """One alert for each alarm."""
    rows: list[dict[str, Any]] = []
    for correlation, alarm in alarms:
        group = [f"{name}={_shown(value)}" for name, value in zip(correlation.group_by, alarm.group, strict=True)]
        sources, targets = alarm.sources, alarm.destinations
        rows.append(
            {
                **_constant(correlation.meta),
                "@timestamp": alarm.time,
                "event.id": alert_id(correlation.id, alarm.event_ids[-1], *group),
                "event.start": alarm.start,
                "event.end": alarm.time,
                "rule.correlation_type": correlation.type,
                "source.ip": sources[0] if len(sources) == 1 else None,
                "destination.ip": targets[0] if len(targets) == 1 else None,
                "network.protocol": alarm.protocols[0] if len(alarm.protocols) == 1 else None,
                "alert.event_ids": list(alarm.event_ids[-LISTED:]),
                "alert.event_dataset": list(alarm.datasets),
                "alert.event_count": alarm.count,
                "alert.group": group or None,
                "alert.source_ips": list(sources) or None,
                "alert.destination_ips": list(targets) or None,
            }
        )
    names = list(dict.fromkeys(name for row in rows for name in row))
    schema = schema_of(names)
    times = ("@timestamp", "event.start", "event.end")
    frame = pl.DataFrame(rows, schema={name: pl.Int64() if name in times else dtype for name, dtype in schema.items()})
    return frame.with_columns(pl.from_epoch(pl.col(name), "ns").dt.replace_time_zone("UTC") for name in times)


def _shown(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, tuple):
        return ", ".join(str(one) for one in value)[:CUT]
    return str(value)[:CUT]


def _constant(meta: Meta) -> dict[str, Any]:
    """What every alert of a rule says."""
    return {
        "event.dataset": "jianmen.alert",
        "event.kind": "alert",
        "event.module": "correlate",
        "event.severity": SEVERITY[meta.level],
        "rule.id": meta.id,
        "rule.name": meta.title,
        "rule.name_zh": meta.title_zh,
        "rule.description": meta.description,
        "rule.author": list(meta.author) or None,
        "rule.license": meta.license,
        "rule.reference": list(meta.references) or None,
        "rule.level": meta.level,
        "threat.technique.id": list(meta.techniques) or None,
        "threat.tactic.name": list(meta.tactics) or None,
        "alert.false_positives": list(meta.false_positives) or None,
    }


_RULE_SCHEMA = schema_of(_constant(Meta("", "", None, "informational", "", 0)))

__all__ = ["CUT", "LISTED", "AlertMaker", "alert_id", "correlation_alerts", "event_counts"]
