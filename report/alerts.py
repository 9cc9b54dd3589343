"""Alerts counted in columns: by level, rule, technique, endpoint and time. A flood of them costs no Python objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from event.incident import Level

LEVELS: tuple[Level, ...] = ("critical", "high", "medium", "low", "informational")
"""Gravest first."""

_STRINGS = ("event.id", "rule.id", "rule.name", "rule.name_zh", "rule.level", "source.ip", "destination.ip")
_LISTS = ("threat.technique.id", "alert.event_ids")
_BUCKETS = (1, 5, 10, 30, 60, 300, 600, 1800, 3600, 4 * 3600, 12 * 3600, 86400, 7 * 86400, 30 * 86400)
_MAX_BUCKETS = 36
_SAMPLE = 3


@dataclass(frozen=True, slots=True)
class RuleCount:
    """How often a rule matched."""

    id: str
    name: str | None
    level: Level
    alerts: int
    events: int
    first: datetime
    last: datetime
    techniques: tuple[str, ...]
    sample: tuple[str, ...]
    """Ids of the first alerts."""


@dataclass(frozen=True, slots=True)
class TargetCount:
    """Alerts that name an address as destination."""

    alerts: int
    level: Level
    """Highest."""
    controlled: bool
    """One of the techniques asked for is among them."""
    sample: tuple[str, ...]
    """Ids of the gravest alerts."""


@dataclass(frozen=True, slots=True)
class Buckets:
    """Counts by level over time."""

    starts: tuple[datetime, ...]
    seconds: int
    series: dict[Level, list[int]]


class Alerts:
    """A table of alerts with every column that is read here, ordered by time.

    Args:
        table: Events of dataset ``jianmen.alert``; columns may be missing, the table may be wholly empty.
    """

    def __init__(self, table: pl.DataFrame) -> None:
        missing: list[pl.Expr] = [pl.lit(None, pl.String).alias(c) for c in _STRINGS if c not in table.columns]
        missing += [pl.lit(None, pl.List(pl.String)).alias(c) for c in _LISTS if c not in table.columns]
        if "alert.event_count" not in table.columns:
            missing.append(pl.lit(None, pl.Int64).alias("alert.event_count"))
        if "@timestamp" not in table.columns:
            table = table.clear()
            missing.append(pl.lit(None, pl.Datetime("us", "UTC")).alias("@timestamp"))
        wanted = ["@timestamp", *_STRINGS, *_LISTS, "alert.event_count"]
        known = pl.when(pl.col("rule.level").is_in(LEVELS)).then("rule.level").otherwise(pl.lit("informational"))
        ranks = {level: rank for rank, level in enumerate(LEVELS)}
        self.frame = (
            table.with_columns(missing)
            .select(wanted)
            .with_columns(
                pl.col("@timestamp").dt.cast_time_unit("us"),
                known.alias("rule.level"),
                pl.col("threat.technique.id")
                .list.eval(pl.element().str.to_uppercase().str.strip_prefix("ATTACK."))
                .list.unique(maintain_order=True),
            )
            .with_columns(rank=pl.col("rule.level").replace_strict(ranks, return_dtype=pl.Int8))
            .sort("@timestamp", "event.id")
        )

    def __len__(self) -> int:
        return self.frame.height

    def get(self, alert_id: str) -> dict[str, Any] | None:
        """One alert by id."""
        found = self.frame.filter(pl.col("event.id") == alert_id).head(1)
        return found.row(0, named=True) if found.height else None

    def titles_zh(self) -> dict[str, str]:
        """Chinese titles of rules by id, where alerts carry them."""
        seen = self.frame.filter(pl.col("rule.name_zh").is_not_null() & pl.col("rule.id").is_not_null())
        return dict(seen.unique("rule.id", keep="first").select("rule.id", "rule.name_zh").iter_rows())

    def levels(self) -> dict[Level, int]:
        """Alerts by level, gravest first, levels without alerts left out."""
        counts = dict(self.frame.group_by("rule.level").len().iter_rows())
        return {level: counts[level] for level in LEVELS if level in counts}

    def rules(self) -> list[RuleCount]:
        """Rules that matched: gravest first, then most alerts, then by name."""
        table = (
            self.frame.with_columns(key=pl.coalesce("rule.id", "rule.name", pl.lit("")))
            .group_by("key")
            .agg(
                pl.col("rule.name", "rule.level", "threat.technique.id", "rank").first(),
                pl.len().alias("alerts"),
                pl.col("alert.event_count").sum().alias("events"),
                pl.col("@timestamp").min().alias("first"),
                pl.col("@timestamp").max().alias("last"),
                pl.col("event.id").head(_SAMPLE).alias("sample"),
            )
            .sort("rank", "alerts", "rule.name", "key", descending=[False, True, False, False])
        )
        return [
            RuleCount(
                id=row["key"],
                name=row["rule.name"],
                level=row["rule.level"],
                alerts=row["alerts"],
                events=row["events"],
                first=row["first"],
                last=row["last"],
                techniques=tuple(row["threat.technique.id"] or ()),
                sample=tuple(row["sample"]),
            )
            for row in table.iter_rows(named=True)
        ]

    def techniques(self) -> list[tuple[str, int, tuple[str, ...]]]:
        """ATT&CK techniques: id, alerts, ids of the first alerts; most alerts first."""
        table = (
            self.frame.select("event.id", "threat.technique.id")
            .explode("threat.technique.id")
            .drop_nulls("threat.technique.id")
            .group_by("threat.technique.id", maintain_order=True)
            .agg(pl.len(), pl.col("event.id").head(_SAMPLE))
            .sort("len", "threat.technique.id", descending=[True, False])
        )
        return [(name, n, tuple(sample)) for name, n, sample in table.iter_rows()]

    def ends(self, column: str) -> list[tuple[str, int, dict[Level, int]]]:
        """Addresses in ``source.ip`` or ``destination.ip``: address, alerts, alerts by level; gravest first."""
        counts = [(pl.col("rank") == rank).sum().alias(level) for rank, level in enumerate(LEVELS)]
        table = (
            self.frame.drop_nulls(column)
            .group_by(column)
            .agg(pl.len(), *counts)
            .sort([*LEVELS, column], descending=[True] * len(LEVELS) + [False])
        )
        return [
            (row[column], row["len"], {level: row[level] for level in LEVELS if row[level]})
            for row in table.iter_rows(named=True)
        ]

    def targets(self, techniques: frozenset[str]) -> dict[str, TargetCount]:
        """Alerts by destination.

        Args:
            techniques: Ids without sub-technique; ``controlled`` says whether any alert carries one.
        """
        table = (
            self.frame.drop_nulls("destination.ip")
            .with_columns(hit=_carries(techniques))
            .sort("rank", "@timestamp", "event.id")
            .group_by("destination.ip", maintain_order=True)
            .agg(pl.len(), pl.col("rule.level").first(), pl.col("hit").any(), pl.col("event.id").head(_SAMPLE))
        )
        return {
            row["destination.ip"]: TargetCount(row["len"], row["rule.level"], row["hit"], tuple(row["event.id"]))
            for row in table.iter_rows(named=True)
        }

    def carrying(self, techniques: frozenset[str]) -> tuple[int, list[str], tuple[str, ...]]:
        """Alerts with any of ``techniques``: how many, their destinations, ids of the first."""
        found = self.frame.filter(_carries(techniques))
        ends = found["destination.ip"].drop_nulls().unique(maintain_order=True).to_list()
        return found.height, ends, tuple(found["event.id"].head(_SAMPLE))

    def complete(self) -> int:
        """Alerts that name source, destination and rule."""
        fields = ("source.ip", "destination.ip", "rule.id")
        return self.frame.filter(pl.all_horizontal(pl.col(f).is_not_null() for f in fields)).height

    def pairs(self) -> set[tuple[str, str]]:
        """Endpoints (source, destination) with alerts between them."""
        return set(self.frame.select("source.ip", "destination.ip").drop_nulls().unique().iter_rows())

    def between(self, ends: Sequence[tuple[str, str]]) -> tuple[str, ...]:
        """Ids of the first alerts between any of the endpoints ``ends`` (source, destination)."""
        wanted = pl.DataFrame(list(ends), schema={"source.ip": pl.String, "destination.ip": pl.String}, orient="row")
        found = self.frame.join(wanted, on=["source.ip", "destination.ip"], how="semi", maintain_order="left")
        return tuple(found["event.id"].head(_SAMPLE))

    def buckets(self, since: datetime | None, until: datetime | None) -> Buckets | None:
        """Alerts over time, in at most about forty buckets; None without alerts.

        The whole period from ``since`` to ``until`` is covered, for it shows what was quiet, unless the alerts would
        shrink to one bar in it.
        """
        if self.frame.is_empty():
            return None
        low, high = self.frame["@timestamp"].min(), self.frame["@timestamp"].max()
        if not isinstance(low, datetime) or not isinstance(high, datetime):
            return None
        room = 20 * max(high - low, timedelta(minutes=3))
        if since and until and since <= low and high <= until and until - since <= room:
            low, high = since, until
        span = max((high - low).total_seconds(), 1.0)
        size = next((b for b in _BUCKETS if span / b < _MAX_BUCKETS), int(span // _MAX_BUCKETS) + 1)
        start = int(low.timestamp() // size) * size
        count = int((high.timestamp() - start) // size) + 1
        at = ((pl.col("@timestamp").dt.epoch("us") - start * 1_000_000) // (size * 1_000_000)).alias("at")
        series: dict[Level, list[int]] = {level: [0] * count for level in self.levels()}
        for level, place, n in self.frame.group_by("rule.level", at).len().iter_rows():
            series[level][place] = n
        return Buckets(tuple(datetime.fromtimestamp(start + i * size, UTC) for i in range(count)), size, series)


def _carries(techniques: frozenset[str]) -> pl.Expr:
    bare = pl.col("threat.technique.id").list.eval(pl.element().str.split(".").list.first())
    return bare.list.set_intersection(sorted(techniques)).list.len().fill_null(0) > 0
