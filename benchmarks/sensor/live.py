"""Frames lost at top speed over a veth pair: `jianmen sensor run` beside tcpdump and Suricata, where they are installed.

Usage (root): python benchmarks/sensor/live.py CAPTURE [--loops N] [--ring-mb N]

tcpreplay (package tcpreplay) sends the capture from memory at top speed out of one namespace; one receiver at a time
sits in the other. Sender, kernel and receiver share the processors, so a slow receiver also slows the sender: read
the rate and the loss together.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "sensor"))

import wire as wires  # noqa: E402


def cpu_seconds(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def send(wire: wires.Wire, capture: Path, loops: int) -> tuple[int, float]:
    """Frames sent, and frames a second."""
    args = ["tcpreplay", "--preload-pcap", "--topspeed", f"--loop={loops}", "-i", "wtx", str(capture)]
    done = subprocess.run(["ip", "netns", "exec", wire.near, *args], capture_output=True, text=True, check=True)
    said = done.stdout + done.stderr
    sent = re.search(r"Successful packets:\s+(\d+)", said)
    rate = re.search(r"([\d.]+) pps", said)
    if sent is None or rate is None:
        raise SystemExit(f"tcpreplay said something new:\n{said}")
    return int(sent[1]), float(rate[1])


def jianmen(wire: wires.Wire, capture: Path, loops: int, ring: int, folder: Path) -> dict[str, float]:
    state = folder / "state"
    args = ["sensor", "run", "-i", "wrx", "--spool", folder / "spool", "--state", state, "--ring-mb", ring, "--json"]
    sensor = subprocess.Popen(
        ["ip", "netns", "exec", wire.far, sys.executable, "-m", "cli.main", *map(str, args)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    while not (state / "status.json").exists():
        if sensor.poll() is not None:
            raise SystemExit("the sensor ended before it began")
        time.sleep(0.1)
    before = cpu_seconds(sensor.pid)
    sent, rate = send(wire, capture, loops)
    time.sleep(8)
    spent = cpu_seconds(sensor.pid) - before
    sensor.send_signal(signal.SIGTERM)
    out, _ = sensor.communicate()
    said = json.loads(out)
    one = said["inputs"][0]
    return {"sent": sent, "rate": rate, "received": one["frames"], "dropped": said["kernel_drops"], "cpu": spent}


def tcpdump(wire: wires.Wire, capture: Path, loops: int) -> dict[str, float]:
    peer = subprocess.Popen(
        ["ip", "netns", "exec", wire.far, "tcpdump", "-i", "wrx", "-n", "-w", "/dev/null"],
        stderr=subprocess.PIPE,
        text=True,
    )
    time.sleep(1)
    before = cpu_seconds(peer.pid)
    sent, rate = send(wire, capture, loops)
    time.sleep(1)
    spent = cpu_seconds(peer.pid) - before
    peer.send_signal(signal.SIGINT)
    _, said = peer.communicate()
    found = {name: int(re.search(rf"(\d+) packets {name}", said)[1]) for name in ("captured", "dropped by kernel")}  # type: ignore[index]
    return {
        "sent": sent,
        "rate": rate,
        "received": found["captured"],
        "dropped": found["dropped by kernel"],
        "cpu": spent,
    }


def suricata(wire: wires.Wire, capture: Path, loops: int, folder: Path) -> dict[str, float]:
    peer = subprocess.Popen(
        [
            "ip",
            "netns",
            "exec",
            wire.far,
            "suricata",
            "--af-packet=wrx",
            "-l",
            folder,
            "-S",
            "/dev/null",
            "--runmode",
            "workers",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    time.sleep(10)
    before = cpu_seconds(peer.pid)
    sent, rate = send(wire, capture, loops)
    time.sleep(3)
    spent = cpu_seconds(peer.pid) - before
    peer.send_signal(signal.SIGINT)
    said, _ = peer.communicate()
    found = re.search(r"packets: (\d+), drops: (\d+)", said)
    if found is None:
        raise SystemExit(f"Suricata said something new:\n{said}")
    received = int(found[1]) - int(found[2])
    return {"sent": sent, "rate": rate, "received": received, "dropped": int(found[2]), "cpu": spent}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("capture", type=Path)
    parser.add_argument("--loops", type=int, default=1)
    parser.add_argument("--ring-mb", type=int, default=64)
    options = parser.parse_args()
    if shutil.which("tcpreplay") is None:
        raise SystemExit("tcpreplay is not installed: apt-get install tcpreplay")
    wire = wires.Wire()
    try:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            rows = {"jianmen": jianmen(wire, options.capture, options.loops, options.ring_mb, folder)}
            if shutil.which("tcpdump"):
                rows["tcpdump -w /dev/null"] = tcpdump(wire, options.capture, options.loops)
            if shutil.which("suricata"):
                rows["Suricata workers"] = suricata(wire, options.capture, options.loops, folder)
    finally:
        wire.close()
    print("| receiver | sent | k packets/s | received | lost | % | CPU s |\n|---|---|---|---|---|---|---|")
    for label, row in rows.items():
        lost = row["sent"] - row["received"]
        print(
            f"| {label} | {row['sent']:,.0f} | {row['rate'] / 1000:,.0f} | {row['received']:,.0f} | {lost:,.0f} "
            f"| {100 * lost / row['sent']:.1f} | {row['cpu']:.1f} |"
        )


if __name__ == "__main__":
    main()
