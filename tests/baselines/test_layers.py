"""What `test_gradients.py` leaves open: functions over positions against loops, edges of layers, compiled kernels."""

import numpy as np
import pytest
import torch
from torch import nn

from baselines.layers.attention import MLPAttention, weighted_sum
from baselines.layers.auxiliary import InnerProductAuxiliaryLoss, MLPAuxiliaryLoss, Pairs
from baselines.layers.mlp import TopMLP
from baselines.layers.packing import at_positions, last_position, softmax_over_positions, sum_over_positions
from baselines.layers.recurrence import cpu, recurrence, reference
from baselines.layers.sigmoid_mlp import sigmoid_mlp
from datamodules.packing import pack, packing_of, unpack
from tests.baselines.layouts import layout

B, T, H = 4, 5, 6
LENGTHS = [5, 3, 1, 0]
PACKING = packing_of(np.array(LENGTHS), T)


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


def widths(*layers: nn.Linear) -> list[int]:
    return [layer.out_features for layer in layers]


def test_the_mlps_are_as_wide_as_the_released_ones() -> None:
    top = [layer for layer in TopMLP(H, official=True, dice=True).layers if isinstance(layer, nn.Linear)]
    assert widths(*top) == [200, 80, 2]
    attention, auxiliary = MLPAttention(H, H, project_query=True), MLPAuxiliaryLoss(H, H)
    assert widths(attention.first, attention.second, attention.last) == [80, 40, 1]
    assert widths(auxiliary.first, auxiliary.second, auxiliary.last) == [100, 50, 2]


@pytest.mark.parametrize("layer", [MLPAuxiliaryLoss(H, H), InnerProductAuxiliaryLoss(H, H)])
def test_auxiliary_loss_at_its_edges(layer: nn.Module) -> None:
    def loss(lengths: list[int], scale: float) -> torch.Tensor:
        at, packing = layout(lengths, T).targets, packing_of(np.array(lengths), T)
        states, behaviours, negatives = (scale * pack(random(B, T, H, seed=seed), packing) for seed in range(3))
        return layer(Pairs.make(states.requires_grad_(), behaviours, negatives[packing.first :], packing, at), at)

    assert loss([1, 1, 1, 0], 1).item() == 0  # nobody has a next one
    huge = loss(LENGTHS, 1e4)
    huge.backward()
    assert torch.isfinite(huge)


def test_softmax_of_large_scores() -> None:
    scores = pack(random(B, T), PACKING)
    expected = softmax_over_positions(scores, PACKING)
    torch.testing.assert_close(softmax_over_positions(scores + 1000, PACKING), expected, atol=1e-3, rtol=0)


@pytest.mark.parametrize("lengths", [[5, 3, 1, 0], [0, 2, 5, 5, 1, 2], [0, 0], [1], [5, 5]])
def test_functions_over_positions_against_loops(lengths: list[int]) -> None:
    padded, values = random(len(lengths), T, 3), random(len(lengths), 3, seed=1)
    packing = packing_of(np.array(lengths), T)
    rows = pack(padded, packing)
    assert at_positions(values, packing).tolist() == [values[u].tolist() for u in packing.history.tolist()]
    softmax = unpack(softmax_over_positions(rows[:, 0], packing), packing)
    for u, length in enumerate(lengths):
        own, zero = padded[u, :length], torch.zeros(3)
        torch.testing.assert_close(sum_over_positions(rows, packing)[u], own.sum(0))
        torch.testing.assert_close(weighted_sum(rows[:, 0], rows, packing)[u], (own[:, :1] * own).sum(0))
        torch.testing.assert_close(last_position(rows, packing)[u], own[-1] if length else zero)
        torch.testing.assert_close(softmax[u, :length], torch.softmax(own[:, 0], 0))


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("further", [False, True])
def test_compiled_sigmoid_mlp(further: bool, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """More rows than a block of the kernel; the right gradients are autograd's through torch's operations."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)  # into how many chunks the kernel cuts its work
    count = 150
    owners = [torch.from_numpy(np.random.default_rng(seed).integers(0, 9, count)) for seed in (0, 1)]
    shapes = [(count, 5), (9, 8), (8, 5), (4,), (9, 8)]
    found = []
    for number in (torch.float64, torch.float32):
        torch.manual_seed(0)
        second = nn.Linear(8, 4).to(number)
        leaves = [random(*shape, seed=seed).to(number).requires_grad_() for seed, shape in enumerate(shapes)]
        x, shared, first, last, more = leaves
        arguments = [(more, owners[1])] if further else []
        scores = sigmoid_mlp(x, (shared, owners[0]), first, second, last, *arguments)
        with torch.no_grad():  # nothing is kept for gradients
            assert torch.equal(sigmoid_mlp(x, (shared, owners[0]), first, second, last, *arguments), scores)
        (scores * torch.linspace(-1, 1, count)).sum().backward()
        used = [*(leaves if further else leaves[:-1]), *second.parameters()]
        found.append([scores.detach().double(), *(leaf.grad.double() for leaf in used if leaf.grad is not None)])
    assert len(found[0]) == len(found[1]) == 7 + further
    for exact, compiled in zip(*found, strict=True):
        torch.testing.assert_close(compiled, exact, atol=1e-4, rtol=1e-4)


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
    nobody = packing_of(np.zeros(2, np.int64), 1)
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
    lengths = np.random.default_rng(0).integers(0, 9, 150)
    packing, size = packing_of(lengths, 9), 7
    rows = len(packing.history)
    leaves = [random(rows, 3 * size), random(size, 3 * size, seed=1), random(rows, seed=2), random(rows, seed=3)]
    found = []
    for backend, number in ((None, torch.float64), (reference, torch.float64), (cpu, torch.float32)):
        inputs = [leaf.to(number, copy=True).requires_grad_() for leaf in leaves]
        terms = *inputs[:2], inputs[2].sigmoid(), inputs[3].sigmoid(), packing.batch_sizes, reset_after
        states = recurrence(*terms, backend) if backend else reference.forward(*terms)[0]
        with torch.no_grad():  # nothing is kept for gradients
            assert backend is None or torch.equal(recurrence(*terms, backend), states)
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
        sigmoid_mlp(x, (random(1, 3), owner), random(3, 3), layer, random(4)),
    ]
    for output in outputs:
        (slope,) = torch.autograd.grad(output.square().sum(), x, create_graph=True)
        with pytest.raises(RuntimeError, match="once_differentiable"):
            slope.sum().backward()
