"""Predictions and their ranks: the same AUC to the last bit, and clear words about a damaged file."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import roc_auc_score

from benchmark.analysis.comparison import placements
from benchmark.analysis.metrics import auc, gauc
from benchmark.records import predictions as scores
from benchmark.records.predictions import PREDICTIONS, rank_samples, read_scores, scores_of_samples
from datamodules.errors import UserError
from tests.benchmark.boards import pairs


def predictions(users: int, paired: bool) -> pd.DataFrame:
    """Probabilities as sure models give them: many within 1e-9 of 0 and 1, and some ties."""
    rng = np.random.default_rng(0)
    user, label = np.repeat(rng.permutation(users), 2), np.tile([0, 1], users)
    if not paired:
        user, label = rng.integers(users, size=2 * users), rng.integers(2, size=2 * users)
    score = 1 / (1 + np.exp(-(rng.normal(size=2 * users) * 12 + np.where(label, 5, -5))))
    score[: users // 2] = np.round(score[: users // 2], 2)
    return pd.DataFrame(
        {
            **{"user": user, "label": label, "score": score, "score_last": score**2},
            "score_test": score + (score > 0.5) * rng.normal(size=2 * users),
        }
    )


@pytest.mark.parametrize("paired", [True, False])
def test_ranks_give_what_predictions_give(paired: bool, tmp_path: Path) -> None:
    table = predictions(500, paired)
    table.to_parquet(tmp_path / "predictions.parquet")
    exact = read_scores(tmp_path)
    assert exact is not None
    assert auc(exact.reported) == pytest.approx(roc_auc_score(table.label, table.score), abs=1e-12)
    for before in exact:
        assert before is not None
        after = replace(before, score=rank_samples(before).astype(np.float64))
        assert (auc(after), gauc(after)) == (auc(before), gauc(before))
        for one, other in zip(placements(before), placements(after), strict=True):
            np.testing.assert_array_equal(one, other)


def test_ranks_keep_every_comparison_of_a_positive_with_a_negative_and_nothing_else() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        exact = pairs(*rng.integers(0, 12, size=(2, 15)).astype(np.float64))
        negative, positive = rank_samples(exact).reshape(2, -1)
        for i in range(15):
            for j in range(15):
                before = np.sign(exact.positive[i] - exact.negative[j])
                assert np.sign(positive[i] - negative[j]) == before
        ranks = sorted({*negative.tolist(), *positive.tolist()})
        assert ranks == list(range(1, len(ranks) + 1))
        kinds = ["n" * (rank in negative) + "p" * (rank in positive) for rank in ranks]
        assert not [pair for pair in pairwise(kinds) if pair in (("n", "n"), ("p", "p"))]


def test_no_predictions_are_no_error(tmp_path: Path) -> None:
    assert read_scores(tmp_path) is None


def test_damaged_files_are_named(tmp_path: Path) -> None:
    name = "predictions.parquet"
    (tmp_path / name).write_bytes(b"PAR1 and no more")
    with pytest.raises(UserError, match=name):
        read_scores(tmp_path)
    pd.DataFrame({"label": [0, 1]}).to_parquet(tmp_path / name)
    with pytest.raises(UserError, match="does not hold the scores of a run"):
        read_scores(tmp_path)


def test_samples_are_sorted_and_users_numbered_as_they_come() -> None:
    user, label = np.array([70, 20, 70, 20, 70, 5]), np.array([1, 1, 0, 0, 1, 0])
    found = scores_of_samples(user, label, np.arange(6.0))
    assert found.user.tolist() == [0, 1, 2, 0, 0, 1]
    assert (found.negative.tolist(), found.positive.tolist()) == ([2, 3, 5], [0, 4, 1])
    assert (found.users, found.counts) == (3, "6 samples of 3 test users")


def test_labels_must_be_of_both_kinds(tmp_path: Path) -> None:
    for labels in ([1, 1], [0, 2], [0, 0.5, 1]):
        with pytest.raises(ValueError, match="labels are not 0 and 1, both"):
            scores_of_samples(np.zeros(len(labels)), np.array(labels), np.zeros(len(labels)))
    predictions(4, True).assign(label=0).to_parquet(tmp_path / "predictions.parquet")
    with pytest.raises(UserError, match="labels are not 0 and 1, both"):
        read_scores(tmp_path)


def test_files_that_hold_no_scores(tmp_path: Path) -> None:
    """An empty file has no AUC, which no comparison with a claim would notice."""
    path = tmp_path / PREDICTIONS
    columns = ("score", "score_last", "label", "user")
    sound: dict[str, object] = {"score": [1.0, 2.0], "score_last": [1.0, 2.0], "label": [0, 1], "user": [3, 3]}
    for table, reason in (
        (dict.fromkeys(columns, np.array([], np.int32)), "it has 0 rows"),
        (sound | {columns[0]: ["a", "b"]}, f"its column '{columns[0]}' has no numbers"),
        (sound | {columns[0]: [1.0, np.nan]}, "cells without a number"),
        (sound | {columns[0]: pa.array([1.0, None])}, "empty cells"),
        (sound | {"more": ["x", "y"]}, "its column 'more' has no numbers"),
        ({columns[0]: [1.0, 2.0], "score_last": [1.0, 2.0], "user": [3, 3]}, "label"),
        ({columns[0]: [1.0, 2.0], "score_last": [1.0, 2.0], "label": [0, 1]}, "user"),
    ):
        pq.write_table(pa.table(table), path)
        with pytest.raises(UserError, match=reason):
            read_scores(tmp_path)


def test_a_small_file_of_endless_rows_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scores, "MOST_ROWS", 1000)
    pq.write_table(
        pa.table({name: np.zeros(1001) for name in ("label", "score", "score_last")}), tmp_path / PREDICTIONS
    )
    with pytest.raises(UserError, match="it has 1,001 rows, expected 1 to 1,000"):
        read_scores(tmp_path)
