"""What an A/B test says: click-through rate, price per click and revenue of an arm, and its gains with intervals.

The unit is the user, who is assigned as a whole; requests of one user are not independent. All three metrics are
ratios of sums over users, so a relative gain is a ratio of ratios. Its logarithm is a difference of logarithms, whose
variance the delta method gives; intervals are made there and taken back, and

    eCPM gain = (1 + CTR gain) (1 + PPC gain) - 1

holds by construction. Sources: Deng, Knoblich and Lu (2018), delta method; Deng, Xu, Kohavi and Walker (2013), CUPED.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm
from scipy.stats import t as student

from benchmark.abtest.auction import CLICKS, COST, IMPRESSIONS, PREDICTED
from benchmark.analysis.comparison import LEVEL, Interval, t_test, variance_of_mean
from datamodules.errors import UserError

Floats = NDArray[np.float64]
Totals = Floats  # (S, U, C): what each user of an arm comes to, for each training seed of its model
METRICS = {  # name -> numerator, denominator, factor
    "ctr": (CLICKS, IMPRESSIONS, 1.0),
    "ppc": (COST, CLICKS, 1.0),
    "ecpm": (COST, IMPRESSIONS, 1000.0),
}
NAMES = {"ctr": "CTR", "ppc": "PPC", "ecpm": "eCPM"}
POWER = 0.8  # chance with which the smallest gain is seen
DRAWS = 2000  # of the bootstrap
CHUNK = 4_000_000  # weights that the bootstrap holds at once


class Gain(NamedTuple):
    """How much more an arm makes than the control, as a fraction of the control's."""

    value: float
    interval: Interval
    p: float  # two-sided, of no gain
    standard_error: float  # of log(1 + gain)
    smallest: float  # gain that a test of this size would see, with a chance of 80 %


def percent(gain: Gain | None, *, interval: bool = True) -> str:
    """A gain in per cent, with its interval; empty for none."""
    if gain is None:
        return ""
    low, high = gain.interval
    return f"{100 * gain.value:+.1f}" + (f" [{100 * low:+.1f}, {100 * high:+.1f}]" if interval else "")


class Terms(NamedTuple):
    """The logarithm of a metric, and what each user and each seed adds to its deviation."""

    log: float
    of_users: Floats  # (U,), mean 0; its variance / U is that of the logarithm over users
    of_seeds: Floats  # (S,), mean 0


def metric(totals: Totals, name: str) -> float:
    """Return a metric of an arm: clicks / impressions, cost / clicks, or cost of 1,000 impressions."""
    numerator, denominator, factor = METRICS[name]
    sums = totals.sum(axis=(0, 1))
    if not sums[denominator]:
        raise UserError(f"an arm has no {'click' if name == 'ppc' else 'impression'}: more requests are needed.")
    return float(factor * sums[numerator] / sums[denominator])


def calibration(totals: Totals) -> float:
    """Return the sum of predicted click rates over the clicks, of what was shown; NaN without a click.

    Above 1 also for a calibrated model: what is shown was chosen for its high prediction.
    """
    sums = totals.sum(axis=(0, 1))
    return float(sums[PREDICTED] / sums[CLICKS]) if sums[CLICKS] else float("nan")


def terms(totals: Totals, name: str) -> Terms:
    """Linearise log(sum of x / sum of y): a user adds x / mean of x - y / mean of y.

    Raises UserError for an arm of less than two users or without a click.
    """
    numerator, denominator, _ = METRICS[name]
    value, users = metric(totals, name), totals.shape[1]
    if users < 2 or not value:
        raise UserError(f"an arm has {users} users and {name} {value}: more requests are needed.")
    x, y = totals[..., numerator], totals[..., denominator]
    deviation = x / x.mean() - y / y.mean()  # (S, U)
    return Terms(math.log(value), deviation.mean(axis=0), deviation.mean(axis=1))


def gain(treatment: Totals, control: Totals, name: str, covariates: tuple[Floats, Floats] | None = None) -> Gain:
    """Compare two arms of different users, with a 95 % interval over users and training seeds.

    covariates    of the users of treatment and control, (U, Q) each, from before the test. The part of the
                  difference that they explain is taken out (CUPED): the same gain on average, and a shorter interval

    The variance is that over users of either arm, and that over seeds of the difference of a seed's two arms. How
    users and seeds act together is in both, so the interval leans to the careful side.
    """
    ours, theirs = terms(treatment, name), terms(control, name)
    difference, of_users = ours.log - theirs.log, [ours.of_users, theirs.of_users]
    if covariates is not None:
        difference, of_users = _without(covariates, difference, of_users)
    return _gain(difference, [*of_users, ours.of_seeds - theirs.of_seeds])


def paired_gain(treatment: Totals, control: Totals, name: str) -> Gain:
    """Compare two arms that both served the same users, as only a simulation can: most of their noise is shared."""
    ours, theirs = terms(treatment, name), terms(control, name)
    parts = [ours.of_users - theirs.of_users, ours.of_seeds - theirs.of_seeds]
    return _gain(ours.log - theirs.log, parts)


def bootstrap_interval(
    treatment: Totals, control: Totals, name: str, rng: np.random.Generator, draws: int = DRAWS
) -> Interval:
    """Return the 95 % interval of a gain from users drawn again with replacement, in either arm by itself.

    Over users alone: the seeds are averaged first.
    """
    numerator, denominator, _ = METRICS[name]
    logs = []
    for arm in (treatment, control):
        sums = _drawn_sums(arm.mean(axis=0)[:, [numerator, denominator]], rng, draws)
        logs.append(np.log(sums[:, 0] / sums[:, 1]))
    low, high = np.quantile(np.expm1(logs[0] - logs[1]), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(low), float(high))


def identity_error(ctr: float, ppc: float, ecpm: float) -> float:
    """Return how far three gains are from eCPM gain = (1 + CTR gain) (1 + PPC gain) - 1.

    >>> round(abs(identity_error(0.207, -0.030, 0.171)), 3)  # the paper's DIEN
    0.0
    """
    return ecpm - ((1 + ctr) * (1 + ppc) - 1)


def seeds_together(totals: Totals) -> Totals:
    """The same with its seeds averaged, (1, U, C): gains of it vary over users alone."""
    together: Totals = totals.mean(axis=0, keepdims=True)
    return together


def _without(
    covariates: tuple[Floats, Floats], difference: float, of_users: list[Floats]
) -> tuple[float, list[Floats]]:
    """Take what the covariates explain out of a difference and of the users' terms."""
    centred = [x - x.mean(axis=0) for x in covariates]
    slope, *_ = np.linalg.lstsq(np.concatenate(centred), np.concatenate(of_users), rcond=None)
    difference -= float((covariates[0].mean(axis=0) - covariates[1].mean(axis=0)) @ slope)
    return difference, [term - x @ slope for term, x in zip(of_users, centred, strict=True)]


def _gain(difference: float, parts: list[Floats]) -> Gain:
    """Test a difference of logarithms; the variance of the mean of each part adds to its own."""
    tested = t_test(difference, [variance_of_mean(part) for part in parts if len(part) > 1])
    error = tested.standard_error
    quantile = float(student.ppf((1 + LEVEL) / 2, tested.degrees)) if error else 0.0
    interval = Interval(*map(math.expm1, tested.interval))
    smallest = math.expm1((quantile + float(norm.ppf(POWER))) * error)
    return Gain(math.expm1(difference), interval, tested.p, error, smallest)


def _drawn_sums(values: Floats, rng: np.random.Generator, draws: int) -> Floats:
    """Sums (draws, 2) over users drawn with replacement from values (U, 2)."""
    users = len(values)
    sums = []
    for start in range(0, draws, step := max(1, CHUNK // users)):
        weights = rng.multinomial(users, np.full(users, 1 / users), size=min(step, draws - start))
        sums.append(weights @ values)
    return np.concatenate(sums)
