"""From the values of a field to small integers: the set of atoms that hold for a value, its *signature*.

Every distinct value is looked at once: equal texts by a table, pieces of texts by one pass over all new values of a
batch (``correlate.scan``), everything else value by value (``correlate.atoms``), which also confirms what the pass only
suspects. Signatures are interned; both tables live across batches, ``Plan`` bounds them.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import polars as pl

from correlate.atoms import Matcher, Value, glob_regex, text_of
from correlate.buffers import exported
from correlate.columns import ABSENT, NO_TEXT, NOTHING, Codes, NumberedTexts, distinct, elements, firsts
from correlate.fold import fold
from correlate.interned import Held, Interned, once
from correlate.memory import ENTRY, TEXT
from correlate.regex import Compiled, Regex, compile_regex, hyperscan_module
from correlate.scan import Literals, Patterns

if TYPE_CHECKING:
    from sensor.pieces import Pieces

Atoms = Iterable[tuple[int, str, Any]]
"""(number of the atom, operator, payload), see ``correlate.ir``."""

_ODD = "[\x02\x03\v]"  # see ``Patterns.find``
_LETTERS = re.compile("[a-z]")  # large ones in a text are another text to a number
_NOBODYS = secrets.token_hex()  # a text that no event has: its number is that of rows without one
_FRAMED = {"contains": ("", ""), "startswith": ("\x02", ""), "endswith": ("", "\x03")}
_SOME = 100  # texts from which asking Polars costs less than making objects
_BETWEEN = "\x03\x02"
_LONG_TEXT = 1 << 20
_LONG = 200  # bytes of a text, on average, from which copying it costs more than looking for it where it lies
_DENSE = 160  # bytes for each find below which a kernel is faster than Hyperscan, which calls Python each time
_MANY = 8  # finds for each literal after which it is worth to prepare the kernel
_VAST = 1_000  # bytes of a text, on average, from which remembering it costs as much as looking at it again
_SAMPLE = 256
_TRAITS = 1 << 13  # of texts that equality is asked of: size, last letter and one in the middle, mixed
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
        spelled: list[tuple[str, int]] = []  # texts that stand for numbers and booleans
        for atom, op, payload in self._all:
            if op == "bool" or (op == "num" and not _LETTERS.search(text_of(payload))):
                spelled.append((text_of(payload), atom))
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
        self._regex_atoms = np.array(self._regexes, np.int64)
        self._in_all = frozenset(present)
        self._scanned_atoms = np.array([atom for atom, _, _ in self._scanned], np.int64)
        self._certain = np.array([sure for _, _, sure in self._scanned], bool)
        self.matcher = Matcher(rest, one_pass=False)
        self.matcher.needs_text = self.matcher.needs_text or bool(
            self._equal or self._regexes or self._scanned or self._letters
        )
        self._rest = any(op != "null" for _, op, _ in rest)
        self._rest_of_texts = len([op for _, op, _ in rest if op != "null"]) > len(spelled)
        self._equal_texts = {text: list(atoms) for text, atoms in self._equal.items()}
        for text, atom in spelled:
            self._equal_texts.setdefault(text, []).append(atom)
        framed = any(op in ("startswith", "endswith") for _, op, _ in self._all)
        native = one_pass and hyperscan_module() is not None
        self._bare = native and not (framed or self._equal or self._letters or self._rest) and bool(self._scanned)
        self._patterns: Patterns | None = None
        self._confirm: dict[int, Regex] = {}
        self._literals: Literals | None = None
        self._whole: Matcher | None = None
        self._traits: npt.NDArray[np.bool_] | None = None
        self._pieces: Pieces | None = None
        self.reset()

    def reset(self) -> None:
        """Forget all; signatures given before mean nothing after."""
        width = max((atom for atom, _, _ in self._all), default=0) + 1
        self.start(self.matcher.absent, self._in_all, width)
        self._known: dict[Any, int] = {None: ABSENT}
        # Texts of columns: Polars numbers them from 0, and keeps them; here their signature by number.
        self._categories = pl.Categorical(pl.Categories.random())
        self._anchor = pl.Series([_NOBODYS], dtype=self._categories)  # Polars forgets categories that no column has
        self._by_number: Codes = np.full(NO_TEXT + 1, ABSENT, np.int64)

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

    def come_again(self, texts: pl.Series) -> bool:
        """Whether it is worth to remember the texts of a column: not if they are vast and seldom the same."""
        if not self._bare or int(texts.str.len_bytes().sum() or 0) < _VAST * (len(texts) - texts.null_count()):
            return True
        sample = texts.drop_nulls().head(_SAMPLE)
        return 2 * sample.n_unique() < len(sample)

    def encode_texts(self, column: pl.Series) -> Codes:
        """Signature of each row of a column of texts, ``int64[n]``; they are not remembered."""
        there = column.is_not_null()
        codes = np.zeros(len(column), np.int64)
        codes[there.to_numpy()] = self._signatures_in(column.filter(there))
        return codes

    def numbering(self, name: str) -> pl.Expr:
        """Numbers of the texts of a column, for ``numbered``."""
        return pl.col(name).cast(self._categories).to_physical().cast(pl.UInt32).fill_null(NO_TEXT)

    def numbered(self, column: pl.Series, raw: pl.Series) -> NumberedTexts:
        """The texts of a column and their numbers.

        Args:
            column: It may have holes.
            raw: What ``numbering`` made of it.
        """
        numbers = raw.to_numpy()
        known = len(self._by_number)
        if int(numbers.max(initial=NO_TEXT)) < known:
            return NumberedTexts(column, numbers, known, numbers[:0], column.clear())
        first = firsts(numbers, numbers >= known)
        return NumberedTexts(column, numbers, known, numbers[first], column[first])

    def encode_numbered(self, texts: NumberedTexts) -> Codes:
        """Signature of each row of a column that ``numbered`` has numbered, ``int64[n]``."""
        if len(texts.new_numbers):
            top = int(texts.new_numbers.max()) + 1
            more = top - len(self._by_number)
            self.remembered += more * TEXT
            self._by_number = np.concatenate([self._by_number, np.full(more, NOTHING, np.int64)])
            self._by_number[texts.new_numbers] = self._signatures_in(texts.new)
            self.remembered += int(texts.new.str.len_bytes().sum() or 0)
        return self._by_number[texts.numbers]

    def _signatures_in(self, texts: pl.Series) -> Codes:
        """Signatures of the texts of a column without holes; no plain text is made into an object for it."""
        codes = np.empty(len(texts), np.int64)
        if len(texts) < _SOME or not (self._equal_texts or self._scanned or self._regexes or self._letters):
            objects = texts.to_list()
            codes[:] = self.signatures_of(objects)
            return codes
        sizes, letters, odd = texts.to_frame("text").select(
            pl.col("text").str.len_bytes().alias("bytes"),
            pl.col("text").str.len_chars().alias("letters"),
            pl.col("text").str.contains(_ODD).alias("odd"),
        )
        plain = (sizes == letters) & ~odd
        if plain.all():
            return self._plain_signatures(texts, sizes)
        there = plain.to_numpy()
        codes[~there] = self.signatures_of(texts.filter(~plain).to_list())
        codes[there] = self._plain_signatures(texts.filter(plain), sizes.filter(plain))
        return codes

    def _plain_signatures(self, texts: pl.Series, sizes: pl.Series) -> Codes:
        """Signatures of texts of ASCII without vertical tabs and frames; ``sizes`` are their bytes."""
        codes = np.empty(len(texts), np.int64)
        if self._bare and int(sizes.sum()) >= _LONG * len(texts):
            codes[:] = self._where_they_lie(texts)
            return codes
        ends = np.cumsum(sizes.to_numpy().astype(np.int64) + 2)
        edges = np.flatnonzero(np.diff(ends // _LONG_TEXT, prepend=-1, append=-1)).tolist() if len(ends) else [0]
        for begin, end in pairwise(edges):
            framed = f"\x02{texts[begin:end].str.join(_BETWEEN)[0]}\x03".encode()
            some = ends[begin:end] - (int(ends[begin - 1]) if begin else 0)
            codes[begin:end] = self.signatures_framed(memoryview(framed), memoryview(framed.lower()), some)
        return codes

    def _where_they_lie(self, texts: pl.Series) -> list[int]:
        """Likewise, of long texts: literals are looked for where they lie."""
        self.prepare()
        literals = self._literals
        held = Held()
        with exported(texts.to_frame()) as columns:
            if literals is None or columns is None:
                return self.signatures_of(texts.to_list())
            pieces = columns[texts.name]
            found = [literals.find_in(piece) for piece in pieces]
            width = len(self._scanned)
            pairs = once(np.concatenate([_NONE, *(rows * width + numbers for rows, numbers in found)]))
            self._sort_out(pairs // width, pairs % width, lambda place: fold(texts[place]), held)
            if self._patterns is not None:
                some = [part for piece in pieces for text in piece.each() for part in (b"\x02", text, b"\x03")]
                sizes = texts.str.len_bytes().to_numpy().astype(np.int64)
                self._find_patterns(b"".join(some), np.cumsum(sizes + 2), texts.__getitem__, held)
        return list(self.intern_each(len(texts), held).tolist())

    def signatures_of(self, texts: list[str]) -> list[int]:
        """Signatures of texts, each once; the caller remembers them."""
        known = self._known
        if len(known) == 1:
            return self._signatures(texts)
        new = [text for text in texts if text not in known]
        found = dict(zip(new, self._signatures(new), strict=True)) if new else {}
        return [found[text] if text in found else known[text] for text in texts]

    def signatures_framed(self, plain: memoryview, folded: memoryview, ends: Codes, *, kernels: bool = False) -> Codes:
        """Signatures of texts in ASCII, STX before and ETX behind each and nowhere else; the caller remembers them.

        Args:
            plain: The texts, without vertical tabs.
            folded: The same, folded.
            ends: Where each ends in both, its ETX included, ``int64[n]``.
            kernels: Kernels are loaded anyway, so they may be used where they are faster.

        Returns:
            ``int64[n]``.
        """
        self.prepare()
        held = Held()
        starts = [0, *ends.tolist()]

        def text(place: int, letters: memoryview = plain) -> str:
            return str(letters[starts[place] + 1 : starts[place + 1] - 1], "ascii")

        if self._pieces is not None:
            places, found = self._pieces.find(np.frombuffer(folded, np.uint8), ends)
            self._sort_out(places, found, partial(text, letters=folded), held)
        else:
            self._look_for_pieces(folded, ends, partial(text, letters=folded), held, kernels=kernels)
        for atom, letter in self._letters:
            if letter.isascii():
                there = np.frombuffer(folded, np.uint8) == ord(letter)
                places = np.flatnonzero(np.logical_or.reduceat(there, starts[:-1])) if len(ends) else _NONE
                held.parts.append((places, np.full(len(places), atom)))
        if self._patterns is not None:
            self._find_patterns(plain, ends, text, held)
        if self._rest_of_texts:
            for place in range(len(ends)):
                held.add(place, self.matcher.holds(text(place)))
        return self.intern_each(len(ends), held)

    def _look_for_pieces(
        self, folded: memoryview, ends: Codes, text: Callable[[int], str], held: Held, *, kernels: bool
    ) -> None:
        """Look for whole texts and for literals without a kernel; prepare one where it would be faster."""
        if self._equal_texts:
            for place in np.flatnonzero(self._equal_traits()[_traits(folded, ends)]).tolist():
                if atoms := self._equal_texts.get(text(place)):
                    held.add(place, atoms)
        literals = self._literals
        if literals is None:
            return
        self._sort_out(*literals.find(folded, ends), text, held)
        dense = literals.finds * _DENSE > literals.searched and literals.finds > _MANY * len(self._scanned)
        if kernels and (dense or not literals.native):
            from sensor.pieces import Pieces

            # A whole text is a piece between frames.
            equal = [
                (atom, _bytes(f"\x02{whole}\x03"))
                for whole, atoms in self._equal_texts.items()
                if not _framing(whole)
                for atom in atoms
            ]
            self._pieces = Pieces([*(one for _, one, _ in self._scanned), *(one for _, one in equal)])
            self._scanned_atoms = np.append(self._scanned_atoms, np.array([atom for atom, _ in equal], np.int64))
            self._certain = np.append(self._certain, np.ones(len(equal), np.bool_))

    def _equal_traits(self) -> npt.NDArray[np.bool_]:
        """Which traits of a text the texts have that equality is asked of."""
        if self._traits is None:
            some = [_bytes(f"\x02{one}\x03") for one in self._equal_texts]
            ends = np.cumsum(np.fromiter(map(len, some), np.int64, len(some)))
            self._traits = np.zeros(_TRAITS, np.bool_)
            self._traits[_traits(b"".join(some), ends)] = True
        return self._traits

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
        held = Held()
        if self._equal or self._scanned or self._regexes or self._letters:
            self.prepare()
            texts = [value if isinstance(value, str) else text_of(value) for value in values]
            folded = [fold(text) for text in texts]
            if self._equal:
                for place, atoms in enumerate(map(self._equal.get, folded)):
                    if atoms is not None:
                        held.add(place, atoms)
            if self._scanned:
                self._scan(values, folded, held)
            if self._letters:
                for place, text in enumerate(folded):
                    held.add(place, [atom for atom, letter in self._letters if letter in text])
            if self._patterns is not None:
                self._look_for_patterns(texts, held)
        if self._rest:
            for place, value in enumerate(values):
                held.add(place, self.matcher.holds(value))
        return list(self.intern_each(len(values), held).tolist())

    def _scan(self, values: Sequence[Value], folded: Sequence[str], held: Held) -> None:
        """Look for literals."""
        literals = self._literals
        if literals is None:
            return
        pieces = [f"\x02{text}\x03" for text in folded]
        if any(map(_framing, folded)):
            for place, text in enumerate(folded):
                if _framing(text):
                    held.add(place, self._slowly(values[place]))
                    pieces[place] = "\x02\x03"
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
            self._sort_out(places + begin, found, folded.__getitem__, held)
            begin = end

    def _sort_out(self, places: Codes, found: Codes, folded: Callable[[int], str], held: Held) -> None:
        """Take in literals that were found, if they are sure or hold."""
        certain = self._certain[found]
        held.parts.append((places[certain], self._scanned_atoms[found[certain]]))
        for place, number in zip(places[~certain].tolist(), found[~certain].tolist(), strict=True):
            atom = self._scanned[number][0]
            if self._holds(atom, folded(place)):
                held.add(place, (atom,))

    def _look_for_patterns(self, texts: Sequence[str], held: Held) -> None:
        """Look for patterns in any texts."""
        odd = [place for place, text in enumerate(texts) if not text.isascii() or _framing(text) or "\v" in text]
        for place in odd:
            held.add(place, [atom for atom in self._regexes if self._holds(atom, texts[place])])
        some = sorted(set(range(len(texts))).difference(odd)) if odd else range(len(texts))
        pieces = [f"\x02{texts[place]}\x03" for place in some]
        ends = np.cumsum(np.fromiter(map(len, pieces), np.int64, len(pieces)))
        self._find_patterns("".join(pieces).encode(), ends, texts.__getitem__, held, some if odd else None)

    def _find_patterns(
        self,
        plain: bytes | memoryview,
        ends: Codes,
        text: Callable[[int], str],
        held: Held,
        those: Sequence[int] | None = None,
    ) -> None:
        """Look for patterns, see ``Patterns.find``; ``those`` are the places of the texts if they are not all."""
        patterns = self._patterns
        if patterns is None:
            return
        places, found, sure = patterns.find(plain, ends)
        if those is not None:
            places = np.array(those, np.int64)[places]
        atoms = self._regex_atoms[found]
        held.parts.append((places[sure], atoms[sure]))
        suspected = list(zip(places[~sure].tolist(), atoms[~sure].tolist(), strict=True))
        every = range(len(ends)) if those is None else those
        suspected += [(place, self._regexes[one]) for one in patterns.alone for place in every]
        for place, atom in suspected:
            if self._holds(atom, text(place)):
                held.add(place, (atom,))

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


def _traits(letters: bytes | memoryview, ends: Codes) -> Codes:
    """What equal texts share, below ``_TRAITS``."""
    data = np.frombuffer(letters, np.uint8)
    sizes = ends.copy()
    sizes[1:] -= ends[:-1]
    return (257 * sizes + 31 * data[ends - 2].astype(np.int64) + data[ends - 1 - (sizes >> 1)]) & (_TRAITS - 1)


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
