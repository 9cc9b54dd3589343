"""From YAML documents to a rule set: what ``load_rules`` does when nothing is cached."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal
from uuid import NAMESPACE_URL, uuid5

import yaml
from sigma.correlations import SigmaCorrelationRule
from sigma.exceptions import SigmaError
from sigma.filters import SigmaFilter
from sigma.rule import SigmaRule

from correlate.compile import Section, Values, join
from correlate.correlations import Known, compile_correlation
from correlate.errors import CompileError
from correlate.ir import CORRELATION_TYPES, LEVELS, Correlation, Level, Meta, Rule, RuleProblem, RuleSet, atoms_of
from correlate.logsources import Route, gate, recorded, unrecorded
from correlate.mapping import LogSource, mapping_of
from event.fields import FIELDS

# What pySigma raises on documents that are YAML and not Sigma, beside its own errors; NameError is an unset local
# variable in its correlation parser.
_PARSER_ERRORS = (
    SigmaError,
    ValueError,
    TypeError,
    AttributeError,
    KeyError,
    IndexError,
    NameError,
    AssertionError,
    RecursionError,
)

TACTICS = frozenset(
    {
        "reconnaissance",
        "resource-development",
        "initial-access",
        "execution",
        "persistence",
        "privilege-escalation",
        "defense-evasion",
        "stealth",
        "defense-impairment",
        "credential-access",
        "discovery",
        "lateral-movement",
        "collection",
        "command-and-control",
        "exfiltration",
        "impact",
        "evasion",
        "inhibit-response-function",
        "impair-process-control",
    }
)
"""Tactics of ATT&CK for Enterprise and for ICS, as Sigma tags spell them."""

_TECHNIQUE = re.compile(r"t\d{4}(\.\d{3})?")


class _Loader(yaml.CSafeLoader):
    """YAML in which a key that comes twice is an error, as the Sigma specification wants."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, (str, int, float, bool, type(None))):
                raise yaml.MarkedYAMLError(problem="a key is not plain text", problem_mark=key_node.start_mark)
            if key in seen:
                raise yaml.MarkedYAMLError(problem=f"the key {key!r} comes twice", problem_mark=key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


@dataclass(slots=True)
class _Document:
    path: str
    first_line: int
    lines: list[str]
    data: dict[str, Any]

    def line_of(self, *needles: str) -> int:
        """Line of the first needle that occurs, else the document's first line."""
        for needle in needles:
            for number, text in enumerate(self.lines):
                if needle in text:
                    return self.first_line + number
        return self.first_line

    def text(self, key: str) -> str:
        value = self.data.get(key)
        return value if isinstance(value, str) else ""


@dataclass(slots=True)
class _Parse:
    placeholders: Values
    problems: list[RuleProblem] = field(default_factory=list)

    def problem(
        self,
        document: _Document,
        severity: Literal["error", "warning"],
        message: str,
        *needles: str,
        known: Sequence[str] = (),
    ) -> None:
        line = document.line_of(*needles)
        self.problems.append(
            RuleProblem(
                severity, document.text("id"), document.text("title"), document.path, line, message, tuple(known)
            )
        )


def parse_documents(files: Sequence[Path], texts: Sequence[bytes], placeholders: Values) -> RuleSet:
    """Parse, check and compile all documents.

    Args:
        files: Paths, for messages.
        texts: Content of each file.
        placeholders: Values of ``expand`` placeholders.
    """
    parse = _Parse(placeholders)
    documents = [one for path, text in zip(files, texts, strict=True) for one in _documents(parse, path, text)]
    filters = [made for one in documents if "filter" in one.data and (made := _filter(parse, one))]
    ids: dict[str, _Document] = {}
    rules: list[Rule] = []
    for document in documents:
        if "filter" in document.data or "correlation" in document.data:
            continue
        rule = _rule(parse, document, filters)
        if rule is not None and _is_new(parse, ids, rule.id, document):
            rules.append(rule)
    for one in filters:
        if not one.used:
            parse.problem(one.document, "warning", "the filter applies to none of the rules", "rules:", "filter:")
    correlations = _correlations(parse, documents, rules, ids)
    silent = {rule for one, loud in correlations if not loud for rule in one.rules}
    ordered = sorted(parse.problems, key=lambda one: (one.path, one.line, one.message))
    return RuleSet(
        rules=tuple(replace(one, meta=_quiet(one.meta, one.id in silent)) for one in rules),
        correlations=tuple(replace(one, meta=_quiet(one.meta, one.id in silent)) for one, _ in correlations),
        problems=tuple(ordered),
    )


def _quiet(meta: Meta, silent: bool) -> Meta:
    return replace(meta, alerts=False) if silent else meta


def _is_new(parse: _Parse, ids: dict[str, _Document], rule_id: str, document: _Document) -> bool:
    first = ids.setdefault(rule_id, document)
    if first is document:
        return True
    where = f"{first.path}:{first.first_line}"
    parse.problem(document, "error", f"the id {rule_id} is already that of another rule ({where})", "id:")
    return False


def _documents(parse: _Parse, path: Path, content: bytes) -> Iterator[_Document]:
    """The YAML documents of one file, with ``action: global`` and its kin resolved."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        parse.problems.append(RuleProblem("error", "", path.stem, str(path), line, "the file is not UTF-8"))
        return
    lines = text.splitlines()
    starts = [number for number, line in enumerate(lines) if line == "---" or line.startswith("--- ")]
    try:
        loader = _Loader(text)
        loaded = []
        try:
            while loader.check_data():  # type: ignore[no-untyped-call]
                loaded.append(loader.get_data())
        finally:
            loader.dispose()
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        reason = getattr(error, "problem", None) or str(error).splitlines()[0]
        line = mark.line + 1 if mark is not None else 1
        parse.problems.append(RuleProblem("error", "", path.stem, str(path), line, f"not valid YAML: {reason}"))
        return
    if not starts or any(line.strip() and not line.lstrip().startswith("#") for line in lines[: starts[0]]):
        starts.insert(0, -1)
    base: dict[str, Any] = {}
    before: dict[str, Any] = {}
    for number, data in enumerate(loaded):
        begin = starts[number] + 1 if number < len(starts) else 0
        end = starts[number + 1] if number + 1 < len(starts) else len(lines)
        document = _Document(str(path), begin + 1, lines[begin:end], {})
        if data is None:
            continue
        if not isinstance(data, dict):
            parse.problem(document, "error", "a rule is a mapping of keys to values")
            continue
        document.data = {str(key): value for key, value in data.items()}
        action = document.data.pop("action", None)
        if action == "global":
            base = before = document.data
        elif action == "reset":
            base = {}
        elif action == "repeat":
            document.data = before = _merge(before, document.data)
            yield document
        elif action is not None:
            known = ("global", "repeat", "reset")
            parse.problem(document, "error", f"unknown action {action!r}", "action:", known=known)
        else:
            if "correlation" not in document.data and "filter" not in document.data:
                document.data = before = _merge(base, document.data)
            yield document


def _merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        merged[key] = _merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def _clean(error: BaseException) -> str:
    text = str(error.args[0]) if error.args else type(error).__name__
    return text.splitlines()[0] if text else type(error).__name__


def _report(parse: _Parse, document: _Document, error: BaseException) -> None:
    """One problem out of what pySigma says, at the line it is about."""
    message = _clean(error)
    if not isinstance(error, SigmaError):
        message = f"not a valid Sigma rule: {message}"
    known: tuple[str, ...] = ()
    needles: list[str] = []
    needles += [word for word in re.findall(r"'\s*([^']+?)\s*'", message) if len(word) > 1]
    needles += [word for word in re.findall(r"\S{4,}", message) if re.search(r"[^\w.,:;']", word)]
    kind = type(error).__name__.removeprefix("Sigma").removesuffix("Error").lower()
    kind = {"identifier": "id", "condition": "condition", "correlationtype": "type", "tag": "tags"}.get(kind, kind)
    if kind == "level":
        known = LEVELS
    needles += [f"{kind}:", "correlation:", "detection:"]
    parse.problem(document, "error", message, *needles, known=known)


_STUB = {"stub": {"stub": 0}, "condition": "stub"}
"""A detection that pySigma is shown where it reads what a rule says about itself; the real one is read here."""


@dataclass(slots=True)
class _Filter:
    """A filter rule: what is joined to the rules it names."""

    document: _Document
    logsource: LogSource
    rules: frozenset[str] | None
    detection: dict[str, Any]
    used: bool = False

    def applies(self, logsource: LogSource, names: Sequence[str | None]) -> bool:
        """Whether it is for a rule of this logsource with this id and name."""
        if any(mine is not None and mine != theirs for mine, theirs in zip(self.logsource, logsource, strict=True)):
            return False
        return self.rules is None or not self.rules.isdisjoint(name.lower() for name in names if name)


def _filter(parse: _Parse, document: _Document) -> _Filter | None:
    body = document.data["filter"]
    shown = {**document.data}
    if isinstance(body, dict):
        shown["filter"] = {key: body[key] for key in ("rules", "condition") if key in body} | {"stub": {"stub": 0}}
    try:
        made = SigmaFilter.from_dict(shown, collect_errors=True)
    except _PARSER_ERRORS as error:
        _report(parse, document, error)
        return None
    for one_error in made.errors:
        _report(parse, document, one_error)
    if made.errors or not isinstance(body, dict):
        return None
    detection = {str(key): value for key, value in body.items() if key != "rules"}
    section = Section({}, parse.placeholders)
    try:
        section.compile(detection, owner="filter")
    except CompileError as error:
        _refuse(parse, document, error)
        return None
    _warn(parse, document, section)
    names = made.filter.rules
    rules = None if isinstance(names, str) else frozenset(str(one.reference).lower() for one in names)
    return _Filter(document, _logsource(made.logsource), rules, detection)


def _logsource(source: Any) -> LogSource:
    return source.product, source.category, source.service


def _rule(parse: _Parse, document: _Document, filters: Sequence[_Filter]) -> Rule | None:
    if "detection" not in document.data or "logsource" not in document.data:
        missing = "detection" if "detection" not in document.data else "logsource"
        parse.problem(document, "error", f"a rule needs {missing!r}", "title:")
        return None
    try:
        parsed = SigmaRule.from_dict({**document.data, "detection": _STUB}, collect_errors=True)
        for one_error in parsed.errors:
            _report(parse, document, one_error)
        if parsed.errors:
            return None
        rule = Rule(_meta(parse, document, parsed), Route(), _logsource(parsed.logsource), None)
        names = mapping_of(rule.logsource)
        section = Section(names, parse.placeholders)
        node = section.compile(document.data["detection"])
        for one in filters:
            if one.applies(rule.logsource, (rule.id, rule.meta.name)):
                node = join("and", [node, Section(names, parse.placeholders).compile(one.detection, owner="filter")])
                one.used = True
    except CompileError as error:
        return replace(rule, error=_refuse(parse, document, error))
    except _PARSER_ERRORS as error:
        _report(parse, document, error)
        return None
    _warn(parse, document, section)
    named = dict.fromkeys(name for name, _, _ in atoms_of(node) if name is not None)
    for _, op, payload in atoms_of(node):
        if op == "fieldref":
            named[payload[0]] = None
    where, within = gate(rule.logsource, named, node)
    if where:
        _unknown_fields(parse, document, unrecorded(rule.logsource, named, node), rule.logsource)
    shown = (names.get(name, name) for name in parsed.fields or ())
    named.update(dict.fromkeys(name for name in shown if name in FIELDS))
    return replace(
        rule, route=where, condition=node if within is None else join("and", [within, node]), fields=tuple(named)
    )


def _refuse(parse: _Parse, document: _Document, error: CompileError) -> str:
    """Report what cannot be evaluated, at its line."""
    message = str(error)
    parse.problem(
        document, "error", message, *error.places, *_quoted(message), "condition:", "detection:", known=error.known
    )
    return message


def _warn(parse: _Parse, document: _Document, section: Section) -> None:
    for message, places in section.warnings:
        parse.problem(document, "warning", message, *places)


def _quoted(message: str) -> list[str]:
    return [word.replace("\\\\", "\\") for word in re.findall(r"['%]([^'%]+)['%]", message)]


def _unknown_fields(parse: _Parse, document: _Document, names: Sequence[str], logsource: LogSource) -> None:
    mapping = mapping_of(logsource)
    prefix = getattr(mapping, "prefix", None) or ""
    for name in names:
        written = next((theirs for theirs, ours in mapping.items() if ours == name), name.removeprefix(prefix))
        message = f"the field {written!r} is not in the catalogue and not mapped: it is null in every event"
        if name in FIELDS:
            message = f"the field {written!r} is recorded by no event of this log source: it is null in every event"
        needles = (f"{written}:", f"{written}|", written)
        parse.problem(document, "warning", message, *needles, known=_similar(name, logsource))


@lru_cache(4096)
def _similar(name: str, logsource: LogSource) -> tuple[str, ...]:
    """Names that may be meant: of the log source's own fields where they are listed, else of the catalogue."""
    prefix = getattr(mapping_of(logsource), "prefix", None) or ""
    listed = recorded(logsource)
    near = get_close_matches(name, listed or FIELDS, n=3, cutoff=0.7)
    return tuple(one.removeprefix(prefix) for one in near)


def _meta(parse: _Parse, document: _Document, parsed: SigmaRule | SigmaCorrelationRule) -> Meta:
    rule_id = str(parsed.id) if parsed.id is not None else ""
    if not rule_id:
        rule_id = str(uuid5(NAMESPACE_URL, f"sigma:{parsed.title}"))
        message = f"the rule has no id; {rule_id} was made out of its title"
        parse.problem(document, "warning", message, "title:")
    techniques: list[str] = []
    tactics: list[str] = []
    for tag in parsed.tags:
        if tag.namespace != "attack":
            continue
        name = tag.name.lower().replace("_", "-")
        if _TECHNIQUE.fullmatch(name):
            techniques.append(name.upper())
        elif name in TACTICS:
            tactics.append(name)
    level = parsed.level.name.lower() if parsed.level is not None else "medium"
    return Meta(
        id=rule_id,
        title=parsed.title,
        name=parsed.name,
        level=next(one for one in LEVELS if one == level),
        path=document.path,
        line=document.first_line,
        status=parsed.status.name.lower() if parsed.status is not None else None,
        description=parsed.description,
        author=tuple(one.strip() for one in (parsed.author or "").split(",") if one.strip()),
        license=parsed.license,
        references=tuple(str(one) for one in parsed.references),
        techniques=tuple(dict.fromkeys(techniques)),
        tactics=tuple(dict.fromkeys(tactics)),
        tags=tuple(str(one) for one in parsed.tags),
        false_positives=tuple(str(one) for one in parsed.falsepositives),
        title_zh=document.text("title_zh") or None,
        description_zh=document.text("description_zh") or None,
    )


def _correlations(
    parse: _Parse, documents: Sequence[_Document], rules: Sequence[Rule], ids: dict[str, _Document]
) -> list[tuple[Correlation, bool]]:
    """Correlations in order of their references, each with whether its rules alert by themselves."""
    known: Known = {}
    for rule in rules:
        known[rule.id] = rule.id
        if rule.meta.name:
            known.setdefault(rule.meta.name, rule.id)
    parsed: list[tuple[_Document, SigmaCorrelationRule, Meta]] = []
    for document in documents:
        if "correlation" not in document.data:
            continue
        one = _parse_correlation(parse, document)
        if one is None:
            continue
        meta = _meta(parse, document, one)
        if not _is_new(parse, ids, meta.id, document):
            continue
        parsed.append((document, one, meta))
        known[meta.id] = meta.id
        if meta.name:
            known.setdefault(meta.name, meta.id)
    levels = {rule.id: rule.meta.level for rule in rules}
    logsources = {rule.id: rule.logsource for rule in rules}
    made: list[tuple[Correlation, bool]] = []
    for document, one, meta in parsed:
        try:
            correlation = compile_correlation(one, document.data["correlation"], meta, known)
            correlation = _mapped(correlation, logsources)
        except CompileError as error:
            parse.problem(document, "error", str(error), *_quoted(str(error)), "correlation:")
            continue
        made.append((correlation, one.generate))
    return _in_order(parse, made, levels, {document.path + meta.id: document for document, _, meta in parsed})


def _mapped(correlation: Correlation, logsources: Mapping[str, LogSource]) -> Correlation:
    """Group-by and value fields in the words of the rules' logsource become aliases of ours."""
    aliases = {name: dict(of) for name, of in correlation.aliases.items()}
    for rule in correlation.rules:
        names = mapping_of(logsources[rule]) if rule in logsources else {}
        for name in (*correlation.group_by, *correlation.value_fields):
            field = correlation.field_of(name, rule)
            if field in names:
                aliases.setdefault(name, {})[rule] = names[field]
    return replace(correlation, aliases=aliases)


def _lost(one: Correlation, done: Mapping[str, Correlation]) -> str | None:
    """What a correlation asks of another that an alert of that one does not carry."""
    for rule in one.rules:
        below = done.get(rule)
        for name in (*one.group_by, *one.value_fields):
            field = one.field_of(name, rule)
            if below is not None and field not in below.group_by:
                return f"the correlation {below.meta.title!r} is not grouped by {field!r}"
    return None


def _parse_correlation(parse: _Parse, document: _Document) -> SigmaCorrelationRule | None:
    data = dict(document.data)
    body = data.get("correlation")
    if not isinstance(body, dict):
        parse.problem(document, "error", "'correlation' is a mapping of keys to values", "correlation:")
        return None
    kind = body.get("type")
    if kind not in CORRELATION_TYPES:
        message = "the correlation has no 'type'" if kind is None else f"{kind!r} is no type of correlation"
        parse.problem(document, "error", message, "type:", "correlation:", known=CORRELATION_TYPES)
        return None
    condition = body.get("condition")
    if isinstance(condition, dict):
        # Specification 2.1 allows ranges (gt and lt together) and fractions; pySigma takes one whole number.
        bounds = [key for key in condition if key in ("gt", "gte", "lt", "lte", "eq", "neq")]
        rest = {key: value for key, value in condition.items() if key not in bounds[1:]}
        if bounds and isinstance(rest[bounds[0]], (int, float)):
            rest[bounds[0]] = 1
        data["correlation"] = {**body, "condition": rest}
    if kind == "absence":  # ours: to pySigma it looks like the type that has the same keys
        data["correlation"] = {**{key: body[key] for key in body if key != "condition"}, "type": "temporal"}
    try:
        one = SigmaCorrelationRule.from_dict(data, collect_errors=True)
    except _PARSER_ERRORS as error:
        _report(parse, document, error)
        return None
    for one_error in one.errors:
        _report(parse, document, one_error)
    return None if one.errors else one


def _in_order(
    parse: _Parse,
    made: Sequence[tuple[Correlation, bool]],
    levels: Mapping[str, Level],
    documents: Mapping[str, _Document],
) -> list[tuple[Correlation, bool]]:
    """Every correlation after those that feed it; circles and dead references are errors."""
    by_id = {one.id: (one, loud) for one, loud in made}
    done: dict[str, Correlation] = {}
    ordered: list[tuple[Correlation, bool]] = []
    waiting = dict(by_id)
    while waiting:
        ready = [key for key, (one, _) in waiting.items() if not any(rule in waiting for rule in one.rules)]
        for key in ready:
            one, loud = waiting.pop(key)
            document = documents[one.meta.path + one.id]
            if document.data.get("level") is None:
                below = [
                    levels.get(rule) or done[rule].meta.level for rule in one.rules if rule in levels or rule in done
                ]
                highest: Level = max(below, key=LEVELS.index, default="medium")
                one = replace(one, meta=replace(one.meta, level=highest))
            missing = [rule for rule in one.rules if rule not in levels and rule not in done]
            if missing:
                parse.problem(document, "error", f"the correlation's rule {missing[0]!r} is not usable", "rules:")
                continue
            lost = _lost(one, done)
            if lost:
                parse.problem(document, "error", lost, "group-by:", "condition:")
                continue
            done[key] = one
            ordered.append((one, loud))
        if not ready:
            for one, _ in waiting.values():
                document = documents[one.meta.path + one.id]
                parse.problem(document, "error", "the correlation refers to itself in a circle", "rules:")
            break
    return ordered
