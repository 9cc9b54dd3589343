from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from event import yaml_text


def test_time_stamps_stay_text() -> None:
    assert yaml_text.load("a: 2026-01-31T08:00:00Z\nb: 2026-01-31\nc: 3\nd: true\ne: ~") == {
        "a": "2026-01-31T08:00:00Z",
        "b": "2026-01-31",
        "c": 3,
        "d": True,
        "e": None,
    }


def test_json_is_yaml() -> None:
    assert yaml_text.load('{"a": [1, "x"], "b": {"c": null}}') == {"a": [1, "x"], "b": {"c": None}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\na: 2\n", r"^2:1: key 'a' is there twice"),
        ("a: [1, 2\nb: 3\n", r"^\d+:\d+: "),
        ("a: 1\n---\nb: 2\n", "document"),
        ("a: !!python/object/apply:os.system [x]\n", "could not determine a constructor"),
        (b"\xff\xfe\xfa", "."),
    ],
)
def test_what_is_wrong_is_said_with_line_and_column(text: str | bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        yaml_text.load(text)


def test_a_merge_key_is_no_duplicate() -> None:
    assert yaml_text.load("x: &x {a: 1}\ny: {<<: *x, b: 2}") == {"x": {"a": 1}, "y": {"a": 1, "b": 2}}


def test_deep_nesting_is_an_error_and_no_crash() -> None:
    with pytest.raises(ValueError, match=r"."):
        yaml_text.load("[" * 20_000)


@given(st.text(max_size=80) | st.binary(max_size=80))
@settings(deadline=None)
def test_any_input_loads_or_is_refused(text: str | bytes) -> None:
    try:
        yaml_text.load(text)
    except ValueError as error:
        assert str(error)
