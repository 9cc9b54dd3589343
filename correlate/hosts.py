"""Hosts by the names that their logs give them, and the addresses behind those names.

A log says ``EWS01.plant.local`` or ``ews01``, traffic says ``10.20.1.5``. They are one machine where the site file says
so (``[[assets]]`` with ``hosts``) or the host itself did: Sysmon's network events name the host and its own address.
A whole name and its first label are taken as one host; two whole names with the same first label are not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import ip_address

from correlate.regimes import grouping
from event.incident import Asset
from event.site import Site

_NOBODY = frozenset({"", "-", "localhost", "localhost.localdomain", "unknown", "(none)"})
_MOST_ADDRESSES = 4
"""A name with more addresses is one that many machines share; none of them is taken."""


def host_name(text: str | None) -> str | None:
    """``text`` as the name of one host: lower case, no point at the end; None for addresses and names of nobody."""
    if text is None:
        return None
    name = text.strip().rstrip(".").casefold()
    if name in _NOBODY:
        return None
    try:
        ip_address(name)
    except ValueError:
        return name
    return None


def account(user: str | None, domain: str | None, host: str | None) -> str | None:
    r"""A person's account, ``domain\\name`` or ``name``, lower case; None for services, machines and nobody.

    Args:
        user: Name without a domain.
        domain: Its domain, if the log has one.
        host: The host's name: a domain that is the host means a local account, which has no domain here.
    """
    if user is None:
        return None
    name = user.strip().casefold()
    realm = (domain or "").strip().casefold()
    law = grouping().accounts
    if name in law.services or name.endswith("$") or realm in law.service_domains:
        return None
    local = realm in ("", "-", ".") or (host is not None and realm in (host, host.split(".", 1)[0]))
    return name if local else f"{realm}\\{name}"


def is_domain_account(user: str) -> bool:
    """Whether an account, as ``account`` gives it, is the same one on several hosts."""
    return "\\" in user


def held(name: str) -> set[str]:
    """Keys under which a group keeps a host."""
    first = name.split(".", 1)[0]
    return {f"host:{name}"} if first == name else {f"host:{name}", f"host:{first}.*"}


def sought(name: str) -> set[str]:
    """Keys under which a host finds a group: its own name, and the one with (or without) a domain."""
    first = name.split(".", 1)[0]
    return {f"host:{name}", f"host:{first}.*"} if first == name else {f"host:{name}", f"host:{first}"}


class HostNames:
    """Addresses of hosts by name, as far as the site or the hosts' own logs say.

    Args:
        site: Declared assets.
        assets: What logs showed (``Asset.host``), by address.
        names: Further pairs of name and address.
    """

    def __init__(self, site: Site, assets: Mapping[str, Asset], names: Iterable[tuple[str, str]] = ()) -> None:
        self._addresses: dict[str, set[str]] = {}
        seen = ((asset.host, asset.ip) for asset in assets.values() if asset.host is not None and asset.ip is not None)
        declared = ((name, asset.ip) for asset in site.assets for name in asset.hosts)
        for text, ip in (*seen, *declared, *names):
            name = host_name(text)
            if name is not None:
                self._addresses.setdefault(name, set()).add(ip)
        self._whole: dict[str, set[str]] = {}
        for name in self._addresses:
            first = name.split(".", 1)[0]
            if first != name:
                self._whole.setdefault(first, set()).add(name)

    def addresses(self, name: str) -> tuple[str, ...]:
        """Addresses of the host that logs call ``name`` (``host_name``); none if unknown or if too many share it."""
        found = set(self._addresses.get(name, ()))
        first = name.split(".", 1)[0]
        if first != name:
            found |= self._addresses.get(first, set())
        elif len(self._whole.get(name, ())) == 1:
            (whole,) = self._whole[name]
            found |= self._addresses[whole]
        return tuple(sorted(found)) if len(found) <= _MOST_ADDRESSES else ()

    def endpoint(self, name: str) -> str:
        """What an incident calls the host: its address where there is just one, else ``name``."""
        found = self.addresses(name)
        return found[0] if len(found) == 1 else name
