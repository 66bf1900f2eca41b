"""A step of dense and of lazy Adam over tables of a data set's size: `python -m benchmark.bench.optimiser_cost`.

Samples are made up (`workloads.py`), with an evaluation of the test users as often as in a run. Look-up, gradient,
optimiser and zero_grad are timed, in milliseconds of one core's time; dense and lazy take turns step by step, so that
whatever else the machine does slows both.
"""

import time
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
import typer
from torch import Tensor, nn
from torch.optim import Adam

from baselines.lazy_adam import LazyAdam
from benchmark.bench.workloads import of_size, sizes_of
from benchmark.runs.config import EVALUATE_EVERY, RunConfig
from datamodules.batch import Batch
from datamodules.batches import TrainingBatches

EMBEDDING_SIZE = 18
FIELD = {"users": "user", "items": "item", "categories": "category"}  # the field that reads a table


def ids_of(batch: Batch, table: str) -> Tensor:
    """Return the rows that a batch reads of a table, (R,)."""
    fields = (batch.user, batch.target, batch.histories.behaviours, batch.targets.negatives)
    return torch.cat([part[FIELD[table]] for part in fields if FIELD[table] in part])


def _read(training: TrainingBatches, table: str, step: int) -> Tensor:
    return ids_of(training[step], table)


def measure(
    rows: int, read: Callable[[int], Tensor], evaluated: Sequence[Tensor], steps: int, warm_up: int
) -> list[float]:
    """Median milliseconds over one table: dense and lazy training step, dense and lazy evaluation for each step.

    `read(step)` gives the ids of a training batch; the batches of ids in `evaluated` make an evaluation.
    """
    tables = [nn.Embedding(rows, EMBEDDING_SIZE, sparse=sparse) for sparse in (False, True)]
    for table in tables:
        nn.init.uniform_(table.weight, -0.01, 0.01)
    dense, lazy = tables
    optimisers = [Adam(dense.parameters(), fused=True), LazyAdam(lazy.parameters(), [lazy])]
    training: list[list[float]] = [[], []]
    evaluation: list[list[float]] = [[], []]
    for step in range(warm_up + steps):
        ids = read(step)
        gradient = torch.randn(*ids.shape, EMBEDDING_SIZE) * 1e-5
        for table, optimiser, times in zip(tables, optimisers, training, strict=True):
            began = time.thread_time()
            table(ids).backward(gradient)
            optimiser.step()
            optimiser.zero_grad()
            times.append(time.thread_time() - began)
        if step % EVALUATE_EVERY:
            continue
        for table, times in zip(tables, evaluation, strict=True):
            began = time.thread_time()
            with torch.inference_mode():
                for tested in evaluated:
                    table(tested)
            times.append((time.thread_time() - began) / EVALUATE_EVERY)
    late = -(-warm_up // EVALUATE_EVERY)
    return [
        1e3 * float(np.median(times[skipped:]))
        for skipped, both in ((warm_up, training), (late, evaluation))
        for times in both
    ]


def main(datasets: str = "beauty sports electronics books", steps: int = 500, warm_up: int = 1500) -> None:
    """Print one line a table: milliseconds a training step, and of evaluation for each training step."""
    torch.set_num_threads(1)
    print("| table | rows | dense step | lazy step | dense evaluation | lazy evaluation |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for dataset in datasets.split():
        workload = of_size(dataset, sizes_of(dataset))
        training = workload.training("official", RunConfig.batch_size, -(-(warm_up + steps) // workload.window))
        test = workload.evaluation(RunConfig.batch_size)
        for table, rows in workload.sizes.tables.items():
            evaluated = [ids_of(batch, table) for number in range(len(test)) for batch in test[number].batches()]
            found = measure(rows, partial(_read, training, table), evaluated, steps, warm_up)
            cells = " | ".join(f"{cell:.3f}" for cell in found)
            print(f"| {dataset}, {table} | {rows - 1} | {cells} |", flush=True)


if __name__ == "__main__":
    typer.run(main)
