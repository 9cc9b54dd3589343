"""Random rules and events for the tests of coarse conditions, nasty where letters, lists and numbers are."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
from hypothesis import strategies as st

from correlate.hits import folded
from correlate.ir import Correlation, Meta, Node, Rule, RuleSet
from correlate.logsources import Route
from event.fields import FIELDS
from event.table import conform

START = datetime(2026, 3, 1, 23, 59, tzinfo=UTC)

TEXTS = ["network.protocol", "user.name", "tags", "error.message", "process.command_line", "winlog.event_data.Image"]
NUMBERS = ["modbus.function_code", "destination.port", "event.count", "iec104.ioa", "iec104.value"]
FIELDS_USED = [*TEXTS, *NUMBERS, "source.ip", "destination.ip", "modbus.matched", "event.start", "no.such.field"]

words = st.one_of(
    st.sampled_from(
        [
            "",
            "k",
            "K",
            "\u212a",
            "kernel",
            "KERNEL",
            "\u212aernel",
            "s",
            "\u017f",
            "İ",
            "i",
            "min",
            "MİN",
            "ß",
            "SS",
            "σς",
            "ΣΣ",
        ]
    ),
    st.sampled_from(
        ["a*b", "a?b", "a.b", 'a"b', "a\\b", "a\nb", "a#b@c", "a&b", "<1-9>", "~a", "[a]", "(a|b)", "a/b", "5", "true"]
    ),
    st.sampled_from(["\U0001f512a", "要求", "é", "É", "e\u0301", "<long>"]),
    st.text(alphabet="aAbBkKsSiI.-1 ", max_size=5),
)
addresses = st.sampled_from(
    [
        "10.0.0.1",
        "10.0.0.2",
        "10.0.1.1",
        "192.168.0.9",
        "fe80::1",
        "::1",
        "::ffff:10.0.0.1",
        "2001:db8::a",
        "2001:DB8::A",
    ]
)
networks = st.sampled_from(
    ["10.0.0.0/24", "10.0.0.0/8", "0.0.0.0/0", "fe80::/10", "::/0", "::ffff:10.0.0.0/104", "10.0.0.1/32"]
)
integers = st.one_of(st.integers(-3, 12), st.sampled_from([2**53 + 1, 2**63 - 1, -(2**63)]))
doubles = st.one_of(st.sampled_from([0.0, -0.0, 0.5, 2.5, 1e300, 5.0, 0.1]), st.integers(-3, 12).map(float))
numbers = st.one_of(integers, doubles, st.sampled_from([2**63, -(2**70), 1e19]))


def _value(name: str) -> st.SearchStrategy[Any]:
    field = FIELDS[name]
    one: st.SearchStrategy[Any] = {
        "keyword": words,
        "text": words,
        "ip": addresses,
        "long": integers,
        "double": doubles,
        "boolean": st.booleans(),
        "date": st.integers(0, 10**6).map(lambda seconds: START + timedelta(seconds=seconds)),
    }[field.kind]
    if name == "event.count":
        one = st.integers(-1, 4)
    return st.lists(st.one_of(one, one, one, st.none()), max_size=3) if field.many else one


rows = st.fixed_dictionaries(
    {"@timestamp": st.integers(0, 400), "event.dataset": st.sampled_from(["modbus", "modbus", "dns"])},
    optional={name: _value(name) for name in FIELDS_USED if name in FIELDS},
)
events = st.lists(rows, min_size=1, max_size=25)


def tables(rows_made: list[dict[str, Any]], origin: str = "aaaa", start: datetime = START) -> list[pl.DataFrame]:
    """Event tables of these rows, one a dataset, from a time on."""
    made = []
    for dataset in sorted({row["event.dataset"] for row in rows_made}):
        own = [row for row in rows_made if row["event.dataset"] == dataset]
        names = list(dict.fromkeys(name for row in own for name in row if name != "@timestamp"))
        frame = pl.DataFrame(
            [
                pl.Series(
                    "@timestamp",
                    [start + timedelta(seconds=row["@timestamp"]) for row in own],
                    pl.Datetime("ns", "UTC"),
                ),
                *(pl.Series(name, [_long(row.get(name)) for row in own], FIELDS[name].dtype) for name in names),
            ]
        ).with_columns(
            pl.Series("event.id", [f"{origin}-{number:06d}-{dataset}" for number in range(len(own))]),
            pl.lit("event").alias("event.kind"),
        )
        made.append(conform(frame))
    return made


SIDES = [f"{side}{case}" for side in ("eq", "contains", "startswith", "endswith") for case in ("", "c")]
OPERATORS = [
    *SIDES,
    "glob",
    "globc",
    "re",
    "num",
    "num",
    "bool",
    "cmp",
    "cmp",
    "part",
    "cidr",
    "null",
    "fieldref",
    "word",
]


def _long(value: Any) -> Any:
    """The value; in place of a mark, a text that is longer than what an index takes."""
    if isinstance(value, list):
        return [_long(one) for one in value]
    return "y" * 9_000 if value == "<long>" else value


@st.composite
def atoms(draw: st.DrawFn) -> Node:
    field = draw(st.sampled_from(FIELDS_USED))
    op = draw(st.sampled_from(OPERATORS))
    text = draw(addresses if field.endswith(".ip") and draw(st.booleans()) else words)
    lowered = text if op.endswith("c") else _folded(text)
    if op in ("glob", "globc"):
        pieces = draw(
            st.lists(
                st.one_of(words.map(lambda one: one if op == "globc" else _folded(one)), st.just(0), st.just(1)),
                min_size=1,
                max_size=4,
            )
        )
        return ["atom", field, op, [piece for piece in pieces if piece != ""] or [0]]
    if op == "re":
        return [
            "atom",
            field,
            "re",
            [draw(st.sampled_from(["a", "^$", "k.*", "[0-9]+"])), draw(st.sampled_from(["", "i"]))],
        ]
    if op == "num":
        return ["atom", field, "num", draw(numbers)]
    if op == "bool":
        return ["atom", field, "bool", draw(st.booleans())]
    if op == "cmp":
        return ["atom", field, "cmp", [draw(st.sampled_from(["gt", "gte", "lt", "lte"])), draw(numbers)]]
    if op == "part":
        return ["atom", field, "part", ["hour", draw(st.sampled_from(["eq", "gte"])), draw(st.integers(0, 23))]]
    if op == "cidr":
        return ["atom", field, "cidr", draw(networks)]
    if op == "null":
        return ["atom", field, "null", None]
    if op == "fieldref":
        other = draw(st.sampled_from(FIELDS_USED))
        return ["atom", field, "fieldref", [other, draw(st.sampled_from(["eq", "contains"]))]]
    if op == "word":
        return ["atom", None, "contains", _folded(draw(words))]
    return ["atom", field, op, lowered]


def _folded(text: str) -> str:
    return str(folded(text))  # the engine's own idea of case


nodes: st.SearchStrategy[Node] = st.recursive(
    atoms(),
    lambda below: st.one_of(
        below.map(lambda node: ["not", node]),
        st.lists(below, min_size=2, max_size=3).map(lambda parts: ["and", parts]),
        st.lists(below, min_size=2, max_size=3).map(lambda parts: ["or", parts]),
    ),
    max_leaves=5,
)


def _meta(number: int, *, alerts: bool) -> Meta:
    return Meta(f"00000000-0000-4000-8000-{number:012d}", f"rule {number}", None, "medium", "r.yml", 1, alerts=alerts)


def rule(number: int, condition: Node, *, alerts: bool = True) -> Rule:
    """A rule over both datasets."""
    return Rule(_meta(number, alerts=alerts), Route(("modbus", "dns")), ("ics", None, None), condition)


@st.composite
def rulesets(draw: st.DrawFn) -> RuleSet:
    """Some rules of which some only feed correlations."""
    count = draw(st.integers(2, 4))
    wide: st.SearchStrategy[Node] = st.one_of(
        nodes,
        st.just(["not", ["atom", "event.id", "null", None]]),
        st.sampled_from([["atom", name, op, payload] for name, op, payload in _COMMON]),
    )
    rules = [rule(number, draw(wide), alerts=draw(st.sampled_from([False, False, True]))) for number in range(count)]
    correlations: list[Correlation] = []
    for number in range(draw(st.integers(0, 3))):
        below = [one for one in correlations if one.extended is None]
        feeding = draw(st.lists(st.sampled_from([one.id for one in rules]), min_size=1, max_size=3, unique=True))
        kind = draw(
            st.sampled_from(
                [
                    "event_count",
                    "event_count",
                    "value_count",
                    "value_count",
                    "temporal",
                    "temporal_ordered",
                    "absence",
                    "value_sum",
                ]
            )
        )
        group = tuple(draw(st.lists(st.sampled_from(GROUPS), max_size=2, unique=True)))
        if below and kind == "temporal" and draw(st.booleans()):
            under = draw(st.sampled_from(below))
            feeding = [*feeding[:1], under.id]
            group = under.group_by
        values = (draw(st.sampled_from(VALUES)),) if kind.startswith("value") else ()
        bound = len(feeding) if kind.startswith("temporal") else draw(st.integers(1, 4))
        conditions: tuple[tuple[str, float], ...] = () if kind == "absence" else (("gte", bound),)
        if kind in ("event_count", "value_count"):
            more: list[tuple[tuple[str, float], ...]] = [(), (("lte", bound + 1),), (("neq", 3),)]
            conditions += draw(st.sampled_from(more))
            conditions = draw(st.sampled_from([conditions, conditions, (("lt", 2),), (("eq", 2),)]))
        correlations.append(
            Correlation(
                _meta(1000 + number, alerts=draw(st.sampled_from([True, True, False]))),
                kind,
                tuple(feeding),
                group,
                {},
                draw(st.sampled_from([5, 60, 200])) * 1_000_000_000,
                conditions,
                value_fields=values,
            )
        )
    return RuleSet(tuple(rules), tuple(correlations))


def counting(kind: str, group: str, *, value: str | None = None, seconds: int = 60, rules: int = 1) -> RuleSet:
    """Three of something within some seconds; the rules only feed it: the first takes reads, the second writes."""
    conditions = [["atom", "event.action", "eq", name] for name in ("read", "write")]
    made = [rule(number, condition, alerts=False) for number, condition in enumerate(conditions[:rules])]
    one = Correlation(
        _meta(1000, alerts=True),
        kind,
        tuple(one.id for one in made),
        (group,),
        {},
        seconds * 1_000_000_000,
        (("gte", 3 if rules == 1 else rules),),
        value_fields=(value,) if value else (),
    )
    return RuleSet(tuple(made), (one,))


GROUPS = ["source.ip", "network.protocol", "modbus.function_code", "modbus.matched", "tags", "user.name"]
VALUES = ["destination.port", "network.protocol", "source.ip", "tags", "modbus.matched", "iec104.ioa"]
_COMMON = [
    ("modbus.function_code", "cmp", ["gte", 3]),
    ("source.ip", "cidr", "10.0.0.0/8"),
    ("network.protocol", "startswith", "k"),
    ("modbus.matched", "bool", True),
    ("tags", "contains", ""),
]


def history(rows_made: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows, each twice more a little later: groups fill."""
    return [{**row, "@timestamp": row["@timestamp"] + late} for row in rows_made for late in (0, 3, 61)]
