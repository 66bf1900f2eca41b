"""Weights of a run: that they are those of the reported checkpoint, and what a wrong file leads to."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from baselines.lightning_module import CTRModule, Evaluation
from benchmark.records.record import Record, read_records
from benchmark.runs.config import RunConfig
from benchmark.runs.train import train_run
from benchmark.runs.trained import WEIGHTS, load_model
from datamodules.batches import EvaluationBatches
from datamodules.errors import UserError
from datamodules.samples import Samples
from datamodules.samples.file import prepare_samples


def trained(out: Path, protocol: str, model: str, steps: int) -> tuple[Record, Samples]:
    config = RunConfig(
        "generated", protocol, model, "official", 0, steps=steps, data_dir=str(out / "data"), out=str(out)
    )
    train_run(config)
    (record,) = read_records(out / "generated")
    return record, prepare_samples("generated", protocol, out / "data")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Record, Samples]:
    return trained(tmp_path_factory.mktemp("run"), "arxiv-v1", "dien", 40)


@pytest.fixture
def first_is_best(monkeypatch: pytest.MonkeyPatch) -> None:
    """On validation users the first evaluation is the best by far, however a processor rounds."""
    evaluate = CTRModule._evaluate

    def falling(module: CTRModule, loader: int, step: int) -> Evaluation | None:
        found = evaluate(module, loader, step)
        return found if found is None or loader == 0 or step == 100 else found._replace(auc=found.auc / 1000)

    monkeypatch.setattr(CTRModule, "_evaluate", falling)


# arxiv-v1, 130 steps: an evaluation outside Lightning's loop.
@pytest.mark.usefixtures("first_is_best")
@pytest.mark.parametrize(("protocol", "steps"), [("clean", 300), ("arxiv-v1", 130)])
def test_trained_give_the_predictions_of_the_reported_checkpoint(tmp_path: Path, protocol: str, steps: int) -> None:
    record, samples = trained(tmp_path, protocol, "base-model+learning_rate=0.02", steps)
    assert protocol != "clean" or record.best_step == 100
    windows = EvaluationBatches(samples, samples.test)
    scores = np.empty(len(windows.order))
    with torch.inference_mode():
        model = load_model(record, samples)
        found = (model(batch).logit for at in range(len(windows)) for batch in windows[at].batches())
        scores[windows.order] = torch.cat([torch.sigmoid(logit.double()) for logit in found])
    predictions = pd.read_parquet(record.path.parent / "predictions.parquet")
    np.testing.assert_allclose(scores, predictions.score, rtol=0, atol=1e-12)
    assert protocol != "clean" or np.abs(scores - predictions.score_last).max() > 1e-3


def test_other_samples_are_refused(run: tuple[Record, Samples]) -> None:
    record, samples = run
    with pytest.raises(UserError, match="--data-dir"):
        load_model(record, replace(samples, sha256="0" * 64))


@pytest.mark.parametrize("content", [None, b"", b"no weights", b"PK\x03\x04 torn", "other", "pickle"])
def test_a_wrong_file_is_told(tmp_path: Path, run: tuple[Record, Samples], content: object) -> None:
    record, samples = run
    path = tmp_path / WEIGHTS
    if content == "other":
        torch.save({"weight": torch.zeros(2)}, path)
    elif content == "pickle":
        torch.save({"path": tmp_path}, path)  # an object: nothing that weights_only reads
    elif isinstance(content, bytes):
        path.write_bytes(content)
    with pytest.raises(UserError, match="Train it again") as caught:
        load_model(replace(record, path=tmp_path / "record.json"), samples)
    assert str(path) in str(caught.value)
