"""Whether a record's figures follow from its predictions and its learning curves."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from benchmark.analysis.metrics import METRICS
from benchmark.records.predictions import RunScores, Scores
from benchmark.records.record import RUNS, Record
from benchmark.records.results import curves_of, scores_of
from datamodules.errors import UserError

TOLERANCE = 1e-6  # between a claimed metric and that of the predictions
ROUNDING = 2.0**-52  # of a probability p near 1 in float64, and of 1 - p, whose logarithm then means little


class Claim(NamedTuple):
    """What a record says of one of its checkpoints."""

    metric: str
    checkpoint: str
    value: float | None
    scores: Scores


def check_metrics(record: Record) -> bool:
    """Compare a finished run's metrics with those of its predictions; False where it has none.

    Its AUC, reported, last and best on test; and the other metrics of the reported checkpoint, where the predictions
    give them: ranks give GAUC, not log loss and calibration.
    Raises `UserError` where one differs by more than 1e-6.
    """
    scores = scores_of(record)
    if scores is None:
        return False
    for claim in _claims(record, scores):
        metric = METRICS[claim.metric]
        found = metric.of(claim.scores)
        if claim.value is None and np.isnan(found):
            continue
        if claim.metric == "logloss" and claim.value is not None:
            low, high = _bounds_of_logloss(claim.scores)
            found = min(max(claim.value, low), high)
        if claim.value is None or not abs(found - claim.value) <= TOLERANCE * max(1.0, found):
            raise UserError(
                f"{record.place}: the predictions of the {claim.checkpoint} checkpoint give {metric.name} {found:.6f}, "
                f"claimed is {claim.value}. One of the two files is not of this run: train it again."
            )
    return True


def _bounds_of_logloss(scores: Scores) -> tuple[float, float]:
    """Return between what the log loss of logits lies whose probabilities are these after they were rounded."""
    unlikely = 1 - scores.negative
    tiny = np.finfo(np.float64).smallest_subnormal
    with np.errstate(divide="ignore"):
        low, high = (
            -np.log(np.concatenate([np.clip(unlikely + by, 0, 1), np.clip(scores.positive + least, 0, 1)])).mean()
            for by, least in ((ROUNDING, tiny), (-ROUNDING, -tiny))
        )
    return float(low), float(high)


def check_curves(record: Record) -> None:
    """Compare what a finished run claims of its checkpoints with its learning curves.

    These are the number of steps, the test AUC of the last and of the reported step, the highest one, and the one where
    AUC on validation users is highest, which there is none of without such users. Raises `UserError` where one differs
    by more than 1e-6.
    """
    curves = curves_of(record)
    test = curves.curve("test_auc")
    steps: list[float] = test.steps.tolist()
    aucs: dict[float | None, float] = dict(zip(steps, test.values.tolist(), strict=True))
    found: dict[str, tuple[float | None, set[float | None]]] = {
        "steps": (record.steps, {steps[-1]}),
        "AUC of the last step": (record.auc.last, {aucs[steps[-1]]}),
        "highest AUC": (record.auc.test, {max(aucs.values())}),
        "AUC best on validation users": (record.auc.validation, {None}),
        f"AUC at step {record.best_step}": (record.reported_auc, {aucs.get(record.best_step)}),
    }
    if "validation_auc" in curves.columns:
        own = curves.curve("validation_auc")
        best = own.steps[own.values == own.values.max()].tolist()
        found["AUC best on validation users"] = (record.auc.validation, {aucs.get(step) for step in best})
    for name, (claimed, values) in found.items():
        if not any(_equal(claimed, value) for value in values):
            shown = " or ".join(sorted("none" if value is None else f"{value:.6f}" for value in values))
            raise UserError(
                f"{record.place}: its curves give as {name} {shown}, claimed is {claimed}. One of the two files is not "
                "of this run: train it again."
            )


def _equal(claimed: float | None, value: float | None) -> bool:
    return claimed is value if claimed is None or value is None else abs(claimed - value) <= TOLERANCE


def _claims(record: Record, scores: RunScores) -> Iterator[Claim]:
    """What the predictions of a run can bear out."""
    aucs = {"reported": record.reported_auc, "last": record.auc.last, "best on test": record.auc.test}
    for (checkpoint, claimed), found in zip(aucs.items(), scores, strict=True):
        # The one best on test is left out of the predictions where it is the reported one.
        yield Claim("auc", checkpoint, claimed, found or scores.reported)
    probabilities = record.path.name != RUNS
    for name, metric in METRICS.items():
        if name != "auc" and (metric.by_order or probabilities):
            yield Claim(name, "reported", getattr(record, name), scores.reported)
