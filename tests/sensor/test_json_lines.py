"""JSON lines to flat columns: whichever way they are read, nothing is lost."""

from __future__ import annotations

import io
import json
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sensor import json_lines, reader
from sensor.capture import open_bytes
from sensor.lines import rest_json

VALUES = st.recursive(
    st.booleans() | st.integers(-(1 << 60), 1 << 60) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=6,
)
OBJECTS = st.lists(st.dictionaries(st.sampled_from("abcde"), VALUES, max_size=4), min_size=1, max_size=8)


def leaves(document: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """What flat columns should hold: dotted names; empty objects vanish."""
    found: dict[str, Any] = {}
    for key, value in document.items():
        if isinstance(value, dict):
            found.update(leaves(value, f"{prefix}{key}."))
        else:
            found[prefix + key] = value
    return found


def words(value: Any) -> list[str]:
    """All plain values inside, as text, in order: what has to survive whatever the types became."""
    if isinstance(value, dict):
        return [word for part in value.values() for word in words(part)]
    if isinstance(value, list):
        return [word for part in value for word in words(part)]
    if value is None:
        return []
    return [str(value).lower() if isinstance(value, bool) else str(value)]


@settings(max_examples=150, deadline=None)
@given(documents=OBJECTS, repeat=st.sampled_from([1, 3]), sample=st.sampled_from([1, 2, 1_000]))
def test_every_leaf_of_every_object_is_in_its_row(documents: list[dict[str, Any]], repeat: int, sample: int) -> None:
    documents = documents * repeat
    lines = pl.Series([json.dumps(d) for d in documents], dtype=pl.String)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_lines, "SAMPLE_LINES", sample)
        blocks, bad = json_lines.read(lines, pl.int_range(len(lines), eager=True).alias("n"))
    assert bad == []
    rows: dict[int, dict[str, Any]] = {}
    for block in blocks:
        rest = rest_json(list(block.columns.iter_columns()))
        for place, number in enumerate(block.rows.to_list()):
            text = None if rest is None else rest[place]
            rows[number] = {} if text is None else json.loads(text)
    assert sorted(rows) == list(range(len(documents)))
    for number, document in enumerate(documents):
        for name, value in leaves(document).items():
            kept = [rows[number].get(name)] + [v for k, v in rows[number].items() if name.startswith(k + ".")]
            said = " ".join(word for one in kept for word in words(one))
            for word in words(value):
                assert word in said or json.dumps(word)[1:-1] in said, (name, value, rows[number])


def test_a_key_of_its_own_in_every_line_does_not_make_a_column_of_every_line() -> None:
    lines = pl.Series([f'{{"k{n}":{n}}}' for n in range(6_000)])
    blocks, bad = json_lines.read(lines, pl.int_range(6_000, eager=True).alias("n"))
    assert bad == []
    assert sorted(n for block in blocks for n in block.rows.to_list()) == list(range(6_000))
    assert max(block.columns.width for block in blocks) <= json_lines.MOST_COLUMNS
    assert all(block.columns[f"k{n}"][i] == n for block in blocks for i, n in enumerate(block.rows.to_list()))


def test_wide_objects_are_read_in_blocks_of_bounded_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_lines, "MOST_CELLS", 5_000)
    lines = pl.Series([json.dumps({f"k{k}": n for k in range(100)}) for n in range(200)])
    blocks, bad = json_lines.read(lines, pl.int_range(200, eager=True).alias("n"))
    assert bad == []
    assert max(block.columns.width * block.columns.height for block in blocks) <= 5_000
    assert [n for block in blocks for n in block.columns["k99"].to_list()] == list(range(200))


class Slow(io.BytesIO):
    """Gives a few bytes at a time."""

    def __init__(self, data: bytes, step: int) -> None:
        super().__init__(data)
        self.step = step

    def readinto(self, buffer: Any) -> int:
        return super().readinto(memoryview(buffer)[: self.step])


@given(
    st.lists(st.sampled_from([b"", b"a", b"bc\r", b"x" * 30, b"y" * 200]), max_size=30),
    st.booleans(),
    st.integers(1, 40),
    st.integers(1, 70),
)
def test_blocks_are_whole_lines_and_nothing_is_lost(lines: list[bytes], ended: bool, size: int, step: int) -> None:
    data = b"\n".join(lines) + b"\n" * ended
    usual, reader._LONGEST_LINE = reader._LONGEST_LINE, 100
    try:
        notes: dict[str, int] = {}
        cut_up = reader._blocks(open_bytes(Slow(data, step), "slow"), notes, size)
        blocks = [(bytes(block), offset) for block, offset in cut_up]
    finally:
        reader._LONGEST_LINE = usual
    assert b"".join(block for block, _ in blocks) == data
    assert [offset for _, offset in blocks] == [sum(len(one) for one, _ in blocks[:at]) for at in range(len(blocks))]
    cut = [block for block, _ in blocks[:-1] if not block.endswith(b"\n")]
    assert all(len(block) > 100 and b"\n" not in block for block in cut)
    assert len(cut) <= notes.get("lines_cut", 0) <= len(cut) + 1
