"""A run is the same wherever its process was started: on a cluster, from a notebook, in a container, in a checkout."""

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmark.records import commit
from benchmark.runs import memory
from benchmark.runs.config import RunConfig
from benchmark.runs.memory import PeakMemory
from benchmark.runs.process import CACHES, own_variables
from benchmark.runs.train import train_run
from datamodules.samples.file import prepare_samples
from tests.benchmark.runs.clusters import CLUSTERS, check_same_files

ROOT = Path(__file__).parents[3]
NOTEBOOK = "module://matplotlib_inline.backend_inline"  # what a notebook's shell has, and is not installed here
MEGABYTE = 2**20


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("data")
    prepare_samples("generated", "clean", folder)
    return str(folder)


def config(out: Path, data_dir: str, **changes: Any) -> RunConfig:
    base = RunConfig("generated", "clean", "base-model", "official", 0, steps=40, data_dir=data_dir, out=str(out))
    return replace(base, **changes)


def dien_bench(*words: str, of: dict[str, str], within: tuple[str, ...] = ()) -> "subprocess.CompletedProcess[str]":
    """Run the command line in a process of its own, with an environment of its own."""
    return subprocess.run(
        [*within, sys.executable, "-m", "benchmark", *words], cwd=ROOT, env=of, capture_output=True, encoding="utf-8"
    )


# Clusters


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory, data_dir: str) -> RunConfig:
    """A run outside a cluster."""
    made = config(tmp_path_factory.mktemp("here"), data_dir, logger="tensorboard")
    train_run(made)
    return made


@pytest.mark.parametrize("cluster", CLUSTERS)
def test_a_run_takes_no_place_in_a_cluster_from_its_environment(
    tmp_path: Path, here: RunConfig, monkeypatch: pytest.MonkeyPatch, cluster: str
) -> None:
    for name, value in CLUSTERS[cluster].items():
        monkeypatch.setenv(name, value)
    there = replace(here, out=str(tmp_path))
    train_run(there)
    check_same_files(here, there)


# Notebooks and containers


NOBODY = "12345"
# A user without a name, who can read everything and write to nothing of another's.
AS_NOBODY = (
    "setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--inh-caps=-all,+dac_read_search",
    "--ambient-caps=+dac_read_search", "--bounding-set=-all,+dac_read_search",
)  # fmt: skip


def can_be_nobody() -> bool:
    """Whether this process can become another user that reads the code and writes nothing: root alone, with setpriv."""
    probe = [*AS_NOBODY, sys.executable, "-c", "import os; assert not os.access('.', os.W_OK)"]
    here = not os.geteuid() and shutil.which("setpriv") is not None
    return here and subprocess.run(probe, cwd=ROOT, capture_output=True).returncode == 0


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("home", [None, "/"])
def test_every_command_runs_for_a_user_without_name_and_home_and_from_a_notebook(
    tmp_path: Path, home: str | None
) -> None:
    nobody = can_be_nobody()  # else for the user at hand
    place = Path("/tmp" if os.access("/tmp", os.W_OK) else tmp_path) / f"dien-bench-test-{os.getpid()}"
    place.mkdir()
    try:
        place.chmod(0o777)
        kept = {name: value for name, value in os.environ.items() if name in ("PATH", "OMP_NUM_THREADS")}
        environment = kept | {"TMPDIR": str(place), "MPLBACKEND": NOTEBOOK} | ({} if home is None else {"HOME": home})
        words = ("--datasets", "generated", "--model", "base-model", "--out", f"{place}/runs")
        sweep = ("run", *words, "--data-dir", f"{place}/data", "--seeds", "0", "--steps", "20", "--json")  # with W&B
        commands = [(*sweep, "--dry-run")] if home else [sweep, ("figure", "auc", *words)]
        done = [dien_bench(*command, of=environment, within=AS_NOBODY if nobody else ()) for command in commands]
        for command, ended in zip(commands, done, strict=True):
            assert ended.returncode == 0, f"{command}\n{ended.stdout}{ended.stderr}"
            assert "Traceback" not in ended.stderr
        if home:
            return
        assert list(place.rglob("offline-run-*"))
        assert list(place.glob("runs/*.svg"))
        (path,) = place.glob("runs/generated/**/record.json")
        assert json.loads(done[0].stdout)["records"] == [json.loads(path.read_text("utf-8"))]  # stdout is JSON alone
        assert "1 of 1 runs finished" in done[0].stderr
        assert "\x1b" not in done[0].stderr  # plain lines, where there is no terminal
        assert not nobody or list(place.glob(f"dien-bench-{NOBODY}/numba_cache_dir/*"))  # kept for the next command
    finally:
        shutil.rmtree(place)


@pytest.mark.slow
def test_a_program_of_ones_own_imports_the_models_where_nothing_can_be_cached() -> None:
    if not can_be_nobody():
        pytest.skip("becoming another user needs root and setpriv")
    program = "from baselines.layers import compiled; import baselines.dien; assert not compiled.SETTINGS['cache']"
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "MPLCONFIGDIR": "/nowhere"}
    command = [*AS_NOBODY, sys.executable, "-c", program]
    done = subprocess.run(command, cwd="/", env=environment, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr


def test_caches_of_a_user_stay_where_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert not {*CACHES, "HOME"} & own_variables().keys()
    monkeypatch.setenv("HOME", "/nonexistent")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setenv("NUMBA_CACHE_DIR", "mine")
    found = own_variables()
    assert found["NUMBA_CACHE_DIR"] == "mine"
    assert "HOME" not in found
    shared = Path(found["MPLCONFIGDIR"]).parent
    assert shared == tmp_path / f"dien-bench-{os.getuid()}"
    assert shared.stat().st_mode & 0o77 == 0
    shared.chmod(0o777)  # anybody may have put compiled code there
    assert Path(own_variables()["MPLCONFIGDIR"]).parent != shared
    shared.rmdir()
    shared.symlink_to(tmp_path)
    assert Path(own_variables()["MPLCONFIGDIR"]).parent != shared


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_sweep_that_is_terminated_cleans_up_and_says_how_to_continue(tmp_path: Path, data_dir: str) -> None:
    """As a scheduler does at the end of a job's time."""
    (tmp_path / "tmp").mkdir()
    words = ("--datasets", "generated", "--protocol", "clean", "--model", "base-model", "--seeds", "0")
    rest = ("--steps", "1000000", "--data-dir", data_dir, "--out", f"{tmp_path}/runs", "--no-wandb")
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmark", "run", *words, *rest, "--checkpoint-seconds", "0"],
        cwd=ROOT, env=os.environ | {"TMPDIR": f"{tmp_path}/tmp"}, stderr=subprocess.PIPE, encoding="utf-8",
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    while not list(tmp_path.rglob("checkpoint.pt")):
        assert process.poll() is None
        time.sleep(0.1)
    process.terminate()
    assert "interrupted: 0 of 1 runs finished" in process.communicate()[1]
    assert process.returncode == 130
    assert list((tmp_path / "tmp").iterdir()) == []


# Memory


def spend(megabytes: int) -> bytes:
    """Take memory and free it, but for a last block, which keeps the allocator from giving all of it back."""
    blocks = [b"x" * 100_000 for _ in range(megabytes * MEGABYTE // 100_000)]
    return blocks[-1]


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="it needs Linux's /proc")
@pytest.mark.parametrize("counted", [True, False])
def test_the_peak_is_that_of_the_run_alone(
    tmp_path: Path, data_dir: str, monkeypatch: pytest.MonkeyPatch, counted: bool
) -> None:
    if not counted:
        monkeypatch.setattr(memory, "CLEAR_REFS", tmp_path / "none" / "clear_refs")
    first = train_run(config(tmp_path / "first", data_dir))["peak_memory_mb"]
    kept = spend(600)
    second = train_run(config(tmp_path / "second", data_dir))["peak_memory_mb"]
    assert kept
    assert second == pytest.approx(first, abs=150)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="it needs Linux's /proc")
def test_the_peak_counts_what_was_freed_again() -> None:
    measured = PeakMemory()
    before = measured.megabytes
    spend(400)
    if measured.counted:
        assert 350 < measured.megabytes - before < 500


def test_without_proc_the_peak_is_that_of_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("STATUS", "CLEAR_REFS"):
        monkeypatch.setattr(memory, name, tmp_path / "none" / name)
    assert 50 < PeakMemory().megabytes < 100_000


# Commits


def git(folder: Path, *words: str) -> str:
    settings = ("-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "commit.gpgsign=false")
    return subprocess.run(
        ["git", "-C", str(folder), *settings, *words], check=True, capture_output=True, encoding="utf-8"
    ).stdout.strip()


@pytest.mark.parametrize("place", [".", "vendored", ".venv/lib/site-packages"])
@pytest.mark.parametrize("tracked", [True, False])
def test_only_the_commit_of_this_checkout_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, tracked: bool
) -> None:
    code = tmp_path / place / "benchmark" / "records" / "commit.py"
    code.parent.mkdir(parents=True)
    code.write_text("one", "utf-8")
    git(tmp_path, "init", "-q")
    if tracked:
        git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "of somebody")
    monkeypatch.setattr(commit, "__file__", str(code))
    own = place == "." and tracked
    assert commit.commit() == (git(tmp_path, "rev-parse", "HEAD") if own else None)
    code.write_text("two", "utf-8")
    assert str(commit.commit()).endswith("-dirty") == own


def test_no_commit_without_a_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commit, "__file__", str(tmp_path / "benchmark" / "records" / "commit.py"))
    monkeypatch.setenv("GIT_DIR", str(ROOT / ".git"))  # as inside a hook
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    assert commit.commit() is None
