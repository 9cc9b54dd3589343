"""Regular expressions in linear time only: RE2, with bounds."""

from __future__ import annotations

import re
from typing import Any

import re2

from correlate.errors import CompileError

_ESCAPED = re.compile(r"\\.", re.DOTALL)


def regex_options() -> Any:
    """Options of every pattern: quiet, and with a bound on the automaton's memory."""
    options = re2.Options()
    options.log_errors = False
    options.max_mem = 64 << 20
    return options


def regex_text(pattern: str, flags: str) -> str:
    r"""The pattern with its flags in front; ``\Z`` becomes ``\z``, as RE2 spells it."""
    pattern = _ESCAPED.sub(lambda match: r"\z" if match[0] == r"\Z" else match[0], pattern)
    return f"(?{flags}){pattern}" if flags else pattern


def check_regex(pattern: str, flags: str) -> None:
    """Check that a pattern can be matched in linear time.

    Raises:
        CompileError: It cannot (look-around, back-references), or is malformed.
    """
    try:
        re2.compile(regex_text(pattern, flags), regex_options())
    except re2.error as error:
        reason = str(error.args[0] if error.args else error)
        reason = reason.strip("b'\"") if reason.startswith("b'") else reason
        raise CompileError(f"regular expression {pattern!r} cannot be matched in linear time: {reason}") from error
