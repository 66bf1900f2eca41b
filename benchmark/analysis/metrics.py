"""Metrics of the predictions for test samples, by the name of the field of records that has them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from benchmark.records.predictions import Scores

Floats = NDArray[np.float64]
UserAUCs = tuple[NDArray[np.intp], Floats, Floats]
_USER_AUCS: WeakKeyDictionary[Scores, UserAUCs] = WeakKeyDictionary()  # of scores that are asked several times


@dataclass(frozen=True)
class Metric:
    """A figure of one checkpoint, computed from its scores."""

    name: str
    of: Callable[[Scores], float]
    better: Literal["higher", "lower", "closer to 1"]
    shown: str  # format of a cell
    by_order: bool  # follows from ranks, which are all that a board has of scores
    meaning: str


def auc(scores: Scores) -> float:
    """Probability that a positive scores above a negative, a tie counting one half, in [0, 1].

    >>> auc(Scores(np.array([0, 1, 0, 1]), np.array([0, 0, 1, 1]), np.array([1.0, 3.0, 2.0, 3.0])))
    0.625
    """
    negative, positive = scores.negative, scores.positive
    return float(wins(positive, negative).sum() / (len(positive) * len(negative)))


def wins(scores: Floats, others: Floats) -> Floats:
    """Return how many of `others` (M,) each of `scores` (N,) is above, a tie counting one half, (N,); exact.

    >>> wins(np.array([2.0, 3.0]), np.array([1.0, 3.0]))
    array([1. , 1.5])
    """
    order = np.argsort(scores)  # looked up in order, which takes half the time
    ordered, looked_up = np.sort(others), scores[order]
    below, at_most = (np.searchsorted(ordered, looked_up, side) for side in ("left", "right"))
    total = np.empty(len(scores))
    total[order] = (below + at_most) / 2
    return total


def user_aucs(scores: Scores) -> UserAUCs:
    """Return the users who have samples of both labels, (V,), the AUC of each one's samples, and their number.

    >>> user_aucs(Scores(np.array([0, 1, 0, 2]), np.array([0, 0, 1, 1]), np.array([1.0, 3.0, 2.0, 3.0])))
    (array([0]), array([1.]), array([2.]))
    """
    if scores not in _USER_AUCS:
        _USER_AUCS[scores] = _user_aucs(scores)
    return _USER_AUCS[scores]


def _user_aucs(scores: Scores) -> UserAUCs:
    unclicked, clicked = np.split(scores.user, [scores.negatives])
    if len(clicked) == scores.users and np.array_equal(unclicked, clicked):  # a sample of each: nothing to be sorted
        won: Floats = (scores.positive > scores.negative) + (scores.positive == scores.negative) / 2
        return np.arange(scores.users), won, np.full(scores.users, 2.0)
    order = np.lexsort((scores.score, scores.user))
    user, score, label = scores.user[order], scores.score[order], scores.label[order]
    samples = np.bincount(user)  # (U,) impressions of each user
    positives = np.bincount(user, label)
    pairs = positives * (samples - positives)
    # Mean rank of a sample among its user's, ties sharing theirs: from the first and the last place of each tie.
    begins = np.flatnonzero(np.append(True, (np.diff(user) != 0) | (np.diff(score) != 0)))
    length = np.diff(np.append(begins, len(user)))
    rank = np.repeat(begins + (length + 1) / 2, length) - np.repeat(np.cumsum(samples) - samples, samples)
    wins = np.bincount(user, rank * label) - positives * (positives + 1) / 2
    both = np.flatnonzero(pairs)
    return both, wins[both] / pairs[both], samples[both].astype(np.float64)


def gauc(scores: Scores) -> float:
    """Mean of the AUC of each user's samples, weighted by their number, in [0, 1]; NaN where no user has an AUC.

    A user whose samples are all of one label has no AUC and is left out, also from the weights (Zhou et al., Deep
    Interest Network, 2018, equation 7).

    >>> gauc(Scores(np.array([0, 1, 0, 1]), np.array([0, 0, 1, 1]), np.array([1.0, 3.0, 2.0, 3.0])))
    0.75
    """
    users, aucs, samples = user_aucs(scores)
    return float(np.average(aucs, weights=samples)) if len(users) else float("nan")


def logloss(scores: Scores) -> float:
    """Mean negative log likelihood of the samples, nats a sample.

    Probabilities are kept 2.2e-308 from 0 and 2.2e-16 from 1, where float64 ends: a click that a model holds for all
    but impossible costs what the model said.
    """
    numbers = np.finfo(np.float64)
    clicked = np.maximum(scores.score, numbers.tiny)
    likelihood = np.where(scores.label == 1, clicked, np.maximum(1 - scores.score, numbers.eps))
    return float(-np.log(likelihood).mean())


def calibration(scores: Scores) -> float:
    """Sum of predictions over sum of clicks: above 1 the model expects more clicks than there were."""
    return float(scores.score.sum() / len(scores.positive))


METRICS = {
    "auc": Metric(
        "AUC",
        auc,
        "higher",
        ".4f",
        by_order=True,
        meaning="chance that a clicked test sample scores above one not clicked; 0.5 is chance",
    ),
    "gauc": Metric(
        "GAUC",
        gauc,
        "higher",
        ".4f",
        by_order=True,
        meaning="mean of the test users' own AUC, weighted by their samples; users with samples of one label left out",
    ),
    "logloss": Metric(
        "log loss",
        logloss,
        "lower",
        ".4f",
        by_order=False,
        meaning="mean negative log likelihood of the test samples, nats a sample",
    ),
    "calibration": Metric(
        "calibration",
        calibration,
        "closer to 1",
        ".3f",
        by_order=False,
        meaning="sum of predicted probabilities over number of clicks among the test samples",
    ),
}
