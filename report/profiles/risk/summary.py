"""The first two chapters: the conclusion, and what it rests on."""

from __future__ import annotations

from datetime import timedelta

from event.incident import Certainty
from report import parts
from report.document import (
    Block,
    Bullets,
    Callout,
    Column,
    Facts,
    Row,
    Section,
    Statement,
    Table,
    paragraph,
    statement,
)
from report.parts import ROWS
from report.profiles.risk.draft import Draft

_TOP = 3


def summary(d: Draft) -> Section:
    """一、摘要: the conclusion first, then key figures, main risks and what to do today."""
    case, w = d.case, d.w
    number = d.number(0)
    blocks: list[Block] = [_conclusion(d), _key_numbers(d)]
    top = [r for r in d.risks if r.band in ("very_high", "high", "medium")][:_TOP]
    if top:
        items = tuple(
            statement(
                w(
                    "summary.risk",
                    asset=case.asset(r.asset.key),
                    band=w(f"band.{r.band}"),
                    value=r.risk,
                    alerts=r.alerts,
                ),
                "inferred",
                case.cite(r.sample),
            )
            for r in top
        )
        blocks += [paragraph(w("summary.top")), Bullets(items=items)]
    blocks += [paragraph(w("summary.today")), Bullets(ordered=True, items=_today(d))]
    return Section(id="summary", number=number, title=w("risk.summary"), blocks=tuple(blocks))


def _conclusion(d: Draft) -> Callout:
    case, w = d.case, d.w
    period = w.span(case.evidence.since, case.evidence.until)
    alerts = len(case.alerts)
    if not case.incidents and not alerts:
        known = bool(case.evidence.inputs or case.evidence.event_counts)
        text = w("conclusion.quiet", period=period) if known else w("conclusion.nothing")
        tier: Certainty = "not_observed" if known else "unknown"
        limit = statement(w("conclusion.quiet.limit"))
        return Callout(
            tone="good" if known else "warning",
            title=w("conclusion.title"),
            statements=(statement(text, tier), limit),
        )
    if not case.incidents:
        text = w("conclusion.alerts_only", period=period, n=alerts)
        return Callout(tone="warning", title=w("conclusion.title"), statements=(statement(text, "confirmed"),))
    reportable = [i for i in case.incidents if i.grade_cac in ("particularly_major", "major", "large")]
    main = case.incidents[0]
    said = [
        statement(w("conclusion.incidents", period=period, n=len(case.incidents), alerts=alerts), "confirmed"),
        statement(
            w(
                "conclusion.main",
                title=parts.incident_title(case, main),
                category=parts.category(case, main) or w("missing.judge"),
                cac=w.term("grade", main.grade_cac, "grade.none"),
                gbt=w.term("grade", main.grade_gbt20986, "grade.none"),
            ),
            "inferred",
            case.cite(a.id for a in main.alerts),
        ),
    ]
    if reportable:
        said.append(statement(w("conclusion.reportable", n=len(reportable)), "inferred"))
    elif parts.questions(case, case.incidents):
        said.append(statement(w("conclusion.open"), "unknown"))
    worst = d.risks[0].band if d.risks else None
    if worst:
        said.append(statement(w("conclusion.risk", band=w(f"band.{worst}")), "inferred"))
    grave = bool(reportable) or main.level in ("critical", "high")
    return Callout(tone="critical" if grave else "warning", title=w("conclusion.title"), statements=tuple(said))


def _key_numbers(d: Draft) -> Table:
    case, w = d.case, d.w
    levels = case.alerts.levels()
    total = sum(case.evidence.event_counts.values())
    frames = [i for i in case.evidence.inputs if "frames" in i]
    lines = [i for i in case.evidence.inputs if "lines" in i]
    read = [w("numbers.frames", n=w.number(sum(int(i["frames"]) for i in frames)))] if frames else []
    read += [w("numbers.lines", n=w.number(sum(int(i["lines"]) for i in lines)))] if lines else []
    by_level = w.join([w("numbers.level", level=w(f"level.{lv}"), n=n) for lv, n in levels.items()])
    grades: dict[str, int] = {}
    for incident in case.incidents:
        name = w.term("grade", incident.grade_cac, "grade.none")
        grades[name] = grades.get(name, 0) + 1
    said = w.join([w("numbers.level", level=g, n=n) for g, n in grades.items()])
    by_grade = w("numbers.incidents.grades", grades=said) if grades else ""
    attackers = list(dict.fromkeys(ip for i in case.incidents for ip in i.attackers))
    targets = list(dict.fromkeys(ip for i in case.incidents for ip in i.targets))
    rows = [
        (w("numbers.read"), w.join(read) or w("missing.none"), w("numbers.read.note", n=len(case.evidence.inputs))),
        (w("numbers.events"), w.number(total), w("numbers.events.note", n=len(case.evidence.event_counts))),
        (w("numbers.assets"), w.number(len(case.assets)), w("numbers.assets.note", n=len(case.site.assets))),
        (w("numbers.alerts"), w.number(len(case.alerts)), by_level or w("numbers.alerts.none")),
        (w("numbers.incidents"), w.number(len(case.incidents)), by_grade or w("numbers.incidents.none")),
        (
            w("numbers.attackers"),
            w.number(len(attackers)),
            w.some([case.asset(a) for a in attackers], 3) or w("missing.none"),
        ),
        (
            w("numbers.targets"),
            w.number(len(targets)),
            w.some([case.asset(t) for t in targets], 3) or w("missing.none"),
        ),
    ]
    columns = (
        Column(label=w("numbers.what"), width=24),
        Column(label=w("numbers.value"), width=22, align="right"),
        Column(label=w("numbers.more"), width=54),
    )
    return Table(title=w("numbers.title"), columns=columns, rows=tuple(Row(cells=r) for r in rows))


def _today(d: Draft) -> tuple[Statement, ...]:
    case, w = d.case, d.w
    items: list[Statement] = []
    for (what, condition, due, state), incidents in _due_today(d)[:3]:
        if len(case.incidents) > 1:
            what += w("today.of", incidents=w.some(incidents, 3))
        key = "today.clock_if" if condition else "today.clock"
        items.append(statement(w(key, what=what, due=due, condition=condition, state=state)))
    if case.incidents:
        main = case.incidents[0]
        wanted = [s for s in parts.steps(main, done=False) if s.phase in ("detection", "containment")]
        items += [statement(parts.step_sentence(case, s)) for s in wanted[:3]]
        if parts.questions(case, case.incidents):
            items.append(statement(w("today.questions")))
        if not wanted:
            items.append(statement(w("today.verify", n=len(case.incidents))))
    elif len(case.alerts):
        items.append(statement(w("today.alerts")))
    if any(i.get("error") for i in case.evidence.inputs):
        items.append(statement(w("today.inputs")))
    if parts.missing_site_facts(case.site, w):
        items.append(statement(w("today.site")))
    return tuple(items) or (statement(w("today.nothing")),)


def _due_today(d: Draft) -> list[tuple[tuple[str, str | None, str, str], list[str]]]:
    """What is due within a day, the most urgent first, each once, with the incidents that it is due for."""
    case, w = d.case, d.w
    clocks = [
        (clock.due, clock.id, clock, incident.id)
        for incident in case.incidents
        for clock in incident.clocks
        if clock.done is None and clock.due is not None and clock.due - case.now <= timedelta(days=1)
    ]
    found: dict[tuple[str, str | None, str, str], list[str]] = {}
    for due, _, clock, incident_id in sorted(clocks, key=lambda one: one[:2]):
        what = clock.what_zh if w.zh else clock.what_en
        condition = clock.condition_zh if w.zh else clock.condition_en
        found.setdefault((what, condition, w.minute(due), parts.clock_state(case, clock)), []).append(incident_id)
    return list(found.items())


def basics(d: Draft) -> Section:
    """二、基本情况: unit, segments, inputs with their account, and what was not seen."""
    case, w = d.case, d.w
    number = d.number(0)
    unit: list[Block] = [Facts(title="", rows=tuple(parts.operator_facts(case.site, w)))]
    if case.site.segments:
        rows = tuple(
            Row(
                cells=(
                    s.name,
                    w.join(list(s.cidrs)),
                    s.system or w("missing.site"),
                    w("purdue", n=w.number(s.purdue_level)) if s.purdue_level is not None else w("missing.dash"),
                    w("power_zone", zone=s.power_zone) if s.power_zone else w("missing.dash"),
                )
            )
            for s in case.site.segments[:ROWS]
        )
        columns = (
            Column(label=w("col.segment"), width=20),
            Column(label=w("segments.cidrs"), width=28, code=True),
            Column(label=w("segments.system"), width=24),
            Column(label=w("segments.purdue"), width=14, align="center"),
            Column(label=w("segments.zone"), width=14, align="center"),
        )
        left = max(0, len(case.site.segments) - ROWS)
        unit.append(Table(title=w("segments.title"), columns=columns, rows=rows, left_off=left))
    else:
        unit.append(paragraph(w("segments.none")))
    data: list[Block] = []
    if case.evidence.inputs:
        data.append(parts.input_table(case))
    else:
        data.append(paragraph(statement(w("inputs.none"), "unknown")))
    counts = sorted(case.evidence.event_counts.items(), key=lambda kv: (-kv[1], kv[0]))
    if counts:
        rows = tuple(Row(cells=(w.dataset(n), w.number(c))) for n, c in counts[:ROWS])
        shown = (
            Column(label=w("events.dataset"), width=70),
            Column(label=w("events.count"), width=30, align="right"),
        )
        data.append(Table(title=w("events.title"), columns=shown, rows=rows, left_off=max(0, len(counts) - ROWS)))
    sections = (
        Section(id="unit", number=d.number(1), title=w("risk.unit"), blocks=tuple(unit)),
        Section(id="data", number=d.number(1), title=w("risk.data"), blocks=tuple(data)),
        Section(
            id="limits",
            number=d.number(1),
            title=w("risk.limits"),
            blocks=(paragraph(w("limits.head")), parts.limits(case)),
        ),
    )
    return Section(id="basics", number=number, title=w("risk.basics"), sections=sections)
