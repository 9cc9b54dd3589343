"""Makes correlations and hits for the tests of correlations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from correlate.hits import Hit, frozen
from correlate.ir import Correlation
from correlate.parse import parse_documents

SECOND = 1_000_000_000
NAMES = "abcd"
IDS = [f"00000000-0000-4000-8000-00000000000{name}" for name in NAMES]


def documents(kind: str, rules: int = 1, **body: Any) -> list[dict[str, Any]]:
    """A correlation of the first rules a, b, c, d, and these rules, as YAML documents."""
    plain = [
        {
            "title": name,
            "name": name,
            "id": IDS[number],
            "logsource": {"product": "ics"},
            "detection": {"sel": {"role": number}, "condition": "sel"},
        }
        for number, name in enumerate(NAMES[: max(rules, 3)])
    ]
    own = {
        "title": "correlation",
        "id": "00000000-0000-4000-8000-0000000000ff",
        "correlation": {
            "type": kind,
            "rules": list(NAMES)[:rules],
            "group-by": ["source.ip"],
            "timespan": "10s",
            **body,
        },
    }
    return [*plain, own]


def correlation(kind: str, rules: int = 1, **body: Any) -> Correlation:
    """A correlation through YAML, as from a file."""
    text = yaml.safe_dump_all(documents(kind, rules, **body)).encode()
    ruleset = parse_documents([Path("c.yml")], [text], {})
    errors = [str(problem) for problem in ruleset.problems if problem.severity == "error"]
    assert errors == []
    return ruleset.correlations[0]


def problems(kind: str, rules: int = 1, **body: Any) -> list[str]:
    """What is wrong with a correlation."""
    text = yaml.safe_dump_all(documents(kind, rules, **body)).encode()
    ruleset = parse_documents([Path("c.yml")], [text], {})
    return [problem.message for problem in ruleset.problems if problem.severity == "error"]


def hit(seconds: float, *, role: int = 0, group: Any = "g", value: Any = None, weight: int = 1, name: str = "") -> Hit:
    """A hit at a time in seconds."""
    time = round(seconds * SECOND)
    ids = (name or f"{time}-{role}-{value}",)
    return Hit(time, role, ids, weight, weight, (group,), (frozen(value),), "s", "d", "modbus", None)
