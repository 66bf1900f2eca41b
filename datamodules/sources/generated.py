"""A data set made on the spot, for tests and speed measurements: users whose interest drifts.

A user starts in some category, stays there for a few behaviours and moves on to the next category; inside a
category the items are taken one after the other. So the history tells much about the next item.
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from datamodules.sources.spec import Counts, DatasetSpec, Int64, RawInteractions

DAY = 86_400  # seconds
MOVE = 0.25  # chance that the interest moves on to the next category at a behaviour
SAME_DAY = 0.4  # chance that a behaviour falls on the day of the one before


def generate_interactions(
    users: int = 300,
    items: int = 200,
    categories: int = 12,
    *,
    mean_length: float = 9.0,
    max_length: int = 30,
    seed: int = 20180911,
) -> RawInteractions:
    """Make behaviours of `users` users; with the same arguments always the same ones.

    Lengths are geometric from 5 to `max_length`, about `mean_length` on average, as in a 5-core set; one user
    in 20 has 1 or 2 behaviours. Times have day resolution, with ties. An item that no user takes is left out,
    which hardly happens from ten behaviours an item on.

    >>> generate_interactions(users=1000, items=500, categories=20).counts.items
    500
    """
    for name, value, least in (
        ("users", users, 1),
        ("categories", categories, 1),
        ("items", items, categories),
    ):
        if value < least:
            raise ValueError(f"{name} must be at least {least}, got {value}")
    if not 5 < mean_length <= max_length:
        raise ValueError(f"mean_length must be above 5 and at most {max_length}, got {mean_length}")
    rng = np.random.default_rng(seed)
    lengths = np.minimum(4 + rng.geometric(1 / (mean_length - 4), users), max_length)
    short = rng.random(users) < 1 / 20
    lengths[short] = rng.integers(1, 3, short.sum())

    user = np.repeat(np.arange(users), lengths)
    first = np.cumsum(lengths) - lengths  # position of each user's first behaviour
    category = rng.integers(0, categories, users)[user] + _since(first, rng.random(len(user)) < MOVE, user)
    category %= categories
    item = _items(user, category, items, categories, rng)
    gaps = np.where(rng.random(len(user)) < SAME_DAY, 0, rng.geometric(1 / 20, len(user)))
    day = rng.integers(15_000, 15_500, users)[user] + _since(first, gaps, user)

    _, once = np.unique(user * items + item, return_index=True)  # a user takes an item once
    once.sort()
    taken, code = np.unique(item[once], return_inverse=True)
    item_ids = [f"item-{number:07d}" for number in taken.tolist()]
    names = [f"category-{number:04d}" for number in (taken % categories).tolist()]
    return RawInteractions(
        user=user[once].astype(np.int32),
        item=code.astype(np.int32),
        time=day[once] * DAY,
        user_ids=[f"user-{number:07d}" for number in range(users)],
        item_ids=item_ids,
        category_of=dict(zip(item_ids, names, strict=True)),
        inputs=[],
    )


def _since(first: Int64, steps: npt.NDArray[Any], user: Int64) -> Int64:
    """Return the sum of each user's steps (N,) after the user's first behaviour."""
    total: Int64 = np.cumsum(steps)
    from_first: Int64 = total - total[first][user]
    return from_first


def _items(user: Int64, category: Int64, items: int, categories: int, rng: np.random.Generator) -> Int64:
    """Return an item for each behaviour (N,): category k holds the items k, k + categories, and so on.

    A user enters a category at an item that is rather one of the first, which makes these popular, and goes
    on with the items behind it.
    """
    pair, pair_of = np.unique(user * categories + category, return_inverse=True)
    order = np.argsort(pair_of, kind="stable")
    starts = np.searchsorted(pair_of[order], np.arange(len(pair)))
    visit = np.empty(len(user), np.int64)
    visit[order] = np.arange(len(user)) - starts[pair_of[order]]
    size = (items - category + categories - 1) // categories
    entry = (rng.random(len(pair)) ** 1.5)[pair_of] * size
    return (entry.astype(np.int64) + visit) % size * categories + category


def _read(data_dir: Path) -> RawInteractions:
    return generate_interactions()


GENERATED = DatasetSpec(
    name="generated",
    title="Generated behaviours with drifting interests",
    licence="made by this program",
    expected=Counts(users=300, items=200, categories=12),
    steps=200,
    read=_read,
    source="made on the spot",
    download_bytes=0,
)
