"""Rocket Launching: a light DIEN trained beside a large one, the booster, of which it learns (Zhou et al., 2018, AAAI).

The paper serves such a light net, with states of 32 numbers instead of 108 ("Online Serving & A/B testing"). Both are
trained from scratch together, on one embedding layer:

    loss = L(y, light) + L(y, booster) + lambda mean((logit of light - logit of booster)^2)

L is the loss of DIEN, the auxiliary one included. With `block` the hint, the last term, moves the light net alone: the
booster's gradients are those without it. The light net alone is evaluated and served; the row of the booster is
dien+hidden_size=108, that of the light net without a booster dien+hidden_size=32.

Reference: the authors' zhougr1993/Rocket-Launching, commit b820cc4 (image classification): lower layers shared, into
which both losses flow, squared distance of the logits, the booster's detached. Its lambda for advertising is not
published.
"""

import math

import torch.nn.functional as F
from torch import Tensor, nn

from baselines.dien import DIEN, Encoded
from baselines.layers.prediction import Explanation, Prediction, Variant
from datamodules.batch import Batch, Histories, Targets
from datamodules.schema import Schema


class DIENRocket(nn.Module):
    """A light DIEN with a booster at its side in training."""

    def __init__(
        self,
        schema: Schema,
        *,
        variant: Variant = "official",
        hint_weight: float = 0.3,  # lambda
        share: bool = True,  # one embedding layer for both
        block: bool = True,  # the hint does not move the booster
        auxiliary_weight: float = 1.0,
        embedding_size: int = 18,
        hidden_size: int = 32,
        booster_size: int = 108,
    ) -> None:
        super().__init__()
        number = isinstance(hint_weight, (int, float)) and not isinstance(hint_weight, bool)
        if not number or not 0 <= hint_weight < math.inf:
            raise ValueError(f"hint_weight must be a finite number of at least 0, got {hint_weight!r}")
        self.hint_weight, self.block = hint_weight, block
        self.light, self.booster = (
            DIEN(
                schema,
                variant=variant,
                auxiliary_weight=auxiliary_weight,
                auxiliary_head="mlp",  # eq. 7 is an inner product of states and behaviours, which have other sizes
                embedding_size=embedding_size,
                hidden_size=size,
            )
            for size in (hidden_size, booster_size)
        )
        if share:
            self.booster.embedding = self.light.embedding

    def forward(self, batch: Batch) -> Prediction:
        """Return the light net's logits (B,) and, in training, what else is trained."""
        light: Prediction = self.light(batch)
        if not self.training:
            return light
        booster: Prediction = self.booster(batch)
        hint = F.mse_loss(light.logit, booster.logit.detach() if self.block else booster.logit)
        losses = {
            **light.losses,
            **{f"booster_{name}": loss for name, loss in booster.losses.items()},
            "booster": (
                booster.target_weight,
                F.binary_cross_entropy_with_logits(booster.logit, batch.label),
            ),
            "hint": (self.hint_weight, hint),
        }
        return Prediction(light.logit, losses, light.target_weight)

    def encode(self, histories: Histories) -> Encoded:
        """What the light net's scores need of histories."""
        encoded: Encoded = self.light.encode(histories)
        return encoded

    def score(self, encoded: Encoded, targets: Targets) -> Tensor:
        """The light net's logits (B,) of targets."""
        return self.light.score(encoded, targets)

    def explain(self, batch: Batch) -> Explanation:
        """Return the light net's attention (B, T) and evolving states (B, T, H)."""
        return self.light.explain(batch)
