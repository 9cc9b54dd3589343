from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from event.errors import PlaybookError
from event.incident import Incident
from respond.condition import NotDecidable, evaluate, value_of
from respond.playbook import Playbook, load_playbooks, recommend
from respond.walk import Walk, abort, advance, drill, record, start, steps_taken, waiting

T0 = datetime(2026, 9, 1, 2, tzinfo=UTC)
NAMES = ("controller_stop", "scan", "unauthorised_control", "visibility_loss")


def book(name: str) -> Playbook:
    return load_playbooks().get(name)


def names(walk: Walk, playbook: Playbook) -> list[str]:
    return [step.name for step in waiting(walk, playbook)]


def do(walk: Walk, playbook: Playbook, name: str, **more: Any) -> Walk:
    step = next(s for s in waiting(walk, playbook) if s.name == name)
    given: dict[str, Any] = {"actor": "operator", "time": walk.log[-1].time + timedelta(minutes=1), **more}
    return advance(walk, playbook, step.id, **given)


def to_the_decision(walk: Walk, playbook: Playbook) -> Walk:
    walk = do(walk, playbook, names(walk, playbook)[0])
    while not names(walk, playbook)[0].endswith(("authorised", "stop", "lost")):
        walk = do(walk, playbook, names(walk, playbook)[0])
    return walk


def test_a_walk_is_a_rehearsal_unless_it_is_for_real() -> None:
    assert start(book("scan"), actor="a", time=T0).dry_run
    assert not start(book("scan"), actor="a", time=T0, dry_run=False).dry_run


def test_it_stops_at_the_first_thing_that_people_do() -> None:
    playbook = book("scan")
    walk = start(playbook, actor="a", time=T0)
    assert names(walk, playbook) == ["Verify the scan"]
    assert walk.state == "running"


def test_parallel_branches_wait_for_each_other() -> None:
    playbook = book("scan")
    walk = do(start(playbook, actor="a", time=T0), playbook, "Verify the scan")
    assert names(walk, playbook) == [
        "Check the devices that were scanned",
        "Secure evidence",
        "Judge and report in time",
    ]
    walk = do(walk, playbook, "Secure evidence")
    walk = do(walk, playbook, "Check the devices that were scanned")
    assert names(walk, playbook) == ["Judge and report in time"]
    walk = do(walk, playbook, "Judge and report in time")
    assert names(walk, playbook) == ["Was the scan authorised"]


@pytest.mark.parametrize(
    ("authorised", "following"), [(True, "Stop or accompany the authorised scan"), (False, "Restrict the source")]
)
def test_a_decision_chooses_the_branch(authorised: bool, following: str) -> None:
    playbook = book("scan")
    walk = to_the_decision(start(playbook, actor="a", time=T0), playbook)
    walk = do(walk, playbook, "Was the scan authorised", decision=authorised)
    assert names(walk, playbook) == [following]
    assert walk.log[-2].decision is authorised


def test_a_variable_decides_without_asking() -> None:
    playbook = book("scan")
    walk = start(playbook, actor="a", time=T0, variables={"__authorised__": "false"})
    walk = do(walk, playbook, "Verify the scan")
    for _ in range(3):
        walk = do(walk, playbook, names(walk, playbook)[0])
    assert names(walk, playbook) == ["Restrict the source"]
    decided = next(entry for entry in walk.log if entry.what == "decided")
    assert (decided.actor, decided.decision) == ("jianmen", False)


def test_a_branch_comes_back_to_what_follows_its_condition() -> None:
    playbook = book("scan")
    walk = to_the_decision(start(playbook, actor="a", time=T0), playbook)
    walk = do(walk, playbook, "Was the scan authorised", decision=True)
    walk = do(walk, playbook, "Stop or accompany the authorised scan")
    assert names(walk, playbook) == ["Follow-up and summary reports"]
    walk = do(walk, playbook, "Follow-up and summary reports")
    walk = do(walk, playbook, "Improve and rehearse")
    assert (walk.state, walk.places) == ("finished", ())


def test_a_while_goes_round_until_its_condition_is_false() -> None:
    playbook = book("visibility_loss")
    walk = to_the_decision(start(playbook, actor="a", time=T0), playbook)
    walk = do(walk, playbook, "Why is the view lost", decision="equipment_fault")
    walk = do(walk, playbook, "Repair the communication")
    loop = "Manual reporting until the view is back"
    for _ in range(3):
        walk = do(walk, playbook, loop, decision=True)
        walk = do(walk, playbook, "Local readings every 15 minutes")
    walk = do(walk, playbook, loop, variables={"__view_restored__": "true"})
    assert names(walk, playbook) == ["Compare values before trusting the screen again"]
    assert sum(e.name == "Local readings every 15 minutes" and e.what == "done" for e in walk.log) == 3


def test_a_switch_knows_its_cases() -> None:
    playbook = book("controller_stop")
    walk = to_the_decision(start(playbook, actor="a", time=T0), playbook)
    with pytest.raises(PlaybookError, match="no case 'aliens'"):
        do(walk, playbook, "Why did the controller stop", decision="aliens")
    walk = do(walk, playbook, "Why did the controller stop", variables={"__cause__": "attack"})
    assert names(walk, playbook) == ["Block programming access"]


def test_a_missing_decision_is_asked_for() -> None:
    playbook = book("scan")
    walk = to_the_decision(start(playbook, actor="a", time=T0), playbook)
    with pytest.raises(PlaybookError, match="needs a decision"):
        do(walk, playbook, "Was the scan authorised")
    with pytest.raises(PlaybookError, match="true or false"):
        do(walk, playbook, "Was the scan authorised", decision="maybe")


def test_only_waiting_steps_can_be_done_and_the_error_names_them() -> None:
    playbook = book("scan")
    walk = start(playbook, actor="a", time=T0)
    with pytest.raises(PlaybookError, match="Verify the scan"):
        advance(walk, playbook, "action--nothing", actor="a", time=T0)
    uuid = waiting(walk, playbook)[0].id.partition("--")[2]
    assert advance(walk, playbook, uuid[:8], actor="a", time=T0).log[-1].time == T0


def test_unknown_variables_are_refused() -> None:
    with pytest.raises(PlaybookError, match="__authorised__"):
        start(book("scan"), actor="a", time=T0, variables={"__nonsense__": "1"})


def test_every_line_says_who_and_when() -> None:
    playbook = book("scan")
    later = T0 + timedelta(minutes=9)
    walk = start(playbook, actor="lead", time=T0)
    walk = do(walk, playbook, "Verify the scan", actor="analyst", time=later, note="来源为运维终端")
    done = next(e for e in walk.log if e.what == "done")
    assert (done.actor, done.time, done.outcome, done.note) == ("analyst", later, "success", "来源为运维终端")
    assert [e.time for e in walk.log] == sorted(e.time for e in walk.log)


def test_a_walk_is_resumed_from_json() -> None:
    playbook = book("scan")
    walk = do(start(playbook, actor="a", time=T0), playbook, "Verify the scan")
    again = Walk.model_validate_json(walk.model_dump_json())
    assert again == walk
    assert do(again, playbook, "Secure evidence") == do(walk, playbook, "Secure evidence")


def test_a_walk_of_another_version_of_the_playbook_is_refused() -> None:
    playbook = book("scan")
    old = start(playbook, actor="a", time=T0).model_copy(update={"playbook_modified": "2020-01-01T00:00:00Z"})
    with pytest.raises(PlaybookError, match="another version"):
        do(old, playbook, "Verify the scan")


def test_a_walk_can_be_stopped_with_a_reason() -> None:
    playbook = book("scan")
    walk = abort(start(playbook, actor="a", time=T0), playbook, actor="lead", time=T0, note="误报")
    assert (walk.state, walk.places, walk.log[-1].note) == ("aborted", (), "误报")
    with pytest.raises(PlaybookError, match="does not wait"):
        advance(walk, playbook, "action", actor="a", time=T0)


def test_a_failed_step_goes_on_where_there_is_no_way_for_failures() -> None:
    playbook = book("scan")
    walk = do(start(playbook, actor="a", time=T0), playbook, "Verify the scan", outcome="failure")
    assert len(walk.places) == 3
    assert next(e for e in walk.log if e.what == "done").outcome == "failure"


FAILING = """
type: playbook
spec_version: cacao-2.0
id: playbook--11111111-1111-4111-8111-111111111111
name: Failing
created_by: identity--11111111-1111-4111-8111-111111111111
created: 2026-01-01T00:00:00Z
modified: 2026-01-01T00:00:00Z
workflow_start: start--11111111-1111-4111-8111-111111111111
{exception}
workflow:
  start--11111111-1111-4111-8111-111111111111:
    type: start
    on_completion: parallel--11111111-1111-4111-8111-111111111111
  parallel--11111111-1111-4111-8111-111111111111:
    type: parallel
    next_steps: [end--11111111-1111-4111-8111-111111111111, action--11111111-1111-4111-8111-111111111111]
    on_completion: end--22222222-2222-4222-8222-222222222222
  action--11111111-1111-4111-8111-111111111111:
    type: action
    name: try
    agent: group--11111111-1111-4111-8111-111111111111
    commands: [{{type: manual, command: try}}]
    on_success: end--11111111-1111-4111-8111-111111111111
{failure}
  action--22222222-2222-4222-8222-222222222222:
    type: action
    name: rescue
    agent: group--11111111-1111-4111-8111-111111111111
    commands: [{{type: manual, command: rescue}}]
    on_completion: end--22222222-2222-4222-8222-222222222222
  end--11111111-1111-4111-8111-111111111111: {{type: end}}
  end--22222222-2222-4222-8222-222222222222: {{type: end}}
agent_definitions:
  group--11111111-1111-4111-8111-111111111111: {{type: group, name: us}}
"""
RESCUE = "action--22222222-2222-4222-8222-222222222222"


@pytest.mark.parametrize(
    ("exception", "failure"), [(f"workflow_exception: {RESCUE}", ""), ("", f"    on_failure: {RESCUE}")]
)
def test_a_failed_step_takes_its_way_for_failures_or_the_exception_step(
    tmp_path: Path, exception: str, failure: str
) -> None:
    path = tmp_path / "failing.yml"
    path.write_text(FAILING.format(exception=exception, failure=failure), encoding="utf-8")
    (playbook,) = load_playbooks([path])
    walk = start(playbook, actor="a", time=T0)
    assert names(walk, playbook) == ["try"]
    walk = do(walk, playbook, "try", outcome="failure")
    assert names(walk, playbook) == ["rescue"]
    assert do(walk, playbook, "rescue").state == "finished"


def test_a_branch_that_ends_at_once_does_not_end_the_parallel_step(tmp_path: Path) -> None:
    path = tmp_path / "p.yml"
    path.write_text(FAILING.format(exception=f"workflow_exception: {RESCUE}", failure=""), encoding="utf-8")
    (playbook,) = load_playbooks([path])
    walk = start(playbook, actor="a", time=T0)
    assert walk.state == "running"
    assert do(walk, playbook, "try").state == "finished"


# --- drills and incidents ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_every_shipped_playbook_can_be_rehearsed_to_its_end(name: str) -> None:
    playbook = book(name)
    walk = drill(playbook, actor="trainer", time=T0)
    assert (walk.state, walk.dry_run) == ("finished", True)
    assert steps_taken(walk, playbook) == []


@pytest.mark.parametrize("name", NAMES)
def test_every_step_of_a_shipped_playbook_is_met_by_some_drill(name: str) -> None:
    playbook = book(name)
    met: set[str] = set()
    conditions = [s for s in playbook.steps.values() if s.type == "if-condition"]
    switches = [s for s in playbook.steps.values() if s.type == "switch-condition"]
    cases = [case for s in switches for case in s.cases] or ["-"]
    for bits in range(2 ** len(conditions)):
        for case in cases:
            decisions: dict[str, bool | str] = {s.id: bool(bits >> i & 1) for i, s in enumerate(conditions)}
            decisions.update({s.id: case for s in switches})
            met.update(e.step for e in drill(playbook, actor="t", time=T0, decisions=decisions).log)
    assert met == set(playbook.steps)


def an_incident() -> Incident:
    return Incident(
        id="INC-20260901-000000",
        title_zh="测试",
        title_en="test",
        first_seen=T0,
        last_seen=T0,
        discovered=T0,
        level="high",
        techniques=("T0846",),
    )


def test_a_real_walk_becomes_measures_of_the_incident() -> None:
    playbook = book("scan")
    one = recommend(an_incident(), load_playbooks())
    walk = start(playbook, actor="a", time=T0, incident_id=one.id, dry_run=False)
    walk = do(walk, playbook, "Verify the scan", note="确认为扫描")
    two = record(one, walk, playbook, actor="a", time=T0)
    assert two.version == one.version + 1
    assert len(two.actions) == len(one.actions)
    (done,) = [a for a in two.actions if a.done_at is not None]
    assert (done.done_by, done.phase, done.effect) == ("operator", "detection", "确认为扫描")
    assert record(two, walk, playbook, actor="a", time=T0) is two


def test_a_walk_of_another_incident_is_not_recorded() -> None:
    playbook = book("scan")
    walk = start(playbook, actor="a", time=T0, incident_id="INC-20260101-aaaaaa", dry_run=False)
    with pytest.raises(PlaybookError, match="INC-20260101-aaaaaa"):
        record(an_incident(), walk, playbook, actor="a", time=T0)


@given(st.sampled_from(NAMES), st.lists(st.tuples(st.integers(0, 9), st.booleans(), st.integers(0, 3)), max_size=40))
@settings(max_examples=60, deadline=None)
def test_any_order_of_moves_keeps_the_walk_sound(name: str, moves: list[tuple[int, bool, int]]) -> None:
    playbook = book(name)
    walk = start(playbook, actor="a", time=T0)
    for which, decision, case in moves:
        if walk.state != "running":
            break
        steps = waiting(walk, playbook)
        step = steps[which % len(steps)]
        answer: bool | str | None = None
        if step.type == "switch-condition":
            answer = list(step.cases)[case % len(step.cases)]
        elif step.type.endswith("condition"):
            answer = decision
        before = len(walk.log)
        walk = advance(walk, playbook, step.id, actor="a", time=T0, decision=answer)
        assert len(walk.log) > before
    assert (walk.state == "finished") == (not walk.places)
    assert len({(p.step, p.inside) for p in walk.places}) == len(walk.places)


# --- conditions --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("__a__:value = 'true'", True),
        ("__a__ == true", True),
        ("__a__:value != 'TRUE'", False),
        ("__n__:value >= 10", True),
        ("__n__:value < 10", False),
        ("__n__ = 10.0", True),
        ("__t__:value IN ('x', 'it\\'s')", True),
        ("__t__:value in ('x', 'y')", False),
        ("NOT __a__:value = 'true' OR __n__:value = 10", True),
        ("__a__:value = 'false' AND __n__:value = 10 OR __t__:value = 'it\\'s'", True),
        ("__a__:value = 'false' AND (__n__:value = 10 OR __t__:value = 'x')", False),
        ("[__a__:value = 'true']", True),
    ],
)
def test_conditions_over_variables(text: str, expected: bool) -> None:
    assert evaluate(text, {"__a__": "true", "__n__": "10", "__t__": "it's"}) is expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "__none__:value = 'x'",
        "__other__:value = 'x'",
        "[ipv4-addr:value = '10.0.0.1']",
        "__a__:value = 'x' extra",
        "__a__:value",
        "__a__:value < 'x'",
        "__a__:value IN 'x'",
        "__a__:value IN ('x' 'y')",
        "(" * 200 + "__a__ = '1'" + ")" * 200,
        "NOT " * 4000 + "__a__ = '1'",
        "(__a__ = '1'",
    ],
)
def test_what_is_not_understood_is_for_a_person(text: str) -> None:
    with pytest.raises(NotDecidable):
        evaluate(text, {"__a__": "1x", "__none__": None})


@given(st.text(max_size=60))
@settings(deadline=None)
def test_any_text_is_decided_or_left_to_a_person(text: str) -> None:
    try:
        assert evaluate(text, {"__a__": "1"}) in (True, False)
    except NotDecidable as why:
        assert str(why)


def test_a_switch_looks_at_one_variable() -> None:
    assert value_of("__cause__", {"__cause__": "fault"}) == "fault"
    assert value_of("__cause__:value", {"__cause__": "fault"}) == "fault"
    for text in ("__cause__ = 'x'", "cause", "__other__"):
        with pytest.raises(NotDecidable):
            value_of(text, {"__cause__": "fault"})
