"""BaseModel: embedding, sum pooling, MLP (paper, "Review of BaseModel").

Reference: mouna99/dien, commit 1f314d1, script/model.py, Model_DNN.
Official: [user, target, sum(history)], affine normalisation in front, PReLU, half the cross-entropy
(variants.md 5, 7 to 9).
Paper: [target, sum(history)]; Amazon has neither profile nor context fields.
"""

import torch
from torch import nn

from baselines.layers.embedding import FieldEmbedding
from baselines.layers.mlp import TopMLP
from baselines.layers.prediction import Prediction, Variant, check_positive, check_variant
from datamodules.batch import Batch


class BaseModel(nn.Module):
    """Sum pooling of the behaviours, and an MLP on top."""

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
        official = variant == "official"
        self.target_weight = 0.5 if official else 1.0  # variants.md 5: mean over both softmax columns
        self.embedding = FieldEmbedding(
            users=users, items=items, categories=categories, embedding_size=embedding_size, variant=variant
        )
        self.top = TopMLP((5 if official else 4) * embedding_size, official=official, dice=False)

    def forward(self, batch: Batch) -> Prediction:
        """Return the logits (B,) of a batch."""
        e = self.embedding(batch)
        logit = self.top(torch.cat([e.user, e.target, e.history_sum], dim=1))
        return Prediction(logit, target_weight=self.target_weight)
