"""SIGKILL in the middle of `leaderboard add` and `build`: the next command works, and the board has the same bytes.

DIEN_BENCH_KILLS=200 python -m pytest tests/benchmark/leaderboard/test_board_kills.py does it more often,
DIEN_BENCH_KILL_SEED at other moments.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmark.analysis.probes import measure
from benchmark.report.probe_tables import write_probes
from benchmark.runs.config import RunConfig
from benchmark.runs.ended import record_failure
from benchmark.runs.train import train_run
from datamodules.samples.file import prepare_samples

ROOT = Path(__file__).parents[3]
SEED = os.environ.get("DIEN_BENCH_KILL_SEED", "0")

# A process that forks one for every command, so that packages are imported once. A command is killed at its n-th change
# of a file below the board (Python tells of them in advance), or after some milliseconds.
PROGRAM = """
import contextlib, os, random, shutil, signal, sys, time, traceback
from pathlib import Path
import benchmark.leaderboard.build  # which the command imports when it runs
from benchmark.cli.leaderboard import build
from benchmark.leaderboard.store import add_runs, changing, verify
from benchmark.records.results import read_board, scores_of

runs, work, command, kills, seed = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]), int(sys.argv[5])
CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir")

def forked(act, board, kill_at=None, kill_after=None):
    changes = work / "changes"
    child = os.fork()
    if child == 0:
        seen = [0]
        def hook(event, arguments):
            path = str(arguments[0]) if arguments else ""
            opened = event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            if (event in CHANGES or opened) and path.startswith(str(board)):
                seen[0] += 1
                if seen[0] == kill_at:
                    os.kill(os.getpid(), signal.SIGKILL)
        sys.addaudithook(hook)
        try:
            with contextlib.redirect_stdout(sys.stderr):
                act(board)
            changes.write_text(str(seen[0]))
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(child, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return status, int(changes.read_text()) if status == 0 else 0

def content(board):
    return {str(path.relative_to(board)): path.read_bytes() if path.is_file() else None for path in board.rglob("*")}

def add(board):
    add_runs(runs, board)

def add_and_verify(board):
    add_runs(runs, board)
    assert verify(board) == (4, []), verify(board)

def make(board):
    build(board=board, quiet=True)

rng = random.Random(seed)
whole = work / "whole"
act, check = (add, add_and_verify) if command == "add" else (make, make)
if command == "build":
    assert forked(add, whole)[0] == 0
    shutil.copytree(whole, work / "killed")
began = time.monotonic()
status, changes = forked(act, whole)
took = time.monotonic() - began
assert status == 0 and changes > 5, (status, changes)
expected = content(whole)
assert not [name for name in expected if name.startswith(".")], sorted(expected)
moments = sorted(rng.sample(range(1, changes + 1), min(kills, changes)))
for turn, moment in enumerate(moments):
    board = work / "killed"
    if command == "add":
        shutil.rmtree(board, ignore_errors=True)
    if turn % 3:
        status, _ = forked(act, board, kill_at=moment)
        assert status == -signal.SIGKILL, (moment, status)
    else:
        forked(act, board, kill_after=rng.random() * took)
    if command == "build" and turn < len(moments) - 1:
        continue  # kill upon kill
    if command == "add":
        for record in read_board(board):
            assert record.status == "failed" or scores_of(record), moment
        if (board / "results").is_dir():  # some of it lies there: verify completes the rest
            assert forked(verify, board)[0] == 0, moment
            assert len(read_board(board)) == 5, moment
    status, _ = forked(check, board)
    assert status == 0, moment
    found = content(board)
    assert found.keys() == expected.keys(), (moment, found.keys() ^ expected.keys())
    assert [name for name in found if found[name] != expected[name]] == [], moment
print(f"{len(moments)} of {changes} moments")
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four short runs of `generated` and one that failed, with probes."""
    folder = tmp_path_factory.mktemp("runs")
    data, out = folder / "data", folder / "runs"

    def config(model: str, seed: int) -> RunConfig:
        more = {"batch_size": 64, "data_dir": str(data), "out": str(out)}
        return RunConfig("generated", "clean", model, "official", seed, 8, **more)  # type: ignore[arg-type]

    for model in ("base-model", "dien"):
        for seed in (0, 1):
            train_run(config(model, seed))
    record_failure(config("dien", 2), "the loss is nan at step 3", 3)
    write_probes(measure("generated", prepare_samples("generated", "clean", data)), out)
    return out


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("command", "kills"), [("add", 8), ("build", 3)])
def test_a_killed_command_leaves_a_board_that_the_next_one_completes(
    runs: Path, tmp_path: Path, command: str, kills: int
) -> None:
    kills = int(os.environ.get("DIEN_BENCH_KILLS", kills))
    words = [sys.executable, "-c", PROGRAM, str(runs), str(tmp_path), command, str(kills), SEED]
    done = subprocess.run(
        words, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, encoding="utf-8"
    )
    assert done.returncode == 0, done.stderr[-4000:]
    print(done.stdout)
