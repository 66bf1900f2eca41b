"""What a sweep shows while it runs: a live view in a terminal, plain lines in a log, nothing when quiet."""

from __future__ import annotations

import heapq
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

if TYPE_CHECKING:
    from benchmark.runs.config import Progress, RunConfig


@dataclass
class _Running:
    config: RunConfig
    began: float
    first: tuple[float, int] | None = None  # time and step of the first progress: what came before is start-up
    last: tuple[float, Progress] | None = None


class Display:
    """Counts the runs of a sweep, estimates the time left and shows both.

    `waiting` are the runs to come in their order, `kept` counts those that were finished before,
    `workers` run side by side. A `console` that is a terminal gets a live view, another one plain lines:
    one a run that ends and one summary a minute; None gets nothing. `clock` returns seconds, and `earlier` holds
    the records of the runs that were finished before by their names.
    """

    def __init__(
        self,
        waiting: Sequence[RunConfig],
        kept: int,
        workers: int,
        console: Console | None,
        clock: Callable[[], float] = time.monotonic,
        earlier: Mapping[str, dict[str, Any]] | None = None,
    ) -> None:
        self._waiting, self._kept, self._workers = deque(waiting), kept, workers
        self._console, self._clock = console, clock
        # Redrawn by the sweep's own loop: a thread of its own would read the state while it changes.
        live = console is not None and console.is_terminal and not console.is_dumb_terminal
        self._live = Live(console=console, auto_refresh=False, transient=True) if live else None
        self._summarised = clock()
        self._total, self._finished, self._failed = kept + len(waiting), 0, 0
        self._running: dict[int, _Running] = {}
        self._measured: list[tuple[RunConfig, float, int]] = []  # finished runs with their seconds and steps
        self._rows = rows_of_sweep([config.name for config in waiting], earlier or {})
        self._steps: dict[str, int] = {}  # steps of the last run that began, by group

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

    def postponed(self, worker: int) -> None:
        """Note that the run of `worker` waits again."""
        self._waiting.append(self._running.pop(worker).config)

    def progressed(self, worker: int, progress: Progress) -> None:
        """Note how far the run of `worker` is."""
        run, now = self._running[worker], self._clock()
        run.first = run.first or (now, progress.step)
        run.last = (now, progress)
        self._steps.update(dict.fromkeys(_groups(run.config), progress.steps))

    def finished(self, worker: int, record: dict[str, Any]) -> None:
        """Note that the run of `worker` left `record`."""
        run, self._finished = self._running.pop(worker), self._finished + 1
        now = self._clock()
        if run.first and run.last and run.last[1].step > run.first[1]:
            self._measured.append((run.config, now - run.first[0], run.last[1].step - run.first[1]))
        auc = reported_auc(record)
        self._rows[run.config.name.rpartition("/")[0]].add(auc)
        shown = [f"AUC {auc:.4f}"] if auc is not None else []
        self.say(", ".join([f"finished {run.config.name}", *shown, duration(now - run.began)]))

    def failed(self, worker: int, reason: str) -> None:
        """Note that the run of `worker` failed for `reason`."""
        self._failed += 1
        self.say(f"failed {self._running.pop(worker).config.name}: {reason}")

    def seconds_left(self) -> float | None:
        """Estimate the seconds until the last run ends from step times so far; None before there are any."""
        now = self._clock()
        loads = [0.0] * self._workers
        for run in [*self._running.values(), *(_Running(config, now) for config in self._waiting)]:
            seconds = self._seconds_left_of(run)
            if seconds is None:
                return None
            # The next run goes to the worker that is free first, as in the sweep itself.
            heapq.heapreplace(loads, loads[0] + seconds)
        return max(loads)

    def _seconds_left_of(self, run: _Running) -> float | None:
        """Estimate the seconds of one run, which may not have begun."""
        pace, now, groups = self._seconds_per_step(), self._clock(), _groups(run.config)
        if run.last:
            since, steps = run.last[0], run.last[1].steps - run.last[1].step
        else:
            likely = next((self._steps[group] for group in groups if group in self._steps), 0)
            since, steps = now, run.config.steps or likely
        seconds = next((pace[group] for group in groups if group in pace), None)
        return None if seconds is None else max(0.0, steps * seconds - (now - since))

    def _seconds_per_step(self) -> dict[str, float]:
        measured = list(self._measured)
        for run in self._running.values():
            if run.first and run.last and run.last[1].step > run.first[1]:
                measured.append((run.config, run.last[0] - run.first[0], run.last[1].step - run.first[1]))
        sums: dict[str, tuple[float, int]] = {}
        for config, seconds, steps in measured:
            for group in _groups(config):
                before = sums.get(group, (0.0, 0))
                sums[group] = (before[0] + seconds, before[1] + steps)
        return {group: seconds / steps for group, (seconds, steps) in sums.items()}

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
) -> Display:
    """Return the display for stderr; it shows nothing with `quiet`. Arguments as of `Display`."""
    # Asked of stderr itself: rich takes a log for a terminal where FORCE_COLOR is set.
    console = None if quiet else Console(stderr=True, force_terminal=sys.stderr.isatty(), highlight=False)
    return Display(waiting, kept, workers, console, earlier=earlier)


def _groups(config: RunConfig) -> tuple[str, str, str]:
    """Return the groups of runs that share a step time, closest first: other seeds, same data, any."""
    return config.name.rpartition("/")[0], config.dataset, ""
