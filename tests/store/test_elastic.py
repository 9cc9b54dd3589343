"""What the contract does not say of the store in Elasticsearch, on real nodes of both versions."""

from __future__ import annotations

import math
import re
import threading
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import nodes
import orjson
import polars as pl
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from event.ecs import IGNORE_ABOVE, WILDCARDS, mapping
from event.errors import StoreError
from event.fields import FIELDS
from event.incident import Incident
from event.table import conform
from store import where
from store.elastic import ElasticStore, arrivals, coarse
from store.elastic.documents import Decoder, bodies, joined
from store.elastic.names import Names, document_id, slug
from store.elastic.templates import properties, templates

pytestmark = pytest.mark.elastic

T0 = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture(params=["elastic_8", "elastic_9"])
def cluster(request: pytest.FixtureRequest) -> nodes.Cluster:
    found: nodes.Cluster = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def opener(cluster: nodes.Cluster, tmp_path: Path) -> Iterator[Callable[..., ElasticStore]]:
    prefix = f"e{uuid.uuid4().hex[:12]}"
    opened: list[ElasticStore] = []

    def open_it(**more: Any) -> ElasticStore:
        opened.append(ElasticStore(cluster.url, **{"prefix": prefix, "rejected": tmp_path / "rejected", **more}))
        return opened[-1]

    yield open_it
    for store in opened:
        store.close()
    cluster.request("DELETE", f"/{prefix}-*?expand_wildcards=all")
    cluster.request("DELETE", f"/_index_template/{prefix}-*")


def events(
    count: int, dataset: str = "modbus", origin: str = "aaaa", step: float = 1.0, **columns: Any
) -> pl.DataFrame:
    frame = pl.DataFrame(
        {
            "@timestamp": pl.Series(
                [T0 + timedelta(seconds=n * step) for n in range(count)], dtype=pl.Datetime("ns", "UTC")
            ),
            "event.id": [f"{origin}-{n:012d}-{dataset}-0" for n in range(count)],
            "event.dataset": dataset,
            "event.kind": "event",
        }
    )
    return conform(
        frame.with_columns(
            pl.Series(name, value, dtype=FIELDS[name].dtype) if isinstance(value, list) else pl.lit(value).alias(name)
            for name, value in columns.items()
        )
    )


def all_of(store: ElasticStore, **more: Any) -> pl.DataFrame:
    return pl.concat(list(store.search(**more)), how="diagonal")


# Names and mappings: no node is asked.


def test_no_name_of_the_catalogue_is_the_parent_of_another() -> None:
    assert [name for name in FIELDS for other in FIELDS if other.startswith(name + ".")] == []
    assert not [name for name in FIELDS if name.startswith(("jianmen.", "rest"))]
    assert not [name for name in FIELDS if not re.fullmatch("[a-z0-9_@.]+", name)]  # what is cut out of texts


def test_every_field_is_mapped_with_the_type_of_ecs() -> None:
    found = mapping(FIELDS.values(), wildcard=True)

    def type_of(name: str) -> Any:
        level: Any = {"properties": found}
        for key in name.split("."):
            level = level["properties"][key]
        return level["type"]

    kinds = {"keyword": "keyword", "ip": "ip", "text": "text", "long": "long", "double": "double", "boolean": "boolean"}
    for name, field in FIELDS.items():
        expected = "wildcard" if name in WILDCARDS else kinds.get(field.kind, "date_nanos")
        assert type_of(name) == ("keyword" if name == "event.original" else expected), name
    assert "wildcard" not in str(mapping(FIELDS.values(), wildcard=False))


def test_an_indexed_keyword_fits_a_term_of_lucene_whatever_its_letters() -> None:
    assert 4 * IGNORE_ABOVE <= 32_766


@pytest.mark.parametrize("prefix", ["", "A", "a-b", "*", "a/b", "_a", "a" * 80])
def test_a_prefix_that_may_meet_another_stores_names_is_refused(prefix: str) -> None:
    with pytest.raises(StoreError, match="prefix"):
        Names(prefix)


@given(st.lists(st.text(min_size=1, max_size=200), unique=True, max_size=50))
def test_datasets_share_no_index(names: list[str]) -> None:
    slugs = [slug(name) for name in names]
    assert len(set(slugs)) == len(names)
    for one in slugs:
        assert len(one.encode()) <= 100
        assert not set(one) & set('\\/*?"<>| ,#:-')
        assert one == one.lower()
        assert one[0] not in "._+-"


@given(st.lists(st.text(max_size=600), unique=True, max_size=20))
def test_documents_have_ids_of_their_own_that_fit(ids: list[str]) -> None:
    found = [document_id(one) for one in ids]
    assert len(set(found)) == len(ids)
    assert all(0 < len(one.encode()) <= 512 for one in found)


HOSTILE = st.text(alphabet=',":{}[]nul\\\n\x00a长', max_size=12) | st.sampled_from(
    [',"code":null', '","code":null,"x":"', '{"code":null,', ":null", "x,", '":null}', '}}\n{"create":{}}']
)


@settings(max_examples=150, deadline=None)
@given(
    texts=st.lists(st.none() | HOSTILE, min_size=1, max_size=8),
    lists=st.lists(st.none() | st.lists(st.none() | HOSTILE, max_size=4), min_size=8, max_size=8),
    floats=st.lists(st.none() | st.floats(), min_size=8, max_size=8),
)
def test_any_text_survives_the_way_to_a_document_and_back(
    texts: list[str | None], lists: list[list[str | None] | None], floats: list[float | None]
) -> None:
    count = len(texts)
    table = events(
        count,
        dataset="zeek.x",
        **{"error.code": texts, "message": texts[::-1], "zeek.fields": texts, "tags": lists[:count]},
        **{"iec104.value_min": floats[:count], "iec104.ioa": [[n, None] for n in range(count)]},
    )
    lines = joined(bodies(table)).splitlines()
    assert len(lines) == 2 * count
    documents = [orjson.loads(line) for line in lines[1::2]]
    assert [one["event"]["id"] for one in documents] == table["event.id"].to_list()
    assert not [key for one in documents for key, value in one.items() if value is None]
    answer = b'{"hits":{"hits":[' + b",".join(b'{"_source":' + one + b"}" for one in lines[1::2]) + b"]}}"
    back, hits, _ = Decoder(table.columns).table(answer)
    assert hits == count
    assert back.select(table.columns).equals(table, null_equal=True)


def test_the_templates_say_what_is_not_known_is_not_indexed() -> None:
    for one in templates(Names("x"), wildcard=False).values():
        assert one["template"]["mappings"]["dynamic"] is False
    assert properties(wildcard=False)["rest"]["type"] == "flattened"


# Writing.


def test_an_index_holds_a_dataset_and_a_day(cluster: nodes.Cluster, opener: Callable[..., ElasticStore]) -> None:
    with opener() as store:
        store.append(events(4, step=43_200))
        store.append(events(1, dataset="dnp3"))
        store.flush()
        status, found = cluster.request("GET", f"/_resolve/index/{store.names.prefix}-*")
        assert status == 200
        expected = [f"{store.names.prefix}-events-{tail}" for tail in ("dnp3-2026.03.01", "modbus-2026.03.01")]
        expected.append(f"{store.names.prefix}-events-modbus-2026.03.02")
        expected.append(f"{store.names.prefix}-events-modbus-2026.03.03")
        assert sorted(one["name"] for one in found["indices"]) == sorted(expected)


def test_documents_are_nested_and_typed(cluster: nodes.Cluster, opener: Callable[..., ElasticStore]) -> None:
    with opener() as store:
        store.append(events(1, **{"source.ip": "10.0.0.1", "modbus.function_code": 5, "tags": [["a", "b"]]}))
        store.flush()
        _, found = cluster.request(
            "GET", f"/{store.names.events}/_search?docvalue_fields=source.ip,modbus.function_code"
        )
        hit = found["hits"]["hits"][0]
    assert hit["_id"] == hit["_source"]["event"]["id"]
    assert hit["_source"]["source"] == {"ip": "10.0.0.1"}
    assert hit["_source"]["@timestamp"] == "2026-03-01T12:00:00.000000000Z"
    assert hit["fields"] == {"source.ip": ["10.0.0.1"], "modbus.function_code": [5]}


def test_what_a_log_says_beyond_the_catalogue_is_found_by_key(
    cluster: nodes.Cluster, opener: Callable[..., ElasticStore]
) -> None:
    deep = '{"a":' * 60 + "1" + "}" * 60
    texts = ['{"ssh_client": "dropbear", "n": 1}', None, deep, '{"x": "\\n\\"}}"}']
    with opener() as store:
        table = events(4, dataset="zeek.ssh", **{"zeek.fields": texts})
        store.append(table)
        store.append(events(1, dataset="zeek.x", origin="bbbb", **{"zeek.fields": ['{"a": 1} {"b": 2}']}))
        store.flush()
        query = {"query": {"term": {"rest.ssh_client": "dropbear"}}}
        _, found = cluster.request("POST", f"/{store.names.events}/_search", query)
        assert [hit["_id"] for hit in found["hits"]["hits"]] == [table["event.id"][0]]
        assert all_of(store, datasets=["zeek.ssh"])["zeek.fields"].to_list() == texts
        assert store.counters()["created"] == 5
        assert store.counters()["rejected"] == 0


def test_numbers_that_json_lacks_come_back(opener: Callable[..., ElasticStore]) -> None:
    values = [1.5, math.nan, math.inf, -math.inf, None, 0.1]
    lists = [[1.0, math.nan], None, [], [math.inf], [2.5], [-0.0]]
    with opener() as store:
        table = events(6, dataset="iec104", **{"iec104.value_min": values, "dnp3.value": lists})
        store.append(table)
        back = all_of(store)
        assert back.select(table.columns).equals(table, null_equal=True)
        large = all_of(store, where=where.parse("iec104.value_min > 1000000"))
        expected = table.filter(where.parse("iec104.value_min > 1000000"))
        assert large["event.id"].to_list() == expected["event.id"].to_list()
        assert math.inf in large["iec104.value_min"].to_list()


def test_a_value_that_is_too_long_for_the_index_is_found_all_the_same(opener: Callable[..., ElasticStore]) -> None:
    long = "长" * 40_000
    with opener() as store:
        store.append(
            events(3, **{"process.command_line": [long + "x", "cmd", None], "host.name": [None, "h" * 9_000, "k"]})
        )
        for text, expected in (
            ("process.command_line endswith 'x'", [0]),
            ("process.command_line contains 长长", [0]),
            ("host.name startswith hhh", [1]),
            ("not host.name startswith hhh", [0, 2]),
            ("host.name exists", [1, 2]),
            ("process.command_line missing", [2]),
        ):
            found = all_of(store, where=where.parse(text), columns=["event.id"])["event.id"].to_list()
            assert [int(one.split("-")[1]) for one in found] == expected, text


def test_a_document_that_the_cluster_refuses_is_parked_with_the_reason_and_the_rest_arrives(
    cluster: nodes.Cluster, opener: Callable[..., ElasticStore], tmp_path: Path
) -> None:
    with opener() as store:
        conflict = {"properties": {"event": {"properties": {"count": {"type": "ip"}}}}}
        assert cluster.request("PUT", f"/{store.names.index('modbus', '2026.03.01')}", {"mappings": conflict})[0] == 200
        table = events(6, **{"event.count": [1, None, 2, None, None, 3]})
        store.append(table)
        store.flush()
        assert {k: store.counters()[k] for k in ("created", "duplicates", "rejected")} == {
            "created": 3,
            "duplicates": 0,
            "rejected": 3,
        }
        good = table.filter(pl.col("event.count").is_null())["event.id"].to_list()
        assert all_of(store)["event.id"].to_list() == good
        parked = pl.concat([pl.read_parquet(path) for path in store.rejected.segments()])
        assert parked["event.id"].to_list() == [one for one in table["event.id"] if one not in good]
        assert parked.select(table.columns).equals(table.filter(pl.col("event.count").is_not_null()))
        assert all("event.count" in reason for reason in parked["reason"])
        assert [path.stat().st_mode & 0o777 for path in (tmp_path / "rejected").iterdir()] == [0o600]


def test_without_a_place_to_park_nothing_is_dropped(
    cluster: nodes.Cluster, opener: Callable[..., ElasticStore]
) -> None:
    store = opener(rejected=None)
    conflict = {"properties": {"event": {"properties": {"count": {"type": "ip"}}}}}
    index = store.names.index("modbus", "2026.03.01")
    cluster.request("PUT", f"/{index}", {"mappings": conflict})
    store.append(events(2, **{"event.count": [1, None]}))
    with pytest.raises(StoreError, match="no folder"):
        store.flush()
    cluster.request("DELETE", f"/{index}")  # the operator puts it right
    store.flush()
    assert all_of(store).height == 2


def test_many_rows_arrive_over_several_connections_once(opener: Callable[..., ElasticStore]) -> None:
    with opener(connections=3) as store, opener(connections=2) as other:
        table = events(23_000, step=0.001, **{"event.count": list(range(23_000))})
        threads = [threading.Thread(target=lambda s=s: (s.append(table), s.flush())) for s in (store, other)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        made = [s.counters() for s in (store, other)]
        assert sum(one["created"] for one in made) == 23_000
        assert sum(one["created"] + one["duplicates"] for one in made) <= 46_000
        back = pl.concat(list(store.scan(batch_rows=4_999)), how="diagonal")
        assert back["event.count"].to_list() == list(range(23_000))
        assert store.append(table) == 0
        assert store.append(events(23_001, step=0.001)) == 1


def test_days_beyond_the_bound_go_together_and_stay_found(
    monkeypatch: pytest.MonkeyPatch, cluster: nodes.Cluster, opener: Callable[..., ElasticStore]
) -> None:
    monkeypatch.setattr(arrivals, "MOST_DAYS", 3)
    table = events(12, step=86_400)
    with opener() as store:
        assert store.append(table.sort("@timestamp", descending=True)) == 12
        store.flush()
        _, found = cluster.request("GET", f"/_resolve/index/{store.names.events}")
        assert len(found["indices"]) == 4
    monkeypatch.setattr(arrivals, "MOST_DAYS", 100)
    with opener() as again:  # a day that went into the common index stays there
        assert again.append(table) == 0
        again.flush()
        assert all_of(again)["event.id"].to_list() == table["event.id"].to_list()
        assert again.retain({"*": 5}, T0 + timedelta(days=10), apply=True) == {"modbus": 5}
        assert all_of(again).height == 7


def test_of_many_writers_of_one_incident_one_succeeds_each_time(opener: Callable[..., ElasticStore]) -> None:
    first = Incident.model_validate(
        {"id": "INC-1", "version": 1, "title_zh": "一", "title_en": "one", "level": "high"}
        | {"first_seen": T0, "last_seen": T0, "discovered": T0}
    )
    stores = [opener() for _ in range(4)]
    won: list[int] = []

    def write(number: int, version: Incident) -> None:
        try:
            stores[number].put_incident(version)
            won.append(number)
        except StoreError:
            pass

    current = first
    for _ in range(5):
        won.clear()
        candidates = [current.model_copy(update={"assignee": f"w{n}"}) for n in range(4)]
        threads = [threading.Thread(target=write, args=(n, one)) for n, one in enumerate(candidates)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(won) == 1
        stored = stores[0].incident("INC-1")
        assert stored == candidates[won[0]]
        current = stored.changed(actor="a", change="next", time=T0)
    assert [getattr(stores[0].incident("INC-1", n), "version", None) for n in range(1, 7)] == [1, 2, 3, 4, 5, None]


def test_a_cluster_of_a_later_program_is_left_alone(
    cluster: nodes.Cluster, opener: Callable[..., ElasticStore]
) -> None:
    store = opener()
    name = f"{store.names.prefix}-events"
    _, found = cluster.request("GET", f"/_index_template/{name}")
    template = found["index_templates"][0]["index_template"]
    template["version"] += 1
    for added in ("created_date", "created_date_millis", "modified_date", "modified_date_millis"):
        template.pop(added, None)
    assert cluster.request("PUT", f"/_index_template/{name}", template)[0] == 200
    with pytest.raises(StoreError, match="version 2"):
        opener()


def test_nobody_there_is_an_error_that_says_so() -> None:
    with pytest.raises(StoreError, match="cannot be reached") as caught:
        ElasticStore("http://127.0.0.1:1")
    assert caught.value.exit_code == 5


@pytest.mark.parametrize("url", ["ftp://x", "es:9200", "http://", "http://u:p@es1:9200"])
def test_an_address_that_is_none_is_refused_without_its_secret(url: str) -> None:
    with pytest.raises(StoreError) as caught:
        ElasticStore(url)
    assert "u:p" not in str(caught.value)


# Narrowing at the cluster.

ASKED = ["host.name", "tags", "source.ip", "host.ip", "event.count", "iec104.ioa", "iec104.value_min", "dnp3.value"]
ASKED += ["modbus.matched", "event.start", "@timestamp", "message", "event.original"]


class Long(str):
    """A text that failures show in short."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"Long({len(self)})"


TEXTS = st.sampled_from(
    [
        "",
        "a",
        "A",
        "ab",
        "a*",
        "?",
        "\\",
        "长",
        "10.0.0.1",
        "::ffff:10.0.0.1",
        "10.0.0.01",
        "fe80::1%eth0",
        "\x00",
        Long("z" * 9_000),
    ]
)
NUMBERS = st.sampled_from([0, 1, -1, 5, (1 << 53) + 1, (1 << 63) - 1, -(1 << 63)])
FLOATS = st.sampled_from([0.0, -0.0, 1.0, 1.5, 5.0, 1e300, float(1 << 53), math.nan, math.inf, -math.inf])
INSTANTS = st.sampled_from([-(1 << 62), -1, 0, 1, 1_772_366_400_000_000_000, 1_772_366_400_000_000_001, (1 << 63) - 1])


def values(name: str) -> st.SearchStrategy[Any]:
    field = FIELDS[name]
    by_kind: dict[str, st.SearchStrategy[Any]] = {
        "long": NUMBERS,
        "double": FLOATS,
        "boolean": st.booleans(),
        "date": INSTANTS,
    }
    one = by_kind.get(field.kind, TEXTS)
    return st.lists(st.none() | one, max_size=3) if field.many else one


@st.composite
def tables(draw: st.DrawFn) -> pl.DataFrame:
    height = draw(st.integers(1, 12))
    columns: dict[str, Any] = {}
    for name in ASKED:
        if name != "@timestamp" and draw(st.booleans()):
            raw = draw(st.lists(st.none() | values(name), min_size=height, max_size=height))
            field = FIELDS[name]
            columns[name] = pl.Series(name, raw, dtype=pl.Int64 if field.kind == "date" else field.dtype)
    frame = events(height)
    times = draw(st.lists(INSTANTS, min_size=height, max_size=height))
    frame = frame.with_columns(pl.Series("@timestamp", times, dtype=pl.Int64).cast(pl.Datetime("ns", "UTC")))
    return conform(frame.with_columns(columns.values()))


@st.composite
def trees(draw: st.DrawFn, depth: int = 3) -> where.Node:
    shape = draw(st.sampled_from(["test"] * 3 + (["and", "or", "not"] if depth else [])))
    if shape == "not":
        return where.Not(draw(trees(depth - 1)))
    if shape in ("and", "or"):
        parts = (draw(trees(depth - 1)), draw(trees(depth - 1)))
        return where.And(parts) if shape == "and" else where.Or(parts)
    name = draw(st.sampled_from(ASKED))
    field = FIELDS[name]
    operators = [one for one in where._allowed(field) if one not in ("matches", "cidr")]
    operator = draw(st.sampled_from(operators))
    if operator == "exists":
        return where.Test(field, "exists")
    one = {"long": NUMBERS | st.sampled_from([1.5, 1.0]), "double": FLOATS.filter(math.isfinite) | NUMBERS}
    one |= {"boolean": st.booleans(), "date": INSTANTS}
    value = one.get(field.kind, TEXTS)
    many = st.lists(value, min_size=1, max_size=3) if operator == "in" else st.lists(value, min_size=1, max_size=1)
    return where.Test(field, operator, tuple(draw(many)))


@settings(
    max_examples=40,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(table=tables(), asked=st.lists(trees(), min_size=5, max_size=25))
def test_narrowing_leaves_out_nothing_that_fits(
    cluster: nodes.Cluster, table: pl.DataFrame, asked: list[where.Node]
) -> None:
    """A query of ``coarse`` finds at least what the predicate takes, and the store gives just that."""
    prefix = f"n{uuid.uuid4().hex[:12]}"
    full = table.with_columns(
        pl.lit(None, dtype=FIELDS[name].dtype).alias(name) for name in ASKED if name not in table.columns
    )
    try:
        with ElasticStore(cluster.url, prefix=prefix) as store:
            store.append(table)
            store.flush()
            for node in asked:
                predicate = where.to_polars(node)
                expected = set(full.filter(predicate)["event.id"])
                query = {"query": coarse(predicate), "size": 100, "_source": False}
                status, found = cluster.request("POST", f"/{store.names.events}/_search", query)
                assert status == 200, found
                assert expected <= {hit["_id"] for hit in found["hits"]["hits"]}, (node, query)
                assert {one for part in store.scan(where=predicate) for one in part["event.id"]} == expected
    finally:
        cluster.request("DELETE", f"/{prefix}-*")
        cluster.request("DELETE", f"/_index_template/{prefix}-*")


def test_narrowing_spares_the_wire_what_does_not_fit(
    cluster: nodes.Cluster, opener: Callable[..., ElasticStore]
) -> None:
    with opener() as store:
        store.append(events(500, **{"event.count": list(range(500)), "source.ip": ["10.0.0.1"] * 499 + ["10.0.0.2"]}))
        store.flush()
        for text, most in (
            ("source.ip == 10.0.0.2", 1),
            ("event.count in (3, 4) or source.ip cidr 10.0.0.2/32", 3),
            ("not event.count >= 5", 5),
            ("event.id startswith aaaa-00000000000", 10),
            (f"host.name >= '{'z' * 2000}'", 500),  # as a query of its own too complex for the cluster
        ):
            query = {"query": coarse(where.parse(text)), "size": 0, "track_total_hits": True}
            _, found = cluster.request("POST", f"/{store.names.events}/_search", query)
            assert found["hits"]["total"]["value"] <= most, text
