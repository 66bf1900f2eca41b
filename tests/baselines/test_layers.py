"""Layers against the formulas in plain NumPy and slow loops, weights carried over."""

import numpy as np
import pytest
import torch
from torch import nn

from baselines.layers.attention import BilinearAttention, MLPAttention, weighted_sum
from baselines.layers.auxiliary import InnerProductAuxiliaryLoss, MLPAuxiliaryLoss
from baselines.layers.mlp import Dice, FrozenNormalisation, TopMLP
from baselines.layers.packing import (
    Packing,
    at_positions,
    last_position,
    pack,
    packing_of,
    softmax_over_positions,
    sum_over_positions,
    unpack,
)
from baselines.layers.recurrence import cpu, recurrence, reference
from baselines.layers.recurrent import RecurrentLayer
from baselines.layers.sigmoid_mlp import sigmoid_mlp

B, T, H = 4, 5, 6
LENGTHS = [5, 3, 1, 0]
MASK = torch.arange(T) < torch.tensor(LENGTHS)[:, None]
PACKING = packing_of(torch.tensor(LENGTHS), T)
FULL = packing_of(torch.full((B,), T), T)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


def linear(layer: nn.Linear, x: np.ndarray) -> np.ndarray:
    return x @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()


def randomise(module: nn.Module) -> None:
    """Give every parameter, biases too, values at which a mistake shows."""
    torch.manual_seed(5)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.5)


@pytest.mark.parametrize("project", [False, True])
def test_mlp_attention_is_the_mlp_on_the_four_parts(project: bool) -> None:
    layer = MLPAttention(H, H, project_query=project)
    randomise(layer)
    target, keys = random(B, H), random(B, T, H, seed=1)
    expected = np.zeros((B, T))
    for b in range(B):
        q = target[b].numpy()
        if layer.project is not None:
            q = linear(layer.project[0], q)
            q = np.where(q > 0, q, layer.project[1].weight.detach().numpy() * q)
        scores = []
        for t in range(LENGTHS[b]):
            k = keys[b, t].numpy()
            hidden = sigmoid(linear(layer.first, np.concatenate([q, k, q - k, q * k])))
            scores.append(linear(layer.last, sigmoid(linear(layer.second, hidden)))[0])
        if scores:
            expected[b, : LENGTHS[b]] = np.exp(scores) / np.exp(scores).sum()
    np.testing.assert_allclose(
        unpack(layer(target, pack(keys, PACKING), PACKING), PACKING).detach(), expected, atol=1e-5
    )


def test_bilinear_attention_is_equation_9() -> None:
    layer = BilinearAttention(3, H)
    target, keys = random(B, 3), random(B, T, H, seed=1)
    weights = unpack(layer(target, pack(keys, PACKING), PACKING), PACKING).detach().numpy()
    for b in range(B):
        scores = [keys[b, t].numpy() @ layer.weight.detach().numpy() @ target[b].numpy() for t in range(LENGTHS[b])]
        np.testing.assert_allclose(weights[b, : LENGTHS[b]], np.exp(scores) / np.exp(scores).sum(), atol=1e-5)
        assert not weights[b, LENGTHS[b] :].any()


def test_softmax_over_one_position_and_over_none() -> None:
    weights = unpack(softmax_over_positions(pack(random(B, T), PACKING), PACKING), PACKING)
    assert weights[2].tolist() == [1, 0, 0, 0, 0]
    assert weights[3].tolist() == [0] * 5


def test_dice_uses_the_statistics_of_the_batch_in_evaluation_too() -> None:
    layer = Dice(H).eval()
    randomise(layer)
    x = random(B, H).numpy()
    p = sigmoid((x - x.mean(0)) / (np.sqrt(((x - x.mean(0)) ** 2 + 1e-9).mean(0)) + 1e-9))
    expected = layer.alpha.detach().numpy() * (1 - p) * x + p * x
    np.testing.assert_allclose(layer(torch.from_numpy(x)).detach(), expected, atol=1e-6)
    assert torch.isfinite(layer(random(1, H))).all()


def test_top_is_normalisation_then_200_80_2() -> None:
    top = TopMLP(H, official=True, dice=False)
    randomise(top)
    x = random(B, H).numpy()
    norm, first, act1, second, act2, last = top.layers
    assert isinstance(norm, FrozenNormalisation)
    h = norm.gamma.detach().numpy() * x / np.sqrt(1.001) + norm.beta.detach().numpy()
    for layer, activation in ((first, act1), (second, act2)):
        h = linear(layer, h)
        h = np.where(h > 0, h, activation.weight.detach().numpy() * h)
    out = linear(last, h)
    np.testing.assert_allclose(top(torch.from_numpy(x)).detach(), out[:, 0] - out[:, 1], atol=1e-3, rtol=1e-4)
    assert [first.out_features, second.out_features, last.out_features] == [200, 80, 2]


def auxiliary_inputs() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """States, behaviours and negatives (B, T, H)."""
    return random(B, T, H), random(B, T, H, seed=1), random(B, T, H, seed=2)


def auxiliary_loss(layer: nn.Module, inputs: list[torch.Tensor], packing: Packing = PACKING) -> torch.Tensor:
    """The loss of padded inputs (B, T, H)."""
    states, behaviours, negatives = (pack(x, packing) for x in inputs)
    loss: torch.Tensor = layer(states, behaviours, negatives[packing.first :], packing)
    return loss


def test_released_auxiliary_loss_counts_padding_as_zero() -> None:
    layer = MLPAuxiliaryLoss(H, H)
    randomise(layer)
    states, clicked, negatives = auxiliary_inputs()
    norm, first, second, last = layer.normalise, layer.first, layer.second, layer.last

    def probability(h: torch.Tensor, e: torch.Tensor) -> float:
        x = np.concatenate([h.numpy(), e.numpy()]) / np.sqrt(1.001) * norm.gamma.detach().numpy()
        out = sigmoid(linear(first, x + norm.beta.detach().numpy()))
        out = linear(last, sigmoid(linear(second, out)))
        return float(np.exp(out[0]) / np.exp(out).sum())

    total = 0.0
    for b in range(B):
        for t in range(T - 1):
            if t + 1 < LENGTHS[b]:
                total -= np.log(probability(states[b, t], clicked[b, t + 1]))
                total -= np.log(1 - probability(states[b, t], negatives[b, t + 1]))
    loss = auxiliary_loss(layer, [states, clicked, negatives])
    assert loss.item() == pytest.approx(total / (B * (T - 1)), rel=1e-4)


def test_auxiliary_loss_of_equation_7() -> None:
    states, clicked, negatives = auxiliary_inputs()
    total = 0.0
    for b in range(B):
        for t in range(LENGTHS[b] - 1):
            total += np.log(sigmoid(states[b, t].numpy() @ clicked[b, t + 1].numpy()))
            total += np.log(1 - sigmoid(states[b, t].numpy() @ negatives[b, t + 1].numpy()))
    loss = auxiliary_loss(InnerProductAuxiliaryLoss(H, H), [states, clicked, negatives])
    assert loss.item() == pytest.approx(-total / B, rel=1e-5)


@pytest.mark.parametrize("kind", [MLPAuxiliaryLoss, InnerProductAuxiliaryLoss])
def test_auxiliary_loss_over_what_it_is_a_mean_of(kind: type[nn.Module]) -> None:
    """LENGTHS have sum(length - 1) next behaviours, B users and B (T - 1) places: one sum over three numbers."""
    inputs = list(auxiliary_inputs())
    layers = {mean: kind(H, H, mean) for mean in ("places", "behaviours", "users")}
    for layer in layers.values():
        layer.load_state_dict(layers["users"].state_dict())
    counts = {"places": B * (T - 1), "behaviours": sum(max(n - 1, 0) for n in LENGTHS), "users": B}
    sums = [auxiliary_loss(layers[mean], inputs) * count for mean, count in counts.items()]
    assert len(set(counts.values())) == 3
    torch.testing.assert_close(sums[0], sums[1])
    torch.testing.assert_close(sums[0], sums[2])


@pytest.mark.parametrize("layer", [MLPAuxiliaryLoss(H, H), InnerProductAuxiliaryLoss(H, H)])
def test_auxiliary_loss_at_its_edges(layer: nn.Module) -> None:
    one = [x[:, :1] for x in auxiliary_inputs()]
    assert auxiliary_loss(layer, one, packing_of(torch.tensor([1, 1, 1, 0]), 1)).item() == 0  # nobody has a next one
    huge = [1e4 * x.requires_grad_() for x in auxiliary_inputs()]
    loss = auxiliary_loss(layer, huge)
    loss.backward()
    assert torch.isfinite(loss)


def test_plain_gru_is_torchs() -> None:
    layer = RecurrentLayer(3, H, reset_after=True)
    randomise(layer)
    oracle = nn.GRU(3, H, batch_first=True)
    update, reset, candidate = (slice(i * H, (i + 1) * H) for i in range(3))
    with torch.no_grad():
        # torch's rows are reset, update, candidate, and its z = 1 - u
        for ours, theirs in ((layer.input_weight, oracle.weight_ih_l0), (layer.state_weight.T, oracle.weight_hh_l0)):
            theirs.copy_(torch.cat([ours[reset], -ours[update], ours[candidate]]))
        oracle.bias_ih_l0.copy_(torch.cat([layer.bias[reset], -layer.bias[update], layer.bias[candidate]]))
        oracle.bias_hh_l0.zero_()
    x = random(B, T, 3)
    torch.testing.assert_close(unpack(layer(pack(x, FULL), FULL), FULL), oracle(x)[0], atol=1e-5, rtol=1e-5)


def test_gates_at_their_ends() -> None:
    """At a = 0 AGRU and the paper's AUGRU keep the state, TensorFlow's takes an ordinary step; at a = 1 all move."""
    layer = RecurrentLayer(3, H, reset_after=False)
    randomise(layer)
    x = pack(random(B, T, 3), FULL)
    zero, one = torch.zeros(B * T), torch.ones(B * T)
    gru = layer(x, FULL)
    assert not layer(x, FULL, p=zero, q=zero).any()  # AGRU, and the paper's AUGRU, at a = 0
    torch.testing.assert_close(layer(x, FULL, p=zero, q=1 - zero), gru, atol=0, rtol=0)
    torch.testing.assert_close(layer(x, FULL, q=one), gru, atol=0, rtol=0)
    torch.testing.assert_close(layer(x, FULL, p=one, q=1 - one), layer(x, FULL, p=one, q=zero), atol=0, rtol=0)


def test_activation_unit_without_a_softmax() -> None:
    """DIN, eq. 3: the scores themselves, so that a user with many relevant behaviours has a larger sum."""
    raw, normalised = MLPAttention(H, H, project_query=False, softmax=False), MLPAttention(H, H, project_query=False)
    randomise(raw)
    normalised.load_state_dict(raw.state_dict())
    target, keys = random(B, H), pack(random(B, T, H, seed=1), PACKING)
    torch.testing.assert_close(
        softmax_over_positions(raw(target, keys, PACKING), PACKING), normalised(target, keys, PACKING), atol=0, rtol=0
    )


def test_softmax_of_large_scores() -> None:
    scores = pack(random(B, T), PACKING)
    expected = softmax_over_positions(scores, PACKING)
    torch.testing.assert_close(softmax_over_positions(scores + 1000, PACKING), expected, atol=1e-3, rtol=0)


@pytest.mark.parametrize("lengths", [[5, 3, 1, 0], [0, 2, 5, 5, 1, 2], [0, 0], [1], [5, 5]])
def test_packing_against_loops(lengths: list[int]) -> None:
    """Every tensor function over positions against the padded tensor, sample by sample."""
    padded, values = random(len(lengths), T, 3), random(len(lengths), 3, seed=1)
    packing = packing_of(torch.tensor(lengths), T)
    rows = pack(padded, packing)
    by_length = sorted(range(len(lengths)), key=lambda b: -lengths[b])  # sorted() keeps the order of equals
    expected = [(b, t) for t in range(T) for b in by_length if t < lengths[b]]
    assert packing.history.tolist() == [b for b, _ in expected]
    assert [row.tolist() for row in rows] == [padded[b, t].tolist() for b, t in expected]
    assert packing.previous.tolist() == [expected.index((b, t - 1)) for b, t in expected if t]
    assert packing.batch_sizes.tolist() == [sum(t < length for length in lengths) for t in range(T)]
    assert at_positions(values, packing).tolist() == [values[b].tolist() for b, _ in expected]
    for b, length in enumerate(lengths):
        own, zero = padded[b, :length], torch.zeros(3)
        torch.testing.assert_close(unpack(rows, packing)[b], torch.cat([own, torch.zeros(T - length, 3)]))
        torch.testing.assert_close(sum_over_positions(rows, packing)[b], own.sum(0))
        torch.testing.assert_close(weighted_sum(rows[:, 0], rows, packing)[b], (own[:, :1] * own).sum(0))
        torch.testing.assert_close(last_position(rows, packing)[b], own[-1] if length else zero)
        softmax = unpack(softmax_over_positions(rows[:, 0], packing), packing)[b]
        torch.testing.assert_close(softmax[:length], torch.softmax(own[:, 0], 0))


@pytest.mark.parametrize("reset_after", [False, True])
@pytest.mark.parametrize("size", [1, 3, 4, 36])
def test_compiled_recurrence_at_its_edges(size: int, reset_after: bool) -> None:
    """Widths around a vector's, gates driven into saturation, strided inputs, no rows at all."""
    projected = 30 * random(3 * size, len(PACKING.history)).T
    weight = random(size, 3 * size, seed=1)
    p = torch.rand(len(projected), generator=torch.Generator().manual_seed(0))
    found = recurrence(projected, weight, p, 1 - p, PACKING.batch_sizes, reset_after, cpu)
    exact, _ = reference.forward(*(x.double() for x in (projected, weight, p, 1 - p)), PACKING.batch_sizes, reset_after)
    torch.testing.assert_close(found.double(), exact, atol=1e-5, rtol=0)
    nobody = packing_of(torch.zeros(2, dtype=torch.int64), 1)
    for backend in (cpu, reference):
        inputs = [x.clone().requires_grad_() for x in (projected[:0], weight, p[:0], p[:0])]
        none = recurrence(*inputs, nobody.batch_sizes, reset_after, backend)
        none.sum().backward()
        assert none.shape == (0, size)
        assert [x.grad.count_nonzero().item() for x in inputs] == [0] * 4


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("reset_after", [False, True])
def test_recurrences_over_several_blocks(reset_after: bool, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """More histories than one matrix product of the kernel takes, gradients included, of both backends of the CPU.

    The right gradients are those of autograd through the plain loop, in float64.
    """
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)  # into how many chunks the kernel cuts its work
    lengths = torch.from_numpy(np.random.default_rng(0).integers(0, 9, 150))
    packing, size = packing_of(lengths, 9), 7
    rows = len(packing.history)
    leaves = [random(rows, 3 * size), random(size, 3 * size, seed=1), random(rows, seed=2), random(rows, seed=3)]
    found = []
    for backend, number in ((None, torch.float64), (reference, torch.float64), (cpu, torch.float32)):
        inputs = [leaf.to(number, copy=True).requires_grad_() for leaf in leaves]
        terms = *inputs[:2], inputs[2].sigmoid(), inputs[3].sigmoid(), packing.batch_sizes, reset_after
        states = recurrence(*terms, backend) if backend else reference.forward(*terms)[0]
        (states * torch.linspace(-1, 1, states.numel()).view_as(states)).sum().backward()
        found.append([states.detach().double(), *(leaf.grad.double() for leaf in inputs)])
    for exact, plain, compiled in zip(*found, strict=True):
        torch.testing.assert_close(plain, exact, atol=1e-12, rtol=1e-10)
        torch.testing.assert_close(compiled, exact, atol=1e-3, rtol=1e-3)


def test_a_second_derivative_is_refused() -> None:
    """Backward passes are not differentiable: an error is raised, not a wrong number returned."""
    layer, owner = nn.Linear(3, 4), torch.zeros(2, dtype=torch.int64)
    x = random(2, 3).requires_grad_()
    p = torch.full((2,), 0.5)
    outputs = [
        recurrence(x, random(1, 3), p, p, np.array([1, 1]), True),
        sigmoid_mlp(x, random(1, 3), owner, random(3, 3), layer, random(4)),
    ]
    for output in outputs:
        (slope,) = torch.autograd.grad(output.square().sum(), x, create_graph=True)
        with pytest.raises(RuntimeError, match="once_differentiable"):
            slope.sum().backward()


def test_gate_biases_start_as_tensorflows() -> None:
    """TensorFlow's reset and keep gates start at 1; our update gate is the complement of the latter."""
    bias = RecurrentLayer(3, H, reset_after=False, gate_bias=1.0).bias.detach()
    assert bias.tolist() == [-1.0] * H + [1.0] * H + [0.0] * H
