"""What every model returns, and the two words that say which formulas it computes."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple

from torch import Tensor, nn

from datamodules.batch import Batch

Variant = Literal[
    "official",  # as the authors' released code computes it
    "paper",  # as the equations say
]
Losses = Mapping[str, tuple[float, Tensor]]  # by name: weight and value (), a mean over the batch
NO_LOSSES: Losses = MappingProxyType({})


class Prediction(NamedTuple):
    """Output of a model for a batch; what is trained is target_weight * cross-entropy + the weighted sum of `losses`.

    A loss "name" is logged as the column "name_loss".
    """

    logit: Tensor  # (B,) log-odds of a click
    losses: Losses = NO_LOSSES  # in training
    target_weight: float = 1.0


class Explanation(NamedTuple):
    """What a model's `explain(batch)` shows of how it comes to its logits; 0 at padding."""

    attention: Tensor  # (B, T) weights of the behaviours in front of each target
    states: Tensor | None = None  # (B, T, H) states of the layer that evolves with them


def explain(model: nn.Module, batch: Batch) -> Explanation | None:
    """Return what a model shows of a batch, None for a model without a method `explain`."""
    method = getattr(model, "explain", None)
    explanation: Explanation | None = None if method is None else method(batch)
    return explanation


def check_positive(**sizes: int) -> None:
    """Raise ValueError unless every size is a positive integer."""
    for name, value in sizes.items():
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError(f"{name} must be a whole number, got {value!r}")
        if value < 1:
            raise ValueError(f"{name} must be positive, got {value}")


def check_variant(variant: str) -> None:
    """Raise ValueError unless the variant is one of the two."""
    if variant not in ("official", "paper"):
        raise ValueError(f"variant must be 'official' or 'paper', got {variant!r}")
