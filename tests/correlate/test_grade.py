from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from correlate import regimes
from correlate.categories import Finding, categorise, known_categories
from correlate.grade import grade, grade_incident, with_impact, with_override, worst
from event.errors import ConfigError
from event.incident import Impact, Incident
from event.site import KnownAsset, Operator, Site

T0 = datetime(2026, 9, 1, 2, tzinfo=UTC)
CII = Site(operator=Operator(kind="cii", sector="water", region_code="510700", mlps_level=3))
OTHER = Site(operator=Operator(kind="other", sector="urban", region_code="510700", mlps_level=2))


def incident(site: Site = CII, **fields: Any) -> Incident:
    base: dict[str, Any] = {
        "id": "INC-20260901-000000",
        "title_zh": "测试",
        "title_en": "test",
        "first_seen": T0,
        "last_seen": T0,
        "discovered": T0,
        "level": "high",
        "targets": ("10.0.0.20",),
    }
    return grade_incident(Incident(**{**base, **fields}), site)


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"whole_interruption_minutes": 9.9}, "general"),
        ({"whole_interruption_minutes": 10}, "large"),
        ({"whole_interruption_minutes": 60}, "major"),
        ({"whole_interruption_minutes": 360}, "particularly_major"),
        ({"main_function_interruption_minutes": 29}, "general"),
        ({"main_function_interruption_minutes": 30}, "large"),
        ({"main_function_interruption_minutes": 180}, "major"),
        ({"main_function_interruption_minutes": 1440}, "particularly_major"),
        ({"people_affected": 99_999}, "general"),
        ({"people_affected": 100_000}, "large"),
        ({"people_affected": 1_000_000}, "major"),
        ({"people_affected": 10_000_000}, "particularly_major"),
        ({"population_share_percent": 30}, "large"),
        ({"population_share_percent": 50}, "major"),
        ({"personal_records": 1_000_000}, "large"),
        ({"personal_records": 10_000_000}, "major"),
        ({"personal_records": 100_000_000}, "particularly_major"),
        ({"direct_loss_yuan": 4_999_999}, "general"),
        ({"direct_loss_yuan": 5_000_000}, "large"),
        ({"direct_loss_yuan": 20_000_000}, "major"),
        ({"direct_loss_yuan": 100_000_000}, "particularly_major"),
        ({"data_threat": "serious"}, "major"),
        ({"data_threat": "none"}, "general"),
        ({"business_loss": "fairly_serious"}, "large"),
        ({"business_loss": "minor"}, "general"),
        ({"social_harm": "particularly_major"}, "particularly_major"),
    ],
)
def test_the_annex_grades_each_indicator_at_its_threshold(facts: dict[str, Any], expected: str) -> None:
    assert grade(Impact(**facts), CII).cac == expected


def test_without_a_fact_there_is_no_grade_but_questions_in_both_languages() -> None:
    result = grade(Impact(), CII)
    assert (result.cac, result.gbt20986) == (None, None)
    assert len(result.questions_zh) == len(result.questions_en) > 5
    assert any("主要功能" in q for q in result.questions_zh)
    assert all(r.grade is None for r in result.reasons)


def test_an_interruption_counts_only_for_critical_infrastructure() -> None:
    facts = Impact(whole_interruption_minutes=600)
    assert grade(facts, CII).cac == "particularly_major"
    assert grade(facts, OTHER).cac is None
    unknown = grade(facts, Site())
    assert unknown.cac is None
    assert any("若适用本项则为特别重大" in (r.threshold or "") for r in unknown.reasons)
    assert any("关键信息基础设施" in q for q in unknown.questions_zh)
    assert any("尚不足以定级" in r.indicator for r in unknown.reasons)


def test_a_share_of_the_population_is_derived_from_the_census_of_the_region() -> None:
    aba = Site(operator=Operator(kind="cii", region_code="513221"))
    result = grade(Impact(people_affected=450_000), aba)  # 54.7 % of 82.3 万, and below one million people
    assert result.cac == "major"
    share = next(r for r in result.reasons if r.grade == "major")
    assert share.certainty == "inferred"
    assert "54.68" in (share.value or "")


def test_half_a_province_is_particularly_major_only_for_a_provincial_share() -> None:
    province = Site(operator=Operator(kind="other", region_code="510000"))
    assert grade(Impact(population_share_percent=50), province).cac == "particularly_major"
    assert grade(Impact(population_share_percent=50), OTHER).cac == "major"


@pytest.mark.parametrize(
    ("region", "minutes", "expected"),
    [
        ("510000", 1440, "particularly_major"),
        ("510700", 1440, "major"),
        ("510700", 120, "large"),
        ("510703", 1440, "general"),
        (None, 1440, "general"),
    ],
)
def test_a_portal_is_graded_by_the_level_of_its_unit(region: str | None, minutes: int, expected: str) -> None:
    site = Site(operator=Operator(kind="other", sector="government", region_code=region))
    assert grade(Impact(portal_unreachable_minutes=minutes), site).cac == expected


@pytest.mark.parametrize(
    ("site", "loss", "expected"),
    [
        (CII, "particularly_serious", "particularly_major"),
        (CII, "minor", "general"),
        (OTHER, "particularly_serious", "large"),
        (OTHER, "serious", "general"),
        (Site(operator=Operator(mlps_level=3)), "serious", "large"),
        (Site(assets=(KnownAsset(ip="10.0.0.20", name="PLC", importance="important"),)), "serious", "large"),
    ],
)
def test_the_standard_grades_by_its_matrix(site: Site, loss: Any, expected: str) -> None:
    assert grade(Impact(business_loss=loss), site, targets=["10.0.0.20"]).gbt20986 == expected


def test_social_harm_outweighs_the_matrix() -> None:
    facts = Impact(business_loss="minor", social_harm="major")
    assert grade(facts, OTHER).gbt20986 == "major"


IMPACTS = st.builds(
    Impact,
    whole_interruption_minutes=st.none() | st.floats(0, 3000),
    main_function_interruption_minutes=st.none() | st.floats(0, 3000),
    people_affected=st.none() | st.integers(0, 20_000_000),
    population_share_percent=st.none() | st.floats(0, 100),
    personal_records=st.none() | st.integers(0, 200_000_000),
    direct_loss_yuan=st.none() | st.floats(0, 2e8),
    portal_unreachable_minutes=st.none() | st.floats(0, 3000),
    data_threat=st.none() | st.sampled_from(["particularly_serious", "serious", "fairly_serious", "none"]),
    business_loss=st.none() | st.sampled_from(["particularly_serious", "serious", "fairly_serious", "minor"]),
    social_harm=st.none() | st.sampled_from(regimes.GRADES),
)
SITES = st.builds(
    Site,
    operator=st.builds(
        Operator,
        kind=st.none() | st.sampled_from(["cii", "state_organ", "other"]),
        sector=st.none() | st.sampled_from(["government", "water", "power"]),
        region_code=st.none() | st.sampled_from(["510000", "510700", "513221", "110105"]),
        mlps_level=st.none() | st.integers(1, 5),
    ),
)


@given(IMPACTS, SITES)
@settings(deadline=None)
def test_the_grade_is_the_worst_of_its_reasons(impact: Impact, site: Site) -> None:
    result = grade(impact, site)
    for scale, outcome in (("cac-2025", result.cac), ("gbt20986-2023", result.gbt20986)):
        assert outcome == worst(r.grade for r in result.reasons if r.scale == scale)
    for reason in result.reasons:
        assert reason.source
        assert reason.source_en
        assert reason.mark in ("V", "V~", "M")
        assert reason.indicator
        assert reason.indicator_en


@given(IMPACTS, SITES, st.sampled_from(sorted(Impact.model_fields)))
@settings(deadline=None)
def test_knowing_one_fact_less_never_raises_a_grade(impact: Impact, site: Site, name: str) -> None:
    less = impact.model_copy(update={name: None})
    rank = regimes.grade_rank
    assert rank(grade(less, site).cac) <= rank(grade(impact, site).cac)


def test_grading_again_without_news_is_the_same_incident() -> None:
    one = incident()
    assert grade_incident(one, CII) is one


def test_facts_from_people_make_a_new_version_with_grade_and_clocks() -> None:
    one = incident()
    two = with_impact(one, Impact(main_function_interruption_minutes=40), "analyst", T0, CII)
    assert (two.version, two.grade_cac) == (one.version + 1, "large")
    assert "main_function_interruption_minutes" in two.history[-1].change
    first = next(c for c in two.clocks if c.id == "cac-2025.R1")
    assert first.condition_zh == ""
    assert with_impact(two, two.impact, "analyst", T0, CII) is two


def test_a_person_may_set_a_grade_and_take_it_back() -> None:
    one = incident(impact=Impact(direct_loss_yuan=100.0))
    assert one.grade_cac == "general"
    raised = with_override(one, "cac-2025", "major", "专家研判", "analyst", T0, CII)
    assert raised.grade_cac == "major"
    kept = with_impact(raised, Impact(direct_loss_yuan=200.0), "analyst", T0, CII)
    assert kept.grade_cac == "major"
    assert with_override(kept, "cac-2025", None, "", "analyst", T0, CII).grade_cac == "general"


def test_tampering_raises_its_own_questions() -> None:
    plain = grade(Impact(), OTHER)
    tampered = grade(Impact(), OTHER, categories=["network_attack.web_defacement"])
    assert set(tampered.questions_zh) - set(plain.questions_zh) == {
        t.zh for t in regimes.reporting().tamper_indicators.list
    }


def test_every_threshold_and_deadline_names_document_clause_and_mark() -> None:
    regime = regimes.reporting()
    sources: list[regimes.Source] = [t for i in regime.indicators for t in i.thresholds]
    sources += [b for t in regime.tamper_indicators.list for b in (t.particularly_major, t.major, t.large)]
    sources += [r.source for r in (*regime.routes, *regime.sector_routes, regime.personal_information)]
    sources += [regime.channels.source, regime.article18.source, regime.superseded.source]
    law = regimes.standard()
    sources += [law.categories.source, law.matrix.source, law.importance.source, law.hints.source]
    sources += [regimes.attack().source, regimes.regions().source]
    assert len(sources) > 50
    for source in sources:
        assert source.document
        assert source.clause
        assert source.en.isprintable()
        assert not re.search(r"[\u3000-\u30ff\u4e00-\u9fff\uff00-\uffef]", source.en), source.en
        assert re.findall(r"\d+%", source.clause) == re.findall(r"\d+%", source.en)
        assert source.mark in ("V", "V~", "M")


def test_thresholds_rise_with_the_grade_and_stay_at_or_below_the_superseded_draft() -> None:
    regime = regimes.reporting()
    for indicator in regime.indicators:
        bounds = [t.at_least for t in sorted(indicator.thresholds, key=lambda t: regimes.grade_rank(t.grade))]
        numbers = [b for b in bounds if b is not None]
        assert numbers == sorted(numbers)
        for threshold in indicator.thresholds:
            draft = regime.superseded.thresholds.get(indicator.id, {}).get(threshold.grade)
            if draft is not None and threshold.at_least is not None:
                assert threshold.at_least <= draft


def test_an_unknown_regime_is_named_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="cac-2025"):
        regimes.reporting("nis2")


def test_the_category_table_is_whole_and_every_hint_points_into_it() -> None:
    law = regimes.standard()
    assert [len(top.sub) for top in law.categories.list] == [10, 21, 12, 8, 5, 8, 3, 3, 5, 0]
    known = set(known_categories())
    techniques = [t for hint in law.hints.list for t in hint.techniques]
    assert len(techniques) == len(set(techniques))
    assert set(techniques) <= set(regimes.attack().techniques)
    for hint in law.hints.list:
        assert hint.category in known
    for rule in law.hints.combinations:
        assert {rule.category, *rule.all_of, *rule.any_of} <= known


def test_all_83_techniques_of_attack_for_ics_have_both_names_and_known_tactics() -> None:
    table = regimes.attack()
    assert sum(1 for one in table.techniques if one.startswith("T0")) == 83
    for technique in table.techniques.values():
        assert technique.zh
        assert set(technique.tactics) <= set(table.tactics)


def test_the_sichuan_regions_sum_to_the_province() -> None:
    table = regimes.regions()
    assert len(table.regions) == 21
    total = sum(r.population for r in table.regions.values())
    assert abs(total - table.provinces["510000"].population) < 20_000


@pytest.mark.parametrize(
    ("findings", "main"),
    [
        ([("scan", "medium", ("T0846",))], "network_attack.scan"),
        ([("write", "high", ("T0855", "T0836"))], "abnormal_behaviour.access"),
        ([("write", "high", ("T0855",)), ("scan", "low", ("T0846",))], "network_attack.other"),
        ([("stop", "high", ("T0881", "T0858"))], "network_attack.denial_of_service"),
        ([("arp", "high", ("T0830",))], "network_attack.traffic_hijack"),
        ([("sub-technique", "high", ("T1110.001",))], "network_attack.credential"),
        ([("nothing", "high", ())], "abnormal_behaviour.other"),
    ],
)
def test_the_main_category_follows_the_techniques(findings: list[Any], main: str) -> None:
    result = categorise([Finding(name, name, level, techniques) for name, level, techniques in findings])
    assert result[0].id == main
    assert result[0].reason
    assert result[0].reason_en
