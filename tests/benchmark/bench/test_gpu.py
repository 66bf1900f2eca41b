"""`make gpu-check` without a GPU: the same code on the CPU, failures, hangs, deadlines, reasons."""

import json
import re
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner

from baselines.contract import LENGTHS, SCHEMA, make_batch
from baselines.layers.recurrence import cpu, reference
from baselines.lightning_module import CTRModule
from benchmark.bench.gpu import parity, speed, suite
from benchmark.bench.gpu.child import CHECKS, TESTS, line_of_tests
from benchmark.bench.gpu.suite import LIMITS, Check, gpu_check
from benchmark.bench.timing import Timer
from benchmark.cli.app import app
from benchmark.runs import device as devices
from datamodules.errors import UserError

CPU = torch.device("cpu")
OF_CHECK = {"name", "status", "reason", "seconds", "lines"}
OF_LINE = {"what", "status", "reason", "figures"}
without_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")


def says(*lines: dict[str, Any], then: str = "") -> list[str]:
    """The command of a check that prints lines and goes on with some Python."""
    full = [json.dumps({"what": "w", "status": "passed", "reason": "", "figures": {}} | line) for line in lines]
    return [sys.executable, "-c", f"import time, os\nfor line in {full!r}: print(line, flush=True)\n{then}"]


def read(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "gpu-check.json").read_text("utf-8"))
    return found


def statuses(out: Path) -> dict[str, str]:
    return {check["name"]: check["status"] for check in read(out)["checks"]}


@without_gpu
def test_without_a_gpu_every_check_is_skipped_with_the_reason(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["gpu-check", "--out", str(tmp_path)], catch_exceptions=False)
    assert done.exit_code == 0
    found = read(tmp_path)
    assert set(found) == {"format", "commit", "quick", "device", "machine", "seconds", "limit", "checks"}
    assert [check["name"] for check in found["checks"]] == list(LIMITS)
    assert all(set(check) == OF_CHECK for check in found["checks"])
    assert {check["status"] for check in found["checks"]} == {"skipped"}
    assert found["seconds"] < 5
    for check in found["checks"]:
        assert f"torch {torch.__version__}" in check["reason"]
        assert "nvidia-smi" in check["reason"]
        assert f"| {check['name']} |" in (tmp_path / "gpu-check.md").read_text("utf-8")
        assert check["name"] in done.stdout


@without_gpu
@pytest.mark.parametrize(
    ("build", "said"), [(None, r"built for the CPU.*install torch 2.9.9 built for CUDA"), ("13.0", "CUDA 13.0.*driver")]
)
def test_the_reason_names_the_build_of_torch(build: str | None, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", build)
    monkeypatch.setattr(torch, "__version__", "2.9.9+cpu")
    with pytest.raises(UserError, match=f"torch 2.9.9.cpu.*{said}"):
        devices.check_device("gpu")


@pytest.mark.slow
@without_gpu
def test_a_check_runs_in_a_process_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suite, "LIMITS", {"parity": 100})
    done = CliRunner().invoke(app, ["gpu-check", "--quick", "--out", str(tmp_path)], catch_exceptions=False)
    found = read(tmp_path)
    assert done.exit_code == 0, found
    assert (found["device"], found["quick"]) == ("cpu", True)
    assert statuses(tmp_path) == {"parity": "passed"}
    lines = found["checks"][0]["lines"]
    assert all(set(line) == OF_LINE for line in lines)
    assert [line["figures"]["backend"] for line in lines] == ["cpu"] * 4
    assert "T = 8, H = 36, paper's candidate: passed: backend cpu; error" in done.stdout
    (graph,) = CHECKS["graph"](CPU, True)
    assert (graph.status, graph.reason) == ("skipped", "a CUDA graph needs a GPU")


def test_every_check_has_a_limit() -> None:
    assert list(LIMITS) == list(CHECKS)


def test_recurrences_on_the_cpu() -> None:
    lines = {line.what: line.figures for line in CHECKS["recurrences"](CPU, True)}
    assert set(lines) == {f"{gate}, T = 8" for gate in ("gru", "agru", "augru", "augru-keep")}
    assert lines["gru, T = 8"]["nn_gru_over_layer"]["median"] > 0


def test_steps_on_the_cpu() -> None:
    lines = list(CHECKS["steps"](CPU, True))
    assert [line.what for line in lines] == ["base-model, official, B = 128", "dien, official, B = 128"]
    for line in lines:
        assert line.figures["step_ms"]["median"] > 0
        assert line.figures["evaluation_samples_per_second"] > 0
        assert line.figures["gpu_memory_mb"] is None


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # torch's own, of reading .grad while it traces
def test_a_compiled_step_on_the_cpu() -> None:
    (line,) = CHECKS["compile"](CPU, True)
    assert line.status == "passed", line
    assert line.figures["graphs"] > 0
    assert abs(line.figures["loss_difference"]) < 1e-4


@pytest.mark.slow
def test_the_tests_for_a_device_are_counted() -> None:
    (line,) = CHECKS["tests"](CPU, True)
    assert sum(line.figures.values()) > 10, line
    assert line.status != "failed"


def test_a_check_that_fails_or_hangs_is_a_line_and_the_others_go_on(tmp_path: Path) -> None:
    checks = [
        Check("raises", 60, says({}, then="raise ValueError('no such kernel')")),
        Check("hangs", 3, says({"what": "before"}, then="os.system('sleep 60')")),
        Check("wrong", 60, says({}, {"status": "failed", "reason": "error 1"})),
        Check("silent", 60, says()),
        Check("none", 60, says({"status": "skipped"})),
        Check("good", 60, says({"figures": {"x_ms": {"median": 1.25}}}, {"status": "skipped"})),
    ]
    written: list[dict[str, str]] = []
    table, passed = gpu_check(tmp_path, quick=True, checks=checks, report=lambda _: written.append(_seen(tmp_path)))
    assert not passed
    expected = {"raises": "failed", "hangs": "failed", "wrong": "failed", "silent": "failed", "none": "skipped"}
    assert statuses(tmp_path) == expected | {"good": "passed"}
    assert list(written[2].values()) == ["failed", "failed", "pending", "pending", "pending", "pending"]
    found = {check["name"]: check for check in read(tmp_path)["checks"]}
    assert found["raises"]["reason"] == "exit code 1: ValueError: no such kernel"
    assert found["hangs"]["reason"] == "stopped after 3 seconds, its limit"
    assert found["hangs"]["seconds"] < 30  # what it has started is killed too, or its output would stay open
    assert [line["what"] for line in found["hangs"]["lines"]] == ["before"]  # what was known stays
    assert "x ms 1.25" in table.markdown()


def _seen(out: Path) -> dict[str, str]:
    return statuses(out) if (out / "gpu-check.json").exists() else {}


def test_the_deadline_of_all_checks_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suite, "LEAST", 0.5)
    hangs = says({}, then="time.sleep(60)")
    began = time.monotonic()
    _, passed = gpu_check(tmp_path, 2, quick=True, checks=[Check("cut", 60, hangs), Check("late", 60, hangs)])
    assert time.monotonic() - began < 20
    assert passed  # that there was no time says nothing about the GPU
    cut, late = read(tmp_path)["checks"]
    assert (cut["status"], late["status"]) == ("skipped", "skipped")
    assert "no time was left" in cut["reason"]
    assert "no time was left" in late["reason"]
    assert late["seconds"] == 0


def test_a_failed_check_is_exit_code_1_and_a_mistake_2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suite, "checks_on", lambda device, quick: [Check("bad", 60, says({"status": "failed"}))])
    assert CliRunner().invoke(app, ["gpu-check", "--quick", "--out", str(tmp_path)]).exit_code == 1
    with pytest.raises(UserError, match="seconds must be at least 1, got 0"):
        gpu_check(tmp_path / "none", seconds=0)
    assert not (tmp_path / "none").exists()


def broken(name: str, change: Any) -> Any:
    """The plain loop with one of its functions changed."""
    functions = {"forward": reference.forward, "backward": reference.backward, name: change}
    return SimpleNamespace(__name__="a.broken", **functions)


def forgets_q(grad: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    d_projected, d_weight, d_p, d_q = reference.backward(grad, *rest)
    return d_projected, d_weight, d_p, d_q * 1.001


def not_a_number(projected: Tensor, *rest: Any) -> Any:
    states, saved = reference.forward(projected, *rest)
    states[-1] = torch.nan
    return states, saved


CALLS = iter(range(1_000_000))


def noisy(projected: Tensor, *rest: Any) -> Any:
    states, saved = reference.forward(projected, *rest)
    return states + 1e-6 * (next(CALLS) % 2), saved


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("forward", lambda *given: reference.forward(*given[:-1], not given[-1]), "states, "),
        ("backward", forgets_q, r"gradient of q, .*: error 1\.0e-03, expected at most 1e-05"),
        ("forward", not_a_number, "error nan"),
        ("forward", noisy, "other bits the second time"),
    ],
)
def test_parity_finds_a_wrong_backend(name: str, change: Any, said: str) -> None:
    line = parity.compare(broken(name, change), CPU, 5, 8, True)
    assert line.status == "failed"
    assert re.search(said, line.reason), line.reason
    json.dumps(line.figures, allow_nan=False)


@pytest.mark.parametrize("backend", [cpu, reference])
def test_parity_passes_right_backends(backend: Any) -> None:
    for line in parity.parity(CPU, quick=True, backend=backend):
        assert line.status == "passed", line
        assert 0 < line.figures["error"] < parity.TOLERANCE / 4


def test_a_way_that_torch_does_not_take_is_skipped_and_a_wrong_one_fails() -> None:
    def refuses(*_: Any) -> Any:
        try:
            raise RuntimeError("a number was read\nand a long trace")
        finally:
            raise ValueError

    skipped = speed.beside_eager("x", CPU, True, refuses)
    assert skipped.status == "skipped"
    assert skipped.reason == "torch does not do it: RuntimeError: a number was read, then ValueError: "

    def forgets_to_step(step: Any, batches: Any) -> Any:
        return lambda: [step.module.training_step(batch, 0) for batch in batches]

    assert speed.beside_eager("x", CPU, True, forgets_to_step).status == "failed"
    same = speed.beside_eager("x", CPU, True, lambda step, batches: lambda: step.train(batches))
    assert (same.status, same.figures["loss_difference"]) == ("passed", 0)


def test_a_step_of_fixed_layout_reads_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a CUDA graph needs it; in float64, where torch's operations compute all."""
    batch = make_batch(LENGTHS, max(LENGTHS))
    module = CTRModule(model="dien", variant="official", schema=SCHEMA.as_dict(), steps=3).double()
    batch = batch.with_label(batch.label.double())
    expected = module.training_step(batch, 0).detach()

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a number was read")

    with speed.fixed_layout(batch) as tensors:
        for name in ("cpu", "numpy", "item", "tolist"):
            monkeypatch.setattr(Tensor, name, refuse)
        loss = module.training_step(batch, 0)
        loss.backward()
        monkeypatch.undo()
        assert torch.equal(loss.detach(), expected)
        assert len(tensors) == 1


def test_counts_of_tests_are_pytests() -> None:
    passed = line_of_tests("f", 0, "....\n2 passed, 1 skipped in 0.1s\n")
    assert (passed.status, passed.figures) == ("passed", {"passed": 2, "failed": 0, "skipped": 1})
    wrong = line_of_tests("f", 1, "F.\nFAILED tests/f.py::test_x - assert 1 == 2\n1 failed, 1 passed in 1s\n")
    assert (wrong.status, wrong.reason) == ("failed", "tests/f.py::test_x - assert 1 == 2")
    assert line_of_tests("f", 0, "3 skipped in 0.1s").status == "skipped"
    assert line_of_tests("f", 2, "").reason == "exit code 2"
    assert all((suite.ROOT / name).exists() for name in TESTS)


class Event:
    """A GPU's event on a clock that ticks with every record."""

    ticks = iter(range(0, 1000, 250))

    def __init__(self, enable_timing: bool) -> None:
        assert enable_timing

    def record(self) -> None:
        self.at = next(self.ticks)

    def synchronize(self) -> None: ...

    def elapsed_time(self, other: "Event") -> float:
        return float(other.at - self.at)


def test_a_gpu_is_timed_by_its_events(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: order.append("wait"))
    assert Timer(1, "cuda").interleave({"a": lambda: order.append("work")})["a"] == [0.25]
    assert order == ["wait", "work"] * 2
