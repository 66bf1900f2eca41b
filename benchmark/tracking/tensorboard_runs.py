"""Runs and tables in TensorBoard: event files in OUT/tensorboard, laid out as the runs are."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.image import imread
from pytorch_lightning.loggers import TensorBoardLogger

from benchmark.tracking.trackers import TrackedRun, identity, outcome


class TensorboardRun:
    """A folder of event files."""

    def __init__(self, run: TrackedRun, resumed_at: int) -> None:
        """Open it; the points of an earlier process after `resumed_at` are taken back."""
        place = run.out / "tensorboard" / run.name
        if not resumed_at:
            for leftover in place.glob("events.out.tfevents.*"):
                leftover.unlink()
        # Readers drop earlier points from a purge step on.
        self._logger = _logger(place, purge_step=resumed_at + 1 if resumed_at else None)

    def log(self, row: Mapping[str, float], step: int) -> None:
        """Add the values of some series at a step."""
        self._logger.log_metrics(dict(row), step)

    def finish(self, record: dict[str, Any], folder: Path) -> None:
        """Write the outcome to a file of its own: names of files end in a second, and curves may be of the same."""
        self._logger.finalize("success")
        last = _logger(Path(self._logger.log_dir), filename_suffix=".outcome")
        shown = {f"outcome/{name}": value for name, value in outcome(record).items() if value is not None}
        last.log_hyperparams(identity(record) | record["settings"], shown)
        last.experiment.add_text("record", f"```\n{json.dumps(record, indent=1)}\n```")
        last.finalize("success")
        last.experiment.close()

    def fail(self, reason: str) -> None:
        """Add the reason as a text."""
        self._logger.experiment.add_text("failure", reason)
        self._logger.finalize("failed")


def log_tensorboard_table(name: str, markdown: str, place: Path) -> None:
    """Log a table as a text."""
    logger = _logger(place)
    logger.experiment.add_text(name, markdown)
    logger.experiment.close()


def log_tensorboard_figures(drawn: Sequence[Path], place: Path) -> None:
    """Log the pictures among `drawn` as images, as (height, width, 4) numbers from 0 to 1."""
    logger = _logger(place)
    for path in drawn:
        if path.suffix == ".png":
            logger.experiment.add_image(path.stem, imread(path), dataformats="HWC")
    logger.experiment.close()


def _logger(place: Path, **options: Any) -> TensorBoardLogger:
    return TensorBoardLogger(str(place.parent), name="", version=place.name, default_hp_metric=False, **options)
