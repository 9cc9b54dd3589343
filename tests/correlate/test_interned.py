"""Sets of atoms by number: equal sets have the same, however many values are looked at together."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from correlate.interned import Held, Interned, once

held_by_value = st.lists(st.frozensets(st.integers(0, 9), max_size=5), min_size=1, max_size=120)


@pytest.mark.parametrize("telling", [True, False])
@given(sets=held_by_value, present=st.frozensets(st.integers(0, 9), max_size=2), cut=st.integers(0, 120))
def test_each_value_gets_the_number_of_its_set(
    telling: bool, sets: list[frozenset[int]], present: frozenset[int], cut: int
) -> None:
    interned = Interned()
    interned.start(present=present, width=10)
    if not telling:
        interned._weights = np.full(10, 7)  # sets of the same size have the same sum: they are told apart nevertheless
    held = Held()
    pairs = [(place, atom) for place, atoms in enumerate(sets) for atom in atoms]
    for place, atom in pairs[:cut]:
        held.add(place, (atom, atom))
    rest = np.array(pairs[cut:] * 2, np.int64).reshape(-1, 2)
    held.parts.append((rest[:, 0], rest[:, 1]))
    numbers = interned.intern_each(len(sets), held).tolist()
    assert [interned.sets[number] for number in numbers] == [present | one for one in sets]
    assert len(set(numbers)) == len({present | one for one in sets})


@given(st.lists(st.integers(-5, 5)))
def test_each_number_once_and_rising(numbers: list[int]) -> None:
    assert once(np.array(numbers, np.int64)).tolist() == sorted(set(numbers))
