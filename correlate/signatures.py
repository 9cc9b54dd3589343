"""From the values of a field to small integers: the set of atoms that hold for a value, its *signature*.

Every distinct value is looked at once: equal texts by a table, pieces of texts by one pass over all new values of a
batch (``correlate.scan``), everything else value by value (``correlate.atoms``), which also confirms what the pass only
suspects. Signatures are interned; both tables live across batches, ``Plan`` bounds them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import polars as pl

from correlate.atoms import Matcher, Value, glob_regex, text_of
from correlate.buffers import exported
from correlate.columns import ABSENT, NOTHING, Codes, NumberedTexts, distinct, elements, firsts
from correlate.fold import fold
from correlate.interned import Interned
from correlate.memory import ENTRY, TEXT
from correlate.regex import Compiled, Regex, compile_regex, hyperscan_module
from correlate.scan import Literals, Patterns

Atoms = Iterable[tuple[int, str, Any]]
"""(number of the atom, operator, payload), see ``correlate.ir``."""

_FRAMED = {"contains": ("", ""), "startswith": ("\x02", ""), "endswith": ("", "\x03")}
_LONG_TEXT = 1 << 20
_LONG = 200  # bytes of a text, on average, from which copying it costs more than looking for it where it lies
_NONE = np.zeros(0, np.int64)
_TRUE = object()
_FALSE = object()


class Signatures(Interned):
    """The atoms of one field, and what is remembered of its values."""

    def __init__(self, atoms: Atoms, *, one_pass: bool = True, kept: bytes = b"") -> None:
        """Prepare.

        Args:
            atoms: All that the rules ask of the field.
            one_pass: Use Hyperscan where it is installed.
            kept: What ``dump`` of the same atoms gave.
        """
        self._all = list(atoms)
        self._one_pass = one_pass
        self._kept = kept
        self._equal: dict[str, list[int]] = {}
        present: list[int] = []
        self._scanned: list[tuple[int, bytes, bool]] = []  # atom, literal, sure: it need not be confirmed
        rest: list[tuple[int, str, Any]] = []
        regexes: list[tuple[int, str, Any]] = []
        self._letters: list[tuple[int, str]] = []
        self._sole: dict[int, tuple[str, Any]] = {}
        for atom, op, payload in self._all:
            if op == "eq":
                self._equal.setdefault(payload, []).append(atom)
            elif op in ("contains", "containsc") and payload == "":
                present.append(atom)
            elif op in _FRAMED and _telling(payload, anchored=op != "contains"):
                before, after = _FRAMED[op]
                self._scanned.append((atom, _bytes(before + payload + after), True))
            elif op == "glob" and _telling(longest := _longest(payload)):
                self._scanned.append((atom, _bytes(longest), False))
                self._sole[atom] = (op, payload)
            elif op == "re":
                regexes.append((atom, op, payload))
            elif op == "contains" and len(payload) == 1 and not _framing(payload):
                self._letters.append((atom, payload))
            else:
                rest.append((atom, op, payload))
        self._regexes: list[int] = []
        if regexes and one_pass and hyperscan_module() is not None:
            self._regexes = [atom for atom, _, _ in regexes]
            self._sole.update({atom: (op, payload) for atom, op, payload in regexes})
        else:
            rest += regexes
        self._present = frozenset(present)
        self._scanned_atoms = np.array([atom for atom, _, _ in self._scanned], np.int64)
        self._certain = np.array([sure for _, _, sure in self._scanned], bool)
        self.matcher = Matcher(rest, one_pass=False)
        self.matcher.needs_text = self.matcher.needs_text or bool(
            self._equal or self._regexes or self._scanned or self._letters
        )
        self._rest = any(op != "null" for _, op, _ in rest)
        framed = any(op in ("startswith", "endswith") for _, op, _ in self._all)
        native = one_pass and hyperscan_module() is not None
        self._bare = native and not (framed or self._equal or self._letters or self._rest) and bool(self._scanned)
        self._patterns: Patterns | None = None
        self._confirm: dict[int, Regex] = {}
        self._literals: Literals | None = None
        self._whole: Matcher | None = None
        self.reset()

    def reset(self) -> None:
        """Forget all; signatures given before mean nothing after."""
        self.start(self.matcher.absent)
        self._by_bytes: dict[bytes, int] = {}
        self._known: dict[Any, int] = {None: ABSENT}
        # Texts of columns: Polars numbers them from 0, and keeps them; here their signature by number.
        self._categories = pl.Categorical(pl.Categories.random())
        self._anchor = pl.Series(dtype=self._categories)  # Polars forgets categories when no column has them
        self._by_number: Codes = _NONE

    def prepare(self) -> None:
        """Build the passes now, not when the first text comes."""
        literals, patterns = unpacked(self._kept)
        if self._literals is None and self._scanned:
            self._literals = Literals(
                [one for _, one, _ in self._scanned], caseless=self._bare, one_pass=self._one_pass, kept=literals
            )
        if self._patterns is None and self._regexes:
            self._patterns = Patterns([self._sole[atom][1] for atom in self._regexes], kept=patterns)
        self._kept = b""

    def dump(self) -> bytes | None:
        """The compiled passes, for this machine and this version of Hyperscan; None if there are none."""
        self.prepare()
        literals = self._literals.dump() if self._literals is not None else None
        patterns = self._patterns.dump() if self._patterns is not None else None
        return packed(literals, patterns) if literals or patterns else None

    def encode(self, series: pl.Series) -> Codes:
        """Signature of each row of a column, ``int64[n]``."""
        if isinstance(series.dtype, pl.List):
            inner, rows = elements(series)
            result = np.zeros(len(series), np.int64)
            result[rows] = NOTHING
            return self._joined(result, rows, self.encode(inner))
        codes, values = distinct(series, self.matcher)
        table = np.empty(len(values) + 1, np.int64)
        table[:-1] = self._codes(_keys(values) if series.dtype == pl.Boolean else values)
        table[-1] = ABSENT  # rows without a value have code -1
        return table[codes]

    def numbered(self, rows: Codes | None, texts: pl.Series) -> NumberedTexts:
        """Number the texts of a column without holes.

        Args:
            rows: Where they stand in a column with holes; None: it has none.
            texts: The column.
        """
        numbers = texts.cast(self._categories).to_physical().to_numpy().astype(np.int64)
        known = len(self._by_number)
        if int(numbers.max(initial=-1)) < known:
            return NumberedTexts(rows, texts, numbers, known, _NONE, texts.clear())
        first = firsts(numbers, numbers >= known)
        return NumberedTexts(rows, texts, numbers, known, numbers[first], texts.gather(first))

    def encode_numbered(self, texts: NumberedTexts) -> Codes:
        """Signature of each text that ``numbered`` has numbered, ``int64[n]``."""
        if len(texts.new_numbers):
            top = int(texts.new_numbers.max()) + 1
            more = top - len(self._by_number)
            self.remembered += more * TEXT + int(texts.new.str.len_bytes().sum())
            self._by_number = np.concatenate([self._by_number, np.full(more, NOTHING, np.int64)])
            self._by_number[texts.new_numbers] = self._signatures_in(texts.new)
        return self._by_number[texts.numbers]

    def _signatures_in(self, texts: pl.Series) -> Sequence[int] | Codes:
        """Signatures of the texts of a column without holes; long ones are searched where they lie, if that can be."""
        if not self._bare or int(texts.str.len_bytes().sum()) < _LONG * len(texts):
            return self.signatures_of(texts.to_list())
        plain = texts.str.len_bytes() == texts.str.len_chars()
        if self._regexes:
            plain &= ~texts.str.contains("\v", literal=True)
        odd = texts.filter(~plain)
        found = self._where_they_lie(texts.filter(plain) if len(odd) else texts)
        if not len(odd):
            return found
        codes = np.empty(len(texts), np.int64)
        there = plain.to_numpy()
        codes[there] = found
        codes[~there] = self.signatures_of(odd.to_list())
        return codes

    def _where_they_lie(self, texts: pl.Series) -> list[int]:
        """Signatures of texts of ASCII without a vertical tab, none of them made into an object or copied."""
        self.prepare()
        literals = self._literals
        more: dict[int, list[int]] = {}
        sure: tuple[Codes, Codes] = (_NONE, _NONE)
        with exported(texts.to_frame()) as columns:
            if literals is None or columns is None:
                return self.signatures_of(texts.to_list())
            pieces = columns[texts.name]
            found = [literals.find_in(piece) for piece in pieces]
            width = len(self._scanned)
            pairs = np.unique(np.concatenate([_NONE, *(rows * width + numbers for rows, numbers in found)]))
            sure = self._sorted_out(pairs // width, pairs % width, lambda place: fold(texts[place]), more)
            if self._patterns is not None:
                for piece in pieces:
                    for place, text in enumerate(piece.each(), piece.first):
                        held = self._patterns_held(*self._patterns.find_in(text), partial(str, text, "ascii"))
                        if held:
                            more.setdefault(place, []).extend(held)
        return self._interned(len(texts), sure, more)

    def signatures_of(self, texts: list[str]) -> list[int]:
        """Signatures of texts, each once; the caller remembers them."""
        known = self._known
        if len(known) == 1:
            return self._signatures(texts)
        new = [text for text in texts if text not in known]
        found = dict(zip(new, self._signatures(new), strict=True)) if new else {}
        return [found[text] if text in found else known[text] for text in texts]

    @property
    def reads_bytes(self) -> bool:
        """Whether ``signatures_framed`` can be asked."""
        return not self._rest

    def signatures_framed(self, plain: memoryview, folded: memoryview, ends: Codes) -> list[int]:
        """Signatures of texts in ASCII, STX before and ETX behind each and nowhere else; the caller remembers them.

        Args:
            plain: The texts.
            folded: The same, folded.
            ends: Where each ends in both, its ETX included, ``int64[n]``.
        """
        self.prepare()
        more: dict[int, list[int]] = {}
        sure: tuple[Codes, Codes] = (_NONE, _NONE)
        starts = [0, *ends.tolist()]

        def text(place: int, letters: memoryview = folded) -> str:
            return str(letters[starts[place] + 1 : starts[place + 1] - 1], "ascii")

        if self._equal:
            sizes = np.unique([len(one) + 2 for one in self._equal])
            for place in np.flatnonzero(np.isin(np.diff(ends, prepend=0), sizes)).tolist():
                atoms = self._equal.get(text(place))
                if atoms is not None:
                    more[place] = list(atoms)
        if self._literals is not None:
            sure = self._sorted_out(*self._literals.find(folded, ends), text, more)
        if self._letters:
            for place in range(len(ends)):
                whole = text(place)
                if held := [atom for atom, letter in self._letters if letter in whole]:
                    more.setdefault(place, []).extend(held)
        if self._patterns is not None:
            for place in range(len(ends)):
                piece = plain[starts[place] + 1 : starts[place + 1] - 1]
                if held := self._patterns_held(*self._patterns.find_in(piece), partial(text, place, plain)):
                    more.setdefault(place, []).extend(held)
        return self._interned(len(ends), sure, more)

    def encode_values(self, values: Sequence[Any]) -> Codes:
        """Signature of each of some values, as JSON has them: None is no value, a list has each of its elements."""
        kinds = set(map(type, values))
        if list in kinds:
            inner: list[Any] = []
            rows: list[int] = []
            result = np.zeros(len(values), np.int64)
            for row, value in enumerate(values):
                if isinstance(value, list):
                    there = [one for one in value if one is not None and not isinstance(one, (list, dict))]
                    inner += there
                    rows += [row] * len(there)
                elif value is not None:
                    inner.append(value)
                    rows.append(row)
            places = np.array(rows, np.int64)
            result[places] = NOTHING
            return self._joined(result, places, self.encode_values(inner))
        return self._codes(_keys(values) if bool in kinds else values)

    def _codes(self, values: Sequence[Any]) -> Codes:
        try:
            return np.fromiter(map(self._known.__getitem__, values), np.int64, len(values))
        except KeyError:
            known = self._known
            new = [value for value in dict.fromkeys(values) if value not in known]
            known.update(zip(new, self._signatures([_plain(one) for one in new]), strict=True))
            self.remembered += sum(ENTRY + (len(one) if isinstance(one, str) else 0) for one in new)
            return np.fromiter(map(known.__getitem__, values), np.int64, len(values))

    def _joined(self, result: Codes, rows: Codes, codes: Codes) -> Codes:
        """A list has the atoms of all its elements."""
        telling = codes > NOTHING
        rows, codes = rows[telling], codes[telling]
        single = np.ones(len(rows), bool)
        same = rows[1:] == rows[:-1]
        single[1:] &= ~same
        single[:-1] &= ~same
        result[rows[single]] = codes[single]
        joined: dict[int, frozenset[int]] = {}
        for row, code in zip(rows[~single].tolist(), codes[~single].tolist(), strict=True):
            joined[row] = joined.get(row, frozenset()) | self.sets[code]
        for row, holds in joined.items():
            result[row] = self.intern(holds)
        return result

    def _signatures(self, values: Sequence[Value]) -> list[int]:
        """Signature of each of some values that are new."""
        more: dict[int, list[int]] = {}  # place to atoms beside those that the pass over literals is sure of
        sure: tuple[Codes, Codes] = (_NONE, _NONE)
        if self._equal or self._scanned or self._regexes or self._letters:
            self.prepare()
            texts = [value if isinstance(value, str) else text_of(value) for value in values]
            folded = [fold(text) for text in texts]
            if self._equal:
                for place, atoms in enumerate(map(self._equal.get, folded)):
                    if atoms is not None:
                        more[place] = list(atoms)
            if self._scanned:
                sure = self._scan(values, folded, more)
            if self._letters:
                for place, text in enumerate(folded):
                    if held := [atom for atom, letter in self._letters if letter in text]:
                        more.setdefault(place, []).extend(held)
            if self._patterns is not None:
                for place, text in enumerate(texts):
                    if held := self._patterns_held(*self._patterns.find(text), text.__str__):
                        more.setdefault(place, []).extend(held)
        if self._rest:
            for place, value in enumerate(values):
                holds = self.matcher.holds(value)
                if holds:
                    more.setdefault(place, []).extend(holds)
        return self._interned(len(values), sure, more)

    def _interned(self, count: int, sure: tuple[Codes, Codes], more: Mapping[int, Sequence[int]]) -> list[int]:
        """Signatures out of (places, rising, and their atoms) and of more atoms by place."""
        places, atoms = sure
        result = [self.intern(self._present)] * count if self._present else [NOTHING] * count
        edges = np.flatnonzero(np.diff(places, prepend=-1, append=-1)).tolist() if len(places) else [0]
        for at, begin in enumerate(edges[:-1]):
            place = int(places[begin])
            some = atoms[begin : edges[at + 1]]
            if place in more:
                result[place] = self.intern(self._present.union(some.tolist(), more[place]))
                continue
            key = some.tobytes()
            code = self._by_bytes.get(key)
            if code is None:
                code = self._by_bytes[key] = self.intern(self._present.union(some.tolist()))
                self.remembered += ENTRY + len(key)
            result[place] = code
        done = frozenset(places[edges[:-1]].tolist()) if len(places) else frozenset()
        for place, others in more.items():
            if place not in done:
                result[place] = self.intern(self._present.union(others))
        return result

    def _scan(self, values: Sequence[Value], folded: Sequence[str], more: dict[int, list[int]]) -> tuple[Codes, Codes]:
        """Look for literals; what needs to be confirmed goes to ``more``, the rest comes back by place, rising."""
        literals = self._literals
        if literals is None:
            return _NONE, _NONE
        pieces = [f"\x02{text}\x03" for text in folded]
        if any(map(_framing, folded)):
            for place, text in enumerate(folded):
                if _framing(text):
                    more.setdefault(place, []).extend(self._slowly(values[place]))
                    pieces[place] = "\x02\x03"
        found_places: list[Codes] = []
        found_atoms: list[Codes] = []
        begin = 0
        while begin < len(pieces):
            size, end = 0, begin
            while end < len(pieces) and size < _LONG_TEXT:
                size += len(pieces[end])
                end += 1
            some = pieces[begin:end]
            text = "".join(some)
            lengths = map(len, some) if text.isascii() else (len(_bytes(one)) for one in some)
            places, found = literals.find(_bytes(text), np.cumsum(np.fromiter(lengths, np.int64, len(some))))
            places, atoms = self._sorted_out(places + begin, found, folded.__getitem__, more)
            found_places.append(places)
            found_atoms.append(atoms)
            begin = end
        return np.concatenate(found_places), np.concatenate(found_atoms)

    def _sorted_out(
        self, places: Codes, found: Codes, folded: Callable[[int], str], more: dict[int, list[int]]
    ) -> tuple[Codes, Codes]:
        """Places and atoms of literals that were found, if they are sure; what is confirmed goes to ``more``."""
        certain = self._certain[found]
        for place, number in zip(places[~certain].tolist(), found[~certain].tolist(), strict=True):
            atom = self._scanned[number][0]
            if self._holds(atom, folded(place)):
                more.setdefault(place, []).append(atom)
        return places[certain], self._scanned_atoms[found[certain]]

    def _patterns_held(self, sure: list[int], suspected: list[int], text: Callable[[], str]) -> list[int]:
        """Atoms of patterns, those that are only suspected if they hold."""
        held = [self._regexes[one] for one in sure]
        if suspected:
            whole = text()
            held += [atom for atom in (self._regexes[one] for one in suspected) if self._holds(atom, whole)]
        return held

    def _holds(self, atom: int, text: str) -> bool:
        """Whether an atom that the pass suspects does hold; the text of a glob is folded."""
        sole = self._confirm.get(atom)
        if sole is None:
            op, payload = self._sole[atom]
            if op == "glob" and 1 not in payload:
                return in_order(payload, text)
            sole = self._confirm[atom] = Compiled(glob_regex(payload)) if op == "glob" else compile_regex(*payload)
        return bool(sole.search(text))

    def _slowly(self, value: Value) -> frozenset[int]:
        """All atoms of a value that holds the bytes which frame values in the pass."""
        if self._whole is None:
            self._whole = Matcher(self._all, one_pass=False)
        return self._whole.holds(value)


def in_order(parts: Sequence[Any], text: str) -> bool:
    """Whether a whole text is these pieces of text, in this order, with anything in place of each 0 between them."""
    at, end = 0, len(text)
    pieces = list(parts)
    if pieces[0] != 0:
        first = pieces.pop(0)
        if not text.startswith(first):
            return False
        at = len(first)
    if pieces[-1] != 0:
        last = pieces.pop()
        if not text.endswith(last):
            return False
        end -= len(last)
    for piece in pieces:
        if piece != 0:
            at = text.find(piece, at)
            if at < 0:
                return False
            at += len(piece)
    return at <= end


def packed(*blobs: bytes | None) -> bytes:
    """Several blobs as one."""
    return b"".join(len(blob or b"").to_bytes(8, "big") + (blob or b"") for blob in blobs)


def unpacked(data: bytes) -> tuple[bytes, bytes]:
    """Two blobs of one; both empty if it is."""
    if not data:
        return b"", b""
    size = int.from_bytes(data[:8], "big")
    return data[8 : 8 + size], data[16 + size :]


def _keys(values: Sequence[Any]) -> Sequence[Any]:
    """Values as they are remembered: True is 1 to a dictionary."""
    return [one if not isinstance(one, bool) else _TRUE if one else _FALSE for one in values]


def _plain(value: Any) -> Any:
    return True if value is _TRUE else False if value is _FALSE else value


def _telling(literal: str, *, anchored: bool = False) -> bool:
    """Whether a pass should look for it; one letter is found so often that telling it costs more than a look.

    Hyperscan ends a pattern at a NUL.
    """
    long = anchored or len(literal) > 1 or not literal.isascii()
    return literal != "" and long and not _framing(literal) and "\0" not in literal


def _framing(text: str) -> bool:
    return "\x02" in text or "\x03" in text


def _longest(parts: Sequence[Any]) -> str:
    return max((part for part in parts if isinstance(part, str)), key=len, default="")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


__all__ = ["Atoms", "Signatures"]
