"""What the kernels for float32 on the CPU share, on both sides of the compiler.

Numba compiles on first use (some seconds, kept on disk afterwards) and asks no compiler of the user.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.float32]
BLOCK = 32  # rows of one matrix product: at the sizes here few enough for OpenBLAS to stay on the thread that calls it

_LOG2_E = np.float32(1.4426950408889634)
_ROUND = np.float32(1.5 * 2**23)  # adding and subtracting it rounds a float32 to a whole number
_LIMIT = np.float32(80.0)
# 2**f for f in [-1/2, 1/2]: Taylor, ln(2)**k / k!; the rest of the series is below 6e-9
_C1, _C2, _C3, _C4, _C5, _C6, _C7 = (np.float32(np.log(2.0) ** k / np.prod(np.arange(1.0, k + 1))) for k in range(1, 8))
ONE, TWO = np.float32(1), np.float32(2)


@intrinsic
def _bits(typing_context: Any, value: Any) -> Any:
    """The 32 bits of a float32 as an int32."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.IntType(32))

    return types.int32(types.float32), build


@intrinsic
def _float(typing_context: Any, value: Any) -> Any:
    """The float32 that has the 32 bits of an int32."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.int32), build


# "contract" allows fused multiply-add; anything looser would let the compiler undo the rounding trick below
jit = njit(cache=True, fastmath={"contract"}, error_model="numpy", nogil=True)


@njit(cache=True, fastmath={"contract"}, error_model="numpy", inline="always")
def sigmoid(x: float) -> Any:
    """1 / (1 + exp(-x)) without a branch, so that the loop around it vectorises; NaN stays NaN."""
    y = -x
    y = _LIMIT if y > _LIMIT else y
    y = -_LIMIT if y < -_LIMIT else y
    y = y * _LOG2_E
    shifted = y + _ROUND
    f = y - (shifted - _ROUND)
    power = ONE + f * (_C1 + f * (_C2 + f * (_C3 + f * (_C4 + f * (_C5 + f * (_C6 + f * _C7))))))
    exponential = _float(types.int32(_bits(power) + (_bits(shifted) << types.int32(23))))
    return ONE / (ONE + exponential)


@jit
def add(out: Floats, x: Floats) -> None:
    """out (n,) += x."""
    for j in range(len(out)):
        out[j] += x[j]


def arrays(*tensors: Tensor) -> list[NDArray[Any]]:
    """The tensors as NumPy arrays, of the same memory where they are contiguous."""
    return [tensor.detach().contiguous().numpy() for tensor in tensors]
