"""Runs in processes of this machine: each imports torch once and trains one run after another, given through a pipe."""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import multiprocessing
import os
import signal
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.executors.base import OUTPUT_TAIL, Message, Train, attempt
from benchmark.runs.process import WORKER_VARIABLES, collect_seldom, environment, how_it_ended, own_variables

if TYPE_CHECKING:
    from benchmark.runs.config import RunConfig

GRACE = 3.0  # seconds that a worker has to end by itself before it is killed


class ProcessExecutor:
    """Trains runs in processes of this machine."""

    def __init__(self, train: Train, runs: int, *, workers: int, gpus: Sequence[str]) -> None:
        self._outputs = tempfile.TemporaryDirectory(prefix="dien-bench-")
        self.workers: list[_Worker] = []
        try:
            for number in range(min(workers, runs)):
                gpu = gpus[number % len(gpus)] if gpus else None
                self.workers.append(_Worker(number, train, Path(self._outputs.name), gpu))
        except BaseException:
            self.stop()
            raise

    def wait(self, seconds: float) -> None:
        """Return when a process says something or ends, or after `seconds`."""
        busy = [worker for worker in self.workers if worker.config is not None]
        wait([source for worker in busy for source in (worker.connection, worker.process.sentinel)], timeout=seconds)

    def stop(self) -> None:
        """Stop all processes within GRACE seconds."""
        _stop(self.workers)
        self._outputs.cleanup()


class _Worker:
    """A process that trains one run after another, the run that it holds, and a new process where it died."""

    def __init__(self, number: int, train: Train, outputs: Path, gpu: str | None = None) -> None:
        self.number, self._train, self._gpu = number, train, gpu
        self._output = outputs / f"{number}.txt"
        self.config: RunConfig | None = None
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, far_end = context.Pipe()
        self.process = context.Process(target=_work, args=(far_end, self._output), daemon=True)
        with _inherited(self._gpu):
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
            reason = f"the worker process {how_it_ended(self.process.exitcode)}"
            output = self._output.read_bytes()[-OUTPUT_TAIL:] if self._output.exists() else b""
            kind = "died" if self.process.exitcode == -signal.SIGKILL else "failed"
            yield kind, reason, f"{reason}\n\nIts last output:\n{output.decode(errors='replace')}"


def _stop(workers: Sequence[_Worker]) -> None:
    """Stop all workers within GRACE seconds; a second Ctrl-C stops them at once."""
    try:
        for worker in workers:
            worker.connection.close()  # an idle worker ends by itself
            if worker.config is not None:
                worker.process.terminate()
        deadline = time.monotonic() + GRACE
        for worker in workers:
            worker.process.join(max(0.0, deadline - time.monotonic()))
    finally:
        for worker in workers:
            worker.process.kill()
            worker.process.join()


@contextlib.contextmanager
def _inherited(gpu: str | None) -> Iterator[None]:
    """Set what a new process inherits: its environment, its GPU, and no Ctrl-C while it still starts."""
    values = WORKER_VARIABLES | own_variables() | ({} if gpu is None else {"CUDA_VISIBLE_DEVICES": gpu})
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        with environment(values):
            yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def _work(connection: Connection, output: Path) -> None:
    """Train the runs that come through the pipe until it ends: a worker's whole life."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent as well, which ends the workers
    threading.Thread(target=_end_with_parent, daemon=True).start()
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
    for stream in (1, 2):  # what libraries print would tear the display, and is wanted where the process dies
        os.dup2(descriptor, stream)
    faulthandler.enable()
    collect_seldom()
    with contextlib.suppress(EOFError, ConnectionError):
        train = connection.recv()
        gc.freeze()  # what it brought along stays: the search for garbage at the start of each run leaves it out
        while True:
            config = connection.recv()
            os.ftruncate(descriptor, 0)
            connection.send(attempt(train, config, connection.send))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
