"""How values are worded: dates in Beijing time, numbers, names of protocols, roles, techniques."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta, timezone

from correlate.regimes import attack
from event.incident import Asset, Certainty
from report.document import Language
from report.texts import Texts

BEIJING = timezone(timedelta(hours=8), "Asia/Shanghai")
"""UTC+08:00 all year; no daylight saving since 1991, so that no time-zone data base is needed."""

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_TECHNIQUE = re.compile(r"(?:attack\.)?(t\d{4})(\.\d{3})?$", re.IGNORECASE)


class Wording(Texts):
    """Texts of one language, and how values are said in it."""

    def __init__(self, language: Language) -> None:
        super().__init__(language)
        self.zh = language == "zh"

    # -- time ---------------------------------------------------------------------------------------------

    def minute(self, time: datetime) -> str:
        """A time to the minute with its zone: ``2026年11月24日 10时05分（北京时间）``."""
        t = time.astimezone(BEIJING)
        if self.zh:
            return f"{t.year}年{t.month}月{t.day}日 {t:%H}时{t:%M}分（北京时间）"
        return f"{t.day} {_MONTHS[t.month - 1]} {t.year} {t:%H:%M} (UTC+08:00)"

    def day(self, time: datetime) -> str:
        """A date: ``2026年11月24日``."""
        t = time.astimezone(BEIJING)
        return f"{t.year}年{t.month}月{t.day}日" if self.zh else f"{t.day} {_MONTHS[t.month - 1]} {t.year}"

    def stamp(self, time: datetime) -> str:
        """A time to the second for tables whose head names the zone: ``2026-11-24 10:05:32``."""
        return f"{time.astimezone(BEIJING):%Y-%m-%d %H:%M:%S}"

    def span(self, since: datetime | None, until: datetime | None) -> str:
        """A period."""
        if since is None or until is None:
            return self("missing.site")
        a, b = since.astimezone(BEIJING), until.astimezone(BEIJING)
        if self.zh:
            end = f"{b:%H}时{b:%M}分" if a.date() == b.date() else f"{b.year}年{b.month}月{b.day}日 {b:%H}时{b:%M}分"
            return f"{a.year}年{a.month}月{a.day}日 {a:%H}时{a:%M}分至{end}（北京时间）"
        head = f"{a.day} {_MONTHS[a.month - 1]} {a.year} {a:%H:%M}"
        end = f"{b:%H:%M}" if a.date() == b.date() else f"{b.day} {_MONTHS[b.month - 1]} {b.year} {b:%H:%M}"
        return f"{head} to {end} (UTC+08:00)"

    def duration(self, seconds: float) -> str:
        """A duration in the two largest units that say something."""
        whole = round(seconds)
        names = ("天", "小时", "分钟", "秒") if self.zh else (" d", " h", " min", " s")
        parts = []
        for size, name in zip((86400, 3600, 60, 1), names, strict=True):
            n, whole = divmod(whole, size)
            if n:
                parts.append(f"{n}{name}")
        gap = "" if self.zh else " "
        return gap.join(parts[:2]) or f"0{names[-1]}"

    # -- numbers ------------------------------------------------------------------------------------------

    def number(self, value: float) -> str:
        """A number with thousands separated; at most two decimals."""
        return f"{value:,}" if isinstance(value, int) else f"{value:,.2f}".rstrip("0").rstrip(".")

    def size(self, value: float) -> str:
        """Bytes in the unit that reads best (powers of 1,024)."""
        for unit in ("B", "KiB", "MiB", "GiB"):
            if value < 1024 or unit == "GiB":
                return f"{value:,.0f} {unit}" if unit == "B" else f"{value:,.1f} {unit}"
            value /= 1024
        raise AssertionError

    # -- names --------------------------------------------------------------------------------------------

    def term(self, group: str, value: str | None, missing: str = "missing.dash") -> str:
        """The word for a value of a closed list; a value without one in quotes."""
        if value is None or value == "":
            return self(missing)
        return self.get(f"{group}.{value}") or self("quote", text=value)

    def protocol(self, value: str | None) -> str:
        """Name of an application protocol."""
        if not value:
            return self("protocol.unknown")
        return self.get(f"protocol.{value.lower()}") or value

    def dataset(self, value: str) -> str:
        """Name of a dataset."""
        known = self.get(f"dataset.{value}")
        if known:
            return known
        source, _, rest = value.partition(".")
        names = {"zeek": "Zeek", "suricata": "Suricata"}
        return f"{names.get(source, source)} {rest}".strip()

    def role(self, value: str) -> str:
        """A role, declared or seen (``modbus_server``)."""
        known = self.get(f"role.{value}")
        if known:
            return known
        protocol, _, side = value.partition("_")
        pattern = self.get(f"roleside.{side}") if protocol else None
        if pattern and self.get(f"protocol.{protocol}"):
            name = self.protocol(protocol)
            return pattern.format(protocol=f"{name} " if self.zh else name)
        return value

    def roles(self, asset: Asset) -> str:
        """What an asset is: the declared role, else what the traffic shows."""
        if asset.role:
            return self.role(asset.role)
        return self.join([self.role(r) for r in asset.roles_seen[:3]]) or self("missing.site")

    def technique(self, value: str) -> str:
        """An ATT&CK technique with its name: ``T0855 未授权的命令报文``."""
        found = _TECHNIQUE.match(value.strip())
        if not found:
            return value
        number = found[1].upper()
        known = attack().techniques.get(number)
        name = (known.zh if self.zh else known.en) if known else ""
        return f"{number}{found[2] or ''} {name}".rstrip()

    def tactic(self, value: str | None) -> str:
        """An ATT&CK tactic."""
        if not value:
            return self("lane.none")
        key = value.lower().removeprefix("attack.").replace("_", "-").replace(" ", "-")
        known = attack().tactics.get(key)
        return (known.zh if self.zh else known.en) if known else value

    def certainty(self, value: Certainty) -> str:
        """The word of a certainty tier."""
        return self(f"certainty.{value}")

    def some(self, items: Iterable[str], limit: int = 5) -> str:
        """A list in a sentence, the first ``limit`` of them and how many there are."""
        every: Sequence[str] = list(items)
        text = self.join(list(every[:limit]))
        return text if len(every) <= limit else self("list.more", items=text, n=len(every))
