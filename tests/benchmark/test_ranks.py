"""A run on two processes has the figures of one process, up to rounding."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from benchmark.commands.run import gpu_groups
from benchmark.config import RunConfig
from benchmark.run import train_run
from datamodules.errors import UserError

pytestmark = pytest.mark.timeout(600)  # each run starts a second process, which imports torch


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("data"))


def config(out: Path, data_dir: str, model: str = "base-model", variant: str = "paper") -> RunConfig:
    # 127 and the 32 samples of an epoch's last batch: shares of 64 and 63, of 16 and 16
    return RunConfig(
        "generated",
        "arxiv-v1",
        model,
        variant,
        0,
        steps=110,
        batch_size=127,
        data_dir=data_dir,
        out=str(out),
        device="cpu",
    )  # type: ignore[arg-type]


@pytest.mark.parametrize(("model", "variant"), [("base-model", "official"), ("dien", "paper"), ("dien", "official")])
def test_two_processes_train_as_one(tmp_path: Path, data_dir: str, model: str, variant: str) -> None:
    one = config(tmp_path / "one", data_dir, model, variant)
    two = replace(one, out=str(tmp_path / "two"), devices=2)
    records = [train_run(each) for each in (one, two)]
    curves = [pd.read_csv(each.folder() / "metrics.csv") for each in (one, two)]
    predictions = [pd.read_parquet(each.folder() / "predictions.parquet") for each in (one, two)]
    assert list(curves[0].columns) == list(curves[1].columns)
    assert curves[0].step.tolist() == curves[1].step.tolist() == [20, 40, 60, 80, 100, 110]
    for name in ("loss", "target_loss", "auxiliary_loss"):
        if name in curves[0]:
            assert curves[1][name].to_numpy() == pytest.approx(curves[0][name].to_numpy(), rel=1e-4)
    # No test sample is left out or repeated, and the scores are those of one process.
    for name in ("user", "label"):
        assert predictions[1][name].equals(predictions[0][name])
    assert predictions[1].score.to_numpy() == pytest.approx(predictions[0].score.to_numpy(), abs=1e-3)
    assert records[1]["auc"]["test"] == pytest.approx(records[0]["auc"]["test"], abs=2e-3)
    assert records[1]["logloss"] == pytest.approx(records[0]["logloss"], rel=1e-3)
    assert records[1]["device"] == f"{records[0]['device']}, 2 processes"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"devices": 0}, "at least 1, got 0"),
        ({"devices": 2, "model": "dien+auxiliary_mean=behaviours"}, "auxiliary_mean=behaviours"),
        ({"devices": 40}, "smallest batch has 32 samples, too few for 40"),
    ],
)
def test_what_cannot_be_shared_is_refused(
    tmp_path: Path, data_dir: str, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        train_run(replace(config(tmp_path, data_dir), **changes))  # type: ignore[arg-type]


def test_gpus_come_in_groups() -> None:
    assert gpu_groups(["0", "1", "GPU-7f"], 1) == ["0", "1", "GPU-7f"]
    assert gpu_groups(["0", "1", "2", "3", "4"], 2) == ["0,1", "2,3"]
    assert gpu_groups([], 2) == []
    with pytest.raises(UserError, match="more GPUs than torch sees, 1"):
        gpu_groups(["0"], 2)
