"""应急响应报告（首报）: the first report of the 《国家网络安全事件报告管理办法》 (2025), eight items.

If cause, impact or trend cannot be judged in time, items 一 and 二 are reported first and the rest promptly after.
So every item says what the data shows, and 待补报 for what nobody has judged yet; nothing is invented.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from event.errors import ReportError
from event.incident import Incident
from event.site import Site
from report import parts
from report.document import (
    Block,
    Bullets,
    Callout,
    Column,
    Evidence,
    EvidenceRef,
    Fact,
    Facts,
    Language,
    Metadata,
    ReportDocument,
    Row,
    Section,
    Table,
    paragraph,
    statement,
)
from report.facts import Case
from report.parts import ROWS, han
from report.wording import Wording

_CHANNELS = ("hotline", "website", "miniprogram", "account", "mail", "fax")
_RANSOM = "ransomware"


def build(
    incidents: Sequence[Incident], evidence: Evidence, site: Site, lang: Language, now: datetime
) -> ReportDocument:
    """Build the first report on the gravest incident; the others of the same data are named in item 八.

    Args:
        incidents: Incidents; a first report is about one, so pass one to choose it. None gives a note that there
            is nothing to report.
        evidence: What was read and found.
        site: What the operator declared.
        lang: Language of the report.
        now: Aware time of making.

    Raises:
        ReportError: An incident is marked as touching state secrets; such reports take other ways.
    """
    w = Wording(lang)
    secret = parts.refuse_secrets(incidents)
    if secret:
        raise ReportError(w("secret.refused", id=secret.id), hint=w("secret.hint"))
    case = Case(incidents, evidence, site, w, now)
    return _First(case, case.incidents[0]).document() if case.incidents else _nothing(case)


def _metadata(case: Case, incident: Incident | None) -> Metadata:
    w = case.w
    operator = case.site.operator.name
    kind = w("first.kind")
    secrecy = parts.classification(case, [incident] if incident else [])
    number = parts.report_number("SB", case, incident.id if incident else "", operator or "")
    heading = [
        Fact(label=w("head.number"), value=statement(number)),
        Fact(label=w("head.kind"), value=statement(kind)),
        Fact(label=w("head.classification"), value=statement(secrecy)),
        parts.declared("head.operator", operator, w),
        Fact(label=w("head.created"), value=statement(w.minute(case.now))),
    ]
    if incident:
        heading.insert(
            4,
            Fact(
                label=w("head.incident"),
                value=statement(w("head.incident.value", id=incident.id, version=incident.version)),
            ),
        )
        heading.append(Fact(label=w("head.t0"), value=statement(w.minute(incident.discovered))))
    return Metadata(
        number=number,
        profile="first",
        kind=kind,
        version=incident.version if incident else 1,
        language=w.language,
        title=w("first.title"),
        subtitle=parts.incident_title(case, incident) if incident else "",
        operator=operator,
        classification=secrecy,
        created=case.now,
        data_since=case.evidence.since,
        data_until=case.evidence.until,
        tool_version=case.evidence.tool_version,
        rule_summary=parts.rule_summary(case),
        incidents=(f"{incident.id}@{incident.version}",) if incident else (),
        heading=tuple(heading),
    )


def _nothing(case: Case) -> ReportDocument:
    w = case.w
    text = [statement(w("first.nothing", period=w.span(case.evidence.since, case.evidence.until)), "not_observed")]
    if len(case.alerts):
        text.append(statement(w("first.nothing.alerts", n=len(case.alerts)), "confirmed"))
    text.append(statement(w("first.nothing.limit")))
    blocks: tuple[Block, ...] = (
        Callout(tone="neutral", title=w("first.nothing.title"), statements=tuple(text)),
        parts.limits(case),
    )
    section = Section(id="nothing", number="", title=w("first.nothing.head"), blocks=blocks)
    return ReportDocument(metadata=_metadata(case, None), sections=(section,))


class _First:
    def __init__(self, case: Case, incident: Incident) -> None:
        self.case = case
        self.w = case.w
        self.i = incident

    def document(self) -> ReportDocument:
        items = (
            self._unit(),
            self._what(),
            self._trend(),
            self._cause(),
            self._clues(),
            self._next(),
            self._scene(),
            self._other(),
        )
        sections = [self._head()]
        for n, (key, blocks) in enumerate(items, 1):
            number = f"{han(n)}、" if self.w.zh else f"{n}"
            sections.append(Section(id=f"item-{n}", number=number, title=self.w(f"item.{key}"), blocks=tuple(blocks)))
        sections += [parts.sign_off(self.w, "issuer", "date", "seal"), self._channels(), self._evidence()]
        return ReportDocument(
            metadata=_metadata(self.case, self.i),
            sections=tuple(sections),
            evidence=tuple(self.case.ledger.entries.values()),
            evidence_left_off=self.case.ledger.left_off,
        )

    def _later(self, label: str) -> Fact:
        return Fact(label=self.w(label), value=statement(self.w("missing.later")), missing=True)

    def _known(self, label: str, value: str | None, missing: str = "missing.site") -> Fact:
        """A fact that people gave."""
        if value is None:
            return Fact(label=self.w(label), value=statement(self.w(missing)), missing=True)
        return Fact(label=self.w(label), value=statement(value, "confirmed"))

    # -- 时限 -----------------------------------------------------------------------------------------------

    def _head(self) -> Section:
        case, w, i = self.case, self.w, self.i
        elapsed = max(0.0, (case.now - i.discovered).total_seconds())
        said = [statement(w("first.elapsed", t0=w.minute(i.discovered), elapsed=w.duration(elapsed)), "confirmed")]
        if i.grade_cac in ("particularly_major", "major", "large"):
            said.append(statement(w("first.must", grade=w(f"grade.{i.grade_cac}")), "inferred"))
            tone = "critical"
        elif i.grade_cac == "general":
            said.append(statement(w("first.need_not"), "inferred"))
            tone = "neutral"
        else:
            said.append(statement(w("first.grade_open"), "unknown"))
            tone = "warning"
        blocks: list[Block] = [Callout(tone=tone, title=w("first.clock"), statements=tuple(said))]
        if i.clocks:
            blocks.append(parts.clock_table(case, i.clocks))
        else:
            blocks.append(paragraph(statement(w("first.no_clock"), "unknown")))
        blocks.append(paragraph(w("first.two_stages")))
        return Section(id="deadlines", number="", title=w("first.deadlines"), blocks=tuple(blocks))

    # -- 一 -------------------------------------------------------------------------------------------------

    def _unit(self) -> tuple[str, list[Block]]:
        case, w, i = self.case, self.w, self.i
        systems = [s for s in case.site.segments if s.name in i.segments]
        names = w.join(list(dict.fromkeys(s.system for s in systems if s.system)))
        segments = w.join([w("brackets", a=s.name, b=w.join(list(s.cidrs))) for s in systems]) or w.join(
            list(i.segments)
        )
        targets = [a for a in i.assets if a.side != "attacker"]
        devices = w.some([w("brackets", a=case.asset(a.key), b=w.roles(case.assets.get(a.key, a))) for a in targets], 8)
        return "unit", [
            Facts(title=w("first.unit"), rows=tuple(parts.operator_facts(case.site, w))),
            Facts(
                title=w("first.system"),
                rows=(
                    parts.declared("first.system.name", names or None, w),
                    parts.declared("first.system.segments", segments or None, w),
                    parts.fact(case, "first.system.devices", devices or None),
                    parts.declared("first.system.function", None, w),
                ),
            ),
        ]

    # -- 二 -------------------------------------------------------------------------------------------------

    def _what(self) -> tuple[str, list[Block]]:
        case, w, i = self.case, self.w, self.i
        ids = [a.id for a in i.alerts]
        place = [p for p in (case.site.operator.address, *i.segments) if p]
        grade = w(
            "first.grade.value",
            cac=w.term("grade", i.grade_cac, "grade.none"),
            gbt=w.term("grade", i.grade_gbt20986, "grade.none"),
        )
        basic = Facts(
            title=w("first.basic"),
            rows=(
                parts.fact(case, "first.occurred", w.minute(i.first_seen), cites=ids[:1]),
                parts.fact(case, "incident.last", w.minute(i.last_seen), cites=ids[-1:]),
                parts.fact(case, "incident.discovered", w.minute(i.discovered)),
                parts.fact(case, "first.place", w.join(place) or None),
                parts.fact(
                    case, "incidents.category", parts.category(case, i), missing="missing.judge", sure=False, cites=ids
                ),
                *parts.category_reason(case, i),
                Fact(
                    label=w("first.grade"),
                    value=statement(grade, "inferred" if i.grade_cac or i.grade_gbt20986 else "unknown"),
                ),
            ),
        )
        blocks: list[Block] = [basic, parts.grade_rows(case, i), self._impact()]
        blocks += parts.timeline(case, i)
        blocks.append(parts.done_table(case, i))
        if any(c.id.rpartition(".")[2] == _RANSOM for c in i.categories):
            blocks.append(
                Facts(
                    title=w("first.ransom"),
                    rows=(
                        self._known("first.ransom.amount", i.impact.ransom_amount),
                        self._known("first.ransom.method", i.impact.ransom_method),
                        self._known("first.ransom.date", i.impact.ransom_date),
                    ),
                )
            )
        return "what", blocks

    def _impact(self) -> Facts:
        w, m = self.w, self.i.impact

        def minutes(value: float | None) -> str | None:
            return None if value is None else w.duration(value * 60)

        def number(value: float | None, unit: str) -> str | None:
            return None if value is None else w("value.unit", value=w.number(value), unit=w(unit))

        crime = None if m.suspected_crime is None else w("answer.yes" if m.suspected_crime else "answer.no")
        return Facts(
            title=w("first.impact"),
            rows=(
                self._known("impact.whole", minutes(m.whole_interruption_minutes)),
                self._known("impact.main", minutes(m.main_function_interruption_minutes)),
                self._known("impact.people", number(m.people_affected, "unit.people")),
                self._known("impact.share", number(m.population_share_percent, "unit.percent")),
                self._known("impact.records", number(m.personal_records, "unit.records")),
                self._known("impact.data", w(f"data_threat.{m.data_threat}") if m.data_threat else None),
                self._known("impact.loss", number(m.direct_loss_yuan, "unit.yuan")),
                self._known("impact.portal", minutes(m.portal_unreachable_minutes)),
                self._known("impact.business", w(f"business_loss.{m.business_loss}") if m.business_loss else None),
                self._known("impact.social", w(f"grade.{m.social_harm}") if m.social_harm else None),
                self._known("impact.crime", crime),
            ),
        )

    # -- 三 -------------------------------------------------------------------------------------------------

    def _trend(self) -> tuple[str, list[Block]]:
        case, w, i = self.case, self.w, self.i
        rows: list[Fact] = []
        until = case.evidence.until
        if i.alert_total:
            span = w.duration((i.last_seen - i.first_seen).total_seconds())
            seen = w("trend.seen", n=i.alert_total, span=span, last=w.minute(i.last_seen))
            rows.append(parts.fact(case, "trend.so_far", seen, cites=[a.id for a in i.alerts[-1:]]))
        if until and until > i.last_seen:
            quiet = w("trend.quiet", time=w.duration((until - i.last_seen).total_seconds()), until=w.minute(until))
            rows.append(Fact(label=w("trend.since"), value=statement(quiet, "not_observed")))
        rows += [self._later("trend.trend"), self._later("trend.further")]
        return "trend", [Facts(title="", rows=tuple(rows))]

    # -- 四 -------------------------------------------------------------------------------------------------

    def _cause(self) -> tuple[str, list[Block]]:
        case, w, i = self.case, self.w, self.i
        rows: list[Fact] = []
        titles = list(dict.fromkeys(case.rule_title(a.rule_id, a.rule_name) for a in i.alerts))
        if titles and i.attackers:
            direct = w(
                "cause.direct.value",
                sources=w.some([case.asset(a) for a in i.attackers], 3),
                targets=w.some([case.asset(t) for t in i.targets], 3) or w("missing.judge"),
                rules=w.some(titles, 4),
            )
            rows.append(parts.fact(case, "cause.direct", direct, sure=False, cites=[a.id for a in i.alerts]))
            rows.append(Fact(label=w("cause.entry"), value=statement(w("cause.entry.value"), "unknown")))
        rows.append(self._later("cause.root"))
        return "cause", [Facts(title="", rows=tuple(rows))]

    # -- 五 -------------------------------------------------------------------------------------------------

    def _clues(self) -> tuple[str, list[Block]]:
        case, w, i = self.case, self.w, self.i
        blocks: list[Block] = []
        if i.attackers:
            rows = tuple(self._attacker(ip) for ip in i.attackers[:ROWS])
            columns = (
                Column(label=w("col.address"), width=18, code=True),
                Column(label=w("clue.mac"), width=18, code=True),
                Column(label=w("clue.where"), width=30),
                Column(label=w("clue.declared"), width=14),
            )
            left = max(0, len(i.attackers) - ROWS)
            blocks.append(Table(title=w("clue.attackers"), columns=columns, rows=rows, left_off=left, certain=True))
        rows_left: list[Fact] = []
        if i.techniques:
            text = w.some([w.technique(t) for t in i.techniques], 10)
            rows_left.append(parts.fact(case, "incident.techniques", text, sure=False, cites=[a.id for a in i.alerts]))
        if i.tactics:
            arrow = " → ".join(w.tactic(t) for t in i.tactics)
            rows_left.append(parts.fact(case, "clue.path", arrow, sure=False))
        else:
            rows_left.append(self._later("clue.path"))
        if not i.attackers:
            rows_left.insert(0, self._later("clue.attackers"))
        if i.protocols:
            rows_left.append(parts.fact(case, "incident.protocols", w.join([w.protocol(p) for p in i.protocols])))
        rows_left.append(self._later("clue.weakness"))
        blocks.append(Facts(title="", rows=tuple(rows_left)))
        return "clues", blocks

    def _attacker(self, ip: str) -> Row:
        case, w = self.case, self.w
        asset = case.assets.get(ip) or next((a for a in self.i.assets if a.key == ip), None)
        if case.is_outside(ip):
            where = w("clue.outside")
        else:
            where = w("clue.inside", segment=case.segment_name(ip) or w("clue.segment_open"))
        known = w("clue.declared.yes", name=case.asset_name(ip)) if case.site.asset_of(ip) else w("clue.declared.no")
        cites = case.cite((a.id for a in self.i.alerts if a.source == ip), 2)
        mac = asset.mac if asset and asset.mac else w("missing.dash")
        return Row(cells=(ip, mac, where, known), certainty="confirmed", evidence=cites)

    # -- 六 -------------------------------------------------------------------------------------------------

    def _next(self) -> tuple[str, list[Block]]:
        case, w = self.case, self.w
        wanted = parts.steps(self.i, done=False)
        blocks: list[Block] = []
        if wanted:
            rows = tuple(
                Row(
                    cells=(
                        str(n),
                        w.term("phase", s.phase, "phase.none"),
                        parts.step_text(case, s),
                        parts.step_source(case, s),
                    )
                )
                for n, s in enumerate(wanted[:ROWS], 1)
            )
            columns = (
                Column(label=w("advice.n"), width=8, align="center"),
                Column(label=w("advice.phase"), width=14, align="center"),
                Column(label=w("advice.what"), width=54),
                Column(label=w("advice.source"), width=24),
            )
            left = max(0, len(wanted) - ROWS)
            note = w("next.note")
            blocks.append(Table(title=w("next.planned"), columns=columns, rows=rows, left_off=left, note=note))
            blocks.append(Facts(title="", rows=(self._later("next.support"),)))
        else:
            blocks.append(Facts(title="", rows=(self._later("next.planned"), self._later("next.support"))))
        return "next", blocks

    # -- 七 -------------------------------------------------------------------------------------------------

    def _scene(self) -> tuple[str, list[Block]]:
        case, w, i = self.case, self.w, self.i
        blocks: list[Block] = []
        rows = []
        for one in i.evidence[:ROWS]:
            case.ledger.add(parts.file_ref(one))
            rows.append(
                Row(
                    cells=(
                        one.name,
                        w.size(one.size) if one.size is not None else w("missing.dash"),
                        one.sha256 or w("missing.site"),
                        one.kept_by or w("missing.site"),
                    )
                )
            )
        if rows:
            columns = (
                Column(label=w("scene.name"), width=26, code=True),
                Column(label=w("scene.size"), width=12, align="right"),
                Column(label=w("scene.hash"), width=44, code=True),
                Column(label=w("scene.keeper"), width=18),
            )
            left = max(0, len(i.evidence) - ROWS)
            blocks.append(Table(title=w("scene.kept"), columns=columns, rows=tuple(rows), left_off=left))
        facts: list[Fact] = []
        if case.evidence.inputs:
            names = [str(x.get("path")) for x in case.evidence.inputs]
            for name in names[:ROWS]:
                case.ledger.add(EvidenceRef(ref="", kind="input", id=name, text=w("scene.input")))
            facts.append(
                parts.fact(case, "scene.inputs", w("scene.inputs.value", n=len(names), names=w.some(names, 4)))
            )
        if i.alert_total:
            facts.append(parts.fact(case, "scene.alerts", w("scene.alerts.value", n=i.alert_total)))
        facts.append(self._later("scene.protection"))
        blocks.append(Facts(title="", rows=tuple(facts)))
        return "scene", blocks

    # -- 八 -------------------------------------------------------------------------------------------------

    def _other(self) -> tuple[str, list[Block]]:
        case, w, i = self.case, self.w, self.i
        blocks: list[Block] = []
        others = case.incidents[1:]
        if others:
            names = [w("brackets", a=parts.incident_title(case, o), b=o.id) for o in others]
            text = w("other.incidents", n=len(others), names=w.some(names, 3))
            blocks.append(paragraph(statement(text, "confirmed")))
        ask = parts.questions(case, [i])
        if ask:
            blocks += [paragraph(w("other.questions")), Bullets(items=tuple(statement(q, "unknown") for q in ask))]
        if i.notes:
            notes = [w("other.note", time=w.stamp(n.time), actor=n.actor, text=n.change) for n in i.notes[-10:]]
            blocks += [paragraph(w("other.notes")), Bullets(items=tuple(statement(n) for n in notes))]
        blocks += [paragraph(w("other.limits")), parts.limits(case)]
        return "other", blocks

    # -- 附 -------------------------------------------------------------------------------------------------

    def _channels(self) -> Section:
        w = self.w
        rows = tuple(Row(cells=(w(f"channel.{c}"), w(f"channel.{c}.value"))) for c in _CHANNELS)
        columns = (Column(label=w("channel.name"), width=40), Column(label=w("channel.value"), width=60))
        table = Table(title=w("channel.title"), columns=columns, rows=rows, note=w("channel.note"))
        return Section(
            id="channels", number="", title=w("first.channels"), blocks=(paragraph(w("channel.text")), table)
        )

    def _evidence(self) -> Section:
        case, w = self.case, self.w
        block: Block = parts.evidence_table(case) if case.ledger.entries else paragraph(w("evidence.none"))
        return Section(id="evidence-list", number="", title=w("first.evidence"), blocks=(block,))
