"""Sigma correlations on sliding windows in event time.

**Window.** At every hit of one of its rules, a correlation looks at the hits of the same group from ``timespan``
before that hit up to it, both ends included, and asks whether its condition holds. A hit without a value for one of the
group-by fields belongs to no group; it is counted (``hits_without_group``). Groups and distinct values differ by more
than case, as all of Sigma. A collapsed event counts as often as it stands for, at its own time.

**Alerts.** One when the condition becomes true at a hit. While it stays true at every further hit of the group,
nothing is repeated until ``timespan`` has passed since that alert; then there is one more. Once the condition was
false at a hit, the next time it is true alerts again. A correlation that refers to this one is fed at every hit at
which the condition holds: what is not repeated to people has happened all the same.

**Order.** Tables come one dataset at a time and their times overlap. Hits wait until the caller says that everything
up to their time has come (``advance``) and are then taken in order of time; hits of one time in the order in which the
correlation names its rules. A hit that comes later still is put at its place in the window if the window reaches back
to it, and is counted (``late_hits``); older ones are dropped and counted (``too_late_hits``).

**Bounds.** Hits that wait, groups, hits in one group and in all groups are bounded. Over the bound, waiting hits are
taken early, the hits of a group that are oldest and the groups that were touched longest ago are forgotten; each is
counted. A group whose last hit is longer ago than ``timespan`` is forgotten without loss.

**Types.** event_count; value_count: distinct values, each element of a list being one (several fields: distinct
combinations without a null); temporal: rules that were hit; temporal_ordered: rules that were hit in order of time, all
or as many as the condition asks for; value_sum, value_avg, value_percentile (between two ranks in proportion),
value_median: over values that are numbers or spell one; without any such value the condition does not hold. For
absence see ``correlate.absence``.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Iterable, Sequence
from operator import itemgetter
from typing import Any

from correlate.hits import Alarm, Hit, WindowLimits, folded, frozen
from correlate.ir import Correlation
from correlate.tallies import Tally, tally_of

_MOST = 100  # addresses, datasets and ids that an alert collects of each


class Queue:
    """Hits that wait for their turn: what every kind of correlation has in common.

    Attributes:
        taken: Hits that were worked off.
        counters: Bounds reached and hits late, by name.
        feeds: Whether another correlation refers to this one: then every hit at which the condition holds makes an
            alarm, those that are no alert included.
    """

    def __init__(self, correlation: Correlation, limits: WindowLimits | None = None) -> None:
        """Start empty."""
        self.correlation = correlation
        self.limits = limits or WindowLimits()
        self.taken = 0
        self.counters: Counter[str] = Counter()
        self.feeds = False
        self._pending: list[Hit] = []
        self._until: int | None = None

    def push(self, rule_id: str, hits: Sequence[Hit]) -> None:
        """Let hits of one rule wait for their turn."""
        del rule_id  # the role is in the hit
        self._pending.extend(hits)

    def advance(self, until: int | None, newest: int | None = None) -> list[Alarm]:
        """Take all waiting hits up to a time, in order.

        Args:
            until: ns since the epoch; None takes all.
            newest: Time of the newest event that any rule has seen: how far ``until=None`` reaches for what waits for
                time to pass. The last hit if None.

        Returns:
            Alarms in order of time.
        """
        pending = self._pending
        try:
            pending.sort()  # time, role, ids; what is equal in these three is one event that came twice
        except TypeError:  # it did, and was told apart by a null
            pending.sort(key=itemgetter(0, 1, 2))
        end = len(pending) if until is None else bisect_right(pending, until, key=itemgetter(0))
        early = len(pending) - end - self.limits.pending
        if early > 0:
            self.counters["hits_taken_early"] += early
            end += early
        if self._until is not None and end and pending[0].time < self._until:
            self.counters["late_hits"] += sum(1 for hit in pending[:end] if hit.time < self._until)
        self.taken += end
        alarms = self._take(pending if end == len(pending) else pending[:end])
        reached = [time for time in (until, pending[end - 1].time if end else None, self._until) if time is not None]
        self._until = max(reached, default=None)
        self._pending = pending[end:]
        self._pass(until, self._until if newest is None else newest, alarms)
        return alarms

    def _take(self, hits: Sequence[Hit]) -> list[Alarm]:
        """Work off hits in order."""
        raise NotImplementedError

    def _pass(self, until: int | None, newest: int | None, alarms: list[Alarm]) -> None:
        """Time has passed up to ``until``, or, where all there is has come, to ``newest``."""

    def state(self) -> dict[str, Any]:
        """All that ``restore`` needs, as plain data."""
        return {
            "condition": _identity(self.correlation),
            "taken": self.taken,
            "counters": dict(self.counters),
            "until": self._until,
            "pending": [list(hit) for hit in self._pending],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a state; one of a correlation that reads otherwise now is ignored.

        Raises:
            KeyError, TypeError, ValueError: ``state`` is not a state.
        """
        if state["condition"] != _identity(self.correlation):
            return
        self.taken = state["taken"]
        self.counters = Counter(state["counters"])
        self._until = state["until"]
        self._pending = [Hit(*frozen(one)) for one in state["pending"]]
        self._restore(state)

    def _restore(self, state: dict[str, Any]) -> None:
        """The part of ``restore`` that is each kind's own."""


def _identity(one: Correlation) -> str:
    """What must be the same for a state to have a meaning."""
    return repr(
        (
            one.type,
            one.rules,
            one.group_by,
            sorted((name, sorted(of.items())) for name, of in one.aliases.items()),
            one.timespan_ns,
            one.conditions,
            one.extended,
            one.value_fields,
            one.percentile,
        )
    )


class _Group:
    __slots__ = ("alerted", "hits", "tally", "true")

    def __init__(self, correlation: Correlation, kind: type[Tally]) -> None:
        self.hits: deque[Hit] = deque()
        self.tally = kind(correlation, self.hits)
        self.true = False
        self.alerted: int | None = None


class Window(Queue):
    """The state of one correlation over a sliding window."""

    def __init__(self, correlation: Correlation, limits: WindowLimits | None = None) -> None:
        """Start empty."""
        super().__init__(correlation, limits)
        self._kind = tally_of(correlation)
        self._groups: OrderedDict[tuple[Any, ...], _Group] = OrderedDict()  # touched longest ago first
        self._held = 0

    def _take(self, hits: Sequence[Hit]) -> list[Alarm]:
        # Group by group, for what belongs together then lies together in the processor's cache: the order of hits
        # matters within a group only, and alarms are put in order afterwards.
        parts: defaultdict[tuple[Any, ...], list[Hit]] = defaultdict(list)
        for hit in hits:
            parts[hit[5]].append(hit)
        groups, limits = self._groups, self.limits
        alarms: list[Alarm] = []
        for key, part in parts.items():
            group = groups.get(key)
            if group is not None:
                groups.move_to_end(key)
            elif None in key:
                self.counters["hits_without_group"] += len(part)
                continue
            else:
                group = groups[key] = _Group(self.correlation, self._kind)
            before = len(group.hits)
            self._take_group(key, group, part, alarms)
            self._held += len(group.hits) - before
            if len(groups) > limits.groups or self._held > limits.hits:
                self._evict()
        if len(parts) > 1:
            alarms.sort(key=lambda one: one.time)
        return alarms

    def _take_group(self, key: tuple[Any, ...], group: _Group, part: Sequence[Hit], alarms: list[Alarm]) -> None:
        """Work off hits of one group, in order."""
        span, most = self.correlation.timespan_ns, self.limits.group_hits
        inside, tally = group.hits, group.tally
        if (
            not group.true
            and len(inside) + len(part) <= most
            and (not inside or part[0][0] >= inside[-1][0])
            and tally.quiet(part)
        ):
            inside.extend(part)
            since = part[-1][0] - span
            while inside[0][0] < since:
                tally.remove(inside.popleft())
            return
        add, remove, true = tally.add, tally.remove, tally.true
        for hit in part:
            now = hit[0]
            if inside and now < inside[-1][0]:
                now = inside[-1][0]
                if hit[0] < now - span:
                    self.counters["too_late_hits"] += 1
                    continue
                tally = self._insert(group, hit)
                add, remove, true = tally.add, tally.remove, tally.true
            else:
                inside.append(hit)
                add(hit)
            since = now - span
            while inside[0][0] < since:
                remove(inside.popleft())
            if len(inside) > most:
                self.counters["group_hits_evicted"] += 1
                remove(inside.popleft())
            if not true(since):
                group.true = False
            elif not group.true or group.alerted is None or now - group.alerted > span:
                group.true = True
                group.alerted = now
                alarms.append(alarm(key, inside, now, tally.begin()))
            elif self.feeds:
                alarms.append(alarm(key, (inside[-1],), now, loud=False))

    def _insert(self, group: _Group, hit: Hit) -> Tally:
        """Put a late hit at its place; what depends on the order is counted anew."""
        place = len(group.hits)
        while place and group.hits[place - 1].time > hit.time:
            place -= 1
        group.hits.insert(place, hit)
        if group.tally.replay:
            group.tally = self._kind(self.correlation, group.hits)
            for one in group.hits:
                group.tally.add(one)
        else:
            group.tally.add(hit)
        return group.tally

    def _evict(self) -> None:
        while len(self._groups) > self.limits.groups or (self._held > self.limits.hits and len(self._groups) > 1):
            _, oldest = self._groups.popitem(last=False)
            self._held -= len(oldest.hits)
            self.counters["groups_evicted"] += 1

    def _pass(self, until: int | None, newest: int | None, alarms: list[Alarm]) -> None:
        """Forget groups whose window is over."""
        if until is None:
            return
        span = self.correlation.timespan_ns
        while self._groups:
            key = next(iter(self._groups))
            hits = self._groups[key].hits
            if hits and hits[-1].time + span >= until:
                break
            self._held -= len(self._groups.pop(key).hits)

    def state(self) -> dict[str, Any]:
        """See the base."""
        groups = [
            [list(key), group.true, group.alerted, [list(hit) for hit in group.hits]]
            for key, group in self._groups.items()
        ]
        return {**super().state(), "groups": groups}

    def _restore(self, state: dict[str, Any]) -> None:
        for key, true, alerted, hits in state["groups"]:
            group = _Group(self.correlation, self._kind)
            group.true, group.alerted = true, alerted
            for one in hits:
                hit = Hit(*frozen(one))
                group.hits.append(hit)
                group.tally.add(hit)
            self._groups[frozen(key)] = group
            self._held += len(group.hits)


def alarm(
    key: tuple[Any, ...], inside: Iterable[Hit], now: int, begin: int | None = None, *, loud: bool = True
) -> Alarm:
    """An alarm over the hits of a group, those from ``begin`` on."""
    hits = list(inside) if begin is None else [hit for hit in inside if hit.time >= begin]
    ids = dict.fromkeys(one for hit in reversed(hits[-_MOST:]) for one in reversed(hit.ids))
    return Alarm(
        time=now,
        start=hits[0].time,
        group=key,
        event_ids=tuple(reversed(list(ids)[:_MOST])),
        count=sum(map(_events, hits)),
        sources=_collected(map(_sources, hits)),
        destinations=_collected(map(_destinations, hits)),
        datasets=_collected(map(_datasets, hits)),
        protocols=_collected(map(_protocols, hits)),
        loud=loud,
    )


_events, _sources, _destinations, _datasets, _protocols = map(itemgetter, (4, 7, 8, 9, 10))


def _collected(parts: Iterable[Any]) -> tuple[str, ...]:
    distinct = dict.fromkeys(parts)
    distinct.pop(None, None)
    flat = (one for part in distinct for one in (part if isinstance(part, tuple) else (part,)))
    return tuple(dict.fromkeys(flat))[:_MOST]


__all__ = ["Alarm", "Hit", "Queue", "Window", "WindowLimits", "alarm", "folded", "frozen"]
