"""Intervals and p values on simulated runs, where the truth is known: seeds and users both are chance."""

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import kstest, norm

from benchmark.analysis.comparison import compare, estimate, estimate_rule
from benchmark.records.predictions import Scores
from tests.benchmark.boards import pairs

USERS, SEEDS, TRIALS = 200, 4, 400
DISTANCE = 1.0  # of positives from negatives, whose scores have the standard deviation 1


def rows(
    rng: np.random.Generator, over_users: float, over_seeds: float, over_both: float, gain: float = 0.0
) -> list[list[Scores]]:
    """Two rows of four seeds on the same users; the second's positives lie `gain` further from its negatives.

    A row sees each user in its own way (`over_users`, of all variance beside what both rows share), a seed moves all
    positives of its run (`over_seeds`), and `over_both` is noise of every score, for a seed and a user by themselves.
    """
    shared = np.sqrt(1 - over_users**2 - over_both**2) * rng.normal(size=(USERS, 2))
    made = []
    for distance in (DISTANCE, DISTANCE + gain):
        own = shared + over_users * rng.normal(size=(USERS, 2))
        seeds = [
            own + over_both * rng.normal(size=(USERS, 2)) + [0, distance + over_seeds * rng.normal()]
            for _ in range(SEEDS)
        ]
        made.append([pairs(*seed.T) for seed in seeds])
    return made


def true_auc(distance: float, over_seeds: float) -> float:
    """Chance that a positive is above a negative: their difference is normal, its variance 2 and that over seeds."""
    return float(norm.cdf(distance / np.sqrt(2 + over_seeds**2)))


def p_values(over_users: float, over_seeds: float, over_both: float) -> NDArray[np.float64]:
    rng = np.random.default_rng(0)
    return np.array([compare(*rows(rng, over_users, over_seeds, over_both)).p for _ in range(TRIALS)])


@pytest.mark.parametrize(
    ("over_users", "over_seeds", "over_both"),
    [
        (0.5, 0.0, 0.0),  # users alone: DeLong's case
        (0.0, 0.3, 0.0),  # seeds alone: Welch's
        (0.4, 0.2, 0.2),  # both, and noise
    ],
)
def test_p_of_equal_rows_is_uniform(over_users: float, over_seeds: float, over_both: float) -> None:
    assert kstest(p_values(over_users, over_seeds, over_both), "uniform").pvalue > 0.01


def test_p_of_equal_rows_is_careful_where_users_and_seeds_cannot_be_told_apart() -> None:
    """Noise of its own in every score counts twice: the price that `compare` names."""
    p = p_values(0.0, 0.0, 0.5)
    for level in (0.05, 0.1, 0.25, 0.5):
        assert (p < level).mean() < level


def covered(intervals: Sequence[tuple[float, float]], truth: float) -> None:
    """At 95 %, 400 trials cover the truth 380 times, give or take three standard deviations of 4.4."""
    hits = sum(low <= truth <= high for low, high in intervals)
    assert 367 <= hits <= 393


def test_intervals_of_a_rule_cover_its_auc_on_other_users() -> None:
    """What has no seeds: the AUC over all users that there could be."""
    rng = np.random.default_rng(1)
    found = [estimate_rule(rows(rng, 0.0, 0.0, 0.0)[0][0]).interval for _ in range(TRIALS)]
    covered(found, true_auc(DISTANCE, 0.0))


def test_estimates_cover_the_auc_of_other_users_and_seeds() -> None:
    rng = np.random.default_rng(2)
    covered([estimate(rows(rng, 0.5, 0.2, 0.0)[0]).interval for _ in range(TRIALS)], true_auc(DISTANCE, 0.2))


def test_intervals_of_a_difference_cover_it() -> None:
    rng = np.random.default_rng(3)
    found = [compare(*rows(rng, 0.5, 0.1, 0.0, gain=0.3)).interval for _ in range(TRIALS)]
    covered(found, true_auc(DISTANCE + 0.3, 0.1) - true_auc(DISTANCE, 0.1))
