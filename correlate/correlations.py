"""From pySigma's correlation rules to ours (see ``correlate.ir.Correlation``)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from sigma.correlations import (
    CorrelationConditionAND,
    CorrelationConditionNOT,
    CorrelationConditionOR,
    SigmaCorrelationRule,
    SigmaExtendedCorrelationCondition,
    SigmaRuleReference,
)

from correlate.bounds import COMPARE, holds
from correlate.errors import CompileError
from correlate.ir import Correlation, Meta, Node

Known = dict[str, str]
"""Id or name of a rule to its id."""

OPERATORS = tuple(COMPARE)


def compile_correlation(
    parsed: SigmaCorrelationRule, body: Mapping[str, Any], meta: Meta, known: Mapping[str, str]
) -> Correlation:
    """Turn a parsed correlation into ours.

    Args:
        parsed: What pySigma read; its condition may be cut down to one bound.
        body: The mapping under ``correlation``, as written.
        meta: Title and so on.
        known: Id or name of every rule and correlation, to its id.

    Raises:
        CompileError: A reference leads nowhere, or the condition makes no sense.
    """
    kind = str(body["type"])  # pySigma does not know absence and was shown temporal
    extended: Node | None = None
    names = [reference.reference for reference in parsed.rules or ()]
    if isinstance(parsed.condition, SigmaExtendedCorrelationCondition):
        names = names or parsed.condition.get_referenced_rules()
        extended = _extended(parsed.condition.parsed, names)
        if kind == "temporal_ordered":
            if extended[0] != "and" or extended[1] != [["rule", index] for index in range(len(names))]:
                raise CompileError("an extended condition of temporal_ordered joins its rules with 'and', in order")
            extended = None
    if not names:
        raise CompileError("the correlation refers to no rule")
    rules = tuple(_resolve(name, known) for name in names)
    if len(set(rules)) != len(rules):
        raise CompileError("the correlation refers to the same rule twice")
    aliases = {
        alias.alias: {_resolve(reference.reference, known): field for reference, field in alias.mapping.items()}
        for alias in parsed.aliases
    }
    conditions, fields, percentile = _condition(kind, body.get("condition"), len(rules))
    return Correlation(
        meta=meta,
        type=kind,
        rules=rules,
        group_by=tuple(parsed.group_by or ()),
        aliases=aliases,
        timespan_ns=parsed.timespan.seconds * 1_000_000_000,
        conditions=() if extended is not None else conditions,
        extended=extended,
        value_fields=fields,
        percentile=percentile,
    )


def _resolve(name: str, known: Mapping[str, str]) -> str:
    found = known.get(name) or known.get(str(name).lower())
    if found is None:
        raise CompileError(f"the rule {name!r} that the correlation refers to does not exist")
    return found


def _extended(node: Any, names: list[str]) -> Node:
    if isinstance(node, SigmaRuleReference):
        return ["rule", names.index(node.reference)]
    if isinstance(node, CorrelationConditionNOT):
        return ["not", _extended(node.args[0], names)]
    if isinstance(node, (CorrelationConditionAND, CorrelationConditionOR)):
        kind = "and" if isinstance(node, CorrelationConditionAND) else "or"
        return [kind, [_extended(arg, names) for arg in node.args]]
    raise CompileError(f"unknown part of a condition: {type(node).__name__}")


def _condition(
    kind: str, condition: Any, rules: int
) -> tuple[tuple[tuple[str, float], ...], tuple[str, ...], float | None]:
    """Bounds, fields and percentile of a condition as written."""
    if kind == "absence":
        if condition is not None:
            raise CompileError("a correlation of type absence has no 'condition': the first rule waits for the others")
        return (), (), None
    temporal = kind in ("temporal", "temporal_ordered")
    if not isinstance(condition, Mapping):
        return (("gte", rules),), (), None
    bounds = tuple((op, _number(op, condition[op])) for op in OPERATORS if op in condition)
    if not bounds:
        raise CompileError("the correlation's condition compares with nothing")
    unknown = sorted(set(condition) - {*OPERATORS, "field", "percentile"})
    if unknown:
        raise CompileError(f"unknown key {unknown[0]!r} in the correlation's condition")
    value = condition.get("field")
    fields = (value,) if isinstance(value, str) else tuple(value or ())
    if not all(isinstance(one, str) for one in fields):
        raise CompileError("'field' of the correlation's condition is a name or a list of names")
    if kind.startswith("value_") and not fields:
        raise CompileError(f"a correlation of type {kind} needs 'field' in its condition")
    if kind.startswith("value_") and kind != "value_count" and len(fields) > 1:
        raise CompileError(f"a correlation of type {kind} looks at one field")
    percentile: float | None = None
    if kind == "value_percentile":
        percentile = _number("percentile", condition.get("percentile"))
        if not 0 <= percentile <= 100:
            raise CompileError("'percentile' is between 0 and 100")
    if kind == "temporal_ordered" and not _counts_upwards(bounds, rules):
        raise CompileError(
            "a correlation of type temporal_ordered asks for a least number of its rules, in order: "
            f"'gte' up to {rules}, or nothing for all"
        )
    if temporal and fields:
        raise CompileError(f"a correlation of type {kind} has no 'field'")
    return bounds, fields, percentile


def _counts_upwards(bounds: tuple[tuple[str, float], ...], rules: int) -> bool:
    """Whether the bounds hold from some number of rules on, up to all of them."""
    held = [holds(bounds, number) for number in range(rules + 1)]
    return held[-1] and not held[0] and held == sorted(held)


def _number(name: str, value: Any) -> float:
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            value = None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise CompileError(f"'{name}' of the correlation's condition is a number")
    return int(value) if isinstance(value, float) and value.is_integer() else value
