"""The MLP with two sigmoid layers and one output that scores attention and the auxiliary loss (variants.md 2, 3)."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from baselines.layers import sigmoid_mlp_kernel as kernel
from baselines.layers.compiled import arrays, in_chunks

Shared = tuple[Tensor, Tensor]  # numbers (M, P) that several rows share, and which of them a row has (N,)


def sigmoid_mlp(
    x: Tensor, shared: Shared, first: Tensor, second: nn.Linear, last: Tensor, further: Shared | None = None
) -> Tensor:
    """Return last . sigmoid(second(sigmoid(first x_n + shared_n + further_n))) (N,).

    x (N, I), first (P, I), second from P to Q, last (Q,).
    By the compiled kernel where it applies (float32 on the CPU), else by torch's own operations.
    """
    if x.device.type == "cpu" and x.dtype == torch.float32:
        more = further or (x.new_zeros(0, len(first)), shared[1])
        inputs = (x, *shared, *more, first.T, second.weight.T, second.bias, last)
        if not torch.is_grad_enabled():
            return scores_of(*inputs, keep=False)[0]
        scores: Tensor = CompiledSigmoidMLP.apply(*inputs)  # type: ignore[no-untyped-call]
        return scores
    hidden = nn.functional.linear(x, first)
    for values, owner in (shared, *([further] if further else [])):
        hidden = hidden + values.index_select(0, owner)
    hidden = torch.sigmoid(hidden)
    return torch.sigmoid(second(hidden)) @ last


def scores_of(
    x: Tensor,
    shift: Tensor,
    owner: Tensor,
    shift2: Tensor,
    owner2: Tensor,
    first: Tensor,
    second: Tensor,
    bias: Tensor,
    last: Tensor,
    *,
    keep: bool = True,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the scores (N,), and both hidden layers (N, P) (N, Q), which are empty without `keep`.

    The other arguments are those of the kernel, in its order.
    """
    count, kept = len(x), len(x) if keep else 0
    hidden1, hidden2 = x.new_empty(kept, first.shape[1]), x.new_empty(kept, second.shape[1])
    inputs, out = arrays(x, shift, owner, shift2, owner2, first, second, bias, last), x.new_empty(count)
    outputs = arrays(hidden1, hidden2, out)
    in_chunks(lambda low, high: kernel.forward(low, high, *inputs, *outputs), count)
    return out, hidden1, hidden2


class CompiledSigmoidMLP(torch.autograd.Function):
    """Forward and backward in one pass over the rows each."""

    @staticmethod
    def forward(ctx: Any, *inputs: Tensor) -> Tensor:
        kept = [each.contiguous() for each in inputs]
        scores, *hidden = scores_of(*kept)
        ctx.save_for_backward(*kept, *hidden)
        return scores

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, shift, owner, shift2, owner2, first, second, bias, last, hidden1, hidden2 = ctx.saved_tensors
        d_x = torch.empty_like(x)
        inputs = arrays(grad, x, owner, owner2, first, second, last, hidden1, hidden2, d_x)

        def run(low: int, high: int) -> list[NDArray[np.float32]]:
            summed = (shift, shift2, first, second, bias, last)
            sums = [np.zeros(tuple(tensor.shape), np.float32) for tensor in summed]
            kernel.backward(low, high, *inputs, *sums)
            return sums

        first_piece, *others = in_chunks(run, len(x))
        d_shift, d_shift2, d_first, d_second, d_bias, d_last = (
            torch.from_numpy(sum(pieces, start=total)) for total, *pieces in zip(first_piece, *others, strict=True)
        )
        return d_x, d_shift, None, d_shift2, None, d_first, d_second, d_bias, d_last
