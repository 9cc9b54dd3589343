"""Frames are built here, with a CRC of their own; what others say about real captures is compared at the end."""

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
from sensor.decoders.dnp3 import DECODER, Dnp3Decode
from sensor.decoders.dnp3.kernel import MAX_POINTS
from sensor.decoders.dnp3.names import FUNCTIONS, IIN, control_code
from sensor.decoders.dnp3.objects import GROUPS, K_OCTETS, LAYOUT, SIZE

ROOT = Path(__file__).resolve().parents[3]
TO_OUTSTATION, TO_MASTER = 0xC4, 0x44


def crc(data: bytes) -> bytes:
    """CRC-16/DNP bit by bit (IEEE 1815-2012, annex E)."""
    value = 0
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0xA6BC if value & 1 else 0)
    return struct.pack("<H", value ^ 0xFFFF)


def link(user: bytes, control: int = TO_OUTSTATION, source: int = 1, destination: int = 10) -> bytes:
    head = struct.pack("<BBBBHH", 5, 0x64, 5 + len(user), control, destination, source)
    blocks = [user[at : at + 16] for at in range(0, len(user), 16)]
    return head + crc(head) + b"".join(block + crc(block) for block in blocks)


def request(function: int, objects: bytes = b"", sequence: int = 0, **kwargs: int) -> bytes:
    return link(bytes([0xC0, 0xC0 | sequence, function]) + objects, **kwargs)


def response(objects: bytes = b"", function: int = 129, iin: int = 0, sequence: int = 0) -> bytes:
    body = bytes([0xC0, 0xC0 | sequence, function]) + struct.pack(">H", iin) + objects
    return link(body, TO_MASTER, 10, 1)


def decode(*frames: bytes) -> list[dict[str, Any]]:
    return DECODER.decode(batch_of(list(frames))).to_dicts()


def one(frame: bytes) -> dict[str, Any]:
    (row,) = decode(frame)
    return row


def test_frame_of_the_standard() -> None:
    row = one(bytes.fromhex("056405c001000004e921"))
    assert row["dnp3.message_type"] == "link"
    assert row["dnp3.link_function"] == "reset_link_states"
    assert (row["dnp3.link_destination"], row["dnp3.link_source"]) == (1, 1024)
    assert (row["dnp3.master"], row["dnp3.outstation"]) == (1024, 1)
    assert row["error.code"] is None
    assert row["dnp3.crc_errors"] is None
    assert row["event.action"] == "reset_link_states"
    assert row["dnp3.function_code"] is None


def test_integrity_poll_and_its_answer() -> None:
    asked, answered = decode(
        request(1, bytes.fromhex("3c0206 3c0306 3c0406 3c0106".replace(" ", "")), sequence=5),
        response(
            bytes.fromhex("010200 0002 81 01 00 1e0100 0000 01 ffffffff".replace(" ", "")), iin=0x8210, sequence=5
        ),
    )
    assert asked["dnp3.objects"] == ["60.2", "60.3", "60.4", "60.1"]
    assert asked["dnp3.access"] == "read"
    assert asked["dnp3.request_function"] == "read"
    assert asked["dnp3.object_count"] is None
    assert asked["dnp3.index"] is None
    assert answered["dnp3.message_type"] == "response"
    assert answered["dnp3.sequence"] == 5
    assert answered["dnp3.iin"] == 0x8210
    assert answered["dnp3.iin_flags"] == ["class_1_events", "device_restart", "already_executing"]
    assert answered["dnp3.index"] == [0, 1, 2, 0]
    assert answered["dnp3.value"] == [1.0, 0.0, 0.0, -1.0]
    assert answered["dnp3.quality"] == ["online", "online", "none", "online"]
    assert (answered["dnp3.range_low"], answered["dnp3.range_high"]) == (0, 2)
    assert (answered["dnp3.value_min"], answered["dnp3.value_max"]) == (-1.0, 1.0)
    assert answered["dnp3.object_count"] == 4
    assert answered["event.outcome"] == "success"
    assert answered["dnp3.request_function"] is None


CROB = struct.pack("<BBBHBBIIB", 12, 1, 0x28, 1, 7, 0, 0, 0, 0)[:5] + struct.pack("<HBBIIB", 7, 0x41, 2, 500, 250, 0)


def test_select_and_its_answer() -> None:
    asked, answered = decode(request(3, CROB), response(CROB[:-1] + b"\x02"))
    assert asked["dnp3.function"] == "select"
    assert asked["dnp3.access"] == "control"
    assert asked["dnp3.index"] == [7]
    assert asked["dnp3.value"] is None
    assert asked["dnp3.control_code"] == ["close"]
    assert asked["dnp3.control_count"] == [2]
    assert asked["dnp3.control_on_time"] == [500]
    assert asked["dnp3.control_off_time"] == [250]
    assert asked["dnp3.control_status"] is None
    assert answered["dnp3.control_status"] == ["no_select"]
    assert answered["event.outcome"] == "failure"


@pytest.mark.parametrize(
    ("code", "name"),
    [
        (0x00, "nul"),
        (0x01, "pulse_on"),
        (0x03, "latch_on"),
        (0x04, "latch_off"),
        (0x41, "close"),
        (0x81, "trip"),
        (0x42, "close_pulse_off"),
        (0x21, "pulse_on|clear"),
        (0x11, "pulse_on|queue"),
        (0xC1, "reserved"),
        (0x09, "operation_9"),
    ],
)
def test_control_codes(code: int, name: str) -> None:
    assert control_code(code) == name


@pytest.mark.parametrize(
    ("variation", "data", "value"),
    [
        (1, struct.pack("<i", -70000), -70000.0),
        (2, struct.pack("<h", -7), -7.0),
        (3, struct.pack("<f", 1.5), 1.5),
        (4, struct.pack("<d", 0.1), 0.1),
    ],
)
def test_analog_output_blocks(variation: int, data: bytes, value: float) -> None:
    head = bytes([41, variation, 0x17, 1, 9])
    asked, answered = decode(request(5, head + data + b"\x00"), response(head + data + b"\x0c"))
    assert asked["dnp3.value"] == [value]
    assert asked["dnp3.index"] == [9]
    assert answered["dnp3.control_status"] == ["out_of_range"]


def test_every_function_code_is_named_and_classed() -> None:
    rows = decode(*(response(function=code) if code >= 129 else request(code) for code in range(256)))
    assert [row["dnp3.function_code"] for row in rows] == list(range(256))
    for code, row in enumerate(rows):
        if code in FUNCTIONS:
            assert (row["dnp3.function"], row["dnp3.access"]) == FUNCTIONS[code]
            assert row["error.code"] is None
        else:
            assert row["dnp3.function"] == f"reserved_{code}"
            assert row["error.code"] == "function_reserved"
    assert len(FUNCTIONS) == 34 + 3


def test_every_iin_bit_is_named() -> None:
    for bit, name in enumerate(IIN):
        value = 1 << bit + 8 if bit < 8 else 1 << bit - 8
        row = one(response(iin=value))
        assert row["dnp3.iin_flags"] == [name]
        assert row["event.outcome"] == ("failure" if 8 <= bit <= 10 else "success")


FIXED = [
    (gv >> 8, gv & 255)
    for gv in range(256, 1 << 16)
    if LAYOUT[gv] >= 0 and SIZE[gv] > 0 and (LAYOUT[gv] != K_OCTETS or gv & 255 < 3)
]


@pytest.mark.parametrize(("group", "variation"), FIXED)
def test_every_fixed_object_is_walked(group: int, variation: int) -> None:
    """Two objects with index prefixes, then a known one behind them: sizes must be right for it to be found."""
    size = int(SIZE[group * 256 + variation])
    body = bytes([group, variation, 0x28, 2, 0])
    body += struct.pack("<H", 3) + bytes(size) + struct.pack("<H", 5) + bytes([1]) * size
    row = one(response(body + bytes([20, 6, 0x00, 300 & 255, 300 & 255, 0x39, 0x05])))
    assert row["error.code"] is None
    assert row["dnp3.objects"] == [f"{group}.{variation}", "20.6"]
    assert row["dnp3.value"][-1] == 0x539
    assert row["dnp3.index"][-1] == 44
    if len(row["dnp3.index"]) > 1:
        assert row["dnp3.index"][:2] == [3, 5]


def test_the_layout_table_names_what_the_standard_has() -> None:
    known = {gv >> 8 for gv in range(1 << 16) if LAYOUT[gv] >= 0}
    assert known == GROUPS
    assert {1, 2, 3, 4, 10, 11, 12, 13, 20, 21, 22, 23, 30, 31, 32, 33, 34, 40, 41, 42, 43, 50, 51, 52} <= known
    assert {60, 70, 80, 81, 82, 83, 85, 86, 87, 88, 90, 91, 101, 102, 110, 111, 112, 113, 114, 115, 120} <= known


@pytest.mark.parametrize(
    ("objects", "values"),
    [
        ("010100 0009 ff01", [1.0] * 9 + [0.0]),
        ("030100 0004 e401", [0.0, 1.0, 2.0, 3.0, 1.0]),
        ("030200 0000 81", [2.0]),
        ("020228 0100 0300 81 000000000000", [1.0]),
        ("140100 0000 01 ffffffff", [4294967295.0]),
        ("150200 0000 01 feff", [65534.0]),
        ("160517 01 00 01 01000000 000000000000", [1.0]),
        ("1e0500 0000 01 0000c03f", [1.5]),
        ("1e0600 0000 01 9a9999999999b93f", [0.1]),
        ("1e0500 0000 01 0000c07f", None),
        ("200228 0100 0500 01 0080", [-32768.0]),
        ("220300 0000 00002040", [2.5]),
        ("280200 0000 01 ffff", [-1.0]),
        ("2b0217 01 04 00 ffff", [-1.0]),
        ("0d0117 01 04 80", [1.0]),
        ("340107 01 0200", [2000.0]),
        ("340207 01 0200", [2.0]),
        ("660100 0000 07", [7.0]),
        ("500100 0707 01", [1.0]),
    ],
)
def test_values(objects: str, values: list[float] | None) -> None:
    row = one(response(bytes.fromhex(objects.replace(" ", ""))))
    assert row["error.code"] is None
    assert row["dnp3.value"] == values


@pytest.mark.parametrize(
    ("head", "count"),
    [
        ("1e0100 0203", 2),
        ("1e0101 02000300", 2),
        ("1e0102 0200000003000000", 2),
        ("1e0107 02", 2),
        ("1e0108 0200", 2),
        ("1e0109 02000000", 2),
    ],
)
def test_range_qualifiers(head: str, count: int) -> None:
    row = one(response(bytes.fromhex(head.replace(" ", "")) + bytes(5 * count)))
    assert row["error.code"] is None
    assert row["dnp3.object_count"] == count
    assert row["dnp3.value"] == [0.0] * count
    assert row["dnp3.index"] == ([2, 3] if head[5] in "012" else None)


@pytest.mark.parametrize(("qualifier", "octets"), [(0x17, 1), (0x27, 2), (0x37, 4), (0x28, 2), (0x39, 4)])
def test_index_prefixes(qualifier: int, octets: int) -> None:
    count = {7: b"\x01", 8: b"\x01\x00", 9: b"\x01\x00\x00\x00"}[qualifier & 15]
    body = bytes([30, 2, qualifier]) + count + (200).to_bytes(octets, "little") + b"\x01\x05\x00"
    row = one(response(body))
    assert (row["dnp3.index"], row["dnp3.value"]) == ([200], [5.0])
    assert (row["dnp3.range_low"], row["dnp3.range_high"]) == (200, 200)


def test_a_read_of_single_points_lists_them() -> None:
    row = one(request(1, bytes.fromhex("1e00170303 0907".replace(" ", ""))))
    assert row["dnp3.index"] == [3, 9, 7]
    assert row["dnp3.value"] is None


def test_a_time_write_is_of_access_time() -> None:
    moment = datetime(2026, 9, 1, 12, 30, 15, 250000, UTC)
    milliseconds = int(moment.timestamp() * 1000)
    row = one(request(2, bytes([50, 1, 7, 1]) + milliseconds.to_bytes(6, "little")))
    assert row["dnp3.access"] == "time"
    assert row["dnp3.time"] == moment


def test_a_time_beyond_what_nanoseconds_hold_is_absent() -> None:
    row = one(request(2, bytes([50, 1, 7, 1]) + b"\xff" * 6))
    assert row["dnp3.time"] is None
    assert row["dnp3.objects"] == ["50.1"]


def test_file_open_and_its_answer() -> None:
    name = b"C:/config.xml"
    command = struct.pack("<HH6sHIIHHH", 26, len(name), bytes(6), 0o644, 0, 1234, 2, 1024, 1) + name
    status = struct.pack("<IIHHB", 5, 0xFFFFFFFF, 1024, 1, 3)
    asked, answered = decode(
        request(25, bytes([70, 3, 0x5B, 1]) + struct.pack("<H", len(command)) + command),
        response(bytes([70, 4, 0x5B, 1]) + struct.pack("<H", len(status)) + status),
    )
    assert asked["dnp3.file_name"] == "C:/config.xml"
    assert asked["dnp3.file_mode"] == "write"
    assert asked["dnp3.file_size"] == 1234
    assert asked["dnp3.access"] == "file"
    assert answered["dnp3.file_status"] == "not_found"


def test_a_file_password_is_not_kept() -> None:
    body = struct.pack("<HHHHI", 12, 4, 16, 6, 0) + b"user" + b"secret"
    row = one(request(29, bytes([70, 2, 0x5B, 1]) + struct.pack("<H", len(body)) + body))
    assert row["dnp3.file_user"] == "user"
    assert "secret" not in str(row)


def test_authentication() -> None:
    error = struct.pack("<IHHB6s", 1, 7, 0, 1, bytes(6)) + b"text"
    aggressive = struct.pack("<BBBBIH", 120, 3, 7, 1, 9, 5)
    failed, operated = decode(
        response(bytes([120, 7, 0x5B, 1]) + struct.pack("<H", len(error)) + error, function=131),
        request(4, aggressive + CROB),
    )
    assert failed["dnp3.access"] == "auth"
    assert (failed["dnp3.auth_user"], failed["dnp3.auth_error"]) == (7, "authentication_failed")
    assert operated["dnp3.auth_user"] == 5
    assert operated["dnp3.control_code"] == ["close"]
    assert operated["error.code"] is None


def test_device_attributes() -> None:
    objects = bytes([0, 252, 0, 0, 0, 1, 4]) + b"ACME" + bytes([0, 240, 0, 0, 0, 2, 2, 0, 8])
    row = one(response(objects))
    assert row["dnp3.device_attributes"] == ["vendor_name=ACME", "max_transmit_fragment=2048"]
    assert row["error.code"] is None


def test_broadcast() -> None:
    assert one(request(6, CROB, destination=0xFFFF))["dnp3.broadcast"] is True
    assert one(request(6, CROB, destination=10))["dnp3.broadcast"] is False


def broken(code: str, frame: bytes) -> dict[str, Any]:
    row = one(frame)
    assert row["error.code"] == code
    assert row["error.message"].startswith(DECODER.anomalies[code])
    return row


def test_anomalies_of_the_link_layer() -> None:
    good = request(1, bytes.fromhex("3c0106"))
    broken("link_short", good[:9])
    broken("link_start", b"\x05\x65" + good[2:])
    head = struct.pack("<BBBBHH", 5, 0x64, 4, 0xC4, 1, 1)
    broken("link_length", head + crc(head))
    broken("link_cut", good[:-3])
    broken("link_trailing", good + b"\0")
    row = broken("crc_header", good[:8] + b"\0\0" + good[10:])
    assert row["dnp3.crc_errors"] == 1
    assert row["dnp3.function"] == "read"
    row = broken("crc_data", good[:-1] + bytes([good[-1] ^ 1]))
    assert row["dnp3.crc_errors"] == 1
    broken("link_function", link(b"", 0xC5))
    broken("link_function", link(b"", 0x82))
    broken("link_unexpected_data", link(b"\xc0\xc0\x01", 0xC0))
    broken("transport_missing", link(b""))


def test_anomalies_of_the_application_layer() -> None:
    broken("app_short", link(b"\xc0\xc0"))
    broken("app_short", link(b"\xc0\xc0\x81\x00", TO_MASTER))
    broken("object_header", request(1, b"\x3c\x01"))
    broken("object_header", request(1, b"\x01\x02\x00\x00"))
    broken("object_header", request(1, b"\x01\x02\x08\x00"))
    broken("qualifier", request(1, b"\x3c\x01\x86"))
    broken("qualifier", request(1, b"\x3c\x01\x0a"))
    broken("range_order", request(1, b"\x01\x02\x00\x05\x04"))
    broken("object_unknown", response(b"\x63\x01\x00\x00\x00"))
    row = broken("object_short", response(b"\x01\x02\x00\x00\x05\x81\x81"))
    assert row["dnp3.value"] == [1.0, 1.0]
    broken("object_short", response(b"\x01\x01\x00\x00\x0f\x81"))
    broken("object_short", request(1, b"\x01\x02\x17\x03\x01"))
    broken("object_short", request(25, b"\x46\x03\x5b\x01\xff\x00\x00"))


def segments(body: bytes, size: int, first: int = 0, control: int = TO_MASTER) -> list[bytes]:
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    return [
        link(
            bytes([(0x40 if n == 0 else 0) | (0x80 if n == len(parts) - 1 else 0) | (first + n) % 64]) + part,
            control, 10, 1,
        )
        for n, part in enumerate(parts)
    ]  # fmt: skip


LONG = bytes([0xC0, 129, 0, 0]) + bytes([30, 4, 0, 0, 199]) + b"".join(struct.pack("<h", n) for n in range(200))


@pytest.mark.parametrize("batches", [1, 2, 3])
def test_segments_become_one_row(batches: int) -> None:
    frames = segments(LONG, 150, first=62)
    run = Dnp3Decode()
    cuts = [frames] if batches == 1 else [[frame] for frame in frames] if batches == 3 else [frames[:2], frames[2:]]
    tables = [run(batch_of(list(cut))) for cut in cuts]
    assert [table.height for table in tables[:-1]] == [0] * (len(tables) - 1)
    (row,) = tables[-1].to_dicts()
    assert row["_pdu"] == len(cuts[-1]) - 1
    assert row["dnp3.value"] == [float(n) for n in range(200)]
    assert row["error.code"] is None
    assert run.reassembler.pending == 0


def test_whole_frames_between_segments_of_another_conversation_stay_in_order() -> None:
    frames = segments(LONG, 150)
    other = request(1, bytes.fromhex("3c0106"), source=2, destination=11)
    rows = decode(frames[0], other, *frames[1:], other)
    assert [row["_pdu"] for row in rows] == [1, 3, 4]
    assert [row["dnp3.function"] for row in rows] == ["read", "response", "read"]


def test_a_fragment_that_is_never_finished_is_told() -> None:
    frames = segments(LONG, 150)
    rows = decode(frames[0], response())
    assert [(row["_pdu"], row["error.code"]) for row in rows] == [(1, "transport_incomplete"), (1, None)]
    assert rows[0]["dnp3.function"] == "response"
    run = Dnp3Decode()
    assert run(batch_of(frames[:1])).height == 0
    assert run(batch_of([response()]))["error.code"].to_list() == ["transport_incomplete", None]


def test_a_missing_segment_and_an_orphan_are_told() -> None:
    frames = segments(LONG, 100)
    assert len(frames) == 5
    rows = decode(frames[0], frames[2], frames[3])
    assert [(row["_pdu"], row["error.code"]) for row in rows] == [(1, "transport_sequence"), (2, "transport_orphan")]
    assert rows[0]["dnp3.function"] == "response"
    assert rows[1]["dnp3.function"] is None


def test_a_bad_crc_does_not_touch_the_reassembly() -> None:
    frames = segments(LONG, 150)
    forged = bytearray(segments(b"\xc0\x81" + bytes(100), 150)[0])
    forged[-1] ^= 0xFF
    part = bytearray(frames[1])
    part[30] ^= 0xFF
    rows = decode(frames[0], bytes(forged), bytes(part), *frames[1:])
    assert [row["error.code"] for row in rows] == ["crc_data", "crc_data", None]
    assert rows[1]["dnp3.message_type"] == "link"
    assert len(rows[2]["dnp3.value"]) == 200


def test_points_listed_are_bounded_and_all_are_counted() -> None:
    # 16-bit range of packed bits, 250 octets: 2,000 points
    frames = segments(bytes([0xC0, 129, 0, 0, 1, 1, 1, 0, 0]) + struct.pack("<H", 1999) + b"\xff" * 250, 240)
    (row,) = decode(*frames)
    assert row["error.code"] is None
    assert row["dnp3.object_count"] == 2000
    assert len(row["dnp3.index"]) == MAX_POINTS
    assert row["dnp3.range_high"] == 1999


def test_huge_ranges_cost_nothing() -> None:
    row = one(request(1, b"\x1e\x01\x02" + b"\0" * 4 + b"\xff" * 4))
    assert row["dnp3.object_count"] == 1 << 32
    row = broken("object_short", response(b"\x1e\x01\x09\xff\xff\xff\xff\x01"))
    assert row["dnp3.object_count"] == (1 << 32) - 1


def test_lists_grow_over_many_fragments() -> None:
    frame = response(bytes([1, 1, 1, 0, 0, 255, 0]) + b"\xaa" * 32)
    table = DECODER.decode(batch_of([frame] * 300))
    assert table["dnp3.index"].list.len().unique().to_list() == [256]
    assert table["dnp3.value"].list.sum().unique().to_list() == [128.0]


def test_what_is_collapsed_and_what_is_not() -> None:
    frames = {
        "poll": request(1, bytes.fromhex("3c0106")),
        "answer": response(b"\x01\x02\x00\x00\x00\x81"),
        "confirm": request(0),
        "keep_alive": link(b"", 0xC9),
        "status": link(b"", 0x0B),
        "null": response(function=130),
        "select": request(3, CROB),
        "echo": response(CROB),
        "write": request(2, b"\x50\x01\x00\x07\x07\x00"),
        "restart": request(13),
        "events": response(b"\x02\x01\x17\x01\x00\x81", function=130),
        "refused": response(iin=0x0001),
        "reset": link(b"", 0xC0),
    }
    table = DECODER.decode(batch_of(list(frames.values())))
    assert DECODER.verbatim is not None
    alone = table.select(DECODER.verbatim.fill_null(True)).to_series().to_list()
    kept = {name for name, is_alone in zip(frames, alone, strict=True) if is_alone}
    assert kept == {"select", "echo", "write", "restart", "events", "refused", "reset"}


def test_pairing() -> None:
    from sensor.pair import FLOW, TIME, PairState, pair

    frames = [
        request(13, sequence=3),
        request(1, sequence=4),
        response(sequence=4),
        response(sequence=3),
        response(sequence=9),
    ]
    table = DECODER.decode(batch_of(frames)).with_columns(
        pl.lit(0, pl.Int64).alias(FLOW), pl.int_range(pl.len(), dtype=pl.Int64).alias(TIME)
    )
    assert DECODER.pair is not None
    paired = pair(table, DECODER.pair, PairState())
    assert paired["dnp3.request_function"].to_list() == ["cold_restart", "read", "read", "cold_restart", None]
    assert paired["dnp3.matched"].to_list()[2:4] == [True, True]


def check(table: pl.DataFrame, batch: PduBatch) -> None:
    """What must hold for any bytes."""
    assert set(table.columns) == DECODER.fields | {"_pdu"} - {"dnp3.matched"}
    assert {name: dtype for name, dtype in table.schema.items() if name != "_pdu"} == {
        name: FIELDS[name].dtype for name in table.columns if name != "_pdu"
    }
    assert set(table["error.code"].drop_nulls()) <= set(DECODER.anomalies)
    assert (table["error.code"].is_null() == table["error.message"].is_null()).all()
    assert table["_pdu"].is_sorted()
    assert table["_pdu"].is_between(0, len(batch) - 1).all()


def test_an_empty_batch() -> None:
    batch = batch_of([])
    table = DECODER.decode(batch)
    assert table.is_empty()
    check(table, batch)


@given(st.lists(st.binary(max_size=60), max_size=6))
@settings(max_examples=150)
def test_any_bytes(payloads: list[bytes]) -> None:
    batch = batch_of(payloads)
    table = DECODER.decode(batch)
    check(table, batch)
    assert set(table["_pdu"]) == set(range(len(payloads)))


_OBJECTS = st.lists(
    st.tuples(st.sampled_from([0, 1, 2, 3, 10, 12, 20, 21, 30, 32, 41, 50, 52, 60, 70, 80, 110, 120, 255]),
              st.integers(0, 12),
              st.sampled_from([0, 1, 2, 3, 5, 6, 7, 8, 9, 0x0B, 0x17, 0x28, 0x39, 0x4B, 0x5B, 0x6B, 0x70, 0x80]),
              st.binary(max_size=24)),
    max_size=5,
)  # fmt: skip


@given(
    st.lists(st.tuples(st.integers(0, 255), st.integers(0, 255), st.integers(0, 140), _OBJECTS), max_size=8),
    st.randoms(),
)
@settings(max_examples=200)
def test_frames_that_are_nearly_right(
    parts: list[tuple[int, int, int, list[tuple[int, int, int, bytes]]]], random: Any
) -> None:
    frames = []
    for transport, control, function, objects in parts:
        body = b"".join(bytes([g, v, q]) + data for g, v, q, data in objects)
        frame = bytearray(link(bytes([transport, control, function]) + body[:240]))
        if random.random() < 0.2:
            frame[random.randrange(len(frame))] ^= 1 << random.randrange(8)
        frames.append(bytes(frame))
    run = Dnp3Decode()
    batch = batch_of(frames)
    check(run(batch), batch)
    check(run(batch), batch)


GOLDEN = [
    request(1, bytes.fromhex("3c0206")),
    request(3, CROB),
    *segments(LONG, 150),
    response(b"\x1e\x06\x00\x00\x00\x01\x9a\x99\x99\x99\x99\x99\xb9\x3f"),
    response(b"\x03\x01\x00\x00\x04\xe4\x01"),
    b"\x05\x64\x00",
    request(77),
    response(bytes([0, 252, 0, 0, 0, 1, 4]) + b"ACME"),
]
_SCRIPT = """
import json, sys
from sensor.base import batch_of
from sensor.decoders.dnp3 import DECODER
frames = [bytes.fromhex(one) for one in json.load(sys.stdin)]
print(json.dumps(DECODER.decode(batch_of(frames)).to_dicts(), default=str))
"""


def test_uncompiled_kernels_give_the_same() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT],
        input=json.dumps([frame.hex() for frame in GOLDEN]),
        env={**os.environ, "NUMBA_DISABLE_JIT": "1"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == json.loads(json.dumps(decode(*GOLDEN), default=str))


# What others say ---------------------------------------------------------------------------------------------------


def cut(octets: bytes) -> int:
    if octets[:2] != b"\x05\x64"[: len(octets)]:
        return -1
    if len(octets) < 3:
        return 0
    user = octets[2] - 5
    size = 10 + user + 2 * ((user + 15) // 16)
    return size if len(octets) >= size else 0


def real(captures: Path, read_capture: Any, name: str) -> pl.DataFrame:
    (path,) = (captures / "dnp3" / name).glob("*.pcap*")
    frames, direction, flow = read_capture(path).messages(20000, cut)
    batch = batch_of(frames, direction=np.array(direction, np.int64), flow=np.array(flow, np.int64))  # type: ignore[arg-type]
    table = DECODER.decode(batch)
    check(table, batch)
    return table


NOT_COMPARED = {
    "icsnpp-dnp3__dnp3_example.pcap": "TShark loses four responses; ICSNPP's own logs, below, agree with us",
    "nDPI__dnp3.pcap": "segments come three times, some altered: a matter of the TCP stream",
}


def test_function_codes_as_tshark_sees_them(captures: Path, read_capture: Any) -> None:
    compared = 0
    for folder in sorted((captures / "dnp3").iterdir()):
        expected = folder / "expected" / "tshark" / "fields.tsv"
        if not expected.exists() or folder.name in NOT_COMPARED:
            continue
        with expected.open() as lines:
            rows = list(csv.DictReader(lines, delimiter="\t"))
        theirs = Counter(int(code) for row in rows for code in row["dnp3.al.func"].split(",") if code)
        ours = Counter(real(captures, read_capture, folder.name)["dnp3.function_code"].drop_nulls().to_list())
        assert ours == theirs, folder.name
        compared += sum(theirs.values())
    assert compared > 150


def test_controls_as_icsnpp_logs_them(captures: Path, read_capture: Any) -> None:
    table = real(captures, read_capture, "icsnpp-dnp3__dnp3_example.pcap")
    (log,) = (captures / "dnp3" / "icsnpp-dnp3__dnp3_example.pcap").rglob("dnp3_control.log")
    theirs: Counter[tuple[object, ...]] = Counter()
    for line in log.read_text().splitlines():
        if line.startswith("#"):
            continue
        cells = line.split("\t")
        function, index, side, operation, _, count, on, off, status = cells[12:21]
        name = {"Close": "close", "Trip": "trip"}[side] + ("" if operation == "Pulse On" else "_pulse_off")
        theirs[
            function, int(index), name, int(count), int(on), int(off), None if status == "-" else status.lower()
        ] += 1
    ours: Counter[tuple[object, ...]] = Counter()
    for row in table.filter(pl.col("dnp3.control_code").is_not_null()).iter_rows(named=True):
        for n, index in enumerate(row["dnp3.index"]):
            ours[
                row["dnp3.function"].upper(), index, row["dnp3.control_code"][n], row["dnp3.control_count"][n],
                row["dnp3.control_on_time"][n], row["dnp3.control_off_time"][n],
                row["dnp3.control_status"][n] if row["dnp3.control_status"] else None,
            ] += 1  # fmt: skip
    assert ours == theirs
    assert sum(ours.values()) > 500


def test_object_headers_as_icsnpp_logs_them(captures: Path, read_capture: Any) -> None:
    table = real(captures, read_capture, "icsnpp-dnp3__dnp3_example.pcap")
    (log,) = (captures / "dnp3" / "icsnpp-dnp3__dnp3_example.pcap").rglob("dnp3_objects.log")
    lines = [line.split("\t") for line in log.read_text().splitlines() if not line.startswith("#")]
    headers = (
        table.filter(pl.col("dnp3.objects").is_not_null() & (pl.col("dnp3.message_type") != "unsolicited"))
        .select("dnp3.function", "dnp3.objects")
        .explode("dnp3.objects")
        .filter(pl.col("dnp3.objects") != "12.1")
    )
    # The log has neither unsolicited responses nor the controls, which are in a log of their own.
    spelled = {
        "1.2": "Binary Input With Status",
        "10.2": "Binary Output Status",
        "30.2": "16-Bit Analog Input",
        "40.2": "16-Bit Analog Output Status",
        **{f"60.{n + 1}": f"Class {n} Data" for n in range(4)},
    }
    ours = Counter((function.upper(), spelled[name]) for function, name in headers.iter_rows())
    assert ours == Counter((cells[11], cells[12]) for cells in lines)
    assert sum(ours.values()) > 500


@pytest.mark.parametrize(
    "name",
    [
        "zeek__dnp3.pcap",
        "zeek__dnp3_del_measure.pcap",
        "zeek__dnp3_en_spon.pcap",
        "zeek__dnp3_file_read.pcap",
        "zeek__dnp3_file_write.pcap",
        "zeek__dnp3_read.pcap",
        "zeek__dnp3_udp_write.pcap",
    ],
)
def test_requests_and_answers_as_zeek_logs_them(captures: Path, read_capture: Any, name: str) -> None:
    table = real(captures, read_capture, name)
    (log,) = (captures / "dnp3" / name).rglob("dnp3.log")
    cells = [line.split("\t") for line in log.read_text().splitlines() if not line.startswith("#")]
    spelled = {"delay_measurement": "DELAY_MEASURE", "stop_application": "STOP_APPL"}
    requests = table.filter(pl.col("dnp3.message_type") == "request")["dnp3.function"]
    asked = Counter(spelled.get(function, function.upper()) for function in requests)
    theirs = Counter(cell[6] for cell in cells if cell[6] != "-")
    # The log has one line for a request and its answer and forgets a request when the next one comes.
    assert not theirs - asked
    answered = Counter(table["dnp3.iin"].drop_nulls())
    assert answered == Counter(int(cell[8]) for cell in cells if cell[8] != "-")
