"""The committed board: its pages are what its records say, and its predictions bear out its AUC."""

import shutil
from pathlib import Path

import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from benchmark.leaderboard import add_runs, build
from benchmark.records import read_records
from datamodules.errors import UserError

BOARD = Path(__file__).parents[2] / "leaderboards"


def test_tables_and_index_are_not_stale(tmp_path: Path) -> None:
    board = tmp_path / "leaderboards"
    shutil.copytree(BOARD / "records", board / "records")
    shutil.copyfile(BOARD.parent / "README.md", tmp_path / "README.md")
    written = build(board)
    assert (tmp_path / "README.md").read_text() == (BOARD.parent / "README.md").read_text()
    for path in written:
        if path.suffix in (".md", ".csv"):
            assert path.read_bytes() == (BOARD / path.name).read_bytes(), f"{path.name}: run make leaderboard"


def test_predictions_give_the_auc_of_the_record() -> None:
    records = read_records(BOARD / "records")
    assert records
    for record in records:
        predictions = pd.read_parquet(record.path.parent / "predictions.parquet")
        assert roc_auc_score(predictions.label, predictions.score) == pytest.approx(record.reported_auc, abs=1e-6)
        assert roc_auc_score(predictions.label, predictions.score_last) == pytest.approx(record.auc.last, abs=1e-6)


def test_a_run_that_claims_too_much_is_refused(tmp_path: Path) -> None:
    run = tmp_path / "runs" / "sports" / "arxiv-v1" / "dien-official" / "seed-0"
    shutil.copytree(BOARD / "records" / "sports" / "arxiv-v1" / "dien-official" / "seed-0", run)
    predictions = pd.read_parquet(run / "predictions.parquet")
    predictions.assign(score=1 - predictions.score).to_parquet(run / "predictions.parquet")
    with pytest.raises(UserError, match="claimed"):
        add_runs(tmp_path / "runs", tmp_path / "board")
    assert not (tmp_path / "board" / "records").exists()
