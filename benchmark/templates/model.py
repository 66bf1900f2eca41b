"""TargetAttention: behaviours weighted by how well they fit the target item.

Say here which paper and which code it follows, and where it differs from them and why.
Scores are scaled dot products of target and behaviour, weights their softmax over the behaviours.
"""

import torch
from torch import Tensor, nn

from baselines.layers.prediction import Explanation, Prediction, Variant, check_positive, check_variant
from datamodules.batch import Batch, Fields
from datamodules.schema import Schema


class TargetAttention(nn.Module):
    """Dot-product attention of the target over the history, and an MLP on top.

    `schema` has the rows of each field's table; row 0 stands for padding and for what training never saw.
    `variant` says which formulas a row of the paper computes; here there is one set of them. Every other argument is
    an option of the row: "...+embedding_size=32".
    """

    def __init__(
        self, schema: Schema, *, variant: Variant = "official", embedding_size: int = 18, hidden_size: int = 80
    ) -> None:
        super().__init__()
        check_positive(embedding_size=embedding_size, hidden_size=hidden_size)
        check_variant(variant)
        self.tables = nn.ModuleDict(
            {name: nn.Embedding(rows, embedding_size, padding_idx=0) for name, rows in schema.behaviour.items()}
        )
        for weight in self.tables.parameters():
            nn.init.normal_(weight, std=0.05)
            nn.init.zeros_(weight[0].detach())
        self.top = nn.Sequential(
            nn.Linear(3 * len(self.tables) * embedding_size, hidden_size),
            nn.PReLU(),
            nn.Linear(hidden_size, 1),
        )

    def forward(self, batch: Batch) -> Prediction:
        """Return the logits (B,) of a batch."""
        target, history, weights = self.attend(batch)
        interest = (weights[:, :, None] * history).sum(1)  # (B, K)
        return Prediction(self.top(torch.cat([target, interest, target * interest], dim=1))[:, 0])

    def explain(self, batch: Batch) -> Explanation:
        """Return the attention (B, T) over a batch's behaviours."""
        return Explanation(self.attend(batch)[2])

    def attend(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Return target (B, K), history (B, T, K) and the weights (B, T) of its behaviours."""
        batch = batch.per_target()  # one history a target
        target, history = self.embed(batch.target), self.embed(batch.history)
        scores = (history * target[:, None]).sum(2) / target.shape[1] ** 0.5
        return target, history, masked_softmax(scores, batch.mask)

    def embed(self, fields: Fields) -> Tensor:
        """The behaviour fields' numbers (...), of items and their categories for example, to vectors (..., K)."""
        return torch.cat([table(fields[name]) for name, table in self.tables.items()], dim=-1)


def masked_softmax(scores: Tensor, mask: Tensor) -> Tensor:
    """Softmax (B, T) of scores (B, T) over the positions where mask (B, T) is true; 0 elsewhere.

    The lowest number there is, not minus infinity, keeps the gradient of an empty history finite.
    """
    lowest = torch.finfo(scores.dtype).min
    return torch.softmax(scores.masked_fill(~mask, lowest), dim=1) * mask
