"""The requests of a simulated day: who asks, which ads may be shown, what they bid, how likely each would be clicked.

Everything here is drawn once and shared by all arms; an arm differs only in the click rates that it predicts.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from datamodules.errors import UserError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Contexts = Mapping[str, NDArray[Any]]  # a field of the context -> its value for each row
Draw = Callable[[Ints, Ints], Ints]  # users (N,), times (N,) -> items (N,)
BLOCK = 1_000_000  # rows that the world is asked for at once
MOST_ROUNDS = 1_000  # of drawing equal candidates again


class World(Protocol):
    """What knows the true click probabilities."""

    def probability(self, user: Ints, time: Ints, item: Ints, context: Contexts, /) -> NDArray[np.floating[Any]]:
        """The chance (N,) in [0, 1] that each user clicks each item at each time, all (N,)."""


@dataclass(frozen=True, eq=False)
class Requests:
    """R requests with K candidates each: what a model sees, which predicts a click rate for every candidate."""

    user: Ints  # (R,)
    time: Ints  # (R,), unix seconds
    context: Contexts  # each (R,)
    item: Ints  # (R, K)


@dataclass(frozen=True, eq=False)
class Workload(Requests):
    """Requests in the order of time, the candidates of each all different, and what no model sees."""

    truth: Floats  # (R, K), true click probability
    appeal: Floats  # (R, K), standard normal: the logarithm of a bid before its spread is known
    chance: Floats  # (R,), uniform in [0, 1): a shown ad is clicked where this is below its true probability

    @property
    def candidates(self) -> int:
        """K."""
        return int(self.item.shape[1])

    @property
    def seen(self) -> Requests:
        """The requests without the truth."""
        return Requests(self.user, self.time, self.context, self.item)

    def bids(self, spread: float) -> Floats:
        """What each candidate bids for a click (R, K): lognormal with median 1 and this spread of its logarithm."""
        return np.exp(spread * self.appeal)

    def first(self, candidates: int) -> Self:
        """The same requests with only the first so many candidates."""
        item, truth, appeal = self.item[:, :candidates], self.truth[:, :candidates], self.appeal[:, :candidates]
        return replace(self, item=item, truth=truth, appeal=appeal)


def draw_workload(
    world: World, user: Ints, time: Ints, context: Contexts, draw: Draw, *, candidates: int, seed: int
) -> Workload:
    """Draw the candidates, bids and clicks of requests.

    user, time, context    of the requests, each (R,); they are put in the order of time
    draw                   candidates (N,) for users (N,) at times (N,): what reaches the auction
    seed                   of bids and clicks; an ad bids the same in every request

    Raises UserError without a request, for more candidates than `draw` has, and where the world's answer is no
    probability.
    """
    if not len(user) or candidates < 1:
        raise UserError(f"{len(user)} requests with {candidates} candidates, expected at least one of each.")
    rng = np.random.default_rng((19, seed))  # 19: the stream's own number
    order = np.argsort(time, kind="stable")
    user, time, context = user[order], time[order], {name: column[order] for name, column in context.items()}
    item = draw_distinct(lambda rows: draw(user[rows], time[rows]), len(user), candidates)
    appeal = rng.standard_normal(int(item.max()) + 1)[item]
    truth = true_probability(world, user, time, context, item)
    return Workload(user, time, context, item, truth, appeal, rng.random(len(user)))


def draw_distinct(draw: Callable[[Ints], Ints], requests: int, candidates: int) -> Ints:
    """Draw candidates (R, K), all different within a request; `draw` gives one for each row number (N,)."""
    rows = np.repeat(np.arange(requests), candidates)
    drawn = np.asarray(draw(rows), np.int64).reshape(requests, candidates)
    for _ in range(MOST_ROUNDS):
        order = np.argsort(drawn, axis=1, kind="stable")
        ordered = np.take_along_axis(drawn, order, axis=1)
        row, column = np.nonzero(ordered[:, 1:] == ordered[:, :-1])
        if not len(row):
            return drawn
        drawn[row, order[row, column + 1]] = draw(row)  # the later one is drawn again
    raise UserError(f"a request cannot have {candidates} different candidates: there are too few ads. Ask for fewer.")


def true_probability(world: World, user: Ints, time: Ints, context: Contexts, item: Ints) -> Floats:
    """Ask the world for the probability of every candidate, (R, K). Raises UserError where one is not in [0, 1]."""
    candidates = item.shape[1]
    step = max(1, BLOCK // candidates)
    blocks = []
    for start in range(0, len(user), step):
        part = slice(start, start + step)
        repeated = {name: np.repeat(column[part], candidates) for name, column in context.items()}
        who, when = np.repeat(user[part], candidates), np.repeat(time[part], candidates)
        blocks.append(world.probability(who, when, item[part].ravel(), repeated).reshape(-1, candidates))
    truth = np.concatenate(blocks).astype(np.float64)
    if not np.all((truth >= 0) & (truth <= 1)):
        raise UserError("the world's click probabilities must lie in [0, 1]; check its `probability`.")
    return truth
