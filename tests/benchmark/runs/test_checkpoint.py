"""A run that is cut off goes on from its checkpoint, and ends with the numbers of one that was not."""

import errno
import json
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import baselines.lightning_module
from benchmark.runs import checkpoint
from benchmark.runs.checkpoint import Refused
from benchmark.runs.config import CHECKPOINT, Progress, RunConfig
from benchmark.runs.train import train_run
from benchmark.runs.trained import WEIGHTS
from datamodules.errors import UserError
from datamodules.samples.file import prepare_samples

TIMINGS = ("train_seconds", "evaluation_seconds", "processor_seconds", "samples_per_second", "peak_memory_mb", "commit")
# An odd number of normal draws leaves NumPy's and Python's generators one over for the next call.
DROPOUT = """
import random
import numpy as np
import torch
from baselines.base_model import BaseModel
from baselines.layers.prediction import Prediction

class Dropout(BaseModel):
    def forward(self, batch):
        logit = super().forward(batch).logit
        if self.training:
            size = len(logit)
            keep = torch.bernoulli(torch.full((size,), 0.9))
            keep *= torch.from_numpy((np.random.normal(size=size | 1)[:size] < 1.3).astype(np.float32))
            keep *= torch.tensor([float(random.gauss() < 1.3) for _ in range(size | 1)][:size])
            logit = logit * keep
        return Prediction(logit)
"""


class CutOff(Exception):
    """Stands for the death of the process."""


@pytest.fixture(autouse=True, scope="module")
def frequent_evaluations() -> Iterator[None]:
    """Every 25 steps: no multiple of the 20 between logs, so that losses are pending in a checkpoint."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("benchmark.runs.config.EVALUATE_EVERY", 25)
        yield


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("data"))


def config(out: Path, data_dir: str, model: str, **changes: Any) -> RunConfig:
    """Small batches: a step of DIEN takes half as long as with 128, and 70 go over the samples more than once."""
    base = RunConfig("generated", "clean", model, "official", 3, steps=70, batch_size=32, checkpoint_seconds=0)
    return replace(base, data_dir=data_dir, out=str(out), **changes)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, data_dir: str) -> RunConfig:
    """A run that nothing cuts off."""
    made = config(tmp_path_factory.mktemp("whole"), data_dir, "base-model")
    train_run(made)
    return made


def cut_off(config: RunConfig, step: int) -> None:
    """Train until `step` and die there."""

    def die(progress: Progress) -> None:
        if progress.step >= step:
            raise CutOff

    with pytest.raises(CutOff):
        train_run(config, die)


@pytest.fixture(scope="module")
def cut(tmp_path_factory: pytest.TempPathFactory, whole: RunConfig) -> Path:
    """The folder of the same run, cut off at step 60."""
    made = replace(whole, out=str(tmp_path_factory.mktemp("cut")))
    cut_off(made, 60)
    return Path(made.out)


def outcome(config: RunConfig) -> tuple[dict[str, Any], list[bytes]]:
    record = json.loads((config.folder() / "record.json").read_text())
    files = [(config.folder() / name).read_bytes() for name in ("metrics.csv", "predictions.parquet")]
    return {name: value for name, value in record.items() if name not in TIMINGS}, files


@pytest.mark.parametrize(
    ("model", "variant", "large"),
    [
        ("base-model", "official", 10**6),
        ("base-model", "paper", 10**6),
        ("dien", "official", 10**6),
        ("dien", "paper", 10**6),
        ("dien", "official", 3000),  # users and items: tables that LazyAdam updates where they are read
        ("base-model", "official", 3000),
        ("dropout", "official", 10**6),  # draws from the generators of torch, NumPy and Python
    ],
)
def test_a_run_that_is_cut_off_twice_ends_as_one_that_is_not(
    tmp_path: Path, data_dir: str, monkeypatch: pytest.MonkeyPatch, model: str, variant: str, large: int
) -> None:
    monkeypatch.setattr(baselines.lightning_module, "LAZY_SIZE", large)
    if model == "dropout":
        (tmp_path / "mine.py").write_text(DROPOUT)
        model = f"{tmp_path}/mine.py:Dropout"
    whole = config(tmp_path / "whole", data_dir, model, variant=variant)
    train_run(whole)
    broken = replace(whole, out=str(tmp_path / "broken"))
    steps: list[int] = []
    cut_off(broken, 40)
    cut_off(broken, 60)
    assert not (broken.folder() / "record.json").exists()
    assert (broken.folder() / CHECKPOINT).exists()
    train_run(broken, lambda progress: steps.append(progress.step))
    assert steps == [60, 70]
    assert outcome(broken) == outcome(whole)
    assert not (broken.folder() / CHECKPOINT).exists()
    assert sorted(path.name for path in broken.folder().iterdir()) == sorted(
        path.name for path in whole.folder().iterdir()
    )


@pytest.mark.parametrize(
    ("part", "value", "found"),
    [
        ("identity", {}, f"is of other format: None, now {checkpoint.FORMAT}"),  # found before the run is set up
        ("counts", {}, "is damaged (KeyError)"),  # and after
        ("tensors", {}, "is damaged (KeyError)"),
        ("evaluations", {"last": None}, "is damaged (KeyError)"),
    ],
)
def test_a_malformed_checkpoint_is_removed_and_the_run_starts_from_the_beginning(
    tmp_path: Path, whole: RunConfig, cut: Path, part: str, value: object, found: str
) -> None:
    broken = replace(whole, out=str(shutil.copytree(cut, tmp_path / "broken")))
    steps, said = list[int](), list[str]()
    path = broken.folder() / CHECKPOINT
    torch.save(torch.load(path) | {part: value}, path)
    train_run(broken, lambda progress: steps.append(progress.step), said.append)
    assert said == [f"{path} {found}; it is removed, and the run starts from the beginning"]
    assert steps == [20, 40, 60, 70]
    assert outcome(broken) == outcome(whole)
    assert not path.exists()


def test_checkpoints_do_not_change_a_run(tmp_path: Path, data_dir: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baselines.lightning_module, "LAZY_SIZE", 3000)
    often, never = (
        config(tmp_path / str(seconds), data_dir, "dien", checkpoint_seconds=seconds) for seconds in (0, 1e9)
    )
    train_run(often)
    train_run(never)
    assert outcome(often) == outcome(never)


def test_the_time_of_a_run_is_that_of_every_process_that_trained_it(tmp_path: Path, data_dir: str) -> None:
    made = config(tmp_path, data_dir, "base-model")
    cut_off(made, 60)
    path = made.folder() / CHECKPOINT
    state = torch.load(path)
    assert min(state["seconds"]) > 0
    torch.save(state | {"seconds": (3000.0, 2000.0)}, path)
    began = time.process_time(), time.monotonic()
    record = train_run(made)
    processor, wall = time.process_time() - began[0], time.monotonic() - began[1]
    assert 3000 < record["train_seconds"] < 3000 + wall
    assert 2000 < record["processor_seconds"] < 2000 + processor


WANTED = {"format": 1, "run": "a/b", "steps": 300, "evaluate_every": 100, "batch_size": 128, "torch version": "2.13"}


def test_only_a_checkpoint_of_the_same_run_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    assert checkpoint.load_checkpoint(path, WANTED) is None
    torch.save({"identity": WANTED, "step": 100, "seconds": 1.5, "scores": torch.arange(3)}, path)
    found = checkpoint.load_checkpoint(path, WANTED)
    assert found is not None
    assert found["step"] == 100
    for other, message in (
        ({"batch_size": 64}, "is of other batch_size: 128, now 64"),
        ({"torch version": "2.14"}, "is of other torch version: 2.13, now 2.14"),
    ):
        with pytest.raises(Refused, match=message):
            checkpoint.load_checkpoint(path, WANTED | other)


@pytest.mark.parametrize("damage", ["cut", "text", "changed", "other", "code"])
def test_a_damaged_checkpoint_is_refused(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "checkpoint.pt"
    torch.save({"identity": WANTED, "weights": torch.arange(1000)}, path)
    content = path.read_bytes()
    if damage in ("other", "code"):
        torch.save([1, 2] if damage == "other" else {"identity": WANTED, "weights": Path}, path)
    else:
        at = content.index(b"\x07\x00\x00\x00\x00\x00\x00\x00")
        changed = content[:at] + b"\x08" + content[at + 1 :]
        path.write_bytes({"cut": content[: len(content) // 2], "text": b"hello", "changed": changed}[damage])
    with pytest.raises(Refused, match="is damaged"):
        checkpoint.load_checkpoint(path, WANTED)


def test_a_run_goes_on_where_no_checkpoint_can_be_written(
    tmp_path: Path, data_dir: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    said: list[str] = []
    prepare_samples("generated", "clean", Path(data_dir))
    monkeypatch.setattr(os, "fsync", full)
    broken = config(tmp_path, data_dir, "base-model", steps=30)
    with pytest.raises(UserError, match="No space left"):  # of the record
        train_run(broken, say=said.append)
    of_checkpoint, of_weights = (sum(name in line for line in said) for name in ("checkpoint.pt", WEIGHTS))
    assert of_checkpoint == 1
    assert of_weights >= 1  # one for every evaluation that became the best
    assert all("No space left on device); the run goes on without it" in line for line in said)
    assert not (broken.folder() / WEIGHTS).exists()
    assert [path.name for path in broken.folder().iterdir() if path.suffix == ".tmp"] == []
