"""Compiled rule sets on disk: JSON and Hyperscan's databases, each file named by the hash of what went into it.

Databases are only read from a folder, and a file, that belong to us and that nobody else can write to: to Hyperscan
they are machine code in all but name. Whatever does not fit is made anew.
"""

from __future__ import annotations

import gc
import hashlib
import os
import platform
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import orjson

from correlate.ir import Correlation, Meta, Rule, RuleProblem, RuleSet
from correlate.logsources import Route

_KEEP = 8  # files of earlier rule sets that stay
_KEEP_PASSES = 64  # databases, one file for each dataset with many literals
_PASSES = b"7"  # form of these files, and of what signatures and keywords put into them
_DIGEST = 32


@contextmanager
def uncollected() -> Iterator[None]:
    """No garbage collection meanwhile: hundreds of thousands of lists are made, none of them is garbage.

    Nor will they be looked at later on: walking through them again and again took a third of the time of a detection.
    """
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was:
            gc.enable()


def read(folder: Path, key: str) -> RuleSet | None:
    """The rule set with this key, or None if there is none that can be read."""
    try:
        data = orjson.loads((folder / f"rules-{key}.json").read_bytes())
        return RuleSet(
            rules=tuple(_rule(one) for one in data["rules"]),
            correlations=tuple(_correlation(one) for one in data["correlations"]),
            problems=tuple(RuleProblem(**{**one, "known": tuple(one["known"])}) for one in data["problems"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write(folder: Path, key: str, ruleset: RuleSet) -> None:
    """Keep a rule set; a folder that cannot be written keeps none, for a cache is a convenience."""
    data = asdict(ruleset)
    del data["kept_in"]
    _keep(folder, f"rules-{key}.json", orjson.dumps(data), _KEEP)


def _keep(folder: Path, name: str, data: bytes, most: int) -> None:
    """Write a file whole or not at all; of its kind the latest stay."""
    kind, _, ending = name.partition("-")
    with suppress(OSError):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=folder, prefix=f".{kind}-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            Path(temporary).replace(folder / name)
        except OSError:
            Path(temporary).unlink(missing_ok=True)
            raise
        kept = sorted(
            folder.glob(f"{kind}-*{Path(ending).suffix}"), key=lambda path: path.stat().st_mtime, reverse=True
        )
        for old in kept[most:]:
            old.unlink(missing_ok=True)


def passes_key(*parts: bytes) -> str | None:
    """Name of the databases for these atoms, on this machine; None without Hyperscan."""
    try:
        library = version("hyperscan")
    except PackageNotFoundError:
        return None
    digest = hashlib.blake2b(digest_size=16)
    for part in (_PASSES, library.encode(), platform.machine().encode(), _processor(), *parts):
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()


def _processor() -> bytes:
    """What databases are compiled for."""
    with suppress(OSError), Path("/proc/cpuinfo").open("rb") as file:
        return next((line for line in file if line.startswith(b"flags")), b"")
    return platform.processor().encode()


def read_passes(folder: Path, key: str) -> dict[str, bytes] | None:
    """Databases by field, or None if there are none that can be trusted."""
    path = folder / f"passes-{key}.bin"
    try:
        if not (_ours(folder) and _ours(path)):
            return None
        data = path.read_bytes()
        if hashlib.blake2b(data[_DIGEST:], digest_size=_DIGEST).digest() != data[:_DIGEST]:
            return None
        start = _DIGEST + 8 + int.from_bytes(data[_DIGEST : _DIGEST + 8], "big")
        found: dict[str, bytes] = {}
        for field, size in orjson.loads(data[_DIGEST + 8 : start]):
            found[field] = data[start : start + size]
            start += size
    except (OSError, ValueError, TypeError):
        return None
    return found


def write_passes(folder: Path, key: str, passes: Mapping[str, bytes]) -> None:
    """Keep databases by field."""
    head = orjson.dumps([[field, len(blob)] for field, blob in passes.items()])
    body = len(head).to_bytes(8, "big") + head + b"".join(passes.values())
    _keep(folder, f"passes-{key}.bin", hashlib.blake2b(body, digest_size=_DIGEST).digest() + body, _KEEP_PASSES)


def _ours(path: Path) -> bool:
    """Whether a file or folder, not a link, belongs to us and only we can write to it."""
    found = path.lstat()
    mine = not hasattr(os, "geteuid") or found.st_uid == os.geteuid()
    return mine and not stat.S_ISLNK(found.st_mode) and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _meta(data: dict[str, Any]) -> Meta:
    values: dict[str, Any] = {name: tuple(one) if isinstance(one, list) else one for name, one in data.items()}
    return Meta(**values)


def _rule(data: dict[str, Any]) -> Rule:
    return Rule(
        meta=_meta(data["meta"]),
        route=Route(tuple(data["route"]["names"]), tuple(data["route"]["prefixes"])),
        logsource=(data["logsource"][0], data["logsource"][1], data["logsource"][2]),
        condition=data["condition"],
        fields=tuple(data["fields"]),
        error=data["error"],
    )


def _correlation(data: dict[str, Any]) -> Correlation:
    return Correlation(
        **{
            **data,
            "meta": _meta(data["meta"]),
            "rules": tuple(data["rules"]),
            "group_by": tuple(data["group_by"]),
            "conditions": tuple((op, number) for op, number in data["conditions"]),
            "value_fields": tuple(data["value_fields"]),
        }
    )
