"""Wide & Deep: BaseModel with a linear model beside it (Cheng et al., 2016).

Reference: mouna99/dien, commit 1f314d1, script/model.py, Model_WideDeep.
Official: the linear part sees [target, sum(history), target * sum(history)] (variants.md 12).
Paper: the linear part sees hand-made cross products, as the text says without naming them. Ours: one weight for every
pair (category of a behaviour, category of the target), summed over the history, and one for each target item and
category. Pairs share weights by hashing where there are more than `crosses` of them.
"""

import torch
from torch import Tensor, nn

from baselines.layers.embedding import FieldEmbedding
from baselines.layers.mlp import TopMLP, dense, to_logit
from baselines.layers.prediction import Prediction, Variant, check_positive, check_variant
from datamodules.batch import Batch


class WideDeep(nn.Module):
    """A deep part as in BaseModel, and a wide linear part added to its logit."""

    def __init__(
        self,
        *,
        users: int,
        items: int,
        categories: int,
        variant: Variant = "official",
        embedding_size: int = 18,
        crosses: int = 2**17,
    ) -> None:
        super().__init__()
        check_positive(users=users, items=items, categories=categories, embedding_size=embedding_size, crosses=crosses)
        check_variant(variant)
        self.official = official = variant == "official"
        self.target_weight = 0.5 if official else 1.0
        self.embedding = FieldEmbedding(
            users=users, items=items, categories=categories, embedding_size=embedding_size, variant=variant
        )
        self.top = TopMLP((5 if official else 4) * embedding_size, official=official, dice=False)
        self.wide = dense(6 * embedding_size, 2) if official else CrossedCategories(items, categories, crosses)

    def forward(self, batch: Batch) -> Prediction:
        """Return the logits (B,) of a batch."""
        e = self.embedding(batch)
        deep = self.top(torch.cat([e.user, e.target, e.history_sum], dim=1))
        if self.official:
            wide = to_logit(self.wide(torch.cat([e.target, e.history_sum, e.target * e.history_sum], dim=1)))
        else:
            wide = self.wide(batch)
        return Prediction(deep + wide, target_weight=self.target_weight)


class CrossedCategories(nn.Module):
    """Linear model on one-hot target item, target category, and crosses of history and target category."""

    def __init__(self, items: int, categories: int, crosses: int) -> None:
        super().__init__()
        self.categories, self.crosses = categories, min(crosses, categories**2)
        self.cross = nn.Embedding(self.crosses, 1)
        self.item = nn.Embedding(items, 1)
        self.category = nn.Embedding(categories, 1)
        for table in (self.cross, self.item, self.category):
            nn.init.zeros_(table.weight)

    def forward(self, batch: Batch) -> Tensor:
        """Return the wide part of the logits (B,)."""
        pairs = (batch.history_categories * self.categories + batch.category[:, None]) % self.crosses  # (B, T)
        crossed = (self.cross(pairs).squeeze(-1) * batch.mask).sum(dim=1)
        linear: Tensor = self.item(batch.item) + self.category(batch.category)
        wide: Tensor = crossed + linear.squeeze(-1)
        return wide
