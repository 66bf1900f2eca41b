"""Metrics of predictions."""

import numpy as np
from scipy.stats import rankdata

from benchmark.records.predictions import Scores


def auc(scores: Scores) -> float:
    """Probability that a user's positive scores above a user's negative, a tie counting one half, in [0, 1].

    >>> auc(Scores(negative=np.array([1.0, 3.0]), positive=np.array([2.0, 3.0])))
    0.625
    """
    users = len(scores)
    ranks = rankdata(np.concatenate([scores.positive, scores.negative]))[:users]
    return float((ranks.sum() - users * (users + 1) / 2) / users**2)
