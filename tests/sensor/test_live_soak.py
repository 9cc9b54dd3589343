"""Ten minutes of traffic, logs and syslog through one sensor: its memory stays flat, and nothing is missing."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from wire import Wire, frames_of, in_namespace, need_wire

ROOT = Path(__file__).resolve().parents[2]
SECONDS = int(os.environ.get("JIANMEN_SOAK_SECONDS", "600"))
GROWTH_MIB = 48
"""What the second half may add: caches of Polars and the allocator, not one event that is kept."""


def resident_mib(process: int) -> float:
    fields = Path(f"/proc/{process}/statm").read_text().split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


@pytest.mark.slow
def test_memory_stays_flat(tmp_path):
    need_wire()
    wire = Wire()
    log = tmp_path / "app.log"
    log.touch()
    frames = frames_of(ROOT / "pcaps/mixed/clean-plant.pcap") + frames_of(ROOT / "pcaps/modbus/pump-station.pcap")
    args = ["--interface", "wrx", "--follow", f"syslog:{log}", "--syslog", "udp:127.0.0.1:5514"]
    args += ["--spool", tmp_path / "spool", "--spool-limit", "200M", "--state", tmp_path / "state", "--every", "2"]
    environment = {**os.environ, "JIANMEN_LANG": "en", "PYTHONPATH": str(ROOT)}
    subprocess.run(["ip", "-n", wire.far, "link", "set", "lo", "up"], check=True)
    sensor = subprocess.Popen(
        ["ip", "netns", "exec", wire.far, sys.executable, "-m", "cli.main", "sensor", "run", *map(str, args), "--json"],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    stop = threading.Event()
    sent = {"frames": 0, "lines": 0, "datagrams": 0}
    try:
        while not (tmp_path / "state/status.json").exists():
            assert sensor.poll() is None
            time.sleep(0.2)

        def talk() -> None:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out, log.open("ab", buffering=0) as lines:
                while not stop.is_set():
                    for _ in range(50):
                        number = sent["datagrams"]
                        text = (
                            f"<34>1 2026-09-01T02:00:00Z host{number % 50} app {number} - - user u{number} logged in\n"
                        )
                        out.sendto(text.encode(), ("127.0.0.1", 5514))
                        sent["datagrams"] += 1
                        lines.write(text.encode())
                        sent["lines"] += 1
                    time.sleep(0.1)

        def traffic() -> None:
            while not stop.is_set():
                wire.send(frames)
                sent["frames"] += len(frames)
                time.sleep(0.2)

        threads = [
            threading.Thread(target=in_namespace, args=(wire.far, talk)),
            threading.Thread(target=traffic),
        ]
        for thread in threads:
            thread.start()
        sizes = []
        for _ in range(SECONDS // 5):
            time.sleep(5)
            assert sensor.poll() is None
            sizes.append(resident_mib(sensor.pid))
        stop.set()
        for thread in threads:
            thread.join()
        time.sleep(1)
        sensor.send_signal(signal.SIGTERM)
        out, _ = sensor.communicate(timeout=120)
    finally:
        stop.set()
        sensor.kill()
        wire.close()
    assert sensor.returncode == 0
    said = json.loads(out)
    syslog, followed, interface = said["inputs"]
    print(json.dumps({"MiB": [round(size) for size in sizes], **sent, "said": said}))
    assert interface["frames"] + said["kernel_drops"] - syslog["notes"].get("kernel_drops", 0) == sent["frames"]
    assert followed["lines"] == sent["lines"]
    assert syslog["lines"] + syslog["notes"].get("kernel_drops", 0) == sent["datagrams"]
    half = len(sizes) // 2
    assert max(sizes[half:]) < max(sizes[:half]) + GROWTH_MIB
