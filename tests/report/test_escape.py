"""Escaping rules, one by one; ``test_formats.py`` runs a nasty set through every format."""

from __future__ import annotations

import html

import pytest
from hypothesis import given
from hypothesis import strategies as st

from report import escape


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("\x1b[2J", "\\x1b[2J"),
        ("a\x00b", "a\\x00b"),
        ("\u202eabc", "⟨U+202E⟩abc"),
        ("zero\u200bwidth", "zero⟨U+200B⟩width"),
        ("keep\nlines", "keep\nlines"),
        ("\r\n", "\n"),
        ("泵站 1号", "泵站 1号"),
    ],
)
def test_what_cannot_be_shown_is_spelled_out(raw: str, expected: str) -> None:
    assert escape.visible(raw) == expected


def test_overlong_text_is_cut_and_counted() -> None:
    assert escape.visible("x" * 25_000).endswith("…(+5000)")


def test_combining_marks_do_not_pile_up() -> None:
    assert len(escape.visible("e" + "\u0301" * 50)) == 5


@given(st.text())
def test_html_holds_no_markup_and_reads_back_as_the_visible_text(text: str) -> None:
    out = escape.html(text)
    assert not set('<>"') & set(out)
    assert html.unescape(out) == escape.visible(text)


@given(st.text())
def test_markdown_is_one_line_without_html(text: str) -> None:
    out = escape.markdown(text)
    assert "\n" not in out
    assert "<" not in out.replace("\\<", "")


@given(st.text())
def test_a_terminal_gets_no_control_character(text: str) -> None:
    assert not any(ord(c) < 32 or 127 <= ord(c) < 160 for c in escape.terminal(text))


@given(st.text())
def test_xml_gets_characters_that_xml_allows(text: str) -> None:
    for char in escape.xml(text):
        code = ord(char)
        assert code == 0xA or 0x20 <= code <= 0xD7FF or 0xE000 <= code <= 0xFFFD or code >= 0x10000


@pytest.mark.parametrize("raw", ["=1+1", "+1", "-1", "@x", "\t=1", "\r=1", "＝1", "  =1"])
def test_a_spreadsheet_cell_never_begins_with_a_formula(raw: str) -> None:
    assert escape.cell(raw).startswith("'")


@pytest.mark.parametrize(
    ("raw", "expected"), [("10.20.1.66", "10.20.1.66"), ("INC-20261124", "INC-20261124"), ("1. x", "1\\. x")]
)
def test_addresses_and_ids_stay_readable_in_markdown(raw: str, expected: str) -> None:
    assert escape.markdown(raw) == expected
