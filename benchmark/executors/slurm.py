"""Runs as Slurm jobs, through submitit: one job a run, whose folder lies on a file system that all machines share.

What submitit keeps of the jobs (scripts, logs) goes to OUT/slurm. A job that is preempted or meets its time limit is
put into the queue again by submitit, three times at most, and does its run again; one that has left the queue without
a result was lost, killed or cancelled, and fails its run, with the job's log in `error.txt`.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import submitit

from benchmark.executors.base import OUTPUT_TAIL, Message, Train, attempt
from benchmark.runs.process import environment, thread_variables
from datamodules.errors import UserError
from datamodules.files.atomic import write_atomically

if TYPE_CHECKING:
    from benchmark.runs.config import RunConfig

AT_ONCE = 64  # jobs in Slurm's queue, unless --workers says otherwise
MINUTES = 240  # a job's time limit, unless --slurm says otherwise
LOOK = 5.0  # seconds between two looks at Slurm's queue
POLL = 0.2  # seconds; a look at the files of each job


class SlurmCrew:
    """One worker a job in the queue."""

    def __init__(self, train: Train, runs: int, *, workers: int | None, device: str, out: Path, options: str) -> None:
        """Take sbatch's options as "partition=gpu time=240"; raises `UserError` for others, and where Slurm is not."""
        executor, queue = _executor(out, device, options), _Queue()
        self.workers = [_SlurmWorker(number, executor, queue, train) for number in range(min(workers or AT_ONCE, runs))]

    def wait(self, seconds: float) -> None:
        """Wait for `seconds`, for jobs are looked at and do not call."""
        time.sleep(min(seconds, POLL))

    def end(self) -> None:
        """Cancel the jobs that are still there."""
        for worker in self.workers:
            worker.cancel()


def _executor(out: Path, device: str, options: str) -> submitit.AutoExecutor:
    parameters = {"time": str(MINUTES), "job_name": "dien-bench", "cpus_per_task": "1", "cluster": "slurm"}
    parameters |= {"gpus_per_node": "1"} if device == "gpu" else {}
    parameters |= dict(word.partition("=")[::2] for word in options.split())
    cluster = parameters.pop("cluster")  # "local": processes of this machine, to try it
    try:
        executor = submitit.AutoExecutor(out.resolve() / "slurm", cluster=cluster)
        executor.update_parameters(
            timeout_min=int(parameters["time"]), **{f"slurm_{name}": value for name, value in parameters.items()}
        )
    except (NameError, TypeError, ValueError) as error:  # submitit's way to refuse an option
        raise UserError(f"--slurm {options!r}: {error}") from error
    except RuntimeError as error:
        raise UserError(
            f"{error}: give the command on a machine where 'sbatch' works, or use --executor ray"
        ) from error
    return executor


class _Queue:
    """The jobs that wait or run, as `squeue` lists them: unlike `sacct` it needs no accounting."""

    def __init__(self) -> None:
        self._asked = 0.0
        self._jobs: list[set[str]] = [set(), set()]  # of the last two times

    def lacks(self, job: str, submitted: float) -> bool:
        """Whether a job was missing twice: what it wrote last must have the time to arrive."""
        if time.monotonic() - self._asked >= LOOK:
            self._asked = time.monotonic()
            listed = subprocess.run(
                ["squeue", "--me", "--noheader", "--format=%A"], capture_output=True, encoding="utf-8"
            )
            if listed.returncode == 0:  # else Slurm's controller is away for a while
                self._jobs = [self._jobs[1], set(listed.stdout.split())]
        return self._asked - submitted > 2 * LOOK and not any(job in jobs for jobs in self._jobs)


class _SlurmWorker:
    """One job at a time in Slurm's queue, and the run that it does."""

    def __init__(self, number: int, executor: submitit.AutoExecutor, queue: _Queue, train: Train) -> None:
        self.number, self._executor, self._queue, self._train = number, executor, queue, train
        self.config: RunConfig | None = None
        self._job: Any = None
        self._shown = b""  # the progress that was passed on last
        self._submitted = 0.0

    def assign(self, config: RunConfig) -> None:
        """Submit a run; raises `UserError` where sbatch refuses it."""
        there = replace(config, out=str(Path(config.out).resolve()), data_dir=str(Path(config.data_dir).resolve()))
        try:
            with environment(thread_variables(1)):
                self._job = self._executor.submit(_Run(), self._train, there)
        except submitit.core.utils.FailedJobError as error:
            raise UserError(f"sbatch refused a job: {' '.join(str(error).split())}") from error
        self.config, self._shown, self._submitted = config, b"", time.monotonic()

    def release(self) -> RunConfig:
        """Take back the run, which has ended."""
        assert self.config is not None
        config, self.config = self.config, None
        return config

    def receive(self) -> Iterator[Message]:
        """Yield the newest progress, and what became of a job that has ended."""
        from benchmark.runs.config import Progress

        ended = self._ended()  # asked before the progress is read, so that the last one counts
        with contextlib.suppress(FileNotFoundError):
            written = _progress_path(self._job.paths).read_bytes()
            if written != self._shown:
                self._shown = written
                yield "progress", Progress(**json.loads(written))
        if ended:
            yield self._outcome()

    def _ended(self) -> bool:
        if self._executor.cluster != "slurm":
            return bool(self._job.done())
        return self._job.paths.result_pickle.exists() or self._queue.lacks(self._job.job_id, self._submitted)

    def _outcome(self) -> Message:
        reason = f"job {self._job.job_id} left no result: it was lost, killed or cancelled"
        if self._job.paths.result_pickle.exists():
            try:
                message: Message = self._job.result()
                return message
            except (submitit.core.utils.FailedJobError, submitit.core.utils.UncompletedJobError) as error:
                reason = f"job {self._job.job_id} failed outside of the run"
                return "failed", reason, f"{reason}\n\n{error}"
        log = f"{self._job.stdout() or ''}\n{self._job.stderr() or ''}"
        return "failed", reason, f"{reason}\n\nIts log ends:\n{log[-OUTPUT_TAIL:]}"

    def cancel(self) -> None:
        """Cancel the job, where there is one."""
        if self.config is not None:
            self._job.cancel(check=False)


class _Run:
    """What a job does, from the start or from the run's checkpoint."""

    def __call__(self, train: Train, config: RunConfig) -> Message:
        """Return what the sweep is to be told."""
        path = _progress_path(submitit.JobEnvironment().paths)

        def send(message: Message) -> None:
            kind, said = message
            if kind == "progress":
                write_atomically(path, json.dumps(asdict(said)).encode())
            else:
                print(said, flush=True)  # into the job's log

        return attempt(train, config, send)

    def checkpoint(self, train: Train, config: RunConfig) -> submitit.helpers.DelayedSubmission:
        """Called before a preempted job goes back into the queue: return what it is to do there."""
        return submitit.helpers.DelayedSubmission(self, train, config)


def _progress_path(paths: submitit.core.utils.JobPaths) -> Path:
    """The file in which a job writes how far it is."""
    found: Path = paths.result_pickle
    return found.with_name(found.name.replace("result.pkl", "progress.json"))
