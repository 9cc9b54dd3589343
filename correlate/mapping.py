"""Names of public rules to our names, by logsource.

The mappings are pySigma processing pipelines (``correlate/pipelines/*.yml``), so that ``sigma convert`` can use them
too; of that format, ``field_name_mapping`` (one to one) and ``field_name_prefix`` (for the names that the items before
did not rename) under ``logsource`` conditions are read here, which saves the import of pySigma's pipeline machinery. A
test holds that pySigma makes the same of the files. One thing more is done here: where names get a prefix, those of
our catalogue keep theirs, so that a rule of your own may say ``host.name``.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from correlate.logsources import LogSource
from event import yaml_text
from event.fields import FIELDS

PIPELINES = Path(__file__).parent / "pipelines"

_KINDS = ("field_name_mapping", "field_name_prefix")


class Names(dict[str, str]):
    """Names of a logsource to ours; with a prefix, every name that the catalogue does not declare is one of them."""

    prefix: str | None = None

    def __contains__(self, name: object) -> bool:
        if dict.__contains__(self, name):
            return True
        return self.prefix is not None and isinstance(name, str) and not dict.__contains__(FIELDS, name)

    def __missing__(self, name: str) -> str:
        if name not in self:
            raise KeyError(name)
        return name if name.startswith(str(self.prefix)) else f"{self.prefix}{name}"

    def get(self, name: str, default: Any = None) -> Any:
        """Our name, or ``default``."""
        return self[name] if dict.__contains__(self, name) or name in self else default


@lru_cache(1)
def _items() -> tuple[tuple[dict[str, str], dict[str, str] | str], ...]:
    """(logsource condition, mapping or prefix) of every item of every pipeline, by priority."""
    found: list[tuple[int, dict[str, str], dict[str, str] | str]] = []
    for path in sorted(PIPELINES.glob("*.yml")):
        data = yaml_text.load(path.read_text("utf-8"))
        for item in data["transformations"]:
            if item["type"] not in _KINDS:
                raise ValueError(f"{path.name}: {' and '.join(_KINDS)} are read, not {item['type']}")
            for condition in item["rule_conditions"]:
                wanted = {key: str(condition[key]) for key in ("product", "category", "service") if key in condition}
                found.append((data["priority"], wanted, item.get("mapping") or item["prefix"]))
    found.sort(key=lambda one: one[0])
    return tuple((wanted, mapping) for _, wanted, mapping in found)


@lru_cache(1024)
def _mapping(logsource: LogSource) -> Names:
    have = dict(zip(("product", "category", "service"), logsource, strict=True))
    merged = Names()
    for wanted, mapping in _items():
        if merged.prefix is not None:
            break  # no name is left that another item could know
        if all(have[key] == value for key, value in wanted.items()):
            if isinstance(mapping, str):
                merged.prefix = mapping
                continue
            for name, ours in mapping.items():
                merged.setdefault(name, ours)
    return merged


def mapping_of(logsource: LogSource) -> Names:
    """Field names of rules of this logsource that are called otherwise here."""
    return _mapping(logsource)


__all__ = ["PIPELINES", "LogSource", "Names", "mapping_of"]
