r"""The language of ``events search --where``: one line of text to a predicate over event tables.

::

    modbus.function_code in (5, 6, 15, 16) and source.ip == "10.0.0.5" and not modbus.matched

    expression   a and b · a or b · not a · (a)          ``not`` binds tightest, then ``and``
    test         FIELD == != < <= > >= VALUE
                 FIELD in (VALUE, ...)
                 FIELD contains startswith endswith VALUE    strings, by case
                 FIELD matches PATTERN                   RE2 pattern anywhere in the value; (?i) ignores case
                 FIELD cidr NETWORK                      addresses; in a list with ``cidr (A, B)``
                 FIELD exists · FIELD missing            also ``exists FIELD`` and ``exists(FIELD)``
                 FIELD                                   a boolean field that is true
                 FIELD not in ... · FIELD not contains ...
    value        "text" or 'text' with \" \\ \n \t \r \xNN \uNNNN · 12 · -1.5 · 0x1f · true · false
                 a word without blanks, quotes, commas, brackets and comparison signs may stand bare: 10.0.0.5
    instant      2026-03-01 · 2026-03-01T10:00:00Z · 2026-03-01T18:00:00.123456789+08:00 (UTC if no offset)

A test asks whether a value is there and fits; of a list column, whether any element does. A test of an absent
field is false, so ``not FIELD == x`` holds where the field is absent and ``FIELD != x`` does not. There are only
these two truth values, which is also how Elasticsearch sees it.

``syntax`` gives the tree (for other stores to translate), ``parse`` the Polars predicate. Nothing is evaluated as
code; length, depth and list sizes are bounded; patterns run in linear time.
"""

from __future__ import annotations

import difflib
import math
import re
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Literal, get_args

import polars as pl
import re2

from event.errors import UserError
from event.fields import FIELDS, Field

Operator = Literal[
    "==", "!=", "<", "<=", ">", ">=", "in", "contains", "startswith", "endswith", "matches", "cidr", "exists"
]
Value = str | int | float | bool | datetime
"""What a test compares with: an integer of nanoseconds since the epoch for dates (kept exact)."""

MAX_TEXT = 65_536
MAX_DEPTH = 64
MAX_VALUES = 10_000


@dataclass(frozen=True, slots=True)
class Test:
    """One question about one field.

    Attributes:
        field: The field asked.
        operator: What is asked.
        values: One value; any number for ``in`` and ``cidr``; none for ``exists``. Typed as the field is: str, int,
            float, bool, and for dates an int of nanoseconds since the epoch.
    """

    field: Field
    operator: Operator
    values: tuple[Value, ...] = ()


@dataclass(frozen=True, slots=True)
class Not:
    """The opposite."""

    part: Node


@dataclass(frozen=True, slots=True)
class And:
    """All of two or more."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """Any of two or more."""

    parts: tuple[Node, ...]


Node = Test | Not | And | Or


def parse(text: str) -> pl.Expr:
    """Turn an expression into a predicate that is never null.

    Raises:
        UserError: It is not an expression; says where and what would be.
    """
    return to_polars(syntax(text))


def syntax(text: str) -> Node:
    """Turn an expression into its tree.

    Raises:
        UserError: It is not an expression; says where and what would be.
    """
    if len(text) > MAX_TEXT:
        raise UserError(f"the expression has {len(text)} characters, {MAX_TEXT} are allowed", where="--where")
    surrogate = re.search("[\ud800-\udfff]", text)  # bytes of a terminal that are not UTF-8 come as these
    if surrogate is not None:
        raise _error("the expression is not text", surrogate.start() + 1, "type it in UTF-8")
    return _Parser(text).whole()


# Tokens.

_TOKEN = re.compile(
    r"""(?P<blank>\s+)
    |(?P<sign>==|!=|<=|>=|<|>|=|\(|\)|,)
    |(?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
    |(?P<word>[^\s()<>=!,"']+)""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(r"\\(x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}|.)", re.DOTALL)
_PLAIN_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", '"': '"', "'": "'", "0": "\0"}
_WORDS = ("and", "or", "not", "in", "contains", "startswith", "endswith", "matches", "cidr", "exists", "missing")
_COMPARISONS = ("==", "!=", "<", "<=", ">", ">=")


@dataclass(frozen=True, slots=True)
class _Token:
    kind: Literal["sign", "text", "word", "end"]
    text: str
    position: int
    """From 1."""

    @property
    def keyword(self) -> str:
        """The keyword that this is, or nothing."""
        lower = self.text.lower()
        return lower if self.kind == "word" and lower in _WORDS else ""


def _error(what: str, position: int, hint: str | None = None) -> UserError:
    return UserError(what, where=f"--where, character {position}", hint=hint)


def _tokens(text: str) -> list[_Token]:
    tokens: list[_Token] = []
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            if text[at] in "\"'":
                raise _error("the quoted text does not end", at + 1, f"close it with {text[at]}")
            raise _error(f"unexpected {text[at]!r}", at + 1, "not equal is written !=")
        if match.lastgroup == "text":
            tokens.append(_Token("text", _unquoted(match[0], at + 1), at + 1))
        elif match.lastgroup == "sign":
            tokens.append(_Token("sign", "==" if match[0] == "=" else match[0], at + 1))
        elif match.lastgroup == "word":
            tokens.append(_Token("word", match[0], at + 1))
        at = match.end()
    tokens.append(_Token("end", "", len(text) + 1))
    return tokens


def _unquoted(quoted: str, position: int) -> str:
    def one(match: re.Match[str]) -> str:
        code = match[1]
        if code[0] in "xu" and len(code) > 1:
            return chr(int(code[1:], 16))
        if code not in _PLAIN_ESCAPES:
            raise _error(
                f"unknown escape \\{code}", position + 1 + match.start(), 'known: \\" \\\\ \\n \\t \\r \\xNN \\uNNNN'
            )
        return _PLAIN_ESCAPES[code]

    text = _ESCAPE.sub(one, quoted[1:-1])
    if any("\ud800" <= c <= "\udfff" for c in text):
        raise _error("half a surrogate pair is not text", position)
    return text


# Grammar.


class _Parser:
    """Recursive descent, one method a rule."""

    def __init__(self, text: str) -> None:
        self._tokens = _tokens(text)
        self._at = 0
        self._depth = 0

    @property
    def _next(self) -> _Token:
        return self._tokens[self._at]

    def _take(self) -> _Token:
        token = self._next
        if token.kind != "end":
            self._at += 1
        return token

    def _accept(self, text: str) -> bool:
        token = self._next
        if token.keyword == text or (token.kind == "sign" and token.text == text):
            self._at += 1
            return True
        return False

    def _expect(self, sign: str, after: str) -> None:
        token = self._next
        if not self._accept(sign):
            raise _error(f"expected {sign} after {after}, found {_shown(token)}", token.position)

    def whole(self) -> Node:
        node = self._or()
        token = self._next
        if token.kind != "end":
            raise _error(f"unexpected {_shown(token)}", token.position, "join tests with and, or; group them with ( )")
        return node

    def _or(self) -> Node:
        parts = [self._and()]
        while self._accept("or"):
            parts.append(self._and())
        return parts[0] if len(parts) == 1 else Or(tuple(parts))

    def _and(self) -> Node:
        parts = [self._not()]
        while self._accept("and"):
            parts.append(self._not())
        return parts[0] if len(parts) == 1 else And(tuple(parts))

    def _not(self) -> Node:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise _error(f"nested deeper than {MAX_DEPTH}", self._next.position)
        try:
            if self._accept("not"):
                return Not(self._not())
            if self._accept("("):
                node = self._or()
                self._expect(")", "the group")
                return node
            return self._test()
        finally:
            self._depth -= 1

    def _test(self) -> Node:
        for word in ("exists", "missing"):
            if self._next.keyword == word:
                self._take()
                bracket = self._accept("(")
                test = Test(self._field(), "exists")
                if bracket:
                    self._expect(")", "the field")
                return test if word == "exists" else Not(test)
        place = self._next.position
        field = self._field()
        if self._accept("exists"):
            return Test(field, "exists")
        if self._accept("missing"):
            return Not(Test(field, "exists"))
        if self._next.keyword == "not":
            self._take()
            token = self._next
            if token.keyword not in ("in", "contains", "startswith", "endswith", "matches", "cidr"):
                raise _error(f"expected in, contains, ... after not, found {_shown(token)}", token.position)
            return Not(self._comparison(field))
        token = self._next
        if token.keyword in get_args(Operator) or (token.kind == "sign" and token.text in _COMPARISONS):
            return self._comparison(field)
        if token.kind in ("text", "word") and not token.keyword:
            raise _error(
                f"expected an operator after {field.name}, found {_shown(token)}",
                token.position,
                "known: == != < <= > >= in contains startswith endswith matches cidr exists missing",
            )
        if field.kind != "boolean":
            raise _error(
                f"{field.name} alone is no test: it is a {field.kind}, not a boolean",
                place,
                f"write a comparison, or: exists {field.name}",
            )
        return Test(field, "==", (True,))

    def _field(self) -> Field:
        token = self._take()
        if token.kind != "word" or token.keyword:
            raise _error(f"expected a field, found {_shown(token)}", token.position, "such as source.ip")
        field: Field | None = FIELDS.get(token.text)
        if field is None:
            raise _error(f"no such field: {token.text}", token.position, _nearest(token.text))
        return field

    def _comparison(self, field: Field) -> Test:
        token = self._take()
        operator: Operator = next(o for o in get_args(Operator) if o == token.text.lower())
        allowed = _allowed(field)
        if operator not in allowed:
            raise _error(
                f"{operator} does not fit {field.name}, which is a {field.kind}",
                token.position,
                f"fitting: {' '.join(allowed)}",
            )
        values: list[Value] = []
        if operator == "in" or (operator == "cidr" and self._next.text == "(" and self._next.kind == "sign"):
            self._expect("(", operator)
            values.append(self._value(field, operator))
            while self._accept(","):
                values.append(self._value(field, operator))
                if len(values) > MAX_VALUES:
                    raise _error(f"more than {MAX_VALUES} values", self._next.position)
            self._expect(")", "the values")
        else:
            values.append(self._value(field, operator))
        return Test(field, operator, tuple(values))

    def _value(self, field: Field, operator: Operator) -> Value:
        token = self._take()
        if token.kind not in ("word", "text") or token.keyword:
            raise _error(f"expected a value, found {_shown(token)}", token.position, "keywords as values want quotes")
        if operator == "matches":
            return _pattern(token)
        if operator == "cidr":
            return _network(token)
        return _typed(field, token)


def _shown(token: _Token) -> str:
    return "the end" if token.kind == "end" else repr(token.text)


def _nearest(name: str) -> str:
    lower = name.lower()
    near = difflib.get_close_matches(lower, FIELDS, n=5, cutoff=0.6)
    last = lower.rsplit(".", 1)[-1]
    near += [known for known in FIELDS if known.rsplit(".", 1)[-1] == last and known not in near]
    near += [known for known in FIELDS if known.startswith(lower + ".") and known not in near]
    return f"nearest: {', '.join(near[:6])}" if near else "jianmen events fields lists the names that exist"


def _allowed(field: Field) -> tuple[Operator, ...]:
    """Operators that fit a field."""
    if field.kind == "boolean":
        return ("==", "!=", "in", "exists")
    if field.kind in ("long", "double", "date"):
        return ("==", "!=", "<", "<=", ">", ">=", "in", "exists")
    strings: tuple[Operator, ...] = ("==", "!=", "in", "contains", "startswith", "endswith", "matches", "exists")
    return (*strings, "cidr") if field.kind == "ip" else (*strings, "<", "<=", ">", ">=")


def _pattern(token: _Token) -> str:
    try:
        _compiled(token.text)
    except re2.error as error:
        reason = error.args[0] if error.args else ""
        reason = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        raise _error(
            f"not a pattern: {reason}", token.position, "RE2 syntax: no look-around, no back-references"
        ) from error
    return token.text


def _compiled(pattern: str) -> re2._Regexp[str]:
    options = re2.Options()
    options.log_errors = False
    options.never_capture = True
    options.max_mem = 16 << 20
    return re2.compile(pattern, options)


def _network(token: _Token) -> str:
    try:
        return str(ip_network(token.text, strict=False))
    except ValueError:
        raise _error(f"not a network: {token.text!r}", token.position, "such as 10.0.0.0/8 or fd00::/8") from None


_INTEGER = re.compile(r"[+-]?(?:\d+|0[xX][0-9A-Fa-f]+)")
_INSTANT = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d(?::\d\d)?)(?:\.(\d{1,9}))?)?\s*(Z|z|[+-]\d\d:?\d\d)?", re.ASCII
)


def _typed(field: Field, token: _Token) -> Value:
    text = token.text
    if field.kind == "boolean":
        if text.lower() in ("true", "false"):
            return text.lower() == "true"
        raise _error(f"{field.name} is a boolean, not {text!r}", token.position, "known: true, false")
    if field.kind == "date":
        return _nanoseconds(field, token)
    if field.kind not in ("long", "double"):
        return text
    try:
        if _INTEGER.fullmatch(text):
            number = int(text, 0) if "x" in text.lower() else int(text)
            if -(1 << 63) <= number < 1 << 63:
                return number
            raise _error(f"{text} does not fit 64 bits", token.position)
        real = float(text)
    except ValueError:
        raise _error(f"{field.name} is a number, not {text!r}", token.position) from None
    if not math.isfinite(real):
        raise _error(f"{field.name} is a number, not {text!r}", token.position)
    return real


def _nanoseconds(field: Field, token: _Token) -> int:
    match = _INSTANT.fullmatch(token.text)
    moment: datetime | None = None
    if match is not None:
        date, time, _, zone = match.groups()
        try:
            moment = datetime.fromisoformat(f"{date}T{time or '00:00'}{(zone or 'Z').upper()}").astimezone(UTC)
        except (ValueError, OverflowError):
            moment = None
    if match is None or moment is None:
        raise _error(
            f"{field.name} is an instant, not {token.text!r}",
            token.position,
            'such as 2026-03-01, 2026-03-01T10:00:00Z or "2026-03-01 18:00:00+08:00"',
        )
    span = moment - datetime(1970, 1, 1, tzinfo=UTC)
    exact = (span.days * 86_400 + span.seconds) * 1_000_000_000 + int((match[3] or "0").ljust(9, "0"))
    if not -(1 << 63) <= exact < 1 << 63:
        raise _error(f"{token.text} lies outside of 1677 to 2262", token.position)
    return exact


# To Polars.


_TREES: dict[int, tuple[weakref.ref[pl.Expr], Node]] = {}
"""What expressions were made of, as long as they live."""


def to_polars(node: Node) -> pl.Expr:
    """Translate a tree into a predicate that is never null; ``tree_of`` finds the tree again."""
    expression = _translated(node)
    key = id(expression)
    _TREES[key] = (weakref.ref(expression, lambda _: _TREES.pop(key, None)), node)
    return expression


def tree_of(expression: pl.Expr) -> Node | None:
    """The tree that an expression was made of; None if it was made otherwise."""
    found = _TREES.get(id(expression))
    return found[1] if found is not None and found[0]() is expression else None


def _translated(node: Node) -> pl.Expr:
    if isinstance(node, And):
        return pl.all_horizontal([_translated(part) for part in node.parts])
    if isinstance(node, Or):
        return pl.any_horizontal([_translated(part) for part in node.parts])
    if isinstance(node, Not):
        return ~_translated(node.part)
    column = pl.col(node.field.name)
    if node.operator == "exists":
        there = column.is_not_null()
        return there & (column.list.len() > 0).fill_null(value=False) if node.field.many else there
    if node.field.many:
        return column.list.eval(_question(node, pl.element())).list.any().fill_null(value=False)
    return _question(node, column).fill_null(value=False)


def _question(test: Test, value: pl.Expr) -> pl.Expr:
    """The test of one value; null where the value is."""
    literals = [_literal(test.field, one) for one in test.values]
    first = literals[0]
    match test.operator:
        case "==":
            return value == first
        case "!=":
            return value != first
        case "<":
            return value < first
        case "<=":
            return value <= first
        case ">":
            return value > first
        case ">=":
            return value >= first
        case "contains":
            return value.str.contains(str(test.values[0]), literal=True)
        case "startswith":
            return value.str.starts_with(str(test.values[0]))
        case "endswith":
            return value.str.ends_with(str(test.values[0]))
        case "matches":
            return _on_distinct(value, _matcher(str(test.values[0])))
        case "cidr":
            return _on_distinct(value, _membership([str(one) for one in test.values]))
        case _:
            return value.is_in(_series(test))


def _literal(field: Field, value: Value) -> pl.Expr:
    if field.kind == "date":
        return pl.lit(value, dtype=pl.Datetime("ns", "UTC"))
    if isinstance(value, str):
        return pl.lit(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return pl.lit(value, dtype=pl.Int64)
    return pl.lit(value)


def _series(test: Test) -> pl.Series:
    if test.field.kind == "date":
        return pl.Series(test.values, dtype=pl.Int64).cast(pl.Datetime("ns", "UTC"))
    if test.field.kind == "long":
        # A whole column of integers has no element that equals a fraction.
        return pl.Series([int(v) for v in test.values if isinstance(v, int | float) and v == int(v)], dtype=pl.Int64)
    if test.field.kind == "double":
        return pl.Series([float(v) for v in test.values if isinstance(v, int | float)], dtype=pl.Float64)
    return pl.Series(test.values)


def _on_distinct(value: pl.Expr, test: Callable[[str], bool]) -> pl.Expr:
    """Ask a Python question once for each distinct value."""

    def batch(series: pl.Series) -> pl.Series:
        kept = [one for one in series.unique().to_list() if one is not None and test(one)]
        return series.is_in(pl.Series(kept, dtype=pl.String))

    return value.map_batches(batch, return_dtype=pl.Boolean, is_elementwise=True)


def _matcher(pattern: str) -> Callable[[str], bool]:
    compiled = _compiled(pattern)
    return lambda text: compiled.search(text) is not None


def _membership(networks: list[str]) -> Callable[[str], bool]:
    parsed: list[IPv4Network | IPv6Network] = [ip_network(one) for one in networks]

    def inside(text: str) -> bool:
        try:
            address = ip_address(text)
        except ValueError:
            return False
        return any(address in network for network in parsed)

    return inside
