"""Absence: something happened, and what should have followed did not (our extension of Sigma correlations).

``rules: [A, B, ...]``, ``timespan: T``: every hit of the first rule waits for a hit of one of the others in the same
group, from its own time up to ``T`` later, both ends included; one hit answers all that wait then. A correlation
without a second rule waits for the first one to come again: a heartbeat that stops.

**When.** A wait is over when event time has passed its end: when everything up to a later time has come. Its alarm
carries that end as its time, and the hit of A as its event. At the end of the input, what ends before the newest event
of any rule is decided; what would end later stays open, in the state, since nobody can say that nothing came
(``waiting`` in the counters).

**Alerts.** Waits are looked at in order of their ends, as hits are elsewhere: one alert when a wait was in vain, no
other until ``timespan`` has passed since, but again at once after a wait that was answered.

**Late hits.** An answer that comes late still answers what waits for it; a hit of A that comes late waits, unless it
was answered already or its time is over (``too_late_hits``). An alarm that was raised is not taken back: ``lateness``
is what guards against that.

**Bounds.** Waits of a group, groups, and waits and remembered answers of all groups. A full group does not keep the
latest wait (``waits_not_kept``). In order of time that loses no alert: all that wait at once began within one timespan,
so at most one of them alerts, and a wait that the last alert mutes began while the one that raised it was still there:
the first that is not muted has always found room. An answer that comes late may find less than there was. Over the
other bounds, groups touched longest ago are forgotten with all that waits in them (``groups_evicted``).
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, insort
from collections import OrderedDict, deque
from collections.abc import Sequence
from operator import itemgetter
from typing import Any

from correlate.hits import Alarm, Hit, WindowLimits, frozen
from correlate.ir import Correlation
from correlate.window import Queue, Window, alarm

_ANSWERS = 100  # times of answers that a group remembers: the latest; only waits that come late ask for them
_time = itemgetter(0)


class _Group:
    __slots__ = ("alerted", "answers", "moved", "open", "true")

    def __init__(self) -> None:
        self.open: deque[Hit] = deque()  # in order of time
        self.answers: list[int] = []  # times of answers, for waits that come late
        self.moved = 0  # time of the latest hit
        self.true = False
        self.alerted: int | None = None


class Absence(Queue):
    """The state of one correlation of type absence."""

    def __init__(self, correlation: Correlation, limits: WindowLimits | None = None) -> None:
        """Start empty."""
        super().__init__(correlation, limits)
        self._again = len(correlation.rules) == 1
        self._groups: OrderedDict[tuple[Any, ...], _Group] = OrderedDict()  # touched longest ago first
        self._held = 0
        self._waiting = 0
        # When the oldest wait of a group ends; may name groups that have none any more.
        self._ends: list[tuple[int, int]] = []
        self._keys: dict[int, tuple[Any, ...]] = {}
        self._next = 0
        self._horizon: int | None = None  # everything before has come

    def _take(self, hits: Sequence[Hit]) -> list[Alarm]:
        span, groups, limits = self.correlation.timespan_ns, self._groups, self.limits
        alarms: list[Alarm] = []
        for hit in hits:
            time, key = hit[0], hit[5]
            if self._horizon is None or time > self._horizon:
                self._expire(time, alarms)
            group = groups.get(key)
            if group is None:
                if None in key:
                    self.counters["hits_without_group"] += 1
                    continue
                group = _Group()
            if self._horizon is not None and time + span < self._horizon:
                self.counters["too_late_hits"] += 1
                continue
            groups[key] = group
            groups.move_to_end(key)
            if time > group.moved:
                group.moved = time
            if hit[1] or self._again:
                self._answer(group, time)
            if not hit[1]:
                self._wait(group, hit)
            if len(groups) > limits.groups or self._held > limits.hits:
                self._evict()
        alarms.sort(key=lambda one: one.time)
        return alarms

    def _answer(self, group: _Group, time: int) -> None:
        """All that waits at this time has its answer; ``_expire`` has removed what no longer waits."""
        span, answers, waits = self.correlation.timespan_ns, group.answers, group.open
        if waits:
            kept = [] if waits[-1][0] <= time else [one for one in waits if one[0] > time or one[0] + span < time]
            if len(kept) < len(waits):
                self._held -= len(waits) - len(kept)
                self._waiting -= len(waits) - len(kept)
                group.open = deque(kept)
                group.true = False
        before = len(answers)
        insort(answers, time)
        if answers[0] < group.moved - span:
            del answers[: bisect_left(answers, group.moved - span)]
        if len(answers) > _ANSWERS:
            del answers[:-_ANSWERS]
        self._held += len(answers) - before

    def _wait(self, group: _Group, hit: Hit) -> None:
        span, answers = self.correlation.timespan_ns, group.answers
        if answers and answers[-1] >= hit[0]:
            # Only its own hit is no answer to a heartbeat; an equal time of another one is one hit to us.
            place = bisect_left(answers, hit[0] + 1 if self._again else hit[0])
            if place < len(answers) and answers[place] <= hit[0] + span:
                group.true = False
                return
        insort(group.open, hit, key=_time)
        if group.open[0] is hit:
            self._remember(hit[0] + span, hit[5])
        if len(group.open) > self.limits.group_hits:
            self.counters["waits_not_kept"] += 1
            group.open.pop()
        else:
            self._held += 1
            self._waiting += 1

    def _remember(self, end: int, key: tuple[Any, ...]) -> None:
        heapq.heappush(self._ends, (end, self._next))
        self._keys[self._next] = key
        self._next += 1
        if len(self._ends) > 2 * len(self._groups) + 1000:  # mostly of groups that were answered
            waiting = [(group.open[0].time, key) for key, group in self._groups.items() if group.open]
            self._ends, self._keys = [], {}
            for time, one in waiting:
                heapq.heappush(self._ends, (time + self.correlation.timespan_ns, self._next))
                self._keys[self._next] = one
                self._next += 1

    def _expire(self, before: int, alarms: list[Alarm]) -> None:
        """Everything before a time has come: what waited for something up to then waited in vain."""
        if self._horizon is None or before > self._horizon:
            self._horizon = before
        span = self.correlation.timespan_ns
        while self._ends and self._ends[0][0] < before:
            _, number = heapq.heappop(self._ends)
            key = self._keys.pop(number)
            group = self._groups.get(key)
            while group is not None and group.open and group.open[0].time + span < before:
                hit = group.open.popleft()
                self._held -= 1
                self._waiting -= 1
                end = hit.time + span
                if not group.true or group.alerted is None or end - group.alerted > span:
                    group.true = True
                    group.alerted = end
                    alarms.append(alarm(key, [hit], end))
                elif self.feeds:
                    alarms.append(alarm(key, [hit], end, loud=False))
            if group is not None and group.open:
                self._remember(group.open[0].time + span, key)

    def _pass(self, until: int | None, newest: int | None, alarms: list[Alarm]) -> None:
        """End waits, and forget groups that have none and cannot have been alerted about lately."""
        time = until if until is not None else newest
        if time is not None:  # else nothing has come yet
            self._expire(time, alarms)
            alarms.sort(key=lambda one: one.time)
        if until is not None:
            span = self.correlation.timespan_ns
            while self._groups:
                key, group = next(iter(self._groups.items()))
                if group.open or max(group.moved, group.alerted or group.moved) + span >= until:
                    break
                self._held -= len(self._groups.pop(key).answers)
        self.counters["waiting"] = self._waiting

    def _evict(self) -> None:
        while len(self._groups) > self.limits.groups or (self._held > self.limits.hits and len(self._groups) > 1):
            _, oldest = self._groups.popitem(last=False)
            self._held -= len(oldest.open) + len(oldest.answers)
            self._waiting -= len(oldest.open)
            self.counters["groups_evicted"] += 1

    def state(self) -> dict[str, Any]:
        """See the base."""
        groups = [
            [list(key), group.true, group.alerted, group.moved, group.answers, [list(hit) for hit in group.open]]
            for key, group in self._groups.items()
        ]
        return {**super().state(), "horizon": self._horizon, "groups": groups}

    def _restore(self, state: dict[str, Any]) -> None:
        self._horizon = state["horizon"]
        for key, true, alerted, moved, answers, waits in state["groups"]:
            group = _Group()
            group.true, group.alerted, group.moved, group.answers = true, alerted, moved, list(answers)
            group.open = deque(Hit(*frozen(one)) for one in waits)
            self._groups[frozen(key)] = group
            self._held += len(group.open) + len(group.answers)
            self._waiting += len(group.open)
            if group.open:
                self._remember(group.open[0].time + self.correlation.timespan_ns, frozen(key))


def state_of(correlation: Correlation, limits: WindowLimits | None = None) -> Queue:
    """The state that a correlation of any type needs, empty."""
    return (Absence if correlation.type == "absence" else Window)(correlation, limits)
