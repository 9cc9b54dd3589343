"""Languages, and everything that reaches the terminal.

Data goes to stdout, words to stderr. Strings out of events are hostile: control and bidi characters are shown as
escapes before they reach a terminal (``--json`` escapes them by itself).
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from rich.console import Console

Lang = Literal["zh", "en"]

_HOSTILE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]")


def language(argv: Sequence[str] | None = None) -> Lang:
    """Language for messages: ``--lang``, then ``JIANMEN_LANG``, then the locale; English if nothing says Chinese.

    Read before the command line is parsed, for help texts are made when commands are declared.
    """
    args = list(sys.argv if argv is None else argv)
    for i, arg in enumerate(args):
        if arg == "--lang" and i + 1 < len(args):
            return "zh" if args[i + 1].lower().startswith("zh") else "en"
        if arg.startswith("--lang="):
            return "zh" if arg[7:].lower().startswith("zh") else "en"
    for name in ("JIANMEN_LANG", "LC_ALL", "LC_MESSAGES", "LANG"):
        value = os.environ.get(name)
        if value:
            return "zh" if value.lower().startswith("zh") else "en"
    return "en"


LANG: Lang = language()


def tr(en: str, zh: str) -> str:
    """The text in the language of this process."""
    return zh if LANG == "zh" else en


def clean(value: object) -> str:
    """Text that a terminal may show: control, escape and bidi characters become visible escapes."""
    return _HOSTILE.sub(lambda m: f"\\u{ord(m.group()):04x}", str(value))


def say(text: str) -> None:
    """Words for the person, on stderr."""
    print(clean(text), file=sys.stderr)


def say_error(text: str) -> None:
    """What is wrong with an input, of which the rest is told."""
    say(f"{tr('error', '错误')}: {text}")


def console(*, stderr: bool = False) -> Console:
    """A Rich console; import kept here, for most commands never need it."""
    from rich.console import Console

    width = None if (sys.stderr if stderr else sys.stdout).isatty() else int(os.environ.get("COLUMNS", "140"))
    return Console(stderr=stderr, width=width, highlight=False, markup=False)


def emit_json(value: object) -> None:
    """One JSON document on stdout."""
    print(json.dumps(value, ensure_ascii=False, indent=2, default=str))


def emit_lines(rows: Iterable[dict[str, Any]]) -> None:
    """One JSON object a line on stdout; stops quietly when the reader of the pipe has gone."""
    import orjson

    out = sys.stdout.buffer
    for row in rows:
        out.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_UTC_Z | orjson.OPT_NAIVE_UTC))
    out.flush()


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], *, styles: Sequence[str] = ()) -> None:
    """A table on stdout: Rich on a terminal, the same without colour in a pipe."""
    from rich.table import Table
    from rich.text import Text

    grid = Table(title=title or None, title_justify="left", header_style="bold", show_lines=False)
    for i, name in enumerate(columns):
        grid.add_column(name, overflow="fold", style=styles[i] if i < len(styles) and styles[i] else None)
    for row in rows:
        grid.add_row(*(cell if isinstance(cell, Text) else Text(clean("" if cell is None else cell)) for cell in row))
    console().print(grid)


def level_text(level: str) -> Any:
    """A Sigma level with its colour and its word."""
    from rich.text import Text

    style = {"critical": "bold white on red", "high": "bold red", "medium": "yellow", "low": "cyan"}.get(level, "dim")
    return Text(word(level), style=style)


_WORDS_ZH = {
    "critical": "严重",
    "high": "高",
    "medium": "中",
    "low": "低",
    "informational": "提示",
    "new": "新建",
    "acknowledged": "已受理",
    "in_progress": "处置中",
    "closed": "已办结",
    "merged": "已并入",
    "confirmed": "已确认",
    "inferred": "推测",
    "unknown": "无法确认",
    "not_observed": "未观察到",
    "preparation": "准备",
    "detection": "检测",
    "containment": "抑制",
    "eradication": "根除",
    "recovery": "恢复",
    "follow_up": "跟踪",
}


def word(name: str) -> str:
    """A level, status, certainty or phase in the language of this process; other words stay."""
    return _WORDS_ZH.get(name, name) if LANG == "zh" else name


def local_time(value: Any) -> str:
    """A time as people here read it: Asia/Shanghai with its offset."""
    from zoneinfo import ZoneInfo

    if value is None:
        return ""
    return str(value.astimezone(ZoneInfo("Asia/Shanghai")).strftime("%Y-%m-%d %H:%M:%S%z"))
