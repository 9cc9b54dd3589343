"""The law and the standards as data: ``correlate/law/*.yml``, checked once and cached.

Every number there carries document, clause and a mark (``V`` verified, ``V~`` seen in a secondary source, ``M``
from memory: 待核实). Code asks for a fact by name and never holds a threshold itself.
"""

from __future__ import annotations

from functools import cache, lru_cache
from importlib.resources import files
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from event import yaml_text
from event.errors import ConfigError
from event.incident import Grade, Level

Mark = Literal["V", "V~", "M"]

GRADES: tuple[Grade, ...] = ("general", "large", "major", "particularly_major")
"""Lowest first: 一般, 较大, 重大, 特别重大."""
LEVELS: tuple[Level, ...] = ("informational", "low", "medium", "high", "critical")
"""Sigma levels, lowest first."""

GRADE_NAMES: dict[Grade, tuple[str, str]] = {
    "general": ("一般", "general"),
    "large": ("较大", "large"),
    "major": ("重大", "major"),
    "particularly_major": ("特别重大", "particularly major"),
}
"""Grade to its names (zh, en)."""


def grade_rank(grade: Grade | None) -> int:
    """Position in ``GRADES``; -1 for an unknown grade."""
    return -1 if grade is None else GRADES.index(grade)


def level_rank(level: str | None) -> int:
    """Position in ``LEVELS``; -1 for what is not a Sigma level."""
    return LEVELS.index(level) if level in LEVELS else -1


class _Law(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Source(_Law):
    """Where a number comes from and how far it was verified."""

    document: str
    clause: str
    document_en: str
    clause_en: str
    mark: Mark

    def __str__(self) -> str:
        return f"{self.document} {self.clause}"

    @property
    def en(self) -> str:
        """Document and clause in English: ``Regulations …, Art. 18``."""
        return f"{self.document_en}, {self.clause_en}"


class Threshold(Source):
    """One condition of an annex row: a quantity at least so large, or a finding that equals a word."""

    grade: Grade
    at_least: float | None = None
    equals: str | None = None
    unit_level: Literal["province", "prefecture"] | None = None
    """Administrative level that the affected unit must have at least."""


class Indicator(_Law):
    """What a regime asks about an incident."""

    id: str
    fact: str
    """Field of ``event.incident.Impact``."""
    derive: Literal["people_affected"] | None = None
    region: Literal["prefecture", "province"] | None = None
    unit_zh: str = ""
    unit_en: str = ""
    operator_kinds: tuple[str, ...] = ()
    sectors: tuple[str, ...] = ()
    also_kinds: tuple[str, ...] = ()
    zh: str
    en: str
    question_zh: str
    question_en: str
    thresholds: tuple[Threshold, ...]


class Bound(Source):
    """A bound on a quantity that only people can judge (spread of tampered content)."""

    at_least: float


class TamperIndicator(_Law):
    """One quantity of spread after tampering with content."""

    id: str
    zh: str
    en: str
    unit: str
    particularly_major: Bound
    major: Bound
    large: Bound


class TamperIndicators(_Law):
    """Quantities asked for only when the category is tampering or content."""

    categories: tuple[str, ...]
    list: tuple[TamperIndicator, ...]


class Route(_Law):
    """Who reports what to whom until when."""

    id: str
    owner: Literal["operator", "authority"] = "operator"
    operator_kinds: tuple[str, ...] = ()
    sectors: tuple[str, ...] = ()
    min_grade: Grade | None = None
    needs: Literal["suspected_crime"] | None = None
    after: str | None = None
    within_minutes: float | None = None
    within_days: float | None = None
    zh: str
    en: str
    to_zh: tuple[str, ...]
    to_en: tuple[str, ...]
    source: Source


class Named(_Law):
    """A name in both languages."""

    zh: str
    en: str


class Channel(Named):
    """A way to hand a report in."""

    value: str


class Channels(_Law):
    """All channels with their source."""

    source: Source
    list: tuple[Channel, ...]


class Note(Named):
    """A sentence with its source."""

    source: Source


class ReportableFrom(Source):
    """From which grade reporting is a duty."""

    grade: Grade


class GradeRule(Source):
    """How indicators combine."""

    rule: Literal["max"]


class ClockStart(Source):
    """When deadlines start."""

    from_: Literal["discovered"] = Field(alias="from")


class Superseded(_Law):
    """A version that must be recognised and never applied."""

    id: str
    source: Source
    thresholds: dict[str, dict[Grade, float]]


class ReportingRegime(_Law):
    """A reporting regime: thresholds, routes, deadlines, channels."""

    id: str
    version: int
    title_zh: str
    title_en: str
    document: str
    valid_from: str
    reportable_from: ReportableFrom
    grade_rule: GradeRule
    clock_start: ClockStart
    indicators: tuple[Indicator, ...]
    tamper_indicators: TamperIndicators
    routes: tuple[Route, ...]
    sector_routes: tuple[Route, ...]
    personal_information: Route
    state_secret: Route
    operator_kinds: dict[str, Named]
    channels: Channels
    article18: Note
    superseded: Superseded


class Technique(Named):
    """An ATT&CK technique with its tactics, main one first."""

    tactics: tuple[str, ...]


class Attack(_Law):
    """Names of techniques and tactics."""

    id: str
    version: int
    title_zh: str
    title_en: str
    valid_from: str
    source: Source
    tactics: dict[str, Named]
    techniques: dict[str, Technique]


class Region(Named):
    """Resident population of an administrative region."""

    population: int


class Regions(_Law):
    """Populations by 行政区划代码."""

    id: str
    version: int
    title_zh: str
    title_en: str
    valid_from: str
    unit: str
    source: Source
    provinces: dict[str, Region]
    regions: dict[str, Region]


class SubCategory(Named):
    """A sub-category; its full id is ``<category>.<id>``."""

    id: str


class TopCategory(SubCategory):
    """One of the ten categories."""

    sub: tuple[SubCategory, ...]


class Categories(_Law):
    """The category table."""

    source: Source
    code_official: None
    list: tuple[TopCategory, ...]


class Matrix(_Law):
    """Object importance by business loss."""

    source: Source
    cells: dict[Literal["critical", "important", "normal"], dict[str, Grade]]


class Importance(_Law):
    """How 关基 and 等保 levels map to object importance."""

    source: Source
    cii: Literal["critical"]
    mlps: dict[int, Literal["critical", "important", "normal"]]


class Hint(_Law):
    """Techniques that point to a category."""

    category: str
    priority: int
    techniques: tuple[str, ...]


class Combination(Named):
    """Categories that together mean another one."""

    id: str
    category: str
    priority: int
    all_of: tuple[str, ...]
    any_of: tuple[str, ...]
    min_level: Level


class Hints(_Law):
    """From techniques to categories."""

    source: Source
    list: tuple[Hint, ...]
    combinations: tuple[Combination, ...]
    fallback: str


class Standard(_Law):
    """GB/T 20986-2023."""

    id: str
    version: int
    title_zh: str
    title_en: str
    valid_from: str
    categories: Categories
    matrix: Matrix
    importance: Importance
    hints: Hints


class Thresholds(_Law):
    """What makes a group of alerts an incident."""

    alone: Level
    low_alerts: int = Field(ge=1)
    low_rules: int = Field(ge=1)
    low_tactics: tuple[str, ...]


class Caps(_Law):
    """Bounds of one incident."""

    alerts: int = Field(ge=1)
    alerts_per_pair: int = Field(ge=2)
    timeline: int = Field(ge=1)
    assets: int = Field(ge=1)


class Risk(_Law):
    """How the risk of an asset is computed."""

    level_points: dict[Level, int]
    importance_weight: dict[Literal["normal", "important", "critical"], float]
    unknown_importance_weight: float
    many_alerts_bonus: dict[int, int]


class SpoofedSource(_Law):
    """Alerts whose source address belongs to a victim."""

    protocols: tuple[str, ...]
    techniques: tuple[str, ...]


class Accounts(_Law):
    """Accounts that say nothing about who acts, lower case."""

    services: frozenset[str]
    service_domains: frozenset[str]


class Grouping(_Law):
    """How alerts become incidents."""

    id: str
    version: int
    gap_minutes: float = Field(gt=0)
    thresholds: Thresholds
    zone_tactics: tuple[str, ...]
    no_attacker_techniques: tuple[str, ...]
    spoofed_source: SpoofedSource
    accounts: Accounts
    response_fields: dict[str, tuple[str, ...]]
    server_ports: tuple[int, ...]
    server_roles: tuple[str, ...]
    client_roles: tuple[str, ...]
    caps: Caps
    risk: Risk


def _read(name: str) -> Any:
    return yaml_text.load(files("correlate").joinpath("law", f"{name}.yml").read_bytes())


@cache
def reporting(regime: str = "cac-2025") -> ReportingRegime:
    """The reporting regime ``regime``.

    Raises:
        ConfigError: No such regime is shipped.
    """
    if regime not in REPORTING_REGIMES:
        raise ConfigError(f"unknown regime {regime!r}", hint="known: " + ", ".join(REPORTING_REGIMES))
    return ReportingRegime.model_validate(_read(regime))


REPORTING_REGIMES = ("cac-2025",)
"""Reporting regimes that are shipped."""


@cache
def standard() -> Standard:
    """GB/T 20986-2023: categories, matrix, hints."""
    return Standard.model_validate(_read("gbt20986-2023"))


@cache
def attack() -> Attack:
    """ATT&CK for ICS names and tactics."""
    return Attack.model_validate(_read("attack-ics-18.1"))


@cache
def regions() -> Regions:
    """Populations of Sichuan's regions."""
    return Regions.model_validate(_read("regions"))


@cache
def grouping() -> Grouping:
    """Settings of the grouping of alerts."""
    return Grouping.model_validate(_read("grouping"))


@lru_cache(maxsize=4096)
def tactics_of(techniques: tuple[str, ...]) -> tuple[str, ...]:
    """All tactics of ``techniques``, in the order of an attack; unknown techniques give none."""
    table = attack()
    found = {t for one in techniques if one in table.techniques for t in table.techniques[one].tactics}
    return tuple(t for t in table.tactics if t in found)
