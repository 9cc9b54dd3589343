"""Names of public rules to our names, by logsource.

The mappings are pySigma processing pipelines (``correlate/pipelines/*.yml``), so that ``sigma convert`` can use them
too; of that format, ``field_name_mapping`` (one to one) under ``logsource`` conditions is read here, which saves the
import of pySigma's pipeline machinery. A test holds that pySigma makes the same of the files.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from sigma.rule import SigmaDetection, SigmaDetectionItem, SigmaRule
from sigma.types import SigmaFieldReference

from event import yaml_text

LogSource = tuple[str | None, str | None, str | None]
"""product, category, service."""

PIPELINES = Path(__file__).parent / "pipelines"


@lru_cache(1)
def _items() -> tuple[tuple[dict[str, str], dict[str, str]], ...]:
    """(logsource condition, mapping) of every item of every pipeline, by priority."""
    found: list[tuple[int, dict[str, str], dict[str, str]]] = []
    for path in sorted(PIPELINES.glob("*.yml")):
        data = yaml_text.load(path.read_text("utf-8"))
        for item in data["transformations"]:
            if item["type"] != "field_name_mapping":
                raise ValueError(f"{path.name}: only field_name_mapping is read, not {item['type']}")
            for condition in item["rule_conditions"]:
                wanted = {key: str(condition[key]) for key in ("product", "category", "service") if key in condition}
                found.append((data["priority"], wanted, item["mapping"]))
    found.sort(key=lambda one: one[0])
    return tuple((wanted, mapping) for _, wanted, mapping in found)


@lru_cache(1024)
def _mapping(logsource: LogSource) -> dict[str, str]:
    have = dict(zip(("product", "category", "service"), logsource, strict=True))
    merged: dict[str, str] = {}
    for wanted, mapping in _items():
        if all(have[key] == value for key, value in wanted.items()):
            for name, ours in mapping.items():
                merged.setdefault(name, ours)
    return merged


def mapping_of(logsource: LogSource) -> Mapping[str, str]:
    """Field names of rules of this logsource that are called otherwise here."""
    return _mapping(logsource)


def map_fields(rule: SigmaRule, logsource: LogSource) -> None:
    """Rename the fields of a rule in place."""
    names = _mapping(logsource)
    if not names:
        return
    for detection in rule.detection.detections.values():
        _rename(detection, names)
    rule.fields = [names.get(name, name) for name in rule.fields or ()]


def _rename(detection: SigmaDetection, names: Mapping[str, str]) -> None:
    for item in detection.detection_items:
        if isinstance(item, SigmaDetectionItem):
            if item.field is not None:
                item.field = names.get(item.field, item.field)
            for value in item.value:
                _rename_reference(value, names)
        else:
            _rename(item, names)


def _rename_reference(value: Any, names: Mapping[str, str]) -> None:
    if isinstance(value, SigmaFieldReference):
        value.field = names.get(value.field, value.field)
