"""The loops that join the rooms: inputs to store, store to alerts, alerts to incidents, incidents to reports.

No Typer here: plain arguments in, plain values out, so that a service can call the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from cli.accounts import INPUTS, accounts_of, remember
from event.errors import InputError, StoreError

if TYPE_CHECKING:
    import polars as pl

    from cli.config import ClusterPlace
    from correlate.detect import Detector
    from correlate.rules import RuleSet
    from event.coarse import Coarse
    from event.incident import Asset, Incident
    from event.site import Site
    from sensor.base import Account
    from store.base import Share, Store

ALERTS = "jianmen.alert"
_NOT_TRAFFIC = frozenset({ALERTS, INPUTS})
_FLUSH_ROWS = 80_000  # events that a crash may cost the work of (not the data: a second run completes them)


def open_store(place: Path | ClusterPlace, *, create: bool) -> Store:
    """Open the embedded store of a folder, or a cluster.

    Raises:
        StoreError: It does not exist and ``create`` is False, or it cannot be reached or used.
    """
    from event.registry import load
    from store import STORES

    if not isinstance(place, Path):
        try:
            factory = load("stores", "elastic", STORES)
        except ModuleNotFoundError as error:
            raise StoreError(
                f"{error.name} is not installed, which speaks to Elasticsearch", hint="pip install 'jianmen[elastic]'"
            ) from None
        cluster: Store = factory(
            place.urls,
            prefix=place.prefix,
            auth=place.auth,
            api_key=place.api_key,
            ca=place.ca,
            rejected=place.rejected,
            create=create,
        )
        return cluster
    if not create and not (place / "catalogue.sqlite").is_file():
        raise StoreError("no event store there", where=str(place), hint="jianmen ingest CAPTURE --store DIR makes one")
    opened: Store = load("stores", "embedded", STORES)(place, create=create)
    return opened


def find_inputs(paths: Sequence[Path]) -> list[Path]:
    """Files to read: folders are walked (sorted; hidden files and our own side files are left out).

    Raises:
        InputError: A path does not exist, or a folder holds no file.
    """
    found: list[Path] = []
    for path in paths:
        if str(path) == "-":
            found.append(path)
        elif path.is_dir():
            inside = sorted(
                p
                for p in path.rglob("*")
                if p.is_file() and not p.name.startswith(".") and p.suffix not in {".py", ".md", ".toml", ".yml"}
            )
            if not inside:
                raise InputError("the folder holds no capture or log", where=str(path))
            found.extend(inside)
        elif path.exists():
            found.append(path)
        else:
            raise InputError("no such file", where=str(path), hint="name a capture (pcap, pcapng, .gz, .zst) or a log")
    return found


class Sink(Protocol):
    """What ``ingest`` writes to: a store, or the spool of a sensor."""

    def append(self, events: pl.DataFrame) -> int:
        """Take a table of one dataset."""
        ...

    def flush(self) -> None:
        """Make durable what was taken."""
        ...


@dataclass(slots=True)
class Watcher:
    """What a caller may want to see while work is going on; every member may stay as it is."""

    begin: Callable[[str, int | None], None] = lambda name, size: None
    """An input is opened: its name and its size in bytes (None for a stream or compressed input)."""
    step: Callable[[Account], None] = lambda account: None
    """More of the input was read."""
    table: Callable[[pl.DataFrame], None] = lambda table: None
    """A table of events, before it is stored."""


def ingest(
    paths: Sequence[Path],
    store: Sink,
    *,
    watcher: Watcher | None = None,
    collapse: bool = True,
    decoders: Sequence[str] | None = None,
    stdin: BinaryIO | None = None,
) -> list[Account]:
    """Read captures and logs into the store, or into a spool (which keeps events only, no accounts).

    A damaged input keeps what came before the damage and does not stop the others; its account says what was wrong.

    Returns:
        One account for each input, in order.
    """
    from sensor.base import Account
    from sensor.reader import open_input

    watcher = watcher or Watcher()
    accounts: list[Account] = []
    for path in paths:
        stream = str(path) == "-"
        name = "-" if stream else str(path)
        size = None if stream or path.suffix in {".gz", ".zst"} else path.stat().st_size
        watcher.begin(name, size)
        started = time.monotonic()
        try:
            source: Path | BinaryIO = stdin if stream and stdin is not None else path
            opened = open_input(
                source,
                name=name,
                collapse=collapse,
                decoders=decoders,
                reference=datetime.now(UTC) if stream else None,
            )
        except InputError as error:
            accounts.append(Account(name, "unknown", seconds=time.monotonic() - started, error=str(error)))
            continue
        account = opened.account
        accounts.append(account)
        pending = 0
        try:
            for table in opened.tables():
                watcher.table(table)
                store.append(table)
                dataset = str(table["event.dataset"][0])
                account.events[dataset] = account.events.get(dataset, 0) + table.height
                pending += table.height
                if pending >= _FLUSH_ROWS:
                    store.flush()
                    pending = 0
                watcher.step(account)
        except InputError as error:
            account.error = str(error)
        store.flush()
        account.seconds = time.monotonic() - started
        watcher.step(account)
    remember(store, accounts)
    return accounts


@dataclass(slots=True)
class Detection:
    """What a run of the rules gave. Alerts are those that are shown; levels are those after demotion."""

    alerts: int = 0
    new_alerts: int = 0
    by_level: dict[str, int] = field(default_factory=dict)
    events: int = 0
    first_alert: datetime | None = None
    new_alert_ids: list[str] = field(default_factory=list)
    read: int = 0
    """Events that left the store; the others no rule can match."""
    hidden: int = 0
    """Alerts that a suppression hides, beside those."""
    demoted: int = 0
    """Alerts, among those, that are over the alert budget of their shift."""


def slices(
    store: Store, since: datetime | None, until: datetime | None, wanted: Mapping[str, Coarse] | None = None
) -> Iterator[tuple[list[pl.DataFrame], datetime]]:
    """All stored events but alerts, in time order over all datasets.

    Args:
        store: What is read.
        since: First instant, inclusive.
        until: Last instant, exclusive.
        wanted: If given, the store (a ``Narrowing`` one) leaves out of these datasets what does not fit.

    Yields:
        Tables of one dataset each that lie side by side in time, and how far time has come with them: nothing that
        follows is older.
    """
    from store.base import Narrowing

    if wanted is not None and isinstance(store, Narrowing):
        found = store.narrowed(wanted, since=since, until=until)
    else:
        found = store.search([name for name in store.datasets() if name not in _NOT_TRAFFIC], since=since, until=until)
    for table in found:
        reached = table["@timestamp"].max()
        if not isinstance(reached, datetime):  # no rows
            continue
        parts = []
        for part in table.partition_by("event.dataset", maintain_order=True):
            nulls = part.null_count().row(0)
            parts.append(part.select([c for c, n in zip(part.columns, nulls, strict=True) if n < part.height]))
        yield parts, reached


PAYS_BELOW = 0.5
"""Share of events up to which a narrowed read is chosen: an index that looks for most of what it has gains nothing."""


def detect(
    store: Store,
    ruleset: RuleSet,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    detector: Detector | None = None,
    progress: Callable[[int], None] = lambda events: None,
    push_down: bool | None = None,
    site: Site | None = None,
    now: datetime | None = None,
    memory: int | None = None,
) -> tuple[Detection, Detector]:
    """Run the rules over stored events and store the alerts; a repeated run stores none twice.

    Args:
        store: Where events are and alerts go.
        ruleset: The rules.
        since: First instant, inclusive.
        until: Last instant, exclusive.
        detector: Goes on where it stands; a new one if None.
        progress: Called with the number of events looked at so far.
        push_down: Let a store that can leave out what no rule can need (``store.base.Narrowing``); None: if it is most.
            A detector that goes on needs everything. The alerts are the same.
        site: Zones of suppressions, the alert budget, and what the site says of events (``correlate.derive``);
            without it nothing is demoted.
        now: Time of the clock, which suppressions end by.
        memory: Bytes that a new detector may remember; None: its own bound.
    """
    from correlate.detect import Detector
    from store.base import Narrowing

    # A store is read in order of time, so nothing needs to wait for what might come late.
    engine = detector or Detector(ruleset, lateness=None, site=site, memory=memory)
    quiet = _quiet(store, site, since, now or datetime.now(UTC))
    result = Detection()
    wanted: Mapping[str, Coarse] | None = None
    shares: dict[str, Share] = {}
    if detector is None and push_down is not False and isinstance(store, Narrowing):
        wanted, shares = _narrowed(store, ruleset, site, since, until)
        events, chosen = (sum(getattr(one, name) for one in shares.values()) for name in ("events", "chosen"))
        if push_down is None and chosen > PAYS_BELOW * events:
            wanted = None
        else:
            result.events = events - chosen
    fed: dict[str, int] = {}
    for tables, reached in slices(store, since, until, wanted):
        for table in tables:
            dataset = str(table["event.dataset"][0])
            fed[dataset] = fed.get(dataset, 0) + table.height
            result.read += table.height
            _keep(store, quiet(engine.feed(table)), result)
            progress(result.events + result.read)
        _keep(store, quiet(engine.advance(reached)), result)
    if wanted is not None:
        for dataset, share in shares.items():
            if share.newest is not None:
                engine.passed(dataset, max(0, share.events - fed.get(dataset, 0)), share.newest)
    _keep(store, quiet(engine.finish()), result)
    result.events += result.read
    store.flush()
    return result, engine


def _narrowed(
    store: Store, ruleset: RuleSet, site: Site | None, since: datetime | None, until: datetime | None
) -> tuple[dict[str, Coarse], dict[str, Share]]:
    """What a store may leave out, and how much that is."""
    from correlate.narrow import narrow
    from store.base import Narrowing

    if not isinstance(store, Narrowing):  # the caller has looked
        return {}, {}
    datasets = [name for name in store.datasets() if name not in _NOT_TRAFFIC]
    wanted = narrow(ruleset, store, datasets, site=site, since=since, until=until)
    return wanted, store.shares(wanted, since=since, until=until)


def _quiet(
    store: Store, site: Site | None, since: datetime | None, now: datetime
) -> Callable[[pl.DataFrame], pl.DataFrame]:
    """Marks suppressed alerts and demotes those over the alert budget."""
    from correlate.budget import Budget
    from correlate.suppress import Suppressor, suppressions
    from event.site import Noise, Site

    suppressor = Suppressor(suppressions(store), site=site or Site(), now=now)
    budget = Budget(
        site.noise if site else Noise(alerts_per_shift=0), assets=[a.ip for a in site.assets] if site else ()
    )
    if since is not None:
        # The shift has begun before these events did: what it has spent is in the store.
        for table in store.scan([ALERTS], since=budget.since(since), until=since):
            budget.remember(table)
    return lambda alerts: budget.apply(suppressor.mark(alerts))


def _keep(store: Store, alerts: pl.DataFrame, result: Detection) -> None:
    from correlate.suppress import visible

    if alerts.is_empty():
        return
    shown = visible(alerts)
    if shown.height < alerts.height:
        result.hidden += alerts.height - shown.height
        store.append(alerts.filter(~alerts["event.id"].is_in(shown["event.id"].implode())))
        if shown.is_empty():
            return
    alerts = shown
    result.alerts += alerts.height
    if "alert.demoted_from" in alerts.columns:
        result.demoted += alerts["alert.demoted_from"].count()
    result.new_alerts += store.append(alerts)
    for level, count in alerts["rule.level"].value_counts().iter_rows():
        result.by_level[level] = result.by_level.get(level, 0) + count
    earliest = alerts["@timestamp"].min()
    if isinstance(earliest, datetime) and (result.first_alert is None or earliest < result.first_alert):
        result.first_alert = earliest


def observe_assets(store: Store, site: Site) -> dict[str, Asset]:
    """Every endpoint that stored events show."""
    from correlate.assets import observe

    wanted = [name for name in store.datasets() if name not in _NOT_TRAFFIC]
    return observe(store.scan(wanted), site)


def all_alerts(store: Store, since: datetime | None = None, until: datetime | None = None) -> pl.DataFrame:
    """Alerts in time order."""
    from event.table import concat

    return concat(list(store.scan([ALERTS], since=since, until=until)))


def regroup(store: Store, site: Site, *, now: datetime, assets: dict[str, Asset] | None = None) -> list[Incident]:
    """Group stored alerts into incidents, recommend playbooks, store what is new or changed.

    Returns:
        The incidents that are new or changed.
    """
    from correlate.group import group_alerts
    from respond.playbook import load_playbooks, recommend

    alerts = all_alerts(store)
    if alerts.is_empty():
        return []
    existing = store.incidents()
    changed = group_alerts(alerts, site=site, existing=existing, assets=assets or {}, now=now)
    library = load_playbooks()
    kept = []
    for incident in changed:
        complete = recommend(incident, library)
        store.put_incident(complete)
        kept.append(complete)
    return kept


def traffic(store: Store, since: datetime | None = None, until: datetime | None = None) -> pl.DataFrame:
    """Add up stored flows by endpoints and protocol.

    Returns:
        Columns ``source.ip``, ``destination.ip``, ``network.protocol``, ``bytes``, ``packets``, ``flows``.
    """
    import polars as pl

    from event.table import schema_of

    columns = [
        "source.ip",
        "destination.ip",
        "network.protocol",
        "network.transport",
        "network.bytes",
        "network.packets",
    ]
    schema = schema_of(columns)
    parts: list[pl.DataFrame] = []
    for table in store.scan(
        ["flow"],
        since=since,
        until=until,
        columns=columns,
    ):
        full = table.with_columns([pl.lit(None, schema[c]).alias(c) for c in schema if c not in table.columns])
        parts.append(_sum_flows(full.with_columns(pl.lit(1, pl.Int64).alias("flows"))))
        if len(parts) >= 32:
            parts = [_sum_flows(pl.concat(parts))]
    return _sum_flows(pl.concat(parts) if parts else pl.DataFrame(schema={**schema, "flows": pl.Int64}))


def evidence(
    store: Store,
    *,
    assets: dict[str, Asset],
    ruleset: RuleSet,
    since: datetime | None,
    until: datetime | None,
) -> Any:
    """Gather what a report rests on.

    Returns:
        ``report.document.Evidence``.
    """
    from cli.version import VERSION
    from report.document import Evidence

    counts = {s.dataset: s.events for s in store.status() if s.dataset != INPUTS}
    flows = traffic(store, since, until)
    times = [t for s in store.status() if s.dataset not in _NOT_TRAFFIC for t in (s.oldest, s.newest) if t is not None]
    return Evidence(
        inputs=accounts_of(store),
        event_counts=counts,
        alerts=all_alerts(store, since, until),
        flows=flows,
        assets=assets,
        since=since or (min(times) if times else None),
        until=until or (max(times) if times else None),
        rule_problems=[str(problem) for problem in ruleset.problems],
        rules=[
            {
                "id": rule.id,
                "title": rule.meta.title,
                "title_zh": rule.meta.title_zh,
                "level": rule.meta.level,
                "kind": getattr(rule, "type", "rule"),
            }
            for rule in ruleset.all()
        ],
        tool_version=VERSION,
    )


def _sum_flows(parts: pl.DataFrame) -> pl.DataFrame:
    """Add up flow rows by endpoints and protocol."""
    import polars as pl

    if "bytes" not in parts.columns:
        parts = parts.with_columns(
            pl.coalesce("network.protocol", "network.transport").alias("network.protocol"),
            pl.col("network.bytes").alias("bytes"),
            pl.col("network.packets").alias("packets"),
        )
    return parts.group_by("source.ip", "destination.ip", "network.protocol").agg(
        pl.col("bytes").sum(), pl.col("packets").sum(), pl.col("flows").sum()
    )
