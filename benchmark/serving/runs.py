"""A finished run as it is served and exported: its model frozen, and what that does to its AUC."""

from dataclasses import replace
from typing import Literal

import numpy as np
from sklearn.metrics import roc_auc_score

from benchmark.runs.trained import Run
from benchmark.serving.frozen import freeze
from benchmark.serving.scorer import RunScorer
from datamodules.batches import EvaluationBatches

WINDOWS = 4  # of 20 batches, from which a frozen model has its statistics


def scorer_of(run: Run) -> RunScorer:
    """Return the scorer of a finished run; `about` says which run, and its test AUC as recorded and as served."""
    served, samples, record = as_served(run), run.samples, run.record
    about = {name: str(getattr(record, name)) for name in ("dataset", "protocol", "model", "variant", "seed")}
    auc = roc_auc_score(samples.test.label, served.predict("test"))
    about |= {"auc_recorded": f"{record.reported_auc:.4f}", "auc_served": f"{auc:.4f}"}
    return RunScorer(served.model, run.vocabulary, about)


def as_served(run: Run, statistics: Literal["train", "validation"] | None = None) -> Run:
    """Return a run with its model frozen, so that a score does not depend on which others share its batch.

    It has the statistics of the split that is named, whose labels are not looked at: by default validation samples, and
    training samples where the protocol has no others. A model that overfits has other activations on training samples.
    """
    samples, vocabulary, size = run.samples, run.vocabulary, run.config.batch_size
    name = statistics or ("validation" if len(samples.validation) else "train")
    windows = EvaluationBatches(samples, getattr(samples, name), size, vocabulary)
    chosen = np.unique(np.linspace(0, len(windows) - 1, WINDOWS).astype(int))
    return replace(run, model=freeze(run.model, [windows[at] for at in chosen]))
