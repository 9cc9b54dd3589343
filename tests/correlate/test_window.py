"""What windows do at their edges and bounds; that they give the right alerts is proven in the differential test."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from correlate.absence import Absence, state_of
from correlate.hits import Alarm, Hit, WindowLimits
from correlate.ir import Correlation
from correlate.parse import parse_documents
from correlate.tallies import Ranks, Sums
from correlate.window import Window
from tests.correlate.correlation_makers import SECOND, correlation, documents, hit, problems


def run(one: Correlation, hits: list[Hit], **limits: int) -> list[Alarm]:
    window = state_of(one, WindowLimits(**limits))
    window.push("", hits)
    return window.advance(None)


def test_an_alarm_says_what_was_in_its_window():
    one = correlation("event_count", condition={"gte": 3})
    (alarm,) = run(one, [hit(0, name="old"), hit(11, name="x"), hit(12, name="y"), hit(13, name="z", weight=4)])
    assert alarm.event_ids == ("x", "y", "z")
    assert (alarm.start, alarm.time, alarm.count) == (11 * SECOND, 13 * SECOND, 6)
    assert (alarm.sources, alarm.destinations, alarm.datasets) == (("s",), ("d",), ("modbus",))


def test_a_long_burst_alerts_once_a_timespan():
    one = correlation("event_count", condition={"gte": 5})
    alarms = run(one, [hit(t / 10, name=f"{t}") for t in range(400)])
    assert [a.time / SECOND for a in alarms] == [0.4, 10.5, 20.6, 30.7]


def test_an_ordered_chain_alarm_names_the_events_since_its_start():
    one = correlation("temporal_ordered", 2)
    (alarm,) = run(one, [hit(0, role=1, name="b0"), hit(1, name="a1"), hit(2, name="a2"), hit(3, role=1, name="b3")])
    assert alarm.event_ids == ("a2", "b3")
    assert run(one, [hit(0, role=1), hit(1)]) == []
    assert run(one, [hit(0), hit(10.5, role=1)]) == []


def test_an_extended_condition_takes_and_or_and_not():
    one = correlation("temporal", 3, condition="a and b and not c")
    assert len(run(one, [hit(0), hit(1, role=1)])) == 1
    assert run(one, [hit(0, role=2), hit(1), hit(2, role=1)]) == []
    assert len(run(one, [hit(0, role=2), hit(8), hit(11, role=1)])) == 1  # c has left the window


def test_several_value_fields_count_distinct_combinations():
    one = correlation("value_count", condition={"gte": 3, "field": ["modbus.address", "modbus.unit_id"]})
    base = hit(0)
    pairs = [(1, 1), (1, 2), (1, 2), (None, 7), (2, 1)]
    hits = [base._replace(time=n * SECOND, ids=(str(n),), values=pair) for n, pair in enumerate(pairs)]
    (alarm,) = run(one, hits)
    assert alarm.time == 4 * SECOND


def test_hits_without_a_group_are_in_none_and_counted():
    window = Window(correlation("event_count", condition={"gte": 2}))
    window.push("", [hit(0, group=None), hit(1, group=None)])
    assert window.advance(None) == []
    assert window.counters == {"hits_without_group": 2}


def test_each_element_of_a_list_is_a_value():
    one = correlation("value_count", condition={"gte": 3, "field": "modbus.values"})
    assert len(run(one, [hit(0, value=[1, 2]), hit(1, value=[2, None, 3])])) == 1
    assert run(one, [hit(0, value=[1, 2]), hit(1, value=[2, 1])]) == []


def test_a_late_hit_is_put_at_its_place_and_counted():
    one = correlation("temporal_ordered", 2)
    window = Window(one)
    window.push("", [hit(5, role=1, name="b")])
    assert window.advance(8 * SECOND) == []
    window.push("", [hit(4, name="a")])
    (alarm,) = window.advance(9 * SECOND)
    assert alarm.event_ids == ("a", "b")
    assert window.counters == {"late_hits": 1}
    window.push("", [hit(30, name="new")])
    window.advance(30 * SECOND)
    window.push("", [hit(7, name="far too late")])
    assert window.advance(31 * SECOND) == []
    assert window.counters == {"late_hits": 2, "too_late_hits": 1}


def test_hits_wait_until_their_turn_has_come():
    one = correlation("temporal_ordered", 2)
    window = Window(one)
    window.push("", [hit(6, role=1, name="b")])
    assert window.advance(3 * SECOND) == []
    window.push("", [hit(5, name="a")])
    assert [a.event_ids for a in window.advance(7 * SECOND)] == [("a", "b")]
    assert window.counters == {}


def test_every_bound_holds_and_is_counted():
    one = correlation("event_count", condition={"gte": 1000})
    window = Window(one, WindowLimits(pending=10, groups=5, group_hits=3, hits=8))
    for n in range(200):
        window.push("", [hit(n / 100, group=f"g{n % 7}", name=f"{n}")])
        window.advance(0 if n < 100 else n * SECOND // 100)
        state = window.state()
        held = [len(hits) for _, _, _, hits in state["groups"]]
        assert len(state["pending"]) <= 10
        assert len(held) <= 5
        assert sum(held) <= 8
        assert all(count <= 3 for count in held)
    assert window.counters["hits_taken_early"] > 0
    assert window.counters["groups_evicted"] > 0
    alone = Window(one, WindowLimits(group_hits=3))
    alone.push("", [hit(n / 100, name=f"{n}") for n in range(10)])
    alone.advance(None)
    assert alone.counters["group_hits_evicted"] == 7


def test_groups_whose_window_is_over_are_forgotten():
    one = correlation("event_count", condition={"gte": 2})
    window = Window(one)
    window.push("", [hit(n / 10, group=n, name=f"{n}") for n in range(1000)])
    window.advance(100 * SECOND)
    assert len(window.state()["groups"]) <= 101
    assert "groups_evicted" not in window.counters


def test_a_state_of_another_condition_is_ignored():
    old = Window(correlation("event_count", condition={"gte": 3}))
    old.push("", [hit(0), hit(1)])
    old.advance(None)
    new = Window(correlation("event_count", condition={"gte": 4}))
    new.restore(old.state())
    assert new.state()["groups"] == []
    other = Window(correlation("event_count", condition={"gte": 3}, timespan="20s"))
    other.restore(old.state())
    assert other.state()["groups"] == []
    same = Window(correlation("event_count", condition={"gte": 3}))
    same.restore(old.state())
    assert len(same.state()["groups"]) == 1


@pytest.mark.parametrize("size", [20_000])
def test_value_counts_of_a_full_window_stay_cheap(size):
    # Counting the window anew at every hit would be 2e8 steps here.
    one = correlation("value_count", condition={"gte": size + 1, "field": "modbus.address"}, timespan="1d")
    assert run(one, [hit(n / 100, value=n, name=str(n)) for n in range(size)], group_hits=size) == []


def test_value_statistics_of_a_full_window_stay_cheap():
    # Floats and weights that differ, so that neither sums nor ranks can take a short way.
    for kind in ("value_sum", "value_avg", "value_median"):
        one = correlation(kind, condition={"gt": 1e9, "field": "modbus.address"}, timespan="1d")
        assert run(one, [hit(n / 100, value=n / 7, weight=1 + n % 3, name=str(n)) for n in range(20_000)]) == []


@given(st.lists(st.tuples(st.floats(allow_nan=False, allow_infinity=False), st.integers(1, 3)), max_size=60))
def test_sums_of_floats_lose_nothing(pairs):
    one = correlation("value_sum", condition={"gte": 0, "field": "modbus.address"})
    sums = Sums(one)
    hits = [hit(0, value=value, weight=weight) for value, weight in pairs]
    for one_hit in hits:
        sums.add(one_hit)
    exact = sum(Fraction(value) * weight for value, weight in pairs)
    assert Fraction(sums.scaled, 2**1074) + sums.sum == exact
    for one_hit in hits:
        sums.remove(one_hit)
    assert (sums.sum, sums.scaled, sums.weight) == (0, 0, 0)


def test_a_sum_beyond_the_largest_double_still_compares():
    one = correlation("value_sum", condition={"gte": 5, "field": "modbus.address"})
    assert len(run(one, [hit(0, value=1.7e308), hit(1, value=1.7e308)])) == 1
    assert run(one, [hit(0, value=-1.7e308), hit(1, value=-1.7e308)]) == []


@given(st.randoms(use_true_random=False), st.sampled_from([3, 40, 2000]), st.sampled_from([1, 6, 10**6]))
def test_ranks_hold_what_a_sorted_list_holds(random, many, distinct):
    ranks = Ranks(correlation("value_median", condition={"gte": 0, "field": "modbus.address"}))
    held: list[tuple[int, int]] = []
    for _ in range(many):  # 2000 are several blocks; with one distinct value, of equal entries
        value, weight = random.randrange(distinct), random.randint(1, 3)
        ranks.add(hit(0, value=value, weight=weight))
        held.append((value, weight))
        if random.random() < 0.3:
            gone = held.pop(random.randrange(len(held)))
            ranks.remove(hit(0, value=gone[0], weight=gone[1]))
    spread = sorted(value for value, weight in held for _ in range(weight))
    assert ranks.weight == len(spread)
    for rank in {0, len(spread) // 3, len(spread) // 2, len(spread) - 1} if spread else ():
        assert ranks._at(rank) == spread[rank]


def test_some_of_the_rules_in_order_are_enough_where_the_condition_says_so():
    one = correlation("temporal_ordered", 3, condition={"gte": 2})
    (alarm,) = run(one, [hit(0, role=2, name="c0"), hit(1, name="a1"), hit(2, role=2, name="c2")])
    assert alarm.event_ids == ("a1", "c2")
    assert run(one, [hit(0, role=2), hit(1, role=1), hit(2)]) == []


# --- absence -------------------------------------------------------------------------------------------------------


def test_what_did_not_follow_alerts_when_its_time_is_over():
    window = Absence(correlation("absence", 2))
    window.push("", [hit(0, name="asked"), hit(3, group="h", name="other"), hit(4, role=1, group="h")])
    assert window.advance(10 * SECOND) == []  # an answer may still come at this very time
    (alarm,) = window.advance(10 * SECOND + 1)
    assert (alarm.time, alarm.start, alarm.event_ids, alarm.group) == (10 * SECOND, 0, ("asked",), ("g",))
    assert (alarm.sources, alarm.destinations, alarm.datasets, alarm.count) == (("s",), ("d",), ("modbus",), 1)
    assert window.advance(60 * SECOND) == []
    assert window.state()["groups"] == []


@pytest.mark.parametrize(("answer", "alarms"), [(0, 0), (5, 0), (10, 0), (10.000000001, 1), (-0.1, 1)])
def test_an_answer_counts_from_the_question_to_the_end_of_the_time(answer, alarms):
    window = Absence(correlation("absence", 2))
    window.push("", sorted([hit(100), hit(100 + answer, role=1)]))
    assert len(window.advance(200 * SECOND)) == alarms


def test_the_end_of_the_input_decides_nothing_that_is_still_open():
    window = Absence(correlation("absence", 2))
    window.push("", [hit(0), hit(15, name="open")])
    (alarm,) = window.advance(None, 20 * SECOND)
    assert alarm.time == 10 * SECOND
    assert window.counters["waiting"] == 1
    again = Absence(correlation("absence", 2))
    again.restore(window.state())
    (alarm,) = again.advance(None, 40 * SECOND)
    assert alarm.event_ids == ("open",)
    assert again.counters["waiting"] == 0


def test_any_of_several_rules_is_an_answer():
    one = correlation("absence", 3)
    assert run(one, [hit(0), hit(1, role=2), hit(30, role=2)]) == []
    assert len(run(one, [hit(0), hit(30, role=2)])) == 1


def test_a_heartbeat_that_stops_alerts_once_and_again_after_it_came_back():
    one = correlation("absence", 1)
    beats = [*range(0, 50, 5), 100, *range(103, 150, 5)]
    window = Absence(one)
    window.push("", [hit(t) for t in beats])
    alarms = window.advance(1000 * SECOND)
    assert [a.time // SECOND for a in alarms] == [55, 158]


def test_an_absence_that_lasts_alerts_once_a_timespan():
    one = correlation("absence", 2)
    window = Absence(one)
    window.push("", [hit(t / 10, name=str(t)) for t in range(400)])
    assert [a.time / SECOND for a in window.advance(100 * SECOND)] == [10, 20.1, 30.2, 40.3]


def test_late_answers_and_late_questions_of_an_absence_find_their_place():
    window = Absence(correlation("absence", 2))
    window.push("", [hit(0, name="a0"), hit(6, role=1), hit(8, name="a8")])
    assert window.advance(9 * SECOND) == []
    window.push("", [hit(5, name="a5, answered already"), hit(7, name="a7, not answered")])
    assert window.advance(12 * SECOND) == []
    assert window.counters["waiting"] == 2
    window.push("", [hit(7, role=1)])
    assert window.advance(15 * SECOND) == []
    assert window.counters["waiting"] == 1
    window.push("", [hit(1, name="far too late")])
    (alarm,) = window.advance(19 * SECOND)
    assert alarm.event_ids == ("a8",)
    assert (window.counters["late_hits"], window.counters["too_late_hits"]) == (4, 1)


def test_a_full_group_keeps_the_wait_that_will_alert():
    window = Absence(correlation("absence", 2), WindowLimits(group_hits=3))
    window.push("", [hit(t, name=str(t)) for t in (0, 9.1, 9.2, 9.3, 10.5, 10.6)])
    # After the alert at 10 the next may come after 20: not for what waits since 9.
    assert [a.time / SECOND for a in window.advance(100 * SECOND)] == [10, 20.5]
    assert window.counters["waits_not_kept"] > 0


def test_an_answer_is_remembered_for_a_question_that_comes_late():
    window = Absence(correlation("absence", 2))
    window.push("", [hit(6, role=1)])
    assert window.advance(9 * SECOND) == []
    window.push("", [hit(5)])
    assert window.advance(30 * SECOND) == []
    assert window.counters["late_hits"] == 1
    assert window.state()["groups"] == []


def test_the_bounds_of_an_absence_hold_and_are_counted():
    window = Absence(correlation("absence", 2), WindowLimits(groups=5, hits=8, group_hits=3, pending=10))
    for n in range(300):
        window.push("", [hit(n / 100, role=n % 11 == 0, group=f"g{n % 7}", name=str(n))])
        window.advance(0 if n < 50 else n * SECOND // 100)
        groups = window.state()["groups"]
        assert len(groups) <= 5
        assert sum(len(waits) + len(answers) for *_, answers, waits in groups) <= 8
        assert all(len(waits) <= 3 for *_, waits in groups)
        assert window.counters["waiting"] == sum(len(waits) for *_, waits in groups)
    assert window.counters["groups_evicted"] > 0
    assert window.counters["hits_taken_early"] > 0
    assert len(window._ends) <= 2 * 5 + 1001


def test_many_short_waits_leave_nothing_behind():
    window = Absence(correlation("absence", 2, timespan="1d"))
    window.push("", [hit(n / 10, role=n % 2, group=n // 2 % 3, name=str(n)) for n in range(20_000)])
    assert window.advance(3000 * SECOND) == []
    assert len(window._ends) <= 1010
    assert sum(len(answers) for *_, answers, _ in window.state()["groups"]) <= 300


@pytest.mark.parametrize(
    ("kind", "rules", "body", "message"),
    [
        ("absence", 2, {"condition": {"gte": 1}}, "a correlation of type absence has no 'condition'"),
        ("absence", 2, {"condition": "a and b"}, "a correlation of type absence has no 'condition'"),
        ("absence", 2, {"timespan": None}, "Sigma correlation rule without timespan"),
        ("absence", 0, {}, "the correlation refers to no rule"),
        ("absent", 2, {}, "'absent' is no type of correlation"),
        ("temporal_ordered", 3, {"condition": {"lte": 2}}, "a correlation of type temporal_ordered asks for a least"),
        ("temporal_ordered", 3, {"condition": {"gte": 4}}, "a correlation of type temporal_ordered asks for a least"),
    ],
)
def test_what_makes_no_sense_is_refused(kind: str, rules: int, body: dict[str, Any], message: str):
    (found,) = problems(kind, rules, **body)
    assert found.startswith(message)


def test_the_example_of_the_documentation_is_a_valid_rule():
    page = (Path(__file__).parents[2] / "docs/correlation.md").read_text(encoding="utf-8")
    example = page.partition("```yaml\n")[2].partition("```")[0]
    names = ["control_request", "control_answer", "control_refusal"]
    parts = [{**part, "name": name, "title": name} for part, name in zip(documents("temporal", 3), names, strict=False)]
    text = yaml.safe_dump_all(parts) + "---\n" + example
    ruleset = parse_documents([Path("d.yml")], [text.encode()], {})
    assert [problem.message for problem in ruleset.problems if problem.severity == "error"] == []
    (one,) = ruleset.correlations
    assert (one.type, one.timespan_ns, one.meta.alerts) == ("absence", 10 * SECOND, True)
    assert [one.field_of("server", rule) for rule in one.rules] == ["destination.ip", "source.ip", "source.ip"]
