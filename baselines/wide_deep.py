"""Wide & Deep: BaseModel with a linear model beside it (Cheng et al., 2016).

Reference: mouna99/dien, commit 1f314d1, script/model.py, Model_WideDeep.
Official: the linear part sees [target, sum(history), target * sum(history)] (variants.md 12).
Paper: the linear part sees hand-made cross products, as the text says without naming them. Ours: one weight for every
pair (category of a behaviour, category of the target), summed over the history, and one for each target item and
category. Pairs share weights by hashing where there are more than `crosses` of them.
"""

import torch
from torch import Tensor, nn

from baselines.layers.embedding import EmbeddedHistories, EmbeddedTargets
from baselines.layers.mlp import TopMLP, dense, to_logit
from baselines.layers.prediction import Variant
from baselines.layers.two_stage import TwoStage
from datamodules.batch import Histories, Targets
from datamodules.schema import Schema


class WideDeep(TwoStage):
    """A deep part as in BaseModel, and a wide linear part added to its logit."""

    def __init__(
        self, schema: Schema, *, variant: Variant = "official", embedding_size: int = 18, crosses: int = 2**17
    ) -> None:
        super().__init__(schema, variant, embedding_size, crosses=crosses)
        self.top = TopMLP(self.pooled_size, official=self.official, dice=False)
        self.wide = dense(3 * self.embedding.size, 2) if self.official else CrossedCategories(schema, crosses)

    def encode_embedded(self, histories: EmbeddedHistories) -> EmbeddedHistories:
        """The embedded histories, with their sums."""
        return histories

    def score_embedded(self, encoded: EmbeddedHistories, targets: EmbeddedTargets) -> Tensor:
        """The logits (B,) of targets."""
        deep = self.logit(targets.at, *self.pooled(encoded, targets))
        if not self.official:
            crossed: Tensor = self.wide(encoded.of, targets.at)
            return deep + crossed
        target, total = targets.target[:, : self.embedding.size], self.embedding.history_sum(encoded, targets.at)
        return deep + to_logit(self.wide(torch.cat([target, total, target * total], dim=1)))


class CrossedCategories(nn.Module):
    """Linear model on the one-hot fields of the target, and crosses of history and target category.

    Without a field "category" the last behaviour field is crossed.
    """

    def __init__(self, schema: Schema, crosses: int) -> None:
        super().__init__()
        self.crossed = "category" if "category" in schema.behaviour else list(schema.behaviour)[-1]
        self.categories = schema.behaviour[self.crossed]
        self.crosses = min(crosses, self.categories**2)
        self.cross = nn.Embedding(self.crosses, 1)
        self.linear = nn.ModuleDict({name: nn.Embedding(rows, 1) for name, rows in schema.of_target.items()})
        for parameter in self.parameters():
            nn.init.zeros_(parameter)

    def forward(self, histories: Histories, targets: Targets) -> Tensor:
        """Return the wide part of the logits (B,)."""
        behaviour = histories.behaviours[self.crossed].index_select(0, targets.rows)  # (R_B,)
        pairs = behaviour * self.categories + targets.target[self.crossed].index_select(0, targets.packing.history)
        crossed = self.cross(pairs % self.crosses).squeeze(-1)
        wide: Tensor = crossed.new_zeros(len(targets)).index_add(0, targets.packing.history, crossed)
        for name, table in self.linear.items():
            wide = wide + table(targets.target[name]).squeeze(-1)
        return wide
