"""Which events of a store's history rules and correlations can need at all.

A rule whose matches alert by themselves needs every event that fits it (``correlate.coarse``). A rule that only feeds
correlations needs those of the groups in which a correlation can become true. The store counts events by the group-by
fields and by pieces of time as long as the correlation's window; a window lies within two pieces side by side, so a
group that has too few hits in every such pair cannot become true. All other groups are read whole: the engine decides
on sliding windows, hit by hit.

| type | a pair of pieces suffices if |
|---|---|
| event_count | its messages reach the least number that the bounds allow |
| value_count | its distinct values do; its events, if the values are addresses or of several fields |
| temporal, temporal_ordered | as many of the rules as the bounds ask for have hits in it |
| all others, extended conditions, lists among the group-by fields | always |
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import polars as pl

from correlate.bounds import holds
from correlate.coarse import Needs, bounded, coarse
from correlate.derive import Derivation
from correlate.hits import folded
from correlate.ir import Correlation, Rule, RuleSet
from event.coarse import EVERYTHING, NOTHING, Coarse, OneOf, all_of, any_of
from event.fields import FIELDS
from event.site import Site
from store.base import Narrowing

MOST_COUNTED = 50_000
"""Rows of counts that a store is asked for at once; with more of them pieces are longer, and then all are read."""
LONGER = 1_000
"""How much longer pieces are at the second try."""
MOST_GROUPS = 200
"""Groups that are asked for one by one; of more, the product of their values is."""
MOST_VALUES = 5_000
"""Values of one field in such a product; with more of them all are read."""

_Key = tuple[Any, ...]
_COUNTABLE = frozenset({"keyword", "ip", "long", "boolean"})


@dataclass(slots=True)
class _Cell:
    """What was counted in one group and piece of time."""

    hits: int = 0
    weight: int = 0
    values: set[Any] = field(default_factory=set)


_Cells = dict[_Key, dict[int, _Cell]]


def narrow(
    ruleset: RuleSet,
    store: Narrowing,
    datasets: Iterable[str],
    *,
    site: Site | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> dict[str, Coarse]:
    """For each dataset, the events that a detector without earlier state has to see.

    Args:
        ruleset: Rules and correlations.
        store: What counts.
        datasets: Those that hold events.
        site: What the detector derives from.
        since: First instant of the read, inclusive.
        until: Last instant, exclusive.
    """
    return _Narrowing(ruleset, store, sorted(datasets), Derivation(site or Site()).needs(), (since, until)).wanted()


class _Narrowing:
    def __init__(
        self,
        ruleset: RuleSet,
        store: Narrowing,
        datasets: Sequence[str],
        needs: Needs,
        time: tuple[datetime | None, datetime | None],
    ) -> None:
        self._store = store
        self._datasets = datasets
        self._needs = needs
        self._time = time
        self._rules = {one.id: one for one in ruleset.rules if one.condition is not None}
        self._correlations = {one.id: one for one in ruleset.correlations if one.error is None}
        self._tables: dict[tuple[str, tuple[str, ...], int], tuple[int, list[pl.DataFrame]] | None] = {}
        self._candidates: dict[str, set[_Key] | None] = {}

    def wanted(self) -> dict[str, Coarse]:
        fed: defaultdict[str, list[Correlation]] = defaultdict(list)
        for correlation in self._correlations.values():
            for name in correlation.rules:
                fed[name].append(correlation)
        parts: dict[str, list[Coarse]] = {dataset: [] for dataset in self._datasets}
        for rule in self._rules.values():
            taken = self._taken(rule)
            if not taken:
                continue
            condition = self._condition(rule)
            if not rule.meta.alerts:
                condition = all_of([condition, any_of(self._groups(rule, one) for one in fed[rule.id])])
            for dataset in taken:
                parts[dataset].append(condition)
        return {dataset: bounded(any_of(of)) for dataset, of in parts.items()}

    def _condition(self, rule: Rule) -> Coarse:
        return NOTHING if rule.condition is None else coarse(rule.condition, self._needs)

    def _taken(self, rule: Rule) -> list[str]:
        return [dataset for dataset in self._datasets if rule.route.takes(dataset)]

    def _groups(self, rule: Rule, correlation: Correlation) -> Coarse:
        """The events of a rule that lie in groups of a correlation which can become true."""
        candidates = self._possible(correlation)
        by = [correlation.field_of(name, rule.id) for name in correlation.group_by]
        if candidates is None or (not by and candidates):
            return EVERYTHING
        tables = self._ask(rule, tuple(by), correlation.timespan_ns)
        if tables is None:
            return EVERYTHING
        raw = {key for table in tables[1] for key in table.select(by).rows() if folded(key) in candidates} if by else ()
        if len(raw) <= MOST_GROUPS:
            ordered = sorted(raw, key=repr)
            return any_of(all_of(OneOf(name, (one,)) for name, one in zip(by, key, strict=True)) for key in ordered)
        columns = [sorted(set(column), key=repr) for column in zip(*raw, strict=True)]
        return all_of(
            OneOf(name, tuple(column)) if len(column) <= MOST_VALUES else EVERYTHING
            for name, column in zip(by, columns, strict=True)
        )

    def _possible(self, correlation: Correlation) -> set[_Key] | None:
        """Folded keys of the groups in which a correlation can become true; None if that cannot be told."""
        if correlation.id not in self._candidates:
            self._candidates[correlation.id] = self._find(correlation)
        return self._candidates[correlation.id]

    def _find(self, correlation: Correlation) -> set[_Key] | None:
        if correlation.extended is not None or not _alike(correlation):
            return None
        if correlation.type in ("temporal", "temporal_ordered"):
            return self._find_temporal(correlation)
        if correlation.type not in ("event_count", "value_count") or holds(correlation.conditions, 0):
            return None
        distinct = correlation.type == "value_count"
        names = [correlation.field_of(name, rule) for name in correlation.value_fields for rule in correlation.rules]
        told = distinct and len(correlation.value_fields) == 1 and all(map(_has_values, names))
        if distinct and not told and any(name not in FIELDS or FIELDS[name].many for name in names):
            return None
        cells: _Cells = {}
        for one in correlation.rules:
            if one not in self._rules:  # fed by another correlation
                return None
            value = correlation.field_of(correlation.value_fields[0], one) if told else None
            if not self._count(cells, self._rules[one], correlation, value):
                return None

        def total(pair: Sequence[_Cell]) -> int:
            if told:
                return len(set().union(*(cell.values for cell in pair)))
            return sum(cell.hits if distinct else cell.weight for cell in pair)

        return {
            key for key, pieces in cells.items() if any(_reaches(correlation, total(pair)) for pair in _pairs(pieces))
        }

    def _find_temporal(self, correlation: Correlation) -> set[_Key] | None:
        roles: list[dict[_Key, dict[int, _Cell]]] = []
        anytime: list[set[_Key]] = []
        for one in correlation.rules:
            if one in self._correlations:
                below = self._correlations[one]
                groups = self._possible(below)
                if groups is None:
                    return None
                places = [below.group_by.index(correlation.field_of(name, one)) for name in correlation.group_by]
                anytime.append({tuple(key[place] for place in places) for key in groups})
                continue
            cells: _Cells = {}
            if one not in self._rules or not self._count(cells, self._rules[one], correlation, None):
                return None
            roles.append(cells)
        found: set[_Key] = set()
        for key in set().union(*roles, *anytime):
            always = sum(key in keys for keys in anytime)
            merged: dict[int, list[int]] = {}
            for number, role in enumerate(roles):
                for piece in role.get(key, ()):
                    merged.setdefault(piece, []).append(number)
            most = max((len({*one, *two}) for one, two in _neighbours(merged, [])), default=0)
            if _reaches(correlation, always + most):
                found.add(key)
        return found

    def _count(self, cells: _Cells, rule: Rule, correlation: Correlation, value: str | None) -> bool:
        """Add a rule's events by a correlation's groups, over all datasets; False if that cannot be told."""
        by = [correlation.field_of(name, rule.id) for name in correlation.group_by]
        names = tuple(dict.fromkeys((*by, *(() if value is None else (value,)))))
        asked = self._ask(rule, names, correlation.timespan_ns)
        if asked is None:
            return False
        longer, tables = asked
        if longer != 1 and len(correlation.rules) > 1:
            return False  # pieces of several lengths cannot be put side by side
        for table in tables:
            for row in table.iter_rows(named=True):
                cell = cells.setdefault(folded(tuple(row[name] for name in by)) or (), {}).setdefault(
                    row["piece"], _Cell()
                )
                cell.hits += row["hits"]
                cell.weight += row["weight"]
                if value is not None:
                    cell.values.add(folded(row[value]))
        return True

    def _ask(self, rule: Rule, names: tuple[str, ...], span: int) -> tuple[int, list[pl.DataFrame]] | None:
        """Counts of a rule's events in each dataset, and how much longer than the span the pieces are."""
        key = (rule.id, names, span)
        if key not in self._tables:
            self._tables[key] = self._asked(rule, names, span)
        return self._tables[key]

    def _asked(self, rule: Rule, names: tuple[str, ...], span: int) -> tuple[int, list[pl.DataFrame]] | None:
        if not all(_has_keys(name) for name in names) or span % 1_000_000_000 or not span:
            return None
        since, until = self._time
        condition = bounded(self._condition(rule))
        for longer in (1, LONGER):
            length = timedelta(seconds=longer * span // 1_000_000_000)
            tables: list[pl.DataFrame] = []
            for dataset in self._taken(rule):
                table = self._store.groups(
                    dataset, condition, names, length, since=since, until=until, most=MOST_COUNTED
                )
                if table is None:
                    break
                tables.append(table)
            else:
                return longer, tables
        return None


def _has_keys(name: str) -> bool:
    """Whether events can be counted by a field; open names are not in every index, texts may be too long."""
    return name in set(FIELDS) and FIELDS[name].kind in _COUNTABLE


def _has_values(name: str) -> bool:
    """Whether a store's distinct values are ours: one address may be written in many ways."""
    return _has_keys(name) and FIELDS[name].kind != "ip"


def _alike(correlation: Correlation) -> bool:
    """Whether groups of all rules can be told from counts, and keys of one rule are those of another."""
    for name in correlation.group_by:
        kinds = set()
        for rule in correlation.rules:
            known = FIELDS.get(correlation.field_of(name, rule))
            if known is None or known.many:
                return False
            kinds.add(known.kind)
        if len(kinds) > 1:
            return False
    return True


def _neighbours(pieces: Mapping[int, Any], nothing: Any) -> Iterable[tuple[Any, Any]]:
    """What lies in each piece and the one behind it."""
    for piece, of in pieces.items():
        yield of, pieces.get(piece + 1, nothing)


def _pairs(pieces: Mapping[int, _Cell]) -> Iterable[tuple[_Cell, _Cell]]:
    return _neighbours(pieces, _Cell())


def _reaches(correlation: Correlation, total: int) -> bool:
    """Whether some number from one up to ``total`` is within the bounds."""
    edges = {1, total}
    for _, number in correlation.conditions:
        edges |= {math.floor(number) - 1, math.floor(number), math.ceil(number), math.floor(number) + 1}
    return any(holds(correlation.conditions, edge) for edge in edges if 1 <= edge <= total)
