"""Checks a document against OASIS CACAO Security Playbooks Version 2.0 (Committee Specification 01).

All problems are collected, each with the path of the place inside the document. Open vocabularies of the
specification stay open: a value that is not listed there is no problem. What the specification leaves to the
engine is checked too: that every step named exists and can be reached, that a branch comes to an end, and that
nothing goes round for ever outside a while-condition.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

SPEC_VERSION = "cacao-2.0"
MAX_STEPS = 1000

STEP_TYPES = (
    "start",
    "end",
    "action",
    "playbook-action",
    "parallel",
    "if-condition",
    "while-condition",
    "switch-condition",
)
"""Workflow step types, section 4."""

_UUID = r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[1-5][0-9a-fA-F]{3}-[89abAB][0-9a-fA-F]{3}-[0-9a-fA-F]{12}"
_IDENTIFIER = re.compile(rf"[a-z][a-z0-9-]+[a-z0-9]--{_UUID}")
_TIMESTAMP = re.compile(
    r"[0-9]{4}-(0[1-9]|1[012])-(0[1-9]|[12][0-9]|3[01])T([01][0-9]|2[0-3]):[0-5][0-9]:([0-5][0-9]|60)(\.[0-9]+)?Z"
)
_VARIABLE = re.compile(r"__[a-zA-Z_][a-zA-Z0-9_-]{0,199}__")

# Property -> kind; a leading * marks a required one. Kinds are explained in ``_Check.value``.
_PLAYBOOK = {
    "*type": "text",
    "*spec_version": "text",
    "*id": "id:playbook",
    "*name": "text",
    "description": "text",
    "playbook_types": "texts",
    "playbook_activities": "texts",
    "playbook_processing_summary": "flags",
    "*created_by": "id:identity",
    "*created": "time",
    "*modified": "time",
    "revoked": "bool",
    "valid_from": "time",
    "valid_until": "time",
    "derived_from": "ids",
    "related_to": "ids",
    "priority": "percent",
    "severity": "percent",
    "impact": "percent",
    "industry_sectors": "texts",
    "labels": "texts",
    "external_references": "references",
    "markings": "ids",
    "playbook_variables": "variables",
    "*workflow_start": "id:start",
    "workflow_exception": "id",
    "*workflow": "map",
    "playbook_extensions": "extensions",
    "authentication_info_definitions": "map",
    "agent_definitions": "map",
    "target_definitions": "map",
    "extension_definitions": "map",
    "data_marking_definitions": "map",
    "signatures": "list",
}
_STEP = {
    "*type": "text",
    "name": "text",
    "description": "text",
    "external_references": "references",
    "delay": "count",
    "timeout": "count",
    "step_variables": "variables",
    "owner": "id",
    "on_completion": "id",
    "on_success": "id",
    "on_failure": "id",
    "step_extensions": "extensions",
}
_OF_TYPE: dict[str, dict[str, str]] = {
    "start": {},
    "end": {},
    "action": {"*commands": "list", "*agent": "id", "targets": "ids", "in_args": "texts", "out_args": "texts"},
    "playbook-action": {
        "*playbook_id": "id:playbook",
        "playbook_version": "time",
        "in_args": "texts",
        "out_args": "texts",
    },
    "parallel": {"*next_steps": "ids"},
    "if-condition": {"*condition": "text", "*on_true": "id", "on_false": "id"},
    "while-condition": {"*condition": "text", "*on_true": "id"},
    "switch-condition": {"*switch": "text", "*cases": "map"},
}
_COMMAND = {
    "*type": "text",
    "description": "text",
    "version": "text",
    "playbook_activity": "text",
    "external_references": "references",
    "command": "text",
    "command_b64": "text",
    "content": "text",
    "content_b64": "text",
    "headers": "map",
}
_REFERENCE = {
    "*name": "text",
    "description": "text",
    "source": "text",
    "url": "text",
    "external_id": "text",
    "reference_id": "text",
}
_EXTENSION = {
    "*type": "text",
    "*name": "text",
    "description": "text",
    "*created_by": "id:identity",
    "*schema": "text",
    "*version": "text",
    "external_references": "references",
}
_FLAGS = {
    "manual_playbook",
    "external_playbooks",
    "parallel_processing",
    "if_logic",
    "while_logic",
    "switch_logic",
    "temporal_logic",
    "data_markings",
    "digital_signatures",
    "countersigned_signatures",
    "extensions",
}


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong, and where in the document."""

    path: str
    what: str

    def __str__(self) -> str:
        return f"{self.path}: {self.what}"


def is_identifier(value: object, prefix: str | None = None) -> bool:
    """Whether ``value`` is a CACAO identifier, of the object type ``prefix`` if given."""
    if not isinstance(value, str) or not _IDENTIFIER.fullmatch(value):
        return False
    return prefix is None or value.split("--")[0] == prefix


def successors(step: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(property, step id) of every step that ``step`` names."""
    for name in ("on_completion", "on_success", "on_failure", "on_true", "on_false"):
        if isinstance(step.get(name), str):
            yield name, step[name]
    if isinstance(step.get("next_steps"), list):
        yield from ((f"next_steps[{i}]", s) for i, s in enumerate(step["next_steps"]) if isinstance(s, str))
    if isinstance(step.get("cases"), dict):
        yield from ((f"cases.{k}", s) for k, s in step["cases"].items() if isinstance(s, str))


class _Check:
    def __init__(self, document: Mapping[str, Any]) -> None:
        self.document = document
        self.problems: list[Problem] = []

    def say(self, path: str, what: str) -> None:
        self.problems.append(Problem(path, what))

    def members(self, path: str, value: object, properties: Mapping[str, str]) -> bool:
        """Check the properties of an object; False if it is none."""
        if not isinstance(value, dict):
            self.say(path or "$", "must be an object")
            return False
        kinds = {name.lstrip("*"): kind for name, kind in properties.items()}
        prefix = f"{path}." if path else ""
        for name in properties:
            if name.startswith("*") and name[1:] not in value:
                self.say(f"{prefix}{name[1:]}", "is required")
        for name, one in value.items():
            if name not in kinds:
                near = ", ".join(sorted(kinds))
                self.say(f"{prefix}{name}", f"is not a property here; known: {near}")
            else:
                self.value(f"{prefix}{name}", one, kinds[name])
        return True

    def value(self, path: str, value: object, kind: str) -> None:
        """Check one value by its kind."""
        if kind == "text":
            if not isinstance(value, str) or not value:
                self.say(path, "must be a text that is not empty")
        elif kind.startswith("id") and kind != "ids":
            prefix = kind.partition(":")[2] or None
            if not is_identifier(value, prefix):
                self.say(path, f"must be an identifier {prefix or '<type>'}--<UUID>")
        elif kind == "time":
            if not isinstance(value, str) or not _TIMESTAMP.fullmatch(value):
                self.say(path, "must be a time such as 2026-01-31T08:00:00.000Z")
        elif kind == "bool":
            if not isinstance(value, bool):
                self.say(path, "must be true or false")
        elif kind in ("percent", "count"):
            least, most = (0, 100) if kind == "percent" else (0, 1 << 53)
            if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
                self.say(path, f"must be an integer from {least} to {most}")
        elif kind == "map":
            if not isinstance(value, dict) or not value:
                self.say(path, "must be an object that is not empty")
        elif kind == "flags":
            self._flags(path, value)
        elif kind == "variables":
            self._variables(path, value)
        elif kind == "extensions":
            self._extensions(path, value)
        elif not isinstance(value, list) or not value:
            self.say(path, "must be a list that is not empty")
        elif kind != "list":
            one = {"texts": "text", "ids": "id"}.get(kind)
            for index, entry in enumerate(value):
                if one is None:
                    self.members(f"{path}[{index}]", entry, _REFERENCE)
                else:
                    self.value(f"{path}[{index}]", entry, one)

    def _flags(self, path: str, value: object) -> None:
        if not isinstance(value, dict):
            self.say(path, "must be an object")
            return
        for name, flag in value.items():
            if name not in _FLAGS:
                self.say(f"{path}.{name}", f"is not a property here; known: {', '.join(sorted(_FLAGS))}")
            else:
                self.value(f"{path}.{name}", flag, "bool")

    def _variables(self, path: str, value: object) -> None:
        if not isinstance(value, dict):
            self.say(path, "must be an object")
            return
        known = {
            "*type": "text",
            "description": "text",
            "value": "any",
            "constant": "bool",
            "external": "bool",
        }
        for name, variable in value.items():
            if not _VARIABLE.fullmatch(str(name)):
                self.say(f"{path}.{name}", "variable names look like __name__")
            given = dict(variable) if isinstance(variable, dict) else variable
            text = given.pop("value", None) if isinstance(given, dict) else None
            if text is not None and not isinstance(text, str):
                self.say(f"{path}.{name}.value", "must be a text or null; quote it")
            self.members(f"{path}.{name}", given, known)

    def _extensions(self, path: str, value: object) -> None:
        if not isinstance(value, dict) or not value:
            self.say(path, "must be an object that is not empty")
            return
        defined = self.document.get("extension_definitions")
        for name, one in value.items():
            if not is_identifier(name, "extension-definition"):
                self.say(f"{path}.{name}", "must be an identifier extension-definition--<UUID>")
            elif not isinstance(defined, dict) or name not in defined:
                self.say(f"{path}.{name}", "is not defined in extension_definitions")
            if not isinstance(one, dict):
                self.say(f"{path}.{name}", "must be an object")

    # --- parts of the document ---

    def definitions(self) -> None:
        agents = {
            "*type": "text",
            "*name": "text",
            "description": "text",
            "location": "map",
            "agent_target_extensions": "extensions",
            "contact": "map",
            "logical": "texts",
            "sector": "text",
            "category": "texts",
            "address": "map",
            "port": "text",
            "username": "text",
            "authentication_info": "id",
        }
        for part in ("agent_definitions", "target_definitions"):
            for name, one in _items(self.document.get(part)):
                path = f"{part}.{name}"
                if self.members(path, one, agents):
                    self._keyed(path, name, one)
                    needs = {"net-address": "address", "sector": "sector", "security-category": "category"}
                    wanted = needs.get(str(one.get("type")))
                    if wanted is not None and wanted not in one:
                        self.say(f"{path}.{wanted}", "is required")
        for name, one in _items(self.document.get("extension_definitions")):
            path = f"extension_definitions.{name}"
            if self.members(path, one, _EXTENSION):
                self._keyed(path, name, one)
        for part in ("authentication_info_definitions", "data_marking_definitions"):
            for name, one in _items(self.document.get(part)):
                if not isinstance(one, dict):
                    self.say(f"{part}.{name}", "must be an object")
                else:
                    self._keyed(f"{part}.{name}", name, one)

    def _keyed(self, path: str, name: str, one: Mapping[str, Any]) -> None:
        """The key of a definition or step is an identifier of its type."""
        kind = one.get("type")
        if isinstance(kind, str) and not is_identifier(name, kind):
            self.say(path, f"key must be {kind}--<UUID>")

    def steps(self) -> None:
        workflow = self.document.get("workflow")
        if not isinstance(workflow, dict):
            return
        if len(workflow) > MAX_STEPS:
            self.say("workflow", f"has more than {MAX_STEPS} steps")
            return
        for name, step in workflow.items():
            path = f"workflow.{name}"
            kind = step.get("type") if isinstance(step, dict) else None
            if kind not in STEP_TYPES:
                self.say(f"{path}.type", f"must be one of {', '.join(STEP_TYPES)}")
                continue
            self.members(path, step, {**_STEP, **_OF_TYPE[kind]})
            self._keyed(path, name, step)
            self._way_on(path, kind, step)
            for where, target in successors(step):
                if target not in workflow:
                    self.say(f"{path}.{where}", f"step {target} does not exist")
                elif target.startswith("start--"):
                    self.say(f"{path}.{where}", "a start step cannot follow a step")
            if kind == "action":
                self._action(path, step)
            if kind == "parallel" and isinstance(step.get("next_steps"), list) and len(step["next_steps"]) < 2:
                self.say(f"{path}.next_steps", "must name two steps at least")
            self._arguments(path, step)

    def _way_on(self, path: str, kind: str, step: Mapping[str, Any]) -> None:
        ways = {name for name in ("on_completion", "on_success", "on_failure") if name in step}
        if kind == "end":
            if ways:
                self.say(path, f"an end step has no {', '.join(sorted(ways))}")
        elif not ways & {"on_completion", "on_success"}:
            self.say(path, "needs on_completion or on_success")
        elif "on_completion" in ways and len(ways) > 1:
            self.say(path, "on_completion excludes on_success and on_failure")
        elif kind == "start" and "on_completion" not in ways:
            self.say(path, "a start step goes on by on_completion")

    def _action(self, path: str, step: Mapping[str, Any]) -> None:
        for index, command in enumerate(step["commands"] if isinstance(step.get("commands"), list) else ()):
            place = f"{path}.commands[{index}]"
            if self.members(place, command, _COMMAND) and not {"command", "command_b64"} & set(command):
                self.say(place, "needs command or command_b64")
        agent = step.get("agent")
        if is_identifier(agent) and agent not in (self.document.get("agent_definitions") or {}):
            self.say(f"{path}.agent", f"{agent} is not in agent_definitions")
        for index, target in enumerate(step["targets"] if isinstance(step.get("targets"), list) else ()):
            if is_identifier(target) and target not in (self.document.get("target_definitions") or {}):
                self.say(f"{path}.targets[{index}]", f"{target} is not in target_definitions")

    def _arguments(self, path: str, step: Mapping[str, Any]) -> None:
        known = {*_names(self.document.get("playbook_variables")), *_names(step.get("step_variables"))}
        for part in ("in_args", "out_args"):
            for index, name in enumerate(step[part] if isinstance(step.get(part), list) else ()):
                if name not in known:
                    self.say(f"{path}.{part}[{index}]", f"variable {name} is not defined")
        for part in ("condition", "switch"):
            if isinstance(step.get(part), str):
                for name in _VARIABLE.findall(step[part]):
                    if name not in known:
                        self.say(f"{path}.{part}", f"variable {name} is not defined")

    def whole(self) -> None:
        """What only shows over all steps: one start, an end, everything reached, nothing endless."""
        workflow = self.document.get("workflow")
        if not isinstance(workflow, dict) or not all(isinstance(s, dict) for s in workflow.values()):
            return
        kinds = [step.get("type") for step in workflow.values()]
        if kinds.count("start") != 1:
            self.say("workflow", f"must have exactly one start step, has {kinds.count('start')}")
        if "end" not in kinds:
            self.say("workflow", "must have an end step")
        start = self.document.get("workflow_start")
        if isinstance(start, str) and start not in workflow:
            self.say("workflow_start", f"step {start} does not exist")
        exception = self.document.get("workflow_exception")
        if isinstance(exception, str) and exception not in workflow:
            self.say("workflow_exception", f"step {exception} does not exist")
        graph = {name: [t for _, t in successors(step) if t in workflow] for name, step in workflow.items()}
        reached = _reach(graph, [s for s in (start, exception) if isinstance(s, str)])
        for name in workflow:
            if name not in reached:
                self.say(f"workflow.{name}", "is never reached")
        for name in _endless(graph):
            self.say(f"workflow.{name}", "comes back to itself outside a while-condition")
        self._summary(kinds)

    def _summary(self, kinds: Sequence[object]) -> None:
        summary = self.document.get("playbook_processing_summary")
        if not isinstance(summary, dict):
            return
        facts = {
            "external_playbooks": "playbook-action" in kinds,
            "parallel_processing": "parallel" in kinds,
            "if_logic": "if-condition" in kinds,
            "while_logic": "while-condition" in kinds,
            "switch_logic": "switch-condition" in kinds,
        }
        for name, fact in facts.items():
            if summary.get(name, False) is not fact:
                self.say(f"playbook_processing_summary.{name}", f"must be {str(fact).lower()} for this workflow")


def _items(value: object) -> list[tuple[str, Any]]:
    return [(str(k), v) for k, v in value.items()] if isinstance(value, dict) else []


def _names(value: object) -> list[str]:
    return [name for name, _ in _items(value)]


def _reach(graph: Mapping[str, Sequence[str]], roots: Sequence[str]) -> set[str]:
    reached: set[str] = set()
    pending = [root for root in roots if root in graph]
    while pending:
        name = pending.pop()
        if name not in reached:
            reached.add(name)
            pending.extend(graph[name])
    return reached


def _endless(graph: Mapping[str, Sequence[str]]) -> list[str]:
    """Steps on a cycle. A while body ends in an end step and so is none."""
    waiting = dict.fromkeys(graph, 0)
    for targets in graph.values():
        for target in targets:
            waiting[target] += 1
    ready = [name for name, count in waiting.items() if count == 0]
    while ready:
        for target in graph[ready.pop()]:
            waiting[target] -= 1
            if waiting[target] == 0:
                ready.append(target)
    left = {name for name, count in waiting.items() if count > 0}
    return sorted(name for name in left if name in _reach(graph, graph[name]))


def check(document: object) -> list[Problem]:
    """All problems of ``document``, in its order; an empty list means that it is a valid playbook."""
    if not isinstance(document, dict):
        return [Problem("$", "must be an object")]
    one = _Check(document)
    one.members("", document, _PLAYBOOK)
    if document.get("type") not in (None, "playbook"):
        one.say("type", "must be 'playbook'")
    if document.get("spec_version") not in (None, SPEC_VERSION):
        one.say("spec_version", f"must be {SPEC_VERSION!r}")
    for early, late in (("created", "modified"), ("valid_from", "valid_until")):
        first, second = document.get(early), document.get(late)
        if isinstance(first, str) and isinstance(second, str) and second < first:
            one.say(late, f"is before {early}")
    one.definitions()
    one.steps()
    one.whole()
    return one.problems
