"""Attention of a target item over the positions of a history."""

import torch
from torch import Tensor, nn

from baselines.layers.mlp import dense
from baselines.layers.packing import Packing, at_positions, softmax_over_positions, sum_over_positions
from baselines.layers.sigmoid_mlp import sigmoid_mlp


class MLPAttention(nn.Module):
    """MLP 80-40-1 with sigmoids on [q, k, q - k, q k] (released code, variants.md 2; unit of the DIN paper, figure 2).

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
        self.first, self.second, self.last = dense(4 * key_size, 80), dense(80, 40), dense(40, 1)
        self.softmax = softmax

    def forward(self, target: Tensor, keys: Tensor, packing: Packing) -> Tensor:
        """Return weights (R,) for target (B, Q) and keys (R, K)."""
        query = target if self.project is None else self.project(target)
        # [q, k, q - k, q k] W with the parts of W that meet q alone computed once a target, not once a position
        of_query, of_key, of_difference, of_product = torch.split(self.first.weight, keys.shape[1], dim=1)
        from_query = nn.functional.linear(query, of_query + of_difference, self.first.bias)  # (B, 80)
        features = torch.cat([keys, at_positions(query, packing) * keys], dim=1)  # (R, 2K)
        weight = torch.cat([of_key - of_difference, of_product], dim=1)
        scores = sigmoid_mlp(features, from_query, packing.history, weight, self.second, self.last.weight[0])
        scores = scores + self.last.bias
        return softmax_over_positions(scores, packing) if self.softmax else scores


class BilinearAttention(nn.Module):
    """a_t = softmax_t(h_t W e_a), eq. 9."""

    def __init__(self, query_size: int, key_size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(key_size, query_size))
        nn.init.xavier_uniform_(self.weight)

    def forward(self, target: Tensor, keys: Tensor, packing: Packing) -> Tensor:
        """Return weights (R,) for target (B, Q) and keys (R, K)."""
        return softmax_over_positions((keys * at_positions(target @ self.weight.T, packing)).sum(dim=1), packing)


def weighted_sum(weights: Tensor, values: Tensor, packing: Packing) -> Tensor:
    """Weights (R,) and values (R, H) to (B, H)."""
    return sum_over_positions(weights[:, None] * values, packing)
