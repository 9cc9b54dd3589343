"""From message rows that the kernels filled to ``PduBatch`` and to the columns that every event of them has."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl

from sensor import kernels_layout as k
from sensor.base import I64, PDU_AFTER_GAP, PDU_CUT, PDU_MIDSTREAM, PduBatch
from sensor.columns import pick, places
from sensor.flow import addresses, ports_of, sides, times, transport_names, versions, vlans

_TAGS = ((PDU_CUT, "truncated"), (PDU_AFTER_GAP, "after_gap"), (PDU_MIDSTREAM, "midstream"))
_LATE = 1 << 32  # place of messages that came out when their flow was closed: no clash with those of its frame


def _tag_lists() -> pl.Series:
    lists = [[name for bit, name in _TAGS if flags & bit] or None for flags in range(16)]
    return pl.Series(lists, dtype=pl.List(pl.String))


_TAG_TABLE = _tag_lists()


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Both sides of the flows that occur in one flush, one row a flow; strings are made here, once."""

    columns: pl.DataFrame
    """``client.ip client.port server.ip server.port network.transport network.type network.vlan.id ...``"""
    both_ips: pl.Series
    """Clients' addresses, then servers': a message's source is row ``local + direction * n``."""
    both_ports: pl.Series

    def __len__(self) -> int:
        return self.columns.height

    def of(self, local: I64, direction: I64) -> dict[str, pl.Series]:
        """Address columns of messages."""
        n = self.columns.height
        source, target, row = (places(of) for of in (local + direction * n, local + (1 - direction) * n, local))
        columns = {
            "source.ip": self.both_ips[source],
            "source.port": self.both_ports[source],
            "destination.ip": self.both_ips[target],
            "destination.port": self.both_ports[target],
        }
        columns.update({name: self.columns[name][row] for name in self.columns.columns})
        return columns


def endpoints(rows: k.Records) -> Endpoints:
    """Make the strings of the flows of one flush; ``rows`` are records of dtype ``LOCAL``."""
    two = sides(rows)
    version = rows["meta"] >> 8
    meta = rows["meta"]
    client = addresses(two["c0"], two["c1"], version)
    server = addresses(two["s0"], two["s1"], version)
    client_port = ports_of(two["cp"], meta)
    server_port = ports_of(two["sp"], meta)
    columns = {
        "client.ip": client,
        "client.port": client_port,
        "server.ip": server,
        "server.port": server_port,
        "network.transport": transport_names(meta),
        "network.type": versions(version),
        "network.vlan.id": vlans(rows["vlan"]),
        "network.inner.vlan.id": vlans(rows["inner_vlan"]),
    }
    some = {name: column for name, column in columns.items() if column.null_count() < len(column)}
    return Endpoints(pl.DataFrame(some), pl.concat([client, server]), pl.concat([client_port, server_port]))


@dataclass(frozen=True, slots=True)
class Messages:
    """The messages of one protocol in one flush."""

    batch: PduBatch
    local: I64
    late: I64

    def keys(self, pdu: I64) -> list[pl.Series]:
        """What pairing and collapsing need to know of decoded rows; ``pdu`` is each row's message."""
        return [
            pl.Series("_flow", self.batch.flow[pdu]),
            pl.Series("_direction", self.batch.direction[pdu]),
            pl.Series("_time", self.batch.timestamp[pdu]),
        ]

    def base_columns(self, pdu: I64, ends: Endpoints) -> dict[str, pl.Series]:
        """Columns of events that come from frame and flow; ``pdu`` is each row's message."""
        columns = ends.of(self.local[pdu], self.batch.direction[pdu])
        columns["@timestamp"] = times(self.batch.timestamp[pdu])
        columns["frame.number"] = pl.Series(self.batch.frame[pdu])
        flags = self.batch.flags[pdu] & 15
        if flags.any():
            columns["tags"] = pick(_TAG_TABLE, flags)
        return columns

    def places(self) -> I64:
        """Place of each message among those of its frame, from 0; messages of one frame are neighbours."""
        return running(self.batch.frame * 2 + self.late) + self.late * _LATE


def running(key: I64) -> I64:
    """Number of each row among the neighbouring rows of the same key, from 0; the key never falls by much."""
    n = len(key)
    place = np.arange(n, dtype=np.int64)
    if n == 0:
        return place
    order = np.argsort(key, kind="stable") if (np.diff(key) < 0).any() else place
    ordered = key[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    counts = place - np.repeat(starts, np.diff(np.append(starts, n)))
    out = np.empty(n, np.int64)
    out[order] = counts
    return out


def take_messages(state: k.State) -> Iterator[tuple[int, Messages]]:
    """Messages in ``state``, one application after the other, so that only one is held as columns at a time.

    The bytes are those of ``state``: use them before the walk goes on.
    """
    from sensor._message_kernels import COLUMNS, columns_of

    c = state.c
    rows = state.pdus[: int(c[k.C_PDUS])]
    data = state.data[: int(c[k.C_DATA])]
    counts = np.bincount(rows["app"])
    for number in np.flatnonzero(counts).tolist():
        columns = np.empty((len(COLUMNS), counts[number]), np.int64)
        columns_of(rows, number, columns)
        *wide, local, late = columns
        yield number, Messages(PduBatch(data, *wide), local, late)
