"""Building documents: what is said, what is left open, and the round trip through JSON."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from pydantic import ValidationError

import report
from event.errors import ConfigError, ReportError
from event.incident import Category, Impact
from event.site import Operator, Site
from report import layout
from report.document import Facts, MatrixChart, ReportDocument, RiskChart, Table, TimeChart, TimelineChart

PROFILES = sorted(report.PROFILES)


def build(profile: str, story: Any, lang: str = "zh", **changes: Any) -> ReportDocument:
    s = replace(story, **changes)
    return report.build(profile, s.incidents, s.evidence, s.site, lang, s.now)


def words(document: ReportDocument) -> list[str]:
    """Every string of a document."""
    found: list[str] = []

    def walk(value: Any) -> None:
        if isinstance(value, str):
            found.append(value)
        elif isinstance(value, dict):
            for one in value.values():
                walk(one)
        elif isinstance(value, list | tuple):
            for one in value:
                walk(one)

    walk(document.model_dump())
    return found


def item(document: ReportDocument, n: int) -> Any:
    return next(s for s in document.sections if s.id == f"item-{n}")


def facts(section: Any) -> dict[str, Any]:
    return {f.label: f for b in section.blocks if isinstance(b, Facts) for f in b.rows}


@pytest.mark.parametrize("lang", ["zh", "en"])
@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("which", ["story", "quiet", "bare"])
def test_a_saved_document_reads_back_equal(profile: str, lang: str, which: str, request: pytest.FixtureRequest) -> None:
    document = build(profile, request.getfixturevalue(which), lang)
    assert report.load(report.render(document, "json")) == document


@pytest.mark.parametrize("profile", PROFILES)
def test_the_same_facts_give_the_same_document(profile: str, story: Any) -> None:
    assert build(profile, story) == build(profile, story)


@pytest.mark.parametrize(("profile", "lang"), [("risk", "zh"), ("risk", "en"), ("first", "zh"), ("first", "en")])
def test_the_document_is_as_reviewed(profile: str, lang: str, story: Any, golden: Callable[[str, bytes], None]) -> None:
    golden(f"{profile}-{lang}.json", report.render(build(profile, story, lang), "json"))


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"\xff", b'{"schema_version": 99}'])
def test_what_is_no_document_is_refused_with_a_hint(data: bytes) -> None:
    with pytest.raises(ReportError) as error:
        report.load(data)
    assert error.value.hint


def test_a_document_of_a_later_schema_is_refused(story: Any) -> None:
    data = report.render(build("risk", story), "json").replace(b'"schema_version": 1', b'"schema_version": 2', 1)
    with pytest.raises(ReportError, match="Input should be 1"):
        report.load(data)


def test_a_document_with_a_field_of_nobody_is_refused(story: Any) -> None:
    data = report.render(build("risk", story), "json").replace(b'"metadata": {', b'"extra": 1,\n  "metadata": {', 1)
    with pytest.raises(ReportError, match="Extra inputs"):
        report.load(data)


def test_a_document_cannot_be_changed(story: Any) -> None:
    document = build("risk", story)
    with pytest.raises(ValidationError):
        document.metadata.number = "x"  # type: ignore[misc]


@pytest.mark.parametrize("kind", ["profile", "format"])
def test_an_unknown_name_is_named_with_the_known_ones(kind: str, story: Any) -> None:
    document = build("risk", story)
    wrong, known = {
        "profile": (lambda: build("nosuch", story), "risk"),
        "format": (lambda: report.render(document, "nosuch"), "html"),
    }[kind]
    with pytest.raises(ConfigError, match=kind) as error:
        wrong()
    assert known in str(error.value)


@pytest.mark.parametrize("which", ["story", "quiet", "bare"])
@pytest.mark.parametrize("profile", PROFILES)
def test_no_chinese_report_shows_a_placeholder_or_a_bare_english_word(
    profile: str, which: str, request: pytest.FixtureRequest
) -> None:
    document = build(profile, request.getfixturevalue(which))
    allowed = {
        *("Modbus", "TCP", "IEC", "DNP", "DNS", "HTTP", "ARP", "ATT", "CK", "MITRE", "GB", "SHA", "UTC", "KiB", "MiB"),
        *("Sigma", "Zeek", "syslog", "pcap", "pcapng", "Telnet", "Rlogin", "FTP", "MAC", "CNCERT", "INC", "PLC", "JM"),
        *("SB", "FX", "GiB", "cert", "org", "cn", "Vx", "Vy"),
    }
    for text in prose(document):
        for word in re.findall(r"[A-Za-z]{2,}", re.sub(r"“[^”]*”|[A-Za-z0-9-]*\d[A-Za-z0-9-]*", "", text)):
            assert word in allowed, f"{word!r} in {text!r}"


@pytest.mark.parametrize("profile", PROFILES)
def test_what_was_not_shown_is_said(profile: str, story: Any) -> None:
    alerts = story.evidence.alerts
    some = pl.int_range(pl.len())
    marked = alerts.with_columns(
        pl.when(some < 2).then(pl.lit("sup-1")).alias("alert.suppressed_by"),
        pl.when(some == 3).then(pl.lit("critical")).alias("alert.demoted_from"),
    )
    rules = [*story.evidence.rules, {"id": "c", "title": "c", "kind": "temporal_ordered"}]
    quieter = replace(story.evidence, alerts=marked, rules=rules)
    plain = replace(story.evidence, alerts=alerts[2:], rules=rules)
    for lang, hidden, lowered, one in (
        ("zh", "另有2条告警", "1条告警因超出班次告警限额被降级", "关联规则1条"),
        ("en", "suppressions on record: 2;", "alert budget of the shift: 1;", "(1 of them correlations)"),
    ):
        text = build(profile, story, lang, evidence=quieter).metadata.rule_summary
        assert hidden in text
        assert lowered in text
        assert one in text
        # But for that sentence, the report is that of the alerts that are shown.
        without = build(profile, story, lang, evidence=plain)
        assert [w for w in words(build(profile, story, lang, evidence=quieter)) if hidden not in w] == [
            w for w in words(without) if w != without.metadata.rule_summary
        ]


def prose(document: ReportDocument) -> list[str]:
    """What a reader sees as words: identifiers, file names and addresses are set in code columns and left out."""
    m = document.metadata
    out = [m.title, m.kind, m.classification, *(f.label for f in m.heading), *(f.value.text for f in m.heading)]
    for _, section in layout.sections(document):
        out.append(section.title)
        for block in section.blocks:
            if isinstance(block, Table):
                out += [block.title, block.note, *(c.label for c in block.columns)]
                keep = [n for n, c in enumerate(block.columns) if not c.code]
                out += [row.cells[n] for row in block.rows for n in keep]
            else:
                out += _strings(block.model_dump(exclude={"kind", "lanes"}))
    names = ("pump-station.pcapng", "plc-syslog.log", "INC-20261124-3f9a2c")
    for name in names:
        out = [t.replace(name, "") for t in out]
    return out


def _strings(value: Any, key: str = "") -> list[str]:
    if isinstance(value, str):
        codes = ("certainty", "band", "level", "tone", "evidence", "unit")
        return [] if key in codes else [value]
    if isinstance(value, dict):
        return [t for k, v in value.items() for t in _strings(v, k)]
    if isinstance(value, list | tuple):
        return [t for v in value for t in _strings(v, key)] if key not in ("legend",) else []
    return []


@pytest.mark.parametrize("lang", ["zh", "en"])
@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("which", ["story", "quiet", "bare"])
def test_no_text_leaks_a_value_of_python_or_an_unfilled_brace(
    profile: str, lang: str, which: str, request: pytest.FixtureRequest
) -> None:
    document = build(profile, request.getfixturevalue(which), lang)
    for text in words(document):
        assert not re.search(r"\bNone\b|\bnull\b|\bNaN\b|\{\w*\}|datetime|\bTrue\b|\bFalse\b", text), text


@pytest.mark.parametrize("profile", PROFILES)
def test_every_reference_is_in_the_evidence_list(profile: str, story: Any) -> None:
    document = build(profile, story)
    known = {e.ref for e in document.evidence}
    used = {t for t in words(document) if re.fullmatch(r"E\d+", t)}
    assert used
    assert used <= known
    alerts = {e.id for e in document.evidence if e.kind == "alert"}
    assert alerts <= set(story.evidence.alerts["event.id"])


def test_the_risk_report_has_all_four_charts(story: Any) -> None:
    kinds = {type(b) for b in layout.blocks(build("risk", story))}
    assert {TimeChart, RiskChart, MatrixChart, TimelineChart} <= kinds


def test_alerts_over_time_add_up_to_all_alerts(story: Any) -> None:
    chart = next(b for b in layout.blocks(build("risk", story)) if isinstance(b, TimeChart))
    assert sum(sum(s.values) for s in chart.series) == story.evidence.alerts.height
    assert all(len(s.values) == len(chart.starts) for s in chart.series)


def test_alerts_years_apart_still_give_a_chart_of_bounded_size(story: Any) -> None:
    alerts = story.evidence.alerts
    early = alerts.head(1).with_columns(
        pl.lit(datetime(1970, 1, 1, tzinfo=UTC)).cast(alerts.schema["@timestamp"]).alias("@timestamp")
    )
    document = build("risk", story, evidence=replace(story.evidence, alerts=pl.concat([early, alerts])))
    chart = next(b for b in layout.blocks(document) if isinstance(b, TimeChart))
    assert len(chart.starts) <= 40


def test_the_matrix_marks_pairs_with_alerts(story: Any) -> None:
    chart = next(b for b in layout.blocks(build("risk", story)) if isinstance(b, MatrixChart))
    marked = {(chart.rows[i], chart.columns[j]) for i, j in chart.marked}
    assert ("10.20.1.66", "10.20.1.10") in marked
    assert ("10.20.1.5", "10.20.1.10") not in marked


def test_a_table_that_is_cut_says_how_much_was_left_off(story: Any) -> None:
    many = pl.DataFrame(
        {
            "source.ip": [f"10.9.{i // 250}.{i % 250}" for i in range(400)],
            "destination.ip": ["10.20.1.10"] * 400,
            "network.protocol": [f"p{i}" for i in range(400)],
            "bytes": [100] * 400,
            "packets": [1] * 400,
            "flows": [1] * 400,
        }
    )
    document = build("risk", story, evidence=replace(story.evidence, flows=many))
    table = next(b for b in layout.blocks(document) if isinstance(b, Table) and b.title == "协议构成")
    assert len(table.rows) + table.left_off == 400
    chart = next(b for b in layout.blocks(document) if isinstance(b, MatrixChart))
    assert len(chart.rows) == 12
    assert "388" in chart.note


def test_no_incident_gives_a_risk_report_that_says_so_and_how_far_it_saw(quiet: Any) -> None:
    text = "\n".join(words(build("risk", quiet)))
    assert "未发现网络安全事件" in text
    assert "未发现不等于不存在" in text
    assert "视频监控网" in text  # a declared segment without traffic is named


def test_no_data_at_all_is_not_reported_as_quiet(bare: Any) -> None:
    text = "\n".join(words(build("risk", bare)))
    assert "没有可供分析的数据" in text
    assert "采集范围内未发现网络安全事件，未产生告警" not in text


def test_without_incident_there_is_no_first_report(quiet: Any) -> None:
    document = build("first", quiet)
    assert [s.id for s in document.sections] == ["nothing"]
    assert document.metadata.incidents == ()


def test_the_first_report_has_eight_items_in_order(story: Any) -> None:
    document = build("first", story)
    items = [s for s in document.sections if s.id.startswith("item-")]
    assert [s.number for s in items] == ["一、", "二、", "三、", "四、", "五、", "六、", "七、", "八、"]


def test_with_nothing_judged_items_three_to_seven_say_reported_later(story: Any) -> None:
    i = story.incidents[0].model_copy(
        update={
            "alerts": (),
            "alert_total": 0,
            "attackers": (),
            "techniques": (),
            "tactics": (),
            "protocols": (),
            "actions": (),
            "evidence": (),
            "timeline": (),
            "clocks": (),
            "assets": (),
        }
    )
    evidence = replace(story.evidence, inputs=[], until=None, since=None, alerts=story.evidence.alerts.clear())
    document = build("first", story, incidents=[i], evidence=evidence)
    for n in (3, 4, 5, 6, 7):
        rows = facts(item(document, n))
        assert rows
        assert all(f.missing and f.value.text == "待补报" for f in rows.values()), n
    assert facts(item(document, 2))["发生时间"].value.text == "2026年11月24日 10时05分（北京时间）"


def test_a_fact_of_impact_that_nobody_gave_stays_open_and_zero_is_a_fact(story: Any) -> None:
    i = story.incidents[0].model_copy(update={"impact": Impact(people_affected=0)})
    rows = facts(item(build("first", story, incidents=[i]), 2))
    assert rows["受影响人数"].value.text == "0人"
    assert rows["直接经济损失"].missing


@pytest.mark.parametrize(("category", "shown"), [("malware.ransomware", True), ("network_attack.scan", False)])
def test_ransom_is_asked_for_in_case_of_ransomware_only(category: str, shown: bool, story: Any) -> None:
    one = Category(id=category, name_zh="甲", name_en="a", parent_zh="乙", parent_en="b")
    i = story.incidents[0].model_copy(update={"categories": (one,), "impact": Impact(ransom_amount="3 BTC")})
    rows = facts(item(build("first", story, incidents=[i]), 2))
    assert ("要求支付赎金的金额" in rows) is shown


@pytest.mark.parametrize(
    ("secret", "expected"), [(False, "非涉密"), (None, "待确认（由运营单位确认是否涉及国家秘密）")]
)
def test_a_report_is_unclassified_only_if_people_said_so(secret: bool | None, expected: str, story: Any) -> None:
    i = story.incidents[0].model_copy(update={"impact": Impact(state_secret=secret)})
    for profile in PROFILES:
        assert build(profile, story, incidents=[i]).metadata.classification == expected


@pytest.mark.parametrize("profile", PROFILES)
def test_an_incident_with_state_secrets_is_not_exported(profile: str, story: Any) -> None:
    i = story.incidents[0].model_copy(update={"impact": Impact(state_secret=True)})
    with pytest.raises(ReportError, match="国家秘密"):
        build(profile, story, incidents=[i])


def test_the_first_report_is_about_the_gravest_incident_and_names_the_others(story: Any) -> None:
    small = story.incidents[0].model_copy(update={"id": "INC-20261124-000000", "grade_gbt20986": None, "level": "low"})
    document = build("first", story, incidents=[small, story.incidents[0]])
    assert document.metadata.incidents == ("INC-20261124-3f9a2c@2",)
    assert any("INC-20261124-000000" in t for t in words(document))


def test_what_is_due_for_several_incidents_is_said_once_and_names_them(story: Any) -> None:
    first = story.incidents[0]
    others = [first.model_copy(update={"id": f"INC-20261124-00000{n}"}) for n in range(4)]
    now = first.discovered + timedelta(minutes=10)
    alone = [one for one in words(build("risk", story, now=now)) if one.startswith("首报") and "截止" in one]
    together = [
        one
        for one in words(build("risk", story, incidents=[first, *others], now=now))
        if one.startswith("首报") and "截止" in one
    ]
    assert len(alone) == len(together) == 1
    assert "涉及" not in alone[0]
    assert "涉及INC-20261124-000000、INC-20261124-000001、INC-20261124-000002等5项" in together[0]


def test_merged_incidents_are_left_out(story: Any) -> None:
    merged = story.incidents[0].model_copy(update={"status": "merged", "merged_into": "x"})
    assert build("risk", story, incidents=[merged]).metadata.incidents == ()


@pytest.mark.parametrize(("after", "expected"), [(timedelta(minutes=10), "剩余"), (timedelta(hours=3), "已超时")])
def test_a_deadline_says_what_is_left_or_overdue(after: timedelta, expected: str, story: Any) -> None:
    now = story.incidents[0].discovered + after
    table = next(
        b for b in layout.blocks(build("first", story, now=now)) if isinstance(b, Table) and b.title == "报告时限"
    )
    assert table.rows[0].cells[4].startswith(expected)


def test_times_are_shown_in_beijing_and_kept_in_utc(story: Any) -> None:
    document = build("risk", story)
    assert "11时00分（北京时间）" in [f.value.text for f in document.metadata.heading][-1]
    assert b'"created": "2026-11-24T03:00:00Z"' in report.render(document, "json")


def test_facts_of_the_site_that_are_absent_are_to_be_supplied(story: Any) -> None:
    rows = facts(item(build("first", story, site=Site(operator=Operator(name="甲单位"))), 1))
    assert rows["单位名称"].value.text == "甲单位"
    assert rows["统一社会信用代码"].missing


def test_a_chinese_title_of_a_rule_is_used_and_an_english_one_is_quoted(story: Any) -> None:
    text = "\n".join(words(build("risk", story)))
    assert "未申报主站的 Modbus 写操作" in text
    assert "“New host speaks Modbus”" in text
    assert "Modbus write from an undeclared master" not in text
