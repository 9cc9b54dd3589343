"""Conversions of log columns: exact, and null where a value does not fit."""

from __future__ import annotations

import json
import math

import polars as pl
import pytest

from sensor import lines

BIG = 99_999_999_999_999_999_999


@pytest.mark.parametrize(
    ("convert", "series", "expected"),
    [
        (lines.long, pl.Series(["1", "x", "1.5", str(BIG), None]), [1, None, None, None, None]),
        (lines.long, pl.Series([1.0, 1.5, math.inf, None]), [1, None, None, None]),
        (lines.long, pl.Series([True]), [None]),
        (lines.long, pl.Series([[1]]), [None]),
        (lines.long, pl.Series([b"[1]"]), [None]),
        (lines.long, pl.Series([BIG], dtype=pl.Int128), [None]),
        (lines.keyword, pl.Series([1, None]), ["1", None]),
        (lines.keyword, pl.Series([["a"]]), [None]),
        (lines.keywords, pl.Series(["a", None]), [["a"], None]),
        (lines.keywords, pl.Series([[1, 2], []]), [["1", "2"], []]),
        (lines.longs, pl.Series([["1", "2.7"]]), [[1, 2]]),
        (lines.boolean, pl.Series(["T", "F", "true", "x", None]), [True, False, True, None, None]),
        (
            lines.ip,
            pl.Series(["10.0.0.1", "256.1.1.1", "FE80::1", "fe80::1%eth0", "1.2.3", "::", ""]),
            ["10.0.0.1", None, "fe80::1", None, None, "::", None],
        ),
        (
            lines.decimal_seconds,
            pl.Series(["1.5", "-1.5", "0.000000001", "1", "1.", "x", "9223372036"]),
            [1_500_000_000, -1_500_000_000, 1, 10**9, 10**9, None, None],
        ),
        (lines.seconds_to_ns, pl.Series([1700000000.123456, math.nan, 1e300]), [1_700_000_000_123_456_000, None, None]),
    ],
)
def test_a_value_is_converted_or_null(convert: lines.Convert, series: pl.Series, expected: list[object]) -> None:
    assert convert(series).to_list() == expected


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("2026-03-01T08:00:00Z", 1_772_352_000_000_000_000),
        ("2026-03-01T16:00:00.000000001+08:00", 1_772_352_000_000_000_001),
        ("2026-03-01T16:00:00.123456+0800", 1_772_352_000_123_456_000),
        ("2026-03-01 08:00:00", 1_772_352_000_000_000_000),
        ("1677-12-31T00:00:00Z", None),
        ("9999-01-01T00:00:00Z", None),
        ("2026-02-30T00:00:00Z", None),
        ("today", None),
        ("", None),
    ],
)
def test_an_instant_is_read_to_the_nanosecond_or_null(text: str, nanoseconds: int | None) -> None:
    assert lines.instants(pl.Series([text])).dt.epoch("ns").to_list() == [nanoseconds]


def test_a_value_that_does_not_fit_leaves_its_column_in_the_rest() -> None:
    flat = pl.DataFrame({"p": ["1", "many"], "q": ["2", "3"]})
    fields, left = lines.map_columns(flat, (lines.Take("source.port", "p"), lines.Take("destination.port", "q")))
    assert fields["source.port"].to_list() == [1, None]
    assert [series.name for series in left] == ["p"]


def test_of_two_sources_of_a_field_the_first_with_a_value_wins() -> None:
    flat = pl.DataFrame({"a": [1, None, None], "b": [7, 8, None]})
    fields, _ = lines.map_columns(flat, (lines.Take("source.port", "a"), lines.Take("source.port", "b")))
    assert fields["source.port"].to_list() == [1, 8, None]


def test_the_rest_is_json_whatever_the_text() -> None:
    hostile = 'a"b\\c\n\x00\u202e结'
    rest = lines.rest_json(
        [pl.Series(hostile, [hostile, None]), pl.Series("n", [math.inf, 1.5]), pl.Series("l", [["x"], None])]
    )
    assert rest is not None
    assert [json.loads(text) for text in rest.to_list()] == [{hostile: hostile, "l": ["x"]}, {"n": 1.5}]


def test_nothing_left_is_no_rest() -> None:
    assert lines.rest_json([]) is None
    assert lines.rest_json([pl.Series("a", [None, None], dtype=pl.String)]) is None
