"""Requests meet their responses within a flow.

A request waits under its key (flow and the key columns of the protocol's ``PairRule``). A response takes the
latest request of its key: transaction numbers are unique among open requests (MODBUS Messaging on TCP/IP V1.0b,
3.1.3), so an older one under the same number was given up by its sender, and pairing with it would shift every
later pair by one. What a response repeats nowhere, its request's address above all, is copied on to it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import polars as pl

from sensor.base import I64, PairRule, SensorLimits
from sensor.columns import pick

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
    rows = (table.with_columns(lacking) if lacking else table).select(
        *kept, (rule.is_request.fill_null(False) + 2 * rule.is_response.fill_null(False)).cast(pl.Int64).alias("_role")
    )
    carried = state.waiting.height
    if carried:
        waiting = state.waiting.with_columns(_role=pl.lit(1, pl.Int64))
        rows = pl.concat([waiting, rows], how="vertical_relaxed", rechunk=True)
    count = rows.height
    # Hashes only propose: what they bring together is compared below, so a collision costs a match and makes none.
    key = rows.select(keys).hash_rows(seed=0).to_numpy().view(np.int64)
    role = rows["_role"].to_numpy()
    match = np.empty(count, np.int64)
    waits = np.empty(count, np.int64)
    newest = np.full(1 << (2 * count).bit_length(), -1, np.int64)
    meet(key, np.minimum(role, 2), rule.once, newest, match, waits)
    _remember(rows, np.flatnonzero(waits), kept, state)

    answer = np.flatnonzero(match >= 0)
    asked = match[answer]
    same = _same(rows.select(keys), answer, asked)
    answer, asked = answer[same], asked[same]
    time = rows[TIME].to_numpy()
    duration = np.full(table.height, -1, np.int64)
    duration[answer - carried] = np.maximum(time[answer] - time[asked], 0)
    met = np.where(role[carried:] == 2, 0, 2)  # neither yes nor no where nothing was answered
    met[answer - carried] = 1
    filled = [
        _filled(table[name], rows[name], answer, asked)
        for name in rule.copy
        if name in table.columns and table[name].has_nulls()
    ]
    spent = pl.Series("event.duration", duration)
    table = table.with_columns(
        *filled,
        spent.set(spent < 0, None),
        pick(_YES_NO, met).alias(rule.matched),
    )
    state.matched += len(answer)
    state.unmatched += int((met == 0).sum())
    return rule.finish(table) if rule.finish is not None else table


_YES_NO = pl.Series([False, True, None])


def _same(keys: pl.DataFrame, some: I64, others: I64) -> npt.NDArray[np.bool_]:
    """Whether two rows each have the same keys, null being the same as null."""
    left, right = (keys[rows] for rows in (some, others))
    equal = np.ones(len(some), bool)
    for one, other in zip(left.iter_columns(), right.iter_columns(), strict=True):
        equal &= one.eq_missing(other).to_numpy()
    return equal


def _filled(here: pl.Series, known: pl.Series, answer: I64, asked: I64) -> pl.Series:
    """``here`` with what the requests know where the answers say nothing.

    Args:
        here: A column of the table.
        known: The same column behind the requests that waited.
        answer: Rows of answers in ``known``.
        asked: Rows of their requests.
    """
    carried = len(known) - len(here)
    lacks = here.is_null().to_numpy()[answer - carried]
    asked = asked[lacks]
    if known.is_null().to_numpy()[asked].all():
        return here
    place = np.arange(carried, len(known))
    place[answer[lacks] - carried] = asked
    # Of another type where earlier batches had nothing but nulls.
    return pick(known, place).cast(here.dtype)


def _remember(rows: pl.DataFrame, waiting: I64, kept: tuple[str, ...], state: PairState) -> None:
    """Carry the requests that still wait into the next batch, the newest ``state.limit`` of them."""
    if len(waiting) > state.limit:
        state.forgotten += len(waiting) - state.limit
        waiting = waiting[len(waiting) - state.limit :]
    state.waiting = rows.select(kept)[waiting]
