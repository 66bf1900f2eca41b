"""Runs on a Ray cluster: each is a task of one CPU, or one GPU, that sends its files to where the command was given.

The machines share nothing but the network and an environment with this package. A node prepares a data set once, under
a lock, in its own data folder: DIEN_BENCH_DATA where the node has it, else the path of --data-dir. A run trains in a
temporary folder; the parent writes its files, the record last. A run that is lost with its node is given out again.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import queue
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray

from benchmark.executors.base import Message, Train, attempt
from benchmark.records.record import FILE_NAME
from benchmark.runs.process import WORKER_VARIABLES
from datamodules.errors import UserError
from datamodules.files.atomic import write_atomically
from datamodules.files.lock import Busy, take

if TYPE_CHECKING:
    from filelock import SoftFileLease

    from benchmark.runs.config import RunConfig

ATTEMPTS = 3  # a run is given out so often before its losses fail it
PASSED_ON = ("AMAZON_MIRROR", "WANDB_MODE", "WANDB_PROJECT")  # what a run reads from the environment


class RayExecutor:
    """One worker a CPU of the cluster, or a GPU where runs are to use them; the tasks wait where nodes are lost."""

    def __init__(self, train: Train, runs: int, *, workers: int | None, device: str) -> None:
        """Join the cluster of RAY_ADDRESS or the one on this machine; raises `UserError` where there is none."""
        _connect()
        self.workers: list[_RayWorker] = []
        self._quiet = contextlib.redirect_stdout(io.StringIO())  # Ray prints a dead node's log, which tears the display
        self._quiet.__enter__()
        try:
            resource = _resource(device)
            count = workers or int(ray.cluster_resources()[resource])
            task = ray.remote(num_cpus=1, num_gpus=int(resource == "GPU"), max_retries=0)(_train)
            self.workers = [_RayWorker(number, task, train) for number in range(min(count, runs))]
        except BaseException:
            self.stop()
            raise

    def wait(self, seconds: float) -> None:
        """Return when a task says something or is lost, or after `seconds`."""
        tasks = [worker.messages for worker in self.workers if worker.messages is not None]
        if tasks:
            ray.wait(tasks, timeout=seconds)
        else:
            time.sleep(min(seconds, 0.2))  # all that waits is being run elsewhere

    def stop(self) -> None:
        """Leave the cluster, which ends this sweep's tasks."""
        for worker in self.workers:
            worker.unlock()
        ray.shutdown()
        self._quiet.__exit__(None, None, None)


def _connect() -> None:
    address = os.environ.get("RAY_ADDRESS", "auto")
    variables = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    variables |= WORKER_VARIABLES | {"MPLBACKEND": "agg"}
    try:
        ray.init(address=address, log_to_driver=False, logging_level="error", runtime_env={"env_vars": variables})
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise UserError(
            f"found no Ray cluster at RAY_ADDRESS={address} ({' '.join(str(error).split())[:200]}): start one with "
            "'ray start --head' here and 'ray start --address=HOST:6379' on the other machines"
        ) from error


def _resource(device: str) -> str:
    """What a run takes one of, GPU or CPU; raises `UserError` where the cluster has none."""
    found = ray.cluster_resources()
    if device != "cpu" and found.get("GPU", 0) >= 1:
        return "GPU"
    if device == "gpu" or found.get("CPU", 0) < 1:
        kind = device.upper() if device == "gpu" else "CPU"
        raise UserError(f"the Ray cluster has no {kind} for a run ('ray status' shows what it has): start more nodes")
    return "CPU"


class _RayWorker:
    """A place in the cluster's queue, and the run that holds it."""

    def __init__(self, number: int, task: Any, train: Train) -> None:
        self.number, self._task, self._train = number, task, train
        self.config: RunConfig | None = None
        self.attempts = 0
        self.messages: Any = None  # what the task yields
        self._lock: SoftFileLease | None = None
        self._busy = ""  # who holds the lock instead

    def assign(self, config: RunConfig) -> None:
        """Put a run into the cluster's queue."""
        from benchmark.runs.config import lock_of

        self.config, self.attempts = config, 0
        config.folder().mkdir(parents=True, exist_ok=True)
        try:
            self._lock = take(lock_of(config))
        except Busy as busy:
            self._busy = str(busy)
        else:
            self._submit()

    def _submit(self) -> None:
        assert self.config is not None
        self.attempts += 1
        there = replace(self.config, data_dir=str(Path(self.config.data_dir).resolve()))
        self.messages = self._task.remote(self._train, there)

    def release(self) -> RunConfig:
        """Take back the run, which has ended."""
        assert self.config is not None
        config, self.config, self.messages = self.config, None, None
        self.unlock()
        return config

    def unlock(self) -> None:
        """Let others train the run."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def receive(self) -> Iterator[Message]:
        """Yield what the task has sent; a lost run is submitted again, so often as ATTEMPTS allows."""
        if self._lock is None:
            yield "busy", self._busy
        while self.messages is not None and ray.wait([self.messages], timeout=0)[0]:
            try:
                message = ray.get(next(self.messages))
            except (ray.exceptions.RayError, StopIteration) as error:
                yield self._lost(error)
                continue
            if isinstance(message[0], tuple):  # the end
                message, files = message
                assert self.config is not None
                _write(files, self.config)
            yield message

    def _lost(self, error: Exception) -> Message:
        assert self.config is not None
        if isinstance(error, ray.exceptions.LocalRayletDiedError):
            return "blocked", "the part of the Ray cluster on this machine has ended", ""
        reason = f"lost with its node or process ({type(error).__name__}), attempt {self.attempts} of {ATTEMPTS}"
        if self.attempts == ATTEMPTS:
            return "failed", reason, f"{reason}\n\n{error}"
        self._submit()
        return "note", f"{self.config.name}: {reason}; given out again"


def _train(train: Train, config: RunConfig) -> Iterator[Message]:
    """Train a run on a node: yield what it says on the way, then how it ended and the files that it left."""
    messages: queue.SimpleQueue[Message] = queue.SimpleQueue()
    with tempfile.TemporaryDirectory(prefix="dien-bench-") as out:
        there = replace(config, out=out, data_dir=os.environ.get("DIEN_BENCH_DATA", config.data_dir))

        def work() -> None:
            messages.put(attempt(train, there, messages.put))

        threading.Thread(target=work, daemon=True).start()
        while (message := messages.get())[0] in ("progress", "note"):
            yield message
        yield tuple(_moved(part, out, config.out) for part in message), _read(Path(out))


def _moved(part: object, there: str, here: str) -> object:
    """A part of a message, with paths as they will be where the files go."""
    return part.replace(there, here) if isinstance(part, str) else part


def _read(folder: Path) -> dict[str, bytes]:
    """All files below a folder, by their path in it, but the checkpoint of a run that failed: it can be large."""
    from benchmark.runs.config import CHECKPOINT  # here: torch comes with what is to be trained

    found = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink() and path.name != CHECKPOINT)
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def _write(files: dict[str, bytes], config: RunConfig) -> None:
    """Write a run's files, each in one step and the record last, with the folders of this side in config.json."""
    places = {"out": config.out, "data_dir": config.data_dir}
    for name, content in sorted(files.items(), key=lambda file: Path(file[0]).name == FILE_NAME):
        if Path(name).name == "config.json":
            content = (json.dumps(json.loads(content) | places, indent=1) + "\n").encode()
        write_atomically(Path(config.out) / name, content)
