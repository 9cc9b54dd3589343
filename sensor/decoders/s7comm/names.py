"""What S7comm's numbers are called.

Siemens never published the protocol. The names follow what its public dissectors and open client libraries agree
on, and the operating and error lists of the STEP 7 documentation ("System Software for S7-300/400, System and
Standard Functions").
"""

from __future__ import annotations

COTP = {
    0x10: "expedited_data",
    0x20: "expedited_ack",
    0x40: "unit_data",
    0x50: "reject",
    0x60: "data_ack",
    0x70: "error",
    0x80: "disconnect_request",
    0xC0: "disconnect_confirm",
    0xD0: "connect_confirm",
    0xE0: "connect_request",
    0xF0: "data",
}
"""TPDU codes, upper half of the octet (RFC 905, 13.1)."""

ROSCTR = {1: "job", 2: "ack", 3: "ack_data", 7: "userdata"}

FUNCTIONS: dict[int, tuple[str, str]] = {
    0x00: ("cpu_services", "other"),
    0x04: ("read_var", "read"),
    0x05: ("write_var", "write"),
    0x1A: ("request_download", "program"),
    0x1B: ("download_block", "program"),
    0x1C: ("download_ended", "program"),
    0x1D: ("start_upload", "program"),
    0x1E: ("upload", "program"),
    0x1F: ("end_upload", "program"),
    0x28: ("pi_service", "control"),
    0x29: ("plc_stop", "control"),
    0xF0: ("setup_communication", "setup"),
}
"""Function of a job to name and ``s7comm.access``."""

GROUPS = {
    0: "mode_transition",
    1: "programmer",
    2: "cyclic",
    3: "block",
    4: "cpu",
    5: "security",
    6: "pbc",
    7: "time",
    15: "nc",
}

SUB_FUNCTIONS: dict[int, dict[int, tuple[str, str]]] = {
    0: {
        0: ("stop", "other"),
        1: ("warm_restart", "other"),
        2: ("run", "other"),
        3: ("hot_restart", "other"),
        4: ("hold", "other"),
        6: ("cold_restart", "other"),
        9: ("run_redundant", "other"),
        11: ("link_up", "other"),
        12: ("update", "other"),
    },
    1: {
        0x01: ("block_status", "read"),
        0x02: ("variable_status", "read"),
        0x03: ("output_istack", "read"),
        0x04: ("output_bstack", "read"),
        0x05: ("output_lstack", "read"),
        0x06: ("time_measurement", "read"),
        0x07: ("force_selection", "write"),
        0x08: ("modify_variable", "write"),
        0x09: ("force", "write"),
        0x0A: ("breakpoint", "control"),
        0x0B: ("exit_hold", "control"),
        0x0C: ("memory_reset", "control"),
        0x0D: ("disable_job", "other"),
        0x0E: ("enable_job", "other"),
        0x0F: ("delete_job", "other"),
        0x10: ("read_job_list", "read"),
        0x11: ("read_job", "read"),
        0x12: ("replace_job", "other"),
        0x13: ("block_status_2", "read"),
        0x16: ("flash_led", "control"),
    },
    2: {
        0x01: ("read_memory", "read"),
        0x04: ("unsubscribe", "read"),
        0x05: ("change_driven", "read"),
        0x07: ("change_driven_modify", "read"),
        0x08: ("read_record", "read"),
    },
    3: {
        0x01: ("list_blocks", "identification"),
        0x02: ("list_blocks_of_type", "identification"),
        0x03: ("get_block_info", "identification"),
    },
    4: {
        0x01: ("read_szl", "identification"),
        0x02: ("message_service", "other"),
        0x03: ("diagnostic_message", "other"),
        0x05: ("alarm8_indication", "other"),
        0x06: ("notify_indication", "other"),
        0x07: ("alarm8_lock", "control"),
        0x08: ("alarm8_unlock", "control"),
        0x09: ("scan_indication", "other"),
        0x0B: ("alarm_ack", "control"),
        0x0C: ("alarm_ack_indication", "other"),
        0x0D: ("alarm8_lock_indication", "other"),
        0x0E: ("alarm8_unlock_indication", "other"),
        0x11: ("alarm_sq_indication", "other"),
        0x12: ("alarm_s_indication", "other"),
        0x13: ("alarm_query", "other"),
        0x16: ("notify8_indication", "other"),
    },
    5: {0x01: ("set_password", "auth"), 0x02: ("clear_password", "auth")},
    7: {
        0x01: ("read_clock", "time"),
        0x02: ("set_clock", "time"),
        0x03: ("read_clock_following", "time"),
        0x04: ("set_clock_2", "time"),
    },
    15: {
        0x01: ("request_download", "program"),
        0x02: ("download_block", "program"),
        0x03: ("continue_download", "program"),
        0x04: ("download_ended", "program"),
        0x06: ("start_upload", "program"),
        0x07: ("upload", "program"),
        0x08: ("continue_upload", "program"),
    },
}
"""User-data sub-functions to name and ``s7comm.access``."""

GROUP_ACCESS = {1: "read", 2: "read", 3: "identification", 5: "auth", 7: "time", 15: "program"}

AREAS: dict[int, tuple[str, str]] = {
    0x03: ("system_info", "SI"),
    0x05: ("system_flags", "SF"),
    0x06: ("analog_inputs", "AI"),
    0x07: ("analog_outputs", "AQ"),
    0x1C: ("counters", "C"),
    0x1D: ("timers", "T"),
    0x1E: ("iec_counters", "IC"),
    0x1F: ("iec_timers", "IT"),
    0x80: ("peripherals", "P"),
    0x81: ("inputs", "I"),
    0x82: ("outputs", "Q"),
    0x83: ("flags", "M"),
    0x84: ("db", "DB"),
    0x85: ("instance_db", "DI"),
    0x86: ("local", "L"),
    0x87: ("previous_local", "V"),
}
NUMBERED = (0x1C, 0x1D, 0x1E, 0x1F)
"""Areas that are addressed by number, not by byte and bit."""

TRANSPORT = {
    0x01: "BIT",
    0x02: "BYTE",
    0x03: "CHAR",
    0x04: "WORD",
    0x05: "INT",
    0x06: "DWORD",
    0x07: "DINT",
    0x08: "REAL",
    0x09: "DATE",
    0x0A: "TOD",
    0x0B: "TIME",
    0x0C: "S5TIME",
    0x0F: "DATE_AND_TIME",
    0x1C: "COUNTER",
    0x1D: "TIMER",
    0x1E: "IEC_COUNTER",
    0x1F: "IEC_TIMER",
    0x20: "HS_COUNTER",
}

BLOCKS = {"08": "OB", "0A": "DB", "0B": "SDB", "0C": "FC", "0D": "SFC", "0E": "FB", "0F": "SFB"}

PI_PROGRAM = ("_INSE", "_DELE", "_GARB", "_MODU", "_INS2", "_DEL2", "_GRAB", "_N_F_DELE", "_N_F_COPY", "_N_F_RENA")
"""PI services that change what is stored in the controller, not what it does."""

RETURN_CODES = {
    0x00: "reserved",
    0x01: "hardware_fault",
    0x03: "access_not_allowed",
    0x05: "invalid_address",
    0x06: "type_not_supported",
    0x07: "type_not_consistent",
    0x0A: "object_not_found",
}
"""Return codes of items but success, 0xFF."""

ERRORS = {
    0x0110: "invalid_block_number",
    0x0111: "invalid_request_length",
    0x0112: "invalid_parameter",
    0x0113: "invalid_block_type",
    0x0114: "block_not_found",
    0x0115: "block_exists",
    0x0116: "block_write_protected",
    0x0117: "update_too_large",
    0x0118: "invalid_block",
    0x0119: "incorrect_password",
    0x011A: "programmer_resource_error",
    0x011B: "plc_resource_error",
    0x011C: "protocol_error",
    0x011D: "too_many_blocks",
    0x011E: "not_connected",
    0x011F: "result_buffer_too_small",
    0x8001: "not_possible_in_this_state",
    0x8101: "hardware_fault",
    0x8103: "access_not_allowed",
    0x8104: "context_not_supported",
    0x8105: "invalid_address",
    0x8106: "type_not_supported",
    0x8107: "type_not_consistent",
    0x810A: "object_not_found",
    0x8204: "object_undefined",
    0x8301: "out_of_memory",
    0x8404: "severe_error",
    0x8500: "pdu_size",
    0x8702: "invalid_address",
    0xD201: "block_name_syntax",
    0xD202: "parameter_syntax",
    0xD203: "block_type_syntax",
    0xD204: "no_linked_block",
    0xD205: "object_exists",
    0xD206: "object_exists",
    0xD207: "block_exists_in_eprom",
    0xD209: "block_not_found",
    0xD20E: "no_block_available",
    0xD210: "block_number_too_large",
    0xD240: "coordination_rules_violated",
    0xD241: "protection_level",
    0xD242: "protection_violation",
    0xD401: "invalid_szl_id",
    0xD402: "invalid_szl_index",
    0xD409: "diagnosis_logged_off",
    0xD602: "password_incorrect",
    0xD604: "password_already_set",
    0xD605: "no_password",
    0xDC01: "invalid_clock_status",
}

# Operating mode in the lower half of BZU-ID, SZL 0x0424.
STATES = {
    0x1: "stop",
    0x2: "stop",
    0x3: "stop",
    0x4: "stop",
    0x5: "startup",
    0x6: "startup",
    0x7: "startup",
    0x8: "run",
    0x9: "run",
    0xA: "hold",
    0xB: "link_up",
    0xC: "update",
    0xD: "defective",
    0xE: "error_search",
    0xF: "no_power",
}
TRANSITIONS = {
    0: "stop",
    1: "startup",
    2: "run",
    3: "startup",
    4: "hold",
    6: "startup",
    9: "run",
    11: "link_up",
    12: "update",
}

IDENTITY = {
    1: "system_name",
    2: "module_name",
    3: "plant",
    4: "copyright",
    5: "serial",
    7: "module_type",
    8: "memory_card_serial",
    9: "manufacturer",
    10: "oem",
    11: "location",
}
"""Indexes of SZL 0x001C, component identification."""

VERSIONS = {1: "module", 6: "hardware", 7: "firmware", 0x81: "boot_loader"}
"""Indexes of SZL 0x0011, module identification."""

PLUS_OPCODES = {0x31: "request", 0x32: "response", 0x33: "notification", 0x02: "response_2"}
PLUS_FUNCTIONS: dict[int, tuple[str, str]] = {
    0x04B1: ("error", "other"),
    0x04BB: ("explore", "identification"),
    0x04CA: ("create_object", "program"),
    0x04D4: ("delete_object", "program"),
    0x04F2: ("set_variable", "write"),
    0x0524: ("get_link", "read"),
    0x0542: ("set_multi_variables", "write"),
    0x054C: ("get_multi_variables", "read"),
    0x0556: ("begin_sequence", "program"),
    0x0560: ("end_sequence", "program"),
    0x056B: ("invoke", "control"),
    0x057C: ("set_variable_sub_streamed", "write"),
    0x0586: ("get_variables_sub_streamed", "read"),
}
"""Function of S7comm-plus to name and ``s7comm.access``."""


def error_name(word: int) -> str:
    """Name an error word (class in the high byte); hex where it has none."""
    return ERRORS.get(word, f"0x{word:04x}")
