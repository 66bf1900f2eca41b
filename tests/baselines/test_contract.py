"""What every row must do, in both variants, and the recurrence against a plain NumPy loop."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from baselines import MODELS, load
from baselines.layers.recurrent import gate_terms, recurrence, reference_recurrence
from baselines.layers.steps import pack, steps_of, unpack
from datamodules.batch import Batch
from datamodules.errors import UserError

SIZES = {"users": 9, "items": 30, "categories": 7}


def make_batch(lengths: list[int], steps: int, seed: int = 0) -> Batch:
    rng = np.random.default_rng(seed)
    real = np.arange(steps) < np.array(lengths)[:, None]
    size = len(lengths)

    def ids(high: int, *shape: int) -> torch.Tensor:
        return torch.from_numpy(rng.integers(1, high, shape))

    mask = torch.from_numpy(real.astype(np.int64))
    return Batch(
        user=ids(9, size),
        item=ids(30, size),
        category=ids(7, size),
        history_items=ids(30, size, steps) * mask,
        history_categories=ids(7, size, steps) * mask,
        lengths=torch.tensor(lengths),
        negative_items=ids(30, size, steps) * mask,
        negative_categories=ids(7, size, steps) * mask,
        label=torch.tensor([float(i % 2) for i in range(size)]),
    )


def build(name: str, variant: str) -> torch.nn.Module:
    torch.manual_seed(0)
    return load(name)(**SIZES, variant=variant)


rows = pytest.mark.parametrize(
    ("name", "variant"), [(name, variant) for name in MODELS for variant in ("official", "paper")]
)


@rows
def test_every_parameter_learns_from_finite_numbers(name: str, variant: str) -> None:
    model = build(name, variant)
    batch = make_batch([5, 3, 1, 0, 4, 2], 5)
    prediction = model(batch)
    assert prediction.logit.shape == (6,)
    loss = F.binary_cross_entropy_with_logits(prediction.logit, batch.label)
    if prediction.auxiliary_loss is not None:
        loss = loss + prediction.auxiliary_loss
    loss.backward()
    assert torch.isfinite(loss)
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert torch.isfinite(parameter.grad).all(), key


@rows
def test_order_of_the_batch_and_empty_histories(name: str, variant: str) -> None:
    model = build(name, variant).eval()
    batch = make_batch([5, 3, 1, 0, 4, 2], 5)
    order = torch.tensor([3, 5, 0, 1, 4, 2])
    shuffled = Batch(*(tensor[order] for tensor in batch))
    with torch.inference_mode():
        torch.testing.assert_close(model(shuffled).logit, model(batch).logit[order], atol=1e-5, rtol=1e-5)
        assert torch.isfinite(model(make_batch([0, 0], 1)).logit).all()


@pytest.mark.parametrize("name", list(MODELS))
def test_padding_changes_nothing_in_the_paper_variant(name: str) -> None:
    model = build(name, "paper").eval()
    batch = make_batch([4, 2, 0], 4)
    longer = {field: F.pad(tensor, (0, 3)) for field, tensor in batch._asdict().items() if tensor.dim() == 2}
    with torch.inference_mode():
        torch.testing.assert_close(model(batch._replace(**longer)).logit, model(batch).logit, atol=1e-6, rtol=1e-6)


def test_only_dien_has_an_auxiliary_loss_and_only_in_training() -> None:
    batch = make_batch([5, 3], 5)
    for name in MODELS:
        assert (build(name, "official")(batch).auxiliary_loss is not None) == (name == "dien")
    assert build("dien", "official").eval()(batch).auxiliary_loss is None


def test_unknown_names() -> None:
    with pytest.raises(UserError, match="did you mean 'dien'"):
        load("diem")
    with pytest.raises(UserError, match="did you mean 'din' or 'dien'"):  # two swapped letters fit both
        load("dein")
    with pytest.raises(UserError, match="does not exist"):
        load("nowhere.py:Model")


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize("reset_after", [False, True])
@pytest.mark.parametrize("gate", ["gru", "agru", "augru", "augru-keep"])
def test_recurrence_is_the_equations(gate: str, reset_after: bool) -> None:
    rng = np.random.default_rng(1)
    lengths, size, steps = [6, 0, 1, 4], 5, 6
    x = rng.standard_normal((4, steps, 3 * size))
    weight = rng.standard_normal((size, 3 * size))
    attention = rng.random((4, steps))
    expected = np.zeros((4, steps, size))
    for b, length in enumerate(lengths):
        h = np.zeros(size)
        for t in range(steps):
            if t < length:
                u = sigmoid(x[b, t, :size] + h @ weight[:, :size])
                r = sigmoid(x[b, t, size : 2 * size] + h @ weight[:, size : 2 * size])
                inner = r * (h @ weight[:, 2 * size :]) if reset_after else (r * h) @ weight[:, 2 * size :]
                c = np.tanh(x[b, t, 2 * size :] + inner)
                a = attention[b, t]
                keep = (1 - a) * (1 - u)  # TensorFlow's u is the keep gate 1 - u
                z = {"gru": u, "agru": a, "augru": a * u, "augru-keep": 1 - keep}[gate]
                h = (1 - z) * h + z * c
                expected[b, t] = h
    where = steps_of(torch.tensor(lengths), steps)
    outputs, gradients = [], []
    for compiled in (True, False):
        leaves = [torch.tensor(value, dtype=torch.float32, requires_grad=True) for value in (x, weight, attention)]
        p, q = gate_terms(gate, pack(leaves[2], where))  # type: ignore[arg-type]
        run = recurrence if compiled else reference_recurrence
        states = unpack(run(pack(leaves[0], where), leaves[1], p, q, where.sizes, reset_after), where)
        (states * torch.linspace(-1, 1, states.numel()).view_as(states)).sum().backward()
        outputs.append(states.detach())
        gradients.append([leaf.grad for leaf in leaves])
    for output in outputs:
        np.testing.assert_allclose(output.numpy(), expected, atol=2e-6)
    for ours, reference in zip(*gradients, strict=True):
        assert (ours is None and gate == "gru") or ours is not None
        if ours is not None and reference is not None:
            torch.testing.assert_close(ours, reference, atol=1e-4, rtol=1e-4)
