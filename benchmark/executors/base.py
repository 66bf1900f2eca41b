"""The interface between a sweep and its workers, whatever the workers are.

What comes back of a run is `("progress", Progress)`, `("note", text)` and at the end one of
  ("finished", record)
  ("failed", reason, details)    for what lies in the run: its record says so, and it is not run again by itself
  ("refused", reason, details)   for a mistake that the user can mend: the same command runs it again
  ("died", reason, details)      the process was killed: the run is tried once more, from its last checkpoint
  ("blocked", reason, details)   nothing can be written: the sweep ends
  ("busy", holder)               another command trains it: its turn comes again later
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from benchmark.runs.process import ProcessDied, make_streams_lenient
from datamodules.errors import UserError, blocks_writing
from datamodules.files.lock import Busy

if TYPE_CHECKING:
    from benchmark.runs.config import Progress, RunConfig

Record = dict[str, Any]
Message = tuple[Any, ...]
Train = Callable[["RunConfig", Callable[["Progress"], None], Callable[[str], None]], Record]

OUTPUT_TAIL = 20_000  # bytes of a dead worker's output that are kept


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


class Executor(Protocol):
    """All workers of a sweep."""

    @property
    def workers(self) -> Sequence[Worker]:
        """The workers, numbered from 0."""

    def wait(self, seconds: float) -> None:
        """Return when a busy worker may have something to say, or after `seconds`."""

    def stop(self) -> None:
        """Stop all workers, whatever they do."""


Start = Callable[[Train, int], Executor]  # start an executor that trains so many runs


def attempt(train: Train, config: RunConfig, send: Callable[[Message], None]) -> Message:
    """Train a run, send what it says on the way, and return the message of its end."""
    make_streams_lenient()
    try:
        record = train(config, lambda progress: send(("progress", progress)), lambda text: send(("note", text)))
    except Busy as busy:
        return "busy", str(busy)
    except ProcessDied as died:
        return "died", str(died), traceback.format_exc()
    except Exception as error:
        kind = "blocked" if blocks_writing(error) else "refused" if isinstance(error, UserError) else "failed"
        return kind, reason_of(error), traceback.format_exc()
    return "finished", record


def reason_of(error: Exception) -> str:
    """Return an exception in one line; a message meant for the user goes without the name of its class."""
    message = " ".join(str(error).split())
    if isinstance(error, UserError):
        return message
    return f"{type(error).__name__}: {message}" if message else type(error).__name__
