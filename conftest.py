"""Threads of the tests, and modules without doctests since what they import is optional and not installed."""

import os
from importlib.util import find_spec

os.environ.setdefault("OMP_NUM_THREADS", "1")  # as a run: threads that wait for each other stall beside other load

NEEDS = {
    "onnx": ["benchmark/serving/export.py", "benchmark/serving/onnx_recurrence.py"],
    "triton": ["baselines/layers/recurrence/cuda.py"],
    "aiohttp": ["benchmark/serving/load.py"],
    "uvicorn": ["benchmark/serving/server.py"],
    "ray": ["benchmark/executors/ray.py"],
}
collect_ignore = [path for package, paths in NEEDS.items() if not find_spec(package) for path in paths]
