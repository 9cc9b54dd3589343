"""Send and receive numbers of IEC 60870-5-104 (5.1): whether frames follow each other as one connection's must.

Each side counts its I frames modulo 32768 from 0 at the opening of the connection, N(S), and says with N(R) how many
of the other's it has. A number that jumps, comes back or is acknowledged before it was sent means that somebody
else writes into the connection, or that frames were lost on their way.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from sensor.base import I64, PDU_AFTER_GAP, PDU_MIDSTREAM, PduBatch

KINDS = ("gap", "repeated", "went_back", "acknowledged_unsent")
"""Verdicts, by code."""

MOST_FLOWS = 1 << 15
"""Connections that are remembered between batches; beyond it those seen longest ago are forgotten."""

_MODULUS = 1 << 15
_UNKNOWN = -1


@dataclass(slots=True)
class Sequences:
    """Next numbers of every connection, between batches.

    Attributes:
        next: Flow to the next N(S) of its two directions, -1 if unknown; seen longest ago first.
        forgotten: Connections that were given up because there were too many.
    """

    next: dict[int, tuple[int, int]] = field(default_factory=dict)
    forgotten: int = 0

    def judge(self, pdus: PduBatch, send: npt.NDArray[np.int32], recv: npt.NDArray[np.int32]) -> I64:
        """Hold the numbers of a batch against what came before.

        Args:
            pdus: The frames, in order.
            send: N(S) of each frame, -1 where it has none.
            recv: N(R) of each frame, -1 where it has none.

        Returns:
            Index into ``KINDS`` of each frame, -1 where nothing is wrong or nobody can say: after a gap of the
            capture, and before the first number of a connection that was under way.
        """
        count = len(pdus)
        verdict = np.full(count, -1, np.int64)
        if not count:
            return verdict
        order = np.argsort(pdus.flow, kind="stable")
        flow, side = pdus.flow[order], pdus.direction[order]
        sent, heard = send[order].astype(np.int64), recv[order].astype(np.int64)
        lost = (pdus.flags[order] & PDU_AFTER_GAP) != 0
        begin = np.flatnonzero(np.r_[True, flow[1:] != flow[:-1]])
        start = np.repeat(begin, np.diff(np.r_[begin, count]))
        known = [self._before(int(flow[row]), bool(pdus.flags[order[row]] & PDU_MIDSTREAM)) for row in begin]
        carried = np.repeat(np.array(known, np.int64).reshape(-1, 2), np.diff(np.r_[begin, count]), axis=0)

        # For each side: what its next N(S) is before this frame, and after it.
        before = np.empty((2, count), np.int64)
        after = np.empty((2, count), np.int64)
        gone = np.empty((2, count), bool)
        for one in (0, 1):
            mine = (side == one) & (sent >= 0)
            last = np.maximum.accumulate(np.where(mine, np.arange(count), -1))
            after[one] = np.where(last >= start, (sent[np.maximum(last, 0)] + 1) % _MODULUS, carried[:, one])
            earlier = np.r_[-1, last[:-1]]
            before[one] = np.where(earlier >= start, (sent[np.maximum(earlier, 0)] + 1) % _MODULUS, carried[:, one])
            # What was lost on this side cannot be told from what was not sent.
            hole = np.where((side == one) & lost, 1, 0)
            of_flow = np.add.reduceat(hole, begin) > 0
            gone[one] = np.repeat(of_flow, np.diff(np.r_[begin, count]))
        rows = np.arange(count)
        expected = before[side, rows]
        step = (sent - expected) % _MODULUS
        judged = (sent >= 0) & (expected != _UNKNOWN) & ~lost
        found = np.full(count, -1, np.int64)
        found[judged & (step > 0) & (step < _MODULUS // 2)] = 0
        found[judged & (step == _MODULUS - 1)] = 1
        found[judged & (step >= _MODULUS // 2) & (step < _MODULUS - 1)] = 2
        others = before[1 - side, rows]
        ahead = (heard - others) % _MODULUS
        unsent = (heard >= 0) & (others != _UNKNOWN) & (ahead > 0) & (ahead < _MODULUS // 2) & ~gone[1 - side, rows]
        found[unsent & (found < 0)] = 3
        verdict[order] = found

        ends = np.r_[begin[1:], count] - 1
        for row in ends:
            key = int(flow[row])
            self.next.pop(key, None)
            self.next[key] = int(after[0, row]), int(after[1, row])
        while len(self.next) > MOST_FLOWS:
            self.next.pop(next(iter(self.next)))
            self.forgotten += 1
        return verdict

    def _before(self, flow: int, midstream: bool) -> tuple[int, int]:
        known = self.next.get(flow)
        if known is not None:
            return known
        return (_UNKNOWN, _UNKNOWN) if midstream else (0, 0)
