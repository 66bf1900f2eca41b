"""Attention of a target item over the steps of a sequence."""

import torch
from torch import Tensor, nn

from baselines.layers.mlp import dense


def masked_softmax(scores: Tensor, mask: Tensor) -> Tensor:
    """Softmax of scores (B, T) over the steps of mask (B, T); 0 elsewhere, and everywhere in an empty row."""
    scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    return torch.softmax(scores, dim=1) * mask


class MLPAttention(nn.Module):
    """MLP 80-40-1 with sigmoids on [q, k, q - k, q k] (released code, facts 2; unit of the DIN paper, figure 2).

    `project_query` puts PReLU(dense(target)) in front, as the models on GRU states have it. `softmax=False` leaves
    the scores as they are, as in the DIN paper, eq. 3.
    """

    def __init__(self, query_size: int, key_size: int, *, project_query: bool, softmax: bool = True) -> None:
        super().__init__()
        if not project_query and query_size != key_size:
            raise ValueError(f"query_size must equal key_size, got {query_size} and {key_size}")
        self.project = (
            nn.Sequential(dense(query_size, key_size), nn.PReLU(key_size, init=0.1)) if project_query else None
        )
        self.first = dense(4 * key_size, 80)
        self.rest = nn.Sequential(nn.Sigmoid(), dense(80, 40), nn.Sigmoid(), dense(40, 1))
        self.softmax = softmax

    def forward(self, target: Tensor, keys: Tensor, mask: Tensor) -> Tensor:
        """Return weights (B, T) for target (B, Q), keys (B, T, K), mask (B, T)."""
        query = target if self.project is None else self.project(target)
        # [q, k, q - k, q k] W with the parts of W that meet q alone taken out of the steps
        of_query, of_key, of_difference, of_product = torch.split(self.first.weight, keys.shape[2], dim=1)
        from_query = nn.functional.linear(query, of_query + of_difference, self.first.bias)  # (B, 80)
        features = torch.cat([keys, query[:, None] * keys], dim=2)  # (B, T, 2K)
        weight = torch.cat([of_key - of_difference, of_product], dim=1)
        scores = self.rest(nn.functional.linear(features, weight) + from_query[:, None]).squeeze(-1)
        return masked_softmax(scores, mask) if self.softmax else scores * mask


class BilinearAttention(nn.Module):
    """a_t = softmax_t(h_t W e_a), eq. 9."""

    def __init__(self, query_size: int, key_size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(key_size, query_size))
        nn.init.xavier_uniform_(self.weight)

    def forward(self, target: Tensor, keys: Tensor, mask: Tensor) -> Tensor:
        """Return weights (B, T) for target (B, Q), keys (B, T, K), mask (B, T)."""
        scores = torch.einsum("btk,bk->bt", keys, target @ self.weight.T)
        return masked_softmax(scores, mask)


def weighted_sum(weights: Tensor, values: Tensor) -> Tensor:
    """(B, T) weights and (B, T, H) values to (B, H)."""
    return torch.einsum("bt,bth->bh", weights, values)
