"""``rules``: list, show, check, test, status, explain, update, convert."""

from __future__ import annotations

import json as jsonlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import options
from cli.text import clean, emit_json, level_text, say, table, tr
from event.errors import RuleError, UserError

if TYPE_CHECKING:
    import polars as pl

    from cli.config import Settings
    from correlate.detect import Detector
    from correlate.explain import Explanation
    from correlate.rules import RuleSet
    from store.base import Store

app = typer.Typer(
    help=tr("Sigma rules: list, check, test, status.", "检测规则（Sigma）：列表、检查、测试、状态。"),
    no_args_is_help=True,
    rich_markup_mode=None,
)
_STATUS = "rules.status"  # checkpoint under which the last detection keeps what each rule did

_BOUNDS = {  # what docs/correlation.md says about each
    "hits_without_group": tr("hits without a group", "无分组值"),
    "hits_taken_early": tr("hits taken early", "提前处理"),
    "late_hits": tr("late hits", "迟到"),
    "too_late_hits": tr("hits dropped as too late", "迟到过久丢弃"),
    "group_hits_evicted": tr("hits forgotten in a full group", "组满遗忘"),
    "groups_evicted": tr("groups forgotten", "遗忘的组"),
    "waits_not_kept": tr("waits not kept", "未保留的等待"),
    "waiting": tr("still waiting", "仍在等待"),
}


def ruleset_of(settings: Settings, extra: list[Path] | None, *, keep_going: bool) -> RuleSet:
    """Our rules, those that ``rules update`` installed, those of the site file and those of ``--rules``.

    Raises:
        RuleError: A path does not exist, or a rule is invalid and ``keep_going`` is False.
    """
    from cli.config import state_home
    from correlate.rules import load_rules, rules_dir
    from correlate.update import installed, licensed

    base = settings.site_path.parent if settings.site_path else Path()
    taken = installed(rules_home())
    paths = [rules_dir(), *([taken] if taken else []), *(base / p for p in settings.site.rules), *(extra or [])]
    for path in paths:
        if not path.exists():
            raise RuleError("no such rule file or folder", where=str(path))
    return licensed(load_rules(paths, keep_going=keep_going, cache_dir=state_home() / "rules"), rules_home())


def rules_home() -> Path:
    """Folder that holds what ``rules update`` installs, and compiled rules."""
    from cli.config import state_home

    return state_home() / "rules"


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
    meta = one_rule(loaded, rule_id).meta
    say(str(meta.path))
    print(clean(Path(meta.path).read_text(encoding="utf-8")))


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
    rules, correlations = (sum(one.error is None for one in some) for some in (loaded.rules, loaded.correlations))
    if json:
        from dataclasses import asdict

        emit_json(
            {
                "rules": rules,
                "correlations": correlations,
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
                f"{rules} rules and {correlations} correlations are valid, {len(errors)} errors, "
                f"{len(loaded.problems) - len(errors)} warnings",
                f"有效规则 {rules} 条、关联规则 {correlations} 条；错误 {len(errors)} 处，"
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
        "What each rule did at the last detection: events seen, matches, errors, time; and what it cannot see: fields "
        "that no event of its log source has, and in brackets those that no event has had so far.\n\n"
        "Example: jianmen rules status --state waiting --store plant.store",
        "各规则最近一次检测的情况：检查条数、命中、错误、用时，以及缺少的数据来源和字段（括号内为至今未出现的字段）。\n\n"
        "示例：jianmen rules status --state waiting --store plant.store",
    ),
)
def status(
    store: options.Store = None,
    rules: options.Rules = None,
    config: options.Config = None,
    state: Annotated[
        str | None,
        typer.Option(
            "--state",
            metavar="STATE",
            help=tr("Only: ok, waiting, 'no dataset' or error.", "只显示：ok、waiting、'no dataset' 或 error。"),
        ),
    ] = None,
    json: options.Json = False,
) -> None:
    """See the help text."""
    from cli.config import load
    from cli.pipeline import open_store
    from correlate.detect import Detector
    from correlate.update import refused

    known_states = ("ok", "waiting", "no dataset", "error")
    if state is not None and state not in known_states:
        raise UserError(f"no state {state!r}", hint=f"known: {', '.join(known_states)}")
    settings = load(config, store)
    loaded = ruleset_of(settings, rules, keep_going=True)
    rows = [status_row(s) for s in Detector(loaded).status()]
    if not isinstance(settings.store, Path) or (settings.store / "catalogue.sqlite").is_file():
        with open_store(settings.store, create=False) as kept:
            last = kept.checkpoint(_STATUS)
        known = {row["id"]: row for row in jsonlib.loads(last)} if last else {}
        rows = [known.get(row["id"], row) for row in rows]
    refusals = refused(rules_home())
    rows = [row for row in rows if state is None or row["state"] == state]
    if json:
        emit_json(
            {
                "rules": rows,
                "problems": [str(p) for p in loaded.problems],
                "refused": [f"{one.path}:{one.reason}" for one in refusals],
            }
        )
        return
    counts: dict[str, int] = {}
    for row in rows:
        counts[row["state"]] = counts.get(row["state"], 0) + 1
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
            tr("fields that are missing", "缺少的字段"),
        ],
        [
            (
                level_text(r["level"]),
                r["title"],
                _STATES.get(r["state"], r["state"]),
                ", ".join(r["datasets_seen"]),
                f"{r['events']:,}",
                f"{r['matches']:,}",
                r["errors"],
                f"{r['seconds']:.3f}",
                ", ".join(_missing(r)),
            )
            for r in rows
        ],
    )
    for row in rows:
        if row.get("bounds"):
            reached = ", ".join(f"{_BOUNDS.get(name, name)} {count:,}" for name, count in sorted(row["bounds"].items()))
            say(f"{row['title']}: {reached}")
    for problem in loaded.problems:
        if problem.severity == "error":
            say(str(problem))
    for one in refusals:
        say(f"{one.path}:{one.reason}")
    warnings = sum(problem.severity == "warning" for problem in loaded.problems)
    summary = ", ".join(f"{_STATES.get(name, name)} {count}" for name, count in sorted(counts.items()))
    say(
        tr(
            f"{summary}; {warnings} warnings (jianmen rules check), {len(refusals)} public rules not taken",
            f"{summary}；提醒 {warnings} 处（jianmen rules check），未采用的公开规则 {len(refusals)} 条",
        )
    )


_STATES = {
    "ok": tr("ok", "正常"),
    "waiting": tr("waiting", "待数据"),
    "no dataset": tr("no dataset", "无数据来源"),
    "error": tr("error", "错误"),
}
"""What a state is called in the language of this process."""


def _missing(row: dict[str, Any]) -> list[str]:
    """Fields that no event can have, then those that none has had so far."""
    never = list(row.get("unknown_fields") or [])
    return never + [f"({name})" for name in row.get("unseen_fields") or [] if name not in never]


@app.command(
    "explain",
    help=tr(
        "Why a rule matched an event, or why not: every item of its detections, and what the event has there. "
        "The event is taken from the store by its id, or from a file: an event as `events show --json` prints it, or "
        "any log that is read (its first event, or the one with the id).\n\n"
        "Example: jianmen rules explain modbus_single_write 9f3a02b4c5d6e7f8-000000000042-modbus-0-064497000",
        "逐项说明规则为何命中或未命中某条日志：各检测条件及日志中的对应值。日志取自事件库（按 ID）或文件。\n\n"
        "示例：jianmen rules explain modbus_single_write 9f3a02b4c5d6e7f8-000000000042-modbus-0-064497000",
    ),
)
def explain_rule(
    rule_id: Annotated[
        str,
        typer.Argument(metavar="RULE", help=tr("Id, name, or a part of its title.", "规则 ID、名称或标题的一部分。")),
    ],
    event_id: Annotated[str | None, typer.Argument(metavar="[EVENT_ID]")] = None,
    event: Annotated[
        Path | None,
        typer.Option("--event", metavar="FILE", help=tr("Event or log in a file.", "事件或日志文件。")),
    ] = None,
    store: options.Store = None,
    rules: options.Rules = None,
    config: options.Config = None,
    json: options.Json = False,
) -> None:
    """See the help text."""
    from dataclasses import asdict

    from cli.config import load
    from correlate.derive import Derivation
    from correlate.explain import explain
    from correlate.ir import Rule

    settings = load(config, store)
    loaded = ruleset_of(settings, rules, keep_going=True)
    target = one_rule(loaded, rule_id)
    found = Derivation(settings.site).of(_event_of(settings, event_id, event))
    asked = [target] if isinstance(target, Rule) else _plain_rules(loaded, target)
    explanations = [explain(one, found) for one in asked]
    if json:
        emit_json([asdict(one) for one in explanations])
        return
    if not isinstance(target, Rule):
        say(
            tr(
                f"{target.meta.title} is a correlation: one event does not decide it. Its rules:",
                f"{target.meta.title} 为关联规则，不由单条日志决定。其所依据的规则：",
            )
        )
    for one in explanations:
        _show_explanation(one)


def one_rule(loaded: RuleSet, text: str) -> Any:
    """The rule with this id or name, or the only one whose id begins so or whose title has it.

    Raises:
        UserError: None, or several.
    """
    exact = loaded.find(text)
    if exact is not None:
        return exact
    every = list(loaded.all())
    found = [r for r in every if r.id.startswith(text)] or [
        r for r in every if text.lower() in f"{r.meta.title} {r.meta.title_zh or ''}".lower()
    ]
    if not found:
        raise UserError(f"no rule {text!r}", hint="jianmen rules list")
    if len(found) > 1:
        raise UserError(
            f"{len(found)} rules fit {text!r}", hint="\n".join(f"{r.id}  {r.meta.title}" for r in found[:20])
        )
    return found[0]


def _plain_rules(loaded: RuleSet, target: Any) -> list[Any]:
    from correlate.samples import closure

    return list(closure(loaded, target).rules)


def _event_of(settings: Settings, event_id: str | None, file: Path | None) -> pl.DataFrame:
    """A table of the one event that is asked about.

    Raises:
        UserError: There is none, or neither an id nor a file was named.
    """
    if file is not None:
        return _event_in(file, event_id)
    if event_id is None:
        raise UserError("name an event", hint="EVENT_ID of the store (jianmen events search --json), or --event FILE")
    from cli.pipeline import open_store

    with open_store(settings.store, create=False) as kept:
        found = kept.get([event_id])
    if found.is_empty():
        raise UserError(
            f"no event {event_id!r}", where=str(settings.store), hint="jianmen events search --json shows ids"
        )
    return found.head(1)


def _event_in(file: Path, event_id: str | None) -> pl.DataFrame:
    from correlate.samples import tables_of
    from event.ecs import flatten
    from sensor.reader import open_input

    try:
        row = jsonlib.loads(file.read_text("utf-8")) if file.is_file() and file.stat().st_size < 1 << 24 else None
    except (ValueError, OSError):
        row = None
    row = row[0] if isinstance(row, list) and len(row) == 1 else row
    if isinstance(row, dict) and "event.dataset" in (flat := flatten(row)):
        try:
            return tables_of([flat], None)[0]
        except ValueError as error:
            raise UserError(f"not an event: {error}", where=str(file), hint="jianmen events fields") from None
    if not file.exists():
        raise UserError("no such file", where=str(file))
    for events in open_input(file).tables():
        one = events if event_id is None else events.filter(events["event.id"] == event_id)
        if one.height:
            return one.head(1)
    raise UserError(f"no event {event_id or ''} in the file".replace("  ", " "), where=str(file))


def _show_explanation(one: Explanation) -> None:
    yes, no = tr("holds", "成立"), tr("does not hold", "不成立")
    verdict = tr("matches", "命中") if one.matched else tr("does not match", "未命中")
    print(clean(f"{one.title} [{one.rule_id}]: {verdict} {one.event_id}"))
    if one.error:
        print(clean(tr("cannot be evaluated: ", "无法评估：") + one.error))
    print(
        clean(
            f"{tr('log source', '日志源')}: {one.needs}: {yes if one.looked_at and one.kind_holds else no} ({one.dataset})"
        )
    )
    for condition in one.condition:
        print(clean(f"{tr('condition', '条件')}: {condition}"))
    rows = []
    for detection in one.detections:
        for number, items in enumerate(detection.alternatives):
            for item in items:
                name = detection.name + (f" [{number + 1}]" if len(detection.alternatives) > 1 else "")
                said = item.error or (yes if item.holds else no)
                rows.append(
                    (
                        name,
                        yes if detection.holds else no,
                        item.text,
                        said,
                        "\n".join(item.values[:5]),
                        item.field,
                        item.seen,
                    )
                )
    table(
        "",
        [
            tr("detection", "检测项"),
            "",
            tr("item", "条目"),
            "",
            tr("values that hold", "成立的值"),
            tr("field", "字段"),
            tr("the event has", "日志中的值"),
        ],
        rows,
    )
    for line in one.decided:
        print(clean(f"{tr('decided by', '起决定作用')}: {line}"))


@app.command(
    "update",
    help=tr(
        "Install the rules of a SigmaHQ checkout in place of those installed before: all or nothing. Says what is new, "
        "changed and removed, and which rules cannot be used and why. Author and licence go with every alert.\n\n"
        "Example: jianmen rules update ~/src/sigma --dry-run",
        "以 SigmaHQ 仓库副本中的规则整体替换先前安装的规则。列出新增、变更、移除的规则，以及不能使用的规则及其原因。"
        "规则作者与许可证随每条告警保留。\n\n示例：jianmen rules update ~/src/sigma --dry-run",
    ),
)
def update_rules(
    source: Annotated[Path, typer.Argument(metavar="DIR")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help=tr("Only say what would change.", "只显示将要发生的变更。"))
    ] = False,
    json: options.Json = False,
) -> None:
    """See the help text."""
    from dataclasses import asdict
    from datetime import UTC, datetime

    from correlate.rules import load_rules
    from correlate.update import update

    home = rules_home()
    say(tr("reading the rules; the first time takes some seconds", "正在读取规则，首次需数秒"))
    made = update(
        source,
        home,
        load=lambda paths: load_rules(paths, keep_going=True, cache_dir=home),
        now=datetime.now(UTC),
        apply=not dry_run,
    )
    if json:
        emit_json({**asdict(made), "home": str(home)})
        return
    words = {
        "new": tr("new", "新增"),
        "changed": tr("changed", "变更"),
        "removed": tr("removed", "移除"),
        "refused": tr("not usable", "不可用"),
    }
    first = not any(one.kind in ("changed", "removed") for one in made.changes)
    for one in made.changes:
        if one.kind == "new" and first:
            continue  # the first time everything is new: a list of thousands says nothing
        print(clean(f"{words[one.kind]}  {one.path}{':' + one.reason if one.reason else '  ' + one.title}"))
    counts = tr(", ", "，").join(f"{words[kind]} {made.count(kind)}" for kind in words)
    licence = made.license or tr("no licence found", "未找到许可证")
    say(
        tr(
            f"{made.rules} rules {'would be' if dry_run else 'are'} in force; {counts}; licence: {licence}",
            f"{'将' if dry_run else '已'}启用规则 {made.rules} 条；{counts}；许可证：{licence}",
        )
    )


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
