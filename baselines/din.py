"""DIN: behaviours weighted by their relevance to the target (Zhou et al., 2018, KDD).

Reference: mouna99/dien, commit 1f314d1, script/model.py, Model_DIN.
Official: MLP attention with a softmax over behaviours; the MLP also sees the user, sum(history) and target *
sum(history) (variants.md 2, 8, 10); Dice.
Paper: activation unit without a softmax (DIN, eq. 3), MLP on [target, weighted sum], PReLU.
"""

from typing import NamedTuple

from torch import Tensor

from baselines.layers.attention import MLPAttention, weighted_sum
from baselines.layers.embedding import EmbeddedHistories, EmbeddedTargets
from baselines.layers.mlp import TopMLP
from baselines.layers.prediction import Explanation, Variant
from baselines.layers.two_stage import TwoStage
from datamodules.batch import Batch
from datamodules.packing import unpack
from datamodules.schema import Schema


class Encoded(NamedTuple):
    """What DIN makes of histories."""

    histories: EmbeddedHistories
    of_keys: Tensor  # (R, 80) the behaviours' part in the attention


class DIN(TwoStage):
    """Attention of the target over the behaviours' embeddings."""

    def __init__(self, schema: Schema, *, variant: Variant = "official", embedding_size: int = 18) -> None:
        super().__init__(schema, variant, embedding_size)
        size = self.embedding.size
        self.attention = MLPAttention(size, size, project_query=False, softmax=self.official)
        self.top = TopMLP(self.inputs_size + size, official=self.official, dice=self.official)

    def encode_embedded(self, histories: EmbeddedHistories) -> Encoded:
        """The embedded histories and their part in the attention."""
        return Encoded(histories, self.attention.of_keys(histories.behaviours))

    def score_embedded(self, encoded: Encoded, targets: EmbeddedTargets) -> Tensor:
        """The logits (B,) of targets."""
        weights, behaviours = self._attend(encoded, targets)
        interest = weighted_sum(weights, behaviours, targets.at.packing)
        return self.logit(targets.at, *self.inputs(encoded.histories, targets), interest)

    def explain(self, batch: Batch) -> Explanation:
        """Return the attention (B, T) over the behaviours in front of each target."""
        histories, targets = self.embedding(batch)
        weights, _ = self._attend(self.encode_embedded(histories), targets)
        return Explanation(unpack(weights, targets.at.packing))

    def _attend(self, encoded: Encoded, targets: EmbeddedTargets) -> tuple[Tensor, Tensor]:
        """Weights (R_B,) and the behaviours (R_B, K) that they weigh."""
        at, target = targets.at, targets.target[:, : self.embedding.size]
        behaviours = encoded.histories.behaviours.index_select(0, at.rows)
        return self.attention(target, behaviours, encoded.of_keys, at), behaviours
