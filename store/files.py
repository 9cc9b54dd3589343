"""Small files that survive a crash: written beside their name, fsynced, renamed; and files that others may delete."""

from __future__ import annotations

import fcntl
import json
import os
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from event.errors import StoreError
from store.segments import fsync_folder


def save(path: Path, value: dict[str, Any]) -> None:
    """Replace a small JSON file as a whole, durably."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        write_file(beside, json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())
        beside.rename(path)
    except BaseException:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
        raise
    fsync_folder(path.parent)


def load_json(path: Path) -> dict[str, Any]:
    """A small JSON file; empty if it is not there.

    Raises:
        StoreError: It is damaged.
    """
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise StoreError(
            f"{path.name} is damaged: {error}",
            where=str(path),
            hint="move it away; the segments beside it are untouched",
        ) from error
    return value if isinstance(value, dict) else {}


def write_file(path: Path, body: bytes, mode: int = 0o600) -> None:
    """Write a file durably; the name is not fsynced yet."""
    handle = os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_CLOEXEC, mode)
    try:
        view = memoryview(body)
        while view:
            view = view[os.write(handle, view) :]
        os.fsync(handle)
    finally:
        os.close(handle)


def read_all(handle: int) -> bytes:
    """What is left of a file."""
    parts = []
    while part := os.read(handle, 1 << 20):
        parts.append(part)
    return b"".join(parts)


def grab(path: Path, *, exclusive: bool) -> int | None:
    """Open and ``flock`` a segment; None if it is gone, or somebody else holds it and ``exclusive``."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB if exclusive else fcntl.LOCK_SH)
        if os.fstat(handle).st_nlink:
            return handle
    except BlockingIOError:
        pass
    except BaseException:
        os.close(handle)
        raise
    os.close(handle)
    return None


def entries(path: Path) -> list[os.DirEntry[str]]:
    """What lies in a folder, by name; nothing if it is not there."""
    try:
        with os.scandir(path) as found:
            return sorted(found, key=lambda entry: entry.name)
    except FileNotFoundError:
        return []
