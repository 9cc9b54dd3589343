"""``analyze``, ``ingest`` and ``detect``: the main job, whole and in parts."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import options
from cli.text import emit_json, level_text, local_time, say, say_error, table, tr, word
from event.errors import ConfigError

if TYPE_CHECKING:
    from cli.pipeline import Detection
    from event.incident import Incident
    from sensor.base import Account

_LEVELS = ("informational", "low", "medium", "high", "critical")

Paths = Annotated[
    list[Path],
    typer.Argument(
        metavar="PATH...",
        help=tr("Captures, logs, folders of them, or - for stdin.", "流量文件、日志文件或目录；- 表示标准输入。"),
    ),
]
NoCollapse = Annotated[
    bool,
    typer.Option("--no-collapse", help=tr("Keep every single poll as an event of its own.", "不合并重复的轮询报文。")),
]
Spool = Annotated[
    Path | None,
    typer.Option(
        "--spool",
        metavar="DIR",
        help=tr(
            "Write to this spool instead of a store; store forward ships it, or, if --store is given, this command too.",
            "写入本地缓存目录（代替事件库），由 store forward 转发；同时给出 --store 时边读边转发。",
        ),
    ),
]
SpoolLimit = Annotated[
    str | None,
    typer.Option(
        "--spool-limit",
        metavar="BYTES",
        help=tr(
            "What the spool may take, such as 500M or 20G; kept for later runs (10G in a new spool).",
            "本地缓存容量上限，如 500M、20G；记入缓存目录，后续沿用（新建时默认 10G）。",
        ),
    ),
]
FailLevel = Annotated[
    str | None,
    typer.Option(
        "--fail-level",
        metavar="LEVEL",
        help=tr("Exit 1 if an alert has this Sigma level or a higher one.", "出现该级别及以上告警时以 1 退出。"),
    ),
]


def register(app: typer.Typer) -> None:
    """Add the three commands to the app."""
    app.command(
        "analyze",
        short_help=tr("The whole way: from captures to incidents and reports.", "全流程：由流量文件到事件与报告。"),
        help=tr(
            "The whole way: read, detect, group into incidents, write both reports.\n\n"
            "Example: jianmen analyze pcaps/modbus/pump-station.pcap --out out",
            "全流程：读取、检测、归并为网络安全事件，并生成风险报告与应急响应报告。\n\n"
            "示例：jianmen analyze pcaps/modbus/pump-station.pcap --out out",
        ),
    )(analyze)
    app.command(
        "ingest",
        short_help=tr("Read captures and logs into the store.", "将流量与日志读入事件库。"),
        help=tr(
            "Read captures and logs into the store; print the account of every frame and line.\n\n"
            "Example: jianmen ingest plant.pcapng zeek/ --store plant.store",
            "将流量与日志读入事件库，并列出每一帧、每一行的去向。\n\n示例：jianmen ingest plant.pcapng zeek/ --store plant.store",
        ),
    )(ingest)
    app.command(
        "detect",
        short_help=tr("Run the rules over stored events.", "对事件库运行检测规则。"),
        help=tr(
            "Run the rules over stored events and group alerts into incidents.\n\nExample: jianmen detect --store plant.store",
            "对事件库运行检测规则，并将告警归并为网络安全事件。\n\n示例：jianmen detect --store plant.store",
        ),
    )(detect)


def ingest(
    paths: Paths,
    store: options.Store = None,
    config: options.Config = None,
    spool: Spool = None,
    spool_limit: SpoolLimit = None,
    no_collapse: NoCollapse = False,
    json: options.Json = False,
) -> None:
    """See ``register``."""
    from cli import pipeline
    from cli.config import load
    from cli.progress import prepare_kernels, reading
    from cli.spool_commands import opened_for_writing, shipping

    settings = load(config, store)
    inputs = pipeline.find_inputs(paths)
    prepare_kernels(inputs)
    with ExitStack() as stack:
        if spool is None:
            kept: pipeline.Sink = stack.enter_context(pipeline.open_store(settings.store, create=True))
        else:
            if store is not None:
                stack.enter_context(shipping(spool, settings))
            kept = stack.enter_context(opened_for_writing(spool, spool_limit))
        watcher = stack.enter_context(reading(quiet=json))
        accounts = pipeline.ingest(inputs, kept, watcher=watcher, collapse=not no_collapse, stdin=sys.stdin.buffer)
    if json:
        emit_json(accounts_json(accounts))
    else:
        print_accounts(accounts)
        if spool:
            say(tr(f"spool: {spool}", f"本地缓存目录：{spool}"))
        else:
            say(tr(f"store: {settings.store}", f"事件库：{settings.store}"))
    _exit_for(accounts)


def detect(
    store: options.Store = None,
    config: options.Config = None,
    rules: options.Rules = None,
    since: options.Since = None,
    until: options.Until = None,
    keep_going: Annotated[
        bool,
        typer.Option(
            "--keep-going", help=tr("Run the valid rules although some are invalid.", "跳过无效规则，运行其余规则。")
        ),
    ] = False,
    events: Annotated[
        list[Path] | None,
        typer.Option(
            "--events",
            metavar="FILE",
            help=tr(
                "Evaluate this capture or log at once, without a store; repeatable, - is the standard input.",
                "直接检测该流量文件或日志，不经事件库；可重复，- 为标准输入。",
            ),
        ),
    ] = None,
    memory: options.Memory = 512,
    fail_level: FailLevel = None,
    json: options.Json = False,
) -> None:
    """See ``register``."""
    from cli import pipeline
    from cli.config import load
    from cli.rule_commands import ruleset_of

    threshold = _threshold(fail_level)
    settings = load(config, store)
    ruleset = ruleset_of(settings, rules, keep_going=keep_going)
    if events:
        from cli.detect_lines import detect_files

        inputs = pipeline.find_inputs(events)
        accounts, levels = detect_files(inputs, ruleset, json=json, site=settings.site, memory=memory << 20)
        _exit_for(accounts)
        _fail(pipeline.Detection(by_level=levels), threshold)
        return
    with pipeline.open_store(settings.store, create=False) as kept:
        found, engine = pipeline.detect(
            kept,
            ruleset,
            since=options.instant(since, "--since"),
            until=options.instant(until, "--until"),
            site=settings.site,
            memory=memory << 20,
        )
        from cli.rule_commands import keep_status

        keep_status(kept, engine)
        assets = pipeline.observe_assets(kept, settings.site)
        incidents = pipeline.regroup(kept, settings.site, now=datetime.now(UTC), assets=assets)
    if json:
        emit_json(_detection_json(found, incidents))
    else:
        _print_detection(found, incidents)
    _fail(found, threshold)


def analyze(
    paths: Paths,
    out: Annotated[
        Path,
        typer.Option(
            "--out", "-o", metavar="DIR", help=tr("Folder for reports (and the store).", "报告（及事件库）输出目录。")
        ),
    ] = Path("jianmen-out"),
    store: options.Store = None,
    config: options.Config = None,
    rules: options.Rules = None,
    report_lang: options.Lang = "both",
    no_collapse: NoCollapse = False,
    memory: options.Memory = 512,
    fail_level: FailLevel = None,
    json: options.Json = False,
) -> None:
    """See ``register``."""
    from cli import pipeline
    from cli.config import load
    from cli.progress import prepare_kernels, reading
    from cli.report_commands import languages, write_reports
    from cli.rule_commands import keep_status, ruleset_of

    threshold = _threshold(fail_level)
    langs = languages(report_lang)
    settings = load(config, store or out / "store")
    inputs = pipeline.find_inputs(paths)
    ruleset = ruleset_of(settings, rules, keep_going=False)
    prepare_kernels(inputs)
    now = datetime.now(UTC)
    with pipeline.open_store(settings.store, create=True) as kept:
        with reading(quiet=json) as watcher:
            accounts = pipeline.ingest(inputs, kept, watcher=watcher, collapse=not no_collapse, stdin=sys.stdin.buffer)
        found, engine = pipeline.detect(kept, ruleset, site=settings.site, now=now, memory=memory << 20)
        keep_status(kept, engine)
        assets = pipeline.observe_assets(kept, settings.site)
        pipeline.regroup(kept, settings.site, now=now, assets=assets)
        incidents = kept.incidents()
        gathered = pipeline.evidence(
            kept,
            assets=assets,
            ruleset=ruleset,
            since=None,
            until=None,
        )
    files = write_reports(out, incidents, gathered, settings.site, langs, now)
    if json:
        emit_json(
            {
                **accounts_json(accounts),
                **_detection_json(found, incidents),
                "files": [str(f) for f in files],
                "store": str(settings.store),
            }
        )
    else:
        print_accounts(accounts)
        _print_detection(found, incidents)
        table(
            tr("Reports", "报告"),
            [tr("file", "文件"), tr("bytes", "字节")],
            [(f, f"{f.stat().st_size:,}") for f in files],
        )
        say(tr(f"open {files[0]} in a browser", f"请用浏览器打开 {files[0]}"))
    _exit_for(accounts)
    _fail(found, threshold)


def accounts_json(accounts: list[Account]) -> dict[str, Any]:
    """Accounts, and events by dataset, as plain data."""
    events: dict[str, int] = {}
    for account in accounts:
        for dataset, count in account.events.items():
            events[dataset] = events.get(dataset, 0) + count
    return {"inputs": [a.as_json() for a in accounts], "events": dict(sorted(events.items()))}


def print_accounts(accounts: list[Account]) -> None:
    """Accounts as a table: what became of every frame and line."""
    rows = []
    for a in accounts:
        rate = f"{a.total / a.seconds:,.0f}/s" if a.seconds > 0 else ""
        rows.append(
            (
                a.path,
                a.kind,
                f"{a.total:,}",
                f"{a.decoded:,}",
                f"{a.undecoded:,}",
                f"{a.failed:,}",
                f"{sum(a.events.values()):,}",
                f"{a.seconds:.2f} s",
                rate,
            )
        )
    table(
        tr("Inputs: total = decoded + undecoded + failed", "输入：总数 = 已解析 + 未解析 + 失败"),
        [
            tr("input", "输入"),
            tr("kind", "类型"),
            tr("frames/lines", "帧/行"),
            tr("decoded", "已解析"),
            tr("undecoded", "未解析"),
            tr("failed", "失败"),
            tr("events", "日志记录"),
            tr("time", "用时"),
            tr("rate", "速率"),
        ],
        rows,
    )
    for a in accounts:
        if a.error:
            say_error(a.error)


def _detection_json(found: Detection, incidents: list[Incident]) -> dict[str, Any]:
    return {
        "alerts": found.alerts,
        "new_alerts": found.new_alerts,
        "alerts_by_level": found.by_level,
        "alerts_suppressed": found.hidden,
        "alerts_demoted": found.demoted,
        "incidents": [incident_row(i) for i in incidents],
    }


def incident_row(incident: Incident) -> dict[str, Any]:
    """An incident in one flat line of JSON."""
    return {
        "id": incident.id,
        "version": incident.version,
        "status": incident.status,
        "level": incident.level,
        "title_zh": incident.title_zh,
        "title_en": incident.title_en,
        "first_seen": incident.first_seen.isoformat(),
        "last_seen": incident.last_seen.isoformat(),
        "category": incident.categories[0].id if incident.categories else None,
        "category_zh": incident.categories[0].name_zh if incident.categories else None,
        "grade_gbt20986": incident.grade_gbt20986,
        "grade_cac": incident.grade_cac,
        "attackers": list(incident.attackers),
        "targets": list(incident.targets),
        "segments": list(incident.segments),
        "protocols": list(incident.protocols),
        "techniques": list(incident.techniques),
        "alerts": incident.alert_total,
        "playbooks": list(incident.playbooks),
        "assignee": incident.assignee,
    }


def print_incidents(incidents: list[Incident]) -> None:
    """Incidents as a table."""
    table(
        tr("Incidents", "网络安全事件"),
        [
            "ID",
            tr("level", "级别"),
            tr("status", "状态"),
            tr("first seen", "首次发现"),
            tr("what", "事件"),
            tr("from", "攻击源"),
            tr("to", "目标"),
            tr("alerts", "告警"),
        ],
        [
            (
                i.id,
                level_text(i.level),
                word(i.status),
                local_time(i.first_seen),
                tr(i.title_en, i.title_zh),
                ", ".join(i.attackers[:3]),
                ", ".join(i.targets[:3]),
                f"{i.alert_total:,}",
            )
            for i in incidents
        ],
        styles=["bold"],
    )


def _print_detection(found: Detection, incidents: list[Incident]) -> None:
    by = tr(", ", "，").join(
        f"{word(level)} {found.by_level[level]:,}" for level in reversed(_LEVELS) if level in found.by_level
    )
    say(
        tr(
            f"{found.events:,} events examined, {found.alerts:,} alerts ({by or 'none'}), {found.new_alerts:,} new",
            f"检测日志记录 {found.events:,} 条，告警 {found.alerts:,} 条（{by or '无'}），其中新增 {found.new_alerts:,} 条",
        )
    )
    if found.hidden:
        say(
            tr(
                f"{found.hidden:,} more alerts are suppressed: jianmen rules suppress list",
                f"另有 {found.hidden:,} 条告警按抑制措施不予展示：jianmen rules suppress list",
            )
        )
    if found.demoted:
        say(
            tr(
                f"{found.demoted:,} of the alerts are over the budget of their shift and were lowered one level",
                f"其中 {found.demoted:,} 条告警超出班次限额，已降低一级",
            )
        )
    if incidents:
        print_incidents(incidents)
    else:
        say(tr("no incident", "未发现网络安全事件"))


def _exit_for(accounts: list[Account]) -> None:
    if any(a.error for a in accounts):
        raise typer.Exit(3)


def _threshold(level: str | None) -> int | None:
    if level is None:
        return None
    if level not in _LEVELS:
        raise ConfigError(f"unknown level {level!r}", where="--fail-level", hint="known: " + ", ".join(_LEVELS))
    return _LEVELS.index(level)


def _fail(found: Detection, threshold: int | None) -> None:
    if threshold is not None and any(_LEVELS.index(level) >= threshold for level in found.by_level):
        raise typer.Exit(1)
