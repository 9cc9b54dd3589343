"""What DNP3's numbers are called (IEEE 1815-2012)."""

from __future__ import annotations

FUNCTIONS: dict[int, tuple[str, str]] = {
    0: ("confirm", "other"),
    1: ("read", "read"),
    2: ("write", "write"),
    3: ("select", "control"),
    4: ("operate", "control"),
    5: ("direct_operate", "control"),
    6: ("direct_operate_no_ack", "control"),
    7: ("immediate_freeze", "write"),
    8: ("immediate_freeze_no_ack", "write"),
    9: ("freeze_clear", "write"),
    10: ("freeze_clear_no_ack", "write"),
    11: ("freeze_at_time", "write"),
    12: ("freeze_at_time_no_ack", "write"),
    13: ("cold_restart", "restart"),
    14: ("warm_restart", "restart"),
    15: ("initialize_data", "config"),
    16: ("initialize_application", "restart"),
    17: ("start_application", "restart"),
    18: ("stop_application", "restart"),
    19: ("save_configuration", "config"),
    20: ("enable_unsolicited", "config"),
    21: ("disable_unsolicited", "config"),
    22: ("assign_class", "config"),
    23: ("delay_measurement", "time"),
    24: ("record_current_time", "time"),
    25: ("open_file", "file"),
    26: ("close_file", "file"),
    27: ("delete_file", "file"),
    28: ("get_file_information", "file"),
    29: ("authenticate_file", "file"),
    30: ("abort_file", "file"),
    31: ("activate_configuration", "config"),
    32: ("authentication_request", "auth"),
    33: ("authentication_request_no_ack", "auth"),
    129: ("response", "response"),
    130: ("unsolicited_response", "response"),
    131: ("authentication_response", "auth"),
}
"""Function code to name and ``dnp3.access`` (4.2.2.5, table 4-1)."""

NO_ANSWER = (0, 6, 8, 10, 12, 33)
"""Requests that are never answered."""

LINK_PRIMARY = {
    0: "reset_link_states",
    1: "reset_user_process",
    2: "test_link_states",
    3: "confirmed_user_data",
    4: "unconfirmed_user_data",
    9: "request_link_status",
}
LINK_SECONDARY = {0: "ack", 1: "nack", 11: "link_status", 14: "not_functioning", 15: "not_supported"}
"""Link function codes by PRM bit (9.2.4.1.3); 1 and 14 are from earlier editions."""

# Bit 0 of the first octet first (4.2.2.6); the first octet is the high byte of ``dnp3.iin``.
IIN = (
    "broadcast",
    "class_1_events",
    "class_2_events",
    "class_3_events",
    "need_time",
    "local_control",
    "device_trouble",
    "device_restart",
    "function_not_supported",
    "object_unknown",
    "parameter_error",
    "event_buffer_overflow",
    "already_executing",
    "configuration_corrupt",
    "reserved_2_6",
    "reserved_2_7",
)
IIN_FAILURE = 0x07  # second octet: the outstation did not do what was asked for

_COMMON = ("online", "restart", "comm_lost", "remote_forced", "local_forced")
FLAGS: tuple[tuple[str, ...], ...] = (
    (*_COMMON, "chatter_filter"),
    (*_COMMON, "chatter_filter"),
    (*_COMMON, "rollover", "discontinuity"),
    (*_COMMON, "rollover", "discontinuity"),
    (*_COMMON, "over_range", "reference_error"),
)
"""Flag bits by kind: binary, double-bit, counter, frozen counter, analog (11.6)."""

OPERATIONS = {0: "nul", 1: "pulse_on", 2: "pulse_off", 3: "latch_on", 4: "latch_off"}
TRIP_CLOSE = {1: "close", 2: "trip", 3: "reserved"}

CONTROL_STATUS = {
    0: "success",
    1: "timeout",
    2: "no_select",
    3: "format_error",
    4: "not_supported",
    5: "already_active",
    6: "hardware_error",
    7: "local",
    8: "too_many_objects",
    9: "not_authorized",
    10: "automation_inhibit",
    11: "processing_limited",
    12: "out_of_range",
    13: "downstream_local",
    14: "already_complete",
    15: "blocked",
    16: "cancelled",
    17: "blocked_other_master",
    18: "downstream_fail",
    126: "reserved",
    127: "undefined",
}
"""Status of a control (A.8.1, table A-2)."""

FILE_STATUS = {
    0: "success",
    1: "permission_denied",
    2: "invalid_mode",
    3: "not_found",
    4: "file_locked",
    5: "too_many_open",
    6: "invalid_handle",
    7: "write_block_size",
    8: "comm_lost",
    9: "cannot_abort",
    16: "not_opened",
    17: "handle_expired",
    18: "overrun",
    19: "fatal",
    20: "block_sequence",
    255: "undefined",
}
AUTH_ERRORS = {
    1: "authentication_failed",
    2: "unexpected_response",
    3: "no_response",
    4: "aggressive_mode_not_supported",
    5: "mac_algorithm_not_supported",
    6: "key_wrap_algorithm_not_supported",
    7: "authorization_failed",
    8: "update_key_method_not_permitted",
    9: "invalid_signature",
    10: "invalid_certification_data",
    11: "unknown_user",
    12: "max_session_key_status_requests",
}
"""Error codes of secure authentication, g120v7 (A.45.7)."""

FILE_MODE = {0: "null", 1: "read", 2: "write", 3: "append"}


def control_code(code: int) -> str:
    """Name an octet of the control code field: ``latch_on``, ``trip``, ``close_pulse_off``, ``pulse_on|clear``."""
    operation = OPERATIONS.get(code & 15, f"operation_{code & 15}")
    side = TRIP_CLOSE.get(code >> 6)
    trip_or_close = operation if side is None else f"{side}_{operation}"
    name = side if side is not None and code & 15 == 1 else trip_or_close
    return name + ("|queue" if code & 0x10 else "") + ("|clear" if code & 0x20 else "")


def flag_names(kind: int, flags: int) -> str:
    """Name the flags of a point: ``online``, ``online|over_range``, ``none``."""
    return "|".join(name for bit, name in enumerate(FLAGS[kind]) if flags >> bit & 1) or "none"


def iin_names(value: int) -> list[str]:
    """Names of all bits set in ``dnp3.iin``."""
    octets = (value >> 8) | (value & 255) << 8
    return [name for bit, name in enumerate(IIN) if octets >> bit & 1]
