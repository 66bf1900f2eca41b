"""The compiled kernels: what numba makes of them on first use, and NaN."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import baselines
from baselines import lazy_adam_kernel
from baselines.layers import compiled, sigmoid_mlp_kernel
from baselines.layers.recurrence import cpu, recurrence
from baselines.layers.sigmoid_mlp import sigmoid_mlp

UPDATED = """
import sys
from types import SimpleNamespace
sys.modules["torch"] = SimpleNamespace(Tensor=None)  # it takes longer to import than all else, and is not used here
import hashlib
import numpy as np
from baselines.lazy_adam_kernel import update
rng = np.random.default_rng(0)
weight, gradients = rng.standard_normal((2, 99, 18), np.float32)
m, v = rng.random((2, 99, 18), np.float32) * 1e-3
update(np.arange(99), gradients, weight, m, v, np.zeros(99, np.int32), 7, 1e-3, 1.01, 0.9, 0.999, 1e-8)
print(hashlib.sha256(b"".join(array.tobytes() for array in (weight, m, v))).hexdigest())
"""


@pytest.mark.slow
def test_code_from_the_cache_computes_the_bits_of_code_just_compiled(tmp_path: Path) -> None:
    """Otherwise the first run on a machine would differ from all later ones: see `jit`."""
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    runs = [
        subprocess.run([sys.executable, "-c", UPDATED], env=environment, capture_output=True, text=True, check=True)
        for _ in range(2)
    ]
    assert list(tmp_path.rglob("*.nbc"))
    assert runs[0].stdout == runs[1].stdout


def test_numba_sees_a_change_of_what_its_functions_call() -> None:
    """Whoever changes compiled.py puts its new hash into the files that call it, and numba compiles these anew."""
    expected = hashlib.sha256(Path(compiled.__file__).read_bytes()).hexdigest()[:12]
    for caller in (cpu, sigmoid_mlp_kernel, lazy_adam_kernel):
        assert expected == caller.CALLS, f'{caller.__file__} needs CALLS = "{expected}"'
    sources = [path.read_text(encoding="utf-8") for path in Path(baselines.__file__).parent.rglob("*.py")]
    assert sum("layers.compiled import" in source and "jit" in source for source in sources) == 3  # those above


@pytest.mark.parametrize("payload", [0, 1, 0x1FF, 0x2AAAA, 0x3FFFFF])
def test_nan_stays_nan(payload: int) -> None:
    """Whatever bits a NaN carries: the exponential is put together from bits."""
    nan = torch.from_numpy(np.array([0x7FC00000 | payload], np.uint32).view(np.float32))
    rows, half = torch.arange(12.0).reshape(4, 3), torch.full((4,), 0.5)
    rows[1] = nan
    states = recurrence(rows, torch.zeros(1, 3), half, half, np.array([4]), True, cpu)
    assert states[:, 0].isnan().tolist() == [False, True, False, False]
    second = torch.nn.Linear(2, 2)
    shift = torch.zeros(4, 2)
    shift[1] = nan
    scores = sigmoid_mlp(torch.zeros(4, 3), (shift, torch.arange(4)), torch.zeros(2, 3), second, torch.ones(2))
    assert scores.isnan().tolist() == [False, True, False, False]
