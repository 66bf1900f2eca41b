"""Where the rows of layers stand: histories of given lengths, and targets of them."""

import torch

from datamodules.batch import Batch, make_batch


def layout(lengths: list[int], positions: int, history_of: list[int] | None = None) -> Batch:
    """Histories padded to `positions` and targets of them, by default one each; all numbers are 0."""
    owner = torch.arange(len(lengths)) if history_of is None else torch.tensor(history_of)
    zeros = torch.zeros(len(owner))
    history = torch.zeros(len(lengths), positions, dtype=torch.int64)
    return make_batch(
        user={},
        history={"item": history},
        lengths=torch.tensor(lengths),
        target={"item": zeros.long()},
        label=zeros,
        history_of=owner,
    )
