"""A printed figure against runs on the same test rows: seeds make them differ, and what was done otherwise."""

from typing import Literal

from scipy.special import stdtr  # Student's t: scipy.stats takes half a second to import

from benchmark.records.paper import Auc

Verdict = Literal["agrees", "higher", "lower", "not tested"]
SIGNIFICANT = 0.05
PRINTED_RUNS = 5  # behind each mean ± deviation of the proceedings
ROUNDING = 0.00005  # half of the last printed digit of a mean


def verdict(mean: float | None, std: float | None, seeds: int, printed: Auc | None) -> Verdict | Literal[""]:
    """Say whether our mean AUC over `seeds` runs is higher or lower than the printed one, by more than seeds explain.

    Welch's t test of two means, two-sided at 5 %; a printed figure without a deviation is one run, which is compared
    with where one more run of ours would lie. The difference is first reduced by half the last printed digit. "" where
    nothing is printed or trained.

    >>> verdict(0.7880, 0.002, 5, Auc(0.7890, 0.00268)), verdict(0.80, 0.002, 5, Auc(0.7890, 0.00268))
    ('agrees', 'higher')
    """
    if mean is None or printed is None:
        return ""
    if std is None or seeds < 2:
        return "not tested"
    difference = mean - printed.mean
    beyond = max(abs(difference) - ROUNDING, 0.0)
    if beyond == 0:
        return "agrees"
    ours = std**2 / seeds
    if printed.std is None:
        variance, freedom = std**2 + ours, seeds - 1.0
    else:
        theirs = printed.std**2 / PRINTED_RUNS
        variance = ours + theirs
        parts = ours**2 / (seeds - 1) + theirs**2 / (PRINTED_RUNS - 1)
        freedom = variance**2 / parts if parts else 1.0
    p = 2 * stdtr(freedom, -beyond / variance**0.5) if variance else 0.0
    if p >= SIGNIFICANT:
        return "agrees"
    return "higher" if difference > 0 else "lower"
