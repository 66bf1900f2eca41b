"""How sure an AUC is, and whether two rows differ.

A measured AUC varies for two reasons: other test users would have been drawn, and another seed would have trained
other weights. Every 95 % interval and every test of the project counts both, and comes from this file.

Sources: DeLong, DeLong and Clarke-Pearson (1988), the variance of an AUC; Obuchowski (1997), the same for samples that
belong together, here those of a user; Welch (1947) and Satterthwaite (1946), degrees of freedom of a sum of variances;
Holm (1979), several tests at once.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit  # Student's t: scipy.stats takes half a second to import

from benchmark.records.predictions import Scores, wins

Floats = NDArray[np.float64]
LEVEL = 0.95  # of every interval
# A metric, and what each user adds to its deviation, (U,); users that have no part in it may be left out.
Terms = Callable[[Scores], tuple[float, Floats]]
# A row is compared with several.
_TERMS: WeakKeyDictionary[Scores, dict[Terms, tuple[float, Floats]]] = WeakKeyDictionary()


class Interval(NamedTuple):
    """Ends of a 95 % interval."""

    low: float
    high: float


class Comparison(NamedTuple):
    """How much higher the second row's AUC is than the first's."""

    difference: float
    standard_error: float
    degrees: float  # of freedom
    p: float  # two-sided, not corrected

    @property
    def interval(self) -> Interval:
        """The 95 % interval of the difference."""
        half = float(stdtrit(self.degrees, (1 + LEVEL) / 2)) * self.standard_error if self.standard_error else 0.0
        return Interval(self.difference - half, self.difference + half)

    @property
    def auc_interval(self) -> Interval:
        """The 95 % interval of an AUC, which is its difference from 0: cut to [0, 1]."""
        return Interval(*(min(max(end, 0.0), 1.0) for end in self.interval))


def placements(scores: Scores) -> tuple[Floats, Floats]:
    """Return each positive's share of negatives below it and each negative's share of positives above it, (P,) (N,).

    Ties count one half; the mean of either is the AUC. These are DeLong's components V10 and V01.

    >>> placements(Scores(np.array([0, 1, 0, 1]), np.array([0, 0, 1, 1]), np.array([1.0, 3.0, 2.0, 3.0])))
    (array([0.5 , 0.75]), array([1.  , 0.25]))
    """
    negative, positive = scores.negative, scores.positive
    return wins(positive, negative) / len(negative), 1 - wins(negative, positive) / len(positive)


def user_terms(scores: Scores) -> tuple[float, Floats]:
    """Return the AUC and what each user adds to its deviation, (U,), with mean 0; that one's variance / U is the AUC's.

    Samples of a user share a history and are not independent, so their components are added up before the variance is
    taken (Obuchowski): with P positives and N negatives in all, p and n of the user, U (V10 - p AUC) / P
    + U (V01 - n AUC) / N, where V10 and V01 are the user's sums. With one of each it is V10 + V01 - 2 AUC.
    """
    above, below = placements(scores)
    auc, users = float(above.mean()), scores.users
    terms = np.zeros(users)
    weight = np.zeros(users)
    for components, kind in ((above, slice(scores.negatives, None)), (below, slice(scores.negatives))):
        share = users / len(components)
        terms += share * np.bincount(scores.user[kind], components, minlength=users)
        weight += share * np.bincount(scores.user[kind], minlength=users)
    return auc, terms - weight * auc


def gauc_terms(scores: Scores) -> tuple[float, Floats]:
    """Return the GAUC and what each of the V users with an AUC adds to its deviation, (V,), as `user_terms`.

    That of a ratio of two means: with weights w and AUCs a it is V w (a - GAUC) / sum of w. Users without an AUC are
    not among them: they would be counted as evidence, as degrees of freedom.

    >>> gauc_terms(Scores(np.array([0, 1, 0, 1]), np.array([0, 0, 1, 1]), np.array([1.0, 3.0, 2.0, 3.0])))
    (0.75, array([ 0.25, -0.25]))
    """
    users, aucs, samples = scores.user_aucs
    mean = float(np.average(aucs, weights=samples)) if len(users) else math.nan
    return mean, len(users) * samples * (aucs - mean) / samples.sum()


def compare(first: Sequence[Scores], second: Sequence[Scores], of: Terms = user_terms) -> Comparison:
    """Compare the mean AUC of two rows on the same test users, each given as scores of at least two seeds.

    Another metric by its terms, `of`.

    The variance of the difference is a sum of three: that over users of the difference of seed means (paired:
    both rows are scored on the same users), and that over the seeds of each row / number of seeds. Their degrees of
    freedom are joined by Welch and Satterthwaite, and the difference is held against Student's t. Where users
    are what matters this is DeLong's test on the mean over seeds, where seeds matter it is Welch's test; either
    alone would call a chance of the other source a difference.

    Chosen above a bootstrap over users, which takes the seeds at hand for all there are, and above DeLong's test
    seed by seed, whose p values share their test users and cannot be joined. It leans to the careful side: how
    seeds and users act together is in the variance over users and in that over seeds, and so counted twice; and
    seeds of one number are taken as unrelated, since rows use their random numbers differently.

    Raises ValueError below two seeds, where the variance over seeds is not known, and for other numbers of users.
    """
    return contrast([second], [first], of)


def contrast(plus: Sequence[Sequence[Scores]], minus: Sequence[Sequence[Scores]], of: Terms = user_terms) -> Comparison:
    """Return the sum of the mean AUC of some rows minus that of others, tested as in `compare`.

    With rows A, B trained on much data and a, b on little, `contrast([A, b], [B, a])` is by how much the lead of A
    over B grows. Raises ValueError below two seeds, and for other numbers of users.
    """
    rows = [*minus, *plus]
    if min(map(len, rows)) < 2:
        raise ValueError(f"each row needs at least two seeds, got {' and '.join(str(len(row)) for row in rows)}")
    if len(users := {scores.users for row in rows for scores in row}) > 1:
        raise ValueError(f"all scores must be of the same users, got {' and '.join(map(str, sorted(users)))} of them")
    ours, theirs = ([_by_user_and_seed(row, of) for row in side] for side in (plus, minus))
    terms = np.sum([terms for terms, _ in ours], axis=0) - np.sum([terms for terms, _ in theirs], axis=0)
    total = sum(float(aucs.mean()) for _, aucs in ours) - sum(float(aucs.mean()) for _, aucs in theirs)
    return t_test(total, [variance_of_mean(values) for values in (terms, *(aucs for _, aucs in (*ours, *theirs)))])


def estimate(seeds: Sequence[Scores], of: Terms = user_terms) -> Comparison:
    """Return the mean AUC of at least two seeds as its difference from 0, for its interval over users and seeds.

    Another metric by its terms, `of`. The variance is summed as in `compare`. Raises ValueError below two seeds.
    """
    if len(seeds) < 2:
        raise ValueError(f"at least two seeds are needed, got {len(seeds)}")
    terms, aucs = _by_user_and_seed(seeds, of)
    return t_test(float(aucs.mean()), [variance_of_mean(terms), variance_of_mean(aucs)])


def estimate_rule(scores: Scores) -> Comparison:
    """Return a rule's AUC as its difference from 0: as `estimate`, but for the variance over seeds, which it has not.

    The standard error is 0 for a single user, where none is known.
    """
    auc, terms = user_terms(scores)
    return t_test(auc, [variance_of_mean(terms)] if len(terms) > 1 else [])


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p values corrected for their number, in the same order.

    Under 0.05 corrected, the chance that even one of them is a false alarm is at most 0.05 (Holm).

    >>> [round(p, 6) for p in holm([0.01, 0.04, 0.03, 0.005])]
    [0.03, 0.06, 0.06, 0.02]
    """
    corrected = [0.0] * len(p_values)
    highest = 0.0
    for place, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        highest = max(highest, min(1.0, (len(p_values) - place) * p_values[index]))
        corrected[index] = highest
    return corrected


def _by_user_and_seed(seeds: Sequence[Scores], of: Terms) -> tuple[Floats, Floats]:
    """Return what each user adds to the deviation of the seeds' mean, (U,), and the metric of each seed, (seeds,)."""
    aucs, terms = zip(*(terms_of(scores, of) for scores in seeds), strict=True)
    return np.mean(terms, axis=0), np.array(aucs)


def terms_of(scores: Scores, of: Terms) -> tuple[float, Floats]:
    """Return `of(scores)`, which is computed once for as long as the scores are there."""
    if of not in (known := _TERMS.setdefault(scores, {})):
        known[of] = of(scores)
    return known[of]


def variance_of_mean(values: Floats) -> tuple[float, int]:
    """Return the variance of the mean of independent values, and its degrees of freedom."""
    return float(values.var(ddof=1)) / len(values), len(values) - 1


def t_test(difference: float, parts: Sequence[tuple[float, int]]) -> Comparison:
    """Test a difference whose variance is the sum of independent estimates, given as (variance, degrees)."""
    variance = float(sum(part for part, _ in parts))
    if variance == 0:
        return Comparison(difference, 0.0, math.inf, 1.0 if difference == 0 else 0.0)
    degrees = variance**2 / float(sum(part**2 / freedom for part, freedom in parts))
    error = math.sqrt(variance)
    return Comparison(difference, error, degrees, float(2 * stdtr(degrees, -abs(difference) / error)))
