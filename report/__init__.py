"""From incidents to documents that people read and sign."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from event import registry
from event.incident import Incident
from event.site import Site

if TYPE_CHECKING:
    from report.document import Evidence, Language, ReportDocument

PROFILES = {
    "risk": "report.profiles.risk:build",
    "first": "report.profiles.first:build",
}
"""风险报告; 应急响应报告（首报）."""

FORMATS = {
    "json": "report.formats.json:render",
    "markdown": "report.formats.markdown:render",
    "html": "report.formats.html:render",
    "docx": "report.formats.docx:render",
}


def build(
    profile: str,
    incidents: Sequence[Incident],
    evidence: Evidence,
    site: Site,
    lang: Language,
    now: datetime,
) -> ReportDocument:
    """Build a report.

    Args:
        profile: A name of ``PROFILES`` or of an installed plug-in.
        incidents: What the report is about; may be empty.
        evidence: What was read and found.
        site: What the operator declared; ``Site()`` if nothing.
        lang: ``zh`` or ``en``.
        now: Aware time of making; the clock is never asked.

    Raises:
        ConfigError: The profile is unknown.
        ReportError: The profile refuses these incidents.
    """
    document: ReportDocument = registry.load("profiles", profile, PROFILES)(incidents, evidence, site, lang, now)
    return document


def render(document: ReportDocument, format: str) -> bytes:
    """Render a document.

    Args:
        document: A built or loaded document.
        format: A name of ``FORMATS`` or of an installed plug-in.

    Raises:
        ConfigError: The format is unknown.
    """
    data: bytes = registry.load("formats", format, FORMATS)(document)
    return data


def load(data: bytes) -> ReportDocument:
    """Read a document that was saved as JSON, to render it again.

    Raises:
        ReportError: It is not one, or of an unknown schema version.
    """
    from report import document

    return document.load(data)


__all__ = ["FORMATS", "PROFILES", "build", "load", "render"]
