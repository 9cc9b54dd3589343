"""The nodes that tests run on: there, of the version asked for, gone afterwards."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import nodes
import pytest

pytestmark = pytest.mark.elastic


@pytest.mark.parametrize("name", ["elastic_8", "elastic_9"])
def test_a_shared_node_answers_in_its_version(request: pytest.FixtureRequest, name: str) -> None:
    cluster = request.getfixturevalue(name)
    status, found = cluster.request("GET", "/_nodes/_local?filter_path=nodes.*.version")
    assert status == 200
    assert [node["version"] for node in found["nodes"].values()] == [cluster.version]


def test_a_killed_node_comes_back_on_its_address_with_its_data(start_nodes: Callable[..., nodes.Cluster]) -> None:
    cluster = start_nodes("8.19.8")
    assert cluster.request("PUT", "/x/_doc/1?refresh=true", {"a": 1})[0] == 201
    url = cluster.url
    cluster.kill()
    with pytest.raises(OSError, match="refused"):
        cluster.request("GET", "/x/_doc/1")
    cluster.restart()
    assert cluster.url == url
    assert cluster.request("GET", "/x/_doc/1")[0] == 200


def test_processes_of_one_run_share_a_node_and_the_last_one_ends_it(tmp_path: Path) -> None:
    if reason := nodes.missing("8.19.8"):
        pytest.skip(reason)
    with nodes.shared("8.19.8", tmp_path) as one, nodes.shared("8.19.8", tmp_path) as two:
        assert one.url == two.url
        one.stop()
        assert two.request("GET", "/_cluster/health")[0] == 200
    assert gone(two.folder)


def test_users_and_tls(start_nodes: Callable[..., nodes.Cluster]) -> None:
    cluster = start_nodes(
        "8.19.8",
        security=True,
        tls=True,
        roles="reader:\n  indices:\n    - names: ['x*']\n      privileges: ['read']\n",
        users={"anna": ("secret-secret", ["reader"])},
    )
    assert cluster.url.startswith("https://")
    assert cluster.request("PUT", "/x/_doc/1?refresh=true", {"a": 1})[0] == 201
    assert cluster.request("GET", "/x/_doc/1", user=("anna", "secret-secret"))[0] == 200
    assert cluster.request("GET", "/x/_doc/1", user=("anna", "wrong"))[0] == 401
    assert cluster.request("PUT", "/x/_doc/2", {"a": 1}, user=("anna", "secret-secret"))[0] == 403


def test_no_node_outlives_the_process_that_started_it(tmp_path: Path) -> None:
    if reason := nodes.missing("8.19.8"):
        pytest.skip(reason)
    script = (
        f"import sys, json, time; sys.path.insert(0, {str(Path(nodes.__file__).parent)!r}); import nodes\n"
        "c = nodes.start('8.19.8')\n"
        "print(json.dumps([str(c.folder), nodes._members(c.folder / 'node-0')]), flush=True)\n"
        "time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        folder, members = json.loads(process.stdout.readline())
        assert members
        process.send_signal(signal.SIGKILL)
    assert gone(Path(folder))
    assert not [pid for pid in members if alive(pid, folder)]


def alive(pid: int, folder: str) -> bool:
    """Whether a node's process is still there (an unreaped one is not, and a number may be given out again)."""
    try:
        return folder in Path(f"/proc/{pid}/cmdline").read_text()  # empty for a zombie
    except OSError:
        return False


def gone(folder: Path) -> bool:
    """Whether a cluster is cleared away; waits for it."""
    for _ in range(600):
        if not folder.exists():
            return True
        time.sleep(0.1)
    return False
