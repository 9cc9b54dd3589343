"""Where rows belong, and which of them are new: what ``append`` has to know of a cluster before it sends."""

from __future__ import annotations

from collections import OrderedDict
from datetime import UTC, datetime, timedelta

import polars as pl

from store.catalogue import clamp_ns
from store.elastic.bulk import Bulk
from store.elastic.client import Client, part
from store.elastic.coarse import every
from store.elastic.documents import range_query
from store.elastic.names import MOST_DAYS, VARIOUS, Names, document_ids, known_days
from store.elastic.read import how_many

MOST_ORIGINS = 10_000
_ASKED = 5_000
"""Ids of one question."""


class Arrivals:
    """Sorts rows into indices and leaves out what is stored or on its way. Its caller holds the store's lock."""

    def __init__(self, client: Client, names: Names, bulk: Bulk) -> None:
        self._client = client
        self._names = names
        self._bulk = bulk
        self._high: OrderedDict[tuple[str, str], str] = OrderedDict()
        self._days: dict[str, set[str]] | None = None
        self._may_look = True

    def by_index(self, dataset: str, frame: pl.DataFrame) -> list[tuple[str, pl.DataFrame]]:
        """Rows by the index they belong to: dataset and day of ``@timestamp``, UTC."""
        days = frame["@timestamp"].dt.to_string("%Y.%m.%d")
        if days[0] == days[-1] and days.n_unique() == 1:
            return [(self._names.index(dataset, self._day(dataset, str(days[0]))), frame)]
        routes = {day: self._day(dataset, day) for day in sorted(days.unique().to_list())}
        where = days.replace_strict(list(routes), list(routes.values()), return_dtype=pl.String)
        parts = frame.with_columns(where.alias("\0day")).partition_by("\0day", as_dict=True, include_key=False)
        return [(self._names.index(dataset, str(key[0])), rows) for key, rows in parts.items()]

    def _day(self, dataset: str, day: str) -> str:
        """The day's own index, or ``various`` when there are very many of them.

        Always the same for a day once an event of it is stored: its own index is not begun while ``various`` holds
        events of that day.
        """
        if self._days is None:
            listed = self._client.ask(
                "GET",
                f"/_resolve/index/{self._names.events}",
                params={"filter_path": "indices.name"},
                good=(403, 404),
            )
            found = (listed.json() or {}).get("indices", []) if listed.status == 200 else []
            self._days = known_days(self._names, [one["name"] for one in found])
        known = self._days.setdefault(self._names.stem(dataset), set())
        if day in known:
            return day
        if VARIOUS in known and self._various_holds(dataset, day):
            return VARIOUS
        chosen = day if len(known) < MOST_DAYS else VARIOUS
        if chosen not in known:
            known.add(chosen)
            self._bulk.new.add(self._names.index(dataset, chosen))
        return chosen

    def _various_holds(self, dataset: str, day: str) -> bool:
        start = datetime.strptime(day, "%Y.%m.%d").replace(tzinfo=UTC)
        within = range_query(clamp_ns(start), clamp_ns(start + timedelta(days=1)))
        self._bulk.settle(wait=True)
        index = self._names.index(dataset, VARIOUS)
        self._bulk.refresh({index})
        return how_many(self._client, index, every(within)) > 0

    def unseen(self, dataset: str, index: str, frame: pl.DataFrame) -> pl.DataFrame:
        """Leave out rows that are stored or on their way.

        Ids of one origin rise, so a row beyond the highest id known of its origin is new and needs no question;
        only what is read again is looked for.
        """
        origins = frame.select(
            pl.col("event.id").str.split_exact("-", 1).struct.field("field_0").alias("origin"), "event.id"
        )
        tops = origins.group_by("origin").agg(
            pl.col("event.id").min().alias("low"), pl.col("event.id").max().alias("high")
        )
        doubtful: list[tuple[str, str]] = []
        for origin, low, high in tops.iter_rows():
            known = self._highest(dataset, origin)
            if low <= known:
                doubtful.append((origin, known))
            if high > known:
                self._high[dataset, origin] = high
        while len(self._high) > MOST_ORIGINS:
            self._high.popitem(last=False)
        if not doubtful:
            return frame
        limits = pl.DataFrame(doubtful, schema=["origin", "known"], orient="row")
        numbered = origins.with_row_index("row").join(limits, on="origin").filter(pl.col("event.id") <= pl.col("known"))
        asked = numbered
        for sent in self._bulk.unsettled(index):
            asked = asked.join(sent.select("event.id"), on="event.id", how="anti")
        repeated = numbered.join(asked, on="row", how="anti")["row"].to_list() + self._stored(index, asked)
        if not repeated:
            return frame
        return frame.with_row_index("\0row").filter(~pl.col("\0row").is_in(repeated)).drop("\0row")

    def _highest(self, dataset: str, origin: str) -> str:
        """The highest id of an origin in a dataset that was sent or is stored; empty if there is none."""
        key = (dataset, origin)
        if key in self._high:
            self._high.move_to_end(key)
            return self._high[key]
        top = ""
        if self._may_look:
            query = {
                "size": 1,
                "_source": False,
                "sort": [{"event.id": {"order": "desc", "unmapped_type": "keyword"}}],
                "query": {
                    "bool": {"filter": [{"prefix": {"event.id": origin[:200]}}, {"term": {"event.dataset": dataset}}]}
                },
                "track_total_hits": False,
            }
            answer = self._client.ask(
                "POST",
                f"/{self._names.pattern(dataset)}/_search",
                query,
                params={"ignore_unavailable": "true", "filter_path": "hits.hits.sort"},
                good=(403,),
            )
            if answer.status == 403:
                self._may_look = False
            else:
                hits = (answer.json() or {}).get("hits", {}).get("hits", [])
                top = str(hits[0]["sort"][0] or "") if hits else ""
        self._high[key] = top
        return top

    def _stored(self, index: str, asked: pl.DataFrame) -> list[int]:
        """Row numbers of ids that the index holds, refreshed or not."""
        if asked.is_empty() or not self._may_look:
            return []
        found: list[int] = []
        rows = asked["row"].to_list()
        ids = document_ids(asked["event.id"]).to_list()
        for start in range(0, len(ids), _ASKED):
            group = ids[start : start + _ASKED]
            answer = self._client.ask(
                "POST",
                f"/{part(index)}/_mget",
                {"ids": group},
                params={"_source": "false", "filter_path": "docs.found"},
                good=(403, 404),
            )
            if answer.status != 200:
                return found
            docs = (answer.json() or {}).get("docs", [])
            if len(docs) == len(group):
                found += [rows[start + n] for n, one in enumerate(docs) if one.get("found")]
        return found

    def deleted(self, index: str | None = None) -> None:
        """Events are gone, so that their ids are new again; with an index, all of it."""
        self._high.clear()
        if index is not None and self._days is not None:
            stem, _, day = index.rpartition("-")
            self._days.get(f"{stem}-", set()).discard(day)
