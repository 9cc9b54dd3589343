"""Detection over a store that leaves out: nothing that the engine would find is missed."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
from coarse_makers import events, history, nodes, rule, rulesets, tables
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from cli.pipeline import detect
from correlate import narrow as narrowing
from correlate.coarse import coarse
from correlate.detect import Detector
from correlate.ir import RuleSet
from event.coarse import Coarse, fields_of
from store import narrowing as by_polars
from store.base import Share, Store
from store.coarse import to_polars
from store.embedded import EmbeddedStore

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


def alerts_of(store: Store) -> list[dict[str, Any]]:
    found = [row for table in store.scan(["jianmen.alert"]) for row in table.iter_rows(named=True)]
    kept = [{key: value for key, value in row.items() if value is not None} for row in found]
    return sorted(kept, key=lambda row: row["event.id"])


def compare(ruleset: RuleSet, plain: Store, other: Store) -> None:
    """Detect over both stores, the second one narrowed: the same alerts, and the same said about rules."""
    whole, first = detect(plain, ruleset, push_down=False)
    narrowed, second = detect(other, ruleset, push_down=True)
    assert alerts_of(other) == alerts_of(plain)
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
