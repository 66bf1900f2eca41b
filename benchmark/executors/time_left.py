"""How long runs will take: seconds a step, from those measured so far and from earlier runs like them."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from benchmark.runs.config import RunConfig


class Measured(NamedTuple):
    """Steps of one run, and the seconds that they took."""

    config: RunConfig
    seconds: float
    steps: int


def seconds_a_step(config: RunConfig, measured: Iterable[Measured], expected: Mapping[str, float]) -> float | None:
    """Estimate the seconds a step of a run; None where nothing is known.

    Closest first: what its row takes in this sweep; what is `expected` of it by name, times the speed of this sweep
    against what was expected of the runs measured so far; what its data set takes; what any run takes.
    """
    by_group: defaultdict[str, list[Measured]] = defaultdict(list)
    for run in measured:
        for group in groups_of(run.config):
            by_group[group].append(run)
    row, dataset, everything = groups_of(config)
    if config.name in expected and not by_group[row]:
        compared = [run for run in by_group[everything] if run.config.name in expected]
        by_expectation = sum(expected[run.config.name] * run.steps for run in compared)
        slower = sum(run.seconds for run in compared) / by_expectation if by_expectation else 1.0
        return expected[config.name] * slower
    like = by_group[row] or by_group[dataset] or by_group[everything]
    return sum(run.seconds for run in like) / sum(run.steps for run in like) if like else None


def groups_of(config: RunConfig) -> tuple[str, str, str]:
    """Return the groups of runs that a run is like, closest first: other seeds, same data set, any."""
    return config.name.rpartition("/")[0], config.dataset, ""


def makespan(seconds: Iterable[float], workers: int) -> float:
    """Return when the last of some jobs ends: each goes, in order, to the worker that is free first."""
    loads = [0.0] * max(1, workers)
    for each in seconds:
        heapq.heapreplace(loads, loads[0] + each)
    return max(loads)
