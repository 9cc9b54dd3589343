"""Syslog lines: RFC 5424, and RFC 3164 in the spellings that are found in files and on the wire.

Taken: ``<PRI>`` or none (files of a local daemon), the octet count of RFC 6587 before it, stamps ``Mmm dd hh:mm:ss``
(with or without a year), RFC 3339 stamps in place of them, a missing host, tag or process id; of RFC 5424 any nil
part, escapes in structured data, the BOM. A line with neither priority nor stamp is ``not_syslog``.

Years. RFC 3164 stamps carry none. ``reference_year`` is the year of the latest line of a block. Lines are in order of
arrival: where one is later in the year than the next by more than six months, the year has turned between them
(December before January), and the lines before it belong to the year before; the other way round a straggler of
December after January belongs to the old year. Without ``reference_year`` the latest year that a line of the block
does carry is taken, else 1970.

Zones. RFC 3164 stamps carry none either; they are read as UTC.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import orjson
import polars as pl

from sensor.lines import INSTANT, ROW, errors, finish, instants

DATASET = "syslog"
ANOMALIES = {
    "not_syslog": "The line has neither a priority nor a time stamp",
    "bad_priority": "The priority is above 191",
    "bad_time": "The stamp names no instant, such as 30 February",
    "bad_structured_data": "The structured data do not end, or not as RFC 5424 section 6.3 wants",
}
"""Code to what was violated."""

MOST_NAME = 255
"""Characters of host, tag, process id and message id that are believed (RFC 5424 section 6)."""

_COUNT = r"^(?:\d{1,8} )?"
_RFC5424 = (
    r"(?s)" + _COUNT + r"<(?P<pri>\d{1,3})>(?P<version>[1-9]\d{0,2}) (?P<time>\S{1,64}) (?P<host>\S{1,255}) "
    r"(?P<app>\S{1,255}) (?P<proc>\S{1,255}) (?P<msgid>\S{1,255})(?: (?P<rest>.*))?$"
)
_DATA = r'(?s)^(?P<data>-|(?:\[[^\s="\]]+(?: +[^\s="\]]+="(?:[^"\\]|\\.)*")* *\])+)(?: (?P<message>.*))?$'
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_RFC3164 = (
    r"(?s)" + _COUNT + r"(?:<(?P<pri>\d{1,3})>)?\s?(?:[*.]?"
    r"(?P<month>" + "|".join(_MONTHS) + r") (?P<day>[ 0-3]?\d)(?: (?P<year1>\d{4}))? "
    r"(?P<clock>\d\d:\d\d:\d\d)(?:\.(?P<fraction>\d{1,9}))?(?: (?P<year2>(?:19|20)\d\d))?:?(?: |$)"
    r"|(?P<iso>\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:[Zz]|[+-]\d\d:?\d\d)?):?(?: |$))?"
    r"(?P<rest>.*)$"
)
_BODY = (
    r"(?s)^(?:(?P<host>[A-Za-z0-9_.:-]{0,254}[A-Za-z0-9_.-]) )?"
    r"(?P<tag>[^\s\[\]:]{1,255})(?:\[(?P<proc>[^\[\]\s]{1,255})\])?:(?: (?P<message>.*)|(?P<empty>))$"
)
_HOST_ONLY = r"(?s)^(?P<host>[A-Za-z0-9_.:-]{1,255}) (?P<message>.*)$"

_LEVELS = ["emergency", "alert", "critical", "error", "warning", "notice", "informational", "debug"]
_HALF_YEAR_S = 183 * 86_400


@dataclass(slots=True)
class SyslogParser:
    """Has no memory."""

    name: str = "syslog"

    def parse(self, lines: pl.Series, offsets: pl.Series, *, reference_year: int | None) -> list[pl.DataFrame]:
        """Turn lines into tables; see ``sensor.base.LineParser``."""
        if lines.is_empty():
            return []
        text = lines.fill_null("").str.strip_chars_end("\r\n\0").alias("line")
        rows = pl.int_range(len(text), dtype=pl.Int64, eager=True).alias(ROW)
        filled = text.str.strip_chars(" \t\ufeff") != ""
        frame = pl.DataFrame([rows, text]).filter(filled)
        new = frame["line"].str.contains(_RFC5424)
        parts = _new(frame.filter(new))
        parts += _old(frame.filter(~new), reference_year, parts)
        return finish(parts, lines.fill_null(""), offsets, module="syslog", reference_year=reference_year)


def _new(frame: pl.DataFrame) -> list[pl.DataFrame]:
    """RFC 5424."""
    if frame.is_empty():
        return []
    frame = _groups(frame, "line", _RFC5424)
    frame = _groups(frame.with_columns(pl.col("rest").fill_null("-")), "rest", _DATA)
    split = pl.col("data").is_not_null()
    frame = frame.with_columns(
        instants(frame["time"]).alias("@timestamp"),
        pl.when(split).then(pl.col("message").str.strip_prefix("\ufeff")).otherwise(pl.col("rest")).alias("message"),
        _structured(frame["data"]).alias("log.syslog.structured_data_json"),
        *[_nil(name) for name in ("time", "host", "app", "proc", "msgid")],
    )
    code = (
        _priority_code()
        .when(~split)
        .then(pl.lit("bad_structured_data"))
        .when(pl.col("@timestamp").is_null() & pl.col("time").is_not_null())
        .then(pl.lit("bad_time"))
        .otherwise(None)
    )
    return [_named(frame.with_columns(code.alias("error.code")))]


def _old(frame: pl.DataFrame, reference_year: int | None, newer: list[pl.DataFrame]) -> list[pl.DataFrame]:
    """RFC 3164 and its kin."""
    if frame.is_empty():
        return []
    frame = _groups(frame, "line", _RFC3164)
    stamped = pl.col("month").is_not_null() | pl.col("iso").is_not_null()
    header = frame.select(stamped | pl.col("pri").is_not_null()).to_series()
    parts = []
    if not header.all():
        lost = frame.filter(~header)[ROW]
        parts.append(errors(lost, DATASET, "not_syslog", ANOMALIES["not_syslog"]))
        frame = frame.filter(header)
    if frame.is_empty():
        return parts
    body = _groups(frame.select("rest"), "rest", _BODY)
    host_only = _groups(frame.select("rest"), "rest", _HOST_ONLY)
    tagged = body["tag"].is_not_null()
    # Without a tag, the first word is a host only behind a stamp: "<13>message" has none (RFC 3164 section 4.3.3).
    hosted = ~tagged & frame.select(stamped).to_series() & host_only["host"].is_not_null()
    frame = frame.with_columns(
        iso=instants(frame["iso"]),
        was_iso=frame["iso"].is_not_null(),
        host=pl.when(hosted).then(host_only["host"]).otherwise(body["host"]),
        app=body["tag"],
        proc=body["proc"],
        msgid=pl.lit(None, dtype=pl.String),
        message=pl.when(tagged)
        .then(body["message"].fill_null(""))
        .when(hosted)
        .then(host_only["message"])
        .otherwise(pl.col("rest")),
    )
    frame = frame.with_columns(_stamps(frame, reference_year, newer).alias("@timestamp"))
    dated = stamped
    code = _priority_code().when(dated & pl.col("@timestamp").is_null()).then(pl.lit("bad_time")).otherwise(None)
    return [*parts, _named(frame.with_columns(code.alias("error.code")))]


def _stamps(frame: pl.DataFrame, reference_year: int | None, newer: list[pl.DataFrame]) -> pl.Series:
    """Instants of RFC 3164 stamps, years filled in; see the head of this file."""
    months = {name: number for number, name in enumerate(_MONTHS, 1)}
    parts = frame.select(
        month=pl.col("month").replace_strict(months, default=None, return_dtype=pl.Int8),
        day=pl.col("day").str.strip_chars().cast(pl.Int8, strict=False),
        clock="clock",
        nanos=pl.col("fraction").fill_null("").str.pad_end(9, "0").cast(pl.Int64, strict=False),
        said=pl.coalesce("year1", "year2").cast(pl.Int32, strict=False),
    )
    clock = pl.col("clock").str.split_exact(":", 2)
    hour, minute, second = (clock.struct.field(f"field_{i}").cast(pl.Int32, strict=False) for i in range(3))
    parts = parts.with_columns(
        seconds=pl.when((hour < 24) & (minute < 60) & (second <= 60)).then(hour * 3600 + minute * 60 + second)
    )
    of_year = ((pl.col("month").cast(pl.Int64) - 1) * 31 + pl.col("day")) * 86_400 + pl.col("seconds")
    bare = parts.select(pl.when(pl.col("said").is_null()).then(of_year)).to_series()
    known = [parts["said"].max(), frame["iso"].dt.year().max(), *[p["@timestamp"].dt.year().max() for p in newer]]
    years = [int(str(year)) for year in known if year is not None]
    reference = reference_year if reference_year is not None else max(years, default=1970)
    # Turns of the year between neighbours that carry no year, counted from the end.
    dense = bare.drop_nulls()
    step = dense.diff().fill_null(0)
    turn = (step < -_HALF_YEAR_S).cast(pl.Int64) - (step > _HALF_YEAR_S).cast(pl.Int64)
    relative = turn.cum_sum()
    offset = (relative - relative.max()).cast(pl.Int32) if len(dense) else relative.cast(pl.Int32)
    place = pl.int_range(len(bare), eager=True).filter(bare.is_not_null())
    shift = pl.Series([0] * len(bare), dtype=pl.Int32)
    if len(place):
        shift = shift.scatter(place, offset)
    year = pl.coalesce(pl.col("said"), pl.lit(reference, dtype=pl.Int32) + shift)
    # Built from text: an impossible date becomes null instead of an error.
    date = pl.concat_str(
        year.cast(pl.String).str.zfill(4),
        pl.col("month").cast(pl.String).str.zfill(2),
        pl.col("day").cast(pl.String).str.zfill(2),
        separator="-",
    ).str.to_date("%Y-%m-%d", strict=False)
    inside = date.dt.year().is_between(1678, 2261)
    nanoseconds = (date.cast(pl.Int32).cast(pl.Int64) * 86_400 + pl.col("seconds")) * 1_000_000_000 + pl.col("nanos")
    bsd = parts.select(pl.when(inside).then(nanoseconds).cast(INSTANT).alias("@timestamp")).to_series()
    return pl.select(pl.coalesce(frame["iso"], bsd)).to_series()


def _groups(frame: pl.DataFrame, column: str, pattern: str) -> pl.DataFrame:
    """Add the named groups of a pattern as columns, the column itself replaced if it is among them."""
    names = [name for name in re.compile(pattern.replace("(?s)", "")).groupindex if name != column]
    found = frame[column].str.extract_groups(pattern).struct.unnest()
    return frame.with_columns(found[name] for name in found.columns if name in names or name == column)


def _nil(name: str) -> pl.Expr:
    return pl.when(pl.col(name) != "-").then(pl.col(name)).alias(name)


def _priority_code() -> pl.expr.whenthen.Then:
    return pl.when(pl.col("pri").cast(pl.Int64, strict=False) > 191).then(pl.lit("bad_priority"))


def _named(frame: pl.DataFrame) -> pl.DataFrame:
    """Our names for the parts of either format."""
    priority = pl.col("pri").cast(pl.Int64, strict=False)
    priority = pl.when(priority <= 191).then(priority)
    severity = priority % 8
    columns = [
        pl.col(ROW),
        pl.lit(DATASET).alias("event.dataset"),
        pl.when(pl.col("error.code").is_null())
        .then(pl.lit("event"))
        .otherwise(pl.lit("pipeline_error"))
        .alias("event.kind"),
        pl.col("error.code"),
        pl.col("error.code").replace_strict(ANOMALIES, default=None, return_dtype=pl.String).alias("error.message"),
        pl.col("@timestamp"),
        priority.alias("log.syslog.priority"),
        (priority // 8).alias("log.syslog.facility.code"),
        severity.alias("log.syslog.severity.code"),
        severity.replace_strict(dict(enumerate(_LEVELS)), default=None, return_dtype=pl.String).alias("log.level"),
        pl.col("host").alias("log.syslog.hostname"),
        pl.col("host").alias("host.name"),
        pl.col("app").alias("log.syslog.appname"),
        pl.col("app").alias("process.name"),
        pl.col("app").alias("event.provider"),
        pl.col("proc").alias("log.syslog.procid"),
        pl.when(pl.col("proc").str.contains(r"^\d{1,10}$"))
        .then(pl.col("proc"))
        .cast(pl.Int64, strict=False)
        .alias("process.pid"),
        pl.col("msgid").alias("log.syslog.msgid"),
        pl.col("message"),
    ]
    if "log.syslog.structured_data_json" in frame.columns:
        columns.append(pl.col("log.syslog.structured_data_json"))
    return frame.select(columns)


# Structured data (RFC 5424 section 6.3).

_SIMPLE = r'^(?:\[[^\s="\]\[\\\x00-\x1f]+(?: [^\s="\]\[\\\x00-\x1f]+="[^"\\\]\[\x00-\x1f]*")*\])+$'
_ELEMENT = re.compile(r'\[([^\s="\]]+)((?: +[^\s="\]]+="(?:[^"\\]|\\.)*")*) *\]', re.DOTALL)
_PARAMETER = re.compile(r' +([^\s="\]]+)="((?:[^"\\]|\\.)*)"', re.DOTALL)
_VALUE_ESCAPE = re.compile(r'\\(["\\\]])')


def _structured(data: pl.Series) -> pl.Series:
    """As JSON: an object of elements, each an object of parameters.

    Data without escapes are rewritten as text, column-wise; the rest is read once for each distinct value.
    """
    frame = pl.DataFrame([data.alias("d")])
    # Two elements of one id, or two parameters of one name, are legal and want a list: not simple either.
    simple = frame.select(
        (pl.col("d").str.contains(_SIMPLE) & (pl.col("d").str.count_matches("=", literal=True) <= 1)).fill_null(
            value=False
        )
        & ~pl.col("d").str.contains("][", literal=True)
    ).to_series()
    quick = (
        pl.col("d")
        .str.replace_all(r'^\[([^\s="\]]+)\]$', '{"$1":{}}')
        .str.replace_all(r'^\[([^\s="\]]+) ([^\s="\]]+)=("[^"]*")\]$', '{"$1":{"$2":$3}}')
    )
    others = data.filter(~simple & data.is_not_null() & (data != "-")).unique()
    table = {text: _read_structured(text) for text in others.to_list()}
    slow = pl.col("d").replace_strict(table, default=None, return_dtype=pl.String) if table else pl.lit(None, pl.String)
    return frame.select(pl.when(pl.lit(simple)).then(quick).otherwise(slow)).to_series()


def _read_structured(text: str) -> str:
    elements: dict[str, dict[str, str | list[str]]] = {}
    for element in _ELEMENT.finditer(text):
        parameters = elements.setdefault(element[1], {})
        for parameter in _PARAMETER.finditer(element[2]):
            value = _VALUE_ESCAPE.sub(r"\1", parameter[2])
            before = parameters.get(parameter[1])
            if before is None:
                parameters[parameter[1]] = value
            elif isinstance(before, list):
                before.append(value)
            else:
                parameters[parameter[1]] = [before, value]
    return orjson.dumps(elements).decode()


PARSER = SyslogParser()
