"""GRU, AGRU and AUGRU as one recurrence.

Every row's state moves by h_t = h_{t-1} + z_t (c_t - h_{t-1}), c_t the candidate, and differs only in z_t:

    GRU    (eq. 6)        z = u
    AGRU   (eq. 11)       z = a
    AUGRU  (eq. 12, 13)   z = a u
    AUGRU  released code  z = a + (1 - a) u    TensorFlow's u_tf = 1 - u is a keep gate, scaled by (1 - a): facts 1

with the update gate u (H,) and the attention weight a (). So z = p + q u with scalars p and q a step, both 0 at
padding, where the state stays exactly as it is. The candidate is tanh(W i + r o (U h) + b) in the paper (eq. 5,
PyTorch's form) and tanh(W i + U (r o h) + b) in TensorFlow's GRUCell (facts 6).
"""

from typing import Any, Literal

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from baselines.layers import recurrent_kernel as kernel

Gate = Literal[
    "gru",
    "agru",
    "augru",  # a u
    "augru-keep",  # a + (1 - a) u
]


def gate_terms(gate: Gate, attention: Tensor | None, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Return p and q (B, T) of z = p + q u for attention (B, T), already 0 at padding, and mask (B, T)."""
    if gate == "gru":
        real = mask.to(torch.get_default_dtype())
        return torch.zeros_like(real), real
    if attention is None:
        raise ValueError(f"gate {gate!r} needs attention weights, got None")
    if gate == "agru":
        return attention, torch.zeros_like(attention)
    if gate == "augru":
        return torch.zeros_like(attention), attention
    return attention, (1 - attention) * mask


class RecurrentLayer(nn.Module):
    """One recurrence over (B, T, inputs), states (B, T, hidden_size), the state before the first step zero.

    `reset_after=True` is the paper's candidate, False TensorFlow's. `gate_bias` is the initial bias of TensorFlow's
    reset and keep gates (1 in the released code, facts 6); the update gate being its complement starts at minus it.
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

    def forward(self, x: Tensor, p: Tensor, q: Tensor, lengths: Tensor) -> Tensor:
        """Return the states (B, T, H) for inputs x (B, T, I), gate terms p and q (B, T), lengths (B,)."""
        projected = nn.functional.linear(x, self.input_weight, self.bias)  # every step's input product at once
        return recurrence(projected, self.state_weight, p, q, lengths, self.reset_after)


def last_state(states: Tensor) -> Tensor:
    """(B, T, H) to (B, H): padded steps keep the state, so the last step holds every sample's last state."""
    return states[:, -1]


def recurrence(projected: Tensor, weight: Tensor, p: Tensor, q: Tensor, lengths: Tensor, reset_after: bool) -> Tensor:
    """The recurrence by the compiled kernel where it applies (float32 on the CPU), else by the plain loop."""
    if projected.device.type == "cpu" and projected.dtype == torch.float32:
        states: Tensor = CompiledRecurrence.apply(projected, weight, p, q, lengths, reset_after)  # type: ignore[no-untyped-call]
        return states
    return reference_recurrence(projected, weight, p, q, reset_after)


def reference_recurrence(projected: Tensor, weight: Tensor, p: Tensor, q: Tensor, reset_after: bool) -> Tensor:
    """The recurrence as a plain differentiable loop, for any device and type.

    projected (B, T, 3H), weight (H, 3H), p and q (B, T), both 0 at padding; states (B, T, H).
    """
    size = weight.shape[0]
    w_u, w_r, w_c = torch.split(weight, size, dim=1)
    h = projected.new_zeros(projected.shape[0], size)
    states = []
    for t in range(projected.shape[1]):
        i_u, i_r, i_c = torch.split(projected[:, t], size, dim=1)
        u, r = torch.sigmoid(i_u + h @ w_u), torch.sigmoid(i_r + h @ w_r)
        c = torch.tanh(i_c + (r * (h @ w_c) if reset_after else (r * h) @ w_c))
        h = h + (p[:, t, None] + q[:, t, None] * u) * (c - h)
        states.append(h)
    return torch.stack(states, dim=1)


class CompiledRecurrence(torch.autograd.Function):
    """`reference_recurrence` in float32 on the CPU: compiled loops forward and backward.

    The loops hold only what the recurrence forces into them; the weights' gradient is one matrix product after it.
    """

    @staticmethod
    def forward(
        ctx: Any, projected: Tensor, weight: Tensor, p: Tensor, q: Tensor, lengths: Tensor, reset_after: bool
    ) -> Tensor:
        batch, steps, width = projected.shape
        size = weight.shape[0]
        states = projected.new_empty(batch, steps + 1, size)
        states[:, 0] = 0
        gates = projected.new_empty(batch, steps, width)
        inner = projected.new_zeros(batch, steps, size)  # enters a matrix product backward: defined at padding too
        kernel.forward(*_arrays(projected, weight, p, q, lengths), reset_after, *_arrays(states, gates, inner))
        ctx.save_for_backward(weight, p, q, lengths, states, gates, inner)
        ctx.reset_after = reset_after
        return states[:, 1:]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        weight, p, q, lengths, states, gates, inner = ctx.saved_tensors
        d_projected, d_inner = torch.empty_like(gates), torch.empty_like(inner)
        d_p, d_q = torch.empty_like(p), torch.empty_like(q)
        kernel.backward(
            *_arrays(grad, weight, p, q, lengths),
            ctx.reset_after,
            *_arrays(states, gates, inner, d_projected, d_inner, d_p, d_q),
        )
        size = weight.shape[0]
        previous = states[:, :-1].flatten(0, 1).T  # (H, B T)
        d_sums = d_projected.flatten(0, 1)  # (B T, 3H)
        d_gates = previous @ d_sums[:, : 2 * size]
        if ctx.reset_after:
            d_candidate = previous @ d_inner.flatten(0, 1)
        else:
            d_candidate = inner.flatten(0, 1).T @ d_sums[:, 2 * size :]
        return d_projected, torch.cat([d_gates, d_candidate], dim=1), d_p, d_q, None, None


def _arrays(*tensors: Tensor) -> list[NDArray[Any]]:
    return [tensor.detach().contiguous().numpy() for tensor in tensors]
