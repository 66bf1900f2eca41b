"""The most memory that a run takes, measured for itself, whatever its process did before."""

import ctypes
import gc
import resource
import sys
from contextlib import suppress
from pathlib import Path

import pytorch_lightning as pl

STATUS = Path("/proc/self/status")
CLEAR_REFS = Path("/proc/self/clear_refs")
RESET_PEAK = "5"  # proc(5): the peak becomes what is resident now


class PeakMemory(pl.Callback):
    """The peak of this process's resident memory since it was made.

    Linux counts it anew where CLEAR_REFS can be written; else it is the most that was resident at evaluations.
    """

    def __init__(self) -> None:
        gc.collect()
        with suppress(OSError, AttributeError):  # of glibc alone: what an earlier run has freed goes back to the system
            ctypes.CDLL(None).malloc_trim(0)
        self.counted = False
        with suppress(OSError):
            CLEAR_REFS.write_text(RESET_PEAK, "utf-8")
            self.counted = True
        self.most = _status("VmRSS")

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Look at the memory."""
        self.most = max(self.most, _status("VmRSS"))

    @property
    def megabytes(self) -> int:
        """The peak so far; that of the whole process where the system tells no other."""
        if not self.most:
            unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss, in bytes
            return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20)
        return round(max(self.most, _status("VmHWM") if self.counted else 0) / 1024)


def _status(field: str) -> int:
    """A size in kB from /proc; 0 where there is none."""
    with suppress(OSError):
        for line in STATUS.read_text("utf-8").splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1])
    return 0
