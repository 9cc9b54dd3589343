"""The field catalogue: every column that an event table may have.

From it come the dtypes of event tables, the columns of the embedded store, ``docs/fields.md`` and the index
templates of Elasticsearch. A decoder that emits a field which is not declared here fails its test. One field
name has one type, everywhere.
"""

from __future__ import annotations

from event.fields import common, derived, dnp3, dns, hosts, iec104, logs, modbus, s7comm
from event.fields.base import Catalogue, Field

_PARTS = (common, modbus, iec104, dnp3, s7comm, dns, logs, hosts, derived)

FIELDS = Catalogue((field for part in _PARTS for field in part.FIELDS), hosts.OPEN_PREFIXES)
"""Name to field, in the order of documentation; also knows the names behind open prefixes."""

DATASETS: dict[str, str] = {
    "flow": "One bidirectional conversation of IP endpoints, or a part of it after the active timeout",
    "arp": "ARP requests and replies, identical ones collapsed",
    "icmp": "ICMP and ICMPv6 conversations by type and code",
    "modbus": "Modbus/TCP requests and responses",
    "iec104": "IEC 60870-5-104 frames",
    "dnp3": "DNP3 application messages and link frames without one",
    "s7comm": "S7comm jobs, acknowledgements and user data; COTP connection set-up; S7comm-plus headers",
    "dns": "DNS queries and answers",
    "sensor": "What the sensor itself has to say: damaged input, limits reached, evasion signs",
    "syslog": "Syslog lines of RFC 3164 and RFC 5424",
    "auditd": "Records of the Linux audit log",
    "web": "Access logs of web servers",
    "proxy": "Access logs of web proxies",
    "jianmen.input": "Accounts of the inputs of a sensor: what became of every frame and line",
    "jianmen.alert": "Matches of Sigma rules and correlations",
}
"""Datasets of our own; those of ``OPEN_DATASETS`` come from logs."""

OPEN_DATASETS = {
    "zeek.": "Zeek logs, by path",
    "suricata.": "Suricata EVE records, by event type",
    "windows.": "The Windows event log, by channel",
    "app.": "JSON records of applications and clouds, by product and service",
}
"""Beginnings of names of datasets that a source continues."""


def is_dataset(name: str) -> bool:
    """Whether ``name`` is a dataset that may be stored."""
    return name in DATASETS or name.startswith(tuple(OPEN_DATASETS))


__all__ = ["DATASETS", "FIELDS", "OPEN_DATASETS", "Catalogue", "Field", "is_dataset"]
