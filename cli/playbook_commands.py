"""``playbook``: list, show, check, choose."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cli import options
from cli.text import emit_json, say, table, tr
from event.errors import UserError

app = typer.Typer(
    help=tr("CACAO v2.0 playbooks for response.", "应急处置预案（CACAO v2.0）。"),
    no_args_is_help=True,
    rich_markup_mode=None,
)
Folder = Annotated[
    list[Path] | None, typer.Option("--playbooks", metavar="PATH", help=tr("Instead of ours.", "替代自带预案。"))
]


def _row(book: Any) -> dict[str, Any]:
    return {"id": book.id, "name": book.name, "name_zh": book.name_zh, "steps": len(book.steps), "path": str(book.path)}


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
    playbook_id: Annotated[
        str, typer.Argument(metavar="ID", help=tr("Id, or a part of its name.", "编号或名称的一部分。"))
    ],
    playbooks: Folder = None,
    json: options.Json = False,
) -> None:
    """See the help text."""
    from respond.playbook import load_playbooks

    library = load_playbooks(playbooks)
    found = [
        b for b in library.playbooks if playbook_id in b.id or playbook_id.lower() in f"{b.name} {b.name_zh}".lower()
    ]
    if len(found) != 1:
        raise UserError(
            f"{len(found)} playbooks fit {playbook_id!r}",
            hint="\n".join(f"{b.id}  {b.name}" for b in library.playbooks),
        )
    book = found[0]
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
