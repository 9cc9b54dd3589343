"""The engine against a naive evaluator and against pySigma's SQLite backend, on random rules and random events."""

from __future__ import annotations

import base64
import itertools
import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import polars as pl
import pytest
import yaml
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from sigma.backends.sqlite import sqliteBackend
from sigma.rule import SigmaRule

from correlate.detect import Detector
from correlate.parse import parse_documents
from event.fields import FIELDS
from event.table import conform


def beside(name: str) -> ModuleType:
    """A module of this folder."""
    spec = spec_from_file_location(f"correlate_tests_{name}", Path(__file__).parent / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


naive = beside("naive")

# --- events ----------------------------------------------------------------------------------------------------------

TEXTS = ("message", "user.name", "source.ip", "process.command_line")
NUMBERS = ("modbus.address", "modbus.function_code", "iec104.setpoint")
SCHEMA = {
    **dict.fromkeys(TEXTS, "text"),
    "modbus.address": "long",
    "modbus.function_code": "long",
    "iec104.setpoint": "double",
    "event.category": "texts",
    "dns.resolved_ip": "texts",
    "modbus.values": "longs",
    "iec104.value": "doubles",
    "iec104.test": "boolean",
    "iec104.clock": "date",
}
PLACEHOLDERS = {"masters": ["10.0.0.1", "10.0.*"], "odd": ["a?", "\\*b", "-f", "中"], "nets": ["10.0.0.0/8", "::/64"]}

HIDDEN = [
    base64.b64encode(lead + word.encode(code) + tail).decode()
    for word in ("ab", "中", "A-b")
    for code in ("utf-8", "utf-16-le", "utf-16-be", "utf-16")
    for lead, tail in ((b"", b""), (b"x", b"yz"), (b"xy", b"z"))
]
letters = st.text(alphabet="aAbB.-1\\*?% /–", max_size=6)
unicode_letters = st.text(alphabet="aAäÄßẞσςΣıİkKſsµμÅå中\n", max_size=5)
ODD = """
10.0.0.1 10.0.1.255 192.168.7.9 ::1 fe80::1 ::ffff:10.0.0.1 0 -1 2.5 1e3 10.0 true False nan a\\b --f /f-g a-f
100% %masters% C:\\Windows\\* 2024-02-29T23:59:59Z 2024-12-30T01:30:00+02:00"""
odd_texts = st.sampled_from(
    [*ODD.split(), "", "a\nb", "b\n", "a\0b\0", "\0a\0b", "\ufeffa\0b\0", "net -f x", "net /f x", "net \u2013f x"]
)
texts = st.one_of(letters, letters, unicode_letters, odd_texts, st.sampled_from(HIDDEN))
times = st.integers(0, 380 * 86_400).map(lambda s: datetime(2023, 12, 25, tzinfo=UTC) + timedelta(seconds=s))
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "text": texts,
    "long": st.integers(-3, 12),
    "double": st.sampled_from([-1.0, 0.0, 0.5, 1.0, 2.5, 10.0, 1e300]),
    "boolean": st.booleans(),
    "date": times,
}
for kind in ("text", "long", "double"):
    VALUES[f"{kind}s"] = st.lists(st.one_of(st.none(), VALUES[kind]), max_size=3)
one_event = st.fixed_dictionaries(
    {}, optional={name: st.one_of(st.none(), VALUES[kind]) for name, kind in SCHEMA.items()}
)
events = st.lists(one_event, min_size=1, max_size=10)

# --- rules -----------------------------------------------------------------------------------------------------------

patterns = st.one_of(letters, letters, unicode_letters, odd_texts, st.text(alphabet="aAbB.-1*?\\", max_size=6))
numbers = st.one_of(st.integers(-3, 12), st.sampled_from([0.5, 2.5, -0.5]))
networks = st.sampled_from(
    ["10.0.0.0/8", "10.0.0.0/24", "192.168.0.0/16", "::/64", "fe80::/10", "0.0.0.0/0", "10.0.0.1"]
)
# Patterns that mean the same to Python's engine, which the naive evaluator uses, and to RE2.
regexes = st.sampled_from(
    [
        "a",
        "^a",
        "b$",
        "[ab]+1",
        "A.b",
        "(a|1)\\.",
        "^$",
        "\\\\",
        "^.{2}$",
        "ä.*",
        "a?",
        "a.b",
        "^b",
        "(?:a|b)$",
        "[^a]b",
        "a{2,}",
    ]
)
SIDES = st.sampled_from(["", "|contains", "|startswith", "|endswith"])
KINDS = ("windash", "encoded", "wide", "expand", "re", "cidr", "number", "compare", "plain", "ref", "part", "exists")
ENCODED = st.sampled_from(["ab", "A-b", "中", "ab中", "-f x", "\\*\\?", "a\\\\b"])


def one_or_more(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(values, st.lists(values, min_size=1, max_size=3))


@st.composite
def items(draw: st.DrawFn) -> tuple[str, Any]:
    """One line of a detection."""
    field = draw(st.sampled_from(list(SCHEMA)))
    kind = draw(st.sampled_from(["text", "text", "text", *KINDS]))
    neq = draw(st.sampled_from(["", "", "", "|neq"]))
    every = draw(st.sampled_from(["", "", "|all"]))
    side = draw(SIDES)
    cased = draw(st.sampled_from(["", "", "|cased"]))
    if kind == "text":
        return f"{field}{side}{cased}{every}{neq}", draw(
            one_or_more(st.one_of(patterns, patterns, numbers, st.booleans()) if side else patterns)
        )
    if kind == "windash":
        order = draw(st.sampled_from([f"{side}|windash{cased}", f"|windash{side}{cased}", f"{cased}|windash{side}"]))
        dashed = st.sampled_from(["-f", " -f", "net /f*", "a-f", "--f", "-f -g", "–f", "-f -g -h -i", "-", "*-f"])
        return f"{draw(st.sampled_from(TEXTS))}{order}{every}{neq}", draw(one_or_more(dashed))
    if kind == "encoded":
        wide = draw(st.sampled_from(["", "|wide", "|utf16le", "|utf16be", "|utf16"]))
        how = draw(st.sampled_from(["|base64", "|base64offset|contains", "|base64|contains|cased"]))
        return f"{field}{wide}{how}{every}{neq}", draw(one_or_more(ENCODED))
    if kind == "wide":
        wide = draw(st.sampled_from(["|wide", "|utf16le", "|utf16be", "|utf16"]))
        return f"{draw(st.sampled_from(TEXTS))}{wide}{side}{neq}", draw(
            one_or_more(st.sampled_from(["ab", "a*", "A", "?b"]))
        )
    if kind == "expand":
        if draw(st.booleans()):
            filled = st.sampled_from(
                ["%masters%", "%odd%", "x%odd%", "%odd%%odd%", "100\\%", "\\%odd%masters%", "%", "a%"]
            )
            return f"{field}|expand{draw(st.sampled_from(['', '|windash', '|cased']))}{side}{every}{neq}", draw(
                one_or_more(filled)
            )
        if draw(st.booleans()):
            return f"{field}|re|expand{neq}", draw(one_or_more(st.sampled_from(["^%masters%$", "a|%odd%", "%odd%b"])))
        return f"{field}|expand|cidr{neq}", draw(one_or_more(st.sampled_from(["%nets%", "fe80::/10"])))
    if kind == "re":
        flags = draw(st.sampled_from(["", "|i", "|m", "|s", "|i|s", "|ignorecase", "|dotall|multiline"]))
        return f"{field}|re{flags}{side}{every}{neq}", draw(one_or_more(regexes))
    if kind == "cidr":
        return f"{field}|cidr{every}{neq}", draw(one_or_more(networks))
    if kind == "number":
        return f"{field}{every}{neq}", draw(one_or_more(numbers))
    if kind == "compare":
        return f"{field}|{draw(st.sampled_from(['gt', 'gte', 'lt', 'lte']))}{every}{neq}", draw(one_or_more(numbers))
    if kind == "plain":
        return f"{field}{every}{neq}", draw(one_or_more(st.one_of(st.none(), st.booleans(), numbers, patterns)))
    if kind == "ref":
        other = draw(st.sampled_from(["", "|startswith", "|endswith"]))
        return f"{field}|fieldref{side}{other if side else ''}{neq}", draw(one_or_more(st.sampled_from(list(SCHEMA))))
    if kind == "part":
        part = draw(st.sampled_from(naive.TIME_PARTS))
        how = draw(st.sampled_from(["", "|gt", "|gte", "|lt", "|lte"]))
        wanted = st.integers(2022, 2026) if part == "year" else st.integers(0, 60)
        return f"{draw(st.sampled_from(['iec104.clock', 'message']))}|{part}{how}{neq}", draw(one_or_more(wanted))
    return f"{field}|exists{neq}", draw(st.booleans())


words = st.one_of(
    st.text(alphabet="aAbB.-1*?", min_size=1, max_size=3), st.integers(0, 12), st.sampled_from(["ä", "Σ", "10.0", "中"])
)
keywords = st.one_of(
    st.lists(words, min_size=1, max_size=3),
    words,
    st.lists(words, min_size=1, max_size=2).map(lambda some: {"|all": some}),
    st.tuples(st.sampled_from(["|cased", "|startswith", "|endswith|cased", "|contains"]), words).map(
        lambda one: dict([one])
    ),
    st.tuples(st.sampled_from(["|re", "|re|i"]), regexes).map(lambda one: dict([one])),
)
selections = st.one_of(
    st.lists(items(), min_size=1, max_size=3).map(dict),
    st.lists(items(), min_size=1, max_size=3).map(dict),
    st.lists(st.lists(items(), min_size=1, max_size=2).map(dict), min_size=1, max_size=2),
    keywords,
    st.tuples(words, st.lists(items(), min_size=1, max_size=2).map(dict)).map(list),
)
NAMES = ("one", "two", "other", "not_filter", "_hidden")
conditions = st.recursive(
    st.sampled_from(
        [
            *NAMES,
            "1 of them",
            "all of them",
            "any of t*",
            "all of o*",
            "1 of *e*",
            "1 of _*",
            "any of not_filter",
            "all of *",
        ]
    ),
    lambda below: st.one_of(
        below.map(lambda one: f"not {one}"),
        below.map(lambda one: f"({one})"),
        st.tuples(below, st.sampled_from(["and", "or"]), below).map(" ".join),
    ),
    max_leaves=5,
)
detections = st.fixed_dictionaries(
    dict.fromkeys(NAMES, selections)
    | {"condition": st.one_of(conditions, st.lists(conditions, min_size=1, max_size=2))}
)


def rule_of(number: int, detection: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "title": f"rule {number}",
        "id": f"00000000-0000-4000-8000-{number:012d}",
        "name": f"name{number}",
        "logsource": {"product": "ics", "service": "modbus"},
        "detection": dict(detection),
    }


filters = st.lists(
    st.builds(
        lambda names, section: {
            "title": "a filter",
            "logsource": {"product": "ics"},
            "filter": {"rules": names, **section},
        },
        st.one_of(st.just("any"), st.lists(st.sampled_from(["name0", "name1"]), min_size=1, max_size=2)),
        st.fixed_dictionaries(
            {"one": selections, "condition": st.sampled_from(["not one", "one", "1 of them", "not 1 of o*"])}
        ),
    ),
    max_size=2,
)

# --- the two sides ---------------------------------------------------------------------------------------------------


def compiled(documents: Sequence[Mapping[str, Any]], *, one_pass: bool = True) -> Detector:
    """A detector for rules that went through YAML as from a file."""
    text = yaml.safe_dump_all(documents, allow_unicode=True, sort_keys=False).encode()
    ruleset = parse_documents([Path("rules.yml")], [text], PLACEHOLDERS)
    assert [str(problem) for problem in ruleset.problems if problem.severity == "error"] == []
    return Detector(ruleset, one_pass=one_pass)


def table(rows: Sequence[tuple[int, Mapping[str, Any]]]) -> pl.DataFrame:
    names = dict.fromkeys(name for _, one in rows for name in one)
    columns = [pl.Series(name, [one.get(name) for _, one in rows], FIELDS[name].dtype) for name in names]
    fixed = {
        "event.id": [f"e{number}" for number, _ in rows],
        "event.dataset": ["modbus"] * len(rows),
        "event.kind": ["event"] * len(rows),
        "@timestamp": [datetime(2026, 1, 1, tzinfo=UTC)] * len(rows),
    }
    return conform(pl.DataFrame([*columns, *(pl.Series(name, values) for name, values in fixed.items())]))


def engine(detector: Detector, batches: Sequence[Sequence[tuple[int, Mapping[str, Any]]]]) -> set[tuple[str, str]]:
    """(rule, event) of every alert."""
    found: list[tuple[str, str]] = []
    for batch in batches:
        alerts = detector.feed(table(batch))
        if alerts.is_empty():
            continue
        found += [(rule, one[0]) for rule, one in zip(alerts["rule.id"], alerts["alert.event_ids"], strict=True)]
    assert len(found) == len(set(found)), "an event alerts once for a rule"
    return set(found)


def reference(
    rules: Sequence[Mapping[str, Any]],
    rows: Sequence[tuple[int, Mapping[str, Any]]],
    some: Sequence[Mapping[str, Any]] = (),
) -> set[tuple[str, str]]:
    return {
        (rule["id"], f"e{number}")
        for rule in rules
        for number, one in rows
        if naive.rule_matches(rule, one, placeholders=PLACEHOLDERS, filters=some)
    }


def cut(rows: list[Any], places: Sequence[int]) -> Iterator[list[Any]]:
    edges = sorted({0, len(rows), *(place % (len(rows) + 1) for place in places)})
    for begin, end in itertools.pairwise(edges):
        yield rows[begin:end]


Documents = list[dict[str, Any]]


def check(some: Documents, batch: Documents, places: list[int], added: Documents) -> None:
    rules = [rule_of(number, one) for number, one in enumerate(some)]
    rows = list(enumerate(batch))
    expected = reference(rules, rows, added)
    event(f"matches: {min(len(expected), 3)}")
    detector = compiled([*rules, *added])
    assert engine(detector, [rows]) == expected
    assert engine(detector, list(cut(rows[::-1], places))) == expected  # cut anywhere, from what is remembered
    assert engine(compiled([*rules, *added]), list(cut(rows, places))) == expected


CASES = (st.lists(detections, min_size=1, max_size=4), events, st.lists(st.integers(0, 10), max_size=4), filters)


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(*CASES)
def test_random_rules_match_what_a_naive_evaluator_says_however_batches_are_cut(some, batch, places, added):
    check(some, batch, places, added)


@pytest.mark.slow
@settings(max_examples=3000, deadline=None, suppress_health_check=list(HealthCheck))
@given(*CASES)
def test_very_many_random_rules_match_what_a_naive_evaluator_says(some, batch, places, added):
    check(some, batch, places, added)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(detections, min_size=1, max_size=3), events)
def test_events_of_which_no_text_comes_twice_are_decided_alike(some, batch):
    rules = [rule_of(number, one) for number, one in enumerate(some)]

    def unique(value: Any, number: int) -> Any:
        if isinstance(value, list):
            return [unique(one, number) for one in value]
        return f"{value}{number:x}" if isinstance(value, str) and number % 3 else value

    rows = [
        (number, {name: unique(value, number) for name, value in batch[number % len(batch)].items()})
        for number in range(60)
    ]
    assert engine(compiled(rules), [rows[:25], rows[25:]]) == reference(rules, rows)


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(patterns, min_size=40, max_size=80), SIDES, st.sampled_from(["", "|cased"]), events)
def test_many_patterns_at_once_match_as_they_do_one_by_one(wanted, side, cased, batch):
    rules = [
        rule_of(
            number,
            {
                "one": {f"message{side}{cased}": text},
                "two": {"message|re": "a+" + re.escape(text)},
                "condition": "1 of them",
            },
        )
        for number, text in enumerate(wanted)
    ]
    rows = list(enumerate([{"message": "\x02a"}, {"message": "b\x03"}, *batch]))
    expected = reference(rules, rows)
    assert engine(compiled(rules), [rows]) == expected
    assert engine(compiled(rules, one_pass=False), [rows]) == expected


# --- a second opinion: pySigma and its SQLite backend -----------------------------------------------------------------
#
# Both read the rule (pySigma, not our reader) and evaluate it (SQL, not our engine) independently. Left out is what SQL
# answers otherwise by its nature; docs/sigma-language.md lists each with its reason: letters beyond ASCII (NOCASE and
# LIKE know none), lists, keywords, weeks (%W is not ISO 8601), networks on what is no address (they become LIKE) or off
# a whole octet (they become alternatives without brackets), numbers in texts (affinity takes '05' for 5), booleans
# beside numbers (true is 1).

SQL_TEXTS = ("message", "user.name", "process.command_line")
SQL_NUMBERS = ("modbus.address", "modbus.function_code")
SQL_COLUMNS = {
    **dict.fromkeys(SQL_TEXTS, "TEXT COLLATE NOCASE"),
    **dict.fromkeys(SQL_NUMBERS, "INTEGER"),
    "iec104.setpoint": "REAL",
    "iec104.test": "TEXT COLLATE NOCASE",
    "iec104.clock": "TEXT",
    "source.ip": "TEXT COLLATE NOCASE",
}
ascii_texts = st.one_of(
    st.text(alphabet="aAbB.-1\\*?%_ /'", max_size=6),
    st.sampled_from(
        ["net -f x", "net /f x", "--f", "a\nb", "b\n", "aAbB", "x" + HIDDEN[0], HIDDEN[1], HIDDEN[2], HIDDEN[4]]
    ),
)
SQL_VALUES: dict[str, st.SearchStrategy[Any]] = {
    **dict.fromkeys(SQL_TEXTS, ascii_texts),
    **dict.fromkeys(SQL_NUMBERS, st.integers(-3, 12)),
    "iec104.setpoint": st.sampled_from([-1.5, 0.5, 2.5]),
    "iec104.test": st.booleans(),
    "iec104.clock": times,
    "source.ip": st.sampled_from(["10.0.0.1", "10.0.1.255", "192.168.7.9", "172.16.0.1"]),
}
sql_events = st.lists(
    st.fixed_dictionaries({}, optional={name: st.one_of(st.none(), value) for name, value in SQL_VALUES.items()}),
    min_size=1,
    max_size=10,
)
ascii_patterns = st.one_of(ascii_texts, st.text(alphabet="aAbB.-1*?\\%_'", max_size=6))
SQL_KINDS = (
    "text",
    "text",
    "text",
    "windash",
    "encoded",
    "re",
    "cidr",
    "number",
    "compare",
    "bool",
    "null",
    "ref",
    "part",
    "exists",
)


@st.composite
def sql_items(draw: st.DrawFn) -> tuple[str, Any]:
    kind = draw(st.sampled_from(SQL_KINDS))
    neq = draw(st.sampled_from(["", "", "", "|neq"]))
    every = draw(st.sampled_from(["", "", "|all"]))
    side = draw(SIDES)
    text, number = draw(st.sampled_from(SQL_TEXTS)), draw(st.sampled_from(SQL_NUMBERS))
    anything = draw(st.sampled_from(list(SQL_COLUMNS)))
    if kind == "text":
        return f"{text}{side}{draw(st.sampled_from(['', '', '|cased']))}{every}{neq}", draw(one_or_more(ascii_patterns))
    if kind == "windash":
        order = draw(st.sampled_from([f"{side}|windash", f"|windash{side}"]))
        return f"{text}{order}{every}{neq}", draw(one_or_more(st.sampled_from(["-f", " /f", "net /f*", "--f", "-"])))
    if kind == "encoded":
        how = draw(
            st.sampled_from(["|base64", "|base64offset|contains", "|wide|base64", "|wide|base64offset|contains"])
        )
        return f"{text}{how}{every}{neq}", draw(one_or_more(st.sampled_from(["ab", "A-b", "abc"])))
    if kind == "re":
        flags = draw(st.sampled_from(["", "|i", "|m", "|s", "|i|s"]))
        return f"{text}|re{flags}{every}{neq}", draw(one_or_more(regexes.filter(str.isascii)))
    if kind == "cidr":
        return f"source.ip|cidr{every}{neq}", draw(
            one_or_more(st.sampled_from(["10.0.0.0/8", "10.0.0.0/24", "172.16.0.0/16"]))
        )
    if kind == "number":
        return f"{number}{every}{neq}", draw(one_or_more(st.integers(-3, 12)))
    if kind == "compare":
        field = draw(st.sampled_from([*SQL_NUMBERS, "iec104.setpoint"]))
        return f"{field}|{draw(st.sampled_from(['gt', 'gte', 'lt', 'lte']))}{every}{neq}", draw(one_or_more(numbers))
    if kind == "bool":
        return f"iec104.test{neq}", draw(st.booleans())
    if kind == "null":
        return f"{anything}{neq}", None
    if kind == "ref":
        mine, other = draw(
            st.sampled_from([(text, draw(st.sampled_from(SQL_TEXTS))), (number, draw(st.sampled_from(SQL_NUMBERS)))])
        )
        return f"{mine}|fieldref{side}{neq}", other
    if kind == "part":
        part = draw(st.sampled_from(["minute", "hour", "day", "month", "year"]))
        wanted = st.integers(2022, 2026) if part == "year" else st.integers(0, 60)
        how = draw(st.sampled_from(["", "|gt", "|lte"]))
        return f"iec104.clock|{part}{how}{neq}", draw(one_or_more(wanted))
    return f"{anything}|exists{neq}", draw(st.booleans())


SQL_NAMES = ("one", "two", "other", "_hidden")
sql_selections = st.one_of(
    st.lists(sql_items(), min_size=1, max_size=3).map(dict),
    st.lists(st.lists(sql_items(), min_size=1, max_size=2).map(dict), min_size=1, max_size=2),
)
sql_conditions = st.recursive(
    st.sampled_from([*SQL_NAMES, "1 of them", "all of them", "any of t*", "all of o*", "1 of *e*", "1 of _*"]),
    lambda below: st.one_of(
        below.map(lambda one: f"not {one}"),
        below.map(lambda one: f"({one})"),
        st.tuples(below, st.sampled_from(["and", "or"]), below).map(" ".join),
    ),
    max_leaves=5,
)
sql_detections = st.fixed_dictionaries(dict.fromkeys(SQL_NAMES, sql_selections) | {"condition": sql_conditions})


def in_sql(value: Any) -> Any:
    if isinstance(value, bool):
        return str(value).lower()
    return value.strftime("%Y-%m-%dT%H:%M:%SZ") if isinstance(value, datetime) else value


def found(pattern: str, text: Any) -> bool | None:
    return None if text is None else re.search(pattern, str(text)) is not None


def sqlite(rules: Sequence[Mapping[str, Any]], rows: Sequence[tuple[int, Mapping[str, Any]]]) -> set[tuple[str, str]]:
    """(rule, event) of every row that SQLite selects."""
    backend = sqliteBackend()
    hits: set[tuple[str, str]] = set()
    with closing(sqlite3.connect(":memory:")) as base:
        base.create_function("regexp", 2, found, deterministic=True)
        columns = ", ".join(f'"{name}" {kind}' for name, kind in SQL_COLUMNS.items())
        base.execute(f"CREATE TABLE logs (event TEXT, {columns})")
        marks = ", ".join("?" * (len(SQL_COLUMNS) + 1))
        for number, one in rows:
            values = [f"e{number}", *(in_sql(one.get(name)) for name in SQL_COLUMNS)]
            base.execute(f"INSERT INTO logs VALUES ({marks})", values)  # noqa: S608 - marks alone
        for rule in rules:
            for query in backend.convert_rule(SigmaRule.from_dict(dict(rule))):
                hits.update((rule["id"], row[0]) for row in base.execute(query))
    return hits


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(sql_detections, min_size=1, max_size=4), sql_events)
def test_random_rules_match_what_sqlite_selects(some, batch):
    rules = [rule_of(number, one) for number, one in enumerate(some)]
    rows = list(enumerate(batch))
    expected = sqlite(rules, rows)
    event(f"matches: {min(len(expected), 3)}")
    assert engine(compiled(rules), [rows]) == expected
    assert reference(rules, rows) == expected


@pytest.mark.slow
@settings(max_examples=3000, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(sql_detections, min_size=1, max_size=4), sql_events)
def test_very_many_random_rules_match_what_sqlite_selects(some, batch):
    rules = [rule_of(number, one) for number, one in enumerate(some)]
    rows = list(enumerate(batch))
    assert engine(compiled(rules), [rows]) == sqlite(rules, rows)
