"""Leaving out at the cluster: ``store.base.Narrowing`` by queries and composite aggregations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import orjson
import polars as pl

from event.coarse import NOTHING, Coarse
from event.ecs import WILDCARDS
from event.fields import FIELDS
from store.base import Share
from store.catalogue import clamp_ns
from store.coarse import Query, to_query
from store.elastic.client import NDJSON, Answer, Client
from store.elastic.coarse import every, some
from store.elastic.documents import range_query
from store.elastic.names import Names
from store.elastic.templates import TIME

_PAGE = 10_000
"""Buckets of an answer; Elasticsearch allows 65,536, those below a bucket counted."""
_TYPES = {"date": "date_nanos"}
_KEYS = frozenset({"keyword", "ip", "long", "boolean"})


def mapped() -> dict[str, tuple[str, str]]:
    """Path and type of every field that is indexed; open names are kept and not indexed."""
    return {
        name: (name, "wildcard" if name in WILDCARDS else _TYPES.get(field.kind, field.kind))
        for name, field in FIELDS.items()
        if name != "event.original"
    }


def query_of(wanted: Mapping[str, Coarse]) -> Query:
    """The query of several datasets, each with its condition; documents that fit may be joined by others."""
    types = mapped()
    return some(
        [
            every([{"term": {"event.dataset": dataset}}, to_query(condition, types)])
            for dataset, condition in sorted(wanted.items())
            if condition != NOTHING
        ]
    )


def shares(
    client: Client, names: Names, wanted: Mapping[str, Coarse], *, since: datetime | None, until: datetime | None
) -> dict[str, Share]:
    """See ``store.base.Narrowing.shares``."""
    types = mapped()
    lines: list[dict[str, Any]] = []
    datasets = sorted(wanted)
    for dataset in datasets:
        lines.append({"index": names.pattern(dataset), "ignore_unavailable": True, "allow_no_indices": True})
        lines.append(
            {
                "size": 1,
                "_source": False,
                "track_total_hits": True,
                "query": {"bool": {"filter": [{"term": {"event.dataset": dataset}}, *_between(since, until)]}},
                "sort": [{TIME: {"order": "desc", "unmapped_type": "long"}}],
                "aggs": {"chosen": {"filter": to_query(wanted[dataset], types)}},
            }
        )
    if not lines:
        return {}
    body = b"\n".join(map(orjson.dumps, lines)) + b"\n"
    found: dict[str, Share] = {}
    for dataset, one in zip(
        datasets, client.ask("POST", "/_msearch", body, kind=NDJSON).json()["responses"], strict=True
    ):
        if "hits" not in one:
            raise client.refused(Answer(int(one.get("status", 500)), orjson.dumps(one)))
        newest = one["hits"]["hits"]
        chosen = one.get("aggregations", {}).get("chosen", {}).get("doc_count", 0)  # none without an index
        found[dataset] = Share(one["hits"]["total"]["value"], chosen, int(newest[0]["sort"][0]) if newest else None)
    return found


def groups(
    client: Client,
    names: Names,
    dataset: str,
    condition: Coarse,
    by: Sequence[str],
    span: timedelta,
    *,
    since: datetime | None,
    until: datetime | None,
    most: int,
) -> pl.DataFrame | None:
    """See ``store.base.Narrowing.groups``."""
    if any(name in WILDCARDS or FIELDS.is_open(name) or FIELDS[name].kind not in _KEYS for name in by):
        return None
    seconds = span // timedelta(seconds=1)
    # Pieces by @timestamp, not by nanoseconds: Elasticsearch cuts plain numbers as doubles.
    sources: list[dict[str, Any]] = [{name: {"terms": {"field": name}}} for name in by]
    sources.append({"@timestamp": {"date_histogram": {"field": "@timestamp", "fixed_interval": f"{seconds}s"}}})
    counted = {"filter": {"range": {"event.count": {"gte": 1}}}, "aggs": {"sum": {"sum": {"field": "event.count"}}}}
    pages: dict[str, Any] = {"size": min(_PAGE, most + 1), "sources": sources}
    body: dict[str, Any] = {
        "size": 0,
        "track_total_hits": False,
        "query": {
            "bool": {
                "filter": [
                    {"term": {"event.dataset": dataset}},
                    *_between(since, until),
                    to_query(condition, mapped()),
                ]
            }
        },
        "aggs": {
            "groups": {"composite": pages, "aggs": {"counted": counted}},
            "ignored": {"filter": {"exists": {"field": "_ignored"}}},
        },
    }
    columns: list[list[Any]] = [[] for _ in range(len(by) + 3)]
    while True:
        answer = client.ask(
            "POST",
            f"/{names.pattern(dataset)}/_search",
            body,
            params={"ignore_unavailable": "true", "allow_partial_search_results": "false"},
        ).json()
        found = answer.get("aggregations")
        if found is None:  # no index
            break
        if found["ignored"]["doc_count"]:
            return None  # a value that is not indexed may be that of a group
        for bucket in found["groups"]["buckets"]:
            key = bucket["key"]
            weighed = bucket["counted"]
            weight = bucket["doc_count"] - weighed["doc_count"] + int(weighed["sum"]["value"])
            row = (*(key[name] for name in by), key["@timestamp"] // (1_000 * seconds), bucket["doc_count"], weight)
            for column, value in zip(columns, row, strict=True):
                column.append(value)
        if len(columns[-1]) > most:
            return None
        if "after_key" not in found["groups"]:
            break
        pages["after"] = found["groups"]["after_key"]
    kinds = {name: FIELDS[name].kind for name in by}
    dtypes = {"keyword": pl.String(), "ip": pl.String(), "long": pl.Int64(), "boolean": pl.Boolean()}
    series = [pl.Series(name, column, dtypes[kinds[name]]) for name, column in zip(by, columns, strict=False)]
    series += [
        pl.Series(name, [min(value, _MOST) for value in column], pl.Int64())
        for name, column in zip(("piece", "hits", "weight"), columns[len(by) :], strict=True)
    ]
    return pl.DataFrame(series)


_MOST = 2**62


def _between(since: datetime | None, until: datetime | None) -> list[dict[str, Any]]:
    return range_query(None if since is None else clamp_ns(since), None if until is None else clamp_ns(until))


class Narrowed:
    """The methods of ``store.base.Narrowing`` for the store in a cluster."""

    client: Client
    names: Names

    def narrowed(
        self, wanted: Mapping[str, Coarse], *, since: datetime | None = None, until: datetime | None = None
    ) -> Iterator[pl.DataFrame]:
        """See ``store.base.Narrowing.narrowed``."""
        asked = {dataset: condition for dataset, condition in wanted.items() if condition != NOTHING}
        if asked:
            yield from self.search(list(asked), since=since, until=until, narrow=query_of(asked))

    def shares(
        self, wanted: Mapping[str, Coarse], *, since: datetime | None = None, until: datetime | None = None
    ) -> dict[str, Share]:
        """See ``store.base.Narrowing.shares``."""
        self.flush()
        return shares(self.client, self.names, wanted, since=since, until=until)

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
        """See ``store.base.Narrowing.groups``."""
        self.flush()
        return groups(self.client, self.names, dataset, condition, by, span, since=since, until=until, most=most)

    def flush(self) -> None:
        """Of the store."""
        raise NotImplementedError

    def search(
        self,
        datasets: Sequence[str] | None = None,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        narrow: Query | None = None,
    ) -> Iterator[pl.DataFrame]:
        """Of the store."""
        raise NotImplementedError
