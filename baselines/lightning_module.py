"""The one LightningModule that trains every row."""

import math
import time
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor, nn
from torch.utils.data.distributed import DistributedSampler
from torchmetrics.classification import BinaryAUROC

from baselines import load
from baselines.distributed import mean_over_processes, processes, share_of, weighed
from baselines.layers.prediction import Prediction
from baselines.layers.two_stage import logits_of
from baselines.lazy_adam import LazyAdam
from baselines.spec import LEARNING_RATE, Epsilon
from datamodules.batch import Batch
from datamodules.errors import UserError
from datamodules.schema import Schema

# Numbers in a table from which LazyAdam saves time (`python -m benchmark.bench.optimiser_cost`): at 0.3 million it
# costs as much as dense Adam, at 0.6 it saves 0.3 ms of a 13 ms step of DIEN, at 1.1 (items of Electronics) 0.5 ms, at
# 11 30 ms.
LAZY_SIZE = 1_000_000


class Evaluation(NamedTuple):
    """One pass over held-out samples."""

    step: int
    auc: float
    logloss: float  # mean negative log-likelihood, nats
    scores: NDArray[Any]  # (N,) float64 probabilities in the order of EvaluationBatches


class NotFinite(ArithmeticError):
    """A loss or an evaluation that is infinite or no number; `step` counts from 1."""

    def __init__(self, message: str, step: int) -> None:
        super().__init__(message)
        self.step = step


class CTRModule(pl.LightningModule):
    """A row's model under its losses, as L_target + alpha L_aux (paper, eq. 8), Adam halved at each third of the steps.

    `schema` is `Schema.as_dict`; `steps` is the whole budget. Held-out loaders come in the order test, validation.
    `last`, `best_test` and `best_validation` hold the three selections; the last two keep the test scores of the step
    at which the test AUC, or the validation AUC, was highest. A training that goes on from a checkpoint begins with the
    batch behind its `resumed_at` steps.
    """

    def __init__(
        self,
        *,
        model: str,
        variant: str,
        schema: dict[str, dict[str, int]],
        steps: int,
        learning_rate: float = LEARNING_RATE,
        adam_epsilon: Epsilon = "torch",
        log_every: int = 20,
        resumed_at: int = 0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters(logger=False)  # the record holds the settings
        self.model: nn.Module = load(model)(Schema(**schema), variant=variant)
        self.optimizer: LazyAdam | None = None
        self.metrics = (BinaryAUROC(), BinaryAUROC())  # test, validation
        self.logits: list[list[Tensor]] = [[], []]
        self.labels: list[list[Tensor]] = [[], []]
        self.losses: list[dict[str, Tensor]] = []  # of the steps since the last log, by column
        self.pending: dict[int, dict[str, float]] = {}  # a training row, by its step, whose evaluation may follow
        self.evaluated_later = False  # after the fit, if not in it: then the last row waits for that
        self.rows: list[dict[str, float]] = []  # all that was logged
        self.evaluation_seconds = 0.0
        self.started = 0.0
        self.last: Evaluation | None = None
        self.best_test: Evaluation | None = None
        self.best_validation: Evaluation | None = None
        self.best_validation_auc: float | None = None

    @property
    def step(self) -> int:
        """Optimiser steps done, in all processes that got the run to where it is."""
        return int(self.hparams["resumed_at"]) + self.global_step

    def on_fit_start(self) -> None:
        """Refuse other types than float32, in which the compiled layers and the recurrence's gradient compute."""
        if self.trainer.precision != "32-true":
            raise UserError(f"precision is {self.trainer.precision}, expected 32-true: give pl.Trainer no other")

    def on_train_start(self) -> None:
        """Refuse batches that are dealt out to processes: each takes its share of every batch by itself."""
        if isinstance(getattr(self.trainer.train_dataloader, "sampler", None), DistributedSampler):
            raise UserError(
                "each process gets batches of its own, of which it would train on its share alone, and evaluates a "
                "part of the test samples: give pl.Trainer use_distributed_sampler=False"
            )

    def on_train_epoch_start(self) -> None:
        """Refuse steps of several batches: rows, the budget and `NotFinite` count a step for each batch.

        A GradientAccumulationScheduler has set the number by now.
        """
        if (count := self.trainer.accumulate_grad_batches) != 1:
            raise UserError(
                f"accumulate_grad_batches is {count}, expected 1: a step is a batch here; give InteractionsDataModule "
                f"a batch_size {count} times as large, and pl.Trainer no accumulate_grad_batches"
            )

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the whole loss of a batch."""
        batch, share = share_of(batch)
        label = batch.label.clone()  # as it was before the model had it
        prediction: Prediction = self.model(batch)
        loss = target = F.binary_cross_entropy_with_logits(prediction.logit, label) * prediction.target_weight
        for weight, value in prediction.losses.values():
            loss = loss + weight * value
        loss = weighed(loss, share)
        self.losses.append({"loss": loss.detach(), "target_loss": weighed(target.detach(), share)})
        for name, (_, value) in prediction.losses.items():
            self.losses[-1][f"{name}_loss"] = weighed(value.detach(), share)
        return loss

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """Log the mean losses since the last log."""
        step = self.step
        if step % self.hparams["log_every"] and step != self.hparams["steps"]:
            return
        if self.pending:
            self._log_pending()
        row = self._training_row()
        if (batch_idx + 1) % int(self.trainer.val_check_batch or 1) == 0 or step == self.hparams["steps"]:
            self.pending[step] = row
        else:
            self._log(row, step)

    def _training_row(self) -> dict[str, float]:
        """What is logged of the steps since the last log."""
        return self._mean_losses() | {"learning_rate": self.optimizers().param_groups[0]["lr"]}  # type: ignore[union-attr]

    def _mean_losses(self) -> dict[str, float]:
        """The means of the losses of the steps since the last log, by column; those of a step are forgotten.

        Raises `NotFinite` for the first of these steps whose loss is infinite or no number.
        """
        losses, self.losses = self.losses, []
        names = list(losses[-1])
        table = torch.stack(
            [torch.stack([step[name] for name in names]).to(self.device) for step in losses]
        ).double()  # (steps, names)
        means = (mean_over_processes(sum(table, start=torch.zeros_like(table[0]))) / len(table)).tolist()
        if not math.isfinite(means[0]):
            values = mean_over_processes(table[:, 0].float()).tolist()
            at = next((i for i, value in enumerate(values) if not math.isfinite(value)), len(values) - 1)
            step = self.step - len(values) + at + 1
            raise NotFinite(f"the loss is {values[at]} at step {step}", step)
        return dict(zip(names, means, strict=True))

    def on_validation_epoch_start(self) -> None:
        """Start the clock of an evaluation, and bring every row of the tables up to date."""
        self.started = time.perf_counter()
        if self.optimizer is not None:
            self.optimizer.catch_up_all()  # a model may read a table's weight without calling the table

    def validation_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Keep logits and labels of held-out samples."""
        label = batch.label.clone()  # as it was before the model had it
        logit = logits_of(self.model, batch)
        self.metrics[dataloader_idx].update(torch.sigmoid(logit.double()).cpu(), label.int().cpu())
        self.logits[dataloader_idx].append(logit)
        self.labels[dataloader_idx].append(label)

    def on_validation_epoch_end(self) -> None:
        """Compute AUC and log loss, remember the best step, log one row."""
        step = self.step
        row = self.pending.pop(step, {})
        self._log_pending()
        test, validation = (self._evaluate(loader, step) for loader in (0, 1))
        if self._trainer is not None and self.trainer.sanity_checking:  # a few batches before the first step
            return
        assert test is not None
        self.last = test
        row |= {"test_auc": test.auc, "test_logloss": test.logloss}
        if self.best_test is None or test.auc > self.best_test.auc:
            self.best_test = test
        if validation is not None:
            row |= {"validation_auc": validation.auc, "validation_logloss": validation.logloss}
            if self.best_validation_auc is None or validation.auc > self.best_validation_auc:
                self.best_validation_auc, self.best_validation = validation.auc, test
        by_itself = self._trainer is not None and self.trainer.state.fn == TrainerFn.VALIDATING  # trainer.validate()
        if not by_itself:
            self._log(row, step)
        if self._trainer is not None and self.trainer.validating:  # in training it would cost a tenth of a step
            self.log_dict(row, logger=None if by_itself else False)  # None: to loggers, and returned
        self.evaluation_seconds += time.perf_counter() - self.started

    def selected(self, selection: str) -> Evaluation:
        """The evaluation on test users that a selection reports: "last", "validation" or "test"."""
        evaluation = {"last": self.last, "validation": self.best_validation, "test": self.best_test}[selection]
        assert evaluation is not None
        return evaluation

    def _evaluate(self, loader: int, step: int) -> Evaluation | None:
        """The evaluation of what `validation_step` kept from a loader, None where it has no samples."""
        if not self.logits[loader]:
            return None
        logits, labels = torch.cat(self.logits[loader]).double(), torch.cat(self.labels[loader])
        auc = float(self.metrics[loader].compute())
        logloss = float(F.binary_cross_entropy_with_logits(logits, labels.double()))
        if not math.isfinite(logloss):
            raise NotFinite(f"the log loss on held-out users is {logloss} after step {step}", step)
        self.metrics[loader].reset()
        self.logits[loader], self.labels[loader] = [], []
        return Evaluation(step, auc, logloss, torch.sigmoid(logits).cpu().numpy())

    def _log(self, row: dict[str, float], step: int) -> None:
        """Give a row to the loggers under the run's own step."""
        self.rows.append(row | {"step": step})
        for logger in self.loggers:
            logger.log_metrics(row, step)

    def _log_pending(self) -> None:
        """Log a training row whose evaluation did not come: Lightning's options may leave out any."""
        for step, row in self.pending.items():
            self._log(row, step)
        self.pending.clear()

    def on_train_end(self) -> None:
        """Log the last rows; leave every row of the tables up to date, for whoever reads the weights."""
        if not self.evaluated_later:
            self._log_pending()
        if self.losses:  # Lightning's options may end the fit between two logs
            self._log(self._training_row(), self.step)
        if self.optimizer is not None:
            self.optimizer.catch_up_all()

    def configure_optimizers(self) -> Any:
        """Adam, its rate halved after each third of the budget (released code: after each of three epochs).

        Large tables on the CPU get sparse gradients and are updated where they are read, to the same effect; not where
        Lightning clips gradients, which torch does to dense ones alone.
        """
        clipped = self._trainer is not None and bool(self.trainer.gradient_clip_val)
        tables = [module for module in self.model.modules() if isinstance(module, nn.Embedding)]
        for table in tables:
            table.sparse = is_large(table) and processes() == 1 and not clipped
        lazy = [table for table in tables if table.sparse]
        rate, epsilon = self.hparams["learning_rate"], self.hparams["adam_epsilon"]
        self.optimizer = LazyAdam(self.model.parameters(), lazy, lr=rate, epsilon=epsilon)
        steps = self.hparams["steps"]
        schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, lambda step: 0.5 ** min(3 * step // steps, 2))
        return {"optimizer": self.optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def is_large(table: nn.Embedding) -> bool:
    """Whether LazyAdam can update a table, and does so faster than dense Adam."""
    weight = table.weight
    if not isinstance(weight, nn.Parameter):  # computed from others, as under spectral_norm
        return False
    fit = weight.device.type == "cpu" and weight.dtype == torch.float32 and not table.scale_grad_by_freq
    return fit and weight.numel() >= LAZY_SIZE
