"""``store.base.Narrowing`` over a store that reads columns: Polars leaves out and counts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta

import polars as pl

from event.coarse import EVERYTHING, NOTHING, Coarse, fields_of
from event.fields import FIELDS
from event.table import schema_of
from store.base import Share, Store
from store.coarse import to_polars


def narrowed(
    store: Store, wanted: Mapping[str, Coarse], *, since: datetime | None, until: datetime | None
) -> Iterator[pl.DataFrame]:
    """See ``store.base.Narrowing.narrowed``."""
    asked = {dataset: condition for dataset, condition in wanted.items() if condition != NOTHING}
    if not asked:
        return
    where = None
    if any(condition != EVERYTHING for condition in asked.values()):
        of_dataset = [(pl.col("event.dataset") == dataset) & to_polars(one) for dataset, one in asked.items()]
        where = pl.any_horizontal(of_dataset)
    for table in store.search(list(asked), since=since, until=until, where=where):
        if table.height:
            yield table


def shares(
    store: Store, wanted: Mapping[str, Coarse], *, since: datetime | None, until: datetime | None
) -> dict[str, Share]:
    """See ``store.base.Narrowing.shares``."""
    found: dict[str, Share] = {}
    for dataset, condition in wanted.items():
        events = chosen = 0
        newest: int | None = None
        for table in store.scan([dataset], since=since, until=until, columns=sorted(fields_of(condition))):
            if table.is_empty():
                continue
            events += table.height
            chosen += filled(table, fields_of(condition)).filter(to_polars(condition)).height
            last = int(table["@timestamp"].dt.epoch("ns").max() or 0)  # type: ignore[arg-type]
            newest = last if newest is None else max(last, newest)
        found[dataset] = Share(events, chosen, newest)
    return found


def groups(
    store: Store,
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
    names = {*by, *fields_of(condition), "event.count"}
    nanoseconds = span // timedelta(microseconds=1) * 1000
    total = pl.DataFrame(
        schema={name: _one(name) for name in by} | {n: pl.Int64() for n in ("piece", "hits", "weight")}
    )
    for table in store.scan([dataset], since=since, until=until, columns=sorted(names)):
        fitting = filled(table, names).filter(to_polars(condition))
        for name in by:
            if FIELDS[name].many:
                fitting = fitting.with_columns(pl.col(name).list.unique()).explode(name, empty_as_null=True)
        counted = (
            fitting.drop_nulls(list(by))
            .group_by(*by, pl.col("@timestamp").dt.epoch("ns").floordiv(nanoseconds).alias("piece"))
            .agg(
                pl.len().cast(pl.Int64).alias("hits"), pl.col("event.count").fill_null(1).clip(1).sum().alias("weight")
            )
        )
        total = pl.concat([total, counted.select(total.columns)])
        total = total.group_by(*by, "piece").agg(pl.col("hits", "weight").sum())
        if total.height > most:
            return None
    return total


def _one(name: str) -> pl.DataType:
    field = FIELDS[name]
    return field.dtype.inner if field.many else field.dtype  # type: ignore[attr-defined]


def filled(table: pl.DataFrame, names: set[str]) -> pl.DataFrame:
    """The table with columns of nulls for those names that it lacks."""
    schema = schema_of(sorted(names))
    return table.with_columns(pl.lit(None, dtype).alias(name) for name, dtype in schema.items() if name not in table)
