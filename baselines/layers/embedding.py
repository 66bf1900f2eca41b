"""Embedding tables, one a field (paper, "Embedding")."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from baselines.layers.packing import sum_over_positions
from baselines.layers.prediction import Variant
from datamodules.batch import Batch, Fields, Histories, Targets
from datamodules.packing import Packing
from datamodules.schema import Schema


class EmbeddedHistories(NamedTuple):
    """U histories after the embedding layer; a behaviour is the concatenation of its fields' rows, K numbers."""

    user: Tensor  # (U, EU) of the user's fields
    behaviours: Tensor  # (R, K) packed
    total: Tensor  # (U, K) sum over the behaviours
    padding: Tensor | None  # (1, K) row 0 of every field, where it is summed too
    of: Histories

    @property
    def packing(self) -> Packing:
        """The layout of the behaviours."""
        return self.of.packing


class EmbeddedTargets(NamedTuple):
    """B targets after the embedding layer; the first K numbers of a target are those that a behaviour has too."""

    target: Tensor  # (B, K + ET)
    context: Tensor  # (B, EC) of the moment's fields
    negatives: Tensor | None  # (R_B - first, K) beside the rows after the first position
    at: Targets


class FieldEmbedding(nn.Module):
    """One table a field, `embedding_size` numbers a row, drawn Glorot-uniform as TensorFlow does by default.

    Official: row 0 is a row like any other and sum pooling runs over the padding too (variants.md 9); there is a table
    of user numbers although no test user of Amazon trains it (variants.md 19). Paper: row 0 is zero, sums are over
    behaviours; the paper names no user number among its features, so that there is no table for it.
    """

    def __init__(self, schema: Schema, embedding_size: int, variant: Variant) -> None:
        super().__init__()
        self.official = self.sums_padding = variant == "official"
        self.behaviour, self.own, self.context = list(schema.behaviour), list(schema.target), list(schema.context)
        self.user = [name for name in schema.user if self.official or name != "user"]
        names = [*self.user, *self.behaviour, *self.own, *self.context]
        padding = None if self.official else 0
        self.tables = nn.ModuleDict(
            {name: nn.Embedding(schema.rows[name], embedding_size, padding_idx=padding) for name in names}
        )
        for table in self.tables.values():
            weight: Tensor = table.weight  # type: ignore[assignment]
            nn.init.xavier_uniform_(weight)
            if not self.official:
                nn.init.zeros_(weight[0].detach())
        self.size = embedding_size * len(self.behaviour)  # K
        self.target_size = self.size + embedding_size * len(self.own)
        self.user_size, self.context_size = embedding_size * len(self.user), embedding_size * len(self.context)

    def forward(self, batch: Batch, with_negatives: bool = False) -> tuple[EmbeddedHistories, EmbeddedTargets]:
        """Look up histories, targets and, if asked, auxiliary negatives, with one look-up a table.

        Its backward pass writes one gradient instead of three.
        """
        negatives = batch.targets.negatives if with_negatives else None
        parts = [batch.histories.behaviours, batch.targets.target, *([negatives] if negatives else [])]
        behaviours, target, *drawn, padding = self._look_up(parts)
        histories = self._histories(behaviours, padding, batch.histories)
        return histories, self._targets(target, drawn[0] if drawn else None, batch.targets)

    def histories(self, histories: Histories) -> EmbeddedHistories:
        """Look up histories."""
        behaviours, padding = self._look_up([histories.behaviours])
        return self._histories(behaviours, padding, histories)

    def targets(self, targets: Targets) -> EmbeddedTargets:
        """Look up targets."""
        return self._targets(self._look_up([targets.target])[0], None, targets)

    def history_sum(self, histories: EmbeddedHistories, at: Targets) -> Tensor:
        """The sum (B, K) over the history of each target."""
        total = histories.total.index_select(0, at.history_of)
        if histories.padding is None:
            return total
        return total + at.padding[:, None] * histories.padding

    def _look_up(self, parts: list[Fields]) -> list[Tensor]:
        """Rows (N, K) of the behaviour fields of each part (N,), and row 0 (1, K) of all of them."""
        first = [part[self.behaviour[0]] for part in parts]
        zero = first[0].new_zeros(1)
        numbers = (torch.cat([*(part[name] for part in parts), zero]) for name in self.behaviour)
        found = [self.tables[name](rows) for name, rows in zip(self.behaviour, numbers, strict=True)]
        return list(torch.split(torch.cat(found, dim=1), [*map(len, first), 1]))

    def _histories(self, behaviours: Tensor, padding: Tensor, histories: Histories) -> EmbeddedHistories:
        packing = histories.packing
        user = self._joined(self.user, histories.user, behaviours.new_zeros(len(packing.counts), 0))
        total = sum_over_positions(behaviours, packing)
        return EmbeddedHistories(user, behaviours, total, padding if self.official else None, histories)

    def _targets(self, target: Tensor, negatives: Tensor | None, targets: Targets) -> EmbeddedTargets:
        nothing = target.new_zeros(len(target), 0)
        if self.own:
            target = torch.cat([target, self._joined(self.own, targets.target, nothing)], dim=1)
        return EmbeddedTargets(target, self._joined(self.context, targets.context, nothing), negatives, targets)

    def _joined(self, names: list[str], fields: Fields, nothing: Tensor) -> Tensor:
        rows = [self.tables[name](fields[name]) for name in names]
        return torch.cat(rows, dim=1) if rows else nothing
