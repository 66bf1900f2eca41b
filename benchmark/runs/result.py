"""What a finished run leaves for tables: its record, and its predictions on the test users.

`failure.py` makes the record of a failed run with the same fields.
"""

import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from baselines import model_label
from baselines.lightning_module import CTRModule
from benchmark.records.commit import commit
from benchmark.records.record import SCHEMA_VERSION
from benchmark.runs.config import RunConfig
from benchmark.runs.device import Device, describe, triton_version
from datamodules.batches import EvaluationBatches
from datamodules.datamodule import InteractionsDataModule
from datamodules.samples import SAMPLER_VERSION


def record_of(
    config: RunConfig,
    data: InteractionsDataModule,
    module: CTRModule,
    settings: dict[str, Any],
    seconds: float,
    code: str,
    peak_memory_mb: int,
) -> dict[str, Any]:
    """Return the record of a module that is trained to its last step.

    `seconds` and the memory are those of the whole run, and `code` is the `code_sha256` of its model when it began.
    """
    last, reported = module.last, module.selected(data.protocol.selection)
    assert last is not None
    assert module.best_test is not None
    steps, samples = settings["steps"], data.ready
    training_seconds = seconds - module.evaluation_seconds
    seen = steps * config.batch_size
    epochs = steps / -(-len(samples.train) // config.batch_size)
    return {
        **identity_of(config, data),
        "auc": {
            "last": last.auc,
            "validation": None if module.best_validation is None else module.best_validation.auc,
            "test": module.best_test.auc,
        },
        "validation_auc": _validation_auc(module, reported.step),
        "logloss": reported.logloss,
        "best_step": reported.step,
        "epochs": round(epochs, 4),
        "steps": steps,
        "parameters": sum(parameter.numel() for parameter in module.model.parameters()),
        "train_seconds": round(seconds, 3),
        "evaluation_seconds": round(module.evaluation_seconds, 3),
        "samples_per_second": round(seen / training_seconds, 1),
        "peak_memory_mb": peak_memory_mb,
        **origin_of(config, data, code),
        "settings": settings,
        "status": "finished",
    }


def _validation_auc(module: CTRModule, step: int) -> float | None:
    """The AUC on validation users at an evaluation; None where there are none."""
    rows = (row for row in module.rows if row["step"] == step and "validation_auc" in row)
    return next((row["validation_auc"] for row in rows), None)


def identity_of(config: RunConfig, data: InteractionsDataModule) -> dict[str, Any]:
    """Return the fields of a record, finished or failed, that say which run it is."""
    return {
        "schema_version": SCHEMA_VERSION,
        "dataset": config.dataset,
        "protocol": config.protocol,
        "protocol_hash": data.protocol.hash,
        "model": model_label(config.model),
        "variant": config.variant,
        "seed": config.seed,
        "selection": data.protocol.selection,
    }


def origin_of(config: RunConfig, data: InteractionsDataModule, code: str) -> dict[str, Any]:
    """Return the fields of a record, finished or failed, that say what it was made with."""
    return {
        "device": describe(config.device, config.devices),
        "versions": versions(config.device),
        "commit": commit(),
        "code_sha256": code,
        "data_sha256": data.ready.sha256,
        "sampler_version": SAMPLER_VERSION,
    }


def write_predictions(path: Path, data: InteractionsDataModule, module: CTRModule, selection: str) -> None:
    """Scores of the reported checkpoint, the last one and the best on test, in the order of the test split."""
    samples = data.ready
    order = EvaluationBatches(samples, samples.test, data.hparams["batch_size"]).order
    columns = {"user": samples.test.user, "label": samples.test.label}
    checkpoints = {"score": selection, "score_last": "last", "score_test": "test"}
    for name, evaluation in ((name, module.selected(choice)) for name, choice in checkpoints.items()):
        scores = np.empty(len(order))  # float64: in float32 sure predictions would become ties
        scores[order] = evaluation.scores
        columns[name] = scores
    pd.DataFrame(columns).to_parquet(path, index=False)


def versions(device: Device) -> dict[str, str]:
    """The versions of what computes a run's numbers."""
    return {
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "pytorch-lightning", "torchmetrics", "numpy", "numba")},
        **triton_version(device),
    }
