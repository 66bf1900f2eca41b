"""Variance, intervals and tests of AUC against slow loops, a published example, scikit-learn, SciPy and simulation."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import rankdata, ttest_ind
from sklearn.metrics import roc_auc_score

from benchmark.analysis.comparison import (
    compare,
    contrast,
    estimate,
    estimate_rule,
    holm,
    placements,
    t_test,
    user_terms,
)
from benchmark.analysis.metrics import auc
from benchmark.records.predictions import Scores, scores_of_samples
from benchmark.records.results import scores_of
from tests.benchmark.boards import committed, pairs

Floats = NDArray[np.float64]


def draw(seed: int, users: int, *, distance: float = 0.8, decimals: int = 1) -> Scores:
    """Scores with ties; a user's two samples go together."""
    rng = np.random.default_rng(seed)
    level = rng.normal(size=users)
    negative = np.round(level + rng.normal(size=users), decimals)
    return pairs(negative, np.round(level + rng.normal(size=users) + distance, decimals))


def wins(scores: Scores) -> Floats:
    """(U, U) positive of user i against negative of user j: 1 above, 1/2 tied, 0 below, by loops."""
    users = scores.users
    table = np.empty((users, users))
    for i in range(users):
        for j in range(users):
            difference = scores.positive[i] - scores.negative[j]
            table[i, j] = 1.0 if difference > 0 else 0.5 if difference == 0 else 0.0
    return table


def sklearn_auc(negative: Floats, positive: Floats) -> float:
    return float(roc_auc_score(np.repeat([0, 1], [len(negative), len(positive)]), np.concatenate([negative, positive])))


@pytest.mark.parametrize("decimals", [0, 1, 8])
def test_auc_is_that_of_scikit_learn(decimals: int) -> None:
    scores = draw(1, 57, decimals=decimals)
    assert auc(scores) == pytest.approx(sklearn_auc(scores.negative, scores.positive), abs=1e-12)


@pytest.mark.parametrize("decimals", [0, 1, 8])
def test_fast_placements_are_those_of_the_loops(decimals: int) -> None:
    scores = draw(2, 40, decimals=decimals)
    above, below = placements(scores)
    np.testing.assert_allclose(above, wins(scores).mean(axis=1), atol=1e-12)
    np.testing.assert_allclose(below, wins(scores).mean(axis=0), atol=1e-12)


def patients(negative: NDArray[Any], positive: NDArray[Any]) -> Scores:
    """Scores of users with one sample each."""
    label = np.repeat([0, 1], [len(negative), len(positive)])
    return scores_of_samples(np.arange(len(label)), label, np.concatenate([negative, positive]).astype(float))


def test_delong_s_variance_of_a_published_example() -> None:
    # Subarachnoid haemorrhage, WFNS grade 1..5 against the outcome: counts of Turck et al. (2010); AUC and DeLong
    # variance as the R package pROC prints them for this data.
    good, poor = np.repeat(range(1, 6), [37, 20, 3, 8, 4]), np.repeat(range(1, 6), [2, 12, 1, 8, 18])
    assert (len(good), len(poor)) == (72, 41)
    scores = patients(good, poor)
    assert auc(scores) == pytest.approx(0.823678861788618, abs=1e-14)
    above, below = placements(scores)
    variance = above.var(ddof=1) / 41 + below.var(ddof=1) / 72
    assert variance == pytest.approx(0.00146991470882363, rel=1e-12)


# The example of DeLong, DeLong and Clarke-Pearson (1988): albumin, total protein and K-G score of 43 patients, of whom
# the first 12 had the one outcome and the others the other. The figures are what SAS/STAT's manual prints for it.
ALBUMIN = "3.0 2.8 0.9 2.5 3.6 4.2 4.0 3.0 3.3 1.7 2.9 2.8 3.2 3.9 3.2 1.6 3.8 3.7 3.2 3.8 4.1 3.6 4.3 2.3 3.5 3.8 4.5 "
ALBUMIN += "3.7 3.1 4.1 4.3 4.3 3.2 2.6 3.7 3.3 4.2 3.5 2.1 4.0 3.3 3.7 3.6"
PROTEIN = "5.8 4.8 4.0 5.7 6.7 7.6 6.6 4.7 6.8 4.0 5.7 6.2 6.3 6.8 5.8 5.6 5.7 6.7 5.4 6.6 6.6 5.7 7.0 4.4 5.8 6.8 7.4 "
PROTEIN += "7.4 6.6 8.2 7.0 6.5 5.1 4.7 6.1 6.3 7.7 6.2 4.8 7.0 5.7 6.9 6.6"
KREBS_GOLDBERG = "0 4 5 2 6 6 4 2 4 3 1 2 5 7 7 5 5 4 6 4 5 5 6 4 4 3 5 5 4 4 5 6 5 4 5 3 4 5 3 3 4 5 5"


def delong_parts(values: str) -> tuple[float, Floats, Floats]:
    """AUC, V10 (12,) and V01 (31,) of a low value standing for the first outcome."""
    low = -np.array(values.split(), dtype=float)
    scores = patients(low[12:], low[:12])
    return auc(scores), *placements(scores)


def test_delong_s_comparison_of_a_published_example() -> None:
    def error(above: Floats, below: Floats) -> float:
        return float(np.sqrt(above.var(ddof=1) / len(above) + below.var(ddof=1) / len(below)))

    auc, above, below = delong_parts(KREBS_GOLDBERG)
    assert (round(auc, 4), round(error(above, below), 4)) == (0.7258, 0.1028)
    for values, printed in ((ALBUMIN, (0.0108, 0.0953, 0.0127)), (PROTEIN, (-0.0780, 0.1046, 0.5554))):
        other, other_above, other_below = delong_parts(values)
        difference, of_difference = other - auc, error(other_above - above, other_below - below)
        found = (difference, of_difference, (difference / of_difference) ** 2)
        assert tuple(round(value, 4) for value in found) == printed


@pytest.mark.parametrize("place", ["sports/clean/dien-official/seed-0", "beauty/arxiv-v1/pnn-official/seed-1"])
def test_pairs_of_the_board_have_the_terms_of_the_formula_for_pairs_to_the_bit(place: str) -> None:
    """V10 + V01 - 2 AUC by ranks (Sun and Xu, 2014): what the committed intervals and p values were made with."""
    run = scores_of(committed()[Path(place)])
    assert run is not None
    users, (negative, positive) = run.reported.users, (run.reported.negative, run.reported.positive)
    ranks = rankdata(np.concatenate([positive, negative]))
    above = (ranks[:users] - rankdata(positive)) / users
    below = 1 - (ranks[users:] - rankdata(negative)) / users
    found, terms = user_terms(run.reported)
    assert found == above.mean()
    np.testing.assert_array_equal(terms, above + below - 2 * above.mean())


def draw_clustered(seed: int, distance: float = 0.8) -> Scores:
    """Scores with ties of 25 users who have from none to several samples of each label, all moved together."""
    rng = np.random.default_rng(0)
    user = np.append(np.arange(25), rng.integers(25, size=55))
    label = rng.integers(2, size=80)
    level = rng.normal(size=25)
    score = level[user] + np.random.default_rng(seed).normal(size=80) + distance * label
    return scores_of_samples(user, label, np.round(score, 1))


def obuchowski(first: Scores, second: Scores) -> float:
    """Covariance of two AUC of the same clustered samples, by loops: Obuchowski (1997), all sums with U / (U - 1)."""
    sums = []
    for scores in (first, second):
        table = [[(x > y) + 0.5 * (x == y) for y in scores.negative] for x in scores.positive]
        above, below = np.mean(table, axis=1), np.mean(table, axis=0)
        of_positive, of_negative = scores.user[scores.negatives :], scores.user[: scores.negatives]
        theta = np.mean(table)
        sums.append(
            [
                [sum(above[of_positive == i]) - theta * sum(of_positive == i) for i in range(scores.users)],
                [sum(below[of_negative == i]) - theta * sum(of_negative == i) for i in range(scores.users)],
            ]
        )
    (v10, v01), (w10, w01) = (np.array(each) for each in sums)
    m, n, users = len(first.positive), first.negatives, first.users
    factor = users / (users - 1)
    total = v10 @ w10 / m**2 + v01 @ w01 / n**2 + (v10 @ w01 + v01 @ w10) / (m * n)
    return float(factor * total)


def test_variance_of_any_number_of_samples_a_user_is_that_of_obuchowski() -> None:
    first, second = draw_clustered(1), draw_clustered(2, distance=1.2)
    for scores in (first, second):
        mean, terms = user_terms(scores)
        assert mean == pytest.approx(sklearn_auc(scores.negative, scores.positive))
        assert terms.sum() == pytest.approx(0, abs=1e-9)
        assert terms.var(ddof=1) / 25 == pytest.approx(obuchowski(scores, scores), rel=1e-9)
    found = compare([first, first], [second, second])
    variance = obuchowski(first, first) + obuchowski(second, second) - 2 * obuchowski(first, second)
    assert found.standard_error == pytest.approx(np.sqrt(variance), rel=1e-9)
    assert found.difference == pytest.approx(auc(second) - auc(first))


def test_samples_said_twice_are_no_more_evidence() -> None:
    scores = draw_clustered(3)
    twice = scores_of_samples(*(np.tile(each, 2) for each in (scores.user, scores.label, scores.score)))
    assert estimate_rule(twice)[:2] == pytest.approx(estimate_rule(scores)[:2])


def test_other_users_are_refused() -> None:
    with pytest.raises(ValueError, match="of the same users, got 8 and 9"):
        compare([draw(0, 9)] * 2, [draw(1, 8)] * 2)


def test_variance_over_users_is_that_of_the_jackknife() -> None:
    # Leaving out one user at a time and pairing no user with itself: another estimate of the same variance.
    scores = draw(3, 300)
    table = wins(scores)
    users = scores.users
    np.fill_diagonal(table, 0.0)
    whole, lost = table.sum(), table.sum(axis=0) + table.sum(axis=1)
    left_out = (whole - lost) / ((users - 1) * (users - 2))
    jackknife = (users - 1) / users * ((left_out - left_out.mean()) ** 2).sum()
    mean, terms = user_terms(scores)
    assert mean == pytest.approx(sklearn_auc(scores.negative, scores.positive))
    assert terms.var(ddof=1) / users == pytest.approx(jackknife, rel=0.02)
    assert terms.mean() == pytest.approx(0.0, abs=1e-12)


def test_the_interval_of_a_rule_is_that_of_a_bootstrap_over_users() -> None:
    scores = draw(4, 200)
    rng = np.random.default_rng(0)
    drawn = [rng.integers(200, size=200) for _ in range(1000)]
    low, high = np.quantile([sklearn_auc(scores.negative[u], scores.positive[u]) for u in drawn], [0.025, 0.975])
    found = estimate_rule(scores)
    assert found.difference == pytest.approx(sklearn_auc(scores.negative, scores.positive))
    assert found.interval.low == pytest.approx(low, abs=0.2 * found.standard_error)
    assert found.interval.high == pytest.approx(high, abs=0.2 * found.standard_error)
    assert estimate_rule(draw(4, 1)).standard_error == 0.0


def test_without_spread_over_users_the_test_is_that_of_welch() -> None:
    first, second = [0.81, 0.84, 0.82, 0.86], [0.85, 0.88, 0.87]
    parts = [(np.var(row, ddof=1) / len(row), len(row) - 1) for row in (first, second)]
    ours = t_test(float(np.mean(second) - np.mean(first)), parts)
    theirs = ttest_ind(second, first, equal_var=False)
    assert (ours.p, ours.degrees) == (pytest.approx(theirs.pvalue), pytest.approx(theirs.df))
    interval = theirs.confidence_interval(0.95)
    assert ours.interval == (pytest.approx(interval.low), pytest.approx(interval.high))


def test_without_spread_over_seeds_the_test_is_that_of_delong() -> None:
    first, second = draw(7, 500, distance=0.8), draw(8, 500, distance=1.0)
    ours = compare([first, first], [second, second])
    # DeLong with the two samples of a user taken together: covariance of sums of placements
    sums = np.stack([wins(scores).mean(axis=1) + wins(scores).mean(axis=0) for scores in (first, second)])
    covariance = np.cov(sums) / 500
    variance = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    assert ours.standard_error == pytest.approx(np.sqrt(variance))
    assert ours.difference == pytest.approx(auc(second) - auc(first))
    assert ours.degrees == pytest.approx(499)


def test_a_row_does_not_differ_from_itself_and_signs_turn() -> None:
    seeds = [draw(seed, 50) for seed in range(3)]
    assert compare(seeds, seeds).p == 1.0
    constant = [pairs(np.zeros(5), np.ones(5))] * 2
    assert compare(constant, constant)[:2] == (0.0, 0.0)
    others = [draw(seed, 50, distance=1.5) for seed in range(10, 13)]
    forth, back = compare(seeds, others), compare(others, seeds)
    assert forth.p == pytest.approx(back.p)
    assert forth.difference == pytest.approx(-back.difference)


@pytest.mark.parametrize("over_users", [0.2, 1.0])
@pytest.mark.parametrize("over_seeds", [0.0, 0.3])
def test_equal_rows_are_told_apart_in_at_most_five_per_cent(over_users: float, over_seeds: float) -> None:
    # A seed moves all positives of a row together, and a row sees each user in its own way: two sources of chance.
    users, trials, alarms = 150, 300, 0
    rng = np.random.default_rng(0)
    for _ in range(trials):
        rows = []
        for _ in range(2):
            own = rng.normal(size=(users, 2)) * over_users
            rows.append(
                [
                    pairs(*(own + rng.normal(size=(users, 2)) * 0.5 + [0, 1 + over_seeds * rng.normal()]).T)
                    for _ in range(4)
                ]
            )
        alarms += compare(*rows).p < 0.05
    # two and a half standard errors of a share of 0.05 of 300 are 0.031
    assert alarms / trials <= 0.081
    if (over_users, over_seeds) == (1.0, 0.0):
        assert alarms > 0  # careful, and not blind


def test_a_contrast_counts_users_once_and_the_seeds_of_every_row() -> None:
    """By how much a lead grows: the variance by its formula; of one row against one it is `compare`."""
    high, low, other, last = ([draw(10 * row + seed, 80) for seed in range(3)] for row in range(4))
    made = contrast([high, last], [low, other])
    signs = {1: (high, last), -1: (low, other)}
    auc_of = {sign: [np.array([auc(scores) for scores in row]) for row in rows] for sign, rows in signs.items()}
    users = sum(
        sign * np.mean([user_terms(scores)[1] for scores in row], axis=0)
        for sign, rows in signs.items()
        for row in rows
    )
    seeds = sum(float(aucs.var(ddof=1)) / 3 for rows in auc_of.values() for aucs in rows)
    assert made.difference == pytest.approx(sum(sign * sum(map(np.mean, rows)) for sign, rows in auc_of.items()))
    assert made.standard_error**2 == pytest.approx(np.var(users, ddof=1) / 80 + seeds)
    assert contrast([low], [high]) == compare(high, low)
    with pytest.raises(ValueError, match="same users, got 80 and 81"):
        contrast([high, last], [low, [draw(0, 81), draw(1, 81)]])


def test_a_test_needs_two_seeds() -> None:
    with pytest.raises(ValueError, match="two seeds, got 1 and 2"):
        compare([draw(0, 9)], [draw(1, 9), draw(2, 9)])
    with pytest.raises(ValueError, match="two seeds are needed, got 1"):
        estimate([draw(0, 9)])


def test_the_estimate_of_one_row_adds_both_variances() -> None:
    seeds = [draw(seed, 200) for seed in range(4)]
    made = estimate(seeds)
    aucs = [auc(scores) for scores in seeds]
    users = np.mean([user_terms(scores)[1] for scores in seeds], axis=0).var(ddof=1) / 200
    assert made.difference == pytest.approx(np.mean(aucs))
    assert made.standard_error**2 == pytest.approx(users + np.var(aucs, ddof=1) / 4)
    assert made.interval.low < made.difference < made.interval.high


def test_the_interval_of_an_auc_stays_within_0_and_1() -> None:
    far_apart = [draw(0, 30, distance=-1.0), draw(1, 30, distance=5.0)]
    made = estimate(far_apart)
    assert made.interval.low < 0
    assert made.interval.high > 1
    assert made.auc_interval == (0.0, 1.0)
    assert estimate([draw(seed, 200) for seed in range(4)]).auc_interval[0] > 0


def test_holm_is_bonferroni_on_every_intersection() -> None:
    """The closed test (Marcus, Peritz and Gabriel, 1976), of which Holm's procedure is the short way.

    A hypothesis falls when every set of hypotheses that it is in falls by Bonferroni: its p is the largest of theirs.
    """
    rng = np.random.default_rng(0)
    for count in (1, 2, 3, 5, 7):
        subsets = [[i for i in range(count) if bits >> i & 1] for bits in range(1, 2**count)]
        for p in (rng.random(count), rng.random(count) ** 4, np.round(rng.random(count), 1)):  # the last with ties
            bonferroni = [min(1.0, len(subset) * p[subset].min()) for subset in subsets]
            closed = [max(q for q, s in zip(bonferroni, subsets, strict=True) if i in s) for i in range(count)]
            assert holm(p.tolist()) == pytest.approx(closed, abs=1e-12)


def test_holm_on_a_published_example() -> None:
    """Benjamini and Hochberg (1995), 15 comparisons of two treatments: three fall at 0.05 by any control of the
    familywise error (Bonferroni and Hochberg, between which Holm lies).
    """
    p_values = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262, 0.5719]
    p_values += [0.6528, 0.7590, 1.0]
    assert [p < 0.05 for p in holm(p_values)] == [True] * 3 + [False] * 12


def test_holm_by_hand() -> None:
    # sorted 0.005 0.01 0.03 0.04 times 4 3 2 1 = 0.02 0.03 0.06 0.04, then never falling
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []
    assert holm([0.03]) == [0.03]
