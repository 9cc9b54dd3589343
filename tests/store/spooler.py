"""A process that fills or empties a spool, for tests that kill it.

Usage: spooler.py write SPOOL SEED LINES, spooler.py ship SPOOL STORE LINES (STORE is a folder, or URL/PREFIX),
spooler.py export SPOOL FOLDER LINES KEY,
or spooler.py import FOLDER STORE LINES KEY. With LINES above 0 it kills itself with SIGKILL at that many lines run
inside store/. ``write`` says on standard output after each flush which events are safe; all say at the end how many
lines they ran.
"""

from __future__ import annotations

import os
import random
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

ROOT = Path(__file__).parents[2]
ROOM = str(ROOT / "store") + os.sep
DATASETS = ("modbus", "dnp3", "jianmen.alert")


def table(dataset: str, numbers: list[int]) -> Any:
    import polars as pl

    from event.table import conform

    return conform(
        pl.DataFrame(
            {
                "@timestamp": pl.Series([n * 7_200_000_000_000 for n in numbers]).cast(pl.Datetime("ns", "UTC")),
                "event.id": [f"s-{n:06d}-{dataset}" for n in numbers],
                "event.dataset": [dataset] * len(numbers),
                "event.kind": ["event"] * len(numbers),
                "event.count": numbers,
            }
        )
    )


def write(spool_path: str, seed: int) -> None:
    from store.spool import Spool

    chance = random.Random(seed)
    waiting: list[str] = []
    with Spool(Path(spool_path)) as spool:
        for start in range(0, 300, 10):
            events = table(chance.choice(DATASETS), list(range(start, start + 10)))
            spool.append(events)
            waiting += events["event.id"].to_list()
            if chance.random() < 0.4:
                spool.flush()
                os.write(1, "".join(f"{event_id}\n" for event_id in waiting).encode())
                waiting = []
    os.write(1, "".join(f"{event_id}\n" for event_id in waiting).encode())


def ship(spool_path: str, store_path: str) -> None:
    from store import forward
    from store.base import Store
    from store.embedded import EmbeddedStore
    from store.spool import Spool

    def open_store() -> Store:
        if store_path.startswith("http"):
            from store.elastic import ElasticStore

            url, _, prefix = store_path.rpartition("/")
            return ElasticStore(url, prefix=prefix)
        return EmbeddedStore(Path(store_path))

    forward.BATCH_SEGMENTS = 4
    spool = Spool(Path(spool_path), create=False)
    forward.Forwarder(spool, forward.StoreDelivery(open_store)).once()


def export(spool_path: str, folder: str, key: str) -> None:
    from store import signing
    from store.diode import Exporter
    from store.forward import Forwarder
    from store.spool import Spool

    Forwarder(Spool(Path(spool_path), create=False), Exporter(Path(folder), signing.read(Path(key)))).once()


def take_in(folder: str, store_path: str, key: str) -> None:
    from store import signing
    from store.diode import Importer
    from store.embedded import EmbeddedStore

    with EmbeddedStore(Path(store_path)) as store:
        Importer(Path(folder), store, [signing.read(Path(key))]).once()


def main() -> None:
    sys.path.insert(0, str(ROOT))
    what, spool_path, other, lines = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
    left = lines or 1 << 40

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal left
        if not frame.f_code.co_filename.startswith(ROOM):
            return None
        if event == "line":
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    sys.settrace(trace)
    if what == "write":
        write(spool_path, int(other))
    elif what == "ship":
        ship(spool_path, other)
    elif what == "export":
        export(spool_path, other, sys.argv[5])
    else:
        take_in(spool_path, other, sys.argv[5])
    sys.settrace(None)
    os.write(2, f"{(lines or 1 << 40) - left}\n".encode())


if __name__ == "__main__":
    main()
