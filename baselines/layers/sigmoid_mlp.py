"""The MLP with two sigmoid layers and one output that scores attention and the auxiliary loss (variants.md 2, 3)."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from baselines.layers import sigmoid_mlp_kernel as kernel
from baselines.layers.compiled import arrays, in_chunks


def sigmoid_mlp(x: Tensor, shift: Tensor, owner: Tensor, first: Tensor, second: nn.Linear, last: Tensor) -> Tensor:
    """Return last . sigmoid(second(sigmoid(first x_n + shift[owner_n]))) (N,).

    x (N, I), shift (M, P) what several rows share, owner (N,), first (P, I), second from P to Q, last (Q,).
    By the compiled kernel where it applies (float32 on the CPU), else by torch's own operations.
    """
    if x.device.type == "cpu" and x.dtype == torch.float32:
        scores: Tensor = CompiledSigmoidMLP.apply(x, shift, owner, first.T, second.weight.T, second.bias, last)  # type: ignore[no-untyped-call]
        return scores
    hidden = torch.sigmoid(nn.functional.linear(x, first) + shift.index_select(0, owner))
    return torch.sigmoid(second(hidden)) @ last


class CompiledSigmoidMLP(torch.autograd.Function):
    """Forward and backward in one pass over the rows each."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, shift: Tensor, owner: Tensor, first: Tensor, second: Tensor, bias: Tensor, last: Tensor
    ) -> Tensor:
        count = len(x)
        hidden1, hidden2 = x.new_empty(count, first.shape[1]), x.new_empty(count, second.shape[1])
        x, first, second, out = x.contiguous(), first.contiguous(), second.contiguous(), x.new_empty(count)
        inputs, outputs = arrays(x, shift, owner, first, second, bias, last), arrays(hidden1, hidden2, out)
        in_chunks(lambda low, high: kernel.forward(low, high, *inputs, *outputs), count)
        ctx.save_for_backward(x, shift, owner, first, second, bias, last, hidden1, hidden2)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, shift, owner, first, second, bias, last, hidden1, hidden2 = ctx.saved_tensors
        d_x = torch.empty_like(x)
        inputs = arrays(grad, x, owner, first, second, last, hidden1, hidden2, d_x)

        def run(low: int, high: int) -> list[NDArray[np.float32]]:
            sums = [np.zeros(tuple(tensor.shape), np.float32) for tensor in (shift, first, second, bias, last)]
            kernel.backward(low, high, *inputs, *sums)
            return sums

        first_piece, *others = in_chunks(run, len(x))
        d_shift, d_first, d_second, d_bias, d_last = (
            torch.from_numpy(sum(pieces, start=total)) for total, *pieces in zip(first_piece, *others, strict=True)
        )
        return d_x, d_shift, None, d_first, d_second, d_bias, d_last
