"""What a failed run leaves: a record that says so, which keeps it from being run again by itself."""

from pathlib import Path
from typing import Any

import torch

from baselines.lightning_module import NotFinite
from benchmark.records.record import FILE_NAME, read_record, write_record
from benchmark.runs.config import RunConfig, data_of, lock_of
from benchmark.runs.identity import code_sha256
from benchmark.runs.result import identity_of, origin_of
from datamodules.datamodule import InteractionsDataModule
from datamodules.errors import printable
from datamodules.files.lock import Busy, take

BAD_BATCH = "nan-batch.pt"


def record_failure(config: RunConfig, reason: str, step: int = 0) -> None:
    """Write the record of a run that failed after `step` steps, unless another process runs it or has finished it.

    Raises `UserError` where the data set cannot be read or nothing can be written.
    """
    try:
        lock = take(lock_of(config))
    except Busy:
        return
    try:
        path = config.folder() / FILE_NAME
        if not path.exists():
            shown = printable(" ".join(reason.split())) or "no reason is known"  # a record holds text that shows
            write_record(path, _failed_record(config, shown, step))
    finally:
        lock.release()


def forget_failure(config: RunConfig) -> None:
    """Remove the record of a failed run, so that it is run again."""
    path = config.folder() / FILE_NAME
    try:
        lock = take(lock_of(config))
    except (Busy, FileNotFoundError):
        return
    try:
        if path.exists() and read_record(path).status == "failed":
            path.unlink()
    finally:
        lock.release()


def keep_bad_batch(data: InteractionsDataModule, error: NotFinite, folder: Path) -> Path:
    """Write the batch of the step with the first bad loss, and the one before, whose update may have caused it."""
    batches = data.training_batches()
    kept: dict[str, Any] = {"step": error.step, "what": str(error)}
    for name, number in (("batch", error.step - 1), ("batch_before", error.step - 2)):
        if 0 <= number < len(batches):
            kept[name] = batches[number].as_dict()
    torch.save(kept, folder / BAD_BATCH)
    return folder / BAD_BATCH


def _failed_record(config: RunConfig, reason: str, step: int) -> dict[str, Any]:
    data = data_of(config)
    data.setup()
    return {
        **identity_of(config, data),
        "auc": {"last": None, "validation": None, "test": None},
        "gauc": None,
        "logloss": None,
        "calibration": None,
        "best_step": None,
        "epochs": 0,
        "steps": step,
        "parameters": 0,
        "train_seconds": 0,
        "evaluation_seconds": 0,
        "samples_per_second": 0,
        "peak_memory_mb": 0,  # nobody measured it
        **origin_of(config, data, code_sha256(config.model)),
        "settings": config.settings() | {"steps": data.steps, "steps_by_default": config.steps is None},
        "status": "failed",
        "reason": reason,
    }
