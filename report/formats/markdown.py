"""Markdown (CommonMark with GFM tables): for tickets and wikis, and to read in a terminal. Charts become tables."""

from __future__ import annotations

from collections.abc import Sequence

from report.charts import clock_labels
from report.document import (
    Block,
    Bullets,
    Callout,
    Facts,
    MatrixChart,
    Paragraph,
    ReportDocument,
    RiskChart,
    SignOff,
    Statement,
    Table,
    TimeChart,
)
from report.escape import markdown
from report.layout import Chart, Layout, heading, sections

_BAR = 20


def render(document: ReportDocument) -> bytes:
    """Render as UTF-8 Markdown, a line feed at the end."""
    return _Page(Layout(document)).write().encode()


class _Page:
    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.w = layout.w
        self.out: list[str] = []

    def write(self) -> str:
        m = self.layout.document.metadata
        self.out += [f"# {markdown(m.title)}", "", f"**{markdown(m.kind)}**", ""]
        if m.subtitle:
            self.out += [markdown(m.subtitle), ""]
        self.grid(["", ""], [[f.label, f.value.text] for f in m.heading])
        for depth, section in sections(self.layout.document):
            self.out += [f"{'#' * (depth + 2)} {markdown(heading(section, self.w.zh))}", ""]
            for block in section.blocks:
                self.block(block)
        footer = self.w("format.footer", tool=m.tool, version=m.tool_version, rules=m.rule_summary)
        self.out += ["---", "", markdown(footer), ""]
        return "\n".join(self.out)

    def said(self, s: Statement) -> str:
        return markdown(s.text + self.layout.tail(s))

    def block(self, block: Block) -> None:
        if isinstance(block, Paragraph):
            gap = "" if self.w.zh else " "
            self.out += [gap.join(self.said(s) for s in block.statements), ""]
        elif isinstance(block, Bullets):
            for n, item in enumerate(block.items, 1):
                self.out.append(f"{f'{n}.' if block.ordered else '-'} {self.said(item)}")
            self.out.append("")
        elif isinstance(block, Facts):
            if block.title:
                self.out += [f"**{markdown(block.title)}**", ""]
            self.rows(["", ""], [[markdown(f.label), self.said(f.value)] for f in block.rows])
        elif isinstance(block, Table):
            self.table(block)
        elif isinstance(block, Callout):
            self.out += [f"> **{markdown(block.title)}**", ">"]
            for s in block.statements:
                self.out += [f"> {self.said(s)}", ">"]
            self.out[-1] = ""
        elif isinstance(block, SignOff):
            colon = "：" if self.w.zh else ": "
            for label in block.labels:
                self.out += [f"{markdown(label)}{colon}＿＿＿＿＿＿＿＿", ""]
            if block.note:
                self.out += [markdown(block.note), ""]
        else:
            self.chart(block)

    def table(self, table: Table) -> None:
        columns = self.layout.columns(table)
        rows = []
        for row in table.rows:
            cells = self.layout.cells(table, row)
            if self.layout.has_evidence(table):
                cells.append(" ".join(row.evidence))
            rows.append(cells)
        aligns = [c.align for c in columns]
        self.caption(table)
        self.grid([c.label for c in columns], rows, aligns)
        self.note(self.layout.notes(table))

    def caption(self, block: Table | Chart) -> None:
        self.out += [f"**{markdown(self.layout.caption(block))}**", ""]

    def note(self, text: str) -> None:
        if text:
            self.out += [markdown(text), ""]

    def chart(self, chart: Chart) -> None:
        w = self.w
        self.caption(chart)
        if isinstance(chart, TimeChart):
            head = [
                w("format.bucket"),
                *(f"{s.label}（{chart.unit}）" if w.zh else s.label for s in chart.series),
                w("format.sum"),
                "",
            ]
            labels = clock_labels(list(chart.starts), chart.bucket_seconds)
            sums = [sum(s.values[i] for s in chart.series) for i in range(len(labels))]
            top = max(sums, default=1) or 1
            body = [
                [labels[i], *(str(s.values[i]) for s in chart.series), str(sums[i]), _bar(sums[i] / top)]
                for i in range(len(labels))
                if sums[i]
            ]
            self.grid(head, body, ["left", *["right"] * (len(chart.series) + 1), "left"])
        elif isinstance(chart, RiskChart):
            bands = dict(chart.legend)
            risks = [
                [
                    w("brackets", a=b.label, b=b.detail) if b.detail else b.label,
                    f"{b.value:g}",
                    bands[b.band],
                    _bar(b.value / chart.maximum),
                ]
                for b in chart.bars
            ]
            self.grid([chart.y_label, chart.x_label, w("col.band"), ""], risks, ["left", "right", "left", "left"])
        elif isinstance(chart, MatrixChart):
            marked = set(chart.marked)
            cells = [
                [name, *(_cell(chart, i, j, marked) for j in range(len(chart.columns)))]
                for i, name in enumerate(chart.rows)
            ]
            corner = (
                f"{chart.y_label} ╲ {chart.x_label}（{chart.unit}）"
                if w.zh
                else f"{chart.y_label} ╲ {chart.x_label} ({chart.unit})"
            )
            self.grid([corner, *chart.columns], cells, ["left", *["right"] * len(chart.columns)])
            self.out += [markdown(f"⚠ {chart.marked_label}　· {chart.none_label}"), ""]
        else:
            events = [
                [str(n), w.stamp(e.time), e.lane, e.text, w.certainty(e.certainty)]
                for n, e in enumerate(chart.events, 1)
            ]
            head = [w("format.number"), chart.x_label, chart.y_label, w("timeline.what"), w("col.certainty")]
            self.grid(head, events)
        self.note(self.layout.notes(chart))

    def grid(self, head: Sequence[str], rows: Sequence[Sequence[str]], aligns: Sequence[str] | None = None) -> None:
        self.rows([markdown(h) for h in head], [[markdown(c) for c in row] for row in rows], aligns)

    def rows(self, head: Sequence[str], rows: Sequence[Sequence[str]], aligns: Sequence[str] | None = None) -> None:
        """A table of cells that are escaped already."""
        marks = {"left": ":--", "right": "--:", "center": ":-:"}
        rule = [marks[a] for a in aligns] if aligns else [":--"] * len(head)
        self.out.append("| " + " | ".join(head) + " |")
        self.out.append("| " + " | ".join(rule) + " |")
        self.out += ["| " + " | ".join(row) + " |" for row in rows]
        self.out.append("")


def _bar(share: float) -> str:
    return "█" * max(1, round(share * _BAR))


def _cell(chart: MatrixChart, i: int, j: int, marked: set[tuple[int, int]]) -> str:
    value = chart.values[i][j]
    text = "·" if value is None else f"{value:,}"
    return f"{text} ⚠" if (i, j) in marked else text
