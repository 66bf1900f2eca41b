"""Two layer GRU attention: two GRUs over the behaviours, attention over the second's states (Parsana et al., 2018).

Reference: mouna99/dien, commit 1f314d1, script/model.py, Model_DIN_V2_Gru_Gru_att.
Official: TensorFlow's GRU, MLP attention with a projected query; the MLP also sees the user, sum(history) and target *
sum(history) (variants.md 2, 6, 8, 10); Dice.
Paper: GRU of eq. 3 to 6, attention of eq. 9, MLP on [target, weighted sum of states], PReLU.
"""

from typing import NamedTuple

from torch import Tensor

from baselines.layers.attention import attention_of, weighted_sum
from baselines.layers.embedding import EmbeddedHistories, EmbeddedTargets
from baselines.layers.mlp import TopMLP
from baselines.layers.prediction import Explanation, Variant
from baselines.layers.recurrent import recurrent_layer
from baselines.layers.two_stage import TwoStage
from datamodules.batch import Batch
from datamodules.packing import unpack
from datamodules.schema import Schema


class Encoded(NamedTuple):
    """What the two layers make of histories."""

    histories: EmbeddedHistories
    states: Tensor  # (R, H) of the second layer
    of_keys: Tensor  # their part in the attention


class GRUAttention(TwoStage):
    """Attention of the target over the states of a two-layer GRU."""

    def __init__(
        self, schema: Schema, *, variant: Variant = "official", embedding_size: int = 18, hidden_size: int | None = None
    ) -> None:
        super().__init__(schema, variant, embedding_size)
        size, hidden = self.embedding.size, self.states_size(hidden_size)
        self.first = recurrent_layer(size, hidden, official=self.official)
        self.second = recurrent_layer(hidden, hidden, official=self.official)
        self.attention = attention_of(size, hidden, official=self.official)
        self.top = TopMLP(self.inputs_size + hidden, official=self.official, dice=self.official)

    def encode_embedded(self, histories: EmbeddedHistories) -> Encoded:
        """The states of the second layer."""
        packing = histories.packing
        first = self.first(self.first.project(histories.behaviours), packing)
        states = self.second(self.second.project(first), packing)
        return Encoded(histories, states, self.attention.of_keys(states))

    def score_embedded(self, encoded: Encoded, targets: EmbeddedTargets) -> Tensor:
        """The logits (B,) of targets."""
        weights, states = self._attend(encoded, targets)
        interest = weighted_sum(weights, states, targets.at.packing)
        return self.logit(targets.at, *self.inputs(encoded.histories, targets), interest)

    def explain(self, batch: Batch) -> Explanation:
        """Return the attention (B, T) and the second layer's states (B, T, H) in front of each target."""
        histories, targets = self.embedding(batch)
        found = self._attend(self.encode_embedded(histories), targets)
        return Explanation(*(unpack(rows, targets.at.packing) for rows in found))

    def _attend(self, encoded: Encoded, targets: EmbeddedTargets) -> tuple[Tensor, Tensor]:
        """Weights (R_B,) and the states (R_B, H) that they weigh."""
        at, target = targets.at, targets.target[:, : self.embedding.size]
        states = encoded.states.index_select(0, at.rows)
        return self.attention(target, states, encoded.of_keys, at), states
