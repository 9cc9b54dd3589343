"""Polls that say what was said before are found before they are decoded.

Most messages on a plant's network are the same question and the same answer, but for a transaction number.
``sensor.collapse`` joins them, so decoding every one of them is work for nothing. A protocol that publishes a
``Repeat`` has its messages skimmed: those that are byte for byte the same as an earlier one of their flow and
direction, answer to byte for byte the same request, and are certain to be joined, are counted and not decoded. Where
an event tells the range of values only, values may differ: they are compared, not decoded.
Whatever a skim is not certain about is decoded, and a flow with any message that is not whole is left alone.

What comes out is what would come out without it: ``tests/sensor/test_repeats.py`` compares the two.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import polars as pl

from sensor.base import I64, PduBatch, Repeat, SensorLimits
from sensor.columns import writable
from sensor.pair import FLOW, PairState

_SEED = secrets.randbits(62)  # an attacker who knew it could make messages that hash alike: slower, never wrong

COUNT, EARLIEST, LATEST = "_count", "_earliest", "_latest"
"""Columns of rows that stand for several messages: how many, and ns of the first and the last, all ``Int64``."""
LOWEST, HIGHEST = "_lowest", "_highest"
"""Columns beside them where values differ: smallest and largest of those that are not decoded, or null."""
MARKS = (COUNT, EARLIEST, LATEST, LOWEST, HIGHEST)


@dataclass(frozen=True, slots=True)
class Chosen:
    """Messages to decode, in their order.

    Attributes:
        rows: Their rows in the batch, ``int64[m]``.
        facts: How many messages each stands for (0: it is decoded for its partner's sake only), the earliest and
            latest time of them (ns), and the smallest and largest value of those among them that are not decoded,
            ``int64[FACT_ROWS, m]``; None where each stands for itself.
    """

    rows: I64
    facts: I64 | None

    def of(self, batch: PduBatch, begin: int, end: int) -> PduBatch:
        """Some of them as a batch of its own, without the bytes of the others."""
        from sensor._repeat_kernels import pack

        rows = self.rows[begin:end]
        names = ("length", "flow", "direction", "timestamp", "frame", "flags", "expected")
        columns = {name: getattr(batch, name)[rows] for name in names}
        ends = np.cumsum(columns["length"])
        data = np.empty(int(ends[-1]) if len(ends) else 0, np.uint8)
        pack(writable(batch.data), batch.offset[rows], columns["length"], data)
        return PduBatch(data=data, offset=ends - columns["length"], **columns)

    def columns(self, begin: int, messages: I64) -> list[pl.Series]:
        """``MARKS`` of decoded rows, the last two only where there are any; ``messages`` count from ``begin``."""
        from sensor._repeat_kernels import F_HIGH, F_LOW

        assert self.facts is not None
        facts = self.facts[:, begin + messages]
        columns = [pl.Series(name, facts[i]) for i, name in enumerate((COUNT, EARLIEST, LATEST))]
        differ = facts[F_LOW] <= facts[F_HIGH]
        if differ.any():
            columns += [
                pl.Series(name, facts[row]).set(pl.Series(~differ), None)
                for name, row in ((LOWEST, F_LOW), (HIGHEST, F_HIGH))
            ]
        return columns


def every(count: int) -> Chosen:
    """All of ``count`` messages."""
    return Chosen(np.arange(count, dtype=np.int64), None)


def choose(
    batch: PduBatch,
    rule: Repeat,
    state: PairState,
    places: I64,
    open_flows: Iterable[int] = (),
    span_ns: int = SensorLimits().collapse_ns,
) -> Chosen | None:
    """Find the messages of a batch that have to be decoded.

    Args:
        batch: All messages.
        rule: The protocol's rule.
        state: Requests that wait since earlier batches.
        places: A small number of each message's flow, one flow one number, ``int64[n]``; negative: not known.
        open_flows: Flows with a part of a message in the decoder's memory; all of their messages are decoded.
        span_ns: As for ``sensor.collapse.collapse``.

    Returns:
        None if every message has to be decoded.
    """
    from sensor._repeat_kernels import FACT_ROWS, LINK_COLUMNS, SKIM_ROWS, SLOT_COLUMNS, find

    count = len(batch)
    if count == 0 or places.min() < 0:
        return None
    flows = np.full(int(places.max()) + 1, -1, np.int64)
    flows[places] = batch.flow
    skim = np.zeros((SKIM_ROWS, count), np.int64)
    left = np.zeros(len(flows), np.int64)
    data = writable(batch.data)
    rule.skim(data, batch.offset, batch.length, batch.direction, places, skim, left)
    for one in open_flows:
        left[flows == one] = 1
    carried_flow, carried_key = _carried(rule, state, flows)
    keep = np.empty(count, np.int64)
    facts = np.empty((FACT_ROWS, count), np.int64)
    size = 1 << (2 * (count + len(carried_flow))).bit_length()
    find(
        data,
        batch.offset,
        batch.length,
        places,
        batch.direction,
        batch.timestamp,
        skim,
        left,
        carried_flow,
        carried_key,
        rule.number[0],
        rule.number[1],
        span_ns,
        np.uint64(_SEED),
        np.empty(count, np.uint64),
        np.full((size, SLOT_COLUMNS), -1, np.int64),
        np.full(size, -1, np.int32),
        np.full((count, LINK_COLUMNS), -1, np.int32),
        keep,
        facts,
    )
    rows = np.flatnonzero(keep)
    if len(rows) == count:
        return None
    return Chosen(rows, np.ascontiguousarray(facts[:, rows]))


def _carried(rule: Repeat, state: PairState, flows: I64) -> tuple[I64, I64]:
    """Flows, as their numbers, and keys of the requests that wait."""
    none = np.zeros(0, np.int64)
    if state.waiting.is_empty():
        return none, none
    waiting = state.waiting.select(pl.col(FLOW), rule.key.cast(pl.Int64).alias("_key")).drop_nulls()
    here = pl.DataFrame({FLOW: flows, "_place": np.arange(len(flows), dtype=np.int64)})
    met = waiting.join(here, on=FLOW, how="inner")
    # Of their own: what Polars lends is read-only, for which the kernel would be compiled once more.
    return np.array(met["_place"], np.int64), np.array(met["_key"], np.int64)
