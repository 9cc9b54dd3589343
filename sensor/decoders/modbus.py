"""Modbus/TCP, requests and responses to value depth.

MODBUS Application Protocol Specification V1.1b3 (the functions, chapter 6, and exceptions, chapter 7), MODBUS
Messaging on TCP/IP Implementation Guide V1.0b (the MBAP header, 3.1.3), and Schneider's UMAS in function 90, whose
function names follow public research, since no specification is published.

A message is decoded as far as its bytes allow: an anomaly is named in ``error.code`` and all that could be read
stands beside it. The bits of a response to functions 1 and 2 come in whole bytes; how many were asked for stands
in the request, so ``finish_pairs`` cuts them to size when the two have met.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from sensor.base import Decoder, PairRule, PduBatch, Repeat
from sensor.columns import I32, lists, look_up, messages, numbers, places, some_rows, word_table, writable
from sensor.decoders import _modbus_kernels as k

FUNCTIONS = {
    1: "read_coils",
    2: "read_discrete_inputs",
    3: "read_holding_registers",
    4: "read_input_registers",
    5: "write_single_coil",
    6: "write_single_register",
    7: "read_exception_status",
    8: "diagnostics",
    11: "get_comm_event_counter",
    12: "get_comm_event_log",
    15: "write_multiple_coils",
    16: "write_multiple_registers",
    17: "report_server_id",
    20: "read_file_record",
    21: "write_file_record",
    22: "mask_write_register",
    23: "read_write_multiple_registers",
    24: "read_fifo_queue",
    43: "encapsulated_interface_transport",
    90: "umas",
}
"""Public function codes (5.1) and UMAS."""

ACCESS = {
    **dict.fromkeys((1, 2, 3, 4, 24), "read"),
    **dict.fromkeys((5, 6, 15, 16, 22, 23), "write"),
    **dict.fromkeys((7, 8, 11, 12), "diagnostic"),
    **dict.fromkeys((17, 43), "identification"),
    **dict.fromkeys((20, 21), "file"),
}

EXCEPTIONS = {
    1: "illegal_function",
    2: "illegal_data_address",
    3: "illegal_data_value",
    4: "server_device_failure",
    5: "acknowledge",
    6: "server_device_busy",
    7: "negative_acknowledge",
    8: "memory_parity_error",
    10: "gateway_path_unavailable",
    11: "gateway_target_device_failed_to_respond",
}
"""Exception codes (chapter 7); 7 comes from older editions."""

DIAGNOSTICS = {
    0: "return_query_data",
    1: "restart_communications_option",
    2: "return_diagnostic_register",
    3: "change_ascii_input_delimiter",
    4: "force_listen_only_mode",
    10: "clear_counters_and_diagnostic_register",
    11: "return_bus_message_count",
    12: "return_bus_communication_error_count",
    13: "return_bus_exception_error_count",
    14: "return_server_message_count",
    15: "return_server_no_response_count",
    16: "return_server_nak_count",
    17: "return_server_busy_count",
    18: "return_bus_character_overrun_count",
    20: "clear_overrun_counter_and_flag",
}
"""Sub-functions of function 8 (6.8.1)."""

OBJECTS = {
    0: "vendor_name",
    1: "product_code",
    2: "major_minor_revision",
    3: "vendor_url",
    4: "product_name",
    5: "model_name",
    6: "user_application_name",
}
"""Objects of a device identification (6.21); others are called ``object_<id>``."""

UMAS = {
    0x01: ("init_comm", "identification"),
    0x02: ("read_id", "identification"),
    0x03: ("read_project_info", "identification"),
    0x04: ("read_plc_info", "identification"),
    0x06: ("read_card_info", "identification"),
    0x0A: ("repeat", "diagnostic"),
    0x10: ("take_plc_reservation", "program"),
    0x11: ("release_plc_reservation", "program"),
    0x12: ("keep_alive", "read"),
    0x20: ("read_memory_block", "program"),
    0x22: ("read_variables", "read"),
    0x23: ("write_variables", "write"),
    0x24: ("read_coils_registers", "read"),
    0x25: ("write_coils_registers", "write"),
    0x30: ("initialize_upload", "program"),
    0x31: ("upload_block", "program"),
    0x32: ("end_strategy_upload", "program"),
    0x33: ("initialize_download", "program"),
    0x34: ("download_block", "program"),
    0x35: ("end_strategy_download", "program"),
    0x39: ("read_ethernet_master_data", "read"),
    0x40: ("start_plc", "program"),
    0x41: ("stop_plc", "program"),
    0x50: ("monitor_plc", "read"),
    0x58: ("check_plc", "diagnostic"),
    0x70: ("read_io_object", "read"),
    0x71: ("write_io_object", "write"),
    0x73: ("get_status_module", "diagnostic"),
}
"""UMAS function to its name and ``modbus.access``."""

ANOMALIES = {
    "truncated": "Fewer bytes came than the MBAP length announces (Messaging 3.1.3)",
    "bad_protocol_id": "The MBAP protocol identifier is not 0 (Messaging 3.1.3)",
    "bad_length": "The MBAP length is below 2 or above 254 (Messaging 3.1.3, 4.1)",
    "trailing_bytes": "More bytes came than the MBAP length announces (Messaging 3.1.3)",
    "function_zero": "Function code 0 is not valid (V1.1b3, 4.1)",
    "reserved_function": "The function code is reserved (V1.1b3, annex A)",
    "exception_in_request": "A client set the exception bit of the function code (V1.1b3, 4.1)",
    "bad_exception_code": "The exception code is not defined (V1.1b3, 7)",
    "short_body": "The body is shorter than the function's layout (V1.1b3, 6)",
    "long_body": "The body is longer than the function's layout (V1.1b3, 6)",
    "byte_count_mismatch": "The byte count contradicts the quantity or the bytes there are (V1.1b3, 6)",
    "quantity_out_of_range": "The quantity is 0 or above the function's limit (V1.1b3, 6)",
    "address_overflow": "Address and quantity reach beyond address 65535 (V1.1b3, 4.4)",
    "bad_coil_value": "A coil is written with neither 0x0000 nor 0xFF00 (V1.1b3, 6.5)",
    "reserved_sub_function": "The sub-function of function 8 is reserved (V1.1b3, 6.8.1)",
    "bad_file_record": "A file record has a wrong reference type or length (V1.1b3, 6.14, 6.15)",
    "bad_mei": "MEI type or device identification code is not defined (V1.1b3, 6.19, 6.21)",
    "object_count_mismatch": "The objects of a device identification do not fill its body (V1.1b3, 6.21)",
    "response_size_mismatch": "The response carries another number of values than its request asked for (V1.1b3, 6)",
}
"""Anomaly codes; the kernels count them in this order."""

_CODES = tuple(ANOMALIES)
_EXPECTED = {
    "truncated": "{0} bytes expected, {1} found",
    "bad_protocol_id": "protocol identifier {1}",
    "bad_length": "MBAP length {1}",
    "trailing_bytes": "{0} bytes announced, {1} found",
    "function_zero": "function code {1}",
    "reserved_function": "function code {1}",
    "exception_in_request": "function code {1} from the client",
    "bad_exception_code": "exception code {1}",
    "short_body": "body of at least {0} bytes expected, {1} found",
    "long_body": "body of {0} bytes expected, {1} found",
    "byte_count_mismatch": "{0} bytes expected, {1} found",
    "quantity_out_of_range": "quantity {1}, allowed 1 to {0}",
    "address_overflow": "last address {1} is beyond {0}",
    "bad_coil_value": "value {1:#06x}",
    "reserved_sub_function": "sub-function {1}",
    "bad_file_record": "{0} expected, {1} found",
    "bad_mei": "MEI type or identification code {1}",
    "object_count_mismatch": "{0} objects announced, {1} complete",
    "response_size_mismatch": "{0} values asked for, {1} carried",
}

_NUMBERS = (
    "modbus.transaction_id",
    "modbus.unit_id",
    "modbus.function_code",
    "modbus.exception_code",
    "modbus.address",
    "modbus.quantity",
    "modbus.write_address",
    "modbus.write_quantity",
    "modbus.and_mask",
    "modbus.or_mask",
    "modbus.sub_function",
    "modbus.mei_type",
    "modbus.read_device_id_code",
    "modbus.exception_status",
    "modbus.event_count",
    "modbus.message_count",
    "modbus.umas_function_code",
    "modbus.value",
    "modbus.value_min",
    "modbus.value_max",
)
"""Fields of the first rows of the kernel's matrix, in its order."""

_TEXTS = {
    k.HEX: "modbus.data",
    k.OBJECTS: "modbus.device_id_objects",
    k.FILE_READ: "modbus.file_records",
    k.FILE_WRITE: "modbus.file_records",
    k.FILE_DATA: "modbus.file_records",
    k.SERVER_ID: "modbus.server_id",
}

DATA_BYTES = 64  # of an opaque payload are kept

FIELDS = frozenset(
    (
        *_NUMBERS,
        *_TEXTS.values(),
        "modbus.message_type",
        "modbus.function",
        "modbus.access",
        "modbus.exception",
        "modbus.diagnostic",
        "modbus.umas_function",
        "modbus.values",
        "modbus.broadcast",
        "modbus.matched",
        "event.action",
        "event.outcome",
        "event.duration",
        "error.code",
        "error.message",
    )
)

_FUNCTION_WORDS = word_table(FUNCTIONS.get(code, f"unknown_{code}") for code in range(128))
_ACCESS_WORDS = word_table(ACCESS.get(code, "other") for code in range(128))
_EXCEPTION_WORDS = word_table(EXCEPTIONS.get(code, f"unknown_{code}") for code in range(256))
_DIAGNOSTIC_WORDS = word_table(DIAGNOSTICS.get(code) for code in range(max(DIAGNOSTICS) + 1))
_UMAS_WORDS = word_table(UMAS[code][0] if code in UMAS else f"unknown_{code}" for code in range(256))
_UMAS_ACCESS = word_table(UMAS[code][1] if code in UMAS else "program" for code in range(256))
_OUTCOME_WORDS = word_table(("failure", "success", "unknown"))
_SIDE_WORDS = word_table(("request", "response"))
_CODE_WORDS = word_table(ANOMALIES)


def decode(pdus: PduBatch) -> pl.DataFrame:
    """Decode Modbus/TCP messages.

    Args:
        pdus: Messages from the first byte of their MBAP header; direction 0 are requests.

    Returns:
        One row a message: ``_pdu`` and columns out of ``FIELDS``.
    """
    count = len(pdus)
    out = np.full((k.COLUMNS, count), -1, np.int32)
    data = writable(pdus.data)
    total = k.headers(data, pdus.offset, pdus.length, pdus.direction, out)
    flat = np.empty(total, np.uint16)
    first = np.empty(count, np.int64)
    k.values(data, pdus.offset, out, flat, first)

    function = look_up(_FUNCTION_WORDS, out[k.FC])
    table = pl.DataFrame(
        {
            "_pdu": np.arange(count, dtype=np.int64),
            "modbus.message_type": look_up(_SIDE_WORDS, pdus.direction),
            "modbus.function": function,
            "event.action": function,
            "modbus.access": look_up(_ACCESS_WORDS, out[k.FC]),
            "modbus.exception": look_up(_EXCEPTION_WORDS, out[k.EXC]),
            "modbus.values": lists(pl.Series(flat), first, out[k.VCOUNT]),
            "event.outcome": look_up(_OUTCOME_WORDS, out[k.OUTCOME]),
        }
    ).hstack(numbers(_NUMBERS, out))
    rare: list[pl.Series] = []
    broadcast = np.flatnonzero(out[k.BROADCAST] > 0)
    if len(broadcast):
        rare.append(some_rows(count, broadcast, (True for _ in broadcast), pl.Boolean()).alias("modbus.broadcast"))
    if (out[k.SUB] >= 0).any():
        rare.append(_diagnostic(out).alias("modbus.diagnostic"))
    umas = np.flatnonzero(out[k.FC] == 90)
    if len(umas):
        rare += _umas(out, table["modbus.access"])
    rare += _texts(pdus, out)
    wrong = np.flatnonzero(out[k.ERR] >= 0)
    rare.append(look_up(_CODE_WORDS, out[k.ERR]).alias("error.code"))
    rare.append(messages(count, wrong, lambda row: _say(out, row)).alias("error.message"))
    return table.with_columns(rare)


def _say(out: I32, row: int) -> str:
    return _EXPECTED[_CODES[out[k.ERR, row]]].format(int(out[k.WANT, row]), int(out[k.GOT, row]))


def _diagnostic(out: I32) -> pl.Series:
    """Names of the sub-functions of function 8; reserved ones get a number like any other unknown."""
    named = look_up(_DIAGNOSTIC_WORDS, out[k.SUB])
    rows = np.flatnonzero((out[k.SUB] >= 0) & named.is_null().to_numpy())
    if not len(rows):
        return named
    other = some_rows(len(named), rows, (f"unknown_{int(out[k.SUB, row])}" for row in rows), pl.String())
    return pl.select(pl.coalesce(named, other)).to_series()


def _umas(out: I32, access: pl.Series) -> list[pl.Series]:
    """UMAS names, and ``modbus.access`` by the UMAS function; null on an answer until it meets its request."""
    code = np.where(out[k.FC] == 90, out[k.UMAS], -1)
    inside = pl.select(
        pl.when(pl.Series(out[k.FC] == 90)).then(look_up(_UMAS_ACCESS, code)).otherwise(access).alias("modbus.access")
    ).to_series()
    return [look_up(_UMAS_WORDS, code).alias("modbus.umas_function"), inside]


def _texts(pdus: PduBatch, out: I32) -> list[pl.Series]:
    """Columns of the few messages whose payload becomes text."""
    columns = []
    for name, kinds in (
        ("modbus.data", (k.HEX,)),
        ("modbus.device_id_objects", (k.OBJECTS,)),
        ("modbus.file_records", (k.FILE_READ, k.FILE_WRITE, k.FILE_DATA)),
        ("modbus.server_id", (k.SERVER_ID,)),
    ):
        rows = np.flatnonzero(np.isin(out[k.DETAIL], kinds))
        if not len(rows):
            continue
        made: list[object] = []
        for row in rows:
            start = int(pdus.offset[row] + out[k.DSTART, row])
            body = pdus.data[start : start + int(out[k.DLEN, row])].tobytes()
            made.append(_RENDER[int(out[k.DETAIL, row])](body))
        many = pl.List(pl.String()) if name in ("modbus.device_id_objects", "modbus.file_records") else pl.String()
        columns.append(some_rows(len(pdus), rows, made, many).alias(name))
    return columns


def _hex(body: bytes) -> str:
    return body[:DATA_BYTES].hex()


def _text(value: bytes) -> str:
    """ASCII that can be printed stays, anything else becomes hex."""
    text = value.rstrip(b"\x00")
    if text and all(32 <= byte < 127 for byte in text):
        return text.decode("ascii")
    return "0x" + value.hex()


def _objects(body: bytes) -> list[str]:
    """Objects of a device identification after their number (6.21)."""
    found, at = [], 1
    for _ in range(body[0]):
        if len(body) - at < 2 or len(body) - at - 2 < body[at + 1]:
            break
        value = body[at + 2 : at + 2 + body[at + 1]]
        found.append(f"{OBJECTS.get(body[at], f'object_{body[at]}')}={_text(value)}")
        at += 2 + body[at + 1]
    return found


def _file_read(body: bytes) -> list[str]:
    """Sub-requests of function 20: ``file/record/length``."""
    whole = range(0, len(body) - 6, 7)
    return ["/".join(str(int.from_bytes(body[at + i : at + i + 2])) for i in (1, 3, 5)) for at in whole]


def _file_write(body: bytes) -> list[str]:
    """Sub-requests of function 21, ``file/record/length=data``, data in hex."""
    found, at = [], 0
    while len(body) - at >= 7:
        file, record, length = (int.from_bytes(body[at + i : at + i + 2]) for i in (1, 3, 5))
        found.append(f"{file}/{record}/{length}={_hex(body[at + 7 : at + 7 + 2 * length])}")
        at += 7 + 2 * length
    return found


def _file_data(body: bytes) -> list[str]:
    """Sub-responses of function 20: ``=data``, in hex; file and record stand in the request."""
    found, at = [], 0
    while at < len(body) and body[at] >= 1:
        found.append(f"={_hex(body[at + 2 : at + 1 + body[at]])}")
        at += 1 + body[at]
    return found


_RENDER = {
    k.HEX: _hex,
    k.OBJECTS: _objects,
    k.FILE_READ: _file_read,
    k.FILE_WRITE: _file_write,
    k.FILE_DATA: _file_data,
    k.SERVER_ID: _text,
}


def finish_pairs(table: pl.DataFrame) -> pl.DataFrame:
    """Cut coils to the number that was asked for, and compare what came with what was asked for.

    Args:
        table: Paired rows of ``decode``.

    Returns:
        The same rows; ``response_size_mismatch`` in ``error.code`` where a response is of another size.
    """
    answers = pl.col("modbus.matched").fill_null(False) & (pl.col("event.outcome") == "success")
    code = pl.col("modbus.function_code")
    bits = code.is_in([1, 2])
    asked, carried = pl.col("modbus.quantity"), pl.col("modbus.values").list.len().cast(pl.Int64)
    facts = table.select(
        (answers & bits & (carried >= asked)).fill_null(False).alias("fits"),
        (
            answers
            & code.is_in([1, 2, 3, 4, 23])
            & pl.col("error.code").is_null()
            & (carried != pl.when(bits).then((asked + 7) // 8 * 8).otherwise(asked))
        )
        .fill_null(False)
        .alias("wrong"),
    )
    wrong = facts["wrong"].arg_true()
    if len(wrong):
        text = _EXPECTED["response_size_mismatch"].replace("{0}", "{}").replace("{1}", "{}")
        want = pl.when(bits).then((asked + 7) // 8 * 8).otherwise(asked)
        table = _put(
            table,
            wrong,
            table[wrong].select(
                pl.lit("response_size_mismatch").alias("error.code"),
                pl.format(text, want, carried).alias("error.message"),
            ),
        )
    fits = facts["fits"].arg_true()
    if len(fits):
        value = pl.col("modbus.values").list
        some = table[fits].with_columns(value.head(asked))
        one = pl.when(value.len() == 1).then(value.first()).otherwise("modbus.value")
        table = _put(
            table,
            fits,
            some.select(
                "modbus.values",
                value.min().alias("modbus.value_min"),
                value.max().alias("modbus.value_max"),
                one.alias("modbus.value"),
            ),
        )
    return table


def _put(table: pl.DataFrame, rows: pl.Series, some: pl.DataFrame) -> pl.DataFrame:
    """Replace columns in some rows."""
    index = np.arange(table.height)
    index[rows.to_numpy()] = np.arange(table.height, table.height + some.height)
    place = places(index)
    return table.with_columns(
        pl.concat([table[name], some[name].cast(table[name].dtype)], rechunk=True)[place] for name in some.columns
    )


PAIR = PairRule(
    is_request=pl.col("modbus.message_type") == "request",
    is_response=pl.col("modbus.message_type") == "response",
    keys=("modbus.transaction_id", "modbus.unit_id", "modbus.function_code"),
    copy=(
        "modbus.address",
        "modbus.quantity",
        "modbus.write_address",
        "modbus.write_quantity",
        "modbus.sub_function",
        "modbus.diagnostic",
        "modbus.umas_function_code",
        "modbus.umas_function",
        "modbus.access",
    ),
    matched="modbus.matched",
    finish=finish_pairs,
)

DECODER = Decoder(
    name="modbus",
    decode=decode,
    fields=FIELDS,
    anomalies=ANOMALIES,
    keys=(
        "modbus.unit_id",
        "modbus.function_code",
        "modbus.address",
        "modbus.quantity",
        "modbus.umas_function_code",
        "modbus.matched",
    ),
    verbatim=(pl.col("modbus.access") != "read") | pl.col("modbus.exception_code").is_not_null(),
    pair=PAIR,
    repeat=Repeat(
        skim=k.skim,
        number=(0, 2),
        key=pl.col("modbus.transaction_id") * 65536 + pl.col("modbus.unit_id") * 256 + pl.col("modbus.function_code"),
    ),
)
