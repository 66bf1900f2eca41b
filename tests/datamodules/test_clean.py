"""What `clean` promises: no seen negatives, nothing of held-out users in training, nothing of the catalogue."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from datamodules.batch import Batch
from datamodules.batches import EvaluationBatches, TrainingBatches
from datamodules.interactions import Interactions, number_ids, number_interactions
from datamodules.protocol import get_protocol
from datamodules.samples import Samples, Split, make_samples
from datamodules.sources.generated import generate_interactions
from datamodules.sources.spec import RawInteractions

RAW = generate_interactions()
SPLITS = ("train", "validation", "test")


def numbered(raw: RawInteractions) -> Interactions:
    """The canonical table as it is read back from disk."""
    user, item, category, time, rank = (column.to_numpy().copy() for column in number_interactions(raw).columns)
    counts = {"users": raw.counts.users, "items": raw.counts.items, "categories": raw.counts.categories}
    return Interactions(user, item, category, time, rank, {"counts": counts})


DATA = numbered(RAW)


def samples_of(data: Interactions, protocol: str = "clean") -> Samples:
    return make_samples(data, get_protocol(protocol))


def behaviours(samples: Samples, user: int) -> list[int]:
    return samples.items[samples.offsets[user] : samples.offsets[user + 1]].tolist()


def splits(samples: Samples) -> list[Split]:
    return [getattr(samples, name) for name in SPLITS]


def test_no_negative_is_an_item_of_its_user() -> None:
    samples = samples_of(DATA)
    for split in splits(samples):
        assert len(split)
        for user, end, item, label in zip(split.user, split.end, split.item, split.label, strict=True):
            own = behaviours(samples, user)
            history = samples.items[samples.offsets[user] : end]
            assert (item in own) == bool(label)
            assert label or item not in history


def test_users_are_split_alike_under_every_order() -> None:
    tested = [samples_of(DATA, protocol).test.user for protocol in ("clean", "aaai-2019", "arxiv-v1")]
    assert len(tested[0]) == 2 * 30
    for users in tested[1:]:
        np.testing.assert_array_equal(users, tested[0])
    clean = samples_of(DATA)
    groups = [set(split.user.tolist()) for split in splits(clean)]
    assert sum(map(len, groups)) == len(set.union(*groups)) == clean.users


def tensors(batch: Batch) -> list[torch.Tensor]:
    nested = [value.values() if isinstance(value, dict) else [value] for value in batch.as_dict().values()]
    return [tensor for values in nested for tensor in values]


def training(samples: Samples, auxiliary_negatives: str) -> list[torch.Tensor]:
    """Every tensor of two epochs of training batches."""
    batches = TrainingBatches(samples, steps=10, shuffle=True, auxiliary_negatives=auxiliary_negatives, seed=0)
    assert 2 * batches.batches_per_epoch <= 10
    return [tensor for step in range(10) for tensor in tensors(batches[step])]


def same(first: list[torch.Tensor], second: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def with_items(data: Interactions, rows: np.ndarray) -> Interactions:
    """The same behaviours but for the items of some rows, which change places at random."""
    order = np.arange(len(data.item))
    order[rows] = np.random.default_rng(0).permutation(order[rows])
    return replace(
        data, item=data.item[order], category=data.category[order], catalogue_rank=data.catalogue_rank[order]
    )


@pytest.mark.parametrize("auxiliary_negatives", ["popularity", "uniform"])
def test_no_behaviour_of_a_held_out_user_reaches_training(auxiliary_negatives: str) -> None:
    """Whatever validation and test users did: targets, histories and negatives of training are the same to the bit."""
    samples = samples_of(DATA)
    held_out = np.isin(DATA.user, np.concatenate([samples.validation.user, samples.test.user]))
    assert 0.1 < held_out.mean() < 0.3
    other = samples_of(with_items(DATA, np.flatnonzero(held_out)))
    assert not np.array_equal(samples.test.item, other.test.item)
    assert same(training(samples, auxiliary_negatives), training(other, auxiliary_negatives))
    np.testing.assert_array_equal(samples.pool, other.pool)
    # and what training users did is in them: the comparison can fail
    others = samples_of(with_items(DATA, np.flatnonzero(~held_out)))
    assert not same(training(samples, auxiliary_negatives), training(others, auxiliary_negatives))


def test_everywhere_else_popularity_knows_the_test_users() -> None:
    """As in the released code: arxiv-v1 and aaai-2019 draw from everybody's reviews."""
    for protocol in ("arxiv-v1", "aaai-2019"):
        samples = samples_of(DATA, protocol)
        tested = np.isin(DATA.user, samples.test.user)
        other = samples_of(with_items(DATA, np.flatnonzero(tested)), protocol)
        assert not np.array_equal(samples.pool, other.pool)
        assert not same(training(samples, "popularity"), training(other, "popularity"))


def test_catalogue_ranks_are_in_no_batch() -> None:
    samples = samples_of(DATA)
    other = replace(samples, catalogue_rank=samples.catalogue_rank[::-1].copy())
    assert same(training(samples, "popularity"), training(other, "popularity"))
    ours, theirs = (EvaluationBatches(one, one.test)[0].batches()[0] for one in (samples, other))
    assert same(tensors(ours), tensors(theirs))


@pytest.mark.parametrize(
    ("protocol", "equal"), [("clean", True), ("random-ties", True), ("aaai-2019", False), ("arxiv-v1", False)]
)
def test_shuffled_catalogue_numbers_leave_every_sample_where_order_is_random(protocol: str, equal: bool) -> None:
    shuffled = np.random.default_rng(3).permutation(RAW.counts.items or 0).astype(np.int32)
    other = replace(DATA, catalogue_rank=shuffled[DATA.catalogue_rank])
    ours, theirs = samples_of(DATA, protocol), samples_of(other, protocol)
    assert np.array_equal(ours.items, theirs.items) is equal
    for mine, its in zip(splits(ours), splits(theirs), strict=True):
        for name in ("user", "end", "item", "label"):
            same_column = np.array_equal(getattr(mine, name), getattr(its, name))
            assert same_column or (name == "item" and not equal)


def renamed(raw: RawInteractions) -> tuple[Interactions, np.ndarray]:
    """The table after raw ids of items were dealt out anew, and for each item number the number it has there."""
    order = np.random.default_rng(5).permutation(len(raw.item_ids))
    ids = [raw.item_ids[i] for i in order]
    category_of = {new: raw.category_of[old] for new, old in zip(ids, raw.item_ids, strict=True)}
    new_number = np.zeros(len(ids) + 1, np.int32)
    (_, old), (_, new) = number_ids(raw.item_ids, stream=1), number_ids(ids, stream=1)
    new_number[old + 1] = new + 1
    return numbered(replace(raw, item_ids=ids, category_of=category_of)), new_number


def without_ties(raw: RawInteractions) -> RawInteractions:
    """The same behaviours, a second apart where they were of one day."""
    return replace(raw, time=raw.time + np.arange(len(raw.time)))


@pytest.mark.parametrize(("protocol", "equal"), [("clean", True), ("aaai-2019", True), ("arxiv-v1", False)])
def test_shuffled_catalogue_numbers_only_rename_what_has_an_order_in_time(protocol: str, equal: bool) -> None:
    raw = without_ties(RAW)
    other, new_number = renamed(raw)
    ours, theirs = samples_of(numbered(raw), protocol), samples_of(other, protocol)
    assert np.array_equal(new_number[ours.items], theirs.items) is equal
    assert np.array_equal(new_number[ours.pool], theirs.pool) is equal
    for mine, its in zip(splits(ours), splits(theirs), strict=True):
        np.testing.assert_array_equal(mine.user, its.user)
        np.testing.assert_array_equal(mine.end, its.end)
        np.testing.assert_array_equal(mine.label, its.label)
        assert len(mine) == 0 or np.array_equal(new_number[mine.item], its.item) is equal


def test_shuffled_catalogue_numbers_leave_the_order_of_days() -> None:
    """Inside a day the order is random, and another one under other numbers; nothing else of a history changes."""
    other, new_number = renamed(RAW)
    ours, theirs = samples_of(DATA), samples_of(other)
    np.testing.assert_array_equal(ours.offsets, theirs.offsets)
    by_user = np.lexsort((DATA.time, DATA.user))
    days = list(zip(DATA.user[by_user].tolist(), DATA.time[by_user].tolist(), strict=True))
    assert len(set(days)) < len(days)
    mine, its = ({day: set() for day in days} for _ in range(2))
    for day, item, renamed_item in zip(days, new_number[ours.items].tolist(), theirs.items.tolist(), strict=True):
        mine[day].add(item)
        its[day].add(renamed_item)
    assert mine == its
    for one, another in zip(splits(ours), splits(theirs), strict=True):
        np.testing.assert_array_equal(one.user, another.user)
        np.testing.assert_array_equal(one.end, another.end)


def test_the_order_inside_a_day_does_not_follow_the_catalogue() -> None:
    """Of neighbours of one day the later one has the higher catalogue number in half of all cases."""
    for protocol, expected, tolerance in (("clean", 0.5, 0.08), ("aaai-2019", 1.0, 0.0)):
        samples = samples_of(DATA, protocol)
        by_user = np.lexsort((DATA.time, DATA.user))
        user, time = DATA.user[by_user], DATA.time[by_user]
        tied = (user[1:] == user[:-1]) & (time[1:] == time[:-1])
        rank = samples.catalogue_rank[samples.items]
        assert tied.sum() > 500  # three standard errors of a half are below 0.07
        assert (rank[1:] > rank[:-1])[tied].mean() == pytest.approx(expected, abs=tolerance)
