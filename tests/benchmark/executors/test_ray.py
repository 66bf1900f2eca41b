"""A sweep on a Ray cluster of two nodes, which this machine plays; one of them is killed on the way."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from benchmark.cli.app import app
from benchmark.executors import ray_executor
from benchmark.executors.sweep import sweep
from datamodules.errors import UserError

pytest.importorskip("ray", reason="the extra 'cluster' is not installed")

from ray.cluster_utils import Cluster

# A cluster is many processes that start, and a loaded machine takes its time.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
ROOT = Path(__file__).parents[3]
ARGUMENTS = ("--datasets", "generated", "--models", "base-model", "--steps", "60", "--no-wandb", "--table", "4")
RUNS = 4
SEEDS = " ".join(map(str, range(RUNS)))


@dataclass(frozen=True)
class Config:
    """Stands in for RunConfig."""

    out: str
    dataset: str = "generated"
    steps: int | None = None
    data_dir: str = "data"
    name: str = "generated/clean/din-official/seed-0"

    def folder(self) -> Path:
        return Path(self.out) / self.name


def crash(config: Config, on_progress: Any, say: Any) -> dict[str, Any]:
    """Take the process along, and leave a trace where the node's data lie."""
    with (Path(config.data_dir).parent.parent / "crashes").open("a") as file:
        file.write("crash\n")
    os._exit(1)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cluster")


@pytest.fixture(scope="module")
def nodes(place: Path) -> Iterator[tuple[Cluster, Any]]:
    """A cluster of a head and another node with a CPU each, with folders of their own for data and temporary files."""

    def node(number: int) -> dict[str, Any]:
        folder = place / f"node-{number}"
        (folder / "tmp").mkdir(parents=True)
        return {"num_cpus": 1, "env_vars": {"DIEN_BENCH_DATA": str(folder / "data"), "TMPDIR": str(folder / "tmp")}}

    cluster = Cluster(initialize_head=True, head_node_args={"include_dashboard": False, **node(0)})
    try:
        other = cluster.add_node(wait=False, **node(1))
        cluster.wait_for_nodes()
        yield cluster, other
    finally:
        cluster.shutdown()


def command(out: Path, *arguments: str) -> list[str]:
    where = ("--out", str(out), "--data-dir", str(out.parent / "data"))
    return [sys.executable, "-m", "benchmark", "run", *ARGUMENTS, *where, *arguments]


def test_a_run_that_takes_its_process_along_is_given_out_three_times(
    nodes: tuple[Cluster, Any], place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", nodes[0].address)
    config: Any = Config(str(tmp_path))
    start = ray_executor(None, "cpu")
    result = sweep([config], start=start, train=crash, finished=lambda config: None, quiet=True)
    assert list(result.failed) == [config.name]
    assert "attempt 3 of 3" in result.failed[config.name]
    assert "attempt 3 of 3" in (config.folder() / "error.txt").read_text()
    assert (place / "crashes").read_text().count("crash") == 3


@pytest.mark.usefixtures("trains_here")
def test_a_sweep_survives_the_loss_of_a_node(nodes: tuple[Cluster, Any], place: Path, tmp_path: Path) -> None:
    cluster, other = nodes
    begun = (place / "node-1" / "tmp").glob
    before = set(begun("dien-bench-*"))  # of runs that took their process along
    environment = {**os.environ, "RAY_ADDRESS": cluster.address}
    process = subprocess.Popen(
        command(tmp_path / "ray", "--seeds", SEEDS, "--executor", "ray"),
        env=environment,
        cwd=ROOT,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    while not set(begun("dien-bench-*")) - before:  # the node has just begun a run
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    cluster.remove_node(other, allow_graceful=False)
    output, errors = process.communicate()
    assert process.returncode == 0, errors
    assert len(re.findall("lost with its node .* attempt 1 of 3; given out again", errors)) == 1, errors
    assert f"{RUNS} of {RUNS} runs finished" in errors
    assert "raylet" not in output

    local = command(tmp_path / "local", "--seeds", SEEDS, "--workers", "1", "--quiet")
    assert not app(local[3:], standalone_mode=False)
    for name in ("table4.md", "table4.csv"):
        assert (tmp_path / "ray" / name).read_bytes() == (tmp_path / "local" / name).read_bytes()
    files = {folder: {path.relative_to(folder) for path in folder.rglob("*")} for folder in tmp_path.glob("[rl]*")}
    assert files[tmp_path / "ray"] == files[tmp_path / "local"]
    for path in tmp_path.glob("local/**/seed-*/*"):
        if path.name in ("metrics.csv", "predictions.parquet"):
            assert (tmp_path / "ray" / path.relative_to(tmp_path / "local")).read_bytes() == path.read_bytes()
    config = next(tmp_path.glob("ray/**/config.json")).read_text()
    assert f'"out": "{tmp_path / "ray"}"' in config

    # The head has made its data, once; the lost node may have been about to.
    logs = "".join(path.read_text() for path in Path(cluster.head_node.get_logs_dir_path()).glob("worker-*.out"))
    assert (place / "node-0" / "data" / "generated").is_dir()
    assert logs.count("generated: reading") in (1, 2)


def test_no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "nowhere")
    with pytest.raises(UserError, match=r"found no Ray cluster at RAY_ADDRESS=nowhere .*'ray start --head'"):
        ray_executor(None, "cpu")(crash, 1)
