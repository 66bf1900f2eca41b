"""What the rows of the tables have in common: `encode` once a history, `score` once a target."""

from abc import ABC, abstractmethod
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from baselines.layers.embedding import EmbeddedHistories, EmbeddedTargets, FieldEmbedding
from baselines.layers.mlp import TopMLP
from baselines.layers.prediction import NO_LOSSES, Losses, Prediction, Variant, check_positive, check_variant
from datamodules.batch import Batch, Histories, Targets
from datamodules.schema import Schema


@runtime_checkable
class Splits(Protocol):
    """A model that offers the two halves."""

    def encode(self, histories: Histories) -> Any:
        """What scores need of histories, computed once each."""

    def score(self, encoded: Any, targets: Targets) -> Tensor:
        """The logits (B,) of targets whose histories are among those encoded; of several batches, `targets.sizes`."""


def logits_of(model: nn.Module, batch: Batch) -> Tensor:
    """The logits (B,) of targets of one batch or of several; a model whose work splits takes all of them at once."""
    if isinstance(model, Splits):
        return model.score(model.encode(batch.histories), batch.targets)
    return torch.cat([model(each).logit for each in batch.batches()])


class TwoStage(nn.Module, ABC):
    """A model whose work splits into what a history gives and what a target makes of it.

    A row says what it encodes and how it scores; training calls `forward`, the composition of the two, and evaluation
    and serving the halves.
    """

    top: TopMLP

    def __init__(self, schema: Schema, variant: Variant, embedding_size: int, **sizes: int) -> None:
        super().__init__()
        check_positive(embedding_size=embedding_size, **sizes)
        check_variant(variant)
        self.official = variant == "official"
        self.target_weight = 0.5 if self.official else 1.0  # variants.md 5
        self.embedding = FieldEmbedding(schema, embedding_size, variant)

    @abstractmethod
    def encode_embedded(self, histories: EmbeddedHistories) -> Any:
        """What scores need of embedded histories, a tuple of tensors."""

    @abstractmethod
    def score_embedded(self, encoded: Any, targets: EmbeddedTargets) -> Tensor:
        """The logits (B,) of embedded targets."""

    def losses(self, encoded: Any, targets: EmbeddedTargets) -> Losses:
        """What is trained beside the cross-entropy; nothing in most rows."""
        return NO_LOSSES

    @property
    def needs_negatives(self) -> bool:
        """Whether the losses need auxiliary negatives."""
        return False

    def forward(self, batch: Batch) -> Prediction:
        """Return the logits (B,) of a batch and, in training, what else is trained."""
        histories, targets = self.embedding(batch, with_negatives=self.training and self.needs_negatives)
        encoded = self.encode_embedded(histories)
        losses = self.losses(encoded, targets) if targets.negatives is not None else NO_LOSSES
        return Prediction(self.score_embedded(encoded, targets), losses, self.target_weight)

    def encode(self, histories: Histories) -> Any:
        """What scores need of histories, computed once each."""
        return self.encode_embedded(self.embedding.histories(histories))

    def score(self, encoded: Any, targets: Targets) -> Tensor:
        """The logits (B,) of targets whose histories are among those encoded."""
        return self.score_embedded(encoded, self.embedding.targets(targets))

    def logit(self, at: Targets, *inputs: Tensor) -> Tensor:
        """The logits (B,) that the MLP gives to numbers of targets side by side."""
        found: Tensor = self.top(torch.cat(inputs, dim=1), at.sizes)
        return found

    def pooled(self, histories: EmbeddedHistories, targets: EmbeddedTargets) -> list[Tensor]:
        """What the MLP of rows without attention sees: user, target, moment, sum(history)."""
        user = histories.user.index_select(0, targets.at.history_of)
        return [user, targets.target, targets.context, self.embedding.history_sum(histories, targets.at)]

    @property
    def pooled_size(self) -> int:
        """How many numbers `pooled` gives a target."""
        e = self.embedding
        return e.user_size + e.target_size + e.context_size + e.size

    def states_size(self, hidden_size: int | None) -> int:
        """How many numbers a state has: as asked for, else as many as a behaviour, 36 on Amazon (released code)."""
        if hidden_size is not None:
            check_positive(hidden_size=hidden_size)
        return hidden_size or self.embedding.size

    def inputs(self, histories: EmbeddedHistories, targets: EmbeddedTargets) -> list[Tensor]:
        """What the MLP of every row with attention sees beside the interest (variants.md 10).

        Official: user, target, moment, sum(history), target * sum(history). Paper: the same without the sums.
        """
        user = histories.user.index_select(0, targets.at.history_of)
        if not self.official:
            return [user, targets.target, targets.context]
        total = self.embedding.history_sum(histories, targets.at)
        return [user, targets.target, targets.context, total, targets.target[:, : self.embedding.size] * total]

    @property
    def inputs_size(self) -> int:
        """How many numbers `inputs` gives a target."""
        e = self.embedding
        return e.user_size + e.target_size + e.context_size + (2 * e.size if self.official else 0)
