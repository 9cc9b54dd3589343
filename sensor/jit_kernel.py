"""How kernels are compiled. The names that the files of kernels begin their functions with.

No kernel makes an array, so none needs numba's reference counts: with them, atomic increments for the arrays that are
handed on can be three quarters of the time. Bounds checks stay on, but for the few ``ranged`` loops that compare a
whole range with the array's end before they begin. Only what Python calls is cached and has a wrapper: what a kernel
calls is compiled into it, so loading the kernel from the cache is enough.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from numba import njit

from sensor.base import U8

U64 = npt.NDArray[np.uint64]
Num = int | np.int64

_F = TypeVar("_F", bound=Callable[..., Any])
_njit: Any = njit


def entry(function: _F) -> _F:
    """Compile what Python calls; loaded from the cache at its first call."""
    compiled: _F = _njit(nogil=True, cache=True, boundscheck=True, _nrt=False)(function)
    return compiled


def inner(function: _F) -> _F:
    """Compile what other kernels call, for the types that they call it with."""
    compiled: _F = _njit(nogil=True, boundscheck=True, no_cpython_wrapper=True, no_cfunc_wrapper=True, _nrt=False)(
        function
    )
    return compiled


def inlined(function: _F) -> _F:
    """Put what runs for every object of a message into its callers: handing the arrays over would cost more."""
    compiled: _F = _njit(nogil=True, boundscheck=True, inline="always", _nrt=False)(function)
    return compiled


def helper(signature: str) -> Callable[[_F], _F]:
    """Compile what other kernels call for the types of ``signature`` alone, once one of them is compiled.

    Else numba compiles it anew for every combination of constants that it is called with; with a signature in its
    own decorator it is compiled, or loaded, wherever the file is imported.
    """

    def decorate(function: _F) -> _F:
        compiled: Any = inner(function)
        if not hasattr(compiled, "overloads"):  # numba was told to compile nothing
            return function
        ask = compiled.get_call_template

        def first(arguments: Any, names: Any) -> Any:
            if not compiled.overloads:
                compiled.compile(signature)
                compiled.disable_compile()
            return ask(arguments, names)

        compiled.get_call_template = first
        done: _F = compiled
        return done

    return decorate


def ranged(function: _F) -> _F:
    """Compile a loop that checks its range itself."""
    compiled: _F = _njit(nogil=True, boundscheck=False, no_cpython_wrapper=True, no_cfunc_wrapper=True, _nrt=False)(
        function
    )
    return compiled


@ranged
def copied(source: U8, begin: Num, count: Num, target: U8, to: Num) -> None:
    """Copy ``count`` bytes.

    Raises:
        IndexError: They do not lie within both arrays.
    """
    if begin < 0 or to < 0 or begin + count > len(source) or to + count > len(target):
        raise IndexError("bytes outside of an array")
    a, b = np.uint64(begin), np.uint64(to)  # unsigned: no index counts from the end
    for k in range(np.uint64(max(count, 0))):
        target[b + k] = source[a + k]


@ranged
def _word(data: U8, at: np.uint64) -> np.uint64:
    """Eight bytes, the first lowest; one load once it is compiled."""
    value = np.uint64(data[at])
    for k in range(1, 8):
        value |= np.uint64(data[at + np.uint64(k)]) << np.uint64(8 * k)
    return value


@ranged
def loaded(data: U8, at: Num) -> np.uint64:
    """Eight bytes from anywhere, the first lowest.

    Raises:
        IndexError: They do not lie within the array.
    """
    if at < 0 or at + 8 > len(data):
        raise IndexError("bytes outside of an array")
    return _word(data, np.uint64(at))


@ranged
def same_words(data: U8, begin: Num, end: Num, words: U64, start: Num) -> bool:
    """Whether bytes, filled up with zeros to whole words, are the words that begin there.

    Raises:
        IndexError: They, and seven behind them, do not lie within the array, or the words not within theirs.
    """
    if begin < 0 or end + 7 > len(data) or start < 0 or start + ((end - begin + 7) >> 3) > len(words):
        raise IndexError("bytes outside of an array")
    at, word = np.uint64(begin), np.uint64(start)
    left = np.uint64(max(end - begin, 0))
    while left >= np.uint64(8):
        if _word(data, at) != words[word]:
            return False
        at += np.uint64(8)
        word += np.uint64(1)
        left -= np.uint64(8)
    if left > np.uint64(0):
        return bool((_word(data, at) ^ words[word]) << (np.uint64(64) - np.uint64(8) * left) == np.uint64(0))
    return True


@ranged
def lowered(source: U8, begin: Num, count: Num, target: U8, folded: U8, to: Num) -> np.uint8:
    """Copy ``count`` bytes to one array as they are and to another with small letters for the capital ones of ASCII.

    Returns:
        All of them, ored: above 127 if one is beyond ASCII.

    Raises:
        IndexError: They do not lie within the arrays.
    """
    outside = begin + count > len(source) or to + count > len(target) or to + count > len(folded)
    if begin < 0 or to < 0 or outside:
        raise IndexError("bytes outside of an array")
    a, b = np.uint64(begin), np.uint64(to)
    every = np.uint8(0)
    for k in range(np.uint64(max(count, 0))):
        letter = source[a + k]
        every |= letter
        target[b + k] = letter
        folded[b + k] = letter + np.uint8(32 * (np.uint8(letter - np.uint8(65)) < np.uint8(26)))
    return every


@ranged
def hashed(data: U8, begin: Num, count: Num, seed: np.uint64) -> np.uint64:
    """Hash of ``count`` bytes, which whoever does not know ``seed`` cannot foresee.

    Raises:
        IndexError: They do not lie within the array.
    """
    if begin < 0 or begin + count > len(data):
        raise IndexError("bytes outside of an array")
    prime = np.uint64(0x9E3779B97F4A7C15)
    shift = np.uint64(29)
    at = np.uint64(begin)
    left = np.uint64(max(count, 0))
    value = (seed ^ left) * prime
    while left >= np.uint64(8):
        value = (value ^ _word(data, at)) * prime
        value ^= value >> shift
        at += np.uint64(8)
        left -= np.uint64(8)
    last = np.uint64(0)
    while left > np.uint64(0):
        last = last << np.uint64(8) | np.uint64(data[at])
        at += np.uint64(1)
        left -= np.uint64(1)
    value = (value ^ last) * prime
    return value ^ (value >> shift)


@ranged
def alike(data: U8, one: Num, other: Num, count: Num) -> bool:
    """Whether ``count`` bytes are the same at two places.

    Raises:
        IndexError: They do not lie within the array.
    """
    if one < 0 or other < 0 or one + count > len(data) or other + count > len(data):
        raise IndexError("bytes outside of an array")
    a, b = np.uint64(one), np.uint64(other)
    left = np.uint64(max(count, 0))
    while left >= np.uint64(8):
        if _word(data, a) != _word(data, b):
            return False
        a += np.uint64(8)
        b += np.uint64(8)
        left -= np.uint64(8)
    while left > np.uint64(0):
        if data[a] != data[b]:
            return False
        a += np.uint64(1)
        b += np.uint64(1)
        left -= np.uint64(1)
    return True
