"""Gains and their intervals against formulas, the bootstrap and samples whose truth is known."""

import math

import numpy as np
import pytest
from scipy.stats import chisquare, norm, ttest_ind

from benchmark.abtest.auction import CLICKS, COLUMNS, COST, IMPRESSIONS
from benchmark.abtest.experiment import assign, sample_ratio
from benchmark.abtest.gains import (
    METRICS,
    Totals,
    bootstrap_interval,
    gain,
    identity_error,
    metric,
    paired_gain,
    seeds_together,
)  # fmt: skip
from benchmark.records import paper
from datamodules.errors import UserError


def users_of_an_arm(
    rng: np.random.Generator, users: int = 800, seeds: int = 1, rate: float = 0.2, price: float = 1.0
) -> tuple[Totals, np.ndarray]:
    """Users who come a different number of times and click more or less, and the clicks of the day before."""
    shown = rng.poisson(rng.gamma(2.0, 5.0, users)) + 1
    liking = rng.gamma(4.0, 0.25, users)
    totals = np.zeros((seeds, users, COLUMNS))
    totals[..., IMPRESSIONS] = shown
    totals[..., CLICKS] = rng.binomial(shown, np.minimum(rate * liking, 1.0), (seeds, users))
    totals[..., COST] = price * rng.gamma(np.maximum(totals[..., CLICKS], 1e-9))
    before = rng.binomial(30, np.minimum(0.2 * liking, 1.0))
    return totals, np.column_stack([before, np.ones(users)])


def test_metrics_and_identity() -> None:
    rng = np.random.default_rng(0)
    (treatment, x), (control, z) = users_of_an_arm(rng, rate=0.25, seeds=3), users_of_an_arm(rng, seeds=3)
    sums = treatment.sum(axis=(0, 1))
    assert metric(treatment, "ctr") == pytest.approx(sums[CLICKS] / sums[IMPRESSIONS])
    assert metric(treatment, "ppc") == pytest.approx(sums[COST] / sums[CLICKS])
    assert metric(treatment, "ecpm") == pytest.approx(1000 * sums[COST] / sums[IMPRESSIONS])
    for covariates in (None, (x, z)):
        found = [gain(treatment, control, name, covariates).value for name in METRICS]
        assert identity_error(*found) == pytest.approx(0, abs=1e-12)
    assert gain(treatment, control, "ctr").value == pytest.approx(metric(treatment, "ctr") / metric(control, "ctr") - 1)


def test_the_printed_table_obeys_the_identity() -> None:
    for gains in paper.ONLINE_GAINS.values():
        assert abs(identity_error(*(gains[name] for name in METRICS))) < 0.0005  # printed to 0.1 %


def test_interval_agrees_with_the_bootstrap() -> None:
    rng = np.random.default_rng(1)
    (treatment, _), (control, _) = users_of_an_arm(rng, rate=0.25), users_of_an_arm(rng)
    for name in METRICS:
        found = gain(treatment, control, name).interval
        drawn = bootstrap_interval(treatment, control, name, rng)
        width = found.high - found.low
        assert found.low == pytest.approx(drawn.low, abs=0.08 * width)
        assert found.high == pytest.approx(drawn.high, abs=0.08 * width)


def test_equal_users_are_a_t_test() -> None:
    """Where every user comes once, the gain in CTR is one of means: its error is that of the two means."""
    rng = np.random.default_rng(2)
    arms = []
    for rate in (0.3, 0.25):
        totals = np.ones((1, 500, COLUMNS))
        totals[0, :, CLICKS] = rng.random(500) < rate
        arms.append(totals)
    clicks = [arm[0, :, CLICKS] for arm in arms]
    error = math.sqrt(sum(c.var(ddof=1) / 500 / c.mean() ** 2 for c in clicks))
    found = gain(*arms, "ctr")
    assert found.standard_error == pytest.approx(error)
    assert found.smallest == pytest.approx(math.expm1((norm.ppf(0.975) + norm.ppf(0.8)) * error), rel=0.005)
    assert found.p == pytest.approx(ttest_ind(*clicks, equal_var=False).pvalue, abs=0.005)  # not of logarithms


def test_seeds_count() -> None:
    """A seed that moves all users of an arm widens the interval; the same one in both arms does not."""
    rng = np.random.default_rng(3)
    (treatment, _), (control, _) = users_of_an_arm(rng, seeds=1), users_of_an_arm(rng, seeds=1)
    moved = np.array([0.8, 1.0, 1.2])[:, None]
    ours, theirs = np.repeat(treatment, 3, axis=0), np.repeat(control, 3, axis=0)
    still = gain(ours, theirs, "ctr")
    ours[..., CLICKS] *= moved
    alone = gain(ours, theirs, "ctr")
    assert alone.standard_error**2 == pytest.approx(still.standard_error**2 + 0.2**2 / 3)
    assert gain(seeds_together(ours), seeds_together(theirs), "ctr").standard_error == pytest.approx(
        still.standard_error
    )
    theirs[..., CLICKS] *= moved
    assert gain(ours, theirs, "ctr").standard_error == pytest.approx(still.standard_error)


def test_cuped_is_shorter_and_right() -> None:
    """Over many tests: the mean gain is the true one, with and without, and the intervals have it in them."""
    rng = np.random.default_rng(4)
    found: dict[str, list[tuple[float, float, bool]]] = {"plain": [], "cuped": []}
    for _ in range(200):
        (treatment, x), (control, z) = users_of_an_arm(rng, rate=0.22), users_of_an_arm(rng)
        for way, covariates in (("plain", None), ("cuped", (x, z))):
            one = gain(treatment, control, "ctr", covariates)
            found[way].append((one.value, one.standard_error, one.interval.low <= 0.1 <= one.interval.high))
    for tests in found.values():
        values, errors, covered = (np.array(column) for column in zip(*tests, strict=True))
        assert values.mean() == pytest.approx(0.1, abs=4 * values.std() / math.sqrt(200))
        assert errors.mean() == pytest.approx(np.log1p(values).std(), rel=0.15)
        assert 180 <= covered.sum() <= 199
    assert np.mean([e for _, e, _ in found["cuped"]]) < 0.9 * np.mean([e for _, e, _ in found["plain"]])


def test_paired() -> None:
    rng = np.random.default_rng(5)
    control, _ = users_of_an_arm(rng)
    assert paired_gain(control, control, "ecpm").interval == (0.0, 0.0)
    treatment = control.copy()
    treatment[..., COST] *= 1.1
    assert paired_gain(treatment, control, "ppc").interval == pytest.approx((0.1, 0.1))
    assert gain(treatment, control, "ppc").interval.high > 0.12


def test_an_arm_without_clicks() -> None:
    rng = np.random.default_rng(6)
    arm, _ = users_of_an_arm(rng)
    empty = np.zeros_like(arm)
    empty[..., IMPRESSIONS] = 1
    for name in METRICS:
        with pytest.raises(UserError, match="more requests"):
            gain(empty, arm, name)


def test_assignment_is_uniform_and_new_with_every_salt() -> None:
    users = np.arange(60_000)
    arm = assign(users, 6, "one")
    assert chisquare(np.bincount(arm)).pvalue > 0.001
    np.testing.assert_array_equal(assign(users[::-1], 6, "one"), arm[::-1])  # whoever else takes part
    together = 6 * arm + assign(users, 6, "two")
    assert chisquare(np.bincount(together, minlength=36)).pvalue > 0.001  # independent
    neighbours = 6 * arm[:-1] + arm[1:]
    assert chisquare(np.bincount(neighbours, minlength=36)).pvalue > 0.001


def test_sample_ratio() -> None:
    assert sample_ratio([1000, 1040, 980]).as_planned
    assert not sample_ratio([1000, 1300]).as_planned
