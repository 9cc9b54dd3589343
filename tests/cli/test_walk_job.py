"""Walking a playbook and grading by hand, as people at a terminal do it."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from event.incident import Incident
from store.embedded import EmbeddedStore

ROOT = Path(__file__).resolve().parents[2]
T0 = datetime(2026, 9, 1, 2, tzinfo=UTC)


def jianmen(*args, **env):
    surroundings = {k: v for k, v in os.environ.items() if not k.startswith("JIANMEN_")}
    surroundings.update({"JIANMEN_LANG": "en", "PYTHONPATH": str(ROOT), "COLUMNS": "200", **env})
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", *map(str, args)],
        cwd=ROOT / "tests",
        env=surroundings,
        capture_output=True,
        check=False,
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def answer(*args):
    code, text, err = jianmen(*args, "--json")
    assert code == 0, err
    return json.loads(text)


@pytest.fixture
def store(tmp_path):
    folder = tmp_path / "store"
    with EmbeddedStore(folder) as kept:
        kept.put_incident(
            Incident(
                id="INC-20260901-TEST",
                version=1,
                status="new",
                level="high",
                title_zh="网络扫描探测",
                title_en="Scan",
                first_seen=T0,
                last_seen=T0 + timedelta(minutes=5),
                discovered=T0 + timedelta(minutes=6),
            )
        )
    return folder


def test_a_walk_for_real_goes_on_where_it_stood_and_ends_up_in_the_incident(store):
    at = ("--store", store)
    walk = answer("playbook", "start", "scan", "--incident", "INC-20260901", "--real", *at)
    assert walk["state"] == "running"
    assert not walk["dry_run"]
    assert [s["name"] for s in walk["waiting"]] == ["Verify the scan"]
    first = walk["waiting"][0]["step"].rpartition("--")[2][:12]
    after = answer("playbook", "step", walk["id"][:20], first, "--note", "from the laptop of a contractor", *at)
    assert "Verify the scan" not in [s["name"] for s in after["waiting"]]
    incident = answer("incident", "show", "INC-20260901", *at)
    done = [a for a in incident["actions"] if a["done_at"]]
    assert len(done) == 1
    assert done[0]["effect"] == "from the laptop of a contractor"
    assert done[0]["source"].startswith(walk["playbook_id"])
    shown = answer("playbook", "step", walk["id"], *at)  # looking changes nothing
    assert shown["log"] == after["log"]
    assert [w["id"] for w in answer("playbook", "walks", *at)] == [walk["id"]]


def test_a_walk_can_be_walked_to_its_end_step_by_step(store):
    at = ("--store", store)
    walk = answer("playbook", "start", "scan", *at)
    assert walk["dry_run"]
    for _ in range(30):
        if walk["state"] != "running":
            break
        one = walk["waiting"][0]
        more = ("--decide", "no") if one["type"].endswith("condition") else ()
        walk = answer("playbook", "step", walk["id"], one["step"], *more, *at)
    assert walk["state"] == "finished"
    assert answer("incident", "show", "INC-20260901", *at)["version"] == 1  # a rehearsal leaves no trace in incidents


def test_a_walk_is_stopped_with_a_reason_only(store):
    at = ("--store", store)
    walk = answer("playbook", "start", "controller_stop", *at)
    code, _, err = jianmen("playbook", "step", walk["id"], "--abort", *at)
    assert (code, "--note" in err) == (2, True)
    walk = answer("playbook", "step", walk["id"], "--abort", "--note", "false alarm", *at)
    assert walk["state"] == "aborted"
    assert walk["log"][-1]["note"] == "false alarm"
    code, _, err = jianmen("playbook", "step", walk["id"], walk["log"][-1]["step"], *at)
    assert code == 4
    assert "does not wait" in err


def test_a_drill_needs_no_store_and_shows_every_step_in_both_languages():
    for lang, word in (("en", "nothing was carried out"), ("zh", "演练未执行任何操作")):
        code, text, err = jianmen("playbook", "drill", "visibility_loss", JIANMEN_LANG=lang)
        assert code == 0, err
        assert word in text + err
    walk = answer("playbook", "drill", "scan")
    assert walk["state"] == "finished"
    decided = next(e for e in walk["log"] if e["what"] == "decided")
    other = answer("playbook", "drill", "scan", "--decide", f"{decided['step']}=no")
    assert [e["name"] for e in other["log"]] != [e["name"] for e in walk["log"]]


@pytest.mark.parametrize(
    ("args", "code", "word"),
    [
        (("playbook", "start", "scan", "--real"), 2, "--incident"),
        (("playbook", "start", "scan", "--incident", "INC-none"), 2, "no incident"),
        (("playbook", "start", "scan", "--set", "nonsense"), 2, "--set"),
        (("playbook", "start", "scan", "--set", "__nobody__=1"), 4, "unknown variable"),
        (("playbook", "start", "no such"), 2, "0 playbooks"),
        (("playbook", "step", "walk-none"), 2, "0 walks"),
        (("playbook", "step", "walk-none", "--outcome", "fine"), 2, "known: success"),
        (("incident", "grade", "INC-20260901", "--set", "cac=huge", "--reason", "x"), 2, "particularly_major"),
        (("incident", "grade", "INC-20260901", "--set", "cac=major"), 2, "--reason"),
        (("incident", "grade", "INC-20260901", "--reason", "because"), 2, "--set"),
    ],
)
def test_mistakes_are_named_and_change_nothing(store, args, code, word):
    got, _, err = jianmen(*args, "--store", store)
    assert (got, word in err) == (code, True), err
    assert "Traceback" not in err
    assert answer("incident", "show", "INC-20260901", "--store", store)["version"] == 1


def test_a_grade_by_hand_stands_above_the_computed_one_with_who_and_why(store):
    at = ("--store", store)
    changed = answer("incident", "grade", "INC-20260901", "--set", "cac=major", "--reason", "told by dispatch", *at)
    assert changed["grade_cac"] == "major"
    by_hand = [r for r in changed["reasons"] if "told by dispatch" in (r["value_en"] or "")]
    assert len(by_hand) == 1
    assert by_hand[0]["scale"] == "cac-2025"
    incident = answer("incident", "show", "INC-20260901", *at)
    assert incident["version"] == 2
    assert "told by dispatch" in incident["history"][-1]["change"]
    assert incident["history"][-1]["actor"] == by_hand[0]["source"]
    facts = answer("incident", "impact", "INC-20260901", "--set", "people_affected=5", *at)
    assert facts["grade_cac"] == "major"  # facts do not push a person's judgement aside
    back = answer("incident", "grade", "INC-20260901", "--set", "cac=none", "--reason", "a mistake", *at)
    assert back["grade_cac"] != "major"
    assert not [r for r in back["reasons"] if "told by dispatch" in (r["value_en"] or "")]


def test_reasons_are_shown_in_the_language_of_the_reader(store):
    at = ("--store", store)
    jianmen("incident", "grade", "INC-20260901", "--set", "gbt=large", "--reason", "R1", *at)
    _, english, _ = jianmen("incident", "grade", "INC-20260901", *at)
    _, chinese, _ = jianmen("incident", "grade", "INC-20260901", *at, JIANMEN_LANG="zh")
    assert "Judged by a person" in english
    assert "人工研判" in chinese
    assert "Judged by a person" not in chinese
