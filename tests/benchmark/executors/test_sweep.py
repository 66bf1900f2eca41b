"""A sweep with fake training: what it runs, what it skips, and what it survives."""

import errno
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console
from rich.text import Text

from benchmark.executors import processes
from benchmark.executors import sweep as sweep_module
from benchmark.executors.progress import Display
from benchmark.executors.sweep import SweepResult, sweep
from datamodules.errors import UserError
from datamodules.files.lock import Busy

ROOT = Path(__file__).parents[3]


@dataclass(frozen=True)
class Config:
    """Stands in for RunConfig; `model` says what the fake run does."""

    model: str
    seed: int
    out: str
    dataset: str = "generated"
    steps: int | None = None

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


ENVIRONMENT = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "MALLOC_TRIM_THRESHOLD_", "MPLBACKEND")


def train(config, on_progress, say):
    """Do what the model is called, and leave a record."""
    print("a library's chatter")
    on_progress(Step(1, 2, 0.7, None))
    match config.model:
        case "raise":
            raise ValueError("the loss is\nnan")
        case "user-error":
            raise UserError("no data set here; run prepare")
        case "exit":
            print("last words", flush=True)
            os._exit(3)
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "kill-once":
            if not (Path(config.out) / "died").exists():
                (Path(config.out) / "died").touch()
                os.kill(os.getpid(), signal.SIGKILL)
        case "busy-once":
            if not (Path(config.out) / "was busy").exists():
                (Path(config.out) / "was busy").touch()
                raise Busy("process 7 on elsewhere (lock x)")
        case "failed-elsewhere":
            return {"status": "failed", "reason": "of the other command"}
        case "full":
            raise UserError("cannot write x") from OSError(errno.ENOSPC, "No space left on device")
        case "wait":
            config.folder().mkdir(parents=True)
            (config.folder() / "began").write_text(str(os.getpid()))
            time.sleep(60)
        case "deaf":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            os.kill(os.getppid(), signal.SIGINT)
            time.sleep(60)
    on_progress(Step(2, 2, 0.6, 0.81))
    environment = [os.environ.get(name) for name in ENVIRONMENT]
    return {
        "seed": config.seed,
        "auc": {"test": 0.8125},
        "selection": "test",
        "process": os.getpid(),
        "environment": environment,
        "gpu": os.environ.get("CUDA_VISIBLE_DEVICES"),
        "torch": "torch" in sys.modules,
        "at": time.monotonic(),
    }


@pytest.fixture(autouse=True)
def heeds_interrupts():
    """A shell starts background jobs deaf to SIGINT, and children inherit it: these tests want to be heard."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def nothing_finished(config):
    return None


def run_all(*configs, workers=1, finished=nothing_finished, quiet=True, note_failure=None) -> SweepResult:
    return sweep(configs, workers=workers, train=train, finished=finished, note_failure=note_failure, quiet=quiet)


def test_one_worker_trains_all_runs_in_their_order(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.setenv("MPLBACKEND", "module://of.a.notebook")
    for name in ("MKL_NUM_THREADS", "MALLOC_TRIM_THRESHOLD_"):
        monkeypatch.delenv(name, raising=False)
    result = sweep(
        [Config("din", seed, str(tmp_path)) for seed in (2, 0, 1)],
        workers=1,
        train=train,
        finished=nothing_finished,
        quiet=True,
    )
    assert [record["seed"] for record in result.records] == [2, 0, 1]
    assert sorted(result.records, key=lambda record: record["at"]) == result.records
    assert len({record["process"] for record in result.records}) == 1
    assert result.records[0]["process"] != os.getpid()
    assert (result.failed, result.skipped) == ({}, 0)
    # The environment is the worker's alone, and only what is trained imports torch.
    assert result.records[0]["environment"] == ["1", "1", str(2**32), "agg"]
    assert [os.environ.get(name) for name in ENVIRONMENT] == ["7", None, None, "module://of.a.notebook"]
    assert not result.records[0]["torch"]


def test_two_workers_take_turns(tmp_path):
    result = run_all(*(Config("din", seed, str(tmp_path)) for seed in range(6)), workers=2)
    assert [record["seed"] for record in result.records] == list(range(6))
    assert len({record["process"] for record in result.records}) <= 2


def test_finished_runs_are_kept_and_no_process_is_started_for_them(tmp_path, monkeypatch):
    configs = [Config("din", seed, str(tmp_path)) for seed in range(3)]
    result = run_all(*configs, finished=lambda config: {"seed": config.seed} if config.seed != 1 else None)
    assert [record["seed"] for record in result.records] == [0, 1, 2]
    assert result.skipped == 2
    assert ["process" in record for record in result.records] == [False, True, False]

    monkeypatch.setattr(processes, "_Worker", None)
    assert run_all(*configs, finished=lambda config: {"seed": config.seed}).skipped == 3


def test_an_exception_fails_its_run_alone(tmp_path):
    bad, mistaken, good = (Config(model, 0, str(tmp_path)) for model in ("raise", "user-error", "din"))
    result = run_all(bad, mistaken, good)
    assert result.failed == {
        bad.name: "ValueError: the loss is nan",
        mistaken.name: "no data set here; run prepare",
    }
    assert [record["seed"] for record in result.records] == [0]
    assert "Traceback" in (bad.folder() / "error.txt").read_text()
    assert 'raise ValueError("the loss is' in (bad.folder() / "error.txt").read_text()
    assert not good.folder().exists()


@pytest.mark.parametrize(("model", "reason"), [("exit", "exit code 3"), ("kill", "SIGKILL, most often because")])
def test_a_dead_worker_fails_its_run_alone_and_is_replaced(tmp_path, model, reason):
    configs = [
        Config("din", 0, str(tmp_path)),
        Config(model, 0, str(tmp_path)),
        Config("din", 1, str(tmp_path)),
    ]
    noted = []
    result = run_all(*configs, note_failure=lambda *failure: noted.append(failure))
    assert [record["seed"] for record in result.records] == [0, 1]
    assert len({record["process"] for record in result.records}) == 2
    assert noted == [(configs[1], result.failed[configs[1].name], 1)]
    assert list(result.failed) == [configs[1].name]
    assert reason in result.failed[configs[1].name]
    details = (configs[1].folder() / "error.txt").read_text()
    assert reason in details
    assert ("last words" in details) == (model == "exit")


def test_a_killed_worker_gets_its_run_once_more(tmp_path, capfd):
    config, noted = Config("kill-once", 0, str(tmp_path)), []
    result = run_all(config, quiet=False, note_failure=lambda *failure: noted.append(failure))
    assert [record["seed"] for record in result.records] == [0]
    assert (result.failed, noted) == ({}, [])
    assert "it continues once more from its last checkpoint" in capfd.readouterr().err


def test_only_what_lies_in_the_run_is_noted(tmp_path):
    configs, noted = [Config(model, 0, str(tmp_path)) for model in ("user-error", "raise")], []
    result = run_all(*configs, note_failure=lambda *failure: noted.append(failure))
    assert len(result.failed) == 2
    assert noted == [(configs[1], "ValueError: the loss is nan", 1)]


def test_a_run_of_another_command_comes_last(tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(sweep_module, "BUSY", 0.1)
    elsewhere, mine = Config("busy-once", 0, str(tmp_path)), Config("din", 1, str(tmp_path))
    result = run_all(elsewhere, mine, quiet=False)
    assert [record["seed"] for record in result.records] == [0, 1]
    assert result.records[1]["at"] < result.records[0]["at"]
    error = capfd.readouterr().err
    assert error.count("is being run by process 7 on elsewhere (lock x); its turn comes again") == 1
    assert error.splitlines()[-1] == "2 of 2 runs finished"


def test_what_has_failed_is_not_run_again(tmp_path):
    here, there = Config("din", 0, str(tmp_path)), Config("failed-elsewhere", 0, str(tmp_path))
    record = {"status": "failed", "reason": "the loss is nan"}
    result = run_all(here, there, finished=lambda config: record if config == here else None)
    assert result.records == []
    assert result.failed == {
        here.name: "the loss is nan (earlier; --retry-failed runs it again)",
        there.name: "of the other command (earlier; --retry-failed runs it again)",
    }


def test_a_full_disk_ends_the_sweep(tmp_path):
    configs = [Config(model, 0, str(tmp_path)) for model in ("din", "full", "kill")]
    with pytest.raises(UserError, match=r"cannot write x. 1 of 3 runs finished.*the same command again continues"):
        run_all(*configs)
    assert not configs[2].folder().exists()


def test_a_later_success_takes_the_old_error_away(tmp_path):
    config = Config("din", 0, str(tmp_path))
    config.folder().mkdir(parents=True)
    (config.folder() / "error.txt").write_text("of yesterday")
    assert len(run_all(config).records) == 1
    assert not (config.folder() / "error.txt").exists()


def test_what_cannot_be_run_is_said_before_anything_runs(tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "_Worker", None)
    config = Config("din", 0, str(tmp_path))
    with pytest.raises(UserError, match=r"given more than once: generated/clean/din-official/seed-0;"):
        run_all(config, config)
    with pytest.raises(ValueError, match="workers must be 1 or more, got 0"):
        run_all(config, workers=0)

    def other_settings(config):
        raise UserError("holds a run with other settings")

    with pytest.raises(UserError, match="other settings"):
        run_all(config, finished=other_settings)


def test_an_interrupt_ends_even_deaf_workers_and_says_how_to_go_on(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(processes, "GRACE", 0.3)
    workers = []
    stop = processes._stop
    monkeypatch.setattr(processes, "_stop", lambda all_of_them: (workers.extend(all_of_them), stop(all_of_them)))
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run_all(Config("din", 0, str(tmp_path)), Config("deaf", 0, str(tmp_path)), quiet=False)
    assert time.monotonic() - began < 10
    assert [worker.process.exitcode for worker in workers] == [-signal.SIGKILL]
    assert "interrupted: 1 of 2 runs finished, " in capsys.readouterr().err


SCRIPT = """
    import sys
    from benchmark.executors.sweep import sweep
    from tests.benchmark.executors.test_sweep import Config, nothing_finished, train

    if __name__ == "__main__":
        configs = [Config("wait", seed, sys.argv[1]) for seed in range(2)]
        sweep(configs, workers=2, train=train, finished=nothing_finished)
"""


@pytest.mark.parametrize("to_all", [True, False], ids=["ctrl-c", "parent-killed"])
def test_no_worker_outlives_the_sweep(tmp_path, to_all):
    (tmp_path / "script.py").write_text(textwrap.dedent(SCRIPT))
    process = subprocess.Popen(
        [sys.executable, str(tmp_path / "script.py"), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    files = [Config("wait", seed, str(tmp_path)).folder() / "began" for seed in range(2)]
    wait_until(lambda: all(file.exists() and file.read_text() for file in files))
    if to_all:  # a terminal sends Ctrl-C to the whole group
        os.killpg(process.pid, signal.SIGINT)
    else:
        process.kill()
    _, errors = process.communicate(timeout=10)
    wait_until(lambda: not any(is_alive(int(file.read_text())) for file in files))
    assert process.returncode == -(signal.SIGINT if to_all else signal.SIGKILL)
    assert ("the same command again continues from here" in errors) == to_all
    assert errors.count("Traceback") == int(to_all)  # the parent's own


def wait_until(condition) -> None:
    deadline = time.monotonic() + 15
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")  # a dead process that nobody has collected still has its number
    return not (stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z")


def test_plain_lines_of_a_sweep(tmp_path, capfd):
    finished, bad = Config("din", 0, str(tmp_path)), Config("raise", 0, str(tmp_path))
    run_all(
        Config("din", 9, str(tmp_path)),
        finished,
        bad,
        finished=lambda c: {} if c.seed == 9 else None,
        quiet=False,
    )
    output, lines = capfd.readouterr()
    assert output == ""  # nor does a worker's chatter appear
    first, second, last = lines.splitlines()
    assert first.startswith("finished generated/clean/din-official/seed-0, AUC 0.8125, ")
    assert second == f"failed {bad.name}: ValueError: the loss is nan (see {bad.folder()}/error.txt)"
    assert last == "2 of 3 runs finished (1 of them earlier), 1 failed"


def test_quiet_prints_nothing(tmp_path, capfd):
    run_all(Config("din", 0, str(tmp_path)), Config("exit", 0, str(tmp_path)))
    assert capfd.readouterr() == ("", "")


class Clock:
    """A clock that stands until it is moved."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def display(*configs, workers=1, terminal=False, expected=None) -> tuple[Display, Clock, StringIO]:
    clock, stream = Clock(), StringIO()
    console = Console(file=stream, force_terminal=terminal, width=120, highlight=False, _environ={"TERM": "xterm"})
    return Display(configs, 0, workers, console, clock, expected=expected), clock, stream


def test_time_left_follows_measured_steps():
    slow, fast = Config("dien", 0, ""), Config("din", 0, "", steps=50)
    shown, clock, _ = display(slow, fast, Config("dien", 1, ""))
    assert shown.seconds_left() is None
    shown.started(0, slow)
    clock.now = 100.0  # start-up, which belongs to no step
    shown.progressed(0, Step(0, 10, 0.7, None))
    assert shown.seconds_left() is None
    clock.now = 108.0
    shown.progressed(0, Step(4, 10, 0.7, None))
    # 2 s a step: 6 steps here, 50 in the second run by its own number, 10 in the third as in the first.
    assert shown.seconds_left() == pytest.approx(2 * (6 + 50 + 10))
    clock.now = 110.0
    assert shown.seconds_left() == pytest.approx(2 * (5 + 50 + 10))
    shown.progressed(0, Step(10, 10, 0.7, None))
    shown.finished(0, {})
    shown.started(0, fast)
    shown.progressed(0, Step(0, 50, 0.7, None))
    clock.now = 115.0
    shown.progressed(0, Step(10, 50, 0.7, None))
    # din takes 0.5 s a step; the first dien run took 1 s a step from its first progress to its end.
    assert shown.seconds_left() == pytest.approx(0.5 * 40 + 1 * 10)


def test_time_left_is_that_of_the_busiest_worker():
    shown, clock, _ = display(*(Config("din", seed, "") for seed in range(4)), workers=2)
    shown.started(0, Config("din", 0, ""))
    shown.progressed(0, Step(0, 10, 0.7, None))
    clock.now = 5.0
    shown.progressed(0, Step(5, 10, 0.7, None))
    assert shown.seconds_left() == pytest.approx(20)  # 5 + 10 here, 10 + 10 there


def test_time_left_counts_slow_rows_that_are_still_to_come():
    """A sweep begins with fast rows: their speed says nothing of the slow ones, whose speed was measured before."""
    fast, slow, new = (Config(row, 0, "", steps=100) for row in ("base-model", "dien", "mine"))
    shown, clock, _ = display(fast, slow, expected={fast.name: 0.01, slow.name: 0.1})
    assert shown.seconds_left() == pytest.approx(1 + 10)  # before anything has begun
    shown.started(0, fast)
    shown.progressed(0, Step(0, 100, 0.7, None))
    clock.now = 1.0
    shown.progressed(0, Step(50, 100, 0.7, None))
    assert shown.seconds_left() == pytest.approx(1 + 20)  # this machine takes twice as long as expected
    clock.now = 2.0
    shown.progressed(0, Step(100, 100, 0.7, None))
    shown.finished(0, {})
    shown.started(0, slow)
    assert shown.seconds_left() == pytest.approx(20)

    unknown, clock, _ = display(fast, new, expected={fast.name: 0.01})
    assert unknown.seconds_left() is None
    unknown.started(0, fast)
    unknown.progressed(0, Step(0, 100, 0.7, None))
    clock.now = 2.0
    unknown.progressed(0, Step(100, 100, 0.7, None))
    assert unknown.seconds_left() == pytest.approx(2)


def test_time_left_counts_down_while_another_command_trains_a_run():
    mine, theirs = Config("din", 0, "", steps=100), Config("din", 1, "", steps=100)
    shown, clock, _ = display(mine, theirs, expected=dict.fromkeys([mine.name, theirs.name], 1.0))
    shown.started(0, mine)
    shown.progressed(0, Step(0, 100, 0.7, None))
    clock.now = 100.0
    shown.progressed(0, Step(100, 100, 0.7, None))
    shown.finished(0, {})
    left = []
    for clock.now in (100.0, 110.0, 130.0, 150.0):
        shown.started(0, theirs)
        shown.postponed(0, elsewhere=True)
        left.append(shown.seconds_left())
    assert left == pytest.approx([100, 90, 70, 50])


def test_plain_summary_comes_once_a_minute():
    shown, clock, stream = display(Config("din", 0, ""))
    with shown:
        shown.started(0, Config("din", 0, ""))
        for clock.now in range(0, 150):
            shown.progressed(0, Step(int(clock.now), 300, 0.7, None))
            shown.refresh()
    assert stream.getvalue().splitlines() == [
        "0 of 1 runs finished, about 4 min 00 s left",
        "0 of 1 runs finished, about 3 min 00 s left",
    ]


def test_live_view_shows_all_runs_and_each_worker():
    shown, clock, stream = display(Config("[din]", 0, ""), Config("dien", 0, ""), workers=2, terminal=True)
    with shown:
        shown.started(0, Config("[din]", 0, ""))
        shown.progressed(0, Step(0, 300, 0.7, None))
        clock.now = 10.0
        shown.progressed(0, Step(100, 300, 0.6931, 0.7512))
        shown.started(1, Config("dien", 0, ""))
        shown.refresh()
        text = re.sub(r" +", " ", Text.from_ansi(stream.getvalue()).plain)
        assert "generated/clean/[din]-official 0 100/300 0.6931 0.7512 20 s" in text
        assert "generated/clean/dien-official 0 starting" in text
        assert "0 of 2 runs finished, about 30 s left" in text
        shown.failed(1, "out of [memory]")
    assert "failed generated/clean/dien-official/seed-0: out of [memory]" in stream.getvalue()


def test_each_worker_sees_a_gpu_in_turn(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,GPU-7f")
    configs = [Config("din", seed, str(tmp_path)) for seed in range(3)]
    for gpus, expected in ((("4", "GPU-7f"), ["4", "GPU-7f", "4"]), ((), ["4,GPU-7f"] * 3)):
        result = sweep(configs, workers=3, gpus=gpus, train=train, finished=nothing_finished, quiet=True)
        assert [record["gpu"] for record in result.records] == expected
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "4,GPU-7f"
