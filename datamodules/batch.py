"""The one type that data and models share."""

from typing import NamedTuple

import torch
from torch import Tensor


class Batch(NamedTuple):
    """B samples with histories padded to the length T of the longest one (at least 1).

    Numbers are int64; 0 stands for padding and for whatever no training sample mentions. Position t of
    `negative_items` is the auxiliary negative of behaviour t; both negatives are zero outside training.
    """

    user: Tensor  # (B,)
    item: Tensor  # (B,) target item
    category: Tensor  # (B,)
    history_items: Tensor  # (B, T) oldest first, padded at the end
    history_categories: Tensor  # (B, T)
    lengths: Tensor  # (B,) 0..T
    negative_items: Tensor  # (B, T)
    negative_categories: Tensor  # (B, T)
    label: Tensor  # (B,) float32, 1 for the positive

    @property
    def mask(self) -> Tensor:
        """(B, T) bool, true at real behaviours."""
        steps = torch.arange(self.history_items.shape[1], device=self.lengths.device)
        return steps < self.lengths[:, None]
