"""The house: rooms, content folders, plug-in tables, languages, licences."""

import importlib
import re
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ["event", "sensor", "store", "correlate", "respond", "report", "cli"]
CONTENT = ["rules", "playbooks", "pcaps", "tests", "benchmarks", "docs"]


@pytest.mark.parametrize("room", ROOMS)
def test_no_other_distribution_ships_our_room_names(room):
    owners = set(packages_distributions().get(room, [])) - {"jianmen"}
    assert not owners, f"{owners} also installs a top-level package {room!r}"


@pytest.mark.parametrize("folder", CONTENT)
def test_content_folders_are_not_importable(folder):
    assert (ROOT / folder).is_dir()
    assert not list((ROOT / folder).rglob("__init__.py"))


@pytest.mark.parametrize("room", ROOMS)
def test_code_folders_hold_no_rule_or_playbook(room):
    misplaced = [p for p in (ROOT / room).rglob("*.yml") if "logsource:" in p.read_text(encoding="utf-8")]
    assert not [p for p in misplaced if "pipelines" not in p.parts and "_content" not in p.parts]


def tables():
    import report
    import sensor
    import store

    for table in (sensor.DECODERS, sensor.PARSERS, store.STORES, report.PROFILES, report.FORMATS):
        yield from table.items()


@pytest.mark.parametrize(("name", "where"), list(tables()))
def test_every_plug_in_is_where_its_table_says(name, where):
    module, _, attribute = where.partition(":")
    assert getattr(importlib.import_module(module), attribute) is not None
    assert importlib.import_module(module).__doc__


@pytest.mark.parametrize("name", ["modbus", "iec104", "dnp3", "s7comm", "dns"])
def test_every_decoder_keeps_its_promises(name):
    from event.fields import FIELDS
    from event.registry import load
    from sensor import DECODERS

    decoder = load("decoders", name, DECODERS)
    assert decoder.name == name
    assert set(decoder.fields) <= set(FIELDS), set(decoder.fields) - set(FIELDS)
    assert set(decoder.keys) <= set(decoder.fields) | {"event.action"}
    assert decoder.anomalies
    for code, text in decoder.anomalies.items():
        assert re.fullmatch(r"[a-z0-9_]+", code)
        assert len(text) > 10
    assert (ROOT / "tests/sensor/decoders" / f"test_{name}.py").is_file()


def test_locks_have_hashes_and_no_addresses():
    for lock in (ROOT / "requirements").glob("*.txt"):
        text = lock.read_text(encoding="utf-8")
        assert "--hash=sha256:" in text
        assert "://" not in text, lock
    assert not (ROOT / "uv.lock").exists()


def test_every_dependency_says_why_it_is_there():
    lines = (ROOT / "pyproject.toml").read_text(encoding="utf-8").splitlines()
    start = lines.index("dependencies = [")
    end = lines.index("]", start)
    assert all("#" in line for line in lines[start + 1 : end])


def test_no_room_imports_the_gpl_library():
    for room in ROOMS:
        for path in (ROOT / room).rglob("*.py"):
            assert not re.search(r"^\s*(from|import) scapy", path.read_text(encoding="utf-8"), re.M), path


def test_every_capture_says_where_it_comes_from():
    text = (ROOT / "pcaps/README.md").read_text(encoding="utf-8")
    captures = [p for p in (ROOT / "pcaps").rglob("*.pcap*") if p.suffix in (".pcap", ".pcapng")]
    assert len(captures) >= 6
    for capture in captures:
        assert capture.name in text, capture
        assert Path(f"{capture}.py").is_file(), f"no generator beside {capture}"


def test_the_wheel_carries_rules_and_playbooks():
    config = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    carried = config["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    assert carried == {"rules": "correlate/_content/rules", "playbooks": "respond/_content/playbooks"}
