"""The interval of an AUC over test users, by the bootstrap.

A replicate draws U users with replacement and counts the positives and negatives of each as often as it was drawn. Its
AUC takes one walk through the scores in rising order, so that no pair is looked at.
"""

from collections.abc import Sequence

import numba
import numpy as np
from numpy.typing import NDArray

from benchmark.scores import Scores
from benchmark.statistics import LEVEL, Interval

REPLICATES = 2000


def bootstrap_interval(seeds: Sequence[Scores], replicates: int = REPLICATES) -> Interval:
    """Return the 95 % percentile interval of the mean AUC of some seeds over resampled test users.

    A user is drawn with both samples, and a draw counts for all seeds at once. The seeds stay as they are: the
    interval says how far other test users would move the figure, not how far other seeds would.
    """
    users = len(seeds[0])
    walks = [_walk(scores) for scores in seeds]
    rng = np.random.default_rng(0)
    means = np.empty(replicates)
    for replicate in range(replicates):
        drawn = np.bincount(rng.integers(users, size=users), minlength=users).astype(np.int32)
        means[replicate] = sum(_auc(drawn, *walk) for walk in walks) / len(seeds)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(low), float(high))


def _walk(scores: Scores) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """Return samples in rising order of their scores, (2U,), and where a score differs from the one before, (2U,).

    A sample is 2 * user for the negative and 2 * user + 1 for the positive.
    """
    both = np.stack([scores.negative, scores.positive], axis=1).ravel()
    order = np.argsort(both, kind="stable").astype(np.int32)
    return order, np.diff(both[order], prepend=-np.inf) > 0


@numba.njit(cache=True)
def _auc(drawn: NDArray[np.int32], order: NDArray[np.int32], higher: NDArray[np.bool_]) -> float:
    """AUC where user u counts drawn[u] times, the counts adding up to U; whole numbers inside, so it is exact."""
    twice_won = 0  # pairs whose positive is higher, twice, and ties once
    below = tied_negatives = tied_positives = 0  # negatives below the current score; samples with it
    for place in range(len(order)):
        if higher[place]:
            twice_won += tied_positives * (2 * below + tied_negatives)
            below += tied_negatives
            tied_negatives = tied_positives = 0
        weight = drawn[order[place] >> 1]
        if order[place] & 1:
            tied_positives += weight
        else:
            tied_negatives += weight
    twice_won += tied_positives * (2 * below + tied_negatives)
    return twice_won / (2 * len(drawn) ** 2)
