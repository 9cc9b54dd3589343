"""Progress bars with rate and ETA on a terminal; silence in a pipe."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
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


def prepare_kernels(inputs: Sequence[Path]) -> None:
    """Point numba at its cache in our state folder and compile what these inputs need, if it is not there yet.

    Logs need no kernels, and then numba is not imported.
    """
    kinds = kernels_for(inputs)
    if kinds:
        warm_kernels(kinds)


def warm_kernels(kinds: tuple[str, ...]) -> None:
    """Compile these groups of kernels, if they are not in the cache, and say so."""
    from cli.config import state_home
    from sensor.kernel_cache import warm

    said: list[str] = []

    def begin(group: str) -> None:
        if not said:
            say(
                tr(
                    "first run on this machine: compiling the packet kernels, once, for about a minute ...",
                    "本机首次运行：正在编译报文处理内核，仅此一次，约需一分钟……",
                )
            )
        said.append(group)

    warm(state_home(), kinds, begin)


def kernels_for(inputs: Sequence[Path]) -> tuple[str, ...]:
    """Groups of kernels (``sensor.kernel_cache.GROUPS``) that reading these inputs needs."""
    wanted: set[str] = set()
    for path in inputs:
        head = b""
        if str(path) != "-":
            try:
                with path.open("rb") as file:
                    head = file.read(4)
            except OSError:
                continue  # the reader will say so
        if head == b"\x0a\x0d\x0d\x0a":
            wanted.add("pcapng")
        elif head[:2] in (b"\xd4\xc3", b"\xa1\xb2", b"\x4d\x3c", b"\x34\xcd"):
            wanted.add("pcap")
        elif str(path) == "-" or head[:2] == b"\x1f\x8b" or head == b"\x28\xb5\x2f\xfd":
            wanted |= {"pcap", "pcapng"}  # nobody knows before it is read
        if len(wanted) == 2:
            break
    return (*sorted(wanted), "decoders") if wanted else ()
