"""Walking a playbook: what is to be done now, what was done, by whom, when.

Nothing is executed here, ever: commands are shown to people, who do them and say so. A walk is a rehearsal
(``dry_run``) unless it is started for real; only real walks become actions of the incident. It is plain data, saved
as JSON between two steps and resumed at any time; every move is a new value and one more line of the log.

Branches of if, while, switch and parallel steps run to their end step and then come back to the step that opened
them, as CACAO v2.0 section 4 has it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from event.errors import PlaybookError
from event.incident import Incident, Step
from respond.condition import NotDecidable, evaluate, value_of
from respond.playbook import Playbook, PlaybookStep

MAX_LOG = 10_000
"""Lines of a walk; a while step that never ends stops here."""

Outcome = Literal["success", "failure", "skipped"]
Decision = bool | str
_BY_ITSELF = "jianmen"


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Entry(_Model):
    """One line of the log."""

    time: AwareDatetime
    actor: str
    step: str
    type: str
    name: str
    name_zh: str
    what: Literal["reached", "done", "decided", "passed", "finished", "stopped"]
    outcome: Outcome | None = None
    decision: bool | str | None = None
    note: str = ""


class Place(_Model):
    """Where one branch stands: a step, and the steps whose branch it is in, outermost first."""

    step: str
    inside: tuple[str, ...] = ()
    """``step id#number``: which opening of which step."""


class Walk(_Model):
    """A walk through one playbook, whole."""

    id: str
    playbook_id: str
    playbook_modified: str
    incident_id: str | None = None
    dry_run: bool = True
    started: AwareDatetime
    places: tuple[Place, ...] = ()
    variables: dict[str, str | None] = Field(default_factory=dict)
    state: Literal["running", "finished", "failed", "aborted"] = "running"
    opened: int = 0
    log: tuple[Entry, ...] = ()


class _Mover:
    """Moves the places of a walk as far as they go without a person."""

    def __init__(self, walk: Walk, playbook: Playbook, time: datetime) -> None:
        if (walk.playbook_id, walk.playbook_modified) != (playbook.id, playbook.modified):
            raise PlaybookError(
                "the walk was started with another version of the playbook",
                where=playbook.path,
                hint=f"started with {walk.playbook_modified}, this is {playbook.modified}",
            )
        self.walk = walk
        self.playbook = playbook
        self.time = time
        self.places = list(walk.places)
        self.variables = dict(walk.variables)
        self.log = list(walk.log)
        self.opened = walk.opened
        self.state = walk.state

    def note(
        self,
        step: PlaybookStep,
        what: Literal["reached", "done", "decided", "passed", "finished", "stopped"],
        *,
        actor: str = _BY_ITSELF,
        outcome: Outcome | None = None,
        decision: Decision | None = None,
        note: str = "",
    ) -> None:
        if len(self.log) >= MAX_LOG:
            raise PlaybookError(f"the walk has more than {MAX_LOG} lines", where=self.playbook.path)
        self.log.append(
            Entry(
                time=self.time,
                actor=actor,
                step=step.id,
                type=step.type,
                name=step.name,
                name_zh=step.name_zh,
                what=what,
                outcome=outcome,
                decision=decision,
                note=note,
            )
        )

    def enter(self, name: str | None, inside: tuple[str, ...]) -> None:
        """Go to a step and on from there until a person is needed. ``None`` ends the branch."""
        while True:
            if name is None:
                following = self._leave(inside)
                if following is None:
                    return
                name, inside = following
                continue
            step = self.playbook.steps[name]
            if step.type in ("action", "playbook-action"):
                self.note(step, "reached")
                self.places.append(Place(step=name, inside=inside))
                return
            if step.type == "start":
                self.note(step, "passed")
                name = step.onward
            elif step.type == "end":
                self.note(step, "passed")
                name = None
            elif step.type == "parallel":
                self.note(step, "passed")
                within = (*inside, self._open(step))
                # Holds the parallel step open until all its branches were entered: one may end at once.
                holder = Place(step=name, inside=within)
                self.places.append(holder)
                for branch in step.next_steps:
                    self.enter(branch, within)
                self.places.remove(holder)
                if any(place.inside[: len(within)] == within for place in self.places):
                    return
                name = step.onward
            else:
                try:
                    decision = self._decide(step)
                except NotDecidable as why:
                    self.note(step, "reached", note=str(why))
                    self.places.append(Place(step=name, inside=inside))
                    return
                self.note(step, "decided", decision=decision)
                name, inside = self.branch(step, decision, inside)

    def _open(self, step: PlaybookStep) -> str:
        self.opened += 1
        return f"{step.id}#{self.opened}"

    def _decide(self, step: PlaybookStep) -> Decision:
        if step.switch is not None:
            return value_of(step.switch, self.variables)
        return evaluate(step.condition or "", self.variables)

    def branch(
        self, step: PlaybookStep, decision: Decision, inside: tuple[str, ...]
    ) -> tuple[str | None, tuple[str, ...]]:
        """Where a decided step leads."""
        if step.type == "switch-condition":
            target = step.cases.get(str(decision), step.cases.get("default"))
        else:
            target = step.on_true if decision is True else step.on_false
        if target is None:
            return step.onward, inside
        return target, (*inside, self._open(step))

    def _leave(self, inside: tuple[str, ...]) -> tuple[str | None, tuple[str, ...]] | None:
        """A branch came to its end: what follows, or None if nothing does or others are still under way."""
        if not inside:
            return None
        owner = self.playbook.steps[inside[-1].rpartition("#")[0]]
        if any(place.inside[: len(inside)] == inside for place in self.places):
            return None
        if owner.type == "while-condition":
            return owner.id, inside[:-1]
        return owner.onward, inside[:-1]

    def result(self) -> Walk:
        """The walk after the move."""
        if self.state == "running" and not self.places:
            self.state = "finished"
            self.note(self.playbook.steps[self.playbook.start], "finished")
        return self.walk.model_copy(
            update={
                "places": tuple(self.places),
                "variables": self.variables,
                "log": tuple(self.log),
                "opened": self.opened,
                "state": self.state,
            }
        )


def start(
    playbook: Playbook,
    *,
    actor: str,
    time: datetime,
    incident_id: str | None = None,
    dry_run: bool = True,
    variables: Mapping[str, str | None] | None = None,
) -> Walk:
    """Begin a walk: a rehearsal unless ``dry_run`` is False.

    Raises:
        PlaybookError: A variable is not one of the playbook.
    """
    given = _checked(playbook, variables)
    kind = "drill" if dry_run else "walk"
    walk = Walk(
        id=f"{kind}-{time:%Y%m%dT%H%M%S}-{playbook.id.removeprefix('playbook--')[:8]}",
        playbook_id=playbook.id,
        playbook_modified=playbook.modified,
        incident_id=incident_id,
        dry_run=dry_run,
        started=time,
        variables={**playbook.variables, **given},
    )
    mover = _Mover(walk, playbook, time)
    mover.note(playbook.steps[playbook.start], "reached", actor=actor, note="dry run" if dry_run else "")
    mover.enter(playbook.start, ())
    return mover.result()


def _checked(playbook: Playbook, variables: Mapping[str, str | None] | None) -> dict[str, str | None]:
    given = dict(variables or {})
    unknown = sorted(set(given) - set(playbook.variables))
    if unknown:
        known = ", ".join(sorted(playbook.variables)) or "none"
        raise PlaybookError(f"unknown variable {', '.join(unknown)}", where=playbook.path, hint=f"known: {known}")
    return given


def waiting(walk: Walk, playbook: Playbook) -> list[PlaybookStep]:
    """Steps that wait for a person now."""
    return [playbook.steps[place.step] for place in walk.places]


def _place(walk: Walk, playbook: Playbook, step_id: str) -> Place:
    """The place at ``step_id``, which may be shortened to a unique beginning.

    Raises:
        PlaybookError: The walk does not wait there.
    """
    found = [p for p in walk.places if p.step == step_id or p.step.partition("--")[2].startswith(step_id)]
    exact = [p for p in found if p.step == step_id]
    if walk.state != "running" or len(exact or found) != 1:
        names = ", ".join(f"{s.id} ({s.name})" for s in waiting(walk, playbook)) or "no step"
        raise PlaybookError(f"the walk does not wait at {step_id!r}", hint=f"waiting: {names}")
    return (exact or found)[0]


def advance(
    walk: Walk,
    playbook: Playbook,
    step_id: str,
    *,
    actor: str,
    time: datetime,
    outcome: Outcome = "success",
    decision: Decision | None = None,
    note: str = "",
    variables: Mapping[str, str | None] | None = None,
) -> Walk:
    """Record that a waiting step was done or decided, and go on to the next steps that wait.

    Args:
        walk: Where we are.
        playbook: The playbook of the walk, the same version.
        step_id: Which waiting step, or a unique beginning of its UUID.
        actor: Who did it.
        time: When.
        outcome: ``failure`` goes on by ``on_failure`` or the playbook's exception step, ``skipped`` as if done.
        decision: For a condition: true or false; for a switch: the case. Not needed if ``variables`` settle it.
        note: What was found or done, in words.
        variables: Values found out in this step.

    Raises:
        PlaybookError: The walk does not wait there, a decision is missing, or a variable is unknown.
    """
    place = _place(walk, playbook, step_id)
    step = playbook.steps[place.step]
    mover = _Mover(walk, playbook, time)
    mover.variables.update(_checked(playbook, variables))
    if step.type not in ("action", "playbook-action"):
        if decision is None:
            try:
                decision = mover._decide(step)
            except NotDecidable as why:
                raise PlaybookError(f"{step.name!r} needs a decision: {why}", hint=step.question) from why
        _allowed(step, decision)
        mover.places.remove(place)
        mover.note(step, "decided", actor=actor, decision=decision, note=note)
        mover.enter(*mover.branch(step, decision, place.inside))
        return mover.result()
    mover.places.remove(place)
    mover.note(step, "done", actor=actor, outcome=outcome, note=note)
    if outcome != "failure":
        mover.enter(step.onward, place.inside)
    elif step.on_failure is not None:
        mover.enter(step.on_failure, place.inside)
    elif playbook.exception is not None:
        mover.places.clear()
        mover.enter(playbook.exception, ())
    elif step.on_completion is not None:
        # CACAO: on_completion is taken whatever the outcome.
        mover.enter(step.on_completion, place.inside)
    else:
        mover.note(step, "stopped", outcome=outcome)
        mover.places.clear()
        mover.state = "failed"
    return mover.result()


def _allowed(step: PlaybookStep, decision: Decision) -> None:
    if step.type == "switch-condition":
        if str(decision) not in step.cases and "default" not in step.cases:
            raise PlaybookError(f"{step.name!r} has no case {decision!r}", hint="known: " + ", ".join(step.cases))
    elif not isinstance(decision, bool):
        raise PlaybookError(f"{step.name!r} is decided by true or false", hint=step.question)


def abort(walk: Walk, playbook: Playbook, *, actor: str, time: datetime, note: str) -> Walk:
    """Stop a walk for good, with a reason."""
    mover = _Mover(walk, playbook, time)
    for place in walk.places:
        mover.note(playbook.steps[place.step], "stopped", actor=actor, note=note)
    mover.places.clear()
    mover.state = "aborted"
    return mover.result()


def drill(
    playbook: Playbook,
    *,
    actor: str,
    time: datetime,
    decisions: Mapping[str, Decision] | None = None,
    variables: Mapping[str, str | None] | None = None,
) -> Walk:
    """Rehearse a playbook to its end, taking every step as done.

    A condition that is not settled takes ``decisions[step id]``; without one an if is true, a switch takes its first
    case, and a while runs once.
    """
    walk = start(playbook, actor=actor, time=time, variables=variables)
    rounds: set[tuple[str, tuple[str, ...]]] = set()
    while walk.state == "running":
        place = walk.places[0]
        step = playbook.steps[place.step]
        decision: Decision | None = None
        if step.type == "while-condition":
            key = (step.id, place.inside)
            decision = key not in rounds
            rounds.add(key)
        elif step.type == "switch-condition":
            decision = (decisions or {}).get(step.id, next(iter(step.cases)))
        elif step.type == "if-condition":
            decision = (decisions or {}).get(step.id, True)
        walk = advance(walk, playbook, step.id, actor=actor, time=time, decision=decision)
    return walk


def steps_taken(walk: Walk, playbook: Playbook) -> list[Step]:
    """What people did in a real walk, as measures of an incident; nothing for a rehearsal."""
    if walk.dry_run:
        return []
    taken = []
    for entry in walk.log:
        if entry.what != "done" or entry.outcome == "skipped":
            continue
        step = playbook.steps[entry.step]
        zh, en = step.description_zh, step.description
        taken.append(
            Step(
                text_zh=f"{step.name_zh}：{zh}" if zh else step.name_zh,
                text_en=f"{step.name}: {en}" if en else step.name,
                phase=step.phase,
                done_at=entry.time,
                done_by=entry.actor,
                effect=entry.note or ("未成功 / failed" if entry.outcome == "failure" else None),
                source=f"{playbook.id}#{step.id}",
            )
        )
    return taken


def record(incident: Incident, walk: Walk, playbook: Playbook, *, actor: str, time: datetime) -> Incident:
    """Put what was done in ``walk`` into ``incident``; recommended measures that were done give way to it.

    Raises:
        PlaybookError: The walk belongs to another incident.
    """
    if walk.incident_id not in (None, incident.id):
        raise PlaybookError(f"the walk belongs to {walk.incident_id}", where=incident.id)
    known = {(a.source, a.done_at) for a in incident.actions if a.done_at is not None}
    new = [s for s in steps_taken(walk, playbook) if (s.source, s.done_at) not in known]
    if not new:
        return incident
    done = {s.source for s in new}
    kept = [a for a in incident.actions if a.done_at is not None or a.source not in done]
    change = f"记录处置措施{len(new)}项 / {len(new)} measures recorded"
    return incident.changed(actor=actor, change=change, time=time, actions=(*kept, *new))
