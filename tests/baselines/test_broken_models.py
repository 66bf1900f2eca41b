"""Models that break one rule of the contract each: the rule is named, with what was found and what was expected."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.contract import RULES, check_rule
from baselines.layers.prediction import Explanation, Prediction
from datamodules.batch import Batch

calls = itertools.count()


class Sound(nn.Module):
    """Keeps every rule."""

    def __init__(self, *, users: int, items: int, categories: int, variant: str) -> None:
        super().__init__()
        self.item = nn.Embedding(items, 4, padding_idx=0)
        self.top = nn.Linear(8, 1)

    def forward(self, batch: Batch) -> Prediction:
        return Prediction(self.logit(batch))

    def logit(self, batch: Batch) -> Tensor:
        pooled = self.item(batch.history_items).sum(1)
        return self.top(torch.cat([self.item(batch.item), pooled], dim=1))[:, 0]


class Column(Sound):
    def logit(self, batch: Batch) -> Tensor:
        return super().logit(batch)[:, None]


class Bare(Sound):
    def forward(self, batch: Batch) -> Any:
        return super().logit(batch)


class AuxiliaryInEvaluation(Sound):
    def forward(self, batch: Batch) -> Prediction:
        logit = self.logit(batch)
        return Prediction(logit, {"mine": (1.0, logit.square().mean())})


class AuxiliaryVector(Sound):
    def forward(self, batch: Batch) -> Prediction:
        logit = self.logit(batch)
        return Prediction(logit, {"mine": (1.0, logit.square())} if self.training else {})


class LossCalledTarget(Sound):
    def forward(self, batch: Batch) -> Prediction:
        logit = self.logit(batch)
        return Prediction(logit, {"target": (1.0, logit.mean())} if self.training else {})


class NoWeight(Sound):
    def forward(self, batch: Batch) -> Prediction:
        return Prediction(self.logit(batch), target_weight=float("nan"))


class WrongAttention(Sound):
    def explain(self, batch: Batch) -> Explanation:
        return Explanation(batch.mask.float().T)


class BareAttention(Sound):
    def explain(self, batch: Batch) -> Tensor:
        return batch.mask.float()


class Double(Sound):
    def logit(self, batch: Batch) -> Tensor:
        return super().logit(batch).double()


class Infinite(Sound):
    def logit(self, batch: Batch) -> Tensor:
        return super().logit(batch) / (batch.lengths != 5)


class Mean(Sound):
    """0 / 0 at an empty history, which the batches of other rules hold too."""

    def logit(self, batch: Batch) -> Tensor:
        pooled = self.item(batch.history_items).sum(1) / batch.lengths[:, None]
        return self.top(torch.cat([self.item(batch.item), pooled], dim=1))[:, 0]


class SingleSample(Sound):
    def logit(self, batch: Batch) -> Tensor:
        return self.top(torch.cat([self.item(batch.item), self.item(batch.history_items).sum(1)], 1)).squeeze()


class Unused(Sound):
    def __init__(self, **sizes: Any) -> None:
        super().__init__(**sizes)
        self.extra = nn.Linear(3, 5, bias=False)


class InfiniteGradient(Sound):
    def logit(self, batch: Batch) -> Tensor:
        return super().logit(batch) + torch.sqrt(self.top.weight.sum() * 0)


class CountsPadding(Sound):
    def logit(self, batch: Batch) -> Tensor:
        return super().logit(batch) / batch.history_items.shape[1]


class AttentionAtPadding(Sound):
    def explain(self, batch: Batch) -> Explanation:
        return Explanation(torch.ones(batch.history_items.shape))


class Positional(Sound):
    def logit(self, batch: Batch) -> Tensor:
        return super().logit(batch) + torch.arange(len(batch.item))


class Peeks(Sound):
    def logit(self, batch: Batch) -> Tensor:
        return super().logit(batch) + 0.01 * batch.label


class Unseeded(Sound):
    def __init__(self, **sizes: Any) -> None:
        super().__init__(**sizes)
        nn.init.constant_(self.top.bias, next(calls))


class SeedsItself(Sound):
    def __init__(self, **sizes: Any) -> None:
        torch.manual_seed(0)
        super().__init__(**sizes)


class DropoutLeftOn(Sound):
    def logit(self, batch: Batch) -> Tensor:
        return F.dropout(super().logit(batch), 0.5)


class Forgets(Sound):
    def __init__(self, **sizes: Any) -> None:
        super().__init__(**sizes)
        self.secret = torch.randn(8)

    def logit(self, batch: Batch) -> Tensor:
        return super().logit(batch) + self.secret.sum()


class ReadsTheWeight(Sound):
    def logit(self, batch: Batch) -> Tensor:
        return super().logit(batch) + self.item.weight[3].sum()


class NoParameters(nn.Module):
    def __init__(self, **sizes: Any) -> None:
        super().__init__()

    def forward(self, batch: Batch) -> Prediction:
        return Prediction(batch.lengths.float())


class NoVariant(nn.Module):
    def __init__(self, *, users: int, items: int, categories: int) -> None:
        super().__init__()


class WrongSize(Sound):
    def logit(self, batch: Batch) -> Tensor:
        return self.top(self.item(batch.item))[:, 0]


@pytest.mark.parametrize("rule", RULES)
def test_a_sound_model_keeps_every_rule(rule: str) -> None:
    found = check_rule(rule, Sound, "official")
    assert found.state == ("skipped" if rule == "device" and not torch.cuda.is_available() else "kept"), found.message


@pytest.mark.parametrize(
    ("rule", "model", "message"),
    [
        ("constructor", NoParameters, "no parameter to train"),
        ("constructor", NoVariant, "unexpected keyword argument 'variant'"),
        ("constructor", lambda **sizes: print, "expected a torch.nn.Module"),
        ("output", Column, "logit has shape (6, 1), expected (6,)"),
        ("output", Bare, "forward returned a Tensor, expected a Prediction"),
        ("output", AuxiliaryInEvaluation, "losses in evaluation: mine; expected none"),
        ("output", AuxiliaryVector, "the loss mine has shape (6,), expected ()"),
        ("output", LossCalledTarget, "a loss is called 'target'"),
        ("output", NoWeight, "target_weight is nan, expected a positive number"),
        ("output", BareAttention, "explain returned a Tensor, expected an Explanation"),
        ("output", WrongAttention, "attention has shape (5, 6), expected (6, 5)"),
        ("output", WrongSize, "test_broken_models.py, line"),
        ("dtype", Double, "logit has dtype torch.float64, expected torch.float32"),
        ("finite", Infinite, "logit has 1 of 6 numbers that are NaN or infinite"),
        ("gradients", Unused, "the parameter extra.weight (5, 3) got no gradient"),
        ("gradients", InfiniteGradient, "the gradient of top.weight has 8 of 8 numbers that are NaN"),
        ("lengths", Mean, "logit of histories of lengths [0, 0] has 2 of 2 numbers that are NaN"),
        ("lengths", SingleSample, "logit of histories of lengths [0] has shape (), expected (1,)"),
        ("padding", CountsPadding, "three more steps of padding change the logits: a logit is"),
        ("padding", AttentionAtPadding, "attention is not 0 at padding"),
        ("order", Positional, "the samples in another order get other logits: a logit is"),
        ("label", Peeks, "other labels change the logits: a logit is"),
        ("determinism", Unseeded, "two models built with one seed differ"),
        ("determinism", SeedsItself, "seeds 0 and 1 are the same"),
        ("determinism", DropoutLeftOn, "evaluated a second time, as with dropout left on"),
        ("save and load", Forgets, "after saving and loading: a logit is"),
        ("tables", ReadsTheWeight, "the weight of item is read otherwise than by calling item(ids)"),
    ],
)
def test_a_broken_model_is_told_what_is_wrong(rule: str, model: Callable[..., Any], message: str) -> None:
    found = check_rule(rule, model, "official")
    assert found.state == "broken"
    assert message in found.message


def test_checking_leaves_the_generators_alone() -> None:
    torch.use_deterministic_algorithms(False)  # whatever a run of another test has left
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    check_rule("determinism", Sound, "official")
    assert torch.equal(torch.rand(2), expected)
    assert not torch.are_deterministic_algorithms_enabled()
