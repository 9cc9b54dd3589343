"""Why a rule matched or did not: item by item, by the engine itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from correlate.explain import Explanation, explain
from correlate.ir import Rule
from correlate.rules import load_rules
from correlate.samples import tables_of
from event.errors import RuleError

RULE = r"""
title: Shell out of Office
id: 11111111-0000-4000-8000-000000000009
status: test
logsource: {category: process_creation, product: windows}
detection:
  selection:
    - Image|endswith: ['\cmd.exe', '\powershell.exe']
      CommandLine|contains|all: ['/c', 'whoami']
    - OriginalFileName: Cmd.Exe
  keywords: [whoami, nothing]
  filter: {User: null}
  condition: selection and keywords and not filter
level: high
"""
EVENT = {
    "event.dataset": "windows.sysmon",
    "event.code": "1",
    "winlog.event_data.Image": "C:\\Windows\\System32\\CMD.exe",
    "winlog.event_data.CommandLine": "cmd /c whoami",
    "winlog.event_data.User": "PLANT\\op",
}


@pytest.fixture
def rule(tmp_path: Path) -> Rule:
    (tmp_path / "r.yml").write_text("title: Other\nid: 11111111-0000-4000-8000-000000000001\n---" + RULE)
    found = load_rules([tmp_path], keep_going=True).find("11111111-0000-4000-8000-000000000009")
    assert isinstance(found, Rule)
    return found


def told(rule: Rule, **changes: Any) -> Explanation:
    event = {name: value for name, value in {**EVENT, **changes}.items() if value is not None}
    return explain(rule, tables_of([event], None)[0])


def test_a_match_names_the_items_and_values_that_hold(rule: Rule) -> None:
    said = told(rule)
    assert said.matched
    assert said.condition == ("selection and keywords and not filter",)
    selection, keywords, without = said.detections
    assert (selection.holds, keywords.holds, without.holds) == (True, True, False)
    first, second = selection.alternatives
    assert [(item.text, item.holds, item.values) for item in first] == [
        ("Image|endswith", True, ("\\cmd.exe",)),
        ("CommandLine|contains|all", True, ("/c", "whoami")),
    ]
    assert first[0].seen == "C:\\Windows\\System32\\CMD.exe"
    assert first[0].field == "winlog.event_data.Image"
    assert not second[0].holds
    assert second[0].seen is None
    assert keywords.alternatives[0][0].values == ("whoami",)
    assert said.decided[0] == "selection: Image|endswith holds (\\cmd.exe)"


def test_what_stood_in_the_way_is_named(rule: Rule) -> None:
    said = told(rule, **{"winlog.event_data.CommandLine": "cmd /c dir"})
    assert not said.matched
    assert said.detections[0].alternatives[0][1].values == ("/c",)
    assert "selection: CommandLine|contains|all does not hold" in said.decided
    filtered = told(rule, **{"winlog.event_data.User": None})
    assert not filtered.matched
    assert filtered.detections[2].holds
    assert "filter: User holds (null)" in filtered.decided


def test_an_event_of_another_kind_is_decided_by_the_log_source(rule: Rule) -> None:
    other = told(rule, **{"event.code": "5"})
    assert (other.matched, other.looked_at, other.kind_holds, other.decided) == (False, True, False, ("log source",))
    assert other.detections[0].holds  # the items themselves are told all the same
    assert "event.code 1" in other.needs
    elsewhere = told(rule, **{"event.dataset": "windows.system"})
    assert (elsewhere.looked_at, elsewhere.decided) == (False, ("log source",))


def test_a_rule_whose_file_is_gone_is_an_error(rule: Rule) -> None:
    Path(rule.meta.path).unlink()
    with pytest.raises(RuleError, match="cannot read the rule"):
        told(rule)
