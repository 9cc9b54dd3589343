from __future__ import annotations

from datetime import UTC, datetime

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from correlate.assets import Observer, observe
from event.site import KnownAsset, Segment, Site

SITE = Site(
    segments=(Segment(name="plant", cidrs=("10.0.0.0/8",)), Segment(name="cell", cidrs=("10.0.1.0/24",))),
    assets=(KnownAsset(ip="10.0.1.20", name="pump PLC", role="plc", importance="critical"),),
)
T0 = datetime(2026, 9, 1, tzinfo=UTC)


def table(dataset: str, rows: list[dict[str, object]]) -> pl.DataFrame:
    base = {"@timestamp": T0, "event.dataset": dataset, "event.kind": "event"}
    return pl.DataFrame([{**base, "event.id": str(i), **row} for i, row in enumerate(rows)])


def modbus(client: str, server: str, *, answer: bool) -> dict[str, object]:
    source, destination = (server, client) if answer else (client, server)
    return {"source.ip": source, "destination.ip": destination, "client.ip": client, "server.ip": server}


def test_roles_come_from_the_side_that_each_host_has_in_a_protocol() -> None:
    seen = observe(
        [
            table("modbus", [modbus("10.0.0.5", "10.0.1.20", answer=a) for a in (False, True)]),
            table("iec104", [modbus("10.0.0.5", "10.0.1.30", answer=a) for a in (False, True)]),
            table("dnp3", [modbus("10.0.0.6", "10.0.1.31", answer=a) for a in (False, True)]),
        ],
        SITE,
    )
    assert seen["10.0.0.5"].roles_seen == ("iec104_controlling_station", "modbus_client")
    assert seen["10.0.1.20"].roles_seen == ("modbus_server",)
    assert seen["10.0.1.30"].roles_seen == ("iec104_controlled_station",)
    assert seen["10.0.0.6"].roles_seen == ("dnp3_master",)
    assert seen["10.0.1.31"].roles_seen == ("dnp3_outstation",)


def test_an_address_that_never_answered_is_not_an_asset() -> None:
    rows = [
        {
            "source.ip": "10.0.0.66",
            "destination.ip": f"10.0.1.{i}",
            "source.packets": 1,
            "destination.packets": 1 if i == 20 else 0,
            "network.protocol": "modbus" if i == 20 else "unknown",
        }
        for i in range(1, 50)
    ]
    seen = observe([table("flow", rows), table("modbus", [modbus("10.0.0.66", "10.0.1.9", answer=False)])], SITE)
    assert set(seen) == {"10.0.0.66", "10.0.1.20"}
    assert seen["10.0.1.20"].roles_seen == ("modbus_server",)


def test_the_site_gives_name_role_importance_and_the_most_specific_segment() -> None:
    seen = observe([table("modbus", [modbus("10.0.0.5", "10.0.1.20", answer=a) for a in (False, True)])], SITE)
    plc = seen["10.0.1.20"]
    assert (plc.name, plc.role, plc.importance, plc.segment) == ("pump PLC", "plc", "critical", "cell")
    assert (seen["10.0.0.5"].name, seen["10.0.0.5"].importance, seen["10.0.0.5"].segment) == (None, None, "plant")


def test_the_mac_is_the_one_seen_most() -> None:
    rows = [{"arp.sender_ip": "10.0.1.20", "arp.sender_mac": m} for m in ["02:00:00:00:00:01"] * 3]
    rows += [{"arp.sender_ip": "10.0.1.20", "arp.sender_mac": m} for m in ["02:00:00:00:00:99"] * 2]
    rows += [{"arp.sender_ip": "10.0.1.20", "arp.sender_mac": "00:00:00:00:00:00"}] * 9
    assert observe([table("arp", rows)], SITE)["10.0.1.20"].mac == "02:00:00:00:00:01"


@pytest.mark.parametrize("ip", ["0.0.0.0", "255.255.255.255", "224.0.0.1", "ff02::1", "not an address"])
def test_what_is_not_one_host_is_no_asset(ip: str) -> None:
    assert observe([table("modbus", [{"source.ip": ip, "destination.ip": "10.0.1.20"}])], SITE) == {}


def test_the_limit_keeps_the_hosts_seen_most_and_counts_the_rest() -> None:
    observer = Observer(SITE, limit=3)
    observer.feed(table("modbus", [{"source.ip": f"10.0.2.{i}"} for i in range(1, 11) for _ in range(i)]))
    assert set(observer.assets()) == {"10.0.2.8", "10.0.2.9", "10.0.2.10"}
    assert observer.dropped == 7


def test_a_resumed_observer_keeps_what_an_earlier_run_saw() -> None:
    first = observe([table("modbus", [modbus("10.0.0.5", "10.0.1.20", answer=True)])], SITE)
    again = Observer(SITE)
    again.resume(first)
    again.feed(table("modbus", [modbus("10.0.0.5", "10.0.1.20", answer=False)]))
    assert again.assets()["10.0.1.20"].roles_seen == ("modbus_server",)
    assert again.assets()["10.0.0.5"].roles_seen == ("modbus_client",)


ROWS = st.lists(
    st.builds(
        modbus,
        st.sampled_from(["10.0.0.5", "10.0.0.6"]),
        st.sampled_from(["10.0.1.20", "10.0.1.21", "192.168.1.1"]),
        answer=st.booleans(),
    ),
    min_size=1,
    max_size=30,
)


@given(ROWS, st.integers(1, 29))
@settings(deadline=None)
def test_it_does_not_matter_how_events_are_cut_into_tables(rows: list[dict[str, object]], cut: int) -> None:
    parts = [part for part in (rows[:cut], rows[cut:]) if part]
    assert observe([table("modbus", part) for part in parts], SITE) == observe([table("modbus", rows)], SITE)
