"""The contract of ``store.base.Store``: every test here runs on every store in ``store.STORES``."""

from __future__ import annotations

import functools
import itertools
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from event.errors import StoreError
from event.incident import AlertRef, Incident, TimelineEntry
from event.registry import load
from event.table import conform
from store import STORES
from store.base import Store

T0 = datetime(2026, 3, 1, 23, 59, 50, tzinfo=UTC)


def events(
    numbers: list[int] | range, dataset: str = "modbus", origin: str = "aaaa", step: float = 1.0, **more: object
) -> pl.DataFrame:
    """Rows ``step`` seconds apart, one id a number."""
    rows = list(numbers)
    return conform(
        pl.DataFrame(
            {
                "@timestamp": pl.Series(
                    [T0 + timedelta(seconds=n * step) for n in rows], dtype=pl.Datetime("ns", "UTC")
                ),
                "event.id": [f"{origin}-{n:06d}-{dataset}" for n in rows],
                "event.dataset": [dataset] * len(rows),
                "event.kind": ["event"] * len(rows),
                "event.count": rows,
            },
            schema_overrides={
                "event.count": pl.Int64,
                "event.id": pl.String,
                "event.dataset": pl.String,
                "event.kind": pl.String,
            },
        ).with_columns(pl.lit(value).alias(name) for name, value in more.items())
    )


def incident(name: str = "INC-20260301-aaaaaa", version: int = 1, **more: object) -> Incident:
    return Incident.model_validate(
        {
            "id": name,
            "version": version,
            "title_zh": "未授权控制",
            "title_en": "Unauthorised control",
            "first_seen": T0,
            "last_seen": T0,
            "discovered": T0,
            "level": "high",
            **more,
        }
    )


def ids(tables: Iterator[pl.DataFrame] | list[pl.DataFrame]) -> list[str]:
    return [event_id for table in tables for event_id in table["event.id"].to_list()]


PLACES = {"embedded": "embedded", "elastic_8": "elastic", "elastic_9": "elastic"}
"""Where each test runs: a fixture of a node (or no need of one), and the store."""


def test_no_store_is_left_out() -> None:
    assert set(PLACES.values()) == set(STORES)


@pytest.fixture(params=PLACES)
def places(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Callable[[], Store]]]:
    """Gives out empty stores: each is a function that opens it again and again."""
    factory = load("stores", PLACES[request.param], STORES)
    given = itertools.count()
    if PLACES[request.param] == "embedded":
        yield lambda: functools.partial(factory, tmp_path / f"store{next(given)}")
        return
    cluster = request.getfixturevalue(request.param)
    prefix = f"t{uuid.uuid4().hex[:12]}"
    yield lambda: functools.partial(
        factory, cluster.url, prefix=f"{prefix}.{next(given)}", rejected=tmp_path / "rejected"
    )
    cluster.request("DELETE", f"/{prefix}.*?expand_wildcards=all")
    cluster.request("DELETE", f"/_index_template/{prefix}.*")


@pytest.fixture
def opener(places: Callable[[], Callable[[], Store]]) -> Callable[[], Store]:
    """Opens the same store again and again."""
    return places()


@pytest.fixture
def store(opener: Callable[[], Store]) -> Iterator[Store]:
    with opener() as opened:
        yield opened


def test_a_store_is_a_store(store: Store) -> None:
    assert isinstance(store, Store)


def test_an_empty_store_has_nothing(store: Store) -> None:
    assert store.datasets() == []
    assert store.status() == []
    assert list(store.scan()) == []
    assert list(store.search()) == []
    assert store.get(["x"]).height == 0
    assert store.checkpoint("x") is None
    assert store.incident("x") is None
    assert store.incidents() == []
    assert store.retain({"*": 180}, T0, apply=True) == {}


def test_what_was_appended_and_flushed_is_seen_by_another_reader(opener: Callable[[], Store]) -> None:
    with opener() as writer, opener() as reader:
        assert writer.append(events(range(5))) == 5
        writer.flush()
        assert ids(reader.scan()) == ids([events(range(5))])


def test_a_store_sees_its_own_rows_at_once(store: Store) -> None:
    store.append(events(range(5)))
    assert store.datasets() == ["modbus"]
    assert len(ids(store.scan())) == 5


def test_close_makes_durable(opener: Callable[[], Store]) -> None:
    with opener() as first:
        first.append(events(range(3)))
    with opener() as again:
        assert len(ids(again.scan())) == 3


def test_values_and_dtypes_come_back_as_they_were(store: Store) -> None:
    table = events(range(3)).with_columns(
        pl.Series("tags", [["a", "b"], [], None], dtype=pl.List(pl.String)),
        pl.Series("dnp3.value", [[1.5], None, [0.0, -1.0]], dtype=pl.List(pl.Float64)),
        pl.Series("modbus.matched", [True, None, False]),
        pl.Series("event.original", ["a\x00b", "结果\u202e", ""]),
        pl.Series("event.start", [T0 + timedelta(microseconds=1), None, T0], dtype=pl.Datetime("ns", "UTC")),
    )
    store.append(table)
    store.flush()
    back = pl.concat(list(store.scan()), how="diagonal")
    assert back.select(table.columns).equals(table)
    assert dict(back.select(table.columns).schema) == dict(table.schema)


def test_nanoseconds_survive(store: Store) -> None:
    exact = pl.Series([1_772_409_590_123_456_789]).cast(pl.Datetime("ns", "UTC"))
    store.append(events([0]).with_columns(exact.alias("@timestamp")))
    assert next(iter(store.scan()))["@timestamp"].dt.epoch("ns").item() == 1_772_409_590_123_456_789


def test_an_empty_table_stores_nothing(store: Store) -> None:
    assert store.append(events([])) == 0
    assert store.datasets() == []


def test_a_table_that_breaks_the_catalogue_is_refused(store: Store) -> None:
    with pytest.raises(ValueError, match=r"no\.such\.field"):
        store.append(events([0]).rename({"event.count": "no.such.field"}))
    assert store.datasets() == []


def test_a_second_append_adds_nothing(opener: Callable[[], Store]) -> None:
    with opener() as first:
        assert first.append(events(range(10))) == 10
        assert first.append(events(range(10))) == 0
        first.flush()
        assert first.append(events(range(5, 15))) == 5
    with opener() as again:
        assert again.append(events(range(20))) == 5
        assert sorted(ids(again.scan())) == sorted(ids([events(range(20))]))


def test_a_repeated_id_inside_one_table_is_stored_once(store: Store) -> None:
    assert store.append(events([3, 1, 3, 2, 1])) == 3
    assert ids(store.scan()) == ids([events([1, 2, 3])])


def test_many_tiny_tables_are_gathered_and_repeats_among_them_left_out(store: Store) -> None:
    order = [(n * 37) % 300 for n in range(300)]
    assert [store.append(events([n], origin=f"{n % 7}")) for n in order] == [1] * 300
    assert sum(store.append(events([n], origin=f"{n % 7}")) for n in order) == 0
    assert sum(t.height for t in store.scan()) == 300


def test_the_same_rows_appended_by_two_writers_are_stored_once(opener: Callable[[], Store]) -> None:
    with opener() as one, opener() as two:
        one.append(events(range(100)))
        two.append(events(range(50, 150)))
        one.flush()
        two.flush()
        assert sorted(ids(one.scan())) == sorted(ids([events(range(150))]))


def test_scan_yields_tables_of_one_dataset_each(store: Store) -> None:
    store.append(events(range(5)))
    store.append(events(range(5), dataset="dnp3"))
    tables = list(store.scan())
    assert [t["event.dataset"].n_unique() for t in tables] == [1] * len(tables)
    assert {t["event.dataset"][0] for t in tables} == {"modbus", "dnp3"}


def test_scan_orders_by_time_and_id_over_segments_that_overlap(store: Store) -> None:
    for origin, part in (("b", range(0, 40, 2)), ("a", range(1, 60, 3)), ("c", range(10, 30))):
        store.append(events(list(reversed(part)), origin=origin))
        store.flush()
    table = pl.concat(list(store.scan(batch_rows=7)), how="diagonal")
    assert table.height == 20 + 20 + 20
    assert table.equals(table.sort("@timestamp", "event.id"))


def test_rows_of_one_instant_come_in_order_of_id(store: Store) -> None:
    for part in (range(0, 50, 2), range(1, 50, 2)):
        store.append(events(part, step=0))
        store.flush()
    assert ids(store.scan(batch_rows=4)) == ids([events(range(50))])


def test_no_table_is_larger_than_asked(store: Store) -> None:
    store.append(events(range(100)))
    sizes = [t.height for t in store.scan(batch_rows=30)]
    assert sum(sizes) == 100
    assert max(sizes) <= 30


def test_since_is_inclusive_and_until_exclusive(store: Store) -> None:
    store.append(events(range(100)))
    since, until = T0 + timedelta(seconds=20), T0 + timedelta(seconds=30)
    assert ids(store.scan(since=since, until=until)) == ids([events(range(20, 30))])
    assert ids(store.search(since=since, until=until)) == ids([events(range(20, 30))])
    assert ids(store.scan(since=until, until=since)) == []


def test_instants_without_a_zone_are_refused(store: Store) -> None:
    with pytest.raises(StoreError, match="time zone"):
        list(store.scan(since=datetime(2026, 1, 1)))  # noqa: DTZ001


def test_an_unknown_dataset_yields_nothing(store: Store) -> None:
    store.append(events(range(3)))
    assert list(store.scan(["nonsense"])) == []
    assert list(store.scan([])) == []
    assert ids(store.scan(["modbus"])) == ids([events(range(3))])


def test_where_selects(store: Store) -> None:
    store.append(events(range(100)))
    assert ids(store.scan(where=pl.col("event.count") % 10 == 3)) == ids([events(range(3, 100, 10))])


def test_a_column_that_the_dataset_lacks_is_null_to_a_predicate(store: Store) -> None:
    store.append(events(range(3)))
    store.append(events(range(3), dataset="dnp3", **{"dnp3.function_code": 13}))
    store.flush()
    assert ids(store.scan(where=pl.col("dnp3.function_code") == 13)) == ids([events(range(3), dataset="dnp3")])
    assert len(ids(store.scan(where=pl.col("dnp3.function_code").is_null()))) == 3
    assert ids(store.scan(where=~(pl.col("modbus.function_code") == 1))) == []


def test_a_predicate_on_an_unknown_field_is_refused(store: Store) -> None:
    store.append(events(range(3)))
    with pytest.raises(StoreError, match="no such field"):
        list(store.scan(where=pl.col("nonsense") == 1))


def test_only_the_columns_wanted_come_and_the_identity_always(store: Store) -> None:
    store.append(events(range(3), **{"source.ip": "10.0.0.1"}))
    (table,) = store.scan(columns=["source.ip", "dnp3.function"], where=pl.col("event.count") > 0)
    assert set(table.columns) - {"dnp3.function"} == {"@timestamp", "event.id", "event.dataset", "source.ip"}
    assert table.height == 2


def test_search_is_ordered_over_datasets(store: Store) -> None:
    store.append(events(range(0, 60, 2)))
    store.append(events(range(1, 60, 2), dataset="dnp3"))
    store.append(events(range(100, 110), dataset="iec104"))
    found = pl.concat(list(store.search()), how="diagonal")
    assert found["event.count"].to_list() == [*range(60), *range(100, 110)]
    back = pl.concat(list(store.search(newest_first=True)), how="diagonal")
    assert back["event.count"].to_list() == found["event.count"].to_list()[::-1]


@pytest.mark.parametrize("newest", [False, True])
@pytest.mark.parametrize("limit", [0, 1, 7, 30, 1000])
def test_search_gives_the_first_rows_up_to_its_limit(store: Store, limit: int, newest: bool) -> None:
    for start in range(3):
        store.append(events(range(start, 30, 3), dataset=("modbus", "dnp3", "modbus")[start], origin=f"o{start}"))
        store.flush()
    found = [n for t in store.search(limit=limit, newest_first=newest) for n in t["event.count"].to_list()]
    everything = list(range(30))[:: -1 if newest else 1]
    assert found == everything[:limit]


def test_search_finds_with_predicate_and_limit(store: Store) -> None:
    store.append(events(range(100)))
    found = store.search(["modbus"], where=pl.col("event.count") >= 90, limit=3, columns=["event.count"])
    assert [n for t in found for n in t["event.count"].to_list()] == [90, 91, 92]


def test_get_finds_by_id_and_ignores_what_is_not_there(store: Store) -> None:
    store.append(events(range(50)))
    store.flush()
    store.append(events(range(5), dataset="dnp3"))
    wanted = ["aaaa-000049-modbus", "aaaa-000003-modbus", "aaaa-000003-modbus", "aaaa-000001-dnp3", "zzzz", ""]
    assert store.get(wanted)["event.id"].to_list() == ["aaaa-000001-dnp3", "aaaa-000003-modbus", "aaaa-000049-modbus"]
    assert store.get([]).height == 0


def test_status_counts(store: Store) -> None:
    store.append(events(range(50)))
    store.append(events([7], dataset="zeek.conn"))
    modbus, zeek = store.status()
    assert (modbus.dataset, modbus.events, zeek.dataset, zeek.events) == ("modbus", 50, "zeek.conn", 1)
    assert modbus.bytes > 0
    assert modbus.segments >= 1
    assert (modbus.oldest, modbus.newest) == (T0, T0 + timedelta(seconds=49))


@pytest.mark.parametrize("dataset", ["zeek.../../../x", "suricata." + "长" * 300, "zeek.a/b\\c\x00d*[e]", "zeek.."])
def test_a_hostile_dataset_name_is_only_a_name(store: Store, dataset: str) -> None:
    store.append(events(range(3), dataset=dataset))
    store.flush()
    assert store.datasets() == [dataset]
    assert len(ids(store.scan([dataset]))) == 3


def test_times_from_all_of_history_are_kept(store: Store) -> None:
    times = pl.Series([-(1 << 62), 0, 1 << 62, (1 << 63) - 1]).cast(pl.Datetime("ns", "UTC"))
    store.append(events(range(4)).with_columns(times.alias("@timestamp")))
    store.flush()
    assert ids(store.scan()) == ids([events(range(4))])
    assert ids(store.scan(since=datetime(1970, 1, 1, tzinfo=UTC), until=datetime(9999, 1, 1, tzinfo=UTC)))[0].endswith(
        "000001-modbus"
    )


# Retention.


def test_retention_deletes_what_is_older(store: Store) -> None:
    day = 86_400.0
    store.append(events(range(10), step=day))
    store.append(events(range(10), step=day, dataset="dnp3"))
    store.flush()
    now = T0 + timedelta(days=10)
    assert store.retain({"dnp3": 4, "*": 8}, now, apply=False) == {"modbus": 2, "dnp3": 6}
    assert len(ids(store.scan())) == 20
    assert store.retain({"dnp3": 4, "*": 8}, now, apply=True) == {"modbus": 2, "dnp3": 6}
    assert ids(store.scan(["dnp3"])) == ids([events(range(6, 10), dataset="dnp3")])
    assert ids(store.scan(["modbus"])) == ids([events(range(2, 10))])
    assert store.retain({"dnp3": 4, "*": 8}, now, apply=True) == {}


def test_retention_leaves_datasets_that_it_does_not_name(store: Store) -> None:
    store.append(events(range(3)))
    assert store.retain({"dnp3": 1}, T0 + timedelta(days=400), apply=True) == {}
    assert len(ids(store.scan())) == 3


def test_retention_leaves_rows_inside_the_limit_of_a_segment_that_spans_it(store: Store) -> None:
    store.append(events(range(10)))
    store.flush()
    assert store.retain({"*": 1}, T0 + timedelta(days=1, seconds=5), apply=True) == {"modbus": 5}
    assert ids(store.scan()) == ids([events(range(5, 10))])


@pytest.mark.parametrize(("status", "kept"), [("new", 5), ("in_progress", 5), ("closed", 0), ("merged", 0)])
def test_retention_keeps_the_evidence_of_open_incidents(store: Store, status: str, kept: int) -> None:
    store.append(events(range(10)))
    alert = events([0, 1], dataset="jianmen.alert").with_columns(
        pl.Series("alert.event_ids", [["aaaa-000002-modbus", "aaaa-000003-modbus"], ["aaaa-000009-modbus"]])
    )
    store.append(alert)
    reference = AlertRef(id=alert["event.id"][0], time=T0, rule_id="r", rule_name="n", level="high")
    line = TimelineEntry(time=T0, text="x", text_zh="x", evidence=("aaaa-000005-modbus", "aaaa-000006-modbus"))
    store.put_incident(incident(status=status, alerts=[reference], timeline=[line]))
    expected = {"jianmen.alert": 1, "modbus": 6} if kept else {"jianmen.alert": 2, "modbus": 10}
    later = T0 + timedelta(days=400)
    assert store.retain({"*": 180}, later, apply=False) == expected
    assert store.retain({"*": 180}, later, apply=True) == expected
    assert len(ids(store.scan())) == kept


# Checkpoints.


def test_a_checkpoint_is_kept_at_once(opener: Callable[[], Store]) -> None:
    with opener() as one, opener() as two:
        one.put_checkpoint("detect", b"\x00state")
        assert two.checkpoint("detect") == b"\x00state"
        two.put_checkpoint("detect", b"")
        assert one.checkpoint("detect") == b""
        assert one.checkpoint("other") is None


# Incidents.


def test_an_incident_comes_back_whole(store: Store) -> None:
    first = incident(notes=[{"time": T0, "actor": "值班员", "change": "已通知"}])
    store.put_incident(first)
    assert store.incident(first.id) == first


def test_every_version_is_kept(store: Store) -> None:
    first = incident()
    second = first.changed(actor="a", change="closed", time=T0, status="closed")
    store.put_incident(first)
    store.put_incident(second)
    assert store.incident(first.id) == second
    assert store.incident(first.id, 1) == first
    assert store.incident(first.id, 2) == second
    assert store.incident(first.id, 3) is None
    assert store.incidents() == [second]


@pytest.mark.parametrize("version", [1, 3])
def test_a_version_that_does_not_follow_is_refused(store: Store, version: int) -> None:
    store.put_incident(incident())
    with pytest.raises(StoreError, match="version"):
        store.put_incident(incident(version=version))
    stored = store.incident(incident().id)
    assert stored is not None
    assert stored.version == 1


def test_a_first_version_must_be_one(store: Store) -> None:
    with pytest.raises(StoreError, match="version"):
        store.put_incident(incident(version=2))
    assert store.incidents() == []


def test_of_two_changes_to_one_version_the_second_is_refused(opener: Callable[[], Store]) -> None:
    with opener() as one, opener() as two:
        first = incident()
        one.put_incident(first)
        one.put_incident(first.changed(actor="a", change="x", time=T0, assignee="a"))
        with pytest.raises(StoreError, match="version"):
            two.put_incident(first.changed(actor="b", change="x", time=T0, assignee="b"))
        stored = two.incident(first.id)
        assert stored is not None
        assert stored.assignee == "a"


def test_a_unique_prefix_is_enough_and_an_ambiguous_one_is_refused(store: Store) -> None:
    for name in ("INC-20260301-aaaaaa", "INC-20260301-aabbbb", "INC-2026", "INC_20260301%"):
        store.put_incident(incident(name))
    found = {p: store.incident(p) for p in ("INC-20260301-aab", "INC-2026", "INC_", "INC-x")}
    assert {p: i.id if i else None for p, i in found.items()} == {
        "INC-20260301-aab": "INC-20260301-aabbbb",
        "INC-2026": "INC-2026",
        "INC_": "INC_20260301%",
        "INC-x": None,
    }
    with pytest.raises(StoreError, match="several"):
        store.incident("INC-20260301")


def test_incidents_come_newest_first(store: Store) -> None:
    for number, hours in enumerate((1, 3, 2)):
        store.put_incident(incident(f"INC-{number}", last_seen=T0 + timedelta(hours=hours)))
    assert [i.id for i in store.incidents()] == ["INC-1", "INC-2", "INC-0"]


# The whole.


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    batches=st.lists(
        st.tuples(
            st.sampled_from(["modbus", "dnp3", "zeek.conn"]),
            st.lists(st.integers(0, 60), max_size=30),
            st.booleans(),
        ),
        max_size=12,
    ),
    batch_rows=st.integers(1, 50),
)
def test_any_split_and_repetition_gives_the_same_events(
    places: Callable[[], Callable[[], Store]], batches: list[tuple[str, list[int], bool]], batch_rows: int
) -> None:
    expected: set[str] = set()
    with places()() as store:
        for dataset, numbers, flush in batches:
            table = events(numbers, dataset=dataset, step=7000)
            new = set(table["event.id"].to_list()) - expected
            assert store.append(table) == len(new)
            expected |= new
            if flush:
                store.flush()
        found = ids(store.scan(batch_rows=batch_rows))
        assert sorted(found) == sorted(expected)
        table = pl.concat(
            [t.select("@timestamp", "event.id") for t in store.search()]
            or [events([]).select("@timestamp", "event.id")]
        )
        assert table.equals(table.sort("@timestamp", "event.id"))
        assert table.height == len(expected)
