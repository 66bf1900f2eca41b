"""The LightningDataModule: downloads, prepares and batches any data set under any protocol."""

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from torch.utils.data import DataLoader, Dataset, Subset

from datamodules.batch import Batch
from datamodules.batches import EvaluationBatches, TrainingBatches
from datamodules.datasets import get_dataset
from datamodules.errors import UserError
from datamodules.protocol import BATCH_SIZE, AuxiliaryDraws, AuxiliaryNegatives, get_protocol
from datamodules.samples import Samples
from datamodules.samples.file import prepare_samples
from datamodules.samples.vocabulary import UnknownUser, Vocabulary, vocabulary
from datamodules.schema import Schema

SETTINGS = (
    "batch_size",
    "shuffle",
    "auxiliary_negatives",
    "auxiliary_draws",
    "pairs_together",
    "seed",
)  # of the training batches


class InteractionsDataModule(pl.LightningDataModule):
    """Samples of one data set under one protocol, as batches.

    A training "epoch" in Lightning's sense is the whole budget of optimiser steps. `shuffle=False` and
    `auxiliary_negatives="popularity"` are what the released code does (variants.md 14 and 18).

    >>> data = InteractionsDataModule("generated", data_dir="data")  # doctest: +SKIP
    >>> data.prepare_data(); data.setup()  # doctest: +SKIP
    >>> next(iter(data.train_dataloader())).history["item"].shape  # doctest: +SKIP
    torch.Size([64, 29])
    """

    def __init__(
        self,
        dataset: str,
        protocol: str = "arxiv-v1",
        *,
        data_dir: str = "data",
        steps: int | None = None,
        batch_size: int = BATCH_SIZE,
        shuffle: bool = False,
        auxiliary_negatives: AuxiliaryNegatives = "popularity",
        auxiliary_draws: AuxiliaryDraws = "fresh",
        pairs_together: bool = True,
        unknown_user: UnknownUser = "most-frequent",
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.spec, self.protocol = get_dataset(dataset, Path(data_dir)), get_protocol(protocol)
        if batch_size < 1:
            raise UserError(f"batch size must be at least 1, got {batch_size}")
        if steps is not None and steps < 1:
            raise UserError(f"steps must be at least 1, got {steps}")
        self.save_hyperparameters(logger=False)  # the record holds the settings
        self.samples: Samples | None = None
        self.rows: Vocabulary | None = None
        self.evaluations: list[EvaluationBatches] = []  # made once
        self.first_step = 0  # that the training batches begin with: behind those that a checkpoint has seen

    def prepare_data(self) -> None:
        """Download, read and sample whatever is not on disk yet."""
        prepare_samples(self.spec.name, self.protocol.name, Path(self.hparams["data_dir"]))

    def setup(self, stage: str | None = None) -> None:
        """Load the samples."""
        if self.samples is None:
            self.samples = prepare_samples(self.spec.name, self.protocol.name, Path(self.hparams["data_dir"]))

    @property
    def ready(self) -> Samples:
        """The samples; `setup` must have run."""
        if self.samples is None:
            raise RuntimeError("samples are not loaded: call setup() first")
        return self.samples

    @property
    def vocabulary(self) -> Vocabulary:
        """The rows of items, users and codes."""
        if self.rows is None:
            self.rows = vocabulary(self.ready, self.hparams["unknown_user"])
        return self.rows

    @property
    def schema(self) -> Schema:
        """The fields and the sizes of their tables: the constructor argument of every model."""
        return self.vocabulary.schema

    @property
    def steps(self) -> int:
        """The budget in optimiser steps: as given, or the data set's own, or its passes over the training samples."""
        passes = self.spec.passes * -(-len(self.ready.train) // self.hparams["batch_size"])
        return self.hparams["steps"] or self.spec.steps or passes

    def training_batches(self) -> TrainingBatches:
        """All batches of the run by number."""
        settings = {name: self.hparams[name] for name in SETTINGS}
        return TrainingBatches(self.ready, steps=self.steps, rows=self.vocabulary, **settings)

    def train_dataloader(self) -> DataLoader[Batch]:
        """The batches of the run from `first_step` on, in order."""
        return _loader(Subset(self.training_batches(), range(self.first_step, self.steps)))

    def val_dataloader(self) -> list[DataLoader[Batch]]:
        """The test users' samples, then the validation users' where the protocol has any."""
        if not self.evaluations:
            samples, size = self.ready, self.hparams["batch_size"]
            splits = [samples.test] + ([samples.validation] if len(samples.validation) else [])
            self.evaluations = [EvaluationBatches(samples, split, size, self.vocabulary) for split in splits]
        return [_loader(batches) for batches in self.evaluations]


def _loader(batches: Dataset[Any]) -> DataLoader[Any]:
    return DataLoader(batches, batch_size=None, shuffle=False, collate_fn=_as_made)


def _as_made(batch: Any) -> Any:
    """A data set's item is a whole batch already: nothing is left to collate."""
    return batch
