"""Batches against a slow Python loop."""

from pathlib import Path

import numpy as np
import pytest
import torch

from datamodules.batches import EvaluationBatches, TrainingBatches
from datamodules.datamodule import InteractionsDataModule
from datamodules.samples import Samples, prepare_samples


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
