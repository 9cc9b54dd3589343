"""Syslog lines: RFC 5424, and RFC 3164 in the spellings that are found in files and on the wire.

Taken: ``<PRI>`` or none (files of a local daemon), the octet count of RFC 6587 before it, stamps ``Mmm dd hh:mm:ss``
(with or without a year), RFC 3339 stamps in place of them, a missing host, tag or process id; of RFC 5424 any nil
part, escapes in structured data, the BOM. A line with neither priority nor stamp is ``not_syslog``.

Years. RFC 3164 stamps carry none. Lines are in order of arrival: where one is later in the year than the next by more
than six months, the year has turned between them (December before January); where one is earlier than the next by
more than eleven months, the next is a straggler of December and belongs to the old year. Turns are followed from block
to block. The latest stamp belongs to the last year in which it is not after the moment when the log was written, give
or take a day for its unknown zone. Which stamp that is shows a survey of the whole input; where there was none (a pipe
cannot be read twice), the first block has to tell. Without that moment, the end of the latest year that a line did
carry takes its place, else that of 1970.

Zones. RFC 3164 stamps carry none either; they are read as UTC.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import orjson
import polars as pl

from sensor.lines import INSTANT, ROW, SECOND_NS, errors, finish, instants

DATASET = "syslog"
ANOMALIES = {
    "not_syslog": "The line has neither a priority nor a time stamp",
    "bad_priority": "The priority is above 191",
    "bad_time": "The stamp names no instant, such as 30 February",
    "bad_structured_data": "The structured data do not end, or not as RFC 5424 section 6.3 wants",
}
"""Code to what was violated."""

_COUNT = r"^\d{1,8} <"
_IS_RFC5424 = r"^<\d{1,3}>[1-9]\d{0,2} (?:-|\d{4}-\d\d-\d\d[Tt]\S*)(?: |$)"
_DATA = r'(?s)^(?P<data>-|(?:\[[^\s="\]]+(?: +[^\s="\]]+="(?:[^"\\]|\\.)*")* *\])+)(?: (?P<message>.*))?$'
_SIMPLE_ELEMENT = r'\[[^\s="\]\[\\\x00-\x1f]+(?: [^\s="\]\[\\\x00-\x1f]+="[^"\\\]\[\x00-\x1f]*")*\]'
"""Without escapes and brackets inside: the usual case, for which cutting at the first ``] `` is right."""
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MONTH = "|".join(_MONTHS)
_QUICK = (
    r"^(?:<\d{1,3}>)?(?:" + _MONTH + r") [ 0-3]\d \d\d:\d\d:\d\d [A-Za-z0-9_.:-]*[A-Za-z0-9_.-] "
    r"[^\s\[\]:]+(?:\[[^\[\]\s]+\])?: "
)
"""The usual RFC 3164 line, whole up to its message; its parts stand at fixed places and between fixed marks."""
_BEFORE_STAMP = "<>0123456789: *.\t"
"""Characters before a stamp: priority, counts, and marks of routers."""
_START = r"(?s)^(?:<(?P<pri>\d{1,3})>)?\s?"
_STAMP = (
    r"(?:\d{1,10}: )?[*.]?"
    r"(?P<month>" + _MONTH + r") (?P<day>[ 0-3]?\d)(?: (?P<year1>\d{4}))? "
    r"(?P<clock>\d\d:\d\d:\d\d)(?:\.(?P<fraction>\d{1,9}))?(?: (?P<year2>(?:19|20)\d\d))?:?(?: |$)"
)
_RFC3164 = (
    _START
    + "(?:"
    + _STAMP
    + r"|(?P<iso>\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:[Zz]|[+-]\d\d:?\d\d)?):?(?: |$))?"
    r"(?P<rest>.*)$"
)
_BODY = (
    r"(?s)^(?:(?P<host>[A-Za-z0-9_.:-]*[A-Za-z0-9_.-]) )?"
    r"(?P<tag>[^\s\[\]:]+)(?:\[(?P<proc>[^\[\]\s]+)\])?:(?: (?P<message>.*)|(?P<empty>))$"
)
_HOST_ONLY = r"(?s)^(?P<host>[A-Za-z0-9_.:-]+) (?P<message>.*)$"
_PARTS = ("pri", "month", "day", "year1", "year2", "clock", "fraction", "iso", "host", "app", "proc", "message")

_LEVELS = ["emergency", "alert", "critical", "error", "warning", "notice", "informational", "debug"]
_HALF_YEAR = 183  # days
_ELEVEN_MONTHS = 335


@dataclass(slots=True)
class _Years:
    """Which years the stamps of one input belong to that carry none.

    Attributes:
        first: Year of the first stamp, once it is known.
        last: Day of the last stamp, see ``_days``.
        turns: Years from the first stamp to the last.
        most: Years from the first stamp to the latest.
        latest: Day of the latest stamp.
        said: Latest year that a line carried.
    """

    first: int | None = None
    last: int | None = None
    turns: int = 0
    most: int = 0
    latest: int = 0
    said: int | None = None

    def follow(self, days: pl.Series) -> pl.Series:
        """Count the turns of the year along the next stamps.

        Args:
            days: See ``_days``; none is null.

        Returns:
            Years from the first stamp to each.
        """
        if days.is_empty():
            return days
        before = pl.Series([days[0] if self.last is None else self.last], dtype=pl.Int64)
        step = days - pl.concat([before, days]).head(len(days))
        turn = (step < -_HALF_YEAR).cast(pl.Int64) - (step > _ELEVEN_MONTHS).cast(pl.Int64)
        years = turn.cum_sum() + self.turns
        most = int(str(years.max()))
        latest = int(str(days.filter(years == most).max()))
        if self.last is None or most > self.most:
            self.most, self.latest = most, latest
        elif most == self.most:
            self.latest = max(self.latest, latest)
        self.last, self.turns = int(days[-1]), int(years[-1])
        return years

    def fix(self, reference: datetime | None) -> int:
        """Settle the year of the first stamp by what was followed so far; see the head of this file."""
        if self.first is None:
            if reference is None:
                self.first = (1970 if self.said is None else self.said) - self.most
            else:
                end = reference.astimezone(UTC) + timedelta(days=1)
                self.first = end.year - self.most - (self.latest > (end.month - 1) * 31 + end.day)
        return self.first


@dataclass(slots=True)
class SyslogParser:
    """Follows years and the time of the last line from block to block; offset 0 begins a new input.

    Attributes:
        first_year: Year of the input's first stamp that carries none, if a survey found it.
    """

    name: str = "syslog"
    first_year: int | None = None
    _years: _Years = field(default_factory=_Years)
    _time: int | None = None

    def survey(self, blocks: Iterable[pl.Series], reference: datetime) -> SyslogParser:
        """Make a parser for an input whose lines are given here once before; see ``sensor.base.SurveyingParser``."""
        years = _Years()
        for lines in blocks:
            # Only days matter, so of neighbours of one day one is enough: the pattern is slow on all lines.
            day = lines.str.strip_chars_start(_BEFORE_STAMP).str.slice(0, 6)
            some = pl.DataFrame([lines.filter((day != day.shift(1)).fill_null(True)).alias("line")])
            some = some.select(pl.col("line").str.replace(_COUNT, "<"))
            years.follow(_days(_groups(some, "line", _START + _STAMP)).drop_nulls())
        return SyslogParser(first_year=None if years.last is None else years.fix(reference))

    def parse(self, lines: pl.Series, offsets: pl.Series, *, reference: datetime | None) -> list[pl.DataFrame]:
        """Turn lines into tables; see ``sensor.base.LineParser``."""
        if lines.is_empty():
            return []
        if offsets[0] == 0:
            self._years, self._time = _Years(first=self.first_year), None
        text = lines.fill_null("").str.strip_chars_end("\r\n\0").alias("line")
        rows = pl.int_range(len(text), dtype=pl.Int64, eager=True).alias(ROW)
        filled = text.str.strip_chars(" \t\ufeff") != ""
        frame = pl.DataFrame([rows, text]).filter(filled)
        counted = frame["line"].str.contains(_COUNT)
        if counted.any():  # octet counting of RFC 6587
            frame = frame.with_columns(pl.col("line").str.replace(r"^\d{1,8} ", ""))
        new = frame["line"].str.contains(_IS_RFC5424)
        parts = _new(frame.filter(new)) if new.any() else []
        for part in parts:
            self._said(part["@timestamp"].dt.year())
        parts += self._old(frame.filter(~new), reference)
        tables = finish(parts, lines.fill_null(""), offsets, module="syslog", reference=reference, before=self._time)
        if tables:
            self._time = int(tables[0]["@timestamp"].to_physical()[-1])
        return tables

    def _said(self, years: pl.Series) -> None:
        latest = years.max()
        if latest is not None:
            self._years.said = max(self._years.said or 0, int(str(latest)))

    def _old(self, frame: pl.DataFrame, reference: datetime | None) -> list[pl.DataFrame]:
        """RFC 3164 and its kin."""
        if frame.is_empty():
            return []
        usual = frame["line"].str.contains(_QUICK)
        tables = []
        parts: list[pl.DataFrame] = []
        if usual.any():
            tables.append(_usual(frame.filter(usual)))
        if not usual.all():
            odd = _groups(frame.filter(~usual), "line", _RFC3164)
            header = odd.select(pl.any_horizontal(pl.col("month", "iso", "pri").is_not_null())).to_series()
            if not header.all():
                lost = odd.filter(~header)[ROW]
                parts.append(errors(lost, DATASET, "not_syslog", ANOMALIES["not_syslog"]))
            if header.any():
                tables.append(_unusual(odd.filter(header)))
        if not tables:
            return parts
        frame = pl.concat(tables).sort(ROW)
        stamped = pl.col("month").is_not_null() | pl.col("iso").is_not_null()
        frame = frame.with_columns(self._stamps(frame, reference).alias("@timestamp"))
        code = (
            pl.when(_bad_priority())
            .then(pl.lit("bad_priority"))
            .when(stamped & pl.col("@timestamp").is_null())
            .then(pl.lit("bad_time"))
        )
        return [
            *parts,
            _named(frame.with_columns(code.alias("error.code"), pl.lit(None, dtype=pl.String).alias("msgid"))),
        ]

    def _stamps(self, frame: pl.DataFrame, reference: datetime | None) -> pl.Series:
        """Instants of RFC 3164 stamps, years filled in; see the head of this file."""
        stamped = instants(frame["iso"])
        said = frame.select(pl.coalesce("year1", "year2").cast(pl.Int32, strict=False)).to_series()
        self._said(stamped.dt.year())
        self._said(said)
        days = _days(frame)
        stamps = days.is_not_null()
        turns = self._years.follow(days.filter(stamps))
        year = pl.Series([None], dtype=pl.Int64).new_from_index(0, len(frame))
        if len(turns):
            year = year.scatter(stamps.arg_true(), turns + self._years.fix(reference))
        # Built from text: an impossible date becomes null instead of an error.
        date = pl.concat_str(
            pl.coalesce(said, year).cast(pl.String).str.zfill(4),
            _month().cast(pl.String).str.zfill(2),
            pl.col("day").str.strip_chars().str.zfill(2),
            separator="-",
        ).str.to_date("%Y-%m-%d", strict=False)
        inside = date.dt.year().is_between(1678, 2261)
        nanos = pl.col("fraction").fill_null("").str.pad_end(9, "0").cast(pl.Int64, strict=False)
        seconds = date.cast(pl.Int32).cast(pl.Int64) * 86_400 + _second_of_day()
        bsd = frame.select(pl.when(inside).then(seconds * SECOND_NS + nanos).cast(INSTANT).alias("@timestamp"))
        return pl.select(pl.coalesce(stamped, bsd.to_series())).to_series()


def _new(frame: pl.DataFrame) -> list[pl.DataFrame]:
    """RFC 5424."""
    cut = frame["line"].str.splitn(" ", 7).struct.unnest()
    frame = frame.select(ROW).with_columns(
        pri=cut["field_0"].str.extract(r"^<(\d{1,3})>", 1),
        time=cut["field_1"],
        host=cut["field_2"],
        app=cut["field_3"],
        proc=cut["field_4"],
        msgid=cut["field_5"],
        rest=cut["field_6"].fill_null("-"),
    )
    data, message, split = _data_and_message(frame["rest"])
    frame = frame.with_columns(
        instants(frame["time"]).alias("@timestamp"),
        message.str.strip_prefix("\ufeff").alias("message"),
        _structured(data).alias("log.syslog.structured_data_json"),
        *[
            pl.when(~pl.col(name).is_in(["-", ""])).then(pl.col(name)).alias(name)
            for name in ("time", "host", "app", "proc", "msgid")
        ],
    )
    code = (
        pl.when(_bad_priority())
        .then(pl.lit("bad_priority"))
        .when(~split)
        .then(pl.lit("bad_structured_data"))
        .when(pl.col("@timestamp").is_null() & pl.col("time").is_not_null())
        .then(pl.lit("bad_time"))
    )
    return [_named(frame.with_columns(code.alias("error.code")))]


def _data_and_message(rest: pl.Series) -> tuple[pl.Series, pl.Series, pl.Series]:
    """Structured data (null if nil), message, and whether the two could be told apart."""
    frame = pl.DataFrame([rest.alias("rest")])
    nil = (pl.col("rest") == "-") | pl.col("rest").str.starts_with("- ")
    simple = pl.col("rest").str.contains(r"^(?:" + _SIMPLE_ELEMENT + r")+(?: |$)")
    cut = pl.col("rest").str.splitn("] ", 2)
    tail = cut.struct.field("field_1")
    frame = frame.with_columns(
        data=pl.when(simple).then(
            pl.when(tail.is_null()).then(pl.col("rest")).otherwise(cut.struct.field("field_0") + "]")
        ),
        message=pl.when(nil & (pl.col("rest") != "-")).then(pl.col("rest").str.slice(2)).when(simple).then(tail),
        split=nil | simple,
    )
    if frame["split"].all():
        return frame["data"], frame["message"], frame["split"]
    odd = _groups(frame.select("rest"), "rest", _DATA)
    told = odd["data"].is_not_null()
    frame = frame.with_columns(
        data=pl.when("split").then("data").otherwise(odd["data"]),
        message=pl.when("split").then("message").when(told).then(odd["message"]).otherwise("rest"),
        split=pl.col("split") | told,
    )
    return frame["data"], frame["message"], frame["split"]


def _usual(frame: pl.DataFrame) -> pl.DataFrame:
    """Lines that ``_QUICK`` fits: cut at fixed places and marks, which is much faster than pattern groups."""
    line = pl.col("line")
    marked = line.str.starts_with("<")
    cut = line.str.splitn(">", 2)
    frame = frame.select(
        ROW,
        pri=pl.when(marked).then(cut.struct.field("field_0").str.slice(1)),
        after=pl.when(marked).then(cut.struct.field("field_1")).otherwise(line),
    )
    after = pl.col("after")
    frame = frame.with_columns(
        month=after.str.slice(0, 3),
        day=after.str.slice(4, 2),
        clock=after.str.slice(7, 8),
        body=after.str.slice(16).str.splitn(" ", 2),
    )
    head = pl.col("body").struct.field("field_1").str.splitn(": ", 2)
    tag = head.struct.field("field_0").str.splitn("[", 2)
    nothing = pl.lit(None, dtype=pl.String)
    return frame.with_columns(
        host=pl.col("body").struct.field("field_0"),
        app=tag.struct.field("field_0"),
        proc=tag.struct.field("field_1").str.strip_suffix("]"),
        message=head.struct.field("field_1"),
        year1=nothing,
        year2=nothing,
        fraction=nothing,
        iso=nothing,
    ).select(ROW, *_PARTS)


def _unusual(frame: pl.DataFrame) -> pl.DataFrame:
    """Lines with parts missing or other stamps, by pattern groups."""
    stamped = pl.col("month").is_not_null() | pl.col("iso").is_not_null()
    body = _groups(frame.select("rest"), "rest", _BODY)
    host_only = _groups(frame.select("rest"), "rest", _HOST_ONLY)
    tagged = body["tag"].is_not_null()
    # Without a tag, the first word is a host only behind a stamp: "<13>message" has none (RFC 3164 section 4.3.3).
    hosted = ~tagged & frame.select(stamped).to_series() & host_only["host"].is_not_null()
    return frame.with_columns(
        host=pl.when(hosted).then(host_only["host"]).otherwise(body["host"]),
        app=body["tag"],
        proc=body["proc"],
        message=pl.when(tagged)
        .then(body["message"].fill_null(""))
        .when(hosted)
        .then(host_only["message"])
        .otherwise(pl.col("rest")),
    ).select(ROW, *_PARTS)


def _month() -> pl.Expr:
    return pl.col("month").replace_strict(
        {name: number for number, name in enumerate(_MONTHS, 1)}, default=None, return_dtype=pl.Int64
    )


def _second_of_day() -> pl.Expr:
    clock = pl.col("clock").str.split_exact(":", 2)
    hour, minute, second = (clock.struct.field(f"field_{i}").cast(pl.Int64, strict=False) for i in range(3))
    return pl.when((hour < 24) & (minute < 60) & (second <= 60)).then(hour * 3600 + minute * 60 + second)


def _days(parts: pl.DataFrame) -> pl.Series:
    """Days since the beginning of the year as if each month had 31 of them; null without a stamp."""
    day = pl.col("day").str.strip_chars().cast(pl.Int64, strict=False)
    return parts.select((_month() - 1) * 31 + day).to_series()


def _groups(frame: pl.DataFrame, column: str, pattern: str) -> pl.DataFrame:
    """Add the named groups of a pattern as columns, the column itself replaced if it is among them."""
    names = [name for name in re.compile(pattern.replace("(?s)", "")).groupindex if name != column]
    found = frame[column].str.extract_groups(pattern).struct.unnest()
    return frame.with_columns(found[name] for name in found.columns if name in names or name == column)


def _bad_priority() -> pl.Expr:
    return (pl.col("pri").cast(pl.Int64, strict=False) > 191).fill_null(value=False)


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

_ELEMENT = re.compile(r'\[([^\s="\]]+)((?: +[^\s="\]]+="(?:[^"\\]|\\.)*")*) *\]', re.DOTALL)
_PARAMETER = re.compile(r' +([^\s="\]]+)="((?:[^"\\]|\\.)*)"', re.DOTALL)
_VALUE_ESCAPE = re.compile(r'\\(["\\\]])')


def _structured(data: pl.Series) -> pl.Series:
    """As JSON: an object of elements, each an object of parameters.

    One element without escapes is rewritten as text, column-wise; anything else is read once for each distinct value.
    """
    frame = pl.DataFrame([data.alias("d")])
    names = pl.col("d").str.extract_all(r' [^\s="\]\[]+="')
    # Two parameters of one name are legal and want a list.
    simple = frame.select(
        (pl.col("d").str.contains("^" + _SIMPLE_ELEMENT + "$") & (names.list.n_unique() == names.list.len())).fill_null(
            value=False
        )
    ).to_series()
    # \x01 cannot be in simple data: it marks where an element's name or a parameter ended.
    quick = (
        pl.col("d")
        .str.replace_all(r' ([^\s="\]\[]+)=("[^"]*")', '\x01"$1":$2')
        .str.replace(r"^\[([^\x01\]]+)\x01", '{"$1":{')
        .str.replace(r"^\[([^\x01\]]+)\]$", '{"$1":{]')
        .str.replace_all("\x01", ",", literal=True)
        .str.replace(r"\]$", "}}")
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
