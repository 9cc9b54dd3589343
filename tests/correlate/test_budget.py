"""The alert budget: who is demoted, who is not, and that it is said."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from correlate.budget import FIRSTS, NOTICE, SHIFTS, Budget
from event.site import Noise
from event.table import conform

# 09:00 in Beijing: an hour into the shift that begins at 08:00.
BEGIN = datetime(2026, 9, 1, 1, tzinfo=UTC)
TIGHT = Noise(alerts_per_shift=10, alerts_per_rule=3)


def alerts(*rows: dict[str, Any]) -> pl.DataFrame:
    made = []
    for number, row in enumerate(rows):
        seconds = row.pop("t", number)
        made.append(
            {
                "@timestamp": BEGIN + timedelta(seconds=seconds),
                "event.id": f"{row.get('rule.id', 'r1')}-{seconds:09.3f}-{number}",
                "event.dataset": "jianmen.alert",
                "event.kind": "alert",
                "event.severity": 75,
                "rule.id": "r1",
                "rule.name": "Rule",
                "rule.name_zh": "规则",
                "rule.level": "high",
                "destination.ip": "10.0.0.1",
                "alert.suppressed_by": None,
                **row,
            }
        )
    return conform(pl.DataFrame(made, infer_schema_length=None))


def levels(table: pl.DataFrame, rule: str = "r1") -> list[str]:
    return table.filter(pl.col("rule.id") == rule)["rule.level"].to_list()


def test_what_is_over_the_budget_is_lowered_kept_and_said_once():
    budget = Budget(TIGHT)
    table = alerts(*({} for _ in range(15)))
    done = budget.apply(table)
    assert levels(done) == ["high"] * 10 + ["medium"] * 5
    assert set(table["event.id"]) <= set(done["event.id"])
    over = done.filter(pl.col("alert.demoted_from").is_not_null())
    assert over.select("rule.level", "event.severity", "alert.demoted_from").unique().rows() == [("medium", 50, "high")]
    notice = done.filter(pl.col("rule.id") == NOTICE).row(0, named=True)
    assert done.height == 16
    assert notice["alert.fields"] == ["rule.id=r1", "rule.name=Rule", "budget=10"]
    assert notice["alert.event_ids"] == [over["event.id"][0]]
    assert (notice["event.start"], notice["event.end"]) == (
        datetime(2026, 9, 1, 0, tzinfo=UTC),
        datetime(2026, 9, 1, 8, tzinfo=UTC),
    )
    again = budget.apply(alerts(*({"t": 100 + n} for n in range(3))))
    assert levels(again) == ["medium"] * 3
    assert NOTICE not in again["rule.id"]
    assert budget.demoted == 8


@pytest.mark.parametrize(
    ("level", "lowered"), [("critical", "high"), ("high", "medium"), ("medium", "low"), ("low", "informational")]
)
def test_every_level_goes_down_one_step(level, lowered):
    done = Budget(TIGHT).apply(alerts(*({"rule.level": level} for _ in range(11))))
    assert levels(done) == [level] * 10 + [lowered]


def test_informational_and_suppressed_alerts_cost_nothing():
    budget = Budget(TIGHT)
    free = [{"rule.level": "informational"}] * 50 + [{"alert.suppressed_by": "sup-1"}] * 50
    done = budget.apply(alerts(*map(dict, free), *({} for _ in range(10))))
    assert done.height == 110
    assert budget.demoted == 0


def test_a_flooding_rule_starves_no_other():
    budget = Budget(TIGHT)
    flood = [{"rule.id": "flood", "t": n / 100} for n in range(2000)]
    quiet = [{"rule.id": f"quiet{n % 5}", "t": 0.005 + n} for n in range(15)]
    done = budget.apply(alerts(*flood, *quiet))
    for number in range(5):
        assert levels(done, f"quiet{number}") == ["high"] * 3
    # The share of the flooding rule shrinks as others come, to what is everybody's due.
    assert Counter(levels(done, "flood"))["high"] <= 10
    assert Counter(levels(done, "flood")).total() == 2000


def test_the_first_alert_about_a_target_keeps_its_level():
    known = "10.0.0.99"
    flood = [{"t": n / 1000} for n in range(500)]
    targets = [{"t": 1 + n / 1000, "destination.ip": f"10.1.{n // 250}.{n % 250}"} for n in range(400)]
    asset = [{"t": 2 + n, "destination.ip": known} for n in range(3)]
    done = Budget(TIGHT, assets=[known]).apply(alerts(*flood, *targets, *asset))
    assert levels(done.filter(pl.col("destination.ip") == known)) == ["high", "medium", "medium"]
    assert Counter(levels(done.filter(pl.col("destination.ip").str.starts_with("10.1."))))["high"] == FIRSTS - 1
    # An alert without a target is none of these.
    nobody = Budget(TIGHT).apply(alerts(*({"destination.ip": None} for _ in range(12))))
    assert Counter(levels(nobody))["medium"] == 2


@pytest.mark.parametrize(
    ("noise", "time", "begin", "end"),
    [
        (Noise(), "2026-09-01T00:00", "2026-09-01T00:00", "2026-09-01T08:00"),
        (Noise(), "2026-09-01T07:59", "2026-09-01T00:00", "2026-09-01T08:00"),
        (Noise(), "2026-08-31T23:59", "2026-08-31T16:00", "2026-09-01T00:00"),
        (Noise(shift_begins="20:30", shift_hours=12), "2026-09-01T00:00", "2026-08-31T12:30", "2026-09-01T00:30"),
        (Noise(shift_begins="00:00", shift_hours=24), "2026-09-01T00:00", "2026-08-31T16:00", "2026-09-01T16:00"),
        # Seven hours do not divide a day: the fourth shift is short, and the day begins again at eight.
        (Noise(shift_hours=7), "2026-08-31T22:00", "2026-08-31T21:00", "2026-09-01T00:00"),
    ],
)
def test_shifts_are_those_of_the_clock_in_beijing(noise, time, begin, end):
    found = Budget(noise).shift_of(datetime.fromisoformat(time).replace(tzinfo=UTC))
    assert [one.strftime("%Y-%m-%dT%H:%M") for one in found] == [begin, end]


@given(st.integers(1, 24), st.integers(0, 23), st.integers(0, 59), st.integers(0, 10**9))
def test_shifts_cover_all_time_without_gap_or_overlap(hours, hour, minute, seconds):
    budget = Budget(Noise(shift_hours=hours, shift_begins=f"{hour:02}:{minute:02}"))
    time = BEGIN + timedelta(seconds=seconds)
    begin, end = budget.shift_of(time)
    assert begin <= time < end
    assert budget.shift_of(begin) == (begin, end)
    assert budget.shift_of(end)[0] == end
    assert budget.shift_of(end - timedelta(microseconds=1)) == (begin, end)


def test_a_new_shift_has_a_new_budget_and_old_ones_are_forgotten():
    budget = Budget(TIGHT)
    for day in range(SHIFTS + 3):
        done = budget.apply(alerts(*({"t": day * 86_400 + n} for n in range(12))))
        assert Counter(levels(done)) == {"high": 10, "medium": 2}
    assert len(budget._shifts) == SHIFTS


def test_detection_that_goes_on_in_a_shift_remembers_what_was_spent():
    whole = alerts(*({} for _ in range(14)))
    once = Budget(TIGHT).apply(whole)
    going_on = Budget(TIGHT)
    stored = once.filter(pl.col("rule.id") == "r1").head(12)
    going_on.remember(stored)
    rest = going_on.apply(whole.tail(2))
    assert levels(rest) == levels(once)[-2:] == ["medium", "medium"]
    assert NOTICE not in rest["rule.id"]
    assert going_on.since(BEGIN) == datetime(2026, 9, 1, 0, tzinfo=UTC)


def test_without_a_budget_nothing_changes():
    table = alerts(*({} for _ in range(500)))
    assert Budget(Noise(alerts_per_shift=0)).apply(table) is table
    assert Budget(TIGHT).apply(table.clear()).is_empty()
