"""What the log parsers share: columns of a log to catalogue fields, the rest to JSON, lines that do not parse.

A parser says with ``Take`` which source column becomes which field. A value that does not fit the field (a port that
is no number) is not lost: its column goes to the rest, and the line is in ``event.original`` anyway.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import ip_address

import polars as pl

from event.fields import FIELDS
from event.table import concat

ROW = "_row"
"""Number of the line in its block."""
BLANK = " \t\r\ufeff"
"""Characters of which an empty line may consist."""
INSTANT = pl.Datetime("ns", "UTC")
SECOND_NS = 1_000_000_000
_MOST_SECONDS = 9_223_372_035
"""Seconds either side of 1970 that nanoseconds in 64 bits can say."""

Convert = Callable[[pl.Series], pl.Series]


@dataclass(frozen=True, slots=True)
class Take:
    """One source column that becomes a field.

    Attributes:
        field: Catalogue name.
        source: Column of the log.
        convert: From the source's column to the field's; by the field's kind if None.
        keep: The source also stays in the rest (because the field says less).
    """

    field: str
    source: str
    convert: Convert | None = None
    keep: bool = False


def map_columns(flat: pl.DataFrame, takes: Sequence[Take]) -> tuple[dict[str, pl.Series], list[pl.Series]]:
    """Apply takes to a table.

    Args:
        flat: Columns as the log names them.
        takes: In order; where two name one field, the first that has a value wins in each row.

    Returns:
        Fields by name, and the columns that are left for the rest.
    """
    fields: dict[str, pl.Series] = {}
    used: set[str] = set()
    for take in takes:
        if take.source not in flat.columns:
            continue
        source = flat[take.source]
        convert = take.convert or BY_KIND[FIELDS[take.field].kind, FIELDS[take.field].many]
        value = convert(source).alias(take.field)
        if not take.keep and value.null_count() <= source.null_count():
            used.add(take.source)
        if take.field in fields:
            first = fields[take.field]
            value = pl.select(pl.coalesce(first, value)).to_series().alias(take.field)
        fields[take.field] = value
    return fields, [series for series in flat.iter_columns() if series.name not in used]


def rest_json(columns: Sequence[pl.Series]) -> pl.Series | None:
    """One JSON object a row of what is left; nulls are left out, rows without anything are null."""
    pieces: list[pl.Expr] = []
    frame: list[pl.Series] = []
    for number, series in enumerate(columns):
        if series.null_count() == series.len():
            continue
        column = f"c{number}"
        frame.append(_json_text(series).alias(column))
        pieces.append(pl.when(pl.col(column).is_not_null()).then(pl.lit(_quoted(series.name) + ":") + pl.col(column)))
    if not pieces:
        return None
    inner = pl.concat_str(pieces, separator=",", ignore_nulls=True)
    return (
        pl.DataFrame(frame)
        .select(pl.when(inner != "").then(pl.concat_str(pl.lit("{"), inner, pl.lit("}"))).alias("rest"))
        .to_series()
    )


def _json_text(series: pl.Series) -> pl.Series:
    """Each value as JSON; null stays null, and what JSON cannot say (infinity) becomes null."""
    dtype = series.dtype
    if dtype == pl.Boolean or dtype.is_integer() or dtype == pl.Binary:
        return series.cast(pl.String)  # binary: JSON already
    if dtype.is_float():
        series = pl.select(pl.when(series.is_finite()).then(series)).to_series()
    elif dtype == pl.String and not series.str.contains(_NEEDS_ESCAPE).any():
        return pl.select(pl.concat_str(pl.lit('"'), series, pl.lit('"'))).to_series()
    frame = pl.DataFrame([series.alias("v")])
    text = pl.struct("v").struct.json_encode().str.slice(5).str.head(-1)  # {"v":...} without its frame
    return frame.select(pl.when(pl.col("v").is_not_null()).then(text)).to_series()


_NEEDS_ESCAPE = r'["\\\x00-\x1f]'


def _quoted(name: str) -> str:
    return str(_json_text(pl.Series([name])).item())


# Conversions. Each gives null where the value does not fit.


def _is_plain(series: pl.Series) -> bool:
    return not (isinstance(series.dtype, pl.List | pl.Struct) or series.dtype == pl.Binary)


def _nothing(series: pl.Series, dtype: pl.DataType) -> pl.Series:
    return pl.Series(series.name, [None] * len(series), dtype=dtype)


def keyword(series: pl.Series) -> pl.Series:
    """Text of any plain value."""
    return series.cast(pl.String) if _is_plain(series) else _nothing(series, pl.String())


def long(series: pl.Series) -> pl.Series:
    """Integers; a number with a fraction does not fit."""
    if not _is_plain(series) or series.dtype == pl.Boolean:
        return _nothing(series, pl.Int64())
    if series.dtype.is_float():
        whole = series.cast(pl.Int64, strict=False)
        return pl.select(pl.when(whole.cast(pl.Float64) == series).then(whole)).to_series()
    return series.cast(pl.Int64, strict=False)


def double(series: pl.Series) -> pl.Series:
    """Numbers."""
    if not _is_plain(series) or series.dtype == pl.Boolean:
        return _nothing(series, pl.Float64())
    return series.cast(pl.Float64, strict=False)


_TRUE = ("T", "true", "True")
_FALSE = ("F", "false", "False")


def boolean(series: pl.Series) -> pl.Series:
    """Booleans, and the words for them."""
    if series.dtype == pl.Boolean:
        return series
    text = keyword(series)
    return pl.select(
        pl.when(text.is_in(_TRUE)).then(pl.lit(value=True)).when(text.is_in(_FALSE)).then(pl.lit(value=False))
    ).to_series()


def keywords(series: pl.Series) -> pl.Series:
    """Lists of text; a plain value becomes a list of one."""
    if isinstance(series.dtype, pl.List):
        if isinstance(series.dtype.inner, pl.List | pl.Struct):
            return _nothing(series, pl.List(pl.String))
        return series.cast(pl.List(pl.String))
    text = keyword(series)
    return pl.select(pl.when(text.is_not_null()).then(pl.concat_list(text))).to_series()


def longs(series: pl.Series) -> pl.Series:
    """Lists of integers; fractions are rounded down."""
    return keywords(series).cast(pl.List(pl.Float64), strict=False).cast(pl.List(pl.Int64), strict=False)


_IPV4 = r"^(?:(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])\.){3}(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])$"


def ip(series: pl.Series) -> pl.Series:
    """Addresses, IPv6 in lower case; a zone index does not fit."""
    text = keyword(series)
    four = text.str.contains(_IPV4)
    if (four | text.is_null()).all():
        return text
    others = [one for one in text.filter(~four).unique().to_list() if one is not None and _is_ipv6(one)]
    six = text.is_in(others)
    return pl.select(pl.when(four).then(text).when(six).then(text.str.to_lowercase())).to_series()


def _is_ipv6(text: str) -> bool:
    if ":" not in text or "%" in text or len(text) > 45:
        return False
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def lower(series: pl.Series) -> pl.Series:
    """Text in lower case."""
    return keyword(series).str.to_lowercase()


def words(table: Mapping[str, str]) -> Convert:
    """Text by a table; what the table lacks does not fit."""

    def convert(series: pl.Series) -> pl.Series:
        return keyword(series).replace_strict(dict(table), default=None, return_dtype=pl.String)

    return convert


def numbers(table: Mapping[str, int]) -> Convert:
    """Numbers by a table of words."""

    def convert(series: pl.Series) -> pl.Series:
        return keyword(series).replace_strict(dict(table), default=None, return_dtype=pl.Int64)

    return convert


def seconds_to_ns(series: pl.Series) -> pl.Series:
    """A span of seconds, text or number, as integer nanoseconds (exact for text)."""
    if series.dtype == pl.String:
        return decimal_seconds(series)
    value = double(series)
    fits = value.abs() < _MOST_SECONDS
    # A float of seconds since 1970 is good to a quarter of a microsecond: rounded there, as the text would say.
    micros = (value * 1e6).round(0).cast(pl.Int64, strict=False)
    return pl.select(pl.when(fits).then(micros * 1_000)).to_series().alias(series.name)


def decimal_seconds(series: pl.Series) -> pl.Series:
    """Decimal text of seconds as integer nanoseconds, digits beyond the ninth cut off."""
    frame = pl.DataFrame([series.alias("t")])
    parts = pl.col("t").str.extract_groups(r"^(-?)(\d{1,10})(?:\.(\d*))?$")
    whole = parts.struct.field("2").cast(pl.Int64, strict=False)
    fraction = parts.struct.field("3").fill_null("").str.slice(0, 9).str.pad_end(9, "0").cast(pl.Int64, strict=False)
    size = whole * SECOND_NS + fraction
    signed = pl.when(parts.struct.field("1") == "-").then(-size).otherwise(size)
    return frame.select(pl.when(whole < _MOST_SECONDS).then(signed).alias(series.name)).to_series()


def instants(series: pl.Series) -> pl.Series:
    """RFC 3339 text (also ``+0800`` as Suricata writes it, and none for UTC) as instants.

    Years outside of 1678 to 2261 do not fit nanoseconds.
    """
    if series.dtype != pl.String:
        return _nothing(series, INSTANT)
    frame = pl.DataFrame([series.str.strip_chars().str.replace(" ", "T", literal=True).alias("t")])
    shape = r"^(?:167[89]|16[89]\d|1[7-9]\d\d|20\d\d|21\d\d|22[0-5]\d|226[01])-\d\d-\d\dT\d\d:\d\d:\d\d"
    text = pl.when(pl.col("t").str.contains(shape)).then(pl.col("t"))
    zoned = text.str.contains(r"(?:[Zz]|[+-]\d\d:?\d\d)$")
    whole = pl.when(zoned).then(text).otherwise(pl.concat_str(text, pl.lit("Z")))
    parsed = whole.str.to_uppercase().str.to_datetime(
        "%Y-%m-%dT%H:%M:%S%.f%#z", time_unit="ns", time_zone="UTC", strict=False
    )
    return frame.select(parsed.alias(series.name)).to_series()


BY_KIND: dict[tuple[str, bool], Convert] = {
    ("keyword", False): keyword,
    ("text", False): keyword,
    ("ip", False): ip,
    ("long", False): long,
    ("double", False): double,
    ("boolean", False): boolean,
    ("date", False): instants,
    ("keyword", True): keywords,
    ("long", True): longs,
}

# Putting tables together.


def finish(
    parts: Sequence[pl.DataFrame],
    lines: pl.Series,
    offsets: pl.Series,
    *,
    module: str,
    reference: datetime | None,
    before: int | None = None,
) -> list[pl.DataFrame]:
    """Make the tables of a block.

    A row whose ``@timestamp`` is null gets the time of the nearest row before it, else behind it, else the first
    instant of the year of ``reference`` (or of 1970), and the tag ``time_assumed``.

    Args:
        parts: Tables with ``_row``, ``event.dataset`` and fields; ``event.kind`` is ``event`` where absent or null.
        lines: All lines of the block, for ``event.original``.
        offsets: Their byte offsets, for ``log.offset``.
        module: ``event.module``.
        reference: See ``sensor.base.LineParser``.
        before: Time of the last row of the block before, ns; for parsers that remember it.

    Returns:
        One table a dataset, rows in order of their lines.
    """
    filled = [part for part in parts if part.height]
    if not filled:
        return []
    start = datetime(reference.year if reference is not None else 1970, 1, 1, tzinfo=UTC)
    times = pl.concat([part.select(ROW, _column(part, "@timestamp", INSTANT)) for part in filled]).sort(ROW)
    earlier = pl.lit(before, pl.Int64).cast(INSTANT)
    known = times.select(
        ROW,
        pl.coalesce(
            pl.col("@timestamp").forward_fill(),
            earlier,
            pl.col("@timestamp").backward_fill(),
            pl.lit(start).cast(INSTANT),
        ).alias("_time"),
    )
    tables: dict[str, list[pl.DataFrame]] = {}
    for part in filled:
        assumed = _column(part, "@timestamp", INSTANT).is_null()
        frame = part.with_columns(_column(part, "event.kind", pl.String()).fill_null("event").alias("event.kind"))
        if assumed.any():
            frame = frame.join(known, on=ROW, how="left", maintain_order="left").with_columns(
                pl.coalesce(_lit(frame, "@timestamp", INSTANT), pl.col("_time")).alias("@timestamp"),
                pl.when(pl.Series(assumed)).then(pl.lit(["time_assumed"])).alias("tags"),
            )
            frame = frame.drop("_time")
        frame = frame.with_columns(
            lines.gather(frame[ROW]).alias("event.original"),
            offsets.gather(frame[ROW]).cast(pl.Int64).alias("log.offset"),
            pl.lit(module).alias("event.module"),
        )
        for dataset in frame.partition_by("event.dataset", maintain_order=True):
            tables.setdefault(str(dataset["event.dataset"][0]), []).append(dataset)
    return [concat(some).sort(ROW).drop(ROW) for some in tables.values()]


def _column(part: pl.DataFrame, name: str, dtype: pl.DataType) -> pl.Series:
    return part[name] if name in part.columns else pl.Series(name, [None] * part.height, dtype=dtype)


def _lit(part: pl.DataFrame, name: str, dtype: pl.DataType) -> pl.Expr:
    return pl.col(name) if name in part.columns else pl.lit(None, dtype=dtype)


def errors(rows: pl.Series, dataset: str, code: str, message: str) -> pl.DataFrame:
    """Rows for lines that do not parse; ``finish`` adds the line and a time."""
    return pl.DataFrame(
        {
            ROW: rows,
            "event.dataset": pl.Series([dataset] * len(rows), dtype=pl.String),
            "event.kind": pl.Series(["pipeline_error"] * len(rows), dtype=pl.String),
            "error.code": pl.Series([code] * len(rows), dtype=pl.String),
            "error.message": pl.Series([message] * len(rows), dtype=pl.String),
        }
    )


def fill(part: pl.DataFrame, **constants: str) -> pl.DataFrame:
    """Add columns of one value; names with ``__`` for the dot."""
    return part.with_columns(pl.lit(value).alias(name.replace("__", ".")) for name, value in constants.items())
