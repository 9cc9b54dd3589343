"""``playbook``: list, show, check; start a walk, step through it, drill one without an incident.

Nothing is executed, ever: a step is shown to people, who do it and say so. A walk is a rehearsal unless ``--real`` is
said. Where it stands is a checkpoint of the store, so that the next shift goes on with it; what people did in a real
walk becomes measures of its incident.
"""

from __future__ import annotations

import json as jsonlib
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import typer

from cli import options
from cli.text import emit_json, local_time, say, table, tr, word
from event.errors import ConfigError, UserError

if TYPE_CHECKING:
    from respond.playbook import Playbook, PlaybookStep
    from respond.walk import Entry, Walk
    from store.base import Store

app = typer.Typer(
    help=tr("CACAO v2.0 playbooks for response.", "应急处置预案（CACAO v2.0）。"),
    no_args_is_help=True,
    rich_markup_mode=None,
)
Folder = Annotated[
    list[Path] | None, typer.Option("--playbooks", metavar="PATH", help=tr("Instead of ours.", "替代自带预案。"))
]
BookId = Annotated[str, typer.Argument(metavar="ID", help=tr("Id, or a part of its name.", "编号或名称的一部分。"))]
WalkId = Annotated[
    str, typer.Argument(metavar="WALK", help=tr("Id of the walk, or a unique beginning.", "执行记录编号或其唯一前缀。"))
]
Values = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="NAME=VALUE", help=tr("Value of a variable of the playbook.", "预案变量的取值，可重复。")
    ),
]

_INDEX = "playbook.walks"  # checkpoint: ids of the walks that the store remembers, oldest first
_KEPT_WALKS = 1_000


def _row(book: Any) -> dict[str, Any]:
    return {"id": book.id, "name": book.name, "name_zh": book.name_zh, "steps": len(book.steps), "path": str(book.path)}


def _book(playbook_id: str, playbooks: list[Path] | None) -> Playbook:
    """A playbook by id, file name, or a part of its name.

    Raises:
        UserError: None or several fit.
    """
    from respond.playbook import load_playbooks

    library = load_playbooks(playbooks)
    found = [b for b in library if Path(b.path).stem == playbook_id] or [
        b for b in library if playbook_id in b.id or playbook_id.lower() in f"{b.name} {b.name_zh}".lower()
    ]
    if len(found) != 1:
        raise UserError(
            f"{len(found)} playbooks fit {playbook_id!r}", hint="\n".join(f"{b.id}  {b.name}" for b in library)
        )
    return found[0]


@app.command("list", help=tr("Every playbook.", "列出全部预案。"))
def list_playbooks(playbooks: Folder = None, json: options.Json = False) -> None:
    """See the help text."""
    from respond.playbook import load_playbooks

    rows = [_row(book) for book in load_playbooks(playbooks).playbooks]
    if json:
        emit_json(rows)
        return
    table(
        tr("Playbooks", "预案"),
        [tr("name", "名称"), tr("steps", "步骤"), "ID"],
        [(tr(r["name"], r["name_zh"]), r["steps"], r["id"]) for r in rows],
    )


@app.command("show", help=tr("One playbook, step by step.", "逐步查看预案。"))
def show(
    playbook_id: BookId,
    playbooks: Folder = None,
    json: options.Json = False,
) -> None:
    """See the help text."""
    book = _book(playbook_id, playbooks)
    rows = [
        {
            "step": s.id,
            "type": s.type,
            "phase": s.phase,
            "name": s.name,
            "text_en": s.description,
            "text_zh": s.description_zh,
        }
        for s in book.ordered()
    ]
    if json:
        emit_json({**_row(book), "steps": rows})
        return
    table(
        tr(book.name, book.name_zh),
        ["#", tr("type", "类型"), tr("phase", "阶段"), tr("step", "步骤"), tr("what", "内容")],
        [(n + 1, r["type"], r["phase"], r["name"], tr(r["text_en"], r["text_zh"])) for n, r in enumerate(rows)],
    )


@app.command("check", help=tr("Check playbook files; all errors at once.", "检查预案文件，一次列出全部错误。"))
def check(paths: Annotated[list[Path] | None, typer.Argument(metavar="[PATH...]")] = None) -> None:
    """See the help text."""
    from respond.playbook import load_playbooks

    library = load_playbooks(paths)
    say(tr(f"{len(library.playbooks)} playbooks are valid", f"有效预案 {len(library.playbooks)} 份"))


def _given(values: list[str] | None) -> dict[str, str | None]:
    """Variables out of ``NAME=VALUE``.

    Raises:
        ConfigError: There is no ``=`` in one.
    """
    given: dict[str, str | None] = {}
    for one in values or ():
        name, sign, value = one.partition("=")
        if not sign:
            raise ConfigError(f"not NAME=VALUE: {one!r}", where="--set")
        given[name] = value or None
    return given


def _decision(text: str | None) -> bool | str | None:
    """A decision as people write it: yes and no in either language, or the case of a switch."""
    if text is None:
        return None
    return {"true": True, "yes": True, "是": True, "false": False, "no": False, "否": False}.get(text.lower(), text)


def _walks(store: Store) -> list[str]:
    kept = store.checkpoint(_INDEX)
    return list(jsonlib.loads(kept)) if kept else []


def _keep(store: Store, walk: Walk) -> None:
    known = _walks(store)
    store.put_checkpoint(f"playbook.walk.{walk.id}", walk.model_dump_json().encode())
    if walk.id not in known:
        store.put_checkpoint(_INDEX, jsonlib.dumps([*known, walk.id][-_KEPT_WALKS:]).encode())


def _fetch(store: Store, walk_id: str) -> Walk:
    """A walk by id or unique beginning.

    Raises:
        UserError: None or several fit.
    """
    from respond.walk import Walk

    known = _walks(store)
    found = [one for one in known if one == walk_id] or [one for one in known if one.startswith(walk_id)]
    kept = store.checkpoint(f"playbook.walk.{found[0]}") if len(found) == 1 else None
    if kept is None:
        raise UserError(
            f"{len(found)} walks fit {walk_id!r}", hint="known: " + (", ".join(known[-10:]) or tr("none", "无"))
        )
    return Walk.model_validate_json(kept)


def _step_row(step: PlaybookStep) -> dict[str, Any]:
    return {
        "step": step.id,
        "type": step.type,
        "phase": step.phase,
        "name": step.name,
        "name_zh": step.name_zh,
        "text_en": step.question if step.question and step.type.endswith("condition") else step.description,
        "text_zh": step.question_zh if step.question_zh and step.type.endswith("condition") else step.description_zh,
        "cases": list(step.cases),
    }


def _state(state: str) -> str:
    names = {
        "running": tr("running", "进行中"),
        "finished": tr("finished", "已完成"),
        "failed": tr("failed", "未成功"),
        "aborted": tr("stopped", "已中止"),
    }
    return names.get(state, state)


def _show_walk(walk: Walk, book: Playbook, *, json: bool) -> None:
    """Where a walk stands, and what waits."""
    from respond.walk import waiting

    steps = waiting(walk, book)
    if json:
        emit_json({**walk.model_dump(mode="json"), "waiting": [_step_row(s) for s in steps]})
        return
    kind = tr("rehearsal", "演练") if walk.dry_run else tr("for real", "实际处置")
    say(f"{walk.id}  {tr(book.name, book.name_zh)}  {kind}, {_state(walk.state)}")
    if not steps:
        return
    rows = []
    for row in map(_step_row, steps):
        answers = ""
        if row["cases"]:
            answers = " | ".join(row["cases"])
        elif row["type"].endswith("condition"):
            answers = tr("yes | no", "是 | 否")
        short = row["step"].rpartition("--")[2][:8]
        rows.append(
            (short, word(row["phase"]), tr(row["name"], row["name_zh"]), tr(row["text_en"], row["text_zh"]), answers)
        )
    table(
        tr("To do now", "当前待办"),
        [tr("step", "步骤"), tr("phase", "阶段"), tr("name", "名称"), tr("what", "内容"), tr("decide", "待决定")],
        rows,
    )


def _outcome(entry: Entry) -> str:
    if entry.what == "decided":
        return {True: tr("yes", "是"), False: tr("no", "否")}.get(cast("bool", entry.decision), str(entry.decision))
    names = {"success": tr("done", "已完成"), "failure": tr("failed", "未成功"), "skipped": tr("skipped", "已跳过")}
    return names.get(entry.outcome or "", "")


def _print_log(walk: Walk) -> None:
    rows = [
        (local_time(e.time), e.actor, tr(e.name, e.name_zh), _outcome(e), e.note)
        for e in walk.log
        if e.what in ("done", "decided", "stopped")
    ]
    table(
        tr("Log", "执行记录"),
        [tr("time", "时间"), tr("who", "人员"), tr("step", "步骤"), tr("outcome", "结果"), tr("note", "备注")],
        rows,
    )


@app.command(
    "start",
    help=tr(
        "Begin to walk through a playbook: a rehearsal, unless --real is said.\n\n"
        "Example: jianmen playbook start scan --incident INC-2026 --real --store plant.store",
        "启动预案：默认为演练；--real 表示实际处置，处置措施将记入事件。\n\n"
        "示例：jianmen playbook start scan --incident INC-2026 --real --store plant.store",
    ),
)
def start(
    playbook_id: BookId,
    incident_id: Annotated[
        str | None, typer.Option("--incident", metavar="ID", help=tr("For this incident.", "所处置的事件编号。"))
    ] = None,
    real: Annotated[
        bool,
        typer.Option("--real", help=tr("For real: what is done goes into the incident.", "实际处置：措施记入事件。")),
    ] = False,
    values: Values = None,
    playbooks: Folder = None,
    store: options.Store = None,
    config: options.Config = None,
    json: options.Json = False,
) -> None:
    """See the help text."""
    from cli.config import load
    from cli.incident_commands import fetch
    from cli.pipeline import open_store
    from respond import walk as walking

    if real and incident_id is None:
        raise ConfigError("a walk for real needs the incident that it is for", where="--incident")
    book = _book(playbook_id, playbooks)
    settings = load(config, store)
    with open_store(settings.store, create=False) as kept:
        incident = fetch(kept, incident_id) if incident_id is not None else None
        walk = walking.start(
            book,
            actor=settings.actor,
            time=datetime.now(UTC),
            incident_id=incident.id if incident else None,
            dry_run=not real,
            variables=_given(values),
        )
        if walk.id in _walks(kept):
            raise UserError("this playbook was started in this very second", where=walk.id)
        _keep(kept, walk)
    _show_walk(walk, book, json=json)


@app.command(
    "step",
    help=tr(
        "Show where a walk stands; with STEP, record that it was done or decided.\n\n"
        "Example: jianmen playbook step walk-2026 3f1c --note 'port 7 shut' --store plant.store",
        "查看执行进度；给出 STEP 时记录该步骤已完成或已决定。\n\n"
        "示例：jianmen playbook step walk-2026 3f1c --note '已关闭7号端口' --store plant.store",
    ),
)
def step(
    walk_id: WalkId,
    step_id: Annotated[
        str | None,
        typer.Argument(metavar="[STEP]", help=tr("Id of a waiting step, or its beginning.", "待办步骤编号或其前缀。")),
    ] = None,
    outcome: Annotated[
        str, typer.Option("--outcome", metavar="success|failure|skipped", help=tr("How it went.", "执行结果。"))
    ] = "success",
    decide: Annotated[
        str | None,
        typer.Option("--decide", metavar="yes|no|CASE", help=tr("Answer of a condition.", "条件步骤的决定。")),
    ] = None,
    note: Annotated[str, typer.Option("--note", help=tr("What was found or done.", "发现或处置情况。"))] = "",
    abort: Annotated[
        bool, typer.Option("--abort", help=tr("Stop the walk for good; say why with --note.", "中止执行，须注明原因。"))
    ] = False,
    log: Annotated[bool, typer.Option("--log", help=tr("Show what was done so far.", "显示已执行的步骤。"))] = False,
    values: Values = None,
    playbooks: Folder = None,
    store: options.Store = None,
    config: options.Config = None,
    json: options.Json = False,
) -> None:
    """See the help text."""
    from cli.config import load
    from cli.incident_commands import fetch
    from cli.pipeline import open_store
    from respond import walk as walking
    from respond.playbook import load_playbooks

    if outcome not in ("success", "failure", "skipped"):
        raise ConfigError(f"unknown outcome {outcome!r}", where="--outcome", hint="known: success, failure, skipped")
    if abort and not note:
        raise ConfigError("say why the walk is stopped", where="--note")
    settings = load(config, store)
    now = datetime.now(UTC)
    with open_store(settings.store, create=False) as kept:
        walk = _fetch(kept, walk_id)
        book = load_playbooks(playbooks).get(walk.playbook_id)
        before = walk
        if abort:
            walk = walking.abort(walk, book, actor=settings.actor, time=now, note=note)
        elif step_id is not None:
            walk = walking.advance(
                walk,
                book,
                step_id,
                actor=settings.actor,
                time=now,
                outcome=cast("Literal['success', 'failure', 'skipped']", outcome),
                decision=_decision(decide),
                note=note,
                variables=_given(values),
            )
        if walk is not before:
            # The walk first: should we die between the two, the next step puts what is missing into the incident.
            _keep(kept, walk)
        if walk.incident_id is not None and not walk.dry_run:
            incident = fetch(kept, walk.incident_id)
            recorded = walking.record(incident, walk, book, actor=settings.actor, time=now)
            if recorded is not incident:
                kept.put_incident(recorded)
    if log and not json:
        _print_log(walk)
    _show_walk(walk, book, json=json)


@app.command(
    "drill",
    help=tr(
        "Rehearse a playbook to its end, every step taken as done; shows what would be asked of whom.\n\n"
        "Example: jianmen playbook drill controller_stop",
        "将预案演练至结束，各步骤均视为完成，列出全部工作。\n\n示例：jianmen playbook drill controller_stop",
    ),
)
def drill(
    playbook_id: BookId,
    decide: Annotated[
        list[str] | None,
        typer.Option(
            "--decide", metavar="STEP=yes|no|CASE", help=tr("Answer of a condition.", "条件步骤的决定，可重复。")
        ),
    ] = None,
    values: Values = None,
    playbooks: Folder = None,
    json: options.Json = False,
) -> None:
    """See the help text."""
    from cli.config import load
    from respond import walk as walking

    book = _book(playbook_id, playbooks)
    decisions: dict[str, bool | str] = {}
    for one in decide or ():
        name, sign, answer = one.partition("=")
        fitting = [s for s in book.steps if s == name or s.rpartition("--")[2].startswith(name)]
        if not sign or len(fitting) != 1 or not name:
            raise ConfigError(f"not STEP=ANSWER of one step: {one!r}", where="--decide", hint=", ".join(book.steps))
        decided = _decision(answer)
        decisions[fitting[0]] = answer if decided is None else decided
    walk = walking.drill(
        book,
        actor=load(None, None).actor,
        time=datetime.now(UTC),
        decisions=decisions,
        variables=_given(values),
    )
    if json:
        emit_json(walk.model_dump(mode="json"))
        return
    rows = []
    for number, entry in enumerate(e for e in walk.log if e.what in ("done", "decided")):
        taken = book.steps[entry.step]
        text = _step_row(taken)
        who = tr(taken.agent.name, taken.agent.name_zh) if taken.agent else ""
        rows.append(
            (
                number + 1,
                word(taken.phase),
                tr(entry.name, entry.name_zh),
                who,
                tr(text["text_en"], text["text_zh"]),
                _outcome(entry),
            )
        )
    table(
        tr(f"Drill: {book.name}", f"演练：{book.name_zh}"),
        ["#", tr("phase", "阶段"), tr("step", "步骤"), tr("who", "执行人"), tr("what", "内容"), tr("outcome", "结果")],
        rows,
    )
    say(tr(f"{_state(walk.state)}; nothing was carried out", f"{_state(walk.state)}；演练未执行任何操作"))


@app.command("walks", help=tr("Walks that were started, and where they stand.", "列出已启动的预案执行记录。"))
def walks(store: options.Store = None, config: options.Config = None, json: options.Json = False) -> None:
    """See the help text."""
    from cli.config import load
    from cli.pipeline import open_store
    from respond.walk import Walk

    found: list[Walk] = []
    with open_store(load(config, store).store, create=False) as kept:
        for one in _walks(kept):
            value = kept.checkpoint(f"playbook.walk.{one}")
            if value is not None:
                found.append(Walk.model_validate_json(value))
    if json:
        emit_json(
            [
                {
                    "id": w.id,
                    "playbook_id": w.playbook_id,
                    "incident_id": w.incident_id,
                    "dry_run": w.dry_run,
                    "state": w.state,
                    "started": w.started.isoformat(),
                    "waiting": [p.step for p in w.places],
                }
                for w in found
            ]
        )
        return
    table(
        tr("Walks", "预案执行记录"),
        [
            "ID",
            tr("kind", "性质"),
            tr("incident", "事件"),
            tr("state", "状态"),
            tr("started", "启动时间"),
            tr("waiting", "待办"),
        ],
        [
            (
                w.id,
                tr("rehearsal", "演练") if w.dry_run else tr("for real", "实际处置"),
                w.incident_id,
                _state(w.state),
                local_time(w.started),
                len(w.places),
            )
            for w in found
        ],
    )
