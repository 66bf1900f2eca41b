"""One batch on several processes: each takes its share, and together they do what one process does, up to rounding.

Losses and gradients are means over the whole batch: a process weighs its share by what it is of the batch, and DDP
takes the mean over processes. What the batch decides as a whole is kept: the length T of its padding, and Dice's
statistics, which are summed over processes.
"""

from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from datamodules.batch import Batch


def processes() -> int:
    """How many processes train together; 1 outside of DDP."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def share_of(batch: Batch) -> tuple[Batch, float]:
    """Return this process's samples of a batch, and the weight of their mean loss in the mean over processes.

    Every so manieth history: neighbours have like lengths, so all processes have as much to do.
    """
    count = processes()
    if count == 1:
        return batch, 1.0
    which = np.flatnonzero(batch.history_of.cpu().numpy() % count == dist.get_rank())
    return batch.part(which), count * len(which) / len(batch)


def weighed(mean: Tensor, share: float) -> Tensor:
    """Return a mean () over this process's samples times their weight; of no sample the mean is NaN, and adds 0."""
    return mean * share if share else mean.nan_to_num(0.0) * 0.0


def mean_over_processes(values: Tensor) -> Tensor:
    """Return the mean of each process's values (any shape), without a gradient."""
    count = processes()
    if count == 1:
        return values
    values = values.detach().clone()
    dist.all_reduce(values)
    return values / count


def sum_over_processes(values: Tensor) -> Tensor:
    """Return the sum of each process's values (any shape), whose gradient is the sum over processes too."""
    total: Tensor = _Sum.apply(values)  # type: ignore[no-untyped-call]
    return total


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        total = values.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone()
        dist.all_reduce(total)
        return total
