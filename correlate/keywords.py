"""Keywords: pieces of text that are looked for in all of an event.

One pass over all texts of a batch tells where a keyword can be; only those texts are looked at (``correlate.atoms``).
The pass looks for the longest run of printable ASCII of each keyword, in either case, and for the two characters that
fold to ASCII letters without being any (KELVIN SIGN, LATIN SMALL LETTER LONG S): it suspects too much rather than
too little.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from correlate.atoms import Matcher, text_of
from correlate.buffers import Texts, exported
from correlate.columns import NO_TEXT, NOTHING, Codes, NumberedTexts, elements, firsts
from correlate.interned import Interned
from correlate.scan import Literals
from sensor.base import FREQUENT_LETTERS

NOT_SEARCHED = frozenset(
    {"event.id", "event.dataset", "event.kind", "event.module", "log.file.path", "observer.name", "flow.id"}
)
"""Columns that keywords do not look into: they are ours, not the event's content."""

ORIGINAL = "event.original"
RUN = re.compile(r"[ -~]+")
"""Printable ASCII."""
ODD = ("\N{KELVIN SIGN}".encode(), "\N{LATIN SMALL LETTER LONG S}".encode())
"""Characters beyond ASCII that fold into it."""
_SHORTEST = 3  # characters of a run below which it is found everywhere
_WINDOW = 8
_RARE = 64  # what a character counts that is not among them
_NO_TEXTS = np.full(NO_TEXT + 1, NOTHING, np.int64)
_ODD_NUMBER = re.compile(rb"[:,\[]\s*-?\d+(?:\.|[eE])")


class Keywords(Interned):
    """The keywords of a plan, and what is remembered of texts.

    Attributes:
        one_pass: Hyperscan is used where it is installed.
    """

    def __init__(
        self,
        atoms: Sequence[tuple[int, str, Any]],
        *,
        in_columns: bool = False,
        one_pass: bool = True,
        kept: bytes = b"",
    ) -> None:
        """Prepare.

        Args:
            atoms: (number of the atom, operator, payload).
            in_columns: All values of an event are in columns of their own; what else is in ``event.original`` are names
                of members and what a collector added, which are no content.
            one_pass: Use Hyperscan where it is installed.
            kept: What ``dump`` of the same atoms gave.
        """
        self.one_pass = one_pass
        self._passed_over = NOT_SEARCHED | {ORIGINAL} if in_columns else NOT_SEARCHED
        self._kept = kept
        self._texts = Matcher([one for one in atoms if one[1] != "num"], one_pass=one_pass)
        self._numbers = Matcher([one for one in atoms if one[1] == "num"], one_pass=one_pass)
        self._has_numbers = any(op == "num" for _, op, _ in atoms)
        by_run: dict[str, list[tuple[int, Matcher | None]]] = {}
        for atom, op, payload in atoms:
            run = _run(op, payload)
            sure = op == "contains" and payload == run and _window(run) == run
            by_run.setdefault(run, []).append((atom, None if sure else Matcher([(atom, op, payload)], one_pass=False)))
        self._everywhere = any(len(run) < _SHORTEST for run in by_run)
        self._runs = sorted(by_run)
        self._of_run = [by_run[run] for run in self._runs]
        self._pass: Literals | None = None
        self._json_pass: Literals | None = None
        self.reset()

    def reset(self) -> None:
        """Forget all; signatures given before mean nothing after."""
        self.start()
        self._by_number: dict[str, Codes] = {}  # column to signature by number, -1 where a text was not searched yet

    def dump(self) -> bytes | None:
        """The compiled pass over lines of JSON, see ``Literals.dump``."""
        return None if self._everywhere else self._lines_pass().dump()

    def encode(self, events: pl.DataFrame, numbered: Mapping[str, NumberedTexts] | None = None) -> Codes:
        """Signature of each row over all its texts and numbers, ``int64[n]``.

        Args:
            events: A table.
            numbered: Columns whose texts have numbers: of these, each text is searched once and remembered.
        """
        kinds = dict(zip(events.columns, events.dtypes, strict=True))
        searched = [name for name in events.columns if name not in self._passed_over]
        known = {name: one for name, one in (numbered or {}).items() if name in searched}
        texts = [name for name in searched if kinds[name] == pl.String and name not in known]
        found = list(self._in_texts(events.select(texts)))
        found += self._in_numbered(known)
        if ORIGINAL in self._passed_over and ORIGINAL in kinds and "event.kind" in kinds:
            rows = (events["event.kind"] == "pipeline_error").fill_null(False).arg_true().to_numpy()
            if len(rows):
                some = self._in_texts(events.select(ORIGINAL)[rows])
                found += [(int(rows[place]), atoms) for place, atoms in some]
        for name in searched:
            if isinstance(kinds[name], pl.List):
                series, rows = elements(events[name])
                some = self._in_texts(pl.DataFrame([series])) if series.dtype == pl.String else self._in_numbers(series)
                found += [(int(rows[place]), atoms) for place, atoms in some]
            elif self._has_numbers and kinds[name].is_numeric():
                found += self._in_numbers(events[name])
        holds: dict[int, frozenset[int]] = {}
        for row, atoms in found:
            holds[row] = holds.get(row, frozenset()) | atoms
        codes = np.full(events.height, NOTHING, np.int64)
        for row, atoms in holds.items():
            codes[row] = self.intern(atoms)
        return codes

    def _in_numbered(self, columns: Mapping[str, NumberedTexts]) -> Iterator[tuple[int, frozenset[int]]]:
        """Rows and atoms of columns whose texts have numbers."""
        new: list[pl.Series] = []
        places: list[tuple[str, npt.NDArray[np.uint32]]] = []
        for name, column in columns.items():
            table = self._by_number.get(name, _NO_TEXTS)
            more = int(column.numbers.max(initial=NO_TEXT)) + 1 - len(table)
            if more > 0:
                table = np.concatenate([table, np.full(more, -1, np.int64)])
                self.remembered += more * table.itemsize
            self._by_number[name] = table
            if (table[: column.known] >= 0).all():
                numbers, texts = column.new_numbers, column.new
            else:  # some were numbered in a batch whose texts were not searched
                first = firsts(column.numbers, table[column.numbers] < 0)
                numbers, texts = column.numbers[first], column.series[first]
            if len(numbers):
                new.append(texts.rename("texts"))
                places.append((name, numbers))
                table[numbers] = NOTHING
        if new:
            edges = np.cumsum([0, *map(len, new)])
            holds: dict[int, frozenset[int]] = {}
            for place, atoms in self._in_texts(pl.DataFrame([pl.concat(new)])):
                holds[place] = holds.get(place, frozenset()) | atoms
            for place, atoms in holds.items():
                which = int(np.searchsorted(edges, place, side="right")) - 1
                name, numbers = places[which]
                self._by_number[name][numbers[place - edges[which]]] = self.intern(atoms)
        for name, column in columns.items():
            codes = self._by_number[name][column.numbers]
            for place in np.flatnonzero(codes > NOTHING).tolist():
                yield place, self.sets[codes[place]]

    def _in_texts(self, columns: pl.DataFrame) -> Iterator[tuple[int, frozenset[int]]]:
        """Rows and atoms of columns of texts."""
        height = columns.height
        columns = columns.select(one for one in columns if one.null_count() < height)
        if not columns.width:
            return
        if not self._everywhere and self._ready().native:
            with exported(columns) as texts:
                if texts is not None:
                    for name, some in texts.items():
                        yield from self._in_pieces(some, columns[name])
                    return
        # Rows without a value take no place: they end where the row before does, and nothing is found in them.
        ends = columns.select((pl.all().str.len_bytes().cast(pl.Int64) + 1).fill_null(0).cum_sum())
        joined = columns.select(pl.all().str.join("\x03"))
        for name in columns.columns:
            yield from self._look((joined[name][0] or "").encode(), ends[name].to_numpy(), columns[name].__getitem__)

    def _in_pieces(self, texts: Sequence[Texts], column: pl.Series) -> Iterator[tuple[int, frozenset[int]]]:
        """Rows and atoms of one column of texts, searched where they lie."""
        for some in texts:
            rows, runs = self._ready().find_in(some)
            pairs = np.unique(rows * (len(self._runs) + len(ODD)) + runs)
            yield from self._confirmed(pairs, column.__getitem__)

    def _confirmed(self, pairs: Codes, text_at: Callable[[int], str | None]) -> Iterator[tuple[int, frozenset[int]]]:
        """Places and atoms that hold, of places and the runs that were found there, as one number."""
        width = len(self._runs) + len(ODD)
        for pair in pairs.tolist():
            piece, run = divmod(pair, width)
            if run >= len(self._runs):
                yield piece, self._texts.holds(text_at(piece) or "")
                continue
            sure = [atom for atom, sole in self._of_run[run] if sole is None or sole.holds(text_at(piece) or "")]
            if sure:
                yield piece, frozenset(sure)

    def _ready(self) -> Literals:
        if self._pass is None:
            literals = [*(_window(run).encode() for run in self._runs), *ODD]
            least = min(map(len, self._runs))  # no keyword is in a shorter text, however it is spelled
            self._pass = Literals(literals, caseless=True, least=least, one_pass=self.one_pass)
        return self._pass

    def _look(
        self, data: bytes, ends: Codes, text_at: Callable[[int], str | None]
    ) -> Iterator[tuple[int, frozenset[int]]]:
        """Pieces of a buffer and the atoms that hold for them."""
        if self._everywhere:
            for piece in range(len(ends)):
                text = text_at(piece)
                if text is not None and (atoms := self._texts.holds(text)):
                    yield piece, atoms
            return
        pieces, runs = self._ready().find(data, ends)
        yield from self._confirmed(pieces * (len(self._runs) + len(ODD)) + runs, text_at)

    def _in_numbers(self, series: pl.Series) -> Iterator[tuple[int, frozenset[int]]]:
        if not self._has_numbers or not series.dtype.is_numeric():
            return
        for number in self._numbers.numbers:
            atoms = self._numbers.holds(number)
            for place in np.flatnonzero((series == number).fill_null(False).to_numpy()).tolist():
                yield place, atoms

    @property
    def spellings(self) -> Sequence[bytes] | None:
        """What lines of JSON are searched for in small letters, in stead of each keyword; None if that is not all."""
        if self._everywhere or self._has_numbers:
            return None
        return [json_spelling(_window(run)) for run in self._runs]

    def _lines_pass(self) -> Literals:
        if self._json_pass is None:
            literals = [json_spelling(_window(run)) for run in self._runs]
            self._json_pass = Literals(literals, caseless=True, one_pass=self.one_pass, kept=self._kept)
        return self._json_pass

    def suspects(
        self,
        data: bytes,
        ends: npt.NDArray[np.int64],
        escaped: npt.NDArray[np.bool_] | None = None,
        folding: npt.NDArray[np.bool_] | None = None,
    ) -> npt.NDArray[np.int64]:
        r"""Lines of JSON that a keyword can be in, rising.

        Args:
            data: The lines.
            ends: Where each ends.
            escaped: Lines that spell letters as ``\u....`` or a slash as ``\/``; None if nobody has looked.
            folding: Lines that hold one of ``ODD``; None likewise.
        """
        if self._everywhere:
            return np.arange(len(ends))
        if escaped is None:
            begins = [0, *ends[:-1].tolist()]
            escaped = np.array([_spells(data[a:b]) for a, b in zip(begins, ends.tolist(), strict=True)], bool)
        lines, _ = self._lines_pass().find(data, ends)
        odd = _odd_lines(data, ends) if folding is None else np.flatnonzero(folding)
        found = np.concatenate([lines, np.flatnonzero(escaped), odd])
        if self._has_numbers:
            odd = np.array([match.start() for match in _ODD_NUMBER.finditer(data)], np.int64)
            found = np.concatenate([found, np.searchsorted(ends, odd, side="right")])
        return np.unique(found)

    def may_hold(self, text: str) -> bool:
        """Whether some keyword may be in a text."""
        return self._everywhere or bool(self._texts.holds(text)) or any(run in text for run in self._runs)


def _spells(line: bytes) -> bool:
    """Whether JSON spells letters by their numbers, or a slash with a backslash."""
    if b"\\u" not in line and b"\\/" not in line:
        return False
    single = line.replace(b"\\\\", b"")  # the u of a folder stands behind two
    return b"\\u" in single or b"\\/" in single


def _odd_lines(data: bytes, ends: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Lines that hold one of ``ODD``."""
    if data.isascii():
        return np.zeros(0, np.int64)
    places = [match.start() for letter in ODD for match in re.finditer(letter, data)]
    return np.searchsorted(ends, np.array(places, np.int64), side="right")


def _run(op: str, payload: Any) -> str:
    """The longest run of printable ASCII that a text must hold, in small letters, for the atom to hold."""
    if op == "num":
        return text_of(payload)
    pieces = [payload] if isinstance(payload, str) else payload if op in ("glob", "globc") else []
    runs = [run for piece in pieces if isinstance(piece, str) for run in RUN.findall(piece)]
    return str(max(runs, key=len, default="")).lower()


def _window(run: str) -> str:
    """The piece of a run that a pass looks for in its stead: the fewer texts end like it, the faster the pass is."""
    pieces = [run[at : at + _WINDOW] for at in range(max(1, len(run) - _WINDOW + 1))]
    return max(pieces, key=lambda piece: sum(FREQUENT_LETTERS.find(char) % _RARE for char in piece[-4:]))


def json_spelling(run: str) -> bytes:
    """Printable ASCII as JSON spells it."""
    return run.replace("\\", "\\\\").replace('"', '\\"').encode()


__all__ = ["NOT_SEARCHED", "ODD", "RUN", "Keywords", "json_spelling"]
