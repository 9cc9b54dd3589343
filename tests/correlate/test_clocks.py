from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from correlate.clocks import deadlines, remaining, with_done
from correlate.grade import grade_incident, with_impact, with_override
from event.incident import Clock, Impact, Incident
from event.site import Operator, Site

T0 = datetime(2026, 9, 1, 2, tzinfo=UTC)
FOUND = T0 + timedelta(minutes=7)


def site(kind: Any, sector: Any = None) -> Site:
    return Site(operator=Operator(kind=kind, sector=sector, region_code="510700", mlps_level=3))


def incident(of: Site, impact: Impact | None = None) -> Incident:
    one = Incident(
        id="INC-20260901-000000",
        title_zh="测试",
        title_en="test",
        first_seen=T0,
        last_seen=T0,
        discovered=FOUND,
        level="high",
        impact=impact or Impact(),
    )
    return grade_incident(one, of)


def by_id(clocks: tuple[Clock, ...]) -> dict[str, Clock]:
    return {clock.id.removeprefix("cac-2025."): clock for clock in clocks}


LARGE = Impact(direct_loss_yuan=6_000_000)
MAJOR = Impact(direct_loss_yuan=30_000_000)


@pytest.mark.parametrize(
    ("kind", "route", "minutes", "to"),
    [
        ("cii", "R1", 60, ("保护工作部门", "公安机关")),
        ("state_organ", "R3", 120, ("本部门网信工作机构",)),
        ("other", "R5", 240, ("属地省级网信部门",)),
    ],
)
def test_each_kind_of_operator_has_its_own_first_report(
    kind: str, route: str, minutes: int, to: tuple[str, ...]
) -> None:
    clocks = by_id(incident(site(kind), LARGE).clocks)
    assert {"R1", "R3", "R5"} & set(clocks) == {route}
    assert clocks[route].due == FOUND + timedelta(minutes=minutes)
    assert clocks[route].recipients_zh == to
    assert clocks[route].condition_zh == ""
    assert clocks[route].source.startswith("国家网络安全事件报告管理办法 报告时限")
    assert clocks[route].source_en.startswith(
        "Administrative Measures for Reporting National Cybersecurity Incidents (2025), time limits for reporting: "
    )
    assert f"{minutes // 60} h at the latest" in clocks[route].source_en


def test_an_unknown_kind_of_operator_shows_all_three_with_their_conditions() -> None:
    clocks = by_id(incident(site(None), LARGE).clocks)
    assert {"R1", "R3", "R5"} <= set(clocks)
    assert clocks["R1"].condition_zh == "若为关键信息基础设施运营者"
    assert clocks["R5"].condition_en == "if the unit is another network operator"


def test_while_the_grade_is_open_the_clock_runs_under_a_condition() -> None:
    clocks = by_id(incident(site("cii")).clocks)
    assert clocks["R1"].due == FOUND + timedelta(hours=1)
    assert clocks["R1"].condition_zh == "若研判为较大及以上"
    assert "R2" not in clocks


def test_a_general_grade_set_by_hand_ends_the_duty_to_report() -> None:
    of = site("cii")
    settled = with_override(incident(of), "cac-2025", "general", "现场核实无影响", "analyst", T0, of)
    assert not {"R1", "R9", "R10"} & set(by_id(settled.clocks))


def test_onward_reports_of_authorities_start_when_the_first_report_is_made() -> None:
    of = site("cii")
    one = incident(of, MAJOR)
    assert by_id(one.clocks)["R2"].due is None
    told = with_done(one, "cac-2025.R1", "analyst", FOUND + timedelta(minutes=20), of)
    clocks = by_id(told.clocks)
    assert clocks["R1"].done == FOUND + timedelta(minutes=20)
    assert clocks["R2"].due == FOUND + timedelta(minutes=50)
    assert told.version == one.version + 1


def test_a_report_that_was_made_stays_made_when_the_grade_changes() -> None:
    of = site("cii")
    told = with_done(incident(of, LARGE), "cac-2025.R1", "analyst", FOUND, of)
    worse = with_impact(told, MAJOR, "analyst", FOUND, of)
    assert by_id(worse.clocks)["R1"].done == FOUND


def test_the_summary_is_due_thirty_days_after_handling_ended() -> None:
    of = site("other")
    one = incident(of, LARGE)
    assert by_id(one.clocks)["R10"].due is None
    end = T0 + timedelta(days=2)
    closed = one.changed(actor="analyst", change="closed", time=end, status="closed")
    assert by_id(deadlines(closed, of))["R10"].due == end + timedelta(days=30)
    graded = grade_incident(closed, of)
    noted = graded.changed(actor="analyst", change="note", time=end + timedelta(days=5))
    assert by_id(deadlines(noted, of))["R10"].due == end + timedelta(days=30)


@pytest.mark.parametrize(
    ("crime", "shown", "condition"), [(True, True, ""), (False, False, ""), (None, True, "若涉嫌犯罪")]
)
def test_suspected_crime_is_reported_promptly_without_a_number(crime: bool | None, shown: bool, condition: str) -> None:
    clocks = by_id(incident(site("other"), Impact(suspected_crime=crime)).clocks)
    assert ("R7" in clocks) is shown
    if shown:
        assert clocks["R7"].due is None
        assert clocks["R7"].condition_zh == condition


def test_state_secrets_close_every_ordinary_channel() -> None:
    clocks = incident(site("cii"), Impact(state_secret=True, direct_loss_yuan=1e8)).clocks
    assert [c.id for c in clocks] == ["cac-2025.SECRET"]


def test_the_power_sector_also_tells_its_dispatch_and_regulator() -> None:
    clocks = by_id(incident(site("cii", "power"), LARGE).clocks)
    assert clocks["R8-power-dispatch"].due is None
    assert clocks["R8-power-nea"].mark == "M"


def test_leaked_personal_information_is_notified() -> None:
    assert "PIPL57" in by_id(incident(site("other"), Impact(personal_records=5)).clocks)
    assert "PIPL57" not in by_id(incident(site("other"), Impact(personal_records=0)).clocks)


def test_remaining_time_is_negative_when_overdue_and_none_when_done() -> None:
    clock = by_id(incident(site("cii"), LARGE).clocks)["R1"]
    assert remaining(clock, FOUND + timedelta(minutes=90)) == timedelta(minutes=-30)
    assert remaining(clock.model_copy(update={"done": FOUND}), FOUND) is None


def test_an_unknown_clock_is_refused_by_name() -> None:
    of = site("cii")
    with pytest.raises(KeyError, match=r"R1"):
        with_done(incident(of), "cac-2025.R99", "analyst", T0, of)


def test_clocks_come_in_the_order_of_their_deadlines() -> None:
    due = [clock.due for clock in incident(site(None, "power"), LARGE).clocks]
    numbered = [d for d in due if d is not None]
    assert due[: len(numbered)] == sorted(numbered)
