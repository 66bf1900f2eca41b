"""Whether a record's figures follow from its predictions."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from benchmark.analysis.metrics import METRICS
from benchmark.records.predictions import RunScores, Scores
from benchmark.records.record import FIRST_WITH_METRICS, RUNS, Record
from benchmark.records.results import scores_of
from datamodules.errors import UserError

TOLERANCE = 1e-6  # between a claimed metric and that of the predictions
NEAR_ONE = 1e-9  # a negative's probability is 1 - p in float64, whose logarithm means nothing nearer to p = 1


class Claim(NamedTuple):
    """What a record says of one of its checkpoints."""

    metric: str
    checkpoint: str
    value: float | None
    scores: Scores


def check_metrics(record: Record) -> bool:
    """Compare a finished run's metrics with those of its predictions; False where it has none.

    Always its AUC, reported, last and best on test; and the other metrics of the reported checkpoint, where the record
    has a version that keeps them all and the predictions give them: ranks give GAUC, not log loss and calibration.
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
        if claim.value is None or not abs(found - claim.value) <= TOLERANCE * max(1.0, found):
            raise UserError(
                f"{record.place}: the predictions of the {claim.checkpoint} checkpoint give {metric.name} {found:.6f}, "
                f"claimed is {claim.value}. One of the two files is not of this run: train it again."
            )
    return True


def _claims(record: Record, scores: RunScores) -> Iterator[Claim]:
    """What the predictions of a run can bear out."""
    aucs = {"reported": record.reported_auc, "last": record.auc.last, "best on test": record.auc.test}
    for (checkpoint, claimed), found in zip(aucs.items(), scores, strict=True):
        # The one best on test is left out of the predictions where it is the reported one.
        yield Claim("auc", checkpoint, claimed, found or scores.reported)
    probabilities, keeps_all = record.path.name != RUNS, record.schema_version >= FIRST_WITH_METRICS
    precise = scores.reported.negative.max() < 1 - NEAR_ONE and scores.reported.positive.min() > 0
    for name, metric in METRICS.items():
        # An old record has none of the later metrics, or somebody has put it there.
        claimed = keeps_all or (name != "logloss" and getattr(record, name) is not None)
        if name != "auc" and claimed and (metric.by_order or probabilities) and (name != "logloss" or precise):
            yield Claim(name, "reported", getattr(record, name), scores.reported)
