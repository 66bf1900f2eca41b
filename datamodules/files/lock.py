"""One process at a time, on one machine or on many that share a file system.

A lock is a file that names its holder. The holder shows every third of `LEASE` that it lives; one that died on this
machine is noticed at once, one on another machine when its file has stood unchanged for `LEASE` of our own steady
clock, so that no wall clock matters, neither theirs, ours nor the file server's. This asks nothing of a file system but
that a file is made by one process alone, where `flock` is often missing on clusters.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from filelock import SoftFileLease, Timeout

LEASE = 60.0  # seconds; all processes must agree on it
POLL = 0.5  # seconds between two tries


class Busy(Exception):
    """Another process holds the lock; the message names it."""


@cache  # one object a file, since it remembers since when the file has not changed
def _lease(path: str) -> SoftFileLease:
    return SoftFileLease(path, lease_duration=LEASE)


_empty: dict[str, tuple[int, float]] = {}  # files without a holder's name: when they changed and when we saw it


def take(path: Path) -> SoftFileLease:
    """Return the lock, taken; `release` gives it back. Raises `Busy` where another process has it."""
    lease = _lease(os.path.abspath(path))
    try:
        lease.acquire(timeout=0)
    except Timeout:
        if not _died_at_birth(path):
            raise Busy(_holder(lease, path)) from None
        lease.force_break()
        return take(path)
    return lease


def _died_at_birth(path: Path) -> bool:
    """Whether the holder died before it wrote its name: an empty file that has stood for LEASE."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return False
    now = time.monotonic()
    changed, since = _empty.get(str(path), (0, now))
    if found.st_size or changed != found.st_ctime_ns:
        since = now
    _empty[str(path)] = (found.st_ctime_ns, since)
    return found.st_size == 0 and now - since >= LEASE


def _holder(lease: SoftFileLease, path: Path) -> str:
    owner = lease.owner
    who = f"process {owner.pid} on {owner.hostname}" if owner else "another process"
    return f"{who} (lock {path})"


@contextmanager
def locked(path: Path, waiting: Callable[[str], None]) -> Iterator[None]:
    """Hold a lock; `waiting` is told once who has it where it is not free."""
    told = False
    while True:
        try:
            lease = take(path)
            break
        except Busy as busy:
            if not told:
                waiting(str(busy))
            told = True
            time.sleep(POLL)
    try:
        yield
    finally:
        lease.release()
