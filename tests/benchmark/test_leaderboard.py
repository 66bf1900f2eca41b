"""The committed board: its pages are what its records say, and its ranks bear out its AUC."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from benchmark.leaderboard import add_runs, build, verify
from benchmark.records import read_records
from benchmark.scores import read_scores
from datamodules.errors import UserError

BOARD = Path(__file__).parents[2] / "leaderboards"
ONE = Path("sports", "arxiv-v1", "dien-official", "seed-0")


@pytest.mark.timeout(600)  # it grows with the board
def test_pages_are_not_stale(tmp_path: Path) -> None:
    board = tmp_path / "leaderboards"
    for name in ("records", "probes"):
        shutil.copytree(BOARD / name, board / name)
    shutil.copyfile(BOARD / "table1.csv", board / "table1.csv")
    shutil.copyfile(BOARD.parent / "README.md", tmp_path / "README.md")
    written = build(board)
    assert {"claims.md", "README.md", "table4-arxiv-v1-official.csv", "index.html"} <= {path.name for path in written}
    assert (tmp_path / "README.md").read_text() == (BOARD.parent / "README.md").read_text()
    for path in written:
        if path.suffix not in (".png", ".svg"):
            committed = BOARD / path.relative_to(board)
            assert path.read_bytes() == committed.read_bytes(), f"{committed}: run make leaderboard"


def test_ranks_give_the_auc_of_the_record() -> None:
    records = read_records(BOARD / "records")
    assert records
    for record in records:
        scores = read_scores(record.path.parent)
        assert scores is not None
        for checkpoint, auc in zip(scores, (record.reported_auc, record.auc.last, record.auc.test), strict=True):
            if checkpoint is None:
                assert record.selection == "test"
                continue
            label = np.repeat([0, 1], len(checkpoint))
            ranks = np.concatenate([checkpoint.negative, checkpoint.positive])
            assert roc_auc_score(label, ranks) == pytest.approx(auc, abs=1e-6)
    assert verify(BOARD) == (len(records), [])


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder made of a committed record: its ranks serve as predictions."""
    folder = tmp_path / "runs" / ONE
    shutil.copytree(BOARD / "records" / ONE, folder)
    scores = read_scores(folder)
    assert scores is not None
    columns = {
        name: np.stack([c.negative, c.positive], axis=1).ravel() / 1e4
        for name, c in zip(("score", "score_last"), scores[:2], strict=True)
    }
    pd.DataFrame({"user": 0, "label": np.tile([0, 1], len(scores.last)), **columns}).to_parquet(
        folder / "predictions.parquet"
    )
    (folder / "ranks.parquet").unlink()
    return folder


def test_a_run_comes_with_its_ranks_and_without_its_predictions(run: Path, tmp_path: Path) -> None:
    board = tmp_path / "board"
    assert add_runs(tmp_path / "runs", board) == (1, 0)
    target = board / "records" / ONE
    assert sorted(path.name for path in target.iterdir()) == ["metrics.csv", "ranks.parquet", "record.json"]
    assert (target / "ranks.parquet").read_bytes() == (BOARD / "records" / ONE / "ranks.parquet").read_bytes()
    assert add_runs(tmp_path / "runs", board) == (0, 1)
    (target / "ranks.parquet").unlink()
    assert verify(board) == (0, [target])
    assert add_runs(tmp_path / "runs", board) == (0, 1)
    assert verify(board) == (1, [])


def test_predictions_on_the_board_become_ranks(run: Path, tmp_path: Path) -> None:
    board = tmp_path / "board"
    shutil.copytree(tmp_path / "runs", board / "records")
    assert add_runs(board / "records", board) == (0, 1)
    assert sorted(path.name for path in (board / "records" / ONE).iterdir()) == [
        "metrics.csv",
        "ranks.parquet",
        "record.json",
    ]


def test_a_run_that_claims_too_much_is_refused(run: Path, tmp_path: Path) -> None:
    predictions = pd.read_parquet(run / "predictions.parquet")
    predictions.assign(score=1 - predictions.score).to_parquet(run / "predictions.parquet")
    with pytest.raises(UserError, match="claimed"):
        add_runs(tmp_path / "runs", tmp_path / "board")
    (run / "predictions.parquet").unlink()
    with pytest.raises(UserError, match=r"lacks predictions.parquet"):
        add_runs(tmp_path / "runs", tmp_path / "board")
    assert not (tmp_path / "board" / "records").exists()


def test_a_record_that_claims_too_much_does_not_verify(tmp_path: Path) -> None:
    shutil.copytree(BOARD / "records" / ONE, tmp_path / "records" / ONE)
    path = tmp_path / "records" / ONE / "record.json"
    record = json.loads(path.read_text())
    record["auc"]["last"] += 2e-6
    path.write_text(json.dumps(record))
    with pytest.raises(UserError, match="the predictions of the last checkpoint give AUC"):
        verify(tmp_path)


def copied(tmp_path: Path) -> Path:
    """A board of one run."""
    shutil.copytree(BOARD / "records" / ONE, tmp_path / "records" / ONE)
    return tmp_path / "records" / ONE


@pytest.mark.parametrize("name", ["last", "test"])
def test_each_claimed_auc_is_verified(tmp_path: Path, name: str) -> None:
    path = copied(tmp_path) / "record.json"
    record = json.loads(path.read_text())
    assert verify(tmp_path) == (1, [])
    record["auc"][name] += 2e-6
    path.write_text(json.dumps(record))
    with pytest.raises(UserError, match="checkpoint give AUC"):
        verify(tmp_path)


def test_the_best_on_test_is_verified_where_another_checkpoint_is_reported(tmp_path: Path) -> None:
    path = copied(tmp_path) / "record.json"
    record = json.loads(path.read_text()) | {"selection": "validation"}
    record["auc"] |= {"validation": record["auc"]["test"], "test": record["auc"]["test"] + 2e-6}
    path.write_text(json.dumps(record))
    with pytest.raises(UserError, match="the best on test checkpoint give AUC"):
        verify(tmp_path)


def test_ranks_of_nobody_bear_nothing_out(tmp_path: Path) -> None:
    path = copied(tmp_path) / "ranks.parquet"
    pd.read_parquet(path).iloc[:0].to_parquet(path)
    with pytest.raises(UserError, match="it has 0 rows"):
        verify(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b"[" * 100_000, b'{"seed": ' + b"9" * 5000 + b"}"])
def test_a_damaged_record_on_the_board(tmp_path: Path, content: bytes) -> None:
    path = copied(tmp_path) / "record.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"record\.json .*Delete that run's folder"):
        build(tmp_path)
