"""Embedding tables for user, item and category (paper, "Embedding")."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from baselines.layers.prediction import Variant
from datamodules.batch import Batch


class Embedded(NamedTuple):
    """A batch after the embedding layer; an item is the concatenation of its item and category rows."""

    user: Tensor | None  # (B, E) official only
    target: Tensor  # (B, 2E)
    history: Tensor  # (B, T, 2E)
    negatives: Tensor | None  # (B, T, 2E)
    history_sum: Tensor  # (B, 2E)
    mask: Tensor  # (B, T) bool


class FieldEmbedding(nn.Module):
    """One table a field, `embedding_size` numbers a row, drawn Glorot-uniform as TensorFlow does by default.

    Official: row 0 is a row like any other and sum pooling runs over the padding too (facts 9); there is a user
    table although no test user trains it (facts 19). Paper: row 0 is zero, sums are over behaviours; the paper
    names no user number among its features, and Amazon has no profile fields, so there is no user table.
    """

    def __init__(self, *, users: int, items: int, categories: int, embedding_size: int, variant: Variant) -> None:
        super().__init__()
        self.official = variant == "official"
        padding = None if self.official else 0
        self.user = nn.Embedding(users, embedding_size) if self.official else None
        self.item = nn.Embedding(items, embedding_size, padding_idx=padding)
        self.category = nn.Embedding(categories, embedding_size, padding_idx=padding)
        for table in (self.user, self.item, self.category):
            if table is not None:
                nn.init.xavier_uniform_(table.weight)
                if not self.official:
                    nn.init.zeros_(table.weight[0].detach())

    def forward(self, batch: Batch, with_negatives: bool = False) -> Embedded:
        """Look up target, history and, if asked, auxiliary negatives."""
        steps = batch.history_items.shape[1]
        items = [batch.item[:, None], batch.history_items]
        categories = [batch.category[:, None], batch.history_categories]
        if with_negatives:
            items.append(batch.negative_items)
            categories.append(batch.negative_categories)
        # one look-up a table: its backward pass writes one dense gradient instead of three
        rows = torch.cat(
            [self.item(torch.cat(items, dim=1)), self.category(torch.cat(categories, dim=1))], dim=-1
        )  # (B, 1 + T or 1 + 2T, 2E)
        history, mask = rows[:, 1 : 1 + steps], batch.mask
        # in the paper variant row 0 is zero and stays zero, so a plain sum is the sum over behaviours
        return Embedded(
            user=self.user(batch.user) if self.user is not None else None,
            target=rows[:, 0],
            history=history,
            negatives=rows[:, 1 + steps :] if with_negatives else None,
            history_sum=history.sum(dim=1),
            mask=mask,
        )
