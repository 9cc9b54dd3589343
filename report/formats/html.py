"""HTML: one self-contained file, to read on a screen and to print on A4.

No script and no outside resource; the page's own policy allows exactly its one style sheet, by hash. All text goes
through ``report.escape`` and Jinja's autoescaping; only charts, whose text is escaped where they are drawn, enter
as markup.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from event.incident import Certainty
from report import charts
from report.document import ReportDocument
from report.escape import visible
from report.layout import Chart, Layout, heading

_FOLDER = Path(__file__).with_name("templates")
_TIERS: tuple[Certainty, ...] = ("confirmed", "inferred", "unknown", "not_observed")


def _finalize(value: object) -> object:
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalize,
        trim_blocks=False,
    )


@cache
def _style() -> str:
    return (_FOLDER / "report.css").read_text(encoding="utf-8")


def render(document: ReportDocument) -> bytes:
    """Render as UTF-8 HTML5."""
    layout = Layout(document)
    w = layout.w
    words = {tier: w.certainty(tier) for tier in _TIERS}

    def draw(chart: Chart) -> Markup:
        return Markup(charts.draw(chart, words))  # noqa: S704 - every text in it went through escape.html

    style = _style()
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    page = (
        _environment()
        .get_template("report.html.j2")
        .render(
            document=document,
            m=document.metadata,
            w=w,
            layout=layout,
            draw=draw,
            heading=lambda s: heading(s, w.zh),
            style=Markup(style),  # noqa: S704 - our own file
            style_hash=f"sha256-{digest}",
        )
    )
    return page.encode()
