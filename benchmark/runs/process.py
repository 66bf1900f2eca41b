"""Processes of runs: their environment, what they can print, and how one ended."""

import atexit
import codecs
import contextlib
import gc
import getpass
import io
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

# One thread a run: its steps are too small to gain from a second one, and sums in another order would make results
# depend on the machine. Large temporaries are reused, not handed back to the system at every step (glibc).
WORKER_VARIABLES = dict.fromkeys((f"{name}_NUM_THREADS" for name in ("OMP", "MKL", "NUMBA", "OPENBLAS")), "1") | {
    "MALLOC_MMAP_THRESHOLD_": str(2**30),
    "MALLOC_TRIM_THRESHOLD_": str(2**32),
    "MALLOC_TOP_PAD_": str(2**26),
}
CACHES = ("NUMBA_CACHE_DIR", "MPLCONFIGDIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR")

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


def collect_seldom() -> None:
    """Let this process import what it needs without a search for garbage after every 700 objects, and end without one.

    What is imported stays: of the 5.3 seconds that a process takes to import Lightning and to end, such searches took
    1.8 (Python 3.11). To be called before libraries are imported.
    """
    gc.set_threshold(10_000, *gc.get_threshold()[1:])
    atexit.register(gc.freeze)


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


def own_variables() -> dict[str, str]:
    """The environment variables that a process of the suite needs before it imports libraries.

    Matplotlib (which torchmetrics imports) draws to files alone, whatever a notebook's shell says. Where the user has
    no folder to write to, as in a container, caches go to a temporary one; one without a name gets a name.
    """
    found = {"MPLBACKEND": "agg"}
    home = os.path.expanduser("~")
    if not os.path.isabs(home) or not os.access(home, os.W_OK | os.X_OK):
        folder = _private_folder()
        found |= {name: os.environ.get(name) or str(folder / name.lower()) for name in CACHES}
        found |= {} if os.path.isabs(home) else {"HOME": str(folder)}
    try:
        getpass.getuser()
    except (KeyError, OSError):
        found["USER"] = f"user-{os.getuid()}"
    return found


def _private_folder() -> Path:
    """A temporary folder that only this user can write to: compiled code is loaded from it."""
    folder = Path(tempfile.gettempdir()) / f"dien-bench-{os.getuid()}"
    with contextlib.suppress(OSError):
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
        if status.st_uid == os.getuid() and status.st_mode & 0o170077 == 0o040000:  # a folder, with no rights to others
            return folder
    return Path(tempfile.mkdtemp(prefix="dien-bench-"))
