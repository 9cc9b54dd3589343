"""Texts of columns searched where they lie, and globs as pieces in order, against looking into each text alone."""

from __future__ import annotations

from contextlib import suppress
from itertools import pairwise
from typing import Any

import polars as pl
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from correlate.atoms import Matcher, glob_regex
from correlate.errors import CompileError
from correlate.match import Plan
from correlate.regex import Compiled, check_regex, hyperscan_module
from correlate.signatures import Signatures, in_order

ATOMS: list[tuple[int, str, Any]] = [
    (0, "contains", "needle"),
    (1, "contains", "\\temp\\"),
    (2, "contains", "straße"),
    (3, "contains", "kiwi"),
    (4, "glob", [0, "ab", 0, "cd", 0]),
    (5, "glob", ["x", 0, "needle"]),
    (6, "glob", [0, "a", 1, "dle", 0]),
]
REGEXES: list[tuple[int, str, Any]] = [
    (7, "re", [r"ab\s+cd", ""]),
    (8, "re", ["needle$", ""]),
    (9, "re", ["^x.*AB", "i"]),
    (10, "re", [r"\bab\b", ""]),
    (11, "re", [r"cd\Z", ""]),
    (12, "re", [r"cd\z", ""]),
    (13, "re", [r"(?m)^ab$", ""]),
    (14, "re", [r"cd\s$", "i"]),
    (15, "re", [r"[^x]cd", ""]),
]
PLAIN = ["ab", "AB", "cd", "needle", "NEEDLE", "\\Temp\\", "kiwi", "x", " ", "a dle", "", "z" * 300]
ODD = ["straße", "STRAßE", "\N{KELVIN SIGN}iwi", "\v", "\n", "$", "\x02", "\x03", "\n\0"]
words = st.sampled_from([*PLAIN, *ODD])
texts = st.lists(words, max_size=6).map("".join)
columns = st.lists(st.one_of(st.none(), texts), min_size=1, max_size=30)


@pytest.mark.skipif(hyperscan_module() is None, reason="needs Hyperscan")
@pytest.mark.parametrize("atoms", [ATOMS, ATOMS + REGEXES], ids=["literals", "regexes"])
@given(batches=st.lists(columns, min_size=1, max_size=3))
def test_long_texts_have_the_atoms_that_hold_for_each_alone(
    atoms: list[tuple[int, str, Any]], batches: list[list[str | None]]
) -> None:
    signatures, alone = Signatures(atoms), Matcher(atoms, one_pass=False)
    for batch in batches:
        there = pl.Series("text", ["pad" * 4000, *[one for one in batch if one is not None]], dtype=pl.String)
        raw = there.to_frame().select(signatures.numbering("text"))["text"]
        codes = signatures.encode_numbered(signatures.numbered(there, raw))
        assert [signatures.sets[code] for code in codes] == [alone.holds(text) for text in there.to_list()]
        again = signatures.encode_texts(pl.Series("text", [None, *there, None], dtype=pl.String))
        assert [signatures.sets[code] for code in again[1:-1]] == [alone.holds(text) for text in there.to_list()]
        assert signatures.sets[again[0]] == signatures.sets[again[-1]] == alone.absent


PIECES = ["a", "b", "-", ".", "[^a]", "[ab]", "[^-b]", "[^]a]", r"[\w-]", r"[^\d]", r"\d", r"\W", r"\S", r"\s", r"\b"]
PIECES += ["^", "$", r"\z", r"\A", r"\B", r"\.", r"\{2}", r"\x02", "*", "+", "?", "{2}", "{1,2}", "{2,}", "|", "(", ")"]
patterns_made = st.lists(st.sampled_from([*PIECES, "(?:", "(?i)"]), min_size=1, max_size=7).map("".join)


@given(
    patterns=st.lists(st.tuples(patterns_made, st.sampled_from(["", "i", "s"])), min_size=1, max_size=4),
    batch=st.lists(st.text("aAb1. -\n\x02\x03", max_size=8), min_size=1, max_size=6),
)
def test_patterns_looked_for_together_are_found_where_each_is_alone(
    patterns: list[tuple[str, str]], batch: list[str]
) -> None:
    taken = []
    for pattern, flags in patterns:
        with suppress(CompileError):
            check_regex(pattern, flags)
            taken.append((pattern, flags))
    assume(taken)
    atoms: list[tuple[int, str, Any]] = [(number, "re", list(one)) for number, one in enumerate(taken)]
    signatures, alone = Signatures(atoms), Matcher(atoms, one_pass=False)
    codes = signatures.encode_values(batch)
    assert [signatures.sets[code] for code in codes] == [alone.holds(text) for text in batch]
    # As many as are worth a pass to the predicates of one value.
    several = Matcher([*atoms, *((number, "re", ["(?:b|b)", ""]) for number in range(100, 125))])
    assert [several.holds(text) - set(range(100, 125)) for text in batch] == [alone.holds(text) for text in batch]


@given(
    parts=st.lists(st.sampled_from(["a", "ab", "b", 0]), min_size=2, max_size=6).filter(
        lambda parts: 0 in parts and all(isinstance(a, str) != isinstance(b, str) for a, b in pairwise(parts))
    ),
    text=st.text("ab\n", max_size=12),
)
def test_pieces_are_in_order_where_the_glob_fits(parts: list[Any], text: str) -> None:
    assert in_order(parts, text) == bool(Compiled(glob_regex(parts)).search(text))


@pytest.mark.skipif(hyperscan_module() is None, reason="needs Hyperscan")
@pytest.mark.parametrize(
    "text", ["ABABNEEDLENEEDLE ab", "NEEDLENEEDLEab cd", "n123e\nn123eabab cd", "x ab", "needle\n", "needle\n\0"]
)
def test_what_ends_with_the_text_is_found(text: str) -> None:
    # Hyperscan 5.4.12 misses two of these if nothing stands behind the text.
    atoms = [(0, "re", ["cd", "i"]), (1, "re", ["x.*ab", "i"]), (2, "re", ["needle$", ""]), (3, "re", [r"\bab\b", ""])]
    signatures, alone = Signatures(atoms), Matcher(atoms, one_pass=False)
    assert signatures.sets[signatures.encode_values([text])[0]] == alone.holds(text) == Matcher(atoms).holds(text)


@pytest.mark.parametrize(("size", "every", "again"), [(2_000, 1, False), (2_000, 100, True), (900, 1, True)])
def test_vast_texts_that_are_new_are_not_remembered(size: int, every: int, again: bool) -> None:
    texts = [f"{number // every:05}needle{'x' * size}" for number in range(1_000)]
    plan = Plan([("atom", "message", "contains", "needle"), ("atom", "message", "contains", "007needle")])
    table = pl.DataFrame({"message": [None, *texts]})
    matched = plan.match(table)
    assert matched[0].tolist() == list(range(1, 1_001))
    assert matched[1].tolist() == [row for row, text in enumerate(texts, 1) if "007needle" in text]
    # Without Hyperscan no text is looked at where it lies.
    assert (plan.columns["message"].remembered > 10 * size) == (again or hyperscan_module() is None)


def test_booleans_of_columns_and_of_json_are_no_numbers() -> None:
    atoms: list[tuple[int, str, Any]] = [(0, "bool", True), (1, "bool", False), (2, "num", 1), (3, "eq", "true")]
    signatures, alone = Signatures(atoms), Matcher(atoms, one_pass=False)
    for codes, values in (
        (signatures.encode_values([1, 0]), [1, 0]),
        (signatures.encode(pl.Series([True, False])), [True, False]),
        (signatures.encode_values([True, False, 1]), [True, False, 1]),
        (signatures.encode(pl.Series([1, 0])), [1, 0]),
    ):
        assert [signatures.sets[code] for code in codes] == [alone.holds(value) for value in values]
