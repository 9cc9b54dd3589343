"""One-way export and import: whole, in order, signed, and exact about what is missing."""

from __future__ import annotations

import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from event.errors import ConfigError, StoreError
from event.table import conform
from store import diode, signing
from store.diode import MAGIC, Exporter, Importer, export_tables, streams
from store.embedded import EmbeddedStore
from store.forward import Forwarder
from store.signing import Key
from store.spool import Spool

CHILD = Path(__file__).with_name("spooler.py")
T0 = datetime(2026, 3, 1, tzinfo=UTC)
SHARED = Key("hmac-sha256", "shared", b"k" * 32)
"""Most tests sign with the standard library; what depends on the scheme is tested with each."""


@pytest.fixture(params=signing.SCHEMES)
def key(request: pytest.FixtureRequest) -> Key:
    try:
        return signing.generate(request.param)
    except ConfigError as error:
        pytest.skip(str(error))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EmbeddedStore]:
    with EmbeddedStore(tmp_path / "store") as opened:
        yield opened


def events(numbers: range, dataset: str = "modbus") -> pl.DataFrame:
    rows = list(numbers)
    return conform(
        pl.DataFrame(
            {
                "@timestamp": pl.Series([T0 + timedelta(seconds=n) for n in rows], dtype=pl.Datetime("ns", "UTC")),
                "event.id": [f"aaaa-{n:06d}-{dataset}" for n in rows],
                "event.dataset": [dataset] * len(rows),
                "event.kind": ["event"] * len(rows),
                "event.count": rows,
            }
        )
    )


def exported(folder: Path, segments: int = 6, rows: int = 10, key: Key = SHARED, start: int = 0) -> list[Path]:
    """Export some segments; the files in the order of their numbers."""
    exporter = Exporter(folder, key)
    export_tables((events(range(n * rows, n * rows + rows)) for n in range(start, start + segments)), exporter)
    exporter.close()
    return sorted(folder.glob("*.jms"))


def held(store: EmbeddedStore) -> list[str]:
    return [i for table in store.search() for i in table["event.id"].to_list()]


def gaps(store: EmbeddedStore) -> list[str]:
    (stream,) = streams(store).values()
    return [str(gap) for gap in stream.gaps]


def test_a_spool_crosses_the_diode_as_it_is(tmp_path: Path, store: EmbeddedStore, key: Key) -> None:
    spool = Spool(tmp_path / "spool")
    for n in range(3):
        spool.append(events(range(n * 10, n * 10 + 10)))
        spool.flush()
    bodies = [segment.path.read_bytes() for segment in spool.waiting()]
    shipped = Forwarder(spool, Exporter(tmp_path / "out", key)).once()
    assert (shipped.segments, shipped.events) == (3, 30)
    assert spool.waiting() == []
    files = sorted((tmp_path / "out").glob("*.jms"))
    assert [path.read_bytes().split(b"\n", 3)[3] for path in files] == bodies
    done = Importer(tmp_path / "out", store, [key.public()]).once()
    assert (done.segments, done.events, done.new_events, done.refused) == (3, 30, 30, {})
    assert held(store) == events(range(30))["event.id"].to_list()


def test_an_import_may_be_repeated(tmp_path: Path, store: EmbeddedStore) -> None:
    exported(tmp_path / "out")
    Importer(tmp_path / "out", store, [SHARED]).once()
    again = Importer(tmp_path / "out", store, [SHARED]).once()
    assert (again.segments, again.repeated, again.new_events, again.refused) == (0, 6, 0, {})
    assert len(held(store)) == 60


def test_a_sender_goes_on_after_the_files_were_taken_away(tmp_path: Path, store: EmbeddedStore) -> None:
    out, far = tmp_path / "out", tmp_path / "far"
    far.mkdir()
    for start in (0, 3):
        for path in exported(out, segments=3, start=start):
            shutil.move(path, far / path.name)
    done = Importer(far, store, [SHARED], remove=True).once()
    assert (done.segments, done.events, gaps(store)) == (6, 60, [])
    assert list(far.iterdir()) == []
    exported(out, segments=1, start=6)
    assert Importer(out, store, [SHARED]).once().segments == 1
    assert gaps(store) == []


def test_missing_numbers_are_named_and_a_late_file_fills_its_gap(tmp_path: Path, store: EmbeddedStore) -> None:
    files = exported(tmp_path / "out", segments=10)
    late = tmp_path / "late"
    late.mkdir()
    for n in (1, 4, 5, 6, 9):
        shutil.move(files[n - 1], late / files[n - 1].name)
    done = Importer(tmp_path / "out", store, [SHARED]).once()
    assert (done.segments, done.refused) == (5, {})
    assert gaps(store) == ["1", "4-6", "9"]
    (stream,) = streams(store).values()
    assert (stream.missing, stream.last, stream.segments, stream.events) == (5, 10, 5, 50)
    for n, left in ((5, ["1", "4", "6", "9"]), (1, ["4", "6", "9"]), (4, ["6", "9"]), (9, ["6"]), (6, [])):
        shutil.copy(late / files[n - 1].name, tmp_path / "out")
        assert Importer(tmp_path / "out", store, [SHARED]).once().segments == 1
        assert gaps(store) == left
    assert held(store) == events(range(100))["event.id"].to_list()


def test_the_loss_of_the_last_segments_shows_with_the_next_sign_of_life(tmp_path: Path, store: EmbeddedStore) -> None:
    for path in exported(tmp_path / "out", segments=3)[1:]:
        path.unlink()
    Importer(tmp_path / "out", store, [SHARED]).once()
    assert gaps(store) == []
    exporter = Exporter(tmp_path / "out", SHARED)
    assert exporter.beat().number == 4
    exporter.close()
    done = Importer(tmp_path / "out", store, [SHARED]).once()
    assert (done.segments, done.events) == (1, 0)
    assert gaps(store) == ["2-3"]


def test_a_sender_with_nothing_to_say_says_so(tmp_path: Path) -> None:
    often = Exporter(tmp_path / "often", SHARED, heartbeat=0)
    often.idle()
    often.idle()
    assert (often.number, often.count) == (2, 2)
    rarely = Exporter(tmp_path / "rarely", SHARED, heartbeat=3_600)
    rarely.idle()
    assert (rarely.number, rarely.count) == (0, 0)
    often.close()
    rarely.close()


def damage(path: Path, change: Callable[[bytes], bytes]) -> None:
    path.write_bytes(change(path.read_bytes()))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda b: b[:-1], "cut off: "),
        (lambda b: b[: b.index(b"PAR1")], "cut off: 0 of "),
        (lambda b: b + b"x", "too long"),
        (lambda b: b[:-1] + bytes([b[-1] ^ 1]), "the content is not what was signed"),
        (lambda b: b.replace(b'"events":10', b'"events":11'), "the signature is wrong"),
        (lambda b: b.replace(b'"number":3', b'"number":7'), "the signature is wrong"),
        (lambda b: b[:200], "cut off within its header"),
        (lambda b: b[:5], "cut off within its first line"),
        (lambda b: b"", "cut off within its first line"),
        (lambda b: MAGIC + b"{}\n00\n", "the header is wrong"),
        (lambda b: MAGIC + b"[" * 3000 + b"\n00\n", "the header is wrong"),
        (lambda b: b"\x00" * 10_000, "not a segment"),
    ],
)
def test_what_was_changed_or_cut_is_refused_with_its_number(
    tmp_path: Path, store: EmbeddedStore, change: Callable[[bytes], bytes], reason: str, key: Key
) -> None:
    files = exported(tmp_path / "out", segments=5, key=key)
    damage(files[2], change)
    done = Importer(tmp_path / "out", store, [key]).once()
    assert list(done.refused) == [files[2].name]
    assert reason in done.refused[files[2].name]
    assert (done.segments, gaps(store)) == (4, ["3"])
    assert len(held(store)) == 40


def test_a_file_that_still_grows_is_taken_in_when_it_is_whole(tmp_path: Path, store: EmbeddedStore) -> None:
    last = exported(tmp_path / "out", segments=3)[-1]
    whole = last.read_bytes()
    last.write_bytes(whole[:-100])
    assert Importer(tmp_path / "out", store, [SHARED]).once().refused
    last.write_bytes(whole)
    assert Importer(tmp_path / "out", store, [SHARED]).once().segments == 1
    assert gaps(store) == []


def test_a_stranger_is_not_believed(tmp_path: Path, store: EmbeddedStore, key: Key) -> None:
    exported(tmp_path / "out", segments=1, key=key)
    stranger = signing.generate(key.scheme)
    done = Importer(tmp_path / "out", store, [stranger.public()]).once()
    assert done.segments == 0
    assert "is not trusted" in next(iter(done.refused.values()))
    assert held(store) == []


def test_a_signature_of_another_scheme_is_not_believed(tmp_path: Path, store: EmbeddedStore) -> None:
    """Who knows only a public key must not pass by signing with it as if it were a shared one."""
    key = signing.generate("ed25519")
    public = key.public()
    (path,) = exported(tmp_path / "out", segments=1, key=key)
    first, header, _, body = path.read_bytes().split(b"\n", 3)
    forged = first + b"\n" + header.replace(b"ed25519", b"hmac-sha256") + b"\n"
    path.write_bytes(forged + Key("hmac-sha256", "shared", public.secret).sign(forged).encode() + b"\n" + body)
    done = Importer(tmp_path / "out", store, [public]).once()
    assert "the signature is wrong" in next(iter(done.refused.values()))


def test_an_old_copy_of_a_sender_cannot_go_on_unseen(tmp_path: Path, store: EmbeddedStore) -> None:
    exported(tmp_path / "out", segments=3)
    shutil.copytree(tmp_path / "out", tmp_path / "copy")
    exported(tmp_path / "out", segments=2, start=3)
    forked = exported(tmp_path / "copy", segments=3, start=50)
    Importer(tmp_path / "out", store, [SHARED]).once()
    done = Importer(tmp_path / "copy", store, [SHARED]).once()
    assert (done.segments, done.repeated) == (0, 3)
    assert "another segment with number 4" in done.refused[forked[3].name]
    assert "does not continue the chain" in done.refused[forked[5].name]
    assert len(held(store)) == 50


def test_a_gap_takes_only_what_belongs_there(tmp_path: Path, store: EmbeddedStore) -> None:
    exported(tmp_path / "out", segments=3)
    shutil.copytree(tmp_path / "out", tmp_path / "copy")
    real = exported(tmp_path / "out", segments=3, start=3)
    forked = exported(tmp_path / "copy", segments=3, start=50)
    missing = real[4].read_bytes()
    real[4].unlink()
    Importer(tmp_path / "out", store, [SHARED]).once()
    assert gaps(store) == ["5"]
    done = Importer(tmp_path / "copy", store, [SHARED]).once()
    assert forked[4].name in done.refused
    real[4].write_bytes(missing)
    assert Importer(tmp_path / "out", store, [SHARED]).once().segments == 1
    assert gaps(store) == []


def test_a_stream_belongs_to_its_key(tmp_path: Path, store: EmbeddedStore) -> None:
    other = Key("hmac-sha256", "shared", b"o" * 32)
    exported(tmp_path / "out", segments=2)
    Importer(tmp_path / "out", store, [SHARED, other]).once()
    state = json.loads((tmp_path / "out" / diode.STATE).read_text())
    state["key"] = other.id  # another trusted sender that pretends to be this one
    (tmp_path / "out" / diode.STATE).write_text(json.dumps(state))
    last = exported(tmp_path / "out", segments=1, key=other, start=7)[-1]
    done = Importer(tmp_path / "out", store, [SHARED, other]).once()
    assert "belongs to key" in done.refused[last.name]


def test_a_new_key_begins_a_new_stream(tmp_path: Path, store: EmbeddedStore) -> None:
    other = Key("hmac-sha256", "shared", b"o" * 32)
    exported(tmp_path / "out", segments=2)
    exported(tmp_path / "out", segments=2, start=2, key=other)
    done = Importer(tmp_path / "out", store, [SHARED, other]).once()
    assert (done.segments, done.refused, len(done.streams)) == (4, {}, 2)
    assert {stream.last for stream in streams(store).values()} == {2}


def test_what_is_no_file_is_left_alone(tmp_path: Path, store: EmbeddedStore) -> None:
    files = exported(tmp_path / "out", segments=2)
    (tmp_path / "out" / "link.jms").symlink_to(files[0])
    (tmp_path / "out" / "folder.jms").mkdir()
    os.mkfifo(tmp_path / "out" / "pipe.jms")
    done = Importer(tmp_path / "out", store, [SHARED]).once()
    assert done.segments == 2
    assert set(done.refused) == {"link.jms", "folder.jms", "pipe.jms"}


def test_a_signed_segment_that_is_no_table_is_refused(tmp_path: Path, store: EmbeddedStore) -> None:
    exporter = Exporter(tmp_path / "out", SHARED)
    exporter.put("modbus", 3, b"not Parquet")
    exporter.close()
    done = Importer(tmp_path / "out", store, [SHARED]).once()
    assert done.segments == 0
    assert done.refused


def test_gaps_are_bounded(tmp_path: Path, store: EmbeddedStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diode, "MOST_GAPS", 2)
    for path in exported(tmp_path / "out", segments=9)[::2]:
        path.unlink()
    done = Importer(tmp_path / "out", store, [SHARED]).once()
    (stream,) = done.streams.values()
    assert (gaps(store), stream.given_up, stream.missing) == (["5", "7"], 2, 4)


def test_only_one_export_is_at_work_on_a_folder(tmp_path: Path) -> None:
    first = Exporter(tmp_path / "out", SHARED)
    with pytest.raises(StoreError, match="another export"):
        Exporter(tmp_path / "out", SHARED)
    first.close()
    Exporter(tmp_path / "out", SHARED).close()


@pytest.mark.parametrize("step", ["write_file", "save", "rename"])
def test_a_number_is_never_used_for_two_contents(
    tmp_path: Path, store: EmbeddedStore, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Dying at each step of a write; whoever takes files away may have taken it by then."""
    exported(tmp_path / "out", segments=2)
    exporter = Exporter(tmp_path / "out", SHARED)

    def dies(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        if step == "rename":
            real = Path.rename
            patch.setattr(
                Path, "rename", lambda self, to: dies() if self.suffixes == [".jms", ".part"] else real(self, to)
            )
        else:
            patch.setattr(diode, step, dies)
        with pytest.raises(KeyboardInterrupt):
            exporter.put("modbus", 10, b"")
    exporter.close()
    exported(tmp_path / "out", segments=1, start=5)
    numbers = [int(path.stem.split("-")[1]) for path in sorted((tmp_path / "out").glob("*.jms"))]
    assert numbers == ([1, 2, 3, 4] if step == "rename" else [1, 2, 3])
    done = Importer(tmp_path / "out", store, [SHARED]).once()
    assert (done.refused, gaps(store)) == ({}, [])


@settings(max_examples=30)
@given(order=st.permutations(range(8)), cuts=st.lists(st.integers(0, 8), max_size=3))
def test_any_order_of_arrival_ends_the_same(
    tmp_path_factory: pytest.TempPathFactory, order: list[int], cuts: list[int]
) -> None:
    path = tmp_path_factory.mktemp("diode")
    files = exported(path / "out", segments=8, rows=2)
    far = path / "far"
    far.mkdir()
    arrived: set[int] = set()
    with EmbeddedStore(path / "store") as store:
        for low, high in itertools.pairwise(sorted({0, *cuts, 8})):
            for n in order[low:high]:
                shutil.copy(files[n], far)
                arrived.add(n + 1)
            done = Importer(far, store, [SHARED]).once()
            assert done.refused == {}
            (stream,) = done.streams.values()
            missing = [n for gap in stream.gaps for n in range(gap.first, gap.last + 1)]
            assert missing == [n for n in range(1, max(arrived) + 1) if n not in arrived]
            assert len(held(store)) == 2 * len(arrived)


def test_following_takes_in_what_comes_and_tells_a_refusal_once(tmp_path: Path) -> None:
    exported(tmp_path / "out", segments=2)
    (tmp_path / "out" / "junk.jms").write_bytes(b"junk")
    stop = threading.Event()
    told: list[diode.Imported] = []
    rounds = 0

    with EmbeddedStore(tmp_path / "store") as store:

        class Counting(Importer):
            def once(self) -> diode.Imported:
                nonlocal rounds
                rounds += 1
                if rounds == 3:
                    exported(tmp_path / "out", segments=1, start=2)
                if rounds == 5:
                    stop.set()
                return super().once()

        Counting(tmp_path / "out", store, [SHARED]).follow(stop, told.append, every=0.001)
        assert len(held(store)) == 30
    assert [one.segments for one in told] == [2, 1]


def test_following_goes_through_failures_of_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exported(tmp_path / "out", segments=3)
    stop = threading.Event()
    troubles: list[str] = []
    monkeypatch.setattr(diode, "FIRST_PAUSE", 0.001)
    with EmbeddedStore(tmp_path / "store") as store:
        folder = tmp_path / "store" / "events"
        folder.rmdir()
        folder.write_text("no folder")

        def trouble(text: str) -> None:
            troubles.append(text)
            if text:
                folder.unlink()
                folder.mkdir()

        Importer(tmp_path / "out", store, [SHARED]).follow(stop, lambda result: stop.set(), trouble=trouble, every=0)
        assert len(held(store)) == 30
        assert gaps(store) == []
    assert len(troubles) == 2
    assert troubles[0]
    assert troubles[1] == ""


def test_a_file_that_was_taken_in_is_not_read_again_unless_it_changed(
    tmp_path: Path, store: EmbeddedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = exported(tmp_path / "out", segments=3)
    importer = Importer(tmp_path / "out", store, [SHARED])
    importer.once()
    read: list[str] = []
    real = Importer._head
    monkeypatch.setattr(Importer, "_head", lambda self, path: read.append(path.name) or real(self, path))
    assert (importer.once().repeated, read) == (3, [])
    files[1].write_bytes(files[1].read_bytes() + b"x")
    again = importer.once()
    assert read == [files[1].name]
    assert (again.repeated, again.segments) == (3, 0), "its number has arrived: what it says now is of no interest"


def test_keys_are_written_for_their_owner_and_read_back(tmp_path: Path, key: Key) -> None:
    signing.write(key, tmp_path / "k")
    signing.write(key.public(), tmp_path / "k.pub")
    back, public = signing.read(tmp_path / "k"), signing.read(tmp_path / "k.pub")
    assert (back, public) == (key, key.public())
    assert back.id == public.id
    assert public.verifies(b"message", back.sign(b"message"))
    assert not public.verifies(b"other", back.sign(b"message"))
    assert not public.verifies(b"message", "zz")
    assert (tmp_path / "k").stat().st_mode & 0o077 == 0
    assert key.secret.hex() not in repr(key)
    with pytest.raises(ConfigError, match="never overwritten"):
        signing.write(key, tmp_path / "k")
    (tmp_path / "k").chmod(0o644)
    with pytest.raises(ConfigError, match="others can read"):
        signing.read(tmp_path / "k")


def test_a_public_key_cannot_sign(tmp_path: Path) -> None:
    public = signing.generate("ed25519").public()
    with pytest.raises(ConfigError, match="cannot sign"):
        Exporter(tmp_path / "out", public)


@pytest.mark.parametrize(
    "text",
    ["", "jianmen-key", "jianmen-key ed25519 shared AAAA", "jianmen-key rot13 shared AAAA", "\xff\xfe", "x " * 600],
)
def test_what_is_no_key(tmp_path: Path, text: str) -> None:
    (tmp_path / "k").write_text(text, encoding="latin-1")
    with pytest.raises(ConfigError, match="not a key"):
        signing.read(tmp_path / "k")


def test_signatures_of_known_answers() -> None:
    """RFC 8032, 7.1, test 2; RFC 4231, test case 2 (padded key); the chain rests on both."""
    secret = bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
    key = Key("ed25519", "private", secret)
    assert key.public().secret.hex() == "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
    assert key.sign(b"\x72") == (
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
    )
    shared = Key("hmac-sha256", "shared", b"Jefe" + bytes(28))
    assert shared.sign(b"what do ya want for nothing?") == (
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    )


def run(*args: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(CHILD), *map(str, args)], capture_output=True, text=True, check=False, timeout=120
    )


def kill_both_sides(tmp_path: Path, seeds: range) -> None:
    """Kill exporter and importer at random lines until everything is across; count at every step."""
    signing.write(SHARED, tmp_path / "key")

    def fill(name: str) -> Spool:
        spool = Spool(tmp_path / name)
        for n in range(6):
            spool.append(events(range(n * 10, n * 10 + 10)))
            spool.flush()
        return spool

    fill("measure")
    most_out = int(run("export", tmp_path / "measure", tmp_path / "measure-out", 0, tmp_path / "key").stderr)
    most_in = int(run("import", tmp_path / "measure-out", tmp_path / "measure-store", 0, tmp_path / "key").stderr)
    spool = fill("spool")
    chance = random.Random(seeds.start)
    everything = set(events(range(60))["event.id"].to_list())
    killed = 0
    for _ in seeds:
        killed += (
            run(
                "export", tmp_path / "spool", tmp_path / "out", chance.randrange(1, most_out), tmp_path / "key"
            ).returncode
            == -signal.SIGKILL
        )
        (tmp_path / "out").mkdir(exist_ok=True)
        killed += (
            run(
                "import", tmp_path / "out", tmp_path / "store", chance.randrange(1, most_in), tmp_path / "key"
            ).returncode
            == -signal.SIGKILL
        )
        if not spool.waiting():
            spool = fill("spool")
    assert killed
    Forwarder(spool, Exporter(tmp_path / "out", SHARED)).once()
    with EmbeddedStore(tmp_path / "store") as store:
        done = Importer(tmp_path / "out", store, [SHARED]).once()
        assert done.refused == {}
        assert [stream.gaps for stream in done.streams.values()] == [[]]
        assert sorted(held(store)) == sorted(everything)


def test_killed_on_both_sides_everything_arrives_once(tmp_path: Path) -> None:
    kill_both_sides(tmp_path, range(4))


@pytest.mark.slow
def test_killed_at_fifty_points_on_both_sides_everything_arrives_once(tmp_path: Path) -> None:
    kill_both_sides(tmp_path, range(100, 150))
