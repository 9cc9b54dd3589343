"""The main job over a cluster, as a user runs it: the same events, alerts and incidents as in a folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nodes
import pytest

pytestmark = pytest.mark.elastic

ROOT = Path(__file__).resolve().parents[2]
PUMP = ROOT / "pcaps/modbus/pump-station.pcap"
SITE = ROOT / "pcaps/modbus/pump-station.site.toml"


def jianmen(*words: object, **env: str) -> tuple[int, str, str]:
    surroundings = {k: v for k, v in os.environ.items() if not k.startswith("JIANMEN_STORE")}
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", *map(str, words)],
        cwd=ROOT,
        env={**surroundings, "JIANMEN_LANG": "en", "PYTHONPATH": str(ROOT), "COLUMNS": "200", **env},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(params=["elastic_8", "elastic_9"])
def place(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    cluster: nodes.Cluster = request.getfixturevalue(request.param)
    prefix = f"j{uuid.uuid4().hex[:12]}"
    yield {"JIANMEN_STORE": cluster.url, "JIANMEN_STORE_PREFIX": prefix}
    cluster.request("DELETE", f"/{prefix}-*")
    cluster.request("DELETE", f"/_index_template/{prefix}-*")


def outcome(tmp_path: Path, env: dict[str, str]) -> dict[str, Any]:
    """Read, find, triage, report: what each step gives as data."""
    for words in (("ingest", PUMP), ("detect",)):
        code, _, err = jianmen(*words, "--config", SITE, **env)
        assert code == 0, err
    found: dict[str, Any] = {}
    for name, words in {
        "events": ("events", "search", "--json"),
        "writes": ("events", "search", "--json", "-w", "modbus.access == write and source.ip cidr 10.0.0.0/8"),
        "newest": ("events", "search", "--json", "-n", "7", "--newest"),
    }.items():
        code, text, err = jianmen(*words, **env)
        assert code == 0, err
        found[name] = [json.loads(line) for line in text.splitlines()]
    code, text, err = jianmen("incident", "list", "--json", **env)
    assert code == 0, err
    found["incidents"] = [
        {key: one[key] for key in ("id", "version", "status", "level", "title_en")} for one in json.loads(text)
    ]
    code, text, err = jianmen("store", "status", "--json", **env)
    assert code == 0, err
    found["held"] = {
        one["dataset"]: (one["events"], one["oldest"], one["newest"]) for one in json.loads(text)["datasets"]
    }
    code, _, err = jianmen("report", "risk", "--config", SITE, "--out", tmp_path / "reports", **env)
    assert code == 0, err
    report = json.loads(next((tmp_path / "reports").glob("*.json")).read_text())
    found["report"] = sorted(report)
    return found


def test_the_main_job_gives_the_same_over_a_cluster_as_in_a_folder(tmp_path: Path, place: dict[str, str]) -> None:
    folder = outcome(tmp_path / "a", {"JIANMEN_STORE": str(tmp_path / "store")})
    cluster = outcome(tmp_path / "b", place)
    assert folder["events"]
    assert folder["incidents"]
    for name, expected in folder.items():
        assert cluster[name] == expected, name
    before = jianmen("store", "status", "--json", **place)[1]
    assert jianmen("ingest", PUMP, "--config", SITE, **place)[0] == 0
    assert jianmen("detect", "--config", SITE, **place)[0] == 0
    counts = [
        {o["dataset"]: o["events"] for o in json.loads(text)["datasets"]}
        for text in (before, jianmen("store", "status", "--json", **place)[1])
    ]
    assert counts[0] == counts[1]


def test_a_cluster_that_is_away_is_exit_code_5_and_one_message() -> None:
    code, out, err = jianmen("events", "search", "--store", "http://127.0.0.1:1")
    assert (code, out) == (5, "")
    assert "cannot be reached" in err
    assert "http://127.0.0.1:1" in err
    assert "Traceback" not in err
