"""Tables to documents and back, by Polars: no document passes through Python.

A document is ECS, nested, with two members of our own: ``jianmen.time`` and, where needed, ``jianmen.nonfinite``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson
import polars as pl

from event.errors import StoreError
from event.fields import FIELDS
from event.table import REQUIRED
from store.elastic.names import document_ids
from store.elastic.templates import NONFINITE, ODD, REST, TIME

_ISO = "%Y-%m-%dT%H:%M:%S%.9fZ"
_PARSE = "%Y-%m-%dT%H:%M:%S%.fZ"
_INSTANT = pl.Datetime("ns", "UTC")
_RESTS = ("zeek.fields", "suricata.fields")

_LATER_NULL = r',"[a-z0-9_@/]+":null'
_FIRST_NULL = r'\{"[a-z0-9_@/]+":null,?'
"""Members that say nothing. Inside of a string a quotation mark is escaped, and behind one that ends a string no letter
follows, so what looks like a member is one."""
_KIND, _ROW = "\0kind", "\0row"
_ROWS_OF_A_KIND = 500
"""Rows that have to lack the same members, on average, for each kind to be written by itself."""
_MOST_FLAGS = 62
"""Columns whose nulls are told apart, in the bits of a number."""

Tree = dict[str, "Tree | None"]
"""Names by level; None is a value."""


def bodies(frame: pl.DataFrame, *, rest: bool = True) -> pl.Series:
    """Two lines of ``_bulk`` a row: the action ``create`` with its ``_id``, and the document.

    Args:
        frame: Conformed events.
        rest: Give what log sources say beyond the catalogue as an object too.
    """
    height = frame.height
    frame = frame.select([series for series in frame if series.null_count() < height])
    names = frame.columns
    exact: list[pl.Expr] = [pl.col("@timestamp").dt.epoch("ns").alias(TIME)]
    for name in names:
        field = FIELDS[name]
        if field.kind == "date":
            exact.append(_text_of(name, many=field.many))
    odd = [name for name in names if FIELDS[name].kind == "double" and _has_nonfinite(frame[name])]
    if odd:
        texts = [_numbers_as_text(name) for name in odd]
        exact.append(pl.struct(texts).alias(NONFINITE))
        exact.append(pl.any_horizontal(text.is_not_null() for text in texts).alias(ODD))
    flat = frame.with_columns(exact)
    document = pl.lit(_encoded(flat, uniform=not odd))
    objects = [name for name in _RESTS if rest and name in names and _are_objects(frame[name])]
    if objects:
        # Text that was just parsed as JSON: it cannot break out of its place; a line feed is only space in it.
        other = pl.coalesce(objects).str.replace_all("\n", " ", literal=True)
        document = (
            pl.when(other.is_not_null())
            .then(
                pl.concat_str(document.str.head(-1), pl.lit(f',"{REST}":'), other, pl.lit("}"))  # the last } moves on
            )
            .otherwise(document)
        )
    action = pl.struct(pl.struct(document_ids(frame["event.id"]).alias("_id")).alias("create")).struct.json_encode()
    return flat.select(pl.concat_str(action, document, separator="\n").alias("lines")).to_series()


def _encoded(flat: pl.DataFrame, *, uniform: bool) -> pl.Series:
    """Documents without members that say nothing, a third of a table's text.

    Rows of a table lack the same few sets of members, so each kind of rows is written without the columns that it
    lacks. Where there are many kinds, or nulls below the columns, such members are cut out of the text.

    Args:
        flat: Columns that are not null in every row, as they are to be written.
        uniform: All nulls are those of columns.
    """
    some = [series.name for series in flat if series.null_count()]
    if not some and uniform:
        return _written(flat)
    if uniform and len(some) <= _MOST_FLAGS:
        flags = [pl.col(name).is_null().cast(pl.UInt64) * (1 << bit) for bit, name in enumerate(some)]
        kinds = flat.select(pl.sum_horizontal(flags)).to_series()
        if kinds.n_unique() * _ROWS_OF_A_KIND <= flat.height:
            parts = flat.with_columns(kinds.alias(_KIND)).with_row_index(_ROW).partition_by(_KIND)
            texts = []
            for part in parts:
                lacking = [name for bit, name in enumerate(some) if part[_KIND][0] >> bit & 1]
                texts.append(_written(part.drop(_KIND, _ROW, *lacking)))
            places = pl.concat([part[_ROW] for part in parts])
            return pl.concat(texts).gather(places.arg_sort())
    return _written(flat).str.replace_all(_LATER_NULL, "").str.replace_all(_FIRST_NULL, "{")


def _written(flat: pl.DataFrame) -> pl.Series:
    """Rows as JSON, nested."""
    return flat.select(pl.struct(_nested(_tree(flat.columns))).struct.json_encode().alias("document")).to_series()


def joined(lines: pl.Series) -> bytes:
    """Lines as a request's body."""
    return (str(lines.str.join("\n").item()) + "\n").encode()


def deletions(ids: pl.Series) -> bytes:
    """A bulk body that deletes documents."""
    frame = pl.DataFrame({"_id": document_ids(ids)})
    action = pl.struct(pl.struct("_id").alias("delete")).struct.json_encode()
    return joined(frame.select(action.alias("lines")).to_series())


def _text_of(name: str, *, many: bool) -> pl.Expr:
    if many:
        return pl.col(name).list.eval(pl.element().dt.to_string(_ISO))
    return pl.col(name).dt.to_string(_ISO)


def _has_nonfinite(series: pl.Series) -> bool:
    values = series.explode(empty_as_null=True) if series.dtype == pl.List else series
    return not bool(values.drop_nulls().is_finite().all())


def _numbers_as_text(name: str) -> pl.Expr:
    column = pl.col(name)
    if FIELDS[name].many:
        finite = column.list.eval(pl.element().is_finite().fill_null(value=True)).list.all()
        return pl.when(~finite).then(column.list.eval(pl.element().cast(pl.String))).alias(name.replace(".", "/"))
    return pl.when(~column.is_finite()).then(column.cast(pl.String)).alias(name.replace(".", "/"))


def _are_objects(series: pl.Series) -> bool:
    """Whether all values are JSON objects; one that is not stays text."""
    values = series.drop_nulls()
    if values.is_empty() or not bool(values.str.contains(r"^\s*\{(?s:.*)\}\s*$").all()):
        return False
    try:
        values.str.json_decode(pl.Struct({}))
    except pl.exceptions.PolarsError:
        return False
    return True


# Names and levels.


def _tree(names: Iterable[str]) -> Tree:
    tree: Tree = {}
    for name in names:
        *parents, last = name.split(".")
        level = tree
        for parent in parents:
            below = level.setdefault(parent, {})
            assert below is not None  # no name of the catalogue is the parent of another; a test sees to it
            level = below
        level[last] = None
    return tree


def _nested(tree: Tree, prefix: str = "") -> list[pl.Expr]:
    """Structs of structs."""
    return [
        pl.col(prefix + key).alias(key) if below is None else pl.struct(_nested(below, f"{prefix}{key}.")).alias(key)
        for key, below in tree.items()
    ]


# Back.


class Decoder:
    """Turns answers of ``_search`` into tables of some columns.

    Attributes:
        columns: Names of the catalogue that a table may have.
    """

    def __init__(self, columns: Iterable[str], *, open_names: bool = False) -> None:
        """Prepare.

        Args:
            columns: Names that are wanted.
            open_names: Also every name behind an open prefix that a document turns out to have.
        """
        asked = set(columns)
        wanted = [name for name in FIELDS if name in asked or name in REQUIRED]
        wanted += sorted(name for name in asked if FIELDS.is_open(name))
        self.columns = wanted
        self._open = open_names
        dtypes: dict[str, pl.DataType] = {name: _wire_dtype(name) for name in wanted}
        doubles = [name for name in wanted if FIELDS[name].kind == "double"]
        self._odd = doubles
        if doubles:
            dtypes[NONFINITE] = pl.Struct(
                {name.replace(".", "/"): pl.List(pl.String()) if FIELDS[name].many else pl.String() for name in doubles}
            )
        source = _struct(_tree(dtypes), dtypes)
        hits = pl.List(pl.Struct({"_source": source}))
        self._dtype = pl.Struct({"pit_id": pl.String(), "hits": pl.Struct({"hits": hits})})
        self._values = [_finished(name) for name in wanted]

    def sources(self) -> list[str]:
        """What to ask for: ``_source`` of the request."""
        some = [f"{prefix}*" for prefix in FIELDS.prefixes] if self._open else []
        return [*self.columns, *some, *([NONFINITE] if self._odd else [])]

    def table(self, body: bytes) -> tuple[pl.DataFrame, int, str | None]:
        """The hits of an answer as a table, how many there were, and the point in time to ask next with.

        Columns that are null in every row are left out, the required ones excepted.

        Raises:
            StoreError: A document does not fit the catalogue.
        """
        if self._open:
            more = _open_names(body)
            if more:
                return Decoder([*self.columns, *more]).table(body)
        try:
            answer = pl.Series([body.decode()]).str.json_decode(self._dtype).struct
            pit = answer.field("pit_id").item()
            hits = answer.field("hits").struct.field("hits").explode(empty_as_null=True)
            frame = hits.struct.field("_source").to_frame("_source").select(self._values)
            frame = self._with_odd(hits, frame)
        except (pl.exceptions.PolarsError, UnicodeDecodeError) as error:
            raise StoreError(
                f"documents do not fit the field catalogue: {str(error)[:300]}",
                hint="something else writes into the same indices, or a later version of jianmen",
            ) from error
        frame = frame.filter(pl.col("event.id").is_not_null())
        height = frame.height
        nulls = frame.null_count().row(0)
        kept = [name for name, none in zip(frame.columns, nulls, strict=True) if none < height or name in REQUIRED]
        return frame.select(kept), hits.len() - hits.null_count(), pit

    def _with_odd(self, hits: pl.Series, frame: pl.DataFrame) -> pl.DataFrame:
        if not self._odd or frame.is_empty():
            return frame
        odd = hits.struct.field("_source").struct.field("jianmen").struct.field("nonfinite").struct
        changed = []
        for name in self._odd:
            text = odd.field(name.replace(".", "/"))
            if text.null_count() < len(text):
                changed.append(text.cast(FIELDS[name].dtype).fill_null(frame[name]).alias(name))
        return frame.with_columns(changed)


def _open_names(body: bytes) -> set[str]:
    """Names behind open prefixes that the documents of an answer have: the index does not hold them, so cannot tell."""
    if not any(f'"{prefix.split(".")[-2]}":{{'.encode() in body for prefix in FIELDS.prefixes):
        return set()
    found: set[str] = set()

    def walk(level: Any, name: str) -> None:
        if isinstance(level, dict):
            for key, below in level.items():
                walk(below, f"{name}.{key}")
        elif FIELDS.is_open(name):
            found.add(name)

    for hit in orjson.loads(body).get("hits", {}).get("hits", ()):
        for prefix in FIELDS.prefixes:
            level: Any = hit.get("_source")
            for key in prefix[:-1].split("."):
                level = level.get(key) if isinstance(level, dict) else None
            walk(level, prefix[:-1])
    return found


def _wire_dtype(name: str) -> pl.DataType:
    field = FIELDS[name]
    if field.kind == "date":
        return pl.List(pl.String()) if field.many else pl.String()
    return field.dtype


def _struct(tree: Mapping[str, Tree | None], dtypes: Mapping[str, pl.DataType], prefix: str = "") -> pl.DataType:
    return pl.Struct(
        {
            key: dtypes[prefix + key] if below is None else _struct(below, dtypes, f"{prefix}{key}.")
            for key, below in tree.items()
        }
    )


def _finished(name: str) -> pl.Expr:
    value = pl.col("_source")
    for key in name.split("."):
        value = value.struct.field(key)
    field = FIELDS[name]
    if field.kind == "date":
        value = value.list.eval(_instant(pl.element())) if field.many else _instant(value)
    return value.alias(name)


def _instant(text: pl.Expr) -> pl.Expr:
    return text.str.to_datetime(_PARSE, time_unit="ns", time_zone="UTC", strict=True)


def range_query(since: int | None, until: int | None) -> list[dict[str, Any]]:
    """Filter by time, ns, from inclusive to exclusive."""
    limits: dict[str, int] = {}
    if since is not None:
        limits["gte"] = since
    if until is not None:
        limits["lt"] = until
    return [{"range": {TIME: limits}}] if limits else []


def select(frame: pl.DataFrame, columns: Sequence[str]) -> pl.DataFrame:
    """Those columns of a table that it has."""
    return frame.select(name for name in frame.columns if name in columns)
