"""Models that break one rule of the contract each: the rule is named, with what was found and what was expected."""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.contract import RULES, check_model, check_rule
from baselines.layers.prediction import Explanation, Prediction
from datamodules.batch import Batch
from datamodules.schema import Schema

calls = itertools.count()


class Sound(nn.Module):
    """Keeps every rule."""

    def __init__(self, schema: Schema, *, variant: str) -> None:
        super().__init__()
        self.item = nn.Embedding(schema.behaviour["item"], 4, padding_idx=0)
        self.top = nn.Linear(8, 1)

    def forward(self, batch: Batch) -> Prediction:
        return Prediction(self.logit(batch))

    def logit(self, batch: Batch) -> Tensor:
        pooled = self.item(batch.per_target().history["item"]).sum(1)
        return self.top(torch.cat([self.item(batch.target["item"]), pooled], dim=1))[:, 0]


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
        return super().logit(batch) + 0 / batch.lengths


class SingleSample(Sound):
    def logit(self, batch: Batch) -> Tensor:
        return super().logit(batch).squeeze()


class Unused(Sound):
    def __init__(self, schema: Schema, variant: str) -> None:
        super().__init__(schema, variant=variant)
        self.extra = nn.Linear(3, 5, bias=False)


class InfiniteGradient(Sound):
    def logit(self, batch: Batch) -> Tensor:
        return super().logit(batch) + torch.sqrt(self.top.weight.sum() * 0)


class CountsPadding(Sound):
    def logit(self, batch: Batch) -> Tensor:
        return super().logit(batch) / batch.history["item"].shape[1]


class AttentionAtPadding(Sound):
    def explain(self, batch: Batch) -> Explanation:
        return Explanation(torch.ones(batch.history["item"].shape))


class Positional(Sound):
    def logit(self, batch: Batch) -> Tensor:
        return super().logit(batch) + torch.arange(len(batch))


class OneHistoryEach(Sound):
    def logit(self, batch: Batch) -> Tensor:
        return super().logit(batch) + batch.lengths


class OtherHalves(Sound):
    """Has methods of these names that mean something else."""

    def encode(self, histories: Any) -> Any:
        return histories

    def score(self, encoded: Any, targets: Any) -> Any:
        return torch.zeros(len(targets))


class HistoriesInTheOrderOfTargets(Sound):
    """Fault: target b has history_of[b], not b."""

    def logit(self, batch: Batch) -> Tensor:
        return super().logit(batch) + batch.lengths.repeat(len(batch) // len(batch.lengths))


class Peeks(Sound):
    def logit(self, batch: Batch) -> Tensor:
        return super().logit(batch) + 0.01 * batch.label


class Unseeded(Sound):
    def __init__(self, schema: Schema, variant: str) -> None:
        super().__init__(schema, variant=variant)
        nn.init.constant_(self.top.bias, next(calls))


class SeedsItself(Sound):
    def __init__(self, schema: Schema, variant: str) -> None:
        torch.manual_seed(0)
        super().__init__(schema, variant=variant)


class DropoutLeftOn(Sound):
    def logit(self, batch: Batch) -> Tensor:
        return F.dropout(super().logit(batch), 0.5)


class Forgets(Sound):
    def __init__(self, schema: Schema, variant: str) -> None:
        super().__init__(schema, variant=variant)
        self.secret = torch.randn(8)

    def logit(self, batch: Batch) -> Tensor:
        return super().logit(batch) + self.secret.sum()


class ReadsTheWeight(Sound):
    def logit(self, batch: Batch) -> Tensor:
        return super().logit(batch) + self.item.weight[3].sum()


class ReadsTheWeightInEvaluation(Sound):
    def logit(self, batch: Batch) -> Tensor:
        return super().logit(batch) + (0 if self.training else self.item.weight[batch.target["item"]].sum(1))


class ReadsTheWeightWithoutAGradient(Sound):
    """Past a second table of the same weight, which is itself no fault."""

    def __init__(self, schema: Schema, variant: str) -> None:
        super().__init__(schema, variant=variant)
        self.second = nn.Embedding(schema.behaviour["item"], 4, padding_idx=0)
        self.second.weight = self.item.weight

    def logit(self, batch: Batch) -> Tensor:
        known = self.second(batch.target["item"]).sum(1)
        return super().logit(batch) + known + (self.item.weight.detach().mean() if self.training else 0)


class LessTheUsersMean(Sound):
    """Fault: scores of a user's other samples tell which one was clicked."""

    def logit(self, batch: Batch) -> Tensor:
        logit = super().logit(batch)
        user = batch.user["user"][batch.history_of]
        same = (user[:, None] == user).float()
        return logit if self.training else logit - same @ logit / same.sum(1)


class WritesTheLabel(Sound):
    def logit(self, batch: Batch) -> Tensor:
        logit = super().logit(batch)
        if not self.training:
            batch.label.copy_(logit.detach() > 0)
        return logit


class OwnGenerator(Sound):
    """NumPy's dropout from a generator that no checkpoint holds."""

    def __init__(self, schema: Schema, variant: str) -> None:
        super().__init__(schema, variant=variant)
        self.generator = np.random.default_rng(np.random.randint(2**31))  # noqa: NPY002

    def logit(self, batch: Batch) -> Tensor:
        noise = torch.from_numpy(self.generator.standard_normal(len(batch))).float()
        return super().logit(batch) + (noise if self.training else 0)


class SharedNumpy(Sound):
    """NumPy's own stream is kept with a run."""

    def logit(self, batch: Batch) -> Tensor:
        noise = torch.from_numpy(np.random.standard_normal(len(batch))).float()  # noqa: NPY002
        return super().logit(batch) + (noise if self.training else 0)


class Unrepeatable(Sound):
    def logit(self, batch: Batch) -> Tensor:
        noise = torch.from_numpy(np.random.default_rng().standard_normal(len(batch))).float()
        return super().logit(batch) + (noise if self.training else 0)


class CountsInAnAttribute(Sound):
    seen = 0

    def logit(self, batch: Batch) -> Tensor:
        self.seen += self.training
        return super().logit(batch) + 0.1 * self.seen


class Spectral(Sound):
    """Its estimate of the largest singular value moves in training, and is part of state_dict."""

    def __init__(self, schema: Schema, variant: str) -> None:
        super().__init__(schema, variant=variant)
        self.top = nn.utils.parametrizations.spectral_norm(self.top)


class ExtraState(Sound):
    def get_extra_state(self) -> Any:
        return {"version": 1}

    def set_extra_state(self, state: Any) -> None: ...


class Probability(Sound):
    def logit(self, batch: Batch) -> Tensor:
        return torch.sigmoid(super().logit(batch))


class FewPositions(Sound):
    def __init__(self, schema: Schema, variant: str) -> None:
        super().__init__(schema, variant=variant)
        self.position = nn.Embedding(9, 4)

    def logit(self, batch: Batch) -> Tensor:
        places = torch.arange(batch.history["item"].shape[1]).expand(batch.history["item"].shape)
        return super().logit(batch) + (self.position(places).sum(2) * batch.mask).sum(1)


class NeedsMore(Sound):
    def __init__(self, schema: Schema, *, width: int, variant: str) -> None:
        super().__init__(schema, variant=variant)


class NoParameters(nn.Module):
    def __init__(self, schema: Schema, variant: str) -> None:
        super().__init__()

    def forward(self, batch: Batch) -> Prediction:
        return Prediction(batch.lengths.float())


class NoVariant(nn.Module):
    def __init__(self, schema: Schema) -> None:
        super().__init__()


class WrongSize(Sound):
    def logit(self, batch: Batch) -> Tensor:
        return self.top(self.item(batch.target["item"]))[:, 0]


@pytest.mark.parametrize("rule", RULES)
def test_a_sound_model_keeps_every_rule(rule: str) -> None:
    found = check_rule(rule, Sound, "official")
    no_matter = {"halves"} | ({"device"} if not torch.cuda.is_available() else set())  # it has no halves
    assert found.state == ("skipped" if rule in no_matter else "kept"), found.message


@pytest.mark.parametrize(
    ("rule", "model", "message"),
    [
        ("constructor", NoParameters, "no parameter to train"),
        ("constructor", NoVariant, "unexpected keyword argument 'variant'"),
        ("constructor", lambda schema, variant: print, "expected a torch.nn.Module"),
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
        ("padding", CountsPadding, "three more positions of padding change the logits: a logit is"),
        ("padding", AttentionAtPadding, "attention is not 0 at padding"),
        ("order", Positional, "the samples in another order get other logits: a logit is"),
        ("shared", OneHistoryEach, "a target begins with batch = batch.per_target()"),
        ("shared", HistoriesInTheOrderOfTargets, "targets that share a history get other logits: a logit is"),
        ("halves", OtherHalves, "score(encode(histories), targets) is not what forward gives: a logit is"),
        ("label", Peeks, "other labels change the logits: a logit is"),
        ("determinism", Unseeded, "two models built with one seed differ"),
        ("determinism", SeedsItself, "seeds 0 and 1 are the same"),
        ("determinism", DropoutLeftOn, "evaluated a second time, as with dropout left on"),
        ("save and load", Forgets, "after saving and loading, in evaluation: a logit is"),
        ("save and load", OwnGenerator, "state_dict lacks what it has drawn or counted"),
        ("save and load", CountsInAnAttribute, "after saving and loading, in evaluation: a logit is"),
        ("save and load", ExtraState, "state_dict holds _extra_state, a dict, expected tensors alone"),
        ("determinism", Unrepeatable, "two models built and trained with one seed give other logits"),
        ("lengths", FewPositions, "raised IndexError"),
        ("alone", LessTheUsersMean, "a sample gets another logit alone than in a batch: a logit is"),
        ("inputs", WritesTheLabel, "forward changes batch.label in evaluation"),
        ("tables", ReadsTheWeight, "the weight of item is read otherwise than by calling item(ids), in training"),
        ("tables", ReadsTheWeightInEvaluation, "read otherwise than by calling item(ids), in evaluation"),
        ("tables", ReadsTheWeightWithoutAGradient, "read otherwise than by calling item(ids), in training"),
    ],
)
def test_a_broken_model_is_told_what_is_wrong(rule: str, model: Callable[..., Any], message: str) -> None:
    found = check_rule(rule, model, "official")
    assert found.state == "broken"
    assert message in found.message


@pytest.mark.parametrize("model", [Spectral, SharedNumpy])
def test_what_moves_in_training_and_is_kept_breaks_nothing(model: Callable[..., Any]) -> None:
    assert [found for found in check_model(model, "official") if found.state not in ("kept", "skipped")] == []


class NoNumber(Sound):
    def logit(self, batch: Batch) -> Tensor:
        return super().logit(batch) * (1.0 if self.training else torch.nan)


def test_what_moves_in_training_is_not_blamed_on_labels() -> None:
    assert check_rule("label", CountsInAnAttribute, "official").state == "kept"
    assert check_rule("label", Unrepeatable, "official").message == "it has randomness of its own (determinism)"


def test_probabilities_in_the_place_of_logits_are_a_warning() -> None:
    found = check_rule("scale", Probability, "official")
    assert found.state == "warning"
    assert "return log-odds, without a sigmoid" in found.message


@pytest.mark.parametrize(("model", "rules"), [(NeedsMore, 1), (WrongSize, 2), (NoNumber, 4), (Peeks, len(RULES))])
def test_a_cause_that_ends_the_check_is_told_once(model: Callable[..., Any], rules: int) -> None:
    found = check_model(model, "official")
    assert [each.rule for each in found] == list(RULES)[:rules]
    broken = [each.message for each in found if each.state == "broken"]
    assert len(broken) == 1, broken


def test_checking_leaves_the_generators_alone() -> None:
    torch.use_deterministic_algorithms(False)  # whatever a run of another test has left
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    check_rule("determinism", Sound, "official")
    assert torch.equal(torch.rand(2), expected)
    assert not torch.are_deterministic_algorithms_enabled()
