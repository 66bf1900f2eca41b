"""The A/B test on a simulated day: arms by a hash, the replay that only a simulation has, and if the test is right.

Without budgets, what an arm does to a user does not depend on who else is in which arm. So every arm is run on all
requests once (`replay`), and a test is made of that by taking each user from the arm that the hash gives.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest, chisquare

from benchmark.abtest.auction import RESERVE, outcomes, per_user, second_price
from benchmark.abtest.gains import METRICS, Totals, gain, metric, seeds_together
from benchmark.abtest.workload import Workload
from benchmark.analysis.comparison import LEVEL, Interval
from benchmark.records import paper

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Predictions = Mapping[str, Sequence[Floats]]  # an arm -> for each training seed the predicted click rates (R, K)
Verdict = Literal["yes", "no", "inconclusive"]
CONTROL, AGAIN, ORACLE, RANDOM = "base-model", "base-model-again", "oracle", "random"
LABELS = {
    **paper.LABELS,
    AGAIN: "BaseModel again (A/A)",
    ORACLE: "Oracle (true probability)",
    RANDOM: "Random scores",
}
WIDEST = 0.2  # a binomial interval that is wider tells little
STEP, MIX_1, MIX_2 = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
ALARM = 0.001  # below this p the split is not the one that was planned


def label_of(arm: str) -> str:
    """What an arm is called in tables and figures."""
    return LABELS.get(arm, arm)


def splitmix64(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Mix 64 bits (Steele, Lea and Flood 2014): the output of SplitMix64 from each state.

    >>> hex(splitmix64(np.zeros(1, np.uint64))[0])
    '0xe220a8397b1dcdaf'
    """
    z = state + np.uint64(STEP)  # wraps around
    z = (z ^ (z >> np.uint64(30))) * np.uint64(MIX_1)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(MIX_2)
    return z ^ (z >> np.uint64(31))


def assign(users: Ints, arms: int, salt: str) -> Ints:
    """Return the arm (U,) below `arms` of each user (U,), all arms equally likely.

    Depends on the user's number and the salt alone: a user is in the same arm whoever else takes part.
    """
    key = int.from_bytes(hashlib.blake2b(salt.encode(), digest_size=8).digest(), "little")
    mixed = splitmix64(splitmix64(users.astype(np.uint64)) ^ np.uint64(key))
    uniform = (mixed >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return (uniform * arms).astype(np.int64)


class SampleRatio(NamedTuple):
    """Whether the arms have as many users as planned."""

    users: tuple[int, ...]  # of each arm
    p: float

    @property
    def as_planned(self) -> bool:
        """False where the split must be looked into before any result is read."""
        return self.p >= ALARM


def sample_ratio(users: Sequence[int]) -> SampleRatio:
    """Test users of each arm against equal shares by chi-square (Fabijan et al. 2019)."""
    return SampleRatio(tuple(users), float(chisquare(users).pvalue))


class Share(NamedTuple):
    """How often something happened, and whether it is as often as it should."""

    hits: int
    trials: int
    expected: float

    @property
    def interval(self) -> Interval:
        """The exact binomial 95 % interval (Clopper and Pearson)."""
        found = binomtest(self.hits, self.trials).proportion_ci(LEVEL, method="exact")
        return Interval(float(found.low), float(found.high))

    @property
    def verdict(self) -> Verdict:
        """Whether the interval has the expected share in it; inconclusive where it is so wide that it must.

        >>> Share(93, 100, 0.95).verdict, Share(80, 100, 0.95).verdict, Share(9, 10, 0.95).verdict
        ('yes', 'no', 'inconclusive')
        """
        low, high = self.interval
        if not low <= self.expected <= high:
            return "no"
        return "yes" if high - low <= WIDEST else "inconclusive"


def with_checks(predictions: Predictions, truth: Floats, seed: int) -> dict[str, Sequence[Floats]]:
    """Add the arms that check the test: the control again, the true probability, and random scores.

    Random scores are the control's own, given to other candidates: as high on average, and without any knowledge.
    """
    control = predictions[CONTROL]
    rng = np.random.default_rng((23, seed))  # 23: the stream's own number
    shuffled = [rng.permutation(scores.ravel()).reshape(scores.shape) for scores in control]
    return {**predictions, AGAIN: control, ORACLE: [truth] * len(control), RANDOM: shuffled}


def replay(
    predictions: Predictions,
    workload: Workload,
    spread: float,
    *,
    reserve: float = RESERVE,
    expected: bool = False,
) -> dict[str, Totals]:
    """Run every arm on all requests: an arm -> totals (S, U, 5) of each user, users in the order of their numbers.

    spread      of the logarithm of bids
    expected    count expected clicks instead of drawn ones. Drawn ones are common to the arms: where two arms show
                the same ad, both are clicked or neither
    """
    users, index = np.unique(workload.user, return_inverse=True)
    bids, chance = workload.bids(spread), None if expected else workload.chance
    made = {}
    for arm, seeds in predictions.items():
        totals = []
        for predicted in seeds:
            sales = second_price(predicted, bids, reserve)
            totals.append(per_user(outcomes(sales, workload.truth, bids, predicted, chance), index, len(users)))
        made[arm] = np.stack(totals)
    return made


def split(replayed: Mapping[str, Totals], arm_of: Ints) -> dict[str, Totals]:
    """What a test measures: of each arm only the users assigned to it, `arm_of` (U,) in the order of the arms."""
    return {arm: totals[:, arm_of == place] for place, (arm, totals) in enumerate(replayed.items())}


def coverage(replayed: Mapping[str, Totals], users: Ints, arm: str, *, repetitions: int = 100) -> dict[str, Share]:
    """Repeat the test and count, for each metric, how often its interval has the replay's gain in it.

    users    numbers (U,) that are hashed, in the order of the totals

    The truth is the gain over all these users, and seeds are taken as they are. The usual variance is an upper bound
    then (Neyman 1923): it is a little too high where users differ in what they gain.
    """
    together = {name: seeds_together(totals) for name, totals in replayed.items()}
    truth = {name: metric(together[arm], name) / metric(together[CONTROL], name) - 1 for name in METRICS}
    hits = dict.fromkeys(METRICS, 0)
    for repetition in range(repetitions):
        tested = split(together, assign(users, len(together), f"coverage {repetition}"))
        for name in METRICS:
            low, high = gain(tested[arm], tested[CONTROL], name).interval
            hits[name] += low <= truth[name] <= high
    return {name: Share(count, repetitions, LEVEL) for name, count in hits.items()}


def false_alarms(control: Totals, users: Ints, *, splits: int = 1000) -> dict[str, Share]:
    """Split the control in two halves again and again, and count for each metric how often p is below 0.05."""
    together = seeds_together(control)
    hits = dict.fromkeys(METRICS, 0)
    for number in range(splits):
        half = assign(users, 2, f"a/a {number}")
        for name in METRICS:
            hits[name] += gain(together[:, half == 1], together[:, half == 0], name).p < 1 - LEVEL
    return {name: Share(count, splits, 1 - LEVEL) for name, count in hits.items()}
