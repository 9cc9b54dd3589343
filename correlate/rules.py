"""Loading and checking Sigma rules.

pySigma parses each document; what it finds wrong and what we find wrong is collected with file and line, over all
files, before anything is raised. The result is in our own compiled form (``correlate.ir``).

A rule that cannot be evaluated (a regular expression with look-around, a placeholder without values) is an error
too: nothing is skipped in silence. With ``keep_going`` such rules stay in the set with ``error`` set.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from correlate import cache
from correlate.ir import Correlation, Rule, RuleProblem, RuleSet
from event.errors import RuleError

if TYPE_CHECKING:
    from correlate.compile import Values

_HERE = Path(__file__).parent
_PART = 64 << 10  # bytes of a rule file that are read at once
_SHOWN = 50  # problems that an error message lists; RuleSet.problems has all


def rules_dir() -> Path:
    """Folder of the shipped rules: first the copy in the package, then the checkout's."""
    packaged = _HERE / "_content" / "rules"
    return packaged if packaged.is_dir() else _HERE.parent / "rules"


def load_rules(
    paths: Sequence[Path] | None = None,
    *,
    keep_going: bool = False,
    placeholders: Mapping[str, Sequence[str]] | None = None,
    cache_dir: Path | None = None,
) -> RuleSet:
    """Load rules from files and folders (``*.yml`` and ``*.yaml``, at any depth).

    Args:
        paths: Files and folders; None means the shipped rules.
        keep_going: Return what can be used, with all problems, instead of raising.
        placeholders: Values of ``expand`` placeholders by name.
        cache_dir: Folder that keeps compiled rule sets by the hash of all that went into them; None keeps none.
            A file there that is damaged or not readable is ignored.

    Raises:
        RuleError: A path does not exist, or, without ``keep_going``, a rule has an error. The message lists the
            errors with file and line.
    """
    files = _files([rules_dir()] if paths is None else paths)
    texts = [_read(path) for path in files]
    key = _key(files, texts, placeholders or {}) if cache_dir else ""
    with cache.uncollected():
        ruleset = cache.read(cache_dir, key) if cache_dir else None
    if ruleset is None:
        from correlate.parse import parse_documents  # pySigma takes 0.2 s to import: not if the cache has it

        ruleset = parse_documents(list(map(Path, files)), texts, placeholders or {})
        if cache_dir:
            cache.write(cache_dir, key, ruleset)
    ruleset = replace(ruleset, kept_in=cache_dir)
    errors = [problem for problem in ruleset.problems if problem.severity == "error"]
    if errors and not keep_going:
        raise _error(errors)
    return ruleset


def _error(errors: Sequence[RuleProblem]) -> RuleError:
    lines = [str(problem) for problem in errors[:_SHOWN]]
    if len(errors) > _SHOWN:
        lines.append(f"and {len(errors) - _SHOWN} more")
    count = f"{len(errors)} errors in Sigma rules" if len(errors) > 1 else "an error in a Sigma rule"
    return RuleError(count + "\n" + "\n".join(lines), hint="jianmen rules check")


def _files(paths: Iterable[Path]) -> list[str]:
    """Rule files; as texts, for to make a path object of each of thousands takes longer than to read them."""
    files: list[str] = []
    for path in paths:
        if path.is_dir():
            files.extend(_below(path))
        elif path.is_file():
            files.append(str(path))
        else:
            raise RuleError("no such file or folder of rules", where=str(path))
    return list(dict.fromkeys(files))


def _below(folder: Path) -> list[str]:
    """Rule files at any depth, in the order of their paths."""
    found = [
        os.path.join(place, name)  # noqa: PTH118 - texts, see ``_files``
        for place, _, names in os.walk(folder)
        for name in names
        if name.endswith((".yml", ".yaml"))
    ]
    found.sort(key=lambda one: one.split(os.sep))  # noqa: PTH206 - texts, see ``_files``
    return [one for one in found if os.path.isfile(one)]  # noqa: PTH113 - texts, see ``_files``


def _read(path: str) -> bytes:
    try:
        file = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))  # without an object for each file
        try:
            parts = [os.read(file, _PART)]
            while parts[-1]:
                parts.append(os.read(file, _PART))
        finally:
            os.close(file)
    except OSError as error:
        raise RuleError(f"cannot read a rule: {error.strerror or error}", where=path) from error
    return b"".join(parts)


def _key(files: Sequence[str], texts: Sequence[bytes], placeholders: Values) -> str:
    """Hash of the rules, our own code and pipelines, and the parser's version."""
    digest = hashlib.blake2b(digest_size=16)

    def add(*parts: bytes) -> None:
        for part in parts:
            digest.update(len(part).to_bytes(8, "big") + part)

    add(version("pysigma").encode())
    add(b"" if find_spec("hyperscan") is None else b"hyperscan")  # it takes patterns that are errors without it
    for path in (*sorted(_HERE.glob("*.py")), *sorted((_HERE / "pipelines").glob("*.yml"))):
        add(path.name.encode(), path.read_bytes())
    for path in sorted((_HERE.parent / "event" / "fields").glob("*.py")):
        add(path.read_bytes())
    for name in sorted(placeholders):
        add(name.encode(), *(value.encode() for value in placeholders[name]))
    for file, text in zip(files, texts, strict=True):
        add(os.fsencode(file), text)
    return digest.hexdigest()


__all__ = ["Correlation", "Rule", "RuleProblem", "RuleSet", "load_rules", "rules_dir"]
