"""Trackers by name, what they are told of a run, and the series that every run logs to them."""

import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, Protocol

from datamodules.errors import UserError, printable, unknown_name

Tracker = Literal[
    "wandb",
    "tensorboard",
    "csv",  # metrics.csv alone, which every run has
]
TRACKERS: tuple[Tracker, ...] = ("wandb", "tensorboard", "csv")

WANDB_PROJECT = r"[^/\\#?%:]{1,128}"  # the names that W&B takes

AXIS = "trainer/global_step"  # what Lightning calls the step; every curve stands over it
# What a run logs, and which of its values stands for a curve in W&B's list of runs.
SERIES = {
    "loss": "last",
    "target_loss": "last",
    "auxiliary_loss": "last",
    "learning_rate": "last",
    "test_auc": "max",
    "test_logloss": "min",
    "validation_auc": "max",
    "validation_logloss": "min",
}


@dataclass(frozen=True)
class TrackedRun:
    """What a tracker is told of a run."""

    tracker: Tracker
    out: Path  # folder of all runs
    folder: Path  # of this run
    name: str  # path below `out`
    group: str  # what the seeds of one row share
    tags: tuple[str, ...]
    config: dict[str, Any]


class TrackerRun(Protocol):
    """One run as a tracker keeps it; any method may raise."""

    def log(self, row: Mapping[str, float], step: int) -> None:
        """Add the values of some series at a step."""

    def finish(self, record: dict[str, Any], folder: Path) -> None:
        """Add the outcome of a finished run, and close it; `folder` holds what the run has written."""

    def fail(self, reason: str) -> None:
        """Add why the run failed, and close it as failed."""


def outcome(record: dict[str, Any]) -> dict[str, float | None]:
    """The figures of a record that runs are compared by; an AUC is in [0, 1], None for a selection without one."""
    return {
        "auc": record["auc"][record["selection"]],
        "best_validation_auc": record["validation_auc"],  # of the same checkpoint; what a sweep may look at
        **{f"auc_{selection}": auc for selection, auc in record["auc"].items()},
        **{
            name: record[name] for name in ("logloss", "best_step", "parameters", "samples_per_second", "train_seconds")
        },
    }


def identity(record: dict[str, Any]) -> dict[str, Any]:
    """The fields of a record that say which run it is, and what made it."""
    names = ("dataset", "protocol", "model", "variant", "seed", "commit", "device", "data_sha256")
    return {name: record[name] for name in names}


def reason_of(error: BaseException) -> str:
    """An exception in one line of at most 300 characters."""
    return printable(" ".join(f"{type(error).__name__}: {error}".split()))[:300]


def check_tracker(name: str) -> None:
    """Raise `UserError` for an unknown tracker, a project that W&B refuses, and TensorBoard without its package."""
    if name not in TRACKERS:
        raise unknown_name("logger", name, TRACKERS)
    if name == "wandb" and not re.fullmatch(WANDB_PROJECT, wandb_project()):
        raise UserError(
            f"WANDB_PROJECT is {printable(wandb_project())!r}, and W&B takes 1 to 128 characters without any of "
            "/ \\ # ? % : there; set another, or leave it out"
        )
    if name == "tensorboard" and not (find_spec("tensorboardX") or find_spec("tensorboard")):
        raise UserError(
            "--logger tensorboard needs tensorboardX or tensorboard, and neither is installed: "
            f"{sys.executable} -m pip install tensorboardX, or choose --logger wandb or csv"
        )


def wandb_project() -> str:
    """The project of W&B that runs go to."""
    return os.environ.get("WANDB_PROJECT") or "dien-bench"
