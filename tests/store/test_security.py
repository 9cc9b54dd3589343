"""The roles of deploy/elasticsearch on a node with security and TLS: each may do its work and nothing beside it."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nodes
import pytest
import yaml
from test_contract import events, ids, incident

from event.errors import StoreError
from store.elastic import ElasticStore
from store.forward import Forwarder, StoreDelivery
from store.spool import Spool

pytestmark = pytest.mark.elastic

DEPLOY = Path(__file__).parents[2] / "deploy" / "elasticsearch"
ROLES = ("sensor", "analyst", "report", "admin")


@pytest.fixture(scope="module")
def words() -> dict[str, str]:
    return {role: secrets.token_urlsafe(12) for role in ROLES}


@pytest.fixture(scope="module", params=["8.19.8", "9.2.8"])
def cluster(request: pytest.FixtureRequest, words: dict[str, str]) -> Iterator[nodes.Cluster]:
    try:
        started = nodes.start(
            request.param,
            security=True,
            tls=True,
            roles=(DEPLOY / "roles.yml").read_text("utf-8"),
            users={role: (word, [f"jianmen_{role}"]) for role, word in words.items()},
        )
    except nodes.Missing as reason:
        if os.environ.get("CI"):
            pytest.fail(f"CI runs these tests: {reason}", pytrace=False)
        pytest.skip(str(reason))
    with started:
        with ElasticStore(started.url, ca=started.ca, auth=("admin", words["admin"])) as store:
            store.append(events(range(5)))
            store.append(events(range(5), dataset="jianmen.alert"))
        yield started


def opened(cluster: nodes.Cluster, words: dict[str, str], role: str, **more: Any) -> ElasticStore:
    return ElasticStore(cluster.url, ca=cluster.ca, auth=(role, words[role]), patience=1, **more)


def ask(
    cluster: nodes.Cluster, words: dict[str, str], role: str, method: str, path: str, body: object = None
) -> tuple[int, Any]:
    status, said = cluster.request(method, path, body, user=(role, words[role]))
    return status, said


def index_of(cluster: nodes.Cluster) -> str:
    status, said = cluster.request("GET", "/_resolve/index/jianmen-events-modbus-*")
    assert status == 200
    assert isinstance(said, dict)
    return str(said["indices"][0]["name"])


def held(cluster: nodes.Cluster) -> int:
    cluster.request("POST", "/jianmen-events-*/_refresh")
    status, said = cluster.request("GET", "/jianmen-events-*/_count")
    assert status == 200
    assert isinstance(said, dict)
    return int(said["count"])


def test_both_files_of_roles_say_the_same() -> None:
    assert json.loads((DEPLOY / "roles.json").read_text()) == yaml.safe_load((DEPLOY / "roles.yml").read_text())


def test_a_sensor_adds_events_through_its_spool(cluster: nodes.Cluster, words: dict[str, str], tmp_path: Path) -> None:
    before = held(cluster)
    spool = Spool(tmp_path / "spool")
    spool.append(events(range(20), origin="bbbb"))
    spool.flush()
    forwarder = Forwarder(spool, StoreDelivery(lambda: opened(cluster, words, "sensor")))
    forwarder.once()
    assert forwarder.shipped.events == 20
    assert held(cluster) == before + 20
    with opened(cluster, words, "sensor") as store:  # again: nothing twice
        store.append(events(range(20), origin="bbbb"))
        store.append(events(range(20, 21), origin="bbbb"))
    assert held(cluster) == before + 21


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/jianmen-events-*/_search", None),
        ("GET", "/jianmen-events-*/_count", None),
        ("GET", "/{index}/_doc/aaaa-000001-modbus", None),
        ("GET", "/{index}/_source/aaaa-000001-modbus", None),
        ("POST", "/jianmen-events-*/_pit?keep_alive=1m", None),
        ("GET", "/jianmen-incidents/_search", None),
        ("PUT", "/{index}/_doc/aaaa-000001-modbus", {"event": {"id": "x"}}),
        ("POST", "/{index}/_update/aaaa-000001-modbus", {"doc": {"event": {"outcome": "failure"}}}),
        ("DELETE", "/{index}/_doc/aaaa-000001-modbus", None),
        ("DELETE", "/{index}", None),
        ("PUT", "/{index}/_settings", {"index": {"refresh_interval": "1h"}}),
        ("POST", "/{index}/_close", None),
        ("PUT", "/_index_template/jianmen-events", {"index_patterns": ["jianmen-events-*"]}),
        ("PUT", "/jianmen-incidents/_create/x", {"id": "x"}),
        ("PUT", "/somebody-else/_create/x", {"id": "x"}),
        ("PUT", "/_cluster/settings", {"persistent": {"cluster.max_shards_per_node": 1}}),
    ],
)
def test_a_sensor_neither_reads_nor_changes_nor_deletes(
    cluster: nodes.Cluster, words: dict[str, str], method: str, path: str, body: object
) -> None:
    before = held(cluster)
    status, said = ask(cluster, words, "sensor", method, path.format(index=index_of(cluster)), body)
    assert status == 403, said
    assert "security_exception" in json.dumps(said)
    assert held(cluster) == before


def test_a_sensor_cannot_change_how_fields_are_indexed(cluster: nodes.Cluster, words: dict[str, str]) -> None:
    # Who may create documents may add a field to a mapping, in Elasticsearch; none of ours can be changed that way.
    index = index_of(cluster)
    before = cluster.request("GET", f"/{index}/_mapping")[1]
    wanted = {"properties": {"event": {"properties": {"id": {"type": "long"}}}}}
    status, said = ask(cluster, words, "sensor", "PUT", f"/{index}/_mapping", wanted)
    assert status in (400, 403), said
    assert cluster.request("GET", f"/{index}/_mapping")[1] == before


def test_a_sensor_does_not_overwrite_in_bulk(cluster: nodes.Cluster, words: dict[str, str]) -> None:
    index = index_of(cluster)
    lines = [
        {"index": {"_id": "aaaa-000001-modbus"}},
        {"event": {"id": "aaaa-000001-modbus", "action": "forged"}},
        {"create": {"_id": "aaaa-000001-modbus"}},
        {"event": {"id": "aaaa-000001-modbus", "action": "forged"}},
        {"delete": {"_id": "aaaa-000002-modbus"}},
        {"update": {"_id": "aaaa-000003-modbus"}},
        {"doc": {"event": {"action": "forged"}}},
    ]
    body = "".join(json.dumps(line) + "\n" for line in lines).encode()
    status, said = ask(cluster, words, "sensor", "POST", f"/{index}/_bulk", body)
    assert status == 200
    # An event that is there stays: the same id is a conflict, everything else is refused.
    assert [next(iter(item.values()))["status"] for item in said["items"]] == [403, 409, 403, 403]
    status, said = cluster.request("GET", f"/{index}/_search?q=event.action:forged")
    assert isinstance(said, dict)
    assert said["hits"]["total"]["value"] == 0


def test_a_report_reads_and_writes_nothing(cluster: nodes.Cluster, words: dict[str, str]) -> None:
    with opened(cluster, words, "report", create=False) as store:
        assert "aaaa-000001-modbus" in ids(store.scan(["modbus"]))
        assert store.get(["aaaa-000001-modbus"]).height == 1
        assert {one.dataset for one in store.status()} >= {"modbus", "jianmen.alert"}
        assert isinstance(store.incidents(), list)
        with pytest.raises(StoreError, match=r"privilege|refuse") as refused:
            store.put_incident(incident())
        assert refused.value.exit_code == 5
        with pytest.raises(StoreError):
            store.put_checkpoint("x", b"y")
    before = held(cluster)
    for method, path, body in [
        ("PUT", "/{index}/_create/new", {"event": {"id": "new"}}),
        ("DELETE", "/{index}/_doc/aaaa-000001-modbus", None),
        ("DELETE", "/{index}", None),
        ("POST", "/{index}/_update/aaaa-000001-modbus", {"doc": {"event": {"action": "forged"}}}),
    ]:
        status, said = ask(cluster, words, "report", method, path.format(index=index_of(cluster)), body)
        assert status == 403, said
    assert held(cluster) == before


def test_an_analyst_adds_alerts_and_handles_incidents_and_cannot_touch_events(
    cluster: nodes.Cluster, words: dict[str, str]
) -> None:
    name = f"INC-20260301-{secrets.token_hex(3)}"
    with opened(cluster, words, "analyst") as store:
        assert "aaaa-000001-modbus" in ids(store.scan(["modbus"]))
        fresh = events(range(1), dataset="jianmen.alert", origin=secrets.token_hex(2))
        assert store.append(fresh) == 1
        store.flush()
        assert store.get(fresh["event.id"].to_list()).height == 1
        store.put_incident(incident(name))
        store.put_incident(incident(name, 2, level="low"))
        found = store.incident(name)
        assert found is not None
        assert found.version == 2
        store.put_checkpoint("mine", b"here")
        assert store.checkpoint("mine") == b"here"
    before = held(cluster)
    for method, path, body in [
        ("PUT", "/{index}/_doc/aaaa-000001-modbus", {"event": {"id": "x"}}),
        ("POST", "/{index}/_update/aaaa-000001-modbus", {"doc": {"event": {"action": "forged"}}}),
        ("DELETE", "/{index}/_doc/aaaa-000001-modbus", None),
        ("DELETE", "/{index}", None),
        ("PUT", "/_index_template/jianmen-events", {"index_patterns": ["jianmen-events-*"]}),
    ]:
        status, said = ask(cluster, words, "analyst", method, path.format(index=index_of(cluster)), body)
        assert status == 403, said
    assert held(cluster) == before


def one_line(error: pytest.ExceptionInfo[StoreError]) -> str:
    assert error.value.exit_code == 5
    assert "\n" not in error.value.what
    return error.value.what


def test_what_is_wrong_with_a_connection_is_said_in_a_line(
    cluster: nodes.Cluster, words: dict[str, str], tmp_path: Path
) -> None:
    with pytest.raises(StoreError) as wrong_word:
        ElasticStore(cluster.url, ca=cluster.ca, auth=("analyst", "wrong"), patience=1)
    assert "refuses" in one_line(wrong_word)
    assert "password" in str(wrong_word.value.hint)
    assert "wrong" not in wrong_word.value.what

    with pytest.raises(StoreError) as no_account:
        ElasticStore(cluster.url, ca=cluster.ca, patience=1)
    one_line(no_account)

    with pytest.raises(StoreError) as unknown_authority:
        ElasticStore(cluster.url, auth=("analyst", words["analyst"]), patience=1)
    assert "trust" in one_line(unknown_authority)

    other = nodes._certificates(tmp_path)  # another authority
    with pytest.raises(StoreError) as wrong_authority:
        ElasticStore(cluster.url, ca=other, auth=("analyst", words["analyst"]), patience=1)
    assert "trust" in one_line(wrong_authority)

    with pytest.raises(StoreError) as plain:
        ElasticStore(cluster.url.replace("https:", "http:"), auth=("analyst", words["analyst"]), patience=1)
    one_line(plain)

    broken = tmp_path / "ca.pem"
    broken.write_text("no certificate")
    with pytest.raises(StoreError, match="CA file") as no_file:
        ElasticStore(cluster.url, ca=broken, auth=("analyst", words["analyst"]), patience=1)
    one_line(no_file)


@pytest.mark.parametrize("wrong", ["password", "authority", "no authority", "no tls"])
def test_the_command_line_ends_with_5_and_says_what_to_do(
    cluster: nodes.Cluster, words: dict[str, str], tmp_path: Path, wrong: str
) -> None:
    environment = {
        **os.environ,
        "JIANMEN_STORE_USER": "analyst",
        "JIANMEN_STORE_PASSWORD": "wrong" if wrong == "password" else words["analyst"],
        "JIANMEN_STORE_CA": str(cluster.ca),
        "JIANMEN_LANG": "en",
        "JIANMEN_STATE": str(tmp_path / "state"),
    }
    if wrong == "authority":
        environment["JIANMEN_STORE_CA"] = str(nodes._certificates(tmp_path))
    if wrong == "no authority":
        del environment["JIANMEN_STORE_CA"]
    url = cluster.url.replace("https:", "http:") if wrong == "no tls" else cluster.url
    result = subprocess.run(
        [sys.executable, "-m", "cli.main", "store", "status", "--store", url],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        env=environment,
    )
    assert result.returncode == 5, result.stderr
    lines = result.stderr.splitlines()
    assert lines[0].startswith("error: ")
    assert "Traceback" not in result.stderr
    assert len([line for line in lines if line.startswith("error")]) == 1
    assert words["analyst"] not in result.stderr
    assert result.stdout == ""
