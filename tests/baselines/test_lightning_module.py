"""The LightningModule beside its formulas: losses by name, callbacks, labels, rows of tables in evaluation."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EarlyStopping, GradientAccumulationScheduler, ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger
from sklearn.metrics import log_loss, roc_auc_score
from torch import Tensor, nn
from torch.utils.data import DataLoader, DistributedSampler

from baselines import lightning_module, load
from baselines.contract import SCHEMA, make_batch
from baselines.layers.two_stage import logits_of
from baselines.lazy_adam import LazyAdam
from baselines.lightning_module import CTRModule
from datamodules.batch import Batch
from datamodules.batches import EvaluationBatches
from datamodules.datamodule import InteractionsDataModule, _as_made
from datamodules.errors import UserError

MODEL = """
from torch import nn
from baselines.layers.prediction import Prediction


class Mine(nn.Module):
    def __init__(self, schema, *, variant):
        super().__init__()
        items = schema.behaviour["item"]
        self.item, self.twin = nn.Embedding(items, 4), nn.Embedding(items, 4)
        self.twin.weight = self.item.weight
        self.top = nn.Linear(4, 1)

    def forward(self, batch):
        logit = self.top(self.item(batch.target["item"]) + 2 * self.twin(batch.history["item"]).mean(1))[:, 0]
        if not self.training:
            batch.label.copy_(logit > 0)
            return Prediction(logit + 10 * self.item.weight.mean())
        return Prediction(logit, {"far": (0.5, logit.abs().mean()), "wide": (0.25, logit.square().mean())}, 2.0)
"""


def mine(tmp_path: Path) -> CTRModule:
    (tmp_path / "mine.py").write_text(MODEL, encoding="utf-8")
    torch.manual_seed(0)
    return CTRModule(model=f"{tmp_path}/mine.py:Mine", variant="official", schema=SCHEMA.as_dict(), steps=50)


def test_losses_of_a_model_are_weighed_summed_and_logged_by_name(tmp_path: Path) -> None:
    module, batch = mine(tmp_path), make_batch([5, 3, 1, 0, 4, 2], 5)
    logit = module.model(batch).logit.detach().double().numpy()
    loss = module.training_step(batch, 0).item()
    probability, label = 1 / (1 + np.exp(-logit)), batch.label.numpy()
    target = 2 * -np.log(np.where(label == 1, probability, 1 - probability)).mean()
    far, wide = np.abs(logit).mean(), np.square(logit).mean()
    expected = {"loss": target + far / 2 + wide / 4, "target_loss": target, "far_loss": far, "wide_loss": wide}
    assert loss == pytest.approx(expected["loss"], rel=1e-5)
    assert module._mean_losses() == pytest.approx(expected, rel=1e-5)
    assert module.losses == []


def test_labels_are_those_from_before_the_model_had_the_batch(tmp_path: Path) -> None:
    """This model makes them agree with its logits."""
    module, batch = mine(tmp_path).eval(), make_batch([5, 3, 1, 2, 4, 2], 5)
    with torch.inference_mode():
        module.validation_step(batch, 0)
        module.on_validation_epoch_end()
    assert module.last is not None
    assert module.last.auc == pytest.approx(roc_auc_score(batch.label, module.last.scores))
    assert module.last.logloss == pytest.approx(log_loss(batch.label, module.last.scores))
    assert module.last.auc < 1


def trained(module: CTRModule, steps: int) -> None:
    optimizer = module.configure_optimizers()["optimizer"]
    for step in range(steps):
        optimizer.zero_grad()
        module.train().training_step(make_batch([3, 2, 1], 3, seed=step), step).backward()
        optimizer.step()


def test_an_evaluation_reads_rows_that_are_up_to_date(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a model reads a weight past its table, and two tables share one: as under dense Adam."""
    logits: list[Tensor] = []
    batch = make_batch([3] * 8, 3, seed=99)
    for size in (1, 10**9):
        monkeypatch.setattr(lightning_module, "LAZY_SIZE", size)
        module = mine(tmp_path)
        trained(module, 30)
        assert module.optimizer is not None
        assert len(module.optimizer.histories) == (size == 1)
        with torch.inference_mode():
            before = module.model.item.weight.clone()
            module.eval().on_validation_epoch_start()
            stale = not torch.equal(before, module.model.item.weight)
            assert stale == (size == 1)
            logits.append(module.model(batch.with_label(batch.label.clone())).logit)
    torch.testing.assert_close(*logits, atol=1e-5, rtol=0)


def test_a_table_whose_weight_is_computed_is_left_to_dense_adam(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lightning_module, "LAZY_SIZE", 1)
    module = CTRModule(model="base-model", variant="official", schema=SCHEMA.as_dict(), steps=9)
    nn.utils.parametrizations.spectral_norm(module.model.embedding.tables["item"])
    trained(module, 3)
    assert module.optimizer is not None
    assert len(module.optimizer.histories) == 2  # users and categories


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> InteractionsDataModule:
    data = InteractionsDataModule("generated", "clean", data_dir=str(tmp_path_factory.mktemp("data")), steps=400)
    data.prepare_data()
    data.setup()
    return data


def test_windows_of_a_data_set_give_the_logits_of_its_batches(data: InteractionsDataModule) -> None:
    """Dice and the sums over padding see the batches that a window was made of, each made alone here."""
    model = load("dien")(data.schema, variant="official").eval()
    made = EvaluationBatches(data.ready, data.ready.test, 16, data.vocabulary)
    assert [len(parts) for parts in made.windows] == [4]
    with torch.inference_mode():
        expected = torch.cat([model(made.maker.make(index)).logit for index in made.windows[0]])
        torch.testing.assert_close(logits_of(model, made[0]), expected, atol=1e-5, rtol=1e-5)


def fitted(
    data: InteractionsDataModule, tmp_path: Path, callbacks: list[pl.Callback], **options: Any
) -> tuple[CTRModule, pl.Trainer]:
    """A module that Lightning alone has trained, with its check of a few batches before the first step."""
    torch.manual_seed(0)
    module = CTRModule(
        model="base-model", variant="official", schema=data.schema.as_dict(), steps=400, learning_rate=0.02
    )
    options = {"max_epochs": 1, "val_check_interval": 20} | options
    trainer = pl.Trainer(
        accelerator="cpu",
        log_every_n_steps=1,
        logger=CSVLogger(str(tmp_path), name="", version=""),
        callbacks=callbacks,
        enable_checkpointing=any(isinstance(callback, ModelCheckpoint) for callback in callbacks),
        enable_model_summary=False,
        enable_progress_bar=False,
        **options,
    )
    trainer.fit(module, datamodule=data)
    return module, trainer


def test_lightnings_callbacks_find_the_metrics(data: InteractionsDataModule, tmp_path: Path) -> None:
    stopping = EarlyStopping("validation_auc", mode="max", patience=2)
    best = ModelCheckpoint(str(tmp_path), monitor="validation_auc", mode="max", filename="{step}-{loss:.3f}")
    module, trainer = fitted(data, tmp_path, [stopping, best])
    metrics = pd.read_csv(tmp_path / "metrics.csv").set_index("step")
    evaluated = metrics.validation_auc.dropna()
    assert trainer.global_step == evaluated.index[-1] < 400
    assert evaluated.index[-1] - evaluated.idxmax() == 40  # two evaluations without a better one
    assert stopping.best_score.item() == pytest.approx(evaluated.max(), abs=1e-6)
    assert Path(best.best_model_path).name.startswith(
        f"step={evaluated.idxmax()}-loss={metrics.loss[evaluated.idxmax()]:.3f}"
    )
    assert module.best_validation is not None
    assert module.best_validation.step == evaluated.idxmax()  # and not the check before the first step
    columns = [
        "learning_rate",
        "loss",
        "target_loss",
        "test_auc",
        "test_logloss",
        "validation_auc",
        "validation_logloss",
    ]
    assert sorted(metrics.columns) == columns
    assert trainer.callback_metrics["test_auc"].item() == pytest.approx(metrics.test_auc.iloc[-1], abs=1e-6)


def test_a_check_before_the_first_step_counts_for_nothing(data: InteractionsDataModule, tmp_path: Path) -> None:
    module, _ = fitted(data, tmp_path, [])
    assert [row["step"] for row in module.rows] == list(range(20, 401, 20))
    assert module.best_test is not None
    assert module.best_test.step >= 20
    assert math.isfinite(module.evaluation_seconds)


@pytest.mark.parametrize(
    ("options", "losses", "evaluations"),
    [
        ({"limit_val_batches": 0}, range(20, 401, 20), []),
        ({"val_check_interval": 30}, range(20, 401, 20), range(30, 391, 30)),
        ({"val_check_interval": "00:01:00:00"}, range(20, 401, 20), []),
        (
            {"check_val_every_n_epoch": 2, "max_epochs": 2, "limit_train_batches": 25, "val_check_interval": 10},
            [20, 40, 50],
            [35, 45],
        ),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_a_row_whose_evaluation_does_not_come_is_logged(
    data: InteractionsDataModule, tmp_path: Path, options: Any, losses: Any, evaluations: Any
) -> None:
    """Each once, in order, in the step that it is of: also the last one."""
    module, trainer = fitted(data, tmp_path, [], **options)
    metrics = pd.read_csv(tmp_path / "metrics.csv").set_index("step")
    assert metrics.index.tolist() == sorted({*losses, *evaluations}) == [row["step"] for row in module.rows]
    assert metrics.loss.dropna().index.tolist() == list(losses)
    evaluated = metrics.test_auc.dropna().index.tolist() if "test_auc" in metrics else []
    assert evaluated == list(evaluations)
    assert ("loss" in trainer.callback_metrics) == bool({*losses} & {*evaluations})  # not that of an earlier step


class DealtOut(InteractionsDataModule):
    """As Lightning's own sampler deals batches out to two processes."""

    def train_dataloader(self) -> DataLoader[Batch]:
        batches = super().train_dataloader().dataset
        sampler: DistributedSampler[Batch] = DistributedSampler(batches, num_replicas=2, rank=0, shuffle=False)
        return DataLoader(batches, batch_size=None, sampler=sampler, collate_fn=_as_made)


def test_a_share_of_a_share_of_the_batches_is_refused(data: InteractionsDataModule, tmp_path: Path) -> None:
    half = DealtOut("generated", "clean", data_dir=data.hparams["data_dir"], steps=400)
    half.setup()
    with pytest.raises(UserError, match="use_distributed_sampler=False"):
        fitted(half, tmp_path, [])


@pytest.mark.parametrize("precision", ["bf16-mixed", "64-true"])
def test_other_types_than_float32_are_refused(data: InteractionsDataModule, tmp_path: Path, precision: Any) -> None:
    with pytest.raises(UserError, match=f"precision is {precision}, expected 32-true"):
        fitted(data, tmp_path, [], precision=precision)


def test_steps_of_several_batches_are_refused(data: InteractionsDataModule, tmp_path: Path) -> None:
    """They were logged once a batch, and `NotFinite` named a batch's number as the step's."""
    with pytest.raises(UserError, match=r"accumulate_grad_batches is 4, expected 1: .* a batch_size 4 times as large"):
        fitted(data, tmp_path, [], accumulate_grad_batches=4)
    with pytest.raises(UserError, match="accumulate_grad_batches is 2, expected 1"):
        fitted(data, tmp_path, [GradientAccumulationScheduler({0: 2})])


@pytest.mark.parametrize("algorithm", ["norm", "value"])
def test_gradients_of_large_tables_are_clipped_too(
    data: InteractionsDataModule, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, algorithm: str
) -> None:
    """As those of small ones: a large table's is sparse otherwise, which torch refuses to clip."""
    losses: list[list[float]] = []
    for size, most in ((1, 1e-4), (10**9, 1e-4), (10**9, None)):
        monkeypatch.setattr(lightning_module, "LAZY_SIZE", size)
        clipping = {"gradient_clip_val": most, "gradient_clip_algorithm": algorithm, "limit_train_batches": 40}
        module, _ = fitted(data, tmp_path / f"{size}-{most}", [], **clipping)
        losses.append([row["loss"] for row in module.rows])
    large, small, unclipped = losses
    assert large == small
    assert small[-1] != unclipped[-1]


@pytest.mark.parametrize("protocol", ["clean", "arxiv-v1"])
def test_validate_returns_the_metrics_of_its_evaluation(
    data: InteractionsDataModule, tmp_path: Path, protocol: str
) -> None:
    """After a fit those of its last step, which the loggers get once more; `arxiv-v1` has no validation users."""
    data = InteractionsDataModule("generated", protocol, data_dir=data.hparams["data_dir"], steps=40)
    data.prepare_data()
    data.setup()
    module, trainer = fitted(data, tmp_path, [])
    names = ["test_auc", "test_logloss", "validation_auc", "validation_logloss"][: 2 * len(data.val_dataloader())]
    last = {name: module.rows[-1][name] for name in names}
    found = trainer.validate(module, datamodule=data, verbose=False)
    assert len(found) == len(data.val_dataloader())
    assert all(metrics == pytest.approx(last, abs=1e-6) for metrics in found)
    metrics = pd.read_csv(tmp_path / "metrics.csv")
    assert metrics.step.tolist() == [20, 40, 40]
    assert metrics[names].iloc[2].tolist() == pytest.approx(list(last.values()), abs=1e-6)
    assert metrics.loss.notna().tolist() == [True, True, False]


def test_an_amp_grad_scaler_unscales_the_gradients_of_lazy_adam() -> None:
    """torch's fused Adam does so by itself and says so; LazyAdam does neither."""
    found: list[list[Tensor]] = []
    for scaler in (None, torch.amp.GradScaler("cpu", init_scale=2.0**10)):
        torch.manual_seed(0)
        layer = nn.Linear(4, 1)
        optimizer = LazyAdam(layer.parameters(), eps=1.0)  # under a small one, scaled gradients give equal steps
        for _ in range(5):
            loss = layer(torch.randn(8, 4)).square().mean()
            optimizer.zero_grad()
            if scaler is None:
                loss.backward()
                optimizer.step()
            else:
                scaler.scale(loss).backward()
                scaler.step(optimizer)
                scaler.update()
        found.append([parameter.detach() for parameter in layer.parameters()])
    for plain, scaled in zip(*found, strict=True):
        torch.testing.assert_close(plain, scaled, atol=1e-7, rtol=0)
