"""What detection remembers stays below its bound, and alerts do not depend on it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
import yaml

from correlate.detect import Detector
from correlate.ir import RuleSet
from correlate.match import Plan
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


def test_what_keywords_remember_of_each_text_counts() -> None:
    plan = Plan([["and", [["atom", None, "contains", "needle"], ["atom", "message", "contains", "hay"]]]])
    texts = [f"{number} a text that comes once" for number in range(5000)]
    assert plan.match(pl.DataFrame({"message": texts})) == {}
    assert plan.keywords is not None
    assert plan.keywords.remembered >= 8 * len(texts)
    assert plan.remembered > plan.keywords.remembered + sum(map(len, texts))
    plan.forget()
    assert plan.remembered == plan.keywords.remembered == 0


def test_texts_of_a_batch_that_failed_are_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """They have numbers by then, and those of later texts are higher."""
    plan = Detector(ruleset()).plan_of("modbus")
    assert plan is not None

    def batch(text: str) -> pl.DataFrame:
        row = {"event.id": "one", "event.dataset": "modbus", "event.kind": "event", "message": text}
        return conform(pl.DataFrame([row | {"@timestamp": datetime(2026, 1, 1, tzinfo=UTC)}]))

    def out_of_memory(*_: object) -> None:
        raise MemoryError

    with monkeypatch.context() as failing:
        failing.setattr(Plan, "_words", out_of_memory)
        with pytest.raises(MemoryError):
            plan.match(batch("a needle0 in hay"))
    assert plan.match(batch("hay")) == {}
    assert list(map(list, plan.match(batch("a needle0 in hay")).values())) == [[0]]
