"""Taking over a checkout of public rules (SigmaHQ) as a whole.

The rules are copied into a folder of their own; the old folder is replaced at once, by a link that is renamed, so that
nobody sees half of it. Rules that cannot be evaluated are left out and named, with their reason. The licence of the
checkout goes with every rule, and from there into every alert: the Detection Rule License 1.1 wants the author named
with each match.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

from correlate.ir import RuleSet
from event.errors import RuleError

NAME = "sigma"
"""Link in the home folder to the rules that are in force."""
MANIFEST = "manifest.json"
_VERSION = 1
_NO_RULES = frozenset({"regression_data", "tests", "deprecated", "unsupported", "documentation"})
"""Folders of a checkout that hold no rules in force."""
_FOLDERS = re.compile(r"rules(?:-[a-z-]+)?")
_LICENCES = ("LICENSE", "LICENSE.Detection.Rules.md", "LICENSE.md", "LICENSE.txt", "COPYING")
_DRL = "DRL-1.1"
_MOST_FILES = 100_000
_MOST_BYTES = 1 << 20  # of one rule file


@dataclass(frozen=True, slots=True)
class Change:
    """A rule that is new, changed or removed, or that was left out.

    Attributes:
        kind: new, changed, removed or refused.
        reason: Why it was refused, with file and line.
    """

    kind: str
    id: str
    title: str
    path: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Update:
    """What an update did or would do.

    Attributes:
        source: The checkout.
        commit: Its commit, where it is a git checkout that says so.
        license: Licence that its rules carry unless they name another.
        rules: Rules that are in force now.
        changes: What is different from before.
        applied: False for a look ahead.
    """

    source: str
    commit: str | None
    license: str | None
    rules: int
    changes: tuple[Change, ...]
    applied: bool

    def count(self, kind: str) -> int:
        """Changes of a kind."""
        return sum(one.kind == kind for one in self.changes)


def installed(home: Path) -> Path | None:
    """Folder of the rules that an update installed; None if there are none."""
    folder = home / NAME / "rules"
    return folder if folder.is_dir() else None


def manifest(home: Path) -> dict[str, Any]:
    """What the last update wrote down; empty if there was none, or it cannot be read."""
    try:
        data = orjson.loads((home / NAME / MANIFEST).read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return {}
    return data if isinstance(data, dict) and data.get("version") == _VERSION else {}


def refused(home: Path) -> list[Change]:
    """Rules of the last update that could not be taken."""
    return [Change(**one) for one in manifest(home).get("refused", ())]


def licensed(ruleset: RuleSet, home: Path) -> RuleSet:
    """Rules of the installed folder that name no licence get that of their checkout."""
    folder = installed(home)
    licence = manifest(home).get("license")
    if folder is None or not licence:
        return ruleset
    begin = str(folder) + os.sep
    return replace(
        ruleset,
        rules=tuple(
            replace(one, meta=replace(one.meta, license=licence))
            if one.meta.license is None and one.meta.path.startswith(begin)
            else one
            for one in ruleset.rules
        ),
        correlations=tuple(
            replace(one, meta=replace(one.meta, license=licence))
            if one.meta.license is None and one.meta.path.startswith(begin)
            else one
            for one in ruleset.correlations
        ),
    )


def update(
    source: Path,
    home: Path,
    *,
    load: Callable[[Sequence[Path]], RuleSet],
    now: datetime,
    apply: bool = True,
) -> Update:
    """Install the rules of a checkout.

    Args:
        source: The checkout, or a folder of rules.
        home: Folder that holds ``sigma``, the link to what is in force.
        load: Loads rules from paths and goes on where one is wrong.
        now: Written down.
        apply: False: only say what would change.

    Raises:
        RuleError: It is no folder, holds no rules, or the home folder cannot be written.
    """
    if not source.is_dir():
        raise RuleError("no such folder", where=str(source), hint="name a checkout of SigmaHQ/sigma")
    folders = _folders(source)
    files = [path for folder in folders for path in _rule_files(folder)]
    if not files:
        raise RuleError(
            "no Sigma rules there", where=str(source), hint="expected rules/**/*.yml, as SigmaHQ/sigma has it"
        )
    if len(files) > _MOST_FILES:
        raise RuleError(f"more than {_MOST_FILES} rule files", where=str(source))
    ruleset = load(files)
    wrong: dict[str, list[str]] = {}
    for problem in ruleset.problems:
        if problem.severity == "error":
            wrong.setdefault(problem.path, []).append(f"{problem.line}: {problem.message}")
    titles = {one.meta.path: (one.id, one.meta.title) for one in ruleset.all()}
    ours: dict[str, dict[str, str]] = {}
    kept: list[Path] = []
    turned_down: list[Change] = []
    for path in files:
        short = path.relative_to(source).as_posix()
        reasons = wrong.get(str(path))
        rule_id, title = titles.get(str(path), ("", path.stem))
        if reasons is None and str(path) not in titles:
            reasons = ["1: holds no rule"]
        if reasons is not None:
            turned_down.append(Change("refused", rule_id, title, short, "; ".join(reasons)))
            continue
        kept.append(path)
        ours[rule_id] = {"title": title, "path": short, "hash": _hash(path)}
    changes = [*_compare(manifest(home).get("rules", {}), ours), *turned_down]
    made = Update(str(source), _commit(source), _licence(source), len(ours), tuple(changes), apply)
    if apply:
        _install(home, source, kept, made, ours, turned_down, now)
    return made


def _folders(source: Path) -> list[Path]:
    """``rules`` and its sisters (``rules-emerging-threats`` ..); a folder without them is one of rules itself."""
    found = sorted(one for one in source.iterdir() if one.is_dir() and _FOLDERS.fullmatch(one.name))
    return found or [source]


def _rule_files(folder: Path) -> list[Path]:
    """Rule files; links that lead elsewhere are not followed."""
    return sorted(
        path
        for path in folder.rglob("*.y*ml")
        if path.suffix in (".yml", ".yaml")
        and path.is_file()
        and not path.is_symlink()
        and not any(part.startswith(".") or part in _NO_RULES for part in path.relative_to(folder).parts[:-1])
        and path.stat().st_size <= _MOST_BYTES
    )


def _hash(path: Path) -> str:
    return hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()


def _compare(before: dict[str, dict[str, str]], after: dict[str, dict[str, str]]) -> list[Change]:
    changes: list[Change] = []
    for rule_id, one in after.items():
        old = before.get(rule_id)
        if old is None or old["hash"] != one["hash"]:
            changes.append(Change("new" if old is None else "changed", rule_id, one["title"], one["path"]))
    changes += [
        Change("removed", rule_id, old["title"], old["path"]) for rule_id, old in before.items() if rule_id not in after
    ]
    return sorted(changes, key=lambda one: (one.kind, one.path))


def _licence_files(source: Path) -> list[Path]:
    return [path for folder in (source, source.parent) for name in _LICENCES if (path := folder / name).is_file()]


def _licence(source: Path) -> str | None:
    """The Detection Rule License where a file of that name says so, else the file's first line."""
    for path in _licence_files(source):
        try:
            text = path.read_text("utf-8", "replace")[:20_000]
        except OSError:
            continue
        if "Detection Rule License" in text:
            return _DRL
        line = next((one.strip("# ").strip() for one in text.splitlines() if one.strip("# ").strip()), None)
        if line:
            return line[:100]
    return None


def _commit(source: Path) -> str | None:
    """The commit of a git checkout, read from its files."""
    try:
        head = (source / ".git" / "HEAD").read_text().strip()
        if head.startswith("ref: "):
            name = head[5:]
            loose = source / ".git" / name
            if loose.is_file():
                head = loose.read_text().strip()
            else:
                packed = (source / ".git" / "packed-refs").read_text().splitlines()
                head = next((line.split()[0] for line in packed if line.endswith(" " + name)), "")
    except (OSError, UnicodeDecodeError):
        return None
    return head if re.fullmatch(r"[0-9a-f]{40,64}", head) else None


def _install(
    home: Path,
    source: Path,
    files: Sequence[Path],
    made: Update,
    ours: dict[str, dict[str, str]],
    turned_down: Sequence[Change],
    now: datetime,
) -> None:
    """Write a folder beside the old one, then turn the link."""
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        fresh = Path(tempfile.mkdtemp(prefix=f".{NAME}-", dir=home))
        try:
            for path in files:
                target = fresh / "rules" / path.relative_to(source)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)
            for path in _licence_files(source):
                shutil.copyfile(path, fresh / path.name)
            data = {
                "version": _VERSION,
                "source": made.source,
                "commit": made.commit,
                "license": made.license,
                "time": now.isoformat(),
                "rules": ours,
                "refused": [asdict(one) for one in turned_down],
            }
            (fresh / MANIFEST).write_bytes(orjson.dumps(data, option=orjson.OPT_INDENT_2))
            link = home / NAME
            old = link.resolve() if link.is_symlink() else None
            turned = home / f"{fresh.name}.link"
            turned.symlink_to(fresh.name)
            turned.replace(link)
        except OSError:
            shutil.rmtree(fresh, ignore_errors=True)
            raise
        for folder in home.glob(f".{NAME}-*"):  # the one before stays: somebody may be reading it
            if folder.is_dir() and not folder.is_symlink() and folder.resolve() not in (old, fresh.resolve()):
                shutil.rmtree(folder, ignore_errors=True)
    except OSError as error:
        raise RuleError(f"cannot install the rules: {error.strerror or error}", where=str(home)) from error


__all__ = ["Change", "Update", "installed", "licensed", "manifest", "refused", "update"]
