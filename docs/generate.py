"""Write the generated pages of docs/ anew: fields.md, cli.md, rules.md. ``--check`` only tells what is stale."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

os.environ["JIANMEN_LANG"] = "en"
ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))


def cell(text: object) -> str:
    return str("" if text is None else text).replace("|", "\\|").replace("\n", " ")


def fields_page() -> str:
    from event.fields import DATASETS, FIELDS, OPEN_DATASETS

    lines = [
        "# Fields",
        "",
        "Generated from `event/fields/` by `./dev docs`. Names are those of the Elastic Common Schema where it has one;",
        "`[]` marks lists. Absent means unknown.",
        "",
        "## Datasets",
        "",
        "| `event.dataset` | what |",
        "|---|---|",
        *(f"| `{name}` | {cell(text)} |" for name, text in DATASETS.items()),
        *(f"| `{name}*` | {cell(text)} |" for name, text in OPEN_DATASETS.items()),
        "",
        "## Open names",
        "",
        "Behind these beginnings stand the names of the source itself; they are columns of text like all others.",
        "",
        "| begins with | what |",
        "|---|---|",
        *(f"| `{name}` | {cell(text)} |" for name, text in FIELDS.prefixes.items()),
    ]
    group = ""
    for field in FIELDS.values():
        first = field.name.split(".")[0]
        part = (
            first
            if field.source == "jianmen"
            and first
            in (
                "modbus",
                "iec104",
                "dnp3",
                "s7comm",
                "cotp",
                "s7comm_plus",
                "dns",
                "zeek",
                "suricata",
                "winlog",
                "auditd",
                "web",
                "app",
            )
            else "common"
        )
        if part != group:
            group = part
            lines += ["", f"## {group}", "", "| field | type | unit | meaning | source |", "|---|---|---|---|---|"]
        kind = field.kind + ("[]" if field.many else "")
        lines.append(f"| `{field.name}` | {kind} | {cell(field.unit)} | {cell(field.meaning)} | {field.source} |")
    return "\n".join(lines) + "\n"


def cli_page() -> str:
    import typer

    from cli.main import app

    lines = [
        "# Commands",
        "",
        "Generated from the command line itself by `./dev docs`. Every command has `--help`; `--lang zh` shows it in Chinese.",
        "",
        "Exit codes: [exit-codes.md](exit-codes.md).",
    ]

    def walk(command: Any, path: str) -> None:
        context = typer.Context(command, info_name=path.split()[-1])
        if hasattr(command, "list_commands"):
            for name in command.list_commands(context):
                child = command.get_command(context, name)
                if child is not None:
                    walk(child, f"{path} {name}")
            return
        lines.extend(["", f"## {path}", "", (command.help or "").replace("\n\nExample: ", "\n\n    "), ""])
        for parameter in command.params:
            if parameter.name == "help":
                continue
            record = parameter.get_help_record(context)
            if record is None:
                name = parameter.human_readable_name
                lines.append(f"* `{name}` {getattr(parameter, 'help', None) or ''}".rstrip())
            else:
                lines.append(f"* `{record[0]}` {record[1]}".rstrip())

    walk(typer.main.get_command(app), "jianmen")
    return "\n".join(lines) + "\n"


def rules_page() -> str:
    from cli.rule_commands import rule_row
    from correlate.rules import load_rules

    loaded = load_rules()
    rows = [rule_row(rule) for rule in loaded.all()]
    lines = [
        "# Rules",
        "",
        "Generated from `rules/` by `./dev docs`. Each rule has samples under `tests/rules/`: at least one that must match and",
        "one that must not.",
        "",
        f"{len(loaded.rules)} rules, {len(loaded.correlations)} correlations.",
        "",
        "| level | rule | 规则 | log source | ATT&CK for ICS | file |",
        "|---|---|---|---|---|---|",
    ]
    for row in sorted(rows, key=lambda r: (r["path"], r["title"])):
        path = Path(row["path"]).resolve()
        shown = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
        source = row["logsource"] or row["type"]
        lines.append(
            f"| {row['level']} | {cell(row['title'])} | {cell(row['title_zh'])} | {cell(source)} | "
            f"{' '.join(row['techniques'])} | `{shown}` |"
        )
    return "\n".join(lines) + "\n"


PAGES = {"fields.md": fields_page, "cli.md": cli_page, "rules.md": rules_page}


def main() -> int:
    stale = 0
    for name, make in PAGES.items():
        path = ROOT / "docs" / name
        text = make()
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            continue
        stale += 1
        if "--check" in sys.argv:
            print(f"stale: docs/{name}: run ./dev docs")
        else:
            path.write_text(text, encoding="utf-8")
            print(f"docs/{name}")
    return 1 if stale and "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
