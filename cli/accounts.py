"""What became of every frame and line of the inputs: kept beside the events, so that a report says what it rests on.

A store keeps accounts in a checkpoint. A spool keeps segments only, so there an account is an event of dataset
``jianmen.input``; it travels as events do, by a forwarder or through a diode, and the centre reads it where it arrives.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sensor.base import Account
    from store.base import Store
    from store.spool import Spool

INPUTS = "jianmen.input"
"""Dataset of accounts that came through a spool."""
_KEPT_AS = "inputs"  # checkpoint: by path
_MOST = 1_000  # accounts that a store remembers; the latest stay


def remember(sink: object, accounts: Sequence[Account]) -> None:
    """Keep accounts in a store, or send them with the segments of a spool."""
    from store.base import Store
    from store.spool import Spool

    if isinstance(sink, Spool):
        _send(sink, accounts)
    elif isinstance(sink, Store):
        known = {one["path"]: one for one in _kept(sink)}
        for account in accounts:
            known.pop(account.path, None)
            known[account.path] = account.as_json()
        sink.put_checkpoint(_KEPT_AS, json.dumps(list(known.values())[-_MOST:]).encode())


def accounts_of(store: Store) -> list[dict[str, Any]]:
    """Accounts of what was read into a store, oldest first, then those that sensors sent.

    The ``path`` of these is ``sensor:path``, for every sensor has an ``eth0``.
    """
    return [*_kept(store), *_arrived(store)]


def _kept(store: Store) -> list[dict[str, Any]]:
    kept = store.checkpoint(_KEPT_AS)
    return json.loads(kept) if kept else []


def _send(spool: Spool, accounts: Sequence[Account]) -> None:
    import polars as pl

    from event.table import event_ids, origin_of

    if not accounts:
        return
    now = datetime.now(UTC)
    name = socket.gethostname() or "sensor"
    count = len(accounts)
    times = pl.Series([now] * count, dtype=pl.Datetime("ns", "UTC"))
    texts = [json.dumps(one.as_json(), ensure_ascii=False) for one in accounts]
    # What was told at another moment is another account, so the moment is in the origin.
    origin = origin_of(f"{name} {now.isoformat()} {texts[0]}".encode())
    numbers = pl.int_range(count, dtype=pl.Int64, eager=True)
    spool.append(
        pl.DataFrame(
            {
                "@timestamp": times,
                "event.id": event_ids(origin, numbers, times, INPUTS, numbers),
                "event.dataset": [INPUTS] * count,
                "event.kind": ["metric"] * count,
                "event.original": texts,
                "log.file.path": [one.path for one in accounts],
                "observer.name": [name] * count,
            }
        )
    )
    spool.flush()


def _arrived(store: Store) -> list[dict[str, Any]]:
    """The latest account of every input of every sensor."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for table in store.scan([INPUTS], columns=["event.original", "observer.name"]):
        for text, name in table.sort("@timestamp", "event.id").select("event.original", "observer.name").iter_rows():
            try:
                one = json.loads(text)
                key = (str(name), str(one["path"]))
            except (TypeError, ValueError, KeyError):
                continue  # nothing that this program writes
            found.pop(key, None)
            found[key] = {**one, "path": ":".join(key)}
    return list(found.values())[-_MOST:]
