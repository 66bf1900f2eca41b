"""The generated data set: its size, its shape, and that a history tells something about what comes next."""

import numpy as np
import pytest

from datamodules.sources.generated import DAY, generate_interactions
from datamodules.sources.spec import Counts, RawInteractions


def in_order(raw: RawInteractions) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Users, category numbers and times, sorted by user and time."""
    names = sorted(set(raw.category_of.values()))
    category = np.array([names.index(raw.category_of[item]) for item in raw.item_ids])[raw.item]
    order = np.lexsort((np.arange(len(raw.user)), raw.time, raw.user))
    return raw.user[order], category[order], raw.time[order]


def test_the_same_arguments_give_the_same_behaviours() -> None:
    one, two, other = generate_interactions(), generate_interactions(), generate_interactions(seed=1)
    assert all(np.array_equal(getattr(one, name), getattr(two, name)) for name in ("user", "item", "time"))
    assert len(one.item) != len(other.item) or not np.array_equal(one.item, other.item)


def test_size_and_lengths() -> None:
    raw = generate_interactions()
    assert (raw.counts.users, raw.counts.items, raw.counts.categories) == (300, 200, 12)
    lengths = np.bincount(raw.user)
    assert {1, 2} <= set(lengths.tolist())
    assert lengths.max() <= 30
    assert np.mean(lengths >= 5) > 0.9
    assert np.all(np.bincount(raw.item, minlength=200) > 0)


def test_times_have_day_resolution_and_ties() -> None:
    user, _, time = in_order(generate_interactions())
    assert np.all(time % DAY == 0)
    same_user = user[1:] == user[:-1]
    assert 0.2 < np.mean((time[1:] == time[:-1])[same_user]) < 0.6


def test_the_next_category_follows_from_the_last_one() -> None:
    raw = generate_interactions(users=2_000)
    user, category, _ = in_order(raw)
    same_user = user[1:] == user[:-1]
    moved = (category[1:] - category[:-1])[same_user] % 12
    assert np.mean(moved == 0) > 0.65
    assert np.mean(moved <= 1) > 0.9
    assert np.bincount(category).max() / len(category) < 0.2  # so no category alone predicts anything


def test_no_user_takes_an_item_twice() -> None:
    raw = generate_interactions()
    pairs = raw.user.astype(np.int64) * 200 + raw.item
    assert len(np.unique(pairs)) == len(pairs)


def test_other_sizes() -> None:
    raw = generate_interactions(users=5_000, items=2_000, categories=50, mean_length=14, max_length=100)
    assert raw.counts == Counts(len(raw.user), 5_000, 2_000, 50)
    assert 12 < len(raw.user) / 5_000 < 15
    assert generate_interactions(users=1, items=1, categories=1).counts.items == 1


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"users": 0}, "users must be at least 1, got 0"),
        ({"categories": 0}, "categories must be at least 1, got 0"),
        ({"items": 5, "categories": 6}, "items must be at least 6, got 5"),
        ({"mean_length": 5}, "mean_length must be above 5 and at most 30, got 5"),
    ],
)
def test_impossible_sizes(arguments: dict[str, int], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        generate_interactions(**arguments)
