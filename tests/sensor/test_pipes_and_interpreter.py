"""Logs through pipes, plain and packed; and the kernels as plain Python say what they say compiled."""

import gzip
import json
import os
import subprocess
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
import zstandard

from sensor.reader import open_input
from sensor.warm_up import capture

ROOT = Path(__file__).resolve().parents[2]
LOGS = {
    "syslog": "".join(f"<34>1 2026-09-01T02:00:{i % 60:02}Z host app {i} - - line {i}\n" for i in range(500)),
    "zeek": "".join(
        json.dumps({"_path": "conn", "ts": 1788228000.5 + i, "uid": f"C{i}", "id.orig_h": "10.0.0.1"}) + "\n"
        for i in range(500)
    ),
    "suricata": "".join(
        json.dumps({"event_type": "flow", "timestamp": f"2026-09-01T02:00:{i % 60:02}.000001+0000"}) + "\n"
        for i in range(500)
    ),
}
PACK = {"plain": bytes, "gzip": gzip.compress, "zstd": zstandard.ZstdCompressor().compress}


def piped(data: bytes):
    """The reading end of a pipe into which somebody writes a little at a time."""
    out, into = os.pipe()

    def write() -> None:
        with os.fdopen(into, "wb") as end:
            for at in range(0, len(data), 777):
                end.write(data[at : at + 777])
                end.flush()

    threading.Thread(target=write, daemon=True).start()
    return os.fdopen(out, "rb", buffering=0)


@pytest.mark.parametrize("pack", PACK)
@pytest.mark.parametrize("kind", LOGS)
def test_a_log_through_a_pipe_is_the_log_in_a_file(kind, pack, tmp_path):
    text = LOGS[kind].encode()
    path = tmp_path / "log"
    path.write_bytes(text)
    from_file = open_input(path, name="log", reference=datetime(2026, 12, 1, tzinfo=UTC))
    expected = [row for table in from_file.tables() for row in table["event.id"]]
    with piped(PACK[pack](text)) as end:
        opened = open_input(end, name="log", reference=datetime(2026, 12, 1, tzinfo=UTC))
        got = [row for table in opened.tables() for row in table["event.id"]]
    assert opened.kind == kind
    assert got == expected
    assert len(got) == 500
    assert (opened.account.total, opened.account.failed) == (500, 0)


DUMP = """
import io, sys
from sensor.reader import open_input
for table in open_input(io.BytesIO(sys.stdin.buffer.read()), name="x", collapse=sys.argv[1] == "1").tables():
    print(*sorted(table.write_ndjson().splitlines()), sep=chr(10))
"""


def dump(data: bytes, *, collapse: bool, interpreted: bool) -> str:
    done = subprocess.run(
        [sys.executable, "-c", DUMP, str(int(collapse))],
        input=data,
        capture_output=True,
        cwd=ROOT,
        env={**os.environ, "NUMBA_DISABLE_JIT": str(int(interpreted))},
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    return done.stdout.decode()


@pytest.mark.parametrize("kind", ["pcap", "pcapng"])
@pytest.mark.parametrize("collapse", [True, False])
def test_kernels_say_the_same_without_compilation(kind, collapse):
    data = capture(kind)
    compiled = dump(data, collapse=collapse, interpreted=False)
    assert '"event.dataset":"modbus"' in compiled
    assert '"event.dataset":"flow"' in compiled
    assert dump(data, collapse=collapse, interpreted=True) == compiled


def test_damaged_frames_say_the_same_without_compilation():
    data = bytearray(capture())
    at = 24
    while at < len(data):  # every third frame gets a wrong byte somewhere behind its Ethernet header
        size = int.from_bytes(data[at + 8 : at + 12], "little")
        if at % 3 == 0:
            data[at + 16 + 14 + at % (size - 14)] ^= 0x55
        at += 16 + size
    compiled = dump(bytes(data), collapse=False, interpreted=False)
    assert compiled != dump(capture(), collapse=False, interpreted=False)
    assert dump(bytes(data), collapse=False, interpreted=True) == compiled
