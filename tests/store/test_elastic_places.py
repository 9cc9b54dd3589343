"""A read of a cluster sees every document once, in order, whatever days and page sizes lie in between."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from store.elastic.read import Question, _Place
from store.elastic.templates import TIME

DAY = 86_400 * 1_000_000_000
TIMES = st.one_of(
    st.integers(-2 * DAY, 3 * DAY),
    st.sampled_from([-DAY, -1, 0, 1, DAY - 1, DAY, DAY + 1, 2 * DAY, 400 * DAY]),
    st.sampled_from([-(1 << 63), -(1 << 63) + 1, (1 << 63) - 2, (1 << 63) - 1]),
)


def asked(place: _Place, question: Question, documents: list[list[Any]], size: int) -> list[list[Any]]:
    """What a cluster would answer: filtered by the limits, behind ``after``, sorted, cut."""
    query = place.within(question)
    limits = [one["range"][TIME] for one in query.get("bool", {}).get("filter", [query]) if "range" in one]
    assert bool(limits) == (place.bound is not None)
    for limit in limits:
        assert all(-(1 << 63) <= bound < 1 << 63 for bound in limit.values())
    tests = {
        "gte": lambda time, bound: time >= bound,
        "lte": lambda time, bound: time <= bound,
        "lt": lambda time, bound: time < bound,
    }
    fitting = [
        one for one in documents if all(tests[key](one[0], bound) for limit in limits for key, bound in limit.items())
    ]
    fitting.sort(reverse=question.descending)
    if place.after is not None:
        after = place.after
        fitting = [one for one in fitting if (one < after if question.descending else one > after)]
    return fitting[:size]


@given(st.lists(TIMES, max_size=40), st.integers(1, 7), st.booleans())
def test_every_document_is_read_once_in_order(times: list[int], size: int, descending: bool) -> None:
    documents: list[list[Any]] = [[time, f"id-{number:04d}"] for number, time in enumerate(times)]
    question = Question("x", descending=descending)
    seen: list[list[Any]] = []
    place: _Place | None = _Place()
    requests = 0
    while place is not None:
        page = asked(place, question, documents, size)
        seen += page
        place = place.next(page[-1] if page else None, full=len(page) == size, question=question)
        requests += 1
        assert requests <= 2 * len(documents) + 2
    assert seen == sorted(documents, reverse=descending)
