"""Who did what to whom: alerts with the attacking and the attacked side named.

An alert says who sent the message that matched. That is not yet who attacks: an exception storm is sent by the
device that is being scanned. The initiator is found from, in this order, the flow's client and server, fields of
the alert that only an answer has, the roles seen in traffic, declared roles, and ports. The outcome is an
inference and is called one in reports.

An alert out of a host's own log is about that host: it is the target unless the log names another one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from ipaddress import IPv4Address, ip_address
from typing import Any

import polars as pl

from correlate.hosts import HostNames, account, host_name
from correlate.regimes import attack, grouping, level_rank
from event.incident import Asset, Level
from event.site import Site

MAX_SIDES = 256
"""Addresses of one side that one alert may bring."""
_SUMMARY_CHARS = 240

_COLUMNS = (
    "@timestamp",
    "event.id",
    "rule.id",
    "rule.name",
    "rule.name_zh",
    "rule.level",
    "threat.technique.id",
    "threat.tactic.name",
    "network.protocol",
    "source.ip",
    "source.port",
    "destination.ip",
    "destination.port",
    "client.ip",
    "server.ip",
    "host.name",
    "user.name",
    "user.domain",
    "alert.source_ips",
    "alert.destination_ips",
    "alert.group",
    "alert.fields",
    "alert.event_count",
    "alert.event_dataset",
)

_OTHER_SIDE = {"client": "server", "master": "outstation", "controlling_station": "controlled_station"}


@dataclass(frozen=True, slots=True)
class Attributed:
    """One alert as grouping sees it. Times are aware UTC, to the microsecond."""

    id: str
    time: datetime
    rule_id: str
    rule_name: str
    rule_name_zh: str
    level: Level
    techniques: tuple[str, ...]
    tactics: tuple[str, ...]
    protocols: tuple[str, ...]
    attackers: tuple[str, ...]
    targets: tuple[str, ...]
    host: str | None
    """Name of the host whose log it is from (``hosts.host_name``)."""
    addresses: tuple[str, ...]
    """Addresses of that host, if known."""
    place: str | None
    """What an incident calls that host: one of its addresses, or its name."""
    user: str | None
    """Account that the log names (``hosts.account``)."""
    summary: str

    @property
    def grave(self) -> bool:
        """Whether it makes an incident by itself."""
        return level_rank(self.level) >= level_rank(grouping().thresholds.alone)

    @property
    def source(self) -> str | None:
        """The attacker, where there is just one."""
        return self.attackers[0] if len(self.attackers) == 1 else None

    @property
    def destination(self) -> str | None:
        """The target, where there is just one."""
        return self.targets[0] if len(self.targets) == 1 else None

    @property
    def pair(self) -> tuple[str, str | None, str | None]:
        """What alerts are condensed by: rule, attacker, target."""
        return self.rule_id, self.source, self.destination


@cache
def is_unicast(ip: str) -> bool:
    """Whether ``ip`` names one host: not multicast, broadcast, unspecified, loopback or text."""
    try:
        address = ip_address(ip)
    except ValueError:
        return False
    if isinstance(address, IPv4Address) and int(address) == 0xFFFFFFFF:
        return False
    return not (address.is_multicast or address.is_unspecified or address.is_loopback)


def _is_answer(fields: Sequence[str]) -> bool:
    """Whether the fields of an alert are such as only an answer carries."""
    table = grouping().response_fields
    for one in fields:
        name, separator, value = one.partition("=")
        values = table.get(name.rsplit(".", 1)[-1])
        if (
            separator
            and values is not None
            and value not in ("", "None", "null")
            and ("*" in values or value in values)
        ):
            return True
    return False


def _side_of(ip: str, protocols: Sequence[str], site: Site, assets: Mapping[str, Asset]) -> str | None:
    """``server`` or ``client`` if traffic or the site say so clearly for these protocols."""
    seen = assets.get(ip)
    if seen is not None:
        roles = [r for r in seen.roles_seen if not protocols or r.split("_", 1)[0] in protocols]
        serves = any(r.endswith(tuple(f"_{s}" for s in _OTHER_SIDE.values())) for r in roles)
        asks = any(r.endswith(tuple(f"_{s}" for s in _OTHER_SIDE)) for r in roles)
        if serves != asks:
            return "server" if serves else "client"
    declared = site.asset_of(ip)
    if declared is not None and declared.role is not None:
        if declared.role in grouping().server_roles:
            return "server"
        if declared.role in grouping().client_roles:
            return "client"
    return None


def _reversed(row: dict[str, Any], site: Site, assets: Mapping[str, Asset], protocols: Sequence[str]) -> bool:
    """Whether the sender of the message is the side that was asked."""
    if _is_answer(row["alert.fields"] or ()):
        return True
    source, destination = row["source.ip"], row["destination.ip"]
    if source is None or destination is None:
        return False
    sides = _side_of(source, protocols, site, assets), _side_of(destination, protocols, site, assets)
    if sides == ("server", "client"):
        return True
    if "client" in sides[:1] or "server" in sides[1:]:
        return False
    ports = grouping().server_ports
    return row["source.port"] in ports and row["destination.port"] not in ports


def _unique(values: Sequence[str | None]) -> tuple[str, ...]:
    found = dict.fromkeys(v for v in values if v is not None and is_unicast(v))
    return tuple(sorted(found))[:MAX_SIDES]


def _sides(
    row: dict[str, Any], site: Site, assets: Mapping[str, Asset], protocols: Sequence[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    if row["client.ip"] is not None and row["server.ip"] is not None:
        return _unique([row["client.ip"]]), _unique([row["server.ip"]])
    sources = _unique([row["source.ip"], *(row["alert.source_ips"] or ())])
    destinations = _unique([row["destination.ip"], *(row["alert.destination_ips"] or ())])
    both = set(sources) & set(destinations)
    if both:
        # The correlation holds messages of both directions: part the two sides by what each host is.
        lead = row["source.ip"] or next((s for s in sources if s not in both), None)
        sides = {ip: _side_of(ip, protocols, site, assets) for ip in both}
        everyone = tuple(sorted({*sources, *destinations}))
        servers = {ip for ip in everyone if sides.get(ip) == "server" or (ip not in sources and ip not in both)}
        if servers:
            return tuple(i for i in everyone if i not in servers), tuple(sorted(servers))
        if lead is not None:
            return (lead,), tuple(i for i in everyone if i != lead)
        return everyone, everyone
    if _reversed(row, site, assets, protocols):
        return destinations, sources
    return sources, destinations


def _hyphened(names: Sequence[str] | None) -> tuple[str, ...]:
    return tuple(name.replace("_", "-").replace(" ", "-").lower() for name in names or ())


def attribute(alerts: pl.DataFrame, site: Site, assets: Mapping[str, Asset] | None = None) -> list[Attributed]:
    """Name the sides of every alert.

    Args:
        alerts: Table of dataset ``jianmen.alert``; columns that it lacks count as unknown.
        site: Declared assets and roles.
        assets: What traffic showed, by address.

    Returns:
        One entry an alert, ordered by time and id; an id that comes twice is kept once.
    """
    if alerts.is_empty():
        return []
    table = alerts.select([c for c in _COLUMNS if c in alerts.columns])
    table = table.unique("event.id", keep="first", maintain_order=True).sort("@timestamp", "event.id")
    names = attack()
    silent = set(grouping().no_attacker_techniques)
    spoof, impersonable = set(grouping().spoofed_source.techniques), set(grouping().spoofed_source.protocols)
    seen = assets or {}
    known_hosts = HostNames(site, seen)
    result: list[Attributed] = []
    absent = dict.fromkeys(_COLUMNS)
    for values in table.iter_rows(named=True):
        row: dict[str, Any] = {**absent, **values}
        techniques = tuple(sorted({t.upper() for t in row["threat.technique.id"] or ()}))
        protocol = row["network.protocol"]
        if protocol in (None, "", "unknown"):
            known = [d for d in row["alert.event_dataset"] or () if "." not in d and d not in ("flow", "sensor")]
            protocols = tuple(sorted(set(known)))
        else:
            protocols = (protocol,)
        attackers, targets = _sides(row, site, seen, protocols)
        if techniques and silent.issuperset(t.split(".")[0] for t in techniques):
            targets = targets or attackers
            attackers = ()
        elif spoof.intersection(techniques) and set(protocols) <= impersonable and protocols:
            targets = tuple(sorted({*attackers, *targets}))
            attackers = ()
        if len(targets) > 1 and seen:
            # Of many addresses that were tried, those that never sent anything are not there to be harmed.
            targets = tuple(t for t in targets if t in seen or site.asset_of(t) is not None)
        host = host_name(row["host.name"] or _grouped_by(row, "host.name"))
        addresses, place = known_hosts.addresses(host) if host is not None else (), None
        if host is not None:
            if not (set(attackers) - set(addresses)) and not targets:
                attackers = ()
            targets = targets or (known_hosts.endpoint(host),)
            place = next((a for a in addresses if a in attackers or a in targets), known_hosts.endpoint(host))
        user = row["user.name"] or _grouped_by(row, "user.name")
        tactics = _hyphened(row["threat.tactic.name"])
        fallback = {t for one in techniques if (k := names.techniques.get(one.split(".")[0])) for t in k.tactics}
        result.append(
            Attributed(
                id=row["event.id"],
                time=row["@timestamp"],
                rule_id=row["rule.id"] or "unknown",
                rule_name=row["rule.name"] or row["rule.id"] or "unknown",
                rule_name_zh=row["rule.name_zh"] or "",
                level=row["rule.level"] or "informational",
                techniques=techniques,
                tactics=tactics or tuple(sorted(fallback)),
                protocols=protocols,
                attackers=attackers,
                targets=targets,
                host=host,
                addresses=addresses,
                place=place,
                user=account(user, row["user.domain"], host),
                summary=_summary(row),
            )
        )
    return result


def _grouped_by(row: dict[str, Any], name: str) -> str | None:
    """Value of ``name`` if a correlation groups by it."""
    start = f"{name}="
    return next((g[len(start) :] for g in row["alert.group"] or () if g.startswith(start)), None) or None


def _summary(row: dict[str, Any]) -> str:
    """What was seen, shortened: group-by values, then fields."""
    parts = [*(row["alert.group"] or ()), *(row["alert.fields"] or ())]
    if row["alert.event_count"] and row["alert.event_count"] > 1:
        parts.insert(0, f"events={row['alert.event_count']}")
    text = " ".join(dict.fromkeys(parts))
    return text if len(text) <= _SUMMARY_CHARS else text[: _SUMMARY_CHARS - 1] + "…"
