"""Many literals, looked for in one pass over many texts.

With Hyperscan the texts are one buffer and the pass is native; without it, an index of the rarest four bytes of each
literal tells which of them can be in a text at all. Both find the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from correlate.buffers import INLINE, VIEW, Texts
from correlate.interned import once
from correlate.regex import BEHIND, framed, hyperscan_module

Numbers = npt.NDArray[np.int64]

_GRAM = 4
_SPARSE = 4  # times what its texts take that a column's buffers may hold, else the texts are copied out of them first
_TOGETHER = 1 << 20  # bytes of small buffers that are copied together: each call of the pass costs some microseconds
_NONE = np.zeros(0, np.int64)


class Literals:
    """A set of literals, ready to be looked for.

    Attributes:
        native: Hyperscan does it.
        searched: Bytes that ``find`` has looked through.
        finds: What it found there, the same literal in the same piece counted each time.
    """

    def __init__(
        self,
        literals: Sequence[bytes],
        *,
        caseless: bool = False,
        least: int = 1,
        one_pass: bool = True,
        kept: bytes = b"",
    ) -> None:
        """Prepare.

        Args:
            literals: None of them empty.
            caseless: ASCII letters are found in either case; the literals are in lower case.
            least: Bytes of a text below which ``find_in`` need not look.
            one_pass: Use Hyperscan where it is installed.
            kept: What ``dump`` of an equal set gave, from a place that only we write to.
        """
        self.literals = literals
        self.searched = self.finds = 0
        self._sizes = np.array([len(one) for one in literals], np.int64)
        self._least = max(least, 1)
        self._caseless = caseless
        self._database: Any = None
        self._grams: _Grams | None = None
        module = hyperscan_module() if one_pass else None
        self.native = module is not None
        if module is None:
            self._grams = _Grams(literals)
        elif kept:
            self._database = _loaded(module, kept)
        else:
            database = module.Database(mode=module.HS_MODE_BLOCK)
            flags = module.HS_FLAG_CASELESS if caseless else 0
            database.compile(
                expressions=list(literals),
                ids=list(range(len(literals))),
                flags=[flags] * len(literals),
                literal=True,
            )
            self._database = database

    def dump(self) -> bytes | None:
        """The compiled form, for this machine and this version of Hyperscan; None without it."""
        module = hyperscan_module()
        return None if self._database is None or module is None else bytes(module.dumpb(self._database))

    def find(self, data: bytes | memoryview, ends: Numbers) -> tuple[Numbers, Numbers]:
        """Look through consecutive pieces of a buffer.

        Args:
            data: The buffer.
            ends: Where each piece ends, ``int64[n]``, rising. A literal that reaches over the end of a piece counts as
                found in the piece in which it ends: separate pieces by a byte that is in no literal.

        Returns:
            Piece and literal of each find, ordered by piece and literal, without doubles.
        """
        if self._grams is not None:
            raw = bytes(data)
            return self._grams.find(raw.lower() if self._caseless else raw, ends)
        places, found = _found(self._database, data)
        self.searched += len(data)
        self.finds += len(found)
        if not len(found):
            return _NONE, _NONE
        pieces = np.searchsorted(ends, places, side="left")
        width = len(self.literals)
        pairs = once(pieces * width + found)
        return pairs // width, pairs % width

    def find_in(self, texts: Texts) -> tuple[Numbers, Numbers]:
        """Look through texts of a column where they lie; with Hyperscan only.

        Returns:
            Row in the column and literal of each find, in no order, possibly with doubles.
        """
        rows: list[Numbers] = []
        found: list[Numbers] = []
        lengths, longest = texts.lengths, int(texts.lengths.max(initial=0))
        if longest < self._least:
            return _NONE, _NONE
        if self._least <= INLINE:
            # One comparison for two: what is below the least is vast without a sign.
            there = np.flatnonzero((lengths - self._least).view(np.uint32) <= INLINE - self._least)
            ends, literals = _found(self._database, texts.views[there]) if len(there) else (_NONE, _NONE)
            if len(ends):
                place = (ends - 1) // VIEW
                row, before = there[place], place * VIEW + 4
                inside = (ends - self._sizes[literals] >= before) & (ends <= before + lengths[row])
                rows.append(row[inside])
                found.append(literals[inside])
        if longest > INLINE:
            used = int(lengths.sum(dtype=np.int64))
            sparse = sum(texts.sizes) > _SPARSE * used
            some, literals = self._in_rows(texts) if sparse else self._in_buffers(texts)
            rows.append(some)
            found.append(literals)
        if not rows:
            return _NONE, _NONE
        return np.concatenate(rows) + texts.first, np.concatenate(found)

    def _in_rows(self, texts: Texts) -> tuple[Numbers, Numbers]:
        """Look through the longer texts of a column, copied out of their buffers: row and literal of each find."""
        rows, numbers, begins, ends = texts.longer()
        buffers = texts.buffers()
        pieces = [
            buffers[number][begin:end]
            for number, begin, end in zip(numbers.tolist(), begins.tolist(), ends.tolist(), strict=True)
        ]
        some, literals = self.find(b"\n".join(pieces), np.cumsum(ends - begins + 1))
        return rows[some], literals

    def _in_buffers(self, texts: Texts) -> tuple[Numbers, Numbers]:
        """Look through whole buffers, small ones together: row and literal of each find that is in a text.

        Places count on from buffer to buffer. What is found over the border of two is in no text.
        """
        buffers = texts.buffers()
        edges = np.cumsum([0, *map(len, buffers)])
        parts: list[tuple[Numbers, Numbers]] = []
        first = 0
        while first < len(buffers):
            last = max(first + 1, int(np.searchsorted(edges, edges[first] + _TOGETHER, side="right")) - 1)
            joined = buffers[first] if last == first + 1 else b"".join(buffers[first:last])
            places, some = _found(self._database, joined)
            if len(places):
                parts.append((places + edges[first], some))
            first = last
        if not parts:
            return _NONE, _NONE
        ends, literals = (np.concatenate(one) for one in zip(*parts, strict=True))
        rows, numbers, begins, stops = texts.longer()
        begins += edges[numbers]
        stops += edges[numbers]
        order = np.argsort(begins, kind="stable")
        rows, begins, stops = rows[order], begins[order], stops[order]
        starts = ends - self._sizes[literals]
        # Texts may share bytes: all that begin before the find and end behind it, looked at from the longest on.
        reach = np.maximum.accumulate(stops)
        low = np.searchsorted(reach, ends, side="left")
        count = np.maximum(np.searchsorted(begins, starts, side="right") - low, 0)
        step = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
        place = np.repeat(low, count) + step
        inside = stops[place] >= np.repeat(ends, count)
        return rows[place[inside]], np.repeat(literals, count)[inside]


class Patterns:
    r"""Regular expressions, looked for in one pass of Hyperscan over many texts.

    Its dialect finds what RE2's does in ASCII text, within the text (``correlate.regex.framed``). Where the two may
    differ (outside of ASCII, and on a vertical tab, no white space to RE2), nobody may ask.

    Attributes:
        alone: Patterns that it does not look for: every text is suspected to have them.
    """

    def __init__(self, patterns: Sequence[tuple[str, str]], *, kept: bytes = b"") -> None:
        """Prepare.

        Args:
            patterns: Pattern and flags out of "ims".
            kept: What ``dump`` of the same patterns gave, from a place that only we write to.
        """
        module = hyperscan_module()
        if module is None:
            raise ValueError("Hyperscan is not installed")
        spelled = [framed(*one) for one in patterns]
        self._sure = np.array([one is not None and one[1] for one in spelled], bool)
        self._database: Any = None
        if kept:
            size = int.from_bytes(kept[:4], "big")
            self._taken = np.frombuffer(kept[4 : 4 + 4 * size], ">i4").astype(np.int64)
            if len(kept) > 4 + 4 * size:
                self._database = _loaded(module, kept[4 + 4 * size :])
        else:
            marks = {"i": module.HS_FLAG_CASELESS, "s": module.HS_FLAG_DOTALL}
            wanted = [
                (place, one[0].encode(), module.HS_FLAG_UTF8 | sum(marks[letter] for letter in letters))
                for place, (one, (_, letters)) in enumerate(zip(spelled, patterns, strict=True))
                if one is not None
            ]
            self._database = _compiled(module, wanted)
            if self._database is None:
                wanted = [one for one in wanted if _compiled(module, [one]) is not None]
                self._database = _compiled(module, wanted)
            self._taken = np.array([place for place, _, _ in wanted], np.int64)
        self.alone = sorted(set(range(len(patterns))).difference(self._taken.tolist()))

    def dump(self) -> bytes:
        """The compiled form, for this machine and this version of Hyperscan."""
        module = hyperscan_module()
        blob = b"" if self._database is None or module is None else bytes(module.dumpb(self._database))
        return len(self._taken).to_bytes(4, "big") + self._taken.astype(">i4").tobytes() + blob

    def find(self, data: bytes | memoryview, ends: Numbers) -> tuple[Numbers, Numbers, npt.NDArray[np.bool_]]:
        """Look through texts, STX before and ETX behind each.

        Args:
            data: The texts, ASCII without vertical tabs.
            ends: Where each ends, its ETX included, ``int64[n]``.

        Returns:
            Text, pattern, and whether it is sure to be there, of each find, ordered by text, without doubles.
        """
        places, found = (_NONE, _NONE) if self._database is None else _found(self._database, b"".join((data, BEHIND)))
        if not len(found):
            return _NONE, _NONE, _NONE.astype(bool)
        width = len(self._sure)
        pairs = once(np.searchsorted(ends, places, side="left") * width + self._taken[found])
        pairs = pairs[: np.searchsorted(pairs, len(ends) * width)]
        return pairs // width, pairs % width, self._sure[pairs % width]


def _found(database: Any, data: Any) -> tuple[Numbers, Numbers]:
    """End and number of each find in a buffer."""
    found: list[int] = []
    places: list[int] = []
    note, place = found.append, places.append

    def take(index: int, _start: int, end: int, _flags: int, _context: object) -> None:
        note(index)
        place(end)

    database.scan(data, match_event_handler=take)
    return (np.array(places, np.int64), np.array(found, np.int64)) if found else (_NONE, _NONE)


def _compiled(module: ModuleType, patterns: Sequence[tuple[int, bytes, int]]) -> Any:
    """A database of patterns with flags, or None if there are none or it takes one of them not."""
    if not patterns:
        return None
    database = module.Database(mode=module.HS_MODE_BLOCK)
    with suppress(module.error):
        database.compile(
            expressions=[text for _, text, _ in patterns],
            ids=list(range(len(patterns))),
            flags=[flags for _, _, flags in patterns],
        )
        return database
    return None


def _loaded(module: ModuleType, kept: bytes) -> Any:
    database = module.loadb(kept, module.HS_MODE_BLOCK)
    database.scratch = module.Scratch(database)
    return database


class _Grams:
    """Literals by four of their bytes."""

    def __init__(self, literals: Sequence[bytes]) -> None:
        self._by_gram: dict[bytes, list[int]] = {}
        self._short: list[int] = []
        self._literals = literals
        for number, literal in enumerate(literals):
            if len(literal) < _GRAM:
                self._short.append(number)
                continue
            grams = [literal[at : at + _GRAM] for at in range(len(literal) - _GRAM + 1)]
            rarest = min(grams, key=lambda gram: len(self._by_gram.get(gram, ())))
            self._by_gram.setdefault(rarest, []).append(number)
        self._keys = frozenset(self._by_gram)

    def find(self, data: bytes, ends: Numbers) -> tuple[Numbers, Numbers]:
        pieces: list[int] = []
        found: list[int] = []
        begin = 0
        for piece, end in enumerate(ends.tolist()):
            text = data[begin:end]
            begin = end
            grams = self._keys.intersection([text[at : at + _GRAM] for at in range(len(text) - _GRAM + 1)])
            candidates = sorted({number for gram in grams for number in self._by_gram[gram]}.union(self._short))
            here = [number for number in candidates if self._literals[number] in text]
            found += here
            pieces += [piece] * len(here)
        return np.array(pieces, np.int64), np.array(found, np.int64)


__all__ = ["Literals", "Numbers", "Patterns"]
