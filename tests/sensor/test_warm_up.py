"""The small capture that compiles the kernels shows every protocol, whole; logs and captures ask for what they need."""

import gzip
import io
import os
import subprocess
import sys
import time
from pathlib import Path
from threading import Timer

import pytest

from cli.progress import kernels_for
from sensor import DECODERS, kernel_cache
from sensor.kernel_cache import GROUPS, is_warm, prepare, warm
from sensor.reader import open_input
from sensor.warm_up import capture

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("kind", ["pcap", "pcapng"])
def test_the_warm_up_holds_requests_and_answers_of_every_protocol_and_nothing_damaged(kind):
    opened = open_input(io.BytesIO(capture(kind)), name="warm-up", collapse=False)
    tables = list(opened.tables())
    assert {t["event.dataset"][0] for t in tables} >= {*DECODERS, "flow"}
    assert opened.account.decoded == opened.account.total > 60
    assert opened.kind == kind
    codes = [code for t in tables if "error.code" in t.columns for code in t["error.code"].drop_nulls()]
    assert codes == []
    matched = {t["event.dataset"][0] for t in tables for c in t.columns if c.endswith(".matched") and t[c].any()}
    assert matched == set(DECODERS)


def test_repeats_are_collapsed_in_the_warm_up_so_that_those_kernels_are_compiled_too():
    every = sum(t.height for t in open_input(io.BytesIO(capture()), name="a", collapse=False).tables())
    joined = sum(t.height for t in open_input(io.BytesIO(capture()), name="a").tables())
    assert joined < every


@pytest.mark.slow
def test_nothing_is_left_to_compile_behind_the_warm_up(tmp_path):
    warm(tmp_path)
    folder = prepare(tmp_path)
    assert is_warm(folder)
    before = set(folder.rglob("*.nbc"))
    code = "import sys; from pathlib import Path; from sensor.kernel_cache import prepare; prepare(Path(sys.argv[1]))\n"
    code += "from sensor.reader import open_input\n"
    code += "for path in sys.argv[2:]:\n    for _ in open_input(Path(path)).tables(): pass"
    captures = [str(p) for p in sorted((ROOT / "pcaps").rglob("*.pcap"))]
    subprocess.run([sys.executable, "-c", code, str(tmp_path), *captures], cwd=ROOT, check=True)
    assert {p.name for p in folder.rglob("*.nbc")} == {p.name for p in before}


def test_a_warm_folder_compiles_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("sensor.kernel_cache.prepare", lambda folder: tmp_path)
    for group in GROUPS:
        (tmp_path / f"{group}.done").touch()
    begun = []
    assert not warm(tmp_path, begin=begun.append)
    assert begun == []


def test_each_group_is_compiled_by_a_child_once_and_a_child_that_fails_leaves_no_mark(tmp_path, monkeypatch):
    monkeypatch.setattr("sensor.kernel_cache.prepare", lambda folder: tmp_path)
    monkeypatch.setattr("sensor.kernel_cache._interpreted", lambda: False)
    fails = (
        "import sys, pathlib; assert sys.argv[3] != 'pcapng'; pathlib.Path(sys.argv[2], sys.argv[3] + '.done').touch()"
    )
    monkeypatch.setattr("sensor.kernel_cache._CHILD", fails)
    begun = []
    assert warm(tmp_path, begin=begun.append)
    assert begun == list(GROUPS)
    assert warm(tmp_path, begin=begun.append)
    assert begun == [*GROUPS, "pcapng"]


def test_others_wait_for_the_child_of_one_that_was_killed(tmp_path, monkeypatch):
    monkeypatch.setattr("numba.core.config.CACHE_DIR", "")  # whatever other tests made it
    child = "import sys, time, pathlib; to = pathlib.Path(sys.argv[2]); (to / 'begun').touch(); "
    child += "[time.sleep(0.01) for _ in iter((to / 'go').exists, True)]; (to / 'pcap.done').touch()"
    code = "import sys; from pathlib import Path; import sensor.kernel_cache as k; k._CHILD = sys.argv[2]; "
    code += "k.warm(Path(sys.argv[1]), ('pcap',))"
    folder = prepare(tmp_path)
    kept = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
    first = subprocess.Popen([sys.executable, "-c", code, str(folder.parent), child], cwd=ROOT, env=kept)
    while not (folder / "begun").exists():
        assert first.poll() is None
        time.sleep(0.01)
    first.kill()
    first.wait()
    Timer(0.3, (folder / "go").touch).start()
    begun = []
    assert not warm(folder.parent, ("pcap",), begin=begun.append)
    assert begun == []
    assert is_warm(folder, ("pcap",))


@pytest.mark.parametrize(
    ("content", "groups"),
    [
        (capture("pcap")[:200], ("pcap", "decoders")),
        (capture("pcapng")[:200], ("pcapng", "decoders")),
        (gzip.compress(b"who knows"), ("pcap", "pcapng", "decoders")),
        (b'{"ts": 1}\n', ()),
        (b"", ()),
    ],
    ids=["pcap", "pcapng", "gzip", "log", "empty"],
)
def test_inputs_ask_for_the_kernels_they_need(tmp_path, content, groups):
    path = tmp_path / "input"
    path.write_bytes(content)
    assert kernels_for([path]) == groups
    assert kernels_for([path, tmp_path / "absent"]) == groups
    assert kernels_for([Path("-")]) == ("pcap", "pcapng", "decoders")


def test_old_caches_are_removed_and_the_latest_stay(tmp_path):
    folders = [tmp_path / f"kernels-{number}" for number in range(7)]
    for number, folder in enumerate(folders):
        folder.mkdir()
        os.utime(folder, (number, number))
    (tmp_path / "other").mkdir()
    kernel_cache._forget(folders[0])
    assert {one.name for one in tmp_path.iterdir()} == {"other", "kernels-0", *(f"kernels-{n}" for n in (3, 4, 5, 6))}
