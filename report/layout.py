"""What every renderer needs to know about a document: captions in order, columns that tables carry, all blocks."""

from __future__ import annotations

from collections.abc import Iterator

from report.document import (
    Block,
    Column,
    MatrixChart,
    ReportDocument,
    RiskChart,
    Row,
    Section,
    Statement,
    Table,
    TimeChart,
    TimelineChart,
    widths,
)
from report.wording import Wording

Chart = TimeChart | RiskChart | MatrixChart | TimelineChart
CHARTS = (TimeChart, RiskChart, MatrixChart, TimelineChart)
_CERTAINTY_WIDTH = {"zh": 11, "en": 15}
_EVIDENCE_WIDTH = 9


def sections(document: ReportDocument) -> Iterator[tuple[int, Section]]:
    """All sections with their depth, in reading order."""

    def walk(depth: int, some: tuple[Section, ...]) -> Iterator[tuple[int, Section]]:
        for section in some:
            yield depth, section
            yield from walk(depth + 1, section.sections)

    yield from walk(0, document.sections)


def blocks(document: ReportDocument) -> Iterator[Block]:
    """All blocks in reading order."""
    for _, section in sections(document):
        yield from section.blocks


def heading(section: Section, zh: bool) -> str:
    """Heading with its number: ``一、摘要``, ``2.1 Unit``."""
    gap = "" if zh or not section.number else " "
    return f"{section.number}{gap}{section.title}"


class Layout:
    """A document, numbered and worded for a renderer."""

    def __init__(self, document: ReportDocument) -> None:
        self.document = document
        self.w = Wording(document.metadata.language)
        self._captions: dict[int, str] = {}
        tables = figures = 0
        for block in blocks(document):
            if isinstance(block, Table):
                tables += 1
                self._captions[id(block)] = self.w("format.table", n=tables, title=block.title)
            elif isinstance(block, CHARTS):
                figures += 1
                self._captions[id(block)] = self.w("format.figure", n=figures, title=block.title)
        self.refs = frozenset(e.ref for e in document.evidence)

    def caption(self, block: Table | Chart) -> str:
        """Caption with its number: ``表3　资产清单``."""
        return self._captions[id(block)]

    def columns(self, table: Table) -> list[Column]:
        """Columns as printed: with certainty and evidence where rows carry them."""
        columns = list(table.columns)
        if table.certain:
            columns.append(
                Column(label=self.w("col.certainty"), width=_CERTAINTY_WIDTH[self.w.language], align="center")
            )
            if any(r.evidence for r in table.rows):
                columns.append(Column(label=self.w("col.evidence"), width=_EVIDENCE_WIDTH, align="center"))
        return columns

    def widths(self, table: Table) -> list[float]:
        """Shares of the line in percent."""
        return widths(self.columns(table))

    def cells(self, table: Table, row: Row) -> list[str]:
        """Cells as printed, certainty included, evidence left to the renderer (it may link)."""
        cells = list(row.cells)
        if table.certain:
            cells.append(self.w.certainty(row.certainty) if row.certainty else self.w("missing.dash"))
        return cells

    def has_evidence(self, table: Table) -> bool:
        """Whether a column of evidence follows."""
        return table.certain and any(r.evidence for r in table.rows)

    def compact(self, table: Table) -> bool:
        """Whether a table is short enough to be kept on one page."""
        return len(table.rows) <= 8 and sum(len(c) for row in table.rows for c in row.cells) <= 600

    def notes(self, block: Table | Chart) -> str:
        """Note under a table or chart, with what was left off."""
        left = self.w("format.left_off", n=block.left_off) if isinstance(block, Table) and block.left_off else ""
        return self.w.sentences(block.note, left)

    def tail(self, said: Statement) -> str:
        """What follows a statement in plain text: ``【推测；证据：E1、E2】``, `` (inferred; evidence: E1, E2)``."""
        parts = []
        if said.certainty:
            parts.append(self.w.certainty(said.certainty))
        if said.evidence:
            parts.append(self.w("format.source", refs=self.w.join(list(said.evidence))))
        if not parts:
            return ""
        return "【" + "；".join(parts) + "】" if self.w.zh else " (" + "; ".join(parts) + ")"
