"""Risk after GB/T 20984-2022, and clues to GB/T 22239-2019."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import polars as pl
import pytest

from event.site import Site
from report import assess
from report.facts import Case
from report.wording import Wording


def case(story: Any, **changes: Any) -> Case:
    s = replace(story, **changes)
    return Case(s.incidents, s.evidence, s.site, Wording("zh"), s.now)


def clue(made: Case, name: str) -> assess.Clue:
    return next(c for c in assess.clues(made) if c.clause == name)


@pytest.mark.parametrize(("product", "expected"), [(1, 1), (2, 2), (4, 2), (5, 3), (9, 3), (20, 5), (25, 5)])
def test_the_root_is_rounded_up(product: int, expected: int) -> None:
    assert assess.root(product) == expected


@pytest.mark.parametrize(
    ("risk", "band"),
    [
        (1, "very_low"),
        (5, "very_low"),
        (6, "low"),
        (10, "low"),
        (12, "medium"),
        (16, "high"),
        (20, "high"),
        (25, "very_high"),
    ],
)
def test_bands_cut_where_the_report_says(risk: int, band: str) -> None:
    assert assess.band_of(risk) == band


def test_a_controlled_critical_controller_has_the_highest_risk(story: Any) -> None:
    first = assess.risks(case(story))[0]
    assert first.asset.ip == "10.20.1.10"
    assert (first.value, first.threat, first.ease, first.effect, first.risk) == (5, 5, 5, 5, 25)
    assert first.ease_reason == "controlled"


def test_an_attacker_that_nobody_attacked_is_not_assessed(story: Any) -> None:
    assert "10.20.1.66" not in {r.asset.ip for r in assess.risks(case(story))}


def test_an_important_asset_without_alerts_has_the_lowest_threat(story: Any) -> None:
    master = next(r for r in assess.risks(case(story)) if r.asset.ip == "10.20.1.5")
    assert master.threat == 1
    assert master.sample == ()


def test_ten_alerts_raise_the_threat_by_one(story: Any) -> None:
    alerts = story.evidence.alerts.filter(pl.col("rule.level") == "high")
    nine = alerts.filter(pl.col("destination.ip") == "10.20.1.10").head(9)
    ten = alerts.filter(pl.col("destination.ip") == "10.20.1.10").head(10)
    threats = []
    for some in (nine, ten):
        made = case(story, evidence=replace(story.evidence, alerts=some))
        threats.append(next(r.threat for r in assess.risks(made) if r.asset.ip == "10.20.1.10"))
    assert threats == [4, 5]


def test_an_undeclared_value_is_presumed_and_said_to_be(story: Any) -> None:
    made = case(story, site=Site(), incidents=[])
    assert all(r.value == 3 and r.value_presumed for r in assess.risks(made))


def test_without_segments_crossing_cannot_be_judged(story: Any) -> None:
    assert clue(case(story, site=Site()), "zones").verdict == "undecided"


def test_a_conversation_across_segments_is_a_clue_with_its_ends(story: Any) -> None:
    found = clue(case(story), "zones")
    assert found.verdict == "not_met"
    assert "10.30.2.8" in found.text


def test_plaintext_industrial_protocols_are_a_clue(story: Any) -> None:
    found = clue(case(story), "transport")
    assert found.verdict == "not_met"
    assert "Modbus/TCP" in found.text


def test_no_plaintext_seen_is_not_taken_for_encryption(story: Any) -> None:
    flows = story.evidence.flows.with_columns(pl.lit("tls").alias("network.protocol"))
    assert clue(case(story, evidence=replace(story.evidence, flows=flows)), "transport").verdict == "undecided"


def test_a_public_address_is_a_clue_unless_a_segment_holds_it(story: Any) -> None:
    flows = story.evidence.flows.with_columns(pl.lit("8.8.8.8").alias("destination.ip"))
    evidence = replace(story.evidence, flows=flows)
    assert clue(case(story, evidence=evidence), "border").verdict == "not_met"
    assert clue(case(story, evidence=evidence), "wide_area").verdict == "not_met"
    own = story.site.segments[0].model_copy(update={"cidrs": ("8.8.8.0/24",)})
    site = story.site.model_copy(update={"segments": (own,)})
    assert clue(case(story, evidence=evidence, site=site), "border").verdict == "not_observed"


def test_control_over_protocols_without_authentication_is_a_clue_with_evidence(story: Any) -> None:
    found = clue(case(story), "access")
    assert found.verdict == "not_met"
    assert set(found.sample) <= set(story.evidence.alerts["event.id"])


@pytest.mark.parametrize(
    ("days", "verdict"), [({}, "undecided"), ({"*": 30}, "not_met"), ({"*": 180, "flow": 365}, "met")]
)
def test_retention_is_measured_against_six_months(days: dict[str, int], verdict: str, story: Any) -> None:
    site = story.site.model_copy(update={"retention_days": days})
    assert clue(case(story, site=site), "retention").verdict == verdict


def test_nothing_known_judges_nothing(bare: Any) -> None:
    assert {c.verdict for c in assess.clues(case(bare))} == {"undecided"}
    assert assess.risks(case(bare)) == []
