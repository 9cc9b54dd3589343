"""``asset``: what was seen on the segments."""

from __future__ import annotations

from typing import Annotated

import typer

from cli import options
from cli.text import emit_json, say, table, tr
from event.errors import UserError

app = typer.Typer(
    help=tr("Assets seen on the wire.", "网络上观察到的资产。"), no_args_is_help=True, rich_markup_mode=None
)


@app.command("list", help=tr("Every endpoint that stored events show.", "列出日志记录中出现的全部端点。"))
def list_assets(
    store: options.Store = None,
    config: options.Config = None,
    ics: Annotated[
        bool,
        typer.Option("--ics", help=tr("Only those that speak an industrial protocol.", "仅列出使用工控协议的资产。")),
    ] = False,
    json: options.Json = False,
) -> None:
    """See the help text."""
    from cli.config import load
    from cli.pipeline import observe_assets, open_store

    settings = load(config, store)
    with open_store(settings.store, create=False) as kept:
        assets = list(observe_assets(kept, settings.site).values())
    if ics:
        assets = [
            a for a in assets if any(r.split("_")[0] in ("modbus", "iec104", "dnp3", "s7comm") for r in a.roles_seen)
        ]
    assets.sort(key=lambda a: (not a.roles_seen, a.key))
    if json:
        emit_json([a.model_dump(mode="json") for a in assets])
        return
    table(
        tr(f"{len(assets)} assets", f"资产 {len(assets)} 个"),
        [
            "IP",
            "MAC",
            tr("name", "名称"),
            tr("seen as", "观察到的角色"),
            tr("role", "登记角色"),
            tr("segment", "网段"),
            tr("importance", "重要程度"),
        ],
        [(a.key, a.mac, a.name or a.host, ", ".join(a.roles_seen), a.role, a.segment, a.importance) for a in assets],
    )


@app.command("show", help=tr("One endpoint: roles, peers, alerts.", "查看一个资产：角色、通信对象、相关告警。"))
def show(
    ip: Annotated[str, typer.Argument(metavar="IP")],
    store: options.Store = None,
    config: options.Config = None,
    json: options.Json = False,
) -> None:
    """See the help text."""
    import polars as pl

    from cli.config import load
    from cli.pipeline import all_alerts, observe_assets, open_store, traffic

    settings = load(config, store)
    with open_store(settings.store, create=False) as kept:
        assets = observe_assets(kept, settings.site)
        asset = assets.get(ip)
        if asset is None:
            raise UserError(f"no asset {ip!r} was seen", hint="jianmen asset list")
        flows = traffic(kept)
        alerts = all_alerts(kept)
    peers = flows.filter((pl.col("source.ip") == ip) | (pl.col("destination.ip") == ip)).sort("bytes", descending=True)
    about = (
        alerts.filter((pl.col("source.ip") == ip) | (pl.col("destination.ip") == ip))
        if {"source.ip", "destination.ip"} <= set(alerts.columns)
        else alerts.clear()
    )
    if json:
        emit_json({"asset": asset.model_dump(mode="json"), "peers": peers.to_dicts(), "alerts": about.height})
        return
    table(
        ip,
        [tr("what", "项目"), tr("value", "内容")],
        [(k, v) for k, v in asset.model_dump().items() if v],
        styles=["cyan"],
    )
    table(
        tr("Peers", "通信对象"),
        [
            tr("client", "发起方"),
            tr("server", "响应方"),
            tr("protocol", "协议"),
            tr("flows", "会话"),
            tr("bytes", "字节"),
        ],
        [
            (r["source.ip"], r["destination.ip"], r["network.protocol"], r["flows"], f"{r['bytes']:,}")
            for r in peers.head(30).to_dicts()
        ],
    )
    say(tr(f"{about.height} alerts", f"相关告警 {about.height} 条"))
