"""The recurrences alone, forward and backward: ours, the plain loop, and `torch.nn.GRU` for the plain gate."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from baselines.layers.recurrence import recurrence, reference
from baselines.layers.recurrent import RecurrentLayer
from benchmark.bench.floor import CPU, both_ways, operations, runner
from benchmark.bench.floor import recurrence as recurrence_products
from benchmark.bench.timing import Timer, ratio, summarise
from datamodules.packing import packing_of
from datamodules.protocol import BATCH_SIZE

BATCH, HIDDEN = BATCH_SIZE, 36


class Gate(NamedTuple):
    """A gate's name, whether the candidate is the paper's (PyTorch's) or TensorFlow's, and p, q of z = p + q u."""

    name: str
    reset_after: bool
    terms: Callable[[Tensor], tuple[Tensor, Tensor]]


GATES = (
    Gate("gru", True, lambda a: (torch.zeros_like(a), torch.ones_like(a))),
    Gate("agru", True, lambda a: (a, torch.zeros_like(a))),
    Gate("augru", True, lambda a: (torch.zeros_like(a), a)),
    Gate("augru-keep", False, lambda a: (a, 1 - a)),  # released code
)


def measure(quick: bool, timer: Timer) -> list[dict[str, Any]]:
    """Return a line a gate and length T; times in milliseconds for a batch of full histories."""
    return [measure_gate(gate, steps, timer) for steps in ((8, 20) if quick else (8, 20, 100)) for gate in GATES]


def measure_gate(gate: Gate, steps: int, timer: Timer, device: torch.device = CPU) -> dict[str, Any]:
    """Return the line of a gate and length T = `steps` on a device."""
    torch.manual_seed(0)
    lengths = torch.full((BATCH,), steps)
    sizes = packing_of(lengths.numpy(), steps).batch_sizes
    projected = torch.randn(steps * BATCH, 3 * HIDDEN, device=device, requires_grad=True)  # rows step after step
    weight = torch.randn(HIDDEN, 3 * HIDDEN, device=device).div_(HIDDEN**0.5).requires_grad_()
    attention = torch.softmax(torch.randn(steps, BATCH, device=device), dim=0).flatten()
    p, q = (term.detach() for term in gate.terms(attention))
    p, q = (term.requires_grad_(gate.name != "gru") for term in (p, q))
    grad = torch.randn(steps * BATCH, HIDDEN, device=device)
    leaves = [projected, weight, p, q]
    products = recurrence_products(HIDDEN, BATCH, (steps - 1) * BATCH)
    sides: dict[str, Callable[[], object]] = {
        "ours": lambda: _both_ways(recurrence(projected, weight, p, q, sizes, gate.reset_after), grad, leaves),
        "loop": lambda: _both_ways(
            reference.forward(projected, weight, p, q, sizes, gate.reset_after)[0], grad, leaves
        ),
        "floor": runner(products, device),
    }
    if gate.name == "gru":
        sides |= _layers(lengths, steps, device)
        sides["layer_floor"] = runner([*both_ways(steps * BATCH, HIDDEN, 3 * HIDDEN), *products], device)
    seconds = timer.interleave(sides, warm_up=2)
    count, layers = operations(products), "layer" in seconds
    line: dict[str, Any] = {
        "gate": gate.name,
        "reset_after": gate.reset_after,
        "batch": BATCH,
        "hidden": HIDDEN,
        "steps": steps,
        "operations": count,
        "matrix_gflops": round(count / summarise(seconds["floor"])["median"] / 1e9, 2),
        "loop_over_ours": ratio(seconds["loop"], seconds["ours"]),
        "ours_over_floor": ratio(seconds["ours"], seconds["floor"]),
        "nn_gru_over_layer": ratio(seconds["nn_gru"], seconds["layer"]) if layers else None,
    }
    for name in ("ours", "loop", "floor", "layer", "nn_gru", "layer_floor"):
        line[f"{name}_ms"] = summarise(seconds[name], 1e3) if name in seconds else None
    return line


def _layers(lengths: Tensor, steps: int, device: torch.device) -> dict[str, Callable[[], object]]:
    """Our layer and torch.nn.GRU (on a GPU: cuDNN's), both with the input product, on inputs of 36."""
    where = packing_of(lengths.numpy(), steps).to(device)
    x, grad = (torch.randn(steps, BATCH, HIDDEN, device=device) for _ in range(2))
    x.requires_grad_()
    rows, grad_rows = x.detach().flatten(0, 1).requires_grad_(), grad.flatten(0, 1)
    layer = RecurrentLayer(HIDDEN, HIDDEN, reset_after=True).to(device)
    gru = nn.GRU(HIDDEN, HIDDEN).to(device)
    ours, theirs = [rows, *layer.parameters()], [x, *gru.parameters()]
    return {
        "layer": lambda: _both_ways(layer(layer.project(rows), where), grad_rows, ours),
        "nn_gru": lambda: _both_ways(gru(x)[0], grad, theirs),
    }


def _both_ways(states: Tensor, grad: Tensor, leaves: list[Tensor]) -> None:
    """Backward from the gradient of states, in their shape, to fresh gradients of the leaves."""
    torch.autograd.grad(states, [leaf for leaf in leaves if leaf.requires_grad], grad, allow_unused=True)
