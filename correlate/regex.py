r"""Regular expressions in linear time only: RE2, or Hyperscan for what RE2 does not take; never backtracking.

Sigma wants PCRE's flavour of anchors, quantifiers, classes, alternation and groups (appendix on modifiers). RE2 has all
of that with the same meaning but one: to PCRE ``$`` also holds before a line feed that ends the text. That is said here
in RE2's words.
"""

from __future__ import annotations

import re
from contextlib import suppress
from functools import lru_cache
from types import ModuleType
from typing import Any, Protocol

import re2

from correlate.errors import CompileError

# A quotation, an escape, a class (a bracket right behind its opening belongs to it; named classes do), a bare dollar.
_PIECE = re.compile(r"\\Q.*?(?:\\E|\Z)|\\.|\[\^?\]?(?:\\.|\[:\w+:\]|[^\]\\])*\]|\$", re.DOTALL)
_MULTILINE = re.compile(r"\(\?[a-zA-Z]*m")
_LAST = r"(?:\n?\z)"
_TOKEN = re.compile(_PIECE.pattern.removesuffix(r"|\$") + "|.", re.DOTALL)
_LETTERS = re.compile(r"\(\?([is]+)\)")
_LATER_DOT_ALL = re.compile(r"\(\?[a-zA-Z-]*s")
_CASELESS = re.compile(r"\(\?[a-zA-Z-]*i")
_BEGINS = ("^", r"\A")
_ENDS = {"$": r"(?:\n?\x03)", r"\z": r"\x03", r"\Z": r"\x03"}
_OTHER = {r"\W": r"[^\w\x02\x03]", r"\S": r"[^\s\x02\x03]", r"\D": r"[^\d\x02\x03]"}
# Neither STX nor ETX is among what these match, nor is the frame's outside: printable letters, white space, classes.
_INNER = re.compile(
    r"\\[^\w\s]|\\[dwsbtnrf]|\[(?!\^)(?:\\[^\w\s]|\\[dwstnrf]|[ -Z^-~\x80-\U0010ffff])+\]|[ -~\x80-\U0010ffff]"
)
_REPEATED = re.compile(r"[*+?]|\{(\d+)(?:,\d*)?\}")
_LONGEST = 20_000  # characters of a pattern


class Regex(Protocol):
    """A compiled pattern."""

    def search(self, text: str, /) -> object:
        """Something true if the pattern is found anywhere in the text."""


class Compiled:
    """A pattern in RE2's spelling; over bytes, for RE2's binding counts characters of what it finds in a text."""

    __slots__ = ("_search",)

    def __init__(self, pattern: str) -> None:
        """Compile; quietly, and with a bound on the automaton's memory.

        Raises:
            re2.error: RE2 does not take it.
            UnicodeError: It has half of a surrogate pair.
        """
        options = re2.Options()
        options.log_errors = False
        options.max_mem = 64 << 20
        self._search = re2.compile(pattern.encode(), options).search

    def search(self, text: str) -> bool:
        """Whether the pattern is found anywhere in the text."""
        return self._search(text.encode()) is not None


def regex_text(pattern: str, flags: str) -> str:
    r"""The pattern as RE2 spells it, with its flags in front.

    ``\Z`` is ``\z`` (the end of the text, as in Python), and ``$`` may have a line feed behind it, as in PCRE. Where
    ``m`` is on, ``$`` means the same to both.
    """
    lines = "m" in flags or _MULTILINE.search(pattern) is not None

    def spelled(match: re.Match[str]) -> str:
        piece = match[0]
        if piece == r"\Z":
            return r"\z"
        return _LAST if piece == "$" and not lines else piece

    pattern = _PIECE.sub(spelled, pattern)
    return f"(?{flags}){pattern}" if flags else pattern


def check_regex(pattern: str, flags: str) -> None:
    """Check that a pattern can be matched in linear time.

    Raises:
        CompileError: It cannot (look-around, back-references), or is malformed.
    """
    compile_regex(pattern, flags)


def compile_regex(pattern: str, flags: str) -> Regex:
    """Compile a pattern.

    Args:
        pattern: The pattern as the rule has it.
        flags: Letters out of ``ims``.

    Raises:
        CompileError: Neither RE2 nor, where it is installed, Hyperscan takes it.
    """
    if len(pattern) > _LONGEST:
        raise CompileError(f"a regular expression of more than {_LONGEST} characters", pattern[:40])
    try:
        compiled: Regex = Compiled(regex_text(pattern, flags))
    except (re2.error, UnicodeError) as error:
        other = hyperscan_module()
        if other is not None and not isinstance(error, UnicodeError):
            with suppress(other.error):
                return _Scanned(other, pattern, flags)
        said = error.args[0] if error.args else error
        reason = said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
        message = f"regular expression {pattern!r} cannot be matched in linear time: {reason}"
        raise CompileError(message, pattern) from error
    return compiled


BEHIND = b"\n" + bytes(31)
"""What stands behind a text that Hyperscan looks for regular expressions in.

Hyperscan 5.4.12 misses some matches that end where its data ends, even of ``(?:ab|cd)$`` alone: 131 of 2.3 million
looks into short random texts. Behind the text stands a line feed, which is as good as the end to word boundaries and
to ``$`` of lines; other marks of the end become patterns of what stands behind (``before_end``).
"""


def before_end(pattern: str, flags: str) -> str | None:
    r"""The pattern, to be looked for by Hyperscan in a text with ``BEHIND`` behind it; None: it cannot be.

    Where it is the same pattern, what it finds that ends within the text is sure, in ASCII text without ``\v``.
    Everything else is suspected only.
    """
    if not pattern.isascii() or "\0" in pattern or r"\Q" in pattern:  # NUL ends a pattern
        return None
    if "m" not in flags and _MULTILINE.search(pattern):  # a dollar may mean either
        return None

    def spelled(match: re.Match[str]) -> str:
        piece = match[0]
        if piece in (r"\Z", r"\z"):
            return r"(?:\n\x00)"
        return r"(?:\n?\n\x00)" if piece == "$" and "m" not in flags else piece

    return _PIECE.sub(spelled, pattern)


def framed(pattern: str, flags: str) -> tuple[str, bool] | None:
    """The pattern, to be looked for by Hyperscan in many texts at once, STX before and ETX behind each and in none.

    Where it repeats a letter at its end, the repetition is followed up to its end: Hyperscan would tell every letter.

    Returns:
        Pattern, and whether what it finds, and ends in a text or at its ETX, is sure to be in that text, if the text is
        ASCII without a vertical tab; else it is suspected. None if the pattern cannot be looked for so.
    """
    if "\0" in pattern or r"\Q" in pattern or "m" in flags or _MULTILINE.search(pattern):
        return None
    if not pattern.isascii() and ("i" in flags or _CASELESS.search(pattern)):  # K is the small letter of a sign, too
        return None
    begin = _LETTERS.match(pattern)
    letters = begin[0] if begin is not None else ""
    pieces = _TOKEN.findall(pattern, len(letters))
    if not pieces or _LATER_DOT_ALL.search(pattern, len(letters)):
        return None
    first = r"\x02" if pieces[0] in _BEGINS and pieces[1:2] not in (["*"], ["+"], ["?"], ["{"]) else ""
    last = _ENDS.get(pieces[-1], "")
    body = pieces[bool(first) : len(pieces) - bool(last)]
    dot = r"[^\x02\x03]" if "s" in flags or "s" in letters else r"[^\n\x02\x03]"
    spelled, sure = [], True
    for piece in body:
        if piece.startswith("[^") and piece[2] not in "]-":
            spelled.append(r"[^\x02\x03" + piece[2:])
        elif piece == "." or piece in _OTHER:
            spelled.append(dot if piece == "." else _OTHER[piece])
        elif piece in _BEGINS or piece in _ENDS:
            spelled.append("(?:)")  # more is found without it
            sure = False
        else:
            spelled.append(piece)
            sure = sure and _INNER.fullmatch(piece) is not None
    return letters + first + "".join(spelled if last else _to_the_end(spelled)) + last, sure


def _to_the_end(tokens: list[str]) -> list[str]:
    """A pattern that ends with a repeated class without ETX, followed up to what is not of the class."""
    tail = "".join(tokens[-12:])
    repeated = next((match for at in range(len(tail)) if (match := _REPEATED.fullmatch(tail, at))), None)
    if repeated is None:
        return tokens
    before, sign = tokens[: len(tokens) - len(repeated[0])], tokens[-len(repeated[0]) :]
    if not before or sign[0] != repeated[0][0]:  # an escaped sign
        return tokens
    letter = before[-1]
    if letter.startswith((r"[^\x02\x03", r"[^\n\x02\x03")):
        other = "[" + letter[2:]
    elif letter.startswith("[") and _INNER.fullmatch(letter):
        other = "[^" + letter[1:]
    elif letter in (r"\d", r"\w", r"\s"):
        other = letter.upper()
    else:
        return tokens
    least = {"*": 0, "?": 0, "+": 1}.get(repeated[0])
    return [*before, f"{{{int(repeated[1]) if least is None else least},}}", other]


@lru_cache(1)
def hyperscan_module() -> ModuleType | None:
    """Hyperscan's binding, where it is installed."""
    try:
        import hyperscan
    except ImportError:
        return None
    return hyperscan


class _Scanned:
    """A pattern that only Hyperscan takes, such as one with a repetition of more than a thousand."""

    def __init__(self, hyperscan: ModuleType, pattern: str, flags: str) -> None:
        marks = {"i": hyperscan.HS_FLAG_CASELESS, "m": hyperscan.HS_FLAG_MULTILINE, "s": hyperscan.HS_FLAG_DOTALL}
        bits = hyperscan.HS_FLAG_SINGLEMATCH | hyperscan.HS_FLAG_UTF8 | hyperscan.HS_FLAG_ALLOWEMPTY
        bits |= sum(marks[letter] for letter in flags)
        self._database = hyperscan.Database(mode=hyperscan.HS_MODE_BLOCK)
        self._database.compile(expressions=[pattern.encode()], ids=[0], flags=[bits])
        self._before_end: Any = None
        before = before_end(pattern, flags)
        if before is not None:
            self._before_end = hyperscan.Database(mode=hyperscan.HS_MODE_BLOCK)
            self._before_end.compile(expressions=[before.encode()], ids=[0], flags=[bits])
        self._marked = 2 if before != pattern else 0

    def search(self, text: str) -> bool:
        data = text.encode()
        ends: list[int] = []

        def note(_index: int, _start: int, end: int, _flags: int, _context: object) -> None:
            ends.append(end)

        self._database.scan(data, match_event_handler=note)
        if not ends and self._before_end is not None and not (self._marked and "\0" in text):
            self._before_end.scan(data + BEHIND, match_event_handler=note)
        return any(end <= len(data) or end == len(data) + self._marked for end in ends)
