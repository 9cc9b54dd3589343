"""Where numba keeps the compiled kernels, and how to warm them.

The cache is made of pickles, so a folder that others can write to is code execution as our user: it is a folder
of mode 0700 below the user's state directory, never a shared one. numba does not notice a change in another file
than the kernel's own, so the folder's name carries a hash of this room's sources and of the versions.
"""

from __future__ import annotations

import hashlib
import platform
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

_SOURCES = ("*kernel*.py", "decoders/**/*kernel*.py")  # files that hold kernels or their constants


def version_tag() -> str:
    """Twelve hex digits that change whenever a kernel, numba, numpy or Python does."""
    room = Path(__file__).parent
    state = hashlib.blake2b(digest_size=6)
    for name in ("numba", "llvmlite", "numpy"):
        state.update(f"{name}={version(name)};".encode())
    state.update(platform.python_version().encode())
    for pattern in _SOURCES:
        for path in sorted(room.glob(pattern)):
            state.update(path.name.encode())
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


def is_warm(folder: Path) -> bool:
    """Whether ``folder`` holds compiled packet kernels already."""
    return next(folder.rglob("*.nbi"), None) is not None


def warm(folder: Path | None = None) -> bool:
    """Compile, or load, every packet kernel.

    Returns:
        Whether the cache was cold, so that the caller can explain the seconds that passed.
    """
    cold = not is_warm(prepare(folder))
    from sensor.capture import compile_kernels

    compile_kernels()
    return cold
