"""The site: who operates what, where. Read from ``jianmen.toml`` by ``cli/config.py``; absent facts are None."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Sector = Literal[
    "government", "oil_gas_pipeline", "power", "water", "transport", "urban", "telecom", "finance", "other"
]
OperatorKind = Literal["cii", "state_organ", "other"]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Operator(_Model):
    """The unit that operates the networks (涉事单位)."""

    name: str | None = None
    credit_code: str | None = Field(None, pattern=r"^[0-9A-HJ-NP-RT-UW-Y]{18}$")
    """统一社会信用代码, GB 32100."""
    sector: Sector | None = None
    kind: OperatorKind | None = None
    """``cii`` 关键信息基础设施运营者, ``state_organ`` 中央和国家机关, ``other`` 其他网络运营者."""
    region_code: str | None = Field(None, pattern=r"^\d{6}$")
    """行政区划代码, GB/T 2260."""
    address: str | None = None
    contact_name: str | None = None
    contact_phone: str | None = None
    duty_phone: str | None = None
    protection_department: str | None = None
    """保护工作部门."""
    mlps_level: int | None = Field(None, ge=1, le=5)
    """网络安全等级保护级别 of the affected system."""
    mlps_filing: str | None = None
    """等保备案号."""


class Segment(_Model):
    """A network segment behind a tap."""

    name: str
    cidrs: tuple[str, ...]
    sector: Sector | None = None
    purdue_level: float | None = Field(None, ge=0, le=5)
    power_zone: Literal["I", "II", "III", "IV"] | None = None
    """安全区 of 电力监控系统安全防护规定."""
    system: str | None = None
    """Name of the business system (业务系统)."""

    @field_validator("cidrs")
    @classmethod
    def _cidrs_are_networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for one in value:
            ip_network(one, strict=False)
        return value


class KnownAsset(_Model):
    """An asset that the site declares."""

    ip: str
    name: str
    hosts: tuple[str, ...] = ()
    """Names by which logs call it: ``ews01``, ``ews01.plant.local``; upper and lower case are the same."""
    role: str | None = None
    """master, engineering_station, hmi, plc, rtu, ied, historian, gateway, server or free text."""
    vendor: str | None = None
    model: str | None = None
    importance: Literal["normal", "important", "critical"] = "normal"
    """一般, 重要, 特别重要 (GB/T 20986 影响对象)."""
    masters: tuple[str, ...] = ()
    """Addresses that may send controls to it; empty means not declared."""

    @field_validator("ip")
    @classmethod
    def _ip_is_an_address(cls, value: str) -> str:
        ip_address(value)
        return value


class Conduit(_Model):
    """A permitted way between two segments (IEC 62443). Once one is declared, all others are not."""

    client: str
    """Segment of who opens the connection."""
    server: str
    """Segment of who answers."""
    protocols: tuple[str, ...] = ()
    """``modbus``, ``iec104``, ``dnp3``, ``s7comm``, ``dns``, ``http`` ...; empty: all."""
    control: bool = False
    """Writes and controls may go this way; else only reading."""


class Limit(_Model):
    """Engineering limits of a point: what may be written to it."""

    ip: str
    """The device."""
    protocol: Literal["modbus", "iec104", "dnp3", "s7comm"]
    point: int | str
    """Register (Modbus, from 0), object address (IEC 104), index (DNP3), item (S7comm: ``DB2.DBD4``)."""
    unit: int | None = None
    """Unit, common address or outstation; all of the device if absent."""
    low: float | None = None
    high: float | None = None
    real: bool = False
    """S7comm: the four bytes are a REAL."""
    name: str | None = None
    """What the point is, for people."""

    @model_validator(mode="after")
    def _has_a_bound(self) -> Limit:
        if self.low is None and self.high is None:
            raise ValueError("a limit needs low, high or both")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"low {self.low:g} is above high {self.high:g}")
        return self

    @field_validator("ip")
    @classmethod
    def _ip_is_an_address(cls, value: str) -> str:
        ip_address(value)
        return value


class Noise(_Model):
    """How many alerts a shift of people can look at (``correlate.budget``)."""

    shift_hours: int = Field(8, ge=1, le=24)
    shift_begins: str = Field("08:00", pattern=r"^([01]\d|2[0-3]):[0-5]\d$")
    """When the first shift of a day begins, Beijing time."""
    alerts_per_shift: int = Field(200, ge=0)
    """Above informational, over all rules; 0: no budget."""
    alerts_per_rule: int = Field(20, ge=1)
    """What each rule has at least."""


class Cluster(_Model):
    """An Elasticsearch cluster that keeps the events: ``[store]``. What is secret stands in files of its own."""

    url: str | tuple[str, ...]
    """Addresses of nodes, ``https://host:9200``."""
    prefix: str = "jianmen"
    """What all indices begin with."""
    ca: str | None = None
    """File of the authority that signed the cluster's certificate (PEM)."""
    user: str | None = None
    password_file: str | None = None
    api_key_file: str | None = None
    """API key as the cluster gives it (base64), in place of user and password."""

    @property
    def urls(self) -> tuple[str, ...]:
        """All addresses."""
        return (self.url,) if isinstance(self.url, str) else self.url


class SensorPart(_Model):
    """What a sensor of this host reads and where it writes: ``[sensor]``, for ``jianmen sensor run``."""

    interfaces: tuple[str, ...] = ()
    follow: tuple[str, ...] = ()
    """Log files that grow; ``KIND:`` before the path names what it is."""
    syslog: tuple[str, ...] = ()
    """``udp:HOST:PORT``, ``tcp:HOST:PORT``, ``tls:HOST:PORT``."""
    tls_certificate: str | None = None
    tls_key: str | None = None
    tls_clients: str | None = None
    """Authorities of clients; with them, clients without a certificate are refused."""
    spool: str | None = None
    """Folder that is written to in place of the store."""
    spool_limit: str | None = None
    forward: bool = False
    """The spool is shipped to the store meanwhile."""
    flush_seconds: float = Field(5, ge=0.2, le=300)
    """Events are durable so long after they came."""
    promiscuous: bool = True
    ring_mb: int = Field(64, ge=4, le=4096)
    """Memory between the kernel and each interface's thread, MiB."""


class Site(_Model):
    """All that a site file may say."""

    operator: Operator = Operator()
    segments: tuple[Segment, ...] = ()
    assets: tuple[KnownAsset, ...] = ()
    conduits: tuple[Conduit, ...] = ()
    limits: tuple[Limit, ...] = ()
    regimes: tuple[str, ...] = ("cac-2025",)
    store: str | Cluster | None = None
    """Folder of the embedded store, address of a cluster, or ``[store]`` with more about a cluster."""
    rules: tuple[str, ...] = ()
    """Folders with further Sigma rules."""
    language: Literal["zh", "en"] | None = None
    noise: Noise = Noise()
    sensor: SensorPart = SensorPart()
    retention_days: dict[str, int] = Field(default_factory=dict)
    """Days to keep, by dataset; ``"*"`` for the rest. 180 at least unless the operator overrides the law."""

    @model_validator(mode="after")
    def _conduits_join_segments(self) -> Site:
        known = {one.name for one in self.segments}
        for one in self.conduits:
            for name in (one.client, one.server):
                if name not in known:
                    raise ValueError(f"conduit names segment {name!r}, which is not declared")
        return self

    def segment_of(self, ip: str) -> Segment | None:
        """The most specific segment that holds ``ip``."""
        try:
            address = ip_address(ip)
        except ValueError:
            return None
        best: tuple[int, Segment] | None = None
        for segment in self.segments:
            for cidr in segment.cidrs:
                network = ip_network(cidr, strict=False)
                if address in network and (best is None or network.prefixlen > best[0]):
                    best = (network.prefixlen, segment)
        return best[1] if best else None

    def asset_of(self, ip: str) -> KnownAsset | None:
        """The declared asset at ``ip``."""
        return next((a for a in self.assets if a.ip == ip), None)
