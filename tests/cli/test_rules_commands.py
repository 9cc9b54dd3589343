"""``jianmen rules``: status, explain, update, check, convert, as a user runs them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
RULE = r"""
title: Shell out of Office
id: 11111111-0000-4000-8000-000000000009
author: Somebody Else
logsource: {category: process_creation, product: windows}
detection:
  selection:
    Image|endswith: ['\cmd.exe', '\powershell.exe']
    Nonesuch: 1
  condition: selection
level: high
"""
EVENT = {
    "EventID": 1,
    "Channel": "Microsoft-Windows-Sysmon/Operational",
    "@timestamp": "2026-03-01T10:00:00Z",
    "Image": "C:\\cmd.exe",
}


def jianmen(*args: object, state: Path, lang: str = "en") -> tuple[int, str, str]:
    keep = {k: v for k, v in os.environ.items() if not k.startswith("JIANMEN_")}
    made = {**keep, "JIANMEN_LANG": lang, "JIANMEN_STATE": str(state), "PYTHONPATH": str(ROOT), "COLUMNS": "250"}
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", "rules", *map(str, args)],
        cwd=state,
        env=made,
        capture_output=True,
        check=False,
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state folder in which the rules of a small checkout are installed, and two files beside."""
    folder = tmp_path_factory.mktemp("rules")
    (folder / "sigma" / "rules").mkdir(parents=True)
    (folder / "sigma" / "rules" / "one.yml").write_text(RULE)
    (folder / "sigma" / "rules" / "bad.yml").write_text(RULE.replace("endswith", "endwith").replace("0009", "0008"))
    (folder / "sigma" / "LICENSE").write_text("Detection Rule License (DRL) 1.1\n")
    (folder / "event.jsonl").write_text(json.dumps(EVENT) + "\n")
    code, out, err = jianmen("update", folder / "sigma", state=folder)
    assert code == 0, err
    assert "rules/bad.yml:" in out
    assert "unknown modifier" in out
    assert "DRL-1.1" in err
    return folder


def test_installed_rules_are_in_force_and_their_faults_are_named(place: Path) -> None:
    code, out, err = jianmen("status", "--json", state=place)
    assert code == 0, err
    told = json.loads(out)
    [one] = [row for row in told["rules"] if row["id"].endswith("000000000009")]
    assert (one["state"], one["datasets"]) == ("waiting", ["windows.sysmon"])
    assert one["unknown_fields"] == ["winlog.event_data.Nonesuch"]
    assert any("bad.yml" in line for line in told["refused"])
    code, out, err = jianmen("status", "--state", "waiting", state=place)
    assert "Nonesuch" in out
    assert "1 public rules not taken" in err
    code, _, err = jianmen("status", "--state", "fine", state=place)
    assert (code, "known: ok, waiting, no dataset, error" in err) == (2, True)


def test_explain_says_which_item_decided(place: Path) -> None:
    code, out, err = jianmen("explain", "Shell out", "--event", place / "event.jsonl", state=place)
    assert code == 0, err
    assert "does not match" in out
    assert "decided by: selection: Nonesuch does not hold" in out
    code, out, _ = jianmen(
        "explain", "11111111-0000-4000-8000-000000000009", "--event", place / "event.jsonl", "--json", state=place
    )
    [told] = json.loads(out)
    items: list[dict[str, Any]] = told["detections"][0]["alternatives"][0]
    assert [(item["text"], item["holds"], item["values"]) for item in items] == [
        ("Image|endswith", True, ["\\cmd.exe"]),
        ("Nonesuch", False, []),
    ]
    code, out, _ = jianmen("explain", "Shell out", "--event", place / "event.jsonl", state=place, lang="zh")
    assert "未命中" in out


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("explain", "Shell out"), "name an event"),
        (("explain", "no such rule", "x"), "no rule 'no such rule'"),
        (("explain", "Shell out", "--event", "none.json"), "no such file"),
        (("update", "none"), "no such folder"),
    ],
)
def test_the_obvious_mistake_is_said_in_one_line(place: Path, args: tuple[str, ...], said: str) -> None:
    code, out, err = jianmen(*args, state=place)
    assert code in (2, 4)
    assert out == ""
    assert said in err
    assert "Traceback" not in err


def test_check_names_every_error_with_file_and_line_and_what_is_allowed(place: Path) -> None:
    code, out, _ = jianmen("check", place / "sigma", state=place)
    assert code == 4
    [error] = [line for line in out.splitlines() if ": error:" in line]
    assert error.startswith(f"{place}/sigma/rules/bad.yml:8: error: unknown modifier 'endwith'; known: ")
    assert "endswith" in error
    [warning] = [line for line in out.splitlines() if ": warning:" in line]
    assert "one.yml:9:" in warning
    assert "the field 'Nonesuch' is recorded by no event of this log source" in warning


def test_a_rule_with_an_error_does_not_count_as_valid(place: Path) -> None:
    code, out, err = jianmen("check", place / "sigma" / "rules", state=place)
    assert code == 4
    assert "1 rules and 0 correlations are valid, 1 errors" in out + err
    code, out, _ = jianmen("check", "--json", place / "sigma" / "rules", state=place)
    assert code == 4
    assert json.loads(out)["rules"] == 1
