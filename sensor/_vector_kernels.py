"""What kernels do with 64 bytes or 64 bits at once: single instructions of most processors, written for LLVM.

Called by Python (kernels that are not compiled, for tests), each is the plain loop that it stands for.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import types
from numba.extending import intrinsic as _intrinsic
from numba.extending import overload

U8 = npt.NDArray[np.uint8]
Num = int | np.int64

intrinsic: Any = _intrinsic

_BITS = ir.IntType(64)
_VECTOR = ir.VectorType(ir.IntType(8), 64)


def equal(data: U8, at: Num, letter: Num) -> np.uint64:
    """A bit for each of the 64 bytes from ``at`` on that is ``letter``, the lowest first.

    The caller sees to it that they lie within the array.
    """
    return _bits(data[at : at + 64] == letter)


def control_or_beyond(data: U8, at: Num) -> np.uint64:
    """Likewise for bytes below a space or above 127: as signed numbers, those below 32."""
    return _bits(data[at : at + 64].view(np.int8) < 32)


def lowest(bits: np.uint64) -> Num:
    """Number of the lowest bit that is set, 64 if none is."""
    number = int(bits)
    return np.int64((number & -number).bit_length() - 1 if number else 64)


def _bits(which: npt.NDArray[np.bool_]) -> np.uint64:
    made: np.uint64 = np.packbits(which, bitorder="little").view(np.uint64)[0]
    return made


def _loaded(context: Any, builder: Any, kind: Any, data: Any, at: Any) -> Any:
    array = context.make_array(kind)(context, builder, data)
    place = builder.gep(array.data, [at])
    vector = builder.load(builder.bitcast(place, _VECTOR.as_pointer()))
    vector.align = 1
    return vector


@intrinsic
def _equal(_: Any, data: Any, at: Any, letter: Any) -> Any:
    def made(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vector = _loaded(context, builder, signature.args[0], *arguments[:2])
        narrow = builder.trunc(arguments[2], ir.IntType(8))
        one = builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), narrow, ir.Constant(ir.IntType(32), 0))
        lanes = ir.Constant(ir.VectorType(ir.IntType(32), 64), [0] * 64)
        everywhere = builder.shuffle_vector(one, ir.Constant(_VECTOR, ir.Undefined), lanes)
        return builder.bitcast(builder.icmp_unsigned("==", vector, everywhere), _BITS)

    return types.uint64(data, types.int64, types.int64), made


@intrinsic
def _control_or_beyond(_: Any, data: Any, at: Any) -> Any:
    def made(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vector = _loaded(context, builder, signature.args[0], *arguments)
        return builder.bitcast(builder.icmp_signed("<", vector, ir.Constant(_VECTOR, [32] * 64)), _BITS)

    return types.uint64(data, types.int64), made


@intrinsic
def _lowest(_: Any, bits: Any) -> Any:
    def made(__: Any, builder: Any, ___: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.uint64), made


@overload(equal, strict=False)
def _compiled_equal(data: Any, at: Any, letter: Any) -> Any:
    return lambda data, at, letter: _equal(data, at, letter)


@overload(control_or_beyond, strict=False)
def _compiled_control_or_beyond(data: Any, at: Any) -> Any:
    return lambda data, at: _control_or_beyond(data, at)


@overload(lowest, strict=False)
def _compiled_lowest(bits: Any) -> Any:
    return lambda bits: _lowest(bits)
