"""Threads of the tests, sweeps without processes of their own, and which doctests need what is not installed."""

import gc
import os
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from typing import Any

import pytest

from benchmark.runs.process import collect_seldom

collect_seldom()
os.environ.setdefault("OMP_NUM_THREADS", "1")  # as a run: threads that wait for each other stall beside other load

NEEDS = {
    "onnx": ["benchmark/serving/export.py", "benchmark/serving/onnx_recurrence.py"],
    "triton": ["baselines/layers/recurrence/cuda.py"],
    "aiohttp": ["benchmark/serving/load.py"],
    "uvicorn": ["benchmark/serving/server.py"],
    "ray": ["benchmark/executors/ray.py"],
}
collect_ignore = [path for package, paths in NEEDS.items() if not find_spec(package) for path in paths]


class InThisProcess:
    """An executor and its one worker: trains where it is called, since a process spends four seconds on imports."""

    number, config = 0, None

    def __init__(self, train: Any, runs: int, *, workers: int, gpus: Sequence[str]) -> None:
        self.train, self.workers = train, [self]

    def assign(self, config: Any) -> None:
        self.config = config

    def release(self) -> Any:
        config, self.config = self.config, None
        return config

    def receive(self) -> Iterator[Any]:
        from benchmark.executors.base import attempt

        said: list[Any] = []
        said.append(attempt(self.train, self.config, said.append))  # type: ignore[arg-type]
        yield from said

    def wait(self, seconds: float) -> None: ...

    def stop(self) -> None: ...


@pytest.fixture
def trains_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sweeps of a test train in its own process; tests/benchmark/executors has the processes of a real one."""
    monkeypatch.setattr("benchmark.executors.sweep.ProcessExecutor", InThisProcess)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the file that takes longest, since a file stays in one process: last, it would keep one core idle."""
    items.sort(key=lambda item: item.path.name != "test_docs.py")


def pytest_collection_finish() -> None:
    """Leave what is imported out of later collections of garbage: each run begins with one, for its peak of memory."""
    gc.collect()
    gc.freeze()
