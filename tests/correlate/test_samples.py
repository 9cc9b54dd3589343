"""The sample runner itself: a sample that is wrong is never taken for one that passes."""

from __future__ import annotations

from pathlib import Path

import pytest

from correlate.parse import parse_documents
from correlate.samples import run_samples
from event.errors import RuleError

RULES = b"""
title: Write
id: 33333333-0000-4000-8000-000000000001
name: write
logsource: {product: ics, service: modbus}
detection: {sel: {modbus.function_code: [5, 6]}, condition: sel}
---
title: Elsewhere
id: 33333333-0000-4000-8000-000000000002
logsource: {product: windows}
detection: {sel: {user.name: eve}, condition: sel}
---
title: Many
id: 33333333-0000-4000-8000-000000000003
correlation: {type: event_count, rules: [write], group-by: [source.ip], timespan: 10s, condition: {gte: 2}}
"""
RULESET = parse_documents([Path("r.yml")], [RULES], {})
WRITE = "rule: 33333333-0000-4000-8000-000000000001\n"
MANY = "rule: 33333333-0000-4000-8000-000000000003\n"


def run(tmp_path: Path, text: str) -> list[tuple[bool, str | None]]:
    (tmp_path / "s.yml").write_text(text, "utf-8")
    return [(result.passed, result.error) for result in run_samples(RULESET, tmp_path)]


def test_cases_pass_that_do_what_they_say_and_fail_that_do_not(tmp_path):
    case = "  - {name: one, events: [{modbus.function_code: %d}]}\n"
    assert run(tmp_path, WRITE + "match:\n" + case % 5 + "no_match:\n" + case % 3) == [(True, None), (True, None)]
    assert run(tmp_path, WRITE + "match:\n" + case % 3 + "no_match:\n" + case % 6) == [(False, None), (False, None)]


def test_a_correlation_takes_several_events_with_times_and_its_rules_default_dataset(tmp_path):
    event = "{t: %s, source.ip: 10.0.0.1, modbus.function_code: 5}"
    case = "  - {name: one, events: [" + event + ", " + event + "]}\n"
    text = MANY + "match:\n" + case % ("0", "9.5") + "no_match:\n" + case % ("0", "10.5")
    assert run(tmp_path, text) == [(True, None), (True, None)]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("[", "cannot be read"),
        ("- x", "a sample file is a mapping with rule, match and no_match"),
        ("rule: nobody", "there is no rule nobody"),
        (WRITE + "matches: []", "unknown key 'matches'"),
        (WRITE + "match: 5", "'match' is a list of cases"),
        (WRITE + "match: [{events: []}]", "a case has a name and events"),
        (WRITE + "match: [{name: x, events: []}]", "'events' is a list of at least one event"),
        (WRITE + "match: [{name: x, events: [{nonsense: 1}]}]", "event 1: field 'nonsense' is not in the catalogue"),
        (WRITE + "match: [{name: x, events: [{t: soon}]}]", "event 1: 't' is a number of seconds"),
        (WRITE + "match: [{name: x, events: [{modbus.function_code: five}]}]", "modbus.function_code is of type long"),
        (WRITE + "match: [{name: x, events: [{modbus.function_code: true}]}]", "modbus.function_code is of type long"),
        (WRITE + "match: [{name: x, events: [{modbus.values: 5}]}]", "modbus.values is a list"),
        (
            "rule: 33333333-0000-4000-8000-000000000002\nmatch: [{name: x, events: [{user.name: eve}]}]",
            "event 1: needs 'event.dataset'",
        ),
    ],
)
def test_what_is_wrong_with_a_sample_is_said(tmp_path, text, error):
    ((passed, said),) = run(tmp_path, text)
    assert not passed
    assert said is not None
    assert said.startswith(error)


def test_a_folder_that_does_not_exist_is_an_error(tmp_path):
    with pytest.raises(RuleError, match="no such folder"):
        run_samples(RULESET, tmp_path / "nowhere")
