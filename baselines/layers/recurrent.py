"""GRU, AGRU and AUGRU as one recurrence.

Every row's state moves by h_t = h_{t-1} + z_t (c_t - h_{t-1}), c_t the candidate, and differs only in z_t:

    GRU    (eq. 6)        z = u
    AGRU   (eq. 11)       z = a
    AUGRU  (eq. 12, 13)   z = a u
    AUGRU  released code  z = a + (1 - a) u    TensorFlow's u_tf = 1 - u is a keep gate, scaled by 1 - a: variants.md 1

with the update gate u (H,) and the attention weight a (). So z = p + q u with scalars p and q a step. The candidate is
tanh(W i + r o (U h) + b) in the paper (eq. 5, PyTorch's form) and tanh(W i + U (r o h) + b) in TensorFlow's GRUCell
(variants.md 6).
"""

from functools import cache
from importlib.util import find_spec
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from baselines.layers import recurrent_kernel as kernel
from baselines.layers.chunks import in_chunks
from baselines.layers.compiled import arrays
from baselines.layers.steps import Steps

Gate = Literal[
    "gru",
    "agru",
    "augru",  # a u
    "augru-keep",  # a + (1 - a) u
]


def gate_terms(gate: Gate, attention: Tensor) -> tuple[Tensor, Tensor]:
    """Return p and q (R,) of z = p + q u for attention weights (R,), of which "gru" takes the number alone."""
    zeros = torch.zeros_like(attention)
    if gate == "gru":
        return zeros, torch.ones_like(attention)
    if gate == "agru":
        return attention, zeros
    if gate == "augru":
        return zeros, attention
    return attention, 1 - attention


class RecurrentLayer(nn.Module):
    """One recurrence over steps, the state in front of the first step zero.

    `reset_after=True` is the paper's candidate, False TensorFlow's. `gate_bias` is the initial bias of TensorFlow's
    reset and keep gates (1 in the released code, variants.md 6); the update gate, the keep gate's complement, starts at
    minus it.
    """

    def __init__(self, inputs: int, hidden_size: int, *, reset_after: bool, gate_bias: float = 0.0) -> None:
        super().__init__()
        if inputs < 1 or hidden_size < 1:
            raise ValueError(f"inputs and hidden_size must be positive, got {inputs} and {hidden_size}")
        self.hidden_size, self.reset_after = hidden_size, reset_after
        self.input_weight = nn.Parameter(torch.empty(3 * hidden_size, inputs))  # rows: update, reset, candidate
        self.state_weight = nn.Parameter(torch.empty(hidden_size, 3 * hidden_size))  # columns likewise
        self.bias = nn.Parameter(torch.zeros(3 * hidden_size))
        self._initialise(gate_bias)

    @torch.no_grad()
    def _initialise(self, gate_bias: float) -> None:
        """Glorot-uniform over each of TensorFlow's two kernels: both gates on [i, h], the candidate on [i, h]."""
        size, inputs = self.hidden_size, self.input_weight.shape[1]
        for outputs, rows in ((2 * size, slice(0, 2 * size)), (size, slice(2 * size, 3 * size))):
            limit = (6 / (inputs + size + outputs)) ** 0.5
            self.input_weight[rows].uniform_(-limit, limit)
            self.state_weight[:, rows].uniform_(-limit, limit)
        self.bias[:size] = -gate_bias
        self.bias[size : 2 * size] = gate_bias

    def forward(self, x: Tensor, steps: Steps, gate: Gate = "gru", attention: Tensor | None = None) -> Tensor:
        """Return the states (R, H) for inputs x (R, I) and, except for "gru", attention weights (R,)."""
        if attention is None and gate != "gru":
            raise ValueError(f"gate {gate!r} needs attention weights, got None")
        p, q = gate_terms(gate, x[:, 0].detach() if attention is None else attention)
        projected = nn.functional.linear(x, self.input_weight, self.bias)  # every step's input product at once
        return recurrence(projected, self.state_weight, p, q, steps.sizes, self.reset_after)


def recurrence(
    projected: Tensor, weight: Tensor, p: Tensor, q: Tensor, sizes: NDArray[np.int64], reset_after: bool
) -> Tensor:
    """The recurrence in float32 by a kernel, on the CPU or by Triton on a GPU; else by the plain loop.

    projected (R, 3H), weight (H, 3H), p and q (R,), sizes (T,) rows of each step as in `Steps`; states (R, H).
    """
    states: Tensor
    if projected.dtype == torch.float32 and projected.device.type == "cpu":
        states = CompiledRecurrence.apply(projected, weight, p, q, sizes, reset_after)  # type: ignore[no-untyped-call]
        return states
    if projected.dtype == torch.float32 and triton_takes(projected.device, len(weight)):
        from baselines.layers.recurrent_triton import TritonRecurrence

        states = TritonRecurrence.apply(projected, weight, p, q, sizes, reset_after)  # type: ignore[no-untyped-call]
        return states
    return reference_recurrence(projected, weight, p, q, sizes, reset_after)


@cache
def triton_takes(device: torch.device, hidden_size: int) -> bool:
    """Whether `recurrent_triton` computes on a device; Triton comes with torch's builds for GPUs."""
    if device.type != "cuda" or find_spec("triton") is None:
        return False
    from baselines.layers import recurrent_triton

    return hidden_size <= recurrent_triton.LARGEST and recurrent_triton.works_on(device)


def reference_recurrence(
    projected: Tensor, weight: Tensor, p: Tensor, q: Tensor, sizes: NDArray[np.int64], reset_after: bool
) -> Tensor:
    """The recurrence as a plain differentiable loop, for any device and type; arguments as `recurrence`."""
    size = weight.shape[0]
    w_u, w_r, w_c = torch.split(weight, size, dim=1)
    rows = [int(n) for n in sizes]
    h = projected.new_zeros(rows[0], size)
    states = []
    for x, p_t, q_t in zip(*(torch.split(tensor, rows) for tensor in (projected, p, q)), strict=True):
        h = h[: len(x)]  # the samples that go on
        i_u, i_r, i_c = torch.split(x, size, dim=1)
        u, r = torch.sigmoid(i_u + h @ w_u), torch.sigmoid(i_r + h @ w_r)
        c = torch.tanh(i_c + (r * (h @ w_c) if reset_after else (r * h) @ w_c))
        h = h + (p_t[:, None] + q_t[:, None] * u) * (c - h)
        states.append(h)
    return torch.cat(states)


class CompiledRecurrence(torch.autograd.Function):
    """`reference_recurrence` in float32 on the CPU: compiled loops forward and backward."""

    @staticmethod
    def forward(
        ctx: Any, projected: Tensor, weight: Tensor, p: Tensor, q: Tensor, sizes: NDArray[np.int64], reset_after: bool
    ) -> Tensor:
        size = weight.shape[0]
        states = projected.new_empty(len(projected), size)
        gates, inner = torch.empty_like(projected), torch.empty_like(states)
        projected = projected.contiguous()
        inputs, outputs = arrays(projected, weight, p, q), arrays(states, gates, inner)
        in_chunks(lambda low, high: kernel.forward(low, high, *inputs, sizes, reset_after, *outputs), int(sizes[0]))
        ctx.save_for_backward(weight, p, q, states, gates, inner)
        ctx.sizes, ctx.reset_after = sizes, reset_after
        return states

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        weight, p, q, states, gates, inner = ctx.saved_tensors
        d_projected, d_p, d_q = torch.empty_like(gates), torch.empty_like(p), torch.empty_like(q)
        inputs = arrays(grad, weight, p, q)
        others = arrays(states, gates, inner, d_projected, d_p, d_q)

        def run(low: int, high: int) -> NDArray[np.float32]:
            d_weight = np.empty(tuple(weight.shape), np.float32)
            kernel.backward(low, high, *inputs, ctx.sizes, ctx.reset_after, *others, d_weight)
            return d_weight

        first, *more = in_chunks(run, int(ctx.sizes[0]))
        return d_projected, torch.from_numpy(sum(more, start=first)), d_p, d_q, None, None
