"""Every row against `reference.py` in float64, weights carried over: probabilities, whole loss, and its gradients.

Gradients are those of the reference, by finite differences along random directions, one a weight tensor. Once with
Amazon's fields and a history for each target, once with fields of every kind and targets that share histories.
"""

from typing import Any

import numpy as np
import pytest
import torch

from baselines.contract import IMPRESSIONS, SCHEMA, make_batch
from baselines.lightning_module import CTRModule
from datamodules.batch import Batch
from tests.baselines import reference
from tests.baselines.reference import Floats, Weights

LENGTHS = [4, 1, 2, 0, 3, 4]
POSITIONS = 5  # one more than the longest history: padding that a whole batch has
ROWS = ["base-model", "wide-deep", "pnn", "din", "gru-attention", "aigru", "agru", "augru", "dien"]
HIDDEN = {"gru-attention": 3, "aigru": 3, "agru": 3, "augru": 3}  # DIEN keeps what eq. 7 asks for
HASHED = "wide-deep+crosses=10"  # more pairs of categories than weights for them
VARIANTS = pytest.mark.parametrize("official", [True, False], ids=["official", "paper"])
SHARED = pytest.mark.parametrize("shared", [False, True], ids=["own histories", "shared histories"])


def batch_of_float64(shared: bool) -> Batch:
    """Histories of length 0 and 1, and unknown ids (0) as target and as behaviours.

    Shared: targets in no order, up to three a history.
    """
    schema, each = (IMPRESSIONS, 3) if shared else (SCHEMA, 1)
    batch = make_batch(LENGTHS, POSITIONS, 1, schema, each)  # of 0, a difference of one row straddles a kink of PReLU
    if shared:
        batch = batch.part(np.array([17, 3, 12, 5, 0, 16, 9, 2, 10, 15, 1, 7]))
        assert sorted(batch.history_of.bincount().tolist()) == [1, 1, 2, 2, 3, 3]
    assert not batch.target["item"].all()
    assert not batch.history["item"][batch.mask].all()
    return batch.with_label(batch.label.double())


def base_of(row: str) -> str:
    return row.partition("+")[0]


def build(row: str, official: bool, shared: bool) -> CTRModule:
    """A row in float64 with small embeddings, no weight of it at a value that hides a mistake."""
    torch.manual_seed(1)
    hidden = HIDDEN.get(base_of(row))
    module = CTRModule(
        model=f"{row}+embedding_size=2" + (f"+hidden_size={hidden}" if hidden else ""),
        variant="official" if official else "paper",
        schema=(IMPRESSIONS if shared else SCHEMA).as_dict(),
        steps=10,
    ).double()
    with torch.no_grad():
        for name, parameter in module.model.named_parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
            if stays_0(name, official):
                parameter[0] = 0
    return module


def stays_0(name: str, official: bool) -> bool:
    """Whether row 0 of a parameter is 0 for good."""
    return not official and "embedding." in name


def arrays(module: CTRModule, batch: Batch) -> tuple[Weights, dict[str, Any]]:
    weights = {name: tensor.detach().numpy().copy() for name, tensor in module.model.state_dict().items()}
    return weights, {
        name: {key: tensor.numpy() for key, tensor in value.items()} if isinstance(value, dict) else value.numpy()
        for name, value in batch.as_dict().items()
    }


def reference_loss(
    row: str, w: Weights, b: dict[str, Any], official: bool, alpha: float | None = None, **options: str
) -> tuple[float, float]:
    """The whole and the auxiliary loss, by default with what the variant stands for."""
    alpha = (1.0 if base_of(row) == "dien" else 0.0) if alpha is None else alpha
    head = options.get("head", "mlp" if official else "inner-product")
    mean = options.get("mean", "places" if official else "users")
    return reference.whole_loss(base_of(row), w, b, official, alpha, head, mean)


def slope(row: str, w: Weights, b: dict[str, Any], official: bool, name: str, direction: Floats, **o) -> float:
    """Derivative of the reference's whole loss along a direction of one weight tensor, by a central difference."""
    step = 2e-6
    ends = [reference_loss(row, w | {name: w[name] + s * direction}, b, official, **o)[0] for s in (step, -step)]
    return (ends[0] - ends[1]) / (2 * step)


def check_gradients(row: str, module: CTRModule, batch: Batch, official: bool, **options) -> None:
    weights, b = arrays(module, batch)
    module.zero_grad()
    module.training_step(batch, 0).backward()
    rng = np.random.default_rng(2)
    for name, parameter in module.model.named_parameters():
        direction = rng.standard_normal(parameter.shape)
        if stays_0(name, official):
            direction[0] = 0
        assert parameter.grad is not None, name
        ours = float((parameter.grad.numpy() * direction).sum())
        exact = slope(row, weights, b, official, name, direction, **options)
        assert ours == pytest.approx(exact, rel=1e-5, abs=1e-8), name


@SHARED
@VARIANTS
@pytest.mark.parametrize("row", [*ROWS, HASHED])
def test_probabilities_are_the_references(row: str, official: bool, shared: bool) -> None:
    module, batch = build(row, official, shared), batch_of_float64(shared)
    weights, b = arrays(module, batch)
    p, _ = reference.clicked(base_of(row), weights, b, official)
    for training in (False, True):  # nothing in a row depends on the mode: variants.md 7 and 8
        logit = module.model.train(training)(batch).logit
        np.testing.assert_allclose(torch.sigmoid(logit).detach(), p[:, 0], rtol=1e-7)


@SHARED
@VARIANTS
@pytest.mark.parametrize("row", [*ROWS, HASHED])
def test_whole_loss_and_its_gradients_are_the_references(row: str, official: bool, shared: bool) -> None:
    module, batch = build(row, official, shared), batch_of_float64(shared)
    whole, auxiliary = reference_loss(row, *arrays(module, batch), official)
    assert module.training_step(batch, 0).item() == pytest.approx(whole, rel=1e-8)
    expected = {"loss": whole, "target_loss": whole - auxiliary} | ({"auxiliary_loss": auxiliary} if auxiliary else {})
    assert module._mean_losses() == pytest.approx(expected, rel=1e-8, abs=1e-12)  # what the learning curves show
    check_gradients(row, module, batch, official)


@SHARED
@VARIANTS
@pytest.mark.parametrize("head", ["mlp", "inner-product"])
@pytest.mark.parametrize("mean", ["places", "behaviours", "users"])
def test_every_auxiliary_head_and_mean_of_dien(mean: str, head: str, official: bool, shared: bool) -> None:
    row = f"dien+auxiliary_head={head}+auxiliary_mean={mean}+auxiliary_weight=0.25"
    module, batch = build(row, official, shared), batch_of_float64(shared)
    options = {"alpha": 0.25, "head": head, "mean": mean}
    whole, _ = reference_loss(row, *arrays(module, batch), official, **options)
    assert module.training_step(batch, 0).item() == pytest.approx(whole, rel=1e-8)
    check_gradients(row, module, batch, official, **options)


@SHARED
@VARIANTS
def test_rocket_launching_is_two_diens_and_a_hint(official: bool, shared: bool) -> None:
    """On one embedding layer; the hint moves the light net, and nothing of the booster but what the two share."""
    module, batch = build("dien-rocket+hidden_size=3+booster_size=5", official, shared), batch_of_float64(shared)
    weights, b = arrays(module, batch)
    parts, logits = [], []
    for net in ("light.", "booster."):
        own = {name.removeprefix(net): value for name, value in weights.items() if name.startswith(net)}
        parts.append(reference_loss("dien", own, b, official, head="mlp")[0])
        p, _ = reference.clicked("dien", own, b, official)
        logits.append(np.log(p[:, 0] / p[:, 1]))
    hint = np.square(logits[0] - logits[1]).mean()
    assert module.training_step(batch, 0).item() == pytest.approx(sum(parts) + 0.3 * hint, rel=1e-8)
    found = []
    for weight in (0.3, 0.0):
        module.zero_grad()
        module.model.hint_weight = weight
        module.training_step(batch, 0).backward()
        found.append({name: parameter.grad.clone() for name, parameter in module.model.named_parameters()})
    for name, gradient in found[0].items():
        moved = not torch.equal(gradient, found[1][name])
        assert moved == (name.startswith("light.") and ".auxiliary." not in name), name


@VARIANTS
def test_rocket_launching_without_hint_and_sharing_is_the_light_net_alone(official: bool) -> None:
    rocket = build("dien-rocket+hint_weight=0+share=false+hidden_size=3+booster_size=5", official, True)
    alone = build("dien+auxiliary_head=mlp+hidden_size=3", official, True)
    light = dict(rocket.model.light.named_parameters())
    alone.model.load_state_dict(rocket.model.light.state_dict())
    for module in (rocket, alone):
        module.training_step(batch_of_float64(True), 0).backward()
    for name, parameter in alone.model.named_parameters():
        torch.testing.assert_close(parameter.grad, light[name].grad, msg=name)


@SHARED
@VARIANTS
@pytest.mark.parametrize("row", ROWS)
def test_float32_and_its_kernels_agree_with_float64(row: str, official: bool, shared: bool) -> None:
    """What trains is float32 with compiled kernels; float64 takes the plain loops that the tests above check.

    Full sizes, and more samples than a kernel's block of 32.
    """
    torch.manual_seed(3)
    schema, each = (IMPRESSIONS, 3) if shared else (SCHEMA, 1)
    settings = {"model": row, "variant": "official" if official else "paper", "schema": schema.as_dict(), "steps": 10}
    single, double = CTRModule(**settings), CTRModule(**settings).double()
    double.load_state_dict({name: tensor.double() for name, tensor in single.state_dict().items()})
    batch = make_batch(LENGTHS * (12 // each), POSITIONS, 1, schema, each)
    assert len(batch) == 72
    losses = [module.training_step(batch.with_label(batch.label.to(kind)), 0) for module, kind in
              ((single, torch.float32), (double, torch.float64))]  # fmt: skip
    assert losses[0].item() == pytest.approx(losses[1].item(), rel=1e-6)
    for loss in losses:
        loss.backward()
    for (name, ours), exact in zip(single.model.named_parameters(), double.model.parameters(), strict=True):
        assert ours.grad is not None
        assert exact.grad is not None
        scale = exact.grad.abs().max().item()
        torch.testing.assert_close(ours.grad.double(), exact.grad, atol=2e-5 * scale + 1e-9, rtol=0, msg=name)
