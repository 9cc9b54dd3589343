"""Conditions of CACAO if, while and switch steps over playbook variables.

CACAO takes its conditions from STIX patterning. Understood here is what playbooks use in practice:

    __name__:value = 'text'     also ==, !=, <, <=, >, >=, IN ('a', 'b'), numbers, true, false
    NOT a AND (b OR c)          brackets, AND before OR

Anything else, and any condition over a variable that has no value yet, is for a person to decide.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping

_TOKEN = re.compile(
    r"""\s*(?:
        (?P<variable>__[a-zA-Z_][a-zA-Z0-9_-]{0,199}__)(?::value)?    # __cause__:value
      | '(?P<text>(?:[^'\\]|\\.)*)'                                    # 'fault'
      | (?P<number>-?\d+(?:\.\d+)?)                                    # 10.5
      | (?P<word>[A-Za-z]+)                                            # AND, true
      | (?P<sign>==|!=|<=|>=|[=<>(),\[\]])
    )""",
    re.VERBOSE,
)
_COMPARE: dict[str, Callable[[object, object], bool]] = {
    "=": operator.eq,
    "==": operator.eq,
    "!=": operator.ne,
}
_ORDER: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_MAX_CHARS = 4096
_MAX_DEPTH = 50


class NotDecidable(Exception):
    """The condition needs a person: a variable without a value, or grammar that is not understood."""


def _tokens(text: str) -> list[tuple[str, str]]:
    if len(text) > _MAX_CHARS:
        raise NotDecidable("too long")
    found: list[tuple[str, str]] = []
    place = 0
    text = text.rstrip()
    while place < len(text):
        match = _TOKEN.match(text, place)
        if match is None or match.end() == place:
            raise NotDecidable(f"not understood at {text[place : place + 20]!r}")
        kind = str(match.lastgroup)
        value = str(match.group(kind))
        found.append((kind, re.sub(r"\\(.)", r"\1", value) if kind == "text" else value))
        place = match.end()
    return found


class _Reader:
    def __init__(self, tokens: list[tuple[str, str]], variables: Mapping[str, str | None]) -> None:
        self._tokens = tokens
        self._place = 0
        self._variables = variables
        self._depth = 0

    def _peek(self) -> tuple[str, str]:
        return self._tokens[self._place] if self._place < len(self._tokens) else ("end", "")

    def _take(self, *signs: str) -> bool:
        kind, value = self._peek()
        if kind in ("sign", "word") and value.upper() in signs:
            self._place += 1
            return True
        return False

    def whole(self) -> bool:
        result = self._either()
        if self._peek()[0] != "end":
            raise NotDecidable(f"not understood at {self._peek()[1]!r}")
        return result

    def _either(self) -> bool:
        result = self._both()
        while self._take("OR"):
            result = self._both() or result
        return result

    def _both(self) -> bool:
        result = self._one()
        while self._take("AND"):
            result = self._one() and result
        return result

    def _one(self) -> bool:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise NotDecidable("nested too deep")
        try:
            if self._take("NOT"):
                return not self._one()
            for opening, closing in (("(", ")"), ("[", "]")):
                if self._take(opening):
                    result = self._either()
                    if not self._take(closing):
                        raise NotDecidable(f"{closing!r} is missing")
                    return result
            return self._comparison()
        finally:
            self._depth -= 1

    def _value(self) -> str:
        kind, value = self._peek()
        self._place += 1
        if kind == "variable":
            known = self._variables.get(value)
            if known is None:
                raise NotDecidable(f"{value} has no value")
            return known
        if kind in ("text", "number") or (kind == "word" and value.lower() in ("true", "false")):
            return value
        raise NotDecidable(f"not understood at {value!r}")

    def _comparison(self) -> bool:
        left = self._value()
        if self._take("IN"):
            return self._is_in(left)
        kind, sign = self._peek()
        if kind != "sign" or sign not in {*_COMPARE, *_ORDER}:
            raise NotDecidable("a comparison is missing")
        self._place += 1
        right = self._value()
        if sign in _COMPARE:
            return _COMPARE[sign](_plain(left), _plain(right))
        try:
            return _ORDER[sign](float(left), float(right))
        except ValueError as error:
            raise NotDecidable(f"{left!r} {sign} {right!r} are not numbers") from error

    def _is_in(self, left: str) -> bool:
        if not self._take("("):
            raise NotDecidable("'(' is missing after IN")
        found = False
        while True:
            found = _plain(self._value()) == _plain(left) or found
            if self._take(")"):
                return found
            if not self._take(","):
                raise NotDecidable("',' or ')' is missing")


def _plain(value: str) -> str | float:
    """Numbers compare as numbers, true and false without regard to case."""
    try:
        return float(value)
    except ValueError:
        return value.lower() if value.lower() in ("true", "false") else value


def evaluate(condition: str, variables: Mapping[str, str | None]) -> bool:
    """Decide ``condition``.

    Raises:
        NotDecidable: A variable has no value, or the condition is not understood.
    """
    return _Reader(_tokens(condition), variables).whole()


def value_of(switch: str, variables: Mapping[str, str | None]) -> str:
    """The value that a switch step looks at.

    Raises:
        NotDecidable: The variable has no value, or it is no variable.
    """
    tokens = _tokens(switch)
    if len(tokens) != 1 or tokens[0][0] != "variable":
        raise NotDecidable("not one variable")
    value = variables.get(tokens[0][1])
    if value is None:
        raise NotDecidable(f"{tokens[0][1]} has no value")
    return value
