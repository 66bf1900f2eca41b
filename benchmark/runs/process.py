"""Processes of runs: their environment, what they can print, and how one ended."""

import codecs
import contextlib
import io
import os
import signal
import sys
from collections.abc import Iterator

LOOKALIKES = str.maketrans({"−": "-", "±": "+-", "≈": "~", "≠": "!=", "…": "..."})  # of what tables contain


class ProcessDied(RuntimeError):
    """One of the processes of a run has ended before the run; the message says which and how."""


def how_it_ended(exit_code: int | None) -> str:
    """Say how a process ended."""
    if exit_code == -signal.SIGKILL:
        return "was killed by SIGKILL, most often because memory ran out: fewer workers need less of it"
    if exit_code is not None and exit_code < 0:
        return f"was ended by {signal.Signals(-exit_code).name}"
    return f"ended with exit code {exit_code}"


def make_streams_lenient() -> None:
    """Let stdout and stderr of this process show all text: in ASCII where the encoding of the terminal lacks a sign."""
    codecs.register_error("lookalike", _in_ascii)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="lookalike")


def _in_ascii(error: UnicodeError) -> tuple[str, int]:
    """What is shown for the signs of an error of encoding, and the position to go on from: see `codecs`."""
    assert isinstance(error, UnicodeEncodeError)
    signs = error.object[error.start : error.end].translate(LOOKALIKES)
    return signs.encode("ascii", "backslashreplace").decode("ascii"), error.end


@contextlib.contextmanager
def environment(values: dict[str, str]) -> Iterator[None]:
    """Set environment variables for the processes that are started inside."""
    before = {name: os.environ.pop(name) for name in values if name in os.environ}
    os.environ.update(values)
    try:
        yield
    finally:
        for name in values:
            del os.environ[name]
        os.environ.update(before)


def thread_variables(threads: int) -> dict[str, str]:
    """The environment variables that give a process so many threads."""
    return dict.fromkeys((f"{name}_NUM_THREADS" for name in ("OMP", "MKL", "NUMBA", "OPENBLAS")), str(threads))
