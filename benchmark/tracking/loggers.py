"""The loggers of a run: metrics.csv, and a run of a tracker, which never fails the run that it is told of."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import CSVLogger, Logger

from benchmark.tracking.trackers import TrackedRun, TrackerRun, reason_of


class TrackerLogger(Logger):
    """Hands to a tracker what a run logs; the first exception of the tracker is said, and nothing is handed to it then.

    The run goes on with metrics.csv alone, which has everything.
    """

    def __init__(self, run: TrackedRun, resumed_at: int, say: Callable[[str], None]) -> None:
        super().__init__()
        self._name, self._tracker, self._say = run.name, run.tracker, say
        self._run: TrackerRun | None = None
        with self._caught():
            self._run = _tracker_run(run, resumed_at, say)

    @property
    def name(self) -> str:
        """The name of the run."""
        return self._name

    @property
    def version(self) -> str:
        """Nothing: a run has one version."""
        return ""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Add the values of some series at a step."""
        with self._caught():
            if self._run is not None:
                self._run.log(metrics, step or 0)

    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        """Nothing: the tracker has the settings from the beginning."""

    def finish(self, record: dict[str, Any], folder: Path) -> None:
        """Give the tracker the outcome of a finished run, and close it."""
        with self._caught():
            run, self._run = self._run, None
            if run is not None:
                run.finish(record, folder)

    def fail(self, reason: str) -> None:
        """Tell the tracker that the run has failed, and close it."""
        with self._caught():
            run, self._run = self._run, None
            if run is not None:
                run.fail(reason)

    @contextmanager
    def _caught(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # whatever it is
            self._run = None
            self._say(f"{self._name}: {self._tracker}: {reason_of(error)}; metrics.csv has all curves")


_OPEN: list[TrackerLogger] = []  # of the run that this process trains


def open_loggers(run: TrackedRun, resumed_at: int = 0, say: Callable[[str], None] = print) -> list[Logger]:
    """Return the loggers of a run, metrics.csv first; `resumed_at` is the step that it goes on from, 0 for a new run.

    Steps after `resumed_at` that an earlier process logged are logged again, with the same values. `say` is given
    lines for the user: where an online run is to be seen, and what a tracker fails of.
    """
    _fail_open("the run was begun again")
    if run.tracker != "csv":
        _OPEN.append(TrackerLogger(run, resumed_at, say))
    return [CSVLogger(str(run.folder), name="", version=""), *_OPEN]


def close_loggers(loggers: Sequence[Logger], record: dict[str, Any], folder: Path) -> None:
    """Give a finished run's outcome to its tracker; `folder` holds what the run has written."""
    for logger in loggers:
        if isinstance(logger, TrackerLogger):
            logger.finish(record, folder)
    _OPEN.clear()


@contextmanager
def failure_told() -> Iterator[None]:
    """Tell the tracker of the run that is trained inside of an exception that ends it."""
    try:
        yield
    except BaseException as error:
        _fail_open(reason_of(error))
        raise


def _fail_open(reason: str) -> None:
    while _OPEN:
        _OPEN.pop().fail(reason)


def _tracker_run(run: TrackedRun, resumed_at: int, say: Callable[[str], None]) -> TrackerRun:
    if run.tracker == "wandb":
        from benchmark.tracking.wandb_runs import WandbRun

        return WandbRun(run, resumed_at, say)
    from benchmark.tracking.tensorboard_runs import TensorboardRun

    return TensorboardRun(run, resumed_at)
