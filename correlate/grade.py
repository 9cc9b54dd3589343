"""Grades of an incident: a pure decision over facts, with every reason kept.

Two scales that are never mixed: GB/T 20986-2023 (object importance x business loss x social harm) and the annex
《网络安全事件分级指南》 of the 2025 reporting Measures (the maximum over its indicators). A fact that nobody has given
stays unknown: it becomes an open question and never a zero. The grade is the lowest that the confirmed facts
support; with no fact at all it is None.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from correlate import clocks
from correlate.regimes import (
    GRADE_NAMES,
    Indicator,
    Threshold,
    grade_rank,
    regions,
    reporting,
    standard,
)
from event.incident import Certainty, Grade, GradeReason, Impact, Incident
from event.site import Site

Importance = Literal["normal", "important", "critical"]
Scale = Literal["gbt20986-2023", "cac-2025"]

OVERRIDE = "人工研判"
"""Indicator of a reason that a person gave; it outweighs every computed one."""

_IMPORTANCE = {
    "critical": ("特别重要", "particularly important"),
    "important": ("重要", "important"),
    "normal": ("一般", "normal"),
}
_WORDS: dict[str, tuple[str, str]] = {
    "particularly_serious": ("特别严重", "particularly serious"),
    "serious": ("严重", "serious"),
    "fairly_serious": ("较大", "fairly serious"),
    "minor": ("较小", "minor"),
    "none": ("无", "none"),
    "particularly_major": GRADE_NAMES["particularly_major"],
    "major": GRADE_NAMES["major"],
    "large": GRADE_NAMES["large"],
    "general": GRADE_NAMES["general"],
}
_UNKNOWN = ("未知", "unknown")


@dataclass(frozen=True, slots=True)
class Grading:
    """The outcome: one grade a scale, the reasons, and what would settle the rest."""

    gbt20986: Grade | None
    cac: Grade | None
    reasons: tuple[GradeReason, ...]
    questions_zh: tuple[str, ...]
    questions_en: tuple[str, ...]


class _Questions:
    def __init__(self) -> None:
        self.zh: list[str] = []
        self.en: list[str] = []

    def ask(self, zh: str, en: str) -> None:
        if zh not in self.zh:
            self.zh.append(zh)
            self.en.append(en)


def worst(grades: Iterable[Grade | None]) -> Grade | None:
    """The gravest of ``grades``; None if all are unknown."""
    return max(grades, key=grade_rank, default=None)


def importance_of(targets: Sequence[str], site: Site) -> tuple[Importance | None, str, str]:
    """Importance of what is affected (影响对象) and why, in both languages.

    关基 or 等保 level of the operator and the declared importance of the targets; the highest counts.
    """
    table = standard().importance
    found: list[tuple[int, Importance, str, str]] = []
    ranks = list(_IMPORTANCE)
    if site.operator.kind == "cii":
        found.append((0, table.cii, "关键信息基础设施", "critical information infrastructure"))
    level = site.operator.mlps_level
    if level is not None and level in table.mlps:
        one = table.mlps[level]
        found.append((ranks.index(one), one, f"等级保护第{level}级", f"MLPS level {level}"))
    for ip in targets:
        asset = site.asset_of(ip)
        if asset is not None:
            one = asset.importance
            found.append((ranks.index(one), one, f"资产{ip}登记为{_IMPORTANCE[one][0]}", f"asset {ip} declared"))
    if not found:
        return None, "", ""
    _, importance, zh, en = min(found, key=lambda entry: (entry[0], entry[2]))
    return importance, zh, en


def _gbt(impact: Impact, targets: Sequence[str], site: Site, ask: _Questions) -> list[GradeReason]:
    law = standard()
    importance, why_zh, why_en = importance_of(targets, site)
    loss = impact.business_loss
    reasons: list[GradeReason] = []
    if importance is None:
        ask.ask(
            "影响对象的重要程度（是否关基、等级保护级别）", "Importance of what is affected (CII or not, MLPS level)"
        )
    if loss is None:
        ask.ask(
            "系统损失程度（特别严重／严重／较大／较小）",
            "Degree of system loss (particularly serious, serious, fairly serious, minor)",
        )
    cells = law.matrix.cells[importance] if importance else {}
    if loss is not None and importance is not None:
        grade: Grade | None = cells[loss]
        certainty: Certainty = "confirmed"
        limit = GRADE_NAMES[cells[loss]]
    else:
        grade, certainty = None, "unknown"
        rows = [cells] if cells else list(law.matrix.cells.values())
        possible = [g for row in rows for key, g in row.items() if loss in (None, key)]
        low, high = min(possible, key=grade_rank), max(possible, key=grade_rank)
        limit = (
            f"可能为{GRADE_NAMES[low][0]}至{GRADE_NAMES[high][0]}",
            f"may be {GRADE_NAMES[low][1]} to {GRADE_NAMES[high][1]}",
        )
    object_zh, object_en = _IMPORTANCE[importance] if importance else _UNKNOWN
    loss_zh, loss_en = _WORDS[loss] if loss else _UNKNOWN
    reasons.append(
        GradeReason(
            scale="gbt20986-2023",
            grade=grade,
            indicator="影响对象重要程度与业务损失",
            indicator_en="Importance of the object by business loss",
            value=f"影响对象：{object_zh}{f'（{why_zh}）' if why_zh else ''}；业务损失：{loss_zh}",
            value_en=f"object: {object_en}{f' ({why_en})' if why_en else ''}; business loss: {loss_en}",
            threshold=limit[0],
            threshold_en=limit[1],
            source=str(law.matrix.source),
            source_en=law.matrix.source.en,
            mark=law.matrix.source.mark,
            certainty=certainty,
        )
    )
    if impact.social_harm is not None:
        names = GRADE_NAMES[impact.social_harm]
        reasons.append(
            GradeReason(
                scale="gbt20986-2023",
                grade=impact.social_harm,
                indicator="社会危害的严重程度",
                indicator_en="Severity of social harm",
                value=names[0],
                value_en=names[1],
                threshold=names[0],
                threshold_en=names[1],
                source="GB/T 20986-2023 分级要素·社会危害",
                source_en="GB/T 20986-2023, grading elements: social harm",
                mark="M",
                certainty="confirmed",
            )
        )
    else:
        ask.ask(
            "对国家安全、社会秩序、经济建设和公众利益的威胁或影响程度",
            "Threat to or effect on national security, social order, the economy and the public interest",
        )
    return reasons


def _applies(indicator: Indicator, site: Site) -> bool | None:
    """True, False, or None where the site does not say."""
    kind, sector = site.operator.kind, site.operator.sector
    if indicator.operator_kinds:
        return None if kind is None else kind in indicator.operator_kinds
    if indicator.sectors:
        if sector in indicator.sectors or kind in indicator.also_kinds:
            return True
        return None if sector is None else False
    return True


def _unit_level(site: Site) -> int | None:
    """Administrative level of the operator: 2 province or above, 1 prefecture, 0 below; None unknown."""
    if site.operator.kind == "state_organ":
        return 2
    code = site.operator.region_code
    if code is None:
        return None
    return 2 if code.endswith("0000") else 1 if code.endswith("00") else 0


def _value(indicator: Indicator, impact: Impact, site: Site) -> tuple[Any, Certainty]:
    """Value of the indicator's fact; a share is derived from people and population where it was not given."""
    value = getattr(impact, indicator.fact)
    if indicator.derive is None:
        return value, "confirmed"
    code = site.operator.region_code
    provincial = code is not None and code.endswith("0000")
    if value is not None and provincial == (indicator.region == "province"):
        return value, "confirmed"
    people = impact.people_affected
    if people is None or code is None:
        return None, "unknown"
    table = regions()
    if indicator.region == "province":
        region = table.provinces.get(code[:2] + "0000")
    else:
        region = None if provincial else table.regions.get(code[:4] + "00")
    return (people / region.population * 100, "inferred") if region else (None, "unknown")


def _shown(value: Any, unit: str, lang: int) -> str:
    if isinstance(value, str):
        names: tuple[str, str] = _WORDS.get(value, (value, value))
        return names[lang]
    number = f"{value:,.2f}".rstrip("0").rstrip(".")
    return f"{number}{'' if unit == '%' else ' '}{unit}".rstrip()


def _limit(threshold: Threshold, indicator: Indicator, lang: int) -> str:
    unit = indicator.unit_en if lang else indicator.unit_zh
    if threshold.at_least is not None:
        return f"≥ {_shown(threshold.at_least, unit, lang)}"
    return _shown(threshold.equals, "", lang)


def _met(threshold: Threshold, value: Any) -> bool:
    if threshold.at_least is not None:
        return bool(value >= threshold.at_least)
    return bool(value == threshold.equals)


def _judge(indicator: Indicator, impact: Impact, site: Site, ask: _Questions) -> GradeReason | None:
    """One indicator of the annex; None where it does not apply or its fact is unknown (then it is asked)."""
    applies = _applies(indicator, site)
    if applies is False:
        return None
    value, certainty = _value(indicator, impact, site)
    if value is None:
        # A share follows from the number of people, so that is what is asked for.
        if not (indicator.derive and (impact.people_affected is not None or indicator.region == "province")):
            ask.ask(indicator.question_zh, indicator.question_en)
        return None
    level = _unit_level(site)
    decided: Threshold | None = None
    for threshold in sorted(indicator.thresholds, key=lambda t: grade_rank(t.grade), reverse=True):
        if not _met(threshold, value):
            continue
        if threshold.unit_level is not None:
            if level is None:
                ask.ask("涉事单位的行政层级（行政区划代码）", "Administrative level of the unit (region code)")
                continue
            if level < (2 if threshold.unit_level == "province" else 1):
                continue
        decided = threshold
        break
    lowest = min(indicator.thresholds, key=lambda t: grade_rank(t.grade))
    basis = decided or lowest
    limits = [_limit(basis, indicator, lang) for lang in (0, 1)]
    grade: Grade | None = decided.grade if decided else "general"
    if decided is None:
        limits = [f"未达到{GRADE_NAMES[lowest.grade][0]}标准（{limits[0]}）", f"below {limits[1]}"]
    if applies is None:
        # The condition is met only if the operator is of the kind that the indicator is about.
        if not indicator.operator_kinds:  # the kind of operator is asked for anyway
            ask.ask("涉事单位所属行业和性质", "Sector and nature of the unit")
        if decided is None:
            return None
        names = GRADE_NAMES[decided.grade]
        limits = [f"若适用本项则为{names[0]}（{limits[0]}）", f"{names[1]} if this indicator applies ({limits[1]})"]
        grade, certainty = None, "unknown"
    return GradeReason(
        scale="cac-2025",
        grade=grade,
        indicator=indicator.zh,
        indicator_en=indicator.en,
        value=_shown(value, indicator.unit_zh, 0),
        value_en=_shown(value, indicator.unit_en, 1),
        threshold=limits[0],
        threshold_en=limits[1],
        source=str(basis),
        source_en=basis.en,
        mark=basis.mark,
        certainty=certainty,
    )


def _cac(impact: Impact, categories: Sequence[str], site: Site, ask: _Questions) -> list[GradeReason]:
    regime = reporting("cac-2025")
    if site.operator.kind is None:
        ask.ask(
            "网络运营者性质（关键信息基础设施运营者、中央和国家机关、其他）",
            "Kind of operator (CII operator, central party or state organ, other)",
        )
    reasons = [r for one in regime.indicators if (r := _judge(one, impact, site, ask)) is not None]
    about = regime.tamper_indicators
    if any(c in about.categories or c.split(".")[0] in about.categories for c in categories):
        for tamper in about.list:
            ask.ask(tamper.zh, tamper.en)
    interrupted = (impact.whole_interruption_minutes or 0) + (impact.main_function_interruption_minutes or 0)
    if site.operator.kind == "cii" and interrupted > 0:
        note = regime.article18
        reasons.append(
            GradeReason(
                scale="cac-2025",
                grade=None,
                indicator=note.zh,
                indicator_en=note.en,
                source=str(note.source),
                source_en=note.source.en,
                mark=note.source.mark,
                certainty="confirmed",
            )
        )
    if all(reason.grade is None for reason in reasons):
        known = "已知影响事实尚不足以定级" if reasons else "尚无已确认的影响事实"
        known_en = (
            "What is known of the impact does not settle it" if reasons else "No confirmed fact about the impact yet"
        )
        reasons.append(
            GradeReason(
                scale="cac-2025",
                grade=None,
                indicator=f"{known}，级别待研判",
                indicator_en=f"{known_en}; the grade is open",
                source=str(regime.grade_rule),
                source_en=regime.grade_rule.en,
                mark=regime.grade_rule.mark,
                certainty="unknown",
            )
        )
    return reasons


def grade(
    impact: Impact,
    site: Site,
    *,
    targets: Sequence[str] = (),
    categories: Sequence[str] = (),
    overrides: Sequence[GradeReason] = (),
) -> Grading:
    """Grade the facts on both scales.

    Args:
        impact: What people confirmed.
        site: Operator kind, 等保 level, region, declared assets.
        targets: Addresses affected.
        categories: Category ids, for the questions that only some categories raise.
        overrides: Reasons that people gave; the last of a scale decides it.
    """
    ask = _Questions()
    reasons = [*_gbt(impact, targets, site, ask), *_cac(impact, categories, site, ask)]
    if impact.suspected_crime is None:
        ask.ask("是否涉嫌犯罪", "Is a crime suspected")
    if impact.state_secret is None:
        ask.ask("是否涉及国家秘密", "Are state secrets concerned")

    def of(scale: Scale) -> Grade | None:
        forced = [o.grade for o in overrides if o.scale == scale]
        return forced[-1] if forced else worst(r.grade for r in reasons if r.scale == scale)

    return Grading(
        gbt20986=of("gbt20986-2023"),
        cac=of("cac-2025"),
        reasons=(*overrides, *reasons),
        questions_zh=tuple(ask.zh),
        questions_en=tuple(ask.en),
    )


def assessment(incident: Incident, site: Site) -> dict[str, Any]:
    """Fields of ``incident`` that grading decides, clocks included, as keyword arguments of a change."""
    result = grade(
        incident.impact,
        site,
        targets=incident.targets,
        categories=[c.id for c in incident.categories],
        overrides=[r for r in incident.grade_reasons if r.indicator == OVERRIDE],
    )
    update: dict[str, Any] = {
        "grade_gbt20986": result.gbt20986,
        "grade_cac": result.cac,
        "grade_reasons": result.reasons,
        "open_questions_zh": result.questions_zh,
        "open_questions_en": result.questions_en,
    }
    graded = incident.model_copy(update=update)
    update["clocks"] = clocks.deadlines(graded, site)
    return update


def grade_incident(incident: Incident, site: Site, *, actor: str = "jianmen", time: datetime | None = None) -> Incident:
    """Grade ``incident`` anew after the site's facts; the same incident if nothing changes.

    Args:
        incident: Which.
        site: Facts of the operator.
        actor: Who asked for it.
        time: When; the last change of the incident if None.
    """
    update = assessment(incident, site)
    if all(getattr(incident, name) == value for name, value in update.items()):
        return incident
    when = time or (incident.history[-1].time if incident.history else incident.discovered)
    return incident.changed(actor=actor, change="重新定级 / graded anew", time=when, **update)


def with_impact(incident: Incident, impact: Impact, actor: str, time: datetime, site: Site) -> Incident:
    """Record what people found out about the impact; grades and clocks follow."""
    given = impact.model_dump(exclude_none=True)
    before = incident.impact.model_dump(exclude_none=True)
    names = ", ".join(sorted(name for name in {*given, *before} if given.get(name) != before.get(name)))
    if not names:
        return incident
    update = assessment(incident.model_copy(update={"impact": impact}), site)
    change = f"更新影响事实 / impact changed: {names}"
    return incident.changed(actor=actor, change=change, time=time, impact=impact, **update)


def with_override(
    incident: Incident, scale: Scale, value: Grade | None, reason: str, actor: str, time: datetime, site: Site
) -> Incident:
    """Set a grade by hand, with a reason; ``value`` None takes the hand-set grade of the scale back."""
    others = [r for r in incident.grade_reasons if not (r.indicator == OVERRIDE and r.scale == scale)]
    if value is not None:
        names = GRADE_NAMES[value]
        others.append(
            GradeReason(
                scale=scale,
                grade=value,
                indicator=OVERRIDE,
                indicator_en="Judged by a person",
                value=f"{names[0]}：{reason}",
                value_en=f"{names[1]}: {reason}",
                source=actor,
                mark="V",
                certainty="confirmed",
            )
        )
    update = assessment(incident.model_copy(update={"grade_reasons": tuple(others)}), site)
    change = f"{'撤销人工定级' if value is None else '人工定级'} / grade set: {scale} {value or '-'}: {reason}"
    return incident.changed(actor=actor, change=change, time=time, **update)
