"""The auxiliary loss: does h_t know the next behaviour from a negative? (paper, eq. 7)"""

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.layers.mlp import FrozenNormalisation, dense
from baselines.layers.sigmoid_mlp import sigmoid_mlp
from datamodules.batch import Targets
from datamodules.packing import Packing

Mean = Literal[
    "places",  # B (T - 1) places, padding counted as zero (released code, variants.md 4)
    "behaviours",  # next behaviours alone
    "users",  # the B users, summed over positions (eq. 7)
]


class Pairs(NamedTuple):
    """h_t beside what follows it: the next behaviour, and for every target a negative of its own.

    A history that several targets share is computed once and counts as often as they do.
    """

    h: Tensor  # (R - first, H) h_t in front of every behaviour but the first of a history
    clicked: Tensor  # (R - first, K) that behaviour
    times: Tensor  # (R - first,) targets that share the history
    not_clicked: Tensor  # (R_B - first, K) the negatives
    of: Tensor  # (R_B - first,) row of h that each negative stands beside

    @classmethod
    def make(cls, states: Tensor, behaviours: Tensor, negatives: Tensor, packing: Packing, at: Targets) -> "Pairs":
        """The pairs of states (R, H), behaviours (R, K) and negatives (R_B - first, K)."""
        ones = states.new_ones(len(at))  # bincount would wait for a GPU
        shared_by = states.new_zeros(len(packing.counts)).index_add(0, at.history_of, ones)
        return cls(
            h=states.index_select(0, packing.previous),
            clicked=behaviours[packing.first :],
            times=shared_by.index_select(0, packing.history[packing.first :]),
            not_clicked=negatives,
            of=at.rows[at.packing.first :] - packing.first,
        )

    def mean(self, clicked: Tensor, not_clicked: Tensor, mean: Mean, at: Targets) -> Tensor:
        """The loss () for log-odds (R - first,) and (R_B - first,) that a click follows; 0 where there is none."""
        batch, length = at.packing.shape
        count = {"places": batch * (length - 1), "behaviours": len(self.of), "users": batch}[mean]
        return (self.times @ F.softplus(-clicked) + F.softplus(not_clicked).sum()) / max(count, 1)


class MLPAuxiliaryLoss(nn.Module):
    """Released code: MLP 100-50-2 on [h, e] (variants.md 3), by default over padded places.

    The released code takes log(1 - p) of a softmax output, which is -inf where p rounds to 1, and NaN at masked
    places (variants.md 15); here the loss comes from logits. A batch without any next behaviour gives 0, where the
    released code fails (variants.md 16).
    """

    def __init__(self, hidden_size: int, behaviour_size: int, mean: Mean = "places") -> None:
        super().__init__()
        self.mean = mean
        inputs = hidden_size + behaviour_size
        self.normalise = FrozenNormalisation(inputs)
        self.first, self.second, self.last = dense(inputs, 100), dense(100, 50), dense(50, 2)

    def forward(self, pairs: Pairs, at: Targets) -> Tensor:
        """Return the loss () of pairs."""
        count = len(pairs.h)
        nexts = torch.cat([pairs.clicked, pairs.not_clicked])
        # first(normalise([h, e])) with both layers as one, and the product with h computed once for both e
        scale, shift = self.normalise.affine()
        weight, bias = self.first.weight * scale, self.first.bias + self.first.weight @ shift
        of_h, of_e = torch.split(weight, [pairs.h.shape[1], nexts.shape[1]], dim=1)
        shared = F.linear(pairs.h, of_h, bias), torch.cat([torch.arange(count, device=nexts.device), pairs.of])
        difference = self.last.weight[0] - self.last.weight[1]  # the logit of a softmax over two outputs
        logits = sigmoid_mlp(nexts, shared, of_e, self.second, difference) + (self.last.bias[0] - self.last.bias[1])
        return pairs.mean(logits[:count], logits[count:], self.mean, at)


class InnerProductAuxiliaryLoss(nn.Module):
    """Eq. 7: sigma of the inner product of h_t with the next behaviour, by default summed over positions."""

    def __init__(self, hidden_size: int, behaviour_size: int, mean: Mean = "users") -> None:
        super().__init__()
        self.mean = mean
        if hidden_size != behaviour_size:
            raise ValueError(
                f"hidden_size must equal twice embedding_size for the inner product of eq. 7, "
                f"got {hidden_size} and {behaviour_size}"
            )

    def forward(self, pairs: Pairs, at: Targets) -> Tensor:
        """Return the loss () of pairs."""
        clicked = (pairs.h * pairs.clicked).sum(-1)
        not_clicked = (pairs.h.index_select(0, pairs.of) * pairs.not_clicked).sum(-1)
        return pairs.mean(clicked, not_clicked, self.mean, at)
