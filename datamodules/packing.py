"""Histories without their padding: the layout in which batches hold behaviours and layers compute.

Padding is a third of an ordinary batch. A packed tensor has one row for each of the R behaviours, first all first
positions, then all second ones, and so on; within a position the longest history comes first. This is the layout of
torch's PackedSequence: position t is one block of `batch_sizes[t]` rows, and the histories that go on are its first.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Int64 = NDArray[np.int64]


class Packing(NamedTuple):
    """Where the R behaviours of U histories stand that are padded to T positions; R may be 0."""

    batch_sizes: Int64  # (T,) rows of each position
    counts: Int64  # (U,) lengths
    places: Int64  # (U,) of a history's rows within their positions
    history: Tensor  # (R,) history of each row
    flat_index: Tensor  # (R,) index of each row in the flattened (U, T)
    previous: Tensor  # (R - batch_sizes[0],) row of the position before, for the rows after the first position
    last: Tensor  # (U,) row of each history's last position, R where there is none
    lengths: Tensor  # (U,)

    @property
    def shape(self) -> tuple[int, int]:
        """U and T."""
        return len(self.counts), len(self.batch_sizes)

    @property
    def first(self) -> int:
        """Rows of the first position: the number of histories that are not empty."""
        return int(self.batch_sizes[0])

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "Packing":
        """The packing with its tensors on a device."""
        tensors = (self.history, self.flat_index, self.previous, self.last, self.lengths)
        history, flat, previous, last, lengths = (each.to(device, non_blocking=non_blocking) for each in tensors)
        return Packing(self.batch_sizes, self.counts, self.places, history, flat, previous, last, lengths)


def packing_of(lengths: Int64, positions: int) -> Packing:
    """Return the packing of histories of lengths (U,) that are padded to T = `positions`."""
    order = np.argsort(-lengths, kind="stable")
    sizes = lengths[order]
    real = np.arange(positions)[:, None] < sizes  # (T, U)
    position, place = real.nonzero()
    batch_sizes = real.sum(axis=1)
    starts = np.cumsum(batch_sizes) - batch_sizes
    history = order[place]
    places = np.empty_like(order)
    places[order] = np.arange(len(order))
    last = np.where(lengths > 0, starts[lengths - 1] + places, len(history))
    first = batch_sizes[0]
    previous = starts[position[first:] - 1] + place[first:]
    numbers = (history, history * positions + position, previous, last, lengths)
    of_rows, flat, before, ends, counts = (torch.from_numpy(each) for each in numbers)
    return Packing(batch_sizes, lengths, places, of_rows, flat, before, ends, counts)


def spread(packing: Packing, history_of: Int64, positions: int | None = None) -> tuple[Packing, Tensor]:
    """Return the packing of B copies of histories, and for each of its rows (R_B,) the row of `packing` that it copies.

    history_of (B,) says which history each is a copy of. T is `positions`, or the length of the longest copy.
    """
    lengths = packing.counts[history_of]
    longest = max(int(lengths.max(initial=0)), 1) if positions is None else positions
    own = packing_of(lengths, longest)
    copy, position = np.divmod(own.flat_index.numpy(), longest)
    starts = np.cumsum(packing.batch_sizes) - packing.batch_sizes
    return own, torch.from_numpy(starts[position] + packing.places[history_of[copy]])


def pack(padded: Tensor, packing: Packing) -> Tensor:
    """(U, T, ...) to (R, ...)."""
    return padded.flatten(0, 1).index_select(0, packing.flat_index)


def unpack(rows: Tensor, packing: Packing) -> Tensor:
    """(R, ...) to (U, T, ...), zero at padding."""
    histories, positions = packing.shape
    padded = rows.new_zeros(histories * positions, *rows.shape[1:]).index_copy(0, packing.flat_index, rows)
    return padded.view(histories, positions, *rows.shape[1:])
