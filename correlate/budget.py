"""Alert budget: how many alerts of one rule a shift of people can look at, and what happens to the rest.

A shift has so many alerts to give (``alerts_per_shift``), shared evenly among the rules that alert in it; no rule gets
less than ``alerts_per_rule``. What a rule raises beyond its share is **demoted**: stored with the next lower level and
``alert.demoted_from``, nothing is dropped. One notice per rule and shift says so. The share of a rule depends on how
many rules alert, never on how much the others raise: a flooding rule cannot starve another.

Demotion must not hide an attack behind noise. So the first alert of a rule about each declared asset keeps its level,
and so does the first about any other target, for as many targets as ``FIRSTS``. Informational alerts ask for no look
and cost nothing; suppressed ones neither.

Shifts are those of the clock on the wall in Beijing, in the time of events.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from typing import NamedTuple

import polars as pl

from correlate.alerts import alert_id
from correlate.ir import LEVELS, SEVERITY
from event.site import Noise
from event.table import conform, schema_of

NOTICE = "7b1d0f7e-6f0a-4c57-9a5e-2b8f6c1d9e40"
"""Rule id of the notices."""
FIRSTS = 256
"""Targets of one rule in one shift whose first alert keeps its level, beside declared assets."""
SHIFTS = 8
"""Shifts that are counted at once; older ones are forgotten, alerts of theirs that come then are counted anew."""

_BEIJING = timezone(timedelta(hours=8), "Asia/Shanghai")
_FROM = "alert.demoted_from"
_COLUMNS = ("@timestamp", "event.id", "rule.id", "rule.name", "rule.name_zh", "rule.level", "destination.ip")


class _Notice(NamedTuple):
    time: datetime
    event_id: str
    rule_id: str
    name: str
    name_zh: str | None
    share: int
    begin: datetime
    end: datetime


@dataclass(slots=True)
class _Spent:
    """What one rule has raised in one shift."""

    alerts: int = 0
    targets: set[str] = field(default_factory=set)
    noticed: bool = False


class Budget:
    """Counts alerts and demotes what is over the budget.

    Attributes:
        demoted: Alerts demoted so far.
    """

    def __init__(self, noise: Noise, *, assets: Iterable[str] = ()) -> None:
        """Start a count.

        Args:
            noise: Shifts and numbers of the site file.
            assets: Addresses of declared assets.
        """
        self._noise = noise
        self._assets = frozenset(assets)
        self._shifts: dict[datetime, dict[str, _Spent]] = {}
        self.demoted = 0

    def shift_of(self, time: datetime) -> tuple[datetime, datetime]:
        """Begin and end of the shift that a time lies in."""
        hour, minute = map(int, self._noise.shift_begins.split(":"))
        local = time.astimezone(_BEIJING)
        begin = local.replace(hour=hour, minute=minute, second=0, microsecond=0)
        begin -= timedelta(days=1) if begin > local else timedelta()
        length = timedelta(hours=self._noise.shift_hours)
        begin += (local - begin) // length * length
        # The last shift of a day ends where the first of the next one begins, also if hours do not divide a day.
        first = local.replace(hour=hour, minute=minute, second=0, microsecond=0)
        first += timedelta(days=1) if first <= local else timedelta()
        return begin.astimezone(UTC), min(begin + length, first).astimezone(UTC)

    def since(self, time: datetime) -> datetime:
        """From when on alerts must be remembered before detection goes on at a time."""
        return self.shift_of(time)[0]

    def remember(self, alerts: pl.DataFrame) -> None:
        """Count alerts that were stored before, without a change to them."""
        self._count(alerts)

    def apply(self, alerts: pl.DataFrame) -> pl.DataFrame:
        """Demote what is over the budget.

        Args:
            alerts: Table of dataset ``jianmen.alert``, suppressed ones marked.

        Returns:
            The same alerts, and notices, conformed.
        """
        if not self._noise.alerts_per_shift or alerts.is_empty():
            return alerts
        over, notices = self._count(alerts)
        if not over:
            return alerts
        self.demoted += len(over)
        rows = pl.Series(over, dtype=pl.UInt32)
        mask = pl.int_range(pl.len(), dtype=pl.UInt32).is_in(rows.implode())
        lower = {level: LEVELS[max(0, number - 1)] for number, level in enumerate(LEVELS)}
        level = pl.col("rule.level").replace_strict(lower, default=None)
        severity = level.replace_strict(SEVERITY, default=None, return_dtype=pl.Int64)
        changed = alerts.with_columns(
            pl.when(mask).then(level).otherwise("rule.level").alias("rule.level"),
            pl.when(mask).then(severity).otherwise("event.severity").alias("event.severity"),
            pl.when(mask).then("rule.level").alias(_FROM),
        )
        if not notices:
            return changed
        return conform(pl.concat([changed, self._notices(notices)], how="diagonal"))

    def _count(self, alerts: pl.DataFrame) -> tuple[list[int], list[_Notice]]:
        """Rows that are over the budget, and rows that make a notice."""
        order = alerts.with_row_index("row").sort("@timestamp", "event.id")
        names = (*_COLUMNS, "alert.group", "alert.suppressed_by", _FROM)
        have = [pl.col(name) if name in alerts.columns else pl.lit(None).alias(name) for name in names]
        over: list[int] = []
        notices: list[_Notice] = []
        begin = end = datetime.min.replace(tzinfo=UTC)
        spent: dict[str, _Spent] = {}
        for row, time, identity, rule, name, name_zh, level, target, group, hidden, was in order.select(
            "row", *have
        ).iter_rows():
            if hidden is not None or rule == NOTICE or (level == "informational" and was is None):
                continue
            if not begin <= time < end:
                begin, end = self.shift_of(time)
                spent = self._shift(begin)
            own = spent.get(rule)
            if own is None:
                own = spent[rule] = _Spent()
            own.alerts += 1
            about = target or ", ".join(group or ())
            first = about not in own.targets and (about in self._assets or len(own.targets) < FIRSTS)
            if first:
                own.targets.add(about)
            share = self._share(len(spent))
            if own.alerts <= share or (first and about):
                continue
            over.append(row)
            if not own.noticed:
                own.noticed = True
                notices.append(_Notice(time, identity, rule, name, name_zh, share, begin, end))
        return over, notices

    def _share(self, rules: int) -> int:
        return max(self._noise.alerts_per_rule, self._noise.alerts_per_shift // rules)

    def _shift(self, begin: datetime) -> dict[str, _Spent]:
        if begin not in self._shifts:
            while len(self._shifts) >= SHIFTS:
                del self._shifts[min(self._shifts)]
            self._shifts[begin] = {}
        return self._shifts[begin]

    @staticmethod
    def _notices(notices: list[_Notice]) -> pl.DataFrame:
        made = [
            {
                "@timestamp": one.time,
                "event.id": alert_id(NOTICE, one.rule_id, one.begin.isoformat()),
                "event.dataset": "jianmen.alert",
                "event.kind": "alert",
                "event.module": "correlate",
                "event.severity": SEVERITY["low"],
                "event.start": one.begin,
                "event.end": one.end,
                "rule.id": NOTICE,
                "rule.name": "A rule is over its share of the shift's alert budget: the rest is demoted",
                "rule.name_zh": "规则告警超出本班次限额，其余告警降级处理",
                "rule.level": "low",
                "message": f"{one.name_zh or one.name} / {one.name}: {one.share}",
                "alert.event_ids": [one.event_id],
                "alert.event_dataset": ["jianmen.alert"],
                "alert.event_count": 1,
                "alert.fields": [f"rule.id={one.rule_id}", f"rule.name={one.name}", f"budget={one.share}"],
            }
            for one in notices
        ]
        frame = pl.DataFrame(made)
        return frame.select(pl.col(name).cast(dtype) for name, dtype in schema_of(frame.columns).items())
