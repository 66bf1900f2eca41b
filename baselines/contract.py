"""What every model must do, as rules that a test or `dien-bench check-model` runs over it; pytest is not needed.

A rule is a function of a way to build the model anew; it raises `BrokenRule`, which says what was found and what was
expected. `RULES` is all of them, in the order in which they are worth reading.
"""

import inspect
import io
import math
import random
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.layers.prediction import Explanation, Prediction, explain
from datamodules.batch import Batch

Build = Callable[[], nn.Module]
SIZES = {"users": 9, "items": 30, "categories": 7}  # rows of the tables, row 0 included
LENGTHS = [5, 3, 1, 0, 4, 2]


class BrokenRule(Exception):
    """A model does not keep a rule; the message says which quantity was found and what was expected."""


class Skipped(Exception):
    """A rule that does not apply to this model or machine; the message says why."""


class Finding(NamedTuple):
    """What came of one rule."""

    rule: str
    state: str  # "kept", "broken" or "skipped"
    message: str = ""


def make_batch(lengths: list[int], steps: int, seed: int = 0) -> Batch:
    """Return a batch of random samples with histories of these lengths, padded to `steps`.

    The first sample has the largest numbers that there are, the last the unknown user, item and category 0.
    """
    rng = np.random.default_rng(seed)
    real = torch.from_numpy(np.arange(steps) < np.array(lengths)[:, None])

    def ids(high: int, *shape: int) -> Tensor:
        numbers = torch.from_numpy(rng.integers(1, high, (len(lengths), *shape)))
        numbers[0] = high - 1
        if len(lengths) > 1:
            numbers[-1] = 0
        return numbers * real if shape else numbers

    users, items, categories = SIZES.values()
    label = torch.arange(len(lengths)) % 2
    return Batch(
        ids(users), ids(items), ids(categories), ids(items, steps), ids(categories, steps), torch.tensor(lengths),
        ids(items, steps), ids(categories, steps), label.float(),
    )  # fmt: skip


def check_model(make: Callable[..., nn.Module], variant: str) -> list[Finding]:
    """Run every rule over the model that `make(users=..., items=..., categories=..., variant=...)` gives."""
    return [check_rule(name, make, variant) for name in RULES]


def check_rule(name: str, make: Callable[..., nn.Module], variant: str) -> Finding:
    """Run one rule; an exception of the model is a broken rule, told with its place in the model's file."""

    def build() -> nn.Module:
        return make(**SIZES, variant=variant)

    try:
        with _seeded(0), _deterministic():
            RULES[name](build)
    except BrokenRule as error:
        return Finding(name, "broken", str(error))
    except Skipped as error:
        return Finding(name, "skipped", str(error))
    except Exception as error:
        return Finding(name, "broken", f"{_place(error)} raised {type(error).__name__}: {error}")
    return Finding(name, "kept")


def _place(error: Exception) -> str:
    """Return where in the model an exception comes from: the last line outside torch and of this file."""
    frames = traceback.extract_tb(error.__traceback__)
    torch_folder = str(Path(torch.__file__).parent)
    own = [frame for frame in frames if not frame.filename.startswith(torch_folder) and frame.filename != __file__]
    return f"{own[-1].filename}, line {own[-1].lineno}," if own else "the model"


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
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
def _deterministic() -> Iterator[None]:
    """Refuse operations without a deterministic form, as a run does."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


def _loss(model: nn.Module, batch: Batch) -> Tensor:
    prediction: Prediction = model(batch)
    loss: Tensor = F.binary_cross_entropy_with_logits(prediction.logit, batch.label) * prediction.target_weight
    for weight, value in prediction.losses.values():
        loss = loss + weight * value
    return loss


def _expect_shape(name: str, found: object, expected: tuple[int, ...]) -> None:
    if not isinstance(found, Tensor):
        raise BrokenRule(f"{name} is a {type(found).__name__}, expected a tensor of shape {expected}")
    if tuple(found.shape) != expected and not (name == "states" and found.shape[:2] == expected[:2]):
        raise BrokenRule(f"{name} has shape {tuple(found.shape)}, expected {expected}")


def _expect_equal(what: str, found: Tensor, expected: Tensor, tolerance: float = 1e-5) -> None:
    if not torch.allclose(found, expected, atol=tolerance, rtol=tolerance):
        sample = int((found - expected).abs().nan_to_num(torch.inf).flatten(1 if found.dim() > 1 else 0).argmax())
        a, b = (tensor.flatten()[sample].item() for tensor in (found, expected))
        raise BrokenRule(f"{what}: a logit is {a:.6g}, expected {b:.6g} (difference allowed {tolerance:g})")


def _expect_finite(name: str, found: Tensor) -> None:
    if bad := int((~torch.isfinite(found)).sum()):
        raise BrokenRule(f"{name} has {bad} of {found.numel()} numbers that are NaN or infinite, expected none")


@torch.no_grad()
def _logit(model: nn.Module, batch: Batch) -> Tensor:
    logit: Tensor = model.eval()(batch).logit
    return logit


def constructor(build: Build) -> None:
    """It is built with users, items, categories and variant as keyword arguments, and has parameters."""
    model = build()
    if not isinstance(model, nn.Module):
        raise BrokenRule(f"what is built is a {type(model).__name__}, expected a torch.nn.Module")
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise BrokenRule("the model has no parameter to train, expected at least one")


def output(build: Build) -> None:
    """forward(batch) returns a Prediction: logit (B,), and losses () in training; explain(batch) an Explanation."""
    batch, model = make_batch(LENGTHS, 5), build()
    for training in (True, False):
        prediction = model.train(training)(batch)
        if not isinstance(prediction, Prediction):
            raise BrokenRule(
                f"forward returned a {type(prediction).__name__}, expected a Prediction "
                "(from baselines.layers.prediction import Prediction)"
            )
        _expect_shape("logit", prediction.logit, (6,))
        _expect_losses(prediction)
    if prediction.losses:
        raise BrokenRule(f"losses in evaluation: {', '.join(prediction.losses)}; expected none, they are for training")
    if explanation := _explanation(model, batch):
        for name, found in explanation.items():
            _expect_shape(name, found, (6, 5) if name == "attention" else (6, 5, -1))


def _expect_losses(prediction: Prediction) -> None:
    if not (math.isfinite(prediction.target_weight) and prediction.target_weight > 0):
        raise BrokenRule(f"target_weight is {prediction.target_weight}, expected a positive number")
    for name, (weight, value) in prediction.losses.items():
        if not name.isidentifier() or name == "target":
            raise BrokenRule(f"a loss is called {name!r}, expected a name of letters, digits and _, and not 'target'")
        if not math.isfinite(weight):
            raise BrokenRule(f"the weight of the loss {name} is {weight}, expected a finite number")
        _expect_shape(f"the loss {name}", value, ())


def _explanation(model: nn.Module, batch: Batch) -> dict[str, Tensor]:
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


def dtype(build: Build) -> None:
    """Logits and losses are float32."""
    prediction = build()(make_batch(LENGTHS, 5))
    losses = {f"the loss {name}": value for name, (_, value) in prediction.losses.items()}
    for name, found in {"logit": prediction.logit, **losses}.items():
        if found.dtype != torch.float32:
            raise BrokenRule(f"{name} has dtype {found.dtype}, expected torch.float32")


def finite(build: Build) -> None:
    """No number that comes out is NaN or infinite, in training and in evaluation."""
    for training in (True, False):
        model, batch = build().train(training), make_batch(LENGTHS, 5)
        prediction = model(batch)
        losses = {f"the loss {name}": value for name, (_, value) in prediction.losses.items()}
        for name, found in {"logit": prediction.logit, **losses, **_explanation(model, batch)}.items():
            _expect_finite(name, found)


def gradients(build: Build) -> None:
    """Every parameter gets a gradient, and it is finite."""
    model = build()
    _loss(model, make_batch(LENGTHS, 5)).backward()  # type: ignore[no-untyped-call]
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        if parameter.grad is None:
            raise BrokenRule(f"the parameter {name} {tuple(parameter.shape)} got no gradient: nothing trains it")
        _expect_finite(f"the gradient of {name}", parameter.grad)


def lengths(build: Build) -> None:
    """Histories of length 0 and 1 and batches of one sample are ordinary input; training steps on them are finite."""
    for case in ([0, 0], [1, 1], [0, 1], [0], [1]):
        batch = make_batch(case, 1)
        logit = _logit(build(), batch)
        _expect_shape(f"logit of histories of lengths {case}", logit, (len(case),))
        _expect_finite(f"logit of histories of lengths {case}", logit)
        if len(case) == 1:
            continue
        model = build()
        _loss(model, batch).backward()  # type: ignore[no-untyped-call]
        for name, parameter in model.named_parameters():
            if parameter.grad is not None:
                _expect_finite(f"the gradient of {name} from histories of lengths {case}", parameter.grad)


def padding(build: Build) -> None:
    """Longer padding changes no logit, and attention and states are 0 there."""
    model, batch = build(), make_batch([4, 2, 0], 4)
    if any(getattr(module, "sums_padding", False) for module in model.modules()):
        raise Skipped("it sums over the padding on purpose, as the released code does (sums_padding)")
    longer = {name: F.pad(tensor, (0, 3)) for name, tensor in batch._asdict().items() if tensor.dim() == 2}
    padded = batch._replace(**longer)
    _expect_equal("three more steps of padding change the logits", _logit(model, padded), _logit(model, batch), 1e-6)
    for name, found in _explanation(model, padded).items():
        if found[~padded.mask].count_nonzero():
            raise BrokenRule(f"{name} is not 0 at padding, expected 0 behind the length of a history")


def order(build: Build) -> None:
    """The order of the samples in a batch changes no logit."""
    model, batch = build(), make_batch(LENGTHS, 5)
    places = torch.tensor([3, 5, 0, 1, 4, 2])
    shuffled = Batch(*(tensor[places] for tensor in batch))
    _expect_equal(
        "the samples in another order get other logits", _logit(model, shuffled), _logit(model, batch)[places]
    )


def label(build: Build) -> None:
    """The logit does not depend on the label."""
    model, batch = build(), make_batch(LENGTHS, 5)
    other = batch._replace(label=1 - batch.label)
    for training in (True, False):
        with torch.no_grad(), _seeded(0):
            expected = model.train(training)(batch).logit
        with torch.no_grad(), _seeded(0):
            _expect_equal("other labels change the logits", model.train(training)(other).logit, expected, 0)


def determinism(build: Build) -> None:
    """One seed gives one model, another seed another one; evaluation gives the same logits every time."""
    batch, models = make_batch(LENGTHS, 5), []
    for seed in (0, 0, 1):
        with _seeded(seed):
            models.append(build())
    first, again, other = (list(model.parameters()) for model in models)
    if not all(map(torch.equal, first, again)):
        raise BrokenRule("two models built with one seed differ: draw from torch, numpy.random or random alone")
    if all(map(torch.equal, first, other)):
        raise BrokenRule("models built with seeds 0 and 1 are the same: do not set a seed in the model")
    model = models[0]
    _expect_equal("evaluated a second time, as with dropout left on", _logit(model, batch), _logit(model, batch), 0)


def save_and_load(build: Build) -> None:
    """What state_dict holds is all that makes up the model, and loads without running code."""
    batch, model, stored = make_batch(LENGTHS, 5), build(), io.BytesIO()
    expected = _logit(model, batch)
    torch.save(model.state_dict(), stored)
    stored.seek(0)
    with _seeded(1):
        loaded = build()
    loaded.load_state_dict(torch.load(stored, weights_only=True))
    _expect_equal("after saving and loading", _logit(loaded, batch), expected, 0)


def tables(build: Build) -> None:
    """Embedding tables are read by calling them, for large ones are updated where they are read."""
    model, batch = build(), make_batch(LENGTHS, 5)
    found = {name: module for name, module in model.named_modules() if isinstance(module, nn.Embedding)}
    for table in found.values():
        table.sparse = True
    _loss(model, batch).backward()  # type: ignore[no-untyped-call]
    for name, table in found.items():
        if table.weight.grad is not None and not table.weight.grad.is_sparse:
            raise BrokenRule(f"the weight of {name} is read otherwise than by calling {name}(ids)")


def device(build: Build) -> None:
    """On a GPU it computes what it computes on the CPU."""
    if not torch.cuda.is_available():
        raise Skipped("torch sees no GPU")
    model, batch = build(), make_batch(LENGTHS, 5)
    expected = _logit(model, batch)
    moved = Batch(*(tensor.to("cuda") for tensor in batch))
    found = _logit(model.to("cuda"), moved)
    if found.device.type != "cuda":
        raise BrokenRule(f"logit is on {found.device}, expected cuda like the batch")
    _expect_equal("on a GPU", found.cpu(), expected, 1e-4)
    _loss(model.train(), moved).backward()  # type: ignore[no-untyped-call]


RULES: dict[str, Callable[[Build], None]] = {
    "constructor": constructor,
    "output": output,
    "dtype": dtype,
    "finite": finite,
    "gradients": gradients,
    "lengths": lengths,
    "padding": padding,
    "order": order,
    "label": label,
    "determinism": determinism,
    "save and load": save_and_load,
    "tables": tables,
    "device": device,
}


def meaning(rule: str) -> str:
    """Return what a rule demands, in a sentence.

    >>> meaning("label")
    'The logit does not depend on the label.'
    """
    return inspect.getdoc(RULES[rule]) or ""
