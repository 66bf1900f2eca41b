"""Whether offline metrics would have chosen the arm that earns most: their order against the order by revenue."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
from scipy.stats import kendalltau

from benchmark.abtest.experiment import Verdict
from benchmark.abtest.statistics import Totals, metric, paired_gain
from datamodules.errors import UserError

SIGNIFICANT = 0.05


class Agreement(NamedTuple):
    """How an offline metric orders the arms, compared with their eCPM."""

    metric: str
    tau: float  # Kendall's rank correlation over arms, 1: the same order; NaN where there is no order
    same: int  # pairs of arms with significantly different eCPM that the metric orders the same
    decided: int  # such pairs

    @property
    def verdict(self) -> Verdict:
        """Whether the metric predicts the order by eCPM; inconclusive where no two arms differ."""
        if not self.decided:
            return "inconclusive"
        return "yes" if self.same == self.decided else "no"


def agreement(
    replayed: Mapping[str, Totals], offline: Mapping[str, float], name: str, *, higher_is_better: bool
) -> Agreement:
    """Compare the order of arms by an offline metric with that by eCPM of the replay.

    replayed   with expected clicks, which tell arms apart best
    offline    an arm -> its figure; arms of the replay without one are left out

    A tie of the metric counts as a wrong order. p is corrected for the number of pairs by Bonferroni.
    Raises UserError for less than two arms.
    """
    arms = [arm for arm in replayed if arm in offline]
    if len(arms) < 2:
        raise UserError(f"an order needs at least two arms with {name}, got {len(arms)}.")
    sign = 1.0 if higher_is_better else -1.0
    pairs = list(combinations(arms, 2))
    decided = same = 0
    for one, other in pairs:
        gain = paired_gain(replayed[one], replayed[other], "ecpm")
        if gain.p * len(pairs) < SIGNIFICANT:
            decided += 1
            same += gain.value * sign * (offline[one] - offline[other]) > 0
    return Agreement(
        name, _tau([sign * offline[a] for a in arms], [metric(replayed[a], "ecpm") for a in arms]), same, decided
    )


def _tau(first: Sequence[float], second: Sequence[float]) -> float:
    if len(set(first)) == 1 or len(set(second)) == 1:
        return float("nan")
    return float(np.asarray(kendalltau(first, second).statistic))
