"""Every row against `reference.py` in float64, weights carried over: probabilities, whole loss, and its gradients.

Gradients are those of the reference, by finite differences along random directions, one a weight tensor.
"""

import numpy as np
import pytest
import torch

from baselines.contract import SIZES, make_batch
from baselines.lightning_module import CTRModule
from datamodules.batch import Batch
from tests.baselines import reference
from tests.baselines.reference import Floats, Weights

LENGTHS = [4, 1, 2, 0, 3, 4]
POSITIONS = 5  # one more than the longest history: padding that a whole batch has
ROWS = ["base-model", "wide-deep", "pnn", "din", "gru-attention", "aigru", "agru", "augru", "dien"]
HIDDEN = {"gru-attention": 3, "aigru": 3, "agru": 3, "augru": 3, "dien": 4}  # eq. 7 asks for twice the embedding
HASHED = "wide-deep+crosses=10"  # more pairs of categories than weights for them
VARIANTS = pytest.mark.parametrize("official", [True, False], ids=["official", "paper"])


def batch_of_float64() -> Batch:
    """Histories of length 0 and 1, and unknown ids (0) as target and as behaviours."""
    batch = make_batch(LENGTHS, POSITIONS, seed=1)  # of 0, a difference of one row straddles a kink of PReLU
    assert not batch.item.all()
    assert not batch.history_items[batch.mask].all()
    return batch._replace(label=batch.label.double())


def base_of(row: str) -> str:
    return row.partition("+")[0]


def build(row: str, official: bool) -> CTRModule:
    """A row in float64 with small embeddings, no weight of it at a value that hides a mistake."""
    torch.manual_seed(1)
    hidden = HIDDEN.get(base_of(row))
    module = CTRModule(
        model=f"{row}+embedding_size=2" + (f"+hidden_size={hidden}" if hidden else ""),
        variant="official" if official else "paper",
        **SIZES,
        steps=10,
    ).double()
    with torch.no_grad():
        for parameter in module.model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        if not official:
            module.model.embedding.item.weight[0] = 0
            module.model.embedding.category.weight[0] = 0
    return module


def arrays(module: CTRModule, batch: Batch) -> tuple[Weights, dict[str, np.ndarray]]:
    weights = {name: tensor.detach().numpy().copy() for name, tensor in module.model.state_dict().items()}
    return weights, {field: tensor.numpy() for field, tensor in batch._asdict().items()}


def reference_loss(
    row: str, w: Weights, b: dict[str, np.ndarray], official: bool, alpha: float | None = None, **options: str
) -> tuple[float, float]:
    """The whole and the auxiliary loss, by default with what the variant stands for."""
    alpha = (1.0 if base_of(row) == "dien" else 0.0) if alpha is None else alpha
    head = options.get("head", "mlp" if official else "inner-product")
    mean = options.get("mean", "places" if official else "users")
    return reference.whole_loss(base_of(row), w, b, official, alpha, head, mean)


def slope(row: str, w: Weights, b: dict[str, np.ndarray], official: bool, name: str, direction: Floats, **o) -> float:
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
        if not official and name in ("embedding.item.weight", "embedding.category.weight"):
            direction[0] = 0  # row 0 stays 0 in the paper variant
        assert parameter.grad is not None, name
        ours = float((parameter.grad.numpy() * direction).sum())
        exact = slope(row, weights, b, official, name, direction, **options)
        assert ours == pytest.approx(exact, rel=1e-5, abs=1e-8), name


@VARIANTS
@pytest.mark.parametrize("row", [*ROWS, HASHED])
def test_probabilities_are_the_references(row: str, official: bool) -> None:
    module, batch = build(row, official), batch_of_float64()
    weights, b = arrays(module, batch)
    p, _ = reference.clicked(base_of(row), weights, b, official)
    for training in (False, True):  # nothing in a row depends on the mode: variants.md 7 and 8
        logit = module.model.train(training)(batch).logit
        np.testing.assert_allclose(torch.sigmoid(logit).detach(), p[:, 0], rtol=1e-7)


@VARIANTS
@pytest.mark.parametrize("row", [*ROWS, HASHED])
def test_whole_loss_and_its_gradients_are_the_references(row: str, official: bool) -> None:
    module, batch = build(row, official), batch_of_float64()
    whole, auxiliary = reference_loss(row, *arrays(module, batch), official)
    assert module.training_step(batch, 0).item() == pytest.approx(whole, rel=1e-8)
    expected = {"loss": whole, "target_loss": whole - auxiliary} | ({"auxiliary_loss": auxiliary} if auxiliary else {})
    assert module._mean_losses() == pytest.approx(expected, rel=1e-8, abs=1e-12)  # what the learning curves show
    check_gradients(row, module, batch, official)


@VARIANTS
@pytest.mark.parametrize("head", ["mlp", "inner-product"])
@pytest.mark.parametrize("mean", ["places", "behaviours", "users"])
def test_every_auxiliary_head_and_mean_of_dien(mean: str, head: str, official: bool) -> None:
    row = f"dien+auxiliary_head={head}+auxiliary_mean={mean}+auxiliary_weight=0.25"
    module, batch = build(row, official), batch_of_float64()
    options = {"alpha": 0.25, "head": head, "mean": mean}
    whole, _ = reference_loss(row, *arrays(module, batch), official, **options)
    assert module.training_step(batch, 0).item() == pytest.approx(whole, rel=1e-8)
    check_gradients(row, module, batch, official, **options)


@VARIANTS
@pytest.mark.parametrize("row", ROWS)
def test_float32_and_its_kernels_agree_with_float64(row: str, official: bool) -> None:
    """What trains is float32 with compiled kernels; float64 takes the plain loops that the tests above check.

    Full sizes, and more samples than a kernel's block of 32.
    """
    torch.manual_seed(3)
    variant = "official" if official else "paper"
    single = CTRModule(model=row, variant=variant, **SIZES, steps=10)
    double = CTRModule(model=row, variant=variant, **SIZES, steps=10).double()
    double.load_state_dict({name: tensor.double() for name, tensor in single.state_dict().items()})
    batch = batch_of_float64()
    batch = Batch(*(torch.cat([tensor.roll(shift, 0) for shift in range(12)]) for tensor in batch))  # 72 samples
    losses = [module.training_step(batch._replace(label=batch.label.to(kind)), 0) for module, kind in
              ((single, torch.float32), (double, torch.float64))]  # fmt: skip
    assert losses[0].item() == pytest.approx(losses[1].item(), rel=1e-6)
    for loss in losses:
        loss.backward()
    for (name, ours), exact in zip(single.model.named_parameters(), double.model.parameters(), strict=True):
        assert ours.grad is not None
        assert exact.grad is not None
        scale = exact.grad.abs().max().item()
        torch.testing.assert_close(ours.grad.double(), exact.grad, atol=2e-5 * scale + 1e-9, rtol=0, msg=name)
