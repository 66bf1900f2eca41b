"""Threads of the tests, training without a process of its own, and modules without doctests: what they import is optional."""

import gc
import os
from importlib.util import find_spec

import pytest

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

    def __init__(self, train, runs, *, workers, gpus):
        self.train, self.workers = train, [self]

    def assign(self, config):
        self.config = config

    def release(self):
        config, self.config = self.config, None
        return config

    def receive(self):
        from benchmark.executors.base import attempt

        said = []
        said.append(attempt(self.train, self.config, said.append))
        yield from said

    def wait(self, seconds):
        pass

    def stop(self):
        pass


@pytest.fixture
def trains_here(monkeypatch):
    """Sweeps of a test train in its own process; tests/benchmark/executors has the processes of a real one."""
    monkeypatch.setattr("benchmark.executors.sweep.ProcessExecutor", InThisProcess)


def pytest_collection_finish():
    """Leave what is imported out of later collections of garbage: each run begins with one, for its peak of memory."""
    gc.collect()
    gc.freeze()
