"""The recurrence of `recurrent.py` as two compiled loops for float32 on the CPU.

Each sample is walked on its own, over its real steps alone, with its state in the first-level cache; the loops
over units are what LLVM turns into vector instructions. Numba compiles on first use (some seconds, kept on disk
afterwards) and asks no compiler of the user.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic
from numpy.typing import NDArray

Floats = NDArray[np.float32]

_LOG2_E = np.float32(1.4426950408889634)
_ROUND = np.float32(1.5 * 2**23)  # adding and subtracting it rounds a float32 to a whole number
_LIMIT = np.float32(80.0)
# 2**f for f in [-1/2, 1/2]: Taylor, ln(2)**k / k!; the rest of the series is below 6e-9
_C1, _C2, _C3, _C4, _C5, _C6, _C7 = (np.float32(np.log(2.0) ** k / np.prod(np.arange(1.0, k + 1))) for k in range(1, 8))
_ONE, _HALF, _TWO = np.float32(1), np.float32(0.5), np.float32(2)


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
_jit = njit(cache=True, fastmath={"contract"}, error_model="numpy", nogil=True)


@njit(cache=True, fastmath={"contract"}, error_model="numpy", inline="always")
def _sigmoid(x: float) -> Any:
    """1 / (1 + exp(-x)) without a branch, so that the loop around it vectorises; NaN stays NaN."""
    y = -x
    y = _LIMIT if y > _LIMIT else y
    y = -_LIMIT if y < -_LIMIT else y
    y = y * _LOG2_E
    shifted = y + _ROUND
    f = y - (shifted - _ROUND)
    power = _ONE + f * (_C1 + f * (_C2 + f * (_C3 + f * (_C4 + f * (_C5 + f * (_C6 + f * _C7))))))
    exponential = _float(types.int32(_bits(power) + (_bits(shifted) << types.int32(23))))
    return _ONE / (_ONE + exponential)


# Small functions, for LLVM vectorises a loop only where it can tell its arrays apart.


@_jit
def _add_product(out: Floats, vector: Floats, matrix: Floats) -> None:
    """out (n,) += vector (k,) @ matrix (k, n), four rows at a time to spare loads and stores of out."""
    rows = len(vector)
    for k in range(0, rows - 3, 4):
        v0, v1, v2, v3 = vector[k], vector[k + 1], vector[k + 2], vector[k + 3]
        for j in range(len(out)):
            out[j] += v0 * matrix[k, j] + v1 * matrix[k + 1, j] + (v2 * matrix[k + 2, j] + v3 * matrix[k + 3, j])
    for k in range(rows - rows % 4, rows):
        for j in range(len(out)):
            out[j] += vector[k] * matrix[k, j]


@_jit
def _sigmoid_of_sum(out: Floats, x: Floats, y: Floats) -> None:
    """out (n,) = sigmoid(x + y)."""
    for j in range(len(out)):
        out[j] = _sigmoid(x[j] + y[j])


@_jit
def _step(after: Floats, c: Floats, pre: Floats, u: Floats, h: Floats, p: float, q: float) -> None:
    """c (H,) = tanh(pre), after = h + (p + q u) (c - h)."""
    for j in range(len(after)):
        c[j] = _TWO * _sigmoid(_TWO * pre[j]) - _ONE
        after[j] = h[j] + (p + q * u[j]) * (c[j] - h[j])


@_jit
def forward(
    projected: Floats,
    weight: Floats,
    p: Floats,
    q: Floats,
    lengths: NDArray[np.int64],
    reset_after: bool,
    states: Floats,
    gates: Floats,
    inner: Floats,
) -> None:
    """Fill states (B, T + 1, H), gates (B, T, 3H) holding u, r, c, and inner (B, T, H): U h, or r o h.

    projected (B, T, 3H), weight (H, 3H), p and q (B, T). states[:, 0] must be zero; at padding the state stays,
    and gates and inner are left alone.
    """
    batch, steps, _ = projected.shape
    size = weight.shape[0]
    gate_weight, candidate_weight = weight[:, : 2 * size].copy(), weight[:, 2 * size :].copy()
    gate_sum, candidate_sum = np.empty(2 * size, np.float32), np.empty(size, np.float32)
    for b in range(batch):
        for t in range(lengths[b]):
            h, gate, x, inside = states[b, t], gates[b, t], projected[b, t], inner[b, t]
            r, x_c = gate[size : 2 * size], x[2 * size :]
            gate_sum[:] = 0
            _add_product(gate_sum, h, gate_weight)
            _sigmoid_of_sum(gate[: 2 * size], x, gate_sum)
            if reset_after:
                inside[:] = 0
                _add_product(inside, h, candidate_weight)
                for j in range(size):
                    candidate_sum[j] = x_c[j] + r[j] * inside[j]
            else:
                for j in range(size):
                    inside[j] = r[j] * h[j]
                    candidate_sum[j] = x_c[j]
                _add_product(candidate_sum, inside, candidate_weight)
            _step(states[b, t + 1], gate[2 * size :], candidate_sum, gate, h, p[b, t], q[b, t])
        for t in range(lengths[b], steps):
            states[b, t + 1] = states[b, t]


@_jit
def _unstep(
    dh: Floats,
    d_u: Floats,
    d_c: Floats,
    d_z: Floats,
    grad: Floats,
    u: Floats,
    c: Floats,
    h: Floats,
    p: float,
    q: float,
) -> None:
    """Take dh (H,) through one step: gradients of both pre-activations and of z, and what goes on to h."""
    for j in range(len(dh)):
        dh_j = dh[j] + grad[j]
        z = p + q * u[j]
        d_z[j] = dh_j * (c[j] - h[j])
        d_u[j] = d_z[j] * q * u[j] * (_ONE - u[j])
        d_c[j] = dh_j * z * (_ONE - c[j] * c[j])
        dh[j] = dh_j * (_ONE - z)


@_jit
def backward(
    grad: Floats,
    weight: Floats,
    p: Floats,
    q: Floats,
    lengths: NDArray[np.int64],
    reset_after: bool,
    states: Floats,
    gates: Floats,
    inner: Floats,
    d_projected: Floats,
    d_inner: Floats,
    d_p: Floats,
    d_q: Floats,
) -> None:
    """Fill d_projected (B, T, 3H), d_inner (B, T, H; reset_after only), d_p and d_q (B, T); zero at padding.

    grad (B, T, H) of the states; the rest as `forward` took and left it.
    """
    batch, steps, size = grad.shape
    gate_weight = weight[:, : 2 * size].T.copy()  # (2H, H)
    candidate_weight = weight[:, 2 * size :].T.copy()  # (H, H)
    dh, d_z, d_rh = np.empty(size, np.float32), np.empty(size, np.float32), np.empty(size, np.float32)
    for b in range(batch):
        dh[:] = 0
        for t in range(steps - 1, lengths[b] - 1, -1):
            d_projected[b, t] = 0
            if reset_after:
                d_inner[b, t] = 0
            d_p[b, t] = 0
            d_q[b, t] = 0
            for j in range(size):
                dh[j] += grad[b, t, j]
        for t in range(lengths[b] - 1, -1, -1):
            h, gate, inside, d_x = states[b, t], gates[b, t], inner[b, t], d_projected[b, t]
            r, d_r, d_c = gate[size : 2 * size], d_x[size : 2 * size], d_x[2 * size :]
            _unstep(dh, d_x, d_c, d_z, grad[b, t], gate, gate[2 * size :], h, p[b, t], q[b, t])
            sum_p, sum_q = np.float32(0), np.float32(0)
            for j in range(size):
                sum_p += d_z[j]
                sum_q += d_z[j] * gate[j]
            d_p[b, t], d_q[b, t] = sum_p, sum_q
            if reset_after:
                d_inside = d_inner[b, t]
                for j in range(size):
                    d_r[j] = d_c[j] * inside[j] * r[j] * (_ONE - r[j])
                    d_inside[j] = d_c[j] * r[j]
                _add_product(dh, d_inside, candidate_weight)
            else:
                d_rh[:] = 0
                _add_product(d_rh, d_c, candidate_weight)
                for j in range(size):
                    d_r[j] = d_rh[j] * h[j] * r[j] * (_ONE - r[j])
                    dh[j] += d_rh[j] * r[j]
            _add_product(dh, d_x[: 2 * size], gate_weight)
