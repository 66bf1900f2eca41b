"""The recurrence as two Triton kernels for float32 on a GPU.

A position is far too small to fill a GPU, and launching a dozen operations for each costs more than the arithmetic. So
one program takes one history through all of its positions, with the weights and the state in registers. The gradient
of the weights does not depend on the position before: it is left to matrix products over all rows.

Products and sums are those of float32 (no TF32), and no two programs write to the same place: the same input gives the
same bits.
"""

import warnings
from functools import cache
from typing import Any

import numpy as np
import torch
import triton
import triton.language as tl
from numpy.typing import NDArray
from torch import Tensor

from baselines.layers.recurrence.reference import weight_gradient

LARGEST = 128  # hidden size: three matrices of it must fit into the registers of one program


def forward(
    projected: Tensor, weight: Tensor, p: Tensor, q: Tensor, batch_sizes: NDArray[np.int64], reset_after: bool
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """As `reference.forward`, in one launch."""
    projected, weight, p, q = (tensor.contiguous() for tensor in (projected, weight, p, q))
    states = projected.new_empty(len(projected), len(weight))
    gates, inner = torch.empty_like(projected), torch.empty_like(states)
    starts, lengths = first_rows_and_lengths(batch_sizes, projected.device)
    _launch(_forward, lengths, states, reset_after, projected, weight, p, q, starts, lengths, states, gates, inner)
    return states, (gates, inner, starts, lengths)


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
    starts: Tensor,
    lengths: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """As `reference.backward`, in one launch and two matrix products."""
    grad, transposed, p, q = (tensor.contiguous() for tensor in (grad, weight.T, p, q))
    d_projected, d_p, d_q, before = (torch.empty_like(tensor) for tensor in (gates, p, q, states))
    inputs = (grad, transposed, p, q, starts, lengths, states, gates, inner)
    _launch(_backward, lengths, states, reset_after, *inputs, d_projected, d_p, d_q, before)
    return d_projected, weight_gradient(before, gates, inner, d_projected, reset_after), d_p, d_q


@triton.jit
def _tanh(x):
    return 2 * tl.sigmoid(2 * x) - 1


@triton.jit
def _load_matrix(matrix, j, stride: tl.constexpr, H: tl.constexpr):
    """An (H, H) matrix as (P, P), zero beyond H. Its columns stand side by side in memory: sums then run over rows."""
    inside = (j < H)[:, None] & (j < H)[None, :]
    return tl.load(matrix + j[:, None] * stride + j[None, :], mask=inside, other=0.0)


@triton.jit
def _forward(
    projected, weight, p, q, starts, lengths, states, gates, inner,
    H: tl.constexpr, P: tl.constexpr, RESET_AFTER: tl.constexpr,
):  # fmt: skip
    """States (R, H), gates (R, 3H) holding u, r, c, and inner (R, H), U h or r o h, of one history."""
    history = tl.program_id(0)
    j = tl.arange(0, P)  # units, padded to a power of two; a padding unit's state stays 0
    real = j < H
    w_u = _load_matrix(weight, j, 3 * H, H)
    w_r = _load_matrix(weight + H, j, 3 * H, H)
    w_c = _load_matrix(weight + 2 * H, j, 3 * H, H)
    h = tl.zeros((P,), tl.float32)
    for t in range(tl.load(lengths + history)):
        row = tl.load(starts + t) + history
        x, gate = projected + row * (3 * H) + j, gates + row * (3 * H) + j
        u = tl.sigmoid(tl.load(x, mask=real, other=0.0) + tl.sum(h[:, None] * w_u, axis=0))
        r = tl.sigmoid(tl.load(x + H, mask=real, other=0.0) + tl.sum(h[:, None] * w_r, axis=0))
        i_c = tl.load(x + 2 * H, mask=real, other=0.0)
        if RESET_AFTER:
            inside = tl.sum(h[:, None] * w_c, axis=0)
            c = _tanh(i_c + r * inside)
        else:
            inside = r * h
            c = _tanh(i_c + tl.sum(inside[:, None] * w_c, axis=0))
        h = h + (tl.load(p + row) + tl.load(q + row) * u) * (c - h)
        tl.store(states + row * H + j, h, mask=real)
        tl.store(gate, u, mask=real)
        tl.store(gate + H, r, mask=real)
        tl.store(gate + 2 * H, c, mask=real)
        tl.store(inner + row * H + j, inside, mask=real)


@triton.jit
def _backward(
    grad, transposed, p, q, starts, lengths, states, gates, inner, d_projected, d_p, d_q, before,
    H: tl.constexpr, P: tl.constexpr, RESET_AFTER: tl.constexpr,
):  # fmt: skip
    """d_projected (R, 3H), d_p and d_q (R,), and before (R, H), the state in front of a row, of one history."""
    history = tl.program_id(0)
    j = tl.arange(0, P)
    real = j < H
    w_u = _load_matrix(transposed, j, H, H)
    w_r = _load_matrix(transposed + H * H, j, H, H)
    w_c = _load_matrix(transposed + 2 * H * H, j, H, H)
    length = tl.load(lengths + history)
    dh = tl.zeros((P,), tl.float32)
    for back in range(length):
        t = length - 1 - back
        row = tl.load(starts + t) + history
        previous = tl.load(starts + t - 1, mask=t > 0, other=0) + history
        gate, d_x = gates + row * (3 * H) + j, d_projected + row * (3 * H) + j
        u = tl.load(gate, mask=real, other=0.0)
        r = tl.load(gate + H, mask=real, other=0.0)
        c = tl.load(gate + 2 * H, mask=real, other=0.0)
        h = tl.load(states + previous * H + j, mask=real & (t > 0), other=0.0)
        q_t = tl.load(q + row)
        z = tl.load(p + row) + q_t * u
        dh += tl.load(grad + row * H + j, mask=real, other=0.0)
        d_z = dh * (c - h)
        d_u = d_z * q_t * u * (1 - u)  # of the pre-activations, as d_r and d_c
        d_c = dh * z * (1 - c * c)
        dh = dh * (1 - z)
        if RESET_AFTER:
            d_r = d_c * tl.load(inner + row * H + j, mask=real, other=0.0) * r * (1 - r)
            dh += tl.sum((d_c * r)[:, None] * w_c, axis=0)
        else:
            d_inside = tl.sum(d_c[:, None] * w_c, axis=0)
            d_r = d_inside * h * r * (1 - r)
            dh += d_inside * r
        dh += tl.sum(d_u[:, None] * w_u + d_r[:, None] * w_r, axis=0)
        tl.store(d_x, d_u, mask=real)
        tl.store(d_x + H, d_r, mask=real)
        tl.store(d_x + 2 * H, d_c, mask=real)
        tl.store(d_p + row, tl.sum(d_z, axis=0))
        tl.store(d_q + row, tl.sum(d_z * u, axis=0))
        tl.store(before + row * H + j, h, mask=real)


def first_rows_and_lengths(batch_sizes: NDArray[np.int64], device: torch.device) -> tuple[Tensor, Tensor]:
    """First row of each position (T,), and length of each history that is not empty, in one transfer."""
    starts = np.cumsum(batch_sizes) - batch_sizes
    lengths = np.searchsorted(-batch_sizes, -np.arange(batch_sizes[0]))  # positions that have more rows than that
    both = torch.from_numpy(np.concatenate([starts, lengths])).to(device)
    return both[: len(starts)], both[len(starts) :]


def padded_size(size: int) -> int:
    """The power of two in which a program holds `size` units."""
    return max(16, int(triton.next_power_of_2(size)))


def warps(padded: int) -> int:
    """Warps of a program: as many as hold its three matrices without spilling, for they all meet at every sum."""
    return {16: 4, 32: 4, 64: 8, 128: 16}[padded]


def _launch(kernel: Any, lengths: Tensor, states: Tensor, reset_after: bool, *arguments: Tensor) -> None:
    """Run a kernel, one program for each of `lengths` (histories,), on the GPU of states (R, H)."""
    size = states.shape[1]
    padded = padded_size(size)
    if len(lengths):
        with torch.cuda.device_of(states):  # type: ignore[no-untyped-call]
            kernel[(len(lengths),)](*arguments, H=size, P=padded, RESET_AFTER=reset_after, num_warps=warps(padded))


@cache
def works_on(device: torch.device) -> bool:
    """Whether Triton can build and run kernels for a GPU; a warning says why not (often: no C compiler)."""
    try:
        one = torch.ones(1, 3, device=device)
        forward(one, one, one[:, 0], one[:, 0], np.ones(1, np.int64), True)
    except Exception as error:  # whatever a compiler, linker or driver may say
        warnings.warn(
            f"Triton cannot build kernels for {device} ({type(error).__name__}: {error}), so recurrences take the "
            "plain loop, which is slow: install a C compiler and Python's headers, or the Triton that belongs to torch",
            stacklevel=2,
        )
        return False
    return True
