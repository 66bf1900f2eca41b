"""GRU, AGRU and AUGRU as one recurrence over packed histories, h_t = h_{t-1} + (p_t + q_t u_t) (c_t - h_{t-1}).

The update gate u and the reset gate r are sigmoids of x + U h. The candidate c is tanh(x + r o (U h)) in the paper
(eq. 5, PyTorch's form, `reset_after`) and tanh(x + U (r o h)) in TensorFlow's GRUCell (variants.md 6). p and q are
scalars a row; p = 0, q = 1 is a GRU (eq. 6). What attention makes of them stands in `dien.py`.

Three backends offer the same two functions, `forward` and `backward`: `cpu` (numba) and `cuda` (Triton) for float32,
`reference` (torch's operations) for every other device and type.
"""

from functools import cache
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from baselines.layers.recurrence import cpu, reference


def recurrence(
    projected: Tensor,
    weight: Tensor,
    p: Tensor,
    q: Tensor,
    batch_sizes: NDArray[np.int64],
    reset_after: bool,
    backend: ModuleType | None = None,
) -> Tensor:
    """Return the states (R, H), the state in front of the first position being zero.

    projected (R, 3H) is x, with columns for u, r and c, as weight (H, 3H) has them; p and q (R,); batch_sizes (T,) as
    in `Packing`. `backend` is chosen by device and type where none is given.
    """
    if projected.shape[1:] != weight.shape[1:]:  # compiled code would write outside of its arrays
        raise ValueError(
            f"projected has rows of {projected.shape[1]}, weight of {weight.shape[1]}: expected 3H in both"
        )
    backend = backend or backend_of(projected.device, projected.dtype, len(weight))
    if backend is cpu and not torch.is_grad_enabled():
        return cpu.forward(projected, weight, p, q, batch_sizes, reset_after, keep=False)[0]
    states: Tensor = _Recurrence.apply(backend, projected, weight, p, q, batch_sizes, reset_after)  # type: ignore[no-untyped-call]
    return states


def backend_of(device: torch.device, dtype: torch.dtype, hidden_size: int) -> ModuleType:
    """Return the backend that computes a recurrence."""
    if dtype == torch.float32 and device.type == "cpu":
        return cpu
    if dtype == torch.float32 and triton_takes(device, hidden_size):
        from baselines.layers.recurrence import cuda

        return cuda
    return reference


@cache
def triton_takes(device: torch.device, hidden_size: int) -> bool:
    """Whether Triton computes recurrences on a device; it comes with torch's builds for GPUs."""
    if device.type != "cuda" or find_spec("triton") is None:
        return False
    from baselines.layers.recurrence import cuda

    return hidden_size <= cuda.LARGEST and cuda.works_on(device)


class _Recurrence(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        backend: ModuleType,
        projected: Tensor,
        weight: Tensor,
        p: Tensor,
        q: Tensor,
        batch_sizes: NDArray[np.int64],
        reset_after: bool,
    ) -> Tensor:
        states: Tensor
        states, saved = backend.forward(projected, weight, p, q, batch_sizes, reset_after)
        ctx.save_for_backward(weight, p, q, states, *saved)
        ctx.backend, ctx.batch_sizes, ctx.reset_after = backend, batch_sizes, reset_after
        return states

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        weight, p, q, states, *saved = ctx.saved_tensors
        return (
            None,
            *ctx.backend.backward(grad, weight, p, q, ctx.batch_sizes, ctx.reset_after, states, *saved),
            None,
            None,
        )
