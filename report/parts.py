"""Parts that several kinds of report share: headings, incidents, deadlines, measures, evidence, what was not seen."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence

from event.incident import Certainty, Clock, GradeReason, Incident, Step
from event.incident import Evidence as FileEvidence
from event.site import Site
from report.document import (
    Block,
    Bullets,
    Column,
    EvidenceRef,
    Fact,
    Paragraph,
    Row,
    Section,
    SignOff,
    Statement,
    Table,
    TimelineChart,
    TimelineEvent,
    paragraph,
    statement,
)
from report.facts import Case
from report.wording import Wording

_HAN = "零一二三四五六七八九十"
ROWS = 60
"""Rows of a table at most; the rest is counted."""
_UNIDENTIFIED = frozenset({"unknown", "tcp", "udp"})
_STEP = re.compile(r"playbook--([0-9a-f]{8})[0-9a-f-]*#action--([0-9a-f]{8})[0-9a-f-]*$")
_TIMELINE_EVENTS = 40
PHASES = ("detection", "containment", "eradication", "recovery", "follow_up", "preparation", "")
"""Order in which measures are wanted once an incident runs (PDCERF, preparation last)."""


def han(n: int) -> str:
    """A Chinese numeral from 1 to 99."""
    tens, ones = divmod(n, 10)
    if tens == 0:
        return _HAN[ones]
    return ("" if tens == 1 else _HAN[tens]) + "十" + (_HAN[ones] if ones else "")


class Numbers:
    """Numbers of chapters and parts, as 公文 want them in Chinese (一、 （一） 1.) and decimal in English."""

    def __init__(self, w: Wording) -> None:
        self._zh = w.zh
        self._at = [0, 0, 0]

    def __call__(self, depth: int) -> str:
        """The next number at ``depth`` (0 chapter, 1 part, 2 piece)."""
        self._at[depth] += 1
        self._at[depth + 1 :] = [0] * (2 - depth)
        if not self._zh:
            return ".".join(str(n) for n in self._at[: depth + 1])
        n = self._at[depth]
        return (f"{han(n)}、", f"（{han(n)}）", f"{n}．")[depth]


def report_number(prefix: str, case: Case, *parts: str) -> str:
    """``JM-<prefix>-<date>-<hash>``: the same for the same incidents and the same time of making."""
    seen = "\n".join([prefix, case.now.isoformat(), *parts, *(f"{i.id}@{i.version}" for i in case.incidents)])
    digest = hashlib.sha256(seen.encode()).hexdigest()[:6].upper()
    day = case.w.stamp(case.now)[:10].replace("-", "")
    return f"JM-{prefix}-{day}-{digest}"


def classification(case: Case, incidents: Sequence[Incident]) -> str:
    """非涉密 if people said so of every incident, else 待确认."""
    clear = bool(incidents) and all(i.impact.state_secret is False for i in incidents)
    return case.w("classification.clear" if clear else "classification.open")


def rule_summary(case: Case) -> str:
    """Which rules were applied, and how many alerts people or the alert budget kept out of sight."""
    w, rules = case.w, case.evidence.rules
    if not rules:
        fired = len(case.alerts.rules())
        text = w("rules.summary.unknown", fired=fired)
    else:
        correlations = sum(1 for r in rules if r.get("kind") not in (None, "rule"))
        problems = len(case.evidence.rule_problems)
        text = w("rules.summary", n=len(rules), correlations=correlations, problems=problems)
    if case.suppressed:
        text = w("rules.and", a=text, b=w("rules.suppressed", n=case.suppressed))
    if case.demoted:
        text = w("rules.and", a=text, b=w("rules.demoted", n=case.demoted))
    return text


def fact(
    case: Case,
    label: str,
    value: str | None,
    *,
    missing: str = "missing.site",
    sure: bool = True,
    cites: Iterable[str] = (),
) -> Fact:
    """A fact; a value that nobody gave becomes the words of ``missing``."""
    w = case.w
    if value is None or value == "":
        return Fact(label=w(label), value=statement(w(missing)), missing=True)
    tier: Certainty = "confirmed" if sure else "inferred"
    return Fact(label=w(label), value=statement(value, tier, case.cite(cites)))


def declared(label: str, value: str | None, w: Wording, missing: str = "missing.site") -> Fact:
    """A fact of the site file: the operator's own word, so no certainty is claimed."""
    if value is None or value == "":
        return Fact(label=w(label), value=statement(w(missing)), missing=True)
    return Fact(label=w(label), value=statement(value))


def operator_facts(site: Site, w: Wording) -> list[Fact]:
    """Who operates the networks."""
    o = site.operator
    sector = w.term("sector", o.sector, "missing.site") if o.sector else None
    return [
        declared("operator.name", o.name, w),
        declared("operator.code", o.credit_code, w),
        declared("operator.sector", sector, w),
        declared("operator.kind", w(f"kind.{o.kind}") if o.kind else None, w),
        declared("operator.mlps", _mlps(site, w), w),
        declared("operator.region", o.region_code, w),
        declared("operator.address", o.address, w),
        declared("operator.protection", o.protection_department, w),
        declared("operator.contact", _contact(o.contact_name, o.contact_phone, w), w),
        declared("operator.duty", o.duty_phone, w),
    ]


def _mlps(site: Site, w: Wording) -> str | None:
    o = site.operator
    if o.mlps_level is None and o.mlps_filing is None:
        return None
    level = w(f"mlps.{o.mlps_level}") if o.mlps_level else w("missing.site")
    filing = o.mlps_filing or w("missing.site")
    return w("operator.mlps.value", level=level, filing=filing)


def _contact(name: str | None, phone: str | None, w: Wording) -> str | None:
    if not name and not phone:
        return None
    return w("operator.contact.value", name=name or w("missing.site"), phone=phone or w("missing.site"))


def missing_site_facts(site: Site, w: Wording) -> list[str]:
    """Labels of facts of the site file that are absent."""
    return (
        [f.label for f in operator_facts(site, w) if f.missing]
        + ([] if site.segments else [w("missing.segments")])
        + ([] if site.assets else [w("missing.assets")])
    )


def incident_title(case: Case, incident: Incident) -> str:
    """Title of an incident in the language of the report."""
    return incident.title_zh if case.w.zh else incident.title_en


def category(case: Case, incident: Incident) -> str | None:
    """Main category with its class: ``网络攻击事件 — 网络扫描探测事件``."""
    if not incident.categories:
        return None
    w, main = case.w, incident.categories[0]
    parent, name = (main.parent_zh, main.name_zh) if w.zh else (main.parent_en, main.name_en)
    text = name if parent == name else w("category.value", parent=parent, name=name)
    others = [c.name_zh if w.zh else c.name_en for c in incident.categories[1:4]]
    return w("category.more", main=text, others=w.join(others)) if others else text


def category_reason(case: Case, incident: Incident) -> list[Fact]:
    """Why the main category is what it is; nothing where no reason is on record."""
    if not incident.categories:
        return []
    main = incident.categories[0]
    reason = main.reason if case.w.zh else main.reason_en or main.reason
    return [fact(case, "incident.reason", reason, sure=False)] if reason else []


def grade_rows(case: Case, incident: Incident) -> Table:
    """Both grades with their reasons."""
    w = case.w
    rows = []
    grades = {"cac-2025": incident.grade_cac, "gbt20986-2023": incident.grade_gbt20986}
    for scale, grade in grades.items():
        reasons: list[GradeReason] = [r for r in incident.grade_reasons if r.scale == scale]
        head = (w(f"scale.{scale}"), w(f"grade.{grade}") if grade else w("grade.none"))
        if not reasons:
            rows.append(
                Row(cells=(*head, w("grade.no_reason"), w("missing.dash"), w("missing.dash")), certainty="unknown")
            )
        for r in reasons:
            indicator, value, threshold = _reason(r, w)
            basis = indicator
            if value or threshold:
                basis = w("grade.basis", indicator=indicator, value=value or w("missing.site"))
            if threshold:
                basis = w("grade.basis.threshold", basis=basis, threshold=threshold)
            one = w(f"grade.{r.grade}") if r.grade else head[1]
            source = r.source if w.zh else r.source_en or r.source
            rows.append(Row(cells=(head[0], one, basis, source, w.term("mark", r.mark)), certainty=r.certainty))
    columns = (
        Column(label=w("grade.scale"), width=22),
        Column(label=w("grade.grade"), width=12, align="center"),
        Column(label=w("grade.reason"), width=34),
        Column(label=w("grade.source"), width=20),
        Column(label=w("grade.mark"), width=12, align="center"),
    )
    return Table(title=w("grade.title"), columns=columns, rows=tuple(rows), note=w("grade.note"), certain=True)


def _reason(r: GradeReason, w: Wording) -> tuple[str, str | None, str | None]:
    if w.zh:
        return r.indicator, r.value, r.threshold
    return r.indicator_en or r.indicator, r.value_en or r.value, r.threshold_en or r.threshold


def clock_state(case: Case, clock: Clock) -> str:
    """How a deadline stands now."""
    w = case.w
    if clock.done:
        late = clock.due is not None and clock.done > clock.due
        return w("clock.done.late" if late else "clock.done", time=w.stamp(clock.done))
    if clock.due is None:
        return w("clock.soon")
    left = (clock.due - case.now).total_seconds()
    return w("clock.left", time=w.duration(left)) if left >= 0 else w("clock.over", time=w.duration(-left))


def clock_table(case: Case, clocks: Sequence[Clock]) -> Table:
    """Deadlines, the earliest first."""
    w = case.w
    rows = []
    for clock in sorted(clocks, key=lambda c: (c.due is None, c.due or c.starts, c.id)):
        condition = clock.condition_zh if w.zh else clock.condition_en
        what = clock.what_zh if w.zh else clock.what_en
        source = clock.source if w.zh else clock.source_en or clock.source
        rows.append(
            Row(
                cells=(
                    w("clock.conditional", what=what, condition=condition) if condition else what,
                    w.join(list(clock.recipients_zh if w.zh else clock.recipients_en)) or w("missing.site"),
                    w.stamp(clock.starts),
                    w.stamp(clock.due) if clock.due else w("clock.no_number"),
                    clock_state(case, clock),
                    w("clock.source", source=source, mark=w.term("mark", clock.mark)),
                )
            )
        )
    columns = (
        Column(label=w("clock.what"), width=21),
        Column(label=w("clock.recipients"), width=15),
        Column(label=w("clock.starts"), width=13, align="center"),
        Column(label=w("clock.due"), width=13, align="center"),
        Column(label=w("clock.state"), width=12),
        Column(label=w("clock.basis"), width=26),
    )
    return Table(title=w("clock.title"), columns=columns, rows=tuple(rows), note=w("clock.note"))


def timeline(case: Case, incident: Incident) -> list[Block]:
    """The course of an incident: a chart where there is more than one event, and the lines themselves."""
    w = case.w
    entries = sorted(incident.timeline, key=lambda e: e.time)
    if not entries:
        return [paragraph(statement(w("timeline.none"), "unknown"))]
    shown = entries[:_TIMELINE_EVENTS]
    events = tuple(
        TimelineEvent(
            time=e.time,
            lane=w.tactic(e.phase),
            text=e.text_zh if w.zh else e.text,
            certainty=e.certainty,
            evidence=case.cite(e.evidence),
        )
        for e in shown
    )
    lanes = tuple(dict.fromkeys(e.lane for e in events))
    blocks: list[Block] = []
    if len(events) > 1:
        blocks.append(
            TimelineChart(
                title=w("timeline.chart", title=incident_title(case, incident)),
                x_label=w("axis.time"),
                y_label=w("axis.tactic"),
                lanes=lanes,
                events=events,
                note=w("timeline.note"),
            )
        )
    rows = tuple(
        Row(cells=(str(n), w.stamp(e.time), e.lane, e.text), certainty=e.certainty, evidence=e.evidence)
        for n, e in enumerate(events, 1)
    )
    columns = (
        Column(label=w("advice.n"), width=7, align="center"),
        Column(label=w("col.time"), width=18, align="center"),
        Column(label=w("axis.tactic"), width=15),
        Column(label=w("timeline.what"), width=44),
    )
    blocks.append(
        Table(
            title=w("timeline.table"),
            columns=columns,
            rows=rows,
            left_off=len(entries) - len(shown),
            certain=True,
            note=w("note.beijing"),
        )
    )
    return blocks


def asset_table(case: Case, incident: Incident) -> Table:
    """Assets of an incident."""
    w = case.w
    order = {"attacker": 0, "both": 1, "target": 2}
    assets = sorted(incident.assets, key=lambda a: (order[a.side], -a.risk, a.key))
    rows = []
    for a in assets[:ROWS]:
        seen = case.assets.get(a.key, a)
        rows.append(
            Row(
                cells=(
                    a.key,
                    case.asset_name(a.key) or a.name or w("missing.dash"),
                    w(f"side.{a.side}"),
                    w.roles(seen),
                    case.segment_name(a.key) or a.segment or w("missing.site"),
                    w.term("importance", seen.importance, "missing.site"),
                    w.number(a.alert_count),
                )
            )
        )
    columns = (
        Column(label=w("col.address"), width=17, code=True),
        Column(label=w("col.name"), width=18),
        Column(label=w("col.side"), width=13),
        Column(label=w("col.role"), width=19),
        Column(label=w("col.segment"), width=14),
        Column(label=w("col.importance"), width=12, align="center"),
        Column(label=w("col.alerts"), width=10, align="right"),
    )
    return Table(title=w("incident.assets"), columns=columns, rows=tuple(rows), left_off=max(0, len(assets) - ROWS))


def steps(incident: Incident, *, done: bool) -> list[Step]:
    """Measures taken, or those that are recommended and not yet done, in the order of PDCERF."""
    chosen = [s for s in incident.actions if (s.done_at is not None) == done]
    if done:
        return sorted(chosen, key=lambda s: s.done_at or incident.first_seen)
    return sorted(chosen, key=lambda s: PHASES.index(s.phase) if s.phase in PHASES else len(PHASES))


def step_text(case: Case, step: Step) -> str:
    """What a measure says."""
    return step.text_zh if case.w.zh else step.text_en


def step_source(case: Case, step: Step) -> str:
    """Where a measure comes from: playbook and step, by the first digits of their ids."""
    found = _STEP.match(step.source)
    if found:
        return case.w("measures.source", playbook=found[1], step=found[2])
    return step.source or case.w("missing.dash")


def step_sentence(case: Case, step: Step) -> str:
    """What a measure says, with the full stop that a list of sentences wants."""
    text = step_text(case, step).rstrip()
    return text if text.endswith(("。", "！", "？", ".", "!", "?")) else text + ("。" if case.w.zh else ".")


def done_table(case: Case, incident: Incident) -> Table | Paragraph:
    """Measures taken with their effect; a sentence where none is on record."""
    w = case.w
    taken = steps(incident, done=True)
    if not taken:
        return paragraph(statement(w("measures.none"), "unknown"))
    rows = tuple(
        Row(
            cells=(
                w.stamp(s.done_at) if s.done_at else w("missing.dash"),
                step_text(case, s),
                s.done_by or w("missing.site"),
                s.effect or w("measures.effect_open"),
            )
        )
        for s in taken[:ROWS]
    )
    columns = (
        Column(label=w("col.time"), width=18, align="center"),
        Column(label=w("measures.what"), width=40),
        Column(label=w("measures.by"), width=14),
        Column(label=w("measures.effect"), width=28),
    )
    left = max(0, len(taken) - ROWS)
    return Table(title=w("measures.taken"), columns=columns, rows=rows, note=w("note.beijing"), left_off=left)


def file_ref(one: FileEvidence) -> EvidenceRef:
    """An entry of the evidence list for a thing that is kept."""
    return EvidenceRef(ref="", kind="file", id=one.name, text=one.note or one.name, sha256=one.sha256)


def evidence_table(case: Case) -> Table:
    """The evidence list; to be made last, when everything has been cited."""
    w = case.w
    rows = []
    for entry in case.ledger.entries.values():
        text = entry.text
        if entry.event_total:
            text = w("evidence.events", text=text, n=w.number(entry.event_total))
        if entry.sha256:
            text = w("evidence.hash", text=text, digest=entry.sha256)
        rows.append(
            Row(
                cells=(
                    entry.ref,
                    w(f"evidence.{entry.kind}"),
                    w.stamp(entry.time) if entry.time else w("missing.dash"),
                    text,
                    entry.id,
                )
            )
        )
    columns = (
        Column(label=w("evidence.ref"), width=7, align="center"),
        Column(label=w("evidence.kind"), width=8, align="center"),
        Column(label=w("col.time"), width=17, align="center"),
        Column(label=w("evidence.text"), width=40),
        Column(label=w("evidence.id"), width=28, code=True),
    )
    return Table(
        title=w("evidence.title"),
        columns=columns,
        rows=tuple(rows),
        note=w("evidence.note"),
        left_off=case.ledger.left_off,
        anchors=True,
    )


def input_table(case: Case) -> Table:
    """The account of every frame and line."""
    w = case.w
    rows = []
    for one in case.evidence.inputs[:ROWS]:
        total = one.get("frames", one.get("lines"))
        unit = w("unit.frames" if "frames" in one else "unit.lines")
        rows.append(
            Row(
                cells=(
                    str(one.get("path") or w("missing.dash")),
                    w.term("input", one.get("kind") or None),
                    _count(w, total, unit),
                    _count(w, one.get("decoded")),
                    _count(w, one.get("undecoded")),
                    _count(w, one.get("failed")),
                    w("inputs.cut") if one.get("error") else w("inputs.whole"),
                )
            )
        )
    columns = (
        Column(label=w("inputs.path"), width=24, code=True),
        Column(label=w("inputs.kind"), width=17),
        Column(label=w("inputs.total"), width=13, align="right"),
        Column(label=w("inputs.decoded"), width=12, align="right"),
        Column(label=w("inputs.undecoded"), width=12, align="right"),
        Column(label=w("inputs.failed"), width=9, align="right"),
        Column(label=w("inputs.state"), width=13, align="center"),
    )
    left = max(0, len(case.evidence.inputs) - ROWS)
    return Table(title=w("inputs.title"), columns=columns, rows=tuple(rows), note=w("inputs.note"), left_off=left)


def _count(w: Wording, value: object, unit: str = "") -> str:
    if not isinstance(value, int):
        return w("missing.dash")
    return f"{w.number(value)}{unit if w.zh else ' ' + unit if unit else ''}"


def limits(case: Case) -> Bullets:
    """What was not seen: the reader must know how far the eyes of the sensor reach."""
    w, e = case.w, case.evidence
    items: list[Statement] = []
    if not e.inputs:
        items.append(statement(w("limits.no_inputs"), "unknown"))
    broken = [str(i.get("path")) for i in e.inputs if i.get("error")]
    if broken:
        items.append(statement(w("limits.broken", n=len(broken), names=w.some(broken, 3)), "confirmed"))
    undecoded = sum(int(i.get("undecoded") or 0) for i in e.inputs)
    failed = sum(int(i.get("failed") or 0) for i in e.inputs)
    total = sum(int(i.get("frames", i.get("lines", 0)) or 0) for i in e.inputs)
    if undecoded or failed:
        share = f"{100 * (undecoded + failed) / max(1, total):.2f}%"
        text = w("limits.undecoded", undecoded=w.number(undecoded), failed=w.number(failed), share=share)
        items.append(statement(text, "confirmed"))
    elif total:
        items.append(statement(w("limits.all_decoded", total=w.number(total)), "confirmed"))
    if case.pairs_left_off:
        items.append(statement(w("limits.pairs", n=w.number(case.pairs_left_off)), "confirmed"))
    unknown = sum(p.flows for p in case.pairs if p.protocol in _UNIDENTIFIED)
    if unknown:
        items.append(statement(w("limits.unknown_protocol", n=w.number(unknown)), "confirmed"))
    if case.site.segments and case.pairs:
        seen = {case.segment_name(ip) for p in case.pairs for ip in (p.source, p.destination)}
        quiet = [s.name for s in case.site.segments if s.name not in seen]
        if quiet:
            items.append(statement(w("limits.quiet_segments", names=w.some(quiet)), "not_observed"))
    absent = [case.asset(a.ip) for a in case.site.assets if a.ip not in case.assets]
    if absent:
        items.append(statement(w("limits.quiet_assets", n=len(absent), names=w.some(absent)), "not_observed"))
    if not any(d == "syslog" or d.startswith(("zeek.", "suricata.")) for d in e.event_counts):
        items.append(statement(w("limits.no_logs"), "not_observed"))
    if e.rule_problems:
        items.append(statement(w("limits.rules", n=len(e.rule_problems)), "confirmed"))
    items.append(statement(w("limits.passive")))
    items.append(statement(w("limits.encrypted")))
    return Bullets(items=tuple(items))


def sign_off(w: Wording, *keys: str) -> Section:
    """Where a report is signed: after the body, before the annexes, as 公文 have it."""
    block = SignOff(labels=tuple(w(f"sign.{k}") for k in keys), note=w("sign.note"))
    return Section(id="sign-off", number="", title=w("sign.title"), blocks=(block,))


def questions(case: Case, incidents: Sequence[Incident]) -> list[str]:
    """Facts that would settle a grade, each once."""
    lists = (i.open_questions_zh if case.w.zh else i.open_questions_en for i in incidents)
    return list(dict.fromkeys(q for one in lists for q in one))


def refuse_secrets(incidents: Sequence[Incident]) -> Incident | None:
    """The first incident that people marked as touching state secrets, if any."""
    return next((i for i in incidents if i.impact.state_secret), None)
