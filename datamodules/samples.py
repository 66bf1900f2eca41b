"""Samples: which user, how much of the history, which target item, which label.

Behaviours of all users lie in one flat array; a sample points into it, so that no history is ever copied.
Everything random is drawn once from the protocol's data seed and stored: every row and every run seed sees the
same samples.
"""

import hashlib
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datamodules.errors import UserError
from datamodules.interactions import Interactions
from datamodules.protocol import Protocol

SAMPLER_VERSION = 1  # raised whenever the same interactions would give other samples under some protocol
Ints = NDArray[np.int32]


@dataclass(frozen=True)
class Split:
    """N samples as parallel arrays."""

    user: Ints  # (N,) 0..users-1
    end: NDArray[np.int64]  # (N,) position in Samples.items one past the newest behaviour of the history
    item: Ints  # (N,) target item, 1..items
    label: NDArray[np.int8]  # (N,) 1 positive, 0 negative

    def __len__(self) -> int:
        return len(self.user)


@dataclass(frozen=True)
class Samples:
    """All samples of one data set under one protocol."""

    items: Ints  # (M,) behaviours of all users, each user's in the protocol's order
    offsets: NDArray[np.int64]  # (users + 1,) where each user's behaviours begin
    item_category: Ints  # (items + 1,) category of an item, 0 for item 0
    catalogue_rank: Ints  # (items + 1,) rank of the raw item id, -1 for item 0
    pool: Ints  # (P,) items of the reviews that define popularity, repetitions included
    train: Split
    validation: Split  # empty where the protocol has no validation users
    test: Split
    protocol: Protocol
    order_within_time: bool  # False: a history holds only behaviours before the target's time
    sha256: str  # of the arrays

    @property
    def users(self) -> int:
        """Number of users, all splits together."""
        return len(self.offsets) - 1

    @property
    def item_count(self) -> int:
        """Number of items, the 0 left out."""
        return len(self.item_category) - 1

    @property
    def categories(self) -> int:
        """Number of categories, the 0 left out."""
        return int(self.item_category.max())

    def starts(self, split: Split) -> NDArray[np.int64]:
        """(N,) where the histories of a split begin, cut to the protocol's newest `max_history` behaviours."""
        return np.maximum(self.offsets[split.user], split.end - self.protocol.max_history)

    def known(self) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
        """(users,) (items + 1,) (categories + 1,): what some training sample mentions.

        The released code numbers only those; anything else shares row 0 with the padding (variants.md 19).
        """
        users = np.zeros(self.users, bool)
        users[self.train.user] = True
        items = np.zeros(self.item_count + 1, bool)
        items[self.train.item] = True
        edges = np.zeros(len(self.items) + 1, np.int64)
        np.add.at(edges, self.starts(self.train), 1)
        np.add.at(edges, self.train.end, -1)
        items[self.items[np.cumsum(edges[:-1]) > 0]] = True
        categories = np.zeros(self.categories + 1, bool)
        categories[self.item_category[items]] = True
        items[0] = categories[0] = False
        return users, items, categories

    def unknown_items(self, split: Split) -> tuple[float, float]:
        """Return the share of items that no training sample mentions among a split's positives and its negatives.

        Where the two differ, the rule "the item is unknown" tells positives from negatives. An empty split gives 0, 0.
        """
        unknown = ~self.known()[1][split.item]
        positive, negative = (unknown[split.label == label] for label in (1, 0))
        return float(positive.mean()) if len(positive) else 0.0, float(negative.mean()) if len(negative) else 0.0


def make_samples(interactions: Interactions, protocol: Protocol, order_within_time: bool = True) -> Samples:
    """Turn interactions into samples under a protocol.

    `order_within_time=False` says that behaviours with one time have no known order: under the protocols that
    sort by time a history then ends before the target's time. Raises `UserError` where the interactions leave
    nothing to train or test on, or where a user has seen every item that could be a negative.
    """
    ties, split_rng, negatives_rng = (np.random.default_rng([protocol.data_seed, stream]) for stream in (1, 2, 3))
    user, item = interactions.user, interactions.item
    within = {
        "catalogue": (interactions.catalogue_rank,),
        "time, catalogue": (interactions.catalogue_rank, interactions.time),
        "time, random": (ties.permutation(len(user)), interactions.time),
    }[protocol.order]
    by_user = np.lexsort((*within, user))
    items = item[by_user].astype(np.int32)
    offsets = np.searchsorted(user[by_user], np.arange(interactions.users + 1)).astype(np.int64)

    by_time = protocol.order != "catalogue"
    days = None if order_within_time or not by_time else interactions.time[by_user]
    train_users, validation_users, test_users = _split_users(interactions.users, protocol, split_rng)
    pool_users = np.arange(interactions.users) if protocol.pool == "all users" else train_users
    in_pool = np.isin(user[by_user], pool_users)
    pool = items[in_pool]
    if protocol.negative == "uniform, not seen":
        candidates = np.arange(1, interactions.items + 1, dtype=np.int32)
    else:
        candidates = pool

    if protocol.every_position_trains:
        positions = _all_positions(offsets, days, train_users)
    else:
        positions = offsets[train_users + 1] - 1
    owners = np.searchsorted(offsets, positions, side="right") - 1
    targets = {
        "train": (owners, positions),
        "validation": (validation_users, offsets[validation_users + 1] - 1),
        "test": (test_users, offsets[test_users + 1] - 1),
    }
    base = interactions.items + 1
    seen = None
    if protocol.negative != "popularity, not the target":
        seen = np.unique(user.astype(np.int64) * base + item)
    splits = {
        name: _pairs(
            owner,
            items[position],
            _ends(position, owner, offsets, days),
            candidates,
            seen,
            base,
            negatives_rng,
        )
        for name, (owner, position) in targets.items()
    }
    if not len(splits["train"]) or not len(splits["test"]):
        raise UserError(
            f"{interactions.users} users leave {len(splits['train'])} training and {len(splits['test'])} test "
            f"samples under protocol {protocol.name}, expected at least one of each: use more users"
        )
    item_category = np.zeros(interactions.items + 1, np.int32)
    item_category[item] = interactions.category
    catalogue_rank = np.full(interactions.items + 1, -1, np.int32)
    catalogue_rank[item] = interactions.catalogue_rank
    samples = Samples(
        items, offsets, item_category, catalogue_rank, pool, **splits, protocol=protocol,
        order_within_time=order_within_time, sha256="",
    )  # fmt: skip
    return replace(samples, sha256=digest(arrays_of(samples)))


def _split_users(users: int, protocol: Protocol, rng: np.random.Generator) -> tuple[NDArray[np.int64], ...]:
    """Training, validation and test users, each in random order; all users three times where none is held out."""
    order = rng.permutation(users)
    test, validation = round(users * protocol.test_users), round(users * protocol.validation_users)
    if protocol.test_users == 0:
        return order, order[:0], order
    return order[test + validation :], order[test : test + validation], order[:test]


def _all_positions(
    offsets: NDArray[np.int64], days: NDArray[np.int64] | None, users: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Positions of every behaviour with a history, except each user's last (which tests), users in the order given."""
    counts = np.maximum(offsets[users + 1] - offsets[users] - 2, 0)
    first = np.repeat(offsets[users] + 1, counts)
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    positions = first + within
    owners = np.repeat(users, counts)
    kept: NDArray[np.int64] = positions[_ends(positions, owners, offsets, days) > offsets[owners]]
    return kept


def _ends(
    positions: NDArray[np.int64],
    owners: NDArray[np.int64],
    offsets: NDArray[np.int64],
    days: NDArray[np.int64] | None,
) -> NDArray[np.int64]:
    """One past the newest behaviour before each target: the target's own position, or the start of its day."""
    if days is None:
        return positions
    change = np.ones(len(days), bool)
    change[1:] = days[1:] != days[:-1]
    day_start = np.maximum.accumulate(np.where(change, np.arange(len(days)), 0))
    return np.maximum(day_start[positions], offsets[owners])


def _pairs(
    owners: NDArray[np.int64],
    positive: Ints,
    ends: NDArray[np.int64],
    candidates: Ints,
    seen: NDArray[np.int64] | None,
    base: int,
    rng: np.random.Generator,
) -> Split:
    """One positive and one negative for each owner, side by side.

    A negative differs from the positive, or, given the sorted keys owner * base + item of `seen`, from all of them.
    """
    negative = rng.choice(candidates, len(positive))
    for _ in range(1000):
        if seen is None:
            clash = np.flatnonzero(negative == positive)
        else:
            keys = owners * base + negative
            at = np.minimum(np.searchsorted(seen, keys), len(seen) - 1)
            clash = np.flatnonzero(seen[at] == keys)
        if not len(clash):
            break
        negative[clash] = rng.choice(candidates, len(clash))
    else:
        raise UserError(
            f"found no negative for {len(clash)} samples (user {owners[clash[0]]} for one) in 1000 draws, expected "
            "every user to leave some item untouched: leave out users who interacted with nearly all items"
        )
    return Split(
        user=np.repeat(owners, 2).astype(np.int32),
        end=np.repeat(ends, 2),
        item=np.stack([negative, positive], axis=1).reshape(-1).astype(np.int32),
        label=np.tile(np.array([0, 1], np.int8), len(positive)),
    )


def arrays_of(samples: Samples) -> list[NDArray[Any]]:
    """Return all arrays of samples, in the order in which their checksum takes them."""
    splits = (samples.train, samples.validation, samples.test)
    arrays: list[NDArray[Any]] = [
        samples.items,
        samples.offsets,
        samples.item_category,
        samples.catalogue_rank,
        samples.pool,
    ]
    return arrays + [array for split in splits for array in (split.user, split.end, split.item, split.label)]


def digest(arrays: list[NDArray[Any]]) -> str:
    """Return the sha256 of arrays with their types and shapes."""
    found = hashlib.sha256()
    for array in arrays:
        found.update(f"{array.dtype}{array.shape}".encode())
        found.update(np.ascontiguousarray(array).data)
    return found.hexdigest()
