"""The contracts of the sensor: batches of messages, decoders, parsers, inputs and their account."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import polars as pl

U8 = npt.NDArray[np.uint8]
I64 = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class PduBatch:
    """Messages of one protocol, cut out of streams and datagrams, in order of their last frame.

    Columns of ``n`` rows over one byte buffer.

    Attributes:
        data: Bytes of all messages, ``uint8[total]``.
        offset: Start of each message in ``data``, ``int64[n]``.
        length: Bytes of each message that were captured, ``int64[n]``; ``offset + length <= len(data)``.
        flow: Key of the flow, ``int64[n]``: unique in one input, never reused, stable over batches.
        direction: 0 from the flow's client to its server, 1 back, ``int64[n]``.
        timestamp: Nanoseconds since the epoch, UTC, of the frame that ended the message, ``int64[n]``.
        frame: Number of that frame in the capture, from 1, ``int64[n]``.
        flags: ``int64[n]`` of ``PDU_*`` bits.
        expected: Bytes the message says it has, ``int64[n]``; more than ``length`` if it was cut.
    """

    data: U8
    offset: I64
    length: I64
    flow: I64
    direction: I64
    timestamp: I64
    frame: I64
    flags: I64
    expected: I64

    def __len__(self) -> int:
        return len(self.offset)

    def payload(self, row: int) -> bytes:
        """Bytes of one message; for tests and row-wise decoders."""
        start = int(self.offset[row])
        return self.data[start : start + int(self.length[row])].tobytes()


FREQUENT_LETTERS = "e taoinsr\\lhdcumpf.gywb:-0123456789vk"
"""Of log texts, the most frequent first: pieces of text with others are found in fewer places."""
ROOM_BEHIND = 192
"""Bytes behind a block of lines that may be read along with it, whatever they are."""

PDU_AFTER_GAP = 1  # bytes before this message were lost
PDU_CUT = 2  # the capture or the stream ended, or a gap came, before the message did
PDU_BAD_FRAMING = 4  # the bytes do not frame as the protocol wants: a violation, given to the decoder as they are
PDU_MIDSTREAM = 8  # the flow was under way when the capture began
PDU_DATAGRAM = 16  # came in UDP


def batch_of(payloads: list[bytes], *, direction: int | list[int] = 0, flow: int | list[int] = 0) -> PduBatch:
    """A batch out of single messages, one second apart; for tests."""
    n = len(payloads)
    length = np.array([len(p) for p in payloads], np.int64)
    ends = np.cumsum(length) if n else length
    one = np.zeros(n, np.int64)
    return PduBatch(
        data=np.frombuffer(b"".join(payloads), np.uint8),
        offset=ends - length,
        length=length,
        flow=one + np.array(flow, np.int64),
        direction=one + np.array(direction, np.int64),
        timestamp=np.arange(n, dtype=np.int64) * 1_000_000_000 + 1_700_000_000_000_000_000,
        frame=np.arange(1, n + 1, dtype=np.int64),
        flags=one.copy(),
        expected=length.copy(),
    )


class DecodeError(Exception):
    """A message that cannot be decoded; ``code`` is out of the decoder's ``ANOMALIES``. Stays in this room."""

    def __init__(self, code: str, message: str = "") -> None:
        super().__init__(message or code)
        self.code = code


@dataclass(frozen=True, slots=True)
class Repeat:
    """How messages of a protocol are told to be the same without decoding them; see ``sensor/repeats.py``.

    Attributes:
        skim: Kernel ``skim(data, offset, length, direction, flow, out, left)``. It fills ``out``, zeros before,
            ``int64[7, n]``: role (0 neither, 1 request, 2 response, as the ``PairRule`` would say), pairing key within
            the flow (equal where all columns of ``PairRule.keys`` are), 1 for a message that is certain to be joined
            with its likes and to have no ``error.code``, and a size that has to be equal on request and response. For
            responses that are joined whatever their values are: how these lie (``BITS`` or ``WORDS`` of
            ``sensor._repeat_kernels``), and where in the message they begin; and for their requests, how many. It
            sets ``left[flow]`` to 1 for a flow with any message that is not whole and well-formed.
        number: Bytes of a message, first and behind the last, that differ between messages that are the same.
        key: The pairing key out of the columns of ``PairRule.keys``, null where one is null.
    """

    skim: Callable[[U8, I64, I64, I64, I64, I64, I64], None]
    number: tuple[int, int]
    key: pl.Expr


class RememberingDecode(Protocol):
    """A decode function with a memory between batches."""

    def __call__(self, pdus: PduBatch) -> pl.DataFrame:
        """See ``Decoder.decode``."""
        ...

    def notes(self) -> dict[str, int]:
        """Counters for the account by name: what became of parts of messages, and how many are open now."""
        ...


@dataclass(frozen=True, slots=True)
class Decoder:
    """What a decoder module publishes as ``DECODER``.

    Attributes:
        name: Protocol, and ``event.dataset`` of its events.
        decode: From messages to a table with one or more rows a message. Columns are the protocol's own fields
            plus ``_pdu`` (``Int64``, row in the batch), and of the common fields only those in ``fields``
            (``event.action``, ``event.outcome``, ``error.code``, ``error.message``, ...). A message that cannot be
            decoded gives a row with ``error.code`` out of ``anomalies``; the reader makes it
            ``event.kind: pipeline_error``. Every message gives at least one row, with one exception: a part of a
            larger message (a DNP3 transport segment, a COTP fragment) that is not its last gives none, and the
            row of the larger message belongs to the part that completed it. Never raises for any bytes.
        fields: Every column that ``decode`` may give, ``_pdu`` excepted.
        anomalies: Code to one sentence that says what was violated and where the rule stands.
        keys: Columns whose values make two messages identical for collapsing (with flow and direction).
        verbatim: Polars predicate over the decoded table: rows that are never collapsed (writes, controls, errors).
        pair: How requests meet their responses: see ``sensor/pair.py``; None if the protocol has none.
        repeat: How messages that repeat an earlier one are found before decoding; None if all are decoded. Wants
            a ``pair`` whose requests are answered ``once``.
    """

    name: str
    decode: Callable[[PduBatch], pl.DataFrame]
    fields: frozenset[str]
    anomalies: dict[str, str]
    keys: tuple[str, ...] = ()
    verbatim: pl.Expr | None = None
    pair: PairRule | None = None
    repeat: Repeat | None = None
    new: Callable[[], RememberingDecode] | None = None
    """Makes a decode function with a bounded memory of its own between batches (``sensor/reassemble.py``). A reader
    calls it once an input and gives that function every batch, in order; None where ``decode`` needs no memory.
    ``decode`` itself forgets everything after each batch."""


@dataclass(frozen=True, slots=True)
class PairRule:
    """How a response finds its request within one flow.

    Attributes:
        is_request: Predicate over the decoded table.
        is_response: Predicate over the decoded table.
        keys: Columns that a response repeats from its request (a transaction id, a function code).
        copy: Columns that are filled in on the response from its request where they are null.
        matched: Boolean column that is set on responses.
        once: A request is answered by one response; False where a confirmation and a termination both answer it.
        finish: Applied to the table after pairing, for what only request and response together tell.
    """

    is_request: pl.Expr
    is_response: pl.Expr
    keys: tuple[str, ...]
    copy: tuple[str, ...]
    matched: str
    once: bool = True
    finish: Callable[[pl.DataFrame], pl.DataFrame] | None = None


class LineParser(Protocol):
    """From a block of lines to tables of events.

    A parser keeps no state but what later lines rest on (the header of Zeek TSV, the year of syslog), and never asks
    the clock. Offset 0 begins a new input.
    """

    name: str

    def parse(self, lines: pl.Series, offsets: pl.Series, *, reference: datetime | None) -> list[pl.DataFrame]:
        """Turn lines into tables, one dataset each, without ``event.id``.

        Every line gives exactly one row somewhere; one that does not parse gives a row with
        ``event.kind: pipeline_error``, ``error.code`` and ``event.original``. Header and empty lines are the
        exception: they give no row.

        Args:
            lines: Text of the lines without their ends.
            offsets: Byte offset of each line in the input, for ``log.offset``.
            reference: When the input was last written, UTC: where time stamps carry no year, the latest of them is
                of the last year in which it is not after this.
        """
        ...


@runtime_checkable
class SurveyingParser(LineParser, Protocol):
    """A parser that can date lines better once it has seen where the input ends."""

    def survey(self, blocks: Iterable[pl.Series], reference: datetime) -> LineParser:
        """Make a parser for one input.

        Args:
            blocks: Text of all its lines, as they will be given to ``parse``.
            reference: See ``LineParser.parse``.
        """
        ...


@dataclass(slots=True)
class Account:
    """What became of every frame or line of one input: ``total = decoded + undecoded + failed``.

    ``decoded``: the link, network and transport headers were understood and the frame went to a flow, ARP or
    ICMP (whether or not its payload has a decoder); for lines: an event was made. ``undecoded``: whole, but of a
    link type, Ethertype or format we have no decoder for. ``failed``: damaged, or contradicts its own headers.
    """

    path: str
    kind: str
    total: int = 0
    decoded: int = 0
    undecoded: int = 0
    failed: int = 0
    bytes: int = 0
    seconds: float = 0.0
    error: str | None = None
    events: dict[str, int] = field(default_factory=dict)
    notes: dict[str, int] = field(default_factory=dict)
    """Counters by name: what was undecoded (``ethertype_0x88b8``), bounds reached, anomalies."""

    def as_json(self) -> dict[str, object]:
        """The object that ``ingest --json`` prints; ``total`` is called ``frames`` or ``lines`` there."""
        unit = "frames" if self.kind in ("pcap", "pcapng", "interface") else "lines"
        return {
            "path": self.path,
            "kind": self.kind,
            unit: self.total,
            "decoded": self.decoded,
            "undecoded": self.undecoded,
            "failed": self.failed,
            "bytes": self.bytes,
            "seconds": round(self.seconds, 3),
            "error": self.error,
            "notes": dict(sorted(self.notes.items())),
        }


@dataclass(frozen=True, slots=True)
class SensorLimits:
    """Bounds of all live state; reaching one is an event of dataset ``sensor``."""

    flows: int = 1 << 18
    streams: int = 1 << 15
    carry_bytes: int = 1 << 12
    """Bytes that one direction of a stream may hold back: an unfinished message or segments after a hole."""
    fragments: int = 1 << 10
    """IP datagrams under reassembly."""
    idle_timeout_ns: int = 120 * 10**9
    active_timeout_ns: int = 1800 * 10**9
    pairs: int = 1 << 16
    """Requests that wait for their response."""
    collapse_ns: int = 300 * 10**9
    """Longest span that one collapsed event may stand for."""
    max_frame: int = 1 << 20
    """Largest frame that is believed, bytes."""


class Input(Protocol):
    """One opened capture or log."""

    kind: str
    account: Account

    def tables(self) -> Iterator[pl.DataFrame]:
        """Yield event tables in reading order, each of one dataset, ready for a store.

        Raises:
            InputError: The input is damaged; all events before the damage were yielded, and ``account.error``
                says the same.
        """
        ...
