"""Requests and responses: by key, over batches, bounded."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from sensor.base import PairRule
from sensor.pair import PairState, pair

RULE = PairRule(
    is_request=pl.col("side") == 0,
    is_response=pl.col("side") == 1,
    keys=("id", "function"),
    copy=("address",),
    matched="answered",
)


def table(*rows: tuple[int, int, int | None, int, int | None], start: int = 0) -> pl.DataFrame:
    """Rows of (flow, side, id, function, address), a microsecond apart; side 2 takes no part."""
    schema = dict.fromkeys(("_flow", "side", "id", "function", "address"), pl.Int64)
    frame = pl.DataFrame(list(rows), schema=schema, orient="row")
    return frame.with_columns(_time=(pl.int_range(pl.len()) + start) * 1000)


def run(*frames: pl.DataFrame, limit: int = 100, rule: PairRule = RULE) -> tuple[list[pl.DataFrame], PairState]:
    state = PairState(limit)
    return [pair(frame, rule, state) for frame in frames], state


def test_response_gets_time_and_address_of_its_request() -> None:
    (made,), state = run(table((1, 0, 7, 3, 100), (1, 1, 7, 3, None)))
    assert made["answered"].to_list() == [None, True]
    assert made["event.duration"].to_list() == [None, 1000]
    assert made["address"].to_list() == [100, 100]
    assert (state.matched, state.unmatched, state.waiting.height) == (1, 0, 0)


def test_ids_may_come_back_in_any_order() -> None:
    (made,), _ = run(
        table((1, 0, 1, 3, 10), (1, 0, 2, 3, 20), (1, 0, 3, 3, 30), (1, 1, 3, 3, None), (1, 1, 1, 3, None))
    )
    assert made["address"].to_list()[3:] == [30, 10]
    assert made["event.duration"].to_list()[3:] == [1000, 4000]


def test_flow_id_and_function_must_all_agree() -> None:
    (made,), state = run(
        table((1, 0, 7, 3, 1), (2, 1, 7, 3, None), (1, 1, 8, 3, None), (1, 1, 7, 4, None), (1, 1, 7, 3, None))
    )
    assert made["answered"].to_list() == [None, False, False, False, True]
    assert made["address"].to_list() == [1, None, None, None, 1]
    assert (state.matched, state.unmatched) == (1, 3)


def test_second_response_has_no_request_left() -> None:
    (made,), _ = run(table((1, 0, 7, 3, 1), (1, 1, 7, 3, None), (1, 1, 7, 3, None)))
    assert made["answered"].to_list() == [None, True, False]


def test_two_answers_are_allowed_where_the_rule_says_so() -> None:
    rule = PairRule(RULE.is_request, RULE.is_response, RULE.keys, RULE.copy, RULE.matched, once=False)
    (made, later), _ = run(table((1, 0, 7, 3, 1), (1, 1, 7, 3, None)), table((1, 1, 7, 3, None), start=2), rule=rule)
    assert made["answered"].to_list() == [None, True]
    assert later.select("answered", "event.duration", "address").row(0) == (True, 2000, 1)


def test_latest_request_of_an_id_is_the_one_that_is_answered() -> None:
    (made,), state = run(table((1, 0, 7, 3, 1), (1, 0, 7, 3, 2), (1, 1, 7, 3, None)))
    assert made["address"].to_list() == [1, 2, 2]
    assert made["event.duration"].to_list()[2] == 1000
    assert state.waiting.height == 0


def test_what_the_response_says_itself_stays() -> None:
    (made,), _ = run(table((1, 0, 7, 3, 1), (1, 1, 7, 3, 99)))
    assert made["address"].to_list() == [1, 99]


def test_response_before_its_request_meets_none_and_no_duration_is_negative() -> None:
    (made,), _ = run(table((1, 1, 7, 3, None), (1, 0, 7, 3, 1)))
    assert made["answered"].to_list() == [False, None]
    late = table((1, 0, 7, 3, 1), (1, 1, 7, 3, None)).with_columns(_time=pl.Series([5000, 1000]))
    (made,), _ = run(late)
    assert made["event.duration"].to_list() == [None, 0]


def test_requests_wait_over_batches() -> None:
    (_, _, made), state = run(
        table((1, 0, 7, 3, 1), (1, 0, 8, 3, 2)),
        table((2, 2, None, 3, None), start=2),
        table((1, 1, 8, 3, None), (1, 1, 7, 3, None), start=3),
    )
    assert made["address"].to_list() == [2, 1]
    assert made["event.duration"].to_list() == [2000, 4000]
    assert state.waiting.height == 0


def test_memory_is_bounded_and_what_is_forgotten_is_counted() -> None:
    state = PairState(limit=10)
    for batch in range(20):
        pair(table(*((1, 0, batch * 50 + i, 3, i) for i in range(50)), start=batch * 50), RULE, state)
        assert state.waiting.height <= 10
    assert state.forgotten == 20 * 50 - 10
    made = pair(table((1, 1, 999, 3, None), (1, 1, 989, 3, None), start=2000), RULE, state)
    assert made["answered"].to_list() == [True, False]


def test_nothing_and_null_keys() -> None:
    (made, empty), state = run(table((1, 0, None, 3, 1), (1, 1, None, 3, None)), table())
    assert made["answered"].to_list() == [None, True]
    assert empty.is_empty()
    assert state.matched == 1


def test_columns_that_a_batch_lacks_are_no_obstacle() -> None:
    frame = table((1, 0, 7, 3, 1), (1, 1, 7, 3, None)).drop("address")
    (made, later), _ = run(frame, table((1, 0, 8, 3, 1), (1, 1, 8, 3, None), start=2))
    assert made["answered"].to_list() == [None, True]
    assert later["address"].to_list() == [1, 1]


def test_a_column_that_was_null_before_may_be_of_any_kind() -> None:
    with_flag = table((1, 0, 8, 3, None), (1, 1, 8, 3, None), (1, 1, 7, 3, None), start=2).with_columns(
        address=pl.Series([True, None, None])
    )
    (_, made), state = run(table((1, 0, 7, 3, None)).drop("address"), with_flag)
    assert made["address"].to_list() == [True, True, None]
    assert made["answered"].to_list() == [None, True, True]
    assert state.matched == 2


class Naive:
    """The rule in words, one row at a time."""

    def __init__(self) -> None:
        self.open: dict[tuple[int, int | None, int], tuple[int, int | None]] = {}

    def feed(self, row: tuple[int, int, int | None, int, int | None], time: int) -> tuple[bool | None, int | None]:
        flow, side, number, function, address = row
        key = (flow, number, function)
        if side == 0:
            self.open[key] = (time, address)
        if side != 1:
            return None, address
        if key not in self.open:
            return False, address
        _, asked = self.open.pop(key)
        return True, asked if address is None else address


rows = st.tuples(
    st.integers(0, 2),
    st.integers(0, 2),
    st.one_of(st.none(), st.integers(0, 3)),
    st.integers(0, 1),
    st.one_of(st.none(), st.integers(0, 9)),
)


@settings(max_examples=120, deadline=None)
@given(st.lists(rows, max_size=40), st.lists(st.integers(0, 40), max_size=4))
def test_equals_the_rule_in_words_however_it_is_cut(messages: list[tuple[int, ...]], cuts: list[int]) -> None:
    naive = Naive()
    expected = [naive.feed(row, index) for index, row in enumerate(messages)]  # type: ignore[arg-type]
    state = PairState(limit=1000)
    seen: list[tuple[bool | None, int | None]] = []
    bounds = [0, *sorted(cuts), len(messages)]
    for low, high in itertools.pairwise(bounds):
        part = messages[low:high]
        if part:
            made = pair(table(*part, start=low), RULE, state)  # type: ignore[arg-type]
            seen += made.select("answered", "address").rows()
    assert seen == expected
    assert state.waiting.height == len(naive.open)


def test_without_compiler_the_result_is_the_same() -> None:
    program = (
        "import random, polars as pl\n"
        "from sensor.base import PairRule\n"
        "from sensor.pair import PairState, pair\n"
        "random.seed(3)\n"
        "rule = PairRule(pl.col('side') == 0, pl.col('side') == 1, ('id',), ('address',), 'answered')\n"
        "state = PairState(20)\n"
        "for batch in range(5):\n"
        "    n = 200\n"
        "    names = {'_flow': 3, 'side': 3, 'id': 20, 'address': 9}\n"
        "    t = pl.DataFrame({k: [random.randrange(m) for _ in range(n)] for k, m in names.items()})\n"
        "    t = t.with_columns(_time=pl.int_range(pl.len()) + batch * n)\n"
        "    print(pair(t, rule, state).write_json(), state.matched, state.forgotten)\n"
    )
    results = [
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "NUMBA_DISABLE_JIT": off},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for off in ("0", "1")
    ]
    assert results[0] == results[1]
    assert len(results[0]) > 1000
