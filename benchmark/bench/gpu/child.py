"""The process of one check: `python -m benchmark.bench.gpu.child NAME cuda|cpu full|quick`.

It prints a line of JSON for each `Line` as soon as it is known, and ends with 0 unless the check could not be made: a
hanging kernel or a lost GPU is the end of this process alone.
"""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from dataclasses import asdict
from pathlib import Path

import torch

from benchmark.bench.gpu import parity
from benchmark.bench.gpu.line import Line

ROOT = Path(__file__).resolve().parents[3]
TESTS = (
    "tests/baselines/test_recurrence_cuda.py",
    "tests/baselines/test_devices.py",
    "tests/benchmark/runs/test_device.py",
)


def device_tests(device: torch.device, quick: bool) -> Iterator[Line]:
    """Yield a line a file of tests for a device, with the numbers of those that passed, failed and were skipped.

    Triton's interpreter, which needs no GPU, is left out.
    """
    for name in TESTS[:1] if quick else TESTS:
        if not (ROOT / name).exists():
            yield Line(name, "skipped", "the tests do not lie beside the packages: use a checkout")
            continue
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "not in_the_interpreter", name]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", errors="replace")
        yield line_of_tests(name, done.returncode, done.stdout + done.stderr)


def line_of_tests(name: str, exit_code: int, output: str) -> Line:
    """Return the line of a file of tests, given what pytest printed."""
    last = (output.strip().splitlines() or [""])[-1]
    counts = {kind: int(number) for number, kind in re.findall(r"(\d+) (passed|failed|skipped|error)", last)}
    figures = {kind: counts.get(kind, 0) for kind in ("passed", "failed", "skipped")}
    if exit_code:
        wrong = re.findall(r"^(?:FAILED|ERROR) (.*)$", output, re.M)
        return Line(name, "failed", "; ".join(wrong) or last or f"exit code {exit_code}", figures)
    return Line(name, "passed" if figures["passed"] else "skipped", "" if figures["passed"] else last, figures)


def of_speed(name: str) -> Callable[[torch.device, bool], Iterator[Line]]:
    """A check of `speed.py`, imported when it is made: it brings Lightning along, which the others do without."""

    def check(device: torch.device, quick: bool) -> Iterator[Line]:
        from benchmark.bench.gpu import speed

        found: Iterator[Line] = getattr(speed, name)(device, quick)
        return found

    return check


CHECKS: dict[str, Callable[[torch.device, bool], Iterator[Line]]] = {
    "parity": parity.parity,
    "tests": device_tests,
    "recurrences": of_speed("recurrences"),
    "steps": of_speed("steps"),
    "graph": of_speed("graph_step"),
    "compile": of_speed("compiled_step"),
}


def main(name: str, device: str, size: str) -> None:
    """Make a check as a run computes: one thread, deterministic algorithms, float32 without TF32."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False  # torch.nn.GRU's by default
    lines, stdout = CHECKS[name](torch.device(device), size == "quick"), sys.stdout
    with redirect_stdout(sys.stderr):
        for line in lines:
            print(json.dumps(asdict(line), allow_nan=False), file=stdout, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
