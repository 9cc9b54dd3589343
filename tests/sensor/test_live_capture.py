"""An interface says what a file of the same frames says; tags, drops, permission, a cable that is pulled."""

import io
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from wire import Wire, as_pcap, frames_of, in_namespace, ip, need_wire

from event.errors import InputError
from event.table import concat
from sensor.live.beat import Beat
from sensor.live.capture import LiveCapture
from sensor.live.repack import repack
from sensor.live.ring import Ring, interfaces
from sensor.reader import open_input

ROOT = Path(__file__).resolve().parents[2]
CAPTURES = sorted(ROOT.glob("pcaps/*/*.pcap"))
OF_THE_RUN = ("event.id", "@timestamp", "event.start", "event.end", "event.duration", "log.file.path", "flow.id")


@pytest.fixture(scope="module")
def wire():
    need_wire()
    made = Wire()
    yield made
    made.close()


class Running:
    """A live capture in a thread of its own."""

    def __init__(self, wire: Wire, **options) -> None:
        self.live = in_namespace(wire.far, lambda: LiveCapture("wrx", **options))
        self.beat = Beat()
        self.tables: list[pl.DataFrame] = []
        self.thread = threading.Thread(target=self._run, args=(wire,))
        self.thread.start()

    def _run(self, wire: Wire) -> None:
        def take() -> None:
            for table in self.live.tables(self.beat):
                self.tables.append(table)

        in_namespace(wire.far, take)

    def until(self, said, seconds=30) -> None:
        end = time.monotonic() + seconds
        while not said():
            assert time.monotonic() < end, "it never came"
            self.beat.number += 1
            time.sleep(0.05)

    def end(self) -> dict[str, pl.DataFrame]:
        self.beat.stop.set()
        self.thread.join(60)
        assert not self.thread.is_alive()
        by_dataset: dict[str, list[pl.DataFrame]] = {}
        for table in self.tables:
            by_dataset.setdefault(str(table["event.dataset"][0]), []).append(table)
        return {name: concat(parts) for name, parts in by_dataset.items()}


def facts(table: pl.DataFrame) -> list[str]:
    """Rows without what differs between two runs, in no order."""
    kept = table.drop(OF_THE_RUN, strict=False)
    return sorted(kept.select(sorted(kept.columns)).write_ndjson().splitlines())


@pytest.mark.parametrize("path", CAPTURES, ids=lambda p: p.stem)
def test_an_interface_says_what_a_file_of_the_same_frames_says(wire, path):
    frames = frames_of(path)
    running = Running(wire, collapse=False)
    wire.send(frames)
    live = running.end()
    account = running.live.account
    assert account.total == len(frames) == account.decoded + account.undecoded + account.failed
    assert running.live.health.drops == 0
    of_file = open_input(io.BytesIO(as_pcap(frames)), name="file", collapse=False)
    expected: dict[str, list[pl.DataFrame]] = {}
    for table in of_file.tables():
        expected.setdefault(str(table["event.dataset"][0]), []).append(table)
    assert live.keys() == expected.keys()
    for dataset, parts in expected.items():
        assert facts(live[dataset]) == facts(concat(parts)), dataset
    assert (account.decoded, account.undecoded, account.failed) == (
        of_file.account.decoded,
        of_file.account.undecoded,
        of_file.account.failed,
    )


def tagged(frame: bytes, *tags: tuple[int, int]) -> bytes:
    return frame[:12] + b"".join(struct.pack(">HH", kind, tag) for kind, tag in tags) + frame[12:]


@pytest.mark.parametrize(
    ("tags", "outer", "inner"), [([(0x8100, 0x6064)], "100", None), ([(0x88A8, 7), (0x8100, 8)], "7", "8")]
)
def test_the_tag_that_the_kernel_takes_out_is_put_back(wire, tags, outer, inner):
    frames = frames_of(ROOT / "pcaps/modbus/pump-station.pcap")[:400]
    running = Running(wire, collapse=False)
    wire.send([tagged(f, *tags) for f in frames])
    live = running.end()
    assert running.live.account.decoded == 400
    for dataset in ("flow", "modbus"):
        table = live[dataset]
        assert table["network.vlan.id"].unique().to_list() == [outer]
        found = (
            table["network.inner.vlan.id"].unique().to_list() if "network.inner.vlan.id" in table.columns else [None]
        )
        assert found == [inner]


def test_silent_flows_end_by_the_clock_though_no_frame_comes(wire, monkeypatch):
    from sensor.base import SensorLimits

    monkeypatch.setattr("sensor.live.capture.SWEEP_NS", 10**8)
    running = Running(wire, limits=SensorLimits(idle_timeout_ns=10**9))
    udp = b"\2" * 12 + b"\x08\0" + bytes.fromhex("4500001c000000004011000001020304010203050035c3500008") + b"\0\0"
    wire.send([udp])
    # LINGER_NS of the kernels is 10 s: nothing is swept before
    running.until(lambda: any(t["event.dataset"][0] == "flow" for t in running.tables))
    flow = next(t for t in running.tables if t["event.dataset"][0] == "flow")
    assert flow["flow.end_reason"].to_list() == ["idle"]
    assert running.thread.is_alive()
    running.end()


def test_what_the_ring_has_no_room_for_is_counted_and_told(wire):
    frame = bytes(1400)
    with_ring = in_namespace(wire.far, lambda: LiveCapture("wrx", blocks=2))
    wire.send([frame] * 6_000)  # 8 MB into 2 MiB, and nobody reads yet
    beat = Beat()
    tables: list[pl.DataFrame] = []
    beat.stop.set()
    in_namespace(wire.far, lambda: tables.extend(with_ring.tables(beat)))
    health, account = with_ring.health, with_ring.account
    assert health.drops > 0
    assert health.freezes > 0
    assert account.total + health.drops == 6_000
    assert account.notes["kernel_drops"] == health.drops
    said = next(t for t in tables if t["event.dataset"][0] == "sensor")
    row = said.row(0, named=True)
    assert row["error.code"] == "capture_drops"
    assert row["event.count"] == health.drops
    assert row["event.kind"] == "pipeline_error"


def test_an_interface_that_goes_down_is_told_and_taken_up_again(wire):
    running = Running(wire)
    wire.send([bytes(60)] * 3)
    running.until(lambda: running.live.account.total == 3)
    ip("-n", wire.far, "link", "set", "wrx", "down")
    running.until(lambda: running.live.health.trouble is not None)
    ip("-n", wire.far, "link", "set", "wrx", "up")
    ip("-n", wire.near, "link", "set", "wtx", "up")
    running.until(lambda: running.live.health.trouble is None)
    wire.send([bytes(60)] * 4)
    running.until(lambda: running.live.account.total == 7)
    codes = running.end()["sensor"]["error.code"].to_list()
    assert "capture_interrupted" in codes
    assert "capture_resumed" in codes


def test_no_such_interface_names_those_there_are(wire):
    with pytest.raises(InputError) as caught:
        in_namespace(wire.far, lambda: Ring("eth99"))
    assert "no such interface" in str(caught.value)
    assert "wrx" in str(caught.value.hint)


def test_interfaces_are_listed_with_why_one_cannot_be_captured(wire):
    found = {one.name: one for one in in_namespace(wire.far, interfaces)}
    assert found["wrx"].problem is None
    assert found["wrx"].mtu == 9000
    assert found["lo"].problem == "down"


def test_without_the_capability_the_error_says_what_to_do():
    need_wire()
    code = (
        "import os\n"
        "from sensor.live.ring import Ring, interfaces\n"
        "os.setgid(65534); os.setuid(65534)\n"
        "print([i.problem for i in interfaces() if i.name == 'lo'])\n"
        "Ring('lo')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "no permission" in done.stderr
    if "down" not in done.stdout:
        assert "CAP_NET_RAW" in done.stdout


def slot(frame: bytes, step: int, *, status: int = 0, tci: int = 0, tpid: int = 0, mac: int = 82) -> bytes:
    head = struct.pack(
        "<IIIIIIHHIIHH8x", step, 5, 7, len(frame), len(frame) + 1, status, mac, mac + 14, 0, tci, tpid, 0
    )
    return head.ljust(mac, b"\0") + frame


@pytest.mark.parametrize("frames", [1, 2, 9])
@pytest.mark.parametrize("step", [0, 16, 144, 1 << 31])
@pytest.mark.parametrize("length", [None, 1 << 31, 100])
def test_a_block_that_contradicts_itself_is_read_as_far_as_it_holds(frames, step, length):
    one = bytearray(slot(bytes(range(60)), step))
    if length is not None:
        struct.pack_into("<I", one, 12, length)
    block = np.frombuffer(bytes(48) + bytes(one), np.uint8)
    out = np.zeros(len(block), np.uint8)
    filled, done = repack(block, frames, 48, True, out)
    assert done <= 1
    assert filled == done * (16 + 60)


def test_repacked_records_keep_times_and_lengths():
    block = np.frombuffer(bytes(48) + slot(bytes(range(20)), 0, status=16 | 64, tci=0x2005, tpid=0x88A8), np.uint8)
    out = np.zeros(200, np.uint8)
    filled, done = repack(block, 1, 48, True, out)
    assert (filled, done) == (40, 1)
    record = out[:filled].tobytes()
    assert struct.unpack_from("<IIII", record) == (5, 7, 24, 25)
    assert record[16:] == bytes(range(12)) + b"\x88\xa8\x20\x05" + bytes(range(12, 20))


def test_a_loopback_frame_is_seen_once(wire):
    def run():
        ring = Ring("lo")
        with (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as there,
        ):
            there.bind(("127.0.0.1", 0))
            out.sendto(b"x", there.getsockname())
        frames = 0
        end = time.monotonic() + 1
        while time.monotonic() < end:
            taken = ring.take(50)
            if taken is not None:
                frames += taken[1]
                ring.release()
        ring.close()
        return frames

    assert in_namespace(wire.near, run) == 1
