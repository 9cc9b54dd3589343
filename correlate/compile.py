"""From the detection section of a rule to one condition over atoms (see ``correlate.ir``).

Everything is read as YAML gives it, by the Sigma specification 2.1 (rules, appendix on modifiers); what the
specification leaves open is decided in ``docs/sigma-language.md``. Modifiers are applied in the order in which they
stand. Nothing is dropped: what cannot be evaluated raises, and what is most likely a mistake is warned about.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from ipaddress import ip_network
from typing import Any

from correlate.atoms import number_of, text_of
from correlate.conditions import Tree, named, parse_condition
from correlate.errors import CompileError
from correlate.fold import fold
from correlate.ir import Node
from correlate.patterns import (
    MAX_VARIANTS,
    Hole,
    Part,
    Values,
    any_dash,
    as_regex,
    base64_offsets,
    fill,
    fill_regex,
    plain,
    read_pattern,
    tidy,
)
from correlate.regex import check_regex

_ENCODINGS = {"wide": "utf-16-le", "utf16le": "utf-16-le", "utf16be": "utf-16-be", "utf16": "utf-16"}
_FLAGS = {"i": "i", "ignorecase": "i", "m": "m", "multiline": "m", "s": "s", "dotall": "s"}
_COMPARISONS = ("gt", "gte", "lt", "lte")
_PARTS = {"minute": (0, 59), "hour": (0, 23), "day": (1, 31), "week": (1, 53), "month": (1, 12), "year": (1, 9999)}
_SIDES = ("contains", "startswith", "endswith")

MODIFIERS = tuple(
    sorted(
        {
            *_ENCODINGS,
            *_FLAGS,
            *_COMPARISONS,
            *_PARTS,
            *_SIDES,
            *("all", "neq", "base64", "base64offset", "cased", "cidr", "exists", "expand", "fieldref", "re", "windash"),
        }
    )
)
"""Every modifier of the language."""

_DEEPEST = 20  # lists and maps within one another


# --- values on their way through the modifiers ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Text:
    parts: list[Part]
    raw: str
    cased: bool = False
    encoding: str | None = None
    encoded: bool = False
    sides: frozenset[str] = frozenset()
    holes: bool = False
    expanded: bool = False


@dataclass(frozen=True, slots=True)
class _Regex:
    pattern: str
    flags: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class _Number:
    number: int | float


@dataclass(frozen=True, slots=True)
class _Compare:
    op: str
    number: int | float
    part: str | None = None


@dataclass(frozen=True, slots=True)
class _Part:
    part: str
    number: int


@dataclass(frozen=True, slots=True)
class _Reference:
    name: str
    sides: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class _Plain:
    """A null, a boolean, a network or a question of existence."""

    kind: str
    value: Any


_Value = _Text | _Regex | _Number | _Compare | _Part | _Reference | _Plain


@dataclass(slots=True)
class Section:
    """One detection section on its way.

    Attributes:
        names: Names of fields to ours.
        placeholders: Values of ``expand`` placeholders.
        warnings: What is allowed and most likely a mistake, with texts by which its line is found.
    """

    names: Mapping[str, str]
    placeholders: Values
    warnings: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)

    def compile(self, detection: Any, *, owner: str = "rule") -> Node:
        """Turn the section into one condition; a list of conditions is an alternative.

        Args:
            detection: The mapping under ``detection``, or under ``filter`` without its ``rules``.
            owner: What the section is part of, for messages.

        Raises:
            CompileError: Something in it cannot be evaluated.
        """
        if not isinstance(detection, Mapping) or "condition" not in detection:
            raise CompileError(f"a {owner} needs a 'condition' and what it is about", "detection:", "filter:")
        section = {str(name): value for name, value in detection.items() if name != "condition"}
        if not section:
            raise CompileError(f"No detections defined in Sigma {owner}", "detection:", "filter:")
        if isinstance(section.get("timeframe"), (str, int)):
            message = "'timeframe' belonged to aggregations, which are no longer part of a rule: write a correlation"
            raise CompileError(message, "timeframe:")
        texts = detection["condition"]
        if texts == [] or texts is None:
            raise CompileError("the condition is empty", "condition:")
        trees = [parse_condition(text, section) for text in (texts if isinstance(texts, list) else [texts])]
        nodes = {name: self._named(name, value) for name, value in section.items()}
        used = set().union(*(named(tree) for tree in trees))
        for name in section:
            if name not in used and not name.startswith("_"):
                self.warnings.append((f"no condition looks at the detection {name!r}", (f"{name}:", name)))
        return join("or", [_linked(tree, nodes) for tree in trees])

    def _named(self, name: str, definition: Any) -> Node:
        try:
            return self._detection(definition, 0)
        except CompileError as error:
            raise CompileError(str(error), *error.places, f"{name}:", known=error.known) from error

    def _detection(self, definition: Any, depth: int) -> Node:
        if depth > _DEEPEST:
            raise CompileError(f"a detection is nested more than {_DEEPEST} deep")
        if isinstance(definition, Mapping):
            if not definition:
                raise CompileError("Detection is empty")
            return join("and", [self._item(key, value) for key, value in definition.items()])
        if isinstance(definition, list):
            if not definition:
                raise CompileError("Detection is empty")
            return join(
                "or",
                [
                    self._detection(one, depth + 1) if isinstance(one, (Mapping, list)) else self._keyword(one)
                    for one in definition
                ],
            )
        return self._keyword(definition)

    def _keyword(self, value: Any) -> Node:
        return _node(None, self._read(value, ()))

    def _item(self, key: Any, wanted: Any) -> Node:
        """One line ``field|modifiers: values``."""
        if not isinstance(key, str):
            raise CompileError(f"the name of a field is a text, not {key!r}; put it in quotes", f"{key}:")
        name, *modifiers = key.split("|")
        unknown = next((one for one in modifiers if one not in MODIFIERS), None)
        if unknown is not None:
            places = (f"|{unknown}:", f"|{unknown}|", f"|{unknown}")
            raise CompileError(f"unknown modifier {unknown!r}", *places, known=MODIFIERS)
        here = (f"{key}:", key)
        our = self.names.get(name, name) if name else None
        values = wanted if isinstance(wanted, list) else [wanted]
        if not values:
            raise CompileError(f"{key!r} has no values", *here)
        self._doubt(key, modifiers, values)
        try:
            nodes = [join("or", [_node(our, one) for one in self._modified(value, modifiers)]) for value in values]
        except CompileError as error:
            raise CompileError(str(error), *error.places, *here, known=error.known) from error
        for node in nodes:
            if node[0] == "atom" and node[2] == "part" and node[3][1] == "eq":
                low, high = _PARTS[node[3][0]]
                if not low <= node[3][2] <= high:
                    self.warnings.append((f"no time has {node[3][0]} {node[3][2]}: {low} to {high}", here))
        node = join("and" if "all" in modifiers else "or", nodes)
        return ["not", node] if "neq" in modifiers else node

    def _doubt(self, key: str, modifiers: Sequence[str], values: Sequence[Any]) -> None:
        if "all" in modifiers and len(values) == 1:
            self.warnings.append((f"'all' says nothing about a single value ({key})", (f"{key}:",)))
        if None in values and len(values) > 1:
            message = f"null stands among other values of {key!r}, where the specification wants it alone"
            self.warnings.append((message, (f"{key}:",)))

    # --- one value --------------------------------------------------------------------------------------------------

    def _read(self, value: Any, modifiers: Sequence[str]) -> _Value:
        """A value as YAML gives it."""
        if isinstance(value, str):
            holes = "expand" in modifiers
            return _Text(read_pattern(value, holes=holes), value, holes=holes)
        if value is None:
            return _Plain("null", None)
        if isinstance(value, bool):
            return _Plain("bool", value)
        if isinstance(value, (int, float)):
            if isinstance(value, float) and not math.isfinite(value):
                raise CompileError(f"{value} is not a number that can be compared")
            if isinstance(value, float):
                return _Number(int(value) if value.is_integer() and abs(value) < 2**63 else value)
            if abs(value) >= 2**63:
                raise CompileError(f"the number {value} has more than 64 bits; put it in quotes", str(value))
            return _Number(value)
        if isinstance(value, date):
            raise CompileError(f"{value} is a date to YAML; put it in quotes", str(value))
        raise CompileError(f"a value is a text, a number, a boolean or null, not a {type(value).__name__}")

    def _modified(self, value: Any, modifiers: Sequence[str]) -> list[_Value]:
        """What the modifiers make of one value: alternatives."""
        found = [self._read(value, modifiers)]
        for modifier in modifiers:
            if modifier in ("all", "neq"):
                continue  # they are about the values together
            found = [made for one in found for made in self._apply(modifier, one)]
            if len(found) > MAX_VARIANTS:
                raise CompileError(f"modifiers multiply to more than {MAX_VARIANTS} values")
        return found

    def _apply(self, modifier: str, value: _Value) -> list[_Value]:
        if modifier == "exists":
            if not isinstance(value, _Plain) or value.kind != "bool":
                raise CompileError("'exists' asks with true or false")
            return [_Plain("exists", value.value)]
        if isinstance(value, _Regex):
            return self._to_regex(modifier, value)
        if isinstance(value, _Reference):
            if modifier in _SIDES:
                return [replace(value, sides=value.sides | {modifier})]
            raise _cannot(modifier, "a reference to a field")
        if modifier in _COMPARISONS or modifier in _PARTS:
            return [_measured(modifier, value)]
        if isinstance(value, _Number) or (isinstance(value, _Plain) and value.kind == "bool"):
            if modifier not in (*_SIDES, "cased", "re"):
                raise _cannot(modifier, "a number" if isinstance(value, _Number) else "a boolean")
            text = text_of(value.number if isinstance(value, _Number) else value.value)
            value = _Text([text], text)
        if not isinstance(value, _Text):
            kind = value.kind if isinstance(value, _Plain) else ""
            raise _cannot(modifier, {"null": "null", "cidr": "a network"}.get(kind, "a comparison"))
        return self._to_text(modifier, value)

    def _to_regex(self, modifier: str, value: _Regex) -> list[_Value]:
        if modifier in _FLAGS:
            return [replace(value, flags=value.flags | {_FLAGS[modifier]})]
        if modifier == "contains":
            return [value]  # it is looked for anywhere as it is
        if modifier == "startswith":
            return [replace(value, pattern=rf"\A(?:{value.pattern})")]
        if modifier == "endswith":
            return [replace(value, pattern=rf"(?:{value.pattern})\z")]
        if modifier == "expand":
            return [replace(value, pattern=one) for one in fill_regex(value.pattern, self.placeholders)]
        raise _cannot(modifier, "a regular expression")

    def _to_text(self, modifier: str, value: _Text) -> list[_Value]:
        if modifier in _SIDES:
            return [replace(value, sides=value.sides | {modifier})]
        if modifier == "cased":
            return [replace(value, cased=True)]
        if modifier == "expand":
            if value.encoded:
                raise CompileError("'expand' comes before encodings")
            return [replace(value, parts=one, expanded=True) for one in fill(value.parts, self.placeholders)]
        if modifier in _FLAGS:
            raise CompileError(f"{modifier!r} follows 're'")
        if modifier == "re":
            return self._regex(value)
        if modifier == "fieldref":
            name = plain(value.parts, "'fieldref'")
            return [_Reference(self.names.get(name, name), value.sides)]
        if value.encoding is not None and modifier not in ("base64", "base64offset"):
            raise CompileError(f"{modifier!r} cannot follow an encoding in UTF-16")
        if modifier == "windash":
            return [replace(value, parts=one) for one in any_dash(value.parts)]
        if modifier in _ENCODINGS:
            return [replace(value, encoding=_ENCODINGS[modifier], encoded=True)]
        if value.sides:
            raise CompileError(f"{modifier!r} comes before 'contains', 'startswith' and 'endswith'")
        if modifier == "cidr":
            return [_network(plain(value.parts, "'cidr'"))]
        data = _encoded(plain(value.parts, f"{modifier!r}"), value.encoding)
        if modifier == "base64":
            made = [base64.b64encode(data).decode("ascii")]
        else:
            made = base64_offsets(data)
            if "" in made:
                raise CompileError("'base64offset' needs two bytes or more: of one, nothing is the same at every place")
        return [replace(value, parts=[one], encoding=None, encoded=True) for one in made]

    def _regex(self, value: _Text) -> list[_Value]:
        if value.expanded:
            raise CompileError("'expand' follows 're'")
        if value.cased or value.sides or value.encoded or value.parts != read_pattern(value.raw, holes=value.holes):
            raise CompileError("'re' is for values that nothing has modified")
        return [_Regex(value.raw)]


def _cannot(modifier: str, what: str) -> CompileError:
    return CompileError(f"modifier {modifier!r} cannot be applied to {what}", f"|{modifier}")


def _encoded(text: str, encoding: str | None) -> bytes:
    if encoding == "utf-16":
        return b"\xff\xfe" + text.encode("utf-16-le")
    try:
        return text.encode(encoding or "utf-8")
    except UnicodeEncodeError as error:  # half of a surrogate pair, which YAML can spell
        raise CompileError(f"{text!r} cannot be encoded: {error.reason}") from error


def _measured(modifier: str, value: _Value) -> _Value:
    """A comparison, or a part of a time."""
    part = None
    if isinstance(value, _Part) and modifier in _COMPARISONS:
        number: int | float | None = value.number
        part = value.part
    elif isinstance(value, _Number):
        number = value.number
    elif isinstance(value, _Text) and value.expanded:
        number = number_of(plain(value.parts, f"{modifier!r}"))
    else:
        number = None
    if number is None:
        raise CompileError(f"{modifier!r} needs a number", f"|{modifier}")
    if modifier in _COMPARISONS:
        return _Compare(modifier, number, part)
    if not isinstance(number, int):
        raise CompileError(f"{modifier!r} needs a whole number, not {number}", f"|{modifier}")
    return _Part(modifier, number)


def _network(text: str) -> _Plain:
    try:
        return _Plain("cidr", str(ip_network(text)))
    except ValueError as error:
        raise CompileError(f"Invalid CIDR expression: {error}", text) from error


# --- atoms -----------------------------------------------------------------------------------------------------------


def _node(name: str | None, value: _Value) -> Node:
    """The atom that says a value; for a keyword (no name), of any text of the event."""
    if isinstance(value, _Text):
        return _pattern(name, _parts(value, keyword=name is None), cased=value.cased)
    if isinstance(value, _Regex):
        flags = "".join(sorted(value.flags))
        check_regex(value.pattern, flags)
        return ["atom", name, "re", [value.pattern, flags]]
    if isinstance(value, _Number):
        if name is None:
            return ["or", [["atom", None, "contains", text_of(value.number)], ["atom", None, "num", value.number]]]
        return ["atom", name, "num", value.number]
    if isinstance(value, _Plain) and value.kind == "bool":
        if name is None:
            return ["atom", None, "contains", text_of(value.value)]
        return ["atom", name, "bool", value.value]
    if name is None:
        raise CompileError(f"a keyword cannot be a {_what(value)}")
    if isinstance(value, _Compare):
        if value.part is not None:
            return ["atom", name, "part", [value.part, value.op, value.number]]
        return ["atom", name, "cmp", [value.op, value.number]]
    if isinstance(value, _Part):
        return ["atom", name, "part", [value.part, "eq", value.number]]
    if isinstance(value, _Reference):
        whole = {"startswith", "endswith"} <= value.sides or "contains" in value.sides
        mode = "contains" if whole else next(iter(value.sides), "eq")
        return ["atom", name, "fieldref", [value.name, mode]]
    if value.kind == "cidr":
        return ["atom", name, "cidr", value.value]
    absent: Node = ["atom", name, "null", None]
    return ["not", absent] if value.kind == "exists" and value.value else absent


def _what(value: _Compare | _Part | _Reference | _Plain) -> str:
    if isinstance(value, _Plain):
        return {"cidr": "network", "exists": "question of existence"}.get(value.kind, value.kind)
    return "reference to a field" if isinstance(value, _Reference) else "comparison"


def _parts(value: _Text, *, keyword: bool) -> list[Part]:
    parts: list[Part] = [_utf16(part, value.encoding) for part in value.parts]
    hole = next((part for part in parts if isinstance(part, Hole)), None)
    if hole is not None:  # cannot be: holes are read only where 'expand' fills them
        raise CompileError(f"placeholder %{hole.name}% is not filled in")
    if value.encoding == "utf-16":
        parts.insert(0, "\ufeff")
    anywhere = "contains" in value.sides or (keyword and not value.sides)
    if anywhere or "endswith" in value.sides:
        parts.insert(0, 0)
    if anywhere or "startswith" in value.sides:
        parts.append(0)
    return tidy(parts)


def _utf16(part: Part, encoding: str | None) -> Part:
    """Text in UTF-16 as a log shows it that took every byte for a character."""
    if encoding is None or not isinstance(part, (str, list)):
        return part
    text = part if isinstance(part, str) else "".join(part)
    if not text.isascii() or isinstance(part, list):
        raise CompileError(f"{text!r} in UTF-16 is no text; only what is ASCII can do without base64 behind it")
    return "".join(f"\0{char}" if encoding == "utf-16-be" else f"{char}\0" for char in text)


_SHAPES: dict[tuple[Any, ...], str] = {
    ("t",): "eq",
    (0, "t", 0): "contains",
    ("t", 0): "startswith",
    (0, "t"): "endswith",
}


def _pattern(name: str | None, parts: Sequence[Part], *, cased: bool) -> Node:
    """The cheapest operator that says what the parts say."""
    if any(isinstance(part, list) for part in parts):  # dashes in more combinations than are worth spelling out
        pattern = rf"\A{as_regex(parts)}\z"
        check_regex(pattern, "s" if cased else "is")
        return ["atom", name, "re", [pattern, "s" if cased else "is"]]
    mark = "c" if cased else ""
    if not cased:
        parts = [fold(part) if isinstance(part, str) else part for part in parts]
    if not parts:
        return ["atom", name, "eq" + mark, ""]
    if parts == [0]:
        return ["atom", name, "contains" + mark, ""]
    shape = tuple("t" if isinstance(part, str) else part for part in parts)
    op = _SHAPES.get(shape)
    if op is not None:
        return ["atom", name, op + mark, next(part for part in parts if isinstance(part, str))]
    return ["atom", name, "glob" + mark, list(parts)]


def join(kind: str, nodes: Sequence[Node]) -> Node:
    """And or or of nodes, without needless nesting."""
    flat: list[Node] = []
    for node in nodes:
        if node[0] == kind:
            flat.extend(node[1])
        else:
            flat.append(node)
    if not flat:
        raise CompileError("the condition refers to no detection")
    return flat[0] if len(flat) == 1 else [kind, flat]


def _linked(tree: Tree, nodes: Mapping[str, Node]) -> Node:
    if tree[0] == "name":
        return nodes[tree[1]]
    if tree[0] == "not":
        return ["not", _linked(tree[1], nodes)]
    return join(tree[0], [_linked(one, nodes) for one in tree[1]])


__all__ = ["MODIFIERS", "Section", "Values", "join"]
