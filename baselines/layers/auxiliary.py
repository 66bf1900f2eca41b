"""The auxiliary loss: does h_t know the next behaviour from a negative? (paper, eq. 7)"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.layers.mlp import FrozenNormalisation, dense, to_logit


class MLPAuxiliaryLoss(nn.Module):
    """Released code: MLP 100-50-2 on [h, e], mean over all B (T - 1) places, padding counted as zero (facts 3, 4).

    The released code takes log(1 - p) of a softmax output, which is -inf where p rounds to 1, and NaN at masked
    places (facts 15); here the loss comes from logits. A batch without any next behaviour gives 0, where the
    released code fails (facts 16).
    """

    def __init__(self, hidden_size: int, behaviour_size: int) -> None:
        super().__init__()
        inputs = hidden_size + behaviour_size
        self.net = nn.Sequential(
            FrozenNormalisation(inputs),
            dense(inputs, 100),
            nn.Sigmoid(),
            dense(100, 50),
            nn.Sigmoid(),
            dense(50, 2),
        )

    def forward(self, states: Tensor, behaviours: Tensor, negatives: Tensor, mask: Tensor) -> Tensor:
        """Return the loss () of states (B, T, H) against behaviours and negatives (B, T, 2E), mask (B, T)."""
        real = mask[:, 1:].reshape(-1).nonzero().squeeze(1)
        if not len(real):
            return states.sum() * 0
        # the R real places alone: padding would add exactly nothing
        h = states[:, :-1].flatten(0, 1)[real]
        clicked = torch.cat([h, behaviours[:, 1:].flatten(0, 1)[real]], dim=1)
        not_clicked = torch.cat([h, negatives[:, 1:].flatten(0, 1)[real]], dim=1)
        logits = to_logit(self.net(torch.cat([clicked, not_clicked])))  # (2R,)
        signs = torch.ones_like(logits)
        signs[: len(real)] = -1
        return F.softplus(logits * signs).sum() / mask[:, 1:].numel()


class InnerProductAuxiliaryLoss(nn.Module):
    """Eq. 7: sigma of the inner product of h_t with the next behaviour, summed over steps, mean over users."""

    def __init__(self, hidden_size: int, behaviour_size: int) -> None:
        super().__init__()
        if hidden_size != behaviour_size:
            raise ValueError(
                f"hidden_size must equal twice embedding_size for the inner product of eq. 7, "
                f"got {hidden_size} and {behaviour_size}"
            )

    def forward(self, states: Tensor, behaviours: Tensor, negatives: Tensor, mask: Tensor) -> Tensor:
        """Return the loss () of states (B, T, H) against behaviours and negatives (B, T, 2E), mask (B, T)."""
        h, real = states[:, :-1], mask[:, 1:]
        clicked = (h * behaviours[:, 1:]).sum(-1)  # (B, T - 1)
        not_clicked = (h * negatives[:, 1:]).sum(-1)
        loss = F.softplus(-clicked) + F.softplus(not_clicked)
        return (loss * real).sum() / len(states)
