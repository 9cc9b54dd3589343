"""Every shipped rule: valid, known fields, real techniques, and samples that it must and must not match."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from correlate.ir import Correlation
from correlate.match import Plan
from correlate.rules import load_rules, rules_dir
from correlate.samples import run_samples
from event.fields import FIELDS

SAMPLES = Path(__file__).parent
RULESET = load_rules(keep_going=True)
ALL = list(RULESET.all())

# Techniques of ATT&CK for ICS that the behaviours of our protocols show.
ICS_TECHNIQUES = """
    T0800 T0801 T0802 T0803 T0804 T0806 T0807 T0809 T0812 T0813 T0814 T0815 T0816 T0819 T0821 T0822 T0830 T0831 T0832
    T0835 T0836
    T0838 T0839 T0840 T0842 T0843 T0845 T0846 T0848 T0849 T0855 T0856 T0857 T0858 T0859 T0861 T0866 T0867 T0868 T0869
    T0871 T0872 T0877 T0878 T0880 T0881 T0883 T0884 T0885 T0886 T0888 T0889 T0890 T0891 T0892
"""


def test_the_shipped_rules_have_no_problems():
    assert [str(problem) for problem in RULESET.problems] == []
    assert ALL


@pytest.mark.parametrize("rule", ALL, ids=lambda rule: Path(rule.meta.path).stem)
def test_a_rule_has_a_sample_at_the_same_path_that_matches_and_one_that_does_not(rule):
    inside = Path(rule.meta.path).relative_to(rules_dir())
    results = run_samples(RULESET, SAMPLES / inside)
    own = [result for result in results if result.rule_id == rule.id]
    assert [str(result) for result in own if not result.passed] == []
    assert any(result.expected for result in own)
    assert any(not result.expected for result in own)


def test_every_sample_file_belongs_to_a_rule():
    stray = [result for result in run_samples(RULESET, SAMPLES) if result.error is not None]
    assert [str(result) for result in stray] == []


@pytest.mark.parametrize("rule", ALL, ids=lambda rule: Path(rule.meta.path).stem)
def test_a_rule_names_techniques_that_exist_and_says_who_wrote_it(rule):
    unknown = [one for one in rule.meta.techniques if one not in ICS_TECHNIQUES and re.match(r"T0\d", one)]
    assert unknown == []
    assert rule.meta.author
    assert rule.meta.license
    assert rule.meta.description
    assert rule.meta.false_positives
    assert rule.meta.title_zh


@pytest.mark.parametrize("rule", RULESET.rules, ids=lambda rule: Path(rule.meta.path).stem)
def test_a_rule_looks_at_datasets_and_fields_that_exist(rule):
    assert rule.route
    assert [name for name in rule.fields if name not in FIELDS] == []
    assert [name for name in Plan([rule.condition]).fields if name not in FIELDS] == []


@pytest.mark.parametrize("rule", RULESET.correlations, ids=lambda rule: Path(rule.meta.path).stem)
def test_a_correlation_groups_by_fields_that_exist(rule: Correlation):
    plain = {one.id for one in RULESET.rules}
    names = [rule.field_of(name, below) for name in rule.group_by for below in rule.rules if below in plain]
    assert [name for name in names if name not in FIELDS] == []
