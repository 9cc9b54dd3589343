"""``doctor``: what is installed, reachable, permitted."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import typer

from cli import options
from cli.text import emit_json, table, tr
from event.errors import StoreError

if TYPE_CHECKING:
    from cli.config import ClusterPlace


class Finding(NamedTuple):
    """One thing that was looked at."""

    name: str
    state: Literal["ok", "optional", "bad"]
    found: str
    advice: str = ""


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command(
        "doctor",
        short_help=tr("What is installed, reachable, permitted.", "检查安装、权限与环境。"),
        help=tr(
            "What is installed, reachable, permitted; exit 2 if something needed is missing.",
            "检查安装、权限与环境；缺少必要条件时以 2 退出。",
        ),
    )(doctor)


def doctor(
    store: options.Store = None,
    config: options.Config = None,
    warm: Annotated[
        bool, typer.Option("--warm", help=tr("Compile the packet kernels now.", "立即编译报文处理内核。"))
    ] = False,
    json: options.Json = False,
) -> None:
    """See ``register``."""
    from cli.config import load, state_home
    from sensor.kernel_cache import is_warm, prepare
    from sensor.kernel_cache import warm as compile_now

    settings = load(config, store)
    if warm:
        compile_now(state_home())
    compiled = is_warm(prepare(state_home()))
    findings = [
        Finding("python", "ok" if sys.version_info >= (3, 11) else "bad", platform.python_version()),
        *(
            _package(name, needed=True)
            for name in ("numpy", "numba", "polars", "pydantic", "pysigma", "google-re2", "typer", "python-docx")
        ),
        _package("hyperscan", needed=False, advice="pip install 'jianmen[fast]'"),
        _package("elasticsearch", needed=False, advice="pip install 'jianmen[elastic]'"),
        _package("evtx", needed=False, advice="pip install 'jianmen[evtx]'"),
        _package("sigma-cli", needed=False, advice="pip install 'jianmen[convert]'"),
        _program("tshark", "events explain"),
        Finding(
            "packet kernels",
            "ok",
            tr("compiled", "已编译") if compiled else tr("not yet compiled", "尚未编译"),
            "" if compiled else "jianmen doctor --warm",
        ),
        _folder("store", settings.store) if isinstance(settings.store, Path) else _cluster(settings.store),
        _folder("state", state_home()),
        Finding(
            "site file",
            "ok" if settings.site_path else "optional",
            str(settings.site_path or tr("none", "无")),
            "" if settings.site_path else "jianmen init",
        ),
        _rules(),
    ]
    if json:
        emit_json([f._asdict() for f in findings])
    else:
        words = {"ok": tr("ok", "正常"), "optional": tr("optional", "可选"), "bad": tr("MISSING", "缺失")}
        table(
            tr("Doctor", "环境检查"),
            [tr("what", "项目"), tr("state", "状态"), tr("found", "结果"), tr("what now", "建议")],
            [(f.name, words[f.state], f.found, f.advice) for f in findings],
        )
    if any(f.state == "bad" for f in findings):
        raise typer.Exit(2)


def _cluster(place: ClusterPlace) -> Finding:
    from cli.pipeline import open_store

    try:
        with open_store(place, create=False):
            return Finding("store", "ok", str(place))
    except StoreError as error:
        return Finding("store", "bad", f"{place}: {error.what}", error.hint or "")


def _package(name: str, *, needed: bool, advice: str = "") -> Finding:
    try:
        return Finding(name, "ok", version(name))
    except PackageNotFoundError:
        return Finding(name, "bad" if needed else "optional", tr("not installed", "未安装"), advice)


def _program(name: str, use: str) -> Finding:
    path = shutil.which(name)
    return Finding(
        name,
        "ok" if path else "optional",
        path or tr("not installed", "未安装"),
        "" if path else tr(f"only for: jianmen {use}", f"仅用于：jianmen {use}"),
    )


def _folder(name: str, folder: Path) -> Finding:
    near = folder
    while not near.exists() and near != near.parent:
        near = near.parent
    free = shutil.disk_usage(near).free
    if not os.access(near, os.W_OK):
        return Finding(name, "bad", str(folder), tr("not writable", "不可写"))
    return Finding(name, "ok", f"{folder} ({free / 2**30:.1f} GiB {tr('free', '可用')})")


def _rules() -> Finding:
    from correlate.rules import rules_dir

    files = list(rules_dir().rglob("*.yml"))
    return Finding("rules", "ok" if files else "bad", f"{len(files)} {tr('files', '个文件')}: {rules_dir()}")
