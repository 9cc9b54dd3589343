"""Facts about events that no message holds: what the site file says of them, and clocks beside the capture's.

They are added when rules look at an event, not when it is stored, so that a changed site file holds for history too.
A column that a table has already stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from correlate.locate import Locator
from event.coarse import EVERYTHING, NOTHING, Coarse, Exists, OneOf, any_of

if TYPE_CHECKING:
    from event.site import Limit, Site

_QUARTER = 15 * 60.0
_FARTHEST_ZONE = 14 * 3600 + _QUARTER / 2
_CLOCKS = {"iec104": ("iec104.clock", "iec104.time"), "dnp3": ("dnp3.time",), "s7comm": ("s7comm.clock",)}
_ICS = ("modbus", "iec104", "dnp3", "s7comm")
CONCERNED = frozenset({*_ICS, *_CLOCKS, "flow"})
"""Datasets whose events may get fields."""
_PRODUCTION, _MANAGEMENT = ("I", "II"), ("III", "IV")
_SETPOINTS = (48, 49, 50, 61, 62, 63)
_ROW, _POINT, _VALUE = "_row", "_point", "_value"


class Derivation:
    """Adds the fields of ``event.fields.derived`` to tables.

    Args:
        site: Segments, conduits, assets, limits.
    """

    def __init__(self, site: Site) -> None:
        self._where = Locator(site)
        self._masters = {asset.ip: frozenset(asset.masters) for asset in site.assets if asset.masters}
        self._zones = {one.name: one.power_zone for one in site.segments if one.power_zone is not None}
        self._conduits = site.conduits
        self._limits = {
            protocol: found for protocol in _ICS if (found := [one for one in site.limits if one.protocol == protocol])
        }

    def needs(self) -> dict[str, Coarse]:
        """For each field, what holds of every event that gets it."""
        limited = {one.ip for found in self._limits.values() for one in found}
        setpoint = _among(limited, "server.ip")
        borders = EVERYTHING if self._zones or self._conduits else NOTHING
        return {
            "policy.master": _among(self._masters, "server.ip", "destination.ip"),
            **dict.fromkeys(("policy.setpoint", "policy.limit", "policy.value"), setpoint),
            "policy.conduit": borders,
            "policy.power_zone": borders,
            "clock.offset": any_of(Exists(name) for names in _CLOCKS.values() for name in names),
        }

    def of(self, events: pl.DataFrame) -> pl.DataFrame:
        """The table with what can be derived.

        Args:
            events: Events of one dataset.
        """
        dataset = str(events["event.dataset"][0]) if events.height else ""
        made: list[pl.Series] = []
        if dataset in _CLOCKS:
            made += _clock_offset(events, _CLOCKS[dataset])
        if dataset in _ICS and self._masters:
            made += self._master(events)
        if dataset in self._limits:
            made += _setpoints(events, dataset, self._limits[dataset])
        if (dataset in _ICS or dataset == "flow") and (self._zones or self._conduits):
            made += self._borders(events)
        new = [column for column in made if column.name not in events.columns and column.null_count() < len(column)]
        return events.with_columns(new) if new else events

    def _sides(self, events: pl.DataFrame) -> tuple[str, str] | None:
        """Columns of who asks and who answers."""
        names = ("client.ip", "server.ip") if "client.ip" in events.columns else ("source.ip", "destination.ip")
        return names if set(names) <= set(events.columns) else None

    def _master(self, events: pl.DataFrame) -> list[pl.Series]:
        sides = self._sides(events)
        if sides is None:
            return []
        pairs = events.select(sides).unique()
        marks = [
            "undeclared" if server in self._masters and client not in self._masters[server] else None
            for client, server in pairs.iter_rows()
        ]
        known = pairs.with_columns(pl.Series("policy.master", marks, pl.String))
        return [_joined(events, known, sides, "policy.master")]

    def _borders(self, events: pl.DataFrame) -> list[pl.Series]:
        sides = self._sides(events)
        if sides is None:
            return []
        protocol = "network.protocol" if "network.protocol" in events.columns else "event.dataset"
        keys = (*sides, protocol)
        rows = events.select(keys).unique()
        conduits, zones = [], []
        for client, server, name in rows.iter_rows():
            one = self._where.segment(client) if client is not None else None
            other = self._where.segment(server) if server is not None else None
            conduits.append(self._conduit(one, other, name))
            pair = {self._zones.get(one or ""), self._zones.get(other or "")}
            crossing = bool(pair.intersection(_PRODUCTION)) and bool(pair.intersection(_MANAGEMENT))
            zones.append("crossing" if crossing else None)
        known = rows.with_columns(
            pl.Series("policy.conduit", conduits, pl.String), pl.Series("policy.power_zone", zones, pl.String)
        )
        return [_joined(events, known, keys, name) for name in ("policy.conduit", "policy.power_zone")]

    def _conduit(self, client: str | None, server: str | None, protocol: str | None) -> str | None:
        """None inside a segment, for addresses without one, and where a conduit lets control through."""
        if not self._conduits or client is None or server is None or client == server:
            return None
        fitting = [
            one
            for one in self._conduits
            if one.client == client and one.server == server and (not one.protocols or protocol in one.protocols)
        ]
        if not fitting:
            return "undeclared"
        return None if any(one.control for one in fitting) else "read_only"


def _among(addresses: Iterable[str], *fields: str) -> Coarse:
    """One of the fields is one of these."""
    values = tuple(sorted(addresses))
    return any_of(OneOf(name, values) for name in fields) if values else NOTHING


def _joined(events: pl.DataFrame, known: pl.DataFrame, keys: Sequence[str], name: str) -> pl.Series:
    """Column ``name`` of ``known`` beside the rows of ``events``, in their order."""
    left = events.select(keys)
    return left.join(known.select(*keys, name), on=keys, how="left", nulls_equal=True, maintain_order="left")[name]


def _clock_offset(events: pl.DataFrame, names: Sequence[str]) -> list[pl.Series]:
    """Seconds between the first clock of a message and its capture, without what may be a zone."""
    have = [name for name in names if name in events.columns]
    if not have:
        return []
    clocks = [pl.col(n).list.first() if isinstance(events.schema[n], pl.List) else pl.col(n) for n in have]
    both = events.select(
        clock=pl.coalesce(clocks).dt.epoch("ns").cast(pl.Float64) / 1e9, seen=pl.col("@timestamp").dt.epoch("ns") / 1e9
    )
    off = (both["clock"] - both["seen"]).to_numpy().astype(np.float64)
    zone = np.where(np.abs(off) <= _FARTHEST_ZONE, np.round(off / _QUARTER) * _QUARTER, 0.0)
    return [pl.Series("clock.offset", np.round(off - zone, 3), nan_to_null=True)]


def _setpoints(events: pl.DataFrame, protocol: str, limits: Sequence[Limit]) -> list[pl.Series]:
    """Which row writes a value outside the limits of its point: direction, limit and value; the first of a message."""
    written = _written(events, protocol)
    if written is None or written.is_empty():
        return []
    table = pl.DataFrame(
        [(one.ip, str(one.point), one.unit, one.low, one.high, one.real) for one in limits],
        schema={
            "server.ip": pl.String,
            _POINT: pl.String,
            "_unit_wanted": pl.Int64,
            "_low": pl.Float64,
            "_high": pl.Float64,
            "_real": pl.Boolean,
        },
        orient="row",
    )
    met = written.join(table, on=["server.ip", _POINT], how="inner", maintain_order="left")
    met = met.filter(pl.col("_unit_wanted").is_null() | (pl.col("_unit_wanted") == pl.col("_unit")))
    if met.is_empty():
        return []
    bits = met[_VALUE].to_numpy()
    real = met["_real"].to_numpy()
    whole = np.where(real & (bits >= 0) & (bits < 2**32), bits, 0).astype(np.uint32)
    value = np.where(real, whole.view(np.float32).astype(np.float64), bits)
    met = met.with_columns(pl.Series(_VALUE, value))
    below, above = pl.col(_VALUE) < pl.col("_low"), pl.col(_VALUE) > pl.col("_high")
    wrong = (
        met.with_columns(
            pl.when(above).then(pl.lit("above")).when(below).then(pl.lit("below")).alias("policy.setpoint"),
            pl.when(above).then("_high").otherwise("_low").alias("policy.limit"),
            pl.col(_VALUE).alias("policy.value"),
        )
        .filter(pl.col("policy.setpoint").is_not_null())
        .unique(_ROW, keep="first", maintain_order=True)
    )
    rows = pl.DataFrame({_ROW: np.arange(events.height, dtype=np.int64)})
    found = rows.join(wrong, on=_ROW, how="left", maintain_order="left")
    return [found[name] for name in ("policy.setpoint", "policy.limit", "policy.value")]


def _written(events: pl.DataFrame, protocol: str) -> pl.DataFrame | None:
    """One row a value that a message writes: row of the event, server, unit, point (text) and value."""
    have = set(events.columns)
    if "server.ip" not in have:
        return None

    def rows(where: pl.Expr, unit: str, point: pl.Expr, value: pl.Expr, needs: Iterable[str]) -> pl.DataFrame | None:
        if not have.issuperset(needs):
            return None
        own = pl.col(unit) if unit in have else pl.lit(None, pl.Int64)
        return (
            events.with_row_index(_ROW)
            .filter(where.fill_null(False))
            .select(
                pl.col(_ROW).cast(pl.Int64),
                "server.ip",
                own.cast(pl.Int64).alias("_unit"),
                point.alias(_POINT),
                value.alias(_VALUE),
            )
            .filter(pl.col(_POINT).list.len() == pl.col(_VALUE).list.len())
            .explode(_POINT, _VALUE)
            .select(_ROW, "server.ip", "_unit", pl.col(_POINT).cast(pl.String), pl.col(_VALUE).cast(pl.Float64))
            .drop_nulls(_VALUE)
        )

    def run(first: str, values: pl.Expr) -> pl.Expr:
        return pl.int_ranges(pl.col(first), pl.col(first) + values.list.len())

    needs: tuple[str, ...]
    if protocol == "modbus":
        unit, asks = "modbus.unit_id", pl.col("modbus.message_type") == "request"
        code = pl.col("modbus.function_code")
        one = pl.concat_list(pl.col("modbus.value") if "modbus.value" in have else pl.lit(None, pl.Int64))
        many = pl.col("modbus.values") if "modbus.values" in have else pl.lit(None, pl.List(pl.Int64))
        values = pl.when(many.list.len() > 0).then(many).otherwise(one)
        needs = ("modbus.message_type", "modbus.function_code")
        parts = [
            rows(asks & code.is_in([6, 16]), unit, run("modbus.address", values), values, ("modbus.address", *needs)),
            rows(asks & (code == 23), unit, run("modbus.write_address", many), many, ("modbus.write_address", *needs)),
        ]
        found = [part for part in parts if part is not None]
        return pl.concat(found) if found else None
    if protocol == "iec104":
        where = pl.col("iec104.type_id").is_in(_SETPOINTS) & (pl.col("iec104.cause") == 6)
        ioa, value = pl.col("iec104.ioa"), pl.col("iec104.value")
        needs = ("iec104.type_id", "iec104.cause", "iec104.ioa", "iec104.value")
        return rows(where, "iec104.common_address", ioa, value, needs)
    if protocol == "dnp3":
        where = pl.col("dnp3.function_code").is_in([3, 4, 5, 6]) & (pl.col("dnp3.message_type") == "request")
        where &= pl.col("dnp3.objects").list.eval(pl.element().str.starts_with("41.")).list.any()
        needs = ("dnp3.function_code", "dnp3.message_type", "dnp3.objects", "dnp3.index", "dnp3.value")
        return rows(where, "dnp3.outstation", pl.col("dnp3.index"), pl.col("dnp3.value"), needs)
    where = (pl.col("s7comm.function_code") == 5) & (pl.col("s7comm.message_type") == "request")
    point = pl.col("s7comm.items").list.eval(pl.element().str.extract(r"^(\S+)", 1))
    needs = ("s7comm.function_code", "s7comm.message_type", "s7comm.items", "s7comm.value")
    return rows(where, "cotp.slot", point, pl.concat_list(pl.col("s7comm.value")), needs)
