"""Histories without their padding: the layout in which every layer over positions computes.

Padding is a third of an ordinary batch. A packed tensor has one row for each of the R behaviours, first all first
positions, then all second ones, and so on; within a position the longest history comes first. This is the layout of
torch's PackedSequence: position t is one block of `batch_sizes[t]` rows, and the histories that go on are its first.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class Packing(NamedTuple):
    """Where the R behaviours of U histories stand that are padded to T positions; R may be 0."""

    batch_sizes: NDArray[np.int64]  # (T,) rows of each position
    history: Tensor  # (R,) history of each row
    flat_index: Tensor  # (R,) index of each row in the flattened (U, T)
    previous: Tensor  # (R - batch_sizes[0],) row of the position before, for the rows after the first position
    last: Tensor  # (U,) row of each history's last position, R where there is none
    lengths: Tensor  # (U,)

    @property
    def shape(self) -> tuple[int, int]:
        """U and T."""
        return len(self.lengths), len(self.batch_sizes)

    @property
    def first(self) -> int:
        """Rows of the first position: the number of histories that are not empty."""
        return int(self.batch_sizes[0])


def packing_of(lengths: Tensor, positions: int) -> Packing:
    """Return the packing of histories of lengths (U,) that are padded to T = `positions`."""
    length = lengths.cpu().numpy()
    sorted_indices = np.argsort(-length, kind="stable")
    real = np.arange(positions)[:, None] < length[sorted_indices]  # (T, U)
    position, place = real.nonzero()  # `place`: of the row within its position
    batch_sizes = real.sum(axis=1)
    starts = np.cumsum(batch_sizes) - batch_sizes
    history = sorted_indices[place]
    last = np.empty_like(sorted_indices)
    ends = starts[length[sorted_indices] - 1] + np.arange(len(length))
    last[sorted_indices] = np.where(length[sorted_indices] > 0, ends, len(history))
    first = batch_sizes[0]
    previous = starts[position[first:] - 1] + place[first:]

    def tensor(numbers: NDArray[np.int64]) -> Tensor:
        return torch.from_numpy(numbers).to(lengths.device)

    flat_index = tensor(history * positions + position)
    return Packing(batch_sizes, tensor(history), flat_index, tensor(previous), tensor(last), lengths)


def pack(padded: Tensor, packing: Packing) -> Tensor:
    """(U, T, ...) to (R, ...)."""
    return padded.flatten(0, 1).index_select(0, packing.flat_index)


def unpack(rows: Tensor, packing: Packing) -> Tensor:
    """(R, ...) to (U, T, ...), zero at padding."""
    histories, positions = packing.shape
    padded = rows.new_zeros(histories * positions, *rows.shape[1:]).index_copy(0, packing.flat_index, rows)
    return padded.view(histories, positions, *rows.shape[1:])


def at_positions(values: Tensor, packing: Packing) -> Tensor:
    """(U, ...) to (R, ...): the value of a history at each of its positions."""
    return values.index_select(0, packing.history)


def sum_over_positions(rows: Tensor, packing: Packing) -> Tensor:
    """(R, H) to (U, H); 0 for an empty history."""
    return rows.new_zeros(len(packing.lengths), rows.shape[1]).index_add(0, packing.history, rows)


def softmax_over_positions(scores: Tensor, packing: Packing) -> Tensor:
    """(R,) to (R,): the softmax over the positions of each history."""
    histories, positions = packing.shape
    lowest = scores.new_full((histories * positions,), torch.finfo(scores.dtype).min)
    padded = lowest.scatter(0, packing.flat_index, scores).view(histories, positions)
    return torch.softmax(padded, dim=1).flatten().index_select(0, packing.flat_index)


def last_position(rows: Tensor, packing: Packing) -> Tensor:
    """(R, H) to (U, H): the last row of each history; 0 for an empty history."""
    return torch.cat([rows, rows.new_zeros(1, rows.shape[1])]).index_select(0, packing.last)
