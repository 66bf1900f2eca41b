"""Preparing raw files against decompressing them: each a child process, whose peak memory is its own."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmark.bench.prepare.raw import write_raw
from benchmark.bench.timing import Timer, ratio, summarise
from datamodules.errors import UserError

ROOT = Path(__file__).resolve().parents[3]


def measure(reviews: int, timer: Timer) -> dict[str, Any]:
    """Return seconds and peak memory of preparing `reviews` generated reviews, and of decompressing alone.

    Decompression is the floor here: no reader can do without it, and there are no matrix products.
    """
    with tempfile.TemporaryDirectory(prefix="dien-bench-") as temporary:
        folder = Path(temporary)
        paths = write_raw(folder / "raw" / "amazon", reviews)
        reports: dict[str, list[dict[str, Any]]] = {"prepare": [], "decompress": []}

        def side(work: str) -> Callable[[], float]:
            def run() -> float:
                reports[work].append(_child(work, folder))
                return float(reports[work][-1]["seconds"][timer.clock])

            return run

        seconds = timer.interleave({work: side(work) for work in reports})
        compressed = sum(path.stat().st_size for path in paths)
    prepared, decompressed = reports["prepare"], reports["decompress"][-1]
    return {
        "reviews": reviews,
        "counts": prepared[-1]["counts"],
        "compressed_mb": round(compressed / 1e6, 1),
        "raw_mb": round(decompressed["bytes"] / 1e6, 1),
        "prepare_seconds": summarise(seconds["prepare"]),
        "decompress_seconds": summarise(seconds["decompress"]),
        "decompressed_by": decompressed["library"],
        "prepare_over_decompress": ratio(seconds["prepare"], seconds["decompress"]),
        "reviews_per_second": ratio([reviews] * timer.repeats, seconds["prepare"]),
        "peak_mb": max(report["peak_mb"] for report in prepared),
        "peak_before_mb": max(report["peak_before_mb"] for report in prepared),  # interpreter and libraries
    }


def _child(work: str, folder: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmark.bench.prepare.child", work, str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8")
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise UserError(f"the process that should {work} {folder} failed: {last}. Look for room in memory and on disk.")
    report: dict[str, Any] = json.loads(done.stdout)
    return report
