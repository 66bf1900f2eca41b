"""Metrics of the predictions for test samples, by the name of the field of records that has them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from benchmark.records.predictions import Scores, wins


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


def gauc(scores: Scores) -> float:
    """Mean of the AUC of each user's samples, weighted by their number, in [0, 1]; NaN where no user has an AUC.

    A user whose samples are all of one label has no AUC and is left out, also from the weights (Zhou et al., Deep
    Interest Network, 2018, equation 7).

    >>> gauc(Scores(np.array([0, 1, 0, 1]), np.array([0, 0, 1, 1]), np.array([1.0, 3.0, 2.0, 3.0])))
    0.75
    """
    users, aucs, samples = scores.user_aucs
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
