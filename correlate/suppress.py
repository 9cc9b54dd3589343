"""Suppression: alerts that somebody answers for not wanting to see, for a while.

A suppression says which alerts (rule, address, zone, fields: all that are given must fit), who wants it, why, and
until when; nothing is suppressed for ever. An alert that one fits is stored as ever, with ``alert.suppressed_by``: it
makes no incident and is left out of reports, which say how many there were, and anybody can look it up and count it.
An alert that was stored before stays visible, and one that was hidden stays hidden, for evidence is not rewritten.

Time is that of the clock, not of events: a suppression holds back what is found while it is active.

**Address and zone.** An alert may name many addresses. It fits if all senders, or all receivers, lie in the network or
zone: a scanner that is known does not hide another one in the same alert.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from hashlib import blake2b
from ipaddress import ip_address, ip_network
from typing import Any, Literal

import polars as pl
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from event.errors import StoreError, UserError
from event.fields import FIELDS
from event.site import Site
from store.base import Store
from store.where import parse

ALERTS = "jianmen.alert"
LONGEST = timedelta(days=366)
"""Longest time that a suppression may last; after it somebody has to want it anew."""
MOST = 500
"""Most suppressions that may be active at once."""
KEPT = 1_000
"""Suppressions that are remembered, those that are over included; the oldest of these are forgotten."""

_CHECKPOINT = "rules.suppressions"
_BY = "alert.suppressed_by"


class Suppression(BaseModel):
    """One suppression."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    rule: str | None = None
    """Id of a rule or correlation."""
    address: str | None = None
    """Address or network."""
    zone: str | None = None
    """Name of a segment of the site file."""
    fields: dict[str, str] = Field(default_factory=dict)
    """Field of the alert, or of its ``alert.fields`` and ``alert.group``, to the value it must have."""
    who: str = Field(min_length=1)
    why: str = Field(min_length=1)
    created: datetime
    expires: datetime
    removed: datetime | None = None
    removed_by: str | None = None

    @field_validator("who", "why")
    @classmethod
    def _says_something(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("must not be empty")
        return value.strip()

    @field_validator("address")
    @classmethod
    def _is_a_network(cls, value: str | None) -> str | None:
        if value is not None:
            ip_network(value, strict=False)
        return value

    @field_validator("fields")
    @classmethod
    def _are_fields(cls, value: dict[str, str]) -> dict[str, str]:
        unknown = sorted(name for name in value if name not in FIELDS)
        if unknown:
            raise ValueError(f"unknown field {unknown[0]!r}")
        return value

    @model_validator(mode="after")
    def _is_narrow(self) -> Suppression:
        if not (self.rule or self.address or self.zone or self.fields):
            raise ValueError("name a rule, an address, a zone or a field: all alerts at once cannot be suppressed")
        if not self.created < self.expires <= self.created + LONGEST:
            raise ValueError(f"must end after it begins, and within {LONGEST.days} days")
        return self

    def state(self, now: datetime) -> Literal["active", "expired", "removed"]:
        """Whether it holds back anything at a time."""
        if self.removed is not None and self.removed <= now:
            return "removed"
        return "active" if now < self.expires else "expired"


def make(*, who: str, why: str, now: datetime, expires: datetime, **criteria: Any) -> Suppression:
    """A new suppression.

    Args:
        who: Who wants it.
        why: Why.
        now: Time of the clock.
        expires: When it ends.
        criteria: ``rule``, ``address``, ``zone``, ``fields``.

    Raises:
        UserError: It says nothing, ends never or names what there is not.
    """
    seed = json.dumps([who, now.isoformat(), expires.isoformat(), criteria], sort_keys=True, default=str)
    identity = f"sup-{blake2b(seed.encode(), digest_size=4).hexdigest()}"
    try:
        return Suppression(id=identity, who=who, why=why, created=now, expires=expires, **criteria)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or None
        raise UserError(f"not a suppression: {first['msg'].removeprefix('Value error, ')}", where=where) from None


def suppressions(store: Store) -> list[Suppression]:
    """All that are remembered, oldest first.

    Raises:
        StoreError: They cannot be read. Nothing is suppressed then, and nothing written over.
    """
    kept = store.checkpoint(_CHECKPOINT)
    try:
        return [Suppression.model_validate(one) for one in json.loads(kept)] if kept else []
    except (ValueError, TypeError) as error:
        raise StoreError(f"the suppressions in the store cannot be read: {str(error).splitlines()[0]}") from None


def add(store: Store, one: Suppression) -> None:
    """Remember a suppression.

    Raises:
        UserError: Too many are active.
    """
    kept = suppressions(store)
    active = [other for other in kept if other.state(one.created) == "active"]
    if len(active) >= MOST:
        raise UserError(f"{MOST} suppressions are active already", hint="jianmen rules suppress remove ID")
    over = [other for other in kept if other not in active]
    forgotten = over[: max(0, len(kept) + 1 - KEPT)]
    _write(store, [*(other for other in kept if other not in forgotten), one])


def remove(store: Store, identity: str, *, who: str, now: datetime) -> Suppression:
    """End a suppression now; that it was there stays on record.

    Args:
        store: Where it is remembered.
        identity: Its id, or the unique beginning of one.
        who: Who ends it.
        now: Time of the clock.

    Raises:
        UserError: There is none, or it is over already.
    """
    kept = suppressions(store)
    found = [one for one in kept if one.id == identity] or [one for one in kept if one.id.startswith(identity)]
    if len(found) != 1:
        raise UserError(f"{len(found) or 'no'} suppression(s) fit {identity!r}", hint="jianmen rules suppress list")
    if found[0].state(now) != "active":
        raise UserError(f"the suppression {found[0].id} is {found[0].state(now)} already")
    ended = found[0].model_copy(update={"removed": now, "removed_by": who})
    _write(store, [ended if one is found[0] else one for one in kept])
    return ended


def _write(store: Store, every: Sequence[Suppression]) -> None:
    store.put_checkpoint(_CHECKPOINT, json.dumps([one.model_dump(mode="json") for one in every]).encode())


def hidden(store: Store) -> dict[str, tuple[int, datetime]]:
    """How many stored alerts each suppression hides, and when the latest of them was.

    Counted in the store itself, so that a repeated detection counts nothing twice and an auditor counts the same.
    """
    total: dict[str, tuple[int, datetime]] = {}
    for table in store.scan([ALERTS], columns=[_BY], where=parse(f"{_BY} exists")):
        if _BY not in table.columns:
            continue
        grouped = table.group_by(_BY).agg(pl.len(), pl.col("@timestamp").max().alias("last"))
        for identity, count, last in grouped.select(_BY, "len", "last").iter_rows():
            before = total.get(identity, (0, last))
            total[identity] = before[0] + count, max(before[1], last)
    return total


def visible(alerts: pl.DataFrame) -> pl.DataFrame:
    """The alerts that nobody suppressed."""
    return alerts.filter(pl.col(_BY).is_null()) if _BY in alerts.columns else alerts


class Suppressor:
    """Marks alerts with the suppression that fits them, the oldest one if there are several."""

    def __init__(self, every: Iterable[Suppression], *, site: Site, now: datetime) -> None:
        """Keep those that are active.

        Args:
            every: Suppressions.
            site: Where zones are declared. A zone that is declared no longer fits nothing.
            now: Time of the clock.
        """
        self.active = [one for one in every if one.state(now) == "active"]
        cidrs = {segment.name: segment.cidrs for segment in site.segments}
        self._networks: dict[str, list[tuple[Any, ...]]] = {}
        for one in self.active:
            wanted: list[tuple[str, ...]] = [(one.address,)] if one.address is not None else []
            wanted += [cidrs.get(one.zone, ())] if one.zone is not None else []
            self._networks[one.id] = [tuple(ip_network(net, strict=False) for net in nets) for nets in wanted]

    def mark(self, alerts: pl.DataFrame) -> pl.DataFrame:
        """Set ``alert.suppressed_by`` where a suppression fits.

        Args:
            alerts: Table of dataset ``jianmen.alert``.

        Returns:
            The same rows in the same order.
        """
        if alerts.is_empty() or not self.active:
            return alerts
        by: list[str | None] = [None] * alerts.height
        for one in self.active:
            mask = self._plain(one, alerts)
            rows = [row for row in mask.arg_true().to_list() if by[row] is None]
            if rows and self._networks[one.id]:
                rows = self._inside(one, alerts, rows)
            for row in rows:
                by[row] = one.id
        if not any(by):
            return alerts
        return alerts.with_columns(pl.Series(_BY, by, dtype=pl.String))

    @staticmethod
    def _plain(one: Suppression, alerts: pl.DataFrame) -> pl.Series:
        """Rows that rule and fields fit."""
        conditions = [pl.repeat(True, alerts.height, dtype=pl.Boolean)]
        if one.rule is not None:
            conditions.append(pl.col("rule.id") == one.rule if "rule.id" in alerts.columns else pl.lit(False))
        for name, value in one.fields.items():
            either = [_equals(alerts, name, value.lower())]
            either += [_equals(alerts, shown, f"{name}={value}".lower()) for shown in ("alert.fields", "alert.group")]
            conditions.append(pl.any_horizontal(either))
        return alerts.select(pl.all_horizontal(conditions).fill_null(False).alias("fits"))["fits"]

    def _inside(self, one: Suppression, alerts: pl.DataFrame, rows: Sequence[int]) -> list[int]:
        """Those of the rows whose senders or receivers all lie in the address and in the zone."""
        few = alerts[rows]
        sides = [_side(few, f"alert.{end}_ips", f"{end}.ip") for end in ("source", "destination")]
        networks = self._networks[one.id]
        return [
            row
            for row, *addresses in zip(rows, *sides, strict=True)
            if any(side and all(_within(ip, nets) for ip in side for nets in networks) for side in addresses)
        ]


@lru_cache(65_536)
def _within(ip: str, networks: tuple[Any, ...]) -> bool:
    try:
        address = ip_address(ip)
    except ValueError:
        return False
    return any(address in network for network in networks)


def _side(alerts: pl.DataFrame, many: str, single: str) -> list[list[str]]:
    """All addresses of one side of each alert."""
    lists = alerts[many].to_list() if many in alerts.columns else [None] * alerts.height
    ones = alerts[single].to_list() if single in alerts.columns else [None] * alerts.height
    return [some or ([one] if one is not None else []) for some, one in zip(lists, ones, strict=True)]


def _equals(alerts: pl.DataFrame, name: str, value: str) -> pl.Expr:
    """Rows in which the text of a field, or of one of its values, is ``value`` (in lower case)."""
    if name not in alerts.columns:
        return pl.lit(False)
    if isinstance(alerts.schema[name], pl.List):
        text = pl.element().cast(pl.String).str.to_lowercase()
        return pl.col(name).list.eval(text == value).list.any()
    return pl.col(name).cast(pl.String).str.to_lowercase() == value


def describe(one: Suppression, titles: Mapping[str, str]) -> list[str]:
    """What it fits, one part each: title of the rule, address, zone, fields."""
    parts = [titles.get(one.rule, one.rule)] if one.rule is not None else []
    parts += [part for part in (one.address, one.zone) if part is not None]
    return parts + [f"{name}={value}" for name, value in one.fields.items()]
