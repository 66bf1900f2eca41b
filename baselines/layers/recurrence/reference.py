"""The recurrence in torch's own operations, position by position, for any device and type.

`forward` is differentiable itself, which `backward` and the other backends are tested against.
"""

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor


def forward(
    projected: Tensor, weight: Tensor, p: Tensor, q: Tensor, batch_sizes: NDArray[np.int64], reset_after: bool
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Return states (R, H), and gates (R, 3H) holding u, r, c, and inner (R, H), U h or r o h."""
    w_u, w_r, w_c = weight.chunk(3, dim=1)
    rows: list[int] = batch_sizes.tolist()
    h = projected.new_zeros(rows[0], len(weight))
    states, gates, inner = [], [], []
    for x, p_t, q_t in zip(*(torch.split(tensor, rows) for tensor in (projected, p[:, None], q[:, None])), strict=True):
        h = h[: len(x)]  # the histories that go on
        x_u, x_r, x_c = x.chunk(3, dim=1)
        u, r = torch.sigmoid(x_u + h @ w_u), torch.sigmoid(x_r + h @ w_r)
        inside = h @ w_c if reset_after else r * h
        c = torch.tanh(x_c + (r * inside if reset_after else inside @ w_c))
        h = h + (p_t + q_t * u) * (c - h)
        states.append(h)
        gates.append(torch.cat([u, r, c], dim=1))
        inner.append(inside)
    return torch.cat(states), (torch.cat(gates), torch.cat(inner))


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
    """Return the gradients of projected (R, 3H), weight (H, 3H), p and q (R,), for grad (R, H) of the states."""
    of_u, of_r, of_c = (part.T for part in weight.chunk(3, dim=1))
    rows: list[int] = batch_sizes.tolist()
    earlier = [states.new_zeros(rows[0], len(weight)), *torch.split(states, rows)[:-1]]
    before = torch.cat([h[:count] for h, count in zip(earlier, rows, strict=True)])  # (R, H) in front of each row
    d_projected, d_p, d_q = torch.empty_like(gates), torch.empty_like(p), torch.empty_like(q)
    terms = (grad, before, gates, inner, p[:, None], q[:, None], d_projected, d_p, d_q)
    positions = list(zip(*(torch.split(tensor, rows) for tensor in terms), strict=True))
    d_h = grad.new_zeros(0, len(weight))
    for d_state, h, gate, inside, p_t, q_t, d_x, d_p_t, d_q_t in reversed(positions):
        u, r, c = gate.chunk(3, dim=1)
        d_h = d_state + F.pad(d_h, (0, 0, 0, len(h) - len(d_h)))  # histories that end here get nothing from behind
        d_z, z = d_h * (c - h), p_t + q_t * u
        d_u = d_z * q_t * u * (1 - u)  # of the pre-activations, as d_r and d_c
        d_c = d_h * z * (1 - c * c)
        d_h = d_h * (1 - z)
        if reset_after:
            d_r = d_c * inside * r * (1 - r)
            d_h = d_h + (d_c * r) @ of_c
        else:
            d_inside = d_c @ of_c
            d_r = d_inside * h * r * (1 - r)
            d_h = d_h + d_inside * r
        d_h = d_h + d_u @ of_u + d_r @ of_r
        d_x.copy_(torch.cat([d_u, d_r, d_c], dim=1))
        d_p_t.copy_(d_z.sum(1))
        d_q_t.copy_((d_z * u).sum(1))
    return d_projected, weight_gradient(before, gates, inner, d_projected, reset_after), d_p, d_q


def weight_gradient(before: Tensor, gates: Tensor, inner: Tensor, d_projected: Tensor, reset_after: bool) -> Tensor:
    """Return the gradient (H, 3H) of the weight; before (R, H) holds the state in front of each row."""
    size = before.shape[1]
    r, d_c = gates[:, size : 2 * size], d_projected[:, 2 * size :]
    of_candidate = before.T @ (d_c * r) if reset_after else inner.T @ d_c
    return torch.cat([before.T @ d_projected[:, : 2 * size], of_candidate], dim=1)
