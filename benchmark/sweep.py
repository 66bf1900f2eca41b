"""Many runs side by side; a run that fails or dies takes no other with it.

Here the workers are processes: each imports torch once and trains one run after another, which it gets through a pipe.
`benchmark/executors/` has other crews. What comes back of a run is `("progress", Progress)`, `("note", text)` and at
the end one of
  ("finished", record)
  ("failed", reason, details)    for what lies in the run: its record says so, and it is not run again by itself
  ("refused", reason, details)   for a mistake that the user can mend: the same command runs it again
  ("died", reason, details)      the process was killed: the run is tried once more, from its last checkpoint
  ("blocked", reason, details)   nothing can be written: the sweep ends
  ("busy", holder)               another command trains it: its turn comes again later
"""

from __future__ import annotations

import contextlib
import faulthandler
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from benchmark.progress import Display, open_display
from datamodules.errors import UserError, blocks_writing
from datamodules.lock import Busy

if TYPE_CHECKING:
    from benchmark.config import Progress, RunConfig

Record = dict[str, Any]
Message = tuple[Any, ...]
Train = Callable[["RunConfig", Callable[["Progress"], None], Callable[[str], None]], Record]

GRACE = 3.0  # seconds that a worker has to end by itself before it is killed
BUSY = 2.0  # seconds until a run that another command trains is tried again
AGAIN = "--retry-failed runs it again"
OUTPUT_TAIL = 20_000  # bytes of a dead worker's output that are kept


@dataclass(frozen=True)
class SweepResult:
    """Records in the order of the runs, the `skipped` earlier ones included; reasons of failures by name."""

    records: list[Record]
    failed: dict[str, str]
    skipped: int


class Worker(Protocol):
    """A place where runs are trained, one at a time."""

    number: int
    config: RunConfig | None  # the run that it holds

    def assign(self, config: RunConfig) -> None:
        """Give the worker its next run."""

    def release(self) -> RunConfig:
        """Take back the run, which has ended."""

    def receive(self) -> Iterator[Message]:
        """Yield what has come from the worker since the last call, without waiting."""


class Crew(Protocol):
    """All workers of a sweep."""

    @property
    def workers(self) -> Sequence[Worker]:
        """The workers, numbered from 0."""

    def wait(self, seconds: float) -> None:
        """Return when a busy worker may have something to say, or after `seconds`."""

    def end(self) -> None:
        """End all workers, whatever they do."""


Hire = Callable[[Train, int], Crew]  # the crew that trains so many runs


def sweep(
    configs: Sequence[RunConfig],
    *,
    workers: int = 1,
    threads: int = 1,
    gpus: Sequence[str] = (),
    hire: Hire | None = None,
    train: Train | None = None,
    finished: Callable[[RunConfig], Record | None] | None = None,
    note_failure: Callable[[RunConfig, str, int], None] | None = None,
    quiet: bool = False,
) -> SweepResult:
    """Train the runs of `configs` in their order, `workers` at a time with `threads` threads each.

    `finished` returns the record of a run that is already there, finished or failed, and such a run is kept as it is;
    `train` trains one, and must be importable by name; `note_failure` writes the record of one that failed for a
    reason after so many steps. They are those of `benchmark` when not given. Each worker sees one of `gpus`, named as
    CUDA_VISIBLE_DEVICES does, in turn. `hire` finds another crew than processes of this machine; `workers`, `threads`
    and `gpus` are of no concern then. An exception in a run or the death of its process fails that run alone, with
    the details in `error.txt` of its folder.

    UserError for a run that is given twice, where nothing can be written any more, and what `finished` raises.
    KeyboardInterrupt ends all workers first.
    """
    if workers < 1:
        raise ValueError(f"workers must be 1 or more, got {workers}")
    if train is None or finished is None:
        # here: a worker imports this module, and torch only with what it is to train
        from benchmark import failures, run

        train, finished = train or run.train_run, finished or run.finished_record
        note_failure = note_failure or failures.record_failure
    twice = [name for name, times in Counter(config.name for config in configs).items() if times > 1]
    if twice:
        raise UserError(f"given more than once: {', '.join(twice)}; name each data set, model and seed once")
    found = {config.name: record for config in configs if (record := finished(config)) is not None}
    failed = {name: _earlier(record) for name, record in found.items() if record.get("status") == "failed"}
    records = {name: record for name, record in found.items() if name not in failed}
    waiting, kept = deque(config for config in configs if config.name not in found), len(records)
    if hire is None:
        hire = partial(_Processes, workers=workers, threads=threads, gpus=gpus)
    crew = hire(train, len(waiting)) if waiting else None
    not_before: dict[str, float] = {}  # when a run that another command trains is tried again
    steps: Counter[str] = Counter()
    deaths: Counter[str] = Counter()
    with open_display(waiting, kept, len(crew.workers) if crew else 0, quiet=quiet, earlier=records) as display:

        def fail(worker: Worker, reason: str, details: str, lasting: bool = True) -> None:
            config = worker.release()
            failed[config.name] = reason
            if lasting and note_failure:
                _note(note_failure, config, reason, steps[config.name])
            display.failed(worker.number, f"{reason}{_write_error(config.folder(), details)}")

        def postpone(worker: Worker, why: str) -> RunConfig:
            config = worker.release()
            display.postponed(worker.number)
            if why:
                display.say(f"{config.name}: {why}")
            return config

        try:
            for worker, message in _messages(crew, waiting, not_before, display) if crew else ():
                assert worker.config is not None
                name = worker.config.name
                match message:
                    case "progress", progress:
                        steps[name] = progress.step
                        display.progressed(worker.number, progress)
                    case "note", text:
                        display.say(text)
                    case "finished", record if record.get("status") == "failed":
                        fail(worker, _earlier(record), "", lasting=False)
                    case "finished", record:
                        records[worker.release().name] = record
                        display.finished(worker.number, record)
                    case "busy", holder:
                        why = f"is being run by {holder}; its turn comes again" if name not in not_before else ""
                        not_before[name] = time.monotonic() + BUSY
                        waiting.append(postpone(worker, why))
                    case "died", reason, _ if not deaths[name]:
                        deaths[name] += 1
                        waiting.appendleft(postpone(worker, f"{reason}; it goes on once more from its last checkpoint"))
                    case (("failed" | "died"), reason, details):
                        fail(worker, reason, details)
                    case "refused", reason, details:
                        fail(worker, reason, details, lasting=False)
                    case "blocked", reason, _:
                        raise UserError(
                            f"{reason.rstrip('.')}. {display.summary()}; the same command again goes on from here"
                        )
        except KeyboardInterrupt:
            display.say(f"interrupted: {display.summary()}; the same command again goes on from here")
            raise
        finally:
            if crew:
                crew.end()
        display.say(display.summary())
    ordered = [records[config.name] for config in configs if config.name in records]
    return SweepResult(records=ordered, failed=failed, skipped=kept)


def _messages(
    crew: Crew, waiting: deque[RunConfig], not_before: dict[str, float], display: Display
) -> Iterator[tuple[Worker, Message]]:
    """Hand out the waiting runs and yield what the workers say, until nothing waits and nothing runs."""
    while True:
        for worker in crew.workers:
            if worker.config is None and (config := _next(waiting, not_before)):
                display.started(worker.number, config)
                (config.folder() / "error.txt").unlink(missing_ok=True)
                worker.assign(config)
        busy = [worker for worker in crew.workers if worker.config is not None]
        if not busy and not waiting:
            return
        display.refresh()
        crew.wait(0.5)
        for worker in busy:
            for message in worker.receive():
                yield worker, message


class _Processes:
    """A crew of processes on this machine."""

    def __init__(self, train: Train, runs: int, *, workers: int, threads: int, gpus: Sequence[str]) -> None:
        self._outputs = tempfile.TemporaryDirectory(prefix="dien-bench-")
        self.workers: list[_Worker] = []
        try:
            for number in range(min(workers, runs)):
                gpu = gpus[number % len(gpus)] if gpus else None
                self.workers.append(_Worker(number, train, threads, Path(self._outputs.name), gpu))
        except BaseException:
            self.end()
            raise

    def wait(self, seconds: float) -> None:
        """Return when a process says something or ends, or after `seconds`."""
        busy = [worker for worker in self.workers if worker.config is not None]
        wait([source for worker in busy for source in (worker.connection, worker.process.sentinel)], timeout=seconds)

    def end(self) -> None:
        """End all processes within GRACE seconds."""
        _end(self.workers)
        self._outputs.cleanup()


def _next(waiting: deque[RunConfig], not_before: dict[str, float]) -> RunConfig | None:
    """Take the first run whose turn has come, None where there is none."""
    now = time.monotonic()
    ready = next((config for config in waiting if not_before.get(config.name, 0) <= now), None)
    if ready:
        waiting.remove(ready)
    return ready


class _Worker:
    """A process that trains one run after another, the run that it holds, and a new process where it died."""

    def __init__(self, number: int, train: Train, threads: int, outputs: Path, gpu: str | None = None) -> None:
        self.number, self._train, self._threads, self._gpu = number, train, threads, gpu
        self._output = outputs / f"{number}.txt"
        self.config: RunConfig | None = None
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, far_end = context.Pipe()
        self.process = context.Process(target=_work, args=(far_end, self._threads, self._output), daemon=True)
        with _inherited(self._threads, self._gpu):
            self.process.start()
        far_end.close()  # or the death of the worker would not be the end of the pipe
        self._send(self._train)

    def _send(self, message: object) -> None:
        with contextlib.suppress(ConnectionError):  # it died just now; receive() will say so
            self.connection.send(message)

    def assign(self, config: RunConfig) -> None:
        """Give the worker its next run."""
        if not self.process.is_alive():
            self.connection.close()
            self._start()
        self.config = config
        self._send(config)

    def release(self) -> RunConfig:
        """Take back the run, which has ended."""
        assert self.config is not None
        config, self.config = self.config, None
        return config

    def receive(self) -> Iterator[Message]:
        """Yield what the worker has sent, and a failure where it died over its run."""
        dead = not self.process.is_alive()  # asked before the pipe is emptied, so that its last words count
        try:
            while self.connection.poll():
                yield self.connection.recv()
        except (EOFError, ConnectionError):
            self.process.join(GRACE)
            self.process.kill()
            self.process.join()
            dead = True
        if dead and self.config is not None:
            reason = f"the worker process {_how_it_ended(self.process.exitcode)}"
            output = self._output.read_bytes()[-OUTPUT_TAIL:] if self._output.exists() else b""
            kind = "died" if self.process.exitcode == -signal.SIGKILL else "failed"
            yield kind, reason, f"{reason}\n\nIts last output:\n{output.decode(errors='replace')}"


def _end(crew: Sequence[_Worker]) -> None:
    """End all workers within GRACE seconds; a second Ctrl-C ends them at once."""
    try:
        for worker in crew:
            worker.connection.close()  # an idle worker ends by itself
            if worker.config is not None:
                worker.process.terminate()
        deadline = time.monotonic() + GRACE
        for worker in crew:
            worker.process.join(max(0.0, deadline - time.monotonic()))
    finally:
        for worker in crew:
            worker.process.kill()
            worker.process.join()


@contextlib.contextmanager
def _inherited(threads: int, gpu: str | None) -> Iterator[None]:
    """Set what a new process takes over: numbers of threads, its GPU, and no Ctrl-C while it still starts."""
    values = thread_variables(threads) | ({} if gpu is None else {"CUDA_VISIBLE_DEVICES": gpu})
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        with environment(values):
            yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


@contextlib.contextmanager
def environment(values: dict[str, str]) -> Iterator[None]:
    """Set environment variables for the processes that are started inside."""
    before = {name: os.environ.pop(name) for name in values if name in os.environ}
    os.environ.update(values)
    try:
        yield
    finally:
        for name in values:
            del os.environ[name]
        os.environ.update(before)


def thread_variables(threads: int) -> dict[str, str]:
    """The environment variables that give a process so many threads."""
    return dict.fromkeys((f"{name}_NUM_THREADS" for name in ("OMP", "MKL", "NUMBA", "OPENBLAS")), str(threads))


def _how_it_ended(exit_code: int | None) -> str:
    if exit_code == -signal.SIGKILL:
        return "was killed by SIGKILL, most often because memory ran out: fewer workers need less of it"
    if exit_code is not None and exit_code < 0:
        return f"was ended by {signal.Signals(-exit_code).name}"
    return f"ended with exit code {exit_code}"


def _earlier(record: Record) -> str:
    return f"{record.get('reason') or 'no reason was kept'} (earlier; {AGAIN})"


def _note(note_failure: Callable[[RunConfig, str, int], None], config: RunConfig, reason: str, step: int) -> None:
    """Leave the record of a failure, unless the data set or the model cannot even be read."""
    try:
        note_failure(config, reason, step)
    except (UserError, OSError) as error:
        if blocks_writing(error):
            raise UserError(_reason(error)) from error


def _write_error(folder: Path, details: str) -> str:
    """Write the details of a failure, and return where they are."""
    if not details:
        return ""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "error.txt").write_text(details)
    except OSError as error:
        return f" (no details: {error})"
    return f" (see {folder / 'error.txt'})"


def _work(connection: Connection, threads: int, output: Path) -> None:
    """Train the runs that come through the pipe until it ends: a worker's whole life."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent as well, which ends the workers
    threading.Thread(target=_end_with_parent, daemon=True).start()
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
    for stream in (1, 2):  # what libraries print would tear the display, and is wanted where the process dies
        os.dup2(descriptor, stream)
    faulthandler.enable()
    with contextlib.suppress(EOFError, ConnectionError):
        train = connection.recv()
        if "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(threads)
        while True:
            config = connection.recv()
            os.ftruncate(descriptor, 0)
            connection.send(attempt(train, config, connection.send))


def attempt(train: Train, config: RunConfig, send: Callable[[Message], None]) -> Message:
    """Train a run, send what it says on the way, and return the message of its end."""
    try:
        record = train(config, lambda progress: send(("progress", progress)), lambda text: send(("note", text)))
    except Busy as busy:
        return "busy", str(busy)
    except Exception as error:
        kind = "blocked" if blocks_writing(error) else "refused" if isinstance(error, UserError) else "failed"
        return kind, _reason(error), traceback.format_exc()
    return "finished", record


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _reason(error: Exception) -> str:
    """Return an exception in one line; a message meant for the user goes without the name of its class."""
    message = " ".join(str(error).split())
    if isinstance(error, UserError):
        return message
    return f"{type(error).__name__}: {message}" if message else type(error).__name__
