"""In which lines of a block of JSON the keywords of any dataset can be: one pass for all of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import orjson

from correlate.keywords import Keywords
from correlate.scan import Literals
from sensor.flat_json import Lines

I64 = npt.NDArray[np.int64]

_SOME = 0.4  # of a block from which all of it is searched rather than lines copied out of it


class Words:
    """The keywords of several datasets; compare ``Keywords.suspects``."""

    def __init__(self, keywords: Sequence[Keywords]) -> None:
        """Prepare the pass."""
        self._keywords = keywords
        self._apart = [place for place, one in enumerate(keywords) if one.spellings is None]
        spellings = [one.spellings or () for one in keywords]
        literals = sorted(set().union(*spellings))
        at = {literal: number for number, literal in enumerate(literals)}
        self._asked = np.zeros((len(keywords), len(literals)), np.bool_)
        for place, some in enumerate(spellings):
            self._asked[place, [at[literal] for literal in some]] = True
        one_pass = all(one.one_pass for one in keywords)
        self._literals = Literals(literals, caseless=True, one_pass=one_pass) if literals else None

    def suspects(self, data: bytes | memoryview, lines: Lines, places: I64) -> I64:
        """Lines that a keyword can be in.

        Args:
            data: The block.
            lines: Its lines.
            places: Of each line, whose keywords it may hold, as a place among them; -1: nobody's.
        """
        rows = np.flatnonzero(places >= 0)
        found = [rows[lines.flag(4)[rows]]]
        if self._literals is not None and len(rows):
            begins, ends = lines.begins[rows], lines.ends[rows]
            if int((ends - begins).sum()) >= _SOME * len(data):
                some, literals = self._literals.find(data, lines.ends + 1)
            else:
                text = b"\n".join([data[begin:end] for begin, end in zip(begins.tolist(), ends.tolist(), strict=True)])
                some, literals = self._literals.find(text, np.cumsum(ends - begins + 1))
                some = rows[some]
            of = places[some]
            found.append(some[(of >= 0) & self._asked[of, literals]])
        found += [self._each(place, data, lines, np.flatnonzero(places == place)) for place in self._apart]
        # Letters by their numbers and slashes with a backslash before them: spelled as we spell them.
        spelled = rows[lines.flag(1)[rows]]
        for place in np.unique(places[spelled]).tolist():
            here = spelled[places[spelled] == place]
            pieces = [
                orjson.dumps(orjson.loads(data[begin:end]))
                for begin, end in zip(lines.begins[here].tolist(), lines.ends[here].tolist(), strict=True)
            ]
            found.append(here[self._in(place, pieces)])
        return np.unique(np.concatenate(found))

    def _each(self, place: int, data: bytes | memoryview, lines: Lines, rows: I64) -> I64:
        """Lines in which keywords of one dataset can be, looked for apart."""
        pieces = [
            data[begin:end] for begin, end in zip(lines.begins[rows].tolist(), lines.ends[rows].tolist(), strict=True)
        ]
        return rows[self._in(place, pieces)]

    def _in(self, place: int, pieces: Sequence[bytes | memoryview]) -> I64:
        ends = np.cumsum(np.fromiter(map(len, pieces), np.int64, len(pieces)) + 1)
        return self._keywords[place].suspects(b"\n".join(pieces), ends, np.zeros(len(pieces), np.bool_))


__all__ = ["Words"]
