"""Names of indices and documents. An index holds one dataset and one day of event time, UTC.

``_id`` is ``event.id``, and an index is told by dataset and time alone: an event that is sent again meets itself.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

import polars as pl

from event.errors import StoreError

VARIOUS = "various"
"""In place of a day, for days beyond ``MOST_DAYS``."""
MOST_DAYS = 800
"""Indices of one dataset; a log that jumps through the calendar fills one index and not the cluster."""
MOST_ID_BYTES = 512
"""Elasticsearch's limit of ``_id``."""

_PREFIX = re.compile(r"[a-z][a-z0-9_.]{0,60}")  # no hyphen: one store's pattern never fits another's
_PLAIN = re.compile(r"[a-z0-9][a-z0-9._]{0,79}")
_DAY = re.compile(r"\d{4}\.\d\d\.\d\d")


@dataclass(frozen=True, slots=True)
class Names:
    """All names under one prefix.

    Attributes:
        prefix: What all names begin with; two prefixes are two stores.
    """

    prefix: str

    def __post_init__(self) -> None:
        """Check the prefix.

        Raises:
            StoreError: Elasticsearch would not take it.
        """
        if not _PREFIX.fullmatch(self.prefix):
            raise StoreError(
                f"not a prefix for indices: {self.prefix!r}", hint="lower-case letters, digits, dots and _"
            )

    @property
    def events(self) -> str:
        """Pattern of all indices with events."""
        return f"{self.prefix}-events-*"

    @property
    def incidents(self) -> str:
        """Index of the latest version of each incident."""
        return f"{self.prefix}-incidents"

    @property
    def versions(self) -> str:
        """Index of all earlier versions of incidents."""
        return f"{self.prefix}-incident-versions"

    @property
    def state(self) -> str:
        """Index of checkpoints."""
        return f"{self.prefix}-state"

    def stem(self, dataset: str) -> str:
        """What the indices of a dataset begin with."""
        return f"{self.prefix}-events-{slug(dataset)}-"

    def pattern(self, dataset: str) -> str:
        """Pattern of the indices of a dataset."""
        return self.stem(dataset) + "*"

    def index(self, dataset: str, day: str) -> str:
        """Index of a dataset and a day (``2026.03.01`` or ``various``)."""
        return self.stem(dataset) + day


def slug(dataset: str) -> str:
    """A dataset's name as part of an index name: itself where it may be, else cleaned and with its hash."""
    if _PLAIN.fullmatch(dataset):
        return dataset
    clean = re.sub(r"[^a-z0-9._]", "_", dataset.lower())[:40].strip("._") or "x"
    return f"{clean}~{hashlib.blake2b(dataset.encode(), digest_size=8).hexdigest()}"


def day_of(index: str) -> date | None:
    """The day of an index, None for ``various``."""
    tail = index.rsplit("-", 1)[-1]
    return date(*map(int, tail.split("."))) if _DAY.fullmatch(tail) else None


def document_ids(event_ids: pl.Series) -> pl.Series:
    """``_id`` of events: ``event.id``, or its hash where that is longer than ``MOST_ID_BYTES``."""
    long = event_ids.str.len_bytes() > MOST_ID_BYTES
    if not long.any():
        return event_ids
    short = pl.Series([document_id(value) for value in event_ids.filter(long).to_list()], dtype=pl.String)
    return event_ids.scatter(long.arg_true(), short)


def document_id(text: str) -> str:
    """``_id`` for a text of any length."""
    raw = text.encode()
    if raw and len(raw) <= MOST_ID_BYTES:
        return text
    return "sha256-" + hashlib.sha256(raw).hexdigest()


def known_days(names: Names, indices: Iterable[str]) -> dict[str, set[str]]:
    """Days (and ``various``) that exist, by stem."""
    found: dict[str, set[str]] = {}
    start = names.events.removesuffix("*")
    for index in indices:
        if index.startswith(start):
            stem, _, day = index.rpartition("-")
            found.setdefault(stem + "-", set()).add(day)
    return found
