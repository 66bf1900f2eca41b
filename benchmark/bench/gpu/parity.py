"""The recurrence of a device in float32 beside the plain loop in float64 on the CPU: states and every gradient."""

import math
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from types import ModuleType

import torch
from torch import Tensor

from baselines.layers.recurrence import backend_of, recurrence, reference, triton_takes
from benchmark.bench.gpu.line import Line
from benchmark.bench.kernels import BATCH, GATES, HIDDEN, Gate
from datamodules.packing import packing_of

# Of the largest number of a tensor. The kernel and the loop of the CPU come to 8e-7 in float32; TF32 has 1e-3.
TOLERANCE = 1e-5
NAMES = ("states", *(f"gradient of {name}" for name in ("projected", "weight", "p", "q")))


def parity(device: torch.device, quick: bool, backend: ModuleType | None = None) -> Iterator[Line]:
    """Yield a line a hidden size, length T and candidate, all gates together; on a GPU, first why Triton is not used.

    `backend` takes the place of the device's own.
    """
    if device.type == "cuda" and (reason := why_no_triton(device)):
        yield Line("Triton's kernels", "skipped", f"{reason}. What follows is torch's loop in float32")
    for size in (HIDDEN,) if quick else (HIDDEN, 3 * HIDDEN):
        for positions in (1, 8) if quick else (1, 8, 100):
            for reset_after in (True, False):
                used = backend or backend_of(device, torch.float32, size)
                yield compare(used, device, size, positions, reset_after)


def why_no_triton(device: torch.device) -> str:
    """Why Triton does not compute recurrences on a GPU; empty where it does."""
    if find_spec("triton") is None:
        return "Triton is not installed"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        takes = triton_takes(device, HIDDEN)
    return "" if takes else "; ".join(str(warning.message) for warning in caught) or "Triton does not work here"


def compare(backend: ModuleType, device: torch.device, size: int, positions: int, reset_after: bool) -> Line:
    """Compare a backend with the loop, for B histories of 0 to T = `positions` behaviours, and with itself."""
    errors, repeats = {}, True
    for gate in GATES:
        found = outcome(backend, gate, device, torch.float32, size, positions, reset_after)
        again = outcome(backend, gate, device, torch.float32, size, positions, reset_after)
        exact = outcome(reference, gate, torch.device("cpu"), torch.float64, size, positions, reset_after)
        repeats &= all(torch.equal(first, second) for first, second in zip(found, again, strict=True))
        for name, ours, expected in zip(NAMES, found, exact, strict=True):
            scale = float(expected.abs().max()) or 1.0
            errors[f"{name}, {gate.name}"] = float((ours.cpu().double() - expected).abs().max()) / scale
    worst = max(errors, key=lambda name: math.inf if math.isnan(errors[name]) else errors[name])
    error = errors[worst] if math.isfinite(errors[worst]) else None
    figures = {"backend": backend.__name__.rpartition(".")[2], "error": error, "repeats": repeats}
    what = f"T = {positions}, H = {size}, {'paper' if reset_after else 'TensorFlow'}'s candidate"
    if not errors[worst] <= TOLERANCE:
        return Line(what, "failed", f"{worst}: error {errors[worst]:.1e}, expected at most {TOLERANCE:.0e}", figures)
    if not repeats:
        return Line(what, "failed", "the same input gave other bits the second time", figures)
    return Line(what, "passed", figures=figures)


def outcome(
    backend: ModuleType,
    gate: Gate,
    device: torch.device,
    dtype: torch.dtype,
    size: int,
    positions: int,
    reset_after: bool,
) -> list[Tensor]:
    """Return the states, and the gradients of projected, weight, p and q for a random gradient of the states."""
    random = torch.Generator().manual_seed(positions)
    lengths = torch.randint(0, positions + 1, (BATCH,), generator=random)
    lengths[0] = positions
    packing = packing_of(lengths.numpy(), positions)
    rows = len(packing.history)
    projected, grad = (torch.randn(rows, width, generator=random) for width in (3 * size, size))
    weight = torch.randn(size, 3 * size, generator=random) / size**0.5
    p, q = gate.terms(torch.sigmoid(torch.randn(rows, generator=random)))
    leaves = [value.to(device, dtype).detach().requires_grad_() for value in (projected, weight, p, q)]
    projected, weight, p, q = leaves
    states = recurrence(projected, weight, p, q, packing.batch_sizes, reset_after, backend)
    return [states.detach(), *torch.autograd.grad(states, leaves, grad.to(device, dtype))]
