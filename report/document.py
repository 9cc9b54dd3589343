"""ReportDocument: all that any renderer sees, as plain data.

A document is complete in itself: saved as JSON it can be rendered again years later without the store, the
rules or the site file. It holds sentences, tables and the numbers behind charts, never markup; every renderer
escapes for its own format and draws the charts itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from event.errors import ReportError
from event.incident import Asset, Certainty, Level

if TYPE_CHECKING:
    import polars as pl

SCHEMA_VERSION = 1
"""Raised when an old document could no longer be read; the number is in every saved document."""

Language = Literal["zh", "en"]
RiskBand = Literal["very_low", "low", "medium", "high", "very_high"]
"""很低, 低, 中等, 高, 很高 (GB/T 20984-2022)."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a report rests on, beside the incidents.

    Attributes:
        inputs: Account of every input, as ``sensor.base.Account.as_json`` gives it.
        event_counts: Events by dataset.
        alerts: Events of dataset ``jianmen.alert``.
        flows: Aggregated conversations: ``source.ip``, ``destination.ip``, ``network.protocol``, ``bytes``,
            ``packets``, ``flows``.
        assets: Assets seen, by address.
        since: First instant of the data, UTC.
        until: Last instant of the data, UTC.
        rule_problems: Rules that could not be loaded or evaluated, one sentence each.
        tool_version: Version of this program.
        rules: Rules that were enabled: ``id``, ``title`` and, where known, ``title_zh``, ``level``, ``kind``
            (``rule`` or ``correlation``).
    """

    inputs: list[dict[str, Any]]
    event_counts: dict[str, int]
    alerts: pl.DataFrame
    flows: pl.DataFrame
    assets: dict[str, Asset]
    since: datetime | None
    until: datetime | None
    rule_problems: list[str]
    tool_version: str
    rules: list[dict[str, Any]] = field(default_factory=list)


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Statement(_Model):
    """One thing that is said, how sure it is and what it rests on."""

    text: str
    certainty: Certainty | None = None
    """None where nothing is claimed: instructions, explanations of method."""
    evidence: tuple[str, ...] = ()
    """References into ``ReportDocument.evidence``, such as ``E3``."""


class Paragraph(_Model):
    """Running text, one or more statements."""

    kind: Literal["paragraph"] = "paragraph"
    statements: tuple[Statement, ...]


class Bullets(_Model):
    """A list, numbered or not."""

    kind: Literal["list"] = "list"
    ordered: bool = False
    items: tuple[Statement, ...]


class Fact(_Model):
    """A label and its value."""

    label: str
    value: Statement
    missing: bool = False
    """Nobody has said it yet; ``value`` then says 待补充 or 待补报."""


class Facts(_Model):
    """Labels and values."""

    kind: Literal["facts"] = "facts"
    title: str = ""
    rows: tuple[Fact, ...]


class Column(_Model):
    """A column of a table."""

    label: str
    width: int = Field(1, ge=1, le=100)
    """Share of the line, relative to the other columns."""
    align: Literal["left", "right", "center"] = "left"
    code: bool = False
    """Addresses and identifiers: set in a fixed-width face, may break anywhere."""


class Row(_Model):
    """A row of a table."""

    cells: tuple[str, ...]
    certainty: Certainty | None = None
    evidence: tuple[str, ...] = ()
    band: RiskBand | None = None
    """Marks the row; renderers may tint it."""


class Table(_Model):
    """A table; ``left_off`` rows did not fit and are counted, not hidden."""

    kind: Literal["table"] = "table"
    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    note: str = ""
    left_off: int = Field(0, ge=0)
    certain: bool = False
    """Rows carry certainty and evidence that renderers show in columns of their own."""
    anchors: bool = False
    """The first cell of a row is a reference that ``evidence`` fields point to."""


class Callout(_Model):
    """A framed remark."""

    kind: Literal["callout"] = "callout"
    tone: Literal["neutral", "good", "warning", "critical"] = "neutral"
    title: str
    statements: tuple[Statement, ...]


class TimeSeries(_Model):
    """Counts of one level over the buckets of a ``TimeChart``."""

    level: Level
    label: str
    values: tuple[int, ...]


class TimeChart(_Model):
    """Stacked bars over time."""

    kind: Literal["time_chart"] = "time_chart"
    title: str
    x_label: str
    y_label: str
    unit: str
    starts: tuple[AwareDatetime, ...]
    bucket_seconds: int = Field(ge=1)
    series: tuple[TimeSeries, ...]
    note: str = ""


class RiskBar(_Model):
    """Risk of one asset."""

    label: str
    detail: str = ""
    value: float = Field(ge=0)
    band: RiskBand


class RiskChart(_Model):
    """Assets by risk."""

    kind: Literal["risk_chart"] = "risk_chart"
    title: str
    x_label: str
    y_label: str
    unit: str
    maximum: float = Field(gt=0)
    bars: tuple[RiskBar, ...]
    legend: tuple[tuple[RiskBand, str], ...]
    note: str = ""


class MatrixChart(_Model):
    """Who talks to whom: a heat map, darker is more."""

    kind: Literal["matrix_chart"] = "matrix_chart"
    title: str
    x_label: str
    y_label: str
    unit: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    values: tuple[tuple[int | None, ...], ...]
    """Row by row; None where nothing was seen."""
    marked: tuple[tuple[int, int], ...] = ()
    """Cells (row, column) with alerts."""
    marked_label: str = ""
    none_label: str = ""
    note: str = ""


class TimelineEvent(_Model):
    """One event of a timeline."""

    time: AwareDatetime
    lane: str
    text: str
    certainty: Certainty
    evidence: tuple[str, ...] = ()


class TimelineChart(_Model):
    """Attack timeline: one lane a phase."""

    kind: Literal["timeline_chart"] = "timeline_chart"
    title: str
    x_label: str
    y_label: str
    unit: str = ""
    lanes: tuple[str, ...]
    events: tuple[TimelineEvent, ...]
    note: str = ""


class SignOff(_Model):
    """Places that people fill in by hand (签发人、盖章): always empty here."""

    kind: Literal["sign_off"] = "sign_off"
    labels: tuple[str, ...]
    note: str = ""


Block = Annotated[
    Paragraph | Bullets | Facts | Table | Callout | SignOff | TimeChart | RiskChart | MatrixChart | TimelineChart,
    Field(discriminator="kind"),
]


class Section(_Model):
    """A chapter or a part of one."""

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    number: str
    """As printed: ``一、``, ``（一）``, ``1``, ``1.2``."""
    title: str
    blocks: tuple[Block, ...] = ()
    sections: tuple[Section, ...] = ()
    new_page: bool = False


class EvidenceRef(_Model):
    """An entry of the evidence list."""

    ref: str
    kind: Literal["alert", "input", "file"]
    id: str
    """Identity in the store (``event.id`` of the alert), or the name of the file."""
    time: AwareDatetime | None = None
    text: str
    events: tuple[str, ...] = ()
    """Ids of the events that matched, the first ones."""
    event_total: int = Field(0, ge=0)
    sha256: str | None = None


class Metadata(_Model):
    """The head of a report."""

    number: str
    """Report number as this program computes it."""
    profile: str
    kind: str
    """Kind of report as printed: 风险报告, 首报."""
    version: int = Field(ge=1)
    """Version of the incident that a first report is about; 1 for a risk report."""
    language: Language
    title: str
    subtitle: str = ""
    operator: str | None
    classification: str
    """非涉密 only if people said so for every incident; else 待确认."""
    urgency: str = ""
    created: AwareDatetime
    data_since: AwareDatetime | None
    data_until: AwareDatetime | None
    time_zone: str = "Asia/Shanghai"
    utc_offset: str = "+08:00"
    tool: str = "jianmen"
    tool_version: str
    rule_summary: str
    incidents: tuple[str, ...] = ()
    """Ids with versions: ``INC-...@2``."""
    heading: tuple[Fact, ...] = ()
    """What the head of the first page shows, in order."""


class ReportDocument(_Model):
    """A report, whole."""

    schema_version: Literal[1] = 1
    metadata: Metadata
    sections: tuple[Section, ...]
    evidence: tuple[EvidenceRef, ...] = ()
    evidence_left_off: int = Field(0, ge=0)

    def to_json(self) -> bytes:
        """The document as UTF-8 JSON, two spaces deep, keys in order of declaration, a line feed at the end."""
        return self.model_dump_json(indent=2).encode() + b"\n"


def load(data: bytes) -> ReportDocument:
    """Read a saved document.

    Raises:
        ReportError: It is not JSON, not a report document, or of a schema version that this program does not know.
    """
    try:
        return ReportDocument.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or None
        raise ReportError(
            f"not a report document: {first['msg']}",
            where=where,
            hint=f"expected: JSON that `report.render(document, 'json')` wrote, schema_version {SCHEMA_VERSION}",
        ) from None


def statement(text: str, certainty: Certainty | None = None, evidence: Sequence[str] = ()) -> Statement:
    """Short for a ``Statement``."""
    return Statement(text=text, certainty=certainty, evidence=tuple(evidence))


def paragraph(*statements: Statement | str) -> Paragraph:
    """A paragraph of statements; a string becomes one that claims nothing."""
    return Paragraph(statements=tuple(statement(s) if isinstance(s, str) else s for s in statements))


def widths(columns: Sequence[Column], extra: Mapping[str, int] | None = None) -> list[float]:
    """Shares of a line that the columns take (percent, sum 100), ``extra`` columns appended."""
    parts = [c.width for c in columns] + list((extra or {}).values())
    total = sum(parts)
    return [round(100 * part / total, 2) for part in parts]
