"""``rules suppress``: alerts that somebody answers for not wanting to see, for a while."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import options
from cli.text import emit_json, local_time, say, table, tr
from event.errors import ConfigError, UserError

if TYPE_CHECKING:
    from cli.config import Settings
    from correlate.suppress import Suppression

app = typer.Typer(
    help=tr("Suppress alerts for a while: who, why, until when.", "在限定期限内抑制告警：登记责任人、事由与期限。"),
    no_args_is_help=True,
    rich_markup_mode=None,
)
_DAYS = 30
_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}


@app.command(
    "add",
    help=tr(
        "Hide alerts from now on. All criteria given must fit; hidden alerts are stored, counted and reported as hidden.\n\n"
        "Example: jianmen rules suppress add --rule modbus_function_scan --address 10.20.1.9 --why 'inventory scan' --for 7d",
        "自即刻起抑制符合条件的告警。所列条件须同时满足；被抑制的告警仍入库、计数，并在报告中注明数量。\n\n"
        "示例：jianmen rules suppress add --rule modbus_function_scan --address 10.20.1.9 --why 资产普查 --for 7d",
    ),
)
def add(
    why: Annotated[str, typer.Option("--why", metavar="TEXT", help=tr("Why.", "事由。"))],
    rule: Annotated[
        str | None,
        typer.Option("--rule", metavar="ID", help=tr("Id, beginning of one, or name of a rule.", "规则 ID 或名称。")),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(
            "--address",
            metavar="IP|CIDR",
            help=tr(
                "All senders or all receivers of the alert are in it.", "告警的全部源地址或全部目的地址在此范围内。"
            ),
        ),
    ] = None,
    zone: Annotated[
        str | None,
        typer.Option(
            "--zone", metavar="NAME", help=tr("The same, a segment of the site file.", "同上，站点文件中的网段。")
        ),
    ] = None,
    field: Annotated[
        list[str] | None,
        typer.Option(
            "--field", metavar="NAME=VALUE", help=tr("A field of the alert; repeatable.", "告警字段，可重复。")
        ),
    ] = None,
    duration: Annotated[
        str | None,
        typer.Option(
            "--for", metavar="12h|7d|4w", help=tr(f"How long; {_DAYS}d if nothing is said.", f"期限，默认 {_DAYS} 天。")
        ),
    ] = None,
    until: options.Until = None,
    who: Annotated[
        str | None,
        typer.Option("--who", metavar="NAME", help=tr("Who answers for it; you.", "责任人，默认为当前用户。")),
    ] = None,
    store: options.Store = None,
    rules: options.Rules = None,
    config: options.Config = None,
    json: options.Json = False,
) -> None:
    """See the help text."""
    from cli.config import load
    from cli.pipeline import open_store
    from correlate.suppress import add as remember
    from correlate.suppress import describe, make

    settings = load(config, store)
    now = datetime.now(UTC)
    if zone is not None and zone not in {segment.name for segment in settings.site.segments}:
        known = ", ".join(segment.name for segment in settings.site.segments)
        raise UserError(f"the site file has no segment {zone!r}", where="--zone", hint=f"known: {known or '-'}")
    titles = _titles(settings, rules)
    one = make(
        who=who or settings.actor,
        why=why,
        now=now,
        expires=_end(duration, until, now),
        rule=_rule(settings, rules, rule),
        address=address,
        zone=zone,
        fields=_fields(field or []),
    )
    with open_store(settings.store, create=False) as kept:
        remember(kept, one)
    if json:
        emit_json(one.model_dump(mode="json"))
        return
    say(
        tr(
            f"{one.id}: alerts about {' · '.join(describe(one, titles))} are hidden until {local_time(one.expires)}",
            f"{one.id}：{' · '.join(describe(one, titles))} 的告警抑制至 {local_time(one.expires)}",
        )
    )


@app.command("list", help=tr("Suppressions, and how many alerts each hides.", "列出抑制措施及各自抑制的告警数。"))
def list_all(
    store: options.Store = None, rules: options.Rules = None, config: options.Config = None, json: options.Json = False
) -> None:
    """See the help text."""
    from cli.config import load
    from cli.pipeline import open_store
    from correlate.suppress import describe, hidden, suppressions

    settings = load(config, store)
    now = datetime.now(UTC)
    with open_store(settings.store, create=False) as kept:
        every = suppressions(kept)
        counts = hidden(kept)
    if json:
        emit_json([_row(one, counts, now) for one in every])
        return
    titles = _titles(settings, rules)
    states = {
        "active": tr("active", "生效"),
        "expired": tr("expired", "已到期"),
        "removed": tr("removed", "已撤销"),
    }
    table(
        tr(f"{len(every)} suppressions", f"抑制措施 {len(every)} 项"),
        [
            "ID",
            tr("state", "状态"),
            tr("what", "范围"),
            tr("who", "责任人"),
            tr("why", "事由"),
            tr("from", "起"),
            tr("until", "止"),
            tr("hidden", "抑制数"),
            tr("latest", "最近一条"),
        ],
        [
            (
                one.id,
                states[one.state(now)],
                " · ".join(describe(one, titles)),
                one.who,
                one.why,
                local_time(one.created),
                local_time(one.removed or one.expires),
                f"{counts.get(one.id, (0, None))[0]:,}",
                local_time(counts.get(one.id, (0, None))[1]),
            )
            for one in every
        ],
        styles=["bold"],
    )
    over = sum(1 for one in every if one.state(now) == "expired")
    if over:
        say(
            tr(
                f"{over} expired: their alerts are shown again; suppress anew what is still meant",
                f"其中 {over} 项已到期，相关告警恢复展示；如仍需抑制请重新登记",
            )
        )


@app.command("remove", help=tr("End a suppression now.", "立即撤销一项抑制措施。"))
def remove(
    identity: Annotated[str, typer.Argument(metavar="ID")],
    who: Annotated[
        str | None, typer.Option("--who", metavar="NAME", help=tr("Who ends it; you.", "撤销人，默认为当前用户。"))
    ] = None,
    store: options.Store = None,
    config: options.Config = None,
) -> None:
    """See the help text."""
    from cli.config import load
    from cli.pipeline import open_store
    from correlate.suppress import remove as end

    settings = load(config, store)
    with open_store(settings.store, create=False) as kept:
        one = end(kept, identity, who=who or settings.actor, now=datetime.now(UTC))
    say(
        tr(
            f"{one.id} ended: alerts that are found from now on are shown",
            f"{one.id} 已撤销：此后发现的告警恢复展示",
        )
    )


def _row(one: Suppression, counts: dict[str, tuple[int, datetime]], now: datetime) -> dict[str, Any]:
    count, last = counts.get(one.id, (0, None))
    return {
        **one.model_dump(mode="json"),
        "state": one.state(now),
        "hidden": count,
        "last_hidden": last.isoformat() if last else None,
    }


def _titles(settings: Settings, rules: list[Path] | None) -> dict[str, str]:
    from cli.rule_commands import ruleset_of

    every = ruleset_of(settings, rules, keep_going=True).all()
    return {one.id: tr(one.meta.title, one.meta.title_zh or one.meta.title) for one in every}


def _rule(settings: Settings, rules: list[Path] | None, wanted: str | None) -> str | None:
    """Id of the rule that was meant."""
    from cli.rule_commands import ruleset_of
    from correlate.budget import NOTICE

    if wanted is None or wanted == NOTICE:
        return wanted
    every = list(ruleset_of(settings, rules, keep_going=True).all())
    found = [one for one in every if wanted in (one.id, one.meta.name)] or [
        one for one in every if one.id.startswith(wanted)
    ]
    if len(found) != 1:
        hint = "\n".join(f"{one.id}  {one.meta.title}" for one in found[:20]) or "jianmen rules list"
        raise UserError(f"{len(found) or 'no'} rule(s) fit {wanted!r}", where="--rule", hint=hint)
    return found[0].id


def _fields(pairs: list[str]) -> dict[str, str]:
    split = [pair.partition("=") for pair in pairs]
    wrong = next((pair for pair, (name, equals, value) in zip(pairs, split, strict=True) if not (name and value)), None)
    if wrong is not None:
        raise ConfigError(f"not a field and its value: {wrong!r}", where="--field", hint="--field user.name=backup")
    return {name: value for name, _, value in split}


def _end(duration: str | None, until: str | None, now: datetime) -> datetime:
    if duration is not None and until is not None:
        raise ConfigError("say either how long or until when", where="--for, --until")
    end = options.instant(until, "--until")
    if end is not None:
        return end
    fits = re.fullmatch(r"([1-9]\d{0,3})([hdw])", duration or f"{_DAYS}d")
    if fits is None:
        raise ConfigError(f"not a length of time: {duration!r}", where="--for", hint="12h, 7d, 4w")
    return now + int(fits[1]) * _UNITS[fits[2]]
