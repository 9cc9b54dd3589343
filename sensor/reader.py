"""The door of the sensor: what is this input, and its events.

``open_input`` looks at the first bytes, never at the name. Captures go through ``capture.CaptureWalk`` and the
decoders, logs through a ``LineParser``. numba is imported when the first block of a capture is read.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import polars as pl

from event import registry
from event.errors import ConfigError, InputError
from event.table import conform, event_ids, origin_of
from sensor import DECODERS, PARSERS
from sensor import kernels_layout as k
from sensor.base import ROOM_BEHIND, Account, Decoder, Input, LineParser, SensorLimits, SurveyingParser
from sensor.capture import ByteSource, CaptureWalk, Walk, capture_kind, open_bytes
from sensor.collapse import collapse as join_identical
from sensor.dispatch import APPS, BOUNDS, sign_columns
from sensor.evtx import MAGIC, EvtxInput
from sensor.flow import arp_table, flow_tables
from sensor.line_tables import line_tables, lines_of
from sensor.link import read_notes
from sensor.log_kinds import log_kind
from sensor.pair import PairState, pair
from sensor.repeats import COUNT, choose, every
from sensor.stream import Endpoints, Messages, endpoints, take_messages
from sensor.stream import running as number_within

KINDS = ("pcap", "pcapng", "evtx", *PARSERS)

_LOG_BLOCK = 8 << 20  # bytes of text at once: a few ten thousand lines
_SURVEY_BLOCK = 1 << 20  # bytes; less is done to them, so it pays that they stay in the cache
_DECODE_AT_ONCE = 1 << 16  # messages: their decoded columns take some hundred bytes each
_LONGEST_LINE = 1 << 24  # bytes; a longer line is cut there and counted


def open_input(
    path: Path | BinaryIO,
    *,
    name: str | None = None,
    kind: str | None = None,
    collapse: bool = True,
    limits: SensorLimits = SensorLimits(),  # noqa: B008 - frozen
    decoders: Sequence[str] | None = None,
    reference: datetime | None = None,
) -> Input:
    """Find out what an input is and make it ready to be read.

    Args:
        path: File, or a binary stream (a pipe). gzip and zstd are recognised by content.
        name: How the user calls it; the path if None. Stands in ``log.file.path`` and in errors.
        kind: One of ``KINDS``, where the content is not to be asked.
        collapse: Identical polls become one event.
        limits: Bounds of all live state.
        decoders: Which protocols are decoded; all if None.
        reference: When a log was last written, for lines that carry no year; that of the file if None.

    Raises:
        InputError: It cannot be opened, is empty, or is neither a capture nor a log that is known.
        ConfigError: A kind or decoder that does not exist.
    """
    label = name or (str(path) if isinstance(path, Path) else "<stream>")
    if kind is not None and kind not in KINDS:
        raise ConfigError(f"unknown kind of input {kind!r}", hint=f"known: {', '.join(KINDS)}")
    source = open_bytes(path, label)
    try:
        return _open(source, path, label, kind, collapse, limits, decoders, reference)
    except BaseException:
        source.close()
        raise


def _open(
    source: ByteSource,
    path: Path | BinaryIO,
    label: str,
    kind: str | None,
    collapse: bool,
    limits: SensorLimits,
    decoders: Sequence[str] | None,
    reference: datetime | None,
) -> Input:
    peek = source.peek(64)
    if capture_kind(peek) is None:
        peek = source.peek(1 << 16)
    if not peek:
        raise InputError(source.problem or "empty, expected a capture or a log", where=f"{label}, byte 0")
    found = capture_kind(peek)
    if found is not None and kind in (None, "pcap", "pcapng"):
        return capture_input(lambda apps: CaptureWalk(source, label, limits, apps), collapse, limits, decoders)
    if kind in (None, "evtx") and peek.startswith(MAGIC):
        return EvtxInput(source, label, path if isinstance(path, Path) else None)
    if kind in ("pcap", "pcapng", "evtx"):
        raise InputError(f"expected a {kind} magic number, found {peek[:4].hex()}", where=f"{label}, byte 0")
    log = kind or log_kind(peek)
    if log is None:
        raise InputError(
            f"neither a capture nor a log that is known: it starts with {peek[:4].hex()}",
            where=f"{label}, byte 0",
            hint="expected pcap, pcapng, EVTX, Windows events as JSON lines, Zeek TSV or JSON, Suricata EVE, auditd, "
            "access logs of web servers, JSON lines of applications, or syslog; plain, gzip or zstd; or say --kind",
        )
    parser: LineParser = registry.load("parsers", log, PARSERS)
    if reference is None and isinstance(path, Path):
        reference = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    file = path if isinstance(path, Path) and path.is_file() else None  # what is read twice must not be a pipe
    return LogInput(source, label, log, parser, reference, file)


def capture_input(
    walk: Callable[[int], Walk], collapse: bool, limits: SensorLimits, decoders: Sequence[str] | None
) -> CaptureInput:
    """Frames of a file or an interface, with their decoders.

    Args:
        walk: Makes the walk for a bit set of applications, see ``capture.new_state``.
        collapse: Identical polls become one event.
        limits: Bounds of all live state.
        decoders: Which protocols are decoded; all if None.
    """
    loaded = load_decoders(decoders)
    return CaptureInput(walk(sum(1 << app for app in loaded)), collapse, limits, loaded)


def load_decoders(names: Sequence[str] | None) -> dict[int, Decoder]:
    """Decoders by the kernels' number of their application.

    Raises:
        ConfigError: A name that no decoder has, or whose messages the kernels cannot find.
    """
    loaded: dict[int, Decoder] = {}
    for name in DECODERS if names is None else names:
        decoder: Decoder = registry.load("decoders", name, DECODERS)
        if name not in APPS:
            raise ConfigError(f"messages of {name!r} cannot be found in captures", hint=f"known: {', '.join(APPS)}")
        loaded[APPS[name]] = decoder
    return loaded


@dataclass(slots=True)
class _Running:
    """One decoder at work on one input."""

    decoder: Decoder
    decode: Any
    pairs: PairState


@dataclass(slots=True)
class CaptureInput:
    """A capture; see ``sensor.base.Input``."""

    kind: Any = field(init=False)
    account: Account = field(init=False)
    name: str = field(init=False)
    walk: Walk
    collapse: bool
    limits: SensorLimits
    decoders: dict[int, Decoder]
    _origin: str = field(init=False)
    _running: dict[int, _Running] = field(init=False)
    _bounds: dict[int, int] = field(init=False)
    _said: int = 0

    def __post_init__(self) -> None:
        self.name = self.walk.name
        self.kind = self.walk.kind
        self.account = Account(self.name, self.walk.kind)
        self._origin = origin_of(self.walk.head)
        self._running = {
            app: _Running(d, d.new() if d.new is not None else d.decode, PairState(limit=self.limits.pairs))
            for app, d in self.decoders.items()
        }
        self._bounds = dict.fromkeys(BOUNDS, 0)

    def tables(self) -> Iterator[pl.DataFrame]:
        """Yield event tables; see ``sensor.base.Input.tables``."""
        from sensor.kernel_cache import prepare

        prepare()
        started = time.monotonic()
        spent = 0.0
        walk = self.walk
        try:
            for _ in walk.steps():
                self._count()
                for table in self._flush():
                    spent += time.monotonic() - started
                    self.account.seconds = spent
                    yield table
                    started = time.monotonic()
        finally:
            self._count()
            spent += time.monotonic() - started
            self.account.seconds = spent
            walk.close()
        if walk.error is not None:
            self.account.error = str(walk.error)
            raise walk.take_error()

    def _count(self) -> None:
        c = self.walk.state.c
        account = self.account
        account.total = int(c[k.C_FRAME])
        account.decoded = int(c[k.C_DECODED])
        account.undecoded = int(c[k.C_UNDECODED])
        account.failed = int(c[k.C_FAILED])
        account.bytes = self.walk.bytes_read
        account.notes = {**read_notes(self.walk.state), **self.walk.notes}
        for running in self._running.values():
            if running.decoder.new is not None:
                account.notes.update(running.decode.notes())
            if running.pairs.forgotten:
                account.notes[f"{running.decoder.name}_requests_forgotten"] = running.pairs.forgotten

    def _flush(self) -> Iterator[pl.DataFrame]:
        state = self.walk.state
        c = state.c
        ends = endpoints(state.locals[: int(c[k.C_LOCALS])])
        for app, messages in take_messages(state):
            yield from self._decode(self._running[app], messages, ends)
        if c[k.C_ENDS]:
            for table in flow_tables(state.ends[: int(c[k.C_ENDS])].copy(), self._origin):
                yield self._finish(table)
        if c[k.C_ARPS]:
            yield self._finish(arp_table(state.arps[: int(c[k.C_ARPS])], self._origin, collapse=self.collapse))
        said = self._signs(ends)
        if said is not None:
            yield said

    def _decode(self, running: _Running, messages: Messages, ends: Endpoints) -> Iterator[pl.DataFrame]:
        """Decode the messages of one protocol, some ten thousand at a time; those that repeat others are counted."""
        decoder = running.decoder
        batch = messages.batch
        chosen = None
        if self.collapse and decoder.repeat is not None:
            still_open = running.decode.open_flows() if decoder.new is not None else ()
            chosen = choose(batch, decoder.repeat, running.pairs, messages.local, still_open, self.limits.collapse_ns)
        if chosen is None:
            chosen = every(len(batch))
        places = messages.places()
        for begin in range(0, len(chosen.rows), _DECODE_AT_ONCE):
            rows = chosen.rows[begin : begin + _DECODE_AT_ONCE]
            table = running.decode(chosen.of(batch, begin, begin + len(rows)))
            if table.is_empty():
                continue
            of_rows = table["_pdu"].to_numpy().astype(np.int64)
            pdu = rows[of_rows]
            index = (places[pdu] << 16) + number_within(of_rows)
            table = table.hstack(messages.keys(pdu)).with_columns(pl.Series("_pdu", pdu), pl.Series("_index", index))
            if chosen.facts is not None:
                table = table.hstack(chosen.columns(begin, of_rows))
            if decoder.pair is not None:
                table = pair(table, decoder.pair, running.pairs)
            if chosen.facts is not None:
                table = table.filter(pl.col(COUNT) > 0)
            if self.collapse:
                table = join_identical(table, decoder, self.limits.collapse_ns)
            base = messages.base_columns(table["_pdu"].to_numpy(), ends)
            ids = event_ids(self._origin, base["frame.number"], base["@timestamp"], decoder.name, table["_index"])
            yield self._finish(
                table.drop("_pdu", "_flow", "_direction", "_time", "_index").with_columns(
                    *(column.alias(name) for name, column in base.items()),
                    ids.alias("event.id"),
                    pl.lit(decoder.name).alias("event.dataset"),
                    pl.lit(decoder.name).alias("network.protocol"),
                )
            )

    def _signs(self, ends: Endpoints) -> pl.DataFrame | None:
        """Events of dataset ``sensor``: what the kernels noticed, and bounds that were reached since the last flush."""
        state = self.walk.state
        c = state.c
        parts = []
        if c[k.C_SIGNS]:
            table = sign_columns(state.signs[: int(c[k.C_SIGNS])])
            local = table["_local"].to_numpy().astype(np.int64)
            table = table.drop("_local")
            if len(ends):
                known = local >= 0
                columns = ends.of(np.maximum(local, 0), np.zeros(len(local), np.int64))
                mask = pl.Series(known)
                table = table.with_columns(pl.when(mask).then(column).alias(name) for name, column in columns.items())
            parts.append(table)
        for place, (code, text) in BOUNDS.items():
            new = int(c[place]) - self._bounds[place]
            if new:
                self._bounds[place] += new
                parts.append(self._notice(code, text, new))
        parts += [self._notice(code, text, new) for code, text, new in self.walk.said()]
        if not parts:
            return None
        table = pl.concat(parts, how="diagonal")
        index = pl.int_range(self._said, self._said + table.height, dtype=pl.Int64, eager=True)
        self._said += table.height
        ids = event_ids(self._origin, table["frame.number"], table["@timestamp"], "sensor", index)
        return self._finish(
            table.with_columns(
                ids.alias("event.id"),
                pl.lit("sensor").alias("event.dataset"),
                pl.col("error.code").alias("event.action"),
            )
        )

    def _notice(self, code: str, text: str, count: int) -> pl.DataFrame:
        c = self.walk.state.c
        return pl.DataFrame(
            {
                "@timestamp": pl.Series([int(c[k.C_TIME])]).cast(pl.Datetime("ns", "UTC")),
                "frame.number": [int(c[k.C_FRAME])],
                "error.code": [code],
                "error.message": [text],
                "event.count": [count],
            }
        )

    def _finish(self, table: pl.DataFrame) -> pl.DataFrame:
        kind = pl.lit("event")
        if "error.code" in table.columns:
            kind = pl.when(pl.col("error.code").is_not_null()).then(pl.lit("pipeline_error")).otherwise(kind)
        return conform(
            table.with_columns(
                kind.alias("event.kind"),
                pl.lit(["network"]).alias("event.category"),
                pl.lit("sensor").alias("event.module"),
                pl.lit(self.name).alias("log.file.path"),
            )
        )


Cut = Callable[[Iterable[tuple[memoryview, int]]], Iterator[tuple[pl.Series, pl.Series]]]
"""Blocks of whole lines, and where each stands, to the lines that are parsed and where those stand; a block is good
until the next one is asked for."""


@dataclass(slots=True)
class LogInput:
    """A log of lines; see ``sensor.base.Input``."""

    source: ByteSource
    name: str
    kind: Any
    parser: LineParser
    reference: datetime | None
    path: Path | None = None
    cut: Cut | None = None
    """Which lines are parsed; None: all."""
    account: Account = field(init=False)

    def __post_init__(self) -> None:
        self.account = Account(self.name, self.kind)

    def tables(self) -> Iterator[pl.DataFrame]:
        """Yield event tables; see ``sensor.base.Input.tables``."""
        started = time.monotonic()
        spent = 0.0
        origin = origin_of(self.source.peek(1 << 20))
        try:
            self._survey()
            for lines, offsets in (self.cut or _all_lines)(_blocks(self.source, self.account.notes, _LOG_BLOCK)):
                for table in line_tables(
                    self.parser,
                    lines,
                    offsets,
                    self.account,
                    origin=origin,
                    name=self.name,
                    reference=self.reference,
                ):
                    spent += time.monotonic() - started
                    yield table
                    started = time.monotonic()
        finally:
            self.account.bytes = self.source.raw_bytes
            self.account.seconds = spent + time.monotonic() - started
            self.source.close()
        if self.source.problem is not None:
            error = InputError(self.source.problem, where=f"{self.name}, byte {self.source.raw_bytes}")
            self.account.error = str(error)
            raise error

    def _survey(self) -> None:
        """Show the whole file to a parser that wants to see it before; whatever is wrong with it the reading says."""
        if self.path is None or self.reference is None or not isinstance(self.parser, SurveyingParser):
            return
        try:
            source = open_bytes(self.path, self.name)
        except InputError:
            return
        try:
            self.parser = self.parser.survey(
                (lines for lines, _ in _all_lines(_blocks(source, {}, _SURVEY_BLOCK))), self.reference
            )
        finally:
            source.close()


def _all_lines(blocks: Iterable[tuple[memoryview, int]]) -> Iterator[tuple[pl.Series, pl.Series]]:
    return (lines_of(data, offset) for data, offset in blocks)


def _blocks(source: ByteSource, notes: dict[str, int], size: int) -> Iterator[tuple[memoryview, int]]:
    """Whole lines and the byte offset of the first; a line over a block's border waits for its end.

    A block is the front of a buffer that goes on for ``ROOM_BEHIND`` bytes, and is good until the next one is asked
    for.
    """
    buffer = bytearray(size + ROOM_BEHIND)
    view = memoryview(buffer)[:size]
    kept = offset = 0  # bytes of a line that has begun, at the front of the buffer; where they stand
    while True:
        if kept == len(view):  # a line longer than the buffer
            buffer = buffer + bytearray(len(view))
            view = memoryview(buffer)[: 2 * kept]
        try:
            count = source.readinto(view[kept:])
        except OSError as error:
            source.problem = f"cannot be read: {error.strerror or error}"
            count = 0
        filled = kept + count
        if count == 0:
            if filled:
                yield view[:filled], offset
            return
        end = buffer.rfind(b"\n", kept, filled) + 1
        if end == 0 and filled > _LONGEST_LINE:
            end = filled
            notes["lines_cut"] = notes.get("lines_cut", 0) + 1
        if end:
            yield view[:end], offset
        kept = filled - end
        view[:kept] = bytes(view[end:filled])
        offset += end


def missing_modules() -> list[str]:
    """Decoders and parsers named in this room whose module cannot be imported: for ``doctor``."""
    absent = []
    for name, place in {**DECODERS, **PARSERS}.items():
        try:
            importlib.import_module(place.partition(":")[0])
        except ImportError:
            absent.append(name)
    return absent
