"""How interests evolve under different target items: attention and states of a trained model for one history.

The paper's section "Visualization of Interest Evolution", Figure 3. A history is a user's own, or is made of
categories: the n-th mention of a category stands for its n-th most reviewed item. The target "none" is the paper's:
every behaviour has the attention 1 / T, so that no target has a say. `lift` says how related two categories are.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array
from torch import Tensor, nn

from baselines.layers.packing import softmax_over_positions
from baselines.layers.prediction import explain
from datamodules.batch import Batch, Targets, make_batch
from datamodules.errors import UserError, unknown_name
from datamodules.samples import Samples
from datamodules.samples.vocabulary import vocabulary

NONE = "none"
POPULAR = 30  # categories among which histories and unrelated targets are looked for
OTHERS = 6  # categories of a history like the paper's, besides the last behaviour's

Floats = NDArray[np.float64]


class Target(NamedTuple):
    """A candidate item, and what to call it."""

    item: int | None  # None: equal attention
    name: str  # its category's, or "none"


class History(NamedTuple):
    """T behaviours, oldest first."""

    items: list[int]
    names: list[str]  # of their categories
    user: int | None = None  # None: made of categories


@dataclass(frozen=True, eq=False)
class Trajectory:
    """What one target makes of a history of T behaviours."""

    target: Target
    attention: Floats  # (T,) a_t, sum 1
    states: Floats  # (T, H) h'_t


class EqualAttention(nn.Module):
    """a_t = 1 / T, whatever the target."""

    def of_keys(self, keys: Tensor) -> Tensor:
        """Nothing of keys (R, K) is needed."""
        return keys

    def forward(self, target: Tensor, keys: Tensor, of_keys: Tensor, at: Targets) -> Tensor:
        """Return weights (R_B,) for keys (R_B, K)."""
        return softmax_over_positions(keys.new_zeros(len(keys)), at.packing)


class Catalogue:
    """Items and categories of a data set by name, popularity and company; `names[k - 1]` names category k."""

    def __init__(self, samples: Samples, names: Sequence[str]) -> None:
        self.samples = samples
        self.names: list[str] = list(names)
        self.reviews = np.bincount(samples.pool, minlength=samples.item_count + 1)  # (items + 1,)
        self.known = samples.known_items()  # (items + 1,) what training mentions: the rest shares row 0

    def name(self, item: int) -> str:
        """The name of an item's category."""
        return self.names[int(self.samples.item_category[item]) - 1]

    def category(self, name: str) -> int:
        """The number of a category, 1..C; raises `UserError` with close names for one that is none."""
        wanted = name.casefold()
        for number, known in enumerate(self.names, start=1):
            if known.casefold() == wanted:
                return number
        raise unknown_name("category", name, self.names)

    def item(self, name: str, place: int = 0) -> int:
        """The item of a category at a place of its popularity, 0 the most reviewed; behind the last, the first again.

        Raises `UserError` where training mentions no item of the category.
        """
        items = np.flatnonzero(self.known & (self.samples.item_category == self.category(name)))
        if not len(items):
            raise UserError(f"no training sample mentions an item of the category '{name}': the model knows none of it")
        return int(items[np.argsort(-self.reviews[items], kind="stable")][place % len(items)])

    @cached_property
    def _buyers(self) -> csr_array:
        """(U, C + 1) whether a user has a behaviour in a category."""
        samples = self.samples
        user = np.repeat(np.arange(samples.users), np.diff(samples.offsets))
        pairs = np.unique(np.stack([user, samples.item_category[samples.items]]), axis=1)
        return csr_array((np.ones(pairs.shape[1]), pairs), shape=(samples.users, samples.categories + 1))

    def lift(self, name: str) -> Floats:
        """(C + 1,) users with both categories over those expected if the two were independent; 1: unrelated."""
        counts = self._buyers.sum(axis=0)
        column = self._buyers[:, [self.category(name)]].toarray()[:, 0]
        expected = counts * column.sum() / self.samples.users
        together = self._buyers.T @ column
        found: Floats = np.divide(together, expected, out=np.zeros_like(together), where=expected > 0)
        return found

    def unrelated(self, names: Sequence[str]) -> str:
        """Of the 30 most reviewed categories not among `names`, the one with the lowest mean lift to these."""
        popular = self.popular({self.category(name) for name in names})
        if not popular:
            raise UserError("every category is in the history, so that none is unrelated: name the --targets")
        lift = np.mean([self.lift(name) for name in dict.fromkeys(names)], axis=0)
        least: int = min(popular, key=lambda k: float(lift[k]))
        return self.names[least - 1]

    def popular(self, without: Collection[int] = ()) -> list[int]:
        """The 30 most reviewed categories not among `without`, the most reviewed first."""
        counts = np.bincount(self.samples.item_category, self.reviews * self.known, minlength=len(self.names) + 1)
        order: list[int] = np.argsort(-counts, kind="stable").tolist()
        return [k for k in order if k and counts[k] and k not in without][:POPULAR]


def history_of(catalogue: Catalogue, names: Sequence[str]) -> History:
    """A history of one item for each name of a category, oldest first."""
    mentions: Counter[str] = Counter()
    items = []
    for name in names:
        items.append(catalogue.item(name, mentions[name.casefold()]))
        mentions[name.casefold()] += 1
    return History(items, [catalogue.name(item) for item in items])


def history_of_user(catalogue: Catalogue, user: int) -> tuple[History, Target]:
    """A user's behaviours before the last one, and that one as target; the user's test sample where there is one."""
    samples = catalogue.samples
    if not 0 <= user < samples.users:
        raise UserError(f"user must be from 0 to {samples.users - 1}, got {user}")
    split, place = next(
        (split, places[-1])
        for split in (samples.test, samples.validation, samples.train)
        if len(places := np.flatnonzero((split.user == user) & (split.label == 1)))
    )
    items = samples.items[split.begin[place] : split.end[place]].tolist()
    if not items:
        raise UserError(f"user {user} has no behaviour in front of the target, expected at least one: choose another")
    item = int(split.item[place])
    return History(items, [catalogue.name(item) for item in items], user), Target(item, catalogue.name(item))


def targets_of(catalogue: Catalogue, history: History, names: Sequence[str]) -> list[Target]:
    """A target for each name of a category, none of them an item of the history; "none" is equal attention."""
    found = []
    for name in names:
        if name.casefold() == NONE:
            found.append(Target(None, NONE))
            continue
        place = sum(name.casefold() == other.casefold() for other in history.names) if history.user is None else 0
        item = catalogue.item(name, place)
        found.append(Target(item, catalogue.name(item)))
    return found


def choose(
    catalogue: Catalogue, user: int | None, history: Sequence[str], targets: Sequence[str]
) -> tuple[History, list[Target]]:
    """The history and targets asked for by category; what is not asked for is chosen by a rule.

    Without history and user: `paper_like`. Without targets: the user's own next item, or one of the last behaviour's
    category; one of the unrelated category; none.
    """
    if user is None:
        history = history or paper_like(catalogue)
        shown = history_of(catalogue, history)
        related = targets_of(catalogue, shown, [shown.names[-1]])
    else:
        shown, own = history_of_user(catalogue, user)
        related = [own]
    if targets:
        return shown, targets_of(catalogue, shown, targets)
    unrelated = catalogue.unrelated([*shown.names, related[0].name])
    return shown, related + targets_of(catalogue, shown, [unrelated, NONE])


def paper_like(catalogue: Catalogue) -> list[str]:
    """A history like that of the paper's Figure 3, made of categories and of no user, and chosen without a model.

    The paper's has eight behaviours of seven categories, the second of which comes again in front of the last one.
    Here all are among the 30 most reviewed. The last one is of the category with the highest lift with another of them,
    the more reviewed one of the two. The others are of the most reviewed categories that go with it no more often than
    by chance (lift at most 1), the most reviewed first. Raises `UserError` where there are fewer than six.
    """
    popular = catalogue.popular()
    lift = {number: catalogue.lift(catalogue.names[number - 1]) for number in popular}
    pairs = [(first, other) for first in popular for other in popular if first != other]
    last, _ = max(pairs, key=lambda pair: float(lift[pair[0]][pair[1]]), default=(0, 0))
    others = [number for number in popular if number != last and lift[last][number] <= 1][:OTHERS]
    if len(others) < OTHERS:
        raise UserError(f"{len(others)} categories for a history like the paper's, expected {OTHERS}: name a --history")
    return [catalogue.names[number - 1] for number in [*others, others[1], last]]


def split_names(text: str | None) -> list[str]:
    """Names separated by commas, or by semicolons where there are any; none for None.

    >>> split_names("Speakers, Headphones"), split_names("Bags, Packs & Accessories; Tents")
    (['Speakers', 'Headphones'], ['Bags, Packs & Accessories', 'Tents'])
    """
    parts = (text or "").split(";" if ";" in (text or "") else ",")
    return [name for part in parts if (name := part.strip())]


def trajectories(
    model: nn.Module, samples: Samples, items: Sequence[int], targets: Sequence[Target]
) -> list[Trajectory]:
    """What each target makes of a history of T items.

    Raises `UserError` for a model without attention or states, and for one that knows no other attention than its own.
    """
    batch = _batch(samples, items, [target.item or 0 for target in targets])
    equal = [place for place, target in enumerate(targets) if target.item is None]
    with torch.inference_mode():
        found = explain(model, batch)
        if found is None or found.states is None:
            raise UserError(
                f"{type(model).__name__} has no attention and states of an evolving layer to show, expected a run of "
                "dien, augru, agru or aigru"
            )
        attention, states = found.attention.double().numpy(), found.states.double().numpy()
        if equal:
            own, model.attention = model.attention, EqualAttention()
            try:
                without = explain(model, batch)
            finally:
                model.attention = own
            assert without is not None
            assert without.states is not None
            attention[equal] = without.attention[equal].double().numpy()
            states[equal] = without.states[equal].double().numpy()
    return [Trajectory(*one) for one in zip(targets, attention, states, strict=True)]


def _batch(samples: Samples, items: Sequence[int], targets: Sequence[int]) -> Batch:
    """One history of T items and B targets as a batch; no user, since the user has no say in attention and states."""
    rows = vocabulary(samples)
    history = {name: torch.from_numpy(of_item[np.asarray(items)])[None] for name, of_item in rows.items.items()}
    return make_batch(
        user={name: torch.zeros(1, dtype=torch.int64) for name in rows.schema.user},
        history=history,
        lengths=torch.tensor([len(items)]),
        target={name: torch.from_numpy(of_item[np.asarray(targets)]) for name, of_item in rows.items.items()},
        history_of=torch.zeros(len(targets), dtype=torch.int64),
        label=torch.zeros(len(targets)),
    )
