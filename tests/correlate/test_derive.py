"""Facts that rules see and no message holds: limits, masters, conduits, power zones, clocks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from correlate.coarse import coarse
from correlate.derive import Derivation
from correlate.detect import Detector
from correlate.rules import load_rules
from correlate.samples import BEGIN, tables_of
from event.coarse import EVERYTHING, Exists, OneOf, Some, any_of, fields_of
from event.fields.derived import NAMES
from event.site import Conduit, KnownAsset, Limit, Segment, Site
from store.coarse import to_polars
from store.narrowing import filled

PLC, HMI, PC = "10.20.1.10", "10.20.0.5", "10.30.0.9"
SITE = Site(
    segments=(
        Segment(name="控制网", cidrs=("10.20.1.0/24",), power_zone="I"),
        Segment(name="监控网", cidrs=("10.20.0.0/24",), power_zone="II"),
        Segment(name="办公网", cidrs=("10.30.0.0/16",), power_zone="III"),
    ),
    assets=(KnownAsset(ip=PLC, name="PLC", masters=(HMI,)),),
    conduits=(
        Conduit(client="监控网", server="控制网", protocols=("modbus",), control=True),
        Conduit(client="监控网", server="控制网", protocols=("iec104",)),
    ),
    limits=(
        Limit(ip=PLC, protocol="modbus", point=100, unit=1, low=10, high=4000),
        Limit(ip=PLC, protocol="modbus", point=102, high=50),
        Limit(ip=PLC, protocol="iec104", point=7, low=-5, high=5),
        Limit(ip=PLC, protocol="dnp3", point=3, unit=4, high=100),
        Limit(ip=PLC, protocol="s7comm", point="DB2.DBD4", low=0, high=1.5, real=True),
    ),
)


def event(dataset: str, client: str = HMI, server: str = PLC, **fields: Any) -> dict[str, Any]:
    sides = {"source.ip": client, "destination.ip": server}
    if dataset != "flow":
        sides |= {"client.ip": client, "server.ip": server}
    return {"event.dataset": dataset, **sides, **{k.replace("__", "."): v for k, v in fields.items()}}


def derived(*events: dict[str, Any], site: Site = SITE) -> pl.DataFrame:
    (table,) = tables_of(events, None)
    return Derivation(site).of(table)


def column(table: pl.DataFrame, name: str) -> list[Any]:
    return table[name].to_list() if name in table.columns else [None] * table.height


def modbus(code: int, **fields: Any) -> dict[str, Any]:
    base: dict[str, Any] = {"modbus__message_type": "request", "modbus__function_code": code, "modbus__unit_id": 1}
    return event("modbus", **base | fields)


@pytest.mark.parametrize(
    ("row", "verdict"),
    [
        (modbus(6, modbus__address=100, modbus__value=4000), None),
        (modbus(6, modbus__address=100, modbus__value=4001), ("above", 4000.0, 4001.0)),
        (modbus(6, modbus__address=100, modbus__value=9), ("below", 10.0, 9.0)),
        (modbus(6, modbus__address=100, modbus__value=9, modbus__unit_id=2), None),
        (modbus(6, modbus__address=101, modbus__value=9), None),
        (modbus(16, modbus__address=99, modbus__values=[0, 20, 0, 51]), ("above", 50.0, 51.0)),
        (modbus(16, modbus__address=99, modbus__values=[0, 20, 9999]), None),
        (modbus(23, modbus__address=0, modbus__write_address=100, modbus__values=[9]), ("below", 10.0, 9.0)),
        (modbus(3, modbus__address=100, modbus__value=9), None),
        (modbus(6, modbus__message_type="response", modbus__address=100, modbus__value=9), None),
        (event("iec104", iec104__type_id=50, iec104__cause=6, iec104__ioa=[7], iec104__value=[5.5]),
         ("above", 5.0, 5.5)),
        (event("iec104", iec104__type_id=50, iec104__cause=7, iec104__ioa=[7], iec104__value=[5.5]), None),
        (event("iec104", iec104__type_id=13, iec104__cause=3, iec104__ioa=[7], iec104__value=[5.5]), None),
        (event("dnp3", dnp3__message_type="request", dnp3__function_code=5, dnp3__objects=["41.1"], dnp3__index=[2, 3],
               dnp3__value=[999.0, 101.0], dnp3__outstation=4), ("above", 100.0, 101.0)),
        (event("dnp3", dnp3__message_type="request", dnp3__function_code=5, dnp3__objects=["12.1"], dnp3__index=[3],
               dnp3__value=[101.0], dnp3__outstation=4), None),
        (event("s7comm", s7comm__message_type="request", s7comm__function_code=5, s7comm__items=["DB2.DBD4 DWORD 1"],
               s7comm__value=0x40000000), ("above", 1.5, 2.0)),
        (event("s7comm", s7comm__message_type="request", s7comm__function_code=5, s7comm__items=["DB2.DBD4 DWORD 1"],
               s7comm__value=0x3F800000), None),
    ],
)  # fmt: skip
def test_values_beyond_the_limits_of_their_point(row: dict[str, Any], verdict: tuple[str, float, float] | None) -> None:
    table = derived(row)
    found = tuple(column(table, name)[0] for name in ("policy.setpoint", "policy.limit", "policy.value"))
    assert found == (verdict or (None, None, None))


@given(st.lists(st.tuples(st.integers(95, 105), st.lists(st.integers(0, 5000), max_size=6)), min_size=1, max_size=8))
def test_limits_against_a_reading_value_by_value(writes: list[tuple[int, list[int]]]) -> None:
    table = derived(*(modbus(16, modbus__address=first, modbus__values=values) for first, values in writes))
    expected = []
    for first, values in writes:
        points = {first + n: value for n, value in enumerate(values)}
        wrong = (100 in points and not 10 <= points[100] <= 4000) or (102 in points and points[102] > 50)
        expected.append(wrong)
    assert [one is not None for one in column(table, "policy.setpoint")] == expected


def test_rows_keep_their_order_and_their_other_columns() -> None:
    rows = [modbus(6, modbus__address=100, modbus__value=n) for n in (1, 20, 5000, 20)]
    table = derived(*rows)
    assert column(table, "policy.setpoint") == ["below", None, "above", None]
    assert table.drop(*NAMES.intersection(table.columns)).equals(tables_of(rows, None)[0])


def test_masters_that_the_site_does_not_name() -> None:
    rows = [event("modbus", HMI), event("modbus", PC), event("modbus", PC, "10.20.1.99")]
    assert column(derived(*rows), "policy.master") == [None, "undeclared", None]


def test_conduits_by_direction_protocol_and_control() -> None:
    rows = [
        event("flow", HMI, PLC, network__protocol="modbus"),
        event("flow", HMI, PLC, network__protocol="iec104"),
        event("flow", HMI, PLC, network__protocol="ssh"),
        event("flow", PLC, HMI, network__protocol="modbus"),
        event("flow", PLC, "10.20.1.11", network__protocol="ssh"),
        event("flow", "192.0.2.1", PLC, network__protocol="ssh"),
    ]
    expected = [None, "read_only", "undeclared", "undeclared", None, None]
    assert column(derived(*rows), "policy.conduit") == expected
    assert column(derived(*rows, site=SITE.model_copy(update={"conduits": ()})), "policy.conduit") == [None] * 6


def test_power_zones_that_only_isolation_devices_may_join() -> None:
    rows = [event("flow", HMI, PLC), event("flow", PC, PLC), event("flow", PLC, PC), event("flow", PC, "192.0.2.1")]
    assert column(derived(*rows), "policy.power_zone") == [None, "crossing", "crossing", None]


@pytest.mark.parametrize(
    ("ahead", "offset"),
    [(0, 0.0), (59, 59.0), (-59, -59.0), (8 * 3600 + 61, 61.0), (-3600 * 5 - 1800 - 2, -2.0), (86400, 86400.0),
     (-30 * 86400, -30 * 86400.0)],
)  # fmt: skip
def test_a_clock_is_held_against_the_capture_whatever_its_zone(ahead: int, offset: float) -> None:
    clock = BEGIN + timedelta(seconds=ahead)
    for row in (
        event("iec104", iec104__clock=clock),
        event("iec104", iec104__time=[clock, BEGIN]),
        event("dnp3", dnp3__time=clock),
        event("s7comm", s7comm__clock=clock),
    ):
        assert column(derived(row, site=Site()), "clock.offset") == [offset]


def test_what_a_table_has_already_stays_and_what_is_unknown_is_not_added() -> None:
    row = modbus(6, modbus__address=100, modbus__value=1, policy__setpoint="above")
    assert column(derived(row), "policy.setpoint") == ["above"]
    assert not NAMES.intersection(derived(event("dns", PC, PLC)).columns)
    assert not NAMES.intersection(derived(modbus(3), site=Site()).columns)
    assert not NAMES.intersection(derived(event("iec104", iec104__clock=None), site=Site()).columns)


def test_rules_see_them_and_a_store_is_not_asked_for_them() -> None:
    rules = load_rules()
    detector = Detector(rules, site=SITE)
    alerts = detector.feed(tables_of([modbus(6, modbus__address=100, modbus__value=5000)], None)[0])
    stems = {rule.id: Path(rule.meta.path).stem for rule in rules.all()}
    found = {stems[one["rule.id"]]: one["alert.fields"] for one in alerts.iter_rows(named=True)}
    assert "policy.value=5000.0" in found["ot_setpoint_limits"]
    own = {stems[r.id]: r for r in rules.rules}
    assert own["ot_setpoint_limits"].condition is not None
    assert coarse(own["ot_setpoint_limits"].condition) == EVERYTHING
    undeclared = own["ot_undeclared_master"].condition
    assert undeclared is not None
    assert coarse(undeclared) != EVERYTHING
    setpoint = own["ot_setpoint_limits"].condition
    assert coarse(setpoint, Derivation(Site()).needs()) == Exists("policy.setpoint")
    assert coarse(setpoint, Derivation(SITE).needs()) == Some((OneOf("server.ip", (PLC,)), Exists("policy.setpoint")))


@pytest.mark.parametrize("site", [SITE, Site(), Site(limits=SITE.limits), Site(assets=SITE.assets)])
def test_what_an_event_must_have_holds_of_every_event_that_gets_a_field(site: Site) -> None:
    clock = BEGIN + timedelta(seconds=9)
    rows = [
        modbus(6, modbus__address=100, modbus__value=5000),
        modbus(6, modbus__address=100, modbus__value=5000, policy__setpoint="above"),
        modbus(3),
        event("iec104", iec104__time=[clock]),
        event("dnp3", dnp3__time=clock),
        event("s7comm", s7comm__clock=clock),
        event("modbus", PC, PLC),
        event("flow", PC, PLC, flow__state="closed"),
    ]
    needs = Derivation(site).needs()
    met = set()
    for row in rows:
        table = tables_of([row], None)[0]
        for name in NAMES.intersection(derived(row, site=site).columns):
            condition = any_of([needs[name], Exists(name)])
            assert filled(table, fields_of(condition)).filter(to_polars(condition)).height == 1
            met.add(name)
    assert site is not SITE or met == NAMES
    assert set(needs) == NAMES


@pytest.mark.parametrize(
    "site",
    [
        {"limits": [{"ip": PLC, "protocol": "modbus", "point": 1}]},
        {"limits": [{"ip": PLC, "protocol": "modbus", "point": 1, "low": 2, "high": 1}]},
        {"limits": [{"ip": "plc", "protocol": "modbus", "point": 1, "low": 2}]},
        {"conduits": [{"client": "a", "server": "b"}]},
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(site: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Site.model_validate(site)


def test_the_time_of_capture_is_what_clocks_are_held_against() -> None:
    row = event("dnp3", dnp3__time=datetime(2026, 1, 1, 0, 1, 40, tzinfo=UTC), t=100)
    assert column(derived(row, site=Site()), "clock.offset") == [0.0]
