"""The wheel: what a user installs carries the rules and playbooks and runs away from the checkout."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    wheel = next(folder.glob("*.whl"))
    inside = folder / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(inside)
    return inside


def test_it_carries_every_rule_and_playbook_and_nothing_else_of_the_content(unpacked):
    def files(folder: Path) -> set[str]:
        return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}

    assert files(unpacked / "correlate/_content/rules") == files(ROOT / "rules")
    assert files(unpacked / "respond/_content/playbooks") == files(ROOT / "playbooks")
    assert not any((unpacked / name).exists() for name in ("rules", "playbooks", "pcaps", "tests", "docs"))


def test_it_runs_away_from_the_checkout(unpacked, tmp_path):
    env = {**os.environ, "PYTHONPATH": str(unpacked), "JIANMEN_LANG": "en"}
    probe = (
        "import sys, cli.main, correlate.rules as r, respond.playbook as p;"
        "print(cli.main.__file__); print(len(r.load_rules().rules)); print(len(p.load_playbooks().playbooks))"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    where, rules, playbooks = done.stdout.splitlines()
    assert where.startswith(str(unpacked))
    assert int(rules) >= 40
    assert int(playbooks) >= 4
