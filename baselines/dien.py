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
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from baselines.layers.attention import attention_of
from baselines.layers.auxiliary import InnerProductAuxiliaryLoss, Mean, MLPAuxiliaryLoss, Pairs
from baselines.layers.embedding import EmbeddedHistories, EmbeddedTargets
from baselines.layers.mlp import TopMLP
from baselines.layers.packing import last_position
from baselines.layers.prediction import NO_LOSSES, Explanation, Losses, Variant
from baselines.layers.recurrent import recurrent_layer
from baselines.layers.two_stage import TwoStage
from datamodules.batch import Batch
from datamodules.packing import unpack
from datamodules.schema import Schema

Evolution = Literal[
    "aigru",  # eq. 10: attention scales the input
    "agru",  # eq. 11: attention replaces the update gate
    "augru",  # eq. 12, 13: attention scales the update gate
]
Head = Literal[
    "mlp",  # released code
    "inner-product",  # eq. 7
]


class Encoded(NamedTuple):
    """What the interest extractor makes of histories."""

    histories: EmbeddedHistories
    interests: Tensor  # (R, H) h_t
    of_keys: Tensor  # their part in the attention
    projected: Tensor  # (R, 3H) their product with the weights of the second GRU


class DIEN(TwoStage):
    """Interest extractor (GRU), auxiliary loss, interest evolution (attention and a second GRU)."""

    def __init__(
        self,
        schema: Schema,
        *,
        variant: Variant = "official",
        evolution: Evolution = "augru",
        auxiliary_weight: float = 1.0,
        auxiliary_head: Head | None = None,  # None: the variant's
        auxiliary_mean: Mean | None = None,  # None: the variant's, "places" or "users"
        embedding_size: int = 18,
        hidden_size: int | None = None,  # None: the size of a behaviour, as eq. 7 requires
    ) -> None:
        super().__init__(schema, variant, embedding_size)
        if evolution not in ("aigru", "agru", "augru"):
            raise ValueError(f"evolution must be 'aigru', 'agru' or 'augru', got {evolution!r}")
        number = isinstance(auxiliary_weight, (int, float)) and not isinstance(auxiliary_weight, bool)
        if not number or not 0 <= auxiliary_weight < math.inf:
            raise ValueError(f"auxiliary_weight must be a finite number of at least 0, got {auxiliary_weight!r}")
        official = self.official
        head = auxiliary_head or ("mlp" if official else "inner-product")
        mean: Mean = auxiliary_mean or ("places" if official else "users")
        if head not in ("mlp", "inner-product"):
            raise ValueError(f"auxiliary_head must be 'mlp' or 'inner-product', got {head!r}")
        if mean not in ("places", "behaviours", "users"):
            raise ValueError(f"auxiliary_mean must be 'places', 'behaviours' or 'users', got {mean!r}")
        self.evolution = evolution
        self.auxiliary_weight = auxiliary_weight  # alpha of eq. 8
        size = self.embedding.size
        hidden = self.states_size(hidden_size)
        self.extractor = recurrent_layer(size, hidden, official=official)
        self.evolver = recurrent_layer(hidden, hidden, official=official)
        self.attention = attention_of(size, hidden, official=official)
        loss = MLPAuxiliaryLoss if head == "mlp" else InnerProductAuxiliaryLoss
        self.auxiliary = loss(hidden, size, mean) if auxiliary_weight > 0 else None
        self.top = TopMLP(self.inputs_size + hidden, official=official, dice=official)

    def encode_embedded(self, histories: EmbeddedHistories) -> Encoded:
        """Interests h_t, and what attention and evolution compute of them alone."""
        interests = self.extractor(self.extractor.project(histories.behaviours), histories.packing)
        return Encoded(histories, interests, self.attention.of_keys(interests), self.evolver.project(interests))

    def score_embedded(self, encoded: Encoded, targets: EmbeddedTargets) -> Tensor:
        """The logits (B,) of targets."""
        _, states = self._evolve(encoded, targets)
        last = last_position(states, targets.at.packing)  # h'_T
        return self.logit(targets.at, *self.inputs(encoded.histories, targets), last)

    @property
    def needs_negatives(self) -> bool:
        """Whether there is an auxiliary loss."""
        return self.auxiliary is not None

    def losses(self, encoded: Encoded, targets: EmbeddedTargets) -> Losses:
        """The auxiliary loss ()."""
        if self.auxiliary is None or targets.negatives is None:
            return NO_LOSSES
        histories = encoded.histories
        pairs = Pairs.make(encoded.interests, histories.behaviours, targets.negatives, histories.packing, targets.at)
        return {"auxiliary": (self.auxiliary_weight, self.auxiliary(pairs, targets.at))}

    def explain(self, batch: Batch) -> Explanation:
        """Return the attention a_t (B, T) and the evolving states h'_t (B, T, H) in front of each target."""
        histories, targets = self.embedding(batch)
        found = self._evolve(self.encode_embedded(histories), targets)
        return Explanation(*(unpack(rows, targets.at.packing) for rows in found))

    def _evolve(self, encoded: Encoded, targets: EmbeddedTargets) -> tuple[Tensor, Tensor]:
        """Attention a_t (R_B,) and h'_t = h'_{t-1} + (p + q u'_t) (c'_t - h'_{t-1}) (R_B, H).

        Rows differ in p, q and the input.
        """
        at, target = targets.at, targets.target[:, : self.embedding.size]
        attention = self.attention(target, encoded.interests.index_select(0, at.rows), encoded.of_keys, at)  # eq. 9
        inputs = encoded.projected.index_select(0, at.rows)  # W h_t + b
        states: Tensor
        if self.evolution == "aigru":  # eq. 10: i'_t = a_t h_t
            states = self.evolver(torch.lerp(self.evolver.bias, inputs, attention[:, None]), at.packing)
        elif self.evolution == "agru":  # eq. 11: h'_t = (1 - a_t) h'_{t-1} + a_t c'_t
            states = self.evolver(inputs, at.packing, p=attention, q=torch.zeros_like(attention))
        elif self.official:  # TensorFlow's u_tf = 1 - u keeps the state; the released code scales it by 1 - a_t
            states = self.evolver(inputs, at.packing, p=attention, q=1 - attention)
        else:  # eq. 12, 13: u~'_t = a_t u'_t
            states = self.evolver(inputs, at.packing, q=attention)
        return attention, states
