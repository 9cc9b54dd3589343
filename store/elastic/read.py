"""Reading: a point in time, pages after each other, decoded by Polars while the next page is on its way.

Every shard that is asked for a page offers a whole page, sorted, of which most is thrown away: over ten days of six
datasets 28 pages for one. So once a page came back full, the next one is asked of that day only, which the nodes know
to be in few shards; when a day is done, the rest of time is asked again, for it may be empty for long.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import orjson
import polars as pl

from event.errors import StoreError
from event.fields import FIELDS
from event.table import REQUIRED, concat
from store.elastic.client import Client
from store.elastic.coarse import EVERYTHING, Query, every
from store.elastic.documents import Decoder, range_query
from store.elastic.templates import TIME

PAGE = 10_000
"""Documents of an answer."""
KEEP = "10m"
"""How long the cluster keeps a point in time after the last page."""
ALWAYS = ("@timestamp", "event.id", "event.dataset")
"""Columns that every answer has."""
_DAY_NS = 86_400 * 1_000_000_000


@dataclass(frozen=True, slots=True)
class Question:
    """What is wanted.

    Attributes:
        pattern: Indices.
        datasets: Only these; all if None.
        since: First instant, inclusive, ns.
        until: Last instant, exclusive, ns.
        where: Predicate that decides on what comes back; a missing column is null.
        narrow: Query that finds at least what the predicate takes.
        columns: Columns wanted beside ``ALWAYS``; all if None.
        descending: Newest first.
    """

    pattern: str
    datasets: Sequence[str] | None = None
    since: int | None = None
    until: int | None = None
    where: pl.Expr | None = None
    narrow: Query | None = None
    columns: frozenset[str] | None = None
    descending: bool = False

    def roots(self) -> list[str]:
        """Columns that the predicate reads.

        Raises:
            StoreError: One is not in the field catalogue.
        """
        names = [] if self.where is None else sorted(set(self.where.meta.root_names()))
        unknown = [name for name in names if name not in FIELDS]
        if unknown:
            raise StoreError(
                f"no such field: {', '.join(unknown)}", hint="jianmen events fields lists the names that exist"
            )
        return names

    def query(self) -> Query:
        """The query of it."""
        parts: list[Query] = [{"exists": {"field": TIME}}]
        if self.datasets is not None:
            parts.append({"terms": {"event.dataset": list(self.datasets)}})
        parts += range_query(self.since, self.until)
        parts.append(self.narrow or EVERYTHING)
        return every(parts)


class Reader:
    """Reads event documents."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def columns(self, question: Question) -> list[str]:
        """Columns that the documents may have, as far as the index tells; all that it does not tell about."""
        if question.columns is not None:
            return sorted(name for name in {*question.columns, *question.roots(), *ALWAYS} if name in FIELDS)
        found = self._client.ask(
            "GET",
            f"/{question.pattern}/_field_caps",
            params={
                "fields": "*",
                "include_empty_fields": "false",
                "ignore_unavailable": "true",
                "allow_no_indices": "true",
                "filter_path": "fields.*.*.type",
            },
        ).json()
        present = {name for name in (found or {}).get("fields", {}) if name in FIELDS}
        ignored = self._client.ask(
            "POST",
            f"/{question.pattern}/_search",
            {"size": 0, "terminate_after": 1, "track_total_hits": 1, "query": {"exists": {"field": "_ignored"}}},
            params={"ignore_unavailable": "true", "filter_path": "hits.total.value"},
        ).json()
        if ignored and ignored["hits"]["total"]["value"]:
            return list(FIELDS)  # a value that is not in the index may be the only one of its field
        untold = {name for name, field in FIELDS.items() if field.many or field.kind in ("text", "date", "ip")}
        return sorted({*present, *untold, *question.roots(), *REQUIRED})

    def tables(self, question: Question, *, batch_rows: int, limit: int | None = None) -> Iterator[pl.DataFrame]:
        """Yield tables of ``batch_rows`` rows at most, ordered by ``@timestamp`` and ``event.id``.

        Raises:
            StoreError: The cluster cannot be reached or refuses, or a document does not fit the catalogue.
        """
        question.roots()
        pieces: list[pl.DataFrame] = []
        held = 0
        left = limit
        for page in self._pages(question, min(PAGE, batch_rows if left is None else max(left, 1))):
            table = self._chosen(question, page)
            if left is not None:
                table = table.head(left)
                left -= table.height
            pieces.append(table)
            held += table.height
            if held >= batch_rows:
                whole = concat(pieces)
                full = held - held % batch_rows
                for start in range(0, full, batch_rows):
                    yield whole.slice(start, batch_rows)
                pieces = [whole.slice(full)] if full < held else []
                held -= full
            if left is not None and left <= 0:
                break
        if held:
            yield concat([piece for piece in pieces if piece.height])

    def _chosen(self, question: Question, page: pl.DataFrame) -> pl.DataFrame:
        if question.where is not None:
            absent = [name for name in question.roots() if name not in page.columns]
            full = page.with_columns(pl.lit(None, dtype=FIELDS[name].dtype).alias(name) for name in absent)
            page = full.filter(question.where).select(page.columns)
        if question.columns is None:
            return page
        return page.select(name for name in page.columns if name in question.columns or name in ALWAYS)

    def _pages(self, question: Question, size: int) -> Iterator[pl.DataFrame]:
        decoder = Decoder(self.columns(question), open_names=question.columns is None)
        opened = self._client.ask(
            "POST", f"/{question.pattern}/_pit", params={"keep_alive": KEEP, "ignore_unavailable": "true"}
        )
        pit = str(opened.json()["id"])
        order = "desc" if question.descending else "asc"
        body: dict[str, Any] = {
            "size": size,
            "sort": [
                {TIME: {"order": order, "unmapped_type": "long"}},
                {"event.id": {"order": order, "unmapped_type": "keyword"}},
            ],
            # Documents that are neither picked apart nor filtered (``filter_path``) are copied, at half the price.
            "_source": True if question.columns is None else decoder.sources(),
            "track_total_hits": False,
        }

        def ask(place: _Place) -> bytes:
            wanted = {**body, "query": place.within(question), "pit": {"id": pit, "keep_alive": KEEP}}
            if place.after is not None:
                wanted["search_after"] = place.after
            return self._client.ask(
                "POST", "/_search", orjson.dumps(wanted), params={"allow_partial_search_results": "false"}
            ).body

        with ThreadPoolExecutor(1, thread_name_prefix="page") as ahead:
            try:
                place: _Place | None = _Place()
                answer = ask(_Place())
                while place is not None:
                    # The size of a page tells only after decoding whether there is another: ask for it meanwhile.
                    place = place.next(last_sort(answer), full=answer.count(b'"sort":[') >= size, question=question)
                    coming = None if place is None else ahead.submit(ask, place)
                    table, hits, found = decoder.table(answer)
                    pit = found or pit
                    if hits:
                        yield table
                    if coming is not None:
                        answer = coming.result()
            finally:
                self._client.ask("DELETE", "/_pit", {"id": pit}, good=(400, 404))


@dataclass(frozen=True, slots=True)
class _Place:
    """How far a read has come.

    Attributes:
        after: Sort values of the last hit; what follows comes behind them.
        bound: Nothing on the near side of this instant (ns) is left to read; None at the beginning.
        day: The page is asked of this day only: its far end, ns (exclusive when ascending, inclusive when descending);
            None: of all that is left.
    """

    after: list[Any] | None = None
    bound: int | None = None
    day: int | None = None

    def within(self, question: Question) -> Query:
        """The question, less what was read."""
        near, far = ("lte", "gte") if question.descending else ("gte", "lt")
        limits = {key: value for key, value in ((near, self.bound), (far, self.day)) if value is not None}
        return every([question.query(), {"range": {TIME: limits}}]) if limits else question.query()

    def next(self, last: list[Any] | None, *, full: bool, question: Question) -> _Place | None:
        """Where to go on after a page; None if there is nothing more.

        Args:
            last: Sort values of its last hit.
            full: The page had as many hits as were asked for.
            question: What is read.
        """
        if full and last is not None:
            time = int(last[0])
            begin = time - time % _DAY_NS
            edge = begin if question.descending else begin + _DAY_NS
            return _Place(last, time, edge if abs(edge) < 1 << 63 else None)
        if self.day is None:
            return None
        return _Place(bound=self.day - 1 if question.descending else self.day)


def last_sort(answer: bytes) -> list[Any] | None:
    """Sort values of the last hit; None if there is no hit.

    Between quotation marks JSON has every other one escaped, so the member's name is found nowhere else.
    """
    at = answer.rfind(b'"sort":[')
    if at < 0:
        return None
    end = answer.rstrip().removesuffix(b"}").removesuffix(b"}").removesuffix(b"]")
    values: list[Any] = orjson.loads(b"{" + end[at:])["sort"]
    return values


def how_many(client: Client, pattern: str, query: Query) -> int:
    """How many documents of an index, or of several, fit; 0 where there is none."""
    answer = client.ask(
        "POST", f"/{pattern}/_count", {"query": query}, params={"ignore_unavailable": "true"}, good=(404,)
    )
    return int((answer.json() or {}).get("count", 0)) if answer.status == 200 else 0
