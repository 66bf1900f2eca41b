"""The work of a child process of `measure.py`: `python -m benchmark.bench.prepare.child prepare|decompress FOLDER`.

FOLDER/raw/amazon holds the files. The child prints the seconds of its work, start-up and imports left out, and its peak
resident memory. Nothing heavier than preparation needs is imported here, for that memory would count.
"""

import json
import resource
import shutil
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from isal import igzip

from benchmark.bench.prepare.raw import CATEGORY
from datamodules.datasets import DATASETS
from datamodules.interactions import write_interactions
from datamodules.sources.amazon import read_amazon
from datamodules.sources.spec import Counts

CHUNK = 1 << 20  # bytes


def prepare(folder: Path) -> dict[str, Any]:
    """Make the canonical table of the files in a folder anew; return its counts."""
    spec = replace(DATASETS["generated"], name="prepared", expected=Counts())
    shutil.rmtree(folder / spec.name, ignore_errors=True)
    raw = read_amazon(CATEGORY, folder)
    return {"counts": vars(write_interactions(raw, spec, folder / spec.name))}


def decompress(folder: Path) -> dict[str, Any]:
    """Decompress the files in a folder to nowhere, as preparation does; return the library and the number of bytes."""
    size = 0
    for path in sorted((folder / "raw" / "amazon").glob("*.gz")):
        with igzip.open(path, "rb") as file:  # type: ignore[no-untyped-call]
            while chunk := file.read(CHUNK):
                size += len(chunk)
    return {"library": "isal", "bytes": size}


def peak_mb() -> float:
    """Return this process's peak resident memory in MB.

    Linux hands `ru_maxrss` on from the parent that started a process; VmHWM is the process's own.
    """
    status = Path("/proc/self/status")
    if status.exists():
        lines = status.read_text("utf-8").splitlines()
        kilobytes = next(line.split()[1] for line in lines if line.startswith("VmHWM:"))
        return round(int(kilobytes) * 1024 / 1e6, 1)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6, 1)


def main(work: str, folder: Path) -> None:
    """Do the work and print its report."""
    before = peak_mb()
    clocks = {"wall": time.perf_counter, "cpu": time.process_time}
    began = {name: clock() for name, clock in clocks.items()}
    report = {"prepare": prepare, "decompress": decompress}[work](folder)
    report["seconds"] = {name: clock() - began[name] for name, clock in clocks.items()}
    report |= {"peak_mb": peak_mb(), "peak_before_mb": before}
    print(json.dumps(report))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
