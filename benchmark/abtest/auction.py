"""One slot is sold at each request: the generalised second-price auction with quality scores and a reserve.

Candidates are ranked by bid times predicted click rate. The first one is shown and pays, for a click, the least bid
with which it would still have won: the second's score / its own predicted click rate, but at least the reserve.
Source: Edelman, Ostrovsky and Schwarz (2007), Varian (2007).
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from datamodules.errors import UserError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
RESERVE = 0.1  # a tenth of the median bid
# What is counted of a request, and then of a user: the columns of every array of totals.
IMPRESSIONS, CLICKS, COST, VALUE, PREDICTED = range(5)
COLUMNS = 5


class Sales(NamedTuple):
    """What was shown at R requests."""

    winner: Ints  # (R,), a column of the candidates; -1 where nobody bids the reserve and nothing is shown
    price: Floats  # (R,), for a click; 0 where nothing is shown


def second_price(predicted: Floats, bids: Floats, reserve: float = RESERVE) -> Sales:
    """Hold the auction at every request.

    predicted, bids    (R, K), both above 0
    reserve            at least 0; a candidate that bids less does not take part

    The price is never above the winner's bid. Of two equal scores the first candidate wins.
    Raises UserError for predictions that are not above 0.

    >>> predicted, bids = np.array([[0.1, 0.2, 0.05]]), np.array([[3.0, 1.0, 5.0]])
    >>> second_price(predicted, bids)  # scores .3, .2 and .25: the first pays .25 / .1
    Sales(winner=array([0]), price=array([2.5]))
    """
    if not np.all(np.isfinite(predicted)) or not np.all(predicted > 0):
        raise UserError(
            f"predicted click rates must be finite and above 0, got {np.min(predicted)} as the lowest. "
            "Clip or calibrate them first."
        )
    scores = np.where(bids >= reserve, bids * predicted, 0.0)
    rows = np.arange(len(scores))
    winner = scores.argmax(axis=1)
    best = scores[rows, winner]
    scores[rows, winner] = 0.0
    price = np.maximum(scores.max(axis=1) / predicted[rows, winner], reserve)
    price = np.minimum(price, bids[rows, winner])  # rounding
    shown = best > 0
    return Sales(np.where(shown, winner, -1), np.where(shown, price, 0.0))


def outcomes(sales: Sales, truth: Floats, bids: Floats, predicted: Floats, chance: Floats | None = None) -> Floats:
    """Count what the sales of R requests come to: (R, 5), in the columns IMPRESSIONS to PREDICTED.

    truth     (R, K), true click probability
    chance    (R,), uniform; the ad is clicked where this is below its probability. Arms that share it differ only
              where they show something else (common random numbers). None: expected clicks instead of drawn ones

    VALUE is what clicks are worth to advertisers, who bid what a click is worth to them; PREDICTED the sum of the
    predicted click rates of what was shown.
    """
    rows, shown = np.arange(len(truth)), sales.winner >= 0
    probability = truth[rows, sales.winner]
    clicks = probability if chance is None else (chance < probability).astype(np.float64)
    columns = (np.ones(len(rows)), clicks, clicks * sales.price, clicks * bids[rows, sales.winner])
    return np.column_stack([*columns, predicted[rows, sales.winner]]) * shown[:, None]


def per_user(counts: Floats, user: Ints, users: int) -> Floats:
    """Add up the counts of requests (R, C) by user, whose numbers lie below `users`: (users, C)."""
    return np.column_stack([np.bincount(user, column, minlength=users) for column in counts.T])
