"""Runs as jobs: submitit's own executor for one machine stands in for Slurm."""

import json
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmark.executors import hire_from
from benchmark.executors.sweep import SweepResult, sweep
from datamodules.errors import UserError

pytest.importorskip("submitit", reason="the extra 'cluster' is not installed")
pytestmark = [
    pytest.mark.timeout(600),
    # submitit leaves the processes of its jobs to themselves
    pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@dataclass(frozen=True)
class Config:
    """Stands in for RunConfig; `model` says what the run does."""

    model: str
    seed: int
    out: str
    dataset: str = "generated"
    steps: int | None = None
    data_dir: str = "data"

    @property
    def name(self) -> str:
        return f"{self.dataset}/clean/{self.model}-official/seed-{self.seed}"

    def folder(self) -> Path:
        return Path(self.out) / self.name


@dataclass(frozen=True)
class Step:
    """Stands in for Progress."""

    step: int
    steps: int
    loss: float
    auc: float | None


def train(config, on_progress, say):
    """Do what the model is called."""
    on_progress(Step(1, 2, 0.7, None))
    folder = config.folder()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "began").write_text(str(os.getpid()))
    match config.model:
        case "raise":
            raise ValueError("the loss is\nnan")
        case "exit":
            print("last words", flush=True)
            os._exit(3)
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "preempted" if not (folder / "requeued").exists():
            (folder / "requeued").touch()
            os.kill(os.getpid(), signal.SIGUSR2)  # what Slurm sends before it takes the machine away
            time.sleep(60)
        case "wait":
            time.sleep(60)
    return {"seed": config.seed, "process": os.getpid(), "threads": os.environ["OMP_NUM_THREADS"]}


def nothing_finished(config):
    return None


def run_all(*configs, workers=2, options="cluster=local") -> SweepResult:
    hire = hire_from("slurm", workers, "cpu", Path(configs[0].out), options)
    return sweep(configs, hire=hire, train=train, finished=nothing_finished, quiet=True)


def test_every_run_is_a_job_and_a_bad_one_fails_alone(tmp_path):
    good = [Config("din", seed, str(tmp_path)) for seed in range(3)]
    bad = [Config(model, 0, str(tmp_path)) for model in ("raise", "exit", "kill")]
    result = run_all(*bad, *good, workers=3)
    assert [record["seed"] for record in result.records] == [0, 1, 2]
    assert len({record["process"] for record in result.records}) == 3
    assert {record["threads"] for record in result.records} == {"1"}
    assert result.failed[bad[0].name] == "ValueError: the loss is nan"
    assert "Traceback" in (bad[0].folder() / "error.txt").read_text()
    for config in bad[1:]:
        details = (config.folder() / "error.txt").read_text()
        assert "left no result: it was lost, killed or cancelled" in result.failed[config.name]
        assert result.failed[config.name] in details
        assert ("last words" in details) == (config.model == "exit")
    assert json.loads(next((tmp_path / "slurm").glob("*progress.json")).read_text())["step"] == 1


def test_a_preempted_job_is_queued_again(tmp_path):
    config = Config("preempted", 0, str(tmp_path))
    result = run_all(config)
    assert (result.failed, [record["seed"] for record in result.records]) == ({}, [0])


@pytest.fixture
def interruptible():
    """Ctrl-C reaches child processes, also where the tests run in a shell's background, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_an_interrupt_cancels_the_jobs(tmp_path, monkeypatch, interruptible):
    config = Config("wait", 0, str(tmp_path))
    began = config.folder() / "began"

    def interrupt(seconds):
        if began.exists() and began.read_text():
            raise KeyboardInterrupt
        time.sleep(0.05)

    monkeypatch.setattr("benchmark.executors.slurm.SlurmCrew.wait", lambda crew, seconds: interrupt(seconds))
    with pytest.raises(KeyboardInterrupt):
        run_all(config)
    process, deadline = Path(f"/proc/{began.read_text()}"), time.monotonic() + 15
    while process.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not process.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [("cluster=local partitoin=gpu", "partitoin"), ("cluster=local time=long", "long"), ("", "sbatch")],
)
def test_mistakes(tmp_path, monkeypatch, options, message):
    monkeypatch.setenv("PATH", str(tmp_path))  # no Slurm there
    with pytest.raises(UserError, match=message):
        run_all(Config("din", 0, str(tmp_path)), options=options)
    with pytest.raises(UserError, match="1 or more, got 0"):
        run_all(Config("din", 0, str(tmp_path)), workers=0)
