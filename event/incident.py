"""Incident (网络安全事件): alerts that belong together, what they concern, how grave, what was done.

An incident is versioned and never edited in place: every change is a new ``Incident`` with ``version + 1`` and
one more ``HistoryEntry``. Times are aware UTC.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

Grade = Literal["particularly_major", "major", "large", "general"]
"""特别重大, 重大, 较大, 一般."""
Level = Literal["informational", "low", "medium", "high", "critical"]
Status = Literal["new", "acknowledged", "in_progress", "closed", "merged"]
Certainty = Literal["confirmed", "inferred", "unknown", "not_observed"]
"""已确认, 推测, 无法确认, 未观察到."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Asset(_Model):
    """An endpoint seen in an incident: at least an address, or the name by which its own logs call it."""

    ip: str | None = None
    host: str | None = None
    """Name that the host's logs give it, lower case; None where only traffic speaks of it."""
    mac: str | None = None
    name: str | None = None
    role: str | None = None
    roles_seen: tuple[str, ...] = ()
    """What the traffic shows: modbus_server, iec104_client, ..."""
    segment: str | None = None
    importance: Literal["normal", "important", "critical"] | None = None
    side: Literal["attacker", "target", "both"] = "target"
    alert_count: int = 0
    risk: int = Field(0, ge=0, le=100)
    """Worst alert level weighted by importance; method in the report."""

    @model_validator(mode="after")
    def _is_named(self) -> Asset:
        if self.ip is None and self.host is None:
            raise ValueError("an asset needs an address or a host name")
        return self

    @property
    def key(self) -> str:
        """What alerts and incidents call it: the address, or the host name where no address is known."""
        return self.ip or self.host or ""


class AlertRef(_Model):
    """An alert inside an incident; the alert itself is an event of ``jianmen.alert``."""

    id: str
    time: AwareDatetime
    rule_id: str
    rule_name: str
    rule_name_zh: str = ""
    level: Level
    count: int = 1
    """Alerts that this one stands for: of a pair with very many, the last listed stands for those between."""
    source: str | None = None
    destination: str | None = None
    techniques: tuple[str, ...] = ()
    summary: str = ""


class TimelineEntry(_Model):
    """One line of the attack timeline."""

    time: AwareDatetime
    text: str
    text_zh: str
    certainty: Certainty = "confirmed"
    phase: str | None = None
    """ATT&CK tactic, such as ``discovery`` or ``impair-process-control``."""
    evidence: tuple[str, ...] = ()
    """Ids of alerts or events."""


class GradeReason(_Model):
    """Why a grade is what it is."""

    scale: Literal["gbt20986-2023", "cac-2025"]
    grade: Grade | None
    indicator: str
    """Which indicator or matrix cell decided, Chinese."""
    indicator_en: str = ""
    value: str | None = None
    value_en: str | None = None
    threshold: str | None = None
    threshold_en: str | None = None
    source: str
    """Document and clause, Chinese."""
    source_en: str = ""
    """The same in English; empty in incidents of older versions and where ``source`` names a person."""
    mark: str = "M"
    """V verified, V~ seen in a secondary source, M from memory: 待核实."""
    certainty: Certainty = "inferred"


class Category(_Model):
    """Incident category after GB/T 20986-2023, with a stable id of our own."""

    id: str
    """Such as ``network_attack.scan``."""
    name_zh: str
    name_en: str
    parent_zh: str
    parent_en: str
    reason: str = ""
    """Which alerts led to it, Chinese."""
    reason_en: str = ""


class Clock(_Model):
    """A deadline that runs."""

    id: str
    regime: str
    what_zh: str
    what_en: str
    recipients_zh: tuple[str, ...] = ()
    recipients_en: tuple[str, ...] = ()
    starts: AwareDatetime
    due: AwareDatetime | None
    """None where the law says 及时 without a number."""
    done: AwareDatetime | None = None
    source: str
    """Document and clause, Chinese."""
    source_en: str = ""
    """The same in English; empty in incidents of older versions."""
    mark: str
    condition_zh: str = ""
    condition_en: str = ""
    """When it applies, if the facts do not settle it (for example 待核实是否为关基)."""


class Impact(_Model):
    """Facts that only people can give; None is unknown."""

    whole_interruption_minutes: float | None = None
    main_function_interruption_minutes: float | None = None
    people_affected: int | None = None
    population_share_percent: float | None = None
    personal_records: int | None = None
    direct_loss_yuan: float | None = None
    portal_unreachable_minutes: float | None = None
    data_threat: Literal["particularly_serious", "serious", "fairly_serious", "none"] | None = None
    business_loss: Literal["particularly_serious", "serious", "fairly_serious", "minor"] | None = None
    social_harm: Grade | None = None
    suspected_crime: bool | None = None
    state_secret: bool | None = None
    ransom_amount: str | None = None
    ransom_method: str | None = None
    ransom_date: str | None = None


class Step(_Model):
    """A measure that was taken or is recommended."""

    text_zh: str
    text_en: str
    phase: str = ""
    """PDCERF phase: preparation, detection, containment, eradication, recovery, follow_up."""
    done_at: AwareDatetime | None = None
    done_by: str | None = None
    effect: str | None = None
    source: str = ""
    """Playbook id and step, or who noted it."""


class Evidence(_Model):
    """A thing that is kept: item 七 of the first report."""

    name: str
    sha256: str | None = None
    size: int | None = None
    kept_by: str | None = None
    note: str = ""


class HistoryEntry(_Model):
    """Who changed what, when."""

    time: AwareDatetime
    actor: str
    change: str


class Incident(_Model):
    """One incident, whole."""

    id: str
    """Such as ``INC-20260901-3f9a2c``: date of the first alert and a hash of what started it."""
    version: int = 1
    status: Status = "new"
    title_zh: str
    title_en: str
    first_seen: AwareDatetime
    last_seen: AwareDatetime
    discovered: AwareDatetime
    """When we or the operator found out (发现或获知): what the clocks start from."""
    level: Level
    """Highest level of its alerts."""
    categories: tuple[Category, ...] = ()
    """Most specific first; the first is the main one."""
    grade_gbt20986: Grade | None = None
    grade_cac: Grade | None = None
    grade_reasons: tuple[GradeReason, ...] = ()
    open_questions_zh: tuple[str, ...] = ()
    open_questions_en: tuple[str, ...] = ()
    """Facts that would settle a grade and are not known."""
    attackers: tuple[str, ...] = ()
    """Addresses, most active first."""
    targets: tuple[str, ...] = ()
    """Addresses, and names of hosts of which no address is known, most concerned first."""
    users: tuple[str, ...] = ()
    """Accounts of persons that alerts of level medium and above name, ``domain\\name`` or ``name``, lower case."""
    segments: tuple[str, ...] = ()
    protocols: tuple[str, ...] = ()
    techniques: tuple[str, ...] = ()
    tactics: tuple[str, ...] = ()
    assets: tuple[Asset, ...] = ()
    alerts: tuple[AlertRef, ...] = ()
    alert_total: int = 0
    timeline: tuple[TimelineEntry, ...] = ()
    impact: Impact = Impact()
    clocks: tuple[Clock, ...] = ()
    playbooks: tuple[str, ...] = ()
    actions: tuple[Step, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    notes: tuple[HistoryEntry, ...] = ()
    assignee: str | None = None
    merged_into: str | None = None
    history: tuple[HistoryEntry, ...] = ()

    def changed(self, *, actor: str, change: str, time: datetime, **update: object) -> Incident:
        """A new version with ``update`` applied and one more line of history."""
        entry = HistoryEntry(time=time, actor=actor, change=change)
        data = {name: getattr(self, name) for name in type(self).model_fields}
        data.update(update, version=self.version + 1, history=(*self.history, entry))
        return Incident.model_validate(data)
