"""Weights of a run: weights.pt in its folder, the state_dict of the model at the reported checkpoint.

The file is written anew whenever an evaluation becomes the one to report, so that it outlives an interruption, and
before the record, so that a finished run has it. Time of a write, DIEN on one busy core with the steps that LazyAdam
makes up for: 7 ms on Beauty (3 MB), 9 on Sports, 0.15 s on Electronics (19 MB), 0.5 s on Books (70 MB); at most one
an evaluation, which takes longer. Weights are not copied to the leaderboard: they are large.
"""

import io
import pickle
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import nn

from baselines import load
from baselines.lightning_module import CTRModule
from benchmark.records.record import Record
from datamodules.errors import UserError
from datamodules.files.atomic import write_atomically
from datamodules.samples import Samples
from datamodules.samples.vocabulary import vocabulary

WEIGHTS = "weights.pt"


class KeepWeights(pl.Callback):
    """Writes the weights after each evaluation that is the best so far in the eyes of a selection."""

    def __init__(self, path: Path, selection: str, say: Callable[[str], None] = print) -> None:
        self.path, self.selection, self.say = path, selection, say

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the weights of an evaluation that has just become the reported one."""
        if isinstance(pl_module, CTRModule):
            self.keep(pl_module)

    def keep(self, module: CTRModule) -> None:
        """Write the weights if the module's last evaluation is the one to report; none, said, where that fails."""
        if module.last is not module.selected(self.selection):
            return
        try:
            save_weights(module.model, self.path)
        except UserError as error:
            with suppress(OSError):
                self.path.unlink(missing_ok=True)  # those of an earlier evaluation are not the reported ones
            reason = getattr(error.__cause__, "strerror", None) or error.__cause__
            self.say(f"cannot write {self.path} ({reason}); the run goes on without it")


def save_weights(model: nn.Module, path: Path) -> None:
    """Write a model's state_dict, on the CPU, in one step."""
    content = io.BytesIO()
    torch.save({name: tensor.cpu() for name, tensor in model.state_dict().items()}, content)
    write_atomically(path, content.getvalue())


def load_model(record: Record, samples: Samples) -> nn.Module:
    """Return a finished run's model with its weights, in evaluation mode.

    Raises `UserError` where the run has no weights, was trained on other samples, or the file is not of this run.
    """
    path = record.path.parent / WEIGHTS
    again = f"Train it again in another folder: dien-bench run --help; found: {record.path.parent}"
    if not path.is_file():
        raise UserError(f"{path} is missing: the run is not finished, or from a time when none were kept. {again}")
    if record.data_sha256 != samples.sha256:
        raise UserError(
            f"{record.path} was trained on samples of sha256 {record.data_sha256[:8]}, here they are "
            f"{samples.sha256[:8]}: give its data with --data-dir"
        )
    model = load(str(record.settings.get("model", record.model)))(vocabulary(samples).schema, variant=record.variant)
    try:
        weights: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        model.load_state_dict(weights)
    except (OSError, RuntimeError, ValueError, TypeError, AttributeError, EOFError, pickle.UnpicklingError) as error:
        reason = str(error).partition("\n")[0]
        raise UserError(f"{path} does not hold the weights of {record.model} ({reason}). {again}") from error
    return model.eval()
