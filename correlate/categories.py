"""Incident categories of GB/T 20986-2023 out of the techniques of alerts.

The table and the mapping are data (``law/gbt20986-2023.yml``). A category says what the evidence looks like; it is
a first judgement for people to confirm, and it keeps its reason.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from correlate.regimes import level_rank, standard
from event.incident import Category


@dataclass(frozen=True, slots=True)
class Finding:
    """What categorising needs of alerts of one rule."""

    rule_name: str
    rule_name_zh: str
    level: str
    techniques: tuple[str, ...]
    count: int = 1


@cache
def _names() -> dict[str, tuple[str, str, str, str]]:
    names: dict[str, tuple[str, str, str, str]] = {}
    for top in standard().categories.list:
        names[top.id] = (top.zh, top.en, top.zh, top.en)
        for sub in top.sub:
            names[f"{top.id}.{sub.id}"] = (sub.zh, sub.en, top.zh, top.en)
    return names


@cache
def _hints() -> dict[str, tuple[str, int]]:
    return {t: (hint.category, hint.priority) for hint in standard().hints.list for t in hint.techniques}


def known_categories() -> tuple[str, ...]:
    """All category ids, in the order of the standard."""
    return tuple(_names())


def category(identity: str, reason_zh: str = "", reason_en: str = "") -> Category:
    """The category with id ``identity``.

    Raises:
        KeyError: No such category.
    """
    zh, en, parent_zh, parent_en = _names()[identity]
    return Category(
        id=identity,
        name_zh=zh,
        name_en=en,
        parent_zh=parent_zh,
        parent_en=parent_en,
        reason=reason_zh,
        reason_en=reason_en,
    )


def category_of(techniques: Iterable[str]) -> str | None:
    """The category of highest priority that ``techniques`` point to; a sub-technique counts as its parent."""
    hits = [_hints()[t.split(".")[0]] for t in techniques if t.split(".")[0] in _hints()]
    return max(hits, key=lambda hit: (hit[1], hit[0]))[0] if hits else None


def categorise(findings: Iterable[Finding]) -> tuple[Category, ...]:
    """Judge the categories of an incident.

    Each rule points to one category through its techniques. Categories are ordered by the worst level of their
    alerts, then by the priority of the mapping; a combination that holds comes first among its level.

    Returns:
        At least one category, the main one first. Without any hint: the fallback of the data file.
    """
    rules = standard().hints
    by_category: dict[str, list[Finding]] = {}
    for finding in findings:
        by_category.setdefault(category_of(finding.techniques) or rules.fallback, []).append(finding)
    priority = {hint.category: hint.priority for hint in rules.list}
    order: list[tuple[int, int, str, str, str]] = []
    for identity, found in by_category.items():
        names = sorted({one.rule_name for one in found})
        names_zh = sorted({one.rule_name_zh for one in found})
        shown = "、".join(f"“{name}”" for name in names_zh[:3])
        more_zh = f"等{len(names)}条规则" if len(names) > 3 else ""
        quoted = ", ".join(f'"{name}"' for name in names[:3])
        more_en = f" and {len(names) - 3} more rules" if len(names) > 3 else ""
        total = sum(one.count for one in found)
        order.append(
            (
                max(level_rank(one.level) for one in found),
                priority.get(identity, 0),
                identity,
                f"依据{shown}{more_zh}共{total}条告警研判",
                f"judged from {total} alerts of {quoted}{more_en}",
            )
        )
    worst = max((entry[0] for entry in order), default=-1)
    present = set(by_category)
    for rule in rules.combinations:
        holds = present.issuperset(rule.all_of) and present.intersection(rule.any_of)
        if holds and worst >= level_rank(rule.min_level) and rule.category not in present:
            order.append((worst, rule.priority, rule.category, rule.zh, rule.en))
    order.sort(key=lambda entry: (-entry[0], -entry[1], entry[2]))
    if not order:
        return (category(rules.fallback),)
    return tuple(category(identity, zh, en) for _, _, identity, zh, en in order)
