"""The ladder measured: every step, for N candidates, several times over; one record each, so that it can be resumed.

A round takes all steps once, each by a server of its own, so that a machine that becomes slower shows as a spread.
"""

import asyncio
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.bench.serving.served import Served, cores, pinned, serving
from benchmark.bench.serving.steps import STEPS, Step
from benchmark.bench.timing import load_average, machine
from benchmark.records.commit import commit
from benchmark.serving.load import (
    Load,
    Measured,
    closed_loop,
    fields_of,
    largest_rate_near,
    over_http,
    random_bodies,
)
from datamodules.errors import UserError
from datamodules.files.atomic import write_atomically

FORMAT = 1
PACKAGES = ("onnxruntime", "uvicorn", "starlette", "aiohttp", "numba")
LATE = 0.1  # of the bound: where the generator itself is later, it is what limits the rate
Cell = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """What is measured; times in seconds, rates in requests a second."""

    rates: tuple[tuple[int, float], ...] = ((1, 50.0), (50, 15.0), (200, 5.0))  # candidates -> the fixed rate
    history: int = 50  # behaviours of a request
    repeats: int = 3
    bound_ms: float = 50.0  # of p99, for the largest rate
    closed: float = 1.0  # of one client
    shortest: float = 2.0  # of a test in an open loop, which has `requests` or is as long as `longest`
    longest: float = 5.0
    requests: int = 100
    warmup: float = 0.5
    precision: float = 0.1  # of the largest rate

    def seconds(self, rate: float) -> float:
        """How long a test in an open loop is."""
        return float(np.clip(self.requests / rate, self.shortest, self.longest))


QUICK = Plan(rates=((2, 20.0),), history=5, repeats=1, closed=0.2, shortest=0.3, longest=0.3, warmup=0.1, precision=1.0)


def measure_ladder(
    plan: Plan,
    runs: Mapping[str, Path],
    data_dir: Path,
    out: Path,
    steps: Sequence[Step] = STEPS,
    report: Callable[[str], None] = print,
) -> list[Cell]:
    """Measure what OUT/records lacks and return all records of the plan; `runs` are the folders of the models.

    Raises `UserError` where a record there is of another plan or of other weights.
    """
    weights = {model: hashlib.sha256((run / "weights.pt").read_bytes()).hexdigest() for model, run in runs.items()}
    there, on = cores(), machine(1) | {"packages": {name: _version(name) for name in PACKAGES}}
    if there is None:
        report("server and generator share their cores: this system cannot pin processes, or has one core")
    for repeat in range(plan.repeats):
        for step in steps:
            missing = [n for n, _ in plan.rates if not _finished(out, plan, step, n, repeat, weights[step.model])]
            if not missing:
                continue
            report(f"round {repeat + 1} of {plan.repeats}: {step.label}")
            onnx = out / f"{step.name}-{weights[step.model][:8]}.onnx"
            server = serving(step.name, runs[step.model], onnx, data_dir, there[0] if there else None)
            with pinned(there[1] if there else None), server as served:
                for n in missing:
                    found = _measure(plan, served, n, _start(out, plan, step, n, repeat))
                    identity = _identity(plan, step, weights[step.model])
                    about = {"step": step.name, "candidates": n, "repeat": repeat, "model": served.about}
                    pins = {"pinned": there and dict(zip(("server", "generator"), there, strict=True))}
                    cell = identity | about | pins | {"machine": on, "commit": commit()} | found
                    write_atomically(_place(out, step, n, repeat), (json.dumps(cell, indent=1) + "\n").encode())
    return read_cells(plan, out, steps)


def read_cells(plan: Plan, out: Path, steps: Sequence[Step] = STEPS) -> list[Cell]:
    """Return the records of a plan that OUT has."""
    places = [_place(out, step, n, repeat) for step in steps for n, _ in plan.rates for repeat in range(plan.repeats)]
    return [json.loads(place.read_text("utf-8")) for place in places if place.is_file()]


def _place(out: Path, step: Step, n: int, repeat: int) -> Path:
    return out / "records" / f"{step.name}-{n}-{repeat}.json"


def _finished(out: Path, plan: Plan, step: Step, n: int, repeat: int, weights: str) -> bool:
    """Whether a record is there; raises `UserError` for one of something else."""
    place = _place(out, step, n, repeat)
    if not place.is_file():
        return False
    found = json.loads(place.read_text("utf-8"))
    for name, wanted in _identity(plan, step, weights).items():
        if found.get(name) != wanted:
            raise UserError(
                f"{place} was measured with {name} {found.get(name)}, expected {wanted}: choose another --out, or "
                f"remove {place.parent} to measure anew"
            )
    return True


def _identity(plan: Plan, step: Step, weights: str) -> dict[str, Any]:
    """What a record must agree in with what is asked for."""
    settings: dict[str, Any] = json.loads(json.dumps(asdict(plan)))
    del settings["repeats"]  # more of them can be added
    return {"format": FORMAT, "plan": settings, "batching": asdict(step.batching), "weights_sha256": weights}


def _start(out: Path, plan: Plan, step: Step, n: int, repeat: int) -> float | None:
    """Where the largest rate is looked for first: a little below that of the round before."""
    place = _place(out, step, n, repeat - 1)
    before = json.loads(place.read_text("utf-8"))["largest_rate"] if place.is_file() else 0.0
    return 0.9 * before or None


def _measure(plan: Plan, served: Served, n: int, start: float | None) -> Cell:
    """Return what a server does with requests of N candidates."""
    bodies = random_bodies(asyncio.run(fields_of(served.url)), plan.history, n)
    closed = asyncio.run(closed_loop(served.url, bodies, plan.closed, plan.warmup))
    tests: list[Cell] = []

    def test(rate: float) -> Measured:
        load = Load(rate, plan.seconds(rate), plan.warmup, seed=len(tests))
        found = asyncio.run(over_http(load, served.url, bodies))
        tests.append({"rate": rate, "holds": found.within(plan.bound_ms), **_shown(found)})
        return found

    test(dict(plan.rates)[n])
    fixed, median = tests.pop(), float(np.median(closed))
    largest = 0.0
    if median < plan.bound_ms:  # else no rate holds
        factor = 1.4 if start else 2.0
        begin = start or 0.7 * 1e3 / median
        largest = largest_rate_near(lambda r: test(r).within(plan.bound_ms), begin, factor, plan.precision)
    above = [one for one in tests if not one["holds"] and one["rate"] > largest]
    nearest = min(above, key=lambda one: one["rate"], default=None)
    late = nearest is not None and (nearest["late_ms"] or 0.0) > LATE * plan.bound_ms  # None: nothing was sent
    return {
        "load_average": load_average(),
        "closed": {"requests": len(closed), "median_ms": median, "mean_ms": float(np.mean(closed))},
        "fixed": fixed,
        "tests": tests,
        "largest_rate": largest,
        "limited_by": "generator" if late else "server",
    }


def _shown(found: Measured) -> Cell:
    figures = {"offered": found.offered, "achieved": found.achieved, **found.latency, "late_ms": found.late_ms}
    counts: Cell = dict(found.counts.items())
    return {**counts, **{name: value if np.isfinite(value) else None for name, value in figures.items()}}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
