"""DIEN and its ablations: GRU + AIGRU, GRU + AGRU, GRU + AUGRU (paper, eq. 3 to 13).

One class: the rows differ in `evolution`, and DIEN is AUGRU with the auxiliary loss.

Reference: mouna99/dien, script/model.py, Model_DIN_V2_Gru_{att_Gru, QA_attGru, Vec_attGru, Vec_attGru_Neg}.
Official keeps, by the numbers of docs/variants.md:
  1  AUGRU with TensorFlow's keep gate: h = k h + (1 - k) c with k = (1 - a) u_tf; at a = 0 an ordinary GRU step
  2  attention by an MLP 80-40-1 on [q, h, q - h, q h] with q = PReLU(dense(target))
  3  auxiliary head: MLP 100-50-2 on [h, e] with an affine normalisation in front
  4  auxiliary loss: mean over B (T - 1) places, padding counted as zero
  5  half the cross-entropy as target loss
  6  TensorFlow's GRU, U (r o h), gate biases starting at 1
  7, 8, 9, 10  frozen normalisation, Dice on batch statistics, sums over padding, sum(history) and target * sum(history)
     as further inputs of the MLP
Official mends: 13 test histories are cut to the newest 100 like training's; 15 the auxiliary loss comes from logits,
where the released code meets log(0) and NaN; 16 a batch whose longest history is 1 has an auxiliary loss of 0.
Paper: the equations as printed; the MLP sees [target, h'_T].
"""

from typing import Literal

import torch
from torch import Tensor, nn

from baselines.layers.attention import BilinearAttention, MLPAttention
from baselines.layers.auxiliary import InnerProductAuxiliaryLoss, Mean, MLPAuxiliaryLoss
from baselines.layers.embedding import FieldEmbedding
from baselines.layers.mlp import TopMLP
from baselines.layers.prediction import Prediction, Variant, check_positive, check_variant
from baselines.layers.recurrent import Gate, RecurrentLayer
from baselines.layers.steps import Steps, last_step, unpack
from datamodules.batch import Batch

Evolution = Literal[
    "aigru",  # eq. 10: attention scales the input
    "agru",  # eq. 11: attention replaces the update gate
    "augru",  # eq. 12, 13: attention scales the update gate
]
Head = Literal[
    "mlp",  # released code
    "inner-product",  # eq. 7
]


class DIEN(nn.Module):
    """Interest extractor (GRU), auxiliary loss, interest evolution (attention and a second GRU)."""

    def __init__(
        self,
        *,
        users: int,
        items: int,
        categories: int,
        variant: Variant = "official",
        evolution: Evolution = "augru",
        auxiliary_weight: float = 1.0,
        auxiliary_head: Head | None = None,  # None: the variant's
        auxiliary_mean: Mean | None = None,  # None: the variant's, "places" or "users"
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
        if evolution not in ("aigru", "agru", "augru"):
            raise ValueError(f"evolution must be 'aigru', 'agru' or 'augru', got {evolution!r}")
        if not isinstance(auxiliary_weight, (int, float)):
            raise ValueError(f"auxiliary_weight must be a number, got {auxiliary_weight!r}")
        if auxiliary_weight < 0:
            raise ValueError(f"auxiliary_weight must not be negative, got {auxiliary_weight}")
        official = variant == "official"
        head = auxiliary_head or ("mlp" if official else "inner-product")
        mean: Mean = auxiliary_mean or ("places" if official else "users")
        if head not in ("mlp", "inner-product"):
            raise ValueError(f"auxiliary_head must be 'mlp' or 'inner-product', got {head!r}")
        if mean not in ("places", "behaviours", "users"):
            raise ValueError(f"auxiliary_mean must be 'places', 'behaviours' or 'users', got {mean!r}")
        self.evolution = evolution
        self.auxiliary_weight = auxiliary_weight  # alpha of eq. 8
        self.target_weight = 0.5 if official else 1.0
        self.embedding = FieldEmbedding(
            users=users, items=items, categories=categories, embedding_size=embedding_size, variant=variant
        )
        size, bias = 2 * embedding_size, 1.0 if official else 0.0
        self.extractor = RecurrentLayer(size, hidden_size, reset_after=not official, gate_bias=bias)
        self.evolver = RecurrentLayer(hidden_size, hidden_size, reset_after=not official, gate_bias=bias)
        self.augru_gate: Gate = "augru-keep" if official else "augru"
        self.attention = (
            MLPAttention(size, hidden_size, project_query=True) if official else BilinearAttention(size, hidden_size)
        )
        loss = MLPAuxiliaryLoss if head == "mlp" else InnerProductAuxiliaryLoss
        self.auxiliary = loss(hidden_size, size, mean) if auxiliary_weight > 0 else None
        self.top = TopMLP((7 if official else 2) * embedding_size + hidden_size, official=official, dice=official)

    def forward(self, batch: Batch) -> Prediction:
        """Return logits (B,); in training the auxiliary loss (), else attention (B, T), evolving states (B, T, H)."""
        supervised = self.auxiliary is not None and self.training
        e = self.embedding(batch, with_negatives=supervised)
        interests = self.extractor(e.history, e.steps)  # h_t
        weights = self.attention(e.target, interests, e.steps)  # a_t
        states = self._evolve(interests, weights, e.steps)  # h'_t
        inputs = [e.target, last_step(states, e.steps)]
        if e.user is not None:
            inputs = [e.user, e.target, e.history_sum, e.target * e.history_sum, inputs[-1]]
        auxiliary_loss = None
        if self.auxiliary is not None and e.negatives is not None:
            auxiliary_loss = self.auxiliary(interests, e.history, e.negatives, e.steps)
        return Prediction(
            self.top(torch.cat(inputs, dim=1)),
            auxiliary_loss,
            attention=None if self.training else unpack(weights, e.steps),
            states=None if self.training else unpack(states, e.steps),
        )

    def _evolve(self, interests: Tensor, weights: Tensor, steps: Steps) -> Tensor:
        """States h'_t (R, H) from h_t (R, H) and a_t (R,)."""
        states: Tensor
        if self.evolution == "aigru":
            states = self.evolver(interests * weights[:, None], steps)
        else:
            states = self.evolver(interests, steps, "agru" if self.evolution == "agru" else self.augru_gate, weights)
        return states
