"""SIGKILL at random moments, again and again: the sweep that ends at last has the files of an undisturbed one.

`DIEN_BENCH_KILLS=300 python -m pytest tests/benchmark/executors/test_kills.py` does it for longer, DIEN_BENCH_KILL_SEED
with other moments.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from benchmark.cli.app import app
from benchmark.runs.config import RunConfig
from benchmark.runs.train import train_run

ROOT = Path(__file__).parents[3]
KILLS = int(os.environ.get("DIEN_BENCH_KILLS", "2"))
SEED = int(os.environ.get("DIEN_BENCH_KILL_SEED", "0"))
TIMINGS = ("train_seconds", "evaluation_seconds", "processor_seconds", "samples_per_second", "peak_memory_mb", "commit")


def words(folder: Path, workers: int = 2) -> list[str]:
    options = (
        f"run --datasets generated --table 4 --steps 230 --workers {workers} --no-wandb --checkpoint-seconds 0 "
        f"--out {folder}/runs --data-dir {folder}/data"
    )
    return [*options.split(), "--models", "base-model din", "--seeds", "0"]


def start(folder: Path, workers: int = 2) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "benchmark", *words(folder, workers)]
    with (folder / "output.txt").open("ab") as output:
        return subprocess.Popen(
            command, cwd=ROOT, stdout=output, stderr=output, env=os.environ | {"OMP_NUM_THREADS": "1"}
        )


def finish(folder: Path) -> None:
    with start(folder, workers=1) as process:
        assert process.wait() == 0, (folder / "output.txt").read_text()[-4000:]


def children(pid: int) -> list[int]:
    """The workers of a sweep: processes that it has started and that import modules by themselves."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
            if parent == pid and b"spawn_main" in (path.parent / "cmdline").read_bytes():
                found.append(int(path.parent.name))
        except OSError:  # it has ended in between
            continue
    return sorted(found)


def disturb(folder: Path, rng: random.Random, span: float) -> None:
    """Start the sweep and kill it within `span` seconds: the command itself, or a worker first and then the command."""
    with start(folder) as process:
        time.sleep(rng.uniform(0, span))
        workers = children(process.pid)
        if workers and rng.random() < 0.5:
            os.kill(rng.choice(workers), signal.SIGKILL)
            time.sleep(rng.uniform(0, span / 2))
        process.kill()
        assert process.wait() in (-signal.SIGKILL, 0), (folder / "output.txt").read_text()[-4000:]


def files(folder: Path) -> dict[str, Any]:
    """All that must be the same: tables, curves and predictions byte for byte, records but for their timings."""
    runs = folder / "runs"
    names = ("table4.md", "table4.csv", "metrics.csv", "predictions.parquet")
    found: dict[str, Any] = {
        str(path.relative_to(runs)): path.read_bytes() for path in runs.rglob("*") if path.name in names
    }
    for path in runs.rglob("record.json"):
        record = json.loads(path.read_text())
        found[str(path.relative_to(runs))] = {name: record[name] for name in record if name not in TIMINGS}
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The files of a sweep that nothing disturbs."""
    folder = tmp_path_factory.mktemp("whole")
    for model in ("base-model", "din"):
        places = {"out": f"{folder}/runs", "data_dir": f"{folder}/data"}
        train_run(RunConfig("generated", "arxiv-v1", model, "official", 0, steps=230, **places))
    assert not app(words(folder), standalone_mode=False)  # the table of runs that are there
    return files(folder)


@pytest.fixture(scope="module")
def at_once(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """Two commands at once, and the seconds that one alone takes, about."""
    folder, began = tmp_path_factory.mktemp("at-once"), time.monotonic()
    with start(folder, workers=1) as first, start(folder, workers=1) as second:
        assert (first.wait(), second.wait()) == (0, 0), (folder / "output.txt").read_text()[-4000:]
    return folder, 0.6 * (time.monotonic() - began)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="it finds workers in /proc")
@pytest.mark.timeout(300 + 60 * KILLS)
def test_a_sweep_that_is_killed_again_and_again_ends_as_one_that_is_not(
    tmp_path: Path, whole: dict[str, Any], at_once: tuple[Path, float]
) -> None:
    rng, span, resumed = random.Random(SEED), at_once[1], 0
    for _ in range(KILLS):
        disturb(tmp_path, rng, span)
        resumed += len(list(tmp_path.rglob("checkpoint.pt")))
        if len(list(tmp_path.rglob("record.json"))) == 2:  # nothing is left to disturb: a run goes again
            for path in list(tmp_path.rglob("din-official/seed-0/*")):
                path.unlink()
    finish(tmp_path)
    print(f"{KILLS} kills within {span:.0f} s each, {resumed} times a checkpoint was there")
    assert files(tmp_path) == whole
    assert not list(tmp_path.rglob("checkpoint.pt"))
    assert not list(tmp_path.rglob("*.tmp"))


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_two_commands_at_once_share_the_data_and_the_runs(whole: dict[str, Any], at_once: tuple[Path, float]) -> None:
    folder = at_once[0]
    assert (folder / "output.txt").read_text().count("generated: reading Generated") == 1
    assert files(folder) == whole
    assert not list(folder.rglob("*.lease"))
