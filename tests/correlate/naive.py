"""A Sigma evaluator as plain as can be, to hold the engine against.

Written from the Sigma specification 2.1 over the YAML of a rule and events as dictionaries. It shares nothing with the
engine: no import, no table, no idea. One event at a time, one value at a time, no plan, no cache; slow by intent.

Where the specification leaves a choice, docs/sigma-language.md says what was chosen.
"""

from __future__ import annotations

import base64
import fnmatch
import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from ipaddress import ip_address, ip_network
from typing import Any

Event = Mapping[str, Any]
DASHES = "-/–—―"
TIME_PARTS = ("minute", "hour", "day", "week", "month", "year")
COMPARE = {
    "gt": lambda a, b: a > b,
    "gte": lambda a, b: a >= b,
    "lt": lambda a, b: a < b,
    "lte": lambda a, b: a <= b,
    "eq": lambda a, b: a == b,
}


def rule_matches(
    rule: Mapping[str, Any],
    event: Event,
    *,
    placeholders: Mapping[str, Sequence[str]] | None = None,
    filters: Iterable[Mapping[str, Any]] = (),
    names: Mapping[str, str] | None = None,
) -> bool:
    """Whether a rule, as YAML gives it, matches an event.

    names: Names of fields in rules to names in events.
    """
    ask = Asker(event, placeholders or {}, names or {})
    answer = ask.section(rule["detection"])
    for one in filters:
        if filter_applies(one, rule):
            section = {key: value for key, value in one["filter"].items() if key != "rules"}
            answer = answer and ask.section(section)
    return answer


def filter_applies(one: Mapping[str, Any], rule: Mapping[str, Any]) -> bool:
    for key, value in one["logsource"].items():
        if key in ("product", "category", "service") and rule["logsource"].get(key) != value:
            return False
    wanted = one["filter"]["rules"]
    if wanted in ("any", []):
        return True
    wanted = [wanted] if isinstance(wanted, str) else wanted
    return rule.get("id") in wanted or rule.get("name") in wanted


# --- texts -----------------------------------------------------------------------------------------------------------


def text_of(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f") + "000Z"
    if isinstance(value, float) and value == int(value):
        return str(int(value))
    return str(value)


def same(a: str, b: str, cased: bool) -> bool:
    return a == b or (not cased and a.casefold() == b.casefold())


# A token is "*", "?", ("is", characters that may stand there) or ("hole", name of a placeholder).


def tokens_of(text: str, holes: bool) -> list[Any]:
    escapable = "*?\\%" if holes else "*?\\"
    tokens: list[Any] = []
    rest = text
    while rest:
        if rest[0] == "\\" and len(rest) > 1 and rest[1] in escapable:
            tokens.append(("is", rest[1]))
            rest = rest[2:]
        elif rest[0] in "*?":
            tokens.append(rest[0])
            rest = rest[1:]
        elif holes and (found := re.match(r"%([^%*?\\]+)%", rest)):
            tokens.append(("hole", found[1]))
            rest = rest[found.end() :]
        else:
            tokens.append(("is", rest[0]))
            rest = rest[1:]
    return tokens


def fits(tokens: Sequence[Any], text: str, cased: bool) -> bool:
    """By a table: which beginnings of the text fit which beginnings of the tokens."""
    ends = {0}
    for one in tokens:
        if one == "*":
            ends = set(range(min(ends), len(text) + 1)) if ends else ends
        elif one == "?":
            ends = {end + 1 for end in ends if end < len(text)}
        else:
            ends = {end + 1 for end in ends if end < len(text) and any(same(c, text[end], cased) for c in one[1])}
    return len(text) in ends


def spelled(tokens: Sequence[Any]) -> list[str]:
    """All texts that tokens without wildcards stand for."""
    return ["".join(chars) for chars in itertools.product(*(token[1] for token in tokens))]


def is_word(token: Any) -> bool:
    return (
        token is not None and token not in ("*", "?") and token[0] == "is" and (token[1].isalnum() or token[1] == "_")
    )


def with_dashes(tokens: list[Any]) -> list[Any]:
    around = [None, *tokens, None]
    return [
        ("is", DASHES)
        if token not in ("*", "?")
        and token[0] == "is"
        and token[1] in DASHES
        and not is_word(before)
        and is_word(after)
        else token
        for before, token, after in zip(around, around[1:], around[2:], strict=False)
    ]


def filled(tokens: list[Any], placeholders: Mapping[str, Sequence[str]]) -> list[list[Any]]:
    options = [
        [tokens_of(value, False) for value in placeholders[token[1]]] if token[0] == "hole" else [[token]]
        for token in tokens
    ]
    return [[token for part in parts for token in part] for parts in itertools.product(*options)]


def stable_base64(data: bytes) -> list[str]:
    """What stays the same whatever bytes stand around, for each number of bytes before it modulo three."""
    found = []
    for lead in range(3):
        seen = [
            base64.b64encode(before * lead + data + after * 3)
            for before in (b"\x00", b"\xff", b"\x5a")
            for after in (b"\x00", b"\xff", b"\xa5")
        ]
        length = len(base64.b64encode(bytes(lead) + data).rstrip(b"="))
        columns = list(zip(*seen, strict=True))[:length]
        found.append("".join(chr(column[0]) for column in columns if len(set(column)) == 1))
    return found


# --- the evaluator ---------------------------------------------------------------------------------------------------


class Asker:
    """Asks one event."""

    def __init__(self, event: Event, placeholders: Mapping[str, Sequence[str]], names: Mapping[str, str]) -> None:
        self.event = event
        self.placeholders = placeholders
        self.names = names

    def values(self, field: str) -> list[Any]:
        value = self.event.get(self.names.get(field, field))
        return [one for one in (value if isinstance(value, list) else [value]) if one is not None]

    def section(self, section: Mapping[str, Any]) -> bool:
        truth = {name: self.detection(value) for name, value in section.items() if name != "condition"}
        conditions = section["condition"]
        return any(condition(text, truth) for text in (conditions if isinstance(conditions, list) else [conditions]))

    def detection(self, definition: Any) -> bool:
        if isinstance(definition, Mapping):
            return all(self.item(key, wanted) for key, wanted in definition.items())
        if isinstance(definition, list):
            return any(self.detection(one) for one in definition)
        return self.wanted(None, [], definition)

    def item(self, key: str, wanted: Any) -> bool:
        field, *modifiers = key.split("|")
        one_by_one = [modifier for modifier in modifiers if modifier not in ("all", "neq")]
        answers = [
            self.wanted(field or None, one_by_one, one) for one in (wanted if isinstance(wanted, list) else [wanted])
        ]
        answer = all(answers) if "all" in modifiers else any(answers)
        return not answer if "neq" in modifiers else answer

    def wanted(self, field: str | None, modifiers: list[str], wanted: Any) -> bool:
        """Whether the field (None: the event) has what one value of a rule asks for."""
        if "exists" in modifiers:
            return bool(self.values(str(field))) is wanted
        if wanted is None:
            return not self.values(str(field))
        if "fieldref" in modifiers:
            return any(
                related(modifiers, text_of(one), text_of(other))
                for one in self.values(str(field))
                for other in self.values(wanted)
            )
        if field is not None:
            return any(self.value(value, modifiers, wanted) for value in self.values(field))
        # Keywords: in any text of the event, or, being a number, any equal number.
        for name in self.event:
            for value in self.values(name):
                if isinstance(value, str):
                    sides = set(modifiers) & {"contains", "startswith", "endswith", "re"}
                    if self.value(value, modifiers if sides else [*modifiers, "contains"], text_of(wanted)):
                        return True
                elif is_number(value) and is_number(wanted) and value == wanted and not modifiers:
                    return True
        return False

    def value(self, value: Any, modifiers: list[str], wanted: Any) -> bool:
        """Whether one value of the event is what one value of a rule asks for."""
        part = next((one for one in modifiers if one in TIME_PARTS), None)
        compare = next((one for one in modifiers if one in COMPARE), None)
        if part is not None:
            found = part_of(value, part)
            return found is not None and COMPARE[compare or "eq"](found, wanted)
        if compare is not None:
            number = number_of(value)
            return number is not None and COMPARE[compare](number, wanted)
        if "re" in modifiers:
            return self.regex(text_of(value), modifiers, text_of(wanted))
        texts = set(modifiers) - {"all"}
        if isinstance(wanted, bool) and not texts:
            return value is wanted or (isinstance(value, str) and value.casefold() == text_of(wanted))
        if is_number(wanted) and not texts:
            return value == text_of(wanted) if isinstance(value, str) else is_number(value) and value == wanted
        return self.text(text_of(value), modifiers, text_of(wanted))

    def regex(self, text: str, modifiers: list[str], pattern: str) -> bool:
        flags = re.NOFLAG
        for name, flag in (("i", re.I), ("ignorecase", re.I), ("m", re.M), ("multiline", re.M), ("s", re.S)):
            flags |= flag if name in modifiers else re.NOFLAG
        flags |= re.S if "dotall" in modifiers else re.NOFLAG
        patterns = [pattern]
        if "expand" in modifiers:
            pieces = re.split(r"(?<!\\)%([^%*?\\]+)%", pattern)
            options = [[piece] if place % 2 == 0 else self.as_regexes(piece) for place, piece in enumerate(pieces)]
            patterns = ["".join(parts) for parts in itertools.product(*options)]
        if "startswith" in modifiers:
            patterns = [rf"\A(?:{one})" for one in patterns]
        if "endswith" in modifiers:
            patterns = [rf"(?:{one})\Z" for one in patterns]
        return any(re.search(one, text, flags) for one in patterns)

    def as_regexes(self, name: str) -> list[str]:
        signs = {"*": "(?s:.*)", "?": "(?s:.)"}
        return [
            "".join(signs[token] if token in ("*", "?") else re.escape(token[1]) for token in tokens_of(value, False))
            for value in self.placeholders[name]
        ]

    def text(self, text: str, modifiers: list[str], wanted: str) -> bool:
        variants = [tokens_of(wanted, "expand" in modifiers)]
        for modifier in modifiers:
            variants = [made for one in variants for made in self.modified(modifier, one)]
        if "cidr" in modifiers:
            return any(in_network(text, network) for one in variants for network in spelled(one))
        for tokens in map(as_characters, variants):
            before = ["*"] if "contains" in modifiers or "endswith" in modifiers else []
            behind = ["*"] if "contains" in modifiers or "startswith" in modifiers else []
            if fits([*before, *tokens, *behind], text, "cased" in modifiers):
                return True
        return False

    def modified(self, modifier: str, tokens: list[Any]) -> list[list[Any]]:
        if modifier == "expand":
            return filled(tokens, self.placeholders)
        if modifier == "windash":
            return [with_dashes(tokens)]
        if modifier in ("wide", "utf16le", "utf16be", "utf16"):
            # A text of bytes: as tokens, a character for each byte; what is not ASCII needs base64 behind it.
            encoding = "utf-16-be" if modifier == "utf16be" else "utf-16-le"
            made: list[list[Any]] = [[("byte", 0xFF), ("byte", 0xFE)] if modifier == "utf16" else []]
            for token in tokens:
                if token in ("*", "?"):
                    made = [[*one, token] for one in made]
                else:
                    made = [[*one, *(("byte", b) for b in char.encode(encoding))] for one in made for char in token[1]]
            return made
        if modifier in ("base64", "base64offset"):
            found: list[list[Any]] = []
            for data in byte_strings(tokens):
                texts = [base64.b64encode(data).decode()] if modifier == "base64" else stable_base64(data)
                found += [[("is", char) for char in one] for one in texts]
            return found
        return [tokens]


def as_characters(tokens: list[Any]) -> list[Any]:
    """Bytes that no Base64 followed, as a log shows them: a character each, the byte order mark as itself."""
    if tokens[:2] == [("byte", 0xFF), ("byte", 0xFE)]:
        return [("is", "\ufeff"), *as_characters(tokens[2:])]
    return [("is", chr(token[1])) if isinstance(token, tuple) and token[0] == "byte" else token for token in tokens]


def byte_strings(tokens: list[Any]) -> list[bytes]:
    options = [[bytes([token[1]])] if token[0] == "byte" else [char.encode() for char in token[1]] for token in tokens]
    return [b"".join(parts) for parts in itertools.product(*options)]


def related(modifiers: list[str], text: str, other: str) -> bool:
    """Compare two fields; the second has no wildcards."""
    tokens: list[Any] = [("is", char) for char in other]
    both = "startswith" in modifiers and "endswith" in modifiers
    if "contains" in modifiers or both or "endswith" in modifiers:
        tokens = ["*", *tokens]
    if "contains" in modifiers or both or "startswith" in modifiers:
        tokens = [*tokens, "*"]
    return fits(tokens, text, False)


def is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def number_of(value: Any) -> float | None:
    if is_number(value):
        return value
    if isinstance(value, str) and re.fullmatch(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,4})?", value):
        return float(value)
    return None


def part_of(value: Any, part: str) -> int | None:
    if isinstance(value, str):
        if not re.fullmatch(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)?", value, re.ASCII):
            return None
        try:
            value = datetime.fromisoformat(re.sub(r"\.\d+", "", value))
        except ValueError:
            return None
        value = value if value.tzinfo else value.replace(tzinfo=UTC)
    if not isinstance(value, datetime):
        return None
    value = value.astimezone(UTC)
    return value.isocalendar()[1] if part == "week" else getattr(value, part)


def in_network(text: str, network: str) -> bool:
    try:
        return ip_address(text) in ip_network(network)
    except ValueError:
        return False


# --- conditions: to postfix, then a stack ----------------------------------------------------------------------------

BINDS = {"or": 1, "and": 2, "not": 3}


def condition(text: str, truth: Mapping[str, bool]) -> bool:
    words = re.findall(r"[()]|[^()\s]+", text)
    output: list[Any] = []
    waiting: list[str] = []
    place = 0
    while place < len(words):
        word = words[place]
        place += 1
        if word == "(":
            waiting.append(word)
        elif word == ")":
            while waiting[-1] != "(":
                output.append(waiting.pop())
            waiting.pop()
        elif word in BINDS:
            while word != "not" and waiting and waiting[-1] != "(" and BINDS[waiting[-1]] >= BINDS[word]:
                output.append(waiting.pop())
            waiting.append(word)
        elif place < len(words) and words[place] == "of":
            output.append(selector(word, words[place + 1], truth))
            place += 2
        else:
            output.append(truth[word])
    output += reversed(waiting)
    stack: list[bool] = []
    for one in output:
        if one == "not":
            stack.append(not stack.pop())
        elif one in ("and", "or"):
            second, first = stack.pop(), stack.pop()
            stack.append(first and second if one == "and" else first or second)
        else:
            stack.append(one)
    (answer,) = stack
    return answer


def selector(quantifier: str, pattern: str, truth: Mapping[str, bool]) -> bool:
    chosen = [
        answer
        for name, answer in truth.items()
        if fnmatch.fnmatchcase(name, "*" if pattern == "them" else pattern)
        and (pattern.startswith("_") or not name.startswith("_"))
    ]
    return {"1": any, "any": any, "all": all}[quantifier](chosen)
