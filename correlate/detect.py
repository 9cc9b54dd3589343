"""The detector: event tables in, alert tables out.

Plain rules alert at once, one alert an event and rule. Correlations work in event time and may hold events back for
``lateness`` until their turn has come (see ``correlate.window``); ``finish`` lets them all through.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from time import perf_counter
from typing import TYPE_CHECKING, Any

import orjson
import polars as pl

from correlate.absence import state_of
from correlate.alerts import AlertMaker, correlation_alerts, event_counts
from correlate.cases import Rows
from correlate.derive import CONCERNED, Derivation
from correlate.hits import Alarm, Hit, WindowLimits, folded
from correlate.ir import Correlation, Rule, RuleSet
from correlate.logsources import unrecorded
from correlate.match import MEMORY, Plan
from correlate.memory import Memory
from correlate.window import Queue
from event.table import conform, empty

if TYPE_CHECKING:
    from event.site import Site

_STATE_VERSION = 1
_FED = frozenset(
    {"@timestamp", "event.id", "event.dataset", "event.count", "source.ip", "destination.ip", "network.protocol"}
)
"""Columns that correlations see of every event that feeds them."""


@dataclass(slots=True)
class RuleStatus:
    """What became of one rule; nothing is skipped in silence.

    Attributes:
        id: UUID as text.
        compiled: It can be evaluated; else ``error`` says why not.
        datasets: Datasets it looks at, ``zeek.*`` for all of a kind; empty: we have none for its logsource. For a
            correlation, those of the rules that feed it.
        datasets_seen: Those that have occurred.
        events: Events it was evaluated over; for a correlation, the hits that fed it.
        matches: Events that matched; for a correlation, its alerts.
        errors: 1 if it cannot be evaluated.
        seconds: Its own evaluation and alerts, and an equal share of what is done for all rules of a dataset.
        unknown_fields: Fields that no event of its log source can have: null in every event.
        unseen_fields: Fields that no event of its datasets has had so far, though one might.
        bounds: For a correlation, bounds that it reached, hits that came late and what still waits, by name
            (``docs/correlation.md``).
    """

    id: str
    title: str
    path: str
    level: str
    correlation: bool
    compiled: bool
    error: str | None
    datasets: tuple[str, ...]
    datasets_seen: tuple[str, ...] = ()
    events: int = 0
    matches: int = 0
    errors: int = 0
    seconds: float = 0.0
    unknown_fields: tuple[str, ...] = ()
    unseen_fields: tuple[str, ...] = ()
    bounds: dict[str, int] = field(default_factory=dict)

    @property
    def state(self) -> str:
        """``error``, ``no dataset``, ``waiting`` (its datasets have not occurred) or ``ok``."""
        if not self.compiled:
            return "error"
        if not self.datasets:
            return "no dataset"
        return "ok" if self.datasets_seen else "waiting"


@dataclass(slots=True)
class _Active:
    """The rules of one dataset that occurred."""

    plan: Plan
    rules: list[Rule]
    events: int = 0


class Detector:
    """Evaluates a rule set over a stream of event tables."""

    def __init__(
        self,
        ruleset: RuleSet,
        *,
        state: bytes | None = None,
        lateness: timedelta | None = timedelta(minutes=5),
        memory: int | None = None,
        window_limits: WindowLimits | None = None,
        one_pass: bool = True,
        site: Site | None = None,
    ) -> None:
        """Prepare.

        Args:
            ruleset: The rules.
            state: What ``state()`` of an earlier detector gave. State of rules that changed or went is dropped.
            lateness: How far behind the newest event another one may come and still find its place in the order
                of correlations. Collapsed events come up to 5 minutes late. None: any time, all hits wait for
                ``finish`` (for events that are not read in order of time).
            memory: Bytes of values and cases that may be remembered, over all datasets; beyond, what a dataset
                remembers is forgotten; None: ``correlate.match.MEMORY``.
            window_limits: Bounds of correlation state, for each correlation.
            one_pass: Use Hyperscan where it is installed.
            site: What ``correlate.derive`` says of events rests on it.

        Raises:
            ValueError: ``state`` is not the state of a detector.
        """
        self._ruleset = ruleset
        self._memory = Memory(MEMORY if memory is None else memory)
        self._one_pass = one_pass
        self._maker = AlertMaker()
        self._site = site
        self._derivation: Derivation | None = None
        self._lateness = None if lateness is None else lateness // timedelta(microseconds=1) * 1000
        self._newest: int | None = None
        self._active: dict[str, _Active] = {}
        self._columns: dict[str, set[str]] = {}
        self._unread: set[str] = set()  # datasets of which some events were not fed: nobody knows their columns
        self._status = {one.id: _status(one, ruleset) for one in ruleset.all()}
        self._windows = [state_of(one, window_limits) for one in ruleset.correlations if one.error is None]
        self._feeds: dict[str, list[Queue]] = {}
        for window in self._windows:
            for rule in window.correlation.rules:
                self._feeds.setdefault(rule, []).append(window)
        for window in self._windows:
            window.feeds = window.correlation.id in self._feeds
        if state is not None:
            self._restore(state)

    def _derive(self) -> Derivation:
        if self._derivation is None:
            from event.site import Site  # pydantic takes a tenth of a second to import: not for a host's logs

            self._derivation = Derivation(self._site or Site())
        return self._derivation

    def feed(self, events: pl.DataFrame) -> pl.DataFrame:
        """Evaluate a table of one dataset.

        Args:
            events: A conformed table.

        Returns:
            Alerts of dataset ``jianmen.alert``, conformed, ordered by time; possibly empty.
        """
        if events.is_empty():
            return empty()
        dataset = str(events["event.dataset"][0])
        if dataset in CONCERNED:
            events = self._derive().of(events)
        active = self._rules_of(dataset)
        self._columns.setdefault(dataset, set()).update(events.columns)
        matched = active.plan.match(events)
        active.events += events.height
        alerting: list[int] = []
        for number, rows in matched.items():
            started = perf_counter()
            rule = active.rules[number]
            self._status[rule.id].matches += len(rows)
            if rule.meta.alerts:
                alerting.append(number)
            for window in self._feeds.get(rule.id, ()):
                window.push(rule.id, _hits(window.correlation, rule.id, events, rows))
            active.plan.seconds[number] += perf_counter() - started
        made: list[pl.DataFrame] = []
        if alerting:
            started = perf_counter()
            made += self._maker.alerts(events, [(active.rules[number], matched[number]) for number in alerting])
            each = (perf_counter() - started) / sum(len(matched[number]) for number in alerting)
            for number in alerting:
                active.plan.seconds[number] += each * len(matched[number])
        newest = int(events["@timestamp"].dt.epoch("ns").max() or 0)  # type: ignore[arg-type]
        self._newest = newest if self._newest is None else max(self._newest, newest)
        if self._lateness is not None:
            made += self._advance(self._newest - self._lateness)
        return _joined(made)

    def _rules_of(self, dataset: str) -> _Active:
        active = self._active.get(dataset)
        if active is None:
            rules = [one for one in self._ruleset.rules if one.condition is not None and one.route.takes(dataset)]
            plan = Plan(
                [one.condition for one in rules if one.condition is not None],
                constants={"event.dataset": dataset},
                memory=self._memory,
                one_pass=self._one_pass,
                kept_in=self._ruleset.kept_in,
            )
            active = self._active[dataset] = _Active(plan, rules)
            for rule in rules:
                self._saw(rule.id, dataset)
        return active

    def plan_of(self, dataset: str) -> Plan | None:
        """The rules of a dataset, for who looks at events before they are tables; None if it has none."""
        active = self._rules_of(dataset)
        return active.plan if active.rules else None

    def passed(self, dataset: str, events: int, newest: int) -> None:
        """Take note of events that need not be fed, since no rule can match them: a store has left them out.

        Args:
            dataset: Their dataset.
            events: How many there were.
            newest: Time of the newest event of the dataset, fed or not, ns since the epoch; call before ``finish``.
        """
        for rule in self._ruleset.rules:
            if rule.condition is not None and rule.route.takes(dataset):
                self._saw(rule.id, dataset)
                self._status[rule.id].events += events
        if events:
            self._unread.add(dataset)
        self._newest = newest if self._newest is None else max(self._newest, newest)

    def advance(self, until: datetime) -> pl.DataFrame:
        """Let through what correlations hold back of the time before ``until``.

        For who knows the order of events better than ``lateness`` does: a store that is read in order of time
        says after each slice how far it has come, and no alert waits longer than that.

        Args:
            until: Every event before it has been fed; events of this very time may still come.

        Returns:
            Alerts, as ``feed`` does.
        """
        return _joined(self._advance(nanoseconds(until) - 1))

    def finish(self) -> pl.DataFrame:
        """Let through what correlations hold back; call at the end of the input.

        More events may be fed afterwards: those that are older count as late. What an absence still waits for when
        the newest event is reached stays open: nobody can say yet that it did not come.
        """
        return _joined(self._advance(None))

    def _advance(self, until: int | None) -> list[pl.DataFrame]:
        """Work off correlations up to a time (ns since the epoch), all if None; those that feed others come first."""
        alarms: list[tuple[Correlation, Alarm]] = []
        for window in self._windows:
            started = perf_counter()
            raised = window.advance(until, self._newest)
            status = self._status[window.correlation.id]
            status.seconds += perf_counter() - started
            status.events = window.taken
            loud = [one for one in raised if one.loud]
            status.matches += len(loud)
            status.bounds = {name: count for name, count in window.counters.items() if count}
            for follower in self._feeds.get(window.correlation.id, ()):
                follower.push(window.correlation.id, [_alarm_hit(follower.correlation, window, one) for one in raised])
            if window.correlation.meta.alerts:
                alarms += [(window.correlation, one) for one in loud]
        return [correlation_alerts(alarms)] if alarms else []

    def _saw(self, rule_id: str, dataset: str) -> None:
        status = self._status[rule_id]
        status.datasets_seen = tuple(sorted({*status.datasets_seen, dataset}))
        for window in self._feeds.get(rule_id, ()):
            self._saw(window.correlation.id, dataset)

    def status(self) -> list[RuleStatus]:
        """What became of every rule and correlation, in the order of the rule set."""
        seconds: dict[str, float] = {}
        events: dict[str, int] = {}
        for active in self._active.values():
            share = active.plan.shared_seconds / max(1, len(active.rules))
            for rule, own in zip(active.rules, active.plan.seconds, strict=True):
                seconds[rule.id] = seconds.get(rule.id, 0.0) + own + share
                events[rule.id] = events.get(rule.id, 0) + active.events
        rules = {rule.id: rule for rule in self._ruleset.rules}
        found: list[RuleStatus] = []
        for status in self._status.values():
            copy = replace(
                status,
                seconds=status.seconds + seconds.get(status.id, 0.0),
                events=status.events + events.get(status.id, 0),
            )
            plain = rules.get(status.id)
            if plain is not None:
                copy.unknown_fields = tuple(unrecorded(plain.logsource, plain.fields, plain.condition))
            have = [self._columns.get(name, set()) for name in status.datasets_seen]
            if plain is not None and have and not self._unread.intersection(status.datasets_seen):
                copy.unseen_fields = tuple(name for name in plain.fields if not any(name in some for some in have))
            found.append(copy)
        return found

    def counters(self) -> dict[str, int]:
        """Bounds that were reached: late hits, groups and entries evicted, tables emptied."""
        total: dict[str, int] = {"tables_emptied": sum(active.plan.resets for active in self._active.values())}
        for window in self._windows:
            for name, count in window.counters.items():
                total[name] = total.get(name, 0) + count
        return total

    def state(self) -> bytes:
        """All that a later detector needs to go on as if there had been no break; JSON."""
        return orjson.dumps(
            {
                "version": _STATE_VERSION,
                "newest": self._newest,
                "windows": {window.correlation.id: window.state() for window in self._windows},
                "columns": {name: sorted(columns) for name, columns in self._columns.items()},
                "unread": sorted(self._unread),
                "status": {one.id: [one.datasets_seen, one.events, one.matches, one.seconds] for one in self.status()},
            }
        )

    def _restore(self, state: bytes) -> None:
        try:
            data = orjson.loads(state)
            if data["version"] != _STATE_VERSION:
                raise ValueError(f"version {data['version']}")
            self._newest = data["newest"]
            self._columns = {name: set(columns) for name, columns in data.get("columns", {}).items()}
            self._unread = set(data.get("unread", ()))
            for window in self._windows:
                if window.correlation.id in data["windows"]:
                    window.restore(data["windows"][window.correlation.id])
            for key, (seen, events, matches, seconds) in data["status"].items():
                status = self._status.get(key)
                if status is not None:
                    status.datasets_seen = tuple(seen)
                    status.events, status.matches, status.seconds = events, matches, seconds
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"not the state of a detector: {error}") from error


def nanoseconds(time: datetime) -> int:
    """Ns since the epoch, without rounding."""
    return (time - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1000


def _status(one: Rule | Correlation, ruleset: RuleSet) -> RuleStatus:
    rules = _feeding(one, ruleset)
    routes = [rule.route for rule in rules]
    names = {name for route in routes for name in (*route.names, *(f"{prefix}*" for prefix in route.prefixes))}
    error = one.error or next((f"its rule {rule.meta.title!r}: {rule.error}" for rule in rules if rule.error), None)
    return RuleStatus(
        id=one.id,
        title=one.meta.title,
        path=one.meta.path,
        level=one.meta.level,
        correlation=isinstance(one, Correlation),
        compiled=error is None,
        error=error,
        datasets=tuple(sorted(names)),
        errors=int(error is not None),
    )


def _feeding(one: Rule | Correlation, ruleset: RuleSet) -> list[Rule]:
    """The plain rules below."""
    if isinstance(one, Rule):
        return [one]
    below = [ruleset.find(rule) for rule in one.rules]
    return [rule for other in below if other is not None for rule in _feeding(other, ruleset)]


def _texts(events: pl.DataFrame, name: str) -> list[Any]:
    """Values of a column as groups and distinct values compare them; times as text."""
    if name not in events.columns:
        return [None] * events.height
    series = events[name]
    if isinstance(series.dtype, pl.Datetime):
        series = series.dt.to_string("iso")
    values = series.to_list()
    return list(map(folded, values)) if series.dtype in (pl.String, pl.List) else values


def _hits(correlation: Correlation, rule_id: str, events: pl.DataFrame, rows: Rows) -> list[Hit]:
    """What a correlation needs of the events that one of its rules matched."""
    asked = [correlation.field_of(name, rule_id) for name in (*correlation.group_by, *correlation.value_fields)]
    hit = events.select(name for name in events.columns if name in _FED or name in asked)[rows]
    groups = [_texts(hit, correlation.field_of(name, rule_id)) for name in correlation.group_by]
    values = [_texts(hit, correlation.field_of(name, rule_id)) for name in correlation.value_fields]
    count = hit.height
    weights = hit.select(event_counts(hit).alias("n"))["n"].to_list() if "event.count" in hit.columns else [1] * count
    columns = (
        hit["@timestamp"].dt.epoch("ns").to_list(),
        [correlation.rules.index(rule_id)] * count,
        zip(hit["event.id"].to_list(), strict=True),
        weights,
        weights,
        zip(*groups, strict=True) if groups else [()] * count,
        zip(*values, strict=True) if values else [()] * count,
        _texts(hit, "source.ip"),
        _texts(hit, "destination.ip"),
        hit["event.dataset"].to_list(),
        _texts(hit, "network.protocol"),
    )
    return list(map(Hit._make, zip(*columns, strict=True)))


def _alarm_hit(correlation: Correlation, window: Queue, alarm: Alarm) -> Hit:
    """An alert of one correlation as it feeds another: its fields are its group."""
    below = window.correlation
    have = dict(zip(below.group_by, alarm.group, strict=True))
    group = tuple(have.get(correlation.field_of(name, below.id)) for name in correlation.group_by)
    values = tuple(have.get(correlation.field_of(name, below.id)) for name in correlation.value_fields)
    return alarm.as_hit(correlation.rules.index(below.id), group, values)


def _joined(parts: Sequence[pl.DataFrame]) -> pl.DataFrame:
    if not parts:
        return empty()
    return conform(pl.concat(parts, how="diagonal").sort("@timestamp", "event.id"))


__all__ = ["Detector", "RuleStatus"]
