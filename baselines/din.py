"""DIN: behaviours weighted by their relevance to the target (Zhou et al., 2018, KDD).

Reference: mouna99/dien, commit 1f314d1, script/model.py, Model_DIN.
Official: MLP attention with a softmax over behaviours; the MLP also sees the user, sum(history) and target *
sum(history) (variants.md 2, 8, 10); Dice.
Paper: activation unit without a softmax (DIN, eq. 3), MLP on [target, weighted sum], PReLU.
"""

import torch
from torch import Tensor, nn

from baselines.layers.attention import MLPAttention, weighted_sum
from baselines.layers.embedding import Embedded, FieldEmbedding
from baselines.layers.mlp import TopMLP
from baselines.layers.packing import unpack
from baselines.layers.prediction import Explanation, Prediction, Variant, check_positive, check_variant
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
        self.official = official = variant == "official"
        self.target_weight = 0.5 if official else 1.0
        self.embedding = FieldEmbedding(
            users=users, items=items, categories=categories, embedding_size=embedding_size, variant=variant
        )
        size = 2 * embedding_size
        self.attention = MLPAttention(size, size, project_query=False, softmax=official)
        self.top = TopMLP((9 if official else 4) * embedding_size, official=official, dice=official)

    def forward(self, batch: Batch) -> Prediction:
        """Return the logits (B,) of a batch."""
        e = self.embedding(batch)
        interest = weighted_sum(self._attention(e), e.history, e.packing)
        if self.official:
            inputs = [e.user, e.target, e.history_sum, e.target * e.history_sum, interest]
        else:
            inputs = [e.target, interest]
        return Prediction(self.top(torch.cat(inputs, dim=1)), target_weight=self.target_weight)

    def explain(self, batch: Batch) -> Explanation:
        """Return the attention (B, T) over a batch's behaviours."""
        e = self.embedding(batch)
        return Explanation(unpack(self._attention(e), e.packing))

    def _attention(self, e: Embedded) -> Tensor:
        weights: Tensor = self.attention(e.target, e.history, e.packing)  # (R,)
        return weights
