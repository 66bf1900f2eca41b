"""Where runs are computed, on machines with and without a GPU."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmark.cli.app import main
from benchmark.runs.config import RunConfig
from benchmark.runs.device import (
    Device,
    built_for_gpus,
    check_device,
    describe,
    triton_version,
    uses_gpu,
    visible_gpus,
)
from benchmark.runs.train import train_run
from datamodules.errors import UserError

SEEN = torch.cuda.is_available()


def test_the_cpu_whatever_there_is() -> None:
    check_device("cpu")
    assert not uses_gpu("cpu")
    assert visible_gpus("cpu") == []
    assert describe("cpu").startswith(f"cpu, {torch.get_num_threads()} thread(s), ")
    assert triton_version("cpu") == {}


@pytest.mark.skipif(SEEN, reason="there is a GPU here")
def test_no_gpu_is_said_with_what_to_do(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert not uses_gpu("auto")
    assert visible_gpus("gpu") == []
    with pytest.raises(UserError, match=r"--device cpu or auto.*sees no GPU.*nvidia-smi"):
        check_device("gpu")
    monkeypatch.setattr("sys.argv", ["dien-bench", "run", "--datasets", "generated", "--device", "gpu"])
    with pytest.raises(SystemExit) as exit_:
        main()
    assert exit_.value.code == 2
    assert "use --device cpu or auto" in capsys.readouterr().err


def test_what_torch_is_built_for_is_read_without_it() -> None:
    assert built_for_gpus() == (torch.version.cuda is not None or torch.version.hip is not None)


@pytest.mark.parametrize(
    ("text", "built"),
    [
        ("cuda = None\nhip = None\n", False),
        ("cuda = '13.0'\nhip = None\n", True),
        ("cuda = None\nhip = '7'\n", True),
        ("", True),
    ],
)
def test_builds_of_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, built: bool) -> None:
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise AssertionError('imported')")
    (tmp_path / "torch" / "version.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "torch")
    assert built_for_gpus() == built
    (tmp_path / "torch" / "version.py").unlink()
    assert built_for_gpus()


def test_names_of_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmark.runs.device.built_for_gpus", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert visible_gpus("auto") == ["0", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3, GPU-7f")
    assert visible_gpus("gpu") == ["3", "GPU-7f"]


@pytest.mark.skipif(not SEEN, reason="torch sees no GPU")
def test_a_run_on_a_gpu_is_repeatable_and_near_the_cpus(tmp_path: Path) -> None:
    def run(out: str, device: Device) -> dict[str, Any]:
        config = RunConfig("generated", "arxiv-v1", "dien", "official", seed=0, steps=130)
        return train_run(replace(config, device=device, data_dir=str(tmp_path / "data"), out=str(tmp_path / out)))

    first, second, cpu = run("first", "gpu"), run("second", "auto"), run("third", "cpu")
    assert str(first["device"]).startswith(f"gpu, {torch.cuda.get_device_name()}")
    assert first["auc"] == second["auc"]
    assert first["logloss"] == second["logloss"]
    assert first["logloss"] == pytest.approx(cpu["logloss"], abs=1e-2)
