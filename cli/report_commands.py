"""``report``: risk, first, list, render."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import options
from cli.text import emit_json, say, table, tr
from event.errors import ConfigError, ReportError, UserError

if TYPE_CHECKING:
    from event.incident import Incident
    from event.site import Site
    from report.document import Language

app = typer.Typer(help=tr("Reports.", "报告。"), no_args_is_help=True, rich_markup_mode=None)
Out = Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help=tr("Folder for the files.", "输出目录。"))]
_ENDINGS = {"html": "html", "docx": "docx", "markdown": "md", "json": "json"}
MOST_FIRST = 20
"""Incidents that ``analyze`` writes first reports of, eight files each."""
_NAMES = {
    ("risk", "zh"): "风险报告",
    ("risk", "en"): "risk-report",
    ("first", "zh"): "应急响应报告-首报",
    ("first", "en"): "first-report",
}


def languages(text: str | None) -> list[Language]:
    """``zh``, ``en`` or both, Chinese first.

    Raises:
        ConfigError: It is none of them.
    """
    known: dict[str, list[Language]] = {"zh": ["zh"], "en": ["en"], "both": ["zh", "en"]}
    if (text or "both") not in known:
        raise ConfigError(f"unknown language {text!r}", where="--report-lang", hint="known: zh, en, both")
    return known[text or "both"]


def write(document: Any, folder: Path, stem: str, formats: tuple[str, ...] = tuple(_ENDINGS)) -> list[Path]:
    """Render a document into files; each is written beside and renamed, so that no half report is ever seen."""
    from report import render

    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for name in formats:
        file = folder / f"{stem}.{_ENDINGS[name]}"
        draft = file.with_suffix(file.suffix + ".part")
        draft.write_bytes(render(document, name))
        draft.replace(file)
        files.append(file)
    return files


def write_reports(
    folder: Path, incidents: list[Incident], evidence: Any, site: Site, langs: list[Language], now: datetime
) -> list[Path]:
    """The risk report over everything, and a first report for each incident that is not closed or merged.

    Of more than ``MOST_FIRST`` incidents the gravest have one; that the others have none is said.
    """
    from report import build
    from report.facts import gravity

    open_ones = sorted((i for i in incidents if i.status not in ("closed", "merged")), key=gravity)
    if len(open_ones) > MOST_FIRST:
        rest = len(open_ones) - MOST_FIRST
        say(
            tr(
                f"first reports are written for the {MOST_FIRST} gravest incidents; {rest} more: jianmen report first ID",
                f"仅为最严重的{MOST_FIRST}起事件生成首报，其余{rest}起可用 jianmen report first ID 逐一生成",
            )
        )
        del open_ones[MOST_FIRST:]
    files = []
    for lang in langs:
        files += write(build("risk", incidents, evidence, site, lang, now), folder, _NAMES["risk", lang])
        for incident in open_ones:
            files += write(
                build("first", [incident], evidence, site, lang, now), folder, f"{_NAMES['first', lang]}-{incident.id}"
            )
    return files


def _gather(
    store: str | None, config: Path | None, since: str | None, until: str | None, incident_id: str | None
) -> Any:
    from cli import pipeline
    from cli.config import load
    from cli.incident_commands import fetch
    from cli.rule_commands import ruleset_of

    settings = load(config, store)
    start, end = options.instant(since, "--since"), options.instant(until, "--until")
    with pipeline.open_store(settings.store, create=False) as kept:
        assets = pipeline.observe_assets(kept, settings.site)
        incidents = (
            [fetch(kept, incident_id)]
            if incident_id
            else [
                i
                for i in kept.incidents()
                if (start is None or i.last_seen >= start) and (end is None or i.first_seen < end)
            ]
        )
        ruleset = ruleset_of(settings, None, keep_going=True)
        found = pipeline.evidence(kept, assets=assets, ruleset=ruleset, since=start, until=end)
    return settings, incidents, found


def _done(files: list[Path], json: bool) -> None:
    if json:
        emit_json({"files": [str(f) for f in files]})
    else:
        table(
            tr("Reports", "报告"),
            [tr("file", "文件"), tr("bytes", "字节")],
            [(f, f"{f.stat().st_size:,}") for f in files],
        )


@app.command("risk", help=tr("Risk report over a period.", "生成某一时段的风险报告。"))
def risk(
    out: Out = Path(),
    store: options.Store = None,
    config: options.Config = None,
    since: options.Since = None,
    until: options.Until = None,
    report_lang: options.Lang = "both",
    json: options.Json = False,
) -> None:
    """See the help text."""
    from report import build

    settings, incidents, found = _gather(store, config, since, until, None)
    now = datetime.now(UTC)
    files = []
    for lang in languages(report_lang):
        files += write(build("risk", incidents, found, settings.site, lang, now), out, _NAMES["risk", lang])
    _done(files, json)


@app.command(
    "first",
    help=tr(
        "First report of an incident: the eight items of the 2025 Measures.",
        "生成某一事件的应急响应报告（首报，2025年《国家网络安全事件报告管理办法》八项内容）。",
    ),
)
def first(
    incident_id: Annotated[str, typer.Argument(metavar="ID")],
    out: Out = Path(),
    store: options.Store = None,
    config: options.Config = None,
    report_lang: options.Lang = "both",
    json: options.Json = False,
) -> None:
    """See the help text."""
    from report import build

    settings, incidents, found = _gather(store, config, None, None, incident_id)
    if incidents[0].impact.state_secret:
        raise ReportError(
            tr(
                "this incident involves state secrets: it is not reported through these channels",
                "本事件涉及国家秘密，不得通过本渠道报送",
            ),
            where=incidents[0].id,
            hint=tr("follow the secrecy rules and the secrecy department", "请按照保密规定向保密行政管理部门报告"),
        )
    now = datetime.now(UTC)
    files = []
    for lang in languages(report_lang):
        stem = f"{_NAMES['first', lang]}-{incidents[0].id}"
        files += write(build("first", incidents, found, settings.site, lang, now), out, stem)
    _done(files, json)


@app.command("list", help=tr("Kinds of reports and formats.", "可用的报告种类与格式。"))
def list_kinds(json: options.Json = False) -> None:
    """See the help text."""
    from report import FORMATS, PROFILES

    if json:
        emit_json({"profiles": list(PROFILES), "formats": list(FORMATS)})
        return
    table(
        tr("Reports", "报告"),
        [tr("kind", "种类"), tr("name", "名称")],
        [(p, tr(_NAMES[p, "en"], _NAMES[p, "zh"])) for p in PROFILES],
    )
    say(tr("formats: ", "格式：") + ", ".join(FORMATS))


@app.command(
    "render",
    help=tr(
        "Render a saved report (JSON) again, in other formats.\n\nExample: jianmen report render report.json --format docx",
        "将已保存的报告（JSON）重新渲染为其他格式。\n\n示例：jianmen report render report.json --format docx",
    ),
)
def render_again(
    file: Annotated[Path, typer.Argument(metavar="FILE")],
    formats: Annotated[list[str] | None, typer.Option("--format", "-f", metavar="html|docx|markdown|json")] = None,
    out: Out = Path(),
) -> None:
    """See the help text."""
    from report.document import load

    wanted = tuple(formats or ("html", "docx", "markdown"))
    unknown = [name for name in wanted if name not in _ENDINGS]
    if unknown:
        raise ConfigError(f"unknown format {unknown[0]!r}", where="--format", hint="known: " + ", ".join(_ENDINGS))
    try:
        data = file.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read the report: {error.strerror}", where=str(file)) from None
    _done(write(load(data), out, file.stem, wanted), json=False)
