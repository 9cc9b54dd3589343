"""Renderers: golden text, hostile text, and that pages stand on their own."""

from __future__ import annotations

import base64
import hashlib
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from io import BytesIO
from itertools import cycle
from typing import Any
from xml.etree import ElementTree

import docx
import polars as pl
import pytest

import report
from event.incident import Evidence as Kept
from event.incident import HistoryEntry
from event.site import KnownAsset, Operator, Segment
from report import charts
from report.document import ReportDocument, load
from report.wording import Wording

NASTY = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "';--</style><svg/onload=alert(2)>",
    "]]></title><!-- <a href='javascript:alert(3)'>x</a>",
    '=HYPERLINK("http://evil.example/","x")',
    "+cmd|' /C calc'!A0",
    "@SUM(1+1)",
    "-2+3",
    "\x1b[31m红\x1b[0m\x1b]8;;http://evil.example\x07",
    "\u202egnp.exe\u202c",
    "a\u200bb\u2066c\u2069\ufeff",
    "nul\x00bell\x07back\x08del\x7fc1\x9b",
    "line\nbreak\rreturn\ttab\u2028ls",
    "[click](javascript:alert(4)) ![x](http://evil.example/p.png) `code` **b** _i_ ~~s~~",
    "| pipe | # head\n# head\n- list\n1. one",
    "http://evil.example/ www.evil.example a@evil.example <http://evil.example>",
    "{{7*7}} {% include '/etc/passwd' %} ${7*7} {0} {metadata}",
    "Z͑ͫ̓ͪ̂ͫ̽͏̴̙̤̞͉͚̯̞̠͍A̴̵̜̰͔ͫ͗͢L̠ͨͧͩ͘G̴̻͈͍͔̹̑͗̎̅͛́Ǫ̵̹̻̝̳͂̌̌͘",
    "&lt;b&gt; &#60;i&#62; &amp;",
    "𠮷野家 龘 \U0001f4a3 \ufffe",
    "A" * 30_000,
    "\U000e0041\U000e0042tags",
)
FORMATS = sorted(report.FORMATS)
FORBIDDEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0d\x0e-\x1f\x7f-\x9f\u2028\u2029\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\ufffe\uffff\U000e0000-\U000e0fff]"
)


def build(profile: str, story: Any, lang: str = "zh") -> ReportDocument:
    return report.build(profile, story.incidents, story.evidence, story.site, lang, story.now)


def hostile(story: Any) -> Any:
    """The story with a nasty string wherever a string came from the wire, a file, a rule or a person."""
    n = cycle(NASTY)
    i = story.incidents[0]
    alerts = story.evidence.alerts.with_columns(
        pl.Series("rule.name", [next(n) for _ in range(story.evidence.alerts.height)]),
        pl.Series("rule.id", [f"r{k}{next(n)}" for k in range(story.evidence.alerts.height)]),
        pl.lit(None, pl.String).alias("rule.name_zh"),
        pl.Series("threat.technique.id", [[next(n)] for _ in range(story.evidence.alerts.height)]),
    )
    flows = pl.concat(
        [
            story.evidence.flows,
            pl.DataFrame(
                [(next(n), next(n), next(n), 100 + k, 2, 1) for k in range(len(NASTY))],
                schema=story.evidence.flows.schema,
                orient="row",
            ),
        ]
    )
    assets = {
        k: v.model_copy(update={"name": next(n), "role": next(n), "segment": next(n), "mac": next(n)})
        for k, v in story.evidence.assets.items()
    }
    inputs = [
        {"path": t, "kind": t, "frames": 1, "decoded": 1, "undecoded": 0, "failed": 0, "error": t, "notes": {t: 1}}
        for t in NASTY
    ]
    inputs.append({**inputs[0], "path": "caf\udce9.pcap"})
    evidence = replace(
        story.evidence,
        alerts=alerts,
        flows=flows,
        assets=assets,
        inputs=inputs,
        event_counts=dict.fromkeys(NASTY, 1),
        rule_problems=list(NASTY),
        rules=[],
        tool_version=next(n),
    )
    incident = i.model_copy(
        update={
            "title_zh": next(n),
            "title_en": next(n),
            "open_questions_zh": NASTY,
            "open_questions_en": NASTY,
            "segments": NASTY[:4],
            "protocols": NASTY[4:8],
            "techniques": NASTY[:8],
            "tactics": NASTY[8:12],
            "timeline": tuple(
                e.model_copy(update={"text": next(n), "text_zh": next(n), "phase": next(n)}) for e in i.timeline * 4
            ),
            "actions": tuple(
                s.model_copy(
                    update={
                        "text_zh": next(n),
                        "text_en": next(n),
                        "source": next(n),
                        "effect": next(n),
                        "phase": next(n),
                    }
                )
                for s in i.actions
            ),
            "evidence": tuple(Kept(name=t, sha256=t, kept_by=t, note=t) for t in NASTY),
            "notes": tuple(HistoryEntry(time=i.first_seen, actor=t, change=t) for t in NASTY[:10]),
            "categories": tuple(c.model_copy(update={"name_zh": next(n), "name_en": next(n)}) for c in i.categories),
            "grade_reasons": tuple(
                g.model_copy(update={"indicator": next(n), "value": next(n), "source": next(n), "mark": next(n)})
                for g in i.grade_reasons
            ),
            "clocks": tuple(
                c.model_copy(update={"what_zh": next(n), "what_en": next(n), "source": next(n)}) for c in i.clocks
            ),
        }
    )
    site = story.site.model_copy(
        update={
            "operator": Operator(name=next(n), address=next(n), contact_name=next(n), duty_phone=next(n)),
            "segments": tuple(Segment(name=t, cidrs=(f"10.{k}.0.0/16",), system=t) for k, t in enumerate(NASTY)),
            "assets": tuple(KnownAsset(ip=f"10.20.1.{k}", name=t, role=t) for k, t in enumerate(NASTY)),
        }
    )
    return replace(story, incidents=[incident], evidence=evidence, site=site)


class Page(HTMLParser):
    """Collects tags, attributes and the text outside of styles."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.comments = 0
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "col"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_comment(self, data: str) -> None:
        self.comments += 1

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data


ALLOWED_TAGS = set(
    """html head meta title style body header main footer nav section aside h1 h2 h3 h4 h5 p ol ul li a span div
    figure figcaption table colgroup col thead tbody tr th td svg desc rect line text circle g""".split()  # noqa: SIM905
)


@pytest.mark.parametrize("lang", ["zh", "en"])
@pytest.mark.parametrize("profile", sorted(report.PROFILES))
def test_hostile_text_stays_text_in_html(profile: str, lang: str, story: Any) -> None:
    data = report.render(build(profile, hostile(story), lang), "html").decode()
    page = Page(data)
    assert page.open == []
    assert page.comments == 0
    assert {tag for tag, _ in page.tags} <= ALLOWED_TAGS
    for tag, attributes in page.tags:
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            assert name not in ("style", "src", "srcset", "action", "formaction", "xlink:href"), (tag, name)
            if name == "href":
                assert value is not None
                assert re.fullmatch(r"#[A-Za-z0-9-]+", value)
    assert not FORBIDDEN.search(data)
    assert "alert(1)" in page.text  # shown, not dropped
    assert "\\x1b[31m" in page.text
    assert "⟨U+202E⟩" in page.text
    assert "{{7*7}}" in page.text


@pytest.mark.parametrize("lang", ["zh", "en"])
@pytest.mark.parametrize("profile", sorted(report.PROFILES))
def test_hostile_text_stays_text_in_markdown(profile: str, lang: str, story: Any) -> None:
    text = report.render(build(profile, hostile(story), lang), "markdown").decode()
    assert not FORBIDDEN.search(text)
    assert not re.search(r"(?<!\\)<[a-zA-Z/!]", text)
    assert not re.search(r"(?<!\\)\]\(", text)
    assert "http://" not in text
    assert "www." not in text
    assert not re.search(r"(?<!\\)`", text)
    width = 0
    for row in text.splitlines():
        if row.startswith("| "):
            cells = len(re.findall(r"(?<!\\)\|", row))
            assert width in (0, cells), row[:200]
            width = cells
            for cell in re.split(r"(?<!\\) \| ", row.strip("| ")):
                assert not cell.startswith(("=", "@", "+")), cell
        else:
            width = 0


@pytest.mark.parametrize("lang", ["zh", "en"])
@pytest.mark.parametrize("profile", sorted(report.PROFILES))
def test_hostile_text_stays_text_in_docx(profile: str, lang: str, story: Any) -> None:
    data = report.render(build(profile, hostile(story), lang), "docx")
    with zipfile.ZipFile(BytesIO(data)) as archive:
        assert archive.testzip() is None
        for name in archive.namelist():
            if name.endswith((".xml", ".rels")):
                ElementTree.fromstring(archive.read(name))  # noqa: S314 - our own file
            if name.endswith(".rels"):
                assert b"External" not in archive.read(name)
    text = docx_text(data)
    assert not FORBIDDEN.search(text)
    assert "alert(1)" in text
    assert "\\x1b[31m" in text


@pytest.mark.parametrize("profile", sorted(report.PROFILES))
def test_hostile_text_is_kept_as_it_came_in_json(profile: str, story: Any) -> None:
    document = build(profile, hostile(story))
    data = report.render(document, "json")
    assert load(data) == document
    assert b"\\u202egnp.exe" in data or "\u202egnp.exe".encode() in data


def docx_text(data: bytes) -> str:
    """All text of a DOCX in document order, a line a paragraph."""
    document = docx.Document(BytesIO(data))
    out = []
    for paragraph in document.element.body.iter("{http://schemas.openxmlformats.org/wordprocessingml/2006/main}p"):
        tags = paragraph.iter("{http://schemas.openxmlformats.org/wordprocessingml/2006/main}t")
        out.append("".join(t.text or "" for t in tags))
    return "\n".join(line for line in out if line.strip()) + "\n"


@pytest.mark.parametrize(("profile", "lang"), [("risk", "zh"), ("risk", "en"), ("first", "zh"), ("first", "en")])
def test_markdown_is_as_reviewed(profile: str, lang: str, story: Any, golden: Callable[[str, bytes], None]) -> None:
    golden(f"{profile}-{lang}.md", report.render(build(profile, story, lang), "markdown"))


@pytest.mark.parametrize(("profile", "lang"), [("risk", "zh"), ("first", "en")])
def test_html_is_as_reviewed(profile: str, lang: str, story: Any, golden: Callable[[str, bytes], None]) -> None:
    golden(f"{profile}-{lang}.html", report.render(build(profile, story, lang), "html"))


@pytest.mark.parametrize(("profile", "lang"), [("risk", "en"), ("first", "zh")])
def test_the_text_of_docx_is_as_reviewed(
    profile: str, lang: str, story: Any, golden: Callable[[str, bytes], None]
) -> None:
    golden(f"{profile}-{lang}.docx.txt", docx_text(report.render(build(profile, story, lang), "docx")).encode())


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("which", ["story", "quiet", "bare"])
@pytest.mark.parametrize("profile", sorted(report.PROFILES))
def test_a_document_renders_the_same_twice_and_after_reading_back(
    name: str, which: str, profile: str, request: pytest.FixtureRequest
) -> None:
    document = build(profile, request.getfixturevalue(which))
    first = report.render(document, name)
    assert report.render(document, name) == first
    assert report.render(load(report.render(document, "json")), name) == first


def test_html_stands_alone_and_allows_its_one_style_by_hash(story: Any) -> None:
    data = report.render(build("risk", story), "html").decode()
    assert not re.search(r"""(?:src|href)\s*=\s*["'](?!#)|url\(|@import|<script""", data)
    style = re.search(r"<style>(.*?)</style>", data, re.DOTALL)
    assert style
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in data
    assert "default-src 'none'" in data


def test_links_and_contents_lead_somewhere(story: Any) -> None:
    page = Page(report.render(build("risk", story), "html").decode())
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    assert {str(a["href"])[1:] for _, a in page.tags if "href" in a} <= set(ids)


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_charts_have_axes_units_and_legends(lang: str, story: Any) -> None:
    document = build("risk", story, lang)
    w = Wording("zh" if lang == "zh" else "en")
    page = Page(report.render(document, "html").decode())
    for label in ("axis.time", "chart.time.y", "chart.risk.x", "chart.matrix.x", "chart.matrix.y", "axis.tactic"):
        assert w(label) in page.text
    for legend in ("level.critical", "band.very_high", "chart.matrix.marked", "certainty.inferred"):
        assert w(legend) in page.text


def test_chart_text_is_cut_to_its_room() -> None:
    for text in ("泵" * 200, "W" * 500, "a b " * 200):
        assert charts.text_width(charts.fit(text, 11, 120), 11) <= 120
        rows = charts.wrap(text, 11, 80, 3)
        assert len(rows) == 3
        assert all(charts.text_width(r, 11) <= 80 for r in rows)


@pytest.mark.parametrize("top", [0, 1, 3, 7, 10, 99, 1234, 10**9])
def test_ticks_are_whole_round_and_reach_the_top(top: int) -> None:
    marks = charts.ticks(top)
    assert marks[0] == 0
    assert marks[-1] >= top
    assert 2 <= len(marks) <= 12
    assert marks == sorted(set(marks))


def test_steps_of_the_heat_map_grow_with_the_value() -> None:
    steps = [charts.heat_step(v, 10**6) for v in (0, 1, 10, 10**3, 10**5, 10**6)]
    assert steps == sorted(steps)
    assert steps[-1] == len(charts.HEAT) - 1


def test_tables_of_docx_fill_the_line_and_no_more(story: Any) -> None:
    document = docx.Document(BytesIO(report.render(build("risk", story), "docx")))
    page = document.sections[0]
    room = page.page_width - page.left_margin - page.right_margin
    assert document.tables
    for table in document.tables:
        width = sum(c.width for c in table.columns)
        assert abs(width - room) < 20_000  # EMU, about half a millimetre
        assert table.autofit is False


def test_docx_names_chinese_faces_for_chinese_text(story: Any) -> None:
    data = report.render(build("risk", story), "docx")
    with zipfile.ZipFile(BytesIO(data)) as archive:
        styles, fonts = archive.read("word/styles.xml").decode(), archive.read("word/fontTable.xml").decode()
        footer = "".join(archive.read(n).decode() for n in archive.namelist() if "footer" in n and n.endswith(".xml"))
    assert 'w:eastAsia="仿宋"' in styles
    assert 'w:eastAsia="黑体"' in styles
    assert '<w:altName w:val="FangSong"/>' in fonts
    assert "NUMPAGES" in footer


def test_docx_holds_native_charts_with_the_numbers(story: Any) -> None:
    data = report.render(build("risk", story), "docx")
    with zipfile.ZipFile(BytesIO(data)) as archive:
        found = sorted(n for n in archive.namelist() if n.startswith("word/charts/"))
        assert len(found) == 2
        time_chart = archive.read(found[0]).decode()
    assert "告警数量（条）" in time_chart
    assert "<c:v>14</c:v>" in time_chart


def test_the_room_is_imported_without_its_renderers() -> None:
    code = "import sys, report; print([m for m in ('docx', 'jinja2', 'report.document') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
