"""DNP3 (IEEE 1815-2012): link frames (clause 9), transport function (clause 8), application layer (clause 4, annex A).

A message is one link frame with its CRCs. The user data of the frames of one conversation is put together by the
transport function; each application fragment gives one row. A frame without user data gives a row of
``dnp3.message_type: link``, and a segment that is not the last of its fragment gives none.

A frame with a wrong CRC is dropped by every receiver. It is decoded all the same, as an error, and never touches
the reassembly, so nobody can break a message apart with it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl

from event.fields.dnp3 import FIELDS
from sensor.base import I64, U8, Decoder, PairRule, PduBatch
from sensor.columns import writable
from sensor.decoders.dnp3 import kernel as k
from sensor.decoders.dnp3.names import NO_ANSWER
from sensor.decoders.dnp3.rows import ANOMALIES
from sensor.decoders.dnp3.rows import rows as event_rows
from sensor.reassemble import Reassembler

Bool = npt.NDArray[np.bool_]

_BROKEN = {
    "incomplete": k.E_INCOMPLETE,
    "orphan": k.E_ORPHAN,
    "sequence": k.E_SEQUENCE,
    "too_long": k.E_TOO_LONG,
    "evicted": k.E_EVICTED,
}


class Dnp3Decode:
    """A decode function with the memory of one input.

    Attributes:
        reassembler: Fragments whose last segment has not come yet.
    """

    def __init__(self) -> None:
        self.reassembler = Reassembler(message_bytes=1 << 16, modulus=64)

    def __call__(self, pdus: PduBatch) -> pl.DataFrame:
        """See ``sensor.base.Decoder.decode``."""
        link = np.zeros((k.LINK_ROWS, len(pdus)), np.int64)
        user = np.empty(len(pdus.data), np.uint8)
        k.link_frames(writable(pdus.data), pdus.offset, pdus.length, k.CRC_TABLE, user, link)
        return event_rows(link, *self._transport(pdus, link, user))

    def notes(self) -> dict[str, int]:
        """Counters for the account: what became of segments, and fragments that are still open."""
        return self.reassembler.notes("dnp3_segments")

    def _transport(self, pdus: PduBatch, link: I64, user: U8) -> tuple[I64, I64, I64, I64, U8]:
        """Put segments together (8.2).

        Returns:
            For each row to come its frame, start and length of its fragment (-1 for none) and error; and the bytes
            that the starts count in.
        """
        control, at, size = link[k.L_CONTROL], link[k.L_START], link[k.L_LENGTH]
        user_data = control & 0x4F
        carries = ((user_data == 0x43) | (user_data == 0x44)) & (size > 0) & (control >= 0)
        octet = np.zeros(len(pdus), np.int64)
        octet[carries] = user[at[carries]]
        good = link[k.L_ERROR] == k.OK
        parts = carries & ((octet & 0xC0) != 0xC0)
        # A frame whose CRC is wrong and that is a segment says nothing by itself: its row is one of the link layer.
        alone = carries & (good | ~parts)
        pdu = np.arange(len(pdus), dtype=np.int64)
        start, length = np.where(alone, at + 1, -1), np.where(alone, size - 1, -1)
        error = link[k.L_ERROR]
        if not parts.any() and not self.reassembler.pending:
            return pdu, start, length, error, user
        source, destination = link[k.L_SOURCE], link[k.L_DESTINATION]
        flows = pdus.flow * 2 + pdus.direction
        slow = carries & good & (parts | self._after_open(flows, source, destination, carries & good, octet))
        rows = np.flatnonzero(slow)
        conversation, names = _conversations(flows[rows], source[rows], destination[rows])
        mark = octet[rows]
        whole = self.reassembler.join(
            names, conversation, user, (mark >> 6) & 1, (mark >> 7) & 1, mark & 0x3F, at[rows] + 1, size[rows] - 1
        )
        ended = rows[whole.part]
        made: list[tuple[int, int, int, int]] = []
        extra: list[bytes] = []
        end = len(user) + len(whole.octets)

        def add(frame: int, data: bytes, code: int) -> None:
            nonlocal end
            made.append((frame, end, len(data), code))
            extra.append(data)
            end += len(data)

        rows = rows[whole.left]
        octets = user.tobytes() if len(rows) else b""
        columns = (flows, source, destination, octet, at, size)
        for i, flow, sender, receiver, transport, begin, count in zip(
            rows.tolist(), *(column[rows].tolist() for column in columns), strict=True
        ):
            message, broken = self.reassembler.add(
                (flow, sender, receiver),
                octets[begin + 1 : begin + count],
                first=bool(transport & 0x40),
                last=bool(transport & 0x80),
                sequence=transport & 0x3F,
            )
            for one in broken:
                # A later segment does not begin with an application header: its bytes say nothing.
                add(i, b"" if one.reason == "orphan" else one.data, _BROKEN[one.reason])
            if message is not None:
                add(i, message, k.OK)
        joined = np.stack([ended, len(user) + whole.start, whole.length, np.full(len(ended), k.OK, np.int64)])
        late = np.concatenate([joined, np.array(made, np.int64).reshape(-1, 4).T], axis=1)
        pdu, start, length, error = (
            np.concatenate([column[~slow], late[n]]) for n, column in enumerate((pdu, start, length, error))
        )
        start = np.where(length == 0, -1, start)
        order = np.argsort(pdu, kind="stable")
        data = np.concatenate([user, whole.octets, np.frombuffer(b"".join(extra), np.uint8)])
        return pdu[order], start[order], length[order], error[order], data

    def _after_open(self, flows: I64, source: I64, destination: I64, counts: Bool, octet: I64) -> Bool:
        """Which frames follow, in their conversation, one that left a fragment open."""
        after = np.zeros(len(flows), bool)
        at = np.flatnonzero(counts)
        _, small = np.unique(flows[at], return_inverse=True)
        conversation = (small.astype(np.int64) << 32) | (source[at] << 16) | destination[at]
        order = np.argsort(conversation, kind="stable")
        sorted_at, of = at[order], conversation[order]
        first = np.ones(len(at), bool)
        first[1:] = of[1:] != of[:-1]
        leaves_open = (octet[sorted_at] & 0x80) == 0
        after[sorted_at[1:]] = leaves_open[:-1] & ~first[1:]
        for i in sorted_at[first].tolist():
            after[i] = (int(flows[i]), int(source[i]), int(destination[i])) in self.reassembler
        return after


def _conversations(flow: I64, source: I64, destination: I64) -> tuple[I64, list[tuple[int, int, int]]]:
    """Number the triples of flow, sender and receiver.

    Returns:
        The number of each row's, and the triples.
    """
    _, small = np.unique(flow, return_inverse=True)
    _, first, number = np.unique(
        (small.astype(np.int64) << 32) | (source << 16) | destination, return_index=True, return_inverse=True
    )
    triples = zip(flow[first].tolist(), source[first].tolist(), destination[first].tolist(), strict=True)
    return number.astype(np.int64), list(triples)


def decode(pdus: PduBatch) -> pl.DataFrame:
    """Decode a batch that has nothing before it and nothing after it."""
    return Dnp3Decode()(pdus)


_LISTED = frozenset(field.name for field in FIELDS) - {"dnp3.matched"}
_QUIET_LINK = (2, 9, 11)  # test link, request link status, link status
_is_link = pl.col("dnp3.message_type") == "link"
_is_poll = (pl.col("dnp3.access") == "read") | (pl.col("dnp3.function_code") == 0)
_is_answer = (pl.col("dnp3.message_type") == "response") & pl.col("dnp3.control_status").is_null()
_is_empty = (pl.col("dnp3.message_type") == "unsolicited") & pl.col("dnp3.objects").is_null()
_is_keep_alive = _is_link & pl.col("dnp3.link_function_code").is_in(_QUIET_LINK)
_has_files = pl.col("dnp3.file_name").is_not_null() | pl.col("dnp3.device_attributes").is_not_null()

DECODER = Decoder(
    name="dnp3",
    decode=decode,
    new=Dnp3Decode,
    fields=_LISTED | {"event.action", "event.outcome", "error.code", "error.message"},
    anomalies=ANOMALIES,
    keys=(
        "dnp3.message_type",
        "dnp3.link_source",
        "dnp3.link_destination",
        "dnp3.link_function_code",
        "dnp3.function_code",
        "dnp3.request_function",
        "dnp3.iin",
        "dnp3.objects",
        "dnp3.object_count",
        "dnp3.range_low",
        "dnp3.range_high",
    ),
    verbatim=(
        ~(_is_poll | _is_answer | _is_empty | _is_keep_alive)
        | _has_files
        | (pl.col("event.outcome") == "failure").fill_null(False)
    ),
    pair=PairRule(
        is_request=(pl.col("dnp3.message_type") == "request") & ~pl.col("dnp3.function_code").is_in(NO_ANSWER),
        is_response=pl.col("dnp3.message_type") == "response",
        keys=("dnp3.master", "dnp3.outstation", "dnp3.sequence"),
        copy=("dnp3.request_function",),
        matched="dnp3.matched",
    ),
)
