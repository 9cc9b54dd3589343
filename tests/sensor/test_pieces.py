"""Pieces of text, against Python's own search."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensor import pieces as module
from sensor.pieces import Pieces

_TEXT = st.binary(max_size=12).map(lambda raw: bytes(b"ab.\\\xc3"[one % 5] for one in raw))
_FRAMES = st.sampled_from([(b"", b""), (b"\x02", b""), (b"", b"\x03"), (b"\x02", b"\x03")])


def _found(pieces: Pieces, texts: Sequence[bytes]) -> list[tuple[int, int]]:
    framed = [b"\x02" + text + b"\x03" for text in texts]
    ends = np.cumsum(np.fromiter(map(len, framed), np.int64, len(framed)))
    places, found = pieces.find(np.frombuffer(b"".join(framed), np.uint8), ends)
    assert (np.diff(places) >= 0).all()
    pairs = list(zip(places.tolist(), found.tolist(), strict=True))
    assert len(set(pairs)) == len(pairs)
    return sorted(pairs)


def _told(pieces: Sequence[bytes], texts: Sequence[bytes]) -> list[tuple[int, int]]:
    return [
        (place, number)
        for place, text in enumerate(texts)
        for number, piece in enumerate(pieces)
        if piece in b"\x02" + text + b"\x03"
    ]


@given(
    st.lists(st.tuples(_FRAMES, _TEXT), max_size=30),
    st.lists(st.lists(_TEXT, max_size=20), min_size=1, max_size=3),
    st.integers(1, 40),
)
def test_finds_what_python_finds(
    framed: Sequence[tuple[tuple[bytes, bytes], bytes]], batches: Sequence[Sequence[bytes]], room: int
) -> None:
    some = [before + text + after for (before, after), text in framed]
    some = [piece for piece in some if len(piece) > 1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_ROOM", room)
        pieces = Pieces(some)
    for texts in batches:
        assert _found(pieces, texts) == _told(some, texts)


def test_finds_each_piece_of_many_at_its_place() -> None:
    random = np.random.default_rng(7)
    some = [bytes(random.choice(list(b"abcdefghijklmnop\\. "), size).tolist()) for size in random.integers(2, 40, 3000)]
    pieces = Pieces(some)
    texts = [b"x" * int(shift) + piece for piece, shift in zip(some, random.integers(0, 9, len(some)), strict=True)]
    assert _found(pieces, texts) == _told(some, texts)


def test_texts_without_pieces_and_pieces_without_texts() -> None:
    assert _found(Pieces([]), [b"abc"]) == []
    assert _found(Pieces([b"abc"]), []) == []
    assert _found(Pieces([b"\x02\x03", b"abcd"]), [b"", b"abc", b""]) == [(0, 0), (2, 0)]


def test_refuses_pieces_of_one_byte() -> None:
    with pytest.raises(ValueError, match="less than 2 bytes"):
        Pieces([b"ab", b"a"])
