"""What live inputs and whoever runs them share: when to hand over, when to end, and the contract of an input."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import polars as pl

from sensor.base import Account


@dataclass(slots=True)
class Beat:
    """The common clock of all inputs.

    Attributes:
        number: Goes up whenever inputs are to hand over what they have gathered.
        stop: Set when inputs are to hand over all they have and end.
    """

    number: int = 0
    stop: threading.Event = field(default_factory=threading.Event)


@dataclass(slots=True)
class Health:
    """How an input is, beside its account; shown by ``sensor status``.

    Attributes:
        drops: Frames or datagrams that the kernel had no room for.
        freezes: Times a ring was full.
        lag_bytes: What lies in the input and was not read yet, where that is known.
        trouble: What is wrong now; None if nothing is.
        last_event: Time of the newest event, ISO 8601 in UTC.
    """

    drops: int = 0
    freezes: int = 0
    lag_bytes: int | None = None
    trouble: str | None = None
    last_event: str | None = None


class LiveInput(Protocol):
    """An input that goes on until it is stopped; each runs in a thread of its own."""

    @property
    def name(self) -> str:
        """What it is called in events, accounts and messages."""
        ...

    @property
    def account(self) -> Account:
        """What became of every frame or line."""
        ...

    @property
    def health(self) -> Health:
        """How it is."""
        ...

    def tables(self, beat: Beat) -> Iterator[pl.DataFrame]:
        """Yield event tables; at every beat what has been gathered, all of it once ``beat.stop`` is set, then end.

        When the next table is asked for, the one before has been taken over.

        Raises:
            InputError: The input cannot be read any more.
        """
        ...

    def position(self) -> Any:
        """Where a later run has to go on so that nothing is lost, JSON; None if the input cannot be read again.

        Refers to tables that were taken over: store them first, then the position.
        """
        ...

    def close(self) -> None:
        """Release what is open. A second call does nothing."""
        ...
