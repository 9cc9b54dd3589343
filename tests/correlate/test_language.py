"""Single points of the Sigma language: what docs/sigma-language.md says, one by one."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from sigma.modifiers import modifier_mapping

from correlate.compile import MODIFIERS
from correlate.detect import Detector
from correlate.fold import fold
from correlate.ir import RuleSet
from correlate.parse import parse_documents
from correlate.regex import compile_regex, hyperscan_module
from event.fields import FIELDS
from event.table import conform

PLACEHOLDERS = {"masters": ["10.0.0.1", "10.1.*"], "odd": ["a.b"], "ports": ["502"], "nets": ["10.0.0.0/8"]}


def load(section: dict[str, Any], *others: dict[str, Any]) -> RuleSet:
    rule = {
        "title": "a rule",
        "id": "00000000-0000-4000-8000-000000000001",
        "name": "it",
        "logsource": {"product": "ics", "service": "modbus"},
        "detection": section,
    }
    text = yaml.safe_dump_all([rule, *others], allow_unicode=True, sort_keys=False).encode()
    return parse_documents([Path("rule.yml")], [text], PLACEHOLDERS)


def errors(ruleset: RuleSet) -> list[str]:
    return [one.message for one in ruleset.problems if one.severity == "error"]


def warnings(ruleset: RuleSet) -> list[str]:
    return [one.message for one in ruleset.problems if one.severity == "warning"]


def detects(ruleset: RuleSet, event: dict[str, Any]) -> bool:
    assert errors(ruleset) == []
    fixed = {
        "event.id": ["e"],
        "event.dataset": ["modbus"],
        "event.kind": ["event"],
        "@timestamp": [datetime(2026, 1, 1, tzinfo=UTC)],
    }
    columns = [pl.Series(name, [value], FIELDS[name].dtype) for name, value in event.items()]
    return (
        not Detector(ruleset)
        .feed(conform(pl.DataFrame(columns + [pl.Series(*one) for one in fixed.items()])))
        .is_empty()
    )


def matches(item: Any, event: dict[str, Any]) -> bool:
    return detects(load({"sel": item, "condition": "sel"}), event)


def message(item: dict[str, Any]) -> str:
    (error,) = errors(load({"sel": item, "condition": "sel"}))
    return error


# --- modifiers ------------------------------------------------------------------------------------------------------


def test_every_modifier_of_the_specification_and_of_pysigma_is_known():
    specified = """all startswith endswith contains exists cased neq windash re i m s base64 base64offset
    utf16le utf16be
    utf16 wide lt lte gt gte minute hour day week month year cidr expand fieldref"""
    assert {*specified.split(), *modifier_mapping} == set(MODIFIERS)


@pytest.mark.parametrize("modifier", ["wide", "utf16le", "utf16be", "utf16"])
@pytest.mark.parametrize("text", ["cmd", "命令", "é*"])
def test_utf16_before_base64_is_of_bytes(modifier, text):
    code = {"utf16be": "utf-16-be", "utf16": "utf-16-le"}.get(modifier, "utf-16-le")
    mark = b"\xff\xfe" if modifier == "utf16" else b""
    hidden = base64.b64encode(mark + text.encode(code)).decode()
    assert matches({f"message|{modifier}|base64": text.replace("*", r"\*")}, {"message": hidden})


@pytest.mark.parametrize("lead", ["", "x", "xy", "xyz"])
@pytest.mark.parametrize("text", ["http://", "é", "命令行"])
def test_base64offset_counts_bytes_not_characters(lead, text):
    hidden = base64.b64encode(f"{lead}{text} and more".encode()).decode()
    assert matches({"message|base64offset|contains": text}, {"message": f"-e {hidden}"})
    assert not matches({"message|base64offset|contains": text}, {"message": "-e AAAABBBBCCCC"})


def test_base64offset_of_one_byte_would_fit_everything_and_is_refused():
    assert "two bytes" in message({"message|base64offset|contains": "a"})


def test_utf16_without_base64_is_text_between_nuls():
    assert matches({"message|wide|contains": "ab"}, {"message": "xa\0b\0"})
    assert matches({"message|utf16be": "a*"}, {"message": "\0aXY"})
    assert matches({"message|utf16": "a"}, {"message": "\ufeffa\0"})
    assert "UTF-16" in message({"message|wide|contains": "命"})


def test_windash_takes_all_dashes_for_one_another_where_a_word_begins():
    for mine in "-/–—―":
        for theirs in "-/–—―":
            assert matches({"message|windash|contains": f" {mine}enc"}, {"message": f"x {theirs}enc y"})
    assert not matches({"message|windash": "a-b"}, {"message": "a/b"})
    assert matches({"message|windash|endswith": "/a-b"}, {"message": "-a-b"})
    many = " ".join(["-a"] * 8)  # five to the eighth texts
    assert matches({"message|windash": many}, {"message": many.replace("-", "/", 5).upper()})
    assert not matches({"message|cased|windash": many}, {"message": many.upper()})
    assert not matches({"message|cased|windash": "-a"}, {"message": "-A"})


def test_expand_fills_in_before_what_follows():
    assert matches({"source.ip|expand": "%masters%"}, {"source.ip": "10.1.2.3"})
    assert matches({"message|expand|contains": "<%masters%>"}, {"message": "from <10.0.0.1> on"})
    assert matches({"message|expand": r"\%masters%odd%"}, {"message": "%mastersa.b"})
    assert matches({"message": "%masters%"}, {"message": "%masters%"})
    assert matches({"message|expand|base64": "%odd%"}, {"message": base64.b64encode(b"a.b").decode()})
    assert matches({"source.ip|expand|cidr": "%nets%"}, {"source.ip": "10.9.9.9"})
    assert matches({"modbus.address|expand|gte": "%ports%"}, {"modbus.address": 502})
    assert matches({"message|re|expand": "^x%odd%$"}, {"message": "xa.b"})
    assert not matches({"message|re|expand": "^x%odd%$"}, {"message": "xaxb"})
    assert message({"message|expand": "%nobody%"}) == "placeholder %nobody% has no values"
    assert "would not be filled in" in message({"message|base64|expand": "%odd%"})


def test_modifiers_that_cannot_follow_one_another_are_refused():
    assert "cannot be applied to null" in message({"message|contains": None})
    assert "needs a number" in message({"message|gt": "high"})
    assert "cannot be applied to a regular expression" in message({"message|re|windash": "a"})
    assert "follows 're'" in message({"message|i": "a"})
    assert "true or false" in message({"message|exists": "yes"})
    assert "without wildcards" in message({"message|base64": "a*"})
    assert "Invalid CIDR" in message({"source.ip|cidr": "10.0.0.0/40"})
    assert "unknown modifier 'containz'" in message({"message|containz": "a"})
    assert "no values" in message({"message": []})
    assert "date to YAML" in message({"message": datetime(2026, 1, 1, tzinfo=UTC).date()})


def test_fieldref_compares_texts_without_case_and_needs_both():
    event = {"user.name": "Domain\\Bob", "message": "BOB", "modbus.address": 5, "modbus.values": [1, 5]}
    assert matches({"user.name|fieldref|endswith": "message"}, event)
    assert matches({"user.name|fieldref|contains": "message"}, event)
    assert not matches({"user.name|fieldref|startswith": "message"}, event)
    assert matches({"modbus.values|fieldref": "modbus.address"}, event)
    assert not matches({"user.name|fieldref": "source.ip"}, event)
    assert matches({"user.name|fieldref|neq": "message"}, event)


def test_time_parts_are_of_utc_and_weeks_of_iso_8601():
    at = {"iec104.clock": datetime(2024, 12, 30, 23, 59, tzinfo=UTC)}
    for part, number in {"minute": 59, "hour": 23, "day": 30, "week": 1, "month": 12, "year": 2024}.items():
        assert matches({f"iec104.clock|{part}": number}, at)
        assert not matches({f"iec104.clock|{part}|neq": number}, at)
        assert matches({f"iec104.clock|{part}|gte": number}, at)
    assert warnings(load({"sel": {"iec104.clock|hour": 24}, "condition": "sel"})) == ["no time has hour 24: 0 to 23"]


# --- texts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("ΑΣ", "ας"),
        ("*Σ*", "ΑΣ"),
        ("straẞe", "STRAßE"),
        ("\u212a", "k"),
        ("ÅNGSTRÖM", "ångström"),
        ("Ⅷ", "ⅷ"),
    ],
)
def test_case_is_unicodes(pattern, text):
    assert matches({"message": pattern}, {"message": text})
    assert len(fold(text)) == len(text)


def test_folding_does_not_change_the_number_of_characters():
    assert matches({"message": "?"}, {"message": "İ"})
    assert not matches({"message": "ss"}, {"message": "ß"})
    assert not matches({"message": "i"}, {"message": "ı"})


def test_numbers_and_booleans_have_a_text_where_one_is_asked_for():
    assert matches({"modbus.address|contains": 0}, {"modbus.address": 502})
    assert matches({"iec104.test|startswith": "t"}, {"iec104.test": True})
    assert matches({"message|contains": 5}, {"message": "x5y"})
    assert matches({"message": True}, {"message": "TRUE"})
    assert not matches({"modbus.address": True}, {"modbus.address": 1})


def test_a_literal_with_a_nul_among_many_is_found():
    section = {f"s{n}": {"message|contains": f"filler{n}"} for n in range(40)}
    ruleset = load({**section, "nul": {"message|wide|contains": "ab"}, "condition": "1 of *"})
    assert detects(ruleset, {"message": "xa\0b\0"})
    assert not detects(ruleset, {"message": "a"})


# --- regular expressions --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("^ab$", "ab\n", True),  # as in PCRE
        ("^ab$", "ab\n\n", False),
        ("[$]$", "$", True),
        (r"\$", "a$", True),
        (r"\Qa$\E", "a$", True),
        ("(?m)^b$", "a\nb\nc", True),
        ("a|b$", "b\n", True),
        ("(?i)STRASSE", "strasse", True),
    ],
)
def test_anchors_are_those_of_pcre(pattern, text, expected):
    assert matches({"message|re": pattern}, {"message": text}) is expected


@pytest.mark.parametrize("pattern", ["(?=a)b", "(?<!a)b", r"(a)\1", "(?>a)", "a++", "(", "[z-a]"])
def test_what_takes_more_than_linear_time_or_is_malformed_is_named(pattern):
    ruleset = load({"sel": {"message|re": pattern}, "condition": "sel"})
    (error,) = errors(ruleset)
    assert error.startswith(f"regular expression {pattern!r} cannot be matched in linear time: ")
    assert ruleset.rules[0].error == error


def test_what_only_hyperscan_takes_is_matched_by_it():
    if hyperscan_module() is None:
        assert "linear time" in message({"message|re": "^a{1500}$"})
        return
    assert matches({"message|re|i": "^a{1500}b"}, {"message": "A" * 1500 + "b"})
    assert not matches({"message|re": "^a{1500}b"}, {"message": "a" * 1499 + "b"})
    assert compile_regex("a{1500}", "").search("a" * 1500)


def test_a_regular_expression_may_have_sides():
    assert matches({"message|re|startswith": "a|b"}, {"message": "bx"})
    assert not matches({"message|re|startswith": "a|b"}, {"message": "xb"})
    assert matches({"message|re|endswith": "a|b"}, {"message": "xa"})
    assert matches({"message|re|contains": "b.d"}, {"message": "abcde"})


# --- detections and conditions --------------------------------------------------------------------------------------

PARTS = {name: {"message|contains": name} for name in ("a1", "a2", "b1", "not_b", "order", "_x")}


@pytest.mark.parametrize(
    ("condition", "text", "expected"),
    [
        ("a1 or a2 and b1", "a1", True),
        ("(a1 or a2) and b1", "a1", False),
        ("not a1 and b1", "b1", True),
        ("not not a1", "a1", True),
        ("not (a1 and not (a2 or b1))", "a1", False),
        ("1 of a*", "a2", True),
        ("all of a*", "a2", False),
        ("any of *1", "b1", True),
        ("all of them", "a1 a2 b1 not_b order", True),
        ("1 of them", "_x", False),
        ("1 of _*", "_x", True),
        ("not_b", "not_b", True),
        ("order", "order", True),
        ("a1 AND NOT b1", "a1", True),
        (["a1 and a2", "b1"], "b1", True),
        ("((((a1))))", "a1", True),
        ("a1 and not 1 of b*", "a1", True),
    ],
)
def test_conditions(condition, text, expected):
    assert detects(load({**PARTS, "condition": condition}), {"message": text}) is expected


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        ("a1 and", "the condition ends where a detection is expected"),
        ("a1 a2", "'and' or 'or' is missing before 'a2'"),
        ("(a1", "a bracket is not closed"),
        ("a1)", "'and' or 'or' is missing before ')'"),
        ("", "the condition is empty"),
        ([], "the condition is empty"),
        (5, "a condition is a text, not 5"),
        ("2 of a*", "'2 of' is not part of the language"),
        ("1 of zz*", "the condition's 'zz*' fits none of the rule's detections"),
        ("missing", "Detection 'missing' not defined in detections"),
        ("a1 | count() > 5", "aggregations behind '|' are no longer part of a condition: write a correlation rule"),
        ("(" * 200 + "a1" + ")" * 200, "the condition is nested more than 100 deep"),
    ],
)
def test_a_condition_that_is_none_is_named(condition, said):
    assert errors(load({**PARTS, "condition": condition})) == [said]


def test_what_is_most_likely_a_mistake_is_warned_about():
    assert warnings(load({"sel": {"message": "a"}, "stray": {"message": "b"}, "condition": "sel"})) == [
        "no condition looks at the detection 'stray'"
    ]
    assert warnings(load({"sel": {"message|contains|all": ["a"]}, "condition": "sel"})) == [
        "'all' says nothing about a single value (message|contains|all)"
    ]
    assert "null stands among other values" in warnings(load({"sel": {"message": ["", None]}, "condition": "sel"}))[0]
    assert "write a correlation" in errors(load({"sel": {"message": "a"}, "timeframe": "5m", "condition": "sel"}))[0]


def test_lists_of_maps_and_keywords_are_alternatives():
    item = [{"message": "a", "user.name": "b"}, "needle", {"modbus.address": 5}]
    assert matches(item, {"message": "a", "user.name": "b"})
    assert not matches(item, {"message": "a"})
    assert matches(item, {"event.category": ["a NEEDLE"]})
    assert matches(item, {"modbus.address": 5})


def test_keywords_with_modifiers_look_at_each_text_of_the_event():
    event = {"message": "Begin and end", "user.name": "bob"}
    assert matches({"|all": ["begin", "BOB"]}, event)
    assert matches({"|startswith": "begin"}, event)
    assert not matches({"|startswith": "and"}, event)
    assert not matches({"|cased": "begin"}, event)
    assert matches({"|re": "^b.b$"}, event)
    assert matches(["b*n and"], event)
    assert "a keyword cannot be a network" in message({"|cidr": "10.0.0.0/8"})


def test_null_empty_and_absent_are_told_apart_as_far_as_a_table_can():
    for absent in ({}, {"message": None}):
        assert matches({"message": None}, absent)
        assert not matches({"message": ""}, absent)
        assert matches({"message|neq": "x"}, absent)
        assert not matches({"message|exists": True}, absent)
    assert matches({"message": ""}, {"message": ""})
    assert matches({"message|exists": True}, {"message": ""})
    assert matches({"message|neq": None}, {"message": ""})
    assert matches({"event.category": None}, {"event.category": [None]})


# --- filters --------------------------------------------------------------------------------------------------------


def filter_of(rules: Any, logsource: dict[str, str], **section: Any) -> dict[str, Any]:
    return {"title": "a filter", "logsource": logsource, "filter": {"rules": rules, **section}}


@pytest.mark.parametrize(
    ("rules", "logsource", "applies"),
    [
        ("any", {"product": "ics"}, True),
        ([], {"product": "ics", "service": "modbus"}, True),
        (["it"], {"product": "ics"}, True),
        ("00000000-0000-4000-8000-000000000001", {"product": "ics"}, True),
        (["other"], {"product": "ics"}, False),
        ("any", {"product": "windows"}, False),
        ("any", {"product": "ics", "category": "process_creation"}, False),
    ],
)
def test_a_filter_is_joined_to_the_rules_it_names_of_its_log_source(rules, logsource, applies):
    one = filter_of(rules, logsource, adm={"user.name|startswith": "adm_"}, condition="not 1 of a*")
    ruleset = load({"adm": {"message": "x"}, "condition": "adm"}, one)  # the same name in both is no matter
    assert detects(ruleset, {"message": "x", "user.name": "bob"})
    assert detects(ruleset, {"message": "x", "user.name": "adm_bob"}) is not applies
    assert bool(warnings(ruleset)) is not applies


def test_a_filter_that_cannot_be_evaluated_is_named():
    bad = filter_of("any", {"product": "ics"}, one={"message|re": "(?=a)"}, condition="not one")
    ruleset = load({"sel": {"message": "x"}, "condition": "sel"}, bad)
    assert "linear time" in errors(ruleset)[0]
    assert errors(load({"sel": {"message": "x"}, "condition": "sel"}, {**bad, "filter": {"rules": "any"}}))
