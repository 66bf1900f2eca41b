"""BaseModel: embedding, sum pooling, MLP (paper, "Review of BaseModel").

Reference: mouna99/dien, commit 1f314d1, script/model.py, Model_DNN.
Official: [user, target, sum(history)], affine normalisation in front, PReLU, half the cross-entropy
(variants.md 5, 7 to 9).
Paper: [target, sum(history)] and, where there are any, profile and context fields; Amazon has neither.
"""

from torch import Tensor

from baselines.layers.embedding import EmbeddedHistories, EmbeddedTargets
from baselines.layers.mlp import TopMLP
from baselines.layers.prediction import Variant
from baselines.layers.two_stage import TwoStage
from datamodules.schema import Schema


class BaseModel(TwoStage):
    """Sum pooling of the behaviours, and an MLP on top."""

    def __init__(self, schema: Schema, *, variant: Variant = "official", embedding_size: int = 18) -> None:
        super().__init__(schema, variant, embedding_size)
        self.top = TopMLP(self.pooled_size, official=self.official, dice=False)

    def encode_embedded(self, histories: EmbeddedHistories) -> EmbeddedHistories:
        """The embedded histories, with their sums."""
        return histories

    def score_embedded(self, encoded: EmbeddedHistories, targets: EmbeddedTargets) -> Tensor:
        """The logits (B,) of targets."""
        return self.logit(targets.at, *self.pooled(encoded, targets))
