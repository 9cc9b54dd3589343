"""Exceptions become one message and an exit code; nothing else in the program prints an error or exits.

0 done · 1 findings at or above ``--fail-level`` · 2 usage or configuration · 3 unreadable input ·
4 invalid rule or playbook · 5 store unreachable · 70 our bug.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable

from cli.text import clean, tr
from event.errors import UserError

BUG = 70


def report(error: BaseException, *, debug: bool) -> int:
    """Print ``error`` for a person and return the exit code."""
    if isinstance(error, UserError):
        print(f"{tr('error', '错误')}: {clean(error.what)}", file=sys.stderr)
        if error.where:
            print(f"  {tr('where', '位置')}: {clean(error.where)}", file=sys.stderr)
        if error.hint:
            print(
                "\n".join(f"  {tr('now', '处理')}: {clean(line)}" for line in error.hint.splitlines()), file=sys.stderr
            )
        if debug:
            traceback.print_exception(error)
        return error.exit_code
    if debug:
        traceback.print_exception(error)
    else:
        text = clean(f"{type(error).__name__}: {error}")[:300]
        print(f"{tr('bug', '程序缺陷')}: {text}", file=sys.stderr)
        print(
            "  "
            + tr(
                "please report it with the output of the same command under --debug",
                "请附上同一命令加 --debug 的输出，反馈给开发者",
            ),
            file=sys.stderr,
        )
    return BUG


def guarded(run: Callable[[], None], *, debug: bool) -> int:
    """Run a command line; the exit code of what happened."""
    try:
        run()
    except SystemExit as stop:
        code = stop.code
        return code if isinstance(code, int) else (0 if code is None else 2)
    except KeyboardInterrupt:
        print(tr("interrupted; what was stored stays stored", "已中断；已入库的内容保留"), file=sys.stderr)
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except Exception as error:  # noqa: BLE001 - the last door: whatever comes becomes a message and a code
        return report(error, debug=debug)
    return 0
