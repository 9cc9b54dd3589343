"""EVTX files: the Windows event log as it lies on disk.

The ``evtx`` library (Rust, wheels; extra ``evtx``) takes the binary XML apart, a chunk of 64 KiB at a time, so that
memory does not grow with the file. A record is what a line is elsewhere: it is an event, or an event of kind
``pipeline_error`` that says what is wrong with it. The library seeks: what cannot (a pipe, a compressed file) is copied
into a temporary file first.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import orjson
import polars as pl

from event.channels import OTHER
from event.errors import InputError
from event.table import ORIGIN_BYTES, conform, event_ids, origin_of
from sensor.base import Account
from sensor.capture import ByteSource
from sensor.lines import ROW, errors
from sensor.parsers.windows import ANOMALIES, finish_each, tables

MAGIC = b"ElfFile\x00"
"""First octets of a file."""

_AT_ONCE = 8_192  # records that become tables together
_COPY = 1 << 20
_HEADER = 4_096
_CHUNK = 65_536


@dataclass(slots=True)
class EvtxInput:
    """An EVTX file; see ``sensor.base.Input``."""

    source: ByteSource
    name: str
    path: Path | None
    kind: Any = "evtx"
    account: Account = field(init=False)
    _names: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.account = Account(self.name, "evtx")

    def tables(self) -> Iterator[pl.DataFrame]:
        """Yield event tables; see ``sensor.base.Input.tables``."""
        try:
            from evtx import PyEvtxParser
        except ImportError:
            self.source.close()
            hint = "pip install 'jianmen[evtx]', or export the log as JSON lines"
            raise InputError("EVTX files need the library evtx", where=self.name, hint=hint) from None
        started = time.monotonic()
        spent = 0.0
        origin = origin_of(self.source.peek(ORIGIN_BYTES))
        account = self.account
        try:
            with self._file() as file:
                size = file.seek(0, 2)
                account.bytes = size
                file.seek(0)
                try:
                    records = PyEvtxParser(file, 1).records_json()
                except (OSError, RuntimeError, ValueError) as error:
                    raise InputError(f"not a whole EVTX file: {_line(error)}", where=f"{self.name}, byte 0") from None
                before = 0
                for count, documents, bad in _batches(records):
                    for table in self._tables(documents, bad, count, before, origin):
                        spent += time.monotonic() - started
                        account.seconds = spent
                        yield table
                        started = time.monotonic()
                    before += count
                problem = self.source.problem or _cut(size)
                if problem is not None:
                    error_ = InputError(problem, where=f"{self.name}, byte {size}")
                    account.error = str(error_)
                    raise error_
        finally:
            account.seconds = spent + time.monotonic() - started
            self.source.close()

    def _file(self) -> BinaryIO:
        """Something that can be sought in."""
        if self.path is not None and self.source.compression is None:
            return self.path.open("rb")
        file = cast("BinaryIO", tempfile.TemporaryFile(prefix="jianmen-evtx-"))  # noqa: SIM115 - closed by tables()
        view = memoryview(bytearray(_COPY))
        try:
            while count := self.source.readinto(view):
                file.write(view[:count])
        except OSError as error:
            file.close()
            reason = f"cannot be copied to a temporary file: {error.strerror or error}"
            raise InputError(reason, where=self.name, hint="TMPDIR names a folder with room") from None
        file.seek(0)
        return file

    def _tables(
        self, documents: list[tuple[int, Any]], bad: dict[int, str], count: int, before: int, origin: str
    ) -> Iterator[pl.DataFrame]:
        account = self.account
        wrong: dict[str, list[int]] = {}
        parts = tables(documents, self._names, wrong)
        for code, rows in wrong.items():
            parts.append(errors(pl.Series(ROW, rows, dtype=pl.Int64), OTHER, code, ANOMALIES[code]))
        if bad:
            damaged = errors(pl.Series(ROW, list(bad), dtype=pl.Int64), OTHER, "bad_record", "")
            parts.append(damaged.with_columns(pl.Series("error.message", list(bad.values()), dtype=pl.String)))
        numbers = pl.Series(np.arange(before + 1, before + 1 + count, dtype=np.int64))
        for table in finish_each(parts, pl.Series([None] * count, dtype=pl.String), numbers, None):
            failed = int((table["event.kind"] == "pipeline_error").sum())
            account.total += table.height
            account.failed += failed
            account.decoded += table.height - failed
            zero = pl.Series(np.zeros(table.height, np.int64))
            dataset = str(table["event.dataset"][0])
            ids = event_ids(origin, table["log.offset"], table["@timestamp"], dataset, zero)
            yield conform(
                table.drop("event.original", "log.offset").with_columns(
                    ids.alias("event.id"), pl.lit(self.name).alias("log.file.path")
                )
            )


def _batches(records: Any) -> Iterator[tuple[int, list[tuple[int, Any]], dict[int, str]]]:
    """Records some thousand at a time: how many, those that can be read, and what is wrong with the others."""
    going = True
    while going:
        documents: list[tuple[int, Any]] = []
        bad: dict[int, str] = {}
        row = 0
        while row < _AT_ONCE:
            try:
                documents.append((row, orjson.loads(next(records)["data"])))
            except StopIteration:
                going = False
                break
            except (RuntimeError, OSError, ValueError) as error:
                bad[row] = _line(error)
            row += 1
        if row:
            yield row, documents, bad


def _line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:500]


def _cut(size: int) -> str | None:
    """A file is a header and whole chunks; a chunk that is cut is passed over by the library."""
    rest = (size - _HEADER) % _CHUNK
    return f"ends {rest} octets into a chunk of {_CHUNK}" if size < _HEADER or rest else None
