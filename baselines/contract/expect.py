"""What rules say of a model, and what they compare."""

import math
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.layers.prediction import Explanation, Prediction, explain
from datamodules.batch import Batch


class BrokenRule(Exception):
    """A model does not keep a rule; the message says which quantity was found and what was expected."""


class DoubtfulModel(Exception):
    """A model that is probably not meant as it is; the message says why."""


class Skipped(Exception):
    """A rule that does not apply to this model or machine; the message says why."""


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed all generators as a run does, and leave them as they were."""
    python, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng(devices=[]):
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        torch.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy_state)  # noqa: NPY002


@contextmanager
def deterministic() -> Iterator[None]:
    """Refuse operations without a deterministic form, as a run does."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


def loss_of(model: nn.Module, batch: Batch) -> Tensor:
    """The whole loss () that a model is trained with."""
    prediction: Prediction = model(batch)
    loss: Tensor = F.binary_cross_entropy_with_logits(prediction.logit, batch.label) * prediction.target_weight
    for weight, value in prediction.losses.values():
        loss = loss + weight * value
    return loss


@torch.no_grad()
def logit_of(model: nn.Module, batch: Batch, training: bool = False) -> Tensor:
    """The logits (B,) in evaluation or in training mode, without gradients."""
    logit: Tensor = model.train(training)(batch).logit
    return logit


def mode(training: bool) -> str:
    """What messages call a model's mode."""
    return "in training" if training else "in evaluation"


def explanation_of(model: nn.Module, batch: Batch) -> dict[str, Tensor]:
    """What `explain` returns by name; nothing of a model that has no such method."""
    with torch.no_grad():
        found = explain(model, batch)
    if found is None:
        return {}
    if not isinstance(found, Explanation):
        raise BrokenRule(
            f"explain returned a {type(found).__name__}, expected an Explanation "
            "(from baselines.layers.prediction import Explanation)"
        )
    return {name: tensor for name, tensor in found._asdict().items() if tensor is not None}


def expect_shape(name: str, found: object, expected: tuple[int, ...]) -> None:
    """Raise `BrokenRule` unless a tensor has a shape; -1 stands for any size."""
    if not isinstance(found, Tensor):
        raise BrokenRule(f"{name} is a {type(found).__name__}, expected a tensor of shape {expected}")
    fits = len(found.shape) == len(expected) and all(
        size in (-1, own) for own, size in zip(found.shape, expected, strict=True)
    )
    if not fits:
        raise BrokenRule(f"{name} has shape {tuple(found.shape)}, expected {expected}")


def expect_losses(prediction: Prediction) -> None:
    """Raise `BrokenRule` unless weights and losses of a prediction can be trained and logged."""
    if not (math.isfinite(prediction.target_weight) and prediction.target_weight > 0):
        raise BrokenRule(f"target_weight is {prediction.target_weight}, expected a positive number")
    for name, (weight, value) in prediction.losses.items():
        if not name.isidentifier() or name == "target":
            raise BrokenRule(f"a loss is called {name!r}, expected a name of letters, digits and _, and not 'target'")
        if not math.isfinite(weight):
            raise BrokenRule(f"the weight of the loss {name} is {weight}, expected a finite number")
        expect_shape(f"the loss {name}", value, ())


def expect_equal(what: str, found: Tensor, expected: Tensor, tolerance: float = 1e-5) -> None:
    """Raise `BrokenRule` unless logits (B,) are equal up to a tolerance, absolute and relative."""
    if not torch.allclose(found, expected, atol=tolerance, rtol=tolerance):
        sample = int((found - expected).abs().nan_to_num(torch.inf).flatten(1 if found.dim() > 1 else 0).argmax())
        a, b = (tensor.flatten()[sample].item() for tensor in (found, expected))
        raise BrokenRule(f"{what}: a logit is {a:.6g}, expected {b:.6g} (difference allowed {tolerance:g})")


def expect_finite(name: str, found: Tensor) -> None:
    """Raise `BrokenRule` unless all numbers are finite."""
    if bad := int((~torch.isfinite(found)).sum()):
        raise BrokenRule(f"{name} has {bad} of {found.numel()} numbers that are NaN or infinite, expected none")
