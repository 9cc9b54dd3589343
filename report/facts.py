"""What the evidence says, counted: the numbers behind the sentences, tables and charts of a report.

Nothing here is worded. Everything is bounded: a table or chart takes the first so many entries and says how many
it left off.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from ipaddress import ip_address
from typing import get_args

import polars as pl

from correlate.suppress import visible
from event.incident import Asset, Grade, Incident
from event.site import Segment, Site
from report.alerts import LEVELS, Alerts
from report.document import Evidence, EvidenceRef
from report.wording import Wording

GRADES: tuple[Grade, ...] = get_args(Grade)
"""Gravest first."""
INDUSTRIAL = frozenset({"modbus", "iec104", "dnp3", "s7comm"})
"""Protocols that control processes and have neither authentication nor encryption as these decoders see them."""
PLAINTEXT = INDUSTRIAL | {"telnet", "ftp", "http", "snmp", "rlogin", "tftp"}
GENERAL_SERVICES = frozenset({"smtp", "pop3", "imap", "http", "telnet", "rlogin", "ftp"})
"""通用服务 that GB/T 22239-2019 forbids at the border of a control system."""

_EVIDENCE_LIMIT = 300
_PAIR_LIMIT = 50_000
"""Conversations that are looked at one by one; those with alerts and most bytes first."""


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
        self.incidents = sorted(open_ones, key=gravity)
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
        self.alerts = Alerts(visible(evidence.alerts))
        self.suppressed = evidence.alerts.height - visible(evidence.alerts).height
        """Alerts left out because somebody suppressed them."""
        self.demoted = (
            visible(evidence.alerts)["alert.demoted_from"].count()
            if "alert.demoted_from" in evidence.alerts.columns
            else 0
        )
        """Alerts whose level the alert budget lowered."""
        self.titles = self._titles()
        self._known = {a.ip: a for a in site.assets}
        self._segments: dict[str, Segment | None] = {}
        self.pairs, self.pairs_left_off = _pairs(evidence.flows, self.alerts.pairs())
        self.assets = self._assets()

    # -- names --------------------------------------------------------------------------------------------

    def _titles(self) -> dict[str, str]:
        titles: dict[str, str] = {}
        for rule in self.evidence.rules:
            local = rule.get("title_zh") if self.w.zh else rule.get("title")
            if local:
                titles[str(rule.get("id"))] = str(local)
        if self.w.zh:
            titles.update(self.alerts.titles_zh())
            listed = (a for i in self.incidents for a in i.alerts)
            titles.update({a.rule_id: a.rule_name_zh for a in listed if a.rule_name_zh})
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
        known = self._known.get(ip)
        if known:
            return known.name
        seen = self.evidence.assets.get(ip)
        return (seen.name or (seen.host if seen.ip else None)) if seen else None

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
        if ("alert", one) in self.ledger.entries:
            return self.ledger.entries["alert", one].ref
        row = self.alerts.get(one)
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

    # -- assets and traffic -------------------------------------------------------------------------------

    def _assets(self) -> dict[str, Asset]:
        """Assets of the evidence and of the incidents, declared facts filled in; gravest first."""
        merged: dict[str, Asset] = {}
        for asset in (*self.evidence.assets.values(), *(a for i in self.incidents for a in i.assets)):
            before = merged.get(asset.key)
            merged[asset.key] = asset if before is None else _merge(before, asset)
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
            merged.values(), key=lambda a: (-a.risk, -a.alert_count, ranks[a.importance], _address_key(a.key))
        )
        return {a.key: a for a in ordered}

    def segment(self, ip: str) -> Segment | None:
        """Declared segment of an address; looked up once an address."""
        if ip not in self._segments:
            self._segments[ip] = self.site.segment_of(ip)
        return self._segments[ip]

    def segment_name(self, ip: str) -> str | None:
        """Name of the segment of an address, declared or seen."""
        segment = self.segment(ip)
        if segment:
            return segment.name
        asset = self.assets.get(ip)
        return asset.segment if asset else None

    def is_outside(self, ip: str) -> bool:
        """Whether ``ip`` is a public address that no declared segment holds."""
        return _is_public(ip) and self.segment(ip) is None

    def alert_pairs(self) -> set[tuple[str, str]]:
        """Endpoints (source, destination) with alerts between them."""
        pairs = self.alerts.pairs()
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
            a, b = self.segment(pair.source), self.segment(pair.destination)
            if a and b and a.name != b.name:
                found.append(pair)
        return sorted(found, key=lambda p: -p.bytes)


def encodable(text: str) -> str:
    r"""Text with lone surrogates spelled out (``\udcff``)."""
    return text.encode("utf-8", "backslashreplace").decode()


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


def gravity(incident: Incident) -> tuple[int, int, int, float, str]:
    """What incidents are sorted by, the gravest first: grade, level, number of alerts, the earlier one."""
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
        host=a.host or b.host,
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


def _pairs(flows: pl.DataFrame, marked: set[tuple[str, str]]) -> tuple[list[Pair], int]:
    """Conversations, and how many were left off; ``marked`` endpoints are kept first."""
    needed = ("source.ip", "destination.ip")
    if any(n not in flows.columns for n in needed):
        return [], 0
    left = max(0, flows.height - _PAIR_LIMIT)
    if left:
        ends = pl.DataFrame(list(marked), schema=dict.fromkeys(needed, pl.String), orient="row").with_columns(hot=True)
        flows = flows.join(ends, on=list(needed), how="left").sort(
            pl.col("hot").fill_null(value=False),
            "bytes",
            "source.ip",
            "destination.ip",
            descending=[True, True, False, False],
        )
        flows = flows.head(_PAIR_LIMIT)
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
    return sorted(pairs, key=lambda p: (-p.bytes, p.source, p.destination, p.protocol)), left


def _whole(row: Mapping[str, object], name: str) -> int:
    value = row.get(name)
    return int(value) if isinstance(value, (int, float)) else 0
