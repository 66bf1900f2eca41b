"""Advertisers with budgets, which the arms of a test share, or have split between them.

Without budgets no arm can touch another's result. With a common budget an arm that spends it early takes it from the
others; with a pot of its own for each arm it cannot, but each arm's market is smaller. Whether a design is biased is
measured: each arm alone, with the whole budgets, is the truth. Where these are spent in any case, as at SHARE, an arm
alone gains next to nothing. Source: Basse, Soufiani and Lambert (2016).
"""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from benchmark.abtest.auction import COLUMNS, COST, IMPRESSIONS, RESERVE, outcomes, second_price
from benchmark.abtest.experiment import CONTROL, Predictions, assign
from benchmark.abtest.gains import Gain, metric, paired_gain
from benchmark.abtest.workload import Workload
from benchmark.analysis.comparison import LEVEL

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
SHARE = 0.5  # of what each advertiser would spend without a budget
SPLITS = 40
ADVERTISERS = 50


def run_with_budgets(
    scores: Floats,
    bids: Floats,
    truth: Floats,
    *,
    advertiser: Ints,
    arm: Ints,
    pot: Ints,
    budgets: Floats,
    reserve: float = RESERVE,
) -> Floats:
    """Run requests in the order of time, P times side by side; return totals of each time and arm, (P, M, 5).

    scores         (M, R, K), what each arm predicts
    bids, truth    (R, K)
    advertiser     (R, K), numbers below A
    arm            (P, R), which arm serves a request
    pot            (P, R), which pots it is paid from
    budgets        (pots, A), money of each advertiser in each pot, at least 0

    Clicks are expected ones. An advertiser takes part while its pot is not empty; the last click may overdraw it.
    A request counts as an impression also where nobody has money left: eCPM is the revenue of 1,000 requests.
    """
    times = np.arange(len(arm))
    left = np.repeat(budgets[None], len(arm), axis=0)
    totals = np.zeros((len(arm), len(scores), COLUMNS))
    for i in range(len(bids)):
        at = (times[:, None], pot[:, i, None], advertiser[i])
        predicted = scores[arm[:, i], i]
        able = np.where(left[at] > 0, bids[i], 0.0)  # nothing is shown for a bid of 0
        sales = second_price(predicted, able, reserve)
        counts = outcomes(sales, np.broadcast_to(truth[i], able.shape), able, predicted)
        counts[:, IMPRESSIONS] = 1.0
        totals[times, arm[:, i]] += counts
        left[times, pot[:, i], advertiser[i, sales.winner]] -= counts[:, COST]  # 0 where nothing is shown
    return totals


class BudgetRow(NamedTuple):
    """The eCPM gain of an arm over the control where budgets bind."""

    arm: str
    alone: float  # each arm by itself on all requests, with the whole budgets: the truth
    split: Gain  # of many tests together, with a pot for each arm
    common: Gain  # the same with common pots
    tests: int  # that the gains are over


class Bias(NamedTuple):
    """Whether the tests of a design, split or common, find the gains that the arms have alone."""

    verdict: Literal["biased", "inconclusive", "not shown to be biased"]
    arms: tuple[str, ...]  # that it rests on


def bias(rows: Sequence[BudgetRow], design: Literal["split", "common"]) -> Bias:
    """Say what the intervals of a design show: whether they hold the truth, with Bonferroni's correction for the arms.

    biased                    some arm's truth is outside of its interval at 1 - 5 % / (number of arms)
    inconclusive              not so, but some arm's is outside of its 95 % interval
    not shown to be biased    every 95 % interval holds the truth
    """
    p = {row.arm: _p_of_truth(getattr(row, design), row.alone, row.tests) for row in rows}
    sure = tuple(arm for arm, found in p.items() if found < (1 - LEVEL) / len(rows))
    outside = tuple(arm for arm, found in p.items() if found < 1 - LEVEL)
    if sure:
        return Bias("biased", sure)
    return Bias("inconclusive", outside) if outside else Bias("not shown to be biased", ())


def _p_of_truth(gain: Gain, truth: float, tests: int) -> float:
    """Two-sided, of the mean of repeated tests being the truth; on logarithms, as the interval is made."""
    difference = abs(math.log1p(gain.value) - math.log1p(truth))
    if not gain.standard_error:
        return float(difference == 0)
    return float(2 * student.sf(difference / gain.standard_error, tests - 1))


def budget_rows(
    predictions: Predictions,
    workload: Workload,
    spread: float,
    *,
    share: float = SHARE,
    splits: int = SPLITS,
    advertisers: int = ADVERTISERS,
) -> list[BudgetRow]:
    """Run the test many times with split and with common budgets, and each arm alone; of the first training seed.

    share          each advertiser's budget over what it would spend with the control and no budget
    advertisers    the ads are dealt out to so many, by their numbers
    """
    arms, requests = list(predictions), len(workload.user)
    scores, bids = np.stack([predictions[name][0] for name in arms]), workload.bids(spread)
    advertiser = workload.item % advertisers

    def run(arm: Ints, pot: Ints, budgets: Floats) -> Floats:
        return run_with_budgets(scores, bids, workload.truth, advertiser=advertiser, arm=arm, pot=pot, budgets=budgets)

    place = arms.index(CONTROL)
    sales = second_price(scores[place], bids)
    spent = outcomes(sales, workload.truth, bids, scores[place])[:, COST]
    paying = advertiser[np.arange(requests), sales.winner]
    budgets: Floats = share * np.bincount(paying, spent, minlength=advertisers).astype(np.float64)[None]
    each = np.repeat(np.arange(len(arms))[:, None], requests, axis=1)
    alone = run(each, np.zeros_like(each), budgets)
    truth = [metric(alone[None, [i], i], "ecpm") for i in range(len(arms))]
    served = np.stack([assign(workload.user, len(arms), f"budgets {number}") for number in range(splits)])
    designs = [
        run(served, served, np.repeat(budgets / len(arms), len(arms), axis=0)),
        run(served, np.zeros_like(served), budgets),
    ]
    rows = []
    for i, name in enumerate(arms):
        split, common = (paired_gain(totals[None, :, i], totals[None, :, place], "ecpm") for totals in designs)
        rows += [BudgetRow(name, truth[i] / truth[place] - 1, split, common, splits)] if i != place else []
    return rows
