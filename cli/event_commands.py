"""``events``: search, show, fields, export, explain."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import options
from cli.text import emit_json, emit_lines, local_time, say, table, tr
from event.errors import ConfigError, UserError

if TYPE_CHECKING:
    import polars as pl

    from store.base import Store

app = typer.Typer(
    help=tr("Search and export stored events.", "检索、导出日志记录。"), no_args_is_help=True, rich_markup_mode=None
)

Where = Annotated[
    str | None,
    typer.Option(
        "--where",
        "-w",
        metavar="EXPR",
        help=tr(
            "Condition over fields, such as: modbus.function_code in (5, 6) and source.ip cidr '10.20.0.0/16'",
            "字段条件，例如：modbus.function_code in (5, 6) and source.ip cidr '10.20.0.0/16'",
        ),
    ),
]
_SHOWN = ("event.action", "network.protocol", "source.ip", "source.port", "destination.ip", "destination.port")
_SKIPPED = {"@timestamp", "event.id", "event.dataset", "event.kind", "event.module", "event.category", *_SHOWN}


def rows_of(tables: Iterator[pl.DataFrame]) -> Iterator[dict[str, Any]]:
    """Flat rows without nulls, times as UTC instants."""
    for part in tables:
        for row in part.iter_rows(named=True):
            yield {name: value for name, value in row.items() if value is not None}


def found_in(
    store: Store,
    dataset: list[str] | None,
    since: str | None,
    until: str | None,
    where: str | None,
    limit: int | None,
    *,
    newest_first: bool = False,
) -> Iterator[pl.DataFrame]:
    """Tables that a search finds, time-ordered.

    Raises:
        UserError: The condition does not parse or names an unknown field or dataset.
    """
    from event.fields import is_dataset
    from store.where import parse

    for name in dataset or ():
        if not is_dataset(name):
            raise ConfigError(f"unknown dataset {name!r}", hint="known here: " + ", ".join(store.datasets()))
    return store.search(
        dataset or None,
        since=options.instant(since, "--since"),
        until=options.instant(until, "--until"),
        where=parse(where) if where else None,
        limit=limit,
        newest_first=newest_first,
    )


@app.command(
    "search",
    help=tr(
        "Events that fit, ordered by time.\n\nExample: jianmen events search -d modbus -w \"modbus.access == 'write'\" --limit 20",
        "按条件检索日志记录，按时间排序。\n\n示例：jianmen events search -d modbus -w \"modbus.access == 'write'\" --limit 20",
    ),
)
def search(
    store: options.Store = None,
    config: options.Config = None,
    dataset: options.Dataset = None,
    since: options.Since = None,
    until: options.Until = None,
    where: Where = None,
    limit: Annotated[
        int | None, typer.Option("--limit", "-n", min=1, help=tr("At most so many.", "最多返回条数。"))
    ] = None,
    newest: Annotated[bool, typer.Option("--newest", help=tr("Newest first.", "按时间倒序。"))] = False,
    json: options.Json = False,
) -> None:
    """See the help text."""
    from cli.config import load
    from cli.pipeline import open_store

    settings = load(config, store)
    with open_store(settings.store, create=False) as kept:
        if json:
            emit_lines(rows_of(found_in(kept, dataset, since, until, where, limit, newest_first=newest)))
            return
        shown = limit or 200
        rows = list(rows_of(found_in(kept, dataset, since, until, where, shown + (limit is None), newest_first=newest)))
    more = limit is None and len(rows) > shown
    table(
        "",
        [
            tr("time", "时间"),
            tr("dataset", "数据集"),
            tr("from", "源"),
            tr("to", "目的"),
            tr("action", "动作"),
            "×",
            tr("details", "详情"),
            "event.id",
        ],
        [
            (
                local_time(r["@timestamp"]),
                r["event.dataset"],
                _endpoint(r, "source"),
                _endpoint(r, "destination"),
                r.get("event.action", r.get("error.code", "")),
                r.get("event.count", ""),
                _details(r),
                r["event.id"],
            )
            for r in rows[:shown]
        ],
    )
    if more:
        say(
            tr(
                f"only the first {shown}: narrow with --where, or --limit, or --json for all",
                f"仅显示前 {shown} 条：请用 --where、--limit 缩小范围，或用 --json 输出全部",
            )
        )


def _endpoint(row: dict[str, Any], side: str) -> str:
    ip, port = row.get(f"{side}.ip"), row.get(f"{side}.port")
    if ip is None:
        return str(row.get(f"{side}.mac", ""))
    return f"{ip}:{port}" if port is not None else str(ip)


def _details(row: dict[str, Any]) -> str:
    prefix = f"{row['event.dataset']}."
    own = {k: v for k, v in row.items() if k.startswith(prefix)} or {k: v for k, v in row.items() if k not in _SKIPPED}
    parts = []
    for name, value in own.items():
        text = (
            ",".join(map(str, value[:6])) + ("…" if len(value) > 6 else "") if isinstance(value, list) else str(value)
        )
        parts.append(f"{name.removeprefix(prefix)}={text[:40]}")
    return " ".join(parts)[:200]


@app.command("show", help=tr("One event, every field with its meaning.", "查看一条日志记录的全部字段。"))
def show(
    event_id: Annotated[str, typer.Argument(metavar="EVENT_ID")],
    store: options.Store = None,
    config: options.Config = None,
    json: options.Json = False,
) -> None:
    """See the help text."""
    from cli.config import load
    from cli.pipeline import open_store
    from event.fields import FIELDS

    settings = load(config, store)
    with open_store(settings.store, create=False) as kept:
        row = next(rows_of(iter([kept.get([event_id])])), None)
    if row is None:
        raise UserError(
            f"no event {event_id!r}", where=str(settings.store), hint="jianmen events search --json shows ids"
        )
    if json:
        emit_json(row)
        return
    table(
        event_id,
        [tr("field", "字段"), tr("value", "值"), tr("meaning", "含义")],
        [(k, local_time(v) if isinstance(v, datetime) else v, FIELDS[k].meaning) for k, v in row.items()],
        styles=["cyan"],
    )


@app.command("fields", help=tr("The field catalogue.", "字段目录。"))
def fields(
    prefix: Annotated[str, typer.Argument(metavar="[PREFIX]", help=tr("Such as modbus", "例如 modbus"))] = "",
    json: options.Json = False,
) -> None:
    """See the help text."""
    from event.fields import FIELDS

    chosen = [f for name, f in FIELDS.items() if name.startswith(prefix)]
    if not chosen:
        known = sorted({name.split(".")[0] for name in FIELDS})
        raise ConfigError(f"no field begins with {prefix!r}", hint="known: " + ", ".join(known))
    if json:
        emit_json(
            [
                {
                    "name": f.name,
                    "type": f.kind,
                    "many": f.many,
                    "unit": f.unit,
                    "meaning": f.meaning,
                    "source": f.source,
                }
                for f in chosen
            ]
        )
        return
    table(
        tr("Fields", "字段"),
        [tr("field", "字段"), tr("type", "类型"), tr("unit", "单位"), tr("meaning", "含义"), tr("source", "来源")],
        [(f.name, f"{f.kind}[]" if f.many else f.kind, f.unit, f.meaning, f.source) for f in chosen],
        styles=["cyan"],
    )


@app.command(
    "export",
    help=tr(
        "Write events to a file: .parquet, .ndjson or .csv.\n\nExample: jianmen events export modbus.parquet -d modbus",
        "导出日志记录：.parquet、.ndjson 或 .csv。\n\n示例：jianmen events export modbus.parquet -d modbus",
    ),
)
def export(
    file: Annotated[Path, typer.Argument(metavar="FILE")],
    store: options.Store = None,
    config: options.Config = None,
    dataset: options.Dataset = None,
    since: options.Since = None,
    until: options.Until = None,
    where: Where = None,
) -> None:
    """See the help text."""
    import polars as pl

    from cli.config import load
    from cli.pipeline import open_store
    from event.table import concat

    kind = file.suffix.lstrip(".")
    if kind not in ("parquet", "ndjson", "csv"):
        raise ConfigError(f"unknown ending {file.suffix!r}", where=str(file), hint="known: .parquet, .ndjson, .csv")
    settings = load(config, store)
    with open_store(settings.store, create=False) as kept:
        events = concat(list(found_in(kept, dataset, since, until, where, None)))
    if kind == "parquet":
        events.write_parquet(file)
    elif kind == "ndjson":
        events.write_ndjson(file)
    else:
        from report.escape import cell

        lists = [name for name, dtype in events.schema.items() if isinstance(dtype, pl.List)]
        flat = events.with_columns(pl.col(lists).cast(pl.List(pl.String)).list.join(";"))
        text = [name for name, dtype in flat.schema.items() if dtype == pl.String]
        flat.with_columns(pl.col(text).map_elements(cell, return_dtype=pl.String)).write_csv(file)
    say(tr(f"{events.height:,} events in {file}", f"已导出 {events.height:,} 条至 {file}"))


@app.command(
    "explain",
    help=tr(
        "Let tshark explain the frame behind an event, layer by layer.",
        "用 tshark 逐层解释某条日志记录对应的数据帧。",
    ),
)
def explain(
    event_id: Annotated[str, typer.Argument(metavar="EVENT_ID")],
    capture: Annotated[Path, typer.Argument(metavar="CAPTURE", exists=False)],
    store: options.Store = None,
    config: options.Config = None,
) -> None:
    """See the help text."""
    import shutil
    import subprocess

    from cli.config import load
    from cli.pipeline import open_store

    tshark = shutil.which("tshark")
    if tshark is None:
        raise UserError("tshark is not installed", hint="apt-get install tshark")
    settings = load(config, store)
    with open_store(settings.store, create=False) as kept:
        found = kept.get([event_id])
    if found.is_empty() or "frame.number" not in found.columns:
        raise UserError(f"no event {event_id!r} that came from a frame", where=str(settings.store))
    number = int(found["frame.number"][0])
    done = subprocess.run(
        [tshark, "-r", str(capture), "-Y", f"frame.number == {number}", "-V"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise UserError("tshark could not read the capture", where=str(capture), hint=done.stderr.strip()[:300])
    sys.stdout.write(done.stdout)
