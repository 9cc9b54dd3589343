"""Requests meet their responses within a flow.

A request waits under its key (flow and the key columns of the protocol's ``PairRule``). A response takes the
latest request of its key: transaction numbers are unique among open requests (MODBUS Messaging on TCP/IP V1.0b,
3.1.3), so an older one under the same number was given up by its sender, and pairing with it would shift every
later pair by one. What a response repeats nowhere, its request's address above all, is copied on to it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import polars as pl

from sensor.base import I64, PairRule, SensorLimits

FLOW, TIME = "_flow", "_time"
"""Columns a table has on its way from a decoder to the output: key of the flow and nanoseconds, both ``Int64``."""


@dataclass(slots=True)
class PairState:
    """What one protocol of one input remembers between batches.

    Attributes:
        limit: Requests that may wait; the oldest are forgotten beyond it.
        waiting: Rows of requests without a response: flow, time, key columns and columns to copy.
        matched: Responses that met their request.
        unmatched: Responses that met none.
        forgotten: Requests that were given up because ``limit`` was reached.
    """

    limit: int = SensorLimits().pairs
    waiting: pl.DataFrame = field(default_factory=pl.DataFrame)
    matched: int = 0
    unmatched: int = 0
    forgotten: int = 0


def pair(table: pl.DataFrame, rule: PairRule, state: PairState) -> pl.DataFrame:
    """Fill in on each response what its request knows.

    Args:
        table: Decoded rows in order of arrival, with ``_flow`` and ``_time``.
        rule: The protocol's rule.
        state: Requests of earlier batches; changed in place.

    Returns:
        The table with ``rule.matched`` and ``event.duration`` (ns, never negative) on responses and with
        ``rule.copy`` filled in where null. Rows and their order stay. ``rule.finish`` was applied to it.
    """
    from sensor._pair_kernels import meet  # numba is loaded when the first messages come, not with the reader

    if table.is_empty():
        return table
    keys = (FLOW, *rule.keys)
    kept = tuple(dict.fromkeys((*keys, TIME, *rule.copy)))
    lacking = [pl.lit(None, pl.Int64).alias(name) for name in kept if name not in table.columns]
    rows = table.with_columns(lacking).select(
        *kept, (rule.is_request.fill_null(False) + 2 * rule.is_response.fill_null(False)).cast(pl.Int64).alias("_role")
    )
    carried = state.waiting.height
    if carried:
        rows = pl.concat([state.waiting.with_columns(_role=pl.lit(1, pl.Int64)), rows], how="vertical_relaxed")
    count = rows.height
    # Hashes only propose: what they bring together is compared below, so a collision costs a match and makes none.
    key = rows.select(keys).hash_rows(seed=0).to_numpy().view(np.int64)
    role = rows["_role"].to_numpy()
    match = np.empty(count, np.int64)
    waits = np.empty(count, np.int64)
    meet(key, np.minimum(role, 2), rule.once, match, waits)
    _remember(rows, np.flatnonzero(waits), kept, state)

    filling = [name for name in rule.copy if name in table.columns and _worth(rows[name], table[name])]
    found = match[carried:] >= 0
    asked = rows.select(*dict.fromkeys((*keys, TIME, *filling)))[np.maximum(match[carried:], 0)]
    there = asked.rename(lambda name: "asked " + name)
    same = [pl.col(name).eq_missing(pl.col("asked " + name)) for name in keys]
    met = pl.col("asked") & pl.all_horizontal(same)
    duration = (pl.col(TIME) - pl.col("asked " + TIME)).clip(lower_bound=0)
    answer = pl.col("answer")
    table = (
        table.hstack(there)
        .hstack([pl.Series("asked", found), pl.Series("answer", role[carried:] == 2)])
        .with_columns(
            *(
                pl.when(met & pl.col(name).is_null()).then(pl.col("asked " + name)).otherwise(pl.col(name)).alias(name)
                for name in filling
            ),
            pl.when(met).then(duration).alias("event.duration"),
            pl.when(answer).then(met).alias(rule.matched),
        )
        .drop("asked", "answer", *there.columns)
    )
    answers = int((role[carried:] == 2).sum())
    matched = int(table[rule.matched].sum())
    state.matched += matched
    state.unmatched += answers - matched
    return rule.finish(table) if rule.finish is not None else table


def _worth(known: pl.Series, here: pl.Series) -> bool:
    """Whether a column can be filled in at all."""
    return known.null_count() < len(known) and here.null_count() > 0


def _remember(rows: pl.DataFrame, waiting: I64, kept: tuple[str, ...], state: PairState) -> None:
    """Carry the requests that still wait into the next batch, the newest ``state.limit`` of them."""
    if len(waiting) > state.limit:
        state.forgotten += len(waiting) - state.limit
        waiting = waiting[len(waiting) - state.limit :]
    state.waiting = rows.select(kept)[waiting]
