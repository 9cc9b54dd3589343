"""Alerts become incidents: by attacker, target, host, account, zone and time.

Alerts are taken in the order of time. One joins a group that is still alive (its last alert at most ``gap``
before) if they share an attacker or target address, or the host whose log they are from (by name or, where the site
or the host's own log tells it, by address), or, from level ``thresholds.alone``, a domain account that is a person's,
or if both concern the same zone with a tactic that touches the
process (``zone_tactics``); a zone is a declared segment, or the /24 or /64 where the site declares none. An alert
that fits several groups makes them one. A group becomes an incident once it holds an alert of level
``thresholds.alone`` or above, or enough low alerts of different rules with exploration among them; lone low ones,
low control commands and informational alerts never do, so a clean plant has no incident. All settings are
in ``law/grouping.yml``.

The outcome does not depend on how alerts were cut into batches, as long as each batch brings the alerts since its
last ``gap`` again (groups below the threshold are not remembered) and time moves on; giving all alerts again is
always right and changes nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from correlate import grade
from correlate.attribute import Attributed, attribute, is_unicast
from correlate.compose import Content
from correlate.hosts import held as host_held
from correlate.hosts import host_name, is_domain_account
from correlate.hosts import sought as host_sought
from correlate.locate import Locator
from correlate.regimes import grouping, level_rank, tactics_of
from correlate.suppress import visible
from event.incident import HistoryEntry, Impact, Incident
from event.site import Site

ACTOR = "jianmen"
"""Who the history names for what grouping does by itself."""


@dataclass(slots=True, eq=False)
class _Group:
    """Alerts and stored incidents that belong together, while time moves on."""

    first: tuple[datetime, str]
    last: datetime
    keys: set[str] = field(default_factory=set)
    sought: set[str] = field(default_factory=set)
    rows: list[Attributed] = field(default_factory=list)
    owners: set[str] = field(default_factory=set)


def incident_id(first_alert_id: str, first_seen: datetime) -> str:
    """Identity of the incident that ``first_alert_id`` started: UTC date of the alert and a hash of its id."""
    digest = hashlib.blake2b(first_alert_id.encode(), digest_size=3).hexdigest()
    return f"INC-{first_seen.astimezone(UTC):%Y%m%d}-{digest}"


def _zones(level: str, techniques: tuple[str, ...], targets: Sequence[str | None], where: Locator) -> set[str]:
    """Keys of the zones in which the process was touched; none for other techniques and for low alerts."""
    law = grouping()
    if level_rank(level) < level_rank(law.thresholds.alone):
        return set()
    if not set(law.zone_tactics).intersection(tactics_of(techniques)):
        return set()
    zones = [where.zone(ip) for ip in targets if ip is not None]
    return {f"zone:{zone}" for zone in zones if zone is not None}


@dataclass(frozen=True, slots=True)
class _Keys:
    """What a group is found by."""

    held: set[str]
    """Keys that a group has once it took the alert."""
    sought: set[str]
    """Keys of groups that the alert belongs to."""


def _keys(endpoints: Iterable[str], hosts: Iterable[str], others: set[str]) -> _Keys:
    held = {f"ip:{one}" for one in endpoints if is_unicast(one)} | others
    sought = set(held)
    for name in {*hosts, *(name for one in endpoints if (name := host_name(one)) is not None)}:
        held |= host_held(name)
        sought |= host_sought(name)
    return _Keys(held, sought)


def _keys_of_row(row: Attributed, where: Locator) -> _Keys:
    others = _zones(row.level, row.techniques, row.targets, where)
    if row.user is not None and row.grave and is_domain_account(row.user):
        others.add(f"user:{row.user}")
    keys = _keys((*row.attackers, *row.targets, *row.addresses), [row.host] if row.host else [], others)
    # Nothing to hold on to but the rule itself.
    return keys if keys.held else _Keys({f"rule:{row.rule_id}"}, {f"rule:{row.rule_id}"})


def _keys_of_incident(incident: Incident, where: Locator) -> _Keys:
    others = {f"user:{user}" for user in incident.users if is_domain_account(user)}
    for ref in incident.alerts:
        others |= _zones(ref.level, ref.techniques, (ref.destination,), where)
        if ref.source is None and ref.destination is None and not (incident.attackers or incident.targets):
            others.add(f"rule:{ref.rule_id}")
    endpoints = {*incident.attackers, *incident.targets, *(a.ip for a in incident.assets if a.ip is not None)}
    return _keys(endpoints, [a.host for a in incident.assets if a.host is not None], others)


class _Owners:
    """Which stored incident an alert belongs to already."""

    def __init__(self, incidents: Sequence[Incident]) -> None:
        self.by_id = {one.id: one for one in incidents}
        self._alerts: dict[str, str] = {}
        self._pairs: dict[tuple[str, str | None, str | None], list[tuple[datetime, datetime, str]]] = {}
        for one in incidents:
            if one.status == "merged":
                continue
            spans: dict[tuple[str, str | None, str | None], tuple[datetime, datetime]] = {}
            for ref in one.alerts:
                self._alerts[ref.id] = one.id
                if ref.count > 1:
                    pair = (ref.rule_id, ref.source, ref.destination)
                    spans[pair] = (one.first_seen, max(ref.time, spans[pair][1]) if pair in spans else ref.time)
            for pair, (start, end) in spans.items():
                self._pairs.setdefault(pair, []).append((start, end, one.id))
            if one.alert_total > sum(ref.count for ref in one.alerts):
                self._pairs.setdefault(("", None, None), []).append((one.first_seen, one.last_seen, one.id))

    def of(self, row: Attributed) -> str | None:
        """Id of the incident that counted ``row``, as far as that can be told."""
        known = self._alerts.get(row.id)
        if known is not None:
            return known
        for start, end, identity in self._pairs.get(row.pair, ()):
            if start <= row.time <= end:
                return identity
        for start, end, identity in self._pairs.get(("", None, None), ()):
            one = self.by_id[identity]
            if start <= row.time <= end and (
                (row.attackers and set(row.attackers) <= set(one.attackers))
                or (not row.attackers and row.targets and set(row.targets) <= set(one.targets))
            ):
                return identity
        return None


def _grouped(
    rows: Sequence[Attributed], open_incidents: Sequence[Incident], owners: _Owners, site: Site, gap: timedelta
) -> list[_Group]:
    """Run over alerts and stored incidents in the order of time; see the module's words."""
    where = Locator(site)
    holder: dict[str, _Group] = {}
    groups: dict[int, _Group] = {}
    owned: dict[str, _Group] = {}
    open_ids = {one.id for one in open_incidents}

    def join(into: _Group, other: _Group) -> _Group:
        small, large = sorted((into, other), key=lambda g: len(g.keys) + len(g.rows))
        large.first = min(large.first, small.first)
        large.last = max(large.last, small.last)
        large.keys |= small.keys
        large.sought |= small.sought
        large.rows.extend(small.rows)
        large.owners |= small.owners
        for key in small.keys:
            if holder.get(key) is small:
                holder[key] = large
        for owner in small.owners:
            owned[owner] = large
        del groups[id(small)]
        return large

    def place(first: tuple[datetime, str], when: datetime, keys: _Keys, owner: str | None) -> _Group:
        fitting = {id(g): g for k in keys.sought if (g := holder.get(k)) is not None and when - g.last <= gap}
        if owner is not None and owner in owned:
            fitting[id(owned[owner])] = owned[owner]
        candidates = sorted(fitting.values(), key=lambda g: g.first)
        group = candidates[0] if candidates else _Group(first, when)
        if not candidates:
            groups[id(group)] = group
        for other in candidates[1:]:
            group = join(group, other)
        group.first = min(group.first, first)
        group.last = max(group.last, when)
        group.keys |= keys.held
        group.sought |= keys.sought
        for key in keys.held:
            holder[key] = group
        if owner is not None:
            group.owners.add(owner)
            owned[owner] = group
        return group

    steps: list[tuple[datetime, int, str, Attributed | Incident]] = [(r.time, 0, r.id, r) for r in rows]
    steps += [(one.last_seen, 1, one.id, one) for one in open_incidents]
    steps.sort(key=lambda step: step[:3])
    for when, _, identity, thing in steps:
        if isinstance(thing, Attributed):
            owner = owners.of(thing)
            group = place((when, identity), when, _keys_of_row(thing, where), owner if owner in open_ids else None)
            group.rows.append(thing)
        else:
            keys = _keys_of_incident(thing, where)
            place((thing.first_seen, thing.alerts[0].id if thing.alerts else ""), when, keys, identity)
    return list(groups.values())


def _is_incident(rows: Sequence[Attributed]) -> bool:
    law = grouping().thresholds
    if any(level_rank(row.level) >= level_rank(law.alone) for row in rows):
        return True
    low = [row for row in rows if level_rank(row.level) >= level_rank("low")]
    if len(low) < law.low_alerts or len({row.rule_id for row in low}) < law.low_rules:
        return False
    return any(set(law.low_tactics).intersection(tactics_of(row.techniques)) for row in low)


def _created(
    group: _Group, closed: Sequence[Incident], site: Site, assets: Mapping[str, Any], now: datetime, gap: timedelta
) -> Incident:
    content = Content(site, assets)
    content.add_rows(group.rows)
    fields = content.fields()
    notes = []
    for one in closed:
        near = one.first_seen - gap <= group.last and group.first[0] <= one.last_seen + gap
        if near and group.sought & _keys_of_incident(one, Locator(site)).held:
            text = f"与已关闭的事件 {one.id} 涉及相同资产，请核对是否为同一事件"
            text += f" / shares assets with closed incident {one.id}"
            notes.append(HistoryEntry(time=now, actor=ACTOR, change=text))
    total = fields["alert_total"]
    incident = Incident(
        id=incident_id(group.first[1], group.first[0]),
        discovered=now,
        notes=tuple(notes),
        history=(HistoryEntry(time=now, actor=ACTOR, change=f"由{total}条告警归并生成 / made from {total} alerts"),),
        **fields,
    )
    return incident.model_copy(update=grade.assessment(incident, site))


def _united(base: Incident, others: Sequence[Incident]) -> dict[str, Any]:
    """Fields that people gave, of several incidents; those of ``base`` win."""
    impact = base.impact.model_dump()
    for other in others:
        for name, value in other.impact.model_dump().items():
            impact[name] = value if impact[name] is None else impact[name]

    def all_of(name: str) -> tuple[Any, ...]:
        return tuple(dict.fromkeys(item for one in (base, *others) for item in getattr(one, name)))

    return {
        "discovered": min(one.discovered for one in (base, *others)),
        "impact": Impact.model_validate(impact),
        "playbooks": all_of("playbooks"),
        "actions": all_of("actions"),
        "evidence": all_of("evidence"),
        "notes": tuple(sorted(all_of("notes"), key=lambda note: note.time)),
        "assignee": next((one.assignee for one in (base, *others) if one.assignee), None),
        "grade_reasons": tuple(
            r for one in (*others, base) for r in one.grade_reasons if r.indicator == grade.OVERRIDE
        ),
    }


def _combined(
    base: Incident,
    others: Sequence[Incident],
    rows: Sequence[Attributed],
    site: Site,
    assets: Mapping[str, Any],
    actor: str,
    now: datetime,
) -> list[Incident]:
    """A new version of ``base`` with ``others`` and new alerts in it, and the others marked as merged."""
    content = Content(site, assets)
    for one in (base, *others):
        content.add_incident(one)
    new = content.unseen(rows)
    if not new and not others:
        return []
    content.add_rows(new)
    update = content.fields()
    words = []
    if others:
        update.update(_united(base, others))
        names = ", ".join(one.id for one in others)
        words.append(f"并入 {names} / merged {names}")
    if new:
        words.append(f"新增{len(new)}条告警 / {len(new)} more alerts")
    draft = base.model_copy(update=update)
    update.update(grade.assessment(draft, site))
    changed = [base.changed(actor=actor, change="；".join(words), time=now, **update)]
    for one in others:
        change = f"并入 {base.id} / merged into {base.id}"
        changed.append(one.changed(actor=actor, change=change, time=now, status="merged", merged_into=base.id))
    return changed


def group_alerts(
    alerts: pl.DataFrame,
    *,
    site: Site,
    existing: Sequence[Incident] = (),
    assets: Mapping[str, Any] | None = None,
    now: datetime,
    gap: timedelta | None = None,
) -> list[Incident]:
    """Put alerts into incidents.

    Args:
        alerts: Table of dataset ``jianmen.alert``, in any order. Alerts that incidents hold already are recognised;
            suppressed ones are left out.
        site: Segments, declared assets, operator.
        existing: Stored incidents, latest versions. Open ones are continued. Closed ones are never reopened: what
            follows becomes a new incident with a note that names them. Merged ones stand for nothing.
        assets: What traffic showed, by address (``correlate.assets.observe``).
        now: When this is found out: ``discovered`` of new incidents and the time of history lines.
        gap: Longest silence inside an incident; ``gap_minutes`` of the settings if None.

    Returns:
        New incidents and new versions of existing ones, categorised, graded, with clocks, ordered by id; nothing
        for what did not change. A version that was merged has status ``merged``.
    """
    gap = gap if gap is not None else timedelta(minutes=grouping().gap_minutes)
    seen = assets or {}
    rows = attribute(visible(alerts), site, seen)
    if not rows:
        return []
    begin = rows[0].time - gap
    alive = [one for one in existing if one.status not in ("closed", "merged") and one.last_seen >= begin]
    closed = [one for one in existing if one.status == "closed" and one.last_seen >= begin]
    owners = _Owners([*alive, *closed])
    closed_ids = {one.id for one in closed}
    rows = [row for row in rows if owners.of(row) not in closed_ids]
    result: list[Incident] = []
    for group in _grouped(rows, alive, owners, site, gap):
        if not group.owners:
            if _is_incident(group.rows):
                result.append(_created(group, closed, site, seen, now, gap))
            continue
        stored = sorted((owners.by_id[o] for o in group.owners), key=lambda one: (one.first_seen, one.id))
        result.extend(_combined(stored[0], stored[1:], group.rows, site, seen, ACTOR, now))
    return sorted(result, key=lambda one: one.id)


def merge(kept: Incident, other: Incident, *, actor: str, time: datetime, site: Site) -> tuple[Incident, Incident]:
    """Put ``other`` into ``kept`` because a person says they are one.

    Returns:
        The new version of ``kept`` and that of ``other``, now ``merged``.

    Raises:
        ValueError: They are the same incident, or one of them was merged already.
    """
    if kept.id == other.id or "merged" in (kept.status, other.status):
        raise ValueError(f"cannot merge {other.id} into {kept.id}")
    first, second = _combined(kept, [other], (), site, {}, actor, time)
    return first, second
