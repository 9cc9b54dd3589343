"""IEC 60870-5-104 (DL/T 634.5104), every frame and every information object of it.

IEC 60870-5-104:2006, chapter 5 (APCI: start byte, length, control field) and 6 to 8 (which types are used);
IEC 60870-5-101:2003, chapter 7 (ASDUs and information elements), with the sizes that 104 fixes: cause of two
bytes, common address of two, object address of three.

A frame is decoded as far as its bytes allow: an anomaly is named in ``error.code`` and all that could be read
stands beside it. Time tags carry no zone; they are given as if they were UTC.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl

from sensor.base import I64, Decoder, PairRule, PduBatch
from sensor.columns import I32, flags, lists, look_up, messages, numbers, word_table, writable
from sensor.decoders import _iec104_kernels as k
from sensor.decoders._iec104_sequence import KINDS, Sequences

TYPES = {
    1: "m_sp_na_1",
    2: "m_sp_ta_1",
    3: "m_dp_na_1",
    4: "m_dp_ta_1",
    5: "m_st_na_1",
    6: "m_st_ta_1",
    7: "m_bo_na_1",
    8: "m_bo_ta_1",
    9: "m_me_na_1",
    10: "m_me_ta_1",
    11: "m_me_nb_1",
    12: "m_me_tb_1",
    13: "m_me_nc_1",
    14: "m_me_tc_1",
    15: "m_it_na_1",
    16: "m_it_ta_1",
    17: "m_ep_ta_1",
    18: "m_ep_tb_1",
    19: "m_ep_tc_1",
    20: "m_ps_na_1",
    21: "m_me_nd_1",
    30: "m_sp_tb_1",
    31: "m_dp_tb_1",
    32: "m_st_tb_1",
    33: "m_bo_tb_1",
    34: "m_me_td_1",
    35: "m_me_te_1",
    36: "m_me_tf_1",
    37: "m_it_tb_1",
    38: "m_ep_td_1",
    39: "m_ep_te_1",
    40: "m_ep_tf_1",
    45: "c_sc_na_1",
    46: "c_dc_na_1",
    47: "c_rc_na_1",
    48: "c_se_na_1",
    49: "c_se_nb_1",
    50: "c_se_nc_1",
    51: "c_bo_na_1",
    58: "c_sc_ta_1",
    59: "c_dc_ta_1",
    60: "c_rc_ta_1",
    61: "c_se_ta_1",
    62: "c_se_tb_1",
    63: "c_se_tc_1",
    64: "c_bo_ta_1",
    70: "m_ei_na_1",
    100: "c_ic_na_1",
    101: "c_ci_na_1",
    102: "c_rd_na_1",
    103: "c_cs_na_1",
    104: "c_ts_na_1",
    105: "c_rp_na_1",
    106: "c_cd_na_1",
    107: "c_ts_ta_1",
    110: "p_me_na_1",
    111: "p_me_nb_1",
    112: "p_me_nc_1",
    113: "p_ac_na_1",
    120: "f_fr_na_1",
    121: "f_sr_na_1",
    122: "f_sc_na_1",
    123: "f_ls_na_1",
    124: "f_af_na_1",
    125: "f_sg_na_1",
    126: "f_dr_ta_1",
    127: "f_sc_nb_1",
}
"""Type identifications (IEC 60870-5-101, 7.2.1, and IEC 60870-5-104, 6)."""

CAUSES = {
    1: "periodic",
    2: "background_scan",
    3: "spontaneous",
    4: "initialized",
    5: "request",
    6: "activation",
    7: "activation_confirmation",
    8: "deactivation",
    9: "deactivation_confirmation",
    10: "activation_termination",
    11: "return_information_remote",
    12: "return_information_local",
    13: "file_transfer",
    14: "authentication",
    15: "session_key_maintenance",
    16: "user_role_and_update_key_maintenance",
    20: "interrogated_by_station",
    **{20 + group: f"interrogated_by_group_{group}" for group in range(1, 17)},
    37: "counter_general",
    **{37 + group: f"counter_group_{group}" for group in range(1, 5)},
    44: "unknown_type",
    45: "unknown_cause",
    46: "unknown_common_address",
    47: "unknown_object_address",
}
"""Causes of transmission (IEC 60870-5-101, 7.2.3)."""

U_FUNCTIONS = ("startdt_act", "startdt_con", "stopdt_act", "stopdt_con", "testfr_act", "testfr_con")
"""By the bit of the first control octet, from bit 2 (IEC 60870-5-104, 5.1)."""

ANOMALIES = {
    "truncated": "Fewer bytes came than the APCI length announces (104, 5)",
    "bad_start": "The frame does not begin with 0x68 (104, 5)",
    "bad_length": "The APCI length is below 4 or above 253 (104, 5)",
    "trailing_bytes": "More bytes came than the frame's format has (104, 5)",
    "bad_apci": "The control field has reserved bits set, or not exactly one U function (104, 5.1)",
    "short_asdu": "An I frame ends before the head of its ASDU does (101, 7.1)",
    "unknown_type": "The type identification is reserved or private (101, 7.2.1)",
    "no_objects": "The ASDU says it has no object, but its type needs one (101, 7.2.2)",
    "object_count_mismatch": "The number of objects does not fit the length of the ASDU (101, 7.2.2)",
    "foreign_profile": "The ASDU only adds up with a cause of one byte, as 101 has it; 104 fixes two (104, 8)",
    "bad_cause": "The cause of transmission is 0 or reserved (101, 7.2.3)",
    "not_single": "A type that carries one object only carries more, or a sequence (101, 7.3)",
    "reserved_bits": "Reserved bits of an information element are set (101, 7.2.6)",
    "bad_command_state": "A double or step command has state 0 or 3, which are not permitted (101, 7.2.6.16)",
    "bad_value": "A short floating point number is infinite or not a number (101, 7.2.6.8)",
    "invalid_time": "A time tag is no time, without its invalid bit (101, 7.2.6.18)",
}
"""Anomaly codes; the kernels count them in this order."""

_CODES = tuple(ANOMALIES)
_EXPECTED = {
    "truncated": "{0} bytes expected, {1} found",
    "bad_start": "{0:#04x} expected, {1:#04x} found",
    "bad_length": "APCI length {1}",
    "trailing_bytes": "{0} bytes expected, {1} found",
    "bad_apci": "control octet {1:#04x}",
    "short_asdu": "{0} bytes expected, {1} found",
    "unknown_type": "type {1}",
    "no_objects": "at least {0} object expected, {1} found",
    "object_count_mismatch": "objects of {0} bytes announced, {1} found",
    "foreign_profile": "sizes of cause, common and object address {0} expected, {1} found",
    "bad_cause": "cause {1}",
    "not_single": "{0} object expected, {1} found",
    "reserved_bits": "element {1:#04x}",
    "bad_command_state": "state {1}",
    "bad_value": "not a finite number",
    "invalid_time": "no such time",
}

_NUMBERS = (
    "iec104.send_seq",
    "iec104.recv_seq",
    "iec104.type_id",
    "iec104.object_count",
    "iec104.cause",
    "iec104.originator",
    "iec104.common_address",
    "iec104.first_ioa",
    "iec104.qualifier",
    "iec104.file_name",
    "iec104.section",
)
"""Fields of the first rows of the kernel's matrix, in its order."""

_FLAGS = (
    "iec104.sequence",
    "iec104.negative",
    "iec104.test",
    "iec104.broadcast",
    "iec104.time_invalid",
    "iec104.select",
)
"""Fields of the next rows."""

FIELDS = frozenset(
    (
        *_NUMBERS,
        *_FLAGS,
        "iec104.apci_type",
        "iec104.u_function",
        "iec104.type",
        "iec104.access",
        "iec104.cause_name",
        "iec104.ioa",
        "iec104.value",
        "iec104.value_min",
        "iec104.value_max",
        "iec104.quality",
        "iec104.time",
        "iec104.setpoint",
        "iec104.clock",
        "iec104.matched",
        "iec104.sequence_anomaly",
        "event.action",
        "event.outcome",
        "event.duration",
        "error.code",
        "error.message",
    )
)


def _access(kind: int) -> str | None:
    for low, high, word in (
        (1, 40, "monitor"),
        (45, 69, "control"),
        (70, 107, "system"),
        (110, 113, "parameter"),
        (120, 127, "file"),
    ):
        if low <= kind <= high:
            return word
    return None


def _quality(bits: int) -> str:
    """Quality bits in words, as the kernel sorts them; order of the standard's octet, highest first."""
    names = ((128, "iv"), (64, "nt"), (32, "sb"), (16, "bl"), (8, "ca"), (4, "cy"), (2, "ei"), (1, "ov"))
    return "|".join(name for bit, name in names if bits & bit) or "good"


_TYPE_WORDS = word_table(TYPES.get(kind, f"unknown_{kind}") for kind in range(256))
_ACCESS_WORDS = word_table(_access(kind) for kind in range(256))
_CAUSE_WORDS = word_table(CAUSES.get(cause, f"unknown_{cause}") for cause in range(64))
_QUALITY_WORDS = word_table(_quality(bits) for bits in range(256))
_ORDER_WORDS = word_table(KINDS)
_U_WORDS = word_table(U_FUNCTIONS)
_APCI_WORDS = word_table(("i", "s", "u"))
_CODE_WORDS = word_table(ANOMALIES)
_OUTCOME_WORDS = word_table(("failure", "success"))
# What a frame asks for or says: its type, its U function, or that it only acknowledges.
_ACTION_WORDS = word_table((*(TYPES.get(kind, f"unknown_{kind}") for kind in range(256)), *U_FUNCTIONS, "acknowledge"))

# By type, and nothing for -1, which numpy takes for 255.
_HAS_VALUE = (k.LAYOUT > 0) & ~np.isin(k.LAYOUT, (k.NOTHING, k.CLOCK, k.FILES, k.QUALIFY))
_HAS_QUALITY = (k.LAYOUT >= k.SIQ) & (k.LAYOUT <= k.SCD)
_HAS_TIME = (k.TIME > 0) & (k.LAYOUT != k.CLOCK)

_CLOCK = pl.Datetime("ns", "UTC")


def decode(pdus: PduBatch) -> pl.DataFrame:
    """Decode IEC 60870-5-104 frames that nothing came before; see ``Frames``."""
    return Frames()(pdus)


class Frames:
    """Decodes frames and remembers the numbers of their connections."""

    def __init__(self) -> None:
        self._sequences = Sequences()

    def __call__(self, pdus: PduBatch) -> pl.DataFrame:
        """Decode IEC 60870-5-104 frames.

        Args:
            pdus: Frames from their start byte.

        Returns:
            One row a frame: ``_pdu`` and columns out of ``FIELDS``.
        """
        return _decode(pdus, self._sequences)

    def notes(self) -> dict[str, int]:
        """Connections whose numbers were forgotten; see ``sensor.base.RememberingDecode``."""
        forgotten = self._sequences.forgotten
        return {"iec104_sequences_forgotten": forgotten} if forgotten else {}


def _decode(pdus: PduBatch, sequences: Sequences) -> pl.DataFrame:
    count = len(pdus)
    out = np.full((k.COLUMNS, count), -1, np.int32)
    data = writable(pdus.data)
    total = int(k.frames(data, pdus.offset, pdus.length, out))
    first = np.empty(count, np.int64)
    ioa = np.empty(total, np.int32)
    value = np.empty(total, np.float64)
    quality = np.empty(total, np.int16)
    time = np.empty(total, np.int64)
    summary = np.empty((3, count), np.float64)
    clock = np.empty(count, np.int64)
    k.objects(data, pdus.offset, pdus.timestamp, out, first, ioa, value, quality, time, summary, clock)

    order = sequences.judge(pdus, out[k.SEND], out[k.RECV])
    kind = out[k.TYPE]
    action = np.where(out[k.APCI] == k.U_FRAME, np.where(out[k.UFUNC] >= 0, out[k.UFUNC] + 256, -1), kind)
    action = np.where(out[k.APCI] == k.S_FRAME, 256 + len(U_FUNCTIONS), action)
    objects = out[k.OBJECTS]
    values = np.where(_HAS_VALUE[kind], objects, -1)
    qualities = np.where(_HAS_QUALITY[kind], objects, -1)
    times = np.where(_HAS_TIME[kind], objects, -1)
    table = pl.DataFrame(
        {
            "_pdu": np.arange(count, dtype=np.int64),
            "iec104.apci_type": look_up(_APCI_WORDS, out[k.APCI]),
            "event.action": look_up(_ACTION_WORDS, action),
            "iec104.u_function": look_up(_U_WORDS, out[k.UFUNC]),
            "iec104.type": look_up(_TYPE_WORDS, kind),
            "iec104.access": look_up(_ACCESS_WORDS, kind),
            "iec104.cause_name": look_up(_CAUSE_WORDS, out[k.CAUSE]),
            "iec104.ioa": lists(pl.Series(ioa), first, objects),
            "iec104.value": lists(_known(value), first, values),
            "iec104.quality": lists(look_up(_QUALITY_WORDS, quality.astype(np.int32)), first, qualities),
            "iec104.time": lists(_dates(time), first, times),
            "iec104.setpoint": _known(summary[0]),
            "iec104.value_min": _known(summary[1]),
            "iec104.value_max": _known(summary[2]),
            "iec104.clock": _dates(clock),
            "event.outcome": look_up(_OUTCOME_WORDS, _outcome(out)),
            "iec104.sequence_anomaly": look_up(_ORDER_WORDS, order),
            "error.code": look_up(_CODE_WORDS, out[k.ERR]),
            "error.message": messages(count, np.flatnonzero(out[k.ERR] >= 0), lambda row: _say(out, row)),
        }
    ).hstack(numbers(_NUMBERS, out))
    return table.hstack(flags(_FLAGS, out[k.SEQUENCE : k.SELECT + 1]))


def _known(numbers: npt.NDArray[np.float64]) -> pl.Series:
    """NaN, the kernel's mark for "not there", becomes null."""
    return pl.Series(numbers, nan_to_null=True)


def _dates(nanoseconds: I64) -> pl.Series:
    """Nanoseconds since the epoch as dates; the kernel's mark for "not there" becomes null."""
    frame = pl.DataFrame({"time": nanoseconds})
    return frame.select(pl.when(pl.col("time") != k.NO_TIME).then(pl.col("time").cast(_CLOCK))).to_series()


def _outcome(out: I32) -> npt.NDArray[np.int64]:
    """Confirmations and terminations succeed or, with the P/N bit, fail; causes 44 to 47 refuse."""
    cause = out[k.CAUSE]
    answers = (cause == 7) | (cause == 9) | (cause == 10)
    refuses = (cause >= 44) & (cause <= 47)
    return np.where(refuses, 0, np.where(answers, 1 - np.maximum(out[k.NEGATIVE], 0), -1)).astype(np.int64)


def _say(out: I32, row: int) -> str:
    return _EXPECTED[_CODES[out[k.ERR, row]]].format(int(out[k.WANT, row]), int(out[k.GOT, row]))


PAIR = PairRule(
    is_request=pl.col("iec104.cause").is_in([6, 8]) & pl.col("error.code").is_null(),
    is_response=pl.col("iec104.cause").is_in([7, 9, 10, 44, 45, 46, 47]),
    keys=("iec104.type_id", "iec104.common_address", "iec104.first_ioa"),
    copy=("iec104.select", "iec104.qualifier", "iec104.setpoint"),
    matched="iec104.matched",
    once=False,  # a confirmation and later a termination answer one activation
)

_STATES = (1, 2, 3, 4, 5, 6, 17, 18, 19, 20, 30, 31, 32, 38, 39, 40)

DECODER = Decoder(
    name="iec104",
    decode=decode,
    fields=FIELDS,
    anomalies=ANOMALIES,
    keys=(
        "iec104.apci_type",
        "iec104.u_function",
        "iec104.type_id",
        "iec104.cause",
        "iec104.negative",
        "iec104.test",
        "iec104.originator",
        "iec104.common_address",
        "iec104.first_ioa",
        "iec104.object_count",
    ),
    # Kept one by one: commands, what starts or stops a connection's data, every switch that moved by itself, and
    # numbers out of order.
    verbatim=(
        ((pl.col("iec104.apci_type") == "i") & (pl.col("iec104.access").fill_null("") != "monitor"))
        | pl.col("iec104.u_function").str.starts_with("st").fill_null(False)
        | (pl.col("iec104.type_id").is_in(_STATES) & pl.col("iec104.cause").is_in([3, 11, 12])).fill_null(False)
        | pl.col("iec104.sequence_anomaly").is_not_null()
    ),
    pair=PAIR,
    new=Frames,
)
