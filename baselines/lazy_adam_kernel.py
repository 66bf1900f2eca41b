"""Adam (Kingma and Ba, 2015, algorithm 1) on single rows of a table: compiled loops for float32 on the CPU.

A row that is current to step t and gets no gradient until step n would still be moved by dense Adam, at step s, by

    a_s m / (sqrt(v) r_s + eps),   a_s = rate_s beta1^(s-t) / (1 - beta1^s),   r_s = sqrt(beta2^(s-t) / (1 - beta2^s))

with m and v as of step t. Where eps is TensorFlow's, a_s has the factor sqrt(1 - beta2^s), which r_s has as a divisor
here. r_s hardly changes while a_s dies out, so the sum over s = t+1 .. n is expanded about r, the
mean of r_s weighted by a_s:

    A m / D (1 + z^2 (c2 - z (c3 - z c4))),   D = sqrt(v) r + eps,   z = sqrt(v) / D

where A is the sum of a_s and c_i the i-th central moment of r_s. The five numbers depend on t and n, not on the row:
one table of them a step, and a row is caught up at the price of one step, however many it has missed. In the first
some hundred steps r_s falls too fast for that, and the sum is made term by term.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from baselines.layers.compiled import ONE, Floats, add, jit

CALLS = "20b7fb6fc935"  # compiled.py, which is compiled into the functions of this file
Doubles = NDArray[np.float64]
Ints = NDArray[np.int32]

NEVER = 2**31 - 1  # in `current`: m and v are zero, there is nothing to catch up
# For the weights of beta1 = 0.9, which fall geometrically, c_i / sd^i tends to 9 for i = 4 and to 44 for i = 5. With
# c4 / r^4 below 2^-23 the first term left out, c5 / r^5, is below 44 (2^-23 / 9)^(5/4) = 6e-8: the rounding of float32.
SPREAD = 2.0**-23
AHEAD = 8  # rows: while one is computed, the next come from memory, which takes longer than the computing


@intrinsic
def _fetch(typing_context: Any, address: Any) -> Any:
    """Have the processor bring the memory at an address into its cache; nothing happens where there is none."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer, flag = ir.PointerType(ir.IntType(8)), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [pointer, flag, flag, flag])
        function = builder.module.declare_intrinsic("llvm.prefetch", [pointer], kind)
        to_write, soon, data = flag(1), flag(3), flag(1)
        builder.call(function, [builder.inttoptr(arguments[0], pointer), to_write, soon, data])
        return context.get_dummy_value()

    return types.none(types.intp), build


@jit
def _fetch_row(row: int, weight: Floats, m: Floats, v: Floats) -> None:
    """Fetch the first and the last number of a row of each (N, E): all of it up to E = 32."""
    size = weight.strides[0]
    for start in (weight.ctypes.data, m.ctypes.data, v.ctypes.data):
        _fetch(types.intp(start + row * size))
        _fetch(types.intp(start + row * size + size - 4))


@jit
def summarise(
    moments: Doubles, rate: Doubles, root: Doubles, steps: int, reach: int, beta1: float, beta2: float
) -> None:
    """Fill moments[t] = (A, r, c2, c3, c4) for the rows current to t, the newest `reach` t before n = `steps`.

    rate[s] = rate_s / (1 - beta1^s), root[s] = 1 / sqrt(1 - beta2^s); where eps is TensorFlow's, rate[s] has the factor
    sqrt(1 - beta2^s) instead, and root[s] = 1. r is 0 where the expansion does not hold.
    Older t keep what they have: beta1^reach is nothing beside 1.
    """
    q = np.sqrt(beta2)
    f0 = beta1
    f1, f2, f3, f4 = f0 * q, f0 * q**2, f0 * q**3, f0 * q**4
    m0 = m1 = m2 = m3 = m4 = 0.0  # sum of a_s r_s^i
    for t in range(steps - 1, max(steps - reach, 0) - 1, -1):
        a, r = rate[t + 1], root[t + 1]
        m0, m1, m2, m3, m4 = (
            f0 * (a + m0),
            f1 * (a * r + m1),
            f2 * (a * r**2 + m2),
            f3 * (a * r**3 + m3),
            f4 * (a * r**4 + m4),
        )
        if m0 == 0:  # rates of zero
            moments[t, 0], moments[t, 1], moments[t, 2:] = 0, 1, 0
            continue
        scale = 1 / m0
        mean, e2, e3, e4 = m1 * scale, m2 * scale, m3 * scale, m4 * scale
        c4 = e4 - 4 * mean * e3 + 6 * mean**2 * e2 - 3 * mean**4
        moments[t, 0] = m0
        moments[t, 1] = mean if c4 < SPREAD * mean**4 else 0.0
        moments[t, 2] = e2 - mean**2
        moments[t, 3] = e3 - 3 * mean * e2 + 2 * mean**3
        moments[t, 4] = c4


@jit
def _move_at_once(p: Floats, m: Floats, v: Floats, moments: Floats, decay1: float, decay2: float, eps: float) -> None:
    """Move p (E,) by all missed steps, and let m and v decay."""
    total, mean, c2, c3, c4 = moments[0], moments[1], moments[2], moments[3], moments[4]
    for j in range(len(p)):
        deviation = np.sqrt(v[j])
        inverse = ONE / (deviation * mean + eps)
        z = deviation * inverse
        p[j] -= total * m[j] * inverse * (ONE + z * z * (c2 - z * (c3 - z * c4)))
        m[j] *= decay1
        v[j] *= decay2


@jit
def _add_move(sums: Floats, m: Floats, deviation: Floats, a: float, r: float, eps: float) -> None:
    """sums += the movement of one missed step; deviation is the root of v. All of a length that fills vectors."""
    for j in range(len(sums)):
        sums[j] += a * m[j] / (deviation[j] * r + eps)


@jit
def catch_up(
    rows: NDArray[np.int64],
    weight: Floats,
    m: Floats,
    v: Floats,
    current: Ints,
    moments: Floats,
    rate: Doubles,
    root: Doubles,
    decay1: Doubles,
    decay2: Doubles,
    steps: int,
    reach: int,
    eps: float,
) -> None:
    """Bring `rows` (K,), repetitions allowed, from step current[row] to `steps`; numbers that are no row are ignored.

    weight, m, v (N, E); current (N,); the others by step, with decay1[k] = beta1^k and decay2[k] = beta2^k.
    """
    epsilon = np.float32(eps)
    size = weight.shape[1]
    sums, old_m, deviation = np.zeros((3, -(-size // 32) * 32), np.float32)
    for k in range(len(rows)):
        row, ahead = rows[k], rows[min(k + AHEAD, len(rows) - 1)]
        if 0 <= ahead < len(current) and current[ahead] < steps:
            _fetch_row(ahead, weight, m, v)
        if row < 0 or row >= len(current):  # the look-up itself raises
            continue
        t = int(current[row])
        if t >= steps:
            continue
        current[row] = steps
        p_row, m_row, v_row = weight[row], m[row], v[row]
        d1, d2 = np.float32(decay1[steps - t]), np.float32(decay2[steps - t])
        if moments[t, 1] > 0:
            _move_at_once(p_row, m_row, v_row, moments[t], d1, d2, epsilon)
            continue
        sums[:] = 0
        for j in range(size):
            old_m[j], deviation[j] = m_row[j], np.sqrt(v_row[j])
        last = min(steps, t + reach)
        for s in range(last, t, -1):  # the smallest first, for the sake of rounding
            a, r = rate[s] * decay1[s - t], root[s] * np.sqrt(decay2[s - t])
            _add_move(sums, old_m, deviation, np.float32(a), np.float32(r), epsilon)
        for j in range(size):
            p_row[j] -= sums[j]
            m_row[j] *= d1
            v_row[j] *= d2


@jit
def _update(
    p: Floats,
    m: Floats,
    v: Floats,
    g: Floats,
    new1: float,
    beta2: float,
    new2: float,
    rate: float,
    root: float,
    eps: float,
) -> None:
    """One step of Adam on p (E,) with gradient g, in the order of operations of torch's."""
    for j in range(len(p)):
        m[j] += new1 * (g[j] - m[j])
        v[j] *= beta2
    for j in range(len(p)):  # apart: see `jit`
        v[j] += new2 * g[j] * g[j]
        p[j] -= rate * m[j] / (np.sqrt(v[j]) * root + eps)


@jit
def sum_by_row(ids: NDArray[np.int64], values: Floats, slots: Ints, rows: NDArray[np.int64], sums: Floats) -> Any:
    """Sum values (K, E) by ids (K,) into sums[:U], in the order of K, rows[:U] the ids without repetition; return U.

    slots (N,) must be -1 and is left so.
    """
    count = 0
    for k in range(len(ids)):
        slot = slots[ids[k]]
        if slot < 0:
            slots[ids[k]] = count
            rows[count] = ids[k]
            sums[count] = values[k]
            count += 1
        else:
            add(sums[slot], values[k])
    for k in range(count):
        slots[rows[k]] = -1
    return count


@jit
def update(
    rows: NDArray[np.int64],
    gradients: Floats,
    weight: Floats,
    m: Floats,
    v: Floats,
    current: Ints,
    steps: int,
    rate: float,
    root: float,
    beta1: float,
    beta2: float,
    eps: float,
) -> None:
    """One step of Adam on `rows` (U,), all different and current, with gradients (U, E); it is step number `steps`."""
    new1, b2, new2 = np.float32(1 - beta1), np.float32(beta2), np.float32(1 - beta2)
    a, r, epsilon = np.float32(rate), np.float32(root), np.float32(eps)
    for u in range(len(rows)):
        row, ahead = rows[u], rows[min(u + AHEAD, len(rows) - 1)]
        _fetch_row(ahead, weight, m, v)
        _update(weight[row], m[row], v[row], gradients[u], new1, b2, new2, a, r, epsilon)
        current[row] = steps
