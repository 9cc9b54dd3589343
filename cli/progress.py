"""Progress bars with rate and ETA on a terminal; silence in a pipe."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from cli.pipeline import Watcher
from cli.text import clean, say, tr

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
        current: list[Any] = []

        def begin(name: str, size: int | None) -> None:
            for task in current:
                bars.remove_task(task)
            current[:] = [bars.add_task(clean(name)[-50:], total=size, units="")]

        def step(account: Account) -> None:
            unit = tr("frames", "帧") if account.kind in ("pcap", "pcapng") else tr("lines", "行")
            for task in current:
                bars.update(task, completed=account.bytes, units=f"{account.total:,} {unit}")

        yield Watcher(begin=begin, step=step)


def prepare_kernels() -> None:
    """Point numba at its cache in our state folder; say that kernels are compiled where they are not yet.

    Only for commands that read captures: it imports numba.
    """
    from cli.config import state_home
    from sensor.kernel_cache import is_warm, prepare

    if not is_warm(prepare(state_home())):
        say(
            tr(
                "first run on this machine: compiling the packet kernels, once, for about a minute ...",
                "本机首次运行：正在编译报文处理内核，仅此一次，约需一分钟……",
            )
        )
