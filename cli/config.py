"""Settings and their order: flag, environment (``JIANMEN_*``), site file, default. Read once, passed down."""

from __future__ import annotations

import os
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from cli.text import LANG
from event.errors import ConfigError
from event.site import Site

SITE_FILE = "jianmen.toml"


def state_home() -> Path:
    """Where the program keeps what it can make again: compiled kernels and rule plans."""
    base = os.environ.get("JIANMEN_STATE") or os.environ.get("XDG_STATE_HOME")
    root = Path(base) if base else Path.home() / ".local" / "state"
    return root if os.environ.get("JIANMEN_STATE") else root / "jianmen"


def default_store() -> Path:
    """Where events are kept unless somebody says otherwise."""
    base = os.environ.get("XDG_DATA_HOME")
    root = Path(base) if base else Path.home() / ".local" / "share"
    return root / "jianmen" / "store"


@dataclass(frozen=True, slots=True)
class Settings:
    """What a command needs to know about its surroundings.

    Attributes:
        site: Facts of the site file, or an empty site.
        site_path: The site file that was read.
        store: Folder of the embedded store.
        language: Language of reports unless a command says otherwise.
        actor: Who is at the keyboard, for the history of incidents.
    """

    site: Site
    site_path: Path | None
    store: Path
    language: Literal["zh", "en"]
    actor: str


def load(config: Path | None, store: Path | None) -> Settings:
    """Read the site file and the environment.

    Args:
        config: ``--config``; else ``JIANMEN_CONFIG``, else ``jianmen.toml`` in the current folder if it exists.
        store: ``--store``; else ``JIANMEN_STORE``, else the site file's ``store``, else the user's data folder.

    Raises:
        ConfigError: The file is missing or wrong; all mistakes at once, each with its line.
    """
    named = config or (Path(os.environ["JIANMEN_CONFIG"]) if os.environ.get("JIANMEN_CONFIG") else None)
    path = named or (Path(SITE_FILE) if Path(SITE_FILE).is_file() else None)
    site = read_site(path) if path else Site()
    folder = store or (Path(os.environ["JIANMEN_STORE"]) if os.environ.get("JIANMEN_STORE") else None)
    if folder is None and site.store and path:
        folder = path.parent / site.store
    actor = os.environ.get("JIANMEN_USER") or os.environ.get("SUDO_USER") or os.environ.get("USER") or "unknown"
    return Settings(site, path, folder or default_store(), site.language or LANG, actor)


def read_site(path: Path) -> Site:
    """Read and check a site file.

    Raises:
        ConfigError: With every mistake, ``file:line: key: what``.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"cannot read the site file: {error.strerror}", where=str(path), hint=f"jianmen init {path}"
        ) from None
    except UnicodeDecodeError as error:
        raise ConfigError("the site file is not UTF-8", where=f"{path}, byte {error.start}") from None
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"the site file is not TOML: {error}", where=str(path)) from None
    try:
        return Site.model_validate(data)
    except ValidationError as error:
        lines = [
            f"{path}:{_line_of(text, problem['loc'])}: {'.'.join(map(str, problem['loc']))}: {problem['msg']}"
            for problem in error.errors()
        ]
        raise ConfigError(f"{len(lines)} mistake(s) in the site file", where=str(path), hint="\n".join(lines)) from None


def _line_of(text: str, loc: tuple[int | str, ...]) -> int:
    """The line, from 1, that a pydantic location points to: its table header, then its key."""
    lines = text.splitlines()
    start = 0
    if loc and isinstance(loc[0], str):
        index = loc[1] if len(loc) > 1 and isinstance(loc[1], int) else 0
        headers = [i for i, line in enumerate(lines) if re.match(rf"\s*\[+\s*{re.escape(loc[0])}\s*\]+", line)]
        if headers:
            start = headers[min(index, len(headers) - 1)]
    for key in reversed([part for part in loc if isinstance(part, str)]):
        for i in range(start, len(lines)):
            if re.match(rf"\s*{re.escape(key)}\s*=", lines[i]):
                return i + 1
    return start + 1
