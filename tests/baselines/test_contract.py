"""What every row must do, in both variants, and the recurrence against a plain NumPy loop."""

import numpy as np
import pytest
import torch

from baselines import MODELS, load
from baselines.contract import RULES, SCHEMA, check_rule, make_batch
from baselines.layers.recurrence import cpu, recurrence, reference
from datamodules.errors import UserError
from datamodules.packing import pack, packing_of, unpack

rows = pytest.mark.parametrize(
    ("name", "variant"), [(name, variant) for name in MODELS for variant in ("official", "paper")]
)


@rows
@pytest.mark.parametrize("rule", RULES)
def test_rule(name: str, variant: str, rule: str) -> None:
    found = check_rule(rule, load(name), variant)
    dice = variant == "official" and name not in ("base-model", "wide-deep", "pnn")
    meant = {"padding": variant == "official", "alone": dice, "device": not torch.cuda.is_available()}
    assert found.state == ("skipped" if meant.get(rule) else "kept"), found.message


def test_losses_beside_the_cross_entropy() -> None:
    batch = make_batch([5, 3], 5)
    for name in MODELS:
        model = load(name)(SCHEMA, variant="official")
        expected = {"dien": ["auxiliary"], "dien-rocket": ["auxiliary", "booster_auxiliary", "booster", "hint"]}
        assert list(model(batch).losses) == expected.get(name, [])


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
    lengths, size, positions = [6, 0, 1, 4], 5, 6
    x = rng.standard_normal((4, positions, 3 * size))
    weight = rng.standard_normal((size, 3 * size))
    attention = rng.random((4, positions))
    expected = np.zeros((4, positions, size))
    for b, length in enumerate(lengths):
        h = np.zeros(size)
        for t in range(positions):
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
    packing = packing_of(np.array(lengths), positions)
    outputs, gradients = [], []
    for backend in (cpu, reference):
        leaves = [torch.tensor(value, dtype=torch.float32, requires_grad=True) for value in (x, weight, attention)]
        a = pack(leaves[2], packing)
        zero, one = torch.zeros_like(a), torch.ones_like(a)
        p, q = {"gru": (zero, one), "agru": (a, zero), "augru": (zero, a), "augru-keep": (a, 1 - a)}[gate]
        projected = pack(leaves[0], packing)
        states = recurrence(projected, leaves[1], p, q, packing.batch_sizes, reset_after, backend)
        states = unpack(states, packing)
        (states * torch.linspace(-1, 1, states.numel()).view_as(states)).sum().backward()
        outputs.append(states.detach())
        gradients.append([leaf.grad for leaf in leaves])
    for output in outputs:
        np.testing.assert_allclose(output.numpy(), expected, atol=2e-6)
    for compiled, plain in zip(*gradients, strict=True):
        assert (compiled is None) == (plain is None) == (gate == "gru" and compiled is None)
        if compiled is not None:
            torch.testing.assert_close(compiled, plain, atol=1e-4, rtol=1e-4)
