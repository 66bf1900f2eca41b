"""The interval of an AUC over test users, by the bootstrap.

A replicate draws U users with replacement and counts the positives and negatives of each as often as it was drawn. Its
AUC takes one walk through the scores in rising order, so that no pair is looked at.
"""

import hashlib
from collections.abc import Sequence

import numba
import numpy as np
from numpy.typing import NDArray

from benchmark.analysis.comparison import LEVEL, Interval
from benchmark.records.predictions import Scores

REPLICATES = 2000
TOGETHER = 16  # replicates in one walk, side by side in vector instructions
Walk = tuple[NDArray[np.int32], NDArray[np.bool_]]


def bootstrap_interval(seeds: Sequence[Scores], replicates: int = REPLICATES) -> Interval:
    """Return the 95 % percentile interval of the mean AUC of some seeds over resampled test users.

    A user is drawn with both samples, and a draw counts for all seeds at once. The seeds stay as they are: the
    interval says how far other test users would move the figure, not how far other seeds would.
    """
    walks = [_walk(scores) for scores in seeds]
    digest = hashlib.sha256(f"{replicates}".encode())
    for array in (array for walk in walks for array in walk):
        digest.update(array.tobytes())
    if digest.digest() not in _known:  # a row stands in several tables of one board
        _known[digest.digest()] = _bootstrap(walks, len(seeds[0]), replicates)
    return _known[digest.digest()]


_known: dict[bytes, Interval] = {}


def _bootstrap(walks: Sequence[Walk], users: int, replicates: int) -> Interval:
    rng = np.random.default_rng(0)
    means = np.empty(replicates)
    for first in range(0, replicates, TOGETHER):
        count = min(TOGETHER, replicates - first)
        drawn = np.zeros((users, TOGETHER), np.int32)
        for replicate in range(count):
            drawn[:, replicate] = np.bincount(rng.integers(users, size=users), minlength=users)
        aucs = np.mean([_aucs(drawn, *walk) for walk in walks], axis=0)
        means[first : first + count] = aucs[:count]
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(low), float(high))


def _walk(scores: Scores) -> Walk:
    """Return samples in rising order of their scores, (2U,), and where a score differs from the one before, (2U,).

    A sample is 2 * user for the negative and 2 * user + 1 for the positive.
    """
    both = np.stack([scores.negative, scores.positive], axis=1).ravel()
    order = np.argsort(both, kind="stable").astype(np.int32)
    return order, np.diff(both[order], prepend=-np.inf) > 0


@numba.njit(cache=True)
def _aucs(drawn: NDArray[np.int32], order: NDArray[np.int32], higher: NDArray[np.bool_]) -> NDArray[np.float64]:
    """AUC (R,) of R replicates in which user u counts drawn[u, r] times; whole numbers inside, so it is exact."""
    users, together = drawn.shape
    twice_won = np.zeros(together, np.int64)  # pairs whose positive is higher, twice, and ties once
    below = np.zeros(together, np.int64)  # negatives with a lower score than the current one
    negatives = np.zeros(together, np.int64)  # negatives with the current score
    positives = np.zeros(together, np.int64)  # positives with it
    for place in range(len(order)):
        if higher[place]:
            for r in range(together):
                twice_won[r] += positives[r] * (2 * below[r] + negatives[r])
                below[r] += negatives[r]
                negatives[r] = positives[r] = 0
        counts = drawn[order[place] >> 1]
        same = positives if order[place] & 1 else negatives
        for r in range(together):
            same[r] += counts[r]
    twice_won += positives * (2 * below + negatives)
    aucs: NDArray[np.float64] = twice_won / (2 * users**2)
    return aucs
