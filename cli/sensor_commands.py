"""``sensor``: interfaces, growing log files and syslog, read as they come."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import options
from cli.text import emit_json, local_time, say, table, tr
from event.errors import ConfigError

if TYPE_CHECKING:
    from cli.config import Settings
    from event.site import SensorPart
    from sensor.live.beat import LiveInput

app = typer.Typer(
    help=tr("Interfaces, growing logs and syslog, read as they come.", "持续采集：网络接口、日志文件与 syslog。"),
    no_args_is_help=True,
)

State = Annotated[
    Path | None,
    typer.Option(
        "--state",
        metavar="DIR",
        help=tr(
            "Where the sensor keeps positions and its status (sensor/ of the state folder).",
            "传感器状态与读取位置的保存目录（默认为状态目录下的 sensor/）。",
        ),
    ),
]


@app.command(
    "run",
    short_help=tr("Read until stopped.", "持续采集，直至停止。"),
    help=tr(
        "Read interfaces, growing log files and syslog sockets until SIGTERM or SIGINT; what has come by then is stored, "
        "and an account is printed. Without inputs, those of [sensor] in jianmen.toml are taken.\n\n"
        "Example: jianmen sensor run --interface eth1 --follow '/var/log/zeek/*.log' --syslog udp:0.0.0.0:514 --store plant.store",
        "持续读取网络接口、日志文件与 syslog，收到 SIGTERM 或 SIGINT 后将已收到的内容全部入库并列出统计后退出。"
        "未给出输入时采用 jianmen.toml 的 [sensor]。\n\n"
        "示例：jianmen sensor run --interface eth1 --follow '/var/log/zeek/*.log' --syslog udp:0.0.0.0:514 --store plant.store",
    ),
)
def run(
    interface: Annotated[
        list[str] | None,
        typer.Option(
            "--interface", "-i", metavar="NAME", help=tr("Capture here; repeatable.", "采集的网络接口，可重复。")
        ),
    ] = None,
    follow: Annotated[
        list[str] | None,
        typer.Option(
            "--follow",
            metavar="[KIND:]PATH",
            help=tr(
                "Read this log as it grows, over rotation; may have * and ?; repeatable.",
                "随写随读的日志文件（支持轮转与通配符），可重复。",
            ),
        ),
    ] = None,
    syslog: Annotated[
        list[str] | None,
        typer.Option(
            "--syslog",
            metavar="HOW:HOST:PORT",
            help=tr("Listen for syslog: udp, tcp or tls; repeatable.", "监听 syslog：udp、tcp 或 tls，可重复。"),
        ),
    ] = None,
    store: options.Store = None,
    config: options.Config = None,
    spool: Annotated[
        Path | None,
        typer.Option(
            "--spool",
            metavar="DIR",
            help=tr("Write to this spool instead of a store.", "写入本地缓存目录（代替事件库）。"),
        ),
    ] = None,
    spool_limit: Annotated[
        str | None,
        typer.Option("--spool-limit", metavar="BYTES", help=tr("What the spool may take.", "本地缓存容量上限。")),
    ] = None,
    forward: Annotated[
        str | None,
        typer.Option(
            "--forward",
            metavar="DIR|URL",
            help=tr("Ship the spool to this store meanwhile.", "同时将本地缓存转发至该事件库。"),
        ),
    ] = None,
    every: Annotated[
        float | None,
        typer.Option(
            "--every",
            metavar="SECONDS",
            min=0.2,
            max=300,
            help=tr("How soon events are stored (5).", "日志记录入库的间隔（默认 5 秒）。"),
        ),
    ] = None,
    seconds: Annotated[
        float | None,
        typer.Option("--for", metavar="SECONDS", min=0, help=tr("End after this time.", "运行该时长后退出。")),
    ] = None,
    no_collapse: Annotated[
        bool,
        typer.Option(
            "--no-collapse", help=tr("Keep every single poll as an event of its own.", "不合并重复的轮询报文。")
        ),
    ] = False,
    no_promiscuous: Annotated[
        bool,
        typer.Option("--no-promiscuous", help=tr("Only frames for this host.", "仅采集发往本机的报文。")),
    ] = False,
    ring_mb: Annotated[
        int | None,
        typer.Option(
            "--ring-mb",
            min=4,
            max=4096,
            help=tr("Ring of each interface, MiB (64).", "每个接口的环形缓冲，MiB（默认 64）。"),
        ),
    ] = None,
    tls_certificate: Annotated[
        Path | None,
        typer.Option("--tls-certificate", metavar="FILE", help=tr("Of TLS listeners.", "TLS 监听所用证书。")),
    ] = None,
    tls_key: Annotated[
        Path | None, typer.Option("--tls-key", metavar="FILE", help=tr("Its private key.", "TLS 证书的私钥。"))
    ] = None,
    tls_clients: Annotated[
        Path | None,
        typer.Option(
            "--tls-clients",
            metavar="FILE",
            help=tr(
                "Authorities whose clients are let in; others are refused.",
                "客户端证书的签发机构；其他客户端予以拒绝。",
            ),
        ),
    ] = None,
    state: State = None,
    json: options.Json = False,
) -> None:
    """See the command's help."""
    from cli import pipeline
    from cli.accounts import remember
    from cli.analyze import accounts_json, print_accounts
    from cli.config import load, state_home
    from cli.sensor_run import SensorRun, StateFolder
    from cli.spool_commands import opened_for_writing, shipping, status_json, stopping

    if store is not None and (forward is not None or spool is not None):
        raise ConfigError(
            "a sensor writes to a store or to a spool", where="--store", hint="--spool DIR --forward STORE for both"
        )
    settings = load(config, forward or store)
    part = _merged(
        settings,
        interface=interface,
        follow=follow,
        syslog=syslog,
        every=every,
        ring_mb=ring_mb,
        tls_certificate=tls_certificate,
        tls_key=tls_key,
        tls_clients=tls_clients,
        no_promiscuous=no_promiscuous,
    )
    folder = StateFolder(state or state_home() / "sensor")
    waits = spool or _beside(settings, part.spool if store is None else None)
    ships = forward is not None or (waits is not None and part.forward and spool is None)
    if waits is None and (forward is not None or not isinstance(settings.store, Path)):
        waits, ships = folder.path / "spool", True  # a cluster may be away: the sensor's own disk comes first
    stop = threading.Event()
    with ExitStack() as stack:
        stack.enter_context(folder.held())
        stack.enter_context(stopping(stop))
        extra: dict[str, Any] = {}
        if waits is None:
            store_path = settings.store
            sink: pipeline.Sink = stack.enter_context(pipeline.open_store(store_path, create=True))
            name = str(store_path.resolve()) if isinstance(store_path, Path) else str(store_path)
        else:
            if ships:
                stack.enter_context(shipping(waits, settings))
            kept = stack.enter_context(opened_for_writing(waits, spool_limit or part.spool_limit))
            sink, name = kept, str(waits.resolve())
            extra = {"spool": lambda: status_json(kept.status())}
        inputs = _opened(part, folder.positions(name), collapse=not no_collapse)
        for one in inputs:
            stack.callback(one.close)
        say(
            tr(
                f"reading {', '.join(one.name for one in inputs)}; into {name}; stop with Ctrl-C",
                f"正在采集：{'、'.join(one.name for one in inputs)}；写入 {name}；按 Ctrl-C 停止",
            )
        )
        SensorRun(
            sink,
            name,
            inputs,
            folder,
            part.flush_seconds,
            tell=_tell,
            extra=lambda: {key: ask() for key, ask in extra.items()},
        ).run(stop, seconds)
        accounts = [one.account for one in inputs]
        drops = sum(one.health.drops for one in inputs)
        remember(sink, accounts)
    if json:
        emit_json({**accounts_json(accounts), "kernel_drops": drops, "sink": name})
    else:
        print_accounts(accounts)
        say(tr(f"dropped by the kernel: {drops:,}", f"内核丢弃：{drops:,}"))
    if any(account.error for account in accounts):
        raise typer.Exit(3)


@app.command(
    "list",
    help=tr(
        "Interfaces of this host: which can be captured, and why one cannot.\n\nExample: jianmen sensor list",
        "列出本机网络接口：可否采集及原因。\n\n示例：jianmen sensor list",
    ),
)
def list_(json: options.Json = False) -> None:
    """See the command's help."""
    from sensor.live.ring import interfaces, may_capture, permission_hint

    found = interfaces()
    if json:
        emit_json(
            [
                {
                    "name": one.name,
                    "up": one.up,
                    "mac": one.mac or None,
                    "mtu": one.mtu,
                    "hardware_type": one.hardware,
                    "can_capture": one.problem is None,
                    "problem": one.problem,
                }
                for one in found
            ]
        )
    else:
        table(
            tr("Interfaces", "网络接口"),
            [tr("name", "名称"), tr("state", "状态"), "MAC", "MTU", tr("can be captured", "可否采集")],
            [
                (
                    one.name,
                    tr("up", "启用") if one.up else tr("down", "停用"),
                    one.mac,
                    one.mtu,
                    tr("yes", "可") if one.problem is None else _reason(one.problem),
                )
                for one in found
            ],
        )
    if not may_capture():
        say(f"{tr('no permission to capture', '无采集权限')}: {permission_hint()}")


def _reason(problem: str) -> str:
    known = {"down": "未启用", "no permission (CAP_NET_RAW)": "无权限（需要 CAP_NET_RAW）"}
    return tr(f"no: {problem}", f"否：{known.get(problem, problem)}")


@app.command(
    "status",
    help=tr(
        "What the running sensor takes in: rates, drops, lag, newest event of each input.\n\nExample: jianmen sensor status",
        "查看运行中的传感器：各输入的速率、丢弃、积压与最新日志记录。\n\n示例：jianmen sensor status",
    ),
)
def status(state: State = None, json: options.Json = False) -> None:
    """See the command's help."""
    from cli.config import state_home
    from cli.sensor_run import StateFolder

    folder = StateFolder(state or state_home() / "sensor")
    said = folder.status()
    if not said:
        raise ConfigError(
            "no sensor has run with this state folder",
            where=str(folder.path),
            hint="jianmen sensor run; or --state DIR",
        )
    running = folder.running()
    if json:
        emit_json({"running": running, **said})
        return
    updated = datetime.fromisoformat(said["updated"])
    age = (datetime.now(UTC) - updated).total_seconds()
    if running:
        say(
            tr(
                f"running as process {said['pid']} since {local_time(datetime.fromisoformat(said['started']))}, "
                f"last word {age:,.0f} s ago; into {said['sink']}",
                f"运行中：进程 {said['pid']}，自 {local_time(datetime.fromisoformat(said['started']))}，"
                f"{age:,.0f} 秒前更新；写入 {said['sink']}",
            )
        )
    elif said["stopped"]:
        say(tr(f"stopped {local_time(updated)}", f"已停止：{local_time(updated)}"))
    else:
        say(tr(f"NOT running; last word {local_time(updated)}", f"未在运行；最后更新 {local_time(updated)}"))
    table(
        tr("Inputs", "输入"),
        [
            tr("input", "输入"),
            tr("frames/lines", "帧/行"),
            tr("per second", "每秒"),
            tr("failed", "失败"),
            tr("dropped", "丢弃"),
            tr("unread bytes", "未读字节"),
            tr("events", "日志记录"),
            tr("newest event", "最新日志记录"),
            tr("trouble", "故障"),
        ],
        [
            (
                one["path"],
                f"{one.get('frames', one.get('lines', 0)):,}",
                f"{one['per_second']:,.1f}",
                f"{one['failed']:,}",
                f"{one['drops']:,}",
                "" if one["lag_bytes"] is None else f"{one['lag_bytes']:,}",
                f"{sum(one['events'].values()):,}",
                local_time(datetime.fromisoformat(one["last_event"][:26] + "+00:00")) if one["last_event"] else "",
                one["error"] or one["trouble"] or "",
            )
            for one in said["inputs"]
        ],
    )
    waiting = said.get("spool")
    if waiting:
        say(
            tr(
                f"spool: {waiting['segments']:,} segments ({waiting['events']:,} events) wait",
                f"本地缓存：待转发分段 {waiting['segments']:,} 个（{waiting['events']:,} 条）",
            )
        )
    if said["trouble"]:
        say(f"{tr('trouble', '故障')}: {said['trouble']}")


def _tell(trouble: str) -> None:
    say(f"{tr('trouble', '故障')}: {trouble}" if trouble else tr("works again", "已恢复"))


def _beside(settings: Settings, name: str | None) -> Path | None:
    """A path of the site file, relative to it."""
    if name is None:
        return None
    return (settings.site_path.parent if settings.site_path else Path()) / name


def _merged(
    settings: Settings,
    *,
    interface: list[str] | None,
    follow: list[str] | None,
    syslog: list[str] | None,
    every: float | None,
    ring_mb: int | None,
    tls_certificate: Path | None,
    tls_key: Path | None,
    tls_clients: Path | None,
    no_promiscuous: bool,
) -> SensorPart:
    """[sensor] of the site file, with what the command line says; inputs there replace those of the file.

    Raises:
        ConfigError: There is no input at all.
    """
    part = settings.site.sensor
    said: dict[str, Any] = {}
    if interface or follow or syslog:
        said = {"interfaces": tuple(interface or ()), "follow": tuple(follow or ()), "syslog": tuple(syslog or ())}
    elif not (part.interfaces or part.follow or part.syslog):
        raise ConfigError(
            "nothing to read", hint="--interface, --follow or --syslog; or [sensor] in jianmen.toml (jianmen init)"
        )
    for key, value in (("flush_seconds", every), ("ring_mb", ring_mb)):
        if value is not None:
            said[key] = value
    for key, path in (("tls_certificate", tls_certificate), ("tls_key", tls_key), ("tls_clients", tls_clients)):
        place = path or _beside(settings, getattr(part, key))
        said[key] = str(place) if place else None
    if no_promiscuous:
        said["promiscuous"] = False
    return part.model_copy(update=said)


def _opened(part: SensorPart, positions: dict[str, Any], *, collapse: bool) -> list[LiveInput]:
    """Open all inputs, interfaces last: their rings fill at once.

    Raises:
        InputError: One of them cannot be opened.
        ConfigError: An address, certificate or path is wrong.
    """
    from sensor.listen import SyslogListener, Tls, address_of
    from sensor.live.follow import FollowedFiles

    opened: list[LiveInput] = []
    try:
        tls = None
        if part.tls_certificate and part.tls_key:
            clients = Path(part.tls_clients) if part.tls_clients else None
            tls = Tls(Path(part.tls_certificate), Path(part.tls_key), clients)
        opened += [SyslogListener(address_of(text), tls=tls) for text in part.syslog]
        opened += [FollowedFiles(text, saved=positions.get(text, ())) for text in part.follow]
        if part.interfaces:
            from cli.progress import warm_kernels
            from sensor.live.capture import LiveCapture

            warm_kernels(("pcap", "decoders"))
            opened += [
                LiveCapture(name, collapse=collapse, promiscuous=part.promiscuous, blocks=part.ring_mb)
                for name in part.interfaces
            ]
    except BaseException:
        for one in opened:
            one.close()
        raise
    return opened
