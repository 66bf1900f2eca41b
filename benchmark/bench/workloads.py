"""What the models are timed on: samples of Electronics' size, samples with full histories, or a prepared data set.

The paper's Electronics has 8.8 reviews a user, at least 5. A user here has 5 + floor(x) behaviours with x of a Pareto
distribution (type II, shape 3: a geometric one with a heavy tail) whose scale gives a data set's mean. One is the
target, so histories have 7.8 behaviours on average; the protocol cuts them to the newest 100. The quantiles come out
near those of a real 5-core set of about that mean: median 7, 90 % 14, 99 % 35, against 6, 13 and 32 in Sports (8.3 a
user). Items are popular by a power law; all occur.

`python -m benchmark.bench.workloads clicks.parquet` writes the same behaviours as a click log of Electronics' size.
`dien-bench import` makes a data set of it, on which whole runs are timed; AUC on it means nothing.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from baselines.lightning_module import CTRModule
from benchmark.runs.config import RunConfig
from datamodules.batch import Batch
from datamodules.batches import WINDOW, EvaluationBatches, TrainingBatches
from datamodules.datasets import get_dataset
from datamodules.interactions import Interactions
from datamodules.protocol import OF_INTERACTIONS
from datamodules.samples import Samples, make_samples
from datamodules.samples.file import prepare_samples
from datamodules.samples.vocabulary import vocabulary
from datamodules.schema import Schema
from datamodules.sources.amazon import ELECTRONICS_STEPS

LEAST, TAIL = 5, 3.0  # behaviours a user, shape of the Pareto distribution
PROTOCOL = OF_INTERACTIONS["arxiv-v1"]
BEGINNING, DAY = 1_300_000_000, 86_400  # unix seconds, of the click log


@dataclass(frozen=True)
class Sizes:
    """Users, items and categories of the tables, row 0 not counted, and behaviours a user on average."""

    users: int
    items: int
    categories: int
    mean: float = field(default=0.0, compare=False)

    @property
    def tables(self) -> dict[str, int]:
        """Rows of the embedding tables, row 0 included."""
        return {"users": self.users + 1, "items": self.items + 1, "categories": self.categories + 1}

    @property
    def schema(self) -> Schema:
        """The same as the models take it."""
        users, items, categories = self.tables.values()
        return Schema(user={"user": users}, behaviour={"item": items, "category": categories})


def sizes_of(dataset: str) -> Sizes:
    """Return the sizes of a data set whose counts are known."""
    found = get_dataset(dataset).counts
    users, items, categories, interactions = (
        found[name] or 0 for name in ("users", "items", "categories", "interactions")
    )
    return Sizes(users, items, categories, interactions / users)


ELECTRONICS = sizes_of("electronics")
QUICK = Sizes(2_000, 700, 40, ELECTRONICS.mean)


@dataclass(frozen=True)
class Workload:
    """Samples to time on, the tables' sizes, the fields of models, and how many batches make one measurement."""

    name: str
    samples: Samples
    sizes: Sizes
    window: int  # batches; WINDOW of them are sorted by length together
    schema: Schema  # as a run has it

    @property
    def lengths(self) -> NDArray[np.int64]:
        """(N,) lengths of the training samples' histories."""
        split = self.samples.train
        return split.end - split.begin

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

    def module(self, model: str, variant: str, schema: Schema | None = None) -> CTRModule:
        """Return an untrained module of a row, with all fields or those of a schema."""
        torch.manual_seed(0)
        fields = (schema or self.schema).as_dict()
        return CTRModule(model=model, variant=variant, schema=fields, steps=ELECTRONICS_STEPS)

    def describe(self) -> dict[str, float | int | str]:
        """Return what a reader must know of it, for JSON and tables."""
        return {
            "name": self.name,
            "training_samples": len(self.samples.train),
            "test_samples": len(self.samples.test),
            "mean_history": round(float(self.lengths.mean()), 2),
            "longest_history": self.longest,
            "batches_a_measurement": self.window,
            "fields": ", ".join(self.schema.rows),
            **self.sizes.tables,
        }


def electronics(quick: bool) -> Workload:
    """Return samples with the sizes and lengths of Electronics; `quick`: about a hundredth of them."""
    return of_size("electronics", QUICK if quick else ELECTRONICS, 3 if quick else WINDOW)


def of_size(name: str, sizes: Sizes, window: int = WINDOW) -> Workload:
    """Return samples of made-up behaviours with the sizes of a data set and the lengths described above."""
    return Workload(name, make_samples(behaviours_of(sizes), PROTOCOL), sizes, window, sizes.schema)


def behaviours_of(sizes: Sizes) -> Interactions:
    """Return the behaviours of `of_size`."""
    rng = np.random.default_rng(20180911)
    scale = (sizes.mean - LEAST + 0.5) * (TAIL - 1)  # the floor takes half a behaviour
    lengths = LEAST + np.floor(scale * rng.pareto(TAIL, sizes.users)).astype(np.int64)
    return _interactions(lengths, sizes, rng)


def full_histories(quick: bool) -> Workload:
    """Return samples whose histories are as long as the protocols allow (`quick`: 20), tables as Electronics'."""
    sizes = QUICK if quick else ELECTRONICS
    users, longest = (300, 20) if quick else (4_000, PROTOCOL.max_history)
    behaviours = _interactions(np.full(users, longest + 1), sizes, np.random.default_rng(1))
    return Workload(f"T={longest}", make_samples(behaviours, PROTOCOL), sizes, 2 if quick else 4, sizes.schema)


def prepared(dataset: str, protocol: str, data_dir: Path) -> Workload:
    """Return the samples of a data set; raises `UserError` as its preparation does."""
    samples = prepare_samples(dataset, protocol, data_dir)
    categories = samples.categories if "category" in samples.catalogue else 0
    sizes = Sizes(samples.users, samples.item_count, categories)
    return Workload(dataset, samples, sizes, WINDOW, vocabulary(samples).schema)


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


def write_click_log(path: Path, quick: bool = False) -> None:
    """Write the behaviours of `electronics` as Parquet, a user's a day apart."""
    made = behaviours_of(QUICK if quick else ELECTRONICS)
    position = np.arange(len(made.user)) - np.searchsorted(made.user, made.user)  # in the user's own history, from 0
    columns = {"user": made.user, "item": made.item, "category": made.category, "time": BEGINNING + DAY * position}
    pq.write_table(pa.table(columns), path)


if __name__ == "__main__":
    write_click_log(Path(sys.argv[1]))
