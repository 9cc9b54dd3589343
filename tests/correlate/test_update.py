"""Taking over a checkout of public rules: all or nothing, with licence, and what is different."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from correlate.detect import Detector
from correlate.ir import RuleSet
from correlate.rules import load_rules
from correlate.samples import tables_of
from correlate.update import Update, installed, licensed, manifest, refused, update
from event.errors import RuleError

NOW = datetime(2026, 3, 1, tzinfo=UTC)
RULE = """
title: {title}
id: 11111111-0000-4000-8000-00000000000{number}
author: Somebody Else, Another
logsource: {{category: process_creation, product: windows}}
detection:
  selection: {{Image|endswith: '{image}'}}
  condition: selection
level: high
"""


def load(paths: Sequence[Path]) -> RuleSet:
    return load_rules(paths, keep_going=True)


def take(source: Path, home: Path, *, apply: bool = True) -> Update:
    return update(source, home, load=load, now=NOW, apply=apply)


def put(source: Path, name: str, number: int, image: str = "x.exe", title: str = "Some Title") -> Path:
    path = source / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(RULE.format(title=title, number=number, image=image))
    return path


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    source = tmp_path / "sigma"
    put(source, "rules/windows/a.yml", 1)
    put(source, "rules-emerging-threats/b.yml", 2)
    put(source, "tests/not-a-rule.yml", 3)
    (source / "rules" / "broken.yml").write_text(RULE.format(title="Bad", number=4, image="x") + "detection: 5\n")
    (source / "LICENSE").write_text("The rules are released under the Detection Rule License (DRL) 1.1\n")
    (source / ".git").mkdir()
    (source / ".git" / "HEAD").write_text("a" * 40 + "\n")
    return source


def test_rules_are_installed_with_licence_and_author_in_every_alert(checkout: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    made = take(checkout, home)
    assert (made.rules, made.count("new"), made.count("refused"), made.license) == (2, 2, 1, "DRL-1.1")
    assert made.commit == "a" * 40
    folder = installed(home)
    assert folder is not None
    assert sorted(path.name for path in folder.rglob("*.yml")) == ["a.yml", "b.yml"]
    assert (home / "sigma" / "LICENSE").is_file()
    ruleset = licensed(load_rules([folder]), home)
    detector = Detector(ruleset)
    event = {"event.dataset": "windows.sysmon", "event.code": "1", "winlog.event_data.Image": "C:\\x.exe"}
    alerts = detector.feed(tables_of([event], None)[0])
    assert alerts["rule.license"].to_list() == ["DRL-1.1"] * 2
    assert alerts["rule.author"][0].to_list() == ["Somebody Else", "Another"]


def test_what_cannot_be_used_is_named_with_its_reason(checkout: Path, home: Path) -> None:
    take(checkout, home)
    [one] = refused(home)
    assert one.path == "rules/broken.yml"
    assert "detection" in one.reason


def test_the_next_update_says_what_is_different(checkout: Path, home: Path) -> None:
    take(checkout, home)
    assert not [one for one in take(checkout, home).changes if one.kind != "refused"]
    put(checkout, "rules/windows/a.yml", 1, image="y.exe")
    put(checkout, "rules/c.yml", 5)
    (checkout / "rules-emerging-threats" / "b.yml").unlink()
    ahead = take(checkout, home, apply=False)
    assert sorted((one.kind, one.path) for one in ahead.changes) == [
        ("changed", "rules/windows/a.yml"),
        ("new", "rules/c.yml"),
        ("refused", "rules/broken.yml"),
        ("removed", "rules-emerging-threats/b.yml"),
    ]
    assert len(manifest(home)["rules"]) == 2
    assert set(manifest(home)["rules"]) != {one.id for one in ahead.changes}
    assert take(checkout, home).changes == ahead.changes
    assert "y.exe" in (home / "sigma" / "rules" / "rules" / "windows" / "a.yml").read_text()
    assert len(list(home.glob(".sigma-*"))) == 2  # what is in force, and the one before


def test_an_update_that_fails_leaves_what_was_there(
    checkout: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take(checkout, home)
    before = (home / "sigma").resolve()
    put(checkout, "rules/c.yml", 5)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("correlate.update.shutil.copyfile", full)
    with pytest.raises(RuleError, match="No space left"):
        take(checkout, home)
    assert (home / "sigma").resolve() == before
    assert [path for path in home.glob(".sigma-*") if path.resolve() != before] == []


def test_what_is_no_checkout_is_said(tmp_path: Path) -> None:
    with pytest.raises(RuleError, match="no such folder"):
        take(tmp_path / "none", tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(RuleError, match="no Sigma rules"):
        take(tmp_path / "empty", tmp_path)
    put(tmp_path / "bare", "deep/er/x.yml", 1)  # a folder of rules is taken as it is
    (tmp_path / "bare" / "link.yml").symlink_to("/etc/passwd")
    made = take(tmp_path / "bare", tmp_path)
    assert (made.rules, made.license, made.commit) == (1, None, None)
