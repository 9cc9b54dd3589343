"""Events that the cluster will not take: parked on disk with the reason, never dropped, never tried for ever."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import polars as pl

from event.errors import StoreError

REASON = "reason"
"""Column of a dead-letter segment beside those of the events."""


class Rejected:
    """A folder of dead-letter segments: Parquet files of events with the column ``reason``."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self._number = 0

    def park(self, events: pl.DataFrame, reasons: list[str]) -> None:
        """Write a segment, durably.

        Raises:
            StoreError: There is no folder for it, or it cannot be written: the events stay where they are.
        """
        if self.folder is None:
            raise StoreError(
                f"the cluster refuses {events.height} events, and there is no folder to park them in: {reasons[0]}"
            )
        with self._lock:
            self._number += 1
            name = f"{time.time_ns():020d}-{os.getpid()}-{self._number}.parquet"
            path = self.folder / name
            try:
                self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                part = path.with_suffix(".part")
                handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
                with os.fdopen(handle, "wb") as file:
                    events.with_columns(pl.Series(REASON, reasons, dtype=pl.String)).write_parquet(file)
                    file.flush()
                    os.fsync(file.fileno())
                part.rename(path)
            except (OSError, pl.exceptions.PolarsError) as error:
                raise StoreError(f"refused events cannot be parked: {error}", where=str(self.folder)) from error

    def segments(self) -> list[Path]:
        """Segments that are there, oldest first."""
        if self.folder is None or not self.folder.is_dir():
            return []
        return sorted(self.folder.glob("*.parquet"))
