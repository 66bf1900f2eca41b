"""The auxiliary loss: does h_t know the next behaviour from a negative? (paper, eq. 7)"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.layers.mlp import FrozenNormalisation, dense
from baselines.layers.packing import Packing
from baselines.layers.sigmoid_mlp import sigmoid_mlp

Mean = Literal[
    "places",  # B (T - 1) places, padding counted as zero (released code, variants.md 4)
    "behaviours",  # next behaviours alone
    "users",  # the B users, summed over positions (eq. 7)
]


def mean_over(losses: Tensor, mean: Mean, packing: Packing) -> Tensor:
    """The loss () of terms (any shape): their sum over the number of what they are a mean of, 0 where there is none."""
    batch, length = packing.shape
    count = {"places": batch * (length - 1), "behaviours": len(packing.previous), "users": batch}[mean]
    return losses.sum() / max(count, 1)


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

    def forward(self, states: Tensor, behaviours: Tensor, negatives: Tensor, packing: Packing) -> Tensor:
        """Return the loss () of states (R, H) against behaviours (R, 2E) and negatives (R - first, 2E)."""
        h = states.index_select(0, packing.previous)  # h_t beside e_{t+1}
        nexts = torch.cat([behaviours[packing.first :], negatives])  # clicked, then not clicked
        # first(normalise([h, e])) with both layers as one, and the product with h computed once for both e
        scale, shift = self.normalise.affine()
        weight, bias = self.first.weight * scale, self.first.bias + self.first.weight @ shift
        of_h, of_e = torch.split(weight, [h.shape[1], nexts.shape[1]], dim=1)
        pair = torch.arange(len(h), device=h.device).repeat(2)
        difference = self.last.weight[0] - self.last.weight[1]  # the logit of a softmax over two outputs
        logits = sigmoid_mlp(nexts, F.linear(h, of_h, bias), pair, of_e, self.second, difference)
        logits = logits + (self.last.bias[0] - self.last.bias[1])
        signs = torch.ones_like(logits)
        signs[: len(h)] = -1
        return mean_over(F.softplus(logits * signs), self.mean, packing)


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

    def forward(self, states: Tensor, behaviours: Tensor, negatives: Tensor, packing: Packing) -> Tensor:
        """Return the loss () of states (R, H) against behaviours (R, 2E) and negatives (R - first, 2E)."""
        h = states.index_select(0, packing.previous)  # h_t beside e_{t+1}
        clicked = (h * behaviours[packing.first :]).sum(-1)
        not_clicked = (h * negatives).sum(-1)
        return mean_over(F.softplus(-clicked) + F.softplus(not_clicked), self.mean, packing)
