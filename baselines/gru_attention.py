"""Two layer GRU attention: two GRUs over the behaviours, attention over the second's states (Parsana et al., 2018).

Reference: mouna99/dien, commit 1f314d1, script/model.py, Model_DIN_V2_Gru_Gru_att.
Official: TensorFlow's GRU, MLP attention with a projected query; the MLP also sees the user, sum(history) and target *
sum(history) (variants.md 2, 6, 8, 10); Dice.
Paper: GRU of eq. 3 to 6, attention of eq. 9, MLP on [target, weighted sum of states], PReLU.
"""

import torch
from torch import Tensor, nn

from baselines.layers.attention import BilinearAttention, MLPAttention, weighted_sum
from baselines.layers.embedding import Embedded, FieldEmbedding
from baselines.layers.mlp import TopMLP
from baselines.layers.packing import unpack
from baselines.layers.prediction import Explanation, Prediction, Variant, check_positive, check_variant
from baselines.layers.recurrent import RecurrentLayer
from datamodules.batch import Batch


class GRUAttention(nn.Module):
    """Attention of the target over the states of a two-layer GRU."""

    def __init__(
        self,
        *,
        users: int,
        items: int,
        categories: int,
        variant: Variant = "official",
        embedding_size: int = 18,
        hidden_size: int = 36,
    ) -> None:
        super().__init__()
        check_positive(
            users=users,
            items=items,
            categories=categories,
            embedding_size=embedding_size,
            hidden_size=hidden_size,
        )
        check_variant(variant)
        self.official = official = variant == "official"
        self.target_weight = 0.5 if official else 1.0
        self.embedding = FieldEmbedding(
            users=users, items=items, categories=categories, embedding_size=embedding_size, variant=variant
        )
        size, bias = 2 * embedding_size, 1.0 if official else 0.0
        self.first = RecurrentLayer(size, hidden_size, reset_after=not official, gate_bias=bias)
        self.second = RecurrentLayer(hidden_size, hidden_size, reset_after=not official, gate_bias=bias)
        self.attention = (
            MLPAttention(size, hidden_size, project_query=True) if official else BilinearAttention(size, hidden_size)
        )
        self.top = TopMLP((7 if official else 2) * embedding_size + hidden_size, official=official, dice=official)

    def forward(self, batch: Batch) -> Prediction:
        """Return the logits (B,) of a batch."""
        e = self.embedding(batch)
        states, weights = self._attended(e)
        interest = weighted_sum(weights, states, e.packing)
        if self.official:
            inputs = [e.user, e.target, e.history_sum, e.target * e.history_sum, interest]
        else:
            inputs = [e.target, interest]
        return Prediction(self.top(torch.cat(inputs, dim=1)), target_weight=self.target_weight)

    def explain(self, batch: Batch) -> Explanation:
        """Return the attention (B, T) and the second layer's states (B, T, H) of a batch."""
        e = self.embedding(batch)
        states, weights = self._attended(e)
        return Explanation(unpack(weights, e.packing), unpack(states, e.packing))

    def _attended(self, e: Embedded) -> tuple[Tensor, Tensor]:
        """States (R, H) of the second layer, and attention (R,) over them."""
        states = self.second(self.first(e.history, e.packing), e.packing)
        return states, self.attention(e.target, states, e.packing)
