"""S7comm and S7comm-plus headers over COTP and TPKT (RFC 905 class 0, RFC 1006); S7comm has no public standard.

A message is one TPKT packet. DT fragments are put together up to the end-of-TSDU mark; the message's row belongs
to the packet that completed it. A COTP packet that carries no S7comm gives a row of its own.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import polars as pl

from event.fields.s7comm import FIELDS
from sensor.base import I64, U8, Decoder, PairRule, PduBatch, Repeat
from sensor.columns import writable
from sensor.decoders.s7comm import kernel as k
from sensor.decoders.s7comm.rows import ANOMALIES
from sensor.decoders.s7comm.rows import rows as event_rows
from sensor.reassemble import Reassembler

_BROKEN = {"incomplete": k.E_INCOMPLETE, "too_long": k.E_TOO_LONG, "evicted": k.E_EVICTED}


class S7commDecode:
    """A decode function with the memory of one input.

    Attributes:
        reassembler: Messages whose last fragment has not come yet.
    """

    def __init__(self) -> None:
        self.reassembler = Reassembler(message_bytes=1 << 16)

    def __call__(self, pdus: PduBatch) -> pl.DataFrame:
        """See ``sensor.base.Decoder.decode``."""
        pdus = replace(pdus, data=writable(pdus.data))
        cotp = np.zeros((k.COTP_ROWS, len(pdus)), np.int64)
        k.packets(pdus.data, pdus.offset, pdus.length, cotp)
        return event_rows(pdus, cotp, *self._assemble(pdus, cotp))

    def open_flows(self) -> list[int]:
        """Flows with a message whose last fragment has not come yet."""
        held = self.reassembler.keys()
        return [key >> 1 for key in held if isinstance(key, int)]

    def notes(self) -> dict[str, int]:
        """Counters for the account: what became of fragments, and messages that are still open."""
        return self.reassembler.notes("s7comm_fragments")

    def _assemble(self, pdus: PduBatch, cotp: I64) -> tuple[I64, I64, I64, I64, U8]:
        """Put DT fragments together (RFC 905, 13.7).

        Returns:
            For each row to come its packet, start and length of its message (-1 for none) and error; and the bytes
            that the starts count in.
        """
        kind, last, error = cotp[k.T_TYPE], cotp[k.T_LAST], cotp[k.T_ERROR]
        carries = ((kind == 0xF0) | (kind == 0x10)) & (error != k.E_COTP)
        pdu = np.arange(len(pdus), dtype=np.int64)
        start = np.where(carries, cotp[k.T_START], -1)
        length = np.where(carries, cotp[k.T_LENGTH], -1)
        parts = carries & (last == 0)
        if not parts.any() and not self.reassembler.pending:
            return pdu, start, length, error, pdus.data
        flows = pdus.flow * 2 + pdus.direction
        slow = carries & (parts | self._after_part(flows, carries, last)) & (kind == 0xF0)
        rows = np.flatnonzero(slow)
        names, key = np.unique(flows[rows], return_inverse=True)
        unknown = np.full(len(rows), -1, np.int64)
        whole = self.reassembler.join(
            names.tolist(), key, pdus.data, unknown, last[rows], unknown, start[rows], length[rows]
        )
        ended = rows[whole.part]
        made: list[tuple[int, int, int, int]] = []
        extra: list[bytes] = []
        end = len(pdus.data) + len(whole.octets)
        rows = rows[whole.left]
        octets = pdus.data.tobytes() if len(rows) else b""
        for i, of_flow, at, size, is_last in zip(
            rows.tolist(),
            flows[rows].tolist(),
            start[rows].tolist(),
            length[rows].tolist(),
            last[rows].tolist(),
            strict=True,
        ):
            body = octets[at : at + size]
            first = of_flow not in self.reassembler
            message, broken = self.reassembler.add(of_flow, body, first=first, last=bool(is_last))
            done = [(one.data, _BROKEN[one.reason]) for one in broken]
            if message is not None:
                done.append((message, int(error[i])))
            for octet_string, code in done:
                made.append((i, end, len(octet_string), code))
                extra.append(octet_string)
                end += len(octet_string)
        joined = np.stack([ended, len(pdus.data) + whole.start, whole.length, error[ended]])
        late = np.concatenate([joined, np.array(made, np.int64).reshape(-1, 4).T], axis=1)
        pdu, start, length, error = (
            np.concatenate([column[~slow], late[n]]) for n, column in enumerate((pdu, start, length, error))
        )
        order = np.argsort(pdu, kind="stable")
        data = np.concatenate([pdus.data, whole.octets, np.frombuffer(b"".join(extra), np.uint8)])
        return pdu[order], start[order], length[order], error[order], data

    def _after_part(self, flows: I64, carries: npt.NDArray[np.bool_], last: I64) -> npt.NDArray[np.bool_]:
        """Which packets follow, in their direction, a fragment that was not the last."""
        after = np.zeros(len(flows), bool)
        at = np.flatnonzero(carries)
        order = at[np.argsort(flows[at], kind="stable")]
        first = np.ones(len(at), bool)
        first[1:] = flows[order[1:]] != flows[order[:-1]]
        after[order[1:]] = (last[order[:-1]] == 0) & ~first[1:]
        for i in order[first].tolist():
            after[i] = int(flows[i]) in self.reassembler
        return after


def decode(pdus: PduBatch) -> pl.DataFrame:
    """Decode a batch that has nothing before it and nothing after it."""
    return S7commDecode()(pdus)


_STATE_LIST = 0x0424  # operating state: what panels ask for all day
_is_data = pl.col("cotp.pdu_type") == "data"
_is_read = pl.col("s7comm.function_code") == 4
_is_cyclic = pl.col("s7comm.group_code") == 2
_is_state = pl.col("s7comm.szl_id") == _STATE_LIST
_is_carrier = _is_data & (pl.col("cotp.protocol") != "s7comm") & pl.col("s7comm.access").is_null()
_is_plus_read = pl.col("s7comm_plus.function_code").is_not_null() & (pl.col("s7comm.access") == "read")
_failed = (pl.col("event.outcome") == "failure").fill_null(False)

DECODER = Decoder(
    name="s7comm",
    decode=decode,
    new=S7commDecode,
    fields=frozenset(field.name for field in FIELDS) - {"s7comm.matched"}
    | {"event.action", "event.outcome", "error.code", "error.message"},
    anomalies=ANOMALIES,
    keys=(
        "cotp.pdu_type",
        "cotp.protocol",
        "s7comm.rosctr",
        "s7comm.message_type",
        "s7comm.function_code",
        "s7comm.group_code",
        "s7comm.sub_function_code",
        "s7comm.item_count",
        "s7comm.items",
        "s7comm.szl_id",
        "s7comm.cpu_state",
        "s7comm_plus.version",
        "s7comm_plus.opcode",
        "s7comm_plus.function_code",
    ),
    verbatim=~pl.any_horizontal(
        one.fill_null(False) for one in (_is_read, _is_cyclic, _is_state, _is_carrier, _is_plus_read)
    )
    | _failed,
    pair=PairRule(
        is_request=pl.col("s7comm.message_type") == "request",
        is_response=pl.col("s7comm.message_type") == "response",
        keys=("s7comm.pdu_reference",),
        copy=(
            "s7comm.function_code",
            "s7comm.function",
            "s7comm.access",
            "s7comm.item_count",
            "s7comm.items",
            "s7comm.area",
            "s7comm.db_number",
            "s7comm.address",
            "s7comm.block_type",
            "s7comm.block_number",
            "s7comm.filesystem",
            "s7comm.file_name",
            "s7comm.pi_service",
            "s7comm.pi_argument",
            "s7comm.szl_id",
            "s7comm.szl_index",
        ),
        matched="s7comm.matched",
    ),
    repeat=Repeat(skim=k.skim, number=(11, 13), key=pl.col("s7comm.pdu_reference")),
)
