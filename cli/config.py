"""Settings and their order: flag, environment (``JIANMEN_*``), site file, default. Read once, passed down."""

from __future__ import annotations

import os
import re
import tomllib
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import ValidationError

from cli.text import LANG
from event.errors import ConfigError
from event.site import Cluster, Site

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
class ClusterPlace:
    """An Elasticsearch cluster and the account to use there.

    Attributes:
        urls: Addresses of nodes.
        prefix: What all indices begin with.
        ca: Authority of the cluster's certificate.
        auth: User and password.
        api_key: API key, in place of ``auth``.
        rejected: Folder for events that the cluster refuses for what they say.
    """

    urls: tuple[str, ...]
    prefix: str = "jianmen"
    ca: Path | None = None
    auth: tuple[str, str] | None = field(default=None, repr=False)
    api_key: str | None = field(default=None, repr=False)
    rejected: Path | None = None

    def __str__(self) -> str:
        return ", ".join(self.urls)


@dataclass(frozen=True, slots=True)
class Settings:
    """What a command needs to know about its surroundings.

    Attributes:
        site: Facts of the site file, or an empty site.
        site_path: The site file that was read.
        store: Folder of the embedded store, or a cluster.
        language: Language of reports unless a command says otherwise.
        actor: Who is at the keyboard, for the history of incidents.
    """

    site: Site
    site_path: Path | None
    store: Path | ClusterPlace
    language: Literal["zh", "en"]
    actor: str


def load(config: Path | None, store: str | Path | None) -> Settings:
    """Read the site file and the environment.

    Args:
        config: ``--config``; else ``JIANMEN_CONFIG``, else ``jianmen.toml`` in the current folder if it exists.
        store: ``--store``; else ``JIANMEN_STORE``, else the site file's ``store``, else the user's data folder. An
            address (``http://``, ``https://``) is a cluster: its account comes from ``JIANMEN_STORE_USER`` and
            ``JIANMEN_STORE_PASSWORD``, or ``JIANMEN_STORE_API_KEY``, else from the site file if that names the
            same address.

    Raises:
        ConfigError: The file is missing or wrong; all mistakes at once, each with its line.
    """
    named = config or (Path(os.environ["JIANMEN_CONFIG"]) if os.environ.get("JIANMEN_CONFIG") else None)
    path = named or (Path(SITE_FILE) if Path(SITE_FILE).is_file() else None)
    site = read_site(path) if path else Site()
    named_store = store if store is not None else os.environ.get("JIANMEN_STORE")
    place: Path | ClusterPlace
    if named_store and is_address(str(named_store)):
        place = _cluster(Cluster(url=str(named_store)), site, path)
    elif named_store:
        place = Path(named_store)
    elif isinstance(site.store, Cluster):
        place = _cluster(site.store, site, path)
    elif site.store and is_address(site.store):
        place = _cluster(Cluster(url=site.store), site, path)
    elif site.store and path:
        place = path.parent / site.store
    else:
        place = default_store()
    actor = os.environ.get("JIANMEN_USER") or os.environ.get("SUDO_USER") or os.environ.get("USER") or "unknown"
    return Settings(site, path, place, site.language or LANG, actor)


def is_address(text: str) -> bool:
    """Whether ``--store`` names a cluster rather than a folder."""
    return text.startswith(("http://", "https://"))


def _cluster(named: Cluster, site: Site, path: Path | None) -> ClusterPlace:
    """Gather what is said about a cluster in the environment and the site file.

    Raises:
        ConfigError: A secret stands in an address, would travel in clear text, or is in a file that cannot be read.
    """
    told = site.store if isinstance(site.store, Cluster) and set(named.urls) <= set(site.store.urls) else named
    base = path.parent if path else Path()
    for url in named.urls:
        if not is_address(url):
            raise ConfigError(f"not the address of a cluster: {url}", hint="such as https://es1.example:9200")
        if urlsplit(url).password or urlsplit(url).username:
            raise ConfigError(
                "credentials do not belong into an address: others can read the command line",
                hint="JIANMEN_STORE_USER and JIANMEN_STORE_PASSWORD, or password_file in [store] of jianmen.toml",
            )
    user = os.environ.get("JIANMEN_STORE_USER") or told.user
    password = os.environ.get("JIANMEN_STORE_PASSWORD") or _secret(base, told.password_file)
    api_key = os.environ.get("JIANMEN_STORE_API_KEY") or (None if user else _secret(base, told.api_key_file))
    if user and not password:
        raise ConfigError(f"no password for {user}", hint="JIANMEN_STORE_PASSWORD, or password_file in [store]")
    clear = [url for url in named.urls if url.startswith("http://") and not _is_loopback(url)]
    if (user or api_key) and clear:
        raise ConfigError(
            "the account would travel in clear text", where=clear[0], hint="use https:// and name the CA file"
        )
    ca = os.environ.get("JIANMEN_STORE_CA") or (str(base / told.ca) if told.ca else None)
    return ClusterPlace(
        urls=named.urls,
        prefix=os.environ.get("JIANMEN_STORE_PREFIX") or told.prefix,
        ca=Path(ca) if ca else None,
        auth=(user, password) if user and password else None,
        api_key=api_key,
        rejected=state_home() / "rejected",
    )


def _secret(base: Path, name: str | None) -> str | None:
    if name is None:
        return None
    try:
        return (base / name).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the secret: {error}", where=str(base / name)) from None


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


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
