"""Sigma correlations on sliding windows in event time.

**Window.** At every hit of one of its rules, a correlation looks at the hits of the same group from ``timespan``
before that hit up to it, both ends included, and asks whether its condition holds. A hit without a value for one of the
group-by fields belongs to no group; it is counted (``hits_without_group``). Groups and distinct values differ by more
than case, as all of Sigma. A collapsed event counts as often as it stands for, at its own time.

**Alerts.** One when the condition becomes true at a hit. While it stays true at every further hit of the group,
nothing is repeated until ``timespan`` has passed since that alert; then there is one more. Once the condition was
false at a hit, the next time it is true alerts again.

**Order.** Tables come one dataset at a time and their times overlap. Hits wait until the newest event seen is
``lateness`` ahead of them and are then taken in order of time; hits of one time in the order in which the correlation
names its rules. A hit that comes later still is put at its place in the window if the window reaches back to it, and
is counted (``late_hits``); older ones are dropped and counted (``too_late_hits``).

**Bounds.** Hits that wait, groups, hits in one group and in all groups are bounded. Over the bound, waiting hits are
taken early, the hits of a group that are oldest and the groups that were touched longest ago are forgotten; each is
counted. A group whose last hit is longer ago than ``timespan`` is forgotten without loss.

**Types.** event_count; value_count: distinct values, each element of a list being one (several fields: distinct
combinations without a null); temporal: rules that were hit; temporal_ordered: all rules were hit in order of time;
value_sum, value_avg, value_percentile (between two ranks in proportion), value_median: over values that are numbers
or spell one; without any such value the condition does not hold.
"""

from __future__ import annotations

import math
from bisect import bisect_right, insort
from collections import Counter, OrderedDict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, NamedTuple

from correlate.atoms import number_of
from correlate.bounds import within
from correlate.ir import Correlation, Node

_MOST = 100  # addresses, datasets and ids that an alert collects of each


@dataclass(frozen=True, slots=True)
class WindowLimits:
    """Bounds of one correlation."""

    pending: int = 200_000
    """Hits that wait for their turn."""
    groups: int = 50_000
    group_hits: int = 20_000
    """Hits in one group."""
    hits: int = 500_000
    """Hits in all groups."""


class Hit(NamedTuple):
    """An event that a rule of the correlation matched, or an alert of a correlation that feeds it."""

    time: int
    """ns since the epoch."""
    role: int
    """Place of the rule in the correlation."""
    ids: tuple[str, ...]
    """Ids of the events behind it."""
    weight: int
    """How much it counts."""
    events: int
    """Events behind it, collapsed ones in full."""
    group: tuple[Any, ...]
    """Group-by values, ``folded``."""
    values: tuple[Any, ...]
    """Values of the condition's fields, ``folded``."""
    sources: Any
    """One address, a tuple of several, or None."""
    destinations: Any
    datasets: Any
    protocols: Any


def frozen(value: Any) -> Any:
    """The value with lists as tuples, so that it can be a key."""
    return tuple(map(frozen, value)) if isinstance(value, (list, tuple)) else value


def folded(value: Any) -> Any:
    """The value as groups and distinct values compare it: texts in lower case, lists as tuples."""
    if isinstance(value, (list, tuple)):
        return tuple(map(folded, value)) or None
    return value.lower() if isinstance(value, str) else value


def _some(value: Any) -> tuple[str, ...]:
    return () if value is None else (value,)


@dataclass(frozen=True, slots=True)
class Alarm:
    """A correlation whose condition became true.

    Attributes:
        time: Time of the hit that completed it, ns since the epoch.
        start: Time of the first hit in the window.
        group: Values of the group-by fields.
        event_ids: Ids of the events in the window, the latest of them if there are many; at least one.
        count: Events in the window, collapsed ones in full.
    """

    time: int
    start: int
    group: tuple[Any, ...]
    event_ids: tuple[str, ...]
    count: int
    sources: tuple[str, ...]
    destinations: tuple[str, ...]
    datasets: tuple[str, ...]
    protocols: tuple[str, ...]

    def as_hit(self, role: int, group: tuple[Any, ...], values: tuple[Any, ...]) -> Hit:
        """The alarm as something that feeds another correlation."""
        return Hit(
            self.time,
            role,
            self.event_ids,
            1,
            self.count,
            frozen(group),
            frozen(values),
            self.sources,
            self.destinations,
            self.datasets,
            self.protocols,
        )


class _Tally:
    """What is counted in one window; the base counts events."""

    def __init__(self, correlation: Correlation) -> None:
        self.correlation = correlation
        self.within = within(correlation.conditions)
        self.total = 0

    def add(self, hit: Hit) -> None:
        self.total += hit.weight

    def remove(self, hit: Hit) -> None:
        self.total -= hit.weight

    def true(self, since: int) -> bool:
        """Whether the condition holds for the window that begins at ``since``."""
        return self.within(self.total)

    def begin(self) -> int | None:
        """Time of the first hit that matters, if not all do."""
        return None


class _Values(_Tally):
    """Distinct values."""

    def __init__(self, correlation: Correlation) -> None:
        super().__init__(correlation)
        self.seen: Counter[Any] = Counter()

    @staticmethod
    def _keys(hit: Hit) -> Iterable[Any]:
        if len(hit.values) == 1:
            value = hit.values[0]
            return [one for one in value if one is not None] if isinstance(value, tuple) else _some(value)
        return () if any(value is None for value in hit.values) else (hit.values,)

    def add(self, hit: Hit) -> None:
        for key in self._keys(hit):
            self.seen[key] += 1

    def remove(self, hit: Hit) -> None:
        for key in self._keys(hit):
            self.seen[key] -= 1
            if not self.seen[key]:
                del self.seen[key]

    def true(self, since: int) -> bool:
        return self.within(len(self.seen))


class _Numbers(_Tally):
    """Sum, mean, percentile and median."""

    def __init__(self, correlation: Correlation) -> None:
        super().__init__(correlation)
        self.sorted: list[tuple[float, int]] = []  # value, weight
        self.weight = 0
        self.sum = 0
        self.fractions = 0

    @staticmethod
    def _numbers(hit: Hit) -> list[int | float]:
        value = hit.values[0]
        found = [number_of(one) for one in (value if isinstance(value, tuple) else (value,)) if one is not None]
        return [one for one in found if one is not None and math.isfinite(one)]

    def add(self, hit: Hit) -> None:
        for number in self._numbers(hit):
            insort(self.sorted, (number, hit.weight))
            self._count(number, hit.weight)

    def remove(self, hit: Hit) -> None:
        for number in self._numbers(hit):
            self.sorted.pop(bisect_right(self.sorted, (number, hit.weight)) - 1)
            self._count(number, -hit.weight)

    def _count(self, number: int | float, weight: int) -> None:
        self.weight += weight
        if isinstance(number, int):
            self.sum += number * weight
        else:
            self.fractions += 1 if weight > 0 else -1

    def _sum(self) -> float:
        # Adding and taking away fractions would pile up errors: their sum is made anew, exactly rounded.
        if not self.fractions:
            return self.sum
        return math.fsum(number * weight for number, weight in self.sorted)

    def _percentile(self, percent: float) -> float:
        rank, rest = divmod((self.weight - 1) * percent, 100)
        low = self._at(int(rank) + 1)
        if not rest:
            return low
        return (low * (100 - rest) + self._at(int(rank) + 2) * rest) / 100

    def _at(self, rank: int) -> float:
        """The value at a rank from 1, weights counted."""
        if self.weight == len(self.sorted):
            return self.sorted[rank - 1][0]
        for number, weight in self.sorted:
            rank -= weight
            if rank <= 0:
                return number
        return self.sorted[-1][0]

    def true(self, since: int) -> bool:
        if not self.sorted:
            return False
        kind = self.correlation.type
        if kind == "value_sum":
            value = self._sum()
        elif kind == "value_avg":
            value = self._sum() / self.weight
        elif kind == "value_median":
            value = self._percentile(50)
        else:
            value = self._percentile(self.correlation.percentile or 0)
        return self.within(value)


class _Rules(_Tally):
    """Which rules were hit."""

    def __init__(self, correlation: Correlation) -> None:
        super().__init__(correlation)
        self.hits = [0] * len(correlation.rules)

    def add(self, hit: Hit) -> None:
        self.hits[hit.role] += 1

    def remove(self, hit: Hit) -> None:
        self.hits[hit.role] -= 1

    def true(self, since: int) -> bool:
        if self.correlation.extended is not None:
            return self._extended(self.correlation.extended)
        return self.within(sum(1 for count in self.hits if count))

    def _extended(self, node: Node) -> bool:
        if node[0] == "rule":
            return self.hits[node[1]] > 0
        if node[0] == "not":
            return not self._extended(node[1])
        return (all if node[0] == "and" else any)(self._extended(child) for child in node[1])


class _Ordered(_Tally):
    """Rules hit in order: the latest start of a chain of the first k rules, for each k."""

    def __init__(self, correlation: Correlation) -> None:
        super().__init__(correlation)
        self.starts: list[int | None] = [None] * len(correlation.rules)

    def add(self, hit: Hit) -> None:
        if hit.role == 0:
            self.starts[0] = hit.time
            return
        before, here = self.starts[hit.role - 1], self.starts[hit.role]
        if before is not None and (here is None or before > here):
            self.starts[hit.role] = before

    def remove(self, hit: Hit) -> None:
        """A chain that began with it is too old: ``true`` sees that by its start."""

    def true(self, since: int) -> bool:
        start = self.starts[-1]
        return start is not None and start >= since

    def begin(self) -> int | None:
        return self.starts[-1]


_TALLIES: dict[str, type[_Tally]] = {
    "event_count": _Tally,
    "value_count": _Values,
    "temporal": _Rules,
    "temporal_ordered": _Ordered,
    "value_sum": _Numbers,
    "value_avg": _Numbers,
    "value_percentile": _Numbers,
    "value_median": _Numbers,
}


class _Group:
    __slots__ = ("alerted", "hits", "tally", "true")

    def __init__(self, correlation: Correlation) -> None:
        self.hits: deque[Hit] = deque()
        self.tally = _TALLIES[correlation.type](correlation)
        self.true = False
        self.alerted: int | None = None


class Window:
    """The state of one correlation.

    Attributes:
        taken: Hits that were worked off.
        counters: Bounds reached and hits late, by name.
    """

    def __init__(self, correlation: Correlation, limits: WindowLimits | None = None) -> None:
        """Start empty."""
        self.correlation = correlation
        self.limits = limits or WindowLimits()
        self.taken = 0
        self.counters: Counter[str] = Counter()
        self._pending: list[Hit] = []
        self._groups: OrderedDict[tuple[Any, ...], _Group] = OrderedDict()  # touched longest ago first
        self._held = 0
        self._until: int | None = None

    def push(self, rule_id: str, hits: Sequence[Hit]) -> None:
        """Let hits of one rule wait for their turn."""
        del rule_id  # the role is in the hit
        self._pending.extend(hits)

    def advance(self, until: int | None) -> list[Alarm]:
        """Take all waiting hits up to a time, in order.

        Args:
            until: ns since the epoch; None takes all.

        Returns:
            Alarms in order of time.
        """
        if self._pending:
            self._pending.sort(key=itemgetter(0, 1, 2))  # time, role, ids
        pending = self._pending
        end = len(pending) if until is None else bisect_right(pending, until, key=lambda hit: hit.time)
        early = len(pending) - end - self.limits.pending
        if early > 0:
            self.counters["hits_taken_early"] += early
            end += early
        alarms: list[Alarm] = []
        for hit in pending[:end]:
            if self._until is not None and hit.time < self._until:
                self.counters["late_hits"] += 1
            alarm = self._take(hit)
            if alarm is not None:
                alarms.append(alarm)
        last = pending[end - 1].time if end else None
        self._pending = pending[end:]
        for time in (until, last):
            if time is not None and (self._until is None or time > self._until):
                self._until = time
        if until is not None:
            self._forget_idle(until)
        return alarms

    def _take(self, hit: Hit) -> Alarm | None:
        self.taken += 1
        if None in hit.group:
            self.counters["hits_without_group"] += 1
            return None
        group = self._groups.get(hit.group)
        if group is None:
            group = self._groups[hit.group] = _Group(self.correlation)
        else:
            self._groups.move_to_end(hit.group)
        now = max(hit.time, group.hits[-1].time) if group.hits else hit.time
        since = now - self.correlation.timespan_ns
        if hit.time < since:
            self.counters["too_late_hits"] += 1
            return None
        if group.hits and hit.time < group.hits[-1].time:
            self._insert(group, hit)
        else:
            group.hits.append(hit)
            group.tally.add(hit)
        self._held += 1
        while group.hits[0].time < since:
            self._drop(group)
        if len(group.hits) > self.limits.group_hits:
            self.counters["group_hits_evicted"] += 1
            self._drop(group)
        self._evict()
        if not group.tally.true(since):
            group.true = False
            return None
        if group.true and group.alerted is not None and now - group.alerted <= self.correlation.timespan_ns:
            return None
        group.true = True
        group.alerted = now
        return _alarm(hit.group, group, now)

    def _insert(self, group: _Group, hit: Hit) -> None:
        """Put a late hit at its place; what depends on the order is counted anew."""
        place = len(group.hits)
        while place and group.hits[place - 1].time > hit.time:
            place -= 1
        group.hits.insert(place, hit)
        if isinstance(group.tally, _Ordered):
            group.tally = _Ordered(self.correlation)
            for one in group.hits:
                group.tally.add(one)
        else:
            group.tally.add(hit)

    def _drop(self, group: _Group) -> None:
        group.tally.remove(group.hits.popleft())
        self._held -= 1

    def _evict(self) -> None:
        while len(self._groups) > self.limits.groups or (self._held > self.limits.hits and len(self._groups) > 1):
            _, oldest = self._groups.popitem(last=False)
            self._held -= len(oldest.hits)
            self.counters["groups_evicted"] += 1

    def _forget_idle(self, until: int) -> None:
        span = self.correlation.timespan_ns
        while self._groups:
            key = next(iter(self._groups))
            hits = self._groups[key].hits
            if hits and hits[-1].time + span >= until:
                break
            self._held -= len(self._groups.pop(key).hits)

    def state(self) -> dict[str, Any]:
        """All that ``restore`` needs, as plain data."""
        return {
            "condition": repr(self.correlation.conditions) + repr(self.correlation.rules),
            "taken": self.taken,
            "counters": dict(self.counters),
            "until": self._until,
            "pending": [list(hit) for hit in self._pending],
            "groups": [
                [list(key), group.true, group.alerted, [list(hit) for hit in group.hits]]
                for key, group in self._groups.items()
            ],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a state; one of a correlation that reads otherwise now is ignored.

        Raises:
            KeyError, TypeError, ValueError: ``state`` is not a state.
        """
        if state["condition"] != repr(self.correlation.conditions) + repr(self.correlation.rules):
            return
        self.taken = state["taken"]
        self.counters = Counter(state["counters"])
        self._until = state["until"]
        self._pending = [Hit(*frozen(one)) for one in state["pending"]]
        for key, true, alerted, hits in state["groups"]:
            group = _Group(self.correlation)
            group.true, group.alerted = true, alerted
            for one in hits:
                hit = Hit(*frozen(one))
                group.hits.append(hit)
                group.tally.add(hit)
            self._groups[frozen(key)] = group
            self._held += len(group.hits)


def _alarm(key: tuple[Any, ...], group: _Group, now: int) -> Alarm:
    begin = group.tally.begin()
    hits = [hit for hit in group.hits if begin is None or hit.time >= begin]
    ids = dict.fromkeys(one for hit in reversed(hits[-_MOST:]) for one in reversed(hit.ids))
    return Alarm(
        time=now,
        start=hits[0].time,
        group=key,
        event_ids=tuple(reversed(list(ids)[:_MOST])),
        count=sum(hit.events for hit in hits),
        sources=_collected(hit.sources for hit in hits),
        destinations=_collected(hit.destinations for hit in hits),
        datasets=_collected(hit.datasets for hit in hits),
        protocols=_collected(hit.protocols for hit in hits),
    )


def _collected(parts: Iterable[Any]) -> tuple[str, ...]:
    distinct = dict.fromkeys(part for part in parts if part is not None)
    flat = (one for part in distinct for one in (part if isinstance(part, tuple) else (part,)))
    return tuple(dict.fromkeys(flat))[:_MOST]
