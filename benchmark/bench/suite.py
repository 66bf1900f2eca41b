"""`dien-bench bench`: runs the measurements asked for, and writes OUT/bench.json and OUT/bench.md."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from baselines import MODELS, load
from benchmark.bench import kernels, phases, train, workloads
from benchmark.bench.peers import compare as peers
from benchmark.bench.prepare import measure as prepare
from benchmark.bench.report import as_table
from benchmark.bench.timing import BUSY, Clock, Timer, load_average, machine
from benchmark.records.commit import commit
from benchmark.report.render import Table
from datamodules.datasets import get_dataset
from datamodules.errors import UserError, unknown_name
from datamodules.files.atomic import write_atomically
from datamodules.protocol import BATCH_SIZE, get_protocol

FORMAT = 3  # of bench.json; in 2, models had user, item and category alone; in 1, phases the compiled kernels alone
PARTS = ("kernels", "train", "phases", "batches", "prepare", "peers")
DEFAULT_PARTS = PARTS[:5]  # peers need an environment of their own


@dataclass(frozen=True)
class BenchConfig:
    """What to measure and how; see `dien-bench bench --help`."""

    parts: tuple[str, ...] = DEFAULT_PARTS
    models: tuple[str, ...] = tuple(MODELS)
    variant: Literal["official", "paper"] = "official"
    threads: int = 1
    repeats: int = 7
    clock: Clock = "wall"
    quick: bool = False
    batch_size: int = BATCH_SIZE
    dataset: str | None = None
    protocol: str = "arxiv-v1"
    data_dir: str = "data"
    reviews: int = 200_000
    peers_python: str = ".venv-peers/bin/python"
    out: str = "runs"

    def check(self) -> None:
        """Raise `UserError` unless every name is known and every number possible."""
        for part in self.parts:
            if part not in PARTS:
                raise unknown_name("measurement", part, PARTS)
        for model in self.models:
            load(model)
        if self.dataset is not None:
            get_dataset(self.dataset, Path(self.data_dir))
        get_protocol(self.protocol)
        for name in ("threads", "repeats", "batch_size", "reviews"):
            if getattr(self, name) < 1:
                raise UserError(f"{name.replace('_', ' ')} must be at least 1, got {getattr(self, name)}")
        for name, known in (("clock", ("wall", "cpu")), ("variant", ("official", "paper"))):
            if getattr(self, name) not in known:
                raise unknown_name(name, getattr(self, name), known)
        if "peers" in self.parts and not Path(self.peers_python).is_file():
            raise UserError(f"{self.peers_python} does not exist: the peers' environment is made by: make bench-peers")


def bench(config: BenchConfig, report: Callable[[str], None] = print) -> Table:
    """Measure, write OUT/bench.json and OUT/bench.md, and return the table.

    `report` is given the lines to show on the way. Raises `UserError` for what cannot be measured as asked.
    """
    config.check()
    before = load_average()
    if before[0] >= BUSY:
        report(
            f"warning: the machine is busy (load average {before[0]} before the start, expected below {BUSY}): "
            "figures will be too high, ratios less so. Wait, or use --clock cpu"
        )
    began = time.perf_counter()
    with as_in_a_run(config.threads):
        parts = _measure(config, Timer(config.repeats, config.clock), report)
    result = {
        "format": FORMAT,
        "commit": commit(),
        "settings": asdict(config),
        "machine": machine(config.threads),
        "load_average": {"before": before, "after": load_average(), "busy": before[0] >= BUSY},
        "seconds": round(time.perf_counter() - began, 1),
        "parts": parts,
    }
    made = as_table(result)
    write_atomically(Path(config.out) / "bench.json", (json.dumps(result, indent=1) + "\n").encode())
    write_atomically(Path(config.out) / "bench.md", made.markdown().encode())
    return made


@contextmanager
def as_in_a_run(threads: int) -> Iterator[None]:
    """Threads and deterministic algorithms as in a run, and afterwards as they were."""
    previous = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.set_num_threads(previous[0])
        torch.use_deterministic_algorithms(previous[1])


def _measure(config: BenchConfig, timer: Timer, report: Callable[[str], None]) -> dict[str, list[dict[str, Any]]]:
    """Return the lines of each part, in the order of `PARTS`."""
    found = _workloads(config) if {"train", "phases", "batches", "peers"} & set(config.parts) else []
    if "peers" in config.parts:
        for workload in found:
            peers.check(workload)
    rows = [(workload, model) for workload in found for model in config.models]
    variant, size = config.variant, config.batch_size
    work: dict[str, Callable[[], list[dict[str, Any]]]] = {
        "kernels": lambda: kernels.measure(config.quick, timer),
        "train": lambda: [train.measure(workload, model, variant, size, timer) for workload, model in rows],
        "phases": lambda: [phases.measure(workload, model, variant, size, timer) for workload, model in rows],
        "batches": lambda: [train.measure_batches(workload, variant, size, timer) for workload in found],
        "prepare": lambda: [prepare.measure(config.reviews, timer)],
        "peers": lambda: peers.measure(found, variant, size, timer, config.peers_python, report),
    }
    parts = {"workloads": [workload.describe() for workload in found]} if found else {}
    for part in PARTS:
        if part in config.parts:
            report(f"measuring {part} ...")
            parts[part] = work[part]()
    return parts


def _workloads(config: BenchConfig) -> list[workloads.Workload]:
    made = [workloads.electronics(config.quick), workloads.full_histories(config.quick)]
    if config.dataset is not None:
        made.append(workloads.prepared(config.dataset, config.protocol, Path(config.data_dir)))
    return made
