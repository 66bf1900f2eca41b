"""Where the runs of a sweep are trained: processes of this machine (`processes.py`), or tasks of a Ray cluster."""

from __future__ import annotations

from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING

from datamodules.errors import UserError

if TYPE_CHECKING:
    from benchmark.executors.base import Start


def ray_executor(workers: int | None, device: str) -> Start:
    """Return what starts an executor on a Ray cluster, `workers` runs at a time (None: as many as it has room for).

    Raises `UserError` for fewer workers than 1, and where Ray is not installed.
    """
    if workers is not None and workers < 1:
        raise UserError(f"the number of workers must be 1 or more, got {workers}; leave it out to choose")
    if find_spec("ray") is None:
        raise UserError(
            "--executor ray needs the package 'ray', which is not installed: make setup-cluster, or "
            "pip install 'dien-bench[cluster]'"
        )
    from benchmark.executors.ray import RayExecutor

    return partial(RayExecutor, workers=workers, device=device)
