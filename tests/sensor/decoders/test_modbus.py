"""Modbus/TCP: vectors made by hand from MODBUS Application Protocol V1.1b3, then anything at all."""

from __future__ import annotations

import os
import subprocess
import sys

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from event.fields import FIELDS
from sensor.base import batch_of
from sensor.columns import lists
from sensor.decoders import modbus
from sensor.pair import PairState, pair


def adu(body: str, *, transaction: int = 1, protocol: int = 0, unit: int = 1, length: int | None = None) -> bytes:
    """An MBAP header (Messaging 3.1.3) before a function and its body, given in hex."""
    pdu = bytes.fromhex(body)
    size = len(pdu) + 1 if length is None else length
    head = transaction.to_bytes(2) + protocol.to_bytes(2) + size.to_bytes(2) + unit.to_bytes(1)
    return head + pdu


def one(message: bytes, direction: int = 0) -> dict[str, object]:
    """Decode one message; absent fields are left out."""
    table = modbus.decode(batch_of([message], direction=direction))
    assert table.height == 1
    return {
        name.removeprefix("modbus."): value
        for name, value in table.row(0, named=True).items()
        if value is not None and name != "_pdu"
    }


def exchange(request: str, response: str) -> dict[str, object]:
    """Decode a request and its response, pair them, and give the response."""
    batch = batch_of([adu(request), adu(response)], direction=[0, 1])
    table = modbus.decode(batch).with_columns(
        _flow=pl.Series(batch.flow), _direction=pl.Series(batch.direction), _time=pl.Series(batch.timestamp)
    )
    row = pair(table, modbus.PAIR, PairState()).row(1, named=True)
    return {name.removeprefix("modbus."): value for name, value in row.items() if value is not None}


# Request and response of each public function, from the example that the clause itself prints.
EXAMPLES = {
    1: ("01 0013 0013", "01 03 CD 6B 05"),  # 6.1
    2: ("02 00C4 0016", "02 03 AC DB 35"),  # 6.2
    3: ("03 006B 0003", "03 06 022B 0000 0064"),  # 6.3
    4: ("04 0008 0001", "04 02 000A"),  # 6.4
    5: ("05 00AC FF00", "05 00AC FF00"),  # 6.5
    6: ("06 0001 0003", "06 0001 0003"),  # 6.6
    7: ("07", "07 6D"),  # 6.7
    8: ("08 0000 A537", "08 0000 A537"),  # 6.8
    11: ("0B", "0B FFFF 0108"),  # 6.9
    12: ("0C", "0C 08 0000 0108 0121 2000"),  # 6.10
    15: ("0F 0013 000A 02 CD01", "0F 0013 000A"),  # 6.11
    16: ("10 0001 0002 04 000A 0102", "10 0001 0002"),  # 6.12
    17: ("11", "11 03 41 42 FF"),  # 6.13
    20: ("14 0E 06 0004 0001 0002 06 0003 0009 0002", "14 0C 05 06 0DFE 0020 05 06 33CD 0040"),  # 6.14
    21: ("15 0D 06 0004 0007 0003 06AF 04BE 100D", "15 0D 06 0004 0007 0003 06AF 04BE 100D"),  # 6.15
    22: ("16 0004 00F2 0025", "16 0004 00F2 0025"),  # 6.16
    23: (
        "17 0003 0006 000E 0003 06 00FF 00FF 00FF",
        "17 0C 00FE 0ACD 0001 0003 000D 00FF",
    ),  # 6.17
    24: ("18 04DE", "18 0006 0002 01B8 1284"),  # 6.18
    43: (
        "2B 0E 01 00",
        "2B 0E 01 01 00 00 03 00 16 436F6D70616E79206964656E74696669636174696F6E 01 0D"
        "50726F6475637420636F646520 02 05 56322E3131",
    ),  # 6.21; the printed product code is one byte short of its length, a blank fills it
}


def test_every_public_function_of_the_standard_has_an_example() -> None:
    assert set(EXAMPLES) | {90} == set(modbus.FUNCTIONS)


@pytest.mark.parametrize("code", EXAMPLES)
def test_examples_of_the_standard_decode_without_anomaly(code: int) -> None:
    request, response = EXAMPLES[code]
    for body, direction in ((request, 0), (response, 1)):
        row = one(adu(body), direction)
        assert row.get("error.code") is None, row
        assert row["function_code"] == code
        assert row["function"] == row["event.action"] == modbus.FUNCTIONS[code]
        assert row["message_type"] == ("request", "response")[direction]
    assert one(adu(response), 1)["event.outcome"] == "success"
    assert exchange(request, response)["matched"] is True


def bits(text: str) -> list[int]:
    return [int(bit) for bit in text.replace(" ", "")]


def test_coils_are_cut_to_the_number_asked_for() -> None:
    # 6.1: outputs 20 to 38, the example's bytes CD 6B 05, least significant bit first
    row = exchange(*EXAMPLES[1])
    assert row["values"] == bits("1011 0011 1101 0110 101")
    assert (row["address"], row["quantity"]) == (19, 19)
    assert (row["value_min"], row["value_max"]) == (0, 1)
    assert one(adu(EXAMPLES[1][1]), 1)["values"] == bits("1011 0011 1101 0110 1010 0000")
    single = exchange("02 0007 0001", "02 01 01")
    assert (single["values"], single["value"], single["value_min"]) == ([1], 1, 1)


def test_registers_read() -> None:
    row = exchange(*EXAMPLES[3])
    assert row["values"] == [0x022B, 0, 0x64]
    assert (row["address"], row["quantity"], row["access"]) == (0x6B, 3, "read")
    assert (row["value_min"], row["value_max"]) == (0, 0x022B)
    assert "value" not in row
    assert row["event.duration"] == 1_000_000_000
    assert exchange(*EXAMPLES[4])["value"] == 10


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("05 00AC FF00", {"address": 0xAC, "quantity": 1, "value": 1, "values": [1], "access": "write"}),
        ("05 00AC 0000", {"address": 0xAC, "value": 0}),
        ("06 0001 0003", {"address": 1, "quantity": 1, "value": 3, "value_min": 3, "value_max": 3}),
        ("0F 0013 000A 02 CD01", {"address": 0x13, "quantity": 10, "values": bits("1011 0011 10")}),
        ("10 0001 0002 04 000A 0102", {"address": 1, "quantity": 2, "values": [10, 0x102]}),
        ("16 0004 00F2 0025", {"address": 4, "and_mask": 0xF2, "or_mask": 0x25, "access": "write"}),
        (
            "17 0003 0006 000E 0003 06 00FF 00FE 00FD",
            {"address": 3, "quantity": 6, "write_address": 14, "write_quantity": 3, "values": [255, 254, 253]},
        ),
        ("08 0001 FF00", {"sub_function": 1, "diagnostic": "restart_communications_option", "value": 0xFF00}),
        ("08 0004 0000", {"sub_function": 4, "diagnostic": "force_listen_only_mode", "access": "diagnostic"}),
        ("18 04DE", {"address": 0x4DE, "access": "read"}),
        ("14 07 06 0004 0001 0002", {"file_records": ["4/1/2"], "access": "file"}),
        ("15 0D 06 0004 0007 0003 06AF 04BE 100D", {"file_records": ["4/7/3=06af04be100d"]}),
        ("2B 0E 04 02", {"mei_type": 14, "read_device_id_code": 4, "data": "02", "access": "identification"}),
        ("2B 0D 0000", {"mei_type": 13, "data": "0000"}),
        ("5A 00 41 FF00", {"umas_function": "stop_plc", "umas_function_code": 0x41, "access": "program"}),
        ("5A 00 22 01", {"umas_function": "read_variables", "access": "read"}),
        ("5A 00 99", {"umas_function": "unknown_153", "access": "program"}),
        ("63 0102", {"function": "unknown_99", "access": "other", "data": "0102"}),
    ],
)
def test_request_fields(body: str, expected: dict[str, object]) -> None:
    row = one(adu(body))
    assert {name: row.get(name) for name in expected} == expected
    assert "error.code" not in row
    assert "event.outcome" not in row


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("07 6D", {"exception_status": 0x6D}),
        ("0B FFFF 0108", {"event_count": 0x108}),
        ("0C 08 0000 0108 0121 2000", {"event_count": 0x108, "message_count": 0x121, "data": "2000"}),
        ("11 03 41 42 FF", {"server_id": "0x4142ff"}),
        ("11 05 50 4C 43 2D 31", {"server_id": "PLC-1"}),
        ("14 06 05 06 0DFE 0020", {"file_records": ["=0dfe0020"]}),
        ("18 0006 0002 01B8 1284", {"quantity": 2, "values": [440, 4740]}),
        (
            "2B 0E 01 01 00 00 02 00 03 414243 80 01 07",
            {"device_id_objects": ["vendor_name=ABC", "object_128=0x07"], "read_device_id_code": 1},
        ),
        ("5A 00 FE 01", {"event.outcome": "success", "data": "01"}),
        ("5A 00 FD 01", {"event.outcome": "failure"}),
    ],
)
def test_response_fields(body: str, expected: dict[str, object]) -> None:
    row = one(adu(body), 1)
    assert {name: row.get(name) for name in expected} == expected
    assert "error.code" not in row


def test_umas_answer_learns_its_function_from_the_request() -> None:
    row = exchange("5A 00 41 FF00", "5A 00 FE")
    assert (row["umas_function"], row["access"], row["event.outcome"]) == ("stop_plc", "program", "success")


@pytest.mark.parametrize(("code", "name"), modbus.EXCEPTIONS.items())
def test_exceptions(code: int, name: str) -> None:
    row = one(adu(f"83 {code:02x}"), 1)
    assert (row["function_code"], row["exception_code"], row["exception"]) == (3, code, name)
    assert row["event.outcome"] == ("unknown" if code == 5 else "failure")
    assert "error.code" not in row
    row = exchange("03 006B 0003", f"83 {code:02x}")
    assert (row["address"], row["quantity"], row["matched"]) == (0x6B, 3, True)


def test_broadcast_is_a_write_to_unit_0() -> None:
    assert one(adu("06 0001 0003", unit=0))["broadcast"] is True
    assert "broadcast" not in one(adu("03 0001 0003", unit=0))
    assert "broadcast" not in one(adu("06 0001 0003", unit=1))
    assert "broadcast" not in one(adu("06 0001 0003", unit=0), 1)


MALFORMED = [
    (adu("03 006B 0003")[:10], 0, "truncated", {"address": 0x6B, "function_code": 3}),
    (adu("03 006B 0003")[:7], 0, "truncated", {"unit_id": 1, "transaction_id": 1}),
    (b"", 0, "truncated", {}),
    (b"\x00", 0, "truncated", {}),
    (adu("03 006B 0003", protocol=7), 0, "bad_protocol_id", {"function_code": 3, "address": 0x6B}),
    (b"GET / HTTP/1.1\r\n", 0, "bad_protocol_id", {"transaction_id": 0x4745}),
    (adu("03 006B 0003", length=1), 0, "bad_length", {"function_code": 3}),
    (adu("10 0001 0002 04 000A 0102", length=300), 0, "bad_length", {"values": [10, 0x102]}),
    (adu("03 006B 0003") + b"\x00", 0, "trailing_bytes", {"quantity": 3}),
    (adu("00"), 0, "function_zero", {"function": "unknown_0"}),
    (adu("7F 00"), 0, "reserved_function", {"function": "unknown_127", "data": "00"}),
    (adu("83 02"), 0, "exception_in_request", {"function_code": 3, "exception_code": 2}),
    (adu("83 20"), 1, "bad_exception_code", {"exception": "unknown_32"}),
    (adu("83"), 1, "short_body", {"event.outcome": "failure"}),
    (adu("03 006B"), 0, "short_body", {"address": 0x6B}),
    (adu("03 006B 0003 00"), 0, "long_body", {"quantity": 3}),
    (adu("03 05 022B 0000"), 1, "byte_count_mismatch", {"values": [0x22B, 0]}),
    (adu("03 03 022B 00"), 1, "byte_count_mismatch", {"values": [0x22B]}),
    (adu("10 0001 0003 04 000A 0102"), 0, "byte_count_mismatch", {"values": [10, 0x102], "quantity": 3}),
    (adu("03 006B 0000"), 0, "quantity_out_of_range", {"quantity": 0}),
    (adu("03 006B 007E"), 0, "quantity_out_of_range", {"quantity": 126}),
    (adu("01 0000 07D1"), 0, "quantity_out_of_range", {"quantity": 2001}),
    (adu("03 FFFF 0002"), 0, "address_overflow", {"address": 0xFFFF}),
    (adu("05 0001 1234"), 0, "bad_coil_value", {"value": 0x1234}),
    (adu("08 0013 0000"), 0, "reserved_sub_function", {"diagnostic": "unknown_19"}),
    (adu("08 0007 0000"), 0, "reserved_sub_function", {"diagnostic": "unknown_7"}),
    (adu("14 07 05 0004 0001 0002"), 0, "bad_file_record", {"file_records": ["4/1/2"]}),
    (adu("15 09 06 0004 0007 0003 06AF"), 0, "bad_file_record", {"file_records": ["4/7/3=06af"]}),
    (adu("2B 0E 05 00"), 0, "bad_mei", {"read_device_id_code": 5}),
    (adu("2B 10 00"), 0, "bad_mei", {"mei_type": 16}),
    (adu("2B 0E 01 01 00 00 02 00 03 414243"), 1, "object_count_mismatch", {"device_id_objects": ["vendor_name=ABC"]}),
]


@pytest.mark.parametrize(("message", "direction", "code", "expected"), MALFORMED)
def test_malformed_messages_are_named_and_keep_what_could_be_read(
    message: bytes, direction: int, code: str, expected: dict[str, object]
) -> None:
    row = one(message, direction)
    assert row["error.code"] == code
    assert row["error.message"]
    assert {name: row.get(name) for name in expected} == expected


def test_response_of_another_size_than_asked_for() -> None:
    row = exchange("03 006B 0003", "03 04 022B 0000")
    assert (row["error.code"], row["error.message"]) == (
        "response_size_mismatch",
        "3 values asked for, 2 carried",
    )
    assert exchange("01 0000 0009", "01 01 FF")["error.code"] == "response_size_mismatch"


def test_every_anomaly_is_reached() -> None:
    assert {code for _, _, code, _ in MALFORMED} | {"response_size_mismatch"} == set(modbus.ANOMALIES)


def test_a_scan_of_all_function_codes_is_a_row_each() -> None:
    scan = [adu(f"{code:02x}", transaction=code) for code in range(1, 128)]
    table = modbus.decode(batch_of(scan))
    assert table["modbus.function_code"].to_list() == list(range(1, 128))
    known = table.filter(~pl.col("modbus.function").str.starts_with("unknown_"))
    assert set(known["modbus.function_code"]) == set(modbus.FUNCTIONS)
    assert table.filter(pl.col("modbus.function") == "unknown_65").height == 1


def test_lists_are_cut_where_they_should_be() -> None:
    import numpy as np

    flat = pl.Series([1, 2, None, 4], dtype=pl.Int64)
    made = lists(flat, np.array([0, 2, 0, 2]), np.array([2, 0, -1, 2]))
    assert made.to_list() == [[1, 2], [], None, [None, 4]]


def test_bits_of_a_hostile_batch_stay_small() -> None:
    message = adu("01 FA" + "FF" * 250)
    table = modbus.decode(batch_of([message] * 2000, direction=1))
    assert table.estimated_size() < 2000 * (2 * 2000 + 400)


raw = st.binary(max_size=300)


@st.composite
def bent(draw: st.DrawFn) -> bytes:
    """A message of the standard, cut, lengthened or with a byte changed."""
    code = draw(st.sampled_from(sorted(EXAMPLES)))
    message = bytearray(adu(draw(st.sampled_from(EXAMPLES[code]))))
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, len(message) - 1))
        message[place] = draw(st.integers(0, 255))
    message = message[: draw(st.integers(0, len(message)))] if draw(st.booleans()) else message
    return bytes(message) + (draw(st.binary(max_size=20)) if draw(st.booleans()) else b"")


@settings(max_examples=150, deadline=None)
@given(st.lists(st.one_of(raw, bent()), max_size=12), st.integers(0, 1))
def test_any_bytes_give_one_row_each_within_the_contract(messages: list[bytes], direction: int) -> None:
    batch = batch_of(messages, direction=direction)
    table = modbus.decode(batch)
    assert table["_pdu"].to_list() == list(range(len(messages)))
    assert set(table.columns) - {"_pdu"} <= modbus.FIELDS
    assert set(table["error.code"].drop_nulls()) <= set(modbus.ANOMALIES)
    for name in ("modbus.values",):
        longest = table[name].list.len().max()
        assert longest is None or int(longest) <= 8 * 300  # type: ignore[call-overload]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(raw, bent()), min_size=2, max_size=8))
def test_messages_do_not_touch_each_other(messages: list[bytes]) -> None:
    whole = modbus.decode(batch_of(messages))
    for index, message in enumerate(messages):
        alone = modbus.decode(batch_of([message]))
        names = sorted(set(whole.columns) & set(alone.columns) - {"_pdu"})
        assert whole[index].select(names).rows() == alone.select(names).rows()


def test_fields_are_declared() -> None:
    assert set(FIELDS) >= modbus.FIELDS
    assert set(modbus.DECODER.keys) <= modbus.FIELDS


_TWICE = """
import random, sys
from sensor.base import batch_of
from sensor.decoders import modbus
random.seed(7)
seeds = [bytes.fromhex(line) for line in sys.stdin.read().split()]
messages = []
for _ in range(400):
    message = bytearray(random.choice(seeds))
    for _ in range(random.randrange(3)):
        message[random.randrange(len(message))] = random.randrange(256)
    messages.append(bytes(message[: random.randrange(len(message) + 1)] if random.random() < 0.3 else message))
table = modbus.decode(batch_of(messages, direction=[index % 2 for index in range(400)]))
print(table.height, table.select(sorted(table.columns)).write_json())
"""


def test_without_compiler_the_result_is_the_same() -> None:
    results = []
    for off in ("0", "1"):
        done = subprocess.run(
            [sys.executable, "-c", _TWICE],
            input="\n".join(adu(body).hex() for bodies in EXAMPLES.values() for body in bodies),
            env={**os.environ, "NUMBA_DISABLE_JIT": off},
            capture_output=True,
            text=True,
            check=True,
        )
        results.append(done.stdout)
    assert results[0] == results[1]
    assert results[0].startswith("400 ")


def test_frames_of_pymodbus_decode() -> None:
    pdu = pytest.importorskip("pymodbus.pdu")
    framer = pytest.importorskip("pymodbus.framer").FramerSocket(pdu.DecodePDU(is_server=False))
    register = pytest.importorskip("pymodbus.pdu.register_message")
    request = register.WriteMultipleRegistersRequest(address=7, registers=[1, 2, 65535], dev_id=3, transaction_id=99)
    row = one(framer.buildFrame(request))
    assert (row["transaction_id"], row["unit_id"], row["address"], row["values"]) == (99, 3, 7, [1, 2, 65535])
    answer = register.ReadHoldingRegistersResponse(registers=[5, 6], dev_id=3, transaction_id=99)
    row = one(framer.buildFrame(answer), 1)
    assert (row["function"], row["values"]) == ("read_holding_registers", [5, 6])
