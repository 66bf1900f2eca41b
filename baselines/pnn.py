"""PNN: BaseModel with a product layer (Qu et al., 2016).

Reference: mouna99/dien, commit 1f314d1, script/model.py, Model_PNN.
Official: the product layer is one Hadamard product, target * sum(history) (variants.md 11).
Paper: inner products of every pair of fields (PNN, eq. 8, "IPNN"); the fields are target item, target category, sum of
history items, sum of history categories.
"""

from itertools import combinations

import torch
from torch import Tensor

from baselines.layers.embedding import EmbeddedHistories, EmbeddedTargets
from baselines.layers.mlp import TopMLP
from baselines.layers.prediction import Variant
from baselines.layers.two_stage import TwoStage
from datamodules.schema import Schema


class PNN(TwoStage):
    """Products of fields beside the fields."""

    def __init__(self, schema: Schema, *, variant: Variant = "official", embedding_size: int = 18) -> None:
        super().__init__(schema, variant, embedding_size)
        self.embedding_size = embedding_size
        fields = 2 * len(schema.behaviour)
        products = self.embedding.size if self.official else fields * (fields - 1) // 2
        self.top = TopMLP(self.pooled_size + products, official=self.official, dice=False)

    def encode_embedded(self, histories: EmbeddedHistories) -> EmbeddedHistories:
        """The embedded histories, with their sums."""
        return histories

    def score_embedded(self, encoded: EmbeddedHistories, targets: EmbeddedTargets) -> Tensor:
        """The logits (B,) of targets."""
        inputs = self.pooled(encoded, targets)
        target, total = targets.target[:, : self.embedding.size], inputs[-1]
        if self.official:
            return self.logit(targets.at, *inputs, target * total)
        fields = [field for each in (target, total) for field in torch.split(each, self.embedding_size, dim=1)]
        products = [(a * b).sum(dim=1, keepdim=True) for a, b in combinations(fields, 2)]
        return self.logit(targets.at, *inputs, *products)
