"""A sensor's way as a user walks it: capture, spool, forward, store."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cli.accounts import INPUTS, accounts_of
from cli.spool_commands import size_of
from event.errors import ConfigError
from store.embedded import EmbeddedStore

ROOT = Path(__file__).resolve().parents[2]
ZEEK = ROOT / "tests/data/zeek"


def surroundings():
    kept = {k: v for k, v in os.environ.items() if not k.startswith("JIANMEN_")}
    return {**kept, "JIANMEN_LANG": "en", "PYTHONPATH": str(ROOT), "COLUMNS": "200"}


def command(*args):
    return [sys.executable, "-m", "cli.main", *map(str, args)]


def jianmen(*args):
    done = subprocess.run(command(*args), cwd=ROOT / "tests", env=surroundings(), capture_output=True, check=False)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def events_of(*args):
    code, out, err = jianmen("store", "status", *args, "--json")
    assert code == 0, err
    return json.loads(out)


def sent_by(out):
    """Events of an ``ingest``, and the account of each input."""
    said = json.loads(out)
    return sum(said["events"].values()) + len(said["inputs"])


def test_a_capture_goes_through_the_spool_into_the_store(tmp_path):
    spool, store, direct = tmp_path / "spool", tmp_path / "store", tmp_path / "direct"
    code, out, err = jianmen("ingest", ZEEK, "--spool", spool, "--json")
    assert code == 0, err
    count = sent_by(out)
    waiting = events_of("--spool", spool)
    assert waiting["events"] == count > 0
    assert waiting["bytes"] <= waiting["limit_bytes"]
    assert waiting["forward"] == {}
    code, _, err = jianmen("store", "status", "--spool", spool)
    assert code == 0
    assert "nothing was delivered yet" in err

    code, out, err = jianmen("store", "forward", "--spool", spool, "--store", store, "--json")
    assert code == 0, err
    assert json.loads(out)["new_events"] == count
    assert events_of("--spool", spool)["segments"] == 0
    assert jianmen("ingest", ZEEK, "--store", direct)[0] == 0
    there, same = events_of("--store", store)["datasets"], events_of("--store", direct)["datasets"]
    assert [(d["dataset"], d["events"], d["oldest"]) for d in there if d["dataset"] != INPUTS] == [
        (d["dataset"], d["events"], d["oldest"]) for d in same
    ]
    with EmbeddedStore(store) as came, EmbeddedStore(direct) as read:
        sent, own = accounts_of(came), accounts_of(read)
    assert [one["path"] for one in sent] == [f"{socket.gethostname()}:{one['path']}" for one in own]
    same = {"path": "", "seconds": 0}
    assert [{**one, **same} for one in sent] == [{**one, **same} for one in own]
    assert all(one["lines"] == one["decoded"] + one["undecoded"] + one["failed"] > 0 for one in own)


def test_a_small_spool_says_loudly_what_it_dropped(tmp_path):
    code, out, err = jianmen("ingest", ZEEK, "--spool", tmp_path / "spool", "--spool-limit", "1K", "--json")
    assert code == 0, err
    assert "WARNING: the spool is full" in err
    assert "WARNING: dropped for lack of room" in err
    status = events_of("--spool", tmp_path / "spool")
    assert status["events"] + status["dropped"]["events"] == sent_by(out)


def test_following_ends_on_sigterm_with_everything_shipped(tmp_path):
    spool, store = tmp_path / "spool", tmp_path / "store"
    assert jianmen("ingest", ZEEK, "--spool", spool)[0] == 0
    count = events_of("--spool", spool)["events"]
    child = subprocess.Popen(
        command("store", "forward", "--spool", spool, "--store", store, "--follow", "--json"),
        cwd=ROOT / "tests",
        env=surroundings(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        while child.poll() is None and any((spool / "segments").rglob("*.parquet")):
            time.sleep(0.05)
        child.send_signal(signal.SIGTERM)
        out, err = child.communicate(timeout=120)
    finally:
        if child.poll() is None:
            child.kill()
    assert child.returncode == 0, err
    assert json.loads(out)["events"] == count


def test_a_sensor_ships_while_it_reads(tmp_path):
    code, out, err = jianmen("ingest", ZEEK, "--spool", tmp_path / "spool", "--store", tmp_path / "store", "--json")
    assert code == 0, err
    count = sent_by(out)
    assert sum(d["events"] for d in events_of("--store", tmp_path / "store")["datasets"]) == count
    assert events_of("--spool", tmp_path / "spool")["segments"] == 0


def test_a_store_that_cannot_be_reached_costs_disk_and_no_events(tmp_path):
    (tmp_path / "store").write_text("a file where the store should be")
    code, out, err = jianmen("ingest", ZEEK, "--spool", tmp_path / "spool", "--store", tmp_path / "store", "--json")
    assert code == 0, err
    assert "wait in the spool" in err
    waiting = events_of("--spool", tmp_path / "spool")
    assert waiting["events"] == sent_by(out)
    assert waiting["forward"]["failing_since"]


def test_what_cannot_be(tmp_path):
    code, _, err = jianmen("store", "forward", "--spool", tmp_path / "none", "--store", tmp_path / "store")
    assert code == 5
    assert "no spool there" in err


@pytest.mark.parametrize(
    ("text", "size"), [("500M", 500 << 20), ("20g", 20 << 30), ("1KiB", 1024), ("7", 7), (None, None)]
)
def test_sizes(text, size):
    assert size_of(text) == size


@pytest.mark.parametrize("text", ["", "0", "-1", "1.5G", "a lot", "1P"])
def test_sizes_that_are_none(text):
    with pytest.raises(ConfigError, match="not a size"):
        size_of(text)
