"""Where a sweep's runs are trained: processes of this machine (`processes.py`), a Ray cluster, or Slurm jobs."""

from __future__ import annotations

from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from datamodules.errors import UserError, unknown_name

if TYPE_CHECKING:
    from benchmark.executors.base import Hire

Executor = Literal[
    "local",  # processes of this machine
    "ray",  # tasks of a Ray cluster, which need no shared file system
    "slurm",  # Slurm jobs, which write to a shared file system
]
PACKAGES = {"ray": "ray", "slurm": "submitit"}


def hire_from(executor: str, workers: int | None, device: str, out: Path, slurm_options: str = "") -> Hire:
    """Return what finds the crew of "ray" or "slurm", `workers` runs at a time (None: as many as the cluster takes).

    Raises `UserError` for another name, fewer workers than 1, and where the package is not installed.
    """
    if executor not in PACKAGES:
        raise unknown_name("executor", executor, ["local", *PACKAGES])
    if workers is not None and workers < 1:
        raise UserError(f"the number of workers must be 1 or more, got {workers}; leave it out to choose")
    if find_spec(PACKAGES[executor]) is None:
        raise UserError(
            f"--executor {executor} needs the package '{PACKAGES[executor]}', which is not installed: "
            "make setup-cluster, or pip install 'dien-bench[cluster]'"
        )
    if executor == "ray":
        from benchmark.executors.ray import RayCrew

        return partial(RayCrew, workers=workers, device=device)
    from benchmark.executors.slurm import SlurmCrew

    return partial(SlurmCrew, workers=workers, device=device, out=out, options=slurm_options)
