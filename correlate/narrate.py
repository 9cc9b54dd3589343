"""Words for an incident: title and attack timeline, in Chinese and English.

What traffic showed is 已确认; who did it and why is 推测, and the words say so. Texts hold no clock times: a renderer
puts the time of the entry in front, in the reader's zone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from correlate.hosts import host_name
from correlate.regimes import attack, grouping, level_rank
from event.incident import AlertRef, Category, TimelineEntry
from event.site import Site

PROTOCOLS = {
    "modbus": "Modbus/TCP",
    "iec104": "IEC 60870-5-104",
    "dnp3": "DNP3",
    "s7comm": "S7comm",
    "dns": "DNS",
    "arp": "ARP",
    "icmp": "ICMP",
    "syslog": "syslog",
}
"""Protocol names as people write them."""

_MANY = 3  # targets that are named one by one
_EVIDENCE = 10
_NAME = 60  # characters of a behaviour in a title
_SPELLED = 4 * _NAME  # characters of a rule's title that are looked at


def _name(ip: str, site: Site, lang: int) -> str:
    asset = site.asset_of(ip)
    if asset is None and host_name(ip) is not None:
        return f"host {_plain(ip)}" if lang else f"主机{_plain(ip)}"
    if asset is None:
        return ip
    return f"{ip} ({asset.name})" if lang else f"{ip}（{asset.name}）"


def _named(ips: Sequence[str], site: Site, lang: int, total: int | None = None) -> str:
    total = len(ips) if total is None else total
    shown = [_name(ip, site, lang) for ip in ips[: _MANY if total <= _MANY else 1]]
    if lang:
        return ", ".join(shown) + (f" and {total - 1} more" if total > _MANY else "")
    return "、".join(shown) + (f"等{total}个目标" if total > _MANY else "")


def _plain(text: str) -> str:
    """``text`` on one line, what does not print spelled out, at most ``_NAME`` characters.

    A rule's title may come from a rule that anybody wrote, or from the log of another sensor.
    """
    line = " ".join(text[:_SPELLED].split())
    line = "".join(char if char.isprintable() else f"\\u{ord(char):04x}" for char in line)
    return line if len(line) <= _NAME else line[: _NAME - 1].rstrip() + "…"


def behaviour(refs: Sequence[AlertRef]) -> tuple[str, str] | None:
    """What was done, Chinese and English: the title of the leading rule, else its main technique.

    The leading rule is the gravest one; among equals the one furthest along an attack, then the first.
    """
    order = list(attack().tactics)

    def rank(ref: AlertRef) -> tuple[int, int, datetime, str, str]:
        phase = phase_of(ref.techniques)
        return -level_rank(ref.level), -(order.index(phase) if phase in order else -1), ref.time, ref.rule_id, ref.id

    for ref in sorted(refs, key=rank):
        table = attack().techniques
        known = next((table[t.split(".")[0]] for t in ref.techniques if t.split(".")[0] in table), None)
        own = _plain(ref.rule_name)
        zh = _plain(ref.rule_name_zh) or (known.zh if known else own)
        en = own or (known.en if known else "")
        if zh and en:
            return zh, en
    return None


def title(
    main: Category,
    attackers: Sequence[str],
    targets: Sequence[str],
    protocols: Sequence[str],
    segments: Sequence[str],
    site: Site,
    target_total: int,
    done: tuple[str, str] | None = None,
) -> tuple[str, str]:
    """Title in Chinese and English, out of the main category, the sides, the segment and the protocols.

    A category that only says "other" tells a reader nothing: there ``done``, the ``behaviour``, stands in its place.
    """
    other = main.id.split(".")[-1] == "other"
    name_zh, name_en = done if done is not None and other else (main.name_zh, main.name_en)
    where_zh = f"{segments[0]}" if segments else ""
    if len(segments) > 1:
        where_zh += f"等{len(segments)}个网段"
    elif segments and not segments[0].endswith(("区", "段", "网", "站", "层")):
        where_zh += "网段"
    words = [PROTOCOLS.get(p, p) for p in protocols[:3]]
    zh = f"{where_zh}{name_zh}"
    en = name_en + (f" in {segments[0]}" if segments else "")
    if attackers:
        more = f"等{len(attackers)}个地址" if len(attackers) > 1 else ""
        zh += f"：{attackers[0]}{more}"
        en += f": {attackers[0]}" + (f" and {len(attackers) - 1} more" if len(attackers) > 1 else "")
    if targets:
        zh += ("对" if attackers else "：涉及") + _named(targets, site, 0, target_total)
        en += (" against " if attackers else ": ") + _named(targets, site, 1, target_total)
    if words:
        zh += f"（{'、'.join(words)}）"
        en += f" ({', '.join(words)})"
    return zh, en


@dataclass(slots=True)
class _Line:
    """Alerts of one rule from one source, put together."""

    refs: list[AlertRef]

    @property
    def count(self) -> int:
        return sum(ref.count for ref in self.refs)

    @property
    def first(self) -> datetime:
        return min(ref.time for ref in self.refs)

    @property
    def last(self) -> datetime:
        return max(ref.time for ref in self.refs)

    @property
    def level(self) -> int:
        return max(level_rank(ref.level) for ref in self.refs)


def _tidy(text: str) -> str:
    """Without the space that follows a full-width bracket."""
    return text.replace("） ", "）")


def _duration(span: timedelta) -> tuple[str, str] | None:
    seconds = int(span.total_seconds())
    if seconds < 1:
        return None
    if seconds < 120:
        return f"持续约{seconds}秒", f"over about {seconds} s"
    if seconds < 7200:
        return f"持续约{seconds // 60}分钟", f"over about {seconds // 60} min"
    return f"持续约{seconds // 3600}小时", f"over about {seconds // 3600} h"


def phase_of(techniques: Sequence[str]) -> str | None:
    """Main tactic of the first technique that is known."""
    table = attack().techniques
    for one in techniques:
        found = table.get(one.split(".")[0])
        if found is not None:
            return found.tactics[0]
    return None


def technique_names(techniques: Sequence[str], lang: int) -> str:
    """Names with ids, ``lang`` 0 Chinese, 1 English."""
    table = attack().techniques
    shown = []
    for one in techniques:
        found = table.get(one.split(".")[0])
        if found is None:
            shown.append(one)
        else:
            shown.append(f"{found.en} ({one})" if lang else f"{found.zh}（{one}）")
    return ", ".join(shown) if lang else "、".join(shown)


def _entry(line: _Line, site: Site, attackers: Sequence[str]) -> TimelineEntry:
    first = min(line.refs, key=lambda r: (r.time, r.id))
    targets = list(dict.fromkeys(r.destination for r in sorted(line.refs, key=lambda r: r.id) if r.destination))
    techniques = first.techniques
    who = _tidy(f"监测到 {_name(first.source, site, 0)} " if first.source else "监测到")
    if targets:
        who = _tidy(f"{who}{'对' if first.source else '涉及'} {_named(targets, site, 0)} ")
    names = technique_names(techniques[:2], 0)
    if not techniques:
        what = "存在异常行为"
    elif first.source is None:
        what = f"出现{names}迹象"
    elif first.source in attackers:
        what = f"疑似实施{names}"
    else:
        what = f"的操作符合{names}特征（来源未列为攻击者）"
    zh = f"{who}{what}，触发“{first.rule_name_zh or first.rule_name}”规则告警{line.count}条"
    en = f"{first.rule_name}: {line.count} alert{'s' if line.count != 1 else ''}"
    en += f" from {_name(first.source, site, 1)}" if first.source else ""
    en += f" to {_named(targets, site, 1)}" if targets else ""
    span = _duration(line.last - line.first)
    if span is not None and line.count > 1:
        zh += f"，{span[0]}"
        en += f", {span[1]}"
    if techniques:
        en += f"; {technique_names(techniques[:2], 1)}"
    return TimelineEntry(
        time=line.first,
        text=en,
        text_zh=zh + "。",
        certainty="confirmed",
        phase=phase_of(techniques),
        evidence=tuple(r.id for r in sorted(line.refs, key=lambda r: (r.time, r.id))[:_EVIDENCE]),
    )


def timeline(
    refs: Sequence[AlertRef], attackers: Sequence[str], site: Site, *, dropped: int = 0
) -> tuple[TimelineEntry, ...]:
    """The condensed attack timeline, at most ``caps.timeline`` entries, oldest first.

    Alerts of the same rule and pair are one entry with a count; one rule and source against many targets too.
    If there are still too many entries, the first of each phase and the gravest stay.

    Args:
        refs: Alerts of the incident.
        attackers: Most active first.
        site: For names.
        dropped: Alerts that no ref stands for.
    """
    limit = grouping().caps.timeline
    by_source: dict[tuple[str, str | None], list[AlertRef]] = {}
    for ref in refs:
        by_source.setdefault((ref.rule_id, ref.source), []).append(ref)
    lines: list[_Line] = []
    for same in by_source.values():
        pairs: dict[str | None, list[AlertRef]] = {}
        for ref in same:
            pairs.setdefault(ref.destination, []).append(ref)
        lines.extend([_Line(same)] if len(pairs) > _MANY else [_Line(refs_) for refs_ in pairs.values()])
    lines.sort(key=lambda line: (line.first, min(r.id for r in line.refs)))
    room = limit - 1 - (1 if dropped else 0)
    hidden = 0
    if len(lines) > room:
        firsts: dict[str | None, int] = {}
        for index, line in enumerate(lines):
            firsts.setdefault(phase_of(line.refs[0].techniques), index)
        leading = set(firsts.values())
        order = sorted(range(len(lines)), key=lambda i: (i not in leading, -lines[i].level, lines[i].first, i))
        kept = sorted(order[: room - 1])
        hidden = sum(lines[i].count for i in order[room - 1 :])
        lines = [lines[i] for i in kept]
    entries = [_entry(line, site, attackers) for line in lines]
    blamed = next((i for i, line in enumerate(lines) if line.refs[0].source in attackers), 0)
    if attackers and entries:
        named_zh = "、".join(_name(ip, site, 0) for ip in attackers[:_MANY])
        named_en = ", ".join(_name(ip, site, 1) for ip in attackers[:_MANY])
        more = len(attackers) - _MANY
        zh = f"根据请求方向和告警分布，推测异常操作源自 {named_zh}{f'等{len(attackers)}个地址' if more > 0 else ''}"
        en = f"Judging by the direction of requests, it probably came from {named_en}"
        en += f" and {more} more" if more > 0 else ""
        entries.insert(
            blamed + 1,
            TimelineEntry(
                time=entries[blamed].time,
                text=en + ".",
                text_zh=zh + "，是否为攻击者实际控制的设备尚待核查。",
                certainty="inferred",
                evidence=entries[blamed].evidence,
            ),
        )
    if entries and (dropped or hidden):
        last = entries[-1].time
        entries.append(
            TimelineEntry(
                time=last,
                text=f"{dropped + hidden} further alerts are not listed one by one.",
                text_zh=f"另有{dropped + hidden}条同类告警未逐条列出。",
                certainty="confirmed",
            )
        )
    return tuple(entries)
