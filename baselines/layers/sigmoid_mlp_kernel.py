"""The two-layer sigmoid MLP of `sigmoid_mlp.py` as compiled loops for float32 on the CPU.

A block of rows passes through all layers while it is in the cache; matrix products are BLAS's.
"""

import numpy as np
from numpy.typing import NDArray

from baselines.layers.compiled import BLOCK, ONE, Floats, add, jit, sigmoid

CALLS = "20b7fb6fc935"  # compiled.py, which is compiled into the functions of this file


@jit
def _activate(hidden: Floats, shift: Floats) -> None:
    """hidden (n,) = sigmoid(hidden + shift)."""
    for j in range(len(hidden)):
        hidden[j] = sigmoid(hidden[j] + shift[j])


@jit
def _activate_back(d_hidden: Floats, hidden: Floats) -> None:
    """d_hidden (n,) through the sigmoid whose value is hidden."""
    for j in range(len(hidden)):
        d_hidden[j] *= hidden[j] * (ONE - hidden[j])


@jit
def _scale(out: Floats, x: Floats, factor: float) -> None:
    """out (n,) = factor x."""
    for j in range(len(out)):
        out[j] = factor * x[j]


@jit
def forward(
    low: int,
    high: int,
    x: Floats,
    shift: Floats,
    owner: NDArray[np.int64],
    shift2: Floats,
    owner2: NDArray[np.int64],
    first: Floats,
    second: Floats,
    bias: Floats,
    last: Floats,
    hidden1: Floats,
    hidden2: Floats,
    out: Floats,
) -> None:
    """Fill rows low to high of hidden1 (N, P) and hidden2 (N, Q), unless they are empty, and of out (N,).

    x (N, I), shift (M, P) added to row n's first pre-activation as shift[owner[n]], and so shift2 unless it is empty,
    first (I, P), second (P, Q), bias (Q,), last (Q,).
    """
    keep = len(hidden1) == len(x)
    block1, block2 = np.empty((BLOCK, first.shape[1]), np.float32), np.empty((BLOCK, second.shape[1]), np.float32)
    for start in range(low, high, BLOCK):
        rows = slice(start, min(start + BLOCK, high))
        own, own2 = owner[rows], owner2[rows]
        h1, h2 = block1[: len(own)], block2[: len(own)]
        if keep:
            h1, h2 = hidden1[rows], hidden2[rows]
        np.dot(x[rows], first, h1)
        for i in range(len(h1)):
            if len(shift2):
                add(h1[i], shift2[own2[i]])
            _activate(h1[i], shift[own[i]])
        np.dot(h1, second, h2)
        for i in range(len(h2)):
            _activate(h2[i], bias)
        np.dot(h2, last, out[rows])


@jit
def backward(
    low: int,
    high: int,
    grad: Floats,
    x: Floats,
    owner: NDArray[np.int64],
    owner2: NDArray[np.int64],
    first: Floats,
    second: Floats,
    last: Floats,
    hidden1: Floats,
    hidden2: Floats,
    d_x: Floats,
    d_shift: Floats,
    d_shift2: Floats,
    d_first: Floats,
    d_second: Floats,
    d_bias: Floats,
    d_last: Floats,
) -> None:
    """Fill rows low to high of d_x (N, I) and add what they give to the other gradients.

    grad (N,) is of out; the rest as `forward` took and left it.
    """
    first_back, second_back = first.T.copy(), second.T.copy()
    d_h1, d_h2 = np.empty((BLOCK, first.shape[1]), np.float32), np.empty((BLOCK, second.shape[1]), np.float32)
    of_first, of_second = np.empty_like(first), np.empty_like(second)
    for start in range(low, high, BLOCK):
        rows = slice(start, min(start + BLOCK, high))
        h1, h2, own, own2, g = hidden1[rows], hidden2[rows], owner[rows], owner2[rows], grad[rows]
        d1, d2 = d_h1[: len(h1)], d_h2[: len(h2)]
        add(d_last, np.dot(g, h2))
        for i in range(len(h2)):
            _scale(d2[i], last, g[i])
            _activate_back(d2[i], h2[i])
            add(d_bias, d2[i])
        np.dot(h1.T, d2, of_second)
        add(d_second.ravel(), of_second.ravel())
        np.dot(d2, second_back, d1)
        for i in range(len(h1)):
            _activate_back(d1[i], h1[i])
            add(d_shift[own[i]], d1[i])
            if len(d_shift2):
                add(d_shift2[own2[i]], d1[i])
        np.dot(x[rows].T, d1, of_first)
        add(d_first.ravel(), of_first.ravel())
        np.dot(d1, first_back, d_x[rows])
