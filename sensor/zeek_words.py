"""Words of Zeek's logs and ours for the same thing."""

from __future__ import annotations

SIGNS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("conn", ("conn_state",)),
    ("dns", ("trans_id", "rejected")),
    ("http", ("trans_depth", "id.orig_h")),
    ("ssl", ("established", "resumed")),
    ("files", ("fuid", "depth")),
    ("notice", ("note", "actions")),
    ("weird", ("name", "peer")),
    ("modbus", ("func", "id.orig_h")),
    ("dnp3", ("fc_request",)),
    ("dnp3", ("fc_reply",)),
    ("ssh", ("auth_attempts",)),
    ("rdp", ("security_protocol",)),
    ("rdp", ("cookie", "result")),
    ("x509", ("certificate.subject",)),
    ("ftp", ("command", "reply_code")),
    ("dhcp", ("msg_types",)),
)
"""Columns by which a JSON object without ``_path`` tells its log; the first that fits counts."""

CONSTANT: dict[str, dict[str, str]] = {
    "dns": {"network.protocol": "dns"},
    "http": {"network.protocol": "http", "network.transport": "tcp"},
    "ssl": {"network.protocol": "tls"},
    "modbus": {"network.protocol": "modbus", "network.transport": "tcp"},
    "dnp3": {"network.protocol": "dnp3"},
    "ssh": {"network.protocol": "ssh", "network.transport": "tcp"},
    "rdp": {"network.protocol": "rdp"},
    "ftp": {"network.protocol": "ftp", "network.transport": "tcp"},
    "smtp": {"network.protocol": "smtp", "network.transport": "tcp"},
}
"""What every line of a log says by being in it."""

CATEGORY = {
    "conn": "network",
    "dns": "network",
    "http": "web",
    "ssl": "network",
    "files": "file",
    "notice": "intrusion_detection",
    "weird": "network",
    "modbus": "network",
    "dnp3": "network",
    "ssh": "authentication",
    "rdp": "authentication",
    "kerberos": "authentication",
}
"""ECS ``event.category``."""

ENDPOINTS_ARE_SIDES = frozenset({"conn", "dns", "http", "ssl", "modbus", "dnp3", "ssh", "rdp", "ftp", "smtp"})
"""Logs whose originator and responder are client and server."""

TCP_STATES = {
    "S0": "syn_only",
    "REJ": "refused",
    "S1": "established",
    "SF": "closed",
    "RSTO": "reset",
    "RSTR": "reset",
    "OTH": "midstream",
}
"""Connection states that say the same as ours."""

PROTOCOLS = {"ssl": "tls", "dnp3_tcp": "dnp3", "dnp3_udp": "dnp3"}

DNS_CLASSES = {"C_INTERNET": "IN", "C_CHAOS": "CH", "C_HESIOD": "HS", "C_NONE": "NONE", "C_ANY": "ANY"}

_MODBUS = {
    "READ_COILS": (1, "read_coils"),
    "READ_DISCRETE_INPUTS": (2, "read_discrete_inputs"),
    "READ_HOLDING_REGISTERS": (3, "read_holding_registers"),
    "READ_INPUT_REGISTERS": (4, "read_input_registers"),
    "WRITE_SINGLE_COIL": (5, "write_single_coil"),
    "WRITE_SINGLE_REGISTER": (6, "write_single_register"),
    "READ_EXCEPTION_STATUS": (7, "read_exception_status"),
    "DIAGNOSTICS": (8, "diagnostics"),
    "GET_COMM_EVENT_COUNTER": (11, "get_comm_event_counter"),
    "GET_COMM_EVENT_LOG": (12, "get_comm_event_log"),
    "WRITE_MULTIPLE_COILS": (15, "write_multiple_coils"),
    "WRITE_MULTIPLE_REGISTERS": (16, "write_multiple_registers"),
    "REPORT_SLAVE_ID": (17, "report_server_id"),
    "READ_FILE_RECORD": (20, "read_file_record"),
    "WRITE_FILE_RECORD": (21, "write_file_record"),
    "MASK_WRITE_REGISTER": (22, "mask_write_register"),
    "READ_WRITE_MULTIPLE_REGISTERS": (23, "read_write_multiple_registers"),
    "READ_FIFO_QUEUE": (24, "read_fifo_queue"),
    "ENCAP_INTERFACE_TRANSPORT": (43, "encapsulated_interface_transport"),
}
"""Zeek's names of function codes (its ``Modbus::function_codes``), the code and our word."""

MODBUS_CODES = {name + suffix: code for name, (code, _) in _MODBUS.items() for suffix in ("", "_EXCEPTION")}
MODBUS_FUNCTIONS = {name + suffix: word for name, (_, word) in _MODBUS.items() for suffix in ("", "_EXCEPTION")}

_MODBUS_EXCEPTIONS = {
    "ILLEGAL_FUNCTION": (1, "illegal_function"),
    "ILLEGAL_DATA_ADDRESS": (2, "illegal_data_address"),
    "ILLEGAL_DATA_VALUE": (3, "illegal_data_value"),
    "SLAVE_DEVICE_FAILURE": (4, "server_device_failure"),
    "ACKNOWLEDGE": (5, "acknowledge"),
    "SLAVE_DEVICE_BUSY": (6, "server_device_busy"),
    "MEMORY_PARITY_ERROR": (8, "memory_parity_error"),
    "GATEWAY_PATH_UNAVAILABLE": (10, "gateway_path_unavailable"),
    "GATEWAY_TARGET_DEVICE_FAILED_TO_RESPOND": (11, "gateway_target_device_failed_to_respond"),
}
MODBUS_EXCEPTIONS = {name: word for name, (_, word) in _MODBUS_EXCEPTIONS.items()}
MODBUS_EXCEPTION_CODES = {name: code for name, (code, _) in _MODBUS_EXCEPTIONS.items()}

_DNP3 = {
    0: ("CONFIRM", "confirm"),
    1: ("READ", "read"),
    2: ("WRITE", "write"),
    3: ("SELECT", "select"),
    4: ("OPERATE", "operate"),
    5: ("DIRECT_OPERATE", "direct_operate"),
    6: ("DIRECT_OPERATE_NR", "direct_operate_no_ack"),
    7: ("IMMED_FREEZE", "immediate_freeze"),
    8: ("IMMED_FREEZE_NR", "immediate_freeze_no_ack"),
    9: ("FREEZE_CLEAR", "freeze_clear"),
    10: ("FREEZE_CLEAR_NR", "freeze_clear_no_ack"),
    11: ("FREEZE_AT_TIME", "freeze_at_time"),
    12: ("FREEZE_AT_TIME_NR", "freeze_at_time_no_ack"),
    13: ("COLD_RESTART", "cold_restart"),
    14: ("WARM_RESTART", "warm_restart"),
    15: ("INITIALIZE_DATA", "initialize_data"),
    16: ("INITIALIZE_APPL", "initialize_application"),
    17: ("START_APPL", "start_application"),
    18: ("STOP_APPL", "stop_application"),
    19: ("SAVE_CONFIG", "save_configuration"),
    20: ("ENABLE_UNSOLICITED", "enable_unsolicited"),
    21: ("DISABLE_UNSOLICITED", "disable_unsolicited"),
    22: ("ASSIGN_CLASS", "assign_class"),
    23: ("DELAY_MEASURE", "delay_measurement"),
    24: ("RECORD_CURRENT_TIME", "record_current_time"),
    25: ("OPEN_FILE", "open_file"),
    26: ("CLOSE_FILE", "close_file"),
    27: ("DELETE_FILE", "delete_file"),
    28: ("GET_FILE_INFO", "get_file_information"),
    29: ("AUTHENTICATE_FILE", "authenticate_file"),
    30: ("ABORT_FILE", "abort_file"),
    31: ("ACTIVATE_CONFIG", "activate_configuration"),
    32: ("AUTHENTICATE_REQ", "authentication_request"),
    33: ("AUTHENTICATE_ERR", "authentication_request_no_ack"),
    129: ("RESPONSE", "response"),
    130: ("UNSOLICITED_RESPONSE", "unsolicited_response"),
    131: ("AUTHENTICATE_RESP", "authentication_response"),
}
"""Application function codes (IEEE 1815-2012, table 4-1): Zeek's name and ours."""

DNP3_CODES = {name: code for code, (name, _) in _DNP3.items()}
DNP3_FUNCTIONS = dict(_DNP3.values())
