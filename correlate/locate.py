"""Where an address belongs: the site's segments and declared assets, looked up many times."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from event.site import Site

_REMEMBERED = 200_000  # addresses whose segment is kept; past this they are looked up anew


class Locator:
    """``Site.segment_of`` and ``Site.asset_of`` for many addresses: networks are parsed once."""

    def __init__(self, site: Site) -> None:
        self.declared = {asset.ip: asset for asset in reversed(site.assets)}
        networks: list[tuple[IPv4Network | IPv6Network, str]] = [
            (ip_network(cidr, strict=False), segment.name) for segment in site.segments for cidr in segment.cidrs
        ]
        self._networks = sorted(networks, key=lambda entry: -entry[0].prefixlen)
        self._undeclared = not networks
        self._known: dict[str, str | None] = {}

    def segment(self, ip: str) -> str | None:
        """Name of the most specific segment that holds ``ip``; None for none and for what is no address."""
        if ip in self._known:
            return self._known[ip]
        try:
            address = ip_address(ip)
        except ValueError:
            return None
        found = next((name for network, name in self._networks if address in network), None)
        if len(self._known) < _REMEMBERED:
            self._known[ip] = found
        return found

    def zone(self, ip: str) -> str | None:
        """The segment of ``ip``; where the site declares no segments at all, its /24 (IPv4) or /64 (IPv6)."""
        if not self._undeclared:
            return self.segment(ip)
        try:
            length = 24 if ip_address(ip).version == 4 else 64
        except ValueError:
            return None
        return str(ip_network(f"{ip}/{length}", strict=False))
