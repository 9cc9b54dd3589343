"""The running sensor: a thread an input, one clock, one sink. No Typer here.

What comes is appended at once and made durable at every beat; then the positions of followed files are kept. Killed
between the two, a later run reads the same lines again, and the store leaves out what it has.
"""

from __future__ import annotations

import fcntl
import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.pipeline import Sink
from event.errors import ConfigError, InputError, StoreError
from sensor.live.beat import Beat

if TYPE_CHECKING:
    import polars as pl

    from sensor.live.beat import LiveInput

_AGAIN_S = 1.0
_PATIENCE_S = 20.0
"""How long a sink that fails is tried again once the sensor is told to stop."""
_ANSWER_S = 0.3
"""Inputs look for a beat every 0.1 to 0.2 s."""
_LOCK, _STATUS, _POSITIONS = "lock", "status.json", "positions.json"


@dataclass(slots=True)
class StateFolder:
    """What a sensor keeps between runs, and tells others while it runs."""

    path: Path

    @contextmanager
    def held(self) -> Iterator[None]:
        """Only one sensor works with a folder.

        Raises:
            ConfigError: Another one does, or the folder cannot be made.
        """
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle = os.open(self.path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ConfigError(f"cannot keep the sensor's state: {error.strerror}", where=str(self.path)) from None
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ConfigError(
                    "another sensor keeps its state there",
                    where=str(self.path),
                    hint="one sensor takes any number of inputs; for a second one name another folder with --state",
                ) from None
            yield
        finally:
            os.close(handle)

    def running(self) -> bool:
        """Whether a sensor works with it now."""
        try:
            handle = os.open(self.path / _LOCK, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(handle)
        return False

    def status(self) -> dict[str, Any]:
        """What the sensor said last; empty if none ever ran.

        Raises:
            ConfigError: The file cannot be read.
        """
        return self._read(_STATUS)

    def positions(self, sink: str) -> dict[str, Any]:
        """How far inputs were read into a sink.

        Raises:
            ConfigError: The file cannot be read.
        """
        return dict(self._read(_POSITIONS).get(sink, {}))

    def keep_positions(self, sink: str, positions: dict[str, Any]) -> None:
        """Keep how far inputs were read, durably."""
        known = self._read(_POSITIONS)
        known[sink] = {**known.get(sink, {}), **positions}
        self._write(_POSITIONS, known, durable=True)

    def keep_status(self, status: dict[str, Any]) -> None:
        """Tell others how the sensor is."""
        self._write(_STATUS, status, durable=False)

    def _read(self, name: str) -> dict[str, Any]:
        try:
            value = json.loads((self.path / name).read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"the sensor's state cannot be read: {error}",
                where=str(self.path / name),
                hint="move it away: followed files are then read from their start; the store leaves out what it has",
            ) from None
        return value if isinstance(value, dict) else {}

    def _write(self, name: str, value: dict[str, Any], *, durable: bool) -> None:
        beside = self.path / f".{name}.new"
        with beside.open("w", encoding="utf-8") as out:
            json.dump(value, out, ensure_ascii=False, separators=(",", ":"))
            if durable:
                out.flush()
                os.fsync(out.fileno())
        beside.rename(self.path / name)


@dataclass(slots=True)
class SensorRun:
    """One run of a sensor.

    Attributes:
        sink: Where events go.
        sink_name: What it is called; positions of files are kept for it.
        inputs: What is read, each in a thread of its own.
        folder: Its state.
        every: Seconds between beats: events are durable so long after they came, and a little more.
        tell: Called with each new trouble and its end.
        extra: More for the status, such as what waits in the spool.
    """

    sink: Sink
    sink_name: str
    inputs: Sequence[LiveInput]
    folder: StateFolder
    every: float
    tell: Callable[[str], None] = lambda text: None
    extra: Callable[[], dict[str, Any]] = dict
    _stop: threading.Event = field(default_factory=threading.Event)
    _started: datetime = field(default_factory=lambda: datetime.now(UTC))
    _bug: BaseException | None = None
    _trouble: str | None = None
    _troubles: dict[str, str | None] = field(default_factory=dict)
    _totals: dict[str, tuple[float, int]] = field(default_factory=dict)
    _rates: dict[str, float] = field(default_factory=dict)
    _deadline: float | None = None

    def run(self, stop: threading.Event, seconds: float | None = None) -> None:
        """Work until ``stop`` is set, all inputs have ended, or ``seconds`` are over; then everything is durable.

        Raises:
            StoreError: The sink did not take what was left.
        """
        self._stop = stop
        beat = Beat()
        threads = [
            threading.Thread(target=self._feed, args=(one, beat), name=one.name, daemon=True) for one in self.inputs
        ]
        for thread in threads:
            thread.start()
        end = None if seconds is None else time.monotonic() + seconds
        self._flush()
        self._tell_status()
        while any(thread.is_alive() for thread in threads) and (end is None or time.monotonic() < end):
            left = self.every if end is None else max(0.0, min(self.every, end - time.monotonic()))
            if stop.wait(left):
                break
            beat.number += 1
            time.sleep(_ANSWER_S)
            self._flush()
            self._tell_status()
        stop.set()
        self._deadline = time.monotonic() + _PATIENCE_S
        beat.stop.set()
        for thread in threads:
            thread.join()
        for one in self.inputs:
            one.close()
        while not self._flush():
            if time.monotonic() > self._deadline:
                self._tell_status(stopped=True)
                raise StoreError(
                    f"what was read last could not be stored: {self._trouble}",
                    where=self.sink_name,
                    hint="followed files are read again from where they were stored; frames and syslog messages are lost",
                )
            time.sleep(_AGAIN_S)
        self._tell_status(stopped=True)
        if self._bug is not None:
            raise self._bug

    def _feed(self, one: LiveInput, beat: Beat) -> None:
        """One input's thread."""
        try:
            for table in one.tables(beat):
                self._append(one, table)
        except InputError as error:
            one.account.error = str(error)
            self.tell(f"{one.name}: {error.what}")
        except Exception as error:  # noqa: BLE001 - raised by run: a service manager starts the sensor anew
            one.account.error = f"{type(error).__name__}: {error}"
            self._bug = error
            self._stop.set()

    def _append(self, one: LiveInput, table: pl.DataFrame) -> None:
        """Hand a table over, however long the sink takes: meanwhile ring and sockets hold what comes, and count."""
        while True:
            try:
                self.sink.append(table)
            except StoreError as error:
                self._store_trouble(error)
                if self._deadline is not None and time.monotonic() > self._deadline:
                    raise
                time.sleep(_AGAIN_S)
                continue
            break
        dataset = str(table["event.dataset"][0])
        events = one.account.events
        events[dataset] = events.get(dataset, 0) + table.height
        newest = str(table["@timestamp"].dt.to_string("iso:strict").max())
        one.health.last_event = max(newest, one.health.last_event or "")

    def _flush(self) -> bool:
        """Make durable what was appended, then keep the positions; whether that worked."""
        positions = {one.name: place for one in self.inputs if (place := one.position()) is not None}
        try:
            self.sink.flush()
        except StoreError as error:
            self._store_trouble(error)
            return False
        if self._trouble is not None:
            self._trouble = None
            self.tell("")
        if positions:
            self.folder.keep_positions(self.sink_name, positions)
        return True

    def _store_trouble(self, error: StoreError) -> None:
        if str(error) != self._trouble:
            self._trouble = str(error)
            self.tell(str(error))

    def _tell_status(self, *, stopped: bool = False) -> None:
        now = time.monotonic()
        for one in self.inputs:
            account = one.account
            before, total = self._totals.get(one.name, (now, 0))
            if now > before:
                self._rates[one.name] = (account.total - total) / (now - before)
            self._totals[one.name] = (now, account.total)
            trouble = one.health.trouble
            if trouble != self._troubles.get(one.name):
                self._troubles[one.name] = trouble
                self.tell(f"{one.name}: {trouble}" if trouble else "")
        with suppress(OSError):  # a full disk; the status is for people
            self.folder.keep_status(
                {
                    "pid": os.getpid(),
                    "started": self._started.isoformat(),
                    "updated": datetime.now(UTC).isoformat(),
                    "stopped": stopped,
                    "sink": self.sink_name,
                    "trouble": self._trouble,
                    "every_seconds": self.every,
                    "inputs": [self._row(one) for one in self.inputs],
                    **self.extra(),
                }
            )

    def _row(self, one: LiveInput) -> dict[str, Any]:
        health = one.health
        return {
            **one.account.as_json(),
            "events": dict(sorted(one.account.events.items())),
            "per_second": round(max(0.0, self._rates.get(one.name, 0.0)), 1),
            "drops": health.drops,
            "freezes": health.freezes,
            "lag_bytes": health.lag_bytes,
            "trouble": health.trouble,
            "last_event": health.last_event,
        }
