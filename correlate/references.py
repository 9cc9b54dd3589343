"""Values of fields that a rule compares with one another."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from correlate.atoms import text_of
from correlate.columns import NOTHING, Codes
from correlate.fold import fold

_MODES: Mapping[str, Callable[[str, str], bool]] = {
    "eq": lambda one, other: one == other,
    "startswith": lambda one, other: one.startswith(other),
    "endswith": lambda one, other: one.endswith(other),
    "contains": lambda one, other: other in one,
}


def plain_values(series: pl.Series) -> list[Any]:
    """Values as JSON would have them: times as text, see ``correlate.ir``."""
    inner = series.dtype.inner if isinstance(series.dtype, pl.List) else series.dtype
    if isinstance(inner, pl.Datetime):
        zoned = "UTC" if inner.time_zone is None else inner.time_zone
        text = (
            pl.element().dt.replace_time_zone(zoned).dt.convert_time_zone("UTC").dt.strftime("%Y-%m-%dT%H:%M:%S%.9fZ")
        )
        if isinstance(series.dtype, pl.List):
            return series.list.eval(text).to_list()
        return (
            pl.select(
                series.dt.replace_time_zone(zoned).dt.convert_time_zone("UTC").dt.strftime("%Y-%m-%dT%H:%M:%S%.9fZ")
            )
            .to_series()
            .to_list()
        )
    return series.to_list()


def refers(values_of: Mapping[str, Sequence[Any]], field: str, other: str, mode: str, count: int) -> Codes:
    """2 where the text of one field compares so with that of another, else 1; no case."""
    if field not in values_of or other not in values_of:
        return np.full(count, NOTHING, np.int64)
    compare = _MODES[mode]
    answers = [
        2 if one and two and any(compare(a, b) for a in one for b in two) else NOTHING
        for one, two in zip(map(_folded, values_of[field]), map(_folded, values_of[other]), strict=True)
    ]
    return np.array(answers, np.int64)


def _folded(value: Any) -> tuple[str, ...]:
    if value is None or isinstance(value, dict):
        return ()
    if isinstance(value, list):
        return tuple(fold(text_of(one)) for one in value if one is not None and not isinstance(one, (list, dict)))
    return (fold(text_of(value)),)


__all__ = ["plain_values", "refers"]
