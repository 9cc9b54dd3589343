"""The field catalogue: every column that an event table may have.

From it come the dtypes of event tables, the columns of the embedded store, ``docs/fields.md`` and the index
templates of Elasticsearch. A decoder that emits a field which is not declared here fails its test. One field
name has one type, everywhere.
"""

from __future__ import annotations

from event.fields import common, dnp3, dns, iec104, logs, modbus, s7comm
from event.fields.base import Field

_PARTS = (common, modbus, iec104, dnp3, s7comm, dns, logs)

FIELDS: dict[str, Field] = {field.name: field for part in _PARTS for field in part.FIELDS}
"""Name to field, in the order of documentation."""

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
    "jianmen.alert": "Matches of Sigma rules and correlations",
}
"""Datasets of our own; ``zeek.<path>`` and ``suricata.<event_type>`` come from logs."""


def is_dataset(name: str) -> bool:
    """Whether ``name`` is a dataset that may be stored."""
    return name in DATASETS or name.startswith(("zeek.", "suricata."))


__all__ = ["DATASETS", "FIELDS", "Field", "is_dataset"]
