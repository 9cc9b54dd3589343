"""Which rule looks at which events: from a Sigma ``logsource`` to datasets, and within a dataset to events.

``docs/logsources.md`` shows the table. A logsource without a line maps to no dataset of ours: the rule is kept, its
status says so. A logsource that names more than a line (``product: network, category: process_creation``) is not that
line. ``category: firewall`` maps to nothing, for a flow carries no verdict of a firewall.

A category of Windows is an event code within a channel, and a channel is a dataset: the rule's condition is joined with
the code (``Place.gate``). Where several kinds of events serve one category, each has its own list of fields.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from correlate.absent import misled, possible
from correlate.windows_sources import (
    AUDIT_CATEGORIES,
    LINUX_CATEGORIES,
    OTHER_CATEGORIES,
    SERVICES,
    SYSMON_CATEGORIES,
    SYSMON_FIELDS,
)
from event.channels import LINUX_SYSMON, SECURITY, SYSMON
from event.fields import DATASETS, FIELDS

LogSource = tuple[str | None, str | None, str | None]
"""product, category, service."""

ICS_PROTOCOLS = ("modbus", "iec104", "dnp3", "s7comm")
"""Datasets that a ``product: ics`` rule without service looks at."""

_NOT_SENSOR = frozenset({"jianmen.alert", "jianmen.input", "syslog", "auditd", "web", "proxy"})
_SENSOR = frozenset(DATASETS) - _NOT_SENSOR
_NETWORK_SERVICES = frozenset({"flow", "dns", "arp", "icmp", "sensor"})
_DATA = "winlog.event_data."


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


@dataclass(frozen=True, slots=True)
class Place:
    """One kind of events that serves a logsource.

    Attributes:
        dataset: Name, or the beginning of names if it ends with a dot.
        field: Column that tells the events apart within the dataset; None: all of them.
        values: Values of that column that are looked at.
        records: Fields that these events have, in our names; None if they are not listed.
        strict: Looked at only by rules that the absence of other fields cannot mislead, see ``chosen``.
    """

    dataset: str
    field: str | None = None
    values: tuple[str, ...] = ()
    records: frozenset[str] | None = None
    strict: bool = False


def _all(*datasets: str) -> tuple[Place, ...]:
    return tuple(Place(one) for one in datasets)


FIXED: dict[LogSource, tuple[Place, ...]] = {
    ("ics", None, None): _all(*ICS_PROTOCOLS),
    **{("ics", None, name): _all(name) for name in _SENSOR},
    **{("network", None, name): _all(name) for name in _NETWORK_SERVICES - {"dns"}},
    **{
        (product, "dns", service): _all("dns", "zeek.dns", "suricata.dns")
        for product in (None, "network")
        for service in (None, "dns")
    },
    ("network", None, "dns"): _all("dns"),
    **{
        (product, "network_connection", service): _all("flow", "zeek.conn", "suricata.flow")
        for product in (None, "network")
        for service in (None, "network_connection")
    },
    (None, "webserver", None): _all("web", "zeek.http", "suricata.http"),
    **{
        (product, category, service): _all("web")
        for category in (None, "webserver")
        for product, service in (
            ("apache", None),
            ("nginx", None),
            ("iis", None),
            (None, "apache"),
            (None, "nginx"),
            (None, "iis"),
            ("windows", "iis"),
            ("apache", "access"),
        )
    },
    (None, "proxy", None): _all("proxy", "zeek.http", "suricata.http"),
    ("zeek", None, None): _all("zeek."),
    ("suricata", None, None): _all("suricata."),
    ("windows", None, None): _all("windows."),
    ("linux", None, None): _all("syslog", "auditd"),
    ("linux", None, "auditd"): _all("auditd"),
    ("linux", None, "syslog"): _all("syslog"),
    (None, "antivirus", None): tuple(
        Place(dataset, "event.code", codes, fields and frozenset(_DATA + one for one in fields))
        for dataset, codes, fields in OTHER_CATEGORIES["antivirus"]
    ),
    ("rpc_firewall", "application", None): _all("windows.rpc_firewall"),
}
"""Logsources that are served the same whoever asks; Windows, Linux and applications are worked out."""

_PROGRAMS: dict[str, tuple[str, ...]] = {
    "sshd": ("sshd", "sshd-session", "sshd-auth"),
    "cron": ("cron", "crond", "anacron", "/usr/sbin/cron"),
    "sudo": ("sudo",),
    "vsftpd": ("vsftpd",),
    "clamav": ("clamd", "clamav", "freshclam", "clamonacc", "clamscan"),
    "guacamole": ("guacd", "guacamole"),
    "auth": (
        "sshd",
        "sshd-session",
        "su",
        "sudo",
        "login",
        "systemd-logind",
        "passwd",
        "useradd",
        "usermod",
        "polkitd",
    ),
}
"""Service of Linux to the programs that write its lines of syslog."""

_APPLICATIONS: dict[str, tuple[str, ...]] = {
    "aws": ("cloudtrail",),
    "azure": ("auditlogs", "activitylogs", "signinlogs", "riskdetection", "pim"),
    "gcp": ("gcp.audit", "google_workspace.admin", "google_workspace.login"),
    "m365": ("audit", "exchange", "threat_management", "threat_detection"),
    "okta": ("okta",),
    "onelogin": ("onelogin.events",),
    "github": ("audit",),
    "bitbucket": ("audit",),
    "kubernetes": ("audit",),
    "cisco": ("duo",),
}
"""Product to its services whose JSON records are datasets ``app.<product>.<service>``."""

_AUDIT_EVENTS: dict[str, tuple[str, tuple[str, ...], tuple[str, ...]]] = {
    "process_creation": (
        "auditd.type",
        ("EXECVE",),
        ("process.executable", "process.command_line", "process.working_directory", "user.name", "process.name"),
    ),
    "file_event": ("auditd.data.nametype", ("CREATE",), ("file.path", "process.executable", "user.name")),
    "file_delete": ("auditd.data.nametype", ("DELETE",), ("file.path", "process.executable", "user.name")),
    "network_connection": (
        "auditd.type",
        ("SOCKADDR",),
        ("destination.ip", "destination.port", "process.executable", "user.name", "network.initiated"),
    ),
}
"""Category to what tells its records in the audit log, and what they record."""


def application_dataset(product: str, service: str) -> str:
    """Dataset of the JSON records of an application; dots within a service stay."""
    return f"app.{product}.{service}"


def applications() -> Iterable[tuple[str, str]]:
    """Product and service of the applications that have a dataset."""
    return ((product, service) for product, services in _APPLICATIONS.items() for service in services)


@lru_cache(1024)
def places(product: str | None, category: str | None, service: str | None) -> tuple[Place, ...]:
    """Kinds of events that serve a logsource; none if we have no dataset for it."""
    product, category, service = (value.lower() if value else None for value in (product, category, service))
    fixed = FIXED.get((product, category, service))
    if fixed is not None:
        return fixed
    if product in ("zeek", "suricata") and category is None and service:
        return _all(f"{product}.{service}")
    if product == "windows":
        return _windows(category, service)
    if product == "linux":
        return _linux(category, service)
    if product in _APPLICATIONS and service in _APPLICATIONS[product] and category in (None, "application"):
        return _all(application_dataset(product, service))
    if product == "opencanary" and category == "application" and service is None:
        return _all(application_dataset("opencanary", "application"))
    return ()


def _windows(category: str | None, service: str | None) -> tuple[Place, ...]:
    allowed = SERVICES.get(service, ()) if service else None
    if category is None:
        return _all(*(allowed or ()))
    found: list[Place] = []
    codes = SYSMON_CATEGORIES.get(category)
    if codes:
        fields = frozenset(_DATA + name for code in codes for name in SYSMON_FIELDS[code])
        found.append(Place(SYSMON, "event.code", codes, fields))
    audit = AUDIT_CATEGORIES.get(category)
    if audit:
        code, names = audit
        found.append(Place(SECURITY, "event.code", (code,), frozenset(_DATA + name for name in names), strict=True))
    for dataset, others, some in OTHER_CATEGORIES.get(category, ()):
        listed = None if some is None else frozenset(_DATA + name for name in some)
        found.append(Place(dataset, "event.code", others, listed))
    return tuple(one for one in found if allowed is None or one.dataset in allowed)


def _linux(category: str | None, service: str | None) -> tuple[Place, ...]:
    if category is None:
        programs = _PROGRAMS.get(service or "")
        return (Place("syslog", "log.syslog.appname", programs),) if programs else ()
    found: list[Place] = []
    if service in (None, "sysmon") and category in LINUX_CATEGORIES:
        found.append(Place(LINUX_SYSMON, "event.code", SYSMON_CATEGORIES[category]))
    if service in (None, "auditd") and category in _AUDIT_EVENTS:
        field, values, names = _AUDIT_EVENTS[category]
        found.append(Place("auditd", field, values, frozenset(names)))
    return tuple(found)


def route(product: str | None, category: str | None, service: str | None) -> Route:
    """Find the datasets of a logsource; an empty route if we have none for it."""
    return _route(places(product, category, service))


def _route(some: Sequence[Place]) -> Route:
    names = dict.fromkeys(one.dataset for one in some if not one.dataset.endswith("."))
    return Route(tuple(names), tuple(dict.fromkeys(one.dataset for one in some if one.dataset.endswith("."))))


def _always(name: str) -> bool:
    """Fields that every event has or may have, whatever its kind records."""
    return not FIELDS.is_open(name) and name.partition(".")[0] in (
        "event",
        "winlog",
        "host",
        "log",
        "message",
        "@timestamp",
    )


def chosen(logsource: LogSource, fields: Iterable[str], condition: list[Any] | None = None) -> tuple[Place, ...]:
    """The places that a rule which names these fields looks at.

    At a strict place that lacks some of them it looks only if its condition can still hold there, and if their
    absence cannot make it hold: a filter on an absent field would leave in what the rule's author wanted left out.
    """
    names = frozenset(name for name in fields if not _always(name))
    found = []
    for one in places(*logsource):
        missing = names - one.records if one.strict and one.records is not None else frozenset()
        if missing and (condition is None or misled(condition) & missing or not possible(condition, missing)):
            continue
        found.append(one)
    return tuple(found)


def gate(
    logsource: LogSource, fields: Iterable[str], condition: list[Any] | None = None
) -> tuple[Route, list[Any] | None]:
    """Where a rule looks, and what is joined to its condition there.

    Args:
        logsource: As the rule says.
        fields: Fields that its condition names, in our names.
        condition: The condition; without it a strict place has to record all of the fields.

    Returns:
        The datasets, and a condition (see ``correlate.ir``) that holds for the logsource's events in them; None if
        it holds for all.
    """
    some = chosen(logsource, fields, condition)
    if not any(one.field for one in some):
        return _route(some), None
    datasets = {one.dataset for one in some}
    nodes: list[list[Any]] = []
    for one in some:
        parts: list[list[Any]] = []
        if len(datasets) > 1:
            parts.append(["atom", "event.dataset", "eq", one.dataset])
        if one.field is not None:
            values = [["atom", one.field, "eq", value.lower()] for value in one.values]
            parts.append(values[0] if len(values) == 1 else ["or", values])
        nodes.append(parts[0] if len(parts) == 1 else ["and", parts])
    return _route(some), nodes[0] if len(nodes) == 1 else ["or", nodes]


def recorded(logsource: LogSource) -> tuple[str, ...]:
    """Fields that the events of a logsource have, where they are listed for all of them; else none."""
    lists = [one.records for one in places(*logsource)]
    if not lists or None in lists:
        return ()
    return tuple(sorted(frozenset().union(*(one for one in lists if one is not None))))


def unrecorded(logsource: LogSource, fields: Iterable[str], condition: list[Any] | None = None) -> list[str]:
    """Fields that no event of a logsource can have: not in the catalogue, or not among those of its events.

    For a logsource without events of ours: those that the catalogue does not have.
    """
    names = list(fields)
    some = chosen(logsource, names, condition)
    lists = [one.records for one in some]
    listed = None if not lists or None in lists else frozenset().union(*(one for one in lists if one is not None))
    return [
        name
        for name in names
        if name not in FIELDS or (listed is not None and not _always(name) and name not in listed)
    ]
