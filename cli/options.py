"""Options that many commands share, declared once."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from cli.text import tr
from event.errors import ConfigError

Store = Annotated[
    str | None,
    typer.Option(
        "--store",
        metavar="DIR|URL",
        help=tr(
            "Folder of the event store, or address of an Elasticsearch cluster.",
            "事件库所在目录，或 Elasticsearch 集群地址。",
        ),
    ),
]
Config = Annotated[
    Path | None,
    typer.Option("--config", "-c", metavar="FILE", help=tr("Site file (jianmen.toml).", "站点文件（jianmen.toml）。")),
]
Json = Annotated[bool, typer.Option("--json", help=tr("Machine-readable output.", "输出机器可读的 JSON。"))]
Since = Annotated[
    str | None,
    typer.Option("--since", metavar="T", help=tr("From this time on (ISO 8601).", "起始时间（含），ISO 8601。")),
]
Until = Annotated[
    str | None,
    typer.Option("--until", metavar="T", help=tr("Before this time (ISO 8601).", "截止时间（不含），ISO 8601。")),
]
Memory = Annotated[
    int,
    typer.Option(
        "--memory",
        metavar="MIB",
        min=1,
        envvar="JIANMEN_MEMORY",
        help=tr(
            "Values and cases that detection remembers, in MiB; beyond, it forgets and looks at them anew.",
            "检测时缓存的取值与判定结果上限（MiB）；超出则清空重算，告警不变。",
        ),
    ),
]
Dataset = Annotated[
    list[str] | None,
    typer.Option("--dataset", "-d", help=tr("Only this dataset; may be repeated.", "只看该数据集，可重复给出。")),
]
Rules = Annotated[
    list[Path] | None,
    typer.Option(
        "--rules",
        metavar="PATH",
        help=tr("Sigma rules (file or folder) beside ours; repeatable.", "附加的 Sigma 规则文件或目录，可重复。"),
    ),
]
Lang = Annotated[
    str | None,
    typer.Option("--report-lang", metavar="zh|en|both", help=tr("Language of the reports.", "报告语言。")),
]


def instant(text: str | None, name: str) -> datetime | None:
    """Read ``--since`` or ``--until``; a time without an offset is local time.

    Raises:
        ConfigError: The text is not ISO 8601.
    """
    if text is None:
        return None
    try:
        value = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(
            f"{name} is not a time: {text!r}",
            hint="ISO 8601, such as 2026-09-01, 2026-09-01T10:05 or 2026-09-01T02:05:00Z",
        ) from None
    return value.astimezone(UTC)
