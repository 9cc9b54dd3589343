"""Native DOCX charts (DrawingML, ECMA-376 part 1, 21.2): bars that Word and WPS draw and let people edit.

Values stand in the chart itself as literals, so no workbook is embedded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from docx.opc.packuri import PackURI
from docx.opc.part import Part
from docx.oxml import parse_xml
from docx.shared import Mm

from report.charts import BAND_COLOURS, LEVEL_COLOURS
from report.document import RiskChart, TimeChart
from report.escape import html, line

_TYPE = "application/vnd.openxmlformats-officedocument.drawingml.chart+xml"
_RELATION = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/chart"
_C = "http://schemas.openxmlformats.org/drawingml/2006/chart"
_A = "http://schemas.openxmlformats.org/drawingml/2006/main"
_R = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_WP = "http://schemas.openxmlformats.org/drawingml/2006/wordprocessingDrawing"
_WIDTH = Mm(160)
_DARK = frozenset({BAND_COLOURS["very_high"], BAND_COLOURS["high"]})

Series = tuple[str, str, Sequence[float | None]]
"""Name, colour (``#rrggbb``), values."""


def add_time_chart(doc: Any, chart: TimeChart, labels: list[str], zh: bool) -> None:
    """Stacked columns, one series a level."""
    series: list[Series] = [
        (f"{s.label} {sum(s.values):,} {chart.unit}", LEVEL_COLOURS[s.level], list(s.values)) for s in chart.series
    ]
    xml = _bars("col", labels, series, chart.x_label, chart.y_label, zh)
    _insert(doc, xml, Mm(75), chart.title)


def add_risk_chart(doc: Any, chart: RiskChart, zh: bool) -> None:
    """Horizontal bars, one series a band, so that the legend names the bands; the gravest on top."""
    bars = list(reversed(chart.bars))  # a bar chart's first category is at the bottom
    labels = [f"{b.label} {b.detail}".strip() for b in bars]
    series: list[Series] = [
        (word, BAND_COLOURS[band], [b.value if b.band == band else None for b in bars]) for band, word in chart.legend
    ]
    xml = _bars("bar", labels, series, chart.y_label, chart.x_label, zh, top=chart.maximum)
    _insert(doc, xml, Mm(34 + 9 * len(bars)), chart.title)


def _face(size: int, zh: bool, tag: str = "a:defRPr") -> str:
    language, face = ("zh-CN", "黑体") if zh else ("en-GB", "Arial")
    fonts = f'<a:latin typeface="Arial"/><a:ea typeface="{face}"/>'
    return f'<{tag} lang="{language}" sz="{size}" b="0">{fonts}</{tag}>'


def _title(text: str, zh: bool) -> str:
    run = f"<a:r>{_face(900, zh, 'a:rPr')}<a:t>{html(line(text))}</a:t></a:r>"
    rich = f"<c:rich><a:bodyPr/><a:p><a:pPr>{_face(900, zh)}</a:pPr>{run}</a:p></c:rich>"
    return f'<c:title><c:tx>{rich}</c:tx><c:overlay val="0"/></c:title>'


def _small(zh: bool) -> str:
    return f"<c:txPr><a:bodyPr/><a:p><a:pPr>{_face(800, zh)}</a:pPr><a:endParaRPr/></a:p></c:txPr>"


def _axis(tag: str, own: int, other: int, place: str, title: str, zh: bool, *, scale: str = "", extra: str = "") -> str:
    """An axis; elements in the order of CT_CatAx and CT_ValAx."""
    value = tag == "c:valAx"
    grid = '<a:ln w="6350"><a:solidFill><a:srgbClr val="D8DEE4"/></a:solidFill></a:ln>'
    parts = (
        f'<c:axId val="{own}"/><c:scaling><c:orientation val="minMax"/>{scale}</c:scaling><c:delete val="0"/>',
        f'<c:axPos val="{place}"/>',
        f"<c:majorGridlines><c:spPr>{grid}</c:spPr></c:majorGridlines>" if value else "",
        _title(title, zh),
        f'<c:numFmt formatCode="{"#,##0" if value else "General"}" sourceLinked="0"/>',
        '<c:majorTickMark val="out"/><c:minorTickMark val="none"/><c:tickLblPos val="nextTo"/>',
        _small(zh),
        f'<c:crossAx val="{other}"/><c:crosses val="autoZero"/>{extra}',
    )
    return f"<{tag}>{''.join(parts)}</{tag}>"


def _series(n: int, one: Series, categories: str, zh: bool, *, values_shown: bool) -> str:
    name, colour, values = one
    points = "".join(f'<c:pt idx="{i}"><c:v>{v:g}</c:v></c:pt>' for i, v in enumerate(values) if v)
    fill = f'<a:solidFill><a:srgbClr val="{colour.lstrip("#").upper()}"/></a:solidFill>'
    edge = '<a:ln w="6350"><a:solidFill><a:srgbClr val="FFFFFF"/></a:solidFill></a:ln>'
    flags = (("LegendKey", 0), ("Val", 1), ("CatName", 0), ("SerName", 0), ("Percent", 0), ("BubbleSize", 0))
    shown = "".join(f'<c:show{flag} val="{on}"/>' for flag, on in flags)
    white = _small(zh).replace("<a:latin", '<a:solidFill><a:srgbClr val="FFFFFF"/></a:solidFill><a:latin', 1)
    paper = white if colour in _DARK else _small(zh)
    labels = f'<c:dLbls>{paper}<c:dLblPos val="inEnd"/>{shown}</c:dLbls>' if values_shown else ""
    numbers = f'<c:formatCode>General</c:formatCode><c:ptCount val="{len(values)}"/>{points}'
    return (
        f'<c:ser><c:idx val="{n}"/><c:order val="{n}"/><c:tx><c:v>{html(line(name))}</c:v></c:tx>'
        f'<c:spPr>{fill}{edge}</c:spPr><c:invertIfNegative val="0"/>{labels}{categories}'
        f"<c:val><c:numLit>{numbers}</c:numLit></c:val></c:ser>"
    )


def _bars(
    direction: str,
    labels: Sequence[str],
    series: Sequence[Series],
    category_title: str,
    value_title: str,
    zh: bool,
    *,
    top: float | None = None,
) -> str:
    points = "".join(f'<c:pt idx="{i}"><c:v>{html(line(t))}</c:v></c:pt>' for i, t in enumerate(labels))
    categories = f'<c:cat><c:strLit><c:ptCount val="{len(labels)}"/>{points}</c:strLit></c:cat>'
    body = "".join(_series(n, s, categories, zh, values_shown=top is not None) for n, s in enumerate(series))
    scale = f'<c:max val="{top:g}"/><c:min val="0"/>' if top else '<c:min val="0"/>'
    extra = '<c:crossBetween val="between"/>' + ('<c:majorUnit val="5"/>' if top else "")
    category_place, value_place = ("b", "l") if direction == "col" else ("l", "b")
    bars = (
        f'<c:barChart><c:barDir val="{direction}"/><c:grouping val="stacked"/><c:varyColors val="0"/>{body}'
        '<c:gapWidth val="45"/><c:overlap val="100"/><c:axId val="1001"/><c:axId val="1002"/></c:barChart>'
    )
    axes = _axis("c:catAx", 1001, 1002, category_place, category_title, zh) + _axis(
        "c:valAx", 1002, 1001, value_place, value_title, zh, scale=scale, extra=extra
    )
    legend = f'<c:legend><c:legendPos val="t"/><c:overlay val="0"/>{_small(zh)}</c:legend>'
    return (
        f'<c:chartSpace xmlns:c="{_C}" xmlns:a="{_A}" xmlns:r="{_R}"><c:roundedCorners val="0"/><c:chart>'
        f'<c:autoTitleDeleted val="1"/><c:plotArea><c:layout/>{bars}{axes}</c:plotArea>'
        f'{legend}<c:plotVisOnly val="1"/><c:dispBlanksAs val="gap"/></c:chart></c:chartSpace>'
    )


def _insert(doc: Any, xml: str, height: int, title: str) -> None:
    package = doc.part.package
    n = 1 + sum(1 for p in package.iter_parts() if str(p.partname).startswith("/word/charts/"))
    head = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
    part = Part(PackURI(f"/word/charts/chart{n}.xml"), _TYPE, (head + xml).encode(), package)
    relation = doc.part.relate_to(part, _RELATION)
    paragraph = doc.add_paragraph()
    paragraph.paragraph_format.keep_with_next = True
    drawing = parse_xml(
        '<w:drawing xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
        f' xmlns:wp="{_WP}" xmlns:a="{_A}" xmlns:r="{_R}" xmlns:c="{_C}">'
        f'<wp:inline distT="0" distB="0" distL="0" distR="0"><wp:extent cx="{int(_WIDTH)}" cy="{int(height)}"/>'
        f'<wp:docPr id="{100 + n}" name="chart{n}" descr="{html(line(title))}"/><wp:cNvGraphicFramePr/>'
        f'<a:graphic><a:graphicData uri="{_C}"><c:chart r:id="{relation}"/></a:graphicData></a:graphic>'
        "</wp:inline></w:drawing>"
    )
    paragraph.add_run()._r.append(drawing)
