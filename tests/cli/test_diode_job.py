"""One way through a diode as a user walks it: key, export, import."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ZEEK = ROOT / "tests/data/zeek"


def jianmen(*args):
    kept = {k: v for k, v in os.environ.items() if not k.startswith("JIANMEN_")}
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", *map(str, args)],
        cwd=ROOT / "tests",
        env={**kept, "JIANMEN_LANG": "en", "PYTHONPATH": str(ROOT), "COLUMNS": "200"},
        capture_output=True,
        check=False,
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@pytest.fixture(scope="module")
def sent(tmp_path_factory):
    """A spool that was exported, and how many events it had."""
    place = tmp_path_factory.mktemp("diode")
    assert jianmen("store", "key", place / "station")[0] == 0
    code, out, err = jianmen("ingest", ZEEK, "--spool", place / "spool", "--json")
    assert code == 0, err
    said = json.loads(out)
    events = sum(said["events"].values()) + len(said["inputs"])  # an account each
    args = (
        "store",
        "export",
        "--spool",
        place / "spool",
        "--to",
        place / "out",
        "--key",
        place / "station.key",
        "--json",
    )
    code, out, err = jianmen(*args)
    assert code == 0, err
    assert json.loads(out)["events"] == events > 0
    return place, events, args


def test_events_cross_and_a_second_import_changes_nothing(sent, tmp_path):
    place, events, _ = sent
    take = (
        "store",
        "import",
        "--from",
        place / "out",
        "--key",
        place / "station.pub",
        "--store",
        tmp_path / "st",
        "--json",
    )
    code, out, err = jianmen(*take)
    assert code == 0, err
    assert (json.loads(out)["new_events"], json.loads(out)["refused"]) == (events, {})
    again = json.loads(jianmen(*take)[1])
    assert (again["new_events"], again["segments"]) == (0, 0)
    assert again["repeated"] == json.loads(out)["segments"]
    status = json.loads(jianmen("store", "status", "--store", tmp_path / "st", "--json")[1])
    assert [stream["missing"] for stream in status["streams"].values()] == [0]


def test_what_is_missing_or_changed_is_named_and_exits_3(sent, tmp_path):
    place, _, _ = sent
    far = tmp_path / "far"
    far.mkdir()
    files = sorted((place / "out").glob("*.jms"))
    for path in files:
        (far / path.name).write_bytes(path.read_bytes())
    (far / files[1].name).unlink()
    cut = far / files[3].name
    cut.write_bytes(cut.read_bytes()[:-5])
    code, out, err = jianmen(
        "store", "import", "--from", far, "--key", place / "station.pub", "--store", tmp_path / "st"
    )
    assert code == 3
    assert "2, 4" in out
    assert f"refused: {files[3].name}: number 4: cut off" in err
    code, _, err = jianmen(
        "store", "import", "--from", place / "out", "--key", place / "station.pub", "--store", tmp_path / "st"
    )
    assert code == 0, err


def test_a_store_can_be_exported_too(sent, tmp_path):
    place, events, _ = sent
    jianmen("store", "import", "--from", place / "out", "--key", place / "station.pub", "--store", tmp_path / "st")
    export = ("store", "export", "--store", tmp_path / "st", "--to", tmp_path / "out", "--key", place / "station.key")
    code, out, err = jianmen(*export, "--json")
    assert code == 0, err
    assert json.loads(out)["events"] == events


def test_nothing_to_say_is_said(sent):
    place, _, args = sent
    before = len(list((place / "out").glob("*.jms")))
    code, out, err = jianmen(*args)
    assert code == 0, err
    assert (json.loads(out)["segments"], json.loads(out)["events"], json.loads(out)["last"]) == (1, 0, before + 1)


def test_what_cannot_be(sent, tmp_path):
    place, _, _ = sent
    to = ("--to", tmp_path / "out")
    key = ("--key", place / "station.key")
    for args, code, text in [
        (("store", "export", "--spool", place / "spool", "--store", "x", *to, *key), 2, "exported whole"),
        (("store", "export", "--follow", *to, *key), 2, "--follow needs --spool"),
        (("store", "export", "--spool", place / "spool", *to, "--key", place / "station.pub"), 2, "cannot sign"),
        (("store", "key", place / "station"), 2, "never overwritten"),
        (("store", "key", tmp_path / "k", "--scheme", "rot13"), 2, "known: ed25519"),
        (("store", "import", "--from", tmp_path / "none", *key, "--store", tmp_path / "s"), 2, "no such folder"),
    ]:
        got, _, err = jianmen(*args)
        assert (got, text in err) == (code, True), err
