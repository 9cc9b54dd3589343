"""Event tables: making, checking and identifying them.

A table of events is a ``polars.DataFrame`` that holds one ``event.dataset``. Columns are flat dotted names of
the catalogue with the catalogue's dtype; a column that is absent is null in every row.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import polars as pl

from event.fields import FIELDS, is_dataset

REQUIRED = ("@timestamp", "event.id", "event.dataset", "event.kind")
"""Columns that every table has, never null."""

ORIGIN_BYTES = 1 << 20  # what is hashed of an input: enough to tell any two apart, cheap on a pipe


def origin_of(head: bytes) -> str:
    """Identity of an input out of its first bytes (decompressed), at most ``ORIGIN_BYTES``; 16 hex digits."""
    return hashlib.blake2b(head[:ORIGIN_BYTES], digest_size=8).hexdigest()


def event_ids(origin: str, place: pl.Series, timestamp: pl.Series, dataset: str, index: pl.Series) -> pl.Series:
    """Compute ``event.id``: origin, frame number or byte offset, decoder, index.

    Ids of one origin sort by place. The nanoseconds of the time are part of it, so that an input which was
    edited after its first ``ORIGIN_BYTES`` does not hide behind the unedited one.

    Args:
        origin: See ``origin_of``.
        place: Frame number (counted from 1) or byte offset, integers.
        timestamp: ``@timestamp``.
        dataset: ``event.dataset``.
        index: Number of the event within its frame or line, integers from 0.

    Returns:
        Strings such as ``"9f3a02b4c5d6e7f8-000000000042-modbus-0-064497000"``.
    """
    frame = pl.DataFrame({"p": place, "t": timestamp, "i": index})
    nanos = pl.col("t").dt.epoch("ns").mod(1_000_000_000).cast(pl.String).str.zfill(9)
    return frame.select(
        pl.concat_str(
            pl.lit(origin + "-"),
            pl.col("p").cast(pl.String).str.zfill(12),
            pl.lit(f"-{dataset}-"),
            pl.col("i").cast(pl.String),
            pl.lit("-"),
            nanos,
        ).alias("event.id")
    ).to_series()


def schema_of(columns: Iterable[str]) -> dict[str, pl.DataType]:
    """Catalogue dtypes of ``columns``.

    Raises:
        ValueError: A name is not in the catalogue.
    """
    columns = list(columns)
    unknown = [name for name in columns if name not in FIELDS]
    if unknown:
        raise ValueError(f"fields not in the catalogue: {', '.join(sorted(unknown))}")
    return {name: FIELDS[name].dtype for name in columns}


def empty(columns: Sequence[str] = REQUIRED) -> pl.DataFrame:
    """A table without rows."""
    return pl.DataFrame(schema=schema_of(columns))


def conform(frame: pl.DataFrame) -> pl.DataFrame:
    """Check a table against the catalogue and cast its columns to the catalogue's dtypes.

    Columns that are null in every row are dropped (absent means unknown), the required ones excepted.

    Raises:
        ValueError: A column is not in the catalogue, a required one is missing or null, or there is more than
            one dataset. All of these are bugs of a decoder or parser, not of a user.
    """
    schema = schema_of(frame.columns)
    missing = [name for name in REQUIRED if name not in schema]
    if missing:
        raise ValueError(f"event table without {', '.join(missing)}")
    have = frame.schema
    casts = [pl.col(name).cast(dtype) for name, dtype in schema.items() if have[name] != dtype]
    if casts:
        frame = frame.with_columns(casts)
    if frame.is_empty():
        return frame
    nulls = frame.null_count().row(0, named=True)
    holes = [name for name in REQUIRED if nulls[name]]
    if holes:
        raise ValueError(f"null in {', '.join(holes)}")
    height = frame.height
    frame = frame.select([name for name in frame.columns if nulls[name] < height or name in REQUIRED])
    dataset = frame["event.dataset"]
    if dataset.n_unique() != 1 or not is_dataset(str(dataset[0])):
        raise ValueError(f"not one known dataset: {dataset.unique().to_list()[:5]}")
    return frame


def concat(frames: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Put tables under each other; a column that one lacks is null there."""
    return pl.concat(frames, how="diagonal") if frames else empty()
