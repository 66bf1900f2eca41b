"""What a record claims against its predictions: in a run folder, and by the ranks that a board keeps."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from benchmark.analysis.metrics import METRICS
from benchmark.analysis.verify import check_metrics
from benchmark.records.record import Record, read_records, write_record
from benchmark.records.results import read_board, scores_of
from datamodules.errors import UserError
from tests.benchmark.boards import committed, make_board

PLACE = Path("sports/arxiv-v1/dien-official/seed-0")
UNPAIRED = 300  # samples of 60 users, whose ids are large numbers


def samples() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    user, label = rng.integers(60, size=UNPAIRED) * 1_000_003, rng.integers(2, size=UNPAIRED)
    score = 1 / (1 + np.exp(-np.round(label + rng.normal(size=UNPAIRED), 1)))
    return pd.DataFrame({"user": user, "label": label, "score": score, "score_last": score, "time": 1_400_000_000})


def make_run(root: Path, **claims: Any) -> Record:
    """A run with any number of test samples a user, and what scikit-learn says of them unless `claims` does."""
    table = samples()
    users = [each for _, each in table.groupby("user") if each.label.nunique() == 2]
    gauc = np.average([roc_auc_score(u.label, u.score) for u in users], weights=[len(u) for u in users])
    auc = float(roc_auc_score(table.label, table.score))
    fields = {name: getattr(committed()[PLACE], name) for name in ("dataset", "protocol", "model", "variant", "seed")}
    fields |= {"protocol_hash": "ab", "selection": "test", "settings": dict(committed()[PLACE].settings)}
    fields |= {"schema_version": 3, "auc": {"last": auc, "validation": None, "test": auc}, "gauc": float(gauc)}
    fields |= {
        "logloss": float(log_loss(table.label, table.score)),
        "calibration": float(table.score.sum() / table.label.sum()),
    }
    fields |= dict.fromkeys(("best_step", "epochs", "steps", "parameters", "train_seconds", "evaluation_seconds"), 1)
    fields |= {"samples_per_second": 1, "peak_memory_mb": 1, "device": "cpu", "versions": {}, "commit": None}
    fields |= {"code_sha256": "ab" * 32, "data_sha256": "ab" * 32, "sampler_version": 1, "status": "finished"}
    (root / PLACE).mkdir(parents=True)
    write_record(root / PLACE / "record.json", fields | claims)
    (root / PLACE / "metrics.csv").write_text("step,loss,test_auc\n1,0.5,0.5\n")
    table.to_parquet(root / PLACE / "predictions.parquet")
    (record,) = read_records(root)
    return record


def on_board(root: Path, **claims: Any) -> Record:
    make_run(root / "runs", **claims)
    (record,) = read_board(make_board(root / "runs", root / "board"))
    return record


def test_metrics_of_any_number_of_samples_a_user_are_borne_out(tmp_path: Path) -> None:
    assert check_metrics(make_run(tmp_path / "alone"))
    record = on_board(tmp_path)
    assert check_metrics(record)
    scores = scores_of(record)
    assert scores is not None
    # the board numbers users in the order of the test split: nobody's id is on it
    table = samples().assign(user=pd.factorize(samples().user)[0])
    expected = sorted(zip(table.label.tolist(), table.user.tolist(), strict=True))
    assert [*zip(scores.reported.label.tolist(), scores.reported.user.tolist(), strict=True)] == expected


@pytest.mark.parametrize(("name", "shown"), [("gauc", "GAUC"), ("logloss", "log loss"), ("calibration", "calibration")])
def test_another_claim_is_refused_where_what_is_stored_gives_the_metric(tmp_path: Path, name: str, shown: str) -> None:
    with pytest.raises(UserError, match=f"of the reported checkpoint give {shown} .*, claimed is 0.7"):
        check_metrics(make_run(tmp_path / "alone", **{name: 0.7}))
    record = on_board(tmp_path, **{name: 0.7})
    if name == "gauc":
        with pytest.raises(UserError, match="give GAUC"):
            check_metrics(record)
    else:
        assert check_metrics(record)  # ranks do not give it


@pytest.mark.parametrize("logit", [5.0, 23.0, 36.0, 40.0, 700.0])
@pytest.mark.parametrize("label", [0, 1])
def test_log_loss_is_held_against_predictions_near_0_and_1(tmp_path: Path, logit: float, label: int) -> None:
    """Records have that of logits in float64, which the probabilities bear out as far as they tell 1 - p from 0."""
    table = samples()
    logits = np.array(np.log(table.score / (1 - table.score)))
    at = int(np.flatnonzero(table.label == label)[0])
    logits[at] = logit if label == 0 else -logit
    loss = float(np.logaddexp(0, np.where(table.label == 1, -logits, logits)).mean())
    score = 1 / (1 + np.exp(-logits))
    for name, claimed in (("right", loss), ("low", loss - 0.02), ("high", loss + 0.02)):
        record = make_run(tmp_path / name, logloss=claimed)
        changed = table.assign(score=score, score_last=score)
        changed.to_parquet(record.path.parent / "predictions.parquet")
        found = scores_of(record)
        assert found is not None
        figures = {one: METRICS[one].of(found.reported) for one in ("auc", "gauc", "calibration")}
        aucs = replace(record.auc, last=figures["auc"], test=figures["auc"])
        record = replace(record, auc=aucs, gauc=figures["gauc"], calibration=figures["calibration"])
        open_above = label == 0 and logit >= 36  # p may be 1, and the loss anything from 36 on
        if name == "right" or (name == "high" and open_above) or (name == "low" and open_above and logit == 700.0):
            assert check_metrics(record)
        else:
            with pytest.raises(UserError, match="log loss"):
                check_metrics(record)
