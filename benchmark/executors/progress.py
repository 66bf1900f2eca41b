"""What a sweep shows while it runs: a live view in a terminal, plain lines in a log, nothing when quiet."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.console import Console, ConsoleDimensions, Group
from rich.live import Live
from rich.text import Text

from benchmark.executors.terminal import Line, duration, reported_auc, rows_of_sweep, sweep_view
from benchmark.executors.time_left import Measured, groups_of, makespan, seconds_a_step

if TYPE_CHECKING:
    from benchmark.runs.config import Progress, RunConfig


@dataclass
class _Running:
    config: RunConfig
    began: float
    first: tuple[float, int] | None = None  # time and step of the first progress: what came before is start-up
    last: tuple[float, Progress] | None = None

    @property
    def measured(self) -> list[Measured]:
        """The steps between the first and the last progress, none where these are one."""
        if self.first is None or self.last is None or self.last[1].step <= self.first[1]:
            return []
        return [Measured(self.config, self.last[0] - self.first[0], self.last[1].step - self.first[1])]


class Display:
    """Counts the runs of a sweep, estimates the time left and shows both.

    `waiting` are the runs to come in their order, `kept` counts those that were finished before, `workers` run side by
    side. A `console` that is a terminal gets a live view, another one plain lines: one a run that ends and one summary
    a minute; None gets nothing. `clock` returns seconds, `earlier` holds the records of the runs that were finished
    before, and `expected` the seconds a step of runs like these, both by names of runs.
    """

    def __init__(
        self,
        waiting: Sequence[RunConfig],
        kept: int,
        workers: int,
        console: Console | None,
        clock: Callable[[], float] = time.monotonic,
        earlier: Mapping[str, dict[str, Any]] | None = None,
        expected: Mapping[str, float] | None = None,
    ) -> None:
        self._waiting, self._kept, self._workers = deque(waiting), kept, workers
        self._console, self._clock = console, clock
        # Redrawn by the sweep's own loop: a thread of its own would read the state while it changes.
        live = console is not None and console.is_terminal and not console.is_dumb_terminal
        self._live = Live(console=console, auto_refresh=False, transient=True) if live else None
        self._summarised = clock()
        self._total, self._finished, self._failed = kept + len(waiting), 0, 0
        self._running: dict[int, _Running] = {}
        self._elsewhere: dict[str, float] = {}  # since when other commands are seen to train runs, by name
        self._measured: list[Measured] = []  # of finished runs
        self._expected = expected or {}
        self._rows = rows_of_sweep([config.name for config in waiting], earlier or {})
        self._steps: dict[str, int] = {}  # of the last run that began, by group

    def __enter__(self) -> Display:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def started(self, worker: int, config: RunConfig) -> None:
        """Note that `worker` begins a run that was waiting."""
        self._waiting.remove(config)
        self._running[worker] = _Running(config, self._clock())

    def postponed(self, worker: int, elsewhere: bool = False) -> None:
        """Note that the run of `worker` waits again, because another command trains it where `elsewhere`."""
        run = self._running.pop(worker)
        self._waiting.append(run.config)
        if elsewhere:
            self._elsewhere.setdefault(run.config.name, run.began)

    def progressed(self, worker: int, progress: Progress) -> None:
        """Note how far the run of `worker` is."""
        run, now = self._running[worker], self._clock()
        run.first = run.first or (now, progress.step)
        run.last = (now, progress)
        self._steps |= dict.fromkeys(groups_of(run.config), progress.steps)

    def finished(self, worker: int, record: dict[str, Any]) -> None:
        """Note that the run of `worker` left `record`."""
        run, self._finished = self._running.pop(worker), self._finished + 1
        now = self._clock()
        self._measured += [each._replace(seconds=now - run.first[0]) for each in run.measured if run.first]
        auc = reported_auc(record)
        self._rows[run.config.name.rpartition("/")[0]].add(auc)
        shown = [f"AUC {auc:.4f}"] if auc is not None else []
        self.say(", ".join([f"finished {run.config.name}", *shown, duration(now - run.began)]))

    def failed(self, worker: int, reason: str) -> None:
        """Note that the run of `worker` failed for `reason`."""
        self._failed += 1
        self.say(f"failed {self._running.pop(worker).config.name}: {reason}")

    def seconds_left(self) -> float | None:
        """Estimate the seconds until the last run ends; None where nothing like one of them has been measured."""
        waiting = [_Running(config, self._clock()) for config in self._waiting]
        seconds = [self._seconds_left_of(run) for run in [*self._running.values(), *waiting]]
        known = [each for each in seconds if each is not None]
        return makespan(known, self._workers) if len(known) == len(seconds) else None

    def _seconds_left_of(self, run: _Running) -> float | None:
        """Estimate the seconds of one run, which may not have begun, or not here."""
        config, now = run.config, self._clock()
        measured = [*self._measured, *(each for other in self._running.values() for each in other.measured)]
        pace = seconds_a_step(config, measured, self._expected)
        steps = config.steps or next((self._steps[group] for group in groups_of(config) if group in self._steps), None)
        since = self._elsewhere.get(config.name, now)
        if run.last:
            since, steps = run.last[0], run.last[1].steps - run.last[1].step
        return None if pace is None or steps is None else max(0.0, steps * pace - (now - since))

    def summary(self) -> str:
        """Return the counts and the time left in one line."""
        text = f"{self._kept + self._finished} of {self._total} runs finished"
        text += f" ({self._kept} of them earlier)" if self._kept else ""
        text += f", {self._failed} failed" if self._failed else ""
        if not self._running and not self._waiting:
            return text
        left = self.seconds_left()
        return f"{text}, time left not known yet" if left is None else f"{text}, about {duration(left)} left"

    def say(self, text: str) -> None:
        """Show a line that stays."""
        if self._console:
            self._console.print(Text(text), soft_wrap=True)

    def refresh(self) -> None:
        """Show the present state; to be called about twice a second."""
        if self._live:
            self._live.update(self._view(), refresh=True)
        elif self._clock() - self._summarised >= 60:
            self._summarised = self._clock()
            self.say(self.summary())

    def _view(self) -> Group:
        running = [run for _, run in sorted(self._running.items())]
        return sweep_view(
            [Line(run.config.name, run.last and run.last[1], self._seconds_left_of(run)) for run in running],
            self._rows,
            self._console.size if self._console else ConsoleDimensions(80, 25),
            (self._kept + self._finished + self._failed) / max(1, self._total),
            self.summary(),
        )


def open_display(
    waiting: Sequence[RunConfig],
    kept: int,
    workers: int,
    *,
    quiet: bool,
    earlier: Mapping[str, dict[str, Any]] | None = None,
    expected: Mapping[str, float] | None = None,
) -> Display:
    """Return the display for stderr; it shows nothing with `quiet`. Arguments as of `Display`."""
    # Asked of stderr itself: rich takes a log for a terminal where FORCE_COLOR is set.
    console = None if quiet else Console(stderr=True, force_terminal=sys.stderr.isatty(), highlight=False)
    return Display(waiting, kept, workers, console, earlier=earlier, expected=expected)
