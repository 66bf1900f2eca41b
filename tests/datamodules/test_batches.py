"""Batches against a slow Python loop."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from datamodules.batches import BatchMaker, EvaluationBatches, TrainingBatches
from datamodules.datamodule import InteractionsDataModule
from datamodules.samples import Samples
from datamodules.samples_file import prepare_samples


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Samples:
    return prepare_samples("generated", "aaai-2019", Path(tmp_path_factory.mktemp("data")))


def slow_history(samples: Samples, user: int, end: int, known: np.ndarray) -> list[int]:
    begin = max(samples.offsets[user], end - 100)
    return [int(item) if known[item] else 0 for item in samples.items[begin:end]]


def test_evaluation_batches_are_the_slow_loop(samples: Samples) -> None:
    users, items, categories = samples.known()
    batches = EvaluationBatches(samples, samples.test, batch_size=16)
    row = 0
    for number in range(len(batches)):
        batch = batches[number]
        assert batch.history_items.shape[1] == max(1, int(batch.lengths.max()))
        for b in range(len(batch.user)):
            sample = batches.order[row]
            user, end = int(samples.test.user[sample]), int(samples.test.end[sample])
            expected = slow_history(samples, user, end, items)
            length = int(batch.lengths[b])
            assert length == len(expected)
            assert batch.history_items[b].tolist() == expected + [0] * (batch.history_items.shape[1] - length)
            raw = samples.items[end - length : end]
            kinds = [int(c) if categories[c] else 0 for c in samples.item_category[raw]]
            assert batch.history_categories[b, :length].tolist() == kinds
            assert int(batch.user[b]) == (user + 1 if users[user] else 0) == 0  # no test user trains
            target = int(samples.test.item[sample])
            assert int(batch.item[b]) == (target if items[target] else 0)
            assert float(batch.label[b]) == samples.test.label[sample]
            row += 1
        assert not batch.negative_items.any()
    assert row == len(samples.test)
    assert sorted(batches.order.tolist()) == list(range(len(samples.test)))


@pytest.mark.parametrize("negatives", ["popularity", "uniform"])
def test_auxiliary_negatives_differ_from_their_behaviour(samples: Samples, negatives: str) -> None:
    batches = TrainingBatches(samples, steps=8, shuffle=True, auxiliary_negatives=negatives, seed=3)  # type: ignore[arg-type]
    for step in range(8):
        batch = batches[step]
        assert (batch.negative_items[batch.mask] != batch.history_items[batch.mask]).all()
        assert not batch.negative_items[~batch.mask].any()
        assert not batch.negative_categories[~batch.mask].any()


@pytest.mark.parametrize("shuffle", [False, True])
def test_an_epoch_holds_every_sample_once(samples: Samples, shuffle: bool) -> None:
    batches = TrainingBatches(samples, steps=100, batch_size=32, shuffle=shuffle, auxiliary_negatives="none", seed=0)
    for epoch in (0, 1):
        plan = batches._plan(epoch)
        assert sorted(np.concatenate(plan).tolist()) == list(range(len(samples.train)))
        for batch in plan[:20]:
            lengths = batches.maker.lengths[batch]
            assert (np.diff(lengths) <= 0).all()
    same = all((a == b).all() for a, b in zip(batches._plan(0), batches._plan(1), strict=True))
    assert same is not shuffle


def test_any_step_comes_from_the_seed_alone(samples: Samples) -> None:
    def make(seed: int) -> TrainingBatches:
        return TrainingBatches(samples, steps=50, shuffle=True, auxiliary_negatives="popularity", seed=seed)

    one, two, other = make(1), make(1), make(2)
    for step in (0, 1, 2, 3, 4, 5):
        one[step]
    for ours, theirs in zip(one[40], two[40], strict=True):
        assert torch.equal(ours, theirs)
    assert not torch.equal(one[40].negative_items, one[45].negative_items)
    assert not torch.equal(one[40].item, other[40].item)
    with pytest.raises(IndexError):
        one[50]


def test_datamodule(tmp_path: Path) -> None:
    data = InteractionsDataModule("generated", "clean", data_dir=str(tmp_path), batch_size=32)
    data.prepare_data()
    data.setup()
    assert len(data.val_dataloader()) == 2  # test and validation users
    assert len(data.train_dataloader()) == data.steps == 200
    assert next(iter(data.train_dataloader())).label.shape == (32,)


def test_training_batches_are_the_slow_loop(samples: Samples) -> None:
    batches = TrainingBatches(samples, steps=3, batch_size=8, shuffle=True, auxiliary_negatives="popularity", seed=0)
    known = samples.known()[1]
    for step, plan in enumerate(batches._plan(0)[:3]):
        batch = batches[step]
        for b, sample in enumerate(plan):
            user, end = int(samples.train.user[sample]), int(samples.train.end[sample])
            length = int(batch.lengths[b])
            assert batch.history_items[b, :length].tolist() == slow_history(samples, user, end, known)
            assert (int(batch.user[b]), int(batch.item[b])) == (user + 1, int(samples.train.item[sample]))
            assert int(batch.category[b]) == samples.item_category[samples.train.item[sample]]
            assert float(batch.label[b]) == samples.train.label[sample]
            for item, kind in zip(batch.negative_items[b], batch.negative_categories[b], strict=True):
                assert not item or int(kind) == samples.item_category[item]


def test_long_histories_are_cut_to_the_newest(samples: Samples) -> None:
    short = replace(samples, protocol=replace(samples.protocol, max_history=3))
    batch = BatchMaker(short, short.test).make(np.arange(4), None, None)
    known = short.known()[1]
    assert batch.history_items.shape[1] <= 3
    for b in range(4):
        user, end = int(short.test.user[b]), int(short.test.end[b])
        newest = samples.items[max(samples.offsets[user], end - 3) : end]
        expected = [int(item) if known[item] else 0 for item in newest]
        assert batch.history_items[b, : len(expected)].tolist() == expected


def test_empty_histories_are_one_step_of_padding(samples: Samples) -> None:
    split = samples.train
    empty = replace(samples, train=replace(split, end=samples.offsets[split.user]))
    batch = TrainingBatches(empty, steps=1, shuffle=False, auxiliary_negatives="uniform", seed=0)[0]
    assert batch.history_items.shape == (len(batch.label), 1)
    for tensor in (batch.history_items, batch.lengths, batch.negative_items, batch.negative_categories):
        assert not tensor.any()


def test_unknown_items_and_categories_are_zero(samples: Samples) -> None:
    """Train on two samples alone: whatever they do not mention shares row 0 with the padding."""
    few = replace(samples, train=type(samples.train)(*(field[:2] for field in vars(samples.train).values())))
    users, items, categories = few.known()
    assert 0 < items.sum() < samples.item_count
    batch = BatchMaker(few, few.test).make(np.arange(20), None, None)
    assert not batch.user.any()
    for b, target in enumerate(few.test.item[:20]):
        kind = few.item_category[target]
        assert int(batch.item[b]) == (target if items[target] else 0)
        assert int(batch.category[b]) == (kind if categories[kind] else 0)  # a known category of an unknown item stays
    assert users.sum() == 1
    negatives = TrainingBatches(few, steps=1, shuffle=False, auxiliary_negatives="uniform", seed=0)[0].negative_items
    assert items[negatives[negatives > 0].numpy()].all()


def test_a_pool_of_one_item_does_not_draw_for_ever(samples: Samples) -> None:
    lonely = replace(samples, pool=samples.items[:1].repeat(5))
    batch = TrainingBatches(lonely, steps=1, batch_size=4, shuffle=False, auxiliary_negatives="popularity", seed=0)[0]
    assert set(batch.negative_items[batch.mask].tolist()) <= {int(samples.items[0]), 0}


def test_a_negative_drawn_once_stays_with_its_behaviour(samples: Samples) -> None:
    def batches(draws: str) -> TrainingBatches:
        return TrainingBatches(
            samples,
            steps=100,
            shuffle=True,
            auxiliary_negatives="uniform",
            auxiliary_draws=draws,
            seed=0,  # type: ignore[arg-type]
        )

    for draws, distinct in (("once", 1), ("fresh", 2)):
        found: dict[tuple[int, int], set[int]] = {}  # (user, place in the history) -> negatives; no history is cut
        made = batches(draws)
        for step in range(2 * made.batches_per_epoch):
            batch = made[step]
            for b, t in batch.mask.nonzero().tolist():
                found.setdefault((int(batch.user[b]), t), set()).add(int(batch.negative_items[b, t]))
                assert batch.negative_items[b, t] != batch.history_items[b, t]
        assert max(map(len, found.values())) >= distinct
        assert (max(map(len, found.values())) == 1) == (draws == "once")
        assert len(set.union(*found.values())) > 100


def test_a_maker_has_no_copy_of_the_behaviours(samples: Samples) -> None:
    """What it holds grows with users, items and samples; behaviours are by far the longest array at Books' size."""
    many = replace(samples, items=np.tile(samples.items, 50))
    maker = BatchMaker(many, many.test)
    own = [value for value in vars(maker).values() if isinstance(value, np.ndarray | torch.Tensor)]
    assert max(map(len, own)) < len(samples.items)
