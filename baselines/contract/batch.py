"""Batches of random samples on which models are checked."""

import numpy as np
import torch
from torch import Tensor

from datamodules.batch import Batch

SIZES = {"users": 9, "items": 30, "categories": 7}  # rows of the tables, row 0 included
LENGTHS = [5, 3, 1, 0, 4, 2]
LONGEST = 100  # behaviours: every protocol cuts histories to the newest so many


def make_batch(lengths: list[int], positions: int, seed: int = 0) -> Batch:
    """Return a batch of random samples with histories of these lengths, padded to `positions`.

    The first sample has the largest numbers that there are, the last the unknown user, item and category 0.
    """
    rng = np.random.default_rng(seed)
    real = torch.from_numpy(np.arange(positions) < np.array(lengths)[:, None])

    def ids(high: int, *shape: int) -> Tensor:
        numbers = torch.from_numpy(rng.integers(1, high, (len(lengths), *shape)))
        numbers[0] = high - 1
        if len(lengths) > 1:
            numbers[-1] = 0
        return numbers * real if shape else numbers

    users, items, categories = SIZES.values()
    return Batch(
        user=ids(users),
        item=ids(items),
        category=ids(categories),
        history_items=ids(items, positions),
        history_categories=ids(categories, positions),
        lengths=torch.tensor(lengths),
        negative_items=ids(items, positions),
        negative_categories=ids(categories, positions),
        label=torch.arange(len(lengths)) % 2 * 1.0,
    )


def concatenated(*batches: Batch) -> Batch:
    """Return the samples of batches of one length T as one batch."""
    return Batch(*(torch.cat(tensors) for tensors in zip(*batches, strict=True)))
