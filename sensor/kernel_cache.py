"""Where numba keeps the compiled kernels, and how to compile them.

Compiling takes a minute and 600 MiB in one process; so it is done in child processes, one after the other, none of
which needs 512 MiB, and whose memory is gone when they end. What they leave is the cache.

The cache is made of pickles, so a folder that others can write to is code execution as our user: it is a folder
of mode 0700 below the user's state directory, never a shared one. numba does not notice a change in another file
than the kernel's own, so the folder's name carries a hash of this room's sources and of the versions.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

GROUPS = ("pcap", "pcapng", "decoders")
"""What is compiled in one child process each."""

_CHILD = (
    "import sys; sys.path.insert(0, sys.argv[1]); from sensor.kernel_cache import compile_group; "
    "compile_group(*sys.argv[2:])"
)
_KEEP = 4  # caches, some megabytes each; a process that still runs has loaded what it needs
_SOURCES = ("*kernel*.py", "decoders/**/*kernel*.py")  # files that hold kernels or their constants


def version_tag() -> str:
    """Twelve hex digits that change whenever a kernel, its file's place or time, numba, numpy or Python does.

    numba looks at place and time: kernels of another checkout would pass for compiled, and be compiled again where
    they are used, slowly and in twice the memory.
    """
    room = Path(__file__).resolve().parent
    state = hashlib.blake2b(str(room).encode(), digest_size=6)
    for name in ("numba", "llvmlite", "numpy"):
        state.update(f"{name}={version(name)};".encode())
    state.update(platform.python_version().encode())
    for pattern in _SOURCES:
        for path in sorted(room.glob(pattern)):
            state.update(f"{path.name} {path.stat().st_mtime_ns};".encode())
            state.update(path.read_bytes())
    return state.hexdigest()


def _private(folder: Path) -> bool:
    """Make ``folder`` with mode 0700; False if it cannot be made or others can write to it."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        probe = folder / ".probe"
        probe.touch()
        probe.unlink()
    except OSError:
        return False
    status = folder.stat()
    return status.st_mode & 0o022 == 0


def prepare(folder: Path | None = None) -> Path:
    """Tell numba where its cache is; call it before any kernel is imported. Calling it again changes nothing.

    Args:
        folder: State directory of the user; ``~/.local/state/jianmen`` if None. A cache folder that numba was
            told by its own environment variable wins.

    Returns:
        The folder in use. Without a home that can be written to (systemd, read-only containers) it is a fresh
        temporary folder of mode 0700: kernels are then compiled in every process.
    """
    from numba.core import config as numba_config  # imports numba: a fifth of a second, only where packets are read

    config: Any = numba_config  # its members are made at run time

    name = f"kernels-{version_tag()}"
    given = str(config.CACHE_DIR)
    if given:
        base = Path(given)
        if base.name != name:
            base = base / name
            base.mkdir(mode=0o700, parents=True, exist_ok=True)
            config.CACHE_DIR = str(base)
        return base
    places = [folder] if folder is not None else []
    try:
        places.append(Path.home() / ".local" / "state" / "jianmen")
    except RuntimeError:  # no home at all
        places = places[:1]
    for place in places:
        if _private(place / name):
            config.CACHE_DIR = str(place / name)
            return place / name
    base = Path(tempfile.mkdtemp(prefix="jianmen-")) / name
    base.mkdir(mode=0o700)
    config.CACHE_DIR = str(base)
    return base


def is_warm(folder: Path, groups: tuple[str, ...] = GROUPS) -> bool:
    """Whether ``folder`` holds these kernels, compiled to their end."""
    return all((folder / f"{group}.done").exists() for group in groups)


def warm(
    folder: Path | None = None, groups: tuple[str, ...] = GROUPS, begin: Callable[[str], None] = lambda group: None
) -> bool:
    """Compile the packet kernels that are not in the cache yet; others who want the same wait for it.

    Args:
        folder: As for ``prepare``.
        groups: Which of ``GROUPS``; ``decoders`` needs one of the others before it.
        begin: Called before each group that has to be compiled.

    Returns:
        Whether anything was compiled. A child that cannot be started or dies leaves its kernels to be compiled
        where they are used: slower and larger, but the same.
    """
    base = prepare(folder)
    if is_warm(base, groups) or _interpreted():
        return False
    compiled = False
    with _alone(base) as lock:
        for group in groups:
            if is_warm(base, (group,)):
                continue
            begin(group)
            compiled = True
            _compile_by_child(base, group, lock)
    if compiled:
        _forget(base)
    return compiled


def _forget(base: Path) -> None:
    """Remove caches of kernels as they were before, but for the latest: each change and each place makes its own."""
    found = sorted(base.parent.glob("kernels-*"), key=lambda one: one.stat().st_mtime, reverse=True)
    for old in found[_KEEP:]:
        if old != base:
            shutil.rmtree(old, ignore_errors=True)


def _interpreted() -> bool:
    from numba.core import config as numba_config

    config: Any = numba_config
    return bool(config.DISABLE_JIT)


@contextmanager
def _alone(folder: Path) -> Iterator[int]:
    """Hold a lock on the folder; the kernel takes it back from whoever dies. Yields its descriptor."""
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock.fileno()


def _compile_by_child(folder: Path, group: str, lock: int) -> None:
    """Compile in a child that holds the lock too: should we be killed, others wait for it instead of beginning anew."""
    room = str(Path(__file__).resolve().parents[1])
    with suppress(OSError):
        subprocess.run(  # noqa: S603 - our own interpreter, our own code
            [sys.executable, "-c", _CHILD, room, str(folder), group],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=[lock],
            check=False,
        )


def compile_group(folder: str, group: str) -> None:
    """Compile one of ``GROUPS`` into ``folder``: what a child process does."""
    from numba.core import config as numba_config

    config: Any = numba_config
    config.CACHE_DIR = folder
    from sensor import capture
    from sensor.reader import open_input
    from sensor.warm_up import capture as small_capture

    if group == "decoders":
        for collapse in (True, False):
            for _ in open_input(io.BytesIO(small_capture()), name="warm-up", collapse=collapse).tables():
                pass
    else:
        capture.compile_kernels(group)
    (Path(folder) / f"{group}.done").touch()
