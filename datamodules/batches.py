"""Batches by index arithmetic: no Python loop over samples.

`TrainingBatches` numbers the batches of a whole training run, so that any step can be made from the seed alone:
resuming at step k needs no replay. Auxiliary negatives come from a generator seeded by (seed, epoch, batch).
"""

from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from datamodules.batch import Batch
from datamodules.protocol import BATCH_SIZE
from datamodules.samples import Samples, Split

WINDOW = 20  # batches; the released code sorts by length inside windows of this many (variants.md 14)
AuxiliaryNegatives = Literal[
    "popularity",  # a random review's item (released code)
    "uniform",  # a random item (paper, "sampled from item set")
    "none",  # zeros
]
AuxiliaryDraws = Literal[
    "fresh",  # every epoch draws its own
    "once",  # one negative a behaviour, the same in every epoch and sample
]


class BatchMaker:
    """Turns positions in a split into a padded batch; behaviours stay where they are, no split has a copy of them."""

    def __init__(self, samples: Samples, split: Split) -> None:
        users, items, categories = samples.known()
        self.samples, self.split = samples, split
        self.user_ids = np.where(users, np.arange(1, samples.users + 1), 0)
        self.item_ids = np.arange(samples.item_count + 1) * items
        self.category_of_id = np.where(categories[samples.item_category], samples.item_category, 0).astype(np.int64)
        self.starts = samples.starts(split)
        self.lengths = split.end - self.starts

    def make(
        self,
        index: NDArray[np.int64],
        negatives: NDArray[np.int32] | None,
        rng: np.random.Generator | None,
        once: NDArray[np.int32] | None = None,
    ) -> Batch:
        """Return the batch of samples `index` (B,), auxiliary negatives drawn from the pool `negatives` (P,).

        `once` (M,), from `draw_once`, gives each behaviour the negative that it keeps.
        """
        lengths = self.lengths[index]
        within = np.arange(max(int(lengths.max(initial=0)), 1))
        real = within < lengths[:, None]  # (B, T)
        places = np.where(real, self.starts[index][:, None] + within, 0)
        behaviours = self.samples.items[places]
        history = self.item_ids[behaviours] * real
        drawn: NDArray[np.integer[Any]]
        if negatives is None or rng is None:
            drawn = np.zeros_like(history)
        elif once is not None:
            drawn = once[places] * real
        else:
            drawn = self._draw(history, real, negatives, rng)
        target = self.split.item[index]
        return Batch(
            user=torch.from_numpy(self.user_ids[self.split.user[index]]),
            item=torch.from_numpy(self.item_ids[target]),
            category=torch.from_numpy(self.category_of_id[target]),
            history_items=torch.from_numpy(history),
            history_categories=torch.from_numpy(self.category_of_id[behaviours] * real),
            lengths=torch.from_numpy(lengths),
            negative_items=torch.from_numpy(self.item_ids[drawn]),
            negative_categories=torch.from_numpy(self.category_of_id[drawn] * real),
            label=torch.from_numpy(self.split.label[index].astype(np.float32)),
        )

    def draw_once(self, negatives: NDArray[np.int32], rng: np.random.Generator) -> NDArray[np.int32]:
        """One auxiliary negative for each of the M behaviours, (M,)."""
        behaviours = self.item_ids[self.samples.items][None]
        return self._draw(behaviours, np.ones_like(behaviours, bool), negatives, rng).reshape(-1).astype(np.int32)

    @staticmethod
    def _draw(
        history: NDArray[np.int64], real: NDArray[np.bool_], pool: NDArray[np.int32], rng: np.random.Generator
    ) -> NDArray[np.int64]:
        """(B, T) items of the pool, none equal to the behaviour at its place, 0 at padding."""
        drawn = pool[rng.integers(0, len(pool), history.shape)].astype(np.int64)
        for _ in range(1000):  # one item alone in the pool can never differ from itself
            clash = np.nonzero((drawn == history) & real)
            if not len(clash[0]):
                break
            drawn[clash] = pool[rng.integers(0, len(pool), len(clash[0]))]
        return drawn * real


class TrainingBatches(Dataset[Batch]):
    """Batch number 0 .. steps - 1 of a training run."""

    def __init__(
        self,
        samples: Samples,
        *,
        steps: int,
        batch_size: int = BATCH_SIZE,
        shuffle: bool,
        auxiliary_negatives: AuxiliaryNegatives,
        auxiliary_draws: AuxiliaryDraws = "fresh",
        seed: int,
    ) -> None:
        self.maker = BatchMaker(samples, samples.train)
        self.samples = samples
        self.steps = steps
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed
        self.batches_per_epoch = -(-len(samples.train) // batch_size)
        self.negatives = {
            "popularity": samples.pool,
            "uniform": np.arange(1, samples.item_count + 1, dtype=np.int32),
            "none": None,
        }[auxiliary_negatives]
        self._once = None
        if auxiliary_draws == "once" and self.negatives is not None:
            self._once = self.maker.draw_once(self.negatives, np.random.default_rng([seed, 0]))
        self._epoch = -1
        self._batches: list[NDArray[np.int64]] = []

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> Batch:
        if not 0 <= step < self.steps:
            raise IndexError(f"step must be in 0..{self.steps - 1}, got {step}")
        epoch, number = divmod(step, self.batches_per_epoch)
        if epoch != self._epoch:
            self._epoch, self._batches = epoch, self._plan(epoch)
        rng = np.random.default_rng([self.seed, epoch, number])
        return self.maker.make(self._batches[number], self.negatives, rng, self._once)

    def _plan(self, epoch: int) -> list[NDArray[np.int64]]:
        """The samples of each batch of an epoch."""
        count = len(self.samples.train)
        rng = np.random.default_rng([self.seed, epoch if self.shuffle else 0])
        order = rng.permutation(count) if self.shuffle else np.arange(count)
        return windowed(order, self.maker.lengths, self.batch_size, rng)


class EvaluationBatches(Dataset[Batch]):
    """All samples of a split in a fixed order; `order` (N,) says which sample stands where."""

    def __init__(self, samples: Samples, split: Split, batch_size: int = BATCH_SIZE) -> None:
        self.maker = BatchMaker(samples, split)
        self.batches = windowed(np.arange(len(split)), self.maker.lengths, batch_size, np.random.default_rng(0))
        self.order = np.concatenate(self.batches) if self.batches else np.arange(0)

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, number: int) -> Batch:
        if not 0 <= number < len(self.batches):
            raise IndexError(f"batch must be in 0..{len(self.batches) - 1}, got {number}")
        return self.maker.make(self.batches[number], None, None)


def windowed(
    order: NDArray[np.int64], lengths: NDArray[np.int64], batch_size: int, rng: np.random.Generator
) -> list[NDArray[np.int64]]:
    """Cut `order` (N,) into batches after sorting it by length, longest first, inside windows of 20 batches.

    Equal lengths stand in random order. The released code sorts with an unstable sort, to the same effect: a user's
    positive and negative sample, neighbours in the file, seldom share a batch.

    >>> windowed(np.arange(4), np.array([1, 3, 2, 5]), 2, np.random.default_rng(0))
    [array([3, 1]), array([2, 0])]
    """
    batches: list[NDArray[np.int64]] = []
    for begin in range(0, len(order), WINDOW * batch_size):
        window = rng.permutation(order[begin : begin + WINDOW * batch_size])
        window = window[np.argsort(-lengths[window], kind="stable")]
        batches += [window[at : at + batch_size] for at in range(0, len(window), batch_size)]
    return batches
