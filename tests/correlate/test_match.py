"""The engine against a naive evaluator that reads the YAML itself, event by event."""

from __future__ import annotations

import base64
import re
from datetime import UTC, datetime, timedelta
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import polars as pl
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from correlate.ir import atoms_of
from correlate.match import Plan
from correlate.memory import Memory
from correlate.parse import parse_documents
from event.fields import FIELDS
from event.table import schema_of


def beside(name: str) -> ModuleType:
    """A module of this folder."""
    spec = spec_from_file_location(f"correlate_tests_{name}", Path(__file__).parent / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


naive = beside("naive")

# --- random rules and events ---------------------------------------------------------------------------------------

TEXTS = ("message", "user.name", "source.ip", "event.original")
LONGS = ("modbus.address", "modbus.function_code")
LISTS = ("event.category", "dns.resolved_ip")
SCHEMA = {
    **dict.fromkeys(TEXTS, "text"),
    **dict.fromkeys(LONGS, "long"),
    **dict.fromkeys(LISTS, "texts"),
    "modbus.values": "longs",
    "iec104.setpoint": "double",
    "iec104.value": "doubles",
    "iec104.test": "boolean",
    "iec104.clock": "date",
}
FIELD = st.sampled_from(list(SCHEMA))

chars = st.text(alphabet="aAbB.-1\\", max_size=5)
addresses = st.sampled_from(
    ["10.0.0.1", "10.0.1.255", "192.168.7.9", "::1", "fe80::1", "1", "10.0.0", "0", "-1", "2.5", "true"]
)
times = st.integers(0, 380 * 86_400).map(
    lambda seconds: datetime(2023, 12, 25, tzinfo=UTC) + timedelta(seconds=seconds)
)
VALUES = {
    "text": st.one_of(chars, addresses, st.just("Ünïcödé A\nb")),
    "long": st.integers(-3, 12),
    "double": st.sampled_from([-1.0, 0.0, 0.5, 1.0, 2.5, 10.0]),
    "boolean": st.booleans(),
    "date": times,
}
VALUES["texts"] = st.lists(st.one_of(st.none(), VALUES["text"]), max_size=3)
VALUES["longs"] = st.lists(st.one_of(st.none(), VALUES["long"]), max_size=3)
VALUES["doubles"] = st.lists(st.one_of(st.none(), VALUES["double"]), max_size=3)

events = st.lists(
    st.fixed_dictionaries({}, optional={name: st.one_of(st.none(), VALUES[kind]) for name, kind in SCHEMA.items()}),
    min_size=1,
    max_size=8,
)

patterns = st.one_of(st.text(alphabet="aAbB.-1*?\\", max_size=6), addresses)
numbers = st.one_of(st.integers(-3, 12), st.sampled_from([0.5, 2.5, -0.5]))
regexes = st.sampled_from(["a", "^a", "b$", "[ab]+1", "A.b", "(a|1)\\.", "^$", "\\\\", "^.{2}$", "ö.*A$", "a?"])


def one_or_more(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(values, st.lists(values, min_size=1, max_size=3))


@st.composite
def items(draw: st.DrawFn) -> tuple[str, Any]:
    field = draw(FIELD)
    kind = draw(
        st.sampled_from(["text", "text", "text", "re", "cidr", "number", "compare", "plain", "ref", "part", "exists"])
    )
    neq = draw(st.sampled_from(["", "", "|neq"]))
    every = draw(st.sampled_from(["", "|all"]))
    if kind == "text":
        how = draw(st.sampled_from(["", "|contains", "|startswith", "|endswith"]))
        cased = draw(st.sampled_from(["", "", "|cased"]))
        return f"{field}{how}{cased}{every}{neq}", draw(one_or_more(patterns))
    if kind == "re":
        return f"{field}|re{draw(st.sampled_from(['', '|i', '|m', '|s', '|i|s']))}{every}{neq}", draw(
            one_or_more(regexes)
        )
    if kind == "cidr":
        nets = st.sampled_from(["10.0.0.0/8", "10.0.0.0/24", "192.168.0.0/16", "::/64", "fe80::/10", "0.0.0.0/0"])
        return f"{field}|cidr{neq}", draw(one_or_more(nets))
    if kind == "number":
        return f"{field}{every}{neq}", draw(one_or_more(numbers))
    if kind == "compare":
        return f"{field}|{draw(st.sampled_from(['gt', 'gte', 'lt', 'lte']))}{neq}", draw(one_or_more(numbers))
    if kind == "plain":
        return f"{field}{neq}", draw(one_or_more(st.one_of(st.none(), st.booleans(), numbers, patterns)))
    if kind == "ref":
        how = draw(st.sampled_from(["", "|contains", "|startswith", "|endswith"]))
        return f"{field}|fieldref{how}{neq}", draw(FIELD)
    if kind == "part":
        part = draw(st.sampled_from(["minute", "hour", "day", "week", "month", "year"]))
        how = draw(st.sampled_from(["", "|gt", "|gte", "|lt", "|lte"]))
        wanted = st.integers(2022, 2026) if part == "year" else st.integers(0, 60)
        return f"iec104.clock|{part}{how}{neq}", draw(one_or_more(wanted))
    return f"{field}|exists", draw(st.booleans())


selections = st.one_of(
    st.lists(items(), min_size=1, max_size=3).map(dict),
    st.lists(st.lists(items(), min_size=1, max_size=2).map(dict), min_size=1, max_size=2),
    st.lists(
        st.one_of(st.text(alphabet="aAbB.-1*?", min_size=1, max_size=3), st.integers(0, 12)), min_size=1, max_size=2
    ),
)
CONDITIONS = [
    "one",
    "not one",
    "one and two",
    "one or two and not other",
    "not (one and two) or other",
    "1 of them",
    "all of them",
    "any of t*",
    "all of o* and not two",
    "not 1 of o* and two",
    "one and not all of them",
]
detections = st.fixed_dictionaries(
    {"one": selections, "two": selections, "other": selections, "condition": st.sampled_from(CONDITIONS)}
)


def compiled(*detections: dict[str, Any]) -> list[Any]:
    """Conditions of rules that have these detections, through YAML as from a file."""
    documents = [
        {
            "title": f"rule {number}",
            "id": f"00000000-0000-4000-8000-{number:012d}",
            "logsource": {"product": "ics", "service": "modbus"},
            "detection": detection,
        }
        for number, detection in enumerate(detections)
    ]
    text = yaml.safe_dump_all(documents, allow_unicode=True, sort_keys=False).encode()
    ruleset = parse_documents([Path("rules.yml")], [text], {})
    assert [str(problem) for problem in ruleset.problems if problem.severity == "error"] == []
    return [rule.condition for rule in ruleset.rules]


def table(events: list[dict[str, Any]]) -> pl.DataFrame:
    names = list(dict.fromkeys(name for event in events for name in event))
    frame = pl.DataFrame(
        [pl.Series(name, [event.get(name) for event in events], FIELDS[name].dtype) for name in names],
    )
    return (
        frame.with_columns(
            pl.int_range(len(events)).cast(pl.String).alias("event.id"), pl.lit("modbus").alias("event.dataset")
        )
        if names
        else pl.DataFrame({"event.id": [str(i) for i in range(len(events))]})
    )


def engine(plan: Plan, frame: pl.DataFrame, rules: int) -> list[list[int]]:
    hits = plan.match(frame)
    return [hits[rule].tolist() if rule in hits else [] for rule in range(rules)]


def reference(events: list[dict[str, Any]], detections: list[dict[str, Any]]) -> list[list[int]]:
    return [
        [row for row, event in enumerate(events) if naive.rule_matches({"detection": one}, event)] for one in detections
    ]


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(detections, min_size=1, max_size=4), events, events)
def test_random_rules_match_the_events_that_a_naive_evaluator_says(rules, first, second):
    plan = Plan(compiled(*rules))
    assert engine(plan, table(first), len(rules)) == reference(first, rules)
    assert engine(plan, table(second), len(rules)) == reference(second, rules)
    assert engine(plan, table(first + second), len(rules)) == reference(first + second, rules)


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(patterns, min_size=40, max_size=80), st.sampled_from(["", "|contains", "|startswith", "|endswith"]), events
)
def test_many_patterns_in_one_pass_match_as_they_do_one_by_one(wanted, how, batch):
    rules = [
        {"one": {f"message{how}": one}, "two": {"message|re": "a+" + re.escape(one)}, "condition": "one or two"}
        for one in wanted
    ]
    conditions = compiled(*rules)
    frame = table([{"message": "\x02a"}, {"message": "b\x03"}, *batch])
    one_pass, loop = Plan(conditions), Plan(conditions, one_pass=False)
    found = engine(one_pass, frame, len(rules))
    assert found == engine(loop, frame, len(rules))
    assert found == reference([{"message": "\x02a"}, {"message": "b\x03"}, *batch], rules)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(detections, min_size=1, max_size=3), st.lists(events, min_size=3, max_size=5))
def test_tables_that_are_always_full_change_no_answer(rules, batches):
    plan = Plan(compiled(*rules), memory=Memory(0))
    for batch in batches:
        assert engine(plan, table(batch), len(rules)) == reference(batch, rules)
    assert plan.resets >= 1


# --- single points of the specification ----------------------------------------------------------------------------


def matches(item: dict[str, Any] | list[Any], event: dict[str, Any]) -> bool:
    (condition,) = compiled({"sel": item, "condition": "sel"})
    return bool(Plan([condition]).match(table([event])))


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("a*c", "ABBC", True),
        ("a?c", "abc", True),
        ("a?c", "ac", False),
        (r"a\*c", "a*c", True),
        (r"a\*c", "abc", False),
        (r"a\?c", "a?c", True),
        (r"C:\Windows", r"c:\windows", True),
        (r"a\\*", "a\\bc", True),
        (r"a\\*", "abc", False),
        (r"a\\\*", "a\\*", True),
        (r"a\\\*", "a\\b", False),
        (r"\\\\host", r"\\host", True),
        ("*", "", True),
        ("?", "中", True),
        ("ÄÖ", "äö", True),
        ("", "", True),
        ("", "a", False),
        ("a\nb", "A\nB", True),
        ("a*b", "a\n\n\nb", True),
    ],
)
def test_wildcards_and_escapes_are_read_as_the_specification_says(pattern, text, expected):
    assert matches({"message": pattern}, {"message": text}) is expected


def test_a_null_matches_only_what_is_not_there():
    for event in ({}, {"message": None}, {"user.name": "x"}):
        assert matches({"message": None}, event)
        assert not matches({"message": "*"}, event)
        assert matches({"message|exists": False}, event)
    assert not matches({"message": None}, {"message": ""})
    assert matches({"message|exists": True}, {"message": ""})
    assert matches({"event.category": None}, {"event.category": []})


def test_any_element_of_a_list_may_match_and_a_negation_means_none_does():
    event = {"event.category": ["network", "process"]}
    assert matches({"event.category": "process"}, event)
    assert not matches({"event.category|neq": "process"}, event)
    assert matches({"event.category|all": ["process", "network"]}, event)
    assert matches({"modbus.values|gt": 100}, {"modbus.values": [1, None, 101]})


@pytest.mark.parametrize("lead", ["", "x", "xy", "xyz"])
def test_base64offset_finds_a_text_at_any_alignment(lead):
    hidden = base64.b64encode(f"{lead}http://evil/ and more".encode()).decode()
    assert matches({"message|base64offset|contains": "http://evil/"}, {"message": f"-e {hidden}"})
    assert not matches({"message|base64offset|contains": "http://evil/"}, {"message": f"-e {hidden[8:]}"})


def test_wide_base64_and_windash_are_expanded():
    hidden = base64.b64encode("cmd".encode("utf-16le")).decode()
    assert matches({"message|wide|base64": "cmd"}, {"message": hidden})
    assert matches({"message|utf16be|contains": "ab"}, {"message": "x\0a\0b"})
    assert matches({"message|windash|contains": " -enc "}, {"message": "powershell /enc x"})
    assert matches({"message|windash|contains": " -enc "}, {"message": "powershell –enc x"})


def test_keywords_look_into_every_text_but_not_into_what_is_ours():
    assert matches(["needle"], {"message": "a NEEDLE b"})
    assert matches(["needle"], {"event.category": ["x", "needles"]})
    assert not matches(["modbus"], {"message": "x"})  # the dataset's name is no content
    assert matches([502], {"modbus.address": 502})
    assert not matches([502], {"modbus.address": 5021})
    assert matches({"|all": ["one", "two"]}, {"message": "two", "user.name": "one"})


def test_numbers_and_texts_meet_by_value_and_by_text():
    assert matches({"modbus.address": "1*"}, {"modbus.address": 10})
    assert matches({"message": 10}, {"message": "10"})
    assert not matches({"message": 10}, {"message": "10.0"})
    assert matches({"message|gte": 10}, {"message": "10.0"})
    assert not matches({"message|lt": 10}, {"message": "nan"})
    assert matches({"iec104.setpoint": 5}, {"iec104.setpoint": 5.0})
    assert matches({"iec104.setpoint": "5"}, {"iec104.setpoint": 5.0})
    assert matches({"modbus.address|gt": 2.5}, {"modbus.address": 3})
    assert not matches({"modbus.address": 9007199254740992}, {"modbus.address": 9007199254740993})
    assert matches({"modbus.address|gt": -1e300}, {"modbus.address": -(2**63)})
    assert not matches({"iec104.setpoint|gt": 0}, {"iec104.setpoint": float("nan")})
    assert matches({"iec104.setpoint|gt": 0}, {"iec104.setpoint": float("inf")})


def test_a_time_that_a_text_spells_has_parts_as_a_date_does():
    assert matches({"message|hour": 3}, {"message": "2026-01-01T05:59:00.123456789+02:00"})
    assert matches({"iec104.clock|week": 1}, {"iec104.clock": datetime(2024, 12, 30, tzinfo=UTC)})
    assert not matches({"message|hour": 3}, {"message": "three o'clock"})


def test_a_long_hostile_value_takes_linear_time():
    # A backtracking matcher would need longer than the age of the universe for either pattern.
    text = "a" * 100_000
    assert not matches({"message|re": "(a+)+$x"}, {"message": text})
    assert not matches({"message": "*a*a*a*a*a*a*a*a*b"}, {"message": text})


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        (r"b\Z", "ab", True),
        (r"b\Z", "ab\n", False),
        (r"C:\\Zoo", r"C:\Zoo", True),
        (r"C:\\Zoo", r"C:\zoo", False),
        (r"^\S$", "\v", True),
        (r"(?i)^Ä$", "ä", True),
        (r"(?i)^k$", "\u212a", True),
        (r"^\w$", "ä", False),
    ],
)
def test_a_pattern_means_the_same_alone_and_among_many(pattern, text, expected):
    many = [f"filler{number}[0-9]+" for number in range(50)]
    (alone,) = compiled({"sel": {"message|re": pattern}, "condition": "sel"})
    among = compiled(*({"sel": {"message|re": one}, "condition": "sel"} for one in [pattern, *many]))
    frame = table([{"message": text}])
    assert bool(Plan([alone]).match(frame)) is expected
    assert (0 in Plan(among).match(frame)) is expected
    assert (0 in Plan(among, one_pass=False).match(frame)) is expected


def test_conditions_are_plain_data():
    (condition,) = compiled({"sel": {"message|contains": ["a", "b"]}, "condition": "not sel"})
    assert condition == ["not", ["or", [["atom", "message", "contains", "a"], ["atom", "message", "contains", "b"]]]]
    assert [op for _, op, _ in atoms_of(condition)] == ["contains", "contains"]


def test_a_batch_of_many_rows_gives_each_row_its_own_answer():
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    rows = [
        {"message": f"user{i % 977}", "modbus.address": i % 101, "iec104.clock": begin + timedelta(minutes=i)}
        for i in range(5000)
    ]
    rules = [
        {"a": {"message|endswith": str(n % 10), "modbus.address|gt": n}, "condition": "a"} for n in range(0, 100, 7)
    ]
    rules.append({"a": {"iec104.clock|hour": [3, 4]}, "b": {"modbus.address": 5}, "condition": "a and not b"})
    frame = table(rows).cast(schema_of(["message", "modbus.address", "iec104.clock"]))
    assert engine(Plan(compiled(*rules)), frame, len(rules)) == reference(rows, rules)
