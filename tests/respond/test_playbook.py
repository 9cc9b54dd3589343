from __future__ import annotations

import copy
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from correlate.categories import category
from event import yaml_text
from event.errors import PlaybookError
from event.incident import AlertRef, Incident, Step
from respond import cacao
from respond.playbook import (
    EXTENSION,
    PHASES,
    Playbook,
    actions_of,
    check_file,
    choices,
    choose,
    edges,
    load_playbooks,
    playbooks_dir,
    recommend,
)

T0 = datetime(2026, 9, 1, 2, tzinfo=UTC)
SHIPPED = ("controller_stop", "scan", "unauthorised_control", "visibility_loss")


def document(name: str = "scan") -> dict[str, Any]:
    loaded = yaml_text.load((playbooks_dir() / f"{name}.yml").read_bytes())
    assert isinstance(loaded, dict)
    return loaded


def shipped(name: str) -> Playbook:
    return load_playbooks().get(name)


def incident(main: str, techniques: tuple[str, ...], *others: str, **more: Any) -> Incident:
    refs = tuple(
        AlertRef(id=f"a{i}", time=T0, rule_id="r", rule_name="r", level="high", techniques=(t,))
        for i, t in enumerate(techniques)
    )
    return Incident(
        id="INC-20260901-000000",
        title_zh="测试",
        title_en="test",
        first_seen=T0,
        last_seen=T0,
        discovered=T0,
        level="high",
        categories=tuple(category(c) for c in (main, *others)),
        techniques=techniques,
        alerts=refs,
        **more,
    )


def step_of(raw: dict[str, Any], kind: str) -> str:
    return next(name for name in raw["workflow"] if name.startswith(kind + "--"))


# --- the shipped playbooks ---------------------------------------------------------------------------------------


def test_four_playbooks_are_shipped_and_valid() -> None:
    library = load_playbooks()
    assert library.problems == ()
    assert sorted(Path(p.path).stem for p in library) == list(SHIPPED)


@pytest.mark.parametrize("name", SHIPPED)
def test_every_step_has_chinese_and_english_text_and_actions_a_phase_and_somebody_to_do_them(name: str) -> None:
    for step in shipped(name).steps.values():
        assert step.name
        assert any("\u4e00" <= char <= "\u9fff" for char in step.name_zh), step.id
        if step.type == "action":
            assert step.phase in PHASES
            assert step.agent is not None
            assert any("\u4e00" <= char <= "\u9fff" for char in step.agent.name_zh)
            for command in step.commands:
                assert command.type == "manual"
                assert any("\u4e00" <= char <= "\u9fff" for char in command.text_zh)
                assert not any("\u4e00" <= char <= "\u9fff" for char in command.text)
        if step.type in ("if-condition", "while-condition", "switch-condition"):
            assert step.question_zh.endswith("？")


@pytest.mark.parametrize("name", SHIPPED)
def test_every_playbook_asks_operators_first_keeps_evidence_and_knows_the_one_hour_rule(name: str) -> None:
    actions = actions_of(shipped(name))
    text = "".join(a.text_zh for a in actions)
    assert "运行值班员" in text
    assert "征得运行值班员同意" in text or "未经运行值班员同意" in text
    assert "SHA-256" in text
    assert "1小时内" in text
    assert "30日内" in text
    assert "不得推测填写" in text
    order = [a.phase for a in actions]
    assert order[0] == "detection"
    assert order[-1] == "follow_up"
    assert {"detection", "containment", "eradication", "follow_up"} <= set(order)


@pytest.mark.parametrize("name", SHIPPED)
def test_no_reported_phase_goes_back_before_evidence_is_kept(name: str) -> None:
    order = [a.phase for a in actions_of(shipped(name))]
    eradication = order.index("eradication")
    assert any("固定证据" in a.text_zh for a in actions_of(shipped(name))[:eradication])


@pytest.mark.parametrize("name", SHIPPED)
def test_the_order_for_readers_names_every_step_once(name: str) -> None:
    playbook = shipped(name)
    ordered = [step.id for step in playbook.ordered()]
    assert sorted(ordered) == sorted(playbook.steps)
    assert all(target in playbook.steps for _, _, target in edges(playbook))


# --- loading and checking ----------------------------------------------------------------------------------------


def test_json_loads_like_yaml(tmp_path: Path) -> None:
    path = tmp_path / "scan.json"
    path.write_text(json.dumps(document(), ensure_ascii=False), encoding="utf-8")
    playbook, problems = check_file(path)
    assert problems == []
    assert playbook is not None
    assert playbook.steps == shipped("scan").steps


BREAKS: list[tuple[str, Any, str, str]] = [
    ("type", "note", "type", "must be 'playbook'"),
    ("spec_version", "cacao-1.1", "spec_version", "cacao-2.0"),
    ("id", "playbook--1", "id", "identifier"),
    ("name", "", "name", "not empty"),
    ("created", "2026-11-24", "created", "must be a time"),
    ("modified", "2025-01-01T00:00:00Z", "modified", "before created"),
    ("severity", 101, "severity", "0 to 100"),
    ("priority", True, "priority", "0 to 100"),
    ("revoked", "no", "revoked", "true or false"),
    ("labels", [], "labels", "not empty"),
    ("workflow_start", "start--00000000-0000-4000-8000-000000000000", "workflow_start", "does not exist"),
    ("workflow", {}, "workflow", "not empty"),
    ("surprise", 1, "surprise", "not a property"),
    ("external_references", [{"url": "x"}], "external_references[0].name", "is required"),
    ("playbook_variables", {"name": {"type": "bool"}}, "playbook_variables.name", "__name__"),
    ("playbook_processing_summary", {"while_logic": True}, "playbook_processing_summary.while_logic", "false"),
    ("extension_definitions", {}, "playbook_extensions", "not defined"),
]


@pytest.mark.parametrize(("name", "value", "path", "what"), BREAKS)
def test_a_broken_property_is_named_with_its_path(name: str, value: Any, path: str, what: str) -> None:
    raw = document()
    raw[name] = value
    found = [p for p in cacao.check(raw) if p.path.startswith(path) and what in p.what]
    assert found, [str(p) for p in cacao.check(raw)]


@pytest.mark.parametrize(
    "name", ["type", "spec_version", "id", "name", "created_by", "created", "modified", "workflow"]
)
def test_a_missing_required_property_is_named(name: str) -> None:
    raw = document()
    del raw[name]
    assert any(p.path == name and p.what == "is required" for p in cacao.check(raw))


def test_steps_are_checked_against_their_type_and_each_other() -> None:
    raw = document("visibility_loss")
    flow = raw["workflow"]
    action, parallel = step_of(raw, "action"), step_of(raw, "parallel")
    switch, loop, end = step_of(raw, "switch-condition"), step_of(raw, "while-condition"), step_of(raw, "end")
    flow[action]["agent"] = "group--00000000-0000-4000-8000-000000000000"
    flow[action]["targets"] = ["group--00000000-0000-4000-8000-000000000001"]
    flow[action]["commands"] = [{"type": "manual"}]
    flow[action]["condition"] = "x"
    flow[parallel]["next_steps"] = flow[parallel]["next_steps"][:1]
    flow[switch]["switch"] = "__other__"
    flow[switch]["cases"]["new"] = "action--00000000-0000-4000-8000-000000000002"
    del flow[loop]["on_completion"]
    flow[end]["on_completion"] = action
    said = {str(p) for p in cacao.check(raw)}

    def says(path: str, what: str) -> bool:
        return any(path in one and what in one for one in said)

    assert says(f"workflow.{action}.agent", "is not in agent_definitions")
    assert says(f"workflow.{action}.targets[0]", "is not in target_definitions")
    assert says(f"workflow.{action}.commands[0]", "needs command or command_b64")
    assert says(f"workflow.{action}.condition", "is not a property here")
    assert says(f"workflow.{parallel}.next_steps", "two steps at least")
    assert says(f"workflow.{switch}.switch", "__other__ is not defined")
    assert says(f"workflow.{switch}.cases.new", "does not exist")
    assert says(f"workflow.{loop}", "needs on_completion or on_success")
    assert says(f"workflow.{end}", "an end step has no on_completion")
    assert says("workflow.", "is never reached")


def test_a_loop_outside_a_while_condition_is_found() -> None:
    raw = document()
    first = raw["workflow"][raw["workflow_start"]]["on_completion"]
    last = next(n for n, s in raw["workflow"].items() if s["name"] == "Improve and rehearse")
    raw["workflow"][last]["on_completion"] = first
    assert any("comes back to itself" in p.what for p in cacao.check(raw))


def test_on_completion_excludes_on_success() -> None:
    raw = document()
    action = step_of(raw, "action")
    raw["workflow"][action]["on_success"] = raw["workflow"][action]["on_completion"]
    assert any("excludes" in p.what for p in cacao.check(raw))


@pytest.mark.parametrize(
    "value", [None, 3, [], "text", {"workflow": 3}, {"workflow": {"x": 3}}, {"workflow": {"x": {}}}]
)
def test_anything_may_be_given_to_the_checker(value: Any) -> None:
    assert cacao.check(value)


def test_all_problems_of_all_files_are_reported_at_once(tmp_path: Path) -> None:
    wrong = document()
    wrong["severity"] = 1000
    wrong["name"] = ""
    (tmp_path / "a.json").write_text(json.dumps(wrong), encoding="utf-8")
    (tmp_path / "b.yml").write_text("type: [", encoding="utf-8")
    (tmp_path / "c.yml").write_text("type: playbook\ntype: playbook\n", encoding="utf-8")
    good = document("controller_stop")
    (tmp_path / "d.json").write_text(json.dumps(good), encoding="utf-8")
    with pytest.raises(PlaybookError) as caught:
        load_playbooks([tmp_path])
    text = str(caught.value)
    assert caught.value.exit_code == 4
    assert "a.json: severity" in text and "a.json: name" in text
    assert "b.yml:1:" in text or "b.yml:2:" in text
    assert "c.yml:2:1: key 'type' is there twice" in text
    library = load_playbooks([tmp_path], keep_going=True)
    assert len(library) == 1
    assert len(library.problems) == 4


def test_two_playbooks_may_not_share_an_id(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.json").write_text(json.dumps(document("controller_stop")), encoding="utf-8")
    assert "too" in load_playbooks([tmp_path], keep_going=True).problems[0]


def test_a_playbook_that_calls_one_which_is_not_there_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "scan.json").write_text(json.dumps(document("scan")), encoding="utf-8")
    assert "is not here" in load_playbooks([tmp_path], keep_going=True).problems[0]


def test_a_missing_file_is_a_problem_with_its_name(tmp_path: Path) -> None:
    assert "nothing.yml: cannot be read" in load_playbooks([tmp_path / "nothing.yml"], keep_going=True).problems[0]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"applies_to": {"categories": ["no.such"]}}, "unknown category 'no.such'"),
        ({"applies_to": {"colour": []}}, "known: categories"),
        ({"applies_to": []}, "must be an object of lists"),
    ],
)
def test_our_extension_is_checked(tmp_path: Path, change: dict[str, Any], what: str) -> None:
    raw = document("controller_stop")
    raw["playbook_extensions"][EXTENSION].update(change)
    path = tmp_path / "x.json"
    path.write_text(json.dumps(raw), encoding="utf-8")
    assert any(what in problem for problem in check_file(path)[1])


def test_a_chinese_text_for_each_command(tmp_path: Path) -> None:
    raw = document("controller_stop")
    raw["workflow"][step_of(raw, "action")]["step_extensions"][EXTENSION]["commands_zh"] = []
    path = tmp_path / "x.json"
    path.write_text(json.dumps(raw), encoding="utf-8")
    assert any("one text for each command" in problem for problem in check_file(path)[1])


def test_a_playbook_without_our_extension_loads_and_is_never_chosen(tmp_path: Path) -> None:
    raw = copy.deepcopy(document("controller_stop"))
    del raw["playbook_extensions"]
    for part in (raw["workflow"], raw["agent_definitions"], raw["target_definitions"]):
        for one in part.values():
            one.pop("step_extensions", None)
            one.pop("agent_target_extensions", None)
    path = tmp_path / "x.json"
    path.write_text(json.dumps(raw), encoding="utf-8")
    library = load_playbooks([path])
    (plain,) = library
    assert plain.name_zh == plain.name
    assert choose(incident("network_attack.denial_of_service", ("T0816",)), library) == []


def test_a_playbook_is_found_by_stem_and_by_the_beginning_of_its_id() -> None:
    library = load_playbooks()
    scan = library.get("scan")
    assert library.get(scan.id) is scan
    assert library.get(scan.id.removeprefix("playbook--")[:8]) is scan
    for wrong in ("nothing", ""):
        with pytest.raises(PlaybookError, match="known: "):
            library.get(wrong)


# --- choosing ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("main", "techniques", "best"),
    [
        ("network_attack.scan", ("T0846", "T0888"), "scan"),
        ("abnormal_behaviour.access", ("T0855",), "unauthorised_control"),
        ("network_attack.other", ("T0846", "T0855", "T0836"), "unauthorised_control"),
        ("network_attack.denial_of_service", ("T0816", "T0858", "T0881"), "controller_stop"),
        ("abnormal_behaviour.traffic", ("T0815",), "visibility_loss"),
        ("data_security.interception", ("T0804",), "visibility_loss"),
    ],
)
def test_the_playbook_follows_category_and_techniques(main: str, techniques: tuple[str, ...], best: str) -> None:
    found = choices(incident(main, techniques), load_playbooks())
    assert Path(found[0].playbook.path).stem == best
    assert found[0].reason_zh
    assert found[0].reason_en
    assert [c.score for c in found] == sorted((c.score for c in found), reverse=True)


def test_an_incident_that_no_playbook_is_for_gets_none() -> None:
    one = incident("force_majeure.natural_disaster", ())
    assert choose(one, load_playbooks()) == []
    assert recommend(one, load_playbooks()).actions == ()


def test_recommending_quotes_the_best_playbook_and_keeps_the_version() -> None:
    library = load_playbooks()
    one = recommend(incident("network_attack.scan", ("T0846", "T0855")), library)
    assert one.version == 1
    assert one.playbooks[0] == choose(one, library)[0].id
    assert one.actions
    for action in one.actions:
        playbook, _, step = action.source.partition("#")
        assert playbook == one.playbooks[0]
        assert step in library.get(playbook).steps
        assert action.done_at is None
    assert recommend(one, library) == one


def test_what_people_did_or_noted_is_kept_when_recommending_again() -> None:
    library = load_playbooks()
    first = recommend(incident("network_attack.scan", ("T0846",)), library)
    done = first.actions[0].model_copy(update={"done_at": T0 + timedelta(hours=1), "done_by": "analyst"})
    noted = Step(text_zh="已电话通知", text_en="Told by telephone", source="analyst")
    worked = first.model_copy(update={"actions": (done, noted, *first.actions[1:])})
    again = recommend(worked, library)
    assert set(again.actions) == set(worked.actions)
    assert len(again.actions) == len(worked.actions)


def test_a_merged_incident_gets_no_recommendation() -> None:
    one = incident("network_attack.scan", ("T0846",), status="merged", merged_into="INC-20260901-111111")
    assert recommend(one, load_playbooks()) is one
