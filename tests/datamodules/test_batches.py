"""Batches against a slow Python loop."""

from collections import defaultdict
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from datamodules.batch import Batch
from datamodules.batches import BatchMaker, EvaluationBatches, TrainingBatches
from datamodules.datamodule import InteractionsDataModule
from datamodules.protocol import OF_INTERACTIONS
from datamodules.samples import Samples, Split
from datamodules.samples.file import prepare_samples
from datamodules.streams import Stream, generator


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def samples(data_dir: Path) -> Samples:
    return prepare_samples("generated", "aaai-2019", data_dir)


def training(samples: Samples, **settings: Any) -> TrainingBatches:
    plain = {"steps": 100, "shuffle": True, "auxiliary_negatives": "popularity", "seed": 0}
    return TrainingBatches(samples, **plain | settings)


def mentioned(samples: Samples) -> set[int]:
    """The items of training samples."""
    train = samples.train
    spans = zip(train.begin, train.end, strict=True)
    return set(train.item.tolist()).union(*(samples.items[begin:end].tolist() for begin, end in spans))


def expect_rows(samples: Samples, split: Split, batch: Batch, which: np.ndarray) -> None:
    """Target b is sample `which[b]`, with its own history in front of it."""
    known = mentioned(samples)
    category_of = samples.catalogue["category"].tolist()
    kinds = {category_of[item] for item in known}
    width = batch.history["item"].shape[1]
    for b, sample in enumerate(which):
        u = int(batch.history_of[b])
        first = max(samples.offsets[split.user[sample]], split.end[sample] - 100)
        raw = samples.items[first : split.end[sample]].tolist()
        items = [item if item in known else 0 for item in raw]
        categories = [category_of[item] if category_of[item] in kinds else 0 for item in raw]
        padding = [0] * (width - len(raw))
        assert int(batch.lengths[u]) == len(raw)
        assert batch.history["item"][u].tolist() == items + padding
        assert batch.history["category"][u].tolist() == categories + padding
        assert batch.history_time[u].tolist() == samples.times[first : split.end[sample]].tolist() + padding
        target = int(split.item[sample])
        assert int(batch.target["item"][b]) == (target if target in known else 0)
        assert int(batch.target["category"][b]) == (category_of[target] if category_of[target] in kinds else 0)
        assert float(batch.label[b]) == split.label[sample]
        assert int(batch.time[b]) == split.time[sample]


def test_evaluation_batches_are_the_slow_loop(samples: Samples) -> None:
    """22 batches: a window of 20, and one of 2. A user's two samples share a history."""
    split = samples.train
    windows = EvaluationBatches(samples, split, batch_size=26)
    order, row = windows.order, 0
    assert [len(windows[at].targets.sizes) for at in range(len(windows))] == [20, 1]
    for batch in (each for at in range(len(windows)) for each in windows[at].batches()):
        which = order[row : row + len(batch)]
        expect_rows(samples, split, batch, which)
        assert len(batch.lengths) == len(set(split.user[which].tolist()))
        assert batch.history["item"].shape[1] == max(int(batch.lengths.max()), 1)  # not the longest of the window
        assert not batch.negatives
        row += len(batch)
    assert sorted(order.tolist()) == list(range(len(split)))
    assert row == len(split)
    with pytest.raises(IndexError, match=r"window must be in 0..1, got 2"):
        windows[2]


def test_windows_are_made_once_and_kept_while_they_are_few(samples: Samples, monkeypatch: pytest.MonkeyPatch) -> None:
    windows = EvaluationBatches(samples, samples.test, batch_size=2)
    assert windows[0] is windows[0]
    monkeypatch.setattr(EvaluationBatches, "KEEP", 1)
    windows = EvaluationBatches(samples, samples.test, batch_size=2)
    assert windows[1] is not windows[1]
    assert torch.equal(windows[1].histories.times, windows[1].histories.times)


def test_training_batches_are_the_slow_loop(samples: Samples) -> None:
    batches = training(samples, steps=3, batch_size=8)
    most = np.bincount(samples.train.user).argmax()  # has the row of users that training never saw
    for step, plan in enumerate(batches._plan(0)[:3]):
        batch = batches[step]
        expect_rows(samples, samples.train, batch, plan)
        users = samples.train.user[plan]
        assert batch.user["user"][batch.history_of].tolist() == np.where(users == most, 0, users + 1).tolist()
        numbers, kinds = batch.negatives["item"], batch.negatives["category"]
        assert kinds.tolist() == samples.catalogue["category"][numbers].tolist()  # training knows every item here


@pytest.mark.parametrize("negatives", ["popularity", "uniform", "own"])
def test_auxiliary_negatives_differ_from_their_behaviour(samples: Samples, negatives: str) -> None:
    batches = training(samples, auxiliary_negatives=negatives, seed=3)
    for step in range(8):
        batch = batches[step].per_target()
        drawn, second = batch.negatives["item"], batch.mask.clone()
        second[:, 0] = False  # the first behaviour follows none, and has no negative
        assert (drawn != batch.history["item"])[second].all()
        assert drawn[second].all()
        for numbers in batch.negatives.values():
            assert not numbers[~second].any()


def test_a_pair_draws_negatives_of_its_own(samples: Samples) -> None:
    """The two targets of a history have other negatives, as where each has a copy of the history."""
    batch = training(samples, auxiliary_negatives="uniform", batch_size=256)[0]
    first, second = (batch.negatives["item"][at::2] for at in (0, 1))
    assert batch.history_of[0::2].tolist() == batch.history_of[1::2].tolist()
    assert (first != second).sum() > 0.8 * (first > 0).sum()


@pytest.mark.parametrize("shuffle", [False, True])
def test_an_epoch_holds_every_sample_once(samples: Samples, shuffle: bool) -> None:
    batches = training(samples, batch_size=32, shuffle=shuffle, auxiliary_negatives="none")
    for epoch in (0, 1):
        plan = batches._plan(epoch)
        assert sorted(np.concatenate(plan).tolist()) == list(range(len(samples.train)))
        for batch in plan[:20]:
            lengths = batches.maker.lengths[batch]
            assert (np.diff(lengths) <= 0).all()
    same = all((a == b).all() for a, b in zip(batches._plan(0), batches._plan(1), strict=True))
    assert same is not shuffle


def share_beside_partner(samples: Samples, **settings: Any) -> float:
    """The share of training samples whose other one, of the same history and label 1 or 0, is in their batch."""
    plan = training(samples, auxiliary_negatives="none", **settings)._plan(0)
    beside = sum(int(np.isin(batch ^ 1, batch).sum()) for batch in plan)  # samples 2k and 2k + 1 are a pair
    return beside / len(samples.train)


@pytest.mark.parametrize("protocol", list(OF_INTERACTIONS))
def test_pairs_stay_together(protocol: str, data_dir: Path) -> None:
    samples = prepare_samples("generated", protocol, data_dir)
    for shuffle, size in product((False, True), (2, 8, 128)):
        assert share_beside_partner(samples, shuffle=shuffle, batch_size=size) == 1
        apart = share_beside_partner(samples, shuffle=shuffle, batch_size=size, pairs_together=False)
        assert apart < (0.9 if size == 128 else 0.6), size  # of few users, chance leaves many side by side
    assert 0.5 < share_beside_partner(samples, shuffle=True, batch_size=7) < 1  # an odd one parts one pair


def test_samples_are_shuffled_alone_where_pairs_need_not_stay_together(samples: Samples) -> None:
    """A sample's partner is then anywhere in the epoch, not a few batches away: by chance in its window of 20."""
    settings = {"shuffle": True, "batch_size": 2, "auxiliary_negatives": "none"}
    for together, expected in ((True, 1.0), (False, (40 - 1) / (len(samples.train) - 1))):
        plan = training(samples, pairs_together=together, **settings)._plan(0)
        windows = [np.concatenate(plan[at : at + 20]) for at in range(0, len(plan), 20)]
        beside = sum(int(np.isin(window ^ 1, window).sum()) for window in windows)
        assert beside / len(samples.train) == pytest.approx(expected, abs=0.08)


def tensors(batch: Batch) -> list[torch.Tensor]:
    """All tensors of a batch."""
    nested = [value.values() if isinstance(value, dict) else [value] for value in batch.as_dict().values()]
    return [tensor for values in nested for tensor in values]


def test_any_step_comes_from_the_seed_alone(samples: Samples) -> None:
    one, two, other = (training(samples, steps=50, seed=seed) for seed in (1, 1, 2))
    for step in (0, 1, 2, 3, 4, 5):
        one[step]
    for ours, theirs in zip(tensors(one[40]), tensors(two[40]), strict=True):
        assert torch.equal(ours, theirs)
    assert not torch.equal(one[40].negatives["item"], one[45].negatives["item"])
    assert not torch.equal(one[40].target["item"], other[40].target["item"])
    with pytest.raises(IndexError):
        one[50]


def test_datamodule(tmp_path: Path) -> None:
    data = InteractionsDataModule("generated", "clean", data_dir=str(tmp_path), batch_size=32)
    data.prepare_data()
    data.setup()
    assert len(data.val_dataloader()) == 2  # test and validation users
    assert len(data.train_dataloader()) == data.steps == 200
    assert next(iter(data.train_dataloader())).label.shape == (32,)
    assert data.schema.as_dict() == {
        "user": {"user": 301},
        "behaviour": {"item": 201, "category": 13},
        "target": {},
        "context": {},
    }


def test_empty_histories_are_one_step_of_padding(samples: Samples) -> None:
    split = samples.train
    empty = replace(samples, train=replace(split, end=split.begin))
    batch = training(empty, auxiliary_negatives="uniform")[0]
    assert batch.history["item"].shape == (len(batch) // 2, 1)
    for tensor in (*batch.history.values(), batch.lengths, *batch.negatives.values()):
        assert not tensor.any()


def test_unknown_items_and_categories_are_zero(samples: Samples) -> None:
    """Train on two samples alone: whatever they do not mention shares row 0 with the padding."""
    few = replace(samples, train=samples.train.take(np.arange(2)))
    known = mentioned(few)
    assert 0 < len(known) < samples.item_count
    batch = BatchMaker(few, few.test).make(np.arange(20))
    expect_rows(few, few.test, batch, np.arange(20))
    assert not batch.user["user"].any()
    unknown = batch.target["item"] == 0
    assert batch.target["category"][unknown].any()  # a known category of an unknown item stays
    drawn = training(few, auxiliary_negatives="uniform")[0].negatives["item"]
    assert set(drawn.flatten().tolist()) <= known | {0}


def test_a_pool_of_one_item_does_not_draw_for_ever(samples: Samples) -> None:
    lonely = replace(samples, pool=samples.items[:1].repeat(5))
    batch = training(lonely, batch_size=4)[0]
    assert set(batch.negatives["item"].flatten().tolist()) <= {int(samples.items[0]), 0}


def test_a_negative_drawn_once_stays_with_its_behaviour(samples: Samples) -> None:
    for draws in ("once", "fresh"):
        found = defaultdict(set)  # (user, place in the history) -> negatives; no history is cut
        made = training(samples, auxiliary_negatives="uniform", auxiliary_draws=draws)
        for step in range(2 * made.batches_per_epoch):
            batch = made[step].per_target()
            for b, t in batch.mask.nonzero().tolist():
                if t:
                    found[int(batch.user["user"][b]), t].add(int(batch.negatives["item"][b, t]))
        assert (max(map(len, found.values())) == 1) == (draws == "once")
        assert len(set.union(*found.values())) > 100


def test_a_maker_has_no_copy_of_the_behaviours(samples: Samples) -> None:
    """What it holds grows with users, items and samples; behaviours are by far the longest array at Books' size."""
    many = replace(samples, items=np.tile(samples.items, 50))
    maker = BatchMaker(many, many.test)
    own = [value for value in vars(maker).values() if isinstance(value, np.ndarray | torch.Tensor)]
    own += [rows for part in (maker.rows.items, maker.rows.users) for rows in part.values()]
    assert max(map(len, own)) < len(samples.items)


def test_streams_never_collide() -> None:
    """Whatever purpose, seed of a run, epoch and batch, although NumPy takes [1, 2] and [1, 2, 0] for one seed."""
    same = [np.random.default_rng(seed).integers(1 << 62) for seed in ([1, 2], [1, 2, 0])]
    assert same[0] == same[1]
    tails = [(), *product(range(3)), *product(range(3), repeat=2), *product(range(3), repeat=3)]
    first = [
        tuple(generator(purpose, seed, *tail).integers(1 << 62, size=2))
        for purpose in Stream
        for seed in (0, 1, 2, 3, 2**32 - 1)
        for tail in tails
    ]
    assert len(set(first)) == len(first) == len(Stream) * 5 * len(tails)
