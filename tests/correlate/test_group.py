from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from correlate.group import group_alerts, incident_id, merge
from correlate.regimes import attack, grouping
from event.incident import Asset, Impact, Incident
from event.site import KnownAsset, Operator, Segment, Site
from event.table import conform

T0 = datetime(2026, 9, 1, 2, tzinfo=UTC)
NOW = T0 + timedelta(days=1)
SITE = Site(
    operator=Operator(kind="cii", sector="water", region_code="510700", mlps_level=3),
    segments=(Segment(name="控制网", cidrs=("10.0.1.0/24",)), Segment(name="监控网", cidrs=("10.0.0.0/24",))),
    assets=(KnownAsset(ip="10.0.1.20", name="1号泵PLC", role="plc", importance="critical"),),
)
SCHEMA = {
    "@timestamp": pl.Datetime("ns", "UTC"),
    "threat.technique.id": pl.List(pl.String),
    "alert.fields": pl.List(pl.String),
    "alert.source_ips": pl.List(pl.String),
    "alert.destination_ips": pl.List(pl.String),
    "source.port": pl.Int64,
    "destination.port": pl.Int64,
}
SCAN, WRITE, STOP = ("T0846",), ("T0855",), ("T0881",)
Row = dict[str, Any]


def alert(
    number: int,
    minute: float,
    source: str | None = "10.0.0.66",
    destination: str | None = "10.0.1.20",
    *,
    level: str = "high",
    rule: str = "write",
    techniques: Sequence[str] = WRITE,
    **more: Any,
) -> Row:
    return {
        "@timestamp": T0 + timedelta(minutes=minute),
        "event.id": f"alert-{number:05d}",
        "rule.id": rule,
        "rule.name": f"rule {rule}",
        "rule.level": level,
        "threat.technique.id": list(techniques),
        "source.ip": source,
        "destination.ip": destination,
        "network.protocol": "modbus",
        **{name.replace("__", "."): value for name, value in more.items()},
    }


def table(rows: Sequence[Row]) -> pl.DataFrame:
    names = dict.fromkeys(name for row in rows for name in row)
    frame = pl.DataFrame(
        [{name: row.get(name) for name in names} for row in rows],
        schema_overrides={name: dtype for name, dtype in SCHEMA.items() if name in names},
        infer_schema_length=None,
    )
    fixed = [pl.lit("jianmen.alert").alias("event.dataset"), pl.lit("alert").alias("event.kind")]
    return conform(frame.with_columns(fixed))


def group(rows: Sequence[Row], existing: Sequence[Incident] = (), **more: Any) -> list[Incident]:
    return group_alerts(table(rows), **{"site": SITE, "existing": existing, "now": NOW, **more})


def after(stored: Sequence[Incident], changed: Sequence[Incident]) -> list[Incident]:
    return list({one.id: one for one in (*stored, *changed)}.values())


# --- what becomes an incident ------------------------------------------------------------------------------------


def test_one_medium_alert_is_an_incident() -> None:
    (one,) = group([alert(1, 0, level="medium")])
    assert (one.level, one.alert_total, one.version, one.status) == ("medium", 1, 1, "new")
    assert one.id == incident_id("alert-00001", T0)
    assert one.id.startswith("INC-20260901-")


@pytest.mark.parametrize("count", [1, 2, 50])
def test_low_alerts_of_one_rule_are_no_incident(count: int) -> None:
    assert group([alert(i, i / 10, level="low") for i in range(count)]) == []


def test_low_alerts_of_several_rules_together_are_an_incident() -> None:
    rows = [alert(i, i, level="low", rule=rule, techniques=SCAN) for i, rule in enumerate(("a", "a", "b"))]
    assert group(rows[:2]) == []
    (one,) = group(rows)
    assert (one.level, one.alert_total) == ("low", 3)


def test_low_control_commands_alone_are_no_incident_however_many() -> None:
    rules = [("write", WRITE), ("set", ("T0836",)), ("control", ("T0831",))]
    rows = [alert(i, i / 10, level="low", rule=rule, techniques=t) for i, (rule, t) in enumerate(rules * 20)]
    assert group(rows) == []


def test_informational_alerts_never_make_an_incident_but_belong_to_one() -> None:
    rows = [alert(i, i, level="informational", rule=f"r{i}") for i in range(9)]
    assert group(rows) == []
    (one,) = group([*rows, alert(10, 9)])
    assert one.alert_total == 10


def test_no_alerts_no_incident() -> None:
    assert group_alerts(table([alert(1, 0)]).clear(), site=SITE, now=NOW) == []


# --- what belongs together ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("minutes", "incidents"), [(30, 1), (30.1, 2)])
def test_silence_longer_than_the_gap_parts_incidents(minutes: float, incidents: int) -> None:
    assert grouping().gap_minutes == 30
    assert len(group([alert(1, 0), alert(2, minutes)])) == incidents


def test_the_gap_can_be_set() -> None:
    assert len(group([alert(1, 0), alert(2, 20)], gap=timedelta(minutes=10))) == 2


def test_the_same_attacker_joins_targets_and_the_same_target_joins_attackers() -> None:
    site = Site()
    rows = [alert(1, 0, "1.1.1.1", "2.2.2.2"), alert(2, 1, "1.1.1.1", "3.3.3.3"), alert(3, 2, "4.4.4.4", "3.3.3.3")]
    (one,) = group(rows, site=site)
    assert set(one.attackers) == {"1.1.1.1", "4.4.4.4"}
    assert set(one.targets) == {"2.2.2.2", "3.3.3.3"}
    assert len(group([rows[0], alert(4, 1, "5.5.5.5", "6.6.6.6")], site=site)) == 2


def test_a_target_that_attacks_in_turn_stays_in_the_incident_with_both_sides() -> None:
    (one,) = group([alert(1, 0, "1.1.1.1", "2.2.2.2"), alert(2, 5, "2.2.2.2", "3.3.3.3")], site=Site())
    assert {a.ip: a.side for a in one.assets} == {"1.1.1.1": "attacker", "2.2.2.2": "both", "3.3.3.3": "target"}


def test_process_attacks_in_one_segment_belong_together_and_scans_do_not() -> None:
    first, second = ("10.0.9.1", "10.0.1.30"), ("10.0.9.2", "10.0.1.31")
    assert len(group([alert(1, 0, *first), alert(2, 1, *second)])) == 1
    assert len(group([alert(1, 0, *first, techniques=SCAN), alert(2, 1, *second, techniques=SCAN)])) == 2


def test_a_broadcast_address_is_no_asset_and_joins_nothing() -> None:
    rows = [alert(1, 0, "1.1.1.1", "255.255.255.255"), alert(2, 1, "2.2.2.2", "255.255.255.255")]
    incidents = group(rows, site=Site())
    assert sorted(one.attackers for one in incidents) == [("1.1.1.1",), ("2.2.2.2",)]
    assert all(one.targets == () for one in incidents)


def test_without_declared_segments_the_subnet_is_the_zone_and_low_alerts_do_not_join_by_it() -> None:
    first, second = ("10.9.9.1", "10.0.1.30"), ("10.9.8.2", "10.0.1.31")
    assert len(group([alert(1, 0, *first), alert(2, 1, *second)], site=Site())) == 1
    low = [alert(1, 0, *first), alert(2, 1, *second, level="low")]
    assert [one.alert_total for one in group(low, site=Site())] == [1]


# --- who attacks -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "row",
    [
        alert(1, 0, "10.0.1.20", "10.0.0.66", alert__fields=["modbus.exception_code=1"]),
        alert(1, 0, "10.0.1.20", "10.0.0.66", alert__fields=["iec104.negative=true"]),
        alert(1, 0, "10.0.1.20", "10.0.0.66", client__ip="10.0.0.66", server__ip="10.0.1.20"),
        alert(1, 0, "10.0.1.21", "10.0.0.66", source__port=502, destination__port=40000),
        alert(1, 0, None, None, alert__source_ips=["10.0.0.66"], alert__destination_ips=["10.0.1.20"]),
    ],
)
def test_the_attacker_is_who_asks_not_who_answers(row: Row) -> None:
    (one,) = group([row])
    assert one.attackers == ("10.0.0.66",)
    assert one.targets[0].startswith("10.0.1.")


def test_roles_seen_in_traffic_tell_an_answer() -> None:
    assets = {
        "10.0.1.33": Asset(ip="10.0.1.33", roles_seen=("modbus_server",)),
        "10.0.0.66": Asset(ip="10.0.0.66", roles_seen=("modbus_client",)),
    }
    (one,) = group([alert(1, 0, "10.0.1.33", "10.0.0.66")], assets=assets)
    assert one.attackers == ("10.0.0.66",)
    assert {a.ip: a.roles_seen for a in one.assets}["10.0.1.33"] == ("modbus_server",)


def test_a_correlation_over_both_directions_is_parted_by_roles() -> None:
    assets = {"10.0.1.33": Asset(ip="10.0.1.33", roles_seen=("modbus_server",))}
    ips = ["10.0.0.66", "10.0.1.33"]
    (one,) = group([alert(1, 0, None, None, alert__source_ips=ips, alert__destination_ips=ips)], assets=assets)
    assert (one.attackers, one.targets) == (("10.0.0.66",), ("10.0.1.33",))


def test_another_master_of_the_same_device_is_not_accused() -> None:
    rows = [
        alert(1, 0, "10.0.0.5", level="low"),
        alert(2, 1, None, rule="second", techniques=("T0848",), alert__source_ips=["10.0.0.5", "10.0.0.66"]),
        alert(3, 2, "10.0.0.66"),
    ]
    (one,) = group(rows)
    assert one.attackers == ("10.0.0.66",)
    assert one.targets == ("10.0.1.20",)
    assert {a.ip: a.side for a in one.assets}["10.0.0.5"] == "target"
    assert "来源未列为攻击者" in one.timeline[0].text_zh


def test_who_attacked_the_attacker_before_is_the_way_in() -> None:
    (one,) = group([alert(1, 0, "10.0.9.1", "10.0.0.66", level="low", techniques=("T0812",)), alert(2, 5)])
    assert set(one.attackers) == {"10.0.9.1", "10.0.0.66"}


def test_a_declared_master_is_no_attacker_while_nothing_grave_happens() -> None:
    site = Site(assets=(KnownAsset(ip="10.0.1.20", name="PLC", masters=("10.0.0.5",)),))
    low = {"level": "low", "techniques": SCAN}
    rows = [alert(1, 0, "10.0.0.5", rule="a", **low), alert(2, 1, "10.0.0.5", rule="a", **low)]
    (one,) = group([*rows, alert(3, 2, "10.0.0.7", rule="b", **low)], site=site)
    assert one.attackers == ("10.0.0.7",)


def test_arp_spoofing_accuses_no_address() -> None:
    (one,) = group([alert(1, 0, "10.0.1.11", "10.0.0.5", techniques=("T0830",), network__protocol="arp")])
    assert one.attackers == ()
    assert set(one.targets) == {"10.0.1.11", "10.0.0.5"}


def test_addresses_that_were_tried_and_never_answered_are_no_targets() -> None:
    assets = {"10.0.1.21": Asset(ip="10.0.1.21"), "10.0.0.66": Asset(ip="10.0.0.66")}
    sweep = [f"10.0.1.{i}" for i in range(20, 40)]
    row = alert(1, 0, destination=None, techniques=SCAN, alert__destination_ips=sweep)
    (one,) = group([row], assets=assets)
    assert one.targets == ("10.0.1.20", "10.0.1.21")


def test_loss_of_view_names_no_attacker() -> None:
    (one,) = group([alert(1, 0, "10.0.1.20", "10.0.0.5", techniques=["T0815"])])
    assert one.attackers == ()
    assert one.title_zh.startswith("监控网流量异常事件：涉及")


def test_an_incident_of_another_kind_is_named_by_what_was_done() -> None:
    rows = [
        alert(1, 0, level="medium", rule="scan", techniques=SCAN),
        alert(2, 1, rule="write", rule__name_zh="写多个寄存器"),
        alert(3, 2, rule="stop", techniques=STOP, rule__name_zh="停止服务"),
    ]
    (one,) = group(rows)
    assert one.categories[0].id == "network_attack.other"
    assert one.title_zh == "控制网写多个寄存器：10.0.0.66对10.0.1.20（1号泵PLC）（Modbus/TCP）"
    assert one.title_en == "rule write in 控制网: 10.0.0.66 against 10.0.1.20 (1号泵PLC) (Modbus/TCP)"
    (again,) = group(rows[::-1])
    assert (again.title_zh, again.title_en) == (one.title_zh, one.title_en)


def test_without_a_chinese_title_the_technique_names_the_behaviour() -> None:
    (one,) = group([alert(1, 0, level="medium", techniques=SCAN), alert(2, 1)])
    assert one.title_zh.startswith(f"控制网{attack().techniques['T0855'].zh}：")
    assert one.title_en.startswith("rule write in ")


def test_a_category_that_says_something_keeps_its_name() -> None:
    (one,) = group([alert(1, 0, level="medium", techniques=SCAN, rule__name_zh="某规则")])
    assert one.categories[0].id == "network_attack.scan"
    assert one.title_zh.startswith(f"控制网{one.categories[0].name_zh}：")


def test_a_hostile_rule_title_is_spelled_out_and_cut() -> None:
    hostile = "\u202eevil\x1b[31m\r\n\u2028<b>" + "长" * 5000
    (one,) = group([alert(1, 0, techniques=(), rule__name_zh=hostile, rule__name=hostile)])
    assert one.categories[0].id == "abnormal_behaviour.other"
    for text in (one.title_zh, one.title_en):
        assert text.isprintable()
        assert "\\u202eevil\\u001b[31m <b>长" in text
        assert "长…" in text
        assert len(text) < 200


# --- what an incident says ---------------------------------------------------------------------------------------


def story() -> list[Row]:
    rows = [
        alert(i, i / 60, destination=f"10.0.1.{20 + i}", level="low", rule="scan", techniques=SCAN) for i in range(9)
    ]
    rows += [alert(100 + i, 5 + i / 60) for i in range(12)]
    rows += [alert(200, 8, level="critical", rule="stop", techniques=STOP)]
    return rows


def test_an_incident_tells_the_whole_story() -> None:
    (one,) = group(story())
    assert one.level == "critical"
    assert one.alert_total == 22
    assert one.attackers == ("10.0.0.66",)
    assert one.targets[0] == "10.0.1.20"
    assert one.segments == ("控制网",)
    assert one.protocols == ("modbus",)
    assert one.techniques == ("T0846", "T0855", "T0881")
    assert one.tactics == ("discovery", "inhibit-response-function", "impair-process-control")
    assert one.categories[0].id in ("network_attack.other", "network_attack.denial_of_service")
    assert one.discovered == NOW
    assert one.grade_cac is None
    assert one.open_questions_zh
    assert one.clocks[0].id == "cac-2025.R1"
    top = one.assets[0]
    assert (top.ip, top.name, top.importance, top.risk) == ("10.0.1.20", "1号泵PLC", "critical", 100)


def test_the_timeline_is_condensed_and_says_what_is_inferred() -> None:
    (one,) = group(story())
    assert len(one.timeline) == 4
    scan, guess, write, stop = one.timeline
    assert "9条" in scan.text_zh and "等9个目标" in scan.text_zh
    assert guess.certainty == "inferred" and "推测" in guess.text_zh
    assert "12条" in write.text_zh
    assert "1号泵PLC" in stop.text_zh and "停止服务" in stop.text_zh
    assert [entry.phase for entry in (scan, write, stop)] == [
        "discovery",
        "impair-process-control",
        "inhibit-response-function",
    ]
    assert [e.time for e in one.timeline] == sorted(e.time for e in one.timeline)
    ids = {ref.id for ref in one.alerts}
    assert all(set(entry.evidence) <= ids for entry in one.timeline)


def test_hostile_text_passes_as_text() -> None:
    nasty = "<script>\u202e=cmd()\x1b[31m"
    (one,) = group([alert(1, 0, rule=nasty, host__name=nasty)])
    assert nasty in one.alerts[0].rule_name


def test_an_alert_without_addresses_is_kept_by_its_host() -> None:
    rows = [alert(i, i, None, None, host__name="gw1") for i in (1, 2)] + [alert(3, 1, None, None, host__name="gw2")]
    assert sorted(one.alert_total for one in group(rows)) == [1, 2]


def test_everything_about_an_incident_is_bounded() -> None:
    rows = [
        alert(i, i / 100, destination=f"10.{i % 7}.{i // 250}.{i % 250}", rule=f"r{i % 90}", techniques=SCAN)
        for i in range(3000)
    ]
    (one,) = group(rows, site=Site())
    caps = grouping().caps
    assert one.alert_total == 3000
    assert len(one.alerts) <= caps.alerts
    assert len(one.assets) <= caps.assets
    assert len(one.timeline) <= caps.timeline
    assert "未逐条列出" in one.timeline[-1].text_zh


# --- incidents that exist ----------------------------------------------------------------------------------------


def test_the_same_alerts_again_change_nothing() -> None:
    stored = group(story())
    assert group(story(), stored) == []
    assert group(story(), [Incident.model_validate_json(one.model_dump_json()) for one in stored]) == []


@pytest.mark.parametrize("many", [500, 5000])
def test_the_same_alerts_again_change_nothing_beyond_the_cap(many: int) -> None:
    rows = [alert(i, i / 200, destination=f"10.0.1.{i % 250}", rule=f"r{i % 7}") for i in range(many)]
    stored = group(rows)
    assert [one.alert_total for one in stored] == [many]
    assert group(rows, stored) == []
    (grown,) = group([*rows, alert(99_999, many / 200 + 1)], stored)
    assert (grown.version, grown.alert_total) == (2, many + 1)


def test_new_alerts_continue_an_open_incident() -> None:
    (one,) = group([alert(1, 0)])
    (two,) = group([alert(2, 10, rule="stop", techniques=STOP, level="critical")], [one])
    assert (two.id, two.version, two.alert_total, two.level) == (one.id, 2, 2, "critical")
    assert two.last_seen == T0 + timedelta(minutes=10)
    assert two.discovered == one.discovered
    assert "新增1条告警" in two.history[-1].change


def test_what_people_wrote_into_an_incident_stays() -> None:
    (one,) = group([alert(1, 0)])
    worked = one.changed(
        actor="analyst",
        change="impact",
        time=NOW,
        impact=Impact(business_loss="minor"),
        assignee="analyst",
        status="in_progress",
    )
    (two,) = group([alert(2, 10)], [worked])
    assert (two.impact, two.assignee, two.status, two.version) == (worked.impact, "analyst", "in_progress", 3)
    assert two.grade_gbt20986 == "general"


def test_a_closed_incident_is_not_reopened_but_named() -> None:
    (one,) = group([alert(1, 0)])
    closed = one.changed(actor="analyst", change="closed", time=NOW, status="closed")
    (new,) = group([alert(1, 0), alert(2, 10)], [closed])
    assert new.id != one.id
    assert new.alert_total == 1
    assert any(one.id in note.change for note in new.notes)
    assert group([alert(1, 0), alert(2, 10)], [closed, new]) == []


def test_an_alert_that_ties_two_incidents_merges_them() -> None:
    site = Site()
    first, second = group([alert(1, 0, "1.1.1.1", "2.2.2.2"), alert(2, 1, "3.3.3.3", "4.4.4.4")], site=site)
    older, younger = sorted((first, second), key=lambda one: one.first_seen)
    changed = {one.id: one for one in group([alert(3, 5, "1.1.1.1", "4.4.4.4")], [first, second], site=site)}
    assert changed[older.id].alert_total == 3
    assert changed[younger.id].status == "merged"
    assert changed[younger.id].merged_into == older.id


def test_people_may_merge_and_nothing_is_lost_or_grouped_again() -> None:
    site = Site()
    rows = [alert(1, 0, "1.1.1.1", "2.2.2.2"), alert(2, 1, "3.3.3.3", "4.4.4.4", rule="stop", techniques=STOP)]
    first, second = group(rows, site=site)
    second = second.changed(actor="a", change="i", time=NOW, impact=Impact(direct_loss_yuan=6e6))
    kept, gone = merge(first, second, actor="analyst", time=NOW, site=site)
    assert kept.alert_total == 2
    assert kept.grade_cac == "large"
    assert (gone.status, gone.merged_into) == ("merged", kept.id)
    assert group(rows, [kept, gone], site=site) == []
    with pytest.raises(ValueError, match="cannot merge"):
        merge(kept, gone, actor="analyst", time=NOW, site=site)


# --- order and batches do not matter -----------------------------------------------------------------------------

HOSTS = [f"10.0.{net}.{host}" for net in (0, 1, 2) for host in (20, 21)]
ALERTS = st.lists(
    st.tuples(
        st.integers(0, 180),
        st.sampled_from(HOSTS),
        st.sampled_from(HOSTS),
        st.sampled_from(["informational", "low", "medium", "high"]),
        st.sampled_from([("a", SCAN), ("b", WRITE), ("c", STOP), ("d", ("T0815",))]),
    ),
    min_size=1,
    max_size=25,
)


def rows_of(drawn: list[Any]) -> list[Row]:
    return [
        alert(i, minute, source, destination, level=level, rule=rule, techniques=techniques)
        for i, (minute, source, destination, level, (rule, techniques)) in enumerate(sorted(drawn, key=lambda d: d[0]))
    ]


def substance(incidents: Sequence[Incident], *also_left_out: str) -> list[dict[str, Any]]:
    left_out = {"version", "history", "discovered", "clocks", "notes", *also_left_out}
    whole = [one.model_dump(exclude=left_out) for one in incidents if one.status != "merged"]
    return sorted(whole, key=lambda one: str((one["first_seen"], one["targets"], one["attackers"])))


@given(ALERTS, st.randoms())
@settings(max_examples=60, deadline=None)
def test_the_order_of_alerts_does_not_matter(drawn: list[Any], chance: Any) -> None:
    rows = rows_of(drawn)
    shuffled = list(rows)
    chance.shuffle(shuffled)
    assert substance(group(rows)) == substance(group(shuffled))


@given(ALERTS, st.lists(st.integers(0, 25), max_size=4))
@settings(max_examples=80, deadline=None)
def test_growing_history_leads_to_the_same_incidents_as_all_at_once(drawn: list[Any], cuts: list[int]) -> None:
    rows = rows_of(drawn)
    stored: list[Incident] = []
    for cut in sorted({*(c for c in cuts if 0 < c < len(rows)), len(rows)}):
        stored = after(stored, group(rows[:cut], stored))
    # An id names what made the incident when it was made; a late alert may tie older low ones to it.
    assert substance(stored, "id") == substance(group(rows), "id")
    assert group(rows, stored) == []


@given(ALERTS, st.lists(st.integers(0, 25), max_size=4))
@settings(max_examples=80, deadline=None)
def test_batches_lead_to_the_same_incidents_as_all_at_once(drawn: list[Any], cuts: list[int]) -> None:
    rows = [{**row, "rule.level": "high"} for row in rows_of(drawn)]
    stored: list[Incident] = []
    begin = 0
    for cut in sorted({*(c for c in cuts if 0 < c < len(rows)), len(rows)}):
        stored = after(stored, group(rows[begin:cut], stored))
        begin = cut
    assert substance(stored) == substance(group(rows))


@given(ALERTS)
@settings(max_examples=60, deadline=None)
def test_every_alert_is_in_one_incident_at_most_and_totals_are_exact(drawn: list[Any]) -> None:
    incidents = group(rows_of(drawn))
    ids = [ref.id for one in incidents for ref in one.alerts]
    assert len(ids) == len(set(ids))
    for one in incidents:
        assert one.alert_total == sum(ref.count for ref in one.alerts)
        assert one.first_seen <= one.last_seen
        assert {a.ip for a in one.assets} >= {*one.attackers, *one.targets}
