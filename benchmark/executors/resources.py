"""How many runs a machine has room for, side by side."""

import os
from pathlib import Path

from datamodules.errors import UserError

MOST_WORKERS = 8
BYTES_PER_RUN = 1.5e9  # where no run like it was measured
CGROUP = Path("/sys/fs/cgroup")


def choose_workers(requested: int | None, gpus: int = 0, bytes_per_run: float = BYTES_PER_RUN) -> int:
    """Return how many runs are trained side by side.

    Without a request: one a GPU where `gpus` are used; else one a core, as far as the free memory allows, between 1
    and 8; a container's limits count. Raises `UserError` for fewer than 1.
    """
    if requested is not None:
        if requested < 1:
            raise UserError(f"the number of workers must be 1 or more, got {requested}; leave it out to choose")
        return requested
    if gpus:
        return gpus
    available = available_bytes()
    fitting = MOST_WORKERS if available is None else int(available // bytes_per_run)
    return max(1, min(available_cores(), fitting, MOST_WORKERS))


def available_cores(cgroup: Path = CGROUP) -> int:
    """Cores that this process may use: those it is bound to, and what a container's quota comes to."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota, _, period = _read(cgroup / "cpu.max").partition(" ")
    return min(cores, max(1, int(quota) // int(period))) if quota.isdecimal() and period else cores


def available_bytes(meminfo: Path = Path("/proc/meminfo"), cgroup: Path = CGROUP) -> int | None:
    """Return the memory that new processes can have, None where the system does not tell it this way."""
    found = [int(line.split()[1]) * 1024 for line in _read(meminfo).splitlines() if line.startswith("MemAvailable:")]
    limit, used = _read(cgroup / "memory.max"), _read(cgroup / "memory.current")
    if limit.isdecimal() and used.isdecimal():
        found.append(max(0, int(limit) - int(used)))
    return min(found, default=None)


def _read(path: Path) -> str:
    return path.read_text("utf-8").strip() if path.exists() else ""
