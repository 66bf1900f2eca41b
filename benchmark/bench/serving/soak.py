"""A server under load for an hour: its memory over time, and requests that were not answered."""

import asyncio
import itertools
import json
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from scipy import stats

from benchmark.bench.serving.served import Served, cores, pinned, serving
from benchmark.bench.timing import machine
from benchmark.records.commit import commit
from benchmark.report.render import Section, Table
from benchmark.serving.load import Load, Measured, fields_of, holds_once, largest_rate_near, over_http, random_bodies
from datamodules.errors import UserError
from datamodules.files.atomic import write_atomically

STEP = "light"  # of the ladder: the fused recurrence, histories encoded once, requests batched; any run
BOUND = 0.01  # of the memory, an hour: below it memory counts as flat
BLOCKS = 60  # of whose medians the slope is; samples beside each other are not independent
LEAST = 600.0  # seconds: a shorter time says nothing of an hour
P99_MS = 50.0
Growth = Literal["flat", "grows", "inconclusive"]
Sample = tuple[float, float]  # seconds from the start, MB
RULE = (
    f"Memory is flat where the upper end of the 95 % interval of its slope (Theil and Sen, of {BLOCKS} medians over "
    f"time) is at most {100 * BOUND:g} % an hour, and grows where the lower end is above it. "
    f"Less than {LEAST / 60:g} minutes are inconclusive."
)


@dataclass(frozen=True)
class Memory:
    """The slope of a server's resident memory, MB an hour, with its 95 % interval."""

    median_mb: float
    slope: float
    low: float
    high: float
    verdict: Growth


def growth(samples: Sequence[Sample]) -> Memory:
    """Judge the memory of a server by the rule above.

    >>> growth([(60.0 * t, 500.0 + t) for t in range(61)]).verdict  # 60 MB an hour
    'grows'
    """
    times, memory = np.array(samples, dtype=float).T
    blocks = np.array_split(np.arange(len(times)), min(BLOCKS, len(times)))
    hours, medians = (np.array([np.median(values[block]) for block in blocks]) for values in (times / 3600, memory))
    slope, _, low, high = stats.theilslopes(medians, hours)
    bound = BOUND * float(np.median(medians))
    verdict: Growth = "flat" if high <= bound else "grows" if low > bound else "inconclusive"
    if times[-1] < LEAST:
        verdict = "inconclusive"
    return Memory(float(np.median(medians)), float(slope), float(low), float(high), verdict)


def soak(
    run: Path,
    data_dir: Path | None,
    out: Path,
    *,
    minutes: float = 60.0,
    share: float = 0.7,
    rate: float | None = None,
    candidates: int = 50,
    history: int = 50,
    report: Callable[[str], None] = print,
) -> Table:
    """Load a run's server at `rate`, or at a share of its largest one, and write OUT/soak.json and OUT/soak.md."""
    if not Path("/proc/self/statm").exists():
        raise UserError("a server's memory is read from /proc, which this system lacks: run it on Linux")
    there = cores()
    server = serving(STEP, run, Path(), data_dir, there[0] if there else None)
    with pinned(there[1] if there else None), server as served:
        bodies = random_bodies(asyncio.run(fields_of(served.url)), history, candidates)
        if rate is None:
            rate = share * _largest(served, bodies, report)
        report(f"{minutes:g} minutes at {rate:.1f} requests a second")
        tests, samples = _load(served, bodies, rate, minutes * 60)
    memory = growth(samples)
    counts = {kind: sum(test.counts[kind] for test in tests) for kind in tests[0].counts}
    of_tests = [
        {**test.counts, "p99_ms": test.latency["p99_ms"] if test.counts["answered"] else None} for test in tests
    ]
    p99 = [test["p99_ms"] for test in of_tests if test["p99_ms"] is not None]
    result = {
        "run": served.about,
        "minutes": minutes,
        "rate": rate,
        "share_of_largest": share,
        "candidates": candidates,
        "history": history,
        "counts": counts,
        "p99_ms_of_minutes": {"median": float(np.median(p99)), "highest": float(np.max(p99))} if p99 else None,
        "tests": of_tests,  # one a minute
        "memory": vars(memory),
        "samples": samples,
        "pinned": there and {"server": there[0], "generator": there[1]},
        "machine": machine(1),
        "commit": commit(),
    }
    write_atomically(out / "soak.json", (json.dumps(result) + "\n").encode())
    made = soak_table(result)
    write_atomically(out / "soak.md", made.markdown().encode())
    return made


def soak_table(result: dict[str, Any]) -> Table:
    """Return what came of a soak."""
    counts, memory, p99 = result["counts"], result["memory"], result["p99_ms_of_minutes"]
    total = sum(counts.values())
    slope = f"{memory['slope']:+.2f} MB an hour [{memory['low']:+.2f}, {memory['high']:+.2f}]"
    rows = [
        *(
            (what, f"{counts[kind]:,} of {total:,}", "some" if counts[kind] else "none")
            for what, kind in (
                ("requests that failed", "failed"),
                ("requests refused, the queue being full or slow", "refused"),
            )
        ),
        ("memory", f"{memory['median_mb']:.0f} MB, {slope}", memory["verdict"]),
    ]
    if p99:
        rows.append(("p99 of a minute, ms", f"{p99['median']:.1f}, at most {p99['highest']:.1f}", ""))
    title = (
        f"Soak of {result['run']['model']}: {result['minutes']:g} minutes at {result['rate']:.1f} requests a second, "
        f"{result['candidates']} candidates, histories of {result['history']}"
    )
    return Table(title, (Section("", ("", "found", "verdict"), tuple(rows)),), (RULE,), ())


def _largest(served: Served, bodies: Sequence[bytes], report: Callable[[str], None]) -> float:
    seeds = itertools.count()  # a second try is one with other arrivals

    def holds(rate: float) -> bool:
        load = Load(rate, 5.0, 1.0, next(seeds)).lasting()
        return asyncio.run(over_http(load, served.url, bodies)).within(P99_MS)

    found = largest_rate_near(holds_once(holds), 20.0, 2.0)
    if not found:
        raise UserError(f"no rate has a p99 of at most {P99_MS:g} ms: give --rate, or fewer --candidates")
    report(f"largest rate with p99 <= {P99_MS:g} ms: {found:.1f} requests a second")
    return found


def _load(served: Served, bodies: Sequence[bytes], rate: float, seconds: float) -> tuple[list[Measured], list[Sample]]:
    """Return a test a minute, one behind the other, and the memory at every second."""
    samples: list[Sample] = []
    ended, began = threading.Event(), time.monotonic()
    page = os.sysconf("SC_PAGE_SIZE") / 1e6  # MB

    def watch() -> None:
        while not ended.wait(min(1.0, seconds / 60)):
            try:
                resident = int(Path(f"/proc/{served.process.pid}/statm").read_text("utf-8").split()[1])
            except (OSError, IndexError):  # it has ended, and its requests fail
                return
            samples.append((round(time.monotonic() - began, 2), round(resident * page, 3)))

    watching = threading.Thread(target=watch)
    watching.start()
    tests: list[Measured] = []
    try:
        while (left := seconds - (time.monotonic() - began)) > 0:
            load = Load(rate, min(60.0, left), warmup=0.0, seed=len(tests))
            tests.append(asyncio.run(over_http(load, served.url, bodies)))
    finally:
        ended.set()
        watching.join()
    return tests, samples
