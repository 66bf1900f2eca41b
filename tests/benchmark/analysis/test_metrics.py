"""Metrics of any number of samples a user, against scikit-learn and loops over users."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit
from sklearn.metrics import log_loss, roc_auc_score

from benchmark.analysis.metrics import METRICS, auc, calibration, gauc, logloss
from benchmark.records.predictions import Scores, scores_of_samples


def draw(seed: int, users: int = 40, samples: int = 250, decimals: int = 1) -> Scores:
    """Probabilities with ties; of some users all samples have one label, and samples are in no order."""
    rng = np.random.default_rng(seed)
    user = rng.integers(users, size=samples)
    score = np.round(rng.uniform(0.01, 0.99, size=samples), decimals).clip(0.05, 0.95)
    return scores_of_samples(user, (rng.uniform(size=samples) < score**2).astype(int), score)


@pytest.mark.parametrize("decimals", [1, 8])
def test_metrics_of_all_samples_are_those_of_scikit_learn(decimals: int) -> None:
    scores = draw(1, decimals=decimals)
    assert auc(scores) == pytest.approx(roc_auc_score(scores.label, scores.score), abs=1e-12)
    assert logloss(scores) == pytest.approx(log_loss(scores.label, scores.score), rel=1e-12)
    assert calibration(scores) == pytest.approx(sum(scores.score.tolist()) / sum(scores.label.tolist()), rel=1e-12)


@pytest.mark.parametrize("decimals", [1, 8])
def test_gauc_is_the_weighted_mean_over_users_with_both_labels(decimals: int) -> None:
    scores = draw(2, decimals=decimals)
    aucs, weights = [], []
    for user in range(scores.users):
        mine = scores.user == user
        if len(set(scores.label[mine].tolist())) == 2:
            aucs.append(roc_auc_score(scores.label[mine], scores.score[mine]))
            weights.append(mine.sum())
    assert len(aucs) < scores.users  # some are left out
    assert gauc(scores) == pytest.approx(np.average(aucs, weights=weights), abs=1e-12)


@pytest.mark.parametrize("decimals", [1, 8])
def test_users_with_a_sample_of_each_label(decimals: int) -> None:
    """As Amazon's are: their AUCs are 0, 1/2 or 1. Beside one user of another make-up they stay the same."""
    rng = np.random.default_rng(4)
    user, label = np.repeat(np.arange(60), 2), np.tile([1, 0], 60)
    score = np.round(rng.uniform(size=120), decimals)
    expected = [roc_auc_score(label[user == one], score[user == one]) for one in range(60)]
    assert (0.5 in expected) == (decimals == 1)
    found, aucs, samples = scores_of_samples(user, label, score).user_aucs
    assert found.tolist() == list(range(60))
    assert aucs.tolist() == expected
    assert samples.tolist() == [2] * 60
    more = scores_of_samples(np.append(user, [60, 60]), np.append(label, [1, 1]), np.append(score, [0.5, 0.6]))
    assert more.user_aucs[1].tolist() == expected


def test_gauc_of_users_with_one_label_each_is_not_known() -> None:
    assert np.isnan(gauc(scores_of_samples(np.array([0, 1, 1]), np.array([0, 1, 1]), np.arange(3.0))))


def test_sure_and_wrong_probabilities_have_a_finite_log_loss() -> None:
    scores = replace(draw(3), score=draw(3).label.astype(float))
    assert logloss(scores) == pytest.approx(0, abs=1e-15)
    wrong, clicked = logloss(replace(scores, score=1 - scores.score)), scores.label.mean()
    limits = np.finfo(float)
    assert wrong == pytest.approx(-clicked * np.log(limits.tiny) - (1 - clicked) * np.log(limits.eps))


def test_a_click_held_for_all_but_impossible_costs_what_the_logit_says() -> None:
    """In training the log loss comes from logits: -70 on a click costs 70 nats, where scikit-learn stops at 36."""
    logits = np.array([-70.0, 0.0])
    scores = scores_of_samples(np.array([0, 1]), np.array([1, 0]), expit(logits))
    assert logloss(scores) == pytest.approx((70 + np.log(2)) / 2, rel=1e-12)


def test_metrics_by_order_are_those_that_a_growing_function_of_scores_leaves() -> None:
    scores = draw(4)
    kept = {
        name: metric.of(scores) == metric.of(replace(scores, score=scores.score**3)) for name, metric in METRICS.items()
    }
    assert kept == {name: metric.by_order for name, metric in METRICS.items()}
