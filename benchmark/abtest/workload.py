"""The requests of a simulated day: who asks, which ads may be shown, what they bid, how likely each would be clicked.

Everything here is drawn once and shared by all arms; an arm differs only in the click rates that it predicts.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from datamodules.errors import UserError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Contexts = Mapping[str, Ints]  # a field of the context -> its value for each row
BLOCK = 1_000_000  # rows that the world is asked for at once


class World(Protocol):
    """What knows the true click probabilities."""

    def probability(self, user: Ints, time: Ints, item: Ints, context: Contexts, /) -> Floats:
        """The chance (N,) in [0, 1] that each user clicks each item at each time, all (N,)."""


@dataclass(frozen=True, eq=False)
class Workload:
    """R requests with K candidates each, in the order of time."""

    user: Ints  # (R,)
    time: Ints  # (R,)
    context: Contexts  # each (R,)
    item: Ints  # (R, K), a request's candidates all different
    truth: Floats  # (R, K), true click probability
    appeal: Floats  # (R, K), standard normal: the logarithm of a bid before its spread is known
    chance: Floats  # (R,), uniform in [0, 1): a shown ad is clicked where this is below its true probability

    @property
    def candidates(self) -> int:
        """K."""
        return int(self.item.shape[1])

    def bids(self, spread: float) -> Floats:
        """What each candidate bids for a click (R, K): lognormal with median 1 and this spread of its logarithm."""
        return np.exp(spread * self.appeal)

    def first(self, candidates: int) -> Self:
        """The same requests with only the first so many candidates."""
        item, truth, appeal = self.item[:, :candidates], self.truth[:, :candidates], self.appeal[:, :candidates]
        return replace(self, item=item, truth=truth, appeal=appeal)


def draw_workload(
    world: World, user: Ints, time: Ints, context: Contexts, ads: Ints, *, candidates: int, seed: int
) -> Workload:
    """Draw the candidates, bids and clicks of requests.

    user, time, context    of the requests, each (R,); they are put in the order of time
    ads                    the items (A,) that can be shown; each request gets `candidates` of them, uniformly
    seed                   the same one gives the same workload; an advertiser's bid is the same in every request

    Raises UserError without a request, for fewer ads than candidates, and where the world's answer is no probability.
    """
    if not len(user):
        raise UserError("no request to simulate, expected at least one. Choose a larger data set or another day.")
    if not 1 <= candidates <= len(ads):
        raise UserError(f"{candidates} candidates of {len(ads)} ads, expected 1 to {len(ads)} candidates.")
    rng = np.random.default_rng((19, seed))  # 19: the stream's own number
    order = np.argsort(time, kind="stable")
    user, time, context = user[order], time[order], {name: column[order] for name, column in context.items()}
    drawn = draw_distinct(rng, len(ads), (len(user), candidates))
    appeal = rng.standard_normal(len(ads))[drawn]
    item = ads[drawn]
    truth = true_probability(world, user, time, context, item)
    return Workload(user, time, context, item, truth, appeal, rng.random(len(user)))


def draw_distinct(rng: np.random.Generator, among: int, shape: tuple[int, int]) -> Ints:
    """Draw numbers below `among`, all different within a row; `shape` is (R, K)."""
    if 2 * shape[1] > among:  # few to choose from: shuffle them all
        return rng.permuted(np.tile(np.arange(among), (shape[0], 1)), axis=1)[:, : shape[1]]
    drawn = rng.integers(among, size=shape)
    while True:
        order = np.argsort(drawn, axis=1, kind="stable")
        ordered = np.take_along_axis(drawn, order, axis=1)
        row, column = np.nonzero(ordered[:, 1:] == ordered[:, :-1])
        if not len(row):
            return drawn
        drawn[row, order[row, column + 1]] = rng.integers(among, size=len(row))  # the later one is drawn again


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
