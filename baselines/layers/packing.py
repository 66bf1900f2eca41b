"""Sums, softmax and last rows over the positions of packed histories (`datamodules.packing`)."""

import torch
from torch import Tensor

from datamodules.packing import Packing


def at_positions(values: Tensor, packing: Packing) -> Tensor:
    """(U, ...) to (R, ...): the value of a history at each of its positions."""
    return values.index_select(0, packing.history)


def sum_over_positions(rows: Tensor, packing: Packing) -> Tensor:
    """(R, H) to (U, H); 0 for an empty history."""
    return rows.new_zeros(len(packing.counts), rows.shape[1]).index_add(0, packing.history, rows)


def softmax_over_positions(scores: Tensor, packing: Packing) -> Tensor:
    """(R,) to (R,): the softmax over the positions of each history."""
    histories, positions = packing.shape
    lowest = scores.new_full((histories * positions,), torch.finfo(scores.dtype).min)
    padded = lowest.scatter(0, packing.flat_index, scores).view(histories, positions)
    return torch.softmax(padded, dim=1).flatten().index_select(0, packing.flat_index)


def last_position(rows: Tensor, packing: Packing) -> Tensor:
    """(R, H) to (U, H): the last row of each history; 0 for an empty history."""
    return torch.cat([rows, rows.new_zeros(1, rows.shape[1])]).index_select(0, packing.last)
