"""Attention of a target item over the positions of a history."""

import torch
from torch import Tensor, nn

from baselines.layers.mlp import dense
from baselines.layers.packing import at_positions, softmax_over_positions, sum_over_positions
from baselines.layers.sigmoid_mlp import sigmoid_mlp
from datamodules.batch import Targets
from datamodules.packing import Packing


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

    def of_keys(self, keys: Tensor) -> Tensor:
        """What keys (R, K) alone give to the first layer (R, 80), once a history."""
        _, of_key, of_difference, _ = torch.split(self.first.weight, keys.shape[1], dim=1)
        return nn.functional.linear(keys, of_key - of_difference)

    def forward(self, target: Tensor, keys: Tensor, of_keys: Tensor, at: Targets) -> Tensor:
        """Return weights (R_B,) for target (B, Q), keys (R_B, K) and `of_keys` (R, 80)."""
        query = target if self.project is None else self.project(target)
        # [q, k, q - k, q k] W: the parts of W that meet q or k alone are computed once a target, once a behaviour
        of_query, _, of_difference, of_product = torch.split(self.first.weight, keys.shape[1], dim=1)
        from_query = nn.functional.linear(query, of_query + of_difference, self.first.bias)  # (B, 80)
        product, owner = at_positions(query, at.packing) * keys, at.packing.history
        shared, further = (from_query, owner), (of_keys, at.rows)
        scores = sigmoid_mlp(product, shared, of_product, self.second, self.last.weight[0], further) + self.last.bias
        return softmax_over_positions(scores, at.packing) if self.softmax else scores


class BilinearAttention(nn.Module):
    """a_t = softmax_t(h_t W e_a), eq. 9."""

    def __init__(self, query_size: int, key_size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(key_size, query_size))
        nn.init.xavier_uniform_(self.weight)

    def of_keys(self, keys: Tensor) -> Tensor:
        """Nothing that could be computed once a history: keys (R, K) as they are."""
        return keys

    def forward(self, target: Tensor, keys: Tensor, of_keys: Tensor, at: Targets) -> Tensor:
        """Return weights (R_B,) for target (B, Q) and keys (R_B, K)."""
        scores = (keys * at_positions(target @ self.weight.T, at.packing)).sum(dim=1)
        return softmax_over_positions(scores, at.packing)


def attention_of(query_size: int, key_size: int, *, official: bool) -> MLPAttention | BilinearAttention:
    """The attention over GRU states: an MLP with a projected query (released code), or eq. 9."""
    return (
        MLPAttention(query_size, key_size, project_query=True) if official else BilinearAttention(query_size, key_size)
    )


def weighted_sum(weights: Tensor, values: Tensor, packing: Packing) -> Tensor:
    """Weights (R,) and values (R, H) to (B, H)."""
    return sum_over_positions(weights[:, None] * values, packing)
