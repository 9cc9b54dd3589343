"""Copies one store into another, through the protocol alone: from a folder to a cluster, or back.

It may be interrupted and begun again: events that are there already are left out, and a mark in the target says how
far an interrupted copy had come. The mark is forgotten at the end, so that a later copy sees what came meanwhile.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from event.errors import StoreError
from store.base import DatasetStatus, Store

MARK_ROWS = 200_000
"""Rows between two marks: what an interruption costs to be read again."""


@dataclass(slots=True)
class Copied:
    """What a copy did.

    Attributes:
        events: Events read, by dataset.
        new_events: Those that the target did not have.
        incidents: Versions of incidents that the target did not have.
        resumed: Datasets that an interrupted copy had begun or finished.
    """

    events: dict[str, int] = field(default_factory=dict)
    new_events: dict[str, int] = field(default_factory=dict)
    incidents: int = 0
    resumed: list[str] = field(default_factory=list)


def copy(
    source: Store,
    target: Store,
    *,
    name: str,
    checkpoints: tuple[str, ...] = (),
    progress: Callable[[str, int], None] = lambda dataset, events: None,
) -> Copied:
    """Copy events, incidents with their history, and some checkpoints.

    Args:
        source: Where from; only read.
        target: Where to.
        name: What the source is called, the same each time: the mark goes by it.
        checkpoints: Names of checkpoints to copy where the target has none of that name.
        progress: Called with a dataset and how many of its events were read.

    Raises:
        StoreError: One of the two failed, or the target has another incident under the same id.
    """
    mark = f"copy/{hashlib.sha256(name.encode()).hexdigest()[:16]}"
    kept = target.checkpoint(mark)
    state: dict[str, Any] = json.loads(kept) if kept else {}
    result = Copied(resumed=sorted(state))
    for held in source.status():
        if state.get(held.dataset) != held.events:  # else an interrupted copy had done with it
            _copy_dataset(source, target, held, state, mark, result, progress)
    result.incidents = _copy_incidents(source, target)
    for one in checkpoints:
        value = source.checkpoint(one)
        if value is not None and target.checkpoint(one) is None:
            target.put_checkpoint(one, value)
    target.put_checkpoint(mark, b"{}")
    return result


def _copy_dataset(
    source: Store,
    target: Store,
    held: DatasetStatus,
    state: dict[str, Any],
    mark: str,
    result: Copied,
    progress: Callable[[str, int], None],
) -> None:
    dataset = held.dataset
    before = state.get(dataset)
    since = datetime.fromisoformat(before) if isinstance(before, str) else None
    read = new = waiting = 0
    for table in source.scan([dataset], since=since):
        if table.is_empty():
            continue
        new += target.append(table)
        read += table.height
        waiting += table.height
        if waiting >= MARK_ROWS:
            target.flush()
            # The next scan begins with this second, inclusive: what it reads again is left out.
            nanoseconds = int(table["@timestamp"].dt.epoch("ns")[-1])
            state[dataset] = datetime.fromtimestamp(nanoseconds // 1_000_000_000, UTC).isoformat()
            target.put_checkpoint(mark, json.dumps(state).encode())
            waiting = 0
        progress(dataset, read)
    target.flush()
    state[dataset] = held.events
    target.put_checkpoint(mark, json.dumps(state).encode())
    result.events[dataset], result.new_events[dataset] = read, new


def _copy_incidents(source: Store, target: Store) -> int:
    """Copy every version that the target lacks, in order."""
    count = 0
    for latest in source.incidents():
        there = target.incident(latest.id)
        if there is not None and there.id != latest.id:
            there = None  # its id begins like ours
        have = there.version if there else 0
        if have and (same := source.incident(latest.id, min(have, latest.version))) is not None:
            other = target.incident(latest.id, min(have, latest.version))
            if other != same:
                raise StoreError(
                    f"incident {latest.id} has another history in the target",
                    hint="close or merge one of the two; nothing of it was overwritten",
                )
        for version in range(have + 1, latest.version + 1):
            one = source.incident(latest.id, version)
            if one is not None:
                target.put_incident(one)
                count += 1
    return count
