"""What a spool holds, what it had to drop, and how far behind its forwarder is."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl


@dataclass(slots=True)
class Lost:
    """What was dropped of one dataset."""

    events: int = 0
    bytes: int = 0
    segments: int = 0


@dataclass(slots=True)
class Dropped:
    """What was dropped at the limit since the spool was made."""

    datasets: dict[str, Lost] = field(default_factory=dict)
    first: str | None = None
    last: str | None = None
    going: list[int] = field(default_factory=list)
    """Numbers that are counted and may still lie there after a crash."""

    @property
    def events(self) -> int:
        """Events of all datasets."""
        return sum(lost.events for lost in self.datasets.values())

    def add(self, dataset: str, events: int, size: int) -> None:
        """Count one segment."""
        lost = self.datasets.setdefault(dataset, Lost())
        lost.events += events
        lost.bytes += size
        lost.segments += 1
        now = datetime.now(UTC).isoformat()
        self.first = self.first or now
        self.last = now


@dataclass(frozen=True, slots=True)
class SpoolStatus:
    """What a spool holds now.

    Attributes:
        path: The spool.
        limit_bytes: What the waiting segments may take.
        bytes: What they take.
        segments: How many wait.
        events: Events in them.
        datasets: The same by dataset: segments, events, bytes.
        first: Number of the oldest one.
        last: Number of the newest one.
        age_seconds: How long the oldest one has waited, at least. Later segments are younger than it, so a clock that
            was set back cannot make it look younger than they are.
        newest_event: Time of the newest event in the latest segments that wait, ISO 8601 with nanoseconds.
        lag_seconds: How far the newest event that was delivered is behind that one; None before the first delivery, 0
            if nothing waits.
        parked: File names of segments that cannot be delivered, with the reason.
        dropped: What was dropped at the limit.
        forward: What the forwarder said last; empty if it never ran.
    """

    path: Path
    limit_bytes: int
    bytes: int
    segments: int
    events: int
    datasets: dict[str, Lost]
    first: int | None
    last: int | None
    age_seconds: float
    newest_event: str | None
    lag_seconds: float | None
    parked: dict[str, str]
    dropped: Dropped
    forward: dict[str, Any]


def newest_event(paths: Iterable[Path]) -> str | None:
    """Time of the newest event in segments, ISO 8601 with nanoseconds."""
    found: list[str] = []
    for path in paths:
        with suppress(OSError, pl.exceptions.PolarsError):  # gone meanwhile, or damaged: the forwarder says so
            times = pl.scan_parquet(path, glob=False).select(pl.col("@timestamp").max()).collect()
            found.append(str(times["@timestamp"].dt.to_string("iso:strict").item()))
    return max(found, default=None)


def lag(newest: str | None, delivered: str | None, waits: bool) -> float | None:
    """Seconds from the newest event that was delivered to the newest that waits."""
    if not waits:
        return 0.0
    if newest is None or delivered is None:
        return None
    return max(
        0.0,
        (
            datetime.fromisoformat(newest[:26] + "+00:00") - datetime.fromisoformat(delivered[:26] + "+00:00")
        ).total_seconds(),
    )
