"""The captures of our own tell stories; the rules must find what is told, and nothing in an ordinary morning."""

from __future__ import annotations

import tomllib
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
import yaml

from correlate.assets import observe
from correlate.detect import Detector
from correlate.group import group_alerts
from correlate.rules import load_rules
from event.site import Site
from event.table import concat
from sensor.reader import open_input

ROOT = Path(__file__).resolve().parents[2]
STORIES: dict[str, tuple[str, tuple[str, ...]]] = {
    "modbus/pump-station": (
        "10.20.1.66",
        (
            "network/arp/arp_address_sweep",
            "network/flow/flow_port_scan",
            "ics/modbus/modbus_function_scan",
            "ics/modbus/modbus_illegal_function_burst",
            "ics/modbus/modbus_identification",
            "ics/modbus/modbus_address_scan",
            "ics/modbus/modbus_probe_then_write",
            "ics/modbus/modbus_write_sweep",
            "ics/modbus/modbus_toggling",
            "ics/modbus/modbus_broadcast_write",
            "ics/modbus/modbus_clear_counters",
            "ics/modbus/modbus_force_listen_only",
            "ics/modbus/modbus_restart_communications",
            "ics/modbus/modbus_silenced_device",
            "ot/ot_second_master",
            "ot/ot_scan_then_control",
        ),
    ),
    "modbus/visibility-loss": (
        "",
        (
            "ics/modbus/modbus_gateway_visibility_loss",
            "network/arp/arp_spoofing",
            "network/flow/flow_ot_visibility_loss",
        ),
    ),
    "iec104/substation": (
        "10.20.2.77",
        (
            "network/flow/flow_port_scan",
            "ics/iec104/iec104_interrogation_sweep",
            "ics/iec104/iec104_unknown_burst",
            "ics/iec104/iec104_negative_burst",
            "ics/iec104/iec104_command_sweep",
            "ics/iec104/iec104_command_burst",
            "ics/iec104/iec104_industroyer_pattern",
            "ics/iec104/iec104_broadcast_control",
            "ics/iec104/iec104_clock_two_masters",
            "ics/iec104/iec104_parameter_change",
            "ics/iec104/iec104_file_transfer",
            "ics/iec104/iec104_reset_process",
            "ics/iec104/iec104_stopdt",
            "ot/ot_second_master",
            "ot/ot_scan_then_control",
        ),
    ),
    "s7comm/gas-valve-station": (
        "10.20.3.88",
        (
            "network/flow/flow_port_scan",
            "ics/s7comm/s7comm_tsap_sweep",
            "ics/s7comm/s7comm_szl_enumeration",
            "ics/s7comm/s7comm_block_list",
            "ics/s7comm/s7comm_program_upload",
            "ics/s7comm/s7comm_password_guessing",
            "ics/s7comm/s7comm_write_burst",
            "ics/s7comm/s7comm_program_download",
            "ics/s7comm/s7comm_clock_set",
            "ics/s7comm/s7comm_plc_stop",
            "ics/s7comm/s7comm_plc_start",
            "ics/s7comm/s7comm_upload_download_stop",
            "ics/s7comm/s7comm_stop_start",
            "ot/ot_second_master",
            "ot/ot_scan_then_control",
        ),
    ),
    "dnp3/gas-valve-dnp3": (
        "10.20.4.99",
        (
            "network/flow/flow_port_scan",
            "ics/dnp3/dnp3_function_scan",
            "ics/dnp3/dnp3_refusal_burst",
            "ics/dnp3/dnp3_silenced_then_operated",
            "ics/dnp3/dnp3_control_burst",
            "ics/dnp3/dnp3_direct_operate_no_ack",
            "ics/dnp3/dnp3_application_control",
            "ics/dnp3/dnp3_cold_restart",
            "ics/dnp3/dnp3_warm_restart",
            "ics/dnp3/dnp3_broadcast_control",
            "ot/ot_second_master",
            "ot/ot_scan_then_control",
        ),
    ),
    "mixed/it-ot-seam": (
        "10.30.1.50",
        (
            "network/flow/flow_port_scan",
            "network/flow/flow_remote_login_guessing",
            "network/flow/flow_cleartext_login",
            "ics/modbus/modbus_address_scan",
            "ics/modbus/modbus_write_sweep",
            "ot/ot_second_master",
            "ot/ot_login_guessing_then_control",
        ),
    ),
}
"""Capture to the intruder's address (empty: none is named) and the rules that must find something."""


def _alerts(name: str) -> tuple[pl.DataFrame, list[pl.DataFrame]]:
    tables = list(open_input(ROOT / "pcaps" / f"{name}.pcap").tables())
    detector = Detector(load_rules())
    parts = [detector.feed(table) for table in tables]
    return concat([part for part in (*parts, detector.finish()) if part.height]), tables


def _id_of(path: str) -> str:
    return str(yaml.safe_load((ROOT / "rules" / f"{path}.yml").read_text("utf-8"))["id"])


def _site(name: str) -> Site:
    path = ROOT / "pcaps" / f"{name}.site.toml"
    return Site.model_validate(tomllib.loads(path.read_text("utf-8"))) if path.exists() else Site()


@pytest.mark.parametrize("name", STORIES)
def test_story_is_found(name: str) -> None:
    intruder, expected = STORIES[name]
    alerts, tables = _alerts(name)
    found = set(alerts["rule.id"])
    assert [path for path in expected if _id_of(path) not in found] == []
    site = _site(name)
    incidents = group_alerts(alerts, site=site, assets=observe(tables, site=site), now=datetime(2026, 9, 2, tzinfo=UTC))
    assert incidents
    if intruder:
        assert intruder in {ip for incident in incidents for ip in incident.attackers}


def test_ordinary_morning_is_quiet() -> None:
    alerts, tables = _alerts("mixed/clean-plant")
    loud = alerts.filter(pl.col("rule.level") != "informational")
    assert loud["rule.name"].to_list() == []
    # Four operators at work are seen all the same.
    assert alerts["network.protocol"].n_unique() == 4
    site = Site()
    now = datetime(2026, 9, 2, tzinfo=UTC)
    assert group_alerts(alerts, site=site, assets=observe(tables, site=site), now=now) == []


def test_polling_before_the_intruder_is_quiet() -> None:
    alerts, _ = _alerts("modbus/pump-station")
    before = alerts.filter(pl.col("@timestamp") < datetime(2026, 9, 1, 2, 6, tzinfo=UTC))
    assert set(before["rule.level"]) == {"informational"}
