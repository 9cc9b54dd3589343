"""From flow, ICMP and ARP records that the kernels filled to event tables.

Strings are made for whole columns; an address is formatted once a flow, never once an event.
"""

from __future__ import annotations

import socket

import numpy as np
import numpy.typing as npt
import polars as pl

from event.table import event_ids
from sensor import kernels_layout as k
from sensor.columns import pick
from sensor.dispatch import APP_NAMES

CLOCK = pl.Datetime("ns", "UTC")
_REASONS = pl.Series([None, "closed", "reset", "idle", "active", "evicted", "end_of_input"], dtype=pl.String)
_BYTE = pl.Series([str(n) for n in range(256)], dtype=pl.String)
_NAMED = {6: "tcp", 17: "udp", 1: "icmp", 58: "ipv6-icmp"}
_TRANSPORTS = pl.Series([_NAMED.get(n, str(n)) for n in range(256)], dtype=pl.String)
_VERSIONS = pl.Series(["ipv4", "ipv6"])
_STATES = pl.Series(["syn_only", "refused", "established", "closed", "reset", "midstream", "one_way", "both_ways"])


def addresses(high: npt.NDArray[np.int64], low: npt.NDArray[np.int64], version: npt.NDArray[np.int64]) -> pl.Series:
    """Text of IP addresses.

    Args:
        high: Upper 64 bits of IPv6 addresses, 0 for IPv4.
        low: Lower 64 bits, or the 32 bits of an IPv4 address.
        version: 4 or 6.
    """
    octets = pl.DataFrame({str(n): pick(_BYTE, (low >> (24 - 8 * n)) & 255) for n in range(4)})
    text = octets.select(pl.concat_str(pl.all(), separator=".").alias("ip")).to_series()
    six = np.flatnonzero(version == 6)
    if len(six) == 0:
        return text
    packed = np.stack([high[six], low[six]], axis=1).astype(">i8").view("V16").ravel()
    unique, inverse = np.unique(packed, return_inverse=True)
    names = pl.Series([socket.inet_ntop(socket.AF_INET6, one.tobytes()) for one in unique], dtype=pl.String)
    place = np.arange(len(text))
    place[six] = len(text) + inverse
    return pick(pl.concat([text, names], rechunk=True), place)


def macs(values: npt.NDArray[np.int64]) -> pl.Series:
    """Text of MAC addresses, lower case with colons; null where below 0."""
    unique, inverse = np.unique(values, return_inverse=True)
    names = pl.Series([None if one < 0 else int(one).to_bytes(6, "big").hex(":") for one in unique], dtype=pl.String)
    return pick(names, inverse)


def vlans(values: npt.NDArray[np.int32]) -> pl.Series:
    """VLAN numbers as keywords; null where below 0."""
    return pl.Series(values).cast(pl.Int64).replace(-1, None).cast(pl.String)


def times(values: npt.NDArray[np.int64]) -> pl.Series:
    """Nanoseconds since the epoch as times."""
    return pl.Series(np.ascontiguousarray(values)).cast(CLOCK)


def transport_names(proto: npt.NDArray[np.int64]) -> pl.Series:
    """``network.transport`` of IP protocol numbers."""
    return pick(_TRANSPORTS, proto & 255)


def versions(version: npt.NDArray[np.int64]) -> pl.Series:
    """``network.type`` of IP versions."""
    return pick(_VERSIONS, (version == 6).astype(np.int64))


def ports_of(values: npt.NDArray[np.int64], meta: npt.NDArray[np.int64]) -> pl.Series:
    """Port numbers; null where the protocol has none."""
    proto = meta & 255
    return pl.select(pl.when(pl.Series((proto == 6) | (proto == 17))).then(pl.Series(values))).to_series()


def sides(rows: k.Records) -> dict[str, npt.NDArray[np.int64]]:
    """Addresses and ports of both sides of flow or local records: client ``c0 c1 cp``, server ``s0 s1 sp``."""
    flip = rows["client_b"] == 1
    upper = rows["ports"] >> 16
    lower = rows["ports"] & 0xFFFF
    return {
        "c0": np.where(flip, rows["b0"], rows["a0"]),
        "c1": np.where(flip, rows["b1"], rows["a1"]),
        "cp": np.where(flip, lower, upper),
        "s0": np.where(flip, rows["a0"], rows["b0"]),
        "s1": np.where(flip, rows["a1"], rows["b1"]),
        "sp": np.where(flip, upper, lower),
    }


def _state_names(rows: k.Records) -> pl.Series:
    tcp = rows["tcp"].astype(np.int64)
    is_tcp = (rows["meta"] & 255) == 6
    both_fin = (tcp & (k.TF_FIN0 | k.TF_FIN1)) == (k.TF_FIN0 | k.TF_FIN1)
    reset = (tcp & k.TF_RST) != 0
    answered = (tcp & k.TF_SYNACK) != 0
    midstream = (tcp & k.TF_MIDSTREAM) != 0
    state = np.select(
        [
            ~is_tcp & ((rows["packets0"] == 0) | (rows["packets1"] == 0)),
            ~is_tcp,
            reset & ~answered & ~midstream & ((tcp & k.TF_RST_BY_SERVER) != 0),
            reset,
            both_fin,
            midstream,
            answered,
        ],
        [6, 7, 1, 4, 3, 5, 2],
        0,
    )
    return pick(_STATES, state)


def _positive(values: npt.NDArray[np.int64]) -> pl.Series:
    return pl.select(pl.when(pl.Series(values > 0)).then(pl.Series(np.ascontiguousarray(values)))).to_series()


def flow_tables(rows: k.Records, origin: str) -> list[pl.DataFrame]:
    """Event tables of closed flows: datasets ``flow`` and ``icmp``.

    Args:
        rows: Records of dtype ``FLOW``; copied before the kernels go on.
        origin: See ``event.table.origin_of``.
    """
    proto = rows["meta"] & 255
    icmp = (proto == 1) | (proto == 58)
    tables = []
    if not icmp.all():
        tables.append(_flows(rows[~icmp], origin))
    if icmp.any():
        tables.append(_icmp(rows[icmp], origin))
    return tables


def _common(rows: k.Records, dataset: str, origin: str) -> dict[str, pl.Series]:
    version = rows["meta"] >> 8
    two = sides(rows)
    first = times(rows["first"])
    return {
        "@timestamp": first,
        "event.id": event_ids(
            origin,
            pl.Series(np.ascontiguousarray(rows["first_frame"])),
            first,
            dataset,
            pl.Series(rows["depth"].astype(np.int64)),
        ),
        "event.start": first,
        "event.end": times(rows["last"]),
        "event.duration": pl.Series(rows["last"] - rows["first"]),
        "frame.number": pl.Series(np.ascontiguousarray(rows["first_frame"])),
        "source.ip": addresses(two["c0"], two["c1"], version),
        "source.mac": macs(rows["mac0"]),
        "destination.ip": addresses(two["s0"], two["s1"], version),
        "destination.mac": macs(rows["mac1"]),
        "network.type": versions(version),
        "network.transport": transport_names(rows["meta"]),
        "network.vlan.id": vlans(rows["vlan"]),
        "network.inner.vlan.id": vlans(rows["inner_vlan"]),
    }


def _flows(rows: k.Records, origin: str) -> pl.DataFrame:
    two = sides(rows)
    meta = rows["meta"]
    proto = pl.Series(meta & 255)
    is_tcp = pl.Series((meta & 255) == 6)
    columns = _common(rows, "flow", origin)
    counters = {
        "source.bytes": "bytes0",
        "source.packets": "packets0",
        "destination.bytes": "bytes1",
        "destination.packets": "packets1",
        "flow.payload_bytes.client": "payload0",
        "flow.payload_bytes.server": "payload1",
    }
    columns.update({name: pl.Series(np.ascontiguousarray(rows[field])) for name, field in counters.items()})
    columns["source.port"] = ports_of(two["cp"], meta)
    columns["destination.port"] = ports_of(two["sp"], meta)
    columns["network.bytes"] = columns["source.bytes"] + columns["destination.bytes"]
    columns["network.packets"] = columns["source.packets"] + columns["destination.packets"]
    columns["network.protocol"] = pick(APP_NAMES, rows["app"])
    columns["flow.state"] = _state_names(rows)
    columns["flow.end_reason"] = pick(_REASONS, rows["reason"])
    columns["flow.retransmitted_bytes"] = _positive(rows["again"])
    columns["flow.missed_bytes"] = _positive(rows["missed"])
    columns["flow.out_of_order_packets"] = _positive(rows["ahead"])
    columns["flow.conflicting_overlap_bytes"] = _positive(rows["conflict"])
    return pl.DataFrame(columns).with_columns(
        pl.lit("flow").alias("event.dataset"),
        pl.lit(["connection"]).alias("event.type"),
        proto.cast(pl.String).alias("network.iana_number"),
        pl.format("{}-{}", pl.lit(origin), pl.Series(np.ascontiguousarray(rows["serial"]))).alias("flow.id"),
        pl.when(is_tcp).then(pl.Series(rows["flags0"].astype(np.int64))).alias("flow.tcp_flags.client"),
        pl.when(is_tcp).then(pl.Series(rows["flags1"].astype(np.int64))).alias("flow.tcp_flags.server"),
    )


def _icmp(rows: k.Records, origin: str) -> pl.DataFrame:
    columns = _common(rows, "icmp", origin)
    columns["source.bytes"] = pl.Series(np.ascontiguousarray(rows["bytes0"]))
    columns["network.bytes"] = columns["source.bytes"]
    columns["network.packets"] = pl.Series(np.ascontiguousarray(rows["packets0"]))
    columns["icmp.type"] = pl.Series(rows["ports"] >> 16)
    columns["icmp.code"] = pl.Series(rows["ports"] & 0xFFFF)
    count = pl.Series(np.ascontiguousarray(rows["packets0"]))
    return pl.DataFrame(columns).with_columns(
        pl.lit("icmp").alias("event.dataset"),
        pl.lit(["connection"]).alias("event.type"),
        pl.when(count > 1).then(count).alias("event.count"),
    )


_ARP_KEYS = ("operation", "smac", "tmac", "sip", "tip", "esrc", "edst", "vlan", "inner_vlan")


def arp_table(rows: k.Records, origin: str, *, collapse: bool = True) -> pl.DataFrame:
    """Event table of ARP messages; identical ones of one batch become one event with ``event.count``."""
    raw = pl.DataFrame({name: np.ascontiguousarray(rows[name]) for name in k.ARP.names or ()})
    if collapse:
        raw = raw.group_by(*_ARP_KEYS, maintain_order=True).agg(
            pl.first("frame"),
            pl.min("timestamp"),
            pl.max("timestamp").alias("end"),
            pl.len().cast(pl.Int64).alias("count"),
        )
    else:
        raw = raw.with_columns(end="timestamp", count=pl.lit(1, pl.Int64))
    four = np.full(raw.height, 4, np.int64)
    none = np.zeros(raw.height, np.int64)
    first = raw["timestamp"].cast(CLOCK)
    many = raw["count"] > 1
    sender = addresses(none, raw["sip"].to_numpy(), four)
    target = addresses(none, raw["tip"].to_numpy(), four)
    operation = pl.when(raw["operation"] == 1).then(pl.lit("request")).when(raw["operation"] == 2)
    return pl.DataFrame(
        {
            "@timestamp": first,
            "event.id": event_ids(origin, raw["frame"], first, "arp", pl.Series(none)),
            "frame.number": raw["frame"],
            "source.ip": sender,
            "source.mac": macs(raw["esrc"].to_numpy()),
            "destination.ip": target,
            "destination.mac": macs(raw["edst"].to_numpy()),
            "arp.sender_ip": sender,
            "arp.sender_mac": macs(raw["smac"].to_numpy()),
            "arp.target_ip": target,
            "arp.target_mac": macs(raw["tmac"].to_numpy()),
            "arp.gratuitous": raw["sip"] == raw["tip"],
            "network.vlan.id": vlans(raw["vlan"].to_numpy()),
            "network.inner.vlan.id": vlans(raw["inner_vlan"].to_numpy()),
        }
    ).with_columns(
        pl.lit("arp").alias("event.dataset"),
        pl.lit(["info"]).alias("event.type"),
        pl.lit("arp").alias("network.type"),
        operation.then(pl.lit("reply")).otherwise(raw["operation"].cast(pl.String)).alias("arp.operation"),
        operation.then(pl.lit("reply")).otherwise(raw["operation"].cast(pl.String)).alias("event.action"),
        pl.when(many).then(raw["count"]).alias("event.count"),
        pl.when(many).then(first).alias("event.start"),
        pl.when(many).then(raw["end"].cast(CLOCK)).alias("event.end"),
    )
