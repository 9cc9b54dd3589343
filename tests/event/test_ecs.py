"""Flat rows and nested documents."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from event.ecs import flatten, nest
from event.fields import FIELDS

NAMES = st.sampled_from(sorted(FIELDS))
VALUES = st.one_of(st.integers(), st.text(), st.booleans(), st.lists(st.integers(), max_size=3))


@given(st.dictionaries(NAMES, VALUES))
def test_nesting_and_flattening_are_inverse(row):
    assert flatten(nest(row)) == row


@given(st.dictionaries(NAMES, st.one_of(st.none(), VALUES)))
def test_what_is_unknown_is_absent(row):
    assert flatten(nest(row)) == {k: v for k, v in row.items() if v is not None}


@pytest.mark.parametrize("row", [{"a": 1, "a.b": 2}, {"a.b": 2, "a": 1}])
def test_a_value_cannot_be_a_parent(row):
    with pytest.raises(ValueError, match="a value and a parent"):
        nest(row)
