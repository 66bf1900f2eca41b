"""DIEN and its ablations: GRU + AIGRU, GRU + AGRU, GRU + AUGRU (paper, eq. 3 to 13).

One class: the rows differ in `evolution`, and DIEN is AUGRU with the auxiliary loss. Equations 9 to 13 are in
`DIEN._evolve`; the recurrence itself, h_t = h_{t-1} + (p + q u_t) (c_t - h_{t-1}), knows nothing of attention.

Reference: mouna99/dien, commit 1f314d1, script/model.py,
Model_DIN_V2_Gru_{att_Gru, QA_attGru, Vec_attGru, Vec_attGru_Neg}.
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

import math
from typing import Literal

import torch
from torch import Tensor, nn

from baselines.layers.attention import BilinearAttention, MLPAttention
from baselines.layers.auxiliary import InnerProductAuxiliaryLoss, Mean, MLPAuxiliaryLoss
from baselines.layers.embedding import Embedded, FieldEmbedding
from baselines.layers.mlp import TopMLP
from baselines.layers.packing import Packing, last_position, unpack
from baselines.layers.prediction import NO_LOSSES, Explanation, Prediction, Variant, check_positive, check_variant
from baselines.layers.recurrent import RecurrentLayer
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
        number = isinstance(auxiliary_weight, (int, float)) and not isinstance(auxiliary_weight, bool)
        if not number or not 0 <= auxiliary_weight < math.inf:
            raise ValueError(f"auxiliary_weight must be a finite number of at least 0, got {auxiliary_weight!r}")
        self.official = official = variant == "official"
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
        self.attention = (
            MLPAttention(size, hidden_size, project_query=True) if official else BilinearAttention(size, hidden_size)
        )
        loss = MLPAuxiliaryLoss if head == "mlp" else InnerProductAuxiliaryLoss
        self.auxiliary = loss(hidden_size, size, mean) if auxiliary_weight > 0 else None
        self.top = TopMLP((7 if official else 2) * embedding_size + hidden_size, official=official, dice=official)

    def forward(self, batch: Batch) -> Prediction:
        """Return the logits (B,) of a batch and, in training, the auxiliary loss ()."""
        e = self.embedding(batch, with_negatives=self.auxiliary is not None and self.training)
        interests, _, states = self._interests(e)
        last = last_position(states, e.packing)  # h'_T
        if self.official:
            inputs = [e.user, e.target, e.history_sum, e.target * e.history_sum, last]
        else:
            inputs = [e.target, last]
        losses = NO_LOSSES
        if self.auxiliary is not None and e.negatives is not None:
            value = self.auxiliary(interests, e.history, e.negatives, e.packing)
            losses = {"auxiliary": (self.auxiliary_weight, value)}
        return Prediction(self.top(torch.cat(inputs, dim=1)), losses, self.target_weight)

    def explain(self, batch: Batch) -> Explanation:
        """Return the attention a_t (B, T) and the evolving states h'_t (B, T, H) of a batch."""
        e = self.embedding(batch)
        _, attention, states = self._interests(e)
        return Explanation(unpack(attention, e.packing), unpack(states, e.packing))

    def _interests(self, e: Embedded) -> tuple[Tensor, Tensor, Tensor]:
        """Interests h_t (R, H), attention a_t (R,) and evolving interests h'_t (R, H)."""
        interests = self.extractor(e.history, e.packing)
        attention = self.attention(e.target, interests, e.packing)  # eq. 9
        return interests, attention, self._evolve(interests, attention, e.packing)

    def _evolve(self, interests: Tensor, attention: Tensor, packing: Packing) -> Tensor:
        """h'_t = h'_{t-1} + (p + q u'_t) (c'_t - h'_{t-1}) with what each row makes of p, q and the input."""
        states: Tensor
        if self.evolution == "aigru":  # eq. 10: i'_t = a_t h_t
            states = self.evolver(interests * attention[:, None], packing)
        elif self.evolution == "agru":  # eq. 11: h'_t = (1 - a_t) h'_{t-1} + a_t c'_t
            states = self.evolver(interests, packing, p=attention, q=torch.zeros_like(attention))
        elif self.official:  # TensorFlow's u_tf = 1 - u keeps the state; the released code scales it by 1 - a_t
            states = self.evolver(interests, packing, p=attention, q=1 - attention)
        else:  # eq. 12, 13: u~'_t = a_t u'_t
            states = self.evolver(interests, packing, q=attention)
        return states
