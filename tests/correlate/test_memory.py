"""What detection remembers stays below its bound, and alerts do not depend on it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import yaml

from correlate.detect import Detector
from correlate.ir import RuleSet
from correlate.memory import Memory
from correlate.parse import parse_documents
from event.table import conform


class Held:
    """So many bytes."""

    def __init__(self, remembered: int) -> None:
        self.remembered = remembered

    def forget(self) -> None:
        self.remembered = 0


def ruleset() -> RuleSet:
    documents = [
        {
            "title": f"rule {number}",
            "id": f"00000000-0000-4000-8000-{number:012d}",
            "logsource": {"product": "ics", "service": service},
            "detection": {"one": {"message|contains": f"needle{number}"}, "condition": "one"},
        }
        for number, service in enumerate(["modbus", "modbus", "dnp3"])
    ]
    return parse_documents([Path("rules.yml")], [yaml.safe_dump_all(documents).encode()], {})


def batch(dataset: str, number: int) -> pl.DataFrame:
    texts = [f"{number}-{row} a text that comes once, needle{row % 50}" for row in range(200)]
    return conform(
        pl.DataFrame(
            {
                "event.id": [f"{dataset}-{number}-{row}" for row in range(len(texts))],
                "event.dataset": dataset,
                "event.kind": "event",
                "@timestamp": datetime(2026, 1, 1, tzinfo=UTC),
                "message": texts,
            }
        )
    )


def test_the_largest_forgets_first_and_only_as_many_as_must() -> None:
    memory, parts = Memory(100), [Held(50), Held(70), Held(30)]
    for part in parts:
        memory.share(part)
    memory.bound()
    assert [part.remembered for part in parts] == [50, 0, 30]
    memory.bound()
    assert [part.remembered for part in parts] == [50, 0, 30]


def test_a_small_bound_holds_over_all_datasets_and_changes_no_alert() -> None:
    limit = 100_000
    free, bounded = Detector(ruleset()), Detector(ruleset(), memory=limit)
    one_batch = 0
    for number in range(12):
        events = batch("modbus" if number % 3 else "dnp3", number)
        expected, found = free.feed(events), bounded.feed(events)
        assert found["event.id"].to_list() == expected["event.id"].to_list()
        assert not found.is_empty()
        plans = [plan for name in ("modbus", "dnp3") if (plan := bounded.plan_of(name)) is not None]
        if not number:
            one_batch = sum(plan.remembered for plan in plans)
        assert (
            sum(plan.remembered for plan in plans) <= limit + one_batch
        )  # a batch is finished before the bound is asked
    assert free.counters()["tables_emptied"] == 0
    assert bounded.counters()["tables_emptied"] > 0
