"""DOCX for Word and WPS: real Chinese faces, fixed column widths, page numbers, native charts that stay editable.

Layout leans on GB/T 9704-2012 (小标宋 title, 黑体 and 楷体 headings, 仿宋 text). A face that a machine lacks is
replaced by the alternative that the font table names. The bytes are the same for the same document.
"""

from __future__ import annotations

import zipfile
from io import BytesIO
from typing import Any

from docx import Document
from docx.enum.section import WD_ORIENT
from docx.enum.table import WD_TABLE_ALIGNMENT
from docx.enum.text import WD_ALIGN_PARAGRAPH, WD_BREAK
from docx.oxml import OxmlElement, parse_xml
from docx.oxml.ns import nsdecls, qn
from docx.shared import Mm, Pt, RGBColor

from event.incident import Certainty
from report.charts import HEAT, clock_labels, heat_step
from report.document import (
    Block,
    Bullets,
    Callout,
    Fact,
    Facts,
    MatrixChart,
    Paragraph,
    ReportDocument,
    RiskChart,
    SignOff,
    Statement,
    Table,
    TimeChart,
    TimelineChart,
)
from report.escape import line, xml
from report.formats.docx_chart import add_risk_chart, add_time_chart
from report.layout import Chart, Layout, heading, sections

TEXT, HEAD, KAI, TITLE, LATIN, CODE = "仿宋", "黑体", "楷体", "方正小标宋简体", "Times New Roman", "Consolas"
_ALTERNATIVES = {
    TEXT: "FangSong",
    HEAD: "SimHei",
    KAI: "KaiTi",
    TITLE: "FZXiaoBiaoSong-B05S",
}
_WIDTH_MM = 164.0
_TWIPS = 56.6929  # per millimetre
_RED = RGBColor(0xB3, 0x16, 0x1B)
_TIER_COLOURS: dict[Certainty, RGBColor] = {
    "confirmed": RGBColor(0x0B, 0x4A, 0x85),
    "inferred": RGBColor(0x9A, 0x3C, 0x00),
    "unknown": RGBColor(0x57, 0x60, 0x6A),
    "not_observed": RGBColor(0x57, 0x60, 0x6A),
}
_AFTER_WORD_WRAP = (  # order of CT_PPr, ECMA-376 part 1, 17.3.1.26
    "w:overflowPunct", "w:topLinePunct", "w:autoSpaceDE", "w:autoSpaceDN", "w:bidi", "w:adjustRightInd",
    "w:snapToGrid", "w:spacing", "w:ind", "w:contextualSpacing", "w:mirrorIndents", "w:suppressOverlap", "w:jc",
    "w:textDirection", "w:textAlignment", "w:textboxTightWrap", "w:outlineLvl", "w:divId", "w:cnfStyle", "w:rPr",
    "w:sectPr", "w:pPrChange",
)  # fmt: skip
_TONES = {"neutral": "F8F9FA", "good": "F2F9F4", "warning": "FFFAF0", "critical": "FDF3F2"}
_EDGES = {"neutral": "6E7781", "good": "2F6F44", "warning": "B7791F", "critical": "B3161B"}
_ALIGN = {
    "left": WD_ALIGN_PARAGRAPH.LEFT,
    "right": WD_ALIGN_PARAGRAPH.RIGHT,
    "center": WD_ALIGN_PARAGRAPH.CENTER,
}


def render(document: ReportDocument) -> bytes:
    """Render as a DOCX file."""
    return _Writer(Layout(document)).write()


class _Writer:
    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.w = layout.w
        self.doc: Any = Document()
        self.marks = 0
        self.face = TEXT if self.w.zh else LATIN
        self.bold_face = HEAD if self.w.zh else "Arial"

    # -- the whole ----------------------------------------------------------------------------------------

    def write(self) -> bytes:
        self._page()
        self._styles()
        self._fonts()
        self._front()
        for depth, section in sections(self.layout.document):
            at = self.doc.add_heading(level=min(depth + 1, 3))
            at.paragraph_format.page_break_before = section.new_page
            self._mark(at, f"s-{section.id}", lambda p=at, s=section: self._run(p, heading(s, self.w.zh), face=None))
            for block in section.blocks:
                self._block(block)
        m = self.layout.document.metadata
        footer = self.w("format.footer", tool=m.tool, version=m.tool_version, rules=m.rule_summary)
        self._paragraph(footer, size=9, style="Note")
        return self._bytes()

    def _bytes(self) -> bytes:
        m = self.layout.document.metadata
        core = self.doc.core_properties
        core.title, core.author, core.last_modified_by, core.comments = xml(m.title), m.tool, m.tool, ""
        core.created = core.modified = m.created.replace(tzinfo=None)
        core.language = "zh-CN" if self.w.zh else "en-GB"
        raw = BytesIO()
        self.doc.save(raw)
        # python-docx stamps each zip entry with the clock; a report must come out the same twice.
        out = BytesIO()
        with zipfile.ZipFile(raw) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
            for name in old.namelist():
                new.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), old.read(name), zipfile.ZIP_DEFLATED)
        return out.getvalue()

    def _page(self) -> None:
        page = self.doc.sections[0]
        page.orientation = WD_ORIENT.PORTRAIT
        page.page_width, page.page_height = Mm(210), Mm(297)
        page.left_margin, page.right_margin = Mm(24), Mm(22)
        page.top_margin, page.bottom_margin = Mm(30), Mm(27)
        page.header_distance, page.footer_distance = Mm(16), Mm(15)
        m = self.layout.document.metadata
        head = page.header.paragraphs[0]
        head.alignment = WD_ALIGN_PARAGRAPH.RIGHT
        self._run(head, f"{m.title}　{m.number}" if self.w.zh else f"{m.title}  {m.number}", size=9)
        foot = page.footer.paragraphs[0]
        foot.alignment = WD_ALIGN_PARAGRAPH.CENTER
        before, _, rest = self.w("format.page", page="\x00", pages="\x01").partition("\x00")
        between, _, after = rest.partition("\x01")
        for text, field in ((before, "PAGE"), (between, "NUMPAGES"), (after, None)):
            self._run(foot, text, size=10)
            if field:
                self._field(foot, field)

    def _field(self, paragraph: Any, name: str) -> None:
        run = paragraph.add_run()
        run.font.size = Pt(10)
        for kind, text in (("begin", None), (None, f" {name} "), ("separate", None), ("text", "1"), ("end", None)):
            if kind in ("begin", "separate", "end"):
                mark = OxmlElement("w:fldChar")
                mark.set(qn("w:fldCharType"), kind)
            else:
                mark = OxmlElement("w:t" if kind == "text" else "w:instrText")
                mark.set(qn("xml:space"), "preserve")
                mark.text = text
            run._r.append(mark)

    def _styles(self) -> None:
        styles = self.doc.styles
        defaults = styles.element.find(qn("w:docDefaults"))
        for tag in defaults.iter(qn("w:lang")):  # which regional glyphs a substitute face shows
            tag.set(qn("w:val"), "en-US")
            tag.set(qn("w:eastAsia"), "zh-CN")
        normal = styles["Normal"]
        self._font(normal, self.face, 12 if self.w.zh else 11)
        normal.paragraph_format.space_after = Pt(4)
        normal.paragraph_format.line_spacing = 1.4 if self.w.zh else 1.25
        faces = ((HEAD, 16), (KAI, 15), (TEXT, 13)) if self.w.zh else (("Arial", 15), ("Arial", 12.5), ("Arial", 11))
        for level, (face, size) in enumerate(faces, 1):
            style = styles[f"Heading {level}"]
            self._font(style, face, size, bold=not self.w.zh or level > 1)
            style.font.color.rgb = RGBColor(0, 0, 0)
            style.font.italic = False
            style.paragraph_format.space_before, style.paragraph_format.space_after = Pt(14 if level == 1 else 9), Pt(5)
            style.paragraph_format.keep_with_next = True
        caption = styles["Caption"]
        self._font(caption, self.bold_face, 10.5, bold=True)
        caption.font.color.rgb = RGBColor(0, 0, 0)
        caption.paragraph_format.alignment = WD_ALIGN_PARAGRAPH.CENTER
        caption.paragraph_format.space_before, caption.paragraph_format.space_after = Pt(6), Pt(3)
        note = styles.add_style("Note", 1)
        self._font(note, self.face, 9)
        note.paragraph_format.space_after, note.paragraph_format.line_spacing = Pt(6), 1.15
        for name in ("List Bullet", "List Number"):
            self._font(styles[name], self.face, 12 if self.w.zh else 11)

    @staticmethod
    def _font(style: Any, face: str, size: float, *, bold: bool = False) -> None:
        style.font.name = LATIN if face in _ALTERNATIVES else face
        style.font.size = Pt(size)
        style.font.bold = bold
        fonts = style.element.get_or_add_rPr().get_or_add_rFonts()
        for attribute in ("w:asciiTheme", "w:hAnsiTheme", "w:eastAsiaTheme", "w:cstheme"):
            fonts.attrib.pop(qn(attribute), None)
        fonts.set(qn("w:eastAsia"), face if face in _ALTERNATIVES else TEXT)

    def _fonts(self) -> None:
        """Name alternatives for faces that a machine may lack."""
        entries = "".join(
            f'<w:font w:name="{name}"><w:altName w:val="{other}"/><w:charset w:val="86"/><w:family w:val="auto"/>'
            f'<w:pitch w:val="variable"/></w:font>'
            for name, other in _ALTERNATIVES.items()
        )
        for part in self.doc.part.package.iter_parts():
            if str(part.partname) == "/word/fontTable.xml":
                blob = part.blob.decode()
                part._blob = blob.replace("</w:fonts>", entries + "</w:fonts>").encode()

    # -- front --------------------------------------------------------------------------------------------

    def _front(self) -> None:
        m = self.layout.document.metadata
        title = self.doc.add_paragraph()
        title.alignment = WD_ALIGN_PARAGRAPH.CENTER
        title.paragraph_format.space_before, title.paragraph_format.space_after = Pt(20), Pt(6)
        self._run(title, m.title, size=22, face=TITLE if self.w.zh else LATIN, bold=not self.w.zh, colour=_RED)
        kind = self.doc.add_paragraph()
        kind.alignment = WD_ALIGN_PARAGRAPH.CENTER
        self._run(kind, f"（{m.kind}）" if self.w.zh else f"({m.kind})", size=15, face=KAI if self.w.zh else LATIN)
        if m.subtitle:
            sub = self.doc.add_paragraph()
            sub.alignment = WD_ALIGN_PARAGRAPH.CENTER
            sub.paragraph_format.space_after = Pt(10)
            self._run(sub, m.subtitle, size=14)
        self._facts(m.heading)
        if m.profile == "first":
            return
        toc = self.doc.add_paragraph()
        toc.alignment = WD_ALIGN_PARAGRAPH.CENTER
        toc.paragraph_format.space_before = Pt(14)
        self._run(toc, self.w("format.toc"), size=15, face=self.bold_face, bold=True)
        for depth, section in sections(self.layout.document):
            if depth > 1 or (depth == 1 and len(self.layout.document.sections) > 40):
                continue
            row = self.doc.add_paragraph()
            row.paragraph_format.left_indent = Mm(8 * depth)
            row.paragraph_format.space_after = Pt(0)
            row.paragraph_format.line_spacing = 1.0
            self._link(row, f"s-{section.id}", heading(section, self.w.zh), size=10.5)
        row.add_run().add_break(WD_BREAK.PAGE)

    # -- pieces -------------------------------------------------------------------------------------------

    def _run(
        self,
        paragraph: Any,
        text: str,
        *,
        size: float | None = None,
        face: str | None = "",
        bold: bool = False,
        colour: RGBColor | None = None,
    ) -> Any:
        run = paragraph.add_run(xml(text))
        if size:
            run.font.size = Pt(size)
        if bold:
            run.font.bold = True
        if colour is not None:
            run.font.color.rgb = colour
        if face:
            run.font.name = LATIN if face in _ALTERNATIVES else face
            run._r.get_or_add_rPr().get_or_add_rFonts().set(qn("w:eastAsia"), face if face in _ALTERNATIVES else TEXT)
        return run

    def _paragraph(self, text: str, *, size: float | None = None, style: str | None = None) -> Any:
        paragraph = self.doc.add_paragraph(style=style)
        self._run(paragraph, text, size=size)
        return paragraph

    def _mark(self, paragraph: Any, name: str, inside: Any) -> None:
        """Set a bookmark around what ``inside`` adds."""
        self.marks += 1
        for tag in ("w:bookmarkStart", "w:bookmarkEnd"):
            mark = OxmlElement(tag)
            mark.set(qn("w:id"), str(self.marks))
            if tag == "w:bookmarkStart":
                mark.set(qn("w:name"), name[:40].replace("-", "_"))
            paragraph._p.append(mark)
            if tag == "w:bookmarkStart":
                inside()

    def _link(self, paragraph: Any, name: str, text: str, *, size: float) -> None:
        link = OxmlElement("w:hyperlink")
        link.set(qn("w:anchor"), name[:40].replace("-", "_"))
        run = self._run(paragraph, text, size=size)
        link.append(run._r)
        paragraph._p.append(link)

    def _said(self, paragraph: Any, said: Statement, *, size: float | None = None) -> None:
        self._run(paragraph, said.text, size=size)
        small = (size or 12) - 2
        if said.certainty:
            colour = _TIER_COLOURS[said.certainty]
            word = self.w.certainty(said.certainty)
            self._run(paragraph, f"【{word}】" if self.w.zh else f" [{word}]", size=small, colour=colour)
        for n, ref in enumerate(said.evidence):
            self._run(paragraph, " " if n or not self.w.zh else "", size=small)
            if ref in self.layout.refs:
                self._link(paragraph, f"e-{ref}", ref, size=small)
            else:
                self._run(paragraph, ref, size=small)

    def _block(self, block: Block) -> None:
        if isinstance(block, Paragraph):
            paragraph = self.doc.add_paragraph()
            if self.w.zh:
                paragraph.paragraph_format.first_line_indent = Pt(24)
            for n, said in enumerate(block.statements):
                if n and not self.w.zh:
                    self._run(paragraph, " ")
                self._said(paragraph, said)
        elif isinstance(block, Bullets):
            for n, item in enumerate(block.items, 1):
                paragraph = self.doc.add_paragraph(style=None if block.ordered else "List Bullet")
                if block.ordered:  # numbers as text: Word's own would run on from the list before
                    paragraph.paragraph_format.left_indent = Mm(8)
                    paragraph.paragraph_format.first_line_indent = Mm(-6)
                    self._run(paragraph, f"{n}．" if self.w.zh else f"{n}. ")
                self._said(paragraph, item)
        elif isinstance(block, Facts):
            if block.title:
                head = self.doc.add_paragraph()
                head.paragraph_format.keep_with_next = True
                self._run(head, block.title, face=self.bold_face, bold=True, size=11.5)
            self._facts(block.rows)
        elif isinstance(block, Table):
            self._table(block)
        elif isinstance(block, Callout):
            self._callout(block)
        elif isinstance(block, SignOff):
            self._sign_off(block)
        else:
            self._chart(block)

    # -- tables -------------------------------------------------------------------------------------------

    def _grid(self, rows: int, shares: list[float], *, borders: bool = True) -> Any:
        """A table with fixed column widths that fill the line, and no row that breaks over pages."""
        table = self.doc.add_table(rows=rows, cols=len(shares), style="Table Grid" if borders else None)
        table.alignment = WD_TABLE_ALIGNMENT.CENTER
        table.autofit = False
        size = [round(_WIDTH_MM * share / 100 * _TWIPS) for share in shares]
        whole = OxmlElement("w:tblW")
        whole.set(qn("w:w"), str(sum(size)))
        whole.set(qn("w:type"), "dxa")
        properties = table._tbl.tblPr
        for old in properties.findall(qn("w:tblW")):
            properties.remove(old)
        properties.append(whole)
        for column, width in zip(table._tbl.tblGrid.findall(qn("w:gridCol")), size, strict=True):
            column.set(qn("w:w"), str(width))
        for row in table._tbl.tr_lst:
            keep = OxmlElement("w:cantSplit")
            row.get_or_add_trPr().append(keep)
            for cell, width in zip(row.tc_lst, size, strict=True):
                tag = cell.get_or_add_tcPr().get_or_add_tcW()
                tag.set(qn("w:w"), str(width))
                tag.set(qn("w:type"), "dxa")
        return table

    @staticmethod
    def _cells(table: Any) -> list[list[Any]]:
        """All cells, row by row; ``table.cell`` walks the whole table each time."""
        from docx.table import _Cell

        return [[_Cell(tc, table) for tc in row.tc_lst] for row in table._tbl.tr_lst]

    @staticmethod
    def _shade(cell: Any, fill: str) -> None:
        cell._tc.get_or_add_tcPr().append(
            parse_xml(f'<w:shd {nsdecls("w")} w:val="clear" w:color="auto" w:fill="{fill}"/>')
        )

    @staticmethod
    def _tight(paragraph: Any) -> Any:
        """Set a paragraph for a cell; long identifiers may break anywhere (``wordWrap`` off)."""
        paragraph.paragraph_format.space_before = paragraph.paragraph_format.space_after = Pt(1.5)
        paragraph.paragraph_format.line_spacing = 1.1
        properties = paragraph._p.get_or_add_pPr()
        wrap = parse_xml(f'<w:wordWrap {nsdecls("w")} w:val="0"/>')
        properties.insert_element_before(wrap, *_AFTER_WORD_WRAP)
        return paragraph

    def _head_row(self, table: Any, cells: list[Any], labels: list[str], size: float = 9) -> None:
        repeat = OxmlElement("w:tblHeader")
        table._tbl.tr_lst[0].get_or_add_trPr().append(repeat)
        for cell, label in zip(cells, labels, strict=True):
            self._shade(cell, "E8EDF2")
            paragraph = self._tight(cell.paragraphs[0])
            paragraph.alignment = WD_ALIGN_PARAGRAPH.CENTER
            paragraph.paragraph_format.keep_with_next = True
            self._run(paragraph, label, size=size, face=self.bold_face, bold=True)

    def _caption(self, block: Table | Chart, *, above: bool) -> None:
        paragraph = self.doc.add_paragraph(style="Caption")
        paragraph.paragraph_format.keep_with_next = above
        self._run(paragraph, line(self.layout.caption(block)))

    def _notes(self, block: Table | Chart) -> None:
        text = self.layout.notes(block)
        after = self.doc.add_paragraph(style="Note")
        if text:
            self._run(after, text)

    def _table(self, block: Table) -> None:
        columns = self.layout.columns(block)
        self._caption(block, above=True)
        table = self._grid(len(block.rows) + 1, self.layout.widths(block))
        cells = self._cells(table)
        self._head_row(table, cells[0], [c.label for c in columns])
        cites = self.layout.has_evidence(block)
        for row, line_cells in zip(block.rows, cells[1:], strict=True):
            texts = self.layout.cells(block, row)
            for n, (column, cell) in enumerate(zip(columns, line_cells, strict=True)):
                paragraph = self._tight(cell.paragraphs[0])
                paragraph.alignment = _ALIGN[column.align]
                if cites and n == len(columns) - 1:
                    for k, ref in enumerate(row.evidence):
                        self._run(paragraph, " " if k else "", size=8)
                        self._link(paragraph, f"e-{ref}", ref, size=8)
                    continue
                tier = row.certainty if block.certain and n == len(block.columns) else None
                colour = _TIER_COLOURS[tier] if tier else None
                face, size = (CODE, 7.5) if column.code else ("", 9.0)
                if block.anchors and n == 0:
                    self._mark(paragraph, f"e-{texts[0]}", lambda p=paragraph, t=texts[0]: self._run(p, t, size=9))
                    continue
                self._run(paragraph, texts[n], size=size, face=face, colour=colour)
        self._notes(block)

    def _facts(self, rows: tuple[Fact, ...]) -> None:
        table = self._grid(len(rows), [26, 74])
        for fact, (label, value) in zip(rows, self._cells(table), strict=True):
            self._shade(label, "F3F5F7")
            self._run(self._tight(label.paragraphs[0]), fact.label, size=10, face=self.bold_face)
            if fact.missing:
                self._shade(value, "FFF8EC")
            self._said(self._tight(value.paragraphs[0]), fact.value, size=10)
        self.doc.add_paragraph(style="Note")

    def _callout(self, block: Callout) -> None:
        table = self._grid(1, [100])
        cell = self._cells(table)[0][0]
        self._shade(cell, _TONES[block.tone])
        edge = _EDGES[block.tone]
        cell._tc.get_or_add_tcPr().append(
            parse_xml(
                f"<w:tcBorders {nsdecls('w')}>"
                f'<w:top w:val="single" w:sz="6" w:color="{edge}"/><w:left w:val="single" w:sz="36" w:color="{edge}"/>'
                f'<w:bottom w:val="single" w:sz="6" w:color="{edge}"/>'
                f'<w:right w:val="single" w:sz="6" w:color="{edge}"/>'
                "</w:tcBorders>"
            )
        )
        self._run(cell.paragraphs[0], block.title, face=self.bold_face, bold=True)
        for said in block.statements:
            self._said(cell.add_paragraph(), said, size=11)
        self.doc.add_paragraph(style="Note")

    def _sign_off(self, block: SignOff) -> None:
        shares = [100 / len(block.labels)] * len(block.labels)
        table = self._grid(1, shares, borders=False)
        for label, cell in zip(block.labels, self._cells(table)[0], strict=True):
            paragraph = cell.paragraphs[0]
            paragraph.paragraph_format.space_after = Pt(40)
            self._run(paragraph, f"{label}：" if self.w.zh else f"{label}:")
        self._paragraph(block.note, style="Note")

    # -- charts -------------------------------------------------------------------------------------------

    def _chart(self, chart: Chart) -> None:
        if isinstance(chart, TimeChart):
            add_time_chart(self.doc, chart, clock_labels(list(chart.starts), chart.bucket_seconds), self.w.zh)
            self._caption(chart, above=False)
        elif isinstance(chart, RiskChart):
            add_risk_chart(self.doc, chart, self.w.zh)
            self._caption(chart, above=False)
        elif isinstance(chart, MatrixChart):
            self._matrix(chart)
        else:
            self._timeline(chart)
        self._notes(chart)

    def _matrix(self, chart: MatrixChart) -> None:
        self._caption(chart, above=True)
        first = 22.0
        each = (100 - first) / max(1, len(chart.columns))
        table = self._grid(len(chart.rows) + 1, [first] + [each] * len(chart.columns))
        cells = self._cells(table)
        gap = "" if self.w.zh else " "
        corner = f"{chart.y_label} ╲ {chart.x_label}{gap}({chart.unit})"
        size = 9 if len(chart.columns) <= 6 else 7.5
        self._head_row(table, cells[0], [corner, *chart.columns], size)
        top = max((v for row in chart.values for v in row if v), default=0)
        marked = set(chart.marked)
        for i, (name, row) in enumerate(zip(chart.rows, cells[1:], strict=True)):
            self._run(self._tight(row[0].paragraphs[0]), name, size=size)
            for j, cell in enumerate(row[1:]):
                value = chart.values[i][j]
                paragraph = self._tight(cell.paragraphs[0])
                paragraph.alignment = WD_ALIGN_PARAGRAPH.CENTER
                if value is None:
                    self._run(paragraph, "·", size=size)
                    continue
                step = heat_step(value, top)
                self._shade(cell, HEAT[step].lstrip("#").upper())
                white = RGBColor(0xFF, 0xFF, 0xFF) if step >= 4 else None
                self._run(paragraph, f"{value:,}{' ▲' if (i, j) in marked else ''}", size=size, colour=white)
        legend = f"▲ {chart.marked_label}　　· {chart.none_label}"
        self._run(self.doc.add_paragraph(style="Note"), legend)

    def _timeline(self, chart: TimelineChart) -> None:
        """Lanes as columns: a shaded cell where an event stands; time runs down."""
        self._caption(chart, above=True)
        lanes = list(chart.lanes)[:8]
        first, number = 22.0, 8.0
        each = (100 - first - number) / max(1, len(lanes))
        table = self._grid(len(chart.events) + 1, [number, first] + [each] * len(lanes))
        cells = self._cells(table)
        self._head_row(table, cells[0], [self.w("format.number"), chart.x_label, *lanes])
        for n, (event, row) in enumerate(zip(chart.events, cells[1:], strict=True), 1):
            for cell, text in ((row[0], str(n)), (row[1], self.w.stamp(event.time))):
                paragraph = self._tight(cell.paragraphs[0])
                paragraph.alignment = WD_ALIGN_PARAGRAPH.CENTER
                self._run(paragraph, text, size=9)
            if event.lane in lanes:
                cell = row[2 + lanes.index(event.lane)]
                sure = event.certainty == "confirmed"
                self._shade(cell, "1D5790" if sure else "F6D9C4")
                paragraph = self._tight(cell.paragraphs[0])
                paragraph.alignment = WD_ALIGN_PARAGRAPH.CENTER
                colour = RGBColor(0xFF, 0xFF, 0xFF) if sure else _TIER_COLOURS["inferred"]
                self._run(paragraph, self.w.certainty(event.certainty), size=9, colour=colour)
