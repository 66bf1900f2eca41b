"""The verdict on a printed figure, against SciPy's own Welch test and a hand-worked interval."""

import numpy as np
import pytest
from scipy import stats

from benchmark.analysis.printed import PRINTED_RUNS, ROUNDING, verdict
from benchmark.records.paper import Auc


@pytest.mark.parametrize("seeds", [2, 3, 5, 9])
def test_it_is_welchs_test_behind_half_a_digit(seeds: int) -> None:
    rng = np.random.default_rng(seeds)
    found = set()
    for _ in range(200):
        mean, std, printed_std = 0.78 + rng.normal(0, 0.004), rng.uniform(1e-4, 4e-3), rng.uniform(1e-4, 4e-3)
        shift = np.sign(mean - 0.78) * ROUNDING
        p = stats.ttest_ind_from_stats(
            mean - shift, std, seeds, 0.78, printed_std, PRINTED_RUNS, equal_var=False
        ).pvalue
        expected = "agrees" if p >= 0.05 or abs(mean - 0.78) <= ROUNDING else "higher" if mean > 0.78 else "lower"
        assert verdict(mean, std, seeds, Auc(0.78, printed_std)) == expected
        found.add(expected)
    assert len(found) > 1


def test_against_a_single_run() -> None:
    """Five seeds at 0.88 ± 0.001: one more lies within 2.776 * 0.001 * sqrt(1 + 1 / 5) = 0.00304 in 95 of 100 cases."""
    for printed, expected in ((0.88308, "agrees"), (0.88312, "lower"), (0.87692, "agrees"), (0.87688, "higher")):
        assert verdict(0.88, 0.001, 5, Auc(printed)) == expected


def test_what_cannot_be_said() -> None:
    assert verdict(0.88, None, 1, Auc(0.88)) == "not tested"
    assert verdict(0.88, 0.001, 5, None) == verdict(None, None, 0, Auc(0.88)) == ""
    assert verdict(0.88, 0.0, 3, Auc(0.88)) == "agrees"
    assert verdict(0.89, 0.0, 3, Auc(0.88)) == "higher"
