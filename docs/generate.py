"""Write the generated pages of docs/ anew: fields.md, cli.md, rules.md. ``--check`` only tells what is stale."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
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


LOGSOURCES = """# Log sources

Generated from `correlate/logsources.py` and `event/channels.py` by `./dev docs`.

Rules that others wrote for the public Sigma taxonomy (SigmaHQ) run unchanged: the log source says which events they see, and the names
of their fields are turned into ours. For our own log sources of industrial protocols see [sigma-ics.md](sigma-ics.md).

## What is read

`jianmen ingest` tells each input by its content, not by its name; gzip and zstd are unpacked.

| input | becomes | notes |
|---|---|---|
| EVTX files | `windows.*` | needs `pip install 'jianmen[evtx]'`; damaged records and chunks are events of kind `pipeline_error`, a file that is cut is an error after its last whole chunk |
| JSON lines of Windows events | `windows.*` | Winlogbeat (nested or dotted), NXLog and Mordor (flat), `evtx_dump` and Velociraptor (`System`, `EventData`) |
| Linux audit log, RAW or ENRICHED | `auditd` | a row a record; what the event's SYSCALL and CWD records say is added to its other records |
| access logs of Apache, nginx, IIS (W3C) | `web` | common, combined, with the virtual host in front; error logs of Apache and nginx too |
| Squid's native access log | `proxy` | |
| JSON lines of applications and clouds | `app.*` | one record a line: turn `{"Records": [..]}` of CloudTrail into lines with `jq -c '.Records[]'` |
| Zeek, Suricata EVE, syslog, captures | | see [fields.md](fields.md) |

## How names are turned

The mappings are pySigma pipelines in `correlate/pipelines/`, and `sigma convert -p` takes them as well.

* **Windows**: members of `System` have fields of their own (`EventID` is `event.code`, `Channel` is `winlog.channel`, `Provider_Name` is
  `winlog.provider_name`, `Computer` is `host.name`); every other name is the member of EventData or UserData that it is: `CommandLine` is
  `winlog.event_data.CommandLine`. Values are text as the event has them. Several values stand on lines of their own; members without a name are
  `Data`; of names with spaces (`Threat Name`) both spellings that rules use exist (`ThreatName`, `Threat_Name`).
* **Linux**: with `service: auditd`, `type` is `auditd.type` and every other name `auditd.data.<name>`. The categories use the fields of ECS
  (`Image` is `process.executable`), which the audit log and Sysmon for Linux both fill.
* **Web and proxy**: `cs-method` is `http.request.method`, `sc-status` is `http.response.status_code`, `cs-uri-query` is `url.original`, for that is
  where public rules look for a path *and* its query. `url.original` is as it was sent, not decoded.
* **Applications**: every name stands behind `app.data.`.
* A name of our own catalogue ([fields.md](fields.md)) may be used in any rule.

## How kinds of events are told apart

A category of Windows is an event code within a channel; the code is joined to the condition of the rule. Where several kinds of events serve
one category, a rule looks at all of them, with one exception: **Security 4688, 4657 and 5156** say less than Sysmon's events. A rule
looks at them only if it names no field that they lack; else a filter on such a field would never hold, and the rule would match what its
author wanted left out. They carry Sysmon's names beside their own (`Image`, `ParentImage`, `User`, `TargetObject`, `Details`, `Initiated` ...).

A field that no event of the log source records is named by `jianmen rules check` (a warning with its line) and `jianmen rules status`.
"""


def logsources_page() -> str:
    from correlate.logsources import FIXED, applications, places
    from correlate.windows_sources import OTHER_CATEGORIES, SERVICES, SYSMON_CATEGORIES
    from event.channels import CHANNELS

    def shown(some: Any) -> str:
        parts = []
        for one in some:
            name = f"`{one.dataset}{'*' if one.dataset.endswith('.') else ''}`"
            if one.field:
                name += f" with {one.field} {', '.join(one.values)}"
            parts.append(name + (" if its fields suffice" if one.strict else ""))
        return "; ".join(parts)

    lines = [*LOGSOURCES.splitlines(), "", "## Network, web and others", ""]
    lines += ["| product | category | service | events |", "|---|---|---|---|"]
    for source in sorted(FIXED, key=lambda one: tuple(part or "" for part in one)):
        lines.append(f"| {' | '.join(part or '' for part in source)} | {shown(FIXED[source])} |")
    lines += ["| zeek | | *path* | `zeek.<path>` |", "| suricata | | *event type* | `suricata.<event type>` |"]
    lines += ["", "## Windows, by category", "", "| category | events |", "|---|---|"]
    for category in sorted({*SYSMON_CATEGORIES, *OTHER_CATEGORIES} - {"antivirus"}):
        lines.append(f"| {category} | {shown(places('windows', category, None))} |")
    lines += ["", "## Windows, by service", "", "| service | dataset | channels |", "|---|---|---|"]
    for service, datasets in SERVICES.items():
        for dataset in datasets:
            lines.append(f"| {service} | `{dataset}` | {cell(', '.join(CHANNELS[dataset]))} |")
    lines += ["", "All other channels are `windows.other`; rules of `product: windows` alone see them.", ""]
    lines += ["## Linux", "", "| category or service | events |", "|---|---|"]
    for category in ("process_creation", "file_event", "file_delete", "network_connection", "process_termination"):
        lines.append(f"| category {category} | {shown(places('linux', category, None))} |")
    for service in ("auditd", "syslog", "auth", "sshd", "cron", "sudo", "vsftpd", "clamav", "guacamole"):
        lines.append(f"| service {service} | {shown(places('linux', None, service))} |")
    lines += ["", "## Applications and clouds", "", "| product | service | events |", "|---|---|---|"]
    for product, service in applications():
        lines.append(f"| {product} | {service} | {shown(places(product, None, service))} |")
    lines.append(f"| opencanary | category application | {shown(places('opencanary', 'application', None))} |")
    lines += [
        "",
        "## What has no events here",
        "",
        "macOS, command lines of network devices (cisco, fortigate, huawei, juniper), logs of application frameworks, databases, and",
        "`category: firewall` (a flow carries no verdict of a firewall). Such rules are kept; `jianmen rules status` shows them as `no dataset`.",
    ]
    return "\n".join(lines) + "\n"


WORDS = """# Words of the industrial log sources

Generated from the decoders by `./dev docs`; how to write rules with them: [sigma-ics.md](sigma-ics.md).

For each `product: ics, service: <protocol>`: its fields, the words that its fields have, by number, and the anomaly codes that
`error.code` has where a message violates the protocol (`event.kind: pipeline_error`). A number without a word is called `unknown_<number>`.
Second words, where there are some, are what `<protocol>.access` says.
"""


def words_page() -> str:
    import importlib

    from event import registry
    from event.fields import DATASETS, FIELDS
    from sensor import DECODERS

    lines = WORDS.splitlines()
    for name in DECODERS:
        decoder = registry.load("decoders", name, DECODERS)
        lines += [
            "",
            f"## {name}",
            "",
            DATASETS.get(name, "") + ".",
            "",
            "| field | type | unit | meaning |",
            "|---|---|---|---|",
        ]
        for field in FIELDS.values():
            if field.name in decoder.fields:
                kind = field.kind + ("[]" if field.many else "")
                lines.append(f"| `{field.name}` | {kind} | {cell(field.unit)} | {cell(field.meaning)} |")
        module = importlib.import_module(DECODERS[name].partition(":")[0])
        modules = [module]
        if hasattr(module, "__path__"):
            with suppress(ImportError):
                modules.append(importlib.import_module(f"{module.__name__}.names"))
        for one in modules:
            for label, table in vars(one).items():
                rows = _word_rows(table) if label.isupper() and not label.startswith("_") else []
                if rows:
                    lines += ["", f"### {name}: {label.lower().replace('_', ' ')}", "", ", ".join(rows)]
        if decoder.anomalies:
            lines += ["", f"### {name}: error codes", "", "| `error.code` | what is violated |", "|---|---|"]
            lines += [f"| `{code}` | {cell(text)} |" for code, text in decoder.anomalies.items()]
    return "\n".join(lines) + "\n"


def _word_rows(table: Any, before: str = "") -> list[str]:
    """``number word`` of a table of numbers to words, to tuples that begin with a word, or to such tables."""
    if not isinstance(table, dict) or not table or not all(isinstance(key, int) for key in table):
        return []
    rows: list[str] = []
    for number, value in table.items():
        if isinstance(value, dict):
            rows += _word_rows(value, f"{before}{number}.")
        elif isinstance(value, str):
            rows.append(f"{before}{number} `{value}`")
        elif isinstance(value, tuple) and value and all(isinstance(part, str) for part in value):
            rows.append(f"{before}{number} `{value[0]}`" + (f" ({', '.join(value[1:])})" if value[1:] else ""))
    return rows


PAGES = {
    "sigma-ics-words.md": words_page,
    "fields.md": fields_page,
    "cli.md": cli_page,
    "rules.md": rules_page,
    "logsources.md": logsources_page,
}


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
