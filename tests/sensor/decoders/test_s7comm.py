"""Messages are built here; what others say about real captures is compared at the end."""

from __future__ import annotations

import csv
import json
import os
import struct
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from event.fields import FIELDS
from sensor.base import PduBatch, batch_of
from sensor.decoders.s7comm import DECODER, S7commDecode, names
from sensor.decoders.s7comm.kernel import MAX_ITEMS

ROOT = Path(__file__).resolve().parents[3]


def tpkt(body: bytes) -> bytes:
    return struct.pack(">BBH", 3, 0, 4 + len(body)) + body


def dt(payload: bytes, last: bool = True) -> bytes:
    return tpkt(bytes([2, 0xF0, 0x80 if last else 0]) + payload)


def s7(rosctr: int, parameter: bytes, data: bytes = b"", reference: int = 7, error: int | None = None) -> bytes:
    head = struct.pack(">BBHHHH", 0x32, rosctr, 0, reference, len(parameter), len(data))
    return dt(head + (b"" if error is None else struct.pack(">H", error)) + parameter + data)


def job(parameter: bytes, data: bytes = b"", reference: int = 7) -> bytes:
    return s7(1, parameter, data, reference)


def ack(parameter: bytes, data: bytes = b"", reference: int = 7, error: int = 0) -> bytes:
    return s7(3, parameter, data, reference, error)


def userdata(group: int, sub: int, data: bytes = b"", kind: int = 4, error: int | None = None) -> bytes:
    """A user-data message; ``kind`` 4 asks, 8 answers, 0 pushes."""
    if kind == 4:
        parameter = bytes([0, 1, 0x12, 4, 0x11, kind << 4 | group, sub, 0])
    else:
        parameter = bytes([0, 1, 0x12, 8, 0x12, kind << 4 | group, sub, 1, 0, 0]) + struct.pack(">H", error or 0)
    return s7(7, parameter, struct.pack(">BBH", 0xFF, 9, len(data)) + data)


def item(area: int, address: int, transport: int = 2, count: int = 1, db: int = 0) -> bytes:
    return struct.pack(">BBBBHHB", 0x12, 10, 0x10, transport, count, db, area) + address.to_bytes(3, "big")


def decode(*packets: bytes) -> list[dict[str, Any]]:
    return DECODER.decode(batch_of(list(packets))).to_dicts()


def one(packet: bytes) -> dict[str, Any]:
    (row,) = decode(packet)
    return row


def test_connection() -> None:
    variable = b"\xc0\x01\x0a\xc1\x02\x01\x00\xc2\x02\x03\x42"
    asked, agreed = decode(
        tpkt(bytes([6 + len(variable), 0xE0, 0, 0, 0, 1, 0]) + variable),
        tpkt(bytes([6 + len(variable), 0xD0, 0, 1, 0, 2, 0]) + variable),
    )
    assert asked["cotp.pdu_type"] == "connect_request"
    assert asked["event.action"] == "connect_request"
    assert asked["cotp.source_tsap"] == "0100"
    assert asked["cotp.destination_tsap"] == "0342"
    assert (asked["cotp.rack"], asked["cotp.slot"]) == (2, 2)
    assert asked["error.code"] is None
    assert asked["s7comm.rosctr"] is None
    assert agreed["cotp.pdu_type"] == "connect_confirm"


def test_a_tsap_that_is_a_name_has_no_rack() -> None:
    name = b"SIMATIC-ROOT-HMI"
    row = one(tpkt(bytes([6 + 2 + len(name), 0xE0, 0, 0, 0, 1, 0, 0xC2, len(name)]) + name))
    assert row["cotp.destination_tsap"] == name.hex()
    assert row["cotp.rack"] is None


@pytest.mark.parametrize("code", sorted(names.COTP))
def test_every_tpdu_type(code: int) -> None:
    row = one(tpkt(bytes([6, code, 0, 0, 0x80, 1, 3])))
    assert row["cotp.pdu_type"] == names.COTP[code]
    if code in (0x80, 0x70):
        assert row["cotp.reason"] == {0x80: 3, 0x70: 0x80}[code]
    assert row["error.code"] is None


def test_disconnect_and_error_carry_a_reason() -> None:
    disconnect, error = decode(tpkt(bytes([6, 0x80, 0, 1, 0, 2, 128])), tpkt(bytes([4, 0x70, 0, 1, 2])))
    assert disconnect["cotp.reason"] == 128
    assert error["cotp.reason"] == 2


def test_setup() -> None:
    row = one(job(bytes.fromhex("f0000001000101e0")))
    assert row["s7comm.function"] == "setup_communication"
    assert row["s7comm.access"] == "setup"
    assert row["s7comm.pdu_length"] == 480
    assert row["s7comm.message_type"] == "request"


def test_read_and_its_answer() -> None:
    asked, answered = decode(
        job(b"\x04\x03" + item(0x84, 2 * 8 + 4, 2, 8, db=5) + item(0x83, 81, 1) + item(0x1D, 5, 0x1D)),
        ack(b"\x04\x03", b"\xff\x04\x00\x40" + bytes(range(8)) + b"\xff\x03\x00\x01\x01\x00" + b"\x0a\x00\x00\x00"),
    )
    assert asked["s7comm.items"] == ["DB5.DBX2.4 BYTE 8", "M10.1 BIT 1", "T5 TIMER 1"]
    assert asked["s7comm.area"] == ["db", "flags", "timers"]
    assert asked["s7comm.db_number"] == [5, 0, 0]
    assert asked["s7comm.address"] == [20, 81, 5]
    assert asked["s7comm.item_count"] == 3
    assert asked["s7comm.return_codes"] is None
    assert asked["event.outcome"] is None
    assert answered["s7comm.return_codes"] == [255, 255, 10]
    assert answered["s7comm.values"] == ["0001020304050607", "01", None]
    assert answered["event.outcome"] == "failure"
    assert answered["s7comm.error"] == "object_not_found"
    assert answered["s7comm.value"] is None
    assert answered["error.code"] is None


def test_write_and_its_answer() -> None:
    asked, answered = decode(
        job(b"\x05\x01" + item(0x82, 0, 4), b"\x00\x04\x00\x10\x12\x34"), ack(b"\x05\x01", b"\xff")
    )
    assert asked["s7comm.function"] == "write_var"
    assert asked["s7comm.access"] == "write"
    assert asked["s7comm.items"] == ["Q0.0 WORD 1"]
    assert asked["s7comm.values"] == ["1234"]
    assert asked["s7comm.value"] == asked["s7comm.value_min"] == asked["s7comm.value_max"] == 0x1234
    assert asked["s7comm.return_codes"] is None
    assert answered["s7comm.return_codes"] == [255]
    assert answered["event.outcome"] == "success"


def test_data_are_padded_to_even_places_between_items() -> None:
    data = b"\xff\x04\x00\x08\xaa\x00" + b"\xff\x04\x00\x08\xbb"
    row = one(ack(b"\x04\x02", data))
    assert row["s7comm.values"] == ["aa", "bb"]
    assert row["error.code"] is None


@pytest.mark.parametrize(("kind", "length"), [(3, 16), (4, 16), (5, 16), (6, 2), (7, 2), (9, 2)])
def test_lengths_in_bits_and_in_octets(kind: int, length: int) -> None:
    row = one(ack(b"\x04\x01", struct.pack(">BBH", 255, kind, length) + b"\x01\x02"))
    assert row["s7comm.values"] == ["0102"]
    assert row["s7comm.value"] == 0x102


@pytest.mark.parametrize("area", sorted(names.AREAS))
def test_every_area(area: int) -> None:
    row = one(job(b"\x04\x01" + item(area, 17, db=3)))
    assert row["s7comm.area"] == [names.AREAS[area][0]]
    assert row["s7comm.items"][0].startswith(names.AREAS[area][1])
    assert row["s7comm.db_number"] == [3 if area in (0x84, 0x85) else 0]


def test_symbolic_items_are_kept_in_hex() -> None:
    symbolic = bytes.fromhex("120eb2ff000100000001a4bcd1af8000")
    row = one(job(b"\x04\x02" + symbolic + item(0x83, 0)))
    assert row["s7comm.items"] == ["0x" + symbolic.hex(), "M0.0 BYTE 1"]
    assert row["s7comm.area"] == [None, "flags"]
    assert row["error.code"] is None


def test_items_listed_are_bounded_and_all_are_counted() -> None:
    row = one(job(b"\x04\xff" + item(0x83, 0) * 255))
    assert row["s7comm.item_count"] == 255
    assert len(row["s7comm.items"]) == MAX_ITEMS
    assert row["error.code"] is None


def test_values_are_cut() -> None:
    row = one(ack(b"\x04\x01", b"\xff\x04" + struct.pack(">H", 200 * 8) + b"\xab" * 200))
    assert row["s7comm.values"] == ["ab" * 32]


def test_every_job_is_named_and_classed() -> None:
    for code, (name, access) in names.FUNCTIONS.items():
        row = one(job(bytes([code]) + bytes(15)))
        assert (row["s7comm.function_code"], row["s7comm.function"]) == (code, name)
        assert row["s7comm.access"] == access
        assert row["event.action"] == name
    assert one(job(b"\x99\x00"))["s7comm.function"] == "0x99"


def test_all_user_data_is_named_and_classed() -> None:
    for group, subs in names.SUB_FUNCTIONS.items():
        for sub, (name, access) in subs.items():
            row = one(userdata(group, sub))
            assert row["s7comm.group"] == names.GROUPS[group]
            assert row["s7comm.sub_function"] == name
            assert row["s7comm.function"] == f"{names.GROUPS[group]}_{name}"
            assert row["s7comm.access"] == access
            assert row["s7comm.function_code"] is None
            assert row["s7comm.message_type"] == "request"
    row = one(userdata(9, 0x42, kind=8))
    assert row["s7comm.function"] == "group_9_0x42"
    assert row["s7comm.message_type"] == "response"
    assert one(userdata(4, 6, kind=0))["s7comm.message_type"] == "push"


def test_download() -> None:
    name = b"\x09_0A00012P"
    start = one(job(bytes([0x1A]) + bytes(7) + name + b"\x0d1000316000210"))
    assert start["s7comm.function"] == "request_download"
    assert start["s7comm.access"] == "program"
    assert start["s7comm.file_name"] == "_0A00012P"
    assert (start["s7comm.block_type"], start["s7comm.block_number"], start["s7comm.filesystem"]) == ("DB", 12, "P")
    for code in (0x1B, 0x1C, 0x1D):
        assert one(job(bytes([code]) + bytes(7) + name))["s7comm.block_number"] == 12
    assert one(job(bytes([0x1E]) + bytes(7)))["s7comm.block_type"] is None


@pytest.mark.parametrize(("code", "name"), sorted(names.BLOCKS.items()))
def test_every_block_type(code: str, name: str) -> None:
    row = one(job(bytes([0x1D]) + bytes(7) + b"\x09_" + code.encode() + b"00001A"))
    assert row["s7comm.block_type"] == name


def pi(service: bytes, argument: bytes = b"") -> bytes:
    return job(
        b"\x28" + bytes(6) + b"\xfd" + struct.pack(">H", len(argument)) + argument + bytes([len(service)]) + service
    )


def test_pi_services() -> None:
    start, copy, delete = decode(pi(b"P_PROGRAM"), pi(b"_MODU", b"EP"), pi(b"_DELE", b"\x01\x000800001B"))
    assert start["s7comm.pi_service"] == "P_PROGRAM"
    assert start["s7comm.access"] == "control"
    assert start["s7comm.pi_argument"] is None
    assert copy["s7comm.pi_argument"] == "EP"
    assert copy["s7comm.access"] == "program"
    assert (delete["s7comm.block_type"], delete["s7comm.block_number"]) == ("OB", 1)


def test_stop() -> None:
    row = one(job(b"\x29" + bytes(5) + b"\x09P_PROGRAM"))
    assert row["s7comm.function"] == "plc_stop"
    assert row["s7comm.access"] == "control"
    assert row["s7comm.pi_service"] == "P_PROGRAM"


def test_szl_state() -> None:
    element = bytes([0x02, 0x51, 0xFF, 0x08]) + bytes(16)
    asked, answered = decode(
        userdata(4, 1, b"\x04\x24\x00\x00"),
        userdata(4, 1, b"\x04\x24\x00\x00\x00\x14\x00\x01" + element, kind=8),
    )
    assert (asked["s7comm.szl_id"], asked["s7comm.szl_index"]) == (0x424, 0)
    assert asked["s7comm.cpu_state"] is None
    assert answered["s7comm.cpu_state"] == "run"
    assert answered["event.outcome"] == "success"


def test_szl_identity() -> None:
    modules = b"".join(
        struct.pack(">H20sH", index, text, 0) + version
        for index, text, version in [
            (1, b"6ES7 315-2EH14-0AB0 ", b"\x00\x01\x00\x01"),
            (7, b"                    ", b"V\x03\x02\x06"),
        ]
    )
    names_of = b"".join(
        struct.pack(">H32s", index, text)
        for index, text in [(1, b"STATION"), (2, b"CPU 315-2 PN/DP"), (5, b"S C-X4U421302009")]
    )
    first, second = decode(
        userdata(4, 1, b"\x00\x11\x00\x00\x00\x1c\x00\x02" + modules, kind=8),
        userdata(4, 1, b"\x00\x1c\x00\x00\x00\x22\x00\x03" + names_of, kind=8),
    )
    assert first["s7comm.module"] == "6ES7 315-2EH14-0AB0"
    assert first["s7comm.identity"] == ["module=6ES7 315-2EH14-0AB0", "firmware=V3.2.6"]
    assert second["s7comm.identity"] == [
        "system_name=STATION",
        "module_name=CPU 315-2 PN/DP",
        "serial=S C-X4U421302009",
    ]
    assert second["s7comm.module"] == "CPU 315-2 PN/DP"


def test_clock() -> None:
    row = one(userdata(7, 2, bytes.fromhex("00202609011230152503")))
    assert row["s7comm.clock"] == datetime(2026, 9, 1, 12, 30, 15, 250000, UTC)
    assert row["s7comm.access"] == "time"
    assert one(userdata(7, 2, bytes.fromhex("0020ff09011230152503")))["s7comm.clock"] is None
    assert one(userdata(7, 2, bytes.fromhex("00202613011230152503")))["s7comm.clock"] is None


def test_blocks_asked_for() -> None:
    row = one(userdata(3, 3, b"0A00007A"))
    assert (row["s7comm.block_type"], row["s7comm.block_number"], row["s7comm.filesystem"]) == ("DB", 7, "A")
    assert one(userdata(3, 2, b"08"))["s7comm.block_type"] == "OB"


def test_cyclic_items() -> None:
    body = b"\x02\x01\x0a\x00" + item(0x84, 24, 8, 1, db=3) + item(0x1C, 7, 0x1C)
    row = one(userdata(2, 1, body))
    assert row["s7comm.items"] == ["DB3.DBX3.0 REAL 1", "C7 COUNTER 1"]
    assert row["s7comm.access"] == "read"
    assert one(userdata(2, 1, body[:-3]))["s7comm.items"] == ["DB3.DBX3.0 REAL 1"]


def test_forcing_keeps_what_was_sent() -> None:
    row = one(userdata(1, 9, b"\x01\x02\x03"))
    assert row["s7comm.access"] == "write"
    assert row["s7comm.values"] == ["010203"]


def test_a_password_is_not_kept() -> None:
    row = one(userdata(5, 1, b"\x55\x66\x77\x88\x99\xaa\xbb\xcc"))
    assert row["s7comm.access"] == "auth"
    assert "556677" not in str(row)


def test_mode_transitions() -> None:
    assert one(userdata(0, 2, kind=0))["s7comm.cpu_state"] == "run"
    row = one(s7(7, bytes.fromhex("0100101000000000")))
    assert row["s7comm.function"] == "mode_transition_stop"
    assert row["s7comm.message_type"] == "push"
    assert row["s7comm.cpu_state"] == "stop"


def test_errors_are_named() -> None:
    refused, unknown, plain, szl = decode(
        ack(b"", error=0xD241), ack(b"", error=0x8777), s7(2, b"", error=0x8104), userdata(4, 1, kind=8, error=0xD402)
    )
    assert refused["s7comm.error"] == "protection_level"
    assert (refused["s7comm.error_class"], refused["s7comm.error_code"]) == (0xD2, 0x41)
    assert refused["event.outcome"] == "failure"
    assert refused["error.code"] is None
    assert unknown["s7comm.error"] == "0x8777"
    assert plain["s7comm.rosctr"] == "ack"
    assert plain["s7comm.error"] == "context_not_supported"
    assert szl["s7comm.error"] == "invalid_szl_index"
    assert szl["event.outcome"] == "failure"


def plus(version: int, opcode: int, function: int, digest: bool = False) -> bytes:
    body = (b"\x20" + bytes(32) if digest else b"") + struct.pack(">BHH", opcode, 0, function) + bytes(8)
    return dt(struct.pack(">BBH", 0x72, version, len(body)) + body + struct.pack(">BBH", 0x72, version, 0))


def test_s7comm_plus() -> None:
    for code, (name, access) in names.PLUS_FUNCTIONS.items():
        for packet in (plus(1, 0x31, code), plus(3, 0x31, code, digest=True)):
            row = one(packet)
            assert row["s7comm_plus.opcode"] == "request"
            assert (row["s7comm_plus.function_code"], row["s7comm_plus.function"]) == (code, name)
            assert row["s7comm.access"] == access
            assert row["cotp.protocol"] == "s7comm_plus"
            assert row["event.action"] == name
    assert one(plus(2, 0x33, 0x04F2))["s7comm_plus.function"] is None
    row = one(plus(2, 0x32, 0x1234))
    assert row["s7comm_plus.function"] == "0x1234"
    assert one(dt(b"\x72\xff\x00\x10"))["s7comm_plus.version"] == 255


def test_other_protocols_over_cotp_are_not_errors() -> None:
    mms, other, empty = decode(dt(b"\x0d\x10\x05"), dt(b"\xee\x00"), dt(b""))
    assert [row["cotp.protocol"] for row in (mms, other, empty)] == ["iso_session", "other", "empty"]
    assert {row["error.code"] for row in (mms, other, empty)} == {None}


def broken(code: str, packet: bytes) -> dict[str, Any]:
    row = one(packet)
    assert row["error.code"] == code
    assert row["error.message"] == DECODER.anomalies[code]
    return row


def test_anomalies() -> None:
    good = job(b"\x04\x01" + item(0x83, 0))
    broken("tpkt_short", good[:5])
    broken("tpkt_version", b"\x04" + good[1:])
    broken("tpkt_length", b"\x03\x00\x00\x06" + good[4:])
    broken("tpkt_cut", good[:-4])
    broken("tpkt_trailing", good + b"\0")
    broken("cotp_length", tpkt(b"\x40\xf0\x80\x32"))
    broken("cotp_length", tpkt(b"\x01\xf0\x80\x32"))
    broken("cotp_type", tpkt(b"\x02\x30\x80\x32"))
    broken("s7_short", dt(b"\x32\x01\x00\x00"))
    broken("s7_short", dt(b"\x32\x03" + bytes(9)))
    broken("s7_rosctr", dt(b"\x32\x09" + bytes(10)))
    row = broken("s7_lengths", dt(good[7:] + b"\0"))
    assert row["s7comm.items"] == ["M0.0 BYTE 1"]
    broken("s7_parameter", job(b""))
    broken("s7_parameter", job(b"\x04"))
    broken("s7_item", job(b"\x04\x02" + item(0x83, 0)))
    broken("s7_data", ack(b"\x04\x02", b"\xff\x04\x00\x08\x01\x00"))
    broken("s7_data", ack(b"\x04\x01", b"\xff\x04\x00\x40\x01"))
    broken("s7_data", ack(b"\x05\x02", b"\xff"))
    broken("s7_userdata", s7(7, b"\x00\x01\x11\x04\x11\x44\x01\x00"))
    broken("plus_short", dt(b"\x72\x01"))
    broken("plus_short", dt(b"\x72\x01\x00\x05"))


def fragments(payload: bytes, size: int) -> list[bytes]:
    parts = [payload[at : at + size] for at in range(0, len(payload), size)]
    return [dt(part, last=n == len(parts) - 1) for n, part in enumerate(parts)]


@pytest.mark.parametrize("apart", [False, True])
def test_fragments_become_one_row(apart: bool) -> None:
    payload = job(b"\x05\x01" + item(0x84, 0, 2, 100, db=1), b"\x00\x04\x03\x20" + bytes(100))[7:]
    packets = fragments(payload, 50)
    assert len(packets) == 3
    run = S7commDecode()
    batches = [[packet] for packet in packets] if apart else [packets]
    tables = [run(batch_of(list(one_batch))) for one_batch in batches]
    assert [table.height for table in tables] == [0] * (len(tables) - 1) + [1]
    row = tables[-1].to_dicts()[0]
    assert row["_pdu"] == len(batches[-1]) - 1
    assert row["s7comm.items"] == ["DB1.DBX0.0 BYTE 100"]
    assert row["error.code"] is None


def test_fragments_of_two_directions_do_not_mix() -> None:
    first = fragments(job(b"\x04\x01" + item(0x83, 0))[7:], 12)
    second = fragments(ack(b"\x04\x01", b"\xff\x04\x00\x08\x01")[7:], 12)
    mixed = [packet for pair in zip(first, second, strict=False) for packet in pair] + first[len(second) :]
    direction = [n % 2 for n in range(2 * len(second))] + [0] * (len(first) - len(second))
    rows = DECODER.decode(batch_of(mixed, direction=direction)).to_dicts()
    assert sorted(row["s7comm.rosctr"] for row in rows) == ["ack_data", "job"]
    assert {row["error.code"] for row in rows} == {None}


def test_endless_fragments_are_given_up() -> None:
    batch = batch_of([dt(bytes(1000), last=False)] * 70)
    table = DECODER.decode(batch)
    assert table["error.code"].to_list() == ["cotp_too_long"]
    run = S7commDecode()
    run(batch)
    assert run.notes() == {"s7comm_fragments_open": 1, "s7comm_fragments_too_long": 1}


def test_what_is_collapsed_and_what_is_not() -> None:
    packets = {
        "read": job(b"\x04\x01" + item(0x83, 0)),
        "answer": ack(b"\x04\x01", b"\xff\x04\x00\x08\x01"),
        "cyclic": userdata(2, 1, b"\0", kind=8),
        "empty": dt(b""),
        "state": userdata(4, 1, b"\x04\x24\x00\x00"),
        "plus_read": plus(1, 0x31, 0x054C),
        "refused": ack(b"\x04\x01", b"\x05\x00\x00\x00"),
        "write": job(b"\x05\x01" + item(0x83, 0), b"\x00\x04\x00\x08\x01"),
        "stop": job(b"\x29" + bytes(5) + b"\x09P_PROGRAM"),
        "setup": job(bytes.fromhex("f0000001000101e0")),
        "connect": tpkt(bytes([6, 0xE0, 0, 0, 0, 1, 0])),
        "identify": userdata(4, 1, b"\x00\x11\x00\x00"),
        "password": userdata(5, 1, bytes(8)),
        "plus_write": plus(1, 0x31, 0x0542),
    }
    table = DECODER.decode(batch_of(list(packets.values())))
    assert DECODER.verbatim is not None
    alone = table.select(DECODER.verbatim.fill_null(True)).to_series().to_list()
    collapsed = {name for name, is_alone in zip(packets, alone, strict=True) if not is_alone}
    assert collapsed == {"read", "answer", "cyclic", "empty", "state", "plus_read"}


def test_pairing() -> None:
    from sensor.pair import FLOW, TIME, PairState, pair

    packets = [
        job(b"\x04\x01" + item(0x84, 0, db=9), reference=1),
        job(b"\x1d" + bytes(7) + b"\x09_0A00001A", reference=2),
        ack(b"\x04\x01", b"\xff\x04\x00\x08\x01", reference=1),
        ack(b"", reference=2, error=0xD241),
    ]
    table = DECODER.decode(batch_of(packets)).with_columns(
        pl.lit(0, pl.Int64).alias(FLOW), pl.int_range(pl.len(), dtype=pl.Int64).alias(TIME)
    )
    assert DECODER.pair is not None
    paired = pair(table, DECODER.pair, PairState())
    assert paired["s7comm.matched"].to_list()[2:] == [True, True]
    assert paired["s7comm.items"].to_list()[2] == ["DB9.DBX0.0 BYTE 1"]
    assert paired["s7comm.function"].to_list()[3] == "start_upload"
    assert paired["s7comm.block_type"].to_list()[3] == "DB"


def check(table: pl.DataFrame, batch: PduBatch) -> None:
    """What must hold for any bytes."""
    assert set(table.columns) == DECODER.fields | {"_pdu"}
    assert {name: dtype for name, dtype in table.schema.items() if name != "_pdu"} == {
        name: FIELDS[name].dtype for name in table.columns if name != "_pdu"
    }
    assert set(table["error.code"].drop_nulls()) <= set(DECODER.anomalies)
    assert (table["error.code"].is_null() == table["error.message"].is_null()).all()
    assert table["_pdu"].is_sorted()
    assert table["_pdu"].is_between(0, len(batch) - 1).all()


def test_an_empty_batch() -> None:
    batch = batch_of([])
    check(DECODER.decode(batch), batch)


@given(st.lists(st.binary(max_size=60), max_size=6))
@settings(max_examples=150)
def test_any_bytes(payloads: list[bytes]) -> None:
    batch = batch_of(payloads)
    check(DECODER.decode(batch), batch)


GOLDEN = [
    job(b"\x04\x02" + item(0x84, 20, 2, 8, db=5) + item(0x1D, 5, 0x1D)),
    ack(b"\x04\x02", b"\xff\x04\x00\x40" + bytes(range(8)) + b"\x0a\x00\x00\x00"),
    job(b"\x05\x01" + item(0x82, 0, 4), b"\x00\x04\x00\x10\x12\x34"),
    userdata(4, 1, b"\x04\x24\x00\x00\x00\x14\x00\x01" + bytes([2, 0x51, 0xFF, 8]) + bytes(16), kind=8),
    userdata(7, 2, bytes.fromhex("00202609011230152503")),
    userdata(3, 3, b"0A00007A"),
    pi(b"_INSE", b"\x01\x000800001P"),
    job(b"\x29" + bytes(5) + b"\x09P_PROGRAM"),
    job(bytes([0x1A]) + bytes(7) + b"\x09_0A00012P\x0d1000316000210"),
    plus(3, 0x31, 0x04F2, digest=True),
    tpkt(bytes([17, 0xE0, 0, 0, 0, 1, 0]) + b"\xc0\x01\x0a\xc1\x02\x01\x00\xc2\x02\x03\x42"),
    *fragments(job(b"\x04\x01" + item(0x83, 0))[7:], 12),
    b"\x03\x00\x00",
]


@given(st.data())
@settings(max_examples=200)
def test_messages_that_are_nearly_right(data: st.DataObject) -> None:
    packets = []
    for _ in range(data.draw(st.integers(1, 5))):
        packet = bytearray(data.draw(st.sampled_from(GOLDEN)))
        for _ in range(data.draw(st.integers(0, 4))):
            packet[data.draw(st.integers(0, len(packet) - 1))] = data.draw(st.integers(0, 255))
        packets.append(
            bytes(packet[: data.draw(st.integers(0, len(packet)))]) if data.draw(st.booleans()) else bytes(packet)
        )
    run = S7commDecode()
    batch = batch_of(packets)
    check(run(batch), batch)
    check(run(batch), batch)


_SCRIPT = """
import json, sys
from sensor.base import batch_of
from sensor.decoders.s7comm import DECODER
packets = [bytes.fromhex(one) for one in json.load(sys.stdin)]
print(json.dumps(DECODER.decode(batch_of(packets)).to_dicts(), default=str))
"""


def test_uncompiled_kernels_give_the_same() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT],
        input=json.dumps([packet.hex() for packet in GOLDEN]),
        env={**os.environ, "NUMBA_DISABLE_JIT": "1"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == json.loads(json.dumps(decode(*GOLDEN), default=str))


# What others say ---------------------------------------------------------------------------------------------------


def cut(octets: bytes) -> int:
    if octets[0] != 3:
        return -1
    if len(octets) < 4:
        return 0
    size = octets[2] << 8 | octets[3]
    return -1 if size < 7 else size if len(octets) >= size else 0


def real(captures: Path, read_capture: Any, name: str) -> pl.DataFrame:
    (path,) = (captures / "s7comm" / name).glob("*.pcap*")
    packets, direction, flow = read_capture(path).messages(102, cut)
    batch = batch_of(packets, direction=np.array(direction, np.int64), flow=np.array(flow, np.int64))  # type: ignore[arg-type]
    table = DECODER.decode(batch)
    check(table, batch)
    return table


# Messages in retransmitted segments that TShark marks as such and does not dissect; a write acknowledged with ROSCTR 2.
MORE_THAN_TSHARK = {
    ("ICS-Security-Tools__s7comm_clean.pcap", "s7comm.rosctr"): 12,
    ("ICS-Security-Tools__s7comm_clean.pcap", "s7comm.pdu_reference"): 12,
    ("ICS-Security-Tools__s7comm_clean.pcap", "s7comm.function_code"): 12,
    ("arkime__s7comm_synthetic.pcap", "s7comm.function_code"): 1,
}


def test_headers_as_tshark_sees_them(captures: Path, read_capture: Any) -> None:
    compared = 0
    for folder in sorted((captures / "s7comm").iterdir()):
        expected = folder / "expected" / "tshark" / "fields.tsv"
        if not expected.exists():
            continue
        with expected.open() as lines:
            rows = list(csv.DictReader(lines, delimiter="\t"))
        columns = {
            "s7comm.header.rosctr": "s7comm.rosctr",
            "s7comm.header.pduref": "s7comm.pdu_reference",
            "s7comm.param.func": "s7comm.function_code",
            "s7comm.param.userdata.funcgroup": "s7comm.group_code",
        }
        table = real(captures, read_capture, folder.name).filter(pl.col("cotp.protocol") == "s7comm")
        codes = {name: code for code, name in names.ROSCTR.items()}
        for theirs_name, ours_name in columns.items():
            theirs = Counter(int(one, 0) for row in rows for one in row[theirs_name].split(",") if one)
            values = table[ours_name].drop_nulls().to_list()
            ours = Counter(codes[value] for value in values) if ours_name == "s7comm.rosctr" else Counter(values)
            assert not theirs - ours, (folder.name, ours_name)
            more = (ours - theirs).total()
            assert more == MORE_THAN_TSHARK.get((folder.name, ours_name), 0), (folder.name, ours_name)
            compared += sum(ours.values())
    assert compared > 10_000


def _log(captures: Path, capture: str, name: str) -> list[dict[str, str]]:
    (path,) = (captures / "s7comm" / capture).rglob(name)
    lines = path.read_text().splitlines()
    header = next(line for line in lines if line.startswith("#fields")).split("\t")[1:]
    return [dict(zip(header, line.split("\t"), strict=True)) for line in lines if not line.startswith("#")]


@pytest.mark.parametrize("capture", ["icsnpp-s7comm__s7comm_plus.pcap", "icsnpp-s7comm__s7ident.pcap"])
def test_messages_as_icsnpp_logs_them(captures: Path, read_capture: Any, capture: str) -> None:
    table = real(captures, read_capture, capture)
    s7_rows = table.filter(pl.col("cotp.protocol") == "s7comm")
    log = _log(captures, capture, "s7comm.log")
    codes = {name: str(code) for code, name in names.ROSCTR.items()}
    # ICSNPP reads the reference with its low octet first, and has no line for an acknowledgement without data.
    ours = Counter(
        (codes[rosctr], str(reference >> 8 | (reference & 255) << 8))
        for rosctr, reference in s7_rows.select("s7comm.rosctr", "s7comm.pdu_reference").iter_rows()
        if rosctr != "ack"
    )
    assert ours == Counter((line["rosctr_code"], line["pdu_reference"]) for line in log)
    cotp = Counter(line["pdu_name"][:2] for line in _log(captures, capture, "cotp.log"))
    spelled = {"connect_request": "CR", "connect_confirm": "CC", "data": "DT"}
    assert Counter(spelled[name] for name in table["cotp.pdu_type"]) == cotp


def test_s7comm_plus_as_icsnpp_logs_it(captures: Path, read_capture: Any) -> None:
    table = real(captures, read_capture, "icsnpp-s7comm__s7comm_plus.pcap")
    ours = Counter(
        (str(version), opcode.capitalize(), function)
        for version, opcode, function in table.filter(pl.col("s7comm_plus.opcode").is_not_null())
        .select("s7comm_plus.version", "s7comm_plus.opcode", "s7comm_plus.function_code")
        .iter_rows()
    )
    log = _log(captures, "icsnpp-s7comm__s7comm_plus.pcap", "s7comm_plus.log")
    theirs = Counter(
        (line["version"], line["opcode_name"], None if line["function_code"] == "-" else int(line["function_code"], 16))
        for line in log
    )
    assert ours == theirs


def test_identity_as_icsnpp_logs_it(captures: Path, read_capture: Any) -> None:
    table = real(captures, read_capture, "icsnpp-s7comm__s7ident.pcap")
    (device,) = _log(captures, "icsnpp-s7comm__s7ident.pcap", "s7comm_known_devices.log")
    identity = set(table["s7comm.identity"].drop_nulls().explode())
    assert {f"system_name={device['automation_system_name']}", f"module_name={device['module_name']}"} <= identity
    assert f"serial={device['module_serial']}" in identity
