"""The bytes of text columns where they lie in memory, through Arrow's C data interface.

Polars describes a text by a *view* of 16 bytes: its length, then the text itself if it has at most 12 bytes, else its
first four bytes, the number of a buffer and its place there. Texts of a column lie behind one another in a few large
buffers; to search those takes no copy and no Python object for a text. Source: Arrow columnar format, "Variable-size
Binary View Layout", and "The Arrow C data interface", both 1.4.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

INLINE = 12
"""Bytes of the longest text that lies in its view."""
VIEW = 16
"""Bytes of a view."""


@dataclass(frozen=True, slots=True)
class Texts:
    """Texts of consecutive rows of a column.

    Attributes:
        first: Row of the first.
        lengths: Bytes of each, ``int32[n]``; 0 where there is none.
        views: ``int32[n, 4]``: length, then the text, or: its beginning, number of the buffer, place there.
        addresses: Where the buffers are in which the longer texts lie.
        sizes: Their bytes.
    """

    first: int
    lengths: npt.NDArray[np.int32]
    views: npt.NDArray[np.int32]
    addresses: Sequence[int | None]
    sizes: Sequence[int]

    def buffers(self) -> list[memoryview]:
        """The bytes of the longer texts."""
        return list(map(_memory, self.addresses, self.sizes))

    def each(self) -> Iterator[memoryview]:
        """The bytes of each text; none where there is none."""
        buffers = self.buffers()
        short = memoryview(self.views.tobytes())
        begins = self.views[:, 3].tolist()
        for row, (size, number) in enumerate(zip(self.lengths.tolist(), self.views[:, 2].tolist(), strict=True)):
            if size > INLINE:
                yield buffers[number][begins[row] : begins[row] + size]
            else:
                yield short[row * VIEW + 4 : row * VIEW + 4 + size]

    def longer(
        self,
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Rows whose text is in a buffer, that buffer, where it begins and where it ends, ``int64`` each."""
        rows = np.flatnonzero(self.lengths > INLINE)
        begins = self.views[rows, 3].astype(np.int64)
        return rows, self.views[rows, 2].astype(np.int64), begins, begins + self.lengths[rows]


@contextmanager
def exported(frame: pl.DataFrame) -> Iterator[Mapping[str, Sequence[Texts]] | None]:
    """Lend the bytes of a table of text columns; they are gone when the context is left.

    Yields:
        The texts of each column, in pieces; None if Polars lays texts out otherwise.
    """
    capsule = frame.__arrow_c_stream__()
    stream = ctypes.cast(_pointer(capsule, b"arrow_array_stream"), ctypes.POINTER(_Stream))
    arrays: list[_Array] = []
    try:
        if _formats(stream) != [b"vu"] * frame.width:
            yield None
            return
        found: dict[str, list[Texts]] = {name: [] for name in frame.columns}
        first = 0
        while True:
            array = _Array()
            if stream.contents.get_next(stream, ctypes.byref(array)):
                raise MemoryError("Polars could not export a table")
            if not array.release:
                break
            arrays.append(array)
            for place, name in enumerate(frame.columns):
                found[name].append(_texts(array.children[place].contents, array.offset, array.length, first))
            first += array.length
        yield found
    finally:
        for array in arrays:
            array.release(ctypes.byref(array))


class _Schema(ctypes.Structure):
    pass


class _Array(ctypes.Structure):
    pass


class _Stream(ctypes.Structure):
    pass


_ReleaseSchema = ctypes.CFUNCTYPE(None, ctypes.POINTER(_Schema))
_ReleaseArray = ctypes.CFUNCTYPE(None, ctypes.POINTER(_Array))
_Schema._fields_ = [
    ("format", ctypes.c_char_p),
    ("name", ctypes.c_char_p),
    ("metadata", ctypes.c_void_p),
    ("flags", ctypes.c_int64),
    ("n_children", ctypes.c_int64),
    ("children", ctypes.POINTER(ctypes.POINTER(_Schema))),
    ("dictionary", ctypes.c_void_p),
    ("release", _ReleaseSchema),
    ("private_data", ctypes.c_void_p),
]
_Array._fields_ = [
    ("length", ctypes.c_int64),
    ("null_count", ctypes.c_int64),
    ("offset", ctypes.c_int64),
    ("n_buffers", ctypes.c_int64),
    ("n_children", ctypes.c_int64),
    ("buffers", ctypes.POINTER(ctypes.c_void_p)),
    ("children", ctypes.POINTER(ctypes.POINTER(_Array))),
    ("dictionary", ctypes.c_void_p),
    ("release", _ReleaseArray),
    ("private_data", ctypes.c_void_p),
]
_Stream._fields_ = [
    ("get_schema", ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(_Stream), ctypes.POINTER(_Schema))),
    ("get_next", ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(_Stream), ctypes.POINTER(_Array))),
    ("get_last_error", ctypes.c_void_p),
    ("release", ctypes.c_void_p),  # the capsule calls it
    ("private_data", ctypes.c_void_p),
]
_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_pointer.restype = ctypes.c_void_p
_pointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
_view = ctypes.pythonapi.PyMemoryView_FromMemory
_view.restype = ctypes.py_object
_view.argtypes = [ctypes.c_void_p, ctypes.c_ssize_t, ctypes.c_int]
_READ = 0x100  # PyBUF_READ


def _formats(stream: Any) -> list[bytes]:
    """Arrow's name of each column's type."""
    schema = _Schema()
    if stream.contents.get_schema(stream, ctypes.byref(schema)):
        raise MemoryError("Polars could not export the names of a table")
    try:
        return [schema.children[place].contents.format for place in range(schema.n_children)]
    finally:
        schema.release(ctypes.byref(schema))


def _texts(column: Any, skipped: int, length: int, first: int) -> Texts:
    offset = column.offset + skipped
    views = np.frombuffer(_memory(column.buffers[1] + VIEW * offset, VIEW * length), np.int32).reshape(length, 4)
    lengths = views[:, 0].copy()  # what lies together is looked through several times as fast
    if column.null_count and column.buffers[0]:
        begin = offset // 8
        bits = np.frombuffer(_memory(column.buffers[0] + begin, (offset + length + 7) // 8 - begin), np.uint8)
        there = np.unpackbits(bits, count=offset - 8 * begin + length, bitorder="little")[offset - 8 * begin :]
        lengths *= there
    many = column.n_buffers - 3
    pointers = column.buffers[2 : 3 + many]
    sizes = _memory(pointers[-1], 8 * many).cast("q").tolist() if many else []
    return Texts(first, lengths, views, pointers[:-1], sizes)


def _memory(address: int | None, size: int) -> memoryview:
    return _view(address, size, _READ) if address and size else memoryview(b"")


__all__ = ["INLINE", "VIEW", "Texts", "exported"]
