"""Risk after GB/T 20984-2022, and clues to GB/T 22239-2019 that traffic alone can give.

GB/T 20984-2022 leaves the matrix and the cut points to the assessor, so both are printed in the report:

    likelihood L = ceil(sqrt(T * Vx))     T threat, Vx how easily the weakness is used
    loss       I = ceil(sqrt(A * Vy))     A value of the asset, Vy how much the weakness matters
    risk       R = L * I                  1 to 25

All inputs are 1 (很低) to 5 (很高). An input that nobody declared and nothing showed is taken as 3 and said to be
presumed. Clues are evidence for a human assessor, never a verdict on compliance.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt
from typing import Literal

from event.incident import Asset
from report.document import RiskBand
from report.facts import GENERAL_SERVICES, INDUSTRIAL, LEVELS, PLAINTEXT, Case, Pair, is_outside

BANDS: tuple[tuple[int, RiskBand], ...] = (
    (5, "very_low"),
    (10, "low"),
    (15, "medium"),
    (20, "high"),
    (25, "very_high"),
)
"""Largest R of each band."""

_ASSET_VALUE = {"critical": 5, "important": 4, "normal": 3}
_PRESUMED = 3
_CONTROL_TECHNIQUES = frozenset(
    {
        "T0806",
        "T0816",
        "T0821",
        "T0831",
        "T0835",
        "T0836",
        "T0839",
        "T0843",
        "T0848",
        "T0855",
        "T0857",
        "T0858",
        "T0889",
    }
)
"""Techniques that change what a controller does."""
_CONTROLLERS = frozenset({"plc", "rtu", "ied", "gateway"})
_STATIONS = frozenset({"master", "hmi", "engineering_station", "scada", "historian", "server"})
RETENTION_DAYS = 180
"""网络安全法 (2025 修正) Art 23: network logs for six months at least."""

Verdict = Literal["met", "not_met", "undecided", "not_observed"]
"""符合性线索, 不符合线索, 无法判断, 未观察到."""


@dataclass(frozen=True, slots=True)
class AssetRisk:
    """The risk of one asset and what it was computed from."""

    asset: Asset
    value: int
    value_presumed: bool
    threat: int
    ease: int
    ease_reason: Literal["controlled", "no_authentication", "presumed"]
    effect: int
    likelihood: int
    loss: int
    risk: int
    band: RiskBand
    sample: tuple[str, ...]
    """Ids of alerts that the threat value rests on."""


@dataclass(frozen=True, slots=True)
class Clue:
    """What was seen about one requirement."""

    clause: str
    """Key of the requirement under ``clause.`` in the texts."""
    verdict: Verdict
    text: str
    sample: tuple[str, ...] = ()


def root(product: int) -> int:
    """Square root, rounded up."""
    floor = isqrt(product)
    return floor if floor * floor == product else floor + 1


def band_of(risk: int) -> RiskBand:
    """Band of a risk value from 1 to 25."""
    return next(band for top, band in BANDS if risk <= top)


def risks(case: Case) -> list[AssetRisk]:
    """Risk of every asset that alerts or incidents name as a target, and of important ones; gravest first."""
    levels: dict[str, list[tuple[int, str, frozenset[str]]]] = {}
    for row in case.alert_rows.values():
        level = str(row["rule.level"])
        capability = 5 - LEVELS.index(level) if level in LEVELS else 1
        techniques = frozenset(_bare(t) for t in row["threat.technique.id"] or ())
        if row["destination.ip"]:
            entry = (capability, str(row["event.id"]), techniques)
            levels.setdefault(str(row["destination.ip"]), []).append(entry)
    attackers = {ip for i in case.incidents for ip in i.attackers}
    targets = {ip for i in case.incidents for ip in i.targets}
    found = []
    for ip, asset in case.assets.items():
        mine = levels.get(ip, [])
        if ip in attackers and ip not in targets and not mine:
            continue
        if not mine and ip not in targets and asset.importance not in ("critical", "important"):
            continue
        found.append(_risk(asset, mine))
    return sorted(found, key=lambda r: (-r.risk, -r.threat, -r.value))


def _risk(asset: Asset, alerts: list[tuple[int, str, frozenset[str]]]) -> AssetRisk:
    value = _ASSET_VALUE.get(asset.importance or "", _PRESUMED)
    threat = max((c for c, _, _ in alerts), default=1)
    if len(alerts) >= 10:  # frequency: ten alerts or more raise it by one
        threat = min(5, threat + 1)
    if any(t & _CONTROL_TECHNIQUES for _, _, t in alerts):
        ease, reason = 5, "controlled"
    elif any(r.rpartition("_")[0] in INDUSTRIAL for r in asset.roles_seen):
        ease, reason = 4, "no_authentication"
    else:
        ease, reason = _PRESUMED, "presumed"
    role = (asset.role or "").lower()
    serves = any(r.endswith(("_server", "_outstation", "_controlled", "_slave")) for r in asset.roles_seen)
    effect = 5 if role in _CONTROLLERS or (not role and serves) else 4 if role in _STATIONS else _PRESUMED
    likelihood, loss = root(threat * ease), root(value * effect)
    worst = sorted(alerts, key=lambda a: -a[0])
    return AssetRisk(
        asset=asset,
        value=value,
        value_presumed=asset.importance is None,
        threat=threat,
        ease=ease,
        ease_reason=reason,  # type: ignore[arg-type]
        effect=effect,
        likelihood=likelihood,
        loss=loss,
        risk=likelihood * loss,
        band=band_of(likelihood * loss),
        sample=tuple(i for _, i, _ in worst[:3]),
    )


def clues(case: Case) -> list[Clue]:
    """What the data says about requirements of GB/T 22239-2019 (level 3 and the extension for control systems)."""
    return [
        _zones(case),
        _transport(case),
        _border(case),
        _general_services(case),
        _detection(case),
        _device_access(case),
        _wide_area(case),
        _retention(case),
    ]


def _routes(case: Case, pairs: list[Pair], limit: int = 3) -> str:
    w = case.w
    seen = dict.fromkeys(
        f"{case.asset(p.source)} → {case.asset(p.destination)}（{w.protocol(p.protocol)}）" for p in pairs
    )
    items = list(seen) if w.zh else [s.replace("（", " (").replace("）", ")") for s in seen]
    return w.some(items, limit)


def _zones(case: Case) -> Clue:
    w = case.w
    if not case.site.segments:
        return Clue("zones", "undecided", w("clue.zones.no_segments"))
    crossing = case.cross_segment()
    if not case.pairs:
        return Clue("zones", "undecided", w("clue.no_flows"))
    if not crossing:
        return Clue("zones", "not_observed", w("clue.zones.none"))
    ends = {(p.source, p.destination) for p in crossing}
    sample = _alerts_between(case, ends)
    return Clue("zones", "not_met", w("clue.zones.seen", n=len(ends), routes=_routes(case, crossing)), sample)


def _transport(case: Case) -> Clue:
    w = case.w
    plain = [p for p in case.pairs if p.protocol in PLAINTEXT]
    if not case.pairs:
        return Clue("transport", "undecided", w("clue.no_flows"))
    if not plain:
        return Clue("transport", "undecided", w("clue.transport.none"))
    names = w.join([w.protocol(n) for n in sorted({p.protocol for p in plain})])
    ends = len({(p.source, p.destination) for p in plain})
    return Clue("transport", "not_met", w("clue.transport.seen", names=names, n=ends))


def _border(case: Case) -> Clue:
    w = case.w
    if not case.pairs:
        return Clue("border", "undecided", w("clue.no_flows"))
    outside = [p for p in case.pairs if is_outside(p.source, case.site) or is_outside(p.destination, case.site)]
    if not outside:
        return Clue("border", "not_observed", w("clue.border.none"))
    ends = {(p.source, p.destination) for p in outside}
    return Clue("border", "not_met", w("clue.border.seen", n=len(ends), routes=_routes(case, outside)))


def _general_services(case: Case) -> Clue:
    w = case.w
    if not case.site.segments:
        return Clue("services", "undecided", w("clue.zones.no_segments"))
    found = [p for p in case.cross_segment() if p.protocol in GENERAL_SERVICES]
    if not found:
        return Clue("services", "undecided", w("clue.services.none"))
    return Clue("services", "not_met", w("clue.services.seen", n=len(found), routes=_routes(case, found)))


def _detection(case: Case) -> Clue:
    w = case.w
    total = len(case.alert_rows)
    if not total:
        return Clue("detection", "undecided", w("clue.detection.none"))
    whole = sum(1 for r in case.alert_rows.values() if r["source.ip"] and r["destination.ip"] and r["rule.id"])
    verdict: Verdict = "met" if whole == total else "undecided"
    return Clue("detection", verdict, w("clue.detection.seen", n=total, whole=whole))


def _device_access(case: Case) -> Clue:
    w = case.w
    industrial = sorted({p.protocol for p in case.pairs if p.protocol in INDUSTRIAL})
    rows = [
        r for r in case.alert_rows.values() if {_bare(t) for t in r["threat.technique.id"] or ()} & _CONTROL_TECHNIQUES
    ]
    if rows:
        devices = w.some(
            [case.asset(ip) for ip in dict.fromkeys(r["destination.ip"] for r in rows if r["destination.ip"])], 4
        )
        text = w("clue.access.controlled", n=len(rows), devices=devices or w("missing.site"))
        return Clue("access", "not_met", text, tuple(str(r["event.id"]) for r in rows[:3]))
    if industrial:
        return Clue("access", "undecided", w("clue.access.plain", names=w.join([w.protocol(n) for n in industrial])))
    return Clue("access", "undecided", w("clue.access.none"))


def _wide_area(case: Case) -> Clue:
    w = case.w
    found = [
        p
        for p in case.pairs
        if p.protocol in INDUSTRIAL and (is_outside(p.source, case.site) or is_outside(p.destination, case.site))
    ]
    if not found:
        return Clue("wide_area", "not_observed" if case.pairs else "undecided", w("clue.wide_area.none"))
    return Clue("wide_area", "not_met", w("clue.wide_area.seen", n=len(found), routes=_routes(case, found)))


def _retention(case: Case) -> Clue:
    w = case.w
    days = case.site.retention_days
    if not days:
        return Clue("retention", "undecided", w("clue.retention.none", need=RETENTION_DAYS))
    shortest = min(days.values())
    if shortest < RETENTION_DAYS:
        return Clue("retention", "not_met", w("clue.retention.short", days=shortest, need=RETENTION_DAYS))
    return Clue("retention", "met", w("clue.retention.ok", days=shortest, need=RETENTION_DAYS))


def _alerts_between(case: Case, ends: set[tuple[str, str]]) -> tuple[str, ...]:
    rows = case.alert_rows.values()
    return tuple(str(r["event.id"]) for r in rows if (r["source.ip"], r["destination.ip"]) in ends)[:3]


def _bare(technique: object) -> str:
    return str(technique).upper().removeprefix("ATTACK.").partition(".")[0]
