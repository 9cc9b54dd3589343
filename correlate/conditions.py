"""The condition language of Sigma: names of detections, ``and``, ``or``, ``not``, brackets, ``1 of``, ``all of``.

From least to most binding: ``or``, ``and``, ``not``, ``x of``, brackets (specification, Condition). The words are
recognised in capitals too, as rules of the first days have them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from typing import Any

from correlate.errors import CompileError

Tree = list[Any]
"""``["and", [..]]``, ``["or", [..]]``, ``["not", x]``, ``["name", detection]``."""

QUANTIFIERS = ("1", "any", "all")
_TOKEN = re.compile(r"[()]|[^\s()]+")
_DEEPEST = 100
_AT = "condition:"


def parse_condition(text: Any, names: Collection[str]) -> Tree:
    """Read a condition.

    Args:
        text: The condition.
        names: Names of the detections that there are.

    Raises:
        CompileError: It is no condition, or names a detection that there is not.
    """
    if not isinstance(text, str):
        raise CompileError(f"a condition is a text, not {text!r}", _AT)
    if "|" in text:
        message = "aggregations behind '|' are no longer part of a condition: write a correlation rule"
        raise CompileError(message, _AT)
    reader = _Reader(_TOKEN.findall(text), names, text)
    if not reader.tokens:
        raise CompileError("the condition is empty", _AT)
    tree = reader.either(0)
    if reader.place < len(reader.tokens):
        raise reader.error(f"'and' or 'or' is missing before {reader.peek()!r}")
    return tree


class _Reader:
    """Recursive descent over the words of one condition."""

    def __init__(self, tokens: Sequence[str], names: Collection[str], text: str) -> None:
        self.tokens = tokens
        self.names = names
        self.text = text
        self.place = 0

    def error(self, message: str, known: Sequence[str] = ()) -> CompileError:
        return CompileError(message, self.text, _AT, known=tuple(known))

    def peek(self) -> str:
        return self.tokens[self.place] if self.place < len(self.tokens) else ""

    def either(self, depth: int) -> Tree:
        return self.joined("or", lambda: self.both(depth))

    def both(self, depth: int) -> Tree:
        return self.joined("and", lambda: self.negated(depth))

    def joined(self, word: str, read: Callable[[], Tree]) -> Tree:
        parts = [read()]
        while self.peek().lower() == word:
            self.place += 1
            parts.append(read())
        return parts[0] if len(parts) == 1 else [word, parts]

    def negated(self, depth: int) -> Tree:
        odd = False
        while self.peek().lower() == "not":
            self.place += 1
            odd = not odd
        tree = self.single(depth)
        return ["not", tree] if odd else tree

    def single(self, depth: int) -> Tree:
        word = self.peek()
        self.place += 1
        if word == "(":
            if depth == _DEEPEST:
                raise self.error(f"the condition is nested more than {_DEEPEST} deep")
            tree = self.either(depth + 1)
            if self.peek() != ")":
                raise self.error("a bracket is not closed")
            self.place += 1
            return tree
        if self.peek().lower() == "of":
            return self.selected(word)
        if word in self.names:
            return ["name", word]
        if word == "":
            raise self.error("the condition ends where a detection is expected")
        if word == ")" or word.lower() in ("and", "or", "of"):
            raise self.error(f"a detection is expected before {word!r}")
        raise self.error(f"Detection '{word}' not defined in detections", list(self.names))

    def selected(self, quantifier: str) -> Tree:
        if quantifier.lower() not in QUANTIFIERS:
            raise self.error(f"'{quantifier} of' is not part of the language", [f"{one} of" for one in QUANTIFIERS])
        self.place += 1
        pattern = self.peek()
        if pattern in ("", "(", ")"):
            raise self.error(f"'{quantifier} of' needs a name, a pattern or 'them'")
        self.place += 1
        chosen = [["name", name] for name in fitting(pattern, self.names)]
        if not chosen:
            raise self.error(f"the condition's {pattern!r} fits none of the rule's detections", list(self.names))
        if len(chosen) == 1:
            return chosen[0]
        return ["and" if quantifier.lower() == "all" else "or", chosen]


def fitting(pattern: str, names: Collection[str]) -> list[str]:
    """The detections that a selector means.

    ``them`` and patterns pass over names that begin with an underscore, unless the pattern begins with one.
    """
    regex = re.compile(".*" if pattern.lower() == "them" else ".*".join(map(re.escape, pattern.split("*"))))
    hidden = pattern.startswith("_")
    return [name for name in names if regex.fullmatch(name) and (hidden or not name.startswith("_"))]


def named(tree: Tree) -> set[str]:
    """The detections that a condition looks at."""
    if tree[0] == "name":
        return {tree[1]}
    if tree[0] == "not":
        return named(tree[1])
    return set().union(*(named(one) for one in tree[1]))


__all__ = ["QUANTIFIERS", "Tree", "fitting", "named", "parse_condition"]
