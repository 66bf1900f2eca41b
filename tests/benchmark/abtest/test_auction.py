"""The auction against hand-worked examples and a slow loop."""

import itertools
import math
import re
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from benchmark.abtest.auction import CLICKS, COST, IMPRESSIONS, PREDICTED, VALUE, outcomes, per_user, second_price
from benchmark.abtest.budgets import Bias, BudgetRow, bias, budget_rows, run_with_budgets
from benchmark.abtest.experiment import CONTROL, ORACLE, with_checks
from benchmark.abtest.gains import Gain
from benchmark.abtest.offline import isotonic
from benchmark.abtest.table import _budgets
from benchmark.analysis.comparison import Interval
from datamodules.errors import UserError
from tests.benchmark.abtest.toy import toy, toy_predictions, toy_workload


def test_hand_worked() -> None:
    predicted = np.array([[0.10, 0.20, 0.05], [0.10, 0.10, 0.10], [0.5, 0.5, 0.5], [0.9, 0.1, 0.1]])
    bids = np.array([[3.0, 1.0, 5.0], [2.0, 0.4, 0.3], [0.4, 0.1, 0.2], [0.4, 1.0, 3.0]])
    sales = second_price(predicted, bids, reserve=0.5)
    # Scores .30 .20 .25: the first pays .25 / .10. One bids the reserve: it pays that. None bids it.
    # The best score, .36, does not bid the reserve; of .1 and .3 the last wins and pays .1 / .1.
    np.testing.assert_array_equal(sales.winner, [0, 0, -1, 2])
    np.testing.assert_allclose(sales.price, [2.5, 0.5, 0.0, 1.0])

    truth = np.full((4, 3), 0.25)
    counts = outcomes(sales, truth, bids, predicted, chance=np.array([0.2, 0.3, 0.0, 0.25]))
    np.testing.assert_allclose(counts[:, IMPRESSIONS], [1, 1, 0, 1])
    np.testing.assert_allclose(counts[:, CLICKS], [1, 0, 0, 0])
    np.testing.assert_allclose(counts[:, COST], [2.5, 0, 0, 0])
    np.testing.assert_allclose(counts[:, VALUE], [3.0, 0, 0, 0])
    np.testing.assert_allclose(counts[:, PREDICTED], [0.1, 0.1, 0, 0.1])
    expected = outcomes(sales, truth, bids, predicted)
    np.testing.assert_allclose(expected[:, COST], [0.625, 0.125, 0, 0.25])
    np.testing.assert_allclose(per_user(expected, np.array([2, 0, 2, 2]), 3)[:, CLICKS], [0.25, 0.0, 0.5])


def test_slow_loop() -> None:
    rng = np.random.default_rng(0)
    predicted, bids = rng.uniform(0.01, 0.5, (300, 7)), rng.lognormal(sigma=1.0, size=(300, 7))
    sales = second_price(predicted, bids, reserve=0.8)
    for i in range(300):
        ranked = sorted(((b * p, k) for k, (b, p) in enumerate(zip(bids[i], predicted[i], strict=True)) if b >= 0.8))
        winner, price = -1, 0.0
        if ranked:
            winner = ranked[-1][1]
            price = max(ranked[-2][0] / predicted[i, winner] if len(ranked) > 1 else 0.0, 0.8)
            assert price <= bids[i, winner] + 1e-12
        assert sales.winner[i] == winner
        assert sales.price[i] == pytest.approx(price)


@pytest.mark.parametrize("wrong", [0.0, -0.1, float("nan")])
def test_a_prediction_that_is_no_click_rate(wrong: float) -> None:
    with pytest.raises(UserError, match="above 0"):
        second_price(np.array([[0.1, wrong]]), np.ones((1, 2)))


def test_budgets_against_a_loop() -> None:
    rng = np.random.default_rng(1)
    scores, bids = rng.uniform(0.1, 0.9, (2, 60, 4)), rng.lognormal(size=(60, 4))
    truth, advertiser = rng.uniform(0.1, 0.9, (60, 4)), rng.integers(5, size=(60, 4))
    arm, budgets = rng.integers(2, size=(1, 60)), rng.uniform(0, 3, (2, 5))
    found = run_with_budgets(scores, bids, truth, advertiser=advertiser, arm=arm, pot=arm, budgets=budgets, reserve=0.2)
    left, cost, shown = budgets.copy(), np.zeros(2), 0
    for i, a in enumerate(arm[0]):
        able = [k for k in range(4) if left[a, advertiser[i, k]] > 0 and bids[i, k] >= 0.2]
        able.sort(key=lambda k: bids[i, k] * scores[a, i, k])
        if able:
            second = bids[i, able[-2]] * scores[a, i, able[-2]] if len(able) > 1 else 0.0
            paid = truth[i, able[-1]] * max(second / scores[a, i, able[-1]], 0.2)
            cost[a] += paid
            left[a, advertiser[i, able[-1]]] -= paid
            shown += 1
    assert 0 < shown < 60  # some requests found nobody with money
    np.testing.assert_allclose(found[0, :, COST], cost)
    np.testing.assert_allclose(found[0, :, IMPRESSIONS], np.bincount(arm[0]))


def test_common_budgets_bias_the_test() -> None:
    """Where every budget is spent, no model can earn more; common pots say that the better one does."""
    workload = toy_workload(toy(), candidates=20, requests=1500)
    predictions = with_checks({CONTROL: toy_predictions(workload)[CONTROL]}, workload.truth, 0)
    rows = {row.arm: row for row in budget_rows(predictions, workload, 0.5, splits=20, advertisers=5)}
    assert abs(rows[ORACLE].alone) < 0.02
    assert abs(rows[ORACLE].split.value) < 0.1
    assert rows[ORACLE].common.interval.low > 0.1
    found = bias(list(rows.values()), "common")
    assert found.verdict == "biased"
    assert ORACLE in found.arms


def printed(value: float, low: float, high: float, tests: int = 40) -> Gain:
    """A gain of many tests from its interval, in per cent."""
    ends = [math.log1p(end / 100) for end in (low, high)]
    error = (ends[1] - ends[0]) / 2 / float(stats.t.ppf(0.975, tests - 1))
    return Gain(value / 100, Interval(low / 100, high / 100), 1.0, error, 0.0)


def test_a_design_is_biased_where_an_interval_leaves_the_truth_out_and_stays_so_with_all_arms_counted() -> None:
    held, near, far = printed(1.0, -1.0, 3.0), printed(2.1, 0.1, 4.1), printed(8.0, 6.0, 10.0)

    def verdict(*gains: Gain) -> Bias:
        return bias([BudgetRow(str(at), 0.0, held, gain, 40) for at, gain in enumerate(gains)], "common")

    assert verdict(held, held) == ("not shown to be biased", ())
    assert verdict(held, near, held) == ("inconclusive", ("1",))
    assert verdict(near) == ("biased", ("0",))  # the only arm: nothing to correct for
    assert verdict(near, held, far) == ("biased", ("2",))
    assert bias([BudgetRow("0", 0.0, far, held, 40)], "split").verdict == "biased"
    assert bias([BudgetRow("0", 0.08, far, held, 40)], "split").verdict == "not shown to be biased"


def test_the_p_of_the_truth_is_that_of_a_t_test_on_logarithms() -> None:
    logs = np.random.default_rng(5).normal(0.02, 0.05, 40)
    error = float(logs.std(ddof=1) / np.sqrt(40))
    gain = Gain(math.expm1(logs.mean()), Interval(0, 0), 1.0, error, 0.0)
    for truth, count in itertools.product((-0.02, 0.0, 0.015), (1, 2, 5)):
        p = stats.ttest_1samp(logs, math.log1p(truth)).pvalue
        found = bias([BudgetRow(str(at), truth, gain, gain, 40) for at in range(count)], "split").verdict
        assert (found == "biased") == (p * count < 0.05)
        assert (found == "not shown to be biased") == (p >= 0.05)
    same = Gain(0.0, Interval(0, 0), 1.0, 0.0, 0.0)
    assert bias([BudgetRow("0", 0.0, same, same, 40)], "split").verdict == "not shown to be biased"
    assert bias([BudgetRow("0", 0.1, same, same, 40)], "split").verdict == "biased"


def test_the_committed_page_says_of_budgets_what_its_figures_give() -> None:
    text = (Path(__file__).parents[3] / "leaderboards/abtest/table5.md").read_text("utf-8")
    section = text.partition("where budgets bind\n")[2].partition("\nSimulated: users")[0]
    lines = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| ")][2:]
    rows = []
    for arm, alone, *gains in lines:
        split, common = (printed(*map(float, re.findall(r"[-+][\d.]+", gain))) for gain in gains)
        rows.append(BudgetRow(arm, float(alone) / 100, split, common, 40))
    assert len(rows) == 5
    assert _budgets(rows).note in section


def test_isotonic_calibration() -> None:
    rng = np.random.default_rng(2)
    truth = rng.uniform(0.02, 0.3, 20_000)
    clicked = (rng.random(20_000) < truth).astype(np.int8)
    calibrate = isotonic(truth**2, clicked)  # the right order, far too low
    mended = calibrate(truth.reshape(100, 200) ** 2)
    assert mended.shape == (100, 200)
    assert mended.mean() == pytest.approx(clicked.mean(), rel=1e-4)
    assert np.abs(mended.ravel() - truth).mean() < 0.01
    low, high = calibrate(np.array([0.0, 1.0]))  # outside of what was seen
    assert 0 < low < high <= 1
