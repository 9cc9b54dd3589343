"""What the evidence says, counted: the numbers behind the sentences, tables and charts of a report.

Nothing here is worded. Everything is bounded: a table or chart takes the first so many entries and says how many
it left off.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import get_args

import polars as pl

from event.incident import Asset, Grade, Incident, Level
from event.site import Site
from report.document import Evidence, EvidenceRef
from report.wording import Wording

LEVELS: tuple[Level, ...] = ("critical", "high", "medium", "low", "informational")
"""Gravest first."""
GRADES: tuple[Grade, ...] = get_args(Grade)
"""Gravest first."""
INDUSTRIAL = frozenset({"modbus", "iec104", "dnp3", "s7comm"})
"""Protocols that control processes and have neither authentication nor encryption as these decoders see them."""
PLAINTEXT = INDUSTRIAL | {"telnet", "ftp", "http", "snmp", "rlogin", "tftp"}
GENERAL_SERVICES = frozenset({"smtp", "pop3", "imap", "http", "telnet", "rlogin", "ftp"})
"""通用服务 that GB/T 22239-2019 forbids at the border of a control system."""

_EVIDENCE_LIMIT = 300
_STRING_COLUMNS = ("event.id", "rule.id", "rule.name", "rule.name_zh", "rule.level", "source.ip", "destination.ip")
_LIST_COLUMNS = ("threat.technique.id", "threat.tactic.name", "alert.event_ids")
_BUCKETS = (1, 5, 10, 30, 60, 300, 600, 1800, 3600, 4 * 3600, 12 * 3600, 86400, 7 * 86400, 30 * 86400)
_MAX_BUCKETS = 36


@dataclass(frozen=True, slots=True)
class RuleCount:
    """How often a rule matched."""

    id: str
    title: str
    level: Level
    alerts: int
    events: int
    sources: int
    targets: int
    first: datetime
    last: datetime
    techniques: tuple[str, ...]
    sample: tuple[str, ...]
    """Ids of the first alerts."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Traffic between two endpoints."""

    source: str
    destination: str
    protocol: str
    bytes: int
    packets: int
    flows: int


@dataclass(slots=True)
class Ledger:
    """The evidence list: gives every alert, input and file that a statement rests on a short reference."""

    entries: dict[tuple[str, str], EvidenceRef] = field(default_factory=dict)
    left_off: int = 0

    def add(self, entry: EvidenceRef) -> str | None:
        """The reference of ``entry`` (its ``ref`` is ignored), or None once the list is full."""
        key = (entry.kind, entry.id)
        if key in self.entries:
            return self.entries[key].ref
        if len(self.entries) >= _EVIDENCE_LIMIT:
            self.left_off += 1
            return None
        ref = f"E{len(self.entries) + 1}"
        self.entries[key] = entry.model_copy(update={"ref": ref})
        return ref


class Case:
    """Everything that one report is made of, and the ledger of what it quotes.

    Args:
        incidents: Incidents, in any order; merged ones are left out.
        evidence: What they rest on.
        site: The site, possibly empty.
        wording: Language of the report.
        now: When the report is made, aware.
    """

    def __init__(
        self, incidents: Sequence[Incident], evidence: Evidence, site: Site, wording: Wording, now: datetime
    ) -> None:
        open_ones = [i for i in incidents if i.status != "merged"]
        self.incidents = sorted(open_ones, key=_gravity)
        # Names of files need not be Unicode: undecodable bytes arrive as lone surrogates, which no document can hold.
        self.evidence = replace(
            evidence,
            inputs=[{**i, "path": encodable(str(i.get("path") or ""))} for i in evidence.inputs],
            rule_problems=[encodable(p) for p in evidence.rule_problems],
        )
        self.site = site
        self.w = wording
        self.now = now
        self.ledger = Ledger()
        self.alerts = _normalised(evidence.alerts)
        self.alert_rows = {str(r["event.id"]): r for r in self.alerts.iter_rows(named=True)}
        self.titles = self._titles()
        self.pairs = _pairs(evidence.flows)
        self.assets = self._assets()

    # -- names --------------------------------------------------------------------------------------------

    def _titles(self) -> dict[str, str]:
        titles: dict[str, str] = {}
        for rule in self.evidence.rules:
            local = rule.get("title_zh") if self.w.zh else rule.get("title")
            if local:
                titles[str(rule.get("id"))] = str(local)
        if self.w.zh:
            seen = self.alerts.filter(pl.col("rule.name_zh").is_not_null()).unique("rule.id", keep="first")
            titles.update({str(r): str(n) for r, n in seen.select("rule.id", "rule.name_zh").iter_rows() if r})
        return titles

    def rule_title(self, rule_id: str | None, name: str | None) -> str:
        """Title of a rule in the language of the report; a title in another language is quoted."""
        title = self.titles.get(rule_id or "")
        if title:
            return title
        if not name:
            return rule_id or self.w("missing.dash")
        return self.w("quote", text=name) if self.w.zh else name

    def asset(self, ip: str) -> str:
        """An endpoint as a reader knows it: ``1号泵站PLC（10.20.1.10）``, or the address alone."""
        name = self.asset_name(ip)
        return self.w("brackets", a=name, b=ip) if name else ip

    def asset_name(self, ip: str) -> str | None:
        """Name of an endpoint, declared or seen."""
        known = self.site.asset_of(ip)
        if known:
            return known.name
        seen = self.evidence.assets.get(ip)
        return seen.name if seen else None

    # -- evidence -----------------------------------------------------------------------------------------

    def cite(self, ids: Iterable[str], limit: int = 3) -> tuple[str, ...]:
        """References for alerts (or events) by id; the first ``limit`` of them."""
        refs: list[str] = []
        for one in ids:
            if len(refs) >= limit:
                break
            ref = self._cite(one)
            if ref and ref not in refs:
                refs.append(ref)
        return tuple(refs)

    def _cite(self, one: str) -> str | None:
        row = self.alert_rows.get(one)
        if row is None:
            known = next((a for i in self.incidents for a in i.alerts if a.id == one), None)
            if known is None:
                return self.ledger.add(
                    EvidenceRef(ref="", kind="alert", id=one, text=self.w("evidence.event"), event_total=1)
                )
            title, time = self.rule_title(known.rule_id, known.rule_name), known.time
            ends, events, total = (known.source, known.destination), (), known.count
        else:
            title, time = self.rule_title(row["rule.id"], row["rule.name"]), row["@timestamp"]
            ends = (row["source.ip"], row["destination.ip"])
            events = tuple(row["alert.event_ids"] or ())[:3]
            total = int(row["alert.event_count"] or 0)
        route = " → ".join(self.asset(e) for e in ends if e)
        text = (
            self.w("brackets", a=title, b=route)
            if route and not self.w.zh
            else "：".join(t for t in (title, route) if t)
        )
        return self.ledger.add(
            EvidenceRef(ref="", kind="alert", id=one, time=time, text=text, events=events, event_total=total)
        )

    # -- counts -------------------------------------------------------------------------------------------

    def level_counts(self) -> dict[Level, int]:
        """Alerts by level, gravest first, levels without alerts left out."""
        counts = Counter(str(v) for v in self.alerts["rule.level"])
        return {level: counts[level] for level in LEVELS if counts[level]}

    def rules(self) -> list[RuleCount]:
        """Rules that matched: gravest first, then most alerts."""
        found: dict[str, list[dict[str, object]]] = {}
        for row in self.alert_rows.values():
            found.setdefault(str(row["rule.id"] or row["rule.name"]), []).append(row)
        counts = []
        for rule_id, rows in found.items():
            first = rows[0]
            level = str(first["rule.level"])
            times = [t for r in rows if isinstance(t := r["@timestamp"], datetime)]
            counts.append(
                RuleCount(
                    id=rule_id,
                    title=self.rule_title(rule_id, str(first["rule.name"]) if first["rule.name"] else None),
                    level=level if level in LEVELS else "informational",
                    alerts=len(rows),
                    events=sum(int(str(r["alert.event_count"])) for r in rows if r["alert.event_count"] is not None),
                    sources=len({r["source.ip"] for r in rows if r["source.ip"]}),
                    targets=len({r["destination.ip"] for r in rows if r["destination.ip"]}),
                    first=min(times),
                    last=max(times),
                    techniques=_strings(first["threat.technique.id"]),
                    sample=tuple(str(r["event.id"]) for r in rows[:3]),
                )
            )
        return sorted(counts, key=lambda c: (LEVELS.index(c.level), -c.alerts, c.title))

    def techniques(self) -> list[tuple[str, int, tuple[str, ...]]]:
        """ATT&CK techniques: id, alerts, ids of the first alerts; most alerts first."""
        found: dict[str, list[str]] = {}
        for row in self.alert_rows.values():
            for technique in dict.fromkeys(_strings(row["threat.technique.id"])):
                found.setdefault(technique, []).append(str(row["event.id"]))
        ordered = sorted(found.items(), key=lambda kv: (-len(kv[1]), kv[0]))
        return [(name, len(ids), tuple(ids[:3])) for name, ids in ordered]

    def ends(self, column: str) -> list[tuple[str, int, dict[Level, int]]]:
        """Addresses in ``source.ip`` or ``destination.ip`` of alerts: address, alerts, alerts by level."""
        found: dict[str, Counter[str]] = {}
        for row in self.alert_rows.values():
            if row[column]:
                found.setdefault(str(row[column]), Counter())[str(row["rule.level"])] += 1
        rows = [(ip, sum(c.values()), {lv: c[lv] for lv in LEVELS if c[lv]}) for ip, c in found.items()]
        return sorted(rows, key=lambda r: ([-r[2].get(lv, 0) for lv in LEVELS], r[0]))

    def buckets(self) -> tuple[list[datetime], int, dict[Level, list[int]]]:
        """Alerts over time: starts of the buckets, seconds of a bucket, counts by level."""
        times = [(r["@timestamp"], str(r["rule.level"])) for r in self.alert_rows.values()]
        if not times:
            return [], 1, {}
        low = min(t for t, _ in times)
        high = max(t for t, _ in times)
        since, until = self.evidence.since, self.evidence.until
        # The whole period shows what was quiet, unless the alerts would shrink to one bar in it.
        if (
            since
            and until
            and since <= low
            and high <= until
            and (until - since) <= 20 * max(high - low, timedelta(minutes=3))
        ):
            low, high = since, until
        span = max((high - low).total_seconds(), 1.0)
        size = next((b for b in _BUCKETS if span / b < _MAX_BUCKETS), int(span // _MAX_BUCKETS) + 1)
        start = int(low.timestamp()) // size * size
        count = (int(high.timestamp()) - start) // size + 1
        series: dict[Level, list[int]] = {level: [0] * count for level in self.level_counts()}
        for time, level in times:
            if level in series:
                series[level][(int(time.timestamp()) - start) // size] += 1
        return [datetime.fromtimestamp(start + i * size, UTC) for i in range(count)], size, series

    # -- assets and traffic -------------------------------------------------------------------------------

    def _assets(self) -> dict[str, Asset]:
        """Assets of the evidence and of the incidents, declared facts filled in; gravest first."""
        merged: dict[str, Asset] = {}
        for asset in (*self.evidence.assets.values(), *(a for i in self.incidents for a in i.assets)):
            before = merged.get(asset.ip)
            merged[asset.ip] = asset if before is None else _merge(before, asset)
        for known in self.site.assets:
            if known.ip not in merged:
                continue
            seen = merged[known.ip]
            segment = self.site.segment_of(known.ip)
            merged[known.ip] = seen.model_copy(
                update={
                    "name": known.name,
                    "role": known.role or seen.role,
                    "importance": known.importance,
                    "segment": seen.segment or (segment.name if segment else None),
                }
            )
        ranks = {"critical": 0, "important": 1, "normal": 2, None: 3}
        ordered = sorted(
            merged.values(), key=lambda a: (-a.risk, -a.alert_count, ranks[a.importance], _address_key(a.ip))
        )
        return {a.ip: a for a in ordered}

    def segment_name(self, ip: str) -> str | None:
        """Declared segment of an address."""
        segment = self.site.segment_of(ip)
        if segment:
            return segment.name
        asset = self.assets.get(ip)
        return asset.segment if asset else None

    def alert_pairs(self) -> set[tuple[str, str]]:
        """Endpoints (source, destination) with alerts between them."""
        pairs = {
            (str(r["source.ip"]), str(r["destination.ip"]))
            for r in self.alert_rows.values()
            if r["source.ip"] and r["destination.ip"]
        }
        for incident in self.incidents:
            pairs.update((a.source, a.destination) for a in incident.alerts if a.source and a.destination)
        return pairs

    def matrix(self, limit: int = 12) -> tuple[list[str], list[str], dict[tuple[str, str], int], int]:
        """Bytes by initiator and responder: rows, columns, cells, how many endpoints were left off.

        Endpoints with alerts come first, then those with most traffic.
        """
        cells: dict[tuple[str, str], int] = {}
        for pair in self.pairs:
            key = (pair.source, pair.destination)
            cells[key] = cells.get(key, 0) + pair.bytes
        marked = self.alert_pairs()

        def pick(end: int) -> tuple[list[str], int]:
            weight: Counter[str] = Counter()
            for key, value in cells.items():
                weight[key[end]] += value
            hot = {key[end] for key in marked if key in cells}
            ordered = sorted(weight, key=lambda ip: (ip not in hot, -weight[ip], ip))
            return sorted(ordered[:limit], key=_address_key), max(0, len(ordered) - limit)

        rows, more_rows = pick(0)
        columns, more_columns = pick(1)
        shown = {k: v for k, v in cells.items() if k[0] in rows and k[1] in columns}
        return rows, columns, shown, more_rows + more_columns

    def protocols(self) -> list[tuple[str, int, int, int]]:
        """Traffic by application protocol: name, conversations, packets, bytes; most bytes first."""
        sums: dict[str, list[int]] = {}
        for pair in self.pairs:
            one = sums.setdefault(pair.protocol, [0, 0, 0])
            one[0] += pair.flows
            one[1] += pair.packets
            one[2] += pair.bytes
        rows = [(name, flows, packets, size) for name, (flows, packets, size) in sums.items()]
        return sorted(rows, key=lambda r: (-r[3], r[0]))

    def cross_segment(self) -> list[Pair]:
        """Conversations between endpoints of different declared segments; most bytes first."""
        found = []
        for pair in self.pairs:
            a, b = self.site.segment_of(pair.source), self.site.segment_of(pair.destination)
            if a and b and a.name != b.name:
                found.append(pair)
        return sorted(found, key=lambda p: -p.bytes)

    def external(self) -> list[Pair]:
        """Conversations with an address of the public Internet at one end; most bytes first."""
        found = [p for p in self.pairs if _is_public(p.source) or _is_public(p.destination)]
        return sorted(found, key=lambda p: -p.bytes)


def encodable(text: str) -> str:
    r"""Text with lone surrogates spelled out (``\udcff``)."""
    return text.encode("utf-8", "backslashreplace").decode()


def is_outside(ip: str, site: Site) -> bool:
    """Whether ``ip`` is a public address that no declared segment holds."""
    return _is_public(ip) and site.segment_of(ip) is None


def _is_public(ip: str) -> bool:
    try:
        address = ip_address(ip)
    except ValueError:
        return False
    return address.is_global and not address.is_multicast


def _address_key(ip: str) -> tuple[int, int, str]:
    try:
        address = ip_address(ip)
    except ValueError:
        return (9, 0, ip)
    return (address.version, int(address), ip)


def _gravity(incident: Incident) -> tuple[int, int, int, float, str]:
    grades = [GRADES.index(g) for g in (incident.grade_cac, incident.grade_gbt20986) if g]
    return (
        min(grades, default=len(GRADES)),
        LEVELS.index(incident.level),
        -incident.alert_total,
        incident.first_seen.timestamp(),
        incident.id,
    )


def _merge(a: Asset, b: Asset) -> Asset:
    side = a.side if a.side == b.side else "both"
    # An asset that the sensor merely saw stands as "target" by default; the incident knows better.
    if a.alert_count == 0:
        side = b.side
    return Asset(
        ip=a.ip,
        mac=a.mac or b.mac,
        name=a.name or b.name,
        role=a.role or b.role,
        roles_seen=tuple(dict.fromkeys((*a.roles_seen, *b.roles_seen))),
        segment=a.segment or b.segment,
        importance=a.importance or b.importance,
        side=side,
        alert_count=max(a.alert_count, b.alert_count),
        risk=max(a.risk, b.risk),
    )


def _strings(value: object) -> tuple[str, ...]:
    return tuple(str(v) for v in value) if isinstance(value, (list, tuple)) else ()


def _normalised(alerts: pl.DataFrame) -> pl.DataFrame:
    """Alerts with every column that is read here, ordered by time."""
    missing: list[pl.Expr] = [pl.lit(None, pl.String).alias(c) for c in _STRING_COLUMNS if c not in alerts.columns]
    missing += [pl.lit(None, pl.List(pl.String)).alias(c) for c in _LIST_COLUMNS if c not in alerts.columns]
    if "alert.event_count" not in alerts.columns:
        missing.append(pl.lit(None, pl.Int64).alias("alert.event_count"))
    if "@timestamp" not in alerts.columns:
        return alerts.clear().with_columns(pl.lit(None, pl.Datetime("us", "UTC")).alias("@timestamp"), *missing)
    wanted = ["@timestamp", *_STRING_COLUMNS, *_LIST_COLUMNS, "alert.event_count"]
    frame = alerts.with_columns(missing).select(wanted).with_columns(pl.col("@timestamp").dt.cast_time_unit("us"))
    return frame.sort("@timestamp", "event.id")


def _pairs(flows: pl.DataFrame) -> list[Pair]:
    needed = ("source.ip", "destination.ip")
    if any(n not in flows.columns for n in needed):
        return []
    pairs = []
    for row in flows.iter_rows(named=True):
        if row["source.ip"] is None or row["destination.ip"] is None:
            continue
        pairs.append(
            Pair(
                source=str(row["source.ip"]),
                destination=str(row["destination.ip"]),
                protocol=str(row.get("network.protocol") or "unknown"),
                bytes=_whole(row, "bytes"),
                packets=_whole(row, "packets"),
                flows=_whole(row, "flows"),
            )
        )
    return sorted(pairs, key=lambda p: (-p.bytes, p.source, p.destination, p.protocol))


def _whole(row: Mapping[str, object], name: str) -> int:
    value = row.get(name)
    return int(value) if isinstance(value, (int, float)) else 0
