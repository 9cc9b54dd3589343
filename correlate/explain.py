"""Why a rule matched an event, or why not: which part of its detections holds.

Each item of a detection, and each value of an item, becomes a rule of its own, and the detector evaluates them all
over the one event: what is told is what the engine does, not what a second reading of the rule would do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_OID, uuid5

import polars as pl
import yaml

from correlate.alerts import CUT
from correlate.detect import Detector
from correlate.ir import Node, Rule, RuleSet, atoms_of
from correlate.logsources import Route, gate
from correlate.mapping import mapping_of
from correlate.parse import parse_documents
from event.errors import RuleError

_Asked = tuple[str, int, list[tuple[str, int]]]
"""Key of an item, number of its probe, and its values with theirs."""
MOST_VALUES = 500
"""Values of one item that are looked at one by one."""


@dataclass(slots=True)
class Item:
    """One line of a detection.

    Attributes:
        text: The key as it is written, with its modifiers; ``keywords`` for values without a field.
        field: Our name of its field; None for keywords.
        seen: What the event has there; None if it has nothing.
        holds: Whether the item holds.
        values: Those of its values that hold, as written (all of them are needed where the key says ``all``).
        error: Why it cannot be evaluated.
    """

    text: str
    field: str | None
    seen: str | None
    holds: bool
    values: tuple[str, ...] = ()
    error: str | None = None


@dataclass(slots=True)
class Detection:
    """A named detection; ``alternatives`` are the mappings of its list, or the one mapping that it is."""

    name: str
    holds: bool
    alternatives: list[list[Item]] = field(default_factory=list)


@dataclass(slots=True)
class Explanation:
    """What became of one rule on one event.

    Attributes:
        matched: The rule matches the event.
        dataset: Dataset of the event.
        looked_at: The rule's log source covers the dataset.
        kind_holds: The event is of the kind that the log source asks for (its event code, its record type).
        needs: What the log source asks for, in words.
        condition: Conditions as written.
        detections: Every detection, in the order of the file.
        decided: The items that made the difference.
    """

    rule_id: str
    title: str
    event_id: str
    matched: bool
    dataset: str
    looked_at: bool
    kind_holds: bool
    needs: str
    condition: tuple[str, ...]
    detections: list[Detection]
    decided: tuple[str, ...]
    error: str | None = None


def explain(rule: Rule, event: pl.DataFrame) -> Explanation:
    """Explain a plain rule on one event.

    Args:
        rule: The rule.
        event: A conformed table of one row.

    Raises:
        RuleError: The rule's file cannot be read any more.
    """
    document = _document(rule)
    detection: dict[str, Any] = dict(document.get("detection") or {})
    conditions = detection.pop("condition", [])
    conditions = tuple(str(one) for one in (conditions if isinstance(conditions, list) else [conditions]))
    dataset = str(event["event.dataset"][0])
    _, within = gate(rule.logsource, _asked(rule), rule.condition)
    probes = _Probes(document, dataset, event)
    matched = probes.rule(rule.condition) if rule.condition is not None else None
    kind = probes.rule(within) if within is not None else None
    names = [name for name in detection if name != "timeframe"]
    found: list[tuple[str, int, list[list[_Asked]]]] = []
    for name in names:
        whole = probes.detection(detection[name])
        found.append((name, whole, [_items(probes, one) for one in _alternatives(detection[name])]))
    probes.run()
    names_of = mapping_of(rule.logsource)
    detections = [
        Detection(
            name,
            probes.held(whole),
            [[_item(probes, event, names_of, *parts) for parts in items] for items in alternatives],
        )
        for name, whole, alternatives in found
    ]
    looked_at = rule.route.takes(dataset)
    did = looked_at and probes.held(matched)
    kind_holds = within is None or probes.held(kind)
    return Explanation(
        rule_id=rule.id,
        title=rule.meta.title,
        event_id=str(event["event.id"][0]),
        matched=did,
        dataset=dataset,
        looked_at=looked_at,
        kind_holds=kind_holds,
        needs=_needs(rule, within),
        condition=conditions,
        detections=detections,
        decided=_decided(did, looked_at, kind_holds, detections),
        error=rule.error,
    )


def _document(rule: Rule) -> dict[str, Any]:
    """The rule's document in its file: by id, else by title."""
    try:
        text = Path(rule.meta.path).read_text("utf-8-sig")
        found = [one for one in yaml.load_all(text, Loader=yaml.CSafeLoader) if isinstance(one, dict)]
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise RuleError("cannot read the rule any more", where=rule.meta.path) from error
    for key, value in (("id", rule.id), ("title", rule.meta.title)):
        for one in found:
            if str(one.get(key, "")) == value and "detection" in one:
                return one
    raise RuleError(f"the rule {rule.id} is no longer in its file", where=rule.meta.path)


def _asked(rule: Rule) -> list[str]:
    """Fields that the condition names; those that the log source added have no say in which events are looked at."""
    named: dict[str, None] = {}
    for name, op, payload in atoms_of(rule.condition) if rule.condition is not None else ():
        if name is not None:
            named[name] = None
        if op == "fieldref":
            named[payload[0]] = None
    return [name for name in named if name != "event.dataset"]


def _alternatives(detection: Any) -> list[Any]:
    """A list of mappings is a list of alternatives; anything else is one."""
    if isinstance(detection, list) and any(isinstance(one, dict) for one in detection):
        return list(detection)
    return [detection]


def _items(probes: _Probes, part: Any) -> list[_Asked]:
    made: list[_Asked] = []
    if isinstance(part, dict):
        for key, value in part.items():
            values = value if isinstance(value, list) else [value]
            single = _alone(str(key))
            made.append(
                (
                    str(key),
                    probes.detection({key: value}),
                    [(_word(one), probes.detection({single: one})) for one in values[:MOST_VALUES]],
                )
            )
    else:
        values = part if isinstance(part, list) else [part]
        each = [(_word(one), probes.detection([one])) for one in values[:MOST_VALUES]]
        made.append(("keywords", probes.detection(part), each))
    return made


def _alone(key: str) -> str:
    """``all`` makes no sense on one value, and a key of that alone stands for keywords."""
    name, *modifiers = key.split("|")
    kept = [one for one in modifiers if one != "all"]
    return "|".join([name, *kept]) if name or kept else key


def _word(value: Any) -> str:
    return "null" if value is None else str(value)


def _item(
    probes: _Probes,
    event: pl.DataFrame,
    names: Mapping[str, str],
    text: str,
    whole: int,
    values: Sequence[tuple[str, int]],
) -> Item:
    name = text.split("|")[0]
    column = None if text == "keywords" or not name else names.get(name, name)
    return Item(
        text=text,
        field=column,
        seen=_seen(event, column),
        holds=probes.held(whole),
        values=tuple(word for word, number in values if probes.held(number)),
        error=probes.problem(whole),
    )


def _seen(event: pl.DataFrame, column: str | None) -> str | None:
    if column is None or column not in event.columns:
        return None
    value = event[column][0]
    if value is None:
        return None
    if isinstance(value, pl.Series):
        return ", ".join(map(str, value.to_list()))[:CUT]
    return str(value)[:CUT]


class _Probes:
    """Many small conditions, evaluated by one detector over one event."""

    def __init__(self, document: Mapping[str, Any], dataset: str, event: pl.DataFrame) -> None:
        self._logsource = document.get("logsource")
        self._route = Route((dataset,))
        self._event = event
        self._documents: list[dict[str, Any]] = []
        self._nodes: list[tuple[int, Node]] = []
        self._held: dict[int, bool] = {}
        self._problems: dict[int, str] = {}
        self._count = 0

    def detection(self, part: Any) -> int:
        """Ask whether a detection holds."""
        self._count += 1
        self._documents.append(
            {
                "title": f"part {self._count}",
                "id": _id(self._count),
                "logsource": self._logsource,
                "detection": {"part": part, "condition": "part"},
            }
        )
        return self._count

    def rule(self, node: Node) -> int:
        """Ask whether a compiled condition holds."""
        self._count += 1
        self._nodes.append((self._count, node))
        return self._count

    def run(self) -> None:
        """Evaluate."""
        texts = [yaml.safe_dump(one, allow_unicode=True, sort_keys=False).encode() for one in self._documents]
        paths = [Path(f"{one['id']}.yml") for one in self._documents]
        parsed = parse_documents(paths, texts, {})
        rules = [replace(one, route=self._route, condition=_ungated(one)) for one in parsed.rules]
        if not rules:
            return
        model = rules[0]
        rules += [
            replace(
                model,
                meta=replace(model.meta, id=_id(number), alerts=False),
                condition=node,
                error=None,
                fields=(),
            )
            for number, node in self._nodes
        ]
        rules = [replace(one, meta=replace(one.meta, alerts=False)) for one in rules]
        detector = Detector(RuleSet(rules=tuple(rules)))
        detector.feed(self._event)
        held = {one.id: one.matches > 0 for one in detector.status()}
        wrong = {one.rule_id: one.message for one in parsed.problems if one.severity == "error"}
        for number in range(1, self._count + 1):
            self._held[number] = held.get(_id(number), False)
            if _id(number) in wrong:
                self._problems[number] = wrong[_id(number)]

    def held(self, number: int | None) -> bool:
        """The answer."""
        return number is not None and self._held.get(number, False)

    def problem(self, number: int | None) -> str | None:
        """Why there is none."""
        return self._problems.get(number) if number is not None else None


def _id(number: int) -> str:
    return str(uuid5(NAMESPACE_OID, f"part {number}"))


def _ungated(rule: Rule) -> Node | None:
    """A rule's condition without what its log source added."""
    if rule.condition is None:
        return None
    _, within = gate(rule.logsource, _asked(rule), rule.condition)
    if within is None or rule.condition[0] != "and":
        return rule.condition
    added = len(within[1]) if within[0] == "and" else 1
    rest = rule.condition[1][added:]
    return rest[0] if len(rest) == 1 else ["and", rest]


def _needs(rule: Rule, within: Node | None) -> str:
    source = "/".join(part for part in rule.logsource if part)
    asked: dict[str, list[str]] = {}
    for name, _, payload in atoms_of(within) if within is not None else ():
        asked.setdefault(str(name), []).append(str(payload))
    also = "; ".join(f"{name} {' or '.join(values)}" for name, values in asked.items())
    datasets = ", ".join((*rule.route.names, *(f"{one}*" for one in rule.route.prefixes))) or "no dataset"
    return f"{source}: {datasets}" + (f" with {also}" if also else "")


def _decided(matched: bool, looked_at: bool, kind_holds: bool, detections: Sequence[Detection]) -> tuple[str, ...]:
    """Where it was decided: what holds if the rule matched; what stood in the way if it did not."""
    if not looked_at or not kind_holds:
        return ("log source",)
    told: list[str] = []
    for one in detections:
        for items in one.alternatives:
            if one.holds and all(item.holds for item in items):
                told += [f"{one.name}: {item.text} holds" + _because(item) for item in items]
            elif not one.holds and not matched:
                told += [f"{one.name}: {item.text} does not hold" for item in items if not item.holds]
    return tuple(told)


def _because(item: Item) -> str:
    return f" ({', '.join(item.values[:3])})" if item.values else ""


__all__ = ["Detection", "Explanation", "Item", "explain"]
