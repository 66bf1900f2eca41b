"""One trial of a search: a run that is measured on validation samples, and that never has the test samples."""

from collections.abc import Callable
from dataclasses import replace
from time import perf_counter
from typing import Any

import numpy as np

from benchmark.runs.config import Progress, RunConfig
from benchmark.runs.train import ReportProgress, evaluate_last, prepared, trainer_of
from datamodules.errors import UserError
from datamodules.protocol import PROTOCOLS, get_protocol
from datamodules.samples import Samples


def check_validation(protocol: str) -> None:
    """Raise `UserError` for a protocol without validation samples: a search would choose on test samples."""
    asked = get_protocol(protocol)
    if asked.selection == "validation":
        return
    # Of those for the same kind of data set, for no other can take the data set that was asked for.
    fit = [name for name, one in PROTOCOLS.items() if one.selection == "validation" and type(one) is type(asked)]
    raise UserError(
        f"protocol {protocol} has no validation samples, so that options would be chosen on its test samples, and its "
        f"AUC would be too high: use {' or '.join(fit) or 'a data set of behaviours or impressions'}"
    )


def without_test(samples: Samples) -> Samples:
    """Return samples in which the validation samples are those that are evaluated, and no others are held out."""
    nothing = samples.validation.take(np.zeros(0, np.int64))
    return replace(samples, test=samples.validation, validation=nothing)


def train_trial(
    config: RunConfig,
    on_progress: Callable[[Progress], None] | None = None,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Train a run and return its best AUC on validation samples, that AUC's step, and the seconds; nothing is kept.

    Raises `NotFinite` where the loss is no number.
    """
    began = perf_counter()
    config.check()
    data, settings = prepared(config)
    data.samples = without_test(data.ready)
    reports = [ReportProgress(on_progress, settings["steps"])] if on_progress else []
    module, trainer = trainer_of(config, data, settings, list(reports), [])
    trainer.fit(module, datamodule=data)
    if module.last is None or module.last.step != settings["steps"]:
        evaluate_last(module, data, trainer)
    best = module.selected("test")  # of what is evaluated: the validation samples
    return {
        "selection": "validation",
        "auc": {"validation": best.auc},
        "step": best.step,
        "seconds": round(perf_counter() - began, 1),
    }
