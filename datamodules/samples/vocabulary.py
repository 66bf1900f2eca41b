"""Rows of embedding tables: what training samples mention has one of its own, everything else shares row 0.

The released code numbers only what its training file mentions (variants.md 19).
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from datamodules.samples import OF_TARGETS, Samples, Split
from datamodules.schema import Schema

UnknownUser = Literal[
    "most-frequent",  # users that training never saw take the row of its most frequent user (released code)
    "own",  # they have row 0 for themselves, which nothing trains
]
Rows = dict[str, NDArray[np.int64]]


@dataclass(frozen=True)
class Vocabulary:
    """The row of every item, user and code, by field, and the sizes of the tables; unused rows keep their places."""

    items: Rows  # (items + 1,) behaviour fields
    users: Rows  # (users,) user fields
    target: Rows  # (codes,) fields of targets alone
    context: Rows  # (codes,)
    schema: Schema

    def unknown_shares(self, samples: Samples, split: Split) -> dict[str, float]:
        """The share of a split's samples whose target, user or moment training never saw, by field."""
        if not len(split):
            return {}
        shares = {name: rows[split.item] == 0 for name, rows in self.items.items()}
        shares |= {name: rows[split.user] == 0 for name, rows in self.users.items() if name != "user"}
        shares["user"] = ~np.isin(split.user, samples.train.user)
        for kind in OF_TARGETS:
            codes, rows_of = getattr(split, kind), getattr(self, kind)
            shares |= {name: rows_of[name][codes[name]] == 0 for name in codes}
        return {name: float(unknown.mean()) for name, unknown in shares.items()}


def vocabulary(samples: Samples, unknown_user: UnknownUser = "most-frequent") -> Vocabulary:
    """Return the rows of samples: those of their training samples alone, and 0 for the rest."""
    known_items = samples.known_items()
    items = {name: _rows(codes, codes[known_items]) for name, codes in samples.catalogue.items()}
    train = samples.train
    trained = np.zeros(samples.users, bool)
    trained[train.user] = True
    user = np.where(trained, np.arange(1, samples.users + 1), 0)
    if unknown_user == "most-frequent":
        counts = np.bincount(train.user)
        most = counts[train.user] == counts.max()
        user[train.user[np.argmax(most)]] = 0  # of several, the first in the file
    users = {"user": user} | {name: _rows(codes, codes[trained]) for name, codes in samples.profile.items()}
    of_targets: dict[str, Rows] = {kind: {} for kind in OF_TARGETS}
    for kind, rows in of_targets.items():
        for name, codes in getattr(train, kind).items():
            splits = (getattr(split, kind)[name] for split in (train, samples.validation, samples.test))
            most_code = max(int(found.max(initial=0)) for found in splits)
            rows[name] = _rows(np.arange(most_code + 1), codes)
    schema = Schema(
        user={"user": samples.users + 1} | {name: _size(codes) for name, codes in samples.profile.items()},
        behaviour={name: _size(codes) for name, codes in samples.catalogue.items()},
        **{kind: {name: len(numbers) for name, numbers in rows.items()} for kind, rows in of_targets.items()},
    )
    return Vocabulary(items, users, **of_targets, schema=schema)


def _size(codes: NDArray[Any]) -> int:
    return int(codes.max(initial=0)) + 1


def _rows(codes: NDArray[Any], trained: NDArray[Any]) -> NDArray[np.int64]:
    """The row of each of `codes` (any shape): the code itself where it is among `trained`, else 0."""
    known = np.zeros(_size(codes), bool)
    known[trained] = True
    known[0] = False
    rows: NDArray[np.int64] = np.where(known[codes], codes, 0).astype(np.int64)
    return rows
