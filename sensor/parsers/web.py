r"""Access logs of web servers and proxies.

Taken: the common and combined formats of Apache and nginx (also with the virtual host in front, and anything behind the
user agent), the W3C extended format of IIS (``#Fields:``), Squid's native format, and the error logs of Apache and
nginx. Dataset ``web``; Squid's lines are ``proxy``.

``url.original`` is the target as it was sent, without decoding: what rules look for is how it was written. Apache's
escapes (``\x16``, ``\"``) stay too.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import polars as pl

from sensor.lines import BLANK, INSTANT, ROW, decimal_seconds, errors, finish, instants, ip, long

DATASET = "web"
PROXY = "proxy"
ANOMALIES = {
    "not_a_web_log": "The line has none of the formats that are taken",
    "bad_time": "The stamp is no instant",
    "wrong_column_count": "The line has not as many values as the #Fields header names",
    "no_header": "A line of values came before any #Fields header",
}
"""Code to what was violated."""

MOST_FIELDS = 128
"""Columns that a #Fields header may name."""

_IP = r"[0-9a-fA-F]*[:.][0-9a-fA-F:.]+"
_STAMP = r"\[(?P<time>\d\d?/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4})\]"
_QUOTED = r'(?:[^"\\]|\\.)*'
_COMBINED = (
    rf"^(?:(?P<vhost>\S+) (?P<client1>{_IP})|(?P<client2>\S+)) \S+ (?P<user>.*?) {_STAMP} "
    rf'"(?P<request>{_QUOTED})" (?P<status>\d{{3}}|-) (?P<bytes>\d+|-)'
    rf'(?: "(?P<referrer>{_QUOTED})" "(?P<agent>{_QUOTED})")?(?:\s.*)?$'
)
_REQUEST = r"^(?P<method>[!-~]+) (?P<target>.*?)(?: HTTP/(?P<version>[0-9.]+))?$"
_HOST = r"^(?:[a-zA-Z][a-zA-Z0-9+.-]*://)?(?:[^/@]*@)?(\[[^\]]*\]|[^/:?#]+)"
_PARTS = ("vhost", "client1", "client2", "user", "time", "request", "status", "bytes", "referrer", "agent")
_SQUID = (
    r"^\s*(?P<time>\d+\.\d{3})\s+(?P<elapsed>\d+) (?P<client>\S+) (?P<result>[A-Z_]+)/(?P<status>\d{3}) (?P<bytes>\d+) "
    r"(?P<method>\S+) (?P<url>\S+) (?P<user>\S+) \S+/(?P<peer>\S+) (?P<mime>\S+)"
)
_SQUID_PARTS = ("time", "elapsed", "client", "result", "status", "bytes", "method", "url", "user", "peer", "mime")
_NGINX_ERROR = r"^(?P<time>\d{4}/\d\d/\d\d \d\d:\d\d:\d\d) \[(?P<level>\w+)\] (?P<pid>\d+)#\d+: (?P<message>.*)$"
_APACHE_ERROR = (
    r"^\[(?P<time>(?:[A-Z][a-z]{2} )?[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d(?:\.\d+)? \d{4})\] "
    r"\[(?:\w*:)?(?P<level>\w+)\](?: \[pid (?P<pid>\d+)[^\]]*\])?(?: \[client (?P<client>[^\]\s]+)\])? (?P<message>.*)$"
)
_W3C = {
    "s-ip": "destination.ip",
    "s-port": "destination.port",
    "s-computername": "host.name",
    "c-ip": "source.ip",
    "c-port": "source.port",
    "cs-method": "http.request.method",
    "cs-uri-stem": "url.path",
    "cs-uri-query": "url.query",
    "cs-username": "user.name",
    "cs-host": "url.domain",
    "cs(Host)": "url.domain",
    "cs-version": "http.version",
    "cs(User-Agent)": "user_agent.original",
    "cs(Referer)": "http.request.referrer",
    "cs(Cookie)": "http.request.cookie",
    "sc-status": "http.response.status_code",
    "sc-substatus": "web.substatus",
    "sc-bytes": "http.response.bytes",
    "cs-bytes": "http.request.bytes",
}
_PLUS = frozenset({"user_agent.original", "http.request.referrer", "http.request.cookie"})
"""IIS writes plus signs for spaces in these."""
_LONGS = frozenset(
    {
        "destination.port",
        "source.port",
        "http.response.status_code",
        "web.substatus",
        "http.response.bytes",
        "http.request.bytes",
    }
)


@dataclass(slots=True)
class WebParser:
    """Remembers the #Fields header from block to block; offset 0 begins a new input."""

    name: str = "web"
    fields: tuple[str, ...] = ()

    def parse(self, lines: pl.Series, offsets: pl.Series, *, reference: datetime | None) -> list[pl.DataFrame]:
        """Turn lines into tables; see ``sensor.base.LineParser``."""
        if lines.is_empty():
            return []
        if offsets[0] == 0:
            self.fields = ()
        text = lines.fill_null("").str.strip_chars_end("\r").str.strip_prefix("\ufeff").alias("line")
        rows = pl.int_range(len(text), dtype=pl.Int64, eager=True).alias(ROW)
        frame = pl.DataFrame([rows, text]).filter(text.str.strip_chars(BLANK) != "")
        parts: list[pl.DataFrame] = []
        header = frame["line"].str.starts_with("#")
        if header.any() or self.fields:
            parts, frame = self._extended(frame, header)
        for pattern, make in (
            (_COMBINED, _combined),
            (_SQUID, _squid),
            (_NGINX_ERROR, _nginx_error),
            (_APACHE_ERROR, _apache_error),
        ):
            if frame.is_empty():
                break
            fits = frame["line"].str.contains(pattern)
            if fits.any():
                parts.append(make(frame.filter(fits)))
                frame = frame.filter(~fits)
        if frame.height:
            parts.append(errors(frame[ROW], DATASET, "not_a_web_log", ANOMALIES["not_a_web_log"]))
        return finish(parts, lines.fill_null(""), offsets, module="web", reference=reference)

    def _extended(self, frame: pl.DataFrame, header: pl.Series) -> tuple[list[pl.DataFrame], pl.DataFrame]:
        """Lines of the W3C format, each under the header before it; what comes before any header is left."""
        headers: list[tuple[str, ...]] = [self.fields]
        owner = [0]
        for line in frame["line"].filter(header).to_list():
            if line.startswith("#Fields:"):
                headers.append(tuple(line[8:].split()[:MOST_FIELDS]))
            owner.append(len(headers) - 1)
        self.fields = headers[-1]
        state = pl.Series(owner, dtype=pl.Int64).gather(header.cast(pl.Int64).cum_sum())
        parts: list[pl.DataFrame] = []
        left = [frame.clear()]
        for index in state.filter(~header).unique().sort().to_list():
            chosen = frame.filter(~header & (state == index))
            if headers[index]:
                parts += _values(chosen, headers[index])
            else:
                left.append(chosen)
        return parts, pl.concat(left)


def _groups(frame: pl.DataFrame, pattern: str, names: tuple[str, ...]) -> pl.DataFrame:
    found = frame.select(pl.col(ROW), pl.col("line").str.extract_groups(pattern).alias("g")).unnest("g")
    dashes = [
        pl.when(~pl.col(name).is_in(["-", ""])).then(pl.col(name)).alias(name)
        for name in names
        if name in found.columns
    ]
    return found.with_columns(dashes)


def _timed(frame: pl.DataFrame, times: pl.Series) -> pl.DataFrame:
    """Add the time; a stamp that is none is said."""
    frame = frame.with_columns(times.alias("@timestamp"))
    if not times.null_count():
        return frame
    wrong = times.is_null()
    return frame.with_columns(
        pl.when(wrong).then(pl.lit("pipeline_error")).otherwise(pl.lit("event")).alias("event.kind"),
        pl.when(wrong).then(pl.lit("bad_time")).alias("error.code"),
        pl.when(wrong).then(pl.lit(ANOMALIES["bad_time"])).alias("error.message"),
    )


def _url(column: pl.Expr) -> list[pl.Expr]:
    """Path, query and extension of a target."""
    path = column.str.replace(r"^[a-zA-Z][a-zA-Z0-9+.-]*://[^/?#]*", "").str.extract(r"^([^?#]*)", 1)
    return [
        pl.when(path != "").then(path).alias("url.path"),
        column.str.extract(r"\?(.*)$", 1).alias("url.query"),
        path.str.extract(r"\.([A-Za-z0-9]{1,16})$", 1).alias("url.extension"),
    ]


def _outcome() -> pl.Expr:
    status = pl.col("http.response.status_code")
    return (
        pl.when(status >= 400)
        .then(pl.lit("failure"))
        .when(status >= 100)
        .then(pl.lit("success"))
        .alias("event.outcome")
    )


def _named(frame: pl.DataFrame, dataset: str) -> pl.DataFrame:
    more = [pl.lit(dataset).alias("event.dataset"), pl.lit(["web"]).alias("event.category")]
    if "http.response.status_code" in frame.columns:
        more.append(_outcome())
    return frame.with_columns(more)


def _combined(frame: pl.DataFrame) -> pl.DataFrame:
    cut = _groups(frame, _COMBINED, _PARTS)
    request = cut["request"].str.extract_groups(_REQUEST).struct.unnest()
    client = cut.select(pl.coalesce("client1", "client2")).to_series()
    times = cut["time"].str.to_datetime("%d/%b/%Y:%H:%M:%S %z", time_unit="ns", strict=False)
    made = cut.select(
        ROW,
        ip(client).alias("source.ip"),
        pl.col("vhost").str.replace(r":\d+$", "").alias("url.domain"),
        pl.col("user").alias("user.name"),
        request["method"].alias("http.request.method"),
        pl.when(pl.lit(request["target"]).is_not_null())
        .then(pl.lit(request["target"]))
        .otherwise("request")
        .alias("url.original"),
        request["version"].alias("http.version"),
        long(cut["status"]).alias("http.response.status_code"),
        long(cut["bytes"]).alias("http.response.body.bytes"),
        pl.col("referrer").alias("http.request.referrer"),
        pl.col("agent").alias("user_agent.original"),
    )
    return _named(_timed(made.with_columns(_url(pl.col("url.original"))), times.dt.convert_time_zone("UTC")), DATASET)


def _squid(frame: pl.DataFrame) -> pl.DataFrame:
    cut = _groups(frame, _SQUID, _SQUID_PARTS)
    times = decimal_seconds(cut["time"]).cast(INSTANT)
    made = cut.select(
        ROW,
        ip(cut["client"]).alias("source.ip"),
        ip(cut["peer"]).alias("destination.ip"),
        (long(cut["elapsed"]) * 1_000_000).alias("event.duration"),
        pl.col("result").alias("web.result"),
        pl.lit("squid").alias("web.server"),
        long(cut["status"]).alias("http.response.status_code"),
        long(cut["bytes"]).alias("http.response.bytes"),
        pl.col("method").alias("http.request.method"),
        pl.col("url").alias("url.original"),
        pl.col("url")
        .str.extract(r"^(?:[a-zA-Z][a-zA-Z0-9+.-]*://)?(?:[^/@]*@)?(\[[^\]]*\]|[^/:?#]+)", 1)
        .alias("url.domain"),
        pl.col("user").alias("user.name"),
        pl.col("mime").alias("http.response.mime_type"),
    )
    return _named(_timed(made.with_columns(_url(pl.col("url.original"))), times), PROXY)


def _nginx_error(frame: pl.DataFrame) -> pl.DataFrame:
    cut = _groups(frame, _NGINX_ERROR, ("time", "level", "pid", "message"))
    times = cut["time"].str.to_datetime("%Y/%m/%d %H:%M:%S", time_unit="ns", time_zone="UTC", strict=False)
    client = cut["message"].str.extract(rf"client: ({_IP})", 1)
    made = cut.select(
        ROW,
        pl.col("message"),
        pl.col("level").alias("log.level"),
        long(cut["pid"]).alias("process.pid"),
        ip(client).alias("source.ip"),
        pl.lit("nginx").alias("web.server"),
    )
    return _named(_timed(made, times), DATASET)


def _apache_error(frame: pl.DataFrame) -> pl.DataFrame:
    cut = _groups(frame, _APACHE_ERROR, ("time", "level", "pid", "client", "message"))
    stamp = cut["time"].str.replace(r"^(?:Sun|Mon|Tue|Wed|Thu|Fri|Sat) ", "").str.replace("  ", " ", literal=True)
    times = stamp.str.to_datetime("%b %e %H:%M:%S%.f %Y", time_unit="ns", time_zone="UTC", strict=False)
    made = cut.select(
        ROW,
        pl.col("message"),
        pl.col("level").alias("log.level"),
        long(cut["pid"]).alias("process.pid"),
        ip(cut["client"].str.replace(r":\d+$", "")).alias("source.ip"),
        pl.lit("apache").alias("web.server"),
    )
    return _named(_timed(made, times), DATASET)


def _values(frame: pl.DataFrame, names: tuple[str, ...]) -> list[pl.DataFrame]:
    """Lines under one #Fields header."""
    parts: list[pl.DataFrame] = []
    cut = frame["line"].str.split(" ")
    whole = cut.list.len() == len(names)
    if not whole.all():
        code = "wrong_column_count"
        parts.append(errors(frame[ROW].filter(~whole), DATASET, code, ANOMALIES[code]))
        frame, cut = frame.filter(whole), cut.filter(whole)
    if frame.is_empty():
        return parts
    columns: dict[str, pl.Series] = {}
    for place, name in enumerate(names):
        value = cut.list.get(place)
        value = pl.select(pl.when(~value.is_in(["-", ""])).then(value)).to_series()
        field = _W3C.get(name)
        if field in _PLUS:
            value = value.str.replace_all("+", " ", literal=True)
        if field in _LONGS:
            value = long(value)
        elif field in ("source.ip", "destination.ip"):
            value = ip(value)
        columns.setdefault(field or f"_{name}", value)
    made = pl.DataFrame([series.alias(name) for name, series in columns.items()]).with_columns(frame[ROW])
    have = set(made.columns)
    stamp = [pl.col(name) for name in ("_date", "_time") if name in have]
    times = instants(made.select(pl.concat_str(stamp, separator="T")).to_series()) if len(stamp) == 2 else None
    more: list[pl.Expr] = [pl.lit("iis").alias("web.server")]
    if "url.path" in have:
        query = pl.concat_str(pl.lit("?"), pl.col("url.query")).fill_null("") if "url.query" in have else pl.lit("")
        more.append(pl.concat_str(pl.col("url.path"), query).alias("url.original"))
        more.append(pl.col("url.path").str.extract(r"\.([A-Za-z0-9]{1,16})$", 1).alias("url.extension"))
    if "_time-taken" in have:
        more.append((pl.col("_time-taken").cast(pl.Int64, strict=False) * 1_000_000).alias("event.duration"))
    if "http.version" in have:
        more.append(pl.col("http.version").str.strip_prefix("HTTP/").alias("http.version"))
    made = made.with_columns(more).drop([name for name in have if name.startswith("_") and name != ROW])
    if times is None:
        times = pl.Series([None] * made.height, dtype=INSTANT)
    parts.append(_named(_timed(made, times), DATASET))
    return parts


PARSER = WebParser()
"""For one input at a time; ``WebParser()`` makes another."""
