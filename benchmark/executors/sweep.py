"""Many runs side by side; a run that fails or dies takes no other with it."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.executors.base import Executor, Message, Record, Start, Train, Worker, reason_of
from benchmark.executors.processes import ProcessExecutor
from benchmark.executors.progress import Display, open_display
from datamodules.errors import UserError, blocks_writing

if TYPE_CHECKING:
    from benchmark.runs.config import Progress, RunConfig

BUSY = 2.0  # seconds until a run that another command trains is tried again
AGAIN = "--retry-failed runs it again"
CONTINUE = "the same command again continues from here"
NoteFailure = Callable[["RunConfig", str, int], None]


@dataclass(frozen=True)
class SweepResult:
    """Records in the order of the runs, the `skipped` earlier ones included; reasons of failures by name."""

    records: list[Record]
    failed: dict[str, str]
    skipped: int


def train_run(config: RunConfig, on_progress: Callable[[Progress], None], say: Callable[[str], None]) -> Record:
    """Train one run; Lightning, which takes seconds, is imported where that is done and nowhere else."""
    from benchmark.runs import train

    return train.train_run(config, on_progress, say)


def sweep(
    configs: Sequence[RunConfig],
    *,
    workers: int = 1,
    gpus: Sequence[str] = (),
    start: Start | None = None,
    train: Train | None = None,
    finished: Callable[[RunConfig], Record | None] | None = None,
    note_failure: NoteFailure | None = None,
    expected: Mapping[str, float] | None = None,
    quiet: bool = False,
) -> SweepResult:
    """Train the runs of `configs` in their order, `workers` at a time.

    `finished` returns the record of a run that is already there, finished or failed, and such a run is kept as it is;
    `train` trains one, and must be importable by name; `note_failure` writes the record of one that failed for a
    reason after so many steps. They are those of `benchmark.runs` when not given. Each worker sees one of `gpus`, named
    as CUDA_VISIBLE_DEVICES does, in turn. `start` starts another executor than processes of this machine; `workers` and
    `gpus` are then unused. `expected` holds seconds a step by names of runs, for the time left. An exception in a run
    or the death of its process fails that run alone, with the details in `error.txt` of its folder.

    Raises `UserError` for a run that is given twice, where nothing can be written any more, and what `finished` raises.
    KeyboardInterrupt stops all workers first.
    """
    if workers < 1:
        raise ValueError(f"workers must be 1 or more, got {workers}")
    if train is None or finished is None:
        from benchmark.runs.ended import finished_record, record_failure  # here: it imports torch

        train, finished = train or train_run, finished or finished_record
        note_failure = note_failure or record_failure
    check_distinct(configs)
    found = {config.name: record for config in configs if (record := finished(config)) is not None}
    failed = {name: _earlier(record) for name, record in found.items() if record.get("status") == "failed"}
    records = {name: record for name, record in found.items() if name not in failed}
    waiting, kept = deque(config for config in configs if config.name not in found), len(records)
    start = start or partial(ProcessExecutor, workers=workers, gpus=gpus)
    executor = start(train, len(waiting)) if waiting else None
    places = len(executor.workers) if executor else 0
    with open_display(waiting, kept, places, quiet=quiet, earlier=records, expected=expected) as display:
        state = _Sweep(waiting, records, failed, display, note_failure)
        try:
            if executor:
                state.run(executor)
        except KeyboardInterrupt:
            display.say(f"interrupted: {display.summary()}; {CONTINUE}")
            raise
        finally:
            if executor:
                executor.stop()
        display.say(display.summary())
    ordered = [records[config.name] for config in configs if config.name in records]
    return SweepResult(records=ordered, failed=failed, skipped=kept)


def check_distinct(configs: Sequence[RunConfig]) -> None:
    """Raise `UserError` where a run is given twice."""
    twice = [name for name, times in Counter(config.name for config in configs).items() if times > 1]
    if twice:
        raise UserError(f"given more than once: {', '.join(twice)}; name each data set, model and seed once")


class _Sweep:
    """The runs of a sweep, and what becomes of them."""

    def __init__(
        self,
        waiting: deque[RunConfig],
        records: dict[str, Record],
        failed: dict[str, str],
        display: Display,
        note_failure: NoteFailure | None,
    ) -> None:
        self.waiting, self.records, self.failed = waiting, records, failed
        self.display, self.note_failure = display, note_failure
        self.not_before: dict[str, float] = {}  # when a run that another command trains is tried again
        self.steps: Counter[str] = Counter()
        self.deaths: Counter[str] = Counter()

    def run(self, executor: Executor) -> None:
        """Give the waiting runs to the workers and handle what they say, until nothing waits and nothing runs."""
        while True:
            for worker in executor.workers:
                if worker.config is None and (config := self._next()):
                    self.display.started(worker.number, config)
                    (config.folder() / "error.txt").unlink(missing_ok=True)
                    worker.assign(config)
            if not self.waiting and all(worker.config is None for worker in executor.workers):
                return
            self.display.refresh()
            executor.wait(0.5)
            for worker, message in _received(executor):
                self._handle(worker, message)

    def _next(self) -> RunConfig | None:
        """Take the first run whose turn has come, None where there is none."""
        now = time.monotonic()
        ready = next((config for config in self.waiting if self.not_before.get(config.name, 0) <= now), None)
        if ready:
            self.waiting.remove(ready)
        return ready

    def _handle(self, worker: Worker, message: Message) -> None:
        assert worker.config is not None
        name, display = worker.config.name, self.display
        match message:
            case "progress", progress:
                self.steps[name] = progress.step
                display.progressed(worker.number, progress)
            case "note", text:
                display.say(text)
            case "finished", record if record.get("status") == "failed":
                self._fail(worker, _earlier(record), "", lasting=False)
            case "finished", record:
                self.records[worker.release().name] = record
                display.finished(worker.number, record)
            case "busy", holder:
                why = f"is being run by {holder}; its turn comes again" if name not in self.not_before else ""
                self.not_before[name] = time.monotonic() + BUSY
                self.waiting.append(self._postpone(worker, why, elsewhere=True))
            case "died", reason, _ if not self.deaths[name]:
                self.deaths[name] += 1
                why = f"{reason}; it continues once more from its last checkpoint"
                self.waiting.appendleft(self._postpone(worker, why))
            case (("failed" | "died"), reason, details):
                self._fail(worker, reason, details)
            case "refused", reason, details:
                self._fail(worker, reason, details, lasting=False)
            case "blocked", reason, _:
                raise UserError(f"{reason.rstrip('.')}. {display.summary()}; {CONTINUE}")

    def _fail(self, worker: Worker, reason: str, details: str, lasting: bool = True) -> None:
        config = worker.release()
        self.failed[config.name] = reason
        if lasting and self.note_failure:
            _note(self.note_failure, config, reason, self.steps[config.name])
        self.display.failed(worker.number, f"{reason}{_write_error(config.folder(), details)}")

    def _postpone(self, worker: Worker, why: str, elsewhere: bool = False) -> RunConfig:
        config = worker.release()
        self.display.postponed(worker.number, elsewhere=elsewhere)
        if why:
            self.display.say(f"{config.name}: {why}")
        return config


def _received(executor: Executor) -> Iterator[tuple[Worker, Message]]:
    for worker in executor.workers:
        if worker.config is not None:
            for message in worker.receive():
                yield worker, message


def _earlier(record: Record) -> str:
    return f"{record.get('reason') or 'no reason was kept'} (earlier; {AGAIN})"


def _note(note_failure: NoteFailure, config: RunConfig, reason: str, step: int) -> None:
    """Leave the record of a failure, unless the data set or the model cannot even be read."""
    try:
        note_failure(config, reason, step)
    except (UserError, OSError) as error:
        if blocks_writing(error):
            raise UserError(reason_of(error)) from error


def _write_error(folder: Path, details: str) -> str:
    """Write the details of a failure, and return where they are."""
    if not details:
        return ""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "error.txt").write_text(details, "utf-8", errors="backslashreplace")
    except OSError as error:
        return f" (no details: {error})"
    return f" (see {folder / 'error.txt'})"
