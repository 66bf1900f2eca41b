"""Files that readers see whole or not at all, and nothing left of a process that is told to end."""

import os
import re
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from datamodules.errors import cannot_write


def this_process() -> str:
    """Return what tells this process from all others that share a file system: HOST.PID, fit for a file's name."""
    host = re.sub(r"[^\w-]", "-", socket.gethostname(), flags=re.ASCII)
    return f"{host[:64]}.{os.getpid()}"


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Open a file that takes the place of `path`, on the disk, when the block ends; after an error `path` is as before.

    It lies beside `path` as .NAME.HOST.PID.tmp; one that a killed process left may be removed.
    """
    part = path.with_name(f".{path.name}.{this_process()}.tmp")
    try:
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file in one step: a temporary file beside it, flushed to the disk, then renamed over it.

    Raises UserError where the file cannot be written; an older file of that name then stays as it was.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file:
            file.write(content)
    except OSError as error:
        raise cannot_write(path, error) from error


@contextmanager
def removing_when_terminated() -> Iterator[None]:
    """End by an exception at SIGTERM inside the block, so that temporary files are removed and locks given back.

    A program's own answer to SIGTERM is left as it is, as is everything in other threads than the first.
    """
    first = threading.current_thread() is threading.main_thread()
    if not first or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return

    def end(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
