"""One process at a time, on one machine or on many that share a file system.

A lock is a file that names its holder. The holder shows every third of `LEASE` that it lives; one that died on this
machine is noticed at once, one on another machine when its file has stood unchanged for `LEASE`. A process that waits
tells this by its own steady clock. For processes that only look and go, the first writes beside the lock what it saw,
and later ones compare: the time between is told by the file server's clock alone, which must not jump by `LEASE`; what
the clocks of the machines say does not matter. This asks nothing of a file system but that a file is made by one
process alone, where `flock` is often missing on clusters.
"""

import hashlib
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from filelock import SoftFileLease, Timeout

from datamodules.files.atomic import replacing, this_process

LEASE = 60.0  # seconds; all processes must agree on it
POLL = 0.5  # seconds between two tries


class Busy(Exception):
    """Another process holds the lock; the message names it."""


@cache  # one object a file, since it remembers since when the file has not changed
def _lease(path: str) -> SoftFileLease:
    return SoftFileLease(path, lease_duration=LEASE)


def take(path: Path) -> SoftFileLease:
    """Return the lock, taken; `release` gives it back. Raises `Busy` where another process has it."""
    lease = _lease(os.path.abspath(path))
    try:
        lease.acquire(timeout=0)
    except Timeout:
        owner = lease.owner  # None: the holder died before it wrote its name
        if owner and owner.hostname == socket.gethostname():
            raise Busy(_holder(lease, path)) from None
        state = _state(path)
        if not state or not _stood(path, state) or not _is_ours_to_break(path, state):
            raise Busy(_holder(lease, path)) from None
        lease.force_break()
        return take(path)
    _seen(path).unlink(missing_ok=True)
    return lease


def _seen(path: Path) -> Path:
    """The file that holds in which state a lock was first seen; its own time is when."""
    return path.with_name(f".{path.name}.seen.tmp")


def _state(path: Path) -> str:
    """Return what changes whenever a lock is renewed or has another holder; nothing where there is no lock."""
    try:
        with path.open("rb") as file:  # opened, since a client of a file server may remember what `stat` said before
            content, found = file.read(), os.fstat(file.fileno())
    except OSError:
        return ""
    return f"{found.st_ino} {found.st_mtime_ns} {hashlib.sha256(content).hexdigest()}"


def _stood(path: Path, state: str) -> bool:
    """Whether a lock has been in this state for LEASE, by what earlier processes saw; else it is written down."""
    seen, probe = _seen(path), path.with_name(f".{path.name}.{this_process()}.now.tmp")
    try:
        probe.write_bytes(b"")
        now = probe.stat().st_mtime
        probe.unlink()
        if seen.exists() and seen.read_text("utf-8") == state and (since := seen.stat().st_mtime) <= now:
            return now - since >= LEASE
        with replacing(seen) as file:
            file.write(state.encode())
    except (OSError, UnicodeDecodeError):  # another process was faster
        pass
    return False


def _is_ours_to_break(path: Path, state: str) -> bool:
    """Whether this process alone may break a lock: it has moved away what was seen, and the lock is still so."""
    ticket = path.with_name(f".{path.name}.{this_process()}.seen.tmp")
    try:
        os.rename(_seen(path), ticket)
        return ticket.read_text("utf-8") == state == _state(path)
    except (OSError, UnicodeDecodeError):
        return False
    finally:
        with suppress(OSError):
            ticket.unlink()


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
