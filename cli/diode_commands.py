"""``store export``, ``store import`` and ``store key``: one way, through a data diode."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import options
from cli.text import emit_json, say, table, tr
from event.errors import ConfigError

if TYPE_CHECKING:
    from store.base import Store
    from store.diode import Imported, Stream

Follow = Annotated[
    bool,
    typer.Option("--follow/--once", help=tr("Go on with what comes, until stopped.", "持续处理新内容，直至停止。")),
]


def register(app: typer.Typer) -> None:
    """Add the commands to ``store``."""
    app.command(
        "key",
        short_help=tr("Make a key for the one-way export.", "生成单向导出签名密钥。"),
        help=tr(
            "Make a key that signs a one-way export, and what the receiving side needs to check it.\n\n"
            "Example: jianmen store key station-7",
            "生成单向导出的签名密钥，以及接收端所需的验签密钥。\n\n示例：jianmen store key station-7",
        ),
    )(key)
    app.command(
        "export",
        short_help=tr("Write signed, numbered segments for a data diode.", "生成供单向导入设备传输的签名编号分段。"),
        help=tr(
            "Write events as signed, numbered segments into a folder that a data diode (or a courier) empties: those of "
            "a spool, which are deleted from it, or those of a store. Nothing has to come back.\n\n"
            "Example: jianmen store export --spool /var/spool/jianmen --to /srv/diode/out --key station-7.key --follow",
            "将日志记录写为带签名、连续编号的分段，供单向导入设备（或介质）取走：来源为本地缓存（写出后删除）或事件库。"
            "无需任何回传通道。\n\n"
            "示例：jianmen store export --spool /var/spool/jianmen --to /srv/diode/out --key station-7.key --follow",
        ),
    )(export)
    app.command(
        "import",
        short_help=tr("Take in what came through a data diode.", "导入经单向导入设备传来的分段。"),
        help=tr(
            "Take in segments that another machine exported. What is missing, repeated, cut off, changed or signed by "
            "somebody else is told by number; taking in the same folder again changes nothing. Exit code 3 if anything "
            "is missing or was refused.\n\n"
            "Example: jianmen store import --from /srv/diode/in --store plant.store --key station-7.pub",
            "导入其他机器导出的分段。缺号、重复、截断、篡改、签名不符均按编号列出；重复导入同一目录不产生任何变化。"
            "存在缺号或拒收时退出码为 3。\n\n"
            "示例：jianmen store import --from /srv/diode/in --store plant.store --key station-7.pub",
        ),
    )(import_)


def key(
    name: Annotated[
        Path, typer.Argument(metavar="NAME", help=tr("Writes NAME.key and NAME.pub.", "写出 NAME.key 与 NAME.pub。"))
    ],
    scheme: Annotated[
        str,
        typer.Option(
            "--scheme",
            help=tr(
                "ed25519, or hmac-sha256 or hmac-sm3 (one shared key).",
                "ed25519；或 hmac-sha256、hmac-sm3（SM3 国密杂凑，收发共用一个密钥）。",
            ),
        ),
    ] = "ed25519",
) -> None:
    """See ``register``."""
    from store import signing

    made = signing.generate(scheme)
    private, public = name.with_name(name.name + ".key"), name.with_name(name.name + ".pub")
    signing.write(made, private)
    if made.role == "shared":
        say(
            tr(
                f"{private}: key {made.id}, shared: both sides need it, and either can sign with it",
                f"{private}：密钥 {made.id}，收发双方共用，任一方均可签名",
            )
        )
        return
    signing.write(made.public(), public)
    say(
        tr(
            f"{private}: key {made.id}, stays on the sending side\n{public}: for the receiving side",
            f"{private}：密钥 {made.id}，仅保存于发送端\n{public}：交接收端",
        )
    )


def export(
    to: Annotated[Path, typer.Option("--to", metavar="DIR", help=tr("Folder to write to.", "写出目录。"))],
    key: Annotated[Path, typer.Option("--key", metavar="FILE", help=tr("Key that signs.", "签名密钥文件。"))],
    spool: Annotated[
        Path | None,
        typer.Option("--spool", metavar="DIR", help=tr("Empty this spool.", "导出并清空该本地缓存目录。")),
    ] = None,
    store: options.Store = None,
    config: options.Config = None,
    since: options.Since = None,
    until: options.Until = None,
    dataset: options.Dataset = None,
    follow: Follow = False,
    json: options.Json = False,
) -> None:
    """See ``register``."""
    from cli.config import load
    from cli.pipeline import open_store
    from cli.spool_commands import stopping, tell
    from store.diode import Exporter, export_tables
    from store.forward import Forwarder
    from store.signing import read
    from store.spool import Spool

    if spool is not None and (store is not None or since or until or dataset):
        raise ConfigError(
            "--spool is exported whole", hint="--store, --since, --until and --dataset choose events of a store"
        )
    if follow and spool is None:
        raise ConfigError("--follow needs --spool", hint="a store does not tell what came last; a spool does")
    if spool is not None:
        source = Spool(spool, create=False)
        exporter = Exporter(to, read(key))
        stop = threading.Event()
        forwarder = Forwarder(source, exporter, tell=tell if follow else lambda trouble: None, stop=stop)
        if follow:
            with stopping(stop):
                forwarder.follow()
        else:
            forwarder.once()
            if not exporter.count:  # nothing waited: say that all was sent
                exporter = Exporter(to, read(key))
                exporter.beat()
                exporter.close()
    else:
        settings = load(config, store)
        exporter = Exporter(to, read(key))
        with open_store(settings.store, create=False) as kept:
            export_tables(
                kept.scan(
                    dataset or None, since=options.instant(since, "--since"), until=options.instant(until, "--until")
                ),
                exporter,
            )
        exporter.close()
    counts = {"segments": exporter.count, "events": exporter.events, "stream": exporter.stream, "last": exporter.number}
    if json:
        emit_json({**counts, "to": str(to)})
        return
    say(
        tr(
            f"{exporter.count:,} segments written to {to}: {exporter.events:,} events; stream {exporter.stream}, "
            f"last number {exporter.number}",
            f"已写出分段 {exporter.count:,} 个至 {to}：日志记录 {exporter.events:,} 条；流 {exporter.stream}，"
            f"末号 {exporter.number}",
        )
    )


def import_(
    source: Annotated[Path, typer.Option("--from", metavar="DIR", help=tr("Folder to read.", "读入目录。"))],
    key: Annotated[
        list[Path],
        typer.Option(
            "--key", metavar="FILE", help=tr("Key to trust; may be repeated.", "可信的验签密钥文件，可重复给出。")
        ),
    ],
    store: options.Store = None,
    config: options.Config = None,
    remove: Annotated[
        bool, typer.Option("--remove", help=tr("Delete files that were taken in.", "导入后删除源文件。"))
    ] = False,
    follow: Follow = False,
    json: options.Json = False,
) -> None:
    """See ``register``."""
    from cli.config import load
    from cli.pipeline import open_store
    from cli.spool_commands import stopping, tell
    from store.diode import Importer
    from store.signing import read

    keys = [read(path) for path in key]
    settings = load(config, store)
    with open_store(settings.store, create=True) as kept:
        importer = Importer(source, kept, keys, remove=remove)
        if follow:
            stop = threading.Event()
            with stopping(stop):
                importer.follow(stop, lambda result: _show(result, json=json), trouble=tell)
            return
        result = importer.once()
    _show(result, json=json)
    if result.refused or any(stream.missing for stream in result.streams.values()):
        raise typer.Exit(3)


def _show(result: Imported, *, json: bool) -> None:
    if json:
        emit_json(
            {
                "segments": result.segments,
                "events": result.events,
                "new_events": result.new_events,
                "repeated": result.repeated,
                "refused": result.refused,
                "streams": streams_json(result.streams),
            }
        )
        return
    print_streams(result.streams)
    for name, reason in result.refused.items():
        say(tr(f"refused: {name}: {reason}", f"拒收：{name}：{reason}"))
    say(
        tr(
            f"{result.segments:,} segments taken in: {result.events:,} events, {result.new_events:,} new; "
            f"{result.repeated:,} repeated, {len(result.refused):,} refused",
            f"已导入分段 {result.segments:,} 个：日志记录 {result.events:,} 条，其中新增 {result.new_events:,} 条；"
            f"重复 {result.repeated:,} 个，拒收 {len(result.refused):,} 个",
        )
    )


def streams_of(store: Store) -> dict[str, Stream]:
    """What a store knows of one-way streams."""
    from store.diode import streams

    return streams(store)


def streams_json(streams: dict[str, Stream]) -> dict[str, Any]:
    """What is known of one-way streams, as plain data."""
    return {
        name: {
            "key": one.key,
            "last": one.last,
            "written": one.written,
            "arrived": one.arrived,
            "segments": one.segments,
            "events": one.events,
            "missing": one.missing,
            "gaps": [[gap.first, gap.last] for gap in one.gaps],
            "given_up": one.given_up,
        }
        for name, one in sorted(streams.items())
    }


def print_streams(streams: dict[str, Stream]) -> None:
    """One-way streams for people; missing numbers by name, as far as they fit."""
    table(
        tr("One-way streams", "单向导入流"),
        [
            tr("stream", "流"),
            tr("last number", "末号"),
            tr("written", "写出时间"),
            tr("segments", "分段"),
            tr("events", "条数"),
            tr("missing", "缺号数"),
            tr("missing numbers", "缺号"),
        ],
        [
            (
                name,
                one.last,
                one.written,
                f"{one.segments:,}",
                f"{one.events:,}",
                f"{one.missing:,}",
                ", ".join(map(str, one.gaps[:20])) + (" …" if len(one.gaps) > 20 else ""),
            )
            for name, one in sorted(streams.items())
        ],
    )
