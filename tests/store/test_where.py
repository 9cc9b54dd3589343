"""The language of --where."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from event.errors import UserError
from event.fields import FIELDS
from store.embedded import EmbeddedStore
from store.where import MAX_DEPTH, And, Not, Or, parse, syntax
from store.where import Test as Question

ROWS = pl.DataFrame(
    {
        "event.id": ["a", "b", "c", "d"],
        "@timestamp": pl.Series(
            [datetime(2026, 3, day, 10, tzinfo=UTC) for day in (1, 2, 3, 4)], dtype=pl.Datetime("ns", "UTC")
        ),
        "modbus.function_code": pl.Series([5, 3, None, 16], dtype=pl.Int64),
        "source.ip": ["10.0.0.5", "10.0.1.9", "fd00::1", None],
        "modbus.matched": [None, True, False, True],
        "modbus.values": pl.Series([[1, 500], [], None, [7]], dtype=pl.List(pl.Int64)),
        "tags": pl.Series([["truncated"], None, ["after_gap", "mid"], []], dtype=pl.List(pl.String)),
        "alert.source_ips": pl.Series([["192.168.1.1", "10.9.9.9"], None, ["bad"], []], dtype=pl.List(pl.String)),
        "message": ['say "hi"', "a\\b", "50% (x)", "Failed\npassword"],
        "dnp3.value_min": [1.5, -2.0, None, 3.0],
    }
)


def chosen(text: str) -> str:
    return "".join(ROWS.filter(parse(text))["event.id"].to_list())


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("modbus.function_code == 5", "a"),
        ("modbus.function_code = 0x10", "d"),
        ("modbus.function_code != 5", "bd"),
        ("not modbus.function_code == 5", "bcd"),
        ("modbus.function_code < 5", "b"),
        ("modbus.function_code <= 5", "ab"),
        ("modbus.function_code > 4.5", "ad"),
        ("modbus.function_code >= 16", "d"),
        ("modbus.function_code in (5,6,15,16)", "ad"),
        ("modbus.function_code in (5.5, 16)", "d"),
        ("modbus.function_code not in (5, 16)", "bc"),
        ("modbus.function_code exists", "abd"),
        ("exists modbus.function_code", "abd"),
        ("exists(modbus.function_code)", "abd"),
        ("missing modbus.function_code", "c"),
        ("modbus.function_code missing", "c"),
        ("modbus.matched", "bd"),
        ("not modbus.matched", "ac"),
        ("modbus.matched == false", "c"),
        ("modbus.matched != true", "c"),
        ('source.ip == "10.0.0.5"', "a"),
        ("source.ip == 10.0.0.5", "a"),
        ("source.ip cidr 10.0.0.0/23", "ab"),
        ("source.ip cidr 10.0.0.0/24", "a"),
        ("source.ip cidr (10.0.1.0/24, fd00::/8)", "bc"),
        ("source.ip startswith '10.0'", "ab"),
        ("source.ip endswith '9' or source.ip contains ::", "bc"),
        ("modbus.values == 7", "d"),
        ("modbus.values > 100", "a"),
        ("modbus.values in (1, 7)", "ad"),
        ("modbus.values != 1", "ad"),
        ("modbus.values exists", "ad"),
        ("modbus.values missing", "bc"),
        ("tags contains gap", "c"),
        ("tags == truncated", "a"),
        ("tags matches '^(mid|trunc)'", "ac"),
        ("alert.source_ips cidr 10.0.0.0/8", "a"),
        (r'message contains "\"hi\""', "a"),
        (r"message contains '\\'", "b"),
        ("message contains '% (x)'", "c"),
        (r"message endswith '\npassword'", "d"),
        (r"message matches '(?i)failed\\spass'", "d"),
        ("message matches ^5", "c"),
        ("@timestamp >= 2026-03-03", "cd"),
        ("@timestamp == 2026-03-02T10:00:00Z", "b"),
        ("@timestamp < '2026-03-02 18:00:00+08:00'", "a"),
        ("@timestamp in (2026-03-02T10:00, 2026-03-04T10:00:00.000000000Z)", "bd"),
        ("@timestamp > 2026-03-02T09:59:59.999999999Z and @timestamp < 2026-03-02T10:00:00.000000001Z", "b"),
        ("dnp3.value_min < 0", "b"),
        ("dnp3.value_min in (3, 1.5)", "ad"),
        ("dnp3.value_min == 3", "d"),
        ("event.id >= b and event.id < d", "bc"),
        ("modbus.matched or modbus.function_code == 5 and source.ip == nowhere", "bd"),
        ("(modbus.matched or modbus.function_code == 5) and not source.ip == 10.0.0.5", "bd"),
        ("NOT (event.id == a OR event.id == b) AND NOT event.id == c", "d"),
        ("not not event.id == a", "a"),
        ('modbus.function_code in (5,6,15,16) and source.ip == "10.0.0.5" and not modbus.matched', "a"),
    ],
)
def test_an_expression_chooses_rows(text: str, rows: str) -> None:
    assert chosen(text) == rows


@pytest.mark.parametrize(
    ("text", "said", "position"),
    [
        ("", "expected a field", 1),
        ("modbus.functioncode == 5", "no such field: modbus.functioncode", 1),
        ("source.ip == 1 and adress == 5", "no such field: adress", 20),
        ("source.ip 10.0.0.5", "expected an operator after source.ip", 11),
        ("source.ip", "alone is no test", 1),
        ("source.ip ==", "expected a value, found the end", 13),
        ("source.ip == and", "expected a value", 14),
        ("source.ip in 10.0.0.5", "expected ( after in", 14),
        ("source.ip in (10.0.0.5", "expected ) after the values", 23),
        ("source.ip in ()", "expected a value", 15),
        ("(source.ip exists", "expected ) after the group", 18),
        ("source.ip exists)", "unexpected ')'", 17),
        ("source.ip exists source.port exists", "unexpected 'source.port'", 18),
        ("source.ip == 'x", "does not end", 14),
        ("source.ip ! x", "unexpected '!'", 11),
        ("source.ip not == x", "after not", 15),
        ("source.ip cidr 10.0.0.0/33", "not a network", 16),
        ("source.ip < 10.0.0.1", "does not fit", 11),
        ("source.port contains 1", "does not fit", 13),
        ("message cidr 10.0.0.0/8", "does not fit", 9),
        ("source.port == many", "is a number", 16),
        ("source.port == nan", "is a number", 16),
        ("source.port in (inf)", "is a number", 17),
        ("message == a\udc80", "is not text", 13),
        ("source.port == 99999999999999999999", "64 bits", 16),
        ("modbus.matched == 1", "is a boolean", 19),
        ("@timestamp > yesterday", "is an instant", 14),
        ("@timestamp > 2026-13-01", "is an instant", 14),
        ("@timestamp > 9999-01-01", "outside", 14),
        ("message matches '('", "not a pattern", 17),
        ("message matches '(a)\\\\1'", "not a pattern", 17),
        (r"message == 'a\q'", "unknown escape", 14),
        (r"message == '\ud800'", "surrogate", 12),
        ("not " * (MAX_DEPTH + 1) + "modbus.matched", "nested deeper", 4 * MAX_DEPTH + 1),
        ("(" * 10_000, "nested deeper", MAX_DEPTH + 1),
    ],
)
def test_a_mistake_is_named_with_its_place(text: str, said: str, position: int) -> None:
    with pytest.raises(UserError) as caught:
        parse(text)
    assert said in caught.value.what
    assert caught.value.where == f"--where, character {position}"


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("modbus.functon_code", "modbus.function_code"),
        ("function_code", "modbus.function_code"),
        ("sourceip", "source.ip"),
    ],
)
def test_an_unknown_field_brings_its_nearest_names(name: str, near: str) -> None:
    with pytest.raises(UserError) as caught:
        parse(f"{name} == 1")
    assert near in (caught.value.hint or "")


def test_too_long_a_text_is_refused() -> None:
    with pytest.raises(UserError, match="allowed"):
        parse("x" * 100_000)


def test_the_tree_is_plain_data() -> None:
    tree = syntax("source.port in (1, 2) and not (tags exists or message contains x)")
    port, tags, message = FIELDS["source.port"], FIELDS["tags"], FIELDS["message"]
    assert tree == And(
        (
            Question(port, "in", (1, 2)),
            Not(Or((Question(tags, "exists"), Question(message, "contains", ("x",))))),
        )
    )


def test_a_long_chain_does_not_nest() -> None:
    assert chosen(" or ".join(["event.id == a"] * 3000)) == "a"


def test_every_field_can_be_asked_in_a_store(tmp_path: Path) -> None:
    table = ROWS.select("event.id", "@timestamp", "source.ip", "tags").with_columns(
        pl.lit("modbus").alias("event.dataset"), pl.lit("event").alias("event.kind")
    )
    with EmbeddedStore(tmp_path / "s") as store:
        store.append(table)
        for name in FIELDS:
            found = sum(t.height for t in store.scan(where=parse(f"exists {name}")))
            assert found == (table.filter(parse(f"exists {name}")).height if name in table.columns else 0)
        both = parse("source.ip cidr 10.0.0.0/8 and not tags matches trunc and missing alert.source_ips")
        assert [i for t in store.search(where=both) for i in t["event.id"].to_list()] == ["b"]
        lists = parse("alert.source_ips cidr 10.0.0.0/8 or modbus.values > 3")
        assert list(store.search(where=lists)) == []


@given(st.text(max_size=80))
def test_any_text_is_an_expression_or_a_user_error(text: str) -> None:
    try:
        predicate = parse(text)
    except UserError:
        return
    assert predicate.meta.root_names()


_WORDS = st.sampled_from(
    [
        *"()<>=!,",
        "==",
        "and",
        "or",
        "not",
        "in",
        "exists",
        "missing",
        "contains",
        "matches",
        "cidr",
        "source.ip",
        "modbus.matched",
        "modbus.values",
        "tags",
        "5",
        "'a'",
        "10.0.0.0/8",
        "true",
        "@timestamp",
        "2026-01-01",
    ]
)


@given(st.lists(_WORDS, max_size=14).map(" ".join))
def test_any_words_give_a_predicate_without_nulls_or_a_user_error(text: str) -> None:
    try:
        predicate = parse(text)
    except UserError:
        return
    assert ROWS.select(predicate.alias("x"))["x"].null_count() == 0
