"""The rules; each raises `BrokenRule` where a model does not keep it."""

import io
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from baselines.contract.batch import LENGTHS, LONGEST, make_batch, padded, tensors_of
from baselines.contract.expect import (
    BrokenRule,
    DoubtfulModel,
    Skipped,
    expect_equal,
    expect_finite,
    expect_losses,
    expect_shape,
    explanation_of,
    logit_of,
    loss_of,
    mode,
    seeded,
)
from baselines.layers.prediction import Prediction
from baselines.layers.two_stage import Splits
from datamodules.batch import Batch

Build = Callable[[], nn.Module]
BOTH_MODES = (True, False)  # training, evaluation


def constructor(build: Build) -> None:
    """It is built with a schema and the keyword argument variant, and has parameters."""
    model = build()
    if not isinstance(model, nn.Module):
        raise BrokenRule(f"what is built is a {type(model).__name__}, expected a torch.nn.Module")
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise BrokenRule("the model has no parameter to train, expected at least one")


def output(build: Build) -> None:
    """forward(batch) returns a Prediction: logit (B,), and losses () in training; explain(batch) an Explanation."""
    batch, model = make_batch(LENGTHS, 5), build()
    for training in BOTH_MODES:
        prediction = model.train(training)(batch)
        if not isinstance(prediction, Prediction):
            raise BrokenRule(
                f"forward returned a {type(prediction).__name__}, expected a Prediction "
                "(from baselines.layers.prediction import Prediction)"
            )
        expect_shape("logit", prediction.logit, (6,))
        expect_losses(prediction)
    if prediction.losses:
        raise BrokenRule(f"losses in evaluation: {', '.join(prediction.losses)}; expected none, they are for training")
    for name, found in explanation_of(model, batch).items():
        expect_shape(name, found, (6, 5) if name == "attention" else (6, 5, -1))


def dtype(build: Build) -> None:
    """Logits and losses are float32."""
    for name, found in _numbers(build()(make_batch(LENGTHS, 5))).items():
        if found.dtype != torch.float32:
            raise BrokenRule(f"{name} has dtype {found.dtype}, expected torch.float32")


def _numbers(prediction: Prediction) -> dict[str, Tensor]:
    return {"logit": prediction.logit} | {f"the loss {name}": loss for name, (_, loss) in prediction.losses.items()}


def finite(build: Build) -> None:
    """No number that comes out is NaN or infinite, in training and in evaluation."""
    for training in BOTH_MODES:
        model, batch = build().train(training), make_batch(LENGTHS, 5)
        for name, found in (_numbers(model(batch)) | explanation_of(model, batch)).items():
            expect_finite(name, found)


def gradients(build: Build) -> None:
    """Every parameter gets a gradient, and it is finite."""
    model = build()
    loss_of(model, make_batch(LENGTHS, 5)).backward()  # type: ignore[no-untyped-call]
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        if parameter.grad is None:
            raise BrokenRule(f"the parameter {name} {tuple(parameter.shape)} got no gradient: nothing trains it")
        expect_finite(f"the gradient of {name}", parameter.grad)


def lengths(build: Build) -> None:
    """Histories of length 0, 1 and 100 and batches of one sample are ordinary input; steps on them are finite."""
    for case in ([0, 0], [1, 1], [0, 1], [0], [1], [LONGEST, 3]):
        batch = make_batch(case, max(*case, 1))
        logit = logit_of(build(), batch)
        expect_shape(f"logit of histories of lengths {case}", logit, (len(case),))
        expect_finite(f"logit of histories of lengths {case}", logit)
        if len(case) == 1:
            continue
        model = build()
        loss_of(model, batch).backward()  # type: ignore[no-untyped-call]
        for name, parameter in model.named_parameters():
            if parameter.grad is not None:
                expect_finite(f"the gradient of {name} from histories of lengths {case}", parameter.grad)


def padding(build: Build) -> None:
    """Longer padding changes no logit, and attention and states are 0 there."""
    model, batch = build(), make_batch([4, 2, 0], 4)
    if any(getattr(module, "sums_padding", False) for module in model.modules()):
        raise Skipped("it sums over the padding on purpose, as the released code does (sums_padding)")
    longer, expected = padded(batch, 3), logit_of(model, batch)
    expect_equal("three more positions of padding change the logits", logit_of(model, longer), expected, 1e-6)
    for name, found in explanation_of(model, longer).items():
        if found[~longer.mask].count_nonzero():
            raise BrokenRule(f"{name} is not 0 at padding, expected 0 behind the length of a history")


def order(build: Build) -> None:
    """The order of the samples in a batch changes no logit."""
    model, batch = build(), make_batch(LENGTHS, 5)
    places = np.array([3, 5, 0, 1, 4, 2])
    expected = logit_of(model, batch)[torch.from_numpy(places)]
    expect_equal("the samples in another order get other logits", logit_of(model, batch.part(places)), expected)


def shared(build: Build) -> None:
    """Targets that share a history get the logits that they get with a copy each."""
    model, batch = build(), make_batch(LENGTHS, 5, targets_each=3)
    try:
        found = logit_of(model, batch)
    except (RuntimeError, IndexError) as error:
        raise BrokenRule(
            f"three targets share each history: {type(error).__name__}: {error}. A model that wants one history a "
            "target begins with batch = batch.per_target()"
        ) from error
    expect_equal("targets that share a history get other logits", found, logit_of(model, batch.per_target()))


def halves(build: Build) -> None:
    """A model with the methods encode and score, which evaluation calls, gives by them what forward gives."""
    model, batch = build().eval(), make_batch(LENGTHS, 5, targets_each=3)
    if not isinstance(model, Splits):
        raise Skipped("its work does not split: it has no encode(histories) and score(encoded, targets)")
    expected = logit_of(model, batch)
    with torch.no_grad():
        found = model.score(model.encode(batch.histories), batch.targets)
    expect_shape("score(encode(histories), targets)", found, (len(batch),))
    expect_equal("score(encode(histories), targets) is not what forward gives", found, expected)


def alone(build: Build) -> None:
    """A sample alone gets the logit that it gets in a batch, in evaluation."""
    model, batch = build(), make_batch(LENGTHS, 5, targets_each=2)  # two samples of every user
    if any(getattr(module, "batch_statistics", False) for module in model.modules()):
        raise Skipped("its Dice uses the statistics of the batch, as in the released code (batch_statistics)")
    for i, expected in enumerate(logit_of(model, batch)):
        one = logit_of(model, batch.part(np.array([i])))
        expect_equal("a sample gets another logit alone than in a batch", one, expected[None])


def inputs(build: Build) -> None:
    """The batch comes out as it went in."""
    model = build()
    for training in BOTH_MODES:
        batch = make_batch(LENGTHS, 5)
        given = {name: tensor.clone() for name, tensor in tensors_of(batch).items()}
        model.train(training)(batch)
        for name, after in tensors_of(batch).items():
            if not torch.equal(given[name], after):
                raise BrokenRule(f"forward changes batch.{name} {mode(training)}, expected as it was: change a clone")


def label(build: Build) -> None:
    """The logit does not depend on the label."""
    batch = make_batch(LENGTHS, 5)
    other = batch.with_label(1 - batch.label)
    for training in BOTH_MODES:
        expected, again, found = (_fresh_logit(build, given, training) for given in (batch, batch, other))
        if not torch.equal(expected, again):
            raise Skipped("it has randomness of its own (determinism)")
        expect_equal("other labels change the logits", found, expected, 0)


def _fresh_logit(build: Build, batch: Batch, training: bool) -> Tensor:
    """The logits of a model that is new, whatever an earlier call has moved in another one."""
    with seeded(0):
        return logit_of(build(), batch, training)


def determinism(build: Build) -> None:
    """One seed gives one model, which trains in one way, another seed another one; evaluation gives equal logits."""
    batch, models = make_batch(LENGTHS, 5), []
    for seed in (0, 0, 1):
        with seeded(seed):
            models.append(build())
    first, again, other = (list(model.parameters()) for model in models)
    advice = "draw from torch, numpy.random or random, without a generator of your own"
    if not all(map(torch.equal, first, again)):
        raise BrokenRule(f"two models built with one seed differ: {advice}")
    if all(map(torch.equal, first, other)):
        raise BrokenRule("models built with seeds 0 and 1 are the same: do not set a seed in the model")
    if not torch.equal(*(_fresh_logit(build, batch, True) for _ in range(2))):
        raise BrokenRule(f"two models built and trained with one seed give other logits: {advice}")
    model = models[0]
    expect_equal("evaluated a second time, as with dropout left on", logit_of(model, batch), logit_of(model, batch), 0)


def save_and_load(build: Build) -> None:
    """What state_dict holds, tensors alone, is all of the model: one that goes on from it trains as it would have."""
    batch, model, stored = make_batch(LENGTHS, 5), build(), io.BytesIO()
    loss_of(model.train(), batch)  # what moves in training has moved
    for name, value in model.state_dict().items():
        if not isinstance(value, Tensor):
            raise BrokenRule(
                f"state_dict holds {name}, a {type(value).__name__}, expected tensors alone: keep it in a buffer "
                "(register_buffer), not in get_extra_state"
            )
    torch.save(model.state_dict(), stored)
    stored.seek(0)
    with seeded(1):
        loaded = build()
    loaded.load_state_dict(torch.load(stored, weights_only=True))
    lacking = "; state_dict lacks what it has drawn or counted (a generator or numbers of its own)"
    for training in (False, True):
        with seeded(2):
            expected = logit_of(model, batch, training)
        with seeded(2):
            found = logit_of(loaded, batch, training)
        expect_equal(f"after saving and loading, {mode(training)}{lacking if training else ''}", found, expected, 0)


def tables(build: Build) -> None:
    """Embedding tables are read by calling them, for large ones are updated where they are called."""
    batch = make_batch(LENGTHS, 5)
    names = [name for name, module in build().named_modules() if isinstance(module, nn.Embedding)]
    for training in BOTH_MODES:
        for name in names:
            found = []
            for hidden in (False, True):
                with seeded(0):
                    model = build().train(training)
                if hidden:
                    _hide(model, name)
                with seeded(1), torch.no_grad():
                    found.append(torch.cat([model(batch).logit, loss_of(model, batch)[None]]))
            if not torch.equal(*found):
                raise BrokenRule(
                    f"the weight of {name} is read otherwise than by calling {name}(ids), {mode(training)}"
                )


def _hide(model: nn.Module, name: str) -> None:
    """Put noise in the place of a table that is trained, except while it is called."""
    weight = model.get_submodule(name).weight
    if not isinstance(weight, nn.Parameter) or not weight.requires_grad:
        return
    right = weight.detach().clone()
    noise = torch.randn(right.shape, generator=torch.Generator().manual_seed(2**20))

    def before(*_: object) -> None:
        weight.data.copy_(right)

    def after(*_: object) -> None:
        weight.data.copy_(noise)

    after()
    for module in model.modules():
        if isinstance(module, nn.Embedding) and module.weight is weight:
            module.register_forward_pre_hook(before)
            module.register_forward_hook(after)


def scale(build: Build) -> None:
    """Logits are log-odds, of any size, not probabilities."""
    model, batch = build(), make_batch(LENGTHS, 5)
    batch = batch.with_label(torch.zeros(len(batch)))
    optimizer = torch.optim.Adam([each for each in model.parameters() if each.requires_grad], lr=0.1)
    for _ in range(20):
        optimizer.zero_grad()
        loss_of(model.train(), batch).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    logit = logit_of(model, batch)
    if bool(((logit > 0) & (logit < 1)).all()):
        raise DoubtfulModel(
            f"after 20 steps on samples without a click, logits still lie in (0, 1), from {logit.min():.3g} to "
            f"{logit.max():.3g}, as probabilities do: return log-odds, without a sigmoid"
        )


def device(build: Build) -> None:
    """On a GPU it computes what it computes on the CPU."""
    if not torch.cuda.is_available():
        raise Skipped("torch sees no GPU")
    model, batch = build(), make_batch(LENGTHS, 5)
    expected = logit_of(model, batch)
    moved = batch.to("cuda")
    found = logit_of(model.to("cuda"), moved)
    if found.device.type != "cuda":
        raise BrokenRule(f"logit is on {found.device}, expected cuda like the batch")
    expect_equal("on a GPU", found.cpu(), expected, 1e-4)
    loss_of(model.train(), moved).backward()  # type: ignore[no-untyped-call]


RULES: dict[str, Callable[[Build], None]] = {
    "constructor": constructor,
    "output": output,
    "dtype": dtype,
    "finite": finite,
    "gradients": gradients,
    "lengths": lengths,
    "padding": padding,
    "order": order,
    "shared": shared,
    "halves": halves,
    "alone": alone,
    "inputs": inputs,
    "label": label,
    "determinism": determinism,
    "save and load": save_and_load,
    "tables": tables,
    "scale": scale,
    "device": device,
}
