"""The catalogue: declared names, and names behind open prefixes."""

from __future__ import annotations

import polars as pl
import pytest

from event.fields import FIELDS, OPEN_DATASETS, is_dataset
from event.table import schema_of


def test_a_name_behind_an_open_prefix_is_a_column_of_text() -> None:
    name = "winlog.event_data.Threat Name"
    assert name in FIELDS
    assert FIELDS[name].dtype == pl.String()
    assert FIELDS.get(name).name == name
    assert FIELDS.is_open(name)
    assert schema_of([name]) == {name: pl.String()}
    assert name not in list(FIELDS)


@pytest.mark.parametrize(
    "name",
    [
        "winlog.event_data.",
        "winlog.event_data",
        "winlog.event_data..x",
        "winlog.event_data.a/b",
        "winlog.event_data.a\x1b[0m",
        "winlog.event_data.\u202ex",
        "winlog.event_data." + "x" * 129,
        "other.thing",
        5,
    ],
)
def test_what_no_source_may_name_is_none(name: str) -> None:
    assert name not in FIELDS
    assert FIELDS.get(name, "none") == "none"
    with pytest.raises(KeyError):
        FIELDS[name]


def test_declared_names_are_no_open_ones() -> None:
    assert not any(FIELDS.is_open(name) for name in FIELDS)
    assert all(is_dataset(prefix + "x") for prefix in OPEN_DATASETS)
    assert not is_dataset("nonesuch")
