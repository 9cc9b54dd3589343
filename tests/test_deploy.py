"""What deploy/ holds: files that are up to date, name only what there is, and say the same as the program."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import pytest
import yaml

from event.fields import FIELDS

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"


def saved() -> list[dict[str, Any]]:
    text = (DEPLOY / "kibana" / "jianmen.ndjson").read_text("utf-8")
    return [json.loads(line) for line in text.splitlines()]


def test_the_kibana_file_is_what_the_catalogue_gives() -> None:
    result = subprocess.run([sys.executable, DEPLOY / "generate.py", "--check"], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_every_saved_object_refers_to_saved_objects_that_come_before() -> None:
    seen: set[tuple[str, str]] = set()
    for one in saved():
        assert set(one) >= {"id", "type", "attributes", "references", "coreMigrationVersion", "typeMigrationVersion"}
        for reference in one["references"]:
            assert (reference["type"], reference["id"]) in seen
        assert (one["type"], one["id"]) not in seen
        seen.add((one["type"], one["id"]))
    assert {"index-pattern", "visualization", "search", "dashboard"} == {kind for kind, _ in seen}


def test_members_that_kibana_keeps_as_text_are_json() -> None:
    for one in saved():
        attributes = one["attributes"]
        for name in ("visState", "uiStateJSON", "panelsJSON", "optionsJSON", "fieldAttrs", "fieldFormatMap", "fields"):
            if name in attributes:
                json.loads(attributes[name])
        if "kibanaSavedObjectMeta" in attributes:
            source = json.loads(attributes["kibanaSavedObjectMeta"]["searchSourceJSON"])
            names = {reference["name"] for reference in one["references"]}
            assert source.get("indexRefName") in {*names, None}


def test_visualisations_aggregate_over_fields_that_can_be_aggregated() -> None:
    for one in saved():
        if one["type"] != "visualization":
            continue
        state = json.loads(one["attributes"]["visState"])
        assert state["title"] == one["attributes"]["title"]
        assert state["type"] == state["params"]["type"]
        assert [agg["id"] for agg in state["aggs"]] == [str(n) for n in range(1, len(state["aggs"]) + 1)]
        for axis in state["params"].get("valueAxes", []):
            assert axis["scale"]["mode"] == "normal"  # Kibana 8.12 draws nothing without one
        for agg in state["aggs"]:
            field = agg["params"].get("field")
            if field is not None:
                assert FIELDS[field].kind in ("keyword", "ip", "long", "boolean", "date"), field
            if agg["type"] == "terms":
                assert agg["params"]["orderBy"] == "1"


def test_the_dashboard_shows_each_panel_once_and_none_over_another() -> None:
    dashboard = next(one for one in saved() if one["type"] == "dashboard")
    panels = json.loads(dashboard["attributes"]["panelsJSON"])
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        grid = panel["gridData"]
        cells = {
            (x, y) for x in range(grid["x"], grid["x"] + grid["w"]) for y in range(grid["y"], grid["y"] + grid["h"])
        }
        assert grid["x"] + grid["w"] <= 48
        assert not cells & taken
        taken |= cells
    named = {reference["name"] for reference in dashboard["references"]}
    assert named == {f"{panel['panelIndex']}:{panel['panelRefName']}" for panel in panels}


def test_columns_of_the_saved_search_are_in_the_catalogue() -> None:
    found = next(one for one in saved() if one["type"] == "search")
    assert [name for name in found["attributes"]["columns"] if name not in FIELDS] == []


def units() -> list[Path]:
    return sorted((DEPLOY / "systemd").glob("*.service"))


@pytest.mark.parametrize("path", units(), ids=lambda path: path.name)
def test_units_are_hardened_and_call_commands_that_exist(path: Path) -> None:
    unit = ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(path, "utf-8")
    service = unit["Service"]
    for name, wanted in {
        "NoNewPrivileges": "yes",
        "ProtectSystem": "strict",
        "ProtectHome": "yes",
        "PrivateTmp": "yes",
        "ProtectKernelModules": "yes",
        "RestrictSUIDSGID": "yes",
        "User": "jianmen",
    }.items():
        assert service[name] == wanted, name
    command = re.search(r"/opt/jianmen/bin/jianmen ((?:[a-z]+ )+)(.*)", service["ExecStart"])
    if command is None:
        assert path.name.startswith("jianmen-capture")
        return
    names = command[1].split()
    result = subprocess.run(
        [sys.executable, "-m", "cli.main", *names, "--help"], capture_output=True, text=True, cwd=ROOT
    )
    assert result.returncode == 0, result.stderr
    used = re.findall(r"--[a-z-]+", command[2])
    assert used
    for option in used:
        assert option in result.stdout, option


def test_systemd_understands_every_line_of_the_units(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    copies = [shutil.copy(path, tmp_path) for path in sorted((DEPLOY / "systemd").iterdir())]
    result = subprocess.run(["systemd-analyze", "verify", *copies], capture_output=True, text=True)
    said = [line for line in result.stderr.splitlines() if "jianmen" in line and "is not executable" not in line]
    assert said == []


def test_the_compose_file_starts_three_nodes_with_security_and_tls() -> None:
    compose = yaml.safe_load((DEPLOY / "compose" / "compose.yml").read_text("utf-8"))
    nodes = {name: one for name, one in compose["services"].items() if name.startswith("es")}
    assert len(nodes) == 3
    for name, one in nodes.items():
        settings = one["environment"]
        assert settings["node.name"] == name
        assert settings["xpack.security.enabled"] == "true"
        assert settings["xpack.security.http.ssl.enabled"] == "true"
        assert settings["xpack.security.transport.ssl.verification_mode"] == "full"
        assert settings["transport.publish_host"] == name  # the name in its certificate
        assert set(settings["cluster.initial_master_nodes"].split(",")) == set(nodes)
        assert set(settings["discovery.seed_hosts"].split(",")) == set(nodes) - {name}
        assert one["image"] == "docker.elastic.co/elasticsearch/elasticsearch:${STACK_VERSION:?}"
        assert any("roles.yml" in volume for volume in one["volumes"])
        assert [volume.split(":")[0] for volume in one["volumes"] if "certs" in volume] == [f"./certs/{name}"]


@pytest.mark.skipif(shutil.which("openssl") is None and "CI" not in os.environ, reason="openssl is not installed")
def test_certificates_stand_strict_verification_and_are_renewed_by_the_same_authority(tmp_path: Path) -> None:
    shutil.copy(DEPLOY / "compose" / "certificates.sh", tmp_path)
    for names in (["IP:10.20.0.5", "DNS:es.plant.example"], []):  # the second time renews them
        subprocess.run([tmp_path / "certificates.sh", *names], check=True, capture_output=True)
        for node in ("es1", "es2", "es3"):
            folder = tmp_path / "certs" / node
            assert {path.name for path in folder.iterdir()} == {"node.key", "node.crt", "ca.crt"}
            assert folder.stat().st_mode & 0o777 == 0o755  # the image's user is another one
            assert (folder / "node.key").stat().st_mode & 0o777 == 0o640
            strict = ["-x509_strict", "-purpose", "sslserver", "-verify_hostname", node]
            openssl = ["openssl", "verify", "-CAfile", str(folder / "ca.crt"), *strict, str(folder / "node.crt")]
            result = subprocess.run(openssl, capture_output=True, text=True)
            assert result.returncode == 0, result.stderr
    assert (tmp_path / "authority").stat().st_mode & 0o777 == 0o700


def test_generate_is_importable_without_side_effects() -> None:
    spec = importlib.util.spec_from_file_location("deploy_generate", DEPLOY / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.ndjson().count("\n") == len(saved())
