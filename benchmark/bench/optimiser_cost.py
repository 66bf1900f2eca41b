"""A step of dense and of lazy Adam over tables of a data set's size: `python -m benchmark.bench.optimiser_cost`.

Ids are drawn, so that no data set is needed: histories of geometric length in batches of like length, items by a Zipf
law, each training user once an epoch, and an evaluation of the test users every 100 steps. Look-up, gradient,
optimiser and zero_grad are timed, in milliseconds of one core's time; dense and lazy take turns step by step, so that
whatever else the machine does slows both.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import Adam

from baselines.lazy_adam import LazyAdam
from datamodules.batches import WINDOW

EMBEDDING_SIZE, BATCH, HISTORY = 18, 128, 8
EVALUATE_EVERY = 100  # steps


class Sizes(NamedTuple):
    """Users, items and categories of a data set."""

    users: int
    items: int
    categories: int


SIZES = {  # Table 1 of the paper; Sports and Beauty as prepared
    "beauty": Sizes(22_363, 12_101, 221),
    "sports": Sizes(35_598, 18_357, 959),
    "electronics": Sizes(192_403, 63_001, 801),
    "books": Sizes(603_668, 367_982, 1_600),
}


class Ids(NamedTuple):
    """The rows that one batch reads, 0 being padding and whatever is unknown."""

    users: Tensor  # (B,)
    items: Tensor  # (B, 1 + T), or (B, 1 + 2T) with negatives
    categories: Tensor  # as items


class Reader:
    """Draws the ids of batches."""

    def __init__(self, sizes: Sizes, seed: int = 0) -> None:
        self.sizes, self.rng = sizes, np.random.default_rng(seed)
        weight = 1 / np.arange(1, sizes.items + 1)
        self.cumulated = np.cumsum(weight / weight.sum())
        self.category = self.rng.integers(1, sizes.categories + 1, sizes.items + 1)
        self.category[0] = 0
        self.order = self.rng.permutation(sizes.users)
        self.tested = sizes.users // 10

    def _items(self, *shape: int) -> NDArray[np.int64]:
        drawn = np.searchsorted(self.cumulated, self.rng.random(shape)) + 1
        return np.minimum(drawn, self.sizes.items).astype(np.int64)

    def field(self, name: str, step: int | None) -> Tensor:
        """One field of `batch`."""
        ids: Tensor = getattr(self.batch(step), name)
        return ids

    def batch(self, step: int | None) -> Ids:
        """A training batch, or one of test users where `step` is None."""
        # a batch holds histories of like length: one of the 20 that a window of sorted samples gives
        window = np.sort(self.rng.geometric(1 / HISTORY, WINDOW * BATCH)).reshape(WINDOW, BATCH)
        lengths = window[self.rng.integers(WINDOW)]
        real = np.arange(lengths.max()) < lengths[:, None]
        parts = [self._items(BATCH, 1), self._items(*real.shape) * real]
        user = np.zeros(BATCH, np.int64)
        if step is not None:
            parts.append(self._items(*real.shape) * real)
            trained = self.sizes.users - self.tested
            user = 1 + self.order[self.tested + (step * BATCH + np.arange(BATCH)) // 2 % trained]
        items = np.concatenate(parts, axis=1)
        return Ids(*(torch.from_numpy(ids) for ids in (user, items, self.category[items])))


def measure(rows: int, read: Callable[[int | None], Tensor], evaluated: int, steps: int, warm_up: int) -> list[float]:
    """Median milliseconds over one table: dense and lazy training step, dense and lazy evaluation for each step.

    `read(step)` gives the ids of a batch, of test users where step is None; `evaluated` batches make an evaluation.
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
        batches = [read(None) for _ in range(evaluated)]
        for table, times in zip(tables, evaluation, strict=True):
            began = time.thread_time()
            with torch.inference_mode():
                for batch in batches:
                    table(batch)
            times.append((time.thread_time() - began) / EVALUATE_EVERY)
    late = -(-warm_up // EVALUATE_EVERY)
    return [
        1e3 * float(np.median(times[skipped:]))
        for skipped, both in ((warm_up, training), (late, evaluation))
        for times in both
    ]


def main(datasets: str = " ".join(SIZES), steps: int = 500, warm_up: int = 1500) -> None:
    """Print one line a table: milliseconds a training step, and of evaluation for each training step."""
    torch.set_num_threads(1)
    print("| table | rows | dense step | lazy step | dense evaluation | lazy evaluation |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for dataset in datasets.split():
        reader = Reader(SIZES[dataset])
        for field, rows in SIZES[dataset]._asdict().items():
            read = partial(reader.field, field)
            found = measure(rows + 1, read, -(-2 * reader.tested // BATCH), steps, warm_up)
            cells = " | ".join(f"{cell:.3f}" for cell in found)
            print(f"| {dataset}, {field} | {rows} | {cells} |", flush=True)


if __name__ == "__main__":
    typer.run(main)
