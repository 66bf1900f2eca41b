"""The Triton recurrence against the plain loop: on a GPU where there is one, else in Triton's interpreter."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import Tensor

from baselines.layers.recurrence import recurrence, reference
from datamodules.packing import packing_of

# Triton decides when it is imported whether its kernels are interpreted, so that needs a process of its own.
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = torch.device("cpu" if INTERPRETED else "cuda")

needs_triton = pytest.mark.skipif(
    find_spec("triton") is None, reason="Triton is not installed: pip install -e '.[gpu]' brings it"
)
on_its_device = pytest.mark.skipif(
    find_spec("triton") is None or not (INTERPRETED or torch.cuda.is_available()),
    reason="no GPU, or no Triton; test_in_the_interpreter runs this on the CPU where Triton is installed",
)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def outcome(backend: ModuleType, size: int, lengths: list[int], reset_after: bool, dtype: torch.dtype) -> list[Tensor]:
    """States and all gradients under a loss that weighs every state differently."""
    device = torch.device("cpu") if dtype == torch.float64 else DEVICE
    packing = packing_of(np.array(lengths), max(*lengths, 1))
    rows = len(packing.history)
    values = [random(rows, 3 * size), random(size, 3 * size, seed=1) / size**0.5, random(rows, seed=2), random(rows)]
    values[2:] = [value.sigmoid() for value in values[2:]]
    leaves = [value.to(device, dtype, copy=True).requires_grad_() for value in values]
    states = recurrence(*leaves, packing.batch_sizes, reset_after, backend)
    (states * torch.linspace(-1, 1, states.numel()).view_as(states).to(states)).sum().backward()
    return [states.detach(), *(leaf.grad for leaf in leaves if leaf.grad is not None)]


RAGGED = [7, 0, 1, 3, 7, 2]
MANY = [int(n) for n in np.random.default_rng(0).integers(0, 3, 40)]


@on_its_device
@pytest.mark.parametrize("reset_after", [False, True])
@pytest.mark.parametrize(("size", "lengths"), [(5, RAGGED), (36, RAGGED), (64, RAGGED), (3, MANY), (1, [1]), (5, [0])])
def test_against_the_plain_loop(size: int, lengths: list[int], reset_after: bool) -> None:
    from baselines.layers.recurrence import cuda

    ours = outcome(cuda, size, lengths, reset_after, torch.float32)
    exact = outcome(reference, size, lengths, reset_after, torch.float64)
    again = outcome(cuda, size, lengths, reset_after, torch.float32)
    assert len(ours) == len(exact) == 5
    for found, expected, second in zip(ours, exact, again, strict=True):
        torch.testing.assert_close(found.cpu().double(), expected, atol=1e-5, rtol=1e-5)
        assert torch.equal(found, second)


@on_its_device
@pytest.mark.filterwarnings("ignore:overflow encountered in exp")  # 1 / (1 + inf) = 0 is what is wanted
def test_strided_inputs_and_saturated_gates() -> None:
    from baselines.layers.recurrence import cuda

    packing = packing_of(np.array(RAGGED), 7)
    rows = len(packing.history)
    projected, weight = 100 * random(15, rows).T, random(15, 5, seed=1).T
    p, q = torch.zeros(rows), torch.ones(1).expand(rows)
    inputs = [tensor.to(DEVICE) for tensor in (projected, weight, p)] + [torch.ones(1, device=DEVICE).expand(rows)]
    for reset_after in (False, True):
        found = recurrence(*inputs, packing.batch_sizes, reset_after, cuda)
        exact = recurrence(projected, weight, p, q, packing.batch_sizes, reset_after, reference)
        torch.testing.assert_close(found.cpu(), exact, atol=1e-5, rtol=0)


@needs_triton
@pytest.mark.skipif(INTERPRETED, reason="this is the interpreter")
@pytest.mark.timeout(600)
def test_in_the_interpreter() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(Path(__file__))]
    run = subprocess.run(command, env=os.environ | {"TRITON_INTERPRET": "1"}, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "13 passed" in run.stdout, run.stdout


@needs_triton
@pytest.mark.skipif(INTERPRETED, reason="an interpreted kernel is not compiled")
@pytest.mark.parametrize("reset_after", [False, True])
@pytest.mark.parametrize("kernel", ["_forward", "_backward"])
def test_compiles_to_float32_without_atomics(
    kernel: str, reset_after: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Triton compiles for a GPU that is not there: one of compute capability 9.0."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from baselines.layers.recurrence import cuda

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    function = getattr(cuda, kernel)
    constants = {"H": 36, "P": 64, "RESET_AFTER": reset_after}
    signature = {name: "*i64" if name in ("starts", "lengths") else "*fp32" for name in function.arg_names}
    source = ASTSource(function, signature | dict.fromkeys(constants, "constexpr"), constants)
    assembly = triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": 8}).asm["ptx"]
    assert "fma.rn.f32" in assembly
    assert not re.search(r"tf32|\batom\.|\bred\.", assembly)
