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
from correlate.columns import NOTHING, Codes, elements
from correlate.scan import Literals

NOT_SEARCHED = frozenset(
    {"event.id", "event.dataset", "event.kind", "event.module", "log.file.path", "observer.name", "flow.id"}
)
"""Columns that keywords do not look into: they are ours, not the event's content."""

RUN = re.compile(r"[ -~]+")
"""Printable ASCII."""
ODD = ("\N{KELVIN SIGN}".encode(), "\N{LATIN SMALL LETTER LONG S}".encode())
"""Characters beyond ASCII that fold into it."""
ODD_JSON = (*ODD, b"\\u", b"\\/")
"""Spellings in JSON that the pass does not see through."""

_SHORTEST = 3  # characters of a run below which it is found everywhere
_ESCAPED = re.compile(rb"(?<!\\)(?:\\\\)*\\[u/]")  # not the u of a folder behind a backslash
_ODD_NUMBER = re.compile(rb"[:,\[]\s*-?\d+(?:\.|[eE])")


class Keywords:
    """The keywords of a plan, and what is remembered of texts.

    Attributes:
        sets: Signature to the atoms that hold.
    """

    def __init__(self, atoms: Sequence[tuple[int, str, Any]], *, one_pass: bool = True, kept: bytes = b"") -> None:
        """Prepare.

        Args:
            atoms: (number of the atom, operator, payload).
            one_pass: Use Hyperscan where it is installed.
            kept: What ``dump`` of the same atoms gave.
        """
        self._one_pass = one_pass
        self._kept = kept
        self._texts = Matcher([one for one in atoms if one[1] != "num"], one_pass=one_pass)
        self._numbers = Matcher([one for one in atoms if one[1] == "num"], one_pass=one_pass)
        self._has_numbers = any(op == "num" for _, op, _ in atoms)
        by_run: dict[str, list[tuple[int, Matcher | None]]] = {}
        for atom, op, payload in atoms:
            run = _run(op, payload)
            sure = op == "contains" and payload == run
            by_run.setdefault(run, []).append((atom, None if sure else Matcher([(atom, op, payload)], one_pass=False)))
        self._everywhere = any(len(run) < _SHORTEST for run in by_run)
        self._runs = sorted(by_run)
        self._of_run = [by_run[run] for run in self._runs]
        self._pass: Literals | None = None
        self._json_pass: Literals | None = None
        self.reset()

    def reset(self) -> None:
        """Forget all; signatures given before mean nothing after."""
        self.sets: list[frozenset[int]] = [frozenset(), frozenset()]
        self._ids: dict[frozenset[int], int] = {frozenset(): NOTHING}

    @property
    def size(self) -> int:
        """Signatures held."""
        return len(self.sets)

    def dump(self) -> bytes | None:
        """The compiled pass over lines of JSON, see ``Literals.dump``."""
        return None if self._everywhere else self._lines_pass().dump()

    def intern(self, holds: frozenset[int]) -> int:
        """The number of a set of atoms."""
        found = self._ids.get(holds)
        if found is None:
            found = self._ids[holds] = len(self.sets)
            self.sets.append(holds)
        return found

    def encode(self, events: pl.DataFrame, numbered: Mapping[str, Codes] | None = None) -> Codes:
        """Signature of each row over all its texts and numbers, ``int64[n]``.

        Args:
            events: The rows.
            numbered: Columns of texts whose distinct values are numbered, see ``Signatures.encode_numbered``: each
                text is looked into once there.
        """
        numbered = numbered or {}
        kinds = dict(zip(events.columns, events.dtypes, strict=True))
        searched = [name for name in events.columns if name not in NOT_SEARCHED]
        texts = [name for name in searched if kinds[name] == pl.String]
        found = list(self._in_numbered(events, {name: numbered[name] for name in texts if name in numbered}))
        whole = [name for name in texts if name not in numbered]
        if whole:
            found += self._in_texts(events.select(whole))
        for name in searched:
            if isinstance(kinds[name], pl.List):
                series, rows = elements(events[name])
                some = self._in_texts(pl.DataFrame([series])) if series.dtype == pl.String else self._in_numbers(series)
                found += [(int(rows[place]), atoms) for place, atoms in some]
            else:
                found += self._in_numbers(events[name])
        holds: dict[int, frozenset[int]] = {}
        for row, atoms in found:
            holds[row] = holds.get(row, frozenset()) | atoms
        codes = np.full(events.height, NOTHING, np.int64)
        for row, atoms in holds.items():
            codes[row] = self.intern(atoms)
        return codes

    def _in_numbered(self, events: pl.DataFrame, numbered: Mapping[str, Codes]) -> Iterator[tuple[int, frozenset[int]]]:
        """Rows and atoms of columns of which each distinct text is looked into once."""
        pieces: list[str] = []
        owners: list[tuple[str, int]] = []
        for name, numbers in numbered.items():
            top = int(numbers.max()) + 1
            first = np.full(top + 1, -1, np.int64)
            first[numbers[::-1]] = np.arange(len(numbers) - 1, -1, -1)
            used = np.flatnonzero(first[:top] >= 0)
            pieces += events[name].gather(first[used]).to_list()
            owners += [(name, number) for number in used.tolist()]
        raw = [piece.encode() for piece in pieces]
        ends = np.cumsum(np.fromiter(map(len, raw), np.int64, len(raw)) + 1)
        for place, atoms in self._look(b"\x03".join(raw), ends, pieces.__getitem__):
            name, number = owners[place]
            for row in np.flatnonzero(numbered[name] == number).tolist():
                yield row, atoms

    def _in_texts(self, columns: pl.DataFrame) -> Iterator[tuple[int, frozenset[int]]]:
        """Rows and atoms of columns that are looked into whole."""
        # Rows without a value take no place: they end where the row before does, and nothing is found in them.
        ends = columns.select((pl.all().str.len_bytes().cast(pl.Int64) + 1).fill_null(0).cum_sum())
        joined = columns.select(pl.all().str.join("\x03"))
        for name in columns.columns:
            if len(columns):
                yield from self._look(
                    (joined[name][0] or "").encode(), ends[name].to_numpy(), columns[name].__getitem__
                )

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
        if self._pass is None:
            self._pass = Literals([*map(str.encode, self._runs), *ODD], caseless=True, one_pass=self._one_pass)
        pieces, runs = self._pass.find(data, ends)
        for piece, run in zip(pieces.tolist(), runs.tolist(), strict=True):
            if run >= len(self._runs):
                yield piece, self._texts.holds(text_at(piece) or "")
                continue
            sure = [atom for atom, sole in self._of_run[run] if sole is None or sole.holds(text_at(piece) or "")]
            if sure:
                yield piece, frozenset(sure)

    def _in_numbers(self, series: pl.Series) -> Iterator[tuple[int, frozenset[int]]]:
        if not self._has_numbers or not series.dtype.is_numeric():
            return
        for number in self._numbers.numbers:
            atoms = self._numbers.holds(number)
            for place in np.flatnonzero((series == number).fill_null(False).to_numpy()).tolist():
                yield place, atoms

    def _lines_pass(self) -> Literals:
        if self._json_pass is None:
            literals = [*(json_spelling(run) for run in self._runs), *ODD_JSON]
            self._json_pass = Literals(literals, caseless=True, one_pass=self._one_pass, kept=self._kept)
        return self._json_pass

    def suspects(self, data: bytes, ends: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Lines of JSON that a keyword can be in, rising.

        Args:
            data: The lines.
            ends: Where each ends.
        """
        if self._everywhere:
            return np.arange(len(ends))
        lines, literals = self._lines_pass().find(data, ends)
        spelled = literals >= len(self._runs) + len(ODD)
        found = lines[~spelled]
        maybe = np.unique(lines[spelled])
        begins = np.concatenate([[0], ends[:-1]])
        sure = [
            line
            for line, begin, end in zip(maybe.tolist(), begins[maybe].tolist(), ends[maybe].tolist(), strict=True)
            if _ESCAPED.search(data, begin, end)
        ]
        found = np.concatenate([found, np.array(sure, np.int64)])
        if self._has_numbers:
            odd = np.array([match.start() for match in _ODD_NUMBER.finditer(data)], np.int64)
            found = np.concatenate([found, np.searchsorted(ends, odd, side="right")])
        return np.unique(found)

    def may_hold(self, text: str) -> bool:
        """Whether some keyword may be in a text."""
        return self._everywhere or bool(self._texts.holds(text)) or any(run in text for run in self._runs)


def _run(op: str, payload: Any) -> str:
    """The longest run of printable ASCII that a text must hold, in small letters, for the atom to hold."""
    if op == "num":
        return text_of(payload)
    pieces = [payload] if isinstance(payload, str) else payload if op in ("glob", "globc") else []
    runs = [run for piece in pieces if isinstance(piece, str) for run in RUN.findall(piece)]
    return str(max(runs, key=len, default="")).lower()


def json_spelling(run: str) -> bytes:
    """Printable ASCII as JSON spells it."""
    return run.replace("\\", "\\\\").replace('"', '\\"').encode()


__all__ = ["NOT_SEARCHED", "ODD_JSON", "RUN", "Keywords", "json_spelling"]
