"""The line as a user walks it: log, spool, forwarder, Elasticsearch; then status, retention, migration, detection."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from pathlib import Path
from typing import Any

import nodes
import pytest

pytestmark = pytest.mark.elastic

ROOT = Path(__file__).resolve().parents[2]
ZEEK = ROOT / "tests/data/zeek"


@pytest.fixture(params=["elastic_8", "elastic_9"])
def elastic(request: pytest.FixtureRequest) -> nodes.Cluster:
    """A node of each version."""
    cluster: nodes.Cluster = request.getfixturevalue(request.param)
    return cluster


@pytest.fixture
def surroundings(tmp_path: Path) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("JIANMEN_")}
    ours = {"JIANMEN_LANG": "en", "PYTHONPATH": str(ROOT), "COLUMNS": "200", "JIANMEN_STATE": str(tmp_path / "state")}
    return {**kept, **ours, "JIANMEN_STORE_PREFIX": f"j{secrets.token_hex(6)}"}


def jianmen(surroundings: dict[str, str], *args: object, code: int = 0) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", *map(str, args), "--json"],
        cwd=ROOT / "tests",
        env=surroundings,
        capture_output=True,
        check=False,
    )
    assert done.returncode == code, done.stderr.decode()
    return json.loads(done.stdout) if done.stdout else done.stderr.decode()


def counts(status: Any) -> dict[str, int]:
    return {one["dataset"]: one["events"] for one in status["datasets"]}


def test_a_log_goes_through_the_spool_into_the_cluster(
    elastic: nodes.Cluster, tmp_path: Path, surroundings: dict[str, str]
) -> None:
    spool, direct = tmp_path / "spool", tmp_path / "direct"
    read = jianmen(surroundings, "ingest", ZEEK, "--spool", spool)["events"]
    sent = jianmen(surroundings, "store", "forward", "--spool", spool, "--store", elastic.url)
    assert (sent["new_events"], sent["rejected"]) == (sum(read.values()), 0)
    assert sent["waiting"]["segments"] == 0
    status = jianmen(surroundings, "store", "status", "--store", elastic.url)
    assert status["kind"] == "elastic"
    assert status["cluster"]["nodes"] == 1
    assert counts(status) == read

    jianmen(surroundings, "ingest", ZEEK, "--store", direct)
    moved = jianmen(surroundings, "store", "migrate", "--from", direct, "--store", elastic.url)
    assert (sum(moved["events"].values()), sum(moved["new_events"].values())) == (sum(read.values()), 0)
    assert jianmen(surroundings, "store", "migrate", "--store", elastic.url)["indices"] == []

    old = jianmen(surroundings, "store", "retain", "--store", elastic.url)
    assert old["applied"] is False
    assert counts(jianmen(surroundings, "store", "status", "--store", elastic.url)) == read


def test_one_way_into_the_cluster(elastic_8: nodes.Cluster, tmp_path: Path, surroundings: dict[str, str]) -> None:
    key, spool, out = tmp_path / "k.key", tmp_path / "spool", tmp_path / "out"
    subprocess.run(
        [sys.executable, "-m", "cli.main", "store", "key", tmp_path / "k"],
        cwd=ROOT / "tests",
        env=surroundings,
        check=True,
    )
    read = jianmen(surroundings, "ingest", ZEEK, "--spool", spool)["events"]
    jianmen(surroundings, "store", "export", "--spool", spool, "--to", out, "--key", key)
    first, *_ = sorted(out.glob("*.jms"))
    first.rename(tmp_path / "late")
    take = ("store", "import", "--from", out, "--key", tmp_path / "k.pub", "--store", elastic_8.url)
    missing = jianmen(surroundings, *take, code=3)
    assert [one["gaps"] for one in missing["streams"].values()] == [[[1, 1]]]
    (tmp_path / "late").rename(first)
    jianmen(surroundings, *take)
    status = jianmen(surroundings, "store", "status", "--store", elastic_8.url)
    assert counts(status) == read
    assert [one["missing"] for one in status["streams"].values()] == [0]


def test_a_cluster_that_is_not_there_costs_disk(tmp_path: Path, surroundings: dict[str, str]) -> None:
    nowhere = "http://127.0.0.1:9"
    read = jianmen(surroundings, "ingest", ZEEK, "--spool", tmp_path / "spool", "--store", nowhere)["events"]
    waiting = jianmen(surroundings, "store", "status", "--spool", tmp_path / "spool")
    assert waiting["events"] == sum(read.values())
    assert "cannot be reached" in waiting["forward"]["error"]
    said = jianmen(surroundings, "store", "forward", "--spool", tmp_path / "spool", "--store", nowhere, code=5)
    assert "cannot be reached" in said
