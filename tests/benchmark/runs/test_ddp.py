"""A run on two processes has the figures of one process, up to rounding, and its own, to the bit, if it is killed."""

import json
import os
import signal
import subprocess
import sys
from collections import ChainMap
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from importlib.metadata import EntryPoint
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from benchmark.cli.run import gpu_groups
from benchmark.executors.base import attempt
from benchmark.runs.config import CHECKPOINT, Progress, RunConfig
from benchmark.runs.process import ProcessDied
from benchmark.runs.train import train_run
from datamodules.errors import UserError
from tests.benchmark.runs.clusters import CLUSTERS, check_same_files

pytestmark = pytest.mark.timeout(600)  # each run starts a second process, which imports torch

ROOT = Path(__file__).parents[3]
TIMINGS = ("train_seconds", "evaluation_seconds", "processor_seconds", "samples_per_second", "peak_memory_mb", "commit")


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("data"))


def config(out: Path, data_dir: str, model: str = "base-model", variant: str = "paper") -> RunConfig:
    # 127 and the 32 samples of an epoch's last batch: shares of 64 and 63, of 16 and 16
    return RunConfig(
        "generated",
        "arxiv-v1",
        model,
        variant,
        0,
        steps=130,
        batch_size=127,
        data_dir=data_dir,
        out=str(out),
        device="cpu",
    )  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, data_dir: str) -> RunConfig:
    """A run on two processes that nothing disturbs."""
    made = config(tmp_path_factory.mktemp("whole"), data_dir, "dien", "official")
    made = replace(made, devices=2, checkpoint_seconds=0)
    train_run(made)
    return made


def others(config: RunConfig) -> list[int]:
    """The other processes of a run that live."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:  # it has ended in between
            continue
        if b"benchmark.runs.ddp_follower" in words and any(config.out.encode() in word for word in words):
            found.append(int(path.parent.name))
    return found


@dataclass(frozen=True)
class Job:
    """What has become of a process of its own."""

    one: RunConfig  # that it has trained alone
    paper: RunConfig  # that it has trained with another process
    broken: RunConfig  # that it was killed in, with another process
    exit_code: int
    left: list[int]  # processes of the broken run that lived on


PROGRAM = """
import json, os, signal, sys
from benchmark.runs.process import collect_seldom
collect_seldom()
from benchmark.runs.config import RunConfig
from benchmark.runs.train import train_run
one, paper, broken = (RunConfig(**json.loads(given)) for given in sys.argv[1:])
train_run(one)
train_run(paper)

def die(progress):
    if progress.step >= 120:
        os.kill(os.getpid(), signal.SIGKILL)

train_run(broken, die)
"""


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory, data_dir: str, whole: RunConfig) -> Job:
    """A process of its own, which by its variables is another of a cluster's; they are there before it imports."""
    out = tmp_path_factory.mktemp("job")
    one = replace(config(out / "one", data_dir), steps=40, logger="tensorboard")
    paper = replace(config(out / "paper", data_dir, "dien", "paper"), devices=2)
    broken = replace(whole, out=str(out / "broken"))
    words = [json.dumps(asdict(each)) for each in (one, paper, broken)]
    variables = os.environ | dict(ChainMap(*CLUSTERS.values()))
    ended = subprocess.run([sys.executable, "-c", PROGRAM, *words], cwd=ROOT, env=variables)
    return Job(one, paper, broken, ended.returncode, others(broken))


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["official", "paper"])
def test_two_processes_train_as_one(tmp_path: Path, data_dir: str, whole: RunConfig, job: Job, variant: str) -> None:
    one = config(tmp_path / "one", data_dir, "dien", variant)
    two = whole if variant == whole.variant else job.paper
    records = [train_run(each) for each in (one, two)]
    curves = [pd.read_csv(each.folder() / "metrics.csv") for each in (one, two)]
    predictions = [pd.read_parquet(each.folder() / "predictions.parquet") for each in (one, two)]
    assert list(curves[0].columns) == list(curves[1].columns)
    assert curves[0].step.tolist() == curves[1].step.tolist() == [20, 40, 60, 80, 100, 120, 130]
    for name in ("loss", "target_loss", "auxiliary_loss"):
        if name in curves[0]:
            assert curves[1][name].to_numpy() == pytest.approx(curves[0][name].to_numpy(), rel=1e-4)
    # No test sample is left out or repeated, and the scores are those of one process.
    for name in ("user", "label"):
        assert predictions[1][name].equals(predictions[0][name])
    assert predictions[1].score.to_numpy() == pytest.approx(predictions[0].score.to_numpy(), abs=1e-3)
    assert records[1]["auc"]["test"] == pytest.approx(records[0]["auc"]["test"], abs=2e-3)
    assert records[1]["logloss"] == pytest.approx(records[0]["logloss"], rel=1e-3)
    assert records[1]["device"] == f"{records[0]['device']}, 2 processes"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"devices": 0}, "at least 1, got 0"),
        ({"devices": 2, "model": "dien+auxiliary_mean=behaviours"}, "auxiliary_mean=behaviours"),
        ({"devices": 2, "model": "their-row"}, "of their-row is not known to be the mean"),
        ({"devices": 40}, "smallest batch has 32 samples, too few for 40"),
    ],
)
def test_what_cannot_be_shared_is_refused(
    tmp_path: Path, data_dir: str, monkeypatch: pytest.MonkeyPatch, changes: dict[str, object], message: str
) -> None:
    theirs = EntryPoint("their-row", "baselines.base_model:BaseModel", "dien_bench.models")
    monkeypatch.setattr("baselines.installed", lambda: {"their-row": theirs})
    with pytest.raises(UserError, match=message):
        train_run(replace(config(tmp_path, data_dir), **changes))  # type: ignore[arg-type]


@pytest.mark.slow
def test_a_run_takes_no_place_in_a_cluster_also_where_it_is_read_at_import(tmp_path: Path, job: Job) -> None:
    here = replace(job.one, out=str(tmp_path))
    train_run(here)
    check_same_files(here, job.one)


def test_gpus_come_in_groups() -> None:
    assert gpu_groups(["0", "1", "GPU-7f"], 1) == ["0", "1", "GPU-7f"]
    assert gpu_groups(["0", "1", "2", "3", "4"], 2) == ["0,1", "2,3"]
    assert gpu_groups([], 2) == []
    with pytest.raises(UserError, match="more GPUs than torch sees, 1"):
        gpu_groups(["0"], 2)


# A run that is interrupted: on both sides, at the first process and at another


def outcome(config: RunConfig) -> tuple[dict[str, Any], list[bytes]]:
    record = json.loads((config.folder() / "record.json").read_text())
    files = [(config.folder() / name).read_bytes() for name in ("metrics.csv", "predictions.parquet")]
    return {name: value for name, value in record.items() if name not in TIMINGS}, files


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="it finds processes in /proc")
def test_killed_it_goes_on_at_once_to_the_same_figures_and_leaves_no_process(whole: RunConfig, job: Job) -> None:
    """Killed at its first process, and where it has gone on from there at the other one."""
    broken, steps = job.broken, list[int]()
    assert job.exit_code == -signal.SIGKILL
    assert (broken.folder() / CHECKPOINT).exists()

    def kill(progress: Progress) -> None:
        steps.append(progress.step)
        if progress.step == 120:
            os.kill(others(broken)[0], signal.SIGKILL)

    def train(config: RunConfig, *told: Callable[..., None]) -> dict[str, Any]:
        return train_run(config, kill)

    kind, reason, _ = attempt(train, broken, lambda message: None)
    assert (kind, reason[:41]) == ("died", "process 1 of 0 to 1 was killed by SIGKILL")
    assert steps == [120]
    assert train_run(broken, lambda progress: steps.append(progress.step))["status"] == "finished"
    assert steps == [120, 120, 130]
    assert outcome(broken) == outcome(whole)
    assert not set(job.left) & set(others(broken))
    assert sorted(path.name for path in broken.folder().iterdir()) == sorted(
        path.name for path in whole.folder().iterdir()
    )


def test_a_process_whose_first_one_is_gone_does_not_wait_for_it(tmp_path: Path, data_dir: str) -> None:
    made = replace(config(tmp_path, data_dir), devices=2)
    here, there = Pipe()
    here.close()
    command = [sys.executable, "-m", "benchmark.runs.ddp_follower", json.dumps(asdict(made)), str(there.fileno())]
    group = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "9", "NODE_RANK": "0", "LOCAL_RANK": "1"}
    ended = subprocess.run(
        command, cwd=ROOT, env=os.environ | group, pass_fds=[there.fileno()], timeout=60, capture_output=True
    )
    assert (ended.returncode, ended.stderr) == (1, b"")  # no error of what it was about to do


def test_a_process_that_ends_before_it_is_ready_is_not_waited_for(
    tmp_path: Path, data_dir: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(ProcessDied, match="process 1 of 0 to 1 ended with exit code 1"):
        train_run(replace(config(tmp_path, data_dir), devices=2))
