"""What the models are timed on: samples of Electronics' size, samples with full histories, or a prepared data set.

The paper's Electronics has 192,403 users, 63,001 items, 801 categories and 1,689,188 reviews, 8.8 a user, at least 5.
A user here has 5 + floor(x) behaviours with x of a Pareto distribution (type II, shape 3: a geometric one with a heavy
tail) whose scale gives that mean. One is the target, so histories have 7.8 behaviours on average; the protocol cuts
them to the newest 100. The quantiles come out near those of a real 5-core set of about that mean: median 7, 90 % 14,
99 % 35, against 6, 13 and 32 in Sports (8.3 a user). Items are popular by a power law; all occur.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from baselines.lightning_module import CTRModule
from benchmark.runs.config import RunConfig
from datamodules.batch import Batch
from datamodules.batches import WINDOW, EvaluationBatches, TrainingBatches
from datamodules.interactions import Interactions
from datamodules.protocol import get_protocol
from datamodules.samples import Samples, make_samples
from datamodules.samples_file import prepare_samples

LEAST, MEAN, TAIL = 5, 1_689_188 / 192_403, 3.0  # behaviours a user, shape of the Pareto distribution
LONGEST = 100  # behaviours in a history, the protocols' max_history
STEPS = 8_100  # budget that the learning rate's schedule is told


@dataclass(frozen=True)
class Sizes:
    """Users, items and categories of the tables, row 0 not counted."""

    users: int = 192_403
    items: int = 63_001
    categories: int = 801

    @property
    def tables(self) -> dict[str, int]:
        """Rows of the embedding tables: constructor arguments of every model."""
        return {"users": self.users + 1, "items": self.items + 1, "categories": self.categories + 1}


QUICK = Sizes(users=2_000, items=700, categories=40)


@dataclass(frozen=True)
class Workload:
    """Samples to time on, the tables' sizes, and how many batches make one measurement."""

    name: str
    samples: Samples
    sizes: Sizes
    window: int  # batches; 20 are a window inside which training batches are sorted by length

    @property
    def lengths(self) -> NDArray[np.int64]:
        """(N,) lengths of the training samples' histories."""
        split = self.samples.train
        return split.end - self.samples.starts(split)

    @property
    def longest(self) -> int:
        """Length that a fixed padding needs."""
        return int(self.lengths.max())

    def training(self, variant: str, batch_size: int, passes: int) -> TrainingBatches:
        """Return `passes` measurements' worth of training batches, made as a run makes them."""
        settings = RunConfig("generated", self.samples.protocol.name, "dien", variant, 0).settings()  # type: ignore[arg-type]
        return TrainingBatches(
            self.samples,
            steps=max(passes, 1) * self.window,
            batch_size=batch_size,
            shuffle=settings["shuffle"],
            auxiliary_negatives=settings["auxiliary_negatives"],
            seed=0,
        )

    def evaluation(self, batch_size: int) -> EvaluationBatches:
        """Return the batches of the test split."""
        return EvaluationBatches(self.samples, self.samples.test, batch_size)

    def module(self, model: str, variant: str) -> CTRModule:
        """Return an untrained module of a row."""
        torch.manual_seed(0)
        return CTRModule(model=model, variant=variant, **self.sizes.tables, steps=STEPS)

    def describe(self) -> dict[str, float | int | str]:
        """Return what a reader must know of it, for JSON and tables."""
        return {
            "name": self.name,
            "training_samples": len(self.samples.train),
            "test_samples": len(self.samples.test),
            "mean_history": round(float(self.lengths.mean()), 2),
            "longest_history": self.longest,
            "batches_a_measurement": self.window,
            **self.sizes.tables,
        }


def electronics(quick: bool) -> Workload:
    """Return samples with the sizes and lengths of Electronics; `quick`: about a hundredth of them."""
    samples = make_samples(electronics_interactions(quick), get_protocol("arxiv-v1"))
    return Workload("electronics", samples, QUICK if quick else Sizes(), 3 if quick else WINDOW)


def electronics_interactions(quick: bool) -> Interactions:
    """Return the behaviours of `electronics`."""
    sizes = QUICK if quick else Sizes()
    rng = np.random.default_rng(20180911)
    scale = (MEAN - LEAST + 0.5) * (TAIL - 1)  # the floor takes half a behaviour
    lengths = LEAST + np.floor(scale * rng.pareto(TAIL, sizes.users)).astype(np.int64)
    return _interactions(lengths, sizes, rng)


def full_histories(quick: bool) -> Workload:
    """Return samples whose histories all have 100 behaviours (`quick`: 20), under tables of Electronics' size."""
    sizes = QUICK if quick else Sizes()
    users = Sizes(300 if quick else 4_000, sizes.items, sizes.categories)
    longest = 20 if quick else LONGEST
    behaviours = _interactions(np.full(users.users, longest + 1), users, np.random.default_rng(1))
    samples = make_samples(behaviours, get_protocol("arxiv-v1"))
    return Workload(f"T={longest}", samples, sizes, 2 if quick else 4)


def prepared(dataset: str, protocol: str, data_dir: Path) -> Workload:
    """Return the samples of a data set; raises `UserError` as its preparation does."""
    samples = prepare_samples(dataset, protocol, data_dir)
    sizes = Sizes(samples.users, samples.item_count, samples.categories)
    return Workload(dataset, samples, sizes, WINDOW)


def batches_of(data: TrainingBatches, window: int, number: int) -> Iterator[Batch]:
    """Yield the batches of measurement `number`, made on the way; numbers beyond the last start again."""
    first = number * window % len(data)
    return (data[step] for step in range(first, first + window))


def _interactions(lengths: NDArray[np.int64], sizes: Sizes, rng: np.random.Generator) -> Interactions:
    """Behaviours of users with `lengths` (U,) of them."""
    user = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)
    item = 1 + (sizes.items * rng.random(len(user)) ** 3).astype(np.int32)  # density falls as rank ** (-2 / 3)
    item[rng.choice(len(user), sizes.items, replace=False)] = rng.permutation(sizes.items) + 1
    category_of = np.concatenate([[0], rng.permutation(np.arange(sizes.items) % sizes.categories) + 1])
    return Interactions(
        user=user,
        item=item,
        category=category_of[item].astype(np.int32),
        time=np.zeros(len(user), np.int64),
        catalogue_rank=item - 1,
        manifest={"counts": {"users": len(lengths), "items": sizes.items, "categories": sizes.categories}},
    )
