"""``store forward``: what a sensor wrote to its own disk goes to the store."""

from __future__ import annotations

import re
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import options
from cli.text import emit_json, local_time, say, table, tr
from event.errors import ConfigError, StoreError

if TYPE_CHECKING:
    from cli.config import Settings
    from store.forward import Shipped
    from store.spool import Spool
    from store.spool_status import SpoolStatus

SpoolDir = Annotated[
    Path, typer.Option("--spool", metavar="DIR", help=tr("The sensor's spool.", "传感器的本地缓存目录。"))
]

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def register(app: typer.Typer) -> None:
    """Add the commands to ``store``."""
    app.command(
        "forward",
        short_help=tr("Ship a spool to the store.", "将本地缓存转发至事件库。"),
        help=tr(
            "Ship the segments of a spool to the store, in order; each is deleted after the store has acknowledged it. "
            "Killed at any point nothing is lost and nothing is stored twice.\n\n"
            "Example: jianmen store forward --spool /var/spool/jianmen --store plant.store --follow",
            "将本地缓存中的分段按序转发至事件库，经事件库确认后删除。任何时刻中断均不丢失、不重复。\n\n"
            "示例：jianmen store forward --spool /var/spool/jianmen --store plant.store --follow",
        ),
    )(forward)


def forward(
    spool: SpoolDir,
    store: options.Store = None,
    config: options.Config = None,
    follow: Annotated[
        bool,
        typer.Option(
            "--follow/--once",
            help=tr(
                "Go on with what comes, and through failures, until stopped; or ship what waits now and end.",
                "持续转发新分段，遇故障自动重试，直至停止；或仅转发现有分段后退出。",
            ),
        ),
    ] = False,
    retry_parked: Annotated[
        bool,
        typer.Option(
            "--retry-parked",
            help=tr("Try segments again that could not be read before.", "重新尝试此前搁置的分段。"),
        ),
    ] = False,
    json: options.Json = False,
) -> None:
    """See ``register``."""
    from cli.config import load
    from cli.pipeline import open_store
    from store.forward import Forwarder, StoreDelivery
    from store.spool import Spool

    settings = load(config, store)
    opened = Spool(spool, create=False)
    if retry_parked:
        opened.unpark()
    stop = threading.Event()
    forwarder = Forwarder(
        opened,
        StoreDelivery(lambda: open_store(settings.store, create=True)),
        tell=tell if follow else _quiet,
        stop=stop,
    )
    if follow:
        with stopping(stop):
            shipped = forwarder.follow()
    else:
        shipped = forwarder.once()
    left = opened.status()
    if shipped.rejected:
        say(
            tr(
                f"WARNING: the store refused {shipped.rejected:,} events for what they say; they are put away with the reason",
                f"警告：事件库因内容不符拒收 {shipped.rejected:,} 条，已连同原因另行保存",
            )
        )
    if json:
        emit_json({**shipped_json(shipped), "waiting": status_json(left)})
        return
    say(
        tr(
            f"{shipped.segments:,} segments shipped: {shipped.events:,} events, {shipped.new_events:,} new; "
            f"{left.segments:,} wait, {len(left.parked):,} parked",
            f"已转发分段 {shipped.segments:,} 个：日志记录 {shipped.events:,} 条，其中新增 {shipped.new_events:,} 条；"
            f"待转发 {left.segments:,} 个，搁置 {len(left.parked):,} 个",
        )
    )


def _quiet(trouble: str) -> None:
    """``--once`` raises what goes wrong; what was parked is in the summary."""


def tell(trouble: str) -> None:
    """A new trouble of a forwarder that goes on, or its end."""
    if trouble:
        say(f"{tr('trouble', '故障')}: {trouble}")
    else:
        say(tr("delivery works again", "转发已恢复"))


@contextmanager
def stopping(stop: threading.Event) -> Iterator[None]:
    """SIGTERM and SIGINT end what goes on, after the delivery under way."""
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def opened_for_writing(path: Path, limit: str | None) -> Iterator[Spool]:
    """A spool that says on stderr when it has to drop, at once and in sum."""
    from store.spool import Spool

    lost: dict[str, int] = {}

    def warn(dataset: str, events: int, _: int) -> None:
        if not lost:
            say(
                tr(
                    "WARNING: the spool is full; the oldest raw events are dropped (and counted) to keep alerts and what is new",
                    "警告：本地缓存已满，正在丢弃最早的原始日志记录（均已计数），以保留告警与最新记录",
                )
            )
        lost[dataset] = lost.get(dataset, 0) + events

    with Spool(path, limit_bytes=size_of(limit), warn=warn) as spool:
        yield spool
    if lost:
        parts = tr(", ", "，").join(f"{dataset} {events:,}" for dataset, events in sorted(lost.items()))
        say(tr(f"WARNING: dropped for lack of room: {parts}", f"警告：因容量不足丢弃：{parts}"))


@contextmanager
def shipping(path: Path, settings: Settings) -> Iterator[None]:
    """A forwarder that empties a spool into the store while somebody fills it, and what is left at the end.

    A store that cannot be reached costs disk, not events, and is no reason to stop.
    """
    from cli.pipeline import open_store
    from store.forward import Forwarder, StoreDelivery
    from store.spool import Spool

    spool = Spool(path)
    stop = threading.Event()
    way = StoreDelivery(lambda: open_store(settings.store, create=True))
    forwarder = Forwarder(spool, way, tell=tell, stop=stop)
    failed: list[BaseException] = []

    def follow() -> None:
        try:
            forwarder.follow()
        except Exception as error:  # noqa: BLE001 - raised below, in the thread that can tell it
            failed.append(error)

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    if failed:
        raise failed[0]
    try:
        Forwarder(spool, way).once()
    except StoreError:
        left = spool.status()
        say(
            tr(
                f"{left.segments:,} segments ({left.events:,} events) wait in the spool; store forward ships them later",
                f"本地缓存中尚有分段 {left.segments:,} 个（{left.events:,} 条）待转发，可稍后用 store forward 转发",
            )
        )


def size_of(text: str | None) -> int | None:
    """Read a number of bytes such as ``500M`` or ``20G`` (powers of 1,024).

    Raises:
        ConfigError: It is none.
    """
    if text is None:
        return None
    match = re.fullmatch(r"(\d{1,15})\s*([KMGT]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    if match is None or not int(match[1]):
        raise ConfigError(f"not a size: {text!r}", where="--spool-limit", hint="bytes, such as 500M or 20G")
    return int(match[1]) * _UNITS[match[2].upper()]


def shipped_json(shipped: Shipped) -> dict[str, Any]:
    """What a forwarder did, as plain data."""
    return {
        "segments": shipped.segments,
        "events": shipped.events,
        "new_events": shipped.new_events,
        "bytes": shipped.bytes,
        "parked": shipped.parked,
        "rejected": shipped.rejected,
        "failures": shipped.failures,
    }


def status_json(status: SpoolStatus) -> dict[str, Any]:
    """What a spool holds, as plain data."""
    return {
        "spool": str(status.path),
        "limit_bytes": status.limit_bytes,
        "bytes": status.bytes,
        "segments": status.segments,
        "events": status.events,
        "first": status.first,
        "last": status.last,
        "age_seconds": round(status.age_seconds, 3),
        "newest_event": status.newest_event,
        "lag_seconds": status.lag_seconds,
        "datasets": {
            name: {"events": one.events, "bytes": one.bytes, "segments": one.segments}
            for name, one in status.datasets.items()
        },
        "parked": status.parked,
        "dropped": {
            "events": status.dropped.events,
            "first": status.dropped.first,
            "last": status.dropped.last,
            "datasets": {
                name: {"events": one.events, "bytes": one.bytes, "segments": one.segments}
                for name, one in sorted(status.dropped.datasets.items())
            },
        },
        "forward": status.forward,
    }


def print_status(status: SpoolStatus) -> None:
    """A spool for people: what waits, how old and how full, what was dropped, what the forwarder said."""
    from datetime import datetime

    names = sorted({*status.datasets, *status.dropped.datasets})
    waits, gone = status.datasets, status.dropped.datasets
    table(
        tr(f"Spool {status.path}", f"本地缓存 {status.path}"),
        [
            tr("dataset", "数据集"),
            tr("waiting events", "待转发条数"),
            tr("segments", "分段"),
            tr("bytes", "字节"),
            tr("dropped events", "已丢弃条数"),
        ],
        [
            (
                name,
                f"{waits[name].events:,}" if name in waits else "0",
                f"{waits[name].segments:,}" if name in waits else "0",
                f"{waits[name].bytes:,}" if name in waits else "0",
                f"{gone[name].events:,}" if name in gone else "0",
            )
            for name in names
        ],
    )
    share = 100 * status.bytes / status.limit_bytes
    say(
        tr(
            f"{status.segments:,} segments ({status.events:,} events) wait, the oldest for {status.age_seconds:,.0f} s; "
            f"{status.bytes:,} of {status.limit_bytes:,} bytes ({share:.1f} %)",
            f"待转发分段 {status.segments:,} 个（{status.events:,} 条），最早的已等待 {status.age_seconds:,.0f} 秒；"
            f"占用 {status.bytes:,} / {status.limit_bytes:,} 字节（{share:.1f}%）",
        )
    )
    last = status.forward.get("last")
    if last:
        say(
            tr(
                f"last delivery {local_time(datetime.fromisoformat(last))}, segment {status.forward.get('number')}, "
                f"events up to {status.forward.get('newest_event')}",
                f"最近一次转发 {local_time(datetime.fromisoformat(last))}，分段 {status.forward.get('number')}，"
                f"日志记录截至 {status.forward.get('newest_event')}",
            )
        )
    else:
        say(tr("nothing was delivered yet", "尚未转发"))
    if status.lag_seconds:
        say(
            tr(
                f"the store is {status.lag_seconds:,.0f} s of events behind",
                f"事件库落后 {status.lag_seconds:,.0f} 秒（按日志记录时间）",
            )
        )
    if status.forward.get("error"):
        since = local_time(datetime.fromisoformat(status.forward["failing_since"]))
        say(tr(f"failing since {since}: ", f"自 {since} 起转发失败：") + str(status.forward["error"]))
    if status.forward.get("rejected"):
        count = int(status.forward["rejected"])
        say(
            tr(
                f"{count:,} events were refused by the store and put away with the reason",
                f"事件库累计拒收 {count:,} 条，已连同原因另行保存",
            )
        )
    for name, reason in status.parked.items():
        say(tr(f"parked: {name}: {reason}", f"搁置：{name}：{reason}"))
    if status.dropped.events:
        say(
            tr(
                f"WARNING: {status.dropped.events:,} events were dropped at the limit "
                f"({status.dropped.first} to {status.dropped.last})",
                f"警告：因容量上限共丢弃 {status.dropped.events:,} 条（{status.dropped.first} 至 {status.dropped.last}）",
            )
        )
