"""The running sensor as its technician meets it: run, look, stop, kill, run again."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from wire import Wire, frames_of, need_wire

ROOT = Path(__file__).resolve().parents[2]


def surroundings(language="en"):
    kept = {k: v for k, v in os.environ.items() if not k.startswith("JIANMEN_") or k == "JIANMEN_STATE"}
    return {**kept, "JIANMEN_LANG": language, "PYTHONPATH": str(ROOT), "COLUMNS": "200"}


def command(*args, inside=None):
    enter = ["ip", "netns", "exec", inside] if inside else []
    return [*enter, sys.executable, "-m", "cli.main", *map(str, args)]


def jianmen(*args, cwd, inside=None, language="en"):
    done = subprocess.run(
        command(*args, inside=inside), cwd=cwd, env=surroundings(language), capture_output=True, check=False
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


class Sensor:
    def __init__(self, folder, *args, inside=None) -> None:
        self.folder = folder
        self.state = folder / "state"
        (self.state / "status.json").unlink(missing_ok=True)
        self.process = subprocess.Popen(
            command("sensor", "run", *args, "--state", self.state, "--every", "0.2", "--json", inside=inside),
            cwd=folder,
            env=surroundings(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.until(lambda said: said["inputs"])

    def until(self, fits) -> dict:
        end = time.monotonic() + 300  # kernels may have to be compiled first
        while True:
            code, out, _ = jianmen("sensor", "status", "--state", self.state, "--json", cwd=self.folder)
            if code == 0 and fits(json.loads(out)):
                return json.loads(out)
            assert self.process.poll() is None, self.process.stderr.read()
            assert time.monotonic() < end, out
            time.sleep(0.1)

    def end(self, number=signal.SIGTERM) -> dict:
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=120)
        if number == signal.SIGKILL:
            return {}
        assert self.process.returncode == 0, err
        return json.loads(out)


def messages(store, cwd):
    code, out, err = jianmen("events", "search", "--store", store, "-d", "syslog", "--limit", 1000, "--json", cwd=cwd)
    assert code == 0, err
    return sorted(json.loads(row)["message"] for row in out.splitlines())


def line(number):
    return f"<34>1 2026-09-01T02:00:{number % 60:02}Z host app {number} - - m{number:03}\n"


def add(path, *numbers):
    with path.open("a") as out:
        out.write("".join(map(line, numbers)))


def test_nothing_is_lost_or_doubled_over_kills_and_rotation(tmp_path):
    log, store = tmp_path / "a.log", tmp_path / "store"
    args = ("--follow", log, "--store", store)
    log.touch()
    written = 0
    for turn, number in enumerate((signal.SIGKILL, signal.SIGKILL, signal.SIGTERM)):
        sensor = Sensor(tmp_path, *args)
        for _ in range(3):
            add(log, *range(written, written + 10))
            written += 10
            time.sleep(0.15)
        sensor.end(number)
        add(log, written)
        written += 1
        log.rename(tmp_path / f"a.log.{turn}")
        add(log, written)
        written += 1
    sensor = Sensor(tmp_path, *args)
    sensor.until(lambda said: said["inputs"][0]["lag_bytes"] == 0 and said["inputs"][0]["last_event"])
    sensor.end()
    assert messages(store, tmp_path) == [f"m{n:03}" for n in range(written)]


def test_a_spool_is_shipped_meanwhile_and_all_of_it_at_the_end(tmp_path):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    spool, store = tmp_path / "spool", tmp_path / "store"
    sensor = Sensor(tmp_path, "--syslog", f"udp:127.0.0.1:{port}", "--spool", spool, "--forward", store)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        out.sendto(line(1).encode(), ("127.0.0.1", port))
        said = sensor.until(lambda said: said["inputs"][0]["lines"] == 1)
        assert said["running"]
        assert "segments" in said["spool"]
        out.sendto(line(2).encode(), ("127.0.0.1", port))
    account = sensor.end(signal.SIGINT)
    assert account["events"] == {"syslog": 2}
    assert account["inputs"][0]["lines"] == 2
    assert messages(store, tmp_path) == ["m001", "m002"]
    code, out, _ = jianmen("store", "status", "--spool", spool, "--json", cwd=tmp_path)
    assert code == 0
    assert json.loads(out)["events"] == 0
    code, _, err = jianmen("sensor", "status", "--state", sensor.state, cwd=tmp_path)
    assert code == 0
    assert "stopped" in err


def test_an_interface_of_the_site_file_into_the_store_with_a_balanced_account(tmp_path):
    need_wire()
    (tmp_path / "jianmen.toml").write_text('store = "store"\n[sensor]\ninterfaces = ["wrx"]\n')
    frames = frames_of(ROOT / "pcaps/modbus/pump-station.pcap")
    wire = Wire()
    try:
        sensor = Sensor(tmp_path, inside=wire.far)
        wire.send(frames)
        sensor.until(lambda said: said["inputs"][0]["frames"] == len(frames))
        account = sensor.end()
    finally:
        wire.close()
    one = account["inputs"][0]
    assert one["kind"] == "interface"
    assert one["frames"] == len(frames) == one["decoded"] + one["undecoded"] + one["failed"]
    assert account["kernel_drops"] == 0
    code, out, err = jianmen("store", "status", "--json", cwd=tmp_path)
    assert code == 0, err
    assert {d["dataset"]: d["events"] for d in json.loads(out)["datasets"]} == account["events"]


def test_only_one_sensor_keeps_its_state_in_a_folder(tmp_path):
    sensor = Sensor(tmp_path, "--follow", tmp_path / "a.log", "--store", tmp_path / "store")
    code, _, err = jianmen("sensor", "run", "--follow", "x", "--state", sensor.state, "--store", "s", cwd=tmp_path)
    assert code == 2
    assert "another sensor" in err
    sensor.end()


@pytest.mark.parametrize(
    ("args", "code", "word"),
    [
        (("run",), 2, "nothing to read"),
        (("run", "--interface", "no-such-if"), 3, "no such interface"),
        (("run", "--syslog", "udp:5514"), 2, "not an address"),
        (("run", "--syslog", "tls:127.0.0.1:0"), 2, "certificate"),
        (("run", "--follow", "x", "--store", "a", "--spool", "b"), 2, "or to a spool"),
        (("status", "--state", "nothing-there"), 2, "no sensor has run"),
    ],
)
def test_what_cannot_be_done_is_said_with_what_to_do(tmp_path, args, code, word):
    extra = ("--state", tmp_path / "st") if args[0] == "run" else ()
    got, _, err = jianmen("sensor", *args, *extra, cwd=tmp_path)
    assert (got, word in err) == (code, True), err


def test_interfaces_are_listed_in_both_languages(tmp_path):
    code, out, _ = jianmen("sensor", "list", "--json", cwd=tmp_path)
    assert code == 0
    assert "lo" in [one["name"] for one in json.loads(out)]
    assert "网络接口" in jianmen("sensor", "list", cwd=tmp_path, language="zh")[1]
