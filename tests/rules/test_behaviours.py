"""``docs/ics-behaviours.md`` names rules that exist, and every rule on industrial traffic that alerts."""

import re
from pathlib import Path

from correlate.rules import load_rules
from event.site import KnownAsset, Segment, Site

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/ics-behaviours.md").read_text(encoding="utf-8")
NAMED = set(re.findall(r"`([a-z0-9_]+)`", PAGE))


def test_the_page_names_rules_that_exist():
    known = {Path(rule.meta.path).stem for rule in load_rules().all()}
    keys = {*Site.model_fields, *Segment.model_fields, *KnownAsset.model_fields}
    assert NAMED - known - keys == {"_base"}


def test_every_rule_that_can_make_an_incident_is_on_the_page():
    loud = {
        Path(rule.meta.path).stem
        for rule in load_rules().all()
        if rule.meta.alerts and rule.meta.level != "informational" and "/logs/" not in str(rule.meta.path)
    }
    assert loud
    assert loud <= NAMED
