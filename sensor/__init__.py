"""Packets and log lines become event tables.

``open_input`` is the door: it finds out what a file is and yields tables of events with an account of every
frame and line. Importing this room does not import numba; reading a capture does.
"""

from sensor.base import Account, PduBatch, SensorLimits

DECODERS = {
    "modbus": "sensor.decoders.modbus:DECODER",
    "iec104": "sensor.decoders.iec104:DECODER",
    "dnp3": "sensor.decoders.dnp3:DECODER",
    "s7comm": "sensor.decoders.s7comm:DECODER",
    "dns": "sensor.decoders.dns:DECODER",
}

PARSERS = {
    "zeek": "sensor.parsers.zeek:PARSER",
    "suricata": "sensor.parsers.suricata:PARSER",
    "syslog": "sensor.parsers.syslog:PARSER",
    "windows": "sensor.parsers.windows:PARSER",
    "auditd": "sensor.parsers.auditd:PARSER",
    "web": "sensor.parsers.web:PARSER",
    "app": "sensor.parsers.app:PARSER",
}

__all__ = ["DECODERS", "PARSERS", "Account", "PduBatch", "SensorLimits"]
