"""Labels of rule x capture out of what other programs wrote about the captures; no rule and no event of ours is read.

``tshark`` has dissected the shared captures of the four industrial protocols into tables
(``expected/tshark/fields.tsv``: addresses, function codes, causes, errors). From these alone this module says for
each capture which of the rules below it deserves, by function numbers of the standards and by counts in windows.
``tests/rule_captures.py`` compares that with the alerts. What a table does not hold (sub-functions, values, select
bits) has no label here, unless it can have none: without a diagnostic function there is no restart by one. Connections
and what else other programs saw is in ``tests/independent_flows.py``.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from tests.independent_flows import independent_flows

PROTOCOLS = ("modbus", "dnp3", "iec104", "s7comm")

_DNP3_CONTROL = frozenset({4, 5, 6, 13, 14, 16, 17, 18})
_DNP3_USUAL = frozenset({0, 1, 2, 3, 4, 5, 6, 7, 20, 21, 23})
_MODBUS_WRITE = frozenset({5, 6, 15, 16, 21, 22, 23})
_MODBUS_USUAL = frozenset({1, 2, 3, 4, 5, 6, 15, 16, 22, 23})
_IEC_COMMANDS = frozenset({*range(45, 52), *range(58, 65)})


@dataclass(frozen=True, slots=True)
class Message:
    """One message as the dissector saw it; numbers that it lacks are -1."""

    time: float
    source: str
    target: str
    asks: bool
    code: int
    error: int = -1
    point: int = -1
    extra: int = -1
    group: int = -1
    objects: str = ""
    outer: int = -1  # DNP3: the link address that sends; IEC 104: the station


def _numbers(cell: str) -> list[int]:
    return [int(part, 0) for part in cell.split(",") if part]


def _at(values: list[int], place: int) -> int:
    return values[min(place, len(values) - 1)] if values else -1


def _modbus(row: dict[str, str]) -> Iterable[Message]:
    codes, units = _numbers(row["modbus.func_code"]), _numbers(row["mbtcp.unit_id"])
    errors, points = _numbers(row["modbus.exception_code"]), _numbers(row["modbus.reference_num"])
    for place, code in enumerate(codes):
        yield Message(
            float(row["frame.time_epoch"]),
            row["ip.src"],
            row["ip.dst"],
            row["tcp.dstport"] == "502",
            code & 127,
            _at(errors, place),
            _at(points, place),
            _at(units, place),
        )


def _dnp3(row: dict[str, str]) -> Iterable[Message]:
    codes, ways = _numbers(row["dnp3.al.func"]), _numbers(row["dnp3.ctl.dir"])
    iins, links, senders = _numbers(row["dnp3.al.iin"]), _numbers(row["dnp3.dst"]), _numbers(row["dnp3.src"])
    if not codes:  # a link frame alone
        link = _at(links, 0) if 1 in ways else -1
        yield Message(float(row["frame.time_epoch"]), row["ip.src"], row["ip.dst"], asks=False, code=-1, extra=link)
    for place, code in enumerate(codes):
        asks = code < 129 and _at(ways, place) == 1
        yield Message(
            float(row["frame.time_epoch"]),
            row["ip.src"],
            row["ip.dst"],
            asks,
            code,
            _at(iins, place) if not asks else -1,
            extra=_at(links, place) if _at(ways, place) == 1 else -1,
            objects=row["dnp3.al.obj"],
            outer=_at(senders, place),
        )


def _iec104(row: dict[str, str]) -> Iterable[Message]:
    for kind in _numbers(row["iec60870_104.utype"]):
        yield Message(float(row["frame.time_epoch"]), row["ip.src"], row["ip.dst"], asks=True, code=-1, extra=kind)
    causes, points = _numbers(row["iec60870_asdu.causetx"]), _numbers(row["iec60870_asdu.ioa"])
    stations = _numbers(row["iec60870_asdu.addr"])
    for place, kind in enumerate(_numbers(row["iec60870_asdu.typeid"])):
        cause = _at(causes, place)
        yield Message(
            float(row["frame.time_epoch"]),
            row["ip.src"],
            row["ip.dst"],
            cause == 6,
            kind,
            cause,
            _at(points, place),
            outer=_at(stations, place),
        )


def _s7comm(row: dict[str, str]) -> Iterable[Message]:
    groups, codes = _numbers(row["s7comm.param.userdata.funcgroup"]), _numbers(row["s7comm.param.func"])
    errors = _numbers(row["s7comm.header.errcls"])
    for place, kind in enumerate(_numbers(row["s7comm.header.rosctr"])):
        yield Message(
            float(row["frame.time_epoch"]),
            row["ip.src"],
            row["ip.dst"],
            kind == 1,
            _at(codes, place) if kind != 7 else -1,
            _at(errors, place) if kind in (2, 3) else -1,
            group=_at(groups, place) if kind == 7 else -1,
        )


_READERS: dict[str, Callable[[dict[str, str]], Iterable[Message]]] = {
    "modbus": _modbus,
    "dnp3": _dnp3,
    "iec104": _iec104,
    "s7comm": _s7comm,
}


def messages(protocol: str, table: Path) -> list[Message]:
    """All messages of a table of ``tshark``."""
    with table.open(encoding="utf-8", newline="") as file:
        return [one for row in csv.DictReader(file, delimiter="\t") for one in _READERS[protocol](row)]


def _most(times: list[float], window: float) -> int:
    """Most entries within ``window`` seconds."""
    times = sorted(times)
    begin = best = 0
    for end, time in enumerate(times):
        while time - times[begin] > window:
            begin += 1
        best = max(best, end - begin + 1)
    return best


def _burst(found: Iterable[Message], key: Callable[[Message], object], window: float, least: int) -> bool:
    groups: dict[object, list[float]] = defaultdict(list)
    for one in found:
        groups[key(one)].append(one.time)
    return any(_most(times, window) >= least for times in groups.values())


def _distinct(
    found: Iterable[Message],
    key: Callable[[Message], object],
    value: Callable[[Message], object],
    window: float,
    least: int,
) -> bool:
    groups: dict[object, list[Message]] = defaultdict(list)
    for one in found:
        groups[key(one)].append(one)
    for group in groups.values():
        group.sort(key=lambda one: one.time)
        for end, last in enumerate(group):
            seen = {value(one) for one in group[: end + 1] if last.time - one.time <= window}
            if len(seen) >= least:
                return True
    return False


def _source(one: Message) -> str:
    return one.source


def _pair(one: Message) -> tuple[str, str]:
    return one.source, one.target


def _asked(found: list[Message], *codes: int) -> list[Message]:
    return [one for one in found if one.asks and one.code in codes]


def _in_turn(first: Iterable[Message], then: list[Message], window: float) -> bool:
    """Whether one of the first is followed by one of the others, between the same two."""
    return any(_pair(one) == _pair(other) and 0 < other.time - one.time <= window for one in first for other in then)


def _forgotten(found: list[Message], selects: list[Message], executes: list[Message]) -> bool | None:
    """Whether a selection was left for 30 seconds; None if the capture ends too early to tell."""
    end = max((one.time for one in found), default=0.0)
    left = [one for one in selects if not _in_turn([one], executes, 30)]
    return True if any(end - one.time > 30 for one in left) else None if left else False


def _unless(possible: bool) -> bool | None:
    """A verdict where a table shows only that something is not there."""
    return None if possible else False


def _decided(**verdicts: bool | None) -> dict[str, bool]:
    """Verdicts without those that a table leaves open."""
    return {rule: deserved for rule, deserved in verdicts.items() if deserved is not None}


def _public(found: list[Message]) -> bool:
    def outside(address: str) -> bool:
        try:
            return ip_address(address).is_global
        except ValueError:
            return False

    return any(outside(one.source) or outside(one.target) for one in found)


def _two_masters(found: list[Message], codes: Iterable[int]) -> bool:
    controls = _asked(found, *codes)
    return _distinct(controls, lambda one: one.target, lambda one: one.source, 3600, 2)


def _dnp3_rules(found: list[Message]) -> dict[str, bool]:
    restarts = _asked(found, 13, 14)
    after = [one for one in found if one.error >= 0 and one.error & 0x8000]
    return {
        "dnp3_cold_restart": bool(_asked(found, 13)),
        "dnp3_warm_restart": bool(_asked(found, 14)),
        "dnp3_restart_carried_out": any(
            asked.target == said.source and 0 < said.time - asked.time <= 300 for asked in restarts for said in after
        ),
        "dnp3_application_control": bool(_asked(found, 15, 16, 17, 18, 19)),
        "dnp3_disable_unsolicited": bool(_asked(found, 21)),
        "dnp3_file_operation": bool(_asked(found, *range(25, 31))),
        "dnp3_file_delete": bool(_asked(found, 27)),
        "dnp3_direct_operate_no_ack": bool(_asked(found, 6)),
        "dnp3_activate_configuration": bool(_asked(found, 31)),
        "dnp3_freeze_clear": bool(_asked(found, 9, 10)),
        "dnp3_broadcast_control": any(one.extra >= 0xFFFD for one in _asked(found, 3, *_DNP3_CONTROL, 15, 19, 21)),
        "dnp3_trouble": any(one.error >= 0 and one.error & 0x0028 for one in found),
        "dnp3_control": bool(_asked(found, 4, 5)),
        "dnp3_control_burst": _burst(_asked(found, 4, 5, 6), _pair, 60, 10),
        "dnp3_silenced_then_operated": _in_turn(_asked(found, 21), _asked(found, 4, 5), 300),
        "dnp3_function_scan": _distinct(
            [one for one in found if one.asks and one.code not in _DNP3_USUAL], _pair, lambda one: one.code, 300, 6
        ),
        "dnp3_address_scan": _distinct([one for one in found if one.extra >= 0], _pair, lambda one: one.extra, 300, 20),
        "dnp3_refusal_burst": _burst([one for one in found if one.error >= 0 and one.error & 0x0007], _pair, 60, 8),
        "dnp3_time_two_masters": _distinct(
            [one for one in _asked(found, 2) if "0x32" in one.objects], lambda one: one.target, _source, 3600, 2
        ),
        "dnp3_two_link_masters": _distinct(
            _asked(found, 4, 5, 6), lambda one: (one.target, one.extra), lambda one: one.outer, 3600, 2
        ),
        "dnp3_authentication_failed": any("0x7807" in one.objects.split(",") for one in found),
        "dnp3_unsolicited_storm": _burst([one for one in found if one.code == 130], lambda one: one.source, 60, 100),
        "dnp3_integrity_two_masters": _distinct(
            [one for one in _asked(found, 1) if "0x3c01" in one.objects.split(",")],
            lambda one: one.target,
            _source,
            3600,
            2,
        ),
        "ot_second_master": _two_masters(found, _DNP3_CONTROL),
        "flow_ot_public_address": _public(found),
        **_decided(
            dnp3_select_without_operate=_forgotten(found, _asked(found, 3), _asked(found, 4, 5, 6)),
            dnp3_operate_without_select=bool(_asked(found, 4)) if not _asked(found, 3) else None,
        ),
    }


def _modbus_rules(found: list[Message]) -> dict[str, bool]:
    refused = [one for one in found if not one.asks and one.error >= 0]
    writes = [one for one in found if one.asks and one.code in _MODBUS_WRITE]
    odd = [one for one in found if one.asks and one.code not in _MODBUS_USUAL]
    named, diagnosed = _asked(found, 17), bool(_asked(found, 8))
    return {
        "modbus_function_scan": _distinct(odd, _pair, lambda one: one.code, 300, 8),
        "modbus_illegal_function_burst": _burst([one for one in refused if one.error == 1], _pair, 60, 10),
        "modbus_busy_storm": _burst([one for one in refused if one.error in (5, 6)], lambda one: one.source, 300, 10),
        "modbus_refusal_burst": _burst([one for one in refused if one.error in (3, 4, 7, 8)], _pair, 60, 20),
        "modbus_program_function": any(one.asks and one.code in (125, 126) for one in found),
        "modbus_file_record": any(one.asks and one.code in (20, 21) for one in found),
        "modbus_broadcast_write": any(one.extra == 0 for one in writes),
        "modbus_write": bool(writes),
        "modbus_gateway_visibility_loss": _burst(
            [one for one in refused if one.error in (10, 11)], lambda one: one.source, 300, 10
        ),
        "modbus_toggling": _burst(
            [one for one in writes if one.code in (5, 6)], lambda one: (*_pair(one), one.point), 30, 10
        ),
        "modbus_unit_scan": _distinct(_asked(found, 1, 2, 3, 4), _pair, lambda one: one.extra, 120, 20),
        "modbus_write_sweep": _distinct(
            [one for one in writes if one.code in (5, 6)], _pair, lambda one: one.point, 60, 6
        ),
        "ot_second_master": _two_masters(found, _MODBUS_WRITE),
        "flow_ot_public_address": _public(found),
        **_decided(
            modbus_identification=bool(named) if named or not _asked(found, 43) else None,
            modbus_identify_then_write=_in_turn(named, writes, 600) if not _asked(found, 43) else None,
            modbus_address_scan=_unless(sum(one.error == 2 for one in refused) >= 10),
            modbus_probe_then_write=_unless(bool(writes) and any(one.error == 1 for one in refused)),
            modbus_clear_counters=_unless(diagnosed),
            modbus_force_listen_only=_unless(diagnosed),
            modbus_restart_communications=_unless(diagnosed),
            modbus_silenced_device=_unless(diagnosed),
            modbus_umas_control=_unless(bool(_asked(found, 90))),
            modbus_umas_program_transfer=_unless(bool(_asked(found, 90))),
        ),
    }


def _iec104_rules(found: list[Message]) -> dict[str, bool]:
    starts = [one for one in found if one.extra == 1]
    callers = {_pair(one) for one in starts}
    commands = _asked(found, *_IEC_COMMANDS)
    sweep = _distinct(commands, _pair, lambda one: one.point, 60, 5)
    return {
        "iec104_control_command": bool(commands),
        "iec104_command_burst": _burst(commands, _pair, 60, 20),
        "iec104_command_sweep": sweep,
        "iec104_broadcast_control": any(one.code in _IEC_COMMANDS and one.outer == 0xFFFF for one in found),
        "iec104_clock_two_masters": _distinct(_asked(found, 103), lambda one: one.target, _source, 3600, 2),
        "iec104_interrogation_sweep": _distinct(_asked(found, 100, 101), _pair, lambda one: one.outer, 300, 5),
        "iec104_startdt_flood": _burst(starts, lambda one: one.target, 60, 5),
        "iec104_stopdt": any(one.extra == 4 for one in found),
        "iec104_testfr_flood": _burst([one for one in found if one.extra == 16], _pair, 60, 60),
        "iec104_reset_process": bool(_asked(found, 105)),
        "iec104_parameter_change": bool(_asked(found, 110, 111, 112, 113)),
        "iec104_file_transfer": any(120 <= one.code <= 127 for one in found),
        "iec104_unknown_burst": _burst([one for one in found if 44 <= one.error <= 47], _pair, 60, 5),
        "iec104_monitor_from_client": any(0 < one.code <= 40 and _pair(one) in callers for one in found),
        "iec104_startdt_two_masters": _distinct(starts, lambda one: one.target, lambda one: one.source, 600, 2),
        "ot_second_master": _two_masters(found, (*_IEC_COMMANDS, 105)),
        "flow_ot_public_address": _public(found),
        **_decided(
            iec104_industroyer_pattern=_unless(sweep),
            iec104_execute_without_select=_unless(bool(commands)),
            iec104_select_without_execute=_unless(bool(commands)),
            iec104_select_storm=_unless(len(commands) >= 20),
        ),
    }


def _s7comm_rules(found: list[Message]) -> dict[str, bool]:
    groups = {one.group for one in found}
    called = bool(_asked(found, 0x28))
    taken = [one for one in _asked(found, 0x1A) if _in_turn(_asked(found, 0x1D), [one], 3600)]
    return {
        "s7comm_plc_stop": bool(_asked(found, 0x29)),
        "s7comm_program_download": bool(_asked(found, 0x1A)),
        "s7comm_program_upload": bool(_asked(found, 0x1D)),
        "s7comm_password": any(one.group == 5 for one in found),
        "s7comm_block_list": any(one.group == 3 for one in found),
        "s7comm_write_var": bool(_asked(found, 5)),
        "s7comm_write_burst": _burst(_asked(found, 5), _pair, 30, 15),
        "s7comm_refusal_burst": _burst([one for one in found if one.error >= 1], _pair, 300, 10),
        "ot_second_master": _two_masters(found, (5, 0x1A, 0x28, 0x29)),
        "flow_ot_public_address": _public(found),
        **_decided(
            s7comm_upload_download_stop=_unless(_in_turn(taken, _asked(found, 0x29), 3600)),
            s7comm_stop_start=_unless(called and bool(_asked(found, 0x29))),
            s7comm_plc_start=_unless(called),
            s7comm_block_activate=_unless(called),
            s7comm_block_delete=_unless(called),
            s7comm_memory_service=_unless(called),
            s7comm_output_write=_unless(bool(_asked(found, 5))),
            s7comm_password_guessing=_unless(sum(one.group == 5 for one in found) >= 5),
            s7comm_szl_enumeration=_unless(sum(one.group == 4 for one in found) >= 5),
            s7comm_force=_unless(1 in groups),
            s7comm_cyclic_read=_unless(2 in groups),
            s7comm_clock_set=_unless(7 in groups),
            s7comm_clock_wrong=_unless(7 in groups),
        ),
    }


_RULES: dict[str, Callable[[list[Message]], dict[str, bool]]] = {
    "dnp3": _dnp3_rules,
    "modbus": _modbus_rules,
    "iec104": _iec104_rules,
    "s7comm": _s7comm_rules,
}


def independent(shared: Path) -> dict[str, dict[str, bool]]:
    """For every capture that other programs wrote about: rule to whether it deserves the alert.

    Args:
        shared: The folder of the shared captures.

    Returns:
        Name of the capture (its path below ``shared``) to verdicts; rules that nothing there decides are absent.
    """
    found: dict[str, dict[str, bool]] = {}
    for protocol in PROTOCOLS:
        for table in sorted((shared / protocol).glob("*/expected/tshark/fields.tsv")):
            capture = table.parents[2].relative_to(shared).as_posix()
            found[capture] = _RULES[protocol](messages(protocol, table))
    over = {protocol: [rule for rule in decide([]) if rule.startswith(protocol)] for protocol, decide in _RULES.items()}
    for capture, verdicts in independent_flows(shared, over).items():
        found[capture] = verdicts | found.get(capture, {})
    return found
