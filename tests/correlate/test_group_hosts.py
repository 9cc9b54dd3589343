"""Incidents of hosts' logs: by the host's name, its address and the accounts that go from host to host."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from correlate.assets import observe
from correlate.group import group_alerts
from correlate.hosts import HostNames, account, held, host_name, sought
from event.incident import Asset, Incident
from event.site import KnownAsset, Segment, Site
from event.table import conform

T0 = datetime(2026, 9, 1, 2, tzinfo=UTC)
EWS = KnownAsset(
    ip="10.20.0.5", name="1号工程师站", hosts=("EWS01",), role="engineering_station", importance="important"
)
SITE = Site(
    segments=(Segment(name="监控网", cidrs=("10.20.0.0/24",)), Segment(name="控制网", cidrs=("10.20.1.0/24",))),
    assets=(EWS,),
)


def alert(number: int, minute: float, host: str | None = None, **more: Any) -> dict[str, Any]:
    base = {
        "@timestamp": T0 + timedelta(minutes=minute),
        "event.id": f"alert-{number:05d}",
        "rule.id": "r",
        "rule.name": "Rule",
        "rule.level": "high",
        "host.name": host,
    }
    return base | {name.replace("__", "."): value for name, value in more.items()}


def group(
    rows: Sequence[dict[str, Any]], site: Site | None = None, stored: Sequence[Incident] = (), **more: Any
) -> list[Incident]:
    names = dict.fromkeys(name for row in rows for name in row)
    frame = pl.DataFrame([{name: row.get(name) for name in names} for row in rows], infer_schema_length=None)
    kind = [pl.lit("jianmen.alert").alias("event.dataset"), pl.lit("alert").alias("event.kind")]
    table = conform(frame.with_columns(pl.col("@timestamp").cast(pl.Datetime("ns", "UTC")), *kind))
    now = T0 + timedelta(days=1)
    return group_alerts(table, site=site or Site(), existing=stored, now=now, **more)


def ics(number: int, minute: float, source: str = "10.20.0.5", **more: Any) -> dict[str, Any]:
    return alert(
        number,
        minute,
        rule__id="stop",
        source__ip=source,
        destination__ip="10.20.1.20",
        network__protocol="s7comm",
        threat__technique__id=["T0858"],
        **more,
    )


def test_alerts_of_one_host_are_one_incident_whatever_the_rules_and_the_case():
    (one,) = group([alert(1, 0, "WS5", rule__id="a"), alert(2, 9, "ws5", rule__id="b"), alert(3, 20, "ws5.")])
    assert one.targets == ("ws5",)
    assert [(a.ip, a.host, a.side, a.alert_count) for a in one.assets] == [(None, "ws5", "target", 3)]
    assert one.title_en.endswith(": host ws5")
    assert one.title_zh.endswith("：涉及主机ws5")


def test_a_hostile_host_name_is_spelled_out_in_titles():
    (one,) = group([alert(1, 0, "ws5\u202e\x1b[31m\n<b>")])
    assert one.title_zh.isprintable()
    assert one.title_en.isprintable()


def test_the_same_rule_on_two_hosts_is_two_incidents():
    found = group([alert(1, 0, "ws5"), alert(2, 1, "ws6")])
    assert sorted(one.targets for one in found) == [("ws5",), ("ws6",)]


@pytest.mark.parametrize(
    ("first", "second", "incidents"),
    [
        ("hmi1.a.local", "hmi1", 1),
        ("hmi1", "hmi1.a.local", 1),
        ("hmi1.a.local", "hmi1.b.local", 2),
        ("hmi1", "hmi2", 2),
        ("localhost", "localhost", 1),  # by the rule, which is all there is
    ],
)
def test_a_whole_name_and_its_first_label_are_one_host(first: str, second: str, incidents: int):
    assert len(group([alert(1, 0, first), alert(2, 1, second)])) == incidents


def test_nobodys_names_join_nothing():
    assert len(group([alert(1, 0, "localhost", rule__id="a"), alert(2, 1, "localhost", rule__id="b")])) == 2


def test_loopback_is_no_endpoint_and_joins_nothing():
    rows = [alert(1, 0, "ws5", source__ip="127.0.0.1"), alert(2, 1, "ws6", source__ip="127.0.0.1")]
    assert sorted((one.attackers, one.targets) for one in group(rows)) == [((), ("ws5",)), ((), ("ws6",))]


def test_who_logs_in_is_the_attacker_and_the_host_the_target():
    (one,) = group([alert(1, 0, "srv1", source__ip="10.9.9.9"), alert(2, 3, "srv1")])
    assert (one.attackers, one.targets) == (("10.9.9.9",), ("srv1",))
    assert [(a.key, a.side) for a in one.assets] == [("srv1", "target"), ("10.9.9.9", "attacker")]


def test_a_host_that_names_itself_does_not_attack_itself():
    (one,) = group([alert(1, 0, "EWS01", source__ip="10.20.0.5")], SITE)
    assert (one.attackers, one.targets) == ((), ("10.20.0.5",))


@pytest.mark.parametrize("name", ["EWS01", "ews01", "ews01.plant.local"])
def test_an_engineering_station_by_name_and_by_address_is_one_incident(name: str):
    (one,) = group([alert(1, 0, name), ics(2, 10)], SITE)
    assert one.attackers == ("10.20.0.5",)
    assert set(one.targets) == {"10.20.0.5", "10.20.1.20"}
    station = next(a for a in one.assets if a.ip == "10.20.0.5")
    assert (station.name, station.importance, station.side) == ("1号工程师站", "important", "both")
    assert station.host == host_name(name)
    assert set(one.segments) == {"监控网", "控制网"}


def test_without_anything_that_tells_the_address_host_and_control_stay_apart():
    assert len(group([alert(1, 0, "ews01"), ics(2, 10)])) == 2


def test_the_hosts_own_log_tells_its_address():
    rows = [
        {"source.ip": "10.20.0.5", "destination.ip": "10.20.1.20", "network.initiated": "true"},
        {"source.ip": "10.9.9.9", "destination.ip": "10.20.0.5", "network.initiated": "false"},
        {"source.ip": "127.0.0.1", "destination.ip": "127.0.0.1", "network.initiated": "true"},
    ]
    fixed = {"@timestamp": T0, "event.dataset": "windows.sysmon", "event.kind": "event", "host.name": "EWS01.plant"}
    rows = [{**fixed, "event.id": str(n), **row} for n, row in enumerate(rows)]
    frame = pl.DataFrame(rows).with_columns(pl.col("@timestamp").cast(pl.Datetime("ns", "UTC")))
    assets = observe([conform(frame)], Site())
    assert {a.ip: a.host for a in assets.values()} == {"10.20.0.5": "ews01.plant", "10.9.9.9": None}
    (one,) = group([alert(1, 0, "ews01.plant"), ics(2, 10)], assets=assets)
    assert set(one.targets) == {"10.20.0.5", "10.20.1.20"}
    assert next(a for a in one.assets if a.ip == "10.20.0.5").host == "ews01.plant"


def test_an_address_with_two_names_tells_none():
    fixed = {"@timestamp": T0, "event.dataset": "windows.sysmon", "event.kind": "event"}
    rows = [
        {**fixed, "event.id": name, "host.name": name, "source.ip": "10.0.0.1", "network.initiated": "true"}
        for name in ("a", "b")
    ]
    frame = pl.DataFrame(rows).with_columns(pl.col("@timestamp").cast(pl.Datetime("ns", "UTC")))
    assert observe([conform(frame)], Site())["10.0.0.1"].host is None


def test_a_domain_account_goes_from_host_to_host():
    who = {"user__name": "li.wei", "user__domain": "PLANT"}
    rows = [alert(1, 0, "ws5", **who), alert(2, 9, "ws6", **who), alert(3, 10, "ws7", user__name="li.wei")]
    found = sorted(group(rows), key=lambda one: one.first_seen)
    assert [set(one.targets) for one in found] == [{"ws5", "ws6"}, {"ws7"}]
    assert [one.users for one in found] == [("plant\\li.wei",), ("li.wei",)]


@pytest.mark.parametrize(
    ("user", "domain", "level"),
    [
        ("SYSTEM", "NT AUTHORITY", "high"),
        ("DWM-1", "Window Manager", "high"),
        ("WS5$", "PLANT", "high"),
        ("Administrator", "ws5", "high"),  # the domain is one of the hosts: a local account there
        ("li.wei", "PLANT", "low"),
    ],
)
def test_services_machines_local_accounts_and_low_alerts_join_no_hosts(user: str, domain: str, level: str):
    more = {"user__name": user, "user__domain": domain}
    rows = [alert(1, 0, "ws5", **more), alert(2, 1, "ws6", rule__level=level, **more | {"user__domain": domain})]
    assert {one.targets for one in group(rows)} <= {("ws5",), ("ws6",)}


def test_account_parts_persons_from_services():
    assert account("Li.Wei", "PLANT", "ws5") == "plant\\li.wei"
    assert account("Administrator", "WS5", "ws5.plant.local") == "administrator"
    assert account("SYSTEM", "NT AUTHORITY", "ws5") is None
    assert account("WS5$", "PLANT", "ws5") is None
    assert account(None, "PLANT", "ws5") is None


def test_a_correlation_grouped_by_host_is_about_that_host():
    row = alert(1, 0, alert__group=["host.name=srv1", "user.name=li.wei"])
    (one,) = group([row, alert(2, 1, "srv1", rule__id="b")])
    assert (one.targets, one.users, one.alert_total) == (("srv1",), ("li.wei",), 2)


def test_more_alerts_of_the_host_join_the_stored_incident():
    first, second = alert(1, 0, "EWS01"), alert(2, 15, "ews01.plant.local", rule__id="b")
    (stored,) = group([first])
    (again,) = group([first, second], stored=[stored])
    assert (again.id, again.version, again.alert_total) == (stored.id, 2, 2)
    assert group([first, second], stored=[again]) == []
    assert Incident.model_validate_json(again.model_dump_json()) == again


def test_an_alert_on_another_host_says_so_in_assets():
    row = alert(1, 0, "dc1", source__ip="10.9.9.9", destination__ip="10.9.9.10")
    (one,) = group([row, alert(2, 5, "dc1", rule__id="b")])
    assert {a.key for a in one.assets} == {"10.9.9.9", "10.9.9.10", "dc1"}


def test_names_resolve_only_where_they_say_one_machine():
    shared = {f"10.0.0.{n}": Asset(ip=f"10.0.0.{n}", host="pool") for n in range(9)}
    both = {
        "10.1.0.1": Asset(ip="10.1.0.1", host="hmi1.a.local"),
        "10.2.0.1": Asset(ip="10.2.0.1", host="hmi1.b.local"),
    }
    names = HostNames(SITE, shared | both)
    assert names.addresses("pool") == ()
    assert names.addresses("hmi1") == ()
    assert names.endpoint("hmi1.a.local") == "10.1.0.1"
    assert names.endpoint("ews01.other.local") == "10.20.0.5"


@pytest.mark.parametrize("text", [None, "", "-", "LOCALHOST", " . ", "10.1.1.1", "::1"])
def test_what_is_no_host_name(text: str | None):
    assert host_name(text) is None


@given(
    st.lists(st.sampled_from(["a", "a.x", "a.y", "b"]), min_size=1, max_size=6), st.integers(min_value=0, max_value=6)
)
def test_cutting_the_alerts_of_hosts_into_batches_changes_nothing(hosts: list[str], cut: int):
    rows = [alert(n, n, host, rule__id=f"r{n}") for n, host in enumerate(hosts)]
    whole = group(rows)
    stored = group(rows[:cut]) if rows[:cut] else []
    latest = {one.id: one for one in (*stored, *group(rows, stored=stored))}
    kept = sorted((o for o in latest.values() if o.status != "merged"), key=lambda o: o.id)
    assert [(o.id, o.targets, o.alert_total) for o in kept] == [(o.id, o.targets, o.alert_total) for o in whole]


@given(st.sampled_from(["a", "a.x", "a.y", "b", "b.x"]), st.sampled_from(["a", "a.x", "a.y", "b", "b.x"]))
def test_seeking_and_holding_agree_both_ways(one: str, other: str):
    same = one == other or (one.split(".", 1)[0] == other.split(".", 1)[0] and ("." not in one or "." not in other))
    assert bool(sought(one) & held(other)) == bool(sought(other) & held(one)) == same
