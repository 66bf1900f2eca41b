"""What every model returns, and the two words that say which formulas it computes."""

from typing import Literal, NamedTuple

from torch import Tensor

Variant = Literal[
    "official",  # as the authors' released code computes it
    "paper",  # as the equations say
]


class Prediction(NamedTuple):
    """Output of a model for a batch."""

    logit: Tensor  # (B,) log-odds of a click
    auxiliary_loss: Tensor | None = None  # () mean over the batch; None without one, and outside training
    attention: Tensor | None = None  # (B, T) weights of the behaviours, 0 at padding; our rows: outside training
    states: Tensor | None = None  # (B, T, H) states of the evolving layer, 0 at padding; our rows: outside training


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
