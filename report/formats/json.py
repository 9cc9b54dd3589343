"""JSON: the document itself, to keep and to render again."""

from __future__ import annotations

from report.document import ReportDocument


def render(document: ReportDocument) -> bytes:
    """The document as UTF-8 JSON; ``report.load`` reads it back."""
    return document.to_json()
