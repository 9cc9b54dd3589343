"""The substance of an incident, gathered from alerts and from versions that exist already.

A ``Content`` takes alerts and incidents in any order and says what the incident's fields are. Counting is exact
for alerts that are still listed and for those folded into one ref; see ``Content.unseen``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from ipaddress import ip_address
from typing import Any, Literal

from correlate import narrate
from correlate.attribute import Attributed
from correlate.categories import Finding, categorise
from correlate.hosts import host_name
from correlate.locate import Locator
from correlate.regimes import LEVELS, attack, grouping, level_rank
from event.incident import AlertRef, Asset, Incident
from event.site import Site

Pair = tuple[str, str | None, str | None]
Side = Literal["attacker", "target", "both"]


def _by_time(ref: AlertRef) -> tuple[datetime, str]:
    return ref.time, ref.id


def _number(endpoint: str) -> tuple[int, int, str]:
    """Order of addresses, then of names."""
    try:
        address = ip_address(endpoint)
    except ValueError:
        return 9, 0, endpoint
    return address.version, int(address), ""


def bonus(count: int) -> int:
    """Risk points for many alerts."""
    return max((points for least, points in grouping().risk.many_alerts_bonus.items() if count >= least), default=0)


@lru_cache(maxsize=256)
def risk_base(level: str, importance: str | None) -> int:
    """Risk points of an asset for its worst alert level, weighted by its importance."""
    law = grouping().risk
    if level not in LEVELS:
        return 0
    weights = {str(name): weight for name, weight in law.importance_weight.items()}
    weight = law.unknown_importance_weight if importance is None else weights[importance]
    return round(law.level_points[LEVELS[level_rank(level)]] * weight)


@dataclass(slots=True)
class _Host:
    """One endpoint inside an incident."""

    count: int = 0
    base: int = 0
    attacks: bool = False
    attacked: bool = False


class Content:
    """What belongs to one incident."""

    def __init__(self, site: Site, assets: Mapping[str, Asset]) -> None:
        self._site = site
        self._where = Locator(site)
        self._assets = assets
        self._refs: dict[Pair, list[AlertRef]] = {}
        self._hosts: dict[str, _Host] = {}
        self._known: dict[str, Asset] = {}
        self._names: dict[str, str] = {}  # endpoint to the name that its logs give it
        self._users: set[str] = set()
        self._extra_attackers: set[str] = set()
        self._extra_targets: set[str] = set()
        self._protocols: set[str] = set()
        self._techniques: set[str] = set()
        self._tactics: set[str] = set()
        self._segments: set[str] = set()
        self._level = -1
        self._total = 0
        self._first: datetime | None = None
        self._last: datetime | None = None

    def _importance(self, ip: str) -> str | None:
        declared = self._where.declared.get(ip)
        if declared is not None:
            return declared.importance
        known = self._assets.get(ip) or self._known.get(ip)
        return known.importance if known else None

    def _span(self, first: datetime, last: datetime) -> None:
        self._first = first if self._first is None else min(self._first, first)
        self._last = last if self._last is None else max(self._last, last)

    def _host(self, ip: str) -> _Host:
        return self._hosts.setdefault(ip, _Host())

    def unseen(self, rows: Iterable[Attributed]) -> list[Attributed]:
        """Those of ``rows`` that are not counted yet.

        Listed alerts are known by id. Where alerts were folded into the last ref of their pair, or dropped at the
        cap, as many unlisted alerts of the time covered are taken as counted; so a second run over the same alerts
        counts nothing twice.
        """
        ids = {ref.id for refs in self._refs.values() for ref in refs}
        folded = {pair: sum(r.count - 1 for r in refs) for pair, refs in self._refs.items()}
        until = {pair: max(r.time for r in refs) for pair, refs in self._refs.items()}
        dropped = self._total - sum(r.count for refs in self._refs.values() for r in refs)
        new: list[Attributed] = []
        for row in sorted(rows, key=lambda r: (r.time, r.id)):
            if row.id in ids:
                continue
            pair = row.pair
            if folded.get(pair, 0) > 0 and row.time <= until[pair]:
                folded[pair] -= 1
                continue
            if dropped > 0 and self._last is not None and row.time <= self._last:
                dropped -= 1
                continue
            new.append(row)
        return new

    def add_rows(self, rows: Iterable[Attributed]) -> None:
        """Take alerts that are not counted yet (see ``unseen``)."""
        for row in rows:
            self._total += 1
            self._span(row.time, row.time)
            self._level = max(self._level, level_rank(row.level))
            self._protocols.update(row.protocols)
            self._techniques.update(row.techniques)
            self._tactics.update(row.tactics)
            if row.user is not None and row.grave:
                self._users.add(row.user)
            if row.place is not None and row.host is not None:
                self._names.setdefault(row.place, row.host)
            for ip in {*row.attackers, *row.targets, *([row.place] if row.place is not None else [])}:
                host = self._host(ip)
                host.count += 1
                host.base = max(host.base, risk_base(row.level, self._importance(ip)))
                host.attacks = host.attacks or ip in row.attackers
                host.attacked = host.attacked or ip in row.targets
                segment = self._where.segment(ip)
                if segment is not None and (ip in row.targets or not row.targets):
                    self._segments.add(segment)
            ref = AlertRef(
                id=row.id,
                time=row.time,
                rule_id=row.rule_id,
                rule_name=row.rule_name,
                rule_name_zh=row.rule_name_zh,
                level=row.level,
                source=row.source,
                destination=row.destination,
                techniques=row.techniques,
                summary=row.summary,
            )
            self._refs.setdefault(row.pair, []).append(ref)

    def add_incident(self, incident: Incident) -> None:
        """Take all that ``incident`` holds."""
        self._total += incident.alert_total
        self._span(incident.first_seen, incident.last_seen)
        self._level = max(self._level, level_rank(incident.level))
        self._protocols.update(incident.protocols)
        self._techniques.update(incident.techniques)
        self._tactics.update(incident.tactics)
        self._segments.update(incident.segments)
        self._users.update(incident.users)
        self._extra_attackers.update(incident.attackers)
        self._extra_targets.update(incident.targets)
        for asset in incident.assets:
            host = self._host(asset.key)
            if asset.host is not None:
                self._names.setdefault(asset.key, asset.host)
            before = asset.risk - bonus(asset.alert_count) if asset.risk < 100 else 100
            host.count += asset.alert_count
            host.base = max(host.base, before)
            acted = any(ref.source == asset.key for ref in incident.alerts)
            host.attacks = host.attacks or acted or asset.side in ("attacker", "both")
            host.attacked = host.attacked or asset.key in incident.targets
            self._known.setdefault(asset.key, asset)
        for ref in incident.alerts:
            self._refs.setdefault((ref.rule_id, ref.source, ref.destination), []).append(ref)

    def _folded(self) -> list[AlertRef]:
        """All refs within the caps: of each pair the first ones and the last, which stands for those between."""
        caps = grouping().caps
        keep = caps.alerts_per_pair
        while True:
            refs: list[AlertRef] = []
            for pair in self._refs.values():
                ordered = sorted({r.id: r for r in pair}.values(), key=_by_time)
                if len(ordered) > keep:
                    inner = sum(r.count for r in ordered[keep - 1 : -1])
                    last = ordered[-1]
                    ordered = [*ordered[: keep - 1], last.model_copy(update={"count": last.count + inner})]
                refs.extend(ordered)
            if len(refs) <= caps.alerts or keep == 2:
                break
            keep = max(2, keep // 2)
        if len(refs) > caps.alerts:
            refs.sort(key=lambda r: (-level_rank(r.level), *_by_time(r)))
            refs = refs[: caps.alerts]
        return sorted(refs, key=_by_time)

    def _is_attacker(self) -> Callable[[str], bool]:
        """Who of those that acted is called an attacker.

        Once somebody has alerts of level ``thresholds.alone`` of his own, only such hosts are, and those that
        acted on such a host before (the way in). Another master of the same device is not, though a correlation may
        name both. Where nobody has, masters that the site declares for the device are not.
        """
        alone = level_rank(grouping().thresholds.alone)
        acts = {(r.source, r.destination, level_rank(r.level)) for refs in self._refs.values() for r in refs}
        strong = {source for source, _, level in acts if source is not None and level >= alone}
        if strong:
            ways_in = {source for source, target, _ in acts if source is not None and target in strong}
            chosen = strong | ways_in
            return chosen.__contains__
        routine: set[str] = set()
        for source in {source for source, _, _ in acts if source is not None}:
            targets = {target for one, target, _ in acts if one == source}
            declared = [self._where.declared.get(t) for t in targets if t is not None]
            if None not in targets and all(d is not None and source in d.masters for d in declared):
                routine.add(source)
        return lambda ip: ip not in routine

    def _asset(self, ip: str, host: _Host, side: Side) -> Asset:
        declared = self._where.declared.get(ip)
        seen = self._assets.get(ip)
        old = self._known.get(ip)
        segment = self._where.segment(ip)
        roles = {*(seen.roles_seen if seen else ()), *(old.roles_seen if old else ())}
        importance: Any = self._importance(ip)
        name = self._names.get(ip) or (seen.host if seen else None)
        return Asset(
            ip=None if host_name(ip) is not None else ip,
            host=name if host_name(ip) is None else ip,
            mac=(seen.mac if seen else None) or (old.mac if old else None),
            name=declared.name if declared else old.name if old else None,
            role=declared.role if declared else old.role if old else None,
            roles_seen=tuple(sorted(roles)),
            segment=segment or (old.segment if old else None),
            importance=importance,
            side=side,
            alert_count=host.count,
            risk=min(100, host.base + bonus(host.count)),
        )

    def fields(self) -> dict[str, Any]:
        """Fields of the incident that follow from its alerts.

        ``attackers`` and ``targets`` are ordered by activity; they and ``assets`` hold at most ``caps.assets``.
        A host that took part and is neither is among the assets on the side of the targets.
        """
        cap = grouping().caps.assets
        ranked = sorted(self._hosts.items(), key=lambda item: (-item[1].count, _number(item[0])))
        is_attacker = self._is_attacker()
        attackers = [ip for ip, host in ranked if host.attacks and is_attacker(ip)]
        targets = [ip for ip, host in ranked if host.attacked]
        attackers += sorted(self._extra_attackers.difference(self._hosts), key=_number)
        targets += sorted(self._extra_targets.difference(self._hosts), key=_number)
        named = set(attackers)
        assets = [
            self._asset(ip, host, "target" if ip not in named else "both" if host.attacked else "attacker")
            for ip, host in ranked
        ]
        assets.sort(key=lambda a: (-a.risk, -a.alert_count, _number(a.key)))
        refs = self._folded()
        order = list(attack().tactics)
        tactics = sorted(self._tactics, key=lambda t: (order.index(t) if t in order else len(order), t))
        categories = categorise(_findings(refs))
        protocols = tuple(sorted(self._protocols))
        segments = tuple(sorted(self._segments))
        zh, en = narrate.title(
            categories[0],
            attackers[:cap],
            targets[:cap],
            protocols,
            segments,
            self._site,
            len(targets),
            narrate.behaviour(refs),
        )
        return {
            "title_zh": zh,
            "title_en": en,
            "first_seen": self._first,
            "last_seen": self._last,
            "level": LEVELS[max(self._level, 0)],
            "categories": categories,
            "attackers": tuple(attackers[:cap]),
            "targets": tuple(targets[:cap]),
            "users": tuple(sorted(self._users)),
            "segments": segments,
            "protocols": protocols,
            "techniques": tuple(sorted(self._techniques)),
            "tactics": tuple(tactics),
            "assets": tuple(assets[:cap]),
            "alerts": tuple(refs),
            "alert_total": self._total,
            "timeline": narrate.timeline(
                refs, attackers[:cap], self._site, dropped=self._total - sum(r.count for r in refs)
            ),
        }


def _findings(refs: Sequence[AlertRef]) -> list[Finding]:
    return [Finding(r.rule_name, r.rule_name_zh or r.rule_name, r.level, r.techniques, r.count) for r in refs]
