"""From pySigma's condition trees to ours (see ``correlate.ir``).

pySigma parses; it arrives here with modifiers applied: ``windash`` and ``base64offset`` as expansions, strings as
parts with special characters, ``neq`` as a negation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import ip_network
from typing import Any

from sigma.conditions import (
    ConditionAND,
    ConditionFieldEqualsValueExpression,
    ConditionNOT,
    ConditionOR,
    ConditionValueExpression,
)
from sigma.types import (
    Placeholder,
    SigmaBool,
    SigmaCasedString,
    SigmaCIDRExpression,
    SigmaCompareExpression,
    SigmaExists,
    SigmaExpansion,
    SigmaFieldReference,
    SigmaNull,
    SigmaNumber,
    SigmaRegularExpression,
    SigmaRegularExpressionFlag,
    SigmaString,
    SigmaTimestampPart,
    SpecialChars,
)

from correlate.errors import CompileError
from correlate.ir import Node
from correlate.regex import check_regex

Values = Mapping[str, Sequence[str]]
"""Placeholder name to its values."""

_FLAGS = {
    SigmaRegularExpressionFlag.IGNORECASE: "i",
    SigmaRegularExpressionFlag.MULTILINE: "m",
    SigmaRegularExpressionFlag.DOTALL: "s",
}
_MAX_EXPANDED = 10_000  # values that the placeholders of one string may multiply to


def compile_condition(tree: Any, placeholders: Values) -> Node:
    """Turn one parsed condition into a node.

    Args:
        tree: What ``SigmaCondition.parsed`` gives.
        placeholders: Values of ``expand`` placeholders.

    Raises:
        CompileError: A value cannot be evaluated, or the condition is empty.
    """
    if tree is None:
        raise CompileError("the condition refers to no detection")
    if isinstance(tree, ConditionNOT):
        return ["not", compile_condition(tree.args[0], placeholders)]
    if isinstance(tree, (ConditionAND, ConditionOR)):
        kind = "and" if isinstance(tree, ConditionAND) else "or"
        return join(kind, [compile_condition(arg, placeholders) for arg in tree.args])
    if isinstance(tree, ConditionFieldEqualsValueExpression):
        return _value(tree.field, tree.value, placeholders)
    if isinstance(tree, ConditionValueExpression):
        return _value(None, tree.value, placeholders)
    raise CompileError(f"unknown part of a condition: {type(tree).__name__}")


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


def _value(field: str | None, value: Any, placeholders: Values) -> Node:
    if isinstance(value, SigmaExpansion):
        return join("or", [_value(field, one, placeholders) for one in value.values])
    if isinstance(value, SigmaString):
        return _strings(field, value, placeholders)
    if isinstance(value, SigmaRegularExpression):
        return _regex(field, value, placeholders)
    if isinstance(value, SigmaTimestampPart):
        return ["atom", field, "part", [value.timestamp_part.name.lower(), "eq", value.number]]
    if isinstance(value, SigmaNumber):
        if field is None:
            return ["or", [["atom", None, "contains", str(value.number)], ["atom", None, "num", value.number]]]
        return ["atom", field, "num", value.number]
    if isinstance(value, SigmaBool):
        if field is None:
            return ["atom", None, "contains", str(value.boolean).lower()]
        return ["atom", field, "bool", value.boolean]
    if field is None:
        raise CompileError(f"a keyword cannot be a {_words(value)}")
    if isinstance(value, SigmaNull):
        return ["atom", field, "null", None]
    if isinstance(value, SigmaExists):
        absent: Node = ["atom", field, "null", None]
        return ["not", absent] if value.exists else absent
    if isinstance(value, SigmaCompareExpression):
        op = value.op.name.lower()
        if isinstance(value.number, SigmaTimestampPart):
            part = value.number.timestamp_part.name.lower()
            return ["atom", field, "part", [part, op, value.number.number]]
        return ["atom", field, "cmp", [op, value.number.number]]
    if isinstance(value, SigmaCIDRExpression):
        return ["atom", field, "cidr", str(ip_network(value.cidr))]
    if isinstance(value, SigmaFieldReference):
        mode = {
            (False, False): "eq",
            (True, False): "startswith",
            (False, True): "endswith",
            (True, True): "contains",
        }[value.starts_with, value.ends_with]
        return ["atom", field, "fieldref", [value.field, mode]]
    raise CompileError(f"values of type {type(value).__name__} are not supported")


def _words(value: Any) -> str:
    return {"SigmaNull": "null", "SigmaCIDRExpression": "network", "SigmaFieldReference": "reference to a field"}.get(
        type(value).__name__, "comparison"
    )


def _strings(field: str | None, value: SigmaString, placeholders: Values) -> Node:
    cased = isinstance(value, SigmaCasedString)
    return join("or", [_pattern(field, parts, cased=cased) for parts in _expand(value.s, placeholders)])


def _expand(parts: Sequence[Any], placeholders: Values) -> list[list[Any]]:
    """Parts as text, 0 (``*``) and 1 (``?``), once for each combination of placeholder values."""
    variants: list[list[Any]] = [[]]
    for part in parts:
        options: list[list[Any]]
        if isinstance(part, Placeholder):
            values = placeholders.get(part.name)
            if not values:
                raise CompileError(f"placeholder %{part.name}% has no values")
            options = [_special(SigmaString(str(value)).s) for value in values]
        else:
            options = [_special([part])]
        if len(variants) * len(options) > _MAX_EXPANDED:
            raise CompileError(f"placeholders multiply to more than {_MAX_EXPANDED} values")
        variants = [variant + option for variant in variants for option in options]
    return variants


def _special(parts: Sequence[Any]) -> list[Any]:
    signs = {SpecialChars.WILDCARD_MULTI: 0, SpecialChars.WILDCARD_SINGLE: 1}
    return [part if isinstance(part, str) else signs[part] for part in parts]


def _pattern(field: str | None, parts: list[Any], *, cased: bool) -> Node:
    """The cheapest operator that says what the parts say."""
    merged: list[Any] = []
    for part in parts:
        text = part if cased or not isinstance(part, str) else part.lower()
        if isinstance(text, str) and merged and isinstance(merged[-1], str):
            merged[-1] += text
        elif text == 0 and merged and merged[-1] == 0 and not isinstance(merged[-1], str):
            continue
        elif text != "":
            merged.append(text)
    if field is None:  # a keyword is looked for inside of a text
        if not merged or merged[0] != 0:
            merged.insert(0, 0)
        if merged[-1] != 0:
            merged.append(0)
    mark = "c" if cased else ""
    middle = [part for part in merged if isinstance(part, str)]
    shape = ["t" if isinstance(part, str) else part for part in merged]
    if not merged:
        return ["atom", field, "eq" + mark, ""]
    if shape == [0]:
        return ["atom", field, "contains" + mark, ""]
    names: dict[tuple[Any, ...], str] = {("t",): "eq", (0, "t", 0): "contains", ("t", 0): "startswith"}
    names[0, "t"] = "endswith"
    name = names.get(tuple(shape))
    if name is not None:
        return ["atom", field, name + mark, middle[0]]
    return ["atom", field, "glob" + mark, merged]


def _regex(field: str | None, value: SigmaRegularExpression, placeholders: Values) -> Node:
    flags = "".join(sorted(_FLAGS[flag] for flag in value.flags))
    nodes: list[Node] = []
    signs = {0: "*", 1: "?"}
    for parts in _expand(value.regexp.s, placeholders) if value.contains_placeholder() else [[str(value.regexp)]]:
        text = "".join(part if isinstance(part, str) else signs[part] for part in parts)
        check_regex(text, flags)
        nodes.append(["atom", field, "re", [text, flags]])
    return join("or", nodes)
