"""IEC 60870-5-104: vectors made by hand from IEC 60870-5-101:2003 (7) and 104:2006 (5), then anything at all."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from event.fields import FIELDS
from sensor.base import PduBatch, batch_of
from sensor.decoders import iec104
from sensor.pair import PairState, pair


def frame(asdu: str, *, send: int = 0, receive: int = 0, length: int | None = None) -> bytes:
    """An I frame (104, 5.1) around an ASDU in hex."""
    body = bytes.fromhex(asdu)
    size = len(body) + 4 if length is None else length
    return b"\x68" + size.to_bytes(1) + (send << 1).to_bytes(2, "little") + (receive << 1).to_bytes(2, "little") + body


def asdu(kind: int, body: str, *, vsq: int = 1, cause: int = 3, origin: int = 0, common: int = 1) -> bytes:
    """An I frame with an ASDU of one type: data unit identifier (101, 7.1), then objects in hex."""
    head = bytes([kind, vsq, cause, origin]) + common.to_bytes(2, "little")
    return frame(head.hex() + body)


def one(message: bytes, direction: int = 0) -> dict[str, object]:
    """Decode one frame; absent fields are left out."""
    table = iec104.decode(batch_of([message], direction=direction))
    assert table.height == 1
    return {
        name.removeprefix("iec104."): value
        for name, value in table.row(0, named=True).items()
        if value is not None and name != "_pdu"
    }


# 101, 7.2.6.18: 13:27:05.250 on Friday 14 June 2024; milliseconds 5250 = 0x1482
NOON56 = "8214 1B 0D AE 06 18"
NOON = datetime(2024, 6, 14, 13, 27, 5, 250_000, tzinfo=UTC)
IOA = "0A0200"  # object address 522, low octet first
ADDRESS = 522

# Type: information element in hex, then value, quality, and what else stands in it (101, 7.3; elements 7.2.6).
ELEMENTS: dict[int, tuple[str, float | None, str | None, dict[str, object]]] = {
    1: ("91", 1, "iv|bl", {}),
    3: ("42", 2, "nt", {}),
    5: ("7F 01", -1, "ov", {}),
    7: ("78563412 00", 0x12345678, "good", {}),
    9: ("00C0 20", -0.5, "sb", {}),
    11: ("FEFF 00", -2, "good", {}),
    13: ("00002841 00", 10.5, "good", {}),
    15: ("FFFFFFFF 65", -1, "ca|cy", {}),
    20: ("0F00 0100 00", 15, "good", {}),
    21: ("0040", 0.5, None, {}),
    45: ("81", 1, None, {"select": True, "qualifier": 0, "setpoint": 1}),
    46: ("06", 2, None, {"select": False, "qualifier": 1, "setpoint": 2}),
    47: ("0A", 2, None, {"select": False, "qualifier": 2}),
    48: ("0020 85", 0.25, None, {"select": True, "qualifier": 5, "setpoint": 0.25}),
    49: ("2C01 00", 300, None, {"select": False, "qualifier": 0, "setpoint": 300}),
    50: ("0000C842 00", 100, None, {"setpoint": 100}),
    51: ("FF000000", 255, None, {"setpoint": 255}),
    70: ("02", None, None, {"qualifier": 2, "access": "system"}),
    100: ("14", None, None, {"qualifier": 20, "access": "system"}),
    101: ("05", None, None, {"qualifier": 5}),
    102: ("", None, None, {"access": "system"}),
    104: ("AA55", 0x55AA, None, {}),
    105: ("01", None, None, {"qualifier": 1}),
    106: ("1027", 10000, None, {}),
    110: ("0040 01", 0.5, None, {"qualifier": 1, "setpoint": 0.5, "access": "parameter"}),
    111: ("0A00 02", 10, None, {"qualifier": 2, "setpoint": 10}),
    112: ("00000040 03", 2, None, {"qualifier": 3, "setpoint": 2}),
    113: ("01", None, None, {"qualifier": 1}),
    120: ("0100 100000 00", None, None, {"file_name": 1, "qualifier": 0, "access": "file"}),
    121: ("0100 02 100000 01", None, None, {"file_name": 1, "section": 2, "qualifier": 1}),
    122: ("0100 02 06", None, None, {"file_name": 1, "section": 2, "qualifier": 6}),
    123: ("0100 02 03 5A", None, None, {"file_name": 1, "section": 2, "qualifier": 3}),
    124: ("0100 02 03", None, None, {"file_name": 1, "section": 2, "qualifier": 3}),
    125: ("0100 02 03 AABBCC", None, None, {"file_name": 1, "section": 2}),
}
TIMED = {
    30: 1,
    31: 3,
    32: 5,
    33: 7,
    34: 9,
    35: 11,
    36: 13,
    37: 15,
    58: 45,
    59: 46,
    60: 47,
    61: 48,
    62: 49,
    63: 50,
    64: 51,
}
SHORT_TIMED = {2: 1, 4: 3, 6: 5, 8: 7, 10: 9, 12: 11, 14: 13, 16: 15}
# Types with a time of their own layout: element and time, value, quality.
OTHER_TIMED = {
    38: ("09 2C01" + NOON56, 1, "ei"),
    39: ("05 00 2C01" + NOON56, 5, "good"),
    40: ("0A 80 2C01" + NOON56, 10, "iv"),
    107: ("AA55" + NOON56, 0x55AA, None),
    126: ("0100 100000 00" + NOON56, None, None),
    127: ("0100" + NOON56 + NOON56, None, None),
}
OTHER_SHORT = {17: ("09 2C01", 1, "ei"), 18: ("05 00 2C01", 5, "good"), 19: ("0A 80 2C01", 10, "iv")}


def check(row: dict[str, object], kind: int, value: float | None, quality: str | None) -> None:
    assert row.get("error.code") is None, row
    assert (row["type_id"], row["type"], row["event.action"]) == (kind, iec104.TYPES[kind], iec104.TYPES[kind])
    assert (row["ioa"], row["first_ioa"], row["object_count"]) == ([ADDRESS], ADDRESS, 1)
    assert row.get("value") == (None if value is None else [value])
    assert row.get("value_min") == row.get("value_max") == value
    assert row.get("quality") == (None if quality is None else [quality])


@pytest.mark.parametrize("kind", ELEMENTS)
def test_elements_without_time(kind: int) -> None:
    body, value, quality, more = ELEMENTS[kind]
    row = one(asdu(kind, IOA + body))
    check(row, kind, value, quality)
    assert {name: row.get(name) for name in more} == more
    assert "time" not in row


@pytest.mark.parametrize("kind", TIMED)
def test_elements_with_long_time(kind: int) -> None:
    body, value, quality, more = ELEMENTS[TIMED[kind]]
    row = one(asdu(kind, IOA + body + NOON56))
    check(row, kind, value, quality)
    assert row["time"] == [NOON]
    assert {name: row.get(name) for name in more} == more


@pytest.mark.parametrize("kind", OTHER_TIMED)
def test_other_elements_with_long_time(kind: int) -> None:
    body, value, quality = OTHER_TIMED[kind]
    row = one(asdu(kind, IOA + body))
    check(row, kind, value, quality)
    assert row["time"] == [NOON]


# The frame is of 2023-11-14 22:13:20; minute and second place it in the nearest hour (101, 7.2.6.19).
@pytest.mark.parametrize(
    ("time", "expected"),
    [
        ("E803 0C", datetime(2023, 11, 14, 22, 12, 1, tzinfo=UTC)),
        ("E803 2D", datetime(2023, 11, 14, 21, 45, 1, tzinfo=UTC)),
        ("E803 2A", datetime(2023, 11, 14, 22, 42, 1, tzinfo=UTC)),
    ],
)
@pytest.mark.parametrize("kind", [*SHORT_TIMED, *OTHER_SHORT])
def test_elements_with_short_time(kind: int, time: str, expected: datetime) -> None:
    body, value, quality = OTHER_SHORT[kind] if kind in OTHER_SHORT else ELEMENTS[SHORT_TIMED[kind]][:3]
    row = one(asdu(kind, IOA + body + time))
    check(row, kind, value, quality)
    assert row["time"] == [expected]


def test_clock_synchronisation_sets_a_clock() -> None:
    row = one(asdu(103, "000000" + NOON56, cause=6))
    assert (row["clock"], row["access"], row["cause_name"]) == (NOON, "system", "activation")
    assert "time" not in row
    assert "error.code" not in row


def test_every_type_of_the_standard_has_an_example() -> None:
    seen = {*ELEMENTS, *TIMED, *SHORT_TIMED, *OTHER_TIMED, *OTHER_SHORT, 103}
    assert seen == set(iec104.TYPES)


def test_sequence_counts_addresses_up() -> None:
    row = one(asdu(1, IOA + "01 00 81", vsq=0x83, cause=20))
    assert (row["sequence"], row["ioa"]) == (True, [522, 523, 524])
    assert (row["value"], row["quality"]) == ([1, 0, 1], ["good", "good", "iv"])
    assert row["cause_name"] == "interrogated_by_station"


def test_objects_one_by_one() -> None:
    row = one(asdu(13, "010000 00002841 00" + "050000 00000000 01", vsq=2, cause=1, origin=9, common=0x0102))
    assert (row["sequence"], row["ioa"], row["value"]) == (False, [1, 5], [10.5, 0])
    assert (row["originator"], row["common_address"], row["cause_name"]) == (9, 0x0102, "periodic")
    assert (row["value_min"], row["value_max"]) == (0, 10.5)


def test_floats_are_exact() -> None:
    for text, value in (
        ("CDCCCC3D", 0.10000000149011612),
        ("01000000", 2.0**-149),
        ("FFFF7F7F", 3.4028234663852886e38),
    ):
        assert one(asdu(13, IOA + text + "00"))["value"] == [value]


@pytest.mark.parametrize(("octet", "name"), [(0x07, 0), (0x0B, 1), (0x13, 2), (0x23, 3), (0x43, 4), (0x83, 5)])
def test_u_frames(octet: int, name: int) -> None:
    row = one(bytes([0x68, 4, octet, 0, 0, 0]))
    assert (row["apci_type"], row["u_function"], row["event.action"]) == ("u", *[iec104.U_FUNCTIONS[name]] * 2)
    assert "error.code" not in row


def test_s_frame_and_sequence_numbers() -> None:
    assert one(bytes([0x68, 4, 1, 0, 0xFE, 0xFF])) == {
        "apci_type": "s",
        "recv_seq": 32767,
        "event.action": "acknowledge",
    }
    row = one(frame("66 01 05 00 0100 0A0200", send=32767, receive=258))
    assert (row["apci_type"], row["send_seq"], row["recv_seq"]) == ("i", 32767, 258)


@pytest.mark.parametrize(("cause", "name"), iec104.CAUSES.items())
def test_causes(cause: int, name: str) -> None:
    row = one(asdu(45, IOA + "01", cause=cause))
    assert (row["cause"], row["cause_name"], row["negative"], row["test"]) == (cause, name, False, False)
    expected = "success" if cause in (7, 9, 10) else "failure" if 44 <= cause <= 47 else None
    assert row.get("event.outcome") == expected


def test_negative_confirmation_and_test_bit() -> None:
    row = one(asdu(45, IOA + "01", cause=7 | 0x40 | 0x80))
    assert (row["negative"], row["test"], row["event.outcome"]) == (True, True, "failure")


def test_broadcast() -> None:
    assert one(asdu(100, "000000 14", cause=6, common=65535))["broadcast"] is True
    assert "broadcast" not in one(asdu(100, "000000 14", cause=6))


def test_time_marked_invalid_is_no_anomaly() -> None:
    row = one(asdu(30, IOA + "01" + "0000 80 00 00 00 00"))
    assert (row["time"], row["time_invalid"]) == ([None], True)
    assert "error.code" not in row
    row = one(asdu(30, IOA + "01" + "8214 9B 0D AE 06 18"))
    assert (row["time"], row["time_invalid"]) == ([NOON], True)


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        ("0000 00 00 1D 02 18", datetime(2024, 2, 29, tzinfo=UTC)),
        ("0000 00 00 1C 02 64", None),
        ("0000 00 00 1D 02 19", None),
        ("0000 00 00 01 01 46", datetime(1970, 1, 1, tzinfo=UTC)),
        ("5FEA 3B 17 1F 0C 45", datetime(2069, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC)),
        ("5FEA 3B 17 1F 0C 63", datetime(1999, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC)),
        ("60EA 00 00 01 01 18", None),
        ("0000 3C 00 01 01 18", None),
        ("0000 00 18 01 01 18", None),
        ("0000 00 00 00 01 18", None),
        ("0000 00 00 01 00 18", None),
        ("0000 00 00 01 0D 18", None),
        ("0000 00 00 1F 04 18", None),
    ],
)
def test_calendar(time: str, expected: datetime | None) -> None:
    row = one(asdu(30, IOA + "01" + time))
    assert row["time"] == [expected]
    assert row.get("error.code") == (None if expected else "invalid_time")


MALFORMED = [
    (b"", "truncated", {}),
    (b"\x68", "truncated", {}),
    (asdu(1, IOA + "01")[:-1], "truncated", {"first_ioa": ADDRESS, "type_id": 1}),
    (asdu(1, IOA + "01")[:8], "truncated", {"type_id": 1, "object_count": 1}),
    (b"\x67\x04\x07\x00\x00\x00", "bad_start", {}),
    (b"\x00\x68" + asdu(1, IOA + "01") + b"\x00", "bad_start", {"ioa": [ADDRESS], "value": [1], "type_id": 1}),
    (b"\x00\x68\x04\x07\x00\x00", "bad_start", {}),
    (b"\x68\x03\x07\x00\x00\x00", "bad_length", {"u_function": "startdt_act"}),
    (frame("01 01 03 00 0100 0A0200 01", length=254), "bad_length", {"ioa": [ADDRESS], "value": [1]}),
    (b"\x68\x04\x07\x00\x00\x00\x00", "trailing_bytes", {"u_function": "startdt_act"}),
    (b"\x68\x05\x01\x00\x00\x00\x00", "trailing_bytes", {"recv_seq": 0}),
    (b"\x68\x04\x0f\x00\x00\x00", "bad_apci", {"apci_type": "u"}),
    (b"\x68\x04\x07\x00\x01\x00", "bad_apci", {"u_function": "startdt_act"}),
    (b"\x68\x04\x05\x00\x02\x00", "bad_apci", {"recv_seq": 1}),
    (frame("01 01 03 00 01"), "short_asdu", {"type_id": 1, "cause": 3}),
    (asdu(41, IOA + "01"), "unknown_type", {"type": "unknown_41", "ioa": [ADDRESS]}),
    (asdu(200, IOA + "01", cause=6), "unknown_type", {"type_id": 200, "common_address": 1, "first_ioa": ADDRESS}),
    (asdu(1, IOA + "01", vsq=0), "no_objects", {"object_count": 0}),
    (asdu(1, IOA + "01" + IOA + "01 05", vsq=2), "object_count_mismatch", {"ioa": [ADDRESS] * 2, "value": [1, 1]}),
    (asdu(1, IOA + "01" * 9, vsq=0x84), "object_count_mismatch", {"value": [1] * 4}),
    (asdu(1, IOA + "01", vsq=0xFF), "object_count_mismatch", {"value": [1], "object_count": 127}),
    (frame("01 01 03 01 0A02 01"), "foreign_profile", {"cause": 3, "type": "m_sp_na_1"}),
    (frame("64 01 06 01 00 14"), "foreign_profile", {"cause": 6}),
    (asdu(1, IOA + "01", cause=0), "bad_cause", {"cause_name": "unknown_0", "value": [1]}),
    (asdu(45, (IOA + "01") * 2, vsq=2, cause=6), "not_single", {"ioa": [ADDRESS, ADDRESS], "setpoint": 1}),
    (asdu(1, IOA + "03"), "reserved_bits", {"value": [1]}),
    (asdu(13, IOA + "00002841 02"), "reserved_bits", {"value": [10.5]}),
    (asdu(46, IOA + "03", cause=6), "bad_command_state", {"setpoint": 3}),
    (asdu(13, IOA + "0000C07F 00"), "bad_value", {"value": [None]}),
    (asdu(50, IOA + "0000807F 00", cause=6), "bad_value", {"select": False}),
    (asdu(30, IOA + "01" + "FFFF 00 00 01 01 18"), "invalid_time", {"value": [1], "time": [None]}),
]


@pytest.mark.parametrize(("message", "code", "expected"), MALFORMED)
def test_malformed_frames_are_named_and_keep_what_could_be_read(
    message: bytes, code: str, expected: dict[str, object]
) -> None:
    row = one(message)
    assert row["error.code"] == code, row
    assert row["error.message"]
    assert {name: row.get(name) for name in expected} == expected


def test_every_anomaly_is_reached() -> None:
    assert {code for _, code, _ in MALFORMED} == set(iec104.ANOMALIES)


def paired(messages: list[bytes], direction: list[int]) -> tuple[pl.DataFrame, PairState]:
    batch: PduBatch = batch_of(messages, direction=direction)
    table = iec104.decode(batch).with_columns(
        _flow=pl.Series(batch.flow), _direction=pl.Series(batch.direction), _time=pl.Series(batch.timestamp)
    )
    state = PairState()
    return pair(table, iec104.PAIR, state), state


def test_confirmation_and_termination_meet_their_activation() -> None:
    table, state = paired(
        [
            asdu(45, IOA + "81", cause=6),
            asdu(100, "000000 14", cause=6),
            asdu(45, IOA + "81", cause=7),
            asdu(45, IOA + "01", cause=6),
            asdu(45, IOA + "01", cause=7),
            asdu(45, IOA + "01", cause=10),
            asdu(46, IOA + "01", cause=7),
        ],
        [0, 0, 1, 0, 1, 1, 1],
    )
    assert table["iec104.matched"].to_list() == [None, None, True, None, True, True, False]
    assert table["event.duration"].to_list() == [None, None, 2 * 10**9, None, 10**9, 2 * 10**9, None]
    assert (state.matched, state.unmatched) == (3, 1)


def test_switching_and_connection_frames_stay_single() -> None:
    messages = [
        asdu(45, IOA + "01", cause=6),
        bytes([0x68, 4, 0x07, 0, 0, 0]),
        asdu(30, IOA + "01" + NOON56),
        asdu(1, IOA + "01", cause=3),
        asdu(200, IOA + "01"),
        bytes([0x68, 4, 0x43, 0, 0, 0]),
        bytes([0x68, 4, 0x01, 0, 0, 0]),
        asdu(13, IOA + "00002841 00", cause=1),
        asdu(1, IOA + "01", cause=20),
    ]
    # All of them have number 0, which is not what this is about.
    table = iec104.decode(batch_of(messages)).with_columns(pl.lit(None, pl.String).alias("iec104.sequence_anomaly"))
    alone = table.select(iec104.DECODER.verbatim).to_series()
    assert alone.to_list() == [True] * 5 + [False] * 4


raw = st.binary(max_size=260)
VECTORS = [asdu(kind, IOA + body) for kind, (body, *_) in ELEMENTS.items()] + [
    asdu(kind, IOA + body) for kind, (body, *_) in OTHER_TIMED.items()
]


@st.composite
def bent(draw: st.DrawFn) -> bytes:
    """A frame of the standard, cut, lengthened or with bytes changed."""
    message = bytearray(draw(st.sampled_from(VECTORS)))
    for _ in range(draw(st.integers(0, 3))):
        message[draw(st.integers(0, len(message) - 1))] = draw(st.integers(0, 255))
    message = message[: draw(st.integers(0, len(message)))] if draw(st.booleans()) else message
    return bytes(message) + (draw(st.binary(max_size=20)) if draw(st.booleans()) else b"")


@settings(max_examples=150, deadline=None)
@given(st.lists(st.one_of(raw, raw.map(lambda tail: b"\x68" + tail), bent()), max_size=12))
def test_any_bytes_give_one_row_each_within_the_contract(messages: list[bytes]) -> None:
    table = iec104.decode(batch_of(messages))
    assert table["_pdu"].to_list() == list(range(len(messages)))
    assert set(table.columns) - {"_pdu"} <= iec104.FIELDS
    assert set(table["error.code"].drop_nulls()) <= set(iec104.ANOMALIES)
    objects = table["iec104.ioa"].list.len().fill_null(0)
    for name in ("iec104.value", "iec104.quality", "iec104.time"):
        there = table[name].list.len()
        assert (there.is_null() | (there == objects)).all()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(raw, bent()), min_size=2, max_size=8))
def test_frames_do_not_touch_each_other(messages: list[bytes]) -> None:
    # Short times hang on the time of the frame, and batch_of gives each row its own: leave them out. That numbers
    # follow each other is about several frames.
    whole = iec104.decode(batch_of(messages))
    for index, message in enumerate(messages):
        alone = iec104.decode(batch_of([message]))
        names = sorted(set(whole.columns) & set(alone.columns) - {"_pdu", "iec104.time", "iec104.sequence_anomaly"})
        assert whole[index].select(names).rows() == alone.select(names).rows()


def test_fields_are_declared() -> None:
    assert set(FIELDS) >= iec104.FIELDS
    assert set(iec104.DECODER.keys) <= iec104.FIELDS


_TWICE = """
import random, sys
from sensor.base import batch_of
from sensor.decoders import iec104
random.seed(7)
seeds = [bytes.fromhex(line) for line in sys.stdin.read().split()]
messages = []
for _ in range(600):
    message = bytearray(random.choice(seeds))
    for _ in range(random.randrange(3)):
        message[random.randrange(len(message))] = random.randrange(256)
    messages.append(bytes(message[: random.randrange(len(message) + 1)] if random.random() < 0.3 else message))
table = iec104.decode(batch_of(messages))
print(table.height, table.select(sorted(table.columns)).write_json())
"""


def test_without_compiler_the_result_is_the_same() -> None:
    results = []
    for off in ("0", "1"):
        done = subprocess.run(
            [sys.executable, "-c", _TWICE],
            input="\n".join(vector.hex() for vector in VECTORS),
            env={**os.environ, "NUMBA_DISABLE_JIT": off},
            capture_output=True,
            text=True,
            check=True,
        )
        results.append(done.stdout)
    assert results[0] == results[1]
    assert results[0].startswith("600 ")
