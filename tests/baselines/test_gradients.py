"""Every layer against `reference.py` in float64: its output, and the gradients of its weights and inputs.

The right gradients are finite differences of the reference along random directions, one a tensor.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from baselines.layers.attention import BilinearAttention, MLPAttention, weighted_sum
from baselines.layers.auxiliary import InnerProductAuxiliaryLoss, MLPAuxiliaryLoss, Pairs
from baselines.layers.mlp import Dice, FrozenNormalisation, TopMLP
from baselines.layers.recurrent import RecurrentLayer
from baselines.layers.sigmoid_mlp import sigmoid_mlp
from datamodules.packing import pack, packing_of, unpack
from tests.baselines import reference
from tests.baselines.layouts import layout
from tests.baselines.reference import Floats, Weights, linear, sigmoid

B, T, H = 4, 5, 3
LENGTHS = [4, 1, 0, 3]
MASK = np.arange(T) < np.array(LENGTHS)[:, None]
PACKING = packing_of(np.array(LENGTHS), T)
HISTORY_OF = [3, 0, 0, 1, 2, 0, 3]  # seven targets, of which several share a history
AT = layout(LENGTHS, T, HISTORY_OF).targets


class Case(NamedTuple):
    """A layer, what goes into it, and how both sides compute it."""

    layer: nn.Module
    inputs: dict[str, Floats]
    ours: Callable[..., Tensor]  # of the layer and the inputs
    reference: Callable[..., Floats]  # of the layer's weights and the inputs


def random(*shape: int, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).standard_normal(shape)


class Named(nn.Module):
    """A layer under the name that the reference knows it by; calls a function of it and the inputs."""

    def __init__(self, case: Case, name: str) -> None:
        super().__init__()
        self.add_module(name, case.layer)
        self.name, self.ours = name, case.ours

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.ours(getattr(self, self.name), *inputs)


def check(case: Case, name: str) -> None:
    """Compare output and gradients; a layer's own numbers are replaced, so that no zero bias hides a mistake."""
    module = Named(case, name).double()
    rng = np.random.default_rng(9)
    w = {key: 0.4 * rng.standard_normal(tensor.shape) for key, tensor in module.state_dict().items()}
    leaves = {key: torch.from_numpy(value).requires_grad_() for key, value in (w | case.inputs).items()}
    out = functional_call(module, {key: leaves[key] for key in w}, tuple(leaves[key] for key in case.inputs))
    expected = case.reference(w, *case.inputs.values())
    np.testing.assert_allclose(out.detach(), expected, rtol=1e-7, atol=1e-9)
    weights = rng.standard_normal(np.shape(expected))
    (out * torch.from_numpy(weights)).sum().backward()

    def value(changed: Weights) -> float:
        return float(
            (case.reference({key: changed[key] for key in w}, *(changed[k] for k in case.inputs)) * weights).sum()
        )

    for key, leaf in leaves.items():
        at, direction = w | case.inputs, rng.standard_normal(leaf.shape)
        slope = (value(at | {key: at[key] + 1e-5 * direction}) - value(at | {key: at[key] - 1e-5 * direction})) / 2e-5
        assert leaf.grad is not None, key
        assert float((leaf.grad.numpy() * direction).sum()) == pytest.approx(slope, rel=1e-6, abs=1e-7), key


@pytest.mark.parametrize("official", [True, False], ids=["official", "paper"])
@pytest.mark.parametrize("gate", ["gru", "agru", "augru"])
def test_recurrent_layers(gate: str, official: bool) -> None:
    """TensorFlow's cells against the released code's formulas, the paper's against eq. 3 to 6 and 11 to 13."""
    a = np.random.default_rng(1).random((B, T))
    a[0, :2] = 0, 1

    def ours(layer: nn.Module, x: Tensor, a: Tensor) -> Tensor:
        a = pack(a, PACKING)
        keep = {"p": a, "q": 1 - a} if official else {"q": a}
        terms = {"gru": {}, "agru": {"p": a, "q": torch.zeros_like(a)}, "augru": keep}[gate]
        return unpack(layer(layer.project(pack(x, PACKING)), PACKING, **terms), PACKING)

    def expected(w: Weights, x: Floats, a: Floats) -> Floats:
        found = np.zeros((B, T, H))
        for i, n in enumerate(LENGTHS):
            found[i, :n] = reference.states(w, "cell", x[i, :n], official, a[i], gate)
        return found

    layer = RecurrentLayer(2, H, reset_after=not official)
    inputs = {"x": random(B, T, 2), "a": a}
    if gate == "gru":  # attention takes no part
        case = Case(
            layer, {"x": inputs["x"]}, lambda m, x: ours(m, x, torch.from_numpy(a)), lambda w, x: expected(w, x, a)
        )
    else:
        case = Case(layer, inputs, ours, expected)
    check(case, "cell")


@pytest.mark.parametrize("kind", ["projected", "plain", "unit", "bilinear"])
def test_attention(kind: str) -> None:
    """Over histories of 4, 1, 0 and 3: of one behaviour the weight is 1, of none there is nothing."""
    layer = BilinearAttention(2, H) if kind == "bilinear" else MLPAttention(
        2 if kind == "projected" else H, H, project_query=kind == "projected", softmax=kind != "unit"
    )  # fmt: skip

    def expected(w: Weights, target: Floats, keys: Floats) -> Floats:
        found = np.zeros((len(HISTORY_OF), T))
        for i, u in enumerate(HISTORY_OF):
            row, n = "din" if kind == "unit" else "augru", LENGTHS[u]
            found[i, :n] = reference.attention(row, w, target[i], keys[u, :n], kind in ("projected", "plain"))
        return found

    def ours(layer: nn.Module, target: Tensor, keys: Tensor) -> Tensor:
        rows = pack(keys, PACKING)
        return unpack(layer(target, rows[AT.rows], layer.of_keys(rows), AT), AT.packing)

    queries = random(len(HISTORY_OF), 2 if kind in ("projected", "bilinear") else H)
    check(Case(layer, {"target": queries, "keys": random(B, T, H, seed=1)}, ours, expected), "attention")


def test_weighted_sums() -> None:
    def ours(layer: nn.Module, a: Tensor, values: Tensor) -> Tensor:
        return weighted_sum(pack(a, PACKING), pack(values, PACKING), PACKING)

    def expected(w: Weights, a: Floats, values: Floats) -> Floats:
        return np.einsum("bt,bth->bh", a * MASK, values)

    check(Case(nn.Identity(), {"a": random(B, T), "values": random(B, T, H, seed=1)}, ours, expected), "sum")


def test_dice_and_the_affine_normalisation() -> None:
    x = {"x": random(B, H)}
    check(Case(Dice(H), x, lambda m, x: m(x), lambda w, x: reference.dice(w["dice.alpha"], x)), "dice")
    check(Case(FrozenNormalisation(H), x, lambda m, x: m(x), lambda w, x: reference.normalise(w, "norm", x)), "norm")


@pytest.mark.parametrize(("official", "dice"), [(True, True), (True, False), (False, False)])
def test_top(official: bool, dice: bool) -> None:
    """Log odds of the released softmax over two outputs, or the paper's one output."""

    def expected(w: Weights, x: Floats) -> Floats:
        outputs = reference.top(w, x, official, dice)
        if not official:
            return outputs[:, 0]
        p = reference.softmax(outputs)
        return np.log(p[:, 0] / p[:, 1])

    check(Case(TopMLP(H, official=official, dice=dice), {"x": random(B, H)}, lambda m, x: m(x), expected), "top")


@pytest.mark.parametrize("mean", ["places", "behaviours", "users"])
@pytest.mark.parametrize("head", ["mlp", "inner-product"])
def test_auxiliary_losses(head: str, mean: str) -> None:
    layer = {"mlp": MLPAuxiliaryLoss, "inner-product": InnerProductAuxiliaryLoss}[head](H, H, mean)

    def ours(layer: nn.Module, h: Tensor, e: Tensor, n: Tensor) -> Tensor:
        negatives = pack(n, AT.packing)[AT.packing.first :]
        return layer(Pairs.make(pack(h, PACKING), pack(e, PACKING), negatives, PACKING, AT), AT)

    def expected(w: Weights, h: Floats, e: Floats, n: Floats) -> Floats:
        states = [h[u, : LENGTHS[u]] for u in HISTORY_OF]
        return np.array(reference.auxiliary_loss(w, states, list(e[HISTORY_OF]), list(n), head, mean, T))

    inputs = {"h": random(B, T, H), "e": random(B, T, H, seed=1), "n": random(len(HISTORY_OF), T, H, seed=2)}
    check(Case(layer, inputs, ours, expected), "auxiliary")


@pytest.mark.parametrize("further", [False, True])
def test_sigmoid_mlp(further: bool) -> None:
    """The MLP under attention and auxiliary loss, in which several rows share numbers of one or two kinds."""
    owner, second_owner = np.array([0, 2, 2, 1, 0]), np.array([1, 1, 0, 1, 0])
    inputs = {
        "x": random(5, 2),
        "shared": random(3, 4, seed=1),
        "first": random(4, 2, seed=2),
        "last": random(6, seed=3),
    } | ({"further": random(2, 4, seed=4)} if further else {})

    def ours(layer: nn.Linear, x: Tensor, shared: Tensor, first: Tensor, last: Tensor, *more: Tensor) -> Tensor:
        again = [(values, torch.from_numpy(second_owner)) for values in more]
        return sigmoid_mlp(x, (shared, torch.from_numpy(owner)), first, layer, last, *again)

    def expected(w: Weights, x: Floats, shared: Floats, first: Floats, last: Floats, *more: Floats) -> Floats:
        hidden = x @ first.T + shared[owner] + sum(values[second_owner] for values in more)
        return sigmoid(linear(w, "second", sigmoid(hidden))) @ last

    check(Case(nn.Linear(4, 6), inputs, ours, expected), "second")


def test_the_papers_gru_is_torchs() -> None:
    """States and every gradient of nn.GRU on packed sequences."""
    layer, oracle = RecurrentLayer(2, H, reset_after=True).double(), nn.GRU(2, H, batch_first=True).double()
    with torch.no_grad():
        for seed, parameter in enumerate(layer.parameters()):
            parameter.copy_(torch.from_numpy(random(*parameter.shape, seed=seed)))
        weights = as_torchs(layer.input_weight, layer.state_weight, layer.bias)
        for target, source in zip(oracle.parameters(), weights, strict=True):
            target.copy_(source)
    ours_x, theirs_x = (torch.from_numpy(random(B, T, 2)).requires_grad_() for _ in range(2))
    real = [0, 1, 3]  # torch takes no empty sequence
    packed = nn.utils.rnn.pack_padded_sequence(theirs_x[real], torch.tensor(LENGTHS)[real], True, enforce_sorted=False)
    theirs, _ = nn.utils.rnn.pad_packed_sequence(oracle(packed)[0], True, total_length=T)
    ours = unpack(layer(layer.project(pack(ours_x, PACKING)), PACKING), PACKING)
    torch.testing.assert_close(ours[real], theirs, rtol=1e-10, atol=1e-12)
    g = torch.from_numpy(random(B, T, H, seed=4))
    (ours * g).sum().backward()
    (theirs * g[real]).sum().backward()
    torch.testing.assert_close(ours_x.grad, theirs_x.grad)
    *found, _ = as_torchs(layer.input_weight.grad, layer.state_weight.grad, layer.bias.grad)
    *expected, _ = (parameter.grad for parameter in oracle.parameters())
    for ours_grad, theirs_grad in zip(found, expected, strict=True):
        torch.testing.assert_close(ours_grad, theirs_grad, rtol=1e-9, atol=1e-11)


def as_torchs(of_x: Tensor, of_h: Tensor, bias: Tensor) -> list[Tensor]:
    """Weights or gradients as those of nn.GRU: rows reset, keep (1 - update), candidate; its second bias is 0."""
    u, r, c = (slice(i * H, (i + 1) * H) for i in range(3))
    return [*(torch.cat([part[r], -part[u], part[c]]) for part in (of_x, of_h.T, bias)), torch.zeros_like(bias)]
