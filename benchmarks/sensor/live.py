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
    figures, out = measured(sensor, wire, capture, loops, settle=8, signal_to_end=signal.SIGTERM)
    said = json.loads(out)
    return {**figures, "received": said["inputs"][0]["frames"], "dropped": said["kernel_drops"]}


def measured(
    receiver: subprocess.Popen[str], wire: wires.Wire, capture: Path, loops: int, *, settle: float, signal_to_end: int
) -> tuple[dict[str, float], str]:
    """Send, wait until the receiver is through, end it; what was sent and what it cost, and what the receiver said."""
    before = cpu_seconds(receiver.pid)
    sent, rate = send(wire, capture, loops)
    time.sleep(settle)
    spent = cpu_seconds(receiver.pid) - before
    receiver.send_signal(signal_to_end)
    said, _ = receiver.communicate()
    return {"sent": sent, "rate": rate, "cpu": spent}, said


def told(pattern: str, said: str, who: str) -> tuple[int, ...]:
    """The numbers in what a program said at its end."""
    found = re.search(pattern, said, re.DOTALL)
    if found is None:
        raise SystemExit(f"{who} said something new:\n{said}")
    return tuple(map(int, found.groups()))


def tcpdump(wire: wires.Wire, capture: Path, loops: int) -> dict[str, float]:
    peer = subprocess.Popen(
        ["ip", "netns", "exec", wire.far, "tcpdump", "-i", "wrx", "-n", "-w", "/dev/null"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    time.sleep(1)
    figures, said = measured(peer, wire, capture, loops, settle=1, signal_to_end=signal.SIGINT)
    received, dropped = told(r"(\d+) packets captured.*?(\d+) packets dropped by kernel", said, "tcpdump")
    return {**figures, "received": received, "dropped": dropped}


def suricata(wire: wires.Wire, capture: Path, loops: int, folder: Path) -> dict[str, float]:
    options = ["--af-packet=wrx", "-l", folder, "-S", "/dev/null", "--runmode", "workers"]
    peer = subprocess.Popen(
        ["ip", "netns", "exec", wire.far, "suricata", *map(str, options)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    time.sleep(10)
    figures, said = measured(peer, wire, capture, loops, settle=3, signal_to_end=signal.SIGINT)
    taken, dropped = told(r"packets: (\d+), drops: (\d+)", said, "Suricata")
    return {**figures, "received": taken - dropped, "dropped": dropped}


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
