"""The behaviours of a batch without its padding: the layout in which every layer over steps computes.

Padding is a third of an ordinary batch. A tensor "over steps" here has one row for each of the R real behaviours,
first all first steps, then all second steps, and so on, inside a step by decreasing history length (the layout of
torch's PackedSequence). So step t is one block of rows, and the samples that go on are the first rows of it.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class Steps(NamedTuple):
    """Where the R real behaviours of B padded histories of T steps stand; R may be 0."""

    sample: Tensor  # (R,) sample of each row
    position: Tensor  # (R,) place of each row in the flattened (B, T)
    previous: Tensor  # (R - sizes[0],) row of the step before, for the rows after the first step
    last: Tensor  # (B,) row of each sample's last step, R where there is none
    sizes: NDArray[np.int64]  # (T,) rows of each step
    lengths: Tensor  # (B,)

    @property
    def shape(self) -> tuple[int, int]:
        """B and T."""
        return len(self.lengths), len(self.sizes)

    @property
    def first(self) -> int:
        """Rows of the first step: the samples that have a history at all."""
        return int(self.sizes[0])


def steps_of(lengths: Tensor, steps: int) -> Steps:
    """Return where the behaviours of histories of lengths (B,), padded to T = steps, stand."""
    length = lengths.cpu().numpy()
    order = np.argsort(-length, kind="stable")
    real = np.arange(steps)[:, None] < length[order]  # (T, B)
    step, rank = real.nonzero()
    sizes = real.sum(axis=1)
    starts = np.cumsum(sizes) - sizes
    sample = order[rank]
    last = np.empty_like(order)
    last[order] = np.where(length[order] > 0, starts[length[order] - 1] + np.arange(len(order)), len(sample))
    first = sizes[0]
    previous = starts[step[first:] - 1] + rank[first:]

    def tensor(numbers: NDArray[np.int64]) -> Tensor:
        return torch.from_numpy(numbers).to(lengths.device)

    return Steps(tensor(sample), tensor(sample * steps + step), tensor(previous), tensor(last), sizes, lengths)


def pack(padded: Tensor, steps: Steps) -> Tensor:
    """(B, T, ...) to (R, ...)."""
    return padded.flatten(0, 1).index_select(0, steps.position)


def unpack(rows: Tensor, steps: Steps) -> Tensor:
    """(R, ...) to (B, T, ...), zero at padding."""
    batch, length = steps.shape
    padded = rows.new_zeros(batch * length, *rows.shape[1:]).index_copy(0, steps.position, rows)
    return padded.view(batch, length, *rows.shape[1:])


def each_step(values: Tensor, steps: Steps) -> Tensor:
    """(B, ...) to (R, ...): a sample's value at every step of it."""
    return values.index_select(0, steps.sample)


def sum_over_steps(rows: Tensor, steps: Steps) -> Tensor:
    """(R, H) to (B, H); 0 for an empty history."""
    return rows.new_zeros(len(steps.lengths), rows.shape[1]).index_add(0, steps.sample, rows)


def softmax_over_steps(scores: Tensor, steps: Steps) -> Tensor:
    """(R,) to (R,): the softmax of each sample's own steps."""
    batch, length = steps.shape
    lowest = scores.new_full((batch * length,), torch.finfo(scores.dtype).min)
    padded = lowest.scatter(0, steps.position, scores).view(batch, length)
    return torch.softmax(padded, dim=1).flatten().index_select(0, steps.position)


def last_step(rows: Tensor, steps: Steps) -> Tensor:
    """(R, H) to (B, H): each sample's last row; 0 for an empty history."""
    return torch.cat([rows, rows.new_zeros(1, rows.shape[1])]).index_select(0, steps.last)
