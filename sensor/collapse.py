"""Identical polls become one event; writes, controls and errors stay as they are.

A plant's masters ask the same question for years. Messages that are equal in flow, direction and the decoder's
``keys`` become one event that says how many there were, from when to when, and between which values; it keeps
identity, frame and time of the first. So the first use of a function in a flow is always an event of its own
time. Rows of the decoder's ``verbatim`` and rows with an ``error.code`` are never joined.
"""

from __future__ import annotations

import polars as pl

from sensor.base import Decoder, SensorLimits
from sensor.pair import FLOW, TIME
from sensor.repeats import COUNT, EARLIEST, HIGHEST, LATEST, LOWEST, MARKS

DIRECTION = "_direction"
"""Column a table has until here: 0 from the client, 1 from the server, ``Int64``."""


def collapse(table: pl.DataFrame, decoder: Decoder, span_ns: int = SensorLimits().collapse_ns) -> pl.DataFrame:
    """Join identical messages of one batch.

    Args:
        table: Decoded rows in order of arrival with ``_flow``, ``_direction`` and ``_time`` (ns).
            Rows that stand for several messages say so in the columns of ``sensor.repeats``.
        decoder: Whose rows they are.
        span_ns: Longest time between the first and the last message of one event. Time is cut at whole multiples
            of it, so the cuts do not depend on where a capture begins.

    Returns:
        A part of the rows, in their order, with ``event.count``, ``event.start``, ``event.end`` set where more than
        one message was joined, and ``<protocol>.value_min`` and ``_max`` spanning all of them. The sum of
        ``event.count`` (absent counts as one) is the number of rows given.
    """
    keys = [name for name in decoder.keys if name in table.columns]
    weighed = COUNT in table.columns
    if table.is_empty() or (not keys and not weighed):
        return table.drop(MARKS, strict=False)
    alone = pl.lit(False) if decoder.verbatim is None else decoder.verbatim.fill_null(True)
    if "error.code" in table.columns:
        alone = alone | pl.col("error.code").is_not_null()
    low, high = f"{decoder.name}.value_min", f"{decoder.name}.value_max"
    spans = [name for name in (low, high) if name in table.columns]
    if LOWEST in table.columns:
        table = table.with_columns(
            pl.min_horizontal(low, LOWEST).alias(low), pl.max_horizontal(high, HIGHEST).alias(high)
        )
    slim = table.select(
        FLOW,
        DIRECTION,
        TIME,
        *(name for name in keys if name not in (FLOW, DIRECTION)),
        *(name for name in spans if name not in keys),
        *((COUNT, EARLIEST, LATEST) if weighed else ()),
        _row=pl.int_range(pl.len(), dtype=pl.UInt32),
        _alone=alone,
        _cut=pl.col(TIME) // span_ns,
    )
    groups = (
        slim.filter(~pl.col("_alone"))
        .group_by(FLOW, DIRECTION, "_cut", *keys)
        .agg(
            pl.first("_row"),
            (pl.sum(COUNT) if weighed else pl.len().cast(pl.Int64)).alias("event.count"),
            pl.min(EARLIEST if weighed else TIME).alias("event.start"),
            pl.max(LATEST if weighed else TIME).alias("event.end"),
            *(pl.min(name) for name in spans if name == low),
            *(pl.max(name) for name in spans if name == high),
        )
    )
    many = pl.col("event.count") > 1
    clock = pl.Datetime("ns", "UTC")
    facts = groups.select(
        "_row",
        pl.when(many).then("event.count").alias("event.count"),
        pl.when(many).then(pl.col("event.start").cast(clock)).alias("event.start"),
        pl.when(many).then(pl.col("event.end").cast(clock)).alias("event.end"),
        *spans,
    )
    single = slim.filter("_alone").select(
        "_row",
        pl.lit(None, pl.Int64).alias("event.count"),
        pl.lit(None, clock).alias("event.start"),
        pl.lit(None, clock).alias("event.end"),
        *spans,
    )
    facts = pl.concat([facts, single]).sort("_row")
    table = table.drop(MARKS, strict=False) if weighed else table
    return table[facts["_row"]].with_columns(facts.drop("_row").get_columns())
