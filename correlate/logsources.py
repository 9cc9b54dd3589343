"""Which rule looks at which events: from a Sigma ``logsource`` to ``event.dataset``.

| product | category | service | datasets |
|---|---|---|---|
| ics | | | modbus, iec104, dnp3, s7comm |
| ics | | *dataset* | that dataset of the sensor: modbus, iec104, dnp3, s7comm, arp, icmp, dns, flow, sensor |
| network | | flow, dns, arp, icmp, sensor | that dataset |
| network or none | dns | | dns, zeek.dns, suricata.dns |
| network or none | network_connection | | flow, zeek.conn, suricata.flow |
| none | webserver | | zeek.http, suricata.http |
| zeek | | *path* | zeek.*path* |
| zeek | | | every zeek.* |
| suricata | | *event type* | suricata.*event type* |
| suricata | | | every suricata.* |
| linux | | syslog | syslog |

Everything else maps to no dataset of ours: the rule is kept, its status says so. A logsource that names more than
the line (``product: linux, category: network_connection``: a host's own record with the process in it) is not
that line. ``category: firewall`` maps to nothing, for a flow carries no verdict of a firewall.
"""

from __future__ import annotations

from dataclasses import dataclass

from event.fields import DATASETS

ICS_PROTOCOLS = ("modbus", "iec104", "dnp3", "s7comm")
"""Datasets that a ``product: ics`` rule without service looks at."""

_SENSOR = frozenset(DATASETS) - {"jianmen.alert", "syslog", "auditd", "web", "proxy"}
_NETWORK_SERVICES = frozenset({"flow", "dns", "arp", "icmp", "sensor"})
_CATEGORIES = {
    "dns": ("dns", "zeek.dns", "suricata.dns"),
    "network_connection": ("flow", "zeek.conn", "suricata.flow"),
}


@dataclass(frozen=True, slots=True)
class Route:
    """The datasets that a rule looks at.

    Attributes:
        names: Whole names of datasets.
        prefixes: Beginnings of names, such as ``zeek.``.
    """

    names: tuple[str, ...] = ()
    prefixes: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.names or self.prefixes)

    def takes(self, dataset: str) -> bool:
        """Whether events of ``dataset`` are looked at."""
        return dataset in self.names or (bool(self.prefixes) and dataset.startswith(self.prefixes))

    def first(self) -> str | None:
        """A dataset that stands for all, for samples that name none."""
        return self.names[0] if self.names else None


def route(product: str | None, category: str | None, service: str | None) -> Route:
    """Find the datasets of a logsource; an empty route if we have none for it."""
    product, category, service = (value.lower() if value else None for value in (product, category, service))
    if product == "ics" and category is None:
        if service is None:
            return Route(ICS_PROTOCOLS)
        return Route((service,)) if service in _SENSOR else Route()
    if product == "network" and category is None and service in _NETWORK_SERVICES:
        return Route((service,))
    if product in (None, "network") and category in _CATEGORIES and service in (None, category):
        return Route(_CATEGORIES[category])
    if product is None and category == "webserver" and service is None:
        return Route(("zeek.http", "suricata.http"))
    if product in ("zeek", "suricata") and category is None:
        return Route((f"{product}.{service}",)) if service else Route((), (f"{product}.",))
    if product == "linux" and category is None and service == "syslog":
        return Route(("syslog",))
    return Route()
