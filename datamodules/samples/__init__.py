"""Samples: which user, how much of the history, which target, which label.

Behaviours of all users lie in one flat array; a sample points into it, so that no history is ever copied.
Everything random is drawn once from the protocol's data seed and stored: every row and every run seed sees the
same samples.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datamodules.errors import UserError
from datamodules.interactions import Interactions
from datamodules.protocol import AnyProtocol, Protocol

SAMPLER_VERSION = 1  # raised whenever the same interactions would give other samples under some protocol
Ints = NDArray[np.int32]
Int64 = NDArray[np.int64]


@dataclass(frozen=True)
class Split:
    """N samples as parallel arrays; neighbours with one user, begin and end share a history."""

    user: Ints  # (N,) 0..users-1
    begin: Int64  # (N,) position in Samples.items of the oldest behaviour of the history
    end: Int64  # (N,) one past the newest
    item: Ints  # (N,) target item, 1..items
    label: NDArray[np.int8]  # (N,) 1 positive, 0 negative
    time: Int64  # (N,) of the target, seconds
    target: dict[str, Ints] = field(default_factory=dict)  # (N,) further fields of the target
    context: dict[str, Ints] = field(default_factory=dict)  # (N,) fields of the moment
    probability: NDArray[np.float32] | None = None  # (N,) of a click, where it is known

    def __len__(self) -> int:
        return len(self.user)

    @property
    def starts_history(self) -> NDArray[np.bool_]:
        """(N,) whether a sample has another history than the one before it."""
        changed = np.ones(len(self), bool)
        changed[1:] = False
        for array in (self.user, self.begin, self.end):
            changed[1:] |= array[1:] != array[:-1]
        return changed

    def take(self, which: NDArray[Any]) -> "Split":
        """The samples that an index or a mask picks."""
        chosen = {name: array[which] for name, array in vars(self).items() if isinstance(array, np.ndarray)}
        fields: dict[str, Any] = {
            name: {key: codes[which] for key, codes in getattr(self, name).items()} for name in OF_TARGETS
        }
        return Split(**chosen, **fields)


SPLITS = ("train", "validation", "test")
OF_TARGETS = ("target", "context")  # fields of a split that are arrays by name


@dataclass(frozen=True)
class Unclicked:
    """What was shown to users in training days and not clicked, sorted by user, then time."""

    user: Ints  # (K,)
    item: Ints  # (K,)
    time: Int64  # (K,)


@dataclass(frozen=True)
class Samples:
    """All samples of one data set under one protocol."""

    items: Ints  # (M,) behaviours of all users, each user's in the protocol's order
    times: Int64  # (M,) of the behaviours, seconds
    offsets: Int64  # (users + 1,) where each user's behaviours begin
    catalogue: dict[str, Ints]  # (items + 1,) behaviour fields of an item, 0 for item 0
    profile: dict[str, Ints]  # (users,) fields of a user beside the user's number
    catalogue_rank: Ints  # (items + 1,) rank of the raw item id, -1 for item 0 and where there is no such order
    pool: Ints  # (P,) items of the reviews that define popularity, repetitions included
    train: Split
    validation: Split  # empty where the protocol has no validation samples
    test: Split
    protocol: AnyProtocol
    order_within_time: bool  # False: a history holds only behaviours before the target's time
    unclicked: Unclicked | None = None  # where impressions are known
    sha256: str = ""  # by which records name them (`with_digest`)

    @property
    def users(self) -> int:
        """Number of users, all splits together."""
        return len(self.offsets) - 1

    @property
    def item_count(self) -> int:
        """Number of items, the 0 left out."""
        return len(self.catalogue_rank) - 1

    @property
    def item_category(self) -> Ints:
        """(items + 1,) category of an item, 0 for item 0."""
        return self.catalogue["category"]

    @property
    def categories(self) -> int:
        """Number of categories, the 0 left out."""
        return int(self.item_category.max())

    def known_items(self) -> NDArray[np.bool_]:
        """(items + 1,) what some training sample mentions, as a target or in a history; not item 0."""
        known = np.zeros(self.item_count + 1, bool)
        known[self.train.item] = True
        begins, ends = (np.bincount(at, minlength=len(self.items) + 1) for at in (self.train.begin, self.train.end))
        known[self.items[np.cumsum(begins - ends)[:-1] > 0]] = True
        known[0] = False
        return known


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
    items, times = item[by_user].astype(np.int32), interactions.time[by_user]
    offsets = np.searchsorted(user[by_user], np.arange(interactions.users + 1)).astype(np.int64)

    by_time = protocol.order != "catalogue"
    days = None if order_within_time or not by_time else times
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
    splits: dict[str, Any] = {
        name: _pairs(
            owner,
            items[position],
            times[position],
            np.maximum(offsets[owner], ends - protocol.max_history),
            ends,
            candidates,
            seen,
            base,
            negatives_rng,
        )
        for name, (owner, position) in targets.items()
        for ends in [_ends(position, owner, offsets, days)]
    }
    if not len(splits["train"]) or not len(splits["test"]):
        raise UserError(
            f"{interactions.users} users leave {len(splits['train'])} training and {len(splits['test'])} test "
            f"samples under protocol {protocol.name}, expected at least one of each: use more users"
        )
    category = np.zeros(interactions.items + 1, np.int32)
    category[item] = interactions.category
    catalogue_rank = np.full(interactions.items + 1, -1, np.int32)
    catalogue_rank[item] = interactions.catalogue_rank
    samples = Samples(
        items, times, offsets, {"item": np.arange(len(category), dtype=np.int32), "category": category}, {},
        catalogue_rank, pool, **splits, protocol=protocol, order_within_time=order_within_time,
    )  # fmt: skip
    return with_digest(samples)


def _split_users(users: int, protocol: Protocol, rng: np.random.Generator) -> tuple[Int64, ...]:
    """Training, validation and test users, each in random order; all users three times where none is held out."""
    order = rng.permutation(users)
    test, validation = round(users * protocol.test_users), round(users * protocol.validation_users)
    if protocol.test_users == 0:
        return order, order[:0], order
    return order[test + validation :], order[test : test + validation], order[:test]


def _all_positions(offsets: Int64, days: Int64 | None, users: Int64) -> Int64:
    """Positions of every behaviour with a history, except each user's last (which tests), users in the order given."""
    counts = np.maximum(offsets[users + 1] - offsets[users] - 2, 0)
    first = np.repeat(offsets[users] + 1, counts)
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    positions = first + within
    owners = np.repeat(users, counts)
    kept: Int64 = positions[_ends(positions, owners, offsets, days) > offsets[owners]]
    return kept


def _ends(
    positions: Int64,
    owners: Int64,
    offsets: Int64,
    days: Int64 | None,
) -> Int64:
    """One past the newest behaviour before each target: the target's own position, or the start of its day."""
    if days is None:
        return positions
    change = np.ones(len(days), bool)
    change[1:] = days[1:] != days[:-1]
    day_start = np.maximum.accumulate(np.where(change, np.arange(len(days)), 0))
    return np.maximum(day_start[positions], offsets[owners])


def _pairs(
    owners: Int64,
    positive: Ints,
    times: Int64,
    begins: Int64,
    ends: Int64,
    candidates: Ints,
    seen: Int64 | None,
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
        begin=np.repeat(begins, 2),
        end=np.repeat(ends, 2),
        item=np.stack([negative, positive], axis=1).reshape(-1).astype(np.int32),
        label=np.tile(np.array([0, 1], np.int8), len(positive)),
        time=np.repeat(times, 2),
    )


def by_user_and_time(user: NDArray[Any], time: Int64) -> Int64:
    """Numbers (N,) in the order of user, then time; seconds need 33 bits until the year 2242."""
    return (np.asarray(user).astype(np.int64) << 33) + np.asarray(time)  # a time below 0 stays behind the user before


def arrays_of(samples: Samples) -> dict[str, NDArray[Any]]:
    """Return all arrays of samples by name, in the order in which their checksum takes them."""
    return dict(_arrays_of(samples, ""))


def _arrays_of(part: Any, prefix: str) -> Iterator[tuple[str, NDArray[Any]]]:
    for name, value in part.items() if isinstance(part, dict) else vars(part).items():
        if isinstance(value, np.ndarray):
            yield prefix + name, value
        elif isinstance(value, (dict, Split, Unclicked)):
            yield from _arrays_of(value, f"{prefix}{name}.")


def with_digest(samples: Samples) -> Samples:
    """Return samples with the hash by which records name them.

    Of behaviours without impressions it leaves out what follows from the rest, names, times and where histories begin,
    so that it is the one that records have always had.
    """
    arrays = arrays_of(samples)
    if not isinstance(samples.protocol, Protocol):
        return replace(samples, sha256=digest(arrays.items()))
    of_splits = (f"{split}.{name}" for split in SPLITS for name in ("user", "end", "item", "label"))
    names = ("items", "offsets", "catalogue.category", "catalogue_rank", "pool", *of_splits)
    return replace(samples, sha256=digest(("", arrays[name]) for name in names))


def digest(arrays: Iterable[tuple[str, NDArray[Any]]]) -> str:
    """Return the sha256 of arrays with their names, types and shapes."""
    found = hashlib.sha256()
    for name, array in arrays:
        found.update(f"{name}{array.dtype}{array.shape}".encode())
        found.update(np.ascontiguousarray(array).data)
    return found.hexdigest()
