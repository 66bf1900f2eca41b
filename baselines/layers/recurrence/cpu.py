"""The recurrence as two compiled loops for float32 on the CPU.

Rows stand position after position (`packing.py`), so a position reads and writes blocks of memory, and its matrix
products are products of a block of histories with the weights, by BLAS; LLVM turns the loops over units into vector
instructions.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from baselines.layers.compiled import BLOCK, ONE, TWO, Floats, add, arrays, in_chunks, jit, jit_sums, sigmoid

CALLS = "20b7fb6fc935"  # compiled.py, which is compiled into the functions of this file


def forward(
    projected: Tensor,
    weight: Tensor,
    p: Tensor,
    q: Tensor,
    batch_sizes: NDArray[np.int64],
    reset_after: bool,
    keep: bool = True,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """As `reference.forward`; without `keep` nothing is kept for `backward`."""
    projected, kept = projected.contiguous(), len(projected) if keep else 0
    states = projected.new_empty(len(projected), len(weight))
    gates, inner = projected.new_empty(kept, projected.shape[1]), states.new_empty(kept, states.shape[1])
    inputs, outputs = arrays(projected, weight, p, q), arrays(states, gates, inner)

    def run(low: int, high: int) -> None:
        _forward(low, high, *inputs, batch_sizes, reset_after, *outputs)

    in_chunks(run, int(batch_sizes[0]))
    return states, (gates, inner)


def backward(
    grad: Tensor,
    weight: Tensor,
    p: Tensor,
    q: Tensor,
    batch_sizes: NDArray[np.int64],
    reset_after: bool,
    states: Tensor,
    gates: Tensor,
    inner: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """As `reference.backward`."""
    d_projected, d_p, d_q = torch.empty_like(gates), torch.empty_like(p), torch.empty_like(q)
    inputs, others = arrays(grad, weight, p, q), arrays(states, gates, inner, d_projected, d_p, d_q)

    def run(low: int, high: int) -> Floats:
        d_weight = np.empty(tuple(weight.shape), np.float32)
        _backward(low, high, *inputs, batch_sizes, reset_after, *others, d_weight)
        return d_weight

    first, *more = in_chunks(run, int(batch_sizes[0]))
    return d_projected, torch.from_numpy(sum(more, start=first)), d_p, d_q


# Small functions, for LLVM vectorises a loop only where it can tell its arrays apart.


@jit
def _sigmoid_of_sum(out: Floats, x: Floats, y: Floats) -> None:
    """out (n,) = sigmoid(x + y)."""
    for j in range(len(out)):
        out[j] = sigmoid(x[j] + y[j])


@jit
def _multiply(out: Floats, x: Floats, y: Floats) -> None:
    """out (n,) = x y."""
    for j in range(len(out)):
        out[j] = x[j] * y[j]


@jit
def _add_product(out: Floats, x: Floats, y: Floats, z: Floats) -> None:
    """out (n,) = x + y z."""
    for j in range(len(out)):
        out[j] = x[j] + y[j] * z[j]


@jit
def _move(after: Floats, c: Floats, pre: Floats, u: Floats, h: Floats, p: float, q: float) -> None:
    """c (H,) = tanh(pre), after = h + (p + q u) (c - h)."""
    for j in range(len(after)):
        c[j] = TWO * sigmoid(TWO * pre[j]) - ONE
        after[j] = h[j] + (p + q * u[j]) * (c[j] - h[j])


@jit
def _forward(
    low: int,
    high: int,
    projected: Floats,
    weight: Floats,
    p: Floats,
    q: Floats,
    batch_sizes: NDArray[np.int64],
    reset_after: bool,
    states: Floats,
    gates: Floats,
    inner: Floats,
) -> None:
    """Fill states (R, H), gates (R, 3H) holding u, r, c, and inner (R, H), U h or r o h, of histories low to high.

    Gates and inner are not kept where they are empty. Histories are counted by decreasing length, as they stand in a
    position.

    projected (R, 3H), weight (H, 3H), p and q (R,), batch_sizes (T,) rows of each position.
    """
    size = weight.shape[0]
    gate_weight, candidate_weight = weight[:, : 2 * size].copy(), weight[:, 2 * size :].copy()
    gate_sum, candidate_sum = np.empty((BLOCK, 2 * size), np.float32), np.empty((BLOCK, size), np.float32)
    zeros, keep = np.zeros((BLOCK, size), np.float32), len(gates) == len(projected)
    gate_block, inside_block = np.empty((BLOCK, 3 * size), np.float32), np.empty((BLOCK, size), np.float32)
    before, start = 0, 0  # first rows of the position before and of this one
    for t in range(len(batch_sizes)):
        for a in range(low, min(high, batch_sizes[t]), BLOCK):
            n = min(BLOCK, min(high, batch_sizes[t]) - a)
            h = states[before + a : before + a + n] if t else zeros[:n]
            rows = slice(start + a, start + a + n)
            x, after = projected[rows], states[rows]
            gate, inside = gate_block[:n], inside_block[:n]
            if keep:
                gate, inside = gates[rows], inner[rows]
            np.dot(h, gate_weight, gate_sum[:n])
            if reset_after:
                np.dot(h, candidate_weight, inside)
            for i in range(n):
                _sigmoid_of_sum(gate[i, : 2 * size], x[i], gate_sum[i])
                if not reset_after:
                    _multiply(inside[i], gate[i, size : 2 * size], h[i])
            if not reset_after:
                np.dot(inside, candidate_weight, candidate_sum[:n])
            for i in range(n):
                if reset_after:
                    _add_product(candidate_sum[i], x[i, 2 * size :], gate[i, size : 2 * size], inside[i])
                else:
                    add(candidate_sum[i], x[i, 2 * size :])
                _move(
                    after[i], gate[i, 2 * size :], candidate_sum[i], gate[i], h[i], p[start + a + i], q[start + a + i]
                )
        before, start = start, start + batch_sizes[t]


@jit_sums
def _move_back(
    dh: Floats,
    d_u: Floats,
    d_c: Floats,
    grad: Floats,
    u: Floats,
    c: Floats,
    h: Floats,
    p: float,
    q: float,
) -> tuple[Any, Any]:
    """Take dh (H,) through `_move`: gradients of both pre-activations, what goes on to h, and return d_p and d_q."""
    d_p, d_q = np.float32(0), np.float32(0)
    for j in range(len(dh)):
        dh_j = dh[j] + grad[j]
        z = p + q * u[j]
        d_z = dh_j * (c[j] - h[j])
        d_p += d_z
        d_q += d_z * u[j]
        d_u[j] = d_z * q * u[j] * (ONE - u[j])
        d_c[j] = dh_j * z * (ONE - c[j] * c[j])
        dh[j] = dh_j * (ONE - z)
    return d_p, d_q


@jit
def _reset_after_back(d_r: Floats, d_inside: Floats, d_c: Floats, inside: Floats, r: Floats) -> None:
    """Gradients (H,) of r's pre-activation and of U h where the candidate is x + r o (U h)."""
    for j in range(len(d_r)):
        d_r[j] = d_c[j] * inside[j] * r[j] * (ONE - r[j])
        d_inside[j] = d_c[j] * r[j]


@jit
def _reset_before_back(d_r: Floats, dh: Floats, d_inside: Floats, h: Floats, r: Floats) -> None:
    """Gradient (H,) of r's pre-activation, and h's share added to dh, where the candidate is x + U (r o h)."""
    for j in range(len(d_r)):
        d_r[j] = d_inside[j] * h[j] * r[j] * (ONE - r[j])
        dh[j] += d_inside[j] * r[j]


@jit
def _backward(
    low: int,
    high: int,
    grad: Floats,
    weight: Floats,
    p: Floats,
    q: Floats,
    batch_sizes: NDArray[np.int64],
    reset_after: bool,
    states: Floats,
    gates: Floats,
    inner: Floats,
    d_projected: Floats,
    d_p: Floats,
    d_q: Floats,
    d_weight: Floats,
) -> None:
    """Fill d_projected (R, 3H), d_p and d_q (R,) of histories low to high, and d_weight (H, 3H) with their share.

    grad (R, H) of the states; the rest as `_forward` took and left it.
    """
    size = weight.shape[0]
    gate_weight = weight[:, : 2 * size].T.copy()  # (2H, H)
    candidate_weight = weight[:, 2 * size :].T.copy()  # (H, H)
    dh = np.zeros((high - low, size), np.float32)
    d_gate, d_c = np.empty((BLOCK, 2 * size), np.float32), np.empty((BLOCK, size), np.float32)
    d_inside, back = np.empty((BLOCK, size), np.float32), np.empty((BLOCK, size), np.float32)
    d_gate_weight, d_candidate_weight = np.empty((size, 2 * size), np.float32), np.empty((size, size), np.float32)
    sum_gate_weight, sum_candidate_weight = np.zeros_like(d_gate_weight), np.zeros_like(d_candidate_weight)
    zeros = np.zeros((BLOCK, size), np.float32)
    start = len(grad)
    for t in range(len(batch_sizes) - 1, -1, -1):
        start -= batch_sizes[t]
        before = start - batch_sizes[t - 1] if t else 0
        for a in range(low, min(high, batch_sizes[t]), BLOCK):
            n = min(BLOCK, min(high, batch_sizes[t]) - a)
            h = states[before + a : before + a + n] if t else zeros[:n]
            rows = slice(start + a, start + a + n)
            gate, inside, d_x = gates[rows], inner[rows], d_projected[rows]
            for i in range(n):
                row = start + a + i
                d_p[row], d_q[row] = _move_back(
                    dh[a - low + i], d_gate[i], d_c[i], grad[row], gate[i], gate[i, 2 * size :], h[i], p[row], q[row]
                )
                d_x[i, 2 * size :] = d_c[i]
                if reset_after:
                    _reset_after_back(d_gate[i, size:], d_inside[i], d_c[i], inside[i], gate[i, size : 2 * size])
            if reset_after:
                np.dot(d_inside[:n], candidate_weight, back[:n])
                np.dot(h.T, d_inside[:n], d_candidate_weight)
            else:
                np.dot(d_c[:n], candidate_weight, back[:n])
                np.dot(inside.T, d_c[:n], d_candidate_weight)
            for i in range(n):
                if reset_after:
                    add(dh[a - low + i], back[i])
                else:
                    _reset_before_back(d_gate[i, size:], dh[a - low + i], back[i], h[i], gate[i, size : 2 * size])
                d_x[i, : 2 * size] = d_gate[i]
            np.dot(d_gate[:n], gate_weight, back[:n])
            np.dot(h.T, d_gate[:n], d_gate_weight)
            for i in range(n):
                add(dh[a - low + i], back[i])
            add(sum_gate_weight.ravel(), d_gate_weight.ravel())
            add(sum_candidate_weight.ravel(), d_candidate_weight.ravel())
    d_weight[:, : 2 * size] = sum_gate_weight
    d_weight[:, 2 * size :] = sum_candidate_weight
