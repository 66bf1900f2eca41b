"""Runs on a server that stands in for W&B's: what it gets, and what becomes of a run where it goes away."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pytorch_lightning.loggers import Logger

from benchmark.runs.config import RunConfig
from benchmark.runs.train import train_run
from benchmark.tracking import wandb_runs
from benchmark.tracking.loggers import failure_told, open_loggers
from tests.benchmark.tracking.stand_in import KEY, Fault, StandIn, serve
from tests.benchmark.tracking.wandb_log import history, offline_runs, wandb_records

# Threads of W&B end so where its server or its own process goes away.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
ROOT = Path(__file__).parents[3]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    """A server, and a login at it."""
    with serve() as listening:
        monkeypatch.setenv("WANDB_BASE_URL", listening.url)
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        yield listening


def config(out: Path, seed: int = 0, **changes: Any) -> RunConfig:
    return RunConfig(
        "generated",
        "clean",
        "din",
        "official",
        seed,
        steps=40,
        out=str(out),
        data_dir=str(out / "data"),
        logger="wandb",
    )


def opened(wanted: RunConfig, say: Callable[[str], None], resumed_at: int = 0) -> Logger:
    wanted.folder().mkdir(parents=True, exist_ok=True)
    return open_loggers(wanted.tracked({"steps": 80}), resumed_at, say)[1]


def fail() -> None:
    """End the run that is open, as failed."""
    with pytest.raises(ZeroDivisionError), failure_told():
        raise ZeroDivisionError


def test_an_online_run_is_said_with_its_address(tmp_path: Path, server: StandIn) -> None:
    said: list[str] = []
    train_run(config(tmp_path), say=said.append)
    ((run, lines),) = server.curves.items()
    assert said == [f"{config(tmp_path).name}: {server.url}/me/dien-bench/runs/{run}"]
    assert [line["trainer/global_step"] for line in lines] == [20, 40]
    assert (server.exit_codes, sorted(server.artifacts)) == ({run: 0}, ["model", "record"])
    opened(config(tmp_path, seed=1), said.append)
    fail()
    assert sorted(server.exit_codes.values()) == [0, 1]


def test_a_resumed_run_goes_on_in_the_same_wandb_run_also_when_synced(tmp_path: Path, server: StandIn) -> None:
    wanted = config(tmp_path)
    os.environ["WANDB_MODE"] = "offline"  # the fixture puts it back
    for steps, resumed_at in (((20, 40), 0), ((60, 80), 40)):
        logger = opened(wanted, print, resumed_at)
        for step in steps:
            logger.log_metrics({"loss": 1 / step}, step)
        fail()
    first, second = offline_runs(tmp_path)
    assert first.name == second.name  # a folder a process, one id
    command = [sys.executable, "-m", "wandb", "sync", *(str(log.parent) for log in (first, second))]
    environment = {name: value for name, value in os.environ.items() if name not in ("WANDB_MODE", "WANDB_SILENT")}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, encoding="utf-8", stdin=subprocess.DEVNULL
    )
    assert done.stderr.count("Finished syncing") == 2, done.stderr
    ((run, lines),) = server.curves.items()
    assert [(line["trainer/global_step"], line["loss"]) for line in lines] == [(s, 1 / s) for s in (20, 40, 60, 80)]
    assert run == first.stem.removeprefix("run-")


@pytest.mark.parametrize("fault", ["hangs", "500", "401", "cut"])
def test_a_run_that_cannot_be_opened_online_is_offline(
    fault: Fault, tmp_path: Path, server: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "online")  # so that the server is not asked before
    monkeypatch.setattr(wandb_runs, "OPEN_SECONDS", 2.0)
    server.fault = fault
    said: list[str] = []
    for seed in (0, 1):
        opened(config(tmp_path, seed), said.append).log_metrics({"loss": float(seed)}, 20)
        fail()
    (line,) = said  # and nothing of the second run, which does not try
    assert line.startswith("W&B: ")
    assert line.endswith("; runs are kept offline")
    assert sorted(history(wandb_records(log))[0]["loss"] for log in offline_runs(tmp_path)) == [0.0, 1.0]


@pytest.mark.parametrize("fault", ["hangs", "500", "cut"])
def test_a_server_that_goes_away_delays_the_end_for_a_short_time(
    fault: Fault, tmp_path: Path, server: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wandb_runs, "CLOSE_SECONDS", 2.0)
    said: list[str] = []

    def say(text: str) -> None:
        said.append(text)
        server.fault = fault  # from the moment on that the run is open

    record = train_run(config(tmp_path), say=say)
    assert record["status"] == "finished"
    address, end = said
    assert address.startswith(config(tmp_path).name)
    assert end.startswith(f"{config(tmp_path).name}: wandb: ")
    assert end.endswith("; metrics.csv has all curves")
    if fault == "hangs":
        started = time.monotonic()
        opened(config(tmp_path, seed=1), say)  # offline from now on
        assert time.monotonic() - started < 20
        fail()
        assert len(said) == 2
        assert f"wandb sync {tmp_path}/wandb/run-" in end
        assert len(offline_runs(tmp_path)) == 1


def test_the_death_of_wandbs_own_process_ends_no_run(tmp_path: Path) -> None:
    said: list[str] = []
    logger = opened(config(tmp_path), said.append)
    for child in children(os.getpid()):
        if "wandb-core" in child.read_text("utf-8"):
            os.kill(int(child.parent.name), signal.SIGKILL)
    for step in range(20, 400, 20):
        logger.log_metrics({"loss": 1.0}, step)
        time.sleep(0.02)
    fail()
    assert len(said) == 1
    assert said[0].endswith("; metrics.csv has all curves")
    opened(config(tmp_path / "next"), said.append).log_metrics({"loss": 2.0}, 20)  # with a new process
    fail()
    assert len(said) == 1
    (log,) = offline_runs(tmp_path / "next")
    assert [row["loss"] for row in history(wandb_records(log))] == [2.0]


def children(process: int) -> list[Path]:
    """The names of the processes that a process has started (`comm` files of /proc)."""
    found = Path(f"/proc/{process}/task").glob("*/children")
    return [Path(f"/proc/{child}/comm") for path in found for child in path.read_text("utf-8").split()]


@pytest.mark.slow
@pytest.mark.timeout(300)  # processes that start processes, each of which imports torch
def test_a_sweep_without_its_server_is_offline_and_says_how_to_look(tmp_path: Path, server: StandIn) -> None:
    server.fault = "hangs"
    out = tmp_path / "my runs"
    arguments = ["run", "--datasets", "generated", "--models", "base-model din", "--seeds", "0", "--steps", "4"]
    arguments += ["--workers", "1", "--table", "4", "--out", str(out), "--data-dir", str(tmp_path / "data")]
    command = [sys.executable, "-m", "benchmark", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8")
    shown = done.stdout + done.stderr
    assert done.returncode == 0, shown
    assert shown.count("runs are kept offline") == 1
    assert server.asked.count("POST /graphql") == 1
    assert len(offline_runs(out)) == 3  # two runs and the table
    last = done.stdout.splitlines()[-1].removeprefix("next: ")
    assert last.startswith(f"wandb leet '{out}/wandb'  # ")
    log = next(path for path in offline_runs(out) if "table4" not in path.name)
    look = ["-m", "wandb", "leet", "inspect", "--summary", "--json", str(log)]
    looked = subprocess.run([sys.executable, *look], capture_output=True, encoding="utf-8", check=True)
    assert "auc_test" in looked.stdout
