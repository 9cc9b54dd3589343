"""The labels of ``tests/rule_captures.py`` speak of rules that exist, and its figures add up."""

import importlib.util
import sys
from pathlib import Path

import pytest

from correlate.rules import load_rules

ROOT = Path(__file__).resolve().parents[2]
SPEC = importlib.util.spec_from_file_location("rule_captures", ROOT / "tests/rule_captures.py")
assert SPEC is not None
assert SPEC.loader is not None
script = importlib.util.module_from_spec(SPEC)
sys.modules["rule_captures"] = script
SPEC.loader.exec_module(script)


def test_labels_name_rules_that_exist_and_say_why():
    known = {Path(rule.meta.path).stem for rule in load_rules().all()}
    for label in script.labels():
        assert label.why
        assert {*label.must, *label.may, *label.explained} <= known, label.captures
        assert not set(label.must) & {*label.may, *label.explained}, label.captures


def test_our_own_captures_are_all_labelled():
    names = {f"pcaps/{p.relative_to(ROOT / 'pcaps').as_posix()}" for p in (ROOT / "pcaps").rglob("*.pcap")}
    assert names == {n for n in names if any(label.fits(n) for label in script.labels())}


def outcome(alerts, must=(), may=(), explained=(), level="high"):
    levels = dict.fromkeys(alerts, level)
    return script.Outcome("c", alerts, levels, frozenset(must), frozenset(may), frozenset(explained), None)


def test_figures_count_pairs_not_alerts():
    outcomes = [
        outcome({"a": 50, "b": 1}, must=["a", "z"], may=["b"]),
        outcome({"c": 7, "d": 1}, explained=["d"]),
        outcome({"i": 9}, level="informational"),
        outcome({"j": 1}, must=["j"], level="informational"),
    ]
    figures = script.score(outcomes, "low")
    assert (figures["right"], figures["explained"], figures["wrong"]) == (2, 1, 1)
    assert (figures["found"], figures["missed"]) == (2, 1)
    assert figures["precision"] == 0.5
    assert figures["recall"] == pytest.approx(0.6667)
    assert figures["captures_without_alert"] == 2
