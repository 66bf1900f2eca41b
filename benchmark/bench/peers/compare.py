"""Our DIEN and that of other packages on the same batches, in turns: each peer a process of its own environment."""

import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import product
from pathlib import Path
from typing import Any

import torch

from benchmark.bench.peers.exchange import Arrays, write_batches
from benchmark.bench.timing import Timer, ratio, summarise
from benchmark.bench.train import Round, Step
from benchmark.bench.workloads import Workload
from benchmark.runs.config import RunConfig
from datamodules.batch import Batch
from datamodules.errors import UserError
from datamodules.schema import Schema

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
    plain = batch.per_target()
    found = {"user": plain.user["user"], "label": plain.label, "lengths": plain.lengths}
    for kind, fields in {"": plain.target, "history_": plain.history, "negative_": plain.negatives}.items():
        names = ("item", "category") if not kind else (f"{kind}items", f"{kind}categories")
        found |= dict(zip(names, (fields["item"], fields["category"]), strict=True))
    return {name: tensor.numpy() for name, tensor in found.items()}


def check(workload: Workload) -> None:
    """Raise `UserError` for samples without the fields that the peers are given."""
    there, wanted = workload.schema.rows, workload.sizes.schema.rows
    if missing := [name for name in wanted if name not in there]:
        raise UserError(
            f"the peers need the fields {', '.join(wanted)}, and {workload.name} has no {' and no '.join(missing)}: "
            "leave out peers, or choose another --dataset"
        )


def measure(
    workloads: Sequence[Workload],
    variant: str,
    batch_size: int,
    timer: Timer,
    python: str,
    report: Callable[[str], None] = print,
) -> list[dict[str, Any]]:
    """Return a line for each set of samples, peer and way of training it: nearer to ours from one to the next.

    Padding `fixed` and Adam `own` are the peers' own way; padding `batch` is that of our batches, to each one's longest
    history; Adam `fused` is torch's fused one, as ours. All sides take one step a batch, batches made beforehand.
    Both sides have user, item and category alone, whatever other fields the samples have.
    """
    lines: list[dict[str, Any]] = []
    for workload in workloads:
        report(f"  {workload.name} ...")
        lines += _measure(workload, variant, batch_size, timer, python)
    return lines


def _measure(workload: Workload, variant: str, batch_size: int, timer: Timer, python: str) -> list[dict[str, Any]]:
    schema = workload.sizes.schema  # the fields that the peers are given: ours has no more here
    step, counted = (Step(workload.module("dien", variant, schema)), workload.module("dien", variant, schema))
    now = Round(workload.training(variant, batch_size, 1), workload.window, counted)
    count, samples = len(now.batches), now.samples[0]
    ways = [("fixed", "own"), ("batch", "own"), ("batch", "fused")]
    if all(batch.targets.packing.shape[1] == workload.longest for batch in now.batches):
        ways = [("fixed", "own"), ("fixed", "fused")]  # both paddings are the same
    sides: dict[str, Callable[[], object]] = {"ours": lambda: step.train(now.batches), "floor": now.run_products}
    started: dict[tuple[str, str, str], PeerProcess] = {}
    with tempfile.TemporaryDirectory(prefix="dien-bench-") as temporary, ExitStack() as stack:
        path = Path(temporary) / "batches.npz"
        sha256 = write_batches(path, [as_arrays(batch) for batch in now.batches], workload.sizes.tables)
        for peer, (padding, adam) in product(PEERS, ways):
            positions = workload.longest if padding == "fixed" else 0
            process = stack.enter_context(_process(python, peer, path, positions, adam, variant))
            started[peer, padding, adam] = PeerProcess(process, timer)
            sides[f"{peer} {padding} {adam}"] = started[peer, padding, adam].train
        seconds = timer.interleave(sides)

    def figures(name: str, side: str) -> dict[str, Any]:
        return {
            f"{name}_ms": summarise(seconds[side], 1e3 / count),
            f"{name}_samples_per_second": ratio([samples] * timer.repeats, seconds[side]),
        }

    lines = []
    for (peer, padding, adam), running in started.items():
        side, about, failed = f"{peer} {padding} {adam}", running.about, running.error is not None
        theirs = figures("peer", side) | {"peer_over_ours": ratio(seconds[side], seconds["ours"])}
        lines.append(
            {
                "workload": workload.name,
                "fields": _fields(schema, workload.schema),
                "batch": batch_size,
                "batches": count,
                "sha256": sha256,
                **figures("ours", "ours"),
                "ours_parameters": sum(parameter.numel() for parameter in step.module.model.parameters()),
                "operations_a_step": round(now.operations[0] / count),
                "floor_ms": summarise(seconds["floor"], 1e3 / count),
                "padding": padding,
                "adam": adam,
                "peer": f"{peer} {about.get('version', '')}".strip(),
                "peer_torch": about.get("torch"),
                "peer_parameters": about.get("parameters"),
                "peer_sha256": about.get("sha256"),
                "same_samples": about.get("sha256") == sha256,
                **(dict.fromkeys(theirs) if failed else theirs),
                "peer_loss": running.loss,
                "error": running.error,
            }
        )
    return lines


def _fields(given: Schema, there: Schema) -> str:
    """Which fields of a data set both sides have.

    >>> few = Schema(user={"user": 3}, behaviour={"item": 5, "category": 2})
    >>> _fields(few, Schema(user={"user": 3}, behaviour={"item": 5, "category": 2, "shop": 4}))
    '3 of 4: user, item, category'
    >>> _fields(few, few)
    'all 3'
    """
    if given.rows.keys() >= there.rows.keys():
        return f"all {len(there.rows)}"
    return f"{len(given.rows)} of {len(there.rows)}: {', '.join(given.rows)}"


@contextmanager
def _process(
    python: str, peer: str, path: Path, positions: int, adam: str, variant: str
) -> Iterator["subprocess.Popen[str]"]:
    """A peer's process; it ends with its input, at the end of the block, and is killed where that does not help."""
    threads, rate = str(torch.get_num_threads()), str(RunConfig.learning_rate)
    module = ["-m", "benchmark.bench.peers.driver", peer, str(path), str(positions), adam, threads, variant, rate]
    with subprocess.Popen(
        [str(Path(python).absolute()), *module],  # links are kept: an environment's Python is one
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
