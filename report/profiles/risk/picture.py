"""Situation, assets and traffic, threats and alerts: chapters that show what was seen."""

from __future__ import annotations

from report import assess
from report.document import (
    Block,
    Column,
    MatrixChart,
    RiskBand,
    RiskBar,
    RiskChart,
    Row,
    Section,
    Table,
    TimeChart,
    TimeSeries,
    paragraph,
    statement,
)
from report.parts import ROWS
from report.profiles.risk.draft import Draft

_CHART_ASSETS = 15


def situation(d: Draft) -> Section:
    """三、网络安全态势: alerts over time and assets by risk."""
    case, w = d.case, d.w
    number = d.number(0)
    over_time: list[Block] = []
    found = case.alerts.buckets(case.evidence.since, case.evidence.until)
    if found:
        starts, size, series = found.starts, found.seconds, found.series
        total = len(case.alerts)
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
                starts=starts,
                bucket_seconds=size,
                series=tuple(TimeSeries(level=lv, label=w(f"level.{lv}"), values=tuple(v)) for lv, v in series.items()),
                note=w("chart.time.note", size=w.duration(size)),
            )
        )
    else:
        over_time.append(paragraph(statement(w("situation.none"), "not_observed")))
    by_risk: list[Block] = []
    if d.risks:
        counts = {b: sum(1 for r in d.risks if r.band == b) for _, b in reversed(assess.BANDS)}
        said = w.join([w("numbers.level", level=w(f"band.{b}"), n=n) for b, n in counts.items() if n])
        by_risk.append(paragraph(statement(w("situation.risk", n=len(d.risks), bands=said), "inferred")))
        by_risk.append(
            RiskChart(
                title=w("chart.risk.title"),
                x_label=w("chart.risk.x"),
                y_label=w("chart.risk.y"),
                unit=w("unit.points"),
                maximum=25,
                bars=tuple(
                    RiskBar(
                        label=case.asset_name(r.asset.key) or r.asset.key,
                        detail=r.asset.key if case.asset_name(r.asset.key) else "",
                        value=r.risk,
                        band=r.band,
                    )
                    for r in d.risks[:_CHART_ASSETS]
                ),
                legend=tuple(
                    (b, w("chart.risk.band", band=w(f"band.{b}"), low=low, high=top)) for low, top, b in _ranges()
                ),
                note=w("chart.risk.note", n=len(d.risks), shown=min(_CHART_ASSETS, len(d.risks))),
            )
        )
    else:
        by_risk.append(paragraph(statement(w("situation.no_risk"), "not_observed")))
    sections = (
        Section(id="alerts-over-time", number=d.number(1), title=w("risk.over_time"), blocks=tuple(over_time)),
        Section(id="assets-by-risk", number=d.number(1), title=w("risk.by_risk"), blocks=tuple(by_risk)),
    )
    return Section(id="situation", number=number, title=w("risk.situation"), sections=sections)


def traffic(d: Draft) -> Section:
    """四、资产与通信: assets, traffic matrix, protocols."""
    number = d.number(0)
    w = d.w
    sections = (
        Section(id="assets", number=d.number(1), title=w("risk.assets"), blocks=_asset_blocks(d)),
        Section(id="matrix", number=d.number(1), title=w("risk.matrix"), blocks=_matrix_blocks(d)),
    )
    return Section(id="traffic", number=number, title=w("risk.traffic"), sections=sections)


def _asset_blocks(d: Draft) -> tuple[Block, ...]:
    case, w = d.case, d.w
    assets = list(case.assets.values())
    if not assets:
        return (paragraph(statement(w("assets.none"), "not_observed")),)
    bands = {r.asset.key: r for r in d.risks}
    rows = []
    for a in assets[:ROWS]:
        risk = bands.get(a.key)
        rows.append(
            Row(
                cells=(
                    a.key,
                    case.asset_name(a.key) or w("missing.dash"),
                    w.roles(a),
                    case.segment_name(a.key) or w("missing.site"),
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
        Column(label=w("col.importance"), width=11, align="center"),
        Column(label=w("col.alert_risk"), width=9, align="right"),
        Column(label=w("col.band"), width=8, align="center"),
    )
    undeclared = sum(1 for a in assets if case.site.asset_of(a.key) is None)
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


def _matrix_blocks(d: Draft) -> tuple[Block, ...]:
    case, w = d.case, d.w
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
        rows=tuple(Row(cells=(w.protocol(n), w.number(f), w.number(p), w.size(b))) for n, f, p, b in protocols[:ROWS]),
        left_off=max(0, len(protocols) - ROWS),
    )
    ends = len({p.source for p in case.pairs} | {p.destination for p in case.pairs})
    routes = len({(p.source, p.destination) for p in case.pairs})
    text = statement(w("matrix.text", ends=ends, routes=routes, protocols=len(protocols)), "confirmed")
    return (paragraph(text), chart, table)


def threats(d: Draft) -> Section:
    """五、威胁与告警: rules, techniques, origins and targets."""
    case, w = d.case, d.w
    number = d.number(0)
    if not len(case.alerts):
        body: tuple[Block, ...] = (paragraph(statement(w("situation.none"), "not_observed")),)
        return Section(id="threats", number=number, title=w("risk.threats"), blocks=body)
    sections = (
        Section(id="rules", number=d.number(1), title=w("risk.rules"), blocks=(_rule_table(d),)),
        Section(id="techniques", number=d.number(1), title=w("risk.techniques"), blocks=_technique_blocks(d)),
        Section(
            id="sources",
            number=d.number(1),
            title=w("risk.sources"),
            blocks=(_ends_table(d, "source.ip", "sources"), _ends_table(d, "destination.ip", "targets")),
        ),
    )
    return Section(id="threats", number=number, title=w("risk.threats"), sections=sections)


def _rule_table(d: Draft) -> Table:
    case, w = d.case, d.w
    counts = case.alerts.rules()
    rows = tuple(
        Row(
            cells=(
                case.rule_title(c.id, c.name),
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
    return Table(title=w("rules.table"), columns=columns, rows=rows, note=w("rules.note"), left_off=left, certain=True)


def _technique_blocks(d: Draft) -> tuple[Block, ...]:
    case, w = d.case, d.w
    techniques = case.alerts.techniques()
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


def _ends_table(d: Draft, column: str, key: str) -> Table:
    case, w = d.case, d.w
    found = case.alerts.ends(column)
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


def _ranges() -> list[tuple[int, int, RiskBand]]:
    low, found = 1, []
    for top, band in assess.BANDS:
        found.append((low, top, band))
        low = top + 1
    return list(reversed(found))


def _scaled(value: int | None, divisor: int) -> int | None:
    if value is None:
        return None
    return max(1, round(value / divisor)) if value else 0
