"""``store migrate``: to the present form, or from one store into another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import options
from cli.text import emit_json, say, table, tr

if TYPE_CHECKING:
    from cli.config import Settings

_CHECKPOINTS = ("inputs", "rules.status")
"""What is copied beside events and incidents; the rest is a store's own business."""


def register(app: typer.Typer) -> None:
    """Add the command to ``store``."""
    app.command(
        "migrate",
        short_help=tr(
            "Bring a store to the present form, or copy another into it.", "升级事件库格式，或并入另一事件库。"
        ),
        help=tr(
            "Bring a store to the form of this version: the schema of a folder, the mappings of a cluster's indices "
            "(documents are read and written again). With --from, copy events and incidents of another store into it. "
            "Either may be interrupted and begun again.\n\n"
            "Example: jianmen store migrate --from plant.store --store https://es1.example:9200",
            "将事件库升级为本版本格式：本地库升级表结构，集群更新索引映射并逐条重写文档。给出 --from 时，"
            "将另一事件库的日志记录与网络安全事件并入本库。中断后可再次执行。\n\n"
            "示例：jianmen store migrate --from plant.store --store https://es1.example:9200",
        ),
    )(migrate)


def migrate(
    store: options.Store = None,
    config: options.Config = None,
    source: Annotated[
        str | None,
        typer.Option("--from", metavar="DIR|URL", help=tr("Copy this store into --store.", "将该事件库并入 --store。")),
    ] = None,
    json: options.Json = False,
) -> None:
    """See ``register``."""
    from cli.config import load

    settings = load(config, store)
    if source is None:
        _upgrade(settings, json=json)
    else:
        _copy(load(config, source), settings, json=json)


def _upgrade(settings: Settings, *, json: bool) -> None:
    from pathlib import Path

    from cli.pipeline import open_store

    rows: list[dict[str, Any]] = []
    # A folder is brought up by opening it.
    with open_store(settings.store, create=not isinstance(settings.store, Path)) as kept:
        if not isinstance(settings.store, Path):
            from store.elastic import ElasticStore
            from store.elastic.upgrade import upgrade

            if isinstance(kept, ElasticStore):
                done = upgrade(kept.client, kept.names, progress=lambda index, count: say(f"{index}: {count:,}"))
                rows = [{"index": o.index, "documents": o.documents, "rewritten": o.rewritten} for o in done]
    if json:
        emit_json({"store": str(settings.store), "indices": rows})
        return
    if rows:
        table(
            str(settings.store),
            [tr("index", "索引"), tr("documents", "文档数"), tr("way", "方式")],
            [
                (
                    row["index"],
                    f"{row['documents']:,}",
                    tr("copied and filled again", "另建重写") if row["rewritten"] else tr("in place", "原地重写"),
                )
                for row in rows
            ],
        )
    say(tr(f"{settings.store} has the present form", f"{settings.store} 已是本版本格式"))


def _copy(old: Settings, new: Settings, *, json: bool) -> None:
    from cli.pipeline import open_store
    from store.transfer import copy

    with open_store(old.store, create=False) as source, open_store(new.store, create=True) as target:
        done = copy(source, target, name=str(old.store), checkpoints=_CHECKPOINTS)
    if json:
        emit_json(
            {
                "from": str(old.store),
                "store": str(new.store),
                "events": done.events,
                "new_events": done.new_events,
                "incident_versions": done.incidents,
                "resumed": done.resumed,
            }
        )
        return
    table(
        f"{old.store} -> {new.store}",
        [tr("dataset", "数据集"), tr("events read", "读取条数"), tr("new", "新增条数")],
        [(name, f"{count:,}", f"{done.new_events[name]:,}") for name, count in done.events.items()],
    )
    say(tr(f"{done.incidents} versions of incidents", f"网络安全事件版本 {done.incidents} 个"))
