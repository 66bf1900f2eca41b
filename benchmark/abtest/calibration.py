"""Predictions mended to be right on average, by isotonic regression on the validation day.

Prices divide by the predicted click rate of the winner, so a model whose predictions are too high or too low in
places changes the price per click without ranking any better.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from sklearn.isotonic import IsotonicRegression

from benchmark.abtest.auction import CLICKS, PREDICTED
from benchmark.abtest.statistics import Totals

Floats = NDArray[np.float64]
LOWEST = 1e-4  # an auction needs click rates above 0


def isotonic(predicted: Floats, clicked: NDArray[np.int8]) -> Callable[[Floats], Floats]:
    """Fit a rising function to predictions and clicks (N,) of the validation day; return it, for any shape.

    What lies outside of the predictions seen gets the value of the nearest. Its values are in [0.0001, 1].
    """
    fitted = IsotonicRegression(y_min=LOWEST, y_max=1.0, out_of_bounds="clip").fit(predicted, clicked)

    def calibrate(scores: Floats) -> Floats:
        return np.asarray(fitted.predict(scores.ravel()), np.float64).reshape(scores.shape)

    return calibrate


def calibration(totals: Totals) -> float:
    """Return the sum of predicted click rates over the clicks, of what was shown; NaN without a click.

    Above 1 also for a calibrated model: what is shown was chosen for its high prediction.
    """
    sums = totals.sum(axis=(0, 1))
    return float(sums[PREDICTED] / sums[CLICKS]) if sums[CLICKS] else float("nan")
