"""Batches by index arithmetic: no Python loop over samples.

`TrainingBatches` numbers the batches of a whole training run, so that any step can be made from the seed alone:
resuming at step k needs no replay. Samples with one history stay side by side, and share it in a batch.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from datamodules.batch import Batch, Fields, Histories, Targets
from datamodules.packing import Int64, packing_of, spread
from datamodules.protocol import BATCH_SIZE, AuxiliaryDraws, AuxiliaryNegatives, Protocol
from datamodules.samples import Ints, Samples, Split, by_user_and_time
from datamodules.samples.vocabulary import Rows, Vocabulary, vocabulary
from datamodules.streams import Stream, generator

WINDOW = 20  # batches; the released code sorts by length inside windows of this many (variants.md 14)


class BatchMaker:
    """Turns positions in a split into a batch; behaviours stay where they are, no split has a copy of them."""

    def __init__(self, samples: Samples, split: Split, rows: Vocabulary | None = None) -> None:
        self.samples, self.split = samples, split
        self.rows = rows or vocabulary(samples)
        self.lengths = split.end - split.begin

    def make(
        self,
        index: Int64,
        negatives: "NegativeSampler | None" = None,
        seed: tuple[int, ...] = (),
        sizes: tuple[int, ...] | None = None,
    ) -> Batch:
        """Return the batch of samples `index` (B,), with auxiliary negatives drawn under a seed.

        `sizes` of several batches, one behind the other: their histories are then in it once each.
        """
        histories, history_of, places = self._histories(index)
        return Batch(histories, self._targets(index, histories, history_of, places, negatives, seed, sizes))

    def _histories(self, index: Int64) -> tuple[Histories, Int64, Int64]:
        """The U histories of samples `index` (B,), the history of each (B,), and the behaviour of each row (R,)."""
        split, samples = self.split, self.samples
        user, begin, end = split.user[index], split.begin[index], split.end[index]
        starts = np.ones(len(index), bool)
        starts[1:] = (user[1:] != user[:-1]) | (begin[1:] != begin[:-1]) | (end[1:] != end[:-1])
        history_of = np.cumsum(starts) - 1
        user, begin, lengths = user[starts], begin[starts], self.lengths[index][starts]
        packing = packing_of(lengths, max(int(lengths.max(initial=0)), 1))
        history, position = np.divmod(packing.flat_index.numpy(), packing.shape[1])
        places = begin[history] + position
        behaviours = _look_up(self.rows.items, samples.items[places])
        times = torch.from_numpy(samples.times[places])
        return Histories(_look_up(self.rows.users, user), behaviours, times, packing), history_of, places

    def _targets(
        self,
        index: Int64,
        histories: Histories,
        history_of: Int64,
        places: Int64,
        negatives: "NegativeSampler | None",
        seed: tuple[int, ...],
        sizes: tuple[int, ...] | None,
    ) -> Targets:
        """The samples `index` (B,) as targets of histories of theirs."""
        split = self.split
        packing, rows = spread(histories.packing, history_of)
        drawn: Fields = {}
        if negatives is not None:
            owners = split.user[index][packing.history.numpy()[packing.first :]]
            drawn = _look_up(self.rows.items, negatives.draw(places[rows.numpy()[packing.first :]], owners, seed))
        sizes = sizes or (len(index),)
        longest = np.maximum.reduceat(packing.counts, np.cumsum([0, *sizes[:-1]]))
        return Targets(
            target=_look_up(self.rows.items, split.item[index]) | _codes(self.rows.target, split.target, index),
            context=_codes(self.rows.context, split.context, index),
            label=torch.from_numpy(split.label[index].astype(np.float32)),
            time=torch.from_numpy(split.time[index]),
            history_of=torch.from_numpy(history_of),
            packing=packing,
            rows=rows,
            padding=torch.from_numpy(np.repeat(np.maximum(longest, 1), sizes) - packing.counts),
            negatives=drawn,
            sizes=sizes,
        )


def _look_up(rows: Rows, which: NDArray[np.integer]) -> Fields:
    return {name: torch.from_numpy(of_field[which]) for name, of_field in rows.items()}


def _codes(rows: Rows, codes: dict[str, Ints], index: Int64) -> Fields:
    return {name: torch.from_numpy(rows[name][numbers[index]]) for name, numbers in codes.items()}


class NegativeSampler:
    """Draws an auxiliary negative for each behaviour: an item that differs from the behaviour's own."""

    def __init__(
        self, samples: Samples, kind: AuxiliaryNegatives, draws: AuxiliaryDraws = "fresh", seed: int = 0
    ) -> None:
        if kind == "unclicked" and samples.unclicked is None:
            raise ValueError("these samples have no impressions without a click: choose popularity, uniform or own")
        self.samples, self.own = samples, kind == "own"
        self.pool = samples.pool
        if kind == "uniform":  # of impressions, those that training mentions: the rest may be of held-out days
            by_day = not isinstance(samples.protocol, Protocol)
            items = np.flatnonzero(samples.known_items()) if by_day else np.arange(1, samples.item_count + 1)
            self.pool = items.astype(np.int32)
        self.unclicked = samples.unclicked if kind == "unclicked" else None
        if self.unclicked is not None:
            self.keys = by_user_and_time(self.unclicked.user, self.unclicked.time)
            self.firsts = np.searchsorted(self.unclicked.user, np.arange(samples.users + 1))
        self.once: NDArray[np.int32] | None = None
        if draws == "once":
            everything = np.arange(len(samples.items))
            owners = np.repeat(np.arange(samples.users), np.diff(samples.offsets))
            self.once = self._draw(everything, owners, generator(Stream.AUXILIARY_ONCE, seed))

    def draw(self, places: Int64, owners: NDArray[np.integer], seed: tuple[int, ...]) -> NDArray[np.int32]:
        """Items (N,) for the behaviours at `places` (N,) of users `owners` (N,)."""
        if self.once is not None:
            return self.once[places]
        return self._draw(places, owners, generator(Stream.AUXILIARY_NEGATIVES, *seed))

    def _draw(self, places: Int64, owners: NDArray[np.integer], rng: np.random.Generator) -> NDArray[np.int32]:
        behaviours = self.samples.items[places]
        drawn = self._from_pool(behaviours, rng)
        if self.own:  # where the user did nothing else before, the pool's stays
            first = self.samples.offsets[owners]
            item = self.samples.items[first + (rng.random(len(places)) * (places - first)).astype(np.int64)]
            drawn = np.where((places > first) & (item != behaviours), item, drawn)
        if self.unclicked is not None:  # where the user was shown nothing before, or just that, the pool's stays
            first = self.firsts[owners]
            shown = np.searchsorted(self.keys, by_user_and_time(owners, self.samples.times[places]), "right") - first
            chosen = first + (rng.random(len(places)) * shown).astype(np.int64)
            item = self.unclicked.item[np.minimum(chosen, len(self.keys) - 1)]
            drawn = np.where((shown > 0) & (item != behaviours), item, drawn)
        return drawn

    def _from_pool(self, behaviours: NDArray[np.int32], rng: np.random.Generator) -> NDArray[np.int32]:
        drawn = self.pool[rng.integers(0, len(self.pool), len(behaviours))]
        for _ in range(1000):  # one item alone in the pool can never differ from itself
            clash = np.flatnonzero(drawn == behaviours)
            if not len(clash):
                break
            drawn[clash] = self.pool[rng.integers(0, len(self.pool), len(clash))]
        return drawn


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
        pairs_together: bool = True,
        seed: int,
        rows: Vocabulary | None = None,
    ) -> None:
        self.maker = BatchMaker(samples, samples.train, rows)
        self.samples, self.steps, self.batch_size, self.seed = samples, steps, batch_size, seed
        self.shuffle, self.pairs_together = shuffle, pairs_together
        self.batches_per_epoch = -(-len(samples.train) // batch_size)
        self.negatives = None
        if auxiliary_negatives != "none":
            self.negatives = NegativeSampler(samples, auxiliary_negatives, auxiliary_draws, seed)
        self._epoch = -1
        self._batches: list[Int64] = []

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> Batch:
        if not 0 <= step < self.steps:
            raise IndexError(f"step must be in 0..{self.steps - 1}, got {step}")
        epoch, number = divmod(step, self.batches_per_epoch)
        if epoch != self._epoch:
            self._epoch, self._batches = epoch, self._plan(epoch)
        return self.maker.make(self._batches[number], self.negatives, (self.seed, epoch, number))

    def _plan(self, epoch: int) -> list[Int64]:
        """The samples of each batch of an epoch."""
        rng = generator(Stream.ORDER, self.seed, epoch if self.shuffle else 0)
        order = np.arange(len(self.samples.train))
        if self.shuffle:  # histories in random order, the samples of each behind one another; or samples alone
            group = np.cumsum(self.samples.train.starts_history) - 1 if self.pairs_together else order
            order = np.argsort(rng.permutation(int(group[-1]) + 1)[group], kind="stable")
        return windowed(order, self.maker.lengths, self.batch_size, None if self.pairs_together else rng)


class EvaluationBatches(Dataset[Batch]):
    """All samples of a split in a fixed order, 20 batches together; `order` (N,) says which sample stands where.

    A window is made once and kept, as long as the windows kept have fewer than `KEEP` behaviours.
    """

    KEEP = 10_000_000  # some 100 bytes each

    def __init__(
        self, samples: Samples, split: Split, batch_size: int = BATCH_SIZE, rows: Vocabulary | None = None
    ) -> None:
        self.maker = BatchMaker(samples, split, rows)
        batches = windowed(np.arange(len(split)), self.maker.lengths, batch_size)
        self.windows = [batches[at : at + WINDOW] for at in range(0, len(batches), WINDOW)]
        self.order = np.concatenate(batches) if batches else np.arange(0)
        self._kept: dict[int, Batch] = {}
        self._behaviours = 0

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, number: int) -> Batch:
        if not 0 <= number < len(self.windows):
            raise IndexError(f"window must be in 0..{len(self.windows) - 1}, got {number}")
        if number in self._kept:
            return self._kept[number]
        parts = self.windows[number]
        window = self.maker.make(np.concatenate(parts), sizes=tuple(map(len, parts)))
        self._behaviours += len(window.histories.times) + len(window.targets.rows)
        if self._behaviours < self.KEEP:
            self._kept[number] = window
        return window


def windowed(order: Int64, lengths: Int64, batch_size: int, rng: np.random.Generator | None = None) -> list[Int64]:
    """Cut `order` (N,) into batches after sorting it by length, longest first, inside windows of 20 batches.

    Equal lengths stay in the order given, so that a user's positive and negative sample, neighbours in the file, share
    a batch; the released code sorts with NumPy's quicksort, which leaves 92 to 96 % of the samples of Sports beside
    their partner. With `rng`, equal lengths stand in random order.

    >>> windowed(np.arange(4), np.array([3, 3, 5, 5]), 2)
    [array([2, 3]), array([0, 1])]
    """
    batches: list[Int64] = []
    for begin in range(0, len(order), WINDOW * batch_size):
        window = order[begin : begin + WINDOW * batch_size]
        window = window if rng is None else rng.permutation(window)
        window = window[np.argsort(-lengths[window], kind="stable")]
        batches += [window[at : at + batch_size] for at in range(0, len(window), batch_size)]
    return batches
