"""Suppressions: what they fit, when they end, what they leave to be seen."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from correlate.group import group_alerts
from correlate.suppress import (
    KEPT,
    MOST,
    Suppression,
    Suppressor,
    add,
    hidden,
    make,
    remove,
    suppressions,
    visible,
)
from event.errors import StoreError, UserError
from event.site import Segment, Site
from event.table import conform
from store.embedded import EmbeddedStore

NOW = datetime(2026, 9, 1, 8, tzinfo=UTC)
DAY = timedelta(days=1)
SITE = Site(
    segments=(
        Segment(name="pumps", cidrs=("10.20.1.0/24", "10.20.3.0/24")),
        Segment(name="office", cidrs=("10.9.0.0/16",)),
    )
)


def alert(number: int, **fields: Any) -> dict[str, Any]:
    return {
        "@timestamp": NOW - timedelta(hours=1) + timedelta(seconds=number),
        "event.id": f"alert-{number}",
        "event.dataset": "jianmen.alert",
        "event.kind": "alert",
        "event.severity": 75,
        "rule.id": "r1",
        "rule.name": "Rule",
        "rule.level": "high",
        "alert.event_ids": [f"e{number}"],
        "source.ip": "10.9.0.1",
        "destination.ip": "10.20.1.10",
        **fields,
    }


def alerts(*rows: dict[str, Any]) -> pl.DataFrame:
    names = list(dict.fromkeys(name for row in rows for name in row))
    return conform(pl.DataFrame([{name: row.get(name) for name in names} for row in rows], infer_schema_length=None))


def suppression(**what: Any) -> Suppression:
    how = {"who": "王工", "why": "资产普查", "now": NOW - DAY, "expires": NOW + DAY, **what}
    return make(**how)


def marked(table: pl.DataFrame, *every: Suppression, site: Site = SITE, now: datetime = NOW) -> list[str | None]:
    done = Suppressor(every, site=site, now=now).mark(table)
    assert done.drop("alert.suppressed_by", strict=False).equals(table)
    return done["alert.suppressed_by"].to_list() if "alert.suppressed_by" in done.columns else [None] * table.height


@pytest.mark.parametrize(
    ("what", "fits"),
    [
        ({"rule": "r1"}, [1, 1, 0, 1]),
        ({"address": "10.9.0.1"}, [1, 0, 1, 0]),
        ({"address": "10.9.0.0/24"}, [1, 0, 1, 1]),
        ({"address": "10.20.1.10"}, [1, 1, 0, 1]),
        ({"zone": "office"}, [1, 0, 1, 1]),
        ({"zone": "pumps"}, [1, 1, 1, 1]),
        ({"zone": "nowhere any more"}, [0, 0, 0, 0]),
        ({"rule": "r1", "address": "10.9.0.1"}, [1, 0, 0, 0]),
        ({"address": "10.9.0.0/30", "zone": "office"}, [1, 0, 1, 1]),
        ({"address": "10.20.1.10", "zone": "office"}, [0, 0, 0, 0]),  # no side lies in both
        ({"fields": {"network.protocol": "MODBUS"}}, [1, 0, 0, 0]),
        ({"fields": {"modbus.function_code": "43"}}, [0, 1, 0, 0]),
        ({"fields": {"source.ip": "10.9.0.1"}}, [1, 0, 1, 0]),
        ({"fields": {"alert.source_ips": "10.9.0.2"}}, [0, 0, 0, 1]),
        ({"fields": {"user.name": "backup"}}, [0, 0, 1, 0]),
        ({"fields": {"user.name": "back"}}, [0, 0, 0, 0]),
    ],
)
def test_all_criteria_of_a_suppression_must_fit(what, fits):
    table = alerts(
        alert(0, **{"network.protocol": "modbus"}),
        alert(1, **{"source.ip": "10.8.0.1", "alert.fields": ["modbus.function_code=43", "modbus.unit_id=1"]}),
        alert(2, **{"rule.id": "r2", "destination.ip": "10.20.3.9", "alert.group": ["user.name=Backup"]}),
        alert(3, **{"source.ip": None, "alert.source_ips": ["10.9.0.1", "10.9.0.2"]}),
    )
    one = suppression(**what)
    assert marked(table, one) == [one.id if fit else None for fit in fits]


def test_one_address_of_many_does_not_hide_the_others():
    table = alerts(alert(0, **{"source.ip": None, "alert.source_ips": ["10.9.0.1", "203.0.113.7"]}))
    assert marked(table, suppression(address="10.9.0.1")) == [None]
    assert marked(alerts(alert(0, **{"source.ip": None, "destination.ip": None})), suppression(address="::/0")) == [
        None
    ]


def test_the_oldest_of_several_suppressions_is_named():
    first, second = suppression(rule="r1"), suppression(address="10.9.0.1")
    assert marked(alerts(alert(0)), first, second) == [first.id]


@pytest.mark.parametrize("now", [NOW + DAY, NOW + 30 * DAY])
def test_what_has_expired_or_was_removed_hides_nothing(now):
    one = suppression(rule="r1")
    assert marked(alerts(alert(0)), one, now=NOW + DAY - timedelta(microseconds=1)) == [one.id]
    assert marked(alerts(alert(0)), one, now=now) == [None]
    assert one.state(now) == "expired"
    gone = one.model_copy(update={"removed": NOW, "removed_by": "x"})
    assert marked(alerts(alert(0)), gone) == [None]
    assert (gone.state(NOW - timedelta(seconds=1)), gone.state(NOW)) == ("active", "removed")


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ({}, "name a rule, an address, a zone or a field"),
        ({"rule": "r", "why": "  "}, "must not be empty"),
        ({"rule": "r", "who": ""}, "at least 1 character"),
        ({"rule": "r", "expires": NOW - 2 * DAY}, "must end after it begins"),
        ({"rule": "r", "expires": NOW + 400 * DAY}, "within 366 days"),
        ({"address": "10.0.0.300"}, "does not appear to be"),
        ({"fields": {"no.such": "x"}}, "unknown field 'no.such'"),
    ],
)
def test_a_suppression_says_what_for_whom_and_for_how_long(what, message):
    with pytest.raises(UserError, match="not a suppression") as caught:
        suppression(**what)
    assert message in str(caught.value)


def test_suppressions_are_kept_with_their_end_and_counted_in_the_store(tmp_path: Path):
    one, two = suppression(rule="r1"), suppression(rule="r2")
    with EmbeddedStore(tmp_path / "s", create=True) as store:
        assert suppressions(store) == []
        assert hidden(store) == {}
        add(store, one)
        add(store, two)
        assert suppressions(store) == [one, two]
        table = Suppressor([one, two], site=SITE, now=NOW).mark(
            alerts(alert(0), alert(1), alert(2, **{"rule.id": "r3"}))
        )
        for _ in range(2):  # detecting twice hides no more
            store.append(table)
            store.flush()
            assert hidden(store) == {one.id: (2, NOW - timedelta(hours=1) + timedelta(seconds=1))}
        with pytest.raises(UserError, match="2 suppression"):
            remove(store, "sup-", who="李", now=NOW)
        ended = remove(store, one.id[:-1], who="李", now=NOW)
        assert (ended.removed, ended.removed_by, ended.state(NOW)) == (NOW, "李", "removed")
        with pytest.raises(UserError, match="removed already"):
            remove(store, one.id, who="李", now=NOW)
        with pytest.raises(UserError, match="expired already"):
            remove(store, two.id, who="李", now=NOW + 2 * DAY)
        with pytest.raises(UserError, match="no suppression"):
            remove(store, "nothing", who="李", now=NOW)
        assert suppressions(store) == [ended, two]
        store.put_checkpoint("rules.suppressions", b'[{"id": 1}]')
        with pytest.raises(StoreError, match="cannot be read"):
            suppressions(store)


class _Memory:
    """What ``add`` needs of a store."""

    def __init__(self) -> None:
        self.kept: bytes | None = None

    def checkpoint(self, name: str) -> bytes | None:
        return self.kept

    def put_checkpoint(self, name: str, value: bytes) -> None:
        self.kept = value


def test_the_list_is_bounded_and_forgets_what_is_over_first():
    store: Any = _Memory()
    old = [suppression(rule=f"old{n}", now=NOW - 20 * DAY, expires=NOW - DAY) for n in range(MOST)]
    active = [suppression(rule=f"r{n}") for n in range(MOST)]
    store.kept = b"[" + b",".join(one.model_dump_json().encode() for one in (*old, *active)) + b"]"
    with pytest.raises(UserError, match="active already"):
        add(store, suppression(rule="one more"))
    remove(store, active[0].id, who="x", now=NOW - 2 * DAY)
    add(store, suppression(rule="one more"))
    every = suppressions(store)
    assert len(every) == KEPT == 2 * MOST
    assert [every[0].rule, every[-1].rule] == ["old1", "one more"]


def test_suppressed_alerts_make_no_incident():
    table = alerts(alert(0), alert(1))
    assert len(group_alerts(table, site=SITE, now=NOW)) == 1
    done = Suppressor([suppression(rule="r1")], site=SITE, now=NOW).mark(table)
    assert group_alerts(done, site=SITE, now=NOW) == []
    assert visible(done).is_empty()
    assert visible(table).height == 2
