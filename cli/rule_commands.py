"""``rules``: list, show, check, test, status, convert."""

from __future__ import annotations

import json as jsonlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import options
from cli.text import clean, emit_json, level_text, say, table, tr
from event.errors import RuleError, UserError

if TYPE_CHECKING:
    from cli.config import Settings
    from correlate.detect import Detector
    from correlate.rules import RuleSet
    from store.base import Store

app = typer.Typer(
    help=tr("Sigma rules: list, check, test, status.", "检测规则（Sigma）：列表、检查、测试、状态。"),
    no_args_is_help=True,
    rich_markup_mode=None,
)
_STATUS = "rules.status"  # checkpoint under which the last detection keeps what each rule did


def ruleset_of(settings: Settings, extra: list[Path] | None, *, keep_going: bool) -> RuleSet:
    """Our rules, those of the site file and those of ``--rules``.

    Raises:
        RuleError: A path does not exist, or a rule is invalid and ``keep_going`` is False.
    """
    from cli.config import state_home
    from correlate.rules import load_rules, rules_dir

    base = settings.site_path.parent if settings.site_path else Path()
    paths = [rules_dir(), *(base / p for p in settings.site.rules), *(extra or [])]
    for path in paths:
        if not path.exists():
            raise RuleError("no such rule file or folder", where=str(path))
    return load_rules(paths, keep_going=keep_going, cache_dir=state_home() / "rules")


def keep_status(store: Store, engine: Detector) -> None:
    """Remember what each rule did, for ``rules status``."""
    rows = [status_row(status) for status in engine.status()]
    store.put_checkpoint(_STATUS, jsonlib.dumps(rows).encode())


def status_row(status: Any) -> dict[str, Any]:
    """A RuleStatus as plain JSON."""
    from dataclasses import asdict

    return {**asdict(status), "state": status.state}


@app.command("list", help=tr("Every rule with its level and techniques.", "列出全部规则。"))
def list_rules(rules: options.Rules = None, config: options.Config = None, json: options.Json = False) -> None:
    """See the help text."""
    from cli.config import load

    loaded = ruleset_of(load(config, None), rules, keep_going=True)
    rows = [rule_row(r) for r in loaded.all()]
    if json:
        emit_json(rows)
        return
    table(
        tr(f"{len(rows)} rules", f"共 {len(rows)} 条规则"),
        [tr("level", "级别"), tr("rule", "规则"), tr("kind", "类型"), tr("log source", "日志源"), "ATT&CK", "ID"],
        [
            (
                level_text(r["level"]),
                tr(r["title"], r["title_zh"] or r["title"]),
                r["type"],
                r["logsource"],
                " ".join(r["techniques"]),
                r["id"],
            )
            for r in rows
        ],
    )


def rule_row(rule: Any) -> dict[str, Any]:
    """A rule or correlation in one flat line of JSON."""
    source = getattr(rule, "logsource", None)
    return {
        "id": rule.id,
        "title": rule.meta.title,
        "title_zh": rule.meta.title_zh,
        "level": rule.meta.level,
        "status": rule.meta.status,
        "type": "rule" if source else rule.type,
        "logsource": "/".join(part for part in source if part) if source else None,
        "alerts": rule.meta.alerts,
        "techniques": list(rule.meta.techniques),
        "path": rule.meta.path,
        "error": rule.error,
    }


@app.command("show", help=tr("One rule as it is written.", "查看规则原文。"))
def show(
    rule_id: Annotated[
        str, typer.Argument(metavar="ID", help=tr("Id, or a part of its title.", "规则 ID 或标题的一部分。"))
    ],
    rules: options.Rules = None,
    config: options.Config = None,
) -> None:
    """See the help text."""
    from cli.config import load

    loaded = ruleset_of(load(config, None), rules, keep_going=True)
    every = [r.meta for r in loaded.all()]
    found = [m for m in every if m.id.startswith(rule_id)] or [
        m for m in every if rule_id.lower() in f"{m.title} {m.title_zh or ''}".lower()
    ]
    if not found:
        raise UserError(f"no rule {rule_id!r}", hint="jianmen rules list")
    if len(found) > 1:
        raise UserError(f"{len(found)} rules fit {rule_id!r}", hint="\n".join(f"{r.id}  {r.title}" for r in found[:20]))
    say(str(found[0].path))
    print(clean(Path(found[0].path).read_text(encoding="utf-8")))


@app.command(
    "check",
    help=tr(
        "Check rule files; all errors at once, each with file and line.\n\nExample: jianmen rules check my-rules/",
        "检查规则文件，一次列出全部错误及其位置。\n\n示例：jianmen rules check my-rules/",
    ),
)
def check(
    paths: Annotated[list[Path] | None, typer.Argument(metavar="[PATH...]")] = None, json: options.Json = False
) -> None:
    """See the help text."""
    from correlate.rules import load_rules, rules_dir

    for path in paths or []:
        if not path.exists():
            raise RuleError("no such rule file or folder", where=str(path))
    loaded = load_rules(paths or [rules_dir()], keep_going=True)
    errors = [p for p in loaded.problems if p.severity == "error"]
    if json:
        from dataclasses import asdict

        emit_json(
            {
                "rules": len(loaded.rules),
                "correlations": len(loaded.correlations),
                "problems": [
                    {k: (str(v) if isinstance(v, Path) else v) for k, v in asdict(p).items()} for p in loaded.problems
                ],
            }
        )
    else:
        for problem in loaded.problems:
            print(clean(problem))
        say(
            tr(
                f"{len(loaded.rules)} rules and {len(loaded.correlations)} correlations are valid, {len(errors)} errors, "
                f"{len(loaded.problems) - len(errors)} warnings",
                f"有效规则 {len(loaded.rules)} 条、关联规则 {len(loaded.correlations)} 条；错误 {len(errors)} 处，"
                f"提醒 {len(loaded.problems) - len(errors)} 处",
            )
        )
    if errors:
        raise typer.Exit(RuleError.exit_code)


@app.command(
    "test",
    help=tr(
        "Run rules over their samples: what must match and what must not.\n\n"
        "Example: jianmen rules test --rules my-rules/ --samples my-samples/",
        "用样例测试规则：应命中的须命中，不应命中的须不命中。\n\n示例：jianmen rules test --rules my-rules/ --samples my-samples/",
    ),
)
def run_samples_of(
    samples: Annotated[Path, typer.Option("--samples", metavar="DIR")] = Path("tests/rules"),
    rules: options.Rules = None,
    config: options.Config = None,
    json: options.Json = False,
) -> None:
    """See the help text."""
    from dataclasses import asdict

    from cli.config import load
    from correlate.samples import run_samples

    if not samples.is_dir():
        raise RuleError("no such folder of samples", where=str(samples), hint="--samples DIR")
    results = run_samples(ruleset_of(load(config, None), rules, keep_going=False), samples)
    bad = [r for r in results if not r.passed]
    if json:
        emit_json([{k: (str(v) if isinstance(v, Path) else v) for k, v in asdict(r).items()} for r in results])
    else:
        for result in bad:
            print(clean(result))
        say(
            tr(
                f"{len(results) - len(bad)} of {len(results)} samples pass",
                f"样例通过 {len(results) - len(bad)} / {len(results)}",
            )
        )
    if bad:
        raise typer.Exit(RuleError.exit_code)


@app.command(
    "status",
    help=tr(
        "What each rule did at the last detection: events seen, matches, errors, time; and what it cannot see.",
        "各规则最近一次检测的情况：检查条数、命中、错误、用时，以及缺少的数据来源。",
    ),
)
def status(
    store: options.Store = None, rules: options.Rules = None, config: options.Config = None, json: options.Json = False
) -> None:
    """See the help text."""
    from cli.config import load
    from cli.pipeline import open_store
    from correlate.detect import Detector

    settings = load(config, store)
    loaded = ruleset_of(settings, rules, keep_going=True)
    rows = [status_row(s) for s in Detector(loaded).status()]
    if (settings.store / "catalogue.sqlite").is_file():
        with open_store(settings.store, create=False) as kept:
            last = kept.checkpoint(_STATUS)
        known = {row["id"]: row for row in jsonlib.loads(last)} if last else {}
        rows = [known.get(row["id"], row) for row in rows]
    problems = [str(p) for p in loaded.problems]
    if json:
        emit_json({"rules": rows, "problems": problems})
        return
    table(
        tr(f"{len(rows)} rules", f"共 {len(rows)} 条规则"),
        [
            tr("level", "级别"),
            tr("rule", "规则"),
            tr("state", "状态"),
            tr("datasets seen", "已见数据集"),
            tr("events", "检查"),
            tr("matches", "命中"),
            tr("errors", "错误"),
            tr("seconds", "秒"),
        ],
        [
            (
                level_text(r["level"]),
                r["title"],
                r["state"],
                ", ".join(r["datasets_seen"]),
                f"{r['events']:,}",
                f"{r['matches']:,}",
                r["errors"],
                f"{r['seconds']:.3f}",
            )
            for r in rows
        ],
    )
    for problem in problems:
        say(problem)


@app.command(
    "convert",
    help=tr(
        "Hand a rule over to sigma-cli.\n\nExample: jianmen rules convert rules/ics/modbus -- -t lucene --without-pipeline",
        "交由 sigma-cli 转换规则。\n\n示例：jianmen rules convert rules/ics/modbus -- -t lucene --without-pipeline",
    ),
)
def convert(
    path: Annotated[Path, typer.Argument(metavar="PATH")],
    arguments: Annotated[list[str] | None, typer.Argument(metavar="[-- SIGMA-CLI OPTIONS]")] = None,
) -> None:
    """See the help text."""
    import shutil
    import subprocess
    import sys

    beside = Path(sys.executable).parent / "sigma"
    program = str(beside) if beside.is_file() else shutil.which("sigma")
    if program is None:
        raise UserError("sigma-cli is not installed", hint="pip install 'jianmen[convert]'")
    done = subprocess.run([program, "convert", *(arguments or []), str(path)], check=False)
    if done.returncode:
        raise typer.Exit(RuleError.exit_code)
