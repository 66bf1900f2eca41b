"""The suite from Python: what was measured as DataFrames, trained models, tests of two rows, and runs from a config."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from baselines.layers.two_stage import logits_of
from benchmark.analysis import comparison
from benchmark.analysis.comparison import Comparison
from benchmark.analysis.summary import summarise
from benchmark.records.frames import curves, folder_of, records
from benchmark.records.predictions import RunScores, Scores
from benchmark.records.record import FILE_NAME, Record, finished_run, read_record, read_records
from benchmark.records.results import scores_of
from benchmark.runs.config import RunConfig, config_from, data_of, read_config
from benchmark.runs.train import train_run
from benchmark.runs.weights import load_model
from datamodules.batch import Batch
from datamodules.batches import EvaluationBatches
from datamodules.datamodule import InteractionsDataModule
from datamodules.errors import UserError, unknown_name

__all__ = ["Run", "compare", "curves", "load_run", "records", "train"]

RowName = tuple[str, str, str, str]  # data set, protocol, model, variant
SPLITS = ("train", "validation", "test")


@dataclass(frozen=True, eq=False)
class Run:
    """A finished run: its record, its model with the weights of the reported checkpoint, and what it was trained on."""

    record: Record
    model: nn.Module  # in evaluation mode, on the CPU
    data: InteractionsDataModule  # set up

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
        data = self.data
        split, size = getattr(data.ready, samples), data.hparams["batch_size"]
        batches = EvaluationBatches(data.ready, split, size, data.vocabulary)
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
    data = data_of(replace(config, data_dir=str(data_dir or config.data_dir)))
    data.prepare_data()
    data.setup()
    return Run(record, load_model(record, data.ready), data)


def compare(first: RowName, second: RowName, *, root: Path | str | None = None) -> Comparison:
    """Test two rows on the same test users: how much higher the mean AUC of the second is than that of the first.

    A row is (data set, protocol, model, variant) of an output folder, or by default of the board of this checkout. The
    result has `difference`, its 95 % `interval` over users and seeds, and a two-sided `p`, which is not corrected for
    further tests: `benchmark.analysis.comparison.compare` says how they come about. Raises UserError for rows of
    different test users, and for those with fewer than two finished seeds with predictions.
    """
    (scores, samples), (others, other_samples) = (_row(name, folder_of(root)) for name in (first, second))
    if first[:2] != second[:2] or samples != other_samples:
        raise UserError(
            f"{_shown(first)} and {_shown(second)} have different test users. Compare rows of the same samples"
        )
    return comparison.compare(scores, others)


def train(config: RunConfig | Mapping[str, Any] | PathLike[str] | str) -> Record:
    """Train one run in this process and return its record; a run that is there already is not trained again.

    A config is a `RunConfig`, its fields by name, or a YAML or JSON file of them, such as the config.json of another
    run. This process's random generators are seeded and its torch made deterministic. The command line gives each run
    one thread; start Python with OMP_NUM_THREADS=1 for numbers that are equal to the last bit. Raises UserError for a
    config that is none, and `NotFinite` where the loss is no number.
    """
    if isinstance(config, (str, PathLike)):
        config = config_from(read_config(Path(config)), config)
    elif not isinstance(config, RunConfig):
        config = config_from(config)
    train_run(config)
    return read_record(config.folder() / FILE_NAME)


def _row(name: RowName, root: Path) -> tuple[tuple[Scores, ...], set[str]]:
    """Return the scores of a row's seeds, and the hashes of their samples."""
    if len(name) != 4:
        raise UserError(f"{name} names no row, expected (data set, protocol, model, variant)")
    dataset, protocol, model, variant = name
    found = read_records(root, dataset=dataset, protocol=protocol, model=model, variant=variant)
    if not found:
        known = {_shown((r.dataset, r.protocol, r.model, r.variant)) for r in read_records(root)}
        raise unknown_name("row", _shown(name), sorted(known))
    row = summarise(found, model, model)
    if len(row.scores) < 2:
        raise UserError(
            f"{_shown(name)} has {len(row.scores)} finished seeds with predictions in {root}. A test needs two"
        )
    return row.scores, {record.data_sha256 for record in found}


def _shown(name: RowName) -> str:
    return "/".join(name)
