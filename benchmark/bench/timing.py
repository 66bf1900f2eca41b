"""How everything here is timed: in turns, with medians and quartiles.

A machine's speed drifts (clock, other processes), so the sides of a comparison take turns in every round, the order
reversed from round to round, and a ratio is the median of the rounds' own ratios.
"""

import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

BUSY = 0.5  # load average of the last minute from which on the machine counts as busy
Clock = Literal[
    "wall",
    "cpu",  # processor time of the process, all threads: other programs inflate it less
    "cuda",  # between two events of the GPU, once all that was asked of it before is done
]
SETTINGS = ("OMP_NUM_THREADS", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_")


Summary = dict[str, float]  # median, lower and upper quartile, and how many repeats they are of


def summarise(values: Sequence[float], factor: float = 1) -> Summary:
    """Return median and quartiles (linear between values) of at least one value, times `factor` above 0.

    >>> summarise([3.0, 1.0, 2.0], factor=2)
    {'median': 4.0, 'lower': 3.0, 'upper': 5.0, 'repeats': 3}
    """
    lower, median, upper = (np.percentile(values, [25, 50, 75]) * factor).tolist()
    return {"median": median, "lower": lower, "upper": upper, "repeats": len(values)}


def ratio(numerators: Sequence[float], denominators: Sequence[float]) -> Summary:
    """Return the summary of the rounds' own ratios.

    >>> ratio([2.0, 9.0], [1.0, 3.0])["median"]
    2.5
    """
    return summarise([a / b for a, b in zip(numerators, denominators, strict=True)])


@dataclass(frozen=True)
class Timer:
    """How often to measure, and by which clock."""

    repeats: int
    clock: Clock = "wall"

    def now(self) -> float:
        """Return seconds since some moment."""
        return time.process_time() if self.clock == "cpu" else time.perf_counter()

    def seconds_of(self, work: Callable[[], object]) -> float:
        """Return the seconds that a call takes; a float that it returns is taken instead, for it has timed itself."""
        if self.clock == "cuda":
            first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
            torch.cuda.synchronize()
            first.record()
            own = work()
            last.record()
            last.synchronize()
            took = first.elapsed_time(last) / 1e3
        else:
            began = self.now()
            own = work()
            took = self.now() - began
        return own if isinstance(own, float) else took

    def interleave(
        self,
        sides: Mapping[str, Callable[[], object]],
        before: Callable[[int], object] | None = None,
        warm_up: int = 1,
    ) -> dict[str, list[float]]:
        """Return the seconds of each side in each of `repeats` rounds, after `warm_up` rounds that do not count.

        In a round each side runs once. `before` is called with the round's number, warm-up included, and is not timed.
        A side that returns a float has timed itself, in another process, and its seconds are taken instead.
        """
        seconds: dict[str, list[float]] = {name: [] for name in sides}
        for number in range(warm_up + self.repeats):
            if before is not None:
                before(number)
            for name in list(sides)[:: 1 if number % 2 == 0 else -1]:
                took = self.seconds_of(sides[name])
                if number >= warm_up:
                    seconds[name].append(took)
        return seconds


def load_average() -> list[float]:
    """Return the load averages of the last 1, 5 and 15 minutes."""
    return [round(value, 2) for value in os.getloadavg()]


def machine(threads: int) -> dict[str, Any]:
    """Return what the figures depend on: processor, cores, threads, versions, allocator settings."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "processor": _processor(),
        "cores": cores,
        "threads": threads,
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "environment": {name: os.environ[name] for name in SETTINGS if name in os.environ},
    }


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    lines = information.read_text("utf-8", "replace").splitlines() if information.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
