"""The app: noun, then verb. Command functions are thin: read options, call a room, print.

Command modules import only Typer and the standard library at the top, so that ``--help`` answers at once.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from cli import (
    analyze,
    asset_commands,
    doctor,
    event_commands,
    incident_commands,
    init,
    playbook_commands,
    report_commands,
    rule_commands,
    sensor_commands,
    store_commands,
    suppress_commands,
)
from cli.errors import guarded
from cli.process import settle
from cli.text import tr

app = typer.Typer(
    name="jianmen",
    help=tr(
        "Jianmen watches the networks of critical infrastructure: captures and logs in, incidents and reports out.",
        "剑门：关键信息基础设施网络安全态势感知。读取流量与日志，发现网络安全事件，生成风险报告与应急响应报告。",
    ),
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from cli.version import VERSION

        print(f"jianmen {VERSION}")
        raise typer.Exit


@app.callback()
def _main(
    lang: Annotated[
        str | None, typer.Option("--lang", metavar="zh|en", help=tr("Language of messages.", "界面语言。"))
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help=tr("Show tracebacks.", "显示调用栈。"))] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help=tr("Show the version.", "显示版本。"))
    ] = False,
) -> None:
    del lang, debug, version  # read from the command line before parsing: cli.text.language, main


analyze.register(app)
app.add_typer(sensor_commands.app, name="sensor")
app.add_typer(event_commands.app, name="events")
rule_commands.app.add_typer(suppress_commands.app, name="suppress")
app.add_typer(rule_commands.app, name="rules")
app.add_typer(incident_commands.app, name="incident")
app.add_typer(asset_commands.app, name="asset")
app.add_typer(playbook_commands.app, name="playbook")
app.add_typer(report_commands.app, name="report")
app.add_typer(store_commands.app, name="store")
doctor.register(app)
init.register(app)


def main() -> None:
    """Entry point of the ``jianmen`` command."""
    settle()
    debug = "--debug" in sys.argv
    sys.exit(guarded(lambda: app(standalone_mode=True), debug=debug))


if __name__ == "__main__":
    main()
