"""``incident``: triage from the first look to closing, every change a version with who and when."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from cli import options
from cli.analyze import incident_row, print_incidents
from cli.text import console, emit_json, level_text, local_time, say, table, tr, word
from event.errors import ConfigError, UserError

if TYPE_CHECKING:
    from cli.config import Settings
    from correlate.grade import Scale
    from event.incident import Grade, Incident
    from store.base import Store

app = typer.Typer(help=tr("Triage incidents.", "研判、处置网络安全事件。"), no_args_is_help=True, rich_markup_mode=None)
Id = Annotated[
    str, typer.Argument(metavar="ID", help=tr("Incident id or a unique beginning of it.", "事件编号或其唯一前缀。"))
]


def fetch(store: Store, incident_id: str, version: int | None = None) -> Incident:
    """An incident by id or unique prefix.

    Raises:
        UserError: There is none.
    """
    found = store.incident(incident_id, version)
    if found is None:
        known = [i.id for i in store.incidents()[:10]]
        raise UserError(f"no incident {incident_id!r}", hint="known: " + (", ".join(known) or tr("none", "无")))
    return found


def _change(
    incident_id: str,
    store: str | None,
    config: Path | None,
    make: Callable[[Incident, Settings, datetime], Incident],
    *,
    json: bool = False,
) -> None:
    from cli.config import load
    from cli.pipeline import open_store

    settings = load(config, store)
    with open_store(settings.store, create=False) as kept:
        changed = make(fetch(kept, incident_id), settings, datetime.now(UTC))
        kept.put_incident(changed)
    if json:
        emit_json(changed.model_dump(mode="json"))
    else:
        say(f"{changed.id} v{changed.version}: {changed.history[-1].change}")


@app.command("list", help=tr("All incidents, newest first.", "列出网络安全事件，最近的在前。"))
def list_incidents(
    store: options.Store = None,
    config: options.Config = None,
    status: Annotated[
        str | None, typer.Option("--status", metavar="new|acknowledged|in_progress|closed|merged")
    ] = None,
    json: options.Json = False,
) -> None:
    """See the help text."""
    from cli.config import load
    from cli.pipeline import open_store

    with open_store(load(config, store).store, create=False) as kept:
        incidents = [i for i in kept.incidents() if status is None or i.status == status]
    if json:
        emit_json([incident_row(i) for i in incidents])
    elif incidents:
        print_incidents(incidents)
    else:
        say(tr("no incident", "未发现网络安全事件"))


@app.command(
    "show",
    help=tr(
        "One incident, whole: what, who, when, how grave, which clocks run, what to do.",
        "查看一起事件的全貌：性质、来源、时间、级别、时限与处置建议。",
    ),
)
def show(
    incident_id: Id,
    store: options.Store = None,
    config: options.Config = None,
    version: Annotated[int | None, typer.Option("--version", min=1)] = None,
    json: options.Json = False,
) -> None:
    """See the help text."""
    from cli.config import load
    from cli.pipeline import open_store

    with open_store(load(config, store).store, create=False) as kept:
        incident = fetch(kept, incident_id, version)
    if json:
        emit_json(incident.model_dump(mode="json"))
        return
    _print_incident(incident)


def tactic_name(phase: str | None) -> str:
    """An ATT&CK tactic in the language of this process."""
    from correlate.regimes import attack

    named = attack().tactics.get(phase or "")
    return tr(named.en, named.zh) if named else phase or ""


def grade_name(grade: str | None) -> str:
    """A grade in the language of this process."""
    names = {
        "particularly_major": tr("particularly major", "特别重大"),
        "major": tr("major", "重大"),
        "large": tr("large", "较大"),
        "general": tr("general", "一般"),
        None: tr("unknown", "待研判"),
    }
    return names[grade]


def _print_incident(i: Incident) -> None:
    out = console()
    out.print(level_text(i.level), f"{i.id} v{i.version} ({word(i.status)})", tr(i.title_en, i.title_zh))
    category = " / ".join(tr(c.name_en, c.name_zh) for c in i.categories) or tr("unknown", "待研判")
    table(
        "",
        [tr("what", "项目"), tr("value", "内容")],
        [
            (tr("seen", "起止时间"), f"{local_time(i.first_seen)} – {local_time(i.last_seen)}"),
            (tr("discovered", "发现时间"), local_time(i.discovered)),
            (tr("category (GB/T 20986-2023)", "事件类别（GB/T 20986-2023）"), category),
            (tr("grade (GB/T 20986-2023)", "事件级别（GB/T 20986-2023）"), grade_name(i.grade_gbt20986)),
            (tr("grade (2025 Measures)", "事件级别（2025年报告管理办法）"), grade_name(i.grade_cac)),
            (tr("from", "攻击源"), ", ".join(i.attackers)),
            (tr("to", "目标"), ", ".join(i.targets)),
            (tr("protocols", "协议"), ", ".join(i.protocols)),
            ("ATT&CK for ICS", " ".join(i.techniques)),
            (tr("alerts", "告警"), f"{i.alert_total:,}"),
            (tr("assignee", "责任人"), i.assignee),
            (tr("playbooks", "处置预案"), ", ".join(i.playbooks)),
        ],
        styles=["cyan"],
    )
    table(
        tr("Timeline", "时间线"),
        [tr("time", "时间"), tr("phase", "阶段"), tr("what happened", "经过"), tr("certainty", "可信度")],
        [(local_time(t.time), tactic_name(t.phase), tr(t.text, t.text_zh), word(t.certainty)) for t in i.timeline],
    )
    if i.clocks:
        _print_clocks(i)
    if i.actions:
        table(
            tr("Recommended actions", "处置建议"),
            [tr("phase", "阶段"), tr("action", "措施"), tr("source", "来源"), tr("done", "完成")],
            [(word(a.phase), tr(a.text_en, a.text_zh), a.source, local_time(a.done_at)) for a in i.actions],
        )
    questions = i.open_questions_zh if tr("en", "zh") == "zh" else i.open_questions_en
    if questions:
        table(
            tr("Facts to find out (they decide the grade)", "待核实事项（影响定级）"),
            ["#", tr("question", "事项")],
            [(n + 1, q) for n, q in enumerate(questions)],
        )


def _print_clocks(i: Incident) -> None:
    now = datetime.now(UTC)
    rows = []
    for c in i.clocks:
        if c.done:
            left = tr("done", "已完成") + " " + local_time(c.done)
        elif c.due is None:
            left = tr("without delay", "及时")
        else:
            minutes = int((c.due - now).total_seconds() // 60)
            span = f"{abs(minutes) // 1440} d {abs(minutes) // 60 % 24} h {abs(minutes) % 60} min"
            left = span if minutes >= 0 else tr("overdue by ", "已超时 ") + span
        rows.append(
            (
                c.id,
                tr(c.what_en, c.what_zh),
                "、".join(c.recipients_zh) if tr("en", "zh") == "zh" else ", ".join(c.recipients_en),
                local_time(c.due),
                left,
                tr(c.condition_en, c.condition_zh),
            )
        )
    table(
        tr("Clocks", "法定时限"),
        ["ID", tr("what", "事项"), tr("to", "报送对象"), tr("due", "截止"), tr("left", "剩余"), tr("if", "适用条件")],
        rows,
    )


@app.command(
    "clock", help=tr("Deadlines that run; --done ID marks one as met.", "查看法定时限；--done ID 标记已履行。")
)
def clock(
    incident_id: Id,
    done: Annotated[str | None, typer.Option("--done", metavar="CLOCK_ID")] = None,
    store: options.Store = None,
    config: options.Config = None,
    json: options.Json = False,
) -> None:
    """See the help text."""
    from cli.config import load
    from cli.pipeline import open_store

    if done is None:
        with open_store(load(config, store).store, create=False) as kept:
            incident = fetch(kept, incident_id)
        if json:
            emit_json([c.model_dump(mode="json") for c in incident.clocks])
        else:
            _print_clocks(incident)
        return

    def make(i: Incident, settings: Settings, now: datetime) -> Incident:
        from correlate.clocks import with_done

        if done not in {c.id for c in i.clocks}:
            raise UserError(f"no clock {done!r}", hint="known: " + ", ".join(c.id for c in i.clocks))
        return with_done(i, done, settings.actor, now, settings.site)

    _change(incident_id, store, config, make, json=json)


def _set_status(status: str, word: str) -> Callable[[Incident, Settings, datetime], Incident]:
    def make(i: Incident, settings: Settings, now: datetime) -> Incident:
        from correlate.clocks import deadlines

        changed = i.changed(actor=settings.actor, change=word, time=now, status=status)
        return changed.model_copy(update={"clocks": deadlines(changed, settings.site)})

    return make


@app.command("ack", help=tr("Acknowledge: somebody looks at it.", "确认受理。"))
def ack(incident_id: Id, store: options.Store = None, config: options.Config = None) -> None:
    """See the help text."""
    _change(incident_id, store, config, _set_status("acknowledged", "acknowledged"))


@app.command("assign", help=tr("Give it to somebody.", "指派责任人。"))
def assign(
    incident_id: Id,
    who: Annotated[str, typer.Argument(metavar="WHO")],
    store: options.Store = None,
    config: options.Config = None,
) -> None:
    """See the help text."""
    _change(
        incident_id,
        store,
        config,
        lambda i, s, now: i.changed(
            actor=s.actor, change=f"assigned to {who}", time=now, assignee=who, status="in_progress"
        ),
    )


@app.command("note", help=tr("Write a note.", "添加备注。"))
def note(
    incident_id: Id,
    text: Annotated[str, typer.Argument(metavar="TEXT")],
    store: options.Store = None,
    config: options.Config = None,
) -> None:
    """See the help text."""
    from event.incident import HistoryEntry

    _change(
        incident_id,
        store,
        config,
        lambda i, s, now: i.changed(
            actor=s.actor, change="note", time=now, notes=(*i.notes, HistoryEntry(time=now, actor=s.actor, change=text))
        ),
    )


@app.command("action", help=tr("Record a measure that was taken, and its effect.", "记录已采取的措施及效果。"))
def action(
    incident_id: Id,
    text: Annotated[str, typer.Argument(metavar="TEXT")],
    effect: Annotated[str | None, typer.Option("--effect")] = None,
    phase: Annotated[str, typer.Option("--phase", metavar="containment|eradication|recovery|...")] = "containment",
    store: options.Store = None,
    config: options.Config = None,
) -> None:
    """See the help text."""
    from event.incident import Step

    _change(
        incident_id,
        store,
        config,
        lambda i, s, now: i.changed(
            actor=s.actor,
            change=f"action: {text}",
            time=now,
            actions=(
                *i.actions,
                Step(
                    text_zh=text, text_en=text, phase=phase, done_at=now, done_by=s.actor, effect=effect, source=s.actor
                ),
            ),
        ),
    )


@app.command(
    "impact",
    help=tr(
        "State facts about the impact; grades and clocks follow.\n\n"
        "Example: jianmen incident impact INC-2026 --set main_function_interruption_minutes=45 --set people_affected=120000",
        "填报影响情况，级别与时限随之更新。\n\n"
        "示例：jianmen incident impact INC-2026 --set main_function_interruption_minutes=45 --set people_affected=120000",
    ),
)
def impact(
    incident_id: Id,
    facts: Annotated[list[str], typer.Option("--set", metavar="FACT=VALUE")],
    store: options.Store = None,
    config: options.Config = None,
    json: options.Json = False,
) -> None:
    """See the help text."""
    from pydantic import ValidationError

    from event.incident import Impact

    given: dict[str, str | None] = {}
    for fact in facts:
        name, sign, value = fact.partition("=")
        if not sign or name not in Impact.model_fields:
            raise ConfigError(f"not a fact: {fact!r}", where="--set", hint="known: " + ", ".join(Impact.model_fields))
        given[name] = value or None

    def make(i: Incident, settings: Settings, now: datetime) -> Incident:
        from correlate.grade import with_impact

        try:
            new = Impact.model_validate({**i.impact.model_dump(), **given})
        except ValidationError as error:
            raise ConfigError(
                "a fact has a wrong value",
                where="--set",
                hint="\n".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()),
            ) from None
        return with_impact(i, new, actor=settings.actor, time=now, site=settings.site)

    _change(incident_id, store, config, make, json=json)


_SCALES = {"gbt": "gbt20986-2023", "cac": "cac-2025"}
_GRADES = ("particularly_major", "major", "large", "general")


def _override(text: str) -> tuple[str, str | None]:
    """Scale and grade out of ``SCALE=GRADE``; the grade ``none`` takes an earlier one back.

    Raises:
        ConfigError: It is no such pair.
    """
    scale, _, grade = text.partition("=")
    full = _SCALES.get(scale, scale)
    if full not in _SCALES.values() or grade not in (*_GRADES, "none"):
        raise ConfigError(
            f"not a grade: {text!r}", where="--set", hint=f"{' or '.join(_SCALES)} = {', '.join(_GRADES)} or none"
        )
    return full, None if grade == "none" else grade


@app.command(
    "grade",
    help=tr(
        "Grade again, and show why the grade is what it is; --set puts the judgement of a person above the computed one.\n\n"
        "Example: jianmen incident grade INC-2026 --set cac=major --reason 'told by the dispatching centre'",
        "重新定级，并列出定级依据；--set 以人工研判结论代替计算结果，须注明理由。\n\n"
        "示例：jianmen incident grade INC-2026 --set cac=major --reason '经调度中心核实'",
    ),
)
def grade(
    incident_id: Id,
    override: Annotated[
        str | None,
        typer.Option(
            "--set",
            metavar="gbt|cac=GRADE",
            help=tr(
                "Grade by hand on one scale: particularly_major, major, large, general; none takes it back.",
                "在某一尺度上人工定级：particularly_major、major、large、general；none 表示撤销。",
            ),
        ),
    ] = None,
    reason: Annotated[
        str,
        typer.Option(
            "--reason", metavar="TEXT", help=tr("Why; kept with who and when.", "理由，连同人员、时间一并留存。")
        ),
    ] = "",
    store: options.Store = None,
    config: options.Config = None,
    json: options.Json = False,
) -> None:
    """See the help text."""
    from cli.config import load
    from cli.pipeline import open_store
    from correlate.grade import with_impact, with_override

    if (override is None) != (not reason.strip()):
        raise ConfigError("a grade by hand needs --set and --reason", where="--reason" if override else "--set")
    chosen = _override(override) if override is not None else None
    settings = load(config, store)
    now = datetime.now(UTC)
    with open_store(settings.store, create=False) as kept:
        old = fetch(kept, incident_id)
        if chosen is not None:
            scale, value = cast("tuple[Scale, Grade | None]", chosen)
            incident = with_override(old, scale, value, reason.strip(), settings.actor, now, settings.site)
            kept.put_incident(incident)
        else:
            incident = with_impact(old, old.impact, actor=settings.actor, time=now, site=settings.site)
            if (incident.grade_cac, incident.grade_gbt20986) != (old.grade_cac, old.grade_gbt20986):
                kept.put_incident(incident)
    if json:
        emit_json(
            {
                "id": incident.id,
                "grade_gbt20986": incident.grade_gbt20986,
                "grade_cac": incident.grade_cac,
                "reasons": [r.model_dump() for r in incident.grade_reasons],
                "open_questions_zh": incident.open_questions_zh,
                "open_questions_en": incident.open_questions_en,
            }
        )
        return
    table(
        tr("Why", "定级依据"),
        [
            tr("scale", "尺度"),
            tr("grade", "级别"),
            tr("indicator", "指标"),
            tr("value", "取值"),
            tr("threshold", "阈值"),
            tr("source", "依据"),
            tr("mark", "核实标记"),
        ],
        [
            (
                r.scale,
                grade_name(r.grade),
                tr(r.indicator_en or r.indicator, r.indicator),
                tr(r.value_en or r.value or "", r.value or ""),
                tr(r.threshold_en or r.threshold or "", r.threshold or ""),
                tr(r.source_en or r.source, r.source),
                r.mark,
            )
            for r in incident.grade_reasons
        ],
    )
    for question in incident.open_questions_zh if tr("en", "zh") == "zh" else incident.open_questions_en:
        say(f"? {question}")


@app.command("merge", help=tr("Put one incident into another.", "将一起事件并入另一起。"))
def merge(
    incident_id: Id,
    into: Annotated[str, typer.Option("--into", metavar="ID")],
    store: options.Store = None,
    config: options.Config = None,
) -> None:
    """See the help text."""
    from cli.config import load
    from cli.pipeline import open_store
    from correlate.group import merge as merged

    settings = load(config, store)
    now = datetime.now(UTC)
    with open_store(settings.store, create=False) as kept:
        one, other = fetch(kept, incident_id), fetch(kept, into)
        if one.id == other.id:
            raise UserError("an incident cannot be merged into itself", where=one.id)
        if "merged" in (one.status, other.status):
            raise UserError("one of them was merged already", where=f"{one.id}, {other.id}")
        for version in merged(other, one, actor=settings.actor, time=now, site=settings.site):
            kept.put_incident(version)
    say(f"{one.id} → {other.id}")


@app.command("close", help=tr("Close, with the reason.", "办结并说明理由。"))
def close(
    incident_id: Id,
    reason: Annotated[str, typer.Option("--reason", prompt=tr("reason", "理由"))],
    store: options.Store = None,
    config: options.Config = None,
) -> None:
    """See the help text."""
    _change(incident_id, store, config, _set_status("closed", f"closed: {reason}"))


@app.command("reopen", help=tr("Open again, with the reason.", "重新打开并说明理由。"))
def reopen(
    incident_id: Id,
    reason: Annotated[str, typer.Option("--reason", prompt=tr("reason", "理由"))],
    store: options.Store = None,
    config: options.Config = None,
) -> None:
    """See the help text."""
    _change(incident_id, store, config, _set_status("in_progress", f"reopened: {reason}"))


@app.command("export", help=tr("One incident with all its versions, as JSON.", "导出事件及其全部版本（JSON）。"))
def export(
    incident_id: Id,
    file: Annotated[Path | None, typer.Argument(metavar="[FILE]")] = None,
    store: options.Store = None,
    config: options.Config = None,
) -> None:
    """See the help text."""
    import json as jsonlib

    from cli.config import load
    from cli.pipeline import open_store

    with open_store(load(config, store).store, create=False) as kept:
        latest = fetch(kept, incident_id)
        versions = [fetch(kept, latest.id, n).model_dump(mode="json") for n in range(1, latest.version + 1)]
    document = {"id": latest.id, "versions": versions}
    if file is None:
        emit_json(document)
    else:
        file.write_text(jsonlib.dumps(document, ensure_ascii=False, indent=2), encoding="utf-8")
        say(tr(f"{len(versions)} versions in {file}", f"已导出 {len(versions)} 个版本至 {file}"))
