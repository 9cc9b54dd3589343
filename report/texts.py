"""Texts that people read, in both languages, out of ``report/i18n``.

Each file maps a key to ``{zh: ..., en: ...}``. A text may name values in braces; they are put in by
``str.format`` once, so that braces within a value stay what they are.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import yaml

from report.document import Language

FOLDER = Path(__file__).with_name("i18n")


@cache
def _table() -> dict[str, dict[str, str]]:
    table: dict[str, dict[str, str]] = {}
    for path in sorted(FOLDER.glob("*.yml")):
        with path.open("rb") as stream:
            loaded: dict[str, dict[str, str]] = yaml.CSafeLoader(stream).get_single_data()
        table.update(loaded)
    return table


def all_keys() -> frozenset[str]:
    """All keys."""
    return frozenset(_table())


class Texts:
    """The texts of one language.

    ``texts("risk.title")`` gives a text, ``texts("risk.count", n=3)`` fills its values in. An unknown key is a
    bug and raises ``KeyError``.
    """

    def __init__(self, language: Language) -> None:
        self.language: Language = language

    def __call__(self, key: str, **values: Any) -> str:
        """The text of ``key`` with ``values`` put in."""
        text = _table()[key][self.language]
        return text.format(**values) if values else text

    def get(self, key: str) -> str | None:
        """The text of ``key``, or None if there is none."""
        entry = _table().get(key)
        return entry[self.language] if entry else None

    def join(self, items: list[str]) -> str:
        """A list within a sentence."""
        return ("、" if self.language == "zh" else ", ").join(items)

    def sentences(self, *parts: str) -> str:
        """Sentences after each other, with a space where the language wants one."""
        return ("" if self.language == "zh" else " ").join(part for part in parts if part)
