"""A step of the ladder as a server in a process, and on a core, of its own (`python -m` this module)."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from benchmark.records.record import finished_run
from benchmark.runs.process import WORKER_VARIABLES
from datamodules.errors import UserError

ROOT = Path(__file__).parents[3]
SHOWN = 2_000  # characters of what a server said before it ended
WAITING = 64  # requests: far more than are answered within the bound, and few enough that an overload soon ends
END = 60.0  # seconds for a server to answer what it took


@dataclass(frozen=True)
class Served:
    """A server that listens."""

    url: str
    process: subprocess.Popen[str]
    about: dict[str, Any]  # which run; its AUC as served; the largest difference of its answers to the run's


def cores() -> tuple[int, int] | None:
    """One core for the server and one for the generator; None where there are no two, or no way to choose them."""
    if not hasattr(os, "sched_setaffinity"):
        return None
    there = sorted(os.sched_getaffinity(0))
    return (there[0], there[1]) if len(there) > 1 else None


@contextmanager
def pinned(core: int | None) -> Iterator[None]:
    """Keep this process on one core, and afterwards where it was."""
    if core is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def serving(step: str, run: Path, onnx: Path, data_dir: Path | None, core: int | None) -> Iterator[Served]:
    """Start the server of a step and stop it at the end; raises `UserError`, with what it said, where it ends early."""
    finished_run(run)
    options = {"--data-dir": data_dir, "--core": core}
    words = [step, str(run), str(onnx), *(f"{name}={given}" for name, given in options.items() if given is not None)]
    found = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    command = [sys.executable, "-m", "benchmark.bench.serving.served", *words]
    environment = os.environ | WORKER_VARIABLES | {"PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), *found]))}
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors,
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=errors, encoding="utf-8") as process,
    ):
        try:
            assert process.stdout is not None
            about, listening = process.stdout.readline(), process.stdout.readline()
            if not listening:
                process.wait(END)
                errors.seek(0)
                said = errors.read()[-SHOWN:].strip()
                raise UserError(f"the server of the step {step!r} ended before it listened: {said}")
            yield Served(listening.split()[-1], process, json.loads(about))
        finally:
            process.terminate()
            try:
                process.wait(END)
            except subprocess.TimeoutExpired:
                process.kill()


def main(step: str, run: Path, onnx: Path, data_dir: Path | None = None, core: int | None = None) -> None:
    """Serve a run as a step of the ladder does; print what it is as JSON, then where it listens."""
    if core is not None:
        try:
            os.sched_setaffinity(0, {core})
        except (OSError, OverflowError) as error:
            raise UserError(f"there is no core {core} for this process: leave out --core") from error
    import torch

    from benchmark.bench.serving.steps import example_requests, largest_difference, scorer_of_step, step_of
    from benchmark.runs.trained import load_run
    from benchmark.serving.request import Limits
    from benchmark.serving.runs import scorer_of
    from benchmark.serving.scorer import RunScorer
    from benchmark.serving.server import create_app, serve

    torch.set_num_threads(1)
    wanted, loaded = step_of(step), load_run(run, data_dir=data_dir)
    served = scorer_of(loaded)
    requests = example_requests(served.schema)
    expected = served.score(requests)
    scorer: RunScorer = scorer_of_step(wanted, served, onnx)
    difference = largest_difference(scorer.score(requests), expected)
    print(json.dumps({**served.about, "difference": difference}), flush=True)
    limits = Limits(waiting=WAITING)
    serve(create_app(scorer, limits, wanted.batching), "127.0.0.1", 0, limits, lambda text: print(text, flush=True))


if __name__ == "__main__":
    try:
        typer.run(main)
    except UserError as mistake:  # what the user reads, without a trace
        sys.exit(str(mistake))
