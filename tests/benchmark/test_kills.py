"""SIGKILL at random moments, again and again: the sweep that ends at last has the files of an undisturbed one.

DIEN_BENCH_KILLS=300 python -m pytest tests/benchmark/test_kills.py does it for longer, DIEN_BENCH_KILL_SEED otherwise.
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

ROOT = Path(__file__).parents[2]
KILLS = int(os.environ.get("DIEN_BENCH_KILLS", "6"))
SEED = int(os.environ.get("DIEN_BENCH_KILL_SEED", "0"))
TIMINGS = ("train_seconds", "evaluation_seconds", "samples_per_second", "peak_memory_mb", "commit")


def start(folder: Path) -> "subprocess.Popen[bytes]":
    options = (
        f"--datasets generated --table 4 --steps 230 --workers 2 --no-wandb --checkpoint-seconds 0 "
        f"--out {folder}/runs --data-dir {folder}/data"
    )
    command = [
        sys.executable,
        "-m",
        "benchmark",
        "run",
        *options.split(),
        "--models",
        "base-model din",
        "--seeds",
        "0 1",
    ]
    with (folder / "output.txt").open("ab") as output:
        return subprocess.Popen(
            command, cwd=ROOT, stdout=output, stderr=output, env=os.environ | {"OMP_NUM_THREADS": "1"}
        )


def finish(folder: Path) -> None:
    with start(folder) as process:
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


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="it finds workers in /proc")
@pytest.mark.timeout(300 + 60 * KILLS)
def test_a_sweep_that_is_killed_again_and_again_ends_as_one_that_is_not(tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    whole.mkdir()
    broken.mkdir()
    began = time.monotonic()
    finish(whole)
    span = time.monotonic() - began
    rng = random.Random(SEED)
    resumed = 0
    for _ in range(KILLS):
        disturb(broken, rng, span)
        resumed += len(list(broken.rglob("checkpoint.pt")))
        if len(list(broken.rglob("record.json"))) == 4:  # nothing is left to disturb: the data and three runs go again
            for path in broken.rglob("seed-[01]"):
                if path.name == "seed-0" or "din" in str(path):
                    for file in path.iterdir():
                        file.unlink()
    finish(broken)
    print(f"{KILLS} kills within {span:.0f} s each, {resumed} times a checkpoint was there")
    assert files(broken) == files(whole)
    assert not list(broken.rglob("checkpoint.pt"))
    assert not list(broken.rglob("*.tmp"))
