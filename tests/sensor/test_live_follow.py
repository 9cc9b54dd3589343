"""Files that grow, are renamed, truncated, replaced while nobody looks; each line once, over restarts and deaths."""

import os
import threading
import time

import polars as pl
import pytest

from event.errors import ConfigError
from sensor.live import follow
from sensor.live.beat import Beat
from sensor.live.follow import FollowedFiles


def line(number: int) -> str:
    return f"<34>1 2026-09-01T02:00:{number % 60:02}Z host app {number} - - line {number}\n"


def lines(*numbers: int) -> str:
    return "".join(line(n) for n in numbers)


class Following:
    """One run; ``end`` gives what it read, in order."""

    def __init__(self, pattern, saved=()) -> None:
        self.input = FollowedFiles(str(pattern), saved=saved)
        self.beat = Beat()
        self.rows: list[dict] = []
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        for table in self.input.tables(self.beat):
            self.rows += table.rows(named=True)

    def until(self, count: int) -> None:
        end = time.monotonic() + 30
        while len(self.rows) < count:
            assert time.monotonic() < end, self.rows
            self.beat.number += 1
            time.sleep(0.02)

    def end(self) -> list[str]:
        self.beat.stop.set()
        self.thread.join(30)
        assert not self.thread.is_alive()
        self.input.close()
        return [row.get("message") for row in self.rows]


def said(*numbers: int) -> list[str]:
    return [f"line {n}" for n in numbers]


def add(path, text: str) -> None:
    with path.open("a") as out:
        out.write(text)


def test_a_file_is_read_as_it_grows_and_a_line_waits_for_its_end(tmp_path):
    path = tmp_path / "a.log"
    run = Following(path)
    time.sleep(0.3)
    assert run.input.health.trouble is not None  # it is not there yet
    path.write_text(lines(1, 2) + line(3)[:20])
    run.until(2)
    add(path, line(3)[20:] + line(4)[:9])
    run.until(3)
    assert run.end() == said(1, 2, 3)
    assert run.input.health.trouble is None
    assert run.input.position()[0]["offset"] == len(lines(1, 2, 3))
    assert run.input.account.total == 3


def test_a_later_run_goes_on_where_the_first_ended(tmp_path):
    path = tmp_path / "a.log"
    path.write_text(lines(1, 2) + line(3)[:11])
    first = Following(path)
    first.until(2)
    assert first.end() == said(1, 2)
    add(path, line(3)[11:] + lines(4))
    second = Following(path, first.input.position())
    second.until(2)
    assert second.end() == said(3, 4)


def test_a_run_that_died_before_its_position_was_kept_makes_the_same_ids(tmp_path):
    path = tmp_path / "a.log"
    path.write_text(lines(*range(50)))
    first, second = Following(path), Following(path)
    for run in (first, second):
        run.until(50)
        run.end()
    assert [r["event.id"] for r in first.rows] == [r["event.id"] for r in second.rows]
    assert len({r["event.id"] for r in first.rows}) == 50


@pytest.mark.parametrize("while_running", [True, False])
def test_a_file_that_is_moved_away_is_read_to_its_end(tmp_path, while_running):
    path = tmp_path / "a.log"
    path.write_text(lines(1, 2))
    run = Following(path)
    run.until(2)
    if not while_running:
        assert run.end() == said(1, 2)
    add(path, lines(3))
    path.rename(tmp_path / "a.log.1")
    path.write_text(lines(10, 11))
    add(tmp_path / "a.log.1", lines(4))  # a writer that has not reopened yet
    if not while_running:
        run = Following(path, run.input.position())
    run.until(6 if while_running else 4)
    got = run.end()
    assert sorted(got[-4:]) == sorted(said(3, 4, 10, 11))
    assert len(got) == len(set(got))


def test_a_file_without_a_name_is_let_go_after_a_while_with_its_last_line(tmp_path, monkeypatch):
    monkeypatch.setattr(follow, "LINGER_S", 0.5)
    path = tmp_path / "a.log"
    path.write_text(lines(1) + line(2).rstrip("\n"))
    run = Following(path)
    run.until(1)
    path.unlink()
    run.until(2)
    time.sleep(0.3)
    assert run.input.position() == []
    assert run.end() == said(1, 2)


@pytest.mark.parametrize("while_running", [True, False])
@pytest.mark.parametrize("longer", [True, False])
def test_a_truncated_file_is_read_from_its_start(tmp_path, while_running, longer):
    path = tmp_path / "a.log"
    path.write_text(lines(1, 2, 3))
    run = Following(path)
    run.until(3)
    inode = path.stat().st_ino
    if not while_running:
        run.end()
    fresh = list(range(20, 40)) if longer else [20]
    path.write_text(lines(*fresh))  # as copytruncate does: the same file
    assert path.stat().st_ino == inode
    if while_running:
        run.until(3 + len(fresh))
        assert run.end() == said(1, 2, 3, *fresh)
    else:
        run = Following(path, run.input.position())
        run.until(len(fresh))
        assert run.end() == said(*fresh)
    assert run.input.account.notes["files_truncated"] == 1


def test_the_same_lines_after_a_truncation_are_events_of_their_own(tmp_path):
    path = tmp_path / "a.log"
    path.write_text(lines(1, 2))
    run = Following(path)
    run.until(2)
    os.truncate(path, 0)
    run.beat.number += 1
    time.sleep(0.6)
    add(path, lines(1, 2))
    run.until(4)
    run.end()
    assert len({r["event.id"] for r in run.rows}) == 4


def test_a_pattern_takes_new_files_and_leaves_packed_ones(tmp_path):
    (tmp_path / "a.log").write_text(lines(1))
    (tmp_path / "old.log").write_bytes(b"\x1f\x8b" + bytes(40))
    run = Following(tmp_path / "*.log")
    run.until(1)
    (tmp_path / "b.log").write_text(lines(2))
    run.until(2)
    run.end()
    assert {r["log.file.path"] for r in run.rows} == {str(tmp_path / "a.log"), str(tmp_path / "b.log")}
    assert run.input.account.notes["compressed_files_ignored"] == 1


def test_a_header_is_known_again_in_a_later_run(tmp_path):
    head = "#separator \\x09\n#set_separator\t,\n#empty_field\t(empty)\n#unset_field\t-\n#path\tdns\n"
    head += "#fields\tts\tuid\tid.orig_h\tid.orig_p\tid.resp_h\tid.resp_p\tproto\tquery\n"
    head += "#types\ttime\tstring\taddr\tport\taddr\tport\tenum\tstring\n"
    row = "1788228000.5\tC{n}\t10.0.0.1\t5353\t10.0.0.2\t53\tudp\thost{n}.example\n"
    path = tmp_path / "dns.log"
    path.write_text(head + row.format(n=1))
    seen = []
    position = ()
    for number in (2, 3):
        input_ = FollowedFiles(str(path), saved=position)
        beat = Beat()
        beat.stop.set()
        seen += [r for t in input_.tables(beat) for r in t.select("event.dataset", "dns.question.name").rows()]
        position = input_.position()
        input_.close()
        add(path, row.format(n=number))
    assert seen == [("zeek.dns", "host1.example"), ("zeek.dns", "host2.example")]


def test_a_log_of_no_known_kind_waits_and_says_so(tmp_path):
    path = tmp_path / "odd.txt"
    path.write_text("hello\nworld\n")
    run = Following(path)
    time.sleep(0.5)
    assert "KIND:" in str(run.input.health.trouble)
    assert run.input.health.lag_bytes == 12
    assert run.end() == []
    named = Following(f"syslog:{path}")
    named.until(2)
    named.end()
    assert named.input.account.failed == 2


def test_a_line_longer_than_any_is_cut_and_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(follow, "LONGEST_LINE", 1 << 12)
    monkeypatch.setattr(follow, "_BLOCK", 1 << 11)
    path = tmp_path / "a.log"
    path.write_text(line(1).rstrip("\n") + "x" * 10_000 + "\n" + line(2))
    run = Following(path)
    run.until(2)
    run.end()
    assert run.input.account.notes["lines_cut"] >= 1
    assert run.rows[-1]["event.original"] == line(2).rstrip()
    assert run.input.account.bytes == path.stat().st_size


def test_no_path_is_an_error():
    with pytest.raises(ConfigError):
        FollowedFiles("")


def test_offsets_are_those_of_the_file(tmp_path):
    path = tmp_path / "a.log"
    path.write_text(lines(1, 2))
    run = Following(path)
    run.until(2)
    add(path, lines(3))
    run.until(3)
    run.end()
    text = path.read_text()
    assert [r["log.offset"] for r in run.rows] == [text.index(line(n)) for n in (1, 2, 3)]
    assert pl.Series([r["log.offset"] for r in run.rows]).is_sorted()
