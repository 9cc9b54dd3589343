"""``ElasticStore``: a ``store.base.Store`` in an Elasticsearch cluster (8.19 and 9.x).

::

    <prefix>-events-<dataset>-<day>    events, ``_id`` = ``event.id``, so a repetition is a no-op
    <prefix>-incidents                 the latest version of each incident, changed by compare and swap
    <prefix>-incident-versions         all earlier ones
    <prefix>-state                     checkpoints

What ``append`` took and ``flush`` returned for is on disk at the cluster. Between the two, rows are gathered and sent
by several connections; the call that finds too much under way waits.
"""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import orjson
import polars as pl
import zstandard

from event.errors import StoreError
from event.incident import Incident
from event.table import concat, conform, empty
from store.base import DatasetStatus
from store.catalogue import clamp_ns, from_ns
from store.elastic import incidents, templates
from store.elastic.arrivals import Arrivals
from store.elastic.bulk import Bulk
from store.elastic.client import NDJSON, REQUEST_SECONDS, Client, part
from store.elastic.coarse import Query, coarse, every
from store.elastic.documents import deletions, range_query
from store.elastic.names import Names, day_of, document_id, document_ids
from store.elastic.narrowing import Narrowed
from store.elastic.read import Question, Reader, how_many
from store.elastic.rejected import Rejected
from store.elastic.templates import TIME

CONNECTIONS = 4
PATIENCE = 60.0
"""Seconds for which a request that the cluster puts off is tried again before the caller is told."""
MOST_STATE = 64 << 20
_IDS = 1_000
_DELETED = 5_000
_FOREVER_DAYS = 100_000


class ElasticStore(Narrowed):
    """A ``store.base.Store`` in a cluster. Safe for several threads and processes."""

    def __init__(
        self,
        urls: str | Sequence[str],
        *,
        prefix: str = "jianmen",
        auth: tuple[str, str] | None = None,
        api_key: str | None = None,
        ca: Path | None = None,
        rejected: Path | None = None,
        connections: int = CONNECTIONS,
        patience: float = PATIENCE,
        seconds: float = REQUEST_SECONDS,
        settings: dict[str, Any] | None = None,
        create: bool = True,
    ) -> None:
        """Connect, and see that the index templates are there.

        Args:
            urls: Addresses of nodes, ``http(s)://host:port``.
            prefix: What all indices begin with.
            auth: User and password.
            api_key: API key (base64, as the cluster gives it), in place of ``auth``.
            ca: Certificate authority of the cluster's certificate; the system's if None.
            rejected: Folder for events that the cluster refuses for what they say. Without it such an event is an
                error that stays.
            connections: Bulk requests at the same time.
            patience: Seconds for which a request that the cluster puts off is tried again.
            seconds: How long a node may take to answer one request; one that hangs is given up after them.
            settings: Index settings of new event indices, such as ``{"codec": "best_compression"}``.
            create: See to the templates; a reader need not.

        Raises:
            StoreError: The cluster cannot be reached or refuses, or holds documents of a later version.
        """
        self.names = Names(prefix)
        self.client = Client(
            [urls] if isinstance(urls, str) else urls,
            user=auth,
            api_key=api_key,
            ca=ca,
            connections=connections + 2,
            seconds=seconds,
        )
        self.rejected = Rejected(rejected)
        self._lock = threading.RLock()
        self._closed = False
        self._bulk = Bulk(self.client, self.rejected, connections=connections, patience=patience)
        self._arrivals = Arrivals(self.client, self.names, self._bulk)
        self._reader = Reader(self.client)
        try:
            if create:
                templates.install(self.client, self.names, settings=settings)
            else:
                self.client.ask("GET", "/_cluster/health", params={"filter_path": "status"}, good=(403, 408))
        except BaseException:
            self._bulk.close()
            self.client.close()
            raise

    @property
    def where(self) -> str:
        """Addresses, for people."""
        return self.client.where

    def counters(self) -> dict[str, int]:
        """What became of documents since the store was opened.

        ``created``, ``duplicates`` (there already), ``retried`` (sent again), ``rejected`` (parked), ``requests``
        and ``bytes``. A document whose acknowledgement was lost counts as a duplicate when it is sent again.
        """
        return self._bulk.counters.as_dict()

    # Writing.

    def append(self, events: pl.DataFrame) -> int:
        """Take a table of one dataset; see ``store.base.Store.append``.

        Rows are gathered and sent by several connections; where too much is under way, this waits.

        Returns:
            How many rows are new, as far as this account may look (one that may only create counts all as new).

        Raises:
            StoreError: Rows that were taken before cannot be delivered. They stay; nothing of this table was taken.
            ValueError: The table breaks the field catalogue (a bug of its maker).
        """
        if events.is_empty():
            return 0
        with self._lock:
            self._check_open()
            self._bulk.settle()
            frame = conform(events)
            dataset = str(frame["event.dataset"][0])
            if frame["event.id"].n_unique() < frame.height:
                frame = frame.unique("event.id", keep="first", maintain_order=True)
            new = 0
            for index, rows in self._arrivals.by_index(dataset, frame):
                fresh = self._arrivals.unseen(dataset, index, rows)
                new += fresh.height
                if fresh.height:
                    self._bulk.add(index, fresh)
            return new

    def flush(self) -> None:
        """Deliver everything that was appended, and make it visible to all readers."""
        with self._lock:
            self._check_open()
            self._bulk.flush()
            self._bulk.refresh(self._bulk.touched)
            self._bulk.touched.clear()

    # Reading.

    def datasets(self) -> list[str]:
        """Datasets that hold events, sorted."""
        self.flush()
        return [dataset for dataset, _ in self._counts()]

    def scan(
        self,
        datasets: Sequence[str] | None = None,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        where: pl.Expr | None = None,
        columns: Sequence[str] | None = None,
        batch_rows: int = 65_536,
        narrow: Query | None = None,
    ) -> Iterator[pl.DataFrame]:
        """Yield tables of one dataset each; see ``store.base.Store.scan``. Datasets come in order of name.

        Args:
            datasets: Which; all if None.
            since: First instant, inclusive.
            until: Last instant, exclusive.
            where: Predicate; what ``store.where.parse`` made narrows at the cluster too.
            columns: Columns wanted.
            batch_rows: Rows of a table at most.
            narrow: A query that the cluster narrows by as well; whatever it leaves out is not seen.
        """
        question = self._question(None, since, until, where, columns, narrow)
        self.flush()
        there = [dataset for dataset, _ in self._counts()]
        for dataset in there if datasets is None else sorted(set(datasets) & set(there)):
            own = replace(question, pattern=self.names.pattern(dataset), datasets=[dataset])
            yield from self._reader.tables(own, batch_rows=max(1, batch_rows))

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
        narrow: Query | None = None,
    ) -> Iterator[pl.DataFrame]:
        """Yield rows of all datasets in order of time and id; see ``store.base.Store.search``.

        A table may hold rows of several datasets; it has the columns of all of them.
        """
        question = self._question(datasets, since, until, where, columns, narrow, descending=newest_first)
        self.flush()
        if (limit is not None and limit <= 0) or (datasets is not None and not datasets):
            return
        yield from self._reader.tables(question, batch_rows=65_536, limit=limit)

    def get(self, event_ids: Sequence[str]) -> pl.DataFrame:
        """Events by id, those that exist, ordered by time."""
        wanted = sorted({one for one in event_ids if one})
        if not wanted:
            return empty()
        self.flush()
        found: list[pl.DataFrame] = []
        for start in range(0, len(wanted), _IDS):
            ids = wanted[start : start + _IDS]
            query: Query = {"ids": {"values": document_ids(pl.Series(ids, dtype=pl.String)).to_list()}}
            question = Question(self.names.events, narrow=query, where=pl.col("event.id").is_in(ids))
            found += self._reader.tables(question, batch_rows=65_536)
        return concat(found).sort("@timestamp", "event.id")

    def status(self) -> list[DatasetStatus]:
        """What is held, by dataset."""
        self.flush()
        counts = self._counts()
        if not counts:
            return []
        stats = self.client.ask(
            "GET",
            f"/{self.names.events}/_stats/store,segments",
            params={"filter_path": "indices.*.primaries.store.size_in_bytes,indices.*.primaries.segments.count"},
        ).json()
        sizes: dict[str, list[int]] = {}
        for index, one in (stats or {}).get("indices", {}).items():
            held = sizes.setdefault(index.rpartition("-")[0] + "-", [0, 0])
            held[0] += int(one["primaries"]["store"]["size_in_bytes"])
            held[1] += int(one["primaries"]["segments"]["count"])
        lines: list[dict[str, Any]] = []
        for dataset, _ in counts:
            for order in ("asc", "desc"):
                lines.append({"index": self.names.pattern(dataset), "ignore_unavailable": True})
                lines.append(
                    {
                        "size": 1,
                        "_source": False,
                        "track_total_hits": False,
                        "query": {"term": {"event.dataset": dataset}},
                        "sort": [{TIME: order}],
                    }
                )
        body = b"\n".join(orjson.dumps(line) for line in lines) + b"\n"
        ends = self.client.ask("POST", "/_msearch", body, kind=NDJSON).json()["responses"]
        found = []
        for number, (dataset, events) in enumerate(counts):
            oldest, newest = (ends[2 * number + n]["hits"]["hits"] for n in (0, 1))
            size, segments = sizes.get(self.names.stem(dataset), [0, 0])
            found.append(
                DatasetStatus(
                    dataset,
                    events,
                    size,
                    segments,
                    from_ns(int(oldest[0]["sort"][0])) if oldest else None,
                    from_ns(int(newest[0]["sort"][0])) if newest else None,
                )
            )
        return found

    def _question(
        self,
        datasets: Sequence[str] | None,
        since: datetime | None,
        until: datetime | None,
        where: pl.Expr | None,
        columns: Sequence[str] | None,
        narrow: Query | None,
        *,
        descending: bool = False,
    ) -> Question:
        return Question(
            self.names.events,
            datasets=datasets,
            since=None if since is None else clamp_ns(since),
            until=None if until is None else clamp_ns(until),
            where=where,
            narrow=every([coarse(where), *([narrow] if narrow else [])]),
            columns=None if columns is None else frozenset(columns),
            descending=descending,
        )

    def _counts(self) -> list[tuple[str, int]]:
        """Events by dataset, sorted by name."""
        found: list[tuple[str, int]] = []
        after: dict[str, str] | None = None
        while True:
            pages: dict[str, Any] = {"size": 1_000, "sources": [{"dataset": {"terms": {"field": "event.dataset"}}}]}
            if after:
                pages["after"] = after
            answer = self.client.ask(
                "POST",
                f"/{self.names.events}/_search",
                {"size": 0, "track_total_hits": False, "aggs": {"by": {"composite": pages}}},
                params={"ignore_unavailable": "true", "filter_path": "aggregations"},
            ).json()
            by = (answer or {}).get("aggregations", {}).get("by", {})
            found += [(str(one["key"]["dataset"]), int(one["doc_count"])) for one in by.get("buckets", [])]
            after = by.get("after_key")
            if not after:
                return sorted(found)

    # Housekeeping.

    def retain(self, days: dict[str, int], now: datetime, *, apply: bool) -> dict[str, int]:
        """Delete old events; see ``store.base.Store.retain``.

        A day that is past as a whole and holds no evidence goes with its index; of others, single documents.
        Kept whatever their age: the alerts and events that an incident which is neither closed nor merged names in
        its alerts or its timeline, and the events that those alerts name.
        """
        self.flush()
        protected = self._protected()
        deleted: dict[str, int] = {}
        for dataset in self.datasets():
            limit = days.get(dataset, days.get("*"))
            if limit is None or limit >= _FOREVER_DAYS:
                continue
            count = self._retain(dataset, now - timedelta(days=limit), protected, apply=apply)
            if count:
                deleted[dataset] = count
        return deleted

    def _retain(self, dataset: str, cutoff: datetime, protected: list[str], *, apply: bool) -> int:
        pattern = self.names.pattern(dataset)
        listed = self.client.ask("GET", f"/_resolve/index/{pattern}", params={"filter_path": "indices.name"}).json()
        keep: Query = {"bool": {"filter": [{"terms": {"_id": protected}}]}}
        count = 0
        for one in sorted(one["name"] for one in (listed or {}).get("indices", [])):
            day = day_of(one)
            if day is not None and day > cutoff.astimezone(UTC).date():
                continue
            old = range_query(None, clamp_ns(cutoff))
            going: Query = {"bool": {"filter": old, "must_not": [keep] if protected else []}}
            number = how_many(self.client, part(one), going)
            count += number
            if not apply or not number:
                continue
            if number == how_many(self.client, part(one), {"match_all": {}}):
                self.client.ask("DELETE", f"/{part(one)}", good=(404,))
                self._arrivals.deleted(one)
            else:
                self._delete(one, going)
        if apply and count:
            self._arrivals.deleted()
        return count

    def _delete(self, index: str, query: Query) -> None:
        """Delete what a query finds, by id: the reindex module may not be there."""
        question = Question(part(index), narrow=query, columns=frozenset(["event.id"]))
        for table in self._reader.tables(question, batch_rows=_DELETED):
            self.client.ask(
                "POST",
                f"/{part(index)}/_bulk",
                deletions(table["event.id"]),
                params={"filter_path": "errors"},
                kind=NDJSON,
            )
        self._bulk.refresh({index})

    def _protected(self) -> list[str]:
        """Document ids of events and alerts that open incidents rest on."""
        ids: set[str] = set()
        for incident in self.incidents():
            if incident.status in ("closed", "merged"):
                continue
            ids.update(alert.id for alert in incident.alerts)
            ids.update(event_id for entry in incident.timeline for event_id in entry.evidence)
        alerts = self.get(sorted(ids))
        if "alert.event_ids" in alerts.columns:
            ids.update(alerts["alert.event_ids"].explode(empty_as_null=True).drop_nulls().to_list())
        return sorted(document_id(one) for one in ids)

    # Checkpoints and incidents.

    def checkpoint(self, name: str) -> bytes | None:
        """The value last put under ``name``."""
        path = f"/{self.names.state}/_doc/{part(document_id(name))}"
        found = self.client.ask("GET", path, good=(404,)).json()
        if not found.get("found"):
            return None
        try:
            packed = base64.b64decode(found["_source"]["value"]["zstd"])
            return zstandard.ZstdDecompressor().decompress(packed, max_output_size=1 << 30)
        except (KeyError, TypeError, ValueError, zstandard.ZstdError) as error:
            raise StoreError(f"the checkpoint {name} cannot be read: {error}", where=self.where) from error

    def put_checkpoint(self, name: str, value: bytes) -> None:
        """Keep ``value`` under ``name``, durably, at once."""
        packed = zstandard.ZstdCompressor(level=3).compress(bytes(value))
        if len(packed) > MOST_STATE:
            raise StoreError(f"the checkpoint {name} has {len(packed)} bytes, {MOST_STATE} fit", where=self.where)
        self.client.ask(
            "PUT",
            f"/{self.names.state}/_doc/{part(document_id(name))}",
            {
                "name": name,
                "time": datetime.now(UTC).isoformat(),
                "value": {"zstd": base64.b64encode(packed).decode()},
            },
        )

    def put_incident(self, incident: Incident) -> None:
        """Store a version of an incident; see ``store.base.Store.put_incident``."""
        incidents.put(self.client, self.names, incident)

    def incident(self, incident_id: str, version: int | None = None) -> Incident | None:
        """An incident by id or unique prefix, the latest or the given version.

        Raises:
            StoreError: Several incidents begin so.
        """
        return incidents.get(self.client, self.names, incident_id, version)

    def incidents(self) -> list[Incident]:
        """The latest version of every incident, newest ``last_seen`` first."""
        return incidents.latest(self.client, self.names)

    # Life.

    def _check_open(self) -> None:
        if self._closed:
            raise StoreError("the store is closed", where=self.where)

    def close(self) -> None:
        """Flush and release. A second call does nothing."""
        with self._lock:
            if self._closed:
                return
            try:
                self.flush()
            finally:
                self.abandon()

    def abandon(self) -> None:
        """Release without a flush: for who has what was not acknowledged elsewhere, and will not wait for it here."""
        with self._lock:
            self._closed = True
            self._bulk.close()
            self.client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
