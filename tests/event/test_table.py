"""Event tables: conforming, identity."""

from datetime import UTC, datetime

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from event.fields import DATASETS, FIELDS, is_dataset
from event.table import ORIGIN_BYTES, REQUIRED, concat, conform, empty, event_ids, origin_of, schema_of

T0 = datetime(2026, 9, 1, 2, 3, 4, tzinfo=UTC)


def table(**columns: object) -> pl.DataFrame:
    n = max(len(v) for v in columns.values()) if columns else 1  # type: ignore[arg-type]
    base = {
        "@timestamp": [T0] * n,
        "event.id": [f"x-{i}" for i in range(n)],
        "event.dataset": ["modbus"] * n,
        "event.kind": ["event"] * n,
    }
    return pl.DataFrame({**base, **columns})


def test_conform_casts_to_the_catalogue():
    out = conform(table(**{"modbus.function_code": pl.Series([3, 6], dtype=pl.UInt8)}))
    assert out.schema["modbus.function_code"] == pl.Int64
    assert out.schema["@timestamp"] == pl.Datetime("ns", "UTC")


def test_conform_drops_columns_that_say_nothing():
    out = conform(table(**{"modbus.address": pl.Series([None, None], dtype=pl.Int64)}))
    assert "modbus.address" not in out.columns
    assert set(REQUIRED) <= set(out.columns)


def test_conform_refuses_a_field_that_nobody_declared():
    with pytest.raises(ValueError, match=r"modbus\.colour"):
        conform(table(**{"modbus.colour": ["red"]}))


@pytest.mark.parametrize("name", REQUIRED)
def test_conform_refuses_a_null_in_a_required_column(name):
    broken = table().with_columns(pl.lit(None, schema_of([name])[name]).alias(name))
    with pytest.raises(ValueError, match="null in"):
        conform(broken)


def test_conform_refuses_two_datasets_in_one_table():
    with pytest.raises(ValueError, match="not one known dataset"):
        conform(concat([table(), table().with_columns(pl.lit("dnp3").alias("event.dataset"))]))


def test_conform_refuses_an_unknown_dataset():
    with pytest.raises(ValueError, match="not one known dataset"):
        conform(table().with_columns(pl.lit("telepathy").alias("event.dataset")))


def test_an_empty_table_conforms():
    assert conform(empty()).height == 0


def test_ids_sort_by_place_and_tell_everything_apart():
    n = 1200
    ids = event_ids(
        "ab" * 8,
        pl.Series(range(1, n + 1)),
        pl.Series([T0] * n).cast(pl.Datetime("ns", "UTC")),
        "modbus",
        pl.Series([0] * n),
    )
    assert ids.to_list() == sorted(ids.to_list())
    assert ids.n_unique() == n


def test_the_same_frame_at_another_time_is_another_event():
    one = pl.Series([7]), "modbus", pl.Series([0])
    times = [pl.Series([T0.replace(microsecond=us)]).cast(pl.Datetime("ns", "UTC")) for us in (1, 2)]
    a, b = (event_ids("00" * 8, one[0], t, one[1], one[2])[0] for t in times)
    assert a != b


@given(st.binary(max_size=200), st.binary(min_size=1, max_size=50))
def test_an_origin_does_not_depend_on_what_follows_its_head(head, tail):
    padded = head.ljust(ORIGIN_BYTES, b"\0")
    assert origin_of(padded) == origin_of(padded + tail)
    assert len(origin_of(head)) == 16


def test_every_field_says_what_it_means_and_no_name_is_value_and_parent():
    names = set(FIELDS)
    for name, field in FIELDS.items():
        assert len(field.meaning) > 3, name
        parents = {".".join(name.split(".")[:i]) for i in range(1, name.count(".") + 1)}
        assert not parents & names, name


def test_protocol_fields_carry_the_name_of_their_dataset():
    for dataset in ("modbus", "iec104", "dnp3", "s7comm", "dns"):
        assert dataset in DATASETS
        assert any(name.startswith(dataset + ".") for name in FIELDS)
    assert is_dataset("zeek.conn")
    assert not is_dataset("zeek")
