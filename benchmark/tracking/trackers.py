"""Trackers by name, and the series that every run logs to them."""

import os
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from netrc import NetrcParseError, netrc
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from datamodules.errors import UserError, unknown_name

Tracker = Literal[
    "wandb",
    "tensorboard",
    "csv",  # metrics.csv alone, which every run has
]
TRACKERS: tuple[Tracker, ...] = ("wandb", "tensorboard", "csv")

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


def check_tracker(name: str) -> None:
    """Raise `UserError` for an unknown tracker, and for TensorBoard where no package can write its files."""
    if name not in TRACKERS:
        raise unknown_name("logger", name, TRACKERS)
    if name == "tensorboard" and not (find_spec("tensorboardX") or find_spec("tensorboard")):
        raise UserError(
            "--logger tensorboard needs tensorboardX or tensorboard, and neither is installed: "
            f"{sys.executable} -m pip install tensorboardX, or choose --logger wandb or csv"
        )


def has_wandb_key() -> bool:
    """Whether W&B finds a key of its server in the environment or the user's netrc."""
    host = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    try:
        return bool(os.environ.get("WANDB_API_KEY")) or netrc().authenticators(host) is not None
    except (OSError, NetrcParseError):
        return False
