"""Playbooks: load, check, choose by incident, quote as recommended measures.

A playbook is an OASIS CACAO v2.0 document in YAML or JSON. What CACAO has no place for — Chinese texts, the PDCERF
phase of a step, which incidents the playbook is for — sits in an extension of ours:

    playbook_extensions:
      extension-definition--2f1c7b5e-...:
        name_zh: 未授权控制指令处置
        description_zh: ...
        applies_to: {categories: [...], techniques: [...], protocols: [...]}
    step_extensions:
      extension-definition--2f1c7b5e-...:
        name_zh: ...
        commands_zh: [...]      # one for each command
        phase: containment      # PDCERF
        question_zh: ...        # what a condition asks

Playbooks of others, without the extension, load as well; they are chosen by hand only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from correlate.categories import known_categories
from event import yaml_text
from event.errors import PlaybookError
from event.incident import Incident, Step
from respond.cacao import check, successors

EXTENSION = "extension-definition--2f1c7b5e-5d0a-5c3e-9b63-7a1f4c0d8e21"
"""Our extension; see the module's words."""

PHASES = ("preparation", "detection", "containment", "eradication", "recovery", "follow_up")
"""PDCERF: 准备、检测、抑制、根除、恢复、跟踪."""

_MAX_FILE = 4 << 20  # bytes; a playbook is kilobytes
_MAX_ACTIONS = 60


@dataclass(frozen=True, slots=True)
class Command:
    """One command of an action step; of type ``manual`` it is for people, all others are shown and never run."""

    type: str
    text: str
    text_zh: str


@dataclass(frozen=True, slots=True)
class Agent:
    """Who does a step, or what it is done to."""

    id: str
    type: str
    name: str
    name_zh: str


@dataclass(frozen=True, slots=True)
class PlaybookStep:
    """One workflow step, with texts in both languages (English where there is no Chinese one)."""

    id: str
    type: str
    name: str
    name_zh: str
    description: str = ""
    """What the document says, else the commands, else the question of a condition."""
    description_zh: str = ""
    phase: str = ""
    commands: tuple[Command, ...] = ()
    agent: Agent | None = None
    targets: tuple[Agent, ...] = ()
    on_completion: str | None = None
    on_success: str | None = None
    on_failure: str | None = None
    on_true: str | None = None
    on_false: str | None = None
    next_steps: tuple[str, ...] = ()
    cases: Mapping[str, str] = field(default_factory=dict)
    condition: str | None = None
    switch: str | None = None
    question: str = ""
    question_zh: str = ""
    playbook_id: str | None = None
    delay_ms: int | None = None
    timeout_ms: int | None = None
    external_references: tuple[Mapping[str, str], ...] = ()

    @property
    def onward(self) -> str | None:
        """The step after this one, its branches included, when all goes well."""
        return self.on_completion or self.on_success


@dataclass(frozen=True, slots=True)
class Playbook:
    """A checked playbook."""

    id: str
    name: str
    name_zh: str
    description: str
    description_zh: str
    path: str
    start: str
    exception: str | None
    steps: Mapping[str, PlaybookStep]
    variables: Mapping[str, str | None]
    modified: str
    types: tuple[str, ...] = ()
    severity: int | None = None
    priority: int | None = None
    labels: tuple[str, ...] = ()
    external_references: tuple[Mapping[str, str], ...] = ()
    categories: tuple[str, ...] = ()
    techniques: tuple[str, ...] = ()
    protocols: tuple[str, ...] = ()

    def ordered(self) -> list[PlaybookStep]:
        """Steps in the order in which a reader meets them: branches first, then what follows them."""
        order: list[PlaybookStep] = []
        seen: set[str] = set()

        def visit(name: str | None) -> None:
            while name is not None and name not in seen:
                seen.add(name)
                step = self.steps[name]
                order.append(step)
                for inner in (*step.next_steps, step.on_true, step.on_false, *step.cases.values(), step.on_failure):
                    visit(inner)
                name = step.onward

        visit(self.start)
        visit(self.exception)
        return order


@dataclass(frozen=True, slots=True)
class Choice:
    """A playbook that fits an incident, and why."""

    playbook: Playbook
    score: int
    reason_zh: str
    reason_en: str


@dataclass(frozen=True, slots=True)
class Library:
    """All playbooks that loaded, by path, and the problems of the others (``file: path: what``)."""

    playbooks: tuple[Playbook, ...]
    problems: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[Playbook]:
        return iter(self.playbooks)

    def __len__(self) -> int:
        return len(self.playbooks)

    def get(self, identity: str) -> Playbook:
        """A playbook by id, a unique beginning of its UUID, or file stem.

        Raises:
            PlaybookError: None or several fit.
        """
        found = [
            p
            for p in self
            if p.id == identity
            or p.id.removeprefix("playbook--").startswith(identity.removeprefix("playbook--") or "-")
            or Path(p.path).stem == identity
        ]
        if len(found) == 1:
            return found[0]
        what = f"{'no' if not found else 'more than one'} playbook {identity!r}"
        raise PlaybookError(what, hint="known: " + ", ".join(f"{Path(p.path).stem} ({p.id})" for p in self))


def playbooks_dir() -> Path:
    """Where the shipped playbooks lie: in the installed package, else in the checkout.

    Raises:
        PlaybookError: Neither is there.
    """
    for folder in (
        Path(str(files("respond"))) / "_content" / "playbooks",
        Path(__file__).resolve().parent.parent / "playbooks",
    ):
        if folder.is_dir():
            return folder
    raise PlaybookError("the shipped playbooks are missing", hint="reinstall jianmen, or name a folder of playbooks")


def _texts(value: Mapping[str, Any]) -> Mapping[str, Any]:
    for name in ("playbook_extensions", "step_extensions", "agent_target_extensions"):
        if name in value:
            own: Mapping[str, Any] = value[name].get(EXTENSION, {})
            return own
    return {}


def _agent(definitions: Mapping[str, Any], identity: str) -> Agent:
    one = definitions[identity]
    return Agent(identity, one["type"], one["name"], str(_texts(one).get("name_zh", one["name"])))


def _step(identity: str, raw: Mapping[str, Any], document: Mapping[str, Any]) -> PlaybookStep:
    own = _texts(raw)
    commands_zh = own.get("commands_zh", [])
    commands = [
        Command(
            c["type"],
            c.get("command") or c.get("command_b64", ""),
            str(commands_zh[i]) if i < len(commands_zh) else c.get("command") or c.get("command_b64", ""),
        )
        for i, c in enumerate(raw.get("commands", ()))
    ]
    name = raw.get("name", raw["type"])
    question = raw.get("condition") or raw.get("switch") or ""
    asked, asked_zh = str(own.get("question", question)), str(own.get("question_zh", question))
    description = raw.get("description") or " ".join(c.text for c in commands) or asked
    description_zh = own.get("description_zh") or "".join(c.text_zh for c in commands) or asked_zh or description
    agents, targets = document.get("agent_definitions", {}), document.get("target_definitions", {})
    return PlaybookStep(
        id=identity,
        type=raw["type"],
        name=name,
        name_zh=str(own.get("name_zh", name)),
        description=description,
        description_zh=str(description_zh),
        phase=str(own.get("phase", "")),
        commands=tuple(commands),
        agent=_agent(agents, raw["agent"]) if "agent" in raw else None,
        targets=tuple(_agent(targets, target) for target in raw.get("targets", ())),
        on_completion=raw.get("on_completion"),
        on_success=raw.get("on_success"),
        on_failure=raw.get("on_failure"),
        on_true=raw.get("on_true"),
        on_false=raw.get("on_false"),
        next_steps=tuple(raw.get("next_steps", ())),
        cases=dict(raw.get("cases", {})),
        condition=raw.get("condition"),
        switch=raw.get("switch"),
        question=asked,
        question_zh=asked_zh,
        playbook_id=raw.get("playbook_id"),
        delay_ms=raw.get("delay"),
        timeout_ms=raw.get("timeout"),
        external_references=tuple(raw.get("external_references", ())),
    )


def _playbook(document: Mapping[str, Any], path: str) -> Playbook:
    own = _texts(document)
    applies = own.get("applies_to", {})
    return Playbook(
        id=document["id"],
        name=document["name"],
        name_zh=str(own.get("name_zh", document["name"])),
        description=document.get("description", ""),
        description_zh=str(own.get("description_zh", document.get("description", ""))),
        path=path,
        start=document["workflow_start"],
        exception=document.get("workflow_exception"),
        steps={name: _step(name, raw, document) for name, raw in document["workflow"].items()},
        variables={n: v.get("value") for n, v in document.get("playbook_variables", {}).items()},
        modified=document["modified"],
        types=tuple(document.get("playbook_types", ())),
        severity=document.get("severity"),
        priority=document.get("priority"),
        labels=tuple(document.get("labels", ())),
        external_references=tuple(document.get("external_references", ())),
        categories=tuple(applies.get("categories", ())),
        techniques=tuple(applies.get("techniques", ())),
        protocols=tuple(applies.get("protocols", ())),
    )


def _own_problems(document: Mapping[str, Any]) -> list[str]:
    """Problems of our extension: unknown categories and phases, Chinese commands that do not match."""
    found: list[str] = []
    where = f"playbook_extensions.{EXTENSION}"
    applies = _texts(document).get("applies_to", {})
    if not isinstance(applies, dict) or not all(isinstance(v, list) for v in applies.values()):
        return [f"{where}.applies_to: must be an object of lists"]
    known = ("categories", "techniques", "protocols")
    found += [f"{where}.applies_to.{name}: known: {', '.join(known)}" for name in applies if name not in known]
    found += [
        f"{where}.applies_to.categories: unknown category {one!r}"
        for one in applies.get("categories", ())
        if one not in known_categories()
    ]
    for name, step in document["workflow"].items():
        own, place = _texts(step), f"workflow.{name}.step_extensions.{EXTENSION}"
        if own.get("phase", PHASES[0]) not in PHASES:
            found.append(f"{place}.phase: known: {', '.join(PHASES)}")
        commands_zh = own.get("commands_zh")
        if commands_zh is not None and (
            not isinstance(commands_zh, list) or len(commands_zh) != len(step.get("commands", ()))
        ):
            found.append(f"{place}.commands_zh: must be a list with one text for each command")
    return found


def check_file(path: Path, name: str | None = None) -> tuple[Playbook | None, list[str]]:
    """Load one file.

    Returns:
        The playbook if it is valid, and all problems as ``file: path: what``.
    """
    shown = name or str(path)
    try:
        if path.stat().st_size > _MAX_FILE:
            return None, [f"{shown}: is larger than {_MAX_FILE >> 20} MiB"]
        document = yaml_text.load(path.read_bytes())
    except OSError as error:
        return None, [f"{shown}: cannot be read: {error.strerror}"]
    except ValueError as error:
        return None, [f"{shown}:{error}"]
    problems = [f"{shown}: {problem}" for problem in check(document)]
    if not problems:
        problems = [f"{shown}: {problem}" for problem in _own_problems(document)]
    return (None, problems) if problems else (_playbook(document, shown), [])


def _files(paths: Sequence[Path]) -> Iterator[tuple[Path, str]]:
    for path in paths:
        if path.is_dir():
            for one in sorted(p for p in path.rglob("*") if p.suffix in (".yml", ".yaml", ".json") and p.is_file()):
                yield one, str(one.relative_to(path.parent))
        else:
            yield path, str(path)


def _read(paths: Sequence[Path]) -> Library:
    """All playbooks of ``paths`` (files, or folders with all below), with the problems of those that do not load."""
    playbooks: dict[str, Playbook] = {}
    problems: list[str] = []
    for path, name in _files(paths):
        playbook, wrong = check_file(path, name)
        problems.extend(wrong)
        if playbook is None:
            continue
        if playbook.id in playbooks:
            problems.append(f"{name}: id: {playbook.id} is that of {playbooks[playbook.id].path} too")
            continue
        playbooks[playbook.id] = playbook
    for playbook in list(playbooks.values()):
        problems.extend(
            f"{playbook.path}: workflow.{step.id}.playbook_id: {step.playbook_id} is not here"
            for step in playbook.steps.values()
            if step.playbook_id is not None and step.playbook_id not in playbooks
        )
    return Library(tuple(playbooks.values()), tuple(problems))


@cache
def _shipped() -> Library:
    return _read([playbooks_dir()])


def load_playbooks(paths: Sequence[Path] | None = None, *, keep_going: bool = False) -> Library:
    """Load playbooks.

    Args:
        paths: Files and folders; the shipped playbooks if None.
        keep_going: Return what is valid and leave the problems in ``Library.problems``.

    Raises:
        PlaybookError: There are problems and ``keep_going`` is False; all of them are in the hint.
    """
    library = _shipped() if paths is None else _read(paths)
    if library.problems and not keep_going:
        count = len(library.problems)
        what = f"{count} problem{'s' if count > 1 else ''} in playbooks"
        raise PlaybookError(what, hint="\n  ".join(library.problems))
    return library


def _fit(incident: Incident, playbook: Playbook) -> Choice | None:
    """How well a playbook fits: the main category counts most, then techniques, other categories, protocols."""
    categories = [c.id for c in incident.categories]
    wanted = set(playbook.categories)
    techniques = sorted({t.split(".")[0] for t in incident.techniques} & set(playbook.techniques))
    others = sorted(wanted.intersection(categories[1:]))
    score, zh, en = 0, [], []
    if categories and categories[0] in wanted:
        score += 20
        zh.append(f"主要类别为{incident.categories[0].name_zh}")
        en.append(f"main category {incident.categories[0].name_en}")
    if techniques:
        # What was done tells more than how it is classed, so the gravest alerts weigh in.
        grave = {
            t.split(".")[0] for ref in incident.alerts if ref.level in ("high", "critical") for t in ref.techniques
        }
        score += 10 * len(techniques) + 10 * len(grave.intersection(techniques))
        zh.append(f"涉及技术{'、'.join(techniques)}")
        en.append(f"techniques {', '.join(techniques)}")
    if others:
        names = {c.id: (c.name_zh, c.name_en) for c in incident.categories}
        score += 5 * len(others)
        zh.append(f"同时涉及{'、'.join(names[o][0] for o in others)}")
        en.append(f"also {', '.join(names[o][1] for o in others)}")
    if not score:
        return None
    if set(playbook.protocols).intersection(incident.protocols):
        score += 1
    return Choice(playbook, score, "；".join(zh), "; ".join(en))


def choices(incident: Incident, library: Library) -> list[Choice]:
    """Playbooks that fit ``incident`` with the reason, best first; ties go to the higher priority, then the id."""
    found = [c for p in library if (c := _fit(incident, p)) is not None]
    # CACAO: priority 1 is the highest, 0 is unspecified.
    return sorted(found, key=lambda c: (-c.score, c.playbook.priority or 101, c.playbook.id))


def choose(incident: Incident, library: Library) -> list[Playbook]:
    """Playbooks that fit ``incident``, best first."""
    return [choice.playbook for choice in choices(incident, library)]


def actions_of(playbook: Playbook) -> list[Step]:
    """The action steps of a playbook as recommended measures, in order; ``source`` is ``playbook#step``."""
    steps: list[Step] = []
    for step in playbook.ordered():
        if step.type != "action" or len(steps) >= _MAX_ACTIONS:
            continue
        who_zh = f"（{step.agent.name_zh}）" if step.agent else ""
        who_en = f" ({step.agent.name})" if step.agent else ""
        text_zh = "".join(c.text_zh for c in step.commands)
        text_en = " ".join(c.text for c in step.commands)
        steps.append(
            Step(
                text_zh=f"{step.name_zh}{who_zh}：{text_zh}",
                text_en=f"{step.name}{who_en}: {text_en}",
                phase=step.phase,
                source=f"{playbook.id}#{step.id}",
            )
        )
    return steps


def recommend(incident: Incident, library: Library) -> Incident:
    """Fill in the playbooks that fit and quote the actions of the best one.

    The version stays: a recommendation is part of the version that is being made. Actions that people noted or
    did stay; recommended ones that nobody did are replaced. A merged incident stays as it is.
    """
    if incident.status == "merged":
        return incident
    fitting = choose(incident, library)
    kept = [a for a in incident.actions if a.done_at is not None or not a.source.startswith("playbook--")]
    done = {a.source for a in kept}
    new = [a for a in (actions_of(fitting[0]) if fitting else []) if a.source not in done]
    return incident.model_copy(
        update={"playbooks": tuple(p.id for p in fitting), "actions": (*kept, *new)},
    )


def edges(playbook: Playbook) -> list[tuple[str, str, str]]:
    """(step, property, next step) of the whole workflow, for drawings and checks."""
    result = []
    for step in playbook.ordered():
        raw = {
            "on_completion": step.on_completion,
            "on_success": step.on_success,
            "on_failure": step.on_failure,
            "on_true": step.on_true,
            "on_false": step.on_false,
            "next_steps": list(step.next_steps),
            "cases": dict(step.cases),
        }
        result += [(step.id, where, target) for where, target in successors(raw)]
    return result
