"""Detection over a store that leaves out: nothing that the engine would find is missed."""

from __future__ import annotations

import itertools
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from coarse_makers import (
    FIELDS_USED,
    START,
    addresses,
    counting,
    events,
    history,
    networks,
    nodes,
    rule,
    rulesets,
    tables,
    words,
)
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from cli.pipeline import detect, ingest
from correlate import narrow as narrowing
from correlate.coarse import coarse
from correlate.detect import Detector
from correlate.ir import RuleSet
from correlate.rules import load_rules
from event.coarse import EVERYTHING, Coarse, fields_of
from event.fields import FIELDS
from store import narrowing as by_polars
from store.base import Share, Store
from store.coarse import to_polars
from store.elastic import ElasticStore
from store.embedded import EmbeddedStore
from store.where import parse

SETTINGS = settings(
    max_examples=40, deadline=None, phases=(Phase.explicit, Phase.generate), suppress_health_check=list(HealthCheck)
)


class Narrow(EmbeddedStore):
    """The embedded store with Polars to leave out, and a note of how much was read."""

    read = 0

    def narrowed(
        self, wanted: Mapping[str, Coarse], *, since: datetime | None = None, until: datetime | None = None
    ) -> Iterator[pl.DataFrame]:
        for one in by_polars.narrowed(self, wanted, since=since, until=until):
            self.read += one.height
            yield one

    def shares(
        self, wanted: Mapping[str, Coarse], *, since: datetime | None = None, until: datetime | None = None
    ) -> dict[str, Share]:
        return by_polars.shares(self, wanted, since=since, until=until)

    def groups(
        self,
        dataset: str,
        condition: Coarse,
        by: Sequence[str],
        span: timedelta,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        most: int,
    ) -> pl.DataFrame | None:
        return by_polars.groups(self, dataset, condition, by, span, since=since, until=until, most=most)


def matched(node: Any, table: pl.DataFrame) -> list[str]:
    """Ids of the events of a table that the engine matches."""
    alerts = Detector(RuleSet((rule(1, node),))).feed(table)
    return alerts["alert.event_ids"].explode(empty_as_null=True).to_list() if alerts.height else []


@SETTINGS
@given(nodes, events)
def test_the_coarse_predicate_holds_for_every_event_that_the_engine_matches(node, rows):
    condition = coarse(node)
    for table in tables(rows):
        full = by_polars.filled(table, fields_of(condition))
        chosen = full.filter(to_polars(condition))["event.id"].to_list()
        assert set(matched(node, table)) <= set(chosen)


def alerts_of(store: Store, since: datetime | None = None) -> list[dict[str, Any]]:
    found = [row for table in store.scan(["jianmen.alert"], since=since) for row in table.iter_rows(named=True)]
    kept = [{key: value for key, value in row.items() if value is not None} for row in found]
    return sorted(kept, key=lambda row: row["event.id"])


def compare(ruleset: RuleSet, plain: Store, other: Store, since: datetime | None = None) -> None:
    """Detect over both stores, the second one narrowed: the same alerts, and the same said about rules."""
    whole, first = detect(plain, ruleset, push_down=False, since=since)
    narrowed, second = detect(other, ruleset, push_down=True, since=since)
    assert alerts_of(other, since) == alerts_of(plain, since)
    assert narrowed.alerts == whole.alerts
    assert (narrowed.events, narrowed.read <= whole.read) == (whole.events, True)
    for one, two in zip(first.status(), second.status(), strict=True):
        assert (one.id, one.datasets_seen, one.state) == (two.id, two.datasets_seen, two.state)
        if not one.correlation:
            assert one.events == two.events


@SETTINGS
@given(rulesets(), events.map(history), st.integers(1, 60))
def test_detection_over_a_narrowed_read_raises_the_same_alerts(ruleset, rows, most):
    usual = narrowing.MOST_COUNTED, narrowing.MOST_GROUPS
    narrowing.MOST_COUNTED, narrowing.MOST_GROUPS = most, min(most, 3)
    with tempfile.TemporaryDirectory() as folder:
        try:
            with EmbeddedStore(Path(folder) / "whole") as plain, Narrow(Path(folder) / "narrow") as other:
                for table in tables(rows):
                    plain.append(table)
                    other.append(table)
                compare(ruleset, plain, other)
        finally:
            narrowing.MOST_COUNTED, narrowing.MOST_GROUPS = usual


def at(second: int, action: str = "read", **more: Any) -> dict[str, Any]:
    return {"@timestamp": second, "event.dataset": "modbus", "event.action": action, **more}


IP = "source.ip"
# What happens, what is looked for, alerts, and how many events have to be read (START is a minute before midnight).
STORIES: dict[str, tuple[RuleSet, list[dict[str, Any]], int, int]] = {
    "a window over the edge of two pieces": (
        counting("event_count", IP),
        [
            at(50, **{IP: "10.0.0.1"}),
            at(60, **{IP: "10.0.0.1"}),
            at(70, **{IP: "10.0.0.1"}),
            at(60, **{IP: "10.0.0.2"}),
        ],
        1,
        3,
    ),
    "the ends of a window, to the second": (
        counting("event_count", IP),
        [at(59, **{IP: "10.0.0.1"}), at(60, **{IP: "10.0.0.1"}), at(119, **{IP: "10.0.0.1"})],
        1,
        3,
    ),
    "enough over the hours, never in a window": (
        counting("event_count", IP),
        [at(second, **{IP: "10.0.0.1"}) for second in (0, 200, 400)],
        0,
        0,
    ),
    "one group in two cases": (
        counting("event_count", "network.protocol"),
        [at(n, **{"network.protocol": name}) for n, name in enumerate(("kernel", "KERNEL", "\u212aernel", "other"))],
        1,
        3,
    ),
    "collapsed events count in full": (
        counting("event_count", IP),
        [at(0, **{IP: "10.0.0.1", "event.count": 3}), at(0, **{IP: "10.0.0.2", "event.count": -3})],
        1,
        1,
    ),
    "values apart, in whatever case": (
        counting("value_count", IP, value="network.protocol"),
        [at(n, **{IP: "10.0.0.1", "network.protocol": name}) for n, name in enumerate("aAbBc")]
        + [at(n, **{IP: "10.0.0.2", "network.protocol": name}) for n, name in enumerate("aAbBb")],
        1,
        5,
    ),
    "an event without a value is read where it may show": (
        counting("value_count", "network.protocol", value="destination.port"),
        [at(n, **{"network.protocol": "s", "destination.port": n}) for n in range(3)]
        + [at(1, **{"network.protocol": "S"})],
        1,
        4,
    ),
    "one rule after another": (
        counting("temporal_ordered", IP, rules=2),
        [at(second, "write", **{IP: "10.0.0.1"}) for second in (61, 60)]
        + [at(second, **{IP: address}) for second, address in ((0, "10.0.0.1"), (3, "10.0.0.2"))]
        + [at(300, "write", **{IP: "10.0.0.2"})],
        1,
        3,
    ),
}


@pytest.mark.parametrize("story", STORIES)
def test_what_is_read_is_what_can_matter(story: str, tmp_path: Path) -> None:
    ruleset, rows, alerts, read = STORIES[story]
    with EmbeddedStore(tmp_path / "whole") as plain, Narrow(tmp_path / "narrow") as other:
        for table in tables(rows):
            plain.append(table)
            other.append(table)
        compare(ruleset, plain, other)
        assert len(alerts_of(plain)) == alerts
        assert other.read == read


@pytest.mark.parametrize(
    ("op", "text", "values"),
    [
        ("eq", "kernel", ["\u212aERNEL", "Kernel"]),
        ("startswith", "ki", ["\u212aI", "kI x"]),
        ("contains", "s", ["a\u017fb", "S"]),
        ("endswith", "å", ["\u212b", "Å"]),
        ("contains", "σ", ["ΟΔΟΣ", "ς"]),
    ],
)
def test_every_form_of_a_letter_is_found(op: str, text: str, values: list[str]) -> None:
    condition = coarse(["atom", "network.protocol", op, text])
    for value in values:
        table = tables([{"@timestamp": 0, "event.dataset": "modbus", "network.protocol": value}])[0]
        assert matched(["atom", "network.protocol", op, text], table), value
        assert table.filter(to_polars(condition)).height, value


def test_a_read_is_narrowed_only_where_that_leaves_out_half(tmp_path: Path) -> None:
    ruleset = counting("event_count", IP)
    for others, narrowed in ((2, False), (3, True)):
        with Narrow(tmp_path / str(others)) as store:
            rows = [at(n, **{IP: "10.0.0.1"}) for n in range(3)] + [at(n, "other") for n in range(others)]
            for table in tables(rows):
                store.append(table)
            result, _ = detect(store, ruleset)
            assert result.events == len(rows)
            assert (store.read > 0) is narrowed


# The same over a cluster. Each example has an hour of its own in one store: making indices takes its time.


@pytest.fixture(params=["elastic_8", "elastic_9"])
def elastic(request: pytest.FixtureRequest) -> Iterator[ElasticStore]:
    cluster = request.getfixturevalue(request.param)
    prefix = f"p{uuid.uuid4().hex[:12]}"
    with ElasticStore(cluster.url, prefix=prefix) as store:
        yield store
    cluster.request("DELETE", f"/{prefix}-*?expand_wildcards=all")
    cluster.request("DELETE", f"/_index_template/{prefix}-*")


ON_NODES = settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.generate),
)
HOURS = itertools.count()


def fresh() -> tuple[str, datetime]:
    number = next(HOURS)
    return f"{number:08x}", START + timedelta(hours=number)


@pytest.mark.elastic
def test_the_query_finds_every_event_that_the_engine_matches(elastic: ElasticStore) -> None:
    @ON_NODES
    @given(st.lists(nodes, min_size=12, max_size=12), events)
    def check(conditions: list[Any], rows: list[dict[str, Any]]) -> None:
        origin, start = fresh()
        made = tables(rows, origin, start)
        for table in made:
            elastic.append(table)
        for node in conditions:
            wanted = {str(table["event.dataset"][0]): coarse(node) for table in made}
            found = [one for table in elastic.narrowed(wanted, since=start) for one in table["event.id"].to_list()]
            expected = {one for table in made for one in matched(node, table)}
            assert expected <= set(found)
            shares = elastic.shares(wanted, since=start)
            assert sum(share.chosen for share in shares.values()) == len(found)
            assert {name: share.events for name, share in shares.items()} == {
                str(table["event.dataset"][0]): table.height for table in made
            }

    check()


@pytest.mark.elastic
def test_detection_pushed_down_to_a_cluster_raises_the_same_alerts(elastic: ElasticStore) -> None:
    @ON_NODES
    @given(rulesets(), events.map(history))
    def check(ruleset: RuleSet, rows: list[dict[str, Any]]) -> None:
        origin, start = fresh()
        with tempfile.TemporaryDirectory() as folder, EmbeddedStore(Path(folder)) as plain:
            for table in tables(rows, origin, start):
                plain.append(table)
                elastic.append(table)
            compare(ruleset, plain, elastic, start)

    check()


@pytest.mark.elastic
@pytest.mark.parametrize("story", STORIES)
def test_what_is_read_of_a_cluster_is_what_can_matter(story: str, elastic: ElasticStore, tmp_path: Path) -> None:
    ruleset, rows, alerts, read = STORIES[story]
    origin, start = fresh()
    with EmbeddedStore(tmp_path) as plain:
        for table in tables(rows, origin, start):
            plain.append(table)
            elastic.append(table)
        compare(ruleset, plain, elastic, start)
        assert len(alerts_of(plain)) == alerts
        assert detect(elastic, ruleset, since=start, push_down=True)[0].read == read


@pytest.mark.elastic
def test_groups_are_counted_alike_by_both_stores(elastic: ElasticStore) -> None:
    @ON_NODES
    @given(
        nodes,
        st.lists(st.sampled_from(["network.protocol", "modbus.function_code", "modbus.matched", "tags"]), unique=True),
        st.sampled_from([1, 7, 60, 3600]),
        events.map(history),
    )
    def check(node: Any, by: list[str], seconds: int, rows: list[dict[str, Any]]) -> None:
        origin, start = fresh()
        # What is too long for an index is a reason not to count.
        short = [{key: value for key, value in row.items() if "<long>" not in str(value)} for row in rows]
        with tempfile.TemporaryDirectory() as folder, Narrow(Path(folder)) as plain:
            made = tables(short, origin, start)
            for table in made:
                plain.append(table)
                elastic.append(table)
            for dataset in {str(table["event.dataset"][0]) for table in made}:
                condition = EVERYTHING
                one, two = (
                    store.groups(dataset, condition, by, timedelta(seconds=seconds), since=start, most=10_000)
                    for store in (plain, elastic)
                )
                assert one is not None
                assert two is not None
                assert sorted(map(repr, one.rows())) == sorted(map(repr, two.rows()))
                if one.height:
                    few = one.height - 1
                    assert (
                        elastic.groups(dataset, condition, by, timedelta(seconds=seconds), since=start, most=few)
                        is None
                    )

    check()


@pytest.mark.elastic
def test_all_shipped_rules_find_the_same_in_the_shipped_captures(elastic: ElasticStore, tmp_path: Path) -> None:
    captures = sorted((Path(__file__).parents[2] / "pcaps").rglob("*.pcap"))
    assert captures
    with EmbeddedStore(tmp_path / "store") as plain:
        ingest(captures, plain)
        for table in plain.scan():
            elastic.append(table)
        elastic.flush()
        ruleset = load_rules()
        compare(ruleset, plain, elastic)
        assert len(alerts_of(plain)) > 20
        whole, _ = detect(elastic, ruleset, push_down=False)
        narrowed, _ = detect(elastic, ruleset, push_down=True)
        assert narrowed.read < whole.read


@pytest.mark.elastic
def test_where_answers_the_same_on_both_stores(elastic: ElasticStore) -> None:
    @ON_NODES
    @given(st.lists(wheres(), min_size=12, max_size=12), events)
    def check(texts: list[str], rows: list[dict[str, Any]]) -> None:
        origin, start = fresh()
        with tempfile.TemporaryDirectory() as folder, EmbeddedStore(Path(folder)) as plain:
            for table in tables(rows, origin, start):
                plain.append(table)
                elastic.append(table)
            for text in texts:
                one, two = (
                    [event for table in store.search(since=start, where=parse(text)) for event in table["event.id"]]
                    for store in (plain, elastic)
                )
                assert (text, one) == (text, two)

    check()


@st.composite
def wheres(draw: st.DrawFn, depth: int = 2) -> str:
    """Expressions of the language of ``events search --where``."""
    if depth and draw(st.booleans()):
        kind = draw(st.sampled_from(["and", "or", "not"]))
        one = draw(wheres(depth - 1))
        return f"not ({one})" if kind == "not" else f"({one}) {kind} ({draw(wheres(depth - 1))})"
    name = draw(st.sampled_from([one for one in FIELDS_USED if one in FIELDS]))
    kind = FIELDS[name].kind
    if kind in ("keyword", "text", "ip"):
        value = draw(addresses if kind == "ip" else words)
        quoted = '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
        operators = ["==", "!=", "contains", "startswith", "endswith"] + ([] if kind == "ip" else ["<", ">="])
        return draw(
            st.sampled_from(
                [f"{name} {operator} {quoted}" for operator in operators]
                + [f"{name} in ({quoted}, 'k')", f"{name} exists", f"{name} missing"]
                + ([f"{name} cidr {draw(networks)}"] if kind == "ip" else [f'{name} matches "k|[0-9]"'])
            )
        )
    value = {
        "long": st.integers(-3, 12).map(str),
        "double": st.sampled_from(["0.5", "2.5", "5", "-1"]),
        "boolean": st.sampled_from(["true", "false"]),
        "date": st.integers(0, 10**6).map(lambda seconds: f"{(START + timedelta(seconds=seconds)):%Y-%m-%dT%H:%M:%SZ}"),
    }[kind]
    operators = ["==", "!="] + ([] if kind == "boolean" else ["<", "<=", ">", ">="])
    return draw(st.sampled_from([f"{name} {one} {draw(value)}" for one in operators] + [f"{name} exists"]))
