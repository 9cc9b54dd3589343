"""风险报告: what was seen in a period, how grave it is, what to do.

Chapters follow the practice of 态势报告 (conclusion first) and the risk-assessment report format of
国家电子政务工程建设项目非涉密信息系统, with risk after GB/T 20984-2022 and incidents after GB/T 20986-2023.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from event.errors import ReportError
from event.incident import Certainty, Incident
from event.site import Site
from report import assess, parts
from report.document import (
    Block,
    Bullets,
    Callout,
    Column,
    Evidence,
    Fact,
    Facts,
    Language,
    MatrixChart,
    Metadata,
    ReportDocument,
    RiskBar,
    RiskChart,
    Row,
    Section,
    Signature,
    Statement,
    Table,
    TimeChart,
    TimeSeries,
    paragraph,
    statement,
)
from report.facts import Case
from report.parts import ROWS, Numbers
from report.wording import Wording

_CHART_ASSETS = 15
_TOP = 3


def build(
    incidents: Sequence[Incident], evidence: Evidence, site: Site, lang: Language, now: datetime
) -> ReportDocument:
    """Build the risk report.

    Args:
        incidents: Incidents of the period; none is a report too.
        evidence: What was read and found.
        site: What the operator declared.
        lang: Language of the report.
        now: Aware time of making.

    Raises:
        ReportError: An incident is marked as touching state secrets; such reports take other ways.
    """
    secret = parts.refuse_secrets(incidents)
    if secret:
        w = Wording(lang)
        raise ReportError(w("secret.refused", id=secret.id), hint=w("secret.hint"))
    return _Risk(Case(incidents, evidence, site, Wording(lang), now)).document()


class _Risk:
    def __init__(self, case: Case) -> None:
        self.case = case
        self.w = case.w
        self.number = Numbers(case.w)
        self.risks = assess.risks(case)
        self.clues = assess.clues(case)

    def document(self) -> ReportDocument:
        case, w = self.case, self.w
        sections = (
            self._summary(),
            self._basics(),
            self._situation(),
            self._traffic(),
            self._threats(),
            self._incidents(),
            self._weaknesses(),
            self._risk(),
            self._measures(),
            self._appendix(),
        )
        operator = case.site.operator.name
        number = parts.report_number("FX", case, operator or "")
        kind = w("risk.kind")
        secrecy = parts.classification(case, case.incidents)
        return ReportDocument(
            metadata=Metadata(
                number=number,
                profile="risk",
                kind=kind,
                version=1,
                language=w.language,
                title=w("risk.title"),
                subtitle=w("risk.subtitle", operator=operator or w("risk.operator_open")),
                operator=operator,
                classification=secrecy,
                created=case.now,
                data_since=case.evidence.since,
                data_until=case.evidence.until,
                tool_version=case.evidence.tool_version,
                rule_summary=parts.rule_summary(case),
                incidents=tuple(f"{i.id}@{i.version}" for i in case.incidents),
                signatures=(
                    Signature(label=w("sign.issuer")),
                    Signature(label=w("sign.reviewer")),
                    Signature(label=w("sign.seal")),
                ),
                heading=(
                    Fact(label=w("head.number"), value=statement(number)),
                    Fact(label=w("head.kind"), value=statement(kind)),
                    Fact(label=w("head.classification"), value=statement(secrecy)),
                    parts.declared("head.operator", operator, w),
                    Fact(label=w("head.period"), value=statement(w.span(case.evidence.since, case.evidence.until))),
                    Fact(label=w("head.created"), value=statement(w.minute(case.now))),
                ),
            ),
            sections=sections,
            evidence=tuple(case.ledger.entries.values()),
            evidence_left_off=case.ledger.left_off,
        )

    # -- 一、摘要 -------------------------------------------------------------------------------------------

    def _summary(self) -> Section:
        case, w = self.case, self.w
        number = self.number(0)
        blocks: list[Block] = [self._conclusion(), self._key_numbers()]
        top = [r for r in self.risks if r.band in ("very_high", "high", "medium")][:_TOP]
        if top:
            items = tuple(
                statement(
                    w(
                        "summary.risk",
                        asset=case.asset(r.asset.ip),
                        band=w(f"band.{r.band}"),
                        value=r.risk,
                        alerts=sum(1 for row in case.alert_rows.values() if row["destination.ip"] == r.asset.ip),
                    ),
                    "inferred",
                    case.cite(r.sample),
                )
                for r in top
            )
            blocks += [paragraph(w("summary.top")), Bullets(items=items)]
        blocks += [paragraph(w("summary.today")), Bullets(ordered=True, items=self._today())]
        return Section(id="summary", number=number, title=w("risk.summary"), blocks=tuple(blocks))

    def _conclusion(self) -> Callout:
        case, w = self.case, self.w
        period = w.span(case.evidence.since, case.evidence.until)
        alerts = len(case.alert_rows)
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
        worst = self.risks[0].band if self.risks else None
        if worst:
            said.append(statement(w("conclusion.risk", band=w(f"band.{worst}")), "inferred"))
        grave = bool(reportable) or main.level in ("critical", "high")
        return Callout(tone="critical" if grave else "warning", title=w("conclusion.title"), statements=tuple(said))

    def _key_numbers(self) -> Table:
        case, w = self.case, self.w
        levels = case.level_counts()
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
        by_grade = w.join([w("numbers.level", level=g, n=n) for g, n in grades.items()])
        attackers = list(dict.fromkeys(ip for i in case.incidents for ip in i.attackers))
        targets = list(dict.fromkeys(ip for i in case.incidents for ip in i.targets))
        rows = [
            (w("numbers.read"), w.join(read) or w("missing.none"), w("numbers.read.note", n=len(case.evidence.inputs))),
            (w("numbers.events"), w.number(total), w("numbers.events.note", n=len(case.evidence.event_counts))),
            (w("numbers.assets"), w.number(len(case.assets)), w("numbers.assets.note", n=len(case.site.assets))),
            (w("numbers.alerts"), w.number(len(case.alert_rows)), by_level or w("numbers.alerts.none")),
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

    def _today(self) -> tuple[Statement, ...]:
        case, w = self.case, self.w
        items: list[Statement] = []
        clocks = [(c, i) for i in case.incidents for c in i.clocks if c.done is None and c.due is not None]
        for clock, _ in sorted(clocks, key=lambda p: (p[0].due, p[0].id))[:3]:
            if clock.due is None:
                continue
            condition = clock.condition_zh if w.zh else clock.condition_en
            what = clock.what_zh if w.zh else clock.what_en
            key = "today.clock_if" if condition else "today.clock"
            recipients = w.join(list(clock.recipients_zh if w.zh else clock.recipients_en)) or w("missing.site")
            items.append(
                statement(
                    w(
                        key,
                        what=what,
                        due=w.minute(clock.due),
                        to=recipients,
                        condition=condition,
                        state=parts.clock_state(case, clock),
                    )
                )
            )
        if case.incidents:
            main = case.incidents[0]
            wanted = [s for s in parts.steps(main, done=False) if s.phase in ("detection", "containment")]
            items += [statement(parts.step_text(case, s)) for s in wanted[:3]]
            if parts.questions(case, case.incidents):
                items.append(statement(w("today.questions")))
            if not wanted:
                items.append(statement(w("today.verify", n=len(case.incidents))))
        elif case.alert_rows:
            items.append(statement(w("today.alerts")))
        if any(i.get("error") for i in case.evidence.inputs):
            items.append(statement(w("today.inputs")))
        if parts.missing_site_facts(case.site, w):
            items.append(statement(w("today.site")))
        return tuple(items) or (statement(w("today.nothing")),)

    # -- 二、基本情况 ----------------------------------------------------------------------------------------

    def _basics(self) -> Section:
        case, w = self.case, self.w
        number = self.number(0)
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
            columns = (
                Column(label=w("events.dataset"), width=70),
                Column(label=w("events.count"), width=30, align="right"),
            )
            data.append(Table(title=w("events.title"), columns=columns, rows=rows, left_off=max(0, len(counts) - ROWS)))
        sections = (
            Section(id="unit", number=self.number(1), title=w("risk.unit"), blocks=tuple(unit)),
            Section(id="data", number=self.number(1), title=w("risk.data"), blocks=tuple(data)),
            Section(
                id="limits",
                number=self.number(1),
                title=w("risk.limits"),
                blocks=(paragraph(w("limits.head")), parts.limits(case)),
            ),
        )
        return Section(id="basics", number=number, title=w("risk.basics"), sections=sections)

    # -- 三、网络安全态势 ------------------------------------------------------------------------------------

    def _situation(self) -> Section:
        case, w = self.case, self.w
        number = self.number(0)
        over_time: list[Block] = []
        starts, size, series = case.buckets()
        if starts:
            total = len(case.alert_rows)
            sums = [sum(v[i] for v in series.values()) for i in range(len(starts))]
            peak = max(range(len(sums)), key=lambda i: sums[i])
            levels = w.join([w("numbers.level", level=w(f"level.{lv}"), n=sum(v)) for lv, v in series.items()])
            text = w(
                "situation.alerts",
                n=total,
                levels=levels,
                peak=w.stamp(starts[peak]),
                size=w.duration(size),
                most=sums[peak],
            )
            over_time.append(paragraph(statement(text, "confirmed")))
            over_time.append(
                TimeChart(
                    title=w("chart.time.title"),
                    x_label=w("axis.time"),
                    y_label=w("chart.time.y"),
                    unit=w("unit.alerts"),
                    starts=tuple(starts),
                    bucket_seconds=size,
                    series=tuple(
                        TimeSeries(level=lv, label=w(f"level.{lv}"), values=tuple(v)) for lv, v in series.items()
                    ),
                    note=w("chart.time.note", size=w.duration(size)),
                )
            )
        else:
            over_time.append(paragraph(statement(w("situation.none"), "not_observed")))
        by_risk: list[Block] = []
        if self.risks:
            counts = {b: sum(1 for r in self.risks if r.band == b) for _, b in reversed(assess.BANDS)}
            said = w.join([w("numbers.level", level=w(f"band.{b}"), n=n) for b, n in counts.items() if n])
            by_risk.append(paragraph(statement(w("situation.risk", n=len(self.risks), bands=said), "inferred")))
            by_risk.append(
                RiskChart(
                    title=w("chart.risk.title"),
                    x_label=w("chart.risk.x"),
                    y_label=w("chart.risk.y"),
                    unit=w("unit.points"),
                    maximum=25,
                    bars=tuple(
                        RiskBar(
                            label=case.asset_name(r.asset.ip) or r.asset.ip,
                            detail=r.asset.ip if case.asset_name(r.asset.ip) else "",
                            value=r.risk,
                            band=r.band,
                        )
                        for r in self.risks[:_CHART_ASSETS]
                    ),
                    legend=tuple(
                        (b, w("chart.risk.band", band=w(f"band.{b}"), low=low, high=top)) for low, top, b in _ranges()
                    ),
                    note=w("chart.risk.note", n=len(self.risks), shown=min(_CHART_ASSETS, len(self.risks))),
                )
            )
        else:
            by_risk.append(paragraph(statement(w("situation.no_risk"), "not_observed")))
        sections = (
            Section(id="alerts-over-time", number=self.number(1), title=w("risk.over_time"), blocks=tuple(over_time)),
            Section(id="assets-by-risk", number=self.number(1), title=w("risk.by_risk"), blocks=tuple(by_risk)),
        )
        return Section(id="situation", number=number, title=w("risk.situation"), sections=sections)

    # -- 四、资产与通信 --------------------------------------------------------------------------------------

    def _traffic(self) -> Section:
        number = self.number(0)
        w = self.w
        sections = (
            Section(id="assets", number=self.number(1), title=w("risk.assets"), blocks=self._asset_blocks()),
            Section(id="matrix", number=self.number(1), title=w("risk.matrix"), blocks=self._matrix_blocks()),
        )
        return Section(id="traffic", number=number, title=w("risk.traffic"), sections=sections)

    def _asset_blocks(self) -> tuple[Block, ...]:
        case, w = self.case, self.w
        assets = list(case.assets.values())
        if not assets:
            return (paragraph(statement(w("assets.none"), "not_observed")),)
        bands = {r.asset.ip: r for r in self.risks}
        rows = []
        for a in assets[:ROWS]:
            risk = bands.get(a.ip)
            rows.append(
                Row(
                    cells=(
                        a.ip,
                        case.asset_name(a.ip) or w("missing.dash"),
                        w.roles(a),
                        case.segment_name(a.ip) or w("missing.site"),
                        w.term("importance", a.importance, "missing.site"),
                        w.number(a.risk),
                        w(f"band.{risk.band}") if risk else w("missing.dash"),
                    ),
                    band=risk.band if risk else None,
                )
            )
        columns = (
            Column(label=w("col.address"), width=16, code=True),
            Column(label=w("col.name"), width=20),
            Column(label=w("col.role"), width=22),
            Column(label=w("col.segment"), width=15),
            Column(label=w("col.importance"), width=10, align="center"),
            Column(label=w("col.alert_risk"), width=9, align="right"),
            Column(label=w("col.band"), width=8, align="center"),
        )
        undeclared = sum(1 for a in assets if case.site.asset_of(a.ip) is None)
        return (
            paragraph(statement(w("assets.text", n=len(assets), undeclared=undeclared), "confirmed")),
            Table(
                title=w("assets.title"),
                columns=columns,
                rows=tuple(rows),
                note=w("assets.note"),
                left_off=max(0, len(assets) - ROWS),
            ),
        )

    def _matrix_blocks(self) -> tuple[Block, ...]:
        case, w = self.case, self.w
        if not case.pairs:
            return (paragraph(statement(w("matrix.none"), "not_observed")),)
        rows, columns, cells, left = case.matrix()
        top = max(cells.values(), default=0)
        divisor, unit = next(
            ((d, u) for d, u in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")) if top >= 10 * d), (1, "B")
        )
        marked = case.alert_pairs()
        cut = left + max(0, len(rows) - 12)
        chart = MatrixChart(
            title=w("chart.matrix.title"),
            x_label=w("chart.matrix.x"),
            y_label=w("chart.matrix.y"),
            unit=unit,
            rows=tuple(rows),
            columns=tuple(columns),
            values=tuple(tuple(_scaled(cells.get((r, c)), divisor) for c in columns) for r in rows),
            marked=tuple((i, j) for i, r in enumerate(rows) for j, c in enumerate(columns) if (r, c) in marked),
            marked_label=w("chart.matrix.marked"),
            none_label=w("chart.matrix.empty"),
            note=w("chart.matrix.note_cut", left=cut) if cut else w("chart.matrix.note"),
        )
        protocols = case.protocols()
        table = Table(
            title=w("protocols.title"),
            columns=(
                Column(label=w("protocols.name"), width=34),
                Column(label=w("protocols.flows"), width=22, align="right"),
                Column(label=w("protocols.packets"), width=22, align="right"),
                Column(label=w("protocols.bytes"), width=22, align="right"),
            ),
            rows=tuple(
                Row(cells=(w.protocol(n), w.number(f), w.number(p), w.size(b))) for n, f, p, b in protocols[:ROWS]
            ),
            left_off=max(0, len(protocols) - ROWS),
        )
        ends = len({p.source for p in case.pairs} | {p.destination for p in case.pairs})
        routes = len({(p.source, p.destination) for p in case.pairs})
        text = statement(w("matrix.text", ends=ends, routes=routes, protocols=len(protocols)), "confirmed")
        return (paragraph(text), chart, table)

    # -- 五、威胁与告警 --------------------------------------------------------------------------------------

    def _threats(self) -> Section:
        case, w = self.case, self.w
        number = self.number(0)
        if not case.alert_rows:
            body: tuple[Block, ...] = (paragraph(statement(w("situation.none"), "not_observed")),)
            return Section(id="threats", number=number, title=w("risk.threats"), blocks=body)
        sections = (
            Section(id="rules", number=self.number(1), title=w("risk.rules"), blocks=(self._rule_table(),)),
            Section(
                id="techniques", number=self.number(1), title=w("risk.techniques"), blocks=self._technique_blocks()
            ),
            Section(
                id="sources",
                number=self.number(1),
                title=w("risk.sources"),
                blocks=(self._ends_table("source.ip", "sources"), self._ends_table("destination.ip", "targets")),
            ),
        )
        return Section(id="threats", number=number, title=w("risk.threats"), sections=sections)

    def _rule_table(self) -> Table:
        case, w = self.case, self.w
        counts = case.rules()
        rows = tuple(
            Row(
                cells=(
                    c.title,
                    w(f"level.{c.level}"),
                    w.number(c.alerts),
                    w.number(c.events) if c.events else w("missing.dash"),
                    w.stamp(c.first),
                    w.stamp(c.last),
                ),
                certainty="confirmed",
                evidence=case.cite(c.sample, 2),
            )
            for c in counts[:ROWS]
        )
        columns = (
            Column(label=w("rules.title"), width=30),
            Column(label=w("col.level"), width=8, align="center"),
            Column(label=w("col.alerts"), width=9, align="right"),
            Column(label=w("rules.events"), width=10, align="right"),
            Column(label=w("rules.first"), width=16, align="center"),
            Column(label=w("rules.last"), width=16, align="center"),
        )
        left = max(0, len(counts) - ROWS)
        return Table(
            title=w("rules.table"), columns=columns, rows=rows, note=w("rules.note"), left_off=left, certain=True
        )

    def _technique_blocks(self) -> tuple[Block, ...]:
        case, w = self.case, self.w
        techniques = case.techniques()
        if not techniques:
            return (paragraph(statement(w("techniques.none"), "not_observed")),)
        rows = tuple(
            Row(cells=(w.technique(t), w.number(n)), certainty="inferred", evidence=case.cite(sample, 2))
            for t, n, sample in techniques[:ROWS]
        )
        columns = (Column(label=w("techniques.name"), width=60), Column(label=w("col.alerts"), width=14, align="right"))
        left = max(0, len(techniques) - ROWS)
        return (
            Table(
                title=w("techniques.title"),
                columns=columns,
                rows=rows,
                note=w("techniques.note"),
                left_off=left,
                certain=True,
            ),
        )

    def _ends_table(self, column: str, key: str) -> Table:
        case, w = self.case, self.w
        found = case.ends(column)
        rows = tuple(
            Row(
                cells=(
                    ip,
                    case.asset_name(ip) or w("missing.dash"),
                    case.segment_name(ip) or w("missing.site"),
                    w.number(n),
                    w.join([w("numbers.level", level=w(f"level.{lv}"), n=c) for lv, c in levels.items()]),
                )
            )
            for ip, n, levels in found[:20]
        )
        columns = (
            Column(label=w("col.address"), width=20, code=True),
            Column(label=w("col.name"), width=22),
            Column(label=w("col.segment"), width=18),
            Column(label=w("col.alerts"), width=10, align="right"),
            Column(label=w("ends.levels"), width=30),
        )
        return Table(title=w(f"ends.{key}"), columns=columns, rows=rows, left_off=max(0, len(found) - 20))

    # -- 六、网络安全事件 ------------------------------------------------------------------------------------

    def _incidents(self) -> Section:
        case, w = self.case, self.w
        number = self.number(0)
        if not case.incidents:
            key = "incidents.none_alerts" if case.alert_rows else "incidents.none"
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
        sections = tuple(self._incident(i, n) for n, i in enumerate(case.incidents[:10], 1))
        blocks: list[Block] = [table]
        if len(case.incidents) > len(sections):
            blocks.append(paragraph(w("incidents.left_off", n=len(case.incidents) - len(sections))))
        return Section(
            id="incidents", number=number, title=w("risk.incidents"), blocks=tuple(blocks), sections=sections
        )

    def _incident(self, incident: Incident, n: int) -> Section:
        case, w = self.case, self.w
        i = incident
        cites = [a.id for a in i.alerts]
        rows = [
            Fact(label=w("incidents.id"), value=statement(f"{i.id}@{i.version}")),
            parts.fact(
                case, "incidents.category", parts.category(case, i), missing="missing.judge", sure=False, cites=cites
            ),
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
            parts.fact(
                case, "incident.protocols", w.join([w.protocol(p) for p in i.protocols]), missing="missing.judge"
            ),
            parts.fact(
                case,
                "incident.techniques",
                w.join([w.technique(t) for t in i.techniques[:8]]),
                missing="missing.judge",
                sure=False,
            ),
            parts.fact(
                case, "incident.alerts", w("incident.alerts.value", n=i.alert_total, level=w(f"level.{i.level}"))
            ),
            Fact(label=w("incidents.status"), value=statement(w(f"status.{i.status}"))),
        ]
        blocks: list[Block] = [Facts(title="", rows=tuple(rows)), parts.grade_rows(case, i)]
        if i.clocks:
            blocks.append(parts.clock_table(case, i.clocks))
        blocks += parts.timeline(case, i)
        if i.assets:
            blocks.append(parts.asset_table(case, i))
        blocks.append(parts.done_table(case, i))
        return Section(
            id=f"incident-{n}", number=self.number(1), title=parts.incident_title(case, i), blocks=tuple(blocks)
        )

    # -- 七、脆弱性与合规线索 ---------------------------------------------------------------------------------

    def _weaknesses(self) -> Section:
        case, w = self.case, self.w
        number = self.number(0)
        rows = []
        for clue in self.clues:
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

    # -- 八、风险分析 ----------------------------------------------------------------------------------------

    def _risk(self) -> Section:
        case, w = self.case, self.w
        number = self.number(0)
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
        if self.risks:
            rows = tuple(
                Row(
                    cells=(
                        case.asset(r.asset.ip),
                        w("method.presumed", value=r.value) if r.value_presumed else str(r.value),
                        str(r.threat),
                        f"{r.ease} {w(f'method.ease.{r.ease_reason}')}",
                        str(r.effect),
                        str(r.likelihood),
                        str(r.loss),
                        w("method.cell", value=r.risk, band=w(f"band.{r.band}")),
                    ),
                    certainty="inferred",
                    evidence=case.cite(r.sample, 2),
                    band=r.band,
                )
                for r in self.risks[:ROWS]
            )
            columns = (
                Column(label=w("col.asset"), width=23),
                Column(label=w("method.a"), width=9, align="center"),
                Column(label=w("method.t"), width=7, align="center"),
                Column(label=w("method.vx"), width=15, align="center"),
                Column(label=w("method.vy"), width=8, align="center"),
                Column(label=w("method.l"), width=7, align="center"),
                Column(label=w("method.i"), width=7, align="center"),
                Column(label=w("method.r"), width=11, align="center"),
            )
            left = max(0, len(self.risks) - ROWS)
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
            Section(id="risk-method", number=self.number(1), title=w("risk.method"), blocks=method),
            Section(id="risk-result", number=self.number(1), title=w("risk.result"), blocks=(result,)),
        )
        return Section(id="risk", number=number, title=w("risk.risk"), sections=sections)

    # -- 九、处置建议 ----------------------------------------------------------------------------------------

    def _measures(self) -> Section:
        case, w = self.case, self.w
        number = self.number(0)
        rows: dict[tuple[str, str], list[str]] = {}
        sources: dict[tuple[str, str], str] = {}
        for incident in case.incidents:
            for step in parts.steps(incident, done=False):
                key = (step.phase, parts.step_text(case, step))
                rows.setdefault(key, []).append(incident.id)
                sources.setdefault(key, step.source)
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
                        sources[key] or w("missing.dash"),
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
                Column(label=w("advice.source"), width=17, code=True),
            )
            left = max(0, len(ordered) - ROWS)
            blocks.append(Table(title=w("advice.title"), columns=columns, rows=body, left_off=left))
        elif case.incidents:
            blocks.append(paragraph(statement(w("advice.none_incident"), "unknown")))
        else:
            blocks.append(paragraph(w("advice.none")))
        general = [w(f"advice.clue.{c.clause}") for c in self.clues if c.verdict == "not_met"]
        if general:
            blocks.append(paragraph(w("advice.clues")))
            blocks.append(Bullets(items=tuple(statement(g, "inferred") for g in general)))
        return Section(id="advice", number=number, title=w("risk.advice"), blocks=tuple(blocks))

    # -- 十、附录 --------------------------------------------------------------------------------------------

    def _appendix(self) -> Section:
        case, w = self.case, self.w
        number = self.number(0)
        files = [e for i in case.incidents for e in i.evidence]
        for one in files:
            case.ledger.add(parts.file_ref(one))
        fired = case.rules()
        rule_rows = tuple(
            Row(
                cells=(
                    c.id,
                    c.title,
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
            Section(id="evidence-list", number=self.number(1), title=w("risk.evidence"), blocks=(evidence,)),
            Section(id="rule-list", number=self.number(1), title=w("risk.rule_list"), blocks=tuple(rules)),
            Section(
                id="method",
                number=self.number(1),
                title=w("risk.basis"),
                blocks=(Bullets(items=tuple(statement(w(f"basis.{n}")) for n in _BASIS)),),
            ),
            Section(id="glossary", number=self.number(1), title=w("risk.glossary"), blocks=(glossary,)),
            Section(id="to-verify", number=self.number(1), title=w("risk.verify"), blocks=tuple(verify)),
            Section(id="to-supply", number=self.number(1), title=w("risk.supply"), blocks=(supply,)),
        )
        return Section(id="appendix", number=number, title=w("risk.appendix"), sections=sections, new_page=True)


_GLOSSARY = ("event", "alert", "incident", "certainty", "passive", "level", "alert_risk", "attack")
_BASIS = ("20984", "20986", "measures", "22239", "passive", "time", "rules", "score")


def _ranges() -> list[tuple[int, int, assess.RiskBand]]:
    low, found = 1, []
    for top, band in assess.BANDS:
        found.append((low, top, band))
        low = top + 1
    return list(reversed(found))


def _scaled(value: int | None, divisor: int) -> int | None:
    if value is None:
        return None
    return max(1, round(value / divisor)) if value else 0
