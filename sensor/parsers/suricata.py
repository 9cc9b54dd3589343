"""Suricata EVE JSON (Suricata 5 to 8, ``etc/schema.json`` of its sources).

Dataset ``suricata.<event_type>``. Members with a field of the catalogue go there; all others, nested ones with dotted
names, to ``suricata.fields`` as one JSON object; the line to ``event.original``.

``source`` is what EVE calls ``src_ip``: the initiator of a flow in ``flow``, the sender of the packet in ``alert`` and
``anomaly``, the client in most application records. ``client`` and ``server`` are filled where EVE says which is which.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from sensor import json_lines
from sensor.lines import (
    INSTANT,
    ROW,
    Take,
    errors,
    finish,
    instants,
    ip,
    keyword,
    keywords,
    long,
    lower,
    map_columns,
    rest_json,
    words,
)

ANOMALIES = {
    "invalid_json": "The line is not one JSON object",
    "bad_time": "timestamp is not RFC 3339 (years 1678 to 2261)",
}
"""Code to what was violated."""

MOST_TYPES = 512
_TYPE = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}", re.ASCII)

_TRANSPORTS = {
    "TCP": "tcp",
    "UDP": "udp",
    "ICMP": "icmp",
    "IPV6-ICMP": "ipv6-icmp",
    "ICMPV6": "ipv6-icmp",
    "SCTP": "132",
    "006": "tcp",
    "017": "udp",
}
_CATEGORY = {
    "alert": "intrusion_detection",
    "http": "web",
    "tls": "network",
    "dns": "network",
    "flow": "network",
    "netflow": "network",
    "fileinfo": "file",
    "anomaly": "network",
    "modbus": "network",
    "dnp3": "network",
    "ssh": "network",
}
_KIND = {"alert": "alert", "stats": "metric"}
_PROTOCOL = {
    "http": "http",
    "http2": "http",
    "dns": "dns",
    "tls": "tls",
    "modbus": "modbus",
    "dnp3": "dnp3",
    "ssh": "ssh",
    "smb": "smb",
    "ftp": "ftp",
    "smtp": "smtp",
    "rdp": "rdp",
    "mqtt": "mqtt",
    "krb5": "kerberos",
    "dhcp": "dhcp",
    "snmp": "snmp",
}
_SIDES = frozenset({"flow", "http", "tls", "ssh", "rdp", "modbus", "fileinfo"}) - {"fileinfo"}
"""Records whose source is the client. (``fileinfo`` goes the way of the file.)"""


@dataclass(slots=True)
class SuricataParser:
    """Has no memory."""

    name: str = "suricata"

    def parse(self, lines: pl.Series, offsets: pl.Series, *, reference: datetime | None) -> list[pl.DataFrame]:
        """Turn lines into tables; see ``sensor.base.LineParser``."""
        if lines.is_empty():
            return []
        text = lines.fill_null("").str.strip_chars(" \t\r\ufeff").alias("line")
        rows = pl.int_range(len(text), dtype=pl.Int64, eager=True).alias(ROW)
        filled = text != ""
        parts = _objects(text.filter(filled), rows.filter(filled))
        return finish(parts, lines.fill_null(""), offsets, module="suricata", reference=reference)


def _objects(text: pl.Series, rows: pl.Series) -> list[pl.DataFrame]:
    """Lines are grouped by what looks like their type, so that those of one layout are read together."""
    hint = text.str.extract(r'"event_type"\s*:\s*"([^"\\]{1,64})"').fill_null("")
    distinct = hint.unique().sort()
    groups = [hint == one for one in distinct.to_list()] if len(distinct) <= MOST_TYPES else [hint.is_not_null()]
    parts: list[pl.DataFrame] = []
    for chosen in groups:
        blocks, bad = json_lines.read(text.filter(chosen), rows.filter(chosen))
        if bad:
            numbers = pl.Series(ROW, sorted(bad), dtype=pl.Int64)
            parts.append(errors(numbers, "suricata.unknown", "invalid_json", ANOMALIES["invalid_json"]))
        for block in blocks:
            kind = _types(block.columns)
            for one in kind.unique().sort().to_list():
                mine = kind == one
                parts += _rows(block.columns.filter(mine), block.rows.filter(mine), one)
    return parts


def _types(flat: pl.DataFrame) -> pl.Series:
    """``event_type`` of each object, ``unknown`` where it is none."""
    if "event_type" not in flat.columns:
        return pl.Series(["unknown"] * flat.height, dtype=pl.String)
    said = keyword(flat["event_type"])
    found = pl.select(
        pl.when(said.str.contains(rf"^(?:{_TYPE.pattern})$")).then(said.str.to_lowercase()).otherwise(pl.lit("unknown"))
    ).to_series()
    return found if found.n_unique() <= MOST_TYPES else pl.Series(["unknown"] * flat.height, dtype=pl.String)


def _rows(flat: pl.DataFrame, rows: pl.Series, kind: str) -> list[pl.DataFrame]:
    """Objects of one type to fields."""
    fields, left = map_columns(flat, (*_TAKES.get(kind, ()), *_COMMON))
    time = fields.pop("@timestamp", pl.Series([None] * flat.height, dtype=INSTANT)).alias("@timestamp")
    rest = rest_json([series for series in left if series.name != "event_type"])
    columns = [rows.alias(ROW), time, *fields.values()]
    if rest is not None:
        columns.append(rest.alias("suricata.fields"))
    frame = pl.DataFrame(columns).with_columns(
        pl.lit(f"suricata.{kind}").alias("event.dataset"),
        pl.lit(kind).alias("suricata.event_type"),
        pl.lit(_KIND.get(kind, "event")).alias("event.kind"),
    )
    frame = _derived(frame, flat, kind)
    unknown = frame["@timestamp"].is_null()
    if unknown.any():
        broken = frame.filter(unknown).with_columns(
            pl.lit("pipeline_error").alias("event.kind"),
            pl.lit("bad_time").alias("error.code"),
            pl.lit(ANOMALIES["bad_time"]).alias("error.message"),
        )
        return [frame.filter(~unknown), broken]
    return [frame]


def _derived(frame: pl.DataFrame, flat: pl.DataFrame, kind: str) -> pl.DataFrame:
    """Fields that follow from several members or from the type."""
    have = set(frame.columns)
    more: list[pl.Expr] = []
    if kind in _CATEGORY:
        more.append(pl.lit([_CATEGORY[kind]]).alias("event.category"))
    if kind in _PROTOCOL and "network.protocol" not in have:
        more.append(pl.lit(_PROTOCOL[kind]).alias("network.protocol"))
    if kind in _SIDES:
        more += [
            pl.col(f"{old}.{part}").alias(f"{new}.{part}")
            for old, new in (("source", "client"), ("destination", "server"))
            for part in ("ip", "port")
            if f"{old}.{part}" in have
        ]
    if kind == "flow":
        more.append(pl.lit(["connection"]).alias("event.type"))
    if {"event.start", "event.end"} <= have:
        more.append((pl.col("event.end") - pl.col("event.start")).dt.total_nanoseconds().alias("event.duration"))
    more += [
        (pl.col(f"source.{unit}") + pl.col(f"destination.{unit}")).alias(f"network.{unit}")
        for unit in ("bytes", "packets")
        if {f"source.{unit}", f"destination.{unit}"} <= have
    ]
    if "http.url" in flat.columns:
        path = keyword(flat["http.url"]).str.split_exact("?", 1).struct.field("field_0")
        more.append(pl.lit(path).alias("url.path"))
    if kind == "dns":
        flags = [name for name in ("aa", "tc", "rd", "ra") if f"dns.{name}" in flat.columns]
        if flags:
            said = [pl.when(pl.lit(keyword(flat[f"dns.{n}"]) == "true")).then(pl.lit(n.upper())) for n in flags]
            more.append(pl.concat_list(said).list.drop_nulls().alias("dns.header_flags"))
    if kind == "tls" and "tls.version" in have:
        more.append(pl.col("tls.version").is_not_null().alias("tls.established"))
    return frame.with_columns(more)


def _protocol(series: pl.Series) -> pl.Series:
    """``app_proto``: our word for it; failed and unknown are absent."""
    text = keyword(series).str.to_lowercase()
    known = pl.select(pl.when(~text.is_in(["failed", "unknown", ""])).then(text)).to_series()
    return known.replace({"http2": "http", "krb5": "kerberos", "ssl": "tls"})


def _severity(series: pl.Series) -> pl.Series:
    """1 (worst) to 4 of Suricata on our scale of 0 to 100."""
    return long(series).replace_strict({1: 75, 2: 50, 3: 25, 4: 10}, default=None, return_dtype=pl.Int64)


def _transport(series: pl.Series) -> pl.Series:
    return words(_TRANSPORTS)(keyword(series).str.to_uppercase())


def _addresses(series: pl.Series) -> pl.Series:
    """Texts of a list that are addresses."""
    texts = keywords(series)
    return texts.list.eval(pl.element().filter(pl.element().str.contains(r"^[0-9a-fA-F:.]+$")))


def _vlan(series: pl.Series) -> pl.Series:
    """Outer tag of a list, or the only one."""
    return keywords(series).list.first()


def _inner_vlan(series: pl.Series) -> pl.Series:
    return keywords(series).list.get(1, null_on_oob=True)


def _subject(series: pl.Series) -> pl.Series:
    return keyword(series)


_COMMON: tuple[Take, ...] = (
    Take("@timestamp", "timestamp", instants),
    Take("suricata.flow_id", "flow_id"),
    Take("source.ip", "src_ip", ip),
    Take("source.port", "src_port"),
    Take("destination.ip", "dest_ip", ip),
    Take("destination.port", "dest_port"),
    Take("network.transport", "proto", _transport),
    Take("suricata.app_proto", "app_proto"),
    Take("network.protocol", "app_proto", _protocol),
    Take("network.community_id", "community_id"),
    Take("network.vlan.id", "vlan", _vlan, keep=True),
    Take("network.inner.vlan.id", "vlan", _inner_vlan, keep=True),
    Take("source.mac", "ether.src_mac", lower),
    Take("destination.mac", "ether.dest_mac", lower),
    Take("observer.name", "host"),
    Take("icmp.type", "icmp_type"),
    Take("icmp.code", "icmp_code"),
)

_FLOW = (
    Take("source.packets", "flow.pkts_toserver"),
    Take("destination.packets", "flow.pkts_toclient"),
    Take("source.bytes", "flow.bytes_toserver"),
    Take("destination.bytes", "flow.bytes_toclient"),
    Take("event.start", "flow.start", instants),
    Take("event.end", "flow.end", instants),
    Take("event.reason", "flow.reason", keep=True),
)
_HTTP = (
    Take("http.request.method", "http.http_method"),
    Take("url.domain", "http.hostname"),
    Take("url.original", "http.url"),
    Take("user_agent.original", "http.http_user_agent"),
    Take("http.response.status_code", "http.status"),
    Take("http.response.body.bytes", "http.length"),
)
_TLS = (
    Take("tls.server.subject", "tls.subject", _subject),
    Take("tls.server.issuer", "tls.issuerdn"),
    Take("tls.client.server_name", "tls.sni"),
    Take("tls.version", "tls.version"),
)
_FILE = (
    Take("file.name", "fileinfo.filename"),
    Take("file.size", "fileinfo.size"),
    Take("file.mime_type", "fileinfo.mimetype"),
    Take("file.hash.sha256", "fileinfo.sha256"),
    Take("file.hash.md5", "fileinfo.md5"),
)
_MODBUS = (
    Take("modbus.transaction_id", "modbus.request.transaction_id"),
    Take("modbus.transaction_id", "modbus.response.transaction_id", keep=True),
    Take("modbus.unit_id", "modbus.request.unit_id"),
    Take("modbus.unit_id", "modbus.response.unit_id", keep=True),
    Take("modbus.function_code", "modbus.request.function_raw"),
    Take("modbus.function_code", "modbus.response.function_raw", keep=True),
    Take("modbus.address", "modbus.request.read.address"),
    Take("modbus.quantity", "modbus.request.read.quantity"),
    Take("modbus.address", "modbus.request.write.address"),
    Take("modbus.exception_code", "modbus.response.exception.raw"),
)
_DNP3 = (
    Take("dnp3.link_source", "dnp3.src"),
    Take("dnp3.link_destination", "dnp3.dst"),
    Take("dnp3.message_type", "dnp3.type", words({"request": "request", "response": "response"}), keep=True),
    Take("dnp3.message_type", "dnp3.type", words({"unsolicited_response": "unsolicited"}), keep=True),
    Take("dnp3.function_code", "dnp3.application.function_code"),
    Take("dnp3.iin_flags", "dnp3.iin.indicators", keywords, keep=True),
)
_ALERT = (
    Take("suricata.signature_id", "alert.signature_id"),
    Take("rule.id", "alert.signature_id"),
    Take("suricata.gid", "alert.gid"),
    Take("suricata.action", "alert.action"),
    Take("rule.name", "alert.signature"),
    Take("rule.category", "alert.category"),
    Take("event.severity", "alert.severity", _severity, keep=True),
)

_TAKES: dict[str, tuple[Take, ...]] = {
    "alert": (*_ALERT, *_HTTP, *_TLS),
    "flow": _FLOW,
    "netflow": (
        Take("source.packets", "netflow.pkts"),
        Take("source.bytes", "netflow.bytes"),
        Take("event.start", "netflow.start", instants),
        Take("event.end", "netflow.end", instants),
    ),
    "dns": (
        Take("dns.id", "dns.id"),
        Take("dns.type", "dns.type", words({"query": "query", "answer": "answer"}), keep=True),
        Take("dns.type", "dns.type", words({"request": "query", "response": "answer"}), keep=True),
        Take("dns.question.name", "dns.rrname", lower),
        Take("dns.question.name_original", "dns.rrname"),
        Take("dns.question.type", "dns.rrtype"),
        Take("dns.response_code", "dns.rcode"),
        Take("dns.resolved_ip", "dns.grouped.A", _addresses, keep=True),
        Take("dns.resolved_ip", "dns.grouped.AAAA", _addresses, keep=True),
    ),
    "http": _HTTP,
    "tls": _TLS,
    "fileinfo": (*_FILE, *_HTTP),
    "modbus": _MODBUS,
    "dnp3": _DNP3,
    "anomaly": (
        Take("event.code", "anomaly.event"),
        Take("event.reason", "anomaly.type", keep=True),
    ),
    "smtp": (Take("message", "email.subject"),),
}

PARSER = SuricataParser()
