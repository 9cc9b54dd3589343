"""``detect --events``: the rules over files, without a store."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.config import state_home
from cli.text import clean, emit_lines, level_text, local_time, say_error, table, tr

if TYPE_CHECKING:
    import polars as pl

    from correlate.rules import RuleSet
    from event.site import Site
    from sensor.base import Account

_SHOWN = 200  # alerts that the table lists; --json gives all


def detect_files(
    paths: Iterable[Path], ruleset: RuleSet, *, json: bool, site: Site | None = None, memory: int | None = None
) -> tuple[list[Account], dict[str, int]]:
    """Read files, evaluate the rules, print alerts as they come.

    Args:
        paths: Captures and logs; ``-`` is the standard input.
        ruleset: The rules.
        json: One alert a line, then the account; else tables.
        site: What ``correlate.derive`` says of events rests on it.
        memory: Bytes that the engine may remember; None: its own bound.

    Returns:
        An account of each file, and the number of alerts by level.
    """
    from correlate.detect import Detector

    engine = Detector(ruleset, lateness=None, site=site, memory=memory)
    levels: dict[str, int] = {}
    shown: list[dict[str, Any]] = []

    def take(alerts: pl.DataFrame) -> None:
        for level, count in alerts["rule.level"].value_counts().iter_rows():
            levels[level] = levels.get(level, 0) + count
        rows = ({name: one for name, one in row.items() if one is not None} for row in alerts.iter_rows(named=True))
        if json:
            emit_lines(rows)
        else:
            shown.extend(row for row, _ in zip(rows, range(_SHOWN + 1 - len(shown)), strict=False))

    accounts = [_file(path, engine, take) for path in paths]
    last = engine.finish()
    if not last.is_empty():
        take(last)
    if json:
        emit_lines([{"inputs": [one.as_json() for one in accounts], "alerts_by_level": levels}])
    else:
        _print(shown, levels, accounts)
    return accounts, levels


def _file(path: Path, engine: Any, take: Any) -> Account:
    from correlate.lines import PATIENCE, SievedLines
    from event.errors import InputError
    from sensor.base import Account
    from sensor.reader import LogInput, open_input

    name = str(path)
    try:
        stream = name == "-"
        opened = open_input(
            sys.stdin.buffer if stream else path, name=name, reference=datetime.now(UTC) if stream else None
        )
    except InputError as error:
        return Account(name, "unknown", error=str(error))
    sieving = None
    if isinstance(opened, LogInput) and opened.kind == "windows":
        # Most lines match no rule: what it takes to see that is a fraction of what it takes to read them.
        large = not stream and path.stat().st_size > 2 * PATIENCE
        sieving = SievedLines(engine.plan_of, kernels_in=state_home(), patience=0 if large else PATIENCE)
        opened.cut = sieving
    account = opened.account
    try:
        for events in opened.tables():
            dataset = str(events["event.dataset"][0])
            account.events[dataset] = account.events.get(dataset, 0) + events.height
            alerts = engine.feed(events)
            if not alerts.is_empty():
                take(alerts)
    except InputError as error:
        account.error = str(error)
    if sieving is not None:
        sieving.settle(account)
        for dataset, count in sieving.sieve.passed_over.items():
            engine.passed(dataset, count, 0)
    return account


def _print(rows: list[dict[str, Any]], levels: dict[str, int], accounts: list[Account]) -> None:
    table(
        tr("Alerts", "告警"),
        [tr("time", "时间"), tr("level", "级别"), tr("rule", "规则"), tr("fields", "字段")],
        [
            (
                local_time(row["@timestamp"]),
                level_text(row["rule.level"]),
                row["rule.name"],
                clean("; ".join(row.get("alert.fields", ()))[:200]),
            )
            for row in rows[:_SHOWN]
        ],
    )
    total = sum(levels.values())
    if total > _SHOWN:
        print(
            tr(
                f"the first {_SHOWN} of {total:,}: --json for all",
                f"共 {total:,} 条，仅显示前 {_SHOWN} 条：用 --json 输出全部",
            )
        )
    table(
        tr("Inputs", "输入"),
        [
            tr("input", "输入"),
            tr("kind", "类型"),
            tr("lines", "行数"),
            tr("events", "日志记录"),
            tr("failed", "无法解析"),
        ],
        [(one.path, one.kind, f"{one.total:,}", f"{one.decoded:,}", f"{one.failed:,}") for one in accounts],
    )
    for one in accounts:
        if one.error:
            say_error(one.error)


__all__ = ["detect_files"]
