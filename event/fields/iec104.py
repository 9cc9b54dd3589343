"""IEC 60870-5-104:2006 (DL/T 634.5104) with ASDUs of IEC 60870-5-101."""

from event.fields.base import own

FIELDS = (
    own("iec104.apci_type", "keyword", "i, s or u"),
    own(
        "iec104.u_function",
        "keyword",
        "startdt_act, startdt_con, stopdt_act, stopdt_con, testfr_act, testfr_con",
    ),
    own("iec104.send_seq", "long", "N(S) of an I frame (0 to 32767)"),
    own("iec104.recv_seq", "long", "N(R) of an I or S frame (0 to 32767)"),
    own(
        "iec104.sequence_anomaly",
        "keyword",
        "N(S) or N(R) out of order: gap, repeated, went_back, acknowledged_unsent",
    ),
    own("iec104.type_id", "long", "Type identification (1 to 127; 128 to 255 private)"),
    own("iec104.type", "keyword", "Type in the standard's short form, lower case: m_sp_na_1, c_sc_na_1"),
    own("iec104.access", "keyword", "monitor, control, parameter, system or file"),
    own("iec104.sequence", "boolean", "SQ bit: one address, consecutive elements"),
    own("iec104.object_count", "long", "Number of information objects or elements (0 to 127)"),
    own("iec104.cause", "long", "Cause of transmission (0 to 63)"),
    own(
        "iec104.cause_name",
        "keyword",
        "Cause in words: spontaneous, activation, unknown_type",
    ),
    own("iec104.negative", "boolean", "P/N bit: negative confirmation"),
    own("iec104.test", "boolean", "T bit"),
    own("iec104.originator", "long", "Originator address (0 to 255)"),
    own("iec104.common_address", "long", "Common address of ASDU (65535 is broadcast)"),
    own("iec104.broadcast", "boolean", "The common address is the broadcast one"),
    own("iec104.first_ioa", "long", "First information object address (0 to 16777215)"),
    own("iec104.ioa", "long", "Information object addresses, one for each object (0 to 16777215)", many=True),
    own("iec104.value", "double", "Values, one for each object; null where there is none", many=True),
    own("iec104.value_min", "double", "Smallest value over all messages that this event stands for"),
    own("iec104.value_max", "double", "Largest value over all messages that this event stands for"),
    own("iec104.quality", "keyword", "Quality bits of each object: good or iv|nt|sb|bl|ov", many=True),
    own("iec104.time", "date", "CP56Time2a or CP24Time2a of each object, read as UTC", many=True),
    own("iec104.time_invalid", "boolean", "IV bit in a time tag of this message"),
    own("iec104.select", "boolean", "S/E bit of a command: true selects, false executes"),
    own("iec104.qualifier", "long", "QU, QL, QOI, QCC, QRP, QPM or QPA, by type"),
    own(
        "iec104.setpoint",
        "double",
        "Value commanded by a set-point or parameter type, or command state 0 to 3",
    ),
    own("iec104.clock", "date", "Time that a clock command sets, read as UTC"),
    own("iec104.file_name", "long", "Name of file (types 120 to 127)"),
    own("iec104.section", "long", "Name of section"),
    own("iec104.matched", "boolean", "A confirmation: its activation was seen"),
)
