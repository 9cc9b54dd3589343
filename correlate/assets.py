"""Assets seen in event tables: addresses, MACs, and the roles that traffic shows.

A role is the side that a host has in a protocol: ``modbus_server``, ``iec104_controlled_station``, ``dnp3_master``.
A host counts as seen only if it sent something; that somebody asked for an address does not make an asset, so a
sweep over an empty network finds nothing.

The name of a host is learned where its own log tells its own address: network events of Sysmon, which say who
opened the connection. An address with two names (or a name with many addresses) stays without.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import ip_address

import polars as pl

from correlate.attribute import is_unicast
from correlate.hosts import host_name
from correlate.locate import Locator
from event.incident import Asset
from event.site import Site

LIMIT = 100_000
"""Assets that are kept; those seen least are let go and counted in ``Observer.dropped``."""

_COMPACT_ROWS = 200_000  # gathered (address, value) rows before they are summed up again

_SIDES: dict[str, tuple[str, str]] = {
    "dnp3": ("master", "outstation"),
    "iec104": ("controlling_station", "controlled_station"),
}
"""How a protocol calls its two sides, client first; the others say client and server."""

_NO_MAC = ("00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff")
_OPAQUE = ("", "unknown", "tls")  # no role follows from these
_TALLY = {"ip": pl.String(), "value": pl.String(), "n": pl.Int64()}


class _Tally:
    """Counts of (address, value), summed up now and then so that memory stays bounded."""

    def __init__(self) -> None:
        self._parts: list[pl.DataFrame] = []
        self._rows = 0

    def add(self, frame: pl.DataFrame) -> None:
        if frame.is_empty():
            return
        self._parts.append(frame)
        self._rows += frame.height
        if self._rows > _COMPACT_ROWS:
            self.compact()

    def compact(self, keep: pl.Series | None = None) -> pl.DataFrame:
        """Sum up; with ``keep`` only these addresses stay."""
        if not self._parts:
            return pl.DataFrame(schema=_TALLY)
        total = pl.concat(self._parts).group_by("ip", "value").agg(pl.col("n").sum())
        if keep is not None:
            total = total.filter(pl.col("ip").is_in(keep.implode()))
        self._parts = [total]
        self._rows = total.height if total.height <= _COMPACT_ROWS // 2 else 0
        return total


def _pairs(table: pl.DataFrame, ip: pl.Expr, value: pl.Expr, where: pl.Expr | None = None) -> pl.DataFrame:
    """(ip, value, n) of the rows of ``table`` that meet ``where``."""
    rows = table if where is None else table.filter(where)
    return (
        rows.select(ip=ip.cast(pl.String), value=value.cast(pl.String))
        .filter(pl.col("ip").is_not_null() & pl.col("value").is_not_null())
        .group_by("ip", "value")
        .agg(n=pl.len().cast(pl.Int64))
    )


class Observer:
    """Gathers assets table by table; ``assets()`` may be asked at any time.

    Args:
        site: Segments and declared assets.
        limit: Assets kept at most.
    """

    def __init__(self, site: Site, limit: int = LIMIT) -> None:
        self._site = site
        self._limit = limit
        self._seen = _Tally()
        self._macs = _Tally()
        self._roles = _Tally()
        self._names = _Tally()
        self._before: dict[str, Asset] = {}
        self.dropped = 0

    def resume(self, assets: Mapping[str, Asset]) -> None:
        """Go on from assets of an earlier run: their MACs and roles stay unless traffic says otherwise."""
        self._before.update(assets)

    def feed(self, table: pl.DataFrame) -> None:
        """Take one event table of any dataset; tables without addresses say nothing."""
        if table.is_empty():
            return
        dataset = str(table["event.dataset"][0])
        if dataset in ("jianmen.alert", "jianmen.input"):
            return
        columns = set(table.columns)
        if dataset == "arp":
            self._feed_arp(table, columns)
            return
        if "source.ip" in columns:
            sent = (pl.col("source.packets") != 0).fill_null(True) if "source.packets" in columns else None
            self._feed_sender(table, columns, "source", sent)
        answered = pl.col("destination.packets") > 0 if "destination.packets" in columns else None
        if "destination.ip" in columns and answered is not None:
            self._feed_sender(table, columns, "destination", answered.fill_null(False))
        if {"host.name", "network.initiated"} <= columns:
            for side, word in (("source", "true"), ("destination", "false")):
                if f"{side}.ip" in columns:
                    own = (pl.col("network.initiated").str.to_lowercase() == word).fill_null(False)
                    name = pl.col("host.name").str.to_lowercase()
                    self._names.add(_pairs(table, pl.col(f"{side}.ip"), name, own))
        self._feed_roles(table, columns, dataset, answered)

    def _feed_sender(self, table: pl.DataFrame, columns: set[str], side: str, where: pl.Expr | None) -> None:
        ip = pl.col(f"{side}.ip")
        self._seen.add(_pairs(table, ip, pl.lit("seen"), where))
        if f"{side}.mac" in columns:
            mac = pl.col(f"{side}.mac")
            real = ~mac.is_in(_NO_MAC)
            self._macs.add(_pairs(table, ip, mac, real if where is None else where & real))

    def _feed_arp(self, table: pl.DataFrame, columns: set[str]) -> None:
        if "arp.sender_ip" not in columns:
            return
        ip = pl.col("arp.sender_ip")
        self._seen.add(_pairs(table, ip, pl.lit("seen")))
        if "arp.sender_mac" in columns:
            mac = pl.col("arp.sender_mac")
            self._macs.add(_pairs(table, ip, mac, ~mac.is_in(_NO_MAC)))

    def _feed_roles(self, table: pl.DataFrame, columns: set[str], dataset: str, answered: pl.Expr | None) -> None:
        if dataset == "flow":
            # The protocol of a flow is what its content showed; the responder must have sent something.
            if not {"network.protocol", "source.ip", "destination.ip"} <= columns:
                return
            name = pl.col("network.protocol")
            known = (~name.is_in(_OPAQUE)).fill_null(False)
            self._roles.add(_pairs(table, pl.col("source.ip"), _role(name, 0), known))
            if answered is not None:
                both = known & answered.fill_null(False)
                self._roles.add(_pairs(table, pl.col("destination.ip"), _role(name, 1), both))
            return
        if "." in dataset or dataset in ("sensor", "syslog", "icmp"):
            return
        if {"client.ip", "server.ip", "source.ip"} <= columns:
            for number, side in enumerate(("client.ip", "server.ip")):
                sender = (pl.col("source.ip") == pl.col(side)).fill_null(False)
                self._roles.add(_pairs(table, pl.col(side), _role(pl.lit(dataset), number), sender))
            return
        kind = f"{dataset}.message_type" if dataset != "dns" else "dns.type"
        if kind in columns and "source.ip" in columns:
            for number, words in enumerate((("request", "query"), ("response", "answer", "unsolicited"))):
                where = pl.col(kind).is_in(words).fill_null(False)
                self._roles.add(_pairs(table, pl.col("source.ip"), _role(pl.lit(dataset), number), where))

    def assets(self) -> dict[str, Asset]:
        """All assets seen so far, by address, in the order of addresses."""
        counts = self._seen.compact()
        keep = counts.filter(pl.col("ip").map_elements(is_unicast, return_dtype=pl.Boolean))
        if keep.height > self._limit:
            self.dropped += keep.height - self._limit
            keep = keep.sort(["n", "ip"], descending=[True, False]).head(self._limit)
            self._seen.compact(keep["ip"])
        chosen = set(keep["ip"].to_list())
        macs = self._macs.compact(keep["ip"] if self.dropped else None)
        top = macs.sort(["n", "value"], descending=[True, False]).unique("ip", keep="first", maintain_order=True)
        mac_of = dict(top.select("ip", "value").iter_rows())
        roles_of: dict[str, list[str]] = {}
        for ip, role in self._roles.compact().sort("ip", "value").select("ip", "value").iter_rows():
            roles_of.setdefault(ip, []).append(role)
        names_of: dict[str, set[str]] = {}
        for ip, text in self._names.compact().select("ip", "value").iter_rows():
            name = host_name(text)
            if name is not None:
                names_of.setdefault(ip, set()).add(name)
        locate = Locator(self._site)
        result: dict[str, Asset] = {}
        for ip in sorted({*chosen, *self._before}, key=_number):
            old = self._before.get(ip)
            declared = locate.declared.get(ip)
            roles = {*roles_of.get(ip, ()), *(old.roles_seen if old else ())}
            names = names_of.get(ip, set())
            result[ip] = Asset(
                ip=ip,
                host=min(names) if len(names) == 1 else old.host if old and not names else None,
                mac=mac_of.get(ip) or (old.mac if old else None),
                name=declared.name if declared else None,
                role=declared.role if declared else None,
                roles_seen=tuple(sorted(roles)),
                segment=locate.segment(ip),
                importance=declared.importance if declared else None,
            )
        return result


def _role(protocol: pl.Expr, side: int) -> pl.Expr:
    word = pl.lit(("client", "server")[side])
    for name, words in _SIDES.items():
        word = pl.when(protocol == name).then(pl.lit(words[side])).otherwise(word)
    return pl.concat_str(protocol, pl.lit("_"), word)


def _number(ip: str) -> tuple[int, int]:
    address = ip_address(ip)
    return address.version, int(address)


def observe(tables: Iterable[pl.DataFrame], site: Site) -> dict[str, Asset]:
    """Assets seen in event tables.

    Args:
        tables: Event tables, one dataset each: flow, arp, protocol datasets; others are passed over.
        site: Segments and declared assets.

    Returns:
        Address to asset, at most ``LIMIT``; a declared asset that sent nothing is not among them.
    """
    observer = Observer(site)
    for table in tables:
        observer.feed(table)
    return observer.assets()
