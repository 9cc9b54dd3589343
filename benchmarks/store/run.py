"""Documents per second into Elasticsearch beside what else there is, and detection at the cluster beside fetching.

usage: run.py [append|detect|bytes|node ...] [--events N] [--history N] [--rounds N] [--version 8.19.8|9.2.8]
              [--url URL --node PID] [--only NAMES] [--fetched NAMES]

append   store.append, raw ``_bulk`` bodies made beforehand over as many connections, elasticsearch.helpers.bulk and
         parallel_bulk, the embedded store; in turn, medians. Documents are counted before anything is compared.
detect   the rules over a history of N events: everything fetched, and narrowed at the cluster; the same alerts.
         --only plain,count,values,all says which rules, in this order; --fetched for which of them everything is
         fetched too. With --url the history stays there, and the next run takes it as it is or goes on loading it.
bytes    bytes an event takes in both stores, by dataset, merged to one segment.

node     starts a node, prints the options by which other runs use it, and waits until it is interrupted.

A node of its own is started unless --url names one (indices with the prefix ``bench`` and a number are deleted there).
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import resource
import shutil
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import polars as pl

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "store")]

from event.ecs import nest  # noqa: E402
from event.table import conform  # noqa: E402
from store.elastic import ElasticStore  # noqa: E402
from store.elastic.bulk import CHUNK_ROWS  # noqa: E402
from store.elastic.documents import bodies, joined  # noqa: E402
from store.embedded import EmbeddedStore  # noqa: E402

START = datetime(2026, 3, 1, tzinfo=UTC)
TABLE_ROWS = 20_000
CONNECTIONS = 4
CAPTURES = ("modbus/pump-station.pcap", "mixed", "iec104", "dnp3", "s7comm")


def captured() -> dict[str, pl.DataFrame]:
    """Events of the captures that the project ships, by dataset."""
    from event.table import concat
    from sensor.reader import open_input

    found: dict[str, list[pl.DataFrame]] = {}
    for name in CAPTURES:
        place = ROOT / "pcaps" / name
        for path in [place] if place.is_file() else sorted(place.rglob("*.pcap")):
            for table in open_input(path).tables():
                table = conform(table)
                found.setdefault(str(table["event.dataset"][0]), []).append(table)
    return {dataset: conform(concat(tables)) for dataset, tables in sorted(found.items())}


def moved(table: pl.DataFrame, first: int, begin: datetime, step_ns: int, origin: str = "bench000") -> pl.DataFrame:
    """Rows with ids and times of their own, evenly spaced; whatever else has a time moves along."""
    order = pl.int_range(pl.len(), dtype=pl.Int64)
    time_ = pl.lit(begin).cast(pl.Datetime("ns", "UTC")) + (order * step_ns).cast(pl.Duration("ns"))
    shift = time_ - pl.col("@timestamp")
    dates = [name for name in ("event.start", "event.end") if name in table.columns]
    number = (order + first).cast(pl.String).str.zfill(12)
    return table.with_columns(
        time_.alias("@timestamp"),
        *((pl.col(name) + shift).alias(name) for name in dates),
        pl.concat_str(pl.lit(f"{origin}-"), number, pl.lit("-"), pl.col("event.dataset")).alias("event.id"),
    )


def quiet(table: pl.DataFrame) -> pl.DataFrame:
    """What a plant does all day: reads and their answers."""
    if "modbus.access" in table.columns:
        return table.filter((pl.col("modbus.access") == "read") & pl.col("modbus.exception").is_null())
    return table


def history(count: int, days: float = 10.0) -> Iterator[pl.DataFrame]:
    """Events of some days: polling and flows, and now and then an hour in which the captures come by as they are."""
    have = captured()
    modbus, flow = quiet(have["modbus"]), have["flow"].filter(pl.col("network.protocol") == "modbus")
    step = int(days * 86_400e9 / max(1, count))
    done = number = 0
    while done < count:
        rows = min(TABLE_ROWS, count - done)
        base = flow if number % 5 == 4 else modbus
        table = base.sample(rows, with_replacement=True, seed=number)
        yield moved(table, done, START + timedelta(microseconds=done * step / 1000), step)
        if number % 25 == 12:  # one table in 25 of the size of one is followed by all captures
            begin = START + timedelta(microseconds=done * step / 1000)
            for dataset, table in have.items():
                # Of an origin of their own, for ids of one origin rise: what is below the highest one is looked up.
                yield moved(table, number * 10**6, begin, 100_000_000, "burst000").with_columns(
                    pl.lit(dataset).alias("event.dataset")
                )
        done += rows
        number += 1


# Contenders.


def raw(url: str, requests: list[tuple[str, bytes]]) -> None:
    """Ready bodies over plain connections that stay open."""
    place = urlsplit(url)
    own = threading.local()

    def send(request: tuple[str, bytes]) -> None:
        if not hasattr(own, "connection"):
            own.connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=120)
        path, body = request
        own.connection.request("POST", path, body, {"Content-Type": "application/x-ndjson"})
        answer = own.connection.getresponse()
        said = json.loads(answer.read())
        if answer.status != 200 or said["errors"]:
            raise RuntimeError(f"bulk: {answer.status} {said}")

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        list(pool.map(send, requests))


def requests_of(store: ElasticStore, tables: list[pl.DataFrame]) -> list[tuple[str, bytes]]:
    made = []
    for table in tables:
        for (day,), part in table.group_by(pl.col("@timestamp").dt.strftime("%Y.%m.%d"), maintain_order=True):
            index = store.names.index(str(part["event.dataset"][0]), str(day))
            for start in range(0, part.height, CHUNK_ROWS):
                body = joined(bodies(part.slice(start, CHUNK_ROWS)))
                made.append((f"/{index}/_bulk?filter_path=errors", body))
    return made


def actions(store: ElasticStore, tables: list[pl.DataFrame]) -> Iterator[dict[str, Any]]:
    """What an integrator would give the helpers: a nested dictionary a document."""
    for table in tables:
        stem = store.names.stem(str(table["event.dataset"][0]))
        for row in table.iter_rows(named=True):
            yield {
                "_op_type": "create",
                "_index": stem + row["@timestamp"].strftime("%Y.%m.%d"),
                "_id": row["event.id"],
                "_source": nest(row),
            }


def by_helper(url: str, store: ElasticStore, tables: list[pl.DataFrame], *, parallel: bool) -> None:
    import elasticsearch
    from elasticsearch import helpers

    # The 8.19 client asks what it talks to; the distribution for tests has no answer to that.
    client = elasticsearch.Elasticsearch([url], connections_per_node=CONNECTIONS, request_timeout=120)
    if parallel:
        for ok, item in helpers.parallel_bulk(
            client, actions(store, tables), thread_count=CONNECTIONS, chunk_size=1_000
        ):
            if not ok:
                raise RuntimeError(str(item))
    else:
        helpers.bulk(client, actions(store, tables), chunk_size=1_000)
    client.close()


class Bench:
    def __init__(self, url: str, work: Path) -> None:
        self.url = url
        self.work = work
        self.number = 0

    def fresh(self) -> ElasticStore:
        self.number += 1
        return ElasticStore(self.url, prefix=f"bench{self.number}", connections=CONNECTIONS)

    def drop(self, store: ElasticStore) -> None:
        store.close()
        for path in (f"/{store.names.prefix}-*?expand_wildcards=all", f"/_index_template/{store.names.prefix}-*"):
            place = urlsplit(self.url)
            connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=120)
            connection.request("DELETE", path)
            connection.getresponse().read()
            connection.close()


NODES: list[int] = []
"""Processes of the node that was started, to count their seconds."""


def _seconds() -> tuple[float, float]:
    """Processor seconds of this process and of the node so far."""
    own = resource.getrusage(resource.RUSAGE_SELF)
    ticks = 0
    for process in NODES:
        fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
        ticks += int(fields[11]) + int(fields[12])
    return own.ru_utime + own.ru_stime, ticks / os.sysconf("SC_CLK_TCK")


def timed(work: Callable[[], None]) -> tuple[float, float, float]:
    """Wall seconds, and seconds of processor of this process and of the node."""
    before = _seconds()
    started = time.perf_counter()
    work()
    wall = time.perf_counter() - started
    after = _seconds()
    return wall, after[0] - before[0], after[1] - before[1]


def append(bench: Bench, events: int, rounds: int) -> None:
    tables = [table for table in history(events, days=0.9) if table.height]
    total = sum(table.height for table in tables)
    print(f"append: {total:,} events, {len(tables)} tables, {CONNECTIONS} connections, {rounds} rounds in turn")

    def ours(store: ElasticStore) -> None:
        for table in tables:
            store.append(table)
        store.flush()

    def refreshed(work: Callable[[ElasticStore], None]) -> Callable[[ElasticStore], None]:
        def both(store: ElasticStore) -> None:
            work(store)
            store.client.ask("POST", f"/{store.names.events}/_refresh")

        return both

    prepared: list[tuple[str, bytes]] = []
    contenders: dict[str, Callable[[ElasticStore], None]] = {
        "store.append": ours,
        "raw _bulk": refreshed(lambda store: raw(bench.url, prepared)),
        "helpers.parallel_bulk": refreshed(lambda store: by_helper(bench.url, store, tables, parallel=True)),
        "helpers.bulk": refreshed(lambda store: by_helper(bench.url, store, tables, parallel=False)),
    }
    walls: dict[str, list[float]] = {name: [] for name in (*contenders, "embedded")}
    cpus: dict[str, list[float]] = {name: [] for name in walls}
    both: dict[str, list[float]] = {name: [] for name in walls}
    for number in range(rounds + 1):  # the first one warms the node up
        order = list(contenders)
        order = order[number % len(order) :] + order[: number % len(order)]
        for name in order:
            store = bench.fresh()
            if name == "raw _bulk":
                prepared[:] = requests_of(store, tables)
            try:
                wall, cpu, node = timed(lambda store=store, name=name: contenders[name](store))  # type: ignore[misc]
                held = sum(status.events for status in store.status())
            finally:
                bench.drop(store)
            if held != total:
                raise SystemExit(f"{name}: {held} of {total} documents are there")
            if number:
                walls[name].append(wall)
                cpus[name].append(cpu)
                both[name].append(cpu + node)
        with tempfile.TemporaryDirectory(dir=bench.work) as folder:

            def embedded(folder: str = folder) -> None:
                with EmbeddedStore(Path(folder) / "store") as store:
                    for table in tables:
                        store.append(table)

            wall, cpu, _ = timed(embedded)
            if number:
                walls["embedded"].append(wall)
                cpus["embedded"].append(cpu)
                both["embedded"].append(cpu)
    mine, my_both = statistics.median(walls["store.append"]), statistics.median(both["store.append"])
    print(f"{'':24}{'k documents/s':>14}{'ours/theirs':>13}{'client cpu s':>14}{'with node':>11}{'ours/theirs':>13}")
    for name, seconds in walls.items():
        wall, cpu, all_cpu = (statistics.median(of) for of in (seconds, cpus[name], both[name]))
        print(
            f"{name:24}{total / wall / 1000:>14.1f}{wall / mine:>13.2f}{cpu:>14.2f}{all_cpu:>11.1f}"
            f"{all_cpu / my_both:>13.2f}"
        )


QUESTIONS = {
    "plain": ("one plain rule", ("Modbus Device Identification Read",)),
    "count": ("one event_count", ("Burst of Modbus Illegal Function Exceptions",)),
    "values": ("one value_count of all", ("Modbus Unit Scan",)),
    "all": ("all rules", ()),
}


def load(store: ElasticStore, events: int) -> None:
    """Store the history, or what is missing of it."""
    held = _of_history(store)
    # Requests that were under way when an earlier run ended leave holes behind them; what is sent twice is not stored.
    skip = held - 200_000
    started = time.perf_counter()
    total = sent = told = 0
    for table in history(events):
        total += table.height
        if total <= skip:
            continue
        store.append(table)
        sent += table.height
        if sent - told >= 500_000:
            told = sent
            rate = sent / (time.perf_counter() - started) / 1000
            print(f"  {total:,} events, {rate:.1f} k/s, load {os.getloadavg()[0]:.1f}")
    store.flush()
    print(f"detect: {total:,} events, {held:,} were there, loaded in {time.perf_counter() - started:.0f} s")
    held = _of_history(store)
    if held != total:
        raise SystemExit(f"{held} of {total} documents are there")


def _of_history(store: ElasticStore) -> int:
    """Events of the history; alerts of earlier runs lie beside them."""
    return sum(status.events for status in store.status() if not status.dataset.startswith("jianmen."))


def detect(bench: Bench, events: int, rounds: int, only: list[str], fetched: list[str], *, keep: bool) -> None:
    from cli.pipeline import detect as run
    from correlate.ir import RuleSet
    from correlate.rules import load_rules

    ruleset = load_rules()
    by_name = {one.meta.title: one for one in ruleset.all()}

    def chosen(titles: tuple[str, ...]) -> RuleSet:
        if not titles:
            return ruleset
        wanted = [by_name[title] for title in titles]
        ids = {one.id for one in wanted} | {rule for one in wanted for rule in getattr(one, "rules", ())}
        return RuleSet(
            tuple(one for one in ruleset.rules if one.id in ids),
            tuple(one for one in ruleset.correlations if one.id in ids),
        )

    patient = {"patience": 3_600.0, "seconds": 1_200.0}  # hours of loading beside other work
    store = ElasticStore(bench.url, prefix="benchhistory", **patient) if keep else bench.fresh()
    try:
        load(store, events)
        for key in only:
            name, titles = QUESTIONS[key]
            rules = chosen(titles)
            figures: dict[bool, list[tuple[float, float, float]]] = {False: [], True: []}
            read: dict[bool, int] = {}
            alerts: dict[bool, int] = {}
            for number in range(rounds):
                for pushed in (True, False) if number % 2 == 0 else (False, True):
                    if not pushed and (key not in fetched or (events > 3_000_000 and number)):
                        continue

                    outcome: list[Any] = []

                    def work(pushed: bool = pushed, rules: RuleSet = rules, into: list[Any] = outcome) -> None:
                        into.append(run(store, rules, push_down=pushed)[0])

                    figures[pushed].append(timed(work))
                    read[pushed], alerts[pushed] = outcome[0].read, outcome[0].alerts
                    wall, own, node = figures[pushed][-1]
                    print(
                        f"{name}, {'narrowed' if pushed else 'fetched'}: {read[pushed]:,} events read, "
                        f"{alerts[pushed]:,} alerts, {wall:.1f} s, processor {own:.1f} s and {node:.1f} s of the node"
                    )
            if False not in alerts:
                continue
            if alerts[True] != alerts[False]:
                raise SystemExit(f"{name}: {alerts[False]} alerts fetched, {alerts[True]} narrowed")
            cpu = {key: statistics.median(own + node for _, own, node in of) for key, of in figures.items()}
            print(f"{name}: the same alerts; fetched / narrowed processor seconds: {cpu[False] / cpu[True]:.1f}")
    finally:
        if keep:
            store.close()
        else:
            bench.drop(store)


def sizes(bench: Bench, events: int) -> None:
    have = captured()
    store = bench.fresh()
    folder = Path(tempfile.mkdtemp(dir=bench.work))
    try:
        with EmbeddedStore(folder / "store") as embedded:
            for dataset, table in have.items():
                number = 0
                while number < events:
                    rows = min(TABLE_ROWS, events - number)
                    more = moved(table.sample(rows, with_replacement=True, seed=number), number, START, 800_000)
                    more = more.with_columns(pl.lit(dataset).alias("event.dataset"))
                    store.append(more)
                    embedded.append(more)
                    number += rows
            store.flush()
            embedded.flush()
            embedded.compact()
            store.client.ask("POST", f"/{store.names.events}/_forcemerge", params={"max_num_segments": "1"})
            store.client.ask("POST", f"/{store.names.events}/_flush")
            theirs = {one.dataset: one for one in embedded.status()}
            print(f"{'bytes an event':24}{'elasticsearch':>14}{'embedded':>10}   ({events:,} events each)")
            for one in store.status():
                small = theirs[one.dataset]
                print(f"{one.dataset:24}{one.bytes / one.events:>14.0f}{small.bytes / small.events:>10.1f}")
    finally:
        bench.drop(store)
        shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=["append", "detect", "bytes"])
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--history", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--version", default="8.19.8")
    parser.add_argument("--heap", default="1g", help="of the node that is started")
    parser.add_argument("--url")
    parser.add_argument("--node", type=int, action="append", help="process whose seconds count, with --url")
    parser.add_argument("--only", default="plain,count,values,all")
    parser.add_argument("--fetched", default="plain,count,values,all")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()))
    options = parser.parse_args()
    print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}, Elasticsearch {options.version}")
    cluster = None
    if options.url is None:
        import nodes

        cluster = nodes.start(options.version, fast_start=False, heap=options.heap)
        NODES.extend(nodes._members(cluster.folder / "node-0"))
    NODES.extend(options.node or ())
    try:
        bench = Bench(options.url or cluster.url, options.work)  # type: ignore[union-attr]
        for part in options.parts:
            if part == "append":
                append(bench, options.events, options.rounds)
            elif part == "detect":
                only, fetched = options.only.split(","), options.fetched.split(",")
                detect(bench, options.history, options.rounds, only, fetched, keep=options.url is not None)
            elif part == "bytes":
                sizes(bench, options.events)
            elif part == "node":
                print(f"--url {bench.url} {' '.join(f'--node {process}' for process in NODES)}")
                signal.pause()
            else:
                raise SystemExit(f"no such part: {part}")
    finally:
        if cluster is not None:
            cluster.stop()


if __name__ == "__main__":
    main()
