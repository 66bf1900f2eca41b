"""DIN: behaviours weighted by their relevance to the target (Zhou et al., 2018, KDD).

Reference: mouna99/dien, script/model.py, Model_DIN.
Official: MLP attention with a softmax over behaviours; the MLP also sees the user, sum(history) and target *
sum(history) (variants.md 2, 8, 10); Dice.
Paper: activation unit without a softmax (DIN, eq. 3), MLP on [target, weighted sum], PReLU.
"""

import torch
from torch import nn

from baselines.layers.attention import MLPAttention, weighted_sum
from baselines.layers.embedding import FieldEmbedding
from baselines.layers.mlp import TopMLP
from baselines.layers.prediction import Prediction, Variant, check_positive, check_variant
from baselines.layers.steps import unpack
from datamodules.batch import Batch


class DIN(nn.Module):
    """Attention of the target over the behaviours' embeddings."""

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
        self.target_weight = 0.5 if official else 1.0
        self.embedding = FieldEmbedding(
            users=users, items=items, categories=categories, embedding_size=embedding_size, variant=variant
        )
        size = 2 * embedding_size
        self.attention = MLPAttention(size, size, project_query=False, softmax=official)
        self.top = TopMLP((9 if official else 4) * embedding_size, official=official, dice=official)

    def forward(self, batch: Batch) -> Prediction:
        """Return the logits (B,) and, outside training, attention (B, T) of a batch."""
        e = self.embedding(batch)
        weights = self.attention(e.target, e.history, e.steps)
        interest = weighted_sum(weights, e.history, e.steps)
        if e.user is not None:
            inputs = [e.user, e.target, e.history_sum, e.target * e.history_sum, interest]
        else:
            inputs = [e.target, interest]
        attention = None if self.training else unpack(weights, e.steps)
        return Prediction(self.top(torch.cat(inputs, dim=1)), attention=attention)
