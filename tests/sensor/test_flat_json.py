"""Members of JSON lines as the kernels find them, against orjson."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sensor.base import ROOM_BEHIND
from sensor.flat_json import (
    ABSENT,
    ALONE,
    DEEP,
    DEEP_FIRST,
    FLAT_FIRST,
    FLAT_SECOND,
    GROUP,
    NEW,
    ODD,
    PASS,
    READ,
    LineReader,
    Lines,
    Name,
    Tables,
)

SAID = {
    ("id",): Name(FLAT_FIRST, 0),
    ("Id",): Name(FLAT_FIRST, 1),
    ("channel",): Name(FLAT_SECOND),
    ("deep",): Name(DEEP),
    ("deep", "id"): Name(DEEP_FIRST),
    ("odd",): Name(ODD),
}
LEFT_ALONE = re.compile(rb"[eE][+-]?\d{3}|\\u[dD][89a-fA-F]|\\u[^\"]*\"\s*:")
"""Numbers that may be beyond a double, surrogates, names with escapes."""
NAMES = ["id", "Id", "channel", "a", "b", "longer than eight", "中", "", "odd", "deep", "e\\", 'q"']


def members(lines: Lines, reader: LineReader, data: bytes, row: int) -> list[tuple[tuple[str, ...], Any]]:
    found = []
    for member in range(int(lines.first[row]), int(lines.first[row + 1])):
        begin, end = lines.values[:, member].tolist()
        found.append((reader.names.paths[int(lines.names[member])], orjson.loads(data[begin:end])))
    return found


def paths(record: dict[str, Any], before: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any]]:
    found: list[tuple[tuple[str, ...], Any]] = []
    for name, value in record.items():
        found += paths(value, (*before, name)) if isinstance(value, dict) else [((*before, name), value)]
    return found


def depth(record: Any) -> int:
    return 1 + max(map(depth, record.values()), default=0) if isinstance(record, dict) else 0


def is_plain(record: Any) -> bool:
    """Whether the kernels have to take a record that orjson takes."""
    if not isinstance(record, dict) or not record or depth(record) > 4 or "odd" in record:
        return False
    if depth(record) > 1 and "deep" not in record:
        return False

    def fits(one: dict[str, Any]) -> bool:
        for name, value in one.items():
            if "\\" in name or '"' in name or any(ord(letter) < 32 for letter in name):
                return False
            if isinstance(value, dict) and not fits(value):
                return False
            if isinstance(value, list) and any(isinstance(inner, list | dict) for inner in value):
                return False
        return True

    return fits(record)


letters = st.text(st.sampled_from('ab\\"/\n\t\u00e9\u212a中\U0001f600 \x7f{}:,'), max_size=90)
scalars = st.one_of(letters, st.integers(-(10**12), 10**12), st.floats(-1e9, 1e9), st.booleans(), st.none())
values = st.one_of(scalars, scalars, st.lists(scalars, max_size=3), st.lists(st.lists(scalars), max_size=1))
flat = st.dictionaries(st.sampled_from(NAMES), values, max_size=6)
nested = st.recursive(flat, lambda inner: st.dictionaries(st.sampled_from(NAMES), st.one_of(values, inner), max_size=4))
spellings = st.builds(
    lambda record, ascii_only, blanks, slashes: json.dumps(
        record, ensure_ascii=ascii_only, separators=(" , ", " : ") if blanks else (",", ":")
    ).replace("/", "\\/" if slashes else "/"),
    st.one_of(flat, nested),
    st.booleans(),
    st.booleans(),
    st.booleans(),
).map(str.encode)
damaged = st.builds(
    lambda line, at, put: line[: at % (len(line) + 1)] + put + line[at % (len(line) + 1) + 1 :],
    spellings,
    st.integers(0, 1 << 20),
    st.sampled_from(
        [b"", b"\\", b'"', b"\\\\", b"\x01", b"}", b"{", b",", b"\\u12", b"\\x", b"\xff", b"0", b"-", b"e9"]
    ),
)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.one_of(spellings, damaged), min_size=1, max_size=8),
    st.sampled_from([False, True, b"", b'"x', b'\\"}\n{"a":1,', b"0", b"\xe2\x84\xaa\n", b"}\n"]),
)
def test_members_are_those_that_orjson_finds(some: list[bytes], end: bool | bytes) -> None:
    """``end``: whether an end of line ends them; or what stands behind it in the same buffer."""
    some = [line.replace(b"\n", b" ") for line in some]
    behind = end if isinstance(end, bytes) else b""
    end = end is not False
    data = b"\n".join(some) + (b"\n" if end else b"")
    block = memoryview(bytearray(data + behind.ljust(ROOM_BEHIND, behind[:1] or b" ")))[: len(data)]
    reader = LineReader(SAID)
    for _ in range(2):  # names are new first, known then
        lines = reader.read(block if behind else data)
        assert np.shares_memory(lines.text, np.frombuffer(block, np.uint8)) == bool(behind)
        assert [data[a:b] for a, b in zip(lines.begins.tolist(), lines.ends.tolist(), strict=True)] == (
            some if some[-1] or end else some[:-1]
        )
        for row, line in enumerate(some[: len(lines.begins)]):
            try:
                record = orjson.loads(line)
                line.decode()
            except ValueError:
                record = None
            if not lines.flag(0)[row] and line.isascii():
                assert record is not None
            if record is not None and lines.flag(0)[row]:
                once = json.loads(
                    line, object_pairs_hook=lambda pairs: dict(pairs) if len(dict(pairs)) == len(pairs) else 0
                )
                assert not is_plain(once) or LEFT_ALONE.search(line)
            if record is not None and not lines.flag(0)[row]:
                assert sorted(members(lines, reader, data, row), key=repr) == sorted(paths(record), key=repr)
                assert lines.flag(3)[row] == (not line.isascii())
                assert lines.flag(4)[row] == ("\u212a" in line.decode() or "\u017f" in line.decode())
                assert lines.flag(2)[row] == ("deep" in record)
                assert lines.flag(1)[row] or (
                    b"\\u" not in line.replace(b"\\\\", b"") and b"\\/" not in line.replace(b"\\\\", b"")
                )


@pytest.mark.parametrize("before", range(120, 136))
@pytest.mark.parametrize("backslashes", [1, 2, 3, 62, 63, 64, 65, 129])
def test_runs_of_backslashes_over_the_edges_of_words(before: int, backslashes: int) -> None:
    text = "x" * before + "\\" * backslashes + '"' + "y" * 7
    data = orjson.dumps({"a": text, "b": 'z"'}) + b"\n"
    reader = LineReader({})
    lines = reader.read(data)
    assert not lines.flag(0)[0]
    assert members(lines, reader, data, 0) == [(("a",), text), (("b",), 'z"')]


def test_the_member_of_the_lowest_rank_that_has_a_value_tells() -> None:
    data = b'{"Id":2,"id":1}\n{"id":null,"Id":2}\n{"a":1}\n{"id":1,"deep":{"id":3}}\n'
    lines = LineReader(SAID).read(data)
    told = [data[slice(*lines.values[:, one].tolist())] if one >= 0 else None for one in lines.places[2].tolist()]
    assert told == [b"1", b"2", None, b"3"]


def test_what_is_new_is_looked_at_once() -> None:
    data = b'{"id":1,"a":"x"}\n{"id":1,"a":"y"}\n{"id":2,"a":"x"}\n{"a":1}\n{"id":1,"b":"x"}\n'
    reader = LineReader(SAID)
    lines = reader.read(data)
    tables = Tables(reader.names.seed)
    rows = np.arange(5)

    def look() -> list[int]:
        groups, outcomes = np.full(5, ABSENT, np.int32), np.full(5, ALONE, np.int32)
        tables.judge(lines, rows, groups, outcomes)
        return outcomes.tolist()

    assert look() == [NEW, NEW, NEW, ALONE, NEW]
    assert tables.cases.whats[: tables.case_count].tolist() == [GROUP, GROUP]
    asked = tables.ask(1, layers=1)
    tables.fill(asked, 0, reader.names.paths.index(("a",)), 0, what=2)
    tables.cases.states[:2] = [asked.number, PASS]
    assert look() == [NEW, NEW, PASS, ALONE, 2]
    codes = {b'"x"': 7, b'"y"': 8}
    for number in range(tables.value_count):
        if tables.values.whats[number] == 2:
            tables.values.states[number] = codes[bytes(tables.texts([number])[0])]
    assert look() == [3, 4, PASS, ALONE, 2]
    assert tables.vectors(np.array([2, 3, 4]), 1).tolist() == [[0], [7], [8]]
    tables.cases.states[2:5] = [PASS, READ, PASS]
    assert look() == [READ, PASS, PASS, ALONE, PASS]


def test_tables_grow() -> None:
    reader = LineReader(SAID)
    data = b"".join(b'{"id":%d,"a":"%s"}\n' % (number, b"v" * (number % 50)) for number in range(30_000))
    lines = reader.read(data)
    tables = Tables(reader.names.seed)
    groups, outcomes = np.full(30_000, ABSENT, np.int32), np.full(30_000, ALONE, np.int32)
    tables.judge(lines, np.arange(30_000), groups, outcomes)
    assert groups.tolist() == list(range(30_000))
    again = groups.copy()
    tables.judge(lines, np.arange(30_000), groups, outcomes)
    assert groups.tolist() == again.tolist()
    assert tables.texts([29_999]) == [b"29999"]


def test_lines_that_waited_are_settled_as_if_they_were_judged_again() -> None:
    reader = LineReader({("id",): Name(FLAT_FIRST)})
    values = ['"x"', "1", "null", '"y"', "[2]"]
    pairs = [(values[number % 5], str(number // 2)) for number in range(9_000)]
    data = "".join(f'{{"id":1,"a":{one},"b":{other}}}\n' for one, other in pairs).encode()
    lines = reader.read(data)
    tables = Tables(reader.names.seed)
    groups, outcomes = np.full(9_000, ABSENT, np.int32), np.full(9_000, ALONE, np.int32)
    rows = np.arange(9_000)
    tables.judge(lines, rows, groups, outcomes)
    asked = tables.ask(2, layers=1)
    tables.cases.states[0] = asked.number
    for name, column in (("a", 0), ("b", 1)):
        tables.fill(asked, 0, reader.names.paths.index((name,)), column, what=2)
    tables.judge(lines, rows, groups, outcomes)
    assert (outcomes == NEW).all()
    tables.values.states[: tables.value_count] = np.arange(tables.value_count)
    tables.settle(outcomes)
    settled = outcomes.copy()
    tables.judge(lines, rows, groups, outcomes)
    assert settled.tolist() == outcomes.tolist()
    assert (settled >= 0).all()
    codes = tables.vectors(settled.astype(np.int64), asked.width)
    texts = [bytes(one).decode() for one in tables.texts(np.arange(tables.value_count))]
    assert [tuple(texts[code] if code else "null" for code in codes_of) for codes_of in codes[:, :2].tolist()] == pairs


PROGRAM = """
import numpy as np
from sensor.flat_json import DEEP, FLAT_FIRST, LineReader, Name, Tables
reader = LineReader({("id",): Name(FLAT_FIRST), ("deep",): Name(DEEP)})
lines = reader.read(LINES)
tables = Tables(reader.names.seed)
groups, outcomes = np.full(5, -1, np.int32), np.full(5, -1, np.int32)
tables.judge(lines, np.arange(5), groups, outcomes)
print(lines.flags.tolist(), lines.places.tolist(), lines.values.tolist(), groups.tolist(), outcomes.tolist())
asked = tables.ask(1, layers=1)
tables.cases.states[:2] = asked.number
tables.fill(asked, 0, 1, 0, what=2)
tables.judge(lines, np.arange(5), groups, outcomes)
spelled = tables.spelled(np.arange(tables.value_count))
tables.values.states[: tables.value_count] = np.arange(tables.value_count)
tables.settle(outcomes)
print(outcomes.tolist(), tables.vectors(outcomes[outcomes >= 0].astype(np.int64), 2).tolist())
print(bytes(spelled.plain), bytes(spelled.folded), spelled.ends.tolist(), spelled.odd.tolist())
"""
LINES = (
    b'{"id":1,"a":"x\\\\y\\"z","b":[1,true,null,-2.5e3]}\n{"id":1,"a":"\xe2\x84\xaa"}\n'
    b'{"id":1,"a":"Two Words \\\\ \\n in \\"quotes\\", longer than a vector has bytes: 0123456789012345678901234"}\n'
    b'{"deep":{"id":3,"q":"more than one word is long"},"a":"\\u0041"}\n{"id":1,}\n'
)


def test_interpreted_kernels_find_the_same() -> None:
    told = [
        subprocess.run(
            [sys.executable, "-W", "ignore", "-c", PROGRAM.replace("LINES", repr(LINES))],
            env={**os.environ, "NUMBA_DISABLE_JIT": off, "PYTHONPATH": str(Path(__file__).parents[2])},
            capture_output=True,
            check=True,
        ).stdout
        for off in ("0", "1")
    ]
    assert told[0] == told[1] != b""
    assert b"two words" in told[0]
