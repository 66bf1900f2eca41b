"""A trained run: its weights at the reported checkpoint, and the run ready to predict, which needs no Lightning.

The weights are weights.pt in its folder, a state_dict. The file is written anew whenever an evaluation becomes the one
to report, so that it outlives an interruption, and before the record, so that a finished run has it. Time of a write,
DIEN on one busy core with the steps that LazyAdam makes up for: 7 ms on Beauty (3 MB), 9 on Sports, 0.15 s on
Electronics (19 MB), 0.5 s on Books (70 MB); at most one an evaluation, which takes longer. Weights are not copied to
the leaderboard: they are large.
"""

import io
import pickle
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from baselines import load
from baselines.layers.two_stage import logits_of
from benchmark.records.predictions import RunScores
from benchmark.records.record import Record, finished_run
from benchmark.records.results import scores_of
from benchmark.runs.config import RunConfig, config_from, data_of, read_config
from datamodules.batch import Batch
from datamodules.batches import EvaluationBatches
from datamodules.errors import UserError, unknown_name
from datamodules.files.atomic import write_atomically
from datamodules.samples import Samples
from datamodules.samples.file import prepare_samples
from datamodules.samples.vocabulary import Vocabulary, vocabulary

if TYPE_CHECKING:
    from datamodules.datamodule import InteractionsDataModule

WEIGHTS = "weights.pt"
SPLITS = ("train", "validation", "test")


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


@dataclass(frozen=True, eq=False)
class Run:
    """A finished run: its record, its model with the weights of the reported checkpoint, and what it was trained on."""

    record: Record
    model: nn.Module  # in evaluation mode, on the CPU
    config: RunConfig
    samples: Samples  # that it was trained on
    vocabulary: Vocabulary

    @cached_property
    def data(self) -> "InteractionsDataModule":
        """What it was trained on as a Lightning data module, set up."""
        data = data_of(self.config)
        data.samples = self.samples
        data.setup()
        return data

    @cached_property
    def scores(self) -> RunScores:
        """What the run's checkpoints said of its test users; raises UserError where its predictions are gone."""
        found = scores_of(self.record)
        if found is None:
            raise UserError(f"{self.record.path.parent} has no predictions. Train the run again.")
        return found

    def predict(self, samples: Batch | str) -> NDArray[np.float64]:
        """Return the probabilities in [0, 1] of a batch (B,), or of a split (N,) in the order of its samples.

        Splits are "train", "validation" and "test"; raises UserError for another name.
        """
        if isinstance(samples, Batch):
            with torch.inference_mode():
                probabilities: NDArray[np.float64] = torch.sigmoid(logits_of(self.model, samples).double()).numpy()
            return probabilities
        if samples not in SPLITS:
            raise unknown_name("split", samples, SPLITS)
        split = getattr(self.samples, samples)
        batches = EvaluationBatches(self.samples, split, self.config.batch_size, self.vocabulary)
        found = np.empty(len(batches.order))
        if len(found):
            found[batches.order] = np.concatenate([self.predict(batches[at]) for at in range(len(batches))])
        return found


def load_run(folder: Path | str, *, data_dir: Path | str | None = None) -> Run:
    """Return the finished run in a folder, ready to predict.

    Its data set is looked for where the run had it, or in `data_dir`; what is not there is prepared. Raises UserError
    for a folder without a finished run or its weights, which the leaderboard does not keep, and where data or settings
    are others than those of the run.
    """
    record = finished_run(Path(folder))
    settings = Path(folder) / "config.json"
    if not settings.is_file():
        raise UserError(f"no {settings}: a leaderboard keeps no models. Train the run: dien-bench run --help")
    config = config_from(read_config(settings), settings)
    config.check_sizes()
    config = replace(config, data_dir=str(data_dir or config.data_dir))
    samples = prepare_samples(config.dataset, config.protocol, Path(config.data_dir))
    rows = vocabulary(samples, config.settings()["unknown_user"])
    return Run(record, load_model(record, samples), config, samples, rows)
