"""Log files that grow: read as they are written, over rotation and truncation, and from where an earlier run stopped.

A file is known by device and inode, so a rename does not matter. Its lines get the same ``event.id`` in every run: the
origin is made of device, inode, first line, and how often the file was truncated; so a run that died between storing
events and keeping the position stores nothing twice.
"""

from __future__ import annotations

import copy
import glob
import hashlib
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from event import registry
from event.errors import ConfigError
from sensor import PARSERS
from sensor.base import Account, LineParser
from sensor.line_tables import line_tables, lines_of
from sensor.live.beat import Beat, Health
from sensor.log_kinds import log_kind

LONGEST_LINE = 1 << 24  # bytes; a longer line is cut there and counted
MOST_FILES = 1_000
"""Files that one pattern may hold open."""
LINGER_S = 30.0
"""How long a file that was moved away is still read after it stopped growing: writers reopen late."""
_BLOCK = 8 << 20  # bytes parsed at once
_MUCH = 1 << 20  # bytes that are not left to wait for the next beat
_HEAD = 1 << 10  # first bytes by which a truncated file is told
_KIND = 1 << 16  # first bytes by which a kind is told
_LOOK_S = 1.0
_WAIT_S = 0.2
_PACKED = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"BZh", b"\xfd7zXZ")


@dataclass(slots=True)
class _File:
    """One file that is open.

    Attributes:
        handle: Descriptor.
        key: Device and inode.
        path: Its present name.
        offset: Where the next unread line starts.
        generation: How often it was truncated.
        head: First bytes when they were last looked at, ``_HEAD`` at most.
        origin: For ``event.id``; empty until the first line is whole.
        parser: None until its kind is known.
        gone: Its name belongs to another file now, or to none.
        grew: Monotonic time at which it was last seen to grow.
        size: Bytes it had then.
    """

    handle: int
    key: tuple[int, int]
    path: str
    offset: int = 0
    generation: int = 0
    head: bytes = b""
    origin: str = ""
    parser: LineParser | None = None
    gone: bool = False
    grew: float = 0.0
    size: int = -1

    def saved(self) -> dict[str, Any]:
        return {
            "path": self.path,
            "device": self.key[0],
            "inode": self.key[1],
            "offset": self.offset,
            "generation": self.generation,
            "head": len(self.head),
            "digest": _digest(self.head),
        }


class FollowedFiles:
    """The files of a name or pattern as a live input; see ``sensor.live.beat.LiveInput``."""

    def __init__(self, pattern: str, *, saved: Iterable[dict[str, Any]] = ()) -> None:
        """Open what is there; nothing is read yet, and the files need not exist yet.

        Args:
            pattern: Path, with ``* ? [ ] **`` as the shell has them; before it may stand a kind of log and a colon.
            saved: ``position`` of an earlier run.

        Raises:
            ConfigError: The pattern is empty.
        """
        kind, _, rest = pattern.partition(":")
        named = kind in PARSERS and bool(rest)
        self._kind: str | None = kind if named else None
        self._pattern = rest if named else pattern
        if not self._pattern:
            raise ConfigError(
                "no path to follow", where="--follow", hint="such as /var/log/auth.log or zeek:/logs/*.log"
            )
        self.name = pattern
        self.account = Account(pattern, self._kind or "log")
        self.health = Health()
        self._files: dict[tuple[int, int], _File] = {}
        self._ignored: set[tuple[int, int]] = set()
        self._position: list[dict[str, Any]] = []
        self._looked = 0.0
        self._troubles: dict[str, str] = {}
        self._resume(saved)
        self._look()
        self._remember()  # a file that is moved away before its first line was stored is found again

    # Which files.

    def _resume(self, saved: Iterable[dict[str, Any]]) -> None:
        """Open what an earlier run had open, where it lies now."""
        for one in saved:
            key = (int(one["device"]), int(one["inode"]))
            path = _found(key, str(one["path"]))
            file = self._open(path) if path is not None else None
            if file is None or file.key != key:
                self._note("files_gone_before_their_end")
                continue
            head = os.pread(file.handle, int(one["head"]), 0)
            file.generation = int(one["generation"])
            if _digest(head) == one["digest"] and os.fstat(file.handle).st_size >= int(one["offset"]):
                file.head = head
                file.offset = int(one["offset"])
            else:
                file.generation += 1
                self._note("files_truncated")

    def _look(self) -> None:
        """Find new files, and those that have lost their name."""
        self._looked = time.monotonic()
        self._troubles.clear()
        literal = not glob.has_magic(self._pattern)
        present: dict[tuple[int, int], str] = {}
        for path in [self._pattern] if literal else sorted(glob.glob(self._pattern, recursive=True)):  # noqa: PTH207 - any path
            try:
                stat = Path(path).stat()
            except OSError as error:
                if literal:
                    self._troubles[path] = error.strerror or str(error)
                continue
            if Path(path).is_file():
                present.setdefault((stat.st_dev, stat.st_ino), path)
        for key, file in self._files.items():
            file.gone = key not in present
            file.path = present.get(key, file.path)
        self._ignored &= present.keys()
        for key, path in present.items():
            if key not in self._files and key not in self._ignored:
                self._open(path)

    def _open(self, path: str) -> _File | None:
        if len(self._files) >= MOST_FILES:
            self._troubles[path] = f"more than {MOST_FILES} files at once: not read"
            return None
        try:
            handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            self._troubles[path] = error.strerror or str(error)
            return None
        stat = os.fstat(handle)
        key = (stat.st_dev, stat.st_ino)
        if key in self._files:
            os.close(handle)
            return self._files[key]
        if os.pread(handle, 6, 0).startswith(_PACKED):
            os.close(handle)
            self._ignored.add(key)  # an old log that was packed: it was read while it grew
            self._note("compressed_files_ignored")
            return None
        self._files[key] = _File(handle, key, path, grew=time.monotonic())
        return self._files[key]

    def _note(self, name: str) -> None:
        self.account.notes[name] = self.account.notes.get(name, 0) + 1

    # Reading.

    def tables(self, beat: Beat) -> Iterator[pl.DataFrame]:
        """Yield event tables until stopped; a line without its end waits for it, over the end of the run if need be."""
        seen = -1
        started = time.monotonic()
        while True:
            stopping = beat.stop.is_set()
            due = stopping or seen != beat.number
            seen = beat.number
            if due or time.monotonic() - self._looked >= _LOOK_S:
                self._look()
            lag = 0
            for file in list(self._files.values()):
                try:
                    yield from self._grown(file, due)
                    lag += max(0, os.fstat(file.handle).st_size - file.offset)
                except OSError as error:
                    self._troubles[file.path] = error.strerror or str(error)
                if file.gone and time.monotonic() - file.grew > LINGER_S:
                    yield from self._last_line(file)
                    os.close(file.handle)
                    del self._files[file.key]
                    self._remember()
            self.health.lag_bytes = lag
            self.health.trouble = "; ".join(f"{path}: {what}" for path, what in sorted(self._troubles.items())) or None
            self.account.seconds = time.monotonic() - started
            if stopping:
                return
            beat.stop.wait(_WAIT_S)

    def _grown(self, file: _File, due: bool) -> Iterator[pl.DataFrame]:
        """Read what a file has grown by."""
        size = os.fstat(file.handle).st_size
        if size != file.offset and not self._is_same(file, size):
            file.generation += 1
            file.offset, file.head, file.origin = 0, b"", ""
            self._note("files_truncated")
        if size != file.size:
            file.size = size
            file.grew = time.monotonic()
        if size - file.offset < (1 if due else _MUCH):
            return
        while data := os.pread(file.handle, _BLOCK, file.offset):
            end = data.rfind(b"\n") + 1
            if end == 0 and len(data) == _BLOCK:
                data = os.pread(file.handle, LONGEST_LINE, file.offset)
                end = data.find(b"\n") + 1
                if end == 0 and len(data) == LONGEST_LINE:
                    end = len(data)
                    self._note("lines_cut")
            if end == 0:
                return  # its end is still to be written
            if not self._ready(file):
                return
            yield from self._parsed(file, data[:end])

    def _is_same(self, file: _File, size: int) -> bool:
        """Whether a file is still the one that was read, and not written anew from its start."""
        if size < file.offset:
            return False
        head = os.pread(file.handle, _HEAD, 0)
        if head[: len(file.head)] != file.head:
            return False
        file.head = head
        return True

    def _ready(self, file: _File) -> bool:
        """Make origin and parser, once the first line is whole; False if nobody knows what kind of log it is."""
        if not file.origin:
            first = os.pread(file.handle, _HEAD, 0).partition(b"\n")[0]
            state = hashlib.blake2b(digest_size=8)
            state.update(f"{file.key[0]}:{file.key[1]}:{file.generation}:".encode())
            state.update(first)
            file.origin = state.hexdigest()
        if file.parser is None:
            head = os.pread(file.handle, _KIND, 0)
            kind = self._kind or log_kind(head)
            if kind is None:
                self._troubles[file.path] = f"no kind of log that is known; say it: KIND:{file.path}"
                return False
            # a copy: parsers remember headers, and each file has its own
            file.parser = copy.deepcopy(registry.load("parsers", kind, PARSERS))
            self.account.kind = kind if self.account.kind in ("log", kind) else "logs"
            if file.offset:
                self._remind(file, head)
        return True

    def _remind(self, file: _File, head: bytes) -> None:
        """Show the parser the headers before the place at which an earlier run stopped."""
        if file.parser is None:
            return
        near = max(len(head), file.offset - _MUCH)
        lines = head[: file.offset].splitlines()
        if near < file.offset:
            lines += os.pread(file.handle, file.offset - near, near).splitlines()
        headers = [line.decode("utf-8", "replace") for line in lines if line.startswith(b"#")]
        if headers:
            offsets = pl.int_range(len(headers), dtype=pl.Int64, eager=True)
            file.parser.parse(pl.Series(headers, dtype=pl.String), offsets, reference=datetime.now(UTC))

    def _parsed(self, file: _File, data: bytes) -> Iterator[pl.DataFrame]:
        if file.parser is None:
            return
        lines, offsets = lines_of(data, file.offset)
        yield from line_tables(
            file.parser,
            lines,
            offsets,
            self.account,
            origin=file.origin,
            name=file.path,
            reference=datetime.now(UTC),
        )
        file.offset += len(data)
        self.account.bytes += len(data)
        self._remember()

    def _last_line(self, file: _File) -> Iterator[pl.DataFrame]:
        """A file that grows no more: its last line may lack its end."""
        data = os.pread(file.handle, LONGEST_LINE, file.offset)
        if data and self._ready(file):
            yield from self._parsed(file, data)

    def _remember(self) -> None:
        self._position = [file.saved() for file in self._files.values()]

    def position(self) -> list[dict[str, Any]]:
        """Each open file and how far it was read; see ``sensor.live.beat.LiveInput``."""
        return self._position

    def close(self) -> None:
        """Close the files."""
        for file in self._files.values():
            with suppress(OSError):
                os.close(file.handle)
        self._files.clear()


def _digest(head: bytes) -> str:
    return hashlib.blake2b(head, digest_size=8).hexdigest()


def _found(key: tuple[int, int], path: str) -> str | None:
    """Where a file lies now: at its name, or renamed in the same folder."""
    try:
        stat = Path(path).stat()
        if (stat.st_dev, stat.st_ino) == key:
            return path
    except OSError:
        pass
    try:
        with os.scandir(Path(path).parent) as entries:
            for entry in entries:
                if entry.inode() == key[1] and entry.is_file(follow_symlinks=False):
                    return entry.path
    except OSError:
        pass
    return None
