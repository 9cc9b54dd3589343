"""Literals found in text columns where they lie in memory, against looking into each text."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from correlate.buffers import exported
from correlate.keywords import Keywords
from correlate.regex import hyperscan_module
from correlate.scan import Literals

LITERALS = [b"ab", b"needle", b"b\\", b"a much longer needle", "ä".encode()]
parts = st.sampled_from(["a", "b", "ab", "AB", "\\", "needle", "a much longer ", "ä", "", "\x00", "x" * 20])
texts = st.one_of(st.none(), st.lists(parts, max_size=6).map("".join))

pytestmark = pytest.mark.skipif(hyperscan_module() is None, reason="needs Hyperscan")


def found_in(frame: pl.DataFrame, literals: Literals) -> set[tuple[str, int, int]]:
    with exported(frame) as columns:
        assert columns is not None
        return {
            (name, row, literal)
            for name, some in columns.items()
            for piece in some
            for row, literal in zip(*(one.tolist() for one in literals.find_in(piece)), strict=True)
        }


def expected(frame: pl.DataFrame) -> set[tuple[str, int, int]]:
    return {
        (series.name, row, number)
        for series in frame
        for row, text in enumerate(series.to_list())
        for number, literal in enumerate(LITERALS)
        if text is not None and literal in text.encode().lower()
    }


def rearranged(frame: pl.DataFrame, way: str) -> pl.DataFrame:
    """The same memory laid out differently."""
    rows = list(range(frame.height))
    if way == "pieces":
        return pl.concat([frame, frame.slice(1), frame.head(2)], rechunk=False)
    if way == "slice":
        return frame.slice(1, max(frame.height - 2, 0))
    if way == "gathered":
        return frame[[*rows[::-1], *rows[::2]]]
    if way == "few":
        return pl.concat([frame.with_columns(pl.all().str.pad_end(300, "z")), frame] * 4)[::9]
    if way == "overlapping":
        return frame.select(pl.col(name).append(pl.col(name).str.slice(1)) for name in frame.columns)
    return frame


@pytest.mark.parametrize("way", ["plain", "pieces", "slice", "gathered", "few", "overlapping"])
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(texts, min_size=1, max_size=12), st.lists(texts, min_size=1, max_size=12))
def test_literals_are_found_in_the_rows_that_hold_them_however_memory_is_laid_out(way: str, one: Any, two: Any) -> None:
    size = min(len(one), len(two))
    frame = pl.DataFrame({"one": one[:size], "two": two[:size]}, schema={"one": pl.String, "two": pl.String})
    frame = rearranged(frame, way)
    literals = Literals(LITERALS, caseless=True)
    assert found_in(frame, literals) == expected(frame)


def test_what_is_lent_is_only_what_is_of_the_layout_of_texts() -> None:
    with exported(pl.DataFrame({"one": [b"ab"]})) as columns:
        assert columns is None


def test_names_in_the_line_of_a_windows_event_are_no_content() -> None:
    line = '{"Needle": "hay"}'
    frame = pl.DataFrame(
        {
            "event.original": [line, line, line],
            "event.kind": ["event", "pipeline_error", None],
            "winlog.event_data.Needle": ["hay", None, "a needle"],
        }
    )
    windows = Keywords([(0, "contains", "needle")], in_columns=True)
    assert [sorted(windows.sets[code]) for code in windows.encode(frame)] == [[], [0], [0]]
    text = Keywords([(0, "contains", "needle")])
    assert [sorted(text.sets[code]) for code in text.encode(frame)] == [[0], [0], [0]]
