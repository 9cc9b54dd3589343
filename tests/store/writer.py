"""A writer in a process of its own, for tests that kill it or run several at once.

Usage: writer.py STORE SEED DATASETS ROWS LINES. Appends the same events in splits that depend on the seed, and says on
standard output after each flush which events are safe. With LINES above 0 it kills itself with SIGKILL at that many
lines run inside store/.
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
STORE = str(ROOT / "store") + os.sep


def number_of(event_id: str) -> int:
    return int(event_id.split("-")[1])


def main() -> None:
    sys.path.insert(0, str(ROOT))
    import polars as pl

    from event.table import conform
    from store.embedded import EmbeddedStore

    path, seed, datasets, rows, lines = sys.argv[1], *map(int, sys.argv[2:6])
    chance = random.Random(seed)
    left = lines

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal left
        if not frame.f_code.co_filename.startswith(STORE):
            return None
        if event == "line":
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    if lines:
        sys.settrace(trace)
    with EmbeddedStore(Path(path)) as store:
        waiting: list[str] = []
        jobs = [(d, n) for d in range(datasets) for n in range(0, rows, 10)]
        chance.shuffle(jobs)
        for dataset, start in jobs:
            first = max(0, start - chance.randrange(15))
            numbers = list(range(first, min(rows, start + 10)))
            chance.shuffle(numbers)
            table = pl.DataFrame(
                {
                    "@timestamp": pl.Series([n * 7_200_000_000_000 for n in numbers]).cast(pl.Datetime("ns", "UTC")),
                    "event.id": [f"{'ab'[n % 2]}{dataset}-{n:06d}" for n in numbers],
                    "event.dataset": [("modbus", "dnp3", "zeek.conn")[dataset]] * len(numbers),
                    "event.kind": ["event"] * len(numbers),
                    "event.count": numbers,
                }
            )
            store.append(conform(table))
            waiting += table["event.id"].to_list()
            if chance.random() < 0.3:
                store.flush()
                os.write(1, "".join(f"{event_id}\n" for event_id in waiting).encode())
                waiting = []
            if chance.random() < 0.03:
                store.compact()
    os.write(1, b"done\n")
    sys.settrace(None)
    if lines:
        os.write(2, f"{lines - left}\n".encode())


if __name__ == "__main__":
    main()
