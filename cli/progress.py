"""Progress bars with rate and ETA on a terminal; silence in a pipe."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cli.pipeline import Watcher
from cli.text import clean, tr

if TYPE_CHECKING:
    from sensor.base import Account


@contextmanager
def reading(*, quiet: bool = False) -> Iterator[Watcher]:
    """A watcher that draws how far reading is: bytes done, rate, frames, time left."""
    if quiet or not sys.stderr.isatty():
        yield Watcher()
        return
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    from cli.text import console

    with Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        DownloadColumn(),
        TransferSpeedColumn(),
        TextColumn("{task.fields[units]}"),
        TimeRemainingColumn(),
        console=console(stderr=True),
        transient=True,
    ) as bars:
        current: list[int] = []

        def begin(name: str, size: int | None) -> None:
            for task in current:
                bars.remove_task(task)
            current[:] = [bars.add_task(clean(name)[-50:], total=size, units="")]

        def step(account: Account) -> None:
            unit = tr("frames", "帧") if account.kind in ("pcap", "pcapng") else tr("lines", "行")
            for task in current:
                bars.update(task, completed=account.bytes, units=f"{account.total:,} {unit}")  # type: ignore[arg-type]

        yield Watcher(begin=begin, step=step)


def cold_start_notice() -> None:
    """Say that the first run compiles kernels, where it does; nothing when they are cached."""
    if not sys.stderr.isatty():
        return
    from sensor.kernel_cache import is_warm

    if not is_warm():
        print(
            tr(
                "first run on this machine: compiling packet kernels, once, about 30 seconds ...",
                "本机首次运行：正在编译报文处理内核（仅此一次，约 30 秒）……",
            ),
            file=sys.stderr,
        )
