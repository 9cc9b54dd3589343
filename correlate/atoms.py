"""Predicates on one value: which atoms of a column hold for it.

A matcher holds all atoms that the rules of a dataset ask of one column and answers for one value at a time. Many
substrings and many regular expressions are looked for in one pass of Hyperscan where it is installed; what it finds
is always confirmed by the plain predicate, so that the answer does not depend on it. Everything is linear in the
length of the value.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from ipaddress import ip_address, ip_network
from operator import eq, ge, gt, le, lt
from types import ModuleType
from typing import Any

import re2

from correlate.fold import fold
from correlate.regex import BEHIND, Compiled, Regex, compile_regex, framed, hyperscan_module

Value = str | int | float | bool

_MANY = 24  # patterns of a column from which one pass of Hyperscan beats a loop
_NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d{1,4})?", re.ASCII)  # no nested repeats: linear
_MAX_NUMBER = 400  # characters of a text that may spell a number
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {"gt": gt, "gte": ge, "lt": lt, "lte": le, "eq": eq}
_NO_TEXT = frozenset({"null", "num", "bool", "cmp", "part"})


def text_of(value: Value) -> str:
    """The text that patterns are held against; see ``correlate.ir``."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    return str(value)


def number_of(value: Value) -> int | float | None:
    """The number that a value is or that a text spells in decimal digits; None if it is none."""
    if isinstance(value, bool):
        return None
    if not isinstance(value, str):
        return value
    if len(value) > _MAX_NUMBER or not _NUMBER.fullmatch(value):
        return None
    try:
        return int(value)
    except ValueError:
        return float(value)


def time_parts(text: str) -> dict[str, int] | None:
    """Minute, hour, day, ISO week, month and year in UTC of an ISO 8601 time; None if the text is none."""
    if len(text) > 40 or len(text) < 10:
        return None
    try:
        # More than six digits of a second are cut: no part is smaller than a minute.
        time = datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text, count=1))
        time = time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return {
        "minute": time.minute,
        "hour": time.hour,
        "day": time.day,
        "week": time.isocalendar().week,
        "month": time.month,
        "year": time.year,
    }


def glob_regex(parts: Sequence[Any]) -> str:
    """The regular expression of a whole text with ``*`` (0) and ``?`` (1)."""
    begin, end = int(parts[:1] == [0]), len(parts) - int(parts[-1:] == [0] and len(parts) > 1)
    pieces = [re2.escape(part) if isinstance(part, str) else (".*" if part == 0 else ".") for part in parts[begin:end]]
    return "(?s)" + ("" if begin else r"\A") + "".join(pieces) + ("" if end < len(parts) else r"\z")


class _Pass:
    """One pass of Hyperscan for many patterns; finds at least what the patterns would."""

    def __init__(self, hyperscan: ModuleType, patterns: Sequence[bytes], flags: Sequence[int], *, literal: bool):
        self._database = hyperscan.Database(mode=hyperscan.HS_MODE_BLOCK)
        self._database.compile(
            expressions=list(patterns), ids=list(range(len(patterns))), flags=list(flags), literal=literal
        )

    def find(self, data: bytes) -> list[int]:
        """Indexes of the patterns that occur."""
        found: list[int] = []

        def note(index: int, _start: int, _end: int, _flags: int, _context: object) -> None:
            found.append(index)

        self._database.scan(data, match_event_handler=note)
        return found


class Matcher:
    """All atoms of one column.

    Attributes:
        absent: Atoms that hold where there is no value.
        needs_text: Some atom looks at the text, so that numbers must be looked at one by one.
        numbers: The numbers that equality and comparisons name; between two of them all numbers are alike.
        parts: The parts of a time that atoms name.
    """

    def __init__(self, atoms: Iterable[tuple[int, str, Any]], *, one_pass: bool = True) -> None:
        """Prepare the atoms.

        Args:
            atoms: (number of the atom, operator, payload).
            one_pass: Use Hyperscan where it is installed.
        """
        self.absent: frozenset[int] = frozenset()
        self._eq: dict[str, list[int]] = {}
        self._eqc: dict[str, list[int]] = {}
        self._present: list[int] = []
        self._literals: list[tuple[int, str, str]] = []  # atom, operator, text: on the folded text
        self._cased: list[tuple[int, str, str]] = []
        self._globs: list[tuple[int, str, Any]] = []  # atom, longest literal, regex: on the folded text
        self._cased_globs: list[tuple[int, str, Any]] = []
        self._regexes: list[tuple[int, str, str, Regex]] = []
        self._num: list[tuple[int, float]] = []
        self._num_text: dict[str, list[int]] = {}
        self._bool: dict[bool, list[int]] = {True: [], False: []}
        self._cmp: list[tuple[int, Callable[[Any, Any], bool], float]] = []
        self._part: list[tuple[int, str, Callable[[Any, Any], bool], int]] = []
        self._cidr: list[tuple[int, int, int, int]] = []
        self._one_pass = one_pass
        self._literal_pass: tuple[_Pass, list[tuple[int, str, str]]] | None = None
        self._regex_pass: tuple[_Pass, list[int]] | None = None
        self._unready = True
        self.needs_text = False
        self.numbers: list[float] = []
        self.parts: list[str] = []
        for atom, op, payload in atoms:
            self._add(atom, op, payload)

    def _add(self, atom: int, op: str, payload: Any) -> None:
        self.needs_text = self.needs_text or op not in _NO_TEXT
        if op == "null":
            self.absent |= {atom}
        elif op == "eq":
            self._eq.setdefault(payload, []).append(atom)
        elif op == "eqc":
            self._eqc.setdefault(payload, []).append(atom)
        elif op in ("contains", "containsc") and payload == "":
            self._present.append(atom)  # holds for whatever is there
        elif op in ("contains", "startswith", "endswith"):
            self._literals.append((atom, op, payload))
        elif op in ("containsc", "startswithc", "endswithc"):
            self._cased.append((atom, op[:-1], payload))
        elif op in ("glob", "globc"):
            longest = max((part for part in payload if isinstance(part, str)), key=len, default="")
            regex = Compiled(glob_regex(payload))
            (self._globs if op == "glob" else self._cased_globs).append((atom, longest, regex))
        elif op == "re":
            pattern, flags = payload
            self._regexes.append((atom, pattern, flags, compile_regex(pattern, flags)))
        elif op == "num":
            self._num.append((atom, payload))
            self._num_text.setdefault(text_of(payload), []).append(atom)
            self.numbers.append(payload)
        elif op == "bool":
            self._bool[payload].append(atom)
        elif op == "cmp":
            self._cmp.append((atom, _COMPARE[payload[0]], payload[1]))
            self.numbers.append(payload[1])
        elif op == "part":
            self._part.append((atom, payload[0], _COMPARE[payload[1]], payload[2]))
            self.parts.append(payload[0])
        elif op == "cidr":
            network = ip_network(payload)
            low, high = int(network.network_address), int(network.broadcast_address)
            self._cidr.append((atom, network.version, low, high))
        else:
            raise ValueError(f"unknown operator {op!r}")

    def holds(self, value: Value) -> frozenset[int]:
        """Atoms that hold for a value that is there."""
        found = list(self._present)
        if isinstance(value, bool):
            found += self._bool[value]
        elif isinstance(value, str):
            self._spelled(value, found)
        elif not (isinstance(value, float) and math.isnan(value)):
            self._numeric(value, found)
            found += [atom for atom, number in self._num if value == number]
        if self.needs_text:
            self._textual(text_of(value), found)
        return frozenset(found)

    def _numeric(self, value: int | float, found: list[int]) -> None:
        found += [atom for atom, compare, number in self._cmp if compare(value, number)]

    def _spelled(self, text: str, found: list[int]) -> None:
        """What a text spells: a number, a boolean, a time."""
        found += self._num_text.get(text, ())
        lower = text.lower() if len(text) <= 5 else ""
        if lower in ("true", "false"):
            found += self._bool[lower == "true"]
        if self._cmp and (number := number_of(text)) is not None:
            self._numeric(number, found)
        if self._part and (parts := time_parts(text)) is not None:
            found += [atom for atom, part, compare, number in self._part if compare(parts[part], number)]

    def _textual(self, text: str, found: list[int]) -> None:
        if self._unready:
            self._prepare()
        lower = fold(text)
        found += self._eq.get(lower, ())
        found += self._eqc.get(text, ())
        self._find_literals(lower, found)
        for atom, op, literal in self._cased:
            if _literal_holds(op, literal, text):
                found.append(atom)
        found += [atom for atom, longest, regex in self._globs if longest in lower and regex.search(lower)]
        found += [atom for atom, longest, regex in self._cased_globs if longest in text and regex.search(text)]
        self._find_regexes(text, found)
        if self._cidr and len(text) <= 45:  # the longest text of an IPv6 address
            self._find_network(text, found)

    def _find_literals(self, lower: str, found: list[int]) -> None:
        if self._literal_pass is None:
            candidates: Iterable[tuple[int, str, str]] = self._literals
        else:
            scan, alone = self._literal_pass
            hits = scan.find(b"\x02" + lower.encode() + b"\x03")
            candidates = [*(self._literals[index] for index in hits), *alone]
        found += [atom for atom, op, literal in candidates if _literal_holds(op, literal, lower)]

    def _find_regexes(self, text: str, found: list[int]) -> None:
        # Outside of ASCII, and on a vertical tab (no white space to RE2), the two dialects may differ.
        if self._regex_pass is None or not text.isascii() or any(letter in text for letter in "\v\x02\x03"):
            found += [atom for atom, _, _, regex in self._regexes if regex.search(text)]
            return
        scan, alone = self._regex_pass
        for index in (*scan.find(b"\x02" + text.encode() + b"\x03" + BEHIND), *alone):
            atom, _, _, regex = self._regexes[index]
            if regex.search(text):
                found.append(atom)

    def _find_network(self, text: str, found: list[int]) -> None:
        try:
            address = ip_address(text)
        except ValueError:
            return
        number, version = int(address), address.version
        found += [atom for atom, kind, low, high in self._cidr if kind == version and low <= number <= high]

    def _prepare(self) -> None:
        """Build the passes when the first text comes: a dataset that never occurs costs nothing."""
        self._unready = False
        hyperscan = hyperscan_module() if self._one_pass else None
        if hyperscan is None:
            return
        if len(self._literals) > _MANY:
            # A value between two bytes that hardly occur makes anchored literals rare hits; they are confirmed.
            framed = {"contains": ("", ""), "startswith": ("\x02", ""), "endswith": ("", "\x03")}
            taken = [one for one in self._literals if "\0" not in one[2]]  # patterns end at a NUL
            alone = [one for one in self._literals if "\0" in one[2]]
            if len(taken) > _MANY:
                self._literals = [*taken, *alone]
                patterns = [f"{framed[op][0]}{text}{framed[op][1]}".encode() for _, op, text in taken]
                flags = [hyperscan.HS_FLAG_SINGLEMATCH] * len(patterns)
                self._literal_pass = _Pass(hyperscan, patterns, flags, literal=True), alone
        if len(self._regexes) > _MANY:
            self._regex_pass = self._prepare_regexes(hyperscan)

    def _prepare_regexes(self, hyperscan: ModuleType) -> tuple[_Pass, list[int]] | None:
        r"""A pass over those patterns that Hyperscan takes, and the indexes of the others.

        Its dialect finds at least what RE2's does in ASCII text (``correlate.regex.framed``).
        """
        marks = {"i": hyperscan.HS_FLAG_CASELESS, "m": hyperscan.HS_FLAG_MULTILINE, "s": hyperscan.HS_FLAG_DOTALL}
        base = hyperscan.HS_FLAG_SINGLEMATCH | hyperscan.HS_FLAG_UTF8
        taken: list[tuple[int, bytes, int]] = []
        for index, (_, pattern, letters, _) in enumerate(self._regexes):
            flags = base | sum(marks[letter] for letter in letters)
            looked_for = framed(pattern, letters)
            if looked_for is None:
                continue
            expression = looked_for[0].encode()
            with suppress(hyperscan.error):
                _Pass(hyperscan, [expression], [flags], literal=False)
                taken.append((index, expression, flags))
        if not taken:
            return None
        inside = {index for index, _, _ in taken}
        alone = [index for index in range(len(self._regexes)) if index not in inside]
        self._regexes = [self._regexes[index] for index in (*(one[0] for one in taken), *alone)]
        scan = _Pass(hyperscan, [one[1] for one in taken], [one[2] for one in taken], literal=False)
        return scan, list(range(len(taken), len(self._regexes)))


def _literal_holds(op: str, literal: str, text: str) -> bool:
    if op == "contains":
        return literal in text
    return text.startswith(literal) if op == "startswith" else text.endswith(literal)
