"""Embedding tables for user, item and category (paper, "Embedding")."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from baselines.layers.packing import Packing, pack, packing_of, sum_over_positions
from baselines.layers.prediction import Variant
from datamodules.batch import Batch


class Embedded(NamedTuple):
    """A batch after the embedding layer; an item is the concatenation of its item and category rows."""

    user: Tensor  # (B, E) official, (B, 0) paper
    target: Tensor  # (B, 2E)
    history: Tensor  # (R, 2E) behaviours, packed
    negatives: Tensor | None  # (R - first, 2E) beside the behaviours after the first position
    history_sum: Tensor  # (B, 2E)
    packing: Packing


class FieldEmbedding(nn.Module):
    """One table a field, `embedding_size` numbers a row, drawn Glorot-uniform as TensorFlow does by default.

    Official: row 0 is a row like any other and sum pooling runs over the padding too (variants.md 9); there is a user
    table although no test user trains it (variants.md 19). Paper: row 0 is zero, sums are over behaviours; the paper
    names no user number among its features, and Amazon has no profile fields, so there is no user table.
    """

    def __init__(self, *, users: int, items: int, categories: int, embedding_size: int, variant: Variant) -> None:
        super().__init__()
        self.official = self.sums_padding = variant == "official"
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
        packing = packing_of(batch.lengths, batch.history_items.shape[1])
        items = [batch.item, batch.item.new_zeros(1), pack(batch.history_items, packing)]
        categories = [batch.category, batch.category.new_zeros(1), pack(batch.history_categories, packing)]
        if with_negatives:
            items.append(pack(batch.negative_items, packing)[packing.first :])
            categories.append(pack(batch.negative_categories, packing)[packing.first :])
        # one look-up a table: its backward pass writes one gradient instead of three
        rows = torch.cat([self.item(torch.cat(items)), self.category(torch.cat(categories))], dim=1)
        target, padding, history, *negatives = torch.split(rows, [len(ids) for ids in items])
        history_sum = sum_over_positions(history, packing)
        if self.official:
            history_sum = history_sum + (packing.shape[1] - batch.lengths)[:, None] * padding
        return Embedded(
            user=history_sum.new_zeros(len(batch.user), 0) if self.user is None else self.user(batch.user),
            target=target,
            history=history,
            negatives=negatives[0] if with_negatives else None,
            history_sum=history_sum,
            packing=packing,
        )
