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
from report.alerts import LEVELS, TargetCount
from report.document import RiskBand
from report.facts import GENERAL_SERVICES, INDUSTRIAL, PLAINTEXT, Case, Pair

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
_SERVING = ("_server", "_outstation", "_controlled_station")
_OFTEN = 10
"""Alerts from which on frequency raises the threat by one."""
RETENTION_DAYS = 180
"""网络安全法 (2025 修正) Art 23: network logs for six months at least."""

Verdict = Literal["met", "not_met", "undecided", "not_observed"]
"""符合性线索, 不符合线索, 无法判断, 未观察到."""


Ease = Literal["controlled", "no_authentication", "presumed"]
"""Why the weakness is as easy to use as it is."""


@dataclass(frozen=True, slots=True)
class AssetRisk:
    """The risk of one asset and what it was computed from."""

    asset: Asset
    value: int
    value_presumed: bool
    threat: int
    ease: int
    ease_reason: Ease
    effect: int
    likelihood: int
    loss: int
    risk: int
    band: RiskBand
    alerts: int
    """Alerts that name it as destination."""
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
    counts = case.alerts.targets(_CONTROL_TECHNIQUES)
    attackers = {ip for i in case.incidents for ip in i.attackers}
    targets = {ip for i in case.incidents for ip in i.targets}
    found = []
    for ip, asset in case.assets.items():
        mine = counts.get(ip)
        if ip in attackers and ip not in targets:
            continue
        if mine is None and ip not in targets and asset.importance not in ("critical", "important"):
            continue
        found.append(_risk(asset, mine))
    return sorted(found, key=lambda r: (-r.risk, -r.threat, -r.value))


def _risk(asset: Asset, mine: TargetCount | None) -> AssetRisk:
    value = _ASSET_VALUE.get(asset.importance or "", _PRESUMED)
    threat = 5 - LEVELS.index(mine.level) if mine else 1
    if mine and mine.alerts >= _OFTEN:
        threat = min(5, threat + 1)
    ease, reason = _ease(asset, mine)
    role = (asset.role or "").lower()
    serves = any(r.endswith(_SERVING) and r.partition("_")[0] in INDUSTRIAL for r in asset.roles_seen)
    effect = 5 if role in _CONTROLLERS or (not role and serves) else 4 if role in _STATIONS else _PRESUMED
    likelihood, loss = root(threat * ease), root(value * effect)
    return AssetRisk(
        asset=asset,
        value=value,
        value_presumed=asset.importance is None,
        threat=threat,
        ease=ease,
        ease_reason=reason,
        effect=effect,
        likelihood=likelihood,
        loss=loss,
        risk=likelihood * loss,
        band=band_of(likelihood * loss),
        alerts=mine.alerts if mine else 0,
        sample=mine.sample if mine else (),
    )


def _ease(asset: Asset, mine: TargetCount | None) -> tuple[int, Ease]:
    if mine and mine.controlled:
        return 5, "controlled"
    if any(r.partition("_")[0] in INDUSTRIAL for r in asset.roles_seen):
        return 4, "no_authentication"
    return _PRESUMED, "presumed"


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
    sample = case.alerts.between(sorted(ends))
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
    outside = [p for p in case.pairs if case.is_outside(p.source) or case.is_outside(p.destination)]
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
    total = len(case.alerts)
    if not total:
        return Clue("detection", "undecided", w("clue.detection.none"))
    whole = case.alerts.complete()
    verdict: Verdict = "met" if whole == total else "undecided"
    return Clue("detection", verdict, w("clue.detection.seen", n=total, whole=whole))


def _device_access(case: Case) -> Clue:
    w = case.w
    industrial = sorted({p.protocol for p in case.pairs if p.protocol in INDUSTRIAL})
    n, ends, sample = case.alerts.carrying(_CONTROL_TECHNIQUES)
    if n:
        devices = w.some([case.asset(ip) for ip in ends], 4) or w("missing.site")
        return Clue("access", "not_met", w("clue.access.controlled", n=n, devices=devices), sample)
    if industrial:
        return Clue("access", "undecided", w("clue.access.plain", names=w.join([w.protocol(n) for n in industrial])))
    return Clue("access", "undecided", w("clue.access.none"))


def _wide_area(case: Case) -> Clue:
    w = case.w
    found = [
        p
        for p in case.pairs
        if p.protocol in INDUSTRIAL and (case.is_outside(p.source) or case.is_outside(p.destination))
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
