"""The store's protocol. ``tests/store/test_contract.py`` runs on every implementation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import TracebackType
from typing import Protocol, Self, runtime_checkable

import polars as pl

from event.coarse import Coarse
from event.incident import Incident


@dataclass(frozen=True, slots=True)
class DatasetStatus:
    """What a store holds of one dataset."""

    dataset: str
    events: int
    bytes: int
    segments: int
    oldest: datetime | None
    newest: datetime | None


@runtime_checkable
class Store(Protocol):
    """Keeps event tables, checkpoints and incidents.

    Everything raises ``StoreError`` when the store cannot be reached, read or written.
    """

    def append(self, events: pl.DataFrame) -> int:
        """Store a table of one dataset; rows whose ``event.id`` is there already are left out.

        Durable after ``flush`` (or ``close``); an implementation may gather small tables until then.

        Returns:
            How many rows were new. Where rows are still gathered, those that are not in the gathered rows
            or the store.
        """
        ...

    def flush(self) -> None:
        """Make everything that was appended durable and visible to other readers."""
        ...

    def datasets(self) -> list[str]:
        """Datasets that hold events, sorted."""
        ...

    def scan(
        self,
        datasets: Sequence[str] | None = None,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        where: pl.Expr | None = None,
        columns: Sequence[str] | None = None,
        batch_rows: int = 65_536,
    ) -> Iterator[pl.DataFrame]:
        """Yield tables of one dataset each, rows ordered by ``@timestamp`` and ``event.id`` within a dataset.

        Memory stays bounded by ``batch_rows`` and the segments that overlap in time.

        Args:
            datasets: Which; all if None. An unknown name yields nothing.
            since: First instant, inclusive.
            until: Last instant, exclusive.
            where: Predicate over catalogue columns. A column that the dataset lacks is null.
            columns: Columns wanted; ``@timestamp``, ``event.id`` and ``event.dataset`` always come too.
            batch_rows: Rows of a table at most.
        """
        ...

    def search(
        self,
        datasets: Sequence[str] | None = None,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        where: pl.Expr | None = None,
        columns: Sequence[str] | None = None,
        limit: int | None = None,
        newest_first: bool = False,
    ) -> Iterator[pl.DataFrame]:
        """As ``scan``, but ordered by time over all datasets together, at most ``limit`` rows."""
        ...

    def get(self, event_ids: Sequence[str]) -> pl.DataFrame:
        """Events by id, those that exist, ordered by time."""
        ...

    def status(self) -> list[DatasetStatus]:
        """What is held, by dataset."""
        ...

    def retain(self, days: dict[str, int], now: datetime, *, apply: bool) -> dict[str, int]:
        """Delete events older than ``days[dataset]`` (``"*"`` for the rest) before ``now``.

        Events that an open incident refers to as evidence stay.

        Returns:
            Events deleted (or, unless ``apply``, that would be deleted) by dataset.
        """
        ...

    def checkpoint(self, name: str) -> bytes | None:
        """The value last put under ``name``."""
        ...

    def put_checkpoint(self, name: str, value: bytes) -> None:
        """Keep ``value`` under ``name``, durably, at once."""
        ...

    def put_incident(self, incident: Incident) -> None:
        """Store a version of an incident.

        Raises:
            StoreError: The stored version is not ``incident.version - 1`` (somebody else changed it meanwhile), or
                a first version exists already.
        """
        ...

    def incident(self, incident_id: str, version: int | None = None) -> Incident | None:
        """An incident by id (a unique prefix is enough), the latest or the given version."""
        ...

    def incidents(self) -> list[Incident]:
        """The latest version of every incident, newest ``last_seen`` first."""
        ...

    def close(self) -> None:
        """Flush and release."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


@dataclass(frozen=True, slots=True)
class Share:
    """How much of a dataset a coarse condition lets through."""

    events: int
    """Events in the time asked for."""
    chosen: int
    """Those that the condition may hold for."""
    newest: int | None
    """Time of the newest event of all, ns since the epoch."""


@runtime_checkable
class Narrowing(Protocol):
    """What a store may offer beside ``Store``: leaving out by itself what cannot matter to whoever asks.

    Conditions are coarse (see ``event.coarse``): more may come than they say, never less.
    """

    def narrowed(
        self,
        wanted: Mapping[str, Coarse],
        *,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> Iterator[pl.DataFrame]:
        """As ``Store.search``: in order of time over all datasets; of each dataset, what its condition lets through."""
        ...

    def shares(
        self,
        wanted: Mapping[str, Coarse],
        *,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> dict[str, Share]:
        """Count what ``narrowed`` would read, by dataset, without reading it."""
        ...

    def groups(
        self,
        dataset: str,
        condition: Coarse,
        by: Sequence[str],
        span: timedelta,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        most: int,
    ) -> pl.DataFrame | None:
        """Count events that the condition lets through by the values of fields, and by time.

        Args:
            dataset: One.
            condition: Which events.
            by: Fields; each different element of a list is a value. Events that lack one of them are not counted.
            span: Length of the pieces that time is cut into, whole seconds; they begin at its multiples since 1970.
            since: First instant, inclusive.
            until: Last instant, exclusive.
            most: Rows beyond which counting is given up.

        Returns:
            The fields, ``piece`` (its number, Int64), ``hits`` (events) and ``weight`` (messages: ``event.count``
            where it is more than one), one row a combination of values and piece; None if there are too many of
            them or the store cannot tell. Addresses may come in their shortest form, whatever they were stored as.
        """
        ...


DEFAULT_RETENTION = timedelta(days=180)
"""网络安全法 (2025) Art 23: network logs for six months at least."""
