"""Compiled rule sets on disk: one JSON file, named by the hash of what went into it."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson

from correlate.ir import Correlation, Meta, Rule, RuleProblem, RuleSet
from correlate.logsources import Route

_KEEP = 8  # files of earlier rule sets that stay


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
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=folder, prefix=".rules-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(orjson.dumps(asdict(ruleset)))
            Path(name).replace(folder / f"rules-{key}.json")
        except OSError:
            Path(name).unlink(missing_ok=True)
            raise
        kept = sorted(folder.glob("rules-*.json"), key=lambda path: path.stat().st_mtime, reverse=True)
        for old in kept[_KEEP:]:
            old.unlink(missing_ok=True)


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
