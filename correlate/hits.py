"""What correlations take in and give out: hits and alarms, and the bounds of what waits in between."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple


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


@dataclass(frozen=True, slots=True)
class Alarm:
    """A correlation whose condition became true.

    Attributes:
        time: Time of the hit that completed it, ns since the epoch; of an absence, when the time to wait was over.
        start: Time of the first hit in the window.
        group: Values of the group-by fields.
        event_ids: Ids of the events in the window, the latest of them if there are many; at least one.
        count: Events in the window, collapsed ones in full.
        loud: Whether it is an alert; else the condition has held since one, and it only feeds other correlations.
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
    loud: bool = True

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
