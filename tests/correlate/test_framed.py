"""Values that are never made into objects: spelled out as a parser does, and with the atoms that hold for each."""

from __future__ import annotations

import json

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

import correlate.signatures
from correlate.atoms import Matcher
from correlate.signatures import Signatures
from sensor.flat_json import FLAT_FIRST, LineReader, Name, Tables
from tests.correlate.test_signatures import ATOMS, REGEXES

EQUAL = [(20, "eq", "needle"), (21, "eq", ""), (22, "eq", 'a"b'), (23, "contains", "d"), (24, "contains", "\\")]
SPELLED = [(40, "num", 12), (41, "bool", True), (42, "bool", False), (43, "num", 1e20), (44, "num", -1.5)]
FRAMED = [(30, "startswith", "need"), (31, "endswith", "cd"), (32, "endswith", "\n"), (33, "startswith", "/")]
NUMBERS = ["12", "True", "false", "1e+20", "1E+20", "-1.5"]
WORDS = ["needle", "NEEDLE", "ab", " ", "cd", "\\Temp\\", "\n", '"', "/", "x", "a", "\x02", "\x03", "\v", "ß", "z" * 70]
texts = st.lists(st.sampled_from(WORDS), max_size=9).map("".join)
values = st.one_of(
    texts, texts.map("b".join), st.integers(-(1 << 60), 1 << 60), st.booleans(), st.none(), st.lists(texts, max_size=2)
)


def _tables(some: list[object], *, by_number: bool) -> tuple[Tables, np.ndarray]:
    """Tables that have met these values, and the values' numbers."""
    dump = (lambda one: json.dumps(one, separators=(",", ":")).encode()) if by_number else orjson.dumps
    reader = LineReader({("id",): Name(FLAT_FIRST)})
    tables = Tables(reader.names.seed)
    asked = tables.ask(1, layers=1)
    data = b"".join(b'{"id":1,"a":' + dump(one) + b"}\n" for one in some)
    lines = reader.read(data)
    groups, outcomes = np.full(len(some), -1, np.int32), np.full(len(some), -1, np.int32)
    rows = np.arange(len(some))
    tables.judge(lines, rows, groups, outcomes)
    tables.cases.states[0] = asked.number
    tables.fill(asked, 0, 0, -1)
    tables.fill(asked, 0, 1, 0, what=2)
    tables.judge(lines, rows, groups, outcomes)
    return tables, np.flatnonzero(tables.values.whats[: tables.value_count] == 2)


@given(some=st.lists(values, min_size=1, max_size=12), by_number=st.booleans())
def test_texts_are_spelled_as_a_parser_spells_them(some: list[object], by_number: bool) -> None:
    tables, numbers = _tables(some, by_number=by_number)
    spelled = tables.spelled(numbers)
    begin = 0
    for raw, end, odd in zip(tables.texts(numbers), spelled.ends.tolist(), spelled.odd.tolist(), strict=True):
        value = orjson.loads(raw)
        assert odd or isinstance(value, str)
        assert odd == (not isinstance(value, str) or not value.isascii() or b"\\u" in bytes(raw).replace(b"\\\\", b""))
        text = "" if odd else str(value)
        assert spelled.plain[begin:end].tobytes() == f"\x02{text}\x03".encode()
        assert spelled.folded[begin:end].tobytes() == f"\x02{text.lower()}\x03".encode()
        begin = end
    assert begin == len(spelled.plain)


@pytest.mark.parametrize("kernels", [True, False])
@pytest.mark.parametrize("one_pass", [True, False])
@pytest.mark.parametrize("atoms", [ATOMS, ATOMS + REGEXES, EQUAL, ATOMS + EQUAL + FRAMED, SPELLED])
@given(some=st.lists(st.one_of(texts.filter(str.isascii), st.sampled_from(NUMBERS)), min_size=1, max_size=12))
def test_framed_texts_have_the_atoms_that_hold_for_each_alone(
    atoms: list[tuple[int, str, object]], one_pass: bool, kernels: bool, some: list[str]
) -> None:
    signatures, alone = Signatures(atoms, one_pass=one_pass), Matcher(atoms, one_pass=False)
    tables, numbers = _tables(list(some), by_number=False)
    spelled = tables.spelled(numbers)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(correlate.signatures, "_DENSE", 1 << 20)
        patch.setattr(correlate.signatures, "_MANY", 0)
        for _ in range(2):  # the second time by a kernel, if literals were found the first time
            codes = signatures.signatures_framed(spelled.plain.data, spelled.folded.data, spelled.ends, kernels=kernels)
            for code, raw, odd in zip(codes, tables.texts(numbers), spelled.odd.tolist(), strict=True):
                assert odd or signatures.sets[code] == alone.holds(orjson.loads(raw))
