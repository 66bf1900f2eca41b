"""Many runs side by side; a run that fails or dies takes no other with it."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.executors.base import Crew, Hire, Message, Record, Train, Worker, reason_of
from benchmark.executors.processes import ProcessCrew
from benchmark.executors.progress import Display, open_display
from datamodules.errors import UserError, blocks_writing

if TYPE_CHECKING:
    from benchmark.runs.config import RunConfig

BUSY = 2.0  # seconds until a run that another command trains is tried again
AGAIN = "--retry-failed runs it again"


@dataclass(frozen=True)
class SweepResult:
    """Records in the order of the runs, the `skipped` earlier ones included; reasons of failures by name."""

    records: list[Record]
    failed: dict[str, str]
    skipped: int


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
        from benchmark.runs import failure as failures
        from benchmark.runs import train as run

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
        hire = partial(ProcessCrew, workers=workers, threads=threads, gpus=gpus)
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


def _next(waiting: deque[RunConfig], not_before: dict[str, float]) -> RunConfig | None:
    """Take the first run whose turn has come, None where there is none."""
    now = time.monotonic()
    ready = next((config for config in waiting if not_before.get(config.name, 0) <= now), None)
    if ready:
        waiting.remove(ready)
    return ready


def _earlier(record: Record) -> str:
    return f"{record.get('reason') or 'no reason was kept'} (earlier; {AGAIN})"


def _note(note_failure: Callable[[RunConfig, str, int], None], config: RunConfig, reason: str, step: int) -> None:
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
        (folder / "error.txt").write_text(details, "utf-8", "backslashreplace")
    except OSError as error:
        return f" (no details: {error})"
    return f" (see {folder / 'error.txt'})"
