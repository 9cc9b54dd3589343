"""The cluster of deploy/compose as node processes: its settings, its certificates, its names, its health check.

What Docker does is done by hand: a service's name is a loopback address (Java has a hosts file of its own), what is
mounted is copied. Only hosts, ports, the folder of snapshots and the lock on memory are not the file's.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nodes
import pytest
import yaml
from test_contract import events, ids

from store.elastic import ElasticStore

pytestmark = [pytest.mark.elastic, pytest.mark.slow]

DEPLOY = Path(__file__).parents[2] / "deploy"
IMAGE = "/usr/share/elasticsearch/config/"
VERSION = "8.19.8"
ADDRESSES = {"es1": "127.0.0.11", "es2": "127.0.0.12", "es3": "127.0.0.13"}
ROLES = ("sensor", "analyst", "report", "admin")


@dataclass
class Composed:
    """What ``docker compose up`` would have given."""

    cluster: nodes.Cluster
    services: dict[str, Any]
    words: dict[str, str]

    def opened(self, role: str, number: int = 0) -> ElasticStore:
        return ElasticStore(
            self.cluster.urls[number], ca=self.cluster.ca, auth=(f"station-{role}", self.words[role]), patience=1
        )


@pytest.fixture(scope="module")
def composed() -> Iterator[Composed]:
    reason = nodes.missing(VERSION)
    if reason:
        if os.environ.get("CI"):
            pytest.fail(f"CI runs these tests: {reason}", pytrace=False)
        pytest.skip(reason)
    folder = Path(tempfile.mkdtemp(prefix="cluster-", dir=nodes.cache()))
    folder.chmod(0o755)
    lock = os.open(folder / "users", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_SH)
    cluster = nodes.Cluster(VERSION, folder, [], _users=lock)
    cluster._guard = subprocess.Popen([sys.executable, "-I", nodes.__file__, "guard", folder], start_new_session=True)
    with cluster:
        yield compose_up(folder, cluster)


def compose_up(folder: Path, cluster: nodes.Cluster) -> Composed:
    """Start the services that have a health check, each in a folder of its own."""
    shutil.copytree(DEPLOY, folder / "deploy")
    here = folder / "deploy" / "compose"
    subprocess.run(["./certificates.sh"], cwd=here, check=True, capture_output=True)
    services = yaml.safe_load((here / "compose.yml").read_text("utf-8"))["services"]
    services = {name: one for name, one in services.items() if "healthcheck" in one}
    *http, transport = nodes._free_ports(len(services) + 1)
    words = {role: secrets.token_urlsafe(12) for role in ("elastic", *ROLES)}
    # Accounts of the API need an index that this distribution cannot make: a file holds them.
    accounts = {f"station-{role}": (words[role], [f"jianmen_{role}"]) for role in ROLES}
    cluster.ca = here / "certs" / "ca.crt"
    cluster.user = ("elastic", words["elastic"])
    (folder / "snapshots").mkdir()
    for (name, one), port in zip(services.items(), http, strict=True):
        settings = {key: value for key, value in one["environment"].items() if "." in key}
        settings |= {"http.host": "127.0.0.1", "http.port": port}
        settings |= {"transport.host": ADDRESSES[name], "transport.port": transport}
        settings["xpack.security.authc.password_hashing.algorithm"] = "pbkdf2"
        settings |= {"path.repo": str(folder / "snapshots"), "bootstrap.memory_lock": False}
        node = nodes._Node(folder / f"node-{name}", port)
        config = node.folder / "config"
        options = [*nodes._options("512m", fast_start=True), f"-Djdk.net.hosts.file={config / 'hosts'}"]
        nodes._prepare(node.folder, VERSION, settings, "", accounts, options, None)
        (config / "hosts").write_text("".join(f"{address} {known}\n" for known, address in ADDRESSES.items()))
        for volume in one["volumes"]:
            source, target, *_ = volume.split(":")
            if target.startswith(IMAGE):
                copy = shutil.copytree if (here / source).is_dir() else shutil.copy
                copy(here / source, config / target.removeprefix(IMAGE))
        cluster._nodes.append(node)
        cluster.urls.append(f"https://127.0.0.1:{port}")
    keystore(cluster, words["elastic"])
    owner = nodes._owner()
    if owner:
        for path in (folder / "snapshots", *folder.glob("node-*/**/*")):
            os.chown(path, *owner)
    for node in cluster._nodes:
        node.process = nodes._launch(node.folder, VERSION)
    for number in range(len(services)):
        cluster.wait(number)
    return Composed(cluster, services, words)


def keystore(cluster: nodes.Cluster, word: str) -> None:
    """What the image's entry point does with ELASTIC_PASSWORD, once for all nodes."""
    first, *others = (node.folder / "config" for node in cluster._nodes)
    tool = nodes.distribution(VERSION) / "bin" / "elasticsearch-keystore"
    environment = {"PATH": os.environ["PATH"], "ES_PATH_CONF": str(first)}
    environment["ES_JAVA_HOME"] = str(nodes.java_home(nodes.JAVA[VERSION]))
    for words, said in ((["create"], ""), (["add", "-x", "bootstrap.password"], word)):
        subprocess.run([tool, *words], env=environment, input=said, text=True, check=True, capture_output=True)
    for other in others:
        shutil.copy(first / "elasticsearch.keystore", other)


def test_three_nodes_find_each_other_by_name_and_are_green(composed: Composed) -> None:
    status, said = composed.cluster.request(
        "GET", "/_cluster/health?wait_for_status=green&wait_for_nodes=3&timeout=60s"
    )
    assert status == 200
    assert isinstance(said, dict)
    assert (said["cluster_name"], said["status"], said["number_of_nodes"]) == ("jianmen", "green", 3)


@pytest.mark.skipif(shutil.which("curl") is None and "CI" not in os.environ, reason="the health check needs curl")
def test_the_health_check_holds_on_each_node(composed: Composed) -> None:
    for node, one in zip(composed.cluster._nodes, composed.services.values(), strict=True):
        kind, command = one["healthcheck"]["test"]
        assert kind == "CMD-SHELL"
        command = command.replace("curl ", f"curl --connect-to localhost:9200:127.0.0.1:{node.http} ")
        assert subprocess.run(["sh", "-c", command], cwd=node.folder).returncode == 0


def test_roles_work_on_each_node_and_a_dead_node_loses_nothing(composed: Composed) -> None:
    with composed.opened("admin") as store:  # installs the templates
        store.append(events(range(3)))
    with composed.opened("sensor", 1) as store:
        store.append(events(range(3, 10)))
    composed.cluster.request("POST", "/jianmen-*/_refresh", node=1)  # a sensor may not
    with composed.opened("analyst", 2) as store:
        assert len(ids(store.scan())) == 10
        store.append(events(range(2), dataset="jianmen.alert"))
    composed.cluster.kill(1)
    with composed.opened("sensor", 0) as store:
        store.append(events(range(10, 20)))
    composed.cluster.request("POST", "/jianmen-*/_refresh")
    with composed.opened("report", 2) as store:
        assert len(ids(store.scan())) == 22
    composed.cluster.restart(1)
    composed.cluster.wait(1)


def test_snapshots_are_taken_where_the_nodes_may_write(composed: Composed) -> None:
    repository = {"type": "fs", "settings": {"location": str(composed.cluster.folder / "snapshots")}}
    status, said = composed.cluster.request("PUT", "/_snapshot/nightly", repository)
    assert status == 200, said
    status, said = composed.cluster.request(
        "PUT",
        "/_snapshot/nightly/one?wait_for_completion=true",
        {"indices": "jianmen-*", "include_global_state": False},
    )
    assert status == 200
    assert isinstance(said, dict)
    assert said["snapshot"]["state"] == "SUCCESS"
