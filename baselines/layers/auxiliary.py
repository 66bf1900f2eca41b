"""The auxiliary loss: does h_t know the next behaviour from a negative? (paper, eq. 7)"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.layers.mlp import FrozenNormalisation, dense, to_logit
from baselines.layers.steps import Steps


class MLPAuxiliaryLoss(nn.Module):
    """Released code: MLP 100-50-2 on [h, e], mean over all B (T - 1) places, padding counted as zero (facts 3, 4).

    The released code takes log(1 - p) of a softmax output, which is -inf where p rounds to 1, and NaN at masked
    places (facts 15); here the loss comes from logits. A batch without any next behaviour gives 0, where the
    released code fails (facts 16).
    """

    def __init__(self, hidden_size: int, behaviour_size: int) -> None:
        super().__init__()
        inputs = hidden_size + behaviour_size
        self.normalise, self.first = FrozenNormalisation(inputs), dense(inputs, 100)
        self.rest = nn.Sequential(nn.Sigmoid(), dense(100, 50), nn.Sigmoid(), dense(50, 2))

    def forward(self, states: Tensor, behaviours: Tensor, negatives: Tensor, steps: Steps) -> Tensor:
        """Return the loss () of states (R, H) against behaviours (R, 2E) and negatives (R - first, 2E)."""
        h = states.index_select(0, steps.previous)  # h_t beside e_{t+1}
        nexts = torch.cat([behaviours[steps.first :], negatives])  # clicked, then not clicked
        logits = to_logit(self.rest(self._first(h, nexts)))
        signs = torch.ones_like(logits)
        signs[: len(h)] = -1
        batch, length = steps.shape
        return F.softplus(logits * signs).sum() / max(batch * (length - 1), 1)

    def _first(self, h: Tensor, nexts: Tensor) -> Tensor:
        """first(normalise([h, e])) for both halves of e, the product with h computed once."""
        scale, shift = self.normalise.affine()
        weight, bias = self.first.weight * scale, self.first.bias + self.first.weight @ shift
        of_h, of_e = torch.split(weight, [h.shape[1], nexts.shape[1]], dim=1)
        return F.linear(nexts, of_e) + F.linear(h, of_h, bias).repeat(2, 1)


class InnerProductAuxiliaryLoss(nn.Module):
    """Eq. 7: sigma of the inner product of h_t with the next behaviour, summed over steps, mean over users."""

    def __init__(self, hidden_size: int, behaviour_size: int) -> None:
        super().__init__()
        if hidden_size != behaviour_size:
            raise ValueError(
                f"hidden_size must equal twice embedding_size for the inner product of eq. 7, "
                f"got {hidden_size} and {behaviour_size}"
            )

    def forward(self, states: Tensor, behaviours: Tensor, negatives: Tensor, steps: Steps) -> Tensor:
        """Return the loss () of states (R, H) against behaviours (R, 2E) and negatives (R - first, 2E)."""
        h = states.index_select(0, steps.previous)  # h_t beside e_{t+1}
        clicked = (h * behaviours[steps.first :]).sum(-1)
        not_clicked = (h * negatives).sum(-1)
        return (F.softplus(-clicked) + F.softplus(not_clicked)).sum() / len(steps.lengths)
