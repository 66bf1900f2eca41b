"""What the kernels for float32 on the CPU share: how they are compiled, their block sizes, and their threads.

Numba compiles on first use (some seconds, kept on disk afterwards) and needs no compiler to be installed. Its cache
does not see that a function of another file has changed: each file that calls functions of this one holds this file's
hash as `CALLS`, so that it changes too (`tests/baselines/test_compiled.py` says when).
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
import torch
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.float32]
Result = TypeVar("Result")
BLOCK = 32  # rows of one matrix product: at the sizes here few enough for OpenBLAS to stay on the thread that calls it
SMALLEST_CHUNK = 32  # rows or histories below which handing work to another thread costs more than it saves


def _has_cache() -> bool:
    """Whether numba finds a folder for compiled code; a container may have neither a home nor code to write beside."""
    try:
        njit(cache=True)(_has_cache)  # looks for the folder, and compiles nothing yet
    except RuntimeError:
        return False
    return True


SETTINGS: dict[str, Any] = {"cache": _has_cache(), "error_model": "numpy", "nogil": True}
# "contract" allows fused multiply-add; anything looser would let the compiler undo the rounding trick in `sigmoid`.
# No sum may have two products: which of them is fused can differ between code just compiled and code from the cache.
jit = njit(fastmath={"contract"}, **SETTINGS)
jit_sums = njit(fastmath={"contract", "reassoc"}, **SETTINGS)  # sums over an array are vectorised, in another order

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


@njit(fastmath={"contract"}, inline="always", **SETTINGS)
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
    return ONE / (ONE + exponential) if x == x else x  # bits of a NaN would be shifted too


@jit
def add(out: Floats, x: Floats) -> None:
    """out (n,) += x."""
    for j in range(len(out)):
        out[j] += x[j]


def arrays(*tensors: Tensor) -> list[NDArray[Any]]:
    """The tensors as NumPy arrays, of the same memory where they are contiguous."""
    return [tensor.detach().contiguous().numpy() for tensor in tensors]


def in_chunks(run: Callable[[int, int], Result], count: int) -> list[Result]:
    """Return run(low, high) for consecutive chunks of range(count), computed by as many threads as torch has; in order.

    `run` uses NumPy and compiled code only, which releases the interpreter's lock: a torch operation on another thread
    would start a second set of OpenMP threads. The chunks depend on count and torch's number of threads alone, so that
    sums over them are repeatable.
    """
    chunks = max(1, min(torch.get_num_threads(), count // SMALLEST_CHUNK))
    if chunks == 1:
        return [run(0, count)]
    edges = [count * chunk // chunks for chunk in range(chunks + 1)]
    others = [_pool(chunks - 1).submit(run, low, high) for low, high in pairwise(edges[1:])]
    return [run(edges[0], edges[1]), *(other.result() for other in others)]


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="kernel")
