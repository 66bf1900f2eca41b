"""Whole rows against NumPy from their weights, and what the contract tests leave open."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from baselines import MODELS, load, model_label
from datamodules.batch import Batch
from datamodules.errors import UserError

USERS, ITEMS, CATEGORIES = 9, 30, 7
LENGTHS = [5, 3, 1, 0, 4, 1]
Weights = dict[str, np.ndarray]


def make_batch(lengths: list[int], steps: int) -> Batch:
    rng = np.random.default_rng(0)
    real = np.arange(steps) < np.array(lengths)[:, None]

    def ids(high: int, *shape: int) -> torch.Tensor:
        return torch.from_numpy(rng.integers(1, high, shape))

    def behaviours(high: int) -> torch.Tensor:
        return ids(high, *real.shape) * torch.from_numpy(real)

    size = len(lengths)
    return Batch(
        user=ids(USERS, size),
        item=ids(ITEMS, size),
        category=ids(CATEGORIES, size),
        history_items=behaviours(ITEMS),
        history_categories=behaviours(CATEGORIES),
        lengths=torch.tensor(lengths),
        negative_items=behaviours(ITEMS),
        negative_categories=behaviours(CATEGORIES),
        label=torch.arange(size) % 2 * 1.0,
    )


def build(name: str, variant: str) -> nn.Module:
    """A row whose biases and scales are no longer at the values that hide a mistake."""
    torch.manual_seed(1)
    model = load(name)(users=USERS, items=ITEMS, categories=CATEGORIES, variant=variant)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
        if variant == "paper":
            model.embedding.item.weight[0] = 0
            model.embedding.category.weight[0] = 0
    return model


rows = pytest.mark.parametrize(
    ("name", "variant"), [(name, variant) for name in MODELS for variant in ("official", "paper")]
)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def embed(w: Weights, item: np.ndarray, category: np.ndarray) -> np.ndarray:
    return np.concatenate([w["embedding.item.weight"][item], w["embedding.category.weight"][category]], axis=-1)


def linear(w: Weights, name: str, x: np.ndarray) -> np.ndarray:
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def top(w: Weights, x: np.ndarray, official: bool, dice: bool) -> np.ndarray:
    """Logits (B,) of inputs (B, n): the released code's two outputs through a softmax, or the paper's one."""
    if official:
        x = w["top.layers.0.gamma"] * x / np.sqrt(1.001) + w["top.layers.0.beta"]
    for layer in (1, 3):
        x = linear(w, f"top.layers.{layer}", x)
        if dice:
            p = sigmoid((x - x.mean(0)) / np.sqrt(x.var(0) + 1e-9))
            x = p * x + (1 - p) * w[f"top.layers.{layer + 1}.alpha"] * x
        else:
            x = np.where(x > 0, x, w[f"top.layers.{layer + 1}.weight"] * x)
    x = linear(w, "top.layers.5", x)
    if not official:
        return x[:, 0]
    p = np.exp(x) / np.exp(x).sum(1, keepdims=True)
    return np.log(p[:, 0] / p[:, 1])


def step(w: Weights, name: str, x: np.ndarray, h: np.ndarray, z_of: Any, official: bool) -> np.ndarray:
    """One step (H,) by eq. 3 to 6, or by TensorFlow's cell: the reset gate before the product."""
    size = len(h)
    i_u, i_r, i_c = np.split(w[f"{name}.input_weight"] @ x + w[f"{name}.bias"], 3)
    w_u, w_r, w_c = np.split(w[f"{name}.state_weight"], 3, axis=1)
    assert w_u.shape == (size, size)
    u, r = sigmoid(i_u + h @ w_u), sigmoid(i_r + h @ w_r)
    c = np.tanh(i_c + ((r * h) @ w_c if official else r * (h @ w_c)))
    z = z_of(u)
    return (1 - z) * h + z * c


def score(w: Weights, q: np.ndarray, k: np.ndarray, official: bool) -> float:
    """One unnormalised attention score: the released code's MLP or eq. 9."""
    if not official:
        return float(k @ w["attention.weight"] @ q)
    q = linear(w, "attention.project.0", q)
    q = np.where(q > 0, q, w["attention.project.1.weight"] * q)
    hidden = sigmoid(linear(w, "attention.first", np.concatenate([q, k, q - k, q * k])))
    return float(linear(w, "attention.rest.3", sigmoid(linear(w, "attention.rest.1", hidden)))[0])


def slow_logits(name: str, w: Weights, batch: Batch, official: bool) -> np.ndarray:
    """The logits (B,) of a row, sample by sample and step by step, in float64."""
    b = {field: tensor.numpy() for field, tensor in batch._asdict().items()}
    target, history = embed(w, b["item"], b["category"]), embed(w, b["history_items"], b["history_categories"])
    total = history.sum(1) if official else np.stack([h[:n].sum(0) for h, n in zip(history, b["lengths"], strict=True)])
    interest = []
    for i, length in enumerate(b["lengths"]):
        h, states = np.zeros(36), []
        for t in range(length):
            h = step(w, "extractor", history[i, t], h, lambda u: u, official) if name != "base-model" else h
            states.append(h)
        a = np.exp([score(w, target[i], h, official) for h in states]) if name != "base-model" else np.zeros(0)
        a, h = a / a.sum(), np.zeros(36)
        for t, weight in enumerate(a):
            if name == "aigru":
                h = step(w, "evolver", weight * states[t], h, lambda u: u, official)
            elif name == "agru":
                h = step(w, "evolver", states[t], h, lambda u, a=weight: a, official)
            elif official:  # TensorFlow's keep gate 1 - u is what attention scales
                h = step(w, "evolver", states[t], h, lambda u, a=weight: 1 - (1 - a) * (1 - u), official)
            else:
                h = step(w, "evolver", states[t], h, lambda u, a=weight: a * u, official)
        interest.append(h)
    inputs = [target, total] if name == "base-model" else [target, np.stack(interest)]
    if official:
        user = w["embedding.user.weight"][b["user"]]
        inputs = [user, target, total]
        if name != "base-model":
            inputs += [target * total, np.stack(interest)]
    return top(w, np.concatenate(inputs, axis=1), official, dice=official and name != "base-model")


@pytest.mark.parametrize("variant", ["official", "paper"])
@pytest.mark.parametrize("name", ["base-model", "aigru", "agru", "augru", "dien"])
def test_logits_are_the_equations(name: str, variant: str) -> None:
    model = build(name, variant).eval()
    batch = make_batch(LENGTHS, 5)
    weights = {key: tensor.double().numpy() for key, tensor in model.state_dict().items()}
    with torch.inference_mode():
        logits = model(batch).logit.numpy()
    np.testing.assert_allclose(logits, slow_logits(name, weights, batch, variant == "official"), atol=2e-4, rtol=1e-4)


@rows
def test_weights_saved_and_loaded_give_the_same_logits(name: str, variant: str, tmp_path: Path) -> None:
    model, batch = build(name, variant).eval(), make_batch(LENGTHS, 5)
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    torch.manual_seed(2)
    other = load(name)(users=USERS, items=ITEMS, categories=CATEGORIES, variant=variant).eval()
    with torch.inference_mode():
        assert not torch.equal(other(batch).logit, model(batch).logit)
        other.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
        assert torch.equal(other(batch).logit, model(batch).logit)


@rows
@pytest.mark.parametrize("lengths", [[1], [0], [1, 1, 1], [0, 0]])
def test_training_on_the_shortest_histories(name: str, variant: str, lengths: list[int]) -> None:
    model = build(name, variant)
    batch = make_batch(lengths, 1)
    prediction = model(batch)
    loss = F.binary_cross_entropy_with_logits(prediction.logit, batch.label)
    if prediction.auxiliary_loss is not None:
        assert prediction.auxiliary_loss.item() == 0  # nobody has a next behaviour
        loss = loss + prediction.auxiliary_loss
    loss.backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert torch.isfinite(parameter.grad).all(), key
        if key.startswith("auxiliary."):  # has nothing to learn from here
            assert not parameter.grad.any(), key


@rows
def test_attention_is_zero_at_padding(name: str, variant: str) -> None:
    batch = make_batch(LENGTHS, 5)
    prediction = build(name, variant).eval()(batch)
    if prediction.attention is not None:
        assert not prediction.attention[~batch.mask].any()
        if (name, variant) != ("din", "paper"):  # the activation unit of DIN, eq. 3, has no softmax
            sums = prediction.attention.sum(1)
            torch.testing.assert_close(sums, (batch.lengths > 0).float(), atol=1e-6, rtol=0)
    if prediction.states is not None:
        assert not prediction.states[batch.lengths == 0].any()


def test_padding_leaves_the_papers_auxiliary_loss_alone() -> None:
    model, batch = build("dien", "paper"), make_batch([4, 2, 0], 4)
    longer = {field: F.pad(tensor, (0, 3)) for field, tensor in batch._asdict().items() if tensor.dim() == 2}
    torch.testing.assert_close(model(batch._replace(**longer)).auxiliary_loss, model(batch).auxiliary_loss)


@rows
def test_sizes_and_words_that_make_no_sense(name: str, variant: str) -> None:
    with pytest.raises(ValueError, match="items must be positive, got 0"):
        load(name)(users=USERS, items=0, categories=CATEGORIES, variant=variant)
    with pytest.raises(ValueError, match="variant must be"):
        load(name)(users=USERS, items=ITEMS, categories=CATEGORIES, variant="offical")


MINE = """
from torch import nn
class Mine(nn.Module):
    pass
not_a_class = 3
"""


def test_a_model_of_the_users_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(MINE)
    model = load(f"{path}:Mine")
    assert isinstance(model(), nn.Module)
    assert model_label(f"{path}:Mine") == "mine"
    for missing in ("Yours", "not_a_class", ""):
        with pytest.raises(UserError, match="it holds: Mine"):
            load(f"{path}:{missing}")
    with pytest.raises(UserError, match=r"path/to/file\.py:Class"):
        load(f"{tmp_path / 'nowhere.py'}:Mine")
    (tmp_path / "mine.txt").write_text(MINE)
    with pytest.raises(UserError, match="not a Python file"):
        load(f"{tmp_path / 'mine.txt'}:Mine")
