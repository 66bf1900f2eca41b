"""What logged impressions are for: to calibrate predictions, and to choose a model before any test.

Prices divide by the predicted click rate of the winner, so a model whose predictions are too high or too low in
places changes the price per click without ranking any better. Calibration is by isotonic regression on the validation
day. Whether an offline metric would have chosen the arm that earns most, its order against that by eCPM says.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau
from sklearn.isotonic import IsotonicRegression

from benchmark.abtest.experiment import Verdict
from benchmark.abtest.gains import Totals, metric, paired_gain
from benchmark.abtest.workload import Floats, Requests
from benchmark.analysis.comparison import holm
from datamodules.errors import UserError

Better = Literal["higher", "lower", "closer to 1"]  # of a metric
SIGNIFICANT = 0.05
LOWEST = 1e-4  # an auction needs click rates above 0


class Logged(NamedTuple):
    """The impressions of a day: requests (N, 1) that showed their only candidate, and whether it was clicked."""

    requests: Requests
    label: NDArray[np.int8]  # (N,)


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


def isotonic(predicted: Floats, clicked: NDArray[np.int8]) -> Callable[[Floats], Floats]:
    """Fit a rising function to predictions and clicks (N,) of the validation day; return it, for any shape.

    What lies outside of the predictions seen gets the value of the nearest. Its values are in [0.0001, 1].
    """
    fitted = IsotonicRegression(y_min=LOWEST, y_max=1.0, out_of_bounds="clip").fit(predicted, clicked)

    def calibrate(scores: Floats) -> Floats:
        return np.asarray(fitted.predict(scores.ravel()), np.float64).reshape(scores.shape)

    return calibrate


def agreement(
    replayed: Mapping[str, Totals], offline: Mapping[str, float], name: str, better: Better = "higher"
) -> Agreement:
    """Compare the order of arms by an offline metric with that by eCPM of the replay.

    replayed   with expected clicks, which tell arms apart best
    offline    an arm -> its figure; arms of the replay without one are left out

    A tie of the metric counts as a wrong order. p is corrected for the number of pairs by Holm.
    Raises UserError for less than two arms.
    """
    arms = [arm for arm in replayed if arm in offline]
    if len(arms) < 2:
        raise UserError(f"an order needs at least two arms with {name}, got {len(arms)}.")
    order = {arm: _order(offline[arm], better) for arm in arms}
    pairs = list(combinations(arms, 2))
    gains = [paired_gain(replayed[one], replayed[other], "ecpm") for one, other in pairs]
    decided = same = 0
    for (one, other), gain, p in zip(pairs, gains, holm([gain.p for gain in gains]), strict=True):
        if p < SIGNIFICANT:
            decided += 1
            same += gain.value * (order[one] - order[other]) > 0
    revenue = [metric(replayed[arm], "ecpm") for arm in arms]
    return Agreement(name, _tau(list(order.values()), revenue), same, decided)


def _order(figure: float, better: Better) -> float:
    """A figure turned so that higher is better."""
    return {"higher": figure, "lower": -figure, "closer to 1": -abs(figure - 1)}[better]


def _tau(first: Sequence[float], second: Sequence[float]) -> float:
    if len(set(first)) == 1 or len(set(second)) == 1:
        return float("nan")
    return float(np.asarray(kendalltau(first, second).statistic))
