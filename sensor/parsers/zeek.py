r"""Zeek logs: tab-separated with headers, and JSON (Zeek 3 to 8, `LogAscii` of the Zeek manual).

Dataset ``zeek.<path>``. Columns with a field of the catalogue go there, all others to ``zeek.fields`` as one JSON
object, the line to ``event.original``. Tab-separated values: ``-`` is absent, ``(empty)`` an empty text or set,
``\xNN`` a byte; other marks if the header says so. A stream may hold several headers (rotated files, several logs).
JSON without ``_path`` is told by its columns; what cannot be told is ``zeek.unknown``.

``source`` is the sender: the originator, but in ``modbus`` lines with ``pdu_type`` RESP the responder. ``client`` is
always the originator. Where a log speaks about a request and its reply in one line (``dnp3``), the line is a request.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

import polars as pl

from sensor import json_lines
from sensor import zeek_words as tables
from sensor.lines import (
    INSTANT,
    ROW,
    Take,
    decimal_seconds,
    errors,
    finish,
    instants,
    keyword,
    keywords,
    longs,
    map_columns,
    numbers,
    rest_json,
    seconds_to_ns,
    words,
)
from sensor.lines import lower as lower_case

ANOMALIES = {
    "no_header": "A line of values came before any #fields header",
    "wrong_column_count": "The line has not as many values as the #fields header names",
    "invalid_json": "The line is not one JSON object",
    "bad_time": "ts is neither seconds since 1970 nor RFC 3339 (years 1678 to 2261)",
    "too_many_headers": "More different headers in one block than are held",
    "bad_header": "A header line that contradicts itself",
}
"""Code to what was violated."""

MOST_HEADERS = 256
MOST_FIELDS = 2_048
MOST_PATHS = 512
MOST_CELLS = 4_000_000
"""Fields times lines that are cut at once: a hostile header must not cost memory for every short line."""

_PATH = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}", re.ASCII)


@dataclass(frozen=True, slots=True)
class _Header:
    """What the header lines of a tab-separated log say."""

    separator: str = "\t"
    set_separator: str = ","
    empty: str = "(empty)"
    unset: str = "-"
    path: str = "unknown"
    names: tuple[str, ...] = ()
    types: tuple[str, ...] = ()


@dataclass(slots=True)
class ZeekParser:
    """Remembers the header of a tab-separated log from block to block; offset 0 begins a new input."""

    name: str = "zeek"
    header: _Header = field(default_factory=_Header)

    def parse(self, lines: pl.Series, offsets: pl.Series, *, reference: datetime | None) -> list[pl.DataFrame]:
        """Turn lines into tables; see ``sensor.base.LineParser``."""
        if lines.is_empty():
            return []
        if offsets[0] == 0:
            self.header = _Header()
        text = lines.fill_null("")
        if offsets[0] == 0 and text[0].startswith("\ufeff"):
            text = text.scatter(0, text[0].removeprefix("\ufeff"))
        text = text.alias("line")
        rows = pl.int_range(len(text), dtype=pl.Int64, eager=True).alias(ROW)
        first = text.str.strip_chars_start(" \t\r").str.head(1)
        header, json = first == "#", first == "{"
        plain = ~header & ~json & (first != "")
        parts: list[pl.DataFrame] = []
        if header.any() or plain.any():
            parts += self._separated(text, rows, header & ~json, plain)
        if json.any():
            parts += _json(text.filter(json), rows.filter(json))
        return finish(parts, lines.fill_null(""), offsets, module="zeek", reference=reference)

    # Tab-separated.

    def _separated(self, text: pl.Series, rows: pl.Series, header: pl.Series, plain: pl.Series) -> list[pl.DataFrame]:
        """Each run of lines belongs to the header before it; lines of equal headers are read together."""
        numbers_of: dict[_Header, int] = {self.header: 0}
        owner: list[int] = [0]
        for line in text.filter(header).to_list():
            self.header = _after(self.header, line)
            if len(numbers_of) < MOST_HEADERS:
                numbers_of.setdefault(self.header, len(numbers_of))
            owner.append(numbers_of.get(self.header, -1))
        headers = list(numbers_of)
        # Line i belongs to the header state after the last header line before it.
        state = pl.Series(owner, dtype=pl.Int64).gather(header.cast(pl.Int64).cum_sum())
        parts: list[pl.DataFrame] = []
        for index in state.filter(plain).unique().sort().to_list():
            chosen = plain & (state == index)
            some, numbers_ = text.filter(chosen), rows.filter(chosen)
            if index < 0:
                parts.append(_failed(numbers_, "unknown", "too_many_headers"))
            elif not headers[index].names:
                parts.append(_failed(numbers_, headers[index].path, "no_header"))
            else:
                size = max(1, MOST_CELLS // len(headers[index].names))
                for start in range(0, len(some), size):
                    parts += _values(some.slice(start, size), numbers_.slice(start, size), headers[index])
        return parts


def _failed(rows: pl.Series, path: str, code: str) -> pl.DataFrame:
    return errors(rows, f"zeek.{path}", code, ANOMALIES[code])


def _after(before: _Header, line: str) -> _Header:
    """The header state after one more header line."""
    if line.startswith("#separator"):
        mark = _bytes(line[len("#separator") :].strip(" "))
        return _Header(separator=mark if len(mark) == 1 else "\t")
    key, _, value = line.partition(before.separator)
    state = {
        "separator": before.separator,
        "set_separator": before.set_separator,
        "empty": before.empty,
        "unset": before.unset,
        "path": before.path,
        "names": before.names,
        "types": before.types,
    }
    values = tuple(value.rstrip("\r").split(before.separator))
    match key:
        case "#set_separator" if value:
            state["set_separator"] = _bytes(value)
        case "#empty_field":
            state["empty"] = _bytes(value)
        case "#unset_field":
            state["unset"] = _bytes(value)
        case "#path":
            state["path"] = _safe_path(value)
            state["names"], state["types"] = (), ()
        case "#fields":
            state["names"] = values if len(values) <= MOST_FIELDS else ()
            state["types"] = ()
        case "#types":
            state["types"] = values if len(values) == len(before.names) else ()
        case _:
            return before  # #open, #close, comments
    return _Header(**state)  # type: ignore[arg-type]


def _bytes(text: str) -> str:
    r"""``\x09`` as the character; the header's own spelling."""
    return re.sub(r"\\x([0-9A-Fa-f]{2})", lambda m: chr(int(m[1], 16)), text)


def _safe_path(path: str) -> str:
    return path.lower() if _PATH.fullmatch(path) else "unknown"


def _values(text: pl.Series, rows: pl.Series, header: _Header) -> list[pl.DataFrame]:
    """Lines of one header."""
    count = len(header.names)
    cells = text.str.strip_chars_end("\r").str.split_exact(header.separator, count).struct.unnest()
    cells = cells.rename({name: f"c{i}" for i, name in enumerate(cells.columns)})
    good = cells[f"c{count - 1}"].is_not_null() & cells[f"c{count}"].is_null()
    parts: list[pl.DataFrame] = []
    if not good.all():
        parts.append(_failed(rows.filter(~good), header.path, "wrong_column_count"))
        cells, rows = cells.filter(good), rows.filter(good)
    if rows.is_empty():
        return parts
    columns: dict[str, pl.Series] = {}
    types = header.types or ("string",) * count
    for index, (name, kind) in enumerate(zip(header.names, types, strict=True)):
        if name not in columns:
            columns[name] = _typed(cells[f"c{index}"], name, kind, header)
    return parts + _rows(pl.DataFrame(list(columns.values())), rows, header.path)


def _typed(cells: pl.Series, name: str, kind: str, header: _Header) -> pl.Series:
    """One column by its Zeek type; values that do not fit stay text where the type allows, else null."""
    frame = pl.DataFrame([cells.alias("v")])
    present = pl.when(pl.col("v") != header.unset).then(pl.col("v"))
    if kind.startswith(("set[", "vector[", "list[")):
        parts = present.str.split(header.set_separator) if header.set_separator else pl.concat_list(present)
        none = pl.lit([], dtype=pl.List(pl.String))
        values = frame.select(pl.when(pl.col("v") == header.empty).then(none).otherwise(parts).alias("v")).to_series()
        if cells.str.contains("\\", literal=True).any():
            exploded = _unescaped(values.explode(empty_as_null=True))
            sizes = values.list.len().fill_null(1).clip(1)
            owner = pl.int_range(len(values), eager=True).repeat_by(sizes).explode(empty_as_null=True)
            grouped = pl.DataFrame({"o": owner, "v": exploded}).group_by("o", maintain_order=True).agg("v")["v"]
            values = pl.select(pl.when(values.list.len() > 0).then(grouped).otherwise(values)).to_series()
        if "[count]" in kind or "[int]" in kind or "[port]" in kind:
            values = _if_all_fit(values, pl.List(pl.Int64))
        elif "[double]" in kind or "[interval]" in kind or "[time]" in kind:
            values = _if_all_fit(values, pl.List(pl.Float64))
        return values.alias(name)
    text = frame.select(present.alias("v")).to_series()
    if kind in ("count", "int", "port"):
        return _if_all_fit(text, pl.Int64()).alias(name)
    if kind == "double":
        return _if_all_fit(text, pl.Float64()).alias(name)
    if kind == "bool":
        if text.drop_nulls().is_in(["T", "F"]).all():
            return (text == "T").alias(name)
        return text.alias(name)
    if kind in ("time", "interval", "addr", "subnet"):
        return text.alias(name)  # times stay text until they are converted exactly
    text = pl.select(pl.when(text == header.empty).then(pl.lit("")).otherwise(text)).to_series()
    if text.str.contains("\\", literal=True).any():
        text = _unescaped(text)
    return text.alias(name)


def _if_all_fit(series: pl.Series, dtype: pl.DataType) -> pl.Series:
    """Cast if no value is lost by it, else leave as text."""
    cast = series.cast(dtype, strict=False)
    if cast.null_count() != series.null_count():
        return series
    if (
        isinstance(dtype, pl.List)
        and cast.explode(empty_as_null=True).null_count() != series.explode(empty_as_null=True).null_count()
    ):
        return series
    return cast


_ESCAPE = re.compile(rb"\\(?:x([0-9A-Fa-f]{2})|\\)")


def _unescaped(text: pl.Series) -> pl.Series:
    r"""Resolve ``\xNN`` and ``\\``, once for each distinct value; bytes that are not UTF-8 become U+FFFD."""
    escaped = text.str.contains("\\", literal=True).fill_null(value=False)
    distinct = text.filter(escaped).unique()
    plain = [_resolve(one) for one in distinct.to_list()]
    return pl.select(
        pl.when(escaped).then(text.replace_strict(distinct, pl.Series(plain), default=None)).otherwise(text)
    ).to_series()


def _resolve(text: str) -> str:
    raw = _ESCAPE.sub(lambda m: bytes([int(m[1], 16)]) if m[1] else b"\\", text.encode())
    return raw.decode("utf-8", "replace")


# JSON.


def _json(text: pl.Series, rows: pl.Series) -> list[pl.DataFrame]:
    """Lines are grouped by what looks like their path, so that those of one log are read together."""
    hint = text.str.extract(r'"_path"\s*:\s*"([^"\\]{1,64})"').fill_null("")
    parts: list[pl.DataFrame] = []
    distinct = hint.unique().sort()
    groups = [hint == one for one in distinct.to_list()] if len(distinct) <= MOST_PATHS else [hint.is_not_null()]
    for chosen in groups:
        blocks, bad = json_lines.read(text.filter(chosen), rows.filter(chosen))
        if bad:
            parts.append(_failed(pl.Series(ROW, sorted(bad), dtype=pl.Int64), "unknown", "invalid_json"))
        for block in blocks:
            path = _paths(block.columns)
            flat = block.columns.drop("_path", strict=False)
            for one in path.unique().sort().to_list():
                mine = path == one
                parts += _rows(flat.filter(mine), block.rows.filter(mine), one)
    return parts


def _paths(flat: pl.DataFrame) -> pl.Series:
    """The path of each object: ``_path`` if there is one, else the log whose own columns it has."""
    told = keyword(flat["_path"]) if "_path" in flat.columns else pl.Series([None] * flat.height, dtype=pl.String)
    told = pl.select(pl.when(told.str.contains(rf"^(?:{_PATH.pattern})$")).then(told.str.to_lowercase())).to_series()
    frame = flat.with_columns(told.alias("_told"))
    choice: pl.Expr = pl.lit("unknown")
    for path, signs in reversed(tables.SIGNS):
        if all(sign in flat.columns for sign in signs):
            choice = (
                pl.when(pl.all_horizontal([pl.col(s).is_not_null() for s in signs]))
                .then(pl.lit(path))
                .otherwise(choice)
            )
    found = frame.select(pl.coalesce(pl.col("_told"), choice).alias("path")).to_series()
    if found.n_unique() > MOST_PATHS:
        return pl.Series(["unknown"] * flat.height, dtype=pl.String)
    return found


# Both.


def _time(flat: pl.DataFrame) -> pl.Series:
    """``ts``: seconds since 1970 as text (exact) or number, or RFC 3339."""
    if "ts" not in flat.columns:
        return pl.Series([None] * flat.height, dtype=INSTANT)
    ts = flat["ts"]
    if ts.dtype != pl.String:
        return seconds_to_ns(ts).cast(INSTANT)
    seconds = decimal_seconds(ts).cast(INSTANT)
    if seconds.null_count() == ts.null_count():
        return seconds
    return pl.select(pl.coalesce(seconds, instants(ts))).to_series()


def _rows(flat: pl.DataFrame, rows: pl.Series, path: str) -> list[pl.DataFrame]:
    """Objects of one log, in either spelling, to fields."""
    time = _time(flat)
    takes: Sequence[Take] = (*_TAKES.get(path, ()), *_COMMON)
    fields, left = map_columns(flat, takes)
    rest = rest_json([series for series in left if series.name != "ts"])
    columns = [rows.alias(ROW), time.alias("@timestamp"), *fields.values()]
    if rest is not None:
        columns.append(rest.alias("zeek.fields"))
    frame = pl.DataFrame(columns).with_columns(
        pl.lit(f"zeek.{path}").alias("event.dataset"), pl.lit(path).alias("zeek.path")
    )
    frame = _derived(frame, flat, path)
    unknown = frame["@timestamp"].is_null()
    if unknown.any():
        broken = frame.filter(unknown).with_columns(
            pl.lit("pipeline_error").alias("event.kind"),
            pl.lit("bad_time").alias("error.code"),
            pl.lit(ANOMALIES["bad_time"]).alias("error.message"),
        )
        return [frame.filter(~unknown), broken]
    return [frame]


def _derived(frame: pl.DataFrame, flat: pl.DataFrame, path: str) -> pl.DataFrame:
    """Fields that follow from several columns."""
    have = set(frame.columns)
    more: list[pl.Expr] = [
        pl.lit(value).alias(name) for name, value in tables.CONSTANT.get(path, {}).items() if name not in have
    ]
    if path in tables.CATEGORY:
        more.append(pl.lit([tables.CATEGORY[path]]).alias("event.category"))
    if "source.ip" in have and "client.ip" not in have and path in tables.ENDPOINTS_ARE_SIDES:
        more += [
            pl.col(f"{old}.{part}").alias(f"{new}.{part}")
            for old, new in (("source", "client"), ("destination", "server"))
            for part in ("ip", "port")
            if f"{old}.{part}" in have
        ]
    if path == "conn":
        more += _of_conn(have)
    if path == "dns":
        more += _of_dns(flat, have)
    if path == "http" and "url.original" in have:
        more.append(pl.col("url.original").str.split_exact("?", 1).struct.field("field_0").alias("url.path"))
    if path == "notice":
        more.append(pl.lit("alert").alias("event.kind"))
    if path == "ssh" and "auth_success" in flat.columns:
        done = keyword(flat["auth_success"]).str.to_lowercase()
        outcome = done.replace_strict(
            {"t": "success", "true": "success", "f": "failure", "false": "failure"}, default=None
        )
        more.append(pl.lit(outcome).alias("event.outcome"))
    if path == "dnp3":
        replied = ~pl.col("dnp3.function").is_null() if "dnp3.function" in have else pl.lit(value=False)
        asked = "fc_request" in flat.columns
        request = pl.lit(flat["fc_request"].is_not_null()) if asked else pl.lit(value=False)
        unsolicited = (
            pl.col("dnp3.function") == "unsolicited_response" if "dnp3.function" in have else pl.lit(value=False)
        )
        more.append(
            pl.when(request)
            .then(pl.lit("request"))
            .when(unsolicited)
            .then(pl.lit("unsolicited"))
            .when(replied)
            .then(pl.lit("response"))
            .alias("dnp3.message_type")
        )
    frame = frame.with_columns(more)
    if path == "modbus" and "modbus.message_type" in have and {"source.ip", "destination.ip"} <= have:
        frame = _senders(frame)
    return frame


def _senders(frame: pl.DataFrame) -> pl.DataFrame:
    """Swap the ends of responses: the originator of the connection is not the sender there."""
    back = (pl.col("modbus.message_type") == "response").fill_null(value=False)
    swaps: list[pl.Expr] = []
    for part in ("ip", "port"):
        one, other = f"source.{part}", f"destination.{part}"
        if one in frame.columns and other in frame.columns:
            swaps += [
                pl.when(back).then(pl.col(other)).otherwise(pl.col(one)).alias(one),
                pl.when(back).then(pl.col(one)).otherwise(pl.col(other)).alias(other),
            ]
    return frame.with_columns(swaps)


def _of_conn(have: set[str]) -> list[pl.Expr]:
    more = [
        pl.lit(["connection"]).alias("event.type"),
        pl.col("@timestamp").alias("event.start"),
    ]
    if "event.duration" in have:
        more.append((pl.col("@timestamp") + pl.duration(nanoseconds=pl.col("event.duration"))).alias("event.end"))
    more += [
        (pl.col(f"source.{unit}") + pl.col(f"destination.{unit}")).alias(f"network.{unit}")
        for unit in ("bytes", "packets")
        if {f"source.{unit}", f"destination.{unit}"} <= have
    ]
    if {"zeek.conn_state", "network.transport"} <= have:
        state = pl.col("zeek.conn_state").replace_strict(tables.TCP_STATES, default=None, return_dtype=pl.String)
        more.append(pl.when(pl.col("network.transport") == "tcp").then(state).alias("flow.state"))
    return more


def _of_dns(flat: pl.DataFrame, have: set[str]) -> list[pl.Expr]:
    more: list[pl.Expr] = []
    if "dns.response_code" in have:
        answered = pl.col("dns.response_code").is_not_null()
        more.append(pl.when(answered).then(pl.lit("answer")).otherwise(pl.lit("query")).alias("dns.type"))
    flags = [name for name in ("AA", "TC", "RD", "RA") if name in flat.columns]
    if flags:
        said = [pl.when(pl.lit(keyword(flat[n]).is_in(["true", "T"]))).then(pl.lit(n)) for n in flags]
        more.append(pl.concat_list(said).list.drop_nulls().alias("dns.header_flags"))
    if "answers" in flat.columns:
        answers = keywords(flat["answers"])
        address = pl.element().str.contains(r"^\d{1,3}(\.\d{1,3}){3}$|^[0-9a-f]*:[0-9a-f:.]*$")
        more.append(pl.lit(answers.list.eval(pl.element().filter(address))).alias("dns.resolved_ip"))
    return more


def _protocol(series: pl.Series) -> pl.Series:
    """``service``: our word for it; several services of one connection are no single protocol."""
    text = keyword(series).str.to_lowercase()
    single = pl.select(pl.when(~text.str.contains(",", literal=True)).then(text)).to_series()
    return single.replace(tables.PROTOCOLS)


def _transport(series: pl.Series) -> pl.Series:
    """``proto``: tcp, udp, icmp and nothing else."""
    text = keyword(series).str.to_lowercase()
    return pl.select(pl.when(text.is_in(["tcp", "udp", "icmp"])).then(text)).to_series()


def _spans(series: pl.Series) -> pl.Series:
    return seconds_to_ns(series)


_COMMON: tuple[Take, ...] = (
    Take("zeek.uid", "uid"),
    Take("source.ip", "id.orig_h"),
    Take("source.port", "id.orig_p"),
    Take("destination.ip", "id.resp_h"),
    Take("destination.port", "id.resp_p"),
    Take("network.transport", "proto", _transport),
    Take("network.community_id", "community_id"),
    Take("user.name", "username"),
)

_TAKES: dict[str, tuple[Take, ...]] = {
    "conn": (
        Take("zeek.service", "service"),
        Take("network.protocol", "service", _protocol),
        Take("event.duration", "duration", _spans),
        Take("source.bytes", "orig_ip_bytes"),
        Take("destination.bytes", "resp_ip_bytes"),
        Take("source.packets", "orig_pkts"),
        Take("destination.packets", "resp_pkts"),
        Take("flow.payload_bytes.client", "orig_bytes"),
        Take("flow.payload_bytes.server", "resp_bytes"),
        Take("flow.missed_bytes", "missed_bytes"),
        Take("zeek.conn_state", "conn_state"),
        Take("zeek.history", "history"),
        Take("source.mac", "orig_l2_addr", lower_case),
        Take("destination.mac", "resp_l2_addr", lower_case),
        Take("network.vlan.id", "vlan"),
        Take("network.inner.vlan.id", "inner_vlan"),
    ),
    "dns": (
        Take("dns.id", "trans_id"),
        Take("event.duration", "rtt", _spans),
        Take("dns.question.name", "query", lower_case),
        Take("dns.question.name_original", "query"),
        Take("dns.question.class", "qclass_name", words(tables.DNS_CLASSES)),
        Take("dns.question.type", "qtype_name"),
        Take("dns.response_code", "rcode_name"),
        Take("dns.answers_ttl", "TTLs", longs),
        Take("zeek.rejected", "rejected"),
        Take("zeek.z", "Z"),
    ),
    "http": (
        Take("http.request.method", "method"),
        Take("url.domain", "host"),
        Take("url.original", "uri"),
        Take("user_agent.original", "user_agent"),
        Take("http.request.body.bytes", "request_body_len"),
        Take("http.response.body.bytes", "response_body_len"),
        Take("http.response.status_code", "status_code"),
        Take("zeek.resp_mime_types", "resp_mime_types"),
    ),
    "smb_files": (Take("file.name", "name"), Take("zeek.smb_path", "path"), Take("zeek.action", "action")),
    "dce_rpc": (Take("zeek.operation", "operation"), Take("zeek.endpoint", "endpoint")),
    "ssl": (
        Take("tls.version", "version"),
        Take("tls.cipher", "cipher"),
        Take("tls.client.server_name", "server_name"),
        Take("tls.server.subject", "subject"),
        Take("tls.server.issuer", "issuer"),
        Take("tls.established", "established"),
    ),
    "files": (
        Take("file.name", "filename"),
        Take("file.size", "total_bytes"),
        Take("file.mime_type", "mime_type"),
        Take("file.hash.sha256", "sha256"),
        Take("file.hash.md5", "md5"),
        Take("event.duration", "duration", _spans),
    ),
    "notice": (
        Take("event.code", "note"),
        Take("rule.name", "note"),
        Take("message", "msg"),
        Take("event.reason", "sub"),
        Take("source.ip", "id.orig_h"),
        Take("source.ip", "src", keep=True),
        Take("destination.ip", "id.resp_h"),
        Take("destination.ip", "dst", keep=True),
        Take("destination.port", "id.resp_p"),
        Take("destination.port", "p", keep=True),
        Take("observer.name", "peer_descr"),
    ),
    "weird": (Take("event.code", "name"), Take("event.reason", "addl"), Take("observer.name", "peer")),
    "modbus": (
        Take("modbus.transaction_id", "tid"),
        Take("modbus.unit_id", "unit"),
        Take("modbus.function_code", "func", numbers(tables.MODBUS_CODES)),
        Take("modbus.function", "func", words(tables.MODBUS_FUNCTIONS), keep=True),
        Take("modbus.message_type", "pdu_type", words({"REQ": "request", "RESP": "response"})),
        Take("modbus.exception", "exception", words(tables.MODBUS_EXCEPTIONS)),
        Take("modbus.exception_code", "exception", numbers(tables.MODBUS_EXCEPTION_CODES)),
    ),
    "dnp3": (
        Take("dnp3.function", "fc_request", words(tables.DNP3_FUNCTIONS)),
        Take("dnp3.function_code", "fc_request", numbers(tables.DNP3_CODES), keep=True),
        Take("dnp3.function", "fc_reply", words(tables.DNP3_FUNCTIONS), keep=True),
        Take("dnp3.function_code", "fc_reply", numbers(tables.DNP3_CODES), keep=True),
        Take("dnp3.iin", "iin"),
    ),
    "ssh": (Take("network.direction", "direction", lower_case),),
    "rdp": (Take("user.name", "cookie"), Take("event.reason", "result")),
    "ftp": (Take("user.name", "user"), Take("event.action", "command", lower_case)),
    "kerberos": (
        Take("user.name", "client"),
        Take("zeek.service", "service"),
        Take("zeek.request_type", "request_type"),
        Take("zeek.cipher", "cipher"),
    ),
    "syslog": (Take("message", "message"),),
    "x509": (
        Take("tls.server.subject", "certificate.subject"),
        Take("tls.server.issuer", "certificate.issuer"),
        Take("tls.server.x509.serial_number", "certificate.serial"),
    ),
    "http2": (Take("http.request.method", "method"), Take("url.domain", "host"), Take("url.original", "uri")),
}

PARSER = ZeekParser()
"""For one input at a time; ``ZeekParser()`` makes another."""
