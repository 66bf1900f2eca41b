"""What a finished run leaves for tables: its record, and its predictions on the test users.

`ended.py` makes the record of a failed run with the same fields.
"""

import math
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from baselines import model_label
from benchmark.analysis.metrics import METRICS
from benchmark.records.commit import commit
from benchmark.records.predictions import scores_of_samples
from benchmark.records.record import SCHEMA_VERSION
from benchmark.runs.config import RunConfig
from benchmark.runs.device import Device, describe, triton_version
from benchmark.runs.identity import version
from datamodules.samples import SAMPLER_VERSION

if TYPE_CHECKING:  # a sweep looks for records, and its workers alone train
    from baselines.lightning_module import CTRModule, Evaluation
    from datamodules.datamodule import InteractionsDataModule


def record_of(
    config: RunConfig,
    data: "InteractionsDataModule",
    module: "CTRModule",
    settings: dict[str, Any],
    seconds: tuple[float, float],
    code: str,
    peak_memory_mb: int,
) -> dict[str, Any]:
    """Return the record of a module that is trained to its last step.

    `seconds`, by the wall clock and the processor's, and the memory are those of the whole run, and `code` is the
    `code_sha256` of its model when it began.
    """
    last, reported = module.last, module.selected(data.protocol.selection)
    assert last is not None
    assert module.best_test is not None
    steps, samples = settings["steps"], data.ready
    wall, processor = seconds
    training_seconds = wall - module.evaluation_seconds
    epochs = steps / -(-len(samples.train) // config.batch_size)
    seen = epochs * len(samples.train)  # the last batch of an epoch has fewer than the others
    metrics = metrics_of(data, reported)
    return {
        **identity_of(config, data),
        "auc": {
            "last": last.auc,
            "validation": None if module.best_validation is None else module.best_validation.auc,
            "test": module.best_test.auc,
        },
        "validation_auc": _validation_auc(module, reported.step),
        "gauc": metrics["gauc"],
        "logloss": reported.logloss,
        "calibration": metrics["calibration"],
        "best_step": reported.step,
        "epochs": round(epochs, 4),
        "steps": steps,
        "parameters": sum(parameter.numel() for parameter in module.model.parameters()),
        "train_seconds": round(wall, 3),
        "evaluation_seconds": round(module.evaluation_seconds, 3),
        "processor_seconds": round(processor, 3),
        "samples_per_second": round(seen / training_seconds, 1),
        "peak_memory_mb": peak_memory_mb,
        **origin_of(config, data, code),
        "settings": settings,
        "status": "finished",
    }


def _validation_auc(module: "CTRModule", step: int) -> float | None:
    """The AUC on validation users at an evaluation; None where there are none."""
    rows = (row for row in module.rows if row["step"] == step and "validation_auc" in row)
    return next((row["validation_auc"] for row in rows), None)


def identity_of(config: RunConfig, data: "InteractionsDataModule") -> dict[str, Any]:
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


def origin_of(config: RunConfig, data: "InteractionsDataModule", code: str) -> dict[str, Any]:
    """Return the fields of a record, finished or failed, that say what it was made with."""
    return {
        "device": describe(config.device, config.devices),
        "versions": versions(config.device),
        "commit": commit(),
        "code_sha256": code,
        "data_sha256": data.ready.sha256,
        "sampler_version": SAMPLER_VERSION,
    }


def metrics_of(data: "InteractionsDataModule", evaluation: "Evaluation") -> dict[str, float | None]:
    """Return the metrics of an evaluation's scores by name; None for what the test samples do not have."""
    test = data.ready.test
    scores = scores_of_samples(test.user, test.label, _in_order_of_split(data, evaluation))
    found = {name: metric.of(scores) for name, metric in METRICS.items()}
    return {name: value if math.isfinite(value) else None for name, value in found.items()}


def write_predictions(path: Path, data: "InteractionsDataModule", module: "CTRModule", selection: str) -> None:
    """Scores of the reported checkpoint, the last one and the best on test, in the order of the test split."""
    test = data.ready.test
    columns = {"user": test.user, "label": test.label}
    columns |= {"time": test.time} | ({} if test.probability is None else {"probability": test.probability})
    for name, choice in {"score": selection, "score_last": "last", "score_test": "test"}.items():
        columns[name] = _in_order_of_split(data, module.selected(choice))
    pq.write_table(pa.table(columns), path)


def _in_order_of_split(data: "InteractionsDataModule", evaluation: "Evaluation") -> NDArray[np.float64]:
    """(N,) scores of the test samples; float64: in float32 sure predictions would become ties."""
    from datamodules.batches import EvaluationBatches

    order = EvaluationBatches(data.ready, data.ready.test, data.hparams["batch_size"]).order
    scores = np.empty(len(order))
    scores[order] = evaluation.scores
    return scores


def versions(device: Device) -> dict[str, str]:
    """The versions of what computes a run's numbers."""
    return {
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "pytorch-lightning", "torchmetrics", "numpy", "numba")},
        **triton_version(device),
    }
