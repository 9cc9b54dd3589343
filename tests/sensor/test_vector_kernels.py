"""64 bytes or bits at once, and words from anywhere: compiled as said in Python, and never beyond an array."""

import numpy as np
import pytest
from numba import njit

from sensor._vector_kernels import control_or_beyond, equal, lowest
from sensor.jit_kernel import loaded, same_words

DATA = np.frombuffer(np.random.default_rng(5).bytes(4096) + b'"\\\x1f\x20\x7f\x80' * 64, np.uint8).copy()


@njit
def compiled(data, at, letter):
    return equal(data, at, letter), control_or_beyond(data, at), lowest(equal(data, at, letter))


@njit
def word_at(data, at):
    return loaded(data, at)


@njit
def are_same(data, begin, end, words, start):
    return same_words(data, begin, end, words, start)


def test_compiled_is_as_interpreted() -> None:
    for at in range(len(DATA) - 64):
        letter = int(DATA[at + at % 64])
        said = equal(DATA, at, letter), control_or_beyond(DATA, at), lowest(equal(DATA, at, letter))
        assert compiled(DATA, at, letter) == said


@pytest.mark.parametrize("at", [0, 1, 7, 63])
def test_bits_are_bytes_in_order(at: int) -> None:
    data = np.full(128, 65, np.uint8)
    data[at + 5], data[at + 63] = 10, 200
    assert compiled(data, at, 10) == (1 << 5, 1 << 5 | 1 << 63, 5)
    assert compiled(data, at, 66) == (0, 1 << 5 | 1 << 63, 64)


@pytest.mark.parametrize("begin", range(9))
@pytest.mark.parametrize("size", range(18))
def test_words_are_compared_byte_by_byte(begin: int, size: int) -> None:
    text = bytes(DATA[begin : begin + size])
    words = np.frombuffer(text.ljust(24, b"\0"), np.uint64).copy()
    assert are_same(DATA, begin, begin + size, words, 0)
    for place in range(size):
        other = DATA.copy()
        other[begin + place] ^= 1
        assert not are_same(other, begin, begin + size, words, 0)


def test_nothing_is_read_beyond_an_array() -> None:
    words = np.zeros(2, np.uint64)
    assert int(word_at(DATA, len(DATA) - 8)) == int.from_bytes(bytes(DATA[-8:]), "little")
    for at in (-1, len(DATA) - 7):
        with pytest.raises(IndexError):
            word_at(DATA, at)
    for begin, end, start in ((-1, 7, 0), (0, len(DATA) - 6, 0), (0, 8, -1), (0, 8, 2), (0, 17, 0)):
        with pytest.raises(IndexError):
            are_same(DATA, begin, end, words, start)
