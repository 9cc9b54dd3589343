"""Incidents, clues to weaknesses, risk, measures and the appendix: chapters that judge."""

from __future__ import annotations

from event.incident import Certainty, Incident
from report import assess, parts
from report.document import (
    Block,
    Bullets,
    Column,
    Fact,
    Facts,
    Row,
    Section,
    Table,
    paragraph,
    statement,
)
from report.parts import ROWS
from report.profiles.risk.draft import Draft

_GLOSSARY = ("event", "alert", "incident", "certainty", "passive", "level", "alert_risk", "attack")
_BASIS = ("20984", "20986", "measures", "22239", "passive", "time", "rules", "score")


def incidents(d: Draft) -> Section:
    """六、网络安全事件: one part an incident."""
    case, w = d.case, d.w
    number = d.number(0)
    if not case.incidents:
        key = "incidents.none_alerts" if len(case.alerts) else "incidents.none"
        body = (paragraph(statement(w(key), "not_observed")),)
        return Section(id="incidents", number=number, title=w("risk.incidents"), blocks=body)
    rows = tuple(
        Row(
            cells=(
                i.id,
                parts.incident_title(case, i),
                parts.category(case, i) or w("missing.judge"),
                w.term("grade", i.grade_cac, "grade.none"),
                w.term("grade", i.grade_gbt20986, "grade.none"),
                w(f"status.{i.status}"),
            )
        )
        for i in case.incidents[:ROWS]
    )
    columns = (
        Column(label=w("incidents.id"), width=18, code=True),
        Column(label=w("incidents.title"), width=29),
        Column(label=w("incidents.category"), width=20),
        Column(label=w("incidents.cac"), width=12, align="center"),
        Column(label=w("incidents.gbt"), width=12, align="center"),
        Column(label=w("incidents.status"), width=9, align="center"),
    )
    left = max(0, len(case.incidents) - ROWS)
    table = Table(title=w("incidents.table"), columns=columns, rows=rows, note=w("incidents.note"), left_off=left)
    sections = tuple(_incident(d, i, n) for n, i in enumerate(case.incidents[:10], 1))
    blocks: list[Block] = [table]
    if len(case.incidents) > len(sections):
        blocks.append(paragraph(w("incidents.left_off", n=len(case.incidents) - len(sections))))
    return Section(id="incidents", number=number, title=w("risk.incidents"), blocks=tuple(blocks), sections=sections)


def _incident(d: Draft, incident: Incident, n: int) -> Section:
    case, w = d.case, d.w
    i = incident
    cites = [a.id for a in i.alerts]
    rows = [
        Fact(label=w("incidents.id"), value=statement(w("head.incident.value", id=i.id, version=i.version))),
        parts.fact(
            case, "incidents.category", parts.category(case, i), missing="missing.judge", sure=False, cites=cites
        ),
        *parts.category_reason(case, i),
        parts.fact(case, "incident.first", w.minute(i.first_seen), cites=cites[:1]),
        parts.fact(case, "incident.last", w.minute(i.last_seen), cites=cites[-1:]),
        parts.fact(case, "incident.discovered", w.minute(i.discovered)),
        parts.fact(
            case,
            "incident.attackers",
            w.some([case.asset(a) for a in i.attackers]),
            missing="missing.judge",
            sure=False,
        ),
        parts.fact(case, "incident.targets", w.some([case.asset(t) for t in i.targets]), missing="missing.judge"),
        parts.fact(case, "incident.protocols", w.join([w.protocol(p) for p in i.protocols]), missing="missing.judge"),
        parts.fact(
            case,
            "incident.techniques",
            w.join([w.technique(t) for t in i.techniques[:8]]),
            missing="missing.judge",
            sure=False,
        ),
        parts.fact(case, "incident.alerts", w("incident.alerts.value", n=i.alert_total, level=w(f"level.{i.level}"))),
        Fact(label=w("incidents.status"), value=statement(w(f"status.{i.status}"))),
    ]
    blocks: list[Block] = [Facts(title="", rows=tuple(rows)), parts.grade_rows(case, i)]
    if i.clocks:
        blocks.append(parts.clock_table(case, i.clocks))
    blocks += parts.timeline(case, i)
    if i.assets:
        blocks.append(parts.asset_table(case, i))
    blocks.append(parts.done_table(case, i))
    return Section(id=f"incident-{n}", number=d.number(1), title=parts.incident_title(case, i), blocks=tuple(blocks))


def weaknesses(d: Draft) -> Section:
    """七、脆弱性与合规线索: clues to GB/T 22239-2019, never a verdict."""
    case, w = d.case, d.w
    number = d.number(0)
    rows = []
    for clue in d.clues:
        tiers: dict[str, Certainty] = {
            "met": "inferred",
            "not_met": "inferred",
            "undecided": "unknown",
            "not_observed": "not_observed",
        }
        rows.append(
            Row(
                cells=(
                    w(f"clause.{clue.clause}.id"),
                    w(f"clause.{clue.clause}.name"),
                    w(f"verdict.{clue.verdict}"),
                    clue.text,
                ),
                certainty=tiers[clue.verdict],
                evidence=case.cite(clue.sample, 2),
            )
        )
    columns = (
        Column(label=w("clues.clause"), width=15),
        Column(label=w("clues.name"), width=21),
        Column(label=w("clues.verdict"), width=12, align="center"),
        Column(label=w("clues.text"), width=34),
    )
    table = Table(title=w("clues.title"), columns=columns, rows=tuple(rows), note=w("clues.note"), certain=True)
    return Section(
        id="weaknesses", number=number, title=w("risk.weaknesses"), blocks=(paragraph(w("clues.head")), table)
    )


def risk(d: Draft) -> Section:
    """八、风险分析: method, matrix and result after GB/T 20984-2022."""
    case, w = d.case, d.w
    number = d.number(0)
    matrix = Table(
        title=w("method.matrix"),
        columns=(
            Column(label=w("method.corner"), width=30),
            *(
                Column(label=f"{n} {w(f'band.{b}')}", width=14, align="center")
                for n, (_, b) in enumerate(assess.BANDS, 1)
            ),
        ),
        rows=tuple(
            Row(
                cells=(
                    f"{lk} {w(f'band.{assess.BANDS[lk - 1][1]}')}",
                    *(
                        w("method.cell", value=lk * loss, band=w(f"band.{assess.band_of(lk * loss)}"))
                        for loss in range(1, 6)
                    ),
                )
            )
            for lk in range(5, 0, -1)
        ),
        note=w("method.matrix.note"),
    )
    method: tuple[Block, ...] = (
        paragraph(w("method.text")),
        Bullets(items=tuple(statement(w(f"method.{k}")) for k in ("asset", "threat", "ease", "effect", "formula"))),
        matrix,
    )
    if d.risks:
        rows = tuple(
            Row(
                cells=(
                    case.asset(r.asset.key),
                    w("method.presumed", value=r.value) if r.value_presumed else str(r.value),
                    str(r.threat),
                    f"{r.ease}{w(f'method.ease.{r.ease_reason}')}",
                    str(r.effect),
                    str(r.likelihood),
                    str(r.loss),
                    w("method.cell", value=r.risk, band=w(f"band.{r.band}")),
                ),
                certainty="inferred",
                evidence=case.cite(r.sample, 2),
                band=r.band,
            )
            for r in d.risks[:ROWS]
        )
        columns = (
            Column(label=w("col.asset"), width=22),
            Column(label=w("method.a"), width=9, align="center"),
            Column(label=w("method.t"), width=7, align="center"),
            Column(label=w("method.vx"), width=18, align="center"),
            Column(label=w("method.vy"), width=8, align="center"),
            Column(label=w("method.l"), width=7, align="center"),
            Column(label=w("method.i"), width=7, align="center"),
            Column(label=w("method.r"), width=14, align="center"),
        )
        left = max(0, len(d.risks) - ROWS)
        result: Block = Table(
            title=w("method.result"),
            columns=columns,
            rows=rows,
            left_off=left,
            certain=True,
            note=w("method.result.note"),
        )
    else:
        result = paragraph(statement(w("situation.no_risk"), "not_observed"))
    sections = (
        Section(id="risk-method", number=d.number(1), title=w("risk.method"), blocks=method),
        Section(id="risk-result", number=d.number(1), title=w("risk.result"), blocks=(result,)),
    )
    return Section(id="risk", number=number, title=w("risk.risk"), sections=sections)


def measures(d: Draft) -> Section:
    """九、处置建议: measures of the playbooks, and what the clues ask for."""
    case, w = d.case, d.w
    number = d.number(0)
    rows: dict[tuple[str, str], list[str]] = {}
    sources: dict[tuple[str, str], str] = {}
    for incident in case.incidents:
        for step in parts.steps(incident, done=False):
            key = (step.phase, parts.step_text(case, step))
            rows.setdefault(key, []).append(incident.id)
            sources.setdefault(key, parts.step_source(case, step))
    ordered = sorted(rows, key=lambda k: parts.PHASES.index(k[0]) if k[0] in parts.PHASES else len(parts.PHASES))
    blocks: list[Block] = []
    if ordered:
        blocks.append(paragraph(w("advice.text")))
        body = tuple(
            Row(
                cells=(
                    str(n),
                    w(f"advice.when.{key[0]}") if w.get(f"advice.when.{key[0]}") else w("advice.when.other"),
                    w.term("phase", key[0], "phase.none"),
                    key[1],
                    w.some(rows[key], 2),
                    sources[key],
                )
            )
            for n, key in enumerate(ordered[:ROWS], 1)
        )
        columns = (
            Column(label=w("advice.n"), width=6, align="center"),
            Column(label=w("advice.when"), width=11, align="center"),
            Column(label=w("advice.phase"), width=10, align="center"),
            Column(label=w("advice.what"), width=39),
            Column(label=w("advice.incident"), width=17, code=True),
            Column(label=w("advice.source"), width=17),
        )
        left = max(0, len(ordered) - ROWS)
        blocks.append(Table(title=w("advice.title"), columns=columns, rows=body, left_off=left))
    elif case.incidents:
        blocks.append(paragraph(statement(w("advice.none_incident"), "unknown")))
    else:
        blocks.append(paragraph(w("advice.none")))
    general = [w(f"advice.clue.{c.clause}") for c in d.clues if c.verdict == "not_met"]
    if general:
        blocks.append(paragraph(w("advice.clues")))
        blocks.append(Bullets(items=tuple(statement(g, "inferred") for g in general)))
    return Section(id="advice", number=number, title=w("risk.advice"), blocks=tuple(blocks))


def appendix(d: Draft) -> Section:
    """附录: evidence, rules, method, terms, what to verify and to supply; a chapter without number in Chinese."""
    case, w = d.case, d.w
    counted = d.number(0)
    number = "" if w.zh else counted
    files = [e for i in case.incidents for e in i.evidence]
    for one in files:
        case.ledger.add(parts.file_ref(one))
    fired = case.alerts.rules()
    rule_rows = tuple(
        Row(
            cells=(
                c.id,
                case.rule_title(c.id, c.name),
                w(f"level.{c.level}"),
                w.join([w.technique(t) for t in c.techniques]) or w("missing.dash"),
            )
        )
        for c in fired[:ROWS]
    )
    rules: list[Block] = [paragraph(parts.rule_summary(case))]
    if rule_rows:
        columns = (
            Column(label=w("rules.id"), width=28, code=True),
            Column(label=w("rules.title"), width=32),
            Column(label=w("col.level"), width=8, align="center"),
            Column(label=w("techniques.name"), width=32),
        )
        left = max(0, len(fired) - ROWS)
        rules.append(Table(title=w("rules.list"), columns=columns, rows=rule_rows, left_off=left))
    if case.evidence.rule_problems:
        shown = case.evidence.rule_problems[:20]
        rules.append(paragraph(w("rules.problems", n=len(case.evidence.rule_problems))))
        rules.append(Bullets(items=tuple(statement(w("quote", text=p)) for p in shown)))
    ask = parts.questions(case, case.incidents)
    verify: list[Block] = [
        Bullets(items=tuple(statement(q, "unknown") for q in ask)) if ask else paragraph(w("verify.none"))
    ]
    verify.append(paragraph(w("verify.method")))
    missing = parts.missing_site_facts(case.site, w)
    supply: Block = Bullets(items=tuple(statement(m) for m in missing)) if missing else paragraph(w("supply.none"))
    evidence: Block = parts.evidence_table(case) if case.ledger.entries else paragraph(w("evidence.none"))
    glossary = Facts(
        title="",
        rows=tuple(Fact(label=w(f"glossary.{g}"), value=statement(w(f"glossary.{g}.text"))) for g in _GLOSSARY),
    )
    sections = (
        Section(id="evidence-list", number=d.number(1), title=w("risk.evidence"), blocks=(evidence,)),
        Section(id="rule-list", number=d.number(1), title=w("risk.rule_list"), blocks=tuple(rules)),
        Section(
            id="method",
            number=d.number(1),
            title=w("risk.basis"),
            blocks=(Bullets(items=tuple(statement(w(f"basis.{n}")) for n in _BASIS)),),
        ),
        Section(id="glossary", number=d.number(1), title=w("risk.glossary"), blocks=(glossary,)),
        Section(id="to-verify", number=d.number(1), title=w("risk.verify"), blocks=tuple(verify)),
        Section(id="to-supply", number=d.number(1), title=w("risk.supply"), blocks=(supply,)),
    )
    return Section(id="appendix", number=number, title=w("risk.appendix"), sections=sections, new_page=True)
