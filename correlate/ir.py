"""Rules in compiled form: conditions over atoms, plain data that JSON can hold.

A condition is a nested list:

    ["and", [node, ...]]   ["or", [node, ...]]   ["not", node]   ["atom", field, op, payload]

``field`` is None for a keyword: it looks for a piece of any text of the event, or, being a number, also for an equal
number (``correlate.match.NOT_SEARCHED`` lists what is no content). Operators of atoms:

| op | payload | holds if |
|---|---|---|
| eq, contains, startswith, endswith | folded text | the folded text of the value does so (``correlate.fold``) |
| eqc, containsc, startswithc, endswithc | text | the text of the value does so, case counts |
| glob, globc | list of (folded) texts, 0 for ``*`` and 1 for ``?`` | the whole text fits |
| re | [pattern, flags out of "ims"] | the pattern is found in the text |
| num | number | a number is equal; a text is this number's text |
| bool | boolean | a boolean is equal; a text is true or false |
| cmp | [gt, gte, lt or lte, number] | the number, or the number that the text spells, compares so |
| part | [minute, hour, day, week, month or year, eq or a comparison, number] | that part of the UTC time does so |
| cidr | network | the text is an address in it |
| null | None | there is no value |
| fieldref | [other field, mode] | the texts of both fields compare so; mode is eq, startswith, endswith or contains |

**Values.** A list has every element that is not null as a value; an atom holds if it holds for any of them, and
``not`` negates that (no element does). An absent field, a null and an empty list have no value: only ``null`` holds.
The text of a whole double is that of the integer (``5.0`` is ``5``), of a boolean ``true`` or ``false``, of a time
ISO 8601 in UTC with nine digits of a second and ``Z``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from correlate.logsources import Route

Node = list[Any]
Level = Literal["informational", "low", "medium", "high", "critical"]

LEVELS: tuple[Level, ...] = ("informational", "low", "medium", "high", "critical")
"""Sigma levels, lowest first."""

SEVERITY: dict[str, int] = {"informational": 10, "low": 25, "medium": 50, "high": 75, "critical": 95}
"""``event.severity`` by Sigma level."""

CORRELATION_TYPES = (
    "event_count",
    "value_count",
    "temporal",
    "temporal_ordered",
    "value_sum",
    "value_avg",
    "value_percentile",
    "value_median",
    "absence",
)
"""Types of the Sigma correlation specification 2.1, value_median of pySigma, and absence, which is ours."""


@dataclass(frozen=True, slots=True)
class RuleProblem:
    """Something wrong with a rule.

    Attributes:
        severity: ``error``: the rule is not used. ``warning``: it is used, and may not do what its author meant.
        rule_id: Id of the rule, or empty where none could be read.
        title: Title of the rule, or empty.
        path: The file.
        line: Line in the file, from 1.
        message: What is wrong, one sentence.
        known: Values that would be allowed.
    """

    severity: Literal["error", "warning"]
    rule_id: str
    title: str
    path: str
    line: int
    message: str
    known: tuple[str, ...] = ()

    def __str__(self) -> str:
        known = f"; known: {', '.join(self.known)}" if self.known else ""
        name = f" [{self.title or self.rule_id}]" if self.title or self.rule_id else ""
        return f"{self.path}:{self.line}: {self.severity}: {self.message}{known}{name}"


@dataclass(frozen=True, slots=True)
class Meta:
    """What a rule or a correlation says about itself; both have it.

    Attributes:
        id: UUID as text.
        name: Name that correlations may use instead of the id.
        alerts: Whether a match becomes an alert of its own.
        title_zh: Chinese title, from the attribute ``title_zh`` that our rules add.
        description_zh: Chinese description, likewise.
    """

    id: str
    title: str
    name: str | None
    level: Level
    path: str
    line: int
    status: str | None = None
    description: str | None = None
    author: tuple[str, ...] = ()
    license: str | None = None
    references: tuple[str, ...] = ()
    techniques: tuple[str, ...] = ()
    tactics: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    false_positives: tuple[str, ...] = ()
    alerts: bool = True
    title_zh: str | None = None
    description_zh: str | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """A plain rule.

    Attributes:
        route: Datasets it looks at; empty if we have none for its logsource.
        logsource: product, category and service, as written.
        condition: The condition, see the module; None if ``error`` says why it cannot be evaluated.
        fields: Fields that the condition or the rule's list ``fields`` names, in our names.
        error: Why the rule is not evaluated.
    """

    meta: Meta
    route: Route
    logsource: tuple[str | None, str | None, str | None]
    condition: Node | None
    fields: tuple[str, ...] = ()
    error: str | None = None

    @property
    def id(self) -> str:
        """UUID as text."""
        return self.meta.id


@dataclass(frozen=True, slots=True)
class Correlation:
    """A correlation rule.

    Attributes:
        type: One of ``CORRELATION_TYPES``.
        rules: Ids of the rules or correlations that feed it, in order.
        group_by: Field names or aliases.
        aliases: Alias to (rule id to field).
        timespan_ns: Length of the window, ends included.
        conditions: (operator, number) pairs that must all hold; empty for an extended condition.
        extended: Boolean expression over indexes into ``rules`` for temporal types:
            ``["and", [..]]``, ``["or", [..]]``, ``["not", x]``, ``["rule", index]``.
        value_fields: Fields that value types look at.
        percentile: 0 to 100, for value_percentile.
        error: Why the correlation is not evaluated.
    """

    meta: Meta
    type: str
    rules: tuple[str, ...]
    group_by: tuple[str, ...]
    aliases: dict[str, dict[str, str]]
    timespan_ns: int
    conditions: tuple[tuple[str, float], ...]
    extended: Node | None = None
    value_fields: tuple[str, ...] = ()
    percentile: float | None = None
    error: str | None = None

    @property
    def id(self) -> str:
        """UUID as text."""
        return self.meta.id

    def field_of(self, name: str, rule_id: str) -> str:
        """The field that stands for a group-by name in the events of one rule."""
        return self.aliases.get(name, {}).get(rule_id, name)


@dataclass(frozen=True, slots=True)
class RuleSet:
    """Checked and compiled rules.

    Attributes:
        rules: Plain rules, those that cannot be evaluated included (``error`` is set).
        correlations: Correlations, every one after those that feed it.
        problems: Everything that was found wrong, by file and line.
        kept_in: Folder that keeps what is compiled out of the rules; None keeps nothing.
    """

    rules: tuple[Rule, ...] = ()
    correlations: tuple[Correlation, ...] = ()
    problems: tuple[RuleProblem, ...] = field(default=())
    kept_in: Path | None = field(default=None, compare=False)

    def find(self, rule_id: str) -> Rule | Correlation | None:
        """The rule or correlation with this id or name."""
        return next((one for one in self.all() if rule_id in (one.meta.id, one.meta.name)), None)

    def all(self) -> Iterator[Rule | Correlation]:
        """Rules, then correlations."""
        yield from self.rules
        yield from self.correlations


def atoms_of(node: Node) -> Iterator[tuple[str | None, str, Any]]:
    """Yield field, operator and payload of every atom of a condition."""
    kind = node[0]
    if kind == "atom":
        yield node[1], node[2], node[3]
    elif kind == "not":
        yield from atoms_of(node[1])
    else:
        for child in node[1]:
            yield from atoms_of(child)
