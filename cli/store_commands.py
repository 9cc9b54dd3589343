"""``store``: status and retain; the rest is in ``spool_commands``, ``diode_commands`` and ``migrate_commands``."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import diode_commands, migrate_commands, options, spool_commands
from cli.text import emit_json, local_time, say, table, tr
from event.errors import ConfigError

if TYPE_CHECKING:
    from store.base import Store

app = typer.Typer(help=tr("The event store.", "事件库。"), no_args_is_help=True, rich_markup_mode=None)
spool_commands.register(app)
diode_commands.register(app)
migrate_commands.register(app)


@app.command(
    "status",
    help=tr(
        "What is held: events, size, oldest and newest by dataset; with --spool, what waits in a sensor's spool.",
        "事件库概况：各数据集的条数、大小、起止时间；给出 --spool 时显示传感器本地缓存的待转发情况。",
    ),
)
def status(
    store: options.Store = None,
    config: options.Config = None,
    spool: Annotated[
        Path | None,
        typer.Option("--spool", metavar="DIR", help=tr("Show this spool instead.", "改为显示该本地缓存目录。")),
    ] = None,
    json: options.Json = False,
) -> None:
    """See the help text."""
    from cli.config import load
    from cli.pipeline import open_store

    if spool is not None:
        from store.spool import Spool

        held = Spool(spool, create=False).status()
        if json:
            emit_json(spool_commands.status_json(held))
        else:
            spool_commands.print_status(held)
        return

    settings = load(config, store)
    with open_store(settings.store, create=False) as kept:
        rows = kept.status()
        incidents = len(kept.incidents())
        streams = diode_commands.streams_of(kept)
        cluster = _health(kept)
    if json:
        emit_json(
            {
                "store": str(settings.store),
                "kind": "embedded" if isinstance(settings.store, Path) else "elastic",
                "incidents": incidents,
                **({"cluster": cluster} if cluster else {}),
                "streams": diode_commands.streams_json(streams),
                "datasets": [
                    {
                        "dataset": r.dataset,
                        "events": r.events,
                        "bytes": r.bytes,
                        "segments": r.segments,
                        "oldest": r.oldest.isoformat() if r.oldest else None,
                        "newest": r.newest.isoformat() if r.newest else None,
                    }
                    for r in rows
                ],
            }
        )
        return
    table(
        str(settings.store),
        [
            tr("dataset", "数据集"),
            tr("events", "条数"),
            tr("bytes", "字节"),
            tr("segments", "分段"),
            tr("oldest", "最早"),
            tr("newest", "最近"),
        ],
        [
            (r.dataset, f"{r.events:,}", f"{r.bytes:,}", r.segments, local_time(r.oldest), local_time(r.newest))
            for r in rows
        ],
    )
    if streams:
        diode_commands.print_streams(streams)
    if cluster:
        color = cluster["color"] or tr("unknown", "未知")
        say(
            tr(
                f"cluster {color}: {cluster['nodes']} data nodes, {cluster['unassigned']} shards unassigned, "
                f"{cluster['indices']} indices, {cluster['bytes']:,} bytes with replicas, {cluster['rate']:,.0f} documents/s",
                f"集群状态 {_COLORS_ZH.get(color, color)}：数据节点 {cluster['nodes']} 个，未分配分片 {cluster['unassigned']} 个，"
                f"索引 {cluster['indices']} 个，含副本 {cluster['bytes']:,} 字节，写入 {cluster['rate']:,.0f} 条/秒",
            )
        )
    say(tr(f"{incidents} incidents", f"网络安全事件 {incidents} 起"))


_COLORS_ZH = {"green": "正常（green）", "yellow": "缺副本（yellow）", "red": "异常（red）"}


def _health(store: Store) -> dict[str, Any] | None:
    """How the cluster is, if the store lies in one."""
    if not hasattr(store, "client"):
        return None
    from dataclasses import asdict

    from store.elastic import ElasticStore
    from store.elastic.health import health

    return asdict(health(store.client, store.names)) if isinstance(store, ElasticStore) else None


@app.command(
    "retain",
    help=tr(
        "Delete events older than the retention of the site file (180 days unless it says otherwise); "
        "a dry run without --apply.",
        "按站点文件的留存期限（默认 180 日）删除过期日志记录；不加 --apply 仅试算。",
    ),
)
def retain(
    store: options.Store = None,
    config: options.Config = None,
    apply: Annotated[bool, typer.Option("--apply", help=tr("Really delete.", "实际删除。"))] = False,
    json: options.Json = False,
) -> None:
    """See the help text."""
    from cli.config import load
    from cli.pipeline import open_store

    settings = load(config, store)
    days = {"*": 180, **settings.site.retention_days}
    if any(d < 180 for d in days.values()):
        say(
            tr(
                "warning: the Cybersecurity Law (Art 23) asks for network logs of six months at least",
                "提醒：《网络安全法》第二十三条要求网络日志留存不少于六个月",
            )
        )
    if any(d < 1 for d in days.values()):
        raise ConfigError("retention below one day", where="retention_days")
    with open_store(settings.store, create=False) as kept:
        gone = kept.retain(days, datetime.now(UTC), apply=apply)
    if json:
        emit_json({"applied": apply, "deleted": gone})
        return
    table(
        "",
        [
            tr("dataset", "数据集"),
            tr("events deleted", "删除条数") if apply else tr("events that would be deleted", "将删除条数"),
        ],
        [(k, f"{v:,}") for k, v in gone.items()],
    )
