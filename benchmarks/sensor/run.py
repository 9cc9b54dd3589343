"""Packets per second from a capture to events, beside the peers.

usage: run.py CAPTURE [--rounds N] [--only NAME,...] [--suricata-root DIR]
       run.py --first-alert CAPTURE        seconds from the start of `jianmen analyze` to its first alert

Peers: tshark, nfstream, scapy, dpkt, softflowd, argus, Suricata, as far as they are installed; the slow ones read the
first packets only (a cut is written next to the results) and are compared by rate. Every process runs on one core.
A ratio is printed only where a tool says in every round that it took in all packets, give or take what the table names.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

PATIENCE = 120  # seconds after which a tool is ended and left out
HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT))


@dataclass
class Run:
    """One tool: how it is called, on how many packets, and what it counted: ``packets`` at least."""

    name: str
    command: Callable[[Path, Path], list[str]]
    packets: int | None = None  # None: the whole capture
    count: Callable[[Path, str], dict[str, int]] = lambda folder, out: {}
    lacking: tuple[float, str] = (0.0, "")
    """Share of the packets that it may leave out of its count, and which those are."""
    aborts: bool = False
    """It is known to abort when it is done; its output is complete then, which ``count`` shows."""


def measure(
    command: list[str], cwd: Path, *, aborts: bool = False, patience: float = PATIENCE
) -> tuple[float, float, int, str]:
    """Wall seconds, cpu seconds, peak KiB, stdout of a whole process on core 0."""
    started = time.perf_counter()
    with tempfile.TemporaryFile() as out:
        process = subprocess.Popen(
            command, cwd=cwd, stdout=out, stderr=subprocess.DEVNULL, preexec_fn=lambda: os.sched_setaffinity(0, {0})
        )
        alarm = threading.Timer(patience, process.kill)
        alarm.start()
        _, status, usage = os.wait4(process.pid, 0)
        alarm.cancel()
        wall = time.perf_counter() - started
        out.seek(0)
        text = out.read().decode(errors="replace")
    if status and not (aborts and status & 0x7F == signal.SIGABRT):
        raise RuntimeError(f"{command[0]} ended with {status}")
    return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss, text


def cut(capture: Path, packets: int, to: Path) -> int:
    """Write the first packets of a classic pcap; returns how many there were."""
    with capture.open("rb") as src, to.open("wb") as dst:
        dst.write(src.read(24))
        n = 0
        while n < packets:
            head = src.read(16)
            if len(head) < 16:
                break
            size = struct.unpack("<IIII", head)[2]
            dst.write(head + src.read(size))
            n += 1
    return n


def count_packets(capture: Path) -> int:
    """Records of a little-endian classic pcap."""
    n = 0
    with capture.open("rb", buffering=1 << 22) as src:
        if src.read(4) not in (b"\xd4\xc3\xb2\xa1", b"\x4d\x3c\xb2\xa1"):
            raise SystemExit("the benchmark wants a little-endian pcap")
        src.seek(24)
        while len(head := src.read(16)) == 16:
            src.seek(struct.unpack("<IIII", head)[2], 1)
            n += 1
    return n


def ours_full(capture: Path, folder: Path) -> list[str]:
    shutil.rmtree(folder / "store", ignore_errors=True)
    return [sys.executable, "-m", "cli.main", "ingest", str(capture), "--store", str(folder / "store"), "--json"]


def ours_count(folder: Path, out: str) -> dict[str, int]:
    document = json.loads(out)
    one = document["inputs"][0]
    if one["frames"] != one["decoded"] + one["undecoded"] + one["failed"]:
        raise RuntimeError("our own account does not balance")
    return {
        "packets": one["frames"],
        "flows": document["events"].get("flow", 0),
        "events": sum(document["events"].values()),
    }


def wrong_count(run: Run, packets: int, counted: dict[str, int]) -> str | None:
    """What speaks against comparing a tool: it did not take in what the others did."""
    share, _ = run.lacking
    if "packets" not in counted:
        return "says no packet count"
    if not packets * (1 - share) <= counted["packets"] <= packets:
        return f"counted {counted['packets']:,} of {packets:,} packets"
    return None


def softflowd_count(folder: Path, out: str) -> dict[str, int]:
    """Packets of all protocols and those that it ignored, out of the statistics that it ends with."""
    ignored = re.search(r"Ignored packets: (\d+)", out)
    rows = re.findall(r"^ *\S+ \(\d+\): +\d+ +(\d+) ", out, re.MULTILINE)
    flows = re.search(r"Flows expired: (\d+)", out)
    if ignored is None or flows is None:
        raise RuntimeError("ended without statistics")
    return {"packets": int(ignored[1]) + sum(map(int, rows)), "flows": int(flows[1])}


def suricata_count(folder: Path, out: str) -> dict[str, int]:
    """Packets by the statistics that it ends with, and flows."""
    counted = {"packets": -1, "flows": 0}
    with (folder / "eve.json").open() as lines:
        for line in lines:
            if '"event_type":"flow"' in line:
                counted["flows"] += 1
            elif '"event_type":"stats"' in line:
                counted["packets"] = json.loads(line)["stats"]["decoder"]["pkts"]
    return counted


def words_count(*names: str) -> Callable[[Path, str], dict[str, int]]:
    """Numbers that a script prints last, in order."""
    return lambda folder, out: dict(zip(names, map(int, out.split()[-len(names) :]), strict=True))


def argus_count(folder: Path, out: str) -> dict[str, int]:
    """What argus wrote, counted by its own reader."""
    rows = subprocess.run(
        ["ra", "-r", str(folder / "argus.out"), "-n", "-s", "pkts"], capture_output=True, text=True, check=True
    ).stdout.split()
    (folder / "argus.out").unlink()
    packets = [int(one) for one in rows if one.isdigit()]
    return {"packets": sum(packets), "flows": len(packets)}


FIRST_ALERT = """
import sys, time
from cli import pipeline
from cli.main import main
keep = pipeline._keep
def first(store, alerts, result):
    keep(store, alerts, result)
    if result.alerts:
        pipeline._keep = keep
        print(f"{time.time() - float(sys.argv[0]):.2f} {time.process_time():.2f}", file=sys.stderr)
pipeline._keep = first
sys.argv = sys.argv[1:]
main()
"""


def first_alert(capture: Path, rounds: int) -> None:
    """Print wall and cpu seconds from the start of the process to the first alert, with compiled kernels."""
    figures = []
    with tempfile.TemporaryDirectory() as temp:
        for number in range(rounds + 1):  # the first round compiles kernels and rules
            arguments = ["jianmen", "analyze", str(capture), "--out", f"{temp}/{number}", "--json"]
            code = FIRST_ALERT.replace("sys.argv[0]", repr(str(time.time())), 1)
            done = subprocess.run(
                [sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
            )
            found = re.search(r"^(\d+\.\d\d) (\d+\.\d\d)$", done.stderr, re.MULTILINE)
            if found is None:  # the exit code may say that the capture ends inside a record, or that there are alerts
                raise SystemExit(f"no alert: {done.stderr[-500:]}")
            if number:
                figures.append((float(found[1]), float(found[2])))
    wall, cpu = (statistics.median(column) for column in zip(*figures, strict=True))
    size = capture.stat().st_size / 1e6
    print(f"{capture.name}, {size:.1f} MB: first alert after {wall:.2f} s ({cpu:.2f} s of cpu), median of {rounds}")


SURICATA_YAML = """%YAML 1.1
---
default-log-dir: .
runmode: single
stats: {enabled: yes, interval: 3600}
outputs:
  - eve-log: {enabled: yes, filename: eve.json, types: [flow, modbus, dnp3, stats]}
app-layer: {protocols: {modbus: {enabled: yes, detection-ports: {dp: 502}, stream-depth: 0}, dnp3: {enabled: yes, detection-ports: {dp: 20000}}}}
stream: {memcap: 256mb, midstream: true, checksum-validation: no, reassembly: {memcap: 512mb, depth: 0}}
flow: {memcap: 512mb, hash-size: 262144}
defrag: {memcap: 32mb}
"""


def suricata_command(root: Path | None) -> Callable[[Path, Path], list[str]] | None:
    """How to call Suricata: installed here, or inside another Debian's root folder."""
    if root and (root / "usr/bin/suricata").exists():

        def inside(capture: Path, folder: Path) -> list[str]:
            work = root / "tmp/bench"
            shutil.rmtree(work, ignore_errors=True)
            work.mkdir(parents=True)
            (work / "s.yaml").write_text(SURICATA_YAML)
            link = root / "tmp/bench-capture.pcap"
            if not link.exists() or link.stat().st_size != capture.stat().st_size:
                shutil.copy(capture, link)
            return [
                "chroot",
                str(root),
                "/usr/bin/suricata",
                "-c",
                "/tmp/bench/s.yaml",
                "-r",
                "/tmp/bench-capture.pcap",
                "-l",
                "/tmp/bench",
                "-S",
                "/dev/null",
                "--runmode",
                "single",
                "-k",
                "none",
            ]

        return inside
    if shutil.which("suricata"):

        def here(capture: Path, folder: Path) -> list[str]:
            (folder / "s.yaml").write_text(SURICATA_YAML)
            return [
                "suricata",
                "-c",
                str(folder / "s.yaml"),
                "-r",
                str(capture),
                "-l",
                str(folder),
                "-S",
                "/dev/null",
                "--runmode",
                "single",
                "-k",
                "none",
            ]

        return here
    return None


def peers(root: Path | None) -> tuple[list[Run], list[str]]:
    """The peers that are here, and the names of those that are not."""
    py = sys.executable
    found: list[Run] = []
    absent: list[str] = []

    def add(present: bool, run: Run) -> None:
        if present:
            found.append(run)
        else:
            absent.append(run.name)

    def importable(name: str) -> bool:
        return subprocess.run([py, "-c", f"import {name}"], capture_output=True, check=False).returncode == 0

    add(
        bool(shutil.which("softflowd")),
        Run(
            "softflowd (flows only)",
            lambda c, f: [
                "softflowd",
                "-r",
                str(c),
                "-n",
                "127.0.0.1:9",
                "-d",
            ],
            count=softflowd_count,
        ),
    )
    # argus 3.0.8.2 of Debian 12 frees a buffer twice when it closes a file ("free(): invalid pointer" in pcap_close,
    # libpcap 1.10): all is read and written by then, and ra counts what it wrote.
    add(
        bool(shutil.which("argus") and shutil.which("ra")),
        Run(
            "argus (flows only)",
            lambda c, f: ["argus", "-X", "-r", str(c), "-w", str(f / "argus.out")],
            count=argus_count,
            aborts=True,
        ),
    )
    suricata = suricata_command(root)
    work = (lambda f: root / "tmp/bench") if root and (root / "usr/bin/suricata").exists() else (lambda f: f)
    add(
        suricata is not None,
        Run(
            "Suricata, flow+modbus+dnp3, no rules",
            suricata or (lambda c, f: []),
            count=lambda f, o: suricata_count(work(f), o),
        ),
    )
    add(
        importable("nfstream"),
        Run(
            "nfstream, no dissection",
            lambda c, f: [py, "-c", NFSTREAM, str(c)],
            600_000,
            words_count("packets", "flows"),
            (0.02, "frames without IP"),
        ),
    )
    add(
        importable("dpkt"),
        Run(
            "dpkt, Python flows",
            lambda c, f: [py, "-c", DPKT, str(c)],
            200_000,
            words_count("packets", "flows"),
        ),
    )
    add(
        bool(shutil.which("tshark")),
        Run(
            "tshark, 14 fields",
            lambda c, f: ["tshark", "-r", str(c), "-T", "fields", *TSHARK_FIELDS],
            100_000,
            lambda f, o: {"packets": o.count("\n")},
        ),
    )
    add(
        importable("scapy"),
        Run(
            "scapy, dissecting",
            lambda c, f: [py, "-c", SCAPY, str(c)],
            20_000,
            words_count("packets"),
        ),
    )
    return found, absent


TSHARK_FIELDS = [
    x
    for name in (
        "frame.number",
        "frame.time_epoch",
        "ip.src",
        "ip.dst",
        "tcp.srcport",
        "tcp.dstport",
        "udp.srcport",
        "udp.dstport",
        "frame.len",
        "mbtcp.trans_id",
        "modbus.func_code",
        "dnp3.al.func",
        "iec60870_asdu.typeid",
        "s7comm.param.func",
    )
    for x in ("-e", name)
]
NFSTREAM = """
import sys
from nfstream import NFStreamer
packets = flows = 0
for flow in NFStreamer(source=sys.argv[1], n_dissections=0, n_meters=1): packets += flow.bidirectional_packets; flows += 1
print(packets, flows)
"""
SCAPY = "import sys; from scapy.all import PcapReader; print(sum(1 for _ in PcapReader(sys.argv[1])))"
DPKT = """
import sys, dpkt
flows = {}
packets = 0
for ts, b in dpkt.pcap.Reader(open(sys.argv[1], 'rb')):
    packets += 1
    try: ip = dpkt.ethernet.Ethernet(b).data
    except Exception: continue
    if not isinstance(ip, (dpkt.ip.IP, dpkt.ip6.IP6)): continue
    t = ip.data
    a = (ip.src, getattr(t, 'sport', 0)); c = (ip.dst, getattr(t, 'dport', 0))
    p = ip.p if isinstance(ip, dpkt.ip.IP) else ip.nxt  # an IPv6 header of dpkt has no p behind some extensions
    k = (a, c, p) if a < c else (c, a, p)
    f = flows.get(k)
    if f is None: flows[k] = [1, len(b), ts, ts]
    else: f[0] += 1; f[1] += len(b); f[3] = ts
print(packets, len(flows))
"""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("capture", type=Path)
    parser.add_argument("--first-alert", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="")
    parser.add_argument("--suricata-root", type=Path)
    args = parser.parse_args()
    if args.first_alert:
        first_alert(args.capture.resolve(), args.rounds)
        return
    total = count_packets(args.capture)
    size = args.capture.stat().st_size
    print(
        f"{args.capture.name}: {total:,} packets, {size / 1e6:,.0f} MB; one core; {args.rounds} rounds in turn, medians"
    )
    others, absent = peers(args.suricata_root)
    runs = [Run("jianmen ingest (flows, decode, events to the store)", ours_full, None, ours_count), *others]
    if args.only:
        runs = [r for r in runs if any(word in r.name for word in args.only.split(","))]
    with tempfile.TemporaryDirectory() as temp:
        folder = Path(temp)
        inputs: dict[int | None, tuple[Path, int]] = {None: (args.capture, total)}
        for run in runs:
            if run.packets is not None and run.packets not in inputs:
                path = folder / f"cut-{run.packets}.pcap"
                inputs[run.packets] = (path, cut(args.capture, run.packets, path))
        measure(ours_full(inputs[None][0], folder), ROOT, patience=10 * PATIENCE)  # compiles the kernels if need be
        rows: dict[str, list[tuple[float, float, int]]] = {run.name: [] for run in runs}
        counts: dict[str, dict[str, int]] = {}
        wrong: dict[str, str | None] = {run.name: None for run in runs}
        for _ in range(args.rounds):
            for run in runs:
                capture, packets = inputs[run.packets]
                try:
                    wall, cpu, peak, out = measure(
                        run.command(capture, folder),
                        ROOT if run.name.startswith("jianmen") else folder,
                        aborts=run.aborts,
                    )
                except RuntimeError as error:
                    print(f"  {run.name}: {error}")
                    continue
                rows[run.name].append((wall, cpu, peak))
                counts[run.name] = run.count(folder, out)
                wrong[run.name] = wrong[run.name] or wrong_count(run, packets, counts[run.name])
        ours = None
        print(f"\n{'tool':52} {'k packets/s':>12} {'cpu s':>8} {'peak MiB':>9} {'ours/theirs':>12}  counted")
        for run in runs:
            if not rows[run.name]:
                continue
            n = inputs[run.packets][1]
            wall = statistics.median(r[0] for r in rows[run.name])
            rate = n / wall
            if run is runs[0] and not wrong[run.name]:
                ours = rate
            cpu = statistics.median(r[1] for r in rows[run.name])
            peak = max(r[2] for r in rows[run.name]) / 1024
            shown = ", ".join(f"{k} {v:,}" for k, v in counts[run.name].items())
            share, which = run.lacking
            if which:
                shown += f" (may lack {share:.0%} of the packets: {which})"
            ratio = f"{ours / rate:11.1f}x" if ours and not wrong[run.name] else f"{'none':>12}"
            if wrong[run.name]:
                shown = f"not compared: {wrong[run.name]}"
            print(f"{run.name:52} {rate / 1e3:12,.0f} {cpu:8.2f} {peak:9,.0f} {ratio}  {shown}")
    if absent:
        print("\nnot installed, so not measured:", ", ".join(absent))


if __name__ == "__main__":
    main()
