"""Our DIEN and that of other packages on the same batches, in turns: each peer a process of its own environment."""

import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch

from benchmark.bench.floor import Shape, operations, row_products, runner
from benchmark.bench.peers.exchange import Arrays, write_batches
from benchmark.bench.timing import Timer, ratio, summarise
from benchmark.bench.train import Step
from benchmark.bench.workloads import Workload, batches_of
from datamodules.batch import Batch

ROOT = Path(__file__).resolve().parents[3]
PEERS = ("deepctr-torch", "torch-rechub")


class PeerProcess:
    """A peer that waits for its turn."""

    def __init__(self, process: "subprocess.Popen[str]", timer: Timer) -> None:
        self.process, self.timer = process, timer
        self.error: str | None = None
        self.loss: float | None = None
        self.about = self._read()

    def train(self) -> float:
        """Train once on all batches and return the seconds; NaN once the peer has failed."""
        if self.error is None and self.process.stdin is not None:
            try:
                self.process.stdin.write("\n")
                self.process.stdin.flush()
            except BrokenPipeError:
                pass  # reading says what became of it
            found = self._read()
            if self.error is None:
                self.loss = found["loss"]
                return float(found["seconds"][self.timer.clock])
        return float("nan")

    def _read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        ended = "" if line else f"it ended with exit code {self.process.wait()}"
        found: dict[str, Any] = {"error": ended} if ended else json.loads(line)
        self.error = found.get("error")
        return found


def as_arrays(batch: Batch) -> Arrays:
    """Return a batch as NumPy arrays."""
    return {name: tensor.numpy() for name, tensor in batch._asdict().items()}


def measure(
    workloads: Sequence[Workload],
    variant: str,
    batch_size: int,
    python: str,
    timer: Timer,
    report: Callable[[str], None] = print,
) -> list[dict[str, Any]]:
    """Return a line for each set of samples, peer and way of training it: nearer to ours from one to the next.

    Padding `fixed` and Adam `own` are the peers' own way; padding `batch` is that of our batches, to each one's longest
    history; Adam `fused` is torch's fused one, as ours. All sides take one step a batch, batches made beforehand.
    """
    lines: list[dict[str, Any]] = []
    for workload in workloads:
        report(f"  {workload.name} ...")
        lines += _measure(workload, variant, batch_size, python, timer)
    return lines


def _measure(workload: Workload, variant: str, batch_size: int, python: str, timer: Timer) -> list[dict[str, Any]]:
    batches = list(batches_of(workload.training(variant, batch_size, 1), workload.window, 0))
    count, samples = len(batches), sum(len(batch.label) for batch in batches)
    shapes = [Shape.of(batch.lengths) for batch in batches]
    ways = [("fixed", "own"), ("batch", "own"), ("batch", "fused")]
    if all(batch.history_items.shape[1] == workload.longest for batch in batches):
        ways = [("fixed", "own"), ("fixed", "fused")]  # both paddings are the same
    products = [product for shape in shapes for product in row_products("dien", variant, shape) or []]
    step = Step(workload.module("dien", variant))
    sides: dict[str, Callable[[], object]] = {"ours": lambda: step.train(batches), "floor": runner(products)}
    started: dict[tuple[str, str, str], PeerProcess] = {}
    with tempfile.TemporaryDirectory(prefix="dien-bench-") as temporary, ExitStack() as stack:
        path = Path(temporary) / "batches.npz"
        sha256 = write_batches(path, [as_arrays(batch) for batch in batches], workload.sizes.tables)
        for peer in PEERS:
            for padding, adam in ways:
                steps = workload.longest if padding == "fixed" else 0
                process = stack.enter_context(_process(python, [peer, str(path), str(steps), adam], variant))
                started[peer, padding, adam] = PeerProcess(process, timer)
                sides[f"{peer} {padding} {adam}"] = started[peer, padding, adam].train
        seconds = timer.interleave(sides)
    parameters = sum(parameter.numel() for parameter in step.module.model.parameters())
    common = {
        "workload": workload.name,
        "batch": batch_size,
        "batches": count,
        "sha256": sha256,
        "ours_ms": summarise(seconds["ours"]).scaled(1e3 / count).as_dict(),
        "ours_samples_per_second": summarise([samples / value for value in seconds["ours"]]).as_dict(),
        "ours_parameters": parameters,
        "operations_a_step": round(operations(products) / count),
        "floor_ms": summarise(seconds["floor"]).scaled(1e3 / count).as_dict(),
    }
    return [
        common
        | {"padding": padding, "adam": adam}
        | _line(peer, process, seconds[f"{peer} {padding} {adam}"], seconds["ours"], count, samples, sha256)
        for (peer, padding, adam), process in started.items()
    ]


def _line(
    peer: str,
    process: PeerProcess,
    seconds: list[float],
    ours: list[float],
    count: int,
    samples: int,
    sha256: str,
) -> dict[str, Any]:
    about, failed = process.about, process.error is not None
    return {
        "peer": f"{peer} {about.get('version', '')}".strip(),
        "peer_torch": about.get("torch"),
        "peer_parameters": about.get("parameters"),
        "peer_sha256": about.get("sha256"),
        "same_samples": about.get("sha256") == sha256,
        "peer_ms": None if failed else summarise(seconds).scaled(1e3 / count).as_dict(),
        "peer_samples_per_second": None if failed else summarise([samples / value for value in seconds]).as_dict(),
        "peer_over_ours": None if failed else ratio(seconds, ours).as_dict(),
        "peer_loss": process.loss,
        "error": process.error,
    }


@contextmanager
def _process(python: str, arguments: list[str], variant: str) -> Iterator["subprocess.Popen[str]"]:
    """A peer's process; it ends with its input, at the end of the block, and is killed where that does not help."""
    threads = str(torch.get_num_threads())
    python = str(Path(python).absolute())  # links are kept: an environment's Python is one
    with subprocess.Popen(
        [
            Path(python).absolute(),
            "-m",
            "benchmark.bench.peers.driver",
            *arguments,
            threads,
            variant,
        ],  # links kept: a venv is one
        cwd=ROOT,
        env=os.environ | {"TQDM_DISABLE": "1", "OMP_NUM_THREADS": threads},
        encoding="utf-8",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            yield process
        finally:
            assert process.stdin is not None
            process.stdin.close()
            try:
                process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                process.kill()
