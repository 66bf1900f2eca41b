"""PNN: BaseModel with a product layer (Qu et al., 2016).

Reference: mouna99/dien, commit 1f314d1, script/model.py, Model_PNN.
Official: the product layer is one Hadamard product, target * sum(history) (variants.md 11).
Paper: inner products of every pair of fields (PNN, eq. 8, "IPNN"); the fields are target item, target category, sum of
history items, sum of history categories.
"""

from itertools import combinations

import torch
from torch import nn

from baselines.layers.embedding import FieldEmbedding
from baselines.layers.mlp import TopMLP
from baselines.layers.prediction import Prediction, Variant, check_positive, check_variant
from datamodules.batch import Batch


class PNN(nn.Module):
    """Products of fields beside the fields."""

    def __init__(
        self,
        *,
        users: int,
        items: int,
        categories: int,
        variant: Variant = "official",
        embedding_size: int = 18,
    ) -> None:
        super().__init__()
        check_positive(users=users, items=items, categories=categories, embedding_size=embedding_size)
        check_variant(variant)
        self.official = variant == "official"
        self.target_weight = 0.5 if self.official else 1.0
        self.embedding_size = embedding_size
        self.embedding = FieldEmbedding(
            users=users, items=items, categories=categories, embedding_size=embedding_size, variant=variant
        )
        inputs = 7 * embedding_size if self.official else 4 * embedding_size + 6
        self.top = TopMLP(inputs, official=self.official, dice=False)

    def forward(self, batch: Batch) -> Prediction:
        """Return the logits (B,) of a batch."""
        e = self.embedding(batch)
        if self.official:
            inputs = [e.user, e.target, e.history_sum, e.target * e.history_sum]
        else:
            fields = [
                *e.target.split(self.embedding_size, dim=1),
                *e.history_sum.split(self.embedding_size, dim=1),
            ]
            products = [(a * b).sum(dim=1, keepdim=True) for a, b in combinations(fields, 2)]  # six of (B, 1)
            inputs = [*fields, *products]
        return Prediction(self.top(torch.cat(inputs, dim=1)), target_weight=self.target_weight)
