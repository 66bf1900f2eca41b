"""One run, from samples to record, on the generated data."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from benchmark.records.record import line_of, read_records
from benchmark.runs.config import Progress, RunConfig, evaluation_interval
from benchmark.runs.ended import finished_record
from benchmark.runs.identity import code_sha256
from benchmark.runs.train import train_run
from datamodules.errors import UserError
from tests.benchmark.boards import committed


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("data"))


def config(tmp_path: Path, data_dir: str, model: str = "dien", **changes: object) -> RunConfig:
    base = RunConfig(
        "generated", "arxiv-v1", model, "official", seed=0, steps=130, data_dir=data_dir, out=str(tmp_path)
    )
    return replace(base, **changes)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, data_dir: str) -> tuple[Path, dict[str, Any], list[Progress]]:
    """The output folder of a run of DIEN, its record, and the progress that it told."""
    out, reports = tmp_path_factory.mktemp("dien"), list[Progress]()
    return out, train_run(config(out, data_dir), reports.append), reports


def test_a_run_leaves_a_record_that_its_predictions_bear_out(
    trained: tuple[Path, dict[str, Any], list[Progress]],
) -> None:
    out, record, reports = trained
    folder = out / "generated" / "arxiv-v1" / "dien-official" / "seed-0"
    (read,) = read_records(out)
    assert read.reported_auc == record["auc"]["test"]
    predictions = pd.read_parquet(folder / "predictions.parquet")
    assert roc_auc_score(predictions.label, predictions.score) == pytest.approx(record["auc"]["test"], abs=1e-6)
    assert roc_auc_score(predictions.label, predictions.score_last) == pytest.approx(record["auc"]["last"], abs=1e-6)
    assert log_loss(predictions.label, predictions.score) == pytest.approx(record["logloss"], rel=1e-6)
    assert predictions.score.sum() / predictions.label.sum() == pytest.approx(record["calibration"])
    aucs = [roc_auc_score(mine.label, mine.score) for _, mine in predictions.groupby("user")]
    assert sum(aucs) / len(aucs) == pytest.approx(record["gauc"])
    assert record["validation_auc"] is None  # arxiv-v1 has no such users
    metrics = pd.read_csv(folder / "metrics.csv")
    assert metrics.step.tolist() == [20, 40, 60, 80, 100, 120, 130]
    assert metrics.test_auc.notna().tolist() == [False] * 4 + [True, False, True]
    assert metrics.test_auc.max() == pytest.approx(record["auc"]["test"])
    whole = metrics.target_loss + metrics.auxiliary_loss
    assert metrics.loss.to_numpy() == pytest.approx(whole.to_numpy())
    assert metrics.learning_rate.iloc[0] == 1e-3
    assert metrics.learning_rate.iloc[-1] == 0.25e-3
    assert reports[-1].step == reports[-1].steps == 130


def test_samples_a_second_are_those_that_were_trained_on(tmp_path: Path, data_dir: str) -> None:
    """Batches of more samples than there are: each step has all of them and no more."""
    record = train_run(config(tmp_path, data_dir, "base-model", steps=20, batch_size=4096))
    assert record["epochs"] == 20
    samples = len(pd.read_parquet(tmp_path / "generated/arxiv-v1/base-model-official/seed-0/predictions.parquet"))
    seconds = record["train_seconds"] - record["evaluation_seconds"]
    trained = record["samples_per_second"] * seconds
    assert trained == pytest.approx(20 * (600 - samples), rel=0.1)  # 300 users, two samples each


def test_the_same_seed_gives_the_same_numbers_to_the_bit(
    trained: tuple[Path, dict[str, Any], list[Progress]], tmp_path: Path, data_dir: str
) -> None:
    """Also where the first run told its progress and the second none; of another seed the first line is enough."""
    runs = [trained[0], tmp_path / "again", tmp_path / "other"]
    train_run(config(runs[1], data_dir))
    train_run(config(runs[2], data_dir, seed=1, steps=20))
    first, second = (next(out.rglob("metrics.csv")).read_text() for out in runs[:2])
    assert first == second
    losses = [pd.read_csv(next(out.rglob("metrics.csv"))).set_index("step").loss[20] for out in runs]
    assert losses[0] != losses[2]
    scores = [pd.read_parquet(next(out.rglob("predictions.parquet"))) for out in runs]
    assert scores[0].equals(scores[1])


def test_clean_reports_the_checkpoint_of_the_validation_users(tmp_path: Path, data_dir: str) -> None:
    record = train_run(config(tmp_path, data_dir, model="base-model", protocol="clean", variant="paper", steps=300))
    metrics = pd.read_csv(next(tmp_path.rglob("metrics.csv"))).dropna(subset=["validation_auc"])
    best = metrics.loc[metrics.validation_auc.idxmax()]
    assert record["selection"] == "validation"
    assert record["best_step"] == best.step
    assert record["auc"]["validation"] == pytest.approx(best.test_auc)
    assert record["validation_auc"] == pytest.approx(best.validation_auc)
    assert record["auc"]["test"] == pytest.approx(metrics.test_auc.max())
    predictions = pd.read_parquet(next(tmp_path.rglob("predictions.parquet")))
    for column, selection in (("score", "validation"), ("score_last", "last"), ("score_test", "test")):
        assert roc_auc_score(predictions.label, predictions[column]) == pytest.approx(
            record["auc"][selection], abs=1e-6
        )


def test_options_of_training_stand_in_the_settings(tmp_path: Path, data_dir: str) -> None:
    base = config(tmp_path, data_dir, variant="official", steps=40)
    changed = replace(base, model="dien+auxiliary_draws=once+auxiliary_negatives=uniform+learning_rate=0.002")
    record = train_run(changed)
    assert record["model"] == "dien+auxiliary_draws=once+auxiliary_negatives=uniform+learning_rate=0.002"
    assert record["settings"]["auxiliary_negatives"] == "uniform"
    assert record["settings"]["learning_rate"] == 0.002
    assert changed.folder() != base.folder()
    assert finished_record(changed) == json.loads(json.dumps(record))
    training = (
        "adam_epsilon=keras",
        "auxiliary_draws=never",
        "auxiliary_negatives=none",
        "learning_rate=0",
        "shuffle=2",
        "learning_rate=true",
    )
    model = ("auxiliary_head=foo", "hidden_size=abc", "hidden_size=-3", "hidden_size=true", "auxiliary_weight=much")
    for wrong in training + model:
        with pytest.raises(UserError, match=wrong.partition("=")[0]):
            replace(base, model=f"dien+{wrong}").check()


def test_the_epsilon_of_adam_is_the_variants_and_old_runs_of_official_are_not_taken_for_new(
    tmp_path: Path, data_dir: str
) -> None:
    losses = []
    for model in ("base-model", "base-model+adam_epsilon=torch", "base-model+adam_epsilon=tensorflow"):
        run = config(tmp_path, data_dir, model, steps=20)
        train_run(run)
        losses.append(pd.read_csv(run.folder() / "metrics.csv").loss.iloc[-1])
    assert losses[0] == losses[2] != losses[1]
    assert config(tmp_path, data_dir, variant="paper").settings()["adam_epsilon"] == "torch"
    run = config(tmp_path, data_dir, "base-model", steps=20)
    path = run.folder() / "record.json"
    record = json.loads(path.read_text())
    assert record["settings"].pop("adam_epsilon") == "tensorflow"
    path.write_text(json.dumps(record))
    with pytest.raises(UserError, match="adam_epsilon = None, asked for was tensorflow"):
        finished_record(run)


def test_a_finished_run_is_found_and_another_is_not_taken_for_it(tmp_path: Path, data_dir: str) -> None:
    done = config(tmp_path, data_dir, model="base-model", steps=20)
    assert finished_record(done) is None
    record = train_run(done)
    assert finished_record(done) == json.loads(json.dumps(record))
    assert finished_record(replace(done, device="gpu")) == json.loads(json.dumps(record))
    with pytest.raises(UserError, match="steps = 20, asked for was 30"):
        finished_record(replace(done, steps=30))
    with pytest.raises(UserError, match="the default"):
        finished_record(replace(done, steps=None))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dataset": "sprots"}, "did you mean 'sports'"),
        ({"protocol": "arxiv"}, "did you mean 'arxiv-v1'"),
        ({"model": "wide-depe"}, "did you mean 'wide-deep'"),
        ({"model": "dien+shuffle=1"}, "unknown shuffle '1'. Known: true, false"),
        ({"model": "dien+shuffle=True"}, "unknown shuffle 'True'"),
        ({"variant": "mine"}, "official, paper"),
        ({"steps": 0}, "steps must be at least 1"),
        ({"seed": -1}, "seed must be"),
        ({"device": "cuda"}, "auto, cpu, gpu"),
        ({"logger": "tensorbord"}, "did you mean 'tensorboard'"),
    ],
)
def test_mistakes(tmp_path: Path, data_dir: str, changes: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        train_run(config(tmp_path, data_dir, **changes))


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"settings": []}', b"\xff", b"[" * 100_000])
def test_a_damaged_record_is_neither_finished_nor_overwritten(tmp_path: Path, data_dir: str, content: bytes) -> None:
    path = config(tmp_path, data_dir).folder() / "record.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"record\.json .*Delete that run, its folder"):
        finished_record(config(tmp_path, data_dir))
    assert path.read_bytes() == content


def test_a_record_of_another_run_is_not_taken_for_this_one(tmp_path: Path, data_dir: str) -> None:
    record = json.loads(line_of(committed()[Path("tafeng/arxiv-v1/dien-official/seed-0")]))
    line = json.dumps(record | {"code_sha256": code_sha256("dien")})  # as if it were of today's code
    done = config(tmp_path, data_dir, dataset="tafeng", steps=None)
    other = replace(done, seed=1)
    for run in (done, other):
        run.folder().mkdir(parents=True)
        (run.folder() / "record.json").write_text(line, encoding="utf-8")
    assert finished_record(done) == json.loads(line)
    with pytest.raises(UserError, match="the field 'seed' says 'seed-0', but its folder says 'seed-1'"):
        finished_record(other)


def test_a_file_whose_name_does_not_show_is_refused_before_training(tmp_path: Path, data_dir: str) -> None:
    path = tmp_path / "a\u202eb.py"
    path.write_text("from baselines.base_model import BaseModel\n")
    with pytest.raises(UserError, match="has characters that do not show"):
        config(tmp_path, data_dir, model=f"{path}:BaseModel").check()


@pytest.mark.parametrize(
    ("protocol", "samples", "expected"),
    [
        ("clean", 10_000_000, 100),
        ("next-day", 75_000, 100),
        ("next-day", 1_280_001, 500),
        ("released", 10_000_000, 100),
    ],
)
def test_logs_of_impressions_are_evaluated_at_most_twenty_times_a_pass(
    protocol: str, samples: int, expected: int
) -> None:
    data = SimpleNamespace(
        protocol=SimpleNamespace(name=protocol),
        ready=SimpleNamespace(train=range(samples)),
        hparams={"batch_size": 128},
    )
    assert evaluation_interval(data) == expected  # type: ignore[arg-type]
